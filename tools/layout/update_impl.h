/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by update.c, remove.c and record.c only. */
#ifndef PLYFS_LAYOUT_UPDATE_IMPL_H
#define PLYFS_LAYOUT_UPDATE_IMPL_H

#include "layout/changes.h"
#include "layout/journal.h"
#include "layout/target.h"

#define UPDATE_LOCKS 3

struct update {
	int locks[UPDATE_LOCKS];   /* of users and packages; -1: not there */
	struct target target;
	const struct layout_options *o;
	mode_t mask;               /* the process's before */
	int dir;                   /* of the state; -1: there is none */
	unsigned nmade;            /* directories on the way to it, by this call */
	int up;                    /* update.new, then update */
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

#endif
