/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ctrl-C for verbs that must clean up: a flag instead of the end. */
#ifndef PLYFS_CANCEL_H
#define PLYFS_CANCEL_H

#include <stdatomic.h>

/*
 * From now on SIGINT, SIGTERM and SIGHUP (unless ignored, as by nohup) set the flag that is
 * returned.
 */
const atomic_bool *cancel_on_signals(void);

#endif
