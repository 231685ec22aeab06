/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two further generations on small_image(), each with an overlay; both stand beside each other.
 *
 *   db (number 2) on os and web        /dev0      gone
 *                                      /etc/db.conf  new          /etc/hosts  other content
 *                                      /usr/web   gone, with /usr/web/page
 *   cache (number 3) on os             /dev0      another mode
 *                                      /etc/db.conf  new, other   /etc/hosts  other content
 *
 * Collisions: /dev0 (conflict, deleted), /etc/db.conf (conflict, unknown text), /etc/hosts (three-way).
 */
#ifndef PLYFS_TESTS_OVERLAY_IMAGE_H
#define PLYFS_TESTS_OVERLAY_IMAGE_H

#include "image/image_write.h"
#include "plyfs/error.h"

/* What is appended; each is 0 or a negative errno of the writer. The image at @path is of generation 1, then 2. */
int overlay_add_db(const char *path, struct ply_err *err);
int overlay_add_cache(const char *path, struct ply_err *err);
/* A generation without sub-image @number. */
int overlay_remove(const char *path, uint32_t number, struct ply_err *err);

/* small_image() and both, to @path; aborts where that fails. */
void overlay_image(const char *path);

#endif
