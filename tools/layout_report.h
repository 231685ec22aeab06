/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `plyfs layout` tells: words or --json on stdout, --report and --timeline into files. What --json prints is the
 * beginning of the report; a failure, a dry run and an abort have reports too.
 */
#ifndef PLYFS_LAYOUT_REPORT_H
#define PLYFS_LAYOUT_REPORT_H

#include <time.h>

#include "layout/layout.h"
#include "open.h"

enum layout_verb { VERB_LAYOUT, VERB_RESUME, VERB_ABORT, VERB_DRY_RUN, VERB_REMOVE };

struct layout_told {
	/* what was asked: set by the verb, borrowed */
	enum layout_verb verb;
	const char *path, *target;
	const char *report, *timeline;     /* files; NULL: not asked for */
	const struct cli_list *names;
	const struct choice *choice;
	const struct layout_options *o;
	const struct opened *image;        /* of which nothing may be open */

	/* by told_begin() and those that follow */
	struct timeline *times;            /* NULL: nobody asked */
	time_t began;
	char changed[256];         /* components that were added or taken out; "": none */
	json_t *json;                      /* the beginning of the report */
	const char *outcome;
	struct ply_err err;                /* code 0: none */
	uint64_t files, bytes;
};

/* Checks the files and begins; -1: go on, else the exit code: it was told. */
int told_begin(struct layout_told *t);
/* Writes the files, and ends @t; the exit code, which is @code unless they cannot be written. */
int told_end(struct layout_told *t, int code);

/* Is the object that --json prints wanted by anybody? */
bool told_wants_json(const struct layout_told *t);

/* Each of them is told once, prints, and gives the exit code. @r may be NULL where layout_run() was not reached. */
int told_failure(struct layout_told *t, const struct layout_report *r, const struct ply_err *err);
/* @err: NULL, or that names were left. */
int told_layout(struct layout_told *t, const struct layout_report *r, const struct ply_err *err);
/* What needs not be done, or was taken out: @what says it. */
int told_short(struct layout_told *t, const char *what, const struct layout_report *r, const struct ply_err *err);
/* Owners that become root's: on stderr, and as JSON. */
void told_lost_ids(const struct layout_report *r);
json_t *told_lost_ids_json(const struct layout_report *r);
/* A change of what is there: @what was done with the components @names. @err as for told_layout(), or a failure, with
 * @packages that are why, or NULL; borrowed. */
int told_change(struct layout_told *t, const char *what, const struct cli_list *names, const struct layout_report *r,
		const struct ply_err *err, json_t *packages);
/* What would be changed: @shown, consumed, is NULL where nobody wants it, and was printed then; @code is returned. */
int told_changes(struct layout_told *t, json_t *shown, int code);
/* A plan: @phases is consumed, and NULL where nobody wants it. */
int told_plan(struct layout_told *t, const uint8_t digest[32], json_t *phases);

#endif
