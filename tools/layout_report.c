/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See layout_report.h. The files are tried before anything is laid out, and written when all is over. */
#include "layout_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/timeline.h"
#include "outfile.h"
#include "show.h"

#define LEFT_TOLD 20u              /* names that are told one by one */

bool told_wants_json(const struct layout_told *t)
{
	return cli_json || t->report;
}

/* On stdout where it is asked for, and kept for the report. Consumes @o. */
static int say(struct layout_told *t, json_t *o)
{
	if (t->report)
		t->json = json_incref(o);
	if (cli_json)
		return cli_print_json(o);
	json_decref(o);
	return EXIT_DONE;
}

static void keep(struct layout_told *t, const char *outcome, const struct layout_report *r, const struct ply_err *err)
{
	t->outcome = outcome;
	t->files = r ? r->files : 0;
	t->bytes = r ? r->bytes : 0;
	if (err)
		t->err = *err;
}

/* For the picture; of very many the first. */
static void keep_names(struct layout_told *t, const struct cli_list *names)
{
	size_t len = 0;

	for (size_t i = 0; i < names->n; i++) {
		size_t more = strlen(names->v[i]) + 2;

		if (len + more + sizeof(", ...") > sizeof(t->changed)) {
			strcpy(t->changed + len, ", ...");
			return;
		}
		len += (size_t)sprintf(t->changed + len, "%s%s", len ? ", " : "", names->v[i]);
	}
}

/* --- what --json prints -------------------------------------------------------------------- */

static double total_s(const struct layout_report *r)
{
	double sum = 0;

	for (int i = 0; i < PHASE_COUNT; i++)
		sum += r->seconds[i];
	return sum;
}

static json_t *json_left(const struct layout_report *r)
{
	json_t *left = json_array();

	for (size_t i = 0; i < r->nleft; i++)
		json_array_append_new(left, json_pack("{s:s,s:s}", "path", r->left[i].path ? r->left[i].path : "",
						      "why", r->left[i].why ? r->left[i].why : ""));
	return left;
}

json_t *told_lost_ids_json(const struct layout_report *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < r->nids; i++)
		json_array_append_new(all, json_pack("{s:s,s:I,s:s?,s:I,s:I}", "kind", r->ids[i].group ? "group" : "user", "id",
						     (json_int_t)r->ids[i].id, "is", r->ids[i].holder, "files",
						     (json_int_t)r->ids[i].files, "acls", (json_int_t)r->ids[i].acls));
	return all;
}

static json_t *json_selection(const struct opened *o)
{
	json_t *subs = json_array();

	for (uint32_t i = 0; o->view && i < ply_view_nsubs(o->view); i++)
		json_array_append_new(subs, json_string(ply_image_sub_info(o->image, ply_view_sub(o->view, i))->name));
	return subs;
}

static json_t *json_target(const struct layout_told *t)
{
	return cli_json_name(t->target, strlen(t->target));
}

/* @err: NULL, or why not all of it was done. */
static json_t *json_layout(const struct layout_told *t, const struct layout_report *r, const struct ply_err *err)
{
	json_t *phases = json_object(), *lost = json_array(), *all;

	for (int i = 0; i < PHASE_COUNT; i++)
		json_object_set_new(phases, layout_phase_names[i], json_real(r->seconds[i]));
	for (int f = 0; f < FIELD_COUNT; f++)
		if (r->lost[f].count)
			json_array_append_new(lost, json_pack("{s:s,s:I,s:s}", "field", r->lost[f].id,
							      "count", (json_int_t)r->lost[f].count,
							      "first", r->lost[f].first));
	all = json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:f,s:o,s:o,s:I,s:I,s:o}",
			"target", json_target(t), "selection", json_selection(t->image),
			"streams", (json_int_t)t->o->streams,
			"directories", (json_int_t)r->directories,
			"files", (json_int_t)r->files, "names", (json_int_t)r->names,
			"bytes", (json_int_t)r->bytes, "total_s", total_s(r),
			"seconds", phases, "lost", lost,
			"owners_not_kept", (json_int_t)r->owners,
			"privileges_left_off", (json_int_t)r->privileges, "left", json_left(r));
	if (err && all)
		json_object_set_new(all, "error", cli_json_error(err));
	return all;
}

static void print_layout(const char *target, const struct layout_report *r)
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

/* --- each end that a run can have --------------------------------------------------------------- */

int told_failure(struct layout_told *t, const struct layout_report *r, const struct ply_err *err)
{
	keep(t, "failed", r, err);
	if (t->report)
		t->json = r ? json_layout(t, r, err) :
			      json_pack("{s:o,s:o,s:o}", "target", json_target(t), "selection",
					json_selection(t->image), "error", cli_json_error(err));
	return cli_fail(err);
}

/* Names of others on stderr; the exit code. */
static int tell_left(const struct layout_report *r, const struct ply_err *err)
{
	for (size_t i = 0; i < r->nleft && i < LEFT_TOLD; i++)
		cli_note("left: %s: %s", r->left[i].path ? r->left[i].path : "?",
			 r->left[i].why ? r->left[i].why : "?");
	if (r->nleft > LEFT_TOLD)
		cli_note("left: %zu more", r->nleft - LEFT_TOLD);
	cli_note("%s", err->msg);
	return cli_exit_code(err);
}

int told_layout(struct layout_told *t, const struct layout_report *r, const struct ply_err *err)
{
	int code = err ? tell_left(r, err) : EXIT_DONE;

	keep(t, err ? "left" : "done", r, err);
	if (told_wants_json(t))
		say(t, json_layout(t, r, err));
	if (!cli_json && !err)
		print_layout(t->target, r);
	return code;
}

int told_short(struct layout_told *t, const char *what, const struct layout_report *r, const struct ply_err *err)
{
	int code = err ? tell_left(r, err) : EXIT_DONE, said;
	char shown[512];

	keep(t, err ? "left" : r->nothing ? "nothing" : "done", r, err);
	if (told_wants_json(t)) {
		json_t *o = json_pack("{s:o,s:b,s:s,s:o}", "target", json_target(t), "nothing", r->nothing, "result",
				      what, "left", json_left(r));

		if (err && o)
			json_object_set_new(o, "error", cli_json_error(err));
		said = say(t, o);
		code = MAX(code, said);
	}
	if (!cli_json && !err) {
		escape_name_to(t->target, strlen(t->target), shown, sizeof(shown));
		printf("%s: %s\n", shown, what);
	}
	return code;
}

static const char *names(uint64_t n) { return n == 1 ? "name" : "names"; }

void told_lost_ids(const struct layout_report *r)
{
	for (size_t i = 0; i < r->nids; i++) {
		const struct layout_lost_id *id = &r->ids[i];
		unsigned long long files = id->files, acls = id->acls;
		char owned[128] = "", listed[128] = "";

		if (files)
			snprintf(owned, sizeof(owned), "%llu %s %s root's, without setuid, setgid and capabilities%s", files, names(files),
				 files == 1 ? "is" : "are", acls ? "; " : "");
		if (acls)
			snprintf(listed, sizeof(listed), "the ACLs of %llu %s are without it", acls, names(acls));
		cli_note("%s %u has no name in the image, and is %s%s on the target: %s%s", id->group ? "group" : "user", id->id,
			 id->holder ? id->holder : "", id->holder ? "" : "another's", owned, listed);
	}
}

/* As cli_fail(), and which packages are why. */
static int fail_packages(const struct ply_err *err, json_t *packages)
{
	if (!cli_json || !packages)
		return cli_fail(err);
	cli_note("%s", err->msg);
	cli_print_json(json_pack("{s:o,s:O}", "error", cli_json_error(err), "packages", packages));
	return cli_exit_code(err);
}

int told_change(struct layout_told *t, const char *what, const struct cli_list *names, const struct layout_report *r,
		const struct ply_err *err, json_t *packages)
{
	char size[16], shown[512];
	int code = EXIT_DONE, told;
	json_t *list, *o;

	keep(t, !err ? (r->nothing ? "nothing" : "done") : r->nleft ? "left" : "failed", r, err);
	keep_names(t, names);
	if (told_wants_json(t)) {
		list = json_array();
		for (size_t i = 0; i < names->n; i++)
			json_array_append_new(list, json_string(names->v[i]));
		o = json_pack("{s:o,s:s,s:o,s:b,s:I,s:I,s:I,s:o,s:o}", "target", json_target(t), "result", what, "components",
			      list, "nothing", r->nothing, "directories", (json_int_t)r->directories, "names",
			      (json_int_t)r->names, "bytes", (json_int_t)r->bytes, "ids_as_root", told_lost_ids_json(r), "left",
			      json_left(r));
		if (err && o)
			json_object_set_new(o, "error", cli_json_error(err));
		if (err && o && packages)
			json_object_set(o, "packages", packages);
		if (err && !r->nleft)      /* cli_fail() has an object of its own for stdout */
			t->json = o;
		else
			code = say(t, o);
	}
	if (!err || r->nleft)
		told_lost_ids(r);
	if (err) {
		told = r->nleft ? tell_left(r, err) : fail_packages(err, packages);
		return MAX(code, told);
	}
	if (cli_json)
		return code;
	escape_name_to(t->target, strlen(t->target), shown, sizeof(shown));
	printf("%s: %s", shown, what);
	for (size_t i = 0; i < names->n; i++)
		printf("%s%s", i ? ", " : " ", names->v[i]);
	if (!r->nothing)
		printf(": %llu names, %s", (unsigned long long)r->names, format_size(r->bytes, size));
	printf("\n");
	return code;
}

int told_changes(struct layout_told *t, json_t *shown, int code)
{
	int said;

	keep(t, code == EXIT_DONE ? "planned" : "undecided", NULL, NULL);
	if (!shown)
		return code;
	said = say(t, shown);
	return MAX(code, said);
}

int told_plan(struct layout_told *t, const uint8_t digest[32], json_t *phases)
{
	char hex[65];
	int code = EXIT_DONE;

	keep(t, "done", NULL, NULL);
	hex_encode(digest, 32, hex);
	if (told_wants_json(t))
		code = say(t, json_pack("{s:o,s:s+,s:o}", "target", json_target(t), "plan", "sha256:", hex, "phases",
					phases));
	if (!cli_json)
		printf("plan sha256:%s\n", hex);
	return code;
}

/* --- the report -------------------------------------------------------------------------------------- */

static json_t *json_image(const struct layout_told *t)
{
	const struct ply_image *image = t->image->image;
	const struct ply_generation_info *g;
	const char *path;
	uint8_t uuid[16];

	if (t->verb == VERB_REMOVE)
		return json_null();
	if (!image)
		return json_pack("{s:o}", "path", cli_json_name(t->path, strlen(t->path)));
	g = ply_image_generation(image);
	path = ply_image_path(image) ? ply_image_path(image) : t->path;
	ply_image_uuid(image, uuid);
	return json_pack("{s:o,s:o,s:I,s:o}", "path", cli_json_name(path, strlen(path)), "uuid", show_uuid(uuid),
			 "generation", (json_int_t)g->generation, "digest", show_digest(g->digest));
}

static json_t *json_options(const struct layout_told *t)
{
	const struct layout_options *o = t->o;
	const char *policy = t->choice->policy;
	json_t *names = json_array(), *owner = json_null();

	for (size_t i = 0; i < t->names->n; i++)
		json_array_append_new(names, json_string(t->names->v[i]));
	if (o->map_owner)
		owner = json_pack("{s:I,s:I}", "uid", (json_int_t)o->map_uid, "gid", (json_int_t)o->map_gid);
	return json_pack("{s:o,s:o,s:s?,s:I,s:b,s:b,s:b,s:b,s:o}", "select", names,
			 "policy", policy ? cli_json_name(policy, strlen(policy)) : json_null(),
			 "on_collision", t->choice->on_collision, "streams", (json_int_t)o->streams, "sync", o->sync,
			 "lossy", o->lossy, "allow_partial", o->allow_partial, "all", o->all, "map_owner", owner);
}

static json_t *json_s(int64_t ns)
{
	return json_real((double)ns / 1e9);
}

static json_t *json_phases(const struct timeline *times)
{
	json_t *phases = json_array();

	for (size_t i = 0; i < times->nphases; i++) {
		const struct timeline_phase *p = &times->phases[i];

		json_t *o = json_pack("{s:s,s:o,s:o}", "phase", p->name, "begin_s", json_s(p->begin_ns), "end_s",
				      json_s(p->end_ns));

		if (o && p->of)
			json_object_set_new(o, "component", json_string(p->of));
		json_array_append_new(phases, o);
	}
	return phases;
}

static json_t *json_streams(const struct timeline *times)
{
	json_t *streams = json_array();

	for (size_t i = 0; i < times->nstreams; i++) {
		const struct timeline_stream *s = &times->streams[i];
		bool any = s->batches > 0;

		json_array_append_new(streams, json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "stream", s->name,
			"phase", s->phase, "files", (json_int_t)s->names, "total_files", (json_int_t)s->total_files,
			"bytes", (json_int_t)s->bytes, "total_bytes", (json_int_t)s->total_bytes,
			"batches", (json_int_t)s->batches, "threads", (json_int_t)s->nthreads,
			"begin_s", any ? json_s(s->begin_ns) : json_null(),
			"end_s", any ? json_s(s->end_ns) : json_null()));
	}
	return streams;
}

static json_t *json_report(const struct layout_told *t, int code)
{
	static const char *const verbs[] = { "layout", "resume", "abort", "dry-run", "remove" };
	json_t *all = json_pack("{s:i}", "schema", 1), *more;
	char began[32];

	more = json_pack("{s:s,s:s,s:i,s:s,s:o,s:o,s:o}", "verb", verbs[t->verb], "outcome", t->outcome, "exit", code,
			 "began", show_time_utc(t->began, began), "wall_s", json_s(t->times->end_ns),
			 "image", json_image(t), "options", json_options(t));
	/* a plan has phases of its own, and nothing was done */
	if (more && t->verb != VERB_DRY_RUN) {
		json_object_set_new(more, "phases", json_phases(t->times));
		json_object_set_new(more, "by_stream", json_streams(t->times));
	}
	if (all && (!more || !t->json || json_object_update(all, t->json) < 0 || json_object_update(all, more) < 0)) {
		json_decref(all);
		all = NULL;
	}
	json_decref(more);
	return all;
}

static int write_report(const struct layout_told *t, int code, struct ply_err *err)
{
	json_t *all = json_report(t, code);
	char *text = all ? json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
	size_t len = text ? strlen(text) : 0;
	int r;

	json_decref(all);
	if (!text)
		return ply_fail_nomem(err);
	text[len] = '\n';              /* in the place of the NUL */
	r = outfile_write(t->report, text, len + 1, err);
	free(text);
	return r;
}

/* --- the picture ---------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* "os, mysql (generation 2) into /mnt, 2026-01-31T12:00:00Z" */
static int say_what(const struct layout_told *t, struct buf *out)
{
	const struct opened *o = t->image;
	unsigned long long generation = o->image ? ply_image_generation(o->image)->generation : 0;
	char began[32];
	int r = 0;

	for (uint32_t i = 0; r == 0 && o->view && i < ply_view_nsubs(o->view); i++)
		r = buf_printf(out, "%s%s", i ? ", " : "",
			       ply_image_sub_info(o->image, ply_view_sub(o->view, i))->name);
	if (r == 0 && o->image)
		r = buf_printf(out, " (generation %llu)", generation);
	if (r == 0 && *t->changed)
		r = buf_printf(out, "%s", t->changed);
	return r == 0 ? buf_printf(out, " %s %s, %s", t->verb == VERB_REMOVE ? "out of" : "into", t->target,
				   show_time_utc(t->began, began)) : r;
}

static int draw(const struct layout_told *t, struct buf *out)
{
	static const char *const verbs[] = { "", " --resume", " --abort", "", " --remove" };
	_cleanup_buf_ struct buf what = { 0 }, title = { 0 }, result = { 0 };
	struct timeline_words w = { .files = t->files, .bytes = t->bytes, .failed = t->err.code != 0 };
	int r = say_what(t, &what);

	if (r == 0)
		r = buf_printf(&title, "plyfs layout %s%s", base_name(t->path), verbs[t->verb]);
	if (r == 0)
		r = buf_printf(&result, "%s%s%s", t->outcome, w.failed ? ": " : "", w.failed ? t->err.msg : "");
	/* strings end with a NUL */
	if (r == 0 && (buf_add_zero(&what, 1) < 0 || buf_add_zero(&title, 1) < 0 || buf_add_zero(&result, 1) < 0))
		r = -ENOMEM;
	if (r < 0)
		return r;
	w.title = (const char *)title.data;
	w.subtitle = (const char *)what.data;
	w.result = (const char *)result.data;
	return timeline_draw(t->times, &w, out);
}

static int write_timeline(const struct layout_told *t, struct ply_err *err)
{
	_cleanup_buf_ struct buf svg = { 0 };

	if (draw(t, &svg) < 0)
		return ply_fail_nomem(err);
	return outfile_write(t->timeline, svg.data, svg.len, err);
}

/* --- begin and end ------------------------------------------------------------------------------------------ */

/* @path may name a generation behind a @. */
static bool is_image(const char *file, const char *path)
{
	const char *at = strrchr(path, '@');
	_cleanup_free_ char *bare = at ? strndup(path, (size_t)(at - path)) : NULL;

	return outfile_is_same(file, path) || (bare && outfile_is_same(file, bare));
}

/* -1: fine. @option is for messages. */
static int check_file(const struct layout_told *t, const char *option, const char *file)
{
	struct ply_err err;

	if (!file)
		return -1;
	if (!*file || !strcmp(file, "-"))
		return cli_usage("%s takes the name of a file, not '%s'", option, file);
	if (is_image(file, t->path) || (t->choice->policy && outfile_is_same(file, t->choice->policy)))
		return cli_usage("%s: %s is read by this layout, and would be overwritten", option, file);
	if (outfile_is_below(file, t->target))
		return cli_usage("%s: %s would lie in %s, and would be no part of what is laid out there", option, file,
				 t->target);
	return outfile_check(file, &err) < 0 ? cli_fail(&err) : -1;
}

int told_begin(struct layout_told *t)
{
	int code = check_file(t, "--report", t->report);
	struct ply_err err;

	if (code < 0)
		code = check_file(t, "--timeline", t->timeline);
	if (code < 0 && t->report && t->timeline &&
	    (!strcmp(t->report, t->timeline) || outfile_is_same(t->report, t->timeline)))
		code = cli_usage("--report and --timeline take two files, not twice %s", t->report);
	t->began = time(NULL);
	if (code < 0 && (t->report || t->timeline) && timeline_new(&t->times) < 0) {
		ply_fail_nomem(&err);
		code = cli_fail(&err);
	}
	return code;
}

int told_end(struct layout_told *t, int code)
{
	struct ply_err err;
	int r = 0;

	if (t->times && !t->times->end_ns)
		timeline_end(t->times);
	/* where nothing was begun, an older picture tells more */
	if (t->timeline && t->times->nphases)
		r = write_timeline(t, &err);
	if (r < 0) {
		cli_note("--timeline: %s", err.msg);
		code = code == EXIT_DONE ? EXIT_FAILED : code;
	}
	r = t->report ? write_report(t, code, &err) : 0;
	if (r < 0) {
		cli_note("--report: %s", err.msg);
		code = code == EXIT_DONE ? EXIT_FAILED : code;
	}
	json_decref(t->json);
	t->json = NULL;
	t->times = timeline_free(t->times);
	return code;
}
