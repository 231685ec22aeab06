/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Users and groups whose lines stay when the component goes that brought them: something that stays is theirs. Only what
 * the removal itself leaves, and what other components brought, is looked at, not the whole target.
 */
#ifndef PLYFS_LAYOUT_REMOVE_IDS_H
#define PLYFS_LAYOUT_REMOVE_IDS_H

#include "base/buf.h"
#include "layout/kept.h"
#include "merge/span.h"

struct id_list {
	uint32_t *v;
	size_t n, cap;
	char **names;              /* of the lines that stay */
	size_t nnames, names_cap;
};

struct remove_ids {
	struct id_list users, groups;      /* in use; no order */
};

void remove_ids_done(struct remove_ids *ids);
/* -ENOMEM. */
int remove_ids_add(struct remove_ids *ids, uint32_t uid, uint32_t gid);
/* All other components' files. -ENOMEM. */
int remove_ids_add_kept(struct remove_ids *ids, const struct kept *kept, const char *but);
/* @name in @dir, and what is below it. -errno. */
int remove_ids_add_tree(struct remove_ids *ids, int dir, const char *name);

/* In this order they are to be asked for: the second two follow from the first two. NULL ends them. */
extern const char *const remove_ids_paths[];
/*
 * The lines of @path that stay, of those that @with has and @before has not, are appended to @out. 1: there are some; 0,
 * -ENOMEM.
 */
int remove_ids_lines(struct remove_ids *ids, const char *path, struct span before, struct span with, struct buf *out);

#endif
