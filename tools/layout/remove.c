/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each row of the change that brought a component is turned round, as far as what it made is still as it made it. What
 * somebody has changed since is not the component's any more: it stays, and is told. A file that was merged is where that
 * can be mended: what the component brought goes from what is there by a three-way merge, whose base is the file as it was
 * put there.
 *
 * Nothing of this is written to the target: what comes of it is a change like any other, with its content staged.
 */
#include "layout/remove.h"

#include <dirent.h>
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
#include "format/format.h"
#include "layout/attrs.h"
#include "layout/others.h"
#include "layout/remove_ids.h"
#include "layout/statedir.h"
#include "merge/compose.h"

/* Why a directory does not go. */
enum stays {
	GOES,
	FOR_OTHERS,                /* other components have something in it: it goes with the last of them */
	FOR_GOOD,
};

struct removal {
	struct update *u;
	const struct kept *kept;
	const char *component;
	const struct changes *brought;     /* its table */
	int old, fresh, with, was; /* merge/NAME/old, ...; was: -1: no row needs it */
	int put;                   /* update.new/new */
	int tree;                  /* update.new/tree */
	struct changes *ret;
	struct changes *dirs;      /* rows of CHANGE_KEEP: that are to go with other components */
	struct changes staying;    /* those of this one */
	struct remove_ids ids;     /* of what stays */
	remove_left_fn *left;
	void *ctx;
	size_t nleft;
	uint8_t *stays;            /* enum stays by row of brought: of a directory, something in it does */
	int dir;                   /* of the row, in the target; -1: it is not there */
	const char *name;
	struct others others;      /* at the row's path */
	const struct change_side *back;    /* what is to be there without the component, */
	int back_dir;              /* which lies here, */
	const char *back_name;     /* in merge/NAME */
	struct ply_err *err;
};

static int fail(struct removal *m, int code, const char *path, const char *what)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	return ply_fail(m->err, code, code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
			"%s/%s: cannot %s: %s", m->u->target.path, shown, what, strerror(-code));
}

/* Of what is kept of the component. */
static int fail_kept(struct removal *m, int code, const struct change *row, const char *dir)
{
	char shown[512];

	if (code != -ENOENT && code != -ENOTDIR && code != -EBADF && code != -EINVAL)
		return fail(m, code, row->path, "find what was there before");
	escape_name_to(row->path, strlen(row->path), shown, sizeof(shown));
	return ply_fail(m->err, -EUCLEAN, PLY_R_STATE_DAMAGED, "%s/var/lib/plyfs/merge/%s/%s/%u: is not there, and /%s needs it",
			m->u->target.path, m->component, dir, row->n, shown);
}

/* --- rows ---------------------------------------------------------------------------------- */

static int note_dir(struct removal *m, const char *path)
{
	const char *base = strrchr(path, '/');
	char parent[CHANGE_PATH_MAX + 1];
	struct stat st;
	size_t len = base ? (size_t)(base - path) : 0;

	memcpy(parent, path, len);
	parent[len] = '\0';
	if (fstat(m->dir, &st) < 0)
		return fail(m, -errno, parent, "stat");
	return changes_add_dir(m->ret, parent, st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec) < 0 ?
		ply_fail_nomem(m->err) : 0;
}

static int add(struct removal *m, enum change_kind kind, const struct change *of, const struct change_side *before,
	       const struct change_side *after)
{
	struct change row = { .kind = (uint8_t)kind, .flags = m->dir < 0 ? CHANGE_INSIDE : 0, .path = of->path,
			      .before = *before, .after = *after };

	if (changes_add(m->ret, &row) < 0)
		return ply_fail_nomem(m->err);
	return kind == CHANGE_META || m->dir < 0 ? 0 : note_dir(m, of->path);
}

/* Directories above stay where something in them does. */
static void keep_above(struct removal *m, const char *path, enum stays why)
{
	char above[CHANGE_PATH_MAX + 1], *end;

	strcpy(above, path);
	while ((end = strrchr(above, '/'))) {
		const struct change *row;

		*end = '\0';
		row = changes_find(m->brought, above);
		if (row && m->stays[row - m->brought->v] < why)
			m->stays[row - m->brought->v] = (uint8_t)why;
	}
}

/* What is at @row is told, and stays. */
static int leave(struct removal *m, const struct change *row, const char *why)
{
	int r = m->dir < 0 ? 0 : remove_ids_add_tree(&m->ids, m->dir, m->name);

	m->left(m->ctx, row->path, why);
	m->nleft++;
	keep_above(m, row->path, m->others.n ? FOR_OTHERS : FOR_GOOD);
	return r < 0 ? fail(m, r, row->path, "look at what stays") : 0;
}

/* The number that the next row gets, as a name. */
static void next_number(const struct removal *m, char out[16])
{
	snprintf(out, 16, "%zu", m->ret->n);
}

/* --- files that were merged --------------------------------------------------------------------- */

static int read_text(int dir, const char *name, struct buf *out)
{
	return inroot_read_at(dir, name, MERGE_FILE_MAX, out);
}

/* A file of @text with everything else as what is there has it. */
static int put_text(struct removal *m, const struct change *row, const struct change_side *live, const struct buf *text)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { live->mtime_sec, live->mtime_nsec } };
	char from[64 + 256], to[64], name[16];
	struct change_side after;
	int fd, r;

	next_number(m, name);
	fd = openat(m->put, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(m, -errno, row->path, "write what becomes of it");
	snprintf(from, sizeof(from), "/proc/self/fd/%d/%s", m->dir, m->name);
	snprintf(to, sizeof(to), "/proc/self/fd/%d/%s", m->put, name);
	r = pwrite_full(fd, text->data, text->len, 0);
	if (r == 0 && fchown(fd, live->uid, live->gid) < 0)
		r = -errno;
	if (r == 0)
		r = attrs_copy(from, to);
	if (r == 0 && (fchmod(fd, live->mode & 07777) < 0 || futimens(fd, times) < 0))
		r = -errno;
	close(fd);
	if (r == 0)
		r = change_look(m->put, name, &after);
	return r < 0 ? fail(m, r, row->path, "write what becomes of it") : add(m, CHANGE_SWAP, row, live, &after);
}

/* The very file that was there before, or nothing again. */
static int put_earlier(struct removal *m, const struct change *row, const struct change_side *live)
{
	char from[16], name[16];

	if (!m->back->mode)
		return add(m, CHANGE_OUT, row, live, m->back);
	snprintf(from, sizeof(from), "%u", row->n);
	next_number(m, name);
	if (linkat(m->back_dir, from, m->put, name, 0) < 0)
		return fail_kept(m, -errno, row, m->back_name);
	return add(m, CHANGE_SWAP, row, live, m->back);
}

/* A file of users or groups. */
static bool is_of_ids(const struct change *row)
{
	for (const char *const *path = remove_ids_paths; *path; path++)
		if (!strcmp(row->path, *path))
			return row->kind == CHANGE_SWAP;
	return false;
}

/* Lines of what stays are put to @theirs: 1, there are some. */
static int keep_ids(struct removal *m, const struct change *row, const struct buf *base, struct buf *theirs)
{
	_cleanup_buf_ struct buf out = { 0 };
	int r = buf_add(&out, theirs->data, theirs->len);

	if (r == 0)
		r = remove_ids_lines(&m->ids, row->path, (struct span){ theirs->data, theirs->len },
				     (struct span){ base->data, base->len }, &out);
	if (r > 0) {
		struct buf was = *theirs;

		*theirs = out;
		out = was;
	}
	/* where it is for other components, nothing is left that was not there for them */
	if (r > 0 && m->nleft)
		m->left(m->ctx, row->path, "keeps the lines of whose files stay");
	return r;
}

/* Is @text, with everything else as what is there has it, what was there before, which is @back? */
static bool is_back(const struct removal *m, const struct change_side *live, const struct buf *text, const struct buf *back)
{
	return text->len == back->len && (!text->len || !memcmp(text->data, back->data, text->len)) &&
	       (!m->back->mode || (live->mode == m->back->mode && live->uid == m->back->uid && live->gid == m->back->gid));
}

/* Changed since, or of users: without the component's part. */
static int unmerge(struct removal *m, const struct change *row, const struct change_side *live)
{
	_cleanup_buf_ struct buf base = { 0 }, ours = { 0 }, theirs = { 0 }, text = { 0 };
	_cleanup_free_ char *path = malloc(strlen(row->path) + 2);
	enum merge_why why = MERGE_WHY_NONE;
	char name[16];
	int r, some = 0;

	if (!path)
		return ply_fail_nomem(m->err);
	sprintf(path, "/%s", row->path);
	snprintf(name, sizeof(name), "%u", row->n);
	if (!S_ISREG(live->mode) || !S_ISREG(row->after.mode) || (m->back->mode && !S_ISREG(m->back->mode)) ||
	    (!change_is_unknown(row->after.xattrs) && memcmp(live->xattrs, row->after.xattrs, sizeof(live->xattrs)) != 0))
		return leave(m, row, "was changed since, and stays as it is");
	/* what is that large is not merged, and no copy of it was kept */
	if (row->after.size > MERGE_FILE_MAX || m->back->size > MERGE_FILE_MAX || live->size > MERGE_FILE_MAX)
		return leave(m, row, "was changed since, and stays as it is");
	r = read_text(m->with, name, &base);
	if (r < 0)
		return fail_kept(m, r, row, "with");
	if (m->back->mode)
		r = read_text(m->back_dir, name, &theirs);
	else
		r = buf_reserve(&theirs, 1);       /* a file of no bytes, not none */
	if (r < 0)
		return fail_kept(m, r, row, m->back_name);
	r = read_text(m->dir, m->name, &ours);
	if (r == 0 && is_of_ids(row))
		some = r = keep_ids(m, row, &base, &theirs);
	if (r < 0)
		return fail(m, r, row->path, "read what was merged into it");
	r = merge_compose(path, NULL, (struct span){ base.data, base.len }, (struct span){ ours.data, ours.len },
			  (struct span){ theirs.data, theirs.len }, &text, &why, m->err);
	if (r == -ENOTUNIQ)
		return leave(m, row, "was changed where the component's part is, and stays as it is");
	if (r < 0)
		return r;
	if (!some && is_back(m, live, &text, &theirs))
		return put_earlier(m, row, live);
	if (text.len == ours.len && !memcmp(text.data, ours.data, text.len))
		return 0;
	return put_text(m, row, live, &text);
}

/* --- texts one behind the other --------------------------------------------------------------------- */

/* Does a line of the text that was put there as @part stand in @text? Where that text was not kept: yes. */
static int has_some(struct removal *m, const struct change *row, const struct change_part *part, struct span text, bool *ret)
{
	_cleanup_buf_ struct buf with = { 0 };
	struct span own;
	char name[16];
	size_t at;
	int r;

	*ret = true;
	snprintf(name, sizeof(name), "%u", row->n);
	if (row->kind != CHANGE_SWAP || row->after.size > MERGE_FILE_MAX)
		return 0;
	r = read_text(m->with, name, &with);
	if (r < 0)
		return fail_kept(m, r, row, "with");
	own = (struct span){ with.data, with.len };
	at = part_find(own, part);
	if (at == SIZE_MAX)
		return 0;
	own = (struct span){ own.s + at, part->len };
	*ret = false;
	for (size_t len; own.len && !*ret; own = span_from(own, len)) {
		const uint8_t *end = memchr(own.s, '\n', own.len);
		struct change_part line;

		len = end ? (size_t)(end - own.s) + 1 : own.len;
		part_of((struct span){ own.s, end ? len - 1 : len }, &line);
		*ret = line.len && part_find(text, &line) != SIZE_MAX;
	}
	return 0;
}

static int put_cut(struct removal *m, const struct change *row, const struct change_side *live, const struct buf *text)
{
	_cleanup_buf_ struct buf back = { 0 };
	char name[16];
	int r = 0;

	snprintf(name, sizeof(name), "%u", row->n);
	if (m->back_dir >= 0 && S_ISREG(m->back->mode) && m->back->size == text->len)
		r = read_text(m->back_dir, name, &back);
	if (r < 0)
		return fail_kept(m, r, row, m->back_name);
	if ((m->back->mode ? back.len && back.len == m->back->size : !m->others.n) &&
	    is_back(m, live, text, &back))
		return put_earlier(m, row, live);
	return put_text(m, row, live, text);
}

/* The component's text goes, and all else stays. */
static int cut(struct removal *m, const struct change *row, const struct change_side *live)
{
	_cleanup_buf_ struct buf ours = { 0 }, text = { 0 };
	struct change_part own, before = { .len = m->back->size };
	struct span all;
	bool within, some;
	size_t at;
	int r;

	if (!others_own_part(&m->others, row, &own))
		return leave(m, row, "was changed where the component's part is, and stays as it is");
	if (others_have_part(&m->others, &own))
		return 0;
	r = read_text(m->dir, m->name, &ours);
	if (r == -EFBIG)
		return leave(m, row, "is too large by now to be looked at, and stays as it is");
	if (r < 0)
		return fail(m, r, row->path, "read it");
	all = (struct span){ ours.data, ours.len };
	at = part_find_own(all, &own, m->others.parts, m->others.nparts, &within);
	if (at == SIZE_MAX && within)
		return 0;                  /* another's text has it */
	if (at == SIZE_MAX) {
		r = has_some(m, row, &own, all, &some);
		return r < 0 || !some ? r : leave(m, row, "was changed where the component's part is, and stays as it is");
	}
	memcpy(before.digest, m->back->digest, sizeof(before.digest));
	if (part_cut(all, at, &own, m->others.parts, m->others.nparts, &before, &text) < 0 || buf_reserve(&text, 1) < 0)
		return ply_fail_nomem(m->err);
	return text.len == ours.len && !memcmp(text.data, ours.data, text.len) ? 0 : put_cut(m, row, live, &text);
}

/* --- files that were taken away ------------------------------------------------------------------- */

/* Directories on the way in the tree, which are nothing but that. */
static int make_way(struct removal *m, const char *path, int *ret)
{
	int at = dup(m->tree);
	const char *end;

	for (; at >= 0 && (end = strchr(path, '/')); path = end + 1) {
		char name[256];
		int next;

		memcpy(name, path, (size_t)(end - path));
		name[end - path] = '\0';
		if (mkdirat(at, name, 0700) < 0 && errno != EEXIST) {
			next = -errno;
			close(at);
			return next;
		}
		next = statedir_open(at, name);
		close(at);
		at = next;
	}
	*ret = at;
	return at < 0 ? at : 0;
}

/* Is its directory there, or does that come back too? */
static bool has_place(struct removal *m, const char *path)
{
	char above[CHANGE_PATH_MAX + 1], *end;
	int dir;

	if (m->dir >= 0)
		return true;
	strcpy(above, path);
	while ((end = strrchr(above, '/'))) {
		const struct change *row;

		*end = '\0';
		row = changes_find(m->brought, above);
		if (!row || row->kind != CHANGE_OUT)
			break;
	}
	dir = end ? beneath_open(m->u->target.fd, above, strlen(above), O_PATH) : -1;
	if (dir >= 0)
		close(dir);
	return !end || dir >= 0;
}

/* After all that comes back in it. */
static int make_again(struct removal *m, const struct change *row)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { m->back->mtime_sec, m->back->mtime_nsec } };
	char from[64], to[64], within[CHANGE_PATH_MAX + 3];
	int dir = -1, r;

	snprintf(within, sizeof(within), "%s/.", row->path);
	r = make_way(m, within, &dir);
	if (r < 0)
		return fail(m, r, row->path, "make it again");
	snprintf(from, sizeof(from), "/proc/self/fd/%d/%u", m->back_dir, row->n);
	snprintf(to, sizeof(to), "/proc/self/fd/%d/.", dir);    /* calls with l do not follow it */
	r = fchown(dir, m->back->uid, m->back->gid) < 0 ? -errno : attrs_copy(from, to);
	if (r == 0 && (fchmod(dir, m->back->mode & 07777) < 0 || futimens(dir, times) < 0))
		r = -errno;
	close(dir);
	if (r == -ENOENT)
		return fail_kept(m, r, row, m->back_name);
	return r < 0 ? fail(m, r, row->path, "make it again") : 0;
}

static int link_again(struct removal *m, const struct change *row)
{
	const char *base = strrchr(row->path, '/');
	char from[16];
	int dir = -1, r = make_way(m, row->path, &dir);

	snprintf(from, sizeof(from), "%u", row->n);
	if (r < 0)
		return fail(m, r, row->path, "make its directories");
	if (linkat(m->back_dir, from, dir, base ? base + 1 : row->path, 0) < 0)
		r = fail_kept(m, -errno, row, m->back_name);
	close(dir);
	return r;
}

static int put_back(struct removal *m, const struct change *row)
{
	int r;

	if (!m->back->mode || !has_place(m, row->path))
		return 0;
	r = S_ISDIR(m->back->mode) ? make_again(m, row) : link_again(m, row);
	return r < 0 ? r : add(m, CHANGE_MAKE, row, &(struct change_side){ 0 }, m->back);
}

/* --- one row ------------------------------------------------------------------------------------------ */

static int keep_dir(struct removal *m, struct changes *to, const char *path, const struct change_side *side)
{
	struct change row = { .kind = CHANGE_KEEP, .comp = CHANGE_COMP_NONE, .path = (char *)path, .before = *side };

	return changes_add(to, &row) < 0 ? ply_fail_nomem(m->err) : 0;
}

static int turn_made(struct removal *m, const struct change *row, const struct change_side *live)
{
	if (!live->mode)
		return 0;
	/* others have found it there: it goes with the last of them */
	if (change_same(live, &row->after) && kept_has(m->kept, row->path, m->component)) {
		keep_above(m, row->path, FOR_OTHERS);
		return m->others.shared || kept_makes(m->kept, row->path, m->component) ? 0 : keep_dir(m, &m->staying, row->path, live);
	}
	if (change_same(live, &row->after) || change_same_but_time(live, &row->after))
		return add(m, CHANGE_OUT, row, live, &(struct change_side){ 0 });
	keep_above(m, row->path, FOR_GOOD);
	return leave(m, row, "was changed since, and stays");
}

/* What comes back: with the last of several components what was there before the first. */
static void choose_back(struct removal *m, const struct change *row)
{
	bool last = row->flags & CHANGE_SHARED && !m->others.n;

	m->back = last ? &row->more->was : &row->before;
	m->back_dir = last ? m->was : row->kind == CHANGE_OUT ? m->old : row->kind == CHANGE_SWAP ? m->fresh : -1;
	m->back_name = last ? "was" : row->kind == CHANGE_OUT ? "old" : "new";
}

/* In nothing but owner and mode; changing these costs extended attributes. */
static bool differs_in_meta(const struct change_side *live, const struct change_side *back)
{
	static const uint8_t none[sizeof(live->xattrs)];
	struct change_side as = *back;

	as.mode = (back->mode & S_IFMT) | (live->mode & 07777);
	as.uid = live->uid;
	as.gid = live->gid;
	return back->mode && !memcmp(live->xattrs, none, sizeof(none)) && !change_same(live, back) &&
	       change_same(live, &as);
}

static int turn_swapped(struct removal *m, const struct change *row, const struct change_side *live)
{
	const struct change_side *is = row->kind == CHANGE_KEEP ? &row->before : &row->after;

	if (change_same(live, m->back))
		return 0;
	if (change_same(live, is) && differs_in_meta(live, m->back))
		return add(m, CHANGE_META, row, live, m->back);
	if (change_same(live, is) && !is_of_ids(row))
		return put_earlier(m, row, live);
	if (!live->mode)
		return leave(m, row, "was removed since");
	return row->kind == CHANGE_SWAP ? unmerge(m, row, live) : leave(m, row, "was changed since, and stays as it is");
}

/* --- attributes of directories ------------------------------------------------------------------- */

/* Attributes of a directory as they are, and as they were, in @dir. */
static int make_carriers(struct removal *m, const struct change *row, const struct change_side *live,
			 const struct change_side *to, int dir)
{
	_cleanup_close_ int old = statedir_make(m->u->up, "old", 0700);
	char from[64 + PLY_NAME_MAX], name[16];
	int r;

	if (old == -EEXIST)
		old = statedir_open(m->u->up, "old");
	next_number(m, name);
	snprintf(from, sizeof(from), "/proc/self/fd/%d/%s", m->dir, m->name);
	r = old < 0 ? old : attrs_carrier(old, name, from, live->mode, NULL, 0, NULL, false, m->err);
	snprintf(from, sizeof(from), "/proc/self/fd/%d/%u", dir, row->n);
	if (r < 0)
		return fail(m, r, row->path, "keep its extended attributes");
	r = attrs_carrier(m->put, name, from, to->mode, NULL, 0, NULL, false, m->err);
	if (r == -ENOENT)
		return fail_kept(m, r, row, dir == m->was ? "was" : "old");
	return r < 0 ? fail(m, r, row->path, "keep its extended attributes") : 0;
}

/* Where @row has it of: with the last of several components it is what was there before the first. */
static const struct change_side *attr_back(struct removal *m, const struct change *row, enum change_attr attr)
{
	bool last = row->flags & CHANGE_SHARED && !others_have_attr(m->kept, m->component, row->path, NULL, attr);

	return last && !change_same_attr(&row->more->was, &row->before, attr) ? &row->more->was : &row->before;
}

/* Each goes back by itself. What is there as another one has it stays for that. */
static int turn_attrs(struct removal *m, const struct change *row, const struct change_side *live)
{
	struct change_side to = *live;
	bool changed = false;
	int dir = -1;

	if (!S_ISDIR(live->mode))
		return row->kind == CHANGE_META && live->mode ? leave(m, row, "was changed since, and stays as it is") : 0;
	for (int attr = 0; attr < CHANGE_ATTRS; attr++) {
		const struct change_side *back = attr_back(m, row, attr);

		if (change_same_attr(back, &row->after, attr) || change_same_attr(back, live, attr) ||
		    others_have_attr(m->kept, m->component, row->path, live, attr))
			continue;
		changed |= !change_same_attr(live, &row->after, attr);
		change_take_attr(&to, back, attr);
		if (attr == CHANGE_XATTRS)
			dir = back == &row->before ? m->old : m->was;
	}
	if (changed)
		return leave(m, row, "was changed since, and stays as it is");
	if (change_same(live, &to))
		return 0;
	if (!change_same_attr(live, &to, CHANGE_XATTRS)) {
		int r = make_carriers(m, row, live, &to, dir);

		if (r < 0)
			return r;
	}
	return add(m, CHANGE_META, row, live, &to);
}

static int turn_meta(struct removal *m, const struct change *row, const struct change_side *live)
{
	if (!change_same(live, &row->after))
		return live->mode && !change_same(live, m->back) ? leave(m, row, "was changed since, and stays as it is") : 0;
	return add(m, CHANGE_META, row, live, m->back);
}

static int turn_kind(struct removal *m, const struct change *row, const struct change_side *live)
{
	static const struct change_side nothing;

	switch (row->kind) {
	case CHANGE_MAKE:
		return turn_made(m, row, live);
	case CHANGE_KEEP:
		return row->flags & CHANGE_SHARED && !m->others.n ? turn_swapped(m, row, live) : 0;
	case CHANGE_SWAP:
		return turn_swapped(m, row, live);
	case CHANGE_OUT:
		if (!live->mode)
			return put_back(m, row);
		if (S_ISDIR(live->mode) && S_ISDIR(m->back->mode))
			return 0;
		if (!change_same(live, &nothing) && !change_same(live, m->back))
			return leave(m, row, "is there again, and stays");
		return 0;
	case CHANGE_META:
		return turn_meta(m, row, live);
	}
	return 0;
}

/* By what others have there, too. */
static int turn_among(struct removal *m, const struct change *row, const struct change_side *live)
{
	const struct others *o = &m->others;
	char why[PLY_SUB_NAME_MAX + 128];

	if (is_of_ids(row))
		return o->same ? 0 : turn_kind(m, row, live);
	/* what is there is another's, edited or not */
	if ((o->wins || (row->flags & CHANGE_LOST && o->n)) && row->kind != CHANGE_KEEP && !change_same(live, &row->after))
		return 0;
	if (S_ISREG(live->mode) && (row->flags & CHANGE_PART || (o->appended && row->kind == CHANGE_MAKE)))
		return cut(m, row, live);
	if (o->lost && live->mode && row->kind != CHANGE_KEEP) {
		snprintf(why, sizeof(why), "stays for component %s, whose own file is not at hand: lay that out anew to have it",
			 o->lost);
		return leave(m, row, why);
	}
	if (row->kind != CHANGE_MAKE && row->kind != CHANGE_KEEP && live->mode && o->needs)
		return leave(m, row, "is as another component has it too, and stays");
	if ((row->kind == CHANGE_META || row->kind == CHANGE_KEEP) && S_ISDIR(row->before.mode))
		return row->flags & CHANGE_LOST ? 0 : turn_attrs(m, row, live);
	if (row->flags & CHANGE_WINS && o->n && !o->before && change_same(live, &row->after))
		return leave(m, row, "stays for other components, whose own file is not at hand: lay these out anew to have it");
	return row->kind != CHANGE_MAKE && o->same ? 0 : turn_kind(m, row, live);
}

/* Is what is at the row's path to go, or not there? */
static bool goes(const struct removal *m, const struct change_side *live, size_t before)
{
	const struct change *last = m->ret->n > before ? &m->ret->v[m->ret->n - 1] : NULL;

	return last ? last->kind == CHANGE_OUT : !live->mode;
}

static int turn_file(struct removal *m, const struct change *row)
{
	struct change_side live = { 0 };
	size_t before = m->ret->n;
	int r = m->dir < 0 ? 0 : change_look(m->dir, m->name, &live);

	if (r < 0)
		return fail(m, r, row->path, "look at it");
	if (others_look(m->kept, m->component, row, &live, &m->others) < 0)
		r = ply_fail_nomem(m->err);
	choose_back(m, row);
	if (r == 0)
		r = turn_among(m, row, &live);
	if (r == 0 && !goes(m, &live, before))
		keep_above(m, row->path, m->others.n ? FOR_OTHERS : FOR_GOOD);
	others_done(&m->others);
	m->others = (struct others){ 0 };
	return r;
}

static int look_at_name(struct removal *m, const char *dir, int fd, const char *name, enum stays *ret)
{
	_cleanup_free_ char *path = malloc(strlen(dir) + strlen(name) + 2);
	int r;

	if (!path)
		return ply_fail_nomem(m->err);
	sprintf(path, "%s/%s", dir, name);
	if (changes_find(m->brought, path))
		return 0;
	if (kept_has(m->kept, path, m->component) || changes_find(&m->kept->dirs, path)) {
		*ret = MAX(*ret, FOR_OTHERS);
		return 0;
	}
	m->left(m->ctx, path, "is none of the component's, and stays");
	m->nleft++;
	*ret = FOR_GOOD;
	r = remove_ids_add_tree(&m->ids, fd, name);
	return r < 0 ? fail(m, r, path, "look at what stays") : 0;
}

/* What is in it and none of the component's. */
static int look_inside(struct removal *m, const char *path, enum stays *ret)
{
	int fd = openat(m->dir, m->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	if (!d) {
		r = -errno;
		cleanup_close(&fd);
		return fail(m, r, path, "list");
	}
	while (r == 0 && (de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			r = look_at_name(m, path, fd, de->d_name, ret);
	closedir(d);
	return r;
}

/* What is no directory cannot take the place of one in the same change. */
static void tell_lost(struct removal *m, const struct change *row)
{
	char why[PLY_SUB_NAME_MAX + 128];
	const struct change *to;
	const char *name;

	if (kept_makes(m->kept, row->path, m->component))
		return;
	if (row->flags & CHANGE_LOST) {
		m->left(m->ctx, row->path, "was a file of the operating system before, which is not at hand and is not put back");
		m->nleft++;
	}
	for (size_t at = 0; (to = kept_next(m->kept, row->path, m->component, &at, &name));) {
		if (!(to->flags & CHANGE_LOST))
			continue;
		snprintf(why, sizeof(why), "had a file of component %s in its place, which is not at hand: lay that out anew to have it",
			 name);
		m->left(m->ctx, row->path, why);
		m->nleft++;
	}
}

/* After all that is in it. */
static int turn_directory(struct removal *m, size_t i)
{
	const struct change *row = &m->brought->v[i];
	enum stays stays = (enum stays)m->stays[i];
	struct change_side live = { 0 };
	int r = m->dir < 0 ? 0 : change_look(m->dir, m->name, &live);

	if (r < 0)
		return fail(m, r, row->path, "look at it");
	if (!S_ISDIR(live.mode))
		return turn_made(m, row, &live);
	r = look_inside(m, row->path, &stays);
	if (r < 0)
		return r;
	tell_lost(m, row);
	if (stays == GOES)
		return add(m, CHANGE_OUT, row, &live, &(struct change_side){ 0 });
	keep_above(m, row->path, stays);
	if (remove_ids_add(&m->ids, live.uid, live.gid) < 0)
		return ply_fail_nomem(m->err);
	/* another one that has made it too takes it along */
	return stays == FOR_OTHERS && !kept_makes(m->kept, row->path, m->component) ?
		keep_dir(m, &m->staying, row->path, &live) : 0;
}

static int open_parent(struct removal *m, const char *path)
{
	const char *base = strrchr(path, '/');

	m->name = base ? base + 1 : path;
	m->dir = beneath_open(m->u->target.fd, path, base ? (size_t)(base - path) : 0, O_RDONLY);
	return m->dir < 0 && m->dir != -ENOENT && m->dir != -ENOTDIR && m->dir != -ELOOP ?
		fail(m, m->dir, path, "open its directory") : 0;
}

static void close_parent(struct removal *m)
{
	cleanup_close(&m->dir);
	m->dir = -1;
}

static int turn(struct removal *m, size_t i)
{
	const struct change *row = &m->brought->v[i];
	int r = open_parent(m, row->path);

	if (r == 0)
		r = row->kind == CHANGE_MAKE && S_ISDIR(row->after.mode) ? turn_directory(m, i) : turn_file(m, row);
	close_parent(m);
	return r;
}

/* --- directories that stay for others ------------------------------------------------------------- */

/* Will all of it have gone? m->ret is sorted but for what has come from @first on. */
static int is_emptied(struct removal *m, const struct change *row, size_t first, bool *ret)
{
	int fd = openat(m->dir, m->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	struct changes sorted = { .v = m->ret->v, .n = first };
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	*ret = d;
	if (!d) {
		cleanup_close(&fd);
		return 0;
	}
	while (r == 0 && *ret && (de = readdir(d))) {
		_cleanup_free_ char *path = malloc(strlen(row->path) + strlen(de->d_name) + 2);
		const struct change *out;

		if (!path) {
			r = ply_fail_nomem(m->err);
			break;
		}
		sprintf(path, "%s/%s", row->path, de->d_name);
		out = changes_find(&sorted, path);
		for (size_t i = first; i < m->ret->n; i++)
			if (!strcmp(m->ret->v[i].path, path))
				out = &m->ret->v[i];
		*ret = (out && out->kind == CHANGE_OUT) || !strcmp(de->d_name, ".") || !strcmp(de->d_name, "..");
	}
	closedir(d);
	return r;
}

static int turn_staying(struct removal *m, const struct change *row, size_t first)
{
	struct change_side live = { 0 };
	bool emptied = false;
	int r = open_parent(m, row->path);

	if (r == 0 && m->dir >= 0) {
		r = change_look(m->dir, m->name, &live);
		if (r < 0)
			fail(m, r, row->path, "look at it");
	}
	if (r == 0 && S_ISDIR(live.mode) && !kept_makes(m->kept, row->path, m->component))
		r = is_emptied(m, row, first, &emptied);
	else if (r == 0 && live.mode && !kept_has(m->kept, row->path, m->component))
		emptied = change_same(&live, &row->before);
	if (r == 0 && emptied)
		r = add(m, CHANGE_OUT, row, &live, &(struct change_side){ 0 });
	else if (r == 0 && (S_ISDIR(live.mode) || (live.mode && kept_has(m->kept, row->path, m->component))))
		r = keep_dir(m, m->dirs, row->path, S_ISDIR(live.mode) ? &live : &row->before);
	close_parent(m);
	return r;
}

/* Also those that stayed when other components went: what is emptied now goes too. */
static int turn_staying_dirs(struct removal *m)
{
	const struct changes *earlier = &m->kept->dirs;
	size_t first = m->ret->n;
	int r = 0;

	for (size_t i = 0; r == 0 && i < earlier->n; i++) {
		const struct change *row = changes_find(m->brought, earlier->v[i].path);

		if (!row || row->kind != CHANGE_MAKE)
			r = keep_dir(m, &m->staying, earlier->v[i].path, &earlier->v[i].before);
	}
	changes_sort(m->ret);
	changes_sort(&m->staying);
	for (size_t i = m->staying.n; r == 0 && i-- > 0;)
		r = turn_staying(m, &m->staying.v[i], first);
	return r;
}

/* --- the whole --------------------------------------------------------------------------------------------- */

/* What was there before is in the directory of the component's change. */
static int open_merge(struct removal *m)
{
	_cleanup_close_ int merge = statedir_open(m->u->dir, "merge");
	_cleanup_close_ int of = merge < 0 ? merge : statedir_open(merge, m->component);

	if (of < 0)
		return update_fail(m->u, of, "merge", "open", m->err);
	m->old = statedir_open(of, "old");
	m->fresh = statedir_open(of, "new");
	m->with = statedir_open(of, "with");
	m->was = statedir_open(of, "was");
	return m->fresh >= 0 && m->with >= 0 ? 0 :
		ply_fail(m->err, -EUCLEAN, PLY_R_STATE_DAMAGED,
			 "%s/var/lib/plyfs/merge/%s: lacks new, or with, which have what was there before", m->u->target.path,
			 m->component);
}

static void removal_done(struct removal *m)
{
	int *const fds[] = { &m->old, &m->fresh, &m->with, &m->was, &m->put, &m->tree };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		cleanup_close(fds[i]);
	changes_done(&m->staying);
	remove_ids_done(&m->ids);
	free(m->stays);
}

int remove_check(const struct update *u, const struct kept *kept, const char *name, struct ply_err *err)
{
	int done = statedir_open(u->dir, "done");
	bool there = done >= 0 && sub_name_ok(name, strlen(name), true) &&
		     faccessat(done, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;

	cleanup_close(&done);
	if (kept_find(kept, name))
		return 0;
	return ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN,
			there ? "%s: component %s came with the operating system, and can only go with it (--abort --all)" :
				"%s: component %s was not laid out there", u->target.path, name);
}

static int make_dirs(struct removal *m)
{
	m->put = statedir_make(m->u->up, "new", 0700);
	m->tree = m->put < 0 ? -1 : statedir_make(m->u->up, "tree", 0700);
	return m->put < 0 ? m->put : MIN(m->tree, 0);
}

static int turn_all(struct removal *m)
{
	int r = remove_ids_add_kept(&m->ids, m->kept, m->component) < 0 ? ply_fail_nomem(m->err) : 0;

	/* descendants stand behind their directory */
	for (size_t i = m->brought->n; r == 0 && i-- > 0;)
		if (!is_of_ids(&m->brought->v[i]))
			r = turn(m, i);
	for (const char *const *path = remove_ids_paths; r == 0 && *path; path++) {
		const struct change *row = changes_find(m->brought, *path);

		if (row && is_of_ids(row))
			r = turn(m, (size_t)(row - m->brought->v));
	}
	return r < 0 ? r : turn_staying_dirs(m);
}

static int describe(struct removal *m)
{
	struct changes *c = m->ret;

	c->kind = CHANGES_REMOVE;
	memcpy(c->uuid, m->brought->uuid, sizeof(c->uuid));
	memcpy(c->catalog, m->brought->catalog, sizeof(c->catalog));
	c->generation = m->brought->generation;
	c->image = strdup(m->brought->image ? m->brought->image : "");
	return !c->image || changes_add_name(c, m->component) < 0 ? ply_fail_nomem(m->err) : 0;
}

int remove_stage(struct update *u, const struct kept *kept, const char *name, struct changes *ret, struct changes *dirs,
		 remove_left_fn *left, void *ctx, struct ply_err *err)
{
	struct removal m = { .u = u, .kept = kept, .component = name, .brought = kept_find(kept, name), .old = -1, .fresh = -1,
			     .with = -1, .was = -1, .put = -1, .tree = -1, .ret = ret, .dirs = dirs, .left = left, .ctx = ctx, .dir = -1,
			     .err = err };
	int r = open_merge(&m);

	if (r == 0) {
		r = make_dirs(&m);
		if (r < 0)
			update_fail(u, r, "update.new", "create a directory in", err);
	}
	m.stays = calloc(m.brought->n + 1, sizeof(*m.stays));
	if (r == 0 && !m.stays)
		r = ply_fail_nomem(err);
	if (r == 0)
		r = turn_all(&m);
	if (r == 0)
		r = describe(&m);
	changes_sort(ret);
	changes_sort(dirs);
	removal_done(&m);
	return r;
}
