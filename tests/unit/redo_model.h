/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a log should say, kept in plain arrays: a few inodes of below, a few that are made, each byte of their
 * contents and where it comes from. And the same requests to both, at random.
 */
#ifndef PLYFS_TESTS_REDO_MODEL_H
#define PLYFS_TESTS_REDO_MODEL_H

#include "redo/redo.h"

#define MODEL_NUMBER 16384u
#define MODEL_LOWER  5             /* inodes of below: 1 and 2 directories, 3 to 5 files */
#define MODEL_NEW    12
#define MODEL_INODES (MODEL_LOWER + MODEL_NEW)
#define MODEL_BYTES  (5u * 4096)   /* of a file that are looked at */
#define MODEL_NAMES  5
#define MODEL_XATTRS 3
#define MODEL_BELOW  9000u         /* bytes of a file of below */

struct model_name {
	uint64_t ino;              /* 0: not added */
	uint64_t cookie;
	bool hides;
};

struct model_inode {
	bool dead;                 /* or not made yet */
	uint32_t mode;             /* also where the log does not say it */
	uint32_t nlink;
	uint32_t mask;
	struct redo_attr attr;
	uint8_t bytes[MODEL_BYTES];
	char kind[MODEL_BYTES];    /* L(og), H(ole), B(elow) */
	uint8_t xattr[MODEL_XATTRS];       /* 0 below, 1 hidden, else length of the value plus 2 */
	uint8_t xattr_fill[MODEL_XATTRS];
	char target[32];
	struct model_name names[MODEL_NAMES];
};

struct model {
	struct model_inode i[MODEL_INODES];
	uint64_t next_cookie;
	uint64_t rng;
};

void model_init(struct model *m, uint64_t seed);
uint64_t model_random(struct model *m, uint64_t below);
/* A random request to both; @m changes only where redo_append() said 0. Returns what that, or redo_op_write(), said;
 * *ret_lsn is behind it. 1: the dice had nothing that can be done. */
int model_step(struct model *m, struct redo *log, uint64_t *ret_lsn, struct ply_err *err);

/* Everything that can be asked, as text: the same for both, if the log is right. */
void model_text(const struct model *m, struct buf *out);
void model_log_text(struct redo *log, struct buf *out);
/* An error of reading is in the text. */
uint64_t model_digest(const struct model *m);
uint64_t model_log_digest(struct redo *log);

/* What lies below: redo_below_fn. */
int model_below(void *ctx, uint64_t ino, uint64_t off, void *buf, size_t len, struct ply_err *err);
struct redo_binding model_binding(void);
extern const uint8_t model_uuid[16];
struct redo_disk;
/* An empty log on an initialised disk. */
int model_format(struct redo_disk *d);

#endif
