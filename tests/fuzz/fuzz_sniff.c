/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: any bytes as texts that may be appended to one another. The first line is the path; behind it
 * texts, cut at 0xfe bytes. What has to hold: blocks that are granted are granted with their result too, which
 * gains nothing by them; and where nobody grants it, whoever asks is told the same veto.
 */
#include "base/util.h"
#include "fuzz/fuzz.h"
#include "merge/compose.h"

#define BLOCKS 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf out = { 0 }, again = { 0 };
	struct input in = { data, size };
	_cleanup_free_ char *path = input_text(&in, '\n');
	enum merge_why why, forced, twice;
	struct append_run runs[BLOCKS];
	struct span v[BLOCKS], w[2];
	uint8_t *copy[BLOCKS];
	size_t n = 0;

	for (; n < BLOCKS && in.left; n++) {
		const uint8_t *end = memchr(in.at, 0xfe, in.left);
		struct input piece = input_bytes(&in, end ? (size_t)(end - in.at) : in.left);

		copy[n] = malloc(piece.left + !piece.left);
		if (!copy[n])
			abort();
		if (piece.left)
			memcpy(copy[n], piece.at, piece.left);
		v[n] = (struct span){ copy[n], piece.left };
		input_bytes(&in, 1);
		merge_sniff_why(merge_sniff(path, v[n].s, v[n].len));
	}
	if (merge_append_look(path, v, n, false, &why, NULL) < 0 || merge_append_look(path, v, n, true, &forced, NULL) < 0 ||
	    merge_append(v, n, runs, &out, NULL) < 0 || (why != forced && why != MERGE_WHY_UNKNOWN))
		abort();
	for (size_t i = 0; i < n; i++) {
		if (runs[i].off + runs[i].len > out.len || (runs[i].len && memcmp(out.data + runs[i].off, v[i].s, runs[i].len)))
			abort();
		w[0] = (struct span){ out.data, out.len };
		w[1] = v[i];
		again.len = 0;
		if (merge_append(w, 2, NULL, &again, NULL) < 0 || !span_is(w[0], (struct span){ again.data, again.len }))
			abort();
		if (!why && (merge_append_look(path, w, 2, false, &twice, NULL) < 0 || twice))
			abort();
	}
	for (size_t i = 0; i < n; i++)
		free(copy[i]);
	return 0;
}
