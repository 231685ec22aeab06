/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: plyfs dump over an image of any bytes, which reads every row of every table by itself.
 * First byte: bit 0 makes checksums right first, bit 1 is --json, bit 2 --node with the number in
 * the upper five bits.
 */
#include <stdio.h>

#include "cli.h"
#include "fuzz.h"
#include "image_mutate.h"
#include "plyfs/image.h"
#include "io/io.h"
#include "repair.h"

static FILE *null;
static struct input file;

static int open_file(const char *path, struct io **ret, uint64_t *ret_generation, struct ply_err *err)
{
	(void)path;
	*ret_generation = 0;
	return io_open_memory(file.at, file.left, ret, err);
}

#undef stdout
#undef stderr
#undef printf
#define stdout null
#define stderr null
#define printf(...) fprintf(null, __VA_ARGS__)
#define cli_note(...) ((void)0)
#define image_io_open open_file
#include "cmd_dump.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char words[][8] = { "dump", "image", "os", "--node", "", "--json" };
	char *argv[8] = { words[0], words[1] };
	uint8_t *copy;
	int argc = 2, code;

	if (!null)
		null = fopen("/dev/null", "w");
	if (!null)
		abort();
	if (size < 2)
		return 0;
	copy = malloc(size - 1);
	if (!copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		repair_image(copy, size - 1);
	file = (struct input){ copy, size - 1 };
	if (data[0] & 4) {
		snprintf(words[4], sizeof(words[4]), "%u", data[0] >> 3);
		argv[argc++] = words[2];
		argv[argc++] = words[3];
		argv[argc++] = words[4];
	}
	cli_json = false;
	if (data[0] & 2)
		argv[argc++] = words[5];
	code = cmd_dump(argc, argv);
	if (code != EXIT_DONE && code != EXIT_DAMAGE && code != EXIT_FAILED)
		abort();
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return image_mutate(data, size, max, seed);
}
