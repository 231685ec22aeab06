/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving names of a target in use: see moves.h.
 *
 * Between a look at a path and its rename another process may put something else there. So what was moved is looked at
 * again where it has come to, where nobody else gets at it, and goes back if it is not what it was to be. A process
 * that is killed in between leaves in update/ what is of neither side: who goes on finds that, and puts it back.
 *
 * What cannot go back, since its place is taken meanwhile, is stranded: it stays in update/, and is told.
 *
 * Rejected: leases and fanotify to keep others out (none keeps out root), copies (a name would be there half).
 */
#include "layout/moves.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/attrs.h"

#define CHANGED "was changed meanwhile"
#define TAKEN   "another process has put something there"
#define GONE    "is not there any more"
#define NO_DIR  "its directory is not there any more"

/* The name of a row in new/, old/ and gone/. */
struct number {
	char text[16];
};

static struct number number(const struct change *row)
{
	struct number n;

	snprintf(n.text, sizeof(n.text), "%u", row->n);
	return n;
}

/* --- times of directories ------------------------------------------------------------------- */

/* What a process that was killed has done last is known by its own directories. A rename sets the time of both it is about,
 * but not in one step. */
#define SLACK_S 2

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_later(const struct timespec *a, const struct timespec *than)
{
	return a->tv_sec != than->tv_sec ? a->tv_sec > than->tv_sec : a->tv_nsec > than->tv_nsec;
}

/* As short before and after as can be: what others do in between passes for ours. */
void moves_before(struct moves *m)
{
	struct stat st;

	if (m->now && fstat(m->now_fd, &st) == 0)
		m->now->others |= !same_time(&st.st_mtim, &m->now->left);
}

void moves_after(struct moves *m)
{
	struct stat st;

	if (m->now && fstat(m->now_fd, &st) == 0)
		m->now->left = st.st_mtim;
}

int moves_rename(struct moves *m, int from, const char *from_name, int to, const char *to_name, unsigned how)
{
	int r;

	moves_before(m);
	r = renameat2(from, from_name, to, to_name, how) < 0 ? -errno : 0;
	moves_after(m);
	return r;
}

static int by_path(const void *key, const void *of)
{
	const struct change_dir *d = of;

	return changes_compare(key, d->path);
}

static struct moves_dir *find_dir(const struct moves *m, const char *path, size_t len, const struct change_dir **ret)
{
	const struct changes *c = m->a->c;
	char key[CHANGE_PATH_MAX + 1];

	if (len > CHANGE_PATH_MAX)
		return NULL;
	memcpy(key, path, len);
	key[len] = '\0';
	*ret = c->ndirs ? bsearch(key, c->dirs, c->ndirs, sizeof(*c->dirs), by_path) : NULL;
	return *ret ? &m->dirs[*ret - c->dirs] : NULL;
}

/* --- telling ----------------------------------------------------------------------------- */

int moves_next(struct moves *m)
{
	if (m->a->cancel && atomic_load_explicit(m->a->cancel, memory_order_relaxed))
		return ply_fail(m->err, -ECANCELED, PLY_R_CANCELLED, "interrupted");
	atomic_fetch_add_explicit(&m->a->at, 1, memory_order_relaxed);
	return 0;
}

static int fail(struct moves *m, const char *path, int code, const char *what)
{
	enum ply_reason reason = code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE;
	const char *more = "";
	char text[512];

	escape_name_to(path, strlen(path), text, sizeof(text));
	if (code == -EXDEV)
		more = "; it is on another file system than /var/lib/plyfs, which cannot be changed so";
	else if (code == -EUCLEAN)
		return ply_fail(m->err, code, PLY_R_STATE_DAMAGED, "/%s: %s", text, what);
	return ply_fail(m->err, code, reason, "/%s: cannot %s: %s%s", text, what, strerror(-code), more);
}

int moves_fail(struct moves *m, const struct change *row, int code, const char *what)
{
	return fail(m, row->path, code, what);
}

static int leave(struct moves *m, const char *path, const char *why)
{
	m->a->nleft++;
	if (m->a->left)
		m->a->left(m->a->ctx, path, why);
	return 0;
}

int moves_leave(struct moves *m, const struct change *row, const char *why)
{
	return leave(m, row->path, why);
}

int moves_strand(struct moves *m, const struct change *row, const char *dir, const char *why)
{
	char text[256];

	m->a->nstranded++;
	snprintf(text, sizeof(text), "%s; what was there is kept in /var/lib/plyfs/update/%s/%u", why, dir, row->n);
	return moves_leave(m, row, text);
}

/* Of the name, not of the disk. */
static bool is_refusal(int code)
{
	return code == -EPERM || code == -EACCES || code == -EBUSY || code == -ETXTBSY;
}

int moves_refused(struct moves *m, const struct change *row, int code, const char *what)
{
	char text[128];

	if (!m->back || !is_refusal(code))
		return moves_fail(m, row, code, what);
	snprintf(text, sizeof(text), "cannot %s: %s", what, strerror(-code));
	return moves_leave(m, row, text);
}

/* --- directories --------------------------------------------------------------------------- */

static void close_last(struct open_dirs *d)
{
	close(d->v[--d->n].fd);
}

static int open_dirs_get(struct open_dirs *d, const char *path, size_t len)
{
	bool again = d->failed && d->only_goes && d->failed_len == len && !memcmp(d->path, path, len);
	size_t from = 0;
	int at = d->root, fd;

	if (again)
		return d->failed;
	for (; d->n; close_last(d)) {
		from = d->v[d->n - 1].len;
		at = d->v[d->n - 1].fd;
		if (from <= len && !memcmp(d->path, path, from) && (from == len || path[from] == '/'))
			break;
		from = 0;
		at = d->root;
	}
	if (from == len)
		return at;
	if (array_grow(&d->path, &d->path_cap, len + 1, 1) < 0)
		return -ENOMEM;
	memcpy(d->path, path, len);
	from += from != 0;
	fd = beneath_open(at, path + from, len - from, O_PATH);
	d->failed = MIN(fd, 0);
	d->failed_len = len;
	if (fd < 0)
		return fd;
	if (d->n == DIRS_OPEN_MAX)
		close_last(d);
	d->v[d->n].len = len;
	d->v[d->n++].fd = fd;
	return fd;
}

static void open_dirs_done(struct open_dirs *d)
{
	while (d->n)
		close_last(d);
	free(d->path);
}

static size_t parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

const char *moves_name(const struct change *row)
{
	size_t len = parent_len(row->path);

	return row->path + len + (len != 0);
}

/* Of the calls before this one: when was a name moved out of what is staged for @path, or to what was taken out? */
static struct timespec last_move(struct moves *m, const char *path, size_t len)
{
	struct timespec last = m->own_last;
	int dir = open_dirs_get(&m->tree, path, len);
	struct stat st;

	if (dir >= 0 && fstat(dir, &st) == 0 && is_later(&st.st_mtim, &last))
		last = st.st_mtim;
	last.tv_sec += SLACK_S;
	return last;
}

/* Before anything is moved there. */
static int look_at_dir(struct moves *m, struct moves_dir *to, const struct change_dir *d, int fd)
{
	const struct timespec planned = { d->mtime_sec, d->mtime_nsec };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (to->looked) {
		to->others |= !same_time(&st.st_mtim, &to->left);
	} else if (!same_time(&st.st_mtim, &planned)) {
		struct timespec last = last_move(m, d->path, strlen(d->path));

		to->others = m->a->first || is_later(&st.st_mtim, &last);
	}
	to->looked = true;
	to->left = st.st_mtim;
	return 0;
}

int moves_dir(struct moves *m, const struct change *row)
{
	size_t len = parent_len(row->path);
	const struct change_dir *d;
	struct moves_dir *to;
	int fd, r = 0;

	fd = open_dirs_get(&m->target, row->path, len);
	to = fd < 0 ? NULL : find_dir(m, row->path, len, &d);
	if (to)
		r = look_at_dir(m, to, d, fd);
	m->now = to;
	m->now_fd = fd;
	return r < 0 ? r : fd;
}

int moves_staged_dir(struct moves *m, const struct change *row)
{
	return open_dirs_get(&m->tree, row->path, parent_len(row->path));
}

/* 1: @name is in @dir. */
static int is_there(int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

int moves_is_staged(struct moves *m, const struct change *row)
{
	int dir = moves_staged_dir(m, row), r;

	r = dir < 0 ? (moves_is_gone(dir) ? 0 : dir) : is_there(dir, moves_name(row));
	return r < 0 ? moves_fail(m, row, r, "look what is staged for it") : r;
}

/* --- beginning and end --------------------------------------------------------------------- */

static int open_own(struct moves *m, const char *name, int *ret)
{
	struct stat st;
	char text[64];
	int r;

	if (fstatat(m->a->update, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_later(&st.st_mtim, &m->own_last))
		m->own_last = st.st_mtim;
	r = mkdirat(m->a->update, name, 0700) < 0 && errno != EEXIST ? -errno : 0;

	if (r == 0) {
		r = beneath_open(m->a->update, name, strlen(name), O_PATH);
		if (r >= 0) {
			*ret = r;
			return 0;
		}
	}
	snprintf(text, sizeof(text), "var/lib/plyfs/update/%s", name);
	return fail(m, text, r, "open");
}

int moves_begin(struct moves *m, struct apply *a, bool back, struct ply_err *err)
{
	int r;

	*m = (struct moves){
		.a = a, .err = err, .back = back, .target = { .root = a->target },
		.tree_fd = -1, .new_fd = -1, .old_fd = -1, .gone_fd = -1,
	};
	atomic_store(&a->at, 0);
	a->nmade = a->nswapped = a->nout = a->nmeta = a->nleft = a->nstranded = 0;
	m->dirs = calloc(a->c->ndirs + 1, sizeof(*m->dirs));
	if (!m->dirs)
		return ply_fail_nomem(err);
	r = open_own(m, "tree", &m->tree_fd);
	if (r == 0)
		r = open_own(m, "new", &m->new_fd);
	if (r == 0)
		r = open_own(m, "old", &m->old_fd);
	if (r == 0)
		r = open_own(m, "gone", &m->gone_fd);
	m->tree.root = m->tree_fd;
	m->tree.only_goes = true;
	return r;
}

/* Where it has the time already nothing is written; where others have changed it since, that is to be seen. */
static int set_time(struct moves *m, const struct change_dir *d, struct moves_dir *is)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { d->mtime_sec, d->mtime_nsec } };
	int fd = open_dirs_get(&m->target, d->path, strlen(d->path));
	char path[64];
	struct stat st;

	if (moves_is_gone(fd))
		return 0;
	if (fd < 0 || look_at_dir(m, is, d, fd) < 0 || fstat(fd, &st) < 0)
		return fail(m, d->path, fd < 0 ? fd : -errno, "open");
	if (is->others || same_time(&st.st_mtim, &times[1]))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);      /* O_PATH: no futimens */
	return utimensat(AT_FDCWD, path, times, 0) < 0 ? fail(m, d->path, -errno, "set the time of") : 0;
}

int moves_finish(struct moves *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->a->c->ndirs; i++)
		r = set_time(m, &m->a->c->dirs[i], &m->dirs[i]);
	return r;
}

void moves_done(struct moves *m)
{
	free(m->dirs);
	open_dirs_done(&m->target);
	open_dirs_done(&m->tree);
	cleanup_close(&m->tree_fd);
	cleanup_close(&m->new_fd);
	cleanup_close(&m->old_fd);
	cleanup_close(&m->gone_fd);
}

/* --- moving ---------------------------------------------------------------------------------- */

/* What lies in @from/N and is not what it was to be. */
static int give_back(struct moves *m, const struct change *row, int dir, int from, const char *from_name)
{
	if (moves_rename(m, from, number(row).text, dir, moves_name(row), RENAME_NOREPLACE) < 0)
		return moves_strand(m, row, from_name, TAKEN);
	return moves_leave(m, row, CHANGED);
}

/* It was not @side when it was looked at. @dir: -1 where that is not there either. */
static int take_none(struct moves *m, const struct change *row, const struct change_side *side, int dir, int to,
		     const char *to_name)
{
	int here = dir < 0 ? 0 : is_there(dir, moves_name(row)), there = is_there(to, number(row).text);
	int r = MIN(here, there);

	if (r == 0 && there > 0) {
		r = change_is(to, number(row).text, side);
		if (r == 0)                /* killed before the second look */
			return give_back(m, row, dir, to, to_name);
	}
	if (r < 0)
		return moves_fail(m, row, r, "look at it");
	return here ? moves_leave(m, row, CHANGED) : 0;
}

int moves_take(struct moves *m, const struct change *row, const struct change_side *side, int to, const char *to_name,
	       uint64_t *count)
{
	int dir = moves_dir(m, row), r = dir;

	if (moves_is_gone(dir))
		return take_none(m, row, side, -1, to, to_name);
	if (dir >= 0)
		r = change_is(dir, moves_name(row), side);
	if (r == 0)
		return take_none(m, row, side, dir, to, to_name);
	if (r > 0)
		r = moves_rename(m, dir, moves_name(row), to, number(row).text, RENAME_NOREPLACE);
	if (r == -EEXIST)
		return change_is(to, number(row).text, side) == 1 ? moves_leave(m, row, "was put there again") :
								    moves_strand(m, row, to_name, TAKEN);
	if (r < 0)
		return r == -ENOENT ? 0 : moves_refused(m, row, r, "take it out");
	r = change_is(to, number(row).text, side);
	if (r <= 0)
		return give_back(m, row, dir, to, to_name);
	++*count;
	return 0;
}

/* An empty directory is no loss; one that was moved right before a kill may have more in it. */
static int keep(struct moves *m, const struct change *row, int from, const char *from_name, const char *why)
{
	size_t n = 0;

	if (S_ISDIR(row->before.mode) && moves_rest(m, row, from, number(row).text, false, &n) == 0 && !n)
		return moves_leave(m, row, why);
	return moves_strand(m, row, from_name, why);
}

int moves_put_back(struct moves *m, const struct change *row, int from, const char *from_name, uint64_t *count)
{
	int dir = moves_dir(m, row), r = is_there(from, number(row).text);
	char text[128];

	if (r <= 0)
		return r < 0 ? moves_fail(m, row, r, "look at what was taken out") : 0;
	r = dir < 0 ? dir : moves_rename(m, from, number(row).text, dir, moves_name(row), RENAME_NOREPLACE);
	if (moves_is_gone(r))
		return keep(m, row, from, from_name, NO_DIR);
	if (r == -EEXIST && change_is(dir, moves_name(row), &row->before) == 1)
		return 0;                  /* put there by somebody, the same */
	if (r == -EEXIST)
		return keep(m, row, from, from_name, TAKEN);
	if (is_refusal(r)) {
		snprintf(text, sizeof(text), "cannot put it back: %s", strerror(-r));
		return keep(m, row, from, from_name, text);
	}
	if (r == 0)
		++*count;
	return r < 0 ? moves_fail(m, row, r, "put it back") : 0;
}

/* --- exchanging ------------------------------------------------------------------------------ */

enum which {
	NOTHING,
	BEFORE,
	AFTER,
	OTHER,
};

/* What of @row is at @name. */
static int which(const struct change *row, int dir, const char *name)
{
	int r = is_there(dir, name);

	if (r <= 0)
		return r < 0 ? r : NOTHING;
	r = change_is(dir, name, &row->before);
	if (r != 0)
		return r < 0 ? r : BEFORE;
	r = change_is(dir, name, &row->after);
	return r < 0 ? r : r ? AFTER : OTHER;
}

/* What has come to new/N was not to be taken. Where its place is empty now it gets that. */
static int exchange_back(struct moves *m, const struct change *row, int dir)
{
	int r = moves_rename(m, m->new_fd, number(row).text, dir, moves_name(row), RENAME_EXCHANGE);

	if (r < 0)
		return give_back(m, row, dir, m->new_fd, "new");
	return m->back && which(row, m->new_fd, number(row).text) == BEFORE ? moves_strand(m, row, "new", CHANGED) :
									      moves_leave(m, row, CHANGED);
}

static int exchange(struct moves *m, const struct change *row, int dir, const struct change_side *from)
{
	int r = moves_rename(m, m->new_fd, number(row).text, dir, moves_name(row), RENAME_EXCHANGE);

	if (r == -ENOENT && m->back)
		return moves_put_back(m, row, m->new_fd, "new", &m->a->nswapped);
	if (r == -ENOENT)
		return moves_leave(m, row, GONE);
	if (r < 0 && m->back && is_refusal(r))
		return moves_strand(m, row, "new", "cannot put it back");
	if (r < 0)
		return moves_fail(m, row, r, "exchange it");
	if (change_is(m->new_fd, number(row).text, from) <= 0)
		return exchange_back(m, row, dir);
	m->a->nswapped++;
	return 0;
}

/* Not the two that can be exchanged: @is is in place, @own in new/N. */
static int not_exchanged(struct moves *m, const struct change *row, int dir, enum which is, enum which own)
{
	enum which from = m->back ? AFTER : BEFORE, to = m->back ? BEFORE : AFTER;

	if (own == from || (is == to && own != OTHER))
		return 0;                  /* done; changed after that, maybe */
	/* killed before the second look of an exchange, there or back */
	if (own == OTHER && (is == AFTER || (m->back && is == BEFORE)))
		return exchange_back(m, row, dir);
	if (own == OTHER && is != BEFORE)
		return moves_strand(m, row, "new", CHANGED);
	if (own == to && m->back && is == NOTHING)
		return moves_put_back(m, row, m->new_fd, "new", &m->a->nswapped);
	if (own == to)
		return m->back ? moves_strand(m, row, "new", is == NOTHING ? GONE : CHANGED) :
				 moves_leave(m, row, is == NOTHING ? GONE : CHANGED);
	return m->back ? moves_leave(m, row, "what was there before is lost") :
			 moves_fail(m, row, -EUCLEAN, "what is to come there is not in /var/lib/plyfs/update/new");
}

int moves_swap(struct moves *m, const struct change *row)
{
	enum which from = m->back ? AFTER : BEFORE, to = m->back ? BEFORE : AFTER;
	int dir = moves_dir(m, row), is = dir, own;

	if (dir >= 0)
		is = which(row, dir, moves_name(row));
	else if (moves_is_gone(dir))
		is = NOTHING;
	if (is < 0)
		return moves_refused(m, row, is, "look at it");
	own = which(row, m->new_fd, number(row).text);
	if (own < 0)
		return moves_fail(m, row, own, "look at what is to come there");
	if (is == (int)from && own == (int)to)
		return exchange(m, row, dir, m->back ? &row->after : &row->before);
	return not_exchanged(m, row, dir, (enum which)is, (enum which)own);
}

/* --- owner and mode -------------------------------------------------------------------------- */

/* chown(2) takes these away, and may be the last that was done. */
static uint32_t without_setid(uint32_t mode)
{
	return mode & ~(uint32_t)(S_ISUID | S_ISGID);
}

static bool mode_may_be(uint32_t mode, const struct change_side *s)
{
	return mode == s->mode || mode == without_setid(s->mode);
}

/* Some of both. ACLs change modes when they come and go, so these do not tell. */
static int attrs_are_between(const struct moves *m, const struct change *row, int fd)
{
	char is[64], before[64], after[64];

	snprintf(is, sizeof(is), "/proc/self/fd/%d/.", fd);
	snprintf(before, sizeof(before), "/proc/self/fd/%d/%u", m->old_fd, row->n);
	snprintf(after, sizeof(after), "/proc/self/fd/%d/%u", m->new_fd, row->n);
	return attrs_between(is, before, after);
}

/* What a process that was killed on its way, and perhaps on its way back, has left. */
static int is_between(const struct moves *m, const struct change *row, int fd, const struct change_side *is)
{
	const struct change_side *b = &row->before, *a = &row->after;
	bool moves_attrs = change_moves_attrs(row);
	struct change_side x = *is;
	int r = 1;

	if (moves_attrs && !S_ISDIR(is->mode))
		return 0;
	if (moves_attrs)
		return (is->uid == a->uid && is->gid == a->gid) || (is->uid == b->uid && is->gid == b->gid) ?
			attrs_are_between(m, row, fd) : 0;
	if (b->uid == a->uid && b->gid == a->gid)
		return 0;
	if (is->uid == a->uid && is->gid == a->gid)
		r = mode_may_be(is->mode, b);
	else if (is->uid == b->uid && is->gid == b->gid)
		r = m->back && (mode_may_be(is->mode, a) || mode_may_be(is->mode, b));
	x.uid = b->uid;
	x.gid = b->gid;
	x.mode = b->mode;
	return r && change_same(&x, b);
}

/* @attrs: a directory that has them; -1: they stay. */
static int set_meta(int fd, const struct change_side *is, const struct change_side *to, int attrs, const char *name)
{
	char path[64], as[64];
	int r = 0;

	if ((is->uid != to->uid || is->gid != to->gid) && fchownat(fd, "", to->uid, to->gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if (S_ISLNK(to->mode))
		return 0;
	snprintf(as, sizeof(as), "/proc/self/fd/%d/%s", attrs, name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/.", fd);
	if (attrs >= 0)
		r = attrs_make(path, as);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);      /* O_PATH: no fchmod */
	return r == 0 && chmod(path, to->mode & 07777) < 0 ? -errno : r;
}

int moves_meta(struct moves *m, const struct change *row)
{
	const struct change_side *from = m->back ? &row->after : &row->before;
	const struct change_side *to = m->back ? &row->before : &row->after;
	_cleanup_close_ int fd = -1;
	struct change_side is;
	int dir = moves_dir(m, row), r = dir;

	if (dir >= 0) {
		fd = openat(dir, moves_name(row), O_PATH | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? -errno : change_look_fd(fd, &is);
	}
	if (moves_is_gone(r))
		return moves_leave(m, row, GONE);
	if (r < 0)
		return moves_refused(m, row, r, "look at it");
	if (change_same(&is, to))
		return 0;
	r = change_same(&is, from) ? 1 : is_between(m, row, fd, &is);
	if (r == 0)
		return moves_leave(m, row, CHANGED);
	if (r > 0)
		r = set_meta(fd, &is, to, change_moves_attrs(row) ? (m->back ? m->old_fd : m->new_fd) : -1, number(row).text);
	if (r < 0)
		return moves_refused(m, row, r, "set owner and mode of it");
	m->a->nmeta++;
	return 0;
}

/* --- directories that go --------------------------------------------------------------------- */

/* A name that has a row was told with that, or stays for what is in it. */
static int tell_name(struct moves *m, const struct change *row, const char *name)
{
	size_t len = strlen(row->path) + strlen(name) + 2;
	_cleanup_free_ char *path = malloc(len);

	if (!path)
		return -ENOMEM;
	snprintf(path, len, "%s/%s", row->path, name);
	return changes_find(m->a->c, path) ? 0 : leave(m, path, "is not the layout's");
}

int moves_rest(struct moves *m, const struct change *row, int dir, const char *name, bool tell, size_t *ret_n)
{
	const int how = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, how | O_NOATIME), r = 0;
	const struct dirent *de;
	size_t n = 0;
	DIR *d;

	if (fd < 0 && errno == EPERM)      /* of somebody else's, and we are not root */
		fd = openat(dir, name, how);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		r = -errno;
		cleanup_close(&fd);
		return r;
	}
	while (r == 0 && (de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		n++;
		if (tell)
			r = tell_name(m, row, de->d_name);
	}
	closedir(d);
	*ret_n = n;
	return r;
}
