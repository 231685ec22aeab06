/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two trees, compared in everything that a program can see: names, types, modes, owners, links, sizes, device numbers, xattrs, content,
 * targets of symlinks, which names are one file. Times are compared where one of them is older than the run: that was set, or
 * never touched; atimes, which readers change, where they are as old as only those that were set. d_type and d_ino of each name must be those of its inode.
 *
 * Both are walked by descriptors, so that no path is too long and no symlink is followed.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SHOWN 20u               /* differences */
#define XATTRS (64u << 10)
#define LINKED "linked otherwise"

struct pair {                   /* inodes of one name */
	uint64_t ino[SIDES];
};

struct walk {
	struct timespec start;
	unsigned differences;
	char path[64 * 1024];
	size_t len;
	struct pair *pairs;     /* of files with several names */
	size_t npairs, room;
};

static void differs(struct walk *w, const char *what, int64_t a, int64_t b)
{
	char path[1024];
	if (w->differences++ < SHOWN)
		printf("# %s: %s: %lld, of the model %lld\n", escaped(path, sizeof(path), w->len ? w->path : "/"), what, (long long)a, (long long)b);
}

void listing_add(struct listing *l, const struct dirent *d, long cookie)
{
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 32;
		l->entries = realloc(l->entries, l->room * sizeof(*l->entries));
		if (!l->entries)
			die("realloc");
	}
	struct listing_entry *e = &l->entries[l->n++];
	*e = (struct listing_entry){ strdup(d->d_name), d->d_ino, cookie, d->d_type };
	if (!e->name)
		die("strdup");
}

void listing_free(struct listing *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->entries[i].name);
	free(l->entries);
	*l = (struct listing){ 0 };
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listing_entry *)a)->name, ((const struct listing_entry *)b)->name);
}

static struct listing listed(int fd)
{
	struct listing l = { 0 };
	DIR *dir = fdopendir(dup(fd));
	if (!dir)
		die("fdopendir");
	errno = 0;
	for (struct dirent *d; (d = readdir(dir)); errno = 0)
		if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
			listing_add(&l, d, 0);
	if (errno)
		die("readdir");
	closedir(dir);
	if (l.n)
		qsort(l.entries, l.n, sizeof(*l.entries), by_name);
	return l;
}

static bool before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static void compare_stat(struct walk *w, const struct stat st[SIDES])
{
	const struct stat *a = &st[0], *b = &st[1];
	if (a->st_mode != b->st_mode)
		differs(w, "mode", a->st_mode, b->st_mode);
	if (a->st_uid != b->st_uid)
		differs(w, "owner", a->st_uid, b->st_uid);
	if (a->st_gid != b->st_gid)
		differs(w, "group", a->st_gid, b->st_gid);
	if (a->st_nlink != b->st_nlink)
		differs(w, "links", (int64_t)a->st_nlink, (int64_t)b->st_nlink);
	if (!S_ISDIR(b->st_mode) && a->st_size != b->st_size)
		differs(w, "size", a->st_size, b->st_size);
	if ((S_ISCHR(b->st_mode) || S_ISBLK(b->st_mode)) && a->st_rdev != b->st_rdev)
		differs(w, "device", (int64_t)a->st_rdev, (int64_t)b->st_rdev);
	if ((before(&a->st_mtim, &w->start) || before(&b->st_mtim, &w->start)) && !same_time(&a->st_mtim, &b->st_mtim))
		differs(w, "mtime", a->st_mtim.tv_sec, b->st_mtim.tv_sec);
	if ((a->st_atim.tv_sec < LONG_AGO || b->st_atim.tv_sec < LONG_AGO) && !same_time(&a->st_atim, &b->st_atim))
		differs(w, "atime", a->st_atim.tv_sec, b->st_atim.tv_sec);
}

static void compare_content(struct walk *w, const int dirs[SIDES], const char *name)
{
	static char data[SIDES][1 << 16];
	int fd[SIDES];
	for (unsigned s = 0; s < SIDES; s++)
		fd[s] = openat(dirs[s], name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd[0] < 0 || fd[1] < 0)
		differs(w, "cannot be opened", fd[0], fd[1]);
	for (int64_t at = 0; fd[0] >= 0 && fd[1] >= 0;) {
		ssize_t n[SIDES];
		for (unsigned s = 0; s < SIDES; s++)
			n[s] = pread(fd[s], data[s], sizeof(data[s]), at);
		if (n[0] != n[1]) {
			differs(w, "bytes that can be read", n[0], n[1]);
			break;
		}
		if (n[0] <= 0)
			break;
		if (memcmp(data[0], data[1], (size_t)n[0])) {
			ssize_t i = 0;
			while (data[0][i] == data[1][i])
				i++;
			differs(w, "content from this byte on", at + i, at + i);
			differs(w, "content", (unsigned char)data[0][i], (unsigned char)data[1][i]);
			break;
		}
		at += n[0];
	}
	for (unsigned s = 0; s < SIDES; s++)
		if (fd[s] >= 0)
			close(fd[s]);
}

static void compare_target(struct walk *w, const int dirs[SIDES], const char *name)
{
	char to[SIDES][PATH_MAX + 1];
	ssize_t n[SIDES];
	for (unsigned s = 0; s < SIDES; s++)
		n[s] = readlinkat(dirs[s], name, to[s], sizeof(to[s]));
	if (n[0] != n[1] || (n[0] > 0 && memcmp(to[0], to[1], (size_t)n[0])))
		differs(w, "target", n[0], n[1]);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names with values, sorted, as one hash; the number of them. */
static int64_t xattrs_of(const char *path, uint64_t *hash)
{
	static char names[XATTRS], value[XATTRS];
	ssize_t size = llistxattr(path, names, sizeof(names));
	if (size < 0)
		return -errno;
	char *sorted[1024];
	unsigned n = 0;
	for (char *p = names; p < names + size && n < 1024; p += strlen(p) + 1)
		sorted[n++] = p;
	qsort(sorted, n, sizeof(*sorted), by_text);
	for (unsigned i = 0; i < n; i++) {
		ssize_t len = lgetxattr(path, sorted[i], value, sizeof(value));
		*hash = hashed(sorted[i], strlen(sorted[i]) + 1, *hash);
		*hash = hashed(&len, sizeof(len), *hash);
		if (len > 0)
			*hash = hashed(value, (size_t)len, *hash);
	}
	return n;
}

static void compare_xattrs(struct walk *w, const int dirs[SIDES], const char *name)
{
	uint64_t hash[SIDES] = { 0 };
	int64_t n[SIDES];
	for (unsigned s = 0; s < SIDES; s++) {
		char path[PATH_MAX];
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirs[s], name);
		n[s] = xattrs_of(path, &hash[s]);
	}
	if (n[0] != n[1])
		differs(w, "number of xattrs", n[0], n[1]);
	else if (hash[0] != hash[1])
		differs(w, "xattrs", (int64_t)hash[0], (int64_t)hash[1]);
}

static void pair_add(struct walk *w, uint64_t a, uint64_t b)
{
	if (w->npairs == w->room) {
		w->room = w->room ? 2 * w->room : 256;
		w->pairs = realloc(w->pairs, w->room * sizeof(*w->pairs));
		if (!w->pairs)
			die("realloc");
	}
	w->pairs[w->npairs++] = (struct pair){ { a, b } };
}

static int by_first(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	return x->ino[0] != y->ino[0] ? (x->ino[0] < y->ino[0] ? -1 : 1) : (x->ino[1] > y->ino[1]) - (x->ino[1] < y->ino[1]);
}

static int by_second(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	return x->ino[1] != y->ino[1] ? (x->ino[1] < y->ino[1] ? -1 : 1) : (x->ino[0] > y->ino[0]) - (x->ino[0] < y->ino[0]);
}

/* The same names are one file on both sides where inode numbers go together one by one. */
static void compare_links(struct walk *w)
{
	w->len = 0;
	for (unsigned s = 0; s < SIDES; s++) {
		if (w->npairs)
			qsort(w->pairs, w->npairs, sizeof(*w->pairs), s ? by_second : by_first);
		for (size_t i = 1; i < w->npairs; i++)
			if (w->pairs[i].ino[s] == w->pairs[i - 1].ino[s] && w->pairs[i].ino[!s] != w->pairs[i - 1].ino[!s])
				differs(w, LINKED, (int64_t)w->pairs[i].ino[0], (int64_t)w->pairs[i].ino[1]);
	}
}

static void compare_directory(struct walk *w, const int fds[SIDES]);

static void compare_entry(struct walk *w, const int dirs[SIDES], const struct listing_entry *const entry[SIDES])
{
	const char *name = entry[1]->name;
	struct stat st[SIDES];
	for (unsigned s = 0; s < SIDES; s++) {
		if (fstatat(dirs[s], name, &st[s], AT_SYMLINK_NOFOLLOW)) {
			differs(w, s ? "of the model, is listed and not there" : "is listed and not there", errno, 0);
			return;
		}
		if (entry[s]->ino != st[s].st_ino)
			differs(w, "d_ino, st_ino", (int64_t)entry[s]->ino, (int64_t)st[s].st_ino);
		if (entry[s]->type != DT_UNKNOWN && entry[s]->type != IFTODT(st[s].st_mode))
			differs(w, "d_type, st_mode", entry[s]->type, st[s].st_mode);
	}
	known_add(w->path, IFTODT(st[1].st_mode));
	compare_stat(w, st);
	compare_xattrs(w, dirs, name);
	if ((st[0].st_mode ^ st[1].st_mode) & S_IFMT)
		return;
	if (!S_ISDIR(st[1].st_mode) && st[1].st_nlink > 1)
		pair_add(w, st[0].st_ino, st[1].st_ino);
	if (S_ISREG(st[1].st_mode))
		compare_content(w, dirs, name);
	else if (S_ISLNK(st[1].st_mode))
		compare_target(w, dirs, name);
	else if (S_ISDIR(st[1].st_mode)) {
		int fds[SIDES];
		for (unsigned s = 0; s < SIDES; s++)
			fds[s] = openat(dirs[s], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fds[0] < 0 || fds[1] < 0)
			differs(w, "cannot be opened", fds[0], fds[1]);
		else
			compare_directory(w, fds);
		for (unsigned s = 0; s < SIDES; s++)
			if (fds[s] >= 0)
				close(fds[s]);
	}
}

static void compare_directory(struct walk *w, const int fds[SIDES])
{
	struct listing l[SIDES] = { listed(fds[0]), listed(fds[1]) };
	size_t len = w->len;
	for (unsigned i = 0, k = 0; i < l[0].n || k < l[1].n;) {
		const struct listing_entry *e[SIDES] = { i < l[0].n ? &l[0].entries[i] : NULL, k < l[1].n ? &l[1].entries[k] : NULL };
		int order = !e[0] ? 1 : !e[1] ? -1 : strcmp(e[0]->name, e[1]->name);
		const char *name = order < 0 ? e[0]->name : e[1]->name;
		int n = snprintf(w->path + len, sizeof(w->path) - len, "/%s", name);
		w->len = len + (size_t)n;
		if (n < 0 || w->len >= sizeof(w->path))
			die("the tree is too deep");
		if (order)
			differs(w, "names of it in the directory", order < 0, order > 0);
		else
			compare_entry(w, fds, e);
		i += order <= 0;
		k += order >= 0;
		w->len = len;
		w->path[len] = '\0';
	}
	listing_free(&l[0]);
	listing_free(&l[1]);
}

unsigned trees_differ(const char *const paths[SIDES], const struct timespec *start)
{
	static struct walk w;
	w = (struct walk){ .start = *start };
	int fds[SIDES];
	struct stat st[SIDES];
	for (unsigned s = 0; s < SIDES; s++) {
		fds[s] = open(paths[s], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fds[s] < 0 || fstat(fds[s], &st[s]))
			die(paths[s]);
	}
	known_clear();
	known_add("/", DT_DIR);
	compare_stat(&w, st);
	compare_xattrs(&w, fds, ".");
	compare_directory(&w, fds);
	compare_links(&w);
	for (unsigned s = 0; s < SIDES; s++)
		close(fds[s]);
	free(w.pairs);
	return w.differences;
}
