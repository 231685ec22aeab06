/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a log stands on: from an image and a selection to the binding of a new log, and from the binding of an open
 * log back to both. A log is opened on the very generation that it names, by UUID and SHA-256, whatever the image has
 * become since.
 */
#ifndef PLYFS_OPS_PARENT_H
#define PLYFS_OPS_PARENT_H

#include "plyfs/view.h"
#include "redo/redo.h"

/*
 * The image of @log, in the generation that it names. It is looked for where it was when the log was made, then beside
 * the log: @redo_path (NULL: the log has no place), under the same name. The image is the caller's to close.
 *
 *   REDO_PARENT_MISSING   there is none                 REDO_PARENT_FOREIGN  there is another one
 *   REDO_PARENT_CHANGED   it has another content now    REDO_PARENT_DROPPED  that generation is gone
 *   REDO_PARENT_LOG       the parent is a log, which this version does not open
 *
 * Others: the image is damaged, or cannot be read.
 */
int parent_open(struct redo *log, const char *redo_path, struct ply_image **ret_image, struct ply_err *err);

/* The same for a parent that has moved: the image is the file @path, or none. */
int parent_open_at(struct redo *log, const char *path, struct ply_image **ret_image, struct ply_err *err);

/* The view that the log was made on: its selection and decisions. @image, from parent_open(), is borrowed and must
 * outlive it. */
int parent_view_open(struct ply_image *image, struct redo *log, size_t cache_bytes, struct ply_view **ret,
		     struct ply_err *err);

/*
 * What a log on @view is bound to, where @decisions are those that the view was opened with. Names of @ret are in
 * @memory, which must be empty, and is the caller's to free; decisions and path are borrowed.
 */
int parent_bind(struct ply_view *view, const struct ply_decision *decisions, size_t ndecisions, struct buf *memory,
		struct redo_binding *ret, struct ply_err *err);

#endif
