/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The join table of a generation: which nodes of several sub-images are one inode. */
#ifndef PLYFS_JOIN_H
#define PLYFS_JOIN_H

#include <stdint.h>

#include "format/format.h"
#include "io/io.h"
#include "plyfs/error.h"

struct join;

struct join_row {
	uint64_t row;
	uint64_t first_member;
	uint32_t nmembers;
	uint8_t kind;
	uint64_t first_child, nchildren;
};

struct join_member {
	uint64_t ref;
	uint8_t digest[32];
};

int join_open(struct io *io, uint64_t off, uint64_t len, const uint8_t digest[32],
	      struct join **ret, struct ply_err *err);
struct join *join_close(struct join *j);

struct meta *join_meta(const struct join *j);
uint64_t join_nrows(const struct join *j);
uint64_t join_nmembers(const struct join *j);

/* Row of the node @ref; 1 found, 0 none, negative errno. */
int join_find(const struct join *j, uint64_t ref, struct join_row *ret, struct ply_err *err);
int join_row(const struct join *j, uint64_t row, struct join_row *ret, struct ply_err *err);
int join_member(const struct join *j, const struct join_row *row, uint32_t i,
		struct join_member *ret, struct ply_err *err);

/* Pairs of sub-images that have one path; sorted by b, then a. */
uint64_t join_ncollisions(const struct join *j);
int join_collision(const struct join *j, uint64_t i, struct ply_collision *ret, struct ply_err *err);
/* The first row that is not before @key, in the order of collision_compare(). */
int join_collision_from(const struct join *j, const struct ply_collision *key, uint64_t *ret, struct ply_err *err);

#endif
