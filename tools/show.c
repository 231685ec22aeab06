/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See show.h. */
#include "show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/util.h"
#include "cli.h"
#include "format/format.h"

static int resolve(struct ply_view *view, const char *path, bool follow, uint64_t *ret,
		   struct ply_err *err)
{
	const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
	_cleanup_free_ char *dir = NULL;
	uint64_t ino;
	int r;

	if (follow || !*last || !strcmp(last, ".") || !strcmp(last, ".."))
		return ply_view_resolve(view, path, true, ret, err);
	dir = strndup(path, (size_t)(last - path));
	if (!dir)
		return ply_fail_nomem(err);
	r = ply_view_resolve(view, dir, true, &ino, err);
	return r < 0 ? r : ply_view_lookup(view, ino, last, strlen(last), ret, err);
}

int show_resolve(struct ply_view *view, const char *path, bool follow, uint64_t *ret,
		 struct ply_err *err)
{
	char shown[512];
	int r = resolve(view, path, follow, ret, err);

	if (r < 0) {
		escape_name_to(path, strlen(path), shown, sizeof(shown));
		if (strncmp(err->msg, shown, strlen(shown)) != 0)
			ply_err_prefix(err, "%s", shown);
	}
	return r;
}

char *show_mode(mode_t mode, char out[11])
{
	static const char types[] = "?pc?d?b?-?l?s???";
	static const char bits[] = "rwxrwxrwx";

	out[0] = types[mode >> 12 & 15];
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode >> (8 - i) & 1 ? bits[i] : '-';
	if (mode & S_ISUID)
		out[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		out[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		out[9] = mode & S_IXOTH ? 't' : 'T';
	out[10] = '\0';
	return out;
}

const char *show_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "directory";
	case S_IFLNK: return "symlink";
	case S_IFCHR: return "char-device";
	case S_IFBLK: return "block-device";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	}
	return "unknown";
}

/* Is @tm's year one of four digits? */
static bool plain_year(const struct tm *tm)
{
	return tm->tm_year >= -1900 && tm->tm_year <= 9999 - 1900;
}

char *show_time_utc(int64_t sec, char out[32])
{
	time_t t = (time_t)sec;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !plain_year(&tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(out, 32, "@%" PRId64, sec);
	return out;
}

char *show_time(int64_t sec, char out[32])
{
	time_t t = (time_t)sec;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !plain_year(&tm) || !strftime(out, 32, "%Y-%m-%d %H:%M", &tm))
		snprintf(out, 32, "@%" PRId64, sec);
	return out;
}

json_t *show_uuid(const uint8_t uuid[16])
{
	char text[37];

	uuid_format(uuid, text);
	return json_string(text);
}

json_t *show_digest(const uint8_t digest[32])
{
	char text[7 + 65] = "sha256:";

	hex_encode(digest, 32, text + 7);
	return json_string(text);
}

json_t *show_origin(struct ply_view *view, uint64_t ino)
{
	uint32_t max = ply_view_nsubs(view);
	_cleanup_free_ uint32_t *subs = calloc(max, sizeof(*subs));
	int n = subs ? ply_view_origin(view, ino, subs, max, NULL) : -1;
	json_t *names = n < 0 ? NULL : json_array();

	for (int i = 0; names && i < n; i++)
		json_array_append_new(names, json_string(ply_image_sub_info(ply_view_image(view),
									      subs[i])->name));
	return names;
}

/* --- arrays that are printed while they come --------------------------------------- */

/* The members of @o without the braces. */
static void print_members(struct show_array *a, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	if (!text)
		a->failed = true;
	else if (strlen(text) > 2)
		printf(", %.*s", (int)strlen(text) - 2, text + 1);
	free(text);
	json_decref(o);
}

void show_begin(struct show_array *a, json_t *head, const char *name)
{
	*a = (struct show_array){ 0 };
	printf("{\"schema\": 1");
	print_members(a, head);
	printf(", \"%s\": [", name);
}

void show_item(struct show_array *a, json_t *item)
{
	if (!item) {
		a->failed = true;
		return;
	}
	fputs(a->any ? ",\n" : "\n", stdout);
	json_dumpf(item, stdout, JSON_COMPACT);
	json_decref(item);
	a->any = true;
}

void show_item_begin(struct show_array *a, json_t *item, const char *name)
{
	char *text = item ? json_dumps(item, JSON_COMPACT) : NULL;

	if (!text)
		a->failed = true;
	printf("%s{", a->any ? ",\n" : "\n");
	if (text)
		printf("%.*s,", (int)strlen(text) - 2, text + 1);
	printf("\"%s\":[", name);
	a->any = true;
	a->any_part = false;
	free(text);
	json_decref(item);
}

void show_part(struct show_array *a, json_t *part)
{
	if (!part) {
		a->failed = true;
		return;
	}
	if (a->any_part)
		putchar(',');
	json_dumpf(part, stdout, JSON_COMPACT);
	json_decref(part);
	a->any_part = true;
}

void show_item_end(struct show_array *a, json_t *tail)
{
	putchar(']');
	print_members(a, tail);
	putchar('}');
}

int show_end(struct show_array *a, json_t *tail)
{
	fputs(a->any ? "\n]" : "]", stdout);
	print_members(a, tail);
	puts("}");
	if (a->failed) {
		cli_note("the JSON is not complete: out of memory");
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}
