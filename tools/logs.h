/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What verbs need to know of a log (.redo) that they are given. */
#ifndef PLYFS_LOGS_H
#define PLYFS_LOGS_H

#include <stdbool.h>

#include "redo/redo.h"

/* To look at it: nothing is locked. While somebody writes to it, one that looks damaged is looked at again. */
int log_look(const char *path, struct redo **ret, struct ply_err *err);
/* On stderr: who has the log locked, and where it is mounted, as far as that is to be seen. */
void log_tell_holder(const char *path);

#endif
