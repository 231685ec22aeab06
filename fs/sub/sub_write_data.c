/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File content on its way to the DATA section.
 *
 * A file's full 128 KiB blocks are blocks of their own, so that sequential reads
 * decode straight into the reader's memory; whole small files and the tails of large
 * ones share *pack blocks*, in the order in which they come, so that neighbours in
 * the tree are neighbours in a block. A piece is never split over two pack blocks:
 * reading a small file decodes one block.
 *
 * Blocks get their numbers when they are full; until then what lies in the open
 * pack block has addresses marked PENDING, listed in `fixups`. Compression runs
 * on the pool, in a ring of jobs that is written strictly in order: threads
 * change when a block is written, never where.
 *
 * Rejected: straddling pack blocks (denser by under 1 %, two decodes for many small
 * files); one block per tail (no fixups, but 2-4 % larger).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "sub/sub_write_internal.h"

int subw_blocks_init(struct subw *w, struct ply_err *err)
{
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->job_done, NULL);
	w->codecs = calloc(w->opt.nworkers, sizeof(*w->codecs));
	w->jobs = calloc(w->opt.max_inflight, sizeof(*w->jobs));
	w->pack = malloc(PLY_BLOCK_SIZE);
	w->acc = malloc(PLY_BLOCK_SIZE);
	if (!w->codecs || !w->jobs || !w->pack || !w->acc)
		return ply_fail_nomem(err);
	for (unsigned i = 0; i < w->opt.nworkers; i++) {
		w->codecs[i] = codec_new();
		if (!w->codecs[i])
			return ply_fail_nomem(err);
	}
	return 0;
}

/* Wait for a job; its buffers are this thread's again. */
static void wait_job(struct subw *w, struct job *j)
{
	pthread_mutex_lock(&w->lock);
	while (!j->done)
		pthread_cond_wait(&w->job_done, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void subw_blocks_done(struct subw *w)
{
	for (size_t i = 0; w->jobs && i < w->inflight; i++)
		wait_job(w, &w->jobs[(w->head + i) % w->opt.max_inflight]);
	for (size_t i = 0; w->jobs && i < w->opt.max_inflight; i++) {
		free(w->jobs[i].raw);
		free(w->jobs[i].packed);
	}
	for (unsigned i = 0; w->codecs && i < w->opt.nworkers; i++)
		codec_free(w->codecs[i]);
	free(w->codecs);
	free(w->jobs);
	free(w->pack);
	free(w->acc);
	free(w->fixups);
	free(w->cur);
	pthread_cond_destroy(&w->job_done);
	pthread_mutex_destroy(&w->lock);
}

static int fail(struct subw *w, const struct ply_err *e, struct ply_err *err)
{
	if (!w->failed) {
		w->failed = e->code;
		w->error = *e;
	}
	if (err)
		*err = w->error;
	return w->failed;
}

static int fail_nomem(struct subw *w, struct ply_err *err)
{
	struct ply_err e;

	ply_fail_nomem(&e);
	return fail(w, &e, err);
}

/* On a pool thread. */
static void compress(void *arg, unsigned worker)
{
	struct job *j = arg;
	struct subw *w = j->w;
	int64_t n;

	j->result = 0;
	if (j->fill)
		j->result = j->fill(j->fill_ctx, j->fill_off, j->raw, j->len, &j->err);
	if (j->result == 0) {
		n = codec_compress(w->codecs[worker], w->opt.level, j->raw, j->len, j->packed,
				   codec_bound(PLY_BLOCK_SIZE));
		if (n < 0) {
			j->result = ply_fail(&j->err, (int)n, PLY_R_SYSTEM, "cannot compress: %s",
					     strerror((int)-n));
		} else {
			j->stored_raw = (size_t)n >= j->len;
			j->stored = j->stored_raw ? j->raw : j->packed;
			j->stored_len = j->stored_raw ? j->len : (size_t)n;
			j->xxh3 = xxh3(j->stored, j->stored_len, 0);
			if (sha256_once(j->stored, j->stored_len, j->digest) < 0)
				j->result = ply_fail_nomem(&j->err);
		}
	}
	pthread_mutex_lock(&w->lock);
	j->done = true;
	pthread_cond_signal(&w->job_done);
	pthread_mutex_unlock(&w->lock);
}

/* Write the oldest job; its block number is the number of rows so far. */
static int write_oldest(struct subw *w, struct ply_err *err)
{
	struct job *j = &w->jobs[w->head];
	struct ply_disk_block row;
	int r;

	wait_job(w, j);
	w->head = (w->head + 1) % w->opt.max_inflight;
	w->inflight--;
	if (w->failed)
		return fail(w, &w->error, err);
	if (j->result < 0)
		return fail(w, &j->err, err);
	block_encode(&(struct ply_block){ .off = w->data_len, .stored = (uint32_t)j->stored_len,
					  .size = (uint32_t)j->len, .raw = j->stored_raw,
					  .xxh3 = j->xxh3 }, &row);
	if (buf_add(&w->blocks, &row, sizeof(row)) < 0 || buf_add(&w->digests, j->digest, 32) < 0)
		return fail_nomem(w, err);
	r = out_write(w->out, j->stored, j->stored_len, &w->error);
	if (r == 0)
		r = out_align(w->out, PLY_ALIGN, &w->error);
	if (r < 0) {
		w->failed = r;
		return fail(w, &w->error, err);
	}
	w->data_len += align_up(j->stored_len, PLY_ALIGN);
	return 0;
}

/* A free job with its buffers; waits for the oldest where all are under way. */
static int next_job(struct subw *w, struct job **ret, struct ply_err *err)
{
	struct job *j;
	int r;

	if (w->failed)
		return fail(w, &w->error, err);
	if (w->inflight == w->opt.max_inflight) {
		r = write_oldest(w, err);
		if (r < 0)
			return r;
	}
	j = &w->jobs[(w->head + w->inflight) % w->opt.max_inflight];
	if (!j->raw) {
		j->w = w;
		j->raw = malloc(PLY_BLOCK_SIZE);
		j->packed = malloc(codec_bound(PLY_BLOCK_SIZE));
		if (!j->raw || !j->packed)
			return fail_nomem(w, err);
	}
	j->fill = NULL;
	j->done = false;
	*ret = j;
	return 0;
}

/* Hand @j over; returns the number of its block. */
static uint64_t submit(struct subw *w, struct job *j, size_t len)
{
	j->len = len;
	w->inflight++;
	pool_add(w->opt.pool, compress, j);
	return w->nblocks++;
}

static int flush_pack(struct subw *w, struct ply_err *err)
{
	uint64_t block;
	struct job *j;
	uint8_t *full;
	int r;

	if (!w->pack_len)
		return 0;
	r = next_job(w, &j, err);
	if (r < 0)
		return r;
	full = w->pack;
	w->pack = j->raw;
	j->raw = full;
	block = submit(w, j, w->pack_len);
	for (size_t i = 0; i < w->nfixups; i++) {
		struct fixup *f = &w->fixups[i];
		uint64_t *addr = f->in_extents ? &w->extents[f->index].addr : &w->nodes[f->index].data;

		*addr = block << PLY_BLOCK_BITS | (*addr & ~PENDING);
	}
	w->nfixups = 0;
	w->pack_len = 0;
	return 0;
}

static int add_fixup(struct subw *w, bool in_extents, uint64_t index)
{
	int r = array_grow(&w->fixups, &w->fixups_cap, w->nfixups + 1, sizeof(*w->fixups));

	if (r == 0)
		w->fixups[w->nfixups++] = (struct fixup){ in_extents, index };
	return r;
}

/* @len < PLY_BLOCK_SIZE bytes into the pack block; *ret_addr is PENDING. */
static int pack_add(struct subw *w, const void *data, size_t len, uint64_t *ret_addr,
		    struct ply_err *err)
{
	int r;

	if (w->pack_len + len > PLY_BLOCK_SIZE) {
		r = flush_pack(w, err);
		if (r < 0)
			return r;
	}
	memcpy(w->pack + w->pack_len, data, len);
	*ret_addr = PENDING | w->pack_len;
	w->pack_len += len;
	return 0;
}

int subw_blocks_end(struct subw *w, struct ply_err *err)
{
	int r = flush_pack(w, err);

	return r < 0 ? r : subw_sync(w, err);
}

int subw_sync(struct subw *w, struct ply_err *err)
{
	while (w->inflight) {
		int r = write_oldest(w, err);

		if (r < 0)
			return r;
	}
	return w->failed ? fail(w, &w->error, err) : 0;
}

/* --- one file -------------------------------------------------------------- */

int subw_file(struct subw *w, uint64_t index, uint64_t size)
{
	w->file = index;
	w->file_size = size;
	w->ncur = 0;
	w->acc_len = 0;
	w->acc_off = w->acc_end = 0;
	w->nodes[index].size = size;
	return 0;
}

/* [off, off + len) of the file lies at @addr; joins the extent before where it goes on. */
static int add_extent(struct subw *w, uint64_t off, uint64_t len, uint64_t addr)
{
	struct ply_extent *last = w->ncur ? &w->cur[w->ncur - 1] : NULL;
	int r;

	if (last && !(addr & PENDING) && !(last->addr & PENDING) && last->off + last->len == off &&
	    last->addr + last->len == addr && last->len % PLY_BLOCK_SIZE == 0) {
		last->len += len;
		return 0;
	}
	r = array_grow(&w->cur, &w->cur_cap, w->ncur + 1, sizeof(*w->cur));
	if (r == 0)
		w->cur[w->ncur++] = (struct ply_extent){ off, len, addr };
	return r;
}

/* What is in acc ends an extent: into the pack block. */
static int flush_acc(struct subw *w, struct ply_err *err)
{
	uint64_t addr;
	int r;

	if (!w->acc_len)
		return 0;
	r = pack_add(w, w->acc, w->acc_len, &addr, err);
	if (r < 0)
		return r;
	if (add_extent(w, w->acc_off, w->acc_len, addr) < 0)
		return fail_nomem(w, err);
	w->acc_len = 0;
	return 0;
}

/*
 * Until the file ends, its pieces in the open pack block are known to `cur` only,
 * which has no fixups. Called before this file itself closes that block.
 */
static int settle_pending(struct subw *w, struct ply_err *err)
{
	bool pending = false;
	uint64_t block;
	int r;

	for (size_t i = 0; i < w->ncur && !pending; i++)
		pending = w->cur[i].addr & PENDING;
	if (!pending)
		return 0;
	block = w->nblocks;
	r = flush_pack(w, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < w->ncur; i++)
		if (w->cur[i].addr & PENDING)
			w->cur[i].addr = block << PLY_BLOCK_BITS | (w->cur[i].addr & ~PENDING);
	return 0;
}

/* Start or go on with the extent at @off. */
static int seek_to(struct subw *w, uint64_t off, size_t len, struct ply_err *err)
{
	int r;

	if (off < w->acc_end || off + len > w->file_size || !w->file)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "content out of order");
	if (off > w->acc_end || !w->acc_end) {
		if (w->acc_len && w->pack_len + w->acc_len > PLY_BLOCK_SIZE) {
			r = settle_pending(w, err);
			if (r < 0)
				return r;
		}
		r = flush_acc(w, err);
		if (r < 0)
			return r;
		w->acc_off = off;
	}
	return 0;
}

int subw_data(struct subw *w, uint64_t off, const void *data, size_t len, struct ply_err *err)
{
	const uint8_t *p = data;
	int r;

	if (!len)
		return 0;
	r = seek_to(w, off, len, err);
	if (r < 0)
		return r;
	w->acc_end = off + len;
	while (len) {
		size_t n = MIN(len, PLY_BLOCK_SIZE - w->acc_len);

		memcpy(w->acc + w->acc_len, p, n);
		w->acc_len += n;
		p += n;
		len -= n;
		if (w->acc_len == PLY_BLOCK_SIZE) {
			struct job *j;
			uint8_t *full = w->acc;
			uint64_t block;

			r = next_job(w, &j, err);
			if (r < 0)
				return r;
			w->acc = j->raw;
			j->raw = full;
			block = submit(w, j, PLY_BLOCK_SIZE);
			if (add_extent(w, w->acc_off, PLY_BLOCK_SIZE, block << PLY_BLOCK_BITS) < 0)
				return fail_nomem(w, err);
			w->acc_off += PLY_BLOCK_SIZE;
			w->acc_len = 0;
		}
	}
	return 0;
}

int subw_data_fill(struct subw *w, uint64_t off, size_t len, subw_fill_fn fill, void *ctx,
		   struct ply_err *err)
{
	uint64_t block;
	struct job *j;
	int r;

	r = seek_to(w, off, len, err);
	if (r < 0)
		return r;
	if (w->acc_len || len != PLY_BLOCK_SIZE)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "a block that is not one");
	r = next_job(w, &j, err);
	if (r < 0)
		return r;
	/* what can fail comes first: once handed over, @fill is called */
	if (array_grow(&w->cur, &w->cur_cap, w->ncur + 1, sizeof(*w->cur)) < 0)
		return fail_nomem(w, err);
	j->fill = fill;
	j->fill_ctx = ctx;
	j->fill_off = off;
	block = submit(w, j, len);
	if (add_extent(w, off, len, block << PLY_BLOCK_BITS) < 0)
		return fail_nomem(w, err);
	w->acc_end = w->acc_off = off + len;
	return 0;
}

static int set_inline(struct subw *w, uint64_t index, const void *data, size_t len,
		      struct ply_err *err)
{
	struct ply_node *n = &w->nodes[index];

	n->kind = PLY_C_INLINE;
	n->data = w->heap.len;
	n->ndata = 0;
	return buf_add(&w->heap, data, len) < 0 ? fail_nomem(w, err) : 0;
}

int subw_file_end(struct subw *w, struct ply_err *err)
{
	struct ply_node *n = &w->nodes[w->file];
	uint64_t index = w->file;
	int r;

	if (w->failed)
		return fail(w, &w->error, err);
	w->file = 0;
	w->bytes += w->file_size;
	if (!w->ncur && w->acc_len && w->acc_len == w->file_size && w->file_size <= PLY_INLINE_MAX) {
		w->acc_len = 0;
		return set_inline(w, index, w->acc, w->file_size, err);
	}
	if (w->acc_len && w->pack_len + w->acc_len > PLY_BLOCK_SIZE) {
		r = settle_pending(w, err);
		if (r < 0)
			return r;
	}
	r = flush_acc(w, err);
	if (r < 0)
		return r;
	n->ndata = 0;
	n->data = 0;
	if (!w->ncur) {
		n->kind = PLY_C_NONE;
	} else if (w->ncur == 1 && w->cur[0].off == 0 && w->cur[0].len == w->file_size) {
		n->kind = PLY_C_RUN;
		n->data = w->cur[0].addr;
		if ((n->data & PENDING) && add_fixup(w, false, index) < 0)
			return fail_nomem(w, err);
	} else {
		if (w->ncur > UINT32_MAX)
			return ply_fail(err, -EFBIG, PLY_R_LIMIT, "a file of more than 2^32 extents");
		n->kind = PLY_C_EXTENTS;
		n->data = w->nextents;
		n->ndata = (uint32_t)w->ncur;
		if (array_grow(&w->extents, &w->extents_cap, w->nextents + w->ncur,
			       sizeof(*w->extents)) < 0)
			return fail_nomem(w, err);
		for (size_t i = 0; i < w->ncur; i++) {
			if ((w->cur[i].addr & PENDING) && add_fixup(w, true, w->nextents) < 0)
				return fail_nomem(w, err);
			w->extents[w->nextents++] = w->cur[i];
		}
	}
	return 0;
}

int subw_file_forget(struct subw *w, uint64_t index, struct ply_err *err)
{
	int r = flush_pack(w, err);   /* a fixup would write over the new address */

	if (r == 0)
		w->bytes -= w->nodes[index].size;
	return r;
}

/* --- equal files -------------------------------------------------------------- */

static uint64_t digest_hash(const uint8_t digest[32])
{
	uint64_t h;

	memcpy(&h, digest, sizeof(h));
	return h;
}

/* Rows of subw.known; content_map leads from a digest to them. */
struct known {
	uint64_t node;
	uint8_t digest[32];
};

int subw_file_known(struct subw *w, uint64_t index, const uint8_t digest[32])
{
	struct known k = { .node = index };
	uint64_t at = w->known.len / sizeof(k);

	memcpy(k.digest, digest, sizeof(k.digest));
	if (buf_add(&w->known, &k, sizeof(k)) < 0)
		return -ENOMEM;
	return map_add(&w->content_map, digest_hash(digest), at);
}

int subw_file_same(struct subw *w, uint64_t index, uint64_t size, const uint8_t digest[32])
{
	uint64_t h = digest_hash(digest);

	for (size_t i = map_first(&w->content_map, h); i != MAP_END;
	     i = map_next(&w->content_map, h, i)) {
		const struct known *k =
			(const struct known *)w->known.data + w->content_map.slots[i].value;
		struct ply_node *n = &w->nodes[index];
		const struct ply_node *o = &w->nodes[k->node];

		if (memcmp(k->digest, digest, sizeof(k->digest)) != 0 || o->size != size)
			continue;
		n->size = size;
		n->kind = o->kind;
		n->data = o->data;
		n->ndata = o->ndata;
		if (n->kind == PLY_C_RUN && (n->data & PENDING)) {
			int r = add_fixup(w, false, index);

			if (r < 0)
				return r;
		}
		w->bytes += size;
		return 1;
	}
	return 0;
}

int subw_file_whole(struct subw *w, uint64_t index, const void *data, size_t len,
		    const uint8_t *digest, struct ply_err *err)
{
	int r;

	if (digest && len > PLY_INLINE_MAX) {
		r = subw_file_same(w, index, len, digest);
		if (r < 0)
			return fail_nomem(w, err);
		if (r > 0)
			return 0;
	}
	r = subw_file(w, index, len);
	if (r == 0)
		r = subw_data(w, 0, data, len, err);
	if (r == 0)
		r = subw_file_end(w, err);
	if (r == 0 && digest && len > PLY_INLINE_MAX && subw_file_known(w, index, digest) < 0)
		return fail_nomem(w, err);
	return r;
}
