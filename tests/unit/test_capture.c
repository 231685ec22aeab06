/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The walk, globs, names of users, the loaders: on small trees in a directory of their own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "capture/acls.h"
#include "capture/capture.h"
#include "capture/facts.h"
#include "capture/idnames.h"
#include "capture/load.h"
#include "plyfs/view.h"
#include "tap.h"

static char dir[64];

static void in_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/plyfs-unit.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
}

static void gone(void)
{
	char cmd[128];

	ck_assert_int_eq(chdir("/"), 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(globs)
{
	static const struct {
		const char *glob, *path;
		bool matches;
	} cases[] = {
		{ "/var/cache/**", "var/cache/apt/x", true },
		{ "/var/cache/**", "var/cache", false },
		{ "var/cache", "var/cache", true },
		{ "var/cache", "var/cache/x", false },
		{ "*.pyc", "usr/x.pyc", false },
		{ "**/*.pyc", "usr/lib/x.pyc", true },
		{ "**/*.pyc", "x.pyc", true },
		{ "a/**/b", "a/b", true },
		{ "a/**/b", "a/1/2/b", true },
		{ "a/**/b", "a/1/2/bc", false },
		{ "a/*/b", "a/1/2/b", false },
		{ "a/?[12]", "a/x2", true },
		{ "a/[", "a/[", true },
		{ "**", "anything/at/all", true },
		{ "", "a", false },
		{ "a\\*", "a*", true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(scan_glob(cases[i].glob, cases[i].path) == cases[i].matches, "%s on %s",
			      cases[i].glob, cases[i].path);
}
END_TEST

START_TEST(names_of_users)
{
	static const char text[] = "root:x:0:0::/:/bin/sh\n+nis\nbad\n:x:5:\nneg:x:-1:\nbig:x:4294967296:\n"
				   "toor:x:0:0::/:\nlast:x:4294967295:9\nshort:x:7";
	struct idnames t = { 0 };

	ck_assert_int_eq(idnames_parse(&t, text, sizeof(text) - 1), 0);
	ck_assert_uint_eq(t.n, 3);
	ck_assert_str_eq(idnames_find(&t, 0), "root");   /* the first of two */
	ck_assert_str_eq(idnames_find(&t, UINT32_MAX), "last");
	ck_assert_str_eq(idnames_find(&t, 7), "short");
	ck_assert_ptr_null(idnames_find(&t, 5));
	idnames_done(&t);
}
END_TEST

static void scan_here(struct scan *s)
{
	const struct scan_options o = { 0 };
	struct ply_err err;

	ck_assert_msg(scan_tree(".", &o, s, &err) == 0, "%s", err.msg);
}

START_TEST(walk_is_sorted_and_ties_links)
{
	struct scan s;
	struct buf path = { 0 };
	uint32_t a, b, c;

	in_dir();
	mkdir("d", 0700);
	mkdir("d/e", 0700);
	put("d/b", "1");
	ck_assert_int_eq(link("d/b", "d/e/z"), 0);
	ck_assert_int_eq(link("d/b", "a\xff"), 0);
	put("alone", "12");
	ck_assert_int_eq(symlink("e/../../d/./e", "d/link"), 0);
	ck_assert_int_eq(symlink("loop", "loop"), 0);
	scan_here(&s);
	for (size_t i = 0; i < s.n; i++)
		for (uint32_t k = 1; S_ISDIR(s.nodes[i].mode) && k < s.nodes[i].nchildren; k++)
			ck_assert_int_lt(strcmp(scan_name(&s, s.nodes[i].first_child + k - 1),
						scan_name(&s, s.nodes[i].first_child + k)), 0);
	a = scan_lookup(&s, "/d/b", 4);
	b = scan_lookup(&s, "d/link/z", 8);
	c = scan_lookup(&s, "/a\xff", 3);
	ck_assert_uint_ne(a, SCAN_NONE);
	ck_assert_uint_ne(s.nodes[a].group, 0);
	ck_assert_uint_eq(s.nodes[a].group, s.nodes[b].group);
	ck_assert_uint_eq(s.nodes[a].group, s.nodes[c].group);
	ck_assert_uint_eq(s.ngroups, 1);
	ck_assert_uint_eq(s.bytes, 3);                        /* a group counts once */
	ck_assert_int_eq(scan_path(&s, b, &path), 0);
	ck_assert_str_eq((char *)path.data, "d/e/z");
	ck_assert_uint_eq(scan_lookup(&s, "loop/x", 6), SCAN_NONE);
	ck_assert_uint_eq(scan_lookup(&s, "d/link", 6), scan_child(&s, scan_lookup(&s, "d", 1), "link", 4));
	ck_assert_uint_eq(scan_lookup(&s, "/../../d", 8), scan_lookup(&s, "d", 1));
	ck_assert_uint_eq(scan_lookup(&s, "alone/x", 7), SCAN_NONE);
	buf_done(&path);
	scan_done(&s);
	gone();
}
END_TEST

START_TEST(loads_in_order)
{
	enum { N = 3000 };
	uint32_t order[N];
	uint8_t digest[N + 1];
	struct loader *l;
	struct ply_err err;
	struct loaded *f;
	struct scan s;
	char name[16];
	size_t n = 0;

	in_dir();
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "%05d", i);
		put(name, name);
	}
	scan_here(&s);
	memset(digest, LOAD_DIGEST_WHOLE, sizeof(digest));
	for (uint32_t i = 1; i < s.n; i++)
		order[i - 1] = (uint32_t)s.n - i;         /* backwards */
	unlink("01000");
	ck_assert_int_eq(loader_new(&s, order, N, digest, 5, &l, &err), 0);
	while ((f = loader_next(l))) {
		ck_assert_int_eq(f->result, 0);
		ck_assert_uint_eq(f->node, order[n++]);
		ck_assert_int_eq(f->vanished, !strcmp(scan_name(&s, f->node), "01000"));
		if (!f->vanished) {
			ck_assert_mem_eq(f->data, scan_name(&s, f->node), 5);
			ck_assert(f->has_digest);
		}
	}
	ck_assert_uint_eq(n, N);
	loader_free(l);
	/* and left in the middle */
	ck_assert_int_eq(loader_new(&s, order, N, digest, 5, &l, &err), 0);
	for (int i = 0; i < 10; i++)
		loader_next(l);
	loader_free(l);
	scan_done(&s);
	gone();
}
END_TEST

/* Two components by path, with a hard link from one to the other. */
START_TEST(link_over_two_components)
{
	_cleanup_list_ struct cli_list exclude = { 0 };
	struct manifest wanted = { 0 };
	struct capture_options o = { .root = "t", .image = "i.plyfs", .wanted = &wanted,
				     .exclude = &exclude, .level = 1, .jobs = 2 };
	struct capture_report report;
	const char *names[] = { "b" };
	struct ply_image *image;
	struct ply_view *v;
	struct ply_attr attr;
	struct ply_err err;
	uint64_t x, y;

	in_dir();
	mkdir("t", 0755);
	mkdir("t/a", 0755);
	mkdir("t/b", 0755);
	put("t/a/x", "content");
	ck_assert_int_eq(link("t/a/x", "t/b/y"), 0);
	ck_assert_int_eq(link("t/a/x", "t/b/z"), 0);
	ck_assert_int_eq(manifest_add(&wanted, "a=/a", &err), 0);
	ck_assert_int_eq(manifest_add(&wanted, "b=/b", &err), 0);
	ck_assert_msg(capture_run(&o, &report, &err) == 0, "%s", err.msg);
	capture_report_done(&report);
	manifest_done(&wanted);
	ck_assert_int_eq(ply_image_open("i.plyfs", &image, &err), 0);
	ck_assert_int_eq(ply_view_open(image, NULL, 0, 0, &v, &err), 0);
	ck_assert_int_eq(ply_view_resolve(v, "/a/x", false, &x, &err), 0);
	ck_assert_int_eq(ply_view_resolve(v, "/b/z", false, &y, &err), 0);
	ck_assert_uint_eq(x, y);
	ck_assert_int_eq(ply_view_attr(v, x, &attr, &err), 0);
	ck_assert_uint_eq(attr.nlink, 3);
	ply_view_close(v);
	ck_assert_int_eq(ply_view_open(image, names, 1, 0, &v, &err), 0);
	ck_assert_int_lt(ply_view_resolve(v, "/a/x", false, &x, &err), 0);
	ck_assert_int_eq(ply_view_resolve(v, "/b/y", false, &y, &err), 0);
	ck_assert_int_eq(ply_view_attr(v, y, &attr, &err), 0);
	ck_assert_uint_eq(attr.nlink, 2);
	ply_view_close(v);
	ply_image_close(image);
	gone();
}
END_TEST

/* --- shared files that change between being cut and being written ---------------------- */

/* What happens to /etc/shells once it has been cut, and what reading it fails with before. */
static enum { STAYS, CHANGES, GOES } then;
static int read_fails;

int __real_project(struct scan *scan, const struct pkgdb *db, struct split *split, struct projection *ret, struct ply_err *err);
int __wrap_project(struct scan *scan, const struct pkgdb *db, struct split *split, struct projection *ret, struct ply_err *err);
int __wrap_project(struct scan *scan, const struct pkgdb *db, struct split *split, struct projection *ret, struct ply_err *err)
{
	int r = __real_project(scan, db, split, ret, err);

	if (then == CHANGES) {
		put("t/etc/shells", "/a/x\n/other\n/of/another/time\n");
		ck_assert_int_eq(chmod("t/etc/shells", 0600), 0);
	} else if (then == GOES) {
		ck_assert_int_eq(unlink("t/etc/shells"), 0);
	}
	return r;
}

int __real_facts_read(const struct scan *scan, uint32_t node, size_t max, struct buf *out);
int __wrap_facts_read(const struct scan *scan, uint32_t node, size_t max, struct buf *out);
int __wrap_facts_read(const struct scan *scan, uint32_t node, size_t max, struct buf *out)
{
	return read_fails && !strcmp(scan_name(scan, node), "shells") ? read_fails : __real_facts_read(scan, node, max, out);
}

/* Captures t with component a=/a. */
static int capture_shells(struct capture_report *report, struct ply_err *err)
{
	_cleanup_list_ struct cli_list exclude = { 0 };
	struct manifest wanted = { 0 };
	struct capture_options o = { .root = "t", .image = "i.plyfs", .wanted = &wanted,
				     .exclude = &exclude, .level = 1, .jobs = 2, .force = true };
	int r;

	put("t/etc/shells", "/bin/sh\n/a/x\n");
	ck_assert_int_eq(chmod("t/etc/shells", 0644), 0);
	ck_assert_int_eq(manifest_add(&wanted, "a=/a", err), 0);
	r = capture_run(&o, report, err);
	manifest_done(&wanted);
	return r;
}

/* /etc/shells in a selection; NULL: it is not there. */
static void shells_are(const char *const *names, size_t n, const char *want)
{
	struct ply_image *image;
	struct ply_attr attr;
	struct ply_view *v;
	struct ply_err err;
	char text[64];
	uint64_t ino;
	ssize_t got;

	ck_assert_int_eq(ply_image_open("i.plyfs", &image, &err), 0);
	ck_assert_int_eq(ply_view_open(image, names, n, 0, &v, &err), 0);
	if (!want) {
		ck_assert_int_eq(ply_view_resolve(v, "/etc/shells", false, &ino, &err), -ENOENT);
	} else {
		ck_assert_int_eq(ply_view_resolve(v, "/etc/shells", false, &ino, &err), 0);
		ck_assert_int_eq(ply_view_attr(v, ino, &attr, &err), 0);
		ck_assert_uint_eq(attr.mode, S_IFREG | 0644);
		got = ply_view_read(v, ino, 0, sizeof(text) - 1, text, &err);
		ck_assert_int_eq(got, (ssize_t)strlen(want));
		text[got] = '\0';
		ck_assert_str_eq(text, want);
	}
	ply_view_close(v);
	ply_image_close(image);
}

START_TEST(shared_file_that_changes)
{
	static const char *const a[] = { "a" }, *const os[] = { "os" };
	struct capture_report report;
	struct ply_err err;

	in_dir();
	mkdir("t", 0755);
	mkdir("t/a", 0755);
	mkdir("t/etc", 0755);
	put("t/a/x", "shell");
	for (then = STAYS; then <= GOES; then++) {
		ck_assert_msg(capture_shells(&report, &err) == 0, "%s", err.msg);
		ck_assert_uint_eq(report.nvanished, 0);
		ck_assert_int_eq(report.nchanged > 0, then != STAYS);
		capture_report_done(&report);
		shells_are(NULL, 0, "/bin/sh\n/a/x\n");
		shells_are(a, 1, "/bin/sh\n/a/x\n");
		shells_are(os, 1, "/bin/sh\n");
	}
	then = STAYS;
	read_fails = -EIO;         /* it is not to lie whole in os because it could not be cut */
	ck_assert_int_eq(capture_shells(&report, &err), -EIO);
	capture_report_done(&report);
	read_fails = -ENOENT;
	ck_assert_int_eq(capture_shells(&report, &err), 0);
	ck_assert_uint_eq(report.split.nnotes, 1);
	capture_report_done(&report);
	shells_are(NULL, 0, NULL);
	gone();
}
END_TEST

/* --- ACLs ------------------------------------------------------------------------------- */

static uint16_t component_of(void *ctx, uint32_t id)
{
	(void)ctx;
	return id < 1000 ? (uint16_t)(id - 100) : 0;
}

static bool in_set(const void *ctx, uint16_t comp)
{
	return !comp || *(const unsigned *)ctx >> (comp - 1) & 1;
}

/* Users of 8 components: of each selection one variant holds, and that of all is the ACL itself. */
START_TEST(acl_of_many_components)
{
	enum { N = 8 };
	const struct subw_owner_facts facts = { NULL, component_of, component_of };
	struct conds *conds = conds_new();
	struct acl_variants v = { 0 };
	uint32_t acl[1 + 2 * (N + 1)] = { 2 };
	struct subw_xattr x = { .name = "system.posix_acl_access", .value = acl, .value_len = sizeof(acl) };

	for (uint32_t i = 0; i <= N; i++) {
		acl[1 + 2 * i] = 2 | 7 << 16;
		acl[2 + 2 * i] = i < N ? 101 + i : 1000;
	}
	ck_assert_int_eq(acls_expand(&x, 1, &facts, conds, &v), 0);
	ck_assert(v.together);
	for (unsigned set = 0; set < 1u << N; set++) {
		unsigned first = set & 0x3f, shown = first == 0x3f && set == 0xff ? set : first;
		const struct subw_xattr *found = NULL;

		for (size_t i = 0; i < v.n; i++)
			if (conds_hold(conds, v.v[i].cond, in_set, &set)) {
				ck_assert_ptr_null(found);
				found = &v.v[i];
			}
		ck_assert_ptr_nonnull(found);
		ck_assert_uint_eq(found->value_len, 4 + 8 * (size_t)(1 + __builtin_popcount(shown)));
		if (set == 0xff)
			ck_assert_mem_eq(found->value, acl, sizeof(acl));
	}
	acl_variants_done(&v);
	conds_free(conds);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("capture");

	tap_test(s, globs);
	tap_test(s, names_of_users);
	tap_test(s, walk_is_sorted_and_ties_links);
	tap_test(s, loads_in_order);
	tap_test(s, link_over_two_components);
	tap_test(s, shared_file_that_changes);
	tap_test(s, acl_of_many_components);
	return s;
}
TAP_MAIN(suite)
