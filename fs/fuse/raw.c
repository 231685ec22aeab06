/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol beneath libfuse.
 *
 * libfuse 3.14, which Debian 12 has, speaks version 7.38 of the protocol and drops what it does not use. A writable
 * mount cannot do without some of it:
 *
 *   INIT       HANDLE_KILLPRIV_V2: without it each write(2) asks for security.capability first. SETXATTR_EXT: a file
 *              loses setgid by an ACL of who is not in its group, and only the kernel knows that. Bits that the kernel
 *              has offered are added to the answer.
 *   WRITE, OPEN, CREATE, SETATTR   a flag each that says that setuid, setgid and capabilities go
 *   SETXATTR   is 8 bytes longer with SETXATTR_EXT: they are taken out before libfuse sees them
 *   TMPFILE, STATX (birth times), SYNCFS   libfuse would say ENOSYS, for the whole mount
 *   all        the request's id, which goes into the log
 *
 * A request is read, answered and replied to by one thread, so what was found in it is that thread's. Structures and
 * constants are those of linux/fuse.h; what is newer than 7.38 is written down here.
 *
 * The kernel is trusted, as everywhere behind /dev/fuse; lengths are checked all the same, and what is too short is
 * left to libfuse.
 */
#include "raw.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/util.h"

#define RESENT (1ULL << 63)        /* of an id: the kernel sends it again */

/* INIT, of the upper 32 bits */
#define FLAG2_DIRECT_IO_ALLOW_MMAP (1u << 4)
#define FLAG2_HAS_RESEND           (1u << 7)

#define WANTED  ((uint32_t)FUSE_HANDLE_KILLPRIV_V2 | (uint32_t)FUSE_SETXATTR_EXT)
#define WANTED2 (FLAG2_DIRECT_IO_ALLOW_MMAP | FLAG2_HAS_RESEND)

#define OP_STATX 52

struct sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t zero;
};

struct statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t zero[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, zero2;
	uint64_t ino, size, blocks, attributes_mask;
	struct sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t zero3[14];
};
_Static_assert(sizeof(struct statx_out) == 32 + 256, "statx_out");

/* Offered by the kernel. Set by the first request, before other threads are there. */
static uint32_t offered, offered2;

static _Thread_local struct raw current;
static _Thread_local struct fuse_init_out init_out;

const struct raw *raw_current(void)
{
	return &current;
}

/* --- what requests say ---------------------------------------------------------------------- */

/* 8 bytes less: what libfuse expects. */
static size_t shorten_setxattr(struct fuse_in_header *in, size_t n)
{
	struct fuse_setxattr_in *x = (struct fuse_setxattr_in *)(in + 1);
	char *rest = (char *)(x + 1);
	const size_t more = sizeof(*x) - FUSE_COMPAT_SETXATTR_IN_SIZE;

	current.kill_sgid = x->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	memmove(rest - more, rest, n - (size_t)(rest - (char *)in));
	in->len -= (uint32_t)more;
	return n - more;
}

static size_t note(struct fuse_in_header *in, size_t n)
{
	const void *arg = in + 1;
	size_t len = n - sizeof(*in);

	switch (in->opcode) {
	case FUSE_INIT:
		if (len >= offsetof(struct fuse_init_in, unused)) {
			const struct fuse_init_in *init = arg;

			offered = init->flags;
			offered2 = init->flags & FUSE_INIT_EXT ? init->flags2 : 0;
		}
		break;
	case FUSE_OPEN:
		current.kill = len >= sizeof(struct fuse_open_in) &&
			       ((const struct fuse_open_in *)arg)->open_flags & FUSE_OPEN_KILL_SUIDGID;
		break;
	case FUSE_CREATE:
		current.kill = len >= sizeof(struct fuse_create_in) &&
			       ((const struct fuse_create_in *)arg)->open_flags & FUSE_OPEN_KILL_SUIDGID;
		break;
	case FUSE_SETATTR:
		current.kill = len >= sizeof(struct fuse_setattr_in) &&
			       ((const struct fuse_setattr_in *)arg)->valid & FATTR_KILL_SUIDGID;
		break;
	case FUSE_WRITE:
		current.kill = len >= sizeof(struct fuse_write_in) &&
			       ((const struct fuse_write_in *)arg)->write_flags & FUSE_WRITE_KILL_SUIDGID;
		break;
	case FUSE_SETXATTR:
		if (offered & FUSE_SETXATTR_EXT && len >= sizeof(struct fuse_setxattr_in))
			return shorten_setxattr(in, n);
		break;
	}
	return n;
}

/* --- what libfuse does not know ---------------------------------------------------------------- */

/* False: nobody waits for it any more. */
static bool reply(int fd, uint64_t unique, int error, const void *body, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + (error ? 0 : len)), .error = -error, .unique = unique
	};
	struct iovec iov[] = { { &out, sizeof(out) }, { (void *)body, error ? 0 : len } };

	return writev(fd, iov, 2) >= 0;
}

/* Seconds to what the kernel takes. */
static void fill_timeout(double timeout, uint64_t *ret_sec, uint32_t *ret_nsec)
{
	*ret_sec = (uint64_t)timeout;
	*ret_nsec = (uint32_t)((timeout - (double)*ret_sec) * 1e9);
}

static void fill_attr(const struct stat *st, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.blksize = (uint32_t)st->st_blksize,
	};
}

static void answer_tmpfile(int fd, const struct fuse_in_header *in, const struct raw_answers *a, void *ctx)
{
	const struct fuse_create_in *arg = (const struct fuse_create_in *)(in + 1);
	const struct fuse_ctx who = {
		.uid = in->uid, .gid = in->gid, .pid = (pid_t)in->pid, .umask = arg->umask
	};
	struct fuse_file_info fi = { .flags = (int)arg->flags };
	struct fuse_entry_param e;
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = { 0 };
	int error = a->tmpfile(ctx, &who, in->nodeid, arg->mode, &fi, &e);

	if (!error) {
		out.entry.nodeid = e.ino;
		out.entry.generation = e.generation;
		fill_timeout(e.entry_timeout, &out.entry.entry_valid, &out.entry.entry_valid_nsec);
		fill_timeout(e.attr_timeout, &out.entry.attr_valid, &out.entry.attr_valid_nsec);
		fill_attr(&e.attr, &out.entry.attr);
		out.open.fh = fi.fh;
		out.open.open_flags = (fi.keep_cache ? FOPEN_KEEP_CACHE : 0) | (fi.direct_io ? FOPEN_DIRECT_IO : 0);
	}
	if (!reply(fd, in->unique, error, &out, sizeof(out)) && !error)
		a->tmpfile_undo(ctx, e.ino);
}

static struct sx_time sx_time(const struct statx_timestamp *t)
{
	return (struct sx_time){ .sec = t->tv_sec, .nsec = t->tv_nsec };
}

static void answer_statx(int fd, const struct fuse_in_header *in, const struct raw_answers *a, void *ctx)
{
	struct statx_out out = { 0 };
	struct statx sx = { 0 };
	double timeout = 0;
	int error = a->statx(ctx, in->nodeid, &sx, &timeout);

	if (!error) {
		fill_timeout(timeout, &out.attr_valid, &out.attr_valid_nsec);
		out.mask = sx.stx_mask;
		out.blksize = sx.stx_blksize;
		out.attributes = sx.stx_attributes;
		out.attributes_mask = sx.stx_attributes_mask;
		out.nlink = sx.stx_nlink;
		out.uid = sx.stx_uid;
		out.gid = sx.stx_gid;
		out.mode = sx.stx_mode;
		out.ino = sx.stx_ino;
		out.size = sx.stx_size;
		out.blocks = sx.stx_blocks;
		out.atime = sx_time(&sx.stx_atime);
		out.btime = sx_time(&sx.stx_btime);
		out.ctime = sx_time(&sx.stx_ctime);
		out.mtime = sx_time(&sx.stx_mtime);
		out.rdev_major = sx.stx_rdev_major;
		out.rdev_minor = sx.stx_rdev_minor;
	}
	reply(fd, in->unique, error, &out, sizeof(out));
}

static bool answered(int fd, const struct fuse_in_header *in, size_t n, const struct raw_answers *a, void *ctx)
{
	if (!RAW_LIBFUSE_KNOWS && in->opcode == FUSE_TMPFILE && n >= sizeof(*in) + sizeof(struct fuse_create_in))
		answer_tmpfile(fd, in, a, ctx);
	else if (!RAW_LIBFUSE_KNOWS && in->opcode == OP_STATX)
		answer_statx(fd, in, a, ctx);
	else if (in->opcode == FUSE_SYNCFS)
		reply(fd, in->unique, a->syncfs(ctx), NULL, 0);
	else
		return false;
	return true;
}

size_t raw_request(int fd, void *buf, size_t n, const struct raw_answers *answers, void *ctx)
{
	struct fuse_in_header *in = buf;

	if (!answers || n < sizeof(*in))
		return n;
	current = (struct raw){ .request = in->unique & ~RESENT, .opcode = in->opcode };
	return answered(fd, in, n, answers, ctx) ? 0 : note(in, n);
}

/* --- what answers say ------------------------------------------------------------------------- */

void raw_reply(struct iovec *iov, int count)
{
	if (current.opcode != FUSE_INIT || count != 2 || iov[1].iov_len != sizeof(init_out))
		return;
	memcpy(&init_out, iov[1].iov_base, sizeof(init_out));
	init_out.flags |= offered & WANTED;
	if (offered2) {
		init_out.flags |= FUSE_INIT_EXT;
		init_out.flags2 |= offered2 & WANTED2;
	}
	iov[1].iov_base = &init_out;
}

uint64_t *raw_next_entry(void *buf, size_t len, size_t *at)
{
	while (*at + FUSE_NAME_OFFSET_DIRENTPLUS < len) {
		struct fuse_direntplus *d = (struct fuse_direntplus *)((char *)buf + *at);
		const char *name = d->dirent.name;
		bool dots = name[0] == '.' && (d->dirent.namelen == 1 || (d->dirent.namelen == 2 && name[1] == '.'));

		*at += FUSE_DIRENTPLUS_SIZE(d);
		if (d->entry_out.nodeid && !dots)
			return &d->entry_out.nodeid;
	}
	return NULL;
}
