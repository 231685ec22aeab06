/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs info of a directory: what was laid out there. */
#ifndef PLYFS_INFO_TARGET_H
#define PLYFS_INFO_TARGET_H

/* The exit code. */
int info_target(const char *path);

#endif
