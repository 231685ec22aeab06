/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can the target hold? Asked of the file system itself, with a file that has no name
 * (O_TMPFILE), and only what this tree needs: a table of file systems and their limits would
 * be wrong for the next kernel, mount option, quota or user namespace.
 *
 * A time that the file system cannot hold is clamped in silence, so times are read back. A
 * size is asked with lseek(), which knows the limit and allocates nothing: FAT would write
 * a terabyte of zeros for ftruncate(). Links, symlinks and special files need a name; each is
 * removed at once, with the signals of a terminal held back, so that only a SIGKILL between two
 * system calls can leave one.
 *
 * Link counts are not tried (65,000 names): pathconf() knows the common file systems.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"
#include "layout/engine.h"

static const char *const field_text[FIELD_COUNT] = {
#define X(name, id, text) [FIELD_##name] = text,
	LAYOUT_FIELDS(X)
#undef X
};

struct probe {
	struct layout *l;
	struct target *t;
	int dir;                   /* of the state, not yet published: what is left there by a SIGKILL goes with it */
	const struct plan_needs *need;
	struct limits *lim;
	struct where first[FIELD_COUNT];   /* the path to name, by field */
	char name[2][32];                  /* for what must have one */
	int trouble;                       /* the first error that was no answer; 0: none */
};

static void lacks(struct probe *p, enum layout_field f, const struct where *w)
{
	p->lim->lacks[f] = true;
	p->first[f] = w ? *w : p->need->first[f];
}

/* Does @code say nothing of what the target can hold, but that it is full, read-only, or fails? */
static bool is_trouble(struct probe *p, int code)
{
	static const int troubles[] = { -EIO, -EROFS, -ENOSPC, -EDQUOT, -ENOMEM, -ENOENT, -ESTALE, -EUCLEAN };

	for (size_t i = 0; i < ARRAY_SIZE(troubles); i++)
		if (code == troubles[i]) {
			p->trouble = p->trouble ? p->trouble : code;
			return true;
		}
	return false;
}

/* To make something was answered so; 0 and it goes again. */
static bool was_made(struct probe *p, int r, const char *name)
{
	if (r == 0 && unlinkat(p->dir, name, 0) < 0)
		p->trouble = p->trouble ? p->trouble : -errno;
	else if (r < 0)
		is_trouble(p, -errno);
	return r == 0;
}

/* A file without a name: -errno where the target takes no files at all. */
static int hidden_file(struct probe *p, mode_t mode)
{
	int fd = openat(p->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
		return fd < 0 ? -errno : fd;
	fd = openat(p->dir, p->name[0], O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	was_made(p, 0, p->name[0]);
	return fd;
}

/* --- xattrs ---------------------------------------------------------------------- */

static int set_example(int fd, const struct sub_xattr *x)
{
	_cleanup_free_ void *value = malloc(x->value_len + 1);   /* a copy: see set_xattr() in place_metadata.c */
	char name[PLY_XATTR_NAME_MAX + 1];

	if (!value)
		return -ENOMEM;
	memcpy(value, x->value, x->value_len);
	memcpy(name, x->name, x->name_len);
	name[x->name_len] = '\0';
	/* a default ACL is for directories; its bytes are as good as an access ACL */
	if (!strcmp(name, target_acl_names[1]))
		strcpy(name, target_acl_names[0]);
	return fsetxattr(fd, name, value, x->value_len, 0) < 0 ? -errno : 0;
}

/* No room for an xattr: is there none for anything? */
static bool is_full(struct probe *p, int fd)
{
	int r = pwrite_full(fd, "", 1, 0);

	return r < 0 && is_trouble(p, r);
}

static int probe_xattrs(struct probe *p, struct ply_err *err)
{
	static const enum layout_field classes[] = {
		FIELD_XATTR_USER, FIELD_XATTR_TRUSTED, FIELD_XATTR_SECURITY, FIELD_XATTR_OTHER,
		FIELD_ACL, FIELD_CAPABILITY,
	};
	_cleanup_close_ int most = -1;
	uint32_t n;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		enum layout_field f = classes[i];
		_cleanup_close_ int fd = -1;

		if (!p->need->count[f])
			continue;
		fd = hidden_file(p, 0600);
		if (fd < 0)
			return fd;
		r = set_example(fd, &p->need->xattr[f]);
		if (r < 0 && !limits_size_error(r) && !is_trouble(p, r))
			lacks(p, f, NULL);
	}
	if (!p->need->xattr_sub)
		return 0;
	/* the node with the most of them */
	most = hidden_file(p, 0600);
	if (most < 0)
		return most;
	r = sub_xattr_count(p->need->xattr_sub, p->need->xattr_set, &n, err);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct sub_xattr x;

		r = sub_xattr(p->need->xattr_sub, p->need->xattr_set, i, &x, err);
		if (r < 0 || p->lim->lacks[plan_xattr_field(&x)])
			continue;
		r = set_example(most, &x);
		if (limits_size_error(r)) {
			if (!is_full(p, most))
				lacks(p, FIELD_XATTR_SIZE, NULL);
			return 0;
		}
		if (r < 0 && is_trouble(p, r))
			return 0;
		if (r < 0) {
			lacks(p, plan_xattr_field(&x), NULL);
			r = 0;
		}
	}
	return r;
}

/* --- times, sizes, modes ------------------------------------------------------------ */

static int set_time(int fd, int64_t sec, uint32_t nsec, struct timespec *is)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = sec, .tv_nsec = nsec } };
	struct stat st;

	if (futimens(fd, times) < 0 || fstat(fd, &st) < 0)
		return -errno;
	*is = st.st_mtim;
	return 0;
}

static int probe_times(struct probe *p, int fd)
{
	const struct plan_needs *n = p->need;
	struct timespec is;
	int r;

	p->lim->time_min = INT64_MIN;
	p->lim->time_max = INT64_MAX;
	p->lim->time_step_ns = 1;
	r = set_time(fd, n->time_min, 0, &is);
	if (r == 0 && is.tv_sec != n->time_min) {
		p->lim->time_min = is.tv_sec;
		lacks(p, FIELD_TIME_RANGE, &n->time_min_at);
	}
	if (r == 0)
		r = set_time(fd, n->time_max, 0, &is);
	if (r == 0 && is.tv_sec != n->time_max) {
		p->lim->time_max = is.tv_sec;
		lacks(p, FIELD_TIME_RANGE, &n->time_max_at);
	}
	if (r == 0 && n->time_nsec)
		r = set_time(fd, MAX(n->time_min, 0) + 1, n->time_nsec, &is);
	if (r == 0 && n->time_nsec && is.tv_nsec != (long)n->time_nsec) {
		/* powers of ten are the granularities that there are, and FAT's two seconds */
		uint32_t step = 10;

		while (step < 1000000000 && n->time_nsec / step * step != (uint32_t)is.tv_nsec)
			step *= 10;
		p->lim->time_step_ns = step;
		lacks(p, FIELD_TIME_NS, NULL);
		return r;
	}
	/* the last second that Linux can give a file has no nanoseconds */
	if (r == 0 && n->time_max_nsec && n->time_max <= p->lim->time_max)
		r = set_time(fd, n->time_max, n->time_max_nsec, &is);
	if (r == 0 && n->time_max_nsec && n->time_max <= p->lim->time_max &&
	    is.tv_nsec != (long)n->time_max_nsec) {
		p->lim->time_max = n->time_max - 1;
		lacks(p, FIELD_TIME_RANGE, &n->time_max_at);
	}
	return r;
}

static void probe_size(struct probe *p, int fd)
{
	uint64_t size = p->need->file_size, ok = 0;
	struct rlimit rl;

	p->lim->file_size = UINT64_MAX;
	if (getrlimit(RLIMIT_FSIZE, &rl) == 0 && rl.rlim_cur != RLIM_INFINITY)
		p->lim->file_size = rl.rlim_cur;
	if (lseek(fd, (off_t)size, SEEK_SET) < 0) {
		for (uint64_t step = 1ULL << 62; step; step /= 2)
			if (ok + step <= size && lseek(fd, (off_t)(ok + step), SEEK_SET) >= 0)
				ok += step;
		p->lim->file_size = MIN(p->lim->file_size, ok);
	}
	if (size > p->lim->file_size)
		lacks(p, FIELD_FILE_SIZE, NULL);
	lseek(fd, 0, SEEK_SET);
}

static int probe_mode(struct probe *p, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	p->lim->uid = st.st_uid;
	p->lim->gid = st.st_gid;
	p->lim->creates_mode = (st.st_mode & 07777) == 01767;
	if (fchmod(fd, 0641) < 0 && is_trouble(p, -errno))
		return 0;
	if (fstat(fd, &st) < 0 || (st.st_mode & 07777) != 0641)
		lacks(p, FIELD_MODE, NULL);
	return 0;
}

/* --- what needs a name --------------------------------------------------------------- */

static bool can_make(struct probe *p, mode_t mode, dev_t dev)
{
	return was_made(p, mknodat(p->dir, p->name[0], mode | 0600, dev), p->name[0]);
}

static bool can_symlink(struct probe *p, size_t len)
{
	char target[PLY_SYMLINK_MAX + 1];

	memset(target, 'x', len);
	target[len] = '\0';
	return was_made(p, symlinkat(target, p->dir, p->name[0]), p->name[0]);
}

static bool can_link(struct probe *p)
{
	bool can;

	if (mknodat(p->dir, p->name[0], S_IFREG | 0600, 0) < 0)
		return was_made(p, -1, p->name[0]);
	can = was_made(p, linkat(p->dir, p->name[0], p->dir, p->name[1], 0), p->name[1]);
	was_made(p, 0, p->name[0]);
	return can;
}

static void probe_symlinks(struct probe *p)
{
	size_t lo = 1, hi = p->need->symlink_len;

	p->lim->symlink_len = UINT64_MAX;
	if (!p->need->count[FIELD_SYMLINK] || can_symlink(p, hi))
		return;
	if (!can_symlink(p, 1)) {
		lacks(p, FIELD_SYMLINK, NULL);
		return;
	}
	while (lo + 1 < hi) {      /* lo can be made, hi cannot */
		size_t mid = lo + (hi - lo) / 2;

		if (can_symlink(p, mid))
			lo = mid;
		else
			hi = mid;
	}
	p->lim->symlink_len = lo;
	lacks(p, FIELD_SYMLINK_LENGTH, NULL);
}

static void probe_names(struct probe *p)
{
	const struct plan_needs *n = p->need;
	sigset_t held, before;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigaddset(&held, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, &held, &before);
	probe_symlinks(p);
	if (n->count[FIELD_DEVICE] && !can_make(p, S_IFCHR, makedev(1, 3)))
		lacks(p, FIELD_DEVICE, NULL);
	if (n->count[FIELD_SPECIAL] && (!can_make(p, S_IFIFO, 0) || !can_make(p, S_IFSOCK, 0)))
		lacks(p, FIELD_SPECIAL, NULL);
	if (n->count[FIELD_LINK] && !can_link(p))
		lacks(p, FIELD_LINK, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);

	if (n->count[FIELD_DEVICE_NUMBER])   /* Linux itself: 12 and 20 bits */
		lacks(p, FIELD_DEVICE_NUMBER, NULL);
	p->lim->name_len = p->t->name_max > 0 ? (uint64_t)p->t->name_max : UINT64_MAX;
	if (n->name_len > p->lim->name_len)
		lacks(p, FIELD_NAME_LENGTH, NULL);
	p->lim->links = p->t->link_max > 0 ? (uint64_t)p->t->link_max : UINT64_MAX;
	if (n->links > p->lim->links)
		lacks(p, FIELD_LINK_COUNT, NULL);
}

/* --- owners ------------------------------------------------------------------------------ */

/*
 * Each owner is tried on the hidden file, so that capabilities, user namespaces and file
 * systems without owners all give the right answer. Where it cannot be had, the file will be
 * the caller's.
 */
static int probe_owners(struct probe *p, int fd, struct ply_err *err)
{
	const struct layout_options *o = p->l->o;
	struct plan *plan = p->l->plan;
	struct plan_owner *example = NULL;
	uint64_t impossible = 0;
	char path[512];

	for (uint32_t i = 0; i < plan->nsubs; i++) {
		struct plan_sub *ps = &plan->subs[i];

		for (uint64_t k = 0; ps->owners && k < sub_limits(ps->sub)->owner_pairs; k++) {
			struct plan_owner *po = &ps->owners[k];

			if (!po->count)
				continue;
			if (o->map_owner) {
				po->put_uid = o->map_uid;
				po->put_gid = o->map_gid;
			}
			if (po->put_uid == p->lim->uid && po->put_gid == p->lim->gid)
				continue;
			if (fchown(fd, po->put_uid, po->put_gid) == 0 || is_trouble(p, -errno))
				continue;
			impossible += po->count;
			if (!example)
				example = po;
			po->put_uid = p->lim->uid;
			po->put_gid = p->lim->gid;
		}
	}
	if (!p->t->mine && !o->allow_partial)
		return ply_fail(err, -EPERM, PLY_R_TARGET_OWNER,
				"%s: belongs to another user, so its owner and mode cannot be set; lay out "
				"into a directory of your own, or take --allow-partial", p->t->path);
	if (!example || o->allow_partial)
		return 0;
	plan_path(plan, &example->first, path, sizeof(path));
	if (o->map_owner)
		return ply_fail(err, -EPERM, PLY_R_TARGET_OWNER, "%s: you cannot give files to %u:%u",
				p->t->path, o->map_uid, o->map_gid);
	return ply_fail(err, -EPERM, PLY_R_TARGET_OWNER,
			"%s: %llu files belong to owners that you cannot give them to (the first: %s, %u:%u); "
			"run as root, or take --map-owner=self or --allow-partial",
			p->t->path, (unsigned long long)impossible, path, example->uid, example->gid);
}

/* --- the verdict ----------------------------------------------------------------------------- */

static int judge(struct probe *p, struct ply_err *err)
{
	const struct layout_options *o = p->l->o;
	struct buf text = { 0 };
	unsigned n = 0;
	int r = 0;

	for (int f = 0; f < FIELD_COUNT; f++) {
		char path[160];

		if (!p->lim->lacks[f])
			continue;
		plan_path(p->l->plan, &p->first[f], p->l->report->lost[f].first,
			  sizeof(p->l->report->lost[f].first));
		if (o->lossy || (f == FIELD_DEVICE && o->allow_partial) ||
		    (f == FIELD_CAPABILITY && (o->allow_partial || o->map_owner)))
			continue;
		plan_path(p->l->plan, &p->first[f], path, sizeof(path));
		if (buf_printf(&text, "%s%s (%s)", n++ ? ", " : "", field_text[f], path) < 0)
			r = ply_fail_nomem(err);
	}
	if (r == 0 && n)
		r = ply_fail(err, -EOPNOTSUPP, PLY_R_TARGET_CANNOT_HOLD,
			     "%s: cannot hold %.*s; --lossy goes on without", p->t->path, (int)text.len,
			     (const char *)text.data);
	buf_done(&text);
	return r;
}

static int check_room(struct probe *p, struct ply_err *err)
{
	const struct plan *plan = p->l->plan;
	uint64_t inodes = plan->files + plan->ndirs - 1;
	char need[16], have[16];

	if (p->need->blocks <= p->t->free_bytes && inodes <= p->t->free_inodes)
		return 0;
	format_size(p->need->blocks, need);
	format_size(p->t->free_bytes, have);
	if (p->need->blocks > p->t->free_bytes)
		return ply_fail(err, -ENOSPC, PLY_R_TARGET_FULL,
				"%s: needs %s (%llu bytes), but only %s (%llu) are free", p->t->path,
				need, (unsigned long long)p->need->blocks, have,
				(unsigned long long)p->t->free_bytes);
	return ply_fail(err, -ENOSPC, PLY_R_TARGET_FULL,
			"%s: needs %llu inodes, but only %llu are free", p->t->path,
			(unsigned long long)inodes, (unsigned long long)p->t->free_inodes);
}

int probe(struct layout *l, struct ply_err *err)
{
	struct probe p = { .l = l, .t = l->target, .dir = l->state.dir, .need = &l->plan->needs, .lim = &l->limits };
	_cleanup_close_ int fd = -1;
	uint64_t salt;
	int r;

	random_bytes(&salt, sizeof(salt));
	snprintf(p.name[0], sizeof(p.name[0]), ".plyfs-%016llx", (unsigned long long)salt);
	snprintf(p.name[1], sizeof(p.name[1]), ".plyfs-%016llx", (unsigned long long)salt + 1);
	r = check_room(&p, err);
	if (r < 0)
		return r;
	fd = hidden_file(&p, 01767);
	if (fd < 0)
		return ply_fail(err, fd, fd == -ENOSPC ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
				"%s: cannot make a file in it: %s", l->target->path, strerror(-fd));
	r = probe_mode(&p, fd);
	if (r == 0)
		r = probe_times(&p, fd);
	if (r < 0)
		return ply_fail(err, r, PLY_R_TARGET_WRITE, "%s: cannot set attributes of a file in it: %s",
				l->target->path, strerror(-r));
	probe_size(&p, fd);
	err->code = 0;
	r = probe_xattrs(&p, err);
	if (r < 0)
		return err->code ? r : ply_fail(err, r, PLY_R_TARGET_WRITE, "%s: cannot make a file in it: %s",
						l->target->path, strerror(-r));
	probe_names(&p);
	r = probe_owners(&p, fd, err);
	if (p.trouble)             /* what was found out is not what it can hold */
		return ply_fail(err, p.trouble, p.trouble == -ENOSPC || p.trouble == -EDQUOT ? PLY_R_TARGET_FULL :
				PLY_R_TARGET_WRITE, "%s: cannot find out what it can hold: %s", l->target->path,
				strerror(-p.trouble));
	return r < 0 ? r : judge(&p, err);
}
