/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ACLs and selections: see acls.h. A selection without a user must not have an ACL entry with its
 * number, which may be somebody else's there. The variants are made at capture, so that a reader
 * has nothing to parse: with k components 2^k of them, and k is nearly always 1. Beyond ACLS_COMPONENTS_MAX the others
 * go together: they add one variant each, so that the captured ACL is there with all.
 *
 * The kernel's form of an ACL (linux/posix_acl_xattr.h): version u32 (2), then entries of tag
 * u16, permissions u16, id u32; named users have tag 2, named groups 8.
 */
#include "capture/acls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "capture/split.h"
#include "plyfs/disk.h"

#define ACL_HEADER 4u
#define ACL_ENTRY  8u
#define TAG_USER   2u
#define TAG_GROUP  8u

struct entry {
	le16 tag, perm;
	le32 id;
};
_Static_assert(sizeof(struct entry) == ACL_ENTRY, "ACL entry");

static bool is_acl(const struct subw_xattr *x)
{
	return (!strcmp(x->name, "system.posix_acl_access") || !strcmp(x->name, "system.posix_acl_default")) &&
	       x->value_len >= ACL_HEADER && (x->value_len - ACL_HEADER) % ACL_ENTRY == 0;
}

static struct entry entry_at(const struct subw_xattr *x, size_t i)
{
	struct entry e;

	memcpy(&e, (const uint8_t *)x->value + ACL_HEADER + i * ACL_ENTRY, sizeof(e));
	return e;
}

/* Who brings the user or group that the entry names; 0: nobody, or the operating system. */
static uint16_t comp_of(const struct entry *e, const struct subw_owner_facts *f)
{
	switch (le16_get(e->tag)) {
	case TAG_USER: return f->user(f->ctx, le32_get(e->id));
	case TAG_GROUP: return f->group(f->ctx, le32_get(e->id));
	}
	return 0;
}

/* The components of @x, each once, into @comps (SPLIT_MAX). */
static size_t list_comps(const struct subw_xattr *x, const struct subw_owner_facts *f, uint16_t *comps)
{
	size_t n = 0;

	for (size_t i = 0; i < (x->value_len - ACL_HEADER) / ACL_ENTRY; i++) {
		struct entry e = entry_at(x, i);
		uint16_t comp = comp_of(&e, f);
		size_t k = 0;

		while (k < n && comps[k] != comp)
			k++;
		if (comp && k == n && n < SPLIT_MAX)
			comps[n++] = comp;
	}
	return n;
}

static int add(struct acl_variants *out, const struct subw_xattr *x)
{
	if (array_grow(&out->v, &out->cap, out->n + 1, sizeof(*out->v)) < 0)
		return -ENOMEM;
	out->v[out->n++] = *x;
	return 0;
}

static bool has(const uint16_t *comps, size_t n, uint16_t comp)
{
	for (size_t k = 0; k < n; k++)
		if (comps[k] == comp)
			return true;
	return false;
}

static int add_clause(struct conds *conds, const uint16_t *comp, bool selected, uint32_t *cond)
{
	uint32_t one;
	int r = selected ? conds_any(conds, comp, 1, &one) : conds_none(conds, comp, 1, &one);

	return r < 0 ? r : conds_and(conds, *cond, one, cond);
}

/* @x with the entries of @comps (@n), and of nobody's, under @cond. out->text has room. */
static int add_variant(const struct subw_xattr *x, const struct subw_owner_facts *f, const uint16_t *comps, size_t n,
		       uint32_t cond, struct acl_variants *out)
{
	struct subw_xattr v = { .name = x->name, .value = out->text.data + out->text.len, .cond = cond };
	size_t from = out->text.len;
	int r = buf_add(&out->text, x->value, ACL_HEADER);

	for (size_t i = 0; r == 0 && i < (x->value_len - ACL_HEADER) / ACL_ENTRY; i++) {
		struct entry e = entry_at(x, i);
		uint16_t comp = comp_of(&e, f);

		if (!comp || has(comps, n, comp))
			r = buf_add(&out->text, &e, sizeof(e));
	}
	v.value_len = out->text.len - from;
	return r < 0 ? r : add(out, &v);
}

/* For each subset of the first components a variant; with all of these, the rest all or not at all. */
static int add_variants(const struct subw_xattr *x, const struct subw_owner_facts *f, struct conds *conds,
			const uint16_t *comps, size_t n, struct acl_variants *out)
{
	size_t first = MIN(n, (size_t)ACLS_COMPONENTS_MAX);
	int r = 0;

	for (unsigned mask = 1u << first; r == 0 && mask-- > 0;) {
		uint16_t set[ACLS_COMPONENTS_MAX];
		uint32_t cond = COND_ALWAYS;
		size_t nset = 0;

		for (size_t k = 0; r == 0 && k < first; k++) {
			if (mask >> k & 1)
				set[nset++] = comps[k];
			r = add_clause(conds, &comps[k], mask >> k & 1, &cond);
		}
		for (size_t k = first; r == 0 && nset == first && k < n; k++) {
			uint32_t without = cond;

			r = add_clause(conds, &comps[k], false, &without);
			if (r == 0)
				r = add_variant(x, f, comps, first, without, out);
			if (r == 0)
				r = add_clause(conds, &comps[k], true, &cond);
		}
		if (r == 0)
			r = nset == first ? add_variant(x, f, comps, n, cond, out) :
					    add_variant(x, f, set, nset, cond, out);
	}
	return r;
}

/* How many variants an ACL of @n components has. */
static size_t count_variants(size_t n)
{
	size_t first = MIN(n, (size_t)ACLS_COMPONENTS_MAX);

	return ((size_t)1 << first) + n - first;
}

int acls_expand(const struct subw_xattr *x, size_t n, const struct subw_owner_facts *owners,
		struct conds *conds, struct acl_variants *out)
{
	uint16_t comps[SPLIT_MAX];
	size_t room = 0;
	int r;

	out->n = 0;
	out->text.len = 0;
	out->together = false;
	for (size_t i = 0; i < n; i++)
		if (is_acl(&x[i]))
			room += x[i].value_len * count_variants(list_comps(&x[i], owners, comps));
	r = buf_reserve(&out->text, room);
	for (size_t i = 0; r == 0 && i < n; i++) {
		size_t ncomps = is_acl(&x[i]) ? list_comps(&x[i], owners, comps) : 0;

		out->together |= ncomps > ACLS_COMPONENTS_MAX;
		r = ncomps ? add_variants(&x[i], owners, conds, comps, ncomps, out) : add(out, &x[i]);
	}
	return r;
}

void acl_variants_done(struct acl_variants *v)
{
	free(v->v);
	buf_done(&v->text);
	*v = (struct acl_variants){ 0 };
}
