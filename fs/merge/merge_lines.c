/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drivers "ucf" and "pathlines": lines that belong to whom the path on them belongs to.
 *
 *   hashfile            = *( MD5 blanks PATH LF )            the path's
 *   registry            = *( PACKAGE blanks PATH LF )        the path's; where nobody knows that, the package's
 *   shells              = *( PATH [ blanks ... ] LF / other LF )         other: the operating system's
 *   ca-certificates.conf = *( [ "!" ] NAME LF / "#" ... LF )  NAME: below /usr/share/ca-certificates
 *
 * ucf keeps eight older copies of each of its files (hashfile.0 to .7); they go the same way. Empty
 * lines and comments are the operating system's. ucf's files with a line of another form stay
 * whole; the other two are written by people, and have no wrong form.
 */
#include "merge/drivers.h"
#include "merge/items.h"
#include "merge/parse.h"

#define CERTIFICATES "/usr/share/ca-certificates/"

/* "WORD  /path": false where it is not. */
static bool parse_ucf(struct span line, struct span *ret_word, struct span *ret_path)
{
	line = span_trim(line);
	*ret_word = span_word(line);
	*ret_path = span_trim((struct span){ line.s + ret_word->len, line.len - ret_word->len });
	return span_starts(*ret_path, '/');
}

static int split_ucf(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		     struct records *ret, struct ply_err *err)
{
	bool registry = !strncmp(base_name(path), "registry", 8);
	struct span word, of;
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text, len, err);

	while (r == 0 && lines_next(&lines, &line)) {
		uint32_t cond = COND_ALWAYS;

		if (span_trim(line.text).len && !span_starts(line.text, '#')) {
			if (!parse_ucf(line.text, &word, &of))
				return merge_bad(err, line.no, registry ? "not `PACKAGE PATH`" : "not `MD5 PATH`");
			r = fact_path(f, of, &cond);
			if (r == 0 && registry && cond == COND_ALWAYS)
				r = fact_package(f, word, &cond);
		}
		if (r == 0)
			r = add_span(ret, line.all, cond, 0);
	}
	return r;
}

static int describe_ucf(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	struct span word, path;

	(void)flags;
	if (!parse_ucf(first_line(data, len), &word, &path))
		return describe_as(out, "line", first_line(data, len));
	return describe_as(out, "configuration file", path);
}

static int split_pathlines(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
			   struct records *ret, struct ply_err *err)
{
	bool certificates = !strncmp(base_name(path), "ca-certificates", 15);
	_cleanup_buf_ struct buf full = { 0 };
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text, len, err);

	while (r == 0 && lines_next(&lines, &line)) {
		struct span of = span_trim(line.text);
		uint32_t cond = COND_ALWAYS;

		if (certificates && of.len && !span_starts(of, '#')) {
			if (span_starts(of, '!'))
				of = span_trim((struct span){ of.s + 1, of.len - 1 });
			full.len = 0;
			r = buf_add(&full, CERTIFICATES, strlen(CERTIFICATES));
			if (r == 0)
				r = buf_add(&full, of.s, of.len);
			if (r == 0)
				r = fact_path(f, (struct span){ full.data, full.len }, &cond);
		} else if (!certificates && span_starts(of, '/')) {
			r = fact_path(f, span_word(of), &cond);
		}
		if (r == 0)
			r = add_span(ret, line.all, cond, 0);
	}
	return r;
}

static int describe_pathline(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	struct span line = span_trim(first_line(data, len));

	(void)flags;
	return describe_as(out, line.len && !span_starts(line, '#') ? "path" : "line", line);
}

/* --- three-way ------------------------------------------------------------------- */

static int ucf_items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text.s, text.len, err);

	(void)path;
	while (r == 0 && lines_next(&lines, &line)) {
		struct span word, key = line.text;

		if (span_trim(line.text).len && !span_starts(line.text, '#') && !parse_ucf(line.text, &word, &key))
			return merge_bad(err, line.no, "not `WORD PATH`");
		r = items_add_line(ret, key, &line);
	}
	return r;
}

/* What ucf remembers of a file is a help for its next question: the first's will do. */
static int combine_ucf(const char *path, const struct item *base, const struct item *ours, const struct item *theirs,
		       struct buf *out)
{
	(void)path;
	(void)base;
	(void)out;
	return ours && theirs ? COMBINED_OURS : COMBINED_CLASH;
}

/* A certificate's name is its key, with or without the mark that it is not wanted. */
static int pathline_items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	bool certificates = !strncmp(base_name(path), "ca-certificates", 15);
	struct lines lines;
	struct line line;
	int r = lines_init(&lines, text.s, text.len, err);

	while (r == 0 && lines_next(&lines, &line)) {
		struct span key = span_trim(line.text);

		if (certificates && span_starts(key, '!'))
			key = span_trim((struct span){ key.s + 1, key.len - 1 });
		r = items_add_line(ret, key, &line);
	}
	return r;
}

/* --- the table ------------------------------------------------------------------- */

static const char *const ucf_paths[] = { "/var/lib/ucf/hashfile*", "/var/lib/ucf/registry*", NULL };
static const char *const pathlines_paths[] = { "/etc/shells", "/var/lib/shells.state", "/etc/ca-certificates.conf",
					       "/etc/ca-certificates.conf.dpkg-old", NULL };

const struct merge_driver merge_ucf = {
	.name = "ucf", .number = 13, .version = 1, .paths = ucf_paths, .monotone = true,
	.split = split_ucf, .describe = describe_ucf, .items = ucf_items, .combine = combine_ucf,
};

const struct merge_driver merge_pathlines = {
	.name = "pathlines", .number = 14, .version = 1, .paths = pathlines_paths, .monotone = true,
	.split = split_pathlines, .describe = describe_pathline, .items = pathline_items,
};
