/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A composite image, opened for reading: the superblock, the catalog of one
 * generation, its sub-images and the join table.
 *
 * A `struct ply_image` is immutable after open and may be used by any number
 * of threads. Strings and arrays that it hands out are borrowed and live as
 * long as it does.
 */
#ifndef PLYFS_IMAGE_H
#define PLYFS_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plyfs/disk.h"
#include "plyfs/error.h"

struct ply_image;
struct sub;       /* fs/sub/sub.h */
struct join;      /* fs/image/join.h */
struct io;        /* fs/io/io.h */

struct ply_sub_info {
	uint32_t number;
	uint32_t rank;
	uint32_t flags;            /* PLY_SUB_* */
	uint8_t uuid[16];
	const char *name;          /* NUL-terminated, never NULL; so are the others */
	const char *arch;
	const char *distro;
	const char *summary;
	uint64_t nodes;            /* inodes: node indexes 1 .. nodes-1 */
	uint64_t bytes;            /* of its regular files */
	uint64_t stored;           /* bytes of its segments in the image */
	uint8_t digest[32];        /* of its base segment */
	uint32_t nrequires;
	const char *const *requires; /* names */
	const uint32_t *require_groups; /* with each: those of one group are alternatives */
	uint32_t nprovides;
	const char *const *provides; /* names of its packages */
	uint32_t nstands_on;       /* of an overlay at least 1: each is of a lower rank */
	const char *const *stands_on; /* names */
};

/* A file system of the captured machine that was mounted below its root and is in the image. */
struct ply_mount_info {
	const char *path;          /* "/boot" */
	const char *type;          /* "ext4" */
	const char *subtree;       /* what of it was mounted: "/", "/@home" */
};

struct ply_generation_info {
	uint64_t generation;
	uint64_t parent;           /* 0: none */
	int64_t time_sec;
	uint32_t time_nsec;
	const char *message;
	const char *tool;
	uint8_t digest[32];
	uint64_t catalog_off, catalog_len;
};

/*
 * Open PATH[@GENERATION] (a file of the whole name wins) read-only. Cost does
 * not depend on the number of files. PLY_R_IMAGE_* / SUPER_* / CATALOG_* /
 * SEGMENT_* say what is wrong. One bad superblock slot is not an error:
 * ply_image_warning() tells.
 */
int ply_image_open(const char *path, struct ply_image **ret, struct ply_err *err);

/* The same over an I/O object (consumed in every case); for tests and fuzzing. */
int ply_image_open_io(struct io *io, uint64_t generation, struct ply_image **ret,
		      struct ply_err *err);

struct ply_image *ply_image_close(struct ply_image *image);  /* NULL in, NULL out */

const char *ply_image_warning(const struct ply_image *image); /* NULL: nothing to say */
const char *ply_image_path(const struct ply_image *image);    /* absolute where it was a file */
void ply_image_uuid(const struct ply_image *image, uint8_t ret[16]);
const struct ply_generation_info *ply_image_generation(const struct ply_image *image);
uint64_t ply_image_size(const struct ply_image *image);       /* bytes of the file */
uint64_t ply_image_committed_end(const struct ply_image *image);

/* Sub-images by position, in order of rank. */
uint32_t ply_image_nsubs(const struct ply_image *image);
const struct ply_sub_info *ply_image_sub_info(const struct ply_image *image, uint32_t i);
uint32_t ply_image_nmounts(const struct ply_image *image);
const struct ply_mount_info *ply_image_mount(const struct ply_image *image, uint32_t i);

/* The blob called @name of sub-image @i (a position), or of the image (PLY_BLOB_OF_IMAGE): its
 * bytes with a NUL byte behind, borrowed; NULL: there is none. */
const char *ply_image_blob(const struct ply_image *image, uint32_t i, const char *name, size_t *ret_len);
int ply_image_find_sub(const struct ply_image *image, const char *name, uint32_t *ret_i);

/* For the layers above; not part of the stable API. The sub is opened at first use. */
int image_sub(struct ply_image *image, uint32_t i, struct sub **ret, struct ply_err *err);
const struct join *image_join(const struct ply_image *image);
struct io *image_io(const struct ply_image *image);
/* PATH[@GENERATION] as for ply_image_open(), for those who look at the bytes themselves: *ret is
 * closed by the caller; generation 0 is the newest. */
int image_io_open(const char *path, struct io **ret, uint64_t *ret_generation, struct ply_err *err);

#endif
