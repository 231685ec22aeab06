/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A further generation of an image that there is: see image_write.h, and FORMAT.md, "Container".
 *
 * Nothing below the committed end is written but the two superblock slots, at the very end: first the one that
 * does not hold the old generation, then, when that is on the disk, the other. So at any moment one of them is whole
 * and leads to a whole generation. Bytes behind the committed end are what an interrupted commit left; they
 * are overwritten.
 *
 * Writers exclude each other by flock(2); readers need no lock, since what they read never changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "image/catalog.h"
#include "image/image_write_internal.h"
#include "image/join.h"

static int sys(struct imagew *w, int code, const char *what, struct ply_err *err)
{
	return ply_fail(err, code, PLY_R_OUTPUT_WRITE, "%s: %s: %s", w->path, what, strerror(-code));
}

/* --- begin ------------------------------------------------------------------------------ */

static int open_locked(struct imagew *w, struct ply_err *err)
{
	struct stat st;

	w->fd = open(w->path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (w->fd < 0)
		return sys(w, -errno, "cannot open the image to write to it", err);
	if (fstat(w->fd, &st) < 0)
		return sys(w, -errno, "stat", err);
	if (!S_ISREG(st.st_mode))
		return ply_fail(err, -EINVAL, PLY_R_IMAGE_NOT_REGULAR, "%s: is no image file", w->path);
	if (flock(w->fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return ply_fail(err, -EAGAIN, PLY_R_IMAGE_BUSY,
					"%s: another process adds to this image or removes from it (lslocks says which); "
					"try again when it is done", w->path);
		return sys(w, -errno, "cannot lock the image", err);
	}
	w->old_size = (uint64_t)st.st_size;
	return 0;
}

/* Is what @from was opened with still the newest generation? Nobody else writes from here on. */
static int check_supers(struct imagew *w, const struct super *old, struct ply_err *err)
{
	bool valid[PLY_SUPER_SLOTS], holds[PLY_SUPER_SLOTS];

	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++) {
		uint8_t raw[PLY_SUPER_SIZE];
		struct super s;
		int r = pread_full(w->fd, raw, sizeof(raw), (uint64_t)i * PLY_SUPER_SIZE);

		if (r < 0)
			return sys(w, r, "cannot read the superblock", err);
		valid[i] = super_decode(raw, i, w->old_size, &s, NULL) == 0;
		holds[i] = valid[i] && s.generation == old->generation &&
			   memcmp(s.catalog_digest, old->catalog_digest, sizeof(s.catalog_digest)) == 0 &&
			   memcmp(s.uuid, old->uuid, sizeof(s.uuid)) == 0 &&
			   s.committed_end == old->committed_end;
		if (valid[i] && !holds[i] && s.generation >= old->generation)
			return ply_fail(err, -EAGAIN, PLY_R_IMAGE_BUSY,
					"%s: the image has got another generation meanwhile; try again", w->path);
	}
	if (!holds[0] && !holds[1])
		return ply_fail(err, -EAGAIN, PLY_R_IMAGE_BUSY, "%s: the image was replaced meanwhile; try again",
				w->path);
	w->first_slot = holds[0] ? 1 : 0;
	if (old->ro_compat & ~SUPER_RO_COMPAT_KNOWN)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_SUPER_FEATURE,
				"%s: has features %#llx that this plyfs cannot write; use a newer one", w->path,
				(unsigned long long)(old->ro_compat & ~SUPER_RO_COMPAT_KNOWN));
	if (old->generation == UINT64_MAX)
		return ply_fail(err, -E2BIG, PLY_R_LIMIT, "%s: it has the last generation that there is", w->path);
	w->generation = old->generation + 1;
	return 0;
}

/* What lies behind the committed end is overwritten: nothing of the old generation may. */
static int check_segments(const struct imagew *w, const struct super *old, struct ply_err *err)
{
	const struct catalog *c = image_catalog(w->from);

	for (uint32_t i = 0; i < c->nsegments; i++)
		if (c->segments[i].off + c->segments[i].len > old->committed_end)
			return ply_fail(err, -EUCLEAN, PLY_R_CATALOG_FIELD,
					"%s: segment %u of the image lies behind its committed end", w->path, i);
	return 0;
}

/* --- what the old generation has -------------------------------------------------------------- */

static bool is_removed(const struct imagew *w, uint32_t number)
{
	return number > PLY_NUMBER_MAX || w->removed[number];
}

static int carry_relations(struct imagew *w, const struct ply_sub_info *s)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->nrequires; i++)
		r = imagew_relation(w, PLY_REL_REQUIRES, s->number, s->require_groups[i], s->requires[i]);
	for (uint32_t i = 0; r == 0 && i < s->nprovides; i++)
		r = imagew_relation(w, PLY_REL_PROVIDES, s->number, i, s->provides[i]);
	for (uint32_t i = 0; r == 0 && i < s->nstands_on; i++)
		r = imagew_relation(w, PLY_REL_STANDS_ON, s->number, i, s->stands_on[i]);
	return r;
}

static int carry_sub(struct imagew *w, const struct catalog *c, const struct catalog_sub *cs)
{
	const struct ply_sub_info *s = &cs->info;
	const struct catalog_segment *seg = &c->segments[cs->seg_first];
	struct ply_disk_sub row = {
		.number = le32_put(s->number),
		.rank = le32_put(s->rank),
		.flags = le32_put(s->flags),
		.seg_first = le32_put((uint32_t)(w->segments.len / sizeof(struct ply_disk_segment_ref))),
		.seg_count = le32_put(1),
		.nodes = le64_put(s->nodes),
		.bytes = le64_put(s->bytes),
	};

	memcpy(row.uuid, s->uuid, sizeof(row.uuid));
	if (imagew_string(w, s->name, &row.name) < 0 || imagew_string(w, s->arch, &row.arch) < 0 ||
	    imagew_string(w, s->distro, &row.distro) < 0 || imagew_string(w, s->summary, &row.summary) < 0 ||
	    imagew_segment(w, seg->kind, seg->off, seg->len, seg->digest) < 0 ||
	    array_grow(&w->subs, &w->subs_cap, w->nsubs + 1, sizeof(*w->subs)) < 0)
		return -ENOMEM;
	w->subs[w->nsubs++] = (struct pending_sub){ .row = row };
	return carry_relations(w, s);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = (*(const struct catalog_sub *const *)a)->info.number;
	uint32_t y = (*(const struct catalog_sub *const *)b)->info.number;

	return x < y ? -1 : x > y;
}

static int carry_subs(struct imagew *w, const struct catalog *c)
{
	_cleanup_free_ const struct catalog_sub **sorted = calloc(c->nsubs, sizeof(*sorted));
	int r = sorted ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < c->nsubs; i++)
		sorted[i] = &c->subs[i];
	if (r == 0)
		qsort(sorted, c->nsubs, sizeof(*sorted), by_number);
	for (uint32_t i = 0; r == 0 && i < c->nsubs; i++)
		if (!is_removed(w, sorted[i]->info.number))
			r = carry_sub(w, c, sorted[i]);
	return r;
}

/* Everything of the catalog, but without what is removed; again from the begin. */
static int carry_catalog(struct imagew *w, struct ply_err *err)
{
	const struct catalog *c = image_catalog(w->from);
	int r;

	w->nsubs = 0;
	w->strings.len = w->segments.len = w->relations.len = w->mounts.len = w->blobs.len = 0;
	r = carry_subs(w, c) < 0 ? ply_fail_nomem(err) : 0;
	for (uint32_t i = 0; r == 0 && i < c->nmounts; i++)
		r = imagew_add_mount(w, c->mounts[i].path, c->mounts[i].type, c->mounts[i].subtree, err);
	for (uint32_t i = 0; r == 0 && i < c->nblobs; i++) {
		const struct catalog_blob *b = &c->blobs[i];

		if (b->sub == PLY_BLOB_OF_IMAGE || !is_removed(w, b->sub))
			r = imagew_add_blob(w, b->sub, b->name, b->bytes, b->len, err);
	}
	return r;
}

int imagew_append(const char *path, struct ply_image *from, struct imagew **ret, struct ply_err *err)
{
	const struct super *old = image_super(from);
	struct imagew *w;
	int r;

	if (ply_image_generation(from)->generation != old->generation)
		return ply_fail(err, -EINVAL, PLY_R_USAGE,
				"%s: generation %llu is not the newest; only that one can be added to, and removed from",
				path, (unsigned long long)ply_image_generation(from)->generation);
	w = calloc(1, sizeof(*w));
	if (!w)
		return ply_fail_nomem(err);
	w->fd = w->dirfd = -1;
	w->settled = true;         /* until it is known what the old length is */
	w->from = from;
	w->next_number = image_catalog(from)->next_number;
	w->path = strdup(path);
	w->removed = calloc(PLY_NUMBER_MAX + 1, sizeof(*w->removed));
	r = w->path && w->removed ? open_locked(w, err) : ply_fail_nomem(err);
	if (r == 0)
		r = check_supers(w, old, err);
	if (r == 0)
		r = check_segments(w, old, err);
	if (r == 0)
		r = out_init(&w->out, w->fd, old->committed_end, w->path, err);
	if (r == 0)
		r = out_align(&w->out, PLY_ALIGN, err);
	if (r == 0)
		r = carry_catalog(w, err);
	if (r < 0) {
		imagew_free(w);
		return r;
	}
	w->settled = false;
	*ret = w;
	return 0;
}

/* --- remove ----------------------------------------------------------------------------------- */

static bool has_name(const char *const *names, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static int check_removable(const struct imagew *w, uint32_t number, struct ply_err *err)
{
	const struct catalog *c = image_catalog(w->from);
	const struct ply_sub_info *s = NULL;

	for (uint32_t i = 0; i < c->nsubs; i++)
		if (c->subs[i].info.number == number && !is_removed(w, number))
			s = &c->subs[i].info;
	if (!s)
		return ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN, "there is no sub-image %u", number);
	if (!(s->flags & PLY_SUB_OVERLAY))
		return ply_fail(err, -EINVAL, PLY_R_PARENT,
				"%s was captured with the others of its machine, and cannot be removed from them",
				s->name);
	for (uint32_t i = 0; i < c->nsubs; i++) {
		const struct ply_sub_info *o = &c->subs[i].info;

		if (o != s && !is_removed(w, o->number) &&
		    (has_name(o->stands_on, o->nstands_on, s->name) ||
		     has_name(o->requires, o->nrequires, s->name)))
			return ply_fail(err, -EBUSY, PLY_R_PARENT, "%s is needed by %s; remove that first", s->name,
					o->name);
	}
	return 0;
}

int imagew_remove_sub(struct imagew *w, uint32_t number, struct ply_err *err)
{
	int r;

	if (!w->from || w->next_number != image_catalog(w->from)->next_number)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "a sub-image is removed before others are added");
	r = check_removable(w, number, err);
	if (r < 0)
		return r;
	w->removed[number] = true;
	return carry_catalog(w, err);
}

/* --- the join table ---------------------------------------------------------------------------- */

/* The members of old row @row that stay; @refs and @digests have room for all. */
static int kept_members(const struct imagew *w, const struct join *j, const struct join_row *row, uint64_t *refs,
			uint8_t *digests, uint32_t *ret_n, struct ply_err *err)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < row->nmembers; i++) {
		struct join_member m;
		int r = join_member(j, row, i, &m, err);

		if (r < 0)
			return r;
		if (is_removed(w, PLY_INO_NUMBER(m.ref)))
			continue;
		if (refs) {
			refs[n] = m.ref;
			memcpy(digests + 32 * (size_t)n, m.digest, 32);
		}
		n++;
	}
	*ret_n = n;
	return 0;
}

/* @before[i]: how many of the old rows below i stay. Those of one parent stay together, in their order. */
static int count_rows(const struct imagew *w, const struct join *j, uint64_t *before, struct ply_err *err)
{
	uint64_t members = 0;
	uint32_t n = 0;

	for (uint64_t i = 0; i < join_nrows(j); i++) {
		struct join_row row;
		int r = join_row(j, i, &row, err);

		if (r < 0)
			return r;
		members += row.nmembers;
		if (members > join_nmembers(j))
			return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu has members of other rows",
					(unsigned long long)i);
		r = kept_members(w, j, &row, NULL, NULL, &n, err);
		if (r < 0)
			return r;
		before[i + 1] = before[i] + (n >= 2);
	}
	return 0;
}

static int carry_row(struct imagew *w, const struct join *j, const uint64_t *before, uint64_t i, uint64_t *refs,
		     uint8_t *digests, struct ply_err *err)
{
	struct join_row row;
	uint64_t at, children;
	uint32_t n = 0;
	int r = join_row(j, i, &row, err);

	if (r == 0)
		r = kept_members(w, j, &row, refs, digests, &n, err);
	if (r < 0 || n < 2)
		return r;
	r = imagew_join(w, row.kind, refs, digests, n, &at, err);
	children = before[row.first_child + row.nchildren] - before[row.first_child];
	if (r == 0)
		r = imagew_join_children(w, at, children ? before[row.first_child] : 0, children);
	return r;
}

static int carry_rows(struct imagew *w, const struct join *j, struct ply_err *err)
{
	_cleanup_free_ uint64_t *before = calloc(join_nrows(j) + 1, sizeof(*before));
	_cleanup_free_ uint64_t *refs = calloc(PLY_NUMBER_MAX + 1, sizeof(*refs));
	_cleanup_free_ uint8_t *digests = calloc(PLY_NUMBER_MAX + 1, 32);
	int r;

	if (!before || !refs || !digests)
		return ply_fail_nomem(err);
	r = count_rows(w, j, before, err);
	for (uint64_t i = 0; r == 0 && i < join_nrows(j); i++)
		r = carry_row(w, j, before, i, refs, digests, err);
	return r;
}

/* Those that there were come before those that imagew_collision() gave, which count. */
static int carry_collisions(struct imagew *w, const struct join *j, struct ply_err *err)
{
	size_t given = w->ncollisions;
	uint64_t n = join_ncollisions(j);

	if (array_grow(&w->collisions, &w->collisions_cap, given + n, sizeof(*w->collisions)) < 0)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < given; i++)
		w->collisions[i].order += n;
	for (uint64_t i = 0; i < n; i++) {
		struct ply_collision c;
		int r = join_collision(j, i, &c, err);

		if (r < 0)
			return r;
		if (!is_removed(w, PLY_INO_NUMBER(c.a)) && !is_removed(w, PLY_INO_NUMBER(c.b)))
			w->collisions[w->ncollisions++] = (struct pending_collision){ .c = c, .order = i };
	}
	return 0;
}

int imagew_carry_join(struct imagew *w, struct ply_err *err)
{
	const struct join *j = w->from ? image_join(w->from) : NULL;
	int r = 0;

	if (!j)
		return 0;
	if (!w->join_rows.len)
		r = carry_rows(w, j, err);
	return r < 0 ? r : carry_collisions(w, j, err);
}

/* --- end ---------------------------------------------------------------------------------------- */

void imagew_parent(const struct imagew *w, struct ply_disk_catalog_head *head)
{
	const struct ply_generation_info *g;

	if (!w->from)
		return;
	g = ply_image_generation(w->from);
	head->parent_generation = le64_put(g->generation);
	head->parent_off = le64_put(g->catalog_off);
	head->parent_len = le64_put(g->catalog_len);
	memcpy(head->parent_digest, g->digest, sizeof(head->parent_digest));
}

void imagew_roll_back(struct imagew *w)
{
	struct stat st;

	if (!w->from || w->settled)
		return;
	w->settled = true;
	/* what it leaves behind where this fails belongs to nobody */
	if (fstat(w->fd, &st) == 0 && (uint64_t)st.st_size > w->old_size && ftruncate(w->fd, (off_t)w->old_size) < 0)
		return;
}

static int sync_data(struct imagew *w)
{
	return fdatasync(w->fd) < 0 ? -errno : 0;
}

static int write_slot(struct imagew *w, const struct super *super, uint32_t slot)
{
	uint8_t raw[PLY_SUPER_SIZE];
	int r;

	super_encode(super, slot, raw);
	r = pwrite_full(w->fd, raw, sizeof(raw), (uint64_t)slot * PLY_SUPER_SIZE);
	return r < 0 ? r : sync_data(w);
}

/* What a reader will look at, before it is the image. */
static int check_catalog(struct imagew *w, const struct super *s, struct ply_err *err)
{
	struct catalog *c = NULL;
	char proc[40];
	struct io *io;
	int r;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", w->fd);
	r = io_open_file(proc, &io, err);
	if (r < 0)
		return r;
	r = catalog_open(io, s->catalog_off, s->catalog_len, s->catalog_digest, &c, err);
	catalog_close(c);
	io_close(io);
	return r;
}

/* The first slot could not be written: nobody knows what it holds, so it gets its old bytes. Where that fails, too,
 * both generations stay on the disk, and either may open. */
static int undo_slot(struct imagew *w, const uint8_t old[PLY_SUPER_SIZE], int code, struct ply_err *err)
{
	int r = pwrite_full(w->fd, old, PLY_SUPER_SIZE, (uint64_t)w->first_slot * PLY_SUPER_SIZE);

	if (r == 0)
		r = sync_data(w);
	if (r < 0) {
		w->settled = true;
		return ply_fail(err, code, PLY_R_OUTPUT_WRITE,
				"%s: cannot write the superblock: %s; nor can what it was: which of generations %llu and "
				"%llu opens is not certain, and both are whole", w->path, strerror(-code),
				(unsigned long long)w->generation - 1, (unsigned long long)w->generation);
	}
	return sys(w, code, "cannot write the superblock", err);
}

/* A capture that replaced the file has made another image of that name: a generation in the one that has no name any
 * more would be nobody's. */
static int check_name(struct imagew *w, struct ply_err *err)
{
	struct stat is, named;
	int r = fstat(w->fd, &is) < 0 || stat(w->path, &named) < 0 ? -errno : 0;

	if (r < 0 && r != -ENOENT)
		return sys(w, r, "stat", err);
	if (r < 0 || is.st_dev != named.st_dev || is.st_ino != named.st_ino)
		return ply_fail(err, -EAGAIN, PLY_R_IMAGE_BUSY, "%s: the image was replaced meanwhile; try again", w->path);
	return 0;
}

int imagew_commit(struct imagew *w, const struct super *super, struct ply_err *err)
{
	struct super s = *super;
	uint8_t old[PLY_SUPER_SIZE];
	int r = out_flush(&w->out, err);

	s.compat = image_super(w->from)->compat;
	s.ro_compat = image_super(w->from)->ro_compat;
	s.incompat = image_super(w->from)->incompat;
	if (r < 0)
		return r;
	if (w->old_size > w->out.end && ftruncate(w->fd, (off_t)w->out.end) < 0)
		return sys(w, -errno, "cannot cut off what an interrupted commit left", err);
	r = check_catalog(w, &s, err);
	if (r < 0)
		return r;
	r = pread_full(w->fd, old, sizeof(old), (uint64_t)w->first_slot * PLY_SUPER_SIZE);
	if (r == 0)
		r = sync_data(w);
	if (r < 0)
		return sys(w, r, "cannot sync the image", err);
	r = check_name(w, err);
	if (r < 0)
		return r;
	r = write_slot(w, &s, w->first_slot);
	if (r < 0)
		return undo_slot(w, old, r, err);
	w->settled = true;
	/* the generation is there; a slot that this leaves damaged or old, every reader tells about */
	(void)write_slot(w, &s, !w->first_slot);
	return 0;
}
