/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: verify over an image of any bytes. Whatever the tables say, it ends, and each finding
 * has a reason and a message. First byte: bit 0 makes checksums right first, bit 1 leaves out --deep.
 */
#include "base/pool.h"
#include "fuzz.h"
#include "image_mutate.h"
#include "io/io.h"
#include "ops/verify.h"
#include "repair.h"

/* The pool without threads: a job runs when it is added. A thread for each input would cost more than
 * the input; where findings come out does not depend on it. */
struct pool {
	int unused;
};

int pool_new(unsigned nthreads, size_t queue, struct pool **ret)
{
	(void)nthreads;
	(void)queue;
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -12;
}

struct pool *pool_free(struct pool *pool)
{
	free(pool);
	return NULL;
}

void pool_add(struct pool *pool, pool_fn fn, void *job)
{
	(void)pool;
	fn(job, 0);
}

void pool_drain(struct pool *pool)
{
	(void)pool;
}

unsigned ncpus(void)
{
	return 1;
}

static void see(void *ctx, const struct finding *f)
{
	(void)ctx;
	if (f->reason == PLY_R_NONE || !*f->message)
		abort();
	for (size_t i = 0; i < f->npaths; i++)
		touch(f->paths[i], strlen(f->paths[i]) + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify_options o = { .threads = 1 };
	struct verify_result result;
	uint8_t *copy;
	struct io *io;

	if (size < 2)
		return 0;
	o.deep = !(data[0] & 2);
	copy = malloc(size - 1);
	if (!copy)
		abort();
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

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return image_mutate(data, size, max, seed);
}
