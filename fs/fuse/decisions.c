/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See decisions.h. Numbers are lower-case hex, as the command writes them; nothing else is taken. */
#include "decisions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"

#define TEXT_MAX ((off_t)256 << 20)

/* A number, and what stands behind it: a blank, or the line's end. */
static bool take_number(const char **at, const char *end, char behind, uint64_t max, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;

	for (; p < end && p - *at < 16; p++) {
		unsigned digit = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') :
				 *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10 : 16;

		if (digit > 15)
			break;
		v = v << 4 | digit;
	}
	if (p == *at || p == end || *p != behind || v > max)
		return false;
	*at = p + 1;
	*ret = v;
	return true;
}

int decisions_parse(const char *text, size_t len, struct decisions *ret, struct ply_err *err)
{
	const char *at = text, *end = text + len;

	for (unsigned long line = 1; at < end; line++) {
		uint64_t a, b, rule, driver;

		if (!take_number(&at, end, ' ', UINT64_MAX, &a) || !take_number(&at, end, ' ', UINT64_MAX, &b) ||
		    !take_number(&at, end, ' ', UINT8_MAX, &rule) || !take_number(&at, end, '\n', UINT16_MAX, &driver))
			return ply_fail(err, -EINVAL, PLY_R_USAGE, "--decisions: line %lu is none", line);
		if (array_grow(&ret->v, &ret->cap, ret->n + 1, sizeof(*ret->v)) < 0)
			return ply_fail_nomem(err);
		ret->v[ret->n++] = (struct ply_decision){ .a = a, .b = b, .rule = (uint8_t)rule,
							  .driver = (uint16_t)driver };
	}
	return 0;
}

int decisions_read(int fd, struct decisions *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return ply_fail_sys(err, -errno, "--decisions");
	if (!S_ISREG(st.st_mode) || st.st_size > TEXT_MAX)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "--decisions takes a regular file, and none of that size");
	if (!st.st_size)           /* nothing is decided */
		return 0;
	if (buf_reserve(&text, (size_t)st.st_size) < 0)
		return ply_fail_nomem(err);
	r = pread_full(fd, text.data, (size_t)st.st_size, 0);
	if (r < 0)
		return ply_fail_sys(err, r, "--decisions");
	return decisions_parse((const char *)text.data, (size_t)st.st_size, ret, err);
}

void decisions_done(struct decisions *d)
{
	free(d->v);
	*d = (struct decisions){ 0 };
}
