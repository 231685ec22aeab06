/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One path of the plan: who has what there, how they differ, and what comes of it, with the sub-image that each
 * block is from.
 *
 * Texts are compared as diff -u would, each with what all started from, if there is that, or else with the first; of
 * anything else the contents are named.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/survey.h"
#include "merge/compose.h"
#include "plyfs/disk.h"
#include "planning.h"
#include "show.h"
#include "textdiff.h"
#include "tree/view_internal.h"

#define TEXT_MAX ((uint64_t)2 << 20)       /* what is compared by lines */

/* What one has at the path, as far as it can be shown. */
struct side {
	bool has;                  /* a regular file, and loaded */
	struct buf text;
	char *content;
};

static void side_done(struct side *s)
{
	buf_done(&s->text);
	free(s->content);
}

static int load(struct ply_view *view, uint64_t ino, uint64_t size, struct buf *out, struct ply_err *err)
{
	if (buf_reserve(out, size + 1) < 0)
		return ply_fail_nomem(err);
	while (out->len < size) {
		ssize_t n = ply_view_read(view, ino, out->len, size - out->len, out->data + out->len, err);

		if (n <= 0)
			return n < 0 ? (int)n : ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD,
							 "a file is shorter than its size");
		out->len += (size_t)n;
	}
	return 0;
}

/* What @view has at the path of @k; @ret->content is there already. */
static int load_from(struct ply_view *view, const struct collision *k, struct side *ret, struct ply_err *err)
{
	struct ply_attr a;
	uint64_t ino;
	int r = ply_view_resolve(view, k->path, false, &ino, err);

	if (r == 0)
		r = ply_view_attr(view, ino, &a, err);
	if (r < 0 || a.size > TEXT_MAX || !S_ISREG(a.mode))
		return r;
	ret->has = true;
	return load(view, ino, a.size, &ret->text, err);
}

/* What the target has at @path; -errno is not told. *@ret_dir: what @ret is in, to be closed. */
static int look_at_target(const struct survey *s, const char *path, int *ret_dir, struct version *ret)
{
	const char *name = strrchr(path, '/') + 1;

	*ret = (struct version){ .dir = -1 };
	*ret_dir = beneath_open(s->target, path + 1, (size_t)MAX(name - path - 2, 0), O_PATH);
	return *ret_dir < 0 ? *ret_dir : version_of_target(*ret_dir, name, ret);
}

static int load_from_target(const struct survey *s, const struct collision *k, struct side *ret, struct ply_err *err)
{
	_cleanup_version_ struct version v;
	_cleanup_close_ int dir = -1;
	int r = look_at_target(s, k->path, &dir, &v);

	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : ply_fail_sys(err, r, "%s of the target: cannot read", k->path);
	if (!v.there || !S_ISREG(v.c.mode) || v.c.size > TEXT_MAX)
		return 0;
	r = version_load(&v, k->path, NULL, err);
	if (r == 0) {
		ret->has = true;
		ret->text = v.text;
		v.text = (struct buf){ 0 };
	}
	return r;
}

static int load_side(struct planning *p, const struct collision *k, const struct holder *h, struct side *ret,
		     struct ply_err *err)
{
	struct ply_view *view;
	int r = p->c->content(p->c->ctx, h->sub, k->path, &ret->content, err);

	if (r < 0 || h->whiteout || !S_ISREG(h->mode))
		return r;
	if (p->live)
		return h->sub ? load_from(p->live->view, k, ret, err) : load_from_target(p->live, k, ret, err);
	r = collisions_view_of(p->c, h->sub, &view, err);
	return r == 0 ? load_from(view, k, ret, err) : r;
}

/* What all contenders started from: a regular file in the view of what they all stand on. Else it has nothing. */
static int load_base(struct planning *p, const struct collision *k, struct side *ret, struct ply_err *err)
{
	_cleanup_free_ uint32_t *times = NULL;
	_cleanup_list_ struct cli_list names = { 0 };
	struct ply_view_options o = { .undecided_first = true };
	struct ply_view *view;
	int r;

	if (p->live) {
		r = p->live->base ? load_from(p->live->base, k, ret, err) : 0;
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	}
	times = calloc(p->c->nnames, sizeof(*times));
	r = times ? 0 : ply_fail_nomem(err);
	for (size_t i = 0; r == 0 && i < k->n; i++) {
		r = collisions_view_of(p->c, k->v[i].sub, &view, err);
		for (uint32_t s = 0; r == 0 && s < ply_view_nsubs(view); s++)
			times[ply_view_sub(view, s)] += ply_view_sub(view, s) != k->v[i].sub;
	}
	for (uint32_t s = 0; r == 0 && s < p->c->nnames; s++)
		if (times[s] == k->n && cli_list_add(&names, p->c->names[s]) < 0)
			r = ply_fail_nomem(err);
	if (r < 0 || !names.n)
		return r;
	o.names = names.v;
	o.n = names.n;
	r = ply_view_open_with(p->look.image, &o, &view, err);
	if (r < 0)
		return r;
	r = load_from(view, k, ret, err);
	ply_view_close(view);
	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

/* "mysql:/etc/hosts", escaped; malloc-ed. @h NULL: what they started from. */
static char *title(const struct planning *p, const struct collision *k, const struct holder *h)
{
	_cleanup_free_ char *shown = escape_name(k->path, strlen(k->path));
	char *out;

	return !shown || asprintf(&out, "%s:%s", h ? p->c->names[h->sub] : "base", shown) < 0 ? NULL : out;
}

static bool is_text(const struct side *s)
{
	return s->has && !textdiff_is_binary(s->text.data, s->text.len);
}

static int print_difference(const struct planning *p, const struct collision *k, const struct holder *from,
			    const struct side *a, const struct holder *to, const struct side *b, struct ply_err *err)
{
	_cleanup_free_ char *a_name = title(p, k, from), *b_name = title(p, k, to);
	_cleanup_buf_ struct buf out = { 0 };

	if (!a_name || !b_name)
		return ply_fail_nomem(err);
	if (!is_text(a) || !is_text(b)) {
		if (a->content)
			printf("%s: %s\n", a_name, a->content);
		printf("%s: %s\n", b_name, b->content);
		return 0;
	}
	if (textdiff(a_name, a->text.data, a->text.len, b_name, b->text.data, b->text.len, &out) < 0)
		return ply_fail_nomem(err);
	if (out.len)
		fwrite(out.data, 1, out.len, stdout);
	else
		printf("%s and %s: equal contents\n", a_name, b_name);
	return 0;
}

int plan_differences(struct planning *p, const struct collision *k, struct ply_err *err)
{
	const struct holder *from = NULL;
	struct side first = { 0 };
	size_t i = 0;
	int r = load_base(p, k, &first, err);

	if (r == 0 && !is_text(&first)) {
		side_done(&first);
		first = (struct side){ 0 };
		from = &k->v[i++];
		r = load_side(p, k, from, &first, err);
	}
	for (; r == 0 && i < k->n; i++) {
		struct side other = { 0 };

		r = load_side(p, k, &k->v[i], &other, err);
		if (r == 0)
			r = print_difference(p, k, from, &first, &k->v[i], &other, err);
		side_done(&other);
	}
	side_done(&first);
	return r;
}

static void print_attributes(const char *name, uint32_t mode, uint32_t uid, uint32_t gid, uint64_t size, int64_t time)
{
	char mode_text[11], when[32];

	printf("  %-20s %s %u:%u %" PRIu64 " %s", name, show_mode(mode, mode_text), uid, gid, size, show_time(time, when));
}

static void print_in_target(const char *name, const struct survey *s, const char *path)
{
	_cleanup_version_ struct version v;
	_cleanup_close_ int dir = -1;
	int r = look_at_target(s, path, &dir, &v);

	if (r < 0 || !v.there) {
		printf("  %-20s is not there\n", name);
		return;
	}
	print_attributes(name, v.c.mode, v.c.uid, v.c.gid, (uint64_t)v.st.st_size, v.c.mtime_sec);
	if (S_ISLNK(v.c.mode) && version_load(&v, path, NULL, NULL) == 0) {
		_cleanup_free_ char *shown = escape_name((const char *)v.text.data, v.text.len);

		printf(" -> %s", shown ? shown : "?");
	}
	putchar('\n');
}

static void print_file(const char *name, struct ply_view *view, const char *path)
{
	struct ply_attr a;
	struct ply_err err;
	uint64_t ino;
	int r = ply_view_resolve(view, path, false, &ino, &err);

	if (r == -ENOENT || r == -ENOTDIR) {
		printf("  %-20s is not there\n", name);
		return;
	}
	if (r == 0)
		r = ply_view_attr(view, ino, &a, &err);
	if (r < 0) {
		printf("  %-20s cannot be read\n", name);
		cli_note("%s: %s", name, err.msg);
		return;
	}
	print_attributes(name, a.mode, a.uid, a.gid, a.size, a.mtime_sec);
	if (S_ISLNK(a.mode)) {
		const char *to;
		size_t len;
		_cleanup_free_ char *shown = ply_view_readlink(view, ino, &to, &len, NULL) == 0 ?
						     escape_name(to, len) : NULL;

		printf(" -> %s", shown ? shown : "?");
	}
	putchar('\n');
}

void plan_contenders(struct planning *p, const struct collision *k)
{
	for (size_t i = 0; i < k->n; i++) {
		struct ply_view *view;
		struct ply_err err;

		if (p->live && !k->v[i].sub)
			print_in_target(p->c->names[0], p->live, k->path);
		else if (p->live)
			print_file(p->c->names[k->v[i].sub], p->live->view, k->path);
		else if (collisions_view_of(p->c, k->v[i].sub, &view, &err) < 0)
			cli_note("%s: %s", p->c->names[k->v[i].sub], err.msg);
		else
			print_file(p->c->names[k->v[i].sub], view, k->path);
	}
}

/* --- what comes of it ----------------------------------------------------------------------- */

struct block_out {
	struct planning *p;
	struct ply_view *view;
	const struct buf *text;
	uint64_t at;
};

/* Each line with the sub-image that it is from; of binary bytes their number. */
static int print_block(void *ctx, uint64_t len, uint32_t i, struct ply_err *err)
{
	struct block_out *out = ctx;
	const char *name = out->p->c->names[ply_view_sub(out->view, i)];
	const char *s, *end;

	if (len > out->text->len - out->at)
		return ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD, "a merged file is shorter than its blocks");
	s = (const char *)out->text->data + out->at;
	end = s + len;
	out->at += len;
	if (textdiff_is_binary(out->text->data, out->text->len)) {
		printf("  %-10s %" PRIu64 " bytes\n", name, len);
		return 0;
	}
	while (s < end) {
		const char *eol = memchr(s, '\n', (size_t)(end - s));
		_cleanup_free_ char *shown = escape_name(s, (size_t)((eol ? eol : end) - s));

		if (!shown)
			return ply_fail_nomem(err);
		printf("  %-10s %s\n", name, shown);
		s = eol ? eol + 1 : end;
	}
	return 0;
}

/* The view as the decisions make it. */
static int open_result(struct planning *p, struct ply_view **ret, struct ply_err *err)
{
	struct ply_view_options o = { .names = p->names->v, .n = p->names->n, .undecided_first = true };
	struct ply_decision *decisions;
	int r = collisions_decisions(p->c, p->append, &decisions, &o.ndecisions, err);

	if (r < 0)
		return r;
	o.decisions = decisions;
	r = ply_view_open_with(p->look.image, &o, ret, err);
	free(decisions);
	return r;
}

static int print_blocks(struct planning *p, struct ply_view *view, const struct collision *k, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct block_out out = { p, view, &text, 0 };
	struct ply_attr a;
	uint64_t ino;
	int r = ply_view_resolve(view, k->path, false, &ino, err);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r == 0)
		r = ply_view_attr(view, ino, &a, err);
	if (r < 0 || !S_ISREG(a.mode) || a.size > TEXT_MAX)
		return r;
	r = load(view, ino, a.size, &text, err);
	return r == 0 ? view_blocks(view, ino, print_block, &out, err) : r;
}

static int print_result(struct planning *p, const struct collision *k, struct ply_err *err)
{
	struct ply_view *view = NULL;
	char outcome[256];
	int r;

	printf("\n%s\n", plan_outcome(p, k, outcome, sizeof(outcome)));
	if (collision_is_undecided(k, p->append)) {
		_cleanup_buf_ struct buf possible = { 0 };

		if (plan_possible(p, k->group, &possible) < 0)
			return ply_fail_nomem(err);
		printf("possible: %.*s\n", (int)possible.len, (const char *)possible.data);
		return 0;
	}
	r = open_result(p, &view, err);
	if (r < 0)
		return r;
	print_file("result", view, k->path);
	/* a file that is one contender's as it is has been seen */
	r = k->cls >= MERGE_DRIVER ? print_blocks(p, view, k, err) : 0;
	ply_view_close(view);
	return r;
}

int plan_show(struct planning *p, const char *path, struct ply_err *err)
{
	_cleanup_free_ char *shown = escape_name(path, strlen(path)), *absolute = NULL;
	_cleanup_buf_ struct buf what = { 0 };
	const struct collision *k;
	int r;

	if (!shown || asprintf(&absolute, "%s%s", *path == '/' ? "" : "/", path) < 0)
		return ply_fail_nomem(err);
	k = collisions_find(p->c, absolute);
	if (!k)
		return ply_fail(err, -ENOENT, PLY_R_NO_ENTRY,
				"%s: no sub-images of this selection collide there; plyfs origin tells whose it is", shown);
	if (plan_mask_words(k->flags & PLY_OVER_ALL, &what) < 0)
		return ply_fail_nomem(err);
	printf("%s: %s%s%.*s\n", shown, plan_class_name(k->cls), what.len ? "; different: " : "", (int)what.len,
	       what.len ? (const char *)what.data : "");
	if (p->groups[k->group].what)
		printf("%s\n", p->groups[k->group].what);
	plan_contenders(p, k);
	putchar('\n');
	r = plan_differences(p, k, err);
	return r == 0 ? print_result(p, k, err) : r;
}
