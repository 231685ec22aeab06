/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The argument of -o: see options.h. */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/pool.h"
#include "base/util.h"

#define THREADS_MAX     64u
#define THREADS_DEFAULT 16u        /* at most, where nothing is said */
#define CACHE_MIN       (1u << 20)
#define CACHE_MAX       (1ULL << 40)

enum type { FLAG, SIZE, COUNT };

static const struct {
	const char *name;
	enum type type;
	size_t off;                /* in struct options */
	size_t opposite;           /* the flag that it takes back; 0, which is allow_other: none */
} table[] = {
	{ "ro", FLAG, offsetof(struct options, ro), offsetof(struct options, rw) },
	{ "rw", FLAG, offsetof(struct options, rw), offsetof(struct options, ro) },
	{ "sync", FLAG, offsetof(struct options, sync), 0 },
	{ "nodev", FLAG, offsetof(struct options, nodev), offsetof(struct options, dev) },
	{ "nosuid", FLAG, offsetof(struct options, nosuid), offsetof(struct options, suid) },
	{ "noexec", FLAG, offsetof(struct options, noexec), offsetof(struct options, exec) },
	{ "allow_other", FLAG, offsetof(struct options, allow_other), 0 },
	{ "default_permissions", FLAG, offsetof(struct options, default_permissions), 0 },
	{ "dev", FLAG, offsetof(struct options, dev), offsetof(struct options, nodev) },
	{ "suid", FLAG, offsetof(struct options, suid), offsetof(struct options, nosuid) },
	{ "exec", FLAG, offsetof(struct options, exec), offsetof(struct options, noexec) },
	{ "cache", SIZE, offsetof(struct options, cache), 0 },
	{ "threads", COUNT, offsetof(struct options, threads), 0 },
};

static int unknown(const char *name, struct ply_err *err)
{
	_cleanup_buf_ struct buf list = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (buf_printf(&list, "%s%s%s", i ? ", " : "", table[i].name,
			       table[i].type == SIZE  ? "=SIZE" :
			       table[i].type == COUNT ? "=N" : "") < 0)
			return ply_fail_nomem(err);
	return ply_fail(err, -EINVAL, PLY_R_USAGE, "there is no mount option '%s'; there are: %.*s",
			name, (int)list.len, (const char *)list.data);
}

static int set(size_t i, char *value, struct options *o, struct ply_err *err)
{
	void *to = (char *)o + table[i].off;
	uint64_t v;
	char *end;

	if (table[i].type == FLAG) {
		if (value)
			return ply_fail(err, -EINVAL, PLY_R_USAGE, "mount option %s takes no value",
					table[i].name);
		*(bool *)to = true;
		if (table[i].opposite)
			*(bool *)((char *)o + table[i].opposite) = false;
		return 0;
	}
	if (table[i].type == SIZE) {
		if (!value || parse_size(value, &v) < 0 || v < CACHE_MIN || v > CACHE_MAX)
			return ply_fail(err, -EINVAL, PLY_R_USAGE,
					"mount option %s takes a size from 1M to 1T, not '%s'",
					table[i].name, value ? value : "");
	} else {
		v = value && *value >= '0' && *value <= '9' ? strtoull(value, &end, 10) : 0;
		if (!v || *end || v > THREADS_MAX)
			return ply_fail(err, -EINVAL, PLY_R_USAGE,
					"mount option %s takes a number from 1 to %u, not '%s'",
					table[i].name, THREADS_MAX, value ? value : "");
	}
	*(uint64_t *)to = v;
	return 0;
}

int options_parse(const char *text, struct options *o, struct ply_err *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *word;
	int r = 0;

	if (!copy)
		return ply_fail_nomem(err);
	while (r == 0 && (word = strsep(&rest, ","))) {
		char *value = strchr(word, '=');
		size_t i;

		if (!*word)
			continue;
		if (value)
			*value++ = '\0';
		for (i = 0; i < ARRAY_SIZE(table); i++)
			if (!strcmp(word, table[i].name))
				break;
		r = i < ARRAY_SIZE(table) ? set(i, value, o, err) : unknown(word, err);
	}
	return r;
}

int options_complete(struct options *o, bool is_root, struct ply_err *err)
{
	if (!is_root && (o->dev || o->suid))
		return ply_fail(err, -EPERM, PLY_R_USAGE,
				"mount option %s is for root only: devices and setuid programs of an image "
				"that an ordinary user mounts are never honoured",
				o->dev ? "dev" : "suid");
	if (is_root)
		o->allow_other = true;
	else
		o->nodev = o->nosuid = true;
	if (o->allow_other)
		o->default_permissions = true;
	if (!o->threads)
		o->threads = MIN(ncpus() + 1, THREADS_DEFAULT);   /* one may wait for the disk */
	return 0;
}
