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
#include "fake_tree.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	static char users[] = "web:x:100:100\nhe:x:101:101\n";
	struct facts f = { .scan = &tree, .closure = &tree_closure, .db = (const struct pkgdb *)&file };
	char distro[140], *text;
	size_t len = in.left;

	if (!size)
		return 0;
	file = in;
	text = input_text(&in, -1);
	switch (how % 5) {
	case 0: read_alternative(&f, TREE_PROGRAM, text, len); break;
	case 1: read_sysusers(&f, TREE_PROGRAM, text, len); break;
	case 2: {
		struct script s = { &f, 1 };

		idnames_parse(&f.users, users, strlen(users));
		read_script(&s, "a.postinst", text, len);
		break;
	}
	case 3: read_ucf(&f); break;
	case 4:
		capture_read_distro(-1, distro, sizeof(distro));
		touch(distro, strlen(distro) + 1);
		break;
	}
	for (size_t i = 0; i < f.nwords; i++) {
		struct word *w = &f.words[i];
		const char *t = (const char *)f.text.data + w->text;

		if (find_word(&f, (enum kind)*t, t + 1, w->len) != w)
			abort();
		if (common_of_word(&f, w) >= tree_closure.ncomps && common_of_word(&f, w) != FACT_NONE)
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
