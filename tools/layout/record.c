/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A component of a new layout is recorded as if it had been added to what the selection is without it, and without what
 * requires it: rows of what it has alone, and of files that are others without it, with both versions of these.
 *
 * Cost follows the components: their own rows are in the plan, and of all others only those can differ that the plan has as
 * special, shared files and names under a condition. What a regular file holds is not read for this; it is known by size
 * and time.
 *
 * It reads the plan and the image, and writes where no stream does. So it goes on beside them, by a thread of its own: what
 * it waits for, and the processor that it takes while they wait for the image, would be added to a layout's time.
 */
#include "layout/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "layout/record_impl.h"
#include "layout/update_impl.h"

#define RECORD_SUBS 64u            /* each is compared with a selection without it: time grows with the square */

/* --- what it has itself ------------------------------------------------------------------------ */

bool record_is_special(const struct plan *p, uint32_t dir, const char *name, size_t len)
{
	size_t lo = 0, hi = p->nspecials;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct plan_special *s = &p->specials[mid];
		int r = s->dir != dir ? (s->dir < dir ? -1 : 1) : memcmp(s->name, name, MIN(s->name_len, len));

		if (r == 0)
			r = (int)s->name_len - (int)len;
		if (r == 0)
			return true;
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static int record_own(struct recording *rec, const struct where *w)
{
	struct plan *p = rec->l->plan;
	char own[PLY_NAME_MAX];
	uint64_t dir, ino, other = 0;
	struct ply_entry e;
	const char *name;
	size_t len;
	int r = sub_entry(p->subs[w->sub].sub, w->at, &e, rec->err);

	if (r < 0 || e.type == S_IFDIR >> 12 || p->dirs[w->dir].left_out)
		return r;
	r = plan_entry_name(p, w, &e, own, &name, &len, rec->err);
	if (r == 0 && record_is_special(p, w->dir, name, len))
		return 0;
	if (r == 0)
		r = subset_dir(rec->l, rec->without, rec->dirs, w->dir, &dir, rec->err);
	if (r == 0 && dir)
		r = version_find(rec->without, dir, name, len, &other, rec->err);
	if (r == 0)
		r = view_node_ino(p->view, w->sub, PLY_INO_INDEX(e.ref), &ino, rec->err);
	if (r < 0)
		return r;
	if (!other)
		return record_made(rec, w->dir, name, len, ino);
	return record_special(rec, &(struct plan_special){ .dir = w->dir, .name = name, .name_len = (uint8_t)len });
}

static int record_rows(struct recording *rec)
{
	const struct plan *p = rec->l->plan;
	const struct plan_sub *ps = &p->subs[rec->sub];
	int r = record_directories(rec);

	for (size_t k = 0; r == 0 && k < ps->nparts; k++)
		for (uint64_t at = ps->parts[k].first; r == 0 && at < ps->parts[k].end; at++)
			r = record_own(rec, &(struct where){ .at = at, .dir = ps->parts[k].dir, .sub = rec->sub });
	for (size_t i = 0; r == 0 && i < p->nspecials; i++)
		r = record_special(rec, &p->specials[i]);
	return r == 0 ? record_on_others(rec) : r;
}

/* --- the table --------------------------------------------------------------------------------- */

/* @path is cut where its directory ends; NULL: the row of that directory is not there. */
static struct change *find_parent(const struct changes *c, char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
	return slash ? (struct change *)changes_find(c, path) : NULL;
}

/* A directory with a file that other components have, too, is theirs as much: it stays when this one goes. */
static int give_up_directories(struct changes *c)
{
	size_t to = 0;

	for (size_t i = 0; i < c->n; i++) {
		_cleanup_free_ char *path = strdup(c->v[i].path);

		if (!path)
			return -ENOMEM;
		if (c->v[i].kind != CHANGE_MAKE && !(c->v[i].flags & CHANGE_SHARED))
			for (struct change *up; (up = find_parent(c, path));)
				up->kind = up->kind == CHANGE_MAKE ? 0 : up->kind;
	}
	for (size_t i = 0; i < c->n; i++) {
		if (c->v[i].kind)
			c->v[to++] = c->v[i];
		else
			change_done(&c->v[i]);
	}
	c->n = to;
	for (size_t i = 0; i < c->n; i++) {
		_cleanup_free_ char *path = strdup(c->v[i].path);
		const struct change *up;

		if (!path)
			return -ENOMEM;
		c->v[i].flags &= (uint8_t)~CHANGE_INSIDE;
		if (c->v[i].kind == CHANGE_MAKE && (up = find_parent(c, path)) && up->kind == CHANGE_MAKE)
			c->v[i].flags |= CHANGE_INSIDE;
	}
	return 0;
}

/* Numbers of rows are without gaps; files are called by them. */
static int renumber(struct recording *rec, struct changes *c)
{
	const int dirs[] = { rec->fresh, rec->old, rec->with, rec->was };

	for (size_t i = 0; i < c->n; i++) {
		char from[24], to[24];

		snprintf(from, sizeof(from), "%u", c->v[i].n);
		snprintf(to, sizeof(to), "n%zu", i);
		for (size_t k = 0; c->v[i].kind != CHANGE_MAKE && k < ARRAY_SIZE(dirs); k++)
			if (dirs[k] >= 0 && renameat(dirs[k], from, dirs[k], to) < 0 && errno != ENOENT)
				return record_fail(rec, -errno, "rename a file that was kept");
		c->v[i].n = (uint32_t)i;
	}
	for (size_t i = 0; i < c->n; i++) {
		char from[24], to[24];

		snprintf(from, sizeof(from), "n%zu", i);
		snprintf(to, sizeof(to), "%zu", i);
		for (size_t k = 0; c->v[i].kind != CHANGE_MAKE && k < ARRAY_SIZE(dirs); k++)
			if (dirs[k] >= 0 && renameat(dirs[k], from, dirs[k], to) < 0 && errno != ENOENT)
				return record_fail(rec, -errno, "rename a file that was kept");
	}
	return 0;
}

static int put_table(struct recording *rec)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	_cleanup_close_ int fd = -1;
	size_t n;
	int r = update_describe(&rec->c, ply_view_image(rec->l->plan->view), rec->name, rec->err);

	if (r < 0)
		return r;
	changes_sort(&rec->c);
	n = rec->c.n;
	if (give_up_directories(&rec->c) < 0)
		return ply_fail_nomem(rec->err);
	r = rec->c.n != n ? renumber(rec, &rec->c) : 0;
	if (r < 0)
		return r;
	r = changes_encode(&rec->c, &bytes, rec->err);
	if (r < 0)
		return r;
	fd = openat(rec->at, "table", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : pwrite_full(fd, bytes.data, bytes.len, 0);
	return r < 0 ? record_fail(rec, r, "write its table") : 0;
}

/* --- one component ----------------------------------------------------------------------------- */

/* Of @stays the component and what it requires, by whatever way. */
static void stay_alone(const struct recording *rec, bool *stays)
{
	const uint32_t n = rec->l->plan->nsubs;

	memset(stays, 0, n * sizeof(*stays));
	stays[0] = stays[rec->sub] = true;
	for (uint32_t i = n; i-- > 0;) {   /* what is required has a lower rank */
		const struct ply_sub_info *info = subset_info(rec->l, i);

		for (uint32_t j = 0; stays[i] && j < i; j++) {
			const char *name = subset_info(rec->l, j)->name;

			for (uint32_t k = 0; k < info->nrequires; k++)
				stays[j] |= !strcmp(info->requires[k], name);
			for (uint32_t k = 0; k < info->nstands_on; k++)
				stays[j] |= !strcmp(info->stands_on[k], name);
		}
	}
}

static int record_one(struct recording *rec, int merge)
{
	struct plan *p = rec->l->plan;
	_cleanup_free_ bool *stays = calloc(p->nsubs, sizeof(*stays));
	int r;

	rec->dirs = subset_dirs(rec->l);
	rec->told = calloc(p->ndirs, sizeof(*rec->told));
	rec->alone_dirs = subset_dirs(rec->l);
	if (!stays || !rec->dirs || !rec->told || !rec->alone_dirs)
		return ply_fail_nomem(rec->err);
	for (uint32_t i = 0; i < p->nsubs; i++)
		stays[i] = i != rec->sub;
	subset_close(rec->l, stays);
	for (uint32_t i = 0; i < p->nsubs; i++)
		rec->is_required |= !stays[i] && i != rec->sub;
	r = subset_open(rec->l, stays, &rec->without, rec->err);
	stay_alone(rec, stays);
	if (r == 0)
		r = subset_open(rec->l, stays, &rec->alone, rec->err);
	if (r == 0)
		r = record_make_dir(rec, merge, rec->name, &rec->at);
	if (r == 0)
		r = record_make_dir(rec, rec->at, "new", &rec->fresh);
	if (r == 0)
		r = record_make_dir(rec, rec->at, "old", &rec->old);
	if (r == 0)
		r = record_make_dir(rec, rec->at, "with", &rec->with);
	if (r == 0)
		r = record_rows(rec);
	return r == 0 ? put_table(rec) : r;
}

static void record_done(struct recording *rec)
{
	const int fds[] = { rec->at, rec->fresh, rec->old, rec->with, rec->was };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	ply_view_close(rec->without);
	ply_view_close(rec->alone);
	changes_done(&rec->c);
	buf_done(&rec->path);
	free(rec->dirs);
	free(rec->alone_dirs);
	free(rec->told);
}

static bool can_tell(const struct layout *l)
{
	static const enum layout_field needed[] = { FIELD_MODE, FIELD_TIME_RANGE, FIELD_TIME_NS, FIELD_SYMLINK };

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (l->limits.lacks[needed[i]])
			return false;
	return l->plan->nsubs > 1 && l->plan->nsubs <= RECORD_SUBS;
}

static int record_components(struct layout *l, struct ply_err *err)
{
	_cleanup_free_ uint64_t *os_dirs = subset_dirs(l);
	_cleanup_free_ bool *os_only = calloc(l->plan->nsubs, sizeof(*os_only));
	struct recording first = { .l = l, .name = "", .err = err };
	struct ply_view *os = NULL;
	int merge = -1, r;

	if (!os_dirs || !os_only)
		return ply_fail_nomem(err);
	os_only[0] = true;
	r = update_remove_tree(l->state.dir, "merge");
	if (r < 0)
		return record_fail(&first, r, "remove");
	if (!can_tell(l))
		return 0;
	r = record_make_dir(&first, l->state.dir, "merge", &merge);
	if (r == 0)
		r = subset_open(l, os_only, &os, err);
	for (uint32_t i = 1; r == 0 && i < l->plan->nsubs && !atomic_load(&l->stop); i++) {
		struct recording rec = { .l = l, .sub = i, .name = subset_info(l, i)->name, .os = os, .os_dirs = os_dirs,
				      .at = -1, .fresh = -1, .old = -1, .with = -1, .was = -1, .err = err };

		r = record_one(&rec, merge);
		record_done(&rec);
	}
	ply_view_close(os);
	cleanup_close(&merge);
	return r;
}

/* --- beside the streams ------------------------------------------------------------------------ */

struct recorder {
	struct layout *l;
	pthread_t thread;
	struct ply_err err;        /* of this thread, until it has ended; as is what comes next */
	int result;
};

static void *record_main(void *arg)
{
	struct recorder *rec = arg;

	handover("record");
	rec->result = record_components(rec->l, &rec->err);
	return NULL;
}

void record_begin(struct layout *l)
{
	struct recorder *rec = l->o->streams > 1 ? calloc(1, sizeof(*rec)) : NULL;

	if (!rec)
		return;
	rec->l = l;
	if (pthread_create(&rec->thread, NULL, record_main, rec) == 0)
		l->recorder = rec;
	else
		free(rec);
}

int record_end(struct layout *l, struct ply_err *err)
{
	_cleanup_free_ struct recorder *rec = TAKE_PTR(l->recorder);

	if (!rec)
		return record_components(l, err);
	pthread_join(rec->thread, NULL);
	*err = rec->err;
	return rec->result;
}
