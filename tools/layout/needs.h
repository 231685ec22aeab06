/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a living target lacks of what added components need.
 *
 *   packages     those that the wanted selection has and the earlier one has not, against the target's dpkg
 *                status: same version there, another one, or new; and which of their dependencies do not hold
 *                there (needs_packages())
 *   programs     ELF files and scripts that no package owns: libraries and interpreters that the target has
 *                not (needs_programs(); needs_root_has() looks into a target)
 *
 * Both only add to a struct target_needs; what is done about it is the caller's to decide. All of the target's
 * files are outside bytes: time and memory are bounded.
 */
#ifndef PLYFS_LAYOUT_NEEDS_H
#define PLYFS_LAYOUT_NEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "capture/elf.h"
#include "plyfs/error.h"

/* --- packages ------------------------------------------------------------------- */

struct needs_text {
	const char *text;          /* borrowed; NULL as "" */
	size_t len;
};

/* A package on hold is installed; one of which only the configuration is left is not. */
struct needs_input {
	struct needs_text target;  /* its /var/lib/dpkg/status; empty: it has none */
	struct needs_text target_arch;     /* its /var/lib/dpkg/arch, or empty */
	struct needs_text base;    /* status of the image's selection without the components that are added */
	struct needs_text with;    /* and with them */
	struct needs_text image_arch;      /* /var/lib/dpkg/arch of the latter, or empty */
};

enum need_state {
	NEED_NEW = 1,              /* the target has no such package */
	NEED_TAKEN,                /* it has this version */
	NEED_UPDATE,               /* it has the version of @base, which the components replace by theirs */
	NEED_OTHER_VERSION,        /* it has a third one, which counts where dependencies are looked at */
};

/* Strings are borrowed from the struct target_needs. */
struct need_package {
	const char *name, *arch, *version;
	const char *have, *have_arch;          /* what is there; NULL: NEED_NEW */
	enum need_state state;
};

enum need_kind {
	NEED_DEPENDS = 1,
	NEED_PRE_DEPENDS,
	NEED_CONFLICTS,
	NEED_BREAKS,
	NEED_BESIDE,               /* dpkg cannot have it beside the same package of another architecture */
};

struct need_missing {
	const char *name, *arch, *version;     /* of the package that says so */
	bool of_target;            /* it is one of the target's, and not one of @packages */
	enum need_kind kind;
	char *text;                /* as it says it: "libc6 (>= 2.36)", "awk | mawk"; NEED_BESIDE: "libc6:i386" */
	char *there;               /* of the names in it, what there is: "libc6 2.31-13"; NULL: nothing */
};

/* A library or an interpreter that a program names, and that was found nowhere. */
struct need_library {
	char *path;                /* of the program */
	char *name;                /* "libssl.so.3", "/usr/bin/php", "php" (by env) */
	bool interpreter;
};

struct needs_dbs;

struct target_needs {
	struct need_package *packages;         /* in the order of @with */
	size_t npackages, packages_cap;
	struct need_missing *missing;          /* those of @packages first, then those of the target */
	size_t nmissing, missing_cap;
	struct need_library *libraries;
	size_t nlibraries, libraries_cap;
	const char *image_arch, *target_arch;  /* "amd64"; "": not known */
	bool other_arch;           /* both are known, and differ */
	bool no_database;          /* the target has no package that is installed: all is NEED_NEW */
	struct needs_dbs *dbs;     /* what strings lie in */
};

/*
 * Fill packages, missing, architectures; @ret is zero-initialised by the caller, and released by target_needs_done()
 * whatever is returned. -EBUSY PKGDB_UNFINISHED: an installation was begun on the target and not completed.
 * -EBADMSG PKGDB_DAMAGED names the text and its line; also where there is more in it than any machine has.
 */
int needs_packages(const struct needs_input *in, struct target_needs *ret, struct ply_err *err);
void target_needs_done(struct target_needs *needs);

/* Is everything there? Packages of another version alone are no lack: they are a conflict of their own. */
bool target_needs_hold(const struct target_needs *needs);

/*
 * Append status and list of architectures of the machine below @root, nothing where it has none.
 * -EBUSY PKGDB_UNFINISHED: dpkg was interrupted there.
 */
int needs_read_target(int root, struct buf *status, struct buf *arch, struct ply_err *err);

/* --- programs ------------------------------------------------------------------- */

struct needs_program {
	char *path;                /* where it will lie in the target: "/opt/app/bin/x" */
	struct elf_kind kind;      /* elf_class 0: a script */
	char *interpreter;         /* PT_INTERP, or of a line "#!"; a bare name is looked for in PATH; or NULL */
	char *rpath, *runpath;     /* with colons, or NULL */
	char **libs;               /* DT_NEEDED */
	size_t nlibs, libs_cap;
};

/* 1: @ret is set, released by needs_program_done(); 0: it needs nothing (no program, a static one, or one that is
 * damaged or cannot be read); -ENOMEM. */
int needs_program_look(const char *path, elf_read_fn read, void *ctx, struct needs_program *ret);
void needs_program_done(struct needs_program *p);

/*
 * Is @name there, in the directory @dir (absolute), or (NULL) where the loader looks without being told? 1, 0, -errno.
 * @kind NULL: any program will do (an interpreter).
 */
typedef int needs_has_fn(void *ctx, const char *dir, const char *name, const struct elf_kind *kind);

/* Add to @needs->libraries what is not there, each once for a program. -errno: -ENOMEM, or of @has. */
int needs_programs(const struct needs_program *v, size_t n, needs_has_fn *has, void *ctx, struct target_needs *needs,
		   struct ply_err *err);

/* --- looking into a target -------------------------------------------------------- */

struct needs_root;

/* @root: a descriptor, borrowed; symlinks are followed as if it were "/". A damaged ld.so.cache is not used. */
int needs_root_open(int root, struct needs_root **ret, struct ply_err *err);
struct needs_root *needs_root_close(struct needs_root *r);

/* One more ld.so.cache, searched after the target's own: that of the wanted selection. Copied; 1: it was not used,
 * because it is not of a known form. */
int needs_root_cache(struct needs_root *r, const void *text, size_t len);

/*
 * What the components bring themselves and the target has not yet: 1 where they have @path ("/usr/lib/libx.so.1"), or
 * anywhere a file of that name (without a slash: programs find such ones by LD_LIBRARY_PATH or dlopen). Only what
 * is added counts, not what else the image has. 0, -errno.
 */
typedef int needs_brings_fn(void *ctx, const char *path);
void needs_root_brings(struct needs_root *r, needs_brings_fn *fn, void *ctx);

/* A needs_has_fn; @ctx is a struct needs_root. Answers are kept: caches and needs_root_brings() come first. */
int needs_root_has(void *ctx, const char *dir, const char *name, const struct elf_kind *kind);

/* --- for people ------------------------------------------------------------------- */

/*
 * A line (escaped, without its end) for each thing that is not as it should be: other architecture, missing
 * dependencies, missing libraries. What @fn returns, if not 0, ends it and is returned; -ENOMEM.
 *
 *   the image is of architecture amd64, the target of arm64
 *   mariadb-server 1:10.11.6: needs libc6 (>= 2.36); the target has libc6 2.31-13
 *   /opt/app/bin/x: needs the library libssl.so.3, which the target has not
 */
typedef int needs_line_fn(void *ctx, const char *line);
int needs_tell(const struct target_needs *needs, needs_line_fn *fn, void *ctx);

#endif
