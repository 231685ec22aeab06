/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plan of a layout: see plan.h.
 *
 * Two passes. The first lists every directory of the view with ply_view_readdir(), the code
 * that a mount answers readdir with; so hidden names, implied and merged directories are
 * decided there and nowhere else. What it leaves is, for each sub-image, which rows of its
 * ENTRIES the view shows in which directory. The second goes over these rows in their order,
 * which is the order of the data, cuts them into batches where one block of data ends and the
 * next begins, and sums up what the target must be able to hold.
 *
 * Rejected: walking with ply_view_walk() and keeping a row for each file (fifty times the
 * memory); cutting by nodes (a name that is hidden has a node too).
 */
#include "layout/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"

#define BATCH_BYTES  (2u << 20)    /* a batch ends at the next block behind them, */
#define BATCH_ROWS   256u          /* or behind that many rows, */
#define BATCH_MAX    4096u         /* and after so many rows wherever it is */
#define BIG_BYTES    (16u << 20)   /* such files are split over batches */
#define PIECE_BYTES  (4u << 20)
#define LINK_ROWS    512u
#define CANCEL_ROWS  1024u         /* that are looked at before the cancel flag is */
#define EXTENTS_FEW  8u            /* fewer than these are simply read for each file */
#define PIECES_MAX   65536u        /* of all big files; what is beyond is not split */
#define TEXT_BYTES   (64u << 10)

const char *const layout_phase_names[PHASE_COUNT] = {
	[PHASE_PLAN] = "plan", [PHASE_DIRECTORIES] = "directories", [PHASE_OS] = "os",
	[PHASE_OTHERS] = "others", [PHASE_LINKS] = "links", [PHASE_METADATA] = "metadata",
	[PHASE_SYNC] = "sync",
};

/* Nodes that share an xattr set. */
struct set_use {
	uint64_t at;               /* the first of them: see struct where */
	uint64_t count;
	uint32_t dir, sub;
	bool file;                 /* one of them is no directory */
};

/* What files need that share one range of EXTENTS. */
struct range {
	uint64_t data, bytes, blocks;
	uint32_t ndata, sub;
};

/* What is known of one sub-image while it is planned. */
struct scan_sub {
	struct set_use *sets;      /* by row of XATTR_SETS; NULL: no node has any */
	uint64_t extents;          /* in ranges */
};

struct scan {
	struct plan *p;
	const atomic_bool *cancel;
	const struct plan_filter *filter;  /* NULL: everything is planned */
	bool told;                 /* the error is the filter's */
	uint64_t block;
	uint32_t *by_number;       /* sub-image's number -> position in the selection */
	uint32_t dir;              /* that is being listed, */
	struct plan_part *part;    /* the part of it that may go on, */
	uint32_t part_sub;         /* and whose it is */
	struct scan_sub *subs;
	struct range *ranges;
	size_t nranges, ranges_cap;
	struct map range_map;      /* from where it begins */
	uint64_t listed;           /* rows of ENTRIES */
	bool hides_files;          /* a name of a file is hidden by another sub-image's */
	uint64_t split_left;       /* extents and pieces that splitting big files may still cost */
	unsigned rows;             /* since the cancel flag was looked at */
	int result;
	struct ply_err *err;
};

static bool is_cancelled(const struct scan *s)
{
	return s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed);
}

static int cancelled(struct ply_err *err)
{
	return ply_fail(err, -ECANCELED, PLY_R_CANCELLED, "cancelled; the target is as it was");
}

/* Called for each row of whatever table. */
static int tick(struct scan *s)
{
	if (++s->rows < CANCEL_ROWS)
		return 0;
	s->rows = 0;
	return is_cancelled(s) ? cancelled(s->err) : 0;
}

/* --- first pass: directories and their parts ---------------------------------- */

/* A piece of memory for names; they never move. */
struct plan_text {
	struct plan_text *next;
	size_t used;
	char bytes[TEXT_BYTES];
};

/* A copy of @name, checked as such: what the image says later does not matter. */
static int keep_name(struct plan *p, const char *name, size_t len, const char **ret, struct ply_err *err)
{
	struct plan_text *t = p->texts;
	char *copy;

	if (!t || t->used + len > sizeof(t->bytes)) {
		t = malloc(sizeof(*t));
		if (!t)
			return ply_fail_nomem(err);
		t->next = p->texts;
		t->used = 0;
		p->texts = t;
	}
	copy = memcpy(t->bytes + t->used, name, len);
	t->used += len;
	*ret = copy;
	return len ? name_check(copy, len, err) : 0;   /* the root has none */
}

static int add_dir(struct plan *p, uint64_t ino, const char *name, size_t len, uint32_t parent,
		   struct ply_err *err)
{
	struct plan_dir dir = { .ino = ino, .name_len = (uint8_t)len, .parent = parent };
	int r;

	if (p->ndirs == UINT32_MAX - 1)
		return ply_fail(err, -EOVERFLOW, PLY_R_LIMIT, "more than 2^32 directories");
	r = keep_name(p, name, len, &dir.name, err);
	if (r < 0)
		return r;
	if (array_grow(&p->dirs, &p->dirs_cap, p->ndirs + 1, sizeof(*p->dirs)) < 0)
		return ply_fail_nomem(err);
	p->dirs[p->ndirs++] = dir;
	return 0;
}

/* Are all of rows [from, to) directories? Those are passed over when files are laid out. */
static int only_directories(struct scan *s, struct sub *sub, uint64_t from, uint64_t to)
{
	for (; from < to; from++) {
		struct ply_entry e;
		int r = tick(s);

		if (r == 0)
			r = sub_entry(sub, from, &e, s->err);

		if (r < 0)
			return r;
		if (e.type != S_IFDIR >> 12)
			return 0;
	}
	return 1;
}

static int add_row(struct scan *s, uint32_t i, uint64_t at)
{
	struct plan_sub *ps = &s->p->subs[i];

	if (s->part && s->part_sub == i && at >= s->part->end) {
		int r = only_directories(s, ps->sub, s->part->end, at);

		if (r < 0)
			return r;
		if (r > 0) {
			s->part->end = at + 1;
			return 0;
		}
	}
	if (array_grow(&ps->parts, &ps->parts_cap, ps->nparts + 1, sizeof(*ps->parts)) < 0)
		return ply_fail_nomem(s->err);
	s->part = &ps->parts[ps->nparts++];
	*s->part = (struct plan_part){ .first = at, .end = at + 1, .dir = s->dir };
	s->part_sub = i;
	return 0;
}

static int of_filter(struct scan *s, int r)
{
	s->told |= r < 0;
	return r;
}

static int list(void *ctx, const struct ply_dirent *de)
{
	struct scan *s = ctx;
	const struct plan_filter *f = s->filter;
	int wanted = 1;

	if (de->type == S_IFDIR >> 12) {
		s->result = add_dir(s->p, de->ino, de->name, de->len, s->dir, s->err);
		if (s->result == 0 && f)
			s->result = of_filter(s, f->subdirectory(f->ctx, de, (uint32_t)s->p->ndirs - 1, s->err));
		return s->result;
	}
	if (f)
		wanted = of_filter(s, f->name(f->ctx, de, s->err));
	s->result = MIN(wanted, 0);
	if (wanted > 0)
		s->result = add_row(s, s->by_number[PLY_INO_NUMBER(de->cookie)],
				    PLY_INO_INDEX(de->cookie) - PLY_COOKIE_FIRST);
	return s->result;
}

static int add_special(struct scan *s, uint32_t dir, const char *name, size_t len, bool hidden)
{
	struct plan *p = s->p;
	struct plan_special *sp;

	if (array_grow(&p->specials, &p->specials_cap, p->nspecials + 1, sizeof(*p->specials)) < 0)
		return ply_fail_nomem(s->err);
	sp = &p->specials[p->nspecials++];
	*sp = (struct plan_special){ .dir = dir, .name_len = (uint8_t)len, .hidden = hidden };
	return keep_name(p, name, len, &sp->name, s->err);
}

/* A directory that is not there: is another sub-image's file there? */
static int is_hidden_by_file(struct scan *s, const struct ply_entry *e, bool *ret)
{
	struct ply_view *view = s->p->view;
	struct ply_attr a;
	uint64_t ino;
	int r = ply_view_lookup(view, s->p->dirs[s->dir].ino, e->name, e->name_len, &ino, s->err);

	*ret = false;
	if (r == 0)
		r = ply_view_attr(view, ino, &a, s->err);
	if (r == 0)
		*ret = !S_ISDIR(a.mode);
	if (r != -ENOENT)
		return r;
	s->err->code = 0;
	return 0;
}

static int count_row(void *ctx, const struct ply_entry *e, enum view_row state, struct ply_err *err)
{
	struct scan *s = ctx;
	bool special = (e->condition || state == VIEW_ROW_HIDDEN) && e->type != S_IFDIR >> 12;

	if (state == VIEW_ROW_HIDDEN && e->type == S_IFDIR >> 12 && is_hidden_by_file(s, e, &special) < 0)
		return s->err->code;
	/* of what has hidden it, or it takes away, the plan's own rows do not tell */
	if (special && add_special(s, s->dir, e->name, e->name_len, !e->condition) < 0)
		return s->err->code;
	s->hides_files |= state == VIEW_ROW_HIDDEN && e->type != S_IFDIR >> 12;
	return ++s->listed <= view_entries(s->p->view) ? tick(s) : view_too_many(err);
}

static int by_first(const void *a, const void *b)
{
	const struct plan_part *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static int by_dir_and_name(const void *a, const void *b)
{
	const struct plan_special *x = a, *y = b;
	int r;

	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	r = memcmp(x->name, y->name, MIN(x->name_len, y->name_len));
	return r ? r : x->name_len - y->name_len;
}

static void sort_specials(struct plan *p)
{
	size_t to = 0;

	if (!p->nspecials)
		return;
	qsort(p->specials, p->nspecials, sizeof(*p->specials), by_dir_and_name);
	for (size_t i = 1; i < p->nspecials; i++)
		if (by_dir_and_name(&p->specials[to], &p->specials[i]) != 0)
			p->specials[++to] = p->specials[i];
		else
			p->specials[to].hidden &= p->specials[i].hidden;
	p->nspecials = to + 1;
}

static int list_one(struct scan *s, uint32_t d)
{
	const struct plan_filter *f = s->filter;
	int r = f ? of_filter(s, f->directory(f->ctx, s->p, d, s->err)) : 1;

	if (r <= 0)
		return r;
	s->dir = d;
	s->part = NULL;
	r = view_own(view_readdir(s->p->view, s->p->dirs[d].ino, 0, list, count_row, s, s->err), s->err);
	if (r == 0)
		r = s->result;
	return r == 0 && f ? of_filter(s, f->listed(f->ctx, s->err)) : r;
}

/* Those that lead to what is wanted are, too. */
static void want_above(struct scan *s)
{
	struct plan *p = s->p;

	for (uint32_t i = 0; i < p->nsubs; i++)
		for (size_t k = 0; k < p->subs[i].nparts; k++)
			p->dirs[p->subs[i].parts[k].dir].wanted = true;
	for (size_t d = p->ndirs; d-- > 0;)
		if (p->dirs[d].wanted || !s->filter)
			p->dirs[p->dirs[d].parent].wanted = p->dirs[d].wanted = true;
}

static int list_all(struct scan *s)
{
	struct plan *p = s->p;
	int r = add_dir(p, PLY_ROOT_INDEX, "", 0, 0, s->err);

	if (r < 0)
		return r;
	for (size_t d = 0; d < p->ndirs; d++) {
		if (is_cancelled(s))
			return cancelled(s->err);
		r = list_one(s, (uint32_t)d);
		if (r < 0 && r != -ECANCELED && !s->told) {
			char path[512];

			plan_path(p, &(struct where){ .at = WHERE_DIR, .dir = (uint32_t)d }, path,
				  sizeof(path));
			ply_err_prefix(s->err, "%s", path);
		}
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < p->nsubs; i++)
		if (p->subs[i].nparts)
			qsort(p->subs[i].parts, p->subs[i].nparts, sizeof(*p->subs[i].parts), by_first);
	want_above(s);
	return 0;
}

/* --- what the target must hold ------------------------------------------------- */

enum layout_field plan_xattr_field(const struct sub_xattr *x)
{
	static const struct {
		const char *name;
		enum layout_field field;
	} known[] = {
		{ "system.posix_acl_", FIELD_ACL },
		{ "security.capability", FIELD_CAPABILITY },
		{ "security.", FIELD_XATTR_SECURITY },
		{ "trusted.", FIELD_XATTR_TRUSTED },
		{ "user.", FIELD_XATTR_USER },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t len = strlen(known[i].name);

		if (x->name_len >= len && memcmp(x->name, known[i].name, len) == 0)
			return known[i].field;
	}
	return FIELD_XATTR_OTHER;
}

static void use(struct plan_needs *n, enum layout_field f, const struct where *w)
{
	if (!n->count[f]++)
		n->first[f] = *w;
}

/* Notes who has which set: a million files may share one. */
static int note_xattrs(struct scan *s, const struct view_file *f, const struct where *w)
{
	struct scan_sub *ss = &s->subs[f->xattrs_i];
	struct set_use *u;

	if (!ss->sets) {
		ss->sets = calloc(sub_limits(s->p->subs[f->xattrs_i].sub)->xattr_sets, sizeof(*ss->sets));
		if (!ss->sets)
			return ply_fail_nomem(s->err);
	}
	u = &ss->sets[f->node.xattrs];     /* the decoder has checked the number */
	if (!u->count++) {
		u->at = w->at;
		u->dir = w->dir;
		u->sub = w->sub;
	}
	u->file |= !S_ISDIR(f->node.mode);
	return 0;
}

/* What all nodes that share a set need. */
static int need_set(struct scan *s, uint32_t i, uint32_t set, uint32_t n_xattrs)
{
	const struct set_use *u = &s->subs[i].sets[set];
	const struct where w = { .at = u->at, .dir = u->dir, .sub = u->sub };
	struct plan_needs *n = &s->p->needs;
	struct sub *sub = s->p->subs[i].sub;
	uint64_t bytes = 0, names = 0;

	for (uint32_t k = 0; k < n_xattrs; k++) {
		enum layout_field field;
		struct sub_xattr x;
		int r = tick(s);

		if (r == 0)
			r = sub_xattr(sub, set, k, &x, s->err);
		if (r == 0)
			r = view_holds(s->p->view, i, x.condition, s->err);
		if (r < 0)
			return r;
		if (!r)
			continue;
		field = plan_xattr_field(&x);
		/* of ACLs, one of a file is the better example: any file can have it */
		if (!n->count[field] || (field == FIELD_ACL && u->file))
			n->xattr[field] = x;
		use(n, field, &w);
		n->count[field] += u->count - 1;
		bytes += x.name_len + x.value_len;
		names += x.name_len + 1u;
	}
	if (names > PLY_XATTR_SET_MAX)
		return ply_fail(s->err, -EUCLEAN, PLY_R_XATTR_FIELD, "xattr set %u has more names than a file can have",
				set);
	if (bytes > n->xattr_bytes) {
		n->xattr_bytes = bytes;
		n->xattr_sub = sub;
		n->xattr_set = set;
		n->count[FIELD_XATTR_SIZE]++;
		n->first[FIELD_XATTR_SIZE] = w;
	}
	return 0;
}

/* Each set once; sets that shared rows would make that long. */
static int need_xattrs(struct scan *s)
{
	for (uint32_t i = 0; i < s->p->nsubs; i++) {
		struct sub *sub = s->p->subs[i].sub;
		uint64_t rows = 0;

		for (uint64_t set = 1; s->subs[i].sets && set < sub_limits(sub)->xattr_sets; set++) {
			uint32_t n;
			int r = tick(s);

			if (r == 0 && !s->subs[i].sets[set].count)
				continue;
			if (r == 0)
				r = sub_xattr_count(sub, (uint32_t)set, &n, s->err);
			if (r < 0)
				return r;
			rows += n;
			if (rows > sub_limits(sub)->xattrs)
				return ply_fail(s->err, -EUCLEAN, PLY_R_XATTR_FIELD,
						"xattr set %llu shares rows with another",
						(unsigned long long)set);
			r = need_set(s, i, (uint32_t)set, n);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static unsigned trailing_zeros(uint32_t nsec)
{
	unsigned n = 0;

	for (; nsec && nsec % 10 == 0; nsec /= 10)
		n++;
	return n;
}

static void need_time(struct plan_needs *n, const struct ply_node *node, const struct where *w)
{
	if (!n->count[FIELD_TIME_RANGE] || node->mtime_sec < n->time_min) {
		n->time_min = node->mtime_sec;
		n->time_min_at = *w;
	}
	if (!n->count[FIELD_TIME_RANGE]++ || node->mtime_sec > n->time_max ||
	    (node->mtime_sec == n->time_max && node->mtime_nsec > n->time_max_nsec)) {
		n->time_max = node->mtime_sec;
		n->time_max_nsec = node->mtime_nsec;
		n->time_max_at = *w;
	}
	if (!node->mtime_nsec)
		return;
	if (!n->count[FIELD_TIME_NS]++ || trailing_zeros(node->mtime_nsec) < trailing_zeros(n->time_nsec)) {
		n->time_nsec = node->mtime_nsec;
		n->first[FIELD_TIME_NS] = *w;
	}
}

static int need_owner(struct scan *s, const struct view_file *f, const struct where *w)
{
	struct plan_sub *ps = &s->p->subs[f->owner_i];
	struct view_owner o;
	struct plan_owner *po;
	int r;

	if (!ps->owners) {
		ps->owners = calloc(sub_limits(ps->sub)->owner_pairs, sizeof(*ps->owners));
		if (!ps->owners)
			return ply_fail_nomem(s->err);
	}
	r = view_owner(s->p->view, f, &o, s->err);   /* checks the row's number too */
	if (r < 0)
		return r;
	po = &ps->owners[f->node.owner];
	if (!po->count++) {
		po->uid = po->put_uid = o.uid;
		po->gid = po->put_gid = o.gid;
		po->first = *w;
	}
	return 0;
}

struct sum {
	struct scan *s;
	uint64_t bytes, blocks;
};

static int add_sum(void *ctx, const struct ply_extent *e, struct ply_err *err)
{
	struct sum *sum = ctx;
	uint64_t block = sum->s->block;

	(void)err;
	sum->bytes += e->len;
	sum->blocks += align_up(e->off + e->len, block) - e->off / block * block;
	return tick(sum->s);
}

static struct range *find_range(struct scan *s, uint32_t i, uint64_t data, uint32_t ndata, uint64_t *ret_hash)
{
	const uint64_t key[] = { i, data, ndata };
	uint64_t h = xxh3(key, sizeof(key), 0);

	*ret_hash = h;
	for (size_t at = map_first(&s->range_map, h); at != MAP_END; at = map_next(&s->range_map, h, at)) {
		struct range *r = &s->ranges[s->range_map.slots[at].value];

		if (r->data == data && r->ndata == ndata && r->sub == i)
			return r;
	}
	return NULL;
}

/* Equal files share their range of EXTENTS, so it is read once. Other ranges share no rows, or a
 * hostile image could let each file have nearly all of them. */
static int sum_extents(struct scan *s, const struct view_file *f, struct sum *sum)
{
	struct scan_sub *ss = &s->subs[f->i];
	const struct ply_node *n = &f->node;
	uint32_t count = sub_extent_count(n);
	const struct range *known;
	struct range range;
	uint64_t h;
	int r;

	if (count <= EXTENTS_FEW)
		return plan_extents(f->sub, n, 0, UINT64_MAX, add_sum, sum, s->err);
	known = find_range(s, f->i, n->data, count, &h);
	if (known) {
		sum->bytes = known->bytes;
		sum->blocks = known->blocks;
		return 0;
	}
	ss->extents += count;
	if (ss->extents > sub_limits(f->sub)->extents)
		return ply_fail(s->err, -EUCLEAN, PLY_R_EXTENT_FIELD,
				"files share a part of their extents, and not all");
	r = plan_extents(f->sub, n, 0, UINT64_MAX, add_sum, sum, s->err);
	if (r < 0)
		return r;
	range = (struct range){ .data = n->data, .ndata = count, .sub = f->i, .bytes = sum->bytes,
				.blocks = sum->blocks };
	if (array_grow(&s->ranges, &s->ranges_cap, s->nranges + 1, sizeof(*s->ranges)) < 0 ||
	    map_add(&s->range_map, h, s->nranges) < 0)
		return ply_fail_nomem(s->err);
	s->ranges[s->nranges++] = range;
	return 0;
}

static void most(struct plan_needs *n, uint64_t *max, uint64_t is, enum layout_field f, const struct where *w)
{
	n->count[f]++;
	if (is > *max) {
		*max = is;
		n->first[f] = *w;
	}
}

/* Everything that one inode asks for; *ret_bytes: of data that it has. */
static int need(struct scan *s, const struct view_file *f, const struct where *w, uint64_t *ret_bytes)
{
	struct plan_needs *n = &s->p->needs;
	struct sum sum = { .s = s };
	uint64_t len = n->symlink_len;
	int r = need_owner(s, f, w);

	*ret_bytes = 0;
	if (r == 0 && f->node.xattrs)
		r = note_xattrs(s, f, w);
	if (r < 0)
		return r;
	need_time(n, &f->node, w);
	use(n, FIELD_MODE, w);
	switch (f->node.mode & S_IFMT) {
	case S_IFREG:
		most(n, &n->file_size, f->size, FIELD_FILE_SIZE, w);
		if (f->node.kind == PLY_C_INLINE || f->rendered) {
			sum.bytes = f->size;
			sum.blocks = align_up(f->size, s->block);
		}
		if (!f->rendered)
			r = sum_extents(s, f, &sum);
		*ret_bytes = sum.bytes;
		if (n->blocks + sum.blocks < n->blocks)
			sum.blocks = UINT64_MAX - n->blocks;
		n->blocks += sum.blocks;
		s->p->bytes += sum.bytes;
		s->p->subs[w->sub].bytes += sum.bytes;
		break;
	case S_IFLNK:
		use(n, FIELD_SYMLINK, w);
		most(n, &len, f->node.size, FIELD_SYMLINK_LENGTH, w);
		n->symlink_len = (uint32_t)len;
		break;
	case S_IFCHR:
	case S_IFBLK:
		use(n, FIELD_DEVICE, w);
		if (f->node.size >> 32 > 0xfff || (uint32_t)f->node.size > 0xfffff)
			use(n, FIELD_DEVICE_NUMBER, w);
		break;
	case S_IFIFO:
	case S_IFSOCK:
		use(n, FIELD_SPECIAL, w);
		break;
	}
	return r;
}

static void need_name(struct scan *s, size_t name_len, const struct where *w)
{
	uint64_t len = s->p->needs.name_len;

	most(&s->p->needs, &len, name_len, FIELD_NAME_LENGTH, w);
	s->p->needs.name_len = (uint32_t)len;
}

static int need_directories(struct scan *s)
{
	struct plan *p = s->p;

	for (size_t d = 0; d < p->ndirs; d++) {
		struct where w = { .at = WHERE_DIR, .dir = (uint32_t)d };
		struct view_file f;
		uint64_t bytes;
		int r = tick(s);

		if (r < 0)
			return r;
		if (!p->dirs[d].wanted)
			continue;
		r = view_own(view_file(p->view, p->dirs[d].ino, &f, s->err), s->err);
		if (r == 0 && !S_ISDIR(f.node.mode))
			r = ply_fail(s->err, -EUCLEAN, PLY_R_TREE_SHAPE, "a directory that is none");
		if (r == 0)
			r = need(s, &f, &w, &bytes);
		if (r < 0 && r != -ECANCELED) {
			char path[512];

			plan_path(p, &w, path, sizeof(path));
			ply_err_prefix(s->err, "%s", path);
		}
		if (r < 0)
			return r;
		need_name(s, p->dirs[d].name_len, &w);
	}
	return 0;
}

/* --- second pass: batches --------------------------------------------------------- */

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

int plan_extents(struct sub *sub, const struct ply_node *n, uint64_t from, uint64_t to,
		 plan_extent_fn fn, void *ctx, struct ply_err *err)
{
	uint64_t end = 0;
	uint32_t i = 0;
	int r;

	if (!S_ISREG(n->mode) || !sub_extent_count(n))
		return 0;
	if (from) {
		struct ply_extent e;

		r = sub_extent_at(sub, n, from, &e, &i, err);
		if (r == -ENXIO)
			return 0;
		if (r < 0)
			return r;
	}
	for (; i < sub_extent_count(n); i++) {
		struct ply_extent e;
		uint64_t cut;

		r = sub_node_extent(sub, n, i, &e, err);
		if (r < 0)
			return r;
		if (e.off < end)
			return ply_fail(err, -EUCLEAN, PLY_R_EXTENT_FIELD, "extents that overlap");
		end = e.off + e.len;
		if (e.off >= to)
			break;
		if (end <= from)
			continue;
		cut = from > e.off ? from - e.off : 0;
		e.off += cut;
		e.addr += cut;
		e.len = MIN(end, to) - e.off;
		r = fn(ctx, &e, err);
		if (r)
			return r;
	}
	return 0;
}

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
	int r = tick(p->c->s);

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
	if ((f.rendered || f.merged) && add_special(s, w->dir, shown, name_len, false) < 0)
		return s->err->code;
	s->p->names++;
	need_name(s, name_len, w);
	has_data = carries ? touched(c->i, &f, &first, &end, s->err) : 0;
	if (has_data < 0)
		return has_data;
	if (carries) {
		s->p->files++;
		s->p->subs[c->i].files++;
		r = need(s, &f, w, &bytes);
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

static int cut_batches(struct scan *s, uint32_t i)
{
	struct plan_sub *ps = &s->p->subs[i];
	struct cutter c = { .s = s, .ps = ps, .i = i };
	int r = 0;

	for (size_t k = 0; r == 0 && k < ps->nparts; k++) {
		const struct plan_part *part = &ps->parts[k];

		if (is_cancelled(s))
			return cancelled(s->err);
		for (uint64_t at = part->first; r == 0 && at < part->end; at++) {
			struct where w = { .at = at, .dir = part->dir, .sub = i };
			struct ply_entry e;
			char path[512];

			r = tick(s);
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

struct plan_big *plan_find_big(const struct plan *p, uint32_t sub, uint64_t at)
{
	size_t lo = 0, hi = p->nbigs;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct plan_big *b = &p->bigs[mid];

		if (b->sub == sub && b->at == at)
			return &p->bigs[mid];
		if (b->sub < sub || (b->sub == sub && b->at < at))
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
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

const struct plan_link *plan_link_first(const struct plan *p, uint64_t ino)
{
	size_t lo = 0, hi = p->nlinks;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->links[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->nlinks && p->links[lo].ino == ino ? &p->links[lo] : NULL;
}

/*
 * The first name of a group carries its content. In a sound image that is the name that the
 * node itself names, and add_name() has asked for all that it needs; where that one is not
 * shown here, it is asked for now.
 */
static int need_first_name(struct scan *s, const struct plan_link *first, uint64_t names)
{
	struct where w = { .at = first->at, .dir = first->dir, .sub = first->sub };
	struct plan_needs *n = &s->p->needs;
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
	if (names > 1) {
		most(n, &n->links, names, FIELD_LINK_COUNT, &w);
		use(n, FIELD_LINK, &w);
	}
	if (!first->follows)
		return 0;
	s->p->files++;
	s->p->subs[w.sub].files++;
	return need(s, &f, &w, &bytes);
}

static int group_links(struct scan *s)
{
	struct plan *p = s->p;

	if (p->nlinks)
		qsort(p->links, p->nlinks, sizeof(*p->links), by_inode);
	for (size_t i = 0, end; i < p->nlinks; i = end) {
		int r = tick(s);

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

int plan_entry_name(const struct plan *p, const struct where *w, const struct ply_entry *e, char buf[PLY_NAME_MAX],
		    const char **ret, size_t *ret_len, struct ply_err *err)
{
	return view_entry_name(p->view, p->dirs[w->dir].ino, w->sub, w->at, e, buf, ret, ret_len, err);
}

int plan_name_path(const struct plan *p, uint32_t d, const char *name, size_t len, struct buf *out)
{
	size_t n = len;
	char *at;

	for (uint32_t i = d; i; i = p->dirs[i].parent)
		n += p->dirs[i].name_len + (n ? 1u : 0u);
	out->len = 0;
	if (buf_reserve(out, n + 1) < 0)
		return -ENOMEM;
	out->len = n;
	at = (char *)out->data + n;
	*at = '\0';
	at -= len;
	memcpy(at, name, len);
	for (uint32_t i = d; i; i = p->dirs[i].parent) {
		if (*at)
			*--at = '/';
		at -= p->dirs[i].name_len;
		memcpy(at, p->dirs[i].name, p->dirs[i].name_len);
	}
	return 0;
}

uint32_t plan_find_dir(const struct plan *p, uint32_t parent, const char *name)
{
	size_t len = strlen(name);

	for (size_t d = 1; d < p->ndirs; d++)
		if (p->dirs[d].parent == parent && p->dirs[d].name_len == len &&
		    memcmp(p->dirs[d].name, name, len) == 0)
			return (uint32_t)d;
	return 0;
}

/* --- the whole ------------------------------------------------------------------------ */

void plan_path(const struct plan *p, const struct where *w, char *out, size_t cap)
{
	const char *tail = "";
	size_t tail_len = 0, len = 0;
	char name[PLY_NAME_MAX];
	struct ply_entry e;
	char *path;

	if (w->at != WHERE_DIR && sub_entry(p->subs[w->sub].sub, w->at, &e, NULL) == 0 &&
	    plan_entry_name(p, w, &e, name, &tail, &tail_len, NULL) < 0) {
		tail = e.name;
		tail_len = e.name_len;
	}
	for (uint32_t d = w->dir; d; d = p->dirs[d].parent)
		len += 1u + p->dirs[d].name_len;
	len += 1 + tail_len;
	path = malloc(len);
	if (!path) {
		escape_name_to(tail, tail_len, out, cap);
		return;
	}
	if (w->at == WHERE_DIR && w->dir)
		len--;             /* "/usr", but "/" for the root */
	else
		memcpy(path + len - tail_len, tail, tail_len);
	path[0] = '/';
	if (w->at != WHERE_DIR)
		path[len - tail_len - 1] = '/';
	for (size_t at = w->at == WHERE_DIR ? len : len - tail_len - 1, d = w->dir; d;
	     d = p->dirs[d].parent) {
		at -= p->dirs[d].name_len;
		memcpy(path + at, p->dirs[d].name, p->dirs[d].name_len);
		path[--at] = '/';
	}
	escape_name_to(path, len, out, cap);
	free(path);
}

int plan_filtered(struct ply_view *view, uint64_t block, const struct plan_filter *filter, const atomic_bool *cancel,
		  struct plan **ret, struct ply_err *err)
{
	struct plan *p = calloc(1, sizeof(*p));
	struct scan s = { .p = p, .cancel = cancel, .filter = filter, .hides_files = filter, .err = err,
			  .block = block ? block : 512 };
	int r = 0;

	if (!p)
		return ply_fail_nomem(err);
	p->view = view;
	p->subs = calloc(ply_view_nsubs(view), sizeof(*p->subs));
	s.by_number = calloc(PLY_NUMBER_MAX + 1, sizeof(*s.by_number));
	s.subs = calloc(ply_view_nsubs(view), sizeof(*s.subs));
	s.split_left = PIECES_MAX;
	if (!p->subs || !s.by_number || !s.subs) {
		r = ply_fail_nomem(err);
		goto out;
	}
	p->nsubs = ply_view_nsubs(view);
	for (uint32_t i = 0; r == 0 && i < p->nsubs; i++) {
		s.by_number[ply_image_sub_info(ply_view_image(view), ply_view_sub(view, i))->number] = i;
		r = view_sub_at(view, i, &p->subs[i].sub, err);
		if (r == 0)
			s.split_left += 4 * sub_limits(p->subs[i].sub)->extents;
	}
	if (r == 0)
		r = list_all(&s);
	if (r == 0)
		r = need_directories(&s);
	for (uint32_t i = 0; r == 0 && i < p->nsubs; i++)
		r = cut_batches(&s, i);
	if (r == 0)
		r = group_links(&s);
	sort_specials(p);
	if (r == 0)
		r = need_xattrs(&s);
	for (size_t i = 0; i < p->nbigs; i++)
		pthread_mutex_init(&p->bigs[i].lock, NULL);
out:
	for (uint32_t i = 0; i < p->nsubs; i++)
		free(s.subs[i].sets);
	free(s.subs);
	free(s.ranges);
	map_done(&s.range_map);
	free(s.by_number);
	if (r < 0) {
		plan_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int plan_new(struct ply_view *view, uint64_t block, const atomic_bool *cancel, struct plan **ret, struct ply_err *err)
{
	return plan_filtered(view, block, NULL, cancel, ret, err);
}

struct plan *plan_free(struct plan *p)
{
	if (!p)
		return NULL;
	for (size_t i = 0; i < p->nbigs; i++)
		pthread_mutex_destroy(&p->bigs[i].lock);
	for (uint32_t i = 0; i < p->nsubs; i++) {
		free(p->subs[i].parts);
		free(p->subs[i].batches);
		free(p->subs[i].owners);
	}
	free(p->subs);
	while (p->texts) {
		struct plan_text *t = p->texts;

		p->texts = t->next;
		free(t);
	}
	free(p->dirs);
	free(p->specials);
	free(p->links);
	free(p->link_batches);
	free(p->bigs);
	free(p);
	return NULL;
}
