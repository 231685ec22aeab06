/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of a component that is added, at paths which other components of the target have, too. */
#ifndef PLYFS_LAYOUT_SHARE_H
#define PLYFS_LAYOUT_SHARE_H

#include "layout/update_impl.h"

/* All is staged in u->up: rows of @s get what taking components out needs, in any order (enum change_flags), and was/N. */
int share_rows(struct update *u, struct survey *s, struct ply_err *err);

#endif
