/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The living tree from several threads at once: they make, link, rename, remove and write in the same few directories,
 * while others list, read and sync. What is there at the end must add up, and be there when the log is opened again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "live/live.h"
#include "redo_disk.h"
#include "small_image.h"
#include "tap.h"

#define THREADS 4
#define DIRS    3
#define NAMES   12

static struct ply_err err;
static struct ply_image *image;
static struct ply_view *view;
static struct redo_disk disk;
static struct redo *redo_log;
static struct live *live;
static uint64_t dirs[DIRS];
static atomic_bool stop;
static atomic_uint changed;
static const struct live_who who = { 0 };

#define OK(call) \
	do { \
		int ok_ = (call); \
		ck_assert_msg(ok_ == 0, "%s: %d %s", #call, ok_, err.msg); \
	} while (0)

static void open_live(void)
{
	OK(redo_open(redo_disk_store(&disk), REDO_WRITE, &redo_log, &err));
	OK(live_open(view, redo_log, &live, &err));
}

static void start(void)
{
	struct redo_binding b = { .parent_generation = 1, .number = PLY_REDO_NUMBER_MIN, .names = "os", .names_len = 3,
				  .nnames = 1, .path = "/x" };
	char path[] = "/tmp/plyfs-threads-XXXXXX";
	uint8_t uuid[16] = { 7 };
	struct redo_store *store;

	close(mkstemp(path));
	small_image(path, 2);
	OK(ply_image_open(path, &image, &err));
	OK(ply_view_open(image, NULL, 0, 0, &view, &err));
	unlink(path);
	ply_image_uuid(image, b.parent_uuid);
	memcpy(b.image_uuid, b.parent_uuid, 16);
	redo_disk_init(&disk);
	store = redo_disk_store(&disk);
	OK(redo_format(store, &b, uuid, 1, &err));
	redo_store_close(store);
	open_live();
}

/* --- what threads do ------------------------------------------------------------------------------------ */

static uint32_t random_of(uint64_t *seed, uint32_t n)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33) % n;
}

/* Errors that others' changes bring about. */
static void may(int r, const struct ply_err *e)
{
	bool expected = r >= 0 || r == -ENOENT || r == -EEXIST || r == -ENOTEMPTY || r == -EISDIR || r == -ENOTDIR ||
		r == -ESTALE || r == -EINVAL || r == -EPERM;

	if (!expected)
		fprintf(stderr, "unexpected: %d %s\n", r, e->msg);
	if (!expected)
		abort();
	atomic_fetch_add(&changed, r == 0);
}

static int keep_ino(void *ctx, const struct ply_dirent *de)
{
	struct live_attr a;

	live_attr(live, de->ino, &a, NULL);
	*(uint64_t *)ctx = de->ino;
	return 0;
}

static void change(uint64_t *seed)
{
	uint64_t d = dirs[random_of(seed, DIRS)], to = dirs[random_of(seed, DIRS)], ino = 0, gone = 0;
	char name[16], other[16], data[5000];
	struct live_attr a;
	struct ply_err e;
	size_t len = (size_t)snprintf(name, sizeof(name), "n%u", random_of(seed, NAMES));
	size_t other_len = (size_t)snprintf(other, sizeof(other), "n%u", random_of(seed, NAMES));
	int r = live_lookup(live, d, name, len, &ino, &e);

	memset(data, (int)random_of(seed, 256), sizeof(data));
	switch (random_of(seed, 10)) {
	case 0:
	case 1:
		may(live_make(live, &who, d, name, len, &(struct live_new){ .mode = S_IFREG | 0644 }, &a, &e), &e);
		break;
	case 2:
		may(live_make(live, &who, d, name, len, &(struct live_new){ .mode = S_IFDIR | 0755 }, &a, &e), &e);
		break;
	case 3:
		may(live_unlink(live, &who, d, name, len, &gone, &e), &e);
		break;
	case 4:
		may(live_rmdir(live, &who, d, name, len, &gone, &e), &e);
		break;
	case 5:
		may(live_rename(live, &who, d, name, len, to, other, other_len,
				random_of(seed, 2) ? RENAME_EXCHANGE : 0, &gone, &e), &e);
		break;
	case 6:
		if (r == 0)
			may(live_link(live, &who, ino, to, other, other_len, &a, &e), &e);
		break;
	case 7:
		if (r == 0)
			may((int)MIN(live_write(live, &who, ino, random_of(seed, 20000), data, 1 + random_of(seed, 5000), 0, &e), 0), &e);
		break;
	case 8:
		if (r == 0)
			may(live_setattr(live, &who, ino, &(struct live_set){ .mask = LIVE_SIZE, .size = random_of(seed, 9000) },
					 &a, &e), &e);
		break;
	case 9:
		if (r == 0)
			may((int)MIN(live_read(live, ino, 0, sizeof(data), data, &e), 0), &e);
		break;
	}
	if (gone)
		live_forget(live, gone);
}

static unsigned operations(void)
{
	const char *text = getenv("PLYFS_LIVE_OPS");

	return text && *text ? (unsigned)atoi(text) : 4000;
}

static void *changer(void *arg)
{
	uint64_t seed = 1000 + (uintptr_t)arg;

	for (unsigned i = 0; i < operations(); i++)
		change(&seed);
	return NULL;
}

static void *looker(void *arg)
{
	uint64_t seed = 77, ino;
	struct ply_err e;

	(void)arg;
	while (!atomic_load(&stop)) {
		may(live_readdir(live, dirs[random_of(&seed, DIRS)], 0, keep_ino, &ino, &e), &e);
		may(random_of(&seed, 2) ? live_sync(live, &e) : live_tick(live, &e), &e);
		if (random_of(&seed, 20) == 0)
			may(redo_checkpoint(redo_log, &e), &e);
	}
	return NULL;
}

/* --- what must add up ---------------------------------------------------------------------------------------- */

struct sums {
	uint64_t ino, names, subdirs;      /* of the inode that is counted */
	bool counting;
	uint64_t all, files;
};

static int add_up(void *ctx, const struct ply_dirent *de)
{
	struct sums *s = ctx, own = { .ino = de->ino, .counting = true };
	struct live_attr a;

	if (s->counting) {
		s->names += de->ino == s->ino;
		s->subdirs += de->type == S_IFDIR >> 12;
		return 0;
	}
	OK(live_attr(live, de->ino, &a, &err));
	ck_assert_uint_eq((a.mode & S_IFMT) >> 12, de->type);
	s->all = s->all * 31 + de->ino + a.nlink * 7 + a.size;
	s->files++;
	if (S_ISDIR(a.mode)) {
		OK(live_readdir(live, de->ino, 0, add_up, &own, &err));
		ck_assert_uint_eq(a.nlink, 2 + own.subdirs);
		return 0;
	}
	for (int i = 0; i < DIRS; i++)
		OK(live_readdir(live, dirs[i], 0, add_up, &own, &err));
	ck_assert_uint_eq(a.nlink, own.names);
	return 0;
}

static uint64_t sum(void)
{
	struct sums s = { 0 };

	for (int i = 0; i < DIRS; i++)
		OK(live_readdir(live, dirs[i], 0, add_up, &s, &err));
	ck_assert_uint_gt(s.files, 3);
	return s.all;
}

START_TEST(several_at_once)
{
	pthread_t threads[THREADS], look;
	struct redo_info info;
	struct live_attr a;
	uint64_t before;

	start();
	for (int i = 0; i < DIRS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "d%d", i);
		OK(live_make(live, &who, PLY_ROOT_INDEX, name, 2, &(struct live_new){ .mode = S_IFDIR | 0755 }, &a, &err));
		dirs[i] = a.ino;
	}
	pthread_create(&look, NULL, looker, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, changer, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	pthread_join(look, NULL);
	ck_assert_uint_gt(atomic_load(&changed), operations());
	before = sum();
	live = live_close(live);
	redo_abandon(redo_log);
	open_live();
	redo_info(redo_log, &info);
	ck_assert(!info.damaged && !*info.warning);
	ck_assert_uint_eq(sum(), before);
	live_close(live);
	OK(redo_close(redo_log, &err));
	redo_disk_done(&disk);
	ply_view_close(view);
	ply_image_close(image);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("live_threads");

	tap_test(s, several_at_once);
	return s;
}
TAP_MAIN(suite)
