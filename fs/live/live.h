/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The living tree: a view with a log on top. What a writable mount shows, and what each request of the kernel does to
 * it, without FUSE: a test calls the same functions in its own process.
 *
 *   live_open(view, log, &live, &err);
 *   live_make(live, &who, PLY_ROOT_INDEX, "motd", 4, &(struct live_new){ .mode = S_IFREG | 0644 }, &attr, &err);
 *   live_write(live, &who, attr.ino, 0, "hi\n", 3, 0, &err);     in the page cache: may be answered
 *   live_sync(live, &err);                                        on the disk
 *
 * A change is one record of the log, all or nothing: a call that fails has changed nothing, but a write that is given
 * back short. Inodes, entries and xattrs that the log says nothing about are the view's.
 *
 * Permissions are not judged here (the kernel's default_permissions are), but for what it leaves to a file system: the
 * inode flags immutable and append-only, and what creating, writing and ACLs do to modes.
 *
 * Names are counted bytes without '/' and NUL; longer than PLY_NAME_MAX: -ENAMETOOLONG. Inodes that are dead, or never
 * were: -ESTALE. Damage of image or log: -EIO, -EBADMSG, -EUCLEAN; a full disk: -ENOSPC; after a sync that failed, -EIO
 * for all that changes something; -EROFS where the log cannot be written.
 *
 * Threads: all functions but live_close() may be called from several at once.
 */
#ifndef PLYFS_LIVE_H
#define PLYFS_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "plyfs/error.h"
#include "plyfs/view.h"
#include "redo/redo.h"

struct live;

/* Whose request it is. */
struct live_who {
	uint32_t uid, gid;         /* owner and group of what is made */
	uint32_t umask;            /* counts where the directory has no default ACL */
	uint64_t request;          /* its id, for who replaces the daemon; 0: none */
};

struct live_time {
	int64_t sec;
	uint32_t nsec;
};

struct live_attr {
	uint64_t ino;
	uint32_t generation;       /* with ino it names one file for ever; the root's: 0 */
	uint32_t mode, uid, gid;
	uint32_t flags;            /* FS_IOC_GETFLAGS: FS_IMMUTABLE_FL, FS_APPEND_FL, FS_NODUMP_FL, FS_NOATIME_FL, FS_SYNC_FL, FS_DIRSYNC_FL */
	uint64_t nlink, size, blocks;      /* 512-byte units */
	uint32_t rdev_major, rdev_minor;
	struct live_time atime, mtime, ctime, btime;
	bool has_btime;            /* else it is not known: of an image's files */
};

/* @view and @log are borrowed. What lost its last name when the log was open before, and was kept for those who had it
 * open, is given back. The times that are not told come from CLOCK_REALTIME_COARSE, which is the kernel's. */
int live_open(struct ply_view *view, struct redo *log, struct live **ret, struct ply_err *err);
struct live *live_close(struct live *l);       /* NULL in, NULL out; syncs nothing */

struct ply_view *live_view(const struct live *l);
struct redo *live_log(const struct live *l);

/* --- looking ------------------------------------------------------------------------------ */

int live_attr(struct live *l, uint64_t ino, struct live_attr *ret, struct ply_err *err);
/* -ENOENT, -ENOTDIR. "." (of any type) and ".." work. */
int live_lookup(struct live *l, uint64_t dir, const char *name, size_t len, uint64_t *ret, struct ply_err *err);
int live_parent(struct live *l, uint64_t dir, uint64_t *ret, struct ply_err *err);
/* Behind @cookie; without "." and "..". Non-zero from @fn ends it (not an error). @fn may call live_attr(). */
int live_readdir(struct live *l, uint64_t dir, uint64_t cookie, ply_dirent_fn fn, void *ctx, struct ply_err *err);
/* Bytes of the target, which is not NUL-terminated. -EINVAL: no symlink. */
ssize_t live_readlink(struct live *l, uint64_t ino, char buf[PLY_SYMLINK_MAX], struct ply_err *err);
/* Bytes; short only at the end of the file. */
ssize_t live_read(struct live *l, uint64_t ino, uint64_t off, size_t len, void *buf, struct ply_err *err);
/* SEEK_DATA, SEEK_HOLE: -ENXIO behind the end. */
int live_seek(struct live *l, uint64_t ino, uint64_t off, int whence, uint64_t *ret, struct ply_err *err);
/* Length of the value, of which at most @cap bytes are in @buf (which may be NULL with @cap 0). -ENODATA. */
ssize_t live_getxattr(struct live *l, uint64_t ino, const char *name, void *buf, size_t cap, struct ply_err *err);
/* Each name once, in no certain order. Non-zero from @fn ends it, and is returned. @fn must not call back. */
typedef int (*live_xattr_fn)(void *ctx, const char *name, size_t len);
int live_xattrs(struct live *l, uint64_t ino, live_xattr_fn fn, void *ctx, struct ply_err *err);

/* --- changing ------------------------------------------------------------------------------- */

enum {                             /* which fields of a struct live_set count */
	LIVE_MODE = 1,             /* permission bits only */
	LIVE_UID = 2,
	LIVE_GID = 4,
	LIVE_SIZE = 8,
	LIVE_ATIME = 16,
	LIVE_MTIME = 32,
	LIVE_CTIME = 64,           /* else now */
	LIVE_ATIME_NOW = 128,
	LIVE_MTIME_NOW = 256,
	LIVE_FLAGS = 512,          /* FS_IOC_SETFLAGS; -EOPNOTSUPP: a flag that there is not */
	LIVE_KILL = 1024,          /* setuid, setgid (of what the group may execute) and capabilities go */
};
struct live_set {
	uint32_t mask;
	uint32_t mode, uid, gid, flags;
	uint64_t size;
	struct live_time atime, mtime, ctime;
};
/* -EPERM: immutable or append-only; -EISDIR, -EINVAL: a size of what has none; -EFBIG. chown takes capabilities away;
 * LIVE_MODE of a file with an ACL changes the ACL. */
int live_setattr(struct live *l, const struct live_who *who, uint64_t ino, const struct live_set *set,
		 struct live_attr *ret, struct ply_err *err);

struct live_new {
	uint32_t mode;             /* type and permissions */
	uint32_t rdev_major, rdev_minor;
	const char *target;        /* of a symlink */
	size_t target_len;
};
/* -EEXIST; -ENOENT: the directory is deleted; -EPERM; -EMLINK; -EINVAL: no such type. */
int live_make(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len,
	      const struct live_new *new, struct live_attr *ret, struct ply_err *err);
/* O_TMPFILE: a regular file without a name, which live_link() may give one. */
int live_tmpfile(struct live *l, const struct live_who *who, uint64_t dir, uint32_t mode, struct live_attr *ret,
		 struct ply_err *err);
/* -EEXIST, -EMLINK, -EPERM (a directory, immutable). What has no name gets one: that it was made so, and did not lose its
 * last one, is the kernel's to know. */
int live_link(struct live *l, const struct live_who *who, uint64_t ino, uint64_t dir, const char *name, size_t len,
	      struct live_attr *ret, struct ply_err *err);
/* -EISDIR; what has no name any more stays until live_forget(). *ret_ino (may be NULL): what had the name. */
int live_unlink(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len,
		uint64_t *ret_ino, struct ply_err *err);
int live_rmdir(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len,
	       uint64_t *ret_ino, struct ply_err *err);        /* -ENOTDIR, -ENOTEMPTY */
/* @flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT; else -EINVAL. *ret_gone (may be NULL): what had the new
 * name before, or 0. */
int live_rename(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len, uint64_t to_dir,
		const char *to_name, size_t to_len, unsigned flags, uint64_t *ret_gone, struct ply_err *err);

enum {                             /* of live_write() */
	LIVE_W_KILL = 1,           /* as LIVE_KILL */
	LIVE_W_CACHED = 2,         /* of the kernel's cache: it tells the times itself */
};
/* Bytes written, fewer than @len only where the disk became full in between. -EFBIG. */
ssize_t live_write(struct live *l, const struct live_who *who, uint64_t ino, uint64_t off, const void *data, size_t len,
		   unsigned flags, struct ply_err *err);
/* What open(2) asks for: -EPERM where an immutable file is to be written, or one that may only be appended to is opened
 * otherwise; -EROFS. O_TRUNC truncates. @kill as LIVE_KILL. */
int live_open_file(struct live *l, const struct live_who *who, uint64_t ino, int flags, bool kill, struct ply_err *err);
/* @mode: 0, FALLOC_FL_KEEP_SIZE, with PUNCH_HOLE or ZERO_RANGE; else -EOPNOTSUPP. */
int live_fallocate(struct live *l, const struct live_who *who, uint64_t ino, int mode, uint64_t off, uint64_t len,
		   struct ply_err *err);
/* copy_file_range(2): blocks are shared. Bytes copied, at most @len, 0 at the end of @src. -EOPNOTSUPP: not just now, it
 * has to be read and written. */
ssize_t live_copy(struct live *l, const struct live_who *who, uint64_t src, uint64_t src_off, uint64_t dst,
		  uint64_t dst_off, uint64_t len, struct ply_err *err);
/* @flags: XATTR_CREATE, XATTR_REPLACE. An access ACL sets the mode, and is not kept where the mode says as much;
 * @kill_sgid: and takes setgid away. -EEXIST, -ENODATA, -E2BIG, -EOPNOTSUPP. */
int live_setxattr(struct live *l, const struct live_who *who, uint64_t ino, const char *name, const void *value,
		  size_t len, int flags, bool kill_sgid, struct ply_err *err);
int live_removexattr(struct live *l, const struct live_who *who, uint64_t ino, const char *name, struct ply_err *err);

/* Nobody has @ino open or knows its number any more: where it has no name, its space is given back. */
void live_forget(struct live *l, uint64_t ino);

/* --- the disk ----------------------------------------------------------------------------------- */

/* All that was answered before is on the disk. -EIO: it is not, and the log takes nothing more. */
int live_sync(struct live *l, struct ply_err *err);
/* For a thread that has nothing else to do, each second: commits what was not, writes zeros ahead, and a checkpoint
 * when one is due. */
int live_tick(struct live *l, struct ply_err *err);

#endif
