/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk for logs, in memory: redo_disk.h. */
#include "redo_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

struct disk_store {
	struct redo_store s;
	struct redo_disk *d;
};

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

void redo_disk_init(struct redo_disk *d)
{
	*d = (struct redo_disk){ .size = 0 };
	pthread_mutex_init(&d->lock, NULL);
}

void redo_disk_forget(struct redo_disk *d)
{
	for (size_t i = 0; i < d->nops; i++)
		free(d->ops[i].data);
	free(d->ops);
	d->ops = NULL;
	d->nops = d->ops_cap = 0;
}

void redo_disk_done(struct redo_disk *d)
{
	redo_disk_forget(d);
	free(d->bytes);
	free(d->held);
	pthread_mutex_destroy(&d->lock);
	*d = (struct redo_disk){ .size = 0 };
}

static void reach(struct redo_disk *d, uint64_t size)
{
	if (size > d->cap) {
		d->cap = size + size / 2 + 65536;
		d->bytes = need(realloc(d->bytes, d->cap));
	}
	if (size > d->size) {
		memset(d->bytes + d->size, 0, size - d->size);
		d->size = size;
	}
}

void redo_disk_copy(struct redo_disk *to, const struct redo_disk *from)
{
	to->size = 0;
	reach(to, from->size);
	if (from->size)
		memcpy(to->bytes, from->bytes, from->size);
}

void redo_disk_play(struct redo_disk *d, const struct redo_disk_op *op, uint64_t from, uint64_t len)
{
	if (op->what == DISK_PUNCH) {
		if (op->off < d->size)
			memset(d->bytes + op->off, 0, MIN(op->len, d->size - op->off));
	} else if (op->what == DISK_WRITE && len) {
		reach(d, op->off + from + len);
		memcpy(d->bytes + op->off + from, op->data + from, len);
	}
}

static void note(struct redo_disk *d, int what, uint64_t off, uint64_t len, const void *data)
{
	if (!d->recording)
		return;
	if (array_grow(&d->ops, &d->ops_cap, d->nops + 1, sizeof(*d->ops)) < 0)
		abort();
	d->ops[d->nops] = (struct redo_disk_op){ .what = what, .off = off, .len = len };
	if (data) {
		d->ops[d->nops].data = need(malloc(len));
		memcpy(d->ops[d->nops].data, data, len);
	}
	d->nops++;
}

static int fails(struct redo_disk *d)
{
	if (!d->fail_at)
		return 0;
	if (d->fail_at > 1) {
		d->fail_at--;
		return 0;
	}
	if (d->fail_once)
		d->fail_at = 0;
	return -EIO;
}

/* --- room ----------------------------------------------------------------------------------------- */

enum { BLOCK = 4096 };

/* How many bytes of [off, off + len) there is room for; as many blocks more are held then. */
static uint64_t hold(struct redo_disk *d, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, k = off / BLOCK, n = (end + BLOCK - 1) / BLOCK;

	if (n > d->held_cap) {
		d->held = need(realloc(d->held, n + 4096));
		memset(d->held + d->held_cap, 0, n + 4096 - d->held_cap);
		d->held_cap = n + 4096;
	}
	for (; k < n && (d->held[k] || !d->room || d->nheld < d->room); k++) {
		d->nheld += !d->held[k];
		d->held[k] = 1;
	}
	return k < n ? MAX(k * BLOCK, off) - off : len;
}

static void let_go(struct redo_disk *d, uint64_t off, uint64_t len)
{
	for (uint64_t k = (off + BLOCK - 1) / BLOCK; k < MIN((off + len) / BLOCK, d->held_cap); k++) {
		d->nheld -= d->held[k];
		d->held[k] = 0;
	}
}

static int disk_reserve(struct redo_store *s, uint64_t off, uint64_t len)
{
	struct redo_disk *d = ((struct disk_store *)s)->d;
	int r;

	pthread_mutex_lock(&d->lock);
	r = d->cannot_reserve ? -EOPNOTSUPP : fails(d);
	if (r == 0 && ((d->full_at && off + len > d->full_at) || hold(d, off, len) < len))
		r = -ENOSPC;
	pthread_mutex_unlock(&d->lock);
	return r;
}

/* --- calls ------------------------------------------------------------------------------------------ */

static int disk_pread(struct redo_store *s, void *buf, size_t len, uint64_t off)
{
	struct redo_disk *d = ((struct disk_store *)s)->d;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	d->reads++;
	if (off > d->size || len > d->size - off)
		r = -EIO;
	else if (len)
		memcpy(buf, d->bytes + off, len);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int disk_pwrite(struct redo_store *s, const void *buf, size_t len, uint64_t off)
{
	struct redo_disk *d = ((struct disk_store *)s)->d;
	struct redo_disk_op op = { .what = DISK_WRITE, .off = off, .len = len, .data = (uint8_t *)buf };
	int r;

	pthread_mutex_lock(&d->lock);
	r = d->read_only ? -EROFS : fails(d);
	d->writes++;
	if (r == 0 && d->full_at && off + len > d->full_at) {
		r = -ENOSPC;
		op.len = off < d->full_at ? d->full_at - off : 0;
	} else if (r == -EIO) {
		op.len /= 2;       /* some of it is there all the same */
	}
	if (r != -EROFS) {
		uint64_t fits = hold(d, off, op.len);

		r = fits < op.len ? -ENOSPC : r;
		op.len = fits;
	}
	if (r != -EROFS && op.len) {
		note(d, DISK_WRITE, off, op.len, buf);
		redo_disk_play(d, &op, 0, op.len);
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int disk_sync(struct redo_store *s)
{
	struct redo_disk *d = ((struct disk_store *)s)->d;
	int r;

	if (d->at_sync)
		d->at_sync(d->at_sync_ctx);
	if (d->sync_us)
		usleep(d->sync_us);
	pthread_mutex_lock(&d->lock);
	r = fails(d);
	d->syncs++;
	if (r == 0)
		note(d, DISK_SYNC, 0, 0, NULL);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int disk_punch(struct redo_store *s, uint64_t off, uint64_t len)
{
	struct redo_disk *d = ((struct disk_store *)s)->d;
	const struct redo_disk_op op = { .what = DISK_PUNCH, .off = off, .len = len };
	int r;

	pthread_mutex_lock(&d->lock);
	r = fails(d);
	if (r == 0) {
		note(d, DISK_PUNCH, off, len, NULL);
		let_go(d, off, len);
		redo_disk_play(d, &op, 0, len);
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int disk_size(struct redo_store *s, uint64_t *ret)
{
	struct redo_disk *d = ((struct disk_store *)s)->d;

	pthread_mutex_lock(&d->lock);
	*ret = d->size;
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static void disk_close(struct redo_store *s)
{
	free(s);
}

struct redo_store *redo_disk_store(struct redo_disk *d)
{
	struct disk_store *s = need(calloc(1, sizeof(*s)));

	s->s = (struct redo_store){ disk_pread, disk_pwrite, disk_sync, disk_punch,   disk_reserve,
				    disk_size,  disk_close,  NULL,      d->read_only, NULL };
	s->d = d;
	return &s->s;
}
