/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX ACLs as they stand in xattrs (version 2, little-endian): what they say about modes. The rules are those of
 * acl(5) and POSIX.1e draft 17, "File Access Permission Bits" and "ACL assignment".
 */
#include <errno.h>
#include <string.h>

#include "live/live_impl.h"
#include "plyfs/disk.h"

#define VERSION   2u
#define HEAD      4u
#define ENTRY     8u

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

struct disk_entry {
	le16 tag, perm;
	le32 id;
};
_Static_assert(sizeof(struct disk_entry) == ENTRY, "ACL entry");

static struct disk_entry entry_at(const void *value, size_t i)
{
	struct disk_entry e;

	memcpy(&e, (const uint8_t *)value + HEAD + i * ENTRY, ENTRY);
	return e;
}

static void set_perm(void *value, size_t i, uint32_t perm)
{
	struct disk_entry e = entry_at(value, i);

	e.perm = le16_put((uint16_t)(perm & 7));
	memcpy((uint8_t *)value + HEAD + i * ENTRY, &e, ENTRY);
}

static size_t entries(size_t len)
{
	return (len - HEAD) / ENTRY;
}

static int no_acl(struct ply_err *err)
{
	return ply_fail(err, -EINVAL, PLY_R_USAGE, "the value is no valid ACL");
}

/* In the order of their tags, users and groups ascending by id, each of the others once; a mask where there are any. */
int acl_check(const void *value, size_t len, uint32_t *ret_mode, bool *ret_plain, struct ply_err *err)
{
	unsigned seen = 0, last = 0;
	uint32_t last_id = 0, group = 0, mask = 0;
	le32 version;

	if (len < HEAD || (len - HEAD) % ENTRY)
		return no_acl(err);
	memcpy(&version, value, HEAD);
	if (le32_get(version) != VERSION)
		return no_acl(err);
	*ret_mode = 0;
	for (size_t i = 0; i < entries(len); i++) {
		struct disk_entry e = entry_at(value, i);
		unsigned tag = le16_get(e.tag);
		uint32_t perm = le16_get(e.perm), id = le32_get(e.id);
		bool named = tag == USER || tag == GROUP;

		if ((tag & (tag - 1)) || !tag || tag > OTHER || perm > 7 || tag < last ||
		    (tag == last && !(named && id > last_id)))
			return no_acl(err);
		if (tag == USER_OBJ)
			*ret_mode |= perm << 6;
		else if (tag == OTHER)
			*ret_mode |= perm;
		else if (tag == GROUP_OBJ)
			group = perm;
		else if (tag == MASK)
			mask = perm;
		seen |= tag;
		last = tag;
		last_id = id;
	}
	if ((seen & (USER_OBJ | GROUP_OBJ | OTHER)) != (USER_OBJ | GROUP_OBJ | OTHER) ||
	    (seen & (USER | GROUP) && !(seen & MASK)))
		return no_acl(err);
	*ret_mode |= (seen & MASK ? mask : group) << 3;
	*ret_plain = !(seen & (USER | GROUP | MASK));
	return 0;
}

/* Which entry the group bits of the mode are: the mask, else the owning group's. */
static size_t group_class(const void *value, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < entries(len); i++) {
		unsigned tag = le16_get(entry_at(value, i).tag);

		if (tag == MASK || tag == GROUP_OBJ)
			at = i;    /* the mask comes later */
	}
	return at;
}

void acl_chmod(void *value, size_t len, uint32_t mode)
{
	if (len < HEAD + ENTRY)
		return;
	for (size_t i = 0; i < entries(len); i++) {
		unsigned tag = le16_get(entry_at(value, i).tag);

		if (tag == USER_OBJ)
			set_perm(value, i, mode >> 6);
		else if (tag == OTHER)
			set_perm(value, i, mode);
	}
	set_perm(value, group_class(value, len), mode >> 3);
}

uint32_t acl_inherit(void *value, size_t len, uint32_t mode)
{
	uint32_t allowed = 0;
	size_t group = group_class(value, len);

	for (size_t i = 0; i < entries(len); i++) {
		struct disk_entry e = entry_at(value, i);
		unsigned tag = le16_get(e.tag), shift = tag == USER_OBJ ? 6 : tag == OTHER ? 0 : 3;
		uint32_t perm = le16_get(e.perm);

		if (tag != USER_OBJ && tag != OTHER && i != group)
			continue;
		perm &= mode >> shift & 7;
		set_perm(value, i, perm);
		allowed |= perm << shift;
	}
	return (mode & ~0777u) | allowed;
}
