/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree that a layout has written: its digest, and its end. */
#ifndef PLYFS_TESTS_TARGET_H
#define PLYFS_TESTS_TARGET_H

#include <stdint.h>

/* Of names, attributes, xattrs, links' targets, bytes and holes; 0: something cannot be read. */
uint64_t target_digest(const char *path);
/* Entries of the directory @path, or -1. */
int target_count(const char *path);
/* Remove @path and all below it; 0, or -1. */
int target_wipe(const char *path);

#endif
