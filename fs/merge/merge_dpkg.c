/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drivers of dpkg's small files: "diversions", "statoverride", "trigger-file", "trigger-name".
 *
 *   diversions    = *( FROM LF TO LF ( PACKAGE / ":" ) LF )      the package's; `:`: the administrator's
 *   statoverride  = *( USER SP GROUP SP MODE SP PATH LF )        all three must be there
 *   triggers/File = *( PATH SP PACKAGE LF )                      the package's
 *   triggers/NAME = *( PACKAGE LF )                              the package's
 *   PACKAGE       = name [ ":" architecture ] [ "/" option ]     option: noawait
 *   USER, GROUP   = name / "#" number
 *
 * dpkg itself refuses to work with files that do not follow this grammar, to the last line's end;
 * here they stay whole. No tool notices a line that should not be there: a trigger of a package
 * that is not installed, an override for a group that is not known, until dpkg unpacks something.
 */
#include "base/util.h"
#include "merge/diversions.h"
#include "merge/drivers.h"
#include "merge/items.h"

/* Split line by line: @condition says whose each is. */
typedef int condition_fn(const struct line *line, const struct merge_facts *f, uint32_t *ret,
			 struct ply_err *err);

static int split_lines(const uint8_t *text, size_t len, const struct merge_facts *f, condition_fn *condition,
		       struct records *ret, struct ply_err *err)
{
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text, len, err);

	while (r == 0 && (r = lines_next_whole(&lines, &line, err)) > 0) {
		uint32_t cond;

		r = condition(&line, f, &cond, err);
		if (r == 0)
			r = add_span(ret, line.all, cond, 0);
	}
	return r;
}

/* --- diversions ------------------------------------------------------------------- */

int diversion_next(struct lines *l, struct diversion *ret, struct ply_err *err)
{
	struct line line[3];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(line); i++) {
		r = lines_next_whole(l, &line[i], err);
		if (r < 0 || (r == 0 && i == 0))
			return r;
		if (r == 0)
			return merge_bad(err, l->no, "a diversion of fewer than three lines");
		if (i < 2 ? !span_starts(line[i].text, '/') : !line[i].text.len)
			return merge_bad(err, line[i].no, i < 2 ? "a diversion's path that is not absolute" :
					 "a diversion of no package");
	}
	*ret = (struct diversion){ line[0].text, line[1].text, line[2].text,
				   span_join(line[0].all, line[2].all) };
	return 1;
}

static int split_diversions(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
			    struct records *ret, struct ply_err *err)
{
	struct diversion d;
	struct lines lines;
	int r = lines_init(&lines, text, len, err);

	(void)path;
	while (r == 0 && (r = diversion_next(&lines, &d, err)) > 0) {
		uint32_t cond;

		r = fact_package(f, d.package, &cond);     /* `:` has no name, and is nobody's */
		if (r == 0)
			r = add_span(ret, d.all, cond, 0);
	}
	return r;
}

static int describe_diversion(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	(void)flags;
	return describe_as(out, "diversion of", first_line(data, len));
}

/* --- statoverride ------------------------------------------------------------------- */

/* *@rest becomes the path. False: not such a line. */
static bool parse_override(struct span *rest, struct span *ret_user, struct span *ret_group)
{
	struct span mode;

	if (!span_cut(rest, ' ', ret_user) || !ret_user->len || !span_cut(rest, ' ', ret_group) ||
	    !ret_group->len || !span_cut(rest, ' ', &mode) || !mode.len || !rest->s || !span_starts(*rest, '/'))
		return false;
	for (size_t i = 0; i < mode.len; i++)
		if (mode.s[i] < '0' || mode.s[i] > '7')
			return false;
	return true;
}

static int override_condition(const struct line *line, const struct merge_facts *f, uint32_t *ret,
			      struct ply_err *err)
{
	struct span path = line->text, user, group;
	uint32_t all, one;
	int r;

	if (!parse_override(&path, &user, &group))
		return merge_bad(err, line->no, "not `USER GROUP MODE PATH`");
	r = fact_path(f, path, &all);
	if (r == 0)
		r = fact_user(f, user, &one);
	if (r == 0)
		r = conds_and(f->conds, all, one, &all);
	if (r == 0)
		r = fact_group(f, group, &one);
	return r == 0 ? conds_and(f->conds, all, one, ret) : r;
}

static int split_statoverride(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
			      struct records *ret, struct ply_err *err)
{
	(void)path;
	return split_lines(text, len, f, override_condition, ret, err);
}

static int describe_override(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	struct span rest = first_line(data, len), user, group;

	(void)flags;
	if (!parse_override(&rest, &user, &group))
		return describe_as(out, "line", first_line(data, len));
	return describe_as(out, "override of", rest);
}

/* --- triggers ------------------------------------------------------------------- */

/* The last word of a line; *ret_path is what is before it. */
static bool parse_file_trigger(struct span line, struct span *ret_path, struct span *ret_package)
{
	const uint8_t *space = line.len ? memrchr(line.s, ' ', line.len) : NULL;

	if (!space || !span_starts(line, '/') || space + 1 == line.s + line.len)
		return false;
	*ret_path = (struct span){ line.s, (size_t)(space - line.s) };
	*ret_package = (struct span){ space + 1, line.len - ret_path->len - 1 };
	return true;
}

static int file_trigger_condition(const struct line *line, const struct merge_facts *f, uint32_t *ret,
				  struct ply_err *err)
{
	struct span path, package;

	if (!parse_file_trigger(line->text, &path, &package))
		return merge_bad(err, line->no, "not `PATH PACKAGE`");
	return fact_package(f, package, ret);
}

static int trigger_condition(const struct line *line, const struct merge_facts *f, uint32_t *ret,
			     struct ply_err *err)
{
	if (!line->text.len || span_word(line->text).len != line->text.len)
		return merge_bad(err, line->no, "not a package");
	return fact_package(f, line->text, ret);
}

static int split_file_triggers(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
			       struct records *ret, struct ply_err *err)
{
	(void)path;
	return split_lines(text, len, f, file_trigger_condition, ret, err);
}

static int split_triggers(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
			  struct records *ret, struct ply_err *err)
{
	(void)path;
	return split_lines(text, len, f, trigger_condition, ret, err);
}

static int describe_trigger(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	(void)flags;
	return describe_as(out, "trigger", first_line(data, len));
}

/* --- three-way ------------------------------------------------------------------- */

static int diversion_items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	struct diversion d;
	struct lines lines;
	int r = lines_init(&lines, text.s, text.len, err);

	(void)path;
	while (r == 0 && (r = diversion_next(&lines, &d, err)) > 0)
		r = items_add(ret, (struct item){ .key = d.from, .value = d.all, .all = d.all });
	return r;
}

/* The key of a line; false: not such a line. */
typedef bool key_fn(struct span line, struct span *ret);

static int line_items(struct span text, key_fn *key, const char *what, struct items *ret, struct ply_err *err)
{
	struct lines lines;
	struct line line;
	struct span k;
	int r = lines_init(&lines, text.s, text.len, err);

	while (r == 0 && (r = lines_next_whole(&lines, &line, err)) > 0) {
		if (!key(line.text, &k))
			return merge_bad(err, line.no, what);
		r = items_add_line(ret, k, &line);
	}
	return r;
}

/* dpkg keeps them in a table by their path: their order means nothing. */
static bool override_key(struct span line, struct span *ret)
{
	struct span user, group;

	*ret = line;
	return parse_override(ret, &user, &group);
}

static int override_items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	(void)path;
	return line_items(text, override_key, "not `USER GROUP MODE PATH`", ret, err);
}

/* The whole line: what two say is said by both. */
static bool file_trigger_key(struct span line, struct span *ret)
{
	struct span path, package;

	*ret = line;
	return parse_file_trigger(line, &path, &package);
}

static int file_trigger_items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	(void)path;
	return line_items(text, file_trigger_key, "not `PATH PACKAGE`", ret, err);
}

static bool trigger_key(struct span line, struct span *ret)
{
	*ret = line;
	return line.len && span_word(line).len == line.len;
}

static int trigger_items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	(void)path;
	return line_items(text, trigger_key, "not a package", ret, err);
}

/* --- the table ------------------------------------------------------------------- */

static const char *const diversions_paths[] = { "/var/lib/dpkg/diversions", "/var/lib/dpkg/diversions-old",
						"/var/backups/dpkg.diversions.0", NULL };
static const char *const statoverride_paths[] = { "/var/lib/dpkg/statoverride",
						  "/var/lib/dpkg/statoverride-old",
						  "/var/backups/dpkg.statoverride.0", NULL };
static const char *const file_triggers_paths[] = { "/var/lib/dpkg/triggers/File", NULL };
/* Lock is empty; a machine with something in Unincorp is not captured. */
static const char *const triggers_paths[] = { "!/var/lib/dpkg/triggers/Lock", "!/var/lib/dpkg/triggers/Unincorp",
					      "/var/lib/dpkg/triggers/*", NULL };

const struct merge_driver merge_diversions = {
	.name = "diversions", .number = 8, .version = 1, .paths = diversions_paths, .monotone = true,
	.split = split_diversions, .describe = describe_diversion, .items = diversion_items,
};

const struct merge_driver merge_statoverride = {
	.name = "statoverride", .number = 9, .version = 1, .paths = statoverride_paths, .monotone = true,
	.split = split_statoverride, .describe = describe_override, .items = override_items,
};

const struct merge_driver merge_trigger_file = {
	.name = "trigger-file", .number = 10, .version = 1, .paths = file_triggers_paths, .monotone = true,
	.split = split_file_triggers, .describe = describe_trigger, .items = file_trigger_items,
};

const struct merge_driver merge_trigger_name = {
	.name = "trigger-name", .number = 11, .version = 1, .paths = triggers_paths, .monotone = true,
	.vanishes = true,
	.split = split_triggers, .describe = describe_trigger, .items = trigger_items,
};
