/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A text is looked for at each beginning of a line behind which, at its length, a line ends too; so it is hashed at few
 * places. Who makes a file for which that is not so gets the answer that the text is not there: it then stays.
 *
 * Rejected: keeping places as offsets (what stands before a text is edited, and taken out), and the texts themselves (the
 * file has them).
 */
#include "layout/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"

#define HASHED_MAX ((uint64_t)1 << 30)

void part_of(struct span text, struct change_part *ret)
{
	ret->len = text.len;
	xxh128_once(text.s, text.len, ret->digest);
}

bool part_is(const struct change_part *a, const struct change_part *b)
{
	return a->len == b->len && !memcmp(a->digest, b->digest, sizeof(a->digest));
}

static bool is_at(struct span text, size_t at, const struct change_part *part)
{
	struct change_part is;

	part_of((struct span){ text.s + at, part->len }, &is);
	return part_is(&is, part);
}

size_t part_find(struct span text, const struct change_part *part)
{
	uint64_t hashed = 0;

	for (size_t at = 0; part->len && text.len >= part->len && at <= text.len - part->len;) {
		size_t end = at + part->len;
		const uint8_t *next;

		if (end == text.len || text.s[end - 1] == '\n' || text.s[end] == '\n') {
			hashed += part->len;
			if (hashed > HASHED_MAX)
				return SIZE_MAX;
			if (is_at(text, at, part))
				return at;
		}
		next = memchr(text.s + at, '\n', text.len - at);
		if (!next)
			return SIZE_MAX;
		at = (size_t)(next - text.s) + 1;
	}
	return SIZE_MAX;
}

size_t part_find_own(struct span text, const struct change_part *part, const struct change_part *others, size_t nothers,
		     bool *ret_within)
{
	size_t from = 0, at;

	*ret_within = false;
	while ((at = part_find(span_from(text, from), part)) != SIZE_MAX) {
		size_t end = 0;

		at += from;
		for (size_t i = 0; i < nothers; i++) {
			size_t of = others[i].len > part->len ? part_find(text, &others[i]) : SIZE_MAX;

			if (of <= at && at + part->len <= of + others[i].len)
				end = MAX(end, of + others[i].len);
		}
		if (!end)
			return at;
		*ret_within = true;
		from = end;        /* where a line begins, but for the end of a text without one */
		if (from < text.len && text.s[from - 1] != '\n')
			from++;
	}
	return SIZE_MAX;
}

/* Where one of @others stands in what is cut out, and nowhere else. */
struct stay {
	size_t at, len;
};

static int by_place(const void *a, const void *b)
{
	const struct stay *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return (x->len < y->len) - (x->len > y->len);      /* the longer one first: it may hold the other */
}

static size_t find_stays(struct span left, struct span cut, struct span right, const struct change_part *others, size_t n,
			 struct stay *ret)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		size_t at = part_find(cut, &others[i]);

		if (at != SIZE_MAX && part_find(left, &others[i]) == SIZE_MAX && part_find(right, &others[i]) == SIZE_MAX)
			ret[found++] = (struct stay){ at, others[i].len };
	}
	if (found)
		qsort(ret, found, sizeof(*ret), by_place);
	return found;
}

/* Behind a line end. */
static int add_lines(struct buf *out, size_t begin, struct span text)
{
	if (text.len && out->len > begin && out->data[out->len - 1] != '\n' && buf_add(out, "\n", 1) < 0)
		return -ENOMEM;
	return text.len ? buf_add(out, text.s, text.len) : 0;
}

/* Is @part the end of @text, but for the line end behind it? */
static bool is_last(struct span text, const struct change_part *part)
{
	size_t at = text.len - 1 - part->len;

	return part->len && part->len < text.len && (!at || text.s[at - 1] == '\n') && is_at(text, at, part);
}

int part_cut(struct span text, size_t at, const struct change_part *part, const struct change_part *others, size_t nothers,
	     const struct change_part *before, struct buf *out)
{
	_cleanup_free_ struct stay *stays = calloc(nothers + 1, sizeof(*stays));
	struct span cut = { text.s + at, part->len }, left = { text.s, at }, right = span_from(text, at + part->len);
	size_t n, begin = out->len, done = 0;
	int r = stays && (!left.len || buf_add(out, left.s, left.len) == 0) ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	if (right.len && cut.s[cut.len - 1] != '\n')
		right = span_from(right, 1);       /* the line end that was put behind it */
	n = find_stays(left, cut, right, others, nothers, stays);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (stays[i].at < done)
			continue;
		r = add_lines(out, begin, (struct span){ cut.s + stays[i].at, stays[i].len });
		done = stays[i].at + stays[i].len;
	}
	if (r == 0)
		r = add_lines(out, begin, right);
	if (r < 0 || right.len || done || out->len == begin || out->data[out->len - 1] != '\n')
		return r;
	text = span_from((struct span){ out->data, out->len }, begin);
	for (size_t i = 0; i < nothers; i++)
		if (is_last(text, &others[i])) {
			out->len--;
			return 0;
		}
	if (before && is_last(text, before))
		out->len--;
	return 0;
}
