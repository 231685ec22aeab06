/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image that is damaged byte by byte: below 32 KiB, and yet with everything that a reader has
 * code for. Made with the writers, so that it needs no root and is the same everywhere.
 *
 *   os:   /dev0        char device 5:1            /etc         joined, with an ACL   /etc/hosts  inline, marked
 *         /fifo        FIFO                       /large       two blocks, a hole, trusted xattrs
 *         /link        symlink -> /etc/hosts      /shared      link group with /usr/again and web's /usr/shared2
 *         /sock        socket                     /usr         joined, implied in web
 *         /tool        symlink, without web       /etc/group   shared, of the two
 *         /usr/lib     os only                    /usr/lib/raw incompressible
 *   web:  /tool        symlink
 *         /etc/web     empty                      /usr/web/page  incompressible, in a block stored raw
 *
 * and the catalog has requirements, packages, a mount and a blob. User 1 comes with web; an xattr of /large
 * depends on it.
 */
#ifndef PLYFS_TESTS_MACHINE_H
#define PLYFS_TESTS_MACHINE_H

/* Write the image to @path; aborts where that fails. */
void machine_image(const char *path);

#endif
