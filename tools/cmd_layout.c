/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs layout: a selection of an image as ordinary files in an empty directory; going on with one, taking it out. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/util.h"
#include "cancel.h"
#include "layout/journal.h"
#include "layout/layout.h"
#include "layout/timeline.h"
#include "layout_report.h"
#include "living_ask.h"
#include "living_show.h"
#include "open.h"
#include "planning.h"
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

/* --- the view ------------------------------------------------------------------------------------ */

/* All that the verb was asked. */
struct asked {
	const char *path, *target;
	struct cli_list names;
	struct choice choice;
	struct layout_options o;
	bool resume, abort, dry_run, force, ask;
	struct cli_list remove;    /* components that go */
	struct opened image;
	struct layout_look look;
	struct ply_decision *decisions;    /* NULL: those of look, or none */
	struct layout_told told;
};

static void asked_done(struct asked *a)
{
	layout_look_done(&a->look);
	opened_done(&a->image);
	cli_list_done(&a->names);
	cli_list_done(&a->remove);
	choice_done(&a->choice);
	free(a->decisions);
}

static bool has_choice(const struct asked *a)
{
	return choice_decides(&a->choice);
}

static int selected(const struct opened *o, struct cli_list *ret)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < ply_view_nsubs(o->view); i++)
		r = cli_list_add(ret, ply_image_sub_info(o->image, ply_view_sub(o->view, i))->name);
	return r;
}

/* As open_view(), and what was decided is kept: it goes into the plan. */
static int open_new(struct asked *a, struct ply_err *err)
{
	_cleanup_list_ struct cli_list all = { 0 };
	struct ply_view_options v = { .names = a->names.v, .n = a->names.n };
	int r = choice_read(&a->choice, err);

	if (r == 0)
		r = open_image(a->path, &a->image.image, err);
	if (r == 0 && has_choice(a))
		r = open_decisions(a->image.image, &a->names, &a->choice, &a->decisions, &v.ndecisions, err);
	if (r < 0)
		return r;
	v.decisions = a->decisions;
	r = ply_view_open_with(a->image.image, &v, &a->image.view, err);
	if (r < 0 && err->reason == PLY_R_CONFLICT && !has_choice(a))
		tell_undecided(a->image.image, &a->names);
	if (r < 0)
		return r;
	if (selected(&a->image, &all) == 0)
		tell_selection(&all, &a->names);
	a->o.decisions = a->decisions;
	a->o.ndecisions = v.ndecisions;
	return 0;
}

static int differs(struct ply_err *err, const char *what)
{
	return ply_fail(err, -EINVAL, PLY_R_USAGE,
			"%s: the layout there was begun otherwise; leave it out, and it is as it was begun", what);
}

/* What is said again must be what was said first. */
static int check_options(struct asked *a, struct ply_err *err)
{
	const struct saved *s = a->look.saved;

	if (a->o.lossy && !s->lossy)
		return differs(err, "--lossy");
	if (a->o.allow_partial && !s->allow_partial)
		return differs(err, "--allow-partial");
	if (a->o.map_owner && (!s->map_owner || s->map_uid != a->o.map_uid || s->map_gid != a->o.map_gid))
		return differs(err, "--map-owner");
	a->o.lossy = s->lossy;
	a->o.allow_partial = s->allow_partial;
	a->o.map_owner = s->map_owner;
	a->o.map_uid = s->map_uid;
	a->o.map_gid = s->map_gid;
	return 0;
}

static int check_selection(struct asked *a, struct ply_err *err)
{
	const struct ply_view_options v = { .names = a->names.v, .n = a->names.n, .undecided_first = true };
	struct opened look = { .image = a->image.image };
	_cleanup_list_ struct cli_list all = { 0 };
	const char *name = NULL;
	size_t i = 0;
	int r;

	if (!a->names.n)
		return 0;
	r = ply_view_open_with(look.image, &v, &look.view, err);
	if (r == 0 && selected(&look, &all) < 0)
		r = ply_fail_nomem(err);
	for (; r == 0 && i < all.n; i++) {
		name = saved_name(a->look.saved, name);
		if (!name || strcmp(name, all.v[i]) != 0)
			r = differs(err, "--select");
	}
	if (r == 0 && all.n != a->look.saved->nnames)
		r = differs(err, "--select");
	ply_view_close(look.view);
	return r;
}

static int check_decisions(struct asked *a, const struct cli_list *names, struct ply_err *err)
{
	const struct saved *s = a->look.saved;
	size_t n = 0;
	int r;

	if (!has_choice(a))
		return 0;
	r = open_decisions(a->image.image, names, &a->choice, &a->decisions, &n, err);
	if (r == 0 && n != s->ndecisions)
		return differs(err, a->choice.policy ? "--policy" : "--on-collision");
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct ply_decision *x = &a->decisions[i], *y = &s->decisions[i];

		if (x->a != y->a || x->b != y->b || x->rule != y->rule || x->driver != y->driver)
			return differs(err, a->choice.policy ? "--policy" : "--on-collision");
	}
	return r;
}

/* The view of the plan that was begun. */
static int open_begun(struct asked *a, struct ply_err *err)
{
	const struct saved *s = a->look.saved;
	_cleanup_list_ struct cli_list names = { 0 };
	struct ply_view_options v = { .decisions = s->decisions, .ndecisions = s->ndecisions };
	int r = choice_read(&a->choice, err);

	for (const char *n = saved_name(s, NULL); r == 0 && n; n = saved_name(s, n))
		if (cli_list_add(&names, n) < 0)
			r = ply_fail_nomem(err);
	if (r == 0)
		r = check_options(a, err);
	if (r == 0)
		r = open_image(a->path, &a->image.image, err);
	if (r == 0)
		r = check_selection(a, err);
	if (r == 0)
		r = check_decisions(a, &names, err);
	v.names = names.v;
	v.n = names.n;
	if (r == 0)
		r = ply_view_open_with(a->image.image, &v, &a->image.view, err);
	if (r < 0 && err->reason != PLY_R_USAGE && a->image.image)
		ply_err_prefix(err, "as the layout in %s was begun (from %s)", a->target, s->image);
	return r;
}

/* --- --dry-run ------------------------------------------------------------------------------------ */

struct shown {
	json_t *phases, *streams, *batches;        /* those that are being filled; borrowed from the ones before */
	enum layout_phase phase;
	const char *stream;                /* NULL: none yet */
	uint64_t nbatches, n, bytes;       /* of it */
};

static void show_stream(const struct shown *s)
{
	char size[16];

	if (s->stream && !cli_json)
		printf("%-12s %-20s %8llu %10llu  %s\n", layout_phase_names[s->phase], s->stream,
		       (unsigned long long)s->nbatches, (unsigned long long)s->n, format_size(s->bytes, size));
}

static void next_stream(struct shown *s, const struct layout_step *step)
{
	bool phase = !s->stream || s->phase != step->phase;

	if (!s->stream && !cli_json)
		printf("%-12s %-20s %8s %10s  %s\n", "PHASE", "STREAM", "BATCHES", "NAMES", "BYTES");
	show_stream(s);
	s->phase = step->phase;
	s->stream = step->stream;
	s->nbatches = s->n = s->bytes = 0;
	if (!s->phases)
		return;
	if (phase) {
		s->streams = json_array();
		json_array_append_new(s->phases, json_pack("{s:s,s:o}", "phase", layout_phase_names[step->phase],
							   "streams", s->streams));
	}
	s->batches = json_array();
	json_array_append_new(s->streams, json_pack("{s:s,s:o}", "stream", step->stream, "batches", s->batches));
}

static int show_step(void *ctx, const struct layout_step *step)
{
	struct shown *s = ctx;

	if (!s->stream || s->phase != step->phase || strcmp(s->stream, step->stream) != 0)
		next_stream(s, step);
	s->nbatches++;
	s->n += step->n;
	s->bytes += step->bytes;
	if (s->phases)
		json_array_append_new(s->batches, json_pack("{s:I,s:I}", "n", (json_int_t)step->n, "bytes",
							    (json_int_t)step->bytes));
	return 0;
}

static int dry_run(struct asked *a)
{
	struct shown s = { .phases = told_wants_json(&a->told) ? json_array() : NULL };
	uint8_t digest[32];
	struct ply_err err;
	int r;

	r = layout_dry_run(a->image.view, a->target, &a->o, show_step, &s, digest, &err);
	if (r < 0) {
		json_decref(s.phases);
		return told_failure(&a->told, NULL, &err);
	}
	show_stream(&s);
	return told_plan(&a->told, digest, s.phases);
}

/* --- the verb ---------------------------------------------------------------------------------------- */

static int check_asked(const struct asked *a)
{
	if (a->ask && (a->resume || a->abort || a->remove.n || a->dry_run || cli_json))
		return cli_usage("--ask is for new layouts: without --resume, --abort, --remove, --dry-run and --json");
	if (a->ask && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
		return cli_usage("--ask needs a terminal; --policy=FILE decides without one");
	if (a->remove.n && (a->resume || a->abort || a->dry_run || a->names.n || has_choice(a)))
		return cli_usage("--remove goes alone: without --resume, --abort, --dry-run, -s and --policy");
	if (a->resume && a->abort)
		return cli_usage("--resume and --abort exclude each other");
	if (a->o.all && !a->abort)
		return cli_usage("--all goes with --abort");
	if (a->dry_run && (a->resume || a->abort))
		return cli_usage("--dry-run is for new layouts, without --resume and --abort");
	if (a->dry_run && a->told.timeline)
		return cli_usage("--timeline is for what is done, and --dry-run does nothing");
	if (a->abort && (a->names.n || has_choice(a) || a->o.lossy || a->o.allow_partial || a->o.map_owner))
		return cli_usage("--abort takes what was begun: without -s, --policy, --on-collision, --lossy, "
				 "--allow-partial and --map-owner");
	return -1;
}

static int end_abort(struct asked *a, const struct layout_report *r, const struct ply_err *err)
{
	const char *what = !r->nothing ? "the layout was taken out" :
			   a->look.found == LAYOUT_COMPLETE ?
			   "nothing to undo: the layout is complete; --abort --all takes it out" : "nothing to undo";

	if (!err)
		return told_short(&a->told, what, r, NULL);
	return !r->nleft ? told_failure(&a->told, r, err) :
			   told_short(&a->told, "taken out, but for what others have put there", r, err);
}

static int end_layout(struct asked *a, const struct layout_report *r, const struct ply_err *err)
{
	if (err && !r->nleft)
		return told_failure(&a->told, r, err);
	if (r->nothing)
		return told_short(&a->told, "the layout is complete", r, NULL);
	return told_layout(&a->told, r, err);
}

static int open_asked(struct asked *a, struct ply_err *err)
{
	bool begun = false;

	if (a->look.saved && (a->abort || a->resume))
		begun = a->abort ? a->look.found != LAYOUT_COMPLETE || a->o.all : a->look.found == LAYOUT_UNFINISHED;
	if (begun)
		return open_begun(a, err);
	return !a->abort && (!a->resume || a->look.found == LAYOUT_NOTHING) ? open_new(a, err) : 0;
}

/* --- a target that is not empty -------------------------------------------------------------------------- */

/* What an earlier change has left is ended; one that is open is not the same that is asked now. */
static int settle(struct asked *a, struct ply_err *err)
{
	int r = update_settle(a->target, &a->o, err);

	if (r < 0)
		return r;
	layout_look_done(&a->look);
	return layout_look(a->target, &a->look, err);
}

/* What is named, and belongs to no change that is open, is not to be forgotten. */
static int resume_change(struct asked *a, struct living *l, struct layout_report *ret, struct ply_err *err)
{
	struct layout_report more;
	int r = update_resume(a->target, &a->o, ret, err);

	if (r < 0 || !a->names.n)
		return r;
	layout_look_done(&a->look);
	r = layout_look(a->target, &a->look, err);
	if (r < 0)
		return r;
	r = living_add(l, &more, err);
	if (r == 0 && more.nothing) {
		layout_report_done(&more);
		return 0;
	}
	more.names += ret->names;
	more.directories += ret->directories;
	more.bytes += ret->bytes;
	layout_report_done(ret);
	*ret = more;
	return r;
}

/* Everything that was added. */
static int add_own(struct asked *a)
{
	for (size_t i = 0; i < a->look.ndone; i++)
		if (a->look.done[i].own && cli_list_add(&a->remove, a->look.done[i].name) < 0)
			return -ENOMEM;
	return 0;
}

/* Where a change of what is there is open, or that is what is asked. -1: it is not. */
static int run_living(struct asked *a, enum progress_mode mode)
{
	struct living l = { .path = a->path, .target = a->target, .names = &a->names, .choice = &a->choice, .o = &a->o,
			    .look = &a->look, .force = a->force };
	/* of what is complete components are taken out by what the target itself knows */
	bool named = a->abort && a->o.nabort && !a->look.open &&
		     (a->look.found == LAYOUT_NOTHING || a->look.found == LAYOUT_COMPLETE);
	/* nothing is to be gone on with: what is named is laid out, as far as it is not there */
	bool plain = a->resume && a->names.n && !a->look.open;
	bool add = (!a->resume || plain) && !a->abort && !a->remove.n && !a->look.empty && !a->look.remains &&
		   (a->look.found == LAYOUT_NOTHING || a->look.found == LAYOUT_COMPLETE);
	/* components can be there without a layout of the target's own */
	bool mend = ((a->resume && !plain) || a->abort) && a->look.found != LAYOUT_ABORTED &&
		    (a->look.open || (a->look.found == LAYOUT_NOTHING && a->look.ndone));
	bool all = a->abort && a->o.all && a->look.found == LAYOUT_NOTHING && (a->look.ndone || a->look.open);
	struct progress_counters counters = { 0 };
	const struct cli_list none = { 0 };
	struct layout_report report = { 0 };
	struct progress *progress;
	struct ply_err err;
	int code, r;

	if (!add && !named && !a->remove.n && !mend && !all)
		return -1;
	if (all && a->look.open) {
		r = update_abort(a->target, &a->o, &report, &err);
		if (r < 0)
			return told_change(&a->told, "", &none, &report, &err, NULL);
		layout_look_done(&a->look);
		if (layout_look(a->target, &a->look, &err) < 0)
			return told_failure(&a->told, NULL, &err);
	}
	if (all && add_own(a) < 0)
		return cli_usage("too many names");
	if (add && a->look.open && !a->dry_run && settle(a, &err) < 0)
		return told_failure(&a->told, NULL, &err);
	for (size_t i = 0; named && i < a->o.nabort; i++)
		if (cli_list_add(&a->remove, a->o.abort[i]) < 0)
			return cli_usage("too many names");
	if (a->ask && add && living_ask(&l, &err) < 0)
		return told_failure(&a->told, NULL, &err);
	l.told = a->ask;
	a->o.cancel = cancel_on_signals();
	if (a->dry_run) {
		size_t undecided;
		json_t *shown = NULL;

		r = living_show(&l, &undecided, told_wants_json(&a->told) ? &shown : NULL, &err);
		living_done(&l);
		if (r < 0)
			return told_failure(&a->told, NULL, &err);
		return told_changes(&a->told, shown, undecided ? EXIT_DECISION : EXIT_DONE);
	}
	a->o.timeline = a->told.times;
	a->o.progress = &counters;
	progress = progress_begin(mode, "layout", &counters);
	if (a->remove.n)
		r = update_remove(a->target, a->remove.v, a->remove.n, &a->o, &report, &err);
	else if (add)
		r = living_add(&l, &report, &err);
	else if (a->resume)
		r = resume_change(a, &l, &report, &err);
	else
		r = update_abort(a->target, &a->o, &report, &err);
	progress_end(progress);
	progress_counters_done(&counters);
	timeline_end(a->told.times);
	code = told_change(&a->told, a->remove.n ? "removed" :
				     report.nothing ? (add ? "all of it is there" : "no change is open") :
				     add ? "added" : !a->resume ? "the change was taken back" :
				     l.added.n ? "the change is complete, and added" : "the change is complete",
			     a->remove.n ? &a->remove : add || a->resume ? &l.added : &none, &report, r < 0 ? &err : NULL, l.packages);
	living_done(&l);
	layout_report_done(&report);
	return code;
}

static bool is_missing(const struct asked *a, const struct ply_err *err)
{
	bool missing = err->reason == PLY_R_TARGET_NOT_FOUND || err->reason == PLY_R_TARGET_NOT_DIRECTORY;

	return missing && !a->resume && !a->abort && !a->remove.n;
}

static int run(struct asked *a, enum progress_mode mode)
{
	struct progress_counters counters = { 0 };
	struct layout_report report;
	struct progress *progress;
	struct ply_err err;
	int code, r;

	/* of a directory that is not there the selection may still be wrong, and that comes first */
	if (layout_look(a->target, &a->look, &err) < 0) {
		if (!is_missing(a, &err))
			return told_failure(&a->told, NULL, &err);
		a->look.empty = true;
	}
	code = run_living(a, mode);
	if (code >= 0)
		return code;
	if (a->ask && plan_ask_selection(a->path, &a->names, &a->choice, &err) < 0)
		return told_failure(&a->told, NULL, &err);
	if (open_asked(a, &err) < 0)
		return told_failure(&a->told, NULL, &err);
	a->o.todo = a->abort ? LAYOUT_ABORT : a->resume ? LAYOUT_RESUME : LAYOUT_NEW;
	a->o.cancel = cancel_on_signals();
	a->o.timeline = a->told.times;
	if (a->dry_run)
		return dry_run(a);
	a->o.progress = &counters;
	progress = progress_begin(mode, "layout", &counters);
	r = layout_run(a->image.view, a->target, &a->o, &report, &err);
	progress_end(progress);
	progress_counters_done(&counters);
	timeline_end(a->told.times);
	code = a->abort ? end_abort(a, &report, r < 0 ? &err : NULL) : end_layout(a, &report, r < 0 ? &err : NULL);
	layout_report_done(&report);
	return code;
}

static int run_told(struct asked *a, enum progress_mode mode)
{
	struct layout_told *t = &a->told;
	int code;

	t->verb = a->dry_run ? VERB_DRY_RUN : a->remove.n ? VERB_REMOVE : a->resume ? VERB_RESUME : a->abort ? VERB_ABORT : VERB_LAYOUT;
	t->path = a->path;
	t->target = a->target;
	t->names = &a->names;
	t->choice = &a->choice;
	t->o = &a->o;
	t->image = &a->image;
	code = told_begin(t);
	return code < 0 ? told_end(t, run(a, mode)) : code;
}

int cmd_layout(int argc, char **argv)
{
	__attribute__((cleanup(asked_done))) struct asked a = {
		.o = { .streams = MIN(ncpus(), 256u), .sync = true },
	};
	const char *when = NULL, *owner = NULL;
	bool no_sync = false;
	const struct cli_opt opts[] = {
		SELECTION_OPTION(&a.names),
		CHOICE_OPTIONS(&a.choice),
		{ "streams", 'j', "N", "parallel streams (default: processors)", CLI_NUMBER, &a.o.streams },
		{ "dry-run", 0, NULL, "print what would be done, and write nothing", CLI_FLAG, &a.dry_run },
		{ "ask", 0, NULL, "go through what is undecided first, at the terminal", CLI_FLAG, &a.ask },
		{ "resume", 0, NULL, "go on with a layout that was killed or lost its power", CLI_FLAG, &a.resume },
		{ "abort", 0, NULL, "take out a layout that is not complete", CLI_FLAG, &a.abort },
		{ "all", 0, NULL, "with --abort: also one that is complete, or has laid out os", CLI_FLAG, &a.o.all },
		{ "remove", 0, "NAME", "take a component out that was added; takes TARGET alone", CLI_NAMES, &a.remove },
		{ "force-os-mismatch", 0, NULL, "add components though the target lacks what they need", CLI_FLAG, &a.force },
		{ "no-sync", 0, NULL, "do not wait until it is durable", CLI_FLAG, &no_sync },
		{ "lossy", 0, NULL, "leave out what the target cannot hold, and list it", CLI_FLAG, &a.o.lossy },
		{ "allow-partial", 0, NULL,
		  "where you cannot give files to their owners, keep them; skip devices", CLI_FLAG,
		  &a.o.allow_partial },
		{ "map-owner", 0, "WHO", "all files belong to self, or to UID:GID", CLI_TEXT, &owner },
		PROGRESS_OPTION(&when),
		{ "report", 0, "FILE", "write a report as JSON into FILE, of a failure too", CLI_TEXT, &a.told.report },
		{ "timeline", 0, "FILE", "draw when each thread did what into FILE, as SVG", CLI_TEXT,
		  &a.told.timeline },
		CLI_JSON,
		CLI_END
	};
	const struct cli_spec spec = { "layout", "IMAGE TARGET",
				       "Lay a selection of an image out into a directory, go on with that, or take it out.", opts, 1, INT_MAX };
	struct cli_args args;
	int code = cli_parse(&spec, argc, argv, &args), mode;

	if (code < 0)
		code = choice_check(&a.choice);
	if (code >= 0)
		return code;
	mode = progress_mode(when);
	if (mode < 0)
		return cli_usage("--progress takes auto, never or json, not '%s'", when);
	if (a.o.streams < 1 || a.o.streams > LAYOUT_STREAMS_MAX)
		return cli_usage("--streams takes 1 to %d, not %u", LAYOUT_STREAMS_MAX, a.o.streams);
	if (owner && parse_owner(owner, &a.o) < 0)
		return cli_usage("--map-owner takes self or UID:GID, not '%s'", owner);
	code = check_asked(&a);
	if (code >= 0)
		return code;
	a.o.sync = !no_sync;
	a.choice.is_new = a.ask;
	if (args.n < (a.remove.n ? 1 : 2))
		return cli_usage("an operand is missing: plyfs layout IMAGE TARGET");
	if (args.n > (a.remove.n ? 1 : 2) && !a.abort)
		return cli_usage("'%s' is one operand too many: plyfs layout %s", args.v[a.remove.n ? 1 : 2],
				 a.remove.n ? "TARGET --remove=NAMES" : "IMAGE TARGET");
	if (args.n > 2 && a.o.all)
		return cli_usage("--all takes out everything, so it goes without names");
	a.path = args.v[0];
	a.target = args.v[a.remove.n ? 0 : 1];
	a.o.abort = (const char *const *)args.v + 2;
	a.o.nabort = (size_t)MAX(args.n - 2, 0);
	return run_told(&a, (enum progress_mode)mode);
}
