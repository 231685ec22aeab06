/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is decided about a target that is not empty, by the policy: packages that clash, and paths. */
#ifndef PLYFS_LIVING_DECIDE_H
#define PLYFS_LIVING_DECIDE_H

#include "collisions.h"
#include "living.h"

/* How a path was decided when all components were looked at together. */
struct living_decided {
	char *path;
	uint8_t rule;
	uint16_t driver;
};

/* Of one run. Release by living_deciding_done(). */
struct living_deciding {
	struct living *l;
	bool look;                 /* what is undecided is no error */
	bool checked;              /* what is needed is there */
	struct living_decided *v;  /* by path */
	size_t n, cap;
};

/* An update_decide_fn; @ctx is a struct living_deciding. The first survey is of all that is added; what it decides holds for
 * those of the components alone. */
int living_decide(void *ctx, struct survey *s, struct ply_err *err);
void living_deciding_done(struct living_deciding *d);

/* Conflicts with a target that have no rule yet, as policies and --ask see collisions: sub-image 0 is the target. They
 * borrow @s. Release by living_collisions_done(). */
struct living_collisions {
	struct collisions c;
	struct holder *holders;
	const char **names;
	bool *selected;
	size_t *at;                /* which of s->conflicts */
};
int living_collisions(struct survey *s, const struct living *l, struct living_collisions *ret, struct ply_err *err);
/* What was decided becomes theirs; how many are still to be decided. */
size_t living_collisions_decide(const struct living_collisions *k, struct survey *s, bool append);
void living_collisions_done(struct living_collisions *k);

#endif
