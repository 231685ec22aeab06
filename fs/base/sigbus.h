/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading through mmap without dying of it. A file that is truncated, or a
 * disk that fails, under a mapping raises SIGBUS; the handler installed here
 * maps a zero page over the hole and counts the fault, so that the reader
 * goes on with zeros, fails its checksum, and sees sigbus_hit() != 0. The
 * idea is systemd-journald's.
 *
 * Registered ranges only: a SIGBUS elsewhere ends the process as usual.
 */
#ifndef PLYFS_BASE_SIGBUS_H
#define PLYFS_BASE_SIGBUS_H

#include <stddef.h>

/* Install the handler (once for the process; safe to call again). -errno. */
int sigbus_install(void);

/* Guard [addr, addr + len). Returns a slot to release, or -ENOSPC. */
int sigbus_guard(const void *addr, size_t len);
void sigbus_release(int slot);

/* Faults so far in all guarded ranges: who asks before and after reading through one, and finds it grown,
 * may have read zeros, whichever thread's the fault was. */
unsigned sigbus_faults(void);

/* Faults so far in the range of @slot. */
unsigned sigbus_hit(int slot);

#endif
