/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One image of stack_image.h, and one view of it, opened as a test asks: what is there. Whatever fails fails the test. */
#ifndef PLYFS_STACK_VIEW_H
#define PLYFS_STACK_VIEW_H

#include "base/buf.h"
#include "plyfs/view.h"
#include "stack_image.h"
#include "tree/view_internal.h"

/* Rows of items. */
#define END { NULL, 0, NULL, 0, 0, 0, 0, 0, NULL }
#define F(path, text) { path, 'f', text, 0, 0, 0, 0, 0, NULL }
#define CHANGED(path, text) { path, 'f', text, PLY_OVER_CONTENT, 0, 0, 0, 0, NULL }
#define GONE(path) { path, 'w', NULL, 0, 0, 0, 0, 0, NULL }
#define DIR(path) { path, 'd', NULL, 0, 0, 0, 0, 0, NULL }
#define COVERS(path) { path, 'i', NULL, 0, 0, 0, PLY_NODE_COVERS, 0, NULL }
#define GONE_DIR(path) { path, 'W', NULL, 0, 0, 0, 0, 0, NULL }

extern struct ply_err err;
extern struct ply_image *image;
extern struct ply_view *view;

#define OK(call) \
	do { \
		int ok_ = (call); \
		ck_assert_msg(ok_ == 0, "%s: %d %s", #call, ok_, err.msg); \
	} while (0)

/* Images of several tests: files and directories; one file that three overlays change; users of components and overlays. */
extern const struct item base_os[];
#define TEN "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"
#define ROOT  "root:x:0:0:root:/root:/bin/sh\n"
#define MYSQL "mysql:x:27:27::/var/lib/mysql:/bin/false\n"
#define WEB   "web:x:33:33::/var/www:/bin/false\n"
#define APP   "app:x:99:99::/srv:/bin/false\n"
extern const struct sub_table ten_subs[], passwd_subs[];
extern const struct pair ten_pairs[], passwd_pairs[];
extern const struct item passwd_os[], ten_os[], ten_a[], ten_b[];

void make(const struct sub_table *subs, const struct pair *pairs);
/* @names: "os web"; another view is closed. */
int try_open(const char *names, const struct ply_decision *d, size_t n, bool append);
void open_names(const char *names);
void open_decided(const char *names, const char *path, const char *a, const char *b, uint8_t rule);
void done(void);

uint64_t ino_of(const char *path);
struct ply_attr attr_of(const char *path);

/* Content; "-" where it is not there, "/" a directory, "@..." a link. Good until the next call of this and ls(). */
const char *cat(const char *path);
#define IS(path, want) ck_assert_str_eq(cat(path), want)

struct listing {
	struct buf names;
	uint64_t dir, cookie;
	int left;
};
/* For ply_view_readdir(): each entry is what lookup says, too; ends when none is left. */
int list_one(void *ctx, const struct ply_dirent *de);
/* For ply_view_walk(): goes on. */
int walk_on(void *ctx, const struct ply_walk_entry *e);
/* Names, with blanks between. */
const char *ls(const char *path);
#define LISTS(path, want) ck_assert_str_eq(ls(path), want)

#endif
