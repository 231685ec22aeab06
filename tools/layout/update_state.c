/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A change as it lies on the target, from update.new to its end: see update.h. What it does stands in its table; here it is
 * opened, carried out, taken back, and ended.
 */
#include "layout/update.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/inroot.h"
#include "base/util.h"
#include "layout/apply.h"
#include "layout/engine.h"
#include "layout/statedir.h"
#include "layout/timeline.h"
#include "layout/update_impl.h"

#define STATE_DIR "var/lib/plyfs"

int update_fail(const struct update *u, int code, const char *name, const char *what, struct ply_err *err)
{
	enum ply_reason reason = code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE;

	return ply_fail(err, code, reason, "%s/" STATE_DIR "%s%s: cannot %s: %s", u->target.path, *name ? "/" : "", name, what,
			strerror(-code));
}

/* --- directories ------------------------------------------------------------------------- */

/* Everything in @name, and @name, below the state. 0: also where it is not there. */
int update_remove_tree(int at, const char *name)
{
	int fd = statedir_open(at, name), r = 0;
	const struct dirent *de;
	DIR *d;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		close(fd);
		return r;
	}
	fchmod(fd, 0700);          /* what a plan made may have another mode, and keep its owner out */
	while (r == 0 && (de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (unlinkat(fd, de->d_name, 0) == 0 || errno == ENOENT)
			continue;
		r = errno == EISDIR || errno == EPERM ? update_remove_tree(fd, de->d_name) : -errno;
	}
	closedir(d);
	return r == 0 && unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : r;
}

/* That a name comes into it is not to be seen. */
static int make_dir(int at, const char *name, mode_t mode)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;
	int fd;

	if (fstat(at, &st) < 0)
		return -errno;
	fd = statedir_make(at, name, mode);
	if (fd < 0)
		return fd;
	close(fd);
	times[1] = st.st_mtim;
	return futimens(at, times) < 0 ? -errno : 0;
}

/* The state's directory; -ENOENT is not told. @make: also where there is none. */
int update_open_state(struct update *u, bool make, struct ply_err *err)
{
	static const char *const way[] = { "var", "lib", "plyfs" };
	int at = u->target.fd, fd = -1, r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(way); i++) {
		int next = beneath_open(at, way[i], strlen(way[i]), O_RDONLY);

		if (next == -ENOENT && make) {
			next = make_dir(at, way[i], i == 2 ? 0700 : 0755);
			u->nmade += next == 0;
			next = next < 0 ? next : beneath_open(at, way[i], strlen(way[i]), O_RDONLY);
		}
		cleanup_close(&fd);
		at = fd = next;
		r = MIN(next, 0);
	}
	if (r == -ENOENT && !make)
		return r;
	if (r < 0 && statedir_no_way(u->target.fd, u->target.path, r, err) < 0)
		return r;
	if (r < 0)
		return update_fail(u, r, "", make ? "create" : "open", err);
	u->dir = fd;
	return statedir_check(u->dir, u->target.path, err);
}

void update_close(struct update *u)
{
	int *const fds[] = { &u->journal, &u->up, &u->dir, &u->locks[0], &u->locks[1], &u->locks[2] };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		cleanup_close(fds[i]);
		*fds[i] = -1;
	}
	changes_done(&u->table);
	target_close(&u->target);
	umask(u->mask);
}

static void remove_dir(int at, const char *name)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;

	if (fstat(at, &st) < 0 || unlinkat(at, name, AT_REMOVEDIR) < 0)
		return;
	times[1] = st.st_mtim;
	futimens(at, times);
}

/* What update_begin() has made goes, as far as nothing else is in it. */
void update_drop_state(struct update *u)
{
	static const char *const way[] = { "var/lib/plyfs", "var/lib", "var" };

	update_remove_tree(u->dir, "update.new");
	for (unsigned i = 0; i < u->nmade; i++) {
		const char *base = strrchr(way[i], '/');
		int at = beneath_open(u->target.fd, way[i], base ? (size_t)(base - way[i]) : 0, O_RDONLY);

		if (at >= 0)
			remove_dir(at, base ? base + 1 : way[i]);
		cleanup_close(&at);
	}
}

/* What useradd and dpkg hold while they work: what they have read must not change under them, nor theirs under us. Locks of
 * the description: closing another descriptor of the file does not end them. */
static int take_locks(struct update *u, struct ply_err *err)
{
	static const char *const files[UPDATE_LOCKS] = { "etc/.pwd.lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock" };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	for (size_t i = 0; i < UPDATE_LOCKS; i++) {
		const char *base = strrchr(files[i], '/');
		_cleanup_close_ int dir = beneath_open(u->target.fd, files[i], (size_t)(base - files[i]), O_PATH);

		if (dir >= 0)
			u->locks[i] = openat(dir, base + 1, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (u->locks[i] >= 0 && fcntl(u->locks[i], F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
			return ply_fail(err, -EBUSY, PLY_R_TARGET_BUSY,
					"%s/%s: is held by another process, which changes %s there; wait until it ends",
					u->target.path, files[i], i ? "packages" : "users");
	}
	return 0;
}

/* u->dir is -1 where there is no state. */
int update_open(struct update *u, const char *path, const struct layout_options *o, struct ply_err *err)
{
	int r;

	*u = (struct update){ .locks = { -1, -1, -1 }, .dir = -1, .up = -1, .journal = -1, .o = o, .mask = umask(0) };
	layout_raise_limits();     /* a deep tree is removed with a descriptor for each level */
	r = target_open(&u->target, path, err);
	if (r < 0)
		return r;
	r = take_locks(u, err);
	if (r == 0)
		r = update_open_state(u, false, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		update_close(u);
	return r;
}

/* --- an open change ----------------------------------------------------------------------------- */

/* Without it, or with something else in its place, update/ is none that we have left. */
static int fail_own(int code, const char *what, struct ply_err *err)
{
	bool damage = code == -ENOENT || code == -ELOOP || code == -EINVAL || code == -EFBIG;

	return ply_fail(err, damage ? -EUCLEAN : code, PLY_R_STATE_DAMAGED, "cannot read its %s: %s", what, strerror(-code));
}

static int read_journal(int up, struct journal *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r = inroot_read_at(up, "journal", JOURNAL_MAX, &bytes);

	if (r < 0)
		return fail_own(r, "journal", err);
	r = journal_parse(bytes.data, bytes.len, ret, err);
	return r == 0 && !ret->started ? ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "its journal does not begin") : r;
}

int update_find(int dir, const char *path, enum update_found *ret, struct ply_err *err)
{
	_cleanup_close_ int up = dir < 0 ? -ENOENT : statedir_open(dir, "update");
	struct journal j = { 0 };
	int r;

	*ret = UPDATE_NONE;
	if (up == -ENOENT && dir >= 0 && faccessat(dir, "adding", F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		*ret = UPDATE_BETWEEN;
		return 0;
	}
	if (up == -ENOENT) {
		if (dir >= 0 && faccessat(dir, "update.new", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			*ret = UPDATE_REMAINS;
		return 0;
	}
	r = up < 0 ? ply_fail_sys(err, up, "cannot open it") : read_journal(up, &j, err);
	if (r < 0) {
		ply_err_prefix(err, "%s/" STATE_DIR "/update", path);
		return r;
	}
	*ret = j.complete ? UPDATE_REMAINS : j.aborting ? UPDATE_ABORTING : UPDATE_OPEN;
	return 0;
}

static int read_table(struct update *u, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r = inroot_read_at(u->up, "table", CHANGES_MAX, &bytes);

	if (r < 0)
		return fail_own(r, "table", err);
	r = changes_decode(bytes.data, bytes.len, &u->table, err);
	if (r == 0 && memcmp(u->table.digest, u->j.digest, sizeof(u->j.digest)) != 0)
		r = ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "its table is not that of its journal");
	if (r == 0 && u->table.nnames != 1)
		r = ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "its table is not about one component");
	return r;
}

/* Opens update/, which is there. */
int update_open_change(struct update *u, struct ply_err *err)
{
	int r = statedir_open(u->dir, "update");

	u->up = r;
	if (r < 0)
		return update_fail(u, r, "update", "open", err);
	r = read_journal(u->up, &u->j, err);
	if (r == 0)
		r = read_table(u, err);
	if (r == 0) {
		u->journal = openat(u->up, "journal", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		r = u->journal < 0 ? ply_fail_sys(err, -errno, "cannot open its journal") : 0;
	}
	if (r < 0)
		ply_err_prefix(err, "%s/" STATE_DIR "/update", u->target.path);
	return r;
}

void update_close_change(struct update *u)
{
	cleanup_close(&u->up);
	cleanup_close(&u->journal);
	u->up = u->journal = -1;
	u->j = (struct journal){ 0 };
}

static int write_record(struct update *u, enum journal_type type, struct ply_err *err)
{
	uint8_t record[JOURNAL_RECORD];
	int r;

	journal_encode(type, u->j.nrecords, 0, NULL, record);
	r = ftruncate(u->journal, (off_t)u->j.len) < 0 ? -errno : 0;
	if (r == 0)
		r = pwrite_full(u->journal, record, sizeof(record), u->j.len);
	if (r == 0 && u->o->sync && fdatasync(u->journal) < 0)
		r = -errno;
	if (r < 0)
		return update_fail(u, r, "update/journal", "write", err);
	u->j.len += sizeof(record);
	u->j.nrecords++;
	u->j.complete |= type == JOURNAL_APPLIED;
	u->j.aborting |= type == JOURNAL_ABORTING;
	return 0;
}

int update_put_file(const struct update *u, const char *name, const void *bytes, size_t len, struct ply_err *err)
{
	_cleanup_close_ int fd = openat(u->up, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : pwrite_full(fd, bytes, len, 0);

	if (r == 0 && u->o->sync && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? update_fail(u, r, name, "write", err) : 0;
}

int update_begin(struct update *u, struct ply_err *err)
{
	int r = u->dir < 0 ? update_open_state(u, true, err) : 0;

	if (r < 0)
		return r;
	r = update_remove_tree(u->dir, "update.new");
	if (r == 0)
		r = make_dir(u->dir, "update.new", 0700);
	u->up = r < 0 ? r : statedir_open(u->dir, "update.new");
	return u->up < 0 ? update_fail(u, u->up, "update.new", "create", err) : 0;
}

int update_publish(struct update *u, struct changes *table, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	uint8_t record[JOURNAL_RECORD];
	int64_t begin;
	int r = changes_encode(table, &bytes, err);

	if (r == 0)
		r = update_put_file(u, "table", bytes.data, bytes.len, err);
	if (r < 0)
		return r;
	journal_encode(JOURNAL_BEGIN, 0, 0, table->digest, record);
	r = update_put_file(u, "journal", record, sizeof(record), err);
	begin = timeline_now(u->o->timeline);
	if (r == 0 && u->o->sync && syncfs(u->dir) < 0)
		r = update_fail(u, -errno, "update.new", "make it durable", err);
	if (u->o->sync)
		timeline_phase_of(u->o->timeline, "sync", table->nnames ? table->names[0] : NULL, begin);
	if (r == 0 && renameat2(u->dir, "update.new", u->dir, "update", RENAME_NOREPLACE) < 0)
		r = update_fail(u, -errno, "update", "rename", err);
	if (r == 0 && u->o->sync && fsync(u->dir) < 0)
		r = update_fail(u, -errno, "update", "make it durable", err);
	cleanup_close(&u->up);
	u->up = -1;
	u->first = r == 0;
	return r;
}

/* --- its end ----------------------------------------------------------------------------------------- */

static int mark_done(const struct update *u, const char *name, bool there)
{
	_cleanup_close_ int done = -1, fd = -1;

	if (mkdirat(u->dir, "done", 0700) < 0 && errno != EEXIST)
		return -errno;
	done = statedir_open(u->dir, "done");
	if (done < 0)
		return done;
	if (!there)
		return unlinkat(done, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	fd = openat(done, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 && errno != EEXIST ? -errno : 0;
}

/* What the state is to know of directories that stay (dirs), or of files (placed): the file that the change has brought. One
 * of no bytes is none. */
static int replace_file(const struct update *u, const char *name)
{
	struct stat st;
	int r = fstatat(u->up, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;

	if (r < 0)
		return r == -ENOENT ? 0 : r;       /* it was put in place before, or there is none */
	if (st.st_size)
		return renameat(u->up, name, u->dir, name) < 0 ? -errno : 0;
	r = unlinkat(u->dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	return r == 0 && unlinkat(u->up, name, 0) < 0 ? -errno : r;
}

/* In one step: what a kill leaves of it then has no worth. */
static int discard(const struct update *u)
{
	int r = update_remove_tree(u->dir, "update.new");

	if (r == 0 && renameat2(u->dir, "update", u->dir, "update.new", RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == 0 && u->o->sync && fsync(u->dir) < 0)
		r = -errno;
	return r < 0 ? r : update_remove_tree(u->dir, "update.new");
}

/* It is complete: what was added is known from now on, what was removed is not any more. */
static int finish(struct update *u, struct ply_err *err)
{
	const char *name = u->table.names[0];
	bool added = u->table.kind == CHANGES_ADD;
	_cleanup_close_ int merge = -1;
	int r = update_remove_tree(u->up, "tree");

	if (r == 0)
		r = mark_done(u, name, added);
	if (r == 0 && mkdirat(u->dir, "merge", 0700) < 0 && errno != EEXIST)
		r = -errno;
	merge = r < 0 ? r : statedir_open(u->dir, "merge");
	if (r == 0)
		r = MIN(merge, 0);
	if (r == 0)
		r = replace_file(u, "placed");
	if (r == 0)
		r = replace_file(u, "dirs");
	/* not removed where it is: there a half of it would be damage */
	if (r == 0 && !added && renameat2(merge, name, u->up, "merge", RENAME_NOREPLACE) < 0 && errno != ENOENT)
		r = -errno;
	if (r == 0 && added && renameat2(u->dir, "update", merge, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == 0 && u->o->sync && (fsync(merge) < 0 || fsync(u->dir) < 0))
		r = -errno;
	if (r == 0 && !added)
		r = discard(u);
	cleanup_close(&u->up);
	cleanup_close(&u->journal);
	u->up = u->journal = -1;
	return r < 0 ? update_fail(u, r, "update", "end the change", err) : 0;
}

/* --- carrying it out ------------------------------------------------------------------------------------ */

void update_left(void *ctx, const char *path, const char *why)
{
	struct layout_report *r = ctx;
	struct layout_left *v = realloc(r->left, (r->nleft + 1) * sizeof(*v));
	char *copy = malloc(strlen(path) * 4 + 2);

	if (copy) {
		copy[0] = '/';
		escape_name_to(path, strlen(path), copy + 1, strlen(path) * 4 + 1);
	}
	if (!v) {                  /* without memory the name is missing in the report */
		free(copy);
		return;
	}
	r->left = v;
	r->left[r->nleft++] = (struct layout_left){ copy, strdup(why) };
}

int update_tell_left(const struct update *u, const struct layout_report *r, const char *what, struct ply_err *err)
{
	if (!r->nleft)
		return 0;
	return ply_fail(err, -EEXIST, PLY_R_TARGET_EXISTS, "%s: %zu %s left (the first: %s: %s); %s", u->target.path, r->nleft,
			r->nleft == 1 ? "name was" : "names were", r->left[0].path ? r->left[0].path : "?", r->left[0].why ? r->left[0].why : "?", what);
}

static struct apply applying(struct update *u, struct layout_report *ret)
{
	return (struct apply){ .target = u->target.fd, .update = u->up, .c = &u->table, .first = u->first,
			       .cancel = u->o->cancel, .left = update_left, .ctx = ret };
}

static int sync_all(struct update *u, struct ply_err *err)
{
	int64_t begin = timeline_now(u->o->timeline);
	int r;

	if (!u->o->sync)
		return 0;
	r = syncfs(u->dir) < 0 ? -errno : 0;
	timeline_phase_of(u->o->timeline, "sync", u->table.nnames ? u->table.names[0] : NULL, begin);
	return r < 0 ? update_fail(u, r, "", "make durable what goes with", err) : 0;
}

/* What others have changed since it was looked at is not done, and so it is not complete: done/ would say of a component that
 * it is there. What goes is not said to be there from the first name on that goes. */
int update_apply(struct update *u, struct layout_report *ret, struct ply_err *err)
{
	int64_t begin = timeline_now(u->o->timeline);
	struct apply a = applying(u, ret);
	int r = u->table.kind == CHANGES_REMOVE ? mark_done(u, u->table.names[0], false) : 0;

	if (r < 0)
		return update_fail(u, r, "done", "remove a file in", err);
	r = changes_apply(&a, err);
	timeline_phase_of(u->o->timeline, "apply", u->table.names[0], begin);
	if (r == 0)
		r = sync_all(u, err);
	ret->names += a.nmade + a.nswapped + a.nout + a.nmeta;
	if (r == 0 && a.nleft)
		return update_tell_left(u, ret, "--resume tries again, when they are out of the way; --abort takes back what was done", err);
	if (r == 0)
		r = write_record(u, JOURNAL_APPLIED, err);
	return r == 0 ? finish(u, err) : r;
}

int update_take_back(struct update *u, struct layout_report *ret, struct ply_err *err)
{
	int64_t begin = timeline_now(u->o->timeline);
	struct apply a = applying(u, ret);
	int r;

	a.first = false;
	r = u->j.aborting ? 0 : write_record(u, JOURNAL_ABORTING, err);

	if (r == 0)
		r = changes_revert(&a, err);
	timeline_phase_of(u->o->timeline, "abort", u->table.names[0], begin);
	if (r == 0)
		r = sync_all(u, err);
	if (r == 0 && a.nstranded)
		return ply_fail(err, -EEXIST, PLY_R_TARGET_EXISTS,
				"%s: %llu files that were there before cannot get their names back, since others have taken these; "
				"they are in " STATE_DIR "/update, in old and new. Move away what has their names, and --abort again",
				u->target.path, (unsigned long long)a.nstranded);
	if (r == 0 && u->table.kind == CHANGES_REMOVE)
		r = mark_done(u, u->table.names[0], true);
	if (r == 0)
		r = discard(u);
	if (r < 0 && !err->code)
		update_fail(u, r, "update", "remove", err);
	return r;
}

/* Removes what has no worth, ends what is complete. UPDATE_OPEN, UPDATE_ABORTING stay. */
int update_settle_change(struct update *u, enum update_found *ret, struct ply_err *err)
{
	int r = update_find(u->dir, u->target.path, ret, err);

	if (r < 0 || *ret != UPDATE_REMAINS)
		return r;
	r = update_remove_tree(u->dir, "update.new");
	if (r < 0)
		return update_fail(u, r, "update.new", "remove", err);
	*ret = UPDATE_NONE;
	if (faccessat(u->dir, "update", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	r = update_open_change(u, err);
	if (r == 0)
		r = finish(u, err);
	changes_done(&u->table);
	u->table = (struct changes){ 0 };
	return r < 0 ? r : update_find(u->dir, u->target.path, ret, err);
}
