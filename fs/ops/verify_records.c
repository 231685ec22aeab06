/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared files (FORMAT.md, "What depends on a selection"): the tables of each sub-image, and then the
 * parts of one file together. The file is put together here from its records and not through a view, so that
 * a reader's mistake shows, too; and all of its records must give the captured file.
 *
 * Memory: the parts of one file. A hostile image lets all parts share a few blocks of data, so what
 * is rendered has a limit for the whole image, far beyond what a machine has; and each record that there is
 * is paid for once, since files that share records were told with the tables.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "cache/cache.h"
#include "codec/codec.h"
#include "merge/merge.h"
#include "ops/verify_internal.h"

#define CACHE (1u << 20)

/* --- one sub-image ------------------------------------------------------------------------ */

struct rows {
	struct verify *v;
	const char *name;
	struct sub *s;
	const uint8_t *starts;     /* of conditions */
	bool is_os;
	uint8_t *homes;            /* by row of CONDITIONS: 0 not asked; 1 names a home, 2 does not */
	uint8_t *seen;             /* a bit for each row of RECORDS: it belongs to a file */
	uint64_t nseen;
};

#define ROW_FINDING(reason, index, ...) NODE_FINDING(t->v, reason, t->name, t->s, index, __VA_ARGS__)

static bool find_home(struct sub *s, uint32_t cond)
{
	struct ply_condition c = { 0 };

	for (uint32_t k = 0; !c.ends; k++)
		if (sub_condition(s, cond, k, &c, NULL) < 0)
			return false;      /* told with the conditions */
		else if (!c.none)
			return true;
	return false;
}

/* A record that one component must be selected for lies with it, so that os tells about nobody. @cond begins there. */
static bool names_a_home(struct rows *t, uint32_t cond)
{
	if (cond && !t->homes[cond - 1])
		t->homes[cond - 1] = find_home(t->s, cond) ? 1 : 2;
	return cond && t->homes[cond - 1] == 1;
}

static void check_records(struct rows *t, const struct ply_shared *f, const struct ply_node *n)
{
	uint64_t bytes = 0;
	uint32_t last = 0;

	for (uint32_t i = 0; i < f->count; i++) {
		uint64_t at = f->first + i;
		struct ply_record rec;
		struct ply_err e;

		if (t->seen[at / 8] >> at % 8 & 1) {   /* each is looked at once, whatever the rows say */
			ROW_FINDING(PLY_R_RECORD_FIELD, f->node, "row %llu of RECORDS belongs to another file, too",
				    (unsigned long long)at);
			return;
		}
		t->seen[at / 8] |= (uint8_t)(1u << at % 8);
		t->nseen++;
		if (sub_record(t->s, at, &rec, &e) < 0) {
			ROW_FINDING(e.reason, f->node, "row %llu of RECORDS: %s",
				    (unsigned long long)at, e.msg);
			return;
		}
		if (i && rec.ordinal <= last) {
			ROW_FINDING(PLY_R_RECORD_FIELD, f->node, "row %llu of RECORDS is out of order",
				    (unsigned long long)at);
			return;            /* one finding for a file: a hostile one may have a million */
		}
		if (!condition_begins(t->s, t->starts, rec.condition)) {
			ROW_FINDING(PLY_R_CONDITION_FIELD, f->node,
				    "row %llu of RECORDS: no condition begins at %u",
				    (unsigned long long)at, rec.condition);
			return;
		}
		if (t->is_os && names_a_home(t, rec.condition)) {
			ROW_FINDING(PLY_R_RECORD_FIELD, f->node,
				    "row %llu of RECORDS: a record of others lies in os",
				    (unsigned long long)at);
			return;
		}
		last = rec.ordinal;
		bytes += rec.len;
	}
	if (bytes != n->size)
		ROW_FINDING(PLY_R_RECORD_FIELD, f->node, "records of %llu bytes in a file of %llu",
			    (unsigned long long)bytes, (unsigned long long)n->size);
}

static void check_shared(struct rows *t, uint64_t i, const struct ply_shared *f)
{
	const struct merge_driver *d = merge_driver_get(f->driver);
	struct ply_node n;

	if (!d || !f->version || f->version > d->version)
		ROW_FINDING(PLY_R_RECORD_FIELD, f->node, "row %llu of SHARED_FILES: driver %u, version %u, is not known",
			    (unsigned long long)i, f->driver, f->version);
	if (f->whole && f->count > 1)
		ROW_FINDING(PLY_R_RECORD_FIELD, f->node, "row %llu of SHARED_FILES: a whole file of %u records",
			    (unsigned long long)i, f->count);
	if (sub_node(t->s, f->node, &n, NULL) < 0)   /* told with the nodes */
		return;
	if (!(n.flags & PLY_NODE_SHARED)) {
		ROW_FINDING(PLY_R_RECORD_FIELD, f->node, "row %llu of SHARED_FILES: node %llu is no shared file",
			    (unsigned long long)i, (unsigned long long)f->node);
		return;
	}
	if (n.size > MERGE_FILE_MAX)
		ROW_FINDING(PLY_R_RECORD_FIELD, f->node, "records of %llu bytes: no shared file has so many",
			    (unsigned long long)n.size);
	check_records(t, f, &n);
}

/* Each node with the flag has a row. */
static int check_flags(struct rows *t, uint64_t flagged, struct ply_err *err)
{
	uint64_t row = 0, found = 0;

	for (uint64_t i = PLY_ROOT_INDEX; found < flagged && i < sub_limits(t->s)->nodes; i++) {
		struct ply_shared f = { 0 };
		struct ply_node n;

		if (sub_node(t->s, i, &n, NULL) < 0 || !(n.flags & PLY_NODE_SHARED))
			continue;
		found++;
		while (row < sub_limits(t->s)->shared && (sub_shared(t->s, row, &f, NULL) < 0 || f.node < i))
			row++;
		if (row < sub_limits(t->s)->shared && f.node == i)
			continue;
		ROW_FINDING(PLY_R_RECORD_FIELD, i, "node %llu is a shared file, and has no row of SHARED_FILES",
			    (unsigned long long)i);
		if (t->v->list.n > 1024) {
			int r = verify_flush(t->v, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int verify_shared_rows(struct verify *v, const struct ply_sub_info *info, struct sub *s, const uint8_t *starts,
		       uint64_t flagged, struct ply_err *err)
{
	struct rows table = { .v = v, .name = info->name, .s = s, .starts = starts,
			      .is_os = info->flags & PLY_SUB_OS }, *t = &table;
	uint64_t last = 0;
	int r = 0;

	t->seen = calloc(sub_limits(s)->records / 8 + 1, 1);
	t->homes = calloc(sub_limits(s)->conditions + 1, 1);
	if (!t->seen || !t->homes) {
		free(t->seen);
		free(t->homes);
		return ply_fail_nomem(err);
	}
	for (uint64_t i = 0; r == 0 && i < sub_limits(s)->shared; i++) {
		struct ply_shared f;
		struct ply_err e;

		if (sub_shared(s, i, &f, &e) < 0) {
			findings_add(&v->list, e.reason, t->name, 0, 0, "row %llu of SHARED_FILES: %s",
				     (unsigned long long)i, e.msg);
			continue;
		}
		if (f.node <= last)
			ROW_FINDING(PLY_R_RECORD_FIELD, f.node, "row %llu of SHARED_FILES is out of order",
				    (unsigned long long)i);
		last = f.node;
		check_shared(t, i, &f);
		if (v->list.n > 1024)
			r = verify_flush(v, err);
	}
	if (t->nseen < sub_limits(s)->records)
		findings_add(&v->list, PLY_R_RECORD_FIELD, t->name, 0, 0, "%llu records belong to no file",
			     (unsigned long long)(sub_limits(s)->records - t->nseen));
	free(t->seen);
	free(t->homes);
	return r < 0 ? r : check_flags(t, flagged, err);
}

/* --- the parts of one file --------------------------------------------------------------------- */

struct shared_check {
	struct verify *v;
	const struct catalog *c;
	struct sub *const *subs;
	const struct join *j;      /* NULL: none */
	struct selections *sel;
	const int *by_number;
	struct cache *cache;
	uint64_t bytes;
	uint64_t records;          /* that may still be looked at */
	bool limit_told;
};

struct whole_record {
	struct ply_record rec;
	const uint8_t *data;
	uint32_t pos;
	bool holds;                /* where everything is selected */
};

/* A file that is being put together. */
struct whole {
	struct shared_check *k;
	uint64_t ref;              /* of its first part */
	struct ply_shared first;
	struct buf *parts;
	size_t nparts, bytes;
	struct whole_record *v;
	size_t n, cap;
	bool told;                 /* something is wrong with it */
};

static void whole_finding(struct whole *w, uint32_t pos, uint64_t index, enum ply_reason reason, const char *what)
{
	NODE_FINDING(w->k->v, reason, w->k->c->subs[pos].info.name, w->k->subs[pos], index, "%s", what);
	w->told = true;
}

/* -EUCLEAN: told, here or with the tables. */
static int add_part(struct whole *w, uint32_t pos, uint64_t index, struct ply_err *err)
{
	struct shared_check *k = w->k;
	struct sub *s = k->subs[pos];
	struct buf *part = &w->parts[w->nparts];
	struct ply_shared f;
	struct ply_node n;
	uint64_t off = 0, at;
	ssize_t got;

	if (sub_node(s, index, &n, NULL) < 0 || !(n.flags & PLY_NODE_SHARED) ||
	    sub_shared_find(s, index, &at, &f, NULL) < 0 || n.size > MERGE_FILE_MAX)
		return -EUCLEAN;
	if (!w->nparts++) {
		w->first = f;
	} else if (f.driver != w->first.driver || f.whole != w->first.whole ||
		   memcmp(f.digest, w->first.digest, sizeof(f.digest)) != 0) {
		whole_finding(w, pos, index, PLY_R_RECORD_FIELD, "the parts of a shared file are of different files");
		return -EUCLEAN;
	}
	if (f.count > MERGE_RECORDS_MAX - w->n || n.size > MERGE_PARTS_MAX - w->bytes) {
		whole_finding(w, pos, index, PLY_R_LIMIT, "the parts of a shared file are larger than a view takes");
		return -EUCLEAN;
	}
	if (n.size > MERGE_IMAGE_MAX - k->bytes) {
		if (!k->limit_told)
			whole_finding(w, pos, index, PLY_R_LIMIT,
				      "shared files of more than 1 GiB; this one and those behind it were not put together");
		k->limit_told = true;
		return -EUCLEAN;
	}
	if (f.count > k->records)
		return -EUCLEAN;
	k->records -= f.count;
	k->bytes += n.size;
	w->bytes += n.size;
	if (buf_reserve(part, n.size + 1) < 0 ||
	    array_grow(&w->v, &w->cap, w->n + f.count, sizeof(*w->v)) < 0)
		return ply_fail_nomem(err);
	got = sub_read(s, k->cache, &n, 0, n.size, part->data, NULL);
	if (got < 0 || (uint64_t)got != n.size)
		return -EUCLEAN;
	for (uint32_t i = 0; i < f.count; i++) {
		struct whole_record *r = &w->v[w->n];
		int holds;

		if (sub_record(s, f.first + i, &r->rec, NULL) < 0 || r->rec.len > n.size - off)
			return -EUCLEAN;
		holds = selections_all_hold(k->sel, pos, r->rec.condition);
		if (holds < 0)
			return holds == -ENOMEM ? ply_fail_nomem(err) : -EUCLEAN;
		r->data = part->data + off;
		r->pos = pos;
		r->holds = holds;
		off += r->rec.len;
		w->n++;
	}
	return off == n.size ? 0 : -EUCLEAN;
}

static int by_ordinal(const void *a, const void *b)
{
	const struct whole_record *x = a, *y = b;

	if (x->rec.ordinal != y->rec.ordinal)
		return x->rec.ordinal < y->rec.ordinal ? -1 : 1;
	return x->pos < y->pos ? -1 : x->pos > y->pos;
}

/* Equal ordinals are one record: the same bytes, in sub-images of which each is as good as the other. */
static void check_copies(struct whole *w, uint32_t pos, uint64_t index)
{
	for (size_t i = 1; i < w->n && !w->told; i++) {
		const struct whole_record *a = &w->v[i - 1], *b = &w->v[i];

		if (a->rec.ordinal != b->rec.ordinal)
			continue;
		if (a->rec.len != b->rec.len || a->rec.flags != b->rec.flags || memcmp(a->data, b->data, a->rec.len) != 0)
			whole_finding(w, pos, index, PLY_R_RECORD_FIELD, "two parts of a shared file differ in a record");
		else if (!a->pos)
			whole_finding(w, pos, index, PLY_R_RECORD_FIELD, "a record of os lies in another sub-image, too");
	}
}

static int check_content(struct whole *w, uint32_t pos, uint64_t index, struct ply_err *err)
{
	const struct merge_driver *d = merge_driver_get(w->first.driver);
	_cleanup_free_ struct piece *pieces = calloc(w->n + 1, sizeof(*pieces));
	_cleanup_buf_ struct buf out = { 0 };
	struct ply_err e = { 0 };
	uint32_t last = 0;
	uint8_t is[32];
	size_t n = 0;
	int r;

	if (!pieces)
		return ply_fail_nomem(err);
	if (!d)                    /* told with its row */
		return 0;
	for (size_t i = 0; i < w->n; i++) {
		const struct whole_record *rec = &w->v[i];

		if (!rec->holds || (n && rec->rec.ordinal == last))
			continue;
		last = rec->rec.ordinal;
		pieces[n++] = (struct piece){ rec->data, rec->rec.len,
					      rec->rec.flags | (w->first.whole ? (uint32_t)RECORD_WHOLE : 0) };
	}
	r = merge_render(d, pieces, n, &out, &e);
	if (r == -ENOMEM)
		return ply_fail_nomem(err);
	if (r < 0) {
		whole_finding(w, pos, index, e.reason, e.msg);
		return 0;
	}
	if (sha256_once(out.data, out.len, is) < 0)
		return ply_fail_nomem(err);
	if (memcmp(is, w->first.digest, sizeof(is)) != 0)
		whole_finding(w, pos, index, PLY_R_RECORD_DIGEST, "all records of a shared file do not give the captured file");
	return 0;
}

/* The file whose part node @index of the sub-image at @pos is. */
static int check_file(struct shared_check *k, uint32_t pos, uint64_t index, struct ply_err *err)
{
	struct whole w = { .k = k, .ref = PLY_INO(k->c->subs[pos].info.number, index) };
	struct join_row row = { 0 };
	int joined = k->j ? join_find(k->j, w.ref, &row, NULL) : 0, r = 0;

	if (joined < 0 || (joined && row.kind != PLY_J_FILE))
		return 0;          /* told with the row */
	w.parts = calloc(joined ? row.nmembers : 1, sizeof(*w.parts));
	if (!w.parts)
		return ply_fail_nomem(err);
	if (!joined)
		r = add_part(&w, pos, index, err);
	for (uint32_t i = 0; r == 0 && joined && i < row.nmembers; i++) {
		struct join_member m;
		int at;

		/* each file is put together for its first part */
		if (join_member(k->j, &row, i, &m, NULL) < 0 || (!i && m.ref != w.ref)) {
			r = -EUCLEAN;
			break;
		}
		at = k->by_number[PLY_INO_NUMBER(m.ref)];
		r = at < 0 || !k->subs[at] ? -EUCLEAN : add_part(&w, (uint32_t)at, PLY_INO_INDEX(m.ref), err);
	}
	if (r == 0 && w.n)
		qsort(w.v, w.n, sizeof(*w.v), by_ordinal);
	if (r == 0)
		check_copies(&w, pos, index);
	if (r == 0 && !w.told)
		r = check_content(&w, pos, index, err);
	for (size_t i = 0; i < w.nparts; i++)
		buf_done(&w.parts[i]);
	free(w.parts);
	free(w.v);
	return r == -EUCLEAN ? 0 : r;
}

int verify_shared_files(struct verify *v, const struct catalog *c, struct sub *const *subs, const struct join *j,
			struct selections *sel, const int *by_number, struct ply_err *err)
{
	struct shared_check k = { .v = v, .c = c, .subs = subs, .j = j, .sel = sel, .by_number = by_number };
	int r = 0;

	for (uint32_t i = 0; i < c->nsubs; i++)
		k.records += subs[i] ? sub_limits(subs[i])->records : 0;
	if (cache_new(CACHE, &k.cache) < 0)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; r == 0 && i < c->nsubs; i++) {
		uint64_t last = 0;

		for (uint64_t f = 0; r == 0 && subs[i] && f < sub_limits(subs[i])->shared; f++) {
			struct ply_shared row;

			/* in order, so no file twice */
			if (sub_shared(subs[i], f, &row, NULL) < 0 || row.node <= last)
				continue;
			last = row.node;
			r = check_file(&k, i, row.node, err);
			if (r == 0 && v->list.n > 1024)
				r = verify_flush(v, err);
		}
	}
	cache_free(k.cache);
	return r < 0 ? r : verify_flush(v, err);
}
