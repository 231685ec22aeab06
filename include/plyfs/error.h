/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors of libplyfs.
 *
 * Every function that can fail returns 0 or a negative errno, and fills a
 * caller-owned `struct ply_err` (last parameter, may be NULL) with a stable
 * reason and a message that says what, where and what to do. The library
 * never prints and never exits.
 *
 *   -EINVAL      the caller's fault          -EUCLEAN   impossible structure
 *   -EBADMSG     a checksum does not match   -EOPNOTSUPP  unknown feature
 *
 * Tests and --json match on the reason's name, never on the text.
 */
#ifndef PLYFS_ERROR_H
#define PLYFS_ERROR_H

#include <stddef.h>

/* name, permanent number. New ones are added at the end of their block. */
#define PLY_REASONS(X) \
	X(NONE, 0) \
	X(SYSTEM, 1)              /* a system call failed; code is its errno */ \
	X(NO_MEMORY, 2) \
	X(USAGE, 3) \
	X(CANCELLED, 4) \
	/* the container */ \
	X(IMAGE_NOT_FOUND, 20) \
	X(IMAGE_NOT_REGULAR, 21) \
	X(IMAGE_EXISTS, 22) \
	X(IMAGE_NOT_PLYFS, 23) \
	X(IMAGE_TRUNCATED, 24) \
	X(SUPER_CHECKSUM, 25) \
	X(SUPER_FIELD, 26) \
	X(SUPER_FEATURE, 27) \
	X(SUPER_SLOT_BAD, 28) \
	X(GENERATION_UNKNOWN, 29) \
	X(CATALOG_DIGEST, 30) \
	X(CATALOG_FIELD, 31) \
	X(SUB_UNKNOWN, 32) \
	X(SUB_NAME, 33) \
	/* segments */ \
	X(SEGMENT_HEADER, 50) \
	X(SEGMENT_DIGEST, 51) \
	X(SEGMENT_FEATURE, 52) \
	X(SECTION_MISSING, 53) \
	X(SECTION_UNKNOWN, 54) \
	X(SECTION_GEOMETRY, 55) \
	X(SECTION_DIGEST, 56) \
	X(PAGE_CHECKSUM, 57) \
	X(BLOCK_CHECKSUM, 58) \
	X(BLOCK_DIGEST, 59) \
	X(BLOCK_FIELD, 60) \
	X(BLOCK_DECODE, 61) \
	X(NODE_RANGE, 62) \
	X(NODE_FIELD, 63) \
	X(ENTRY_RANGE, 64) \
	X(ENTRY_NAME, 65) \
	X(ENTRY_ORDER, 66) \
	X(EXTENT_FIELD, 67) \
	X(XATTR_FIELD, 68) \
	X(OWNER_FIELD, 69) \
	X(JOIN_FIELD, 70) \
	X(TREE_SHAPE, 71) \
	X(PADDING, 72) \
	X(IMAGE_IO, 73) \
	X(CONDITION_FIELD, 74) \
	X(RECORD_FIELD, 75) \
	X(RECORD_DIGEST, 76)      /* all records of a shared file do not give the captured file */ \
	X(OVERRIDE_FIELD, 77) \
	X(COLLISION_FIELD, 78) \
	/* a view */ \
	X(STALE, 90) \
	X(NO_ENTRY, 91) \
	X(NAME_TOO_LONG, 92) \
	X(NOT_A_DIRECTORY, 93) \
	X(IS_A_DIRECTORY, 94) \
	X(NO_XATTR, 95) \
	X(SYMLINK_LOOP, 96) \
	X(NOT_A_FILE, 97) \
	X(NOT_SHARED, 98)         /* no shared file: it has no records */ \
	/* capture */ \
	X(ROOT_NOT_FOUND, 110) \
	X(ROOT_NOT_DIRECTORY, 111) \
	X(ROOT_UNREADABLE, 112) \
	X(PACKAGE_UNKNOWN, 113) \
	X(PACKAGE_TWICE, 114) \
	X(PKGDB_DAMAGED, 115) \
	X(PKGDB_MISSING, 116) \
	X(FILES_UNREADABLE, 117) \
	X(FILE_CHANGED, 118) \
	X(OUTPUT_WRITE, 119) \
	X(COMPONENT_TWICE, 120) \
	X(LIMIT, 121) \
	X(PKGDB_UNFINISHED, 122) \
	X(PACKAGE_NEEDED, 123)    /* by the operating system, and named by a component */ \
	X(COMPONENT_PACKAGES, 124) \
	X(MANIFEST_SYNTAX, 125) \
	X(MANIFEST_KEY, 126) \
	X(MANIFEST_VALUE, 127) \
	X(RULES_MISSING, 128) \
	X(COMPONENT_PATHS, 129)   /* a glob matches nothing */ \
	X(MERGE_SYNTAX, 130)      /* a shared file that its driver cannot read */ \
	X(MERGE_CACHE, 131)       /* ld.so.cache, or records of one, of a form that its driver does not know */ \
	X(MERGE_CLASH, 132)       /* what two sub-images have of a path cannot be put together */ \
	/* layout, mount */ \
	X(TARGET_NOT_FOUND, 140) \
	X(TARGET_NOT_DIRECTORY, 141) \
	X(TARGET_NOT_EMPTY, 142) \
	X(TARGET_CANNOT_HOLD, 143) \
	X(TARGET_OWNER, 144) \
	X(TARGET_WRITE, 145) \
	X(TARGET_EXISTS, 146) \
	X(MOUNTPOINT_BUSY, 147) \
	X(MOUNTPOINT_BAD, 148) \
	X(NOT_MOUNTED, 149) \
	X(MOUNT_FAILED, 150) \
	X(DAEMON_MISSING, 151) \
	X(TARGET_FULL, 152) \
	X(TARGET_BUSY, 153) \
	X(TARGET_UNFINISHED, 154) /* a layout was begun there, and is not complete */ \
	X(PLAN_DIFFERENT, 155)    /* image or tool give another plan than the one that was begun */ \
	X(STATE_DAMAGED, 156)     /* /var/lib/plyfs of a target */ \
	X(TARGET_LACKS, 157)      /* what added components need is not there */ \
	X(COMPONENT_NEEDED, 158)  /* it is to be taken out, and another one requires it */ \
	/* verify */ \
	X(DIFFERENT, 170) \
	X(DIGEST_MISMATCH, 171) \
	/* merging */ \
	X(CONFLICT, 180)          /* sub-images collide, and nothing decides between them */ \
	X(IMAGE_BUSY, 181) \
	X(POLICY_SYNTAX, 182) \
	X(POLICY_KEY, 183) \
	X(POLICY_VALUE, 184) \
	X(POLICY_STALE, 185) \
	X(PARENT, 186)            /* what a sub-image stands on: circular, missing, or still needed */ \
	X(MISMATCH, 187)          /* another distribution or architecture */ \
	X(IDS_EXHAUSTED, 188) \
	/* logs */ \
	X(REDO_NOT_FOUND, 200) \
	X(REDO_NOT_REDO, 201) \
	X(REDO_EXISTS, 202) \
	X(REDO_BUSY, 203)         /* another process writes to it */ \
	X(REDO_SUPER, 204) \
	X(REDO_FEATURE, 205) \
	X(REDO_BINDING, 206) \
	X(REDO_RECORD, 207)       /* its checksum is right, and it cannot be */ \
	X(REDO_CHECKPOINT, 208) \
	X(REDO_DATA, 209)         /* a block of data */ \
	X(REDO_CHANGE, 210)       /* an operation that cannot be: a name that is there, an inode that is not */ \
	X(REDO_FULL, 211)         /* no room for it: nothing happened */ \
	X(REDO_FAILED, 212)       /* a sync or write failed: nothing more is taken */ \
	X(REDO_READ_ONLY, 213) \
	X(REDO_DAMAGED, 214)      /* what was acknowledged is not all there */ \
	/* what a log stands on: parent_open() */ \
	X(REDO_PARENT_MISSING, 215) \
	X(REDO_PARENT_FOREIGN, 216) /* another image */ \
	X(REDO_PARENT_CHANGED, 217) /* the same image, with another content in that generation */ \
	X(REDO_PARENT_DROPPED, 218) /* it has that generation no more */ \
	X(REDO_PARENT_LOG, 219) \
	X(REDO_REMOVED, 220)      /* it is in use, and its file has no name any more */

enum ply_reason {
#define X(name, number) PLY_R_##name = number,
	PLY_REASONS(X)
#undef X
};

struct ply_err {
	int code;               /* the negative errno that was returned */
	enum ply_reason reason;
	char msg[1024];         /* one line, no newline, no trailing full stop */
};

/* The stable name of a reason ("SUPER_CHECKSUM"); never NULL. */
const char *ply_reason_name(enum ply_reason reason);

/*
 * Fill @err (may be NULL) and return @code, a negative errno, so that a
 * failing place is one line: `return ply_fail(err, -EINVAL, PLY_R_..., ...)`.
 */
int ply_fail(struct ply_err *err, int code, enum ply_reason reason, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* As ply_fail, with ": strerror(-code)" appended and reason SYSTEM. */
int ply_fail_sys(struct ply_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

int ply_fail_nomem(struct ply_err *err);

/* Put "PREFIX: " before the message that @err holds (no-op for NULL). */
void ply_err_prefix(struct ply_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
