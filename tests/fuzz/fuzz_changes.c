/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a table of changes, as it lies in a target's /var/lib/plyfs. First byte: bit 0 makes magic, length and
 * checksum right.
 */
#include "codec/codec.h"
#include "fuzz.h"
#include "layout/changes.h"

#define LENGTH_AT 0x10
#define HEAD      0x6c

static void repair_table(uint8_t *bytes, size_t len)
{
	le64 v = le64_put(len);

	if (len < HEAD + sizeof(v))
		return;
	memcpy(bytes, CHANGES_MAGIC, 8);
	memcpy(bytes + LENGTH_AT, &v, sizeof(v));
	v = le64_put(xxh3(bytes, len - sizeof(v), 0));
	memcpy(bytes + len - sizeof(v), &v, sizeof(v));
}

/* What was accepted leads nowhere but below the target, and each row is found. */
static void check_rows(const struct changes *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct change *row = &c->v[i];

		if (*row->path == '/' || !*row->path || strstr(row->path, "//") || row->n >= c->n ||
		    changes_within(row->path, "var/lib/plyfs") || changes_within(row->path, "..") ||
		    strstr(row->path, "/../") || changes_find(c, row->path) != row ||
		    (row->comp != CHANGE_COMP_NONE && row->comp >= c->nnames))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	size_t len = in.left;
	uint8_t *bytes = malloc(len + 1);
	struct buf again = { 0 };
	struct changes c;
	struct ply_err err;

	if (!bytes)
		abort();
	if (len)
		memcpy(bytes, in.at, len);
	if (how & 1)
		repair_table(bytes, len);
	if (changes_decode(bytes, len, &c, &err) < 0) {
		if (err.reason != PLY_R_STATE_DAMAGED)
			abort();
	} else {
		check_rows(&c);
		if (changes_encode(&c, &again, &err) < 0 || again.len != len || memcmp(again.data, bytes, len) != 0)
			abort();
		changes_done(&c);
		buf_done(&again);
	}
	free(bytes);
	return 0;
}
