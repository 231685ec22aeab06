/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout engine over the small image: what lies there afterwards is what the view tells,
 * whatever the number of streams, and a layout that fails at any of its system calls leaves the
 * target as it was.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/util.h"
#include "fuzz/repair.h"
#include "image/image_write.h"
#include "io/io.h"
#include "layout/layout.h"
#include "layout/plan.h"
#include "layout/timeline.h"
#include "plyfs/view.h"
#include "progress_paint.h"
#include "small_image.h"
#include "tap.h"

/* --- failing the n-th call --------------------------------------------------------- */

static atomic_long countdown = -1;     /* 0: this call fails; negative: none does */
static void (*event)(void);            /* what happens before that call, which goes on */

static bool fails(void)
{
	if (atomic_load(&countdown) < 0)
		return false;
	if (atomic_fetch_sub(&countdown, 1) != 0)
		return false;
	if (event) {
		event();
		return false;
	}
	errno = EIO;
	return true;
}

#define WRAP(wrap, real, params, args) \
	int real params; \
	int wrap params; \
	int wrap params \
	{ \
		return fails() ? -1 : real args; \
	}
WRAP(__wrap_mkdirat, __real_mkdirat, (int d, const char *n, mode_t m), (d, n, m))
WRAP(__wrap_symlinkat, __real_symlinkat, (const char *t, int d, const char *n), (t, d, n))
WRAP(__wrap_linkat, __real_linkat, (int d, const char *n, int e, const char *o, int f), (d, n, e, o, f))
WRAP(__wrap_mknodat, __real_mknodat, (int d, const char *n, mode_t m, dev_t v), (d, n, m, v))
WRAP(__wrap_fchown, __real_fchown, (int f, uid_t u, gid_t g), (f, u, g))
WRAP(__wrap_fchmod, __real_fchmod, (int f, mode_t m), (f, m))
WRAP(__wrap_futimens, __real_futimens, (int f, const struct timespec *t), (f, t))
WRAP(__wrap_utimensat, __real_utimensat, (int d, const char *n, const struct timespec *t, int f), (d, n, t, f))
WRAP(__wrap_fsetxattr, __real_fsetxattr, (int f, const char *n, const void *v, size_t l, int x), (f, n, v, l, x))
WRAP(__wrap_ftruncate64, __real_ftruncate64, (int f, off_t n), (f, n))
WRAP(__wrap_syncfs, __real_syncfs, (int f), (f))

int __real_openat64(int d, const char *n, int f, mode_t m);
int __wrap_openat64(int d, const char *n, int f, ...);
int __wrap_openat64(int d, const char *n, int f, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, f);
	mode = f & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return f & (O_CREAT | __O_TMPFILE) && fails() ? -1 : __real_openat64(d, n, f, mode);
}

ssize_t __real_pwrite64(int fd, const void *b, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *b, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *b, size_t n, off_t at)
{
	return fails() ? -1 : __real_pwrite64(fd, b, n, at);
}

/* --- a target ------------------------------------------------------------------------- */

static char base[128], image_path[160], target[160];   /* in $TMPDIR */
static struct ply_err err;

static void begin(void)
{
	const char *tmp = getenv("TMPDIR");

	ck_assert_uint_lt((size_t)snprintf(base, sizeof(base), "%s/plyfs-layout-XXXXXX", tmp ? tmp : "/tmp"),
			  sizeof(base));
	ck_assert_ptr_nonnull(mkdtemp(base));
	snprintf(image_path, sizeof(image_path), "%s/image", base);
	snprintf(target, sizeof(target), "%s/target", base);
	small_image(image_path, 2);
	ck_assert_int_eq(mkdir(target, 0755), 0);
}

static void end(void)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf %s", base);
	ck_assert_int_eq(system(command), 0);
}

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static unsigned open_fds(void)
{
	return entries("/proc/self/fd");
}

struct opened {
	struct ply_image *image;
	struct ply_view *view;
};

static struct opened open_small(const char *name)
{
	struct opened o;

	ck_assert_int_eq(ply_image_open(image_path, &o.image, &err), 0);
	ck_assert_int_eq(ply_view_open(o.image, &name, name ? 1 : 0, 0, &o.view, &err), 0);
	return o;
}

static void close_small(struct opened *o)
{
	ply_view_close(o->view);
	ply_image_close(o->image);
}

static struct layout_options options(unsigned streams)
{
	/* an ordinary user makes no devices and gives nothing away */
	return (struct layout_options){ .streams = streams, .sync = true,
					.allow_partial = geteuid() != 0 };
}

/* --- comparing with the view -------------------------------------------------------------- */

struct compare {
	struct ply_view *view;
	unsigned names;
};

static void same_content(struct ply_view *v, uint64_t ino, const char *path, uint64_t size)
{
	uint8_t *want = malloc(size + 1), *is = malloc(size + 1);
	int fd = open(path, O_RDONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ply_view_read(v, ino, 0, size + 1, want, &err), (ssize_t)size);
	ck_assert_int_eq(read(fd, is, size + 1), (ssize_t)size);
	ck_assert_int_eq(memcmp(want, is, size), 0);
	/* holes too */
	for (uint64_t at = 0; at < size;) {
		uint64_t data;
		int r = ply_view_seek(v, ino, at, SEEK_DATA, &data, &err);
		off_t got = lseek(fd, (off_t)at, SEEK_DATA);

		if (r < 0) {
			ck_assert_int_eq(got, -1);
			break;
		}
		ck_assert_int_eq(got, (off_t)data);
		ck_assert_int_eq(ply_view_seek(v, ino, data, SEEK_HOLE, &at, &err), 0);
		ck_assert_int_eq(lseek(fd, (off_t)data, SEEK_HOLE), (off_t)at);
	}
	close(fd);
	free(want);
	free(is);
}

static int same_xattr(void *ctx, const struct ply_xattr *x)
{
	char name[256], value[256];
	ssize_t n;

	memcpy(name, x->name, x->name_len);
	name[x->name_len] = '\0';
	n = lgetxattr(ctx, name, value, sizeof(value));
	ck_assert_int_eq(n, (ssize_t)x->value_len);
	ck_assert_int_eq(memcmp(value, x->value, x->value_len), 0);
	return 0;
}

static int same(void *ctx, const struct ply_walk_entry *e)
{
	struct compare *c = ctx;
	const struct ply_attr *a = &e->attr;
	char path[512];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%.*s", target, (int)e->path_len, e->path);
	if (geteuid() && (S_ISCHR(a->mode) || S_ISBLK(a->mode)))
		return 0;
	c->names++;
	ck_assert_msg(lstat(path, &st) == 0, "%s is missing", path);
	if (geteuid() == 0) {
		ck_assert_uint_eq(st.st_mode, a->mode);
		ck_assert_uint_eq(st.st_uid, a->uid);
		ck_assert_uint_eq(st.st_gid, a->gid);
	}
	ck_assert_int_eq(st.st_mtim.tv_sec, a->mtime_sec);
	ck_assert_int_eq(st.st_mtim.tv_nsec, a->mtime_nsec);
	if (!S_ISDIR(a->mode))
		ck_assert_uint_eq(st.st_nlink, a->nlink);
	if (S_ISREG(a->mode)) {
		ck_assert_uint_eq((uint64_t)st.st_size, a->size);
		same_content(c->view, a->ino, path, a->size);
	}
	if (S_ISCHR(a->mode))
		ck_assert_uint_eq(st.st_rdev, makedev(a->rdev_major, a->rdev_minor));
	if (S_ISLNK(a->mode)) {
		char text[64];
		ssize_t n = readlink(path, text, sizeof(text));
		const char *want;
		size_t len;

		ck_assert_int_eq(ply_view_readlink(c->view, a->ino, &want, &len, &err), 0);
		ck_assert_uint_eq((size_t)n, len);
		ck_assert_int_eq(memcmp(text, want, len), 0);
	}
	ck_assert_int_eq(ply_view_xattrs(c->view, a->ino, same_xattr, path, &err), 0);
	return 0;
}

START_TEST(equals_the_view)
{
	static const unsigned streams[] = { 1, 2, 7, 256 };
	const char *name = _i % 2 ? "os" : NULL;
	struct layout_options o = options(streams[_i / 2]);
	struct layout_report report;
	struct compare c;
	struct opened im;

	begin();
	im = open_small(name);
	ck_assert_msg(layout_run(im.view, target, &o, &report, &err) == 0, "%s", err.msg);
	c = (struct compare){ .view = im.view };
	ck_assert_int_eq(ply_view_walk(im.view, PLY_ROOT_INDEX, same, &c, &err), 0);
	ck_assert_uint_eq(report.names + report.directories, c.names);
	ck_assert_uint_eq(report.files, report.names - (name ? 0 : 1));   /* shared has two */
	close_small(&im);
	end();
}
END_TEST

/* What is counted while it runs, and what is told of it afterwards, by sub-image: all of it, once. */
START_TEST(work_counts_for_its_sub_image)
{
	struct layout_options o = options((unsigned)_i);
	struct progress_counters counters = { 0 };
	struct layout_report report;
	struct progress_now now;
	uint64_t bytes = 0, files = 0;
	struct opened im;

	begin();
	im = open_small(NULL);
	ck_assert_int_eq(timeline_new(&o.timeline), 0);
	o.progress = &counters;
	ck_assert_msg(layout_run(im.view, target, &o, &report, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(counters.nstreams, 2);
	ck_assert_uint_eq(o.timeline->nstreams, 3);
	for (size_t i = 0; i < counters.nstreams; i++) {
		struct progress_stream *s = &atomic_load(&counters.streams)[i];
		const struct timeline_stream *t = &o.timeline->streams[i];

		ck_assert_str_eq(s->name, t->name);
		ck_assert_uint_eq(atomic_load(&s->bytes), t->bytes);
		ck_assert_uint_eq(atomic_load(&s->files), t->names);
		ck_assert_uint_eq(t->total_bytes, s->total_bytes);
		ck_assert_uint_eq(t->total_files, s->total_files);
		ck_assert_uint_eq(atomic_load(&s->found_bytes), 0);
		ck_assert_uint_eq(atomic_load(&s->threads), 0);
		ck_assert_uint_gt(t->names, 0);
		bytes += t->bytes;
		files += t->names;
	}
	ck_assert_uint_eq(bytes, report.bytes);
	ck_assert_uint_eq(files, report.files);
	ck_assert_uint_eq(o.timeline->streams[2].names, report.names - report.files);
	now = progress_look(&counters, "layout", 0, INT64_MAX);
	ck_assert_uint_eq(now.bytes, now.total_bytes);
	/* an ordinary user has not made the device */
	ck_assert_uint_eq(now.files + (geteuid() != 0), now.total_files);
	timeline_free(o.timeline);
	progress_counters_done(&counters);
	close_small(&im);
	end();
}
END_TEST

/* --- names that an earlier sub-image hides ----------------------------------------------- */

static uint64_t add_node(struct subw *w, mode_t mode, uint8_t flags)
{
	struct ply_node n = { .mode = (uint16_t)mode, .flags = flags, .mtime_sec = 1 };
	uint64_t index;

	ck_assert_int_eq(subw_owner(w, geteuid(), getegid(), "me", "us", &n.owner), 0);
	ck_assert_int_eq(subw_node(w, &n, &index), 0);
	return index;
}

/* A sub-image with /etc and in it a file for each of @names (a letter each, sorted; upper case: a
 * directory); its content is @name. */
static void add_sub(struct imagew *iw, struct pool *pool, const char *name, uint32_t rank, const char *names)
{
	struct subw_options o = { .name = name, .level = 3, .pool = pool, .nworkers = 1,
				  .max_inflight = 2, .content_uuid = true };
	uint64_t nodes[32], etc;
	struct subw_result seg;
	struct subw *w;
	uint32_t number;

	ck_assert_int_eq(out_align(imagew_out(iw), PLY_ALIGN, &err), 0);
	ck_assert_int_eq(subw_new(imagew_out(iw), &o, &w, &err), 0);
	ck_assert_uint_eq(add_node(w, S_IFDIR | 0755, rank ? PLY_NODE_IMPLIED : 0), 1);
	etc = add_node(w, S_IFDIR | 0755, rank ? PLY_NODE_IMPLIED : 0);
	for (size_t i = 0; names[i]; i++)
		nodes[i] = add_node(w, names[i] < 'a' ? S_IFDIR | 0700 : S_IFREG | 0644, 0);
	ck_assert_int_eq(subw_dir(w, 1), 0);
	ck_assert_int_eq(subw_entry(w, "etc", 3, etc), 0);
	ck_assert_int_eq(subw_dir(w, etc), 0);
	for (size_t i = 0; names[i]; i++)
		ck_assert_int_eq(subw_entry(w, &names[i], 1, nodes[i]), 0);
	for (size_t i = 0; names[i]; i++)
		if (names[i] < 'a')
			ck_assert_int_eq(subw_dir(w, nodes[i]), 0);
		else
			ck_assert_int_eq(subw_file_whole(w, nodes[i], name, strlen(name), NULL, &err), 0);
	ck_assert_int_eq(subw_finish(w, &seg, &err), 0);
	subw_free(w);
	ck_assert_int_eq(imagew_add_sub(iw, &(struct imagew_sub){ .name = name, .arch = "", .distro = "",
								  .summary = "", .rank = rank,
								  .flags = rank ? 0 : PLY_SUB_OS },
					&seg, &number, &err), 0);
}

START_TEST(hidden_names_are_not_laid_out)
{
	struct layout_options o = options(2);
	struct layout_report report;
	struct compare c;
	struct imagew *iw;
	struct opened im;
	struct pool *pool;
	uint64_t row, first;
	char path[200], content[8] = "";
	int fd;

	begin();
	ck_assert_int_eq(pool_new(1, 4, &pool), 0);
	ck_assert_int_eq(imagew_new(image_path, true, &iw, &err), 0);
	add_sub(iw, pool, "os", 0, "Bak");
	add_sub(iw, pool, "web", 1, "ACabckmz");
	ck_assert_int_eq(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, 1), PLY_INO(1, 1) },
				     NULL, 2, &row, &err), 0);
	ck_assert_int_eq(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, 2), PLY_INO(1, 2) },
				     NULL, 2, &first, &err), 0);
	ck_assert_int_eq(imagew_join_children(iw, row, first, 1), 0);
	ck_assert_int_eq(imagew_publish(iw, &(struct imagew_options){ .message = "", .tool = "test" },
					&err), 0);
	imagew_free(iw);
	pool_free(pool);

	im = open_small(NULL);
	ck_assert_msg(layout_run(im.view, target, &o, &report, &err) == 0, "%s", err.msg);
	c = (struct compare){ .view = im.view };
	ck_assert_int_eq(ply_view_walk(im.view, PLY_ROOT_INDEX, same, &c, &err), 0);
	ck_assert_uint_eq(report.names, 6);            /* a b c k m z */
	ck_assert_uint_eq(report.directories, 5);      /* / etc A B C */
	snprintf(path, sizeof(path), "%s/etc/k", target);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(read(fd, content, sizeof(content)), 2);
	ck_assert_str_eq(content, "os");
	close(fd);
	close_small(&im);
	end();
}
END_TEST

START_TEST(plan_covers_every_name_once)
{
	struct ply_view_stat vs;
	struct opened im;
	struct plan *p;
	size_t rows = 0;

	begin();
	im = open_small(NULL);
	ck_assert_int_eq(plan_new(im.view, 4096, NULL, &p, &err), 0);
	ply_view_stat(im.view, &vs);
	ck_assert_uint_eq(p->ndirs, 5);        /* / etc usr usr/lib usr/web */
	ck_assert_uint_eq(p->names, 8);
	ck_assert_uint_eq(p->files, 7);
	ck_assert_uint_eq(p->nlinks, 2);
	ck_assert_ptr_eq(plan_link_first(p, p->links[0].ino), &p->links[0]);
	ck_assert_ptr_null(plan_link_first(p, p->links[0].ino + 1));
	ck_assert_uint_eq(p->needs.count[FIELD_DEVICE], 1);
	ck_assert_uint_eq(p->needs.count[FIELD_XATTR_USER], 2);
	ck_assert_uint_eq(p->needs.links, 2);
	for (uint32_t i = 0; i < p->nsubs; i++)
		for (size_t b = 0; b < p->subs[i].nbatches; b++) {
			const struct plan_batch *batch = &p->subs[i].batches[b];
			uint32_t part = batch->part;
			uint64_t at = batch->at;

			for (uint32_t n = 0; n < batch->n; n++, at++) {
				struct ply_entry e;

				if (at == p->subs[i].parts[part].end)
					at = p->subs[i].parts[++part].first;
				ck_assert_int_eq(sub_entry(p->subs[i].sub, at, &e, &err), 0);
				rows += e.type != S_IFDIR >> 12;
			}
		}
	ck_assert_uint_eq(rows, p->names);
	plan_free(p);
	close_small(&im);
	end();
}
END_TEST

/* A file of several pieces: their bounds meet, and lie where blocks end. */
struct pieces {
	uint64_t end, bytes;
};

static int add(void *ctx, const struct ply_extent *e, struct ply_err *unused)
{
	struct pieces *p = ctx;

	(void)unused;
	ck_assert_uint_ge(e->off, p->end);
	p->end = e->off + e->len;
	p->bytes += e->len;
	return 0;
}

START_TEST(extents_are_cut_to_a_range)
{
	struct opened im;
	struct view_file f;
	uint64_t ino;

	begin();
	im = open_small(NULL);
	ck_assert_int_eq(ply_view_lookup(im.view, PLY_ROOT_INDEX, "big", 3, &ino, &err), 0);
	ck_assert_int_eq(view_file(im.view, ino, &f, &err), 0);
	for (uint64_t cut = 0; cut <= SMALL_BIG + 4096; cut += 4096) {
		struct pieces a = { 0 }, b = { .end = cut };

		ck_assert_int_eq(plan_extents(f.sub, &f.node, 0, cut, add, &a, &err), 0);
		ck_assert_int_eq(plan_extents(f.sub, &f.node, cut, UINT64_MAX, add, &b, &err), 0);
		ck_assert_uint_le(a.end, cut);
		ck_assert_uint_eq(a.bytes + b.bytes, SMALL_BIG - (262144 - 131072 - 4096));
	}
	close_small(&im);
	end();
}
END_TEST

static void expect_untouched(const struct stat *before)
{
	struct stat st;

	ck_assert_uint_eq(entries(target), 0);
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_uint_eq(st.st_mode, before->st_mode);
	ck_assert_uint_eq(st.st_uid, before->st_uid);
	ck_assert_int_eq(st.st_mtim.tv_sec, before->st_mtim.tv_sec);
	ck_assert_int_eq(st.st_mtim.tv_nsec, before->st_mtim.tv_nsec);
}

START_TEST(any_call_that_fails_leaves_the_target_as_it_was)
{
	struct layout_options o = options(2);
	struct layout_report report;
	const mode_t mask = umask(027);
	struct opened im;
	struct stat st;
	long n = 0;
	int r;

	begin();
	im = open_small(NULL);
	ck_assert_int_eq(stat(target, &st), 0);
	do {
		unsigned fds = open_fds();

		atomic_store(&countdown, n);
		r = layout_run(im.view, target, &o, &report, &err);
		n++;
		ck_assert_uint_eq(open_fds(), fds);
		ck_assert_uint_eq(umask(027), 027);
		if (r == 0)
			continue;
		ck_assert_int_lt(atomic_load(&countdown), 0);   /* it was that call */
		expect_untouched(&st);
	} while (r < 0);
	/* probing, files, links, directories, sync: all have been failed */
	ck_assert_int_gt(n, 40);
	printf("# %ld calls failed in turn\n", n - 1);
	close_small(&im);
	end();
	umask(mask);
}
END_TEST

static void cut_image(void)
{
	ck_assert_int_eq(truncate(image_path, 8192), 0);
}

/* The image goes at any call: what was made is taken out all the same. */
START_TEST(an_image_cut_off_leaves_nothing_behind)
{
	struct layout_options o = options(2);
	struct layout_report report;
	struct stat st, image;
	uint8_t *good;
	unsigned failed = 0;
	long left, n = 0;
	int fd;

	begin();
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_int_eq(stat(image_path, &image), 0);
	good = malloc((size_t)image.st_size);
	fd = open(image_path, O_RDWR);
	ck_assert_int_eq(pread_full(fd, good, (size_t)image.st_size, 0), 0);
	o.sync = false;
	event = cut_image;
	do {
		struct opened im = open_small(NULL);
		int r;

		atomic_store(&countdown, n++);
		r = layout_run(im.view, target, &o, &report, &err);
		left = atomic_exchange(&countdown, -1);
		close_small(&im);
		if (r < 0) {
			failed++;
			ck_assert_msg(r == -EIO || r == -EBADMSG || r == -EUCLEAN, "%s", err.msg);
			ck_assert_msg(entries(target) == 0, "call %ld: %s", n - 1, err.msg);
			expect_untouched(&st);
		} else {
			char command[400];

			snprintf(command, sizeof(command), "rm -rf %s/*", target);
			ck_assert_int_eq(system(command), 0);
			ck_assert_int_eq(utimensat(AT_FDCWD, target, (struct timespec[]){
				st.st_atim, st.st_mtim }, 0), 0);
			ck_assert_int_eq(chmod(target, st.st_mode & 07777), 0);
		}
		ck_assert_int_eq(__real_pwrite64(fd, good, (size_t)image.st_size, 0), image.st_size);
	} while (left < 0);
	event = NULL;
	ck_assert_uint_gt(failed, 15);
	close(fd);
	free(good);
	end();
}
END_TEST

/* Another process makes a file; then a call fails. */
static void make_foreign(void)
{
	static const char *const in[] = { "", "usr/", "usr/lib/" };
	char path[256];
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		snprintf(path, sizeof(path), "%s/%sforeign", target, in[i]);
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		if (fd >= 0)
			close(fd);
	}
	event = NULL;
	atomic_store(&countdown, 0);
}

START_TEST(files_of_others_stay)
{
	struct layout_options o = options(1);
	struct layout_report report;
	struct opened im;
	char path[256];
	struct stat st;
	int r;

	begin();
	im = open_small(NULL);
	/* late enough that directories and files are there */
	event = make_foreign;
	atomic_store(&countdown, 35);
	r = layout_run(im.view, target, &o, &report, &err);
	ck_assert_int_eq(r, -EIO);
	ck_assert_msg(strstr(err.msg, "; 2 names could not be taken out"), "%s", err.msg);
	ck_assert_uint_eq(entries(target), 2);
	snprintf(path, sizeof(path), "%s/usr", target);
	ck_assert_uint_eq(entries(path), 2);
	snprintf(path, sizeof(path), "%s/usr/lib/foreign", target);
	ck_assert_int_eq(stat(path, &st), 0);
	close_small(&im);
	end();
}
END_TEST

static void make_foreign_on_top(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/foreign", target);
	ck_assert_int_ge(mknod(path, S_IFREG | 0600, 0), 0);
	event = NULL;
	atomic_store(&countdown, 0);
}

START_TEST(no_target_with_a_name_in_it_is_called_empty)
{
	struct layout_options o = options(1);
	struct layout_report report;
	struct opened im;

	begin();
	im = open_small(NULL);
	event = make_foreign_on_top;
	atomic_store(&countdown, 35);
	ck_assert_int_eq(layout_run(im.view, target, &o, &report, &err), -EIO);
	ck_assert_msg(strstr(err.msg, "; 1 names could not be taken out"), "%s", err.msg);
	ck_assert_uint_eq(entries(target), 1);
	close_small(&im);
	end();
}
END_TEST

/* Another process puts a symlink where a directory of the layout was. */
static void swap_directory(void)
{
	char from[256], to[256];

	snprintf(from, sizeof(from), "%s/usr", target);
	snprintf(to, sizeof(to), "%s/moved", target);
	if (rename(from, to) == 0)
		ck_assert_int_eq(symlink(base, from), 0);
}

START_TEST(a_symlink_in_the_middle_leads_nowhere)
{
	struct layout_options o = options(2);
	struct layout_report report;
	unsigned refused = 0;
	struct stat before, st;
	struct opened im;
	char command[600];
	long left, n = 0;

	begin();
	im = open_small(NULL);
	snprintf(command, sizeof(command), "mkdir %s/lib %s/web && touch %s/shared2", base, base, base);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(chmod(base, 0751), 0);
	ck_assert_int_eq(stat(base, &before), 0);
	event = swap_directory;
	o.sync = false;
	snprintf(command, sizeof(command), "rm -rf %s/*", target);
	do {
		char path[256];
		int r;

		atomic_store(&countdown, n++);
		r = layout_run(im.view, target, &o, &report, &err);
		left = atomic_exchange(&countdown, -1);
		refused += r < 0;
		ck_assert_int_eq(stat(base, &st), 0);
		ck_assert_uint_eq(entries(base), 5);       /* image, target, lib, web, shared2 */
		ck_assert_int_eq(st.st_mtim.tv_sec, before.st_mtim.tv_sec);
		ck_assert_int_eq(st.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
		ck_assert_uint_eq(st.st_mode, before.st_mode);
		snprintf(path, sizeof(path), "%s/web", base);
		ck_assert_uint_eq(entries(path), 0);
		ck_assert_int_eq(system(command), 0);
	} while (left < 0);
	event = NULL;
	ck_assert_uint_gt(refused, 5);
	close_small(&im);
	end();
}
END_TEST

START_TEST(cancelled_at_once)
{
	const atomic_bool cancel = true;
	struct layout_options o = options(2);
	struct layout_report report;
	struct opened im;
	struct stat st;

	begin();
	im = open_small(NULL);
	ck_assert_int_eq(stat(target, &st), 0);
	o.cancel = &cancel;
	ck_assert_int_eq(layout_run(im.view, target, &o, &report, &err), -ECANCELED);
	ck_assert_int_eq(err.reason, PLY_R_CANCELLED);
	expect_untouched(&st);
	close_small(&im);
	end();
}
END_TEST

/* A flipped byte anywhere: the layout is right, or it fails, names a file, and leaves nothing. */
START_TEST(damage_is_found_and_nothing_is_left)
{
	struct layout_options o = options(2);
	struct layout_report report;
	unsigned blocks = 0, tables = 0;
	struct stat st, image;
	int fd;

	begin();
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_int_eq(stat(image_path, &image), 0);
	fd = open(image_path, O_RDWR);
	o.sync = false;
	for (off_t at = 8192; at < image.st_size; at += 53) {
		const char *all = NULL;
		struct opened im = { 0 };
		uint8_t byte;
		int r;

		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
		byte ^= 0x40;
		ck_assert_int_eq(__real_pwrite64(fd, &byte, 1, at), 1);
		r = ply_image_open(image_path, &im.image, &err);
		if (r == 0)
			r = ply_view_open(im.image, &all, 0, 0, &im.view, &err);
		if (r == 0) {
			r = layout_run(im.view, target, &o, &report, &err);
			if (r < 0) {
				ck_assert_msg(r == -EBADMSG || r == -EUCLEAN, "%s", err.msg);
				blocks += err.msg[0] == '/' && strstr(err.msg, ": data block");
				tables++;
			} else {
				char command[400];

				snprintf(command, sizeof(command), "rm -rf %s/*", target);
				ck_assert_int_eq(system(command), 0);
				ck_assert_int_eq(utimensat(AT_FDCWD, target, (struct timespec[]){
					st.st_atim, st.st_mtim }, 0), 0);
				ck_assert_int_eq(chmod(target, st.st_mode & 07777), 0);
			}
			expect_untouched(&st);
		}
		close_small(&im);
		byte ^= 0x40;
		ck_assert_int_eq(__real_pwrite64(fd, &byte, 1, at), 1);
	}
	ck_assert_uint_gt(blocks, 5);
	ck_assert_uint_gt(tables, blocks);
	close(fd);
	end();
}
END_TEST

/*
 * Changed bytes with checksums made right again, so that they reach the engine: it may fail or lay
 * something out, but it writes nowhere else, and where it fails nothing is left. Seeded;
 * PLYFS_LAYOUT_SEEDS says how many (300).
 */
START_TEST(hostile_images_stay_inside)
{
	const char *env = getenv("PLYFS_LAYOUT_SEEDS");
	uint64_t seeds = env ? strtoull(env, NULL, 10) : 300, done = 0, failed = 0;
	struct layout_options o = options(3);
	struct layout_report report;
	struct stat st, image;
	uint8_t *good, *bad;
	char command[400];
	int fd;

	begin();
	o.sync = false;
	o.lossy = o.allow_partial = true;
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_int_eq(stat(image_path, &image), 0);
	good = malloc((size_t)image.st_size);
	bad = malloc((size_t)image.st_size);
	fd = open(image_path, O_RDONLY);
	ck_assert_int_eq(pread_full(fd, good, (size_t)image.st_size, 0), 0);
	close(fd);
	snprintf(command, sizeof(command), "rm -rf %s && mkdir -m 755 %s", target, target);
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		uint64_t x = seed * 0x9e3779b97f4a7c15ULL;
		struct opened im = { 0 };
		struct io *io;
		int r;

		memcpy(bad, good, (size_t)image.st_size);
		for (unsigned k = 0; k < 1 + seed % 4; k++) {
			x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9ULL;
			bad[8192 + (x >> 20) % (uint64_t)(image.st_size - 8192)] = (uint8_t)(x >> 8);
		}
		repair_image(bad, (size_t)image.st_size);
		ck_assert_int_eq(io_open_memory(bad, (size_t)image.st_size, &io, &err), 0);
		r = ply_image_open_io(io, 0, &im.image, &err);
		if (r == 0)
			r = ply_view_open(im.image, NULL, 0, 0, &im.view, &err);
		if (r == 0) {
			r = layout_run(im.view, target, &o, &report, &err);
			done += r == 0;
			failed += r < 0;
			if (r < 0)
				ck_assert_msg(entries(target) == 0, "seed %llu: %s",
					      (unsigned long long)seed, err.msg);
			/* damage, or what another image may well ask for; never the caller's fault */
			ck_assert_msg(r == 0 || r == -EUCLEAN || r == -EBADMSG || r == -EOPNOTSUPP ||
				      err.reason == PLY_R_TARGET_FULL ||
				      err.reason == PLY_R_TARGET_CANNOT_HOLD, "seed %llu: %d %s",
				      (unsigned long long)seed, r, err.msg);
			ck_assert_uint_eq(entries(base), 2);   /* image and target */
			ck_assert_int_eq(system(command), 0);
		}
		close_small(&im);
	}
	printf("# %llu seeds: %llu laid out, %llu refused by the engine\n", (unsigned long long)seeds,
	       (unsigned long long)done, (unsigned long long)failed);
	ck_assert_uint_gt(done, 0);
	ck_assert_uint_gt(failed, 0);
	free(good);
	free(bad);
	end();
}
END_TEST

START_TEST(xattr_names_have_a_class)
{
	static const struct {
		const char *name;
		enum layout_field field;
	} t[] = {
		{ "user.x", FIELD_XATTR_USER },
		{ "trusted.overlay.opaque", FIELD_XATTR_TRUSTED },
		{ "security.capability", FIELD_CAPABILITY },
		{ "security.selinux", FIELD_XATTR_SECURITY },
		{ "system.posix_acl_access", FIELD_ACL },
		{ "system.posix_acl_default", FIELD_ACL },
		{ "system.nfs4_acl", FIELD_XATTR_OTHER },
		{ "user", FIELD_XATTR_OTHER },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		ck_assert_int_eq(plan_xattr_field(&(struct sub_xattr){ .name = t[i].name,
								       .name_len = (uint32_t)strlen(t[i].name) }),
				 t[i].field);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("layout");

	tap_loop(s, equals_the_view, 0, 8);
	tap_loop(s, work_counts_for_its_sub_image, 1, 4);
	tap_test(s, hidden_names_are_not_laid_out);
	tap_test(s, plan_covers_every_name_once);
	tap_test(s, extents_are_cut_to_a_range);
	tap_test(s, any_call_that_fails_leaves_the_target_as_it_was);
	tap_test(s, an_image_cut_off_leaves_nothing_behind);
	tap_test(s, files_of_others_stay);
	tap_test(s, no_target_with_a_name_in_it_is_called_empty);
	tap_test(s, a_symlink_in_the_middle_leads_nowhere);
	tap_test(s, cancelled_at_once);
	tap_test(s, damage_is_found_and_nothing_is_left);
	tap_test(s, hostile_images_stay_inside);
	tap_test(s, xattr_names_have_a_class);
	return s;
}
TAP_MAIN(suite)
