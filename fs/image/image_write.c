/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every generation is written from, and a new composite image, generation 1: see image_write.h. A further
 * generation begins and ends in image_append.c.
 *
 * The file has no name (O_TMPFILE) until everything is written and synced, so
 * there is nothing to clean up after a crash. Where the file system has no
 * O_TMPFILE it has a hidden name beside the final one, which a crash leaves behind. Replacing an old image is a link
 * to a hidden name and a rename: the old one is there until the new one is.
 */
#include "image/image_write.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"
#include "image/image_write_internal.h"
#include "sub/seg_write.h"

static int hidden_name(struct imagew *w)
{
	uint8_t r[8];
	char hex[17];

	free(w->hidden);
	random_bytes(r, sizeof(r));
	hex_encode(r, sizeof(r), hex);
	/* a base name of up to 255 bytes leaves no room for more beside it */
	return asprintf(&w->hidden, ".plyfs-%s.tmp", hex) < 0 ? (w->hidden = NULL, -ENOMEM) : 0;
}

static int open_unnamed(struct imagew *w, struct ply_err *err)
{
	w->fd = openat(w->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (w->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return ply_fail(err, -errno, PLY_R_OUTPUT_WRITE, "%s: cannot create a file in %s: %s",
				w->path, w->dir, strerror(errno));
	if (hidden_name(w) < 0)
		return ply_fail_nomem(err);
	w->fd = openat(w->dirfd, w->hidden, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (w->fd < 0) {
		free(TAKE_PTR(w->hidden));
		return ply_fail(err, -errno, PLY_R_OUTPUT_WRITE, "%s: cannot create a file in %s: %s",
				w->path, w->dir, strerror(errno));
	}
	return 0;
}

static int check_target(struct imagew *w, struct ply_err *err)
{
	struct stat st;

	if (fstatat(w->dirfd, w->base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return 0;
		return ply_fail_sys(err, -errno, "%s: stat", w->path);
	}
	if (!S_ISREG(st.st_mode))
		return ply_fail(err, -EINVAL, PLY_R_IMAGE_NOT_REGULAR,
				"%s: is a %s; give the name of an image file", w->path,
				S_ISDIR(st.st_mode) ? "directory" :
				S_ISLNK(st.st_mode) ? "symbolic link" :
				S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode) ? "device" : "special file");
	if (!w->force)
		return ply_fail(err, -EEXIST, PLY_R_IMAGE_EXISTS,
				"%s: exists; use --force to replace it", w->path);
	return 0;
}

int imagew_new(const char *path, bool force, struct imagew **ret, struct ply_err *err)
{
	static const uint8_t zero[PLY_SUPER_SLOTS * PLY_SUPER_SIZE];
	struct imagew *w = calloc(1, sizeof(*w));
	char *copy = strdup(path);
	int r;

	if (!w || !copy) {
		free(w);
		free(copy);
		return ply_fail_nomem(err);
	}
	w->fd = w->dirfd = -1;
	w->generation = 1;
	w->force = force;
	w->path = strdup(path);
	w->dir = strdup(dirname(copy));
	strcpy(copy, path);
	w->base = strdup(basename(copy));
	free(copy);
	if (!w->path || !w->dir || !w->base) {
		r = ply_fail_nomem(err);
		goto fail;
	}
	if (!*path || path[strlen(path) - 1] == '/') {
		r = ply_fail(err, -EINVAL, PLY_R_IMAGE_NOT_REGULAR, "%s: is no name of a file", path);
		goto fail;
	}
	w->dirfd = open(w->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->dirfd < 0) {
		r = ply_fail(err, -errno, PLY_R_OUTPUT_WRITE, "%s: cannot open the directory %s: %s",
			     path, w->dir, strerror(errno));
		goto fail;
	}
	r = check_target(w, err);
	if (r < 0)
		goto fail;
	r = open_unnamed(w, err);
	if (r < 0)
		goto fail;
	r = out_init(&w->out, w->fd, 0, w->path, err);
	if (r < 0)
		goto fail;
	r = out_write(&w->out, zero, sizeof(zero), err);
	if (r < 0)
		goto fail;
	*ret = w;
	return 0;
fail:
	imagew_free(w);
	return r;
}

struct imagew *imagew_free(struct imagew *w)
{
	if (!w)
		return NULL;
	if (w->hidden)
		unlinkat(w->dirfd, w->hidden, 0);
	imagew_roll_back(w);
	if (w->fd >= 0)
		close(w->fd);
	if (w->dirfd >= 0)
		close(w->dirfd);
	out_done(&w->out);
	free(w->hidden);
	free(w->path);
	free(w->dir);
	free(w->base);
	free(w->subs);
	free(w->join_refs);
	buf_done(&w->strings);
	buf_done(&w->segments);
	buf_done(&w->relations);
	buf_done(&w->mounts);
	buf_done(&w->blobs);
	buf_done(&w->join_rows);
	buf_done(&w->join_members);
	free(w->collisions);
	free(w->removed);
	free(w);
	return NULL;
}

struct out *imagew_out(struct imagew *w)
{
	return &w->out;
}

int imagew_string(struct imagew *w, const char *text, struct ply_disk_string *ret)
{
	size_t len = text ? strlen(text) : 0;

	ret->off = le32_put(len ? (uint32_t)w->strings.len : 0);
	ret->len = le32_put((uint32_t)len);
	return buf_add(&w->strings, text ? text : "", len);
}

int imagew_relation(struct imagew *w, uint32_t kind, uint32_t from, uint32_t group, const char *to)
{
	struct ply_disk_relation row = {
		.kind = le32_put(kind),
		.from = le32_put(from),
		.group = le32_put(group),
	};

	if (imagew_string(w, to, &row.to) < 0)
		return -ENOMEM;
	return buf_add(&w->relations, &row, sizeof(row));
}

int imagew_segment(struct imagew *w, uint32_t kind, uint64_t off, uint64_t len, const uint8_t digest[32])
{
	struct ply_disk_segment_ref row = {
		.kind = le32_put(kind),
		.off = le64_put(off),
		.len = le64_put(len),
	};

	memcpy(row.digest, digest, sizeof(row.digest));
	return buf_add(&w->segments, &row, sizeof(row));
}

int imagew_add_sub(struct imagew *w, const struct imagew_sub *s, const struct subw_result *seg,
		   uint32_t *ret_number, struct ply_err *err)
{
	uint32_t number = w->next_number;
	struct ply_disk_sub row = {
		.number = le32_put(number),
		.rank = le32_put(s->rank),
		.flags = le32_put(s->flags),
		.seg_first = le32_put((uint32_t)(w->segments.len / sizeof(struct ply_disk_segment_ref))),
		.seg_count = le32_put(1),
		.nodes = le64_put(seg->nodes),
		.bytes = le64_put(seg->bytes),
	};

	if (number > PLY_NUMBER_MAX)
		return ply_fail(err, -E2BIG, PLY_R_LIMIT, "more than %u sub-images", PLY_NUMBER_MAX + 1);
	memcpy(row.uuid, seg->uuid, sizeof(row.uuid));
	if (imagew_string(w, s->name, &row.name) < 0 || imagew_string(w, s->arch, &row.arch) < 0 ||
	    imagew_string(w, s->distro, &row.distro) < 0 || imagew_string(w, s->summary, &row.summary) < 0 ||
	    imagew_segment(w, PLY_SEG_BASE, seg->off, seg->len, seg->digest) < 0 ||
	    array_grow(&w->subs, &w->subs_cap, w->nsubs + 1, sizeof(*w->subs)) < 0)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < s->nrequires; i++)
		if (imagew_relation(w, PLY_REL_REQUIRES, number, s->groups ? s->groups[i] : i, s->requires[i]) < 0)
			return ply_fail_nomem(err);
	for (uint32_t i = 0; i < s->nprovides; i++)
		if (imagew_relation(w, PLY_REL_PROVIDES, number, i, s->provides[i]) < 0)
			return ply_fail_nomem(err);
	for (uint32_t i = 0; i < s->nstands_on; i++)
		if (imagew_relation(w, PLY_REL_STANDS_ON, number, i, s->stands_on[i]) < 0)
			return ply_fail_nomem(err);
	w->subs[w->nsubs++] = (struct pending_sub){ .row = row };
	w->next_number++;
	*ret_number = number;
	return 0;
}

int imagew_join(struct imagew *w, uint8_t kind, const uint64_t *refs, const uint8_t *digests,
		uint32_t n, uint64_t *ret_row, struct ply_err *err)
{
	struct ply_disk_join_row row = {
		.first_member = le64_put(w->join_members.len / sizeof(struct ply_disk_join_member)),
		.nmembers = le32_put(n),
		.kind = kind,
	};
	uint64_t at = w->join_rows.len / sizeof(row);

	if (buf_add(&w->join_rows, &row, sizeof(row)) < 0 ||
	    array_grow(&w->join_refs, &w->join_refs_cap, w->njoin_refs + n, sizeof(*w->join_refs)) < 0)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < n; i++) {
		struct ply_disk_join_member m = { .ref = le64_put(refs[i]) };

		if (digests)
			memcpy(m.digest, digests + 32 * (size_t)i, 32);
		if (buf_add(&w->join_members, &m, sizeof(m)) < 0)
			return ply_fail_nomem(err);
		w->join_refs[w->njoin_refs++] = (struct join_ref){ refs[i], at };
	}
	if (ret_row)
		*ret_row = at;
	return 0;
}

int imagew_join_children(struct imagew *w, uint64_t row, uint64_t first, uint64_t n)
{
	struct ply_disk_join_row *r = (struct ply_disk_join_row *)w->join_rows.data + row;

	r->first_child = le64_put(first);
	r->nchildren = le64_put(n);
	return 0;
}

int imagew_collision(struct imagew *w, uint64_t a, uint64_t b, uint8_t cls, uint8_t why, uint16_t flags,
		     struct ply_err *err)
{
	struct pending_collision c = {
		.c = { .a = a, .b = b, .cls = cls, .why = cls == PLY_PAIR_CONFLICT ? why : 0, .flags = flags },
		.order = w->ncollisions,
	};
	struct ply_disk_collision row;
	int r;

	collision_encode(&c.c, &row);
	r = collision_decode(&row, &c.c, err);   /* what no reader would take is a mistake here */
	if (r < 0)
		return r;
	if (array_grow(&w->collisions, &w->collisions_cap, w->ncollisions + 1, sizeof(*w->collisions)) < 0)
		return ply_fail_nomem(err);
	w->collisions[w->ncollisions++] = c;
	return 0;
}

int imagew_add_mount(struct imagew *w, const char *path, const char *type, const char *subtree,
		     struct ply_err *err)
{
	struct ply_disk_mount row = { 0 };

	if (imagew_string(w, path, &row.path) < 0 || imagew_string(w, type, &row.type) < 0 ||
	    imagew_string(w, subtree, &row.subtree) < 0 || buf_add(&w->mounts, &row, sizeof(row)) < 0)
		return ply_fail_nomem(err);
	return 0;
}

int imagew_add_blob(struct imagew *w, uint32_t number, const char *name, const void *bytes, size_t len,
		    struct ply_err *err)
{
	struct ply_disk_blob row = { .sub = le32_put(number) };

	if (len > UINT32_MAX || w->strings.len + len > PLY_CATALOG_MAX)
		return ply_fail(err, -E2BIG, PLY_R_LIMIT, "the catalog is larger than %u MiB",
				PLY_CATALOG_MAX >> 20);
	if (imagew_string(w, name, &row.name) < 0)
		return ply_fail_nomem(err);
	row.bytes.off = le32_put(len ? (uint32_t)w->strings.len : 0);
	row.bytes.len = le32_put((uint32_t)len);
	if (buf_add(&w->strings, bytes, len) < 0 || buf_add(&w->blobs, &row, sizeof(row)) < 0)
		return ply_fail_nomem(err);
	return 0;
}

static int by_ref(const void *a, const void *b)
{
	const struct join_ref *x = a, *y = b;

	return x->ref < y->ref ? -1 : x->ref > y->ref;
}

/* Begin a segment of metadata only. */
static int begin(struct imagew *w, uint32_t kind, uint32_t nsections, uint64_t size,
		 struct segw **ret, uint64_t *ret_off, struct ply_err *err)
{
	int r = out_align(&w->out, PLY_ALIGN, err);

	if (r < 0)
		return r;
	*ret_off = w->out.end;
	r = segw_reserve(&w->out, nsections, err);
	if (r == 0)
		r = segw_new(&w->out, *ret_off, kind, nsections, ret, err);
	if (r == 0) {
		r = segw_begin_meta(*ret, size, err);
		if (r < 0)
			segw_free(*ret);
	}
	return r;
}

static int table(struct segw *s, uint32_t type, const struct buf *b, struct ply_err *err)
{
	size_t element = section_element_size(type);

	return segw_section(s, type, element ? b->len / element : 0, b->data, b->len, err);
}

static int by_pair(const void *a, const void *b)
{
	const struct pending_collision *x = a, *y = b;
	int c = collision_compare(&x->c, &y->c);

	return c ? c : (x->order > y->order) - (x->order < y->order);
}

/* In their order, of equal pairs the last. */
static int sort_collisions(struct imagew *w, struct buf *out)
{
	if (w->ncollisions)
		qsort(w->collisions, w->ncollisions, sizeof(*w->collisions), by_pair);
	for (size_t i = 0; i < w->ncollisions; i++) {
		struct ply_disk_collision row;

		if (i + 1 < w->ncollisions && collision_compare(&w->collisions[i].c, &w->collisions[i + 1].c) == 0)
			continue;
		collision_encode(&w->collisions[i].c, &row);
		if (buf_add(out, &row, sizeof(row)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int write_join(struct imagew *w, struct ply_err *err)
{
	_cleanup_buf_ struct buf collisions = { 0 };
	struct buf index = { 0 };
	uint8_t digest[32];
	struct segw *s;
	uint64_t off, len;
	int r;

	if (sort_collisions(w, &collisions) < 0)
		return ply_fail_nomem(err);

	if (w->njoin_refs)
		qsort(w->join_refs, w->njoin_refs, sizeof(*w->join_refs), by_ref);
	for (size_t i = 0; i < w->njoin_refs; i++) {
		struct ply_disk_join_index row = {
			.ref = le64_put(w->join_refs[i].ref),
			.row = le64_put(w->join_refs[i].row),
		};

		if (buf_add(&index, &row, sizeof(row)) < 0) {
			buf_done(&index);
			return ply_fail_nomem(err);
		}
	}
	r = begin(w, PLY_SEG_JOIN, 4u + (collisions.len > 0),
		  w->join_rows.len + w->join_members.len + index.len + collisions.len, &s, &off, err);
	if (r == 0) {
		r = table(s, PLY_S_JOIN_ROWS, &w->join_rows, err);
		if (r == 0)
			r = table(s, PLY_S_JOIN_MEMBERS, &w->join_members, err);
		if (r == 0)
			r = table(s, PLY_S_JOIN_INDEX, &index, err);
		if (r == 0 && collisions.len)
			r = table(s, PLY_S_COLLISIONS, &collisions, err);
		if (r == 0)
			r = segw_finish(s, NULL, NULL, digest, NULL, &len, err);
		segw_free(s);
	}
	buf_done(&index);
	if (r == 0 && imagew_segment(w, PLY_SEG_JOIN, off, len, digest) < 0)
		r = ply_fail_nomem(err);
	return r;
}

static int imagew_uuid(const struct imagew *w, bool content, uint8_t ret[16])
{
	if (w->from) {
		ply_image_uuid(w->from, ret);
		return 0;
	}
	if (!content) {
		random_bytes(ret, 16);
		ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x40);
	} else {
		struct buf all = { 0 };
		uint8_t digest[32];
		int r = buf_printf(&all, "plyfs image");

		for (size_t i = 0; r == 0 && i < w->nsubs; i++)
			r = buf_add(&all, w->subs[i].row.uuid, 16);
		if (r == 0)
			r = sha256_once(all.data, all.len, digest);
		buf_done(&all);
		if (r < 0)
			return r;
		memcpy(ret, digest, 16);
		ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x80);
	}
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
	return 0;
}

static int write_catalog(struct imagew *w, const struct imagew_options *o, struct super *ret,
			 struct ply_err *err)
{
	struct ply_disk_catalog_head head = {
		.generation = le64_put(w->generation),
		.time_sec = le64_put((uint64_t)o->time_sec),
		.time_nsec = le32_put(o->time_nsec),
		.next_number = le32_put(w->next_number),
	};
	struct segw *s;
	int r = imagew_carry_join(w, err);

	if (r < 0)
		return r;
	imagew_parent(w, &head);
	head.join_first = le32_put((uint32_t)(w->segments.len / sizeof(struct ply_disk_segment_ref)));
	if (w->join_rows.len || w->ncollisions) {
		r = write_join(w, err);
		if (r < 0)
			return r;
		head.join_count = le32_put(1);
	}
	if (imagew_uuid(w, o->content_uuid, head.uuid) < 0 || imagew_string(w, o->message, &head.message) < 0 ||
	    imagew_string(w, o->tool, &head.tool) < 0)
		return ply_fail_nomem(err);
	r = begin(w, PLY_SEG_CATALOG, 6u + (w->mounts.len > 0) + (w->blobs.len > 0), 0, &s, &ret->catalog_off, err);
	if (r < 0)
		return r;
	r = segw_section(s, PLY_S_CATALOG_HEAD, 1, &head, sizeof(head), err);
	if (r == 0)
		r = segw_section(s, PLY_S_SUBS, w->nsubs, NULL, 0, err);
	for (size_t i = 0; r == 0 && i < w->nsubs; i++)
		r = segw_more(s, &w->subs[i].row, sizeof(w->subs[i].row), err);
	if (r == 0)
		r = table(s, PLY_S_SEGMENTS, &w->segments, err);
	if (r == 0)
		r = table(s, PLY_S_RELATIONS, &w->relations, err);
	if (r == 0)
		r = table(s, PLY_S_STRINGS, &w->strings, err);
	if (r == 0 && w->mounts.len)
		r = table(s, PLY_S_MOUNTS, &w->mounts, err);
	if (r == 0 && w->blobs.len)
		r = table(s, PLY_S_BLOBS, &w->blobs, err);
	if (r == 0)
		r = segw_finish(s, NULL, NULL, ret->catalog_digest, NULL, &ret->catalog_len, err);
	segw_free(s);
	memcpy(ret->uuid, head.uuid, sizeof(ret->uuid));
	ret->generation = w->generation;
	ret->committed_end = w->out.end;
	if (r == 0 && ret->catalog_len > PLY_CATALOG_MAX)
		return ply_fail(err, -E2BIG, PLY_R_LIMIT, "the catalog is larger than %u MiB", PLY_CATALOG_MAX >> 20);
	return r;
}

static int sys(struct imagew *w, const char *what, struct ply_err *err)
{
	return ply_fail(err, -errno, PLY_R_OUTPUT_WRITE, "%s: %s: %s", w->path, what, strerror(errno));
}

static int appeared(struct imagew *w, struct ply_err *err)
{
	return ply_fail(err, -EEXIST, PLY_R_IMAGE_EXISTS, "%s: appeared meanwhile; it was left alone", w->path);
}

/* The name itself on the disk. EINVAL: the file system has no such thing. */
static int sync_dir(struct imagew *w, struct ply_err *err)
{
	_cleanup_close_ int dir = openat(w->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return errno == EACCES ? 0 : sys(w, "cannot open its directory to sync it", err);
	if (fsync(dir) < 0 && errno != EINVAL)
		return sys(w, "has its name, but its directory cannot be synced", err);
	return 0;
}

/* Give the synced file its name. */
static int publish_name(struct imagew *w, struct ply_err *err)
{
	char proc[40];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", w->fd);
	if (w->hidden && !w->force) {
		/* there may be no hard links here either (vfat): a rename that overwrites nothing */
		if (renameat2(w->dirfd, w->hidden, w->dirfd, w->base, RENAME_NOREPLACE) == 0) {
			free(TAKE_PTR(w->hidden));
			return sync_dir(w, err);
		}
		if (errno == EEXIST)
			return appeared(w, err);
	}
	if (!w->hidden && !w->force) {
		if (linkat(AT_FDCWD, proc, w->dirfd, w->base, AT_SYMLINK_FOLLOW) < 0) {
			if (errno == EEXIST)
				return appeared(w, err);
			return sys(w, "cannot give the image its name", err);
		}
	} else {
		if (!w->hidden) {
			if (hidden_name(w) < 0)
				return ply_fail_nomem(err);
			if (linkat(AT_FDCWD, proc, w->dirfd, w->hidden, AT_SYMLINK_FOLLOW) < 0) {
				int r = sys(w, "cannot give the image a name", err);

				free(TAKE_PTR(w->hidden));
				return r;
			}
		}
		if (w->force ? renameat(w->dirfd, w->hidden, w->dirfd, w->base) < 0 :
			       linkat(w->dirfd, w->hidden, w->dirfd, w->base, 0) < 0)
			return sys(w, "cannot give the image its name", err);
		if (!w->force)
			unlinkat(w->dirfd, w->hidden, 0);
		free(TAKE_PTR(w->hidden));
	}
	return sync_dir(w, err);
}

int imagew_publish(struct imagew *w, const struct imagew_options *o, struct ply_err *err)
{
	struct super super = { 0 };
	uint8_t slot[PLY_SUPER_SIZE];
	int r;

	r = write_catalog(w, o, &super, err);
	if (w->from) {
		if (r == 0)
			r = imagew_commit(w, &super, err);
		imagew_roll_back(w);       /* nothing where it was committed */
		return r;
	}
	for (uint32_t i = 0; r == 0 && i < PLY_SUPER_SLOTS; i++) {
		super_encode(&super, i, slot);
		r = out_rewrite(&w->out, (uint64_t)i * PLY_SUPER_SIZE, slot, sizeof(slot), err);
	}
	if (r == 0)
		r = out_flush(&w->out, err);
	if (r < 0)
		return r;
	if (fsync(w->fd) < 0)
		return sys(w, "cannot sync the image", err);
	return publish_name(w, err);
}
