/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Further generations of an image: what they hold, and that whatever fails, and wherever the machine
 * stops, the old generation opens or the new one does, whole.
 *
 * Every write, sync and truncation of a commit is recorded; then the file is built as a crash
 * would leave it: after each of them, with the last write torn at several lengths, and with any of the writes lost
 * that no sync has followed yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "image/catalog.h"
#include "image/join.h"
#include "io/io.h"
#include "ops/verify.h"
#include "overlay_image.h"
#include "small_image.h"
#include "sub/sub.h"
#include "tap.h"

/* --- the seam ----------------------------------------------------------------------------- */

struct op {
	enum { OP_WRITE, OP_SYNC, OP_CUT } what;
	uint64_t off;
	size_t len;
	uint8_t *data;
};

static bool recording;
static struct op ops[256];
static size_t nops;
static size_t calls, fail_at;      /* 0: none fails */
static char path[64];
static const char *replacement;    /* gets the image's name at the next sync */

static int count(void)
{
	return ++calls == fail_at ? -EIO : 0;
}

static void record(struct op op, const void *data)
{
	if (!recording)
		return;
	ck_assert_uint_lt(nops, ARRAY_SIZE(ops));
	if (op.len) {
		op.data = malloc(op.len);
		memcpy(op.data, data, op.len);
	}
	ops[nops++] = op;
}

int __real_pwrite_full(int fd, const void *buf, size_t len, uint64_t off);
int __wrap_pwrite_full(int fd, const void *buf, size_t len, uint64_t off);
int __wrap_pwrite_full(int fd, const void *buf, size_t len, uint64_t off)
{
	int r = count();

	record((struct op){ OP_WRITE, off, len, NULL }, buf);
	if (r < 0)                 /* some of it is there all the same */
		__real_pwrite_full(fd, buf, len / 2, off);
	return r < 0 ? r : __real_pwrite_full(fd, buf, len, off);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	if (count() < 0) {
		errno = EIO;
		return -1;
	}
	if (replacement) {
		ck_assert_int_eq(rename(replacement, path), 0);
		replacement = NULL;
	}
	record((struct op){ OP_SYNC, 0, 0, NULL }, NULL);
	return __real_fdatasync(fd);
}

int __real_ftruncate64(int fd, off_t len);
int __wrap_ftruncate64(int fd, off_t len);
int __wrap_ftruncate64(int fd, off_t len)
{
	record((struct op){ OP_CUT, (uint64_t)len, 0, NULL }, NULL);
	return __real_ftruncate64(fd, len);
}

/* --- files ---------------------------------------------------------------------------------- */

static void make(void (*fn)(const char *))
{
	int fd;

	strcpy(path, "/tmp/plyfs-append-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	fn(path);
}

static void small(const char *to)
{
	small_image(to, 1);
}

static void with_db(const char *to)
{
	struct ply_err err;

	small_image(to, 1);
	ck_assert_int_eq(overlay_add_db(to, &err), 0);
}

static struct buf load(void)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	struct buf b = { 0 };

	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(buf_add_zero(&b, (size_t)st.st_size), 0);
	ck_assert_int_eq(pread_full(fd, b.data, b.len, 0), 0);
	close(fd);
	return b;
}

static void store(const struct buf *b)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, b->data, b->len), b->len);
	close(fd);
}

static bool equal(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Of a commit that was interrupted. */
static void note_damage(void *ctx, const struct finding *f)
{
	if (f->reason == PLY_R_SUPER_SLOT_BAD || f->reason == PLY_R_SUPER_CHECKSUM)
		return;
	buf_printf(ctx, "%s: %s\n", ply_reason_name(f->reason), f->message);
}

static void note_all(void *ctx, const struct finding *f)
{
	buf_printf(ctx, "%s: %s", ply_reason_name(f->reason), f->message);
	for (size_t i = 0; i < f->npaths; i++)
		buf_printf(ctx, " %s", f->paths[i]);
	buf_printf(ctx, "\n");
}

/* Which generation opens; it and those before it are whole. */
static uint64_t judge(const struct buf *b, finding_fn fn, const char *when)
{
	struct verify_options o = { .deep = true, .threads = 1 };
	struct verify_result res = { 0 };
	struct ply_image *im = NULL;
	struct buf text = { 0 };
	struct ply_err err = { 0 };
	uint64_t generation = 0;
	struct io *io;
	int r;

	ck_assert_int_eq(io_open_memory(b->data, b->len, &io, &err), 0);
	r = verify_io(io, 0, &o, fn, &text, &res, &err);
	ck_assert_msg(r == 0, "%s: %s", when, err.msg);
	buf_add(&text, "", 1);
	ck_assert_msg(text.len == 1, "%s: %s", when, (const char *)text.data);
	buf_done(&text);
	r = ply_image_open_io(io, 0, &im, &err);
	ck_assert_msg(r == 0, "%s: %s", when, err.msg);
	generation = ply_image_generation(im)->generation;
	for (uint32_t i = 0; i < ply_image_nsubs(im); i++) {
		struct sub *s;

		ck_assert_int_eq(image_sub(im, i, &s, &err), 0);
	}
	ck_assert_uint_eq(res.generation, generation);
	ply_image_close(im);
	return generation;
}

static void judge_file(uint64_t generation)
{
	struct buf b = load();

	ck_assert_uint_eq(judge(&b, note_all, "the image"), generation);
	buf_done(&b);
}

static struct ply_image *open_at(uint64_t generation)
{
	struct ply_image *im;
	struct ply_err err;
	char name[96];

	snprintf(name, sizeof(name), "%s@%llu", path, (unsigned long long)generation);
	ck_assert_msg(ply_image_open(name, &im, &err) == 0, "%s", err.msg);
	return im;
}

/* --- what a generation holds ------------------------------------------------------------------- */

START_TEST(generations)
{
	static const uint32_t nsubs[] = { 0, 2, 3, 4 };

	make(overlay_image);
	judge_file(3);
	for (uint64_t g = 1; g <= 3; g++) {
		struct ply_image *im = open_at(g);

		ck_assert_uint_eq(ply_image_generation(im)->generation, g);
		ck_assert_uint_eq(ply_image_generation(im)->parent, g - 1);
		ck_assert_uint_eq(ply_image_nsubs(im), nsubs[g]);
		ck_assert_ptr_null(ply_image_warning(im));
		ply_image_close(im);
	}
	unlink(path);
}
END_TEST

START_TEST(contents)
{
	struct ply_collision c, last = { 0 };
	const struct ply_sub_info *db;
	struct ply_image *im;
	struct ply_override o;
	struct ply_entry e;
	struct ply_node n;
	struct ply_err err;
	struct sub *s;

	make(overlay_image);
	im = open_at(3);
	db = ply_image_sub_info(im, 2);
	ck_assert_str_eq(db->name, "db");
	ck_assert_uint_eq(db->flags, PLY_SUB_OVERLAY);
	ck_assert_uint_eq(db->nstands_on, 2);
	ck_assert_str_eq(db->stands_on[0], "os");
	ck_assert_str_eq(db->stands_on[1], "web");
	ck_assert_uint_eq(join_ncollisions(image_join(im)), 3);
	for (uint64_t i = 0; i < 3; i++, last = c) {
		ck_assert_int_eq(join_collision(image_join(im), i, &c, &err), 0);
		ck_assert(!i || collision_compare(&last, &c) < 0);
	}
	ck_assert_int_eq(join_collision(image_join(im), 3, &c, &err), -EUCLEAN);
	ck_assert_int_eq(image_sub(im, 2, &s, &err), 0);
	ck_assert_uint_eq(sub_override_count(s), 1);
	ck_assert_int_eq(sub_override(s, 0, &o, &err), 0);
	ck_assert_uint_eq(o.mask, PLY_OVER_CONTENT);
	ck_assert_int_eq(sub_override_find(s, o.node, &o, &err), 0);
	ck_assert_int_eq(sub_override_find(s, o.node + 1, &o, &err), -ENOENT);
	ck_assert_int_eq(sub_node(s, PLY_ROOT_INDEX, &n, &err), 0);
	ck_assert_uint_eq(n.nlink, 2);
	ck_assert_uint_eq(n.size, 3);
	ck_assert_int_eq(sub_find(s, &n, "dev0", 4, NULL, &e, &err), 0);
	ck_assert_uint_eq(e.type, PLY_T_WHITEOUT);
	ck_assert_uint_eq(e.ref, 0);
	ck_assert_int_eq(sub_find(s, &n, "usr", 3, NULL, &e, &err), 0);
	ck_assert_int_eq(sub_node(s, e.ref, &n, &err), 0);
	ck_assert(n.flags & PLY_NODE_COVERS);
	ck_assert_int_eq(sub_find(s, &n, "web", 3, NULL, &e, &err), 0);
	ck_assert_uint_eq(e.type, PLY_T_WHITEOUT);
	ck_assert_uint_ne(e.ref, 0);
	ck_assert_int_eq(image_sub(im, 0, &s, &err), 0);
	ck_assert_uint_eq(sub_override_count(s), 0);
	ply_image_close(im);
	unlink(path);
}
END_TEST

static void join_digest(uint64_t generation, uint8_t ret[32])
{
	struct ply_image *im = open_at(generation);
	const struct catalog *c = image_catalog(im);

	memcpy(ret, c->segments[c->join_first].digest, 32);
	ply_image_close(im);
}

/* Without what was added last, all is as before it. */
START_TEST(removing)
{
	uint8_t before[32], after[32];
	struct ply_image *im;
	struct ply_err err;

	make(overlay_image);
	ck_assert_int_eq(overlay_remove(path, 3, &err), 0);
	judge_file(4);
	join_digest(2, before);
	join_digest(4, after);
	ck_assert_mem_eq(before, after, 32);
	im = open_at(4);
	ck_assert_uint_eq(ply_image_nsubs(im), 3);
	ck_assert_uint_eq(image_catalog(im)->next_number, 4);   /* is not used again */
	ply_image_close(im);
	ck_assert_int_eq(overlay_remove(path, 2, &err), 0);
	judge_file(5);
	join_digest(1, before);
	join_digest(5, after);
	ck_assert_mem_eq(before, after, 32);
	im = open_at(3);
	ck_assert_uint_eq(ply_image_nsubs(im), 4);
	ply_image_close(im);
	unlink(path);
}
END_TEST

START_TEST(not_removed)
{
	static const struct { uint32_t number; int r; enum ply_reason reason; } cases[] = {
		{ 0, -EINVAL, PLY_R_PARENT },
		{ 1, -EINVAL, PLY_R_PARENT },
		{ 4, -ENOENT, PLY_R_SUB_UNKNOWN },
		{ UINT32_MAX, -ENOENT, PLY_R_SUB_UNKNOWN },
	};
	struct buf old;

	make(overlay_image);
	old = load();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ply_err err;
		struct buf b;

		ck_assert_int_eq(overlay_remove(path, cases[i].number, &err), cases[i].r);
		ck_assert_int_eq(err.reason, cases[i].reason);
		b = load();
		ck_assert(equal(&old, &b));
		buf_done(&b);
	}
	buf_done(&old);
	unlink(path);
}
END_TEST

/* --- who may write ------------------------------------------------------------------------------ */

START_TEST(busy)
{
	struct ply_err err;
	int fd;

	make(small);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(overlay_add_db(path, &err), -EAGAIN);
	ck_assert_int_eq(err.reason, PLY_R_IMAGE_BUSY);
	close(fd);
	judge_file(1);
	ck_assert_int_eq(overlay_add_db(path, &err), 0);
	judge_file(2);
	unlink(path);
}
END_TEST

START_TEST(not_the_newest)
{
	struct ply_image *old;
	struct imagew *w;
	struct ply_err err;

	make(with_db);
	old = open_at(1);
	ck_assert_int_eq(imagew_append(path, old, &w, &err), -EINVAL);
	ck_assert_int_eq(err.reason, PLY_R_USAGE);
	ply_image_close(old);
	ck_assert_int_eq(ply_image_open(path, &old, &err), 0);
	ck_assert_int_eq(overlay_add_cache(path, &err), 0);
	ck_assert_int_eq(imagew_append(path, old, &w, &err), -EAGAIN);
	ck_assert_int_eq(err.reason, PLY_R_IMAGE_BUSY);
	ply_image_close(old);
	ck_assert_int_eq(ply_image_open(path, &old, &err), 0);
	unlink(path);
	ck_assert_int_eq(imagew_append(path, old, &w, &err), -ENOENT);
	small(path);
	ck_assert_int_eq(imagew_append(path, old, &w, &err), -EAGAIN);
	ck_assert_int_eq(err.reason, PLY_R_IMAGE_BUSY);
	ply_image_close(old);
	unlink(path);
}
END_TEST

/* What no reader would open is not committed. */
/* Another capture gives its image the name before the generation is there. */
START_TEST(replaced)
{
	char old_name[80], other[80];
	struct buf old, b;
	struct ply_err err = { 0 };

	make(with_db);
	old = load();
	snprintf(other, sizeof(other), "%s.new", path);
	small_image(other, 1);
	snprintf(old_name, sizeof(old_name), "%s.old", path);
	ck_assert_int_eq(link(path, old_name), 0);
	replacement = other;
	ck_assert_int_eq(overlay_add_cache(path, &err), -EAGAIN);
	ck_assert_int_eq(err.reason, PLY_R_IMAGE_BUSY);
	ck_assert_ptr_null(replacement);
	judge_file(1);
	ck_assert_int_eq(rename(old_name, path), 0);
	b = load();
	ck_assert(equal(&old, &b));
	buf_done(&old);
	buf_done(&b);
	unlink(path);
}
END_TEST

START_TEST(nonsense)
{
	static const char *const on[] = { "nobody" }, *const requires[] = { "os" };
	static const struct imagew_sub subs[] = {
		{ .name = "x", .rank = 9, .flags = PLY_SUB_OVERLAY, .requires = on, .nrequires = 1,
		  .stands_on = on, .nstands_on = 1 },
		{ .name = "x", .rank = 9, .flags = PLY_SUB_OVERLAY, .requires = requires, .nrequires = 1 },
		{ .name = "db", .rank = 9, .requires = requires, .nrequires = 1 },
		{ .name = "x", .rank = 2, .requires = requires, .nrequires = 1 },
		{ .name = "X", .rank = 9, .requires = requires, .nrequires = 1 },
	};
	struct buf old;

	make(with_db);
	old = load();
	for (size_t i = 0; i < ARRAY_SIZE(subs); i++) {
		struct ply_image *from;
		struct subw_result seg = { .off = 8192, .len = 8192, .nodes = 2 };
		struct imagew *w;
		struct ply_err err;
		uint32_t number;
		struct buf b;

		ck_assert_int_eq(ply_image_open(path, &from, &err), 0);
		ck_assert_int_eq(imagew_append(path, from, &w, &err), 0);
		ck_assert_int_eq(imagew_add_sub(w, &subs[i], &seg, &number, &err), 0);
		ck_assert_int_eq(imagew_remove_sub(w, 2, &err), -EINVAL);
		ck_assert_int_eq(imagew_collision(w, PLY_INO(3, 1), PLY_INO(2, 1), PLY_PAIR_TIMES, 0, 0, &err), -EUCLEAN);
		ck_assert_int_eq(imagew_publish(w, &(struct imagew_options){ 0 }, &err), -EUCLEAN);
		imagew_free(w);
		ply_image_close(from);
		b = load();
		ck_assert(equal(&old, &b));
		buf_done(&b);
	}
	buf_done(&old);
	unlink(path);
}
END_TEST

/* --- failures and crashes -------------------------------------------------------------------------- */

/* Each write and sync fails in its turn: an error leaves the old bytes; no error, the new generation. */
START_TEST(failing)
{
	struct buf old, b;
	bool failed = true, committed = false;
	struct ply_err err;

	make(with_db);
	old = load();
	for (size_t at = 1; failed; at++) {
		int r;

		calls = 0;
		fail_at = at;
		r = overlay_add_cache(path, &err);
		fail_at = 0;
		failed = calls >= at;
		b = load();
		if (r < 0) {
			ck_assert_int_eq(r, -EIO);
			ck_assert_int_eq(err.reason, PLY_R_OUTPUT_WRITE);
			ck_assert_msg(equal(&old, &b), "call %zu", at);
			ck_assert(!committed);
		} else {
			committed = true;
			ck_assert_uint_eq(judge(&b, note_damage, "a slot that failed"), 3);
		}
		buf_done(&b);
		store(&old);
	}
	ck_assert(committed);
	buf_done(&old);
	unlink(path);
}
END_TEST

static void play(struct buf *b, const struct op *op, size_t len)
{
	if (op->what == OP_CUT) {
		if (op->off < b->len)
			b->len = op->off;
	} else if (op->what == OP_WRITE && len) {
		if (op->off + len > b->len)
			ck_assert_int_eq(buf_add_zero(b, op->off + len - b->len), 0);
		memcpy(b->data + op->off, op->data, len);
	}
}

static struct buf copy(const struct buf *from)
{
	struct buf b = { 0 };

	ck_assert_int_eq(buf_add(&b, from->data, from->len), 0);
	return b;
}

static uint64_t old_generation, states;
static bool old_seen, new_seen;

static void check_state(struct buf *b, const char *when)
{
	uint64_t g = judge(b, note_damage, when);

	ck_assert_msg(g == old_generation || g == old_generation + 1, "%s: generation %llu", when,
		      (unsigned long long)g);
	old_seen |= g == old_generation;
	new_seen |= g == old_generation + 1;
	states++;
	buf_done(b);
}

/* The machine stops in operation @at: of those before it that no sync has followed, any may be lost; of it, a part
 * is there. */
static void crash_at(const struct buf *old, size_t at)
{
	size_t synced = 0, open[32], n = 0;
	char when[80];

	for (size_t i = 0; i < at; i++)
		if (ops[i].what == OP_SYNC)
			synced = i;
	for (size_t i = synced; i < at; i++)
		if (ops[i].what != OP_SYNC)
			open[n++] = i;
	ck_assert_uint_le(n, 10);
	for (size_t lost = 0; lost < (size_t)1 << n; lost++) {
		size_t len = ops[at].len;
		const size_t parts[] = { 0, 1, 64, 512, 4088, len / 2, len ? len - 1 : 0, len };

		for (size_t k = 0; k < (ops[at].what == OP_WRITE ? ARRAY_SIZE(parts) : 1); k++) {
			struct buf b;

			if (parts[k] > len)
				continue;
			b = copy(old);
			for (size_t i = 0; i < synced; i++)
				play(&b, &ops[i], ops[i].len);
			for (size_t i = 0; i < n; i++)
				if (!(lost >> i & 1))
					play(&b, &ops[open[i]], ops[open[i]].len);
			play(&b, &ops[at], parts[k]);
			snprintf(when, sizeof(when), "operation %zu, %zu bytes of it, %#zx lost", at, parts[k], lost);
			check_state(&b, when);
		}
	}
}

/* What a crash leaves behind is no hindrance. */
static void go_on(const struct buf *old, size_t at, int (*fn)(const char *, struct ply_err *))
{
	struct buf b = copy(old);
	struct ply_err err;
	uint64_t g;

	for (size_t i = 0; i < at; i++)
		play(&b, &ops[i], ops[i].len);
	g = judge(&b, note_damage, "before it goes on");
	store(&b);
	buf_done(&b);
	recording = false;
	ck_assert_int_eq(g == old_generation ? fn(path, &err) : overlay_remove(path, old_generation + 1, &err), 0);
	judge_file(g + 1);
}

static void crashes(void (*first)(const char *), int (*fn)(const char *, struct ply_err *), uint64_t generation,
		    bool garbage)
{
	struct ply_err err;
	struct buf old;

	make(first);
	old = load();
	if (garbage) {             /* what an earlier crash left */
		for (size_t i = 0; i < 100000; i++)
			ck_assert_int_eq(buf_add(&old, &(uint8_t){ small_byte(7, i) | 1 }, 1), 0);
		store(&old);
	}
	old_generation = generation;
	recording = true;
	ck_assert_int_eq(fn(path, &err), 0);
	recording = false;
	ck_assert_uint_gt(nops, 5);
	for (size_t at = 0; at < nops; at++) {
		crash_at(&old, at);
		go_on(&old, at, fn);
	}
	ck_assert(old_seen && new_seen);
	ck_assert_uint_gt(states, 50);
	for (size_t i = 0; i < nops; i++)
		free(ops[i].data);
	buf_done(&old);
	unlink(path);
}

START_TEST(crash_in_first)
{
	crashes(small, overlay_add_db, 1, false);
}
END_TEST

START_TEST(crash_in_second)
{
	crashes(with_db, overlay_add_cache, 2, false);
}
END_TEST

START_TEST(crash_behind_garbage)
{
	crashes(small, overlay_add_db, 1, true);
}
END_TEST

static int remove_cache(const char *to, struct ply_err *err)
{
	return overlay_remove(to, 3, err);
}

START_TEST(crash_in_remove)
{
	struct ply_err err;
	struct buf old;

	make(overlay_image);
	old = load();
	old_generation = 3;
	recording = true;
	ck_assert_int_eq(remove_cache(path, &err), 0);
	recording = false;
	for (size_t at = 0; at < nops; at++)
		crash_at(&old, at);
	ck_assert(old_seen && new_seen);
	for (size_t i = 0; i < nops; i++)
		free(ops[i].data);
	buf_done(&old);
	unlink(path);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("append");

	tap_test(s, generations);
	tap_test(s, contents);
	tap_test(s, removing);
	tap_test(s, not_removed);
	tap_test(s, busy);
	tap_test(s, not_the_newest);
	tap_test(s, replaced);
	tap_test(s, nonsense);
	tap_test(s, failing);
	tap_test(s, crash_in_first);
	tap_test(s, crash_in_second);
	tap_test(s, crash_behind_garbage);
	tap_test(s, crash_in_remove);
	return s;
}
TAP_MAIN(suite)
