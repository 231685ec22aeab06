/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Libraries and interpreters of a target, looked for as its own loader would: ld.so.cache, then the directories
 * that are built in. ld.so.conf is not read, since the loader does not either. A file counts if its class, byte order
 * and machine are the program's; which symbols it has is not looked at.
 *
 * Everything is opened as if the target were "/" (base/inroot.h), and only regular files are. What was found or
 * not under a name is remembered: thousands of programs ask for the same libraries.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/inroot.h"
#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"
#include "layout/needs.h"
#include "merge/ldcache.h"

#define CACHE_MAX   ((size_t)32 << 20)
#define ENTRIES_MAX (1u << 20)
#define TRIES_MAX   32u            /* of one name in a cache: its architectures and hwcaps */

struct entry {
	const char *name, *path;   /* in a text of caches */
};

struct answer {
	char *name;
	struct elf_kind kind;
	int there;
};

struct needs_root {
	int root;
	struct buf *texts;         /* of caches: the target's first */
	size_t ntexts, texts_cap;
	struct entry *entries;     /* by name, then in the order of the search */
	size_t nentries, entries_cap;
	needs_brings_fn *brings;
	void *ctx;
	struct answer *answers;
	size_t nanswers, answers_cap;
	struct map by_name;        /* of answers */
};

/* --- caches --------------------------------------------------------------------------- */

static int add_entry(void *ctx, const char *name, const char *path)
{
	struct needs_root *r = ctx;

	if (r->nentries >= ENTRIES_MAX)
		return -EUCLEAN;
	if (array_grow(&r->entries, &r->entries_cap, r->nentries + 1, sizeof(*r->entries)) < 0)
		return -ENOMEM;
	r->entries[r->nentries++] = (struct entry){ name, path };
	return 0;
}

/* Texts may lie anywhere in memory, so the order of the search is that of the array before it is sorted: stable. */
static void merge_sort(struct entry *v, struct entry *tmp, size_t n)
{
	size_t half = n / 2, i = 0, j = half;

	if (n < 2)
		return;
	merge_sort(v, tmp, half);
	merge_sort(v + half, tmp, n - half);
	for (size_t k = 0; k < n; k++)
		tmp[k] = j == n || (i < half && strcmp(v[i].name, v[j].name) <= 0) ? v[i++] : v[j++];
	memcpy(v, tmp, n * sizeof(*v));
}

int needs_root_cache(struct needs_root *r, const void *text, size_t len)
{
	size_t before = r->nentries;
	struct buf copy = { 0 };
	struct entry *tmp;
	int e;

	if (len > CACHE_MAX)
		return 1;
	if (buf_reserve(&copy, len + 1) < 0)
		return -ENOMEM;
	if (len)
		buf_add(&copy, text, len);
	if (array_grow(&r->texts, &r->texts_cap, r->ntexts + 1, sizeof(*r->texts)) < 0) {
		buf_done(&copy);
		return -ENOMEM;
	}
	r->texts[r->ntexts++] = copy;
	e = ldcache_each(copy.data, copy.len, add_entry, r);
	if (e < 0) {
		r->nentries = before;
		return e == -ENOMEM ? e : 1;
	}
	tmp = calloc(r->nentries + 1, sizeof(*tmp));
	if (!tmp)
		return -ENOMEM;
	merge_sort(r->entries, tmp, r->nentries);
	free(tmp);
	return 0;
}

/* The first of its name. */
static size_t find_entry(const struct needs_root *r, const char *name)
{
	size_t lo = 0, hi = r->nentries;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(r->entries[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* --- life ------------------------------------------------------------------------------ */

int needs_root_open(int root, struct needs_root **ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct needs_root *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return ply_fail_nomem(err);
	r->root = root;
	e = inroot_read(root, "etc/ld.so.cache", CACHE_MAX, &text);
	if (e == 0)
		e = needs_root_cache(r, text.data, text.len);
	if (e == -ENOMEM) {
		needs_root_close(r);
		return ply_fail_nomem(err);
	}
	*ret = r;
	return 0;
}

struct needs_root *needs_root_close(struct needs_root *r)
{
	if (!r)
		return NULL;
	for (size_t i = 0; i < r->ntexts; i++)
		buf_done(&r->texts[i]);
	for (size_t i = 0; i < r->nanswers; i++)
		free(r->answers[i].name);
	free(r->texts);
	free(r->entries);
	free(r->answers);
	map_done(&r->by_name);
	free(r);
	return NULL;
}

void needs_root_brings(struct needs_root *r, needs_brings_fn *fn, void *ctx)
{
	r->brings = fn;
	r->ctx = ctx;
}

/* --- looking --------------------------------------------------------------------------- */

static int read_file(void *ctx, uint64_t off, void *buf, size_t len)
{
	return off > INT64_MAX / 2 ? -EIO : pread_full(*(const int *)ctx, buf, len, off);
}

/* A descriptor of the regular file, -errno. A device is not opened to find out that it is one. */
static int open_file(const struct needs_root *r, const char *path)
{
	struct stat st;
	int fd = inroot_open(r->root, path, O_PATH);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		st.st_mode = 0;
	close(fd);
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	fd = inroot_open(r->root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

static bool is_absence(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP || code == -EACCES || code == -ENAMETOOLONG ||
	       code == -ENXIO || code == -EXDEV;
}

static int has_at(struct needs_root *r, const char *path, const struct elf_kind *kind)
{
	int there = r->brings ? r->brings(r->ctx, path) : 0;
	_cleanup_close_ int fd = -1;
	struct elf_kind found;

	if (there)
		return there;
	fd = open_file(r, path);
	if (fd < 0)
		return is_absence(fd) ? 0 : fd;
	if (!kind)
		return 1;
	return elf_look(read_file, &fd, &found, NULL) && found.elf_class == kind->elf_class &&
	       found.data == kind->data && found.machine == kind->machine;
}

static int has_in(struct needs_root *r, const char *dir, const char *name, const struct elf_kind *kind)
{
	_cleanup_buf_ struct buf path = { 0 };

	if (buf_printf(&path, "%s%s%s", dir, strcmp(dir, "/") ? "/" : "", name) < 0)
		return -ENOMEM;
	return has_at(r, (const char *)path.data, kind);
}

static int has_program(struct needs_root *r, const char *name)
{
	static const char *const dirs[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin",
					    "/sbin", "/bin" };
	int there = 0;

	for (size_t i = 0; there == 0 && i < ARRAY_SIZE(dirs); i++)
		there = has_in(r, dirs[i], name, NULL);
	return there;
}

/* Debian's directories, then those of others; /usr/local/lib only where no cache names what is in it. */
static int has_usual(struct needs_root *r, const char *name, const struct elf_kind *kind)
{
	static const char *const dirs[] = { "/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib" };
	const char *multiarch = elf_multiarch(kind);
	int there = 0;

	for (size_t i = 0; there == 0 && i < 2 && *multiarch; i++) {
		char dir[64];

		snprintf(dir, sizeof(dir), "%s/%s", dirs[i], multiarch);
		there = has_in(r, dir, name, kind);
	}
	for (size_t i = 0; there == 0 && i < ARRAY_SIZE(dirs) - (r->nentries ? 1 : 0); i++)
		there = has_in(r, dirs[i], name, kind);
	return there;
}

static int has_library(struct needs_root *r, const char *name, const struct elf_kind *kind)
{
	int there = 0;

	if (strlen(name) > NAME_MAX)
		return 0;
	for (size_t i = find_entry(r, name), n = 0;
	     there == 0 && n < TRIES_MAX && i < r->nentries && !strcmp(r->entries[i].name, name); i++, n++)
		there = has_at(r, r->entries[i].path, kind);
	if (there == 0)
		there = has_usual(r, name, kind);
	return there == 0 && r->brings ? r->brings(r->ctx, name) : there;
}

static int ask_once(struct needs_root *r, const char *name, const struct elf_kind *kind)
{
	uint64_t h = xxh3(name, strlen(name), 0);
	struct answer a = { .kind = *kind };

	for (size_t i = map_first(&r->by_name, h); i != MAP_END; i = map_next(&r->by_name, h, i)) {
		const struct answer *old = &r->answers[r->by_name.slots[i].value];

		if (!strcmp(old->name, name) && old->kind.elf_class == kind->elf_class &&
		    old->kind.data == kind->data && old->kind.machine == kind->machine)
			return old->there;
	}
	a.there = has_library(r, name, kind);
	if (a.there < 0)
		return a.there;
	a.name = strdup(name);
	if (!a.name || array_grow(&r->answers, &r->answers_cap, r->nanswers + 1, sizeof(a)) < 0 ||
	    map_add(&r->by_name, h, r->nanswers) < 0) {
		free(a.name);
		return -ENOMEM;
	}
	r->answers[r->nanswers++] = a;
	return a.there;
}

int needs_root_has(void *ctx, const char *dir, const char *name, const struct elf_kind *kind)
{
	struct needs_root *r = ctx;

	if (dir)
		return has_in(r, dir, name, kind);
	return kind ? ask_once(r, name, kind) : has_program(r, name);
}
