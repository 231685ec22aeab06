/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conditions, shared files and records (FORMAT.md, "What depends on a selection"), overrides and
 * collisions ("Overlays"). What a row says is checked
 * against what the segment can hold, as in node.c; that a condition ends, and that the records of a
 * file fill its content, is for the reader, which knows more than one row.
 */
#include <errno.h>
#include <string.h>

#include "format/format.h"

int condition_decode(const struct ply_disk_condition *in, const struct sub_limits *lim,
		     struct ply_condition *ret, struct ply_err *err)
{
	struct ply_disk_condition d;
	uint16_t flags;

	memcpy(&d, in, sizeof(d));
	flags = le16_get(d.flags);
	ret->component = le16_get(d.component);
	ret->none = flags & PLY_COND_NONE;
	ret->ends_clause = flags & PLY_COND_CLAUSE_END;
	ret->ends = flags & PLY_COND_END;
	if (flags & ~(PLY_COND_NONE | PLY_COND_CLAUSE_END | PLY_COND_END) || le32_get(d.zero) ||
	    (ret->ends && !ret->ends_clause) || !ret->component || ret->component >= lim->components)
		return ply_fail(err, -EUCLEAN, PLY_R_CONDITION_FIELD, "a row of a condition is impossible");
	return 0;
}

void shared_encode(const struct ply_shared *s, struct ply_disk_shared *out)
{
	*out = (struct ply_disk_shared){
		.node = le64_put(s->node),
		.driver = le16_put(s->driver),
		.version = le16_put(s->version),
		.flags = le32_put(s->whole ? PLY_SHARED_WHOLE : 0),
		.first = le64_put(s->first),
		.count = le32_put(s->count),
	};
	memcpy(out->digest, s->digest, sizeof(out->digest));
}

int shared_decode(const struct ply_disk_shared *in, const struct sub_limits *lim, struct ply_shared *ret,
		  struct ply_err *err)
{
	struct ply_disk_shared d;
	struct ply_shared s;

	memcpy(&d, in, sizeof(d));
	s = (struct ply_shared){
		.node = le64_get(d.node),
		.driver = le16_get(d.driver),
		.version = le16_get(d.version),
		.whole = le32_get(d.flags) & PLY_SHARED_WHOLE,
		.first = le64_get(d.first),
		.count = le32_get(d.count),
	};
	memcpy(s.digest, d.digest, sizeof(s.digest));
	if (s.node <= PLY_ROOT_INDEX || s.node >= lim->nodes || le32_get(d.flags) & ~PLY_SHARED_WHOLE ||
	    le32_get(d.zero) || s.first > lim->records || s.count > lim->records - s.first)
		return ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "a row of SHARED_FILES is impossible");
	*ret = s;
	return 0;
}

int record_decode(const struct ply_disk_record *in, const struct sub_limits *lim, struct ply_record *ret,
		  struct ply_err *err)
{
	struct ply_disk_record d;

	memcpy(&d, in, sizeof(d));
	*ret = (struct ply_record){
		.ordinal = le32_get(d.ordinal),
		.condition = le32_get(d.condition),
		.len = le32_get(d.len),
		.flags = le32_get(d.flags),
	};
	if (ret->condition > lim->conditions || ret->flags & ~PLY_RECORD_ITEM)
		return ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "a record is impossible");
	return 0;
}

void override_encode(const struct ply_override *o, struct ply_disk_override *out)
{
	*out = (struct ply_disk_override){
		.node = le64_put(o->node),
		.mask = le32_put(o->mask),
	};
	memcpy(out->digest, o->digest, sizeof(out->digest));
}

int override_decode(const struct ply_disk_override *in, const struct sub_limits *lim, struct ply_override *ret,
		    struct ply_err *err)
{
	struct ply_disk_override d;

	memcpy(&d, in, sizeof(d));
	ret->node = le64_get(d.node);
	ret->mask = le32_get(d.mask);
	memcpy(ret->digest, d.digest, sizeof(ret->digest));
	if (ret->node < PLY_ROOT_INDEX || ret->node >= lim->nodes || !ret->mask || ret->mask & ~PLY_OVER_ALL ||
	    le32_get(d.zero))
		return ply_fail(err, -EUCLEAN, PLY_R_OVERRIDE_FIELD, "a row of OVERRIDES is impossible");
	return 0;
}

bool collision_comes_first(const struct ply_collision *c)
{
	return c->cls == PLY_PAIR_CONFLICT || c->flags & (PLY_PAIR_F_TYPE | PLY_PAIR_A_WHITEOUT | PLY_PAIR_B_WHITEOUT);
}

int collision_compare(const struct ply_collision *x, const struct ply_collision *y)
{
	bool first = collision_comes_first(x);

	if (first != collision_comes_first(y))
		return first ? -1 : 1;
	if (x->b != y->b)
		return x->b < y->b ? -1 : 1;
	return x->a < y->a ? -1 : x->a > y->a;
}

void collision_encode(const struct ply_collision *c, struct ply_disk_collision *out)
{
	*out = (struct ply_disk_collision){
		.a = le64_put(c->a),
		.b = le64_put(c->b),
		.cls = c->cls,
		.why = c->why,
		.flags = le16_put(c->flags),
	};
}

static bool is_global(uint64_t ref)
{
	return PLY_INO_NUMBER(ref) <= PLY_NUMBER_MAX && PLY_INO_INDEX(ref);
}

int collision_decode(const struct ply_disk_collision *in, struct ply_collision *ret, struct ply_err *err)
{
	struct ply_disk_collision d;
	struct ply_collision c;

	memcpy(&d, in, sizeof(d));
	c = (struct ply_collision){
		.a = le64_get(d.a),
		.b = le64_get(d.b),
		.cls = d.cls,
		.why = d.why,
		.flags = le16_get(d.flags),
	};
	if (!is_global(c.a) || !is_global(c.b) || PLY_INO_NUMBER(c.a) >= PLY_INO_NUMBER(c.b) ||
	    c.cls < PLY_PAIR_TIMES || c.cls > PLY_PAIR_CONFLICT || c.why > PLY_PAIR_WHY_MAX ||
	    (c.why != PLY_PAIR_WHY_NONE) != (c.cls == PLY_PAIR_CONFLICT) || c.flags & ~PLY_PAIR_FLAGS ||
	    (c.flags & PLY_PAIR_A_WHITEOUT && c.flags & PLY_PAIR_B_WHITEOUT) || le32_get(d.zero))
		return ply_fail(err, -EUCLEAN, PLY_R_COLLISION_FIELD, "a row of COLLISIONS is impossible");
	*ret = c;
	return 0;
}
