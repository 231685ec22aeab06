/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tools/layout/needs, programs: what they name, where it is looked for, made-up targets. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "failing_memory.h"
#include "needs_told.h"
#include "tap.h"

static char place[] = "/tmp/plyfs-needs-XXXXXX";
static int root_fd;

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
	Suite *s = suite_create("needs_programs");

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
