/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/kept.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/inroot.h"
#include "base/util.h"

void kept_done(struct kept *k)
{
	for (size_t i = 0; i < k->n; i++)
		changes_done(&k->v[i]);
	free(k->v);
	changes_done(&k->dirs);
	*k = (struct kept){ 0 };
}

/* --- reading ------------------------------------------------------------------------------ */

/* Names a file of the state, as all that is told of it begins. What is missing there, or is none, is damage; what the disk, or
 * memory, refuses is not. */
static int fail(int code, const char *path, const char *name, const char *what, struct ply_err *err)
{
	static const int damage[] = { -ENOENT, -ENOTDIR, -ELOOP, -EINVAL, -EFBIG };

	for (size_t i = 0; i < ARRAY_SIZE(damage); i++)
		if (code == damage[i])
			code = -EUCLEAN;
	return ply_fail(err, code, PLY_R_STATE_DAMAGED, "%s/var/lib/plyfs/%s: %s", path, name, what);
}

/* @file in @dir; @name is what it is called for people. -ENOENT, not told: it is not there. */
static int read_table(int dir, const char *file, const char *path, const char *name, struct changes *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r = inroot_read_at(dir, file, CHANGES_MAX, &bytes);

	if (r == -ENOENT)
		return r;
	if (r < 0)
		return fail(r, path, name, r == -EINVAL ? "is no ordinary file" : strerror(-r), err);
	r = changes_decode(bytes.data, bytes.len, ret, err);
	if (r < 0)
		ply_err_prefix(err, "%s/var/lib/plyfs/%s", path, name);
	return r;
}

/* Of component @name, in the open directory merge. -ENOENT, not told: there is none. *ret is set on success. */
static int read_component(int merge, const char *path, const char *name, struct changes *ret, struct ply_err *err)
{
	_cleanup_close_ int dir = openat(merge, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char shown[sizeof("merge//table") + PLY_NAME_MAX];
	struct changes c = { 0 };
	int r;

	snprintf(shown, sizeof(shown), "merge/%s/table", name);
	if (dir < 0)
		return errno == ENOENT ? -ENOENT : fail(-errno, path, shown, strerror(errno), err);
	r = read_table(dir, "table", path, shown, &c, err);
	if (r < 0)
		return r == -ENOENT ? fail(r, path, shown, "is not there", err) : r;
	if (c.nnames == 1 && !strcmp(c.names[0], name) && c.kind == CHANGES_ADD) {
		*ret = c;
		return 0;
	}
	changes_done(&c);
	return fail(-EUCLEAN, path, shown, "is about something else", err);
}

/* -1: there is none. */
static int open_merge(int state, const char *path, int *ret, struct ply_err *err)
{
	*ret = openat(state, "merge", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret >= 0 || errno == ENOENT ? 0 : fail(-errno, path, "merge", strerror(errno), err);
}

int kept_read_one(int state, const char *path, const char *name, struct changes *ret, struct ply_err *err)
{
	_cleanup_close_ int merge = -1;
	int r = open_merge(state, path, &merge, err);

	return r < 0 ? r : merge < 0 ? -ENOENT : read_component(merge, path, name, ret, err);
}

static int read_components(struct kept *k, int merge, const char *path, struct ply_err *err)
{
	DIR *d = fdopendir(merge);
	const struct dirent *de;
	int r = 0;

	if (!d) {
		r = -errno;
		close(merge);
		return fail(r, path, "merge", strerror(-r), err);
	}
	while (r == 0 && (de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (array_grow(&k->v, &k->cap, k->n + 1, sizeof(*k->v)) < 0) {
			r = ply_fail_nomem(err);
			break;
		}
		r = read_component(merge, path, de->d_name, &k->v[k->n], err);
		k->n += r == 0;
		if (r == -ENOENT)          /* gone since it was listed */
			r = 0;
	}
	closedir(d);
	return r;
}

int kept_read(int state, const char *path, struct kept *ret, struct ply_err *err)
{
	int merge, r = open_merge(state, path, &merge, err);

	*ret = (struct kept){ 0 };
	if (r == 0 && merge >= 0)
		r = read_components(ret, merge, path, err);
	if (r < 0)
		return r;
	r = read_table(state, "dirs", path, "dirs", &ret->dirs, err);
	if (r == -ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && i < ret->dirs.n; i++)
		if (ret->dirs.v[i].kind != CHANGE_KEEP)
			r = fail(-EUCLEAN, path, "dirs", "has something else than what stays", err);
	return r;
}

/* --- asking ------------------------------------------------------------------------------------ */

const struct changes *kept_find(const struct kept *k, const char *name)
{
	for (size_t i = 0; i < k->n; i++)
		if (!strcmp(k->v[i].names[0], name))
			return &k->v[i];
	return NULL;
}

const struct change *kept_next(const struct kept *k, const char *path, const char *but, size_t *at, const char **ret_name)
{
	while (*at < k->n) {
		const struct changes *c = &k->v[(*at)++];
		const struct change *row = strcmp(c->names[0], but) ? changes_find(c, path) : NULL;

		*ret_name = c->names[0];
		if (row)
			return row;
	}
	return NULL;
}

bool kept_has(const struct kept *k, const char *path, const char *but)
{
	for (size_t i = 0; i < k->n; i++) {
		const struct change *row = changes_find(&k->v[i], path);

		if (row && row->after.mode && strcmp(k->v[i].names[0], but) != 0)
			return true;
	}
	return false;
}

bool kept_makes(const struct kept *k, const char *path, const char *but)
{
	for (size_t i = 0; i < k->n; i++) {
		const struct change *row = changes_find(&k->v[i], path);

		if (row && row->kind == CHANGE_MAKE && strcmp(k->v[i].names[0], but) != 0)
			return true;
	}
	return false;
}

/* --- what requires what ------------------------------------------------------------------------ */

static bool is_listed(const char *const *names, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(names[i]) == len && !memcmp(names[i], name, len))
			return true;
	return false;
}

static bool is_done(int state, const char *name, size_t len)
{
	char path[8 + PLY_SUB_NAME_MAX];

	if (len > PLY_SUB_NAME_MAX)
		return false;
	memcpy(path, "done/", 5);
	memcpy(path + 5, name, len);
	path[5 + len] = '\0';
	return faccessat(state, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Is one of @names in "a|b", and none of the others there? */
static bool misses(const char *entry, int state, const char *const *names, size_t n)
{
	bool goes = false;

	for (const char *at = entry;; at++) {
		size_t len = strcspn(at, "|");

		if (is_listed(names, n, at, len))
			goes = true;
		else if (is_done(state, at, len))
			return false;
		at += len;
		if (!*at)
			return goes;
	}
}

int kept_check_required(const struct kept *k, int state, const char *path, const char *const *names, size_t n,
			struct ply_err *err)
{
	for (size_t i = 0; i < k->n; i++) {
		const struct changes *c = &k->v[i];

		for (size_t j = 0; j < c->nrequires && !is_listed(names, n, c->names[0], strlen(c->names[0])); j++)
			if (misses(c->requires[j], state, names, n))
				return ply_fail(err, -ENOTEMPTY, PLY_R_COMPONENT_NEEDED,
						"%s: component %s is there, and requires %s; take it out too (--remove %s)", path,
						c->names[0], c->requires[j], c->names[0]);
	}
	return 0;
}

static bool requires(const struct kept *k, const char *who, const char *whom)
{
	const struct changes *c = kept_find(k, who);

	for (size_t i = 0; c && i < c->nrequires; i++)
		if (misses(c->requires[i], -1, &whom, 1))
			return true;
	return false;
}

void kept_order(const struct kept *k, const char **names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t first = i;

		/* the first that no other requires; those that require one another stay as they stand */
		for (size_t j = i; j < n && first == i; j++) {
			bool needed = false;

			for (size_t o = i; o < n && !needed; o++)
				needed = o != j && requires(k, names[o], names[j]);
			if (!needed && j == i)
				break;
			if (!needed)
				first = j;
		}
		for (const char *name = names[first]; first > i; first--) {
			names[first] = names[first - 1];
			names[first - 1] = name;
		}
	}
}

/* Is @name one of those in "a|b"? */
static bool is_one_of(const char *alternatives, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = alternatives; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		if (!strncmp(at, name, len) && (at[len] == '|' || !at[len]))
			return true;
	return false;
}

bool kept_is_in(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static bool is_required(const struct kept *k, const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < k->n; i++) {
		const struct changes *c = &k->v[i];

		for (size_t q = 0; q < c->nrequires && !kept_is_in(names, n, c->names[0]); q++)
			if (is_one_of(c->requires[q], name))
				return true;
	}
	return false;
}

void kept_add_needless(const struct kept *k, const char **names, size_t *n)
{
	for (size_t before = SIZE_MAX; before != *n;) {
		before = *n;
		for (size_t i = 0; i < k->n; i++) {
			const char *name = k->v[i].names[0];

			if (strchr(name, '+') && !kept_is_in(names, *n, name) && !is_required(k, names, *n, name))
				names[(*n)++] = name;
		}
	}
}
