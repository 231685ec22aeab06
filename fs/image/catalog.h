/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The catalog of one generation, decoded and checked as a whole: it is small. */
#ifndef PLYFS_CATALOG_H
#define PLYFS_CATALOG_H

#include "plyfs/image.h"
#include "sub/sub.h"

struct catalog_segment {
	uint32_t kind;
	uint64_t off, len;
	uint8_t digest[32];
};

struct catalog_sub {
	struct ply_sub_info info;  /* strings belong to the catalog */
	uint32_t seg_first, seg_count;
	size_t requires_cap, groups_cap, provides_cap, stands_on_cap;
};

struct catalog {
	struct ply_generation_info generation;
	uint8_t uuid[16];
	uint32_t next_number;
	uint64_t parent_off, parent_len;
	uint8_t parent_digest[32];
	struct catalog_sub *subs;  /* in order of rank */
	uint32_t nsubs;
	struct catalog_segment *segments;
	uint32_t nsegments;
	uint32_t join_first, join_count;
	struct ply_mount_info *mounts;
	uint32_t nmounts;
	struct catalog_blob {
		uint32_t sub;              /* number, or PLY_BLOB_OF_IMAGE */
		const char *name;
		char *bytes;               /* and a NUL byte behind */
		uint32_t len;
	} *blobs;
	uint32_t nblobs;
	char **strings;            /* all that were handed out */
	size_t nstrings, strings_cap;
};

/* Read, compare with @digest, check every section's SHA-256 and every field. */
int catalog_open(struct io *io, uint64_t off, uint64_t len, const uint8_t digest[32],
		 struct catalog **ret, struct ply_err *err);
struct catalog *catalog_close(struct catalog *c);

/* Of the generation that @image was opened with; borrowed. */
const struct catalog *image_catalog(const struct ply_image *image);
/* The newest valid superblock slot, as it was when @image was opened. */
const struct super *image_super(const struct ply_image *image);

#endif
