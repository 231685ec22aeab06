/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory tree in one string, so that two can be compared some hundred times; and its removal. */
#ifndef PLYFS_TESTS_TREE_H
#define PLYFS_TESTS_TREE_H

#include "base/buf.h"

/*
 * A line for each name below and for @path itself, in the order of their bytes: path, type and permissions, owners,
 * time to the nanosecond, size, device number, the first path of its hard links, XXH3 of xattrs (ACLs are some), XXH3
 * of its content and where its holes are, or of its target. But for /var/lib/plyfs, which tells when. Aborts
 * where that cannot be read. Release by buf_done().
 */
struct buf tree_lines(const char *path);

/* @path and all below it; aborts where that fails. */
void tree_remove(const char *path);

#endif
