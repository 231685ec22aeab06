/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where threads hand something over to one another by an atomic: a batch of a queue, the word to stop, a
 * counter of which the last one acts. To be called just before.
 *
 * It does nothing. A test whose linker puts a function of its own in its place (tests/schedule/) decides
 * there which thread goes on; locks, threads and system calls it finds by itself, by their names. The call
 * costs a nanosecond where a file costs thousands; rejected: a pointer to the function, which is a thing to
 * overwrite; and an object for tests alone, which is not what is shipped.
 */
#ifndef PLYFS_BASE_HANDOVER_H
#define PLYFS_BASE_HANDOVER_H

/* @what is handed over: a few words. */
void handover(const char *what);

#endif
