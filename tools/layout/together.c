/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/together.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/inroot.h"
#include "base/util.h"
#include "plyfs/disk.h"

#define ADDING_MAX ((size_t)1 << 20)

int together_begin(const struct update *u, const char *const *names, size_t n)
{
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_close_ int fd = -1;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = buf_add(&text, names[i], strlen(names[i]) + 1);
	if (r < 0)
		return r;
	/* whole, or not there */
	unlinkat(u->dir, "adding.new", 0);
	fd = openat(u->dir, "adding.new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : pwrite_full(fd, text.data, text.len, 0);
	if (r == 0 && u->o->sync && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat2(u->dir, "adding.new", u->dir, "adding", RENAME_NOREPLACE) < 0)
		r = -errno;
	return r == 0 && u->o->sync && fsync(u->dir) < 0 ? -errno : r;
}

int together_read(const struct update *u, struct together *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = u->dir < 0 ? -ENOENT : inroot_read_at(u->dir, "adding", ADDING_MAX, &text);

	*ret = (struct together){ 0 };
	if (r == -ENOENT)
		return 0;
	if (r < 0 || !text.len || text.data[text.len - 1])
		return ply_fail(err, r < 0 ? r : -EUCLEAN, PLY_R_STATE_DAMAGED, "%s/var/lib/plyfs/adding: is no list of components",
				u->target.path);
	for (const char *at = (char *)text.data; at < (char *)text.data + text.len; at += strlen(at) + 1) {
		char **v = realloc(ret->names, (ret->n + 1) * sizeof(*v));

		if (v)
			ret->names = v;
		if (!v || !(ret->names[ret->n] = strdup(at)))
			return ply_fail_nomem(err);
		ret->n++;
		if (!*at || strchr(at, '/') || *at == '.')
			return ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "%s/var/lib/plyfs/adding: has a name of no component",
					u->target.path);
	}
	return 0;
}

void together_done(struct together *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->names[i]);
	free(t->names);
	*t = (struct together){ 0 };
}

int together_end(const struct update *u)
{
	if (u->dir < 0 || (unlinkat(u->dir, "adding", 0) < 0 && errno == ENOENT))
		return 0;
	return u->o->sync && fsync(u->dir) < 0 ? -errno : 0;
}

bool together_has(const struct update *u, const char *name)
{
	char path[8 + PLY_SUB_NAME_MAX];

	if (strlen(name) > PLY_SUB_NAME_MAX)
		return false;
	snprintf(path, sizeof(path), "done/%s", name);
	return faccessat(u->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
