/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conditions, shared files and their records, and overrides: the rows of a segment that depend on a selection. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "sub/sub.h"

static const struct section *section(const struct sub *s, uint32_t type)
{
	return segment_section(meta_segment(sub_meta(s)), type);
}

static int row(struct sub *s, uint32_t type, uint64_t i, size_t size, const void **ret, struct ply_err *err)
{
	const struct section *sec = section(s, type);

	if (!sec || i >= sec->count)
		return ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "row %llu of section %s does not exist",
				(unsigned long long)i, section_name(type));
	return meta_get(sub_meta(s), sec, i * size, size, ret, err);
}

int sub_condition(struct sub *s, uint32_t cond, uint32_t k, struct ply_condition *ret, struct ply_err *err)
{
	const void *p;
	int r;

	if (!cond || cond > sub_limits(s)->conditions || k >= PLY_COND_LEN_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_CONDITION_FIELD, "condition %u does not exist, or does not end",
				cond);
	r = row(s, PLY_S_CONDITIONS, (uint64_t)cond - 1 + k, sizeof(struct ply_disk_condition), &p, err);
	return r < 0 ? r : condition_decode(p, sub_limits(s), ret, err);
}

int sub_component(struct sub *s, uint32_t slot, const char **ret, uint32_t *ret_len, struct ply_err *err)
{
	struct ply_disk_component d;
	uint64_t name;
	const void *p;
	int r = row(s, PLY_S_COMPONENTS, slot, sizeof(d), &p, err);

	if (r < 0)
		return r;
	memcpy(&d, p, sizeof(d));
	name = le64_get(d.name);
	*ret_len = (uint32_t)(name >> 56);
	r = sub_heap(s, name & ((1ULL << 56) - 1), *ret_len, &p, err);
	if (r < 0)
		return r;
	*ret = p;
	if (!sub_name_ok(*ret, *ret_len, true))
		return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER,
				"component %u of the local table has a name that no sub-image can have", slot);
	return 0;
}

int sub_shared(struct sub *s, uint64_t i, struct ply_shared *ret, struct ply_err *err)
{
	const void *p;
	int r = row(s, PLY_S_SHARED_FILES, i, sizeof(struct ply_disk_shared), &p, err);

	return r < 0 ? r : shared_decode(p, sub_limits(s), ret, err);
}

int sub_shared_find(struct sub *s, uint64_t node, uint64_t *ret_row, struct ply_shared *ret, struct ply_err *err)
{
	uint64_t lo = 0, hi = sub_limits(s)->shared;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		int r = sub_shared(s, mid, ret, err);

		if (r < 0)
			return r;
		if (ret->node == node) {
			*ret_row = mid;
			return 0;
		}
		if (ret->node > node)
			hi = mid;
		else
			lo = mid + 1;
	}
	return ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "node %llu has records, and none are there",
			(unsigned long long)node);
}

int sub_record(struct sub *s, uint64_t i, struct ply_record *ret, struct ply_err *err)
{
	const void *p;
	int r = row(s, PLY_S_RECORDS, i, sizeof(struct ply_disk_record), &p, err);

	return r < 0 ? r : record_decode(p, sub_limits(s), ret, err);
}

uint64_t sub_override_count(const struct sub *s)
{
	const struct section *sec = section(s, PLY_S_OVERRIDES);

	return sec ? sec->count : 0;
}

int sub_override(struct sub *s, uint64_t i, struct ply_override *ret, struct ply_err *err)
{
	const void *p;
	int r = row(s, PLY_S_OVERRIDES, i, sizeof(struct ply_disk_override), &p, err);

	return r < 0 ? r : override_decode(p, sub_limits(s), ret, err);
}

int sub_override_find(struct sub *s, uint64_t node, struct ply_override *ret, struct ply_err *err)
{
	uint64_t lo = 0, hi = sub_override_count(s);

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct ply_override o;
		int r = sub_override(s, mid, &o, err);

		if (r < 0)
			return r;
		if (o.node == node) {
			*ret = o;
			return 0;
		}
		if (o.node > node)
			hi = mid;
		else
			lo = mid + 1;
	}
	return ply_fail(err, -ENOENT, PLY_R_NO_ENTRY, "node %llu overrides nothing", (unsigned long long)node);
}
