/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs layout into a target that is not empty: which components it lacks, and what is decided about what it has. */
#ifndef PLYFS_LIVING_H
#define PLYFS_LIVING_H

#include "layout/update.h"
#include "open.h"

struct living {
	const char *path, *target; /* image, directory */
	const struct cli_list *names;      /* asked for */
	struct choice *choice;
	const struct layout_options *o;
	const struct layout_look *look;
	bool force;                /* --force-os-mismatch */
	bool ask;                  /* what the image leaves undecided is asked: living_ask() */
	bool told;                 /* the selection was */
	struct cli_list added;     /* set: the components that are laid out, by rank; empty: all is there */
	json_t *packages;          /* set where packages clash that nothing decides: living_packages() */
};

/* Lays out what is not there. CONFLICT, also where something that is needed is missing: it was told on stderr. */
int living_add(struct living *l, struct layout_report *ret, struct ply_err *err);
/* What it would do: calls @fn with what is known when everything was looked at; conflicts that nothing decides are in it,
 * with rule 0, and are no error. Not called where all is there. */
typedef int living_look_fn(void *ctx, const struct living *l, struct survey *s, struct ply_err *err);
int living_look(struct living *l, living_look_fn *fn, void *ctx, struct ply_err *err);
void living_done(struct living *l);

/* The packages that are added, with what the target has of them, as JSON. */
json_t *living_packages(const struct survey *s);

#endif
