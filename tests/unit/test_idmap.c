/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tools/add/idmap: numbers of another machine's users and groups in an image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "add/idmap.h"
#include "base/util.h"
#include "plyfs/disk.h"
#include "tap.h"

static void make(struct idmap *m, enum id_kind kind, const char *image, const char *machine)
{
	struct idnames names = { 0 };
	struct ply_err err = { 0 };

	ck_assert_int_eq(idmap_known_text(m, kind, image, strlen(image)), 0);
	ck_assert_int_eq(idnames_parse(&names, machine, strlen(machine)), 0);
	ck_assert_int_eq(idmap_make(m, kind, &names, &err), 0);
	idnames_done(&names);
}

START_TEST(names_decide)
{
	struct idmap m = { 0 };

	make(&m, ID_USER, "root:x:0:0\n_apt:x:100:1\nx:x:101:\nmysql:x:102:109\n", "root:x:0:0\nredis:x:102:102\npostgres:x:103:103\nmysql:x:110:1\n");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 0), 0);
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 102), 103);   /* at once: 103 does not go on to 104 */
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 103), 104);
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 110), 102);   /* known */
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 777), 777);
	ck_assert_str_eq(idmap_holder(&m, ID_USER, 102), "mysql");
	idmap_done(&m);
}
END_TEST

START_TEST(any_of_several_names_will_do)
{
	struct idmap m = { 0 };

	make(&m, ID_USER, "root:x:0:0\ntoor:x:0:0\nmysql:x:102:109\nx:x:103:1\n",
	     "root:x:0:0\ndb:x:103:1\nmysql:x:103:1\nadmin:x:500:1\ntoor:x:500:1\n");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 103), 102);
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 500), 0);
	ck_assert_str_eq(idmap_holder(&m, ID_USER, 0), "root");
	idmap_done(&m);
}
END_TEST

START_TEST(ranges)
{
	struct idmap m = { 0 };

	make(&m, ID_GROUP, "a:x:50:\nb:x:1000:\nc:x:100:\nn:x:65534:\n", "d:x:50:\ne:x:1000:\nf:x:65534:\ng:x:999:\n");
	ck_assert_uint_eq(idmap_id(&m, ID_GROUP, 50), 101);
	ck_assert_uint_eq(idmap_id(&m, ID_GROUP, 999), 999);
	ck_assert_uint_eq(idmap_id(&m, ID_GROUP, 1000), 1001);
	ck_assert_uint_eq(idmap_id(&m, ID_GROUP, 65534), 1002);
	idmap_done(&m);
}
END_TEST

START_TEST(numbers_without_a_name_are_taken)
{
	struct idmap m = { 0 };

	idmap_used(&m, ID_USER, 102);
	idmap_used(&m, ID_USER, 100);
	make(&m, ID_USER, "x:x:101:\n", "y:x:101:\n");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 101), 103);
	idmap_done(&m);
}
END_TEST

START_TEST(exhausted)
{
	struct idnames names = { 0 };
	struct ply_err err = { 0 };
	struct idmap m = { 0 };

	for (uint32_t id = IDMAP_SYSTEM_FIRST; id <= IDMAP_SYSTEM_LAST; id++)
		idmap_used(&m, ID_USER, id);
	idnames_parse(&names, "late:x:500:500\n", 15);
	ck_assert_int_eq(idmap_make(&m, ID_USER, &names, &err), -ENOSPC);
	ck_assert_int_eq(err.reason, PLY_R_IDS_EXHAUSTED);
	ck_assert_ptr_nonnull(strstr(err.msg, "late"));
	idnames_done(&names);
	idmap_done(&m);
}
END_TEST

static void map_text(const char *path, const char *in, const char *out)
{
	struct idmap m = { 0 };
	struct buf b = { 0 };

	make(&m, ID_USER, "x:x:100:\ny:x:101:\na:x:102:\n", "b:x:102:\nc:x:103:\n");   /* 102 to 103, 103 to 104 */
	make(&m, ID_GROUP, "a:x:200:\n", "b:x:200:\n");               /* 200 to 100 */
	ck_assert_int_eq(idmap_text(&m, path, (const uint8_t *)in, strlen(in), &b), 0);
	ck_assert_uint_eq(b.len, strlen(out));
	ck_assert_int_eq(memcmp(b.data ? (char *)b.data : "", out, b.len), 0);
	buf_done(&b);
	idmap_done(&m);
}

START_TEST(texts)
{
	map_text("etc/passwd", "b:x:102:200:B:/:/bin/sh\nc:x:103:7::/:\n", "b:x:103:100:B:/:/bin/sh\nc:x:104:7::/:\n");
	map_text("etc/passwd-", "b:x:102:200", "b:x:103:100");
	map_text("etc/group", "g:x:200:b,c\n", "g:x:100:b,c\n");
	map_text("var/backups/group.bak", "g:x:102:\n", "g:x:102:\n");
	map_text("etc/subuid", "102:100000:65536\nb:102:1\n", "103:100000:65536\nb:102:1\n");
	map_text("etc/subgid", "103:102:102\n", "104:102:102\n");
	map_text("etc/shadow", "b:102:200:\n", "b:102:200:\n");
	/* what is no number is left alone: empty, signs, too large, comments, cut off */
	map_text("etc/passwd", "", "");
	map_text("etc/passwd", "\n\n:::\n+::::::\nb:x:+102:-200\nb:x:99999999999:200\n# 102\nb:x:102",
		 "\n\n:::\n+::::::\nb:x:+102:-200\nb:x:99999999999:100\n# 102\nb:x:103");
}
END_TEST

static void put_acl(uint8_t *out, uint16_t tag, uint32_t id)
{
	le16 t = le16_put(tag);
	le32 i = le32_put(id);

	memset(out, 0, 8);
	memcpy(out, &t, 2);
	memcpy(out + 4, &i, 4);
}

START_TEST(xattrs)
{
	uint8_t acl[4 + 5 * 8] = { 2 }, want[sizeof(acl)] = { 2 }, out[sizeof(acl)], cap[24] = { 0 };
	struct idmap m = { 0 };
	le32 id = le32_put(102);
	size_t len;

	make(&m, ID_USER, "a:x:102:\n", "b:x:102:\nz:x:101:\n");       /* 101 stays, 102 to 100 */
	make(&m, ID_GROUP, "a:x:200:\n", "b:x:200:\n");
	put_acl(acl + 4, 1, UINT32_MAX);
	put_acl(acl + 12, 2, 101);
	put_acl(acl + 20, 2, 102);
	put_acl(acl + 28, 8, 200);
	put_acl(acl + 36, 16, UINT32_MAX);
	put_acl(want + 4, 1, UINT32_MAX);
	put_acl(want + 12, 2, 100);
	put_acl(want + 20, 2, 101);
	put_acl(want + 28, 8, 100);
	put_acl(want + 36, 16, UINT32_MAX);
	ck_assert_int_eq(idmap_xattr(&m, "system.posix_acl_access", acl, sizeof(acl), out, &len), 1);
	ck_assert_int_eq(memcmp(out, want, sizeof(out)), 0);
	ck_assert_uint_eq(len, sizeof(acl));
	ck_assert_int_eq(idmap_xattr(&m, "system.posix_acl_default", acl, 12, out, &len), 0);
	ck_assert_int_eq(idmap_xattr(&m, "system.posix_acl_access", acl, 13, out, &len), 0);
	ck_assert_int_eq(idmap_xattr(&m, "system.posix_acl_access", acl, 0, out, &len), 0);
	ck_assert_int_eq(idmap_xattr(&m, "user.x", acl, sizeof(acl), out, &len), 0);
	cap[3] = 3;
	memcpy(cap + 20, &id, 4);
	ck_assert_int_eq(idmap_xattr(&m, "security.capability", cap, sizeof(cap), out, &len), 1);
	ck_assert_uint_eq(out[20], 100);
	cap[3] = 2;
	ck_assert_int_eq(idmap_xattr(&m, "security.capability", cap, 20, out, &len), 0);
	idmap_done(&m);
}
END_TEST

static int add_up(void *ctx, enum id_kind kind, uint32_t id)
{
	uint64_t *sum = ctx;

	*sum += kind == ID_USER ? id : id * 1000;
	return id == 1 ? -ENOMEM : 0;
}

START_TEST(numbers_in_attributes)
{
	uint8_t acl[4 + 5 * 8] = { 2 }, cap[24] = { 0 };
	le32 id = le32_put(7);
	uint64_t sum = 0;

	put_acl(acl + 4, 1, 100);          /* of the owner: the number says nothing */
	put_acl(acl + 12, 2, 2);
	put_acl(acl + 20, 2, 3);
	put_acl(acl + 28, 8, 5);
	put_acl(acl + 36, 16, 100);
	ck_assert_int_eq(idmap_xattr_ids("system.posix_acl_access", acl, sizeof(acl), add_up, &sum), 0);
	ck_assert_uint_eq(sum, 5005);
	ck_assert_int_eq(idmap_xattr_ids("system.posix_acl_default", acl, 20, add_up, &sum), 0);
	ck_assert_uint_eq(sum, 5007);
	ck_assert_int_eq(idmap_xattr_ids("system.posix_acl_default", acl, 19, add_up, &sum), 0);
	ck_assert_int_eq(idmap_xattr_ids("system.posix_acl_default", acl, 0, add_up, &sum), 0);
	ck_assert_int_eq(idmap_xattr_ids("user.x", acl, sizeof(acl), add_up, &sum), 0);
	ck_assert_uint_eq(sum, 5007);
	memcpy(cap + 20, &id, 4);
	cap[3] = 2;
	ck_assert_int_eq(idmap_xattr_ids("security.capability", cap, sizeof(cap), add_up, &sum), 0);
	ck_assert_uint_eq(sum, 5007);
	cap[3] = 3;
	ck_assert_int_eq(idmap_xattr_ids("security.capability", cap, sizeof(cap), add_up, &sum), 0);
	ck_assert_uint_eq(sum, 5014);
	put_acl(acl + 12, 2, 1);           /* that ends it */
	ck_assert_int_eq(idmap_xattr_ids("system.posix_acl_access", acl, sizeof(acl), add_up, &sum), -ENOMEM);
	ck_assert_uint_eq(sum, 5015);
}
END_TEST

/* 500: named in both. 600: without a name here, somebody's there. 700: nobody's on either side. 0: root's. */
static void make_strict(struct idmap *m)
{
	idmap_be_strict(m);
	make(m, ID_USER, "root:x:0:\nlocal:x:600:\napp:x:501:\n", "app:x:500:\n");
	make(m, ID_GROUP, "root:x:0:\nlocal:x:600:\n", "");
}

START_TEST(without_a_name_and_taken_is_lost)
{
	struct idmap m = { 0 };

	make_strict(&m);
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 500), 501);
	ck_assert(!idmap_is_lost(&m, ID_USER, 500));
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 600), 0);
	ck_assert(idmap_is_lost(&m, ID_USER, 600) && idmap_is_lost(&m, ID_GROUP, 600));
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 501), 0);       /* whose it is there has another number here */
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 700), 700);
	ck_assert(!idmap_is_lost(&m, ID_USER, 700) && !idmap_is_lost(&m, ID_USER, 0));
	idmap_done(&m);
	/* one that was lost before stays so; what is not strict loses nothing */
	idmap_be_strict(&m);
	ck_assert_int_eq(idmap_lose(&m, ID_USER, 700), 0);
	make(&m, ID_USER, "", "");
	ck_assert(idmap_is_lost(&m, ID_USER, 700));
	idmap_done(&m);
	make(&m, ID_USER, "local:x:600:\n", "");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 600), 600);
	idmap_done(&m);
}
END_TEST

START_TEST(a_number_that_is_given_to_a_name_is_no_other_s)
{
	struct idmap m = { 0 };

	/* app gets 100, which some files of the image have without a name */
	idmap_be_strict(&m);
	make(&m, ID_USER, "local:x:200:\n", "app:x:200:\n");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 200), 100);
	ck_assert(idmap_is_lost(&m, ID_USER, 100));
	idmap_done(&m);
}
END_TEST

START_TEST(lost_in_attributes_and_texts)
{
	static const char line[] = "app:x:500:600::/:/bin/sh\n";
	uint8_t acl[4 + 5 * 8] = { 2 }, out[sizeof(acl)], cap[24] = { 0 };
	le32 id = le32_put(600);
	struct idmap m = { 0 };
	struct buf b = { 0 };
	size_t len;

	make_strict(&m);
	put_acl(acl + 4, 1, UINT32_MAX);
	put_acl(acl + 12, 2, 600);
	put_acl(acl + 20, 2, 700);
	put_acl(acl + 28, 8, 600);
	put_acl(acl + 36, 16, UINT32_MAX);
	ck_assert_int_eq(idmap_xattr(&m, "system.posix_acl_access", acl, sizeof(acl), out, &len), 1);
	ck_assert_uint_eq(len, 4 + 3 * 8);
	ck_assert_int_eq(memcmp(out + 12, acl + 20, 8), 0);
	ck_assert_int_eq(memcmp(out + 20, acl + 36, 8), 0);
	cap[3] = 3;
	memcpy(cap + 20, &id, 4);
	ck_assert_int_eq(idmap_xattr(&m, "security.capability", cap, sizeof(cap), out, &len), 1);
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(idmap_text(&m, "etc/passwd", (const uint8_t *)line, sizeof(line) - 1, &b), 0);
	ck_assert_int_eq(buf_add_zero(&b, 1), 0);
	ck_assert_str_eq((const char *)b.data, "app:x:501:65534::/:/bin/sh\n");
	buf_done(&b);
	idmap_done(&m);
}
END_TEST

START_TEST(what_was_given_is_given_again)
{
	struct idmap m = { 0 };

	/* 120, and to nobody else: its name has gone, files have it */
	ck_assert_int_eq(idmap_prefer(&m, ID_USER, "app", 120), 0);
	make(&m, ID_USER, "local:x:200:\n", "app:x:200:\nother:x:120:\n");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 200), 120);
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 120), 100);
	idmap_done(&m);
	/* it is another's now */
	ck_assert_int_eq(idmap_prefer(&m, ID_USER, "app", 120), 0);
	make(&m, ID_USER, "local:x:120:\n", "app:x:120:\n");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 120), 100);
	idmap_done(&m);
	/* the name has a number of its own */
	ck_assert_int_eq(idmap_prefer(&m, ID_USER, "app", 120), 0);
	make(&m, ID_USER, "app:x:130:\n", "app:x:200:\n");
	ck_assert_uint_eq(idmap_id(&m, ID_USER, 200), 130);
	idmap_done(&m);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("idmap");

	tap_test(s, names_decide);
	tap_test(s, any_of_several_names_will_do);
	tap_test(s, ranges);
	tap_test(s, numbers_without_a_name_are_taken);
	tap_test(s, exhausted);
	tap_test(s, texts);
	tap_test(s, xattrs);
	tap_test(s, numbers_in_attributes);
	tap_test(s, without_a_name_and_taken_is_lost);
	tap_test(s, a_number_that_is_given_to_a_name_is_no_other_s);
	tap_test(s, lost_in_attributes_and_texts);
	tap_test(s, what_was_given_is_given_again);
	return s;
}
TAP_MAIN(suite)
