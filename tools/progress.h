/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Progress of what takes longer than a second: one line on a terminal that is
 * redrawn, or JSON objects, a line each, on stderr. The working threads only add to
 * atomic counters; a thread of its own draws.
 */
#ifndef PLYFS_PROGRESS_H
#define PLYFS_PROGRESS_H

#include <stdatomic.h>

enum progress_mode { PROGRESS_AUTO, PROGRESS_NEVER, PROGRESS_JSON };

/* auto, never or json; -1: none of them. */
int progress_mode(const char *text);

/* For a verb's table of options; to a const char * that progress_begin() takes. */
#define PROGRESS_OPTION(to) \
	{ "progress", 0, "WHEN", "auto (on a terminal), never, or json (on stderr)", CLI_TEXT, to }

struct progress;

struct progress_counters {
	atomic_ullong bytes, files;              /* done so far */
	atomic_ullong total_bytes, total_files;  /* 0: not known yet */
	_Atomic(const char *) phase;             /* a literal: "scan", "write" */
};

/* NULL where nothing is to be shown, or no thread could be had. @counters is borrowed until
 * progress_end(), @verb for ever. */
struct progress *progress_begin(enum progress_mode mode, const char *verb,
				struct progress_counters *counters);
/* Draws the last state and ends the line. NULL in, NULL out. */
struct progress *progress_end(struct progress *p);

#endif
