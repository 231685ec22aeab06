/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: dpkg's database, all of its files in memory. Input: a byte that says what is missing,
 * then the texts, each ended by 0xff: status, diversions, extended_states, arch, names in info/ (a line
 * each), then what each file in info/ contains, in that order.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/inroot.h"
#include "capture/pkgdb/deb822.h"
#include "capture/pkgdb/dpkg_needs.h"
#include "fuzz.h"

#define TEXTS 16

static struct machine {
	unsigned missing;
	char *texts[TEXTS];        /* NUL bytes may stand in them */
	size_t lens[TEXTS];
	char *names[TEXTS];        /* in info/ */
	size_t nnames, listed;
	struct dirent entry;
} m;

enum { STATUS, DIVERSIONS, STATES, ARCH, INFO_NAMES, INFO };

static int give(unsigned which, size_t max, struct buf *out)
{
	if (which >= TEXTS || m.missing >> which & 1)
		return -ENOENT;
	if (m.lens[which] > max)
		return -EFBIG;
	if (buf_reserve(out, m.lens[which] + 1) < 0)
		return -ENOMEM;
	memcpy(out->data, m.texts[which], m.lens[which]);
	out->len = m.lens[which];
	out->data[out->len] = '\0';
	return 0;
}

static int memory_read(int root, const char *path, size_t max, struct buf *out)
{
	static const char *const files[] = { "var/lib/dpkg/status", "var/lib/dpkg/diversions",
					     "var/lib/apt/extended_states", "var/lib/dpkg/arch" };

	(void)root;
	for (unsigned i = 0; i < 4; i++)
		if (!strcmp(path, files[i]))
			return give(i, max, out);
	return -ENOENT;
}

static int memory_read_at(int dir, const char *name, size_t max, struct buf *out)
{
	(void)dir;
	for (size_t i = 0; i < m.nnames; i++)
		if (!strcmp(m.names[i], name))
			return give((unsigned)(INFO + i), max, out);
	return -ENOENT;
}

static struct dirent *memory_readdir(DIR *dir)
{
	(void)dir;
	if (m.listed == m.nnames)
		return NULL;
	snprintf(m.entry.d_name, sizeof(m.entry.d_name), "%s", m.names[m.listed++]);
	return &m.entry;
}

static int memory_open(int root, const char *path, int flags)
{
	(void)root;
	(void)flags;
	m.listed = 0;
	return strstr(path, "updates") ? m.missing & 0x80 ? -ENOENT : 100 : 100;
}

static int memory_close(int fd)
{
	return fd == 100 ? 0 : -1;
}

#define inroot_read memory_read
#define inroot_read_at memory_read_at
#define inroot_open memory_open
#define openat(fd, name, flags) 100
#define fdopendir(fd) ((DIR *)&m)
#define readdir memory_readdir
#define closedir(dir) ((void)(dir))
#define close memory_close
#include "capture/pkgdb/pkgdb_dpkg.c"
#undef close
#undef readdir
#undef openat

static struct ply_err err;         /* messages are part of what is tested */

static int see_file(void *ctx, const char *path, size_t len)
{
	(void)ctx;
	touch(path, len);
	return 0;
}

static int see_script(void *ctx, const char *name, const char *text, size_t len)
{
	(void)ctx;
	touch(name, strlen(name) + 1);
	touch(text, len + 1);
	return 0;
}

static void see(struct pkgdb *db)
{
	for (uint32_t i = 0; i < pkgdb_count(db); i++) {
		const struct pkg *p = pkgdb_get(db, i);
		const struct pkg_need *need;
		size_t n;

		touch(p->source, strlen(p->source) + 1);
		touch(p->summary, strlen(p->summary) + 1);
		if (strchr(p->name, '/') || pkgdb_find(db, p->name) == PKG_NONE)
			abort();
		need = pkgdb_needs(db, i, &n);
		for (size_t k = 0; k < n; k++) {
			touch(need[k].text, strlen(need[k].text) + 1);
			for (uint32_t b = 0; b < need[k].nby; b++)
				if (need[k].by[b] >= pkgdb_count(db) || need[k].by[b] == i)
					abort();
		}
		pkgdb_files(db, i, see_file, NULL, &err);
		pkgdb_scripts(db, i, see_script, NULL, &err);
		if (i) {
			const char *a = pkgdb_get(db, i - 1)->version;
			int ab = dpkg_version_compare(a, p->version), ba = dpkg_version_compare(p->version, a);

			if ((ab < 0) != (ba > 0) || (ab > 0) != (ba < 0) || dpkg_version_compare(a, a))
				abort();
		}
	}
	pkgdb_check_finished(db, &err);
	touch(pkgdb_arch(db), strlen(pkgdb_arch(db)) + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct pkgdb *db = NULL;
	char *rest;

	m.missing = (unsigned)input_number(&in, 1);
	for (size_t i = 0; i < TEXTS; i++) {
		const uint8_t *from = in.at;
		size_t before = in.left;

		m.texts[i] = input_text(&in, 0xff);
		m.lens[i] = (size_t)(in.at - from);
		m.lens[i] -= m.lens[i] && (in.left || before > 0) && from[m.lens[i] - 1] == 0xff;
	}
	m.nnames = 0;
	rest = m.texts[INFO_NAMES];
	for (char *line; m.nnames + INFO < TEXTS && (line = strsep(&rest, "\n"));)
		if (*line && !strchr(line, '/') && strlen(line) <= NAME_MAX)
			m.names[m.nnames++] = line;
	if (pkgdb_open_dpkg(-1, &db, &err) == 0)
		see(db);
	pkgdb_close(db);
	for (size_t i = 0; i < TEXTS; i++)
		free(m.texts[i]);
	return 0;
}
