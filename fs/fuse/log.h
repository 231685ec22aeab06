/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the daemon has to say once it runs: to syslog, or to stderr in the foreground. */
#ifndef PLYFS_FUSE_LOG_H
#define PLYFS_FUSE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "plyfs/error.h"

void log_init(bool foreground);    /* before the threads start; syslog else */

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* @err of a request for inode @ino. Each reason is told once: a damaged image must not
 * fill a disk with its complaints. */
void log_damage(uint64_t ino, const struct ply_err *err);

#endif
