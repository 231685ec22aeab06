/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs capture --dry-run: the split of a machine, without an image. */
#include "capture/dryrun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"

#define TOLD_MAX 20u

/* The names of @comp: "apache", or "apache,php" of a directory of both. */
static int names_of(const struct split *s, uint16_t comp, struct buf *out)
{
	int r = 0;

	out->len = 0;
	for (size_t c = 0; r == 0 && c < s->ncomps; c++)
		if (split_holds(s, comp, c))
			r = buf_printf(out, "%s%s", out->len ? "," : "", s->comps[c].name);
	return r < 0 ? r : buf_add(out, "", 1);
}

static char *shown_path(const struct scan *scan, uint32_t node, struct buf *path)
{
	if (scan_path(scan, node, path) < 0)
		return NULL;
	return escape_name((const char *)path->data, path->len - 1);
}

void capture_tell_split(const struct scan *scan, const struct split *split)
{
	_cleanup_buf_ struct buf path = { 0 };

	for (size_t i = 0; i < split->nnotes; i++)
		cli_note("%s", split->notes[i]);
	for (size_t i = 0; split->ncomps > 1 && i < split->nunclaimed && i < TOLD_MAX; i++) {
		char *shown = shown_path(scan, split->unclaimed[i], &path);
		uint16_t comp = scan->nodes[split->unclaimed[i]].comp;

		cli_note("of no package and taken by no rule: /%s%s%s", shown ? shown : "",
			 comp & SPLIT_SET ? "" : "; it is in ", comp & SPLIT_SET ? "" : split->comps[comp].name);
		free(shown);
	}
	if (split->ncomps > 1 && split->nunclaimed > TOLD_MAX)
		cli_note("... and %zu more; --json lists them all", split->nunclaimed - TOLD_MAX);
}

static void print(const struct scan *scan, const struct split *s, bool list)
{
	_cleanup_buf_ struct buf path = { 0 }, names = { 0 };
	char size[16];

	for (size_t c = 0; c < s->ncomps; c++) {
		const struct component *comp = &s->comps[c];

		printf("%-24s %6zu packages %9llu files %10s", comp->name, s->closure.comps[c].npkgs,
		       (unsigned long long)comp->nodes, format_size(comp->bytes, size));
		for (size_t i = 0; i < comp->nrequires; i++)
			printf("%s%s", i == 0 ? "  requires " :
			       comp->groups[i] == comp->groups[i - 1] ? " or " : ", ", comp->requires[i]);
		putchar('\n');
	}
	for (uint32_t i = 0; list && i < scan->n; i++) {
		char *shown = shown_path(scan, i, &path);

		if (shown && names_of(s, scan->nodes[i].comp, &names) == 0)
			printf("%s\t/%s\n", (const char *)names.data, shown);
		free(shown);
	}
}

static json_t *json_component(const struct split *s, const struct pkgdb *db, uint32_t c)
{
	const struct component *comp = &s->comps[c];
	json_t *needs = json_array(), *pkgs = json_array();

	for (size_t i = 0; i < comp->nrequires; i++) {
		if (i == 0 || comp->groups[i] != comp->groups[i - 1])
			json_array_append_new(needs, json_array());
		json_array_append_new(json_array_get(needs, json_array_size(needs) - 1),
				      json_string(comp->requires[i]));
	}
	for (uint32_t p = 0; p < s->closure.npkgs; p++) {
		_cleanup_buf_ struct buf why = { 0 };

		if (s->closure.pkgs[p].comp != c || closure_explain(&s->closure, db, p, &why) < 0 ||
		    buf_add(&why, "", 1) < 0)
			continue;
		json_array_append_new(pkgs, json_pack("{s:s,s:s,s:s,s:o}", "name", pkgdb_get(db, p)->name,
						      "architecture", pkgdb_get(db, p)->arch, "version",
						      pkgdb_get(db, p)->version, "why",
						      cli_json_name((const char *)why.data, why.len - 1)));
	}
	return json_pack("{s:s,s:b,s:I,s:I,s:o,s:o}", "name", comp->name, "internal",
			 (int)s->closure.comps[c].internal, "files", (json_int_t)comp->nodes, "bytes",
			 (json_int_t)comp->bytes, "requires", needs, "packages", pkgs);
}

static json_t *json_path(const struct scan *scan, uint32_t node, struct buf *path)
{
	char *shown = shown_path(scan, node, path), *whole;
	json_t *o = NULL;

	if (shown && asprintf(&whole, "/%s", shown) >= 0) {
		o = json_string(whole);
		free(whole);
	}
	free(shown);
	return o;
}

static int print_json(const struct scan *scan, const struct split *s, const struct pkgdb *db, bool list)
{
	_cleanup_buf_ struct buf path = { 0 }, names = { 0 };
	json_t *comps = json_array(), *unclaimed = json_array(), *notes = json_array(), *o;

	for (uint32_t c = 0; c < s->ncomps; c++)
		json_array_append_new(comps, json_component(s, db, c));
	for (size_t i = 0; i < s->nunclaimed; i++)
		json_array_append_new(unclaimed, json_path(scan, s->unclaimed[i], &path));
	for (size_t i = 0; i < s->nnotes; i++)
		json_array_append_new(notes, cli_json_name(s->notes[i], strlen(s->notes[i])));
	o = json_pack("{s:o,s:o,s:o}", "components", comps, "unclaimed", unclaimed, "notes", notes);
	if (o && list) {
		json_t *paths = json_array();

		for (uint32_t i = 0; i < scan->n; i++)
			if (names_of(s, scan->nodes[i].comp, &names) == 0)
				json_array_append_new(paths, json_pack("{s:o,s:s}", "path", json_path(scan, i, &path),
								       "component", (const char *)names.data));
		json_object_set_new(o, "paths", paths);
	}
	return cli_print_json(o);
}

int capture_dry_run(const struct capture_options *o, bool list)
{
	struct scan_options so = { .exclude = o->exclude->v, .nexclude = o->exclude->n,
				   .one_file_system = o->one_file_system, .counters = o->counters };
	struct scan scan = { .root = -1 };
	struct split split = { 0 };
	struct pkgdb *db = NULL;
	struct ply_err err = { 0 };
	int code = EXIT_DONE, r = scan_tree(o->root, &so, &scan, &err);

	if (r == 0)
		r = split_machine(&scan, o->wanted, &db, &split, &err);
	if (r < 0) {
		code = cli_fail(&err);
	} else if (cli_json) {
		code = print_json(&scan, &split, db, list);
	} else {
		capture_tell_split(&scan, &split);
		print(&scan, &split, list);
	}
	split_done(&split);
	pkgdb_close(db);
	scan_done(&scan);
	return code;
}
