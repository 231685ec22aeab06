/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tools/capture/pkgdb: dpkg's database, made up in a temporary directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/inroot.h"
#include "base/util.h"
#include "capture/pkgdb/deb822.h"
#include "capture/pkgdb/dpkg_needs.h"
#include "capture/pkgdb/pkgdb.h"
#include "tap.h"

static char root[] = "/tmp/plyfs-pkgdb-XXXXXX";
static int root_fd;

static void put(const char *path, const char *text)
{
	char part[512];
	int fd;

	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdirat(root_fd, part, 0755);
	}
	fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

#define STATUS "var/lib/dpkg/status"
#define PKG(name, arch, more) \
	"Package: " name "\nStatus: install ok installed\nArchitecture: " arch "\nVersion: 1\n" more "\n"

static void begin(void)
{
	strcpy(root + sizeof(root) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	put("var/lib/dpkg/info/format", "1\n");
}

static void end(void)
{
	char command[128];

	close(root_fd);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	ck_assert_int_eq(system(command), 0);
}

static struct pkgdb *open_db(void)
{
	struct pkgdb *db = NULL;
	struct ply_err err = { 0 };

	ck_assert_msg(pkgdb_open(root_fd, &db, &err) == 0, "%s", err.msg);
	return db;
}

static void refused(enum ply_reason reason, const char *says)
{
	struct pkgdb *db = NULL;
	struct ply_err err = { 0 };

	ck_assert_int_lt(pkgdb_open(root_fd, &db, &err), 0);
	ck_assert_str_eq(ply_reason_name(err.reason), ply_reason_name(reason));
	ck_assert_msg(strstr(err.msg, says) != NULL, "'%s' does not say '%s'", err.msg, says);
	ck_assert_ptr_null(db);
}

static int collect(void *ctx, const char *path, size_t len)
{
	return buf_printf(ctx, "%.*s ", (int)len, path);
}

static const char *files(const struct pkgdb *db, const char *name)
{
	static struct buf out;
	struct ply_err err = { 0 };
	uint32_t i = pkgdb_find(db, name);

	ck_assert_uint_ne(i, PKG_NONE);
	out.len = 0;
	ck_assert_msg(pkgdb_files(db, i, collect, &out, &err) >= 0, "%s", err.msg);
	ck_assert_int_eq(buf_add(&out, "", 1), 0);
	return (const char *)out.data;
}

static const char *needs(const struct pkgdb *db, const char *name)
{
	static struct buf out;
	size_t n;
	const struct pkg_need *need = pkgdb_needs(db, pkgdb_find(db, name), &n);

	out.len = 0;
	for (size_t i = 0; i < n; i++) {
		buf_printf(&out, "%s", need[i].kind == PKG_DEPENDS ? "D" : "R");
		for (size_t b = 0; b < need[i].nby; b++)
			buf_printf(&out, " %s", pkgdb_get(db, need[i].by[b])->name);
		buf_printf(&out, ";");
	}
	buf_add(&out, "", 1);
	return (const char *)out.data;
}

START_TEST(reads_packages)
{
	const struct pkg *p;
	struct pkgdb *db;

	begin();
	put(STATUS, "Package: mariadb-server\nStatus: install ok installed\nPriority: optional\n"
		    "Installed-Size: 10\nArchitecture: amd64\nSource: mariadb (1:10.11)\n"
		    "Version: 1:10.11-1\nDescription: the server\n long text\n .\n more\n\n"
		    "Package: dpkg\nEssential: yes\nStatus: hold ok installed\nArchitecture: amd64\n"
		    "Version: 1\nConffiles:\n /etc/x 0123\n\n\n"
		    "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
		    "Package: never\nStatus: unknown ok not-installed\nArchitecture: all\n");
	put("var/lib/apt/extended_states",
	    "Package: mariadb-server\nArchitecture: amd64\nAuto-Installed: 1\n\n"
	    "Package: unheard-of\nArchitecture: amd64\nAuto-Installed: 1\n\n");
	db = open_db();
	ck_assert_uint_eq(pkgdb_count(db), 3);
	ck_assert_str_eq(pkgdb_arch(db), "amd64");
	p = pkgdb_get(db, pkgdb_find(db, "mariadb-server"));
	ck_assert_str_eq(p->source, "mariadb");
	ck_assert_str_eq(p->version, "1:10.11-1");
	ck_assert_str_eq(p->summary, "the server");
	ck_assert_uint_eq(p->bytes, 10240);
	ck_assert(p->installed && !p->important && p->automatic && !p->unfinished);
	p = pkgdb_get(db, pkgdb_find(db, "dpkg"));
	ck_assert_str_eq(p->source, "dpkg");
	ck_assert(p->installed && p->important && !p->automatic);
	ck_assert(!pkgdb_get(db, pkgdb_find(db, "gone"))->installed);
	ck_assert_uint_eq(pkgdb_find(db, "never"), PKG_NONE);
	ck_assert_uint_eq(pkgdb_find(db, "mariadb"), PKG_NONE);
	ck_assert_uint_ne(pkgdb_find(db, "dpkg:amd64"), PKG_NONE);
	ck_assert_uint_eq(pkgdb_find(db, "dpkg:i386"), PKG_NONE);
	ck_assert_int_eq(pkgdb_check_finished(db, NULL), 0);
	pkgdb_close(db);
	end();
}
END_TEST

START_TEST(lists_files)
{
	struct pkgdb *db;

	begin();
	put(STATUS, PKG("python3", "amd64", "") PKG("python3.11", "amd64", "") PKG("dpkg", "amd64", "")
		    PKG("libc6", "amd64", "Multi-Arch: same\n") PKG("libc6", "i386", "Multi-Arch: same\n"));
	put("var/lib/dpkg/info/python3.list", "/.\n/usr\n/usr/bin/python3\n");
	put("var/lib/dpkg/info/python3.postinst", "#!/bin/sh\n");
	put("var/lib/dpkg/info/python3.11.list", "/.\n/usr/bin/python3.11\n");
	put("var/lib/dpkg/info/libc6:amd64.list", "/lib/ld64\n");
	put("var/lib/dpkg/info/libc6:i386.list", "/lib/ld32\n");
	put("var/lib/dpkg/info/unknown.list", "/x\n");
	put("var/lib/dpkg/info/dpkg.list", "");
	db = open_db();
	ck_assert_str_eq(files(db, "python3"), "/. /usr /usr/bin/python3 "
			 "/var/lib/dpkg/info/python3.list /var/lib/dpkg/info/python3.postinst ");
	ck_assert_str_eq(files(db, "python3.11"), "/. /usr/bin/python3.11 /var/lib/dpkg/info/python3.11.list ");
	ck_assert_str_eq(files(db, "libc6"), "/lib/ld64 /var/lib/dpkg/info/libc6:amd64.list ");
	ck_assert_str_eq(files(db, "libc6:i386"), "/lib/ld32 /var/lib/dpkg/info/libc6:i386.list ");
	pkgdb_close(db);
	end();
}
END_TEST

START_TEST(follows_diversions)
{
	struct pkgdb *db;

	begin();
	put(STATUS, PKG("a", "all", "") PKG("b", "all", ""));
	put("var/lib/dpkg/info/a.list", "/bin/x\n/bin/y\n");
	put("var/lib/dpkg/info/b.list", "/bin/x\n");
	put("var/lib/dpkg/diversions", "/bin/x\n/bin/x.real\nb\n/bin/y\n/bin/y.local\n:\n");
	db = open_db();
	ck_assert_str_eq(files(db, "a"), "/bin/x.real /bin/y.local /var/lib/dpkg/info/a.list ");
	ck_assert_str_eq(files(db, "b"), "/bin/x /var/lib/dpkg/info/b.list ");
	pkgdb_close(db);
	end();
}
END_TEST

START_TEST(resolves_needs)
{
	struct pkgdb *db;

	begin();
	put(STATUS, PKG("app", "amd64", "Pre-Depends: awk\nDepends: lib (>= 1), missing | other:any,\n lib2 (>> 1) | lib\n"
			"Recommends: mta, nothing\n")
		    PKG("lib", "amd64", "Multi-Arch: same\n") PKG("lib", "i386", "Multi-Arch: same\n")
		    PKG("other", "i386", "Multi-Arch: allowed\n") PKG("lib2", "amd64", "")
		    PKG("mawk", "amd64", "Provides: awk\n") PKG("gawk", "amd64", "Provides: awk\n")
		    PKG("mta", "amd64", "Depends: mail (= 2)\n")
		    PKG("self", "amd64", "Provides: mail\nDepends: mail, forced (>= 9)\n")
		    PKG("forced", "all", "")
		    "Package: removed\nStatus: deinstall ok config-files\nDepends: lib\n\n");
	for (const char *const *p = (const char *const[]){ "app", "other", "lib2", "mawk", "gawk", "mta",
							   "self", "forced", NULL }; *p; p++) {
		char path[64];

		snprintf(path, sizeof(path), "var/lib/dpkg/info/%s.list", *p);
		put(path, "/.\n");
	}
	db = open_db();
	ck_assert_str_eq(needs(db, "app"), "D mawk gawk;D lib;D other;D lib;R mta;");
	ck_assert_str_eq(needs(db, "mta"), "D self;");   /* forced: the version does not fit */
	ck_assert_str_eq(needs(db, "self"), "D forced;");
	ck_assert_str_eq(needs(db, "removed"), "");
	pkgdb_close(db);
	end();
}
END_TEST

static const struct {
	const char *a, *op, *b;
} versions[] = {
	{ "1.0", "<", "1.1" },       { "1.0~rc1", "<", "1.0" },  { "1.0", "<", "1.0-1" },
	{ "1:0.1", ">", "9.9" },     { "1.0-1", "=", "1.0-1" },  { "1.10", ">", "1.9" },
	{ "1.0a", ">", "1.0" },      { "1.0+b1", ">", "1.0a" },  { "2.36-9+deb12u4", ">", "2.36-9" },
	{ "1.01", "=", "1.1" },      { "0:1", "=", "1" },        { "1-2-3", ">", "1-2" },
	{ "1.0-0", "=", "1.0" },     { "", ">", "0~a1" },
};

START_TEST(compares_versions)
{
	int c = dpkg_version_compare(versions[_i].a, versions[_i].b);
	int d = dpkg_version_compare(versions[_i].b, versions[_i].a);

	ck_assert_int_eq(c < 0 ? '<' : c > 0 ? '>' : '=', versions[_i].op[0]);
	ck_assert_int_eq(d < 0 ? '>' : d > 0 ? '<' : '=', versions[_i].op[0]);
}
END_TEST

static const struct {
	const char *path, *text, *says;
} damage[] = {
	{ STATUS, "Package: a\nnonsense\n\n", "status, line 2:" },
	{ STATUS, "Package: a\nStatus: install ok installed", "status, line 2: the last line has no end" },
	{ STATUS, "\nStatus: install ok installed\n", "status, line 2: a stanza without Package" },
	{ STATUS, "Package: a\n\n", "a stanza without Status" },
	{ STATUS, "Package: ../a\nStatus: install ok installed\n", "name of a package" },
	{ STATUS, "Package: a\nStatus: install\n", "three words" },
	{ STATUS, "Package: a\nStatus: install ok strange\n", "does not know" },
	{ STATUS, "Package: a\nPackage: b\n", "line 2: the field stands twice" },
	{ STATUS, " x\n", "line 1: a continuation" },
	{ STATUS, PKG("a", "all", "") PKG("a", "all", ""), "line 6: the package stands twice" },
	{ STATUS, "Package: a\nStatus: install ok installed\nArchitecture: x/y\n", "architecture" },
};

START_TEST(refuses_damage)
{
	begin();
	put(STATUS, PKG("a", "all", ""));
	put(damage[_i].path, damage[_i].text);
	refused(PLY_R_PKGDB_DAMAGED, damage[_i].says);
	end();
}
END_TEST

/* These it can do without: they are not used, also not up to where they are malformed. */
static const struct {
	const char *path, *text, *says;
} set_aside[] = {
	{ "var/lib/dpkg/diversions", "/a\n/b\n", "diversions, line 2: a diversion has three lines" },
	{ "var/lib/dpkg/diversions", "/a\nb\nc\n", "diversions, line 2: a path that does not" },
	{ "var/lib/dpkg/diversions", "/a\n/b\nc\n/a\n/d\nc\n", "diversions, line 6: the path is diverted twice" },
	{ "var/lib/apt/extended_states", "Package: a\nArchitecture: all\nAuto-Installed: 1\n\nAuto-Installed: 1\n", "extended_states, line 5" },
};

static int goes_where_listed(void *ctx, const char *path, size_t len)
{
	(void)ctx;
	(void)len;
	return strcmp(path, "/a") == 0;
}

START_TEST(sets_aside_what_is_malformed)
{
	struct pkgdb *db;
	char *const *notes;
	size_t n;

	begin();
	put(STATUS, PKG("a", "all", ""));
	put("var/lib/dpkg/info/a.list", "/a\n");
	put(set_aside[_i].path, set_aside[_i].text);
	db = open_db();
	notes = pkgdb_notes(db, &n);
	ck_assert_uint_eq(n, 1);
	ck_assert_msg(strstr(notes[0], set_aside[_i].says) != NULL, "'%s' does not say '%s'", notes[0], set_aside[_i].says);
	ck_assert(!pkgdb_get(db, 0)->automatic);
	ck_assert_int_eq(pkgdb_files(db, 0, goes_where_listed, NULL, NULL), 1);
	pkgdb_close(db);
	end();
}
END_TEST

static const struct {
	const char *text, *says;
} lists[] = {
	{ "/a\n\n/b\n", "a.list, line 2: an empty path" },
	{ "/a\nb\n", "a.list, line 2: a path that does not" },
	{ "/a\n/b", "a.list, line 2: the last line has no end" },
	{ NULL, "a.list is missing" },
};

START_TEST(refuses_damaged_lists)
{
	struct ply_err err = { 0 };
	struct buf out = { 0 };
	struct pkgdb *db;

	begin();
	put(STATUS, PKG("a", "all", ""));
	if (lists[_i].text)
		put("var/lib/dpkg/info/a.list", lists[_i].text);
	db = open_db();
	ck_assert_int_lt(pkgdb_files(db, 0, collect, &out, &err), 0);
	ck_assert_int_eq(err.reason, PLY_R_PKGDB_DAMAGED);
	ck_assert_msg(strstr(err.msg, lists[_i].says) != NULL, "%s", err.msg);
	pkgdb_close(db);
	buf_done(&out);
	end();
}
END_TEST

START_TEST(tells_unfinished)
{
	struct ply_err err = { 0 };
	struct pkgdb *db;

	begin();
	put(STATUS, "Package: a\nStatus: install ok half-configured\n\n");
	db = open_db();
	ck_assert_int_lt(pkgdb_check_finished(db, &err), 0);
	ck_assert_int_eq(err.reason, PLY_R_PKGDB_UNFINISHED);
	ck_assert_ptr_nonnull(strstr(err.msg, "dpkg --configure -a"));
	pkgdb_close(db);
	put(STATUS, PKG("a", "all", ""));
	put("var/lib/dpkg/updates/0001", "");
	db = open_db();
	ck_assert_int_lt(pkgdb_check_finished(db, &err), 0);
	pkgdb_close(db);
	end();
}
END_TEST

START_TEST(stays_inside)
{
	struct buf out = { 0 };
	struct pkgdb *db;

	begin();
	refused(PLY_R_PKGDB_MISSING, "no package database");
	put("real/db/dpkg/status", PKG("inside", "all", ""));
	put("real/db/dpkg/info/inside.list", "/in\n");
	ck_assert_int_eq(unlinkat(root_fd, "var/lib/dpkg/info/format", 0), 0);
	ck_assert_int_eq(unlinkat(root_fd, "var/lib/dpkg/info", AT_REMOVEDIR), 0);
	ck_assert_int_eq(unlinkat(root_fd, "var/lib/dpkg", AT_REMOVEDIR), 0);
	/* absolute, and up beyond the root: both stay in it */
	ck_assert_int_eq(symlinkat("/../../real/./db/dpkg", root_fd, "var/lib/dpkg"), 0);
	db = open_db();
	ck_assert_str_eq(files(db, "inside"), "/in /var/lib/dpkg/info/inside.list ");
	pkgdb_close(db);
	ck_assert_int_eq(symlinkat("loop", root_fd, "loop"), 0);
	ck_assert_int_eq(inroot_open(root_fd, "loop/x", O_RDONLY), -ELOOP);
	ck_assert_int_eq(inroot_read(root_fd, "real", 100, &out), -EINVAL);
	ck_assert_int_eq(inroot_read(root_fd, "real/db/dpkg/status", 10, &out), -EFBIG);
	ck_assert_int_eq(inroot_open(root_fd, "real/nothing/x", O_RDONLY), -ENOENT);
	ck_assert_int_eq(mkfifoat(root_fd, "real/pipe", 0600), 0);
	ck_assert_int_eq(inroot_read(root_fd, "real/pipe", 10, &out), -EINVAL);
	buf_done(&out);
	end();
}
END_TEST

static int see_script(void *ctx, const char *name, const char *text, size_t len)
{
	return buf_printf(ctx, "%s=%.*s;", name, (int)len, text);
}

START_TEST(reads_scripts)
{
	struct buf out = { 0 };
	struct pkgdb *db;

	begin();
	put(STATUS, PKG("a", "all", ""));
	put("var/lib/dpkg/info/a.list", "/.\n");
	put("var/lib/dpkg/info/a.postinst", "adduser");
	put("var/lib/dpkg/info/a.config", "x");
	put("var/lib/dpkg/info/a.md5sums", "y");
	db = open_db();
	ck_assert_int_eq(pkgdb_scripts(db, 0, see_script, &out, NULL), 0);
	buf_add(&out, "", 1);
	ck_assert_str_eq((char *)out.data, "a.config=x;a.postinst=adduser;");
	buf_done(&out);
	pkgdb_close(db);
	end();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pkgdb");

	tap_test(s, reads_packages);
	tap_test(s, lists_files);
	tap_test(s, follows_diversions);
	tap_test(s, resolves_needs);
	tap_loop(s, compares_versions, 0, (int)ARRAY_SIZE(versions));
	tap_loop(s, refuses_damage, 0, (int)ARRAY_SIZE(damage));
	tap_loop(s, sets_aside_what_is_malformed, 0, (int)ARRAY_SIZE(set_aside));
	tap_loop(s, refuses_damaged_lists, 0, (int)ARRAY_SIZE(lists));
	tap_test(s, tells_unfinished);
	tap_test(s, stays_inside);
	tap_test(s, reads_scripts);
	return s;
}
TAP_MAIN(suite)
