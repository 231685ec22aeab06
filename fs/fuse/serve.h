/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The session with the kernel: threads that take requests from /dev/fuse and answer
 * them, and how many came of each kind.
 */
#ifndef PLYFS_FUSE_SERVE_H
#define PLYFS_FUSE_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "opcodes.h"
#include "plyfs/error.h"

struct serve;
struct tree;

/*
 * @fd, the connection of a fresh mount, is consumed in every case. Answers the first
 * request (INIT) before it returns: the mount is usable, if nobody answers yet.
 * @tree is borrowed.
 */
int serve_new(int fd, struct tree *tree, struct serve **ret, struct ply_err *err);

/* Start @nthreads. */
int serve_start(struct serve *s, unsigned nthreads, struct ply_err *err);

/* Readable when a thread has ended: the file system is unmounted, or the session failed. */
int serve_ended_fd(const struct serve *s);

/* Is the file system still mounted somewhere? Then its device number is still ours. */
bool serve_is_connected(const struct serve *s);

/* Wait until the kernel has nothing more to say, but not for long. By who does not answer requests. */
void serve_drain(const struct serve *s);

/* End the threads, as soon as each is through with its request, and close the
 * connection: what still uses the mount gets ENOTCONN. NULL in, NULL out. */
struct serve *serve_free(struct serve *s);

/* Requests so far, by opcode. */
void serve_counts(const struct serve *s, uint64_t ret[OPCODE_MAX]);
/* What READ asked for, and what came with WRITE. */
void serve_bytes(const struct serve *s, uint64_t *ret_read, uint64_t *ret_write);

#endif
