/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: what a living target lacks. The first byte says what the rest is: 0, status and list of
 * architectures of the target, status of the base and of the selection, each ended by 0xff; 1, a program; 2, an
 * ld.so.cache.
 */
#include <errno.h>
#include <limits.h>

#include "fuzz.h"
#include "layout/needs.h"
#include "merge/ldcache.h"

static struct ply_err err;         /* messages are part of what is tested */

static int see_line(void *ctx, const char *line)
{
	(void)ctx;
	for (const char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			abort();           /* it is for a terminal */
	return 0;
}

static void see_packages(const struct target_needs *n)
{
	for (size_t i = 0; i < n->npackages; i++) {
		const struct need_package *p = &n->packages[i];

		if ((p->state == NEED_NEW) != !p->have || !p->have != !p->have_arch)
			abort();
		if (p->state == NEED_TAKEN && (strcmp(p->have, p->version) || strcmp(p->have_arch, p->arch)))
			abort();
	}
	for (size_t i = 0; i < n->nmissing; i++) {
		const struct need_missing *m = &n->missing[i];
		bool depends = m->kind == NEED_DEPENDS || m->kind == NEED_PRE_DEPENDS;

		if (!*m->text || (!depends && !m->there))
			abort();           /* there is no conflict with nothing */
	}
	if (needs_tell(n, see_line, NULL) < 0)
		abort();
}

static void try_packages(struct input *in)
{
	struct target_needs n = { 0 };
	struct needs_text t[4];

	for (int i = 0; i < 4; i++) {
		const uint8_t *end = in->left ? memchr(in->at, 0xff, in->left) : NULL;
		struct input one = input_bytes(in, end ? (size_t)(end - in->at) : in->left);

		t[i] = (struct needs_text){ (const char *)one.at, one.left };
		input_bytes(in, end != NULL);
	}
	if (needs_packages(&(struct needs_input){ .target = t[0], .target_arch = t[1], .base = t[2], .with = t[3] }, &n,
			   &err) == 0)
		see_packages(&n);
	target_needs_done(&n);
}

static int read_bytes(void *ctx, uint64_t off, void *buf, size_t len)
{
	const struct input *b = ctx;

	if (off > b->left || len > b->left - off)
		return -EIO;
	memcpy(buf, b->at + off, len);
	return 0;
}

static int ask(void *ctx, const char *dir, const char *name, const struct elf_kind *kind)
{
	(void)ctx;
	if (dir && *dir != '/')
		abort();
	if (!dir && strchr(name, '/'))
		abort();
	touch(name, strlen(name) + 1);
	return kind && name[0] == 'l';
}

static void try_program(struct input *in)
{
	struct target_needs n = { 0 };
	struct needs_program p;

	if (needs_program_look("/opt/bin/x", read_bytes, in, &p) == 1) {
		if (needs_programs(&p, 1, ask, NULL, &n, &err) < 0 || needs_tell(&n, see_line, NULL) < 0)
			abort();
		needs_program_done(&p);
	}
	target_needs_done(&n);
}

static int see_entry(void *ctx, const char *name, const char *path)
{
	(void)ctx;
	if (strlen(name) > NAME_MAX || *path != '/' || strlen(path) >= PATH_MAX)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	switch (input_number(&in, 1)) {
	case 0:
		try_packages(&in);
		break;
	case 1:
		try_program(&in);
		break;
	case 2:
		ldcache_each(in.at, in.left, see_entry, NULL);
		break;
	default:
		break;
	}
	return 0;
}
