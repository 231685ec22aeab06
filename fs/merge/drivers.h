/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The drivers: each is defined in the file of its family, and stands in this list. */
#ifndef PLYFS_MERGE_DRIVERS_H
#define PLYFS_MERGE_DRIVERS_H

#include "merge/merge.h"

/* The first whose paths match wins. */
#define MERGE_DRIVERS(X) \
	X(merge_passwd)

#define X(symbol) extern const struct merge_driver symbol;
MERGE_DRIVERS(X)
#undef X

#endif
