/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening what most verbs read: an image and a selection of it, with what is decided where it collides. */
#ifndef PLYFS_OPEN_H
#define PLYFS_OPEN_H

#include "cli.h"
#include "plyfs/view.h"
#include "policy.h"

/* For a verb's table of options; to a struct cli_list. */
#define SELECTION_OPTION(to) \
	{ "select", 's', "NAMES", \
	  "sub-images, with commas; os and what they require are added (default: all)", CLI_NAMES, to }

/* What is decided where sub-images collide: options of every verb that shows a selection. Zero-initialised it
 * decides nothing. */
struct choice {
	const char *policy;        /* file */
	const char *on_collision;
	bool look;                 /* what is undecided is no error: the first has it */
	bool all_pairs;            /* as in ply_view_options */
	bool more;                 /* the policy is about more than the image: what of it is not used is not told */
	bool is_new;               /* the policy file need not be there yet: answers go into it */
	bool is_read;
	struct policy read;        /* see choice_read() */
};
#define CHOICE_OPTIONS(to) \
	{ "policy", 0, "FILE", "what happens where sub-images collide; see plyfs-policy(5)", CLI_TEXT, \
	  &(to)->policy }, \
	{ "on-collision", 0, "append", \
	  "append: where nothing else is decided, one text behind the other, unless a look at them vetoes", CLI_TEXT, \
	  &(to)->on_collision }

/* -1: fine. Else EXIT_USAGE: it was told. */
int choice_check(const struct choice *c);
/* Is there anything that decides? */
bool choice_decides(const struct choice *c);
/* The policy that was made of answers, in the place of what was read: @text, which also goes into the file of --policy, if
 * there is one. */
int choice_answer(struct choice *c, const struct buf *text, struct ply_err *err);
/* Read the policy file now, not at the opening: before files can no longer be opened. */
int choice_read(struct choice *c, struct ply_err *err);
void choice_done(struct choice *c);
#define _cleanup_choice_ __attribute__((cleanup(choice_done)))

struct io;
struct collisions;

struct opened {
	struct ply_image *image;
	struct ply_view *view;
	struct ply_decision *decisions;    /* that it was opened with */
	size_t ndecisions;
};

/* Says on stderr what ply_image_warning() tells. */
int open_image(const char *path, struct ply_image **ret, struct ply_err *err);
/* With the selection @names; tells on stderr what was added to it, and, if conflicts are undecided (CONFLICT),
 * which. Release by opened_done(). */
int open_view(const char *path, const struct cli_list *names, struct choice *choice, struct opened *ret,
	      struct ply_err *err);
/* The same over what image_io_open() gave; @io is consumed in every case, @path is for messages. */
int open_view_io(const char *path, struct io *io, uint64_t generation, const struct cli_list *names,
		 struct choice *choice, struct opened *ret, struct ply_err *err);
void opened_done(struct opened *o);
#define _cleanup_opened_ __attribute__((cleanup(opened_done)))

/*
 * The collisions of the view @look, which was opened with undecided_first, decided by @choice. What the policy has
 * for other selections is told on stderr. @ret_undecided: how many are not decided.
 */
int open_decide(struct ply_view *look, struct choice *choice, struct collisions **ret, size_t *ret_undecided,
		struct ply_err *err);
/* What a view of @names needs to be opened by itself, for a daemon; malloc-ed. CONFLICT, as above. */
int open_decisions(struct ply_image *image, const struct cli_list *names, struct choice *choice,
		   struct ply_decision **ret, size_t *ret_n, struct ply_err *err);
/* On stderr, at most ten of them. Nothing where that cannot be found out. */
void tell_undecided(struct ply_image *image, const struct cli_list *names);

/* What was added to @names to make the selection, on stderr, if anything was. */
void tell_selection(const struct cli_list *selected, const struct cli_list *names);

#endif
