/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What other components of a target have to do with a path of one that goes. */
#ifndef PLYFS_LAYOUT_OTHERS_H
#define PLYFS_LAYOUT_OTHERS_H

#include "layout/kept.h"
#include "layout/parts.h"

struct others {
	size_t n;                  /* that have a row there */
	bool needs;                /* one has found it there, and needs it so */
	bool shared;               /* one knows what was there before all of them */
	bool same;                 /* one has made the same of the same */
	bool wins;                 /* one has put its own file in the place of others' */
	bool before;               /* what was there before is one's */
	bool appended;             /* texts stand one behind the other */
	const char *lost;          /* one brings another file, which is not kept; NULL: none does */
	struct change_part *parts; /* texts that are theirs, as far as is known */
	size_t nparts;
	struct change_part first;  /* where `appended`: what was there before */
};

/* @live: what is there now. *ret: by others_done(). -ENOMEM. */
int others_look(const struct kept *k, const char *component, const struct change *row, const struct change_side *live,
		struct others *ret);
void others_done(struct others *o);

/* Of a directory: has another one than @component to do with the attribute? @live: just so as it is there; NULL: in any way. */
bool others_have_attr(const struct kept *k, const char *component, const char *path, const struct change_side *live,
		      enum change_attr attr);

/* The text of @row's component; false: it has none, or it is not known. */
bool others_own_part(const struct others *o, const struct change *row, struct change_part *ret);
/* Has one of them the same text? */
bool others_have_part(const struct others *o, const struct change_part *part);

#endif
