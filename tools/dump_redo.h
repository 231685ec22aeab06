/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs dump of a log. */
#ifndef PLYFS_DUMP_REDO_H
#define PLYFS_DUMP_REDO_H

/* Print its structures. Returns the exit code. */
int dump_redo(const char *path);

#endif
