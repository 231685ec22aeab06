/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The directory that is laid out into: what it was before, and putting it back. */
#ifndef PLYFS_LAYOUT_TARGET_H
#define PLYFS_LAYOUT_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "plyfs/error.h"

struct target {
	const char *path;          /* as the caller named it; borrowed */
	int fd;                    /* O_RDONLY, locked */
	struct stat before;
	uint64_t block;            /* bytes of a block */
	uint64_t free_bytes;       /* that the caller may use; UINT64_MAX: not known */
	uint64_t free_inodes;
	long name_max, link_max;   /* -1: not known */
	bool mine;                 /* the caller may change its metadata */
	bool changed;              /* by target_take() */
	void *acl[2];              /* access and default, as they were; NULL: none */
	size_t acl_len[2];
};
extern const char *const target_acl_names[2];

/* Checks that @path is an empty directory (a file system's own lost+found does not count),
 * and locks it. TARGET_NOT_FOUND, TARGET_NOT_DIRECTORY, TARGET_NOT_EMPTY, TARGET_BUSY. */
int target_open(struct target *t, const char *path, struct ply_err *err);
/* From here on only the caller sees into it: mode 0700, no ACLs that files would inherit. */
int target_take(struct target *t, struct ply_err *err);
/* As it was before target_take(). -errno. */
int target_restore(struct target *t);
void target_close(struct target *t);

#endif
