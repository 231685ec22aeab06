/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: what the files of a machine say about other files, in a made-up tree of a few
 * names. First byte: what the rest is: an alternative, a sysusers.d file, a maintainer script, ucf's
 * registry, os-release.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/inroot.h"
#include "capture/facts.h"
#include "fuzz.h"

static struct input file;

static int give(int dir, const char *name, size_t max, struct buf *out)
{
	(void)dir;
	(void)name;
	if (file.left > max)
		return -EFBIG;
	if (buf_reserve(out, file.left + 1) < 0)
		return -ENOMEM;
	if (file.left)
		memcpy(out->data + out->len, file.at, file.left);
	out->len += file.left;
	out->data[out->len] = '\0';
	return 0;
}

static int no_directory(const struct scan *s, uint32_t node)
{
	(void)s;
	(void)node;
	return 100;
}

/* A database of one package, "web". */
static uint32_t find_package(const struct pkgdb *db, const char *name)
{
	(void)db;
	return !strcmp(name, "web") ? 0 : PKG_NONE;
}

#define inroot_read_at give
#define inroot_read give
#define scan_open_dir no_directory
#define pkgdb_find find_package
#define close(fd) ((void)(fd))
#include "capture/facts.c"
#undef close
#undef TEXT_MAX
#include "capture/capture.c"

/* "" with var/lib/ucf/registry, usr/bin/{a,b}; a symlink /l -> usr. */
static struct scan_node nodes[] = {
	{ .mode = S_IFDIR | 0755, .first_child = 1, .nchildren = 3, .name = 0 },
	{ .mode = S_IFLNK | 0777, .first_child = 2, .name = 0, .name_len = 1 },               /* l */
	{ .mode = S_IFDIR | 0755, .first_child = 4, .nchildren = 1, .name = 2, .name_len = 3 }, /* usr */
	{ .mode = S_IFDIR | 0755, .first_child = 5, .nchildren = 1, .name = 6, .name_len = 3 }, /* var */
	{ .mode = S_IFDIR | 0755, .parent = 2, .first_child = 6, .nchildren = 2, .name = 10, .name_len = 3 },
	{ .mode = S_IFDIR | 0755, .parent = 3, .first_child = 8, .nchildren = 1, .name = 14, .name_len = 3 },
	{ .mode = S_IFREG | 0755, .parent = 4, .name = 18, .name_len = 1, .comp = 1 },
	{ .mode = S_IFREG | 0755, .parent = 4, .name = 20, .name_len = 1 },
	{ .mode = S_IFDIR | 0755, .parent = 5, .first_child = 9, .nchildren = 1, .name = 22, .name_len = 3 },
	{ .mode = S_IFREG | 0644, .parent = 8, .name = 26, .name_len = 8, .comp = 1 },
};
static char names[] = "l\0usr\0var\0bin\0lib\0a\0b\0ucf\0registry";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct closure_pkg pkgs[] = { { .comp = 1 } };
	static char os[] = "os", web[] = "web";
	static struct closure_comp comps[] = { { .name = os }, { .name = web } };
	const struct closure closure = { .comps = comps, .ncomps = 2, .pkgs = pkgs, .npkgs = 1 };
	struct scan scan = { .root = -1, .nodes = nodes, .n = ARRAY_SIZE(nodes),
			     .names = { (uint8_t *)names, sizeof(names), sizeof(names) } };
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	static char users[] = "web:x:100:100\nhe:x:101:101\n";
	struct facts f = { .scan = &scan, .closure = &closure, .db = (const struct pkgdb *)&file };
	char distro[140], *text;
	size_t len = in.left;

	if (!size)
		return 0;
	file = in;
	text = input_text(&in, -1);
	switch (how % 5) {
	case 0: read_alternative(&f, 6, text, len); break;
	case 1: read_sysusers(&f, 6, text, len); break;
	case 2: {
		struct script s = { &f, 1 };

		idnames_parse(&f.users, users, strlen(users));
		read_script(&s, "a.postinst", text, len);
		break;
	}
	case 3: read_ucf(&f); break;
	case 4:
		read_distro(-1, distro, sizeof(distro));
		touch(distro, strlen(distro) + 1);
		break;
	}
	for (size_t i = 0; i < f.nwords; i++) {
		struct word *w = &f.words[i];
		const char *t = (const char *)f.text.data + w->text;

		if (find_word(&f, (enum kind)*t, t + 1, w->len) != w)
			abort();
		if (common_of_word(&f, w) >= closure.ncomps && common_of_word(&f, w) != FACT_NONE)
			abort();
	}
	free(text);
	buf_done(&f.text);
	free(f.words);
	free(f.said);
	map_done(&f.by_text);
	idnames_done(&f.users);
	return 0;
}
