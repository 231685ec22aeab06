/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: what a program of a component by path needs: ld.so.conf up to 0xff, then the program, which
 * is a script or an ELF file. The tree around them is made up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "capture/elf.h"
#include "capture/facts.h"
#include "capture/owners.h"
#include "fake_tree.h"
#include "fuzz.h"

static struct input conf_text, program_text;

static int read_text(const struct scan *scan, uint32_t node, size_t max, struct buf *out)
{
	(void)scan;
	(void)node;
	if (conf_text.left > max)
		return -EFBIG;
	if (buf_reserve(out, conf_text.left + 1) < 0)
		return -ENOMEM;
	if (conf_text.left)
		memcpy(out->data, conf_text.at, conf_text.left);
	out->len = conf_text.left;
	out->data[out->len] = '\0';
	return 0;
}

static ssize_t program_pread(int fd, void *buf, size_t len, off_t off)
{
	size_t n = (uint64_t)off < program_text.left ? program_text.left - (size_t)off : 0;

	(void)fd;
	n = n < len ? n : len;
	if (n)
		memcpy(buf, program_text.at + off, n);
	return (ssize_t)n;
}

static int program_pread_full(int fd, void *buf, size_t len, uint64_t off)
{
	return program_pread(fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -EIO;
}

static int open_nothing(const struct scan *s, uint32_t node)
{
	(void)s;
	return node < tree.n ? 100 : -ENOENT;
}

#define facts_read read_text
#define pread program_pread
#define pread_full program_pread_full
#define scan_open_dir open_nothing
#define openat(dir, name, flags) ((void)(dir), (void)(name), 100)
#define close(fd) ((void)(fd))
#include "capture/owners_needs.c"
#undef close
#undef openat

static int see(void *ctx, uint16_t from, uint16_t to)
{
	(void)ctx;
	if (from != 1 || to != 2)
		abort();           /* there is nothing else that web could need */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t by_path[2] = { (uint8_t)(1u << TREE_PROGRAM % 8) * (TREE_PROGRAM < 8),
					    (uint8_t)(1u << TREE_PROGRAM % 8) * (TREE_PROGRAM >= 8) };
	struct split split = { .closure = tree_closure };
	const uint8_t *end = size > 1 ? memchr(data + 1, 0xff, size - 1) : NULL;
	struct input in = { data, size };
	struct ply_err err;

	if (!end)
		return 0;
	input_bytes(&in, 1);
	conf_text = input_bytes(&in, (size_t)(end - data) - 1);
	input_bytes(&in, 1);
	program_text = in;
	owners_needs(&tree, &split, by_path, see, NULL, &err);
	for (size_t i = 0; i < split.nnotes; i++) {
		for (const char *c = split.notes[i]; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				abort();           /* it is for a terminal */
		free(split.notes[i]);
	}
	free(split.notes);
	return 0;
}
