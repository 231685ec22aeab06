/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The argument of -o. */
#ifndef PLYFS_FUSE_OPTIONS_H
#define PLYFS_FUSE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "plyfs/error.h"

struct options {
	bool allow_other;          /* root's mounts always; brings default_permissions */
	bool ro, rw;               /* the last word counts; neither: what can be written is writable */
	bool sync;                 /* each change is on the disk before it is answered */
	bool nodev, nosuid, noexec;
	bool dev, suid, exec;      /* asked for; the last word counts */
	bool default_permissions;  /* the kernel enforces modes and ACLs */
	uint64_t cache;            /* bytes of decoded blocks; 0: the default */
	uint64_t threads;          /* 0: the default */
};

/* Add the options in @text, separated by commas, to *@o. Reason USAGE; it names the option
 * and lists what there is. */
int options_parse(const char *text, struct options *o, struct ply_err *err);

/* What follows from who mounts, and the defaults. USAGE where an ordinary user asks for what is root's. */
int options_complete(struct options *o, bool is_root, struct ply_err *err);

#endif
