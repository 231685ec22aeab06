/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mounts as the kernel knows them. Nothing here asks the file system that is
 * mounted, so that a dead or hanging daemon cannot stop the caller: a place is
 * opened with O_PATH, its device and mount id come from a statx that wants no
 * attribute, everything else from /proc/self/mountinfo.
 *
 * It is also where the daemon and the command agree on names: the type of a
 * mount, and the control socket of the daemon behind a device number.
 */
#ifndef PLYFS_BASE_MNT_H
#define PLYFS_BASE_MNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "plyfs/error.h"

#define MNT_SUBTYPE "plyfs"
#define MNT_TYPE    "fuse." MNT_SUBTYPE

/*
 * What a daemon that starts tells its parent on a pipe: texts of the form "KEY VALUE", each
 * ended by a NUL. "error" or "ready" is the last.
 */
#define MNT_STATUS_SELECTED "selected"   /* a sub-image, in order of rank */
#define MNT_STATUS_WARNING  "warning"
#define MNT_STATUS_CONFINED "confined"   /* a part of its sandbox that stands */
#define MNT_STATUS_ERROR    "error"      /* "ERRNO REASON MESSAGE": two numbers of struct ply_err */
#define MNT_STATUS_READY    "ready"      /* the mount is usable */

/*
 * What a daemon is given by --decisions: a file with a line for each pair of sub-images that collide and are
 * decided, "A B RULE DRIVER", four numbers in lower-case hex (struct ply_decision).
 */

/* Of the root of a mount, not listed: what its daemon says about itself (fs/fuse/stats.h). */
#define MNT_STATS_XATTR "user.plyfs.stats"

struct mnt_place {
	uint64_t id;               /* of the mount that the place lies on, as in mountinfo */
	unsigned major, minor;     /* device number of its file system */
	bool is_root;              /* the place is where something is mounted */
};

/* The place of an open file (O_PATH will do), or of a path below @dirfd. -errno. */
int mnt_place_fd(int fd, struct mnt_place *ret);
int mnt_place_at(int dirfd, const char *path, struct mnt_place *ret);

/* The path of an open file, malloc-ed. -errno. */
int mnt_path_fd(int fd, char **ret);

struct mnt_line {                  /* strings are unescaped, borrowed during the call */
	uint64_t id, parent;
	unsigned major, minor;
	const char *root;          /* what of the file system is mounted: "/" or a path in it */
	const char *mountpoint;
	const char *type;
	const char *source;
	const char *super_options;
};

/* Each mount in @table (NULL: /proc/self/mountinfo), in order. Non-zero from @fn ends
 * it and is returned; else 0 or -errno. */
typedef int (*mnt_line_fn)(void *ctx, const struct mnt_line *line);
int mnt_list(const char *table, mnt_line_fn fn, void *ctx);

/*
 * The abstract socket on which the daemon of a mount listens. Anybody can bind
 * such a name: compare SO_PEERCRED before believing the other side.
 */
socklen_t mnt_control_address(unsigned major, unsigned minor, struct sockaddr_un *ret);

/*
 * Run fusermount3 with @argv (argv[0] included, NULL at its end). With @ret_fd it
 * mounts, and the connection's descriptor is set on success. Its first line on
 * stderr, if any, becomes the message: reason MOUNT_FAILED.
 */
int mnt_fusermount(const char *const *argv, int *ret_fd, struct ply_err *err);

#endif
