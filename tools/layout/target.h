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
	bool changed;              /* something of it is not as @before says */
	bool early;                /* its mode had to go before the state could be made */
	bool finished;             /* it has got what the image's root has */
	void *acl[2];              /* access and default, as they were; NULL: none */
	size_t acl_len[2];
};
extern const char *const target_acl_names[2];

/* Opens and locks it. TARGET_NOT_FOUND, TARGET_NOT_DIRECTORY, TARGET_BUSY. */
int target_open(struct target *t, const char *path, struct ply_err *err);
/* Only opens it. */
int target_look(struct target *t, const char *path, struct ply_err *err);
/* A file system's own lost+found does not count. TARGET_NOT_EMPTY. */
int target_check_empty(const struct target *t, struct ply_err *err);
/* Finds out whether it is the caller's to change, and what it was before beyond @before. */
int target_own(struct target *t, struct ply_err *err);
/* From here on only the caller sees into it: mode 0700, no ACLs that files would inherit. */
int target_take(struct target *t, struct ply_err *err);
/* Takes off what a directory has of its own, but for labels that the kernel gives. -errno. */
int target_clear_xattrs(int fd);
/* The attributes of its own, to the directory @keeper, where they survive whatever becomes of this process. -errno. */
int target_keep_xattrs(const struct target *t, int keeper);
/* Attributes (from @keeper; -1: they were not kept), owner, ACLs and mode as they were; then, when nothing is made or
 * removed in it any more, times too. -errno. */
int target_restore(struct target *t, int keeper);
int target_restore_times(struct target *t);
/* What removing its last name changes is noted in an attribute of the target first, where it can have such;
 * target_restore_times() removes that. A process that was killed between leaves it: then @t->before becomes what it tells. */
void target_note(const struct target *t);
bool target_was_noted(struct target *t);
void target_close(struct target *t);

#endif
