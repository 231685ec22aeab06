/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by survey.c, which walks, and survey_judge.c, which says what becomes of one path. */
#ifndef PLYFS_LAYOUT_SURVEY_IMPL_H
#define PLYFS_LAYOUT_SURVEY_IMPL_H

#include "layout/survey.h"

/* Of a directory of the plan. */
struct place {
	uint64_t base;             /* inode in the base; 0: it is not there */
	bool there;                /* the target has it */
};

/* A name of a file that has several. */
struct linked {
	uint64_t ino;              /* in the view */
	char *path;
	uint32_t n;                /* of a new one: the number of its row */
	uint32_t mode;
};

struct links {
	struct linked *v;
	size_t n, cap;
};

struct walk {
	struct survey *s;
	struct links there, fresh; /* names that the target has as the image has them, and those that are made */
	const struct survey_conflict *decided;     /* of an earlier run, by path */
	size_t ndecided;
	struct place *places;      /* by directory of the plan */
	size_t nplaces, places_cap;
	uint32_t dir;              /* that is being listed, */
	int fd;                    /* open in the target; -1: not there */
	const struct version *live;        /* what is there, while a name is compared; else NULL */
	struct buf path;           /* its path: "" or "usr/bin", NUL-terminated */
	uint64_t dir_ino;
	struct ply_err *err;
};
/* What is at one path: in the target, in the base, in the image. */
struct three {
	struct version live, base, with;
	bool restored;             /* with's text is not the view's: packages_restore() */
};

/* --- survey.c ------------------------------------------------------------------------- */

/* The path before what @w->err says, or @r said of it. Returns @r. */
int survey_told(struct walk *w, int r, const char *path);
/* A row of the table, with what is there now. */
int survey_add_row(struct walk *w, enum change_kind kind, const char *path, const char *name);
/* A file that is staged by itself; NULL: no memory. */
struct survey_put *survey_add_put(struct walk *w, const char *path, const struct version *v);

/* --- survey_judge.c -------------------------------------------------------------------- */

void three_done(struct three *t);
int three_load(struct walk *w, struct three *t, const char *path);
/* Everything but times, names, and the numbers of names. */
bool three_same(const struct version *a, const struct version *b);
/* Another file in the place of the one there, or of nothing. @text: consumed; NULL: the image's. */
int survey_put_file(struct walk *w, const char *path, const char *name, const struct three *t, struct buf *text);
/* The same file, of another owner or mode. */
int survey_put_meta(struct walk *w, const char *path, const char *name, const struct three *t);
int survey_keep(struct walk *w, const char *path, const char *name);
int survey_refuse_type(struct walk *w, const char *path, const char *what);
/* What becomes of @path, where the image changes something. */
int survey_judge(struct walk *w, const char *path, const char *name, struct three *t);

#endif
