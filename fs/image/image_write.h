/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes generation 1 of a new composite image: an unnamed file (O_TMPFILE) in the
 * directory of the final name that gets its name when it is whole and synced,
 * so that kill -9 at any moment leaves nothing under that name. Or a further generation of an
 * image that there is, behind the bytes that it has: until one superblock slot is on the disk, the
 * old generation is what opens.
 */
#ifndef PLYFS_IMAGE_WRITE_H
#define PLYFS_IMAGE_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "plyfs/disk.h"
#include "plyfs/error.h"
#include "plyfs/image.h"
#include "sub/sub_write.h"

struct imagew;

/* IMAGE_EXISTS unless @force; then the old file is replaced at the end by rename. */
int imagew_new(const char *path, bool force, struct imagew **ret, struct ply_err *err);
/*
 * The next generation of the image at @path. @from is its newest one, opened from the same file, and lives until
 * imagew_free(). All that it has is taken over: sub-images (their segments stay where they are), relations, mounts,
 * blobs, collisions, and the join table, unless imagew_join() gives another. The file is locked (IMAGE_BUSY).
 * Where anything fails until the end of imagew_publish(), the superblocks are what they were, and the file
 * has its old length.
 */
int imagew_append(const char *path, struct ply_image *from, struct imagew **ret, struct ply_err *err);
struct imagew *imagew_free(struct imagew *w);   /* drops what was not published */

struct out *imagew_out(struct imagew *w);

struct imagew_sub {
	const char *name, *arch, *distro, *summary;   /* borrowed until publish */
	uint32_t rank;
	uint32_t flags;
	const char *const *requires;
	const uint32_t *groups;    /* with each: equal ones are alternatives; NULL: none are */
	uint32_t nrequires;
	const char *const *provides;
	uint32_t nprovides;
	const char *const *stands_on;   /* with PLY_SUB_OVERLAY; @requires has each of them, too */
	uint32_t nstands_on;
};
/* Add a finished segment; numbers are given in order of calls, os first (number 0), in a further generation from
 * the first that the image has never used. */
int imagew_add_sub(struct imagew *w, const struct imagew_sub *s, const struct subw_result *seg,
		   uint32_t *ret_number, struct ply_err *err);

/*
 * The join table: rows are given in the order of the format (directories
 * breadth-first, those with one parent together; then link groups).
 * @refs are [number | index], in order of joining; @digests 32 bytes each or NULL.
 */
int imagew_join(struct imagew *w, uint8_t kind, const uint64_t *refs, const uint8_t *digests,
		uint32_t n, uint64_t *ret_row, struct ply_err *err);
/* Child rows of directory row @row: [first, first + n). */
int imagew_join_children(struct imagew *w, uint64_t row, uint64_t first, uint64_t n);

/* What sub-image @a and @b, of which neither stands on the other, have at one path; number(a) < number(b). @cls, @why:
 * enum ply_pair_class, ply_pair_why; @flags: PLY_PAIR_*. In any order; of one pair the last counts. */
int imagew_collision(struct imagew *w, uint64_t a, uint64_t b, uint8_t cls, uint8_t why, uint16_t flags,
		     struct ply_err *err);

/* A further generation only: leave out an overlay on which nothing stands (else PARENT), with its collisions and
 * its members in the join table. */
int imagew_remove_sub(struct imagew *w, uint32_t number, struct ply_err *err);

/* Bytes with a name, of sub-image @number or of the image (PLY_BLOB_OF_IMAGE). */
int imagew_add_blob(struct imagew *w, uint32_t number, const char *name, const void *bytes, size_t len,
		    struct ply_err *err);
/* A file system that was mounted at @path ("/boot") and is in the image; in order of path. */
int imagew_add_mount(struct imagew *w, const char *path, const char *type, const char *subtree,
		     struct ply_err *err);

struct imagew_options {
	int64_t time_sec;
	uint32_t time_nsec;
	bool content_uuid;         /* of the image: from those of its sub-images */
	const char *message;
	const char *tool;
};
/* Join table, catalog, superblocks, sync, name. Afterwards only imagew_free() is allowed. A further generation is
 * there when its first slot is on the disk: where only the second cannot be written, that is no error, and who
 * opens the image is warned. */
int imagew_publish(struct imagew *w, const struct imagew_options *o, struct ply_err *err);

#endif
