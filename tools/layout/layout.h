/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Laying a view out as ordinary files of a directory.
 *
 * What happens, in this order: the target is looked at (target.c), the whole selection is
 * read into a plan of batches (plan.c), a hidden file is asked what the target can hold
 * (probe.c), plan and journal are put into TARGET/var/lib/plyfs (state.c, journal.c), and only then the first byte is
 * written: directories, `os`, the other sub-images in parallel streams, further names of hard links, metadata of
 * directories (engine.c, place.c), each phase with a record in the journal when it is durable. What fails on the way
 * takes out what it made (undo.c). What was killed, or lost its power, is completed (run.c, again.c) or taken out
 * (abort.c).
 */
#ifndef PLYFS_LAYOUT_H
#define PLYFS_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "plyfs/view.h"
#include "progress.h"

struct saved;              /* layout/journal.h */
struct timeline;           /* layout/timeline.h */

#define LAYOUT_STREAMS_MAX 256

/* What a target may be unable to hold: name for JSON, text for people. */
#define LAYOUT_FIELDS(X) \
	X(XATTR_USER, "xattr_user", "extended attributes of the user namespace") \
	X(XATTR_TRUSTED, "xattr_trusted", "extended attributes of the trusted namespace") \
	X(XATTR_SECURITY, "xattr_security", "extended attributes of the security namespace") \
	X(XATTR_OTHER, "xattr_other", "extended attributes of other namespaces") \
	X(XATTR_SIZE, "xattr_size", "extended attributes of that size") \
	X(ACL, "acl", "ACLs") \
	X(CAPABILITY, "capability", "file capabilities") \
	X(MODE, "mode", "permission bits") \
	X(TIME_RANGE, "time_range", "modification times of that year") \
	X(TIME_NS, "time_ns", "modification times in nanoseconds") \
	X(FILE_SIZE, "file_size", "files of that size") \
	X(NAME_LENGTH, "name_length", "names of that length") \
	X(SYMLINK, "symlink", "symbolic links") \
	X(SYMLINK_LENGTH, "symlink_length", "symbolic links of that length") \
	X(SPECIAL, "special", "FIFOs and sockets") \
	X(DEVICE, "device", "device nodes") \
	X(DEVICE_NUMBER, "device_number", "device numbers of that size") \
	X(LINK, "link", "hard links") \
	X(LINK_COUNT, "link_count", "that many links to one file")

enum layout_field {
#define X(name, id, text) FIELD_##name,
	LAYOUT_FIELDS(X)
#undef X
	FIELD_COUNT
};

enum layout_todo {
	LAYOUT_NEW,
	LAYOUT_RESUME,             /* where nothing was begun: as LAYOUT_NEW */
	LAYOUT_ABORT,
};

struct layout_options {
	enum layout_todo todo;
	bool all;                  /* LAYOUT_ABORT: also what is complete */
	const char *const *abort;  /* components that go, where `os` is laid out for good; none: all that are not complete */
	size_t nabort;
	const struct ply_decision *decisions;  /* that the view was opened with: for the plan; borrowed */
	size_t ndecisions;
	unsigned streams;          /* 1 .. LAYOUT_STREAMS_MAX */
	bool sync;                 /* make it durable at the end */
	bool lossy;                /* leave out what the target cannot hold */
	bool allow_partial;        /* leave out owners and devices that the caller may not make */
	bool map_owner;            /* all files belong to map_uid, map_gid */
	uid_t map_uid;
	gid_t map_gid;
	const atomic_bool *cancel; /* NULL: cannot be cancelled */
	struct progress_counters *progress;   /* NULL: nobody looks */
	struct timeline *timeline;            /* NULL: nobody asks later */
};

enum layout_phase { PHASE_PLAN, PHASE_DIRECTORIES, PHASE_OS, PHASE_OTHERS, PHASE_LINKS,
		    PHASE_METADATA, PHASE_SYNC, PHASE_COUNT };
extern const char *const layout_phase_names[PHASE_COUNT];

struct layout_loss {
	const char *id, *text;     /* of the field */
	uint64_t count;            /* inodes, names or xattrs that lost it; 0: nothing lost */
	char first[512];           /* one path concerned, escaped */
};

/* A name that was found to be somebody else's. */
struct layout_left {
	char *path;                /* escaped */
	char *why;
};

/* A number without a name in the image, which is somebody's on the target: as an owner it is root's, without privileges, and
 * ACLs are without it. */
struct layout_lost_id {
	bool group;
	uint32_t id;
	char *holder;              /* escaped; NULL: of an earlier component */
	uint64_t files, acls;      /* names */
};

struct layout_report {
	uint64_t directories, files, names;   /* files: inodes that are no directories */
	uint64_t bytes;                       /* written as content of files */
	double seconds[PHASE_COUNT];
	struct layout_loss lost[FIELD_COUNT];
	uint64_t owners;           /* files whose owner is not the image's */
	uint64_t privileges;       /* of these, whose setuid, setgid or capability was left off */
	bool nothing;              /* there was nothing to resume or to abort */
	struct layout_left *left;
	size_t nleft;
	struct layout_lost_id *ids;
	size_t nids;
};
void layout_report_done(struct layout_report *r);
/* Adds to what is told of that number already. @holder: borrowed. -ENOMEM. */
int layout_report_lost_id(struct layout_report *r, bool group, uint32_t id, const char *holder, uint64_t files,
			  uint64_t acls);

/*
 * Lay @view out into the empty directory @path. On failure the directory is as it was
 * before, or @err says what could not be taken out again. Changes the process's umask
 * while it runs. Reasons: TARGET_*, CANCELLED, STATE_DAMAGED, and those of reading the image.
 *
 * LAYOUT_RESUME: go on where an earlier one was killed; @view must give the same plan (PLAN_DIFFERENT). On failure all
 * stays as it is then. What is somebody else's is left and reported: TARGET_EXISTS, when all else is done.
 *
 * LAYOUT_ABORT: take out what it made; where `os` is laid out for good only what others are not complete, or are named,
 * and what is shared becomes what it is without them. @view may be NULL where layout_look() says so. Names that are left: TARGET_EXISTS.
 */
int layout_run(struct ply_view *view, const char *path, const struct layout_options *o,
	       struct layout_report *ret, struct ply_err *err);

/* A piece of what would be done: @n names, or directories, and @bytes of content. */
struct layout_step {
	enum layout_phase phase;
	const char *stream;        /* whose batches streams take in order: a sub-image's name, or that of the phase */
	uint64_t n, bytes;
};
typedef int layout_step_fn(void *ctx, const struct layout_step *step);
/* Calls @fn for each batch of a new layout into @path, and writes nothing; @ret_digest: of the plan. What @fn returns,
 * if not 0, ends it and is returned. */
int layout_dry_run(struct ply_view *view, const char *path, const struct layout_options *o, layout_step_fn *fn,
		   void *ctx, uint8_t ret_digest[32], struct ply_err *err);

enum layout_found {
	LAYOUT_NOTHING,            /* or remains of one that had not begun */
	LAYOUT_UNFINISHED,
	LAYOUT_COMPLETE,
	LAYOUT_ABORTED,            /* an abort was begun */
};

/* A component that is there: by the layout of the target, or by a change of its own. */
struct layout_done {
	char *name;
	bool own;                  /* a change brought it, of this image: */
	uint8_t uuid[16], catalog[32];
};

struct layout_look {
	enum layout_found found;
	bool empty;
	bool remains;              /* LAYOUT_NOTHING, and it is not, for remains of a layout that had not begun */
	bool open;                 /* a change of what is there was begun, or taken back, and has no end: update.h */
	struct layout_done *done;
	size_t ndone;
	bool has_os;               /* `os` is committed */
	struct saved *saved;       /* the plan; NULL: none, and an abort needs no view */
};
/* What is in the directory @path? Changes nothing. Release by layout_look_done(). */
int layout_look(const char *path, struct layout_look *ret, struct ply_err *err);
void layout_look_done(struct layout_look *look);
/* Is look->done[@i] of this generation of this image? */
bool layout_look_is_of(const struct layout_look *look, size_t i, struct ply_image *image);

#endif
