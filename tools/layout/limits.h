/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a target can hold of what a plan needs: found out by probe(), kept with the plan, then immutable. */
#ifndef PLYFS_LAYOUT_LIMITS_H
#define PLYFS_LAYOUT_LIMITS_H

#include <errno.h>

#include "layout/layout.h"

struct limits {
	bool lacks[FIELD_COUNT];
	int64_t time_min, time_max;
	uint32_t time_step_ns;
	uint64_t file_size;
	uint64_t symlink_len;
	uint64_t name_len;
	uint64_t links;
	uid_t uid;                 /* what a new file gets */
	gid_t gid;
	bool creates_mode;         /* a new file gets the mode that it is made with */
};

/* What a file system says of an xattr that it has no room for. */
static inline bool limits_size_error(int code)
{
	return code == -ENOSPC || code == -E2BIG || code == -ERANGE || code == -EDQUOT;
}

/*
 * A file that is not finished has a mode that no other has: sticky, without permissions but that of the
 * owner to write, where xattrs must be set. Only where the target keeps modes.
 */
static inline bool limits_marks(const struct limits *l)
{
	return l->creates_mode && !l->lacks[FIELD_MODE];
}

#endif
