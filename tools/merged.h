/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What plyfs origin tells of a file that several sub-images have, or that overrides another's. */
#ifndef PLYFS_MERGED_H
#define PLYFS_MERGED_H

#include <jansson.h>
#include <stdbool.h>

#include "plyfs/view.h"

/* One of the sub-images' copies of a path where they collide, in a view. */
struct merged {
	bool collides;
	uint8_t cls, why, rule;    /* enum merge_class, merge_why, ply_rule (0: by itself) */
	uint16_t driver;
};
void merged_find(struct ply_view *view, uint64_t ino, struct merged *ret);

/* "three-way: both changes are merged", and each block; then whose file it overrides. As lines on stdout. */
int merged_print(struct ply_view *view, uint64_t ino, const struct merged *m, struct ply_err *err);
/* The same as members of @o: "collision", "blocks", "overrides". */
int merged_json(struct ply_view *view, uint64_t ino, const struct merged *m, json_t *o, struct ply_err *err);

#endif
