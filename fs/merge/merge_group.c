/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver "group": /etc/group and /etc/gshadow.
 *
 *   file    = *line
 *   line    = NAME ":" PASSWORD ":" GID ":" list         group
 *           / NAME ":" PASSWORD ":" list ":" list        gshadow: administrators, members
 *           / "+" ... / "-" ... / "#" ... / blank         the operating system's
 *   list    = [ USER *( "," USER ) ]
 *
 * A line is the group's, but each member is there where its user and the group are: were a line one
 * record, a selection would have members that are no users, or lose those of its own. So a line with
 * members is several records: what stands before a list, its members (RECORD_ITEM: the commas are
 * made when it is rendered), and what stands behind. Of both conditions the user's comes first, so
 * that a component tells about nobody but its own users. Members that are empty ("a,,b", "a,")
 * are the group's and come back as they are. A line with fewer fields has no lists, one with more
 * has them in its last one. Without a colon: the file stays whole.
 */
#include <errno.h>

#include "merge/drivers.h"
#include "merge/items.h"
#include "merge/parse.h"

static int add_members(struct span list, const struct merge_facts *f, uint32_t group, struct records *ret)
{
	struct span item;
	int r = 0;

	while (r == 0 && span_cut(&list, ',', &item)) {
		struct span user = span_trim(item);
		uint32_t cond = COND_ALWAYS;

		if (user.len)
			r = fact_user(f, user, &cond);
		if (r == 0)
			r = conds_and(f->conds, cond, group, &cond);
		if (r == 0)
			r = add_span(ret, item, cond, RECORD_ITEM);
	}
	return r;
}

/* @fields fields come before the lists. */
static int add_line(const struct line *line, unsigned fields, const struct merge_facts *f, uint32_t group,
		    struct records *ret)
{
	struct span rest = line->text, part, before = { line->all.s, 0 };
	int r = 0;

	for (unsigned i = 0; rest.s && i < fields; i++)
		span_cut(&rest, ':', &part);
	while (r == 0 && rest.s) {
		const uint8_t *list = rest.s;

		/* gshadow has two lists; the last one goes to the end of the line */
		if (fields++ == 2 && memchr(rest.s, ':', rest.len))
			span_cut(&rest, ':', &part);
		else
			part = rest, rest.s = NULL;
		if (!part.len)
			continue;
		r = add_span(ret, span_join(before, (struct span){ list, 0 }), group, 0);
		if (r == 0)
			r = add_members(part, f, group, ret);
		before = (struct span){ part.s + part.len, 0 };
	}
	before = span_join(before, (struct span){ line->all.s + line->all.len, 0 });
	return r == 0 && before.len ? add_span(ret, before, group, 0) : r;
}

static int split(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		 struct records *ret, struct ply_err *err)
{
	unsigned fields = strncmp(base_name(path), "gshadow", 7) ? 3 : 2;
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text, len, err);

	while (r == 0 && lines_next(&lines, &line)) {
		struct span rest = span_trim(line.text), name;
		uint32_t cond = COND_ALWAYS;

		if (!rest.len || strchr("+-#", rest.s[0])) {
			r = add_span(ret, line.all, COND_ALWAYS, 0);
			continue;
		}
		span_cut(&rest, ':', &name);
		if (!rest.s)
			return merge_bad(err, line.no, "no colon");
		r = name.len ? fact_group(f, name, &cond) : 0;
		if (r == 0)
			r = add_line(&line, fields, f, cond, ret);
	}
	return r;
}

static int describe(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	struct span line = first_line(data, len), trimmed = span_trim(line), name;

	if (flags & RECORD_ITEM)
		return describe_as(out, "member", line);
	if (!trimmed.len || trimmed.s[0] == ':')
		return describe_as(out, "what is behind members", (struct span){ NULL, 0 });
	if (strchr("+-#", trimmed.s[0]) || !memchr(trimmed.s, ':', trimmed.len))
		return describe_as(out, "line", trimmed);
	span_cut(&trimmed, ':', &name);
	return describe_as(out, "group", name);
}

/* --- three-way ------------------------------------------------------------------- */

#define FIELDS 4u

/* False: not as many as there should be. */
static bool cut_fields(struct span line, struct span ret[FIELDS])
{
	for (unsigned i = 0; i < FIELDS; i++)
		if (!span_cut(&line, ':', &ret[i]))
			return false;
	return !line.s;
}

/* Field by field; of lists those that are in both, and those that are new in one. */
static int combine(const char *path, const struct item *base, const struct item *ours, const struct item *theirs,
		   struct buf *out)
{
	unsigned lists = strncmp(base_name(path), "gshadow", 7) ? 3 : 2;
	struct span b[FIELDS], o[FIELDS], t[FIELDS], field;
	size_t begin = out->len;
	int r = 0;

	if (!ours || !theirs || !cut_fields(ours->value, o) || !cut_fields(theirs->value, t) ||
	    (base && !cut_fields(base->value, b)))
		return COMBINED_CLASH;
	for (unsigned i = 0; r == 0 && i < FIELDS; i++) {
		if (i && buf_add(out, ":", 1) < 0)
			r = -ENOMEM;
		else if (three_way(base ? &b[i] : NULL, o[i], t[i], &field))
			r = buf_add(out, field.s, field.len);
		else if (i >= lists)
			r = three_way_list(base ? &b[i] : NULL, o[i], t[i], ',', ",", false, out);
		else if (i)
			return out->len = begin, COMBINED_CLASH;
		else
			r = buf_add(out, o[i].s, o[i].len);    /* the name, with other spaces before it */
	}
	if (r == 0 && ours->all.len > ours->value.len)
		r = buf_add(out, "\n", 1);
	return r < 0 ? r : COMBINED_NEW;
}

/* --- the table ------------------------------------------------------------------- */

static const char *const paths[] = { "/etc/group", "/etc/group-", "/etc/group.org", "/var/backups/group.bak",
				     "/etc/gshadow", "/etc/gshadow-", "/var/backups/gshadow.bak", NULL };

const struct merge_driver merge_group = {
	.name = "group", .number = 3, .version = 1, .paths = paths, .monotone = true,
	.split = split, .describe = describe, .items = items_by_name, .combine = combine,
};
