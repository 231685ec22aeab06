/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"

/* Of a directory of the plan. */
struct place {
	uint64_t base;             /* inode in the base; 0: it is not there */
	bool there;                /* the target has it */
};

/* A name of a file that has several. */
struct linked {
	uint64_t ino;              /* in the view */
	char *path;
	uint32_t n;                /* of a new one: the number of its row */
	uint32_t mode;
};

struct links {
	struct linked *v;
	size_t n, cap;
};

struct walk {
	struct survey *s;
	struct links there, fresh; /* names that the target has as the image has them, and those that are made */
	const struct survey_conflict *decided;     /* of an earlier run, by path */
	size_t ndecided;
	struct place *places;      /* by directory of the plan */
	size_t nplaces, places_cap;
	uint32_t dir;              /* that is being listed, */
	int fd;                    /* open in the target; -1: not there */
	const struct version *live;        /* what is there, while a name is compared; else NULL */
	struct buf path;           /* its path: "" or "usr/bin", NUL-terminated */
	uint64_t dir_ino;
	struct ply_err *err;
};

/* --- paths ----------------------------------------------------------------------------- */

/* "usr/bin/env" */
static char *path_of(const struct walk *w, const char *name, size_t len)
{
	size_t n = w->path.len;
	char *out = malloc(n + len + 2);

	if (!out)
		return NULL;
	if (n)
		memcpy(out, w->path.data, n);
	if (n)
		out[n++] = '/';
	memcpy(out + n, name, len);
	out[n + len] = '\0';
	return out;
}

static int set_dir_path(struct walk *w, const struct plan *p, uint32_t d)
{
	size_t len = 0;
	char *at;

	for (uint32_t i = d; i; i = p->dirs[i].parent)
		len += p->dirs[i].name_len + 1u;
	w->path.len = 0;
	if (buf_reserve(&w->path, len + 1) < 0)
		return ply_fail_nomem(w->err);
	w->path.len = len ? len - 1 : 0;
	at = (char *)w->path.data + w->path.len;
	*at = '\0';
	for (uint32_t i = d; i; i = p->dirs[i].parent) {
		at -= p->dirs[i].name_len;
		memcpy(at, p->dirs[i].name, p->dirs[i].name_len);
		if (at > (char *)w->path.data)
			*--at = '/';
	}
	return 0;
}

static int told(struct walk *w, int r, const char *path)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	if (w->err->code)
		ply_err_prefix(w->err, "/%s", shown);
	else
		ply_fail_sys(w->err, r, "/%s: cannot look at what is there", shown);
	return r;
}

/* What a view has, with owners as the target is to have them. */
static int of_view(struct walk *w, struct ply_view *view, uint64_t ino, struct version *ret)
{
	int r = version_of_view(view, ino, w->s->ids, ret, w->err);

	if (r == 0 && w->s->map_owner) {
		ret->c.uid = w->s->uid;
		ret->c.gid = w->s->gid;
	}
	return r;
}

/* --- rows --------------------------------------------------------------------------------- */

/* Names come or go there. */
static int note_dir(struct walk *w)
{
	struct stat st;

	if (w->fd < 0)
		return 0;
	if (fstat(w->fd, &st) < 0)
		return ply_fail_sys(w->err, -errno, "/%s: stat", (char *)w->path.data);
	if (version_mount(w->fd, "") != w->s->mount)
		return ply_fail(w->err, -EXDEV, PLY_R_TARGET_CANNOT_HOLD,
				"is in another mount than /var/lib/plyfs, from where names are moved to their places");
	return changes_add_dir(&w->s->changes, (char *)w->path.data, st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec) < 0 ?
		ply_fail_nomem(w->err) : 0;
}

/* What is compared is what the row tells of, and it can be moved. */
static int check_live(struct walk *w, enum change_kind kind, const char *path, const char *name)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	if (w->live && !version_is_still(w->live))
		return ply_fail(w->err, -EBUSY, PLY_R_TARGET_BUSY,
				"/%s: is being changed by another process; try again when that is done", shown);
	if (kind == CHANGE_KEEP || version_mount(w->fd, name) == version_mount(w->fd, ""))
		return 0;
	return ply_fail(w->err, -EBUSY, PLY_R_TARGET_CANNOT_HOLD, "/%s: something is mounted there, so it cannot be changed", shown);
}

static int add_row(struct walk *w, enum change_kind kind, const char *path, const char *name)
{
	struct change row = { .kind = kind, .path = (char *)path };
	int r = 0;

	if (kind == CHANGE_MAKE && w->fd < 0)
		row.flags = CHANGE_INSIDE;
	if (kind != CHANGE_MAKE) {
		r = change_look(w->fd, name, &row.before);
		if (r < 0)
			return told(w, r, path);
		r = check_live(w, kind, path, name);
		if (r < 0)
			return r;
		row.after = row.before;
	}
	if (changes_add(&w->s->changes, &row) < 0)
		return ply_fail_nomem(w->err);
	return kind == CHANGE_KEEP || kind == CHANGE_META ? 0 : note_dir(w);
}

static struct survey_put *add_put(struct walk *w, const char *path, const struct version *v)
{
	struct survey *s = w->s;
	struct survey_put *p;

	if (array_grow(&s->puts, &s->puts_cap, s->nputs + 1, sizeof(*s->puts)) < 0)
		return NULL;
	p = &s->puts[s->nputs];
	*p = (struct survey_put){ .path = strdup(path), .ino = v->ino, .mode = v->c.mode, .uid = v->c.uid, .gid = v->c.gid,
				  .mtime_sec = v->c.mtime_sec, .mtime_nsec = v->c.mtime_nsec };
	if (!p->path)
		return NULL;
	s->nputs++;
	return p;
}

static int add_linked(struct walk *w, struct links *to, const char *path, const struct version *v, uint32_t n)
{
	char *copy;

	if (v->c.nlink < 2)
		return 0;
	if (array_grow(&to->v, &to->cap, to->n + 1, sizeof(*to->v)) < 0 || !(copy = strdup(path)))
		return ply_fail_nomem(w->err);
	to->v[to->n++] = (struct linked){ v->ino, copy, n, v->c.mode };
	return 0;
}

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
				       .content = content_name(with) };
	s->nconflicts++;
	s->nundecided++;
	if (!c->path || !c->content || !c->target_content)
		return ply_fail_nomem(w->err);
	c->path[0] = '/';
	memcpy(c->path + 1, path, len + 1);
	*ret = NULL;
	return 0;
}

/* --- three-way ------------------------------------------------------------------------------- */

/* What is at one path: in the target, in the base, in the image. */
struct three {
	struct version live, base, with;
};

static void three_done(struct three *t)
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

static int load_all(struct walk *w, struct three *t, const char *path)
{
	struct version *const all[] = { &t->live, &t->base, &t->with };
	_cleanup_free_ char *absolute = absolute_of(path);
	int r = absolute ? 0 : ply_fail_nomem(w->err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(all); i++)
		r = version_load(all[i], absolute, w->s->ids, w->err);
	return r;
}

static bool same_owner(const struct version *a, const struct version *b)
{
	return a->c.uid == b->c.uid && a->c.gid == b->c.gid;
}

/* Everything but times, names, and the numbers of names. */
static bool same(const struct version *a, const struct version *b)
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
static int refuse_type(struct walk *w, const char *path, const char *what)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	return ply_fail(w->err, -EEXIST, PLY_R_TARGET_EXISTS, "/%s: %s; move it away first", shown, what);
}

/* Another file in the place of the one there, or of nothing. @text: consumed; NULL: the image's. */
static int put(struct walk *w, const char *path, const char *name, const struct three *t, struct buf *text)
{
	enum change_kind kind = t->live.there ? CHANGE_SWAP : CHANGE_MAKE;
	struct survey_put *p;

	if (t->live.there && S_ISDIR(t->live.c.mode))
		return refuse_type(w, path, "the target has a directory there, and the policy takes what the image has");
	p = add_put(w, path, &t->with);
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
	return add_row(w, kind, path, name);
}

/* The same content, in another file. */
static int put_again(struct walk *w, const char *path, const char *name, const struct three *t)
{
	int r = put(w, path, name, t, NULL);

	if (r == 0)
		put_attributes(&w->s->puts[w->s->nputs - 1], t);
	return r;
}

/* The same file, of another owner or mode. */
static int put_meta(struct walk *w, const char *path, const char *name, const struct three *t)
{
	const struct version *with = &t->with, *base = &t->base;
	struct change *row;
	int r;

	/* chown and chmod take capabilities, and change ACLs: another file has them right; a directory keeps what it has */
	if (t->live.c.xattrs_digest && S_ISDIR(t->live.c.mode))
		return base->there ? 0 : add_row(w, CHANGE_KEEP, path, name);
	if (t->live.c.xattrs_digest)
		return put_again(w, path, name, t);
	r = add_row(w, CHANGE_META, path, name);
	if (r < 0)
		return r;
	row = &w->s->changes.v[w->s->changes.n - 1];
	if (!base->there || base->c.mode != with->c.mode)
		row->after.mode = with->c.mode;
	if (!base->there || !same_owner(base, with)) {
		row->after.uid = with->c.uid;
		row->after.gid = with->c.gid;
	}
	if (change_same(&row->before, &row->after))
		row->kind = CHANGE_KEEP;
	return 0;
}

/* What the component brings too: it stays when another one goes that has made it. */
static int keep(struct walk *w, const char *path, const char *name)
{
	return add_row(w, CHANGE_KEEP, path, name);
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
			put_meta(w, path, name, t) : keep(w, path, name);
	return put(w, path, name, t, &text);
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
		return told(w, r, beside);
	version_done(&there);
	if (there.there)
		return told(w, ply_fail(w->err, -EEXIST, PLY_R_TARGET_EXISTS, "is there already; the policy wants to put "
					"the image's file there"), beside);
	return put(w, beside, name, &alone, NULL);
}

static int append(struct walk *w, const char *path, const char *name, const struct three *t)
{
	const struct span v[2] = { text_of(&t->live), text_of(&t->with) };
	_cleanup_buf_ struct buf text = { 0 };

	if (merge_append(v, 2, NULL, &text, w->err) < 0)
		return ply_fail_nomem(w->err);
	return put(w, path, name, t, &text);
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
		return t->live.there ? keep(w, path, name) : 0;
	return t->with.there ? put(w, path, name, t, NULL) : add_row(w, CHANGE_OUT, path, name);
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
		r = keep(w, path, name);
		return r < 0 ? r : put_beside(w, path, t);
	case PLY_RULE_DRIVER:
		r = merge(w, path, name, t, (struct how){ .force = merge_driver_get(c->driver) }, &why);
		return r != -ENOTUNIQ ? r : told(w, ply_fail(w->err, -ENOTUNIQ, PLY_R_CONFLICT, "the driver cannot merge it: %s",
							     merge_why_text(why)), path);
	}
	return told(w, ply_fail(w->err, -EINVAL, PLY_R_POLICY_VALUE, "cannot be decided so"), path);
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

static int judge(struct walk *w, const char *path, const char *name, struct three *t)
{
	struct version *live = &t->live, *base = &t->base, *with = &t->with;
	struct pair_class k = { 0 };
	enum merge_why why = MERGE_WHY_NONE;
	int r;

	if (same(live, with))
		return live->there ? keep(w, path, name) : 0;
	if (same(live, base)) {
		if (!with->there)
			return add_row(w, CHANGE_OUT, path, name);
		if (version_same_content(live, with) && version_same_xattrs(live, with) &&
		    (live->c.mode & S_IFMT) == (with->c.mode & S_IFMT))
			return put_meta(w, path, name, t);
		return put(w, path, name, t, NULL);
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
	r = classify(w, path, t, &k);
	if (r < 0)
		return told(w, r, path);
	switch (k.cls) {
	case MERGE_SAME:
	case MERGE_TIMES:
	case MERGE_DIRECTORY:
		return live->there ? keep(w, path, name) : 0;
	case MERGE_DRIVER:
	case MERGE_THREE_WAY:
	case MERGE_APPEND:
		if (!S_ISREG(with->c.mode) || !live->c.loaded || !with->c.loaded)
			break;
		if (version_same_content(live, with))
			return put_meta(w, path, name, t);
		r = merge(w, path, name, t, (struct how){ 0 }, &why);
		if (r != -ENOTUNIQ)
			return r;
		k.why = (uint8_t)why;
		break;
	}
	k.cls = MERGE_CONFLICT;
	return conflict(w, path, name, t, &k);
}

/* --- names --------------------------------------------------------------------------------------- */

/* 1: the base has it just so, and that without reading content. */
static int is_unchanged(struct walk *w, uint64_t ino, uint64_t base_ino)
{
	struct view_file a, b;
	struct view_owner x, y;
	int r;

	if (ino != base_ino)
		return 0;
	r = view_file(w->s->view, ino, &a, w->err);
	if (r == 0)
		r = view_file(w->s->base, base_ino, &b, w->err);
	if (r == 0)
		r = view_owner(w->s->view, &a, &x, w->err);
	if (r == 0)
		r = view_owner(w->s->base, &b, &y, w->err);
	if (r < 0)
		return r;
	return !a.rendered && !b.rendered && !a.merged && !b.merged && a.sub == b.sub && a.node.data == b.node.data &&
	       a.node.mode == b.node.mode && a.size == b.size && a.owner_i == b.owner_i && x.uid == y.uid && x.gid == y.gid &&
	       a.xattrs_i == b.xattrs_i && a.node.xattrs == b.node.xattrs && !a.node.xattrs;
}

static int find_in(struct ply_view *view, uint64_t dir, const char *name, size_t len, uint64_t *ret, struct ply_err *err)
{
	int r;

	*ret = 0;
	if (!dir)
		return 0;
	r = ply_view_lookup(view, dir, name, len, ret, err);
	if (r != -ENOENT && r != -ENOTDIR)
		return r;
	*ret = 0;
	return 0;
}

/* The path of the first name of @ino in the base, which may be no inode of it: *ret is NULL then. */
static int path_in_base(struct walk *w, uint64_t ino, char **ret)
{
	struct ply_view *base = w->s->base;
	struct buf path = { 0 };
	struct view_file f;
	int r = 0;

	*ret = NULL;
	while (r == 0 && ino != PLY_ROOT_INDEX) {
		_cleanup_buf_ struct buf longer = { 0 };
		struct ply_entry e;
		struct sub *sub;

		r = view_file(base, ino, &f, w->err);
		if (r == 0)
			r = view_sub_at(base, f.name_i, &sub, w->err);
		if (r == 0)
			r = sub_entry(sub, f.node.entry, &e, w->err);
		if (r == 0)
			r = view_node_ino(base, f.name_i, f.node.parent, &ino, w->err);
		if (r == 0 && (buf_add(&longer, e.name, e.name_len) < 0 || (path.len && buf_add(&longer, "/", 1) < 0) ||
			       buf_add(&longer, path.data, path.len) < 0 || longer.len > CHANGE_PATH_MAX))
			r = ply_fail_nomem(w->err);
		if (r == 0) {
			buf_done(&path);
			path = longer;
			longer = (struct buf){ 0 };
		}
	}
	if (r == 0 && buf_add(&path, "", 1) < 0)
		r = ply_fail_nomem(w->err);
	if (r == 0)
		*ret = (char *)TAKE_PTR(path.data);
	buf_done(&path);
	return r == -ESTALE || r == -ENOENT ? 0 : r;
}

/* Is what is at @path in the target what the base has there? */
static int is_as_in_base(struct walk *w, const char *path, uint64_t ino, bool *ret)
{
	const char *name = strrchr(path, '/');
	int dir = beneath_open(w->s->target, path, name ? (size_t)(name - path) : 0, O_PATH), r = MIN(dir, 0);
	struct three t = { 0 };

	*ret = false;
	if (r == 0)
		r = version_of_target(dir, name ? name + 1 : path, &t.live);
	if (r == 0 && t.live.there) {
		r = of_view(w, w->s->base, ino, &t.base);
		if (r == 0)
			r = load_all(w, &t, path);
		*ret = r == 0 && same(&t.live, &t.base);
	}
	three_done(&t);
	cleanup_close(&dir);
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

/* One more name of a file that is there already: 1, and it is noted. */
static int make_link(struct walk *w, const char *path, const char *name, const struct three *t, uint64_t ino)
{
	_cleanup_free_ char *first = NULL;
	struct survey_put *p;
	bool there = false;
	int r;

	if (!w->s->base || t->with.c.nlink < 2)
		return 0;
	r = path_in_base(w, ino, &first);
	if (r == 0 && first)
		r = is_as_in_base(w, first, ino, &there);
	if (r < 0 || !there)
		return r;
	p = add_put(w, path, &t->with);
	if (!p)
		return ply_fail_nomem(w->err);
	p->link = TAKE_PTR(first);
	p->n = (uint32_t)w->s->changes.n;
	w->s->plan->dirs[w->dir].wanted = true;
	r = add_row(w, CHANGE_MAKE, path, name);
	return r < 0 ? r : 1;
}

/* Nothing is there yet, in the base neither. 1: the plan makes it. */
static int make_new(struct walk *w, const char *path, const char *name, struct three *t, uint64_t ino)
{
	int r;

	if (idmap_has_ids(path)) {
		r = load_all(w, t, path);
		if (r == 0 && t->with.c.loaded)
			return put(w, path, name, t, &t->with.text);
	} else {
		r = make_link(w, path, name, t, ino);
	}
	if (r)
		return MIN(r, 0);
	r = add_linked(w, &w->fresh, path, &t->with, (uint32_t)w->s->changes.n);
	if (r == 0)
		r = add_row(w, CHANGE_MAKE, path, name);
	return r < 0 ? r : 1;
}

/* What is as it was is the component's as well, where that brings just the same: it stays when another one goes that has
 * made it. Of a file of several names only some may be the component's: nothing is known of these. */
static int keep_shared(struct walk *w, const char *path, const char *name, uint64_t ino)
{
	uint32_t max = ply_view_nsubs(w->s->view);
	_cleanup_free_ uint32_t *of = calloc(max, sizeof(*of));
	int n = of ? ply_view_origin(w->s->view, ino, of, max, w->err) : ply_fail_nomem(w->err);

	for (int i = 0; i < n; i++)
		if (!strcmp(ply_image_sub_info(ply_view_image(w->s->view), of[i])->name, w->s->component))
			return keep(w, path, name);
	return MIN(n, 0);
}

/* @ino, @base_ino: 0 where it is not there. 1: the plan makes it. */
static int compare(struct walk *w, const char *name, size_t len, uint64_t ino, uint64_t base_ino)
{
	_cleanup_free_ char *path = path_of(w, name, len);
	char own[PLY_NAME_MAX + 1];
	struct three t = { 0 };
	struct ply_attr attr;
	int r = path ? 0 : ply_fail_nomem(w->err);

	if (r < 0)
		return r;
	memcpy(own, name, len);
	own[len] = '\0';
	w->err->code = 0;
	if (w->fd >= 0) {
		r = version_of_target(w->fd, own, &t.live);
		if (r < 0)
			return told(w, r, path);
	}
	w->live = t.live.there ? &t.live : NULL;
	/* what went with its component is not missing by anybody's will */
	if (!t.live.there && ino && base_ino && ply_view_attr(w->s->view, base_ino, &attr, w->err) == -ESTALE)
		base_ino = 0;
	w->err->code = 0;
	if (ino)
		r = of_view(w, w->s->view, ino, &t.with);
	if (r == 0 && base_ino)
		r = of_view(w, w->s->base, base_ino, &t.base);
	if (r == 0 && (t.live.there || base_ino))
		r = load_all(w, &t, path);
	if (r == 0 && t.live.there && t.with.there && same(&t.live, &t.with))
		r = add_linked(w, &w->there, path, &t.with, 0);
	if (r < 0)
		r = told(w, r, path);
	else if (!t.live.there && !base_ino)
		r = make_new(w, path, own, &t, ino);
	else if (base_ino && same(&t.base, &t.with))
		r = t.live.there && ino && t.with.c.nlink < 2 ? keep_shared(w, path, own, ino) : 0;
	else
		r = judge(w, path, own, &t);
	w->live = NULL;
	three_done(&t);
	return r;
}

/* --- the plan's questions -------------------------------------------------------------------------- */

static int directory(void *ctx, struct plan *p, uint32_t d, struct ply_err *err)
{
	struct walk *w = ctx;
	int r;

	w->err = err;
	w->s->plan = p;
	w->dir = d;
	w->dir_ino = p->dirs[d].ino;
	cleanup_close(&w->fd);
	w->fd = -1;
	r = set_dir_path(w, p, d);
	if (r < 0)
		return r;
	if (!d) {
		if (array_grow(&w->places, &w->places_cap, 1, sizeof(*w->places)) < 0)
			return ply_fail_nomem(err);
		w->places[0] = (struct place){ .base = w->s->base ? PLY_ROOT_INDEX : 0, .there = true };
		p->dirs[0].way = true;
	}
	if (!w->places[d].there)
		return 1;
	r = beneath_open(w->s->target, (char *)w->path.data, w->path.len, O_RDONLY);
	if (r < 0)
		return told(w, (err->code = 0, r), (char *)w->path.data);
	w->fd = r;
	return 1;
}

static int name(void *ctx, const struct ply_dirent *de, struct ply_err *err)
{
	struct walk *w = ctx;
	uint64_t base_ino;
	int r;

	w->err = err;
	r = find_in(w->s->base, w->places[w->dir].base, de->name, de->len, &base_ino, err);
	if (r == 0 && base_ino)
		r = is_unchanged(w, de->ino, base_ino);
	return r ? MIN(r, 0) : compare(w, de->name, de->len, de->ino, base_ino);
}

static int subdirectory(void *ctx, const struct ply_dirent *de, uint32_t d, struct ply_err *err)
{
	_cleanup_free_ char *path = path_of(ctx, de->name, de->len);
	char own[PLY_NAME_MAX + 1];
	struct walk *w = ctx;
	struct three t = { 0 };
	struct place place;
	int r;

	w->err = err;
	if (!path || array_grow(&w->places, &w->places_cap, d + 1, sizeof(*w->places)) < 0)
		return ply_fail_nomem(err);
	memcpy(own, de->name, de->len);
	own[de->len] = '\0';
	err->code = 0;
	r = find_in(w->s->base, w->places[w->dir].base, de->name, de->len, &place.base, err);
	if (r == 0 && w->fd >= 0) {
		r = version_of_target(w->fd, own, &t.live);
		if (r < 0)
			return told(w, r, path);
	}
	place.there = t.live.there;
	w->places[d] = place;
	w->s->plan->dirs[d].way = place.there;
	if (r < 0)
		return told(w, r, path);
	if (t.live.there && !S_ISDIR(t.live.c.mode))
		return refuse_type(w, path, "the image has a directory there, and the target has something else");
	if (!t.live.there) {
		/* of one of the base only what is new below it is made, and then it is needed: see add_made_directory() */
		w->s->plan->dirs[d].wanted = !place.base;
		return 0;
	}
	r = of_view(w, w->s->view, de->ino, &t.with);
	if (r == 0 && place.base)
		r = of_view(w, w->s->base, place.base, &t.base);
	if (r < 0)
		return told(w, r, path);
	if (!place.base)
		return add_row(w, CHANGE_KEEP, path, own);
	/* an overlay's mode or owner: where the target has the base's */
	return !same(&t.base, &t.with) && same(&t.live, &t.base) ? put_meta(w, path, own, &t) : 0;
}

struct gone {
	struct walk *w;
	int result;
};

/* Names of the base that the selection has no more. */
static int look_gone(void *ctx, const struct ply_dirent *de)
{
	struct gone *g = ctx;
	struct walk *w = g->w;
	uint64_t ino;
	int r = find_in(w->s->view, w->dir_ino, de->name, de->len, &ino, w->err);

	/* a directory goes only when it is empty, and that is not for us to say */
	if (r == 0 && !ino && de->type != S_IFDIR >> 12)
		r = MIN(compare(w, de->name, de->len, 0, de->ino), 0);
	g->result = r;
	return r;
}

static int listed(void *ctx, struct ply_err *err)
{
	struct walk *w = ctx;
	struct gone g = { .w = w };
	int r;

	w->err = err;
	if (!w->places[w->dir].base || w->fd < 0)
		return 0;
	r = ply_view_readdir(w->s->base, w->places[w->dir].base, 0, look_gone, &g, err);
	return r < 0 ? r : g.result;
}

/* --- names of one file --------------------------------------------------------------------------------- */

static void links_done(struct links *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].path);
	free(l->v);
}

static int by_ino(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* Of which the target had a name before, though the base knows nothing of it: what was a file of its own is now one that
 * has got more names. */
static int join_links(struct walk *w)
{
	if (w->there.n)
		qsort(w->there.v, w->there.n, sizeof(*w->there.v), by_ino);
	for (size_t i = 0; i < w->fresh.n; i++) {
		const struct linked *f = &w->fresh.v[i], *of = w->there.n ?
			bsearch(f, w->there.v, w->there.n, sizeof(*w->there.v), by_ino) : NULL;
		struct survey_put *p;

		if (!of)
			continue;
		p = add_put(w, f->path, &(struct version){ .ino = f->ino, .c.mode = f->mode });
		if (!p || !(p->link = strdup(of->path)))
			return ply_fail_nomem(w->err);
		p->n = f->n;
		p->staged = true;
	}
	return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------ */

/* Which directories are made is known when all has been looked at. */
static int add_made_directory(struct walk *w, const struct plan *p, uint32_t d)
{
	struct change row = { .kind = CHANGE_MAKE };
	uint32_t up = p->dirs[d].parent;
	int r = set_dir_path(w, p, d);

	if (r < 0)
		return r;
	row.path = (char *)w->path.data;
	row.flags = w->places[up].there ? 0 : CHANGE_INSIDE;
	if (changes_add(&w->s->changes, &row) < 0)
		return ply_fail_nomem(w->err);
	if (!w->places[up].there)
		return 0;
	r = set_dir_path(w, p, up);
	if (r < 0)
		return r;
	cleanup_close(&w->fd);
	w->fd = beneath_open(w->s->target, (char *)w->path.data, w->path.len, O_RDONLY);
	if (w->fd < 0)
		return told(w, (w->err->code = 0, w->fd), (char *)w->path.data);
	return note_dir(w);
}

static void conflicts_done(struct survey_conflict *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].path);
		free(v[i].content);
		free(v[i].target_content);
	}
	free(v);
}

void survey_done(struct survey *s)
{
	changes_done(&s->changes);
	s->changes = (struct changes){ 0 };
	s->plan = plan_free(s->plan);
	for (size_t i = 0; i < s->nputs; i++) {
		free(s->puts[i].path);
		free(s->puts[i].link);
		buf_done(&s->puts[i].text);
	}
	free(s->puts);
	s->puts = NULL;
	s->nputs = s->puts_cap = 0;
	conflicts_done(s->conflicts, s->nconflicts);
	s->conflicts = NULL;
	s->nconflicts = s->conflicts_cap = s->nundecided = 0;
}

int survey_run(struct survey *s, struct ply_err *err)
{
	struct walk w = { .s = s, .fd = -1, .err = err, .decided = s->conflicts, .ndecided = s->nconflicts };
	const struct plan_filter filter = { directory, name, subdirectory, listed, &w };
	struct survey_conflict *before = s->conflicts;
	size_t nbefore = s->nconflicts;
	struct plan *plan = NULL;
	int r;

	s->conflicts = NULL;
	s->nconflicts = s->conflicts_cap = 0;
	survey_done(s);
	r = plan_filtered(s->view, s->block, &filter, s->cancel, &plan, err);
	s->plan = r < 0 ? NULL : plan;     /* on errors it is gone */
	for (size_t d = 1; r == 0 && d < plan->ndirs; d++)
		if (!w.places[d].there && plan->dirs[d].wanted)
			r = add_made_directory(&w, plan, (uint32_t)d);
	if (r == 0)
		r = join_links(&w);
	links_done(&w.there);
	links_done(&w.fresh);
	cleanup_close(&w.fd);
	free(w.places);
	buf_done(&w.path);
	conflicts_done(before, nbefore);
	changes_sort(&s->changes);
	return r;
}
