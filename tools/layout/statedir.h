/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories of TARGET/var/lib/plyfs: none leads anywhere else, and none hands down what it was not given. */
#ifndef PLYFS_LAYOUT_STATEDIR_H
#define PLYFS_LAYOUT_STATEDIR_H

#include <sys/types.h>

#include "plyfs/error.h"

/* A descriptor of the caller's, or -errno; no symlink is followed. */
int statedir_open(int at, const char *name);
/* With @mode and nothing of what the directory above would give it, default ACLs and setgid; then as statedir_open(). */
int statedir_make(int at, const char *name, mode_t mode);
/* Is the state @dir of @target believed? STATE_DAMAGED where another user could have written it. */
int statedir_check(int dir, const char *target, struct ply_err *err);

/* Where @code is that of a symlink, or another thing than a directory, in var/lib/plyfs of the target @fd: tells which, and
 * returns @code. 0: it is another. */
int statedir_no_way(int fd, const char *target, int code, struct ply_err *err);

#endif
