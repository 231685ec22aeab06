/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking out what a failed layout has made, and nothing else; what one that was killed has made is for abort.c. The image is
 * not asked: it may be what has failed. Directories are known by the plan, which has their names; of each file that
 * was made there is a hash of its directory and name, and one of what it is. So the directories are listed, a name whose
 * hash is there goes, if what has it is marked as being made, or is of the type, and of the time (a regular file), target
 * (a symlink) or number (a device) that was planned; then the directories from the leaves up. What another process has put there
 * meanwhile stays, at our names too, and with it the directories above it; so does a name that the target itself has
 * changed. At the end the root is listed: only where it holds nothing is the target said to be empty.
 *
 * Hashes are under a seed that nobody else knows. That of a name has 64 bits: that a foreign name is taken for ours
 * has a chance of 2^-44 with a million files. Memory: 12 bytes a file. Rejected: keeping the
 * names (five times that), shorter hashes (a chance that counts), names by the plan's rows (they
 * lie in the image), inode numbers (that of a file that was removed is given to the next).
 *
 * Locking: a slot of `made` is its taker's; all are read when the streams have ended.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "codec/codec.h"
#include "layout/place.h"

/* What exists by this run. */
struct made {
	uint64_t name;             /* name_hash() */
	uint32_t what;             /* what_hash(); ANY: a regular file whose time the target cannot keep */
} __attribute__((packed));
#define ANY 0u

struct undo {
	struct layout *l;
	struct stream s;
	size_t nmade;
	uint64_t left;
};

static uint64_t name_hash(const struct layout *l, uint32_t dir, const char *name, size_t len)
{
	uint8_t key[sizeof(dir) + PLY_NAME_MAX];

	memcpy(key, &dir, sizeof(dir));
	memcpy(key + sizeof(dir), name, len);
	return xxh3(key, sizeof(dir) + len, l->made_seed);
}

/* Of what can be told from outside: @time of regular files, @target of symlinks, @dev of devices. */
static uint32_t what_hash(const struct layout *l, mode_t mode, const struct timespec *time, const char *target, dev_t dev)
{
	uint64_t key[4] = { mode & S_IFMT };

	if (S_ISREG(mode)) {
		key[1] = (uint64_t)time->tv_sec;
		key[2] = (uint64_t)time->tv_nsec;
	} else if (S_ISLNK(mode)) {
		key[1] = xxh3(target, strlen(target), l->made_seed);
	} else {
		key[3] = dev;
	}
	return (uint32_t)xxh3(key, sizeof(key), l->made_seed) | 1;
}

int undo_begin(struct layout *l, struct ply_err *err)
{
	const struct plan *plan = l->plan;
	size_t n = plan->nlinks + plan->nbigs;

	for (uint32_t i = 0; i < plan->nsubs; i++)
		for (size_t b = 0; b < plan->subs[i].nbatches; b++)
			n += plan->subs[i].batches[b].n;
	random_bytes(&l->made_seed, sizeof(l->made_seed));
	l->made = malloc((n + 1) * sizeof(*l->made));   /* pages that nobody touches cost nothing */
	return l->made ? 0 : ply_fail_nomem(err);
}

/* Does a file of @n get exactly the time that it shall have? */
static bool keeps_time(const struct limits *lim, const struct ply_node *n)
{
	return lim->time_step_ns == 1 && n->mtime_sec >= lim->time_min && n->mtime_sec <= lim->time_max;
}

void undo_note(struct layout *l, uint32_t dir, const char *name, size_t len, const struct ply_node *n, const char *target)
{
	const struct timespec time = { .tv_sec = n->mtime_sec, .tv_nsec = n->mtime_nsec };
	uint32_t what = ANY;
	size_t at;

	if (!l->made)              /* one that goes on takes nothing out */
		return;
	handover("made");
	at = atomic_fetch_add_explicit(&l->nmade, 1, memory_order_relaxed);
	if (!S_ISREG(n->mode) || (keeps_time(&l->limits, n) && limits_marks(&l->limits)))
		what = what_hash(l, n->mode, &time, target, place_device(n));
	l->made[at] = (struct made){ .name = name_hash(l, dir, name, len), .what = what };
}

static int by_value(const void *a, const void *b)
{
	const struct made *x = a, *y = b;

	return x->name < y->name ? -1 : x->name > y->name;
}

/* What was made at that name; NULL: nothing. */
static const struct made *find_made(const struct undo *u, uint32_t dir, const char *name)
{
	size_t lo = 0, hi = u->nmade, len = strlen(name);
	const struct made *made = u->l->made;
	uint64_t h;

	if (len > PLY_NAME_MAX)
		return NULL;
	h = name_hash(u->l, dir, name, len);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (made[mid].name < h)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < u->nmade && made[lo].name == h ? &made[lo] : NULL;
}

struct judged {
	const struct layout *l;
	const struct made *made;
};

static bool is_ours(void *ctx, int dir, const char *name, const struct stat *st)
{
	const struct judged *j = ctx;
	char target[PLY_SYMLINK_MAX + 1];
	ssize_t len = 0;

	if (S_ISREG(st->st_mode)) {
		mode_t mode = st->st_mode & 07777;

		if (j->made->what == ANY || (limits_marks(&j->l->limits) && (mode & ~(mode_t)S_IWUSR) == S_ISVTX))
			return true;
	} else if (S_ISLNK(st->st_mode)) {
		len = readlinkat(dir, name, target, sizeof(target) - 1);
	}
	target[MAX(len, 0)] = '\0';
	return j->made->what == what_hash(j->l, st->st_mode, &st->st_mtim, target, st->st_rdev);
}

void undo_reopen_directories(struct layout *l, struct stream *s)
{
	struct plan *plan = l->plan;

	fchmod(l->target->fd, 0700);
	for (size_t d = 1; d < plan->ndirs; d++) {
		char path[64];
		int fd;

		if (plan->dirs[d].left_out)
			continue;
		fd = stream_dir(s, (uint32_t)d);
		if (fd < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);   /* O_PATH: no fchmod */
		chmod(path, 0700);
	}
}

/* One pass over a directory; *ret_left: what could not be removed. Returns how much was. */
static size_t empty_once(const struct undo *u, uint32_t dir, DIR *d, uint64_t *ret_left)
{
	const struct dirent *de;
	size_t removed = 0;

	*ret_left = 0;
	while ((de = readdir(d))) {
		struct judged j = { .l = u->l };
		int r;

		if (de->d_type == DT_DIR || !(j.made = find_made(u, dir, de->d_name)))
			continue;
		r = away_remove(u->l, dir, dirfd(d), de->d_name, is_ours, &j);
		removed += r == AWAY_GONE;
		*ret_left += r < 0;
	}
	return removed;
}

/* A listing that is emptied while it is read may pass over names: it is read until none goes. */
static void empty_directory(struct undo *u, uint32_t dir)
{
	int at = stream_dir(&u->s, dir), fd = -1;
	uint64_t left;
	DIR *d;

	if (at >= 0)
		fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {                  /* a directory that stays is counted when it is its turn */
		cleanup_close(&fd);
		u->left += !dir;
		return;
	}
	while (empty_once(u, dir, d, &left))
		rewinddir(d);
	u->left += left;
	closedir(d);
}

static void empty_directories(struct undo *u)
{
	struct plan *plan = u->l->plan;

	u->nmade = atomic_load(&u->l->nmade);
	if (!u->nmade)
		return;
	qsort(u->l->made, u->nmade, sizeof(*u->l->made), by_value);
	empty_directory(u, 0);
	for (size_t d = 1; d < u->l->dirs_made; d++)
		if (!plan->dirs[d].left_out)
			empty_directory(u, (uint32_t)d);
}

static void remove_directory(struct undo *u, const struct plan_dir *dir)
{
	char name[PLY_NAME_MAX + 1];
	int fd = stream_dir(&u->s, dir->parent);

	memcpy(name, dir->name, dir->name_len);
	name[dir->name_len] = '\0';
	if (fd < 0 || (unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT))
		u->left++;
}

/* Those that lead to the state go with it. */
static bool is_above_state(const struct layout *l, size_t d)
{
	return d && (d == l->var || d == l->var_lib);
}

/* What is there now, whoever made it: a name that the target has changed is not known as ours.
 * An empty file system has lost+found; one of the image that stays is counted where it was to go. */
uint64_t undo_count_rest(const struct layout *l)
{
	int fd = openat(l->target->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	uint64_t n = 0;

	if (!d) {
		cleanup_close(&fd);
		return 1;              /* who cannot look cannot say that nothing is there */
	}
	while ((de = readdir(d)))
		n += strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 &&
		     strcmp(de->d_name, "lost+found") != 0;
	closedir(d);
	return n;
}

uint64_t undo(struct layout *l, int *ret_restore)
{
	struct undo u = { .l = l };
	struct plan *plan = l->plan;

	for (size_t i = 0; i < plan->nbigs; i++) {
		cleanup_close(&plan->bigs[i].fd);
		plan->bigs[i].fd = -1;
	}
	stream_init(&u.s, l, DIRFDS_MAX);
	if (l->finishing)
		undo_reopen_directories(l, &u.s);
	empty_directories(&u);
	for (size_t d = l->dirs_made; d-- > 1;)
		if (!plan->dirs[d].left_out && !is_above_state(l, d))
			remove_directory(&u, &plan->dirs[d]);
	stream_done(&u.s);
	*ret_restore = target_restore(l->target, l->state.dir);
	if (*ret_restore == 0)     /* it keeps what is to be put back */
		state_remove(&l->state);   /* where it stays, its directories are counted */
	return MAX(u.left, undo_count_rest(l));
}
