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

static int count_directory(void *ctx, const struct ply_dirent *de)
{
	*(uint64_t *)ctx += de->type == S_IFDIR >> 12;
	return 0;
}

/* Do overlays change which of its names are directories? Then what the nodes say does not add up. */
static int is_covered(struct ply_view *v, const struct vnode *vn, struct ply_err *err)
{
	if (vn->partial)
		return 1;
	if (!vnode_has_overlay(v, vn))
		return 0;
	if (view_pairs_of_types(v))
		return 1;
	for (uint32_t k = 0; k < vn->n; k++) {
		struct ply_node n;
		int r = sub_node(v->subs[vn->m[k].i].sub, vn->m[k].index, &n, err);

		if (r < 0)
			return r;
		if (n.flags & PLY_NODE_COVERS)
			return 1;
	}
	return 0;
}

static int nlink_of(struct ply_view *v, const struct vnode *vn, const struct ply_node *n, bool elsewhere,
		    uint64_t *ret, struct ply_err *err)
{
	bool is_dir = S_ISDIR(n->mode);
	int r = is_dir ? is_covered(v, vn, err) : 0;

	if (r < 0)
		return r;
	if (r > 0) {
		*ret = 2;
		return ply_view_readdir(v, vn->ino, 0, count_directory, ret, err);
	}
	if (vn->joined && vn->row.kind != PLY_J_FILE) {
		r = count_links(v, vn, is_dir, ret, err);
	} else {
		*ret = is_dir ? 2 + (uint64_t)n->nlink : n->nlink;
	}
	if (r == 0 && !is_dir && *ret > 1)
		view_links_count(v, vn->ino, elsewhere, ret);
	return r;
}

/* --- what overlays change ------------------------------------------------------------ */

/* Which attributes the node overrides; 0 of a sub-image that is no overlay. *ret_new: it overrides nothing, for
 * what it stands on has no such path. */
static int mask_of(struct ply_view *v, uint32_t i, uint64_t index, uint32_t *ret, bool *ret_new, struct ply_err *err)
{
	struct ply_override o;
	int r = 0;

	*ret = 0;
	*ret_new = false;
	if (v->subs[i].overlay) {
		r = sub_override_find(v->subs[i].sub, index, &o, NULL);
		if (r < 0 && r != -ENOENT)
			return sub_override_find(v->subs[i].sub, index, &o, err);
		*ret_new = r < 0;
		*ret = r < 0 ? 0 : o.mask;
	}
	return 0;
}

static void take_mode(struct view_file *f, uint32_t i, const struct ply_node *n)
{
	(void)i;
	f->node.mode = (f->node.mode & S_IFMT) | (n->mode & 07777);
}

static void take_owner(struct view_file *f, uint32_t i, const struct ply_node *n)
{
	f->owner_i = i;
	f->node.owner = n->owner;
}

static void take_xattrs(struct view_file *f, uint32_t i, const struct ply_node *n)
{
	f->xattrs_i = i;
	f->node.xattrs = n->xattrs;
}

static const struct {
	uint32_t bit;
	void (*take)(struct view_file *f, uint32_t i, const struct ply_node *n);
} attributes[] = {
	{ PLY_OVER_MODE, take_mode },
	{ PLY_OVER_OWNER, take_owner },
	{ PLY_OVER_XATTRS, take_xattrs },
};

/* Was it decided that of the sub-images that collide at a directory the last one counts? */
static bool last_counts(const struct ply_view *v, const struct vnode *vn)
{
	for (uint32_t k = 0; view_pairs_any(v, PLY_RULE_LAST) && k < vn->n; k++) {
		uint64_t key = PLY_INO(v->subs[vn->m[k].i].number, vn->m[k].index);
		struct view_pair_range pairs;

		/* kept, since one is decided, so this does not fail */
		for (view_pairs_with(v, key, &pairs, NULL); pairs.n; pairs.n--, pairs.at++) {
			const struct view_pair *p = view_pair_at(v, pairs.at);

			if (p->rule == PLY_RULE_LAST && !(p->flags & PLY_PAIR_A_WHITEOUT))
				return true;
		}
	}
	return false;
}

/* Of overlays that change one attribute of a directory one that stands on another wins; of others the first, or
 * as decided. */
static int override_directory(struct ply_view *v, const struct vnode *vn, struct view_file *f, struct ply_err *err)
{
	int64_t by[ARRAY_SIZE(attributes)] = { -1, -1, -1 };
	bool last = last_counts(v, vn);

	for (uint32_t k = 0; k < vn->n; k++) {
		uint32_t i = vn->m[k].i, mask;
		struct ply_node n;
		bool is_new;
		int r = mask_of(v, i, vn->m[k].index, &mask, &is_new, err);

		if (r == 0 && (mask || (is_new && last)))
			r = sub_node(v->subs[i].sub, vn->m[k].index, &n, err);
		if (r < 0)
			return r;
		if (is_new && last && !(n.flags & PLY_NODE_IMPLIED))
			mask = PLY_OVER_ALL;
		for (size_t a = 0; mask && a < ARRAY_SIZE(attributes); a++) {
			if (!(mask & attributes[a].bit) ||
			    (by[a] >= 0 && !last && !view_stands_on(v, i, (uint32_t)by[a])))
				continue;
			by[a] = i;
			attributes[a].take(f, i, &n);
		}
	}
	return 0;
}

static bool is_newer(const struct ply_node *a, const struct ply_node *b)
{
	return a->mtime_sec != b->mtime_sec ? a->mtime_sec > b->mtime_sec : a->mtime_nsec > b->mtime_nsec;
}

static void take_content(struct view_file *f, uint32_t i, const struct ply_node *n)
{
	f->i = i;
	f->node.size = n->size;
	f->node.kind = n->kind;
	f->node.data = n->data;
	f->node.ndata = n->ndata;
	f->node.flags = n->flags;
}

/* What a candidate changes: itself, and what comes with it. */
struct change {
	uint32_t own, inherited;   /* PLY_OVER_* */
	bool is_new;               /* the path is there by one of them */
};

static int own_change(struct ply_view *v, const struct cand *c, struct change *ret, struct ply_err *err)
{
	int r = mask_of(v, c->i, c->index, &ret->own, &ret->is_new, err);

	ret->is_new |= !v->subs[c->i].overlay;
	return r;
}

/* Add what comes with the heads: see view_comes_with(). Each mask is asked for once, however many stand on it. */
static int inherit(struct ply_view *v, const struct view_name *n, struct change *changes, struct ply_err *err)
{
	uint64_t common[VIEW_BITS_WORDS];

	view_common_ground(v, n, NULL, common);
	for (uint32_t j = 0; j < n->n; j++) {
		struct change below = { 0 };
		bool asked = false;

		for (uint32_t k = j + 1; n->c[j].own_hidden && k < n->n; k++) {
			int r = 0;

			if (!cand_is_head(&n->c[k]) || !view_comes_with(v, n, common, k, j))
				continue;
			if (!asked)
				r = own_change(v, &n->c[j], &below, err);
			if (r < 0)
				return r;
			asked = true;
			changes[k].inherited |= below.own;
			changes[k].is_new |= below.is_new;
		}
	}
	return 0;
}

static int changes_of(struct ply_view *v, const struct view_name *n, struct change *changes, struct ply_err *err)
{
	int r = 0;

	for (uint32_t k = n->shown; r == 0 && k < n->n; k++)
		if (cand_is_head(&n->c[k]))
			r = own_change(v, &n->c[k], &changes[k], err);
	return r < 0 ? r : inherit(v, n, changes, err);
}

/* Attributes in @mask, but those that another one has given: *taken. */
static void take_attributes(struct view_file *f, uint32_t i, const struct ply_node *n, uint32_t mask, uint32_t *taken)
{
	for (size_t a = 0; a < ARRAY_SIZE(attributes); a++) {
		if (!(mask & attributes[a].bit & ~*taken))
			continue;
		*taken |= attributes[a].bit;
		attributes[a].take(f, i, n);
	}
}

/*
 * A file of several heads: an attribute is of the first that changes it, or else the first with which such a change comes, or
 * of the first of all. So is content; where several have to do with it, it is put together (view_merged.c), and is as new as
 * the newest of them.
 */
static int override_file(struct ply_view *v, const struct place *p, struct view_file *f, struct ply_err *err)
{
	const struct view_name *name = &p->name;
	_cleanup_free_ struct change *changes = calloc(name->n, sizeof(*changes));
	bool differ = name->flags & PLY_PAIR_F_CONTENT;
	struct ply_node author = f->node;
	uint32_t authors = 0, taken = 0;
	int r = changes ? changes_of(v, name, changes, err) : ply_fail_nomem(err);

	for (uint32_t k = name->shown; r == 0 && k < name->n; k++) {
		const struct change *change = &changes[k];
		const struct cand *c = &name->c[k];
		struct ply_node n;

		if (!cand_is_head(c))
			continue;
		r = sub_node(v->subs[c->i].sub, c->index, &n, err);
		if (r < 0)
			break;
		take_attributes(f, c->i, &n, change->own, &taken);
		if (!differ || !((change->own | change->inherited) & PLY_OVER_CONTENT || change->is_new))
			continue;
		if (!authors++)
			take_content(f, c->i, &n);
		if (authors == 1 || is_newer(&n, &author))
			author = n;
	}
	for (uint32_t k = name->shown; r == 0 && k < name->n; k++) {
		struct ply_node n;

		if (!(changes[k].inherited & ~taken))
			continue;
		r = sub_node(v->subs[name->c[k].i].sub, name->c[k].index, &n, err);
		if (r == 0)
			take_attributes(f, name->c[k].i, &n, changes[k].inherited, &taken);
	}
	if (r < 0)
		return r;
	f->node.mtime_sec = author.mtime_sec;
	f->node.mtime_nsec = author.mtime_nsec;
	f->rendered = authors > 1 && S_ISREG(f->node.mode);
	return 0;
}

int view_file_of(struct ply_view *v, const struct vnode *vn, const struct place *p, struct view_file *ret,
		 struct ply_err *err)
{
	struct view_owner owner = { 0 };
	struct member m;
	int r = vnode_node(v, vn, &ret->node, &m, err);

	if (r < 0)
		return r;
	ret->i = ret->name_i = ret->owner_i = ret->xattrs_i = m.i;
	ret->joined = vn->joined && vn->row.kind != PLY_J_FILE;
	ret->merged = view_place_is_merged(p);
	ret->rendered = false;
	if (ret->merged)
		r = override_file(v, p, ret, err);
	else if (S_ISDIR(ret->node.mode) && vnode_has_overlay(v, vn))
		r = override_directory(v, vn, ret, err);
	if (r < 0)
		return r;
	ret->sub = v->subs[ret->i].sub;
	ret->rendered |= ret->node.flags & PLY_NODE_SHARED;
	ret->size = ret->node.size;
	if (ret->node.mode & (S_ISUID | S_ISGID))
		r = view_owner(v, ret, &owner, err);
	if (owner.lacks)
		ret->node.mode &= (uint16_t)~(S_ISUID | S_ISGID);
	return r;
}

/* An inode that is shown, and what gives its metadata and content. Release with inode_done(). */
struct inode {
	struct vnode vn;
	struct place place;
	struct view_file f;
};

static void inode_done(struct inode *in)
{
	view_place_done(&in->place);
	vnode_done(&in->vn);
}

static int inode_get(struct ply_view *v, uint64_t ino, struct inode *ret, struct ply_err *err)
{
	struct ply_node n;
	int r = view_dir_get(v, ino, &ret->vn, err);

	if (r < 0)
		return r;
	ret->place.elsewhere = ret->place.overlaid = false;
	if (v->noverlays) {
		uint64_t names;

		r = sub_node(v->subs[ret->vn.m[0].i].sub, ret->vn.m[0].index, &n, err);
		if (r == 0 && !S_ISDIR(n.mode))
			r = view_place_get(v, &ret->vn, &ret->place, err);
		if (r == 0 && ret->place.elsewhere && view_links_count(v, ino, true, &names) && !names)
			r = view_stale(ino, err);
	}
	if (r == 0)
		r = view_file_of(v, &ret->vn, &ret->place, &ret->f, err);
	if (r < 0)
		inode_done(ret);
	return r;
}

/* --- one inode -------------------------------------------------------------------------- */

int ply_view_attr(struct ply_view *v, uint64_t ino, struct ply_attr *ret, struct ply_err *err)
{
	struct ply_attr a = { .ino = ino };
	struct view_owner owner;
	struct inode in;
	const struct ply_node *n = &in.f.node;
	int r = inode_get(v, ino, &in, err);

	if (r < 0)
		return r;
	r = view_owner(v, &in.f, &owner, err);
	if (r == 0)
		r = nlink_of(v, &in.vn, n, in.place.elsewhere, &a.nlink, err);
	if (r < 0)
		goto out;
	a.mode = n->mode;
	a.uid = owner.uid;
	a.gid = owner.gid;
	a.mtime_sec = n->mtime_sec;
	a.mtime_nsec = n->mtime_nsec;
	a.has_xattrs = n->xattrs != 0;
	if (S_ISDIR(n->mode)) {
		a.size = PLY_PAGE;
		a.blocks = PLY_PAGE / 512;
	} else if (S_ISBLK(n->mode) || S_ISCHR(n->mode)) {
		a.rdev_major = (uint32_t)(n->size >> 32);
		a.rdev_minor = (uint32_t)n->size;
	} else if (in.f.rendered) {
		r = view_shared_size(v, &in.vn, &in.place, &a.size, err);
		a.blocks = align_up(a.size, PLY_PAGE) / 512;
	} else {
		a.size = n->size;
		r = sub_blocks512(in.f.sub, n, &a.blocks, err);
	}
	if (r == 0)
		*ret = a;
out:
	inode_done(&in);
	return r;
}

int view_file(struct ply_view *v, uint64_t ino, struct view_file *ret, struct ply_err *err)
{
	struct inode in;
	int r = inode_get(v, ino, &in, err);

	if (r < 0)
		return r;
	*ret = in.f;
	if (ret->rendered)
		r = view_shared_size(v, &in.vn, &in.place, &ret->size, err);
	inode_done(&in);
	return r;
}

static int check_type(const struct ply_node *n, mode_t type, struct ply_err *err)
{
	if ((n->mode & S_IFMT) == type)
		return 0;
	return S_ISDIR(n->mode) ? ply_fail(err, -EISDIR, PLY_R_IS_A_DIRECTORY, "is a directory") :
				  ply_fail(err, -EINVAL, PLY_R_USAGE, "is a file of another type");
}

int ply_view_readlink(struct ply_view *v, uint64_t ino, const char **ret, size_t *ret_len,
		      struct ply_err *err)
{
	struct view_file f;
	const void *p;
	int r = view_file(v, ino, &f, err);

	if (r == 0)
		r = check_type(&f.node, S_IFLNK, err);
	if (r == 0)
		r = sub_heap(f.sub, f.node.data, f.node.size, &p, err);
	if (r < 0)
		return r;
	if (memchr(p, '\0', f.node.size))
		return ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD, "a symlink target with a NUL");
	*ret = p;
	*ret_len = f.node.size;
	return 0;
}

ssize_t ply_view_read(struct ply_view *v, uint64_t ino, uint64_t off, size_t len, void *buf,
		      struct ply_err *err)
{
	struct inode in;
	ssize_t n = inode_get(v, ino, &in, err);

	if (n < 0)
		return n;
	n = check_type(&in.f.node, S_IFREG, err);
	if (n == 0)
		n = in.f.rendered ? view_shared_read(v, &in.vn, &in.place, off, len, buf, err) :
				    sub_read(in.f.sub, v->cache, &in.f.node, off, len, buf, err);
	inode_done(&in);
	return n;
}

int ply_view_seek(struct ply_view *v, uint64_t ino, uint64_t off, int whence, uint64_t *ret_off,
		  struct ply_err *err)
{
	struct ply_extent e;
	struct view_file f;
	struct ply_node n;
	uint32_t i;
	int r = view_file(v, ino, &f, err);

	if (r == 0)
		r = check_type(&f.node, S_IFREG, err);
	if (r < 0)
		return r;
	n = f.node;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "neither SEEK_DATA nor SEEK_HOLE");
	if (f.rendered) {
		n.size = f.size;
		n.kind = PLY_C_INLINE;     /* like one, it has no hole */
	}
	if (off >= n.size)
		return ply_fail(err, -ENXIO, PLY_R_USAGE, "behind the end of the file");
	if (n.kind == PLY_C_INLINE) {
		*ret_off = whence == SEEK_DATA ? off : n.size;
		return 0;
	}
	r = sub_extent_at(f.sub, &n, off, &e, &i, err);
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
			r = sub_node_extent(f.sub, &n, ++i, &e, err);
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

/* Who has a directory, or a file that is one node: implied directories count only where nobody else does. */
static int owners_of(struct ply_view *v, const struct vnode *vn, uint32_t *ret, uint32_t max, struct ply_err *err)
{
	uint32_t owners = 0;

	for (uint32_t k = 0; k < vn->n; k++) {
		struct ply_node n;
		int r = sub_node(v->subs[vn->m[k].i].sub, vn->m[k].index, &n, err);

		if (r < 0)
			return r;
		if (n.flags & PLY_NODE_IMPLIED)
			continue;
		if (owners < max)
			ret[owners] = v->subs[vn->m[k].i].pos;
		owners++;
	}
	if (!owners) {   /* only there for its children */
		for (uint32_t k = 0; k < vn->n && k < max; k++)
			ret[k] = v->subs[vn->m[k].i].pos;
		owners = vn->n;
	}
	return (int)owners;
}

/* Of what a merged file is made: all that have it, also those that others changed. */
static int authors_of(const struct ply_view *v, const struct view_name *name, uint32_t *ret, uint32_t max)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < name->n; k++) {
		if (name->c[k].type == PLY_T_WHITEOUT || (name->c[k].own_hidden && v->subs[name->c[k].i].overlay))
			continue;
		if (n < max)
			ret[n] = v->subs[name->c[k].i].pos;
		n++;
	}
	return (int)n;
}

int ply_view_origin(struct ply_view *v, uint64_t ino, uint32_t *ret, uint32_t max, struct ply_err *err)
{
	struct inode in;
	int r = inode_get(v, ino, &in, err);

	if (r < 0)
		return r;
	r = in.f.merged ? authors_of(v, &in.place.name, ret, max) : owners_of(v, &in.vn, ret, max, err);
	inode_done(&in);
	return r;
}
