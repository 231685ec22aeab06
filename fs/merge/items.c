/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared files three-way, record by record: see items.h.
 *
 * The result is ours with theirs worked in: a record stays where ours has it. That makes merging twice the same as
 * once: every record of theirs that counts stands in the first result, and is found there.
 */
#include "merge/items.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "codec/codec.h"
#include "merge/parse.h"

void items_done(struct items *t)
{
	free(t->v);
	map_done(&t->map);
	buf_done(&t->store);
	*t = (struct items){ 0 };
}

static uint64_t hash_of(const struct item *i, uint32_t nth)
{
	return xxh3(i->sub.s, i->sub.len, span_hash(i->key) + nth);
}

static struct item *find(const struct items *t, const struct item *like, uint32_t nth)
{
	uint64_t h = hash_of(like, nth);

	for (size_t i = map_first(&t->map, h); i != MAP_END; i = map_next(&t->map, h, i)) {
		struct item *item = &t->v[t->map.slots[i].value];

		if (item->nth == nth && span_is(item->key, like->key) && span_is(item->sub, like->sub))
			return item;
	}
	return NULL;
}

int items_add(struct items *t, struct item item)
{
	struct item *first;

	item.nth = item.many = 0;
	if (t->n >= MERGE_RECORDS_MAX)
		return -E2BIG;
	first = find(t, &item, 0);
	if (first)
		item.nth = ++first->many;
	if (array_grow(&t->v, &t->cap, t->n + 1, sizeof(*t->v)) < 0 || map_add(&t->map, hash_of(&item, item.nth), t->n) < 0)
		return -ENOMEM;
	t->v[t->n++] = item;
	return 0;
}

int items_add_line(struct items *t, struct span key, const struct line *line)
{
	return items_add(t, (struct item){ .key = key, .value = line->text, .all = line->all });
}

int items_by_name(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text.s, text.len, err);

	(void)path;
	while (r == 0 && lines_next(&lines, &line)) {
		struct span rest = span_trim(line.text), key = line.text;

		if (rest.len && !strchr("+-#:", rest.s[0])) {
			span_cut(&rest, ':', &key);
			if (!rest.s)
				return merge_bad(err, line.no, "no colon");
			key = span_trim(key);
		}
		r = items_add_line(ret, key, &line);
	}
	return r;
}

int items_order_bytes(const struct item *a, const struct item *b)
{
	int r = span_compare(a->key, b->key);

	return r ? r : span_compare(a->sub, b->sub);
}

/* --- values ------------------------------------------------------------------- */

bool three_way(const struct span *base, struct span ours, struct span theirs, struct span *ret)
{
	if (span_is(ours, theirs) || (base && span_is(theirs, *base)))
		*ret = ours;
	else if (base && span_is(ours, *base))
		*ret = theirs;
	else
		return false;
	return true;
}

struct words {
	struct span *v;
	size_t n, cap;
	struct map map;
};

static void words_done(struct words *w)
{
	free(w->v);
	map_done(&w->map);
}

static bool has_word(const struct words *w, struct span word)
{
	uint64_t h = span_hash(word);

	for (size_t i = map_first(&w->map, h); i != MAP_END; i = map_next(&w->map, h, i))
		if (span_is(w->v[w->map.slots[i].value], word))
			return true;
	return false;
}

static int add_word(struct words *w, struct span word)
{
	if (!word.len || has_word(w, word))
		return 0;
	if (array_grow(&w->v, &w->cap, w->n + 1, sizeof(*w->v)) < 0 || map_add(&w->map, span_hash(word), w->n) < 0)
		return -ENOMEM;
	w->v[w->n++] = word;
	return 0;
}

static int add_words(struct words *w, struct span list, char sep)
{
	struct span word;
	int r = 0;

	while (r == 0 && span_cut(&list, sep, &word))
		r = add_word(w, span_trim(word));
	return r;
}

static int compare_words(const void *a, const void *b)
{
	return span_compare(*(const struct span *)a, *(const struct span *)b);
}

int three_way_list(const struct span *base, struct span ours, struct span theirs, char sep, const char *with, bool sorted,
		   struct buf *out)
{
	enum { BASE, OURS, THEIRS, RESULT, ALL };
	struct words w[ALL] = { 0 };
	int r = base ? add_words(&w[BASE], *base, sep) : 0;

	if (r == 0)
		r = add_words(&w[OURS], ours, sep);
	if (r == 0)
		r = add_words(&w[THEIRS], theirs, sep);
	for (size_t i = 0; r == 0 && i < w[OURS].n; i++)
		if (!has_word(&w[BASE], w[OURS].v[i]) || has_word(&w[THEIRS], w[OURS].v[i]))
			r = add_word(&w[RESULT], w[OURS].v[i]);
	for (size_t i = 0; r == 0 && i < w[THEIRS].n; i++)
		if (!has_word(&w[BASE], w[THEIRS].v[i]))
			r = add_word(&w[RESULT], w[THEIRS].v[i]);
	if (sorted && w[RESULT].n)
		qsort(w[RESULT].v, w[RESULT].n, sizeof(*w[RESULT].v), compare_words);
	for (size_t i = 0; r == 0 && i < w[RESULT].n; i++)
		if ((i && buf_add(out, with, strlen(with)) < 0) || buf_add(out, w[RESULT].v[i].s, w[RESULT].v[i].len) < 0)
			r = -ENOMEM;
	for (size_t i = 0; i < ALL; i++)
		words_done(&w[i]);
	return r;
}

/* --- three files ------------------------------------------------------------------- */

enum side { BASE, OURS, THEIRS };

struct place {
	struct item item;
	size_t made, made_len;     /* the value that combine() made, in m->made; made_len 0: the item itself */
	size_t at, order;          /* before which of ours; which it was of theirs */
};

struct merging {
	const struct merge_driver *d;
	const char *path;
	enum merge_prefer prefer;  /* whose a record is that clashes */
	struct items side[3];
	struct buf made;
	struct place *kept, *fresh;
	size_t nkept, nfresh;
	struct ply_err *err;
};

static bool is_same(const struct item *a, const struct item *b)
{
	return a && b ? span_is(a->value, b->value) : a == b;
}

static int clash(const struct merging *m, const struct item *item)
{
	char name[128];
	struct span key = item->key;

	escape_name_to((const char *)key.s, strnlen((const char *)key.s, MIN(key.len, sizeof(name))), name, sizeof(name));
	return ply_fail(m->err, -ENOTUNIQ, PLY_R_MERGE_CLASH, "%s: both changed the record of %s, differently", m->path, name);
}

/* An enum combined, not a clash; or an error. NULL is a record that is not there. */
static int decide(struct merging *m, const struct item *base, const struct item *ours, const struct item *theirs)
{
	size_t made = m->made.len;
	int r;

	if (is_same(ours, theirs) || is_same(theirs, base))
		return COMBINED_OURS;
	if (is_same(ours, base))
		return COMBINED_THEIRS;
	r = m->d->combine ? m->d->combine(m->path, base, ours, theirs, &m->made) : COMBINED_CLASH;
	if (r != COMBINED_CLASH)
		return r;
	m->made.len = made;
	return m->prefer == MERGE_PREFER_NONE ? clash(m, ours ? ours : theirs) :
	       m->prefer == MERGE_PREFER_OURS ? COMBINED_OURS : COMBINED_THEIRS;
}

/* Has @to more of those with its key? Then none of them was deleted by the other side: which one would it be? */
static bool has_more(const struct merging *m, enum side to, const struct item *item)
{
	const struct item *first = find(&m->side[to], item, 0), *before = find(&m->side[BASE], item, 0);

	return first && before && first->many > before->many;
}

static int decide_ours(struct merging *m)
{
	for (size_t i = 0; i < m->side[OURS].n; i++) {
		const struct item *ours = &m->side[OURS].v[i], *theirs = find(&m->side[THEIRS], ours, ours->nth);
		struct place p = { .item = *ours, .made = m->made.len, .at = i };
		int r = decide(m, find(&m->side[BASE], ours, ours->nth), ours, theirs);

		if (r < 0)
			return r;
		p.made_len = m->made.len - p.made;
		if (r == COMBINED_THEIRS && !theirs && !has_more(m, OURS, ours))
			continue;
		if (r == COMBINED_THEIRS && theirs) {
			p.item.value = theirs->value;
			p.item.all = theirs->all;
		}
		m->kept[m->nkept++] = p;
	}
	return 0;
}

/* Before the first of ours that has to come behind it. Where ours is not sorted that is still one place:
 * @highest: of each one the greatest up to it. */
static size_t find_place(const struct merging *m, const size_t *highest, const struct item *item)
{
	size_t low = 0, high = m->side[OURS].n;

	while (m->d->order && low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->d->order(&m->side[OURS].v[highest[mid]], item) > 0)
			high = mid;
		else
			low = mid + 1;
	}
	return high;
}

static int compare_places(const void *pa, const void *pb, void *ctx)
{
	const struct place *a = pa, *b = pb;
	const struct merge_driver *d = ctx;
	int r = (a->at > b->at) - (a->at < b->at);

	if (r == 0 && d->order)
		r = d->order(&a->item, &b->item);
	return r ? r : (a->order > b->order) - (a->order < b->order);
}

static int decide_fresh(struct merging *m)
{
	const struct items *ours = &m->side[OURS], *theirs = &m->side[THEIRS];
	_cleanup_free_ size_t *highest = calloc(ours->n + 1, sizeof(*highest));

	if (!highest)
		return -ENOMEM;
	for (size_t i = 1; m->d->order && i < ours->n; i++)
		highest[i] = m->d->order(&ours->v[highest[i - 1]], &ours->v[i]) > 0 ? highest[i - 1] : i;
	for (size_t i = 0; i < theirs->n; i++) {
		const struct item *item = &theirs->v[i];
		int r;

		if (find(ours, item, item->nth))
			continue;
		r = decide(m, find(&m->side[BASE], item, item->nth), NULL, item);
		if (r < 0)
			return r;
		if (r == COMBINED_THEIRS || has_more(m, THEIRS, item))
			m->fresh[m->nfresh++] = (struct place){ .item = *item, .at = find_place(m, highest, item), .order = i };
	}
	qsort_r(m->fresh, m->nfresh, sizeof(*m->fresh), compare_places, (void *)m->d);
	return 0;
}

/* What the record before @out's end was written without, because it was the last one of its file. */
static int separate(const struct merging *m, const struct item *before, struct buf *out)
{
	bool line_end = before->all.len && before->all.s[before->all.len - 1] == '\n';

	if (!line_end && buf_add(out, "\n", 1) < 0)
		return -ENOMEM;
	if (!m->side[OURS].stanzas || !before->key.len ||
	    (before->all.len > 1 && !memcmp(before->all.s + before->all.len - 2, "\n\n", 2)))
		return 0;
	return buf_add(out, "\n", 1);
}

static int write_items(const struct merging *m, const struct item *v, size_t n, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i)
			r = separate(m, &v[i - 1], out);
		if (r == 0)
			r = buf_add(out, v[i].all.s, v[i].all.len);
	}
	return r;
}

static int write_result(struct merging *m, struct span ours, struct buf *out)
{
	_cleanup_free_ struct item *v = calloc(m->nkept + m->nfresh + 1, sizeof(*v));
	size_t n = 0, k = 0;

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i <= m->nkept; i++) {
		struct place *p = i < m->nkept ? &m->kept[i] : NULL;

		while (k < m->nfresh && (!p || m->fresh[k].at <= p->at))
			v[n++] = m->fresh[k++].item;
		if (p && p->made_len)
			p->item.value = p->item.all = (struct span){ m->made.data + p->made, p->made_len };
		if (p)
			v[n++] = p->item;
	}
	return m->d->write ? m->d->write(v, n, ours, out, m->err) : write_items(m, v, n, out);
}

int items_merge(const struct merge_driver *d, const char *path, struct span base, struct span ours, struct span theirs,
		enum merge_prefer prefer, struct buf *out, struct ply_err *err)
{
	struct merging m = { .d = d, .path = path, .prefer = prefer, .err = err };
	struct span text[3] = { base, ours, theirs };
	size_t begin = out->len;
	int r = 0;

	for (unsigned i = BASE; r == 0 && i <= THEIRS; i++)
		if (text[i].len)
			r = d->items(path, text[i], &m.side[i], err);
	if (r == 0) {
		m.kept = calloc(m.side[OURS].n + 1, sizeof(*m.kept));
		m.fresh = calloc(m.side[THEIRS].n + 1, sizeof(*m.fresh));
		m.side[OURS].stanzas |= m.side[THEIRS].stanzas;        /* ours may be empty */
		r = m.kept && m.fresh ? decide_ours(&m) : -ENOMEM;
	}
	if (r == 0)
		r = decide_fresh(&m);
	if (r == 0)
		r = write_result(&m, ours, out);
	for (unsigned i = BASE; i <= THEIRS; i++)
		items_done(&m.side[i]);
	buf_done(&m.made);
	free(m.kept);
	free(m.fresh);
	if (r < 0)
		out->len = begin;
	return r == -ENOMEM ? ply_fail_nomem(err) : r;
}
