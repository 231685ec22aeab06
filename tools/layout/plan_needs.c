/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What must the target be able to hold? The sum of what the planned inodes and names ask for, with an example of each:
 * plan.needs, and the owners of each sub-image.
 *
 * Inodes may share xattr sets and extents, and a hostile image lets a million of them share the largest ones: each set,
 * and each long range of extents, is read once, and those that share a part only are refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"
#include "layout/plan_impl.h"

#define EXTENTS_FEW  8u            /* fewer than these are simply read for each file */

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

/* --- xattrs --------------------------------------------------------------------- */

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
		int r = plan_tick(s);

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
int plan_need_xattrs(struct scan *s)
{
	for (uint32_t i = 0; i < s->p->nsubs; i++) {
		struct sub *sub = s->p->subs[i].sub;
		uint64_t rows = 0;

		for (uint64_t set = 1; s->subs[i].sets && set < sub_limits(sub)->xattr_sets; set++) {
			uint32_t n;
			int r = plan_tick(s);

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

/* --- times, owners, data ---------------------------------------------------------- */

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
	return plan_tick(sum->s);
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

/* --- inodes and names -------------------------------------------------------------- */

int plan_need_inode(struct scan *s, const struct view_file *f, const struct where *w, uint64_t *ret_bytes)
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

void plan_need_name(struct scan *s, size_t name_len, const struct where *w)
{
	uint64_t len = s->p->needs.name_len;

	most(&s->p->needs, &len, name_len, FIELD_NAME_LENGTH, w);
	s->p->needs.name_len = (uint32_t)len;
}

void plan_need_links(struct scan *s, uint64_t names, const struct where *w)
{
	struct plan_needs *n = &s->p->needs;

	most(n, &n->links, names, FIELD_LINK_COUNT, w);
	use(n, FIELD_LINK, w);
}

int plan_need_directories(struct scan *s)
{
	struct plan *p = s->p;

	for (size_t d = 0; d < p->ndirs; d++) {
		struct where w = { .at = WHERE_DIR, .dir = (uint32_t)d };
		struct view_file f;
		uint64_t bytes;
		int r = plan_tick(s);

		if (r < 0)
			return r;
		if (!p->dirs[d].wanted)
			continue;
		r = view_own(view_file(p->view, p->dirs[d].ino, &f, s->err), s->err);
		if (r == 0 && !S_ISDIR(f.node.mode))
			r = ply_fail(s->err, -EUCLEAN, PLY_R_TREE_SHAPE, "a directory that is none");
		if (r == 0)
			r = plan_need_inode(s, &f, &w, &bytes);
		if (r < 0 && r != -ECANCELED) {
			char path[512];

			plan_path(p, &w, path, sizeof(path));
			ply_err_prefix(s->err, "%s", path);
		}
		if (r < 0)
			return r;
		plan_need_name(s, p->dirs[d].name_len, &w);
	}
	return 0;
}
