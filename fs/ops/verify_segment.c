/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One segment, byte by byte: every byte of it is in a section with a SHA-256, in a data block
 * with one, in the header that the catalog's digest covers, or is padding and zero.
 *
 * Pages are checked first; a section that touches a damaged page needs no digest to be known
 * as damaged, so one flipped bit is one finding. Blocks are read by the pool in runs of some
 * megabytes; a run's findings come in its turn.
 *
 * Memory: a block and its stored form for each thread, and the findings of the runs under way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "ops/verify_internal.h"

#define RUN_BLOCKS 32              /* 4 MiB of file data */
#define GAP_MAX    4096            /* larger gaps between blocks are read by themselves */
#define PENDING_MAX 1024           /* findings whose file names are looked up in one scan */

struct segment_check {
	struct verify *v;
	const char *name;          /* of the sub-image; NULL: join table, catalog */
	uint64_t off;
	struct meta *m;
	struct sub *s;             /* NULL: no blocks */
	bool damaged;              /* tables */
	uint8_t *bad_pages;        /* a bit a page */
};

static const char *label(const struct segment_check *c)
{
	return segment_kind_name(meta_segment(c->m)->kind);
}

/* Names for what waits, then out with it. */
static int flush(struct segment_check *c, struct ply_err *err)
{
	if (c->s)
		verify_name(c->s, &c->v->list);
	return verify_flush(c->v, err);
}

static void count_bytes(struct verify *v, uint64_t n)
{
	v->result.checked += n;
	if (v->o->bytes)
		atomic_fetch_add(v->o->bytes, n);
}

/* --- padding ------------------------------------------------------------------------- */

/* [from, to) of the image must be zero. One finding, at the first byte that is not. */
static int check_zero(struct verify *v, const char *name, uint64_t from, uint64_t to, struct ply_err *err)
{
	uint8_t buf[65536];

	for (uint64_t at = from; at < to;) {
		size_t n = (size_t)MIN(to - at, (uint64_t)sizeof(buf));
		int r = io_pread(v->io, buf, n, at);

		if (r < 0) {
			findings_add(&v->list, PLY_R_IMAGE_IO, name, at, n, "cannot read %zu bytes at %llu: %s",
				     n, (unsigned long long)at, strerror(-r));
			return 0;
		}
		for (size_t i = 0; i < n; i++) {
			if (!buf[i])
				continue;
			findings_add(&v->list, PLY_R_PADDING, name, at + i, 1,
				     "byte %llu is padding and not zero", (unsigned long long)(at + i));
			return v->list.failed ? ply_fail_nomem(err) : 0;
		}
		count_bytes(v, n);
		at += n;
	}
	return 0;
}

static int by_off(const void *a, const void *b)
{
	const struct section *x = *(const struct section *const *)a, *y = *(const struct section *const *)b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* What lies between header, sections and the end. */
static int check_gaps(struct segment_check *c, struct ply_err *err)
{
	const struct segment *seg = meta_segment(c->m);
	const struct section *sorted[PLY_SECTIONS_MAX];
	uint64_t at = segment_header_len(seg->nsections);
	uint32_t n = 0;
	int r = 0;

	count_bytes(c->v, at);
	for (uint32_t i = 0; i < seg->nsections; i++)
		if (seg->sections[i].len)
			sorted[n++] = &seg->sections[i];
	qsort(sorted, n, sizeof(sorted[0]), by_off);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = check_zero(c->v, c->name, c->off + at, c->off + sorted[i]->off, err);
		at = sorted[i]->off + sorted[i]->len;
	}
	return r < 0 ? r : check_zero(c->v, c->name, c->off + at, c->off + seg->length, err);
}

/* --- metadata pages ----------------------------------------------------------------------- */

struct pages_job {
	struct ordered_job job;
	struct segment_check *c;
	uint64_t group, first, end;   /* pages */
	struct findings list;
	uint64_t bad[PLY_SUMS_PER_GROUP];
	size_t nbad;
};

/* The sections whose rows lie in a damaged page: a finding for each. */
static void page_findings(struct segment_check *c, struct findings *l, uint64_t page)
{
	const struct segment *seg = meta_segment(c->m);
	uint64_t from = seg->meta_off + page * PLY_PAGE;
	uint64_t to = MIN(from + PLY_PAGE, seg->meta_off + seg->meta_len);
	bool any = false;

	for (uint32_t i = 0; i < seg->nsections; i++) {
		const struct section *s = &seg->sections[i];
		uint64_t a = MAX(from, s->off), b = MIN(to, s->off + s->len);
		size_t element = section_element_size(s->type);
		const char *type = section_name(s->type);
		uint64_t first, end;
		struct held *h;

		if (!(s->flags & PLY_SECTION_PAGED) || a >= b)
			continue;
		first = (a - s->off) / (element ? element : 1);
		end = (b - s->off + (element ? element : 1) - 1) / (element ? element : 1);
		h = findings_add(l, PLY_R_PAGE_CHECKSUM, c->name, c->off + a, b - a,
				 "metadata page %llu of the %s segment at %llu, section %s, %s %llu to %llu: "
				 "checksum does not match", (unsigned long long)page, label(c),
				 (unsigned long long)c->off, type ? type : "?", element ? "rows" : "bytes",
				 (unsigned long long)first, (unsigned long long)end - 1);
		if (h)
			h->concern = (struct concern){ s->type, first, end };
		any = true;
	}
	if (!any)
		findings_add(l, PLY_R_PAGE_CHECKSUM, c->name, c->off + from, to - from,
			     "metadata page %llu of the %s segment at %llu: checksum does not match",
			     (unsigned long long)page, label(c), (unsigned long long)c->off);
}

static void run_pages(struct ordered_job *job, unsigned worker)
{
	struct pages_job *j = (struct pages_job *)job;
	struct segment_check *c = j->c;

	(void)worker;
	if (meta_check_group(c->m, j->group, NULL) < 0) {
		findings_add(&j->list, PLY_R_PAGE_CHECKSUM, c->name, 0, 0,
			     "the checksums of metadata pages %llu to %llu of the %s segment at %llu are "
			     "damaged", (unsigned long long)j->first, (unsigned long long)j->end - 1,
			     label(c), (unsigned long long)c->off);
		return;
	}
	for (uint64_t page = j->first; page < j->end; page++)
		if (meta_check_page(c->m, page, NULL) < 0)
			j->bad[j->nbad++] = page;
}

static void retire_pages(struct ordered_job *job)
{
	struct pages_job *j = (struct pages_job *)job;
	struct segment_check *c = j->c;

	for (size_t i = 0; i < j->nbad; i++) {
		c->bad_pages[j->bad[i] / 8] |= (uint8_t)(1u << j->bad[i] % 8);
		page_findings(c, &c->v->list, j->bad[i]);
	}
	if (j->nbad || j->list.n)
		c->damaged = true;
	findings_move(&c->v->list, &j->list);
	c->v->result.pages += j->end - j->first;
	free(j);
}

static int check_pages(struct segment_check *c, struct ply_err *err)
{
	uint64_t pages = meta_pages(meta_segment(c->m)->meta_len);

	c->bad_pages = calloc(pages / 8 + 1, 1);
	if (!c->bad_pages)
		return ply_fail_nomem(err);
	for (uint64_t first = 0; first < pages; first += PLY_SUMS_PER_GROUP) {
		struct pages_job *j = calloc(1, sizeof(*j));

		if (!j)
			return ply_fail_nomem(err);
		j->job.run = run_pages;
		j->job.retire = retire_pages;
		j->c = c;
		j->group = first / PLY_SUMS_PER_GROUP;
		j->first = first;
		j->end = MIN(first + PLY_SUMS_PER_GROUP, pages);
		ordered_add(&c->v->jobs, &j->job);
		if (c->v->list.n > PENDING_MAX) {
			int r = flush(c, err);

			if (r < 0)
				return r;
		}
	}
	ordered_drain(&c->v->jobs);
	return flush(c, err);
}

/* --- section digests ---------------------------------------------------------------------- */

struct section_job {
	struct ordered_job job;
	struct segment_check *c;
	const struct section *s;
	struct findings list;
};

static void run_section(struct ordered_job *job, unsigned worker)
{
	struct section_job *j = (struct section_job *)job;
	struct segment_check *c = j->c;
	const char *type = section_name(j->s->type);
	uint8_t is[32];

	(void)worker;
	if (sha256_once(meta_raw(c->m, j->s), j->s->len, is) < 0) {
		j->list.failed = true;
		return;
	}
	if (memcmp(is, j->s->digest, sizeof(is)) != 0)
		findings_add(&j->list, PLY_R_SECTION_DIGEST, c->name, c->off + j->s->off, j->s->len,
			     "section %s of the %s segment at %llu: SHA-256 does not match",
			     type ? type : "of unknown type", label(c), (unsigned long long)c->off);
}

static void retire_section(struct ordered_job *job)
{
	struct section_job *j = (struct section_job *)job;

	count_bytes(j->c->v, j->s->len);
	if (j->list.n)
		j->c->damaged = true;
	findings_move(&j->c->v->list, &j->list);
	free(j);
}

/* Has a page of @s been found damaged? */
static bool known_bad(const struct segment_check *c, const struct section *s)
{
	const struct segment *seg = meta_segment(c->m);
	uint64_t first, last;

	if (!(s->flags & PLY_SECTION_PAGED) || !s->len)
		return false;
	first = (s->off - seg->meta_off) / PLY_PAGE;
	last = (s->off - seg->meta_off + s->len - 1) / PLY_PAGE;
	for (uint64_t p = first; p <= last; p++)
		if (c->bad_pages[p / 8] >> p % 8 & 1)
			return true;
	return false;
}

/* A damaged group of checksums is a finding already. */
static bool sums_are_bad(const struct segment_check *c)
{
	uint64_t groups = (meta_pages(meta_segment(c->m)->meta_len) + PLY_SUMS_PER_GROUP - 1) /
			  PLY_SUMS_PER_GROUP;

	for (uint64_t g = 0; g < groups; g++)
		if (meta_check_group(c->m, g, NULL) < 0)
			return true;
	return false;
}

static int check_sections(struct segment_check *c, struct ply_err *err)
{
	const struct segment *seg = meta_segment(c->m);

	for (uint32_t i = 0; i < seg->nsections; i++) {
		const struct section *s = &seg->sections[i];
		static const uint8_t zero[32];
		struct section_job *j;

		if (s->type == PLY_S_DATA) {
			if (memcmp(s->digest, zero, sizeof(zero)) != 0)
				findings_add(&c->v->list, PLY_R_SECTION_GEOMETRY, c->name, c->off, 0,
					     "section DATA has a digest; its blocks have theirs");
			continue;
		}
		/* what no reader knows yet may lie anywhere */
		if (!(s->flags & PLY_SECTION_PAGED) && s->type != PLY_S_PAGE_SUMS)
			continue;
		if (known_bad(c, s) || (s->type == PLY_S_PAGE_SUMS && sums_are_bad(c)))
			continue;
		j = calloc(1, sizeof(*j));
		if (!j)
			return ply_fail_nomem(err);
		j->job.run = run_section;
		j->job.retire = retire_section;
		j->c = c;
		j->s = s;
		ordered_add(&c->v->jobs, &j->job);
	}
	ordered_drain(&c->v->jobs);
	return flush(c, err);
}

/* --- blocks ------------------------------------------------------------------------------ */

struct block_item {
	uint64_t number, gap;      /* bytes before it that must be zero */
	struct ply_block block;
	uint8_t digest[32];
};

struct blocks_job {
	struct ordered_job job;
	struct segment_check *c;
	uint64_t data_off;         /* of DATA in the image */
	struct block_item items[RUN_BLOCKS];
	size_t n;
	uint64_t bytes;
	struct findings list;
};

/* A thread's buffers, kept while a job runs. */
struct block_buffers {
	uint8_t stored[GAP_MAX + PLY_BLOCK_SIZE];
	uint8_t decoded[PLY_BLOCK_SIZE];
};

static void block_finding(struct blocks_job *j, const struct block_item *it, enum ply_reason reason,
			  const char *what)
{
	struct held *h = findings_add(&j->list, reason, j->c->name, j->data_off + it->block.off,
				      it->block.stored, "data block %llu, %u bytes at %llu: %s",
				      (unsigned long long)it->number, it->block.stored,
				      (unsigned long long)(j->data_off + it->block.off), what);

	if (h)
		h->concern = (struct concern){ PLY_S_DATA, it->number, it->number + 1 };
}

static void check_block(struct blocks_job *j, const struct block_item *it, struct block_buffers *buf,
			struct codec *codec)
{
	const uint8_t *stored = buf->stored + it->gap;
	uint8_t is[32];
	int r = io_pread(j->c->v->io, buf->stored, it->gap + it->block.stored,
			 j->data_off + it->block.off - it->gap);

	if (r < 0) {
		block_finding(j, it, PLY_R_IMAGE_IO, strerror(-r));
		return;
	}
	j->bytes += it->gap + it->block.stored;
	for (size_t i = 0; i < it->gap; i++) {
		if (!buf->stored[i])
			continue;
		findings_add(&j->list, PLY_R_PADDING, j->c->name,
			     j->data_off + it->block.off - it->gap + i, 1,
			     "byte %llu, before data block %llu, is padding and not zero",
			     (unsigned long long)(j->data_off + it->block.off - it->gap + i),
			     (unsigned long long)it->number);
		break;
	}
	if (xxh3(stored, it->block.stored, 0) != it->block.xxh3) {
		block_finding(j, it, PLY_R_BLOCK_CHECKSUM, "checksum does not match");
		return;
	}
	if (sha256_once(stored, it->block.stored, is) < 0) {
		j->list.failed = true;
		return;
	}
	if (memcmp(is, it->digest, sizeof(is)) != 0) {
		block_finding(j, it, PLY_R_BLOCK_DIGEST, "SHA-256 does not match");
		return;
	}
	if (codec && !it->block.raw &&
	    codec_decompress(codec, stored, it->block.stored, buf->decoded, it->block.size) < 0)
		block_finding(j, it, PLY_R_BLOCK_DECODE, "it does not decode to its size");
}

static void run_blocks(struct ordered_job *job, unsigned worker)
{
	struct blocks_job *j = (struct blocks_job *)job;
	struct block_buffers *buf = malloc(sizeof(*buf));
	struct codec *codec = j->c->v->o->deep ? codec_new() : NULL;

	(void)worker;
	if (!buf || (j->c->v->o->deep && !codec))
		j->list.failed = true;
	else
		for (size_t i = 0; i < j->n; i++)
			check_block(j, &j->items[i], buf, codec);
	codec_free(codec);
	free(buf);
}

static void retire_blocks(struct ordered_job *job)
{
	struct blocks_job *j = (struct blocks_job *)job;

	count_bytes(j->c->v, j->bytes);
	j->c->v->result.blocks += j->n;
	findings_move(&j->c->v->list, &j->list);
	free(j);
}

static struct blocks_job *new_blocks(struct segment_check *c, uint64_t data_off)
{
	struct blocks_job *j = calloc(1, sizeof(*j));

	if (j) {
		j->job.run = run_blocks;
		j->job.retire = retire_blocks;
		j->c = c;
		j->data_off = data_off;
	}
	return j;
}

/* Row @b into @it; false: not to be read, or out of order (told). */
static bool block_row(struct segment_check *c, uint64_t b, uint64_t data_off, uint64_t *end,
		      bool *known, struct block_item *it, struct ply_err *err)
{
	struct ply_err e;

	it->number = b;
	it->gap = 0;
	if (sub_block(c->s, b, &it->block, &e) < 0 || sub_block_digest(c->s, b, it->digest, &e) < 0) {
		if (e.reason != PLY_R_PAGE_CHECKSUM) {   /* else told with the page */
			struct held *h = findings_add(&c->v->list, e.reason, c->name, 0, 0,
						      "data block %llu: %s", (unsigned long long)b, e.msg);

			if (h)
				h->concern = (struct concern){ PLY_S_DATA, b, b + 1 };
		}
		*known = false;
		return false;
	}
	if (*known && it->block.off < *end) {
		findings_add(&c->v->list, PLY_R_BLOCK_FIELD, c->name, data_off + it->block.off, 0,
			     "data block %llu begins before the end of the one before it",
			     (unsigned long long)b);
	} else if (*known && it->block.off - *end > GAP_MAX) {
		check_zero(c->v, c->name, data_off + *end, data_off + it->block.off, err);
	} else if (*known) {
		it->gap = it->block.off - *end;
	}
	*end = it->block.off + it->block.stored;
	*known = true;
	return true;
}

static int check_blocks(struct segment_check *c, struct ply_err *err)
{
	const struct section *data = segment_section(meta_segment(c->m), PLY_S_DATA);
	uint64_t n = sub_limits(c->s)->blocks, data_off = c->off + data->off, end = 0;
	struct blocks_job *j = NULL;
	bool known = true;         /* where the block before ended */
	int r = 0;

	for (uint64_t b = 0; r == 0 && b < n; b++) {
		if (!j && !(j = new_blocks(c, data_off)))
			return ply_fail_nomem(err);
		if (block_row(c, b, data_off, &end, &known, &j->items[j->n], err))
			j->n++;
		if (j->n == RUN_BLOCKS)
			ordered_add(&c->v->jobs, &TAKE_PTR(j)->job);
		if (c->v->list.n > PENDING_MAX)
			r = flush(c, err);
	}
	if (j)
		ordered_add(&c->v->jobs, &j->job);
	ordered_drain(&c->v->jobs);
	if (r == 0 && known && end < data->len)
		r = check_zero(c->v, c->name, data_off + end, data_off + data->len, err);
	return r < 0 ? r : flush(c, err);
}

int verify_segment(struct verify *v, const char *name, uint64_t off, struct meta *m, struct sub *s,
		   bool *ret_damaged, struct ply_err *err)
{
	struct segment_check c = { .v = v, .name = name, .off = off, .m = m, .s = s };
	static const uint8_t no_uuid[16];
	int r;

	v->result.segments++;
	if (meta_segment(m)->kind != PLY_SEG_BASE && memcmp(meta_segment(m)->uuid, no_uuid, 16) != 0)
		findings_add(&v->list, PLY_R_SEGMENT_HEADER, name, off, 0,
			     "the %s segment at %llu has the UUID of a sub-image", label(&c),
			     (unsigned long long)off);
	r = check_pages(&c, err);
	if (r == 0)
		r = check_sections(&c, err);
	if (r == 0)
		r = check_gaps(&c, err);
	if (r == 0 && s)
		r = check_blocks(&c, err);
	ordered_drain(&v->jobs);   /* those that an error left behind use @c */
	free(c.bad_pages);
	*ret_damaged = c.damaged;
	return r < 0 ? r : flush(&c, err);
}
