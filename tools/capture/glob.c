/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backtracking matcher: see glob.h. What follows a star is tried at each place of the path; a
 * pair of places that has failed once is remembered and fails at once, so that no pattern is
 * exponential: a manifest may come from anybody. Where a pair fails does not depend on what was
 * captured before. Stars that stand for nothing nest without using up the path, so the length of a pattern bounds the stack.
 *
 * fnmatch() was rejected: it has neither captures nor stars across slashes, and its own
 * backtracking has no bound. Regular expressions in a file of paths are read wrongly by people.
 */
#include "capture/glob.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "capture/scan.h"

#define SMALL 4096                 /* bytes of a table that needs no allocation */

struct match {
	const char *pattern, *path;
	size_t width;              /* of a row: places in the path */
	uint8_t *failed;           /* bits: pairs of places; NULL: not remembered */
	struct glob_captures *c;
};

static bool match(struct match *m, const char *p, const char *path);

/* A class "[a-z]" at @p: its length, 0 where it is not closed; *ret: does @c match? */
static size_t match_class(const char *p, char c, bool *ret)
{
	size_t i = 1;
	bool negated = p[i] == '!' || p[i] == '^', hit = false;

	i += negated;
	for (size_t first = i; p[i] && (p[i] != ']' || i == first);) {
		unsigned char lo = (unsigned char)p[i++], hi = lo;

		if (p[i] == '-' && p[i + 1] && p[i + 1] != ']') {
			hi = (unsigned char)p[i + 1];
			i += 2;
		}
		hit |= (unsigned char)c >= lo && (unsigned char)c <= hi;
	}
	if (!p[i])
		return 0;
	*ret = hit != negated && c && c != '/';
	return i + 1;
}

/* The rest of the pattern, behind a star or capture that took @path up to any length. */
static bool match_some(struct match *m, const char *rest, const char *path, size_t at_least, bool cross,
		       size_t *ret_len)
{
	for (size_t n = 0;; n++) {
		unsigned captured = m->c ? m->c->n : 0;

		if (n >= at_least && match(m, rest, path + n)) {
			if (ret_len)
				*ret_len = n;
			return true;
		}
		if (m->c)
			m->c->n = captured;
		if (!path[n] || (path[n] == '/' && !cross))
			return false;
	}
}

static bool match_capture(struct match *m, const char *p, const char *path)
{
	size_t len = strcspn(p, "}"), took;
	unsigned slot = m->c->n;

	if (slot >= GLOB_CAPTURES || !p[len])
		return false;
	m->c->n++;
	if (!match_some(m, p + len + 1, path, 1, false, &took)) {
		m->c->n = slot;
		return false;
	}
	m->c->v[slot].name = p + 1;
	m->c->v[slot].name_len = len - 1;
	m->c->v[slot].text = path;
	m->c->v[slot].len = took;
	return true;
}

/* One byte of the path: how many bytes of the pattern stand for it; 0: it does not match. */
static size_t match_byte(const char *p, char c)
{
	bool hit = false;
	size_t n;

	switch (*p) {
	case '?':
		return c && c != '/';
	case '[':
		n = match_class(p, c, &hit);
		if (n)
			return hit ? n : 0;
		break;             /* not closed: a byte like others */
	case '\\':
		if (p[1])
			return p[1] == c ? 2 : 0;
		break;
	}
	return *p == c;
}

static bool match_here(struct match *m, const char *p, const char *path)
{
	for (; *p; path++) {
		size_t n;

		if (p[0] == '*' && p[1] == '*')
			return (p[2] == '/' && match(m, p + 3, path)) ||
			       match_some(m, p + 2, path, p[2] ? 0 : 1, true, NULL);
		if (*p == '*')
			return match_some(m, p + 1, path, 0, false, NULL);
		if (*p == '{' && m->c)
			return match_capture(m, p, path);
		n = match_byte(p, *path);
		if (!n)
			return false;
		p += n;
	}
	return !*path;
}

static bool match(struct match *m, const char *p, const char *path)
{
	size_t bit = (size_t)(p - m->pattern) * m->width + (size_t)(path - m->path);

	if (m->failed && m->failed[bit / 8] >> bit % 8 & 1)
		return false;
	if (match_here(m, p, path))
		return true;
	if (m->failed)
		m->failed[bit / 8] |= (uint8_t)(1u << bit % 8);
	return false;
}

static bool is_special(char c, bool braces)
{
	switch (c) {
	case '*': case '?': case '[': case ']': case '\\':
		return true;
	case '{': case '}':
		return braces;
	}
	return false;
}

/* Nearly every path fails at its first bytes, before the first star, or at its last ones. */
static bool may_match(const char *pattern, size_t plen, const char *path, size_t len, bool braces)
{
	for (size_t i = 0; i < plen && !is_special(pattern[i], braces); i++)
		if (pattern[i] != path[i])
			return false;
	for (; plen && !is_special(pattern[plen - 1], braces); plen--, len--) {
		if (pattern[plen - 1] == '/' && plen > 1 && pattern[plen - 2] == '*')
			break;     /* two stars and a slash may stand for nothing */
		if (!len || pattern[plen - 1] != path[len - 1])
			return false;
	}
	return true;
}

bool glob_any_too_long(const char *const *patterns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(patterns[i]) > GLOB_MAX)
			return true;
	return false;
}

bool glob_may_begin(const char *pattern, char c)
{
	return *pattern == c || is_special(*pattern, true);
}

bool glob_match(const char *pattern, const char *path, struct glob_captures *c)
{
	struct match m = { .pattern = pattern, .path = path, .c = c };
	_cleanup_free_ uint8_t *large = NULL;
	uint8_t small[SMALL];
	size_t plen = strlen(pattern), len = strlen(path), bytes;

	if (c)
		c->n = 0;
	if (plen > GLOB_MAX || !may_match(pattern, plen, path, len, c != NULL))
		return false;
	m.width = len + 1;
	bytes = (plen + 1) * m.width / 8 + 1;
	if (bytes <= sizeof(small)) {
		memset(small, 0, bytes);
		m.failed = small;
	} else {
		m.failed = large = calloc(bytes, 1);   /* without it only slower */
	}
	return match(&m, pattern, path);
}

bool scan_glob(const char *glob, const char *path)
{
	while (*glob == '/')
		glob++;
	return glob_match(glob, path, NULL);
}
