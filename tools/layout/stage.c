/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Staging. What is new is laid out by the engine, as into an empty directory, in parallel; what is merged, or replaces
 * something, is a few files, and made here, one by one. Then all of it is looked at once more, as it lies there: that is
 * what the table says will be, and by that everything is judged from then on.
 */
#include "layout/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/sigbus.h"
#include "base/util.h"
#include "layout/attrs.h"
#include "layout/statedir.h"
#include "layout/timeline.h"

#define PIECE ((size_t)1 << 20)

struct staging {
	struct survey *s;
	const struct target *target;
	const struct layout_options *o;
	uint32_t stream;           /* of the timeline */
	int update, tree, fresh, with;     /* directories */
	struct ply_err *err;
};

static int fail(struct staging *st, int code, const char *path, const char *what)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	return ply_fail(st->err, code, code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
			"%s/%s: cannot %s: %s", st->target->path, shown, what, strerror(-code));
}

/* --- what is new --------------------------------------------------------------------------- */

/* Owners are those of the target. */
static void map_owners(const struct survey *s)
{
	for (uint32_t i = 0; i < s->plan->nsubs; i++) {
		struct plan_sub *ps = &s->plan->subs[i];

		for (uint64_t k = 0; ps->owners && k < sub_limits(ps->sub)->owner_pairs; k++) {
			struct plan_owner *po = &ps->owners[k];

			po->lost = idmap_is_lost(s->ids, ID_USER, po->uid) || idmap_is_lost(s->ids, ID_GROUP, po->gid);
			po->uid = po->put_uid = idmap_id(s->ids, ID_USER, po->uid);
			po->gid = po->put_gid = idmap_id(s->ids, ID_GROUP, po->gid);
		}
	}
}

static int stage_tree(struct staging *st, const struct layout_options *o, struct layout_report *report)
{
	struct target t = *st->target;
	struct layout l = { .plan = st->s->plan, .target = &t, .o = o, .ids = st->s->ids, .report = report, .stream = st->stream };
	unsigned faults = sigbus_faults();
	int r;

	if (o->progress) {
		atomic_fetch_add(&o->progress->total_bytes, l.plan->bytes);
		atomic_fetch_add(&o->progress->total_files, l.plan->files);
	}
	t.fd = st->tree;
	t.mine = true;
	state_init(&l.state, &t, false);
	l.state.dir = st->update;
	pthread_mutex_init(&l.lock, NULL);
	map_owners(st->s);
	r = probe(&l, st->err);
	if (r == 0) {
		engine_stage(&l, faults);
		r = l.err.code;
		if (r < 0)
			*st->err = l.err;
	}
	pthread_mutex_destroy(&l.lock);
	layout_report_add(&l);
	return r;
}

/* --- what is merged -------------------------------------------------------------------------- */

static int copy_content(struct staging *st, const struct survey_put *p, int fd)
{
	_cleanup_free_ uint8_t *piece = NULL;
	uint64_t off = 0, end;
	struct ply_attr a;
	ssize_t n;
	int r;

	if (!p->own) {
		r = pwrite_full(fd, p->text.data, p->text.len, 0);
		return r < 0 ? fail(st, r, p->path, "write") : 0;
	}
	piece = malloc(PIECE);
	if (!piece)
		return ply_fail_nomem(st->err);
	r = ply_view_attr(st->s->view, p->ino, &a, st->err);
	while (r == 0 && (r = ply_view_seek(st->s->view, p->ino, off, SEEK_DATA, &off, st->err)) == 0) {
		r = ply_view_seek(st->s->view, p->ino, off, SEEK_HOLE, &end, st->err);
		for (n = 1; r == 0 && n > 0 && off < end; off += (uint64_t)MAX(n, 0)) {
			n = ply_view_read(st->s->view, p->ino, off, MIN(PIECE, end - off), piece, st->err);
			if (n < 0)
				return (int)n;
			r = pwrite_full(fd, piece, (size_t)n, off);
			if (r < 0)
				return fail(st, r, p->path, "write");
		}
	}
	if (r != -ENXIO && r < 0)
		return r;
	return ftruncate(fd, (off_t)a.size) < 0 ? fail(st, -errno, p->path, "set its size") : 0;
}

static int set_xattrs(struct staging *st, const struct survey_put *p, const char *path)
{
	const char *base = strrchr(p->path, '/');
	char from[64 + PLY_NAME_MAX];
	int dir, r;

	st->err->code = 0;
	if (p->target_xattrs) {
		dir = beneath_open(st->s->target, p->path, base ? (size_t)(base - p->path) : 0, O_PATH);
		if (dir < 0)
			return fail(st, dir, p->path, "open its directory");
		snprintf(from, sizeof(from), "/proc/self/fd/%d/%s", dir, base ? base + 1 : p->path);
		r = attrs_copy(from, path);
		cleanup_close(&dir);
	} else {
		r = attrs_of_view(st->s->view, p->ino, st->s->ids, st->o->lossy, path, st->err);
	}
	return r < 0 && !st->err->code ? fail(st, r, p->path, "set its extended attributes") : r;
}

/* Owner, time, xattrs, mode, in the order that keeps them. */
static int set_metadata(struct staging *st, const struct survey_put *p, int dir, const char *name)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { p->mtime_sec, p->mtime_nsec } };
	char path[64 + PLY_NAME_MAX];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	if (fchownat(dir, name, p->uid, p->gid, AT_SYMLINK_NOFOLLOW) < 0 && !st->o->allow_partial)
		return fail(st, -errno, p->path, "set its owner");
	r = set_xattrs(st, p, path);
	if (r < 0)
		return r;
	if (!S_ISLNK(p->mode) && fchmodat(dir, name, p->mode & 07777, 0) < 0)
		return fail(st, -errno, p->path, "set its mode");
	if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(st, -errno, p->path, "set its time");
	return 0;
}

static int make_symlink(struct staging *st, const struct survey_put *p, int dir, const char *name)
{
	char target[PLY_SYMLINK_MAX + 1];
	const char *from;
	size_t len;
	int r = ply_view_readlink(st->s->view, p->ino, &from, &len, st->err);

	if (r < 0)
		return r;
	memcpy(target, from, len);
	target[len] = '\0';
	return symlinkat(target, dir, name) < 0 ? fail(st, -errno, p->path, "create") : 0;
}

static int make_link(struct staging *st, const struct survey_put *p, int dir, const char *name)
{
	const char *base = strrchr(p->link, '/');
	int from = beneath_open(st->s->target, p->link, base ? (size_t)(base - p->link) : 0, O_PATH), r = MIN(from, 0);

	if (r == 0 && linkat(from, base ? base + 1 : p->link, dir, name, 0) < 0)
		r = -errno;
	cleanup_close(&from);
	return r < 0 ? fail(st, r, p->path, "link") : 0;
}

static int make_put(struct staging *st, const struct survey_put *p, int dir, const char *name)
{
	struct ply_attr a;
	int fd, r;

	if (p->link)
		return make_link(st, p, dir, name);
	switch (p->mode & S_IFMT) {
	case S_IFREG:
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return fail(st, -errno, p->path, "create");
		r = copy_content(st, p, fd);
		if (close(fd) < 0 && r == 0)
			r = fail(st, -errno, p->path, "write");
		break;
	case S_IFLNK:
		r = make_symlink(st, p, dir, name);
		break;
	default:
		r = ply_view_attr(st->s->view, p->ino, &a, st->err);
		if (r == 0 && mknodat(dir, name, (p->mode & S_IFMT) | 0600, makedev(a.rdev_major, a.rdev_minor)) < 0)
			r = fail(st, -errno, p->path, "create");
	}
	return r < 0 ? r : set_metadata(st, p, dir, name);
}

/* A copy of what is put, for three-way comparisons when it is to go again. */
static int keep_text(struct staging *st, const struct survey_put *p, const char *name)
{
	int from, fd, r = 0;
	struct stat sb;
	char buf[8192];
	ssize_t n = 1;

	if (!S_ISREG(p->mode))
		return 0;
	if (fstatat(st->fresh, name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(st, -errno, p->path, "look at it");
	if ((uint64_t)sb.st_size > MERGE_FILE_MAX)
		return 0;          /* nothing of that size is merged */
	from = openat(st->fresh, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	fd = openat(st->with, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	for (uint64_t off = 0; from >= 0 && fd >= 0 && r == 0 && n > 0; off += (uint64_t)MAX(n, 0)) {
		n = pread(from, buf, sizeof(buf), (off_t)off);
		r = n < 0 ? -errno : n > 0 ? pwrite_full(fd, buf, (size_t)n, off) : 0;
	}
	if (from < 0 || fd < 0)
		r = -errno;
	cleanup_close(&from);
	cleanup_close(&fd);
	return r < 0 ? fail(st, r, p->path, "keep a copy of what is merged") : 0;
}

/* Its directory in the tree has its own time already. */
static int put_into_tree(struct staging *st, const struct survey_put *p)
{
	const char *base = strrchr(p->path, '/');
	_cleanup_close_ int dir = beneath_open(st->tree, p->path, base ? (size_t)(base - p->path) : 0, O_RDONLY);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat before;
	int r;

	if (dir < 0 || fstat(dir, &before) < 0)
		return fail(st, dir < 0 ? dir : -errno, p->path, "open its directory");
	r = p->staged && unlinkat(dir, base ? base + 1 : p->path, 0) < 0 ? fail(st, -errno, p->path, "replace") : 0;
	if (r == 0)
		r = make_put(st, p, dir, base ? base + 1 : p->path);
	times[1] = before.st_mtim;
	return r == 0 && futimens(dir, times) < 0 ? fail(st, -errno, p->path, "set the time of its directory") : r;
}

static uint64_t put_bytes(const struct survey_put *p)
{
	return S_ISREG(p->mode) && !p->link ? p->text.len : 0;
}

/* Its attributes, before and after. */
static int make_carriers(struct staging *st, const struct survey_put *p)
{
	struct change *row = NULL;
	const char *base = strrchr(p->path, '/');
	_cleanup_close_ int dir = beneath_open(st->s->target, p->path, base ? (size_t)(base - p->path) : 0, O_PATH);
	_cleanup_close_ int old = statedir_make(st->update, "old", 0700);
	char from[64 + PLY_NAME_MAX], name[16];
	struct change_side side;
	int r = MIN(dir, 0);

	for (size_t i = 0; i < st->s->changes.n && !row; i++)
		if (st->s->changes.v[i].n == p->n)
			row = &st->s->changes.v[i];
	if (old == -EEXIST)
		old = statedir_open(st->update, "old");
	if (r == 0)
		r = MIN(old, 0);
	snprintf(name, sizeof(name), "%u", p->n);
	snprintf(from, sizeof(from), "/proc/self/fd/%d/%s", dir, base ? base + 1 : p->path);
	if (r == 0)
		r = attrs_carrier(old, name, from, row->before.mode, NULL, 0, NULL, false, st->err);
	if (r == 0)
		r = attrs_carrier(st->fresh, name, from, row->after.mode, p->target_xattrs ? NULL : st->s->view, p->ino, st->s->ids,
				  st->o->lossy, st->err);
	if (r == 0)
		r = change_look(st->fresh, name, &side);
	if (r == 0)
		memcpy(row->after.xattrs, side.xattrs, sizeof(side.xattrs));
	if (r == 0 && change_same(&row->before, &row->after))
		row->kind = CHANGE_KEEP;   /* what it should get the target cannot hold */
	return r < 0 && !st->err->code ? fail(st, r, p->path, "keep its extended attributes") : r;
}

static int stage_puts(struct staging *st)
{
	int64_t begin = timeline_now(st->o->timeline);
	uint64_t bytes = 0;

	for (size_t i = 0; i < st->s->nputs; i++) {
		const struct survey_put *p = &st->s->puts[i];
		char name[16];
		int r;

		snprintf(name, sizeof(name), "%u", p->n);
		if (p->meta) {
			r = make_carriers(st, p);
			if (r < 0)
				return r;
			continue;
		}
		r = p->swap ? make_put(st, p, st->fresh, name) : put_into_tree(st, p);
		if (r == 0 && p->swap)
			r = keep_text(st, p, name);
		if (r < 0)
			return r;
		bytes += put_bytes(p);
	}
	if (st->s->nputs)
		timeline_batch(st->o->timeline, 0, st->stream, begin, bytes, st->s->nputs);
	return 0;
}

static void plan_stream(const struct staging *st)
{
	const struct plan *plan = st->s->plan;
	uint64_t bytes = plan->bytes;

	for (size_t i = 0; i < st->s->nputs; i++)
		bytes += put_bytes(&st->s->puts[i]);
	timeline_plan(st->o->timeline, st->stream, bytes, plan->names + st->s->nputs);
}

/* --- what it will be ----------------------------------------------------------------------------- */

static int look_at(struct staging *st, struct change *row)
{
	const char *base = strrchr(row->path, '/');
	char name[16];
	int dir, r;

	if (row->kind == CHANGE_OUT) {
		row->after = (struct change_side){ 0 };
		return 0;
	}
	if (row->kind == CHANGE_SWAP) {
		snprintf(name, sizeof(name), "%u", row->n);
		r = change_look(st->fresh, name, &row->after);
		return r < 0 ? fail(st, r, row->path, "look at it") : 0;
	}
	if (row->kind != CHANGE_MAKE)
		return 0;
	dir = beneath_open(st->tree, row->path, base ? (size_t)(base - row->path) : 0, O_PATH);
	r = dir < 0 ? dir : change_look(dir, base ? base + 1 : row->path, &row->after);
	cleanup_close(&dir);
	if (r == 0 && !row->after.mode)
		r = -ENOENT;
	return r < 0 ? fail(st, r, row->path, "look at it") : 0;
}

static int make_dir(struct staging *st, const char *name, int *ret)
{
	*ret = statedir_make(st->update, name, 0700);
	return *ret < 0 ? fail(st, *ret, name, "create") : 0;
}

int stage_run(struct survey *s, const struct target *target, int update, const struct layout_options *o, uint32_t stream,
	      struct layout_report *report, struct ply_err *err)
{
	struct staging st = { .s = s, .target = target, .o = o, .stream = stream, .update = update, .tree = -1, .fresh = -1, .with = -1, .err = err };
	int r = make_dir(&st, "tree", &st.tree);

	if (r == 0)
		r = make_dir(&st, "new", &st.fresh);
	if (r == 0)
		r = make_dir(&st, "with", &st.with);
	plan_stream(&st);
	if (r == 0)
		r = stage_tree(&st, o, report);
	if (r == 0)
		r = stage_puts(&st);
	for (size_t i = 0; r == 0 && i < s->changes.n; i++) {
		if (o->cancel && atomic_load_explicit(o->cancel, memory_order_relaxed))
			r = ply_fail(err, -ECANCELED, PLY_R_CANCELLED, "interrupted; the target is as it was");
		else
			r = look_at(&st, &s->changes.v[i]);
	}
	cleanup_close(&st.tree);
	cleanup_close(&st.fresh);
	cleanup_close(&st.with);
	return r;
}
