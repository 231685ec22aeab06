/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes the metadata region, the page sums and the header of a segment; the same for
 * sub-images, join tables and catalogs.
 */
#ifndef PLYFS_SEG_WRITE_H
#define PLYFS_SEG_WRITE_H

#include "sub/sub_write.h"

struct segw;

/* Write zeros where the header of a segment with @nsections will stand. */
int segw_reserve(struct out *out, uint32_t nsections, struct ply_err *err);
/* The segment begins at @off of @out, where segw_reserve() was called. */
int segw_new(struct out *out, uint64_t off, uint32_t kind, uint32_t nsections, struct segw **ret,
	     struct ply_err *err);
struct segw *segw_free(struct segw *w);

/* Record a DATA section that the caller wrote. */
void segw_data(struct segw *w, uint64_t off, uint64_t len);

/* Begin the metadata region, of about @size bytes: a large one at a page of the file. */
int segw_begin_meta(struct segw *w, uint64_t size, struct ply_err *err);

/* A paged section; pieces of one section may be added one after the other by segw_more(). */
int segw_section(struct segw *w, uint32_t type, uint64_t count, const void *data, size_t len,
		 struct ply_err *err);
int segw_more(struct segw *w, const void *data, size_t len, struct ply_err *err);

/*
 * Page sums, header. @uuid: NULL and @name given: follows from the content; both NULL: zero.
 * Leaves @out at a multiple of 8.
 */
int segw_finish(struct segw *w, const uint8_t *uuid, const char *name, uint8_t ret_digest[32],
		uint8_t ret_uuid[16], uint64_t *ret_len, struct ply_err *err);

#endif
