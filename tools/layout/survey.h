/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a selection of an image changes of a target that is not empty: both are compared, with the image as it is without
 * what is to be added as the base of all three-way comparisons; so the target is a rank of its own, below all others.
 *
 *   in the image       in the target       what happens
 *   new                nothing             it is made (by the plan)
 *   new                the same            it stays, and is known as what was there before
 *   new                another one         merged, as merge/compose.h judges it; else a conflict
 *   as in the base     anything            nothing: it is none of what is to be added
 *   changed            as in the base      changed
 *   changed            another one         three-way; what both changed differently is a conflict
 *   taken away         as in the base      taken away
 *   taken away         another one         a conflict
 *
 * Of a package that the target has in another version (packages.h) nothing is new, changed or taken away.
 *
 * Nothing is written. The target's files are read, without following symlinks, below directories that were opened beneath
 * it.
 */
#ifndef PLYFS_LAYOUT_SURVEY_H
#define PLYFS_LAYOUT_SURVEY_H

#include "layout/changes.h"
#include "layout/packages.h"
#include "layout/plan.h"
#include "layout/version.h"

/* A file that the plan does not make: merged, or in the place of another. */
struct survey_put {
	char *path;                /* as in the row, */
	uint32_t n;                /* whose number is this */
	bool swap;                 /* in the place of another: CHANGE_SWAP; else CHANGE_MAKE */
	bool own;                  /* its content is of the view; else @text */
	char *link;                /* one more name of this file of the target, whatever else is said here; NULL: it is not */
	bool staged;               /* it is to take the place of what the plan has made */
	uint64_t ino;              /* of the view: content, where @own, and xattrs */
	struct buf text;
	uint32_t mode, uid, gid;   /* with the type */
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	bool target_xattrs;        /* those of what is there; else the view's */
	bool meta;                 /* CHANGE_META of a directory: nothing but owner, mode and xattrs */
};

/* What is decided otherwise than by merging. */
struct survey_conflict {
	char *path;                /* absolute */
	char *component;           /* that brings what clashes there */
	struct pair_class k;
	uint32_t target_mode, mode;        /* with types; 0: deleted */
	char *target_content, *content;    /* as policies call them */
	uint8_t rule;              /* enum ply_rule; 0: undecided */
	uint16_t driver;
};

/* A number without a name in the image, which is somebody's in the target: an owner of it becomes root, and ACLs are
 * without it. */
struct survey_lost {
	enum id_kind kind;
	uint32_t id;
	uint64_t files, acls;      /* names with that owner, and names whose ACLs, or capabilities of a name space, have it */
	uint64_t last;             /* of ids.c */
};

struct survey {
	struct ply_view *view, *base;      /* base: of the selection without; NULL: nothing of the image is there yet */
	const struct idmap *ids;
	bool map_owner;            /* all files are to belong to */
	uid_t uid;
	gid_t gid;
	int target;
	uint64_t mount;            /* where what is new is staged, as version_mount() says it: names are moved from there */
	const char *component;     /* that is added: for names of PLY_RULE_KEEP_BOTH */
	const atomic_bool *cancel;
	uint64_t block;
	struct packages packages;  /* by packages_read(), or zero */

	struct plan *plan;         /* of what is made */
	struct changes changes;    /* rows with kinds and paths, and what is there before; dirs */
	struct survey_put *puts;
	size_t nputs, puts_cap;
	struct survey_conflict *conflicts;
	size_t nconflicts, conflicts_cap;
	struct survey_lost *lost;          /* by ids_count_lost() */
	size_t nlost, lost_cap;
};

/*
 * The members up to `packages` are set. Where there are conflicts, decide them (rule, driver) and call again: they are found by
 * path. -errno; a name that is a directory on one side only is a conflict that nothing decides (TARGET_EXISTS).
 */
int survey_run(struct survey *s, struct ply_err *err);
void survey_done(struct survey *s);

#endif
