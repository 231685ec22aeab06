/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which inodes the kernel knows, and which are open to be written. What has lost its last name lives as long as the
 * kernel knows its number; where an open file may have data that the kernel has not written yet, holes are not told.
 *
 * All functions may be called from several threads at once.
 */
#ifndef PLYFS_FUSE_REFS_H
#define PLYFS_FUSE_REFS_H

#include <stdbool.h>
#include <stdint.h>

struct refs;

struct refs *refs_new(void);       /* NULL: no memory */
struct refs *refs_free(struct refs *r);       /* NULL in, NULL out */

/* @ino is about to be told to the kernel. False: no memory. */
bool refs_look(struct refs *r, uint64_t ino);
/* It forgets @n of these. True: nothing of @ino is left, known or open. */
bool refs_forget(struct refs *r, uint64_t ino, uint64_t n);

/* The same for open files that may be written. */
bool refs_open(struct refs *r, uint64_t ino);
bool refs_close(struct refs *r, uint64_t ino);

/* A number that is kept with an inode that is known or open; 0: none was. */
void refs_mark(struct refs *r, uint64_t ino, uint64_t mark);
uint64_t refs_marked(struct refs *r, uint64_t ino);

bool refs_is_known(struct refs *r, uint64_t ino);
bool refs_is_written(struct refs *r, uint64_t ino);

#endif
