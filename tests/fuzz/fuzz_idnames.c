/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: passwd and group. Ids come out once each, in order, with the name of a line. */
#include "capture/idnames.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	char *text = malloc(size ? size : 1);
	struct idnames t = { 0 };

	if (!text)
		abort();
	if (size)
		memcpy(text, in.at, size);
	if (idnames_parse(&t, text, size) == 0)
		for (size_t i = 0; i < t.n; i++)
			if (strchr(t.v[i].name, ':') || idnames_find(&t, t.v[i].id) != t.v[i].name ||
			    (i && t.v[i - 1].id >= t.v[i].id))
				abort();
	idnames_find(&t, 0);
	idnames_find(&t, UINT32_MAX);
	idnames_done(&t);
	free(text);
	return 0;
}
