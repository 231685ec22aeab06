/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verbs of layout.h: a new layout, one that goes on, one that is taken out. What they have in common is the plan; what
 * tells them apart is what the state on the target says.
 *
 *   state              new         --resume            --abort
 *   none               begins      begins              nothing to do
 *   remains            refused     cleared, begins     cleared
 *   times              begins      begins              put back
 *   begun              refused     goes on             taken out; once os is committed the others, or with --all
 *   complete           refused     nothing to do       nothing to do (with --all: taken out)
 *   abort was begun    refused     refused             goes on
 *
 * A new layout that fails takes itself out. One that goes on does not: what it found is worth more than a clean end, and
 * both verbs work afterwards.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "layout/engine.h"
#include "layout/timeline.h"

#define STAYS "; what is there stays: --resume goes on, --abort --all takes it out"

/* --- the plan ------------------------------------------------------------------------------- */

void layout_raise_limits(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = MIN(rl.rlim_max, (rlim_t)1 << 16);
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

/* What the view has of the way to the state must be directories, and the state is nobody's but ours. */
int layout_find_way(struct layout *l, struct ply_err *err)
{
	struct ply_view *view = l->plan->view;
	const struct plan_dir *dirs = l->plan->dirs;
	const char *way = NULL;
	uint64_t ino;

	l->var = plan_find_dir(l->plan, 0, "var");
	l->var_lib = l->var ? plan_find_dir(l->plan, l->var, "lib") : 0;
	if (!l->var)
		way = ply_view_lookup(view, dirs[0].ino, "var", 3, &ino, NULL) == 0 ? "/var" : NULL;
	else if (!l->var_lib)
		way = ply_view_lookup(view, dirs[l->var].ino, "lib", 3, &ino, NULL) == 0 ? "/var/lib" : NULL;
	else if (ply_view_lookup(view, dirs[l->var_lib].ino, "plyfs", 5, &ino, NULL) == 0)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_TARGET_CANNOT_HOLD,
				"/var/lib/plyfs: the image has it, and a layout keeps its own journal there");
	return !way ? 0 : ply_fail(err, -EOPNOTSUPP, PLY_R_TARGET_CANNOT_HOLD,
				   "%s: is no directory in the image, and a layout keeps its journal in /var/lib/plyfs",
				   way);
}

/* From now on it is known what there is to do for each sub-image. */
static int tell_streams(struct layout *l)
{
	struct progress_counters *c = l->o->progress;
	const struct plan *plan = l->plan;
	struct progress_stream *streams = c ? calloc(plan->nsubs + 1, sizeof(*streams)) : NULL;
	const char *links = layout_phase_names[PHASE_LINKS];
	int r = timeline_streams(l->o->timeline, plan->nsubs + 1);

	for (uint32_t i = 0; r == 0 && i < plan->nsubs; i++) {
		const char *name = ply_image_sub_info(ply_view_image(plan->view), ply_view_sub(plan->view, i))->name;
		const struct plan_sub *ps = &plan->subs[i];

		if (streams)
			streams[i] = (struct progress_stream){ .name = name, .total_bytes = ps->bytes,
							       .total_files = ps->files };
		r = timeline_name(l->o->timeline, i, name, layout_phase_names[i ? PHASE_OTHERS : PHASE_OS], ps->bytes,
				  ps->files);
	}
	if (r == 0)
		r = timeline_name(l->o->timeline, plan->nsubs, links, links, 0, plan->names - plan->files);
	if (r < 0 || (c && !streams)) {
		free(streams);
		return -ENOMEM;
	}
	if (!c)
		return 0;
	atomic_store(&c->total_bytes, plan->bytes);
	atomic_store(&c->total_files, plan->files);
	progress_streams(c, streams, plan->nsubs);
	return 0;
}

/* What an earlier run has made durable. */
static void tell_committed(struct layout *l)
{
	struct progress_counters *c = l->o->progress;

	for (uint32_t i = 0; c && i < c->nstreams; i++) {
		struct progress_stream *s = &atomic_load(&c->streams)[i];

		if (!journal_has(l->state.j.committed, i ? PHASE_OTHERS : PHASE_OS))
			continue;
		atomic_store(&s->bytes, s->total_bytes);
		atomic_store(&s->files, s->total_files);
		atomic_store(&s->found_bytes, s->total_bytes);
		atomic_store(&s->found_files, s->total_files);
	}
}

int layout_plan(struct layout *l, struct ply_view *view, struct ply_err *err)
{
	const struct layout_options *o = l->o;
	int r;

	if (o->progress)
		atomic_store(&o->progress->phase, layout_phase_names[PHASE_PLAN]);
	r = plan_new(view, l->target->block, o->cancel, &l->plan, err);
	if (r < 0)
		return r;
	if (tell_streams(l) < 0)
		return ply_fail_nomem(err);
	return layout_find_way(l, err);
}

static uint32_t owners_of(const struct plan *plan, uint32_t sub)
{
	const struct plan_sub *ps = &plan->subs[sub];

	return ps->owners ? (uint32_t)sub_limits(ps->sub)->owner_pairs : 0;
}

int layout_save(struct layout *l, struct saved *s, struct ply_err *err)
{
	const struct layout_options *o = l->o;
	struct ply_view *view = l->plan->view;
	struct ply_image *image = ply_view_image(view);
	const struct target *t = l->target;
	struct buf names = { 0 };
	int r = plan_digest(l->plan, s->digest);

	s->generation = ply_image_generation(image)->generation;
	memcpy(s->catalog, ply_image_generation(image)->digest, sizeof(s->catalog));
	ply_image_uuid(image, s->uuid);
	s->lossy = o->lossy;
	s->allow_partial = o->allow_partial;
	s->map_owner = o->map_owner;
	s->map_uid = o->map_uid;
	s->map_gid = o->map_gid;
	s->uid = geteuid();
	s->gid = getegid();
	s->limits = l->limits;
	s->root_mode = t->before.st_mode & 07777;
	s->root_uid = t->before.st_uid;
	s->root_gid = t->before.st_gid;
	s->root_times[0] = t->before.st_atim;
	s->root_times[1] = t->before.st_mtim;
	for (uint32_t i = 0; r == 0 && i < ply_view_nsubs(view); i++) {
		const char *name = ply_image_sub_info(image, ply_view_sub(view, i))->name;

		r = buf_add(&names, name, strlen(name) + 1);
		s->nnames++;
	}
	s->names = (char *)names.data;
	s->names_len = names.len;
	s->image = strdup(ply_image_path(image) ? ply_image_path(image) : "");
	s->decisions = calloc(o->ndecisions + 1, sizeof(*s->decisions));
	for (uint32_t i = 0; i < l->plan->nsubs; i++)
		s->nowners += owners_of(l->plan, i);
	s->owners = calloc((size_t)s->nowners + 1, sizeof(*s->owners));
	if (r < 0 || !s->image || !s->decisions || !s->owners)
		return ply_fail_nomem(err);
	if (o->ndecisions)
		memcpy(s->decisions, o->decisions, o->ndecisions * sizeof(*s->decisions));
	s->ndecisions = (uint32_t)o->ndecisions;
	s->nowners = 0;
	for (uint32_t i = 0; i < l->plan->nsubs; i++)
		for (uint32_t k = 0; k < owners_of(l->plan, i); k++) {
			const struct plan_owner *po = &l->plan->subs[i].owners[k];

			if (po->count)
				s->owners[s->nowners++] = (struct saved_owner){ i, k, po->put_uid, po->put_gid };
		}
	for (int i = 0; i < 2; i++) {
		if (!t->acl[i])
			continue;
		s->acl[i] = malloc(t->acl_len[i]);
		if (!s->acl[i])
			return ply_fail_nomem(err);
		memcpy(s->acl[i], t->acl[i], t->acl_len[i]);
		s->acl_len[i] = (uint32_t)t->acl_len[i];
	}
	return 0;
}

/* Between the look and the lock another layout has begun or ended there. */
static int check_view(const struct layout *l, const struct ply_view *view, struct ply_err *err)
{
	return view ? 0 : ply_fail(err, -EBUSY, PLY_R_TARGET_BUSY, "%s: another layout was at work there; try again",
				   l->target->path);
}

/* --- a new one --------------------------------------------------------------------------------- */

static int refuse_unfinished(const struct layout *l, struct ply_err *err)
{
	const char *path = l->target->path;

	if (l->state.kind == STATE_ABORTING || l->state.kind == STATE_REDUCING)
		return ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
				"%s: is not empty: a layout was being taken out of it; --abort goes on with that", path);
	return ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
			"%s: is not empty: a layout was begun there and is not complete; --resume goes on with it, "
			"--abort is there to remove what it left", path);
}

int layout_check_new(const struct layout *l, struct ply_err *err)
{
	bool complete = l->state.kind == STATE_BEGUN && l->state.j.complete;

	bool none = l->state.kind == STATE_NONE || l->state.kind == STATE_TIMES || l->state.kind == STATE_CHANGED;

	return none || complete ? target_check_empty(l->target, err) :
							 refuse_unfinished(l, err);
}

/* Everything before the first name but the state's. */
static int start_new(struct layout *l, unsigned faults, struct ply_err *err)
{
	struct saved saved = { 0 };
	int r = undo_begin(l, err);

	if (r == 0)
		r = target_own(l->target, err);
	if (r == 0) {
		l->target->changed = true;
		r = state_begin(&l->state, err);
	}
	if (r == 0) {
		r = target_keep_xattrs(l->target, l->state.dir);
		if (r < 0)
			ply_fail(err, r, r == -ENOSPC || r == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
				 "%s: cannot keep its extended attributes in /var/lib/plyfs: %s", l->target->path,
				 strerror(-r));
	}
	if (r == 0)
		r = probe(l, err);
	if (r == 0)
		r = engine_check_image(faults, err);
	if (r == 0)
		r = layout_save(l, &saved, err);
	/* a directory that is not new has not what a new one gets */
	if (r == 0 && fchown(l->state.top, l->limits.uid, l->limits.gid) < 0 && l->target->mine)
		r = ply_fail(err, -errno, PLY_R_TARGET_WRITE, "%s: cannot set the owner of a directory in it: %s",
			     l->target->path, strerror(errno));
	if (r == 0)
		r = state_publish(&l->state, &saved, err);
	if (r == 0)
		r = target_take(l->target, err);
	saved_done(&saved);
	return r;
}

static void say_more(struct ply_err *err, const char *more)
{
	size_t len = strlen(err->msg);

	snprintf(err->msg + len, sizeof(err->msg) - len, "%s", more);
}

/* Nothing is there but the state. */
static void drop_state(struct layout *l, struct ply_err *err)
{
	int r = target_restore(l->target, l->state.dir);

	r = r < 0 ? r : state_remove(&l->state);
	if (r < 0)
		say_more(err, "; what was begun there stays: --abort takes it out");
	if (target_restore_times(l->target) < 0 && r == 0)
		say_more(err, "; mode and times of the directory could not be put back");
}

/* Leave the target as it was, and say so where that cannot be done. */
static int give_up(struct layout *l, struct ply_err *err)
{
	uint64_t left;
	struct ply_err journal;
	int r = 0, times;
	int64_t begin = timeline_now(l->o->timeline);
	size_t len;
	char *end;

	if (state_abort(&l->state, &journal) < 0)
		return layout_stopped(l, STAYS, err);
	left = undo(l, &r);
	len = strlen(l->err.msg);
	end = l->err.msg + len;
	times = target_restore_times(l->target);
	timeline_phase(l->o->timeline, "undo", begin);
	r = r < 0 ? r : times;
	if (r < 0 && l->state.kind != STATE_NONE)
		snprintf(end, sizeof(l->err.msg) - len, "; %s could not be put back as it was: --abort goes on with that",
			 l->target->path);
	else if (left)
		snprintf(end, sizeof(l->err.msg) - len, "; %llu names could not be taken out of %s again%s",
			 (unsigned long long)left, l->target->path,
			 l->state.kind == STATE_NONE ? "" : ": --abort goes on with that");
	else if (r < 0)
		snprintf(end, sizeof(l->err.msg) - len, "; mode and owner of %s could not be put back: %s",
			 l->target->path, strerror(-r));
	else
		snprintf(end, sizeof(l->err.msg) - len, "; %s is empty again", l->target->path);
	*err = l->err;
	return l->err.code;
}

/* --- one that was begun --------------------------------------------------------------------- */

static int check_same(const struct layout *l, struct ply_err *err)
{
	const struct saved *s = &l->state.saved;
	struct ply_image *image = ply_view_image(l->plan->view);
	const struct ply_generation_info *g = ply_image_generation(image);
	uint8_t uuid[16], digest[32];

	ply_image_uuid(image, uuid);
	if (memcmp(uuid, s->uuid, sizeof(uuid)) != 0)
		return ply_fail(err, -EINVAL, PLY_R_PLAN_DIFFERENT,
				"%s: the layout there was begun from another image (%s)", l->target->path, s->image);
	if (g->generation != s->generation)
		return ply_fail(err, -EINVAL, PLY_R_PLAN_DIFFERENT,
				"%s: the layout there was begun from generation %llu, and this is %llu; name the image with @%llu",
				l->target->path, (unsigned long long)s->generation, (unsigned long long)g->generation,
				(unsigned long long)s->generation);
	if (memcmp(g->digest, s->catalog, sizeof(s->catalog)) != 0)
		return ply_fail(err, -EINVAL, PLY_R_PLAN_DIFFERENT,
				"%s: the image was replaced since the layout there was begun", l->target->path);
	if (plan_digest(l->plan, digest) < 0)
		return ply_fail_nomem(err);
	if (memcmp(digest, s->digest, sizeof(digest)) != 0)
		return ply_fail(err, -EINVAL, PLY_R_PLAN_DIFFERENT,
				"%s: the layout there has another plan than the one that was made now: another version of plyfs "
				"began it", l->target->path);
	return 0;
}

/* What was found out and decided then holds. */
static int load(struct layout *l, struct ply_err *err)
{
	struct saved *s = &l->state.saved;
	struct target *t = l->target;

	if (s->uid != geteuid())
		return ply_fail(err, -EPERM, PLY_R_TARGET_OWNER, "%s: the layout there was begun by user %u; go on as that user",
				t->path, s->uid);
	l->limits = s->limits;
	for (uint32_t i = 0; i < s->nowners; i++) {
		const struct saved_owner *o = &s->owners[i];

		if (o->sub >= l->plan->nsubs || o->row >= owners_of(l->plan, o->sub))
			return ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "%s: its plan has an owner that there is not",
					t->path);
		l->plan->subs[o->sub].owners[o->row].put_uid = o->uid;
		l->plan->subs[o->sub].owners[o->row].put_gid = o->gid;
	}
	t->before.st_mode = (t->before.st_mode & S_IFMT) | s->root_mode;
	t->before.st_uid = s->root_uid;
	t->before.st_gid = s->root_gid;
	t->before.st_atim = s->root_times[0];
	t->before.st_mtim = s->root_times[1];
	t->early = geteuid() && (s->root_mode & 0300) != 0300;
	t->changed = true;
	t->finished = true;        /* it may have got what the image's root has; what was its own is kept */
	for (int i = 0; i < 2; i++) {
		free(t->acl[i]);
		t->acl[i] = TAKE_PTR(s->acl[i]);
		t->acl_len[i] = s->acl_len[i];
	}
	return 0;
}

int layout_start_again(struct layout *l, struct ply_view *view, struct ply_err *err)
{
	int64_t begin = timeline_now(l->o->timeline);
	double start = clock_s();
	int r = check_view(l, view, err);

	if (r == 0)
		r = layout_plan(l, view, err);
	if (r == 0)
		r = check_same(l, err);
	if (r == 0)
		r = target_own(l->target, err);
	l->report->seconds[PHASE_PLAN] = clock_s() - start;
	timeline_phase(l->o->timeline, layout_phase_names[PHASE_PLAN], begin);
	return r == 0 ? load(l, err) : r;
}

int layout_stopped(struct layout *l, const char *more, struct ply_err *err)
{
	say_more(&l->err, more);
	*err = l->err;
	return l->err.code;
}

void layout_reopen(struct layout *l)
{
	struct stream s;

	if (!geteuid())
		return;
	stream_init(&s, l, DIRFDS_MAX);
	undo_reopen_directories(l, &s);
	stream_done(&s);
}

static int resume(struct layout *l, struct ply_view *view, unsigned faults, struct ply_err *err)
{
	const struct state_note complete = { .type = JOURNAL_COMPLETE };
	int r = layout_start_again(l, view, err);

	/* the last record was torn */
	if (r == 0 && journal_has(l->state.j.committed, PHASE_METADATA))
		return state_write(&l->state, &complete, 1, err);
	if (r == 0)
		r = target_take(l->target, err);
	for (int i = PHASE_OS; r == 0 && i <= PHASE_OTHERS; i++)
		if (journal_has(l->state.j.committed, (enum layout_phase)i))
			r = engine_mark_done(l, (enum layout_phase)i, err);
	if (r < 0)
		return r;
	l->again = true;
	tell_committed(l);
	layout_reopen(l);
	r = away_recover(l, err);
	if (r < 0)
		return r;
	engine_execute(l, faults);
	if (l->err.code)
		return layout_stopped(l, STAYS, err);
	return layout_tell_left(l, "move them away, and resume again", err);
}

/* --- taking it out ------------------------------------------------------------------------------ */

static int remove_state(struct layout *l, struct ply_err *err)
{
	int r = target_restore(l->target, l->state.dir), t;

	r = r < 0 ? r : state_remove(&l->state);
	t = target_restore_times(l->target);
	r = r < 0 ? r : t;
	return r == 0 ? 0 : ply_fail(err, r, PLY_R_TARGET_WRITE, "%s: cannot be put back as it was: %s", l->target->path,
				     strerror(-r));
}

static int clear_remains(struct layout *l, struct ply_err *err)
{
	struct state fresh;
	int r = target_own(l->target, err);

	if (r == 0)
		r = remove_state(l, err);
	state_close(&l->state);
	state_init(&fresh, l->target, l->o->sync);
	l->state = fresh;
	if (r == 0 && fstat(l->target->fd, &l->target->before) < 0)
		r = ply_fail_sys(err, -errno, "%s: stat", l->target->path);
	return r;
}

static int take_out(struct layout *l, struct ply_view *view, struct ply_err *err)
{
	int64_t begin;
	int r;

	if (!l->state.has_saved)   /* all but the state itself is gone */
		return clear_remains(l, err);
	r = layout_start_again(l, view, err);
	if (r == 0 && l->state.kind != STATE_ABORTING)
		r = state_abort(&l->state, err);
	if (r < 0)
		return r;
	begin = timeline_now(l->o->timeline);
	layout_reopen(l);                 /* root needs no leave, and what stays keeps its mode */
	r = away_recover(l, err);
	if (r < 0)
		return r;
	abort_names(l, NULL);
	if (!l->err.code && l->o->cancel && atomic_load(l->o->cancel)) {
		ply_fail(err, -ECANCELED, PLY_R_CANCELLED, "interrupted");
		layout_fail(l, err);
	}
	r = l->err.code ? 0 : remove_state(l, err);
	timeline_phase(l->o->timeline, "abort", begin);
	if (l->err.code)
		return layout_stopped(l, "; --abort goes on", err);
	if (r == 0 && !l->nleft && undo_count_rest(l))
		layout_leave_name(l, 0, "var");
	return r < 0 ? r : layout_tell_left(l, "all else was taken out", err);
}

static bool is_planned(const struct saved *s, const char *component)
{
	const char *name = NULL;

	while ((name = saved_name(s, name)))
		if (!strcmp(name, component))
			return true;
	return false;
}

/* Components that were added since are not the plan's, and what they share is not as it was laid out. */
static int refuse_added(const struct layout *l, struct ply_err *err)
{
	int fd = openat(l->state.dir, "merge", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	if (!d) {
		cleanup_close(&fd);
		return 0;
	}
	while (r == 0 && (de = readdir(d)))
		if (de->d_name[0] != '.' && !is_planned(&l->state.saved, de->d_name))
			r = ply_fail(err, -EEXIST, PLY_R_TARGET_EXISTS,
				     "%s: component %s was added since; take it out first (--remove %s)", l->target->path,
				     de->d_name, de->d_name);
	closedir(d);
	return r;
}

static int abort_layout(struct layout *l, struct ply_view *view, unsigned faults, struct ply_err *err)
{
	const struct journal *j = &l->state.j;

	switch (l->state.kind) {
	case STATE_NONE:
	case STATE_CHANGED:
		l->report->nothing = true;
		return 0;
	case STATE_LEFT:
	case STATE_TIMES:
		return clear_remains(l, err);
	case STATE_ABORTING:
		return take_out(l, view, err);
	case STATE_REDUCING:
		return l->o->all ? take_out(l, view, err) : reduce(l, view, faults, err);
	case STATE_BEGUN:
		break;
	}
	if (j->complete && !l->o->all) {
		l->report->nothing = true;
		return 0;
	}
	if (journal_has(j->committed, PHASE_OS) && !l->o->all)
		return reduce(l, view, faults, err);
	if (j->complete && refuse_added(l, err) < 0)
		return err->code;
	return take_out(l, view, err);
}

/* --- the verbs ------------------------------------------------------------------------------------ */

static int begin(struct layout *l, struct ply_view *view, unsigned faults, double start, struct ply_err *err)
{
	int64_t begin_ns = timeline_now(l->o->timeline);
	int r = check_view(l, view, err);

	if (r == 0)
		r = layout_plan(l, view, err);
	if (r == 0) {
		r = start_new(l, faults, err);
		if (r < 0)
			drop_state(l, err);
	}
	l->report->seconds[PHASE_PLAN] = clock_s() - start;
	timeline_phase(l->o->timeline, layout_phase_names[PHASE_PLAN], begin_ns);
	if (r < 0)
		return r;
	engine_execute(l, faults);
	return l->err.code ? give_up(l, err) : 0;
}

static int run(struct layout *l, struct ply_view *view, unsigned faults, double start, struct ply_err *err)
{
	int r = state_find(&l->state, true, err);

	if (r < 0)
		return r;
	if (l->o->todo == LAYOUT_ABORT)
		return abort_layout(l, view, faults, err);
	if (l->o->todo == LAYOUT_NEW) {
		r = layout_check_new(l, err);
		if (r == 0 && l->state.kind == STATE_TIMES)
			r = clear_remains(l, err);
		return r < 0 ? r : begin(l, view, faults, start, err);
	}
	switch (l->state.kind) {
	case STATE_NONE:
	case STATE_CHANGED:
		r = target_check_empty(l->target, err);
		return r < 0 ? r : begin(l, view, faults, start, err);
	case STATE_LEFT:
	case STATE_TIMES:
		r = clear_remains(l, err);
		if (r == 0)
			r = target_check_empty(l->target, err);
		return r < 0 ? r : begin(l, view, faults, start, err);
	case STATE_REDUCING:
	case STATE_ABORTING:
		return refuse_unfinished(l, err);
	case STATE_BEGUN:
		break;
	}
	if (l->state.j.complete) {
		l->report->nothing = true;
		return 0;
	}
	return resume(l, view, faults, err);
}

int layout_run(struct ply_view *view, const char *path, const struct layout_options *o,
	       struct layout_report *ret, struct ply_err *err)
{
	struct target target;
	struct layout l = { .target = &target, .o = o, .report = ret };
	unsigned faults = sigbus_faults();
	double start = clock_s();
	mode_t mask;
	int r;

	*ret = (struct layout_report){ 0 };
	r = target_open(&target, path, err);
	if (r < 0)
		return r;
	state_init(&l.state, &target, o->sync);
	pthread_mutex_init(&l.lock, NULL);
	mask = umask(0);
	layout_raise_limits();
	r = run(&l, view, faults, start, err);
	layout_report_add(&l);
	umask(mask);
	for (size_t i = 0; i < l.nleft; i++)
		free(l.left[i].path);
	free(l.left);
	free(l.made);
	plan_free(l.plan);
	state_close(&l.state);
	target_close(&target);
	pthread_mutex_destroy(&l.lock);
	return r;
}
