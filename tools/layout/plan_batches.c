/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done together, and in which order? The second pass over the view: the rows that plan_list.c has found are gone
 * over in their order, which is the order of the data, and cut into batches where one block of data ends and the next
 * begins. Files above BIG_BYTES are cut themselves. Names of hard-link groups are put together behind all of that, and
 * get batches of their own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "layout/plan_impl.h"

#define BATCH_BYTES  (2u << 20)    /* a batch ends at the next block behind them, */
#define BATCH_ROWS   256u          /* or behind that many rows, */
#define BATCH_MAX    4096u         /* and after so many rows wherever it is */
#define BIG_BYTES    (16u << 20)   /* such files are split over batches */
#define PIECE_BYTES  (4u << 20)
#define LINK_ROWS    512u

/* --- a run of batches --------------------------------------------------------------- */

/* A run of batches of one sub-image in the making. */
struct cutter {
	struct scan *s;
	struct plan_sub *ps;
	uint32_t i;                /* of the sub-image */
	struct plan_batch open;    /* n == 0: nothing in it yet */
	uint64_t bytes;            /* of data in it */
	uint64_t block;            /* first data block that nothing so far has touched */
};

static int add_batch(struct cutter *c, const struct plan_batch *b)
{
	struct plan_sub *ps = c->ps;

	if (array_grow(&ps->batches, &ps->batches_cap, ps->nbatches + 1, sizeof(*ps->batches)) < 0)
		return ply_fail_nomem(c->s->err);
	ps->batches[ps->nbatches++] = *b;
	return 0;
}

static int close_batch(struct cutter *c)
{
	int r = c->open.n ? add_batch(c, &c->open) : 0;

	c->open = (struct plan_batch){ .block = c->block };
	c->bytes = 0;
	return r;
}

/* --- big files ----------------------------------------------------------------------- */

/* Is a file with @bytes of data worth splitting? Only so long as that does not cost more than the image
 * is worth: files may share their data. */
static bool take_big(struct scan *s, const struct ply_node *n, uint64_t bytes)
{
	uint64_t cost = sub_extent_count(n) + bytes / PIECE_BYTES + 1;

	if (bytes < BIG_BYTES || cost > s->split_left)
		return false;
	s->split_left -= cost;
	return true;
}

struct pieces {
	struct cutter *c;
	uint32_t big;
	uint64_t from, data;       /* of the piece in the making */
	uint32_t n;
};

static int add_piece(struct pieces *p, uint64_t to)
{
	p->n++;
	return add_batch(p->c, &(struct plan_batch){ .at = p->from, .end = to, .big = p->big,
						     .block = p->c->block });
}

/* End a piece behind PIECE_BYTES of data, where a block ends. */
static int cut_extent(void *ctx, const struct ply_extent *e, struct ply_err *err)
{
	struct pieces *p = ctx;
	uint64_t off = e->off, end = e->off + e->len;
	int r = plan_tick(p->c->s);

	(void)err;
	while (r == 0 && off < end) {
		uint64_t addr = e->addr + (off - e->off);
		uint64_t room = align_up(addr + PIECE_BYTES - p->data, PLY_BLOCK_SIZE) - addr;
		uint64_t take = MIN(room, end - off);

		off += take;
		p->data += take;
		if (p->data < PIECE_BYTES)
			break;
		p->c->block = MAX(p->c->block, (addr + take) >> PLY_BLOCK_BITS);
		r = add_piece(p, off);
		p->from = off;
		p->data = 0;
	}
	return r;
}

static int split_big(struct cutter *c, const struct view_file *f, const struct where *w)
{
	struct plan *p = c->s->p;
	struct pieces pieces = { .c = c };
	struct plan_big *b;
	int r;

	r = close_batch(c);
	if (r < 0)
		return r;
	if (array_grow(&p->bigs, &p->bigs_cap, p->nbigs + 1, sizeof(*p->bigs)) < 0)
		return ply_fail_nomem(c->s->err);
	b = &p->bigs[p->nbigs++];
	memset(b, 0, sizeof(*b));
	b->at = w->at;
	b->sub = w->sub;
	b->dir = w->dir;
	b->fd = -1;
	pieces.big = (uint32_t)p->nbigs;
	r = plan_extents(f->sub, &f->node, 0, UINT64_MAX, cut_extent, &pieces, c->s->err);
	if (r == 0 && (pieces.data || !pieces.n))
		r = add_piece(&pieces, f->node.size);
	atomic_init(&b->left, pieces.n);
	return r;
}

/* --- names --------------------------------------------------------------------------- */

/* Which data blocks of sub-image @i does a file touch? [*first, *end); false: none. */
static int touched(uint32_t i, const struct view_file *f, uint64_t *first, uint64_t *end, struct ply_err *err)
{
	const struct ply_node *n = &f->node;
	struct ply_extent a, b;
	int r;

	if (!S_ISREG(n->mode) || f->rendered || f->i != i || !sub_extent_count(n))
		return 0;
	r = sub_node_extent(f->sub, n, 0, &a, err);
	if (r == 0)
		r = sub_node_extent(f->sub, n, sub_extent_count(n) - 1, &b, err);
	if (r < 0)
		return r;
	*first = a.addr >> PLY_BLOCK_BITS;
	*end = ((b.addr + b.len - 1) >> PLY_BLOCK_BITS) + 1;
	return 1;
}

static int add_link(struct plan *p, uint64_t ino, const struct where *w, bool follows)
{
	if (array_grow(&p->links, &p->links_cap, p->nlinks + 1, sizeof(*p->links)) < 0)
		return -ENOMEM;
	p->links[p->nlinks++] = (struct plan_link){ .ino = ino, .at = w->at, .dir = w->dir,
						    .sub = (uint16_t)w->sub, .follows = follows };
	return 0;
}

/* One name of a file. The one that the node itself names carries the content. */
static int add_name(struct cutter *c, uint32_t part, const struct ply_entry *e, const struct where *w)
{
	struct scan *s = c->s;
	uint64_t first = 0, end = 0, ino, bytes;
	bool several, carries, big = false;
	char name[PLY_NAME_MAX];
	struct view_file f;
	const char *shown;
	size_t name_len;
	int r, has_data;

	r = view_node_ino(s->p->view, c->i, PLY_INO_INDEX(e->ref), &ino, s->err);
	if (r == 0)
		r = view_own(view_file(s->p->view, ino, &f, s->err), s->err);
	if (r == 0)
		r = plan_entry_name(s->p, w, e, name, &shown, &name_len, s->err);
	if (r < 0)
		return r;
	several = f.joined || f.node.nlink > 1;
	carries = f.name_i == c->i && f.node.entry == w->at;
	if (S_ISDIR(f.node.mode) || (!several && !carries))
		return ply_fail(s->err, -EUCLEAN, PLY_R_TREE_SHAPE,
				"entry %llu names a node that another entry names",
				(unsigned long long)w->at);
	if (several && add_link(s->p, ino, w, !carries) < 0)
		return ply_fail_nomem(s->err);
	if ((f.rendered || f.merged) && plan_add_special(s, w->dir, shown, name_len, false) < 0)
		return s->err->code;
	s->p->names++;
	plan_need_name(s, name_len, w);
	has_data = carries ? touched(c->i, &f, &first, &end, s->err) : 0;
	if (has_data < 0)
		return has_data;
	if (carries) {
		s->p->files++;
		s->p->subs[c->i].files++;
		r = plan_need_inode(s, &f, w, &bytes);
		big = r == 0 && has_data && take_big(s, &f.node, bytes);
		if (big)
			r = split_big(c, &f, w);
		if (r < 0)
			return r;
	}
	if (big) {
		c->block = MAX(c->block, end);
	} else if (has_data) {
		if (first >= c->block && (c->bytes >= BATCH_BYTES || c->open.n >= BATCH_ROWS)) {
			c->block = first;
			r = close_batch(c);
		}
		c->block = MAX(c->block, end);
		c->bytes += bytes;
	}
	if (r == 0 && c->open.n >= BATCH_MAX)
		r = close_batch(c);
	if (!c->open.n) {
		c->open.part = part;
		c->open.at = w->at;
	}
	return r;
}

int plan_cut_batches(struct scan *s, uint32_t i)
{
	struct plan_sub *ps = &s->p->subs[i];
	struct cutter c = { .s = s, .ps = ps, .i = i };
	int r = 0;

	for (size_t k = 0; r == 0 && k < ps->nparts; k++) {
		const struct plan_part *part = &ps->parts[k];

		if (plan_is_cancelled(s))
			return plan_cancelled(s->err);
		for (uint64_t at = part->first; r == 0 && at < part->end; at++) {
			struct where w = { .at = at, .dir = part->dir, .sub = i };
			struct ply_entry e;
			char path[512];

			r = plan_tick(s);
			if (r < 0)
				break;
			r = sub_entry(ps->sub, at, &e, s->err);
			if (r == 0 && e.type != S_IFDIR >> 12)
				r = add_name(&c, (uint32_t)k, &e, &w);
			if (r < 0 && r != -ECANCELED) {
				plan_path(s->p, &w, path, sizeof(path));
				ply_err_prefix(s->err, "%s", path);
			}
			if (r < 0)
				break;
			if (c.open.n || e.type != S_IFDIR >> 12)
				c.open.n++;
		}
	}
	return r < 0 ? r : close_batch(&c);
}

/* --- hard links -------------------------------------------------------------------- */

static int by_inode(const void *a, const void *b)
{
	const struct plan_link *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	if (x->follows != y->follows)
		return x->follows ? 1 : -1;
	if (x->sub != y->sub)
		return x->sub < y->sub ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

/*
 * The first name of a group carries its content. In a sound image that is the name that the
 * node itself names, and add_name() has asked for all that it needs; where that one is not
 * shown here, it is asked for now.
 */
static int need_first_name(struct scan *s, const struct plan_link *first, uint64_t names)
{
	struct where w = { .at = first->at, .dir = first->dir, .sub = first->sub };
	struct view_file f;
	struct ply_attr a;
	uint64_t bytes;
	int r = view_own(view_file(s->p->view, first->ino, &f, s->err), s->err);

	if (r == 0)
		r = view_own(ply_view_attr(s->p->view, first->ino, &a, s->err), s->err);
	if (r < 0)
		return r;
	/* of names that another sub-image hides, the number of links knows nothing */
	if (names > a.nlink || (names < a.nlink && !s->hides_files)) {
		char path[512];

		ply_fail(s->err, -EUCLEAN, PLY_R_NODE_FIELD, "has %llu names, and says %llu",
			 (unsigned long long)names, (unsigned long long)a.nlink);
		plan_path(s->p, &w, path, sizeof(path));
		ply_err_prefix(s->err, "%s", path);
		return -EUCLEAN;
	}
	if (names > 1)
		plan_need_links(s, names, &w);
	if (!first->follows)
		return 0;
	s->p->files++;
	s->p->subs[w.sub].files++;
	return plan_need_inode(s, &f, &w, &bytes);
}

int plan_group_links(struct scan *s)
{
	struct plan *p = s->p;

	if (p->nlinks)
		qsort(p->links, p->nlinks, sizeof(*p->links), by_inode);
	for (size_t i = 0, end; i < p->nlinks; i = end) {
		int r = plan_tick(s);

		if (r < 0)
			return r;
		for (end = i + 1; end < p->nlinks && p->links[end].ino == p->links[i].ino; end++)
			;
		r = need_first_name(s, &p->links[i], end - i);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < p->nlinks; i += LINK_ROWS) {
		if (array_grow(&p->link_batches, &p->link_batches_cap, p->nlink_batches + 1,
			       sizeof(*p->link_batches)) < 0)
			return ply_fail_nomem(s->err);
		p->link_batches[p->nlink_batches++] = (struct plan_batch){
			.at = i, .end = MIN(i + LINK_ROWS, p->nlinks) };
	}
	return 0;
}
