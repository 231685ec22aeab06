/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A growable byte buffer: see buf.h. */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

int buf_reserve(struct buf *b, size_t extra)
{
	size_t want, cap;
	uint8_t *grown;

	if (__builtin_add_overflow(b->len, extra, &want))
		return -ENOMEM;
	if (want <= b->cap)
		return 0;
	cap = b->cap + b->cap / 2;
	if (cap < want)
		cap = want;
	if (cap < 256)
		cap = 256;
	grown = realloc(b->data, cap);
	if (!grown)
		return -ENOMEM;
	b->data = grown;
	b->cap = cap;
	return 0;
}

int buf_add(struct buf *b, const void *data, size_t len)
{
	int r = buf_reserve(b, len);

	if (r < 0 || !len)
		return r;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

int buf_add_zero(struct buf *b, size_t len)
{
	int r = buf_reserve(b, len);

	if (r < 0 || !len)
		return r;
	memset(b->data + b->len, 0, len);
	b->len += len;
	return 0;
}

int buf_align(struct buf *b, size_t to)
{
	return buf_add_zero(b, (to - b->len % to) % to);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = buf_reserve(b, (size_t)n + 1);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}
