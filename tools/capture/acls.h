/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ACLs that name users and groups of components: an ACL for each selection of these. */
#ifndef PLYFS_ACLS_H
#define PLYFS_ACLS_H

#include "base/buf.h"
#include "merge/cond.h"
#include "sub/sub_write.h"

/* Of one ACL: each subset of these is a variant. Entries of further components are there only where all of them are. */
#define ACLS_COMPONENTS_MAX 6u

struct acl_variants {
	struct subw_xattr *v;      /* values lie in text */
	size_t n, cap;
	struct buf text;
	bool together;             /* an ACL has further components */
};

/*
 * The xattrs @x of a file, into @out (emptied first): each ACL with entries of users or groups that
 * components bring becomes several, with conditions that exclude each other, from the captured one to
 * the one without all of them. -ENOMEM.
 */
int acls_expand(const struct subw_xattr *x, size_t n, const struct subw_owner_facts *owners,
		struct conds *conds, struct acl_variants *out);
void acl_variants_done(struct acl_variants *v);

#endif
