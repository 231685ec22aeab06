/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What two contenders of a path are to one another: see merge_classify() in compose.h.
 *
 * Attribute by attribute, content being one of them: one that only one of the two changed, against what both
 * started from, is its; one that both changed differently, or that has no common beginning, is a conflict, but for
 * content that can be put together and for the metadata of directories that are new in both.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/util.h"
#include "merge/compose.h"
#include "merge/parse.h"

static unsigned type_of(const struct contender *c)
{
	return c->mode & S_IFMT;
}

static bool has_digest(const struct contender *c)
{
	for (size_t i = 0; i < sizeof(c->digest); i++)
		if (c->digest[i])
			return true;
	return false;
}

static bool same_content(const struct contender *a, const struct contender *b)
{
	if (S_ISREG(a->mode) && a->size != b->size)
		return false;
	if (has_digest(a) && has_digest(b))
		return !memcmp(a->digest, b->digest, sizeof(a->digest));
	return span_is((struct span){ a->text, a->len }, (struct span){ b->text, b->len }) &&
	       ((a->loaded && b->loaded) || S_ISLNK(a->mode) || !a->size);
}

static bool same_xattrs(const struct contender *a, const struct contender *b)
{
	if (!a->xattrs_digest || !b->xattrs_digest)
		return a->xattrs_digest == b->xattrs_digest;
	return !memcmp(a->xattrs_digest, b->xattrs_digest, 32);
}

static bool is_device(const struct contender *c)
{
	return S_ISCHR(c->mode) || S_ISBLK(c->mode);
}

/* In what they differ: enum pair_flags. Where the types differ, of content nothing can be said. */
static unsigned differences(const struct contender *a, const struct contender *b)
{
	unsigned d = 0;

	if (type_of(a) != type_of(b))
		d |= PAIR_TYPE;
	else if ((S_ISREG(a->mode) || S_ISLNK(a->mode)) ? !same_content(a, b) : is_device(a) && a->rdev != b->rdev)
		d |= PAIR_CONTENT;
	if (!S_ISLNK(a->mode) && !S_ISLNK(b->mode) && (a->mode & 07777) != (b->mode & 07777))
		d |= PAIR_MODE;
	if (a->uid != b->uid || a->gid != b->gid)
		d |= PAIR_OWNER;
	if (!same_xattrs(a, b))
		d |= PAIR_XATTRS;
	if (!S_ISDIR(a->mode) && !S_ISDIR(b->mode) && a->nlink != b->nlink)
		d |= PAIR_LINKS;
	if (a->mtime_sec != b->mtime_sec || a->mtime_nsec != b->mtime_nsec)
		d |= PAIR_TIMES;
	return d;
}

static int conflict(struct pair_class *ret, enum merge_why why)
{
	ret->cls = MERGE_CONFLICT;
	ret->why = (uint8_t)why;
	return 0;
}

/* A whiteout agrees with another one, and with what was not changed. */
static int classify_deleted(const struct contender *a, const struct contender *b, const struct contender *base,
			    struct pair_class *ret)
{
	const struct contender *left = a->deleted ? b : a;

	if (a->deleted)
		ret->flags |= PAIR_A_WHITEOUT;
	if (b->deleted)
		ret->flags |= PAIR_B_WHITEOUT;
	if (a->deleted && b->deleted)
		return 0;
	if (!base)                 /* what is gone was another one's: they have nothing to do with one another */
		return 0;
	ret->flags |= PAIR_TYPE;
	if (differences(left, base) & ~(unsigned)PAIR_TIMES)
		return conflict(ret, MERGE_WHY_DELETED);
	ret->cls = MERGE_THREE_WAY;
	return 0;
}

/* Regular files; both have content of their own. */
static int classify_content(const char *path, const struct contender *a, const struct contender *b,
			    const struct contender *base, struct pair_class *ret, struct ply_err *err)
{
	const struct merge_driver *d = merge_driver_for(path);
	const struct span none = { NULL, 0 }, v[] = { { a->text, a->len }, { b->text, b->len } };
	bool based = base && S_ISREG(base->mode);
	_cleanup_buf_ struct buf out = { 0 };
	enum merge_why why = MERGE_WHY_NONE;
	int r;

	if (!a->loaded || !b->loaded || (based && !base->loaded))
		return conflict(ret, MERGE_WHY_SIZE);
	if (d || based) {
		struct span from = based ? (struct span){ base->text ? base->text : (const uint8_t *)"", base->len } : none;

		r = merge_compose(path, NULL, from, v[0], v[1], &out, &why, err);
		if (r == -ENOTUNIQ)
			return conflict(ret, why);
		ret->cls = d ? MERGE_DRIVER : MERGE_THREE_WAY;
		return r;
	}
	r = merge_append_look(path, v, 2, false, &why, err);
	if (r == 0 && !why) {
		ret->cls = MERGE_APPEND;
		ret->flags |= PAIR_APPENDABLE;
	} else if (r == 0) {
		enum merge_why forced;

		conflict(ret, why);
		r = merge_append_look(path, v, 2, true, &forced, err);
		if (r == 0 && !forced)
			ret->flags |= PAIR_APPENDABLE;
	}
	return r;
}

/* Those in which both are other than base, and than one another. */
static unsigned clashing(unsigned between, const struct contender *a, const struct contender *b,
			 const struct contender *base)
{
	return base ? between & differences(a, base) & differences(b, base) : between;
}

static enum merge_why why_metadata(unsigned clashes)
{
	return clashes & PAIR_OWNER ? MERGE_WHY_OWNER : clashes & PAIR_MODE ? MERGE_WHY_MODE :
	       clashes & PAIR_XATTRS ? MERGE_WHY_XATTRS : MERGE_WHY_LINKS;
}

/* One side made another type of it, or other hard links: then the other side may have changed nothing. */
static bool only_one_changed(const struct contender *a, const struct contender *b, const struct contender *base)
{
	const unsigned times = PAIR_TIMES;

	return base && (!(differences(a, base) & ~times) || !(differences(b, base) & ~times));
}

int merge_classify(const char *path, const struct contender *a, const struct contender *b, const struct contender *base,
		   struct pair_class *ret, struct ply_err *err)
{
	const unsigned metadata = PAIR_OWNER | PAIR_MODE | PAIR_XATTRS;
	unsigned between, clashes;

	*ret = (struct pair_class){ .cls = MERGE_SAME };
	if (base && base->deleted)
		base = NULL;
	if (a->deleted || b->deleted)
		return classify_deleted(a, b, base, ret);
	between = differences(a, b);
	ret->flags = (uint16_t)between;
	if (!(between & ~(unsigned)PAIR_TIMES)) {
		ret->cls = between ? MERGE_TIMES : MERGE_SAME;
		return 0;
	}
	if (only_one_changed(a, b, base)) {
		ret->cls = MERGE_THREE_WAY;
		return 0;
	}
	if (between & PAIR_TYPE)
		return conflict(ret, MERGE_WHY_TYPE);
	if (base && type_of(base) != type_of(a))       /* both made the same other type of it */
		base = NULL;
	clashes = clashing(between, a, b, base);
	if (S_ISDIR(a->mode) && !base) {
		ret->cls = MERGE_DIRECTORY;
		return 0;
	}
	if (clashes & metadata)
		return conflict(ret, why_metadata(clashes));
	if (between & PAIR_LINKS)
		return conflict(ret, MERGE_WHY_LINKS);
	if (!(clashes & PAIR_CONTENT)) {
		ret->cls = MERGE_THREE_WAY;
		return 0;
	}
	if (S_ISLNK(a->mode))
		return conflict(ret, MERGE_WHY_TARGET);
	if (is_device(a))
		return conflict(ret, MERGE_WHY_DEVICE);
	return classify_content(path, a, b, base, ret, err);
}
