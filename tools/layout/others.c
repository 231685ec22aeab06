/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/others.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static const struct change_side *in_place(const struct change *row)
{
	return row->kind == CHANGE_KEEP ? &row->before : &row->after;
}

/* A whole file that was made, or found, is a text of its component. */
static bool whole_part(const struct change *row, struct change_part *ret)
{
	const struct change_side *s = in_place(row);

	if ((row->kind != CHANGE_MAKE && row->kind != CHANGE_KEEP) || !S_ISREG(s->mode) || row->flags & CHANGE_LOST)
		return false;
	ret->len = s->size;
	memcpy(ret->digest, s->digest, sizeof(ret->digest));
	return true;
}

static int add_part(struct others *o, size_t *cap, const struct change_part *part)
{
	if (array_grow(&o->parts, cap, o->nparts + 1, sizeof(*o->parts)) < 0)
		return -ENOMEM;
	o->parts[o->nparts++] = *part;
	return 0;
}

static bool changes_the_same(const struct change *row, const struct change *to, const struct change_side *live)
{
	if (to->kind == CHANGE_KEEP && to->flags & CHANGE_SHARED)
		return !(to->flags & (CHANGE_PART | CHANGE_LOST)) && change_same(&to->before, live);
	return to->kind != CHANGE_MAKE && to->kind != CHANGE_KEEP && to->kind == row->kind &&
	       change_same(&to->after, &row->after) && change_same(&to->before, &row->before);
}

static int look_at(struct others *o, size_t *cap, const struct change *row, const struct change *to, const char *name,
		   const struct change_side *live)
{
	struct change_part part;

	o->n++;
	o->needs |= to->kind == CHANGE_KEEP && !(to->flags & ~CHANGE_INSIDE);
	o->shared |= to->flags & CHANGE_SHARED;
	o->same |= changes_the_same(row, to, live);
	o->wins |= to->flags & CHANGE_WINS;
	o->before |= change_same(in_place(to), &row->before);
	if (to->flags & CHANGE_LOST && to->kind == CHANGE_KEEP)
		o->lost = name;
	if (to->flags & CHANGE_PART) {
		o->appended = true;
		o->first = to->more->first;
		return add_part(o, cap, &to->more->own);
	}
	return whole_part(to, &part) && !change_is_unknown(part.digest) ? add_part(o, cap, &part) : 0;
}

int others_look(const struct kept *k, const char *component, const struct change *row, const struct change_side *live,
		struct others *ret)
{
	const struct change *to;
	const char *name;
	size_t at = 0, cap = 0;
	int r = 0;

	*ret = (struct others){ 0 };
	while (r == 0 && (to = kept_next(k, row->path, component, &at, &name)))
		r = look_at(ret, &cap, row, to, name, live);
	return r;
}

void others_done(struct others *o)
{
	free(o->parts);
}

bool others_have_attr(const struct kept *k, const char *component, const char *path, const struct change_side *live,
		      enum change_attr attr)
{
	const struct change *to;
	const char *name;

	for (size_t at = 0; (to = kept_next(k, path, component, &at, &name));)
		if (change_has_attr(to, attr) && (!live || change_same_attr(&to->after, live, attr)))
			return true;
	return false;
}

bool others_own_part(const struct others *o, const struct change *row, struct change_part *ret)
{
	if (row->flags & CHANGE_PART) {
		*ret = row->more->own;
		return true;
	}
	if (!whole_part(row, ret))
		return false;
	/* who laid it out did not read it; who appended to it did */
	if (change_is_unknown(ret->digest) && o->appended && o->first.len == ret->len)
		*ret = o->first;
	return !change_is_unknown(ret->digest);
}

bool others_have_part(const struct others *o, const struct change_part *part)
{
	for (size_t i = 0; i < o->nparts; i++)
		if (part_is(&o->parts[i], part))
			return true;
	return false;
}
