/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What one stream keeps between files: open directories and decoded blocks.
 *
 * Neighbours in the order of nodes lie in one directory and share a block, so a few of each
 * are enough, and none is shared between threads: no lock is taken for a file. What two
 * streams both need (rare: a file equal to one in a far block) is decoded twice.
 *
 * A directory is opened relative to its nearest ancestor that is open, beneath it: no
 * symlink is followed, and nothing leads out of the target, whoever else is at work in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/engine.h"

#define LEVELS_MAX 32u

void stream_init(struct stream *s, struct layout *l, unsigned ndirfds)
{
	memset(s, 0, sizeof(*s));
	s->l = l;
	s->ndirfds = MIN(MAX(ndirfds, (unsigned)DIRFDS_MIN), (unsigned)DIRFDS_MAX);
	for (unsigned i = 0; i < DIRFDS_MAX; i++)
		s->dirfds[i].fd = -1;
}

void stream_forget(struct stream *s)
{
	for (unsigned i = 0; i < DIRFDS_MAX; i++) {
		cleanup_close(&s->dirfds[i].fd);
		s->dirfds[i].fd = -1;
	}
}

void stream_count_for(struct stream *s, uint32_t sub)
{
	struct progress_counters *c = s->l->o->progress;
	struct progress_stream *streams = c ? atomic_load(&c->streams) : NULL;
	struct progress_stream *to = streams && sub < c->nstreams ? &streams[sub] : NULL;

	if (to == s->of)
		return;
	if (s->of)
		atomic_fetch_sub(&s->of->threads, 1);
	if (to)
		atomic_fetch_add(&to->threads, 1);
	s->of = to;
}

void stream_done(struct stream *s)
{
	stream_count_for(s, UINT32_MAX);
	stream_forget(s);
	for (unsigned i = 0; i < STREAM_SLOTS; i++)
		free(s->slots[i].data);
	free(s->whole);
	free(s->value);
}

/* --- directories ----------------------------------------------------------------- */

static struct dirfd *find_dirfd(struct stream *s, uint32_t dir)
{
	for (unsigned i = 0; i < s->ndirfds; i++)
		if (s->dirfds[i].fd >= 0 && s->dirfds[i].dir == dir)
			return &s->dirfds[i];
	return NULL;
}

/* The slot that was used least recently, emptied; not @keep. */
static struct dirfd *spare_dirfd(struct stream *s, const struct dirfd *keep)
{
	struct dirfd *best = NULL;

	for (unsigned i = 0; i < s->ndirfds; i++) {
		struct dirfd *d = &s->dirfds[i];

		if (d == keep)
			continue;
		if (!best || d->fd < 0 || (best->fd >= 0 && d->used < best->used))
			best = d;
	}
	cleanup_close(&best->fd);
	best->fd = -1;
	return best;
}

/* Open @dir, @levels below @from (NULL: the target). */
static int open_below(struct stream *s, struct dirfd *from, uint32_t dir, unsigned levels)
{
	const struct plan_dir *dirs = s->l->plan->dirs;
	char path[LEVELS_MAX * (PLY_NAME_MAX + 1)];
	size_t at = sizeof(path);
	struct dirfd *to;
	uint32_t up = dir;
	int fd;

	for (; levels; levels--, up = dirs[up].parent) {
		path[--at] = '/';
		at -= dirs[up].name_len;
		memcpy(path + at, dirs[up].name, dirs[up].name_len);
	}
	to = spare_dirfd(s, from);
	fd = beneath_open(from ? from->fd : s->l->target->fd, path + at, sizeof(path) - 1 - at, O_PATH);
	if (fd < 0)
		return fd;
	if (from)
		from->used = ++s->clock;
	*to = (struct dirfd){ .dir = dir, .fd = fd, .used = ++s->clock };
	return fd;
}

/*
 * In steps of at most LEVELS_MAX, each half of what is left: so the directories on the way
 * stay open too, and going up a deep tree costs no more than going down.
 */
int stream_dir(struct stream *s, uint32_t dir)
{
	const struct plan_dir *dirs = s->l->plan->dirs;

	if (!dir)
		return s->l->target->fd;
	for (;;) {
		struct dirfd *from = NULL;
		unsigned levels = 0;
		uint32_t d;
		int fd;

		for (d = dir; d && !(from = find_dirfd(s, d)); d = dirs[d].parent)
			levels++;
		if (!levels) {
			from->used = ++s->clock;
			return from->fd;
		}
		if (levels <= LEVELS_MAX)
			return open_below(s, from, dir, levels);
		for (d = dir, levels /= 2; levels; levels--)
			d = dirs[d].parent;
		fd = stream_dir(s, d);
		if (fd < 0)
			return fd;
	}
}

/* --- blocks ------------------------------------------------------------------------- */

int stream_block(struct stream *s, struct sub *sub, uint64_t b, const struct ply_block *block,
		 const uint8_t **ret)
{
	struct slot *best = &s->slots[0];
	int r;

	for (unsigned i = 0; i < STREAM_SLOTS; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->sub == sub && slot->block == b && slot->size == block->size) {
			slot->used = ++s->clock;
			*ret = slot->data;
			return 0;
		}
		if (slot->used < best->used)
			best = slot;
	}
	if (!best->data)
		best->data = malloc(PLY_BLOCK_SIZE);
	if (!best->data)
		return ply_fail_nomem(&s->err);
	best->sub = NULL;
	r = sub_block_read(sub, b, block, best->data, &s->err);
	if (r < 0)
		return r;
	best->sub = sub;
	best->block = b;
	best->size = block->size;
	best->used = ++s->clock;
	*ret = best->data;
	return 0;
}

/* --- errors --------------------------------------------------------------------------- */

int stream_fail(struct stream *s, int code, const struct where *w, const char *what)
{
	enum ply_reason reason = PLY_R_TARGET_WRITE;
	const char *more = "";
	char path[640];

	plan_path(s->l->plan, w, path, sizeof(path));
	switch (code) {
	case -ENOSPC:
	case -EDQUOT:
		reason = PLY_R_TARGET_FULL;
		break;
	case -EEXIST:
		reason = PLY_R_TARGET_EXISTS;
		more = "; another process works in the target";
		break;
	case -ENOENT:
	case -ELOOP:
	case -ENOTDIR:
		more = "; another process has changed the target";
		break;
	}
	return ply_fail(&s->err, code, reason, "%s: cannot %s: %s%s", path, what, strerror(-code), more);
}

int stream_damaged(struct stream *s, int code, const struct where *w)
{
	char path[640];

	plan_path(s->l->plan, w, path, sizeof(path));
	ply_err_prefix(&s->err, "%s", path);
	return view_own(code, &s->err);
}
