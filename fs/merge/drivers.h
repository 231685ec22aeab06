/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The drivers: each is defined in the file of its family, and stands in this list. */
#ifndef PLYFS_MERGE_DRIVERS_H
#define PLYFS_MERGE_DRIVERS_H

#include "merge/merge.h"

/* By number, ascending. The first whose paths match wins. */
#define MERGE_DRIVERS(X) \
	X(merge_passwd) \
	X(merge_shadow) \
	X(merge_group) \
	X(merge_status) \
	X(merge_extended) \
	X(merge_debconf) \
	X(merge_templates) \
	X(merge_diversions) \
	X(merge_statoverride) \
	X(merge_trigger_file) \
	X(merge_trigger_name) \
	X(merge_alternatives) \
	X(merge_ucf) \
	X(merge_pathlines) \
	X(merge_ldcache)

#define X(symbol) extern const struct merge_driver symbol;
MERGE_DRIVERS(X)
#undef X

#endif
