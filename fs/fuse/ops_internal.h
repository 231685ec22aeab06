/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What read-only and writable mounts have in common: see ops.c. */
#ifndef PLYFS_FUSE_OPS_INTERNAL_H
#define PLYFS_FUSE_OPS_INTERNAL_H

#include <stddef.h>

#include "ops.h"

#define OPS_FOREVER   1e9              /* seconds */
#define OPS_REPLY_MAX (1u << 20)       /* the most that the kernel asks for in one READ, and sends in one WRITE */

/* The first thing that a request asks for. */
struct tree *ops_tree(fuse_req_t req);
/* What it does, for who has the tree. */
void ops_begin(void);

/* At the end of an answer that is all in our own memory, and has changed nothing: whether to make it once more. */
bool ops_disturbed(uint64_t ino);
/* Whether the answer was disturbed each time: else EIO it is, whatever was found, or not found. */
bool ops_is_sound(fuse_req_t req);
bool ops_is_lost(void);                /* the same, without an answer */

/* @size bytes at most OPS_REPLY_MAX, the calling thread's until its next request; NULL: no memory. */
void *ops_buffer(size_t size);

/* Listing a directory into a reply. */
struct listing {
	fuse_req_t req;
	const struct tree *tree;
	bool plus;
	uint64_t end;              /* of a writable mount: entries with this cookie, or a higher one, do not count */
	char *buf;
	size_t used, size;
};
/* 1: does not fit. */
int ops_add_name(struct listing *l, const char *name, const struct fuse_entry_param *e, uint64_t cookie);
int ops_add_dot(struct listing *l, const char *name, uint64_t ino, uint64_t cookie);       /* "." and ".." */

/* Names of xattrs for a reply. */
struct names {
	char *buf;                 /* PLY_XATTR_SET_MAX */
	size_t used;
	bool trusted;              /* the caller may see trusted.* */
	bool full;
};
int ops_add_xattr(struct names *n, const char *name, size_t len);  /* 1: does not fit */
void ops_reply_names(fuse_req_t req, const struct names *n, size_t size);

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

#endif
