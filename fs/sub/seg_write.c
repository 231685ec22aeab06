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
	size_t head_len;           /* reserved at off */
	struct segment seg;
	struct sha256 *sha;
	bool in_section;           /* sha holds the digest of the last section */
	uint8_t page[PLY_PAGE];
	size_t fill;
	struct buf sums;           /* as PAGE_SUMS, but for the last group's own */
	uint64_t npages;
};

int segw_reserve(struct out *out, uint32_t nsections, struct ply_err *err)
{
	static const uint8_t zero[PLY_SEGMENT_HEAD_MAX];

	return out_write(out, zero, segment_header_len(nsections), err);
}

int segw_new(struct out *out, uint64_t off, uint32_t kind, uint32_t nsections, struct segw **ret,
	     struct ply_err *err)
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
	w->head_len = segment_header_len(nsections);
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

/* The sum of the group that has just become whole, or that the region ends in. */
static int end_group(struct segw *w, struct ply_err *err)
{
	uint64_t group = (w->npages - 1) / PLY_SUMS_PER_GROUP;
	size_t n = (size_t)(w->npages - group * PLY_SUMS_PER_GROUP);
	le64 sum = le64_put(group_sum(w->sums.data + w->sums.len - n * 8, n, group));

	return buf_add(&w->sums, &sum, sizeof(sum)) < 0 ? ply_fail_nomem(err) : 0;
}

/* The page in hand, full or the last, to the file. */
static int end_page(struct segw *w, struct ply_err *err)
{
	le64 sum = le64_put(page_sum(w->page, w->fill, w->npages));
	int r;

	if (buf_add(&w->sums, &sum, sizeof(sum)) < 0)
		return ply_fail_nomem(err);
	w->npages++;
	w->seg.meta_len += w->fill;
	if (w->npages % PLY_SUMS_PER_GROUP == 0) {
		r = end_group(w, err);
		if (r < 0)
			return r;
	}
	r = out_write(w->out, w->page, w->fill, err);
	w->fill = 0;
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

int segw_begin_meta(struct segw *w, uint64_t size, struct ply_err *err)
{
	int r = out_align(w->out, size >= PLY_META_ALIGNED ? PLY_PAGE : PLY_ALIGN, err);

	w->seg.meta_off = w->out->end - w->off;
	return r;
}

int segw_section(struct segw *w, uint32_t type, uint64_t count, const void *data, size_t len,
		 struct ply_err *err)
{
	uint64_t pos;
	int r;

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
	uint8_t head[PLY_SEGMENT_HEAD_MAX];
	size_t head_len;
	struct section *sums;
	int r;

	end_section(w);
	r = put(w, NULL, (size_t)(align_up(w->fill, PLY_ALIGN) - w->fill), err);
	if (r == 0 && w->fill)
		r = end_page(w, err);
	if (r == 0 && w->npages % PLY_SUMS_PER_GROUP != 0)
		r = end_group(w, err);
	if (r == 0 && w->seg.meta_len >= PLY_META_ALIGNED)   /* a group is one page of the page cache, not two */
		r = out_align(w->out, PLY_PAGE, err);
	if (r < 0)
		return r;
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
	head_len = segment_header_len(w->seg.nsections);
	if (head_len != w->head_len)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "a segment with other sections than announced");
	segment_encode(&w->seg, head);
	if (sha256_once(head, head_len, ret_digest) < 0)
		return ply_fail_nomem(err);
	if (ret_uuid)
		memcpy(ret_uuid, w->seg.uuid, sizeof(w->seg.uuid));
	*ret_len = w->seg.length;
	return out_rewrite(w->out, w->off, head, head_len, err);
}
