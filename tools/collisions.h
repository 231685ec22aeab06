/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The collisions of a selection as plan, policies and --ask see them: by path, each with the sub-images
 * that hold it and what is decided. Made from a view that was opened with undecided_first; nothing of a
 * file's content is read until somebody asks for it.
 */
#ifndef PLYFS_COLLISIONS_H
#define PLYFS_COLLISIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plyfs/error.h"
#include "plyfs/view.h"

struct policy_entry;

/* A row of the section COLLISIONS. */
struct collision_pair {
	uint64_t a, b;
	uint8_t cls, why;          /* enum merge_class, merge_why */
	uint16_t flags;            /* PLY_PAIR_* */
};

/* What one sub-image has at the path. */
struct holder {
	uint64_t ref;              /* as in the pair */
	uint32_t sub;              /* position in the image */
	uint16_t mode;             /* its type and permissions; a whiteout has 0 */
	bool whiteout;
};

struct collision {
	char *path;                /* absolute */
	struct holder *v;          /* by rank */
	size_t n;
	size_t pair, npairs;       /* in collisions.pairs */
	uint8_t cls, why;          /* of the gravest pair */
	uint16_t flags;            /* of all pairs */
	bool appendable;           /* each conflict of it is */
	uint8_t rule;              /* enum ply_rule, POLICY_*; 0: nothing is said */
	uint16_t driver;
	const struct policy_entry *entry;      /* that says it; borrowed */
	size_t group;              /* collisions that are one decision have the lowest index of them */
};

struct collisions {
	struct collision *v;       /* by path */
	size_t n;
	struct collision_pair *pairs;          /* those of a collision together, in the order of @v */
	size_t npairs;
	const char *const *names;  /* of all sub-images of the image, by position */
	const bool *selected;
	uint32_t nnames;
	/* What sub-image @sub has at @path, as policies call it; malloc-ed. NULL: it is no collision, and not known. */
	int (*content)(void *ctx, uint32_t sub, const char *path, char **ret, struct ply_err *err);
	void *ctx;
};

/* Is it still to be decided? With @append, --on-collision=append decides what it can. */
bool collision_is_undecided(const struct collision *c, bool append);
/* Can that rule be asked for? NULL: yes; else why not: "a private key is never appended to". */
const char *collision_refuses(const struct collision *c, uint8_t rule);
/* The collision of a path; NULL: none. */
struct collision *collisions_find(const struct collisions *c, const char *path);

/* The struct ply_decision of each pair that is decided, by --on-collision=append too with @append; malloc-ed.
 * -ENOMEM. */
int collisions_decisions(const struct collisions *c, bool append, struct ply_decision **ret, size_t *ret_n,
			 struct ply_err *err);

/* Of an open view; borrowed. Release by collisions_free(). */
int collisions_load(struct ply_view *view, struct collisions **ret, struct ply_err *err);
struct collisions *collisions_free(struct collisions *c);

/* The view of one sub-image and what it requires, in which it is a contender; borrowed. Of collisions_load() only. */
int collisions_view_of(struct collisions *c, uint32_t sub, struct ply_view **ret, struct ply_err *err);

#endif
