/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs add: options and report; the work is in tools/add. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "add/add.h"
#include "base/pool.h"
#include "base/util.h"
#include "cancel.h"
#include "capture/dryrun.h"
#include "capture/glob.h"
#include "cli.h"
#include "codec/codec.h"
#include "merge/compose.h"
#include "verbs.h"

#define JOBS_MAX 256u
#define TOLD_MAX 20u

static const char *const kinds[ID_KINDS] = { "user", "group" };

static const char *name_of(const struct add_report *r, enum id_kind kind, uint32_t id)
{
	const char *name = idnames_find(kind == ID_USER ? &r->users : &r->groups, id);

	return name ? name : "";
}

static uint64_t collisions_of(const struct add_report *r)
{
	uint64_t n = 0;

	for (size_t c = 0; c < ARRAY_SIZE(r->collisions); c++)
		n += r->collisions[c];
	return n;
}

/* --- JSON -------------------------------------------------------------------------------------------- */

static json_t *json_ids(const struct add_report *r, enum id_kind kind)
{
	const struct idmap_side *s = &r->ids.side[kind];
	json_t *a = json_array();

	for (size_t i = 0; i < s->npairs; i++) {
		const char *name = name_of(r, kind, s->pairs[i].from);

		json_array_append_new(a, json_pack("{s:o,s:I,s:I}", "name", cli_json_name(name, strlen(name)), "from",
						   (json_int_t)s->pairs[i].from, "to", (json_int_t)s->pairs[i].to));
	}
	return a;
}

static json_t *json_collisions(const struct add_report *r)
{
	static const char *const classes[] = { NULL, "times", "directory", "driver", "three_way", "append", "conflict" };
	json_t *o = json_object();

	for (size_t c = 1; c < ARRAY_SIZE(classes); c++)
		json_object_set_new(o, classes[c], json_integer((json_int_t)r->collisions[c]));
	return o;
}

static json_t *json_conflicts(const struct add_report *r)
{
	json_t *a = json_array();

	/* the paths are escaped already */
	for (size_t i = 0; i < r->nconflicts; i++)
		json_array_append_new(a, json_pack("{s:s,s:s,s:s}", "path", r->conflicts[i].path, "with",
						   r->conflicts[i].with, "why", merge_why_text(r->conflicts[i].why)));
	return a;
}

static json_t *json_texts(char *const *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, cli_json_name(v[i], strlen(v[i])));
	return a;
}

static json_t *json_paths(char *const *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(v[i]));
	return a;
}

static int print_json(const struct add_options *o, const struct add_report *r)
{
	json_t *root = json_pack("{s:o,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "image",
				 cli_json_name(o->image, strlen(o->image)), "name", o->name, "root",
				 cli_json_name(o->root, strlen(o->root)), "generation", (json_int_t)r->generation,
				 "inodes", (json_int_t)r->files, "bytes", (json_int_t)r->bytes, "stored_bytes",
				 (json_int_t)r->stored, "image_bytes", (json_int_t)r->image_bytes, "new",
				 (json_int_t)r->nnew, "changed", (json_int_t)r->nchanged, "deleted",
				 (json_int_t)r->ngone);

	json_object_set_new(root, "users", json_ids(r, ID_USER));
	json_object_set_new(root, "groups", json_ids(r, ID_GROUP));
	json_object_set_new(root, "collisions", json_collisions(r));
	json_object_set_new(root, "conflicts", json_conflicts(r));
	json_object_set_new(root, "changed_while_read", json_paths(r->capture.changed, r->capture.nchanged));
	json_object_set_new(root, "vanished", json_paths(r->capture.vanished, r->capture.nvanished));
	json_object_set_new(root, "unreadable", json_integer((json_int_t)r->capture.skipped));
	json_object_set_new(root, "notes", json_texts(r->notes, r->nnotes));
	return cli_print_json(root);
}

/* --- text ---------------------------------------------------------------------------------------------- */

static void print_ids(const struct add_report *r)
{
	for (int k = 0; k < ID_KINDS; k++) {
		const struct idmap_side *s = &r->ids.side[k];

		for (size_t i = 0; i < s->npairs; i++) {
			const char *name = name_of(r, (enum id_kind)k, s->pairs[i].from);
			char shown[256];

			escape_name_to(name, strlen(name), shown, sizeof(shown));
			printf("  %s %s: %u became %u\n", kinds[k], shown, s->pairs[i].from, s->pairs[i].to);
		}
	}
}

static void print_collisions(const struct add_options *o, const struct add_report *r)
{
	uint64_t all = collisions_of(r), open = r->collisions[PLY_PAIR_CONFLICT];

	if (!all)
		return;
	printf("%llu collisions with other sub-images, %llu of them conflicts that nothing decides%s\n",
	       (unsigned long long)all, (unsigned long long)open, open ? ":" : "");
	for (size_t i = 0; i < r->nconflicts && i < TOLD_MAX; i++)
		printf("  %s with %s: %s\n", r->conflicts[i].path, r->conflicts[i].with,
		       merge_why_text(r->conflicts[i].why));
	if (r->nconflicts > TOLD_MAX)
		printf("  and %zu more\n", r->nconflicts - TOLD_MAX);
	if (open)
		printf("see them all, and get a policy to decide them: plyfs plan %s\n", o->image);
}

static void print(const struct add_options *o, const struct add_report *r)
{
	char a[16], b[16];

	printf("%s: %llu names are new, %llu override, %llu are deleted; %s, stored %s\n", o->name,
	       (unsigned long long)r->nnew, (unsigned long long)r->nchanged, (unsigned long long)r->ngone,
	       format_size(r->bytes, a), format_size(r->stored, b));
	print_ids(r);
	print_collisions(o, r);
	printf("%s: generation %llu, %s\n", o->image, (unsigned long long)r->generation,
	       format_size(r->image_bytes, a));
}

static void tell(const struct add_report *r, bool allow_partial)
{
	capture_tell_left_out(&r->capture, allow_partial);
	for (size_t i = 0; i < r->nnotes; i++)
		cli_note("%s", r->notes[i]);
	if (!r->nnew && !r->nchanged && !r->ngone)
		cli_note("the machine does not differ from what it stands on; there is nothing in its sub-image");
}

int cmd_add(int argc, char **argv)
{
	_cleanup_list_ struct cli_list on = { 0 }, exclude = { 0 };
	unsigned level = CODEC_LEVEL_DEFAULT, jobs = MIN(ncpus(), JOBS_MAX);
	bool allow_partial = false, one_file_system = false, force_mismatch = false;
	const char *when = NULL, *message = NULL;
	const struct cli_opt opts[] = {
		{ "on", 0, "NAMES", "sub-images beside os that the machine was made from, with commas", CLI_NAMES, &on },
		{ "exclude", 'x', "GLOB", "leave out what matches, from ROOT: /var/cache/**", CLI_LIST, &exclude },
		{ "message", 'm', "TEXT", "what the new generation is, for people", CLI_TEXT, &message },
		{ "level", 0, "N", "of zstd, 1 to 19 (3)", CLI_NUMBER, &level },
		{ "jobs", 'j', "N", "threads that compress (one for each processor)", CLI_NUMBER, &jobs },
		{ "one-file-system", 0, NULL, "leave out local file systems mounted below ROOT", CLI_FLAG,
		  &one_file_system },
		{ "allow-partial", 0, NULL, "leave out, and count, what this user cannot read", CLI_FLAG,
		  &allow_partial },
		{ "force-mismatch", 0, NULL, "though distribution or architecture is another", CLI_FLAG,
		  &force_mismatch },
		PROGRESS_OPTION(&when),
		CLI_JSON,
		CLI_END
	};
	const struct cli_spec spec = { "add", "IMAGE NAME ROOT",
				       "Add the machine whose root directory is ROOT to an image, as its difference.", opts,
				       3, 3 };
	struct progress_counters counters = { 0 };
	struct add_report report;
	struct add_options o;
	struct progress *progress;
	struct ply_err err = { 0 };
	struct cli_args args;
	int r, code = cli_parse(&spec, argc, argv, &args);

	if (code >= 0)
		return code;
	if (level < CODEC_LEVEL_MIN || level > CODEC_LEVEL_MAX)
		return cli_usage("--level is %d to %d, not %u", CODEC_LEVEL_MIN, CODEC_LEVEL_MAX, level);
	if (!jobs || jobs > JOBS_MAX)
		return cli_usage("--jobs is 1 to %u, not %u", JOBS_MAX, jobs);
	if (glob_any_too_long(exclude.v, exclude.n))
		return cli_usage("--exclude: a pattern has at most %u bytes", GLOB_MAX);
	if (progress_mode(when) < 0)
		return cli_usage("--progress is auto, never or json, not '%s'", when);
	o = (struct add_options){ .image = args.v[0], .name = args.v[1], .root = args.v[2], .on = &on,
				  .exclude = &exclude, .message = message, .level = (int)level, .jobs = jobs,
				  .allow_partial = allow_partial, .one_file_system = one_file_system,
				  .force_mismatch = force_mismatch, .counters = &counters,
				  .cancelled = cancel_on_signals() };
	/* file buffers come and go by the ten thousand: not a mapping each time */
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
	progress = progress_begin(progress_mode(when), "add", &counters);
	r = add_run(&o, &report, &err);
	progress_end(progress);
	if (r < 0) {
		code = cli_fail(&err);
	} else {
		tell(&report, allow_partial);
		code = EXIT_DONE;
		if (cli_json)
			code = print_json(&o, &report);
		else
			print(&o, &report);
	}
	add_report_done(&report);
	return code;
}
