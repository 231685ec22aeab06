/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan for programs: an item for each path, printed while it is found. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "format/format.h"
#include "merge/compose.h"
#include "merge/merge.h"
#include "planning.h"
#include "show.h"

static const char *const flag_names[] = { "content", "type", "mode", "owner", "xattrs", "links", "times" };

static const char *reason_name(uint8_t why)
{
	static const char *const names[] = {
#define X(name, number, text) [number] = #name,
		MERGE_WHYS(X)
#undef X
	};

	return why < ARRAY_SIZE(names) && names[why] ? names[why] : "NONE";
}

static json_t *names_of_bits(unsigned bits)
{
	json_t *a = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++)
		if (bits >> i & 1)
			json_array_append_new(a, json_string(flag_names[i]));
	return a;
}

static int contender(const struct planning *p, const struct collision *k, const struct holder *h, json_t **ret,
		     struct ply_err *err)
{
	_cleanup_free_ char *content = NULL;
	struct ply_view *view;
	struct ply_attr a;
	uint64_t ino;
	char mode[8];
	json_t *o;
	int r = p->c->content(p->c->ctx, h->sub, k->path, &content, err);

	if (r < 0)
		return r;
	o = json_pack("{s:s,s:s}", "sub_image", p->c->names[h->sub], "content", content);
	if (!h->whiteout) {
		r = collisions_view_of(p->c, h->sub, &view, err);
		if (r == 0)
			r = ply_view_resolve(view, k->path, false, &ino, err);
		if (r == 0)
			r = ply_view_attr(view, ino, &a, err);
		if (r < 0) {
			json_decref(o);
			return r;
		}
		snprintf(mode, sizeof(mode), "%04o", a.mode & 07777);
		json_object_update_new(o, json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "type", show_type(a.mode), "mode", mode,
						    "uid", (json_int_t)a.uid, "gid", (json_int_t)a.gid, "size_bytes",
						    (json_int_t)a.size, "mtime_s", (json_int_t)a.mtime_sec));
	}
	*ret = o;
	return 0;
}

static json_t *decision(const struct planning *p, const struct collision *k)
{
	uint8_t rule = plan_rule(p, k);
	const struct merge_driver *d = rule == PLY_RULE_DRIVER ? merge_driver_get(k->driver) : NULL;

	if (collision_is_undecided(k, p->append))
		return json_string(rule == POLICY_FAIL ? "fail" : "undecided");
	if (k->cls < MERGE_DRIVER || !rule)
		return json_null();
	return d ? json_pack("{s:s}", "driver", d->name) : json_string(policy_rule_name(rule));
}

static json_t *possible(const struct collision *k)
{
	static const uint8_t rules[] = { PLY_RULE_FIRST, PLY_RULE_LAST, PLY_RULE_APPEND, PLY_RULE_KEEP_BOTH };
	json_t *a = json_array();

	for (size_t i = 0; k->cls >= MERGE_DRIVER && i < ARRAY_SIZE(rules); i++)
		if (!collision_refuses(k, rules[i]))
			json_array_append_new(a, json_string(policy_rule_name(rules[i])));
	return a;
}

static int item(const struct planning *p, const struct collision *k, json_t **ret, struct ply_err *err)
{
	const struct plan_group *g = &p->groups[k->group];
	json_t *contenders = json_array(), *o;
	char text[256];

	for (size_t i = 0; i < k->n; i++) {
		json_t *c = NULL;
		int r = contender(p, k, &k->v[i], &c, err);

		if (r < 0) {
			json_decref(contenders);
			return r;
		}
		json_array_append_new(contenders, c);
	}
	o = json_pack("{s:o,s:s,s:s,s:o,s:b,s:o,s:o,s:s,s:I,s:o}", "path", cli_json_name(k->path, strlen(k->path)),
		      "class", plan_class_name(k->cls), "why", reason_name(k->why), "differs",
		      names_of_bits(k->flags & 127u), "appendable", k->appendable, "possible", possible(k), "decision",
		      decision(p, k), "result", plan_outcome(p, k, text, sizeof(text)), "set", (json_int_t)k->group,
		      "contenders", contenders);
	if (o && g->package)
		json_object_set_new(o, "package", cli_json_name(g->package, strlen(g->package)));
	if (o && g->what)          /* escaped already */
		json_object_set_new(o, "versions", json_string(g->what));
	*ret = o;
	return 0;
}

/* --- overrides --------------------------------------------------------------------------------- */

struct change_out {
	const struct planning *p;
	json_t *list;
};

static int add_change(void *ctx, const struct plan_change *c, struct ply_err *err)
{
	struct change_out *out = ctx;
	json_t *o = json_pack("{s:s,s:o,s:o,s:b,s:s}", "sub_image", out->p->c->names[c->sub], "path",
			      cli_json_name(c->path, strlen(c->path)), "changes", names_of_bits(c->mask), "deletes",
			      !c->mask, "of", c->of);

	return o && json_array_append_new(out->list, o) == 0 ? 0 : ply_fail_nomem(err);
}

/* Counts of each overlay; with --all, each of them too. */
static int changes(struct planning *p, json_t *counts, json_t *list, struct ply_err *err)
{
	struct change_out out = { p, list };

	for (uint32_t i = 0; i < ply_view_nsubs(p->look.view); i++) {
		uint32_t sub = ply_view_sub(p->look.view, i);
		struct plan_changes n;
		json_t *o;
		int r;

		if (!(ply_image_sub_info(p->look.image, sub)->flags & PLY_SUB_OVERLAY))
			continue;
		r = plan_changes(p, sub, &n, p->all ? add_change : NULL, &out, err);
		if (r < 0)
			return r;
		o = json_pack("{s:s,s:I,s:I}", "sub_image", p->c->names[sub], "overrides", (json_int_t)n.n, "deletes",
			      (json_int_t)n.deleted);
		for (size_t b = 0; b < ARRAY_SIZE(n.by); b++)
			json_object_set_new(o, flag_names[b], json_integer((json_int_t)n.by[b]));
		json_array_append_new(counts, o);
	}
	return 0;
}

int plan_print_json(struct planning *p, int *ret_code, struct ply_err *err)
{
	json_t *counts = json_array(), *list = json_array(), *selected = json_array(), *tail;
	struct show_array out;
	size_t undecided = 0;
	int r = 0;

	for (uint32_t i = 0; i < ply_view_nsubs(p->look.view); i++)
		json_array_append_new(selected, json_string(p->c->names[ply_view_sub(p->look.view, i)]));
	show_begin(&out, json_pack("{s:o,s:I,s:o}", "image", cli_json_name(p->path, strlen(p->path)), "generation",
				   (json_int_t)ply_image_generation(p->look.image)->generation, "selected", selected),
		   "items");
	for (size_t i = 0; r == 0 && i < p->c->n; i++) {
		json_t *o = NULL;

		r = item(p, &p->c->v[i], &o, err);
		if (r == 0)
			show_item(&out, o);
		undecided += collision_is_undecided(&p->c->v[i], p->append);
	}
	if (r == 0)
		r = changes(p, counts, list, err);
	if (r < 0) {
		cli_note("%s", err->msg);
		json_decref(counts);
		json_decref(list);
		tail = json_pack("{s:o}", "error", cli_json_error(err));
		*ret_code = cli_exit_code(err);
	} else {
		tail = json_pack("{s:I,s:o}", "undecided", (json_int_t)undecided, "overlays", counts);
		if (p->all)
			json_object_set_new(tail, "overrides", list);
		else
			json_decref(list);
		*ret_code = EXIT_DONE;
	}
	r = show_end(&out, tail);
	*ret_code = MAX(*ret_code, r);
	return 0;
}
