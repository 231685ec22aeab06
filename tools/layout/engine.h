/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of tools/layout only. */
#ifndef PLYFS_LAYOUT_ENGINE_H
#define PLYFS_LAYOUT_ENGINE_H

#include <pthread.h>

#include "base/handover.h"
#include "layout/layout.h"
#include "layout/limits.h"
#include "layout/plan.h"
#include "layout/state.h"
#include "layout/target.h"

/* A name that a resume or an abort found to be somebody else's, and left. */
struct left {
	struct where w;
	char *path;                /* escaped */
	const char *why;
};

struct idmap;

struct layout {
	struct plan *plan;
	struct target *target;
	const struct layout_options *o;
	struct state state;
	uint32_t var, var_lib;     /* above the state, in plan.dirs; 0: the view has none */
	struct limits limits;
	bool staged;               /* what is made is not in its place yet: see engine_stage() */
	uint32_t stream;           /* of the timeline: where it is staged, all of it is one */
	const struct idmap *ids;   /* numbers of the image to those of the target; NULL: they are the same */
	bool again;                /* an earlier run was here: what is there is looked at */
	size_t dirs_made;          /* plan.dirs[1 .. dirs_made) exist by this run */
	/* The names of files that exist by this run, for undo, in no order. */
	struct made *made;         /* as many as the plan has names */
	atomic_size_t nmade;
	uint64_t made_seed;        /* random: nobody can make a name that is taken for ours */
	bool finishing;            /* directories begin to get their own modes */
	struct recorder *recorder; /* NULL: none is at work; see record.h */

	atomic_bool stop;
	pthread_mutex_t lock;      /* err, left */
	struct ply_err err;        /* the first one; code 0: none */
	struct left *left;
	size_t nleft, left_cap;

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

/* @w is not ours: it stays, and is told at the end. @why: a constant. Any stream. */
void layout_leave(struct layout *l, const struct where *w, const char *why);
/* A name that is not in the plan. */
void layout_leave_name(struct layout *l, uint32_t dir, const char *name);
/* Adds what was done to l->report. */
void layout_report_add(struct layout *l);
/* The first error of all is kept, and stops everything. */
void layout_fail(struct layout *l, const struct ply_err *err);
/* Was it left? */
bool layout_left(struct layout *l, const struct where *w);

/* The plan of @view, and whether the state has a place in it (run.c). */
int layout_plan(struct layout *l, struct ply_view *view, struct ply_err *err);
/* Many descriptors: what the system allows. */
void layout_raise_limits(void);
int layout_find_way(struct layout *l, struct ply_err *err);
/* All that a resume needs to get the plan again. Release by saved_done(). */
int layout_save(struct layout *l, struct saved *ret, struct ply_err *err);
/* Plan and target as they were when it was begun. */
int layout_start_again(struct layout *l, struct ply_view *view, struct ply_err *err);
/* Hands the names that were left to the report. -ENOMEM. */
int layout_hand_left(struct layout *l, struct ply_err *err);
/* The same; -EEXIST if there are any. @what: what becomes of the rest. */
int layout_tell_left(struct layout *l, const char *what, struct ply_err *err);
/* What failed is l->err; @more is said of it. */
int layout_stopped(struct layout *l, const char *more, struct ply_err *err);
/* Directories that have got their own mode may keep an ordinary user out. */
void layout_reopen(struct layout *l);
/* May a new layout begin there? TARGET_UNFINISHED, TARGET_NOT_EMPTY. */
int layout_check_new(const struct layout *l, struct ply_err *err);

/* --- phases (engine.c) ------------------------------------------------------------- */

/* All that are not committed. The first error is in l->err. @faults: sigbus_faults() at the beginning. */
void engine_execute(struct layout *l, unsigned faults);
/* All of them, into a directory that is to be moved: without a state, and nothing is made durable. */
void engine_stage(struct layout *l, unsigned faults);
int engine_check_image(unsigned faults, struct ply_err *err);
/* done/NAME of what @phase has laid out. */
int engine_mark_done(struct layout *l, enum layout_phase phase, struct ply_err *err);

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
	struct progress_stream *of;        /* what its work counts for; NULL: nothing */
	uint64_t bytes, names;     /* of this batch: written, made */
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

/* What is done from now on counts for sub-image @sub; for none, where there is no such one. */
void stream_count_for(struct stream *s, uint32_t sub);

static inline void stream_wrote(struct stream *s, uint64_t bytes)
{
	s->bytes += bytes;
	atomic_fetch_add_explicit(&s->l->bytes, bytes, memory_order_relaxed);
	if (s->of)
		atomic_fetch_add_explicit(&s->of->bytes, bytes, memory_order_relaxed);
}

static inline bool stream_stops(const struct stream *s)
{
	handover("go on");
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
/* The name @name (@len bytes) in the directory @dir of the plan now exists by this run, as what has node @n (@target: of
 * a symlink, else NULL). Any stream; without undo_begin() nothing is noted. */
void undo_note(struct layout *l, uint32_t dir, const char *name, size_t len, const struct ply_node *n, const char *target);
/* Takes out all that this run made, and the state, without the image; the target is as it was, but for its times. Behind
 * state_abort(): if this is killed too, nobody may believe what the journal said of phases.
 * Returns how many names could not be removed; *ret_restore: -errno of putting mode and owner back. */
uint64_t undo(struct layout *l, int *ret_restore);
/* How many names the target has now, but for lost+found. */
uint64_t undo_count_rest(const struct layout *l);
/* Directories that have got their own mode may keep us out. */
void undo_reopen_directories(struct layout *l, struct stream *s);

/* --- taking out one name (away.c) ---------------------------------------------------------- */

/* Is what has @st ours? It is @name in @dir now, wherever it was. */
typedef bool away_judge(void *ctx, int dir, const char *name, const struct stat *st);
enum {
	AWAY_GONE,                 /* it was ours, or is not there */
	AWAY_FOREIGN,              /* it stays */
};
/* @name in @dir, which is directory @d of the plan; or -errno. */
int away_remove(struct layout *l, uint32_t d, int dir, const char *name, away_judge *is_ours, void *ctx);
/* What an earlier call of that was killed with goes, if it is ours: of a name that away_recover() does not know. */
int away_forget(struct layout *l, uint32_t d, const char *name, away_judge *is_ours, void *ctx);
/* What one that was killed had moved away and not judged goes back to its place. */
int away_recover(struct layout *l, struct ply_err *err);

/* --- taking out what an earlier run made (abort.c) ---------------------------------- */

/* What stays. */
struct abort_keep {
	const bool *subs;          /* by sub-image of the plan */
	struct ply_view *view;     /* of these */
	const uint64_t *dirs;      /* by directory of the plan, its inode there; 0: it goes */
};
/* The plan is that of the state. What is not ours is left and noted. @keep NULL: nothing stays. */
void abort_names(struct layout *l, const struct abort_keep *keep);

/* --- taking out components of one that is not complete (reduce.c) -------------------- */

/* @view: of the plan in the state. */
int reduce(struct layout *l, struct ply_view *view, unsigned faults, struct ply_err *err);

#endif
