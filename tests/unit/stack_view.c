/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See stack_view.h. */
#include "stack_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

struct ply_err err;
struct ply_image *image;
struct ply_view *view;

static char text[4096];

/* --- images of several tests ---------------------------------------------------------- */

const struct item base_os[] = {
	{ "etc", 'd', NULL, 0, 0, 0, 0, 0, NULL },
	{ "etc/a", 'f', "a of os\n", 0, 0, 0, 0, 0, NULL },
	{ "etc/b", 'f', "b of os\n", 0, 0, 0, 0, 0, NULL },
	{ "opt", 'd', NULL, 0, 0, 0, 0, 0, NULL },
	{ "opt/sub", 'd', NULL, 0, 0, 0, 0, 0, NULL },
	{ "opt/sub/x", 'f', "x", 0, 0, 0, 0, 0, NULL },
	{ "opt/sub/y", 'f', "y", 0, 0, 0, 0, 0, NULL },
	{ "opt/z", 'l', "sub", 0, 0, 0, 0, 0, NULL },
	{ NULL, 0, NULL, 0, 0, 0, 0, 0, NULL },
};

const struct item ten_os[] = { F("etc/ten", TEN), END };
const struct item ten_a[] = { CHANGED("etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"), END };
const struct item ten_b[] = { CHANGED("etc/ten", "1\n2\n3\n4\n5\n6\n7\n8\n9\nten\n"), END };
static const struct item ten_c[] = { CHANGED("etc/ten", "one\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n"), END };
/* c stands on a */
const struct sub_table ten_subs[] = { { "os", { NULL }, ten_os, NULL }, { "a", { "os" }, ten_a, NULL },
					     { "b", { "os" }, ten_b, NULL }, { "c", { "a" }, ten_c, NULL },
					     { NULL, { NULL }, NULL, NULL } };
const struct pair ten_pairs[] = { { "etc/ten", "a", "b", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					 { "etc/ten", "b", "c", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					 { NULL, NULL, NULL, 0, 0, 0 } };

const struct item passwd_os[] = { { "etc/passwd", 's', ROOT, 0, 0, 0, 0, 0, NULL }, END };
static const struct item passwd_db[] = { { "etc/passwd", 's', MYSQL, 0, 1, 0, 0, 0, NULL }, END };
static const struct item passwd_web[] = { CHANGED("etc/passwd", ROOT WEB), END };
static const struct item passwd_app[] = { CHANGED("etc/passwd", ROOT APP), END };
const struct sub_table passwd_subs[] = { { "os", { NULL }, passwd_os, NULL }, { "mysql", { NULL }, passwd_db, NULL },
						{ "web", { "os" }, passwd_web, NULL }, { "app", { "os" }, passwd_app, NULL },
						{ NULL, { NULL }, NULL, NULL } };
const struct pair passwd_pairs[] = { { "etc/passwd", "mysql", "web", PLY_PAIR_DRIVER, 0, PLY_PAIR_F_CONTENT },
					    { "etc/passwd", "mysql", "app", PLY_PAIR_DRIVER, 0, PLY_PAIR_F_CONTENT },
					    { "etc/passwd", "web", "app", PLY_PAIR_DRIVER, 0, PLY_PAIR_F_CONTENT },
					    { NULL, NULL, NULL, 0, 0, 0 } };

/* --- looking at them ------------------------------------------------------------------- */

void make(const struct sub_table *subs, const struct pair *pairs)
{
	char path[] = "/tmp/plyfs-overlay-XXXXXX";

	close(mkstemp(path));
	stack_image(path, subs, pairs);
	OK(ply_image_open(path, &image, &err));
	unlink(path);
}

int try_open(const char *names, const struct ply_decision *d, size_t n, bool append)
{
	const char *v[16];
	char *copy = strdup(names), *save = NULL;
	struct ply_view_options o = { .names = v, .decisions = d, .ndecisions = n, .append = append };
	int r;

	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		v[o.n++] = p;
	view = ply_view_close(view);
	r = ply_view_open_with(image, &o, &view, &err);
	free(copy);
	return r;
}

void open_names(const char *names)
{
	OK(try_open(names, NULL, 0, false));
}

void open_decided(const char *names, const char *path, const char *a, const char *b, uint8_t rule)
{
	struct ply_decision d = { .rule = rule };

	stack_pair(path, a, b, &d.a, &d.b);
	OK(try_open(names, &d, 1, false));
}

void done(void)
{
	view = ply_view_close(view);
	image = ply_image_close(image);
}

uint64_t ino_of(const char *path)
{
	uint64_t ino;

	OK(ply_view_resolve(view, path, false, &ino, &err));
	return ino;
}

struct ply_attr attr_of(const char *path)
{
	struct ply_attr a;

	OK(ply_view_attr(view, ino_of(path), &a, &err));
	return a;
}

const char *cat(const char *path)
{
	struct ply_attr a;
	const char *target;
	uint64_t ino;
	size_t len;
	int r = ply_view_resolve(view, path, false, &ino, &err);
	ssize_t n;

	if (r == -ENOENT || r == -ENOTDIR)
		return "-";
	OK(r);
	OK(ply_view_attr(view, ino, &a, &err));
	ck_assert_uint_eq(a.ino, ino);
	if (S_ISDIR(a.mode))
		return "/";
	if (S_ISLNK(a.mode)) {
		OK(ply_view_readlink(view, ino, &target, &len, &err));
		snprintf(text, sizeof(text), "@%.*s", (int)len, target);
		return text;
	}
	n = ply_view_read(view, ino, 0, sizeof(text) - 1, text, &err);
	ck_assert_msg(n >= 0, "%s: %s", path, err.msg);
	ck_assert_uint_eq((uint64_t)n, a.size);
	text[n] = '\0';
	return text;
}

int list_one(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;
	uint64_t ino;
	struct ply_attr a;

	OK(ply_view_lookup(view, l->dir, de->name, de->len, &ino, &err));
	ck_assert_uint_eq(ino, de->ino);
	OK(ply_view_attr(view, ino, &a, &err));
	ck_assert_uint_eq(a.mode >> 12, de->type);
	buf_printf(&l->names, "%s%.*s", l->names.len ? " " : "", (int)de->len, de->name);
	l->cookie = de->cookie;
	return --l->left == 0;
}

const char *ls(const char *path)
{
	struct listing l = { .dir = ino_of(path), .left = -1 };

	OK(ply_view_readdir(view, l.dir, 0, list_one, &l, &err));
	snprintf(text, sizeof(text), "%.*s", (int)l.names.len, (char *)l.names.data);
	buf_done(&l.names);
	return text;
}


int walk_on(void *ctx, const struct ply_walk_entry *e)
{
	(void)ctx;
	(void)e;
	return 0;
}
