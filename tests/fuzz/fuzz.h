/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What fuzz targets share. A target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput(); it is linked
 * with libFuzzer (make fuzz) or with driver.c (make check).
 *
 * Rules: the same input always does the same, whatever ran before; what decides how the rest is
 * taken (repair checksums or not, which file of a database) is the first byte of the input. No
 * disk: bytes come from memory. A target that finds an invariant broken calls abort().
 */
#ifndef PLYFS_TESTS_FUZZ_H
#define PLYFS_TESTS_FUZZ_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Optional in a target; changes @data in place and returns its new length. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
/* libFuzzer's own, for custom mutators; driver.c has a simple one. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* Reading an input from its front. What is not there is zero. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t input_number(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->at++, in->left--)
		v |= (uint64_t)*in->at << 8 * i;
	return v;
}

/* @len bytes, or what is left of them. */
static inline struct input input_bytes(struct input *in, size_t len)
{
	struct input piece = { in->at, len < in->left ? len : in->left };

	in->at += piece.left;
	in->left -= piece.left;
	return piece;
}

/* A malloc-ed copy with a NUL byte behind: the sanitizer sees where it ends. Up to @sep, which
 * is skipped, or (negative) all that is left. */
static inline char *input_text(struct input *in, int sep)
{
	const uint8_t *end = sep < 0 || !in->left ? NULL : memchr(in->at, sep, in->left);
	struct input piece = input_bytes(in, end ? (size_t)(end - in->at) : in->left);
	char *text = malloc(piece.left + 1);

	if (!text)
		abort();
	if (piece.left)
		memcpy(text, piece.at, piece.left);
	text[piece.left] = '\0';
	if (end)
		input_bytes(in, 1);
	return text;
}

/* Reads each byte, so that a sanitizer sees what lies outside. */
static inline void touch(const void *bytes, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum ^= ((const uint8_t *)bytes)[i];
	__asm__ volatile("" : : "r"(sum));
}

#endif
