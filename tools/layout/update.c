/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/update.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/inroot.h"
#include "base/util.h"
#include "layout/apply.h"
#include "layout/remove.h"
#include "layout/stage.h"
#include "layout/update_impl.h"

#define STATE_DIR "var/lib/plyfs"

int update_fail(const struct update *u, int code, const char *name, const char *what, struct ply_err *err)
{
	enum ply_reason reason = code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE;

	return ply_fail(err, code, reason, "%s/" STATE_DIR "%s%s: cannot %s: %s", u->target.path, *name ? "/" : "", name, what,
			strerror(-code));
}

/* --- directories ------------------------------------------------------------------------- */

static int open_dir(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Everything in @name, and @name, below the state. 0: also where it is not there. */
int update_remove_tree(int at, const char *name)
{
	int fd = open_dir(at, name), r = 0;
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

static int check_owner(const struct update *u, struct ply_err *err)
{
	struct stat st;

	if (fstat(u->dir, &st) < 0)
		return update_fail(u, -errno, "", "stat", err);
	if ((st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & 022))
		return 0;
	return ply_fail(err, -EPERM, PLY_R_STATE_DAMAGED,
			"%s/" STATE_DIR ": another user can write there, so what it tells is not believed", u->target.path);
}

/* That a name comes into it is not to be seen. */
static int make_dir(int at, const char *name, mode_t mode)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;

	int fd;

	if (fstat(at, &st) < 0 || mkdirat(at, name, mode) < 0)
		return -errno;
	/* a default ACL of the directory above is not for us, nor for what is staged */
	fd = beneath_open(at, name, strlen(name), O_RDONLY);
	for (int i = 0; fd >= 0 && i < 2; i++)
		if (fremovexattr(fd, target_acl_names[i]) < 0 && errno != ENODATA && errno != EOPNOTSUPP) {
			close(fd);
			return -errno;
		}
	if (fd < 0 || fchmod(fd, mode) < 0) {
		cleanup_close(&fd);
		return fd < 0 ? fd : -errno;
	}
	close(fd);
	times[1] = st.st_mtim;
	return futimens(at, times) < 0 ? -errno : 0;
}

/* The state's directory; -ENOENT is not told. @make: also where there is none. */
static int open_state(struct update *u, bool make, struct ply_err *err)
{
	static const char *const way[] = { "var", "lib", "plyfs" };
	int at = u->target.fd, fd = -1, r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(way); i++) {
		int next = beneath_open(at, way[i], strlen(way[i]), O_RDONLY);

		if (next == -ENOENT && make && make_dir(at, way[i], i == 2 ? 0700 : 0755) == 0) {
			next = beneath_open(at, way[i], strlen(way[i]), O_RDONLY);
			u->nmade++;
		}
		cleanup_close(&fd);
		at = fd = next;
		r = MIN(next, 0);
	}
	if (r == -ENOENT && !make)
		return r;
	if (r < 0)
		return update_fail(u, r, "", make ? "create" : "open", err);
	u->dir = fd;
	return check_owner(u, err);
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
static void drop_state(struct update *u)
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

/* A deep tree is removed with a descriptor for each level. */
static void raise_limits(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = MIN(rl.rlim_max, (rlim_t)1 << 16);
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

/* u->dir is -1 where there is no state. */
static int open_target(struct update *u, const char *path, const struct layout_options *o, struct ply_err *err)
{
	int r;

	*u = (struct update){ .locks = { -1, -1, -1 }, .dir = -1, .up = -1, .journal = -1, .o = o, .mask = umask(0) };
	raise_limits();
	r = target_open(&u->target, path, err);
	if (r < 0)
		return r;
	r = take_locks(u, err);
	if (r == 0)
		r = open_state(u, false, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		update_close(u);
	return r;
}

/* --- an open change ----------------------------------------------------------------------------- */

static int read_whole(int dir, const char *name, size_t max, struct buf *out)
{
	return inroot_read_at(dir, name, max, out);
}

static int read_journal(int up, struct journal *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r = read_whole(up, "journal", JOURNAL_MAX, &bytes);

	if (r < 0)
		return ply_fail(err, r, PLY_R_STATE_DAMAGED, "cannot read its journal: %s", strerror(-r));
	r = journal_parse(bytes.data, bytes.len, ret, err);
	return r == 0 && !ret->started ? ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "its journal does not begin") : r;
}

int update_find(int dir, const char *path, enum update_found *ret, struct ply_err *err)
{
	_cleanup_close_ int up = dir < 0 ? -ENOENT : open_dir(dir, "update");
	struct journal j = { 0 };
	int r;

	*ret = UPDATE_NONE;
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
	int r = read_whole(u->up, "table", CHANGES_MAX, &bytes);

	if (r < 0)
		return ply_fail(err, r, PLY_R_STATE_DAMAGED, "cannot read its table: %s", strerror(-r));
	r = changes_decode(bytes.data, bytes.len, &u->table, err);
	if (r == 0 && memcmp(u->table.digest, u->j.digest, sizeof(u->j.digest)) != 0)
		r = ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "its table is not that of its journal");
	if (r == 0 && u->table.nnames != 1)
		r = ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "its table is not about one component");
	return r;
}

/* Opens update/, which is there. */
static int open_change(struct update *u, struct ply_err *err)
{
	int r = open_dir(u->dir, "update");

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

static void close_change(struct update *u)
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

static int put_file(const struct update *u, const char *name, const void *bytes, size_t len, struct ply_err *err)
{
	_cleanup_close_ int fd = openat(u->up, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : pwrite_full(fd, bytes, len, 0);

	if (r == 0 && u->o->sync && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? update_fail(u, r, name, "write", err) : 0;
}

int update_begin(struct update *u, struct ply_err *err)
{
	int r = u->dir < 0 ? open_state(u, true, err) : 0;

	if (r < 0)
		return r;
	r = update_remove_tree(u->dir, "update.new");
	if (r == 0)
		r = make_dir(u->dir, "update.new", 0700);
	u->up = r < 0 ? r : open_dir(u->dir, "update.new");
	return u->up < 0 ? update_fail(u, u->up, "update.new", "create", err) : 0;
}

int update_publish(struct update *u, struct changes *table, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	uint8_t record[JOURNAL_RECORD];
	int r = changes_encode(table, &bytes, err);

	if (r == 0)
		r = put_file(u, "table", bytes.data, bytes.len, err);
	if (r < 0)
		return r;
	journal_encode(JOURNAL_BEGIN, 0, 0, table->digest, record);
	r = put_file(u, "journal", record, sizeof(record), err);
	if (r == 0 && u->o->sync && syncfs(u->dir) < 0)
		r = update_fail(u, -errno, "update.new", "make it durable", err);
	if (r == 0 && renameat2(u->dir, "update.new", u->dir, "update", RENAME_NOREPLACE) < 0)
		r = update_fail(u, -errno, "update", "rename", err);
	if (r == 0 && u->o->sync && fsync(u->dir) < 0)
		r = update_fail(u, -errno, "update", "make it durable", err);
	cleanup_close(&u->up);
	u->up = -1;
	return r;
}

/* --- its end ----------------------------------------------------------------------------------------- */

static int mark_done(const struct update *u, const char *name, bool there)
{
	_cleanup_close_ int done = -1, fd = -1;

	if (mkdirat(u->dir, "done", 0700) < 0 && errno != EEXIST)
		return -errno;
	done = open_dir(u->dir, "done");
	if (done < 0)
		return done;
	if (!there)
		return unlinkat(done, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	fd = openat(done, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 && errno != EEXIST ? -errno : 0;
}

/* What is to be known of directories that stay: the file that the removal has brought. One of no bytes is none. */
static int replace_dirs(const struct update *u)
{
	struct stat st;
	int r = fstatat(u->up, "dirs", &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;

	if (r < 0)
		return r == -ENOENT ? 0 : r;       /* it was put in place before */
	if (st.st_size)
		return renameat(u->up, "dirs", u->dir, "dirs") < 0 ? -errno : 0;
	return unlinkat(u->dir, "dirs", 0) < 0 && errno != ENOENT ? -errno : 0;
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
	merge = r < 0 ? r : open_dir(u->dir, "merge");
	if (r == 0)
		r = MIN(merge, 0);
	if (r == 0 && !added)
		r = replace_dirs(u);
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

static void left(void *ctx, const char *path, const char *why)
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

static int tell_left(const struct update *u, const struct layout_report *r, const char *what, struct ply_err *err)
{
	if (!r->nleft)
		return 0;
	return ply_fail(err, -EEXIST, PLY_R_TARGET_EXISTS, "%s: %zu %s left (the first: %s: %s); %s", u->target.path, r->nleft,
			r->nleft == 1 ? "name was" : "names were", r->left[0].path ? r->left[0].path : "?", r->left[0].why ? r->left[0].why : "?", what);
}

static struct apply applying(struct update *u, struct layout_report *ret)
{
	return (struct apply){ .target = u->target.fd, .update = u->up, .c = &u->table, .sync = u->o->sync,
			       .cancel = u->o->cancel, .left = left, .ctx = ret };
}

/* What others have changed since it was looked at is not done, and so it is not complete: done/ would say of a component that
 * it is there. What goes is not said to be there from the first name on that goes. */
static int apply(struct update *u, struct layout_report *ret, struct ply_err *err)
{
	struct apply a = applying(u, ret);
	int r = u->table.kind == CHANGES_REMOVE ? mark_done(u, u->table.names[0], false) : 0;

	if (r < 0)
		return update_fail(u, r, "done", "remove a file in", err);
	r = changes_apply(&a, err);
	ret->names += a.nmade + a.nswapped + a.nout + a.nmeta;
	if (r == 0 && a.nleft)
		return tell_left(u, ret, "--resume tries again, when they are out of the way; --abort takes back what was done", err);
	if (r == 0)
		r = write_record(u, JOURNAL_APPLIED, err);
	return r == 0 ? finish(u, err) : r;
}

static int take_back(struct update *u, struct layout_report *ret, struct ply_err *err)
{
	struct apply a = applying(u, ret);
	int r = u->j.aborting ? 0 : write_record(u, JOURNAL_ABORTING, err);

	if (r == 0)
		r = changes_revert(&a, err);
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
static int settle(struct update *u, enum update_found *ret, struct ply_err *err)
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
	r = open_change(u, err);
	if (r == 0)
		r = finish(u, err);
	changes_done(&u->table);
	u->table = (struct changes){ 0 };
	return r;
}

/* --- adding -------------------------------------------------------------------------------------------------- */

static int read_ids(int root, const char *file, enum id_kind kind, struct idmap *ids)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = inroot_read(root, file, MERGE_FILE_MAX, &text);

	return r < 0 ? (r == -ENOENT ? 0 : r) : idmap_known_text(ids, kind, (const char *)text.data, text.len);
}

static int names_of_view(struct ply_view *view, const char *path, struct idnames *ret, struct ply_err *err)
{
	_cleanup_version_ struct version v = { 0 };
	uint64_t ino;
	int r = ply_view_resolve(view, path, false, &ino, err);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r == 0)
		r = version_of_view(view, ino, NULL, &v, err);
	if (r == 0)
		r = version_load(&v, path, NULL, err);
	if (r < 0)
		return r;
	return v.c.loaded && idnames_parse(ret, (const char *)v.text.data, v.text.len) < 0 ? ply_fail_nomem(err) : 0;
}

/* Numbers of the image to those of the target, by name. */
static int make_ids(int root, struct ply_view *view, struct idmap *ret, struct ply_err *err)
{
	static const char *const files[ID_KINDS] = { [ID_USER] = "/etc/passwd", [ID_GROUP] = "/etc/group" };
	int r = 0;

	for (int k = 0; r == 0 && k < ID_KINDS; k++) {
		struct idnames names = { 0 };

		r = read_ids(root, files[k] + 1, (enum id_kind)k, ret);
		if (r < 0)
			r = ply_fail_sys(err, r, "%s of the target: cannot read", files[k]);
		if (r == 0)
			r = names_of_view(view, files[k], &names, err);
		if (r == 0)
			r = idmap_make(ret, (enum id_kind)k, &names, err);
		idnames_done(&names);
	}
	return r;
}

static void begin_phase(const struct layout_options *o, const char *phase)
{
	if (o->progress)
		atomic_store(&o->progress->phase, phase);
}

/* Where what is new will be staged. */
static uint64_t staging_mount(const struct update *u)
{
	static const char *const way[] = { "var/lib", "var" };
	uint64_t mount = version_mount(u->dir >= 0 ? u->dir : u->target.fd, "");

	for (size_t i = 0; u->dir < 0 && i < ARRAY_SIZE(way); i++) {
		_cleanup_close_ int fd = beneath_open(u->target.fd, way[i], strlen(way[i]), O_PATH);

		if (fd >= 0)
			return version_mount(fd, "");
	}
	return mount;
}

static struct survey surveying(const struct update *u, const struct update_component *base,
			       const struct update_component *with, const struct idmap *ids)
{
	return (struct survey){ .view = with->with, .base = base->base, .ids = ids, .map_owner = u->o->map_owner,
				.uid = u->o->map_uid, .gid = u->o->map_gid, .target = u->target.fd,
				.mount = staging_mount(u), .component = with->name, .cancel = u->o->cancel,
				.block = u->target.block };
}

/* Looks, decides, and looks again as it is decided. */
static int look(struct survey *s, update_decide_fn *decide, void *ctx, struct ply_err *err)
{
	int r = survey_run(s, err);

	bool again = s->nconflicts;

	if (r == 0)
		r = decide(ctx, s, err);
	return r == 0 && again ? survey_run(s, err) : r;
}

/* "a|b" for each group: one of them is enough. */
static int describe_requires(struct changes *c, const struct ply_sub_info *info)
{
	_cleanup_buf_ struct buf names = { 0 };
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < info->nrequires; i++) {
		bool more = i + 1 < info->nrequires && info->require_groups[i + 1] == info->require_groups[i];

		r = buf_add(&names, info->requires[i], strlen(info->requires[i]));
		if (r == 0)
			r = buf_add(&names, more ? "|" : "", 1);
		if (r < 0 || more)
			continue;
		r = changes_add_require(c, (const char *)names.data);
		names.len = 0;
	}
	for (uint32_t i = 0; r == 0 && i < info->nstands_on; i++)
		r = changes_add_require(c, info->stands_on[i]);
	return r;
}

int update_describe(struct changes *c, struct ply_image *image, const char *component, struct ply_err *err)
{
	uint32_t sub;
	int r = ply_image_find_sub(image, component, &sub);

	if (r < 0)
		return ply_fail(err, r, PLY_R_SUB_UNKNOWN, "component %s is not in the image", component);
	c->kind = CHANGES_ADD;
	ply_image_uuid(image, c->uuid);
	memcpy(c->catalog, ply_image_generation(image)->digest, sizeof(c->catalog));
	c->generation = ply_image_generation(image)->generation;
	c->image = strdup(ply_image_path(image) ? ply_image_path(image) : "");
	if (!c->image || changes_add_name(c, component) < 0 || describe_requires(c, ply_image_sub_info(image, sub)) < 0)
		return ply_fail_nomem(err);
	return 0;
}

/* Of another generation, or another image. */
static int refuse_there(const struct update *u, const char *name, struct ply_err *err)
{
	char path[32 + PLY_SUB_NAME_MAX];
	bool there = false;

	snprintf(path, sizeof(path), "merge/%s", name);
	there = u->dir >= 0 && faccessat(u->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	snprintf(path, sizeof(path), "done/%s", name);
	there |= u->dir >= 0 && faccessat(u->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	return !there ? 0 : ply_fail(err, -EEXIST, PLY_R_TARGET_EXISTS,
				     "%s: component %s of another image, or another generation, is there; take it out first (--remove %s)",
				     u->target.path, name, name);
}

static int change_one(struct update *u, enum changes_kind kind, const struct update_component *v, const struct idmap *ids,
		      update_decide_fn *decide, void *ctx, struct layout_report *ret, struct ply_err *err)
{
	struct survey s = surveying(u, v, v, ids);
	int r;

	begin_phase(u->o, "plan");
	r = look(&s, decide, ctx, err);
	if (r == 0)
		r = update_describe(&s.changes, ply_view_image(s.view), s.component, err);
	s.changes.kind = kind;
	if (r == 0)
		r = update_begin(u, err);
	if (r == 0) {
		begin_phase(u->o, v->name);
		r = stage_run(&s, &u->target, u->up, u->o, ret, err);
	}
	if (r == 0)
		r = update_publish(u, &s.changes, err);
	survey_done(&s);
	if (r < 0) {
		drop_state(u);
		return r;
	}
	begin_phase(u->o, "apply");
	r = open_change(u, err);
	return r == 0 ? apply(u, ret, err) : r;
}

static int refuse_open(const struct update *u, enum update_found found, struct ply_err *err)
{
	if (found == UPDATE_ABORTING)
		return ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
				"%s: a change of it was being taken back; --abort goes on with that", u->target.path);
	return found == UPDATE_NONE ? 0 : ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
						   "%s: a change of it was begun and is not complete; --resume goes on with it, "
						   "--abort takes it back", u->target.path);
}

/* A layout that is not complete knows nothing of changes, nor they of it. */
static int refuse_unfinished(struct update *u, struct ply_err *err)
{
	struct state s;
	int r;

	state_init(&s, &u->target, false);
	r = state_find(&s, false, err);
	if (r == 0 && s.kind != STATE_NONE && s.kind != STATE_CHANGED && s.kind != STATE_TIMES &&
	    !(s.kind == STATE_BEGUN && s.j.complete))
		r = ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
			     "%s: a layout was begun there and is not complete; --resume goes on with it, --abort takes it out",
			     u->target.path);
	state_close(&s);
	return r;
}

int update_look(const char *path, const struct update_component *v, size_t n, const struct layout_options *o,
		update_decide_fn *decide, void *ctx, struct survey *ret, struct idmap *ids, struct ply_err *err)
{
	struct update u;
	int r = open_target(&u, path, o, err);

	*ret = (struct survey){ 0 };
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = refuse_there(&u, v[i].name, err);
	if (r == 0)
		r = make_ids(u.target.fd, v[n - 1].with, ids, err);
	*ret = surveying(&u, &v[0], &v[n - 1], ids);
	if (r == 0)
		r = look(ret, decide, ctx, err);
	update_close(&u);
	return r;
}

/* Several: all that can collide is known before the first is begun. */
static int look_at_all(struct update *u, const struct update_component *v, size_t n, const struct idmap *ids,
		       update_decide_fn *decide, void *ctx, struct ply_err *err)
{
	struct survey s = surveying(u, &v[0], &v[n - 1], ids);
	int r = n > 1 ? look(&s, decide, ctx, err) : 0;

	survey_done(&s);
	return r;
}

int update_add(const char *path, const struct update_component *v, size_t n, const struct layout_options *o,
	       update_decide_fn *decide, void *ctx, struct layout_report *ret, struct ply_err *err)
{
	struct idmap ids = { 0 };
	enum update_found found;
	struct update u;
	int r;

	*ret = (struct layout_report){ 0 };
	r = open_target(&u, path, o, err);
	if (r < 0)
		return r;
	r = refuse_unfinished(&u, err);
	if (r == 0)
		r = settle(&u, &found, err);
	if (r == 0)
		r = refuse_open(&u, found, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = refuse_there(&u, v[i].name, err);
	if (r == 0)
		r = make_ids(u.target.fd, v[n - 1].with, &ids, err);
	/* several: all that can collide is known before the first is begun */
	if (r == 0 && n > 1)
		r = look_at_all(&u, v, n, &ids, decide, ctx, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = change_one(&u, CHANGES_ADD, &v[i], &ids, decide, ctx, ret, err);
		changes_done(&u.table);
		u.table = (struct changes){ 0 };
	}
	if (r == 0)
		r = tell_left(&u, ret, "all else is laid out", err);
	idmap_done(&ids);
	update_close(&u);
	return r;
}

int update_settle(const char *path, const struct layout_options *o, struct ply_err *err)
{
	enum update_found found;
	struct update u;
	int r = open_target(&u, path, o, err);

	if (r < 0)
		return r;
	r = settle(&u, &found, err);
	if (r == 0)
		r = refuse_open(&u, found, err);
	update_close(&u);
	return r;
}

/* --- less than there was ------------------------------------------------------------------------------------------- */

/* What the target has is not ours to decide about. */
static int decide_first(void *ctx, struct survey *s, struct ply_err *err)
{
	(void)ctx;
	(void)err;
	for (size_t i = 0; i < s->nconflicts; i++)
		s->conflicts[i].rule = PLY_RULE_FIRST;
	return 0;
}

int update_between(const struct target *t, struct ply_view *from, struct ply_view *to, const char *name,
		   const struct layout_options *o, struct layout_report *ret, struct ply_err *err)
{
	const struct update_component v = { .name = name, .base = from, .with = to };
	struct update u = { .target = *t, .locks = { -1, -1, -1 }, .dir = -1, .up = -1, .journal = -1, .o = o };
	const struct idmap ids = { 0 };
	enum update_found found;
	int r = open_state(&u, false, err);

	if (r == 0)
		r = settle(&u, &found, err);
	/* what the target had then may be another thing now: it is looked at again */
	if (r == 0 && found != UPDATE_NONE) {
		r = open_change(&u, err);
		if (r == 0)
			r = take_back(&u, ret, err);
		changes_done(&u.table);
		u.table = (struct changes){ 0 };
		close_change(&u);
	}
	if (r == 0)
		r = change_one(&u, CHANGES_REMOVE, &v, &ids, decide_first, NULL, ret, err);
	u.target = (struct target){ .fd = -1 };    /* the caller's */
	u.mask = 0;                /* as is this: it has set it */
	update_close(&u);
	return r;
}

/* --- the other verbs ----------------------------------------------------------------------------------------------- */

static int resume_or_abort(const char *path, const struct layout_options *o, bool resume, struct layout_report *ret,
			   struct ply_err *err)
{
	enum update_found found;
	struct update u;
	int r = open_target(&u, path, o, err);

	*ret = (struct layout_report){ 0 };
	if (r < 0)
		return r;
	r = settle(&u, &found, err);
	ret->nothing = r == 0 && found == UPDATE_NONE;
	if (r == 0 && resume && found == UPDATE_ABORTING)
		r = refuse_open(&u, found, err);
	if (r == 0 && found != UPDATE_NONE) {
		err->code = 0;
		r = open_change(&u, err);
		if (r == 0)
			r = resume ? apply(&u, ret, err) : take_back(&u, ret, err);
	}
	if (r == 0)
		r = tell_left(&u, ret, resume ? "all else is laid out" : "all else was taken back", err);
	update_close(&u);
	return r;
}

int update_resume(const char *path, const struct layout_options *o, struct layout_report *ret, struct ply_err *err)
{
	return resume_or_abort(path, o, true, ret, err);
}

int update_abort(const char *path, const struct layout_options *o, struct layout_report *ret, struct ply_err *err)
{
	return resume_or_abort(path, o, false, ret, err);
}

static int put_dirs(struct update *u, struct changes *dirs, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r = 0;

	dirs->kind = CHANGES_ADD;
	if (dirs->n)
		r = changes_encode(dirs, &bytes, err);
	return r < 0 ? r : put_file(u, "dirs", bytes.data, bytes.len, err);
}

static int remove_one(struct update *u, const struct kept *kept, const char *name, struct layout_report *ret,
		      struct ply_err *err)
{
	struct changes c = { 0 }, dirs = { 0 };
	int r = update_begin(u, err);

	if (r == 0)
		r = remove_stage(u, kept, name, &c, &dirs, left, ret, err);
	if (r == 0)
		r = put_dirs(u, &dirs, err);
	if (r == 0)
		r = update_publish(u, &c, err);
	changes_done(&c);
	changes_done(&dirs);
	if (r < 0) {
		drop_state(u);
		return r;
	}
	r = open_change(u, err);
	return r == 0 ? apply(u, ret, err) : r;
}

static bool is_in(const char *const *v, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(v[i], name))
			return true;
	return false;
}

/* One after the other, those first that require others. */
static int remove_all(struct update *u, const char *const *names, size_t n, struct layout_report *ret, struct ply_err *err)
{
	_cleanup_free_ const char **order = NULL;
	struct kept kept = { 0 };
	size_t norder = 0, nowned = 0;
	int r = kept_read(u->dir, u->target.path, &kept, err);

	order = r < 0 ? NULL : calloc(n + kept.n + 1, sizeof(*order));
	if (r == 0 && !order)
		r = ply_fail_nomem(err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = remove_check(u, &kept, names[i], err);
		if (!is_in(order, norder, names[i]))
			order[norder++] = names[i];
	}
	if (r == 0)
		r = kept_check_required(&kept, u->dir, u->target.path, order, norder, err);
	if (r == 0) {
		kept_add_needless(&kept, order, &norder);
		kept_order(&kept, order, norder);
	}
	/* names of what is read again are gone with it */
	for (; r == 0 && nowned < norder; nowned++) {
		order[nowned] = strdup(order[nowned]);
		if (!order[nowned])
			r = ply_fail_nomem(err);
	}
	for (size_t i = 0; r == 0 && i < norder; i++) {
		r = remove_one(u, &kept, order[i], ret, err);
		changes_done(&u->table);
		u->table = (struct changes){ 0 };
		kept_done(&kept);
		if (r == 0 && i + 1 < norder)
			r = kept_read(u->dir, u->target.path, &kept, err);
	}
	for (size_t i = 0; i < nowned; i++)
		free((char *)order[i]);
	kept_done(&kept);
	return r;
}

int update_remove(const char *path, const char *const *names, size_t n, const struct layout_options *o,
		  struct layout_report *ret, struct ply_err *err)
{
	enum update_found found;
	struct update u;
	int r = open_target(&u, path, o, err);

	*ret = (struct layout_report){ 0 };
	if (r < 0)
		return r;
	if (u.dir < 0) {
		update_close(&u);
		return ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN, "%s: no component was laid out there", path);
	}
	r = settle(&u, &found, err);
	if (r == 0)
		r = refuse_open(&u, found, err);
	if (r == 0)
		r = remove_all(&u, names, n, ret, err);
	if (r == 0)
		r = tell_left(&u, ret, "all else was taken out", err);
	update_close(&u);
	return r;
}
