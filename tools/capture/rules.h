/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of rules for files of no package: which path goes where. An ordered list from
 * share/plyfs/rules/debian.yaml, with the manifest's own in front of it. Pure: it knows text,
 * not trees; owners.c does what a rule says.
 *
 * Patterns are globs (glob.h) with captures; {a,b} stands for two patterns. Captures stand in
 * templates as {name}.
 */
#ifndef PLYFS_RULES_H
#define PLYFS_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "capture/glob.h"
#include "plyfs/disk.h"
#include "plyfs/error.h"
#include "yamldoc.h"

enum rule_action {
	RULE_TO,                   /* the component of that name */
	RULE_AS,                   /* where the path goes that the template names */
	RULE_UNIT,                 /* where the unit of that name goes */
	RULE_PACKAGE,              /* the package, source package or component of that name */
	RULE_BY,                   /* by methods of owners.c, tried in order */
};

enum rule_method {
	BY_TARGET,                 /* a symlink: where it leads */
	BY_PARENT,                 /* the nearest directory that packages own: its one component */
	BY_OWNER,                  /* the user's, or else the group's component */
	BY_SCRIPT,                 /* the component whose maintainer scripts name the path */
	BY_CONTENT,                /* a text: the component by path whose paths or user it names */
	BY_ALTERNATIVE,            /* update-alternatives: the components of the choices */
	BY_UCF,                    /* ucf's registry */
	BY_COUNT
};
extern const char *const rule_methods[BY_COUNT];

/* What a selection or a new machine does with a path: one of the first, and one of the identity. */
enum rule_mark {
	MARK_NONE = 0,
	MARK_DROP = PLY_MARK_DROP,
	MARK_FIRST = PLY_MARK_FIRST,
	MARK_REMOVE = PLY_MARK_REMOVE,
	MARK_EMPTY = PLY_MARK_EMPTY,
	MARK_SET = PLY_MARK_SET,
	MARK_SECRET = PLY_MARK_SECRET,
};

struct rule {
	char **patterns;           /* braces with commas are expanded */
	size_t npatterns;
	uint8_t begins[32];        /* bits: first bytes that a matching path can have */
	mode_t type;               /* S_IFLNK ...; 0: any */
	char *target;              /* glob over the text of a symlink, or NULL */
	enum rule_action action;
	char **templates;          /* of TO, AS, UNIT, PACKAGE: expanded */
	size_t ntemplates;
	enum rule_method by[BY_COUNT];
	size_t nby;
	enum rule_mark mark;
	bool report;               /* tell what went this way */
	unsigned line;             /* in its file */
};

struct rules {
	struct rule *v;
	size_t n, cap;
	struct rule *identity;     /* patterns and mark only */
	size_t nidentity, identity_cap;
	char **system;             /* source packages that components never proposes */
	size_t nsystem, system_cap;
};

/* The table of @file, or the one that is installed with this program (NULL). RULES_MISSING. */
int rules_read(const char *file, struct rules *ret, struct ply_err *err);
/* Append the rules in the list @at; in a manifest "to" and globs are the administrator's. */
int rules_add(struct rules *t, const struct yaml_doc *d, const struct yaml *at, struct ply_err *err);
void rules_done(struct rules *t);

/* Does a pattern of @rule match @path (no leading slash)? */
bool rule_match(const struct rule *rule, const char *path, struct glob_captures *ret);
/* @template with its captures, into @out (emptied first, NUL-terminated). A capture that stands in
 * a template with a star is escaped. -ENOMEM. */
int rule_expand(const char *template, const struct glob_captures *c, struct buf *out);

#endif
