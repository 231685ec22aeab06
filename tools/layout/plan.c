/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plan of a layout: see plan.h. How is it made, and what does a made one answer?
 *
 * Two passes. The first (plan_list.c) lists every directory of the view, and leaves for each sub-image which rows of its
 * ENTRIES the view shows in which directory. The second (plan_batches.c) goes over these rows in their order and cuts them
 * into batches. Both sum up what the target must be able to hold (plan_needs.c).
 *
 * Rejected: walking with ply_view_walk() and keeping a row for each file (fifty times the
 * memory); cutting by nodes (a name that is hidden has a node too).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "layout/plan_impl.h"

#define PIECES_MAX   65536u        /* of all big files; what is beyond is not split */

/* --- making it ------------------------------------------------------------------------ */

int plan_filtered(struct ply_view *view, uint64_t block, const struct plan_filter *filter, const atomic_bool *cancel,
		  struct plan **ret, struct ply_err *err)
{
	struct plan *p = calloc(1, sizeof(*p));
	struct scan s = { .p = p, .cancel = cancel, .filter = filter, .hides_files = filter, .err = err,
			  .block = block ? block : 512 };
	int r = 0;

	if (!p)
		return ply_fail_nomem(err);
	p->view = view;
	p->subs = calloc(ply_view_nsubs(view), sizeof(*p->subs));
	s.by_number = calloc(PLY_NUMBER_MAX + 1, sizeof(*s.by_number));
	s.subs = calloc(ply_view_nsubs(view), sizeof(*s.subs));
	s.split_left = PIECES_MAX;
	if (!p->subs || !s.by_number || !s.subs) {
		r = ply_fail_nomem(err);
		goto out;
	}
	p->nsubs = ply_view_nsubs(view);
	for (uint32_t i = 0; r == 0 && i < p->nsubs; i++) {
		s.by_number[ply_image_sub_info(ply_view_image(view), ply_view_sub(view, i))->number] = i;
		r = view_sub_at(view, i, &p->subs[i].sub, err);
		if (r == 0)
			s.split_left += 4 * sub_limits(p->subs[i].sub)->extents;
	}
	if (r == 0)
		r = plan_list_all(&s);
	if (r == 0)
		r = plan_need_directories(&s);
	for (uint32_t i = 0; r == 0 && i < p->nsubs; i++)
		r = plan_cut_batches(&s, i);
	if (r == 0)
		r = plan_group_links(&s);
	plan_sort_specials(p);
	if (r == 0)
		r = plan_need_xattrs(&s);
	for (size_t i = 0; i < p->nbigs; i++)
		pthread_mutex_init(&p->bigs[i].lock, NULL);
out:
	for (uint32_t i = 0; i < p->nsubs; i++)
		free(s.subs[i].sets);
	free(s.subs);
	free(s.ranges);
	map_done(&s.range_map);
	free(s.by_number);
	if (r < 0) {
		plan_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int plan_new(struct ply_view *view, uint64_t block, const atomic_bool *cancel, struct plan **ret, struct ply_err *err)
{
	return plan_filtered(view, block, NULL, cancel, ret, err);
}

struct plan *plan_free(struct plan *p)
{
	if (!p)
		return NULL;
	for (size_t i = 0; i < p->nbigs; i++)
		pthread_mutex_destroy(&p->bigs[i].lock);
	for (uint32_t i = 0; i < p->nsubs; i++) {
		free(p->subs[i].parts);
		free(p->subs[i].batches);
		free(p->subs[i].owners);
	}
	free(p->subs);
	while (p->texts) {
		struct plan_text *t = p->texts;

		p->texts = t->next;
		free(t);
	}
	free(p->dirs);
	free(p->specials);
	free(p->links);
	free(p->link_batches);
	free(p->bigs);
	free(p);
	return NULL;
}

/* --- files, extents, links ------------------------------------------------------------ */

int plan_extents(struct sub *sub, const struct ply_node *n, uint64_t from, uint64_t to,
		 plan_extent_fn fn, void *ctx, struct ply_err *err)
{
	uint64_t end = 0;
	uint32_t i = 0;
	int r;

	if (!S_ISREG(n->mode) || !sub_extent_count(n))
		return 0;
	if (from) {
		struct ply_extent e;

		r = sub_extent_at(sub, n, from, &e, &i, err);
		if (r == -ENXIO)
			return 0;
		if (r < 0)
			return r;
	}
	for (; i < sub_extent_count(n); i++) {
		struct ply_extent e;
		uint64_t cut;

		r = sub_node_extent(sub, n, i, &e, err);
		if (r < 0)
			return r;
		if (e.off < end)
			return ply_fail(err, -EUCLEAN, PLY_R_EXTENT_FIELD, "extents that overlap");
		end = e.off + e.len;
		if (e.off >= to)
			break;
		if (end <= from)
			continue;
		cut = from > e.off ? from - e.off : 0;
		e.off += cut;
		e.addr += cut;
		e.len = MIN(end, to) - e.off;
		r = fn(ctx, &e, err);
		if (r)
			return r;
	}
	return 0;
}

struct plan_big *plan_find_big(const struct plan *p, uint32_t sub, uint64_t at)
{
	size_t lo = 0, hi = p->nbigs;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct plan_big *b = &p->bigs[mid];

		if (b->sub == sub && b->at == at)
			return &p->bigs[mid];
		if (b->sub < sub || (b->sub == sub && b->at < at))
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const struct plan_link *plan_link_first(const struct plan *p, uint64_t ino)
{
	size_t lo = 0, hi = p->nlinks;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->links[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->nlinks && p->links[lo].ino == ino ? &p->links[lo] : NULL;
}

/* --- names and paths ------------------------------------------------------------------ */

int plan_entry_name(const struct plan *p, const struct where *w, const struct ply_entry *e, char buf[PLY_NAME_MAX],
		    const char **ret, size_t *ret_len, struct ply_err *err)
{
	return view_entry_name(p->view, p->dirs[w->dir].ino, w->sub, w->at, e, buf, ret, ret_len, err);
}

int plan_name_path(const struct plan *p, uint32_t d, const char *name, size_t len, struct buf *out)
{
	size_t n = len;
	char *at;

	for (uint32_t i = d; i; i = p->dirs[i].parent)
		n += p->dirs[i].name_len + (n ? 1u : 0u);
	out->len = 0;
	if (buf_reserve(out, n + 1) < 0)
		return -ENOMEM;
	out->len = n;
	at = (char *)out->data + n;
	*at = '\0';
	at -= len;
	memcpy(at, name, len);
	for (uint32_t i = d; i; i = p->dirs[i].parent) {
		if (*at)
			*--at = '/';
		at -= p->dirs[i].name_len;
		memcpy(at, p->dirs[i].name, p->dirs[i].name_len);
	}
	return 0;
}

uint32_t plan_find_dir(const struct plan *p, uint32_t parent, const char *name)
{
	size_t len = strlen(name);

	for (size_t d = 1; d < p->ndirs; d++)
		if (p->dirs[d].parent == parent && p->dirs[d].name_len == len &&
		    memcmp(p->dirs[d].name, name, len) == 0)
			return (uint32_t)d;
	return 0;
}

void plan_path(const struct plan *p, const struct where *w, char *out, size_t cap)
{
	const char *tail = "";
	size_t tail_len = 0, len = 0;
	char name[PLY_NAME_MAX];
	struct ply_entry e;
	char *path;

	if (w->at != WHERE_DIR && sub_entry(p->subs[w->sub].sub, w->at, &e, NULL) == 0 &&
	    plan_entry_name(p, w, &e, name, &tail, &tail_len, NULL) < 0) {
		tail = e.name;
		tail_len = e.name_len;
	}
	for (uint32_t d = w->dir; d; d = p->dirs[d].parent)
		len += 1u + p->dirs[d].name_len;
	len += 1 + tail_len;
	path = malloc(len);
	if (!path) {
		escape_name_to(tail, tail_len, out, cap);
		return;
	}
	if (w->at == WHERE_DIR && w->dir)
		len--;             /* "/usr", but "/" for the root */
	else
		memcpy(path + len - tail_len, tail, tail_len);
	path[0] = '/';
	if (w->at != WHERE_DIR)
		path[len - tail_len - 1] = '/';
	for (size_t at = w->at == WHERE_DIR ? len : len - tail_len - 1, d = w->dir; d;
	     d = p->dirs[d].parent) {
		at -= p->dirs[d].name_len;
		memcpy(path + at, p->dirs[d].name, p->dirs[d].name_len);
		path[--at] = '/';
	}
	escape_name_to(path, len, out, cap);
	free(path);
}
