/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who keeps a file system busy, as far as /proc shows it to the caller. */
#ifndef PLYFS_HOLDERS_H
#define PLYFS_HOLDERS_H

#include <sys/types.h>

struct holder {
	pid_t pid;
	const char *command;       /* escaped */
	const char *how;           /* "working directory", "open file", ... */
};

/* Each process that uses the file system with this device number, once. */
typedef void (*holder_fn)(void *ctx, const struct holder *holder);
void holders_find(unsigned major, unsigned minor, holder_fn fn, void *ctx);

/* A process in whose mount namespace, other than ours, it is mounted; 0: none is seen. */
pid_t holders_namespace(unsigned major, unsigned minor);

#endif
