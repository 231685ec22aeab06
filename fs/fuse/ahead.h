/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel is given without having asked: see ahead.c. */
#ifndef PLYFS_FUSE_AHEAD_H
#define PLYFS_FUSE_AHEAD_H

#include "ops.h"

struct ahead;

/* NULL where memory is short: then nothing is given ahead. @session is borrowed.
 * The others take NULL. */
struct ahead *ahead_new(struct fuse_session *session, struct ply_view *view);
struct ahead *ahead_free(struct ahead *a);
/* @n bytes from the beginning of @ino were given to who asked for @asked. */
void ahead_of(struct ahead *a, uint64_t ino, size_t n, size_t asked);
/* @n bytes at @off of @ino were given to who asked for them. */
void ahead_around(struct ahead *a, uint64_t ino, uint64_t off, size_t n);
/* From now on, since two threads or more answer requests; nothing where it was stopped before. */
void ahead_start(struct ahead *a);
/* For good: a thread may still be busy, but none begins. Before the first thread that answers leaves. */
void ahead_stop(struct ahead *a);
/* Is a thread giving files to the kernel? While it is, another one must answer requests. */
bool ahead_is_busy(const struct ahead *a);

#endif
