/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of tools/layout only. */
#ifndef PLYFS_LAYOUT_ENGINE_H
#define PLYFS_LAYOUT_ENGINE_H

#include <errno.h>
#include <pthread.h>

#include "layout/layout.h"
#include "layout/plan.h"
#include "layout/target.h"

/* What the target can hold: by probe(), then immutable. */
struct limits {
	bool lacks[FIELD_COUNT];
	int64_t time_min, time_max;
	uint32_t time_step_ns;
	uint64_t file_size;
	uint64_t symlink_len;
	uint64_t name_len;
	uint64_t links;
	uid_t uid;                 /* what a new file gets */
	gid_t gid;
	bool creates_mode;         /* a new file gets the mode that it is made with */
};

/* What a file system says of an xattr that it has no room for. */
static inline bool limits_size_error(int code)
{
	return code == -ENOSPC || code == -E2BIG || code == -ERANGE || code == -EDQUOT;
}

struct layout {
	struct plan *plan;
	struct target *target;
	const struct layout_options *o;
	struct limits limits;
	size_t dirs_made;          /* plan.dirs[1 .. dirs_made) exist by this run */
	/* The names of files that exist by this run, for undo: name_hash() of each, in no order. */
	uint64_t *made;            /* as many as the plan has names */
	atomic_size_t nmade;
	uint64_t made_seed;        /* random: nobody can make a name that is taken for ours */
	bool finishing;            /* directories begin to get their own modes */

	atomic_bool stop;
	pthread_mutex_t lock;      /* err */
	struct ply_err err;        /* the first one; code 0: none */

	atomic_ullong lost[FIELD_COUNT];
	atomic_ullong owners, privileges;
	atomic_ullong bytes;
	atomic_ullong files, names;
	struct layout_report *report;
};

/*
 * Asks a hidden file in the target what it can hold of what the plan needs, and decides
 * owners. TARGET_CANNOT_HOLD, TARGET_OWNER, TARGET_FULL. Leaves nothing behind: the file has
 * no name, and what must have one is removed in the next call.
 */
int probe(struct layout *l, struct ply_err *err);

/* --- a stream: one thread's own resources --------------------------------------- */

#define DIRFDS_MAX   16            /* open directories of a stream */
#define DIRFDS_MIN   3             /* two that a link needs, and an ancestor of one */
#define STREAM_SLOTS 4             /* decoded blocks: small files share them */

struct stream {
	struct layout *l;
	struct dirfd {
		uint32_t dir;
		int fd;            /* -1: empty */
		uint64_t used;
	} dirfds[DIRFDS_MAX];
	unsigned ndirfds;
	struct slot {
		struct sub *sub;
		uint64_t block;
		uint8_t *data;     /* NULL: empty */
		size_t size;
		uint64_t used;
	} slots[STREAM_SLOTS];
	uint8_t *whole;            /* a block that goes to one file only */
	uint8_t *value;            /* of an xattr */
	uint64_t clock;
	struct ply_err err;
};

void stream_init(struct stream *s, struct layout *l, unsigned ndirfds);
void stream_done(struct stream *s);
/* The directory @dir of the plan, open for *at() calls (O_PATH); borrowed until the next call.
 * Resolved beneath the target, whatever has become of it. -errno. */
int stream_dir(struct stream *s, uint32_t dir);
/* Forget all open directories. */
void stream_forget(struct stream *s);
/* Block @b, decoded. Borrowed until the next call. */
int stream_block(struct stream *s, struct sub *sub, uint64_t b, const struct ply_block *block,
		 const uint8_t **ret);

static inline bool stream_stops(const struct stream *s)
{
	return atomic_load_explicit(&s->l->stop, memory_order_relaxed) ||
	       (s->l->o->cancel && atomic_load_explicit(s->l->o->cancel, memory_order_relaxed));
}

/* "/PATH: WHAT: strerror", with the reason that @code calls for. */
int stream_fail(struct stream *s, int code, const struct where *w, const char *what);
/* Put the path before what reading the image said. */
int stream_damaged(struct stream *s, int code, const struct where *w);
static inline void stream_lose(struct stream *s, enum layout_field f)
{
	atomic_fetch_add_explicit(&s->l->lost[f], 1, memory_order_relaxed);
}

/* --- making things (place.c) ------------------------------------------------------ */

/* A NUL-terminated copy of a name that was checked after it was copied. */
struct name {
	char text[PLY_NAME_MAX + 1];
	uint32_t len;
};
int place_name(struct name *n, const char *from, size_t len, struct ply_err *err);

/* Row @w->at of a sub-image's ENTRIES: a file, or one of several names of one. */
int place_entry(struct stream *s, const struct where *w);
/* One batch of a big file. */
int place_piece(struct stream *s, const struct plan_batch *b);
/* A further name of a file that exists. */
int place_link(struct stream *s, const struct plan_link *first, const struct plan_link *l);
/* Metadata of a directory; @fd is open for reading. */
int place_directory(struct stream *s, uint32_t dir, int fd);

/* --- taking it out again (undo.c) ------------------------------------------------- */

/* Before anything is made. */
int undo_begin(struct layout *l, struct ply_err *err);
/* The name @name (@len bytes) in the directory @dir of the plan now exists by this run. Any stream. */
void undo_note(struct layout *l, uint32_t dir, const char *name, size_t len);
/* Takes out all that this run made, without the image. Returns how many names could not be removed. */
uint64_t undo(struct layout *l);

#endif
