/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dpkg's list of diversions, for its driver and for capture, which undoes those of a component that is
 * not selected. */
#ifndef PLYFS_MERGE_DIVERSIONS_H
#define PLYFS_MERGE_DIVERSIONS_H

#include "merge/parse.h"

struct diversion {
	struct span from, to;      /* paths, absolute */
	struct span package;       /* whose files are not diverted; ":": the administrator's diversion */
	struct span all;           /* its three lines */
};

/* The next one, of lines_init(): 1, 0: no more, -EUCLEAN. Spans of the text. */
int diversion_next(struct lines *l, struct diversion *ret, struct ply_err *err);

#endif
