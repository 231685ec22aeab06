/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A segment made of sections of any bytes, with a header, checksums and digests that are right: the
 * parsers of the rows are reached by small inputs, thousands of times a second. Input: for each
 * type in the list a length (16 bits) and that many bytes; what is no whole row is cut off.
 */
#ifndef PLYFS_TESTS_ASSEMBLE_H
#define PLYFS_TESTS_ASSEMBLE_H

#include "fuzz.h"
#include "plyfs/disk.h"

struct assembled {
	uint8_t *bytes;            /* malloc-ed */
	size_t len;
	uint8_t digest[32];
};

extern const uint32_t assemble_base[], assemble_join[], assemble_catalog[];   /* 0 at the end */

/* @digests: sections get their SHA-256 too, else zeros. */
void assemble(struct input *in, uint32_t kind, const uint32_t *types, int digests, struct assembled *ret);

#endif
