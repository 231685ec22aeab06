/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/attrs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/util.h"

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
