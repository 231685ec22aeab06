/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a manifest, whose rules then match a path; or as an ELF file. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "capture/elf.h"
#include "capture/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	const uint8_t *data;
	size_t len;
	unsigned words;
};

static int read_bytes(void *ctx, uint64_t off, void *buf, size_t len)
{
	const struct bytes *b = ctx;

	if (off > b->len || len > b->len - off)
		return -EIO;
	memcpy(buf, b->data + off, len);
	return 0;
}

static int see_word(void *ctx, enum elf_word what, const char *text)
{
	struct bytes *b = ctx;

	(void)what;
	b->words += (unsigned)strlen(text);
	return 0;
}

static void match_all(const struct manifest *m)
{
	static const char path[] = "usr/lib/x/__pycache__/y.cpython-311.pyc";
	struct buf out = { 0 };

	for (size_t i = 0; i < m->rules.n && i < 16; i++) {
		const struct rule *r = &m->rules.v[i];
		struct glob_captures c;

		if (!rule_match(r, path, &c))
			continue;
		for (size_t t = 0; t < r->ntemplates && t < 16; t++)
			rule_expand(r->templates[t], &c, &out);
	}
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest m = { 0 };
	struct bytes b = { data + 1, size - 1, 0 };
	struct ply_err err;

	if (size < 2)
		return 0;
	if (data[0] & 1) {
		elf_words(read_bytes, see_word, &b);
		return 0;
	}
	if (manifest_parse(&m, "m", data + 1, size - 1, &err) == 0)
		match_all(&m);
	manifest_done(&m);
	return 0;
}
