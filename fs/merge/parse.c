/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the drivers of text files share: see parse.h. */
#include "merge/parse.h"

#include <errno.h>
#include <strings.h>

#include "base/util.h"
#include "codec/codec.h"

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

struct span span_trim(struct span a)
{
	while (a.len && is_blank(a.s[0]))
		a = (struct span){ a.s + 1, a.len - 1 };
	while (a.len && is_blank(a.s[a.len - 1]))
		a.len--;
	return a;
}

bool span_cut(struct span *a, char sep, struct span *ret)
{
	const uint8_t *at;

	if (!a->s)
		return false;
	at = a->len ? memchr(a->s, sep, a->len) : NULL;
	if (at) {
		*ret = (struct span){ a->s, (size_t)(at - a->s) };
		*a = (struct span){ at + 1, a->len - ret->len - 1 };
	} else {
		*ret = *a;
		*a = (struct span){ NULL, 0 };
	}
	return true;
}

struct span span_word(struct span a)
{
	size_t n = 0;

	a = span_trim(a);
	while (n < a.len && !is_blank(a.s[n]))
		n++;
	return (struct span){ a.s, n };
}

bool span_starts(struct span a, char c)
{
	return a.len && a.s[0] == (uint8_t)c;
}

uint64_t span_hash(struct span a)
{
	return xxh3(a.s, a.len, 0);
}

const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int merge_bad(struct ply_err *err, uint32_t line, const char *what)
{
	return ply_fail(err, -EUCLEAN, PLY_R_MERGE_SYNTAX, "line %u: %s", line, what);
}

int merge_clash(struct ply_err *err, const char *what)
{
	return ply_fail(err, -ENOTUNIQ, PLY_R_MERGE_CLASH, "%s", what);
}

/* --- lines ------------------------------------------------------------------- */

int lines_init(struct lines *l, const uint8_t *text, size_t len, struct ply_err *err)
{
	const uint8_t *nul = len ? memchr(text, 0, len) : NULL;
	uint32_t no = 1;

	*l = (struct lines){ text, len ? text + len : text, 0 };
	if (!nul)
		return 0;
	for (const uint8_t *p = text; p < nul; p++)
		no += *p == '\n';
	return merge_bad(err, no, "a NUL byte");
}

bool lines_next(struct lines *l, struct line *ret)
{
	size_t left = (size_t)(l->end - l->at);
	const uint8_t *nl;

	if (!left)
		return false;
	nl = memchr(l->at, '\n', left);
	ret->text = (struct span){ l->at, nl ? (size_t)(nl - l->at) : left };
	ret->all = (struct span){ l->at, ret->text.len + (nl ? 1 : 0) };
	ret->no = ++l->no;
	l->at += ret->all.len;
	return true;
}

int lines_next_whole(struct lines *l, struct line *ret, struct ply_err *err)
{
	if (!lines_next(l, ret))
		return 0;
	return ret->all.len > ret->text.len ? 1 : merge_bad(err, ret->no, "nothing ends it: the file was cut off");
}

/* --- stanzas ----------------------------------------------------------------- */

int stanza_next(struct lines *l, struct stanza *ret, struct ply_err *err)
{
	struct lines before;
	struct line line;

	*ret = (struct stanza){ { l->at, 0 }, { l->at, 0 }, l->no + 1 };
	while (before = *l, lines_next(l, &line)) {
		bool more = ret->all.len == ret->fields.len;

		if (!line.text.len) {
			ret->all = span_join(ret->all, line.all);
			continue;
		}
		if (!more) {           /* the next stanza's */
			*l = before;
			break;
		}
		if (is_blank(line.text.s[0])) {
			if (!ret->fields.len)
				return merge_bad(err, line.no, "continues no field");
		} else if (line.text.s[0] == ':' || !memchr(line.text.s, ':', line.text.len)) {
			return merge_bad(err, line.no, "not a field");
		}
		ret->fields = ret->all = span_join(ret->all, line.all);
	}
	return ret->all.len > 0;
}

int stanza_field(const struct stanza *s, const char *name, struct span *ret, struct ply_err *err)
{
	struct lines l = { s->fields.s, s->fields.s + s->fields.len, s->no - 1 };
	size_t n = strlen(name);
	struct line line;
	int found = 0;

	while (lines_next(&l, &line)) {
		if (line.text.len <= n || line.text.s[n] != ':' || strncasecmp((const char *)line.text.s, name, n))
			continue;
		if (found++)
			return merge_bad(err, line.no, "a field for the second time");
		*ret = span_trim((struct span){ line.text.s + n + 1, line.text.len - n - 1 });
	}
	return found;
}

/* --- facts ------------------------------------------------------------------- */

int fact_owner(const struct merge_facts *f, struct span spec, uint32_t *ret)
{
	struct span rest = span_trim(spec), name, arch;

	span_cut(&rest, '/', &arch);      /* the name with its architecture */
	span_cut(&arch, ':', &name);
	*ret = COND_ALWAYS;
	return !name.len ? 0 : f->package(f->ctx, (const char *)name.s, name.len,
					  arch.s ? (const char *)arch.s : "", arch.len, ret);
}

int fact_package(const struct merge_facts *f, struct span spec, uint32_t *ret)
{
	int r = fact_owner(f, spec, ret);

	return MIN(r, 0);
}

int fact_path(const struct merge_facts *f, struct span path, uint32_t *ret)
{
	return f->path(f->ctx, (const char *)path.s, path.len, ret);
}

int fact_user(const struct merge_facts *f, struct span name, uint32_t *ret)
{
	return f->user(f->ctx, (const char *)name.s, name.len, ret);
}

int fact_group(const struct merge_facts *f, struct span name, uint32_t *ret)
{
	return f->group(f->ctx, (const char *)name.s, name.len, ret);
}

int add_span(struct records *r, struct span bytes, uint32_t cond, uint32_t flags)
{
	return records_add(r, bytes.s, bytes.len, cond, flags);
}

int describe_as(struct buf *out, const char *what, struct span name)
{
	int r = buf_add(out, what, strlen(what));

	if (r == 0 && name.len && (r = buf_add(out, " ", 1)) == 0)
		r = buf_add(out, name.s, name.len);
	return r;
}

struct span first_line(const uint8_t *data, size_t len)
{
	const uint8_t *nl = len ? memchr(data, '\n', len) : NULL;

	return (struct span){ data, nl ? (size_t)(nl - data) : len };
}
