/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes one base segment of a sub-image at the current end of an output.
 *
 * The caller numbers nodes directory by directory, feeds entries grouped by
 * directory and sorted bytewise, then streams the content of regular files in
 * the order of the nodes, and ends with subw_finish(), which writes metadata,
 * checksums, digests and the header.
 *
 * The order of calls alone decides the bytes: compression runs on any number
 * of threads and is written in order. Nothing here reads the captured machine.
 */
#ifndef PLYFS_SUB_WRITE_H
#define PLYFS_SUB_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "format/format.h"
#include "plyfs/error.h"

/* An output file that grows at its end. Buffered, sequential but for the header pages,
 * which are written last. Fields are private. */
struct out {
	int fd;
	uint64_t end;              /* next byte, the buffer counted */
	uint64_t started;          /* below: the kernel was told to write it to disk */
	uint8_t *buf;
	size_t len, cap;
	const char *path;          /* for messages, borrowed */
};
int out_init(struct out *o, int fd, uint64_t end, const char *path, struct ply_err *err);
void out_done(struct out *o);
int out_write(struct out *o, const void *data, size_t len, struct ply_err *err);
int out_align(struct out *o, uint64_t to, struct ply_err *err);  /* zero bytes */
int out_flush(struct out *o, struct ply_err *err);
/* Write at @off, below the end; what is buffered there already is flushed first. */
int out_rewrite(struct out *o, uint64_t off, const void *data, size_t len, struct ply_err *err);

struct subw;
struct conds;

/* Who brings a user or group: conditions are of subw_options.conds. */
struct subw_owner_facts {
	void *ctx;
	uint16_t (*user)(void *ctx, uint32_t uid);     /* a component's number; 0: the operating system */
	uint16_t (*group)(void *ctx, uint32_t gid);
};

struct subw_options {
	const char *name;
	int level;                 /* zstd */
	struct pool *pool;         /* borrowed: compression jobs */
	unsigned nworkers;         /* of the pool */
	unsigned max_inflight;     /* blocks of 128 KiB being compressed or waiting; bounds memory */
	bool content_uuid;         /* else random */
	/* Borrowed; NULL: nothing has a condition. Names of components by their number, and which
	 * of them this is. */
	struct conds *conds;
	const char *const *names;
	uint16_t self;
	const struct subw_owner_facts *owners;     /* NULL: all are the operating system's */
	bool overlay;              /* it may have overrides */
};

/* @out is borrowed and must stand at a multiple of 8 (out_align). */
int subw_new(struct out *out, const struct subw_options *o, struct subw **ret,
	     struct ply_err *err);
struct subw *subw_free(struct subw *w);

/* Interned: equal arguments give equal results. Names may be NULL (none). */
int subw_owner(struct subw *w, uint32_t uid, uint32_t gid, const char *user, const char *group,
	       uint32_t *ret_pair);
struct subw_xattr {
	const char *name;          /* NUL-terminated */
	const void *value;
	size_t value_len;
	uint32_t cond;             /* of several with one name the first that holds is the one */
};
/* Sorted by name by the writer, those of one name as they come; n == 0 gives set 0. */
int subw_xattrs(struct subw *w, const struct subw_xattr *x, size_t n, uint32_t *ret_set);

/* Append a node; the first gets index 1 and is the root. Fields kind, data, ndata of regular
 * files and symlinks are set by the content functions; for directories by subw_dir(). */
int subw_node(struct subw *w, const struct ply_node *n, uint64_t *ret_index);
struct ply_node *subw_node_at(struct subw *w, uint64_t index);   /* borrowed until the next call */
/* Begin the entries of directory @dir; ends those of the one before. */
int subw_dir(struct subw *w, uint64_t dir);
/* Entry of the directory begun; sets the child's parent and entry at its first name, counts
 * nlink of children that are not directories (names) and of @dir (child directories). */
int subw_entry(struct subw *w, const char *name, size_t len, uint64_t child);
/* The same for an entry that is there under a condition; @child is no directory. */
int subw_entry_if(struct subw *w, const char *name, size_t len, uint64_t child, uint32_t cond);
/* The name of the directory begun is gone. @dir: the node of the directory that it was (implied, and with
 * entries of its own that are whiteouts), or 0. */
int subw_whiteout(struct subw *w, const char *name, size_t len, uint64_t dir);
/* Node @index overrides what the overlay stands on: PLY_OVER_* and the SHA-256 there (NULL: zeros). For each node
 * once, in any order. */
int subw_override(struct subw *w, uint64_t index, uint32_t mask, const uint8_t digest[32]);
/* PLY_MARK_* of a node; several are put together. */
int subw_mark(struct subw *w, uint64_t index, uint32_t mark);
/*
 * Node @index, a regular file whose content are the bytes of @rows one behind the other, is this
 * sub-image's part of a shared file. Rows ascend by ordinal; none has COND_NEVER here (see
 * subw_cond_is_never). @digest: SHA-256 of the captured file.
 */
struct subw_record {
	uint32_t ordinal, cond, len, flags;    /* flags: PLY_RECORD_* */
};
int subw_shared(struct subw *w, uint64_t index, uint16_t driver, uint16_t version, bool whole,
		const uint8_t digest[32], const struct subw_record *rows, size_t n);
/* Can what has @cond never be seen where this sub-image is selected? */
bool subw_cond_is_never(const struct subw *w, uint32_t cond);
int subw_symlink(struct subw *w, uint64_t index, const char *target, size_t len);

/*
 * Content, file by file in the order of the nodes, all calls on one thread. subw_file()
 * begins a regular file of @size bytes; data extents follow in ascending order, what
 * lies between is a hole. Files and tails below a block are packed together; equal
 * content is stored once (see subw_file_whole).
 */
int subw_file(struct subw *w, uint64_t index, uint64_t size);
int subw_data(struct subw *w, uint64_t off, const void *data, size_t len, struct ply_err *err);
int subw_file_end(struct subw *w, struct ply_err *err);
/* What was given as the content of @index is no longer it: subw_file() follows again. Its blocks
 * stay in the segment, referred to by nobody. */
int subw_file_forget(struct subw *w, uint64_t index, struct ply_err *err);
/*
 * A file without holes whose content is at hand. @digest (its SHA-256, or NULL) lets it
 * share the place of an earlier equal file of this sub-image.
 */
int subw_file_whole(struct subw *w, uint64_t index, const void *data, size_t len,
		    const uint8_t *digest, struct ply_err *err);
/* Make @index share the place of an equal earlier file: 1 done, 0 no such file. Pass what
 * subw_file_end() of the first made known with subw_file_known(). */
int subw_file_same(struct subw *w, uint64_t index, uint64_t size, const uint8_t digest[32]);
int subw_file_known(struct subw *w, uint64_t index, const uint8_t digest[32]);

/*
 * A large block of a file, read by the worker that compresses it: @fill is called on a
 * pool thread with @len bytes to fill. For whole aligned blocks only (off a multiple of
 * the block size within the extent, len == PLY_BLOCK_SIZE). Order as for subw_data().
 */
typedef int (*subw_fill_fn)(void *ctx, uint64_t off, void *buf, size_t len, struct ply_err *err);
int subw_data_fill(struct subw *w, uint64_t off, size_t len, subw_fill_fn fill, void *ctx,
		   struct ply_err *err);
/* Wait until all blocks given so far are compressed and written: what @ctx of
 * subw_data_fill needs may be closed afterwards. */
int subw_sync(struct subw *w, struct ply_err *err);

struct subw_result {
	uint64_t off, len;         /* of the segment in the output */
	uint8_t digest[32];
	uint8_t uuid[16];
	uint64_t nodes;            /* next free index */
	uint64_t bytes;            /* of regular files, each inode once */
	uint64_t nblocks, data_stored;
};
int subw_finish(struct subw *w, struct subw_result *ret, struct ply_err *err);

#endif
