/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a superblock. First byte: bit 0 makes the checksum right, bit 1 is the slot. Then 8 bytes of
 * the file's size, then the front of the block; the rest of it is zero.
 */
#include "codec/codec.h"
#include "format/text.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	uint64_t file_size = input_number(&in, 8);
	struct input front = input_bytes(&in, PLY_SUPER_SIZE);
	uint8_t block[PLY_SUPER_SIZE] = { 0 }, again[PLY_SUPER_SIZE];
	struct super s;
	struct ply_err err;

	if (!size)
		return 0;
	memcpy(block, front.at, front.left);
	if (how & 1) {
		le64 sum = le64_put(xxh3(block, offsetof(struct ply_disk_super, xxh3), 0));

		memcpy(block + offsetof(struct ply_disk_super, xxh3), &sum, sizeof(sum));
	}
	if (super_decode(block, how >> 1 & 1, file_size, &s, &err) == 0) {
		struct buf out = { 0 };
		struct text t = { .out = &out, .json = how & 4 };

		/* what was accepted is written back the same */
		super_encode(&s, how >> 1 & 1, again);
		if (memcmp(block, again, sizeof(block)) != 0 || s.catalog_off + s.catalog_len > file_size)
			abort();
		super_to_text(&t, 0, &s);
		buf_done(&out);
	}
	return 0;
}
