/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver "alternatives": the files in /var/lib/dpkg/alternatives, and the links that go with them.
 *
 *   file    = ( "auto" / "manual" ) LF LINK LF *slave LF *choice LF
 *   slave   = NAME LF LINK LF
 *   choice  = PATH LF PRIORITY LF *( [ PATH ] LF )     a line for each slave, in their order; it can be empty
 *
 * A choice is its path's. What stands before the choices is there with any of them; a slave only with a choice
 * that has it, and so is its empty line in the choices that lack it, for update-alternatives drops
 * slaves that no choice has. So what is selected is the file that it would have written.
 *
 * "manual" says that the administrator chose what /etc/alternatives/NAME leads to. Where that choice is
 * not selected, "auto" stands in its place: the record of "manual" has the current choice's
 * condition, that of "auto" has none of it. It is the one place where selecting more takes something away.
 *
 * Reference: update-alternatives.c of dpkg (alternative_load, alternative_save, alternative_get_best).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "merge/alternatives.h"
#include "merge/drivers.h"
#include "merge/items.h"
#include "merge/parse.h"

#define LINKS "/etc/alternatives/"

struct slave {
	struct span name, link, all;
	uint32_t cond;
};

struct choice {
	struct span path, all;     /* all: path and priority */
	long priority;
	uint32_t cond;
	size_t first;              /* in cells: one for each slave */
};

struct alternative {
	struct span name, status, link, gap, end;
	bool manual;
	struct slave *slaves;
	size_t nslaves, slaves_cap;
	struct choice *choices;
	size_t nchoices, choices_cap;
	struct line *cells;
	size_t ncells, cells_cap;
	uint32_t header;           /* any choice's */
	struct buf current;        /* what /etc/alternatives/NAME leads to; empty: there is no such link */
	struct choice *chosen;     /* that; NULL: none, or no choice of ours */
	uint32_t chosen_cond;
};

static void alternative_done(struct alternative *a)
{
	free(a->slaves);
	free(a->choices);
	free(a->cells);
	buf_done(&a->current);
}

/* --- reading ------------------------------------------------------------------- */

static int next_line(struct lines *l, struct line *ret, struct ply_err *err)
{
	int r = lines_next_whole(l, ret, err);

	return r == 0 ? merge_bad(err, l->no, "the file ends too early") : MIN(r, 0);
}

static bool parse_priority(struct span text, long *ret)
{
	char digits[16], *end;

	if (!text.len || text.len >= sizeof(digits))
		return false;
	memcpy(digits, text.s, text.len);
	digits[text.len] = '\0';
	*ret = strtol(digits, &end, 10);
	return !*end && *ret >= INT_MIN && *ret <= INT_MAX;
}

static int read_head(struct alternative *a, struct lines *l, struct ply_err *err)
{
	struct line line, link;
	int r = next_line(l, &line, err);

	if (r < 0)
		return r;
	a->manual = span_is(line.text, SPAN("manual"));
	if (!a->manual && !span_is(line.text, SPAN("auto")))
		return merge_bad(err, line.no, "neither auto nor manual");
	a->status = line.all;
	r = next_line(l, &line, err);
	if (r == 0 && !span_starts(line.text, '/'))
		return merge_bad(err, line.no, "a link that is not absolute");
	a->link = line.all;
	while (r == 0 && (r = next_line(l, &line, err)) == 0 && line.text.len) {
		if (memchr(line.text.s, '/', line.text.len))
			return merge_bad(err, line.no, "a slave's name with a slash");
		r = next_line(l, &link, err);
		if (r == 0 && !span_starts(link.text, '/'))
			return merge_bad(err, link.no, "a link that is not absolute");
		if (r == 0 && array_grow(&a->slaves, &a->slaves_cap, a->nslaves + 1, sizeof(*a->slaves)) < 0)
			return -ENOMEM;
		if (r == 0)
			a->slaves[a->nslaves++] = (struct slave){ line.text, link.text,
								  span_join(line.all, link.all), COND_NEVER };
	}
	if (r == 0)
		a->gap = line.all;
	return r;
}

static int read_choices(struct alternative *a, struct lines *l, struct ply_err *err)
{
	struct line line, priority;
	int r = 0;

	while (r == 0 && (r = next_line(l, &line, err)) == 0 && line.text.len) {
		struct choice c = { .path = line.text, .first = a->ncells };

		if (!span_starts(line.text, '/'))
			return merge_bad(err, line.no, "a choice that is not absolute");
		r = next_line(l, &priority, err);
		if (r < 0)
			return r;
		if (!parse_priority(priority.text, &c.priority))
			return merge_bad(err, priority.no, "not a priority");
		c.all = span_join(line.all, priority.all);
		for (size_t i = 0; r == 0 && i < a->nslaves; i++) {
			if (array_grow(&a->cells, &a->cells_cap, a->ncells + 1, sizeof(*a->cells)) < 0)
				return -ENOMEM;
			r = next_line(l, &a->cells[a->ncells], err);
			if (r == 0 && a->cells[a->ncells].text.len && !span_starts(a->cells[a->ncells].text, '/'))
				return merge_bad(err, a->cells[a->ncells].no, "a slave that is not absolute");
			a->ncells++;
		}
		if (r == 0 && array_grow(&a->choices, &a->choices_cap, a->nchoices + 1, sizeof(*a->choices)) < 0)
			return -ENOMEM;
		if (r == 0)
			a->choices[a->nchoices++] = c;
	}
	if (r < 0)
		return r;
	a->end = line.all;
	return l->at == l->end ? 0 : merge_bad(err, l->no + 1, "more lines behind the choices");
}

static int compare_spans(const void *a, const void *b)
{
	return span_compare(*(const struct span *)a, *(const struct span *)b);
}

/* Names, links and choices stand there once: else the links would contradict one another. */
static int check_doubles(const struct alternative *a, struct ply_err *err)
{
	size_t n = a->nslaves + 1, most = MAX(n, a->nchoices);
	_cleanup_free_ struct span *v = calloc(most, sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (int what = 0; what < 3; what++) {
		size_t count = what == 2 ? a->nchoices : n;

		if (what < 2)
			v[n - 1] = what ? a->name : (struct span){ a->link.s, a->link.len - 1 };
		for (size_t i = 0; i < (what == 2 ? a->nchoices : a->nslaves); i++)
			v[i] = what == 2 ? a->choices[i].path : what ? a->slaves[i].name : a->slaves[i].link;
		qsort(v, count, sizeof(*v), compare_spans);
		for (size_t i = 1; i < count; i++)
			if (span_is(v[i], v[i - 1]))
				return merge_bad(err, 1, "a name, a link or a choice for the second time");
	}
	return 0;
}

static int find_current(struct alternative *a, const struct merge_facts *f)
{
	_cleanup_buf_ struct buf path = { 0 };
	int r = buf_printf(&path, LINKS "%.*s", (int)a->name.len, (const char *)a->name.s);

	if (r == 0)
		r = buf_add(&path, "", 1);
	if (r == 0)
		r = f->link(f->ctx, (const char *)path.data, &a->current);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t i = 0; i < a->nchoices && !a->chosen; i++)
		if (span_is(a->choices[i].path, (struct span){ a->current.data, a->current.len }))
			a->chosen = &a->choices[i];
	if (a->chosen)
		a->chosen_cond = a->chosen->cond;
	else if (a->current.len && a->current.data[0] == '/')
		r = fact_path(f, (struct span){ a->current.data, a->current.len }, &a->chosen_cond);
	return r;
}

static int find_conditions(struct alternative *a, const struct merge_facts *f)
{
	int r = 0;

	a->header = COND_NEVER;
	for (size_t i = 0; r == 0 && i < a->nchoices; i++) {
		struct choice *c = &a->choices[i];

		r = fact_path(f, c->path, &c->cond);
		if (r == 0)
			r = conds_or(f->conds, a->header, c->cond, &a->header);
		for (size_t k = 0; r == 0 && k < a->nslaves; k++)
			if (a->cells[c->first + k].text.len)
				r = conds_or(f->conds, a->slaves[k].cond, c->cond, &a->slaves[k].cond);
	}
	if (a->header == COND_NEVER)
		a->header = COND_ALWAYS;
	for (size_t k = 0; k < a->nslaves; k++)
		if (a->slaves[k].cond == COND_NEVER)
			a->slaves[k].cond = a->header;
	return r;
}

static int alternative_parse(struct alternative *a, const char *path, const uint8_t *text, size_t len,
			     struct ply_err *err)
{
	struct lines l;
	int r = lines_init(&l, text, len, err);

	a->name = (struct span){ (const uint8_t *)base_name(path), strlen(base_name(path)) };
	if (r == 0)
		r = read_head(a, &l, err);
	if (r == 0)
		r = read_choices(a, &l, err);
	return r == 0 ? check_doubles(a, err) : r;
}

static int alternative_read(struct alternative *a, const char *path, const uint8_t *text, size_t len,
			    const struct merge_facts *f, struct ply_err *err)
{
	int r = alternative_parse(a, path, text, len, err);

	if (r == 0)
		r = find_conditions(a, f);
	return r == 0 ? find_current(a, f) : r;
}

/* --- records ------------------------------------------------------------------- */

/* What stands together under one condition is one record. */
struct run {
	struct records *ret;
	struct span bytes;
	uint32_t cond;
};

static int run_end(struct run *run)
{
	int r = run->bytes.len ? add_span(run->ret, run->bytes, run->cond, 0) : 0;

	run->bytes.len = 0;
	return r;
}

static int run_add(struct run *run, struct span bytes, uint32_t cond)
{
	int r = 0;

	if (run->bytes.len && run->cond == cond) {
		run->bytes = span_join(run->bytes, bytes);
		return 0;
	}
	r = run_end(run);
	run->bytes = bytes;
	run->cond = cond;
	return r;
}

static int add_status(const struct alternative *a, struct conds *conds, struct run *run)
{
	uint32_t manual, automatic;
	int r;

	if (!a->manual || !a->current.len || conds_implies(conds, a->header, a->chosen_cond))
		return run_add(run, a->status, a->header);
	r = conds_and(conds, a->chosen_cond, a->chosen ? COND_ALWAYS : a->header, &manual);
	if (r == 0)
		r = conds_not(conds, a->chosen_cond, &automatic);
	if (r == 0)
		r = conds_and(conds, a->header, automatic, &automatic);
	if (r == 0)
		r = run_add(run, a->status, manual);
	if (r == 0)
		r = run_end(run);
	return r == 0 ? add_span(run->ret, SPAN("auto\n"), automatic, 0) : r;
}

static int add_choice(const struct alternative *a, const struct choice *c, struct conds *conds, struct run *run)
{
	int r = run_end(run);

	if (r == 0)
		r = run_add(run, c->all, c->cond);
	for (size_t k = 0; r == 0 && k < a->nslaves; k++) {
		const struct line *cell = &a->cells[c->first + k];
		uint32_t cond = c->cond;

		if (!cell->text.len && !conds_implies(conds, c->cond, a->slaves[k].cond))
			r = conds_and(conds, c->cond, a->slaves[k].cond, &cond);
		if (r == 0)
			r = run_add(run, cell->all, cond);
	}
	return r == 0 ? run_end(run) : r;
}

static int split(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		 struct records *ret, struct ply_err *err)
{
	struct alternative a = { 0 };
	struct run run = { .ret = ret };
	int r = alternative_read(&a, path, text, len, f, err);

	if (r == 0)
		r = add_status(&a, f->conds, &run);
	if (r == 0)
		r = run_add(&run, a.link, a.header);
	for (size_t k = 0; r == 0 && k < a.nslaves; k++)
		r = run_add(&run, a.slaves[k].all, a.slaves[k].cond);
	if (r == 0)
		r = run_add(&run, a.gap, a.header);
	for (size_t i = 0; r == 0 && i < a.nchoices; i++)
		r = add_choice(&a, &a.choices[i], f->conds, &run);
	if (r == 0)
		r = run_end(&run);
	if (r == 0)
		r = add_span(ret, a.end, a.header, 0);
	alternative_done(&a);
	return r;
}

static int describe(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	struct lines l = { data, data + len, 0 };
	struct line first, second = { 0 };
	long priority;

	(void)flags;
	if (!lines_next(&l, &first) || !first.text.len)
		return describe_as(out, "empty line", (struct span){ NULL, 0 });
	lines_next(&l, &second);
	if (span_is(first.text, SPAN("manual")) || span_is(first.text, SPAN("auto")))
		return describe_as(out, "mode", first.text);
	if (!span_starts(first.text, '/'))
		return describe_as(out, "slave", first.text);
	return describe_as(out, parse_priority(second.text, &priority) ? "choice" : "link", first.text);
}

/* --- three-way ------------------------------------------------------------------- */

enum side { BASE, OURS, THEIRS, SIDES };

#define SLAVES_MAX  1024u          /* each is looked up in all: so many are no harm, and no alternative has them */
#define CHOICES_MAX 1024u

/* A slave or choice of any side: its place there, SIZE_MAX where it is not. */
struct joint {
	struct span name;
	size_t at[SIDES];
	struct span link;          /* of slaves */
	bool used;                 /* of slaves: a choice that is left has it */
};

struct joints {
	struct joint v[SLAVES_MAX + CHOICES_MAX];      /* of two sides */
	size_t n;
};

struct composing {
	struct alternative side[SIDES];
	bool based;
	struct joints slaves, choices;
	struct buf body;           /* of the choices that are left: one span for each cell */
	struct ply_err *err;
};

static struct span name_at(const struct alternative *a, bool slaves, size_t i)
{
	return slaves ? a->slaves[i].name : a->choices[i].path;
}

static size_t find_name(const struct alternative *a, bool slaves, struct span name)
{
	for (size_t i = 0; i < (slaves ? a->nslaves : a->nchoices); i++)
		if (span_is(name_at(a, slaves, i), name))
			return i;
	return SIZE_MAX;
}

/* Ours, and theirs at their place: update-alternatives keeps both sorted. */
static void join_names(const struct composing *c, bool slaves, struct joints *ret)
{
	for (enum side s = OURS; s <= THEIRS; s++)
		for (size_t i = 0; i < (slaves ? c->side[s].nslaves : c->side[s].nchoices); i++) {
			struct joint j = { .name = name_at(&c->side[s], slaves, i) };
			size_t to = ret->n;

			for (enum side k = BASE; k < SIDES; k++)
				j.at[k] = find_name(&c->side[k], slaves, j.name);
			if (s == THEIRS && j.at[OURS] != SIZE_MAX)
				continue;
			if (s == THEIRS)
				for (to = 0; to < ret->n && span_compare(ret->v[to].name, j.name) < 0;)
					to++;
			memmove(ret->v + to + 1, ret->v + to, (ret->n++ - to) * sizeof(j));
			ret->v[to] = j;
		}
}

static int compose_clash(const struct composing *c, struct span what)
{
	char name[128];

	escape_name_to((const char *)what.s, MIN(what.len, sizeof(name)), name, sizeof(name));
	return ply_fail(c->err, -ENOTUNIQ, PLY_R_MERGE_CLASH, "both changed %s, differently", name);
}

/* The link of each slave; one that only some side has is that side's. */
static int compose_slaves(struct composing *c)
{
	for (size_t i = 0; i < c->slaves.n; i++) {
		struct joint *j = &c->slaves.v[i];
		struct span link[SIDES];

		for (enum side s = BASE; s < SIDES; s++)
			if (j->at[s] != SIZE_MAX)
				link[s] = c->side[s].slaves[j->at[s]].link;
		if (j->at[OURS] == SIZE_MAX || j->at[THEIRS] == SIZE_MAX)
			j->link = link[j->at[OURS] == SIZE_MAX ? THEIRS : OURS];
		else if (!three_way(j->at[BASE] == SIZE_MAX ? NULL : &link[BASE], link[OURS], link[THEIRS], &j->link))
			return compose_clash(c, j->name);
	}
	return 0;
}

/* Of a choice: its priority (@slave NULL), or what it has for a slave; nothing where that side does not know the slave. */
static struct span value_of(const struct composing *c, enum side s, const struct joint *choice, const struct joint *slave)
{
	const struct choice *of = &c->side[s].choices[choice->at[s]];

	if (!slave)
		return (struct span){ of->path.s + of->path.len + 1, of->all.len - of->path.len - 2 };
	return slave->at[s] == SIZE_MAX ? (struct span){ NULL, 0 } : c->side[s].cells[of->first + slave->at[s]].text;
}

/* A slave that base did not have is told apart from one without a value by nothing: so it is in the file. */
static bool is_unchanged(const struct composing *c, enum side s, const struct joint *choice)
{
	if (!span_is(value_of(c, s, choice, NULL), value_of(c, BASE, choice, NULL)))
		return false;
	for (size_t k = 0; k < c->slaves.n; k++)
		if (!span_is(value_of(c, s, choice, &c->slaves.v[k]), value_of(c, BASE, choice, &c->slaves.v[k])))
			return false;
	return true;
}

static int add_value(struct composing *c, const struct joint *choice, struct joint *slave, enum side only)
{
	struct span base, value;
	bool both = choice->at[OURS] != SIZE_MAX && choice->at[THEIRS] != SIZE_MAX;

	if (choice->at[BASE] != SIZE_MAX)
		base = value_of(c, BASE, choice, slave);
	if (!both)
		value = value_of(c, only, choice, slave);
	else if (!three_way(choice->at[BASE] == SIZE_MAX ? NULL : &base, value_of(c, OURS, choice, slave),
			    value_of(c, THEIRS, choice, slave), &value))
		return compose_clash(c, choice->name);
	if (slave)
		slave->used |= value.len > 0;
	return buf_add(&c->body, &value, sizeof(value));
}

/* Choice by choice, and in a choice value by value. */
static int compose_choices(struct composing *c)
{
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->choices.n; i++) {
		const struct joint *j = &c->choices.v[i];
		enum side only = j->at[OURS] == SIZE_MAX ? THEIRS : OURS;
		bool both = j->at[OURS] != SIZE_MAX && j->at[THEIRS] != SIZE_MAX;

		if (!both && j->at[BASE] != SIZE_MAX) {
			if (!is_unchanged(c, only, j))
				return compose_clash(c, j->name);
			continue;      /* the other one deleted it */
		}
		r = add_value(c, j, NULL, only);
		for (size_t k = 0; r == 0 && k < c->slaves.n; k++)
			r = add_value(c, j, &c->slaves.v[k], only);
		c->choices.v[kept++] = *j;
	}
	c->choices.n = kept;
	return r;
}

static int put_line(struct buf *out, struct span line)
{
	return buf_add(out, line.s, line.len) < 0 || buf_add(out, "\n", 1) < 0 ? -ENOMEM : 0;
}

static int write_alternative(const struct composing *c, struct span status, struct span link, struct buf *out)
{
	const struct span *value = (const struct span *)(const void *)c->body.data;
	int r = buf_add(out, status.s, status.len);

	if (r == 0)
		r = buf_add(out, link.s, link.len);
	for (size_t k = 0; r == 0 && k < c->slaves.n; k++)
		if (c->slaves.v[k].used && (r = put_line(out, c->slaves.v[k].name)) == 0)
			r = put_line(out, c->slaves.v[k].link);
	if (r == 0)
		r = buf_add(out, "\n", 1);
	for (size_t i = 0; r == 0 && i < c->choices.n; i++) {
		r = put_line(out, c->choices.v[i].name);
		if (r == 0)
			r = put_line(out, *value++);
		for (size_t k = 0; r == 0 && k < c->slaves.n; k++, value++)
			if (c->slaves.v[k].used)
				r = put_line(out, *value);
	}
	return r == 0 ? buf_add(out, "\n", 1) : r;
}

static int compose_sides(struct composing *c, struct buf *out)
{
	const struct alternative *a = c->side;
	struct span status, link;
	int r;

	/* auto against manual, with no base: somebody has chosen */
	if (!three_way(c->based ? &a[BASE].status : NULL, a[OURS].status, a[THEIRS].status, &status))
		status = SPAN("manual\n");
	if (!three_way(c->based ? &a[BASE].link : NULL, a[OURS].link, a[THEIRS].link, &link))
		return compose_clash(c, (struct span){ a[OURS].link.s, a[OURS].link.len - 1 });
	join_names(c, true, &c->slaves);
	join_names(c, false, &c->choices);
	r = compose_slaves(c);
	if (r == 0)
		r = compose_choices(c);
	return r == 0 ? write_alternative(c, status, link, out) : r;
}

/* The union of the choices; slaves are there with the choices that have them. */
static int compose(const char *path, struct span base, struct span ours, struct span theirs, struct buf *out,
		   struct ply_err *err)
{
	const struct span text[SIDES] = { base, ours, theirs };
	struct composing *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return ply_fail_nomem(err);
	c->err = err;
	c->based = base.len > 0;
	for (enum side s = c->based ? BASE : OURS; r == 0 && s < SIDES; s++) {
		r = alternative_parse(&c->side[s], path, text[s].s, text[s].len, err);
		if (r == 0 && (c->side[s].nslaves > SLAVES_MAX || c->side[s].nchoices > CHOICES_MAX))
			r = -E2BIG;
	}
	if (r == 0)
		r = compose_sides(c, out);
	for (enum side s = BASE; s < SIDES; s++)
		alternative_done(&c->side[s]);
	buf_done(&c->body);
	free(c);
	return r == -ENOMEM ? ply_fail_nomem(err) : r;
}

/* --- links ------------------------------------------------------------------- */

void alternatives_links_done(struct alternatives_links *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].path);
		free(l->v[i].target);
		free(l->v[i].slave);
	}
	free(l->v);
	*l = (struct alternatives_links){ 0 };
}

static char *below_links(struct span name)
{
	char *s = NULL;

	return asprintf(&s, LINKS "%.*s", (int)name.len, (const char *)name.s) < 0 ? NULL : s;
}

/* @path and @target are consumed; NULL: no memory. */
static int add_link(struct alternatives_links *l, char *path, char *target, uint32_t cond, struct span slave)
{
	char *reaches = slave.len ? strndup((const char *)slave.s, slave.len) : NULL;

	if (!path || !target || (slave.len && !reaches) ||
	    array_grow(&l->v, &l->cap, l->n + 1, sizeof(*l->v)) < 0) {
		free(path);
		free(target);
		free(reaches);
		return -ENOMEM;
	}
	l->v[l->n++] = (struct alternatives_link){ path, target, cond, reaches };
	return 0;
}

static char *span_dup(struct span a)
{
	return strndup((const char *)a.s, a.len);
}

static const struct line *cells_of(const struct alternative *a, const struct choice *c)
{
	return a->nslaves ? a->cells + c->first : NULL;
}

/* The links of a selection in which @target (@cells: its slaves; NULL: none) is what is chosen. */
static int add_winner(const struct alternative *a, struct span target, const struct line *cells, uint32_t cond,
		      const struct merge_facts *f, struct alternatives_links *ret)
{
	const struct span none = { NULL, 0 };
	int r = add_link(ret, below_links(a->name), span_dup(target), cond, none);

	for (size_t k = 0; r == 0 && cells && k < a->nslaves; k++) {
		struct span to = cells[k].text;
		uint32_t with;

		if (!to.len)
			continue;
		r = fact_path(f, to, &with);
		if (r == 0 && !conds_implies(f->conds, cond, with))
			r = conds_and(f->conds, cond, with, &with);
		else
			with = cond;
		if (r == 0)
			r = add_link(ret, below_links(a->slaves[k].name), span_dup(to), with, to);
		if (r == 0)
			r = add_link(ret, span_dup(a->slaves[k].link), below_links(a->slaves[k].name), with, to);
	}
	return r;
}

static int compare_priority(const void *pa, const void *pb)
{
	const struct choice *const *a = pa, *const *b = pb;

	if ((*a)->priority != (*b)->priority)
		return (*a)->priority < (*b)->priority ? 1 : -1;
	return (*a > *b) - (*a < *b);
}

static int make_links(const struct alternative *a, const struct merge_facts *f, struct alternatives_links *ret)
{
	struct conds *conds = f->conds;
	_cleanup_free_ const struct choice **order = calloc(a->nchoices + 1, sizeof(*order));
	uint32_t before = COND_NEVER, cond;      /* before: those that are preferred to the next one */
	size_t n = 0;
	int r;

	if (!order)
		return -ENOMEM;
	r = add_link(ret, span_dup((struct span){ a->link.s, a->link.len - 1 }), below_links(a->name), a->header,
		     (struct span){ NULL, 0 });
	for (size_t i = 0; i < a->nchoices; i++)
		if (&a->choices[i] != a->chosen)
			order[n++] = &a->choices[i];
	qsort(order, n, sizeof(*order), compare_priority);
	if (r == 0 && a->current.len) {
		r = conds_and(conds, a->chosen_cond, a->chosen ? COND_ALWAYS : a->header, &cond);
		if (r == 0)
			r = add_winner(a, (struct span){ a->current.data, a->current.len },
				       a->chosen ? cells_of(a, a->chosen) : NULL, cond, f, ret);
		before = a->chosen_cond;
	}
	for (size_t i = 0; r == 0 && i < n && before != COND_ALWAYS; i++) {
		if (conds_implies(conds, order[i]->cond, before))
			continue;
		r = conds_not(conds, before, &cond);
		if (r == 0)
			r = conds_and(conds, order[i]->cond, cond, &cond);
		if (r == 0)
			r = add_winner(a, order[i]->path, cells_of(a, order[i]), cond, f, ret);
		if (r == 0)
			r = conds_or(conds, before, order[i]->cond, &before);
	}
	return r;
}

int alternatives_links(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		       struct alternatives_links *ret, struct ply_err *err)
{
	struct alternatives_links links = { 0 };
	struct alternative a = { 0 };
	int r = alternative_read(&a, path, text, len, f, err);

	if (r == 0)
		r = make_links(&a, f, &links);
	alternative_done(&a);
	if (r == 0)
		*ret = links;
	else
		alternatives_links_done(&links);
	if (r == -EUCLEAN)
		ply_err_prefix(err, "%s", path);
	else if (r < 0)
		return r == -ENOMEM ? ply_fail_nomem(err) : ply_fail_sys(err, r, "%s", path);
	return r;
}

static const char *const paths[] = { "/var/lib/dpkg/alternatives/*", NULL };

const struct merge_driver merge_alternatives = {
	.name = "alternatives", .number = 12, .version = 1, .paths = paths, .monotone = false,
	.vanishes = true,
	.split = split, .describe = describe, .compose = compose,
};
