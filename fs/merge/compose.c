/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three-way of content: see compose.h.
 *
 * What changed on one side only needs no look at the text at all. What changed on both goes to the driver of the path;
 * without one, to diff3 where there is a base, and is appended where there is none. Twice is once: the drivers
 * and blocks keep that by the way they are built; of diff3 it is tried, because a line that stands in a text many times
 * can be found at another place the second time, and then it is a clash.
 */
#include "merge/compose.h"

#include <errno.h>

#include "base/util.h"
#include "merge/diff3.h"
#include "merge/items.h"
#include "merge/parse.h"

const char *merge_why_text(enum merge_why why)
{
	switch (why) {
#define X(name, number, text) \
	case MERGE_WHY_##name: \
		return text;
		MERGE_WHYS(X)
#undef X
	}
	return "an unknown reason";
}

static bool holds(const struct buf *b, size_t begin, struct span text)
{
	return span_is((struct span){ b->data + begin, b->len - begin }, text);
}

static int clash(const char *path, enum merge_why why, enum merge_why *ret_why, struct ply_err *err)
{
	*ret_why = why;
	return ply_fail(err, -ENOTUNIQ, PLY_R_MERGE_CLASH, "%s: %s", path, merge_why_text(why));
}

static int by_driver(const struct merge_driver *d, const char *path, struct span base, struct span ours,
		     struct span theirs, struct buf *out, enum merge_why *ret_why, struct ply_err *err)
{
	int r = d->compose ? d->compose(path, base, ours, theirs, out, err) :
			     items_merge(d, path, base, ours, theirs, out, err);

	if (r == 0 || r == -ENOMEM)
		return r;
	*ret_why = r == -ENOTUNIQ ? MERGE_WHY_RECORD : r == -EUCLEAN ? MERGE_WHY_UNKNOWN : MERGE_WHY_SIZE;
	if (r == -ENOTUNIQ)
		return r;
	if (r != -EUCLEAN)
		return clash(path, *ret_why, ret_why, err);
	ply_err_prefix(err, "%s", path);
	if (err) {
		err->code = -ENOTUNIQ;
		err->reason = PLY_R_MERGE_CLASH;
	}
	return -ENOTUNIQ;
}

/* Text only; what comes in one piece (keys, certificates) is not put together from lines of two. */
static int by_lines(const char *path, struct span base, struct span ours, struct span theirs, struct buf *out,
		    enum merge_why *ret_why, struct ply_err *err)
{
	const struct span sides[] = { ours, theirs };
	bool large;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		enum merge_why why = merge_sniff_why(merge_sniff(path, sides[i].s, sides[i].len));

		if (why == MERGE_WHY_BINARY || why == MERGE_WHY_SECRET || why == MERGE_WHY_SET)
			return clash(path, why, ret_why, err);
	}
	r = diff3_merge(base, ours, theirs, out, &large, err);
	if (r == -ENOTUNIQ)
		return clash(path, large ? MERGE_WHY_SIZE : MERGE_WHY_OVERLAP, ret_why, err);
	return r;
}

static int twice_is_once(const char *path, struct span base, struct span result, struct span theirs,
			 enum merge_why *ret_why, struct ply_err *err)
{
	_cleanup_buf_ struct buf again = { 0 };
	bool large;
	int r = span_is(result, theirs) ? 0 : diff3_merge(base, result, theirs, &again, &large, err);

	if (r == -ENOMEM || span_is(result, theirs) || (r == 0 && holds(&again, 0, result)))
		return r;
	return clash(path, MERGE_WHY_OVERLAP, ret_why, err);
}

static int by_appending(const char *path, struct span ours, struct span theirs, struct buf *out,
			enum merge_why *ret_why, struct ply_err *err)
{
	const struct span v[] = { ours, theirs };
	enum merge_why why;
	int r = merge_append_look(path, v, 2, false, &why, err);

	if (r == 0 && why)
		return clash(path, why, ret_why, err);
	return r == 0 ? merge_append(v, 2, NULL, out, err) : r;
}

int merge_compose(const char *path, const struct merge_driver *force, struct span base, struct span ours,
		  struct span theirs, struct buf *out, enum merge_why *ret_why, struct ply_err *err)
{
	const struct merge_driver *d = force ? force : merge_driver_for(path);
	enum merge_why why = MERGE_WHY_NONE;
	size_t begin = out->len;
	int r;

	if (span_is(ours, theirs) || (base.s && span_is(theirs, base))) {
		r = buf_add(out, ours.s, ours.len) < 0 ? ply_fail_nomem(err) : 0;
	} else if (base.s && span_is(ours, base)) {
		r = buf_add(out, theirs.s, theirs.len) < 0 ? ply_fail_nomem(err) : 0;
	} else if (ours.len > MERGE_FILE_MAX || theirs.len > MERGE_FILE_MAX || (base.s && base.len > MERGE_FILE_MAX)) {
		r = clash(path, MERGE_WHY_SIZE, &why, err);
	} else if (d) {
		r = by_driver(d, path, base, ours, theirs, out, &why, err);
		/* as ours is no more than another way to write the base, ours it is: the base would give way to theirs */
		if (r == 0 && base.s && holds(out, begin, base)) {
			out->len = begin;
			r = buf_add(out, ours.s, ours.len) < 0 ? ply_fail_nomem(err) : 0;
		}
	} else if (base.s) {
		r = by_lines(path, base, ours, theirs, out, &why, err);
		if (r == 0)
			r = twice_is_once(path, base, (struct span){ out->data + begin, out->len - begin }, theirs, &why, err);
	} else {
		r = by_appending(path, ours, theirs, out, &why, err);
	}
	if (r < 0)
		out->len = begin;
	if (ret_why)
		*ret_why = why;
	return r;
}
