/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Components that are added to, and taken out of, a target that is in use. fs/format/FORMAT.md, "State of a layout",
 * is normative for what lies in TARGET/var/lib/plyfs:
 *
 *   update.new/   a change that is being staged: of no worth until it has its name
 *   update/       a change that is open: table, journal, and all new content (changes.h, apply.h)
 *   merge/NAME/   the change that brought component NAME, kept: its table, in new/ and old/ what was there before, in with/
 *                 what was put in its place
 *   done/NAME     the component is there
 *
 * One component is one change; one that is killed is gone on with, or taken back, by looking at its table alone: neither
 * the image nor what was decided is asked again.
 */
#ifndef PLYFS_LAYOUT_UPDATE_H
#define PLYFS_LAYOUT_UPDATE_H

#include "layout/layout.h"
#include "layout/survey.h"
#include "layout/target.h"

/* A component that is to be added, in order of rank. */
struct update_component {
	const char *name;
	struct ply_view *base, *with;      /* the selection without, and with it; base NULL: nothing of the image is there */
};

/* Called with each survey, the first time for all components together: may it be done? Decides s->conflicts, where there
 * are any. -ENOTUNIQ (CONFLICT): some are not decided. */
typedef int update_decide_fn(void *ctx, struct survey *s, struct ply_err *err);

/* Lays out into the directory @path, which is not empty. All of it is looked at, and decided, before a byte is written.
 * What others have changed meanwhile is left and reported (TARGET_EXISTS). */
int update_add(const char *path, const struct update_component *v, size_t n, const struct layout_options *o,
	       update_decide_fn *decide, void *ctx, struct layout_report *ret, struct ply_err *err);

/* Ends what is complete but for its end, and removes what had not begun. TARGET_UNFINISHED: a change is open. */
int update_settle(const char *path, const struct layout_options *o, struct ply_err *err);

/* Looks only: what would be decided. *ret: of survey_run() for all components at once; by survey_done(). */
int update_look(const char *path, const struct update_component *v, size_t n, const struct layout_options *o,
		update_decide_fn *decide, void *ctx, struct survey *ret, struct idmap *ids, struct ply_err *err);

/* Goes on with a change that is open, or takes it back. */
int update_resume(const char *path, const struct layout_options *o, struct layout_report *ret, struct ply_err *err);
int update_abort(const char *path, const struct layout_options *o, struct layout_report *ret, struct ply_err *err);

/* Takes out components, in this order. SUB_UNKNOWN: it is not there, or it came with the operating system. */
int update_remove(const char *path, const char *const *names, size_t n, const struct layout_options *o,
		  struct layout_report *ret, struct ply_err *err);

/* From one selection to another that has less, in a target that is open: what both have and that differs, three-way; what
 * others have changed so that nobody can say stays. @name: one of those that go. Goes on with itself. */
int update_between(const struct target *t, struct ply_view *from, struct ply_view *to, const char *name,
		   const struct layout_options *o, struct layout_report *ret, struct ply_err *err);

/* What is open in the state's directory @dir; no error: none, where it cannot be read. */
enum update_found {
	UPDATE_NONE,
	UPDATE_OPEN,
	UPDATE_BETWEEN,            /* none, but components that belong together are not all there */
	UPDATE_ABORTING,
	UPDATE_REMAINS,            /* of one that had not begun, or is complete but for its end */
};
int update_find(int dir, const char *path, enum update_found *ret, struct ply_err *err);

#endif
