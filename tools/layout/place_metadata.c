/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What does a file get besides its name and content, and in which order?
 *
 * The order is what keeps metadata: owner (chown clears setuid and capabilities), the time, xattrs, the mode last. The time
 * stands before the xattrs, since an ACL touches the mode, and the last call takes the mark of first_mode() (place.c)
 * away: whatever is no longer marked has all of its metadata, its time too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "add/idmap.h"
#include "base/util.h"
#include "layout/place.h"

#define HANDLE_PATH (sizeof("/proc/self/fd/") + 12)

/* For calls that take no such descriptor. It leads to a symlink itself, not to where that leads. */
static void handle_path(const struct file *f, char out[HANDLE_PATH])
{
	snprintf(out, HANDLE_PATH, "/proc/self/fd/%d", f->handle);
}

/* Values are copied first: of a map of which a page has gone, the kernel only says EFAULT. */
static int set_xattr(struct stream *s, const struct file *f, const char *name, const struct sub_xattr *x)
{
	char path[HANDLE_PATH];
	size_t len = x->value_len;

	if (!s->value)
		s->value = malloc(PLY_XATTR_VALUE_MAX);
	if (!s->value)
		return -ENOMEM;
	if (!s->l->ids || idmap_xattr(s->l->ids, name, x->value, x->value_len, s->value, &len) <= 0)
		memcpy(s->value, x->value, x->value_len);
	if (!len && x->value_len)
		return 0;
	if (f->fd >= 0)
		return fsetxattr(f->fd, name, s->value, len, 0) < 0 ? -errno : 0;
	handle_path(f, path);
	return setxattr(path, name, s->value, len, 0) < 0 ? -errno : 0;
}

struct xattr_job {
	struct stream *s;
	const struct file *f;
	bool keep_capability, dropped;
	bool told;                 /* an error was reported */
};

static int place_xattr(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	struct xattr_job *j = ctx;
	const struct limits *lim = &j->s->l->limits;
	char name[PLY_XATTR_NAME_MAX + 1], what[PLY_XATTR_NAME_MAX + 32];
	enum layout_field field = plan_xattr_field(x);
	int r;

	(void)err;                 /* is the stream's */
	if (field == FIELD_CAPABILITY && !j->keep_capability) {
		j->dropped = true;
		return 0;
	}
	if (lim->lacks[field]) {
		stream_lose(j->s, field);
		return 0;
	}
	memcpy(name, x->name, x->name_len);
	name[x->name_len] = '\0';
	r = set_xattr(j->s, j->f, name, x);
	if (limits_size_error(r) && lim->lacks[FIELD_XATTR_SIZE]) {
		stream_lose(j->s, FIELD_XATTR_SIZE);
		return 0;
	}
	if (r == 0)
		return 0;
	j->told = true;
	snprintf(what, sizeof(what), "set extended attribute %s", name);
	return stream_fail(j->s, r, j->f->w, what);
}

/* *ret_dropped: a capability was not kept. */
static int set_xattrs(struct stream *s, const struct file *f, bool keep_capability, bool *ret_dropped)
{
	struct xattr_job j = { .s = s, .f = f, .keep_capability = keep_capability };
	int r = view_file_xattrs(s->l->plan->view, &f->v, place_xattr, &j, &s->err);

	*ret_dropped |= j.dropped;
	return r < 0 && !j.told ? stream_damaged(s, r, f->w) : r;
}

static int set_owner(const struct file *f, uid_t uid, gid_t gid)
{
	int r = f->fd >= 0 ? fchown(f->fd, uid, gid) :
			     fchownat(f->handle, "", uid, gid, AT_EMPTY_PATH);

	return r < 0 ? -errno : 0;
}

static int set_mode(const struct file *f, mode_t mode)
{
	char path[HANDLE_PATH];

	if (f->fd >= 0)
		return fchmod(f->fd, mode) < 0 ? -errno : 0;
	handle_path(f, path);
	return chmod(path, mode) < 0 ? -errno : 0;
}

static int set_time(struct stream *s, const struct file *f)
{
	const struct limits *lim = &s->l->limits;
	struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = f->v.node.mtime_sec, .tv_nsec = f->v.node.mtime_nsec },
	};
	int r;

	if (f->v.node.mtime_sec < lim->time_min || f->v.node.mtime_sec > lim->time_max)
		stream_lose(s, FIELD_TIME_RANGE);
	else if (f->v.node.mtime_nsec % lim->time_step_ns)
		stream_lose(s, FIELD_TIME_NS);
	r = f->fd >= 0 ? futimens(f->fd, times) :
			 utimensat(f->handle, "", times, AT_EMPTY_PATH);
	return r < 0 ? -errno : 0;
}

int place_set_metadata(struct stream *s, const struct file *f)
{
	const struct limits *lim = &s->l->limits;
	const struct ply_node *n = &f->v.node;
	const struct plan_owner *o = &s->l->plan->subs[f->v.owner_i].owners[n->owner];
	mode_t mode = n->mode & 07777, drop = 0;
	bool other_uid = o->put_uid != o->uid, other_gid = o->put_gid != o->gid, dropped;
	int r;

	/* nobody gets privileges that were another's */
	if (o->lost)
		drop = S_ISUID | S_ISGID;
	else if (S_ISREG(n->mode))
		drop = (other_uid ? S_ISUID : 0) | (other_gid ? S_ISGID : 0);
	if (other_uid || other_gid)
		atomic_fetch_add_explicit(&s->l->owners, 1, memory_order_relaxed);
	dropped = mode & drop;
	mode &= ~drop;
	/* what is taken may be half of an earlier run's */
	if (o->put_uid != lim->uid || o->put_gid != lim->gid || f->made == MADE_UNKNOWN) {
		r = set_owner(f, o->put_uid, o->put_gid);
		if (r < 0)
			return stream_fail(s, r, f->w, "set its owner");
	}
	r = set_time(s, f);
	if (r < 0)
		return stream_fail(s, r, f->w, "set its time");
	if (n->xattrs) {
		r = set_xattrs(s, f, !o->lost && !other_uid && !other_gid, &dropped);
		if (r < 0)
			return r;
	}
	if (dropped)
		atomic_fetch_add_explicit(&s->l->privileges, 1, memory_order_relaxed);
	if (lim->lacks[FIELD_MODE]) {
		stream_lose(s, FIELD_MODE);
	} else if (!S_ISLNK(n->mode) && (mode != f->made || !lim->creates_mode || n->xattrs)) {
		r = set_mode(f, mode);
		if (r < 0)
			return stream_fail(s, r, f->w, "set its mode");
	}
	return 0;
}
