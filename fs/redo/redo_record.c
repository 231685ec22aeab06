/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of a log: heads, and the table of changes with how each is checked and shown (FORMAT.md, "REDO log"). What
 * it does to the index is index.c's.
 *
 * A record is one operation, and the only unit of recovery: it is there whole or not at all. It holds changes in
 * order rather than being of a kind of its own for each system call, since what a call changes depends: a write may
 * take away setuid and a capability, a rename changes up to four inodes and may make a whiteout. So there are ten
 * kinds of changes and no kinds of records. Rejected: a marker "more follows" over several records, whose groups
 * recovery would have to put together.
 *
 * A record proves itself: its place in the stream (LSN) is in it, and its checksum is seeded by log and epoch, so
 * what an earlier use of the same bytes left, another log, or a copy elsewhere is never taken for one.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/index.h"
#include "redo/redo_format.h"

static int bad(struct ply_err *err, const char *what)
{
	return ply_fail(err, -EUCLEAN, PLY_R_REDO_RECORD, "%s", what);
}

static bool is_zero(const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (b[i])
			return false;
	return true;
}

static bool ino_ok(uint64_t ino)
{
	return PLY_INO_INDEX(ino) && PLY_INO_NUMBER(ino) <= PLY_REDO_NUMBER_MAX;
}

/* What follows a change's fixed part, up to its end: @used bytes and zeros. */
static bool filled(const uint8_t *at, size_t len, size_t used)
{
	return used <= len && align_up(used, 8) == len && is_zero(at + used, len - used);
}

static bool range_ok(uint64_t off, uint64_t len)
{
	return off <= PLY_SIZE_MAX && len <= PLY_SIZE_MAX - off && len;
}

/* --- attributes --------------------------------------------------------------------------------- */

void redo_attr_encode(const struct redo_attr *a, uint32_t mask, struct ply_disk_redo_attr *out)
{
#define IF(bit, v) (mask & PLY_REDO_A_##bit ? (v) : 0)
	*out = (struct ply_disk_redo_attr){
		.mode = le32_put(IF(MODE, a->mode)),
		.uid = le32_put(IF(UID, a->uid)),
		.gid = le32_put(IF(GID, a->gid)),
		.flags = le32_put(IF(FLAGS, a->flags)),
		.nlink = le32_put(IF(NLINK, a->nlink)),
		.generation = le32_put(IF(GENERATION, a->generation)),
		.atime_sec = le64_put((uint64_t)IF(ATIME, a->atime_sec)),
		.mtime_sec = le64_put((uint64_t)IF(MTIME, a->mtime_sec)),
		.ctime_sec = le64_put((uint64_t)IF(CTIME, a->ctime_sec)),
		.btime_sec = le64_put((uint64_t)IF(BTIME, a->btime_sec)),
		.atime_nsec = le32_put(IF(ATIME, a->atime_nsec)),
		.mtime_nsec = le32_put(IF(MTIME, a->mtime_nsec)),
		.ctime_nsec = le32_put(IF(CTIME, a->ctime_nsec)),
		.btime_nsec = le32_put(IF(BTIME, a->btime_nsec)),
		.parent = le64_put(IF(PARENT, a->parent)),
		.rdev_major = le32_put(IF(RDEV, a->rdev_major)),
		.rdev_minor = le32_put(IF(RDEV, a->rdev_minor)),
	};
#undef IF
}

static bool type_ok(uint32_t mode)
{
	uint32_t t = mode & S_IFMT;

	return !(mode & ~(uint32_t)(S_IFMT | 07777)) && (t == S_IFREG || t == S_IFDIR || t == S_IFLNK || t == S_IFCHR ||
							 t == S_IFBLK || t == S_IFIFO || t == S_IFSOCK);
}

bool redo_attr_decode(const struct ply_disk_redo_attr *in, uint32_t mask, struct redo_attr *ret)
{
	struct redo_attr a = {
		.mode = le32_get(in->mode),
		.uid = le32_get(in->uid),
		.gid = le32_get(in->gid),
		.flags = le32_get(in->flags),
		.nlink = le32_get(in->nlink),
		.generation = le32_get(in->generation),
		.atime_sec = (int64_t)le64_get(in->atime_sec),
		.mtime_sec = (int64_t)le64_get(in->mtime_sec),
		.ctime_sec = (int64_t)le64_get(in->ctime_sec),
		.btime_sec = (int64_t)le64_get(in->btime_sec),
		.atime_nsec = le32_get(in->atime_nsec),
		.mtime_nsec = le32_get(in->mtime_nsec),
		.ctime_nsec = le32_get(in->ctime_nsec),
		.btime_nsec = le32_get(in->btime_nsec),
		.parent = le64_get(in->parent),
		.rdev_major = le32_get(in->rdev_major),
		.rdev_minor = le32_get(in->rdev_minor),
	};
	struct ply_disk_redo_attr again;

	redo_attr_encode(&a, mask, &again);
	if (memcmp(&again, in, sizeof(again)) != 0 || a.atime_nsec >= 1000000000 || a.mtime_nsec >= 1000000000 ||
	    a.ctime_nsec >= 1000000000 || a.btime_nsec >= 1000000000 || (mask & PLY_REDO_A_MODE && !type_ok(a.mode)) ||
	    (mask & PLY_REDO_A_PARENT && a.parent && !ino_ok(a.parent)))
		return false;
	*ret = a;
	return true;
}

static void time_text(struct text *t, const char *sec_key, const char *nsec_key, int64_t sec, uint32_t nsec)
{
	text_i64(t, sec_key, sec);
	text_u64(t, nsec_key, nsec);
}

static void attr_text(struct text *t, uint32_t mask, const struct redo_attr *a)
{
	char mode[16];

	snprintf(mode, sizeof(mode), "%06o", a->mode);
	if (mask & PLY_REDO_A_MODE)
		text_word(t, "mode", mode);
	if (mask & PLY_REDO_A_UID)
		text_u64(t, "uid", a->uid);
	if (mask & PLY_REDO_A_GID)
		text_u64(t, "gid", a->gid);
	if (mask & PLY_REDO_A_FLAGS)
		text_u64(t, "inode_flags", a->flags);
	if (mask & PLY_REDO_A_NLINK)
		text_u64(t, "nlink", a->nlink);
	if (mask & PLY_REDO_A_GENERATION)
		text_u64(t, "generation", a->generation);
	if (mask & PLY_REDO_A_ATIME)
		time_text(t, "atime_s", "atime_ns", a->atime_sec, a->atime_nsec);
	if (mask & PLY_REDO_A_MTIME)
		time_text(t, "mtime_s", "mtime_ns", a->mtime_sec, a->mtime_nsec);
	if (mask & PLY_REDO_A_CTIME)
		time_text(t, "ctime_s", "ctime_ns", a->ctime_sec, a->ctime_nsec);
	if (mask & PLY_REDO_A_BTIME)
		time_text(t, "btime_s", "btime_ns", a->btime_sec, a->btime_nsec);
	if (mask & PLY_REDO_A_PARENT)
		text_ref(t, "parent", a->parent);
	if (mask & PLY_REDO_A_RDEV && (a->rdev_major || a->rdev_minor)) {
		text_u64(t, "rdev_major", a->rdev_major);
		text_u64(t, "rdev_minor", a->rdev_minor);
	}
}

/* --- the changes: what their bytes may be, and what is said about them --------------------------------- */

/* Copies the fixed part out, and says that there is nothing else. */
#define FIXED(d, what) \
	do { \
		if (len != sizeof(d) || flags) \
			return bad(err, what " has another length, or flags"); \
		memcpy(&(d), at, sizeof(d)); \
	} while (0)
/* Copies it out; more follows. */
#define FRONT(d, what) \
	do { \
		if (len < sizeof(d)) \
			return bad(err, what " is too short"); \
		memcpy(&(d), at, sizeof(d)); \
		at += sizeof(d); \
		len -= sizeof(d); \
	} while (0)

static int validate_commit(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_commit d;

	FIXED(d, "a commit");
	c->addr = le64_get(d.durable);
	c->off = le64_get(d.time_sec);
	return 0;
}

static void describe_commit(struct text *t, const struct redo_change *c)
{
	text_u64(t, "durable_lsn", c->addr);
	text_i64(t, "time_s", (int64_t)c->off);
}

static int validate_next(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_next d;

	FIXED(d, "a link to the next segment");
	c->addr = le32_get(d.segment);
	if (le32_get(d.zero) || c->addr >= PLY_REDO_SEGMENTS_MAX)
		return bad(err, "a link leads to a segment that cannot be");
	return 0;
}

static void describe_next(struct text *t, const struct redo_change *c)
{
	text_u64(t, "segment", c->addr);
}

static int validate_requests(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_requests d;

	FRONT(d, "a list of requests");
	c->value = at;
	c->value_len = le32_get(d.n);
	if (flags || le32_get(d.zero) || !c->value_len || c->value_len > PLY_REDO_REQUESTS_MAX ||
	    len != c->value_len * sizeof(le64))
		return bad(err, "a list of requests has fields that cannot be");
	return 0;
}

static void describe_requests(struct text *t, const struct redo_change *c)
{
	text_u64(t, "requests", c->value_len);
}

static int validate_new(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_new d;

	FRONT(d, "a new inode");
	c->ino = le64_get(d.ino);
	c->mask = PLY_REDO_A_ALL;
	c->name = (const char *)at;
	c->name_len = le32_get(d.target_len);
	if (flags || le32_get(d.zero) || !filled(at, len, c->name_len) || !ino_ok(c->ino) ||
	    PLY_INO_NUMBER(c->ino) < PLY_REDO_NUMBER_MIN || !redo_attr_decode(&d.attr, PLY_REDO_A_ALL, &c->attr))
		return bad(err, "a new inode has fields that cannot be");
	if (S_ISLNK(c->attr.mode) ? !c->name_len || c->name_len > PLY_SYMLINK_MAX || memchr(c->name, 0, c->name_len) :
				    c->name_len)
		return bad(err, "a new inode has a target that cannot be");
	if (!S_ISCHR(c->attr.mode) && !S_ISBLK(c->attr.mode) && (c->attr.rdev_major || c->attr.rdev_minor))
		return bad(err, "a new inode is no device, and has the number of one");
	c->attr.size = c->name_len;
	return 0;
}

static void describe_new(struct text *t, const struct redo_change *c)
{
	text_ref(t, "ino", c->ino);
	attr_text(t, c->mask, &c->attr);
	if (c->name_len)
		text_name(t, "target", c->name, c->name_len);
}

static int validate_attr(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_set d;

	FIXED(d, "a change of attributes");
	c->ino = le64_get(d.ino);
	c->mask = le32_get(d.mask);
	if (le32_get(d.zero) || !ino_ok(c->ino) || !c->mask || c->mask & ~PLY_REDO_A_ATTR ||
	    !redo_attr_decode(&d.attr, c->mask, &c->attr))
		return bad(err, "a change of attributes has fields that cannot be");
	return 0;
}

static void describe_attr(struct text *t, const struct redo_change *c)
{
	text_ref(t, "ino", c->ino);
	attr_text(t, c->mask, &c->attr);
}

static int validate_name(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	bool adds = c->type->number == PLY_REDO_ADD;
	struct ply_disk_redo_name d;

	FRONT(d, "a name");
	c->ino = le64_get(d.dir);
	c->child = le64_get(d.ino);
	c->cookie = le64_get(d.cookie);
	c->dtype = d.type;
	c->hides = flags & PLY_REDO_F_HIDES;
	c->name = (const char *)at;
	c->name_len = d.name_len;
	if (flags & ~(adds ? 0u : PLY_REDO_F_HIDES) || !is_zero(d.zero, sizeof(d.zero)) || !ino_ok(c->ino) ||
	    !filled(at, len, c->name_len) || name_check(c->name, c->name_len, NULL) < 0)
		return bad(err, "a name has fields that cannot be");
	if (adds ? !ino_ok(c->child) || !type_ok((uint32_t)d.type << 12) ||
			    PLY_INO_NUMBER(c->cookie) < PLY_REDO_NUMBER_MIN ||
			    PLY_INO_NUMBER(c->cookie) > PLY_REDO_NUMBER_MAX ||
			    PLY_INO_INDEX(c->cookie) < PLY_COOKIE_FIRST :
		   c->child || c->cookie || d.type)
		return bad(err, "a name leads to what cannot be");
	return 0;
}

static void describe_name(struct text *t, const struct redo_change *c)
{
	text_ref(t, "dir", c->ino);
	text_name(t, "name", c->name, c->name_len);
	if (c->type->number == PLY_REDO_ADD) {
		text_ref(t, "ino", c->child);
		text_u64(t, "type", c->dtype);
		text_ref(t, "cookie", c->cookie);
	} else {
		text_u64(t, "hides", c->hides);
	}
}

static int validate_xattr(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_xattr d;

	FRONT(d, "an xattr");
	c->ino = le64_get(d.ino);
	c->name = (const char *)at;
	c->name_len = d.name_len;
	c->value = at + c->name_len;
	c->value_len = le32_get(d.value_len);
	if (flags || !is_zero(d.zero, sizeof(d.zero)) || !ino_ok(c->ino) || !c->name_len ||
	    c->value_len > PLY_XATTR_VALUE_MAX || (c->type->number == PLY_REDO_XATTR_REMOVE && c->value_len) ||
	    !filled(at, len, c->name_len + c->value_len) || memchr(c->name, 0, c->name_len))
		return bad(err, "an xattr has fields that cannot be");
	return 0;
}

static void describe_xattr(struct text *t, const struct redo_change *c)
{
	text_ref(t, "ino", c->ino);
	text_name(t, "name", c->name, c->name_len);
	if (c->type->number == PLY_REDO_XATTR_SET) {
		text_u64(t, "value_bytes", c->value_len);
		text_hex(t, "value", c->value, MIN(c->value_len, (size_t)TEXT_CUT));
	}
}

static int validate_extent(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_extent d;

	FRONT(d, "an extent");
	c->ino = le64_get(d.ino);
	c->off = le64_get(d.off);
	c->len = le64_get(d.len);
	c->addr = le64_get(d.addr);
	c->size = le64_get(d.size);
	c->sums = (const le64 *)at;
	if (flags || !ino_ok(c->ino) || !range_ok(c->off, c->len) || c->len > PLY_REDO_WRITE_MAX ||
	    c->size > PLY_SIZE_MAX || c->size < c->off + c->len || !range_ok(c->addr, c->len) ||
	    c->addr % PLY_REDO_BLOCK != c->off % PLY_REDO_BLOCK)
		return bad(err, "an extent has fields that cannot be");
	c->nsums = redo_blocks(c->addr, c->len);
	if (len != c->nsums * sizeof(le64))
		return bad(err, "an extent has another number of checksums");
	return 0;
}

static void describe_extent(struct text *t, const struct redo_change *c)
{
	text_ref(t, "ino", c->ino);
	text_u64(t, "off", c->off);
	text_u64(t, "length_bytes", c->len);
	text_u64(t, "addr", c->addr);
	text_u64(t, "size_bytes", c->size);
}

static int validate_hole(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_hole d;

	FIXED(d, "a hole");
	c->ino = le64_get(d.ino);
	c->off = le64_get(d.off);
	c->len = le64_get(d.len);
	return ino_ok(c->ino) && range_ok(c->off, c->len) ? 0 : bad(err, "a hole has fields that cannot be");
}

static void describe_hole(struct text *t, const struct redo_change *c)
{
	text_ref(t, "ino", c->ino);
	text_u64(t, "off", c->off);
	text_u64(t, "length_bytes", c->len);
}

static int validate_size(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_size d;

	FIXED(d, "a size");
	c->ino = le64_get(d.ino);
	c->size = le64_get(d.size);
	return ino_ok(c->ino) && c->size <= PLY_SIZE_MAX ? 0 : bad(err, "a size has fields that cannot be");
}

static void describe_size(struct text *t, const struct redo_change *c)
{
	text_ref(t, "ino", c->ino);
	text_u64(t, "size_bytes", c->size);
}

static int validate_copy(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_copy d;

	FIXED(d, "a copy");
	c->ino = le64_get(d.ino);
	c->off = le64_get(d.off);
	c->len = le64_get(d.len);
	c->src = le64_get(d.src);
	c->src_off = le64_get(d.src_off);
	c->size = le64_get(d.size);
	if (!ino_ok(c->ino) || !ino_ok(c->src) || !range_ok(c->off, c->len) || !range_ok(c->src_off, c->len) ||
	    c->size > PLY_SIZE_MAX || c->size < c->off + c->len)
		return bad(err, "a copy has fields that cannot be");
	if (c->ino == c->src && c->off < c->src_off + c->len && c->src_off < c->off + c->len)
		return bad(err, "a copy is made onto itself");
	return 0;
}

static void describe_copy(struct text *t, const struct redo_change *c)
{
	describe_hole(t, c);
	text_ref(t, "src", c->src);
	text_u64(t, "src_off", c->src_off);
	text_u64(t, "size_bytes", c->size);
}

static int validate_dead(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *c, struct ply_err *err)
{
	struct ply_disk_redo_dead d;

	FIXED(d, "a death");
	c->ino = le64_get(d.ino);
	return ino_ok(c->ino) ? 0 : bad(err, "a death has fields that cannot be");
}

static void describe_dead(struct text *t, const struct redo_change *c)
{
	text_ref(t, "ino", c->ino);
}

static const struct redo_change_type types[] = {
	{ PLY_REDO_COMMIT, true, "commit", validate_commit, NULL, NULL, describe_commit },
	{ PLY_REDO_NEXT, true, "next", validate_next, NULL, NULL, describe_next },
	{ PLY_REDO_REQUESTS, true, "requests", validate_requests, NULL, index_requests, describe_requests },
	{ PLY_REDO_NEW, false, "new", validate_new, index_check_new, index_new, describe_new },
	{ PLY_REDO_ATTR, false, "attr", validate_attr, index_check_ino, index_attr, describe_attr },
	{ PLY_REDO_ADD, false, "add", validate_name, index_check_add, index_add, describe_name },
	{ PLY_REDO_REMOVE, false, "remove", validate_name, index_check_remove, index_remove, describe_name },
	{ PLY_REDO_XATTR_SET, false, "xattr-set", validate_xattr, index_check_ino, index_xattr_set, describe_xattr },
	{ PLY_REDO_XATTR_REMOVE, false, "xattr-remove", validate_xattr, index_check_ino, index_xattr_remove,
	  describe_xattr },
	{ PLY_REDO_EXTENT, false, "extent", validate_extent, index_check_extent, index_extent, describe_extent },
	{ PLY_REDO_HOLE, false, "hole", validate_hole, index_check_ino, index_hole, describe_hole },
	{ PLY_REDO_SIZE, false, "size", validate_size, index_check_ino, index_size, describe_size },
	{ PLY_REDO_COPY, false, "copy", validate_copy, index_check_copy, index_copy, describe_copy },
	{ PLY_REDO_DEAD, false, "dead", validate_dead, index_check_dead, index_dead, describe_dead },
};

const struct redo_change_type *redo_change_type(unsigned number)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].number == number)
			return &types[i];
	return NULL;
}

/* --- records -------------------------------------------------------------------------------------------- */

static uint64_t record_sum(const struct ply_disk_redo_record *head, const uint8_t *in, uint32_t len, uint64_t seed)
{
	/* the sum of the changes seeds that of the head: no copy, and no field to be zeroed in between */
	return xxh3(head, offsetof(struct ply_disk_redo_record, xxh3),
		    xxh3(in + sizeof(*head), len - sizeof(*head), seed));
}

uint32_t redo_record_peek(const uint8_t *in, size_t left, const uint8_t uuid[16], uint64_t lsn, uint32_t epoch_min,
			  uint32_t epoch_max)
{
	struct ply_disk_redo_record h;
	uint32_t len, epoch;

	if (left < sizeof(h))
		return 0;
	memcpy(&h, in, sizeof(h));
	len = le32_get(h.len);
	epoch = le32_get(h.epoch);
	if (len % 8 || len < sizeof(h) + sizeof(struct ply_disk_redo_change) || len > PLY_REDO_RECORD_MAX ||
	    len > left || le64_get(h.lsn) != lsn || epoch < epoch_min || epoch > epoch_max || le32_get(h.zero) ||
	    le64_get(h.xxh3) != record_sum(&h, in, len, redo_seed(uuid, epoch)))
		return 0;
	return len;
}

static int decode_change(const uint8_t **at, size_t *left, struct redo_change *ret, struct ply_err *err)
{
	struct ply_disk_redo_change h;
	uint32_t len;
	int r;

	if (*left < sizeof(h))
		return bad(err, "a record ends within a change");
	memcpy(&h, *at, sizeof(h));
	len = le32_get(h.len);
	if (len % 8 || len < sizeof(h) || len > *left)
		return bad(err, "a change has a length that cannot be");
	*ret = (struct redo_change){ .type = redo_change_type(le16_get(h.type)) };
	if (!ret->type)
		return bad(err, "a change has a type that this version does not know");
	r = ret->type->validate(*at + sizeof(h), len - sizeof(h), le16_get(h.flags), ret, err);
	*at += len;
	*left -= len;
	return r;
}

int redo_record_decode(const uint8_t *in, uint32_t len, struct redo_record *r, struct ply_err *err)
{
	struct ply_disk_redo_record h;
	const uint8_t *at = in + sizeof(h);
	size_t left = len - sizeof(h);
	int e = 0;

	memcpy(&h, in, sizeof(h));
	r->len = len;
	r->epoch = le32_get(h.epoch);
	r->lsn = le64_get(h.lsn);
	r->request = le64_get(h.request);
	r->nchanges = le32_get(h.nchanges);
	if (!r->nchanges || r->nchanges > PLY_REDO_CHANGES_MAX)
		return bad(err, "a record has a number of changes that cannot be");
	if (array_grow(&r->changes, &r->cap, r->nchanges, sizeof(*r->changes)) < 0)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; e == 0 && i < r->nchanges; i++) {
		e = decode_change(&at, &left, &r->changes[i], err);
		if (e == 0 && r->changes[i].type->alone && r->nchanges > 1)
			e = bad(err, "a change that stands alone has others beside it");
	}
	if (e == 0 && left)
		e = bad(err, "a record has bytes behind its changes");
	return e;
}

void redo_record_done(struct redo_record *r)
{
	free(r->changes);
	*r = (struct redo_record){ 0 };
}

void redo_record_seal(uint8_t *in, uint32_t len, uint32_t nchanges, uint64_t request, const uint8_t uuid[16],
		      uint32_t epoch, uint64_t lsn)
{
	struct ply_disk_redo_record h = {
		.len = le32_put(len), .epoch = le32_put(epoch), .lsn = le64_put(lsn), .request = le64_put(request),
		.nchanges = le32_put(nchanges),
	};

	h.xxh3 = le64_put(record_sum(&h, in, len, redo_seed(uuid, epoch)));
	memcpy(in, &h, sizeof(h));
}

void redo_record_to_text(struct text *t, const struct redo_record *r)
{
	text_begin(t, "redo-record", &r->lsn);
	text_u64(t, "length_bytes", r->len);
	text_u64(t, "epoch", r->epoch);
	text_u64(t, "request", r->request);
	text_u64(t, "changes", r->nchanges);
	text_end(t);
}

void redo_change_to_text(struct text *t, uint32_t i, const struct redo_change *c)
{
	text_begin(t, c->type->name, &(uint64_t){ i });
	c->type->describe(t, c);
	text_end(t);
}
