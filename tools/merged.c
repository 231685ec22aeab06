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

		if ((is_a || is_b) && p->cls >= ret->cls)
			*ret = (struct merged){ true, p->cls, p->why, p->rule, p->driver };
	}
}

/* --- what it overrides ------------------------------------------------------------------------ */

struct overridden {
	uint32_t mask;             /* 0: it is no override */
	struct buf of;             /* names, NUL-terminated */
};

/* The node's own sub-image is one that stands on others: whose was the path? */
static int find_overridden(struct ply_view *view, uint64_t ino, struct overridden *ret, struct ply_err *err)
{
	struct ply_image *image = ply_view_image(view);
	_cleanup_buf_ struct buf path = { 0 };
	struct ply_view *parent = NULL;
	const struct ply_sub_info *info;
	struct ply_override o;
	struct view_file f;
	uint32_t subs[16];
	uint64_t at;
	int n, r = view_file(view, ino, &f, err);

	if (r == -ESTALE)          /* of what the mount does not select */
		return 0;
	if (r < 0)
		return r;
	info = ply_image_sub_info(image, ply_view_sub(view, f.i));
	if (!(info->flags & PLY_SUB_OVERLAY) || info->number != PLY_INO_NUMBER(ino))
		return 0;
	r = sub_override_find(f.sub, PLY_INO_INDEX(ino), &o, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = sub_node_path(f.sub, PLY_INO_INDEX(ino), &path, err);
	if (r == 0)
		r = ply_view_open_with(image, &(struct ply_view_options){ .names = info->stands_on, .n = info->nstands_on,
									  .undecided_first = true }, &parent, err);
	if (r == 0)
		r = ply_view_resolve(parent, (const char *)path.data, false, &at, err);
	n = r < 0 ? r : ply_view_origin(parent, at, subs, ARRAY_SIZE(subs), err);
	ply_view_close(parent);
	if (n < 0)
		return n == -ENOENT || n == -ENOTDIR ? 0 : n;
	for (int i = 0; r == 0 && i < MIN(n, (int)ARRAY_SIZE(subs)); i++)
		r = buf_printf(&ret->of, "%s%s", i ? ", " : "", ply_image_sub_info(image, subs[i])->name);
	ret->mask = o.mask;
	return r == 0 && buf_add(&ret->of, "", 1) == 0 ? 0 : ply_fail_nomem(err);
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
	_cleanup_buf_ struct buf what = { 0 };
	struct overridden o = { 0 };
	char text[256];
	int r = find_overridden(view, ino, &o, err);

	if (r == 0 && o.mask) {
		if (plan_mask_words(o.mask, &what) < 0)
			r = ply_fail_nomem(err);
		else
			printf("  overrides %.*s of %s's\n", (int)what.len, (const char *)what.data, (const char *)o.of.data);
	}
	buf_done(&o.of);
	if (r < 0 || !m->collides)
		return r;
	printf("  collision: %s\n", how(m, text, sizeof(text)));
	return m->cls >= MERGE_DRIVER ? tell_blocks(view, ino, NULL, err) : 0;
}

int merged_json(struct ply_view *view, uint64_t ino, const struct merged *m, json_t *o, struct ply_err *err)
{
	static const char *const names[] = { "content", "type", "mode", "owner", "xattrs", "links" };
	struct overridden over = { 0 };
	int r = find_overridden(view, ino, &over, err);

	if (r == 0 && over.mask) {
		json_t *what = json_array();

		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (over.mask >> i & 1)
				json_array_append_new(what, json_string(names[i]));
		json_object_set_new(o, "overrides", json_pack("{s:s,s:o}", "of", (const char *)over.of.data, "changes",
							      what));
	}
	buf_done(&over.of);
	if (r < 0 || !m->collides)
		return r;
	json_object_set_new(o, "collision",
			    json_pack("{s:s,s:o,s:o}", "class", plan_class_name(m->cls), "why",
				      m->why ? json_string(merge_why_text(m->why)) : json_null(), "decision",
				      m->rule ? json_string(policy_rule_name(m->rule)) : json_null()));
	if (m->cls >= MERGE_DRIVER) {
		json_t *blocks = json_array();

		r = tell_blocks(view, ino, blocks, err);
		if (r < 0)
			json_decref(blocks);
		else
			json_object_set_new(o, "blocks", blocks);
	}
	return r;
}
