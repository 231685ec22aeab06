/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What dpkg itself refuses is refused (lib/dpkg/parse.c, src/main/filesdb.c of its sources): a
 * line that is neither field nor continuation, a field twice in a stanza, an empty name in a
 * list, a last line without its end. A database that is cut off must not look like a small one.
 */
#include "deb822.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"

int deb822_damaged(const struct deb822 *d, unsigned line, struct ply_err *err, const char *what)
{
	return ply_fail(err, -EBADMSG, PLY_R_PKGDB_DAMAGED, "%s, line %u: %s", d->file, line, what);
}

int deb822_init(struct deb822 *d, char *text, size_t len, const char *file, struct ply_err *err)
{
	const char *nul = len ? memchr(text, '\0', len) : NULL;

	*d = (struct deb822){ .at = text, .end = text + len, .file = file };
	if (nul) {
		unsigned line = 1;

		for (const char *p = text; p < nul; p++)
			line += *p == '\n';
		return deb822_damaged(d, line, err, "a NUL byte, where text is expected");
	}
	return 0;
}

int deb822_line(struct deb822 *d, char **ret, size_t *ret_len, struct ply_err *err)
{
	char *end;

	if (d->at == d->end)
		return 0;
	d->line++;
	end = memchr(d->at, '\n', (size_t)(d->end - d->at));
	if (!end)
		return deb822_damaged(d, d->line, err, "the last line has no end: the file is cut off");
	*end = '\0';
	*ret = d->at;
	*ret_len = (size_t)(end - d->at);
	d->at = end + 1;
	return 1;
}

static bool is_blank(const char *line, size_t len)
{
	return strspn(line, " \t\r") == len;
}

/* Join what continues a field to its value: the NUL that ended the line becomes a newline. */
static int take_continuation(struct deb822 *d, char *value, struct ply_err *err)
{
	while (d->at < d->end && (*d->at == ' ' || *d->at == '\t')) {
		char *line;
		size_t len;
		int r = deb822_line(d, &line, &len, err);

		if (r < 0)
			return r;
		line[-1] = '\n';
	}
	for (size_t n = strlen(value); n && strchr(" \t\r\n", value[n - 1]);)
		value[--n] = '\0';
	return 0;
}

int deb822_stanza(struct deb822 *d, struct deb822_field *fields, size_t nfields, unsigned *ret_line,
		  struct ply_err *err)
{
	bool any = false;

	for (size_t i = 0; i < nfields; i++)
		fields[i].value = NULL;
	for (;;) {
		struct deb822_field *field = NULL;
		char *line, *colon, *value;
		unsigned at;
		size_t len;
		int r = deb822_line(d, &line, &len, err);

		if (r <= 0)
			return r < 0 ? r : any;
		if (is_blank(line, len)) {
			if (any)
				return 1;
			continue;
		}
		at = d->line;
		colon = memchr(line, ':', len);
		if (*line == ' ' || *line == '\t')
			return deb822_damaged(d, at, err, "a continuation line continues no field");
		if (!colon || colon == line || (size_t)(colon - line) != strcspn(line, ": \t"))
			return deb822_damaged(d, at, err, "expected 'Field: value'");
		if (!any)
			*ret_line = at;
		any = true;
		*colon = '\0';
		value = colon + 1;
		value += strspn(value, " \t");
		for (size_t i = 0; i < nfields && !field; i++)
			if (!strcasecmp(line, fields[i].name))
				field = &fields[i];
		if (field && field->value)
			return deb822_damaged(d, at, err, "the field stands twice in its stanza");
		if (field)
			field->value = value;
		r = take_continuation(d, value, err);
		if (r < 0)
			return r;
	}
}

int dpkg_list_next(struct deb822 *d, char **ret, size_t *ret_len, struct ply_err *err)
{
	int r = deb822_line(d, ret, ret_len, err);

	if (r <= 0)
		return r;
	if (!*ret_len)
		return deb822_damaged(d, d->line, err, "an empty path");
	if (**ret != '/')
		return deb822_damaged(d, d->line, err, "a path that does not begin with a slash");
	return 1;
}

int dpkg_diversion_next(struct deb822 *d, struct dpkg_diversion *ret, struct ply_err *err)
{
	char *from, *to, *package;
	size_t len;
	int r;

	r = dpkg_list_next(d, &from, &len, err);
	if (r <= 0)
		return r;
	r = dpkg_list_next(d, &to, &len, err);
	if (r > 0)
		r = deb822_line(d, &package, &len, err);
	if (r < 0)
		return r;
	if (r == 0)
		return deb822_damaged(d, d->line, err,
				      "a diversion has three lines: from, to, package; the file is cut off");
	if (!len)
		return deb822_damaged(d, d->line, err, "a diversion without a package");
	*ret = (struct dpkg_diversion){ from, to, package };
	return 1;
}
