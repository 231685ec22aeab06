/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a layout on its target: see state.h.
 *
 * It must be there before the first other name, and whole: a process that is killed, or a machine that loses power, at
 * any moment leaves either no state, or one that tells all. So it is made in TARGET/.plyfs.MODE.SECONDS.NANOSECONDS, as
 * the directory that becomes `var`, is made durable, and gets its name in one rename that overwrites nothing. What the
 * target's own mode and time were is in that first name: making it is what changes them, and no file could keep them
 * earlier. Being taken away it gets such a name again, so that a remainder is known as one.
 *
 * A file system that cannot rename without overwriting gets `var` at once; there a process that is killed while it makes
 * the state leaves a part of it, which state_find() knows by its lack of a journal.
 *
 * Rejected: an xattr of the target (many have none), a file beside the target (nothing outside of it is touched).
 */
#include "layout/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/statedir.h"
#include "layout/update_impl.h"

#define STATE_DIR   "var/lib/plyfs"
#define LEFT_PREFIX ".plyfs."

void state_init(struct state *s, struct target *t, bool sync)
{
	*s = (struct state){ .target = t, .sync = sync, .top = -1, .lib = -1, .dir = -1, .done = -1, .out = -1,
			      .journal = -1 };
}

void state_close(struct state *s)
{
	int *const fds[] = { &s->top, &s->lib, &s->dir, &s->done, &s->out, &s->journal };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		cleanup_close(fds[i]);
		*fds[i] = -1;
	}
	saved_done(&s->saved);
	s->has_saved = false;
}

static int fail(const struct state *s, int code, const char *name, const char *what, struct ply_err *err)
{
	enum ply_reason reason = code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE;

	return ply_fail(err, code, reason, "%s/" STATE_DIR "%s%s: cannot %s: %s", s->target->path, *name ? "/" : "",
			name, what, strerror(-code));
}

/* --- looking ----------------------------------------------------------------------- */

/* The name of a state that is being made, or taken away: what it tells of the target. */
static void left_name(const struct target *t, char out[80])
{
	snprintf(out, 80, LEFT_PREFIX "%o.%lld.%09ld", t->before.st_mode & 07777, (long long)t->before.st_mtim.tv_sec,
		 t->before.st_mtim.tv_nsec);
}

static bool parse_left_name(const char *name, mode_t *mode, struct timespec *mtime)
{
	char again[80];
	long long sec;
	unsigned m;
	long nsec;

	if (sscanf(name, LEFT_PREFIX "%o.%lld.%ld", &m, &sec, &nsec) != 3 || m > 07777 || nsec < 0 || nsec > 999999999)
		return false;
	snprintf(again, sizeof(again), LEFT_PREFIX "%o.%lld.%09ld", m, sec, nsec);
	*mode = m;
	*mtime = (struct timespec){ sec, nsec };
	return !strcmp(name, again);
}

/* A name in the target that looks so, and is a directory of the caller's: 1, and it is in @out. */
static int find_left(const struct target *t, char out[80])
{
	int fd = openat(t->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), found = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	struct timespec mtime;
	struct stat st;
	mode_t mode;

	if (!d) {
		found = -errno;
		cleanup_close(&fd);
		return found;
	}
	while (!found && (de = readdir(d))) {
		if (strlen(de->d_name) >= 80 || !parse_left_name(de->d_name, &mode, &mtime) ||
		    fstatat(t->fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) ||
		    st.st_uid != geteuid())
			continue;
		strcpy(out, de->d_name);
		found = 1;
	}
	closedir(d);
	return found;
}

/* -ENOENT where there is none, or it is empty. @s->place is what leads to it. */
static int open_dirs(struct state *s)
{
	int r;

	s->top = beneath_open(s->target->fd, s->place, strlen(s->place), O_RDONLY);
	s->lib = s->top < 0 ? s->top : beneath_open(s->top, "lib", 3, O_RDONLY);
	s->dir = s->lib < 0 ? s->lib : beneath_open(s->lib, "plyfs", 5, O_RDONLY);
	r = MIN(s->dir, 0);
	if (r == 0) {
		s->done = beneath_open(s->dir, "done", 4, O_RDONLY);
		s->out = beneath_open(s->dir, "out", 3, O_RDONLY);
	}
	return r;
}

static bool is_not_there(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP;
}

static int read_file(const struct state *s, int fd, const char *name, size_t max, struct buf *ret, struct ply_err *err)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return fail(s, -errno, name, "stat", err);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max)
		return ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "%s/" STATE_DIR "/%s: is no %s of a layout",
				s->target->path, name, name);
	r = buf_reserve(ret, (size_t)st.st_size + 1);
	if (r < 0)
		return ply_fail_nomem(err);
	r = pread_full(fd, ret->data, (size_t)st.st_size, 0);
	if (r < 0)
		return fail(s, r, name, "read", err);
	ret->len = (size_t)st.st_size;
	return 0;
}

static int read_journal(struct state *s, bool lock, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r;

	s->journal = openat(s->dir, "journal", (lock ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (s->journal < 0)
		return errno == ENOENT ? 0 : fail(s, -errno, "journal", "open", err);
	if (lock && flock(s->journal, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return ply_fail(err, -EBUSY, PLY_R_TARGET_BUSY, "%s: another layout is at work there; wait until it ends",
				s->target->path);
	r = read_file(s, s->journal, "journal", JOURNAL_MAX, &bytes, err);
	if (r < 0)
		return r;
	r = journal_parse(bytes.data, bytes.len, &s->j, err);
	if (r < 0)
		ply_err_prefix(err, "%s/" STATE_DIR "/journal", s->target->path);
	return r;
}

/* -ENOENT is not told. */
static int read_saved(const struct state *s, const char *name, struct saved *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	_cleanup_close_ int fd = openat(s->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int r;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : fail(s, -errno, name, "open", err);
	r = read_file(s, fd, name, SAVED_MAX, &bytes, err);
	if (r < 0)
		return r;
	r = saved_decode(bytes.data, bytes.len, ret, err);
	if (r < 0)
		ply_err_prefix(err, "%s/" STATE_DIR "/%s", s->target->path, name);
	return r;
}

static int read_plan(struct state *s, struct ply_err *err)
{
	int r = read_saved(s, "plan", &s->saved, err);

	if (r == -ENOENT)          /* it goes before the journal */
		return s->j.aborting ? 0 : fail(s, r, "plan", "open", err);
	if (r < 0)
		return r;
	s->has_saved = true;
	if (memcmp(s->saved.digest, s->j.digest, sizeof(s->j.digest)) != 0 &&
	    !(s->j.reducing && !memcmp(s->saved.digest, s->j.reduced, sizeof(s->j.reduced))))
		return ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "%s/" STATE_DIR "/plan: is not the plan of its journal",
				s->target->path);
	return 0;
}

int state_find(struct state *s, bool lock, struct ply_err *err)
{
	int r;

	strcpy(s->place, "var");
	r = open_dirs(s);
	if (r < 0 && statedir_no_way(s->target->fd, s->target->path, r, err) < 0)
		return r;
	if (is_not_there(r)) {
		r = find_left(s->target, s->place);
		if (r < 0)
			return ply_fail_sys(err, r, "%s: cannot list", s->target->path);
		s->kind = r ? STATE_LEFT : target_was_noted(s->target) ? STATE_TIMES : STATE_NONE;
		return 0;
	}
	if (r < 0)
		return fail(s, r, "", "open", err);
	r = statedir_check(s->dir, s->target->path, err);
	if (r == 0)
		r = read_journal(s, lock, err);
	if (r < 0)
		return r;
	if (!s->j.started) {
		s->kind = faccessat(s->dir, "merge", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
				  faccessat(s->dir, "update", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
				  faccessat(s->dir, "update.new", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
				  faccessat(s->dir, "adding", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
				  faccessat(s->dir, "adding.new", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ?
			  STATE_CHANGED : STATE_LEFT;
		return 0;
	}
	s->kind = s->j.aborting ? STATE_ABORTING : s->j.reducing ? STATE_REDUCING : STATE_BEGUN;
	return read_plan(s, err);
}

/* --- a new one ------------------------------------------------------------------------- */

static int make_dir(int at, const char *name, int *ret_fd)
{
	*ret_fd = statedir_make(at, name, 0700);
	return MIN(*ret_fd, 0);
}

static int make_dirs(struct state *s)
{
	int r = make_dir(s->target->fd, s->place, &s->top);

	if (r == 0)
		r = make_dir(s->top, "lib", &s->lib);
	if (r == 0)
		r = make_dir(s->lib, "plyfs", &s->dir);
	if (r == 0)
		r = make_dir(s->dir, "done", &s->done);
	if (r == 0)
		r = make_dir(s->dir, "out", &s->out);
	return r;
}

int state_begin(struct state *s, struct ply_err *err)
{
	int r;

	left_name(s->target, s->place);
	s->kind = STATE_LEFT;
	r = make_dirs(s);
	return r < 0 ? ply_fail(err, r, r == -ENOSPC || r == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
				"%s: cannot make a file in it: %s", s->target->path, strerror(-r)) : 0;
}

static int put_file(struct state *s, const char *name, const void *bytes, size_t len, int *ret_fd, struct ply_err *err)
{
	int fd = openat(s->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return fail(s, -errno, name, "create", err);
	r = pwrite_full(fd, bytes, len, 0);
	if (r == 0 && s->sync && fsync(fd) < 0)
		r = -errno;
	*ret_fd = fd;
	return r < 0 ? fail(s, r, name, "write", err) : 0;
}

/* Plan, then journal. */
static int put_files(struct state *s, const struct saved *saved, struct ply_err *err)
{
	uint8_t records[2 * JOURNAL_RECORD];
	_cleanup_buf_ struct buf plan = { 0 };
	_cleanup_close_ int fd = -1;
	int r;

	if (saved_encode(saved, &plan) < 0)
		return ply_fail_nomem(err);
	if (plan.len > SAVED_MAX)
		return ply_fail(err, -EFBIG, PLY_R_LIMIT, "%s: too much is decided for one layout", s->target->path);
	journal_encode(JOURNAL_BEGIN, 0, 0, saved->digest, records);
	journal_encode(JOURNAL_PHASE_BEGUN, 1, PHASE_DIRECTORIES, NULL, records + JOURNAL_RECORD);
	r = put_file(s, "plan", plan.data, plan.len, &fd, err);
	if (r == 0)
		r = put_file(s, "journal", records, sizeof(records), &s->journal, err);
	if (r < 0)
		return r;
	/* room for its records also when the disk is full; what cannot do that does without */
	if (fallocate(s->journal, FALLOC_FL_KEEP_SIZE, 0, 4096) < 0 || flock(s->journal, LOCK_EX | LOCK_NB) < 0)
		errno = 0;
	return journal_parse(records, sizeof(records), &s->j, err);
}

static int sync_dirs(const struct state *s)
{
	const int fds[] = { s->done, s->out, s->dir, s->lib, s->top };

	if (!s->sync)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fsync(fds[i]) < 0 && errno != EINVAL)      /* some have no such thing for directories */
			return -errno;
	return 0;
}

/* The name that it is found under. */
static int rename_to_var(struct state *s)
{
	int r;

	if (renameat2(s->target->fd, s->place, s->target->fd, "var", RENAME_NOREPLACE) < 0)
		return -errno;
	strcpy(s->place, "var");
	r = s->sync && fsync(s->target->fd) < 0 && errno != EINVAL ? -errno : 0;
	return r;
}

int state_publish(struct state *s, const struct saved *saved, struct ply_err *err)
{
	int r = put_files(s, saved, err);

	if (r < 0)
		return r;
	r = sync_dirs(s);
	if (r == 0)
		r = rename_to_var(s);
	if (r == -EINVAL || r == -ENOSYS) {
		struct state again;

		r = state_remove(s);
		state_close(s);
		state_init(&again, s->target, s->sync);
		*s = again;
		strcpy(s->place, "var");
		s->kind = STATE_LEFT;
		if (r == 0)
			r = make_dirs(s);
		if (r == 0) {
			r = put_files(s, saved, err);
			if (r < 0)
				return r;
			r = sync_dirs(s);
		}
	}
	if (r < 0)
		return fail(s, r, "", "create", err);
	s->kind = STATE_BEGUN;
	return 0;
}

/* --- records ----------------------------------------------------------------------------- */

/* What is behind the last whole record goes; only then, or it would take the room that was asked for. */
static int cut_torn(const struct state *s)
{
	struct stat st;

	if (fstat(s->journal, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size > s->j.len && ftruncate(s->journal, (off_t)s->j.len) < 0 ? -errno : 0;
}

static int read_again(struct state *s, struct ply_err *err)
{
	_cleanup_buf_ struct buf all = { 0 };
	int r = read_file(s, s->journal, "journal", JOURNAL_MAX, &all, err);

	return r < 0 ? r : journal_parse(all.data, all.len, &s->j, err);
}

int state_write(struct state *s, const struct state_note *notes, size_t n, struct ply_err *err)
{
	uint8_t records[4 * JOURNAL_RECORD];
	int r;

	n = MIN(n, (size_t)4);
	for (size_t i = 0; i < n; i++)
		journal_encode(notes[i].type, s->j.nrecords + i, notes[i].phase, notes[i].digest, records + i * JOURNAL_RECORD);
	if (s->j.len + n * JOURNAL_RECORD > JOURNAL_MAX)
		return ply_fail(err, -EFBIG, PLY_R_LIMIT, "%s/" STATE_DIR "/journal: is full; take the layout out (--abort --all)",
				s->target->path);
	r = cut_torn(s);
	if (r == 0)
		r = pwrite_full(s->journal, records, n * JOURNAL_RECORD, s->j.len);
	if (r == 0 && s->sync && fdatasync(s->journal) < 0)
		r = -errno;
	if (r < 0)
		return fail(s, r, "journal", "write", err);
	return read_again(s, err);
}

int state_abort(struct state *s, struct ply_err *err)
{
	const struct state_note aborting = { .type = JOURNAL_ABORTING };
	const off_t begun = 2 * JOURNAL_RECORD;
	int r = state_write(s, &aborting, 1, err);

	if (r == 0 || ftruncate(s->journal, begun) < 0 || (s->sync && fdatasync(s->journal) < 0))
		return r;
	return read_again(s, err);
}

/* --- another plan ----------------------------------------------------------------------------- */

int state_put_plan(struct state *s, const struct saved *saved, struct ply_err *err)
{
	_cleanup_buf_ struct buf plan = { 0 };
	_cleanup_close_ int fd = -1;
	int r;

	if (saved_encode(saved, &plan) < 0)
		return ply_fail_nomem(err);
	if (unlinkat(s->dir, "plan.new", 0) < 0 && errno != ENOENT)
		return fail(s, -errno, "plan.new", "remove", err);
	r = put_file(s, "plan.new", plan.data, plan.len, &fd, err);
	return r == 0 && s->sync && fsync(s->dir) < 0 ? fail(s, -errno, "plan.new", "make it durable", err) : r;
}

int state_take_plan(struct state *s, struct ply_err *err)
{
	if (renameat(s->dir, "plan.new", s->dir, "plan") < 0)
		return fail(s, -errno, "plan.new", "rename", err);
	return s->sync && fsync(s->dir) < 0 ? fail(s, -errno, "plan", "make it durable", err) : 0;
}

int state_read_new(struct state *s, struct saved *ret, struct ply_err *err)
{
	int r = read_saved(s, "plan.new", ret, err);

	return r == -ENOENT ? fail(s, r, "plan.new", "open", err) : r;
}

int state_mark_done(struct state *s, const char *name, struct ply_err *err)
{
	int fd;

	if (s->done < 0)
		return fail(s, s->done, "done", "open", err);
	fd = openat(s->done, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno != EEXIST)
		return fail(s, -errno, "done", "create a file in", err);
	cleanup_close(&fd);
	return 0;
}

int state_unmark_done(struct state *s, const char *name, struct ply_err *err)
{
	return s->done >= 0 && unlinkat(s->done, name, 0) < 0 && errno != ENOENT ?
		fail(s, -errno, "done", "remove a file in", err) : 0;
}

/* --- taking it away ------------------------------------------------------------------------ */

/* All files in @dir but @keep. */
static int remove_files(int dir, const char *keep)
{
	int fd = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	if (!d) {
		cleanup_close(&fd);
		return dir < 0 ? 0 : -errno;
	}
	while ((de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") || !strcmp(de->d_name, keep))
			continue;
		if (unlinkat(dir, de->d_name, 0) < 0 && errno != EISDIR && errno != ENOENT)
			r = -errno;
	}
	closedir(d);
	return r;
}

/* Does @dir hold @name and nothing else? */
static bool holds_only(int dir, const char *name)
{
	int fd = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	bool only = d;

	if (!d)
		cleanup_close(&fd);
	while (only && (de = readdir(d)))
		only = !strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") || !strcmp(de->d_name, name);
	if (d)
		closedir(d);
	return only;
}

static int remove_name(int dir, const char *name, int flags)
{
	return dir >= 0 && unlinkat(dir, name, flags) < 0 && errno != ENOENT ? -errno : 0;
}

/* @name stays where it holds what is not the state's. */
static int remove_above(int dir, const char *name)
{
	int r = remove_name(dir, name, AT_REMOVEDIR);

	return r == -ENOTEMPTY || r == -EEXIST ? 0 : r;
}

/* The journal last: without it nobody knows what the rest is. */
static int remove_inside(struct state *s)
{
	int r = remove_files(s->done, "");

	if (r == 0)
		r = remove_name(s->dir, "done", AT_REMOVEDIR);
	if (r == 0)
		r = s->dir < 0 ? 0 : update_remove_tree(s->dir, "merge");
	if (r == 0)
		r = remove_files(s->dir, "journal");
	if (r == 0)
		r = remove_name(s->dir, "journal", 0);
	if (r == 0)
		r = remove_name(s->lib, "plyfs", AT_REMOVEDIR);
	if (r == 0)
		r = remove_above(s->top, "lib");
	if (r < 0)
		return r;
	target_note(s->target);
	return remove_above(s->target->fd, s->place);
}

int state_remove(struct state *s)
{
	struct target *t = s->target;
	char away[80];
	mode_t mode;
	int r;

	if (s->kind == STATE_TIMES)
		s->kind = STATE_NONE;
	if (s->kind == STATE_NONE)
		return 0;
	if (s->top < 0) {
		r = open_dirs(s);
		if (r < 0 && !is_not_there(r))
			return r;
	}
	/* what is in there could not go back, and is somebody's: plan and journal are needed to try again */
	r = remove_name(s->dir, "out", AT_REMOVEDIR);
	if (r < 0)
		return r;
	if (!strcmp(s->place, "var")) {
		left_name(t, away);
		if (holds_only(s->top, "lib") && holds_only(s->lib, "plyfs") &&
		    renameat2(t->fd, "var", t->fd, away, RENAME_NOREPLACE) == 0)
			strcpy(s->place, away);
	} else if (parse_left_name(s->place, &mode, &t->before.st_mtim)) {
		t->before.st_mode = (t->before.st_mode & S_IFMT) | mode;
		t->changed = t->early = true;
	}
	r = remove_inside(s);
	if (r == 0)
		s->kind = STATE_NONE;
	return r;
}
