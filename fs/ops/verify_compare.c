/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See verify_compare.h. A file is opened by its name in a directory that is already open, never
 * through a symlink; xattrs of any type of file are read by the name below /proc/self/fd, of which
 * only the last component is the file's, and is not followed.
 *
 * Thread-safe: it touches only its arguments.
 */
#include "ops/verify_compare.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/holes.h"
#include "base/util.h"
#include "plyfs/disk.h"

#define BUFFER (COMPARE_BUFFER / 2)

void compare_differs(struct findings *l, const char *path, const char *field, const char *expected,
		     const char *found)
{
	struct held *h;
	char *full;

	if (!strcmp(field, "presence"))
		h = findings_add(l, PLY_R_DIFFERENT, NULL, 0, 0, "%s",
				 expected ? "missing in the tree" : "only in the tree");
	else
		h = findings_add(l, PLY_R_DIFFERENT, NULL, 0, 0, "%s: %s expected, %s found", field,
				 expected ? expected : "none", found ? found : "none");

	if (!h)
		return;
	held_path(h, asprintf(&full, "/%s", path) < 0 ? NULL : full);
	h->field = strdup(field);
	h->expected = expected ? strdup(expected) : NULL;
	h->found = found ? strdup(found) : NULL;
	if (!h->npaths || !h->field || (expected && !h->expected) || (found && !h->found))
		l->failed = true;
}

static void with_path(struct held *h, const char *path)
{
	char *full;

	if (h)
		held_path(h, asprintf(&full, "/%s", path) < 0 ? NULL : full);
}

void compare_failed(struct findings *l, const char *path, const char *what, int error)
{
	with_path(findings_add(l, PLY_R_SYSTEM, NULL, 0, 0, "cannot %s the file in the tree: %s", what,
			       strerror(-error)), path);
}

void compare_damaged(struct findings *l, const char *path, const struct ply_err *e)
{
	with_path(findings_add(l, e->reason, NULL, 0, 0, "%s", e->msg), path);
}

const char *compare_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "regular file";
	case S_IFDIR: return "directory";
	case S_IFLNK: return "symlink";
	case S_IFCHR: return "character device";
	case S_IFBLK: return "block device";
	case S_IFIFO: return "FIFO";
	case S_IFSOCK: return "socket";
	}
	return "unknown type";
}

static void compare_target(struct ply_view *view, int dirfd, const struct compare_file *f,
			   struct findings *l)
{
	char found[PLY_SYMLINK_MAX + 2];
	const char *target;
	struct ply_err e;
	size_t len;
	ssize_t n;

	if (ply_view_readlink(view, f->ino, &target, &len, &e) < 0) {
		compare_damaged(l, f->path, &e);
		return;
	}
	n = readlinkat(dirfd, f->name, found, sizeof(found) - 1);
	if (n < 0) {
		compare_failed(l, f->path, "read", -errno);
	} else if ((size_t)n != len || memcmp(found, target, len) != 0) {
		_cleanup_free_ char *a = escape_name(target, len), *b = escape_name(found, (size_t)n);

		compare_differs(l, f->path, "target", a ? a : "?", b ? b : "?");
	}
}

/* --- xattrs ------------------------------------------------------------------------------ */

/* For people: hex, cut. */
static char *show_value(const void *value, size_t len)
{
	char hex[2 * 24 + 1], *text;

	hex_encode(value, MIN(len, (size_t)24), hex);
	return asprintf(&text, "0x%s%s, length %zu", hex, len > 24 ? "..." : "", len) < 0 ? NULL : text;
}

struct xattr_check {
	struct ply_view *view;
	const struct compare_file *f;
	struct findings *l;
	const char *place;         /* "/proc/self/fd/N/NAME" */
	char *names;               /* of the tree, each with its NUL; one that was compared is emptied */
	size_t names_len;
	uint8_t *value;            /* PLY_XATTR_VALUE_MAX */
};

/* trusted.* is there for root only. */
static bool is_hidden(const char *name)
{
	return geteuid() != 0 && !strncmp(name, "trusted.", 8);
}

static void differs(struct xattr_check *c, const char *name, const struct ply_xattr *expected,
		    ssize_t found_len)
{
	_cleanup_free_ char *shown = escape_name(name, strlen(name)), *field = NULL;
	_cleanup_free_ char *e = expected ? show_value(expected->value, expected->value_len) : NULL;
	_cleanup_free_ char *f = found_len >= 0 ? show_value(c->value, (size_t)found_len) : NULL;

	if (!shown || asprintf(&field, "xattr %s", shown) < 0) {
		c->l->failed = true;
		field = NULL;
		return;
	}
	compare_differs(c->l, c->f->path, field, e, f);
}

static int check_xattr(void *ctx, const struct ply_xattr *x)
{
	struct xattr_check *c = ctx;
	char name[PLY_XATTR_NAME_MAX + 1];
	ssize_t n;

	memcpy(name, x->name, x->name_len);
	name[x->name_len] = '\0';
	if (is_hidden(name))
		return 0;
	for (size_t at = 0; at < c->names_len; at += strlen(c->names + at) + 1)
		if (!strcmp(c->names + at, name))
			memset(c->names + at, 1, x->name_len);   /* seen: no xattr is called so */
	n = lgetxattr(c->place, name, c->value, PLY_XATTR_VALUE_MAX);
	if (n < 0 && errno != ENODATA && errno != EOPNOTSUPP)
		compare_failed(c->l, c->f->path, "read an xattr of", -errno);
	else if (n < 0 || (size_t)n != x->value_len || memcmp(c->value, x->value, x->value_len) != 0)
		differs(c, name, x, n);
	return 0;
}

/* What the tree has and the view does not. */
static void check_extra(struct xattr_check *c)
{
	for (size_t at = 0; at < c->names_len; at += strlen(c->names + at) + 1) {
		const char *name = c->names + at;
		ssize_t n;

		if (name[0] == 1)
			continue;
		n = lgetxattr(c->place, name, c->value, PLY_XATTR_VALUE_MAX);
		if (n >= 0)
			differs(c, name, NULL, n);
		else if (errno != ENODATA)
			compare_failed(c->l, c->f->path, "read an xattr of", -errno);
	}
}

static void compare_xattrs(struct ply_view *view, int dirfd, const struct compare_file *f,
			   struct findings *l, uint8_t *buf)
{
	char place[64 + NAME_MAX];
	struct xattr_check c = { .view = view, .f = f, .l = l, .place = place, .names = (char *)buf,
				 .value = buf + PLY_XATTR_SET_MAX + 1 };
	struct ply_err e;
	ssize_t n;

	snprintf(place, sizeof(place), "/proc/self/fd/%d/%s", dirfd, f->name);
	n = llistxattr(place, c.names, PLY_XATTR_SET_MAX);
	if (n < 0 && errno != EOPNOTSUPP) {
		compare_failed(l, f->path, "list the xattrs of", -errno);
		return;
	}
	c.names_len = n > 0 ? (size_t)n : 0;
	if (ply_view_xattrs(view, f->ino, check_xattr, &c, &e) < 0)
		compare_damaged(l, f->path, &e);
	else
		check_extra(&c);
}

/* --- bytes and holes ------------------------------------------------------------------------ */

struct bytes {
	struct ply_view *view;
	const struct compare_file *f;
	struct findings *l;
	int fd;
	uint8_t *expected, *found;   /* BUFFER each */
};

/* The next data at or behind @off, and its end, at 4 KiB; @size where none follows. */
static int next_data(const struct bytes *b, bool in_view, uint64_t off, uint64_t *ret, uint64_t *ret_end,
		     struct ply_err *err)
{
	uint64_t size = b->f->size, data = size, end = size;
	int r = 0;

	if (off < size && in_view) {
		r = ply_view_seek(b->view, b->f->ino, off, SEEK_DATA, &data, err);
		if (r == 0)
			r = ply_view_seek(b->view, b->f->ino, data, SEEK_HOLE, &end, err);
		else if (r == -ENXIO)
			data = size, r = 0;
	} else if (off < size) {
		off_t at = lseek(b->fd, (off_t)off, SEEK_DATA);

		if (at >= 0) {
			data = (uint64_t)at;
			at = lseek(b->fd, at, SEEK_HOLE);
			end = at >= 0 ? (uint64_t)at : size;
		} else if (errno != ENXIO) {
			data = off;        /* a file system without holes: all is data */
		}
	}
	*ret = MIN(size, MAX(off, data / PLY_PAGE * PLY_PAGE));
	*ret_end = MIN(size, align_up(end, PLY_PAGE));
	return r;
}

/* The run of data at or behind @off with those that adjoin it. */
static int next_run(const struct bytes *b, bool in_view, uint64_t off, uint64_t *ret, uint64_t *ret_end,
		    struct ply_err *err)
{
	int r = next_data(b, in_view, off, ret, ret_end, err);

	while (r == 0 && *ret_end < b->f->size) {
		uint64_t data, end;

		r = next_data(b, in_view, *ret_end, &data, &end, err);
		if (r < 0 || data != *ret_end)
			break;
		*ret_end = end;
	}
	return r;
}

/*
 * Space that is allocated and was never written is a hole to lseek(2), until it has been read: its pages are then data
 * for as long as they are cached. So a difference is looked at again without them.
 */
static int compare_holes(const struct bytes *b)
{
	bool again = true;
	uint64_t off = 0;

	while (off < b->f->size) {
		uint64_t e, e_end, f, f_end;
		struct ply_err err;
		char expected[64], found[64];

		if (next_run(b, true, off, &e, &e_end, &err) < 0) {
			compare_damaged(b->l, b->f->path, &err);
			return -EUCLEAN;
		}
		next_run(b, false, off, &f, &f_end, NULL);
		if ((e != f || e_end != f_end) && again) {
			posix_fadvise(b->fd, 0, 0, POSIX_FADV_DONTNEED);
			again = false;
			off = 0;
			continue;
		}
		if (e != f || e_end != f_end) {
			snprintf(expected, sizeof(expected), "data at %" PRIu64 " to %" PRIu64, e, e_end);
			snprintf(found, sizeof(found), "data at %" PRIu64 " to %" PRIu64, f, f_end);
			compare_differs(b->l, b->f->path, "holes", expected, found);
			return 0;
		}
		off = e_end;
	}
	return 0;
}

/* Whether the bytes at @off differ, are unreadable, or damaged: told, -1; else their number. */
static ssize_t compare_chunk(const struct bytes *b, uint64_t off, size_t len)
{
	struct ply_err err;
	ssize_t n = ply_view_read(b->view, b->f->ino, off, len, b->expected, &err);
	int r;

	if (n < 0) {
		compare_damaged(b->l, b->f->path, &err);
		return -1;
	}
	r = pread_full(b->fd, b->found, (size_t)n, off);
	if (r < 0) {
		compare_failed(b->l, b->f->path, "read", r);
		return -1;
	}
	if (memcmp(b->expected, b->found, (size_t)n) != 0) {
		char expected[48], found[48];
		size_t i = 0;

		while (b->expected[i] == b->found[i])
			i++;
		snprintf(expected, sizeof(expected), "byte 0x%02x at %" PRIu64, b->expected[i], off + i);
		snprintf(found, sizeof(found), "byte 0x%02x", b->found[i]);
		compare_differs(b->l, b->f->path, "content", expected, found);
		return -1;
	}
	return n;
}

/* Where both have holes, both have zeros. */
static uint64_t compare_bytes(const struct bytes *b)
{
	uint64_t off = 0, compared = 0;

	while (off < b->f->size) {
		uint64_t e, e_end, f, f_end, from;
		ssize_t n;

		if (next_data(b, true, off, &e, &e_end, NULL) < 0)
			e = off;
		next_data(b, false, off, &f, &f_end, NULL);
		from = MIN(e, f);
		if (from >= b->f->size)
			break;
		n = compare_chunk(b, from, (size_t)MIN(b->f->size - from, (uint64_t)BUFFER));
		if (n <= 0)
			break;
		compared += (uint64_t)n;
		off = from + (uint64_t)n;
	}
	return compared;
}

static uint64_t compare_regular(struct ply_view *view, int dirfd, const struct compare_file *f,
				struct findings *l, uint8_t *buf)
{
	struct bytes b = { .view = view, .f = f, .l = l, .fd = -1, .expected = buf, .found = buf + BUFFER };
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	uint64_t compared = 0;

	b.fd = openat(dirfd, f->name, flags | O_NOATIME);
	if (b.fd < 0 && errno == EPERM)
		b.fd = openat(dirfd, f->name, flags);
	if (b.fd < 0) {
		compare_failed(l, f->path, "open", -errno);
		return 0;
	}
	holes_settle(b.fd);
	if (compare_holes(&b) == 0)
		compared = compare_bytes(&b);
	close(b.fd);
	return compared;
}

uint64_t compare_content(struct ply_view *view, int dirfd, const struct compare_file *f,
			 uint8_t *buf, struct findings *l)
{
	compare_xattrs(view, dirfd, f, l, buf);
	if (f->content && S_ISLNK(f->mode))
		compare_target(view, dirfd, f, l);
	else if (f->content && S_ISREG(f->mode) && f->size)
		return compare_regular(view, dirfd, f, l, buf);
	return 0;
}
