/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by sub.c and sub_data.c only. */
#ifndef PLYFS_SUB_INTERNAL_H
#define PLYFS_SUB_INTERNAL_H

#include "sub/sub.h"

struct sub {
	struct io *io;             /* borrowed */
	struct meta *meta;
	uint32_t id;
	uint64_t data_off;         /* of the DATA section in the image */
	struct sub_limits lim;
	const struct section *sec[PLY_S_COMPONENTS + 1];  /* by type */
};

#endif
