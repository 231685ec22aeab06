/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Confinement of the calling process, for good: what it may still do once its files are open. Whoever
 * takes it over by a crafted image then has no privileges, few system calls and no files.
 *
 * Nothing here fails: what the kernel lacks is left out, and the result says what stands.
 */
#ifndef PLYFS_BASE_SANDBOX_H
#define PLYFS_BASE_SANDBOX_H

#include <stddef.h>
#include <stdint.h>

/* Groups of system calls beyond those that memory, threads, time and open descriptors need. */
enum {
	SANDBOX_SOCKETS = 1,       /* answer on sockets that are open; wait for children */
	SANDBOX_TREES   = 2,       /* open for reading, list, stat, read links and xattrs */
	SANDBOX_LOG     = 4,       /* write to a file that is open, sync it, punch holes, see how full its disk is */
};

struct sandbox {
	uint64_t capabilities;     /* bits 1 << CAP_...: kept where the process has them */
	unsigned syscalls;         /* SANDBOX_...: groups */
	/* Files, and directories with what is below: may be opened for reading. Open descriptors, borrowed
	 * for the call. Of use only with SANDBOX_TREES. */
	const int *readable;
	size_t nreadable;
};

/* What stands: bits. */
enum {
	SANDBOX_HAS_PRIVILEGES = 1,   /* capabilities dropped; none come by exec */
	SANDBOX_HAS_SYSCALLS   = 2,   /* seccomp */
	SANDBOX_HAS_FILES      = 4,   /* Landlock */
};

/* Confine the calling thread and those that it starts: to be called before there are others. */
unsigned sandbox_enter(const struct sandbox *allow);

/* Only the first part of it: capabilities. It does not keep the process from executing setuid programs.
 * -errno. */
int sandbox_keep_capabilities(uint64_t keep);

/* Names of the bits of sandbox_enter(), one after the other from @i = 0; NULL: no more. */
const char *sandbox_name(unsigned has, unsigned i);

#endif
