/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/inroot.h"
#include "base/util.h"
#include "layout/kept.h"

/* --- making --------------------------------------------------------------------------------- */

static int read_known(int root, const char *file, enum id_kind kind, struct idmap *ids)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = inroot_read(root, file, MERGE_FILE_MAX, &text);

	return r < 0 ? (r == -ENOENT ? 0 : r) : idmap_known_text(ids, kind, (const char *)text.data, text.len);
}

static int names_of_view(struct ply_view *view, const char *path, struct idnames *ret, struct ply_err *err)
{
	_cleanup_version_ struct version v = { 0 };
	uint64_t ino;
	int r = ply_view_resolve(view, path, false, &ino, err);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r == 0)
		r = version_of_view(view, ino, NULL, &v, err);
	if (r == 0)
		r = version_load(&v, path, NULL, err);
	if (r < 0)
		return r;
	return v.c.loaded && idnames_parse(ret, (const char *)v.text.data, v.text.len) < 0 ? ply_fail_nomem(err) : 0;
}

/* A number without a name says nothing in another image. */
static int read_earlier(int state, const char *path, struct ply_image *image, struct idmap *ids, struct ply_err *err)
{
	struct kept kept = { 0 };
	uint8_t uuid[16];
	int r = state < 0 ? 0 : kept_read(state, path, &kept, err);

	ply_image_uuid(image, uuid);
	for (size_t i = 0; r == 0 && i < kept.n; i++) {
		const struct changes *c = &kept.v[i];

		for (size_t k = 0; r == 0 && k < c->nids; k++) {
			const struct change_id *id = &c->ids[k];

			if (!id->lost)
				r = idmap_prefer(ids, (enum id_kind)id->kind, id->name, id->to);
			else if (!memcmp(c->uuid, uuid, sizeof(uuid)))
				r = idmap_lose(ids, (enum id_kind)id->kind, id->from);
			if (r < 0)
				ply_fail_nomem(err);
		}
	}
	kept_done(&kept);
	return r;
}

int ids_make(int root, int state, const char *path, struct ply_view *view, struct idmap *ret, struct ply_err *err)
{
	static const char *const files[ID_KINDS] = { [ID_USER] = "/etc/passwd", [ID_GROUP] = "/etc/group" };
	int r;

	idmap_be_strict(ret);
	r = read_earlier(state, path, ply_view_image(view), ret, err);
	for (int k = 0; r == 0 && k < ID_KINDS; k++) {
		struct idnames names = { 0 };

		r = read_known(root, files[k] + 1, (enum id_kind)k, ret);
		if (r < 0)
			r = ply_fail_sys(err, r, "%s%s: cannot read", path, files[k]);
		if (r == 0)
			r = names_of_view(view, files[k], &names, err);
		if (r == 0)
			r = idmap_make(ret, (enum id_kind)k, &names, err);
		idnames_done(&names);
	}
	return r;
}

/* --- what is lost ---------------------------------------------------------------------------- */

struct counting {
	struct survey *s;
	uint64_t turn;             /* names that were looked at */
	struct ply_err *err;
};

/* *ret: NULL: it is not lost. */
static int find_lost(struct survey *s, enum id_kind kind, uint32_t id, struct survey_lost **ret)
{
	*ret = NULL;
	if (!idmap_is_lost(s->ids, kind, id))
		return 0;
	for (size_t i = 0; i < s->nlost && !*ret; i++)
		if (s->lost[i].kind == kind && s->lost[i].id == id)
			*ret = &s->lost[i];
	if (*ret)
		return 0;
	if (array_grow(&s->lost, &s->lost_cap, s->nlost + 1, sizeof(*s->lost)) < 0)
		return -ENOMEM;
	*ret = &s->lost[s->nlost++];
	**ret = (struct survey_lost){ .kind = kind, .id = id };
	return 0;
}

static int count_owner(struct counting *c, enum id_kind kind, uint32_t id)
{
	struct survey_lost *l;
	int r = find_lost(c->s, kind, id, &l);

	if (l)
		l->files++;
	return r;
}

/* Once for each name, also where both ACLs have it. */
static int count_entry(void *ctx, enum id_kind kind, uint32_t id)
{
	struct counting *c = ctx;
	struct survey_lost *l;
	int r = find_lost(c->s, kind, id, &l);

	if (l && l->last != c->turn) {
		l->last = c->turn;
		l->acls++;
	}
	return r;
}

static int ids_of_xattr(const struct sub_xattr *x, idmap_xattr_fn *fn, void *ctx)
{
	char name[PLY_XATTR_NAME_MAX + 1];

	memcpy(name, x->name, x->name_len);
	name[x->name_len] = '\0';
	return idmap_xattr_ids(name, x->value, x->value_len, fn, ctx);
}

static int count_xattr(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	return ids_of_xattr(x, count_entry, ctx) < 0 ? ply_fail_nomem(err) : 0;
}

/* What it gets of the image. */
static int count_file(struct counting *c, uint64_t ino, bool owner, bool xattrs)
{
	struct view_file f;
	struct ply_attr a;
	int r = ply_view_attr(c->s->view, ino, &a, c->err);

	c->turn++;
	if (r == 0 && owner && !c->s->map_owner && /* nobody keeps an owner then */
	    (count_owner(c, ID_USER, a.uid) < 0 || count_owner(c, ID_GROUP, a.gid) < 0))
		r = ply_fail_nomem(c->err);
	if (r == 0 && xattrs)
		r = view_file(c->s->view, ino, &f, c->err);
	return r == 0 && xattrs ? view_file_xattrs(c->s->view, &f, count_xattr, c, c->err) : r;
}

static bool owners_lose(const struct survey *s, const struct plan_sub *ps)
{
	for (uint64_t k = 0; ps->owners && k < sub_limits(ps->sub)->owner_pairs; k++)
		if (ps->owners[k].count && (idmap_is_lost(s->ids, ID_USER, ps->owners[k].uid) ||
					    idmap_is_lost(s->ids, ID_GROUP, ps->owners[k].gid)))
			return true;
	return false;
}

static int entry_loses(void *ctx, enum id_kind kind, uint32_t id)
{
	const struct survey *s = ctx;

	return idmap_is_lost(s->ids, kind, id);
}

/* 1, 0: of any set, be it of what is made or not. */
static int xattrs_lose(struct survey *s, struct sub *sub, struct ply_err *err)
{
	int r = 0;

	for (uint32_t set = 0; r == 0 && set < sub_limits(sub)->xattr_sets; set++) {
		struct sub_xattr x;
		uint32_t n;

		r = sub_xattr_count(sub, set, &n, err);
		for (uint32_t i = 0; r == 0 && i < n; i++) {
			r = sub_xattr(sub, set, i, &x, err);
			if (r == 0)
				r = ids_of_xattr(&x, entry_loses, s);
		}
	}
	return r;
}

static int plan_loses(struct survey *s, struct ply_err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->plan->nsubs; i++)
		r = owners_lose(s, &s->plan->subs[i]) ? 1 : xattrs_lose(s, s->plan->subs[i].sub, err);
	return r;
}

static int count_row(struct counting *c, const struct change *row)
{
	_cleanup_free_ char *path = malloc(strlen(row->path) + 2);
	uint64_t ino;
	int r;

	if (!path)
		return ply_fail_nomem(c->err);
	path[0] = '/';
	strcpy(path + 1, row->path);
	r = ply_view_resolve(c->s->view, path, false, &ino, c->err);
	return r == 0 ? count_file(c, ino, true, row->kind == CHANGE_MAKE) : r;
}

static int by_kind_and_id(const void *a, const void *b)
{
	const struct survey_lost *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Puts stand for themselves; all else that is made is looked up only where the plan has such a number at all. */
int ids_count_lost(struct survey *s, struct ply_err *err)
{
	_cleanup_free_ bool *put = calloc(s->changes.n + 1, sizeof(*put));
	struct counting c = { .s = s, .err = err };
	int any = put ? plan_loses(s, err) : ply_fail_nomem(err);
	int r = MIN(any, 0);

	s->nlost = 0;
	for (size_t i = 0; r == 0 && i < s->nputs; i++) {
		const struct survey_put *p = &s->puts[i];

		put[p->n] = true;
		if (!p->link)
			r = count_file(&c, p->ino, !p->uid || !p->gid, !p->target_xattrs);
	}
	for (size_t i = 0; r == 0 && i < s->changes.n; i++) {
		const struct change *row = &s->changes.v[i];

		if ((row->kind == CHANGE_META || (row->kind == CHANGE_MAKE && any)) && !put[row->n])
			r = count_row(&c, row);
	}
	if (s->nlost)
		qsort(s->lost, s->nlost, sizeof(*s->lost), by_kind_and_id);
	return r;
}

/* --- telling ------------------------------------------------------------------------------------ */

static int by_from(const void *a, const void *b)
{
	const struct change_id *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->from < y->from ? -1 : x->from > y->from;
}

int ids_record(struct survey *s, struct ply_err *err)
{
	struct changes *c = &s->changes;
	int r = 0;

	for (int k = 0; k < ID_KINDS; k++) {
		const struct idmap_side *side = &s->ids->side[k];

		for (size_t i = 0; r == 0 && i < side->npairs; i++)
			if (*side->pairs[i].name && strlen(side->pairs[i].name) <= CHANGE_ID_NAME_MAX)
				r = changes_add_id(c, &(struct change_id){ .kind = (uint8_t)k, .from = side->pairs[i].from,
								   .to = side->pairs[i].to, .name = side->pairs[i].name });
	}
	for (size_t i = 0; r == 0 && i < s->nlost; i++)
		r = changes_add_id(c, &(struct change_id){ .kind = (uint8_t)s->lost[i].kind, .lost = true,
							   .from = s->lost[i].id });
	if (r < 0)
		return ply_fail_nomem(err);
	if (c->nids)
		qsort(c->ids, c->nids, sizeof(*c->ids), by_from);
	return 0;
}

int ids_report(const struct survey *s, struct layout_report *ret, struct ply_err *err)
{
	for (size_t i = 0; i < s->nlost; i++) {
		const struct survey_lost *l = &s->lost[i];
		const char *holder = idmap_holder(s->ids, l->kind, l->id);

		if (layout_report_lost_id(ret, l->kind == ID_GROUP, l->id, holder, l->files, l->acls) < 0)
			return ply_fail_nomem(err);
	}
	return 0;
}
