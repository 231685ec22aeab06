/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: verify --deep over an image of any bytes. Whatever the tables say, it ends, and each
 * finding has a reason and a message. The first byte decides whether checksums are made right first.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "ops/verify.h"
#include "repair.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void see(void *ctx, const struct finding *f)
{
	(void)ctx;
	if (f->reason == PLY_R_NONE || !*f->message)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify_options o = { .threads = 1, .deep = true };
	struct verify_result result;
	uint8_t *copy;
	struct io *io;

	if (size < 2)
		return 0;
	copy = malloc(size - 1);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		repair_image(copy, size - 1);
	if (io_open_memory(copy, size - 1, &io, NULL) == 0) {
		verify_io(io, 0, &o, see, NULL, &result, NULL);
		io_close(io);
	}
	free(copy);
	return 0;
}
