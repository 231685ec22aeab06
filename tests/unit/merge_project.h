/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shared files of a real root, cut and rendered for selections, for full/merge.bats. */
#ifndef PLYFS_TESTS_MERGE_PROJECT_H
#define PLYFS_TESTS_MERGE_PROJECT_H

/*
 * @facts: a file of lines KIND TAB NAME TAB COMPONENT; KIND is package, path, user, group; a NAME can stand there several
 * times: any of them; the component "os" need not. @selections: "os,mysql", by spaces. For each, the files go below
 * @out/SELECTION; the links of alternatives to @out/SELECTION.links, "PATH TAB TARGET TAB SLAVE".
 * Prints a line for each file. 0, or 1: it says why.
 */
int merge_project(const char *root, const char *facts, const char *out, const char *selections);

#endif
