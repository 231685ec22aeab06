/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs info of a log: what it stands on, and what is in it. */
#ifndef PLYFS_INFO_REDO_H
#define PLYFS_INFO_REDO_H

/* The exit code. */
int info_redo(const char *path);

#endif
