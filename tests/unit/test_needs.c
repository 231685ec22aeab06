/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tools/layout/needs, packages: small status files, what is told of them. What satisfies a dependency is compared with
 * dpkg itself, on random small machines (PLYFS_NEEDS_ROUNDS of them).
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "needs_told.h"
#include "tap.h"

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
	ck_assert_str_eq(told(&n), "");
	target_needs_done(&n);
}
END_TEST

START_TEST(versions_of_the_target_count)
{
	const char *target = DPKG PKG("libfoo", "amd64", "1", "") PKG("old", "amd64", "1", "");

	/* libfoo is brought too, in a version that web needs; the target keeps its own */
	ck_assert_str_eq(tell(target, DPKG, DPKG PKG("libfoo", "amd64", "2", "")
			      PKG("web", "amd64", "1", "Depends: libfoo (>= 2)\n")),
			 "web 1: needs libfoo (>= 2); the target has libfoo 1\n");
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
	return s;
}

TAP_MAIN(suite)
