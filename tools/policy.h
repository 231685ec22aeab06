/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Policies: what shall happen where sub-images collide, in a YAML file that plan, mount, layout and the
 * reading verbs share; plyfs-policy(5) describes it.
 *
 * A policy is read without an image; policy_decide() holds it against the collisions of a selection. An
 * entry with a path is bound to the contents that it was made for: where they are others, it is stale, and
 * nothing is decided by it. Nothing in a file overrides an earlier line: two entries for one path are
 * an error.
 */
#ifndef PLYFS_POLICY_H
#define PLYFS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "plyfs/error.h"
#include "plyfs/view.h"

#define POLICY_TARGET_NAME "target"    /* in whose place other sub-images stand: what a target has already */

/* What an entry says, beside enum ply_rule. */
enum {
	POLICY_UNDECIDED = 0,
	POLICY_TARGET = 254,       /* of a package: the version of the target stays */
	POLICY_FAIL = 255,         /* undecided on purpose */
};

/* One component's content that an entry was made for. */
struct policy_of {
	size_t path;               /* of the entry's */
	char *component, *content; /* "sha256:...", "deleted": see policy_is_content(); of a package: its version */
	unsigned line, column;
};

struct policy_entry {
	char **paths;              /* absolute, as their bytes are; of a glob: the one pattern; none: of @package alone */
	size_t npaths, paths_cap;
	bool is_glob;
	char *package;             /* NULL; beside paths it is for people */
	uint8_t rule;              /* enum ply_rule, POLICY_* */
	uint16_t driver;           /* of PLY_RULE_DRIVER */
	struct policy_of *of;
	size_t nof, of_cap;
	unsigned line, column;
	unsigned resolve_line, resolve_column;
};

struct policy {
	char *file;
	struct policy_entry *v;
	size_t n, cap;
};

/* POLICY_SYNTAX, POLICY_KEY, POLICY_VALUE with FILE:LINE:COLUMN. Release by policy_done(). */
int policy_parse(const char *file, const void *text, size_t len, struct policy *ret, struct ply_err *err);
int policy_read(const char *file, struct policy *ret, struct ply_err *err);
void policy_done(struct policy *p);
#define _cleanup_policy_ __attribute__((cleanup(policy_done)))

/* "first", "driver"; NULL: no such rule. */
const char *policy_rule_name(uint8_t rule);
/* Is it what a file's content may be called? sha256:HEX, large:BYTES, symlink:TARGET, char:MAJOR:MINOR,
 * block:MAJOR:MINOR, or one of deleted, directory, fifo, socket. */
bool policy_is_content(const char *text);

/* @text as policies, and people, see it: with the escapes of escape_name(), and all that YAML does not take escaped
 * too. -ENOMEM. */
int policy_escape(struct buf *out, const char *text);
/* The same as a value of YAML that policy_parse() reads back: plain, or in quotes. -ENOMEM. */
int policy_quote(struct buf *out, const char *text);

struct collisions;

/*
 * Decide @c (collisions.h) by @p: rule, driver and entry of each collision. POLICY_VALUE and POLICY_STALE
 * name the place in the file. *ret_unused is the number of entries for paths that do not collide in this
 * selection, *ret_first_unused the first of them.
 */
int policy_decide(const struct policy *p, struct collisions *c, size_t *ret_unused,
		  const struct policy_entry **ret_first_unused, struct ply_err *err);

/* A package that a target has in another version than a component. */
struct policy_package {
	const char *name, *label;  /* "libc6"; "libc6:amd64", or the same */
	const char *target, *component;    /* the sub-images of both, */
	const char *have, *version;        /* and the versions */
};
/* What @p says of it: POLICY_TARGET, POLICY_FAIL, POLICY_UNDECIDED. -errno POLICY_STALE, POLICY_VALUE. */
int policy_decide_package(const struct policy *p, const struct policy_package *k, uint8_t *ret_rule, struct ply_err *err);

#endif
