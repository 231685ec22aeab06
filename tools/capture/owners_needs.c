/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What programs of components by path need from elsewhere. Packages say so themselves; a tree that was
 * built or copied does not, but its ELF files name their libraries and its scripts their
 * interpreter. Libraries are looked for as the loader would: the file's own paths, those of
 * ld.so.conf, the usual directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "capture/elf.h"
#include "capture/facts.h"
#include "capture/owners.h"

#define DIRS_MAX 256u
#define CONF_MAX ((size_t)1 << 20)

struct needs {
	const struct scan *scan;
	struct split *split;
	int (*fn)(void *ctx, uint16_t from, uint16_t to);
	void *ctx;
	uint32_t dirs[DIRS_MAX];   /* where libraries lie */
	unsigned ndirs;
	uint32_t node;             /* the program in hand */
	int fd;
	char path[4096];           /* its own paths for libraries, with colons */
};

static void add_dir(struct needs *n, const char *path, size_t len)
{
	uint32_t dir = scan_lookup(n->scan, path, len);

	if (dir != SCAN_NONE && S_ISLNK(n->scan->nodes[dir].mode)) {
		char through[512];

		/* with a component behind it a symlink is followed */
		snprintf(through, sizeof(through), "%.*s/.", (int)len, path);
		dir = scan_lookup(n->scan, through, strlen(through));
	}
	if (dir == SCAN_NONE || !S_ISDIR(n->scan->nodes[dir].mode) || n->ndirs == DIRS_MAX)
		return;
	for (unsigned i = 0; i < n->ndirs; i++)
		if (n->dirs[i] == dir)
			return;
	n->dirs[n->ndirs++] = dir;
}

static int read_conf(struct needs *n, uint32_t node)
{
	_cleanup_buf_ struct buf text = { 0 };
	char *rest;
	int r;

	if (node == SCAN_NONE || !S_ISREG(n->scan->nodes[node].mode))
		return 0;
	r = facts_read(n->scan, node, CONF_MAX, &text);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	rest = (char *)text.data;
	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line == '/')
			add_dir(n, line, strcspn(line, " \t\r#"));
	return 0;
}

static int find_dirs(struct needs *n)
{
	static const char *const usual[] = { "lib", "usr/lib", "lib64", "usr/lib64", "usr/local/lib" };
	uint32_t conf = scan_lookup(n->scan, "etc/ld.so.conf.d", strlen("etc/ld.so.conf.d"));
	int r = read_conf(n, scan_lookup(n->scan, "etc/ld.so.conf", strlen("etc/ld.so.conf")));

	if (conf != SCAN_NONE && S_ISDIR(n->scan->nodes[conf].mode))
		for (uint32_t i = 0; r == 0 && i < n->scan->nodes[conf].nchildren; i++)
			r = read_conf(n, n->scan->nodes[conf].first_child + i);
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		add_dir(n, usual[i], strlen(usual[i]));
	return r;
}

static int pread_all(void *ctx, uint64_t off, void *buf, size_t len)
{
	const struct needs *n = ctx;

	return off > INT64_MAX / 2 ? -EIO : pread_full(n->fd, buf, len, off);
}

static int require(struct needs *n, uint32_t to)
{
	uint16_t from = n->scan->nodes[n->node].comp, comp = n->scan->nodes[to].comp;

	if (comp == from || comp == 0 || comp & SPLIT_SET || from == 0)
		return 0;
	return n->fn(n->ctx, from, comp);
}

/* "$ORIGIN/../lib" is beside the program. */
static uint32_t find_beside(const struct needs *n, const char *dir, size_t len, const char *name)
{
	static const char *const origins[] = { "$ORIGIN", "${ORIGIN}" };
	_cleanup_buf_ struct buf path = { 0 };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(origins); i++) {
		size_t o = strlen(origins[i]);

		if (len < o || strncmp(dir, origins[i], o))
			continue;
		r = scan_path(n->scan, n->scan->nodes[n->node].parent, &path);
		path.len = r == 0 ? path.len - 1 : 0;
		dir += o;
		len -= o;
	}
	if (r == 0)
		r = buf_printf(&path, "%.*s/%s", (int)len, dir, name);
	return r < 0 ? SCAN_NONE : scan_lookup(n->scan, (const char *)path.data, path.len);
}

static int need_library(struct needs *n, const char *name)
{
	_cleanup_free_ char *shown_path = NULL, *shown_name = NULL;
	_cleanup_buf_ struct buf path = { 0 };

	if (strchr(name, '/')) {
		uint32_t to = scan_lookup(n->scan, name, strlen(name));

		return to == SCAN_NONE ? 0 : require(n, to);
	}
	for (const char *p = n->path; *p; p += strspn(p, ":")) {
		size_t len = strcspn(p, ":");
		uint32_t to = find_beside(n, p, len, name);

		if (to != SCAN_NONE)
			return require(n, to);
		p += len;
	}
	for (unsigned i = 0; i < n->ndirs; i++) {
		uint32_t to = scan_child(n->scan, n->dirs[i], name, strlen(name));

		if (to != SCAN_NONE)
			return require(n, to);
	}
	/* it may lie in the component itself, found by LD_LIBRARY_PATH or dlopen */
	for (uint32_t i = 1; i < n->scan->n; i++)
		if (n->scan->nodes[i].comp == n->scan->nodes[n->node].comp && !strcmp(scan_name(n->scan, i), name))
			return 0;
	if (scan_path(n->scan, n->node, &path) < 0)
		return -ENOMEM;
	shown_path = escape_name((const char *)path.data, path.len - 1);
	shown_name = escape_name(name, strlen(name));
	if (!shown_path || !shown_name)
		return -ENOMEM;
	return split_note(n->split, "component %s: /%s needs the library %s, which is not on this machine",
			  n->split->closure.comps[n->scan->nodes[n->node].comp].name, shown_path, shown_name);
}

static int see_word(void *ctx, enum elf_word what, const char *text)
{
	struct needs *n = ctx;
	size_t len = strlen(n->path);

	if (what == ELF_NEEDED)
		return need_library(n, text);
	snprintf(n->path + len, sizeof(n->path) - len, "%s%s", len ? ":" : "", text);
	return 0;
}

/* "#!/usr/bin/env php", "#!/usr/bin/php -q" */
static int see_script(struct needs *n)
{
	char line[256] = { 0 }, *p = line + 2;
	ssize_t got = pread(n->fd, line, sizeof(line) - 1, 0);
	uint32_t to;

	if (got < 4 || line[0] != '#' || line[1] != '!')
		return 0;
	line[strcspn(line, "\n")] = '\0';
	p += strspn(p, " \t");
	if (!strncmp(p, "/usr/bin/env ", 13)) {
		char path[300];

		p += 13 + strspn(p + 13, " \t");
		snprintf(path, sizeof(path), "usr/bin/%.*s", (int)strcspn(p, " \t/"), p);
		to = scan_lookup(n->scan, path, strlen(path));
	} else {
		to = scan_lookup(n->scan, p, strcspn(p, " \t"));
	}
	return to == SCAN_NONE ? 0 : require(n, to);
}

static int see_file(struct needs *n, uint32_t node)
{
	int dir = scan_open_dir(n->scan, n->scan->nodes[node].parent), r;

	if (dir < 0)
		return 0;          /* has gone: the capture tells */
	n->node = node;
	n->path[0] = '\0';
	n->fd = openat(dir, scan_name(n->scan, node), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	close(dir);
	if (n->fd < 0)
		return 0;
	r = see_script(n);
	if (r == 0)
		r = elf_words(pread_all, see_word, n);
	close(n->fd);
	return r;
}

int owners_needs(const struct scan *scan, struct split *split, const uint8_t *by_path,
		 int (*fn)(void *ctx, uint16_t from, uint16_t to), void *ctx, struct ply_err *err)
{
	struct needs *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return ply_fail_nomem(err);
	n->scan = scan;
	n->split = split;
	n->fn = fn;
	n->ctx = ctx;
	r = find_dirs(n);
	for (uint32_t i = 1; r == 0 && i < scan->n; i++) {
		const struct scan_node *f = &scan->nodes[i];
		bool program = f->mode & 0111 || strstr(scan_name(scan, i), ".so");

		if (by_path[i / 8] >> i % 8 & 1 && S_ISREG(f->mode) && program && f->comp)
			r = see_file(n, i);
	}
	free(n);
	return r < 0 ? ply_fail_nomem(err) : 0;
}
