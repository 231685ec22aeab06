/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What place.c, place_metadata.c, again.c and abort.c know of one name of the plan. */
#ifndef PLYFS_LAYOUT_PLACE_H
#define PLYFS_LAYOUT_PLACE_H

#include <sys/stat.h>

#include "layout/engine.h"

/* The file that is being made. */
struct file {
	const struct where *w;
	struct view_file v;        /* node and sub-image of its metadata and content */
	uint64_t ino;              /* set by place_look_up() */
	struct name name;
	int dir;                   /* its directory */
	int fd;                    /* of a regular file or a directory; -1: has none */
	int handle;                /* O_PATH, of all others: what was made, whoever has its name now */
	mode_t made;               /* permissions that it was made with; MADE_UNKNOWN */
};
#define MADE_UNKNOWN ((mode_t)-1)

/* What @w names: 1 lay it out, 0 it is not to be made here; *ret_lost tells why the target gets
 * none of it, or is negative. */
int place_look_up(struct stream *s, struct file *f, const struct where *w, int *ret_lost);
/* Why a further name of a file is not made (a field), or -1. @from: the file's first name. */
int place_link_lost(struct stream *s, const struct plan_link *first, const struct plan_link *l, struct file *from,
		    struct name *ret_name, int *ret_lost);
/* Opens f->handle, and gives what it is. -errno. */
int place_open_handle(struct file *f, struct stat *ret);
/* Adds to *@sum how many bytes of data lie in [@from, @to) of @f; all of them, where the content is inline or rendered. */
int place_bytes(struct stream *s, const struct file *f, uint64_t from, uint64_t to, uint64_t *sum);
/* Opens f->dir. */
int place_open_dir(struct stream *s, struct file *f);
/* The target of a symlink, with a NUL. */
int place_symlink_target(struct stream *s, const struct file *f, char out[PLY_SYMLINK_MAX + 1]);
dev_t place_device(const struct ply_node *n);
/* The name of row @w->at. */
int place_entry_name(struct stream *s, const struct where *w, struct name *ret);

/* --- metadata (place_metadata.c) ----------------------------------------------------- */

/* Owner, time, xattrs and mode of @f, whose content is there, in the order that keeps them. */
int place_set_metadata(struct stream *s, const struct file *f);

/* --- what lies at a planned name already (again.c) ---------------------------------- */

/* Is it a file that was begun and not finished? */
bool again_is_marked(const struct limits *lim, const struct ply_node *n, const struct stat *st);
/* Is the time the one that the target keeps of the node's? */
bool again_has_time(const struct limits *lim, const struct ply_node *n, const struct stat *st);

enum again {
	AGAIN_MAKE,                /* nothing, or it was ours and is gone now */
	AGAIN_TAKEN,               /* it is what is wanted; metadata is to be set; a regular file is open */
	AGAIN_LEFT,                /* it is somebody else's, which was noted */
};
/* What is there where @f is to be made? -errno was told. */
int again_look(struct stream *s, struct file *f);
/* The same for a further name of @from, which lies in @from_dir. */
int again_link(struct stream *s, const struct where *w, const struct file *from, int from_dir, int dir,
	       const struct name *name);

#endif
