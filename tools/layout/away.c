/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking out a name that is ours, while others are at work in the target.
 *
 * Between a look at a name and its unlink() another process may put its own file there, and that would be gone. So what
 * looks like ours is moved to var/lib/plyfs/out, where nobody else looks, is judged once more, and goes; or it is moved back to where
 * it was, where no other file has taken that place meanwhile. Nothing is overwritten on either way.
 *
 * It is called DIRECTORY.HASH there: its place in the plan, and XXH3-64 of its name, 16 hex digits. So what was killed between the two
 * can be put back by the next one (away_recover()), which does so before it looks at anything else. Where its place was taken it
 * goes, if it is what the plan has there; else it stays, and is told.
 *
 * Where the target has no rename that overwrites nothing, a name is judged where it is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"
#include "layout/place.h"

#define OUT_NAME 32u

static int unlink_name(int dir, const char *name)
{
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : AWAY_GONE;
}

int away_remove(struct layout *l, uint32_t d, int dir, const char *name, away_judge *is_ours, void *ctx)
{
	int out = l->state.out;
	char there[OUT_NAME];
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? AWAY_GONE : -errno;
	if (!is_ours(ctx, dir, name, &st))
		return AWAY_FOREIGN;
	if (out < 0)
		return unlink_name(dir, name);
	snprintf(there, sizeof(there), "%" PRIu32 ".%016" PRIx64, d, xxh3(name, strlen(name), 0));
	if (renameat2(dir, name, out, there, RENAME_NOREPLACE) < 0) {
		if (errno == EINVAL || errno == ENOSYS)
			return unlink_name(dir, name);
		/* somebody has mounted something there: not what we made */
		return errno == ENOENT ? AWAY_GONE : errno == EXDEV ? AWAY_FOREIGN : -errno;
	}
	if (fstatat(out, there, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (is_ours(ctx, out, there, &st))
		return unlink_name(out, there);
	return renameat2(out, there, dir, name, RENAME_NOREPLACE) < 0 ? -errno : AWAY_FOREIGN;
}

int away_forget(struct layout *l, uint32_t d, const char *name, away_judge *is_ours, void *ctx)
{
	int out = l->state.out;
	char there[OUT_NAME];
	struct stat st;

	snprintf(there, sizeof(there), "%" PRIu32 ".%016" PRIx64, d, xxh3(name, strlen(name), 0));
	if (out < 0 || fstatat(out, there, &st, AT_SYMLINK_NOFOLLOW) < 0 || !is_ours(ctx, out, there, &st))
		return 0;
	return unlinkat(out, there, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* --- putting back ------------------------------------------------------------------------ */

/* The name in directory @w->dir whose hash is @hash: 1, and it is in @ret. */
static int find_name(struct stream *s, uint32_t dir, uint64_t hash, struct where *w, struct name *ret)
{
	const struct plan *plan = s->l->plan;

	for (uint32_t i = 0; i < plan->nsubs; i++)
		for (size_t k = 0; k < plan->subs[i].nparts; k++) {
			const struct plan_part *part = &plan->subs[i].parts[k];

			if (part->dir != dir)
				continue;
			for (uint64_t at = part->first; at < part->end; at++) {
				int r;

				*w = (struct where){ .at = at, .dir = dir, .sub = i };
				r = place_entry_name(s, w, ret);
				if (r < 0)
					return r;
				if (xxh3(ret->text, ret->len, 0) == hash)
					return 1;
			}
		}
	return 0;
}

/* Is what lies in out what the plan has at @w? */
static bool is_planned(struct stream *s, const struct where *w, const char *there)
{
	const struct limits *lim = &s->l->limits;
	struct file f = { .fd = -1 };
	const struct ply_node *n = &f.v.node;
	char target[PLY_SYMLINK_MAX + 1], is[PLY_SYMLINK_MAX + 1];
	int lost, out = s->l->state.out;
	struct stat st;
	ssize_t len;

	if (place_look_up(s, &f, w, &lost) < 0 || fstatat(out, there, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (st.st_mode & S_IFMT) != (n->mode & S_IFMT))
		return false;
	if (S_ISREG(st.st_mode))
		return again_is_marked(lim, n, &st) || again_has_time(lim, n, &st);
	if (!S_ISLNK(st.st_mode))
		return st.st_rdev == place_device(n);
	len = readlinkat(out, there, is, sizeof(is));
	return place_symlink_target(s, &f, target) == 0 && len == (ssize_t)n->size && memcmp(is, target, (size_t)len) == 0;
}

static int put_back(struct stream *s, const char *there)
{
	struct layout *l = s->l;
	char again[OUT_NAME];
	struct name name;
	struct where w;
	uint64_t hash;
	uint32_t d;
	int dir, r;

	if (sscanf(there, "%" SCNu32 ".%" SCNx64, &d, &hash) != 2 || d >= l->plan->ndirs)
		return 0;
	snprintf(again, sizeof(again), "%" PRIu32 ".%016" PRIx64, d, hash);
	if (strcmp(again, there) != 0)
		return 0;
	r = find_name(s, d, hash, &w, &name);
	if (r <= 0)
		return r;
	dir = stream_dir(s, d);
	r = dir < 0 ? dir : renameat2(l->state.out, there, dir, name.text, RENAME_NOREPLACE) < 0 ? -errno : 0;
	if (r == -EEXIST && is_planned(s, &w, there))
		r = unlinkat(l->state.out, there, 0) < 0 ? -errno : 0;
	if (r == 0)
		return 0;
	return ply_fail(&s->err, r, PLY_R_TARGET_EXISTS, "%s/var/lib/plyfs/out/%s: cannot be put back: %s; move it away",
			l->target->path, there, strerror(-r));
}

int away_recover(struct layout *l, struct ply_err *err)
{
	int fd = l->state.out < 0 ? -1 : openat(l->state.out, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	struct stream s;

	if (!d) {
		cleanup_close(&fd);
		return 0;
	}
	stream_init(&s, l, DIRFDS_MAX);
	while (r == 0 && (de = readdir(d)))
		r = put_back(&s, de->d_name);
	if (r < 0)
		*err = s.err;
	stream_done(&s);
	closedir(d);
	return r;
}
