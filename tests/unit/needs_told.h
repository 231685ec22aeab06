/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of tools/layout/needs share: stanzas, and what is told of them. */
#ifndef PLYFS_TEST_NEEDS_TOLD_H
#define PLYFS_TEST_NEEDS_TOLD_H

#include <check.h>
#include <string.h>

#include "base/buf.h"
#include "layout/needs.h"

#define PKG(name, arch, version, more) \
	"Package: " name "\nStatus: install ok installed\nArchitecture: " arch "\nVersion: " version "\n" more "\n"
#define DPKG PKG("dpkg", "amd64", "1.21", "")

static inline int add_line(void *ctx, const char *line)
{
	return buf_printf(ctx, "%s\n", line);
}

static inline const char *told(const struct target_needs *n)
{
	static struct buf out;

	out.len = 0;
	ck_assert_int_eq(needs_tell(n, add_line, &out), 0);
	ck_assert_int_eq(buf_add(&out, "", 1), 0);
	return (const char *)out.data;
}

static inline struct needs_text text(const char *s)
{
	return (struct needs_text){ s, strlen(s) };
}

static inline int look(const char *target, const char *base, const char *with, struct target_needs *ret,
		       struct ply_err *err)
{
	struct needs_input in = { .target = text(target), .base = text(base), .with = text(with) };

	*ret = (struct target_needs){ 0 };
	return needs_packages(&in, ret, err);
}

#endif
