/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts one behind the other in a file, found by their digests and cut out: what is left is what merge_append() makes of the
 * others, whatever the order they go in.
 */
#include <string.h>

#include "base/util.h"
#include "layout/parts.h"
#include "merge/compose.h"
#include "tap.h"

static struct span span(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static struct change_part part(const char *text)
{
	struct change_part p;

	part_of(span(text), &p);
	return p;
}

START_TEST(where_lines_stand)
{
	const struct {
		const char *text, *part;
		size_t at;
	} cases[] = {
		{ "a\nb\nc\n", "a\n", 0 },       { "a\nb\nc\n", "b\n", 2 },     { "a\nb\nc\n", "c\n", 4 },
		{ "a\nb\nc\n", "b\nc\n", 2 },    { "a\nb\nc\n", "b", 2 },       { "a\nb", "b", 2 },
		{ "a\nb", "b\n", SIZE_MAX },     { "a\nbb\n", "b\n", SIZE_MAX }, { "bb\nb\n", "b\n", 3 },
		{ "a b\n", "b\n", SIZE_MAX },    { "b\nb\n", "b\n", 0 },        { "", "b\n", SIZE_MAX },
		{ "b", "b", 0 },                 { "b c\nb", "b", 4 },          { "\n\n", "\n", 0 },
		{ "a\n", "", SIZE_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct change_part p = part(cases[i].part);

		ck_assert_msg(part_find(span(cases[i].text), &p) == cases[i].at, "%zu", i);
	}
}
END_TEST

START_TEST(one_within_another_is_not_its_own)
{
	const struct change_part own = part("b\n"), others[] = { part("a\nb\nc\n"), part("b\n"), part("x\n") };
	bool within;

	ck_assert(part_find_own(span("a\nb\nc\nx\n"), &own, others, 3, &within) == SIZE_MAX && within);
	ck_assert(part_find_own(span("a\nb\nc\nb\nx\n"), &own, others, 3, &within) == 6 && within);
	ck_assert(part_find_own(span("b\na\nb\nc\n"), &own, others, 3, &within) == 0 && !within);
	ck_assert(part_find_own(span("a\nc\n"), &own, others, 3, &within) == SIZE_MAX && !within);
}
END_TEST

static void is_cut_to(const char *text, const char *own, const char *const *others, size_t n, const char *before,
		      const char *want)
{
	const struct change_part p = part(own), was = part(before ? before : "");
	struct change_part v[4];
	struct buf out = { 0 };
	size_t at;

	for (size_t i = 0; i < n; i++)
		v[i] = part(others[i]);
	at = part_find(span(text), &p);
	ck_assert_msg(at != SIZE_MAX, "%s", text);
	ck_assert_int_eq(part_cut(span(text), at, &p, v, n, before ? &was : NULL, &out), 0);
	ck_assert_msg(out.len == strlen(want) && (!out.len || !memcmp(out.data, want, out.len)), "%s: %.*s", text, (int)out.len,
		      out.data);
	buf_done(&out);
}

START_TEST(what_is_left)
{
	static const char *const ab[] = { "a", "b\n" };

	is_cut_to("a\nb\nc\n", "b\n", NULL, 0, NULL, "a\nc\n");
	is_cut_to("a\nb\nc\n", "b", NULL, 0, NULL, "a\nc\n");
	is_cut_to("a\n", "a\n", NULL, 0, NULL, "");
	is_cut_to("a", "a", NULL, 0, NULL, "");
	/* a line end that stood between two only */
	is_cut_to("a\nc\n", "c\n", ab, 2, NULL, "a");
	is_cut_to("a\nb\nc\n", "c\n", ab, 2, NULL, "a\nb\n");
	is_cut_to("mine\nc\n", "c\n", NULL, 0, "mine", "mine");
	is_cut_to("mine\nc\n", "c\n", NULL, 0, "mine\n", "mine\n");
	is_cut_to("edited\nc\n", "c\n", NULL, 0, "mine", "edited\n");
	/* another's that stands in it, and nowhere else */
	is_cut_to("x\na\nb\nb\ny\n", "a\nb\nb\n", ab, 2, NULL, "x\na\nb\ny\n");
	is_cut_to("a\nx\na\nb\n", "x\na\nb\n", ab, 2, NULL, "a\nb\n");
}
END_TEST

static char random_char(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return "ab\n"[*seed >> 33 & 0xffff ? (*seed >> 33) % 3 : 2];
}

/* Of texts of which none stands in another: in any order they go as if they had never been there. */
START_TEST(random_texts_go)
{
	uint64_t seed = (uint64_t)_i * 7919 + 1;
	char text[4][12];
	struct span v[4], left[3];
	struct change_part p[4];
	struct buf all = { 0 };

	for (size_t i = 0; i < 4; i++) {
		size_t len = 1 + (size_t)_i % 7;

		text[i][0] = (char)('0' + i);      /* so none has another's lines */
		for (size_t k = 1; k <= len; k++)
			text[i][k] = random_char(&seed);
		v[i] = (struct span){ (const uint8_t *)text[i], len + 1 };
		part_of(v[i], &p[i]);
	}
	ck_assert_int_eq(merge_append(v, 4, NULL, &all, NULL), 0);
	for (size_t gone = 0; gone < 4; gone++) {
		struct buf want = { 0 }, out = { 0 };
		struct change_part others[3];
		size_t n = 0, at = part_find((struct span){ all.data, all.len }, &p[gone]);

		for (size_t i = 0; i < 4; i++)
			if (i != gone) {
				left[n] = v[i];
				others[n++] = p[i];
			}
		ck_assert(at != SIZE_MAX);
		ck_assert_int_eq(merge_append(left, 3, NULL, &want, NULL), 0);
		ck_assert_int_eq(part_cut((struct span){ all.data, all.len }, at, &p[gone], others, 3, NULL, &out), 0);
		ck_assert_msg(out.len == want.len && !memcmp(out.data, want.data, out.len), "%d, %zu", _i, gone);
		buf_done(&out);
		buf_done(&want);
	}
	buf_done(&all);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("parts");

	tap_test(s, where_lines_stand);
	tap_test(s, one_within_another_is_not_its_own);
	tap_test(s, what_is_left);
	tap_loop(s, random_texts_go, 0, 200);
	return s;
}
TAP_MAIN(suite)
