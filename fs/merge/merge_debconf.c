/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drivers "debconf" (config.dat, passwords.dat) and "templates" (templates.dat).
 *
 *   file   = *empty-line *stanza
 *   stanza = 1*( FIELD ":" value / blank continuation ) *empty-line
 *   Owners = [ item *( "," item ) ]
 *
 * Each has a Name. Of a question, Owners are packages (`libc6, libc6:amd64`), and any of them
 * keeps it. Of a template, Owners are names of questions, and neither says whose the template is:
 * the questions in config.dat and passwords.dat do, those that name it in Template and those that
 * its Owners name. templates.dat-old goes by the questions of its time, and where they do not know
 * it, by today's. What no question knows is the operating system's.
 *
 * Owners are not cut: what a question's field says of packages that are not there is no more than
 * debconf itself leaves when a package is removed by force.
 */
#include <errno.h>

#include "base/map.h"
#include "base/util.h"
#include "merge/drivers.h"
#include "merge/items.h"
#include "merge/parse.h"

/* Any of the packages in @owners that are installed; where none is, the operating system keeps it. */
static int owners_condition(const struct merge_facts *f, struct span owners, uint32_t *ret)
{
	uint32_t any = COND_NEVER;
	struct span item;
	int r = 0;

	while (r == 0 && any != COND_ALWAYS && span_cut(&owners, ',', &item)) {
		uint32_t one;

		item = span_trim(item);
		if (!item.len)
			continue;
		r = fact_owner(f, item, &one);
		if (r == 0)
			r = conds_or(f->conds, any, one, &any);
		r = MIN(r, 0);
	}
	if (r == 0)
		*ret = any == COND_NEVER ? COND_ALWAYS : any;
	return r;
}

/* The next stanza of either kind: *ret_name is empty for empty lines at the beginning. Fields that
 * are not there are empty. 1, 0: no more, -EUCLEAN. */
static int next(struct lines *lines, struct stanza *s, struct span *ret_name, struct span *ret_owners,
		struct ply_err *err)
{
	int r = stanza_next(lines, s, err);

	*ret_name = *ret_owners = (struct span){ NULL, 0 };
	if (r <= 0 || !s->fields.len)
		return r;
	r = stanza_field(s, "Name", ret_name, err);
	if (r == 0 || (r > 0 && !ret_name->len))
		return merge_bad(err, s->no, "a stanza without Name");
	if (r > 0)
		r = stanza_field(s, "Owners", ret_owners, err);
	return r < 0 ? r : 1;
}

static int split_config(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
			struct records *ret, struct ply_err *err)
{
	struct span name, owners;
	struct lines lines;
	struct stanza s;
	int r = lines_init(&lines, text, len, err);

	(void)path;
	while (r == 0 && (r = next(&lines, &s, &name, &owners, err)) > 0) {
		uint32_t cond = COND_ALWAYS;

		r = owners_condition(f, owners, &cond);
		if (r == 0)
			r = add_span(ret, s.all, cond, 0);
	}
	return r;
}

/* --- templates ------------------------------------------------------------------- */

/* Names and the condition of whatever has that name. */
struct names {
	struct map map;            /* the name's hash -> v */
	struct {
		struct span name;
		uint32_t cond;
	} *v;
	size_t n, cap;
};

/* The questions of one time; names point into the texts. */
struct questions {
	struct buf config, passwords;
	struct names by_name, by_template;
};

static uint32_t *names_find(const struct names *t, struct span name)
{
	uint64_t h = span_hash(name);

	for (size_t i = map_first(&t->map, h); i != MAP_END; i = map_next(&t->map, h, i))
		if (span_is(t->v[t->map.slots[i].value].name, name))
			return &t->v[t->map.slots[i].value].cond;
	return NULL;
}

/* @cond, or what the name has already. */
static int names_add(struct names *t, struct span name, uint32_t cond, struct conds *conds)
{
	uint32_t *old = names_find(t, name);

	if (old)
		return conds_or(conds, *old, cond, old);
	if (array_grow(&t->v, &t->cap, t->n + 1, sizeof(*t->v)) < 0 ||
	    map_add(&t->map, span_hash(name), t->n) < 0)
		return -ENOMEM;
	t->v[t->n].name = name;
	t->v[t->n++].cond = cond;
	return 0;
}

static void questions_done(struct questions *q)
{
	buf_done(&q->config);
	buf_done(&q->passwords);
	map_done(&q->by_name.map);
	map_done(&q->by_template.map);
	free(q->by_name.v);
	free(q->by_template.v);
}

static int questions_add(struct questions *q, const struct merge_facts *f, const char *path, struct buf *text,
			 struct ply_err *err)
{
	struct span name, owners, template;
	struct lines lines;
	struct stanza s;
	int r = f->file(f->ctx, path, text);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = lines_init(&lines, text->data, text->len, err);
	while (r == 0 && (r = next(&lines, &s, &name, &owners, err)) > 0) {
		uint32_t cond;

		r = 0;
		if (!name.len)
			continue;
		r = stanza_field(&s, "Template", &template, err);
		if (r == 0)
			template = name;
		if (r >= 0)
			r = owners_condition(f, owners, &cond);
		if (r == 0)
			r = names_add(&q->by_name, name, cond, f->conds);
		if (r == 0)
			r = names_add(&q->by_template, template, cond, f->conds);
	}
	if (r == -EUCLEAN)
		ply_err_prefix(err, "%s", path);
	return r;
}

static int questions_read(struct questions *q, const struct merge_facts *f, bool old, struct ply_err *err)
{
	int r = questions_add(q, f, old ? "/var/cache/debconf/config.dat-old" : "/var/cache/debconf/config.dat",
			      &q->config, err);

	if (r == 0)
		r = questions_add(q, f, old ? "/var/cache/debconf/passwords.dat-old" :
				  "/var/cache/debconf/passwords.dat", &q->passwords, err);
	return r;
}

/* NEVER: no question knows it. */
static int template_condition(const struct questions *q, const struct merge_facts *f, struct span name,
			      struct span owners, uint32_t *ret)
{
	const uint32_t *found = names_find(&q->by_template, name);
	uint32_t any = found ? *found : COND_NEVER;
	struct span item;
	int r = 0;

	while (r == 0 && any != COND_ALWAYS && span_cut(&owners, ',', &item)) {
		found = names_find(&q->by_name, span_trim(item));
		if (found)
			r = conds_or(f->conds, any, *found, &any);
	}
	*ret = any;
	return r;
}

static int split_templates(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
			   struct records *ret, struct ply_err *err)
{
	struct questions q[2] = { 0 };    /* of its time, of today */
	bool old = !strcmp(base_name(path), "templates.dat-old");
	struct span name, owners;
	struct lines lines;
	struct stanza s;
	int r = lines_init(&lines, text, len, err);

	if (r == 0 && old)
		r = questions_read(&q[0], f, true, err);
	if (r == 0)
		r = questions_read(&q[1], f, false, err);
	while (r == 0 && (r = next(&lines, &s, &name, &owners, err)) > 0) {
		uint32_t cond = COND_NEVER;

		r = 0;
		for (size_t i = 0; r == 0 && name.len && cond == COND_NEVER && i < ARRAY_SIZE(q); i++)
			r = template_condition(&q[i], f, name, owners, &cond);
		if (r == 0)
			r = add_span(ret, s.all, cond == COND_NEVER ? COND_ALWAYS : cond, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(q); i++)
		questions_done(&q[i]);
	return r;
}

static int describe_name(const uint8_t *data, size_t len, const char *what, struct buf *out)
{
	struct span name, owners;
	struct lines lines;
	struct stanza s;

	if (lines_init(&lines, data, len, NULL) < 0 || next(&lines, &s, &name, &owners, NULL) <= 0 || !name.len)
		return describe_as(out, "line", first_line(data, len));
	return describe_as(out, what, name);
}

static int describe_question(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	(void)flags;
	return describe_name(data, len, "question", out);
}

static int describe_template(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	(void)flags;
	return describe_name(data, len, "template", out);
}

/* --- three-way ------------------------------------------------------------------- */

static int items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	struct span name, owners;
	struct lines lines;
	struct stanza s;
	int r = lines_init(&lines, text.s, text.len, err);

	(void)path;
	ret->stanzas = true;
	while (r == 0 && (r = next(&lines, &s, &name, &owners, err)) > 0)
		r = items_add(ret, (struct item){ .key = name, .value = s.fields, .all = s.all });
	return r;
}

struct field {
	struct span name, value, all;      /* value: to the end of its last line */
};

/* A template has some for each language. */
struct fields {
	struct field *v;
	size_t n, cap;
};

/* As debconf writes them: the name, values by their names, then lists. */
static int compare_fields(const void *pa, const void *pb)
{
	static const struct span last[] = { SPAN("Variables"), SPAN("Flags"), SPAN("Owners") };
	const struct field *a = pa, *b = pb;

	if (span_is(a->name, SPAN("Name")) || span_is(b->name, SPAN("Name")))
		return span_is(b->name, SPAN("Name")) - span_is(a->name, SPAN("Name"));
	for (size_t i = 0; i < ARRAY_SIZE(last); i++)
		if (span_is(a->name, last[i]) || span_is(b->name, last[i]))
			return span_is(a->name, last[i]) - span_is(b->name, last[i]);
	return span_compare(a->name, b->name);
}

/* Sorted. */
static int parse_fields(struct span stanza, struct fields *ret)
{
	struct lines l = { stanza.s, stanza.s + stanza.len, 0 };
	struct line line;

	while (lines_next(&l, &line)) {
		struct span rest = line.text;
		struct field *f;

		if (line.text.s[0] == ' ' || line.text.s[0] == '\t') {
			f = &ret->v[ret->n - 1];       /* stanza_next() has seen that there is one */
			f->value = span_join(f->value, line.text);
			f->all = span_join(f->all, line.all);
			continue;
		}
		if (array_grow(&ret->v, &ret->cap, ret->n + 1, sizeof(*ret->v)) < 0)
			return -ENOMEM;
		f = &ret->v[ret->n++];
		span_cut(&rest, ':', &f->name);
		f->value = span_trim(rest);
		if (!f->value.len)
			f->value = (struct span){ line.text.s + line.text.len, 0 };
		f->all = line.all;
	}
	qsort(ret->v, ret->n, sizeof(*ret->v), compare_fields);
	return 0;
}

static const struct field *find_field(const struct fields *f, const struct field *like)
{
	return f->n ? bsearch(like, f->v, f->n, sizeof(*f->v), compare_fields) : NULL;
}

static int put_field(const struct field *f, struct buf *out)
{
	int r = buf_add(out, f->all.s, f->all.len);

	return r == 0 && f->all.s[f->all.len - 1] != '\n' ? buf_add(out, "\n", 1) : r;
}

/* @f is a list of ours or theirs. Where nothing is left of it, there is no such field. */
static int put_list(const struct field *f, const struct field *base, const struct field *ours,
		    const struct field *theirs, struct buf *out)
{
	const struct span empty = { (const uint8_t *)"", 0 };
	size_t begin = out->len, named;
	int r = buf_add(out, f->name.s, f->name.len);

	if (r == 0)
		r = buf_add(out, ": ", 2);
	named = out->len;
	if (r == 0)
		r = three_way_list(base ? &base->value : NULL, ours ? ours->value : empty, theirs ? theirs->value : empty,
				   ',', ", ", true, out);
	if (out->len == named)
		out->len = begin;
	else if (r == 0)
		r = buf_add(out, "\n", 1);
	return r;
}

/* Which of the two stands: theirs where only they changed it, else ours. NULL: it is gone. */
static const struct field *choose_field(const struct field *base, const struct field *ours, const struct field *theirs)
{
	struct span result;

	if (!ours)
		return base ? NULL : theirs;
	if (!theirs)
		return base && span_is(base->value, ours->value) ? NULL : ours;
	return three_way(base ? &base->value : NULL, ours->value, theirs->value, &result) && result.s == theirs->value.s ?
	       theirs : ours;
}

static int put_fields(const struct fields *all, const struct fields f[3], struct buf *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < all->n; i++) {
		const struct field *like = &all->v[i], *b = find_field(&f[0], like), *o = find_field(&f[1], like),
				   *t = find_field(&f[2], like), *chosen = choose_field(b, o, t);

		if (span_is(like->name, SPAN("Owners")) || span_is(like->name, SPAN("Flags")))
			r = put_list(like, b, o, t, out);
		else if (chosen)
			r = put_field(chosen, out);
	}
	return r;
}

/* Owners and flags of both; other fields three-way, and where both changed one, the first's. */
static int combine(const char *path, const struct item *base, const struct item *ours, const struct item *theirs,
		   struct buf *out)
{
	struct fields f[4] = { 0 };    /* of each, and those of ours or theirs */
	int r = 0;

	(void)path;
	if (!ours || !theirs)
		return COMBINED_CLASH;
	if (base)
		r = parse_fields(base->value, &f[0]);
	if (r == 0)
		r = parse_fields(ours->value, &f[1]);
	if (r == 0)
		r = parse_fields(theirs->value, &f[2]);
	for (size_t side = 1; side < 3; side++)
		for (size_t i = 0; r == 0 && i < f[side].n; i++) {
			if (side == 2 && find_field(&f[1], &f[2].v[i]))
				continue;
			r = array_grow(&f[3].v, &f[3].cap, f[3].n + 1, sizeof(*f[3].v));
			if (r == 0)
				f[3].v[f[3].n++] = f[side].v[i];
		}
	if (r == 0) {
		qsort(f[3].v, f[3].n, sizeof(*f[3].v), compare_fields);
		r = put_fields(&f[3], f, out);
	}
	if (r == 0 && ours->all.len > ours->value.len)
		r = buf_add(out, "\n", 1);
	for (size_t i = 0; i < ARRAY_SIZE(f); i++)
		free(f[i].v);
	return r < 0 ? r : COMBINED_NEW;
}

/* --- the table ------------------------------------------------------------------- */

static const char *const config_paths[] = {
	"/var/cache/debconf/config.dat", "/var/cache/debconf/config.dat-old",
	"/var/cache/debconf/passwords.dat", "/var/cache/debconf/passwords.dat-old", NULL };
static const char *const templates_paths[] = {
	"/var/cache/debconf/templates.dat", "/var/cache/debconf/templates.dat-old", NULL };

const struct merge_driver merge_debconf = {
	.name = "debconf", .number = 6, .version = 1, .paths = config_paths, .monotone = true,
	.split = split_config, .describe = describe_question, .items = items, .order = items_order_bytes,
	.combine = combine,
};

const struct merge_driver merge_templates = {
	.name = "templates", .number = 7, .version = 1, .paths = templates_paths, .monotone = true,
	.split = split_templates, .describe = describe_template, .items = items, .order = items_order_bytes,
	.combine = combine,
};
