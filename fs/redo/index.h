/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a log says, in memory: inodes, names, xattrs, extents. Made by replaying records, or loaded from a checkpoint;
 * every record that is appended is replayed too, so that there is one way in only. Guarded by the log's lock.
 *
 * Each index_check_X() says whether a change can be, given those before it in its record; index_X() then makes it,
 * and fails for want of memory only.
 */
#ifndef PLYFS_REDO_INDEX_H
#define PLYFS_REDO_INDEX_H

#include "redo/redo_format.h"
#include "redo/space.h"

struct hslot {
	uint64_t hash;
	void *item;                /* NULL: free */
};
struct htab {                      /* open addressing: most that is looked for is not there, and costs one cache line */
	struct hslot *slots;
	size_t nslots, used;
};

struct rentry {                    /* a name that was added, or is hidden, or both */
	uint64_t dir;
	uint64_t ino;              /* 0: not there */
	uint64_t cookie;
	uint8_t type;
	bool hides;
	uint8_t name_len;
	char name[];
};

struct rxattr {                    /* of one inode: by name, bytewise */
	struct rxattr *next;
	bool removed;
	uint8_t name_len;
	uint32_t value_len;
	char bytes[];              /* name, then value */
};

struct rextent {                   /* a treap by off: extent.c */
	struct rextent *l, *r;
	uint32_t priority;
	enum ply_redo_content kind;
	uint64_t off, len;
	uint64_t addr;             /* LOG: in the store; BELOW: offset in src */
	uint64_t src;
};

struct rslot {                     /* of a directory's listing, by cookie */
	uint64_t cookie;
	struct rentry *entry;      /* NULL: it is gone */
};

struct rinode {
	uint64_t ino;
	uint32_t mask;
	struct redo_attr attr;
	bool dead;
	uint64_t below_end;        /* what is below shows up to here; UINT64_MAX: all of it */
	struct rextent *extents;
	uint64_t bytes;            /* of LOG extents */
	struct rxattr *xattrs;
	char *target;
	uint32_t target_len;
	struct rslot *slots;
	size_t nslots, slots_cap, nentries;
};

struct index {
	uint64_t requests[PLY_REDO_REQUESTS_MAX];      /* that records answered: the last ones */
	uint32_t nrequests, request_at;    /* how many; where the next one goes */
	uint64_t requests_lsn;     /* of records below they do not count */
	uint32_t number;           /* of the log's inodes */
	uint64_t next_index, next_cookie;
	struct htab inodes, entries;
	struct space *space;
	bool good;                 /* extents that are replayed now were just written by us */
	bool moved;                /* cleaning has merged pieces, and no checkpoint on the disk says so yet: no copies */
	uint64_t nadded, nextents, nxattrs;
	uint64_t heap;             /* bytes of names, xattrs and targets */
	uint64_t rng, seed;        /* of treap priorities; of hashes */
};

void index_init(struct index *ix, uint32_t number, struct space *space);
void index_done(struct index *ix);

struct rinode *index_inode(const struct index *ix, uint64_t ino);      /* NULL: nothing is known */
struct rinode *index_get(struct index *ix, uint64_t ino);              /* made where it is not there; NULL: no memory */
struct rentry *index_entry(const struct index *ix, uint64_t dir, const char *name, size_t len);
struct rentry *index_get_entry(struct index *ix, uint64_t dir, const char *name, size_t len);
/* Put @e, which is in no listing, behind the others of its directory. */
int index_list(struct index *ix, struct rinode *dir, struct rentry *e);
/* First slot with a cookie above @cookie. */
size_t index_slot(const struct rinode *dir, uint64_t cookie);
/* Set, or hide (@value NULL), an xattr. */
int index_put_xattr(struct index *ix, struct rinode *i, const char *name, size_t len, const void *value,
		    size_t value_len, bool removed);
/* Of a symlink, which has none yet. */
int index_put_target(struct index *ix, struct rinode *i, const char *target, size_t len);

/* All changes of a record: -EINVAL (REDO_CHANGE), before anything is done; -ENOMEM: the index is of no use any more. */
int index_check(const struct index *ix, const struct redo_record *r, struct ply_err *err);
int index_replay(struct index *ix, const struct redo_record *r);

bool index_has_request(const struct index *ix, uint64_t request);

/* So many bytes of [off, off + len) of @src one change can copy. */
uint64_t index_copy_len(const struct index *ix, uint64_t src, uint64_t off, uint64_t len);

typedef int (*index_check_fn)(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
			      struct ply_err *err);
int index_check_new(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		    struct ply_err *err);
int index_check_ino(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		    struct ply_err *err);
int index_check_add(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		    struct ply_err *err);
int index_check_remove(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		       struct ply_err *err);
int index_check_extent(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		       struct ply_err *err);
int index_check_copy(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		     struct ply_err *err);
int index_check_dead(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		     struct ply_err *err);

int index_requests(struct index *ix, const struct redo_change *c);
int index_new(struct index *ix, const struct redo_change *c);
int index_attr(struct index *ix, const struct redo_change *c);
int index_add(struct index *ix, const struct redo_change *c);
int index_remove(struct index *ix, const struct redo_change *c);
int index_xattr_set(struct index *ix, const struct redo_change *c);
int index_xattr_remove(struct index *ix, const struct redo_change *c);
int index_extent(struct index *ix, const struct redo_change *c);
int index_hole(struct index *ix, const struct redo_change *c);
int index_size(struct index *ix, const struct redo_change *c);
int index_copy(struct index *ix, const struct redo_change *c);
int index_dead(struct index *ix, const struct redo_change *c);

/* --- extents ------------------------------------------------------------------------------- */

/* What is at @off, and for how long. */
void extent_at(const struct rinode *i, uint64_t off, struct redo_range *ret);
/* [off, off + len) becomes that; @kind 0: nothing, so what is below shows, or a hole behind below_end. -ENOMEM. */
int extent_put(struct index *ix, struct rinode *i, uint64_t off, uint64_t len, enum ply_redo_content kind,
	       uint64_t addr, uint64_t src);
void extent_drop(struct index *ix, struct rinode *i);  /* all of them */
/* In order. Non-zero ends it, and is returned. */
typedef int (*extent_fn)(void *ctx, const struct rextent *e);
int extent_each(const struct rextent *e, extent_fn fn, void *ctx);

#endif
