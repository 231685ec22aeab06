/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Logs as inputs of a fuzzer: a log is mostly zeros, so an input is its length and the pieces that are not: length
 * u32, then offset u32, bytes u16, and they; and checksums made right, where the product has no way around them.
 */
#ifndef PLYFS_TESTS_REDO_INPUT_H
#define PLYFS_TESTS_REDO_INPUT_H

#include "fuzz.h"
#include "unit/redo_disk.h"

void redo_input_pack(const struct redo_disk *d, struct buf *out);
void redo_input_unpack(struct input *in, struct redo_disk *to);
/* Superblocks, binding, heads of segments, records, checkpoint, and the data that records speak of. */
void redo_input_repair(struct redo_disk *d);
/* Change a log in @data, an input behind its first byte, in a way that keeps its shape: bytes of what is not data, a
 * record that goes, comes twice, or changes places. Returns the new length. */
size_t redo_input_mutate(uint8_t *data, size_t size, size_t max, unsigned seed);
/* Files in the folder @dir/redo. */
void redo_input_seeds(const char *dir);

#endif
