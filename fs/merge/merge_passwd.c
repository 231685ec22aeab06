/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drivers "passwd" and "shadow": files with one line per user.
 *
 *   file = *line
 *   line = NAME ":" rest           the user's (in subuid and subgid, NAME may be a number)
 *        / "+" ... / "-" ... / "#" ... / blank      NIS, comments: the operating system's
 *
 * Spaces before a name do not count, as in glibc. A line without a colon is none that any program
 * writes: the file stays whole. A backup (passwd-, update-passwd's .org, /var/backups) is cut like the
 * file, else it would tell a removed component's password hash.
 */
#include "merge/drivers.h"
#include "merge/items.h"
#include "merge/parse.h"

static bool all_digits(struct span a)
{
	for (size_t i = 0; i < a.len; i++)
		if (a.s[i] < '0' || a.s[i] > '9')
			return false;
	return a.len > 0;
}

/* In /etc/subuid a number means the user that has it. */
static int user_or_number(const struct merge_facts *f, struct span name, bool numbers, uint32_t *ret)
{
	char id[24];

	if (!numbers || !all_digits(name) || name.len >= sizeof(id))
		return fact_user(f, name, ret);
	id[0] = '#';
	memcpy(id + 1, name.s, name.len);
	return f->user(f->ctx, id, name.len + 1, ret);
}

static int split(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		 struct records *ret, struct ply_err *err)
{
	bool numbers = !strncmp(base_name(path), "sub", 3);
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text, len, err);

	while (r == 0 && lines_next(&lines, &line)) {
		struct span rest = span_trim(line.text), name;
		uint32_t cond = COND_ALWAYS;

		if (rest.len && !strchr("+-#", rest.s[0])) {
			span_cut(&rest, ':', &name);
			if (!rest.s)
				return merge_bad(err, line.no, "no colon");
			r = name.len ? user_or_number(f, name, numbers, &cond) : 0;
		}
		if (r == 0)
			r = add_span(ret, line.all, cond, 0);
	}
	return r;
}

static int describe(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	struct span line = span_trim(first_line(data, len)), name;

	(void)flags;
	if (!line.len || strchr("+-#:", line.s[0]) || !memchr(line.s, ':', line.len))
		return describe_as(out, "line", line);
	span_cut(&line, ':', &name);
	return describe_as(out, "user", name);
}

/* --- three-way ------------------------------------------------------------------- */

#define LAST_CHANGE 2u             /* the field of the day on which the password was changed */

/* Equal but for that day: two machines that were installed on different days differ in it. */
static bool same_but_day(struct span a, struct span b)
{
	struct span x, y;

	for (unsigned i = 0; a.s && b.s; i++) {
		span_cut(&a, ':', &x);
		span_cut(&b, ':', &y);
		if (i != LAST_CHANGE && !span_is(x, y))
			return false;
	}
	return a.s == b.s;         /* both at their end */
}

/* UINT64_MAX: it says none. */
static uint64_t day_of(struct span line)
{
	struct span field = { NULL, 0 };
	uint64_t day = 0;

	for (unsigned i = 0; i <= LAST_CHANGE && span_cut(&line, ':', &field); i++)
		;
	if (!all_digits(field) || field.len > 9)
		return UINT64_MAX;
	for (size_t i = 0; i < field.len; i++)
		day = day * 10 + (field.s[i] - '0');
	return day;
}

/* The day alone is no change; of two days the older one stays. */
static int combine_shadow(const char *path, const struct item *base, const struct item *ours, const struct item *theirs,
			  struct buf *out)
{
	(void)out;
	if (strncmp(base_name(path), "shadow", 6))     /* subuid: the third field is how many */
		return COMBINED_CLASH;
	if (ours && theirs && same_but_day(ours->value, theirs->value))
		return day_of(theirs->value) < day_of(ours->value) ? COMBINED_THEIRS : COMBINED_OURS;
	if (base && ours && same_but_day(ours->value, base->value))
		return COMBINED_THEIRS;
	if (base && theirs && same_but_day(theirs->value, base->value))
		return COMBINED_OURS;
	return COMBINED_CLASH;
}

/* --- the table ------------------------------------------------------------------- */

static const char *const passwd_paths[] = { "/etc/passwd", "/etc/passwd-", "/etc/passwd.org",
					    "/var/backups/passwd.bak", NULL };
static const char *const shadow_paths[] = { "/etc/shadow", "/etc/shadow-", "/etc/shadow.org",
					    "/var/backups/shadow.bak", "/etc/subuid", "/etc/subuid-",
					    "/etc/subgid", "/etc/subgid-", NULL };

const struct merge_driver merge_passwd = {
	.name = "passwd", .number = 1, .version = 1, .paths = passwd_paths, .monotone = true,
	.split = split, .describe = describe, .items = items_by_name,
};

const struct merge_driver merge_shadow = {
	.name = "shadow", .number = 2, .version = 1, .paths = shadow_paths, .monotone = true,
	.split = split, .describe = describe, .items = items_by_name, .combine = combine_shadow,
};
