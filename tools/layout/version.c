/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"

#define PIECE ((size_t)1 << 20)
#define LIST_MAX 65536u            /* Linux: XATTR_LIST_MAX */

void version_done(struct version *v)
{
	buf_done(&v->text);
}

/* --- extended attributes ------------------------------------------------------------------ */

/* Labels that the kernel gives say nothing of what a file is. */
static bool counts(const char *name, size_t len)
{
	static const char security[] = "security.", capability[] = "security.capability";

	if (len < sizeof(security) - 1 || memcmp(name, security, sizeof(security) - 1) != 0)
		return true;
	return len == sizeof(capability) - 1 && !memcmp(name, capability, len);
}

struct hashing {
	struct sha256 *sha;
	const struct idmap *ids;
	bool lost;                 /* the owner: no capability */
	uint8_t *value;
	uint32_t n;
};

static void hash_one(struct hashing *h, const char *name, size_t name_len, const void *value, size_t len)
{
	le32 lens[2] = { le32_put((uint32_t)name_len), le32_put((uint32_t)len) };

	sha256_add(h->sha, lens, sizeof(lens));
	sha256_add(h->sha, name, name_len);
	sha256_add(h->sha, value, len);
	h->n++;
}

static int hash_of_view(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	char name[PLY_XATTR_NAME_MAX + 1];
	struct hashing *h = ctx;
	size_t len = x->value_len;
	bool other;

	(void)err;
	if (!counts(x->name, x->name_len))
		return 0;
	memcpy(name, x->name, x->name_len);
	name[x->name_len] = '\0';
	if (h->lost && !strcmp(name, "security.capability"))
		return 0;
	other = h->ids && idmap_xattr(h->ids, name, x->value, x->value_len, h->value, &len) > 0;
	if (len || !x->value_len)
		hash_one(h, x->name, x->name_len, other ? h->value : x->value, len);
	return 0;
}

static int xattrs_of_view(struct version *v, const struct view_file *f, const struct idmap *ids, bool lost,
			  struct ply_err *err)
{
	struct hashing h = { .sha = sha256_new(), .ids = ids, .lost = lost, .value = malloc(PLY_XATTR_VALUE_MAX) };
	int r = h.sha && h.value ? 0 : ply_fail_nomem(err);

	if (r == 0)
		r = view_file_xattrs(v->view, f, hash_of_view, &h, err);
	if (r == 0 && h.n) {
		sha256_end(h.sha, v->xattrs);
		v->c.xattrs_digest = v->xattrs;
	}
	sha256_free(h.sha);
	free(h.value);
	return r;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* No call takes a directory and a name without following a symlink. */
static void proc_path(const struct version *v, char out[64 + PLY_NAME_MAX])
{
	snprintf(out, 64 + PLY_NAME_MAX, "/proc/self/fd/%d/%s", v->dir, v->name);
}

static int xattrs_of_target(struct version *v)
{
	struct hashing h = { .sha = sha256_new(), .value = malloc(PLY_XATTR_VALUE_MAX) };
	_cleanup_free_ char *list = malloc(LIST_MAX);
	_cleanup_free_ char **names = NULL;
	char path[64 + PLY_NAME_MAX];
	size_t n = 0, cap = 0;
	ssize_t len = 0;
	int r = h.sha && h.value && list ? 0 : -ENOMEM;

	proc_path(v, path);
	if (r == 0) {
		len = llistxattr(path, list, LIST_MAX);
		r = len < 0 && errno != EOPNOTSUPP ? -errno : 0;
	}
	for (char *at = list; r == 0 && len > 0 && at < list + len; at += strlen(at) + 1) {
		if (!counts(at, strlen(at)))
			continue;
		r = array_grow(&names, &cap, n + 1, sizeof(*names));
		if (r == 0)
			names[n++] = at;
	}
	if (n)
		qsort(names, n, sizeof(*names), by_text);
	for (size_t i = 0; r == 0 && i < n; i++) {
		ssize_t size = lgetxattr(path, names[i], h.value, PLY_XATTR_VALUE_MAX);

		if (size < 0)
			r = -errno;
		else
			hash_one(&h, names[i], strlen(names[i]), h.value, (size_t)size);
	}
	if (r == 0 && h.n) {
		sha256_end(h.sha, v->xattrs);
		v->c.xattrs_digest = v->xattrs;
	}
	sha256_free(h.sha);
	free(h.value);
	return r;
}

/* --- what is there -------------------------------------------------------------------------- */

int version_of_view(struct ply_view *view, uint64_t ino, const struct idmap *ids, struct version *ret,
		    struct ply_err *err)
{
	struct view_file f;
	struct ply_attr a;
	bool lost = false;
	int r = view_file(view, ino, &f, err);

	*ret = (struct version){ .there = true, .view = view, .ino = ino, .dir = -1 };
	if (r == 0)
		r = ply_view_attr(view, ino, &a, err);
	if (r < 0)
		return r;
	ret->c = (struct contender){ .mode = a.mode, .uid = a.uid, .gid = a.gid, .size = S_ISDIR(a.mode) ? 0 : a.size,
				     .rdev = (uint64_t)a.rdev_major << 32 | a.rdev_minor, .mtime_sec = a.mtime_sec,
				     .mtime_nsec = a.mtime_nsec, .nlink = S_ISDIR(a.mode) ? 1 : a.nlink };
	if (ids) {
		ret->c.uid = idmap_id(ids, ID_USER, a.uid);
		ret->c.gid = idmap_id(ids, ID_GROUP, a.gid);
		lost = idmap_is_lost(ids, ID_USER, a.uid) || idmap_is_lost(ids, ID_GROUP, a.gid);
	}
	if (lost)
		ret->c.mode &= ~(uint32_t)(S_ISUID | S_ISGID);
	return f.node.xattrs ? xattrs_of_view(ret, &f, ids, lost, err) : 0;
}

int version_of_target(int dir, const char *name, struct version *ret)
{
	struct stat st;

	*ret = (struct version){ .dir = dir, .name = name };
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	ret->there = true;
	ret->st = st;
	ret->c = (struct contender){ .mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid,
				     .size = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) ? (uint64_t)st.st_size : 0,
				     .rdev = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ?
					     (uint64_t)major(st.st_rdev) << 32 | minor(st.st_rdev) : 0,
				     .mtime_sec = st.st_mtim.tv_sec, .mtime_nsec = (uint32_t)st.st_mtim.tv_nsec,
				     .nlink = S_ISDIR(st.st_mode) ? 1 : st.st_nlink };
	return xattrs_of_target(ret);
}

bool version_is_still(const struct version *v)
{
	struct stat st;

	if (fstatat(v->dir, v->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return !v->there && errno == ENOENT;
	if (!v->there || st.st_ino != v->st.st_ino || st.st_dev != v->st.st_dev)
		return false;
	return S_ISDIR(st.st_mode) || (st.st_size == v->st.st_size && st.st_ctim.tv_sec == v->st.st_ctim.tv_sec &&
				       st.st_ctim.tv_nsec == v->st.st_ctim.tv_nsec);
}

uint64_t version_mount(int dir, const char *name)
{
	struct statx sx;

	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0)
		return 0;
	return sx.stx_mask & STATX_MNT_ID ? sx.stx_mnt_id : (uint64_t)sx.stx_dev_major << 32 | sx.stx_dev_minor;
}

int version_find(struct ply_view *view, uint64_t dir, const char *name, size_t len, uint64_t *ret, struct ply_err *err)
{
	int r = dir ? ply_view_lookup(view, dir, name, len, ret, err) : -ENOENT;

	if (r != -ENOENT && r != -ENOTDIR)
		return r;
	*ret = 0;
	return 0;
}

/* --- content --------------------------------------------------------------------------------- */

struct reading {
	const struct version *v;
	int fd;                    /* of a target's file */
};

static ssize_t read_some(const struct reading *r, uint64_t off, size_t len, void *out, struct ply_err *err)
{
	ssize_t n;

	if (r->v->view)
		return ply_view_read(r->v->view, r->v->ino, off, len, out, err);
	n = pread(r->fd, out, len, (off_t)off);
	return n < 0 ? ply_fail_sys(err, -errno, "cannot read") : n;
}

static int load_text(struct version *v, const struct reading *r, struct ply_err *err)
{
	if (buf_reserve(&v->text, v->c.size + 1) < 0)
		return ply_fail_nomem(err);
	while (v->text.len < v->c.size) {
		ssize_t n = read_some(r, v->text.len, v->c.size - v->text.len, v->text.data + v->text.len, err);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;     /* it became shorter; what it is then is seen when it is exchanged */
		v->text.len += (size_t)n;
	}
	v->text.data[v->text.len] = 0;
	return 0;
}

static int hash_large(struct version *v, const struct reading *r, struct ply_err *err)
{
	_cleanup_free_ uint8_t *piece = malloc(PIECE);
	struct sha256 *sha = sha256_new();
	uint64_t off = 0;
	ssize_t n = 1;

	if (!piece || !sha) {
		sha256_free(sha);
		return ply_fail_nomem(err);
	}
	while (n > 0 && off < v->c.size) {
		n = read_some(r, off, PIECE, piece, err);
		if (n > 0)
			sha256_add(sha, piece, (size_t)n);
		off += (uint64_t)MAX(n, 0);
	}
	sha256_end(sha, v->c.digest);
	sha256_free(sha);
	return n < 0 ? (int)n : 0;
}

static int load_link(struct version *v, struct ply_err *err)
{
	char target[PLY_SYMLINK_MAX + 1];
	const char *from = target;
	size_t len = 0;
	ssize_t n;
	int r = 0;

	if (v->view) {
		r = ply_view_readlink(v->view, v->ino, &from, &len, err);
	} else {
		n = readlinkat(v->dir, v->name, target, sizeof(target));
		r = n < 0 ? ply_fail_sys(err, -errno, "cannot read the symlink") : 0;
		len = (size_t)MAX(n, 0);
	}
	if (r == 0 && buf_add(&v->text, from, len) < 0)
		r = ply_fail_nomem(err);
	return r;
}

/* Numbers of users and groups in it become the target's. */
static int map_ids(struct version *v, const char *path, const struct idmap *ids, struct ply_err *err)
{
	struct buf mapped = { 0 };

	if (!v->view || !ids || !idmap_has_ids(path + 1))
		return 0;
	if (idmap_text(ids, path + 1, v->text.data, v->text.len, &mapped) < 0 || buf_reserve(&mapped, 1) < 0) {
		buf_done(&mapped);
		return ply_fail_nomem(err);
	}
	buf_done(&v->text);
	v->text = mapped;
	v->c.size = mapped.len;
	return 0;
}

/* 1: of records. The view would keep what is read of it, and it is read but once. */
static int is_shared(const struct version *v, struct ply_err *err)
{
	struct view_file f;
	int r = v->view ? view_file(v->view, v->ino, &f, err) : 0;

	return r < 0 || !v->view ? r : f.rendered && !f.merged;
}

static int load_regular(struct version *v, const char *path, const struct idmap *ids, struct ply_err *err)
{
	struct reading rd = { .v = v, .fd = -1 };
	_cleanup_close_ int fd = -1;
	int r;

	if (!v->view) {
		fd = openat(v->dir, v->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			return ply_fail_sys(err, -errno, "cannot open");
		rd.fd = fd;
	}
	if (v->c.size > MERGE_FILE_MAX)
		return hash_large(v, &rd, err);
	r = is_shared(v, err);
	if (r >= 0)
		r = r > 0 ? view_render(v->view, v->ino, &v->text, err) : load_text(v, &rd, err);
	if (r == 0)
		r = map_ids(v, path, ids, err);
	return r;
}

/* The text is there: what else is known by it. */
static int know_text(struct version *v)
{
	if (buf_reserve(&v->text, 1) < 0 || sha256_once(v->text.data, v->text.len, v->c.digest) < 0)
		return -ENOMEM;
	v->text.data[v->text.len] = 0;
	v->c.loaded = true;
	v->c.text = v->text.data;
	v->c.len = v->text.len;
	return 0;
}

int version_load(struct version *v, const char *path, const struct idmap *ids, struct ply_err *err)
{
	int r;

	if (!v->there || v->c.loaded || (!S_ISREG(v->c.mode) && !S_ISLNK(v->c.mode)))
		return 0;
	r = S_ISLNK(v->c.mode) ? load_link(v, err) : load_regular(v, path, ids, err);
	if (r < 0 || (S_ISREG(v->c.mode) && v->c.size > MERGE_FILE_MAX))
		return r;
	return know_text(v) < 0 ? ply_fail_nomem(err) : 0;
}

int version_set_text(struct version *v, struct buf *text)
{
	buf_done(&v->text);
	v->text = *text;
	*text = (struct buf){ 0 };
	v->c.size = v->text.len;
	return know_text(v);
}

int version_read(struct ply_view *view, const char *path, struct buf *out, struct ply_err *err)
{
	struct ply_attr a;
	uint64_t ino;
	ssize_t n;
	int r = ply_view_resolve(view, path, true, &ino, err);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r == 0)
		r = ply_view_attr(view, ino, &a, err);
	if (r < 0 || !S_ISREG(a.mode))
		return r;
	if (a.size > MERGE_FILE_MAX)
		return ply_fail(err, -EFBIG, PLY_R_LIMIT, "%s: is too large to be read as a whole", path);
	if (buf_reserve(out, a.size + 1) < 0)
		return ply_fail_nomem(err);
	n = ply_view_read(view, ino, 0, a.size, out->data + out->len, err);
	out->len += (size_t)MAX(n, 0);
	out->data[out->len] = '\0';
	return (int)MIN(n, 0);
}

bool version_same_content(const struct version *a, const struct version *b)
{
	if ((a->c.mode & S_IFMT) != (b->c.mode & S_IFMT))
		return false;
	switch (a->c.mode & S_IFMT) {
	case S_IFREG:
	case S_IFLNK:
		return a->c.size == b->c.size && !memcmp(a->c.digest, b->c.digest, sizeof(a->c.digest));
	case S_IFCHR:
	case S_IFBLK:
		return a->c.rdev == b->c.rdev;
	}
	return true;
}

/* 0: it may be the same bytes for all that. */
static int same_source(const struct version *a, const struct version *b, struct ply_err *err)
{
	struct view_file x, y;
	int r = view_file(a->view, a->ino, &x, err);

	if (r == 0)
		r = view_file(b->view, b->ino, &y, err);
	if (r < 0 || x.merged || y.merged || x.rendered != y.rendered)
		return r;
	if (x.rendered)
		return view_same_records(a->view, a->ino, b->view, b->ino, err);
	return x.sub == y.sub && x.node.kind == y.node.kind && x.node.data == y.node.data && x.node.ndata == y.node.ndata;
}

int version_compare(struct version *a, struct version *b, const char *path, struct ply_err *err)
{
	int r;

	if ((a->c.mode & S_IFMT) != (b->c.mode & S_IFMT) || (S_ISREG(a->c.mode) && a->c.size != b->c.size))
		return 0;
	r = S_ISREG(a->c.mode) ? same_source(a, b, err) : 0;
	if (r != 0)
		return r;
	r = version_load(a, path, NULL, err);
	if (r == 0)
		r = version_load(b, path, NULL, err);
	return r == 0 ? version_same_content(a, b) : r;
}

bool version_same_xattrs(const struct version *a, const struct version *b)
{
	return !memcmp(a->xattrs, b->xattrs, sizeof(a->xattrs));
}
