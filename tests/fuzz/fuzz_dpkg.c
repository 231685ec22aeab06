/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: any bytes as the files of dpkg's database. The first byte says as which one;
 * status goes through the whole database, in a directory in memory.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/pkgdb/deb822.h"
#include "capture/pkgdb/pkgdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int root = -1;

static void put(const char *path, const uint8_t *data, size_t size)
{
	int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
}

static void begin(void)
{
	char dir[] = "/dev/shm/plyfs-fuzz-XXXXXX";

	if (!mkdtemp(dir) || (root = open(dir, O_PATH | O_DIRECTORY)) < 0)
		abort();
	mkdirat(root, "var", 0700);
	mkdirat(root, "var/lib", 0700);
	mkdirat(root, "var/lib/apt", 0700);
	mkdirat(root, "var/lib/dpkg", 0700);
	mkdirat(root, "var/lib/dpkg/info", 0700);
	put("var/lib/dpkg/info/a.list", (const uint8_t *)"/.\n/a\n", 6);
	put("var/lib/dpkg/info/b:c.list", (const uint8_t *)"/.\n/b\n", 6);
	put("var/lib/dpkg/status", (const uint8_t *)"Package: a\nStatus: x ok installed\n", 34);
}

static int see(void *ctx, const char *path, size_t len)
{
	volatile uint8_t *sink = ctx;

	for (size_t i = 0; i < len; i++)
		*sink ^= (uint8_t)path[i];
	return 0;
}

static void whole(void)
{
	struct pkgdb *db = NULL;
	uint8_t sink = 0;

	if (pkgdb_open(root, &db, NULL) < 0)
		return;
	for (uint32_t i = 0; i < pkgdb_count(db); i++) {
		size_t n;
		const struct pkg_need *need = pkgdb_needs(db, i, &n);

		pkgdb_files(db, i, see, &sink, NULL);
		pkgdb_find(db, pkgdb_get(db, i)->name);
		for (size_t k = 0; k < n; k++)
			for (uint32_t b = 0; b < need[k].nby; b++)
				if (need[k].by[b] >= pkgdb_count(db))
					abort();
	}
	pkgdb_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const files[] = { "var/lib/dpkg/status", "var/lib/dpkg/diversions",
					     "var/lib/apt/extended_states", "var/lib/dpkg/info/a.list" };
	const char *file;

	if (!size)
		return 0;
	if (root < 0)
		begin();
	file = files[data[0] % 4];
	put(file, data + 1, size - 1);
	whole();
	if (data[0] % 4)
		unlinkat(root, file, 0);
	else
		put(file, (const uint8_t *)"Package: a\nStatus: x ok installed\n", 34);
	if (data[0] % 4 == 3)
		put(file, (const uint8_t *)"/.\n/a\n", 6);
	return 0;
}
