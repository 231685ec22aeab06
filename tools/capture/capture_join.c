/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The join table of a capture: directories that stand in several sub-images, breadth-first from
 * the root, those of one parent together; then link groups, in order of their first
 * member; then shared files. Members are in order of rank, which is here the order of numbers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "capture/capture.h"
#include "image/image_write.h"

static int by_place(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return x->ref < y->ref ? -1 : x->ref > y->ref;
}

static bool same(const struct placed *a, const struct placed *b)
{
	return a->node == b->node && a->group == b->group;
}

/* The members of directory or shared file @node: where they begin in placed, and how many. */
static size_t find_dir(const struct capture *cap, uint32_t node, uint32_t *ret_n)
{
	size_t lo = 0, hi = cap->nplaced;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (cap->placed[mid].node < node)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_n = 0;
	while (lo + *ret_n < cap->nplaced && cap->placed[lo + *ret_n].node == node)
		++*ret_n;
	return lo;
}

static int add_row(struct capture *cap, uint8_t kind, size_t first, uint32_t n, uint64_t *ret_row,
		   struct ply_err *err)
{
	uint64_t refs[SPLIT_MAX];
	uint8_t digests[SPLIT_MAX * 32];

	for (uint32_t i = 0; i < n; i++) {
		refs[i] = cap->placed[first + i].ref;
		memcpy(digests + 32 * (size_t)i, cap->placed[first + i].digest, 32);
	}
	return imagew_join(cap->image, kind, refs, kind == PLY_J_DIRECTORY ? NULL : digests, n, ret_row, err);
}

struct queued {
	uint32_t node;
	uint64_t row;
};

static int write_dirs(struct capture *cap, struct ply_err *err)
{
	struct queued *q = NULL;
	size_t n = 0, q_cap = 0;
	uint64_t row;
	uint32_t nmembers;
	size_t first = find_dir(cap, SCAN_ROOT, &nmembers);
	int r;

	if (nmembers < 2)
		return 0;
	r = add_row(cap, PLY_J_DIRECTORY, first, nmembers, &row, err);
	if (r == 0 && array_grow(&q, &q_cap, 1, sizeof(*q)) < 0)
		r = ply_fail_nomem(err);
	if (r == 0)
		q[n++] = (struct queued){ SCAN_ROOT, row };
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct scan_node *d = &cap->scan->nodes[q[i].node];
		uint64_t first_row = 0, nrows = 0;

		for (uint32_t k = d->first_child; r == 0 && k < d->first_child + d->nchildren; k++) {
			if (!S_ISDIR(cap->scan->nodes[k].mode))
				continue;
			first = find_dir(cap, k, &nmembers);
			if (nmembers < 2)
				continue;
			r = add_row(cap, PLY_J_DIRECTORY, first, nmembers, &row, err);
			if (r == 0 && array_grow(&q, &q_cap, n + 1, sizeof(*q)) < 0)
				r = ply_fail_nomem(err);
			if (r < 0)
				break;
			if (!nrows++)
				first_row = row;
			q[n++] = (struct queued){ k, row };
		}
		if (r == 0 && nrows)
			r = imagew_join_children(cap->image, q[i].row, first_row, nrows);
	}
	free(q);
	return r;
}

struct group {
	uint64_t ref;              /* of its first member */
	size_t first;
	uint32_t n;
};

static int by_ref(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return x->ref < y->ref ? -1 : x->ref > y->ref;
}

/* Read at different moments, the members may differ: that is told, as for any file that changes. */
static int tell_unequal(struct capture *cap, const struct group *g, struct ply_err *err)
{
	const struct placed *p = &cap->placed[g->first];
	struct capture_report *r = cap->report;

	for (uint32_t i = 1; i < g->n; i++)
		if (memcmp(p[0].digest, p[i].digest, sizeof(p[0].digest)) != 0)
			return capture_note(&r->changed, &r->nchanged, &r->changed_cap, cap->scan, p[i].name) < 0 ?
				ply_fail_nomem(err) : 0;
	return 0;
}

static int write_groups(struct capture *cap, struct ply_err *err)
{
	struct group *v = NULL;
	size_t n = 0, v_cap = 0;
	int r = 0;

	for (size_t i = 0; i < cap->nplaced;) {
		uint32_t members = 1;

		while (i + members < cap->nplaced && same(&cap->placed[i], &cap->placed[i + members]))
			members++;
		if (cap->placed[i].node == SCAN_NONE && members > 1) {
			if (array_grow(&v, &v_cap, n + 1, sizeof(*v)) < 0) {
				free(v);
				return ply_fail_nomem(err);
			}
			v[n++] = (struct group){ cap->placed[i].ref, i, members };
		}
		i += members;
	}
	if (n)
		qsort(v, n, sizeof(*v), by_ref);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = add_row(cap, PLY_J_LINKS, v[i].first, v[i].n, NULL, err);
		if (r == 0)
			r = tell_unequal(cap, &v[i], err);
	}
	free(v);
	return r;
}

/* Shared files, in order of their scanned nodes. */
static int write_files(struct capture *cap, struct ply_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < cap->projection.nfiles; i++) {
		uint32_t nmembers;
		size_t first = find_dir(cap, cap->projection.files[i].node, &nmembers);

		if (nmembers > 1)
			r = add_row(cap, PLY_J_FILE, first, nmembers, NULL, err);
	}
	return r;
}

int capture_write_joins(struct capture *cap, struct ply_err *err)
{
	int r;

	if (cap->nplaced)
		qsort(cap->placed, cap->nplaced, sizeof(*cap->placed), by_place);
	r = write_dirs(cap, err);
	if (r == 0)
		r = write_groups(cap, err);
	return r < 0 ? r : write_files(cap, err);
}
