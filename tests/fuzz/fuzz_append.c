/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: an image of any bytes gets another generation, without its last overlay where there is one. What is
 * written opens, and below the committed end nothing but the superblocks has changed; where it fails, all is as it was.
 * First byte: bit 0 makes checksums right first.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "fuzz.h"
#include "image/catalog.h"
#include "image/image_write.h"
#include "image_mutate.h"
#include "io/io.h"
#include "repair.h"

static struct ply_err err;         /* messages are part of what is tested */

static uint32_t last_overlay(const struct ply_image *image)
{
	for (uint32_t i = ply_image_nsubs(image); i; i--)
		if (ply_image_sub_info(image, i - 1)->flags & PLY_SUB_OVERLAY)
			return ply_image_sub_info(image, i - 1)->number;
	return UINT32_MAX;
}

static int append(const char *path, struct ply_image *from)
{
	uint32_t number = last_overlay(from);
	struct imagew *w = NULL;
	int r = imagew_append(path, from, &w, &err);

	if (r == 0 && number != UINT32_MAX)
		r = imagew_remove_sub(w, number, &err);
	if (r == 0)
		r = imagew_publish(w, &(struct imagew_options){ .message = "again", .tool = "fuzz" }, &err);
	imagew_free(w);
	return r;
}

/* The file at @fd was @old. */
static void judge(const char *path, int fd, const uint8_t *old, size_t size, uint64_t from, uint64_t generation)
{
	struct ply_image *image;
	uint8_t *now = malloc(size);

	if (!now || pread_full(fd, now, size - from, from) < 0 || memcmp(now, old + from, size - from))
		abort();
	free(now);
	if (ply_image_open(path, &image, &err) < 0 || ply_image_generation(image)->generation != generation)
		abort();
	ply_image_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ply_image *image = NULL;
	uint8_t *copy;
	char path[40];
	int fd;

	if (size < 2)
		return 0;
	copy = malloc(--size);
	fd = memfd_create("image", MFD_CLOEXEC);
	if (!copy || fd < 0)
		abort();
	memcpy(copy, data + 1, size);
	if (data[0] & 1)
		repair_image(copy, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (pwrite_full(fd, copy, size, 0) == 0 && ply_image_open(path, &image, &err) == 0) {
		uint64_t generation = ply_image_generation(image)->generation;
		uint64_t end = ply_image_committed_end(image);

		if (append(path, image) == 0)
			judge(path, fd, copy, (size_t)end, PLY_SUPER_SLOTS * PLY_SUPER_SIZE, generation + 1);
		else
			judge(path, fd, copy, (size_t)end, 0, generation);
	}
	ply_image_close(image);
	close(fd);
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return image_mutate(data, size, max, seed);
}
