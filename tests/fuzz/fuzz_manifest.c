/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: YAML as a manifest, or as the table of rules (first byte, bit 0), whose rules are then
 * matched; or the argument of -c (bit 1).
 */
#include <stdio.h>

#include "base/inroot.h"
#include "fuzz.h"

/* the file of the table is what the fuzzer gives */
static struct input table;
static int give_table(const char *path, size_t max, struct buf *out)
{
	(void)path;
	(void)max;
	if (buf_reserve(out, table.left + 1) < 0)
		return -12;
	if (table.left)
		memcpy(out->data, table.at, table.left);
	out->len = table.left;
	out->data[out->len] = '\0';
	return 0;
}
#define inroot_read_file give_table
#include "yamldoc.c"
#undef inroot_read_file

#include "capture/manifest.h"

static void match_all(const struct rules *rules)
{
	static const char *const paths[] = { "usr/lib/x/__pycache__/y.cpython-311.pyc", "etc/a", "a/b/a/b" };
	struct buf out = { 0 };

	for (size_t i = 0; i < rules->n && i < 16; i++) {
		const struct rule *r = &rules->v[i];

		for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++) {
			struct glob_captures c;

			if (!rule_match(r, paths[p], &c))
				continue;
			for (size_t t = 0; t < r->ntemplates && t < 16; t++)
				if (rule_expand(r->templates[t], &c, &out) == 0)
					touch(out.data, out.len + 1);
		}
	}
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	struct manifest m = { 0 };
	struct rules rules = { 0 };
	struct ply_err err;

	if (!size)
		return 0;
	if (how & 1) {
		table = in;
		if (rules_read("table", &rules, &err) == 0) {
			match_all(&rules);
			rules_done(&rules);
		}
		return 0;
	}
	if (how & 2) {
		char *text = input_text(&in, 0);

		manifest_add(&m, text, &err);
		free(text);
	}
	if (manifest_parse(&m, "m", in.at, in.left, &err) == 0)
		match_all(&m.rules);
	manifest_done(&m);
	return 0;
}
