/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which paths of a new overlay others have too, of which it knows nothing, and what is to become of them.
 *
 * The overlay's tree is walked, and its names are looked up in every sub-image that it does not stand on: cost
 * follows the overlay. Where such a one has the name itself, in the view of it and of what it stands on, both are compared, and
 * with what both started from: the path in the view of what they both stand on. The engine of fs/merge judges.
 *
 * The overlay is read from its segment, as it was written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "add/overlay.h"
#include "base/util.h"
#include "cache/cache.h"
#include "codec/codec.h"
#include "merge/compose.h"
#include "sub/sub.h"
#include "tree/view_internal.h"

#define CACHE_BYTES (8u << 20)
#define PIECE       (1u << 20)
#define PATH_SHOWN  4096u
#define HASH_MAX    ((uint64_t)16 << 30)   /* a larger file, which may be nothing but a hole, equals no other */

/* A sub-image that the overlay does not stand on. */
struct other {
	const struct ply_sub_info *info;
	struct sub *sub;
	struct ply_view *view;     /* of it and what it stands on; NULL: not opened yet */
	uint32_t at;               /* its place in that view */
	struct ply_view *base;     /* what both stand on; borrowed from colliding.bases */
};

struct base {
	bool *has;                 /* by position in the image */
	struct ply_view *view;
};

/* What one of both has at a path. */
struct side {
	struct contender c;
	uint8_t xattrs[32];
	struct buf text;
	struct ply_view *view;     /* where its content is; NULL: in the overlay's segment */
	uint64_t ino;
	struct ply_node node;
	struct sub *sub;
};

struct pair {
	struct ply_collision c;
	char *path;
	const char *with;
	uint64_t nlink;            /* of files of one type: how many names the one with more has; else 1 */
};

struct colliding {
	struct ply_image *image;
	uint32_t number;
	struct sub *mine;
	struct cache *cache;
	struct ply_view *parent;
	struct other *others;
	size_t nothers;
	struct base *bases;
	size_t nbases, bases_cap;
	struct pair *pairs;
	size_t npairs, pairs_cap;
	struct frame *frames;      /* directories on the way: depth is limited by memory only */
	size_t nframes, frames_cap;
	struct buf path;           /* "/etc/hosts", NUL-terminated, the NUL not counted */
	uint8_t *piece;
	const atomic_bool *cancelled;
	struct ply_err *err;
};

static int check_cancelled(const struct colliding *w)
{
	if (w->cancelled && atomic_load(w->cancelled))
		return ply_fail(w->err, -ECANCELED, PLY_R_CANCELLED, "interrupted; the image is as it was");
	return 0;
}

/* --- views --------------------------------------------------------------------------------------- */

static void list_view(const struct ply_view *v, bool *has)
{
	for (uint32_t i = 0; i < ply_view_nsubs(v); i++)
		has[ply_view_sub(v, i)] = true;
}

/* The view of what both stand on. */
static int open_base(struct colliding *w, struct other *o)
{
	uint32_t n = ply_image_nsubs(w->image);
	bool *mine = calloc(n, sizeof(*mine)), *has = calloc(n, sizeof(*has));
	_cleanup_free_ const char **names = calloc(n, sizeof(*names));
	struct base b = { .has = has };
	size_t nnames = 0;
	int r = mine && has && names ? 0 : ply_fail_nomem(w->err);

	if (r == 0) {
		list_view(w->parent, mine);
		list_view(o->view, has);
		for (uint32_t i = 0; i < n; i++) {
			has[i] &= mine[i];
			if (has[i])
				names[nnames++] = ply_image_sub_info(w->image, i)->name;
		}
	}
	free(mine);
	for (size_t i = 0; r == 0 && i < w->nbases; i++)
		if (!memcmp(w->bases[i].has, has, n * sizeof(*has))) {
			o->base = w->bases[i].view;
			free(has);
			return 0;
		}
	if (r == 0 && array_grow(&w->bases, &w->bases_cap, w->nbases + 1, sizeof(b)) < 0)
		r = ply_fail_nomem(w->err);
	if (r == 0)
		r = overlay_view(w->image, names, nnames, &b.view, w->err);
	if (r < 0) {
		free(has);
		return r;
	}
	w->bases[w->nbases++] = b;
	o->base = b.view;
	return 0;
}

static int open_other(struct colliding *w, struct other *o)
{
	int r;

	if (o->base)
		return 0;
	if (!o->view) {
		r = overlay_view(w->image, &o->info->name, 1, &o->view, w->err);
		if (r < 0)
			return r;
	}
	for (o->at = 0; o->at < ply_view_nsubs(o->view); o->at++)
		if (ply_image_sub_info(w->image, ply_view_sub(o->view, o->at)) == o->info)
			return open_base(w, o);
	return ply_fail(w->err, -EUCLEAN, PLY_R_CATALOG_FIELD, "sub-image %s is not in its own view", o->info->name);
}

/* --- sides ---------------------------------------------------------------------------------------- */

static void side_done(struct side *s)
{
	buf_done(&s->text);
}

static void hash_xattr(struct sha256 *sha, const struct sub_xattr *x)
{
	le32 len[2] = { le32_put(x->name_len), le32_put(x->value_len) };

	sha256_add(sha, len, sizeof(len));
	sha256_add(sha, x->name, x->name_len);
	sha256_add(sha, x->value, x->value_len);
}

struct hashing {
	struct sha256 *sha;
	uint32_t n;
};

static int hash_one(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	struct hashing *h = ctx;

	(void)err;
	hash_xattr(h->sha, x);
	h->n++;
	return 0;
}

/* Sorted by name on both sides, as images have them. */
static int hash_xattrs(struct colliding *w, struct side *s)
{
	struct hashing h = { .sha = sha256_new() };
	struct view_file f;
	uint32_t n;
	int r = h.sha ? 0 : ply_fail_nomem(w->err);

	if (r == 0 && s->view) {
		r = view_file(s->view, s->ino, &f, w->err);
		if (r == 0)
			r = view_file_xattrs(s->view, &f, hash_one, &h, w->err);
	} else if (r == 0) {
		r = sub_xattr_count(s->sub, s->node.xattrs, &n, w->err);
		for (uint32_t i = 0; r == 0 && i < n; i++) {
			struct sub_xattr x;

			r = sub_xattr(s->sub, s->node.xattrs, i, &x, w->err);
			if (r == 0)
				hash_one(&h, &x, NULL);
		}
	}
	if (r == 0) {
		sha256_end(h.sha, s->xattrs);
		s->c.xattrs_digest = h.n ? s->xattrs : NULL;
	}
	sha256_free(h.sha);
	return r;
}

static ssize_t read_side(struct colliding *w, const struct side *s, uint64_t off, size_t len, void *out)
{
	return s->view ? ply_view_read(s->view, s->ino, off, len, out, w->err) :
			 sub_read(s->sub, w->cache, &s->node, off, len, out, w->err);
}

static int hash_content(struct colliding *w, struct side *s)
{
	struct sha256 *sha = sha256_new();
	uint64_t off = 0;
	int r = sha ? 0 : ply_fail_nomem(w->err);

	while (r == 0 && off < s->c.size) {
		ssize_t n;

		r = check_cancelled(w);
		if (r < 0)
			break;
		n = read_side(w, s, off, PIECE, w->piece);
		if (n <= 0) {
			r = (int)n;
			break;
		}
		sha256_add(sha, w->piece, (size_t)n);
		off += (size_t)n;
	}
	if (r == 0)
		sha256_end(sha, s->c.digest);
	sha256_free(sha);
	return r;
}

/* The digests of regular files among the @n sides. One whose size no other has differs from them all, and so does one
 * that is too large to look at: then it is a number that is no other's. */
static int hash_sides(struct colliding *w, struct side *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool has_like = false;
		int r;

		if (!S_ISREG(v[i]->c.mode))
			continue;
		for (size_t k = 0; k < n; k++)
			has_like |= k != i && S_ISREG(v[k]->c.mode) && v[k]->c.size == v[i]->c.size;
		if (!has_like || v[i]->c.size > HASH_MAX) {
			v[i]->c.digest[0] = (uint8_t)(i + 1);
			continue;
		}
		r = hash_content(w, v[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A file's text, where the engine would look at it. */
static int load_text(struct colliding *w, struct side *s)
{
	ssize_t n;

	if (!S_ISREG(s->c.mode) || s->c.deleted || s->c.size > MERGE_FILE_MAX || s->c.loaded)
		return 0;
	if (buf_reserve(&s->text, s->c.size + 1) < 0)
		return ply_fail_nomem(w->err);
	n = read_side(w, s, 0, s->c.size, s->text.data);
	if (n < 0)
		return (int)n;
	s->text.len = (size_t)n;
	s->c.loaded = true;
	s->c.text = s->text.data;
	s->c.len = s->text.len;
	return 0;
}

static int take_target(struct colliding *w, struct side *s, const void *target, size_t len)
{
	s->c.loaded = true;
	s->c.text = target;
	s->c.len = len;
	return sha256_once(target, len, s->c.digest) < 0 ? ply_fail_nomem(w->err) : 0;
}

/* What view @v has at @ino. */
static int side_of_view(struct colliding *w, struct ply_view *v, uint64_t ino, struct side *s)
{
	struct ply_attr a;
	const char *target;
	size_t len;
	int r = ply_view_attr(v, ino, &a, w->err);

	if (r < 0)
		return r;
	s->view = v;
	s->ino = ino;
	s->c = (struct contender){ .mode = a.mode, .uid = a.uid, .gid = a.gid, .size = S_ISDIR(a.mode) ? 0 : a.size,
				   .rdev = (uint64_t)a.rdev_major << 32 | a.rdev_minor, .mtime_sec = a.mtime_sec,
				   .mtime_nsec = a.mtime_nsec, .nlink = S_ISDIR(a.mode) ? 1 : a.nlink };
	r = hash_xattrs(w, s);
	if (r == 0 && S_ISLNK(a.mode)) {
		r = ply_view_readlink(v, ino, &target, &len, w->err);
		return r < 0 ? r : take_target(w, s, target, len);
	}
	return r;
}

static int side_of_mine(struct colliding *w, const struct ply_entry *e, struct side *s)
{
	struct sub_owner o;
	const void *target;
	int r;

	s->sub = w->mine;
	if (e->type == PLY_T_WHITEOUT) {
		s->c.deleted = true;
		return 0;
	}
	r = sub_node(w->mine, PLY_INO_INDEX(e->ref), &s->node, w->err);
	if (r == 0)
		r = sub_owner(w->mine, s->node.owner, &o, w->err);
	if (r < 0)
		return r;
	s->c = (struct contender){ .mode = s->node.mode, .uid = o.uid, .gid = o.gid, .mtime_sec = s->node.mtime_sec,
				   .mtime_nsec = s->node.mtime_nsec, .nlink = s->node.nlink };
	if (S_ISDIR(s->c.mode))
		s->c.nlink = 1;
	else if (S_ISCHR(s->c.mode) || S_ISBLK(s->c.mode))
		s->c.rdev = s->node.size;
	else
		s->c.size = s->node.size;
	r = hash_xattrs(w, s);
	if (r == 0 && S_ISLNK(s->c.mode)) {
		r = sub_heap(w->mine, s->node.data, s->node.size, &target, w->err);
		return r < 0 ? r : take_target(w, s, target, s->node.size);
	}
	return r;
}

/* --- pairs ------------------------------------------------------------------------------------------ */

static int remember(struct colliding *w, const struct other *o, uint64_t a, uint64_t b, const struct pair_class *k,
		    uint64_t nlink)
{
	struct pair p = { .c = { a, b, k->cls, k->why, k->flags }, .with = o->info->name, .nlink = nlink };

	if (array_grow(&w->pairs, &w->pairs_cap, w->npairs + 1, sizeof(p)) < 0)
		return ply_fail_nomem(w->err);
	/* of a longer one its end: it is for people */
	p.path = strdup((const char *)w->path.data + (w->path.len > PATH_SHOWN ? w->path.len - PATH_SHOWN : 0));
	if (!p.path)
		return ply_fail_nomem(w->err);
	w->pairs[w->npairs++] = p;
	return 0;
}

static bool is_same_content(const struct side *a, const struct side *b)
{
	return a->c.size == b->c.size && !memcmp(a->c.digest, b->c.digest, sizeof(a->c.digest));
}

static int classify(struct colliding *w, struct side *a, struct side *b, struct side *base, struct pair_class *ret)
{
	int r = 0;

	if (!a->c.deleted && !b->c.deleted && !is_same_content(a, b)) {
		r = load_text(w, a);
		if (r == 0)
			r = load_text(w, b);
		if (r == 0 && base && !is_same_content(base, a) && !is_same_content(base, b))
			r = load_text(w, base);
	}
	return r < 0 ? r : merge_classify((const char *)w->path.data, &a->c, &b->c, base ? &base->c : NULL, ret, w->err);
}

/* A reference as COLLISIONS has it. */
static uint64_t ref_of(uint32_t number, const struct ply_entry *e, uint64_t row)
{
	return PLY_INO(number, e->type == PLY_T_WHITEOUT ? row + 1 : PLY_INO_INDEX(e->ref));
}

/* Does the view of @o show this entry, or does another hide it there? */
static int is_shown(struct colliding *w, struct other *o, uint64_t dir, const struct ply_entry *e, uint64_t *ret_ino)
{
	uint64_t parent, ino, shown;
	int r = view_holds(o->view, o->at, e->condition, w->err);

	if (r <= 0)
		return r;
	r = view_node_ino(o->view, o->at, PLY_INO_INDEX(e->ref), &ino, w->err);
	if (r == 0)
		r = view_node_ino(o->view, o->at, dir, &parent, w->err);
	if (r == 0)
		r = ply_view_lookup(o->view, parent, e->name, e->name_len, &shown, w->err);
	if (r == -ENOENT)
		return 0;
	*ret_ino = ino;
	return r < 0 ? r : shown == ino;
}

/*
 * Caches and logs of the machines, as the rules have them, and backups: whichever comes first will do. The content is
 * then no difference.
 */
static int settle_marked(struct colliding *w, const struct side *a, const struct side *b, uint64_t index,
			 struct pair_class *k)
{
	const uint16_t harmless = PAIR_CONTENT | PAIR_TIMES | PAIR_APPENDABLE;
	uint8_t mark;
	int r;

	if (k->cls <= MERGE_DIRECTORY || k->flags & ~harmless || !S_ISREG(a->c.mode) || !S_ISREG(b->c.mode) ||
	    a->c.deleted || b->c.deleted)
		return 0;
	r = diff_mark_of(w->mine, index, &mark, w->err);
	if (r == 0 && (mark & PLY_MARK_SUBSET || (k->cls == MERGE_CONFLICT && merge_is_backup((const char *)w->path.data))))
		*k = (struct pair_class){ .cls = MERGE_TIMES, .flags = PAIR_TIMES };
	return r;
}

/* As long as files have all names in common, they are pairs by each of these: see check_links(). */
static uint64_t names_of(const struct side *a, const struct side *b)
{
	if (a->c.deleted || b->c.deleted || (a->c.mode & S_IFMT) != (b->c.mode & S_IFMT))
		return 1;
	return MAX(a->c.nlink, b->c.nlink);
}

static int judge(struct colliding *w, struct other *o, const struct ply_entry *mine, uint64_t mine_row,
		 const struct ply_entry *theirs, uint64_t theirs_row, uint64_t their_ino, uint64_t base_ino)
{
	struct side a = { 0 }, b = { 0 }, base = { 0 };
	struct side *const sides[] = { &a, &b, &base };
	struct pair_class k = { 0 };
	int r = 0;

	if (theirs->type == PLY_T_WHITEOUT)
		a.c.deleted = true;
	else
		r = side_of_view(w, o->view, their_ino, &a);
	if (r == 0)
		r = side_of_mine(w, mine, &b);
	if (r == 0 && base_ino)
		r = side_of_view(w, o->base, base_ino, &base);
	if (r == 0)
		r = hash_sides(w, sides, ARRAY_SIZE(sides));
	if (r == 0)
		r = classify(w, &a, &b, base_ino ? &base : NULL, &k);
	if (r == 0)
		r = settle_marked(w, &a, &b, PLY_INO_INDEX(mine->ref), &k);
	if (r == 0 && (k.cls != MERGE_SAME || names_of(&a, &b) > 1)) {
		k.flags = (uint16_t)((k.flags & ~(PAIR_A_WHITEOUT | PAIR_B_WHITEOUT)) |
				     (a.c.deleted ? PAIR_A_WHITEOUT : 0) | (b.c.deleted ? PAIR_B_WHITEOUT : 0));
		r = remember(w, o, ref_of(o->info->number, theirs, theirs_row), ref_of(w->number, mine, mine_row), &k,
			     names_of(&a, &b));
	}
	side_done(&a);
	side_done(&b);
	side_done(&base);
	return r;
}

static bool is_dir(const struct ply_entry *e)
{
	return e->type == S_IFDIR >> 12;
}

static int is_implied(struct sub *sub, const struct ply_entry *e, bool *ret, struct ply_err *err)
{
	struct ply_node n;
	int r = sub_node(sub, PLY_INO_INDEX(e->ref), &n, err);

	*ret = r == 0 && n.flags & PLY_NODE_IMPLIED;
	return r;
}

/* Do both say something of the path? A directory that is there for what is in it says nothing, but where the other
 * has something else than a directory. */
static int is_pair(struct colliding *w, const struct other *o, const struct ply_entry *mine,
		   const struct ply_entry *theirs, bool *ret)
{
	bool my_implied = false, their_implied = false;
	bool is_my_dir = is_dir(mine) || (mine->type == PLY_T_WHITEOUT && mine->ref);
	bool is_their_dir = is_dir(theirs) || (theirs->type == PLY_T_WHITEOUT && theirs->ref);
	int r = 0;

	*ret = mine->type != PLY_T_WHITEOUT || theirs->type != PLY_T_WHITEOUT;
	if (*ret && is_my_dir && is_their_dir) {
		if (is_dir(mine))
			r = is_implied(w->mine, mine, &my_implied, w->err);
		if (r == 0 && is_dir(theirs))
			r = is_implied(o->sub, theirs, &their_implied, w->err);
		*ret = !my_implied && !their_implied;
	}
	return r;
}

/* What the base has of that name in directory @dir (0: it has none); 0: nothing. */
static int look_in_base(struct colliding *w, const struct other *o, uint64_t dir, const struct ply_entry *e,
			uint64_t *ret)
{
	int r = dir ? ply_view_lookup(o->base, dir, e->name, e->name_len, ret, w->err) : -ENOENT;

	if (r == -ENOENT || r == -ENOTDIR) {
		*ret = 0;
		return 0;
	}
	return r;
}

/* @mine against what @o has of that name in its directory @dir; *ret_dir: its directory of that name, or 0. @base_dir
 * and *ret_base: the same of their base. */
static int look(struct colliding *w, struct other *o, uint64_t dir, uint64_t base_dir, const struct ply_entry *mine,
		uint64_t row, uint64_t *ret_dir, uint64_t *ret_base)
{
	struct ply_entry theirs;
	struct ply_node node;
	uint64_t their_row, ino = 0;
	bool pair;
	int r = sub_node(o->sub, dir, &node, w->err);

	*ret_dir = 0;
	if (r == 0)
		r = sub_find(o->sub, &node, mine->name, mine->name_len, &their_row, &theirs, w->err);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = open_other(w, o);
	if (r == 0)
		r = look_in_base(w, o, base_dir, mine, ret_base);
	if (r < 0)
		return r;
	if (is_dir(&theirs) || theirs.type == PLY_T_WHITEOUT)
		*ret_dir = PLY_INO_INDEX(theirs.ref);
	if (theirs.type != PLY_T_WHITEOUT) {
		r = is_shown(w, o, dir, &theirs, &ino);
		if (r <= 0)
			return r;
	}
	r = is_pair(w, o, mine, &theirs, &pair);
	return r < 0 || !pair ? r : judge(w, o, mine, row, &theirs, their_row, ino, *ret_base);
}

/* A directory of the overlay on the way; of each other sub-image its directory there, and its base's; 0: none. */
struct frame {
	uint64_t next, end;        /* entries of the overlay */
	size_t path_len;
	uint64_t *theirs, *bases;  /* one allocation */
};

static int push(struct colliding *w, uint64_t dir, const uint64_t *theirs, const uint64_t *bases)
{
	struct frame f = { .path_len = w->path.len };
	struct ply_node node;
	int r = sub_node(w->mine, dir, &node, w->err);

	if (r < 0)
		return r;
	f.next = node.data;
	f.end = node.data + node.size;
	f.theirs = calloc(2 * w->nothers, sizeof(*f.theirs));
	if (!f.theirs || array_grow(&w->frames, &w->frames_cap, w->nframes + 1, sizeof(f)) < 0) {
		free(f.theirs);
		return ply_fail_nomem(w->err);
	}
	f.bases = f.theirs + w->nothers;
	memcpy(f.theirs, theirs, w->nothers * sizeof(*theirs));
	memcpy(f.bases, bases, w->nothers * sizeof(*bases));
	w->frames[w->nframes++] = f;
	return 0;
}

static int set_path(struct colliding *w, size_t dir_len, const struct ply_entry *e)
{
	w->path.len = dir_len;
	if (buf_add(&w->path, "/", 1) < 0 || buf_add(&w->path, e->name, e->name_len) < 0 || buf_reserve(&w->path, 1) < 0)
		return ply_fail_nomem(w->err);
	w->path.data[w->path.len] = 0;
	return 0;
}

/* One entry of the directory on top; @theirs, @bases: room for those of a directory below. */
static int step(struct colliding *w, uint64_t *theirs, uint64_t *bases)
{
	struct frame *f = &w->frames[w->nframes - 1];
	uint64_t row = f->next++;
	struct ply_entry e;
	bool any = false;
	int r = sub_entry(w->mine, row, &e, w->err);

	if (r == 0)
		r = set_path(w, f->path_len, &e);
	for (size_t o = 0; r == 0 && o < w->nothers; o++) {
		theirs[o] = bases[o] = 0;
		if (f->theirs[o])
			r = look(w, &w->others[o], f->theirs[o], f->bases[o], &e, row, &theirs[o], &bases[o]);
		any |= theirs[o] != 0;
	}
	if (r == 0 && any && (is_dir(&e) || e.type == PLY_T_WHITEOUT) && e.ref)
		r = push(w, PLY_INO_INDEX(e.ref), theirs, bases);
	return r;
}

static int walk(struct colliding *w)
{
	_cleanup_free_ uint64_t *theirs = calloc(w->nothers, sizeof(*theirs));
	_cleanup_free_ uint64_t *bases = calloc(w->nothers, sizeof(*bases));
	int r = theirs && bases ? 0 : ply_fail_nomem(w->err);

	for (size_t o = 0; r == 0 && o < w->nothers; o++)
		theirs[o] = bases[o] = PLY_ROOT_INDEX;
	if (r == 0)
		r = push(w, PLY_ROOT_INDEX, theirs, bases);
	while (r == 0 && w->nframes) {
		struct frame *f = &w->frames[w->nframes - 1];

		r = check_cancelled(w);
		if (r == 0 && f->next < f->end)
			r = step(w, theirs, bases);
		else if (r == 0)
			free(w->frames[--w->nframes].theirs);
	}
	return r;
}

/* The root has no name. */
static int look_at_root(struct colliding *w)
{
	const struct ply_entry root = { .ref = PLY_ROOT_INDEX, .type = S_IFDIR >> 12 };
	int r = 0;

	if (buf_add(&w->path, "/", 2) < 0)
		return ply_fail_nomem(w->err);
	for (size_t o = 0; r == 0 && o < w->nothers; o++) {
		bool pair;

		r = is_pair(w, &w->others[o], &root, &root, &pair);
		if (r < 0 || !pair)
			continue;
		r = open_other(w, &w->others[o]);
		if (r == 0)
			r = judge(w, &w->others[o], &root, 0, &root, 0, PLY_ROOT_INDEX, PLY_ROOT_INDEX);
	}
	w->path.len = 0;
	return r;
}

/* --- sets --------------------------------------------------------------------------------------------- */

/* "ssl-cert-snakeoil" of a certificate, or its key, where Debian keeps them; 0: none of them. */
static const char *stem_of(const char *path, size_t *ret_len)
{
	static const char *const dirs[] = { "/etc/ssl/certs/", "/etc/ssl/private/" };
	static const char *const ends[] = { ".pem", ".crt", ".key" };

	for (size_t d = 0; d < ARRAY_SIZE(dirs); d++) {
		const char *name = path + strlen(dirs[d]), *dot;

		if (strncmp(path, dirs[d], strlen(dirs[d])) != 0 || strchr(name, '/'))
			continue;
		dot = strrchr(name, '.');
		for (size_t e = 0; dot && dot > name && e < ARRAY_SIZE(ends); e++)
			if (!strcmp(dot, ends[e])) {
				*ret_len = (size_t)(dot - name);
				return name;
			}
	}
	return NULL;
}

static bool is_set_member(const struct pair *p)
{
	return p->c.cls >= MERGE_DRIVER && p->c.flags & PAIR_CONTENT &&
	       !(p->c.flags & (PAIR_A_WHITEOUT | PAIR_B_WHITEOUT));
}

/* A certificate and its key are one thing: of one sub-image both, or neither. */
static void find_sets(struct colliding *w)
{
	for (size_t i = 0; i < w->npairs; i++) {
		size_t len, other_len;
		const char *stem = stem_of(w->pairs[i].path, &len), *other;

		for (size_t k = 0; stem && is_set_member(&w->pairs[i]) && k < w->npairs; k++) {
			struct pair *p = &w->pairs[i], *q = &w->pairs[k];

			if (k == i || q->with != p->with || !is_set_member(q))
				continue;
			other = stem_of(q->path, &other_len);
			if (!other || other_len != len || memcmp(other, stem, len) != 0)
				continue;
			p->c.cls = MERGE_CONFLICT;
			p->c.why = PLY_PAIR_WHY_SET;
			p->c.flags &= (uint16_t)~PAIR_APPENDABLE;
		}
	}
}

/* --- the whole ------------------------------------------------------------------------------------------ */

/* By pair; of one pair what asks for most first. */
static int by_pair(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int c = collision_compare(&x->c, &y->c);

	if (!c)
		c = (y->c.cls > x->c.cls) - (y->c.cls < x->c.cls);
	return c ? c : strcmp(x->path, y->path);
}

static int by_path(const void *a, const void *b)
{
	const struct add_conflict *x = a, *y = b;
	int c = strcmp(x->path, y->path);

	return c ? c : strcmp(x->with, y->with);
}

static int report_conflict(struct add_report *r, const struct pair *p)
{
	struct add_conflict c = { .why = p->c.why };

	if (array_grow(&r->conflicts, &r->conflicts_cap, r->nconflicts + 1, sizeof(c)) < 0)
		return -ENOMEM;
	c.path = escape_name(p->path, strlen(p->path));
	c.with = strdup(p->with);
	r->conflicts[r->nconflicts++] = c;
	return c.path && c.with ? 0 : -ENOMEM;
}

/* Files of several names that have not all of them in common are other groups, be they as large: what would become of
 * a name that only one has? @n pairs of the same two files, one for each name that both have. */
static void check_links(struct pair *p, size_t n)
{
	if (p->nlink <= n)
		return;
	p->c.cls = MERGE_CONFLICT;
	p->c.why = MERGE_WHY_LINKS;
	p->c.flags = (uint16_t)((p->c.flags & ~PAIR_APPENDABLE) | PAIR_LINKS);
}

static int write_pairs(struct colliding *w, struct imagew *image, struct add_report *report)
{
	int r = 0;

	find_sets(w);
	if (w->npairs)
		qsort(w->pairs, w->npairs, sizeof(*w->pairs), by_pair);
	for (size_t i = 0, n; r == 0 && i < w->npairs; i += n) {
		const struct ply_collision *c = &w->pairs[i].c;

		/* other names of one file stand behind it */
		for (n = 1; i + n < w->npairs && collision_compare(&w->pairs[i + n].c, c) == 0; n++)
			;
		check_links(&w->pairs[i], n);
		if (c->cls == MERGE_SAME)
			continue;
		r = imagew_collision(image, c->a, c->b, c->cls, c->why, c->flags, w->err);
		report->collisions[c->cls]++;
		if (r == 0 && c->cls == PLY_PAIR_CONFLICT && report_conflict(report, &w->pairs[i]) < 0)
			r = ply_fail_nomem(w->err);
	}
	if (r == 0 && report->nconflicts)
		qsort(report->conflicts, report->nconflicts, sizeof(*report->conflicts), by_path);
	return r;
}

static int list_others(struct colliding *w)
{
	uint32_t n = ply_image_nsubs(w->image);
	_cleanup_free_ bool *mine = calloc(n, sizeof(*mine));
	int r = 0;

	w->others = calloc(n, sizeof(*w->others));
	if (!mine || !w->others)
		return ply_fail_nomem(w->err);
	list_view(w->parent, mine);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct other *o = &w->others[w->nothers];

		if (mine[i])
			continue;
		o->info = ply_image_sub_info(w->image, i);
		r = image_sub(w->image, i, &o->sub, w->err);
		w->nothers += r == 0;
	}
	return r;
}

int overlay_collide(struct imagew *image, struct ply_image *from, uint32_t number, struct sub *sub,
		    struct ply_view *parent, struct add_report *report, const atomic_bool *cancelled,
		    struct ply_err *err)
{
	struct colliding w = { .image = from, .number = number, .mine = sub, .parent = parent,
			       .piece = malloc(PIECE), .cancelled = cancelled, .err = err };
	int r = w.piece && cache_new(CACHE_BYTES, &w.cache) == 0 ? list_others(&w) : ply_fail_nomem(err);

	if (r == 0 && w.nothers)
		r = look_at_root(&w);
	if (r == 0 && w.nothers)
		r = walk(&w);
	if (r == 0)
		r = write_pairs(&w, image, report);
	for (size_t i = 0; i < w.nothers; i++)
		ply_view_close(w.others[i].view);
	for (size_t i = 0; i < w.nbases; i++) {
		ply_view_close(w.bases[i].view);
		free(w.bases[i].has);
	}
	for (size_t i = 0; i < w.npairs; i++)
		free(w.pairs[i].path);
	while (w.nframes)
		free(w.frames[--w.nframes].theirs);
	free(w.frames);
	free(w.others);
	free(w.bases);
	free(w.pairs);
	free(w.piece);
	buf_done(&w.path);
	cache_free(w.cache);
	return r;
}
