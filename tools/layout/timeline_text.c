/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words and numbers of the picture of a layout: how they read, how wide they are, how XML has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/timeline.h"

#define US_NS 1000ll
#define MS_NS 1000000ll
#define S_NS  1000000000ll

/* --- ticks -------------------------------------------------------------------------------- */

int64_t timeline_tick_ns(int64_t len_ns, unsigned room)
{
	/* what clocks count in; below ten seconds 1, 2, 5 of each power of ten */
	static const int64_t steps_s[] = { 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200 };
	int64_t want = len_ns / (room ? room : 1), tick;

	for (tick = US_NS; tick < 10 * S_NS; tick *= 10)
		for (int64_t k = 1; k <= 5; k += k == 1 ? 1 : 3)
			if (tick * k >= want)
				return tick * k;
	for (size_t i = 0; i < ARRAY_SIZE(steps_s); i++)
		if (steps_s[i] * S_NS >= want)
			return steps_s[i] * S_NS;
	for (tick = 86400 * S_NS; tick < want && tick < INT64_MAX / 4; tick *= 2)
		;
	return tick;
}

/* Digits behind the point that a multiple of @tick has in units of @unit. */
static int decimals(int64_t tick, int64_t unit)
{
	int n = 0;

	for (; tick % unit && n < 9; n++)
		unit /= 10;
	return n;
}

static void clock_text(int64_t s, char out[24])
{
	if (s >= 3600)
		snprintf(out, 24, "%lld:%02lld:%02lld", (long long)s / 3600, (long long)s / 60 % 60, (long long)s % 60);
	else
		snprintf(out, 24, "%lld:%02lld", (long long)s / 60, (long long)s % 60);
}

void timeline_tick_text(int64_t at_ns, int64_t tick_ns, char out[24])
{
	int64_t unit = tick_ns < MS_NS ? MS_NS : S_NS;

	if (!at_ns)
		snprintf(out, 24, "0");
	else if (tick_ns >= S_NS && at_ns >= 60 * S_NS)
		clock_text(at_ns / S_NS, out);
	else
		snprintf(out, 24, "%.*f %s", decimals(tick_ns, unit), (double)at_ns / (double)unit,
			 unit == S_NS ? "s" : "ms");
}

char *timeline_time(int64_t ns, char out[24])
{
	double s = (double)ns / 1e9;

	if (s >= 599.5)
		clock_text((ns + S_NS / 2) / S_NS, out);
	else if (s >= 1)
		snprintf(out, 24, "%.*f s", s < 9.995 ? 2 : s < 99.95 ? 1 : 0, s);
	else if (s >= 0.0995)
		snprintf(out, 24, "%.2f s", s);
	else
		snprintf(out, 24, "%.*f ms", s < 0.00995 ? 2 : 1, s * 1e3);
	return out;
}

char *timeline_number(uint64_t n, char out[32])
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}

/* --- width ---------------------------------------------------------------------------------- */

/* The first character of @s: its bytes, and how many times the height of the font it is wide. */
static size_t next(const char *s, double *ret_width)
{
	unsigned char c = (unsigned char)*s;
	size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	/* of fonts that are likely, the widest; beyond Latin and its neighbours nothing is wider than high */
	*ret_width = n > 1 ? (n == 2 ? 0.75 : 1.0) : strchr("ijl.,:;'|! ", c) ? 0.36 : strchr("mwMW%@", c) ? 1.0 :
		     c >= 'A' && c <= 'Z' ? 0.78 : 0.64;
	for (size_t i = 1; i < n; i++)
		if (!s[i])
			return i;
	return n;
}

double timeline_width(const char *text, double px)
{
	double sum = 0, width;

	while (*text) {
		text += next(text, &width);
		sum += width;
	}
	return sum * px;
}

void timeline_fit(const char *text, double px, double width, char *out, size_t cap)
{
	static const char more[] = "\u2026";
	double left = width / px + 1e-6, w;    /* of sums, what is lost by rounding */
	size_t at = 0, cut = 0;        /* cut: where an ellipsis has room */

	if (cap <= sizeof(more))
		return;
	while (text[at]) {
		size_t n = next(text + at, &w);

		if (w > left || at + n + sizeof(more) > cap)
			break;
		left -= w;
		at += n;
		if (left >= 1.0)
			cut = at;
	}
	if (!text[at]) {
		memcpy(out, text, at + 1);
		return;
	}
	memcpy(out, text, cut);
	memcpy(out + cut, more, sizeof(more));
}

/* --- XML -------------------------------------------------------------------------------------- */

int timeline_xml(struct buf *out, const char *text)
{
	int r = 0;

	for (const char *p = text; r == 0 && *p; p++) {
		switch (*p) {
		case '&': r = buf_add(out, "&amp;", 5); break;
		case '<': r = buf_add(out, "&lt;", 4); break;
		case '>': r = buf_add(out, "&gt;", 4); break;
		case '"': r = buf_add(out, "&quot;", 6); break;
		default:
			/* U+FFFE and U+FFFF are no characters of XML */
			if (!strncmp(p, "\xef\xbf\xbe", 3) || !strncmp(p, "\xef\xbf\xbf", 3)) {
				r = buf_add(out, "?", 1);
				p += 2;
			} else {
				r = buf_add(out, p, 1);
			}
		}
	}
	return r;
}
