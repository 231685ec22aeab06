/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine's tree of a few names, as a scan would have it, and its components os, web, db: for targets
 * that look paths up.
 *
 *   /etc/ld.so.conf   /l -> usr   /usr/bin/a (web)   /usr/bin/b   /usr/lib/libx.so (db)
 *   /var/lib/ucf/registry
 */
#ifndef PLYFS_TESTS_FAKE_TREE_H
#define PLYFS_TESTS_FAKE_TREE_H

#include <sys/stat.h>

#include "capture/closure.h"
#include "capture/scan.h"

#define TREE_PROGRAM 9u            /* usr/bin/a */

#define TREE_DIR(up, first, n, at, len) \
	{ .mode = S_IFDIR | 0755, .parent = up, .first_child = first, .nchildren = n, .name = at, .name_len = len }
#define TREE_FILE(up, at, len, owner) \
	{ .mode = S_IFREG | 0755, .parent = up, .name = at, .name_len = len, .comp = owner }

static char tree_names[] = "\0etc\0l\0usr\0var\0ld.so.conf\0bin\0lib\0a\0b\0libx.so\0ucf\0registry";
static struct scan_node tree_nodes[] = {
	TREE_DIR(0, 1, 4, 0, 0),
	TREE_DIR(0, 5, 1, 1, 3),
	{ .mode = S_IFLNK | 0777, .first_child = 7, .name = 5, .name_len = 1 },
	TREE_DIR(0, 6, 2, 7, 3),
	TREE_DIR(0, 8, 1, 11, 3),
	TREE_FILE(1, 15, 10, 0),
	TREE_DIR(3, 9, 2, 26, 3),
	TREE_DIR(3, 11, 1, 30, 3),
	TREE_DIR(4, 12, 1, 30, 3),
	TREE_FILE(6, 34, 1, 1),
	TREE_FILE(6, 36, 1, 0),
	TREE_FILE(7, 38, 7, 2),
	TREE_DIR(8, 13, 1, 46, 3),
	TREE_FILE(12, 50, 8, 1),
};
static struct scan tree = { .root = -1, .nodes = tree_nodes, .n = sizeof(tree_nodes) / sizeof(tree_nodes[0]),
			    .names = { (uint8_t *)tree_names, sizeof(tree_names), sizeof(tree_names) } };

static char tree_comp_names[3][4] = { "os", "web", "db" };
static struct closure_comp tree_comps[] = { { .name = tree_comp_names[0] }, { .name = tree_comp_names[1] },
					    { .name = tree_comp_names[2] } };
static struct closure_pkg tree_pkgs[] = { { .comp = 1 } };
static struct closure tree_closure = { .comps = tree_comps, .ncomps = 3, .pkgs = tree_pkgs, .npkgs = 1 };

#endif
