/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the reading verbs show paths, modes, times and long JSON arrays; one way for all of them. */
#ifndef PLYFS_SHOW_H
#define PLYFS_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "plyfs/view.h"

/*
 * A path of a command line inside a view: symlinks in the middle are followed, one at the end
 * with @follow or a trailing slash. Errors name the path.
 */
int show_resolve(struct ply_view *view, const char *path, bool follow, uint64_t *ret_ino,
		 struct ply_err *err);

char *show_mode(mode_t mode, char out[11]);            /* "-rwsr-xr-x"; returns @out */
const char *show_type(mode_t mode);                    /* "file", "directory", ... */
/* UTC as RFC 3339 without fractions; seconds since the epoch where the year has no such form. */
char *show_time_utc(int64_t sec, char out[32]);
/* Local time as `ls --time-style=long-iso`. */
char *show_time(int64_t sec, char out[32]);

json_t *show_uuid(const uint8_t uuid[16]);
json_t *show_digest(const uint8_t digest[32]);         /* "sha256:..." */
json_t *show_origin(struct ply_view *view, uint64_t ino);   /* names of sub-images */

/*
 * A JSON object whose last member is an array that is printed while it comes, one element a
 * line: millions of files need no memory. The elements and @head are consumed; NULL counts
 * as short memory, which show_end() tells.
 */
struct show_array {
	bool any, failed;
	bool any_part;
};
void show_begin(struct show_array *a, json_t *head, const char *name);
void show_item(struct show_array *a, json_t *item);
/* An item with an array @name of parts that are printed while they come, and @tail behind it. All consumed. */
void show_item_begin(struct show_array *a, json_t *item, const char *name);
void show_part(struct show_array *a, json_t *part);
void show_item_end(struct show_array *a, json_t *tail);
/* Members of @tail follow the array; EXIT_DONE or EXIT_FAILED. */
int show_end(struct show_array *a, json_t *tail);

#endif
