/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A selection as one tree: opening it, and what an inode number means in it.
 *
 * A node is found from its number alone: [number | index] is a place in a table.
 * A node that stands in several sub-images (a join row) is one inode: its number
 * is that of the first selected member in order of joining, its metadata and content
 * are those of the member of lowest rank, implied directories last. Nothing is
 * kept per inode, so there is nothing to forget and nothing to grow.
 *
 * Invariant for hostile images: from the root down, every directory, and every file that says it has
 * one name, is reached by one name in one parent only (view_child), so that walks end. Directories
 * that share their entries can be told only by who lists them all: names of files with several
 * links then outnumber the rows of ENTRIES (view_entries).
 *
 * A view is immutable after open but for its cache of blocks.
 */
#include "plyfs/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "tree/view_impl.h"

#define CACHE_DEFAULT (64u << 20)

/* --- opening ----------------------------------------------------------------- */

/* Does a selected node have an xattr whose name begins so? Looks at some; where there are many: it may. */
static bool may_have(struct ply_view *v, const char *prefix)
{
	size_t len = strlen(prefix);
	uint64_t looked = 0;

	for (uint32_t i = 0; i < v->nsubs; i++) {
		struct sub *s = v->subs[i].sub;

		for (uint64_t set = 1; set < sub_limits(s)->xattr_sets; set++) {
			uint32_t n;

			if (sub_xattr_count(s, (uint32_t)set, &n, NULL) < 0 || (looked += n + 1) > 512)
				return true;
			for (uint32_t k = 0; k < n; k++) {
				struct sub_xattr x;

				if (sub_xattr(s, (uint32_t)set, k, &x, NULL) < 0 ||
				    (x.name_len >= len && memcmp(x.name, prefix, len) == 0))
					return true;
			}
		}
	}
	return false;
}

static int add_sub(struct ply_view *v, uint32_t pos, struct ply_err *err)
{
	const struct ply_sub_info *info = ply_image_sub_info(v->image, pos);
	struct vsub *s = &v->subs[v->nsubs];
	int r = image_sub(v->image, pos, &s->sub, err);

	if (r < 0)
		return r;
	s->pos = pos;
	s->number = info->number;
	s->overlay = info->flags & PLY_SUB_OVERLAY;
	v->noverlays += s->overlay;
	v->by_number[info->number] = (uint16_t)++v->nsubs;
	v->entries += sub_limits(s->sub)->entries;
	v->stat.inodes += info->nodes - 1;
	v->stat.bytes += info->bytes;
	v->stat.stored += info->stored;
	if (sub_limits(s->sub)->xattr_sets > 1)
		v->stat.has_xattrs = true;
	return 0;
}

/* What only a selection with overlays has. */
static int open_overlays(struct ply_view *v, const struct ply_view_options *o, struct ply_err *err)
{
	int r;

	if (!v->noverlays)
		return o->ndecisions ? ply_fail(err, -EINVAL, PLY_R_USAGE, "decisions, where nothing collides") : 0;
	v->shown = calloc(VIEW_SHOWN_SLOTS, sizeof(*v->shown));
	v->links = view_links_new();
	if (!v->shown || !v->links)
		return ply_fail_nomem(err);
	r = view_closures(v, err);
	return r < 0 ? r : view_pairs_open(v, o, err);
}

static int open_selected(struct ply_view *v, const struct ply_view_options *o, const bool *selected, struct ply_err *err)
{
	uint32_t nsubs = ply_image_nsubs(v->image);
	int r = 0;

	v->subs = calloc(nsubs, sizeof(*v->subs));
	v->by_number = calloc(PLY_NUMBER_MAX + 1, sizeof(*v->by_number));
	v->shared = view_shared_new();
	if (!v->subs || !v->by_number || !v->shared ||
	    cache_new(o->cache_bytes ? o->cache_bytes : CACHE_DEFAULT, &v->cache) < 0)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; r == 0 && i < nsubs; i++)
		if (selected[i])
			r = add_sub(v, i, err);
	if (r == 0)
		r = view_names_init(v, err);
	for (uint32_t i = 0; r == 0 && i < v->nsubs; i++)
		r = view_cond_init(v, &v->subs[i], err);
	if (r < 0)
		return r;
	v->stat.nsubs = v->nsubs;
	v->stat.has_acls = v->stat.has_xattrs && may_have(v, "system.posix_acl_");
	v->stat.has_labels = v->stat.has_xattrs && may_have(v, "security.selinux");
	v->join = v->nsubs > 1 ? image_join(v->image) : NULL;
	return open_overlays(v, o, err);
}

int ply_view_open_with(struct ply_image *im, const struct ply_view_options *o, struct ply_view **ret,
		       struct ply_err *err)
{
	_cleanup_free_ bool *selected = calloc(ply_image_nsubs(im), sizeof(*selected));
	struct ply_view *v = calloc(1, sizeof(*v));
	int r;

	if (!selected || !v) {
		free(v);
		return ply_fail_nomem(err);
	}
	v->image = im;
	r = view_select(im, o->names, o->n, selected, err);
	if (r == 0)
		r = open_selected(v, o, selected, err);
	if (r < 0) {
		ply_view_close(v);
		return r;
	}
	*ret = v;
	return 0;
}

int ply_view_open(struct ply_image *im, const char *const *names, size_t n, size_t cache_bytes,
		  struct ply_view **ret, struct ply_err *err)
{
	return ply_view_open_with(im, &(struct ply_view_options){ .names = names, .n = n, .cache_bytes = cache_bytes },
				  ret, err);
}

struct ply_view *ply_view_close(struct ply_view *v)
{
	if (v) {
		cache_free(v->cache);
		view_shared_free(v->shared);
		for (uint32_t i = 0; v->subs && i < v->nsubs; i++)
			view_cond_done(&v->subs[i]);
		view_pairs_free(v->pairs);
		view_grounds_free(v->grounds);
		view_links_free(v->links);
		free((void *)v->shown);
		for (uint32_t i = 0; v->subs && i < v->nsubs; i++)
			free(v->subs[i].closure);
		free(v->subs);
		free(v->by_number);
		free(v->by_name);
		free(v);
	}
	return NULL;
}

void ply_view_idle(struct ply_view *v)
{
	atomic_store_explicit(&v->listings, 0, memory_order_relaxed);
	cache_shrink(v->cache);
	view_shared_idle(v->shared);
	pthread_mutex_lock(view_shared_lock(v->shared));
	view_grounds_free(v->grounds);
	v->grounds = NULL;
	pthread_mutex_unlock(view_shared_lock(v->shared));
}

struct ply_image *ply_view_image(const struct ply_view *v)
{
	return v->image;
}

void ply_view_stat(const struct ply_view *v, struct ply_view_stat *ret)
{
	*ret = v->stat;
}

uint32_t ply_view_nsubs(const struct ply_view *v)
{
	return v->nsubs;
}

uint32_t ply_view_sub(const struct ply_view *v, uint32_t i)
{
	return v->subs[i].pos;
}

int view_sub_at(struct ply_view *v, uint32_t i, struct sub **ret, struct ply_err *err)
{
	if (i >= v->nsubs)
		return ply_fail(err, -EINVAL, PLY_R_SUB_UNKNOWN, "the selection has %u sub-images", v->nsubs);
	*ret = v->subs[i].sub;
	return 0;
}

uint64_t view_entries(const struct ply_view *v)
{
	return v->entries;
}

uint32_t view_generation(const struct ply_view *v)
{
	uint8_t uuid[16];

	ply_image_uuid(v->image, uuid);
	return (uint32_t)uuid[0] << 24 | (uint32_t)uuid[1] << 16 | (uint32_t)uuid[2] << 8 | uuid[3];
}

struct cache *view_cache(struct ply_view *v)
{
	return v->cache;
}

/* --- inode numbers ----------------------------------------------------------- */

int view_stale(uint64_t ino, struct ply_err *err)
{
	return ply_fail(err, -ESTALE, PLY_R_STALE, "inode %#llx is not in this selection",
			(unsigned long long)ino);
}

/* The first selected member of @row, in order of joining; @own, which is selected, is one. */
static int first_member(struct ply_view *v, const struct join_row *row, uint64_t own, uint64_t *ret,
			struct ply_err *err)
{
	uint64_t first = 0;

	for (uint32_t k = 0; k < row->nmembers; k++) {
		struct join_member jm;
		int r = join_member(v->join, row, k, &jm, err);

		if (r < 0)
			return r;
		if (!first && v->by_number[PLY_INO_NUMBER(jm.ref)])
			first = jm.ref;
		if (jm.ref == own) {
			*ret = first;
			return 0;
		}
	}
	return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu does not list its member",
			(unsigned long long)row->row);
}

int view_find_ino(struct ply_view *v, uint32_t i, uint64_t index, uint64_t *ret_ino, struct join_row *ret_row,
		  struct ply_err *err)
{
	uint64_t own = PLY_INO(v->subs[i].number, index);
	int r = v->join ? join_find(v->join, own, ret_row, err) : 0;

	if (r <= 0) {
		*ret_ino = own;
		return r;
	}
	r = first_member(v, ret_row, own, ret_ino, err);
	return r < 0 ? r : 1;
}

int view_node_ino(struct ply_view *v, uint32_t i, uint64_t index, uint64_t *ret_ino, struct ply_err *err)
{
	struct join_row row;
	int r = view_find_ino(v, i, index, ret_ino, &row, err);

	return MIN(r, 0);
}

static int add_member(struct vnode *vn, uint32_t cap, uint32_t i, uint64_t index)
{
	uint32_t at = vn->n;

	if (vn->n == cap)
		return -EUCLEAN;
	while (at && vn->m[at - 1].i > i) {   /* by rank */
		vn->m[at] = vn->m[at - 1];
		at--;
	}
	if (at && vn->m[at - 1].i == i)
		return -EUCLEAN;
	vn->m[at] = (struct member){ i, index };
	vn->n++;
	return 0;
}

int vnode_get(struct ply_view *v, uint64_t ino, struct vnode *vn, struct ply_err *err)
{
	uint32_t number = PLY_INO_NUMBER(ino), cap = ARRAY_SIZE(vn->few), i;
	uint64_t index = PLY_INO_INDEX(ino), first = 0;
	int r;

	if (number > PLY_NUMBER_MAX || !v->by_number[number])
		return view_stale(ino, err);
	i = v->by_number[number] - 1u;
	if (!index || index >= sub_limits(v->subs[i].sub)->nodes)
		return view_stale(ino, err);
	vn->ino = ino;
	vn->m = vn->few;
	vn->n = 0;
	vn->joined = false;
	vn->partial = false;
	if (v->join) {
		r = join_find(v->join, ino, &vn->row, err);
		if (r < 0)
			return r;
		vn->joined = r > 0;
	}
	if (!vn->joined) {
		vn->m[vn->n++] = (struct member){ i, index };
		return 0;
	}
	if (vn->row.nmembers > cap) {
		cap = MIN(vn->row.nmembers, v->nsubs);
		vn->m = malloc(cap * sizeof(*vn->m));
		if (!vn->m)
			return ply_fail_nomem(err);
	}
	for (uint32_t k = 0; k < vn->row.nmembers; k++) {
		struct join_member jm;

		r = join_member(v->join, &vn->row, k, &jm, err);
		if (r < 0)
			goto fail;
		if (!v->by_number[PLY_INO_NUMBER(jm.ref)])
			continue;
		if (!vn->n)
			first = jm.ref;
		if (add_member(vn, cap, v->by_number[PLY_INO_NUMBER(jm.ref)] - 1u,
			       PLY_INO_INDEX(jm.ref)) < 0) {
			r = ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD,
				     "join row %llu lists a sub-image twice",
				     (unsigned long long)vn->row.row);
			goto fail;
		}
	}
	if (first == ino)
		return 0;
	r = ino != PLY_ROOT_INDEX ? view_stale(ino, err) :   /* that one is in every selection */
		ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "the root of os is joined behind another");
fail:
	vnode_done(vn);
	return r;
}

void vnode_done(struct vnode *vn)
{
	if (vn->m != vn->few)
		free(vn->m);
}

/* Of what kind is member @m as one that gives metadata? The lowest is the best. */
enum { OWNS, OVERRIDES, IS_IMPLIED };

static int standing(struct ply_view *v, const struct member *m, const struct ply_node *n, struct ply_err *err)
{
	struct ply_override o;
	int r;

	if (n->flags & PLY_NODE_IMPLIED)
		return IS_IMPLIED;
	if (!v->subs[m->i].overlay || !S_ISDIR(n->mode))
		return OWNS;
	r = sub_override_find(v->subs[m->i].sub, m->index, &o, NULL);
	if (r < 0 && r != -ENOENT)
		return sub_override_find(v->subs[m->i].sub, m->index, &o, err);
	return r == 0 ? OVERRIDES : OWNS;
}

int vnode_node(struct ply_view *v, const struct vnode *vn, struct ply_node *ret, struct member *ret_m,
	       struct ply_err *err)
{
	struct ply_node best;
	uint32_t at = 0;
	int r, rank;

	r = sub_node(v->subs[vn->m[0].i].sub, vn->m[0].index, &best, err);
	if (r < 0)
		return r;
	rank = standing(v, &vn->m[0], &best, err);
	for (uint32_t k = 1; rank > OWNS && k < vn->n; k++) {
		struct ply_node n;

		r = sub_node(v->subs[vn->m[k].i].sub, vn->m[k].index, &n, err);
		if (r < 0)
			return r;
		if ((n.mode ^ best.mode) & S_IFMT)
			return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD,
					"join row %llu joins different types",
					(unsigned long long)vn->row.row);
		r = standing(v, &vn->m[k], &n, err);
		if (r < 0)
			return r;
		if (r < rank) {
			best = n;
			at = k;
			rank = r;
		}
	}
	if (rank < 0)
		return rank;
	if (vn->joined && !(best.flags & PLY_NODE_SHARED) != (vn->row.kind != PLY_J_FILE))
		return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu: a shared file, or none, joined as the other",
				(unsigned long long)vn->row.row);
	*ret = best;
	if (ret_m)
		*ret_m = vn->m[at];
	return 0;
}

static int bad_shape(uint64_t at, struct ply_err *err)
{
	return ply_fail(err, -EUCLEAN, PLY_R_TREE_SHAPE,
			"entry %llu: what it names belongs to another entry", (unsigned long long)at);
}

/* Is the joined directory @ino (named @e in one part of @dir) a child of @dir by that name? */
static int check_joined(struct ply_view *v, const struct vnode *dir, const struct ply_entry *e,
			uint64_t at, uint64_t ino, struct ply_err *err)
{
	uint32_t i = v->by_number[PLY_INO_NUMBER(ino)] - 1u;
	struct ply_node n;
	struct ply_entry own;
	uint64_t parent;
	int r;

	r = sub_node(v->subs[i].sub, PLY_INO_INDEX(ino), &n, err);
	if (r < 0)
		return r;
	if (PLY_INO_INDEX(ino) == PLY_ROOT_INDEX)
		return bad_shape(at, err);
	r = view_node_ino(v, i, PLY_INO_INDEX(n.parent), &parent, err);
	if (r == 0)
		r = sub_entry(v->subs[i].sub, n.entry, &own, err);
	if (r < 0)
		return r;
	if (parent != dir->ino || own.name_len != e->name_len ||
	    memcmp(own.name, e->name, e->name_len) != 0)
		return bad_shape(at, err);
	return 0;
}

/* Is @ino, by which node @index of subs[@i] goes here, a file of the same type that it is joined with? */
static int check_member(struct ply_view *v, uint32_t i, uint64_t index, uint64_t at, const struct ply_entry *e,
			uint64_t ino, struct ply_err *err)
{
	struct ply_node n;
	struct vnode vn;
	bool member = false;
	int r = sub_node(v->subs[v->by_number[PLY_INO_NUMBER(ino)] - 1u].sub, PLY_INO_INDEX(ino), &n, err);

	if (r < 0)
		return r;
	r = vnode_get(v, ino, &vn, err);
	if (r < 0)
		return r == -ESTALE ? bad_shape(at, err) : r;
	for (uint32_t k = 0; k < vn.n; k++)
		member |= vn.m[k].i == i && vn.m[k].index == index;
	vnode_done(&vn);
	return member && n.mode >> 12 == e->type ? 0 : bad_shape(at, err);
}

int view_child(struct ply_view *v, const struct vnode *dir, uint32_t i, uint64_t dir_index,
	       uint64_t at, const struct ply_entry *e, uint64_t *ret_ino, struct ply_err *err)
{
	uint64_t index = PLY_INO_INDEX(e->ref), ino;
	struct join_row row;
	struct ply_node n;
	int r;

	r = sub_node(v->subs[i].sub, index, &n, err);
	if (r < 0)
		return r;
	if (n.mode >> 12 != e->type)
		return ply_fail(err, -EUCLEAN, PLY_R_TREE_SHAPE, "entry %llu: its type is not its node's",
				(unsigned long long)at);
	if ((S_ISDIR(n.mode) || n.nlink == 1) &&
	    (n.entry != at || PLY_INO_INDEX(n.parent) != dir_index))
		return bad_shape(at, err);
	r = view_find_ino(v, i, index, &ino, &row, err);
	if (r < 0)
		return r;
	if (r > 0 && S_ISDIR(n.mode) != (row.kind == PLY_J_DIRECTORY))
		return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu joins a directory and a file",
				(unsigned long long)row.row);
	if (ino != PLY_INO(v->subs[i].number, index)) {
		r = check_member(v, i, index, at, e, ino, err);
		if (r == 0 && S_ISDIR(n.mode))
			r = check_joined(v, dir, e, at, ino, err);
		if (r < 0)
			return r;
	}
	*ret_ino = ino;
	return 0;
}
