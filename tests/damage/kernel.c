/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See kernel.h. libfuse is replaced by what stands here: a request is a struct on the stack, a
 * reply is written into it. So the operations run as they are in the daemon, without a mount.
 *
 * Invariant: each request has exactly one reply; else a caller would wait for ever.
 */
#include "damage/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"
#include "ops.h"

#define LIST_BYTES 512              /* of one READDIR: small, so that cookies are used */
#define READ_BYTES (128u << 10)     /* of one READ: what readahead asks for */
#define READS_MAX  8                /* of one file: the first ones, and its end */

enum op { LOOKUP, GETATTR, READLINK, STATFS, LIST, LIST_PLUS, READ, SEEK, GETXATTR, LISTXATTR };
static const char *const op_names[] = { "lookup", "getattr", "readlink", "statfs", "readdir",
					"readdirplus", "read", "lseek", "getxattr", "listxattr" };

struct request {
	enum op op;
	uint64_t ino, off;          /* off: of READ; SEEK: and whence is in size */
	size_t size;
	char name[256];             /* of LOOKUP, GETXATTR */
	/* the reply */
	int error;
	uint64_t digest;
	struct buf list;            /* of LIST: struct listed, name, ... */
};

struct listed {
	uint64_t ino, cookie, attr;  /* attr: digest; 0: none came along */
	uint32_t type, len;
};

struct kernel {
	struct request *v;
	size_t n, cap;
};

/* --- what stands for libfuse ------------------------------------------------------- */

struct fuse_req {
	struct tree *tree;
	unsigned replies;
	int error;
	uint64_t digest;
	uint64_t ino;               /* of an entry; 0: does not exist */
	struct stat attr;
	const void *bytes;          /* borrowed until the next request */
	size_t len;
};

static uint64_t stat_digest(const struct stat *st)
{
	const uint64_t fields[] = { st->st_ino, st->st_mode, st->st_nlink, st->st_uid, st->st_gid, st->st_rdev,
				    (uint64_t)st->st_size, (uint64_t)st->st_blocks,
				    (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec };

	return xxh3(fields, sizeof(fields), 1) | 1;
}

static int replied(fuse_req_t req, int error, uint64_t digest)
{
	req->replies++;
	req->error = error;
	req->digest = digest;
	return 0;
}

void *fuse_req_userdata(fuse_req_t req)
{
	return req->tree;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	static const struct fuse_ctx root = { 0 };

	(void)req;
	return &root;
}

int fuse_reply_err(fuse_req_t req, int error)
{
	return replied(req, error, 0);
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	const uint64_t ids[] = { e->ino, e->generation };

	req->ino = e->ino;
	req->attr = e->attr;
	return replied(req, 0, e->ino ? xxh3(ids, sizeof(ids), stat_digest(&e->attr)) : 0);
}

int fuse_reply_attr(fuse_req_t req, const struct stat *attr, double timeout)
{
	(void)timeout;
	req->attr = *attr;
	return replied(req, 0, stat_digest(attr));
}

int fuse_reply_readlink(fuse_req_t req, const char *target)
{
	return replied(req, 0, xxh3(target, strlen(target), 2));
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	(void)fi;
	return replied(req, 0, 0);
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	req->bytes = buf;
	req->len = size;
	return replied(req, 0, xxh3(buf, size, 3));
}

/* No kernel here has pages to store. */
int fuse_lowlevel_notify_store(struct fuse_session *se, fuse_ino_t ino, off_t offset,
			       struct fuse_bufvec *bufv, enum fuse_buf_copy_flags flags)
{
	(void)se;
	(void)ino;
	(void)offset;
	(void)bufv;
	(void)flags;
	return -ENOENT;
}

int fuse_reply_statfs(fuse_req_t req, const struct statvfs *st)
{
	const uint64_t fields[] = { st->f_bsize, st->f_frsize, st->f_blocks, st->f_files, st->f_namemax };

	return replied(req, 0, xxh3(fields, sizeof(fields), 4));
}

int fuse_reply_xattr(fuse_req_t req, size_t count)
{
	return replied(req, 0, count);
}

int fuse_reply_lseek(fuse_req_t req, off_t off)
{
	return replied(req, 0, (uint64_t)off);
}

static size_t add_listed(char *buf, size_t size, const char *name, const struct listed *l)
{
	size_t need = sizeof(*l) + l->len;

	if (need <= size) {
		memcpy(buf, l, sizeof(*l));
		memcpy(buf + sizeof(*l), name, l->len);
	}
	return need;
}

size_t fuse_add_direntry(fuse_req_t req, char *buf, size_t size, const char *name, const struct stat *st,
			 off_t off)
{
	const struct listed l = { .ino = st->st_ino, .cookie = (uint64_t)off, .type = st->st_mode & S_IFMT,
				  .len = (uint32_t)strlen(name) };

	(void)req;
	return add_listed(buf, size, name, &l);
}

size_t fuse_add_direntry_plus(fuse_req_t req, char *buf, size_t size, const char *name,
			      const struct fuse_entry_param *e, off_t off)
{
	const struct listed l = { .ino = e->attr.st_ino, .cookie = (uint64_t)off,
				  .attr = e->ino ? stat_digest(&e->attr) : 0,
				  .type = e->attr.st_mode & S_IFMT, .len = (uint32_t)strlen(name) };

	(void)req;
	return add_listed(buf, size, name, &l);
}

/* --- one request -------------------------------------------------------------------- */

/* Listings as the kernel asks for them: again behind the last cookie, until nothing comes. */
static struct fuse_req list(struct tree *t, struct request *q, size_t limit)
{
	uint64_t cookie = 0;

	for (;;) {
		struct fuse_req req = { .tree = t };
		struct listed l = { 0 };

		(q->op == LIST ? tree_ops.readdir : tree_ops.readdirplus)(&req, q->ino, LIST_BYTES, (off_t)cookie,
									  NULL);
		if (req.replies != 1 || req.error || !req.len || limit-- == 0)
			return req;
		if (buf_add(&q->list, req.bytes, req.len) < 0)
			abort();
		for (size_t at = 0; at < req.len; at += sizeof(l) + l.len)
			memcpy(&l, (const char *)req.bytes + at, sizeof(l));
		cookie = l.cookie;
	}
}

static struct fuse_req ask(struct tree *t, struct request *q, size_t limit)
{
	struct fuse_req req = { .tree = t };

	switch (q->op) {
	case LOOKUP:
		tree_ops.lookup(&req, q->ino, q->name);
		break;
	case GETATTR:
		tree_ops.getattr(&req, q->ino, NULL);
		break;
	case READLINK:
		tree_ops.readlink(&req, q->ino);
		break;
	case STATFS:
		tree_ops.statfs(&req, q->ino);
		break;
	case LIST:
	case LIST_PLUS:
		req = list(t, q, limit);
		break;
	case READ:
		tree_ops.read(&req, q->ino, q->size, (off_t)q->off, NULL);
		break;
	case SEEK:
		tree_ops.lseek(&req, q->ino, (off_t)q->off, (int)q->size, NULL);
		break;
	case GETXATTR:
		tree_ops.getxattr(&req, q->ino, q->name, q->size);
		break;
	case LISTXATTR:
		tree_ops.listxattr(&req, q->ino, q->size);
		break;
	}
	if (req.replies != 1) {
		fprintf(stderr, "%s of inode %llx: %u replies\n", op_names[q->op], (unsigned long long)q->ino,
			req.replies);
		abort();
	}
	q->error = req.error;
	q->digest = req.digest;
	return req;
}

/* --- everything that there is ---------------------------------------------------------- */

struct roam {
	struct tree tree;
	struct kernel kernel;       /* requests with their replies; the inodes that are still to be asked about */
	uint64_t *inos;
	size_t ninos, cap, limit;
	int damaged;                /* replies with EIO */
	bool keep;
};

static struct fuse_req roam_ask(struct roam *r, struct request q)
{
	struct fuse_req req = ask(&r->tree, &q, r->limit);
	struct kernel *k = &r->kernel;

	r->limit -= r->limit > 0;
	r->damaged += q.error == EIO;
	if (!r->keep) {
		buf_done(&q.list);
	} else {
		if (array_grow(&k->v, &k->cap, k->n + 1, sizeof(*k->v)) < 0)
			abort();
		k->v[k->n++] = q;
	}
	return req;
}

static void meet(struct roam *r, uint64_t ino)
{
	for (size_t i = 0; i < r->ninos; i++)
		if (r->inos[i] == ino)
			return;
	if (array_grow(&r->inos, &r->cap, r->ninos + 1, sizeof(*r->inos)) < 0)
		abort();
	r->inos[r->ninos++] = ino;
}

static void roam_directory(struct roam *r, uint64_t ino)
{
	struct request q = { .op = LIST, .ino = ino };
	struct listed l = { 0 };

	ask(&r->tree, &q, r->limit);
	for (size_t at = 0; at < q.list.len && r->limit; at += sizeof(l) + l.len) {
		struct request name = { .op = LOOKUP, .ino = ino };
		struct fuse_req req;

		memcpy(&l, q.list.data + at, sizeof(l));
		memcpy(name.name, q.list.data + at + sizeof(l), MIN(l.len, sizeof(name.name) - 1));
		req = roam_ask(r, name);
		if (!req.error && req.ino)
			meet(r, req.ino);
	}
	buf_done(&q.list);
	roam_ask(r, (struct request){ .op = LIST, .ino = ino });
	roam_ask(r, (struct request){ .op = LIST_PLUS, .ino = ino });
	roam_ask(r, (struct request){ .op = LOOKUP, .ino = ino, .name = "no such name" });
}

static void roam_file(struct roam *r, uint64_t ino, uint64_t size)
{
	uint64_t off = 0;

	for (int i = 0; i < READS_MAX && off < size; i++, off += READ_BYTES)
		roam_ask(r, (struct request){ .op = READ, .ino = ino, .off = off, .size = READ_BYTES });
	roam_ask(r, (struct request){ .op = READ, .ino = ino, .off = size - MIN(size, 10u), .size = 4096 });
	roam_ask(r, (struct request){ .op = READ, .ino = ino, .off = size, .size = 4096 });
	off = 0;
	for (int i = 0; i < READS_MAX; i++) {
		struct fuse_req req = roam_ask(r, (struct request){ .op = SEEK, .ino = ino, .off = off,
								    .size = i % 2 ? SEEK_HOLE : SEEK_DATA });

		if (req.error)
			break;
		off = req.digest;
	}
}

static void roam_xattrs(struct roam *r, uint64_t ino)
{
	struct fuse_req req = roam_ask(r, (struct request){ .op = LISTXATTR, .ino = ino, .size = 65536 });
	_cleanup_free_ char *names = req.error || !req.len ? NULL : malloc(req.len);
	size_t len = names ? req.len : 0;

	if (names)
		memcpy(names, req.bytes, len);
	roam_ask(r, (struct request){ .op = LISTXATTR, .ino = ino });
	for (size_t at = 0; at < len && r->limit; at += strlen(names + at) + 1) {
		struct request q = { .op = GETXATTR, .ino = ino, .size = 65536 };

		snprintf(q.name, sizeof(q.name), "%s", names + at);
		roam_ask(r, q);
		q.size = 0;
		roam_ask(r, q);
	}
	roam_ask(r, (struct request){ .op = GETXATTR, .ino = ino, .size = 100, .name = "user.none" });
}

static void roam(struct roam *r)
{
	meet(r, 1);
	roam_ask(r, (struct request){ .op = STATFS, .ino = 1 });
	for (size_t i = 0; i < r->ninos && r->limit; i++) {
		uint64_t ino = r->inos[i];
		struct fuse_req req = roam_ask(r, (struct request){ .op = GETATTR, .ino = ino });

		if (req.error)
			continue;
		if (S_ISDIR(req.attr.st_mode))
			roam_directory(r, ino);
		else if (S_ISREG(req.attr.st_mode))
			roam_file(r, ino, (uint64_t)req.attr.st_size);
		else if (S_ISLNK(req.attr.st_mode))
			roam_ask(r, (struct request){ .op = READLINK, .ino = ino });
		roam_xattrs(r, ino);
	}
}

/* --- an image -------------------------------------------------------------------------- */

struct mounted {
	struct ply_image *image;
	struct ply_view *view;
};

/* As the daemon does it. */
static int mounted_open(struct mounted *m, const char *path, struct tree *t, struct ply_err *err)
{
	int r = ply_image_open(path, &m->image, err);

	if (r == 0)
		r = ply_view_open(m->image, NULL, 0, 0, &m->view, err);
	if (r == 0)
		tree_init(t, m->view, true);
	return r;
}

static void mounted_done(struct mounted *m)
{
	tree_thread_done();
	ply_view_close(m->view);
	ply_image_close(m->image);
}

int kernel_roam(const char *image, size_t limit, struct kernel **ret, struct ply_err *err)
{
	struct roam r = { .limit = limit, .keep = ret != NULL };
	struct mounted m = { 0 };
	int e = mounted_open(&m, image, &r.tree, err);

	if (e == 0)
		roam(&r);
	if (e == 0 && ret) {
		*ret = malloc(sizeof(**ret));
		if (!*ret)
			abort();
		**ret = r.kernel;
	}
	free(r.inos);
	mounted_done(&m);
	return e < 0 ? e : r.damaged;
}

void kernel_free(struct kernel *k)
{
	for (size_t i = 0; i < k->n; i++)
		buf_done(&k->v[i].list);
	free(k->v);
	free(k);
}

size_t kernel_requests(const struct kernel *k)
{
	return k->n;
}

/* --- comparing ---------------------------------------------------------------------------- */

static bool attr_is(const struct kernel *k, uint64_t ino, uint64_t digest)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].op == GETATTR && k->v[i].ino == ino)
			return k->v[i].digest == digest;
	return false;
}

/* Is @is what @was begins with, attributes as they are wherever they came along? */
static bool listing_is(const struct kernel *k, const struct buf *was, const struct buf *is)
{
	struct listed a = { 0 }, b = { 0 };

	for (size_t at = 0; at < is->len; at += sizeof(a) + a.len) {
		if (at >= was->len)
			return false;
		memcpy(&a, was->data + at, sizeof(a));
		memcpy(&b, is->data + at, sizeof(b));
		if (b.attr && !attr_is(k, b.ino, b.attr))
			return false;
		if (a.ino != b.ino || a.cookie != b.cookie || a.type != b.type || a.len != b.len ||
		    memcmp(was->data + at + sizeof(a), is->data + at + sizeof(b), a.len) != 0)
			return false;
	}
	return true;
}

static bool reply_is(const struct kernel *k, const struct request *was, const struct request *is)
{
	if (is->op == LIST || is->op == LIST_PLUS)
		return listing_is(k, &was->list, &is->list) &&
		       (is->error == EIO || (is->error == was->error && is->list.len == was->list.len));
	return is->error == EIO || (is->error == was->error && is->digest == was->digest);
}

int kernel_replay(const struct kernel *k, const char *image, char *wrong, size_t size, struct ply_err *err)
{
	struct mounted m = { 0 };
	struct tree t;
	int r = mounted_open(&m, image, &t, err);

	*wrong = '\0';
	for (size_t i = 0; r >= 0 && !*wrong && i < k->n; i++) {
		const struct request *was = &k->v[i];
		struct request is = *was;

		is.list = (struct buf){ 0 };
		ask(&t, &is, SIZE_MAX);
		if (is.error == EIO)
			r++;
		if (!reply_is(k, was, &is))
			snprintf(wrong, size, "%s of inode %llx %s off %llu: error %d, not %d, or another result",
				 op_names[is.op], (unsigned long long)is.ino, is.name, (unsigned long long)is.off,
				 is.error, was->error);
		buf_done(&is.list);
	}
	mounted_done(&m);
	return r;
}
