/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: what lies in a target's /var/lib/plyfs. First byte: bit 0 makes checksums right, bit 1: a journal, else a
 * plan.
 */
#include <stddef.h>

#include "codec/codec.h"
#include "fuzz.h"
#include "layout/journal.h"

#define SUM_AT offsetof(struct ply_disk_journal_record, xxh3)

static void fuzz_records(uint8_t *bytes, size_t len, bool repair)
{
	struct journal j, again;
	struct ply_err err;

	for (size_t at = 0; repair && len - at >= JOURNAL_RECORD; at += JOURNAL_RECORD) {
		le64 sum = le64_put(xxh3(bytes + at, SUM_AT, 0));

		memcpy(bytes + at + SUM_AT, &sum, sizeof(sum));
		memset(bytes + at + SUM_AT + sizeof(sum), 0, 7);
		bytes[at + JOURNAL_RECORD - 1] = '\n';
	}
	if (journal_parse(bytes, len, &j, &err) < 0) {
		if (err.reason != PLY_R_STATE_DAMAGED)
			abort();
		return;
	}
	/* whole records alone tell the same, and no phase counts that was not begun */
	if (j.len > len || j.len != j.nrecords * JOURNAL_RECORD || j.committed & ~j.begun ||
	    journal_parse(bytes, j.len, &again, &err) < 0 || again.nrecords != j.nrecords || again.begun != j.begun ||
	    again.committed != j.committed || again.complete != j.complete || again.aborting != j.aborting)
		abort();
}

static void fuzz_plan(uint8_t *bytes, size_t len, bool repair)
{
	struct buf out = { 0 };
	struct ply_err err;
	struct saved s;
	size_t names = 0;

	if (repair && len > sizeof(struct ply_disk_layout_plan) + 8) {
		le64 v = le64_put(len);

		memcpy(bytes, SAVED_MAGIC, 8);
		memcpy(bytes + offsetof(struct ply_disk_layout_plan, length), &v, sizeof(v));
		v = le64_put(xxh3(bytes, len - 8, 0));
		memcpy(bytes + len - 8, &v, sizeof(v));
	}
	if (saved_decode(bytes, len, &s, &err) < 0)
		return;
	for (const char *n = saved_name(&s, NULL); n; n = saved_name(&s, n))
		names++;
	/* what was accepted is written back the same */
	if (names != s.nnames || saved_encode(&s, &out) < 0 || out.len != len || memcmp(out.data, bytes, len) != 0)
		abort();
	buf_done(&out);
	saved_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	uint8_t *bytes = malloc(in.left + 1);
	size_t len = in.left;

	if (!bytes)
		abort();
	if (len)
		memcpy(bytes, in.at, len);
	if (how & 2)
		fuzz_records(bytes, len, how & 1);
	else
		fuzz_plan(bytes, len, how & 1);
	free(bytes);
	return 0;
}
