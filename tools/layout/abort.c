/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking out what an earlier run made: all names of the plan, files first, then directories from the leaves up. Ours is
 * what is marked as being made, or has type, time and size as planned; a symlink to the same, a device of the same
 * number. In a phase that was not committed the size does not count: data may have been lost with the power. What is
 * there beside is somebody's, stays and is told, and with it the directories above it.
 *
 * It may be killed at any moment, and done again: what is not there any more does not matter.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/place.h"
#include "layout/placed.h"

struct job {
	struct layout *l;
	struct stream s;
	const struct abort_keep *keep;     /* NULL: nothing stays */
	bool committed;            /* the phase that is being looked at */
};

struct judged {
	struct job *j;
	const struct file *f;
};

static bool is_ours(void *ctx, int dir, const char *name, const struct stat *st)
{
	struct judged *judged = ctx;
	struct job *j = judged->j;
	const struct file *f = judged->f;
	const struct limits *lim = &j->l->limits;
	const struct ply_node *n = &f->v.node;
	char target[PLY_SYMLINK_MAX + 1], is[PLY_SYMLINK_MAX + 1];
	ssize_t len;

	if ((st->st_mode & S_IFMT) != (n->mode & S_IFMT))
		return false;
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		if (again_is_marked(lim, n, st))
			return true;
		return again_has_time(lim, n, st) && (!j->committed || (uint64_t)st->st_size == f->v.size);
	case S_IFLNK:
		if (place_symlink_target(&j->s, f, target) < 0)
			return again_has_time(lim, n, st);     /* the image cannot tell */
		len = readlinkat(dir, name, is, sizeof(is));
		return len == (ssize_t)n->size && memcmp(is, target, (size_t)len) == 0;
	case S_IFCHR:
	case S_IFBLK:
		return st->st_rdev == place_device(n);
	}
	return true;
}

/* Of what stays something has that name, too: an earlier call may have made it already. */
static bool is_kept(struct job *j, const struct file *f, const struct where *w)
{
	uint64_t dir = j->keep ? j->keep->dirs[w->dir] : 0, ino;

	return dir && ply_view_lookup(j->keep->view, dir, f->name.text, f->name.len, &ino, NULL) == 0;
}

/* @f has its name, and f->dir is open. */
static int remove_name(struct job *j, struct file *f, const struct where *w)
{
	struct judged judged = { .j = j, .f = f };
	int r = away_remove(j->l, w->dir, f->dir, f->name.text, is_ours, &judged);

	if (r == AWAY_FOREIGN && !is_kept(j, f, w))
		layout_leave(j->l, w, "is not the layout's, or was changed");
	return r < 0 ? stream_fail(&j->s, r, w, "remove") : 0;
}

/* What an earlier run could not open is not there: nothing of ours can be in it. */
static bool is_gone(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP;
}

static int remove_entry(struct job *j, const struct where *w)
{
	struct file f;
	int lost, r = place_look_up(&j->s, &f, w, &lost);

	if (r <= 0)
		return r;
	f.dir = stream_dir(&j->s, w->dir);
	if (f.dir < 0)
		return is_gone(f.dir) ? 0 : stream_fail(&j->s, f.dir, w, "open its directory");
	return remove_name(j, &f, w);
}

static int remove_links(struct job *j)
{
	const struct plan *plan = j->l->plan;
	const struct plan_link *first = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->nlinks && !stream_stops(&j->s); i++) {
		const struct plan_link *link = &plan->links[i];
		const struct where w = { .at = link->at, .dir = link->dir, .sub = link->sub };
		struct where from_w;
		struct file f = { .w = &from_w };
		struct name name;
		int lost;

		if (!first || first->ino != link->ino)
			first = link;
		if (link == first || (j->keep && j->keep->subs[link->sub]))
			continue;
		from_w = (struct where){ .at = first->at, .dir = first->dir, .sub = first->sub };
		r = place_link_lost(&j->s, first, link, &f, &name, &lost);
		if (r < 0 || lost >= 0)
			continue;
		f.name = name;
		f.w = &w;
		f.dir = stream_dir(&j->s, link->dir);
		if (f.dir >= 0)
			r = remove_name(j, &f, &w);
		else if (!is_gone(f.dir))
			r = stream_fail(&j->s, f.dir, &w, "open its directory");
	}
	return r;
}

/* Of a sub-image: rows of parts, those of big files too. */
static int remove_sub(struct job *j, uint32_t sub)
{
	const struct plan_sub *ps = &j->l->plan->subs[sub];
	int r = 0;

	for (size_t k = 0; r == 0 && k < ps->nparts; k++)
		for (uint64_t at = ps->parts[k].first; r == 0 && at < ps->parts[k].end && !stream_stops(&j->s); at++)
			r = remove_entry(j, &(struct where){ .at = at, .dir = ps->parts[k].dir, .sub = sub });
	return r;
}

/* --- directories --------------------------------------------------------------------------- */

/* Is the name @name in @dir one that was told already, or a directory that stays for what is in it? */
static bool is_told(const struct job *j, uint32_t dir, const char *name)
{
	const struct plan *plan = j->l->plan;
	char path[PLY_NAME_MAX * 4 + 2];
	size_t len;

	if (plan_find_dir(plan, dir, name))
		return true;
	if (!dir && !j->l->var && !strcmp(name, "var"))
		return true;
	if (dir && dir == j->l->var && !j->l->var_lib && !strcmp(name, "lib"))
		return true;
	path[0] = '/';
	len = 1 + escape_name_to(name, strlen(name), path + 1, sizeof(path) - 1);
	for (size_t i = 0; i < j->l->nleft; i++) {
		const struct left *left = &j->l->left[i];
		size_t n = strlen(left->path);

		if (left->w.dir == dir && n >= len && !strcmp(left->path + n - len, path))
			return true;
	}
	return false;
}

static void tell_rest(struct job *j, uint32_t dir, int at)
{
	int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	if (!d) {
		cleanup_close(&fd);
		return;
	}
	while ((de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") || is_told(j, dir, de->d_name))
			continue;
		if (!dir && !strcmp(de->d_name, "lost+found"))
			continue;
		if (dir == j->l->var_lib && dir && !strcmp(de->d_name, "plyfs"))
			continue;
		layout_leave_name(j->l, dir, de->d_name);
	}
	closedir(d);
}

/* Directories above the state go with it. */
static int remove_directory(struct job *j, uint32_t d)
{
	const struct plan_dir *dir = &j->l->plan->dirs[d];
	const struct where w = { .at = WHERE_DIR, .dir = d };
	char name[PLY_NAME_MAX + 1];
	int at;

	if (d == j->l->var || d == j->l->var_lib) {
		at = stream_dir(&j->s, d);
		if (at >= 0)
			tell_rest(j, d, at);
		return 0;
	}
	at = stream_dir(&j->s, dir->parent);
	if (at < 0)
		return is_gone(at) ? 0 : stream_fail(&j->s, at, &w, "open its directory");
	memcpy(name, dir->name, dir->name_len);
	name[dir->name_len] = '\0';
	if (unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno == ENOTDIR) {
		layout_leave(j->l, &w, "is not the layout's");
		return 0;
	}
	if (errno != ENOTEMPTY && errno != EEXIST)
		return stream_fail(&j->s, -errno, &w, "remove");
	at = stream_dir(&j->s, d);
	if (at >= 0)
		tell_rest(j, d, at);
	return 0;
}

static void note_left_out(struct plan *plan, const struct limits *lim)
{
	for (size_t d = 1; d < plan->ndirs; d++)
		plan->dirs[d].left_out = plan->dirs[plan->dirs[d].parent].left_out ||
					 plan->dirs[d].name_len > lim->name_len;
}

/* --- files that changes have put in place --------------------------------------------------------- */

static bool is_as_placed(void *ctx, int dir, const char *name, const struct stat *st)
{
	(void)st;
	return change_is(dir, name, ctx) == 1;
}

/* The directory of the plan that @path lies in: 1. */
static int find_directory(const struct plan *plan, const char *path, uint32_t *ret)
{
	const char *end;

	*ret = 0;
	for (; (end = strchr(path, '/')); path = end + 1) {
		char name[PLY_NAME_MAX + 1];

		memcpy(name, path, (size_t)(end - path));
		name[end - path] = '\0';
		*ret = plan_find_dir(plan, *ret, name);
		if (!*ret)
			return 0;
	}
	return 1;
}

/* In a directory that has come back with it, of which the plan knows nothing. */
static int remove_unplanned(struct job *j, const struct change *row)
{
	const char *base = strrchr(row->path, '/');
	_cleanup_close_ int dir = beneath_open(j->l->target->fd, row->path, base ? (size_t)(base - row->path) : 0, O_PATH);
	const struct where w = { .at = WHERE_DIR };
	int r = dir;

	base = base ? base + 1 : row->path;
	if (r >= 0)
		r = S_ISDIR(row->before.mode) ? 1 : change_is(dir, base, &row->before);
	if (r > 0 && unlinkat(dir, base, S_ISDIR(row->before.mode) ? AT_REMOVEDIR : 0) < 0)
		r = errno == ENOTEMPTY || errno == EEXIST ? 0 : -errno;    /* what is in it is told by itself */
	return r < 0 && !is_gone(r) ? stream_fail(&j->s, r, &w, "remove what was put back in") : 0;
}

/* A name that the plan has not goes back to no place by itself, where this was killed. */
static int remove_placed(struct job *j, const struct change *row)
{
	const char *base = strrchr(row->path, '/');
	struct where w = { .at = WHERE_DIR };
	struct change_side side = row->before;
	int dir, r;

	base = base ? base + 1 : row->path;
	if (S_ISDIR(row->before.mode) || !find_directory(j->l->plan, row->path, &w.dir))
		return remove_unplanned(j, row);
	dir = stream_dir(&j->s, w.dir);
	if (dir < 0)
		return is_gone(dir) ? 0 : stream_fail(&j->s, dir, &w, "open");
	r = away_forget(j->l, w.dir, base, is_as_placed, &side);
	if (r == 0)
		r = away_remove(j->l, w.dir, dir, base, is_as_placed, &side);
	return r < 0 ? stream_fail(&j->s, r, &w, "remove a file in") : 0;
}

/* Descendants before their directory. What was changed since is not the change's any more; the plan may know it. */
static int remove_all_placed(struct job *j)
{
	struct changes placed;
	int r = placed_read(j->l->state.dir, j->l->target->path, &placed, &j->s.err);

	for (size_t i = placed.n; r == 0 && i-- > 0 && !stream_stops(&j->s);)
		r = remove_placed(j, &placed.v[i]);
	changes_done(&placed);
	return r;
}

void abort_names(struct layout *l, const struct abort_keep *keep)
{
	struct job j = { .l = l, .keep = keep };
	struct plan *plan = l->plan;
	int r;

	note_left_out(plan, &l->limits);
	stream_init(&j.s, l, DIRFDS_MAX);
	j.committed = journal_has(l->state.j.committed, PHASE_LINKS);
	r = keep ? 0 : remove_all_placed(&j);
	if (r == 0)
		r = remove_links(&j);
	for (uint32_t i = 0; r == 0 && i < plan->nsubs; i++) {
		if (keep && keep->subs[i])
			continue;
		j.committed = journal_has(l->state.j.committed, i ? PHASE_OTHERS : PHASE_OS);
		r = remove_sub(&j, i);
	}
	for (size_t d = plan->ndirs; r == 0 && d-- > 1 && !stream_stops(&j.s);)
		if (!plan->dirs[d].left_out && !(keep && keep->dirs[d]))
			r = remove_directory(&j, (uint32_t)d);
	if (r == 0 && !keep)
		tell_rest(&j, 0, l->target->fd);
	if (r < 0 && r != -ECANCELED)
		layout_fail(l, &j.s.err);
	stream_done(&j.s);
}
