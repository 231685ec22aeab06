/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs components: what is worth a component of its own, as a manifest to edit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "capture/propose.h"
#include "capture/split.h"
#include "cli.h"
#include "progress.h"
#include "verbs.h"

#define COLUMNS 96

struct machine {
	const char *root;
	struct scan scan;
	struct pkgdb *db;
	struct rules rules;
	struct proposal proposal;
	struct split split;
};

/* Words behind "# LABEL: ", broken into lines. */
struct words {
	const char *label;
	int at;
	unsigned n;
};

static void put_word(struct words *w, const char *word)
{
	int len = (int)strlen(word);

	if (!w->n++)
		w->at = printf("  # %s: ", w->label);
	else if (w->at + len + 2 > COLUMNS) {
		w->at = printf(",\n  #   ") - 2;
		w->at += 0;
	} else {
		w->at += printf(", ");
	}
	w->at += printf("%s", word);
}

static void end_words(const struct words *w)
{
	if (w->n)
		putchar('\n');
}

static int put_service(void *ctx, const char *name)
{
	put_word(ctx, name);
	return 0;
}

static int read_machine(struct machine *m, struct progress_counters *counters, struct ply_err *err)
{
	struct scan_options o = { .counters = counters };
	int r = scan_tree(m->root, &o, &m->scan, err);

	if (r < 0)
		return r;
	r = pkgdb_open(m->scan.root, &m->db, err);
	if (r < 0 && err->reason == PLY_R_PKGDB_MISSING)
		r = 0;
	if (r == 0 && m->db)
		r = pkgdb_check_finished(m->db, err);
	if (r == 0)
		r = rules_read(NULL, &m->rules, err);
	if (r == 0)
		r = propose(&m->scan, m->db, &m->rules, &m->proposal, err);
	return r < 0 ? r : split_tree(&m->scan, m->db, &m->proposal.manifest, &m->split, err);
}

static const struct manifest_component *wanted(const struct machine *m, const char *name)
{
	const struct manifest *p = &m->proposal.manifest;

	for (size_t i = 0; i < p->ncomps; i++)
		if (!strcmp(p->comps[i].name, name))
			return &p->comps[i];
	return NULL;
}

/* --- YAML ---------------------------------------------------------------------- */

/* Double quotes take any byte of a path; what is no UTF-8 can't be written in YAML. */
static void put_quoted(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if ((unsigned char)*text < 0x20)
			printf("\\x%02x", *text);
		else
			putchar(*text);
	}
	putchar('"');
}

static void put_items(const char *key, const struct manifest_item *v, size_t n, bool quoted)
{
	if (!n)
		return;
	printf("    %s: [", key);
	for (size_t i = 0; i < n; i++) {
		printf(i ? ", " : "");
		if (quoted)
			put_quoted(v[i].text);
		else
			printf("%s", v[i].text);
	}
	printf("]\n");
}

static void put_requires(const struct component *comp)
{
	struct words w = { .label = "requires" };

	for (size_t i = 0; i < comp->nrequires; i++)
		put_word(&w, comp->requires[i]);
	end_words(&w);
}

static int put_facts(const struct machine *m, uint32_t c, struct ply_err *err)
{
	const struct component *comp = &m->split.comps[c];
	struct words services = { .label = "services" }, with = { .label = "with" };
	const struct closure *k = &m->split.closure;
	char size[16];
	int r = 0;

	printf("\n  # %s%s: %s in %llu files, %zu packages\n", comp->name, k->comps[c].internal ? " (internal)" : "",
	       format_size(comp->bytes, size), (unsigned long long)comp->nodes, k->comps[c].npkgs);
	for (uint32_t p = 0; r == 0 && p < k->npkgs; p++)
		if (k->pkgs[p].comp == c)
			r = propose_services(m->db, p, put_service, &services, err);
	end_words(&services);
	put_requires(comp);
	for (uint32_t p = 0; p < k->npkgs; p++)
		if (k->pkgs[p].comp == c && k->pkgs[p].why != WHY_NAMED)
			put_word(&with, pkgdb_get(m->db, p)->name);
	end_words(&with);
	return r;
}

static void put_left(const struct machine *m)
{
	struct words left = { .label = "installed by hand, and in os" };

	for (size_t i = 0; i < m->proposal.nleft; i++)
		put_word(&left, pkgdb_get(m->db, m->proposal.left[i])->name);
	end_words(&left);
}

static int print_yaml(const struct machine *m, struct ply_err *err)
{
	char size[16];
	int r = 0;

	printf("# What is worth a sub-image of its own on this machine. Edit it, then:\n"
	       "#   plyfs capture ROOT IMAGE -m THIS-FILE\n"
	       "# Everything else is os: %s in %llu files, %zu packages.\n"
	       "# Format: plyfs-manifest(5).\n", format_size(m->split.comps[0].bytes, size),
	       (unsigned long long)m->split.comps[0].nodes, m->split.closure.comps[0].npkgs);
	printf("version: 1\n\ncomponents:%s\n", m->proposal.manifest.ncomps ? "" : " {}");
	put_left(m);
	for (uint32_t c = 1; r == 0 && c < m->split.ncomps; c++) {
		const struct manifest_component *w = wanted(m, m->split.comps[c].name);

		r = put_facts(m, c, err);
		if (!w)
			continue;
		printf("  %s:\n", w->name);
		put_items("packages", w->packages, w->npackages, false);
		put_items("paths", w->paths, w->npaths, true);
	}
	return r;
}

/* --- JSON ------------------------------------------------------------------------ */

static int add_service(void *ctx, const char *name)
{
	return json_array_append_new(ctx, json_string(name)) < 0 ? -1 : 0;
}

static json_t *json_items(const struct manifest_item *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, cli_json_name(v[i].text, strlen(v[i].text)));
	return a;
}

static int print_json(const struct machine *m, struct ply_err *err)
{
	json_t *comps = json_array(), *left = json_array();
	const struct closure *k = &m->split.closure;
	int r = 0;

	for (size_t i = 0; i < m->proposal.nleft; i++)
		json_array_append_new(left, json_string(pkgdb_get(m->db, m->proposal.left[i])->name));
	for (uint32_t c = 0; r == 0 && c < m->split.ncomps; c++) {
		const struct component *comp = &m->split.comps[c];
		const struct manifest_component *w = wanted(m, comp->name);
		json_t *all = json_array(), *services = json_array(), *needs = json_array();

		for (uint32_t p = 0; r == 0 && p < k->npkgs; p++) {
			if (k->pkgs[p].comp != c)
				continue;
			json_array_append_new(all, json_string(pkgdb_get(m->db, p)->name));
			if (c)
				r = propose_services(m->db, p, add_service, services, err);
		}
		for (size_t i = 0; i < comp->nrequires; i++)
			json_array_append_new(needs, json_string(comp->requires[i]));
		json_array_append_new(comps, json_pack(
			"{s:s,s:b,s:o,s:o,s:o,s:o,s:o,s:I,s:I}", "name", comp->name, "internal",
			(int)k->comps[c].internal, "packages", json_items(w ? w->packages : NULL, w ? w->npackages : 0),
			"paths", json_items(w ? w->paths : NULL, w ? w->npaths : 0), "all_packages", all,
			"services", services, "requires", needs, "files", (json_int_t)comp->nodes, "bytes",
			(json_int_t)comp->bytes));
	}
	if (r < 0) {
		json_decref(comps);
		json_decref(left);
		return r;
	}
	return cli_print_json(json_pack("{s:o,s:o,s:o}", "root", cli_json_name(m->root, strlen(m->root)),
					"components", comps, "left_in_os", left));
}

int cmd_components(int argc, char **argv)
{
	const char *when = NULL;
	const struct cli_opt opts[] = { PROGRESS_OPTION(&when), CLI_JSON, CLI_END };
	const struct cli_spec spec = { "components", "ROOT",
				       "Propose, as a manifest, which software of the machine below ROOT is worth a sub-image of its own.",
				       opts, 1, 1 };
	struct machine m = { .scan.root = -1 };
	struct progress_counters counters = { 0 };
	struct progress *progress;
	struct ply_err err = { 0 };
	struct cli_args args;
	int r, code = cli_parse(&spec, argc, argv, &args);

	if (code >= 0)
		return code;
	if (progress_mode(when) < 0)
		return cli_usage("--progress is auto, never or json, not '%s'", when);
	m.root = args.v[0];
	progress = progress_begin(progress_mode(when), "components", &counters);
	r = read_machine(&m, &counters, &err);
	progress_end(progress);
	for (size_t i = 0; r == 0 && i < m.split.nnotes; i++)
		cli_note("%s", m.split.notes[i]);
	if (r == 0)
		r = cli_json ? print_json(&m, &err) : print_yaml(&m, &err);
	code = r < 0 ? cli_fail(&err) : r;
	split_done(&m.split);
	proposal_done(&m.proposal);
	rules_done(&m.rules);
	pkgdb_close(m.db);
	scan_done(&m.scan);
	return code;
}
