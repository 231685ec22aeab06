/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by update.c, remove.c and record.c only. */
#ifndef PLYFS_LAYOUT_UPDATE_IMPL_H
#define PLYFS_LAYOUT_UPDATE_IMPL_H

#include "layout/changes.h"
#include "layout/journal.h"
#include "layout/target.h"
#include "layout/update.h"

#define UPDATE_LOCKS 3

struct update {
	int locks[UPDATE_LOCKS];   /* of users and packages; -1: not there */
	struct target target;
	const struct layout_options *o;
	mode_t mask;               /* the process's before */
	int dir;                   /* of the state; -1: there is none */
	unsigned nmade;            /* directories on the way to it, by this call */
	int up;                    /* update.new, then update */
	bool first;                /* update was published by this call */
	int journal;
	struct journal j;
	struct changes table;      /* of update */
};

/* "TARGET/var/lib/plyfs/NAME: cannot WHAT: strerror" */
int update_fail(const struct update *u, int code, const char *name, const char *what, struct ply_err *err);
int update_remove_tree(int at, const char *name);
void update_close(struct update *u);
/* An empty update.new, which update_publish() gives its name. */
int update_begin(struct update *u, struct ply_err *err);
int update_publish(struct update *u, struct changes *table, struct ply_err *err);

/* Kind, image, component and what it requires. */
int update_describe(struct changes *c, struct ply_image *image, const char *component, struct ply_err *err);

/* --- update_state.c ------------------------------------------------------------------------ */

/* The target, and its state if it has one (else u->dir is -1), with the locks of users and packages; by update_close(). */
int update_open(struct update *u, const char *path, const struct layout_options *o, struct ply_err *err);
/* -ENOENT is not told. @make: also where there is none. */
int update_open_state(struct update *u, bool make, struct ply_err *err);
/* What update_begin() has made goes, as far as nothing else is in it. */
void update_drop_state(struct update *u);
int update_put_file(const struct update *u, const char *name, const void *bytes, size_t len, struct ply_err *err);

/* update/, which is there, with its table. */
int update_open_change(struct update *u, struct ply_err *err);
void update_close_change(struct update *u);
/* Carries it out, and ends it. -EEXIST (TARGET_EXISTS): names were left, and it stays open. */
int update_apply(struct update *u, struct layout_report *ret, struct ply_err *err);
int update_take_back(struct update *u, struct layout_report *ret, struct ply_err *err);
/* Removes what has no worth, ends what is complete. UPDATE_OPEN, UPDATE_ABORTING stay. */
int update_settle_change(struct update *u, enum update_found *ret, struct ply_err *err);

/* @ctx: a report. */
void update_left(void *ctx, const char *path, const char *why);
/* -EEXIST if it has names that were left. */
int update_tell_left(const struct update *u, const struct layout_report *r, const char *what, struct ply_err *err);

#endif
