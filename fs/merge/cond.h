/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conditions: under which selections a record or an entry is there. A condition is a list of
 * clauses that must all hold; a clause is a set of components, of which any must be selected, or
 * none may be. Interned: equal conditions have one number. Components are the caller's numbers;
 * 0 is the operating system, which is always selected.
 *
 * The order of clauses means something: a record is stored with the components of the first
 * clause that is not a "none" (RULE: so a password hash lies with its user's component).
 */
#ifndef PLYFS_MERGE_COND_H
#define PLYFS_MERGE_COND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COND_ALWAYS 0u
#define COND_NEVER  UINT32_MAX     /* no selection: what has it is not stored */

struct clause {
	const uint16_t *comps;     /* ascending, at least one */
	uint16_t n;
	bool none;                 /* none of them may be selected */
};

struct conds;

struct conds *conds_new(void);     /* NULL: no memory */
struct conds *conds_free(struct conds *c);

/* Any, or none, of @comps (any order, doubles allowed, n > 0) is selected. -ENOMEM. */
int conds_any(struct conds *c, const uint16_t *comps, size_t n, uint32_t *ret);
int conds_none(struct conds *c, const uint16_t *comps, size_t n, uint32_t *ret);
/* Both hold; the clauses of @a come first. -ENOMEM; -E2BIG beyond 65535 clauses. */
int conds_and(struct conds *c, uint32_t a, uint32_t b, uint32_t *ret);
/* Either holds. Each is ALWAYS, NEVER, or one "any" clause: -EINVAL. */
int conds_or(struct conds *c, uint32_t a, uint32_t b, uint32_t *ret);
/* @a does not hold. ALWAYS, NEVER, or one clause: -EINVAL. */
int conds_not(struct conds *c, uint32_t a, uint32_t *ret);
/* Does @b hold wherever @a does? True is certain; false where either is more than one "any" clause. */
bool conds_implies(const struct conds *c, uint32_t a, uint32_t b);

/* Their number with ALWAYS; conditions are 0 .. n - 1. */
uint32_t conds_count(const struct conds *c);
/* Clause @i of @cond, below conds_nclauses() (0 for ALWAYS); valid until the next condition is made. */
uint32_t conds_nclauses(const struct conds *c, uint32_t cond);
struct clause conds_clause(const struct conds *c, uint32_t cond, uint32_t i);
/* The components that store what has this condition; *ret_n 0: the operating system. */
const uint16_t *conds_home(const struct conds *c, uint32_t cond, size_t *ret_n);

typedef bool cond_selected_fn(const void *ctx, uint16_t comp);
bool conds_hold(const struct conds *c, uint32_t cond, cond_selected_fn *selected, const void *ctx);

#endif
