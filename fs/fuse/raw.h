/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a writable mount needs of the FUSE protocol, and libfuse 3.14 hides or does not know: see raw.c.
 *
 * The hooks of the session (serve.c) hand each message through here, still as the kernel wrote it.
 */
#ifndef PLYFS_FUSE_RAW_H
#define PLYFS_FUSE_RAW_H

#include "ops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * A libfuse from here on knows TMPFILE and STATX: it gets them, and rw.c answers. All else here works with any version:
 * none tells what is read of requests here.
 */
#define RAW_LIBFUSE_KNOWS (FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18))

/* The request that the calling thread answers. */
struct raw {
	uint64_t request;          /* its id: the same when the kernel sends it to a second daemon */
	uint32_t opcode;
	bool kill;                 /* of OPEN, CREATE, SETATTR, WRITE: setuid, setgid and capabilities go */
	bool kill_sgid;            /* of SETXATTR, an access ACL: setgid goes */
};
const struct raw *raw_current(void);

/* Who answers what libfuse does not know. 0, or a positive errno. */
struct raw_answers {
	/* @fi->flags are those of open(2); the rest is set. Undone where the kernel does not take the answer. */
	int (*tmpfile)(void *ctx, const struct fuse_ctx *who, uint64_t dir, mode_t mode, struct fuse_file_info *fi,
		       struct fuse_entry_param *ret);
	void (*tmpfile_undo)(void *ctx, uint64_t ino);
	int (*statx)(void *ctx, uint64_t ino, struct statx *ret, double *ret_timeout);
	int (*syncfs)(void *ctx);
};

/*
 * @n bytes that read() has put into @buf. Returns how many of them are for libfuse; 0: it was answered, read the next.
 * @answers NULL: a read-only mount, where nothing is changed or answered here.
 */
size_t raw_request(int fd, void *buf, size_t n, const struct raw_answers *answers, void *ctx);

/* An answer that is about to be written: @iov may be changed. For writable mounts only. */
void raw_reply(struct iovec *iov, int count);

/* Entries of an answer to READDIRPLUS that the kernel takes as looked up, from *@at = 0 on; NULL: no more. What is
 * found is a number; 0 written there makes the kernel look the name up. */
uint64_t *raw_next_entry(void *buf, size_t len, size_t *at);

#endif
