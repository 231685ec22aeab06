/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is decided where sub-images collide, as the command hands it to the daemon (base/mnt.h). */
#ifndef PLYFS_FUSE_DECISIONS_H
#define PLYFS_FUSE_DECISIONS_H

#include <stddef.h>

#include "plyfs/error.h"
#include "plyfs/view.h"

struct decisions {
	struct ply_decision *v;
	size_t n, cap;
};

/* Lines of text; USAGE names the one that is none. Whether there are such pairs the view finds out. */
int decisions_parse(const char *text, size_t len, struct decisions *ret, struct ply_err *err);
/* All of an open file, from its start. */
int decisions_read(int fd, struct decisions *ret, struct ply_err *err);
void decisions_done(struct decisions *d);

#endif
