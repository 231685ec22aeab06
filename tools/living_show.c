/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "living_show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/ids.h"
#include "layout_report.h"
#include "merge/compose.h"
#include "policy.h"

#define KIND_WIDTH 9

static const char *const kinds[] = {
	[CHANGE_MAKE] = "make", [CHANGE_SWAP] = "replace", [CHANGE_OUT] = "remove", [CHANGE_META] = "metadata",
	[CHANGE_KEEP] = "keep",
};

struct showing {
	size_t undecided;
	bool wanted;               /* as JSON */
	json_t *json;
};

static void escape_path(const char *path, char out[1024])
{
	size_t at = 0;

	if (path[0] != '/')
		out[at++] = '/';
	escape_name_to(path, strlen(path), out + at, 1024 - at);
}

/* --- text ----------------------------------------------------------------------------------- */

static void print_packages(const struct packages *p)
{
	size_t taken = 0;

	for (size_t i = 0; i < p->needs.npackages; i++)
		taken += p->needs.packages[i].state == NEED_TAKEN;
	for (size_t i = 0; i < p->nclashes; i++) {
		const struct package_clash *c = &p->clashes[i];
		_cleanup_buf_ struct buf text = { 0 };

		if (packages_describe(c, &text) == 0)
			printf("%-*s package %.*s: %s, %zu %s\n", KIND_WIDTH, c->stays ? "keep" : "conflict", (int)text.len,
			       (const char *)text.data, c->stays ? "the target's stays" : "undecided: another version",
			       c->npaths, c->npaths == 1 ? "path" : "paths");
	}
	if (taken)
		printf("%zu %s there already, in the same version\n", taken, taken == 1 ? "package is" : "packages are");
}

static void print_rows(const struct survey *s)
{
	size_t n[ARRAY_SIZE(kinds)] = { 0 };
	char shown[1024];

	print_packages(&s->packages);
	for (size_t i = 0; i < s->changes.n; i++) {
		const struct change *row = &s->changes.v[i];

		n[row->kind]++;
		if (row->kind == CHANGE_MAKE || row->kind == CHANGE_KEEP)
			continue;
		escape_path(row->path, shown);
		printf("%-*s %s\n", KIND_WIDTH, kinds[row->kind], shown);
	}
	for (size_t i = 0; i < s->nconflicts; i++) {
		const struct survey_conflict *c = &s->conflicts[i];

		escape_path(c->path, shown);
		if (!c->rule)
			printf("%-*s %s: undecided: %s\n", KIND_WIDTH, "conflict", shown, merge_why_text(c->k.why));
	}
	printf("%zu names are made, %zu replaced by what is merged, %zu removed, %zu get other metadata, %zu are there already\n",
	       n[CHANGE_MAKE], n[CHANGE_SWAP], n[CHANGE_OUT], n[CHANGE_META], n[CHANGE_KEEP]);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static json_t *json_rows(const struct survey *s)
{
	json_t *all = json_array();

	for (size_t i = 0; i < s->changes.n; i++) {
		const struct change *row = &s->changes.v[i];

		json_array_append_new(all, json_pack("{s:s,s:o}", "kind", kinds[row->kind], "path",
						     cli_json_name(row->path, strlen(row->path))));
	}
	return all;
}

static json_t *json_conflicts(const struct survey *s)
{
	json_t *all = json_array();

	for (size_t i = 0; i < s->nconflicts; i++) {
		const struct survey_conflict *c = &s->conflicts[i];

		json_array_append_new(all, json_pack("{s:o,s:s,s:s,s:s?,s:b,s:s,s:s}", "path",
						     cli_json_name(c->path, strlen(c->path)), "component", c->component, "why", merge_why_text(c->k.why),
						     "rule", c->rule ? policy_rule_name(c->rule) : NULL, "appendable",
						     (c->k.flags & PAIR_APPENDABLE) != 0, "target", c->target_content,
						     "image", c->content));
	}
	return all;
}

static json_t *json_text(const char *text)
{
	return text ? cli_json_name(text, strlen(text)) : json_null();
}

json_t *living_packages(const struct survey *s)
{
	static const char *const states[] = {
		[NEED_NEW] = "new", [NEED_TAKEN] = "taken", [NEED_UPDATE] = "update", [NEED_OTHER_VERSION] = "conflict",
	};
	const struct packages *p = &s->packages;
	const struct package_clash *c = p->clashes;
	json_t *all = json_array(), *one;

	for (size_t i = 0; i < p->needs.npackages; i++) {
		const struct need_package *k = &p->needs.packages[i];

		one = json_pack("{s:o,s:s,s:o,s:o,s:o,s:o}", "package", json_text(k->name), "state", states[k->state],
				"target", json_text(k->have), "target_arch", json_text(k->have_arch), "image",
				json_text(k->version), "image_arch", json_text(k->arch));
		/* clashes are in the order of packages */
		if (one && k->state == NEED_OTHER_VERSION) {
			json_object_set_new(one, "component", json_text(c->component));
			json_object_set_new(one, "paths", json_integer((json_int_t)c->npaths));
			json_object_set_new(one, "rule", json_text(c->stays ? policy_rule_name(POLICY_TARGET) :
								   c->fails ? policy_rule_name(POLICY_FAIL) : NULL));
			c++;
		}
		json_array_append_new(all, one);
	}
	return all;
}

static int show(void *ctx, const struct living *l, struct survey *s, struct ply_err *err)
{
	struct showing *sh = ctx;
	struct layout_report lost = { 0 };
	json_t *names = json_array();
	int r;

	sh->undecided = 0;
	for (size_t i = 0; i < s->nconflicts; i++)
		sh->undecided += !s->conflicts[i].rule;
	r = ids_report(s, &lost, err);
	for (size_t i = 0; i < s->packages.nclashes; i++)
		sh->undecided += !s->packages.clashes[i].stays;
	for (size_t i = 0; i < l->added.n; i++)
		json_array_append_new(names, json_string(l->added.v[i]));
	if (sh->wanted)
		sh->json = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "target", cli_json_name(l->target, strlen(l->target)),
				     "components", names, "packages", living_packages(s), "changes", json_rows(s),
				     "conflicts", json_conflicts(s), "ids_as_root",
				     told_lost_ids_json(&lost));
	else
		json_decref(names);
	if (!cli_json)
		print_rows(s);
	told_lost_ids(&lost);
	layout_report_done(&lost);
	return r;
}

int living_show(struct living *l, size_t *ret_undecided, json_t **ret_json, struct ply_err *err)
{
	struct showing sh = { .wanted = cli_json || ret_json };
	char shown[1024];
	int r = living_look(l, show, &sh, err);

	if (r < 0) {
		json_decref(sh.json);
		return r;
	}
	if (sh.wanted && !sh.json)
		sh.json = json_pack("{s:o,s:[],s:[],s:[],s:[],s:[]}", "target", cli_json_name(l->target, strlen(l->target)),
				    "components", "packages", "changes", "conflicts", "ids_as_root");
	if (!l->added.n && !cli_json) {
		escape_name_to(l->target, strlen(l->target), shown, sizeof(shown));
		printf("%s: all of it is there\n", shown);
	}
	*ret_undecided = sh.undecided;
	if (ret_json)
		*ret_json = sh.json;
	else if (sh.json)
		cli_print_json(sh.json);
	return 0;
}
