/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Within fs/live.
 *
 * Locking. What changes names, or how many an inode has, holds `names`: there is one order of all of it. What changes
 * content, attributes or xattrs of one inode holds the inode's stripe, so that it can look first and change then. Both
 * together, `names` comes first; of two stripes, the lower. Looking takes none of them: what it finds is whole, since a
 * record counts at once. Different attributes of one inode may be set at the same time: a record sets those in its mask.
 */
#ifndef PLYFS_LIVE_IMPL_H
#define PLYFS_LIVE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "live/live.h"

#define LIVE_STRIPES  64u
#define LIVE_LINK_MAX 65000u       /* names of one inode, and subdirectories, as ext4 */

struct live {
	struct ply_view *view;
	struct redo *log;
	uint32_t generation, log_generation;   /* of the image's inodes, of those that are made here */
	pthread_mutex_t names;
	pthread_mutex_t stripes[LIVE_STRIPES];
	atomic_bool uncommitted;
};

void live_lock(struct live *l, uint64_t ino);
void live_unlock(struct live *l, uint64_t ino);
void live_lock_two(struct live *l, uint64_t a, uint64_t b);
void live_unlock_two(struct live *l, uint64_t a, uint64_t b);

struct live_time live_now(void);

/* Made in this log: nothing of it is in the view. */
bool live_made_here(const struct live *l, uint64_t ino);
int live_stale(uint64_t ino, struct ply_err *err);

/* Append what was put together: -ESTALE where an inode died meanwhile. */
int live_append(struct live *l, struct redo_op *op, struct ply_err *err);

/* Attributes of one inode that are to change. */
struct live_change {
	uint32_t mask;             /* PLY_REDO_A_* */
	struct redo_attr attr;
};
void change_nlink(struct live_change *c, uint64_t nlink);
void change_times(struct live_change *c, uint32_t mask, struct live_time t);   /* those of @mask become @t */
void change_add(const struct live_change *c, struct redo_op *op, uint64_t ino);        /* nothing where there is none */

/* Setuid, capabilities, and setgid where the group may execute it or @who is not in it go: the mode that is left into @c,
 * the rest into @op. Of groups that are not his first nothing is known here. */
int live_kill(struct live *l, const struct live_who *who, struct redo_op *op, const struct live_attr *a,
	      struct live_change *c, struct ply_err *err);

/* The content is the log's own from here on where it is rendered, so that no log depends on how that is done. Under
 * the inode's stripe. */
int live_own_content(struct live *l, const struct live_attr *a, struct ply_err *err);

/* An inode with a flag of @flags: -EPERM. */
int live_check_flags(const struct live_attr *a, uint32_t flags, struct ply_err *err);

/* --- ACLs (live_acl.c): the xattrs system.posix_acl_*, version 2 ------------------------------------------ */

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* -EINVAL: no ACL. *ret_mode: the permission bits that it stands for; *ret_plain: and they say it all. */
int acl_check(const void *value, size_t len, uint32_t *ret_mode, bool *ret_plain, struct ply_err *err);
/* Change @value as chmod(2) to @mode does. */
void acl_chmod(void *value, size_t len, uint32_t mode);
/* @value, a default ACL, as access ACL of what is made with @mode; returns the mode that it has then. */
uint32_t acl_inherit(void *value, size_t len, uint32_t mode);

#endif
