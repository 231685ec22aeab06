/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The join table of an image with one more overlay: all rows that there were, with the overlay's directories as
 * members, and rows for directories that one sub-image had so far.
 *
 * Breadth-first from the root, as FORMAT.md has it: a queue of rows, each with its old row or the one sub-image
 * that held the directory, and the overlay's directory, if it has it. Children are sorted by name, so that the table
 * does not depend on the order in which overlays came and went. Cost: rows that there are, and a lookup for each
 * directory of the overlay in each sub-image that has its parent.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "add/overlay.h"
#include "base/util.h"
#include "image/join.h"
#include "sub/sub.h"

#define NO_ROW UINT64_MAX

struct item {
	uint64_t old;              /* row of the old table, or NO_ROW: */
	uint64_t holder;           /* the one that had it */
	uint64_t mine;             /* index in the overlay; 0: it has not */
	uint64_t row;              /* of the new table */
};

struct child {
	struct item item;
	const char *name;
	size_t len;
};

struct joining {
	struct imagew *w;
	struct ply_image *image;
	const struct join *join;   /* NULL: nothing is joined so far */
	uint32_t number;
	struct sub *mine;
	struct sub **subs;         /* by number */
	struct item *queue;
	size_t n, cap;
	uint64_t max;              /* rows that there can be */
	struct child *children;
	size_t nchildren, children_cap;
	uint64_t *refs;
	uint8_t *digests;
	struct ply_err *err;
};

static struct sub *sub_of(const struct joining *j, uint64_t ref)
{
	uint32_t number = PLY_INO_NUMBER(ref);

	return number <= PLY_NUMBER_MAX ? j->subs[number] : NULL;
}

static int bad(struct joining *j, uint64_t row)
{
	return ply_fail(j->err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu is impossible", (unsigned long long)row);
}

/* Members of @item, without the overlay's, into j->refs. */
static int members_of(struct joining *j, const struct item *item, uint32_t *ret_n)
{
	struct join_row row;
	int r;

	if (item->old == NO_ROW) {
		j->refs[0] = item->holder;
		*ret_n = 1;
		return 0;
	}
	r = join_row(j->join, item->old, &row, j->err);
	if (r < 0)
		return r;
	if (row.nmembers > PLY_NUMBER_MAX)
		return bad(j, item->old);
	for (uint32_t i = 0; i < row.nmembers; i++) {
		struct join_member m;

		r = join_member(j->join, &row, i, &m, j->err);
		if (r < 0)
			return r;
		if (!sub_of(j, m.ref))
			return bad(j, item->old);
		j->refs[i] = m.ref;
		memcpy(j->digests + 32 * (size_t)i, m.digest, 32);
	}
	*ret_n = row.nmembers;
	return 0;
}

static int push(struct joining *j, struct item item)
{
	uint32_t n;
	int r = members_of(j, &item, &n);

	if (r == 0 && j->n >= j->max)
		return bad(j, item.old);
	if (r == 0 && item.mine)
		j->refs[n++] = PLY_INO(j->number, item.mine);
	if (r == 0)
		r = imagew_join(j->w, PLY_J_DIRECTORY, j->refs, NULL, n, &item.row, j->err);
	if (r < 0)
		return r;
	if (array_grow(&j->queue, &j->cap, j->n + 1, sizeof(*j->queue)) < 0)
		return ply_fail_nomem(j->err);
	j->queue[j->n++] = item;
	return 0;
}

/* --- children ---------------------------------------------------------------------------------- */

static int add_child(struct joining *j, const char *name, size_t len, struct item item)
{
	if (array_grow(&j->children, &j->children_cap, j->nchildren + 1, sizeof(*j->children)) < 0)
		return ply_fail_nomem(j->err);
	j->children[j->nchildren++] = (struct child){ item, name, len };
	return 0;
}

/* Rows that there were; their names from their first members. */
static int old_children(struct joining *j, const struct item *item)
{
	struct join_row row;
	int r = join_row(j->join, item->old, &row, j->err);

	for (uint64_t i = 0; r == 0 && i < row.nchildren; i++) {
		struct join_row child;
		struct join_member m;
		struct ply_node node;
		struct ply_entry e;

		if (row.first_child + i >= join_nrows(j->join) || row.first_child + i <= item->old)
			return bad(j, item->old);
		r = join_row(j->join, row.first_child + i, &child, j->err);
		if (r == 0)
			r = join_member(j->join, &child, 0, &m, j->err);
		if (r == 0 && !sub_of(j, m.ref))
			r = bad(j, row.first_child + i);
		if (r == 0)
			r = sub_node(sub_of(j, m.ref), PLY_INO_INDEX(m.ref), &node, j->err);
		if (r == 0)
			r = sub_entry(sub_of(j, m.ref), node.entry, &e, j->err);
		if (r == 0)
			r = add_child(j, e.name, e.name_len, (struct item){ .old = row.first_child + i });
	}
	return r;
}

/* The directory that an entry stands for, one that is gone too; 0: none. */
static uint64_t dir_of(const struct ply_entry *e)
{
	return e->type == S_IFDIR >> 12 || e->type == PLY_T_WHITEOUT ? e->ref : 0;
}

/* The one of @n members in j->refs that has a directory @e; *ret 0: none. */
static int find_holder(struct joining *j, uint32_t n, const struct ply_entry *e, uint64_t *ret)
{
	*ret = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct sub *sub = sub_of(j, j->refs[i]);
		struct ply_node dir;
		struct ply_entry found;
		uint64_t at;
		int r = sub_node(sub, PLY_INO_INDEX(j->refs[i]), &dir, j->err);

		if (r == 0)
			r = sub_find(sub, &dir, e->name, e->name_len, &at, &found, j->err);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		if (dir_of(&found)) {
			*ret = PLY_INO(PLY_INO_NUMBER(j->refs[i]), dir_of(&found));
			return 0;
		}
	}
	return 0;
}

static int my_children(struct joining *j, const struct item *item)
{
	struct ply_node dir;
	uint32_t n;
	int r = sub_node(j->mine, item->mine, &dir, j->err);

	if (r == 0)
		r = members_of(j, item, &n);
	for (uint64_t i = 0; r == 0 && i < dir.size; i++) {
		struct ply_entry e;
		uint64_t holder;

		r = sub_entry(j->mine, dir.data + i, &e, j->err);
		if (r < 0 || !dir_of(&e))
			continue;
		r = find_holder(j, n, &e, &holder);
		if (r == 0 && holder)
			r = add_child(j, e.name, e.name_len,
				      (struct item){ .old = NO_ROW, .holder = holder, .mine = e.ref });
	}
	return r;
}

/* By name; of one name the old row first. */
static int by_name(const void *a, const void *b)
{
	const struct child *x = a, *y = b;
	int c = memcmp(x->name, y->name, MIN(x->len, y->len));

	if (!c && x->len != y->len)
		c = x->len < y->len ? -1 : 1;
	return c ? c : (x->item.old == NO_ROW) - (y->item.old == NO_ROW);
}

static int write_children(struct joining *j, size_t at)
{
	struct item item = j->queue[at];
	uint64_t n = 0;
	int r = 0;

	j->nchildren = 0;
	if (item.old != NO_ROW)
		r = old_children(j, &item);
	if (r == 0 && item.mine)
		r = my_children(j, &item);
	if (r < 0 || !j->nchildren)
		return r;
	qsort(j->children, j->nchildren, sizeof(*j->children), by_name);
	for (size_t i = 0; r == 0 && i < j->nchildren; i++) {
		struct child *c = &j->children[i], *next = i + 1 < j->nchildren ? c + 1 : NULL;

		if (next && c->item.old != NO_ROW && next->item.old == NO_ROW && c->len == next->len &&
		    !memcmp(c->name, next->name, c->len)) {
			c->item.mine = next->item.mine;
			i++;
		}
		r = push(j, c->item);
		n++;
	}
	return r < 0 ? r : imagew_join_children(j->w, item.row, j->queue[j->n - n].row, n);
}

/* Link groups and shared files: the overlay's files are joined with nothing. */
static int write_rest(struct joining *j)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && j->join && i < join_nrows(j->join); i++) {
		struct item item = { .old = i };
		struct join_row row;
		uint32_t n;

		r = join_row(j->join, i, &row, j->err);
		if (r < 0 || row.kind == PLY_J_DIRECTORY)
			continue;
		r = members_of(j, &item, &n);
		if (r == 0)
			r = imagew_join(j->w, row.kind, j->refs, j->digests, n, NULL, j->err);
	}
	return r;
}

static int open_subs(struct joining *j)
{
	for (uint32_t i = 0; i < ply_image_nsubs(j->image); i++) {
		uint32_t number = ply_image_sub_info(j->image, i)->number;
		int r = image_sub(j->image, i, &j->subs[number], j->err);

		if (r < 0)
			return r;
	}
	return 0;
}

int overlay_join(struct imagew *w, struct ply_image *image, uint32_t number, struct sub *sub, struct ply_err *err)
{
	struct joining j = { .w = w, .image = image, .join = image_join(image), .number = number, .mine = sub,
			     .err = err };
	struct item root = { .old = NO_ROW, .holder = PLY_INO(0, PLY_ROOT_INDEX), .mine = PLY_ROOT_INDEX };
	int r;

	if (j.join && !join_nrows(j.join))
		j.join = NULL;
	if (j.join)
		root.old = 0;
	j.max = sub_limits(sub)->nodes + (j.join ? join_nrows(j.join) : 0);
	j.subs = calloc(PLY_NUMBER_MAX + 1, sizeof(*j.subs));
	j.refs = calloc(PLY_NUMBER_MAX + 2, sizeof(*j.refs));
	j.digests = calloc(PLY_NUMBER_MAX + 2, 32);
	r = j.subs && j.refs && j.digests ? open_subs(&j) : ply_fail_nomem(err);
	if (r == 0 && !sub_of(&j, root.holder))
		r = ply_fail(err, -EUCLEAN, PLY_R_CATALOG_FIELD, "the image has no sub-image 0");
	if (r == 0)
		r = push(&j, root);
	for (size_t i = 0; r == 0 && i < j.n; i++)
		r = write_children(&j, i);
	if (r == 0)
		r = write_rest(&j);
	free(j.subs);
	free(j.refs);
	free(j.digests);
	free(j.queue);
	free(j.children);
	return r;
}
