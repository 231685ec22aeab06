/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a table of changes: what is encoded comes back; what is cut, flipped or contradicts itself is refused,
 * and what is accepted is written back the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"
#include "layout/changes.h"
#include "tap.h"

static struct ply_err err;

/* --- tables -------------------------------------------------------------------------------------- */

static struct change_side side(uint32_t mode)
{
	struct change_side s = { .mode = mode, .uid = 1, .gid = 2, .mtime_sec = -3, .mtime_nsec = 999999999 };

	if (S_ISREG(mode))
		s.size = 5;
	if (S_ISREG(mode) || S_ISLNK(mode))
		s.digest[0] = 6;
	if (S_ISCHR(mode))
		s.size = makedev(8, 300);
	return s;
}

static void add(struct changes *c, enum change_kind kind, unsigned flags, const char *path, uint32_t before,
		uint32_t after)
{
	struct change row = { .kind = (uint8_t)kind, .flags = (uint8_t)flags, .comp = c->n % 3 ? 0 : CHANGE_COMP_NONE,
			      .path = (char *)path };

	if (before)
		row.before = side(before);
	if (after)
		row.after = side(after);
	ck_assert_int_eq(changes_add(c, &row), 0);
}

#define REG (S_IFREG | 0644)
#define DIR (S_IFDIR | 0755)

/* What several components have to do with. @was: 0: nothing. */
static void add_shared(struct changes *c, enum change_kind kind, unsigned flags, const char *path, uint32_t before,
		       uint32_t after, uint32_t was)
{
	struct change_more more = { .own = { 3, { 4 } }, .first = { 0, { 5 } } };

	add(c, kind, flags & CHANGE_INSIDE, path, before, after);
	if (was)
		more.was = side(was);
	ck_assert_int_eq(change_set_more(&c->v[c->n - 1], flags, &more), 0);
}

/* All kinds of rows and of files; in no order. */
static struct changes table(void)
{
	struct changes c = { .kind = CHANGES_ADD, .uuid = { 1 }, .catalog = { 2 }, .generation = 3 };

	c.image = strdup("/srv/shop.plyfs");
	ck_assert_int_eq(changes_add_name(&c, "web"), 0);
	ck_assert_int_eq(changes_add_name(&c, "shop"), 0);
	ck_assert_int_eq(changes_add_require(&c, "db|cache"), 0);
	ck_assert_int_eq(changes_add_require(&c, "lang"), 0);
	ck_assert_int_eq(changes_add_id(&c, &(struct change_id){ .from = 200, .to = 100, .name = (char *)"app" }), 0);
	ck_assert_int_eq(changes_add_id(&c, &(struct change_id){ .from = 777, .lost = true }), 0);
	ck_assert_int_eq(changes_add_id(&c, &(struct change_id){ .kind = 1, .from = 7, .lost = true }), 0);
	add(&c, CHANGE_MAKE, CHANGE_INSIDE, "opt/new/f", 0, REG);
	add(&c, CHANGE_MAKE, CHANGE_INSIDE, "opt/new/d/l", 0, S_IFLNK | 0777);
	add(&c, CHANGE_MAKE, 0, "opt/new", 0, DIR);
	add(&c, CHANGE_MAKE, CHANGE_INSIDE, "opt/new/d", 0, DIR);
	add(&c, CHANGE_MAKE, 0, "opt/new.d", 0, S_IFIFO | 0600);
	add(&c, CHANGE_MAKE, 0, "dev/tty", 0, S_IFCHR | 0666);
	add(&c, CHANGE_SWAP, 0, "etc/passwd", REG, S_IFREG | 0600);
	add(&c, CHANGE_OUT, 0, "opt/old/s", S_IFSOCK | 0777, 0);
	add(&c, CHANGE_OUT, 0, "opt/old", DIR, 0);
	add(&c, CHANGE_META, 0, "opt", DIR, S_IFDIR | 01777);
	c.v[c.n - 1].after.xattrs[0] = 1;
	add(&c, CHANGE_KEEP, 0, "\x01/\xff\n", REG, 0);
	add_shared(&c, CHANGE_SWAP, CHANGE_SHARED | CHANGE_PART, "opt/new/shared", REG, S_IFREG | 0600, 0);
	add_shared(&c, CHANGE_KEEP, CHANGE_SHARED | CHANGE_LOST, "srv/shared", REG, 0, S_IFLNK | 0777);
	add_shared(&c, CHANGE_META, CHANGE_SHARED, "srv/shared.d", DIR, S_IFDIR | 0700, S_IFDIR | 0755);
	add_shared(&c, CHANGE_KEEP, CHANGE_SHARED, "srv/shared.e", DIR, 0, S_IFDIR | 0700);
	add_shared(&c, CHANGE_SWAP, CHANGE_WINS | CHANGE_PART, "srv/wins", REG, S_IFREG | 0600, 0);
	ck_assert_int_eq(changes_add_dir(&c, "opt", 7, 8), 0);
	ck_assert_int_eq(changes_add_dir(&c, "", -9, 10), 0);
	ck_assert_int_eq(changes_add_dir(&c, "opt", 6, 8), 0);
	ck_assert_int_eq(changes_add_dir(&c, "etc", 11, 12), 0);
	changes_sort(&c);
	return c;
}

static struct buf encode(struct changes *c)
{
	struct buf out = { 0 };

	ck_assert_msg(changes_encode(c, &out, &err) == 0, "%s", err.msg);
	return out;
}

/* What is accepted is written back the same; false: it is not accepted. */
static bool comes_back(const struct buf *bytes)
{
	struct changes is;
	struct buf again;
	int r = changes_decode(bytes->data, bytes->len, &is, &err);

	if (r < 0) {
		ck_assert(err.reason == PLY_R_STATE_DAMAGED && err.code == r);
		return false;
	}
	again = encode(&is);
	ck_assert_uint_eq(again.len, bytes->len);
	ck_assert_int_eq(memcmp(again.data, bytes->data, again.len), 0);
	buf_done(&again);
	changes_done(&is);
	return true;
}

static void repair(struct buf *b)
{
	le64 sum = le64_put(xxh3(b->data, b->len - 8, 0));

	memcpy(b->data + b->len - 8, &sum, sizeof(sum));
}

START_TEST(what_is_written_is_read)
{
	static const char *const order[] = { "\x01/\xff\n", "dev/tty", "etc/passwd", "opt", "opt/new", "opt/new/d",
					     "opt/new/d/l", "opt/new/f", "opt/new/shared", "opt/new.d", "opt/old",
					     "opt/old/s", "srv/shared", "srv/shared.d", "srv/shared.e", "srv/wins" };
	struct changes c = table(), is;
	struct buf b = encode(&c);
	uint8_t digest[32];

	ck_assert_int_eq(sha256_once(b.data, b.len, digest), 0);
	ck_assert_int_eq(memcmp(c.digest, digest, 32), 0);
	ck_assert_msg(changes_decode(b.data, b.len, &is, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(memcmp(is.digest, digest, 32), 0);
	ck_assert_int_eq(is.kind, CHANGES_ADD);
	ck_assert_uint_eq(is.generation, 3);
	ck_assert_str_eq(is.image, "/srv/shop.plyfs");
	ck_assert_uint_eq(is.nnames, 2);
	ck_assert_str_eq(is.names[1], "shop");
	ck_assert_uint_eq(is.nrequires, 2);
	ck_assert_str_eq(is.requires[0], "db|cache");
	ck_assert_str_eq(is.requires[1], "lang");
	ck_assert_uint_eq(is.nids, 3);
	ck_assert(!is.ids[0].kind && !is.ids[0].lost && is.ids[0].from == 200 && is.ids[0].to == 100 &&
		  !strcmp(is.ids[0].name, "app"));
	ck_assert(!is.ids[1].kind && is.ids[1].lost && is.ids[1].from == 777 && !is.ids[1].to && !is.ids[1].name);
	ck_assert(is.ids[2].kind == 1 && is.ids[2].lost && is.ids[2].from == 7);
	ck_assert_uint_eq(is.n, ARRAY_SIZE(order));
	for (size_t i = 0; i < is.n; i++) {
		ck_assert_str_eq(is.v[i].path, order[i]);
		ck_assert_ptr_eq(changes_find(&is, order[i]), &is.v[i]);
		ck_assert(is.v[i].kind == c.v[i].kind && is.v[i].flags == c.v[i].flags &&
			  is.v[i].comp == c.v[i].comp && is.v[i].n == c.v[i].n);
		ck_assert(change_same(&is.v[i].before, &c.v[i].before) && change_same(&is.v[i].after, &c.v[i].after));
		ck_assert(!is.v[i].more == !c.v[i].more);
		ck_assert(!is.v[i].more || !memcmp(is.v[i].more, c.v[i].more, sizeof(*c.v[i].more)));
	}
	ck_assert_ptr_null(changes_find(&is, "opt/new/"));
	ck_assert_uint_eq(is.ndirs, 3);
	ck_assert(!*is.dirs[0].path && is.dirs[0].mtime_sec == -9 && is.dirs[0].mtime_nsec == 10);
	ck_assert(!strcmp(is.dirs[2].path, "opt") && is.dirs[2].mtime_sec == 6);
	ck_assert(comes_back(&b));
	changes_done(&is);
	changes_done(&c);
	buf_done(&b);
}
END_TEST

START_TEST(nothing_is_a_table_too)
{
	struct changes c = { .kind = CHANGES_REMOVE };
	struct buf b = encode(&c);

	ck_assert(comes_back(&b));
	buf_done(&b);
}
END_TEST

START_TEST(what_is_cut_or_longer_is_refused)
{
	struct changes c = table();
	struct buf b = encode(&c);

	for (size_t len = 0; len < b.len; len++) {
		struct buf cut = { 0 };

		ck_assert_int_eq(buf_add(&cut, b.data, len + 1), 0);
		cut.len = len;
		ck_assert(!comes_back(&cut));
		if (len >= 0x20) {         /* with a length and a checksum that are right */
			le64 v = le64_put(len);

			memcpy(cut.data + 0x10, &v, sizeof(v));
			repair(&cut);
			ck_assert(!comes_back(&cut));
		}
		buf_done(&cut);
	}
	ck_assert_int_eq(buf_add_zero(&b, 1), 0);
	ck_assert(!comes_back(&b));
	changes_done(&c);
	buf_done(&b);
}
END_TEST

START_TEST(what_is_flipped_is_refused)
{
	struct changes c = table();
	struct buf b = encode(&c);
	size_t others = 0;

	for (size_t at = 0; at < b.len; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			b.data[at] ^= (uint8_t)(1u << bit);
			ck_assert_msg(!comes_back(&b), "byte %zu, bit %u", at, bit);
			if (at < b.len - 8) {
				repair(&b);
				others += comes_back(&b);      /* with a right checksum it may be another table */
			}
			b.data[at] ^= (uint8_t)(1u << bit);
			repair(&b);
		}
	ck_assert(comes_back(&b));
	ck_assert_uint_gt(others, b.len);
	changes_done(&c);
	buf_done(&b);
}
END_TEST

/* --- what contradicts itself ----------------------------------------------------------------------- */

struct row {
	int kind, flags;
	const char *path;
	uint32_t before, after;
};

START_TEST(rows_that_do_not_go_together)
{
	static const struct row bad[][3] = {
		{ { CHANGE_MAKE, 0, "", 0, REG } },
		{ { CHANGE_MAKE, 0, "/a", 0, REG } },
		{ { CHANGE_MAKE, 0, "a/", 0, REG } },
		{ { CHANGE_MAKE, 0, "a//b", 0, REG } },
		{ { CHANGE_MAKE, 0, ".", 0, REG } },
		{ { CHANGE_MAKE, 0, "a/..", 0, REG } },
		{ { CHANGE_MAKE, 0, "../a", 0, REG } },
		{ { CHANGE_OUT, 0, "var/lib/plyfs", DIR, 0 } },
		{ { CHANGE_MAKE, 0, "var/lib/plyfs/journal", 0, REG } },
		{ { 0, 0, "a", 0, REG } },
		{ { 6, 0, "a", 0, REG } },
		{ { CHANGE_MAKE, 2, "a", 0, REG } },
		{ { CHANGE_MAKE, 0, "a", 0, 0 } },
		{ { CHANGE_MAKE, 0, "a", REG, REG } },
		{ { CHANGE_MAKE, 0, "a", 0, 0644 } },
		{ { CHANGE_MAKE, 0, "a", 0, REG | 0x10000 } },
		{ { CHANGE_MAKE, 0, "a", 0, S_IFLNK | 0755 } },
		{ { CHANGE_MAKE, 0, "a", 0, 0170644 } },
		{ { CHANGE_OUT, 0, "a", 0, 0 } },
		{ { CHANGE_OUT, 0, "a", REG, REG } },
		{ { CHANGE_SWAP, 0, "a", REG, REG } },
		{ { CHANGE_SWAP, 0, "a", REG, 0 } },
		{ { CHANGE_SWAP, 0, "a", REG, DIR } },
		{ { CHANGE_SWAP, 0, "a", DIR, REG } },
		{ { CHANGE_META, 0, "a", REG, REG } },
		{ { CHANGE_META, 0, "a", REG, S_IFIFO | 0644 } },
		{ { CHANGE_KEEP, 0, "a", 0, 0 } },
		/* twice */
		{ { CHANGE_MAKE, 0, "a", 0, REG }, { CHANGE_MAKE, 0, "a", 0, REG } },
		/* with what is above them */
		{ { CHANGE_MAKE, CHANGE_INSIDE, "a/b", 0, REG } },
		{ { CHANGE_MAKE, CHANGE_INSIDE, "a", 0, DIR } },
		{ { CHANGE_MAKE, 0, "a", 0, DIR }, { CHANGE_MAKE, 0, "a/b", 0, REG } },
		{ { CHANGE_MAKE, 0, "a", 0, DIR }, { CHANGE_MAKE, CHANGE_INSIDE, "a/b/c", 0, REG } },
		{ { CHANGE_MAKE, 0, "a", 0, DIR }, { CHANGE_OUT, CHANGE_INSIDE, "a/b", REG, 0 } },
		{ { CHANGE_MAKE, 0, "a", 0, REG }, { CHANGE_MAKE, CHANGE_INSIDE, "a/b", 0, REG } },
		{ { CHANGE_META, 0, "a", DIR, S_IFDIR }, { CHANGE_MAKE, CHANGE_INSIDE, "a/b", 0, REG } },
		{ { CHANGE_OUT, 0, "a", DIR, 0 }, { CHANGE_MAKE, 0, "a/b", 0, REG } },
		{ { CHANGE_OUT, 0, "a", DIR, 0 }, { CHANGE_KEEP, 0, "a/b/c", REG, 0 } },
		{ { CHANGE_OUT, 0, "a", REG, 0 }, { CHANGE_OUT, 0, "a/b", REG, 0 } },
		{ { CHANGE_SWAP, 0, "a", REG, S_IFIFO }, { CHANGE_MAKE, 0, "a/b", 0, REG } },
		{ { CHANGE_KEEP, 0, "a", REG, 0 }, { CHANGE_MAKE, 0, "a/b/c", 0, REG } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct changes c = { .kind = CHANGES_ADD };
		struct buf out = { 0 };

		ck_assert_int_eq(changes_add_name(&c, "web"), 0);
		for (size_t k = 0; k < 3 && bad[i][k].path; k++)
			add(&c, (enum change_kind)bad[i][k].kind, (unsigned)bad[i][k].flags, bad[i][k].path,
			    bad[i][k].before, bad[i][k].after);
		ck_assert_msg(changes_encode(&c, &out, &err) == -EUCLEAN, "%zu", i);
		ck_assert_int_eq(err.reason, PLY_R_STATE_DAMAGED);
		buf_done(&out);
		changes_done(&c);
	}
}
END_TEST

START_TEST(shared_rows_that_there_cannot_be)
{
	static const struct {
		unsigned flags;
		uint32_t after, was;
		uint64_t own;
	} bad[] = {
		{ CHANGE_SHARED, S_IFREG | 0600, DIR, 1 },         /* no file takes the place of a directory */
		{ CHANGE_SHARED, S_IFREG | 0600, S_IFLNK | 0755, 1 },
		{ CHANGE_PART, S_IFREG | 0600, 0, 0 },             /* a text of nothing, */
		{ CHANGE_PART, S_IFREG | 0600, 0, 6 },             /* and one that is longer than the file */
		{ CHANGE_PART, S_IFLNK | 0777, 0, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct changes c = { .kind = CHANGES_ADD };
		struct buf out = { 0 };

		ck_assert_int_eq(changes_add_name(&c, "web"), 0);
		add_shared(&c, CHANGE_SWAP, bad[i].flags, "a", REG, bad[i].after, bad[i].was);
		c.v[0].more->own.len = bad[i].own;
		ck_assert_msg(changes_encode(&c, &out, &err) == -EUCLEAN, "%zu", i);
		ck_assert_int_eq(err.reason, PLY_R_STATE_DAMAGED);
		buf_done(&out);
		changes_done(&c);
	}
	for (uint32_t was = 0; was <= S_IFREG; was += S_IFREG) {   /* nor the other way */
		struct changes c = { .kind = CHANGES_ADD };
		struct buf out = { 0 };

		ck_assert_int_eq(changes_add_name(&c, "web"), 0);
		add_shared(&c, CHANGE_META, CHANGE_SHARED, "a", DIR, S_IFDIR | 0700, was);
		ck_assert_int_eq(changes_encode(&c, &out, &err), -EUCLEAN);
		buf_done(&out);
		changes_done(&c);
	}
	for (unsigned flags = CHANGE_SHARED; flags <= CHANGE_PART; flags <<= 1) {
		struct changes c = { .kind = CHANGES_ADD };
		struct buf out = { 0 };

		ck_assert_int_eq(changes_add_name(&c, "web"), 0);
		add(&c, CHANGE_SWAP, flags, "a", REG, S_IFREG | 0600);     /* without what the flag says */
		ck_assert_int_eq(changes_encode(&c, &out, &err), -EUCLEAN);
		buf_done(&out);
		changes_done(&c);
	}
}
END_TEST

static void must_be_refused(struct changes *c, const char *what)
{
	struct buf out = { 0 };

	ck_assert_msg(changes_encode(c, &out, &err) == -EUCLEAN, "%s", what);
	buf_done(&out);
	changes_done(c);
}

START_TEST(fields_that_there_cannot_be)
{
	struct changes c;
	struct change swapped;

	c = table();
	swapped = c.v[0];
	c.v[0] = c.v[1];
	c.v[1] = swapped;
	must_be_refused(&c, "order");
	c = table();
	c.v[0].n = c.v[1].n;
	must_be_refused(&c, "a number twice");
	c = table();
	c.v[0].n = (uint32_t)c.n;
	must_be_refused(&c, "a number beyond");
	c = table();
	c.v[0].comp = (uint16_t)c.nnames;
	must_be_refused(&c, "a component that is not named");
	c = table();
	c.v[2].after.mtime_nsec = 1000000000;
	must_be_refused(&c, "a nanosecond");
	c = table();
	c.v[3].before.size = c.v[3].after.size = 1;
	must_be_refused(&c, "the size of a directory");
	c = table();
	c.v[9].after.digest[15] = 1;
	must_be_refused(&c, "the content of a FIFO");
	c = table();
	c.v[9].before.uid = 1;
	must_be_refused(&c, "the owner of nothing");
	c = table();
	c.v[2].kind = CHANGE_META;
	c.v[2].after.digest[1] = 1;
	must_be_refused(&c, "content that changes in place");
	c = table();
	c.v[2].kind = CHANGE_META;
	c.v[2].after = c.v[2].before;
	c.v[2].after.mode ^= 1;
	c.v[2].after.xattrs[0] = 1;
	must_be_refused(&c, "xattrs of a file that change in place");
	c = table();
	*c.names[0] = '\0';
	must_be_refused(&c, "no name");
	c = table();
	*c.requires[1] = '\0';
	must_be_refused(&c, "requires no name");
	c = table();
	c.ids[1].to = 1;
	must_be_refused(&c, "lost, and not root's");
	c = table();
	c.ids[1].lost = false;
	must_be_refused(&c, "a number without a name");
	c = table();
	c.ids[0].lost = true;
	must_be_refused(&c, "lost, with a name");
	c = table();
	c.ids[1].from = 0;
	must_be_refused(&c, "root, that is lost");
	c = table();
	c.ids[2].kind = 2;
	must_be_refused(&c, "neither user nor group");
	c = table();
	c.ids[1].from = 200;
	must_be_refused(&c, "a user twice");
	c = table();
	c.kind = (enum changes_kind)3;
	must_be_refused(&c, "a kind");
	c = table();
	c.dirs[1].mtime_nsec = UINT32_MAX;
	must_be_refused(&c, "a directory's time");
	c = table();
	strcpy(c.dirs[1].path, "..");
	must_be_refused(&c, "a directory's path");
	c = table();
	ck_assert_int_eq(changes_add_dir(&c, "etc", 1, 2), 0);
	must_be_refused(&c, "a directory twice");
	c = table();
	ck_assert_int_eq(changes_add_dir(&c, "opt/new", 1, 2), 0);
	must_be_refused(&c, "the time of what is not there yet");
}
END_TEST

/* --- many ------------------------------------------------------------------------------------------- */

static uint32_t draw(uint64_t *seed, uint32_t below)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % below;
}

/* Paths with bytes below and above the slash, so that order by bytes would be another. */
START_TEST(random_tables_come_back)
{
	static const char *const names[] = { "a", "a.b", "a!", "ab", "\x02", "\xc3\xa9", "a\n" };
	static const enum change_kind kinds[] = { CHANGE_MAKE, CHANGE_SWAP, CHANGE_OUT, CHANGE_META, CHANGE_KEEP };
	uint64_t seed = (uint64_t)_i;
	struct changes c = { .kind = CHANGES_ADD };
	struct buf b;

	ck_assert_int_eq(changes_add_name(&c, "web"), 0);
	for (int i = 0; i < 60; i++) {
		enum change_kind kind = kinds[draw(&seed, 5)];
		char path[64] = "";
		bool doubled = false;

		for (uint32_t k = 0, n = 1 + draw(&seed, 4); k < n; k++) {
			strcat(path, k ? "/" : "");
			strcat(path, names[draw(&seed, ARRAY_SIZE(names))]);
		}
		/* files alone, and none below another: then any kind will do */
		for (size_t k = 0; k < c.n; k++)
			doubled |= changes_within(path, c.v[k].path) || changes_within(c.v[k].path, path);
		if (!doubled)
			add(&c, kind, 0, path, kind == CHANGE_MAKE ? 0 : REG,
			    kind == CHANGE_OUT ? 0 : kind == CHANGE_MAKE ? REG : S_IFREG | draw(&seed, 0600));
	}
	changes_sort(&c);
	for (size_t i = 1; i < c.n; i++)
		ck_assert_int_lt(changes_compare(c.v[i - 1].path, c.v[i].path), 0);
	for (size_t i = 0; i < c.n; i++)
		ck_assert_ptr_eq(changes_find(&c, c.v[i].path), &c.v[i]);
	b = encode(&c);
	ck_assert(comes_back(&b));
	buf_done(&b);
	changes_done(&c);
}
END_TEST

/* --- judging ------------------------------------------------------------------------------------------ */

START_TEST(digests_are_those_of_xxhash)
{
	static const uint8_t of_nothing[16] = { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
						0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f };
	char path[] = "/tmp/plyfs-changes.XXXXXX";
	int fd = mkstemp(path);
	static uint8_t bytes[200000];
	struct change_side s;
	uint8_t digest[16];

	xxh128_once("", 0, digest);
	ck_assert_int_eq(memcmp(digest, of_nothing, sizeof(digest)), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * i >> 8);
	ck_assert_int_eq(pwrite_full(fd, bytes, sizeof(bytes), 0), 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(change_look_fd(fd, &s), 0);           /* in several pieces */
	xxh128_once(bytes, sizeof(bytes), digest);
	ck_assert_int_eq(memcmp(digest, s.digest, sizeof(digest)), 0);
	ck_assert_uint_eq(s.size, sizeof(bytes));
	close(fd);
}
END_TEST

START_TEST(each_difference_counts)
{
	char root[] = "/tmp/plyfs-changes.XXXXXX";
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { 5, 6 } };
	struct change_side s, again;
	int at, fd;

	ck_assert_ptr_nonnull(mkdtemp(root));
	at = open(root, O_PATH | O_DIRECTORY);
	ck_assert_int_eq(change_look(at, "f", &s), 0);
	ck_assert(!s.mode && change_is(at, "f", &s) == 1);
	fd = openat(at, "f", O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "text", 4), 4);
	ck_assert_int_eq(futimens(fd, times), 0);
	ck_assert_int_eq(change_is(at, "f", &s), 0);
	ck_assert_int_eq(change_look(at, "f", &s), 0);
	ck_assert(s.mode == (S_IFREG | 0600) && s.uid == geteuid() && s.size == 4);
	ck_assert(s.mtime_sec == 5 && s.mtime_nsec == 6);
	ck_assert_int_eq(change_is(at, "f", &s), 1);
	ck_assert_int_eq(pwrite(fd, "next", 4, 0), 4);
	ck_assert_int_eq(futimens(fd, times), 0);
	ck_assert_int_eq(change_is(at, "f", &s), 0);
	ck_assert_int_eq(pwrite(fd, "text", 4, 0), 4);
	ck_assert_int_eq(change_is(at, "f", &s), 0);           /* the time */
	ck_assert_int_eq(futimens(fd, times), 0);
	ck_assert_int_eq(change_is(at, "f", &s), 1);
	ck_assert_int_eq(fchmod(fd, 0640), 0);
	ck_assert_int_eq(change_is(at, "f", &s), 0);
	ck_assert_int_eq(fchmod(fd, 0600), 0);
	if (fsetxattr(fd, "user.b", "1", 1, 0) == 0) {
		ck_assert_int_eq(change_is(at, "f", &s), 0);
		ck_assert_int_eq(change_look(at, "f", &s), 0);
		ck_assert_int_eq(change_is(at, "f", &s), 1);
		ck_assert_int_eq(fsetxattr(fd, "user.a", "", 0, 0), 0);
		ck_assert_int_eq(change_is(at, "f", &s), 0);
		/* the order in which they were set does not count */
		ck_assert_int_eq(change_look(at, "f", &s), 0);
		ck_assert_int_eq(fremovexattr(fd, "user.b"), 0);
		ck_assert_int_eq(fsetxattr(fd, "user.b", "1", 1, 0), 0);
		ck_assert_int_eq(change_is(at, "f", &s), 1);
	}
	ck_assert_int_eq(unlinkat(at, "f", 0), 0);
	ck_assert_int_eq(symlinkat("nowhere", at, "f"), 0);
	ck_assert_int_eq(change_is(at, "f", &s), 0);
	ck_assert_int_eq(change_look(at, "f", &s), 0);
	ck_assert_uint_eq(s.mode, S_IFLNK | 0777);
	ck_assert_int_eq(unlinkat(at, "f", 0), 0);
	ck_assert_int_eq(symlinkat("nobody.", at, "f"), 0);
	ck_assert_int_eq(change_look(at, "f", &again), 0);
	ck_assert_int_ne(memcmp(s.digest, again.digest, sizeof(s.digest)), 0);
	ck_assert_int_eq(unlinkat(at, "f", 0), 0);
	/* directories: all but the time */
	ck_assert_int_eq(mkdirat(at, "f", 0700), 0);
	ck_assert_int_eq(change_look(at, "f", &s), 0);
	ck_assert_int_eq(utimensat(at, "f", times, 0), 0);
	ck_assert_int_eq(change_is(at, "f", &s), 1);
	ck_assert_int_eq(fchmodat(at, "f", 0755, 0), 0);
	ck_assert_int_eq(change_is(at, "f", &s), 0);
	ck_assert_int_eq(unlinkat(at, "f", AT_REMOVEDIR), 0);
	close(fd);
	close(at);
	ck_assert_int_eq(rmdir(root), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("changes");

	tap_test(s, what_is_written_is_read);
	tap_test(s, nothing_is_a_table_too);
	tap_test(s, what_is_cut_or_longer_is_refused);
	tap_test(s, what_is_flipped_is_refused);
	tap_test(s, rows_that_do_not_go_together);
	tap_test(s, shared_rows_that_there_cannot_be);
	tap_test(s, fields_that_there_cannot_be);
	tap_loop(s, random_tables_come_back, 0, 50);
	tap_test(s, digests_are_those_of_xxhash);
	tap_test(s, each_difference_counts);
	return s;
}
TAP_MAIN(suite)
