/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies at a planned name already, when a layout goes on that was killed or lost its power.
 *
 *   marked as being made            ours, not finished: out, and made again
 *   has the planned time            ours: what is unmarked has all of its metadata (place.c). Where size or content
 *                                   differ, its data was lost with the power: out, and made again
 *   a symlink to the same, a device of the same number, a FIFO: cannot be told from ours, nor need it be: taken
 *   anything else                   somebody else's: left, and told
 *
 * Where the target keeps no modes nothing is marked: what has not got its time yet is then left, since nobody can tell.
 *
 * Metadata of what is taken is set again: a resume may have been killed while it did just that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "layout/place.h"

bool again_is_marked(const struct limits *lim, const struct ply_node *n, const struct stat *st)
{
	mode_t mode = st->st_mode & 07777;

	if (!limits_marks(lim) || S_ISLNK(st->st_mode) || !(mode & S_ISVTX))
		return false;
	/* an ACL may have touched the permissions already; not so where the file itself is sticky */
	return !(n->mode & S_ISVTX) || mode == S_ISVTX || mode == (S_ISVTX | S_IWUSR);
}

bool again_has_time(const struct limits *lim, const struct ply_node *n, const struct stat *st)
{
	int64_t is = st->st_mtim.tv_sec, want = n->mtime_sec;

	if (want < lim->time_min || want > lim->time_max)
		return is == (want < lim->time_min ? lim->time_min : lim->time_max) || is == want;
	if (lim->time_step_ns == 1)
		return is == want && st->st_mtim.tv_nsec == (long)n->mtime_nsec;
	if (lim->time_step_ns < 1000000000)
		return is == want && st->st_mtim.tv_nsec / lim->time_step_ns == n->mtime_nsec / lim->time_step_ns;
	return is == want || is == want - 1 || is == want + 1;     /* FAT: two seconds */
}

/* --- content ----------------------------------------------------------------------------- */

/* Where data begins at or behind @at, in the plan and in @fd; the end of the file where there is none. */
static int next_data(struct stream *s, const struct file *f, int fd, uint64_t at, uint64_t *ret_want, uint64_t *ret_is)
{
	int r = ply_view_seek(s->l->plan->view, f->ino, at, SEEK_DATA, ret_want, &s->err);
	off_t is = lseek(fd, (off_t)at, SEEK_DATA);

	if (r == -ENXIO)
		*ret_want = f->v.size;
	else if (r < 0)
		return stream_damaged(s, r, f->w);
	*ret_is = is < 0 ? f->v.size : (uint64_t)is;
	return 0;
}

/* 1: the file open as @fd has the bytes and the holes that it shall have. What has holes elsewhere counts as other: it
 * is only made again. */
static int same_content(struct stream *s, const struct file *f, int fd)
{
	_cleanup_free_ uint8_t *want = malloc(PLY_BLOCK_SIZE), *is = malloc(PLY_BLOCK_SIZE);
	struct ply_view *view = s->l->plan->view;
	uint64_t at = 0, end;
	int r = 0;

	if (!want || !is)
		return ply_fail_nomem(&s->err);
	while (at < f->v.size) {
		uint64_t is_at = 0;

		r = next_data(s, f, fd, at, &at, &is_at);
		if (r < 0)
			return r;
		if (is_at / PLY_PAGE != at / PLY_PAGE && at < f->v.size)
			return 0;
		if (at >= f->v.size)
			return is_at >= f->v.size;
		r = ply_view_seek(view, f->ino, at, SEEK_HOLE, &end, &s->err);
		if (r < 0)
			return stream_damaged(s, r, f->w);
		for (; at < end; ) {
			size_t n = (size_t)MIN(end - at, (uint64_t)PLY_BLOCK_SIZE);
			ssize_t got = ply_view_read(view, f->ino, at, n, want, &s->err);

			if (stream_stops(s))
				return -ECANCELED;
			if (got < 0)
				return stream_damaged(s, (int)got, f->w);
			if ((size_t)got != n || pread_full(fd, is, n, at) < 0 || memcmp(want, is, n) != 0)
				return 0;
			at += n;
		}
	}
	return 1;
}

/* --- judging --------------------------------------------------------------------------------- */

static int leave(struct stream *s, const struct file *f, const char *why)
{
	layout_leave(s->l, f->w, why);
	return AGAIN_LEFT;
}

struct judged {
	const struct limits *lim;
	const struct ply_node *n;
};

/* As it was judged before it was moved away; its content is not looked at once more. */
static bool is_ours(void *ctx, int dir, const char *name, const struct stat *st)
{
	const struct judged *j = ctx;

	(void)dir, (void)name;
	return (st->st_mode & S_IFMT) == (j->n->mode & S_IFMT) &&
	       (again_is_marked(j->lim, j->n, st) || again_has_time(j->lim, j->n, st));
}

/* The name @name of what has node @n. */
static int take_out(struct stream *s, const struct where *w, const struct ply_node *n, int dir, const char *name)
{
	struct judged j = { .lim = &s->l->limits, .n = n };
	int r = away_remove(s->l, w->dir, dir, name, is_ours, &j);

	if (r == AWAY_FOREIGN) {
		layout_leave(s->l, w, "is not the layout's, or was changed");
		return AGAIN_LEFT;
	}
	return r < 0 ? stream_fail(s, r, w, "remove what an interrupted layout has left") : AGAIN_MAKE;
}

static int take_out_file(struct stream *s, const struct file *f)
{
	return take_out(s, f->w, &f->v.node, f->dir, f->name.text);
}

/* It has the planned time. */
static int look_at_regular(struct stream *s, struct file *f, const struct stat *st)
{
	struct stat opened;
	int fd, r;

	if ((uint64_t)st->st_size != f->v.size)
		return take_out_file(s, f);
	fd = openat(f->dir, f->name.text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	/* its own mode may keep its owner out */
	if (fd < 0)
		return errno == EACCES || errno == ENOENT ? take_out_file(s, f) : stream_fail(s, -errno, f->w, "open");
	if (fstat(fd, &opened) < 0 || opened.st_ino != st->st_ino || opened.st_dev != st->st_dev) {
		close(fd);
		return leave(s, f, "another process has just put it there");
	}
	r = same_content(s, f, fd);
	if (r <= 0) {
		close(fd);
		return r < 0 ? r : take_out_file(s, f);
	}
	f->fd = fd;
	f->made = MADE_UNKNOWN;
	return AGAIN_TAKEN;
}

int again_look(struct stream *s, struct file *f)
{
	const struct ply_node *n = &f->v.node;
	char target[PLY_SYMLINK_MAX + 1], is[PLY_SYMLINK_MAX + 1];
	struct stat st;
	ssize_t len;
	int r = place_open_handle(f, &st);

	if (r < 0)
		return r == -ENOENT ? AGAIN_MAKE : stream_fail(s, r, f->w, "stat");
	if (S_ISREG(st.st_mode)) {
		cleanup_close(&f->handle);
		f->handle = -1;
	}
	if ((st.st_mode & S_IFMT) != (n->mode & S_IFMT))
		return leave(s, f, "is of another type");
	f->made = MADE_UNKNOWN;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		if (again_is_marked(&s->l->limits, n, &st))
			return take_out_file(s, f);
		if (!again_has_time(&s->l->limits, n, &st))
			return leave(s, f, "is not the layout's, or was changed");
		return look_at_regular(s, f, &st);
	case S_IFLNK:
		r = place_symlink_target(s, f, target);
		if (r < 0)
			return r;
		len = readlinkat(f->handle, "", is, sizeof(is));
		if (len != (ssize_t)n->size || memcmp(is, target, (size_t)len) != 0)
			return leave(s, f, "leads elsewhere");
		return AGAIN_TAKEN;
	case S_IFCHR:
	case S_IFBLK:
		return st.st_rdev == place_device(n) ? AGAIN_TAKEN : leave(s, f, "is another device");
	}
	return AGAIN_TAKEN;
}

int again_link(struct stream *s, const struct where *w, const struct file *from, int from_dir, int dir,
	       const struct name *name)
{
	const struct ply_node *n = &from->v.node;
	struct stat first, st;

	if (fstatat(from_dir, from->name.text, &first, AT_SYMLINK_NOFOLLOW) < 0)
		return stream_fail(s, -errno, w, "link");
	if (fstatat(dir, name->text, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? AGAIN_MAKE : stream_fail(s, -errno, w, "stat");
	if (st.st_ino == first.st_ino && st.st_dev == first.st_dev)
		return AGAIN_TAKEN;
	/* a name of an earlier copy of it */
	return take_out(s, w, n, dir, name->text);
}
