/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The superblock slots (FORMAT.md, "Superblock"). Order of the checks:
 * identity (magic), integrity (XXH3), meaning (version, features), geometry.
 */
#include <errno.h>
#include <string.h>

#include "codec/codec.h"
#include "format/format.h"
#include "plyfs/disk_redo.h"

void super_encode(const struct super *s, uint32_t slot, uint8_t out[PLY_SUPER_SIZE])
{
	struct ply_disk_super d;

	memset(&d, 0, sizeof(d));
	memcpy(d.magic, PLY_SUPER_MAGIC, sizeof(d.magic));
	d.version = le32_put(PLY_FORMAT_VERSION);
	d.slot = le32_put(slot);
	d.compat = le64_put(s->compat);
	d.ro_compat = le64_put(s->ro_compat);
	d.incompat = le64_put(s->incompat);
	memcpy(d.uuid, s->uuid, sizeof(d.uuid));
	d.generation = le64_put(s->generation);
	d.catalog_off = le64_put(s->catalog_off);
	d.catalog_len = le64_put(s->catalog_len);
	memcpy(d.catalog_digest, s->catalog_digest, sizeof(d.catalog_digest));
	d.committed_end = le64_put(s->committed_end);
	d.xxh3 = le64_put(xxh3(&d, offsetof(struct ply_disk_super, xxh3), 0));
	memcpy(out, &d, sizeof(d));
}

int super_decode(const uint8_t in[PLY_SUPER_SIZE], uint32_t slot, uint64_t file_size,
		 struct super *ret, struct ply_err *err)
{
	struct ply_disk_super d;
	struct super s;

	memcpy(&d, in, sizeof(d));
	if (memcmp(d.magic, PLY_REDO_MAGIC, sizeof(d.magic)) == 0)
		return ply_fail(err, -EUCLEAN, PLY_R_IMAGE_NOT_PLYFS, "this is a log, not an image; info and mount take logs");
	if (memcmp(d.magic, PLY_SUPER_MAGIC, sizeof(d.magic)) != 0)
		return ply_fail(err, -EUCLEAN, PLY_R_IMAGE_NOT_PLYFS,
				"superblock %u: not a plyfs image (no magic)", slot);
	if (le64_get(d.xxh3) != xxh3(&d, offsetof(struct ply_disk_super, xxh3), 0))
		return ply_fail(err, -EBADMSG, PLY_R_SUPER_CHECKSUM,
				"superblock %u: checksum does not match", slot);
	s.incompat = le64_get(d.incompat);
	s.ro_compat = le64_get(d.ro_compat);
	s.compat = le64_get(d.compat);
	if (le32_get(d.version) != PLY_FORMAT_VERSION)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_SUPER_FEATURE,
				"format version %u; this plyfs reads version %u", le32_get(d.version),
				PLY_FORMAT_VERSION);
	if (s.incompat & ~SUPER_INCOMPAT_KNOWN)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_SUPER_FEATURE,
				"needs features %#llx that this plyfs does not know; use a newer one",
				(unsigned long long)(s.incompat & ~SUPER_INCOMPAT_KNOWN));
	memcpy(s.uuid, d.uuid, sizeof(s.uuid));
	memcpy(s.catalog_digest, d.catalog_digest, sizeof(s.catalog_digest));
	s.generation = le64_get(d.generation);
	s.catalog_off = le64_get(d.catalog_off);
	s.catalog_len = le64_get(d.catalog_len);
	s.committed_end = le64_get(d.committed_end);
	if (le32_get(d.slot) != slot || s.generation == 0)
		return ply_fail(err, -EUCLEAN, PLY_R_SUPER_FIELD,
				"superblock %u: slot or generation is impossible", slot);
	for (size_t i = 0; i < sizeof(d.zero); i++)
		if (d.zero[i])
			return ply_fail(err, -EUCLEAN, PLY_R_SUPER_FIELD,
					"superblock %u: reserved bytes are not zero", slot);
	if (s.committed_end > file_size)
		return ply_fail(err, -EUCLEAN, PLY_R_IMAGE_TRUNCATED,
				"the image is cut off: %llu bytes of %llu are there",
				(unsigned long long)file_size, (unsigned long long)s.committed_end);
	if (s.catalog_off % PLY_ALIGN || s.catalog_off < PLY_SUPER_SLOTS * PLY_SUPER_SIZE ||
	    s.catalog_off > s.committed_end || s.catalog_len > s.committed_end - s.catalog_off ||
	    s.catalog_len < sizeof(struct ply_disk_segment) || s.catalog_len > PLY_CATALOG_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_SUPER_FIELD,
				"superblock %u: the catalog's place is impossible", slot);
	*ret = s;
	return 0;
}
