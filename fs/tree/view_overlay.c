/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names where overlays are selected: what each sub-image has at a path, who hides whom, and what is shown.
 *
 * A candidate is one sub-image's row of a name. It is hidden by a candidate of an overlay that stands on it,
 * be that a whiteout or not; those that nobody hides are the heads. One head is shown as it is. Of several, which
 * stand beside one another, a decision takes one, or keeps both; else they are merged, and shown at the place of the
 * first by rank, which gives the inode number too. Nothing is kept for it, so an inode number is answered by
 * asking its own name again: a file that another one hides is stale.
 *
 * What an overlay's file hides of a directory is hidden with all that is in it, also where an overlay on top
 * has a directory there again: that one is joined with the first, whose part must not come back. So a
 * directory's members depend on all directories above it. Those that show all their members, and this is
 * almost all, are remembered in a table of fixed size; it holds nothing that could become wrong.
 *
 * Directories without an overlay, and views without one, never come here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/handover.h"
#include "base/sigbus.h"
#include "base/util.h"
#include "tree/view_impl.h"

#define DEPTH_MAX  65536u          /* of directories whose parents are not remembered */
#define BESIDE     ".plyfs-"
#define JOINED_MAX 64u

bool vnode_has_overlay(const struct ply_view *v, const struct vnode *vn)
{
	for (uint32_t k = vn->n; v->noverlays && k; k--)   /* they have the highest ranks */
		if (v->subs[vn->m[k - 1].i].overlay)
			return true;
	return false;
}

/* --- candidates ---------------------------------------------------------------------- */

void view_name_done(struct view_name *n)
{
	if (n->c != n->few)
		free(n->c);
	n->c = n->few;
}

/* What member @k of a directory, whose node is @n, has; 0: nothing. */
static int candidate(struct ply_view *v, const struct vnode *dir, uint32_t k, const struct ply_node *n, const char *name,
		     size_t len, struct cand *ret, struct ply_err *err)
{
	const struct member *m = &dir->m[k];
	struct sub *sub = v->subs[m->i].sub;
	struct ply_entry e;
	uint64_t at;
	int r = sub_find(sub, n, name, len, &at, &e, NULL);

	if (r == -ENOENT)
		return 0;
	if (r < 0)                 /* once more, for the message */
		return sub_find(sub, n, name, len, &at, &e, err);
	r = view_holds(v, m->i, e.condition, err);
	if (r <= 0)
		return r;
	*ret = (struct cand){ .i = m->i, .dir = m->index, .at = at, .type = e.type,
			      .index = e.type == PLY_T_WHITEOUT ? 0 : PLY_INO_INDEX(e.ref) };
	return 1;
}

/* The same, where all that an overlay has there are directories, and an earlier member has a directory of that name,
 * @first: the join table says it, and neither rows nor names of the overlay are read. */
static int joined_candidate(struct ply_view *v, const struct vnode *dir, uint32_t k, const struct cand *first,
			    struct cand *ret, struct ply_err *err)
{
	const struct member *m = &dir->m[k];
	struct join_row row;
	uint64_t ino;
	int joined = view_find_ino(v, first->i, first->index, &ino, &row, err), r = MIN(joined, 0);

	for (uint32_t q = 0; r == 0 && joined && q < row.nmembers; q++) {
		struct join_member jm;
		struct ply_node n;

		r = join_member(v->join, &row, q, &jm, err);
		if (r < 0 || PLY_INO_NUMBER(jm.ref) != v->subs[m->i].number)
			continue;
		r = sub_node(v->subs[m->i].sub, PLY_INO_INDEX(jm.ref), &n, err);
		if (r < 0)
			return r;
		*ret = (struct cand){ .i = m->i, .dir = m->index, .at = n.entry, .type = S_IFDIR >> 12,
				      .index = PLY_INO_INDEX(jm.ref) };
		return 1;
	}
	return r;
}

/* ... where that is less work: rows of many members are looked through. */
static bool is_joined_only(const struct ply_view *v, const struct vnode *dir, uint32_t k, const struct ply_node *n,
			   const struct view_name *found)
{
	return v->subs[dir->m[k].i].overlay && n->nlink == n->size && dir->n <= JOINED_MAX && found->n &&
	       found->c[0].type == S_IFDIR >> 12;
}

static int gather(struct ply_view *v, const struct vnode *dir, const char *name, size_t len, struct view_name *n,
		  struct ply_err *err)
{
	n->c = n->few;
	n->n = 0;
	if (dir->n > ARRAY_SIZE(n->few)) {
		n->c = malloc(dir->n * sizeof(*n->c));
		if (!n->c)
			return ply_fail_nomem(err);
	}
	for (uint32_t k = 0; k < dir->n; k++) {
		struct ply_node node;
		int r = view_dir_part(v, dir, k, &node, err);

		if (r == 0)
			r = is_joined_only(v, dir, k, &node, n) ?
				    joined_candidate(v, dir, k, &n->c[0], &n->c[n->n], err) :
				    candidate(v, dir, k, &node, name, len, &n->c[n->n], err);
		if (r < 0)
			return r;
		n->n += (uint32_t)r;
	}
	return 0;
}

static void hide(const struct ply_view *v, struct view_name *n)
{
	uint32_t words = (v->nsubs + 63) / 64;
	uint64_t hidden[VIEW_BITS_WORDS];

	if (n->n < 2)
		return;
	memset(hidden, 0, words * sizeof(*hidden));
	for (uint32_t k = 0; k < n->n; k++)
		for (uint32_t w = 0; v->subs[n->c[k].i].overlay && w < words; w++)
			hidden[w] |= v->subs[n->c[k].i].closure[w];
	for (uint32_t k = 0; k < n->n; k++)
		n->c[k].hidden = n->c[k].own_hidden = hidden[n->c[k].i / 64] >> n->c[k].i % 64 & 1;
}

static int is_same_inode(struct ply_view *v, const struct cand *a, const struct cand *b, struct ply_err *err)
{
	struct join_row row;
	uint64_t x, y;
	int r = view_find_ino(v, a->i, a->index, &x, &row, err);

	if (r >= 0)
		r = view_find_ino(v, b->i, b->index, &y, &row, err);
	return r < 0 ? r : x == y;
}

/* Of sub-images that are no overlays the first has the name, and hides those behind it; all directories are one,
 * and so are the parts of a shared file. */
static int unite_ground(struct ply_view *v, struct view_name *n, struct ply_err *err)
{
	struct cand *first = NULL;
	uint32_t out = 0;

	for (uint32_t k = 0; k < n->n; k++) {
		struct cand *c = &n->c[k];
		bool is_ground = !v->subs[c->i].overlay;
		int r = 1;

		if (is_ground && first && c->type != S_IFDIR >> 12 && c->type == first->type) {
			r = is_same_inode(v, first, c, err);
			if (r < 0)
				return r;
			c->part = r > 0;
			first->hidden &= c->own_hidden || !c->part;
		} else if (is_ground && first) {
			r = c->type == first->type;
		}
		if (!r)
			continue;
		n->c[out] = *c;
		if (is_ground && !first)
			first = &n->c[out];
		out++;
	}
	n->n = out;
	return 0;
}

/* --- what is shown -------------------------------------------------------------------- */

static uint64_t key_of(const struct ply_view *v, const struct cand *c)
{
	return c->type == PLY_T_WHITEOUT ? PAIR_WHITEOUT | PLY_INO(v->subs[c->i].number, c->at + 1) :
					   PLY_INO(v->subs[c->i].number, c->index);
}

/* Which candidate is one side of a pair? -1: none. */
static int64_t find_side(const struct ply_view *v, const struct view_name *n, uint64_t ref, bool whiteout)
{
	uint64_t key = ref | (whiteout ? PAIR_WHITEOUT : 0);
	uint32_t i = v->by_number[PLY_INO_NUMBER(ref)] - 1u, lo = 0, hi = n->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (n->c[mid].i < i)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n->n && n->c[lo].i == i && key_of(v, &n->c[lo]) == key ? (int64_t)lo : -1;
}

/* What the pairs of a name say. */
struct saying {
	uint8_t rule, of_itself;   /* of_itself: where nothing is decided */
	uint16_t driver, flags;
	bool records, more;        /* what clashes */
};

static void hear(struct saying *s, const struct view_pair *p)
{
	bool conflict = p->cls == PLY_PAIR_CONFLICT;

	s->flags |= p->flags;
	s->records |= conflict && p->why == PLY_PAIR_WHY_RECORD;
	s->more |= conflict && p->why != PLY_PAIR_WHY_RECORD;
	if (p->rule) {
		s->rule = p->rule;
		s->driver = p->driver;
	} else if (conflict) {
		s->of_itself = PLY_RULE_FIRST;
	} else if (p->cls == PLY_PAIR_APPEND && !s->of_itself) {
		s->of_itself = VIEW_RULE_APPEND;
	}
}

static bool is_heard(const struct view_name *n, const bool *heads, uint32_t k)
{
	return heads ? heads[k] : !n->c[k].own_hidden;
}

/* The pairs that candidate @k is the second of. A hostile image has more of them than there are candidates. */
static int hear_pairs_of(const struct ply_view *v, const struct view_name *n, const bool *heads, uint32_t k,
			 struct saying *s, struct ply_err *err)
{
	struct view_pair_range pairs;
	struct view_pair p;
	int r = view_pairs_with(v, key_of(v, &n->c[k]), &pairs, err);

	for (uint32_t j = 0; r >= 0 && pairs.n > n->n && j < n->n; j++) {
		r = is_heard(n, heads, j) ? view_pairs_find(v, &pairs, key_of(v, &n->c[j]), &p, err) : 0;
		if (r > 0)
			hear(s, &p);
	}
	for (uint64_t q = 0; r >= 0 && pairs.n <= n->n && q < pairs.n; q++) {
		int64_t first;

		r = view_pairs_get(v, pairs.at + q, &p, err);
		if (r < 0)
			break;
		first = find_side(v, n, p.a, p.flags & PLY_PAIR_A_WHITEOUT);
		if (first >= 0 && is_heard(n, heads, (uint32_t)first))
			hear(s, &p);
	}
	return MIN(r, 0);
}

int view_name_rule(const struct ply_view *v, const struct view_name *n, const bool *heads, uint8_t *ret_rule,
		   uint16_t *ret_driver, uint16_t *ret_flags, struct ply_err *err)
{
	struct saying s = { 0 };
	int r = 0;

	for (uint32_t k = 0; r == 0 && k < n->n; k++)
		if (is_heard(n, heads, k))
			r = hear_pairs_of(v, n, heads, k, &s, err);
	if (r < 0)
		return r;
	*ret_driver = s.driver;
	*ret_flags = s.flags;
	*ret_rule = s.rule ? s.rule : s.of_itself;
	if (s.records && !s.more)
		*ret_rule = *ret_rule == PLY_RULE_FIRST ? VIEW_RULE_FIRST_RECORDS :
			    *ret_rule == PLY_RULE_LAST ? VIEW_RULE_LAST_RECORDS : *ret_rule;
	return 0;
}

/* Heads, or with @all whiteouts among them: how many; the first and the last. */
static uint32_t find_heads(const struct view_name *n, bool all, uint32_t *ret_first, uint32_t *ret_last)
{
	uint32_t count = 0;

	for (uint32_t k = 0; k < n->n; k++) {
		if (n->c[k].hidden || n->c[k].part || (!all && n->c[k].type == PLY_T_WHITEOUT))
			continue;
		if (!count++)
			*ret_first = k;
		*ret_last = k;
	}
	return count;
}

static void show_one(struct view_name *n, uint32_t k)
{
	n->shown = k;
	n->kind = n->c[k].type == PLY_T_WHITEOUT ? NAME_NONE :
		  n->c[k].type == S_IFDIR >> 12 ? NAME_DIRECTORY : NAME_ONE;
}

/* Of several heads, about which nothing is decided that takes one of them. */
static void show_several(struct view_name *n, uint32_t first)
{
	bool same = true, directory = false;

	for (uint32_t k = 0; k < n->n; k++) {
		if (!cand_is_head(&n->c[k]))
			continue;
		same &= n->c[k].type == n->c[first].type;
		directory |= n->c[k].type == S_IFDIR >> 12;
	}
	show_one(n, first);
	if (n->rule == PLY_RULE_KEEP_BOTH && !directory)
		n->kind = NAME_BOTH;
	else if (same && !directory)
		n->kind = NAME_MERGED;
}

/* A directory is listed where the first sub-image has it, whoever changes something in it. */
static void place_directory(struct view_name *n)
{
	for (uint32_t k = 0; n->kind == NAME_DIRECTORY && k <= n->shown; k++) {
		if (n->c[k].type == S_IFDIR >> 12) {
			n->shown = k;
			break;
		}
	}
}

static bool are_directories(const struct view_name *n)
{
	for (uint32_t k = 0; k < n->n; k++)
		if (!n->c[k].hidden && n->c[k].type != S_IFDIR >> 12)
			return false;
	return true;
}

static int show(const struct ply_view *v, struct view_name *n, struct ply_err *err)
{
	uint32_t first = 0, last = 0, count = find_heads(n, true, &first, &last);

	n->kind = NAME_NONE;
	n->rule = 0;
	n->flags = 0;
	/* directories need no rule but a decision, and then pairs are kept */
	if (count > 1 && (view_npairs(v) || !are_directories(n))) {
		int r = view_name_rule(v, n, NULL, &n->rule, &n->driver, &n->flags, err);

		if (r < 0)
			return r;
	}
	if (count == 1 || (count && (n->rule == PLY_RULE_FIRST || n->rule == PLY_RULE_LAST))) {
		show_one(n, n->rule == PLY_RULE_LAST ? last : first);
	} else if (count) {
		count = find_heads(n, false, &first, &last);
		if (count == 1)
			show_one(n, first);
		else if (count)
			show_several(n, first);
	}
	place_directory(n);
	return 0;
}

int view_name_get(struct ply_view *v, const struct vnode *dir, const char *name, size_t len, struct view_name *ret,
		  struct ply_err *err)
{
	int r = gather(v, dir, name, len, ret, err);

	if (r == 0) {
		hide(v, ret);
		r = unite_ground(v, ret, err);
	}
	if (r == 0)
		r = show(v, ret, err);
	if (r < 0)
		view_name_done(ret);
	return r;
}

/* --- pairs of which one is not shown ---------------------------------------------------- */

enum meeting { UNKNOWN, HEADS, HIDDEN };

/* What has the name that node @ref says it has. -ESTALE: its directory is not shown. */
static int name_of_node(struct ply_view *v, uint64_t ref, struct view_name *ret)
{
	uint32_t i = v->by_number[PLY_INO_NUMBER(ref)] - 1u;
	struct sub *sub = v->subs[i].sub;
	struct ply_entry e;
	struct ply_node n;
	struct vnode dir;
	uint64_t parent;
	int r = PLY_INO_INDEX(ref) == PLY_ROOT_INDEX ? -ENOENT : sub_node(sub, PLY_INO_INDEX(ref), &n, NULL);

	if (r == 0)
		r = sub_entry(sub, n.entry, &e, NULL);
	if (r == 0)
		r = view_node_ino(v, i, PLY_INO_INDEX(n.parent), &parent, NULL);
	if (r == 0)
		r = view_dir_get(v, parent, &dir, NULL);
	if (r < 0)
		return r;
	r = view_name_get(v, &dir, e.name, e.name_len, ret, NULL);
	vnode_done(&dir);
	return r;
}

/* What @p is by the first name of @ref, one of its nodes. @sure: this is the path, so who is not there is hidden. */
static enum meeting meet_at(struct ply_view *v, const struct view_pair *p, uint64_t ref, bool sure)
{
	struct view_name n;
	int64_t a, b;
	int r = name_of_node(v, ref, &n);

	if (r == -ESTALE && sure && !view_pairs_open_types(v))
		return HIDDEN;
	if (r < 0)
		return UNKNOWN;
	a = find_side(v, &n, p->a, p->flags & PLY_PAIR_A_WHITEOUT);
	b = find_side(v, &n, p->b, p->flags & PLY_PAIR_B_WHITEOUT);
	if (a < 0 || b < 0)
		r = sure ? HIDDEN : UNKNOWN;
	else
		r = n.c[a].own_hidden || n.c[b].own_hidden ? HIDDEN : HEADS;
	view_name_done(&n);
	return (enum meeting)r;
}

bool view_pair_is_hidden(struct ply_view *v, const struct view_pair *p)
{
	uint64_t first = view_pair_named(v, p), second = first == p->a ? p->b : p->a;
	bool is_node = !(p->flags & (PLY_PAIR_A_WHITEOUT | PLY_PAIR_B_WHITEOUT));
	enum meeting m = meet_at(v, p, first, view_pair_has_one_name(v, p));

	/* both have several names: they meet at one of them */
	if (m == UNKNOWN && is_node)
		m = meet_at(v, p, second, false);
	return m == HIDDEN;
}

/* --- what heads stand on ------------------------------------------------------------------ */

void view_common_ground(const struct ply_view *v, const struct view_name *n, const bool *heads,
			uint64_t ret[VIEW_BITS_WORDS])
{
	uint32_t words = (v->nsubs + 63) / 64;

	memset(ret, 0xff, words * sizeof(*ret));
	for (uint32_t k = 0; k < n->n; k++) {
		const uint64_t *closure = v->subs[n->c[k].i].closure;

		if (heads ? !heads[k] || n->c[k].type == PLY_T_WHITEOUT : !cand_is_head(&n->c[k]))
			continue;
		for (uint32_t w = 0; w < words; w++)
			ret[w] &= closure ? closure[w] : 0;
	}
}

/* --- keep both -------------------------------------------------------------------------- */

size_t view_beside_name(const struct ply_view *v, const char *name, size_t len, uint32_t i, char out[PLY_NAME_MAX])
{
	const char *sub = ply_image_sub_info(v->image, v->subs[i].pos)->name;
	size_t sub_len = strlen(sub), mark = sizeof(BESIDE) - 1;

	if (len + mark + sub_len > PLY_NAME_MAX)
		return 0;
	memmove(out, name, len);
	memcpy(out + len, BESIDE, mark);
	memcpy(out + len + mark, sub, sub_len);
	return len + mark + sub_len;
}

static int find_beside(struct ply_view *v, const struct vnode *dir, const char *name, size_t len, const char *sub,
		       size_t sub_len, uint64_t *ret_ino, struct ply_err *err)
{
	struct view_name n;
	int r = view_name_get(v, dir, name, len, &n, err);

	if (r < 0)
		return r;
	for (uint32_t k = n.shown + 1; n.kind == NAME_BOTH && k < n.n; k++) {
		const struct vsub *s = &v->subs[n.c[k].i];
		const char *own = ply_image_sub_info(v->image, s->pos)->name;
		struct ply_entry e;

		if (!cand_is_head(&n.c[k]) || strlen(own) != sub_len || memcmp(own, sub, sub_len) != 0)
			continue;
		r = sub_entry(s->sub, n.c[k].at, &e, err);
		if (r == 0)
			r = view_child(v, dir, n.c[k].i, n.c[k].dir, n.c[k].at, &e, ret_ino, err);
		r = r < 0 ? r : 1;
		break;
	}
	view_name_done(&n);
	return r;
}

int view_beside_find(struct ply_view *v, const struct vnode *dir, const char *name, size_t len, uint64_t *ret_ino,
		     struct ply_err *err)
{
	size_t mark = sizeof(BESIDE) - 1;

	/* both may have the mark in them: there are as many places to look at as the name has marks */
	for (size_t at = 1; at + mark < len; at++) {
		int r;

		if (memcmp(name + at, BESIDE, mark) != 0)
			continue;
		r = find_beside(v, dir, name, at, name + at + mark, len - at - mark, ret_ino, err);
		if (r)
			return MIN(r, 1);
	}
	return 0;
}

int view_entry_name(struct ply_view *v, uint64_t dir_ino, uint32_t i, uint64_t at, const struct ply_entry *e,
		    char out[PLY_NAME_MAX], const char **ret, size_t *ret_len, struct ply_err *err)
{
	struct view_name n;
	struct vnode dir;
	int r;

	*ret = e->name;
	*ret_len = e->name_len;
	if (!view_pairs_any(v, PLY_RULE_KEEP_BOTH))
		return 0;
	r = view_dir_get(v, dir_ino, &dir, err);
	if (r < 0)
		return r;
	if (vnode_has_overlay(v, &dir)) {
		r = view_name_get(v, &dir, e->name, e->name_len, &n, err);
		if (r == 0 && n.kind == NAME_BOTH && (n.c[n.shown].i != i || n.c[n.shown].at != at)) {
			*ret_len = view_beside_name(v, e->name, e->name_len, i, out);
			*ret = out;
		}
		if (r == 0)
			view_name_done(&n);
	}
	vnode_done(&dir);
	return r;
}

/* --- directories ------------------------------------------------------------------------- */

static _Atomic uint64_t *shown_slot(struct ply_view *v, uint64_t ino)
{
	return &v->shown[ino * 0x9e3779b97f4a7c15ULL >> 54 & (VIEW_SHOWN_SLOTS - 1)];
}

static bool is_known(struct ply_view *v, uint64_t ino)
{
	return ino == PLY_ROOT_INDEX || atomic_load_explicit(shown_slot(v, ino), memory_order_relaxed) == ino;
}

static void vnode_move(struct vnode *to, const struct vnode *from)
{
	*to = *from;
	if (from->m == from->few)
		to->m = to->few;
}

/* Is @m of a child gone, for its directory is, or for an overlay's file was there in between? -EUCLEAN: it is of
 * another directory. */
static int is_gone(struct ply_view *v, const struct vnode *up, const struct view_name *n, const struct member *m,
		   struct ply_err *err)
{
	const struct member *parent = vnode_member(up, m->i);
	struct ply_node node;
	int r;

	if (!parent)
		return 1;
	r = sub_node(v->subs[m->i].sub, m->index, &node, err);
	if (r < 0)
		return r;
	if (PLY_INO_INDEX(node.parent) != parent->index)
		return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "directories with different parents are joined");
	for (uint32_t k = 0; k < n->n; k++)
		if (n->c[k].own_hidden && n->c[k].type != S_IFDIR >> 12 && n->c[k].type != PLY_T_WHITEOUT &&
		    view_stands_on(v, n->c[k].i, m->i))
			return 1;
	return 0;
}

/* Is directory @vn what @name shows in @up? -ESTALE: it is not. Members that are not shown go. @faults: of pages, before
 * anything was looked at; what zeros may have said is not remembered. */
static int check_directory(struct ply_view *v, const struct vnode *up, const struct view_name *name, struct vnode *vn,
			   unsigned faults, struct ply_err *err)
{
	uint32_t out = 0, all = vn->n;
	struct join_row row;
	uint64_t ino;
	int r;

	if (name->kind != NAME_DIRECTORY)
		return view_stale(vn->ino, err);
	r = view_find_ino(v, name->c[name->shown].i, name->c[name->shown].index, &ino, &row, err);
	if (r < 0)
		return r;
	if (ino != vn->ino)
		return view_stale(vn->ino, err);
	for (uint32_t k = 0; k < all; k++) {
		r = is_gone(v, up, name, &vn->m[k], err);
		if (r < 0)
			return r;
		if (!r)
			vn->m[out++] = vn->m[k];
	}
	vn->n = out;
	vn->partial = out < all;
	handover("shown");
	if (!vn->partial && sigbus_faults() == faults)
		atomic_store_explicit(shown_slot(v, ino), ino, memory_order_relaxed);
	return out ? 0 : view_stale(vn->ino, err);
}

/* One step down: @ino, which names @up as its directory. */
static int step_down(struct ply_view *v, const struct vnode *up, uint64_t ino, struct vnode *ret, struct ply_err *err)
{
	unsigned faults = sigbus_faults();
	struct view_name name;
	struct ply_entry e;
	struct ply_node n;
	int r = vnode_get(v, ino, ret, err);

	if (r < 0)
		return r;
	r = sub_node(v->subs[ret->m[0].i].sub, ret->m[0].index, &n, err);
	if (r == 0)
		r = sub_entry(v->subs[ret->m[0].i].sub, n.entry, &e, err);
	if (r == 0)
		r = view_name_get(v, up, e.name, e.name_len, &name, err);
	if (r == 0) {
		r = check_directory(v, up, &name, ret, faults, err);
		view_name_done(&name);
	}
	if (r < 0)
		vnode_done(ret);
	return r;
}

/* @ino and the directories above it, up to one that is known: *ret_top. */
static int climb(struct ply_view *v, uint64_t ino, uint64_t **ret, size_t *ret_n, uint64_t *ret_top,
		 struct ply_err *err)
{
	uint64_t *chain = NULL;
	size_t n = 0, cap = 0;
	int r = 0;

	while (r == 0 && !is_known(v, ino)) {
		uint32_t number = PLY_INO_NUMBER(ino);
		struct ply_node node;

		if (n == DEPTH_MAX)
			r = ply_fail(err, -EUCLEAN, PLY_R_TREE_SHAPE, "directories lead in a circle");
		else if (array_grow(&chain, &cap, n + 1, sizeof(*chain)) < 0)
			r = ply_fail_nomem(err);
		else if (number > PLY_NUMBER_MAX || !v->by_number[number])
			r = view_stale(ino, err);
		if (r < 0)
			break;
		chain[n++] = ino;
		r = sub_node(v->subs[v->by_number[number] - 1u].sub, PLY_INO_INDEX(ino), &node, err);
		if (r == 0)
			r = view_node_ino(v, v->by_number[number] - 1u, PLY_INO_INDEX(node.parent), &ino, err);
	}
	if (r < 0) {
		free(chain);
		return r;
	}
	*ret = chain;
	*ret_n = n;
	*ret_top = ino;
	return 0;
}

int view_dir_get(struct ply_view *v, uint64_t ino, struct vnode *ret, struct ply_err *err)
{
	_cleanup_free_ uint64_t *chain = NULL;
	struct ply_node node;
	uint64_t top;
	size_t n;
	int r = vnode_get(v, ino, ret, err);

	if (r < 0 || !v->noverlays || is_known(v, ino))
		return r;
	r = sub_node(v->subs[ret->m[0].i].sub, ret->m[0].index, &node, err);
	if (r == 0 && !S_ISDIR(node.mode))
		return 0;          /* the caller says what that means */
	vnode_done(ret);
	if (r == 0)
		r = climb(v, ino, &chain, &n, &top, err);
	if (r == 0)
		r = vnode_get(v, top, ret, err);
	for (; r == 0 && n; n--) {
		struct vnode up;

		vnode_move(&up, ret);
		r = step_down(v, &up, chain[n - 1], ret, err);
		vnode_done(&up);
	}
	return r;
}

/* --- files --------------------------------------------------------------------------------- */

void view_place_done(struct place *p)
{
	if (p->overlaid) {
		vnode_done(&p->dir);
		view_name_done(&p->name);
	}
	p->overlaid = false;
}

/* The candidate that is shown, and is the file @vn; n->n: there is none. */
static int64_t find_file(struct ply_view *v, const struct vnode *vn, const struct view_name *n, struct ply_err *err)
{
	for (uint32_t k = n->shown; n->kind != NAME_NONE && n->kind != NAME_DIRECTORY && k < n->n; k++) {
		struct join_row row;
		uint64_t ino;
		int r;

		if (k != n->shown && (n->kind != NAME_BOTH || !cand_is_head(&n->c[k])))
			continue;
		r = view_find_ino(v, n->c[k].i, n->c[k].index, &ino, &row, err);
		if (r < 0)
			return r;
		if (ino == vn->ino)
			return k;
	}
	return n->n;
}

/* The same, for a file of which its node says that it has one name. */
static int place_in(struct ply_view *v, const struct vnode *vn, const struct ply_node *n, struct place *p,
		    struct ply_err *err)
{
	const struct member *m = &vn->m[0];
	struct ply_entry e;
	int64_t k;
	int r;

	if (!vnode_has_overlay(v, &p->dir)) {
		vnode_done(&p->dir);
		return 0;
	}
	r = sub_entry(v->subs[m->i].sub, n->entry, &e, err);
	if (r == 0)
		r = view_name_get(v, &p->dir, e.name, e.name_len, &p->name, err);
	if (r < 0) {
		vnode_done(&p->dir);
		return r;
	}
	p->overlaid = true;
	k = find_file(v, vn, &p->name, err);
	if (k >= 0 && k < p->name.n) {
		p->head = (uint32_t)k;
		return 0;
	}
	view_place_done(p);
	return k < 0 ? (int)k : view_stale(vn->ino, err);
}

/* A file of several names may be shown by one that is not the one that its node names. */
int view_place_get(struct ply_view *v, const struct vnode *vn, struct place *ret, struct ply_err *err)
{
	const struct member *m = &vn->m[0];
	struct ply_node n;
	uint64_t parent;
	int r;

	ret->elsewhere = ret->overlaid = false;
	if (!v->noverlays)
		return 0;
	r = sub_node(v->subs[m->i].sub, m->index, &n, err);
	if (r == 0)
		r = view_node_ino(v, m->i, PLY_INO_INDEX(n.parent), &parent, err);
	if (r == 0)
		r = view_dir_get(v, parent, &ret->dir, err);
	if (r == 0)
		r = place_in(v, vn, &n, ret, err);
	ret->elsewhere = r == -ESTALE && (n.nlink > 1 || (vn->joined && vn->row.kind == PLY_J_LINKS));
	return ret->elsewhere ? 0 : r;
}
