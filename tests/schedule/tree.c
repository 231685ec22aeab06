/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See tree.h. */
#include "schedule/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"

#define XATTRS_MAX 65536u

struct names {
	char **v;
	size_t n, cap;
};

struct linked {
	ino_t ino;
	char *path;                /* the first in the order of names */
};

struct walk {
	struct buf lines;
	struct buf path;           /* from the root of the tree, with a NUL behind it */
	struct buf content;
	struct linked *links;
	size_t nlinks, links_cap;
};

static void die(const char *what, const char *path)
{
	fprintf(stderr, "schedule: %s: %s: %s\n", path, what, strerror(errno));
	abort();
}

static void check(int r)
{
	if (r < 0)
		die("no memory", "");
}

/* --- one file ----------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names and values of all, sorted, as one number. */
static uint64_t xattrs_of(const struct walk *w, int dir, const char *name)
{
	static char list[XATTRS_MAX], value[XATTRS_MAX];
	char path[64 + NAME_MAX], *names[256];
	uint64_t h = 0;
	ssize_t len;
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	len = llistxattr(path, list, sizeof(list));
	if (len < 0 && errno != EOPNOTSUPP)
		die("xattrs", (char *)w->path.data);
	for (ssize_t at = 0; at < len && n < ARRAY_SIZE(names); at += (ssize_t)strlen(list + at) + 1)
		names[n++] = list + at;
	qsort(names, n, sizeof(*names), by_text);
	for (size_t i = 0; i < n; i++) {
		ssize_t size = lgetxattr(path, names[i], value, sizeof(value));

		if (size < 0)
			die(names[i], (char *)w->path.data);
		h = xxh3(names[i], strlen(names[i]) + 1, h);
		h = xxh3(value, (size_t)size, h);
	}
	return h;
}

/* Where data begins and ends. */
static uint64_t holes_of(const struct walk *w, int fd, off_t size)
{
	uint64_t h = 1;

	for (off_t at = 0; at < size;) {
		off_t data = lseek(fd, at, SEEK_DATA), end;

		if (data < 0 && errno == ENXIO)
			break;
		end = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (end < 0)
			die("where its holes are", (char *)w->path.data);
		h = xxh3((off_t[]){ data, end }, 2 * sizeof(off_t), h);
		at = end;
	}
	return h;
}

static uint64_t content_of(struct walk *w, int dir, const char *name, const struct stat *st)
{
	size_t size = (size_t)st->st_size;
	uint64_t h;
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);

	if (fd < 0)
		die("open", (char *)w->path.data);
	w->content.len = 0;
	check(buf_reserve(&w->content, size + 1));
	if (pread_full(fd, w->content.data, size, 0) < 0)
		die("read", (char *)w->path.data);
	h = xxh3(w->content.data, size, 0);
	if ((uint64_t)st->st_blocks * 512 < size)
		h ^= holes_of(w, fd, st->st_size);
	close(fd);
	return h;
}

static const char *first_of_links(struct walk *w, const struct stat *st)
{
	for (size_t i = 0; i < w->nlinks; i++)
		if (w->links[i].ino == st->st_ino)
			return w->links[i].path;
	check(array_grow(&w->links, &w->links_cap, w->nlinks + 1, sizeof(*w->links)));
	w->links[w->nlinks] = (struct linked){ st->st_ino, strdup((char *)w->path.data) };
	return w->links[w->nlinks++].path;
}

/* @name in @dir, whose path is w->path. */
static void add_line(struct walk *w, int dir, const char *name, const struct stat *st)
{
	bool linked = !S_ISDIR(st->st_mode) && st->st_nlink > 1;
	const char *path = (char *)w->path.data;
	uint64_t content = 0;
	char target[4096];

	if (S_ISREG(st->st_mode)) {
		content = content_of(w, dir, name, st);
	} else if (S_ISLNK(st->st_mode)) {
		ssize_t n = readlinkat(dir, name, target, sizeof(target));

		if (n < 0)
			die("readlink", path);
		content = xxh3(target, (size_t)n, 0);
	}
	check(buf_printf(&w->lines, "%s %o %u:%u %lld.%09ld %lld %llx %s xattrs %016" PRIx64 " content %016" PRIx64
			 "\n", path, st->st_mode, st->st_uid, st->st_gid, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
			 S_ISDIR(st->st_mode) ? 0 : (long long)st->st_size, (unsigned long long)st->st_rdev,
			 linked ? first_of_links(w, st) : "-", xattrs_of(w, dir, name), content));
}

/* --- all of them --------------------------------------------------------------------------- */

static void list(int fd, const char *path, struct names *ret)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	const struct dirent *de;

	*ret = (struct names){ 0 };
	if (!d)
		die("list", path);
	while ((de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		check(array_grow(&ret->v, &ret->cap, ret->n + 1, sizeof(*ret->v)));
		ret->v[ret->n++] = strdup(de->d_name);
	}
	closedir(d);
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_text);
}

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
}

static void set_path(struct walk *w, size_t len, const char *name)
{
	w->path.len = len;
	check(buf_printf(&w->path, "/%s", name));
}

static void walk(struct walk *w, int fd)
{
	size_t len = w->path.len;
	struct names names;

	list(fd, len ? (char *)w->path.data : "/", &names);
	for (size_t i = 0; i < names.n; i++) {
		struct stat st;
		int below;

		set_path(w, len, names.v[i]);
		if (!strcmp((char *)w->path.data, "/var/lib/plyfs"))
			continue;
		if (fstatat(fd, names.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			die("stat", (char *)w->path.data);
		add_line(w, fd, names.v[i], &st);
		if (!S_ISDIR(st.st_mode))
			continue;
		below = openat(fd, names.v[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below < 0)
			die("open", (char *)w->path.data);
		walk(w, below);
		close(below);
	}
	names_done(&names);
	w->path.len = len;
}

struct buf tree_lines(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct walk w = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("open", path);
	set_path(&w, 0, "");
	add_line(&w, fd, ".", &st);
	w.path.len = 0;
	walk(&w, fd);
	close(fd);
	buf_done(&w.path);
	buf_done(&w.content);
	for (size_t i = 0; i < w.nlinks; i++)
		free(w.links[i].path);
	free(w.links);
	return w.lines;
}

static void remove_below(int fd, const char *path)
{
	struct names names;

	list(fd, path, &names);
	for (size_t i = 0; i < names.n; i++) {
		int below;

		if (unlinkat(fd, names.v[i], 0) == 0)
			continue;
		below = errno == EISDIR ? openat(fd, names.v[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
		if (below < 0)
			die(names.v[i], path);
		remove_below(below, path);
		close(below);
		if (unlinkat(fd, names.v[i], AT_REMOVEDIR) < 0)
			die(names.v[i], path);
	}
	names_done(&names);
}

void tree_remove(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die("open", path);
	remove_below(fd, path);
	close(fd);
	if (rmdir(path) < 0)
		die("rmdir", path);
}
