/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "layout/statedir.h"

#define LIST_MAX 65536u            /* Linux: XATTR_LIST_MAX */

int attrs_copy(const char *from, const char *to)
{
	_cleanup_free_ char *list = malloc(LIST_MAX), *value = malloc(PLY_XATTR_VALUE_MAX);
	ssize_t len = list && value ? llistxattr(from, list, LIST_MAX) : -1;

	if (!list || !value)
		return -ENOMEM;
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (const char *at = list; at < list + len; at += strlen(at) + 1) {
		ssize_t n = lgetxattr(from, at, value, PLY_XATTR_VALUE_MAX);

		if (n < 0 || lsetxattr(to, at, value, (size_t)n, 0) < 0)
			return -errno;
	}
	return 0;
}

struct setting {
	const struct idmap *ids;
	const char *to;
	bool lossy, lost;          /* lost: the owner, so no capability */
	uint8_t *value;
	int result;
};

static int set_one(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	char name[PLY_XATTR_NAME_MAX + 1];
	struct setting *s = ctx;
	size_t len = x->value_len;

	(void)err;
	memcpy(name, x->name, x->name_len);
	name[x->name_len] = '\0';
	if (s->lost && !strcmp(name, "security.capability"))
		return 0;
	if (!s->ids || idmap_xattr(s->ids, name, x->value, x->value_len, s->value, &len) <= 0)
		memcpy(s->value, x->value, x->value_len);
	if (!len && x->value_len)
		return 0;
	if (lsetxattr(s->to, name, s->value, len, 0) < 0 && !s->lossy)
		s->result = -errno;
	return s->result;
}

int attrs_of_view(struct ply_view *view, uint64_t ino, const struct idmap *ids, bool lossy, const char *to,
		  struct ply_err *err)
{
	struct setting s = { .ids = ids, .to = to, .lossy = lossy, .value = malloc(PLY_XATTR_VALUE_MAX) };
	struct view_owner owner;
	struct view_file f;
	int r = s.value ? view_file(view, ino, &f, err) : -ENOMEM;

	if (r == 0)
		r = view_owner(view, &f, &owner, err);
	if (r == 0 && ids)
		s.lost = idmap_is_lost(ids, ID_USER, owner.uid) || idmap_is_lost(ids, ID_GROUP, owner.gid);
	if (r == 0)
		r = view_file_xattrs(view, &f, set_one, &s, err);
	if (s.result < 0)
		err->code = 0;
	free(s.value);
	return s.result < 0 ? s.result : r;
}

/* --- making them equal ---------------------------------------------------------------------- */

/* Labels that the kernel gives say nothing of what a file is. */
static bool counts(const char *name)
{
	return strncmp(name, "security.", 9) != 0 || !strcmp(name, "security.capability");
}

struct list {
	char *names;
	ssize_t len;
	uint8_t *a, *b;            /* values */
};

static void list_done(struct list *l)
{
	free(l->names);
	free(l->a);
	free(l->b);
}
#define _cleanup_list_ __attribute__((cleanup(list_done)))

static int list_of(const char *path, struct list *ret)
{
	*ret = (struct list){ malloc(LIST_MAX), 0, malloc(PLY_XATTR_VALUE_MAX), malloc(PLY_XATTR_VALUE_MAX) };
	if (!ret->names || !ret->a || !ret->b)
		return -ENOMEM;
	ret->len = llistxattr(path, ret->names, LIST_MAX);
	if (ret->len < 0 && errno != EOPNOTSUPP)
		return -errno;
	ret->len = ret->len < 0 ? 0 : ret->len;
	return 0;
}

/* 1: both have the same, or have none. */
static int same_value(struct list *l, const char *name, const char *x, const char *y)
{
	ssize_t n = lgetxattr(x, name, l->a, PLY_XATTR_VALUE_MAX), o;

	if (n < 0 && errno != ENODATA)
		return -errno;
	o = lgetxattr(y, name, l->b, PLY_XATTR_VALUE_MAX);
	if (o < 0 && errno != ENODATA)
		return -errno;
	return n == o && (n <= 0 || !memcmp(l->a, l->b, (size_t)n));
}

int attrs_make(const char *to, const char *as)
{
	_cleanup_list_ struct list has = { 0 }, wants = { 0 };
	int r = list_of(to, &has);

	if (r == 0)
		r = list_of(as, &wants);
	for (const char *at = has.names; r == 0 && at < has.names + has.len; at += strlen(at) + 1)
		if (counts(at) && lgetxattr(as, at, NULL, 0) < 0)
			r = errno != ENODATA || lremovexattr(to, at) < 0 ? -errno : 0;
	for (const char *at = wants.names; r == 0 && at < wants.names + wants.len; at += strlen(at) + 1) {
		ssize_t n;

		if (!counts(at))
			continue;
		r = same_value(&wants, at, to, as);
		if (r)
			r = MIN(r, 0);
		else if ((n = lgetxattr(as, at, wants.a, PLY_XATTR_VALUE_MAX)) < 0 || lsetxattr(to, at, wants.a, (size_t)n, 0) < 0)
			r = -errno;
	}
	return r;
}

/* Those of @of, as @is has them. */
static int are_between(const char *of, const char *is, const char *a, const char *b)
{
	_cleanup_list_ struct list l = { 0 };
	int r = list_of(of, &l), same = 1;

	for (const char *at = l.names; r == 0 && same && at < l.names + l.len; at += strlen(at) + 1) {
		if (!counts(at))
			continue;
		same = same_value(&l, at, is, a);
		if (same == 0)
			same = same_value(&l, at, is, b);
		r = MIN(same, 0);
	}
	return r < 0 ? r : same;
}

int attrs_between(const char *is, const char *a, const char *b)
{
	const char *const all[] = { is, a, b };
	int r = 1;

	for (size_t i = 0; r == 1 && i < ARRAY_SIZE(all); i++)
		r = are_between(all[i], is, a, b);
	return r;
}

/* --- carriers -------------------------------------------------------------------------------------- */

static int remove_counted(const char *path)
{
	_cleanup_list_ struct list has = { 0 };
	int r = list_of(path, &has);

	for (const char *at = has.names; r == 0 && at < has.names + has.len; at += strlen(at) + 1)
		if (counts(at) && lremovexattr(path, at) < 0)
			r = -errno;
	return r;
}

int attrs_carrier(int dir, const char *name, const char *from, uint32_t mode, struct ply_view *view, uint64_t ino,
		  const struct idmap *ids, bool lossy, struct ply_err *err)
{
	_cleanup_close_ int fd = statedir_make(dir, name, 0700);
	char to[64];
	int r = MIN(fd, 0);

	err->code = 0;
	snprintf(to, sizeof(to), "/proc/self/fd/%d/.", fd);        /* calls with l do not follow it without the dot */
	if (r == 0 && from)
		r = attrs_copy(from, to);
	if (r == 0 && view)
		r = remove_counted(to);
	if (r == 0 && view)
		r = attrs_of_view(view, ino, ids, lossy, to, err);
	return r == 0 && fchmod(fd, mode & 07777) < 0 ? -errno : r;
}
