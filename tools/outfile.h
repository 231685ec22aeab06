/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that a verb writes beside its work: whole or not at all. A regular file, or one that a symbolic link leads to,
 * is replaced by a new one with its mode and owner; a device, FIFO or socket is written into.
 */
#ifndef PLYFS_OUTFILE_H
#define PLYFS_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "plyfs/error.h"

/* Could @file be written now? Nothing of the try stays. */
int outfile_check(const char *file, struct ply_err *err);
int outfile_write(const char *file, const void *data, size_t len, struct ply_err *err);

/* Would @file lie in the directory @dir, or somewhere below it? No, where one of them is not there; and nothing
 * counts as lying in the root of this machine. */
bool outfile_is_below(const char *file, const char *dir);
/* Are both names there, and of one file? */
bool outfile_is_same(const char *a, const char *b);

#endif
