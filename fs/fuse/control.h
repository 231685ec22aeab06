/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket (its address: base/mnt.h). Whoever connects, if it is root or the
 * daemon's own user, gets one message of text and the connection is closed:
 *
 *   what stats.h says
 *   decision A B RULE DRIVER    in hex: of a pair of sub-images that collide, as far as there is room
 */
#ifndef PLYFS_FUSE_CONTROL_H
#define PLYFS_FUSE_CONTROL_H

#include "plyfs/error.h"
#include "plyfs/view.h"

struct redo;
struct serve;

/* A listening socket for the mount with this device number. */
int control_open(unsigned major, unsigned minor, int *ret_fd, struct ply_err *err);

/* Answer those who wait. Never blocks. @log: NULL where the mount is not writable. */
void control_answer(int fd, const struct serve *serve, struct ply_view *view, struct redo *log);

#endif
