/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "layout/survey_impl.h"

/* --- conflicts ------------------------------------------------------------------------------ */

/* As policies call it. */
static char *content_name(const struct version *v)
{
	char hex[65], out[128];

	if (!v->there)
		return strdup("deleted");
	switch (v->c.mode & S_IFMT) {
	case S_IFREG:
		hex_encode(v->c.digest, 32, hex);
		snprintf(out, sizeof(out), "sha256:%s", hex);
		return strdup(out);
	case S_IFLNK: {
		_cleanup_buf_ struct buf text = { 0 };
		char *escaped = escape_name((const char *)v->text.data, v->text.len);
		int r = escaped ? buf_printf(&text, "symlink:%s", escaped) : -ENOMEM;

		free(escaped);
		return r < 0 ? NULL : (char *)TAKE_PTR(text.data);
	}
	case S_IFDIR:
		return strdup("directory");
	case S_IFIFO:
		return strdup("fifo");
	case S_IFSOCK:
		return strdup("socket");
	}
	snprintf(out, sizeof(out), "%s:%" PRIu64 ":%" PRIu64, S_ISCHR(v->c.mode) ? "char" : "block", v->c.rdev >> 32,
		 v->c.rdev & UINT32_MAX);
	return strdup(out);
}

static const struct survey_conflict *find_decided(const struct walk *w, const char *path)
{
	for (size_t i = 0; i < w->ndecided; i++)
		if (!strcmp(w->decided[i].path + 1, path))
			return &w->decided[i];
	return NULL;
}

/* *ret: how it is decided; NULL: it is not. */
static int note_conflict(struct walk *w, const char *path, const struct version *live, const struct version *with,
			 const struct pair_class *k, const struct survey_conflict **ret)
{
	struct survey *s = w->s;
	struct survey_conflict *c;
	size_t len = strlen(path);

	*ret = find_decided(w, path);
	if (*ret && (*ret)->rule)
		return 0;
	if (array_grow(&s->conflicts, &s->conflicts_cap, s->nconflicts + 1, sizeof(*s->conflicts)) < 0)
		return ply_fail_nomem(w->err);
	c = &s->conflicts[s->nconflicts];
	*c = (struct survey_conflict){ .path = malloc(len + 2), .k = *k, .target_mode = live->there ? live->c.mode : 0,
				       .mode = with->there ? with->c.mode : 0, .target_content = content_name(live),
				       .content = content_name(with),
				       .component = packages_component(s->base, s->view, with->there ? with->ino : 0,
								       s->component) };
	s->nconflicts++;
	if (!c->path || !c->component || !c->content || !c->target_content)
		return ply_fail_nomem(w->err);
	c->path[0] = '/';
	memcpy(c->path + 1, path, len + 1);
	*ret = NULL;
	return 0;
}

/* --- three-way ------------------------------------------------------------------------------- */

void three_done(struct three *t)
{
	version_done(&t->live);
	version_done(&t->base);
	version_done(&t->with);
}

/* "/usr/bin/env" */
static char *absolute_of(const char *path)
{
	char *out = malloc(strlen(path) + 2);

	if (out)
		sprintf(out, "/%s", path);
	return out;
}

int three_load(struct walk *w, struct three *t, const char *path)
{
	struct version *const all[] = { &t->live, &t->base, &t->with };
	_cleanup_free_ char *absolute = absolute_of(path);
	int r = absolute ? 0 : ply_fail_nomem(w->err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(all); i++)
		r = version_load(all[i], absolute, w->s->ids, w->err);
	if (r == 0)
		r = packages_restore(&w->s->packages, path, &t->live, &t->base, &t->with, w->err);
	t->restored |= r > 0;
	return MIN(r, 0);
}

static bool same_owner(const struct version *a, const struct version *b)
{
	return a->c.uid == b->c.uid && a->c.gid == b->c.gid;
}

/* Everything but times, names, and the numbers of names. */
bool three_same(const struct version *a, const struct version *b)
{
	if (a->there != b->there)
		return false;
	return !a->there || (a->c.mode == b->c.mode && same_owner(a, b) && version_same_xattrs(a, b) &&
			     (S_ISDIR(a->c.mode) || version_same_content(a, b)));
}

static struct span text_of(const struct version *v)
{
	static const uint8_t nothing[1];

	return v->there ? (struct span){ v->text.data ? v->text.data : nothing, v->text.len } : (struct span){ NULL, 0 };
}

/* Attributes of what comes of it: what the image changes, of what is there. */
static void put_attributes(struct survey_put *p, const struct three *t)
{
	const struct version *live = &t->live, *base = &t->base, *with = &t->with;

	if (!live->there)
		return;
	if (base->there && base->c.mode == with->c.mode)
		p->mode = live->c.mode;
	if (base->there && same_owner(base, with)) {
		p->uid = live->c.uid;
		p->gid = live->c.gid;
	}
	if (!base->there) {
		p->mode = live->c.mode;
		p->uid = live->c.uid;
		p->gid = live->c.gid;
	}
	p->target_xattrs = !base->there || version_same_xattrs(base, with);
	if (live->c.mtime_sec > with->c.mtime_sec || (live->c.mtime_sec == with->c.mtime_sec &&
						      live->c.mtime_nsec > with->c.mtime_nsec)) {
		p->mtime_sec = live->c.mtime_sec;
		p->mtime_nsec = live->c.mtime_nsec;
	}
}

/* A directory on one side only. */
int survey_refuse_type(struct walk *w, const char *path, const char *what)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	return ply_fail(w->err, -EEXIST, PLY_R_TARGET_EXISTS, "/%s: %s; move it away first", shown, what);
}

/* Another file in the place of the one there, or of nothing. @text: consumed; NULL: the image's. */
int survey_put_file(struct walk *w, const char *path, const char *name, const struct three *t, struct buf *text)
{
	enum change_kind kind = t->live.there ? CHANGE_SWAP : CHANGE_MAKE;
	struct survey_put *p;

	if (t->live.there && S_ISDIR(t->live.c.mode))
		return survey_refuse_type(w, path, "the target has a directory there, and the policy takes what the image has");
	p = survey_add_put(w, path, &t->with);
	if (!p)
		return ply_fail_nomem(w->err);
	p->own = !text;
	p->swap = t->live.there;
	if (text) {
		p->text = *text;
		*text = (struct buf){ 0 };
		put_attributes(p, t);
	}
	if (kind == CHANGE_MAKE)   /* its directory is to be there when it is staged */
		w->s->plan->dirs[w->dir].wanted = true;
	p->n = (uint32_t)w->s->changes.n;
	return survey_add_row(w, kind, path, name);
}

/* The same content, in another file. */
static int put_again(struct walk *w, const char *path, const char *name, const struct three *t)
{
	int r = survey_put_file(w, path, name, t, NULL);

	if (r == 0)
		put_attributes(&w->s->puts[w->s->nputs - 1], t);
	return r;
}

/* Of the row that comes next. */
static int put_directory(struct walk *w, const char *path, const struct three *t)
{
	struct survey_put *p = survey_add_put(w, path, &t->with);

	if (!p)
		return ply_fail_nomem(w->err);
	p->meta = true;
	p->target_xattrs = version_same_xattrs(&t->base, &t->with);
	p->n = (uint32_t)w->s->changes.n;
	return 0;
}

/* The same file, of another owner or mode. */
int survey_put_meta(struct walk *w, const char *path, const char *name, const struct three *t)
{
	const struct version *with = &t->with, *base = &t->base;
	struct change *row;
	bool attrs = false;
	int r;

	/* chown and chmod take capabilities, and change ACLs: another file has them right, and of a directory they are set again */
	if (t->live.c.xattrs_digest && !S_ISDIR(t->live.c.mode))
		return put_again(w, path, name, t);
	if (t->live.c.xattrs_digest && !base->there)
		return survey_add_row(w, CHANGE_KEEP, path, name);
	if (S_ISDIR(t->live.c.mode) && (t->live.c.xattrs_digest || with->c.xattrs_digest)) {
		r = put_directory(w, path, t);
		if (r < 0)
			return r;
		attrs = !version_same_xattrs(base, with);
	}
	r = survey_add_row(w, CHANGE_META, path, name);
	if (r < 0)
		return r;
	row = &w->s->changes.v[w->s->changes.n - 1];
	if (!base->there || base->c.mode != with->c.mode)
		row->after.mode = with->c.mode;
	if (!base->there || !same_owner(base, with)) {
		row->after.uid = with->c.uid;
		row->after.gid = with->c.gid;
	}
	if (!attrs && change_same(&row->before, &row->after)) {
		row->kind = CHANGE_KEEP;
		if (w->s->nputs && w->s->puts[w->s->nputs - 1].meta && w->s->puts[w->s->nputs - 1].n == row->n)
			free(w->s->puts[--w->s->nputs].path);
	}
	return 0;
}

/* What the component brings too: it stays when another one goes that has made it. */
int survey_keep(struct walk *w, const char *path, const char *name)
{
	return survey_add_row(w, CHANGE_KEEP, path, name);
}

/* Copies of records as they were before the last change ("status-old", "passwd-", /var/backups): those of the target tell
 * of its own past, which nothing clashes with. @absolute has a slash in front. */
static bool is_backup(const char *absolute)
{
	size_t len = strlen(absolute);

	if (changes_within(absolute, "/var/backups"))
		return true;
	return merge_driver_for(absolute) && (absolute[len - 1] == '-' || (len > 4 && !strcmp(absolute + len - 4, "-old")));
}

struct how {
	const struct merge_driver *force;  /* NULL: that of the path, if any */
	enum merge_prefer prefer;          /* whose records that clash are, where the path has a driver */
};

/* @t's contents are merged into one; -ENOTUNIQ: they cannot be. */
static int merge(struct walk *w, const char *path, const char *name, const struct three *t, struct how how,
		 enum merge_why *ret_why)
{
	_cleanup_free_ char *absolute = absolute_of(path);
	_cleanup_buf_ struct buf text = { 0 };
	int r;

	if (!absolute || buf_reserve(&text, 1) < 0)
		return ply_fail_nomem(w->err);
	if (how.prefer == MERGE_PREFER_NONE && is_backup(absolute) && merge_driver_for(absolute))
		how.prefer = MERGE_PREFER_OURS;
	if (!how.force && how.prefer != MERGE_PREFER_NONE)
		r = merge_compose_for(absolute, how.prefer, text_of(&t->base), text_of(&t->live), text_of(&t->with), &text,
				      ret_why, w->err);
	else
		r = merge_compose(absolute, how.force, text_of(&t->base), text_of(&t->live), text_of(&t->with), &text, ret_why,
				  w->err);
	if (r == -ENOTUNIQ || r < 0)
		return r;
	if (t->live.there && text.len == t->live.text.len && !memcmp(text.data, t->live.text.data, text.len))
		return t->base.there && (t->base.c.mode != t->with.c.mode || !same_owner(&t->base, &t->with)) ?
			survey_put_meta(w, path, name, t) : survey_keep(w, path, name);
	return survey_put_file(w, path, name, t, &text);
}

static int put_beside(struct walk *w, const char *path, const struct three *t)
{
	_cleanup_free_ char *beside = malloc(strlen(path) + strlen(w->s->component) + 16);
	struct three alone = { .with = t->with };
	struct version there;
	const char *name;
	int r;

	if (!beside)
		return ply_fail_nomem(w->err);
	sprintf(beside, "%s.plyfs-%s", path, w->s->component);
	name = strrchr(beside, '/') ? strrchr(beside, '/') + 1 : beside;
	r = version_of_target(w->fd, name, &there);
	if (r < 0)
		return survey_told(w, r, beside);
	version_done(&there);
	if (there.there)
		return survey_told(w, ply_fail(w->err, -EEXIST, PLY_R_TARGET_EXISTS, "is there already; the policy wants to put "
					"the image's file there"), beside);
	return survey_put_file(w, beside, name, &alone, NULL);
}

static int append(struct walk *w, const char *path, const char *name, const struct three *t)
{
	const struct span v[2] = { text_of(&t->live), text_of(&t->with) };
	_cleanup_buf_ struct buf text = { 0 };

	if (merge_append(v, 2, NULL, &text, w->err) < 0)
		return ply_fail_nomem(w->err);
	return survey_put_file(w, path, name, t, &text);
}

/* One of the two, but of records only those that clash. */
static int prefer(struct walk *w, const char *path, const char *name, struct three *t, bool first)
{
	_cleanup_free_ char *absolute = absolute_of(path);
	enum merge_why why;

	if (!absolute)
		return ply_fail_nomem(w->err);
	if (merge_driver_for(absolute) && t->live.c.loaded && t->with.c.loaded && S_ISREG(t->live.c.mode) &&
	    S_ISREG(t->with.c.mode))
		return merge(w, path, name, t, (struct how){ .prefer = first ? MERGE_PREFER_OURS : MERGE_PREFER_THEIRS }, &why);
	if (first)
		return t->live.there ? survey_keep(w, path, name) : 0;
	return t->with.there ? survey_put_file(w, path, name, t, NULL) : survey_add_row(w, CHANGE_OUT, path, name);
}

/* As the administrator has decided it. */
static int decided(struct walk *w, const char *path, const char *name, struct three *t, const struct survey_conflict *c)
{
	enum merge_why why;
	int r;

	switch (c->rule) {
	case PLY_RULE_FIRST:
	case PLY_RULE_LAST:
		return prefer(w, path, name, t, c->rule == PLY_RULE_FIRST);
	case PLY_RULE_APPEND:
		return append(w, path, name, t);
	case PLY_RULE_KEEP_BOTH:
		r = survey_keep(w, path, name);
		return r < 0 ? r : put_beside(w, path, t);
	case PLY_RULE_DRIVER:
		r = merge(w, path, name, t, (struct how){ .force = merge_driver_get(c->driver) }, &why);
		return r != -ENOTUNIQ ? r : survey_told(w, ply_fail(w->err, -ENOTUNIQ, PLY_R_CONFLICT, "the driver cannot merge it: %s",
							     merge_why_text(why)), path);
	}
	return survey_told(w, ply_fail(w->err, -EINVAL, PLY_R_POLICY_VALUE, "cannot be decided so"), path);
}

static int conflict(struct walk *w, const char *path, const char *name, struct three *t, const struct pair_class *k)
{
	const struct survey_conflict *how;
	int r = note_conflict(w, path, &t->live, &t->with, k, &how);

	return r < 0 || !how ? r : decided(w, path, name, t, how);
}

/* A driver's file that the target has not is an empty one, where the base has it. */
static bool is_record_file(const struct three *t, const char *path)
{
	_cleanup_free_ char *absolute = absolute_of(path);

	return absolute && S_ISREG(t->with.c.mode) && !t->live.there && t->base.there && S_ISREG(t->base.c.mode) && merge_driver_for(absolute);
}

/* How they differ: as two sub-images that have what the base has. */
static int classify(struct walk *w, const char *path, struct three *t, struct pair_class *ret)
{
	_cleanup_free_ char *absolute = absolute_of(path);
	int r;

	if (!absolute)
		return ply_fail_nomem(w->err);
	t->live.c.deleted = !t->live.there;
	t->with.c.deleted = !t->with.there;
	r = merge_classify(absolute, &t->live.c, &t->with.c, t->base.there ? &t->base.c : NULL, ret, w->err);
	if (r == 0 && ret->cls == MERGE_CONFLICT && is_backup(absolute))
		ret->cls = t->live.there && t->with.there && merge_driver_for(absolute) ? MERGE_DRIVER : MERGE_SAME;
	return r;
}

int survey_judge(struct walk *w, const char *path, const char *name, struct three *t)
{
	struct version *live = &t->live, *base = &t->base, *with = &t->with;
	struct pair_class k = { 0 };
	enum merge_why why = MERGE_WHY_NONE;
	enum packages_edit edited;
	int r;

	if (three_same(live, with))
		return live->there ? survey_keep(w, path, name) : 0;
	if (three_same(live, base)) {
		if (!with->there)
			return survey_add_row(w, CHANGE_OUT, path, name);
		if (version_same_content(live, with) && version_same_xattrs(live, with) &&
		    (live->c.mode & S_IFMT) == (with->c.mode & S_IFMT))
			return survey_put_meta(w, path, name, t);
		return survey_put_file(w, path, name, t, t->restored ? &t->with.text : NULL);
	}
	if (!with->there && !live->there)
		return 0;
	if (is_record_file(t, path)) {
		r = merge(w, path, name, t, (struct how){ 0 }, &why);
		if (r != -ENOTUNIQ)
			return r;
		k = (struct pair_class){ .cls = MERGE_CONFLICT, .why = (uint8_t)why };
		return conflict(w, path, name, t, &k);
	}
	edited = packages_edited(&w->s->packages, path, live, with);
	if (edited == EDIT_TARGET)
		return live->there ? survey_keep(w, path, name) : 0;
	if (edited == EDIT_IMAGE && with->there)
		return survey_put_file(w, path, name, t, NULL);
	r = classify(w, path, t, &k);
	if (r < 0)
		return survey_told(w, r, path);
	switch (k.cls) {
	case MERGE_SAME:
	case MERGE_TIMES:
	case MERGE_DIRECTORY:
		return live->there ? survey_keep(w, path, name) : 0;
	case MERGE_DRIVER:
	case MERGE_THREE_WAY:
	case MERGE_APPEND:
		if (!S_ISREG(with->c.mode) || !live->c.loaded || !with->c.loaded)
			break;
		if (version_same_content(live, with))
			return survey_put_meta(w, path, name, t);
		r = merge(w, path, name, t, (struct how){ 0 }, &why);
		if (r != -ENOTUNIQ)
			return r;
		k.why = (uint8_t)why;
		break;
	}
	k.cls = MERGE_CONFLICT;
	return conflict(w, path, name, t, &k);
}
