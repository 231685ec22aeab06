/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mount without a kernel: the daemon's own operations (fs/fuse/ops.c), asked what a kernel
 * would ask for a program that looks at everything, and their replies kept or compared.
 */
#ifndef PLYFS_TESTS_KERNEL_H
#define PLYFS_TESTS_KERNEL_H

#include <stddef.h>

#include "plyfs/error.h"

struct kernel;   /* all requests that were made of a sound image, and the replies */

/* Open @image and ask for everything, at most @limit requests. *ret may be NULL: replies are then
 * looked at and dropped. Returns how many had EIO, or a negative errno where it cannot be opened. */
int kernel_roam(const char *image, size_t limit, struct kernel **ret, struct ply_err *err);
void kernel_free(struct kernel *k);
size_t kernel_requests(const struct kernel *k);

/*
 * The same requests of @image: each must have the same reply, or EIO; a listing may end early,
 * with EIO. Returns how many had EIO, or a negative errno and @err where the image cannot be
 * opened. @wrong says where another reply came; else it is empty.
 */
int kernel_replay(const struct kernel *k, const char *image, char *wrong, size_t size, struct ply_err *err);

#endif
