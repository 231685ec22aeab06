/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* passwd and group as tables: see idnames.h. */
#include "capture/idnames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/inroot.h"
#include "base/util.h"

#define FILE_MAX (64u << 20)       /* more is no list of users */

static int add(struct idnames *t, const char *line, size_t len)
{
	const char *end = line + len, *name_end = memchr(line, ':', len), *p;
	uint64_t id = 0;

	if (!name_end || name_end == line)
		return 0;
	p = memchr(name_end + 1, ':', (size_t)(end - name_end - 1));
	if (!p || ++p == end || *p < '0' || *p > '9')
		return 0;
	for (; p < end && *p >= '0' && *p <= '9' && id <= UINT32_MAX; p++)
		id = id * 10 + (uint64_t)(*p - '0');
	if (id > UINT32_MAX || (p < end && *p != ':'))
		return 0;
	if (array_grow(&t->v, &t->cap, t->n + 1, sizeof(*t->v)) < 0)
		return -ENOMEM;
	t->v[t->n] = (struct idname){ (uint32_t)id, (uint32_t)t->n,
				       strndup(line, (size_t)(name_end - line)) };
	return t->v[t->n++].name ? 0 : -ENOMEM;
}

static int by_id(const void *a, const void *b)
{
	const struct idname *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

static int find_id(const void *key, const void *v)
{
	uint32_t id = *(const uint32_t *)key, is = ((const struct idname *)v)->id;

	return id < is ? -1 : id > is;
}

int idnames_parse(struct idnames *t, const char *text, size_t len)
{
	const char *end = text + len;
	size_t kept = 0;

	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		int r = add(t, text, (size_t)((nl ? nl : end) - text));

		if (r < 0)
			return r;
		text = nl ? nl + 1 : end;
	}
	if (array_grow(&t->also, &t->also_cap, t->nalso + t->n, sizeof(*t->also)) < 0)
		return -ENOMEM;
	if (t->n)
		qsort(t->v, t->n, sizeof(*t->v), by_id);
	for (size_t i = 0; i < t->n; i++) {
		if (kept && t->v[kept - 1].id == t->v[i].id)
			t->also[t->nalso++] = t->v[i];
		else
			t->v[kept++] = t->v[i];
	}
	t->n = kept;
	return 0;
}

int idnames_read(struct idnames *t, int root, const char *file)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r;

	*t = (struct idnames){ 0 };
	r = inroot_read(root, file, FILE_MAX, &text);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	return r < 0 ? r : idnames_parse(t, (const char *)text.data, text.len);
}

void idnames_done(struct idnames *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].name);
	for (size_t i = 0; i < t->nalso; i++)
		free(t->also[i].name);
	free(t->v);
	free(t->also);
	*t = (struct idnames){ 0 };
}

const char *idnames_find(const struct idnames *t, uint32_t id)
{
	const struct idname *found = t->n ? bsearch(&id, t->v, t->n, sizeof(*t->v), find_id) : NULL;

	return found ? found->name : NULL;
}
