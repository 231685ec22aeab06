/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File content of a sealed segment: extents to blocks to bytes.
 *
 * A block is read with pread into a per-thread buffer (raw blocks straight to their
 * destination), checked against its XXH3-64 each time, and decoded. A request that
 * covers a whole block decodes into the caller's memory and leaves the cache
 * alone: sequential readers would only push out what random readers need. Parts of
 * blocks, which is what small files are, go through the cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "cache/cache.h"
#include "codec/codec.h"
#include "sub/sub_internal.h"

struct scratch {
	struct codec *codec;
	uint8_t stored[PLY_BLOCK_SIZE];
};

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static int scratch_result;

static void scratch_free(void *p)
{
	struct scratch *s = p;

	codec_free(s->codec);
	free(s);
}

static void scratch_init(void)
{
	scratch_result = -pthread_key_create(&scratch_key, scratch_free);
}

/* This thread's buffers, freed when it ends; NULL: no memory. */
static struct scratch *scratch_get(void)
{
	static __thread struct scratch *mine;

	if (mine)
		return mine;
	pthread_once(&scratch_once, scratch_init);
	if (scratch_result < 0)
		return NULL;
	mine = malloc(sizeof(*mine));
	if (!mine)
		return NULL;
	mine->codec = codec_new();
	if (!mine->codec || pthread_setspecific(scratch_key, mine) != 0) {
		codec_free(mine->codec);
		free(mine);
		mine = NULL;
	}
	return mine;
}

int sub_block_read(struct sub *s, uint64_t b, const struct ply_block *block, void *dst,
		   struct ply_err *err)
{
	struct scratch *scratch = scratch_get();
	void *stored;
	int r;

	if (!scratch)
		return ply_fail_nomem(err);
	stored = block->raw ? dst : scratch->stored;
	r = io_pread(s->io, stored, block->stored, s->data_off + block->off);
	if (r < 0)
		return ply_fail(err, -EIO, PLY_R_IMAGE_IO, "cannot read data block %llu: %s",
				(unsigned long long)b, strerror(-r));
	if (xxh3(stored, block->stored, 0) != block->xxh3)
		return ply_fail(err, -EBADMSG, PLY_R_BLOCK_CHECKSUM,
				"data block %llu is damaged (checksum)", (unsigned long long)b);
	if (block->raw)
		return 0;
	r = codec_decompress(scratch->codec, stored, block->stored, dst, block->size);
	if (r == -ENOMEM)
		return ply_fail_nomem(err);
	if (r < 0)
		return ply_fail(err, -EBADMSG, PLY_R_BLOCK_DECODE,
				"data block %llu does not decode to %u bytes", (unsigned long long)b,
				block->size);
	return 0;
}

void sub_readahead(struct sub *s, uint64_t from, uint64_t to)
{
	struct ply_block first, last;

	if (s->io->fd < 0 || from >= to || to > s->lim.blocks ||
	    sub_block(s, from, &first, NULL) < 0 || sub_block(s, to - 1, &last, NULL) < 0 ||
	    last.off < first.off)
		return;
	posix_fadvise(s->io->fd, (off_t)(s->data_off + first.off),
		      (off_t)(last.off - first.off + last.stored), POSIX_FADV_WILLNEED);
}

uint32_t sub_extent_count(const struct ply_node *n)
{
	return n->kind == PLY_C_RUN ? 1 : n->kind == PLY_C_EXTENTS ? n->ndata : 0;
}

int sub_node_extent(struct sub *s, const struct ply_node *n, uint32_t i, struct ply_extent *ret,
		    struct ply_err *err)
{
	int r;

	if (i >= sub_extent_count(n))
		return ply_fail(err, -EINVAL, PLY_R_EXTENT_FIELD, "extent %u does not exist", i);
	if (n->kind == PLY_C_RUN) {
		*ret = (struct ply_extent){ .off = 0, .len = n->size, .addr = n->data };
		return 0;
	}
	r = sub_extent(s, n->data + i, ret, err);
	if (r < 0)
		return r;
	if (ret->off > n->size || ret->len > n->size - ret->off)
		return ply_fail(err, -EUCLEAN, PLY_R_EXTENT_FIELD, "an extent lies behind the end of its file");
	if (ret->off % PLY_PAGE)   /* so a request of 128 KiB decodes 33 blocks at most */
		return ply_fail(err, -EUCLEAN, PLY_R_EXTENT_FIELD, "an extent does not begin at a multiple of 4096");
	return 0;
}

int sub_extent_at(struct sub *s, const struct ply_node *n, uint64_t off, struct ply_extent *ret,
		  uint32_t *ret_i, struct ply_err *err)
{
	uint32_t lo = 0, hi = sub_extent_count(n);
	struct ply_extent e, found;
	bool any = false;
	int r;

	/* a row is read once: the bytes below may be another's to change */
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		r = sub_node_extent(s, n, mid, &e, err);
		if (r < 0)
			return r;
		if (e.off + e.len <= off) {
			lo = mid + 1;
		} else {
			hi = mid;
			found = e;
			any = true;
		}
	}
	if (!any)
		return -ENXIO;
	*ret = found;
	if (ret_i)
		*ret_i = lo;
	return 0;
}

/* A stat may not cost more because a file has a million extents: of so many, some that lie evenly
 * stand for all. */
#define COUNTED_MAX 4096u

int sub_blocks512(struct sub *s, const struct ply_node *n, uint64_t *ret, struct ply_err *err)
{
	uint32_t all = sub_extent_count(n), some = MIN(all, COUNTED_MAX);
	uint64_t sum = 0, most = align_up(n->size, PLY_PAGE);

	if (n->kind == PLY_C_INLINE) {
		*ret = S_ISREG(n->mode) ? PLY_PAGE / 512 : 0;
		return 0;
	}
	for (uint32_t i = 0; i < some; i++) {
		struct ply_extent e;
		int r = sub_node_extent(s, n, (uint32_t)((uint64_t)i * all / some), &e, err);

		if (r < 0)
			return r;
		sum += MIN(align_up(e.off + e.len, PLY_PAGE) - e.off, most - sum);
	}
	if (some < all)
		sum = MIN(most, sum / some * all);
	*ret = align_up(sum, PLY_PAGE) / 512;
	return 0;
}

struct fill_ctx {
	struct sub *sub;
	const struct ply_block *block;
	uint64_t b;
};

static int fill(void *ctx, uint64_t key, void *dst, size_t size, struct ply_err *err)
{
	struct fill_ctx *f = ctx;

	(void)key;
	(void)size;
	return sub_block_read(f->sub, f->b, f->block, dst, err);
}

/* [addr, addr + len) of the data to @dst; the extent goes on for @left >= len bytes. */
static int read_data(struct sub *s, struct cache *cache, uint64_t addr, size_t len, uint8_t *dst,
		     struct ply_err *err)
{
	while (len) {
		uint64_t b = addr >> PLY_BLOCK_BITS;
		size_t in = addr & (PLY_BLOCK_SIZE - 1), take;
		struct ply_block block;
		int r = sub_block(s, b, &block, err);

		if (r < 0)
			return r;
		take = MIN(len, (size_t)PLY_BLOCK_SIZE - in);
		if (in + take > block.size)
			return ply_fail(err, -EUCLEAN, PLY_R_EXTENT_FIELD,
					"an extent goes beyond the end of block %llu",
					(unsigned long long)b);
		if (in == 0 && take == block.size) {
			r = sub_block_read(s, b, &block, dst, err);
		} else {
			struct fill_ctx f = { s, &block, b };

			r = cache_read(cache, (uint64_t)s->id << 48 | b, block.size, in, take, dst,
				       fill, &f, err);
		}
		if (r < 0)
			return r;
		addr += take;
		dst += take;
		len -= take;
	}
	return 0;
}

ssize_t sub_read(struct sub *s, struct cache *cache, const struct ply_node *n, uint64_t off,
		 size_t len, void *buf, struct ply_err *err)
{
	uint8_t *dst = buf;
	uint64_t end;
	int r;

	if (off >= n->size)
		return 0;
	len = MIN(len, (size_t)MIN(n->size - off, (uint64_t)SSIZE_MAX));
	end = off + len;
	if (n->kind == PLY_C_INLINE) {
		const void *p;

		r = sub_heap(s, n->data + off, len, &p, err);
		if (r < 0)
			return r;
		memcpy(dst, p, len);
		return (ssize_t)len;
	}
	while (off < end) {
		struct ply_extent e;
		uint64_t stop;

		r = sub_extent_at(s, n, off, &e, NULL, err);
		if (r == -ENXIO)
			e.off = end, e.len = 0;
		else if (r < 0)
			return r;
		if (e.off > off) {
			stop = MIN(e.off, end);
			memset(dst, 0, stop - off);
		} else if (e.off + e.len <= off) {
			return ply_fail(err, -EUCLEAN, PLY_R_EXTENT_FIELD, "an extent that ends before it begins");
		} else {
			stop = MIN(e.off + e.len, end);
			r = read_data(s, cache, e.addr + (off - e.off), stop - off, dst, err);
			if (r < 0)
				return r;
		}
		dst += stop - off;
		off = stop;
	}
	return (ssize_t)len;
}
