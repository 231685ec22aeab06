/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See target.h. Shares no code with the product's own comparison. The digest of a tree is the sum
 * of its files', so that the order of a directory does not count.
 */
#include "damage/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"

static uint64_t sum;
static bool failed;
static size_t root_len;

static uint64_t xattrs(const char *path)
{
	char names[4096], value[4096];
	ssize_t n = llistxattr(path, names, sizeof(names));
	uint64_t digest = 0;

	failed |= n < 0;
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t len = lgetxattr(path, names + at, value, sizeof(value));

		failed |= len < 0;
		if (len >= 0)
			digest += xxh3(value, (size_t)len, xxh3(names + at, strlen(names + at), 1));
	}
	return digest;
}

static uint64_t content(const char *path, const struct stat *st)
{
	static uint8_t buf[1 << 20];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t digest = 0;
	off_t data = 0, hole = 0;
	ssize_t n;

	if (fd < 0) {
		failed = true;
		return 0;
	}
	for (off_t at = 0; at < st->st_size && (n = pread(fd, buf, sizeof(buf), at)) > 0; at += n)
		digest = xxh3(buf, (size_t)n, digest);
	while (hole < st->st_size && (data = lseek(fd, hole, SEEK_DATA)) >= 0 &&
	       (hole = lseek(fd, data, SEEK_HOLE)) > data) {
		const off_t extent[] = { data, hole };

		digest = xxh3(extent, sizeof(extent), digest);
	}
	return digest;
}

static int add(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static const char state[] = "/var/lib/plyfs";
	uint64_t fields[12] = { 0 };
	char target[4096];
	ssize_t n;

	(void)ftw;
	/* what the layout knows of itself has the image's digest, and times of its own; and what leads there */
	path += root_len;
	if (!strncmp(path, state, sizeof(state) - 1) || !strcmp(path, "/var") || !strcmp(path, "/var/lib"))
		return 0;
	path -= root_len;
	if (type == FTW_NS || type == FTW_DNR) {
		failed = true;
		return 1;
	}
	fields[0] = st->st_mode;
	fields[1] = st->st_uid;
	fields[2] = st->st_gid;
	fields[3] = st->st_nlink;
	fields[4] = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size;
	fields[5] = st->st_rdev;
	fields[6] = (uint64_t)st->st_mtim.tv_sec;
	fields[7] = (uint64_t)st->st_mtim.tv_nsec;
	fields[8] = xattrs(path);
	if (S_ISREG(st->st_mode))
		fields[9] = content(path, st);
	if (S_ISLNK(st->st_mode) && (n = readlink(path, target, sizeof(target))) > 0)
		fields[10] = xxh3(target, (size_t)n, 2);
	fields[11] = xxh3(path + root_len, strlen(path + root_len), 3);
	sum += xxh3(fields, sizeof(fields), 4);
	return 0;
}

uint64_t target_digest(const char *path)
{
	sum = 0;
	failed = false;
	root_len = strlen(path);
	if (nftw(path, add, 16, FTW_PHYS) != 0 || failed)
		return 0;
	return sum | 1;
}

int target_count(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* By descriptor: a hostile tree is deep, and its names are long. */
static int wipe_at(int dir, const char *name)
{
	int fd, r = 0;
	const struct dirent *de;
	DIR *d;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -1;
	while (r == 0 && (de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			r = wipe_at(dirfd(d), de->d_name);
	closedir(d);
	return r < 0 ? r : unlinkat(dir, name, AT_REMOVEDIR);
}

int target_wipe(const char *path)
{
	return wipe_at(AT_FDCWD, path);
}
