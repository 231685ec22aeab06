/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata walk: see scan.h.
 *
 * Local file systems that are mounted below the root are walked through; at the mount points of the
 * others the tree has an empty directory. Nothing of what is mounted there is asked, so that
 * a dead server cannot stop us: mountinfo says where they are, and the directory that lies below is looked at
 * through a private clone of the mount around it (open_tree, CAP_SYS_ADMIN). Without that right it is
 * the mounted directory's attributes that are seen.
 *
 * Several threads take directories from the one array that they fill: it is the queue. A
 * directory's names are looked at in order of their inode numbers, which is the order on the
 * disk, and then sorted bytewise; so the tree does not depend on the number of threads, only the
 * places in the array do. Rejected: one thread (cold, it waits for one inode at a time) and
 * nftw (no *at calls, a path per file).
 *
 * Locking: everything in struct walk below `lock` is under it; a worker fills its own
 * listing without it.
 */
#include "capture/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/map.h"
#include "base/mnt.h"
#include "base/pool.h"
#include "base/util.h"
#include "capture/mountset.h"
#include "codec/codec.h"
#include "plyfs/disk.h"

struct found {                     /* one name of the directory in hand */
	struct scan_node node;
	uint64_t dev, ino;
	size_t name, target;       /* in listing.text */
	bool many_names;
};

struct listing {
	struct found *v;
	size_t n, cap;
	struct buf text;
};

struct link {
	uint64_t dev, ino;
	uint32_t node;             /* the first name found */
};

struct walk {
	struct scan *s;
	const struct scan_options *o;
	struct mountset mounts;    /* `below` of its rows is under the lock */
	bool root_is_mount;

	pthread_mutex_t lock;
	pthread_cond_t more;
	size_t next;               /* nodes before it are taken or no directories */
	unsigned active;           /* directories under way */
	int failed;
	struct ply_err err;
	struct map links;          /* hash of dev and ino -> row */
	struct link *link;
	size_t nlinks, link_cap, group_ids_cap;
};

const char *scan_why_text(enum scan_why why)
{
	switch (why) {
	case SCAN_WHY_KERNEL:
		return "a file system of the kernel";
	case SCAN_WHY_TEMPORARY:
		return "a temporary file system";
	case SCAN_WHY_NETWORK:
		return "a network or FUSE file system";
	case SCAN_WHY_REMOVABLE:
		return "a removable medium";
	case SCAN_WHY_LOCAL:
		return "another local file system";
	case SCAN_WHY_READ_ONLY:
		return "an image or an overlay of what lies elsewhere";
	case SCAN_WHY_AGAIN:
		return "mounted a second time; it is captured at its other place";
	case SCAN_WHY_UNKNOWN:
		return "mounted while it was captured, or in another mount namespace";
	case SCAN_WHY_IMAGE:
		return "the image itself";
	case SCAN_WHY_VANISHED:
		return "disappeared while it was read";
	}
	return "";
}

static int note(struct scan *s, const char *path, enum scan_why why, const char *type)
{
	struct scan_note n = { .path = strdup(path), .why = why };

	if (!n.path || array_grow(&s->left_out, &s->left_out_cap, s->nleft_out + 1, sizeof(n)) < 0) {
		free(n.path);
		return -ENOMEM;
	}
	snprintf(n.type, sizeof(n.type), "%s", type);
	s->left_out[s->nleft_out++] = n;
	return 0;
}

/* --- one directory ------------------------------------------------------------- */

static bool is_excluded(const struct walk *w, const char *path)
{
	if (!strcmp(path, "var/lib/plyfs"))
		return true;
	for (size_t i = 0; i < w->o->nexclude; i++)
		if (scan_glob(w->o->exclude[i], path))
			return true;
	return false;
}

static bool is_skipped(const struct walk *w, const struct found *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(w->o->skip); i++)
		if (f->ino && f->ino == w->o->skip[i].ino && f->dev == w->o->skip[i].dev)
			return true;
	return false;
}

static int by_ino(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int by_name(const void *a, const void *b, void *ctx)
{
	const char *text = ctx;

	return strcmp(text + ((const struct found *)a)->name, text + ((const struct found *)b)->name);
}

static int read_names(int fd, struct listing *l)
{
	struct dirent *de;
	DIR *dir;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME), r;

	if (copy < 0 && errno == EPERM)
		copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0)
		return -errno;
	dir = fdopendir(copy);
	if (!dir) {
		close(copy);
		return -ENOMEM;
	}
	l->n = 0;
	l->text.len = 0;
	while ((errno = 0, de = readdir(dir))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (array_grow(&l->v, &l->cap, l->n + 1, sizeof(*l->v)) < 0)
			break;
		l->v[l->n++] = (struct found){ .ino = de->d_ino, .name = l->text.len };
		if (buf_add(&l->text, de->d_name, strlen(de->d_name) + 1) < 0)
			break;
	}
	if (de)
		errno = ENOMEM;
	r = -errno;
	closedir(dir);
	return r;
}

static int read_target(int fd, struct listing *l, struct found *f)
{
	char target[PLY_SYMLINK_MAX + 1];
	ssize_t n = readlinkat(fd, (char *)l->text.data + f->name, target, sizeof(target));

	if (n < 0)
		return -errno;
	if (n == (ssize_t)sizeof(target))
		return -ENAMETOOLONG;
	target[n] = '\0';
	f->target = l->text.len;
	f->node.size = (uint64_t)n;
	return buf_add(&l->text, target, (size_t)n + 1);
}

#define FLAGS (STATX_ATTR_COMPRESSED | STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_NODUMP)

/*
 * 1: is in the tree; 0: is not. @m: what is mounted there, or NULL; a directory where something is mounted
 * that the table does not know is left out too: it appeared meanwhile, or @fd lies in another
 * mount namespace.
 */
static int look(struct walk *w, int fd, struct listing *l, struct found *f, const struct mountpoint *m)
{
	const char *name = (const char *)l->text.data + f->name;
	struct statx st;
	int r = -1;

	if (strlen(name) > PLY_NAME_MAX)
		return -ENAMETOOLONG;
	if (m && !m->is_crossed) {
		pthread_mutex_lock(&w->lock);
		r = mountset_stat_below(&w->mounts, w->s->root, m->path, &st);
		pthread_mutex_unlock(&w->lock);
		/* a file with another mounted over it cannot be read: it is taken as it is seen */
		if (r == 0 && !S_ISDIR(st.stx_mode))
			r = -1;
	}
	if (r < 0 && statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.stx_mode) && (m ? !m->is_crossed : st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		f->node.flags |= SCAN_LEFT_OUT;
	if (st.stx_attributes & FLAGS)
		f->node.flags |= SCAN_FLAGGED;
	f->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	f->ino = st.stx_ino;
	f->many_names = st.stx_nlink > 1 && !S_ISDIR(st.stx_mode);
	f->node.mode = st.stx_mode;
	f->node.uid = st.stx_uid;
	f->node.gid = st.stx_gid;
	f->node.mtime_sec = st.stx_mtime.tv_sec;
	f->node.mtime_nsec = st.stx_mtime.tv_nsec;
	f->node.name_len = (uint8_t)strlen(name);
	if (S_ISREG(st.stx_mode)) {
		f->node.size = st.stx_size;
		if (faccessat(fd, name, R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0 && errno == EACCES)
			f->node.flags |= SCAN_UNREADABLE;
	} else if (S_ISBLK(st.stx_mode) || S_ISCHR(st.stx_mode)) {
		f->node.size = (uint64_t)st.stx_rdev_major << 32 | st.stx_rdev_minor;
	} else if (S_ISLNK(st.stx_mode)) {
		r = read_target(fd, l, f);
		if (r < 0)   /* EINVAL: it is no symlink any more */
			return r == -ENOENT || r == -EINVAL ? 0 : r;
	}
	return 1;
}

/* Fills @l with what belongs to the tree, sorted. @path: of the directory, "" for the root. */
static int list_dir(struct walk *w, int fd, const char *path, struct listing *l,
		    struct scan *notes)
{
	_cleanup_buf_ struct buf full = { 0 };
	const struct mountpoint *here = mountset_at(&w->mounts, path);
	bool is_top = here && *path ? here->is_crossed : !*path && w->root_is_mount;
	size_t kept = 0, base = strlen(path);
	int r = read_names(fd, l);

	if (r < 0)
		return r;
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_ino);
	if (buf_add(&full, path, base) < 0 || (base && buf_add(&full, "/", 1) < 0))
		return -ENOMEM;
	base = full.len;
	for (size_t i = 0; i < l->n; i++) {
		struct found *f = &l->v[i];
		const char *name = (const char *)l->text.data + f->name;
		const struct mountpoint *m;

		full.len = base;
		if (buf_add(&full, name, strlen(name) + 1) < 0)
			return -ENOMEM;
		if (is_excluded(w, (const char *)full.data))
			continue;
		m = mountset_at(&w->mounts, (const char *)full.data);
		r = look(w, fd, l, f, m);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (is_skipped(w, f)) {
			if (note(notes, (const char *)full.data, SCAN_WHY_IMAGE, "") < 0)
				return -ENOMEM;
			continue;
		}
		if (is_top && !strcmp(name, "lost+found") && S_ISDIR(f->node.mode) && f->node.uid == 0)
			continue;
		if (f->node.flags & SCAN_LEFT_OUT &&
		    note(notes, (const char *)full.data, m ? m->why : SCAN_WHY_UNKNOWN, m ? m->type : "") < 0)
			return -ENOMEM;
		l->v[kept++] = *f;
	}
	l->n = kept;
	if (l->n)
		qsort_r(l->v, l->n, sizeof(*l->v), by_name, l->text.data);
	return 0;
}

/* --- the tree -------------------------------------------------------------------- */

/* The group of a file with several names, from the first that was found. */
static int tie(struct walk *w, const struct found *f, uint32_t node)
{
	uint64_t key[2] = { f->dev, f->ino }, h = xxh3(key, sizeof(key), 0);
	struct scan *s = w->s;

	for (size_t i = map_first(&w->links, h); i != MAP_END; i = map_next(&w->links, h, i)) {
		const struct link *l = &w->link[w->links.slots[i].value];

		if (l->dev != f->dev || l->ino != f->ino)
			continue;
		if (!s->nodes[l->node].group) {
			if (array_grow(&s->group_ids, &w->group_ids_cap, s->ngroups + 2,
				       sizeof(*s->group_ids)) < 0)
				return -ENOMEM;
			s->nodes[l->node].group = ++s->ngroups;
			s->group_ids[s->ngroups] = (struct scan_id){ f->dev, f->ino };
		}
		s->nodes[node].group = s->nodes[l->node].group;
		return 1;
	}
	if (array_grow(&w->link, &w->link_cap, w->nlinks + 1, sizeof(*w->link)) < 0 ||
	    map_add(&w->links, h, w->nlinks) < 0)
		return -ENOMEM;
	w->link[w->nlinks++] = (struct link){ f->dev, f->ino, node };
	return 0;
}

static int append(struct walk *w, uint32_t dir, const struct listing *l)
{
	struct scan *s = w->s;
	uint64_t bytes = 0;

	if (s->n + l->n >= SCAN_NONE || s->names.len + l->text.len >= UINT32_MAX)
		return -EOVERFLOW;
	if (array_grow(&s->nodes, &s->cap, s->n + l->n, sizeof(*s->nodes)) < 0)
		return -ENOMEM;
	s->nodes[dir].first_child = (uint32_t)s->n;
	s->nodes[dir].nchildren = (uint32_t)l->n;
	for (size_t i = 0; i < l->n; i++) {
		const struct found *f = &l->v[i];
		const char *text = (const char *)l->text.data;
		struct scan_node *n = &s->nodes[s->n];
		int r = 0;

		*n = f->node;
		n->parent = dir;
		n->name = (uint32_t)s->names.len;
		if (buf_add(&s->names, text + f->name, (size_t)n->name_len + 1) < 0)
			return -ENOMEM;
		if (S_ISLNK(n->mode)) {
			n->first_child = (uint32_t)s->names.len;
			if (buf_add(&s->names, text + f->target, n->size + 1) < 0)
				return -ENOMEM;
		}
		if (f->many_names && (r = tie(w, f, (uint32_t)s->n)) < 0)
			return r;
		if (S_ISREG(n->mode) && r == 0)
			bytes += n->size;
		s->n++;
	}
	s->bytes += bytes;
	if (w->o->counters) {
		atomic_fetch_add(&w->o->counters->files, l->n);
		atomic_fetch_add(&w->o->counters->bytes, bytes);
	}
	return 0;
}

static int fail_at(struct walk *w, const char *path, int r)
{
	char shown[256];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	if (r == -ENAMETOOLONG)
		return ply_fail(&w->err, r, PLY_R_LIMIT, "/%s: holds a name of more than %u bytes, or a longer symlink than %u",
				shown, PLY_NAME_MAX, PLY_SYMLINK_MAX);
	if (r == -EOVERFLOW)
		return ply_fail(&w->err, r, PLY_R_LIMIT, "/%s: more files than this version can capture at once (4 billion names)",
				shown);
	return ply_fail(&w->err, r, PLY_R_ROOT_UNREADABLE, "/%s: cannot be read: %s", shown,
			strerror(-r));
}

/* The next directory to list, with its path; false: all are done. Called with the lock. */
static bool take(struct walk *w, uint32_t *ret, struct buf *path)
{
	struct scan *s = w->s;

	for (;;) {
		while (w->next < s->n && (!S_ISDIR(s->nodes[w->next].mode) ||
					  s->nodes[w->next].flags & SCAN_LEFT_OUT))
			w->next++;
		if (!w->failed && w->o->cancelled && atomic_load(w->o->cancelled))
			w->failed = ply_fail(&w->err, -ECANCELED, PLY_R_CANCELLED, "interrupted");
		if (w->failed)
			return false;
		if (w->next < s->n) {
			*ret = (uint32_t)w->next++;
			w->active++;
			w->failed = scan_path(s, *ret, path);
			return w->failed == 0;
		}
		if (!w->active)
			return false;
		pthread_cond_wait(&w->more, &w->lock);
	}
}

static void *work(void *arg)
{
	struct walk *w = arg;
	struct listing l = { 0 };
	struct buf path = { 0 };
	uint32_t dir;

	pthread_mutex_lock(&w->lock);
	while (take(w, &dir, &path)) {
		struct scan notes = { 0 };
		int fd, r;

		pthread_mutex_unlock(&w->lock);
		fd = beneath_open(w->s->root, (const char *)path.data, path.len - 1, O_RDONLY);
		r = fd < 0 ? fd : list_dir(w, fd, (const char *)path.data, &l, &notes);
		if (fd >= 0)
			close(fd);
		pthread_mutex_lock(&w->lock);
		if ((r == -ENOENT || r == -ENOTDIR || r == -ELOOP) && dir != SCAN_ROOT) {
			r = note(w->s, (const char *)path.data, SCAN_WHY_VANISHED, "");
		} else if (r == -EACCES) {
			w->s->nodes[dir].flags |= SCAN_UNREADABLE;
			r = 0;
		} else if (r == 0) {
			r = append(w, dir, &l);
		}
		for (size_t i = 0; i < notes.nleft_out; i++) {
			if (r == 0)
				r = note(w->s, notes.left_out[i].path, notes.left_out[i].why,
					 notes.left_out[i].type);
			free(notes.left_out[i].path);
		}
		free(notes.left_out);
		if (r < 0 && !w->failed)
			w->failed = fail_at(w, (const char *)path.data, r);
		w->active--;
		pthread_cond_broadcast(&w->more);
	}
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	free(l.v);
	buf_done(&l.text);
	buf_done(&path);
	return NULL;
}

static int open_root(const char *root, struct walk *w, struct ply_err *err)
{
	_cleanup_close_ int fd = open(root, O_PATH | O_CLOEXEC);
	struct mnt_place place;
	struct stat st;
	int r;

	if (fd < 0)
		return errno == ENOENT ?
			ply_fail(err, -ENOENT, PLY_R_ROOT_NOT_FOUND, "%s: does not exist; give the root directory of a machine", root) :
			ply_fail(err, -errno, PLY_R_ROOT_UNREADABLE, "%s: cannot be opened: %s", root,
				 strerror(errno));
	if (fstat(fd, &st) < 0)
		return ply_fail_sys(err, -errno, "%s", root);
	if (!S_ISDIR(st.st_mode))
		return ply_fail(err, -ENOTDIR, PLY_R_ROOT_NOT_DIRECTORY,
				"%s: is no directory; give the root directory of a machine (mount a device first)", root);
	r = mountset_find(&w->mounts, fd, w->o->one_file_system, err);
	if (r < 0)
		return r;
	w->root_is_mount = mnt_place_fd(fd, &place) == 0 && place.is_root;
	w->s->root = TAKE_FD(fd);
	w->s->nodes[SCAN_ROOT] = (struct scan_node){
		.mode = (uint16_t)st.st_mode,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.mtime_sec = st.st_mtim.tv_sec,
		.mtime_nsec = (uint32_t)st.st_mtim.tv_nsec,
	};
	return 0;
}

static int by_note(const void *a, const void *b)
{
	return strcmp(((const struct scan_note *)a)->path, ((const struct scan_note *)b)->path);
}

static int run(struct walk *w, struct ply_err *err)
{
	unsigned n = MIN(MAX(2 * ncpus(), 4u), 16u), started = 0;
	pthread_t threads[16];

	/* one is always there: the caller's */
	while (started < n - 1 && pthread_create(&threads[started], NULL, work, w) == 0)
		started++;
	work(w);
	while (started)
		pthread_join(threads[--started], NULL);
	if (w->failed < 0 && err)
		*err = w->err.code ? w->err : (struct ply_err){ 0 };
	return w->failed < 0 && !w->err.code ? ply_fail_nomem(err) : w->failed;
}

/* What the catalog records: the mounts that were walked through, if their place is in the tree. */
static int keep_mounts(struct walk *w)
{
	struct scan *s = w->s;

	s->mounts = calloc(w->mounts.n + 1, sizeof(*s->mounts));
	if (!s->mounts)
		return -ENOMEM;
	for (size_t i = 0; i < w->mounts.n; i++) {
		struct mountpoint *m = &w->mounts.v[i];
		uint32_t node = *m->path ? scan_lookup(s, m->path, strlen(m->path)) : SCAN_NONE;

		if (m->is_crossed && node != SCAN_NONE && S_ISDIR(s->nodes[node].mode))
			s->mounts[s->nmounts++] = (struct scan_mount){ TAKE_PTR(m->path), TAKE_PTR(m->type),
								       TAKE_PTR(m->subtree) };
	}
	return 0;
}

/*
 * The nodes in an order that does not depend on which thread came first: directories in order, with the
 * children of each together; groups and what is counted in that order too.
 */
static int put_in_order(struct scan *s)
{
	struct scan_node *nodes = malloc(s->n * sizeof(*nodes));
	struct scan_id *ids = calloc(s->ngroups + 1, sizeof(*ids));
	uint32_t *groups = calloc(s->ngroups + 1, sizeof(*groups)), ngroups = 0;
	size_t n = 1;

	if (!nodes || !ids || !groups) {
		free(nodes);
		free(ids);
		free(groups);
		return -ENOMEM;
	}
	nodes[SCAN_ROOT] = s->nodes[SCAN_ROOT];
	for (size_t i = 0; i < n; i++) {
		struct scan_node *d = &nodes[i];

		if (d->group && !groups[d->group]) {
			groups[d->group] = ++ngroups;
			ids[ngroups] = s->group_ids[d->group];
		}
		d->group = groups[d->group];
		if (d->flags & SCAN_UNREADABLE && !s->unreadable++)
			s->first_unreadable = (uint32_t)i;
		if (d->flags & SCAN_FLAGGED && !s->flagged++)
			s->first_flagged = (uint32_t)i;
		if (!S_ISDIR(d->mode))
			continue;
		memcpy(nodes + n, s->nodes + d->first_child, d->nchildren * sizeof(*nodes));
		d->first_child = (uint32_t)n;
		for (uint32_t k = 0; k < d->nchildren; k++)
			nodes[n + k].parent = (uint32_t)i;
		n += d->nchildren;
	}
	free(s->nodes);
	free(s->group_ids);
	free(groups);
	s->nodes = nodes;
	s->group_ids = ids;
	s->cap = s->n;
	return 0;
}

int scan_tree(const char *root, const struct scan_options *o, struct scan *ret, struct ply_err *err)
{
	struct scan s = { .root = -1, .first_unreadable = SCAN_NONE, .first_flagged = SCAN_NONE };
	struct walk w = { .s = &s, .o = o };
	int r;

	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.more, NULL);
	if (array_grow(&s.nodes, &s.cap, 1, sizeof(*s.nodes)) < 0 || buf_add_zero(&s.names, 1) < 0)
		r = ply_fail_nomem(err);
	else
		r = open_root(root, &w, err);
	if (r == 0) {
		s.n = 1;
		r = run(&w, err);
	}
	if (r == 0 && put_in_order(&s) < 0)
		r = ply_fail_nomem(err);
	if (r == 0 && s.nodes[SCAN_ROOT].flags & SCAN_UNREADABLE)
		r = ply_fail(err, -EACCES, PLY_R_ROOT_UNREADABLE, "%s: cannot be read: %s", root,
			     strerror(EACCES));
	if (r == 0 && keep_mounts(&w) < 0)
		r = ply_fail_nomem(err);
	mountset_done(&w.mounts);
	map_done(&w.links);
	free(w.link);
	pthread_cond_destroy(&w.more);
	pthread_mutex_destroy(&w.lock);
	if (r < 0) {
		scan_done(&s);
		return r;
	}
	if (s.nleft_out)
		qsort(s.left_out, s.nleft_out, sizeof(*s.left_out), by_note);
	*ret = s;
	return 0;
}

void scan_done(struct scan *s)
{
	if (s->root >= 0)
		close(s->root);
	for (size_t i = 0; i < s->nleft_out; i++)
		free(s->left_out[i].path);
	free(s->left_out);
	for (size_t i = 0; i < s->nmounts; i++) {
		free(s->mounts[i].path);
		free(s->mounts[i].type);
		free(s->mounts[i].subtree);
	}
	free(s->mounts);
	free(s->group_ids);
	free(s->nodes);
	buf_done(&s->names);
	*s = (struct scan){ .root = -1 };
}

/* --- paths ------------------------------------------------------------------------ */

int scan_path(const struct scan *s, uint32_t node, struct buf *out)
{
	size_t len = 0;
	char *p;

	for (uint32_t i = node; i != SCAN_ROOT; i = s->nodes[i].parent)
		len += (size_t)s->nodes[i].name_len + 1;
	len += !len;
	out->len = 0;
	if (buf_add_zero(out, len) < 0)
		return -ENOMEM;
	p = (char *)out->data + len;
	for (uint32_t i = node; i != SCAN_ROOT; i = s->nodes[i].parent) {
		*--p = i == node ? '\0' : '/';
		p -= s->nodes[i].name_len;
		memcpy(p, scan_name(s, i), s->nodes[i].name_len);
	}
	return 0;
}

uint32_t scan_child(const struct scan *s, uint32_t dir, const char *name, size_t len)
{
	const struct scan_node *d = &s->nodes[dir];
	uint32_t lo = d->first_child, hi = d->first_child + d->nchildren;

	if (!S_ISDIR(d->mode))
		return SCAN_NONE;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		size_t n = s->nodes[mid].name_len;
		int c = memcmp(name, scan_name(s, mid), MIN(len, n));

		if (c == 0 && len == n)
			return mid;
		if (c < 0 || (c == 0 && len < n))
			hi = mid;
		else
			lo = mid + 1;
	}
	return SCAN_NONE;
}

static uint32_t resolve(const struct scan *s, uint32_t at, const char *path, size_t len, bool follow_last,
			int *links)
{
	const char *end = path + len;

	while (path < end) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		size_t n = (size_t)((slash ? slash : end) - path);
		const char *rest = path + n;
		uint32_t child;

		if (n == 0 || (n == 1 && *path == '.')) {
			path = rest + (rest < end);
			continue;
		}
		if (n == 2 && path[0] == '.' && path[1] == '.') {
			at = s->nodes[at].parent;
			path = rest + 1;
			continue;
		}
		child = scan_child(s, at, path, n);
		if (child == SCAN_NONE)
			return SCAN_NONE;
		while (rest < end && *rest == '/')
			rest++;
		if (S_ISLNK(s->nodes[child].mode) && (rest < end || follow_last)) {
			const char *target = scan_target(s, child);

			if (++*links > 40)
				return SCAN_NONE;
			child = resolve(s, *target == '/' ? SCAN_ROOT : at, target,
					s->nodes[child].size, true, links);
			if (child == SCAN_NONE)
				return SCAN_NONE;
		}
		at = child;
		path = rest;
	}
	return at;
}

uint32_t scan_lookup(const struct scan *s, const char *path, size_t len)
{
	int links = 0;

	return resolve(s, SCAN_ROOT, path, len, false, &links);
}

int scan_open_dir(const struct scan *s, uint32_t node)
{
	_cleanup_buf_ struct buf path = { 0 };

	if (scan_path(s, node, &path) < 0)
		return -ENOMEM;
	return beneath_open(s->root, (const char *)path.data, path.len - 1, O_PATH);
}
