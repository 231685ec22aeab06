/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small image (below 32 KiB) whose tree depends on the selection, for tests: `os`, `db` and `web`,
 * neither of the last two standing on the other.
 *
 *   /etc/passwd   shared, driver passwd:   os: root          db: mysql          web: www
 *   /etc/group    shared, driver group:    os: "root:x:0:\n"
 *                                          db: "ssl:x:9:" , item "mysql" , "\n"
 *                                          web: "ssl:x:9:" , item "www"  , "\n"    (one record with db's)
 *                                          web: "adm:x:4:", if db "mysql", "\n"
 *   /etc/shells   shared, driver pathlines, of os alone: "/bin/sh\n", without db "/bin/csh\n"
 *   /etc/tool     symlink of os -> "os" with neither; of db -> "db"; of web -> "web" without db
 *   /etc/cache    file of os, there with db and web only; of web without db
 *   /run/data     file 06755 of db: user mysql (27, of db), group www (33, of web), with capability and
 *                 an ACL of two forms
 *   /run          dir of os; implied in db
 */
#ifndef PLYFS_TESTS_CHOICE_IMAGE_H
#define PLYFS_TESTS_CHOICE_IMAGE_H

#define CHOICE_ROOT  "root:x:0:0::/root:/bin/sh\n"
#define CHOICE_MYSQL "mysql:x:27:27::/run:/bin/false\n"
#define CHOICE_WWW   "www:x:33:33::/:/bin/false\n"

/* Write the image to @path; aborts where that fails. */
void choice_image(const char *path);

#endif
