/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a program whose libraries are asked for. */
#include <errno.h>

#include "capture/elf.h"
#include "fuzz.h"

static int read_bytes(void *ctx, uint64_t off, void *buf, size_t len)
{
	const struct input *b = ctx;

	if (off > b->left || len > b->left - off)
		return -EIO;
	memcpy(buf, b->at + off, len);
	return 0;
}

static int see_word(void *ctx, enum elf_word what, const char *text)
{
	(void)ctx;
	if (what != ELF_NEEDED && what != ELF_RPATH && what != ELF_RUNPATH)
		abort();
	if (strlen(text) > 4095)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct elf_kind kind;
	char interp[4096];

	elf_words(read_bytes, see_word, &in);
	if (elf_look(read_bytes, &in, &kind, interp)) {
		if (kind.elf_class != data[4] || kind.data != data[5])
			abort();
		touch(interp, strlen(interp) + 1);
		touch(elf_multiarch(&kind), 1);
	}
	return 0;
}
