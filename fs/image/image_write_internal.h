/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by image_write.c and image_append.c only. */
#ifndef PLYFS_IMAGE_WRITE_INTERNAL_H
#define PLYFS_IMAGE_WRITE_INTERNAL_H

#include "base/buf.h"
#include "format/format.h"
#include "image/image_write.h"

struct pending_sub {
	struct ply_disk_sub row;
};

struct join_ref {
	uint64_t ref, row;
};

struct pending_collision {
	struct ply_collision c;
	size_t order;              /* of the calls */
};

struct imagew {
	char *path;
	char *dir, *base;          /* of path, for the *at calls; NULL for a further generation */
	char *hidden;              /* name in dir while there is one, else NULL */
	bool force;
	int dirfd, fd;
	struct out out;
	uint64_t generation;
	uint32_t next_number;
	struct pending_sub *subs;  /* in order of number */
	size_t nsubs, subs_cap;
	struct buf strings, segments, relations, mounts, blobs;
	struct buf join_rows, join_members;
	struct join_ref *join_refs;
	size_t njoin_refs, join_refs_cap;
	struct pending_collision *collisions;
	size_t ncollisions, collisions_cap;

	/* a further generation */
	struct ply_image *from;    /* borrowed; NULL: generation 1 */
	uint64_t old_size;         /* of the file */
	uint32_t first_slot;       /* that is written: not the one that holds the old generation */
	bool settled;              /* committed, or beyond help: the file keeps its length */
	bool *removed;             /* by number */
};

int imagew_string(struct imagew *w, const char *text, struct ply_disk_string *ret);
int imagew_relation(struct imagew *w, uint32_t kind, uint32_t from, uint32_t group, const char *to);
int imagew_segment(struct imagew *w, uint32_t kind, uint64_t off, uint64_t len, const uint8_t digest[32]);

/* All do nothing, with 0, for generation 1. */
/* The old join table, where no other was given, and the old collisions. */
int imagew_carry_join(struct imagew *w, struct ply_err *err);
/* The parent's fields. */
void imagew_parent(const struct imagew *w, struct ply_disk_catalog_head *head);
/* Unless it is settled: the old length. */
void imagew_roll_back(struct imagew *w);

/* Everything but the superblocks is in w->out. */
int imagew_commit(struct imagew *w, const struct super *super, struct ply_err *err);

#endif
