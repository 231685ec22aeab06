/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Do the entries of a sub-image make one tree, numbered as FORMAT.md says? One walk in the order
 * of the numbers: directory by directory, the children of one before those of the next.
 *
 * A directory goes on the stack only when it is met for the first time, so the walk
 * ends whatever the tables say. Memory: 4 bytes and a bit for a node, a bit for an entry.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "ops/verify_internal.h"

struct dirs {
	struct verify *v;
	const char *name;
	struct sub *s;
	const uint8_t *starts;     /* of conditions */
	uint32_t *names;           /* of each node that is no directory: entries that name it */
	uint8_t *seen;             /* a bit a node */
	uint8_t *listed;           /* a bit an entry */
	uint8_t *gone;             /* a bit a node: a directory of whiteouts; NULL: no overlay */
	uint64_t nlisted;
	uint64_t next;             /* number that the next new node should have */
	bool order_told;
	uint64_t *stack;
	size_t n, cap;
};

static bool test_and_set(uint8_t *bits, uint64_t i)
{
	bool was = bits[i / 8] >> i % 8 & 1;

	bits[i / 8] |= (uint8_t)(1u << i % 8);
	return was;
}

#define DIR_FINDING(reason, index, ...) NODE_FINDING(d->v, reason, d->name, d->s, index, __VA_ARGS__)

/* A node is met for the first time, at entry @at of @dir. */
static void first_name(struct dirs *d, uint64_t dir, uint64_t at, uint64_t index, const struct ply_node *n)
{
	if (index != d->next && !d->order_told) {
		DIR_FINDING(PLY_R_TREE_SHAPE, index, "node %llu is numbered out of order: %llu was due",
			    (unsigned long long)index, (unsigned long long)d->next);
		d->order_told = true;
	}
	d->next = index + 1;
	if (n->parent != dir || n->entry != at)
		DIR_FINDING(PLY_R_TREE_SHAPE, index,
			    "node %llu: its parent or entry is not where its first name is",
			    (unsigned long long)index);
}

/* A node is met again: all of its names are there, or none. */
static void further_name(struct dirs *d, uint64_t at, const struct ply_entry *e, uint64_t index,
			 const struct ply_node *n)
{
	struct ply_entry first;

	if (sub_entry(d->s, n->entry, &first, NULL) == 0 && first.condition != e->condition)
		DIR_FINDING(PLY_R_CONDITION_FIELD, index, "entry %llu: another condition than the first name of node %llu has",
			    (unsigned long long)at, (unsigned long long)index);
}

static bool is_gone(const struct dirs *d, uint64_t index)
{
	return d->gone && d->gone[index / 8] >> index % 8 & 1;
}

static void push(struct dirs *d, uint64_t index)
{
	if (array_grow(&d->stack, &d->cap, d->n + 1, sizeof(*d->stack)) < 0)
		d->v->list.failed = true;
	else
		d->stack[d->n++] = index;
}

/* A name that is gone; of a directory, with all that it held. */
static void check_whiteout(struct dirs *d, uint64_t dir, uint64_t at, const struct ply_entry *e, uint8_t flags)
{
	uint64_t index = PLY_INO_INDEX(e->ref);
	struct ply_node n;
	bool seen;

	if (!d->gone) {
		DIR_FINDING(PLY_R_TREE_SHAPE, dir, "entry %llu is a whiteout; its sub-image is no overlay",
			    (unsigned long long)at);
		return;
	}
	if (!index)
		return;
	seen = test_and_set(d->seen, index);
	if (sub_node(d->s, index, &n, NULL) < 0)     /* told with the nodes */
		return;
	if (seen) {
		DIR_FINDING(PLY_R_TREE_SHAPE, dir, "entry %llu: a whiteout of node %llu, which has a name",
			    (unsigned long long)at, (unsigned long long)index);
		return;
	}
	first_name(d, dir, at, index, &n);
	if (!S_ISDIR(n.mode) || !(n.flags & PLY_NODE_IMPLIED)) {
		DIR_FINDING(PLY_R_TREE_SHAPE, index, "entry %llu: a whiteout of node %llu, which is no implied directory",
			    (unsigned long long)at, (unsigned long long)index);
		return;
	}
	if (!(flags & PLY_NODE_COVERS))
		DIR_FINDING(PLY_R_NODE_FIELD, dir, "node %llu: a directory in it is gone, and its flags do not say so",
			    (unsigned long long)dir);
	test_and_set(d->gone, index);
	push(d, index);
}

static void check_entry(struct dirs *d, uint64_t dir, uint64_t at, const struct ply_entry *e,
			uint64_t *children)
{
	uint64_t index = PLY_INO_INDEX(e->ref);
	struct ply_node n;
	bool seen;

	if (sub_node(d->s, index, &n, NULL) < 0) {   /* told with the nodes */
		test_and_set(d->seen, index);
		return;
	}
	if (!condition_begins(d->s, d->starts, e->condition))
		DIR_FINDING(PLY_R_CONDITION_FIELD, index, "entry %llu: no condition begins at %u",
			    (unsigned long long)at, e->condition);
	if (n.mode >> 12 != e->type)
		DIR_FINDING(PLY_R_TREE_SHAPE, index, "entry %llu: its type is not that of node %llu",
			    (unsigned long long)at, (unsigned long long)index);
	seen = test_and_set(d->seen, index);
	if (!seen)
		first_name(d, dir, at, index, &n);
	if (!S_ISDIR(n.mode)) {
		if (seen)
			further_name(d, at, e, index, &n);
		if (d->names[index] < UINT32_MAX)
			d->names[index]++;
		return;
	}
	(*children)++;
	if (seen)
		DIR_FINDING(PLY_R_TREE_SHAPE, index, "node %llu is a directory of two names",
			    (unsigned long long)index);
	else
		push(d, index);
}

static void check_dir(struct dirs *d, uint64_t dir)
{
	struct ply_entry last = { 0 }, e;
	uint64_t children = 0;
	size_t from = d->n;
	struct ply_node n;

	if (sub_node(d->s, dir, &n, NULL) < 0)
		return;
	for (uint64_t at = n.data; at < n.data + n.size; at++) {
		struct ply_err err;

		if (test_and_set(d->listed, at)) {
			DIR_FINDING(PLY_R_TREE_SHAPE, dir, "entry %llu stands in two directories",
				    (unsigned long long)at);
			goto out;          /* each entry is looked at once, whatever the tables say */
		}
		d->nlisted++;
		if (sub_entry(d->s, at, &e, &err) < 0) {
			DIR_FINDING(err.reason, dir, "entry %llu of node %llu: %s", (unsigned long long)at,
				    (unsigned long long)dir, err.msg);
			continue;
		}
		if (last.name) {
			int c = memcmp(last.name, e.name, MIN(last.name_len, e.name_len));

			if (c > 0 || (c == 0 && last.name_len >= e.name_len))
				DIR_FINDING(PLY_R_ENTRY_ORDER, dir,
					    "node %llu: entry %llu is not sorted by name",
					    (unsigned long long)dir, (unsigned long long)at);
		}
		last = e;
		if (e.type == PLY_T_WHITEOUT) {
			check_whiteout(d, dir, at, &e, n.flags);
			continue;
		}
		if (is_gone(d, dir))
			DIR_FINDING(PLY_R_TREE_SHAPE, dir, "entry %llu: node %llu is gone, and has a name that is not",
				    (unsigned long long)at, (unsigned long long)dir);
		check_entry(d, dir, at, &e, &children);
	}
	if (children != n.nlink)
		DIR_FINDING(PLY_R_NODE_FIELD, dir, "node %llu has %llu child directories, and says %u",
			    (unsigned long long)dir, (unsigned long long)children, n.nlink);
out:
	/* the first child is the next: it goes on top */
	for (size_t a = from, b = d->n; a + 1 < b; a++, b--) {
		uint64_t swap = d->stack[a];

		d->stack[a] = d->stack[b - 1];
		d->stack[b - 1] = swap;
	}
}

static int check_rest(struct dirs *d, struct ply_err *err)
{
	const struct sub_limits *lim = sub_limits(d->s);

	if (d->nlisted != lim->entries)
		findings_add(&d->v->list, PLY_R_TREE_SHAPE, d->name, 0, 0,
			     "%llu entries belong to no directory",
			     (unsigned long long)(lim->entries - d->nlisted));
	for (uint64_t i = PLY_ROOT_INDEX; i < lim->nodes; i++) {
		struct ply_node n;

		if (sub_node(d->s, i, &n, NULL) < 0)
			continue;
		if (!(d->seen[i / 8] >> i % 8 & 1))
			findings_add(&d->v->list, PLY_R_TREE_SHAPE, d->name, 0, 0,
				     "node %llu is not reached from the root", (unsigned long long)i);
		else if (!S_ISDIR(n.mode) && d->names[i] != n.nlink)
			DIR_FINDING(PLY_R_NODE_FIELD, i, "node %llu has %u names, and says %u",
				    (unsigned long long)i, d->names[i], n.nlink);
		if (d->v->list.n > 1024) {
			int r = verify_flush(d->v, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int verify_dirs(struct verify *v, const struct ply_sub_info *info, struct sub *s, const uint8_t *starts,
		struct ply_err *err)
{
	bool overlay = info->flags & PLY_SUB_OVERLAY;
	struct dirs d = { .v = v, .name = info->name, .s = s, .starts = starts, .next = PLY_ROOT_INDEX + 1 };
	const struct sub_limits *lim = sub_limits(s);
	int r = 0;

	d.names = calloc(lim->nodes, sizeof(*d.names));
	d.seen = calloc(lim->nodes / 8 + 1, 1);
	d.listed = calloc(lim->entries / 8 + 1, 1);
	if (overlay)
		d.gone = calloc(lim->nodes / 8 + 1, 1);
	if (!d.names || !d.seen || !d.listed || (overlay && !d.gone) ||
	    array_grow(&d.stack, &d.cap, 1, sizeof(*d.stack)) < 0) {
		r = ply_fail_nomem(err);
	} else {
		test_and_set(d.seen, PLY_ROOT_INDEX);
		d.stack[d.n++] = PLY_ROOT_INDEX;
		while (r == 0 && d.n) {
			check_dir(&d, d.stack[--d.n]);
			if (v->list.n > 1024)
				r = verify_flush(v, err);
		}
		if (r == 0)
			r = check_rest(&d, err);
	}
	free(d.names);
	free(d.seen);
	free(d.listed);
	free(d.gone);
	free(d.stack);
	return r;
}
