/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What adding components to a target would change there: layout --dry-run, and plan --target. */
#ifndef PLYFS_LIVING_SHOW_H
#define PLYFS_LIVING_SHOW_H

#include "living.h"

/* On stdout. *ret_undecided: conflicts with the target that nothing decides. With --json @ret_json, if not NULL, is the
 * object, the caller's; else it is printed. */
int living_show(struct living *l, size_t *ret_undecided, json_t **ret_json, struct ply_err *err);

#endif
