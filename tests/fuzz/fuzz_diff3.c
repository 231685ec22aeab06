/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: three texts by lines, without anything that guards them. Each byte of the input is a line of one
 * letter, so that a fuzzer finds places that are told apart by nothing; the first byte says which texts have no line end
 * at the end. The texts are cut at 0 bytes.
 */
#include <errno.h>

#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "merge/diff3.h"

static struct span span_of(const struct buf *b)
{
	return (struct span){ b->data ? b->data : (const uint8_t *)"", b->len };
}

static int merge(struct span base, struct span ours, struct span theirs, struct buf *out)
{
	bool large;
	int r;

	out->len = 0;
	r = diff3_merge(base, ours, theirs, out, &large, NULL);
	if ((r != 0 && r != -ENOTUNIQ) || (r < 0 && out->len))
		abort();
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf v[3] = { 0 }, out = { 0 }, other = { 0 };
	struct input in = { data, size };
	unsigned cut = (unsigned)input_number(&in, 1);
	int r;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t c;

		while (in.left && (c = input_number(&in, 1)))
			if (buf_printf(&v[i], "%c\n", (int)('a' + c % 16)) < 0)
				abort();
		if (v[i].len && cut >> i & 1)
			v[i].len--;
	}
	if (merge(span_of(&v[0]), span_of(&v[1]), span_of(&v[0]), &out) < 0 || !span_is(span_of(&out), span_of(&v[1])) ||
	    merge(span_of(&v[0]), span_of(&v[0]), span_of(&v[2]), &out) < 0 || !span_is(span_of(&out), span_of(&v[2])) ||
	    merge(span_of(&v[0]), span_of(&v[1]), span_of(&v[1]), &out) < 0 || !span_is(span_of(&out), span_of(&v[1])))
		abort();
	/* which of them is ours is of no matter */
	r = merge(span_of(&v[0]), span_of(&v[1]), span_of(&v[2]), &out);
	if (merge(span_of(&v[0]), span_of(&v[2]), span_of(&v[1]), &other) != r || !span_is(span_of(&out), span_of(&other)))
		abort();
	for (unsigned i = 0; i < 3; i++)
		buf_done(&v[i]);
	buf_done(&out);
	buf_done(&other);
	return 0;
}
