/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The links of an alternative, for every selection: what update-alternatives would have made on a
 * machine with just those choices. The driver cuts the file in /var/lib/dpkg/alternatives; the
 * symlinks that go with it are entries of the tree, which capture makes from this list.
 */
#ifndef PLYFS_MERGE_ALTERNATIVES_H
#define PLYFS_MERGE_ALTERNATIVES_H

#include "merge/merge.h"

struct alternatives_link {
	char *path;                /* absolute: below /etc/alternatives, or the public name */
	char *target;
	uint32_t cond;
	/* update-alternatives makes a slave's link only where the file that it would finally reach is
	 * there: this is that file, and capture leaves both links of it out where it is missing. The
	 * master's: NULL. */
	char *slave;
};

struct alternatives_links {
	struct alternatives_link *v;
	size_t n, cap;
};

void alternatives_links_done(struct alternatives_links *l);

/*
 * Of @path, a file of the driver "alternatives" with @text. In each selection at most one of the
 * entries with equal paths holds: the captured machine's current choice if it is selected, else
 * that of the highest priority, and of equal ones the first. A slave that the winning choice
 * lacks, or whose file is not in the selection, has no link. -EUCLEAN as split(), -ENOMEM.
 */
int alternatives_links(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		       struct alternatives_links *ret, struct ply_err *err);

#endif
