/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which sub-images a selection is, and which of them stand on which.
 *
 * What an overlay stands on is what opening a view with its names gives: requirements come along. That
 * set tells everything else: an overlay hides what those have, and is compared with nothing of theirs.
 * Ranks of the set are lower, so nothing stands on itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"
#include "tree/view_impl.h"

/* Requirements that may be followed for all overlays of a selection together. */
#define STEPS_MAX (1u << 28)

static int unknown_name(struct ply_image *im, const char *name, struct ply_err *err)
{
	struct buf list = { 0 };
	int r;

	for (uint32_t i = 0; i < ply_image_nsubs(im); i++)
		if (buf_printf(&list, "%s%s", i ? ", " : "", ply_image_sub_info(im, i)->name) < 0)
			break;
	r = ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN, "there is no sub-image %s; the image holds %.*s",
		     name, (int)list.len, (const char *)list.data);
	buf_done(&list);
	return r;
}

struct choice {
	struct ply_image *im;
	bool *selected;
	uint32_t *todo, ntodo;     /* selected, and what they certainly require not looked at */
	uint32_t *open, nopen;     /* selected, in that order: their alternatives come later */
	struct map names;          /* hash -> position */
	uint64_t steps;            /* requirements looked at */
};

static uint64_t name_hash(const char *name)
{
	return xxh3(name, strlen(name), 0);
}

static bool find_name(const struct choice *c, const char *name, uint32_t *ret)
{
	uint64_t h = name_hash(name);

	for (size_t i = map_first(&c->names, h); i != MAP_END; i = map_next(&c->names, h, i)) {
		*ret = (uint32_t)c->names.slots[i].value;
		if (!strcmp(ply_image_sub_info(c->im, *ret)->name, name))
			return true;
	}
	return false;
}

static void select_sub(struct choice *c, uint32_t pos)
{
	if (c->selected[pos])
		return;
	c->selected[pos] = true;
	c->todo[c->ntodo++] = pos;
	c->open[c->nopen++] = pos;
}

/* The group of requirements of @s that begins at @k: its end; how many of it are in the image, the
 * first of them, and whether one is selected. */
static uint32_t look_at_group(const struct choice *c, const struct ply_sub_info *s, uint32_t k,
			      uint32_t *ret_known, uint32_t *ret_first, bool *ret_met)
{
	uint32_t end = k, pos;

	*ret_known = 0;
	*ret_met = false;
	for (; end < s->nrequires && s->require_groups[end] == s->require_groups[k]; end++) {
		if (!find_name(c, s->requires[end], &pos))
			continue;
		if (!(*ret_known)++)
			*ret_first = pos;
		*ret_met |= c->selected[pos];
	}
	return end;
}

/* Of @pos what it requires without a choice, or, with @choose, one of each group of which none is
 * selected: the first. */
static int follow(struct choice *c, uint32_t pos, bool choose, struct ply_err *err)
{
	const struct ply_sub_info *s = ply_image_sub_info(c->im, pos);

	c->steps += s->nrequires + 1;
	for (uint32_t k = 0, end; k < s->nrequires; k = end) {
		uint32_t known, first;
		bool met;

		end = look_at_group(c, s, k, &known, &first, &met);
		if (!known)
			return ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN,
					"sub-image %s requires %s, which the image does not hold", s->name,
					s->requires[k]);
		if (!met && (choose || end - k == 1))
			select_sub(c, first);
	}
	return 0;
}

/* All that the selected ones require; what is certain before what is chosen. */
static int close_choice(struct choice *c, struct ply_err *err)
{
	int r = 0;

	for (uint32_t at = 0; r == 0 && (c->ntodo || at < c->nopen);)
		r = c->ntodo ? follow(c, c->todo[--c->ntodo], false, err) : follow(c, c->open[at++], true, err);
	return r;
}

static void choice_done(struct choice *c)
{
	free(c->todo);
	free(c->open);
	map_done(&c->names);
}

static int choice_init(struct choice *c, struct ply_image *im, bool *selected, struct ply_err *err)
{
	uint32_t nsubs = ply_image_nsubs(im);
	int r = 0;

	*c = (struct choice){ .im = im, .selected = selected };
	c->todo = malloc(nsubs * sizeof(*c->todo));
	c->open = malloc(nsubs * sizeof(*c->open));
	if (!c->todo || !c->open)
		r = -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < nsubs; i++)
		r = map_add(&c->names, name_hash(ply_image_sub_info(im, i)->name), i);
	if (r == 0)
		return 0;
	choice_done(c);
	return ply_fail_nomem(err);
}

static int choose(struct choice *c, const char *const *names, size_t n, struct ply_err *err)
{
	uint32_t pos;

	select_sub(c, 0);          /* os has rank 0 */
	for (size_t i = 0; i < n; i++) {
		if (!find_name(c, names[i], &pos))
			return unknown_name(c->im, names[i], err);
		select_sub(c, pos);
	}
	return close_choice(c, err);
}

int view_select(struct ply_image *im, const char *const *names, size_t n, bool *selected, struct ply_err *err)
{
	struct choice c;
	int r;

	if (!n) {
		memset(selected, 1, ply_image_nsubs(im));
		return 0;
	}
	r = choice_init(&c, im, selected, err);
	if (r < 0)
		return r;
	r = choose(&c, names, n, err);
	choice_done(&c);
	return r;
}

/* --- what overlays stand on ---------------------------------------------------- */

static int closure(struct ply_view *v, struct vsub *s, struct choice *c, struct ply_err *err)
{
	const struct ply_sub_info *info = ply_image_sub_info(v->image, s->pos);
	int r = choose(c, info->stands_on, info->nstands_on, err);

	if (r == 0 && c->steps > STEPS_MAX)
		r = ply_fail(err, -EUCLEAN, PLY_R_LIMIT, "sub-images with more than %u requirements of what they stand on",
			     STEPS_MAX);
	s->closure = calloc((v->nsubs + 63) / 64, sizeof(*s->closure));
	if (!s->closure)
		return ply_fail_nomem(err);
	for (uint32_t k = 0; k < c->nopen; k++) {
		uint32_t i = v->by_number[ply_image_sub_info(v->image, c->open[k])->number];

		c->selected[c->open[k]] = false;
		if (r == 0 && c->open[k] >= s->pos)
			r = ply_fail(err, -EUCLEAN, PLY_R_PARENT, "sub-image %s stands on %s, which comes behind it",
				     info->name, ply_image_sub_info(v->image, c->open[k])->name);
		if (i)
			s->closure[(i - 1) / 64] |= 1ULL << (i - 1) % 64;
	}
	c->nopen = 0;
	c->ntodo = 0;
	return r;
}

int view_closures(struct ply_view *v, struct ply_err *err)
{
	_cleanup_free_ bool *selected = calloc(ply_image_nsubs(v->image), sizeof(*selected));
	struct choice c;
	int r;

	if (!selected)
		return ply_fail_nomem(err);
	r = choice_init(&c, v->image, selected, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; r == 0 && i < v->nsubs; i++)
		if (v->subs[i].overlay)
			r = closure(v, &v->subs[i], &c, err);
	choice_done(&c);
	if (r == -ENOENT && err)   /* of names that the image itself has */
		err->code = -EUCLEAN;
	return r == -ENOENT ? -EUCLEAN : r;
}
