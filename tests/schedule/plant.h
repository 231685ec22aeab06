/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second writer of one path, planted into a plan that has just been made: what a planner must never do, and the
 * engine must find, whichever of the two comes first.
 */
#ifndef PLYFS_TESTS_PLANT_H
#define PLYFS_TESTS_PLANT_H

#include <stdint.h>

enum plant {
	PLANT_NOTHING,
	PLANT_QUEUE,               /* a row of a sub-image stands in two batches of its queue */
	PLANT_OTHER,               /* a row of another sub-image, in its queue, goes where one of that name lies */
	PLANT_LINK,                /* a further name of a file, in two batches */
	PLANT_KINDS
};
extern const char *const plant_names[PLANT_KINDS];

/* Into the next plans; @seed says where. */
void plant(enum plant kind, uint64_t seed);
/* Of the last plan: escaped; "": there was none to plant. */
extern char planted[4096];

#endif
