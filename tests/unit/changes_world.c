/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See changes_world.h. */
#include "changes_world.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"

static struct ply_err err;

const struct world_row world_rows[WORLD_ROWS] = {
	{ CHANGE_META, "data" },
	{ CHANGE_OUT, "etc/fifo" },
	{ CHANGE_MAKE, "etc/hard" },
	{ CHANGE_KEEP, "etc/keep" },
	{ CHANGE_META, "etc/mode" },
	{ CHANGE_MAKE, "etc/new" },
	{ CHANGE_MAKE, "etc/new.link" },
	{ CHANGE_OUT, "etc/old" },
	{ CHANGE_OUT, "etc/old.link" },
	{ CHANGE_SWAP, "etc/passwd" },
	{ CHANGE_SWAP, "etc/swap.link" },
	{ CHANGE_OUT, "opt/goes" },
	{ CHANGE_OUT, "opt/goes/a" },
	{ CHANGE_OUT, "opt/goes/sub" },
	{ CHANGE_OUT, "opt/goes/sub/b" },
	{ CHANGE_OUT, "opt/goes.d/c" },    /* beside, and longer */
	{ CHANGE_MAKE, "opt/new" },
	{ CHANGE_MAKE, "opt/new/d" },
	{ CHANGE_MAKE, "opt/new/d/link" },
	{ CHANGE_MAKE, "opt/new/d/pipe" },
	{ CHANGE_MAKE, "opt/new/f" },
	{ CHANGE_MAKE, "opt/new/h" },
};

void world_dir(int at, const char *path, mode_t mode)
{
	ck_assert_msg(mkdirat(at, path, 0700) == 0, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(fchmodat(at, path, mode, 0), 0);
}

void world_file(int at, const char *path, const char *text)
{
	int fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

bool world_has(const struct world *w, const char *path)
{
	struct stat st;

	return fstatat(w->target, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Does the file hold @text? */
bool world_holds(const struct world *w, const char *path, const char *text)
{
	int fd = openat(w->target, path, O_RDONLY | O_NOFOLLOW);
	char is[64] = "";

	if (fd < 0)
		return false;
	ck_assert_int_ge(read(fd, is, sizeof(is) - 1), 0);
	close(fd);
	return !strcmp(is, text);
}

static void make_target(int at)
{
	world_dir(at, "data", 0755);
	world_dir(at, "etc", 0755);
	ck_assert_int_eq(mkfifoat(at, "etc/fifo", 0644), 0);
	world_file(at, "etc/keep", "keep");
	world_file(at, "etc/mode", "mode");
	ck_assert_int_eq(fchmodat(at, "etc/mode", 04755, 0), 0);
	world_file(at, "etc/old", "old");
	ck_assert_int_eq(symlinkat("old", at, "etc/old.link"), 0);
	world_file(at, "etc/other", "other");
	world_file(at, "etc/passwd", "root\n");
	ck_assert_int_eq(symlinkat("there", at, "etc/swap.link"), 0);
	world_dir(at, "opt", 0755);
	world_dir(at, "opt/goes", 0750);
	world_file(at, "opt/goes/a", "a");
	world_dir(at, "opt/goes/sub", 01777);
	world_file(at, "opt/goes/sub/b", "b");
	world_dir(at, "opt/goes.d", 0755);
	world_file(at, "opt/goes.d/c", "c");
	world_dir(at, "var", 0755);
	world_dir(at, "var/lib", 0755);
	world_dir(at, "var/lib/plyfs", 0700);
	world_dir(at, UPDATE, 0700);
}

static void make_staged(int at)
{
	world_dir(at, "new", 0700);
	world_dir(at, "tree", 0700);
	world_dir(at, "tree/etc", 0700);
	world_dir(at, "tree/opt", 0700);
	world_dir(at, "tree/opt/new", 0755);
	world_dir(at, "tree/opt/new/d", 0711);
	world_file(at, "tree/opt/new/f", "new f");
	ck_assert_int_eq(linkat(at, "tree/opt/new/f", at, "tree/opt/new/h", 0), 0);
	ck_assert_int_eq(linkat(at, "tree/opt/new/f", at, "tree/etc/hard", 0), 0);
	ck_assert_int_eq(symlinkat("../f", at, "tree/opt/new/d/link"), 0);
	ck_assert_int_eq(mkfifoat(at, "tree/opt/new/d/pipe", 0600), 0);
	world_file(at, "tree/etc/new", "new");
	ck_assert_int_eq(symlinkat("new", at, "tree/etc/new.link"), 0);
}

static size_t root_len;

static int age_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	uint64_t h = xxh3(path + root_len, strlen(path + root_len), 0);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { 1000000000 + (time_t)(h % 1000000), 123456789 } };

	(void)st, (void)type, (void)ftw;
	return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static const char *staged_at(const struct change *row, char out[256])
{
	if (row->kind == CHANGE_MAKE)
		snprintf(out, 256, "tree/%s", row->path);
	else
		snprintf(out, 256, "new/%u", row->n);
	return out;
}

static void make_row(struct world *w, enum change_kind kind, const char *path)
{
	struct change row = { .kind = (uint8_t)kind, .comp = 0, .path = (char *)path, .n = (uint32_t)w->c.n };
	char staged[256];

	if (!strncmp(path, "opt/new/", 8))
		row.flags = CHANGE_INSIDE;
	ck_assert_int_eq(change_look(w->target, path, &row.before), 0);
	if (kind == CHANGE_MAKE || kind == CHANGE_SWAP)
		ck_assert_int_eq(change_look(w->update, staged_at(&row, staged), &row.after), 0);
	if (kind == CHANGE_META) {
		row.after = row.before;
		row.after.mode = S_ISDIR(row.before.mode) ? S_IFDIR | 01700 : S_IFREG | 06710;
		row.after.uid = geteuid() ? geteuid() : 7;
	}
	ck_assert_int_eq(changes_add(&w->c, &row), 0);
}

static void make_table(struct world *w)
{
	static const char *const dirs[] = { "opt/goes/sub", "opt/goes", "opt/goes.d", "opt", "etc" };
	struct buf bytes = { 0 };

	w->c.kind = CHANGES_ADD;
	ck_assert_int_eq(changes_add_name(&w->c, "web"), 0);
	for (size_t i = WORLD_ROWS; i-- > 0;)
		make_row(w, world_rows[i].kind, world_rows[i].path);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct stat st;

		ck_assert_int_eq(fstatat(w->target, dirs[i], &st, 0), 0);
		ck_assert_int_eq(changes_add_dir(&w->c, dirs[i], st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec), 0);
	}
	changes_sort(&w->c);
	ck_assert_msg(changes_encode(&w->c, &bytes, &err) == 0, "%s", err.msg);
	changes_done(&w->c);
	ck_assert_msg(changes_decode(bytes.data, bytes.len, &w->c, &err) == 0, "%s", err.msg);
	buf_done(&bytes);
}

static void tell(void *ctx, const char *path, const char *why)
{
	struct world *w = ctx;
	size_t len = strlen(w->told);

	snprintf(w->told + len, sizeof(w->told) - len, "%s: %s\n", path, why);
}

void world_new(struct world *w)
{
	const char *tmp = getenv("TMPDIR");
	char new[64];

	*w = (struct world){ 0 };
	snprintf(w->root, sizeof(w->root), "%s/plyfs-apply.XXXXXX", tmp ? tmp : "/tmp");
	umask(022);
	ck_assert_ptr_nonnull(mkdtemp(w->root));
	root_len = strlen(w->root);
	w->target = open(w->root, O_PATH | O_DIRECTORY);
	make_target(w->target);
	w->update = openat(w->target, UPDATE, O_PATH | O_DIRECTORY);
	make_staged(w->update);
	for (size_t i = 0; i < WORLD_ROWS; i++) {
		/* rows are added in the opposite order: see make_table() */
		snprintf(new, sizeof(new), "new/%zu", WORLD_ROWS - 1 - i);
		if (!strcmp(world_rows[i].path, "etc/passwd"))
			world_file(w->update, new, "root\nweb\n");
		else if (world_rows[i].kind == CHANGE_SWAP)
			ck_assert_int_eq(symlinkat("elsewhere", w->update, new), 0);
	}
	ck_assert_int_eq(nftw(w->root, age_one, 16, FTW_PHYS | FTW_DEPTH), 0);
	make_table(w);
	w->a = (struct apply){ .target = w->target, .update = w->update, .c = &w->c, .left = tell, .ctx = w };
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void world_done(struct world *w)
{
	close(w->target);
	close(w->update);
	changes_done(&w->c);
	ck_assert_int_eq(nftw(w->root, remove_one, 16, FTW_PHYS | FTW_DEPTH), 0);
}

/* --- how a target is ------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void describe(int at, const char *name, const char *path, struct buf *out)
{
	struct change_side s;
	struct stat st;
	char hex[33];

	ck_assert_int_eq(change_look(at, name, &s), 0);
	ck_assert_int_eq(fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	hex_encode(s.digest, sizeof(s.digest), hex);
	buf_printf(out, "%s %o %u:%u %lu %lu.%09u links %lu %s\n", path, s.mode, s.uid, s.gid, (unsigned long)s.size,
		   (unsigned long)s.mtime_sec, s.mtime_nsec, (unsigned long)st.st_nlink, hex);
}

static void list(int at, const char *path, struct buf *out)
{
	int fd = openat(at, ".", O_RDONLY | O_DIRECTORY), n;
	struct dirent **names;

	n = scandirat(fd, ".", &names, NULL, by_name);
	ck_assert_int_ge(n, 0);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		char below[512];
		int sub;

		snprintf(below, sizeof(below), "%s/%s", path, name);
		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(below, "/var/lib/plyfs") != 0) {
			describe(fd, name, below, out);
			sub = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
			if (sub >= 0) {
				list(sub, below, out);
				close(sub);
			}
		}
		free(names[i]);
	}
	free(names);
	close(fd);
}

char *world_state(const struct world *w)
{
	struct buf out = { 0 };

	list(w->target, "", &out);
	buf_add_zero(&out, 1);
	return (char *)out.data;
}
