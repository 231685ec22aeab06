/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is read of requests before libfuse sees them, what is answered in its place, and what is added to its INIT. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuse/raw.c"
#include "unit/tap.h"

static union {
	struct fuse_in_header in;
	char bytes[4096];
} request;

static size_t make(uint32_t opcode, const void *arg, size_t len, const void *more, size_t more_len)
{
	memset(&request, 0, sizeof(request));
	request.in = (struct fuse_in_header){ .len = (uint32_t)(sizeof(request.in) + len + more_len), .opcode = opcode,
					      .unique = RESENT | 77, .nodeid = 5, .uid = 1, .gid = 2, .pid = 3 };
	memcpy(&request.in + 1, arg, len);
	if (more_len)
		memcpy((char *)(&request.in + 1) + len, more, more_len);
	return request.in.len;
}

static size_t make_statx(void)
{
	const char arg[24] = { 0 };

	return make(OP_STATX, arg, sizeof(arg), NULL, 0);
}

static struct {
	int error, undone, synced;
	uint64_t dir, ino;
	mode_t mode;
	struct fuse_ctx who;
	int flags;
} asked;

static int give_tmpfile(void *ctx, const struct fuse_ctx *who, uint64_t dir, mode_t mode, struct fuse_file_info *fi,
			struct fuse_entry_param *ret)
{
	ck_assert_ptr_eq(ctx, &asked);
	asked.who = *who;
	asked.dir = dir;
	asked.mode = mode;
	asked.flags = fi->flags;
	fi->fh = 1;
	fi->keep_cache = 1;
	*ret = (struct fuse_entry_param){ .ino = 99, .generation = 4, .attr_timeout = 1e9, .entry_timeout = 1.5 };
	ret->attr = (struct stat){ .st_ino = 99, .st_mode = S_IFREG | 0640, .st_size = 12, .st_blocks = 8, .st_uid = 6,
				   .st_gid = 7, .st_mtim = { 1000, 11 }, .st_blksize = 4096 };
	return asked.error;
}

static void take_back(void *ctx, uint64_t ino)
{
	(void)ctx;
	asked.undone++;
	asked.ino = ino;
}

static int give_statx(void *ctx, uint64_t ino, struct statx *ret, double *ret_timeout)
{
	(void)ctx;
	asked.ino = ino;
	*ret = (struct statx){ .stx_mask = STATX_BASIC_STATS | STATX_BTIME, .stx_ino = ino, .stx_mode = S_IFREG | 0600,
			       .stx_nlink = 2, .stx_size = 1ULL << 40, .stx_btime = { .tv_sec = -5, .tv_nsec = 6 },
			       .stx_rdev_major = 8, .stx_rdev_minor = 9 };
	*ret_timeout = 3;
	return asked.error;
}

static int give_sync(void *ctx)
{
	(void)ctx;
	asked.synced++;
	return 0;
}

static const struct raw_answers answers = { give_tmpfile, take_back, give_statx, give_sync };

/* An answer, of which each write is one message. */
static size_t answer_to(size_t n, void *buf, size_t cap)
{
	int pair[2];
	ssize_t got;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ck_assert_uint_eq(raw_request(pair[0], &request, n, &answers, &asked), 0);
	close(pair[0]);
	got = read(pair[1], buf, cap);
	close(pair[1]);
	ck_assert_int_gt(got, 0);
	return (size_t)got;
}

/* --- what is read -------------------------------------------------------------------------------- */

START_TEST(flags_that_kill_are_seen)
{
	const struct fuse_open_in open_kill = { .open_flags = FUSE_OPEN_KILL_SUIDGID }, open_not = { .flags = ~0u };
	const struct fuse_create_in create_kill = { .open_flags = FUSE_OPEN_KILL_SUIDGID };
	const struct fuse_setattr_in attr_kill = { .valid = FATTR_KILL_SUIDGID }, attr_not = { .valid = FATTR_MODE };
	const struct fuse_write_in write_kill = { .write_flags = FUSE_WRITE_KILL_SUIDGID },
				   write_not = { .write_flags = FUSE_WRITE_CACHE };
	const struct {
		uint32_t opcode;
		const void *arg;
		size_t len;
		bool kill;
	} cases[] = {
		{ FUSE_OPEN, &open_kill, sizeof(open_kill), true },
		{ FUSE_OPEN, &open_not, sizeof(open_not), false },
		{ FUSE_OPEN, &open_kill, 4, false },
		{ FUSE_CREATE, &create_kill, sizeof(create_kill), true },
		{ FUSE_SETATTR, &attr_kill, sizeof(attr_kill), true },
		{ FUSE_SETATTR, &attr_not, sizeof(attr_not), false },
		{ FUSE_WRITE, &write_kill, sizeof(write_kill), true },
		{ FUSE_WRITE, &write_not, sizeof(write_not), false },
		{ FUSE_WRITE, &write_kill, sizeof(write_kill) - 8, false },
		{ FUSE_LOOKUP, "name", 5, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t n = make(cases[i].opcode, cases[i].arg, cases[i].len, NULL, 0);

		ck_assert_uint_eq(raw_request(-1, &request, n, &answers, &asked), n);
		ck_assert_msg(raw_current()->kill == cases[i].kill, "case %zu", i);
		ck_assert_uint_eq(raw_current()->request, 77);
		ck_assert_uint_eq(raw_current()->opcode, cases[i].opcode);
	}
}
END_TEST

static void offer(uint32_t flags, uint32_t flags2)
{
	const struct fuse_init_in init = { .major = 7, .minor = 45, .flags = flags, .flags2 = flags2 };
	size_t n = make(FUSE_INIT, &init, sizeof(init), NULL, 0);

	ck_assert_uint_eq(raw_request(-1, &request, n, &answers, &asked), n);
}

START_TEST(setxattr_is_as_libfuse_knows_it)
{
	const struct fuse_setxattr_in x = { .size = 5, .flags = 1, .setxattr_flags = FUSE_SETXATTR_ACL_KILL_SGID };
	const char rest[] = "user.a\0value";
	size_t n, left;

	offer(FUSE_SETXATTR_EXT, 0);
	n = make(FUSE_SETXATTR, &x, sizeof(x), rest, sizeof(rest) - 1);
	left = raw_request(-1, &request, n, &answers, &asked);
	ck_assert_uint_eq(left, n - 8);
	ck_assert_uint_eq(request.in.len, n - 8);
	ck_assert_mem_eq((char *)(&request.in + 1), &x, 8);
	ck_assert_mem_eq((char *)(&request.in + 1) + 8, rest, sizeof(rest) - 1);
	ck_assert(raw_current()->kill_sgid);
	/* a kernel that has not offered it sends the short one */
	offer(0, 0);
	n = make(FUSE_SETXATTR, &x, 8, rest, sizeof(rest) - 1);
	ck_assert_uint_eq(raw_request(-1, &request, n, &answers, &asked), n);
	ck_assert_mem_eq((char *)(&request.in + 1) + 8, rest, sizeof(rest) - 1);
	ck_assert(!raw_current()->kill_sgid);
}
END_TEST

START_TEST(a_read_only_mount_is_left_alone)
{
	size_t n = make_statx();

	ck_assert_uint_eq(raw_request(-1, &request, n, NULL, NULL), n);
	ck_assert_uint_eq(raw_request(-1, &request, 7, &answers, &asked), 7);
}
END_TEST

/* --- what is answered ----------------------------------------------------------------------------------- */

START_TEST(files_without_a_name)
{
	const struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0666, .umask = 022 };
	struct {
		struct fuse_out_header out;
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} got;

	asked.error = 0;
	ck_assert_uint_eq(answer_to(make(FUSE_TMPFILE, &in, sizeof(in), "", 1), &got, sizeof(got)), sizeof(got));
	ck_assert_uint_eq(got.out.unique, RESENT | 77);
	ck_assert_int_eq(got.out.error, 0);
	ck_assert_uint_eq(got.out.len, sizeof(got));
	ck_assert_uint_eq(asked.dir, 5);
	ck_assert_uint_eq(asked.who.uid * 1000 + asked.who.gid, 1002);
	ck_assert_uint_eq(asked.who.umask, 022);
	ck_assert_int_eq(asked.flags, O_RDWR);
	ck_assert_uint_eq(asked.mode, S_IFREG | 0666);
	ck_assert_uint_eq(got.entry.nodeid, 99);
	ck_assert_uint_eq(got.entry.generation, 4);
	ck_assert_uint_eq(got.entry.entry_valid, 1);
	ck_assert_uint_eq(got.entry.entry_valid_nsec, 500000000);
	ck_assert_uint_eq(got.entry.attr_valid, 1000000000);
	ck_assert_uint_eq(got.entry.attr.mode, S_IFREG | 0640);
	ck_assert_uint_eq(got.entry.attr.size, 12);
	ck_assert_uint_eq(got.entry.attr.mtime, 1000);
	ck_assert_uint_eq(got.entry.attr.mtimensec, 11);
	ck_assert_uint_eq(got.open.fh, 1);
	ck_assert_uint_eq(got.open.open_flags, FOPEN_KEEP_CACHE);
	ck_assert_int_eq(asked.undone, 0);
	/* an error is only a header */
	asked.error = ENOSPC;
	ck_assert_uint_eq(answer_to(make(FUSE_TMPFILE, &in, sizeof(in), "", 1), &got, sizeof(got)), sizeof(got.out));
	ck_assert_int_eq(got.out.error, -ENOSPC);
	ck_assert_int_eq(asked.undone, 0);
	/* nobody is there to take it */
	asked.error = 0;
	ck_assert_uint_eq(raw_request(-1, &request, make(FUSE_TMPFILE, &in, sizeof(in), "", 1), &answers, &asked), 0);
	ck_assert_int_eq(asked.undone, 1);
	ck_assert_uint_eq(asked.ino, 99);
	/* cut off: libfuse says what it thinks of it */
	ck_assert_uint_gt(raw_request(-1, &request, make(FUSE_TMPFILE, &in, 8, NULL, 0), &answers, &asked), 0);
}
END_TEST

START_TEST(birth_times_and_syncs)
{
	struct {
		struct fuse_out_header out;
		struct statx_out sx;
	} got;

	asked.error = 0;
	ck_assert_uint_eq(answer_to(make_statx(), &got, sizeof(got)), sizeof(got));
	ck_assert_uint_eq(asked.ino, 5);
	ck_assert_uint_eq(got.sx.mask, STATX_BASIC_STATS | STATX_BTIME);
	ck_assert_int_eq(got.sx.btime.sec, -5);
	ck_assert_uint_eq(got.sx.btime.nsec, 6);
	ck_assert_uint_eq(got.sx.size, 1ULL << 40);
	ck_assert_uint_eq(got.sx.nlink, 2);
	ck_assert_uint_eq(got.sx.mode, S_IFREG | 0600);
	ck_assert_uint_eq(got.sx.rdev_minor, 9);
	ck_assert_uint_eq(got.sx.attr_valid, 3);
	asked.error = ESTALE;
	ck_assert_uint_eq(answer_to(make_statx(), &got, sizeof(got)),
			  sizeof(got.out));
	ck_assert_int_eq(got.out.error, -ESTALE);
	ck_assert_uint_eq(answer_to(make(FUSE_SYNCFS, "1234567", 8, NULL, 0), &got, sizeof(got)), sizeof(got.out));
	ck_assert_int_eq(got.out.error, 0);
	ck_assert_int_eq(asked.synced, 1);
}
END_TEST

/* --- what is added ---------------------------------------------------------------------------------------- */

static struct fuse_init_out init_answer(uint32_t flags, uint32_t flags2)
{
	struct fuse_init_out out = { .major = 7, .minor = 38, .flags = FUSE_ASYNC_READ }, got;
	struct fuse_out_header head = { .unique = 1 };
	struct iovec iov[] = { { &head, sizeof(head) }, { &out, sizeof(out) } };

	offer(flags, flags2);
	raw_reply(iov, 2);
	ck_assert_uint_eq(out.flags, FUSE_ASYNC_READ);
	memcpy(&got, iov[1].iov_base, sizeof(got));
	ck_assert_uint_eq(got.minor, 38);
	return got;
}

START_TEST(only_what_was_offered_is_taken)
{
	struct fuse_init_out got = init_answer(FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT, FLAG2_HAS_RESEND | 1);
	struct iovec none = { &got, sizeof(got) };

	ck_assert_uint_eq(got.flags, FUSE_ASYNC_READ | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT);
	ck_assert_uint_eq(got.flags2, FLAG2_HAS_RESEND);
	got = init_answer(FUSE_SETXATTR_EXT, ~0u);
	ck_assert_uint_eq(got.flags, FUSE_ASYNC_READ | FUSE_SETXATTR_EXT);
	ck_assert_uint_eq(got.flags2, 0);
	/* other answers stay as they are */
	raw_request(-1, &request, make(FUSE_LOOKUP, "a", 2, NULL, 0), &answers, &asked);
	raw_reply(&none, 1);
	ck_assert_ptr_eq(none.iov_base, &got);
}
END_TEST

static size_t put_entry(char *buf, size_t at, const char *name, uint64_t ino)
{
	struct fuse_direntplus *d = (struct fuse_direntplus *)(buf + at);

	d->entry_out.nodeid = ino;
	d->dirent.namelen = (uint32_t)strlen(name);
	memcpy(buf + at + FUSE_NAME_OFFSET_DIRENTPLUS, name, strlen(name));
	return at + FUSE_DIRENTPLUS_SIZE(d);
}

START_TEST(entries_that_count)
{
	static const char *const names[] = { ".", "..", "a", "...", ".b", "lost", "a longer name, 25 bytes.." };
	static _Alignas(8) char buf[4096];
	uint64_t *ino, sum = 0;
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		len = put_entry(buf, len, names[i], strcmp(names[i], "lost") ? 1u << i : 0);
	for (size_t at = 0; (ino = raw_next_entry(buf, len, &at));) {
		sum += *ino;
		if (*ino == 8)
			*ino = 0;
	}
	ck_assert_uint_eq(sum, 4 + 8 + 16 + 64);
	sum = 0;
	for (size_t at = 0; (ino = raw_next_entry(buf, len, &at));)
		sum += *ino;
	ck_assert_uint_eq(sum, 4 + 16 + 64);
	for (size_t at = 0; raw_next_entry(buf, 0, &at);)
		ck_abort();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("raw");

	tap_test(s, flags_that_kill_are_seen);
	tap_test(s, setxattr_is_as_libfuse_knows_it);
	tap_test(s, a_read_only_mount_is_left_alone);
	tap_test(s, files_without_a_name);
	tap_test(s, birth_times_and_syncs);
	tap_test(s, only_what_was_offered_is_taken);
	tap_test(s, entries_that_count);
	return s;
}
TAP_MAIN(suite)
