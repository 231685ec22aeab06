/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs capture: options and report; the work is in tools/capture. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/util.h"
#include "cancel.h"
#include "capture/capture.h"
#include "capture/dryrun.h"
#include "capture/glob.h"
#include "cli.h"
#include "codec/codec.h"
#include "verbs.h"

#define JOBS_MAX 256u

static json_t *json_paths(char **v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(v[i]));
	return a;
}

static int print_json(const struct capture_options *o, const struct capture_report *r, double seconds)
{
	json_t *subs = json_array(), *left_out = json_array(), *notes = json_array();

	for (size_t i = 0; i < r->split.nnotes; i++)
		json_array_append_new(notes, cli_json_name(r->split.notes[i], strlen(r->split.notes[i])));
	for (size_t i = 0; i < r->nsubs; i++)
		json_array_append_new(subs, json_pack("{s:s,s:I,s:I,s:I}", "name", r->subs[i].name, "inodes",
						      (json_int_t)r->subs[i].files, "bytes",
						      (json_int_t)r->subs[i].bytes, "stored_bytes",
						      (json_int_t)r->subs[i].stored));
	for (size_t i = 0; i < r->scan.nleft_out; i++) {
		const struct scan_note *n = &r->scan.left_out[i];

		json_array_append_new(left_out,
				      json_pack("{s:o,s:s,s:o}", "path",
						cli_json_name(n->path, strlen(n->path)), "why",
						scan_why_text(n->why), "type",
						cli_json_name(n->type, strlen(n->type))));
	}
	return cli_print_json(json_pack("{s:o,s:o,s:I,s:I,s:I,s:f,s:o,s:o,s:o,s:o,s:I,s:o}", "root",
					cli_json_name(o->root, strlen(o->root)), "image",
					cli_json_name(o->image, strlen(o->image)), "inodes",
					(json_int_t)r->files, "bytes", (json_int_t)r->bytes, "image_bytes",
					(json_int_t)r->image_bytes, "seconds", seconds, "sub_images", subs,
					"left_out", left_out, "changed", json_paths(r->changed, r->nchanged),
					"vanished", json_paths(r->vanished, r->nvanished), "unreadable",
					(json_int_t)r->skipped, "notes", notes));
}

static void print(const struct capture_options *o, const struct capture_report *r, double seconds)
{
	char a[16], b[16];

	for (size_t i = 0; i < r->nsubs; i++)
		printf("%-24s %9llu files %10s, stored %10s\n", r->subs[i].name,
		       (unsigned long long)r->subs[i].files, format_size(r->subs[i].bytes, a),
		       format_size(r->subs[i].stored, b));
	printf("%s: %llu files, %s in %s, %.1f s\n", o->image, (unsigned long long)r->files,
	       format_size(r->bytes, a), format_size(r->image_bytes, b), seconds);
}

static int read_wanted(struct manifest *m, const char *file, const struct cli_list *options,
		       struct ply_err *err)
{
	int r = file ? manifest_read(m, file, err) : 0;

	for (size_t i = 0; r == 0 && i < options->n; i++)
		r = manifest_add(m, options->v[i], err);
	return r;
}

int cmd_capture(int argc, char **argv)
{
	_cleanup_list_ struct cli_list wanted = { 0 }, exclude = { 0 };
	struct manifest manifest = { 0 };
	const char *manifest_file = NULL;
	unsigned level = CODEC_LEVEL_DEFAULT, jobs = MIN(ncpus(), JOBS_MAX);
	bool dry_run = false, list = false;
	bool force = false, allow_partial = false, one_file_system = false;
	const char *when = NULL;
	const struct cli_opt opts[] = {
		{ "component", 'c', "NAME=WHAT[,...]",
		  "a sub-image of its own for these packages, or for the paths that match /GLOB", CLI_LIST,
		  &wanted },
		{ "manifest", 'm', "FILE", "components and rules from a manifest, see plyfs-manifest(5)", CLI_TEXT,
		  &manifest_file },
		{ "exclude", 'x', "GLOB", "leave out what matches, from ROOT: /var/cache/**", CLI_LIST, &exclude },
		{ "level", 0, "N", "of zstd, 1 to 19 (3)", CLI_NUMBER, &level },
		{ "jobs", 'j', "N", "threads that compress (one for each processor)", CLI_NUMBER, &jobs },
		{ "force", 'f', NULL, "replace IMAGE where it exists, once the new one is whole", CLI_FLAG, &force },
		{ "dry-run", 'n', NULL, "print the split, write nothing; IMAGE may be left out", CLI_FLAG, &dry_run },
		{ "list", 0, NULL, "with --dry-run: each path with its component", CLI_FLAG, &list },
		{ "one-file-system", 0, NULL, "leave out local file systems mounted below ROOT", CLI_FLAG,
		  &one_file_system },
		{ "allow-partial", 0, NULL, "leave out, and count, what this user cannot read", CLI_FLAG,
		  &allow_partial },
		PROGRESS_OPTION(&when),
		CLI_JSON,
		CLI_END
	};
	const struct cli_spec spec = { "capture", "ROOT IMAGE",
				       "Capture the machine whose root directory is ROOT into a new image.", opts,
				       1, 2 };
	struct progress_counters counters = { 0 };
	struct capture_report report = { .scan.root = -1 };
	struct capture_options o;
	struct progress *progress;
	struct ply_err err = { 0 };
	struct cli_args args;
	double start = clock_s();
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
	if (args.n == 1 && !dry_run)
		return cli_usage("an operand is missing: IMAGE");
	if (list && !dry_run)
		return cli_usage("--list goes with --dry-run");
	o = (struct capture_options){ .root = args.v[0], .image = args.v[1], .wanted = &manifest,
				      .exclude = &exclude, .level = (int)level, .jobs = jobs, .force = force,
				      .allow_partial = allow_partial, .one_file_system = one_file_system, .counters = &counters,
				      .cancelled = cancel_on_signals() };
	/* file buffers come and go by the ten thousand: not a mapping each time */
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
	r = read_wanted(&manifest, manifest_file, &wanted, &err);
	progress = progress_begin(progress_mode(when), "capture", &counters);
	if (r == 0 && dry_run)
		code = capture_dry_run(&o, list);
	else if (r == 0)
		r = capture_run(&o, &report, &err);
	progress_end(progress);
	if (r < 0) {
		code = cli_fail(&err);
	} else if (!dry_run) {
		capture_tell_left_out(&report, allow_partial);
		capture_tell_split(&report.scan, &report.split);
		code = EXIT_DONE;
		if (cli_json)
			code = print_json(&o, &report, clock_s() - start);
		else
			print(&o, &report, clock_s() - start);
	}
	capture_report_done(&report);
	manifest_done(&manifest);
	return code;
}
