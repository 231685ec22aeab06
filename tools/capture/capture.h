/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A machine into one image: scan, split, write. */
#ifndef PLYFS_CAPTURE_H
#define PLYFS_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "capture/project.h"
#include "capture/scan.h"
#include "capture/split.h"
#include "cli.h"
#include "plyfs/view.h"
#include "progress.h"
#include "sub/sub_write.h"

struct capture_options {
	const char *root, *image;
	const struct manifest *wanted;
	const struct cli_list *exclude;    /* globs */
	int level;                         /* zstd */
	unsigned jobs;
	bool force, allow_partial, one_file_system;
	struct progress_counters *counters;
	const atomic_bool *cancelled;      /* may be NULL: set by a signal */
};

struct capture_sub {
	const char *name;          /* borrowed from split */
	uint64_t files, bytes, stored;
};

struct capture_report {
	struct scan scan;          /* for what was left out */
	struct split split;
	struct capture_sub *subs;
	size_t nsubs;
	uint64_t files, bytes, image_bytes;
	uint64_t skipped;          /* files that could not be read (--allow-partial) */
	char *first_flagged;       /* escaped path of a file with inode flags, or NULL */
	char **changed;            /* paths, escaped, of files that changed while they were read */
	size_t nchanged, changed_cap;
	char **vanished;
	size_t nvanished, vanished_cap;
};

int capture_run(const struct capture_options *o, struct capture_report *ret, struct ply_err *err);
void capture_report_done(struct capture_report *r);

/*
 * What makes a sub-image an overlay (tools/add): its nodes are the scanned ones with what is gone, its ids are
 * other ones than the machine's, and so are some contents.
 */
struct capture_overlay {
	void *ctx;
	void (*ids)(void *ctx, uint32_t *uid, uint32_t *gid);
	/* Rewrite values; what is new is put into @text, which has no content before. -ENOMEM. */
	int (*xattrs)(void *ctx, struct subw_xattr *x, size_t n, struct buf *text);
	const struct buf *(*content)(void *ctx, uint32_t node);      /* NULL: as it is */
	/* Attributes of a directory that is gone. */
	int (*gone)(void *ctx, uint32_t dir, struct ply_attr *ret, struct ply_err *err);
	bool (*covers)(void *ctx, uint32_t dir);
	bool (*hides)(void *ctx, uint32_t node);                     /* what it stands on has the name, too */
	/* Node @index was made for @node, which is its first name. */
	int (*written)(void *ctx, struct subw *w, uint32_t node, uint32_t index, struct ply_err *err);
};

/* What capture.c and capture_write.c share. */
struct capture {
	const struct capture_options *o;
	struct capture_report *report;
	struct scan *scan;
	struct split *split;
	struct imagew *image;
	struct pool *pool;
	struct projection projection;
	struct subw_owner_facts owners;
	struct idnames *users, *groups;
	const struct capture_overlay *overlay;     /* NULL: the machine itself */
	bool fixed_time;           /* SOURCE_DATE_EPOCH */
	int64_t time_sec;

	uint32_t *index;           /* by node: its index in the sub-image in hand; 0: not in it */
	uint8_t *digest;           /* by node: enum load_digest, of the sub-image in hand */
	uint8_t *crossing;         /* by group: names in several components */
	struct placed {            /* what several sub-images hold, for the join table */
		uint32_t node;     /* a directory or shared file, or SCAN_NONE: a name of group */
		uint32_t group;
		uint32_t name;     /* of it, for messages */
		uint64_t ref;
		uint8_t digest[32];
	} *placed;
	size_t nplaced, placed_cap;
};

/* SOURCE_DATE_EPOCH, or now. */
int capture_read_time(struct capture *cap, struct ply_err *err);
/* "debian-12" of etc/os-release, or usr/lib/os-release; "" where neither tells. */
void capture_read_distro(int root, char *ret, size_t size);
/* Of cap->o->root into cap->scan, without the image itself. */
int capture_scan(struct capture *cap, struct ply_err *err);
int capture_check_readable(const struct capture *cap, struct ply_err *err);
/* /etc/passwd and /etc/group of the machine. */
int capture_read_names(const struct capture *cap, struct idnames *users, struct idnames *groups,
		       struct ply_err *err);
/* Write component @c as a sub-image. */
int capture_write_sub(struct capture *cap, size_t c, struct subw_result *ret, struct ply_err *err);
/* The join table, from cap->placed. */
int capture_write_joins(struct capture *cap, struct ply_err *err);
/* The path of @node to a list of the report. -ENOMEM. */
int capture_note(char ***list, size_t *n, size_t *cap, const struct scan *scan, uint32_t node);

#endif
