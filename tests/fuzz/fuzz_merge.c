/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: any bytes as a shared file. The first byte says for which driver, the second which of its
 * files, the third what is selected and whether the rest is not a file but records, as an image
 * could hold them. Facts are those of the unit test: whose a name is stands in it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "merge/alternatives.h"
#include "merge/drivers.h"
#include "unit/merge_gen.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PIECES 64

/* Sizes that were told are those that come. */
static void render(const struct merge_driver *d, const struct piece *v, size_t n, bool ours, struct buf *out)
{
	uint64_t told;
	int size = merge_size(d, v, n, &told, NULL), r = merge_render(d, v, n, out, NULL);

	if ((ours && r < 0) || (r == 0 && (size < 0 || told != out->len)) || (r < 0 && out->len))
		abort();
	for (size_t i = 0; i < n; i++) {
		_cleanup_buf_ struct buf text = { 0 };

		merge_describe(d, &v[i], &text);
	}
}

/* Length byte, flags byte, bytes; and so on. */
static void records(const struct merge_driver *d, const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct piece v[PIECES];
	size_t n = 0;

	while (size > 1 && n < PIECES) {
		uint32_t len = (uint32_t)MIN((size_t)data[0], size - 2);

		v[n++] = (struct piece){ data + 2, len, data[1] & (RECORD_ITEM | RECORD_WHOLE) };
		data += 2 + len;
		size -= 2 + len;
	}
	render(d, v, n, false, &out);
}

static void file(const struct merge_driver *d, struct gen *g, const uint8_t *data, size_t size, unsigned selection)
{
	_cleanup_buf_ struct buf all = { 0 }, some = { 0 };
	_cleanup_free_ struct piece *v = NULL;
	struct records r = { 0 };
	bool whole;
	size_t n = 0;

	if (merge_split(d, g->path, data, size, &g->facts, &r, &whole, NULL) < 0 ||
	    !(v = calloc(r.n + 1, sizeof(*v))))
		abort();
	for (unsigned s = GEN_ALL;; s = selection) {
		struct buf *out = s == GEN_ALL ? &all : &some;

		n = 0;
		out->len = 0;
		for (size_t i = 0; i < r.n; i++)
			if (conds_hold(g->facts.conds, r.v[i].cond, gen_selected, &s))
				v[n++] = (struct piece){ r.bytes.data + r.v[i].off, r.v[i].len, r.v[i].flags };
		render(d, v, n, true, out);
		if (s == selection)
			break;
	}
	if (selection != GEN_ALL && (all.len != size || (size && memcmp(all.data, data, size))))
		abort();
	records_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct alternatives_links links = { 0 };
	const struct merge_driver *d;
	size_t drivers = 0, paths = 0;
	struct gen g;

	if (size < 3)
		return 0;
	while (merge_driver_at(drivers))
		drivers++;
	d = merge_driver_at(data[0] % drivers);
	while (d->paths[paths])
		paths++;
	gen_facts(&g, 1);
	snprintf(g.path, sizeof(g.path), "%s", d->paths[data[1] % paths]);
	if (d == &merge_alternatives)
		strcpy(g.path, "/var/lib/dpkg/alternatives/thing");
	buf_printf(&g.link, "/b~2");
	for (size_t i = 0; i < ARRAY_SIZE(g.files); i++)      /* templates ask for these: of any form */
		if (buf_add(&g.files[i], data + 3, MIN((size - 3) / 4 * i, size - 3)) < 0)
			abort();
	if (data[2] & 0x80)
		records(d, data + 3, size - 3);
	else
		file(d, &g, data + 3, size - 3, data[2] % GEN_SELECTIONS);
	if (d == &merge_alternatives && alternatives_links(g.path, data + 3, size - 3, &g.facts, &links, NULL) == 0)
		alternatives_links_done(&links);
	gen_done(&g);
	return 0;
}
