/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: the plan of a layout, from an image of any bytes. What the plan says must refer to rows
 * that exist: the streams believe it. First byte: bit 0 makes checksums right first, bit 1 selects
 * only the first sub-image.
 */
#include "fuzz.h"
#include "image_mutate.h"
#include "io/io.h"
#include "layout/plan.h"
#include "repair.h"

static struct ply_err err;         /* messages are part of what is tested */

static void need(int fact)
{
	if (!fact)
		abort();
}

static int see_extent(void *ctx, const struct ply_extent *e, struct ply_err *why)
{
	uint64_t *n = ctx;

	(void)why;
	need(e->len > 0);
	return ++*n > 1000;
}

static void see_sub(const struct plan *p, uint32_t i)
{
	const struct plan_sub *s = &p->subs[i];

	for (size_t k = 0; k < s->nparts; k++)
		need(s->parts[k].dir < p->ndirs && s->parts[k].first <= s->parts[k].end &&
		     s->parts[k].end <= sub_limits(s->sub)->entries);
	for (size_t k = 0; k < s->nbatches; k++) {
		const struct plan_batch *b = &s->batches[k];

		if (b->big)
			need(b->big <= p->nbigs && b->at < b->end);
		else
			need(b->part < s->nparts && b->at >= s->parts[b->part].first);
	}
}

static void see_big(const struct plan *p, const struct plan_big *b)
{
	struct sub *sub = p->subs[b->sub].sub;
	struct ply_entry e;
	struct ply_node n;
	uint64_t count = 0;

	need(plan_find_big(p, b->sub, b->at) != NULL);
	if (sub_entry(sub, b->at, &e, &err) == 0 && sub_node(sub, PLY_INO_INDEX(e.ref), &n, &err) == 0)
		plan_extents(sub, &n, 0, n.size, see_extent, &count, &err);
}

static void see(const struct plan *p)
{
	char path[256];

	for (size_t i = 0; i < p->ndirs; i++) {
		const struct where w = { WHERE_DIR, (uint32_t)i, 0 };

		need(i == 0 || p->dirs[i].parent < i);
		if (i)
			touch(p->dirs[i].name, p->dirs[i].name_len);
		if (i < 100)
			plan_path(p, &w, path, sizeof(path));
	}
	for (uint32_t i = 0; i < p->nsubs; i++)
		see_sub(p, i);
	for (size_t i = 0; i < p->nlinks; i++)
		need(p->links[i].sub < p->nsubs && p->links[i].dir < p->ndirs &&
		     p->links[i].at < sub_limits(p->subs[p->links[i].sub].sub)->entries &&
		     plan_link_first(p, p->links[i].ino) != NULL);
	for (size_t i = 0; i < p->nlink_batches; i++)
		need(p->link_batches[i].at <= p->link_batches[i].end && p->link_batches[i].end <= p->nlinks);
	for (size_t i = 0; i < p->nbigs; i++)
		see_big(p, &p->bigs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ply_image *image = NULL;
	struct ply_view *view = NULL;
	struct plan *plan;
	const char *first = "os";
	uint8_t *copy;
	struct io *io;

	if (size < 2)
		return 0;
	copy = malloc(size - 1);
	if (!copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		repair_image(copy, size - 1);
	if (io_open_memory(copy, size - 1, &io, &err) == 0 && ply_image_open_io(io, 0, &image, &err) == 0 &&
	    ply_view_open(image, &first, data[0] & 2 ? 1 : 0, 1 << 20, &view, &err) == 0 &&
	    plan_new(view, 4096, NULL, &plan, &err) == 0) {
		see(plan);
		plan_free(plan);
	}
	ply_view_close(view);
	ply_image_close(image);
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return image_mutate(data, size, max, seed);
}
