/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See merged.h. A file that is merged has the inode number of one of the nodes that it is merged from. */
#include "merged.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "cli.h"
#include "merge/compose.h"
#include "merge/merge.h"
#include "planning.h"
#include "tree/view_internal.h"

void merged_find(struct ply_view *view, uint64_t ino, struct merged *ret)
{
	size_t n = view_npairs(view);

	*ret = (struct merged){ 0 };
	for (size_t i = 0; i < n; i++) {
		const struct view_pair *p = view_pair_at(view, i);
		bool is_a = p->a == ino && !(p->flags & PLY_PAIR_A_WHITEOUT);
		bool is_b = p->b == ino && !(p->flags & PLY_PAIR_B_WHITEOUT);

		if ((is_a || is_b) && p->cls >= ret->cls && !view_pair_is_hidden(view, p))
			*ret = (struct merged){ true, p->cls, p->why, p->rule, p->driver };
	}
}

/* --- what it overrides ------------------------------------------------------------------------ */

#define REFS_MAX 64u               /* sub-images that collide at one path, of which is told */

/* The nodes that hold the path: @ino's, and its partners. */
static size_t find_refs(struct ply_view *view, uint64_t ino, uint64_t refs[REFS_MAX])
{
	size_t n = 1;

	refs[0] = ino;
	for (size_t i = 0; i < view_npairs(view); i++) {
		const struct view_pair *p = view_pair_at(view, i);
		bool is_a = p->a == ino && !(p->flags & PLY_PAIR_A_WHITEOUT);
		bool is_b = p->b == ino && !(p->flags & PLY_PAIR_B_WHITEOUT);

		if (is_a && !(p->flags & PLY_PAIR_B_WHITEOUT) && n < REFS_MAX)
			refs[n++] = p->b;
		if (is_b && !(p->flags & PLY_PAIR_A_WHITEOUT) && n < REFS_MAX)
			refs[n++] = p->a;
	}
	return n;
}

/* What one node overrides. */
struct overridden {
	const char *name;          /* its sub-image */
	uint32_t mask;             /* 0: it is no override */
	struct buf of;             /* names, NUL-terminated */
};

static int name_holders(struct ply_image *image, const struct ply_sub_info *info, const char *path, struct buf *out,
			struct ply_err *err)
{
	const struct ply_view_options o = { .names = info->stands_on, .n = info->nstands_on, .undecided_first = true };
	struct ply_view *parent;
	uint32_t subs[16];
	uint64_t ino;
	int n, r = ply_view_open_with(image, &o, &parent, err);

	if (r < 0)
		return r;
	n = ply_view_resolve(parent, path, false, &ino, err);
	if (n == 0)
		n = ply_view_origin(parent, ino, subs, ARRAY_SIZE(subs), err);
	ply_view_close(parent);
	if (n < 0 && n != -ENOENT && n != -ENOTDIR)
		return n;
	for (int i = 0; r == 0 && i < MIN(n, (int)ARRAY_SIZE(subs)); i++)
		r = buf_printf(out, "%s%s", i ? ", " : "", ply_image_sub_info(image, subs[i])->name);
	return r == 0 && buf_add(out, "", 1) == 0 ? 0 : ply_fail_nomem(err);
}

static int find_overridden(struct ply_view *view, uint64_t ref, struct overridden *ret, struct ply_err *err)
{
	struct ply_image *image = ply_view_image(view);
	const struct ply_sub_info *info = NULL;
	_cleanup_buf_ struct buf path = { 0 };
	struct ply_override o;
	struct sub *sub;
	uint32_t i = 0;
	int r;

	for (; i < ply_image_nsubs(image); i++) {
		info = ply_image_sub_info(image, i);
		if (info->number == PLY_INO_NUMBER(ref))
			break;
	}
	if (i == ply_image_nsubs(image) || !(info->flags & PLY_SUB_OVERLAY))
		return 0;
	r = image_sub(image, i, &sub, err);
	if (r < 0)
		return r;
	r = sub_override_find(sub, PLY_INO_INDEX(ref), &o, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = sub_node_path(sub, PLY_INO_INDEX(ref), &path, err);
	if (r == 0)
		r = name_holders(image, info, (const char *)path.data, &ret->of, err);
	ret->name = info->name;
	ret->mask = o.mask;
	return r;
}

static int print_override(const struct overridden *o, struct ply_err *err)
{
	_cleanup_buf_ struct buf what = { 0 };

	if (plan_mask_words(o->mask, &what) < 0)
		return ply_fail_nomem(err);
	printf("  %s changes %.*s of %s's\n", o->name, (int)what.len, (const char *)what.data, (const char *)o->of.data);
	return 0;
}

static json_t *override_json(const struct overridden *o)
{
	static const char *const names[] = { "content", "type", "mode", "owner", "xattrs", "links" };
	json_t *what = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (o->mask >> i & 1)
			json_array_append_new(what, json_string(names[i]));
	return json_pack("{s:s,s:s,s:o}", "sub_image", o->name, "of", (const char *)o->of.data, "changes", what);
}

/* On stdout, or into @json. */
static int tell_overrides(struct ply_view *view, uint64_t ino, json_t *json, struct ply_err *err)
{
	uint64_t refs[REFS_MAX];
	size_t n = find_refs(view, ino, refs);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct overridden o = { 0 };

		r = find_overridden(view, refs[i], &o, err);
		if (r == 0 && o.mask && json)
			json_array_append_new(json, override_json(&o));
		else if (r == 0 && o.mask)
			r = print_override(&o, err);
		buf_done(&o.of);
	}
	return r;
}

/* --- blocks ------------------------------------------------------------------------------------- */

/* Runs that follow one another and are of one sub-image are one. */
struct blocks {
	struct ply_view *view;
	json_t *json;              /* NULL: text */
	uint64_t off, len;
	uint32_t i;
};

static void flush(struct blocks *b)
{
	const char *name;

	if (!b->len)
		return;
	name = ply_image_sub_info(ply_view_image(b->view), ply_view_sub(b->view, b->i))->name;
	if (b->json)
		json_array_append_new(b->json, json_pack("{s:I,s:I,s:s}", "offset", (json_int_t)b->off, "bytes",
							 (json_int_t)b->len, "of", name));
	else
		printf("  %s: bytes %" PRIu64 " to %" PRIu64 "\n", name, b->off, b->off + b->len - 1);
	b->off += b->len;
	b->len = 0;
}

static int on_block(void *ctx, uint64_t len, uint32_t i, struct ply_err *err)
{
	struct blocks *b = ctx;

	(void)err;
	if (b->len && b->i != i)
		flush(b);
	b->i = i;
	b->len += len;
	return 0;
}

static int tell_blocks(struct ply_view *view, uint64_t ino, json_t *json, struct ply_err *err)
{
	struct blocks b = { .view = view, .json = json };
	struct ply_attr a;
	int r = ply_view_attr(view, ino, &a, err);

	if (r < 0 || !S_ISREG(a.mode))
		return r;
	r = view_blocks(view, ino, on_block, &b, err);
	if (r == 0)
		flush(&b);
	return r;
}

/* --- out ------------------------------------------------------------------------------------------ */

static const char *how(const struct merged *m, char *out, size_t len)
{
	const struct merge_driver *d = m->rule == PLY_RULE_DRIVER ? merge_driver_get(m->driver) : NULL;

	if (m->rule)
		snprintf(out, len, "%s%s%s, decided: %s%s%s", plan_class_name(m->cls), m->why ? ": " : "",
			 m->why ? merge_why_text(m->why) : "", policy_rule_name(m->rule), d ? " " : "", d ? d->name : "");
	else
		snprintf(out, len, "%s%s%s", plan_class_name(m->cls), m->why ? ", undecided: " : "",
			 m->why ? merge_why_text(m->why) : "");
	return out;
}

int merged_print(struct ply_view *view, uint64_t ino, const struct merged *m, struct ply_err *err)
{
	char text[256];
	int r = tell_overrides(view, ino, NULL, err);

	if (r < 0 || !m->collides)
		return r;
	printf("  collision: %s\n", how(m, text, sizeof(text)));
	return m->cls >= MERGE_DRIVER ? tell_blocks(view, ino, NULL, err) : 0;
}

int merged_json(struct ply_view *view, uint64_t ino, const struct merged *m, json_t *o, struct ply_err *err)
{
	json_t *overrides = json_array(), *blocks = NULL;
	int r = overrides ? tell_overrides(view, ino, overrides, err) : ply_fail_nomem(err);

	if (r == 0 && m->collides && m->cls >= MERGE_DRIVER) {
		blocks = json_array();
		r = blocks ? tell_blocks(view, ino, blocks, err) : ply_fail_nomem(err);
	}
	if (r < 0) {
		json_decref(overrides);
		json_decref(blocks);
		return r;
	}
	if (json_array_size(overrides))
		json_object_set(o, "overrides", overrides);
	json_decref(overrides);
	if (m->collides)
		json_object_set_new(o, "collision",
				    json_pack("{s:s,s:o,s:o}", "class", plan_class_name(m->cls), "why",
					      m->why ? json_string(merge_why_text(m->why)) : json_null(), "decision",
					      m->rule ? json_string(policy_rule_name(m->rule)) : json_null()));
	if (blocks)
		json_object_set_new(o, "blocks", blocks);
	return 0;
}
