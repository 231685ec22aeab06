/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What does a run tell its caller, whether it fails or not? How much was made and how much of it was lost, names that were
 * left, and owners whose number is somebody else's on the target.
 *
 * Locking: `lock` of the layout guards its names that stay; the report is filled by one thread, when the streams have ended.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/engine.h"

/* --- names that stay --------------------------------------------------------------------- */

static void leave_path(struct layout *l, const struct where *w, const char *path, const char *why)
{
	char *copy = strdup(path);

	pthread_mutex_lock(&l->lock);
	/* without memory the name is missing in the report, and the count is right */
	if (array_grow(&l->left, &l->left_cap, l->nleft + 1, sizeof(*l->left)) == 0)
		l->left[l->nleft++] = (struct left){ .w = *w, .path = copy, .why = why };
	else
		free(copy);
	pthread_mutex_unlock(&l->lock);
}

void layout_leave(struct layout *l, const struct where *w, const char *why)
{
	char path[4096];

	plan_path(l->plan, w, path, sizeof(path));
	leave_path(l, w, path, why);
}

void layout_leave_name(struct layout *l, uint32_t dir, const char *name)
{
	const struct where w = { .at = WHERE_DIR, .dir = dir };
	char path[4096 + 4 * PLY_NAME_MAX];
	size_t len;

	plan_path(l->plan, &w, path, 4096);
	len = strlen(path);
	if (len > 1)
		path[len++] = '/';
	escape_name_to(name, strlen(name), path + len, sizeof(path) - len);
	leave_path(l, &w, path, "is not the layout's");
}

bool layout_left(struct layout *l, const struct where *w)
{
	bool found = false;

	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < l->nleft && !found; i++)
		found = l->left[i].w.at == w->at && l->left[i].w.dir == w->dir && l->left[i].w.sub == w->sub;
	pthread_mutex_unlock(&l->lock);
	return found;
}

int layout_hand_left(struct layout *l, struct ply_err *err)
{
	struct layout_report *r = l->report;
	struct layout_left *v;

	if (!l->nleft)
		return 0;
	v = realloc(r->left, (r->nleft + l->nleft) * sizeof(*v));
	if (!v)
		return ply_fail_nomem(err);
	r->left = v;
	for (size_t i = 0; i < l->nleft; i++)
		r->left[r->nleft++] = (struct layout_left){ TAKE_PTR(l->left[i].path), strdup(l->left[i].why) };
	l->nleft = 0;
	return 0;
}

int layout_tell_left(struct layout *l, const char *what, struct ply_err *err)
{
	const struct layout_report *r = l->report;

	if (layout_hand_left(l, err) < 0)
		return -ENOMEM;
	if (!r->nleft)
		return 0;
	return ply_fail(err, -EEXIST, PLY_R_TARGET_EXISTS, "%s: %zu %s left (the first: %s %s); %s", l->target->path,
			r->nleft, r->nleft == 1 ? "name that is not the layout's was" : "names that are not the layout's were",
			r->left[0].path ? r->left[0].path : "?", r->left[0].why ? r->left[0].why : "?", what);
}

/* --- the report ------------------------------------------------------------------------------ */

void layout_report_add(struct layout *l)
{
	static const struct {
		const char *id, *text;
	} fields[FIELD_COUNT] = {
#define X(name, id, text) [FIELD_##name] = { id, text },
		LAYOUT_FIELDS(X)
#undef X
	};
	struct layout_report *r = l->report;

	for (size_t d = 0; l->plan && d < l->plan->ndirs; d++)
		r->directories += l->plan->dirs[d].wanted && !l->plan->dirs[d].way;
	r->files += atomic_load(&l->files);
	r->names += atomic_load(&l->names);
	r->bytes += atomic_load(&l->bytes);
	r->owners += atomic_load(&l->owners);
	r->privileges += atomic_load(&l->privileges);
	for (int f = 0; f < FIELD_COUNT; f++) {
		r->lost[f].id = fields[f].id;
		r->lost[f].text = fields[f].text;
		r->lost[f].count += atomic_load(&l->lost[f]);
	}
}

void layout_report_done(struct layout_report *r)
{
	for (size_t i = 0; i < r->nleft; i++) {
		free(r->left[i].path);
		free(r->left[i].why);
	}
	free(r->left);
	r->left = NULL;
	r->nleft = 0;
	for (size_t i = 0; i < r->nids; i++)
		free(r->ids[i].holder);
	free(r->ids);
	r->ids = NULL;
	r->nids = 0;
}

int layout_report_lost_id(struct layout_report *r, bool group, uint32_t id, const char *holder, uint64_t files,
			  uint64_t acls)
{
	struct layout_lost_id *v;
	size_t i = 0;

	while (i < r->nids && (r->ids[i].group != group || r->ids[i].id != id))
		i++;
	if (i < r->nids) {
		r->ids[i].files += files;
		r->ids[i].acls += acls;
		return 0;
	}
	v = realloc(r->ids, (r->nids + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	r->ids = v;
	v[i] = (struct layout_lost_id){ .group = group, .id = id, .files = files, .acls = acls };
	if (holder && !(v[i].holder = escape_name(holder, strlen(holder))))
		return -ENOMEM;
	r->nids++;
	return 0;
}
