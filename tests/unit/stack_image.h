/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images with overlays for tests, made from tables: what each sub-image has, path by path, and what collides.
 * Directories on the way are made, implied; directories of one path are joined.
 */
#ifndef PLYFS_TESTS_STACK_IMAGE_H
#define PLYFS_TESTS_STACK_IMAGE_H

#include <stdint.h>

#include "plyfs/disk.h"

struct item {
	const char *path;          /* "etc/motd"; "" is the root */
	/* d directory, i implied one, f file, l symlink, w whiteout, W whiteout of a directory (items
	 * below it are in it), s part of a shared file (passwd: a record a line), h hard link, x (hostile)
	 * a whiteout that refers to @text, a file */
	char type;
	const char *text;          /* content, target; of h: the path of the first name */
	uint32_t over;             /* PLY_OVER_*: a row of OVERRIDES */
	uint16_t mode;             /* 0: 0644, 0755; of s: ordinal of its first record */
	uint16_t uid;
	uint8_t flags;             /* PLY_NODE_* beside */
	int64_t mtime;
	const char *xattr;         /* value of user.x */
};

struct pair {
	const char *path;
	const char *a, *b;         /* sub-images */
	uint8_t cls, why;
	uint16_t flags;            /* whiteouts are found out */
};

struct sub_table {
	const char *name;          /* the first is os; NULL: the end */
	const char *stands_on[4];  /* an overlay, and what it stands on */
	const struct item *items;  /* sorted by path; ends with path NULL */
	const char *requires;
};

/* Aborts where that fails. */
void stack_image(const char *path, const struct sub_table *subs, const struct pair *pairs);
/* References in the order of the image that was made last: a, b of the pair at @path. */
void stack_pair(const char *path, const char *a, const char *b, uint64_t *ret_a, uint64_t *ret_b);
/* For hostile images: the row as it is, behind all others; number << 48 | index. */
void stack_add_raw(uint64_t a, uint64_t b, uint8_t cls, uint16_t flags);

#endif
