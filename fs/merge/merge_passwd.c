/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "merge/drivers.h"
static int split(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f, struct records *ret, struct ply_err *err)
{
	(void)path; (void)f; (void)err;
	return records_add(ret, text, len, COND_ALWAYS, 0);
}
static int describe(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	(void)flags;
	return buf_add(out, data, len);
}
static const char *const paths[] = { "/etc/passwd", NULL };
const struct merge_driver merge_passwd = { .name = "passwd", .number = 1, .version = 1, .paths = paths, .monotone = true, .split = split, .describe = describe };
