/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What on a machine is worth a component of its own: software that was installed by hand and
 * brings a service or is large, together with what comes from the same source; and trees of no
 * package below /opt, /srv and /usr/local.
 */
#ifndef PLYFS_PROPOSE_H
#define PLYFS_PROPOSE_H

#include "capture/manifest.h"
#include "capture/pkgdb/pkgdb.h"
#include "capture/rules.h"
#include "capture/scan.h"

struct proposal {
	struct manifest manifest;
	uint32_t *left;            /* packages installed by hand that stay in os */
	size_t nleft, left_cap;
	bool no_marks;             /* nothing tells what was installed by hand */
};

/* @db may be NULL. */
int propose(const struct scan *scan, const struct pkgdb *db, const struct rules *rules,
	    struct proposal *ret, struct ply_err *err);
void proposal_done(struct proposal *p);

/* For each service that package @pkg brings: its unit, without ".service". */
int propose_services(const struct pkgdb *db, uint32_t pkg, int (*fn)(void *ctx, const char *name), void *ctx,
		     struct ply_err *err);

#endif
