/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conditions and shared files of a segment that is being written. The caller's conditions are over
 * its own numbers of components; here they get the segment's slots, and are made shorter by what is
 * certain where this segment is used: it is selected itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "merge/cond.h"
#include "sub/sub_write_internal.h"

#define UNKNOWN UINT32_MAX         /* in cond_rows: not written yet */

static bool holds_self(const struct subw *w, const struct clause *c)
{
	for (uint16_t i = 0; i < c->n; i++)
		if (c->comps[i] == w->opt.self)
			return true;
	return false;
}

bool subw_cond_is_never(const struct subw *w, uint32_t cond)
{
	if (cond == COND_NEVER)
		return true;
	for (uint32_t i = 0; cond && i < conds_nclauses(w->opt.conds, cond); i++) {
		struct clause c = conds_clause(w->opt.conds, cond, i);

		if (c.none && holds_self(w, &c))
			return true;
	}
	return false;
}

static int slot_of(struct subw *w, uint16_t comp, uint16_t *ret)
{
	size_t old = w->slots_cap;

	if (comp == w->opt.self) {
		*ret = 0;
		return 0;
	}
	if (array_grow(&w->slots, &w->slots_cap, (size_t)comp + 1, sizeof(*w->slots)) < 0)
		return -ENOMEM;
	if (w->slots_cap > old)
		memset(w->slots + old, 0, (w->slots_cap - old) * sizeof(*w->slots));
	if (!w->slots[comp]) {
		if (w->nslots + 1 >= UINT16_MAX)
			return -E2BIG;
		w->slots[comp] = (uint16_t)++w->nslots;
	}
	*ret = w->slots[comp];
	return 0;
}

static int write_clause(struct subw *w, const struct clause *c)
{
	for (uint16_t i = 0; i < c->n; i++) {
		struct ply_disk_condition row = { 0 };
		uint16_t flags = (uint16_t)((c->none ? PLY_COND_NONE : 0) |
					    (i + 1 == c->n ? PLY_COND_CLAUSE_END : 0)), slot;
		int r = slot_of(w, c->comps[i], &slot);

		if (r < 0)
			return r;
		row.component = le16_put(slot);
		row.flags = le16_put(flags);
		if (buf_add(&w->conditions, &row, sizeof(row)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int write_condition(struct subw *w, uint32_t cond, uint32_t *ret)
{
	size_t first = w->conditions.len / sizeof(struct ply_disk_condition);
	struct ply_disk_condition *last;
	size_t n;

	for (uint32_t i = 0; i < conds_nclauses(w->opt.conds, cond); i++) {
		struct clause c = conds_clause(w->opt.conds, cond, i);
		bool self = holds_self(w, &c);
		int r = self && c.none ? -EINVAL : self ? 0 : write_clause(w, &c);   /* never: not to be written */

		if (r < 0)
			return r;
	}
	n = w->conditions.len / sizeof(*last) - first;
	if (n > PLY_COND_LEN_MAX || first + n > PLY_COND_ROWS_MAX)
		return -E2BIG;
	*ret = n ? (uint32_t)first + 1 : 0;
	if (n) {
		last = (struct ply_disk_condition *)w->conditions.data + first + n - 1;
		last->flags = le16_put((uint16_t)(le16_get(last->flags) | PLY_COND_END));
	}
	return 0;
}

int subw_cond(struct subw *w, uint32_t cond, uint32_t *ret)
{
	size_t n = (size_t)cond + 1;
	int r = 0;

	*ret = 0;
	if (cond == COND_ALWAYS)
		return 0;
	if (array_grow(&w->cond_rows, &w->cond_rows_cap, n, sizeof(*w->cond_rows)) < 0)
		return -ENOMEM;
	for (; w->ncond_rows < n; w->ncond_rows++)
		w->cond_rows[w->ncond_rows] = UNKNOWN;
	if (w->cond_rows[cond] == UNKNOWN)
		r = write_condition(w, cond, &w->cond_rows[cond]);
	*ret = w->cond_rows[cond];
	return r;
}

int subw_of_component(struct subw *w, uint16_t comp, uint16_t *ret_slot, uint32_t *ret_cond)
{
	uint32_t cond;
	int r;

	*ret_slot = 0;
	*ret_cond = 0;
	if (!comp || comp == w->opt.self)
		return 0;
	r = conds_any(w->opt.conds, &comp, 1, &cond);
	if (r == 0)
		r = subw_cond(w, cond, ret_cond);
	return r < 0 ? r : slot_of(w, comp, ret_slot);
}

int subw_shared(struct subw *w, uint64_t index, uint16_t driver, uint16_t version, bool whole,
		const uint8_t digest[32], const struct subw_record *rows, size_t n)
{
	struct ply_shared s = { .node = index, .driver = driver, .version = version, .whole = whole,
				.first = w->records.len / sizeof(struct ply_disk_record),
				.count = (uint32_t)n };
	struct ply_disk_shared row;

	if (w->shared.len / sizeof(row) >= PLY_SHARED_MAX)
		return -E2BIG;
	memcpy(s.digest, digest, sizeof(s.digest));
	shared_encode(&s, &row);
	for (size_t i = 0; i < n; i++) {
		struct ply_disk_record d = { .ordinal = le32_put(rows[i].ordinal),
					     .len = le32_put(rows[i].len),
					     .flags = le32_put(rows[i].flags) };
		uint32_t cond;
		int r = subw_cond(w, rows[i].cond, &cond);

		d.condition = le32_put(cond);
		if (r < 0 || buf_add(&w->records, &d, sizeof(d)) < 0)
			return r < 0 ? r : -ENOMEM;
	}
	w->nodes[index].flags |= PLY_NODE_SHARED;
	return buf_add(&w->shared, &row, sizeof(row));
}
