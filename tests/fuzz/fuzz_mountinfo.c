/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: the kernel's table of mounts, whose paths, sources and options are anybody's. */
#include <stdio.h>

#include "fuzz.h"

static struct input whole;

static FILE *open_table(const char *path, const char *mode)
{
	(void)path;
	(void)mode;
	return whole.left ? fmemopen((void *)(uintptr_t)whole.at, whole.left, "r") : NULL;
}
#define fopen open_table
#include "base/mnt.c"
#undef fopen

static int see(void *ctx, const struct mnt_line *line)
{
	(void)ctx;
	touch(line->root, strlen(line->root) + 1);
	touch(line->mountpoint, strlen(line->mountpoint) + 1);
	touch(line->type, strlen(line->type) + 1);
	touch(line->source, strlen(line->source) + 1);
	touch(line->super_options, strlen(line->super_options) + 1);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	whole = (struct input){ data, size };
	mnt_list("table", see, NULL);
	return 0;
}
