/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holes that depend on nothing but the file. */
#ifndef PLYFS_BASE_HOLES_H
#define PLYFS_BASE_HOLES_H

/* Call before asking lseek(2) for the data and holes of regular file @fd. Never fails. */
void holes_settle(int fd);

#endif
