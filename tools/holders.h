/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who keeps a file system busy, as far as /proc shows it to the caller. */
#ifndef PLYFS_HOLDERS_H
#define PLYFS_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct holder {
	pid_t pid;
	const char *command;       /* escaped */
	const char *how;           /* "working directory", "open file", ... */
};

/* Each process that uses the file system with this device number, once. */
typedef void (*holder_fn)(void *ctx, const struct holder *holder);
void holders_find(unsigned major, unsigned minor, holder_fn fn, void *ctx);

/* The process that has the file @path locked by flock(2): @ret's strings are in @command. False: it is not to be seen. */
bool holders_lock(const char *path, struct holder *ret, char *command, size_t cap);

/* Each regular file of the file system with this device number that somebody has open, or mapped, to write to it, as
 * far as we may open it: @fd is read-only, and closed behind the call. Non-zero from @fn ends it, and is returned. */
typedef int (*holder_file_fn)(void *ctx, int fd);
int holders_writers(unsigned major, unsigned minor, holder_file_fn fn, void *ctx);

/* A process in whose mount namespace, other than ours, it is mounted; 0: none is seen. */
pid_t holders_namespace(unsigned major, unsigned minor);

#endif
