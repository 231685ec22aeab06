/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A change of a target that is in use, as data: a table of rows, each one path with what is there before and after, and
 * the directories in which names come or go. Bytes in, structs out, and back; apply.h makes it true. FORMAT.md, "State
 * of a layout", is normative.
 *
 * Rows are sorted by path, '/' below all other bytes: parents before children, a directory's descendants together.
 */
#ifndef PLYFS_LAYOUT_CHANGES_H
#define PLYFS_LAYOUT_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "plyfs/disk.h"
#include "plyfs/error.h"

#define CHANGES_MAX (256u << 20)   /* bytes of a table: a million rows with paths of 60 bytes take 140 MB */
#define CHANGES_MAGIC "PLYTABL\n"
#define CHANGE_PATH_MAX 65535u
#define CHANGE_ID_NAME_MAX 65535u
#define CHANGE_COMP_NONE 65535u    /* whose it is: of none alone */

enum changes_kind {
	CHANGES_ADD = 1,
	CHANGES_REMOVE,
};

/* Numbers are on the disk. What the kinds do: apply.h. */
enum change_kind {
	CHANGE_MAKE = 1,           /* before: nothing */
	CHANGE_SWAP,               /* another in its place; neither is a directory */
	CHANGE_OUT,                /* after: nothing */
	CHANGE_META,               /* the same, of another owner or mode; a directory: or of other xattrs */
	CHANGE_KEEP,               /* before == after: was there already, and stays when what was added goes */
};

/* Flags. The others are of paths that several components have; they say what --remove needs to know, and mean nothing to
 * apply.h. */
enum change_flags {
	CHANGE_INSIDE = 1,         /* comes along with the directory above it, which is a row of CHANGE_MAKE too. Just those */
	CHANGE_SHARED = 2,         /* more->was: what is there when all of these components have gone */
	CHANGE_PART = 4,           /* texts one behind the other; more->own is the component's */
	CHANGE_WINS = 8,           /* nothing of what others bring is in it */
	CHANGE_LOST = 16,          /* the component's own file is not there: of CHANGE_KEEP it is another one, and is not kept. Of a
				      directory of CHANGE_MAKE: it has taken the place of what was none, which is not kept either */
};

/* What is, or shall be, at a path. Digests of which each byte is CHANGE_UNKNOWN are not known, and equal any other. */
#define CHANGE_UNKNOWN 0xff
struct change_side {
	uint32_t mode;             /* with the type; 0: nothing is there. Symlinks: S_IFLNK | 0777 */
	uint32_t uid, gid;
	uint64_t size;             /* regular: bytes; device: st_rdev; else 0 */
	int64_t mtime_sec;         /* directories: told, never compared */
	uint32_t mtime_nsec;
	uint8_t digest[16];        /* XXH3-128 of the content of a regular file, or of a symlink's target; else 0 */
	uint8_t xattrs[16];        /* of all names and values, see changes_look.c; 0: none */
};

/* A text that stands in a file, line by line: its length and XXH3-128. */
struct change_part {
	uint64_t len;
	uint8_t digest[16];
};

struct change_more {
	struct change_side was;            /* CHANGE_SHARED: mode 0: nothing. A directory: with what others alone change as it is */
	struct change_part own, first;     /* CHANGE_PART: first: what was there before the first text was put behind it */
};

struct change {
	uint8_t kind, flags;
	uint16_t comp;             /* index of `names`, or CHANGE_COMP_NONE */
	uint32_t n;                /* its number in new/, old/ and gone/: all rows have 0 ... rows - 1, in any order */
	char *path;                /* below the target, no slash in front */
	struct change_side before, after;
	struct change_more *more;  /* of CHANGE_SHARED and CHANGE_PART; else NULL */
};

/* A directory that is there before, with its modification time then. "": the target itself. */
struct change_dir {
	char *path;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
};

/* What has become of a user or group of the image; those that are not told have their numbers. */
struct change_id {
	uint8_t kind;              /* enum id_kind: 0 user, 1 group */
	bool lost;                 /* it has no name in the image, and its number another in the target: root's, so `to` is 0 */
	uint32_t from, to;
	char *name;                /* NULL where it is lost */
};

struct changes {
	enum changes_kind kind;
	uint8_t uuid[16], catalog[32];     /* of the image */
	uint64_t generation;
	char *image;               /* its path, for people; NULL counts as "" */
	char **names;              /* of components */
	size_t nnames, names_cap;
	char **requires;           /* what they cannot do without: of each entry one of the names in it: "db", "db|cache" */
	size_t nrequires, requires_cap;
	struct change_id *ids;     /* ascending by kind and number */
	size_t nids, ids_cap;
	struct change *v;
	size_t n, cap;
	struct change_dir *dirs;
	size_t ndirs, dirs_cap;
	uint8_t digest[32];        /* SHA-256 of its bytes; set by changes_encode() and changes_decode() */
};

void changes_done(struct changes *c);
void change_done(struct change *row);
/* Those of SHARED and PART that are in @flags, from @more; sets these. -ENOMEM. */
int change_set_more(struct change *row, unsigned flags, const struct change_more *more);

/*
 * Add a row, component or directory. Paths are copied, and `more`; row->n is not looked at: the number is the count of rows before
 * (c->v[c->n - 1].n is then that of the new one). Of CHANGE_KEEP `before` alone counts; of a directory that is added
 * twice the earlier time does. -ENOMEM.
 */
int changes_add(struct changes *c, const struct change *row);
int changes_add_name(struct changes *c, const char *name);
int changes_add_require(struct changes *c, const char *names);
/* The name is copied. */
int changes_add_id(struct changes *c, const struct change_id *id);
int changes_add_dir(struct changes *c, const char *path, int64_t mtime_sec, uint32_t mtime_nsec);

/* Rows and directories in their order; double directories go. Numbers stay with their rows. */
void changes_sort(struct changes *c);
/* Of two paths. */
int changes_compare(const char *a, const char *b);
/* Is @path @dir, or below it? */
bool changes_within(const char *path, const char *dir);
/* NULL: no row has this path. @c is sorted. */
const struct change *changes_find(const struct changes *c, const char *path);

/*
 * Is it a table that can be encoded? -EUCLEAN, STATE_DAMAGED: order, doubles, paths, kinds and sides that do not go
 * together, CHANGE_INSIDE without the directory, numbers that are there twice. The message tells the row.
 */
int changes_check(const struct changes *c, struct ply_err *err);

/* To the end of @out, which is to be empty: the digest is that of all of it. As changes_check(); -EFBIG, LIMIT;
 * -ENOMEM. */
int changes_encode(struct changes *c, struct buf *out, struct ply_err *err);
/* -EUCLEAN, -EBADMSG, STATE_DAMAGED. *ret is the caller's, by changes_done(). */
int changes_decode(const uint8_t *bytes, size_t len, struct changes *ret, struct ply_err *err);

/* --- judging: changes_look.c ------------------------------------------------------------- */

/*
 * What is at @name (one component) in @dirfd: with its content and xattrs, without following it. ret->mode is 0 where
 * nothing is. Its time of access stays where that can be had. -errno.
 */
int change_look(int dirfd, const char *name, struct change_side *ret);
/* Of what @fd is open on; O_PATH will do. */
int change_look_fd(int fd, struct change_side *ret);
/* 1: what is there is @side; nothing is read that need not be. 0, or -errno. */
int change_is(int dirfd, const char *name, const struct change_side *side);
bool change_is_unknown(const uint8_t digest[16]);
/* Are they the same? The time of directories does not count. */
bool change_same(const struct change_side *a, const struct change_side *b);
/* Of files whose content is known: all but the time is. What was put together and taken apart again has another one. */
bool change_same_but_time(const struct change_side *a, const struct change_side *b);
/* CHANGE_META that changes extended attributes too, which only directories have changed in place. */
bool change_moves_attrs(const struct change *row);

/* What several components may change of a directory, each by itself. */
enum change_attr {
	CHANGE_MODE,
	CHANGE_OWNER,
	CHANGE_XATTRS,
	CHANGE_ATTRS,
};

bool change_same_attr(const struct change_side *a, const struct change_side *b, enum change_attr attr);
void change_take_attr(struct change_side *to, const struct change_side *from, enum change_attr attr);
/* Is it a row of a directory that changes @attr, or one whose component has found it as that would have it? */
bool change_has_attr(const struct change *row, enum change_attr attr);

#endif
