/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What plyfs plan knows, and how it tells it: the pieces of cmd_plan.c. */
#ifndef PLYFS_PLANNING_H
#define PLYFS_PLANNING_H

#include "base/buf.h"
#include "cli.h"
#include "collisions.h"
#include "open.h"

/* Collisions that are one decision; its index is that of the first of them. */
struct plan_group {
	size_t n;                  /* how many of them; 0: none begins here */
	char *what;                /* "libssl3 3.0.11 (apache), 3.0.13 (php)", escaped; NULL */
	char *package;             /* its names, with commas, as they are; NULL */
};

struct survey;             /* layout/survey.h */

struct planning {
	const char *path;          /* of the image, as it was named */
	const struct survey *live; /* @c are conflicts with a target, which is sub-image 0; NULL: those of the image */
	struct opened look;        /* undecided conflicts are first */
	struct collisions *c;
	struct plan_group *groups; /* as many as collisions */
	const struct cli_list *names;
	struct choice *choice;
	bool append, all;          /* --on-collision=append, --all */
	uint64_t parents;          /* what opening views of what overlays stand on has cost */
};

/* plan_open.c: image, collisions and groups of names and choice. @p is zero but for path, names, choice, append, all. */
int plan_open(struct planning *p, struct ply_err *err);
void plan_close(struct planning *p);
/* Puts what is undecided of a selection to whoever sits at the terminal; the answers become @choice's. */
int plan_ask_selection(const char *path, const struct cli_list *names, struct choice *choice, struct ply_err *err);

/* plan_group.c: which collisions are one decision. */
int plan_group(struct planning *p, struct ply_err *err);
void plan_groups_free(struct planning *p);

/* What happens at @k, in words: "undecided: a private key"; @len counts the NUL. */
const char *plan_outcome(const struct planning *p, const struct collision *k, char *out, size_t len);
/* The names of the sub-images that hold it: "os, mysql". -ENOMEM. */
int plan_holders(const struct planning *p, const struct collision *k, struct buf *out);
const char *plan_class_name(uint8_t cls);          /* "three-way" */
uint8_t plan_rule(const struct planning *p, const struct collision *k);    /* enum ply_rule, POLICY_* */
/* "first, last, append": what all of a group can be decided by. */
int plan_possible(const struct planning *p, size_t group, struct buf *out);
bool plan_may(const struct planning *p, size_t group, uint8_t rule);

/* plan_overrides.c: what overlays change of what they stand on. */
struct plan_change {
	uint32_t sub;              /* position in the image */
	uint32_t mask;             /* PLY_OVER_*; 0: it is deleted */
	const char *path;          /* absolute; NULL unless asked for */
	const char *of;            /* whose it was: names with commas; borrowed during the call */
};
struct plan_changes {
	uint64_t n, deleted, by[6];        /* by: bits of the mask */
};
typedef int plan_change_fn(void *ctx, const struct plan_change *c, struct ply_err *err);
/* Of the overlay at position @sub: counts, and each with @fn (may be NULL). */
int plan_changes(struct planning *p, uint32_t sub, struct plan_changes *ret, plan_change_fn *fn, void *ctx,
		 struct ply_err *err);
/* "content and mode" */
int plan_mask_words(uint32_t mask, struct buf *out);

/* plan_table.c, plan_json.c: everything. The exit code is the caller's. */
int plan_print(struct planning *p, struct ply_err *err);
int plan_print_json(struct planning *p, int *ret_code, struct ply_err *err);

/* plan_write.c: the policy as it is now to @file ("-": stdout), which is old or new, never half. */
int plan_write(struct planning *p, const char *file, struct ply_err *err);
int plan_render(struct planning *p, struct buf *out, struct ply_err *err);

/* plan_show.c: the contenders at @path, their differences, and what comes of it. */
int plan_show(struct planning *p, const char *path, struct ply_err *err);
/* The differences of the contenders of @k alone. */
int plan_differences(struct planning *p, const struct collision *k, struct ply_err *err);
void plan_contenders(struct planning *p, const struct collision *k);

/* plan_ask.c: through what is undecided, at the terminal. *ret_asked: how much that was. */
int plan_ask(struct planning *p, size_t *ret_asked, struct ply_err *err);
/* A line of the terminal: its only letter, 0 for an empty one, '!' for anything else, 's' at the end. @line, @cap: of
 * getline(). */
char plan_answer(char **line, size_t *cap);

#endif
