/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unmounting takes what the daemon gives up before it serves anything: CAP_SYS_ADMIN, or for an
 * ordinary user the setuid fusermount3. So a child keeps it, which has seen no byte of the image and
 * listens to the daemon alone: first for the place, then for the word to take it away. Where the daemon
 * ends without that word, however it ends, so does the child, and the mount stays as it is.
 */
#ifndef PLYFS_FUSE_UNMOUNTER_H
#define PLYFS_FUSE_UNMOUNTER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/mnt.h"
#include "plyfs/error.h"

struct unmounter {
	pid_t pid;                 /* 0: there is none */
	int fd;
};

/* Before anything is opened. */
int unmounter_start(struct unmounter *u, struct ply_err *err);

/* The place, once: as soon as something is mounted there. */
int unmounter_tell(struct unmounter *u, const struct mnt_place *place, struct ply_err *err);

/* mount_end() of the place, with @flush after mount_flush(); returns when it is done. -errno where nobody is there to
 * do it. Requests that the kernel has for that are to be answered meanwhile: never by who calls this. */
int unmounter_unmount(struct unmounter *u, bool flush);

/* Let the child end, and wait for it. */
void unmounter_done(struct unmounter *u);

#endif
