/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounting and unmounting: by mount(2) for root, by fusermount3 for others. */
#ifndef PLYFS_FUSE_MOUNT_H
#define PLYFS_FUSE_MOUNT_H

#include "base/mnt.h"
#include "options.h"
#include "plyfs/error.h"

/*
 * Mount on the directory @dir, to be shown as coming from @source. On success *ret_fd is
 * the connection with the kernel, *ret the device number and id of the mount.
 * MOUNTPOINT_BAD, MOUNTPOINT_BUSY, MOUNT_FAILED.
 */
int mount_begin(const char *dir, const char *source, const struct options *o, int *ret_fd,
		struct mnt_place *ret, struct ply_err *err);

/* Have the kernel write what it has cached of it. It must be answered meanwhile. */
void mount_flush(const struct mnt_place *place);

/* Take the file system away from wherever it is mounted in this namespace, also where it
 * is still used. */
void mount_end(const struct mnt_place *place);

/* Have the kernel read ahead @kib instead of 128 KiB, and hold no more than @dirty bytes that are not written yet; 0: as
 * many as it likes. Only root can, and only kernels from 6.2 on take the second. */
void mount_tune(const struct mnt_place *place, unsigned kib, uint64_t dirty);

#endif
