/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The open log: what was changed on top of an image, or of another log. It knows records, inodes and names in
 * directories, never paths; what lies below is the caller's (fs/tree), and is asked nothing here.
 *
 *   redo_op_init(&op, request);
 *   redo_op_remove(&op, dir, "a", 1, true);         what one request of the kernel changes: one record, all or nothing
 *   redo_op_add(&op, dir2, "b", 1, ino, DT_REG);
 *   redo_op_attr(&op, dir, PLY_REDO_A_MTIME, &attr);
 *   r = redo_append(log, &op, &lsn, &err);          in the page cache: answer the kernel
 *   redo_op_done(&op);
 *   r = redo_commit(log, lsn, &err);                on the disk: answer fsync
 *
 * How the requests of a writable mount are made of changes ("attr" is redo_op_attr() of what else changes: times,
 * nlink, mode; directories too):
 *
 *   setattr                    attr; size: redo_op_size(), and with killpriv attr and redo_op_xattr_remove()
 *   create, mkdir, mknod, symlink  redo_op_new(), add, attr of the directory, xattrs that ACLs inherit
 *   O_TMPFILE                  redo_op_new() with nlink 0, nothing else
 *   link                       add, attr; a file of O_TMPFILE alike
 *   unlink, rmdir              remove, attr with the nlink that is left. An inode with nlink 0 is an orphan (redo_orphans())
 *                              until redo_op_dead(): at FORGET, or when the log is opened the next time
 *   rename                     remove of the old name, remove of the new one where there is one, add, attr; a directory:
 *                              attr with its new parent. EXCHANGE: two removes, two adds. WHITEOUT: new, and add, at the
 *                              old name
 *   write                      redo_op_write(), attr, and killpriv as above
 *   truncate, O_TRUNC          redo_op_size(), attr
 *   fallocate                  PUNCH_HOLE, ZERO_RANGE: redo_op_hole(); what gets longer: redo_op_size() before it
 *   copy_file_range, FICLONE   redo_op_copy(): blocks are shared, nothing is read
 *   setxattr, removexattr, ACL redo_op_xattr_set(), redo_op_xattr_remove(), attr with the mode that an ACL gives
 *
 * "removes" of names that the layer below has, too, say so (hides): then the name stays hidden whatever is added and
 * removed.
 *
 * Threads: all functions on a log may be called from several threads at once, but redo_close() and redo_abandon().
 * Callbacks must not call back into the log.
 */
#ifndef PLYFS_REDO_H
#define PLYFS_REDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "plyfs/disk_redo.h"
#include "plyfs/error.h"
#include "plyfs/view.h"

struct redo;

/* --- where the bytes are ------------------------------------------------------------------ */

/*
 * A file, or what tests take for one. All return 0 or -errno; transfers are whole or fail, and what a failing write
 * leaves is any part of it. Thread-safe. A write that begins behind the end leaves zeros in between.
 */
struct redo_store {
	int (*pread)(struct redo_store *s, void *buf, size_t len, uint64_t off);   /* -EIO behind the end */
	int (*pwrite)(struct redo_store *s, const void *buf, size_t len, uint64_t off);
	int (*sync)(struct redo_store *s);             /* what was written before is on the disk */
	int (*punch)(struct redo_store *s, uint64_t off, uint64_t len);    /* reads as zeros; best effort */
	/* Writes there will find room. -ENOSPC, and some of it may be taken; other errors: nobody can say. */
	int (*reserve)(struct redo_store *s, uint64_t off, uint64_t len);
	int (*size)(struct redo_store *s, uint64_t *ret);
	void (*close)(struct redo_store *s);
	bool (*is_removed)(struct redo_store *s);      /* it had a name, and has none any more; NULL: it never had one */
	bool read_only;            /* nothing can be written there */
	char *path;                /* for messages; NULL where there is none */
};

enum {
	REDO_WRITE = 1,            /* exclusive: REDO_BUSY where another one has it */
	REDO_LOOK = 2,             /* without a lock: what is there may change underneath, as for dump */
	REDO_GO_ON = 4,            /* to write for a connection of the kernel that another process served, which died:
				    * redo_request_logged() knows what that one logged */
};

/* A regular file. With REDO_WRITE on a read-only file system, or a file that may not be written: opened to be read, and
 * read_only is set. REDO_NOT_FOUND, REDO_NOT_REDO, REDO_BUSY. */
int redo_store_open(const char *path, unsigned flags, struct redo_store **ret, struct ply_err *err);
/* By the first bytes of its superblocks, one of which may be damaged. What cannot be read is none. */
bool redo_is_log(const char *path);
struct redo_store *redo_store_close(struct redo_store *s);     /* NULL in, NULL out */

/* --- what a log stands on ------------------------------------------------------------------- */

struct redo_binding {
	uint8_t parent_uuid[16];   /* of the image, or of the log */
	uint8_t parent_digest[32]; /* SHA-256 of the image's generation, or of the log */
	uint64_t parent_generation;/* of the image; 0: the parent is a log */
	uint8_t image_uuid[16];    /* at the foot of the chain */
	uint32_t number;           /* of inodes made here: PLY_REDO_NUMBER_MIN and up */
	const char *names;         /* the selection, each with a NUL behind; a parent that is a log: none */
	size_t names_len;
	uint32_t nnames;
	const struct ply_decision *decisions;
	uint32_t ndecisions;
	const char *path;          /* of the parent: where it is looked for first */
};

/* Call with NULL first: the names one after the other; NULL behind the last. */
const char *redo_binding_name(const struct redo_binding *b, const char *before);

/*
 * Make a log in an empty store. @uuid: 16 random bytes of the caller's; @time_sec since the epoch. When it returns 0,
 * it is on the disk. -EINVAL (USAGE): a binding that is none.
 */
int redo_format(struct redo_store *s, const struct redo_binding *b, const uint8_t uuid[16], int64_t time_sec,
		struct ply_err *err);
/* The same as a new file, which has its name only when all of it is on the disk. REDO_EXISTS. */
int redo_create(const char *path, const struct redo_binding *b, struct ply_err *err);

/* A log in the file @fd, which is empty, has no name, and is gone with the last who has it open; consumed. */
int redo_open_volatile(int fd, const struct redo_binding *b, struct redo **ret, struct ply_err *err);

/*
 * The parent is at @path from now on. @log was opened from a store that can be written, with or without REDO_WRITE;
 * redo_binding() goes on to say the old path. It is all on the disk when it returns 0; whenever it is interrupted, the
 * log has the one path or the other. -ENOSPC (LIMIT): the log was made without room for it; -EROFS (REDO_READ_ONLY).
 */
int redo_relink(struct redo *log, const char *path, struct ply_err *err);

/* --- life ------------------------------------------------------------------------------------- */

struct redo_info {
	uint8_t uuid[16];
	uint64_t generation;       /* of the superblock */
	uint32_t epoch;
	enum ply_redo_state state; /* as it was found */
	int64_t created_sec;
	bool writable;
	bool damaged;              /* what was acknowledged is not all there: damaged_lsn, warning */
	uint64_t damaged_lsn;      /* the first record that is missing */
	uint64_t cut;              /* bytes of records, at least, that were not acknowledged, and are gone */
	uint64_t tail_lsn;
	uint64_t records;          /* replayed at opening */
	uint64_t replayed;         /* bytes of them */
	uint64_t size;             /* bytes of the file, holes included */
	uint64_t data_live, data_dead; /* bytes of blocks that files refer to, and do not */
	uint64_t data_moved;       /* bytes that checkpoints have copied out of segments that were mostly dead */
	uint64_t inodes, entries, extents;
	uint64_t next_cookie;      /* of the entry that is added next */
	uint64_t commits, flushes; /* calls that had to wait, and syncs that were made for them */
	uint64_t flush_ns, flush_max_ns;       /* how long all those syncs took, and the longest */
	char warning[256];         /* "": nothing to say */
};

/*
 * Open a log: @s is consumed in every case. What no sync had acknowledged, and is torn, is cut off in silence; where
 * what was acknowledged is damaged, the log opens up to there, read-only, and redo_info() says so. Without REDO_WRITE
 * nothing is written. Frozen logs and stores that cannot be written open read-only. REDO_NOT_REDO, REDO_SUPER,
 * REDO_FEATURE, REDO_BINDING, REDO_CHECKPOINT; SYSTEM where reading fails.
 */
int redo_open(struct redo_store *s, unsigned flags, struct redo **ret, struct ply_err *err);
/* All is on the disk, and said to be. The log is freed in every case; an error says that the end may be lost. */
int redo_close(struct redo *log, struct ply_err *err);
/* Free it without writing anything, as if the process had been killed. NULL in, NULL out. */
struct redo *redo_abandon(struct redo *log);

const struct redo_binding *redo_binding(const struct redo *log);   /* borrowed */
/* Never waits for a checkpoint. */
void redo_info(struct redo *log, struct redo_info *ret);
bool redo_is_writable(const struct redo *log);         /* that of redo_info(), at no cost */
/* -ENOENT (REDO_REMOVED): somebody has removed the log's file, or put another one in its place, and all of it is gone with
 * the last who has it open. A log that never had a name has nothing to lose. */
int redo_check_name(const struct redo *log, struct ply_err *err);

/* --- changing ----------------------------------------------------------------------------------- */

struct redo_attr {
	uint32_t mode;             /* type and permissions */
	uint32_t uid, gid;
	uint32_t flags;            /* FS_IOC_SETFLAGS */
	uint32_t nlink;
	uint32_t generation;
	int64_t atime_sec, mtime_sec, ctime_sec, btime_sec;
	uint32_t atime_nsec, mtime_nsec, ctime_nsec, btime_nsec;
	uint64_t parent;           /* of a directory */
	uint32_t rdev_major, rdev_minor;
	uint64_t size;             /* bytes; PLY_REDO_A_SIZE */
};

/* A record in the making. Zero-initialised but for redo_op_init(). Memory that ends is told by redo_append(). */
struct redo_op {
	struct buf bytes;
	uint64_t request;
	uint32_t nchanges;
	int failed;                /* -errno: no memory, or a change that is none; redo_append() refuses */
	struct redo *pinned;       /* has data in its segments: redo_op_done() lets go of them */
	uint32_t *pins;
	size_t npins, pins_cap;
};

void redo_op_init(struct redo_op *op, uint64_t request);
void redo_op_done(struct redo_op *op);
#define _cleanup_redo_op_ __attribute__((cleanup(redo_op_done)))

/* A number that no inode has which the log knows. -ENOSPC (LIMIT) when they are all used. What a crash took may have had
 * it, and others, as NFS clients, may have heard of that: so inodes that are made here have redo_generation(). */
int redo_new_ino(struct redo *log, uint64_t *ret, struct ply_err *err);
/* Of this log, and of this time that it is open to be written: no other time has the same. */
uint32_t redo_generation(const struct redo *log);

/* All attributes count; the size is @target_len of a symlink, else 0. */
void redo_op_new(struct redo_op *op, uint64_t ino, const struct redo_attr *a, const char *target, size_t target_len);
void redo_op_attr(struct redo_op *op, uint64_t ino, uint32_t mask, const struct redo_attr *a);   /* PLY_REDO_A_ATTR */
void redo_op_add(struct redo_op *op, uint64_t dir, const char *name, size_t len, uint64_t ino, uint8_t type);
void redo_op_remove(struct redo_op *op, uint64_t dir, const char *name, size_t len, bool hides);
void redo_op_xattr_set(struct redo_op *op, uint64_t ino, const char *name, size_t len, const void *value,
		       size_t value_len);
void redo_op_xattr_remove(struct redo_op *op, uint64_t ino, const char *name, size_t len);
/* @len bytes from @off on are a hole. */
void redo_op_hole(struct redo_op *op, uint64_t ino, uint64_t off, uint64_t len);
/* What lies behind @size is gone, for ever; growing leaves a hole. */
void redo_op_size(struct redo_op *op, uint64_t ino, uint64_t size);
/* [off, off + len) of @ino becomes what [src_off, ..) of @src is, without copying; @size: of @ino then, not below off
 * + len. Once in an operation; of one file only disjoint ranges; @len: at most redo_copy_len(). */
void redo_op_copy(struct redo_op *op, uint64_t ino, uint64_t off, uint64_t len, uint64_t src, uint64_t src_off,
		  uint64_t size);
/* The inode and its content are gone: it had no name, and nlink 0. */
void redo_op_dead(struct redo_op *op, uint64_t ino);
/*
 * Write @len bytes (1 to PLY_REDO_WRITE_MAX) of @ino at any offset; @size: of the file then. The bytes are in the log
 * at once, and belong to nobody until the operation is appended. -ENOSPC (REDO_FULL) and other errors of the store;
 * -EROFS.
 */
int redo_op_write(struct redo *log, struct redo_op *op, uint64_t ino, uint64_t off, const void *data, size_t len,
		  uint64_t size, struct ply_err *err);

/*
 * Append the record and let it count. @ret_lsn (may be NULL): what redo_commit() takes. Changes are checked in order
 * against what is there: -EINVAL (REDO_CHANGE) where one cannot be (a name that is there, an inode that is dead), and
 * nothing happened. -ENOSPC (REDO_FULL): nothing happened. -EIO (REDO_FAILED): the log takes nothing more. -EROFS
 * (REDO_READ_ONLY).
 */
int redo_append(struct redo *log, struct redo_op *op, uint64_t *ret_lsn, struct ply_err *err);

/* Everything appended so far. */
#define REDO_ALL UINT64_MAX
/* Wait until all up to @lsn is on the disk: one sync for all who wait. -EIO (REDO_FAILED): a sync failed, now or
 * before; it is never tried again, since the kernel may have forgotten what it could not write. */
int redo_commit(struct redo *log, uint64_t lsn, struct ply_err *err);

/* Write zeros into segments that will be needed, so that a sync need not change the file's metadata: for a thread
 * that has nothing else to do. Does nothing before the log has a MiB, and where they are ready. */
int redo_prepare(struct redo *log, struct ply_err *err);

/*
 * Write the index, so that replay begins here from now on, and give back what nothing refers to any more; what is left
 * in segments that are mostly dead is copied to others, 64 MiB of it at most. Others go on appending meanwhile.
 * -ENOSPC, and -EFBIG (LIMIT) where the index is too large for one: the log is as good as before, and has taken nothing
 * of the disk.
 */
int redo_checkpoint(struct redo *log, struct ply_err *err);
/* Whether checkpoints clean: they may by default. Where the disk is nearly full they should not: whoever keeps R bytes of
 * it for other things compares what is free there with R + redo_checkpoint_room(log, true). */
void redo_may_clean(struct redo *log, bool may);
/* So many bytes of the disk one takes, at most, until it is through and gives back more: of the index, of a segment for
 * the records that follow, and of the copies of cleaning. */
uint64_t redo_checkpoint_room(struct redo *log, bool cleaning);
/* Bytes of records since the last one. */
uint64_t redo_since_checkpoint(struct redo *log);
/* Call redo_checkpoint()? When there are 64 MiB of records since the last one, and no less than that one has bytes; or
 * 256 MiB of dead data, and no less than is alive, since files that are overwritten again and again fill the disk
 * before records do. Where the last one failed, not before 16 MiB more are. */
bool redo_checkpoint_is_due(struct redo *log);

/* --- looking -------------------------------------------------------------------------------------- */

struct redo_inode {
	uint32_t mask;             /* PLY_REDO_A_*: which attributes the log has; the others are those of below */
	struct redo_attr attr;
	bool dead;                 /* -ESTALE, also where below has it */
	bool made_here;
	bool has_content;          /* some range is not what it is below, or all that is below does not show */
	bool has_xattrs;           /* the log has or hides some */
	uint64_t nentries;         /* names of a directory that were added */
	uint64_t blocks;           /* 512-byte units of data in the log */
};

/* False: the log says nothing about @ino, and did not make it; a number of this log's that is not there is dead. -EIO
 * (REDO_FAILED) is not told here: see redo_info(). */
bool redo_inode(struct redo *log, uint64_t ino, struct redo_inode *ret);

enum redo_found {
	REDO_BELOW,                /* not mentioned: as it is below */
	REDO_ADDED,
	REDO_HIDDEN,               /* what is below is not there */
};
struct redo_entry {
	uint64_t ino, cookie;
	uint8_t type;              /* DT_* */
};
enum redo_found redo_lookup(struct redo *log, uint64_t dir, const char *name, size_t len, struct redo_entry *ret);

struct redo_dirent {
	uint64_t ino, cookie;
	const char *name;          /* borrowed during the call */
	size_t len;
	uint8_t type;
};
typedef int (*redo_dirent_fn)(void *ctx, const struct redo_dirent *de);
/* Added entries of @dir with cookies above @cookie (0: all), ascending, those that come last being the newest. A
 * cookie is an entry's for its life, and is not used again but where a crash took the entry. Non-zero from @fn ends it, and is returned. */
int redo_readdir(struct redo *log, uint64_t dir, uint64_t cookie, redo_dirent_fn fn, void *ctx);

/* Bytes of the target of a symlink made here, at most @cap; -ENOENT. */
ssize_t redo_readlink(struct redo *log, uint64_t ino, char *buf, size_t cap);

/* REDO_ADDED: *ret_len is the length of the value, of which at most @cap bytes are in @buf. */
enum redo_found redo_getxattr(struct redo *log, uint64_t ino, const char *name, size_t len, void *buf, size_t cap,
			      size_t *ret_len);
/* Each xattr that is set (@hidden false), or hidden, by name, bytewise. */
typedef int (*redo_xattr_fn)(void *ctx, const char *name, size_t len, bool hidden);
int redo_listxattr(struct redo *log, uint64_t ino, redo_xattr_fn fn, void *ctx);

/* What [off, off + len) of a file is made of; behind what is below there are zeros. */
struct redo_range {
	enum ply_redo_content kind;
	uint64_t len;              /* so many bytes; UINT64_MAX - off: to the end, whatever that is */
	uint64_t addr;             /* LOG: in the store. BELOW: offset in @src */
	uint64_t src;              /* BELOW: the inode, which need not be @ino: it was copied from */
};
void redo_range(struct redo *log, uint64_t ino, uint64_t off, struct redo_range *ret);

/* How much of [off, off + len) of @src one redo_op_copy() can take: not more than PLY_REDO_COPY_MAX pieces. A request
 * that is longer is answered with what was copied. 0: none as long as a checkpoint that cleaned is not on the disk; then
 * the data has to be written. */
uint64_t redo_copy_len(struct redo *log, uint64_t src, uint64_t off, uint64_t len);

/* Read from below the log: all @len bytes, zeros behind the end. */
typedef int (*redo_below_fn)(void *ctx, uint64_t ino, uint64_t off, void *buf, size_t len, struct ply_err *err);
/*
 * Read @len bytes at @off, whatever the file's size is. Blocks are compared with their checksums when they are first
 * read; -EBADMSG (REDO_DATA).
 */
int redo_read(struct redo *log, uint64_t ino, uint64_t off, void *buf, size_t len, redo_below_fn below, void *ctx,
	      struct ply_err *err);

/* Each inode that has no name and is not dead. They are listed first: @fn may append. Non-zero ends it, and is
 * returned. */
typedef int (*redo_ino_fn)(void *ctx, uint64_t ino);
int redo_orphans(struct redo *log, redo_ino_fn fn, void *ctx);

/* Data of a file that cannot be read. */
struct redo_bad {
	uint64_t ino, off, len;
	uint64_t addr;             /* in the store */
	enum ply_reason reason;    /* REDO_DATA, SYSTEM */
};
typedef int (*redo_bad_fn)(void *ctx, const struct redo_bad *bad);
/* All data that files refer to is read once, and compared with its checksums. @fn then hears, by inode and offset, of
 * what cannot be read; non-zero from it ends it, and is returned; -ENOMEM. *ret_bytes: how much was read. */
int redo_verify(struct redo *log, redo_bad_fn fn, void *ctx, uint64_t *ret_bytes);

/*
 * Was @request (not 0) of this connection answered by a record? Asked for requests that the kernel sends again to who
 * took over: what is logged is done, and only the answer was lost. The last PLY_REDO_REQUESTS_MAX are known, over
 * checkpoints too. @request as in redo_op_init(), so without the bit that the kernel sets when it sends one again.
 */
bool redo_request_logged(struct redo *log, uint64_t request);

#endif
