/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of tools/add share. */
#ifndef PLYFS_ADD_OVERLAY_H
#define PLYFS_ADD_OVERLAY_H

#include "add/add.h"
#include "add/diff.h"
#include "add/idmap.h"
#include "capture/capture.h"
#include "image/image_write.h"

/* --- write.c: the difference as a sub-image called @name -------------------------------------- */

int overlay_write(struct capture *cap, const struct diff *d, const struct idmap *ids, struct ply_view *parent,
		  const char *name, struct subw_result *ret, struct ply_err *err);

/* --- known.c: what users, groups and numbers there are ----------------------------------------- */

/* All names and numbers of the image into @ids. */
int known_of_image(struct ply_image *image, struct idmap *ids, struct ply_err *err);
/* The machine's numbers that no name there has: they are kept; told where they are somebody's in the image. */
int known_nameless(const struct scan *scan, const struct idnames *users, const struct idnames *groups,
		   struct idmap *ids, struct add_report *report, struct ply_err *err);
/* New unit files that have numbers which moved. */
int known_in_units(const struct diff *d, const struct idmap *ids, struct add_report *report, struct ply_err *err);

/* --- join.c: the join table with overlay @number, whose segment is @sub ------------------------- */

int overlay_join(struct imagew *w, struct ply_image *image, uint32_t number, struct sub *sub, struct ply_err *err);

/* --- collide.c ------------------------------------------------------------------------------------ */

/* Pairs of overlay @number with sub-images that it does not stand on. @parent: the view of those that it does. */
int overlay_collide(struct imagew *w, struct ply_image *image, uint32_t number, struct sub *sub,
		    struct ply_view *parent, struct add_report *report, const atomic_bool *cancelled,
		    struct ply_err *err);

/* The view of @names and what they require, where nothing is decided yet. */
int overlay_view(struct ply_image *image, const char *const *names, size_t n, struct ply_view **ret,
		 struct ply_err *err);

/* A line for the report; -ENOMEM. */
int add_note(struct add_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
