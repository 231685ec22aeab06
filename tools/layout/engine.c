/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Executing a plan: phases, each of them batches, taken by streams.
 *
 *   directories   one thread, parents first, all of them 0700
 *   os            the batches of the first sub-image, by all streams
 *   others        those of all other sub-images at once; a stream stays with one sub-image, so
 *                 that it reads the image in order, and helps elsewhere when that one is done
 *   links         further names of hard-link groups
 *   metadata      of directories, children first, so that a mode cannot lock us out
 *
 * Batches have disjoint paths, so no two streams ever want one name, and the result does not
 * depend on who took what. A phase begins when the one before has ended: it is made durable by one syncfs, then a record
 * in the journal says so. What a phase did that has no such record is looked at again by a resume, name for name.
 *
 * What components brought is recorded meanwhile, beside the streams (record.c).
 *
 * The first error stops all streams at their next file; then what was made is taken out (run.c).
 *
 * Locking: `lock` guards the first error. All else that streams share is atomic, immutable, or
 * a slot of `made` that one of them has taken, read after the threads have ended.
 */
#include "layout/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/sigbus.h"
#include "base/util.h"
#include "layout/record.h"
#include "layout/timeline.h"

#define READ_AHEAD 8               /* batches whose data is asked for before they are taken */
#define FDS_SPARE  64u             /* descriptors that are not the streams' */

const char *const layout_phase_names[PHASE_COUNT] = {
	[PHASE_PLAN] = "plan", [PHASE_DIRECTORIES] = "directories", [PHASE_OS] = "os",
	[PHASE_OTHERS] = "others", [PHASE_LINKS] = "links", [PHASE_METADATA] = "metadata",
	[PHASE_SYNC] = "sync",
};

/* Batches of one sub-image, or the link batches. */
struct queue {
	const struct plan_batch *batches;
	size_t n;
	uint32_t sub;              /* plan.nsubs: links */
	atomic_size_t next;
};

struct phase {
	struct layout *l;
	int (*run)(struct stream *s, const struct plan_batch *b, uint32_t sub);
	struct queue *queues;
	uint32_t nqueues;
	bool reads;                /* data of the image */
	unsigned ndirfds;
	atomic_uint started;
};

void layout_fail(struct layout *l, const struct ply_err *err)
{
	pthread_mutex_lock(&l->lock);
	if (!l->err.code)
		l->err = *err;
	pthread_mutex_unlock(&l->lock);
	handover("stop");
	atomic_store(&l->stop, true);
}

/* --- batches ------------------------------------------------------------------------ */

static int run_files(struct stream *s, const struct plan_batch *b, uint32_t sub)
{
	const struct plan_sub *ps = &s->l->plan->subs[sub];
	uint32_t part = b->part;
	uint64_t at = b->at;

	if (b->big)
		return place_piece(s, b);
	for (uint32_t n = 0; n < b->n; n++, at++) {
		struct where w = { .sub = sub };
		int r;

		if (stream_stops(s))
			return -ECANCELED;
		if (at == ps->parts[part].end)
			at = ps->parts[++part].first;
		w.at = at;
		w.dir = ps->parts[part].dir;
		r = place_entry(s, &w);
		if (r < 0)
			return r;
	}
	return 0;
}

static int run_links(struct stream *s, const struct plan_batch *b, uint32_t sub)
{
	const struct plan *plan = s->l->plan;
	const struct plan_link *first = NULL;

	(void)sub;
	for (uint64_t i = b->at; i < b->end; i++) {
		const struct plan_link *link = &plan->links[i];
		int r = 0;

		if (stream_stops(s))
			return -ECANCELED;
		if (!first || first->ino != link->ino)
			first = plan_link_first(plan, link->ino);
		if (link != first)
			r = place_link(s, first, link);
		if (r < 0)
			return r;
	}
	return 0;
}

static void read_ahead(struct phase *p, struct queue *q, size_t i)
{
	size_t from = i ? i + READ_AHEAD - 1 : 0, to = MIN(i + READ_AHEAD, q->n);
	struct sub *sub = p->l->plan->subs[q->sub].sub;

	for (; from < to; from++)
		sub_readahead(sub, q->batches[from].block, from + 1 < q->n ? q->batches[from + 1].block :
							   sub_limits(sub)->blocks);
}

static int run_batch(struct phase *p, struct stream *s, uint32_t thread, const struct queue *q, size_t i)
{
	int64_t begin = timeline_now(p->l->o->timeline);
	int r;

	stream_count_for(s, q->sub);
	s->bytes = s->names = 0;
	r = p->run(s, &q->batches[i], q->sub);
	timeline_batch(p->l->o->timeline, thread, p->l->staged ? p->l->stream : q->sub, begin, s->bytes, s->names);
	return r;
}

static void *stream_main(void *arg)
{
	struct phase *p = arg;
	struct stream s;
	uint32_t own;

	handover("stream");
	own = atomic_fetch_add(&p->started, 1);
	stream_init(&s, p->l, p->ndirfds);
	for (uint32_t k = 0; k < p->nqueues && !stream_stops(&s);) {
		struct queue *q = &p->queues[(own + k) % p->nqueues];
		size_t i;
		int r;

		handover("queue");
		i = atomic_fetch_add(&q->next, 1);
		if (i >= q->n) {
			k++;
			continue;
		}
		if (p->reads)
			read_ahead(p, q, i);
		r = run_batch(p, &s, own, q, i);
		if (r < 0 && r != -ECANCELED)
			layout_fail(p->l, &s.err);
	}
	stream_done(&s);
	return NULL;
}

static int run_phase(struct phase *p)
{
	struct layout *l = p->l;
	unsigned want = l->o->streams, n = 0;
	struct rlimit rl = { .rlim_cur = 1024 };
	pthread_t *threads;
	size_t batches = 0;
	int r = 0;

	for (uint32_t i = 0; i < p->nqueues; i++)
		batches += p->queues[i].n;
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = MIN(MAX(rl.rlim_cur, (rlim_t)FDS_SPARE + 8), (rlim_t)1 << 20) - FDS_SPARE;
	want = (unsigned)MIN((uint64_t)want, rl.rlim_cur / (DIRFDS_MIN + 2));
	want = (unsigned)MIN((uint64_t)want, MAX(batches, (size_t)1));
	want = MAX(want, 1u);
	p->ndirfds = (unsigned)MIN(rl.rlim_cur / want - 2, (rlim_t)DIRFDS_MAX);
	threads = calloc(want, sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	while (n < want && (r = pthread_create(&threads[n], NULL, stream_main, p)) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return n ? 0 : -r;         /* fewer than wanted do the same */
}

/* Batches of sub-images [from, to). */
static int run_subs(struct layout *l, uint32_t from, uint32_t to)
{
	struct plan *plan = l->plan;
	struct phase p = { .l = l, .run = run_files, .reads = true };
	int r;

	if (from >= to)
		return 0;
	p.queues = calloc(to - from, sizeof(*p.queues));
	if (!p.queues)
		return -ENOMEM;
	for (uint32_t i = from; i < to; i++) {
		struct queue *q = &p.queues[p.nqueues++];

		q->batches = plan->subs[i].batches;
		q->n = plan->subs[i].nbatches;
		q->sub = i;
	}
	r = run_phase(&p);
	free(p.queues);
	return r;
}

static int run_os(struct layout *l)
{
	return run_subs(l, 0, 1);
}

static int run_others(struct layout *l)
{
	return run_subs(l, 1, l->plan->nsubs);
}

static int run_all_links(struct layout *l)
{
	struct queue q = { .batches = l->plan->link_batches, .n = l->plan->nlink_batches, .sub = l->plan->nsubs };
	struct phase p = { .l = l, .run = run_links, .queues = &q, .nqueues = 1 };

	return q.n ? run_phase(&p) : 0;
}

/* --- directories -------------------------------------------------------------------------- */

/* What an earlier run made is taken; what else has the name keeps it, and all below is not made. */
static int take_directory(struct stream *s, uint32_t d, int parent, const char *name)
{
	struct plan_dir *dir = &s->l->plan->dirs[d];
	const struct where w = { .at = WHERE_DIR, .dir = d };
	int fd = beneath_open(parent, name, dir->name_len, O_PATH);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (fd != -ENOTDIR && fd != -ELOOP)
		return stream_fail(s, fd, &w, "open");
	layout_leave(s->l, &w, "is no directory");
	dir->left_out = dir->foreign = true;
	return 0;
}

/* Parents stand before their children. @make: else only what is known of them is noted. */
static int make_directory(struct stream *s, uint32_t d, bool make)
{
	struct plan_dir *dir = &s->l->plan->dirs[d];
	const struct plan_dir *up = &s->l->plan->dirs[dir->parent];
	const struct where w = { .at = WHERE_DIR, .dir = d };
	bool above_state = d == s->l->var || d == s->l->var_lib;
	char name[PLY_NAME_MAX + 1];
	int parent;

	dir->foreign = up->foreign;
	dir->left_out = up->left_out || !dir->wanted || dir->name_len > s->l->limits.name_len;
	if (dir->left_out) {
		if (!dir->foreign && dir->wanted)
			stream_lose(s, FIELD_NAME_LENGTH);
		return 0;
	}
	if (!make)
		return 0;
	memcpy(name, dir->name, dir->name_len);
	name[dir->name_len] = '\0';
	parent = stream_dir(s, dir->parent);
	if (parent < 0)
		return stream_fail(s, parent, &w, "open its directory");
	if (above_state)           /* made with the state */
		return take_directory(s, d, parent, name);
	if (mkdirat(parent, name, 0700) == 0)
		return 0;
	if (errno == EEXIST && !dir->parent && !strcmp(name, "lost+found"))
		return ply_fail(&s->err, -EEXIST, PLY_R_TARGET_EXISTS,
				"/lost+found: the image has one, and so has the file system at %s; lay out "
				"into a directory below it", s->l->target->path);
	if (errno == EEXIST && s->l->again)
		return take_directory(s, d, parent, name);
	return stream_fail(s, -errno, &w, "create");
}

static int run_directories(struct layout *l)
{
	bool make = !journal_has(l->state.j.committed, PHASE_DIRECTORIES);
	struct stream s;
	int r = 0;

	stream_init(&s, l, DIRFDS_MAX);
	for (size_t d = 1; r == 0 && d < l->plan->ndirs && !stream_stops(&s); d++) {
		r = make_directory(&s, (uint32_t)d, make);
		if (r == 0)
			l->dirs_made = d + 1;
	}
	if (r < 0)
		layout_fail(l, &s.err);
	stream_done(&s);
	return 0;
}

static int finish_directory(struct stream *s, uint32_t d)
{
	const struct plan_dir *dir = &s->l->plan->dirs[d];
	const struct where w = { .at = WHERE_DIR, .dir = d };
	_cleanup_close_ int own = -1;
	int parent;

	if (dir->left_out || dir->way)
		return 0;
	if (!d)
		return place_directory(s, 0, s->l->target->fd);
	parent = stream_dir(s, dir->parent);
	own = parent < 0 ? parent : beneath_open(parent, dir->name, dir->name_len, O_RDONLY);
	if (own < 0)
		return stream_fail(s, own, &w, "open");
	return place_directory(s, d, own);
}

static int run_metadata(struct layout *l)
{
	struct stream s;
	int r = 0;

	l->finishing = true;
	stream_init(&s, l, DIRFDS_MAX);
	/* what leads to the state, and the view has not */
	if (!l->staged && ((!l->var && fchmod(l->state.top, 0755) < 0) ||
			   (!l->var_lib && fchmod(l->state.lib, 0755) < 0))) {
		r = -errno;
		ply_fail(&s.err, r, PLY_R_TARGET_WRITE, "%s/var: cannot set its mode: %s", l->target->path, strerror(-r));
	}
	if (r == 0 && !l->staged)
		r = record_end(l, &s.err);
	for (size_t d = l->plan->ndirs; r == 0 && d-- > 0 && !stream_stops(&s);)
		r = finish_directory(&s, (uint32_t)d);
	if (r < 0)
		layout_fail(l, &s.err);
	stream_done(&s);
	return 0;
}

/* --- phases ----------------------------------------------------------------------------------- */

static void begin_phase(struct layout *l, enum layout_phase phase)
{
	if (l->o->progress)
		atomic_store(&l->o->progress->phase, layout_phase_names[phase]);
}

/* Has it written anything that must be durable? */
static bool has_work(const struct layout *l, enum layout_phase phase)
{
	const struct plan *plan = l->plan;
	bool others = false;

	for (uint32_t i = 1; i < plan->nsubs; i++)
		others |= plan->subs[i].nbatches > 0;
	return phase == PHASE_OTHERS ? others : phase == PHASE_LINKS ? plan->nlink_batches > 0 : true;
}

static int make_durable(struct layout *l, struct ply_err *err)
{
	int64_t begin = timeline_now(l->o->timeline);
	double start = clock_s();
	int r;

	begin_phase(l, PHASE_SYNC);
	r = syncfs(l->target->fd) < 0 ? -errno : 0;
	l->report->seconds[PHASE_SYNC] += clock_s() - start;
	timeline_phase(l->o->timeline, layout_phase_names[PHASE_SYNC], begin);
	return r == 0 ? 0 : ply_fail(err, r, r == -ENOSPC || r == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
				     "%s: cannot make it durable: %s", l->target->path, strerror(-r));
}

int engine_mark_done(struct layout *l, enum layout_phase phase, struct ply_err *err)
{
	struct ply_view *view = l->plan->view;
	uint32_t from = phase == PHASE_OS ? 0 : 1, to = phase == PHASE_OS ? 1 : l->plan->nsubs;
	int r = 0;

	if (phase != PHASE_OS && phase != PHASE_OTHERS)
		return 0;
	for (uint32_t i = from; r == 0 && i < to; i++)
		r = state_mark_done(&l->state,
				    ply_image_sub_info(ply_view_image(view), ply_view_sub(view, i))->name, err);
	return r;
}

/* The record of this phase, and that of what begins now. Where names of others are in the way, all is looked at again
 * next time. */
static int commit(struct layout *l, enum layout_phase phase, struct ply_err *err)
{
	struct state_note notes[2];
	size_t n = 0;
	int r = 0;

	if (l->o->sync && has_work(l, phase))
		r = make_durable(l, err);
	if (!l->nleft)
		notes[n++] = (struct state_note){ .type = JOURNAL_PHASE_COMMITTED, .phase = phase };
	if (phase < PHASE_METADATA)
		notes[n++] = (struct state_note){ .type = JOURNAL_PHASE_BEGUN, .phase = phase + 1 };
	else if (!l->nleft)
		notes[n++] = (struct state_note){ .type = JOURNAL_COMPLETE };
	if (r == 0 && n)
		r = state_write(&l->state, notes, n, err);
	if (r == 0 && !l->nleft)
		r = engine_mark_done(l, phase, err);
	return r;
}

/* Pages of the image that could not be read since @faults were zeros: nothing counts. */
int engine_check_image(unsigned faults, struct ply_err *err)
{
	return sigbus_faults() == faults ? 0 :
		ply_fail(err, -EIO, PLY_R_IMAGE_IO,
			 "the image cannot be read, or was cut off while it was laid out");
}

static void run_one(struct layout *l, enum layout_phase phase, unsigned faults)
{
	static int (*const phases[PHASE_COUNT])(struct layout *) = {
		[PHASE_DIRECTORIES] = run_directories, [PHASE_OS] = run_os,
		[PHASE_OTHERS] = run_others, [PHASE_LINKS] = run_all_links,
		[PHASE_METADATA] = run_metadata,
	};
	int64_t begin = timeline_now(l->o->timeline);
	double start = clock_s();
	struct ply_err err;
	int r;

	begin_phase(l, phase);
	r = phases[phase](l);
	if (r < 0) {
		ply_fail_sys(&err, r, "cannot start a stream");
		layout_fail(l, &err);
	}
	l->report->seconds[phase] = clock_s() - start;
	if (!l->staged)            /* all of it is one phase of a change */
		timeline_phase(l->o->timeline, layout_phase_names[phase], begin);
	if (engine_check_image(faults, &err) < 0)
		layout_fail(l, &err);
	if (l->o->cancel && atomic_load(l->o->cancel)) {
		ply_fail(&err, -ECANCELED, PLY_R_CANCELLED, "interrupted");
		layout_fail(l, &err);
	}
}

void engine_execute(struct layout *l, unsigned faults)
{
	struct ply_err err;

	for (int i = PHASE_DIRECTORIES; i <= PHASE_METADATA && !atomic_load(&l->stop); i++) {
		bool committed = journal_has(l->state.j.committed, (enum layout_phase)i);

		/* of directories it must be known which are left out */
		if (committed && i != PHASE_DIRECTORIES)
			continue;
		run_one(l, (enum layout_phase)i, faults);
		if (i == PHASE_DIRECTORIES && !atomic_load(&l->stop) && !journal_has(l->state.j.committed, PHASE_METADATA))
			record_begin(l);
		if (!committed && !atomic_load(&l->stop) && commit(l, (enum layout_phase)i, &err) < 0)
			layout_fail(l, &err);
	}
	if (l->recorder)           /* something else has failed */
		record_end(l, &err);
}

void engine_stage(struct layout *l, unsigned faults)
{
	l->staged = true;
	for (int i = PHASE_DIRECTORIES; i <= PHASE_METADATA && !atomic_load(&l->stop); i++)
		run_one(l, (enum layout_phase)i, faults);
}
