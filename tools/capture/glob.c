/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Globs over paths, a component at a time: fnmatch within one, two stars for any number
 * of them; at the end for at least one, so that they are the content of a directory.
 */
#include <fnmatch.h>
#include <string.h>

#include "base/util.h"
#include "capture/scan.h"
#include "plyfs/disk.h"

static bool match(const char *glob, const char *path)
{
	for (;;) {
		char one[PLY_NAME_MAX + 1], pattern[512];
		size_t g = strcspn(glob, "/"), p = strcspn(path, "/");

		if (!*glob || !*path)
			return !*glob && !*path;
		if (g == 2 && glob[0] == '*' && glob[1] == '*') {
			if (!glob[2])
				return true;
			for (glob += 3;; path += p + 1) {   /* zero components, one, ... */
				if (match(glob, path))
					return true;
				p = strcspn(path, "/");
				if (!path[p])
					return false;
			}
		}
		if (g >= sizeof(pattern) || p >= sizeof(one))
			return false;
		memcpy(pattern, glob, g);
		pattern[g] = '\0';
		memcpy(one, path, p);
		one[p] = '\0';
		if (fnmatch(pattern, one, 0) != 0)
			return false;
		glob += g + (glob[g] == '/');
		path += p + (path[p] == '/');
	}
}

bool scan_glob(const char *glob, const char *path)
{
	while (*glob == '/')
		glob++;
	return match(glob, path);
}
