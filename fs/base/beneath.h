/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a directory somewhere below another, without ever leaving it: no
 * symlink is followed, "..", absolute paths and magic links are refused by the
 * kernel (openat2). Paths longer than PATH_MAX are walked in pieces.
 */
#ifndef PLYFS_BASE_BENEATH_H
#define PLYFS_BASE_BENEATH_H

#include <stddef.h>

/*
 * Open the directory @path (@len bytes, relative to @root; "" is @root itself)
 * with @flags (O_PATH or O_RDONLY; O_DIRECTORY and O_CLOEXEC are added). Returns a
 * descriptor of the caller's or -errno: -ELOOP where a component is a symlink,
 * -EXDEV where the path would leave @root, -ENOTDIR.
 */
int beneath_open(int root, const char *path, size_t len, int flags);

#endif
