/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a view tells of one inode: attributes, links, content, xattrs. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "tree/view_impl.h"

/* Is the node @ref, of a selected sub-image, a child directory of a member of @vn? */
static int is_child(struct ply_view *v, const struct vnode *vn, uint64_t ref, struct ply_err *err)
{
	uint32_t i = v->by_number[PLY_INO_NUMBER(ref)] - 1u;
	struct ply_node n;
	int r = sub_node(v->subs[i].sub, PLY_INO_INDEX(ref), &n, err);

	for (uint32_t k = 0; r == 0 && k < vn->n; k++)
		if (vn->m[k].i == i)
			return S_ISDIR(n.mode) && PLY_INO_INDEX(n.parent) == vn->m[k].index;
	return r;
}

/* Child directories of @vn that several of its members bring count once. That each is a child is
 * looked at first, and that they do not share members: rows that all claim all would make each
 * stat as long as the table, or its square. */
static int overcount(struct ply_view *v, const struct vnode *vn, uint64_t *ret, struct ply_err *err)
{
	uint64_t over = 0, members = 0;

	for (uint64_t c = 0; c < vn->row.nchildren; c++) {
		struct join_row row;
		uint64_t selected = 0;
		int r = join_row(v->join, vn->row.first_child + c, &row, err);

		if (r < 0)
			return r;
		if (row.kind != PLY_J_DIRECTORY)
			return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "a file among joined directories");
		members += row.nmembers;
		if (members > join_nmembers(v->join))
			return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu shares its members with others",
					(unsigned long long)row.row);
		for (uint32_t k = 0; k < row.nmembers; k++) {
			struct join_member m;

			r = join_member(v->join, &row, k, &m, err);
			if (r < 0)
				return r;
			if (!v->by_number[PLY_INO_NUMBER(m.ref)] || selected++)
				continue;
			r = is_child(v, vn, m.ref, err);
			if (r == 0)
				r = ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD,
					     "join row %llu is not among the children of row %llu",
					     (unsigned long long)row.row, (unsigned long long)vn->row.row);
			if (r < 0)
				return r;
		}
		over += selected ? selected - 1 : 0;
	}
	*ret = over;
	return 0;
}

static int count_links(struct ply_view *v, const struct vnode *vn, bool is_dir, uint64_t *ret,
		       struct ply_err *err)
{
	uint64_t sum = is_dir ? 2 : 0, over = 0;
	int r;

	for (uint32_t k = 0; k < vn->n; k++) {
		struct ply_node n;

		r = sub_node(v->subs[vn->m[k].i].sub, vn->m[k].index, &n, err);
		if (r < 0)
			return r;
		if (S_ISDIR(n.mode) != is_dir)
			return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD,
					"join row %llu joins a directory and a file",
					(unsigned long long)vn->row.row);
		sum += n.nlink;
	}
	if (is_dir && vn->n > 1) {
		r = overcount(v, vn, &over, err);
		if (r < 0)
			return r;
	}
	*ret = over < sum ? sum - over : 1;
	return 0;
}

int ply_view_attr(struct ply_view *v, uint64_t ino, struct ply_attr *ret, struct ply_err *err)
{
	struct ply_attr a = { .ino = ino };
	struct view_owner owner;
	struct view_file f;
	struct ply_node n;
	struct member m;
	struct vnode vn;
	struct sub *s;
	int r;

	r = vnode_get(v, ino, &vn, err);
	if (r < 0)
		return r;
	r = vnode_node(v, &vn, &n, &m, err);
	if (r < 0)
		goto out;
	s = v->subs[m.i].sub;
	f = (struct view_file){ .sub = s, .i = m.i, .node = n };
	r = view_owner(v, &f, &owner, err);
	if (r < 0)
		goto out;
	a.mode = n.mode & ~(owner.lacks ? (uint32_t)(S_ISUID | S_ISGID) : 0);
	a.uid = owner.uid;
	a.gid = owner.gid;
	a.mtime_sec = n.mtime_sec;
	a.mtime_nsec = n.mtime_nsec;
	a.has_xattrs = n.xattrs != 0;
	if (vn.joined && vn.row.kind != PLY_J_FILE)
		r = count_links(v, &vn, S_ISDIR(n.mode), &a.nlink, err);
	else
		a.nlink = S_ISDIR(n.mode) ? 2 + (uint64_t)n.nlink : n.nlink;
	if (r < 0)
		goto out;
	if (S_ISDIR(n.mode)) {
		a.size = PLY_PAGE;
		a.blocks = PLY_PAGE / 512;
	} else if (S_ISBLK(n.mode) || S_ISCHR(n.mode)) {
		a.rdev_major = (uint32_t)(n.size >> 32);
		a.rdev_minor = (uint32_t)n.size;
	} else if (n.flags & PLY_NODE_SHARED) {
		r = view_shared_size(v, &vn, &a.size, err);
		a.blocks = align_up(a.size, PLY_PAGE) / 512;
	} else {
		a.size = n.size;
		r = sub_blocks512(s, &n, &a.blocks, err);
	}
	if (r == 0)
		*ret = a;
out:
	vnode_done(&vn);
	return r;
}

int view_file(struct ply_view *v, uint64_t ino, struct view_file *ret, struct ply_err *err)
{
	struct view_owner owner = { 0 };
	struct member m;
	struct vnode vn;
	int r = vnode_get(v, ino, &vn, err);

	if (r < 0)
		return r;
	r = vnode_node(v, &vn, &ret->node, &m, err);
	if (r < 0)
		goto out;
	ret->i = m.i;
	ret->sub = v->subs[m.i].sub;
	ret->joined = vn.joined && vn.row.kind != PLY_J_FILE;
	ret->size = ret->node.size;
	if (ret->node.flags & PLY_NODE_SHARED)
		r = view_shared_size(v, &vn, &ret->size, err);
	if (r == 0 && ret->node.mode & (S_ISUID | S_ISGID))
		r = view_owner(v, ret, &owner, err);
	if (owner.lacks)
		ret->node.mode &= (uint16_t)~(S_ISUID | S_ISGID);
out:
	vnode_done(&vn);
	return r;
}

/* The node of a regular file or symlink and the sub-image that it lies in. */
static int content_node(struct ply_view *v, uint64_t ino, mode_t type, struct sub **ret_sub,
			struct ply_node *ret, struct ply_err *err)
{
	struct view_file f;
	int r = view_file(v, ino, &f, err);

	if (r < 0)
		return r;
	*ret_sub = f.sub;
	*ret = f.node;
	if (type && (f.node.mode & S_IFMT) != type)
		return S_ISDIR(f.node.mode) ?
			ply_fail(err, -EISDIR, PLY_R_IS_A_DIRECTORY, "is a directory") :
			ply_fail(err, -EINVAL, PLY_R_USAGE, "is a file of another type");
	return 0;
}

int ply_view_readlink(struct ply_view *v, uint64_t ino, const char **ret, size_t *ret_len,
		      struct ply_err *err)
{
	struct ply_node n;
	const void *p;
	struct sub *s;
	int r = content_node(v, ino, S_IFLNK, &s, &n, err);

	if (r < 0)
		return r;
	r = sub_heap(s, n.data, n.size, &p, err);
	if (r < 0)
		return r;
	if (memchr(p, '\0', n.size))
		return ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD, "a symlink target with a NUL");
	*ret = p;
	*ret_len = n.size;
	return 0;
}

/* Of a shared file. */
static ssize_t read_shared(struct ply_view *v, uint64_t ino, uint64_t off, size_t len, void *buf,
			   struct ply_err *err)
{
	struct vnode vn;
	ssize_t n = vnode_get(v, ino, &vn, err);

	if (n < 0)
		return n;
	n = view_shared_read(v, &vn, off, len, buf, err);
	vnode_done(&vn);
	return n;
}

ssize_t ply_view_read(struct ply_view *v, uint64_t ino, uint64_t off, size_t len, void *buf,
		      struct ply_err *err)
{
	struct ply_node n;
	struct sub *s;
	int r = content_node(v, ino, S_IFREG, &s, &n, err);

	if (r < 0)
		return r;
	return n.flags & PLY_NODE_SHARED ? read_shared(v, ino, off, len, buf, err) :
					   sub_read(s, v->cache, &n, off, len, buf, err);
}

int ply_view_seek(struct ply_view *v, uint64_t ino, uint64_t off, int whence, uint64_t *ret_off,
		  struct ply_err *err)
{
	struct ply_extent e;
	struct ply_node n;
	struct sub *s;
	uint32_t i;
	int r = content_node(v, ino, S_IFREG, &s, &n, err);

	if (r < 0)
		return r;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "neither SEEK_DATA nor SEEK_HOLE");
	if (n.flags & PLY_NODE_SHARED) {
		struct ply_attr a;

		r = ply_view_attr(v, ino, &a, err);
		if (r < 0)
			return r;
		n.size = a.size;
		n.kind = PLY_C_INLINE;     /* like one, it has no hole */
	}
	if (off >= n.size)
		return ply_fail(err, -ENXIO, PLY_R_USAGE, "behind the end of the file");
	if (n.kind == PLY_C_INLINE) {
		*ret_off = whence == SEEK_DATA ? off : n.size;
		return 0;
	}
	r = sub_extent_at(s, &n, off, &e, &i, err);
	if (r < 0 && r != -ENXIO)
		return r;
	if (whence == SEEK_DATA) {
		if (r == -ENXIO)
			return ply_fail(err, -ENXIO, PLY_R_USAGE, "only a hole follows");
		*ret_off = MAX(off, e.off);
		return 0;
	}
	if (r == -ENXIO || e.off > off) {
		*ret_off = off;
		return 0;
	}
	/* extents may adjoin: a file's full blocks and its tail lie in two places */
	for (uint64_t end = e.off + e.len;; end = e.off + e.len) {
		if (i + 1 < sub_extent_count(&n)) {
			r = sub_node_extent(s, &n, ++i, &e, err);
			if (r < 0)
				return r;
			if (e.off == end)
				continue;
		}
		*ret_off = end;
		return 0;
	}
}

struct lister {
	ply_xattr_fn fn;
	void *ctx;
};

static int list_xattr(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	struct lister *l = ctx;

	(void)err;
	return l->fn(l->ctx, &(struct ply_xattr){ .name = x->name, .name_len = x->name_len,
						  .value = x->value, .value_len = x->value_len }) ? 1 : 0;
}

int ply_view_xattrs(struct ply_view *v, uint64_t ino, ply_xattr_fn fn, void *ctx, struct ply_err *err)
{
	struct lister l = { fn, ctx };
	struct view_file f;
	int r = view_file(v, ino, &f, err);

	if (r == 0)
		r = view_file_xattrs(v, &f, list_xattr, &l, err);
	return MIN(r, 0);
}

struct finder {
	const char *name;
	size_t len;
	struct sub_xattr found;
};

static int find_xattr(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	struct finder *f = ctx;

	(void)err;
	if (x->name_len != f->len || memcmp(x->name, f->name, f->len) != 0)
		return 0;
	f->found = *x;
	return 1;
}

int ply_view_getxattr(struct ply_view *v, uint64_t ino, const char *name, const void **ret,
		      size_t *ret_len, struct ply_err *err)
{
	struct finder find = { .name = name, .len = strlen(name) };
	struct view_file f;
	int r = view_file(v, ino, &f, err);

	if (r == 0)
		r = view_file_xattrs(v, &f, find_xattr, &find, err);
	if (r < 0)
		return r;
	if (!r)
		return ply_fail(err, -ENODATA, PLY_R_NO_XATTR, "no such xattr");
	*ret = find.found.value;
	*ret_len = find.found.value_len;
	return 0;
}

int ply_view_origin(struct ply_view *v, uint64_t ino, uint32_t *ret, uint32_t max, struct ply_err *err)
{
	uint32_t owners = 0;
	struct vnode vn;
	int r = vnode_get(v, ino, &vn, err);

	if (r < 0)
		return r;
	for (uint32_t k = 0; k < vn.n; k++) {
		struct ply_node n;

		r = sub_node(v->subs[vn.m[k].i].sub, vn.m[k].index, &n, err);
		if (r < 0)
			goto out;
		if (n.flags & PLY_NODE_IMPLIED)
			continue;
		if (owners < max)
			ret[owners] = v->subs[vn.m[k].i].pos;
		owners++;
	}
	if (!owners) {   /* only there for its children */
		for (uint32_t k = 0; k < vn.n && k < max; k++)
			ret[k] = v->subs[vn.m[k].i].pos;
		owners = vn.n;
	}
	r = (int)owners;
out:
	vnode_done(&vn);
	return r;
}
