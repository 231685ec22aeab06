/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts one after the other, each once: see merge_append() in compose.h.
 *
 * A block has been added already if all its lines stand somewhere in a row: so a text that was appended before
 * gains nothing when one of its contributors comes again. No markers: the syntax of comments is not known,
 * and they would change checksums of configuration files.
 */
#include "merge/append.h"

#include <errno.h>

#include "base/util.h"
#include "merge/compose.h"

/* Behind what is there from @begin on. */
static int add_block(struct buf *b, size_t begin, struct span block)
{
	if (b->len > begin && b->data[b->len - 1] != '\n' && buf_add(b, "\n", 1) < 0)
		return -ENOMEM;
	return buf_add(b, block.s, block.len);
}

/* Where the lines of @block stand in @text; SIZE_MAX: nowhere. */
static int find_block(struct span text, struct span block, size_t *ret)
{
	_cleanup_buf_ struct buf needle = { 0 };
	const uint8_t *at;
	bool open;
	size_t n;

	*ret = SIZE_MAX;
	if (!text.len)
		return 0;
	if (block.len && block.s[block.len - 1] == '\n')
		block.len--;
	if (block.len > text.len)
		return 0;
	n = block.len + 1;
	if (buf_add(&needle, "\n", 1) < 0 || buf_add(&needle, block.s, block.len) < 0 || buf_add(&needle, "\n", 1) < 0)
		return -ENOMEM;
	/* at the beginning there is no line end before it; behind a last line without one there is none either */
	open = text.s[text.len - 1] != '\n';
	if (!memcmp(text.s, block.s, block.len) && (text.len > block.len ? text.s[block.len] == '\n' : open)) {
		*ret = 0;
		return 0;
	}
	at = memmem(text.s, text.len, needle.data, n + 1);
	if (!at && open && text.len >= n && !memcmp(text.s + text.len - n, needle.data, n))
		at = text.s + text.len - n;
	if (at)
		*ret = (size_t)(at - text.s) + 1;
	return 0;
}

int append_has(const struct span *v, size_t n, struct span block, bool *ret)
{
	_cleanup_buf_ struct buf before = { 0 };
	struct span text = v[0];
	size_t at;
	int r = n > 1 ? merge_append(v, n, NULL, &before, NULL) : 0;

	if (n > 1)
		text = (struct span){ before.data, before.len };
	if (r == 0 && block.len)
		r = find_block(text, block, &at);
	if (r == 0)
		*ret = !block.len || at != SIZE_MAX;
	return r;
}

int merge_append(const struct span *v, size_t n, struct append_run *ret_runs, struct buf *out, struct ply_err *err)
{
	size_t begin = out->len, at;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct span text = span_from((struct span){ out->data, out->len }, begin);
		struct append_run run = { .len = v[i].len };

		at = SIZE_MAX;
		if (v[i].len)
			r = find_block(text, v[i], &at);
		if (r == 0 && v[i].len && at == SIZE_MAX) {
			r = add_block(out, begin, v[i]);
			at = out->len - begin - v[i].len;
			run.own = true;
		}
		run.off = v[i].len ? at : text.len;
		run.len = MIN(run.len, out->len - begin - run.off);    /* without a line end that is not there */
		if (ret_runs)
			ret_runs[i] = run;
	}
	if (r == 0)
		return 0;
	out->len = begin;
	return ply_fail_nomem(err);
}
