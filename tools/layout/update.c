/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/update.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/inroot.h"
#include "base/util.h"
#include "layout/ids.h"
#include "layout/placed.h"
#include "layout/remove.h"
#include "layout/share.h"
#include "layout/stage.h"
#include "layout/timeline.h"
#include "layout/together.h"
#include "layout/update_impl.h"

/* --- adding -------------------------------------------------------------------------------------------------- */

static void begin_phase(const struct layout_options *o, const char *phase)
{
	if (o->progress)
		atomic_store(&o->progress->phase, phase);
}

/* Where what is new will be staged. */
static uint64_t staging_mount(const struct update *u)
{
	static const char *const way[] = { "var/lib", "var" };
	uint64_t mount = version_mount(u->dir >= 0 ? u->dir : u->target.fd, "");

	for (size_t i = 0; u->dir < 0 && i < ARRAY_SIZE(way); i++) {
		_cleanup_close_ int fd = beneath_open(u->target.fd, way[i], strlen(way[i]), O_PATH);

		if (fd >= 0)
			return version_mount(fd, "");
	}
	return mount;
}

static struct survey surveying(const struct update *u, const struct update_component *base,
			       const struct update_component *with, const struct idmap *ids)
{
	return (struct survey){ .view = with->with, .base = base->base, .ids = ids, .map_owner = u->o->map_owner,
				.uid = u->o->map_uid, .gid = u->o->map_gid, .target = u->target.fd,
				.mount = staging_mount(u), .component = with->name, .cancel = u->o->cancel,
				.block = u->target.block };
}

/* Looks, decides, and looks again as it is decided. */
static int look(struct survey *s, update_decide_fn *decide, void *ctx, struct ply_err *err)
{
	int r = survey_run(s, err);
	bool again = s->nconflicts;

	if (r == 0)
		r = decide(ctx, s, err);
	if (r == 0 && again)
		r = survey_run(s, err);
	return r == 0 ? ids_count_lost(s, err) : r;
}

/* The same of what is added. Without a base there is no other machine: all of it is the image's. */
static int look_added(struct survey *s, update_decide_fn *decide, void *ctx, struct ply_err *err)
{
	int r = s->base ? packages_read(s->target, s->base, s->view, s->component, &s->packages, err) : 0;

	return r == 0 ? look(s, decide, ctx, err) : r;
}

/* "a|b" for each group: one of them is enough. */
static int describe_requires(struct changes *c, const struct ply_sub_info *info)
{
	_cleanup_buf_ struct buf names = { 0 };
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < info->nrequires; i++) {
		bool more = i + 1 < info->nrequires && info->require_groups[i + 1] == info->require_groups[i];

		r = buf_add(&names, info->requires[i], strlen(info->requires[i]));
		if (r == 0)
			r = buf_add(&names, more ? "|" : "", 1);
		if (r < 0 || more)
			continue;
		r = changes_add_require(c, (const char *)names.data);
		names.len = 0;
	}
	for (uint32_t i = 0; r == 0 && i < info->nstands_on; i++)
		r = changes_add_require(c, info->stands_on[i]);
	return r;
}

int update_describe(struct changes *c, struct ply_image *image, const char *component, struct ply_err *err)
{
	uint32_t sub;
	int r = ply_image_find_sub(image, component, &sub);

	if (r < 0)
		return ply_fail(err, r, PLY_R_SUB_UNKNOWN, "component %s is not in the image", component);
	c->kind = CHANGES_ADD;
	ply_image_uuid(image, c->uuid);
	memcpy(c->catalog, ply_image_generation(image)->digest, sizeof(c->catalog));
	c->generation = ply_image_generation(image)->generation;
	c->image = strdup(ply_image_path(image) ? ply_image_path(image) : "");
	if (!c->image || changes_add_name(c, component) < 0 || describe_requires(c, ply_image_sub_info(image, sub)) < 0)
		return ply_fail_nomem(err);
	return 0;
}

/* Of another generation, or another image. */
static int refuse_there(const struct update *u, const char *name, struct ply_err *err)
{
	char path[32 + PLY_SUB_NAME_MAX];
	bool there = false;

	snprintf(path, sizeof(path), "merge/%s", name);
	there = u->dir >= 0 && faccessat(u->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	snprintf(path, sizeof(path), "done/%s", name);
	there |= u->dir >= 0 && faccessat(u->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	return !there ? 0 : ply_fail(err, -EEXIST, PLY_R_TARGET_EXISTS,
				     "%s: component %s of another image, or another generation, is there; take it out first (--remove %s)",
				     u->target.path, name, name);
}

static int change_one(struct update *u, enum changes_kind kind, const struct update_component *v, const struct idmap *ids,
		      uint32_t stream, update_decide_fn *decide, void *ctx, struct layout_report *ret, struct ply_err *err)
{
	int64_t begin = timeline_now(u->o->timeline);
	struct survey s = surveying(u, v, v, ids);
	int r;

	begin_phase(u->o, "plan");
	r = kind == CHANGES_ADD ? look_added(&s, decide, ctx, err) : look(&s, decide, ctx, err);
	if (r == 0)
		r = update_describe(&s.changes, ply_view_image(s.view), s.component, err);
	if (r == 0)
		r = ids_record(&s, err);
	if (r == 0)
		r = ids_report(&s, ret, err);
	s.changes.kind = kind;
	timeline_phase_of(u->o->timeline, "survey", v->name, begin);
	begin = timeline_now(u->o->timeline);
	if (r == 0)
		r = update_begin(u, err);
	if (r == 0) {
		begin_phase(u->o, v->name);
		r = stage_run(&s, &u->target, u->up, u->o, stream, ret, err);
		timeline_phase_of(u->o->timeline, "stage", v->name, begin);
	}
	if (r == 0 && kind == CHANGES_ADD)
		r = share_rows(u, &s, err);
	changes_sort(&s.changes);
	if (r == 0)
		r = placed_stage(u, &s.changes, err);
	if (r == 0)
		r = update_publish(u, &s.changes, err);
	survey_done(&s);
	if (r < 0) {
		update_drop_state(u);
		return r;
	}
	begin_phase(u->o, "apply");
	r = update_open_change(u, err);
	return r == 0 ? update_apply(u, ret, err) : r;
}

static int refuse_open(const struct update *u, enum update_found found, struct ply_err *err)
{
	if (found == UPDATE_ABORTING)
		return ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
				"%s: a change of it was being taken back; --abort goes on with that", u->target.path);
	return found == UPDATE_NONE ? 0 : ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
						   "%s: a change of it was begun and is not complete; --resume goes on with it, "
						   "--abort takes it back", u->target.path);
}

/* A layout that is not complete knows nothing of changes, nor they of it. */
static int refuse_unfinished(struct update *u, struct ply_err *err)
{
	struct state s;
	int r;

	state_init(&s, &u->target, false);
	r = state_find(&s, false, err);
	if (r == 0 && s.kind != STATE_NONE && s.kind != STATE_CHANGED && s.kind != STATE_TIMES &&
	    !(s.kind == STATE_BEGUN && s.j.complete))
		r = ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
			     "%s: a layout was begun there and is not complete; --resume goes on with it, --abort takes it out",
			     u->target.path);
	state_close(&s);
	return r;
}

int update_look(const char *path, const struct update_component *v, size_t n, const struct layout_options *o,
		update_decide_fn *decide, void *ctx, struct survey *ret, struct idmap *ids, struct ply_err *err)
{
	struct update u;
	int r = update_open(&u, path, o, err);

	*ret = (struct survey){ 0 };
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = refuse_there(&u, v[i].name, err);
	if (r == 0)
		r = ids_make(u.target.fd, u.dir, u.target.path, v[n - 1].with, ids, err);
	*ret = surveying(&u, &v[0], &v[n - 1], ids);
	if (r == 0)
		r = look_added(ret, decide, ctx, err);
	update_close(&u);
	return r;
}

/* Several: all that can collide is known before the first is begun. */
static int look_at_all(struct update *u, const struct update_component *v, size_t n, const struct idmap *ids,
		       update_decide_fn *decide, void *ctx, struct ply_err *err)
{
	int64_t begin = timeline_now(u->o->timeline);
	struct survey s = surveying(u, &v[0], &v[n - 1], ids);
	int r = n > 1 ? look_added(&s, decide, ctx, err) : 0;

	survey_done(&s);
	timeline_phase(u->o->timeline, "survey", begin);
	return r;
}

/* --- taking out ------------------------------------------------------------------------------------------- */

static int put_dirs(struct update *u, struct changes *dirs, struct ply_err *err)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	int r = 0;

	dirs->kind = CHANGES_ADD;
	if (dirs->n)
		r = changes_encode(dirs, &bytes, err);
	return r < 0 ? r : update_put_file(u, "dirs", bytes.data, bytes.len, err);
}

static int remove_one(struct update *u, const struct kept *kept, const char *name, struct layout_report *ret,
		      struct ply_err *err)
{
	int64_t begin = timeline_now(u->o->timeline);
	struct changes c = { 0 }, dirs = { 0 };
	int r = update_begin(u, err);

	if (r == 0)
		r = remove_stage(u, kept, name, &c, &dirs, update_left, ret, err);
	if (r == 0)
		r = put_dirs(u, &dirs, err);
	timeline_phase_of(u->o->timeline, "survey", name, begin);
	if (r == 0)
		r = placed_stage(u, &c, err);
	if (r == 0)
		r = update_publish(u, &c, err);
	changes_done(&c);
	changes_done(&dirs);
	if (r < 0) {
		update_drop_state(u);
		return r;
	}
	r = update_open_change(u, err);
	return r == 0 ? update_apply(u, ret, err) : r;
}

/* One after the other, those first that require others. */
static int remove_all(struct update *u, const char *const *names, size_t n, struct layout_report *ret, struct ply_err *err)
{
	_cleanup_free_ const char **order = NULL;
	struct kept kept = { 0 };
	size_t norder = 0, nowned = 0;
	int r = kept_read(u->dir, u->target.path, &kept, err);

	order = r < 0 ? NULL : calloc(n + kept.n + 1, sizeof(*order));
	if (r == 0 && !order)
		r = ply_fail_nomem(err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = remove_check(u, &kept, names[i], err);
		if (!kept_is_in(order, norder, names[i]))
			order[norder++] = names[i];
	}
	if (r == 0)
		r = kept_check_required(&kept, u->dir, u->target.path, order, norder, err);
	if (r == 0) {
		kept_add_needless(&kept, order, &norder);
		kept_order(&kept, order, norder);
	}
	/* names of what is read again are gone with it */
	for (; r == 0 && nowned < norder; nowned++) {
		order[nowned] = strdup(order[nowned]);
		if (!order[nowned])
			r = ply_fail_nomem(err);
	}
	for (size_t i = 0; r == 0 && i < norder; i++) {
		r = remove_one(u, &kept, order[i], ret, err);
		changes_done(&u->table);
		u->table = (struct changes){ 0 };
		kept_done(&kept);
		if (r == 0 && i + 1 < norder)
			r = kept_read(u->dir, u->target.path, &kept, err);
	}
	for (size_t i = 0; i < nowned; i++)
		free((char *)order[i]);
	kept_done(&kept);
	return r;
}

/* --- several, which belong together ------------------------------------------------------------------------ */

static int write_together(struct update *u, const struct update_component *v, size_t n, struct ply_err *err)
{
	_cleanup_free_ const char **names = calloc(n, sizeof(*names));
	int r = u->dir < 0 ? update_open_state(u, true, err) : 0;

	if (r < 0)
		return r;
	if (!names)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < n; i++)
		names[i] = v[i].name;
	r = together_begin(u, names, n);
	return r < 0 ? update_fail(u, r, "adding", "write", err) : 0;
}

/* Those that are there go again, the last one first. */
static int drop_together(struct update *u, struct layout_report *ret, struct ply_err *err)
{
	_cleanup_free_ const char **names = NULL;
	struct together t;
	size_t n = 0;
	int r = together_read(u, &t, err);

	names = r < 0 ? NULL : calloc(t.n + 1, sizeof(*names));
	if (r == 0 && !names)
		r = ply_fail_nomem(err);
	for (size_t i = t.n; r == 0 && i-- > 0;)
		if (together_has(u, t.names[i]))
			names[n++] = t.names[i];
	if (r == 0 && n)
		r = remove_all(u, names, n, ret, err);
	if (r == 0)
		r = together_end(u);
	if (r == 0)
		update_drop_state(u);
	together_done(&t);
	return r;
}

/* What belongs to what is complete, and was never begun, is named: without the image it cannot be added. */
static int tell_together(struct update *u, struct ply_err *err)
{
	_cleanup_buf_ struct buf missing = { 0 };
	struct together t;
	int r = together_read(u, &t, err);

	for (size_t i = 0; r == 0 && i < t.n; i++)
		if (!together_has(u, t.names[i]) && buf_printf(&missing, "%s%s", missing.len ? "," : "", t.names[i]) < 0)
			r = ply_fail_nomem(err);
	together_done(&t);
	if (r == 0)
		r = together_end(u);
	return r < 0 || !missing.len ? r :
		ply_fail(err, -EINPROGRESS, PLY_R_TARGET_UNFINISHED,
			 "%s: what was begun is complete, and components are not there yet: lay out once more, with -s %.*s",
			 u->target.path, (int)missing.len, (const char *)missing.data);
}

static int name_streams(struct timeline *t, const struct update_component *v, size_t n, struct ply_err *err)
{
	int r = timeline_streams(t, n);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = timeline_name(t, i, v[i].name, "stage", 0, 0);
	return r < 0 ? ply_fail_nomem(err) : 0;
}

int update_add(const char *path, const struct update_component *v, size_t n, const struct layout_options *o,
	       update_decide_fn *decide, void *ctx, struct layout_report *ret, struct ply_err *err)
{
	struct idmap ids = { 0 };
	enum update_found found;
	bool begun = false;
	struct ply_err why;
	struct update u;
	int r;

	*ret = (struct layout_report){ 0 };
	r = update_open(&u, path, o, err);
	if (r < 0)
		return r;
	r = refuse_unfinished(&u, err);
	if (r == 0)
		r = update_settle_change(&u, &found, err);
	if (r == 0)
		r = refuse_open(&u, found, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = refuse_there(&u, v[i].name, err);
	if (r == 0)
		r = ids_make(u.target.fd, u.dir, u.target.path, v[n - 1].with, &ids, err);
	if (r == 0)
		r = name_streams(o->timeline, v, n, err);
	/* several: all that can collide is known before the first is begun */
	if (r == 0 && n > 1)
		r = look_at_all(&u, v, n, &ids, decide, ctx, err);
	if (r == 0 && n > 1)
		r = write_together(&u, v, n, err);
	begun = r == 0 && n > 1;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = change_one(&u, CHANGES_ADD, &v[i], &ids, (uint32_t)i, decide, ctx, ret, err);
		changes_done(&u.table);
		u.table = (struct changes){ 0 };
		update_close_change(&u);
	}
	if (begun && r == 0)
		r = together_end(&u);
	else if (begun && update_find(u.dir, path, &found, &why) == 0 && found == UPDATE_BETWEEN)
		drop_together(&u, ret, &why);
	if (r == 0)
		r = update_tell_left(&u, ret, "all else is laid out", err);
	idmap_done(&ids);
	update_close(&u);
	return r;
}

int update_settle(const char *path, const struct layout_options *o, struct ply_err *err)
{
	enum update_found found;
	struct update u;
	int r = update_open(&u, path, o, err);

	if (r < 0)
		return r;
	r = update_settle_change(&u, &found, err);
	if (r == 0)
		r = refuse_open(&u, found, err);
	update_close(&u);
	return r;
}

/* --- less than there was ------------------------------------------------------------------------------------------- */

/* What the target has is not ours to decide about. */
static int decide_first(void *ctx, struct survey *s, struct ply_err *err)
{
	(void)ctx;
	(void)err;
	for (size_t i = 0; i < s->nconflicts; i++)
		s->conflicts[i].rule = PLY_RULE_FIRST;
	return 0;
}

int update_between(const struct target *t, struct ply_view *from, struct ply_view *to, const char *name,
		   const struct layout_options *o, struct layout_report *ret, struct ply_err *err)
{
	const struct update_component v = { .name = name, .base = from, .with = to };
	struct layout_options own = *o;
	struct update u = { .target = *t, .locks = { -1, -1, -1 }, .dir = -1, .up = -1, .journal = -1, .o = &own };
	const struct idmap ids = { 0 };
	enum update_found found;
	int r = update_open_state(&u, false, err);

	own.timeline = NULL;       /* it is a part of one phase */
	if (r == 0)
		r = update_settle_change(&u, &found, err);
	/* what the target had then may be another thing now: it is looked at again */
	if (r == 0 && found != UPDATE_NONE) {
		r = update_open_change(&u, err);
		if (r == 0)
			r = update_take_back(&u, ret, err);
		changes_done(&u.table);
		u.table = (struct changes){ 0 };
		update_close_change(&u);
	}
	if (r == 0)
		r = change_one(&u, CHANGES_REMOVE, &v, &ids, UINT32_MAX, decide_first, NULL, ret, err);
	u.target = (struct target){ .fd = -1 };    /* the caller's */
	u.mask = 0;                /* as is this: it has set it */
	update_close(&u);
	return r;
}

/* --- the other verbs ----------------------------------------------------------------------------------------------- */

static int resume_or_abort(const char *path, const struct layout_options *o, bool resume, struct layout_report *ret,
			   struct ply_err *err)
{
	enum update_found found;
	struct update u;
	int r = update_open(&u, path, o, err);

	*ret = (struct layout_report){ 0 };
	if (r < 0)
		return r;
	r = update_settle_change(&u, &found, err);
	ret->nothing = r == 0 && found == UPDATE_NONE;
	if (r == 0 && resume && found == UPDATE_ABORTING)
		r = refuse_open(&u, found, err);
	if (r == 0 && found != UPDATE_NONE && found != UPDATE_BETWEEN) {
		err->code = 0;
		r = update_open_change(&u, err);
		if (r == 0)
			r = resume ? update_apply(&u, ret, err) : update_take_back(&u, ret, err);
		changes_done(&u.table);
		u.table = (struct changes){ 0 };
		update_close_change(&u);
	}
	if (r == 0 && u.dir >= 0)
		r = resume ? tell_together(&u, err) : drop_together(&u, ret, err);
	if (r == 0)
		r = update_tell_left(&u, ret, resume ? "all else is laid out" : "all else was taken back", err);
	update_close(&u);
	return r;
}

int update_resume(const char *path, const struct layout_options *o, struct layout_report *ret, struct ply_err *err)
{
	return resume_or_abort(path, o, true, ret, err);
}

int update_abort(const char *path, const struct layout_options *o, struct layout_report *ret, struct ply_err *err)
{
	return resume_or_abort(path, o, false, ret, err);
}

int update_remove(const char *path, const char *const *names, size_t n, const struct layout_options *o,
		  struct layout_report *ret, struct ply_err *err)
{
	enum update_found found;
	struct update u;
	int r = update_open(&u, path, o, err);

	*ret = (struct layout_report){ 0 };
	if (r < 0)
		return r;
	if (u.dir < 0) {
		update_close(&u);
		return ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN, "%s: no component was laid out there", path);
	}
	r = update_settle_change(&u, &found, err);
	if (r == 0)
		r = refuse_open(&u, found, err);
	if (r == 0)
		r = remove_all(&u, names, n, ret, err);
	if (r == 0)
		r = update_tell_left(&u, ret, "all else was taken out", err);
	update_close(&u);
	return r;
}
