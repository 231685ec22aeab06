/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loading files: see load.h.
 *
 * A small file is read whole between two looks at its inode, and once more where they
 * differ. Of a larger one the extents are found and the descriptor is handed on: its blocks are
 * read by the threads that compress them.
 *
 * A ring of slots: `head` is the consumer's, `next` the loaders'; slot i of the order lies
 * at i % SLOTS. A loader waits while the ring is full, or while what is loaded and not yet
 * consumed exceeds the budget, unless its slot is the one that the consumer waits for: so the
 * ring cannot lock up.
 *
 * Locking: fields of struct loader below `lock` are under it. A slot belongs to its loader
 * until `ready`, then to the consumer until it asks for the next.
 */
#include "capture/load.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/holes.h"
#include "base/util.h"
#include "codec/codec.h"
#include "plyfs/disk.h"

#define SLOTS      1024u
#define BUDGET     (24u << 20)
#define FD_COST    (128u << 10)    /* so that at most 192 large files are open */
#define ATTEMPTS   3
#define PIECE      (256u << 10)   /* read at once for a digest */

struct slot {
	struct loaded file;
	size_t cost;
	bool ready;
};

struct loader {
	const struct scan *scan;
	const uint32_t *order;
	size_t n;
	const uint8_t *digest;
	pthread_t *threads;
	unsigned nthreads;

	pthread_mutex_t lock;
	pthread_cond_t ready, room;
	size_t head, next;
	size_t waiting;            /* bytes loaded, or being loaded, and not consumed */
	bool given;                /* the consumer has the slot at head */
	atomic_bool ending;        /* set under lock, read without it too */
	struct slot slots[SLOTS];
};

/* What a loading thread keeps from one file to the next. */
struct reader {
	const struct scan *scan;
	uint32_t dir;              /* whose descriptor is at hand */
	int dirfd;
	struct sha256 *sha;
	const atomic_bool *ending; /* NULL, or set when what is read will not be used */
};

static void reader_init(struct reader *r, const struct scan *scan, const atomic_bool *ending)
{
	*r = (struct reader){ .scan = scan, .dir = SCAN_NONE, .dirfd = -1, .ending = ending };
}

static void reader_done(struct reader *r)
{
	cleanup_close(&r->dirfd);
	sha256_free(r->sha);
}

int load_fail(const struct scan *scan, uint32_t node, int code, const char *what, struct ply_err *err)
{
	struct buf path = { 0 };
	char shown[512] = "?";

	if (scan_path(scan, node, &path) == 0)
		escape_name_to((const char *)path.data, path.len - 1, shown, sizeof(shown));
	buf_done(&path);
	return ply_fail(err, code, code == -EACCES || code == -EPERM ? PLY_R_FILES_UNREADABLE : PLY_R_SYSTEM,
			"/%s: %s: %s", shown, what, strerror(-code));
}

static int fail(struct loaded *l, const struct scan *s, int code, const char *what)
{
	return l->result = load_fail(s, l->node, code, what, &l->err);
}

/* --- xattrs ---------------------------------------------------------------------- */

/* Of an open file, or of the file that @path leads to. */
static ssize_t list(int fd, const char *path, char *out, size_t cap)
{
	return fd >= 0 ? flistxattr(fd, out, cap) : llistxattr(path, out, cap);
}

static ssize_t get(int fd, const char *path, const char *name, void *out, size_t cap)
{
	return fd >= 0 ? fgetxattr(fd, name, out, cap) : lgetxattr(path, name, out, cap);
}

static int load_value(struct loaded *l, int fd, const char *path, const char *name)
{
	struct subw_xattr x = { .name = name };
	size_t room = 256;

	for (;;) {
		ssize_t n;

		if (buf_reserve(&l->xattr_text, room) < 0)
			return -ENOMEM;
		n = get(fd, path, name, l->xattr_text.data + l->xattr_text.len, room);
		if (n < 0 && errno == ERANGE && room < PLY_XATTR_VALUE_MAX) {
			room = PLY_XATTR_VALUE_MAX;
			continue;
		}
		if (n < 0)
			return errno == ENODATA ? 0 : -errno;
		/* offsets for now: the buffer may move */
		x.value = (void *)(uintptr_t)l->xattr_text.len;
		x.value_len = (size_t)n;
		l->xattr_text.len += (size_t)n;
		break;
	}
	if (array_grow(&l->xattrs, &l->xattrs_cap, l->nxattrs + 1, sizeof(*l->xattrs)) < 0)
		return -ENOMEM;
	l->xattrs[l->nxattrs++] = x;
	return 0;
}

static int load_xattrs(struct loaded *l, int fd, const char *path)
{
	char small[1024], *names = small, *big = NULL;
	ssize_t n = list(fd, path, small, sizeof(small));
	int r = 0;

	l->nxattrs = 0;
	l->xattr_text.len = 0;
	if (n < 0 && errno == ERANGE) {
		names = big = malloc(PLY_XATTR_SET_MAX);
		if (!big)
			return -ENOMEM;
		n = list(fd, path, big, PLY_XATTR_SET_MAX);
	}
	if (n < 0) {
		r = errno == EOPNOTSUPP ? 0 : -errno;
		n = 0;
	}
	if (n > 0 && buf_add(&l->xattr_text, names, (size_t)n) < 0)
		r = -ENOMEM;
	for (ssize_t at = 0; r == 0 && at < n; at += (ssize_t)strlen(names + at) + 1)
		r = load_value(l, fd, path, names + at);
	if (r == 0) {
		ssize_t at = 0;
		size_t k = 0;

		/* names and values where they came to lie; a name whose value has gone is skipped */
		for (; at < n && k < l->nxattrs; at += (ssize_t)strlen(names + at) + 1) {
			struct subw_xattr *x = &l->xattrs[k];

			if (x->name != names + at)
				continue;
			x->name = (const char *)l->xattr_text.data + at;
			x->value = l->xattr_text.data + (uintptr_t)x->value;
			k++;
		}
	}
	free(big);
	return r;
}

/* --- content --------------------------------------------------------------------- */

/* Is the name of group @group another inode's than when it was scanned? */
static bool is_replaced(const struct reader *rd, uint32_t group, const struct stat *st)
{
	const struct scan_id *id = &rd->scan->group_ids[group];

	return st->st_dev != id->dev || st->st_ino != id->ino;
}

static void take_stat(struct loaded *l, const struct stat *st)
{
	l->mode = (uint16_t)st->st_mode;
	l->uid = st->st_uid;
	l->gid = st->st_gid;
	l->stamp.size = (uint64_t)st->st_size;
	l->stamp.mtime_sec = st->st_mtim.tv_sec;
	l->stamp.mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
	l->stamp.ctime_sec = st->st_ctim.tv_sec;
	l->stamp.ctime_nsec = (uint32_t)st->st_ctim.tv_nsec;
}

bool load_is_stale(const struct load_stamp *stamp, int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 || (uint64_t)st.st_size != stamp->size ||
	       st.st_mtim.tv_sec != stamp->mtime_sec || st.st_mtim.tv_nsec != stamp->mtime_nsec ||
	       st.st_ctim.tv_sec != stamp->ctime_sec || st.st_ctim.tv_nsec != stamp->ctime_nsec;
}

static int add_extent(struct loaded *l, uint64_t from, uint64_t to)
{
	struct load_extent *last = l->nextents ? &l->extents[l->nextents - 1] : NULL;

	if (from >= to)
		return 0;
	if (last && from <= last->off + last->len) {
		last->len = to - last->off;
		return 0;
	}
	if (array_grow(&l->extents, &l->extents_cap, l->nextents + 1, sizeof(*l->extents)) < 0)
		return -ENOMEM;
	l->extents[l->nextents++] = (struct load_extent){ from, to - from };
	return 0;
}

/* What lseek(2) calls data, holes narrowed to whole pages. */
static int find_extents(struct loaded *l, int fd)
{
	uint64_t at = 0;

	l->nextents = 0;
	if (l->stamp.size)
		holes_settle(fd);
	while (at < l->stamp.size) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
		int r;

		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (data < 0 || hole < 0) {
			if (errno == ENXIO)
				break;     /* cut off meanwhile: seen by load_is_stale() */
			if (errno != EINVAL && errno != EOPNOTSUPP)
				return -errno;
			data = 0;          /* such a file system has no holes to tell of */
			hole = (off_t)l->stamp.size;
		}
		r = add_extent(l, (uint64_t)data / PLY_PAGE * PLY_PAGE,
			       MIN(align_up((uint64_t)hole, PLY_PAGE), l->stamp.size));
		if (r < 0)
			return r;
		at = MAX((uint64_t)hole, at + 1);
	}
	return 0;
}

/* SHA-256 of a content of which the extents are known. -ECANCELED when the capture ends. */
static int digest_of(struct reader *rd, struct loaded *l, int fd)
{
	static const uint8_t zero[PIECE];
	uint64_t at = 0, data = 0;
	uint8_t *buf = NULL;
	int r = 0;

	for (size_t i = 0; i < l->nextents; i++)
		data += l->extents[i].len;
	if (l->stamp.size - data > PLY_DIGEST_HOLES_MAX)
		return 0;
	if (!rd->sha && !(rd->sha = sha256_new()))
		return -ENOMEM;
	sha256_reset(rd->sha);
	if (!l->data && !(buf = malloc(PIECE)))
		return -ENOMEM;
	for (size_t i = 0; r == 0 && at < l->stamp.size; i++) {
		uint64_t from = i < l->nextents ? l->extents[i].off : l->stamp.size;
		uint64_t to = i < l->nextents ? from + l->extents[i].len : from;

		for (size_t n; at < from; at += n) {
			n = (size_t)MIN(from - at, (uint64_t)PIECE);
			sha256_add(rd->sha, zero, n);
		}
		for (size_t n; r == 0 && at < to; at += n) {
			n = (size_t)MIN(to - at, (uint64_t)PIECE);
			if (rd->ending && atomic_load(rd->ending))
				r = -ECANCELED;
			else if (!l->data)
				r = pread_full(fd, buf, n, at);
			if (r == 0)
				sha256_add(rd->sha, l->data ? l->data + at : buf, n);
		}
	}
	free(buf);
	if (r < 0)
		return r;
	sha256_end(rd->sha, l->digest);
	l->has_digest = true;
	return 0;
}

/* The content of @fd as of the stamp in @l. What is no longer there is zeros, and seen by
 * load_is_stale(). */
static int load_content(struct reader *rd, struct loaded *l, int fd, enum load_digest digest)
{
	int r = find_extents(l, fd);

	l->has_digest = false;
	if (r < 0)
		return r;
	if (l->stamp.size && l->stamp.size < PLY_BLOCK_SIZE) {
		free(l->data);
		l->data = calloc(1, l->stamp.size);
		if (!l->data)
			return -ENOMEM;
		r = pread_full(fd, l->data, l->stamp.size, 0);
	}
	if (r == 0 && (digest == LOAD_DIGEST_ALWAYS || (digest == LOAD_DIGEST_WHOLE && loaded_is_whole(l))))
		r = digest_of(rd, l, fd);
	return r;
}

/* Open @name for reading; -ENOENT where it is no regular file now. */
static int open_regular(const struct reader *rd, const char *name)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	const struct timespec pause = { .tv_nsec = 20000000 };

	for (int tries = 0;; tries++) {
		int fd = openat(rd->dirfd, name, flags | O_NOATIME), code;
		struct stat st;

		if (fd < 0 && errno == EPERM)
			fd = openat(rd->dirfd, name, flags);
		if (fd >= 0)
			return fd;
		code = -errno;
		if (code == -EAGAIN && tries < 100) {   /* a lease: its holder is being told */
			nanosleep(&pause, NULL);
			continue;
		}
		if (fstatat(rd->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			return -ENOENT;
		return code;
	}
}

static int load_regular(struct reader *rd, struct loaded *l, const char *name, enum load_digest digest)
{
	const struct scan_node *n = &rd->scan->nodes[l->node];
	int fd = open_regular(rd, name), r;
	struct stat st;

	if (fd == -ENOENT) {
		l->vanished = true;
		return 0;
	}
	if (fd < 0)
		return fail(l, rd->scan, fd, "cannot be opened");
	for (int attempt = 1;; attempt++) {
		if (fstat(fd, &st) < 0) {
			r = fail(l, rd->scan, -errno, "stat");
			break;
		}
		if (!S_ISREG(st.st_mode)) {
			l->vanished = true;
			r = 0;
			break;
		}
		take_stat(l, &st);
		l->replaced = n->group && is_replaced(rd, n->group, &st);
		r = load_xattrs(l, fd, NULL);
		if (r < 0) {
			r = fail(l, rd->scan, r, "cannot read its xattrs");
			break;
		}
		r = load_content(rd, l, fd, digest);
		l->changed = load_is_stale(&l->stamp, fd);
		if (r == 0 && !l->changed)
			break;
		if (!l->changed) {
			r = fail(l, rd->scan, r, "cannot be read");
			break;
		}
		if (attempt == ATTEMPTS) {   /* it does not stop: what was read of it, told as changed */
			l->has_digest = false;
			r = 0;
			break;
		}
	}
	if (r == 0 && !l->vanished && l->stamp.size >= PLY_BLOCK_SIZE)
		l->fd = TAKE_FD(fd);
	cleanup_close(&fd);
	return r;
}

static int load(struct reader *rd, struct loaded *l, enum load_digest digest)
{
	const struct scan_node *n = &rd->scan->nodes[l->node];
	const char *name = scan_name(rd->scan, l->node);
	bool is_root = l->node == SCAN_ROOT;
	char path[PLY_NAME_MAX + 40];
	int r;

	l->mode = n->mode;
	l->uid = n->uid;
	l->gid = n->gid;
	l->stamp.size = n->size;
	l->stamp.mtime_sec = n->mtime_sec;
	l->stamp.mtime_nsec = n->mtime_nsec;
	if (n->flags & SCAN_LEFT_OUT)   /* the mounted directory is not to be asked */
		return 0;
	if (rd->dir != n->parent) {
		cleanup_close(&rd->dirfd);
		rd->dir = SCAN_NONE;
		rd->dirfd = scan_open_dir(rd->scan, n->parent);
		if (rd->dirfd == -ENOENT || rd->dirfd == -ENOTDIR || rd->dirfd == -ELOOP) {
			l->vanished = true;
			return 0;
		}
		if (rd->dirfd < 0)
			return fail(l, rd->scan, rd->dirfd, "its directory cannot be opened");
		rd->dir = n->parent;
	}
	if (S_ISREG(n->mode))
		return load_regular(rd, l, name, digest);
	if (S_ISLNK(n->mode) && digest != LOAD_DIGEST_NO &&
	    sha256_once(scan_target(rd->scan, l->node), n->size, l->digest) == 0)
		l->has_digest = true;
	if (n->group) {
		struct stat st;

		l->replaced = fstatat(rd->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			      is_replaced(rd, n->group, &st);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", rd->dirfd, is_root ? "." : name);
	r = load_xattrs(l, -1, path);
	if (r == -ENOENT && !S_ISDIR(n->mode))
		l->vanished = true;
	else if (r < 0 && r != -ENOENT)
		return fail(l, rd->scan, r, "cannot read its xattrs");
	return 0;
}

/* --- the ring -------------------------------------------------------------------- */

static size_t cost_of(const struct scan_node *n)
{
	if (!S_ISREG(n->mode))
		return 0;
	return n->size < PLY_BLOCK_SIZE ? n->size : FD_COST;
}

static void *work(void *arg)
{
	struct loader *l = arg;
	struct reader rd;

	reader_init(&rd, l->scan, &l->ending);
	pthread_mutex_lock(&l->lock);
	for (;;) {
		struct slot *s;
		uint32_t node;
		size_t i;

		if (l->ending || l->next == l->n)
			break;
		i = l->next;
		s = &l->slots[i % SLOTS];
		node = l->order[i];
		if (i - l->head >= SLOTS ||
		    (l->waiting && l->waiting + cost_of(&l->scan->nodes[node]) > BUDGET && i != l->head)) {
			pthread_cond_wait(&l->room, &l->lock);
			continue;
		}
		l->next++;
		s->file.node = node;
		s->cost = cost_of(&l->scan->nodes[node]);
		l->waiting += s->cost;
		pthread_mutex_unlock(&l->lock);

		load(&rd, &s->file, l->digest[node]);

		pthread_mutex_lock(&l->lock);
		s->cost += s->file.xattr_text.len;
		l->waiting += s->file.xattr_text.len;
		s->ready = true;
		if (i == l->head)
			pthread_cond_signal(&l->ready);
	}
	pthread_mutex_unlock(&l->lock);
	reader_done(&rd);
	return NULL;
}

/* For the next file; keeps what was allocated, but for content. */
static void reset(struct loaded *l)
{
	cleanup_close(&l->fd);
	free(l->data);
	*l = (struct loaded){
		.fd = -1,
		.xattrs = l->xattrs, .xattrs_cap = l->xattrs_cap,
		.xattr_text = { l->xattr_text.data, 0, l->xattr_text.cap },
		.extents = l->extents, .extents_cap = l->extents_cap,
	};
	if (l->xattr_text.cap > 8192)
		buf_done(&l->xattr_text);
	if (l->extents_cap > 256) {
		free(l->extents);
		l->extents = NULL;
		l->extents_cap = 0;
	}
}

void loaded_done(struct loaded *l)
{
	reset(l);
	free(l->xattrs);
	buf_done(&l->xattr_text);
	free(l->extents);
}

int loader_new(const struct scan *scan, const uint32_t *order, size_t n, const uint8_t *digest,
	       unsigned nthreads, struct loader **ret, struct ply_err *err)
{
	struct loader *l = calloc(1, sizeof(*l));
	int r = 0;

	if (!l)
		return ply_fail_nomem(err);
	l->scan = scan;
	l->order = order;
	l->n = n;
	l->digest = digest;
	for (size_t i = 0; i < SLOTS; i++)
		l->slots[i].file.fd = -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->ready, NULL);
	pthread_cond_init(&l->room, NULL);
	l->threads = calloc(nthreads, sizeof(*l->threads));
	if (!l->threads)
		r = -ENOMEM;
	for (unsigned i = 0; r == 0 && i < nthreads; i++) {
		r = -pthread_create(&l->threads[i], NULL, work, l);
		if (r == 0)
			l->nthreads++;
	}
	if (r < 0 && !l->nthreads) {
		loader_free(l);
		return ply_fail_sys(err, r, "cannot start a thread");
	}
	*ret = l;
	return 0;
}

struct loader *loader_free(struct loader *l)
{
	if (!l)
		return NULL;
	pthread_mutex_lock(&l->lock);
	l->ending = true;
	pthread_cond_broadcast(&l->room);
	pthread_mutex_unlock(&l->lock);
	for (unsigned i = 0; i < l->nthreads; i++)
		pthread_join(l->threads[i], NULL);
	for (size_t i = 0; i < SLOTS; i++)
		loaded_done(&l->slots[i].file);
	pthread_cond_destroy(&l->room);
	pthread_cond_destroy(&l->ready);
	pthread_mutex_destroy(&l->lock);
	free(l->threads);
	free(l);
	return NULL;
}

struct loaded *loader_next(struct loader *l)
{
	struct slot *s;

	pthread_mutex_lock(&l->lock);
	s = &l->slots[l->head % SLOTS];
	if (l->given) {
		reset(&s->file);
		s->ready = false;
		l->given = false;
		l->waiting -= s->cost;
		l->head++;
		/* not at every step: a loader that wakes should find work for a while */
		if (l->next == l->head ||
		    (l->waiting <= BUDGET / 2 && l->next - l->head <= SLOTS / 2))
			pthread_cond_broadcast(&l->room);
	}
	if (l->head == l->n) {
		pthread_mutex_unlock(&l->lock);
		return NULL;
	}
	s = &l->slots[l->head % SLOTS];
	while (!s->ready)
		pthread_cond_wait(&l->ready, &l->lock);
	l->given = true;
	pthread_mutex_unlock(&l->lock);
	return &s->file;
}

int load_again(const struct scan *scan, uint32_t node, enum load_digest digest, struct loaded *ret)
{
	struct reader rd;
	int r;

	reader_init(&rd, scan, NULL);
	*ret = (struct loaded){ .node = node, .fd = -1 };
	r = load(&rd, ret, digest);
	reader_done(&rd);
	return r;
}
