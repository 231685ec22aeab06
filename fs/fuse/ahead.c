/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readahead across small files.
 *
 * The kernel reads ahead within a file, so a tree of small files costs a request for each, and
 * most of a request is two threads waking each other. Inodes are numbered directory by directory in the
 * order of names, and that is the order in which trees are read: where the numbers of
 * files that are read whole ascend, the next ones are put into the kernel's page cache
 * (NOTIFY_STORE) without being asked for, twice as many each time. Content never changes, so what is stored can
 * only be right; a file that the kernel does not know ends it, and nothing is kept here.
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
	uint8_t buf[FILE_MAX];
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
