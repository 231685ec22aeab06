/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The join table against the sub-images whose nodes it joins (FORMAT.md, "Join table"): every row
 * is what it says, every directory and every shared file that stands at one path in several sub-images
 * is in one row, and no selection has another name in two of them, unless one is an overlay.
 *
 * Cost: the rows, the entries of joined directories, and the content of link groups, which
 * is read for its SHA-256.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "cache/cache.h"
#include "codec/codec.h"
#include "ops/verify_internal.h"

#define BUFFER (1u << 20)

struct joins {
	struct verify *v;
	const struct catalog *c;
	struct sub *const *subs;
	const struct join *j;
	int *by_number;            /* position in the catalog, -1: none */
	uint64_t next_child;       /* row that the next child should be */
	uint64_t nmembers;         /* in the rows so far */
	uint64_t looked;           /* members of the rows so far, shared ones each time */
	bool in_files;             /* rows of directories are over */
	bool limit_told;
	struct selections *sel;
	struct overlays *ov;
	struct cache *cache;
	uint8_t *buf;
	struct sha256 *sha;
};

#define JOIN_FINDING(...) findings_add(&jn->v->list, PLY_R_JOIN_FIELD, NULL, 0, 0, __VA_ARGS__)
#define ROW(r) ((unsigned long long)(r)->row)

/* The node of member @k of @row; NULL sub: it has none (told). */
static struct sub *member(struct joins *jn, const struct join_row *row, uint32_t k,
			  struct join_member *m, struct ply_node *ret, uint32_t *ret_pos)
{
	struct ply_err e;
	int pos;

	if (join_member(jn->j, row, k, m, &e) < 0) {
		JOIN_FINDING("join row %llu: %s", ROW(row), e.msg);
		return NULL;
	}
	pos = jn->by_number[PLY_INO_NUMBER(m->ref)];
	if (pos < 0) {
		JOIN_FINDING("join row %llu names sub-image %u, which does not exist", ROW(row),
			     PLY_INO_NUMBER(m->ref));
		return NULL;
	}
	if (!jn->subs[pos])        /* damaged: told */
		return NULL;
	if (sub_node(jn->subs[pos], PLY_INO_INDEX(m->ref), ret, &e) < 0) {
		JOIN_FINDING("join row %llu: %s of sub-image %s", ROW(row), e.msg,
			     jn->c->subs[pos].info.name);
		return NULL;
	}
	*ret_pos = (uint32_t)pos;
	return jn->subs[pos];
}

/* Row of the node @index of the sub-image at @pos; false: in none. */
static bool row_of(struct joins *jn, uint32_t pos, uint64_t index, struct join_row *ret)
{
	return join_find(jn->j, PLY_INO(jn->c->subs[pos].info.number, index), ret, NULL) > 0;
}

/* --- content --------------------------------------------------------------------------- */

static int content_digest(struct joins *jn, struct sub *s, const struct ply_node *n, uint8_t ret[32])
{
	const void *target;

	/* a hole costs as much as data here: what is nearly all holes is not worth it */
	if (S_ISREG(n->mode) && n->size > (sub_limits(s)->blocks << PLY_BLOCK_BITS) + PLY_DIGEST_HOLES_MAX)
		return -EFBIG;
	sha256_reset(jn->sha);
	if (S_ISLNK(n->mode)) {
		if (sub_heap(s, n->data, n->size, &target, NULL) < 0)
			return -EUCLEAN;
		sha256_add(jn->sha, target, n->size);
	}
	for (uint64_t off = 0; S_ISREG(n->mode) && off < n->size;) {
		ssize_t got = sub_read(s, jn->cache, n, off, BUFFER, jn->buf, NULL);

		if (got <= 0)
			return -EUCLEAN;
		sha256_add(jn->sha, jn->buf, (size_t)got);
		off += (uint64_t)got;
	}
	sha256_end(jn->sha, ret);
	return 0;
}

static void check_digest(struct joins *jn, const struct join_row *row, uint32_t pos, struct sub *s,
			 const struct join_member *m, const struct ply_node *n)
{
	static const uint8_t zero[32];
	uint8_t is[32];

	if (row->kind == PLY_J_FILE) {
		struct ply_shared f;
		uint64_t at;

		if (sub_shared_find(s, PLY_INO_INDEX(m->ref), &at, &f, NULL) < 0)   /* told with the rows there */
			return;
		memcpy(is, f.digest, sizeof(is));
	} else if (S_ISREG(n->mode) || S_ISLNK(n->mode)) {
		if (content_digest(jn, s, n, is) < 0)   /* damage is told with the block */
			return;
	} else {
		memcpy(is, zero, sizeof(is));
	}
	if (memcmp(is, m->digest, sizeof(is)) != 0) {
		struct held *h = findings_add(&jn->v->list, PLY_R_JOIN_FIELD, jn->c->subs[pos].info.name,
					      0, 0, "join row %llu: the SHA-256 of a member is not that "
					      "of its content", ROW(row));

		if (h)
			held_path(h, verify_node_path(s, PLY_INO_INDEX(m->ref)));
	}
}

/* --- directories ------------------------------------------------------------------------- */

/* A name in two members. */
struct both {
	uint32_t pos, other_pos;
	uint64_t dir, at, other_at;   /* the later one's directory, rows of ENTRIES */
	struct ply_entry e, oe;
	uint8_t flags, other_flags;   /* of the directories */
};

static void name_finding(struct joins *jn, const struct both *b, enum ply_reason reason, const char *what)
{
	struct held *h = findings_add(&jn->v->list, reason, jn->c->subs[b->pos].info.name, 0, 0,
				      "a name of sub-image %s, too; %s", jn->c->subs[b->other_pos].info.name, what);

	if (h)
		held_path(h, verify_entry_path(jn->subs[b->pos], b->dir, b->at));
}

static bool is_directory(const struct ply_entry *e)
{
	return e->type == S_IFDIR >> 12 || (e->type == PLY_T_WHITEOUT && e->ref);
}

/* One of them is an overlay. */
static void check_overlay_name(struct joins *jn, const struct both *b)
{
	bool later = overlays_stands_on(jn->ov, b->pos, b->other_pos);

	if (is_directory(&b->e) && is_directory(&b->oe)) {
		name_finding(jn, b, PLY_R_TREE_SHAPE, "both are directories, and nothing joins them");
	} else if (overlays_apart(jn->ov, b->pos, b->other_pos)) {
		if (selections_can_have_both(jn->sel, b->pos, b->e.condition, b->other_pos, b->oe.condition) > 0 &&
		    overlays_differ_untold(jn->j, jn->c, jn->subs, b->pos, b->at, &b->e, b->other_pos, b->other_at,
					   &b->oe))
			name_finding(jn, b, PLY_R_COLLISION_FIELD, "they differ, and are not among the collisions");
	} else if (is_directory(&b->e) != is_directory(&b->oe) && b->e.type != PLY_T_WHITEOUT &&
		   b->oe.type != PLY_T_WHITEOUT && !((later ? b->flags : b->other_flags) & PLY_NODE_COVERS)) {
		name_finding(jn, b, PLY_R_NODE_FIELD,
			     "one is a directory, and the flags of the overlay's directory do not say so");
	}
}

/* A name of a later member that an earlier one has, too: both are directories or parts of a shared file of one
 * row, or no selection has both, or one is an overlay. */
static void check_name(struct joins *jn, const struct both *b)
{
	struct join_row row, other;
	int both;

	if (row_of(jn, b->pos, PLY_INO_INDEX(b->e.ref), &row) &&
	    row_of(jn, b->other_pos, PLY_INO_INDEX(b->oe.ref), &other) && row.row == other.row &&
	    row.kind != PLY_J_LINKS)
		return;
	if (overlays_apart(jn->ov, b->pos, b->other_pos) || overlays_stands_on(jn->ov, b->pos, b->other_pos) ||
	    overlays_stands_on(jn->ov, b->other_pos, b->pos)) {
		check_overlay_name(jn, b);
		return;
	}
	both = selections_can_have_both(jn->sel, b->pos, b->e.condition, b->other_pos, b->oe.condition);
	if (both == -ENOMEM)
		jn->v->list.failed = true;
	if (both == -E2BIG && !jn->limit_told) {
		jn->limit_told = true;
		findings_add(&jn->v->list, PLY_R_LIMIT, jn->c->subs[b->pos].info.name, 0, 0,
			     "conditions that are too long for so many names; these were not all compared");
	}
	if (both > 0)              /* a condition that cannot be read was told */
		name_finding(jn, b, PLY_R_TREE_SHAPE, "nothing joins them, and a selection can have both");
}

/* The entries of the members of a joined directory, against those of the members before. */
static void check_names(struct joins *jn, const struct join_row *row)
{
	struct ply_node n, other;
	struct join_member m, om;
	uint32_t pos, other_pos;

	for (uint32_t k = 1; k < row->nmembers; k++) {
		struct sub *s = member(jn, row, k, &m, &n, &pos);

		for (uint32_t q = 0; s && q < k; q++) {
			if (!member(jn, row, q, &om, &other, &other_pos) || !S_ISDIR(other.mode) ||
			    !S_ISDIR(n.mode))
				continue;
			for (uint64_t at = n.data; at < n.data + n.size; at++) {
				struct both b = { .pos = pos, .other_pos = other_pos, .at = at,
						  .dir = PLY_INO_INDEX(m.ref), .flags = n.flags,
						  .other_flags = other.flags };

				if (sub_entry(s, at, &b.e, NULL) == 0 &&
				    sub_find(jn->subs[other_pos], &other, b.e.name, b.e.name_len, &b.other_at, &b.oe,
					     NULL) == 0)
					check_name(jn, &b);
			}
		}
	}
}

/* Are the members of @row directories, or parts of a file, of one name in the members of one row? */
static void check_parents(struct joins *jn, const struct join_row *row)
{
	struct ply_entry first = { 0 }, e;
	uint64_t parent_row = 0;
	bool known = false;

	for (uint32_t k = 0; k < row->nmembers; k++) {
		struct join_row parent;
		struct join_member m;
		struct ply_node n;
		uint32_t pos;
		struct sub *s = member(jn, row, k, &m, &n, &pos);

		if (!s)
			continue;
		if (row->row == 0) {
			if (PLY_INO_INDEX(m.ref) != PLY_ROOT_INDEX)
				JOIN_FINDING("join row 0 does not join the roots");
			continue;
		}
		if (PLY_INO_INDEX(m.ref) == PLY_ROOT_INDEX || sub_entry(s, n.entry, &e, NULL) < 0 ||
		    !row_of(jn, pos, PLY_INO_INDEX(n.parent), &parent)) {
			JOIN_FINDING("join row %llu: the parent of member %u is in no row", ROW(row), k);
			continue;
		}
		if (!known) {
			first = e;
			parent_row = parent.row;
			known = true;
			if (row->kind != PLY_J_DIRECTORY)
				continue;
			if (row->row < parent.first_child || row->row >= parent.first_child + parent.nchildren)
				JOIN_FINDING("join row %llu is not among the children of row %llu", ROW(row),
					     ROW(&parent));
		} else if (parent.row != parent_row || e.name_len != first.name_len ||
			   memcmp(e.name, first.name, e.name_len) != 0) {
			JOIN_FINDING("join row %llu joins what stands at different paths", ROW(row));
		}
	}
}

static void check_row(struct joins *jn, const struct join_row *row)
{
	uint32_t last_rank = 0, pos;
	struct join_member m;
	struct ply_node n;
	uint16_t type = 0;
	uint64_t seen = 0;
	bool once = true;          /* no member is in another row, too: so work is bounded */

	if (row->first_member != jn->nmembers)
		JOIN_FINDING("join row %llu: its members do not follow those of the row before", ROW(row));
	jn->looked += row->nmembers;
	jn->nmembers = row->first_member + row->nmembers;
	for (uint32_t k = 0; k < row->nmembers; k++) {
		struct join_row again;
		struct sub *s = member(jn, row, k, &m, &n, &pos);

		if (!s)
			continue;
		/* what is added has a rank above all others, so in order of rank: which also means once */
		if (k && jn->c->subs[pos].info.rank <= last_rank)
			JOIN_FINDING("join row %llu: members are not in order of joining", ROW(row));
		last_rank = jn->c->subs[pos].info.rank;
		if (join_find(jn->j, m.ref, &again, NULL) <= 0 || again.row != row->row) {
			once = false;
			JOIN_FINDING("join row %llu: the index does not lead to it from %u:%llu", ROW(row),
				     PLY_INO_NUMBER(m.ref), (unsigned long long)PLY_INO_INDEX(m.ref));
		}
		if (seen++ && (n.mode & S_IFMT) != type)
			JOIN_FINDING("join row %llu joins files of different types", ROW(row));
		type = n.mode & S_IFMT;
		if (S_ISDIR(n.mode) != (row->kind == PLY_J_DIRECTORY))
			JOIN_FINDING("join row %llu: its kind is not that of its members", ROW(row));
		else if (!(n.flags & PLY_NODE_SHARED) != (row->kind != PLY_J_FILE))
			JOIN_FINDING("join row %llu: its kind and member %u are not both those of a shared file",
				     ROW(row), k);
		if (once)
			check_digest(jn, row, pos, s, &m, &n);
	}
	if (row->kind != PLY_J_DIRECTORY) {
		jn->in_files = true;
		if (row->kind == PLY_J_FILE)
			check_parents(jn, row);
		return;
	}
	if (jn->in_files)
		JOIN_FINDING("join row %llu: a directory behind link groups or shared files", ROW(row));
	if (row->row == 0 && row->nmembers != jn->c->nsubs)
		JOIN_FINDING("join row 0 joins %u roots of %u sub-images", row->nmembers, jn->c->nsubs);
	if (row->nchildren) {
		if (row->first_child != jn->next_child || row->first_child <= row->row)
			JOIN_FINDING("join row %llu: its children are not numbered breadth-first", ROW(row));
		jn->next_child = row->first_child + row->nchildren;
	}
	check_parents(jn, row);
	if (once)
		check_names(jn, row);
}

/* Sorted, and one row for each member. */
static void check_index(struct joins *jn)
{
	const struct section *s = segment_section(meta_segment(join_meta(jn->j)), PLY_S_JOIN_INDEX);
	struct ply_disk_join_index d;
	uint64_t last = 0;
	const void *p;

	if (s->count != join_nmembers(jn->j) || jn->nmembers != s->count)
		JOIN_FINDING("the join table has %llu members in its rows, %llu in all, %llu in its index",
			     (unsigned long long)jn->nmembers, (unsigned long long)join_nmembers(jn->j),
			     (unsigned long long)s->count);
	for (uint64_t i = 0; i < s->count; i++) {
		if (meta_get(join_meta(jn->j), s, i * sizeof(d), sizeof(d), &p, NULL) < 0)
			return;
		memcpy(&d, p, sizeof(d));
		if (i && le64_get(d.ref) <= last) {
			JOIN_FINDING("row %llu of the join index is not sorted", (unsigned long long)i);
			return;
		}
		last = le64_get(d.ref);
	}
}

static int check_rows(struct joins *jn, struct ply_err *err)
{
	uint64_t dirs = 0;

	for (uint64_t i = 0; i < join_nrows(jn->j); i++) {
		struct join_row row;
		struct ply_err e;

		if (join_row(jn->j, i, &row, &e) < 0) {
			JOIN_FINDING("%s", e.msg);
			continue;
		}
		dirs += row.kind == PLY_J_DIRECTORY;
		/* a hostile table lets all rows have all members, and each would be told for each */
		if (jn->looked + row.nmembers > join_nmembers(jn->j)) {
			JOIN_FINDING("join row %llu: members that other rows have; it ends the check of the join table",
				     (unsigned long long)i);
			return verify_flush(jn->v, err);
		}
		check_row(jn, &row);
		if (jn->v->list.n > 1024) {
			int r = verify_flush(jn->v, err);

			if (r < 0)
				return r;
		}
	}
	if (jn->next_child != dirs)
		JOIN_FINDING("%llu joined directories, of which %llu are reached from the roots",
			     (unsigned long long)dirs, (unsigned long long)jn->next_child);
	check_index(jn);
	return verify_flush(jn->v, err);
}

int verify_join(struct verify *v, const struct catalog *c, struct sub *const *subs,
		const struct join *j, struct selections *sel, struct ply_err *err)
{
	struct joins jn = { .v = v, .c = c, .subs = subs, .j = j, .sel = sel, .next_child = 1 };
	int r = 0;

	jn.by_number = malloc((PLY_NUMBER_MAX + 1) * sizeof(*jn.by_number));
	jn.buf = malloc(BUFFER);
	jn.ov = overlays_new(c);
	jn.sha = sha256_new();
	if (!jn.by_number || !jn.buf || !jn.sha || !jn.ov || cache_new(BUFFER, &jn.cache) < 0) {
		r = ply_fail_nomem(err);
	} else {
		for (uint32_t i = 0; i <= PLY_NUMBER_MAX; i++)
			jn.by_number[i] = -1;
		for (uint32_t i = 0; i < c->nsubs; i++)
			jn.by_number[c->subs[i].info.number] = (int)i;
		r = check_rows(&jn, err);
		if (r == 0)
			r = verify_overlays(v, c, subs, j, jn.ov, jn.by_number, err);
		if (r == 0)
			r = verify_shared_files(v, c, subs, j, sel, jn.by_number, err);
	}
	cache_free(jn.cache);
	sha256_free(jn.sha);
	overlays_free(jn.ov);
	free(jn.buf);
	free(jn.by_number);
	return r;
}
