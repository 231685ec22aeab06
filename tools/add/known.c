/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What names and numbers of users and groups an image has: those of its files' owners, and those
 * of /etc/passwd and /etc/group of what was captured together, and of each overlay. And what of a machine the map of
 * numbers cannot reach.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "add/overlay.h"
#include "base/util.h"
#include "capture/facts.h"
#include "sub/sub.h"

#define TEXT_MAX (64u << 20)       /* more is no list of users */
#define UNIT_MAX (1u << 20)

/* --- the image --------------------------------------------------------------------------------- */

static int know(struct idmap *ids, enum id_kind kind, const char *name, uint32_t len, uint32_t id)
{
	return len ? idmap_known(ids, kind, name, len, id) : idmap_used(ids, kind, id);
}

static int owners_of(struct ply_image *image, uint32_t i, struct idmap *ids, struct ply_err *err)
{
	struct sub *sub;
	int r = image_sub(image, i, &sub, err);

	for (uint32_t p = 0; r == 0 && p < sub_limits(sub)->owner_pairs; p++) {
		struct sub_owner o;

		r = sub_owner(sub, p, &o, err);
		if (r == 0 && (know(ids, ID_USER, o.user, o.user_len, o.uid) < 0 ||
			       know(ids, ID_GROUP, o.group, o.group_len, o.gid) < 0))
			r = ply_fail_nomem(err);
	}
	return r;
}

static int text_of(struct ply_view *v, const char *path, enum id_kind kind, struct idmap *ids, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct ply_attr a;
	uint64_t ino;
	int r = ply_view_resolve(v, path, true, &ino, err);

	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return 0;
	if (r == 0)
		r = ply_view_attr(v, ino, &a, err);
	if (r < 0 || !S_ISREG(a.mode))
		return r;
	r = diff_read(v, ino, TEXT_MAX, &text, err);
	if (r == -EFBIG)
		return 0;
	if (r == 0 && idmap_known_text(ids, kind, (const char *)text.data, text.len) < 0)
		r = ply_fail_nomem(err);
	return r;
}

static int texts_of(struct ply_image *image, const char *const *names, size_t n, struct idmap *ids, struct ply_err *err)
{
	struct ply_view *v;
	int r = overlay_view(image, names, n, &v, err);

	if (r < 0)
		return r;
	r = text_of(v, "/etc/passwd", ID_USER, ids, err);
	if (r == 0)
		r = text_of(v, "/etc/group", ID_GROUP, ids, err);
	ply_view_close(v);
	return r;
}

int known_of_image(struct ply_image *image, struct idmap *ids, struct ply_err *err)
{
	uint32_t n = ply_image_nsubs(image);
	_cleanup_free_ const char **ground = calloc(n + 1, sizeof(*ground));
	size_t nground = 0;
	int r = ground ? 0 : ply_fail_nomem(err);

	for (uint32_t i = 0; r == 0 && i < n; i++)
		if (!(ply_image_sub_info(image, i)->flags & PLY_SUB_OVERLAY))
			ground[nground++] = ply_image_sub_info(image, i)->name;
	if (r == 0)
		r = texts_of(image, ground, nground, ids, err);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const struct ply_sub_info *s = ply_image_sub_info(image, i);

		if (s->flags & PLY_SUB_OVERLAY)
			r = texts_of(image, &s->name, 1, ids, err);
		if (r == 0)
			r = owners_of(image, i, ids, err);
	}
	return r;
}

/* --- the machine ---------------------------------------------------------------------------------- */

struct nameless {
	uint32_t id;
	uint64_t files;
};

static int count_one(struct nameless **v, size_t *n, size_t *cap, uint32_t id)
{
	for (size_t i = *n; i-- > 0;)
		if ((*v)[i].id == id) {
			(*v)[i].files++;
			return 0;
		}
	if (array_grow(v, cap, *n + 1, sizeof(**v)) < 0)
		return -ENOMEM;
	(*v)[(*n)++] = (struct nameless){ id, 1 };
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct nameless *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int nameless_of(const struct scan *scan, enum id_kind kind, const struct idnames *names, struct idmap *ids,
		       struct add_report *report)
{
	struct nameless *v = NULL;
	size_t n = 0, cap = 0;
	uint32_t last = 0;
	bool has_last = false;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < scan->n; i++) {
		uint32_t id = kind == ID_USER ? scan->nodes[i].uid : scan->nodes[i].gid;

		if (has_last && id == last)    /* as nearly always: it has a name */
			continue;
		if (idnames_find(names, id)) {
			last = id;
			has_last = true;
			continue;
		}
		r = count_one(&v, &n, &cap, id);
	}
	if (n)
		qsort(v, n, sizeof(*v), by_id);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const char *holder = idmap_holder(ids, kind, v[i].id);

		char shown[256];

		if (holder)
			escape_name_to(holder, strlen(holder), shown, sizeof(shown));
		if (holder)
			r = add_note(report, "%llu files are of %s %u, which has no name on the machine, and is %s in the image; "
				     "they are kept as they are", (unsigned long long)v[i].files,
				     kind == ID_USER ? "user" : "group", v[i].id, shown);
		if (r == 0)
			r = idmap_used(ids, kind, v[i].id);
	}
	free(v);
	return r;
}

int known_nameless(const struct scan *scan, const struct idnames *users, const struct idnames *groups,
		   struct idmap *ids, struct add_report *report, struct ply_err *err)
{
	return nameless_of(scan, ID_USER, users, ids, report) < 0 ||
	       nameless_of(scan, ID_GROUP, groups, ids, report) < 0 ? ply_fail_nomem(err) : 0;
}

/* --- numbers in units --------------------------------------------------------------------------------- */

static bool is_unit(const char *path)
{
	static const char *const dirs[] = { "etc/systemd/", "usr/lib/systemd/", "lib/systemd/", "usr/local/lib/systemd/" };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (!strncmp(path, dirs[i], strlen(dirs[i])))
			return true;
	return false;
}

/* The number behind "User=" or "Group=" at the beginning of @line. */
static bool number_in(const char *line, enum id_kind *ret_kind, uint32_t *ret)
{
	static const char *const keys[ID_KINDS] = { "User", "Group" };

	line += strspn(line, " \t");
	for (int k = 0; k < ID_KINDS; k++) {
		const char *p = line + strlen(keys[k]);
		char *end;
		unsigned long id;

		if (strncmp(line, keys[k], strlen(keys[k])) != 0)
			continue;
		p += strspn(p, " \t");
		if (*p++ != '=')
			continue;
		p += strspn(p, " \t");
		if (!isdigit((unsigned char)*p))
			continue;
		id = strtoul(p, &end, 10);
		if (id > UINT32_MAX || (*end && !strchr(" \t\r\n", *end)))
			continue;
		*ret_kind = (enum id_kind)k;
		*ret = (uint32_t)id;
		return true;
	}
	return false;
}

static int look_at_unit(const char *path, char *text, const struct idmap *ids, struct add_report *report)
{
	int r = 0;

	for (char *line, *rest = text; r == 0 && (line = strsep(&rest, "\n"));) {
		char shown[512];
		enum id_kind kind;
		uint32_t id;

		if (!number_in(line, &kind, &id) || idmap_id(ids, kind, id) == id)
			continue;
		escape_name_to(path, strlen(path), shown, sizeof(shown));
		r = add_note(report, "warning: /%s has %s=%u, and that number is %u in the image; write the name there",
			     shown, kind == ID_USER ? "User" : "Group", id, idmap_id(ids, kind, id));
	}
	return r;
}

int known_in_units(const struct diff *d, const struct idmap *ids, struct add_report *report, struct ply_err *err)
{
	_cleanup_buf_ struct buf path = { 0 }, text = { 0 };

	for (uint32_t i = 1; idmap_changes(ids) && i < d->scan->n; i++) {
		int r;

		if (!S_ISREG(d->scan->nodes[i].mode) ||
		    (d->nodes[i].how != DIFF_NEW && d->nodes[i].how != DIFF_CHANGED))
			continue;
		if (scan_path(d->scan, i, &path) < 0)
			return ply_fail_nomem(err);
		if (!is_unit((const char *)path.data))
			continue;
		text.len = 0;
		r = facts_read(d->scan, i, UNIT_MAX, &text);
		if (r == -ENOMEM)
			return ply_fail_nomem(err);
		if (r == 0 && look_at_unit((const char *)path.data, (char *)text.data, ids, report) < 0)
			return ply_fail_nomem(err);
	}
	return 0;
}
