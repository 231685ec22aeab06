/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making one file, link or directory of the tree.
 *
 * Nothing that exists is ever opened for writing: a file comes from O_CREAT | O_EXCL, all
 * else from calls that fail where the name is taken. A name is one component, copied and then
 * checked, below a directory that was opened beneath the target.
 *
 * Content comes first, since a write clears setuid and capabilities; then metadata (place_metadata.c). A regular or special
 * file is made with a mode that says "being made" (limits_marks()), and the last call takes that away: what has its own
 * mode has all of its metadata, and its content unless the power went. That is how a resume and an abort know what is
 * theirs.
 * Directories are 0700 until the end, so nobody sees a file before its owner is right.
 *
 * Symlinks and special files have no descriptor when they are made. They are opened (O_PATH), looked at, and get their
 * metadata through that: another process may have put its own file at the name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/util.h"
#include "layout/place.h"

#define EARLY_BYTES  (1u << 20)    /* files of that size start their writeback at once */

int place_name(struct name *n, const char *from, size_t len, struct ply_err *err)
{
	if (len > PLY_NAME_MAX)
		len = 0;
	memcpy(n->text, from, len);
	n->text[len] = '\0';
	n->len = (uint32_t)len;
	return name_check(n->text, len, err);
}

/* The name that row @e, which is @w, is shown under. */
static int name_of(struct stream *s, const struct where *w, const struct ply_entry *e, struct name *ret)
{
	char own[PLY_NAME_MAX];
	const char *name;
	size_t len;
	int r = plan_entry_name(s->l->plan, w, e, own, &name, &len, &s->err);

	return r < 0 ? r : place_name(ret, name, len, &s->err);
}

int place_entry_name(struct stream *s, const struct where *w, struct name *ret)
{
	struct ply_entry e;
	int r = sub_entry(s->l->plan->subs[w->sub].sub, w->at, &e, &s->err);

	if (r == 0)
		r = name_of(s, w, &e, ret);
	return r < 0 ? stream_damaged(s, r, w) : 0;
}

int place_open_handle(struct file *f, struct stat *ret)
{
	f->handle = openat(f->dir, f->name.text, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return f->handle < 0 || fstat(f->handle, ret) < 0 ? -errno : 0;
}

/* --- content ----------------------------------------------------------------------------- */

struct fill {
	struct stream *s;
	struct file *f;
	uint64_t end;              /* of the data written so far */
	bool told;                 /* the error has its path */
};

/* [addr, addr + take) of one block to @off of the file. */
static int fill_block(struct fill *fl, uint64_t addr, size_t take, uint64_t off, const struct ply_block *block)
{
	uint64_t b = addr >> PLY_BLOCK_BITS;
	size_t in = addr & (PLY_BLOCK_SIZE - 1);
	struct stream *s = fl->s;
	const uint8_t *data;
	int r;

	if (in == 0 && take == block->size && take == PLY_BLOCK_SIZE) {
		if (!s->whole)
			s->whole = malloc(PLY_BLOCK_SIZE);
		data = s->whole;
		r = data ? sub_block_read(fl->f->v.sub, b, block, s->whole, &s->err) :
			   ply_fail_nomem(&s->err);
	} else {
		r = stream_block(s, fl->f->v.sub, b, block, &data);
	}
	if (r < 0)
		return stream_damaged(s, r, fl->f->w);
	r = pwrite_full(fl->f->fd, data + in, take, off);
	if (r < 0)
		return stream_fail(s, r, fl->f->w, "write");
	stream_wrote(s, take);
	return 0;
}

static int write_extent(struct fill *fl, const struct ply_extent *e)
{
	struct stream *s = fl->s;

	for (uint64_t done = 0; done < e->len;) {
		uint64_t addr = e->addr + done;
		size_t in = addr & (PLY_BLOCK_SIZE - 1);
		size_t take = MIN(e->len - done, (uint64_t)PLY_BLOCK_SIZE - in);
		struct ply_block block;
		int r = sub_block(fl->f->v.sub, addr >> PLY_BLOCK_BITS, &block, &s->err);

		if (r == 0 && in + take > block.size)
			r = ply_fail(&s->err, -EUCLEAN, PLY_R_EXTENT_FIELD,
				     "an extent goes beyond the end of block %llu",
				     (unsigned long long)(addr >> PLY_BLOCK_BITS));
		if (r < 0)
			return stream_damaged(s, r, fl->f->w);
		r = fill_block(fl, addr, take, e->off + done, &block);
		if (r < 0)
			return r;
		done += take;
		if (stream_stops(s))
			return -ECANCELED;
	}
	fl->end = e->off + e->len;
	return 0;
}

static int fill_extent(void *ctx, const struct ply_extent *e, struct ply_err *err)
{
	struct fill *fl = ctx;
	int r = write_extent(fl, e);

	(void)err;                 /* is the stream's */
	fl->told = r < 0;
	return r;
}

static int fill_inline(struct stream *s, struct file *f)
{
	const struct ply_node *n = &f->v.node;
	uint8_t copy[PLY_INLINE_MAX];
	const void *p;
	int r = sub_heap(f->v.sub, n->data, n->size, &p, &s->err);

	if (r < 0)
		return stream_damaged(s, r, f->w);
	memcpy(copy, p, n->size);
	r = pwrite_full(f->fd, copy, n->size, 0);
	if (r < 0)
		return stream_fail(s, r, f->w, "write");
	stream_wrote(s, n->size);
	return 0;
}

static int fill_rendered(struct stream *s, struct file *f)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = view_render(s->l->plan->view, f->ino, &text, &s->err);

	if (r < 0)
		return stream_damaged(s, r, f->w);
	r = pwrite_full(f->fd, text.data, text.len, 0);
	if (r < 0)
		return stream_fail(s, r, f->w, "write");
	stream_wrote(s, text.len);
	return 0;
}

/* Data of [@from, @to); what ends in a hole gets its size by @to == UINT64_MAX. */
static int fill(struct stream *s, struct file *f, uint64_t from, uint64_t to)
{
	const struct ply_node *n = &f->v.node;
	struct fill fl = { .s = s, .f = f };
	int r;

	if (f->v.rendered)
		return fill_rendered(s, f);
	if (n->kind == PLY_C_INLINE)
		return fill_inline(s, f);
	r = plan_extents(f->v.sub, n, from, to, fill_extent, &fl, &s->err);
	if (r < 0)
		return fl.told ? r : stream_damaged(s, r, f->w);
	if (to == UINT64_MAX && fl.end < n->size && ftruncate(f->fd, (off_t)n->size) < 0)
		return stream_fail(s, -errno, f->w, "set its size");
	return 0;
}

/* --- files ---------------------------------------------------------------------------------- */

static void note(struct stream *s, const struct file *f, const char *target)
{
	undo_note(s->l, f->w->dir, f->name.text, f->name.len, &f->v.node, target);
}

/* Who sets xattrs must be able to write it, and is not always root. */
static mode_t first_mode(const struct stream *s, const struct ply_node *n)
{
	mode_t mode = n->mode & 0777;

	if (limits_marks(&s->l->limits))
		return S_ISVTX | (n->xattrs ? S_IWUSR : 0);
	return S_ISREG(n->mode) && n->xattrs ? mode | 0600 : mode;
}

static int make_regular(struct stream *s, struct file *f)
{
	f->made = first_mode(s, &f->v.node);
	f->fd = openat(f->dir, f->name.text, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, f->made);
	if (f->fd < 0)
		return -errno;
	note(s, f, NULL);
	return 0;
}

int place_symlink_target(struct stream *s, const struct file *f, char out[PLY_SYMLINK_MAX + 1])
{
	const void *p;
	int r = sub_heap(f->v.sub, f->v.node.data, f->v.node.size, &p, &s->err);

	if (r < 0)
		return stream_damaged(s, r, f->w);
	memcpy(out, p, f->v.node.size);
	out[f->v.node.size] = '\0';
	if (strlen(out) != f->v.node.size) {
		r = ply_fail(&s->err, -EUCLEAN, PLY_R_NODE_FIELD, "a symlink target with a NUL");
		return stream_damaged(s, r, f->w);
	}
	return 0;
}

dev_t place_device(const struct ply_node *n)
{
	return S_ISCHR(n->mode) || S_ISBLK(n->mode) ? makedev((unsigned)(n->size >> 32), (unsigned)n->size) : 0;
}

/* Is it what was just made there? @target: of a symlink. */
static int open_made(struct stream *s, struct file *f, const char *target)
{
	const struct ply_node *n = &f->v.node;
	char is[PLY_SYMLINK_MAX + 1];
	struct stat st;
	ssize_t len;
	int r = place_open_handle(f, &st);

	if (r < 0)
		return stream_fail(s, r, f->w, "open");
	if ((st.st_mode & S_IFMT) != (n->mode & S_IFMT) || st.st_nlink != 1)
		return stream_fail(s, -EEXIST, f->w, "set its metadata");
	if (target) {
		len = readlinkat(f->handle, "", is, sizeof(is));
		r = len == (ssize_t)n->size && memcmp(is, target, (size_t)len) == 0 ? 0 : -EEXIST;
	} else if (st.st_rdev != place_device(n) ||
		   (limits_marks(&s->l->limits) && (st.st_mode & 07777) != f->made)) {
		r = -EEXIST;
	}
	return r < 0 ? stream_fail(s, r, f->w, "set its metadata") : 0;
}

static int make_symlink(struct stream *s, struct file *f)
{
	char target[PLY_SYMLINK_MAX + 1];
	int r = place_symlink_target(s, f, target);

	if (r < 0)
		return r;
	if (symlinkat(target, f->dir, f->name.text) < 0)
		return errno == EEXIST && s->l->again ? -EEXIST : stream_fail(s, -errno, f->w, "create");
	note(s, f, target);
	return open_made(s, f, target);
}

static int make_special(struct stream *s, struct file *f)
{
	const struct ply_node *n = &f->v.node;

	f->made = first_mode(s, n);
	if (mknodat(f->dir, f->name.text, (n->mode & S_IFMT) | f->made, place_device(n)) < 0)
		return errno == EEXIST && s->l->again ? -EEXIST : stream_fail(s, -errno, f->w, "create");
	note(s, f, NULL);
	return open_made(s, f, NULL);
}

/* The field that keeps the target from holding this file at all; -1: it can. */
static int left_out(const struct layout *l, const struct file *f)
{
	const struct limits *lim = &l->limits;
	const struct ply_node *n = &f->v.node;

	if (f->name.len > lim->name_len)
		return FIELD_NAME_LENGTH;
	switch (n->mode & S_IFMT) {
	case S_IFREG:
		return f->v.size > lim->file_size ? FIELD_FILE_SIZE : -1;
	case S_IFLNK:
		if (lim->lacks[FIELD_SYMLINK])
			return FIELD_SYMLINK;
		return n->size > lim->symlink_len ? FIELD_SYMLINK_LENGTH : -1;
	case S_IFCHR:
	case S_IFBLK:
		if (lim->lacks[FIELD_DEVICE])
			return FIELD_DEVICE;
		return n->size >> 32 > 0xfff || (uint32_t)n->size > 0xfffff ? FIELD_DEVICE_NUMBER : -1;
	default:
		return lim->lacks[FIELD_SPECIAL] ? FIELD_SPECIAL : -1;
	}
}

/* Finish a regular file that has all its content. */
static int finish_regular(struct stream *s, struct file *f)
{
	int r = place_set_metadata(s, f);

	if (r == 0 && s->l->o->sync && f->v.size >= EARLY_BYTES)
		sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	if (close(TAKE_FD(f->fd)) < 0 && r == 0)   /* some file systems allocate late */
		r = stream_fail(s, -errno, f->w, "write");
	return r;
}

static void count_file(struct stream *s)
{
	atomic_fetch_add_explicit(&s->l->files, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->l->names, 1, memory_order_relaxed);
	s->names++;
	if (s->of)
		atomic_fetch_add_explicit(&s->of->files, 1, memory_order_relaxed);
}

static int add_len(void *ctx, const struct ply_extent *e, struct ply_err *err)
{
	(void)err;
	*(uint64_t *)ctx += e->len;
	return 0;
}

int place_bytes(struct stream *s, const struct file *f, uint64_t from, uint64_t to, uint64_t *sum)
{
	int r;

	if (!S_ISREG(f->v.node.mode))
		return 0;
	if (f->v.rendered || f->v.node.kind == PLY_C_INLINE) {
		*sum += f->v.size;
		return 0;
	}
	r = plan_extents(f->v.sub, &f->v.node, from, to, add_len, sum, &s->err);
	return r < 0 ? stream_damaged(s, r, f->w) : 0;
}

/* It was there: nothing was written, and nothing is left to be. */
static int count_found(struct stream *s, const struct file *f)
{
	uint64_t bytes = 0;
	int r = s->of ? place_bytes(s, f, 0, UINT64_MAX, &bytes) : 0;

	count_file(s);
	if (r < 0 || !s->of)
		return r;
	atomic_fetch_add(&s->of->bytes, bytes);
	atomic_fetch_add(&s->of->found_bytes, bytes);
	atomic_fetch_add(&s->of->found_files, 1);
	return 0;
}

int place_open_dir(struct stream *s, struct file *f)
{
	f->dir = stream_dir(s, f->w->dir);
	return f->dir < 0 ? stream_fail(s, f->dir, f->w, "open its directory") : 0;
}

int place_look_up(struct stream *s, struct file *f, const struct where *w, int *ret_lost)
{
	struct plan *plan = s->l->plan;
	const struct plan_link *first;
	struct ply_entry e;
	uint64_t ino;
	int r;

	f->w = w;
	f->fd = f->handle = -1;
	f->made = 0;
	*ret_lost = -1;
	r = sub_entry(plan->subs[w->sub].sub, w->at, &e, &s->err);
	if (r < 0)
		return stream_damaged(s, r, w);
	if (e.type == S_IFDIR >> 12 || plan->dirs[w->dir].left_out)
		return 0;
	r = view_node_ino(plan->view, w->sub, PLY_INO_INDEX(e.ref), &ino, &s->err);
	if (r == 0)
		r = view_file(plan->view, ino, &f->v, &s->err);
	f->ino = ino;
	if (r == 0)
		r = name_of(s, w, &e, &f->name);
	if (r < 0)
		return stream_damaged(s, r, w);
	if (f->v.joined || f->v.node.nlink > 1) {
		first = plan_link_first(plan, ino);
		if (!first || first->sub != w->sub || first->at != w->at)
			return 0;
	}
	*ret_lost = left_out(s->l, f);
	return *ret_lost < 0;
}

/* Do batches of its own make it? */
static bool is_split(struct stream *s, const struct file *f)
{
	return S_ISREG(f->v.node.mode) && plan_find_big(s->l->plan, f->w->sub, f->w->at);
}

static int make(struct stream *s, struct file *f)
{
	int r;

	switch (f->v.node.mode & S_IFMT) {
	case S_IFREG:
		r = make_regular(s, f);
		return r < 0 && (r != -EEXIST || !s->l->again) ? stream_fail(s, r, f->w, "create") : r;
	case S_IFLNK:
		return make_symlink(s, f);
	default:
		return make_special(s, f);
	}
}

/* Makes it; or, where an earlier run was here, looks at what lies there. 0: it is new, 1: it is taken as it is,
 * 2: it is another's. */
static int make_or_take(struct stream *s, struct file *f)
{
	int r = make(s, f);

	if (r != -EEXIST || !s->l->again)
		return r;
	r = again_look(s, f);
	if (r == AGAIN_MAKE) {
		r = make(s, f);
		return r == -EEXIST ? stream_fail(s, r, f->w, "create") : r;
	}
	return r < 0 ? r : r == AGAIN_TAKEN ? 1 : 2;
}

int place_entry(struct stream *s, const struct where *w)
{
	struct file f;
	bool found;
	int lost, r = place_look_up(s, &f, w, &lost);

	if (lost >= 0)
		stream_lose(s, (enum layout_field)lost);
	if (r <= 0 || is_split(s, &f))
		return MIN(r, 0);
	r = place_open_dir(s, &f);
	if (r == 0)
		r = make_or_take(s, &f);
	if (r < 0 || r == 2) {
		cleanup_close(&f.fd);
		cleanup_close(&f.handle);
		return MIN(r, 0);
	}
	found = r;
	if (S_ISREG(f.v.node.mode)) {
		r = found ? 0 : fill(s, &f, 0, UINT64_MAX);
		if (r == 0)
			r = finish_regular(s, &f);
		cleanup_close(&f.fd);
	} else {
		r = place_set_metadata(s, &f);
		cleanup_close(&f.handle);
	}
	if (r == 0 && found)
		return count_found(s, &f);
	if (r == 0)
		count_file(s);
	return r;
}

/* Create the file where no other stream has. 1: there is nothing to fill. */
static int open_big(struct stream *s, struct file *f, struct plan_big *big)
{
	int r = 0;

	pthread_mutex_lock(&big->lock);
	if (!big->made) {
		r = place_open_dir(s, f);
		if (r == 0)
			r = make_or_take(s, f);
		if (r >= 0) {
			big->made = true;
			big->taken = r > 0;
			big->fd = r ? -1 : f->fd;
		}
		if (r == 1) {
			r = finish_regular(s, f);
			if (r == 0)
				r = count_found(s, f);
			cleanup_close(&f->fd);
			r = r < 0 ? r : 1;
		}
	} else if (!big->taken && big->fd < 0) {
		r = -ECANCELED;    /* it failed there */
	}
	f->fd = big->fd;
	r = r < 0 ? r : big->taken;
	pthread_mutex_unlock(&big->lock);
	return r;
}

int place_piece(struct stream *s, const struct plan_batch *b)
{
	struct plan_big *big = &s->l->plan->bigs[b->big - 1];
	const struct where w = { .at = big->at, .dir = big->dir, .sub = big->sub };
	struct file f;
	int lost, r = place_look_up(s, &f, &w, &lost);

	if (r <= 0)
		return r;
	r = open_big(s, &f, big);
	if (r)
		return MIN(r, 0);
	r = fill(s, &f, b->at, b->end);
	if (r < 0)
		return r;
	handover("piece");
	if (atomic_fetch_sub(&big->left, 1) > 1)
		return 0;
	/* the last one: all content is there */
	big->fd = -1;
	f.made = first_mode(s, &f.v.node);
	if (ftruncate(f.fd, (off_t)f.v.node.size) < 0)
		r = stream_fail(s, -errno, &w, "set its size");
	if (r == 0)
		r = finish_regular(s, &f);
	cleanup_close(&f.fd);
	if (r == 0)
		count_file(s);
	return r;
}

int place_link_lost(struct stream *s, const struct plan_link *first, const struct plan_link *l, struct file *from,
		    struct name *ret_name, int *ret_lost)
{
	struct plan *plan = s->l->plan;
	const struct where w = { .at = l->at, .dir = l->dir, .sub = l->sub };
	struct ply_entry e;
	int r;

	r = view_file(plan->view, first->ino, &from->v, &s->err);
	from->ino = first->ino;
	from->fd = -1;
	if (r == 0)
		r = sub_entry(plan->subs[first->sub].sub, first->at, &e, &s->err);
	if (r == 0)
		r = name_of(s, from->w, &e, &from->name);
	if (r == 0)
		r = sub_entry(plan->subs[l->sub].sub, l->at, &e, &s->err);
	if (r == 0)
		r = name_of(s, &w, &e, ret_name);
	if (r < 0)
		return stream_damaged(s, r, &w);
	r = left_out(s->l, from);
	if (r < 0 && (plan->dirs[first->dir].left_out || plan->dirs[l->dir].left_out ||
		      ret_name->len > s->l->limits.name_len))
		r = FIELD_NAME_LENGTH;
	if (r < 0 && s->l->limits.lacks[FIELD_LINK])
		r = FIELD_LINK;
	if (r < 0 && (uint64_t)(l - first) >= s->l->limits.links)
		r = FIELD_LINK_COUNT;
	*ret_lost = r;
	return 0;
}

int place_link(struct stream *s, const struct plan_link *first, const struct plan_link *l)
{
	struct plan *plan = s->l->plan;
	const struct where w = { .at = l->at, .dir = l->dir, .sub = l->sub };
	const struct where from_w = { .at = first->at, .dir = first->dir, .sub = first->sub };
	struct file from = { .w = &from_w };
	char target[PLY_SYMLINK_MAX + 1];
	int r, from_dir, dir, lost;
	struct name name;

	/* was the first name left out? */
	r = place_link_lost(s, first, l, &from, &name, &lost);
	if (r < 0)
		return r;
	if (S_ISLNK(from.v.node.mode)) {
		r = place_symlink_target(s, &from, target);
		if (r < 0)
			return r;
	}
	if (plan->dirs[l->dir].foreign)
		return 0;
	if (plan->dirs[first->dir].foreign || layout_left(s->l, &from_w)) {
		layout_leave(s->l, &w, "the file that it would be a name of is not there");
		return 0;
	}
	if (lost >= 0) {
		stream_lose(s, (enum layout_field)lost);
		return 0;
	}
	/* two descriptors of one cache: the second call may not close the first's */
	from_dir = stream_dir(s, first->dir);
	if (from_dir >= 0)
		dir = stream_dir(s, l->dir);
	else
		dir = from_dir;
	if (dir < 0)
		return stream_fail(s, dir, &w, "open its directory");
	r = linkat(from_dir, from.name.text, dir, name.text, 0) < 0 ? -errno : 0;
	if (r == -EEXIST && s->l->again) {
		r = again_link(s, &w, &from, from_dir, dir, &name);
		if (r == AGAIN_LEFT)
			return 0;
		if (r == AGAIN_MAKE)
			r = linkat(from_dir, from.name.text, dir, name.text, 0) < 0 ? -errno : 0;
		else if (r == AGAIN_TAKEN)
			r = 0;
	}
	if (r < 0)
		return stream_fail(s, r, &w, "link");
	undo_note(s->l, l->dir, name.text, name.len, &from.v.node, target);
	atomic_fetch_add_explicit(&s->l->names, 1, memory_order_relaxed);
	s->names++;
	return 0;
}

/* --- directories ------------------------------------------------------------------------------- */

int place_directory(struct stream *s, uint32_t dir, int fd)
{
	const struct where w = { .at = WHERE_DIR, .dir = dir };
	struct file f = { .w = &w, .dir = -1, .fd = fd, .handle = -1, .made = 0700 };
	struct stat st;
	int r = view_file(s->l->plan->view, s->l->plan->dirs[dir].ino, &f.v, &s->err);

	if (r < 0)
		return stream_damaged(s, r, &w);
	/* that of another process, which is to keep what it has */
	if (dir && !s->l->again && limits_marks(&s->l->limits) && fstat(fd, &st) == 0 && (st.st_mode & 07777) != 0700)
		return stream_fail(s, -EEXIST, &w, "set its metadata");
	if (!dir && !s->l->target->mine) {
		atomic_fetch_add_explicit(&s->l->owners, 1, memory_order_relaxed);
		return 0;
	}
	if (!dir) {
		s->l->target->finished = true;
		r = target_clear_xattrs(fd);
		if (r < 0)
			return stream_fail(s, r, &w, "remove its extended attributes");
		/* it was not made by this run, so it has not what a new one gets */
		if (fchown(fd, s->l->limits.uid, s->l->limits.gid) < 0)
			return stream_fail(s, -errno, &w, "set its owner");
	}
	return place_set_metadata(s, &f);
}
