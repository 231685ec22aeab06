/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: any bytes as three texts of one path. The first byte says which path (those of the drivers, then some
 * that have none), the second whether there is a base, and whether two of them are classified as well; the
 * texts are cut at 0xfe bytes. What has to hold: what one side did not touch is the other's, and merging twice is
 * merging once.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/util.h"
#include "fuzz/fuzz.h"
#include "merge/compose.h"
#include "merge/merge.h"

/* Behind those of the drivers. */
static const char *const others[] = { "/etc/crontab", "/etc/hosts", "/etc/sysctl.d/a.conf", "/etc/default/a", "/etc/mysql/a.cnf",
				      "/etc/php/a.ini", "/etc/logrotate.d/a", "/etc/sudoers", "/etc/fstab", "/etc/aliases",
				      "/etc/modprobe.d/a.conf", "/etc/apt/apt.conf", "/etc/security/limits.conf", "/etc/foo" };

static const char *path_of(unsigned n)
{
	size_t drivers = 0;

	while (merge_driver_at(drivers))
		drivers++;
	n %= drivers + ARRAY_SIZE(others);
	if (n >= drivers)
		return others[n - drivers];
	if (!strcmp(merge_driver_at(n)->name, "alternatives"))
		return "/var/lib/dpkg/alternatives/thing";
	if (!strcmp(merge_driver_at(n)->name, "trigger-name"))
		return "/var/lib/dpkg/triggers/thing";
	return n == 2 ? merge_driver_at(n)->paths[4] : merge_driver_at(n)->paths[0];
}

static struct span span_of(const struct buf *b)
{
	return (struct span){ b->data ? b->data : (const uint8_t *)"", b->len };
}

static int compose(const char *path, struct span base, struct span ours, struct span theirs, struct buf *out)
{
	struct ply_err err = { 0 };
	enum merge_why why;
	int r;

	out->len = 0;
	r = merge_compose(path, NULL, base, ours, theirs, out, &why, &err);
	if ((r != 0 && r != -ENOTUNIQ) || (r == 0) != (why == MERGE_WHY_NONE) || (r < 0 && (out->len || !*err.msg)))
		abort();
	return r;
}

static void gives(const char *path, struct span base, struct span ours, struct span theirs, struct span want)
{
	_cleanup_buf_ struct buf out = { 0 };

	if (compose(path, base, ours, theirs, &out) < 0 || !span_is(span_of(&out), want))
		abort();
}

static void classify(const char *path, struct span base, struct span a, struct span b)
{
	struct contender c[3] = { { .mode = S_IFREG, .nlink = 1, .loaded = true } };
	struct pair_class class;

	c[1] = c[2] = c[0];
	c[0].text = base.s, c[0].len = c[0].size = base.len;
	c[1].text = a.s, c[1].len = c[1].size = a.len;
	c[2].text = b.s, c[2].len = c[2].size = b.len;
	if (merge_classify(path, &c[1], &c[2], base.s ? &c[0] : NULL, &class, NULL) < 0 ||
	    (class.cls == MERGE_CONFLICT) != (class.why != MERGE_WHY_NONE))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct input in = { data, size };
	const char *path = path_of((unsigned)input_number(&in, 1));
	unsigned how = (unsigned)input_number(&in, 1);
	struct span v[3];
	uint8_t *copy[3];

	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *end = i < 2 && in.left ? memchr(in.at, 0xfe, in.left) : NULL;
		struct input piece = input_bytes(&in, end ? (size_t)(end - in.at) : in.left);

		copy[i] = malloc(piece.left + !piece.left);
		if (!copy[i])
			abort();
		if (piece.left)
			memcpy(copy[i], piece.at, piece.left);
		v[i] = (struct span){ copy[i], piece.left };
		input_bytes(&in, 1);
	}
	if (how & 1)
		v[0] = (struct span){ NULL, 0 };
	if (how & 2)
		classify(path, v[0], v[1], v[2]);
	if (v[0].s) {
		gives(path, v[0], v[1], v[0], v[1]);
		gives(path, v[0], v[0], v[2], v[2]);
	}
	if (compose(path, v[0], v[1], v[2], &out) == 0)
		gives(path, v[0], span_of(&out), v[2], span_of(&out));
	for (unsigned i = 0; i < 3; i++)
		free(copy[i]);
	return 0;
}
