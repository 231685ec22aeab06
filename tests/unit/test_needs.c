/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tools/layout/needs: small status files, what is told of them; programs, made-up targets. What satisfies a
 * dependency is compared with dpkg itself, on random small machines (PLYFS_NEEDS_ROUNDS of them).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "failing_memory.h"
#include "layout/needs.h"
#include "tap.h"

/* --- packages ------------------------------------------------------------------- */

#define PKG(name, arch, version, more) \
	"Package: " name "\nStatus: install ok installed\nArchitecture: " arch "\nVersion: " version "\n" more "\n"
#define DPKG PKG("dpkg", "amd64", "1.21", "")

static int add_line(void *ctx, const char *line)
{
	return buf_printf(ctx, "%s\n", line);
}

static const char *told(const struct target_needs *n)
{
	static struct buf out;

	out.len = 0;
	ck_assert_int_eq(needs_tell(n, add_line, &out), 0);
	ck_assert_int_eq(buf_add(&out, "", 1), 0);
	return (const char *)out.data;
}

static struct needs_text text(const char *s)
{
	return (struct needs_text){ s, strlen(s) };
}

static int look(const char *target, const char *base, const char *with, struct target_needs *ret, struct ply_err *err)
{
	struct needs_input in = { .target = text(target), .base = text(base), .with = text(with) };

	*ret = (struct target_needs){ 0 };
	return needs_packages(&in, ret, err);
}

static const char *tell(const char *target, const char *base, const char *with)
{
	struct target_needs n;
	struct ply_err err = { 0 };
	const char *said;

	ck_assert_msg(look(target, base, with, &n, &err) == 0, "%s", err.msg);
	said = told(&n);
	ck_assert_int_eq(target_needs_hold(&n), !n.nmissing && !n.other_arch);
	target_needs_done(&n);
	return said;
}

/* What a package "new" 2 of amd64 with @says needs of a target with @has. */
static const struct {
	const char *has, *says, *told;
} one[] = {
	/* versions: five relations, and those of old */
	{ PKG("a", "amd64", "1.5", ""), "Depends: a (>= 1.5), a (<= 1.5), a (= 1.5), a (>> 1.4), a (<< 1.6), a", "" },
	{ PKG("a", "amd64", "1.5", ""), "Depends: a (>= 1.6)", "new 2: needs a (>= 1.6); the target has a 1.5\n" },
	{ PKG("a", "amd64", "1.5", ""), "Depends: a (<= 1.4)", "new 2: needs a (<= 1.4); the target has a 1.5\n" },
	{ PKG("a", "amd64", "1.5", ""), "Depends: a (= 1.5-1)", "new 2: needs a (= 1.5-1); the target has a 1.5\n" },
	{ PKG("a", "amd64", "1.5", ""), "Depends: a (>> 1.5)", "new 2: needs a (>> 1.5); the target has a 1.5\n" },
	{ PKG("a", "amd64", "1.5", ""), "Depends: a (<< 1.5)", "new 2: needs a (<< 1.5); the target has a 1.5\n" },
	{ PKG("a", "amd64", "1.5", ""), "Depends: a (< 1.5), a (> 1.5)", "" },
	{ PKG("a", "amd64", "1.0~rc1-2", ""), "Depends: a (>= 1.0)",
	  "new 2: needs a (>= 1.0); the target has a 1.0~rc1-2\n" },
	{ PKG("a", "amd64", "1.0~rc1-2", ""), "Depends: a (>= 1.0~rc1), a (>= 1.0~~), a (<< 1.0)", "" },
	{ PKG("a", "amd64", "1:0.1", ""), "Depends: a (>= 9), a (>= 1:0.1)", "" },
	{ PKG("a", "amd64", "9", ""), "Depends: a (>= 1:0.1)", "new 2: needs a (>= 1:0.1); the target has a 9\n" },
	{ PKG("a", "amd64", "2.36-9+deb12u4", ""), "Depends:\n a(>=2.36-9) ,\n a (<< 2.37~)", "" },
	/* absent, removed, alternatives */
	{ "", "Depends: a", "new 2: needs a, which the target has not\n" },
	{ "", "Pre-Depends: a (>= 1)", "new 2: needs a (>= 1), which the target has not\n" },
	{ "", "Recommends: a\nSuggests: b\nEnhances: c", "" },
	{ "Package: a\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n", "Depends: a",
	  "new 2: needs a, which the target has not\n" },
	{ "Package: a\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1\n\n", "Depends: a", "" },
	{ PKG("b", "amd64", "1", ""), "Depends: a | b (>= 2) | b, ,", "" },
	{ PKG("a", "amd64", "1", "") PKG("b", "amd64", "3", ""), "Depends: a (>= 2) |\n b (<< 2)",
	  "new 2: needs a (>= 2) |  b (<< 2); the target has a 1, b 3\n" },
	/* itself, and what it provides */
	{ "", "Depends: new, x\nProvides: x", "" },
	/* provided */
	{ PKG("mawk", "amd64", "1", "Provides: awk\n"), "Depends: awk", "" },
	{ PKG("mawk", "amd64", "1", "Provides: awk\n"), "Depends: awk (>= 1)",
	  "new 2: needs awk (>= 1); the target has mawk 1\n" },
	{ PKG("m", "amd64", "9", "Provides: x,\n awk (= 3)\n"), "Depends: awk (>= 2), awk (<< 4), x", "" },
	{ PKG("m", "amd64", "9", "Provides: awk (= 3)\n"), "Depends: awk (>= 4)",
	  "new 2: needs awk (>= 4); the target has m 9\n" },
	/* architectures */
	{ PKG("a", "i386", "1", ""), "Depends: a", "new 2: needs a; the target has a:i386 1\n" },
	{ PKG("a", "i386", "1", ""), "Depends: a:i386", "" },
	{ PKG("a", "amd64", "1", ""), "Depends: a:i386", "new 2: needs a:i386; the target has a 1\n" },
	{ PKG("a", "i386", "1", "Multi-Arch: foreign\n"), "Depends: a", "" },
	{ PKG("a", "i386", "1", "Multi-Arch: allowed\n"), "Depends: a", "new 2: needs a; the target has a:i386 1\n" },
	{ PKG("a", "i386", "1", "Multi-Arch: allowed\n"), "Depends: a:any", "" },
	{ PKG("a", "amd64", "1", "Multi-Arch: allowed\n"), "Depends: a:any, a:amd64, a:native", "" },
	{ PKG("a", "amd64", "1", ""), "Depends: a:any", "new 2: needs a:any; the target has a 1\n" },
	{ PKG("a", "i386", "1", "Multi-Arch: same\n"), "Depends: a", "new 2: needs a; the target has a:i386 1\n" },
	{ PKG("a", "all", "1", ""), "Depends: a, a:amd64", "" },
	{ PKG("a", "all", "1", ""), "Depends: a:i386", "new 2: needs a:i386; the target has a 1\n" },
	{ PKG("m", "i386", "1", "Provides: a\n"), "Depends: a", "new 2: needs a; the target has m:i386 1\n" },
	{ PKG("m", "i386", "1", "Provides: a\nMulti-Arch: foreign\n"), "Depends: a", "" },
	/* conflicts, both ways; never with oneself */
	{ PKG("a", "amd64", "1", ""), "Conflicts: a", "new 2: conflicts with a; the target has a 1\n" },
	{ PKG("a", "amd64", "1", ""), "Conflicts: a (<< 1)\nBreaks: b", "" },
	{ PKG("a", "amd64", "1", ""), "Breaks: a (<< 2~)", "new 2: breaks a (<< 2~); the target has a 1\n" },
	{ PKG("a", "i386", "1", ""), "Breaks: a", "new 2: breaks a; the target has a:i386 1\n" },
	{ PKG("a", "i386", "1", ""), "Breaks: a:amd64", "" },
	{ PKG("a", "amd64", "1", "Breaks: new (<< 3)\n"), "",
	  "the target's a 1: breaks new (<< 3); the image brings new 2\n" },
	{ PKG("a", "amd64", "1", "Conflicts: new (<< 2), other\n"), "", "" },
	{ PKG("m", "amd64", "1", "Provides: mta\nConflicts: mta\n"), "", "" },
	{ PKG("m", "amd64", "1", "Provides: mta\nConflicts: mta\n"), "Provides: mta\nConflicts: mta",
	  "new 2: conflicts with mta; the target has m 1\n"
	  "the target's m 1: conflicts with mta; the image brings new 2\n" },
	{ PKG("m", "amd64", "1", "Provides: mta (= 1)\n"), "Conflicts: mta (<< 1)", "" },
	{ PKG("m", "amd64", "1", "Provides: mta\n"), "Conflicts: mta (<< 9)", "" },
	{ "", "Provides: mta\nConflicts: mta, new", "" },
	/* the target's own unmet needs and conflicts are no concern */
	{ PKG("a", "amd64", "1", "Depends: nothing\nConflicts: b\n") PKG("b", "amd64", "1", ""), "", "" },
	/* several of an architecture */
	{ PKG("new", "i386", "2", "Multi-Arch: same\n"), "Multi-Arch: same", "" },
	{ PKG("new", "i386", "1", "Multi-Arch: same\n"), "Multi-Arch: same",
	  "new 2: cannot be there beside new:i386; the target has new:i386 1\n" },
	{ PKG("new", "i386", "2", "Multi-Arch: same\nProvides: x\n"),
	  "Multi-Arch: same\nConflicts: new, x\nBreaks: new (<< 9)", "" },
	{ PKG("new", "i386", "2", ""), "", "new 2: cannot be there beside new:i386; the target has new:i386 2\n" },
	/* for a terminal */
	{ PKG("a", "amd64", "1\033[2J", ""), "Depends: a (= \a)",
	  "new 2: needs a (= \\x07); the target has a 1\\x1b[2J\n" },
};

START_TEST(tells_what_does_not_hold)
{
	char target[4096], with[4096];

	snprintf(target, sizeof(target), "%s%s", DPKG, one[_i].has);
	snprintf(with, sizeof(with), "%s" PKG("new", "amd64", "2", "%s%s"), DPKG, one[_i].says,
		 *one[_i].says ? "\n" : "");
	ck_assert_str_eq(tell(target, DPKG, with), one[_i].told);
}
END_TEST

START_TEST(compares_packages)
{
	const char *base = DPKG PKG("libc6", "amd64", "2.36", "") PKG("up", "amd64", "1", "")
			   PKG("up2", "amd64", "1", "") PKG("gone", "amd64", "1", "");
	const char *with = DPKG PKG("libc6", "amd64", "2.36", "") PKG("up", "amd64", "2", "")
			   PKG("up2", "amd64", "2", "")
			   PKG("same", "all", "1", "") PKG("fresh", "amd64", "1", "") PKG("moved", "all", "1", "")
			   PKG("other", "amd64", "1:3", "Depends: nothing\n")
			   "Package: left\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n";
	const char *target = DPKG PKG("up", "amd64", "1", "") PKG("up2", "amd64", "0", "") PKG("same", "all", "1", "")
			     PKG("other", "amd64", "9", "") PKG("moved", "amd64", "1", "")
			     "Package: fresh\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n";
	static const struct {
		const char *name, *have;
		enum need_state state;
	} want[] = { { "up", "1", NEED_UPDATE }, { "up2", "0", NEED_OTHER_VERSION }, { "same", "1", NEED_TAKEN },
		     { "fresh", NULL, NEED_NEW }, { "moved", "1", NEED_OTHER_VERSION },
		     { "other", "9", NEED_OTHER_VERSION } };
	struct target_needs n;
	struct ply_err err;

	ck_assert_int_eq(look(target, base, with, &n, &err), 0);
	ck_assert_uint_eq(n.npackages, ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		ck_assert_str_eq(n.packages[i].name, want[i].name);
		ck_assert_int_eq(n.packages[i].state, want[i].state);
		ck_assert_pstr_eq(n.packages[i].have, want[i].have);
	}
	ck_assert(!n.no_database && !n.other_arch && target_needs_hold(&n));
	ck_assert_str_eq(n.target_arch, "amd64");
	ck_assert_str_eq(told(&n), "up2 2: the target has 0\nmoved 1 of architecture all: the target has amd64\n"
				   "other 1:3: the target has 9\n");
	target_needs_done(&n);
}
END_TEST

START_TEST(versions_of_the_target_count)
{
	const char *target = DPKG PKG("libfoo", "amd64", "1", "") PKG("old", "amd64", "1", "");

	/* libfoo is brought too, in a version that web needs; the target keeps its own */
	ck_assert_str_eq(tell(target, DPKG, DPKG PKG("libfoo", "amd64", "2", "")
			      PKG("web", "amd64", "1", "Depends: libfoo (>= 2)\n")),
			 "libfoo 2: the target has 1\nweb 1: needs libfoo (>= 2); the target has libfoo 1\n");
	/* new ones count for each other */
	ck_assert_str_eq(tell(target, DPKG, DPKG PKG("libbar", "amd64", "2", "Depends: web\n")
			      PKG("web", "amd64", "1", "Depends: libbar (= 2), libfoo (<< 2)\nConflicts: gone\n")), "");
	/* of the image's base nothing counts: it is not laid out */
	ck_assert_str_eq(tell(target, DPKG PKG("libssl3", "amd64", "3", ""),
			      DPKG PKG("libssl3", "amd64", "3", "") PKG("web", "amd64", "1", "Depends: libssl3\n")),
			 "web 1: needs libssl3, which the target has not\n");
}
END_TEST

START_TEST(updates_break_nobody)
{
	const char *base = DPKG PKG("lib", "amd64", "1", "");
	const char *with = DPKG PKG("lib", "amd64", "2", "Breaks: old (<< 2)\n");

	ck_assert_str_eq(tell(DPKG PKG("lib", "amd64", "1", "")
			      PKG("x", "amd64", "1", "Depends: lib (>= 1), never\n"), base, with), "");
	ck_assert_str_eq(tell(DPKG PKG("lib", "amd64", "1", "") PKG("x", "amd64", "1", "Pre-Depends: lib (= 1)\n")
			      PKG("old", "amd64", "1", ""), base, with),
			 "lib 2: breaks old (<< 2); the target has old 1\n"
			 "the target's x 1: needs lib (= 1); it would have lib 2\n");
	ck_assert_str_eq(tell(DPKG PKG("lib", "amd64", "1", "Provides: v\n") PKG("x", "amd64", "1", "Depends: v\n"),
			      DPKG PKG("lib", "amd64", "1", "Provides: v\n"), DPKG PKG("lib", "amd64", "2", "")),
			 "the target's x 1: needs v, which it would have no more\n");
}
END_TEST

START_TEST(compares_architectures)
{
	struct needs_input in = { .target = text(PKG("x", "i386", "1", "")), .target_arch = text("arm64\ni386\n"),
				  .base = text(DPKG), .with = text(DPKG PKG("w", "amd64", "1", "")) };
	struct target_needs n = { 0 };
	struct ply_err err;

	ck_assert_int_eq(needs_packages(&in, &n, &err), 0);
	ck_assert(n.other_arch && !n.no_database && !target_needs_hold(&n));
	ck_assert_str_eq(told(&n), "the image is of architecture amd64, the target of arm64\n");
	target_needs_done(&n);
}
END_TEST

START_TEST(a_target_without_packages_has_nothing)
{
	struct target_needs n;
	struct ply_err err;

	ck_assert_int_eq(look("", "", DPKG PKG("w", "amd64", "1", "Depends: dpkg, sh\n"), &n, &err), 0);
	ck_assert(n.no_database && !n.other_arch);
	ck_assert_str_eq(n.target_arch, "");
	ck_assert_str_eq(told(&n), "w 1: needs sh, which the target has not\n");
	target_needs_done(&n);
	ck_assert_int_eq(look("", "", "", &n, &err), 0);
	ck_assert(n.no_database && target_needs_hold(&n));
	target_needs_done(&n);
}
END_TEST

static const struct {
	const char *target, *with, *says;
	enum ply_reason reason;
} refusals[] = {
	{ "Package: a\nStatus: install ok half-installed\nArchitecture: all\nVersion: 1\n\n", "",
	  "package a is not completely", PLY_R_PKGDB_UNFINISHED },
	{ "Package: a\nStatus: install ok triggers-pending\nArchitecture: all\nVersion: 1\n\n", "",
	  "dpkg --configure -a", PLY_R_PKGDB_UNFINISHED },
	{ "Package: a\nStatus: install reinstreq installed\nArchitecture: all\nVersion: 1\n\n", "",
	  "package a is not", PLY_R_PKGDB_UNFINISHED },
	{ "Package: a\nnonsense\n\n", "", "the target's /var/lib/dpkg/status, line 2:", PLY_R_PKGDB_DAMAGED },
	{ "", "Package: a\n", "the selection's /var/lib/dpkg/status, line 1:", PLY_R_PKGDB_DAMAGED },
};

START_TEST(refuses)
{
	struct target_needs n;
	struct ply_err err = { 0 };

	ck_assert_int_lt(look(refusals[_i].target, "", refusals[_i].with, &n, &err), 0);
	ck_assert_int_eq(err.reason, refusals[_i].reason);
	ck_assert_msg(strstr(err.msg, refusals[_i].says) != NULL, "%s", err.msg);
	target_needs_done(&n);
}
END_TEST

/* --- hostile ones ------------------------------------------------------------------- */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void refused_soon(const struct buf *target, const struct buf *with)
{
	struct needs_input in = { .target = { (const char *)target->data, target->len },
				  .with = { (const char *)with->data, with->len } };
	struct target_needs n = { 0 };
	struct ply_err err = { 0 };
	double begun = seconds();

	ck_assert_int_eq(needs_packages(&in, &n, &err), -EBADMSG);
	ck_assert_int_eq(err.reason, PLY_R_PKGDB_DAMAGED);
	ck_assert_msg(seconds() - begun < 30, "%f seconds", seconds() - begun);
	target_needs_done(&n);
}

START_TEST(many_times_many_is_refused)
{
	_cleanup_buf_ struct buf target = { 0 }, with = { 0 };

	buf_printf(&with, "Package: w\nStatus: install ok installed\nVersion: 1\nDepends: x (= 2)");
	for (unsigned i = 0; i < 60000; i++) {
		buf_printf(&target, "Package: p%u\nStatus: install ok installed\nVersion: 1\nProvides: x (= 1)\n\n", i);
		buf_printf(&with, ", x (= 2)");
	}
	buf_printf(&with, "\n\n");
	refused_soon(&target, &with);
}
END_TEST

START_TEST(one_name_of_many_architectures_is_refused)
{
	_cleanup_buf_ struct buf target = { 0 }, with = { 0 };

	for (unsigned i = 0; i < 100000; i++)
		buf_printf(&target, "Package: p\nStatus: install ok installed\nVersion: 1\nArchitecture: a%u\n\n", i);
	refused_soon(&target, &with);
}
END_TEST

START_TEST(endless_lacks_are_refused)
{
	_cleanup_buf_ struct buf target = { 0 }, with = { 0 };

	buf_printf(&with, "Package: w\nStatus: install ok installed\nVersion: 1\nDepends: a");
	for (unsigned i = 0; i < 1000000; i++)
		buf_add(&with, ",a", 2);
	buf_printf(&with, "\n\n");
	refused_soon(&target, &with);
}
END_TEST

/* --- the same as dpkg ------------------------------------------------------------------ */

static uint64_t seed;

static unsigned draw(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static char native[32];
static char place[] = "/tmp/plyfs-needs-XXXXXX";

static const char *pick_version(void)
{
	static const char *const versions[] = { "1", "1.0-1", "1.0-2", "1.0~rc1-1", "1:0.5", "2.36-9+deb12u4" };

	return versions[draw(ARRAY_SIZE(versions))];
}

static const char *pick_arch(void)
{
	static const char *const archs[] = { native, native, "all", "m68k" };

	return archs[draw(ARRAY_SIZE(archs))];
}

/* "p0:any (>= 1)" */
static void add_relation(struct buf *b)
{
	static const char *const ops[] = { "<<", "<=", "=", ">=", ">>" };
	static const char *const names[] = { "p0", "p1", "p2", "v0", "v1" };

	buf_printf(b, "%s", names[draw(ARRAY_SIZE(names))]);
	if (draw(3) == 0)
		buf_printf(b, ":%s", (const char *const[]){ "any", native, "m68k" }[draw(3)]);
	if (draw(3))
		buf_printf(b, " (%s %s)", ops[draw(ARRAY_SIZE(ops))], pick_version());
}

/* A stanza without Status. */
static void make_package(struct buf *b, const char *name, bool asks)
{
	static const char *const multi[] = { "no", "same", "foreign", "allowed" };
	const char *arch = pick_arch(), *which = multi[draw(4)];

	/* dpkg refuses some that could not be */
	if (!strcmp(arch, "all") && (!strcmp(which, "same") || !strcmp(which, "allowed")))
		which = "no";
	buf_printf(b, "Package: %s\nMaintainer: x\nDescription: x\nArchitecture: %s\nVersion: %s\nMulti-Arch: %s\n",
		   name, arch, pick_version(), which);
	if (draw(2)) {
		buf_printf(b, "Provides: v%u", draw(2));
		if (draw(2))
			buf_printf(b, " (= %s)", pick_version());
		buf_printf(b, "\n");
	}
	if (asks) {
		static const char *const fields[] = { "Pre-Depends", "Depends", "Depends", "Conflicts", "Breaks" };
		const char *field = fields[draw(ARRAY_SIZE(fields))];

		buf_printf(b, "%s: ", field);
		add_relation(b);
		if (strstr(field, "Depends") && draw(2)) {
			buf_printf(b, " | ");
			add_relation(b);
		}
		buf_printf(b, "\n");
	}
}

static void write_file(const char *name, const struct buf *b)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", place, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(b->data, 1, b->len, f), b->len);
	ck_assert_int_eq(fclose(f), 0);
}

static int run(const char *words)
{
	char command[2048];

	snprintf(command, sizeof(command), "cd %s && exec >log 2>&1 && %s", place, words);
	return system(command);
}

/* Would dpkg install it? */
static bool dpkg_agrees_to(const struct buf *control)
{
	write_file("new/DEBIAN/control", control);
	ck_assert_int_eq(run("dpkg-deb -Znone --build new new.deb"), 0);
	return run("dpkg --root=root --force-unsafe-io --force-bad-path --force-not-root -i new.deb") == 0;
}

static void prepare_dpkg(const char **ret_skip)
{
	FILE *p = popen("dpkg --print-architecture 2>/dev/null", "r");

	*ret_skip = NULL;
	if (geteuid() != 0 || !p || !fgets(native, sizeof(native), p))
		*ret_skip = "needs root and dpkg";
	if (p)
		pclose(p);
	native[strcspn(native, "\n")] = '\0';
	if (*ret_skip)
		return;
	ck_assert_ptr_nonnull(mkdtemp(place));
	ck_assert_int_eq(run("mkdir -p new/DEBIAN root/var/log root/var/lib/dpkg/info root/var/lib/dpkg/updates"), 0);
}

START_TEST(agrees_with_dpkg)
{
	const char *rounds = getenv("PLYFS_NEEDS_ROUNDS"), *skip;
	unsigned n = rounds ? (unsigned)atoi(rounds) : 25, held = 0;

	prepare_dpkg(&skip);
	if (skip) {
		printf("# skipped: %s\n", skip);
		return;
	}
	for (seed = 1; n--;) {
		_cleanup_buf_ struct buf status = { 0 }, control = { 0 }, with = { 0 }, archs = { 0 };
		struct target_needs needs = { 0 };
		struct needs_input in;
		struct ply_err err;
		bool agrees;

		for (unsigned i = 0; i < 3; i++) {
			char name[8];

			snprintf(name, sizeof(name), "p%u", i);
			if (draw(4) == 0)
				continue;
			buf_printf(&status, "Status: install ok installed\n");
			make_package(&status, name, false);
			if (draw(4) == 0)
				buf_printf(&status, "%s: new (<< %s)\n", draw(2) ? "Breaks" : "Conflicts",
					   pick_version());
			buf_printf(&status, "\n");
		}
		make_package(&control, "new", true);
		buf_printf(&with, "Status: install ok installed\n%.*s\n", (int)control.len, (const char *)control.data);
		buf_printf(&archs, "%s\nm68k\n", native);
		write_file("root/var/lib/dpkg/status", &status);
		write_file("root/var/lib/dpkg/arch", &archs);
		agrees = dpkg_agrees_to(&control);
		in = (struct needs_input){ .target = { (const char *)status.data, status.len },
					   .target_arch = { (const char *)archs.data, archs.len },
					   .with = { (const char *)with.data, with.len },
					   .image_arch = { (const char *)archs.data, archs.len } };
		ck_assert_msg(needs_packages(&in, &needs, &err) == 0, "%s", err.msg);
		ck_assert_msg(target_needs_hold(&needs) == agrees, "dpkg %s, we say:\n%s\nof\n%.*s\nin\n%.*s",
			      agrees ? "installs it" : "does not", told(&needs), (int)with.len,
			      (const char *)with.data, (int)status.len, (const char *)status.data);
		held += agrees;
		target_needs_done(&needs);
	}
	printf("# %u held\n", held);
	ck_assert_int_eq(run("rm -rf new new.deb root log"), 0);
	ck_assert_int_eq(rmdir(place), 0);
}
END_TEST

/* --- programs ---------------------------------------------------------------------------- */

struct file {
	uint8_t bytes[1024];
	size_t len;
};

static int read_bytes(void *ctx, uint64_t off, void *buf, size_t len)
{
	const struct file *f = ctx;

	if (off > f->len || len > f->len - off)
		return -EIO;
	memcpy(buf, f->bytes + off, len);
	return 0;
}

/* PT_LOAD of all at 0x1000, PT_DYNAMIC at 0x120, strings at 0x200, PT_INTERP in them; @path is DT_RPATH or RUNPATH. */
static void make_elf(struct file *f, int path_tag, const char *path, const char *interp, const char *lib)
{
	Elf64_Ehdr h = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB }, .e_machine = EM_X86_64,
			 .e_phoff = 64, .e_phentsize = 56, .e_phnum = 3 };
	size_t lib_at = 1, path_at = lib_at + strlen(lib) + 1, interp_at = path_at + strlen(path) + 1;
	Elf64_Phdr p[3] = { { .p_type = PT_LOAD, .p_vaddr = 0x1000, .p_filesz = 0x400 },
			    { .p_type = PT_DYNAMIC, .p_offset = 0x120, .p_filesz = 6 * 16 },
			    { .p_type = *interp ? PT_INTERP : PT_NULL, .p_offset = 0x200 + interp_at,
			      .p_filesz = strlen(interp) + 1 } };
	Elf64_Dyn d[6] = { { DT_NEEDED, { lib_at } }, { DT_STRTAB, { 0x1200 } }, { path_tag, { path_at } },
			   { DT_NEEDED, { lib_at } }, { DT_NULL, { 0 } } };

	memset(f, 0, sizeof(*f));
	memcpy(f->bytes, &h, sizeof(h));
	memcpy(f->bytes + 64, p, sizeof(p));
	memcpy(f->bytes + 0x120, d, sizeof(d));
	strcpy((char *)f->bytes + 0x200 + lib_at, lib);
	strcpy((char *)f->bytes + 0x200 + path_at, path);
	strcpy((char *)f->bytes + 0x200 + interp_at, interp);
	f->len = 0x200 + interp_at + strlen(interp) + 1;
}

START_TEST(reads_a_program)
{
	struct needs_program p;
	struct file f;

	make_elf(&f, DT_RUNPATH, "$ORIGIN/../lib:/opt/x", "/lib64/ld-linux-x86-64.so.2", "libz.so.1");
	ck_assert_int_eq(needs_program_look("/opt/a/bin/x", read_bytes, &f, &p), 1);
	ck_assert_str_eq(p.path, "/opt/a/bin/x");
	ck_assert_str_eq(p.interpreter, "/lib64/ld-linux-x86-64.so.2");
	ck_assert_str_eq(p.runpath, "$ORIGIN/../lib:/opt/x");
	ck_assert_ptr_null(p.rpath);
	ck_assert_uint_eq(p.nlibs, 1);
	ck_assert_str_eq(p.libs[0], "libz.so.1");
	ck_assert(p.kind.elf_class == ELFCLASS64 && p.kind.data == ELFDATA2LSB && p.kind.machine == EM_X86_64);
	ck_assert_str_eq(elf_multiarch(&p.kind), "x86_64-linux-gnu");
	needs_program_done(&p);
}
END_TEST

START_TEST(damaged_programs_are_read)
{
	struct needs_program p;
	struct file f;

	for (size_t i = 0; i < 0x260; i++)
		for (int v = 0; v < 3; v++) {
			make_elf(&f, DT_RPATH, "/x", "/lib64/ld.so", "libz.so.1");
			f.bytes[i] = (uint8_t[]){ 0, 0xff, 0x80 }[v];
			if (needs_program_look("/x", read_bytes, &f, &p))
				needs_program_done(&p);
		}
	for (size_t len = 0; len < 0x260; len++) {
		make_elf(&f, DT_RPATH, "/x", "/lib64/ld.so", "libz.so.1");
		f.len = MIN(f.len, len);
		if (needs_program_look("/x", read_bytes, &f, &p))
			needs_program_done(&p);
	}
}
END_TEST

static const struct {
	const char *text, *interpreter;
} scripts[] = {
	{ "#!/bin/sh\necho", "/bin/sh" },     { "#! /usr/bin/php -q\n", "/usr/bin/php" }, { "#!/bin/sh", "/bin/sh" },
	{ "#!/usr/bin/env python3\n", "python3" }, { "#!/usr/bin/env -S A=1 node --x\n", "node" },
	{ "#!/usr/bin/env /opt/x\n", "/opt/x" },   { "#!/usr/bin/env\n", NULL },  { "#!\n", NULL }, { "#!", NULL },
	{ "#!bin/sh\n", NULL }, { "#!/usr/bin/env ../x\n", NULL }, { "", NULL }, { "#", NULL }, { "echo\n", NULL },
};

START_TEST(reads_a_script)
{
	struct needs_program p = { 0 };
	struct file f = { .len = strlen(scripts[_i].text) };

	memcpy(f.bytes, scripts[_i].text, f.len);
	ck_assert_int_eq(needs_program_look("/x", read_bytes, &f, &p), scripts[_i].interpreter != NULL);
	ck_assert_pstr_eq(p.interpreter, scripts[_i].interpreter);
	ck_assert_uint_eq(p.kind.elf_class, 0);
	needs_program_done(&p);
}
END_TEST

/* Says where it was asked; what begins with "there" is there. */
static int asked(void *ctx, const char *dir, const char *name, const struct elf_kind *kind)
{
	buf_printf(ctx, "%s%s %s;", kind ? "" : "any ", dir ? dir : "-", name);
	return !strncmp(name, "there", 5);
}

static const struct {
	int tag;
	const char *path, *lib, *asked;
} searches[] = {
	{ DT_RUNPATH, "", "there", "- there;" },
	{ DT_RUNPATH, "/a::/b:", "lib", "/a lib;/b lib;- lib;" },
	{ DT_RPATH, "/a:/b", "there", "/a there;" },
	{ DT_RPATH, "$ORIGIN:${ORIGIN}/../lib:/x/$LIB:/y/${LIB}/z", "lib",
	  "/opt/bin lib;/opt/bin/../lib lib;/x/lib/x86_64-linux-gnu lib;/y/lib/x86_64-linux-gnu/z lib;- lib;" },
	{ DT_RPATH, "/$PLATFORM:rel/lib:$ORIGIN/$FOO", "lib", "- lib;" },
	{ DT_RPATH, "/a", "/opt/x/lib", "/opt/x lib;" },
	{ DT_RPATH, "/a", "$ORIGIN/lib", "/opt/bin lib;" },
	{ DT_RPATH, "/a", "/lib", "/ lib;" },
	{ DT_RPATH, "/a", "./lib", "" },
};

START_TEST(asks_where_the_loader_looks)
{
	_cleanup_buf_ struct buf said = { 0 };
	struct target_needs n = { 0 };
	struct needs_program p;
	struct ply_err err;
	struct file f;

	make_elf(&f, searches[_i].tag, searches[_i].path, "", searches[_i].lib);
	ck_assert_int_eq(needs_program_look("/opt/bin/x", read_bytes, &f, &p), 1);
	ck_assert_int_eq(needs_programs(&p, 1, asked, &said, &n, &err), 0);
	ck_assert_int_eq(buf_add(&said, "", 1), 0);
	ck_assert_str_eq((char *)said.data, searches[_i].asked);
	ck_assert_uint_eq(n.nlibraries, searches[_i].asked[0] && !strstr(searches[_i].lib, "there"));
	needs_program_done(&p);
	target_needs_done(&n);
}
END_TEST

static int cannot_look(void *ctx, const char *dir, const char *name, const struct elf_kind *kind)
{
	(void)dir;
	(void)name;
	(void)kind;
	return *(const int *)ctx;
}

START_TEST(tells_what_programs_lack)
{
	char *libs[] = { (char *)"liba.so.1", (char *)"there.so", (char *)"ld.so" };
	struct needs_program v[] = {
		{ .path = (char *)"/opt/x", .kind = { ELFCLASS64, 1, 62 }, .interpreter = (char *)"/lib/ld.so",
		  .libs = libs, .nlibs = 3 },
		{ .path = (char *)"/opt/y\n", .interpreter = (char *)"there" },
		{ .path = (char *)"/opt/z", .interpreter = (char *)"node" },
	};
	_cleanup_buf_ struct buf said = { 0 };
	struct target_needs n = { 0 };
	struct ply_err err;

	ck_assert_int_eq(needs_programs(v, 3, asked, &said, &n, &err), 0);
	ck_assert_int_eq(buf_add(&said, "", 1), 0);
	ck_assert_str_eq((char *)said.data, "/lib ld.so;- liba.so.1;- there.so;any - there;any - node;");
	ck_assert(!target_needs_hold(&n));
	ck_assert_str_eq(told(&n), "/opt/x: is run by /lib/ld.so, which the target has not\n"
				   "/opt/x: needs the library liba.so.1, which the target has not\n"
				   "/opt/z: is run by node, which the target has not\n");
	target_needs_done(&n);
	ck_assert_int_eq(needs_programs(v, 3, cannot_look, &(int){ -EIO }, &n, &err), -EIO);
	ck_assert_ptr_nonnull(strstr(err.msg, "/opt/x"));
	target_needs_done(&n);
}
END_TEST

/* --- a target ------------------------------------------------------------------------------ */

static int root_fd;

static void begin(void)
{
	ck_assert_ptr_nonnull(mkdtemp(place));
	root_fd = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(root_fd, 0);
}

static void end(void)
{
	char command[128];

	close(root_fd);
	snprintf(command, sizeof(command), "rm -rf %s", place);
	ck_assert_int_eq(system(command), 0);
}

static void make_parents(const char *path)
{
	char part[512];

	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdirat(root_fd, part, 0755);
	}
}

static void put(const char *path, const void *bytes, size_t len)
{
	int fd;

	make_parents(path);
	fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (int)len);
	close(fd);
}

static void put_library(const char *path, uint16_t machine)
{
	struct file f;

	make_elf(&f, DT_NULL, "", "", "libc.so.6");
	f.bytes[18] = (uint8_t)machine;
	put(path, f.bytes, f.len);
}

static void put_link(const char *path, const char *to)
{
	make_parents(path);
	ck_assert_int_eq(symlinkat(to, root_fd, path), 0);
}

static void add32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };

	buf_add(b, bytes, 4);
}

/* A cache of one entry; @old: with one of the format of old before it; @bad: and another that leads nowhere. */
static void make_cache(struct buf *b, const char *name, const char *path, bool old, bool bad)
{
	uint32_t n = bad ? 2 : 1, strings = 48 + 24 * n;

	if (old) {
		buf_add(b, "ld.so-1.7.0\0", 12);
		add32(b, 1);
		buf_add_zero(b, 12);
		buf_align(b, 8);
	}
	buf_add(b, "glibc-ld.so.cache1.1", 20);
	add32(b, n);
	add32(b, (uint32_t)(strlen(name) + strlen(path) + 2));
	buf_add_zero(b, 20);
	add32(b, 0x303);
	add32(b, strings);
	add32(b, strings + (uint32_t)strlen(name) + 1);
	buf_add_zero(b, 12 + 24 * (n - 1));
	buf_add(b, name, strlen(name) + 1);
	buf_add(b, path, strlen(path) + 1);
}

static const struct elf_kind amd64 = { ELFCLASS64, ELFDATA2LSB, EM_X86_64 };

static struct needs_root *open_root(void)
{
	struct needs_root *r = NULL;
	struct ply_err err;

	ck_assert_int_eq(needs_root_open(root_fd, &r, &err), 0);
	return r;
}

START_TEST(finds_libraries_as_the_loader)
{
	_cleanup_buf_ struct buf cache = { 0 };
	struct needs_root *r;

	begin();
	put_library("usr/lib/x86_64-linux-gnu/libz.so.1.2", EM_X86_64);
	put_link("usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2");
	put_link("lib", "usr/lib");
	put_library("usr/lib/libplain.so", EM_X86_64);
	put_library("usr/lib/x86_64-linux-gnu/libarm.so", EM_ARM);
	put("usr/lib/libtext.so", "INPUT(libz.so)\n", 15);
	put_library("opt/far/libfar.so.1", EM_X86_64);
	put_library("usr/local/lib/libloc.so", EM_X86_64);
	put_link("usr/lib/liboutside.so", "../../../../../../../../../../etc/passwd");
	put_link("usr/lib/libloop.so", "libloop.so");
	ck_assert_int_eq(mkfifoat(root_fd, "usr/lib/libfifo.so", 0644), 0);
	put_link("usr/bin/php", "/etc/alternatives/php");
	put("usr/bin/php8", "x", 1);
	put_link("etc/alternatives/php", "/usr/bin/php8");
	make_cache(&cache, "libfar.so.1", "/opt/far/libfar.so.1", _i, false);
	put("etc/ld.so.cache", cache.data, cache.len);
	r = open_root();
	ck_assert_int_eq(needs_root_has(r, NULL, "libz.so.1", &amd64), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "libz.so.1", &amd64), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "libz.so.1", &(struct elf_kind){ 1, 1, EM_386 }), 0);
	ck_assert_int_eq(needs_root_has(r, NULL, "libplain.so", &amd64), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "libarm.so", &amd64), 0);
	ck_assert_int_eq(needs_root_has(r, NULL, "libtext.so", &amd64), 0);
	ck_assert_int_eq(needs_root_has(r, NULL, "liboutside.so", &amd64), 0);
	ck_assert_int_eq(needs_root_has(r, NULL, "libloop.so", &amd64), 0);
	ck_assert_int_eq(needs_root_has(r, NULL, "libfifo.so", &amd64), 0);
	ck_assert_int_eq(needs_root_has(r, NULL, "libfar.so.1", &amd64), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "libloc.so", &amd64), 0);
	ck_assert_int_eq(needs_root_has(r, "/opt/bin/../far", "libfar.so.1", &amd64), 1);
	ck_assert_int_eq(needs_root_has(r, "/opt/far", "libz.so.1", &amd64), 0);
	ck_assert_int_eq(needs_root_has(r, "/usr/bin", "php", NULL), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "php", NULL), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "node", NULL), 0);
	needs_root_close(r);
	end();
}
END_TEST

static int brings(void *ctx, const char *path)
{
	return strstr(ctx, path) != NULL;
}

START_TEST(what_is_brought_counts)
{
	_cleanup_buf_ struct buf cache = { 0 }, damaged = { 0 };
	struct needs_root *r;

	begin();
	put_library("usr/local/lib/libloc.so", EM_X86_64);
	put("etc/ld.so.cache", "nonsense", 8);
	make_cache(&cache, "libnew.so.1", "/opt/new/libnew.so.1", false, false);
	make_cache(&damaged, "libghost.so.1", "/opt/new/libnew.so.1", false, true);
	r = open_root();
	ck_assert_int_eq(needs_root_has(r, NULL, "libloc.so", &amd64), 1);     /* no cache that is known */
	needs_root_brings(r, brings, (char *)" /opt/new/libnew.so.1 /usr/lib/libusual.so /usr/bin/tool inside.so ");
	ck_assert_int_eq(needs_root_has(r, NULL, "libusual.so", &amd64), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "inside.so", &amd64), 1);
	ck_assert_int_eq(needs_root_has(r, "/usr/bin", "tool", NULL), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "tool", NULL), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "libabsent.so", &amd64), 0);
	ck_assert_int_eq(needs_root_cache(r, "x", 1), 1);
	ck_assert_int_eq(needs_root_cache(r, damaged.data, damaged.len), 1);
	ck_assert_int_eq(needs_root_has(r, NULL, "libghost.so.1", &amd64), 0);
	ck_assert_int_eq(needs_root_cache(r, cache.data, cache.len), 0);
	put_library("opt/new/libnew.so.1", EM_ARM);
	ck_assert_int_eq(needs_root_has(r, NULL, "libnew.so.1", &amd64), 1);
	needs_root_close(r);
	end();
}
END_TEST

START_TEST(reads_the_target)
{
	_cleanup_buf_ struct buf status = { 0 }, arch = { 0 };
	struct ply_err err = { 0 };

	begin();
	ck_assert_int_eq(needs_read_target(root_fd, &status, &arch, &err), 0);
	ck_assert(!status.len && !arch.len);
	put("var/lib/dpkg/status", DPKG, strlen(DPKG));
	put("var/lib/dpkg/arch", "amd64\n", 6);
	put("var/lib/dpkg/updates/tmp.i", "", 0);
	ck_assert_int_eq(needs_read_target(root_fd, &status, &arch, &err), 0);
	ck_assert(status.len == strlen(DPKG) && arch.len == 6);
	put("var/lib/dpkg/updates/0001", "", 0);
	ck_assert_int_eq(needs_read_target(root_fd, &status, &arch, &err), -EBUSY);
	ck_assert_int_eq(err.reason, PLY_R_PKGDB_UNFINISHED);
	end();
}
END_TEST

/* --- no memory ----------------------------------------------------------------------------- */

/* All of it, on the target of begin(), with the allocation of that number failing: 0 or what came of it. */
static int do_all(const struct file *f, const struct buf *cache, long failing, bool *ret_failed)
{
	const char *target = DPKG PKG("lib", "amd64", "1", "")
			     PKG("x", "amd64", "1", "Depends: lib (= 1)\nConflicts: w\n");
	const char *base = DPKG PKG("lib", "amd64", "1", "");
	const char *with = DPKG PKG("lib", "amd64", "2", "Provides: v\n")
			   PKG("w", "amd64", "1", "Depends: none | lib (= 1)\n");
	struct needs_program p = { 0 };
	struct needs_root *root = NULL;
	struct target_needs n = { 0 };
	struct buf said = { 0 };
	struct ply_err err;
	int r;

	fail_at = failing;
	r = look(target, base, with, &n, &err);
	if (r == 0)
		r = needs_root_open(root_fd, &root, &err);
	if (r == 0)
		r = needs_root_cache(root, cache->data, cache->len);
	if (r == 0)
		r = needs_program_look("/opt/x", read_bytes, (void *)f, &p);
	if (r == 1)
		r = needs_programs(&p, 1, needs_root_has, root, &n, &err);
	if (r == 0)
		r = needs_tell(&n, add_line, &said);
	*ret_failed = fail_at == 0;
	fail_at = 0;               /* Check needs memory too */
	ck_assert(r != 0 || n.nmissing + n.nlibraries == 5);
	needs_program_done(&p);
	needs_root_close(root);
	target_needs_done(&n);
	buf_done(&said);
	return r;
}

START_TEST(memory_may_fail)
{
	_cleanup_buf_ struct buf cache = { 0 };
	struct file f;
	bool failed = true;
	long n = 0;

	begin();
	make_cache(&cache, "liba.so.1", "/opt/liba.so.1", false, false);
	put("etc/ld.so.cache", cache.data, cache.len);
	make_elf(&f, DT_RUNPATH, "/opt/a:$ORIGIN", "/lib/ld.so", "liba.so.1");
	while (failed) {
		int r = do_all(&f, &cache, ++n, &failed);

		ck_assert_msg(r == 0 || (failed && r == -ENOMEM), "the %ldth: %d", n, r);
	}
	ck_assert_int_gt(n, 20);
	end();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("needs");

	tap_loop(s, tells_what_does_not_hold, 0, ARRAY_SIZE(one));
	tap_test(s, compares_packages);
	tap_test(s, versions_of_the_target_count);
	tap_test(s, updates_break_nobody);
	tap_test(s, compares_architectures);
	tap_test(s, a_target_without_packages_has_nothing);
	tap_loop(s, refuses, 0, ARRAY_SIZE(refusals));
	tap_test(s, many_times_many_is_refused);
	tap_test(s, one_name_of_many_architectures_is_refused);
	tap_test(s, endless_lacks_are_refused);
	tap_test(s, agrees_with_dpkg);
	tap_test(s, reads_a_program);
	tap_test(s, damaged_programs_are_read);
	tap_loop(s, reads_a_script, 0, ARRAY_SIZE(scripts));
	tap_loop(s, asks_where_the_loader_looks, 0, ARRAY_SIZE(searches));
	tap_test(s, tells_what_programs_lack);
	tap_loop(s, finds_libraries_as_the_loader, 0, 2);
	tap_test(s, what_is_brought_counts);
	tap_test(s, reads_the_target);
	tap_test(s, memory_may_fail);
	return s;
}

TAP_MAIN(suite)
