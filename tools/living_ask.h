/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What adding components to a target leaves undecided, put to whoever sits at the terminal. */
#ifndef PLYFS_LIVING_ASK_H
#define PLYFS_LIVING_ASK_H

#include "living.h"

/* The answers become l->choice's, and go into its policy file; living_add() is to follow. What is left undecided is no error
 * here. */
int living_ask(const struct living *l, struct ply_err *err);

#endif
