/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mutation of an image that keeps its shape: one field of one row of one section, or of the
 * header, the superblock or a section's place, becomes a value that is likely to hurt. The checksums are
 * made right by the target (first byte of the input, see repair.h).
 */
#ifndef PLYFS_TESTS_IMAGE_MUTATE_H
#define PLYFS_TESTS_IMAGE_MUTATE_H

#include "fuzz.h"

/* For LLVMFuzzerCustomMutator() of a target whose input is one byte and an image. */
size_t image_mutate(uint8_t *data, size_t size, size_t max, unsigned seed);
/* The same for one byte and what assemble() takes. */
size_t assembled_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, const uint32_t *types);

#endif
