/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by record.c, which goes through components, record_rows.c, record_files.c and record_dirs.c. */
#ifndef PLYFS_LAYOUT_RECORD_IMPL_H
#define PLYFS_LAYOUT_RECORD_IMPL_H

#include "layout/changes.h"
#include "layout/engine.h"
#include "layout/subset.h"
#include "layout/version.h"

struct recording {
	struct layout *l;
	uint32_t sub;              /* of the component, as in plan.subs */
	const char *name;
	struct ply_view *without;
	struct ply_view *alone;    /* of the component and what it requires */
	uint64_t *alone_dirs;
	bool is_required;          /* by another one */
	struct ply_view *os;       /* of the operating system alone: what directories are not of it are components' */
	uint64_t *dirs;            /* by directory of the plan, its inode without the component; 0: none; not yet known */
	uint64_t *os_dirs;
	bool *told;                /* by directory: it has a row */
	struct changes c;
	int at, fresh, old, with, was;     /* merge/NAME, and in it new/, old/, with/, was/ */
	struct buf path;
	struct ply_err *err;
};

/* --- record.c ---------------------------------------------------------------------------- */

bool record_is_special(const struct plan *p, uint32_t dir, const char *name, size_t len);

/* --- record_rows.c ------------------------------------------------------------------------ */

int record_fail(struct recording *rec, int code, const char *what);
int record_make_dir(struct recording *rec, int at, const char *name, int *ret);
/* What the layout has made of inode @ino of @view; of the plan's view as the plan has it. */
int record_side(struct recording *rec, struct ply_view *view, uint64_t ino, struct change_side *ret);
/* rec->path: that of directory @d, or of a name in it, with a NUL behind. */
int record_set_path(struct recording *rec, uint32_t d, const char *name, size_t len);
/* Of that path. */
int record_add_row(struct recording *rec, enum change_kind kind, bool inside, const struct change_side *before,
		   const struct change_side *after);
/* A row of CHANGE_MAKE for directory @d and those above it, where the operating system has it not: *ret_made. */
int record_tell_directory(struct recording *rec, uint32_t d, bool *ret_made);
/* The same of a name in it, which is inode @ino of the plan's view. */
int record_made(struct recording *rec, uint32_t d, const char *name, size_t len, uint64_t ino);
/* What is too large to be merged is not kept. */
bool record_can_keep(const struct version *v);
/* By size and time alone two versions can be the same: each has lines of its own, as long as the other's. */
void record_set_digest(const struct version *v, struct change_side *side);
/* A file of that content and @side. */
int record_write_version(struct recording *rec, int dir, const char *name, const struct version *v,
			 const struct change_side *side);
/* Both versions, which can be, are kept for the row that is added next; their sides get digests. */
int record_keep_both(struct recording *rec, struct version *with, struct version *without, const char *path,
		     struct change_side *after, struct change_side *before);
/* Else those that files have are not those of the image. */
bool record_holds_attrs(const struct layout *l);
/* What @view has at the path; nothing is an answer too. */
int record_find(struct recording *rec, struct ply_view *view, uint64_t *dirs, const struct plan_special *s,
		struct version *ret);

/* --- record_files.c ------------------------------------------------------------------------ */

/* A path that several sub-images have to do with, or that is another file without the component. */
int record_special(struct recording *rec, const struct plan_special *s);

/* --- record_dirs.c ------------------------------------------------------------------------- */

/* Directories that the component has, and the operating system has not. Those with nothing in them stand in no part. */
int record_directories(struct recording *rec);
/* What it takes away of others, and changes of their directories. Only what stands on others can. */
int record_on_others(struct recording *rec);

#endif
