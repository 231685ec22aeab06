/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory tree in one string, so that two can be compared some hundred times; and its removal. */
#ifndef PLYFS_TESTS_TREE_H
#define PLYFS_TESTS_TREE_H

#include "base/buf.h"

/*
 * A line for each name below and for @path itself, in the order of their bytes: path, type, permissions, owners, time to the
 * nanosecond, size, device number, links and the first path of them, xattrs with ACLs, where its holes are, XXH3 of
 * its content or its target. But for /var/lib/plyfs, which tells when. Aborts where that cannot be read. Release by
 * buf_done().
 */
struct buf tree_lines(const char *path);

/* @path and all below it; aborts where that fails. */
void tree_remove(const char *path);

#endif
