/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another machine into an image that there is: its difference to the view of what it stands on becomes an
 * overlay, in a further generation. And out of it again.
 */
#ifndef PLYFS_ADD_H
#define PLYFS_ADD_H

#include <stdbool.h>
#include <stdint.h>

#include "add/idmap.h"
#include "capture/capture.h"
#include "cli.h"

struct add_options {
	const char *image, *name, *root;
	const struct cli_list *on;         /* what it stands on beside os */
	const struct cli_list *exclude;    /* globs */
	const char *message;               /* of the generation; NULL: none */
	int level;                         /* zstd */
	unsigned jobs;
	bool allow_partial, one_file_system, force_mismatch;
	struct progress_counters *counters;
	const atomic_bool *cancelled;      /* may be NULL: set by a signal */
};

struct add_conflict {
	char *path;                /* absolute, escaped */
	char *with;                /* the other sub-image */
	uint8_t why;               /* PLY_PAIR_WHY_* */
};

struct add_report {
	struct capture_report capture;     /* what was left out, changed, vanished */
	uint64_t files, bytes, stored;     /* inodes, bytes of regular files, of the segment */
	uint64_t nnew, nchanged, ngone;    /* names */
	struct idmap ids;
	struct idnames users, groups;      /* of the machine */
	uint64_t collisions[PLY_PAIR_CONFLICT + 1];   /* by class */
	struct add_conflict *conflicts;    /* in order of paths */
	size_t nconflicts, conflicts_cap;
	uint64_t generation, image_bytes;
	char **notes;
	size_t nnotes, notes_cap;
};

/*
 * USAGE (of the name), COMPONENT_TWICE, SUB_UNKNOWN, MISMATCH, IDS_EXHAUSTED, PKGDB_UNFINISHED, CONFLICT (those that
 * it is to stand on collide), and those of a capture. Where it fails the image is as it was.
 */
int add_run(const struct add_options *o, struct add_report *ret, struct ply_err *err);
void add_report_done(struct add_report *r);

/* Leave overlay @name out of a further generation: SUB_UNKNOWN, PARENT. */
int add_remove(const char *image, const char *name, uint64_t *ret_generation, struct ply_err *err);

#endif
