/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fs/base: escapes, sizes, map, pool, guarded maps. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/pool.h"
#include "base/sigbus.h"
#include "base/util.h"
#include "tap.h"

static const struct {
	const char *in;
	size_t len;
	const char *out;
} escapes[] = {
	{ "plain", 5, "plain" },
	{ "a\nb\tc\\", 6, "a\\nb\\tc\\\\" },
	{ "\x01\x7f", 2, "\\x01\\x7f" },
	{ "gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f" },
	{ "\xff\xfe", 2, "\\xff\\xfe" },
	{ "\xc0\xaf", 2, "\\xc0\\xaf" },          /* overlong slash */
	{ "\xed\xa0\x80", 3, "\\xed\\xa0\\x80" }, /* surrogate */
	{ "\xc2\x9b", 2, "\\xc2\\x9b" },          /* CSI: a terminal would obey */
	{ "\xe2\x82", 2, "\\xe2\\x82" },          /* cut off */
	{ "", 0, "" },
};

START_TEST(escapes_odd_names)
{
	char *out = escape_name(escapes[_i].in, escapes[_i].len);

	ck_assert_str_eq(out, escapes[_i].out);
	free(out);
}
END_TEST

START_TEST(escape_cuts_at_whole_pieces)
{
	char out[6];

	ck_assert_uint_eq(escape_name_to("abc\n\n", 5, out, sizeof(out)), 5);
	ck_assert_str_eq(out, "abc\\n");
}
END_TEST

START_TEST(sizes)
{
	uint64_t v;
	char out[16];

	ck_assert_int_eq(parse_size("4096", &v), 0);
	ck_assert_uint_eq(v, 4096);
	ck_assert_int_eq(parse_size("64M", &v), 0);
	ck_assert_uint_eq(v, 64 << 20);
	ck_assert_int_eq(parse_size("1KiB", &v), 0);
	ck_assert_uint_eq(v, 1024);
	ck_assert_int_eq(parse_size("16E", &v), -ERANGE);
	ck_assert_int_eq(parse_size("99999999999999999999", &v), -ERANGE);
	ck_assert_int_eq(parse_size("", &v), -EINVAL);
	ck_assert_int_eq(parse_size("-1", &v), -EINVAL);
	ck_assert_int_eq(parse_size("1X", &v), -EINVAL);
	ck_assert_int_eq(parse_size("1Mx", &v), -EINVAL);
	ck_assert_str_eq(format_size(999, out), "999 B");
	ck_assert_str_eq(format_size(1536, out), "1.5 KiB");
	ck_assert_str_eq(format_size(UINT64_MAX, out), "16.0 EiB");
}
END_TEST

START_TEST(hex)
{
	uint8_t b[3];
	char out[7];

	ck_assert(hex_decode("00fFa1", b, 3));
	ck_assert_mem_eq(b, "\x00\xff\xa1", 3);
	hex_encode(b, 3, out);
	ck_assert_str_eq(out, "00ffa1");
	ck_assert(!hex_decode("00ff", b, 3));
	ck_assert(!hex_decode("00ffa1b", b, 3));
	ck_assert(!hex_decode("00fg00", b, 3));
}
END_TEST

START_TEST(map_keeps_equal_hashes)
{
	struct map m = { 0 };
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 10000; i++)
		ck_assert_int_eq(map_add(&m, i / 2 * 64, i), 0);   /* low bits collide */
	for (size_t i = map_first(&m, 300 * 64); i != MAP_END; i = map_next(&m, 300 * 64, i))
		sum += m.slots[i].value;
	ck_assert_uint_eq(sum, 600 + 601);
	sum = 0;
	for (size_t i = map_first(&m, 0); i != MAP_END; i = map_next(&m, 0, i))
		sum += 1 + m.slots[i].value;
	ck_assert_uint_eq(sum, 3);   /* hash 0 is a hash like others */
	ck_assert(map_first(&m, 999999999) == MAP_END);
	map_done(&m);
	ck_assert(map_first(&m, 1) == MAP_END);
}
END_TEST

START_TEST(buffers_grow)
{
	struct buf b = { 0 };

	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(buf_printf(&b, "%d,", i), 0);
	ck_assert_uint_eq(b.len, 10 * 2 + 90 * 3 + 900 * 4);
	ck_assert_int_eq(buf_align(&b, 4096), 0);
	ck_assert_uint_eq(b.len % 4096, 0);
	ck_assert_int_eq(buf_reserve(&b, SIZE_MAX), -ENOMEM);
	buf_done(&b);
}
END_TEST

static atomic_uint ran;
static atomic_uint workers_seen;

static void job(void *arg, unsigned worker)
{
	atomic_fetch_add(&ran, *(unsigned *)arg);
	atomic_fetch_or(&workers_seen, 1u << worker);
	usleep(100);
}

START_TEST(pool_runs_everything)
{
	unsigned one = 1;
	struct pool *p;

	ck_assert_int_eq(pool_new(4, 2, &p), 0);
	for (int i = 0; i < 500; i++)
		pool_add(p, job, &one);
	pool_drain(p);
	ck_assert_uint_eq(atomic_load(&ran), 500);
	ck_assert_uint_lt(atomic_load(&workers_seen), 16);
	pool_add(p, job, &one);
	pool_free(p);   /* waits */
	ck_assert_uint_eq(atomic_load(&ran), 501);
	ck_assert_ptr_null(pool_free(NULL));
}
END_TEST

START_TEST(truncated_map_reads_as_zeros)
{
	char name[] = "/tmp/plyfs-sigbus-XXXXXX";
	int fd = mkstemp(name), slot;
	volatile uint8_t *p;

	unlink(name);
	ck_assert_int_eq(ftruncate(fd, 3 * 4096), 0);
	ck_assert_int_eq(pwrite_full(fd, "x", 1, 0), 0);
	ck_assert_int_eq(pwrite_full(fd, "y", 1, 2 * 4096), 0);
	ck_assert_int_eq(sigbus_install(), 0);
	p = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED, fd, 0);
	slot = sigbus_guard((const void *)p, 3 * 4096);
	ck_assert_int_ge(slot, 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ck_assert_int_eq(p[0], 'x');
	ck_assert_uint_eq(sigbus_hit(slot), 0);
	ck_assert_int_eq(p[2 * 4096], 0);
	ck_assert_uint_eq(sigbus_hit(slot), 1);
	munmap((void *)p, 3 * 4096);
	sigbus_release(slot);
	close(fd);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("base");

	tap_loop(s, escapes_odd_names, 0, (int)ARRAY_SIZE(escapes));
	tap_test(s, escape_cuts_at_whole_pieces);
	tap_test(s, sizes);
	tap_test(s, hex);
	tap_test(s, map_keeps_equal_hashes);
	tap_test(s, buffers_grow);
	tap_test(s, pool_runs_everything);
	tap_test(s, truncated_map_reads_as_zeros);
	return s;
}
TAP_MAIN(suite)
