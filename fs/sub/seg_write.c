/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segment output: see seg_write.h. Metadata passes through here once: digest of its
 * section, checksum of its page, file. The header page is written last.
 */
#include "sub/seg_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"

struct segw {
	struct out *out;
	uint64_t off;
	struct segment seg;
	struct sha256 *sha;
	bool in_section;           /* sha holds the digest of the last section */
	uint8_t page[PLY_PAGE];
	size_t fill;
	struct buf sums;           /* pages of sums, but for the checksum at their end */
	uint64_t npages;
};

int segw_new(struct out *out, uint64_t off, uint32_t kind, struct segw **ret, struct ply_err *err)
{
	struct segw *w = calloc(1, sizeof(*w));

	if (w)
		w->sha = sha256_new();
	if (!w || !w->sha) {
		segw_free(w);
		return ply_fail_nomem(err);
	}
	w->out = out;
	w->off = off;
	w->seg.kind = kind;
	w->seg.block_bits = kind == PLY_SEG_BASE ? PLY_BLOCK_BITS : 0;
	*ret = w;
	return 0;
}

struct segw *segw_free(struct segw *w)
{
	if (w) {
		sha256_free(w->sha);
		buf_done(&w->sums);
		free(w);
	}
	return NULL;
}

void segw_data(struct segw *w, uint64_t off, uint64_t len)
{
	w->seg.sections[w->seg.nsections++] = (struct section){
		.type = PLY_S_DATA,
		.flags = PLY_SECTION_REQUIRED,
		.off = off - w->off,
		.len = len,
	};
}

static int end_page(struct segw *w, struct ply_err *err)
{
	le64 sum = le64_put(page_sum(w->page, w->npages));
	int r;

	if (w->npages && w->npages % PLY_SUMS_PER_PAGE == 0 && buf_add_zero(&w->sums, 8) < 0)
		return ply_fail_nomem(err);
	if (buf_add(&w->sums, &sum, sizeof(sum)) < 0)
		return ply_fail_nomem(err);
	w->npages++;
	w->fill = 0;
	r = out_write(w->out, w->page, PLY_PAGE, err);
	return r;
}

/* Metadata bytes, section or padding. */
static int put(struct segw *w, const void *data, size_t len, struct ply_err *err)
{
	const uint8_t *p = data;

	while (len) {
		size_t n = MIN(len, PLY_PAGE - w->fill);

		if (p) {
			memcpy(w->page + w->fill, p, n);
			p += n;
		} else {
			memset(w->page + w->fill, 0, n);
		}
		w->fill += n;
		len -= n;
		if (w->fill == PLY_PAGE) {
			int r = end_page(w, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void end_section(struct segw *w)
{
	if (w->in_section) {
		sha256_end(w->sha, w->seg.sections[w->seg.nsections - 1].digest);
		w->in_section = false;
	}
}

static int begin_meta(struct segw *w, struct ply_err *err)
{
	int r;

	if (w->seg.meta_off)
		return 0;
	r = out_align(w->out, PLY_PAGE, err);
	w->seg.meta_off = w->out->end - w->off;
	return r;
}

int segw_section(struct segw *w, uint32_t type, uint64_t count, const void *data, size_t len,
		 struct ply_err *err)
{
	uint64_t pos;
	int r = begin_meta(w, err);

	if (r < 0)
		return r;
	end_section(w);
	pos = w->npages * PLY_PAGE + w->fill;
	r = put(w, NULL, (size_t)(align_up(pos, PLY_ALIGN) - pos), err);
	if (r < 0)
		return r;
	w->seg.sections[w->seg.nsections++] = (struct section){
		.type = type,
		.flags = PLY_SECTION_REQUIRED | PLY_SECTION_PAGED,
		.off = w->seg.meta_off + align_up(pos, PLY_ALIGN),
		.count = count,
	};
	sha256_reset(w->sha);
	w->in_section = true;
	return segw_more(w, data, len, err);
}

int segw_more(struct segw *w, const void *data, size_t len, struct ply_err *err)
{
	w->seg.sections[w->seg.nsections - 1].len += len;
	if (!len)
		return 0;
	sha256_add(w->sha, data, len);
	return put(w, data, len, err);
}

int segw_finish(struct segw *w, const uint8_t *uuid, const char *name, uint8_t ret_digest[32],
		uint8_t ret_uuid[16], uint64_t *ret_len, struct ply_err *err)
{
	uint8_t head[PLY_SEGMENT_HEAD];
	struct section *sums;
	int r = begin_meta(w, err);

	if (r < 0)
		return r;
	end_section(w);
	if (w->fill) {
		r = put(w, NULL, PLY_PAGE - w->fill, err);
		if (r < 0)
			return r;
	}
	w->seg.meta_len = w->npages * PLY_PAGE;
	if (buf_align(&w->sums, PLY_PAGE) < 0)
		return ply_fail_nomem(err);
	for (size_t p = 0; p < w->sums.len / PLY_PAGE; p++) {
		uint8_t *page = w->sums.data + p * PLY_PAGE;
		le64 sum = le64_put(xxh3(page, PLY_PAGE - sizeof(sum), p));

		memcpy(page + PLY_PAGE - sizeof(sum), &sum, sizeof(sum));
	}
	sums = &w->seg.sections[w->seg.nsections++];
	*sums = (struct section){
		.type = PLY_S_PAGE_SUMS,
		.flags = PLY_SECTION_REQUIRED,
		.off = w->out->end - w->off,
		.len = w->sums.len,
	};
	if (sha256_once(w->sums.data, w->sums.len, sums->digest) < 0)
		return ply_fail_nomem(err);
	r = out_write(w->out, w->sums.data, w->sums.len, err);
	if (r < 0)
		return r;
	w->seg.length = w->out->end - w->off;
	if (uuid)
		memcpy(w->seg.uuid, uuid, sizeof(w->seg.uuid));
	else if (name && content_uuid(name, &w->seg, w->seg.uuid) < 0)
		return ply_fail_nomem(err);
	segment_encode(&w->seg, head);
	if (sha256_once(head, sizeof(head), ret_digest) < 0)
		return ply_fail_nomem(err);
	if (ret_uuid)
		memcpy(ret_uuid, w->seg.uuid, sizeof(w->seg.uuid));
	*ret_len = w->seg.length;
	return out_rewrite(w->out, w->off, head, sizeof(head), err);
}
