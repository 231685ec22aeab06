/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata region of a segment, mapped and verified page by page.
 *
 * A page is checked against its XXH3-64 when it is first asked for; a bit in
 * `seen` remembers it. Two threads may both check one page: the result is the
 * same, and setting the bit twice does no harm. The sums lie in groups of 511 that
 * carry their own checksum, so that opening a segment with millions of files
 * reads as little as opening one with ten.
 *
 * Where a page of the file has gone since (a SIGBUS, read as zeros), what was verified counts no longer:
 * all bits are cleared, and pages that are still there verify again. A page whose
 * check ran across a fault is checked once more.
 *
 * Locking: bits are set and cleared under `seen_lock`, where it is certain that no fault was counted since the
 * page was read; they are tested without it. All else is immutable after open.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "codec/codec.h"
#include "sub/sub.h"

struct meta {
	struct io *io;
	struct segment seg;
	uint64_t off;              /* of the segment in the image */
	const uint8_t *map;        /* seg.meta_len bytes */
	void *map_handle;
	const uint8_t *sums;
	void *sums_handle;
	_Atomic uint64_t *seen;    /* a bit a page */
	_Atomic uint64_t *sums_seen;
	_Atomic unsigned faults;   /* sigbus_faults() when the bits were last good */
	pthread_mutex_t seen_lock;
};

static bool bit_get(_Atomic uint64_t *bits, uint64_t i)
{
	return atomic_load_explicit(&bits[i / 64], memory_order_acquire) >> (i % 64) & 1;
}

/* Unless a page was lost since @faults were counted: what was read then may be what others read as zeros now. */
static bool remember(struct meta *m, _Atomic uint64_t *bits, uint64_t i, unsigned faults)
{
	bool sound;

	pthread_mutex_lock(&m->seen_lock);
	sound = sigbus_faults() == faults;
	if (sound)
		atomic_fetch_or_explicit(&bits[i / 64], 1ULL << (i % 64), memory_order_release);
	pthread_mutex_unlock(&m->seen_lock);
	return sound;
}

/* In one read where it lies in one page; of the next page nothing is read that is not header. */
static int read_head(struct io *io, uint64_t off, uint64_t len, uint8_t head[PLY_SEGMENT_HEAD_MAX], size_t *ret_len,
		     struct ply_err *err)
{
	size_t in_page = PLY_PAGE - off % PLY_PAGE;
	size_t have = (size_t)MIN(len, MAX((uint64_t)in_page, sizeof(struct ply_disk_segment)));
	int r = io_pread(io, head, have, off);

	if (r == 0) {
		r = segment_peek(head, ret_len, err);
		if (r < 0)
			return r;
		if (*ret_len > len)
			return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER,
					"the segment at %llu is cut off", (unsigned long long)off);
		if (*ret_len > have)
			r = io_pread(io, head + have, *ret_len - have, off + have);
	}
	return r < 0 ? ply_fail(err, -EIO, PLY_R_IMAGE_IO, "cannot read the segment at %llu: %s",
				(unsigned long long)off, strerror(-r)) : 0;
}

int meta_open(struct io *io, uint64_t off, uint64_t len, const uint8_t *digest,
	      struct meta **ret, struct ply_err *err)
{
	uint8_t head[PLY_SEGMENT_HEAD_MAX], is[32];
	const struct section *sums;
	size_t head_len;
	struct meta *m;
	uint64_t pages;
	const void *p;
	int r;

	if (off % PLY_ALIGN || off > io->size || len > io->size - off ||
	    len < sizeof(struct ply_disk_segment))
		return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER,
				"a segment at %llu does not lie in the image",
				(unsigned long long)off);
	r = read_head(io, off, len, head, &head_len, err);
	if (r < 0)
		return r;
	if (digest) {
		r = sha256_once(head, head_len, is);
		if (r < 0)
			return ply_fail_nomem(err);
		if (memcmp(is, digest, sizeof(is)) != 0)
			return ply_fail(err, -EBADMSG, PLY_R_SEGMENT_DIGEST,
					"the segment at %llu is not the one that the catalog names (SHA-256)",
					(unsigned long long)off);
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return ply_fail_nomem(err);
	pthread_mutex_init(&m->seen_lock, NULL);
	m->io = io;
	m->off = off;
	r = segment_decode(head, head_len, len, &m->seg, err);
	if (r < 0)
		goto fail;
	sums = segment_section(&m->seg, PLY_S_PAGE_SUMS);
	pages = meta_pages(m->seg.meta_len);
	m->seen = calloc(pages / 64 + 1, sizeof(*m->seen));
	m->sums_seen = calloc(pages / PLY_SUMS_PER_GROUP / 64 + 1, sizeof(*m->sums_seen));
	if (!m->seen || !m->sums_seen) {
		r = ply_fail_nomem(err);
		goto fail;
	}
	r = io_map(io, off + m->seg.meta_off, m->seg.meta_len, &p, &m->map_handle);
	if (r == 0) {
		m->map = p;
		r = io_map(io, off + sums->off, sums->len, &p, &m->sums_handle);
	}
	if (r < 0) {
		ply_fail_sys(err, r, "cannot map the segment at %llu", (unsigned long long)off);
		goto fail;
	}
	m->sums = p;
	atomic_store(&m->faults, sigbus_faults());
	*ret = m;
	return 0;
fail:
	meta_close(m);
	return r;
}

struct meta *meta_close(struct meta *m)
{
	if (m) {
		io_unmap(m->io, m->map_handle);
		io_unmap(m->io, m->sums_handle);
		free((void *)m->seen);
		free((void *)m->sums_seen);
		pthread_mutex_destroy(&m->seen_lock);
		free(m);
	}
	return NULL;
}

void meta_readahead(struct meta *m, uint64_t max)
{
	const struct section *sums = segment_section(&m->seg, PLY_S_PAGE_SUMS);

	if (m->io->fd < 0 || m->seg.meta_len > max)
		return;
	posix_fadvise(m->io->fd, (off_t)(m->off + m->seg.meta_off), (off_t)m->seg.meta_len, POSIX_FADV_WILLNEED);
	posix_fadvise(m->io->fd, (off_t)(m->off + sums->off), (off_t)sums->len, POSIX_FADV_WILLNEED);
}

const struct segment *meta_segment(const struct meta *m)
{
	return &m->seg;
}

int meta_check_group(struct meta *m, uint64_t group, struct ply_err *err)
{
	uint64_t first = group * PLY_SUMS_PER_GROUP;
	uint64_t in = MIN(meta_pages(m->seg.meta_len) - first, (uint64_t)PLY_SUMS_PER_GROUP);
	const uint8_t *s = m->sums + group * (PLY_SUMS_PER_GROUP + 1) * 8;
	unsigned faults = sigbus_faults();
	le64 want;

	memcpy(&want, s + in * sizeof(want), sizeof(want));
	if (le64_get(want) != group_sum(s, in, group))
		return ply_fail(err, -EBADMSG, PLY_R_PAGE_CHECKSUM,
				"group %llu of the page checksums of the segment at %llu is damaged",
				(unsigned long long)group, (unsigned long long)m->off);
	remember(m, m->sums_seen, group, faults);
	return 0;
}

/* After a fault somewhere: nothing counts as verified. */
static void forget_seen(struct meta *m)
{
	uint64_t pages = meta_pages(m->seg.meta_len);
	unsigned faults;

	pthread_mutex_lock(&m->seen_lock);
	faults = sigbus_faults();
	if (atomic_load(&m->faults) != faults) {
		for (uint64_t i = 0; i <= pages / 64; i++)
			atomic_store(&m->seen[i], 0);
		for (uint64_t i = 0; i <= pages / PLY_SUMS_PER_GROUP / 64; i++)
			atomic_store(&m->sums_seen[i], 0);
		atomic_store(&m->faults, faults);
	}
	pthread_mutex_unlock(&m->seen_lock);
}

int meta_check_page(struct meta *m, uint64_t page, struct ply_err *err)
{
	uint64_t group = page / PLY_SUMS_PER_GROUP;
	unsigned faults = sigbus_faults();
	size_t len = (size_t)MIN(m->seg.meta_len - page * PLY_PAGE, (uint64_t)PLY_PAGE);
	le64 want;

	if (!bit_get(m->sums_seen, group)) {
		int r = meta_check_group(m, group, err);

		if (r < 0)
			return r;
	}
	memcpy(&want, m->sums + (page + group) * sizeof(want), sizeof(want));
	if (le64_get(want) != page_sum(m->map + page * PLY_PAGE, len, page))
		return ply_fail(err, -EBADMSG, PLY_R_PAGE_CHECKSUM,
				"metadata page %llu of the segment at %llu is damaged",
				(unsigned long long)page, (unsigned long long)m->off);
	if (!remember(m, m->seen, page, faults))
		return ply_fail(err, -EIO, PLY_R_IMAGE_IO,
				"metadata page %llu of the segment at %llu: the image cannot be read, or was cut off",
				(unsigned long long)page, (unsigned long long)m->off);
	return 0;
}

const void *meta_raw(const struct meta *m, const struct section *s)
{
	return s->type == PLY_S_PAGE_SUMS ? m->sums : m->map + (s->off - m->seg.meta_off);
}

int meta_get(struct meta *m, const struct section *s, uint64_t off, uint64_t len,
	     const void **ret, struct ply_err *err)
{
	uint64_t start, first, last;

	if (atomic_load_explicit(&m->faults, memory_order_acquire) != sigbus_faults())
		forget_seen(m);
	if (off > s->len || len > s->len - off)
		return ply_fail(err, -EUCLEAN, PLY_R_SECTION_GEOMETRY,
				"a reference leads outside section %s", section_name(s->type));
	start = s->off - m->seg.meta_off + off;
	if (len) {
		first = start / PLY_PAGE;
		last = (start + len - 1) / PLY_PAGE;
		for (uint64_t p = first; p <= last; p++) {
			if (!bit_get(m->seen, p)) {
				int r = meta_check_page(m, p, err);   /* the slow path */

				if (r < 0)
					return r;
			}
		}
	}
	*ret = m->map + start;
	return 0;
}

int meta_check_digest(struct meta *m, const struct section *s, struct ply_err *err)
{
	uint8_t is[32];
	const void *p;
	int r;

	if (s->type == PLY_S_PAGE_SUMS)
		p = m->sums;
	else if ((r = meta_get(m, s, 0, s->len, &p, err)) < 0)
		return r;
	r = sha256_once(p, s->len, is);
	if (r < 0)
		return ply_fail_nomem(err);
	if (memcmp(is, s->digest, sizeof(is)) != 0)
		return ply_fail(err, -EBADMSG, PLY_R_SECTION_DIGEST,
				"section %s of the segment at %llu: SHA-256 does not match",
				section_name(s->type), (unsigned long long)m->off);
	return 0;
}
