/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of merge drivers, and what all of them share: see merge.h.
 *
 * That a file comes back byte for byte is not left to the drivers: every split is rendered again
 * and compared, here, before anybody relies on it.
 */
#include "merge/merge.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "merge/drivers.h"

static const struct merge_driver *const drivers[] = {
#define X(symbol) &symbol,
	MERGE_DRIVERS(X)
#undef X
};

const struct merge_driver *merge_driver_at(size_t i)
{
	return i < ARRAY_SIZE(drivers) ? drivers[i] : NULL;
}

const struct merge_driver *merge_driver_get(uint16_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (drivers[i]->number == number)
			return drivers[i];
	return NULL;
}

const struct merge_driver *merge_driver_for(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		for (const char *const *p = drivers[i]->paths; *p; p++) {
			bool without = **p == '!';

			if (fnmatch(*p + without, path, FNM_PATHNAME))
				continue;
			if (!without)
				return drivers[i];
			break;
		}
	return NULL;
}

bool merge_is_backup(const char *path)
{
	size_t len = strlen(path);

	return merge_driver_for(path) && (path[len - 1] == '-' || (len > 4 && !strcmp(path + len - 4, "-old")));
}

/* --- records ------------------------------------------------------------------- */

void records_done(struct records *r)
{
	buf_done(&r->bytes);
	free(r->v);
	*r = (struct records){ 0 };
}

int records_add(struct records *r, const void *data, size_t len, uint32_t cond, uint32_t flags)
{
	uint64_t off = r->bytes.len;

	if (cond == COND_NEVER)
		return 0;
	if (len > UINT32_MAX || r->n >= UINT32_MAX)
		return -E2BIG;
	if (array_grow(&r->v, &r->cap, r->n + 1, sizeof(*r->v)) < 0 || buf_add(&r->bytes, data, len) < 0)
		return -ENOMEM;
	r->v[r->n++] = (struct record){ off, (uint32_t)len, cond, flags };
	return 0;
}

static void records_empty(struct records *r)
{
	r->n = 0;
	r->bytes.len = 0;
}

/* --- rendering ------------------------------------------------------------------- */

static bool needs_comma(const struct piece *v, size_t i)
{
	return i > 0 && v[i].flags & v[i - 1].flags & RECORD_ITEM;
}

static bool is_whole(const struct piece *v, size_t n)
{
	return n > 0 && v[0].flags & RECORD_WHOLE;
}

int merge_size(const struct merge_driver *d, const struct piece *v, size_t n, uint64_t *ret,
	       struct ply_err *err)
{
	uint64_t sum = 0;

	if (d->size && !is_whole(v, n))
		return d->size(v, n, ret, err);
	for (size_t i = 0; i < n; i++) {
		sum += v[i].len + (needs_comma(v, i) ? 1u : 0u);
		if (sum > MERGE_FILE_MAX)
			return ply_fail(err, -EFBIG, PLY_R_LIMIT, "a shared file of more than %zu MiB",
					MERGE_FILE_MAX >> 20);
	}
	*ret = sum;
	return 0;
}

int merge_render(const struct merge_driver *d, const struct piece *v, size_t n, struct buf *out,
		 struct ply_err *err)
{
	uint64_t size;
	int r;

	if (d->render && !is_whole(v, n))
		return d->render(v, n, out, err);
	r = merge_size(d, v, n, &size, err);
	if (r == 0 && buf_reserve(out, size) < 0)
		r = ply_fail_nomem(err);
	for (size_t i = 0; r == 0 && i < n; i++)
		if ((needs_comma(v, i) && buf_add(out, ",", 1) < 0) || buf_add(out, v[i].data, v[i].len) < 0)
			r = ply_fail_nomem(err);
	return r;
}

int merge_describe(const struct merge_driver *d, const struct piece *p, struct buf *out)
{
	static const char whole[] = "whole file";

	if (p->flags & RECORD_WHOLE)
		return buf_add(out, whole, sizeof(whole) - 1);
	return d->describe(p->data, p->len, p->flags, out);
}

/* --- cutting ------------------------------------------------------------------- */

static bool is_selected(const void *ctx, uint16_t comp)
{
	(void)ctx;
	(void)comp;
	return true;
}

/* Do all the records that hold where everything is selected give @text? */
static int check(const struct merge_driver *d, const struct records *r, const struct conds *conds,
		 const uint8_t *text, size_t len, struct ply_err *err)
{
	_cleanup_free_ struct piece *v = calloc(r->n + 1, sizeof(*v));
	_cleanup_buf_ struct buf out = { 0 };
	size_t n = 0;
	int e;

	if (!v)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < r->n; i++)
		if (conds_hold(conds, r->v[i].cond, is_selected, NULL))
			v[n++] = (struct piece){ r->bytes.data + r->v[i].off, r->v[i].len, r->v[i].flags };
	e = merge_render(d, v, n, &out, err);
	if (e == 0 && (out.len != len || (len && memcmp(out.data, text, len))))
		e = ply_fail(err, -EUCLEAN, PLY_R_MERGE_SYNTAX, "its records do not give the file back");
	return e;
}

int merge_split(const struct merge_driver *d, const char *path, const uint8_t *text, size_t len,
		const struct merge_facts *f, struct records *ret, bool *ret_whole, struct ply_err *err)
{
	struct records records = { 0 };
	int r = -EUCLEAN;

	*ret_whole = false;
	if (len > MERGE_FILE_MAX)
		ply_fail(err, -EFBIG, PLY_R_LIMIT, "more than %zu MiB", MERGE_FILE_MAX >> 20);
	else
		r = d->split(path, text, len, f, &records, err);
	if (r >= 0)
		r = check(d, &records, f->conds, text, len, err);
	if (r == -EUCLEAN) {
		*ret_whole = true;
		ply_err_prefix(err, "%s", path);
		records_empty(&records);
		r = 0;
		for (size_t at = 0; r == 0 && at < len;) {
			size_t part = MIN(len - at, (size_t)UINT32_MAX);   /* the caller's limit may be larger */

			r = records_add(&records, text + at, part, COND_ALWAYS, RECORD_WHOLE);
			at += part;
		}
	}
	if (r < 0) {
		records_done(&records);
		return r == -ENOMEM ? ply_fail_nomem(err) : ply_fail_sys(err, r, "%s", path);
	}
	*ret = records;
	return 0;
}
