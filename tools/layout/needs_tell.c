/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a target lacks, in sentences. Names and versions are outside bytes: they are escaped. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "layout/needs.h"

struct tell {
	needs_line_fn *fn;
	void *ctx;
	struct buf line;
	int r;
};

static void add(struct tell *t, const char *before, const char *text)
{
	_cleanup_free_ char *shown = NULL;

	if (t->r)
		return;
	shown = escape_name(text, strlen(text));
	t->r = shown ? buf_printf(&t->line, "%s%s", before, shown) : -ENOMEM;
}

static void end_line(struct tell *t)
{
	if (t->r == 0)
		t->r = t->fn(t->ctx, (const char *)t->line.data);
	t->line.len = 0;
}

static void tell_arch(struct tell *t, const struct target_needs *n)
{
	add(t, "the image is of architecture ", n->image_arch);
	add(t, ", the target of ", n->target_arch);
	end_line(t);
}

static void tell_missing(struct tell *t, const struct need_missing *m)
{
	static const char *const verbs[] = {
		[NEED_DEPENDS] = ": needs ", [NEED_PRE_DEPENDS] = ": needs ", [NEED_CONFLICTS] = ": conflicts with ",
		[NEED_BREAKS] = ": breaks ", [NEED_BESIDE] = ": cannot be there beside ",
	};

	add(t, m->of_target ? "the target's " : "", m->name);
	add(t, " ", m->version);
	add(t, verbs[m->kind], m->text);
	if (!m->there)
		add(t, m->of_target ? ", which it would have no more" : ", which the target has not", "");
	else
		add(t, !m->of_target ? "; the target has " : m->kind <= NEED_PRE_DEPENDS ?
		    "; it would have " : "; the image brings ", m->there);
	end_line(t);
}

static void tell_library(struct tell *t, const struct need_library *l)
{
	add(t, "", l->path);
	add(t, l->interpreter ? ": is run by " : ": needs the library ", l->name);
	add(t, ", which the target has not", "");
	end_line(t);
}

int needs_tell(const struct target_needs *n, needs_line_fn *fn, void *ctx)
{
	struct tell t = { .fn = fn, .ctx = ctx };

	if (n->other_arch)
		tell_arch(&t, n);
	for (size_t i = 0; i < n->nmissing; i++)
		tell_missing(&t, &n->missing[i]);
	for (size_t i = 0; i < n->nlibraries; i++)
		tell_library(&t, &n->libraries[i]);
	buf_done(&t.line);
	return t.r;
}
