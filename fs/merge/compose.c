/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three-way of content: see compose.h.
 *
 * What changed on one side only needs no look at the text at all. What changed on both goes to the driver of the path;
 * without one, to diff3 where there is a base, and is appended where there is none.
 *
 * That twice is once is tried each time, not believed: a line that stands in a text many times can be found at another
 * place the second time, and so can a record in a file that has its key twice. Then it is a clash.
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
	return span_is(span_from((struct span){ b->data, b->len }, begin), text);
}

static int clash(const char *path, enum merge_why why, enum merge_why *ret_why, struct ply_err *err)
{
	*ret_why = why;
	return ply_fail(err, -ENOTUNIQ, PLY_R_MERGE_CLASH, "%s: %s", path, merge_why_text(why));
}

static int by_driver(const struct merge_driver *d, const char *path, enum merge_prefer prefer, struct span base,
		     struct span ours, struct span theirs, struct buf *out, enum merge_why *ret_why, struct ply_err *err)
{
	int r = d->compose ? d->compose(path, base, ours, theirs, out, err) :
			     items_merge(d, path, base, ours, theirs, prefer, out, err);

	if (prefer && r < 0 && r != -ENOMEM) {
		struct span all = prefer == MERGE_PREFER_OURS ? ours : theirs;

		r = buf_add(out, all.s, all.len) < 0 ? ply_fail_nomem(err) : 0;
	}
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

struct how {
	const char *path;
	const struct merge_driver *d;      /* NULL: none */
	enum merge_prefer prefer;
};

static int compose(const struct how *h, struct span base, struct span ours, struct span theirs, struct buf *out,
		   enum merge_why *ret_why, struct ply_err *err)
{
	const char *path = h->path;
	size_t begin = out->len;
	int r;

	if (ours.len > MERGE_FILE_MAX || theirs.len > MERGE_FILE_MAX || (base.s && base.len > MERGE_FILE_MAX))
		return clash(path, MERGE_WHY_SIZE, ret_why, err);
	if (!h->d)
		return base.s ? by_lines(path, base, ours, theirs, out, ret_why, err) :
				by_appending(path, ours, theirs, out, ret_why, err);
	r = by_driver(h->d, path, h->prefer, base, ours, theirs, out, ret_why, err);
	/* where ours is no more than another way to write the base, ours it is: the base would give way to theirs */
	if (r == 0 && base.s && holds(out, begin, base)) {
		out->len = begin;
		r = buf_add(out, ours.s, ours.len) < 0 ? ply_fail_nomem(err) : 0;
	}
	return r;
}

/* Is there nothing to be done? */
static bool take_one(struct span base, struct span ours, struct span theirs, struct span *ret)
{
	bool one = span_is(ours, theirs) || (base.s && span_is(theirs, base));

	*ret = one ? ours : theirs;
	return one || (base.s && span_is(ours, base));
}

/* That merging @result with theirs once more gives it again. */
static int check_twice(const struct how *h, struct span base, struct span result, struct span theirs,
		       enum merge_why *ret_why, struct ply_err *err)
{
	_cleanup_buf_ struct buf again = { 0 };
	enum merge_why why;
	struct span one;
	int r = 0;

	if (take_one(base, result, theirs, &one) ? span_is(one, result) :
	    (r = compose(h, base, result, theirs, &again, &why, err)) == 0 && holds(&again, 0, result))
		return 0;
	return r == -ENOMEM ? r : clash(h->path, h->d ? MERGE_WHY_RECORD : MERGE_WHY_OVERLAP, ret_why, err);
}

static int merge(const struct how *h, struct span base, struct span ours, struct span theirs, struct buf *out,
		 enum merge_why *ret_why, struct ply_err *err)
{
	enum merge_why why = MERGE_WHY_NONE;
	size_t begin = out->len;
	struct span one;
	int r;

	if (take_one(base, ours, theirs, &one)) {
		r = buf_add(out, one.s, one.len) < 0 ? ply_fail_nomem(err) : 0;
	} else {
		r = compose(h, base, ours, theirs, out, &why, err);
		if (r == 0)
			r = check_twice(h, base, span_from((struct span){ out->data, out->len }, begin), theirs, &why, err);
	}
	if (r < 0)
		out->len = begin;
	if (ret_why)
		*ret_why = why;
	return r;
}

int merge_compose(const char *path, const struct merge_driver *force, struct span base, struct span ours,
		  struct span theirs, struct buf *out, enum merge_why *ret_why, struct ply_err *err)
{
	const struct how h = { path, force ? force : merge_driver_for(path), MERGE_PREFER_NONE };

	return merge(&h, base, ours, theirs, out, ret_why, err);
}

int merge_compose_for(const char *path, enum merge_prefer prefer, struct span base, struct span ours, struct span theirs,
		      struct buf *out, enum merge_why *ret_why, struct ply_err *err)
{
	const struct how h = { path, merge_driver_for(path), prefer };

	return merge(&h, base, ours, theirs, out, ret_why, err);
}
