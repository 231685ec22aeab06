/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs layout: a selection of an image as ordinary files in an empty directory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/util.h"
#include "cancel.h"
#include "layout/layout.h"
#include "open.h"
#include "progress.h"
#include "verbs.h"

/* "self" or UID:GID. */
static int parse_owner(const char *text, struct layout_options *o)
{
	unsigned long uid, gid;
	char *end;

	o->map_owner = true;
	if (!strcmp(text, "self")) {
		o->map_uid = geteuid();
		o->map_gid = getegid();
		return 0;
	}
	errno = 0;
	if (*text < '0' || *text > '9')
		return -EINVAL;
	uid = strtoul(text, &end, 10);
	if (*end != ':' || end[1] < '0' || end[1] > '9')
		return -EINVAL;
	gid = strtoul(end + 1, &end, 10);
	if (errno || *end || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return -EINVAL;
	o->map_uid = (uid_t)uid;
	o->map_gid = (gid_t)gid;
	return 0;
}

static double total_s(const struct layout_report *r)
{
	double sum = 0;

	for (int i = 0; i < PHASE_COUNT; i++)
		sum += r->seconds[i];
	return sum;
}

static int print_json(const struct opened *o, const char *target, unsigned streams,
		      const struct layout_report *r)
{
	json_t *phases = json_object(), *lost = json_array(), *subs = json_array();

	for (int i = 0; i < PHASE_COUNT; i++)
		json_object_set_new(phases, layout_phase_names[i], json_real(r->seconds[i]));
	for (int f = 0; f < FIELD_COUNT; f++)
		if (r->lost[f].count)
			json_array_append_new(lost, json_pack("{s:s,s:I,s:s}", "field", r->lost[f].id,
							      "count", (json_int_t)r->lost[f].count,
							      "first", r->lost[f].first));
	for (uint32_t i = 0; i < ply_view_nsubs(o->view); i++)
		json_array_append_new(subs, json_string(ply_image_sub_info(o->image,
									   ply_view_sub(o->view, i))->name));
	return cli_print_json(json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:f,s:o,s:o,s:I,s:I}",
					"target", cli_json_name(target, strlen(target)), "selection", subs,
					"streams", (json_int_t)streams,
					"directories", (json_int_t)r->directories,
					"files", (json_int_t)r->files, "names", (json_int_t)r->names,
					"bytes", (json_int_t)r->bytes, "total_s", total_s(r),
					"seconds", phases, "lost", lost,
					"owners_not_kept", (json_int_t)r->owners,
					"privileges_left_off", (json_int_t)r->privileges));
}

static void print_text(const char *target, const struct layout_report *r)
{
	char size[16], shown[512];

	escape_name_to(target, strlen(target), shown, sizeof(shown));
	printf("%s: %llu files and %llu directories, %s in %.2f s\n", shown,
	       (unsigned long long)r->files, (unsigned long long)r->directories,
	       format_size(r->bytes, size), total_s(r));
	printf("seconds:");
	for (int i = 0; i < PHASE_COUNT; i++)
		printf("%s %s %.2f", i ? "," : "", layout_phase_names[i], r->seconds[i]);
	printf("\n");
	for (int f = 0; f < FIELD_COUNT; f++)
		if (r->lost[f].count)
			printf("lost: %s: %llu (%s)\n", r->lost[f].text,
			       (unsigned long long)r->lost[f].count, r->lost[f].first);
	if (r->owners)
		printf("owners: %llu files do not have the owner that the image gives them; %llu of them "
		       "lost setuid, setgid or capabilities\n", (unsigned long long)r->owners,
		       (unsigned long long)r->privileges);
}

int cmd_layout(int argc, char **argv)
{
	_cleanup_list_ struct cli_list names = { 0 };
	_cleanup_choice_ struct choice choice = { 0 };
	_cleanup_opened_ struct opened image = { 0 };
	struct progress_counters counters = { 0 };
	struct layout_options o = { .streams = MIN(ncpus(), 256u), .sync = true };
	const char *when = NULL, *owner = NULL;
	bool no_sync = false;
	const struct cli_opt opts[] = {
		SELECTION_OPTION(&names),
		CHOICE_OPTIONS(&choice),
		{ "streams", 'j', "N", "parallel streams (default: processors)", CLI_NUMBER, &o.streams },
		{ "no-sync", 0, NULL, "do not wait until it is durable", CLI_FLAG, &no_sync },
		{ "lossy", 0, NULL, "leave out what the target cannot hold, and list it", CLI_FLAG, &o.lossy },
		{ "allow-partial", 0, NULL,
		  "where you cannot give files to their owners, keep them; skip devices", CLI_FLAG,
		  &o.allow_partial },
		{ "map-owner", 0, "WHO", "all files belong to self, or to UID:GID", CLI_TEXT, &owner },
		PROGRESS_OPTION(&when),
		CLI_JSON,
		CLI_END
	};
	const struct cli_spec spec = { "layout", "IMAGE TARGET",
				       "Lay a selection of an image out into an empty directory.", opts, 2, 2 };
	struct layout_report report;
	struct progress *progress;
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args), mode, r;

	if (code < 0)
		code = choice_check(&choice);
	if (code >= 0)
		return code;
	mode = progress_mode(when);
	if (mode < 0)
		return cli_usage("--progress takes auto, never or json, not '%s'", when);
	if (o.streams < 1 || o.streams > LAYOUT_STREAMS_MAX)
		return cli_usage("--streams takes 1 to %d, not %u", LAYOUT_STREAMS_MAX, o.streams);
	if (owner && parse_owner(owner, &o) < 0)
		return cli_usage("--map-owner takes self or UID:GID, not '%s'", owner);
	o.sync = !no_sync;
	o.progress = &counters;
	r = open_view(args.v[0], &names, &choice, &image, &err);
	if (r < 0)
		return cli_fail(&err);
	o.cancel = cancel_on_signals();
	progress = progress_begin((enum progress_mode)mode, "layout", &counters);
	r = layout_run(image.view, args.v[1], &o, &report, &err);
	progress_end(progress);
	if (r < 0)
		return cli_fail(&err);
	if (cli_json)
		return print_json(&image, args.v[1], o.streams, &report);
	print_text(args.v[1], &report);
	return EXIT_DONE;
}
