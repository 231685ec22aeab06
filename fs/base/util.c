/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small things that every folder needs: see util.h. */
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int array_grow(void *array, size_t *cap, size_t want, size_t size)
{
	void **p = array;
	size_t n = *cap ? *cap : 16;
	void *grown;

	if (want <= *cap)
		return 0;
	while (n < want) {
		if (n > SIZE_MAX / 2)
			return -ENOMEM;
		n += n / 2 + 8;
	}
	grown = reallocarray(*p, n, size);
	if (!grown)
		return -ENOMEM;
	*p = grown;
	*cap = n;
	return 0;
}

void hex_encode(const void *bytes, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = bytes;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[b[i] >> 4];
		out[2 * i + 1] = digits[b[i] & 15];
	}
	out[2 * n] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(const char *text, void *out, size_t n)
{
	uint8_t *b = out;

	for (size_t i = 0; i < n; i++) {
		int hi = hex_value(text[2 * i]);
		int lo = hi < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (lo < 0)
			return false;
		b[i] = (uint8_t)(hi << 4 | lo);
	}
	return text[2 * n] == '\0';
}

/* Length of the valid UTF-8 sequence at @s (RFC 3629), 0 where there is none. */
static size_t utf8_len(const uint8_t *s, size_t left)
{
	uint32_t c;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2, c = s[0] & 0x1f;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		n = 3, c = s[0] & 0x0f;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4, c = s[0] & 0x07;
	else
		return 0;
	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

size_t escape_name_to(const char *bytes, size_t len, char *out, size_t cap)
{
	const uint8_t *s = (const uint8_t *)bytes;
	size_t o = 0;

	if (!cap)
		return 0;
	for (size_t i = 0; i < len;) {
		char piece[5];
		size_t n = utf8_len(s + i, len - i), take = 1, plen = 0;

		if (n > 1) {
			/* C1 control characters are two bytes, c2 80 .. c2 9f */
			if (n == 2 && s[i] == 0xc2 && s[i + 1] < 0xa0) {
				plen = (size_t)snprintf(piece, sizeof(piece), "\\x%02x", s[i]);
			} else {
				memcpy(piece, s + i, n);
				plen = take = n;
			}
		} else if (s[i] == '\n' || s[i] == '\t' || s[i] == '\\' || s[i] == '\r') {
			piece[0] = '\\';
			piece[1] = s[i] == '\n' ? 'n' : s[i] == '\t' ? 't' : s[i] == '\r' ? 'r' : '\\';
			plen = 2;
		} else if (n == 0 || s[i] < 0x20 || s[i] == 0x7f) {
			plen = (size_t)snprintf(piece, sizeof(piece), "\\x%02x", s[i]);
		} else {
			piece[0] = (char)s[i];
			plen = 1;
		}
		if (o + plen + 1 > cap)
			break;
		memcpy(out + o, piece, plen);
		o += plen;
		i += take;
	}
	out[o] = '\0';
	return o;
}

char *escape_name(const char *bytes, size_t len)
{
	char *out;

	if (len > (SIZE_MAX - 1) / 4)
		return NULL;
	out = malloc(4 * len + 1);
	if (out)
		escape_name_to(bytes, len, out, 4 * len + 1);
	return out;
}

int pread_full(int fd, void *buf, size_t len, uint64_t off)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int pwrite_full(int fd, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGTPE";
	unsigned long long v;
	unsigned shift = 0;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (*end) {
		const char *u = strchr(units, *end >= 'a' && *end <= 'z' ? *end - 32 : *end);

		if (!u)
			return -EINVAL;
		shift = 10 * (unsigned)(u - units + 1);
		end++;
		if (end[0] == 'i' && (end[1] == 'B' || end[1] == '\0'))
			end++;
		if (*end == 'B')
			end++;
		if (*end)
			return -EINVAL;
	}
	if (shift && v > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = (uint64_t)v << shift;
	return 0;
}

char *format_size(uint64_t bytes, char out[16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1023.95 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	if (u == 0)
		snprintf(out, 16, "%u B", (unsigned)bytes);
	else
		snprintf(out, 16, "%.1f %s", v, units[u]);
	return out;
}
