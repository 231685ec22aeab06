/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drivers "status" and "extended": files with a stanza per package.
 *
 *   file   = *empty-line *stanza
 *   stanza = 1*( FIELD ":" value / blank continuation ) *empty-line
 *
 * A stanza is its package's, by Package and Architecture, with the empty lines behind it, so that those
 * of any selection are separated as dpkg and apt separate them. A stanza without Package, or with one of
 * the two fields twice, is no such file: it stays whole. Depends and the like are not looked into:
 * a package is with what it needs, and what it need not have may be missing.
 */
#include "base/util.h"
#include "merge/drivers.h"
#include "merge/items.h"
#include "merge/parse.h"

static int split(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		 struct records *ret, struct ply_err *err)
{
	struct stanza s;
	struct lines lines;
	int r = lines_init(&lines, text, len, err);

	(void)path;
	while (r == 0 && (r = stanza_next(&lines, &s, err)) > 0) {
		struct span name, arch = { (const uint8_t *)"", 0 };
		uint32_t cond = COND_ALWAYS;

		r = 0;
		if (s.fields.len) {
			r = stanza_field(&s, "Package", &name, err);
			if (r == 0 || (r > 0 && !name.len))
				return merge_bad(err, s.no, "a stanza without Package");
			if (r > 0)
				r = stanza_field(&s, "Architecture", &arch, err);
			if (r >= 0)
				r = f->package(f->ctx, (const char *)name.s, name.len, (const char *)arch.s,
					       arch.len, &cond);
			r = MIN(r, 0);     /* what is not installed is everybody's */
		}
		if (r == 0)
			r = add_span(ret, s.all, cond, 0);
	}
	return r;
}

static int describe(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	struct span name, arch;
	struct stanza s;
	struct lines lines;
	int r;

	(void)flags;
	if (lines_init(&lines, data, len, NULL) < 0 || stanza_next(&lines, &s, NULL) <= 0 ||
	    stanza_field(&s, "Package", &name, NULL) <= 0)
		return describe_as(out, "line", first_line(data, len));
	r = describe_as(out, "package", name);
	if (r == 0 && stanza_field(&s, "Architecture", &arch, NULL) > 0 && (r = buf_add(out, ":", 1)) == 0)
		r = buf_add(out, arch.s, arch.len);
	return r;
}

/* --- three-way ------------------------------------------------------------------- */

static int items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	struct stanza s;
	struct lines lines;
	int r = lines_init(&lines, text.s, text.len, err);

	(void)path;
	ret->stanzas = true;
	while (r == 0 && (r = stanza_next(&lines, &s, err)) > 0) {
		struct item item = { .value = s.fields, .all = s.all };

		if (s.fields.len) {
			r = stanza_field(&s, "Package", &item.key, err);
			if (r == 0 || (r > 0 && !item.key.len))
				return merge_bad(err, s.no, "a stanza without Package");
			if (r > 0)
				r = stanza_field(&s, "Architecture", &item.sub, err);
		}
		r = r < 0 ? r : items_add(ret, item);
	}
	return r;
}

static bool is_manual(const struct item *item)
{
	struct stanza s = { .fields = item->value };
	struct span automatic;

	return stanza_field(&s, "Auto-Installed", &automatic, NULL) <= 0 || !span_is(automatic, SPAN("1"));
}

/* What somebody asked for is not removed because nobody else did. */
static int combine_extended(const char *path, const struct item *base, const struct item *ours,
			    const struct item *theirs, struct buf *out)
{
	(void)path;
	(void)base;
	(void)out;
	if (!ours || !theirs)
		return COMBINED_CLASH;
	return is_manual(theirs) && !is_manual(ours) ? COMBINED_THEIRS : COMBINED_OURS;
}

/* --- the table ------------------------------------------------------------------- */

static const char *const status_paths[] = { "/var/lib/dpkg/status", "/var/lib/dpkg/status-old",
					    "/var/lib/dpkg/available", "/var/lib/dpkg/available-old",
					    "/var/backups/dpkg.status.0", NULL };
static const char *const extended_paths[] = { "/var/lib/apt/extended_states",
					      "/var/backups/apt.extended_states.0", NULL };

const struct merge_driver merge_status = {
	.name = "status", .number = 4, .version = 1, .paths = status_paths, .monotone = true,
	.split = split, .describe = describe, .items = items, .order = items_order_bytes,
};

const struct merge_driver merge_extended = {
	.name = "extended", .number = 5, .version = 1, .paths = extended_paths, .monotone = true,
	.split = split, .describe = describe, .items = items, .combine = combine_extended,
};
