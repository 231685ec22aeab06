/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared files three-way, record by record: a driver says where its records begin and what their keys are
 * (merge_driver.items), how its tool sorts them (order), and what becomes of one that both changed (combine).
 *
 *   only one side changed a record, or both did the same    that
 *   both differently                                        combine(), or a clash
 *   deleted by one, unchanged by the other                  gone
 *   new                                                     at its place where they are sorted, else
 *                                                           behind ours
 *
 * Equal keys in one file are told apart by their order: the second "# a" is another record than the first.
 */
#ifndef PLYFS_MERGE_ITEMS_H
#define PLYFS_MERGE_ITEMS_H

#include "base/map.h"
#include "merge/compose.h"
#include "merge/merge.h"
#include "merge/span.h"

struct item {
	struct span key, sub;      /* together its key */
	struct span value;         /* what counts; without what only separates it from the next */
	struct span all;           /* what is written; its separator may be missing at the end of a file */
	uint32_t nth, many;        /* of those with its key; of the first of them: how many there are */
};

struct items {
	struct item *v;
	size_t n, cap;
	bool stanzas;              /* an empty line separates them, not just a line end */
	struct map map;            /* key and nth -> v */
	struct buf store;          /* keys that stand nowhere as such; reserved before the first is put in */
};

void items_done(struct items *t);
int items_add(struct items *t, struct item item);          /* -ENOMEM; -E2BIG: too many */
struct line;
int items_add_line(struct items *t, struct span key, const struct line *line);

/* merge_driver.items of files with a line for each name, which ends at a colon (passwd, group and their shadows); comments
 * and what NIS adds are their own keys. */
int items_by_name(const char *path, struct span text, struct items *ret, struct ply_err *err);

/* Appended to @out; @prefer: whose a record is that clashes. -ENOTUNIQ, -EUCLEAN: one of them is no such file; -ENOMEM. */
int items_merge(const struct merge_driver *d, const char *path, struct span base, struct span ours, struct span theirs,
		enum merge_prefer prefer, struct buf *out, struct ply_err *err);

/* Items sorted by their keys' bytes, and so that one without a key is the first. */
int items_order_bytes(const struct item *a, const struct item *b);

/* One value of three: what one side changed, or both in the same way. False: a clash. @base NULL: there was none. */
bool three_way(const struct span *base, struct span ours, struct span theirs, struct span *ret);
/* A list of words, each trimmed, empty ones left out: what is in both, or new in one. In our order, then theirs;
 * or @sorted. Written with @with between them. */
int three_way_list(const struct span *base, struct span ours, struct span theirs, char sep, const char *with, bool sorted,
		   struct buf *out);

#endif
