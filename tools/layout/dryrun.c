/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a layout would do: its plan, batch by batch, without a byte written. What the target can hold is not asked, since
 * that takes a hidden file. */
#include <stdint.h>
#include <string.h>

#include "base/util.h"
#include "layout/place.h"

struct dry {
	struct layout *l;
	struct stream s;
	layout_step_fn *fn;
	void *ctx;
};

/* A batch of rows: those that are laid out with it. */
static int count_rows(struct dry *d, const struct plan_batch *b, uint32_t sub, struct layout_step *step)
{
	const struct plan_sub *ps = &d->l->plan->subs[sub];
	uint32_t part = b->part;
	uint64_t at = b->at;

	for (uint32_t n = 0; n < b->n; n++, at++) {
		struct where w = { .sub = sub };
		struct file f;
		int lost, r;

		if (stream_stops(&d->s))
			return ply_fail(&d->s.err, -ECANCELED, PLY_R_CANCELLED, "interrupted");
		if (at == ps->parts[part].end)
			at = ps->parts[++part].first;
		w.at = at;
		w.dir = ps->parts[part].dir;
		r = place_look_up(&d->s, &f, &w, &lost);
		if (r < 0)
			return r;
		if (!r || plan_find_big(d->l->plan, sub, at))
			continue;
		step->n++;
		r = place_bytes(&d->s, &f, 0, UINT64_MAX, &step->bytes);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The first piece of a big file counts its name. */
static int count_piece(struct dry *d, const struct plan_batch *b, struct layout_step *step)
{
	const struct plan_big *big = &d->l->plan->bigs[b->big - 1];
	const struct where w = { .at = big->at, .dir = big->dir, .sub = big->sub };
	struct file f;
	int lost, r = place_look_up(&d->s, &f, &w, &lost);

	if (r <= 0)
		return r;
	step->n = b->at == 0;
	return place_bytes(&d->s, &f, b->at, b->end, &step->bytes);
}

static int tell_sub(struct dry *d, uint32_t sub)
{
	struct ply_view *view = d->l->plan->view;
	const struct plan_sub *ps = &d->l->plan->subs[sub];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ps->nbatches; i++) {
		const struct plan_batch *b = &ps->batches[i];
		struct layout_step step = {
			.phase = sub ? PHASE_OTHERS : PHASE_OS,
			.stream = ply_image_sub_info(ply_view_image(view), ply_view_sub(view, sub))->name,
		};

		r = b->big ? count_piece(d, b, &step) : count_rows(d, b, sub, &step);
		if (r == 0)
			r = d->fn(d->ctx, &step);
	}
	return r;
}

static int tell_links(struct dry *d)
{
	const struct plan *plan = d->l->plan;
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->nlink_batches; i++) {
		struct layout_step step = { .phase = PHASE_LINKS, .stream = layout_phase_names[PHASE_LINKS] };

		for (uint64_t k = plan->link_batches[i].at; k < plan->link_batches[i].end; k++)
			step.n += k && plan->links[k].ino == plan->links[k - 1].ino;
		r = d->fn(d->ctx, &step);
	}
	return r;
}

static int tell(struct dry *d)
{
	const struct plan *plan = d->l->plan;
	struct layout_step step = { .phase = PHASE_DIRECTORIES, .stream = layout_phase_names[PHASE_DIRECTORIES],
				    .n = plan->ndirs - 1 };
	int r = d->fn(d->ctx, &step);

	for (uint32_t i = 0; r == 0 && i < plan->nsubs; i++)
		r = tell_sub(d, i);
	if (r == 0)
		r = tell_links(d);
	step = (struct layout_step){ .phase = PHASE_METADATA, .stream = layout_phase_names[PHASE_METADATA],
				     .n = plan->ndirs };
	return r == 0 ? d->fn(d->ctx, &step) : r;
}

int layout_dry_run(struct ply_view *view, const char *path, const struct layout_options *o, layout_step_fn *fn,
		   void *ctx, uint8_t ret_digest[32], struct ply_err *err)
{
	struct target target;
	struct layout l = { .target = &target, .o = o };
	struct dry d = { .l = &l, .fn = fn, .ctx = ctx };
	int r = target_look(&target, path, err);

	if (r < 0)
		return r;
	l.limits.name_len = l.limits.file_size = l.limits.symlink_len = l.limits.links = UINT64_MAX;
	state_init(&l.state, &target, false);
	r = state_find(&l.state, false, err);
	if (r == 0)
		r = layout_check_new(&l, err);
	if (r == 0)
		r = layout_plan(&l, view, err);
	if (r == 0 && plan_digest(l.plan, ret_digest) < 0)
		r = ply_fail_nomem(err);
	if (r == 0) {
		stream_init(&d.s, &l, DIRFDS_MIN);
		d.s.err = (struct ply_err){ 0 };
		r = tell(&d);
		if (r < 0 && err)
			*err = d.s.err;
		stream_done(&d.s);
	}
	plan_free(l.plan);
	state_close(&l.state);
	target_close(&target);
	return r;
}
