/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The picture that progress.c puts on a terminal, as bytes: for it, and for its tests. */
#ifndef PLYFS_PROGRESS_PAINT_H
#define PLYFS_PROGRESS_PAINT_H

#include "base/buf.h"
#include "progress.h"

/* The counters at one moment. */
struct progress_now {
	const char *verb, *phase;  /* phase: "" where there is none yet */
	uint64_t bytes, total_bytes, files, total_files;
	double elapsed_s;
	double rate;               /* bytes a second */
	double left_s;             /* 0: not known */
	struct progress_stream *streams;
	size_t nstreams;
};
/* @start_ns: when the verb began, by CLOCK_MONOTONIC. */
struct progress_now progress_look(struct progress_counters *c, const char *verb, int64_t start_ns, int64_t now_ns);

/* What stands on the terminal. The cursor is at the end of the last line. */
struct progress_frame {
	unsigned lines;            /* 0: nothing */
	unsigned widest;           /* columns of its longest line */
};

/*
 * Appends to @out what puts @now in the place of @f, on a terminal of that size: at most @rows - 1 lines, each shorter
 * than @columns. Where there are more streams than lines those that are worked at go first, and a line says how many
 * are missing. Short memory leaves a part of the picture.
 */
void progress_paint(struct buf *out, struct progress_frame *f, unsigned columns, unsigned rows,
		    const struct progress_now *now);
/* ... and what takes it away: the cursor is where it was before. */
void progress_wipe(struct buf *out, struct progress_frame *f, unsigned columns);

#endif
