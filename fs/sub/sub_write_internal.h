/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by sub_write.c, sub_write_data.c and sub_write_finish.c only. */
#ifndef PLYFS_SUB_WRITE_INTERNAL_H
#define PLYFS_SUB_WRITE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/map.h"
#include "codec/codec.h"
#include "sub/sub_write.h"

/* Of a base segment: types 1 to 14, and MARKS, CONDITIONS, SHARED_FILES, RECORDS; an overlay has OVERRIDES. */
#define SUBW_SECTIONS 18u

/* An address whose block has no number yet: its pack block is still open. */
#define PENDING (1ULL << 63)

/* One block on its way: raw bytes, compressed by a pool worker, written in order. */
struct job {
	struct subw *w;
	uint8_t *raw, *packed;     /* PLY_BLOCK_SIZE, codec_bound(PLY_BLOCK_SIZE) */
	size_t len;
	subw_fill_fn fill;         /* NULL: raw is filled already */
	void *fill_ctx;
	uint64_t fill_off;
	/* results, written by the worker before `done` */
	const uint8_t *stored;
	size_t stored_len;
	bool stored_raw;
	uint64_t xxh3;
	uint8_t digest[32];
	int result;
	struct ply_err err;
	bool done;                 /* under subw.lock */
};

struct fixup {
	bool in_extents;           /* else a node's data */
	uint64_t index;
};

struct subw {
	struct out *out;           /* borrowed */
	struct subw_options opt;
	char *name;
	uint64_t off;              /* of the segment in the output */

	/* tables */
	struct ply_node *nodes;    /* [0] is nobody */
	size_t nnodes, nodes_cap;
	struct buf entries, names, heap, xattr_sets, xattrs, owners, owner_pairs, blocks, digests;
	struct buf marks;          /* rows, in order of calls until the end */
	struct buf conditions, shared, records, components;
	struct buf overrides;
	uint32_t *cond_rows;       /* by number in opt.conds: its condition here; see sub_write_cond.c */
	size_t ncond_rows, cond_rows_cap;
	uint16_t *slots;           /* by component: its slot; 0: it has none yet */
	size_t slots_cap;
	size_t nslots;
	struct ply_extent *extents;
	size_t nextents, extents_cap;
	struct map owner_map, pair_map, xattr_map, content_map;
	struct buf known;          /* files whose content may be shared: see sub_write_data.c */
	uint64_t bytes;
	uint64_t dir;              /* directory begun by subw_dir; 0: none */

	/* blocks: this thread but for job.done */
	pthread_mutex_t lock;      /* job.done */
	pthread_cond_t job_done;
	struct codec **codecs;     /* per worker */
	struct job *jobs;          /* ring of opt.max_inflight */
	size_t head, inflight;
	uint64_t nblocks;          /* numbers given out */
	uint64_t data_len;
	int failed;                /* sticky */
	struct ply_err error;

	/* the open pack block: whole small files and tails */
	uint8_t *pack;
	size_t pack_len;
	struct fixup *fixups;
	size_t nfixups, fixups_cap;

	/* the file begun by subw_file() */
	uint64_t file;             /* 0: none */
	uint64_t file_size;
	uint8_t *acc;              /* bytes of the current extent that fill no block yet */
	size_t acc_len;
	uint64_t acc_off;          /* file offset of acc[0] */
	uint64_t acc_end;          /* file offset behind the last byte given; where the next continues */
	struct ply_extent *cur;    /* extents of this file; addr may be PENDING | offset */
	size_t ncur, cur_cap;
};

uint32_t subw_sections(const struct subw *w);

/* The condition of this segment for one of opt.conds. -ENOMEM, -E2BIG. */
int subw_cond(struct subw *w, uint32_t cond, uint32_t *ret);
/* Slot and condition of what component @comp brings. */
int subw_of_component(struct subw *w, uint16_t comp, uint16_t *ret_slot, uint32_t *ret_cond);

int subw_blocks_init(struct subw *w, struct ply_err *err);
void subw_blocks_done(struct subw *w);
/* Close the open pack block and write everything that is on its way. */
int subw_blocks_end(struct subw *w, struct ply_err *err);

#endif
