/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a file as a process whose root directory is @root would: symlinks are followed,
 * absolute ones from @root on, and ".." stops there. Nothing above @root is ever reached.
 */
#ifndef PLYFS_BASE_INROOT_H
#define PLYFS_BASE_INROOT_H

#include <stddef.h>

#include "base/buf.h"

#define INROOT_LINKS 40            /* symlinks in one path, as the kernel has it */

/* A descriptor of the caller's or -errno: -ELOOP after INROOT_LINKS symlinks. O_CLOEXEC is
 * added. A last component that is a symlink is followed too, unless @flags has O_NOFOLLOW. */
int inroot_open(int root, const char *path, int flags);

/*
 * Append the whole content of the regular file @name in @dir (not followed) or, for inroot,
 * of @path; a NUL byte is put behind it, not counted. -EFBIG where it is longer than @max,
 * -EINVAL where it is not a regular file.
 */
int inroot_read(int root, const char *path, size_t max, struct buf *out);
int inroot_read_at(int dir, const char *name, size_t max, struct buf *out);
/* The same of a file of this host, symlinks followed. */
int inroot_read_file(const char *path, size_t max, struct buf *out);

#endif
