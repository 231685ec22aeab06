/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking out what a failed layout has made, and nothing else: names by the plan, as far as
 * each batch says that it came, then directories from the leaves up. What another process has
 * put there meanwhile stays, and with it the directories above it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/engine.h"

struct undo {
	struct layout *l;
	struct stream s;
	uint64_t left;
};

static void take_out(struct undo *u, uint32_t dir, const struct name *name, int flags)
{
	int fd = stream_dir(&u->s, dir);

	if (fd < 0 || (unlinkat(fd, name->text, flags) < 0 && errno != ENOENT))
		u->left++;
}

/* Directories that have got their own mode may keep us out. */
static void reopen_directories(struct undo *u)
{
	struct plan *plan = u->l->plan;

	fchmod(u->l->target->fd, 0700);
	for (size_t d = 1; d < u->l->dirs_made; d++) {
		char path[64];
		int fd;

		if (plan->dirs[d].left_out)
			continue;
		fd = stream_dir(&u->s, (uint32_t)d);
		if (fd < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);   /* O_PATH: no fchmod */
		chmod(path, 0700);
	}
}

static void take_out_links(struct undo *u)
{
	struct plan *plan = u->l->plan;

	for (size_t b = 0; b < plan->nlink_batches; b++) {
		const struct plan_batch *batch = &plan->link_batches[b];

		for (uint32_t i = 0; i < batch->made; i++) {
			const struct plan_link *link = &plan->links[batch->at + i];
			struct ply_entry e;
			struct name name;

			if (link == plan_link_first(plan, link->ino))
				continue;
			if (sub_entry(plan->subs[link->sub].sub, link->at, &e, NULL) < 0 ||
			    place_name(&name, e.name, e.name_len, NULL) < 0)
				u->left++;
			else if (!plan->dirs[link->dir].left_out)
				take_out(u, link->dir, &name, 0);
		}
	}
}

static void take_out_batch(struct undo *u, uint32_t i, const struct plan_batch *b)
{
	const struct plan_sub *ps = &u->l->plan->subs[i];
	uint32_t part = b->part;
	uint64_t at = b->at;

	for (uint32_t n = 0; !b->big && n < b->made; n++, at++) {
		struct where w = { .sub = i };
		struct name name;
		int r;

		if (at == ps->parts[part].end)
			at = ps->parts[++part].first;
		w.at = at;
		w.dir = ps->parts[part].dir;
		r = place_made(&u->s, &w, &name);
		if (r > 0)
			take_out(u, w.dir, &name, 0);
		else if (r < 0)
			u->left++;
	}
}

static void take_out_bigs(struct undo *u)
{
	struct plan *plan = u->l->plan;

	for (size_t i = 0; i < plan->nbigs; i++) {
		struct plan_big *b = &plan->bigs[i];
		struct ply_entry e;
		struct name name;

		cleanup_close(&b->fd);
		b->fd = -1;
		if (!b->made)
			continue;
		if (sub_entry(plan->subs[b->sub].sub, b->at, &e, NULL) < 0 ||
		    place_name(&name, e.name, e.name_len, NULL) < 0)
			u->left++;
		else
			take_out(u, b->dir, &name, 0);
	}
}

uint64_t undo(struct layout *l)
{
	struct undo u = { .l = l };
	struct plan *plan = l->plan;

	stream_init(&u.s, l, DIRFDS_MAX);
	if (l->finishing)
		reopen_directories(&u);
	take_out_links(&u);
	for (uint32_t i = 0; i < plan->nsubs; i++)
		for (size_t b = 0; b < plan->subs[i].nbatches; b++)
			take_out_batch(&u, i, &plan->subs[i].batches[b]);
	take_out_bigs(&u);
	for (size_t d = l->dirs_made; d-- > 1;) {
		struct name name;

		if (plan->dirs[d].left_out)
			continue;
		if (place_name(&name, plan->dirs[d].name, plan->dirs[d].name_len, NULL) < 0)
			u.left++;
		else
			take_out(&u, plan->dirs[d].parent, &name, AT_REMOVEDIR);
	}
	stream_done(&u.s);
	return u.left;
}
