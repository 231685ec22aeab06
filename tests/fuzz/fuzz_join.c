/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: a join table with right checksums (see assemble.h): every row and member, and each
 * reference looked up; every collision. */
#include "assemble.h"
#include "image/join.h"
#include "image_mutate.h"

#define ROWS_MAX 200u

static struct ply_err err;         /* messages are part of what is tested */

static void see(const struct join *j)
{
	struct join_row r, found;
	struct ply_collision c;
	struct join_member m;

	for (uint64_t i = 0; i <= join_nrows(j) && i < ROWS_MAX; i++) {
		if (join_row(j, i, &r, &err) < 0)
			continue;
		if (r.first_member > join_nmembers(j) || r.nmembers > join_nmembers(j) - r.first_member)
			abort();
		for (uint32_t k = 0; k <= r.nmembers && k < ROWS_MAX; k++)
			if (join_member(j, &r, k, &m, &err) == 0)
				join_find(j, m.ref, &found, &err);
	}
	for (uint64_t i = 0; i <= join_ncollisions(j) && i < ROWS_MAX; i++)
		if (join_collision(j, i, &c, &err) == 0 && (i == join_ncollisions(j) || PLY_INO_NUMBER(c.b) > PLY_NUMBER_MAX))
			abort();
	join_find(j, 0, &r, &err);
	join_find(j, UINT64_MAX, &r, &err);
	join_find(j, 1, &r, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct assembled a;
	struct join *j;
	struct io *io;

	input_number(&in, 1);
	assemble(&in, PLY_SEG_JOIN, assemble_join, 0, &a);
	if (io_open_memory(a.bytes, a.len, &io, &err) < 0)
		abort();
	if (join_open(io, 0, a.len, a.digest, &j, &err) == 0) {
		see(j);
		join_close(j);
	}
	io_close(io);
	free(a.bytes);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return assembled_mutate(data, size, max, seed, assemble_join);
}
