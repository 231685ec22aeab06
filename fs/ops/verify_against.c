/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory tree against a view: bytes, names, owners, modes, times, xattrs, hard links, special
 * files and holes at 4 KiB; what a layout promises, and nothing that it cannot promise (atime and ctime,
 * inode numbers, sizes of directories).
 *
 * One thread walks both trees side by side and compares what statx(2) tells; content, targets and
 * xattrs are compared by the pool, some files of one directory at a time. Directories are opened
 * beneath the root each time: no descriptor is held for a level, so depth has no limit.
 *
 * Not compared: where something else is mounted on a directory that is empty in the view (captures
 * leave kernel and temporary file systems out), lost+found at the top of a file system, the
 * image itself, and /var/lib/plyfs with the times of the directories above it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"
#include "io/io.h"
#include "ops/findings.h"
#include "ops/verify_compare.h"

#define JOBS       64              /* constant: see verify.c */
#define BATCH      64              /* files of one job */
#define BATCH_SIZE (16u << 20)     /* and about their bytes */
#define STATE      "var/lib/plyfs"

struct pending_dir {
	char *path;                /* relative; "" is the root */
	uint64_t ino;
};

/* A file of several names, at its first. */
struct link {
	uint64_t ino;              /* in the view */
	uint64_t dev, st_ino;
	char *path;
};

struct against {
	struct ply_view *view;
	int root;
	const struct verify_options *o;
	finding_fn fn;
	void *ctx;
	struct compare_result result;
	struct findings list;
	struct pool *pool;
	struct ordered jobs;
	struct pending_dir *dirs;
	size_t ndirs, dirs_cap;
	struct link *links;
	size_t nlinks, links_cap;
	struct map by_ino, by_place;
	uint64_t image_dev, image_ino;
	bool is_whole;             /* the root is that of a mounted file system */
	bool has_state;            /* /var/lib/plyfs is there, and not in the view */
};

static uint64_t device(const struct statx *sx)
{
	return makedev(sx->stx_dev_major, sx->stx_dev_minor);
}

static int stat_at(int dirfd, const char *name, struct statx *ret)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(dirfd, name, flags, STATX_BASIC_STATS, ret) < 0 ? -errno : 0;
}

/* Count by kind what is about to be reported. */
static int flush(struct against *a, struct ply_err *err)
{
	for (size_t i = 0; i < a->list.n; i++)
		a->result.damaged += a->list.v[i].reason != PLY_R_DIFFERENT &&
				     a->list.v[i].reason != PLY_R_SYSTEM;
	return findings_report(&a->list, a->fn, a->ctx, &a->result.findings, err);
}

/* --- what stat tells ------------------------------------------------------------------ */

static void number(struct findings *l, const char *path, const char *field, uint64_t expected,
		   uint64_t found)
{
	char e[24], f[24];

	if (expected == found)
		return;
	snprintf(e, sizeof(e), "%" PRIu64, expected);
	snprintf(f, sizeof(f), "%" PRIu64, found);
	compare_differs(l, path, field, e, f);
}

static void compare_stat(struct findings *l, const char *path, const struct ply_attr *at,
			 const struct statx *sx, bool times)
{
	char e[48], f[48];

	if ((at->mode & 07777) != (sx->stx_mode & 07777u)) {
		snprintf(e, sizeof(e), "%04o", at->mode & 07777);
		snprintf(f, sizeof(f), "%04o", sx->stx_mode & 07777u);
		compare_differs(l, path, "mode", e, f);
	}
	number(l, path, "uid", at->uid, sx->stx_uid);
	number(l, path, "gid", at->gid, sx->stx_gid);
	if (times && (at->mtime_sec != sx->stx_mtime.tv_sec || at->mtime_nsec != sx->stx_mtime.tv_nsec)) {
		snprintf(e, sizeof(e), "%" PRId64 ".%09u", at->mtime_sec, at->mtime_nsec);
		snprintf(f, sizeof(f), "%" PRId64 ".%09u", (int64_t)sx->stx_mtime.tv_sec,
			 sx->stx_mtime.tv_nsec);
		compare_differs(l, path, "mtime", e, f);
	}
	if (S_ISREG(at->mode))
		number(l, path, "size", at->size, sx->stx_size);
	if ((S_ISCHR(at->mode) || S_ISBLK(at->mode)) &&
	    (at->rdev_major != sx->stx_rdev_major || at->rdev_minor != sx->stx_rdev_minor)) {
		snprintf(e, sizeof(e), "%u:%u", at->rdev_major, at->rdev_minor);
		snprintf(f, sizeof(f), "%u:%u", sx->stx_rdev_major, sx->stx_rdev_minor);
		compare_differs(l, path, "device", e, f);
	}
}

static uint64_t place_hash(uint64_t dev, uint64_t ino)
{
	const uint64_t key[] = { dev, ino };

	return xxh3(key, sizeof(key), 0);
}

/* Is this name of @ino one of the same file as the other names? *ret_known: it is, and was compared. */
static int compare_links(struct against *a, struct findings *l, const char *path,
			 const struct ply_attr *at, const struct statx *sx, bool *ret_known)
{
	uint64_t h = place_hash(device(sx), sx->stx_ino), hi = xxh3(&at->ino, sizeof(at->ino), 1);
	const struct link *by_ino = NULL, *by_place = NULL;

	*ret_known = false;
	if (at->nlink < 2 && sx->stx_nlink < 2)
		return 0;
	for (size_t i = map_first(&a->by_ino, hi); i != MAP_END && !by_ino; i = map_next(&a->by_ino, hi, i))
		if (a->links[a->by_ino.slots[i].value].ino == at->ino)
			by_ino = &a->links[a->by_ino.slots[i].value];
	for (size_t i = map_first(&a->by_place, h); i != MAP_END && !by_place;
	     i = map_next(&a->by_place, h, i)) {
		const struct link *k = &a->links[a->by_place.slots[i].value];

		if (k->dev == device(sx) && k->st_ino == sx->stx_ino)
			by_place = k;
	}
	*ret_known = by_ino && by_ino == by_place;
	if (by_ino && by_ino != by_place)
		compare_differs(l, path, "links", by_ino->path, by_place ? by_place->path : "another file");
	else if (by_place && !by_ino)
		compare_differs(l, path, "links", "another file", by_place->path);
	/* further names may lie outside of the tree, where it is no whole file system */
	if (!*ret_known && (a->is_whole || sx->stx_nlink < at->nlink))
		number(l, path, "nlink", at->nlink, sx->stx_nlink);
	if (by_ino || by_place)
		return 0;
	if (array_grow(&a->links, &a->links_cap, a->nlinks + 1, sizeof(*a->links)) < 0)
		return -ENOMEM;
	a->links[a->nlinks] = (struct link){ at->ino, device(sx), sx->stx_ino, NULL };
	if (asprintf(&a->links[a->nlinks].path, "/%s", path) < 0)
		return -ENOMEM;
	a->nlinks++;
	return map_add(&a->by_ino, hi, a->nlinks - 1) < 0 ||
	       map_add(&a->by_place, h, a->nlinks - 1) < 0 ? -ENOMEM : 0;
}

/* --- the pool's share ------------------------------------------------------------------- */

struct batch {
	struct ordered_job job;
	struct against *a;
	char *dir;
	struct compare_file files[BATCH];
	size_t n;
	uint64_t size, compared;
	struct findings list;
};

static void batch_free(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->files[i].path);
		free(b->files[i].name);
	}
	findings_done(&b->list);
	free(b->dir);
	free(b);
}

static void run_batch(struct ordered_job *job, unsigned worker)
{
	struct batch *b = (struct batch *)job;
	_cleanup_free_ uint8_t *buf = NULL;
	_cleanup_close_ int dirfd = -1;

	(void)worker;
	if (!b->n)
		return;
	buf = malloc(COMPARE_BUFFER);
	if (!buf) {
		b->list.failed = true;
		return;
	}
	dirfd = beneath_open(b->a->root, b->dir, strlen(b->dir), O_PATH);
	for (size_t i = 0; i < b->n; i++) {
		if (dirfd < 0)
			compare_failed(&b->list, b->files[i].path, "open", dirfd);
		else
			b->compared += compare_content(b->a->view, dirfd, &b->files[i], buf,
							       &b->list);
	}
}

static void retire_batch(struct ordered_job *job)
{
	struct batch *b = (struct batch *)job;
	struct against *a = b->a;

	a->result.files += b->n;
	a->result.bytes += b->compared;
	if (a->o->files)
		atomic_fetch_add(a->o->files, b->n);
	if (a->o->bytes)
		atomic_fetch_add(a->o->bytes, b->compared);
	findings_move(&a->list, &b->list);
	batch_free(b);
}

static struct batch *batch_new(struct against *a, const char *dir)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->job.run = run_batch;
	b->job.retire = retire_batch;
	b->a = a;
	b->dir = strdup(dir);
	if (!b->dir) {
		free(b);
		return NULL;
	}
	return b;
}

/* --- one directory ------------------------------------------------------------------------- */

struct name {
	char *name;
	uint64_t ino;              /* in the view */
};

struct names {
	struct name *v;
	size_t n, cap;
	bool failed;
};

static void names_done(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].name);
	free(l->v);
	*l = (struct names){ 0 };
}

static int names_add(struct names *l, const char *name, size_t len, uint64_t ino)
{
	char *copy = strndup(name, len);

	if (!copy || array_grow(&l->v, &l->cap, l->n + 1, sizeof(*l->v)) < 0) {
		free(copy);
		l->failed = true;
		return 1;
	}
	l->v[l->n++] = (struct name){ copy, ino };
	return 0;
}

static int add_dirent(void *ctx, const struct ply_dirent *de)
{
	return names_add(ctx, de->name, de->len, de->ino);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static int list_tree(int dirfd, struct names *ret)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (errno = 0, (de = readdir(dir)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 &&
		    names_add(ret, de->d_name, strlen(de->d_name), 0))
			break;
	if (!ret->failed)
		r = -errno;
	closedir(dir);
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return ret->failed ? -ENOMEM : r;
}

static int list_view(struct ply_view *view, uint64_t ino, struct names *ret, struct ply_err *err)
{
	int r = ply_view_readdir(view, ino, 0, add_dirent, ret, err);

	if (ret->failed)
		return ply_fail_nomem(err);
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return r;
}

struct walk_dir {
	struct against *a;
	const struct pending_dir *dir;
	int fd;
	struct statx sx;           /* of the directory */
	struct batch *batch;
	bool plain;                /* all names are on both sides: nlink can be compared */
	size_t first_dir;          /* of its child directories in a->dirs */
};

static char *child_path(const struct walk_dir *w, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s%s", w->dir->path, *w->dir->path ? "/" : "", name) < 0 ? NULL : path;
}

/* Is @path one of the directories above /var/lib/plyfs? */
static bool is_above_state(const char *path)
{
	return !*path || !strcmp(path, "var") || !strcmp(path, "var/lib");
}

/* Does the directory @path hold nothing but what leads to /var/lib/plyfs? */
static bool only_leads_to_state(const struct against *a, const char *path)
{
	const char *child = &STATE[strlen(path) + 1];
	_cleanup_close_ int fd = beneath_open(a->root, path, strlen(path), O_PATH);
	struct names names = { 0 };
	bool only;

	if (fd < 0 || list_tree(fd, &names) < 0) {
		names_done(&names);
		return false;
	}
	only = names.n == 1 && !strncmp(names.v[0].name, child, strlen(names.v[0].name)) &&
	       strcspn(child, "/") == strlen(names.v[0].name);
	names_done(&names);
	return only && (strchr(child, '/') ? only_leads_to_state(a, "var/lib") : true);
}

/* A name that the view does not have: is it one of those that no image has? */
static bool may_be_extra(struct walk_dir *w, const char *name, const char *path)
{
	struct against *a = w->a;
	struct statx sx;

	if (stat_at(w->fd, name, &sx) < 0)
		return false;
	if (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT) {
		a->result.skipped++;
		return true;
	}
	if (S_ISDIR(sx.stx_mode) && !strcmp(name, "lost+found") &&
	    (w->sx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return true;
	if (device(&sx) == a->image_dev && sx.stx_ino == a->image_ino)
		return true;
	if (!a->has_state)
		return false;
	return !strcmp(path, STATE) || (is_above_state(path) && only_leads_to_state(a, path));
}

static int push_dir(struct against *a, const char *path, uint64_t ino)
{
	if (array_grow(&a->dirs, &a->dirs_cap, a->ndirs + 1, sizeof(*a->dirs)) < 0)
		return -ENOMEM;
	a->dirs[a->ndirs].path = strdup(path);
	a->dirs[a->ndirs].ino = ino;
	return a->dirs[a->ndirs++].path ? 0 : -ENOMEM;
}

static int next_batch(struct walk_dir *w)
{
	if (w->batch)
		ordered_add(&w->a->jobs, &TAKE_PTR(w->batch)->job);
	w->batch = batch_new(w->a, w->dir->path);
	return w->batch ? 0 : -ENOMEM;
}

/* @path and @name are copied. */
static int add_file(struct walk_dir *w, const char *name, const char *path, const struct ply_attr *at,
		    bool content)
{
	struct batch *b = w->batch;
	struct compare_file *f = &b->files[b->n];

	*f = (struct compare_file){ .name = strdup(name), .path = strdup(path), .ino = at->ino,
				    .mode = at->mode, .size = at->size, .content = content };
	if (!f->name || !f->path) {
		free(f->name);
		free(f->path);
		return -ENOMEM;
	}
	b->n++;
	b->size += content && S_ISREG(at->mode) ? 512 * at->blocks : 0;
	return b->n == BATCH || b->size > BATCH_SIZE ? next_batch(w) : 0;
}

/* Is the directory @ino empty in the view? */
static bool is_empty(struct ply_view *view, uint64_t ino)
{
	struct names names = { 0 };
	bool empty = ply_view_readdir(view, ino, 0, add_dirent, &names, NULL) == 0 && !names.n;

	names_done(&names);
	return empty;
}

/* A name on both sides. */
static int compare_child(struct walk_dir *w, const char *name, const char *path, uint64_t ino)
{
	struct against *a = w->a;
	struct findings *l = &w->batch->list;
	struct ply_attr at;
	struct ply_err e;
	struct statx sx;
	bool known = false;
	int r;

	if (ply_view_attr(a->view, ino, &at, &e) < 0) {
		compare_damaged(l, path, &e);
		return 0;
	}
	r = stat_at(w->fd, name, &sx);
	if (r < 0) {
		compare_failed(l, path, "stat", r);
		return 0;
	}
	if ((sx.stx_attributes & STATX_ATTR_MOUNT_ROOT) &&
	    (!S_ISDIR(sx.stx_mode) || (S_ISDIR(at.mode) && is_empty(a->view, ino)))) {
		a->result.skipped++;
		w->plain = false;
		return 0;
	}
	if ((at.mode & S_IFMT) != (sx.stx_mode & S_IFMT)) {
		compare_differs(l, path, "type", compare_type(at.mode), compare_type(sx.stx_mode));
		w->plain = false;
		return 0;
	}
	if (S_ISDIR(at.mode))
		r = push_dir(a, path, ino);
	else
		r = compare_links(a, l, path, &at, &sx, &known);
	if (r < 0 || known)
		return r;
	compare_stat(l, path, &at, &sx, !(a->has_state && is_above_state(path)));
	return add_file(w, name, path, &at, !S_ISREG(at.mode) || at.size == sx.stx_size);
}

static int compare_name(struct walk_dir *w, const char *expected, const char *found, uint64_t ino)
{
	const char *name = expected ? expected : found;
	_cleanup_free_ char *path = child_path(w, name);

	if (!path)
		return -ENOMEM;
	if (expected && found)
		return compare_child(w, name, path, ino);
	w->plain = false;
	if (expected)
		compare_differs(&w->batch->list, path, "presence", "present", NULL);
	else if (!may_be_extra(w, name, path))
		compare_differs(&w->batch->list, path, "presence", NULL, "present");
	return 0;
}

static int merge(struct walk_dir *w, const struct names *expected, const struct names *found)
{
	size_t i = 0, k = 0;
	int r = 0;

	while (r == 0 && (i < expected->n || k < found->n)) {
		int c = i == expected->n ? 1 : k == found->n ? -1 :
			strcmp(expected->v[i].name, found->v[k].name);

		r = compare_name(w, c <= 0 ? expected->v[i].name : NULL, c >= 0 ? found->v[k].name : NULL,
				 c <= 0 ? expected->v[i].ino : 0);
		i += c <= 0;
		k += c >= 0;
	}
	return r;
}

/* Subdirectories are counted in nlink by most file systems; those that do not say 1. */
static void compare_dir_links(struct walk_dir *w)
{
	struct ply_attr at;

	if (w->plain && w->sx.stx_nlink > 1 &&
	    !(w->a->has_state && is_above_state(w->dir->path)) &&
	    ply_view_attr(w->a->view, w->dir->ino, &at, NULL) == 0)
		number(&w->batch->list, w->dir->path, "nlink", at.nlink, w->sx.stx_nlink);
}

static int compare_dir(struct against *a, const struct pending_dir *dir)
{
	struct walk_dir w = { .a = a, .dir = dir, .plain = true, .fd = -1, .first_dir = a->ndirs };
	struct names expected = { 0 }, found = { 0 };
	struct ply_err e;
	int r = next_batch(&w);

	if (r < 0)
		return r;
	w.fd = beneath_open(a->root, dir->path, strlen(dir->path), O_PATH);
	r = w.fd < 0 ? w.fd : stat_at(w.fd, "", &w.sx);
	if (r == 0)
		r = list_tree(w.fd, &found);
	if (r < 0 && r != -ENOMEM) {
		compare_failed(&w.batch->list, dir->path, "list", r);
		r = 0;
	} else if (r == 0) {
		int seen = list_view(a->view, dir->ino, &expected, &e);

		if (seen < 0)
			compare_damaged(&w.batch->list, dir->path, &e);
		r = seen == -ENOMEM ? seen : seen < 0 ? 0 : merge(&w, &expected, &found);
		if (r == 0)
			compare_dir_links(&w);
	}
	names_done(&expected);
	names_done(&found);
	cleanup_close(&w.fd);
	/* the first child is the next: it goes on top */
	for (size_t i = w.first_dir, k = a->ndirs; i + 1 < k; i++, k--) {
		struct pending_dir swap = a->dirs[i];

		a->dirs[i] = a->dirs[k - 1];
		a->dirs[k - 1] = swap;
	}
	if (w.batch)
		ordered_add(&a->jobs, &w.batch->job);
	return r;
}

/* --- the tree ------------------------------------------------------------------------------- */

/* The root: it has no parent that would compare it. */
static int compare_root(struct against *a)
{
	struct pending_dir root = { (char *)"", PLY_ROOT_INDEX };
	struct walk_dir w = { .a = a, .dir = &root };
	struct ply_attr at;
	struct ply_err e;
	struct statx sx;
	int r = next_batch(&w);

	if (r < 0)
		return r;
	r = stat_at(a->root, "", &sx);
	if (r < 0) {
		compare_failed(&w.batch->list, "", "stat", r);
		r = 0;
	} else if (ply_view_attr(a->view, PLY_ROOT_INDEX, &at, &e) < 0) {
		compare_damaged(&w.batch->list, "", &e);
	} else {
		compare_stat(&w.batch->list, "", &at, &sx, !a->has_state);
		r = add_file(&w, ".", "", &at, true);
	}
	if (w.batch)
		ordered_add(&a->jobs, &w.batch->job);
	return r < 0 ? r : push_dir(a, "", PLY_ROOT_INDEX);
}

static void prepare(struct against *a)
{
	struct io *io = image_io(ply_view_image(a->view));
	uint64_t ino;
	struct stat st;
	struct statx sx;
	int fd = beneath_open(a->root, STATE, strlen(STATE), O_PATH);

	a->is_whole = stat_at(a->root, "", &sx) == 0 && sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	if (fd >= 0) {
		a->has_state = ply_view_resolve(a->view, STATE, false, &ino, NULL) < 0;
		close(fd);
	}
	if (io->fd >= 0 && fstat(io->fd, &st) == 0) {
		a->image_dev = st.st_dev;
		a->image_ino = st.st_ino;
	}
}

int verify_against(struct ply_view *view, int dirfd, const struct verify_options *o, finding_fn fn,
		   void *ctx, struct compare_result *ret, struct ply_err *err)
{
	struct against a = { .view = view, .root = dirfd, .o = o, .fn = fn, .ctx = ctx };
	int r;

	prepare(&a);
	if (pool_new(o->threads ? o->threads : ncpus(), JOBS, &a.pool) < 0)
		return ply_fail_nomem(err);
	r = ordered_init(&a.jobs, a.pool, JOBS);
	if (r == 0)
		r = compare_root(&a);
	while (r == 0 && a.ndirs) {
		struct pending_dir dir = a.dirs[--a.ndirs];

		r = compare_dir(&a, &dir);
		free(dir.path);
		if (r == 0 && a.list.n > 1024)
			r = flush(&a, err);
	}
	ordered_done(&a.jobs);
	r = r < 0 ? ply_fail_nomem(err) : flush(&a, err);
	findings_done(&a.list);
	while (a.ndirs)
		free(a.dirs[--a.ndirs].path);
	for (size_t i = 0; i < a.nlinks; i++)
		free(a.links[i].path);
	free(a.dirs);
	free(a.links);
	map_done(&a.by_ino);
	map_done(&a.by_place);
	pool_free(a.pool);
	if (r == 0)
		*ret = a.result;
	return r;
}
