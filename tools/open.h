/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening what most verbs read: an image and a selection of it. */
#ifndef PLYFS_OPEN_H
#define PLYFS_OPEN_H

#include "cli.h"
#include "plyfs/view.h"

/* For a verb's table of options; to a struct cli_list. */
#define SELECTION_OPTION(to) \
	{ "select", 's', "NAMES", \
	  "sub-images, with commas; os and what they require are added (default: all)", CLI_NAMES, to }

struct io;

struct opened {
	struct ply_image *image;
	struct ply_view *view;
};

/* Says on stderr what ply_image_warning() tells. */
int open_image(const char *path, struct ply_image **ret, struct ply_err *err);
/* With the selection @names; tells on stderr what was added to it. Release by opened_done(). */
int open_view(const char *path, const struct cli_list *names, struct opened *ret,
	      struct ply_err *err);
/* The same over what image_io_open() gave; @io is consumed in every case, @path is for messages. */
int open_view_io(const char *path, struct io *io, uint64_t generation, const struct cli_list *names,
		 struct opened *ret, struct ply_err *err);
void opened_done(struct opened *o);
#define _cleanup_opened_ __attribute__((cleanup(opened_done)))

/* What was added to @names to make the selection, on stderr, if anything was. */
void tell_selection(const struct cli_list *selected, const struct cli_list *names);

#endif
