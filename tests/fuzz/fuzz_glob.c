/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a glob against a path, each ended by a NUL. Captures are pieces of the path; a pattern
 * without special bytes matches itself alone.
 */
#include "capture/glob.h"
#include "capture/scan.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size < 300 ? size : 300 };
	char *pattern = input_text(&in, 0), *path = input_text(&in, 0);
	struct glob_captures c;
	size_t len = strlen(path);
	bool is;

	is = glob_match(pattern, path, NULL);
	if (!pattern[strcspn(pattern, "?*[\\")] && is != !strcmp(pattern, path))
		abort();
	if (glob_match(pattern, path, &c)) {
		if (c.n > GLOB_CAPTURES)
			abort();
		for (unsigned i = 0; i < c.n; i++)
			if (c.v[i].text < path || c.v[i].text + c.v[i].len > path + len || !c.v[i].len ||
			    memchr(c.v[i].text, '/', c.v[i].len))
				abort();
	}
	scan_glob(pattern, path);
	free(pattern);
	free(path);
	return 0;
}
