/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packages that both a living target and the components that are added to it have: the package is the unit.
 *
 *   the same version      it is taken, with what the target's dpkg and apt say of it: its files are compared like
 *                         others, but for one that dpkg knows as a configuration file, which has its package's own as
 *                         a base (packages_edited())
 *   another version       it clashes: nothing of it is laid out, no file and no stanza, whatever is decided; so what
 *                         remains to be said is whether the target's version may stay
 *
 * Which files a package has its lists say, in the image. A file that another package of the components has too, one
 * that does not clash, is that one's.
 */
#ifndef PLYFS_LAYOUT_PACKAGES_H
#define PLYFS_LAYOUT_PACKAGES_H

#include "layout/needs.h"
#include "layout/version.h"

struct package_clash {
	const struct need_package *pkg;
	char *label;               /* as its list is called: "bash", "libc6:amd64" */
	char *component;           /* that brings it */
	size_t npaths;             /* in which the two differ: those that the last survey met */
	bool stays;                /* the target's does: it is decided */
	bool fails;                /* the policy says that it is not */
	bool answered;             /* decided at the terminal, not by a policy */
};

struct package_path {
	char *path;                /* "/usr/bin/x", as a list has it */
	uint32_t clash;            /* of packages.clashes; UINT32_MAX: of a package that does not clash */
};

struct package_conffile {
	const char *path;          /* in packages.status; not terminated */
	size_t len;
	uint8_t md5[16];           /* of what the package brought */
};

struct packages {
	struct target_needs needs; /* which there are, and what they lack */
	struct buf status;         /* the target's */
	const struct need_package **there; /* those that the target has, by name; but updates */
	size_t nthere;
	struct package_clash *clashes;
	size_t nclashes, clashes_cap;
	struct package_path *paths;        /* by path */
	size_t npaths, paths_cap;
	struct package_conffile *conffiles;        /* of those that are taken, by path */
	size_t nconffiles, conffiles_cap;
	uint64_t bytes;            /* of lists, read */
};

/* Of the target that is open as @target. @base: the selection without what is added; @component: the last that is.
 * @ret is zero-initialised by the caller, and released by packages_done(), whatever is returned. Errors: those of
 * needs_read_target() and needs_packages(). */
int packages_read(int target, struct ply_view *base, struct ply_view *view, const char *component, struct packages *ret,
		  struct ply_err *err);
void packages_done(struct packages *p);

/* The last one of those that @view has and @base has not that @ino is of; @otherwise where there is none. malloc-ed; NULL: no
 * memory. */
char *packages_component(struct ply_view *base, struct ply_view *view, uint64_t ino, const char *otherwise);
/* Is it a configuration file of a package that is taken? */
bool packages_has_conffile(const struct packages *p, const char *path);
/* The package that @path ("usr/bin/x") is of, where it clashes; NULL: none. */
struct package_clash *packages_find(struct packages *p, const char *path);

/* Has @path records of packages that the target has? */
bool packages_has_records(const struct packages *p, const char *path);
/* All are loaded, and of @path. Of a package that is taken @with says what @live says, so both bring the same; of one that
 * clashes what @base says, so it changes nothing. 1: it is no more what the view has. */
int packages_restore(const struct packages *p, const char *path, const struct version *live, const struct version *base,
		     struct version *with, struct ply_err *err);

enum packages_edit { EDIT_UNKNOWN, EDIT_TARGET, EDIT_IMAGE };
/* Who has changed a configuration file that both have from one version of its package; both are loaded, where they
 * are there. EDIT_UNKNOWN: it is none, or both have. */
enum packages_edit packages_edited(const struct packages *p, const char *path, const struct version *live,
				   const struct version *with);

/* "bash 5.2-1 (target), 5.2-2 (db)", escaped. -ENOMEM. */
int packages_describe(const struct package_clash *c, struct buf *out);

#endif
