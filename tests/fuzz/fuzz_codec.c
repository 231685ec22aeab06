/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a compressed block of any size. First 3 bytes: the size that it must have. */
#include "codec/codec.h"
#include "fuzz.h"
#include "plyfs/disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct codec *codec;
	struct input in = { data, size };
	size_t want = input_number(&in, 3) % (PLY_BLOCK_SIZE + 1);
	uint8_t *out = malloc(want ? want : 1);

	if (!codec)
		codec = codec_new();
	if (!codec || !out)
		abort();
	if (codec_decompress(codec, in.at, in.left, out, want) == 0)
		touch(out, want);
	free(out);
	return 0;
}
