/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parent of a log: see parent.h.
 *
 * The place that the log remembers is only where to look first: what counts is UUID, generation and digest. So an
 * image and its logs can be moved together, and an image of the same name is never taken for another one.
 */
#include "ops/parent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "format/format.h"
#include "io/io.h"

static int is_foreign(const struct redo_binding *b, const struct ply_image *image, const char *path,
		      struct ply_err *err)
{
	char is[37], wanted[37];
	uint8_t uuid[16];

	ply_image_uuid(image, uuid);
	if (memcmp(uuid, b->parent_uuid, sizeof(uuid)) == 0)
		return 0;
	uuid_format(uuid, is);
	uuid_format(b->parent_uuid, wanted);
	return ply_fail(err, -ESTALE, PLY_R_REDO_PARENT_FOREIGN,
			"%s: is another image (%s) than the one that the log stands on (%s); when that one has "
			"moved: plyfs relink REDO IMAGE",
			path, is, wanted);
}

static int is_changed(const struct redo_binding *b, const struct ply_image *image, const char *path,
		      struct ply_err *err)
{
	const struct ply_generation_info *g = ply_image_generation(image);
	char is[65], wanted[65];

	if (memcmp(g->digest, b->parent_digest, sizeof(g->digest)) == 0)
		return 0;
	hex_encode(g->digest, sizeof(g->digest), is);
	hex_encode(b->parent_digest, sizeof(b->parent_digest), wanted);
	return ply_fail(err, -ESTALE, PLY_R_REDO_PARENT_CHANGED,
			"%s: was replaced: generation %llu has digest sha256:%s, and the log stands on sha256:%s, "
			"and opens on nothing else: put that back, or say where it is: plyfs relink REDO IMAGE",
			path, (unsigned long long)g->generation, is, wanted);
}

/* The generation is not in the image. Or is it another image altogether? */
static int is_dropped(const struct redo_binding *b, const char *path, struct ply_err *err)
{
	struct ply_image *newest;
	struct io *io;
	int r = io_open_file(path, &io, err);

	if (r == 0)
		r = ply_image_open_io(io, 0, &newest, err);
	if (r < 0)
		return r;
	r = is_foreign(b, newest, path, err);
	if (r == 0)
		r = ply_fail(err, -ESTALE, PLY_R_REDO_PARENT_DROPPED,
			     "%s: the log stands on generation %llu, which this image has no more (its newest is "
			     "%llu); a copy that has it will do: plyfs relink REDO IMAGE",
			     path, (unsigned long long)b->parent_generation,
			     (unsigned long long)ply_image_generation(newest)->generation);
	ply_image_close(newest);
	return r;
}

static bool is_missing(const struct ply_err *e)
{
	return e->reason == PLY_R_IMAGE_NOT_FOUND || (e->reason == PLY_R_SYSTEM && e->code == -ENOTDIR);
}

static int try_place(const struct redo_binding *b, const char *path, struct ply_image **ret, struct ply_err *err)
{
	struct ply_image *image;
	struct io *io;
	int r = io_open_file(path, &io, err);

	if (r < 0)
		return r;
	r = ply_image_open_io(io, b->parent_generation, &image, err);
	if (r < 0) {
		if (err->reason == PLY_R_GENERATION_UNKNOWN)
			return is_dropped(b, path, err);
		ply_err_prefix(err, "%s", path);
		return r;
	}
	r = is_foreign(b, image, path, err);
	if (r == 0)
		r = is_changed(b, image, path, err);
	if (r < 0)
		ply_image_close(image);
	else
		*ret = image;
	return r;
}

static int check_kind(const struct redo_binding *b, struct ply_err *err)
{
	if (b->parent_generation)
		return 0;
	return ply_fail(err, -EOPNOTSUPP, PLY_R_REDO_PARENT_LOG,
			"the log stands on another log; this plyfs opens logs on images only: use a newer one");
}

/* Where the image is when the two were moved together; *ret is NULL where that is no other place. */
static int beside(const char *redo_path, const char *path, char **ret)
{
	const char *slash = redo_path ? strrchr(redo_path, '/') : NULL, *name = strrchr(path, '/');
	int folder = slash ? (int)(slash - redo_path) + 1 : 0;

	*ret = NULL;
	name = name ? name + 1 : path;
	if (!redo_path || !*name)
		return 0;
	if (asprintf(ret, "%.*s%s", folder, redo_path, name) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	if (strcmp(*ret, path) == 0) {
		free(*ret);
		*ret = NULL;
	}
	return 0;
}

int parent_open(struct redo *log, const char *redo_path, struct ply_image **ret_image, struct ply_err *err)
{
	const struct redo_binding *b = redo_binding(log);
	_cleanup_free_ char *other = NULL;
	bool absolute = *b->path == '/';       /* another one would be searched for in whatever folder this is */
	struct ply_err first = { .reason = PLY_R_NONE }, why;
	int r = check_kind(b, err);

	if (r < 0)
		return r;
	if (beside(redo_path, b->path, &other) < 0)
		return ply_fail_nomem(err);
	if (absolute && try_place(b, b->path, ret_image, &first) == 0)
		return 0;
	if (other && try_place(b, other, ret_image, &why) == 0)
		return 0;
	/* what is there, and is not it, says more than what is not there */
	if (absolute && !is_missing(&first))
		why = first;
	else if (!other || is_missing(&why))
		ply_fail(&why, -ENOENT, PLY_R_REDO_PARENT_MISSING,
			 "the image that the log stands on is missing: it was last seen at %s, and is not beside the "
			 "log either; say where it is: plyfs relink REDO IMAGE",
			 *b->path ? b->path : "a place that is not known");
	if (err)
		*err = why;
	return why.code;
}

int parent_open_at(struct redo *log, const char *path, struct ply_image **ret_image, struct ply_err *err)
{
	const struct redo_binding *b = redo_binding(log);
	struct ply_err why;
	int r = check_kind(b, &why);

	if (r == 0)
		r = try_place(b, path, ret_image, &why);
	if (r < 0 && err)
		*err = why;
	return r;
}

/* --- the view ------------------------------------------------------------------------------------- */

int parent_view_open(struct ply_image *image, struct redo *log, size_t cache_bytes, struct ply_view **ret,
		     struct ply_err *err)
{
	const struct redo_binding *b = redo_binding(log);
	_cleanup_free_ const char **names = NULL;
	struct ply_view_options o = { .cache_bytes = cache_bytes, .decisions = b->decisions,
				      .ndecisions = b->ndecisions };
	int r;

	if (!b->nnames || b->nnames > ply_image_nsubs(image))
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_BINDING,
				"what the log stands on is damaged: it has %u names for a selection of %u sub-images",
				b->nnames, ply_image_nsubs(image));
	names = calloc(b->nnames, sizeof(*names));
	if (!names)
		return ply_fail_nomem(err);
	for (const char *name = redo_binding_name(b, NULL); name; name = redo_binding_name(b, name))
		names[o.n++] = name;
	o.names = names;
	r = ply_view_open_with(image, &o, ret, err);
	if (r != -EINVAL && r != -ENOENT)
		return r;
	/* it is the image that the log was made for: nobody has chosen anything that is not there */
	ply_err_prefix(err, "what the log stands on is damaged");
	if (err) {
		err->code = -EUCLEAN;
		err->reason = PLY_R_REDO_BINDING;
	}
	return -EUCLEAN;
}

int parent_bind(struct ply_view *view, const struct ply_decision *decisions, size_t ndecisions, struct buf *memory,
		struct redo_binding *ret, struct ply_err *err)
{
	const struct ply_image *image = ply_view_image(view);
	const struct ply_generation_info *g = ply_image_generation(image);
	struct redo_binding b = { .parent_generation = g->generation, .number = PLY_REDO_NUMBER_MIN,
				  .nnames = ply_view_nsubs(view), .decisions = decisions,
				  .ndecisions = (uint32_t)ndecisions, .path = ply_image_path(image) };

	for (uint32_t i = 0; i < b.nnames; i++) {
		const char *name = ply_image_sub_info(image, ply_view_sub(view, i))->name;

		if (buf_add(memory, name, strlen(name) + 1) < 0)
			return ply_fail_nomem(err);
	}
	b.names = (const char *)memory->data;
	b.names_len = memory->len;
	ply_image_uuid(image, b.parent_uuid);
	ply_image_uuid(image, b.image_uuid);
	memcpy(b.parent_digest, g->digest, sizeof(b.parent_digest));
	*ret = b;
	return 0;
}
