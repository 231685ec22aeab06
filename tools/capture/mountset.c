/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mount points below a root: see mountset.h. The table is mountinfo's; a file system is told by
 * its type, since what matters is whether it keeps anything: what the kernel makes up, what lives in
 * memory, on a server or on a medium that is taken out, is not the machine.
 */
#include "capture/mountset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/mnt.h"
#include "base/util.h"

static bool one_of(const char *type, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(type, *list))
			return true;
	return false;
}

/* Is the disk of that device number, or the one that it is a partition of, removable? */
static bool is_removable(unsigned major, unsigned minor)
{
	static const char *const places[] = { "removable", "../removable" };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		char path[64], flag = '0';
		int fd;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major, minor, places[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, &flag, 1) != 1)
			flag = '0';
		close(fd);
		return flag == '1';
	}
	return false;
}

static bool is_local(const struct mnt_line *l, enum scan_why *ret_why)
{
	static const char *const kernel[] = {
		"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs",
		"tracefs", "pstore", "bpf", "configfs", "mqueue", "hugetlbfs", "binfmt_misc",
		"efivarfs", "autofs", "rpc_pipefs", "nsfs", "selinuxfs", "fusectl", "functionfs", NULL };
	static const char *const temporary[] = { "tmpfs", "ramfs", NULL };
	static const char *const network[] = { "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph",
					       "afs", "virtiofs", "glusterfs", "ocfs2", "gfs2", NULL };
	static const char *const removable[] = { "iso9660", "udf", NULL };
	static const char *const read_only[] = { "squashfs", "erofs", "cramfs", "overlay", NULL };

	if (one_of(l->type, kernel))
		*ret_why = SCAN_WHY_KERNEL;
	else if (one_of(l->type, temporary))
		*ret_why = SCAN_WHY_TEMPORARY;
	else if (one_of(l->type, network) || (!strncmp(l->type, "fuse", 4) && strcmp(l->type, "fuseblk")))
		*ret_why = SCAN_WHY_NETWORK;
	else if (one_of(l->type, read_only))
		*ret_why = SCAN_WHY_READ_ONLY;
	else if (one_of(l->type, removable) || is_removable(l->major, l->minor))
		*ret_why = SCAN_WHY_REMOVABLE;
	else
		return true;
	return false;
}

struct below {
	struct mountset *s;
	const char *root;
	size_t len;
	uint64_t root_id;
};

static void mountpoint_done(struct mountpoint *m)
{
	cleanup_close(&m->below);
	free(m->path);
	free(m->type);
	free(m->subtree);
}

static int set_mount(struct mountpoint *m, const char *path, const struct mnt_line *line)
{
	*m = (struct mountpoint){ .id = line->id, .path = strdup(path), .type = strdup(line->type),
				  .subtree = strdup(line->root), .major = line->major,
				  .minor = line->minor, .below = -1 };
	m->is_crossed = is_local(line, &m->why);
	return m->path && m->type && m->subtree ? 0 : -ENOMEM;
}

/* Is @path at or below @dir? "" is above all. */
static bool is_at_or_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !n || (!strncmp(path, dir, n) && (!path[n] || path[n] == '/'));
}

/* Only what can be reached from the root: a mount whose parent is in the table. What lies under a
 * later mount goes. */
static int add_mount(void *ctx, const struct mnt_line *line)
{
	struct below *b = ctx;
	struct mountset *s = b->s;
	const char *path = line->mountpoint;
	bool reached = line->parent == b->root_id;
	size_t kept = 0;

	if (strncmp(path, b->root, b->len) != 0 || path[b->len] != '/' || !path[b->len + 1])
		return 0;
	path += b->len + 1;
	for (size_t i = 0; i < s->n; i++)
		reached = reached || s->v[i].id == line->parent;
	if (!reached)
		return 0;
	for (size_t i = 0; i < s->n; i++) {
		if (*s->v[i].path && is_at_or_below(s->v[i].path, path))
			mountpoint_done(&s->v[i]);
		else
			s->v[kept++] = s->v[i];
	}
	s->n = kept;
	if (array_grow(&s->v, &s->cap, s->n + 1, sizeof(*s->v)) < 0)
		return -ENOMEM;
	return set_mount(&s->v[s->n++], path, line);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct mountpoint *)a)->path, ((const struct mountpoint *)b)->path);
}

/* A part of a file system that is in the tree already, at another place: bind mounts. */
static bool is_shown_elsewhere(const struct mountset *s, size_t at)
{
	const struct mountpoint *m = &s->v[at];

	for (size_t i = 0; i < at; i++) {
		const struct mountpoint *o = &s->v[i];
		const char *dir = strcmp(o->subtree, "/") ? o->subtree : "";

		if (o->is_crossed && o->major == m->major && o->minor == m->minor &&
		    is_at_or_below(m->subtree, dir))
			return true;
	}
	return false;
}

struct find_root {
	uint64_t id;
	struct mountset *s;
	const char *path;          /* of the root, as mountinfo has it */
};

/* The mount that the root lies on becomes the first row, "". */
static int add_root(void *ctx, const struct mnt_line *line)
{
	struct find_root *f = ctx;
	struct mountset *s = f->s;
	const char *rest = f->path;
	char *subtree;
	int r;

	if (line->id != f->id)
		return 0;
	if (array_grow(&s->v, &s->cap, s->n + 1, sizeof(*s->v)) < 0)
		return -ENOMEM;
	r = set_mount(&s->v[s->n++], "", line);
	if (r < 0)
		return r;
	s->v[s->n - 1].is_crossed = true;
	/* what of the file system is captured: its subtree, and the way from the mount point to the root */
	if (strcmp(line->mountpoint, "/"))
		rest += strlen(line->mountpoint);
	if (asprintf(&subtree, "%s%s", strcmp(line->root, "/") ? line->root : "",
		     strcmp(rest, "/") ? rest : "") < 0)
		return -ENOMEM;
	free(s->v[s->n - 1].subtree);
	s->v[s->n - 1].subtree = subtree;
	return 0;
}

/*
 * What is mounted at and below the root, and what of it belongs to the machine. After the sort a
 * mount comes after those that it lies in.
 */
int mountset_find(struct mountset *s, int root, bool one_file_system, struct ply_err *err)
{
	struct below b = { .s = s };
	struct find_root f = { .s = s };
	struct mnt_place place;
	char *path = NULL;
	int r = mnt_path_fd(root, &path);

	if (r == 0)
		r = mnt_place_fd(root, &place);
	if (r == 0) {
		f.id = place.id;
		f.path = path;
		r = mnt_list(NULL, add_root, &f);
	}
	if (r == 0) {
		b.root = path;
		b.root_id = place.id;
		b.len = strcmp(path, "/") ? strlen(path) : 0;
		r = mnt_list(NULL, add_mount, &b);
	}
	free(path);
	if (r < 0)
		return ply_fail_sys(err, r, "cannot tell what is mounted below the root");
	if (s->n)
		qsort(s->v, s->n, sizeof(*s->v), by_path);
	for (size_t i = 0; i < s->n; i++) {
		struct mountpoint *m = &s->v[i];

		if (!m->is_crossed || !*m->path)
			continue;
		if (one_file_system) {
			m->is_crossed = false;
			m->why = SCAN_WHY_LOCAL;
		} else if (is_shown_elsewhere(s, i)) {
			m->is_crossed = false;
			m->why = SCAN_WHY_AGAIN;
		}
	}
	return 0;
}

struct mountpoint *mountset_at(const struct mountset *s, const char *path)
{
	struct mountpoint key = { .path = (char *)path };

	return s->n ? bsearch(&key, s->v, s->n, sizeof(key), by_path) : NULL;
}

int mountset_stat_below(struct mountset *s, int root, const char *path, struct statx *st)
{
	struct mountpoint *around = NULL;
	const char *rest;

	for (size_t i = 0; i < s->n; i++)   /* the innermost that is walked */
		if (s->v[i].is_crossed && is_at_or_below(path, s->v[i].path))
			around = &s->v[i];
	if (!around)
		return -ENOENT;
	if (around->below < 0) {
		int fd = beneath_open(root, around->path, strlen(around->path), O_PATH);

		if (fd < 0)
			return fd;
		around->below = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		close(fd);
		if (around->below < 0)
			return -errno;
	}
	rest = path + strlen(around->path);
	return statx(around->below, rest + (*rest == '/'), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, st) < 0 ?
		-errno : 0;
}

void mountset_done(struct mountset *s)
{
	for (size_t i = 0; i < s->n; i++)
		mountpoint_done(&s->v[i]);
	free(s->v);
	*s = (struct mountset){ 0 };
}
