/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving the kernel what it did not ask for, since what is wanted next is known here better, or is at hand already.
 *
 * Across small files: the kernel reads ahead within a file, so a tree of small files costs a request for each, and
 * most of a request is two threads waking each other. Inodes are numbered directory by directory in the
 * order of names, and that is the order in which trees are read: where the numbers of
 * files that are read whole ascend, the next ones are put into the kernel's page cache
 * (NOTIFY_STORE) without being asked for, twice as many each time. Content never changes, so what is stored can
 * only be right; a file that the kernel does not know ends it, and nothing is kept here.
 *
 * Around small reads: who reads a few KiB here and there has a block of 128 KiB decoded for each of them. At the
 * second such read in one block's worth of a file all of it is stored, and the further ones are answered by the page cache.
 * (At the first one already it would be wasted on files that are far larger than what is read of them.)
 *
 * Storing waits for a page that somebody else is waiting to read. So that nobody waits in a circle:
 * a thread stores only when it has answered its own request, one thread at a time, and there is a second
 * one to answer the rest, also while the daemon ends (serve.c): `busy` is set before `state` is read,
 * and a thread that leaves reads `busy` when `state` is STOPPED, so that one of the two sees the other.
 *
 * Locking: `taken` is for everything in struct ahead but the atomics; who does not get it goes on.
 */
#include "ahead.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "cache/cache.h"
#include "tree/view_internal.h"

#define STREAMS   8                /* readers in different places */
#define SKIP      8                /* numbers between one file and the next: links, directories */
#define FILES_MAX 64
#define FILE_MAX  (64u << 10)      /* bytes; for larger ones a request is cheap */
#define BYTES_MAX (512u << 10)     /* at once, */
#define BLOCKS_MAX 16              /* and blocks decoded for it: an image may scatter small files */
#define SMALL_MAX (32u << 10)      /* a small read */
#define PLACES    4096u            /* of small reads that are remembered; a power of two */

struct stream {
	uint64_t next;             /* what comes behind the last file read or stored */
	unsigned files;            /* stored last time */
};

enum { IDLE, RUNNING, STOPPED };

struct ahead {
	struct fuse_session *session;
	struct ply_view *view;
	atomic_flag taken;
	atomic_bool busy;
	_Atomic int state;         /* IDLE, RUNNING, STOPPED, in this order */
	struct stream streams[STREAMS];
	unsigned oldest;
	uint8_t buf[PLY_BLOCK_SIZE];
	_Atomic uint64_t places[PLACES];   /* where something small was read: mixed bits of inode and block; 0: nothing */
};

struct ahead *ahead_new(struct fuse_session *session, struct ply_view *view)
{
	struct ahead *a = calloc(1, sizeof(*a));

	if (a) {
		a->session = session;
		a->view = view;
		atomic_flag_clear(&a->taken);
	}
	return a;
}

struct ahead *ahead_free(struct ahead *a)
{
	free(a);
	return NULL;
}

void ahead_start(struct ahead *a)
{
	int idle = IDLE;

	if (a)
		atomic_compare_exchange_strong(&a->state, &idle, RUNNING);
}

void ahead_stop(struct ahead *a)
{
	if (a)
		atomic_store(&a->state, STOPPED);
}

bool ahead_is_busy(const struct ahead *a)
{
	return a && atomic_load(&a->busy);
}

/* The stream that @ino goes on, or a new one in place of the oldest: *ret_new. */
static struct stream *find_stream(struct ahead *a, uint64_t ino, bool *ret_new)
{
	struct stream *s;

	*ret_new = false;
	for (unsigned i = 0; i < STREAMS; i++)
		if (ino - a->streams[i].next <= SKIP)
			return &a->streams[i];
	*ret_new = true;
	s = &a->streams[a->oldest++ % STREAMS];
	s->files = 2;
	return s;
}

/* 1: stored; 0: nothing to store; negative: the kernel does not want it, or it cannot be read. */
static int store(struct ahead *a, uint64_t ino, size_t *ret_len)
{
	struct fuse_bufvec v = FUSE_BUFVEC_INIT(0);
	unsigned faults = sigbus_faults();
	struct ply_attr attr;
	ssize_t n;
	int r = ply_view_attr(a->view, ino, &attr, NULL);

	if (r < 0)   /* a joined node has its number elsewhere */
		return r == -ESTALE ? 0 : r;
	if (!S_ISREG(attr.mode) || !attr.size || attr.size > FILE_MAX)
		return 0;
	n = ply_view_read(a->view, ino, 0, attr.size, a->buf, NULL);
	if (n != (ssize_t)attr.size || sigbus_faults() != faults)
		return -EIO;
	v.buf[0].mem = a->buf;
	v.buf[0].size = (size_t)n;
	r = fuse_lowlevel_notify_store(a->session, ino, 0, &v, 0);
	*ret_len = (size_t)n;
	return r < 0 ? r : 1;
}

/* Blocks decoded so far, for whomever. */
static uint64_t decoded(const struct ahead *a)
{
	struct cache_stats stats;

	cache_stats(view_cache(a->view), &stats);
	return stats.misses;
}

static bool may_go_on(const struct ahead *a, size_t bytes, uint64_t first)
{
	return bytes < BYTES_MAX && atomic_load(&a->state) == RUNNING && decoded(a) - first < BLOCKS_MAX;
}

/* Was that all of it? A file of whole pages is asked for to its last byte, and no farther. */
static bool is_whole(const struct ahead *a, uint64_t ino, size_t n, size_t asked)
{
	struct ply_attr attr;

	return n < asked || (n <= FILE_MAX && ply_view_attr(a->view, ino, &attr, NULL) == 0 && attr.size == n);
}

static uint64_t place_of(uint64_t ino, uint64_t off)
{
	uint64_t x = (ino ^ (off >> PLY_BLOCK_BITS) << 40 ^ (off >> PLY_BLOCK_BITS)) * 0x9e3779b97f4a7c15ULL;

	return (x ^ x >> 29) | 1;
}

void ahead_around(struct ahead *a, uint64_t ino, uint64_t off, size_t n)
{
	uint64_t from = off & ~(uint64_t)(PLY_BLOCK_SIZE - 1), place = place_of(ino, off);
	struct fuse_bufvec v = FUSE_BUFVEC_INIT(0);
	_Atomic uint64_t *seen;
	unsigned faults;
	ssize_t got;

	if (!a || !n || n > SMALL_MAX || atomic_load_explicit(&a->state, memory_order_relaxed) != RUNNING)
		return;
	seen = &a->places[(place >> 32) % PLACES];
	if (atomic_load_explicit(seen, memory_order_relaxed) != place) {
		atomic_store_explicit(seen, place, memory_order_relaxed);
		return;
	}
	if (atomic_flag_test_and_set(&a->taken))
		return;
	atomic_store(&a->busy, true);
	if (atomic_load(&a->state) == RUNNING) {
		faults = sigbus_faults();
		got = ply_view_read(a->view, ino, from, PLY_BLOCK_SIZE, a->buf, NULL);
		if (got > 0 && sigbus_faults() == faults) {
			v.buf[0].mem = a->buf;
			v.buf[0].size = (size_t)got;
			fuse_lowlevel_notify_store(a->session, ino, (off_t)from, &v, 0);
		}
		atomic_store_explicit(seen, 0, memory_order_relaxed);
	}
	atomic_store(&a->busy, false);
	atomic_flag_clear(&a->taken);
}

void ahead_of(struct ahead *a, uint64_t ino, size_t n, size_t asked)
{
	uint64_t first;
	size_t bytes = 0;
	struct stream *s;
	unsigned files;
	bool is_new;

	if (!a || !is_whole(a, ino, n, asked) || atomic_flag_test_and_set(&a->taken))
		return;
	s = find_stream(a, ino, &is_new);
	s->next = ino + 1;
	if (!is_new) {
		atomic_store(&a->busy, true);
		first = decoded(a);
		files = MIN(2 * s->files, (unsigned)FILES_MAX);
		s->files = 2;
		for (unsigned i = 0; i < files && may_go_on(a, bytes, first); i++) {
			size_t len = 0;

			if (store(a, s->next, &len) < 0)
				break;
			s->next++;
			s->files++;
			bytes += len;
		}
		atomic_store(&a->busy, false);
	}
	atomic_flag_clear(&a->taken);
}
