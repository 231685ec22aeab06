/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tools/capture/closure.c: which component a package belongs to, on made-up package graphs. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "capture/closure.h"
#include "tap.h"

/* name, source ("": its name), marks: a automatic, r required; Depends, Recommends, Provides */
struct made {
	const char *name, *source, *marks, *depends, *recommends, *provides;
};

static struct pkgdb *make(const struct made *m)
{
	char root[] = "/tmp/plyfs-closure-XXXXXX", path[128], command[256];
	struct pkgdb *db = NULL;
	struct ply_err err;
	FILE *status, *marks;
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(root));
	snprintf(command, sizeof(command), "mkdir -p %s/var/lib/dpkg/info %s/var/lib/apt", root, root);
	ck_assert_int_eq(system(command), 0);
	snprintf(path, sizeof(path), "%s/var/lib/dpkg/status", root);
	status = fopen(path, "w");
	snprintf(path, sizeof(path), "%s/var/lib/apt/extended_states", root);
	marks = fopen(path, "w");
	ck_assert(status && marks);
	for (; m->name; m++) {
		fprintf(status, "Package: %s\nStatus: %s\nArchitecture: all\nVersion: 1\n", m->name,
			strchr(m->marks, 'x') ? "deinstall ok config-files" : "install ok installed");
		if (m->source && *m->source)
			fprintf(status, "Source: %s\n", m->source);
		if (strchr(m->marks, 'r'))
			fprintf(status, "Priority: required\n");
		if (m->depends)
			fprintf(status, "Depends: %s\n", m->depends);
		if (m->recommends)
			fprintf(status, "Recommends: %s\n", m->recommends);
		if (m->provides)
			fprintf(status, "Provides: %s\n", m->provides);
		fprintf(status, "\n");
		if (strchr(m->marks, 'a'))
			fprintf(marks, "Package: %s\nArchitecture: all\nAuto-Installed: 1\n\n", m->name);
	}
	ck_assert(fclose(status) == 0 && fclose(marks) == 0);
	fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_msg(pkgdb_open(fd, &db, &err) == 0, "%s", err.msg);
	close(fd);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	ck_assert_int_eq(system(command), 0);
	return db;
}

/* @names: "apache=apache2 php=php,libphp" */
static int try(const struct pkgdb *db, const char *names, struct closure *c, struct ply_err *err)
{
	struct closure_input in[16];
	uint32_t pkgs[64], n = 0;
	char text[512];
	size_t nin = 0;
	int r;

	snprintf(text, sizeof(text), "%s", names);
	for (char *rest = text, *one; (one = strsep(&rest, " "));) {
		char *list = strchr(one, '=');

		*list++ = '\0';
		in[nin] = (struct closure_input){ .name = strdup(one), .pkgs = &pkgs[n] };
		for (char *pkg; (pkg = strsep(&list, ","));) {
			pkgs[n] = pkgdb_find(db, pkg);
			ck_assert_msg(pkgs[n++] != PKG_NONE, "%s", pkg);
			in[nin].n++;
		}
		nin++;
	}
	r = closure_compute(db, in, nin, c, err);
	for (size_t i = 0; i < nin; i++)
		free((char *)in[i].name);
	return r;
}

static const char *show(const struct pkgdb *db, const struct closure *c)
{
	static struct buf out;

	out.len = 0;
	for (uint32_t i = 0; i < c->ncomps; i++) {
		buf_printf(&out, "%s%s:", i ? " | " : "", c->comps[i].name);
		for (uint32_t p = 0; p < c->npkgs; p++)
			if (c->pkgs[p].comp == i)
				buf_printf(&out, " %s", pkgdb_get(db, p)->name);
		for (size_t r = 0; r < c->nrequires; r++)
			for (uint32_t a = 0; c->requires[r].from == i && a < c->requires[r].n; a++)
				buf_printf(&out, "%s%s", a ? "|" : " >", c->comps[c->alts[c->requires[r].first + a]].name);
	}
	buf_add(&out, "", 1);
	return (const char *)out.data;
}

static void expect(const struct made *m, const char *names, const char *want)
{
	struct pkgdb *db = make(m);
	struct closure c = { 0 };
	struct ply_err err;
	struct buf why = { 0 };

	ck_assert_msg(try(db, names, &c, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(show(db, &c), want);
	for (uint32_t p = 0; p < c.npkgs; p++)
		ck_assert_int_eq(closure_explain(&c, db, p, &why), 0);
	buf_done(&why);
	closure_done(&c);
	pkgdb_close(db);
}

static void expect_error(const struct made *m, const char *names, enum ply_reason reason, const char *says)
{
	struct pkgdb *db = make(m);
	struct closure c = { 0 };
	struct ply_err err = { 0 };

	ck_assert_int_lt(try(db, names, &c, &err), 0);
	ck_assert_str_eq(ply_reason_name(err.reason), ply_reason_name(reason));
	ck_assert_msg(strstr(err.msg, says) != NULL, "'%s' does not say '%s'", err.msg, says);
	pkgdb_close(db);
}

/* The shape of a web server: parts of one source, a library that both use, and a base. */
static const struct made lamp[] = {
	{ "libc", "", "ar", NULL, NULL, NULL },
	{ "apache", "apache", "", "apache-bin, apache-data, libc", "ssl", NULL },
	{ "apache-bin", "apache", "a", "libxml, libapr, libc", NULL, NULL },
	{ "apache-data", "apache", "a", NULL, NULL, NULL },
	{ "ssl", "", "a", NULL, NULL, NULL },
	{ "libapr", "", "a", "libc", NULL, NULL },
	{ "libxml", "", "a", "libicu", NULL, NULL },
	{ "libicu", "", "a", NULL, NULL, NULL },
	{ "php", "php-defaults", "", "php8", NULL, NULL },
	{ "php8", "php8", "a", "libapache-php | php-fpm, php-common", NULL, NULL },
	{ "php-common", "php8", "a", "libxml", NULL, NULL },
	{ "libapache-php", "php8", "", "apache-bin, php-common", "apache", NULL },
	{ "pg", "", "", "libxml, ssl", NULL, NULL },
	{ "nano", "", "", "libc", NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(folds_into_the_required_one)
{
	expect(lamp, "apache=apache php=php,libapache-php pg=pg",
	       "os: libc nano | apache+pg: ssl libxml libicu | "
	       "apache: apache apache-bin apache-data libapr >apache+pg | "
	       "php: php php8 php-common libapache-php >apache+pg >apache | pg: pg >apache+pg");
	expect(lamp, "php=php,libapache-php apache=apache os=pg",
	       "os: libc ssl libxml libicu pg nano | apache: apache apache-bin apache-data libapr | "
	       "php: php php8 php-common libapache-php >apache");
}
END_TEST

static const struct made without_pg[] = {
	{ "apache", "", "", "bin", NULL, NULL },
	{ "bin", "apache", "a", "libxml", NULL, NULL },
	{ "libxml", "", "a", NULL, NULL, NULL },
	{ "php", "", "", "bin, libxml", NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(shares_nothing_that_requires_explains)
{
	expect(without_pg, "apache=apache php=php", "os: | apache: apache bin libxml | php: php >apache");
	expect(without_pg, "php=php apache=apache", "os: | apache: apache bin libxml | php: php >apache");
}
END_TEST

/* the names of three would be longer than a name may be */
static const struct made many[] = {
	{ "a", "", "", "lib", NULL, NULL },
	{ "b", "", "", "lib", NULL, NULL },
	{ "c", "", "", "lib, lib2", NULL, NULL },
	{ "d", "", "", "lib2, a2", NULL, NULL },
	{ "lib", "", "a", NULL, NULL, NULL },
	{ "lib2", "", "a", NULL, NULL, NULL },
	{ "a2", "", "", NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

#define LONG "012345678901234567890123456789012345678901234567890123456789"

START_TEST(long_names_are_cut)
{
	struct pkgdb *db = make(many);
	struct closure c = { 0 };

	ck_assert_int_eq(try(db, "x" LONG "=a y" LONG "=b z" LONG "=c q=d", &c, NULL), 0);
	ck_assert_uint_ne(closure_find(&c, "x" LONG "+2"), UINT32_MAX);
	ck_assert_uint_ne(closure_find(&c, "q+z" LONG), UINT32_MAX);
	closure_done(&c);
	pkgdb_close(db);
}
END_TEST

/* "awk" is given by two; the system has one already, so the other is not its own */
static const struct made choices[] = {
	{ "base", "", "r", "awk", NULL, NULL },
	{ "gawk", "", "a", "mpfr", NULL, "awk" },
	{ "mawk", "", "r", NULL, NULL, "awk" },
	{ "mpfr", "", "a", NULL, NULL, NULL },
	{ "db", "", "", "gawk", NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(one_provider_is_enough_for_the_system)
{
	expect(choices, "db=db", "os: base mawk | db: gawk mpfr db");
}
END_TEST

/* nobody else reaches either: the one that is named first is taken */
static const struct made undecided[] = {
	{ "base", "", "r", "y | x", NULL, NULL },
	{ "x", "", "a", NULL, NULL, NULL },
	{ "y", "", "a", NULL, NULL, NULL },
	{ "app", "", "", "x", NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(of_several_the_first_is_taken)
{
	expect(undecided, "app=app", "os: base y | app: x app");
}
END_TEST

static const struct made needed[] = {
	{ "admin", "", "", "db", NULL, NULL },
	{ "db", "", "a", NULL, NULL, NULL },
	{ "hint", "", "", NULL, "db", NULL },
	{ "gone", "", "x", NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(the_system_needs_no_component)
{
	expect_error(needed, "db=db", PLY_R_PACKAGE_NEEDED, "package admin of the operating system needs 'db'");
	expect(needed, "db=db admin=admin", "os: hint gone | db: db | admin: admin >db");
	expect_error(needed, "a=admin b=admin", PLY_R_PACKAGE_TWICE, "in component a and in component b");
	expect_error(needed, "a=gone", PLY_R_COMPONENT_PACKAGES, "component a");
	expect(needed, "admin=admin,gone", "os: db hint | admin: admin gone");
}
END_TEST

/* of one source with what is named, and not without it: comes along; another's package does not */
static const struct made akin[] = {
	{ "tool", "", "a", NULL, NULL, NULL },
	{ "tool-all", "tool", "", "tool-gui", NULL, NULL },
	{ "tool-gui", "tool", "a", "tool", NULL, NULL },
	{ "other", "", "", "lib", NULL, NULL },
	{ "lib", "", "a", NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(what_is_akin_comes_along)
{
	expect(akin, "t=tool", "os: other lib | t: tool tool-all tool-gui");
}
END_TEST

/* an orphan that needs a component's package goes there; a circle of requires ends */
static const struct made odd[] = {
	{ "a", "", "", "b, a-lib", NULL, NULL },
	{ "b", "", "", "a, b-lib", NULL, NULL },
	{ "a-lib", "a", "a", NULL, NULL, NULL },
	{ "b-lib", "b", "a", NULL, NULL, NULL },
	{ "orphan", "", "a", "b-lib", NULL, NULL },
	{ "lonely", "", "a", NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(circles_and_orphans)
{
	expect(odd, "a=a b=b", "os: lonely | b: b b-lib orphan >a | a: a a-lib >b");
}
END_TEST

/* alternatives that lie in two components: any of them will do */
static const struct made either[] = {
	{ "app", "", "", "x | y", NULL, NULL },
	{ "x", "", "", NULL, NULL, NULL },
	{ "y", "", "", NULL, NULL, NULL },
	{ "auto", "", "a", NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(requires_any_of_several)
{
	expect(either, "app=app x=x y=y", "os: auto | x: x | y: y | app: app >x|y");
	expect(either, "app=app x=x", "os: y auto | app: app | x: x");
}
END_TEST

static const struct made unmarked[] = {
	{ "init", "", "r", NULL, NULL, NULL },
	{ "tool", "", "", "lib", NULL, NULL },
	{ "db", "", "", "lib, dblib", NULL, NULL },
	{ "dblib", "", "", NULL, NULL, NULL },
	{ "lib", "", "", NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

START_TEST(without_marks_leaves_are_wanted)
{
	struct pkgdb *db = make(unmarked);
	struct closure c = { 0 };

	ck_assert_int_eq(try(db, "db=db", &c, NULL), 0);
	ck_assert(c.no_marks);
	ck_assert_str_eq(show(db, &c), "os: init tool lib | db: db dblib");
	closure_done(&c);
	pkgdb_close(db);
}
END_TEST

START_TEST(explains)
{
	static const struct {
		const char *pkg, *says;
	} why[] = {
		{ "libc", "essential, required or important" },
		{ "nano", "installed by hand" },
		{ "apache", "named by apache" },
		{ "apache-bin", "from the same source package (apache)" },
		{ "libxml", "needed by apache, php, pg, none of which requires the other; apache-bin depends on 'libxml'" },
		{ "libapr", "needed by apache; apache-bin depends on 'libapr'" },
	};
	struct pkgdb *db = make(lamp);
	struct closure c = { 0 };

	ck_assert_int_eq(try(db, "apache=apache php=php,libapache-php pg=pg", &c, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(why); i++) {
		struct buf out = { 0 };

		ck_assert_int_eq(closure_explain(&c, db, pkgdb_find(db, why[i].pkg), &out), 0);
		buf_add(&out, "", 1);
		ck_assert_msg(strstr((char *)out.data, why[i].says) != NULL, "%s: %s", why[i].pkg, (char *)out.data);
		buf_done(&out);
	}
	ck_assert(closure_requires(&c, closure_find(&c, "php"), closure_find(&c, "apache")));
	ck_assert(!closure_requires(&c, closure_find(&c, "apache"), closure_find(&c, "php")));
	closure_done(&c);
	pkgdb_close(db);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("closure");

	tap_test(s, folds_into_the_required_one);
	tap_test(s, shares_nothing_that_requires_explains);
	tap_test(s, long_names_are_cut);
	tap_test(s, one_provider_is_enough_for_the_system);
	tap_test(s, of_several_the_first_is_taken);
	tap_test(s, the_system_needs_no_component);
	tap_test(s, what_is_akin_comes_along);
	tap_test(s, circles_and_orphans);
	tap_test(s, requires_any_of_several);
	tap_test(s, without_marks_leaves_are_wanted);
	tap_test(s, explains);
	return s;
}
TAP_MAIN(suite)
