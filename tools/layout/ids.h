/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Users and groups of an image on a target that is in use: by name, as add/idmap.h has it. What an earlier component was
 * given stands in its table, and holds; an owner without a name whose number is somebody's there becomes root.
 */
#ifndef PLYFS_LAYOUT_IDS_H
#define PLYFS_LAYOUT_IDS_H

#include "layout/layout.h"
#include "layout/survey.h"

/* Numbers of @view to those of the target at @root. @state: its directory, -1: there is none; @path is for messages. *ret
 * is the caller's, by idmap_done(), whatever is returned. */
int ids_make(int root, int state, const char *path, struct ply_view *view, struct idmap *ret, struct ply_err *err);

/* Which owners @s, which has been run and not been staged, gives to root: into s->lost. */
int ids_count_lost(struct survey *s, struct ply_err *err);
/* What has become of which number, into the table of @s. */
int ids_record(struct survey *s, struct ply_err *err);
/* s->lost, for people. */
int ids_report(const struct survey *s, struct layout_report *ret, struct ply_err *err);

#endif
