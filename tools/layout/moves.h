/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What applying a table of changes (apply.c) and taking it back (revert.c) share: directories that are open, moving a
 * name with a look before and after, telling what is left.
 */
#ifndef PLYFS_LAYOUT_MOVES_H
#define PLYFS_LAYOUT_MOVES_H

#include <errno.h>
#include <time.h>

#include "layout/apply.h"

#define DIRS_OPEN_MAX 32u

/*
 * Directories below one, as rows need them one after the other: those on the way to the last one stay open. As rows are
 * sorted, each is opened once or twice.
 */
struct open_dirs {
	int root;                  /* borrowed */
	char *path;                /* of the last; those before are parts of it */
	size_t path_cap;
	struct {
		size_t len;        /* of its path */
		int fd;            /* O_PATH */
	} v[DIRS_OPEN_MAX];
	unsigned n;
	bool only_goes;            /* nothing is ever made in it: */
	size_t failed_len;         /* then what is not there, v[].len of `path`, never will be */
	int failed;                /* -errno; 0: the last was opened */
};

/* A directory of the table, whose time is put back if nobody else has changed it. */
struct moves_dir {
	struct timespec left;      /* its time after our last move there */
	bool looked;               /* it was looked at before our first one */
	bool others;               /* it had another time than we had left there */
};

struct moves {
	struct apply *a;
	struct ply_err *err;
	bool back;                 /* changes_revert() */
	struct open_dirs target, tree;
	int tree_fd, new_fd, old_fd, gone_fd;
	struct moves_dir *dirs;    /* as those of the table */
	struct moves_dir *now;     /* that of the last moves_dir(), which is open as now_fd; NULL: its time is not put back */
	int now_fd;
	struct timespec own_last;  /* of the calls before this one */
};

/* Opens and makes directories of update. */
int moves_begin(struct moves *m, struct apply *a, bool back, struct ply_err *err);
/* Times of directories. */
int moves_finish(struct moves *m);
void moves_done(struct moves *m);

/* -ECANCELED where it is to stop; counts the row. */
int moves_next(struct moves *m);
/* Fails with the path of @row. */
int moves_fail(struct moves *m, const struct change *row, int code, const char *what);
/* The row, or what is at another path, is left. 0. */
int moves_leave(struct moves *m, const struct change *row, const char *why);
/* So is it, and what was there before stays in @dir ("old", "new"). */
int moves_strand(struct moves *m, const struct change *row, const char *dir, const char *why);
/* After -errno of a rename or rmdir of the row's own path: an error, or left. */
int moves_refused(struct moves *m, const struct change *row, int code, const char *what);

/* The directory of the row: in the target, among what is staged. Borrowed; -errno. */
int moves_dir(struct moves *m, const struct change *row);
int moves_staged_dir(struct moves *m, const struct change *row);
/* 1: what CHANGE_MAKE is to put in place lies where it was staged. 0, or -errno. */
int moves_is_staged(struct moves *m, const struct change *row);
const char *moves_name(const struct change *row);

/* renameat2(), out of moves_dir() of the row, or into it. -errno. */
int moves_rename(struct moves *m, int from, const char *from_name, int to, const char *to_name, unsigned how);
/* Around another call that changes names there. */
void moves_before(struct moves *m);
void moves_after(struct moves *m);

/* Of moves_dir(): the path cannot be there. */
static inline bool moves_is_gone(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP;
}

/* The path, if it is @side, to @to/N; @to_name is what that directory is called, *count is counted. */
int moves_take(struct moves *m, const struct change *row, const struct change_side *side, int to, const char *to_name,
	       uint64_t *count);
/* Back from @from/N, where it is there. */
int moves_put_back(struct moves *m, const struct change *row, int from, const char *from_name, uint64_t *count);
/* Rows of CHANGE_SWAP and CHANGE_META, there or back. */
int moves_swap(struct moves *m, const struct change *row);
int moves_meta(struct moves *m, const struct change *row);

/* Names in the directory @name of @dir, which is that of the row. *ret_n: how many; those that have no row are told,
 * if @tell. -errno. */
int moves_rest(struct moves *m, const struct change *row, int dir, const char *name, bool tell, size_t *ret_n);

#endif
