/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/placed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/inroot.h"
#include "base/util.h"

int placed_read(int state, const char *path, struct changes *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r = inroot_read_at(state, "placed", CHANGES_MAX, &bytes);

	*ret = (struct changes){ 0 };
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return ply_fail(err, r, PLY_R_STATE_DAMAGED, "%s/var/lib/plyfs/placed: %s", path, strerror(-r));
	r = changes_decode(bytes.data, bytes.len, ret, err);
	for (size_t i = 0; r == 0 && i < ret->n; i++)
		if (ret->v[i].kind != CHANGE_KEEP)
			r = ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "has something else than what is there");
	if (r < 0)
		ply_err_prefix(err, "%s/var/lib/plyfs/placed", path);
	return r;
}

static int add(struct changes *to, const char *path, const struct change_side *side)
{
	const struct change row = { .kind = CHANGE_KEEP, .comp = CHANGE_COMP_NONE, .path = (char *)path, .before = *side };

	return changes_add(to, &row);
}

/* What an added component makes is known by its own table. */
static bool is_placed(const struct changes *table, const struct change *row)
{
	return row->kind == CHANGE_SWAP || (row->kind == CHANGE_MAKE && table->kind == CHANGES_REMOVE);
}

static int collect(const struct changes *was, const struct changes *table, struct changes *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < was->n; i++) {
		const struct change *row = changes_find(table, was->v[i].path);

		if (!row || row->kind == CHANGE_KEEP)
			r = add(ret, was->v[i].path, &was->v[i].before);
		else if (row->kind == CHANGE_META)
			r = add(ret, was->v[i].path, &row->after);
	}
	for (size_t i = 0; r == 0 && i < table->n; i++)
		if (is_placed(table, &table->v[i]))
			r = add(ret, table->v[i].path, &table->v[i].after);
	return r;
}

int placed_stage(struct update *u, const struct changes *table, struct ply_err *err)
{
	struct changes was = { 0 }, next = { .kind = CHANGES_ADD };
	_cleanup_buf_ struct buf bytes = { 0 };
	int r;

	if (faccessat(u->dir, "plan", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	r = placed_read(u->dir, u->target.path, &was, err);
	if (r == 0 && collect(&was, table, &next) < 0)
		r = ply_fail_nomem(err);
	changes_sort(&next);
	if (r == 0 && next.n)
		r = changes_encode(&next, &bytes, err);
	if (r == 0)
		r = update_put_file(u, "placed", bytes.data, bytes.len, err);
	changes_done(&was);
	changes_done(&next);
	return r;
}
