/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Progress of what takes longer than a second: lines on a terminal that are redrawn, or JSON objects, a line each, on
 * stderr. There is one line for the whole, and above it one for each stream where a verb has several things going on
 * at once. The working threads only add to atomic counters; a thread of its own draws.
 */
#ifndef PLYFS_PROGRESS_H
#define PLYFS_PROGRESS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum progress_mode { PROGRESS_AUTO, PROGRESS_NEVER, PROGRESS_JSON };

/* auto, never or json; -1: none of them. */
int progress_mode(const char *text);

/* For a verb's table of options; to a const char * that progress_begin() takes. */
#define PROGRESS_OPTION(to) \
	{ "progress", 0, "WHEN", "auto (on a terminal), never, or json (on stderr)", CLI_TEXT, to }

struct progress;

/* A part of the work that has a name. */
struct progress_stream {
	const char *name;                        /* printable ASCII, no quotes; borrowed; this and totals: immutable */
	uint64_t total_bytes, total_files;
	atomic_ullong bytes, files;              /* done, by whom ever */
	atomic_ullong found_bytes, found_files;  /* of these, what an earlier run had done */
	atomic_uint threads;                     /* that are at it now */
};

struct progress_counters {
	atomic_ullong bytes, files;              /* done so far; where there are streams, theirs count instead */
	atomic_ullong total_bytes, total_files;  /* 0: not known yet */
	_Atomic(const char *) phase;             /* a literal: "scan", "write" */
	_Atomic(struct progress_stream *) streams;   /* by progress_streams(); NULL: none, or none yet */
	size_t nstreams;                         /* immutable once streams are there, as is work_ns */
	int64_t work_ns;                         /* when they began, by CLOCK_MONOTONIC */
};

/* From now on there are @n streams, which are being worked at: the rate counts from here. Consumes @streams. */
void progress_streams(struct progress_counters *c, struct progress_stream *streams, size_t n);
/* After progress_end(). */
void progress_counters_done(struct progress_counters *c);

/* NULL where nothing is to be shown, or no thread could be had. @counters is borrowed until
 * progress_end(), @verb for ever. */
struct progress *progress_begin(enum progress_mode mode, const char *verb,
				struct progress_counters *counters);
/* Takes the lines off the terminal; of JSON, tells the last state. NULL in, NULL out. */
struct progress *progress_end(struct progress *p);

#endif
