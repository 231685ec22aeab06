/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a composite image: superblock, generation, catalog, join table. Cost
 * follows the number of sub-images, never that of the files; a sub-image is opened
 * when it is first used.
 *
 * Locking: `lock` guards `subs`; everything else is immutable after open.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "image/catalog.h"
#include "image/join.h"
#include "plyfs/image.h"
#include "sub/sub.h"

struct ply_image {
	struct io *io;
	struct super super;
	struct catalog *catalog;
	struct join *join;         /* NULL: one sub-image, nothing joined */
	char *warning;
	pthread_mutex_t lock;
	struct sub **subs;         /* by position */
};

/* The newest valid slot. Both hold the same generation but in the moment of a commit. */
static int read_super(struct ply_image *im, struct ply_err *err)
{
	uint8_t raw[PLY_SUPER_SIZE];
	struct ply_err errs[PLY_SUPER_SLOTS];
	struct super s[PLY_SUPER_SLOTS];
	int r[PLY_SUPER_SLOTS], best = -1;

	if (im->io->size < PLY_SUPER_SLOTS * PLY_SUPER_SIZE)
		return ply_fail(err, -EUCLEAN, PLY_R_IMAGE_NOT_PLYFS,
				"not a plyfs image: %llu bytes are too few",
				(unsigned long long)im->io->size);
	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++) {
		r[i] = io_pread(im->io, raw, sizeof(raw), (uint64_t)i * PLY_SUPER_SIZE);
		if (r[i] < 0)
			ply_fail(&errs[i], r[i], PLY_R_IMAGE_IO, "superblock %u: cannot be read: %s", i,
				 strerror(-r[i]));
		else
			r[i] = super_decode(raw, i, im->io->size, &s[i], &errs[i]);
		if (r[i] == 0 && (best < 0 || s[i].generation > s[best].generation))
			best = (int)i;
	}
	if (best < 0) {
		/* what slot 1 says counts where slot 0 was only overwritten */
		int say = errs[0].reason == PLY_R_IMAGE_NOT_PLYFS &&
			  errs[1].reason != PLY_R_IMAGE_NOT_PLYFS;

		if (err)
			*err = errs[say];
		return r[say];
	}
	im->super = s[best];
	if (r[!best] < 0 &&
	    asprintf(&im->warning, "%s; slot %d is used, generation %llu. A newer generation may "
		     "have been lost: compare with what you know, and copy the image",
		     errs[!best].msg, best, (unsigned long long)s[best].generation) < 0)
		return ply_fail_nomem(err);
	if (r[!best] == 0 && s[!best].generation + 1 < s[best].generation &&
	    asprintf(&im->warning, "superblock %d is %llu generations behind", !best,
		     (unsigned long long)(s[best].generation - s[!best].generation)) < 0)
		return ply_fail_nomem(err);
	return 0;
}

/* Walk from the newest catalog to @generation (0: the newest). */
static int find_generation(struct ply_image *im, uint64_t generation, struct ply_err *err)
{
	struct catalog *c;
	int r;

	r = catalog_open(im->io, im->super.catalog_off, im->super.catalog_len,
			 im->super.catalog_digest, &c, err);
	if (r < 0)
		return r;
	if (c->generation.generation != im->super.generation ||
	    memcmp(c->uuid, im->super.uuid, sizeof(c->uuid)) != 0) {
		catalog_close(c);
		return ply_fail(err, -EUCLEAN, PLY_R_CATALOG_FIELD,
				"the catalog belongs to another image or generation");
	}
	while (generation && c->generation.generation != generation) {
		struct catalog *up = NULL;

		if (c->generation.generation < generation || !c->generation.parent) {
			catalog_close(c);
			return ply_fail(err, -ENOENT, PLY_R_GENERATION_UNKNOWN,
					"there is no generation %llu; the newest is %llu",
					(unsigned long long)generation,
					(unsigned long long)im->super.generation);
		}
		r = catalog_open(im->io, c->parent_off, c->parent_len, c->parent_digest, &up, err);
		if (r == 0 && up->generation.generation != c->generation.parent)
			r = ply_fail(err, -EUCLEAN, PLY_R_CATALOG_FIELD,
				     "a generation's parent is another one");
		catalog_close(c);
		if (r < 0) {
			catalog_close(up);
			return r;
		}
		c = up;
	}
	im->catalog = c;
	return 0;
}

int ply_image_open_io(struct io *io, uint64_t generation, struct ply_image **ret,
		      struct ply_err *err)
{
	struct ply_image *im = calloc(1, sizeof(*im));
	int r;

	if (!im) {
		io_close(io);
		return ply_fail_nomem(err);
	}
	im->io = io;
	pthread_mutex_init(&im->lock, NULL);
	r = read_super(im, err);
	if (r == 0)
		r = find_generation(im, generation, err);
	if (r == 0) {
		im->subs = calloc(im->catalog->nsubs, sizeof(*im->subs));
		if (!im->subs)
			r = ply_fail_nomem(err);
	}
	if (r == 0 && im->catalog->join_count) {
		const struct catalog_segment *s = &im->catalog->segments[im->catalog->join_first];

		r = join_open(io, s->off, s->len, s->digest, &im->join, err);
	}
	if (r < 0) {
		ply_image_close(im);
		return r;
	}
	*ret = im;
	return 0;
}

/* "IMAGE@N" -> length of IMAGE and N; false: no such suffix. */
static bool generation_suffix(const char *path, size_t *ret_len, uint64_t *ret)
{
	const char *at = strrchr(path, '@');
	unsigned long long n;
	char *end;

	if (!at || at == path || at[1] < '1' || at[1] > '9')
		return false;
	errno = 0;
	n = strtoull(at + 1, &end, 10);
	if (errno || *end)
		return false;
	*ret_len = (size_t)(at - path);
	*ret = n;
	return true;
}

int image_io_open(const char *path, struct io **ret, uint64_t *ret_generation, struct ply_err *err)
{
	_cleanup_free_ char *cut = NULL;
	uint64_t generation = 0;
	struct stat st;
	size_t len;
	int r;

	if (stat(path, &st) < 0 && errno == ENOENT && generation_suffix(path, &len, &generation)) {
		cut = strndup(path, len);
		if (!cut)
			return ply_fail_nomem(err);
	}
	r = io_open_file(cut ? cut : path, ret, err);
	if (r == 0)
		*ret_generation = generation;
	return r;
}

int ply_image_open(const char *path, struct ply_image **ret, struct ply_err *err)
{
	uint64_t generation;
	struct io *io;
	int r;

	r = image_io_open(path, &io, &generation, err);
	if (r < 0)
		return r;
	r = ply_image_open_io(io, generation, ret, err);
	if (r < 0)
		ply_err_prefix(err, "%s", path);
	return r;
}

struct ply_image *ply_image_close(struct ply_image *im)
{
	if (!im)
		return NULL;
	for (uint32_t i = 0; im->subs && i < im->catalog->nsubs; i++)
		sub_close(im->subs[i]);
	free(im->subs);
	join_close(im->join);
	catalog_close(im->catalog);
	io_close(im->io);
	pthread_mutex_destroy(&im->lock);
	free(im->warning);
	free(im);
	return NULL;
}

const char *ply_image_warning(const struct ply_image *im)
{
	return im->warning;
}

const char *ply_image_path(const struct ply_image *im)
{
	return im->io->path ? im->io->path : "(memory)";
}

void ply_image_uuid(const struct ply_image *im, uint8_t ret[16])
{
	memcpy(ret, im->super.uuid, 16);
}

const struct ply_generation_info *ply_image_generation(const struct ply_image *im)
{
	return &im->catalog->generation;
}

uint64_t ply_image_size(const struct ply_image *im)
{
	return im->io->size;
}

uint64_t ply_image_committed_end(const struct ply_image *im)
{
	return im->super.committed_end;
}

uint32_t ply_image_nsubs(const struct ply_image *im)
{
	return im->catalog->nsubs;
}

const struct ply_sub_info *ply_image_sub_info(const struct ply_image *im, uint32_t i)
{
	return &im->catalog->subs[i].info;
}

uint32_t ply_image_nmounts(const struct ply_image *im)
{
	return im->catalog->nmounts;
}

const struct ply_mount_info *ply_image_mount(const struct ply_image *im, uint32_t i)
{
	return i < im->catalog->nmounts ? &im->catalog->mounts[i] : NULL;
}

const char *ply_image_blob(const struct ply_image *im, uint32_t i, const char *name, size_t *ret_len)
{
	uint32_t number = i == PLY_BLOB_OF_IMAGE ? i : im->catalog->subs[i].info.number;

	for (uint32_t b = 0; b < im->catalog->nblobs; b++) {
		const struct catalog_blob *blob = &im->catalog->blobs[b];

		if (blob->sub == number && !strcmp(blob->name, name)) {
			*ret_len = blob->len;
			return blob->bytes;
		}
	}
	return NULL;
}

int ply_image_find_sub(const struct ply_image *im, const char *name, uint32_t *ret_i)
{
	for (uint32_t i = 0; i < im->catalog->nsubs; i++) {
		if (strcmp(im->catalog->subs[i].info.name, name) == 0) {
			*ret_i = i;
			return 0;
		}
	}
	return -ENOENT;
}

int image_sub(struct ply_image *im, uint32_t i, struct sub **ret, struct ply_err *err)
{
	const struct catalog_sub *cs = &im->catalog->subs[i];
	const struct catalog_segment *s = &im->catalog->segments[cs->seg_first];
	struct sub *sub;
	int r = 0;

	pthread_mutex_lock(&im->lock);
	if (!im->subs[i]) {
		r = sub_open(im->io, s->off, s->len, s->digest, cs->info.number, &sub, err);
		if (r == 0 && (sub_limits(sub)->nodes != cs->info.nodes ||
			       memcmp(meta_segment(sub_meta(sub))->uuid, cs->info.uuid, 16) != 0)) {
			sub_close(sub);
			r = ply_fail(err, -EUCLEAN, PLY_R_CATALOG_FIELD,
				     "sub-image %s: the segment is another one", cs->info.name);
		}
		if (r == 0)
			im->subs[i] = sub;
		else
			ply_err_prefix(err, "sub-image %s", cs->info.name);
	}
	pthread_mutex_unlock(&im->lock);
	if (r == 0)
		*ret = im->subs[i];
	return r;
}

const struct join *image_join(const struct ply_image *im)
{
	return im->join;
}

const struct catalog *image_catalog(const struct ply_image *im)
{
	return im->catalog;
}

const struct super *image_super(const struct ply_image *im)
{
	return &im->super;
}

struct io *image_io(const struct ply_image *im)
{
	return im->io;
}
