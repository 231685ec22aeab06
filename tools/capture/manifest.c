/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Manifests and -c options: see manifest.h. Where an item stood is kept for later errors. */
#include "capture/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "capture/glob.h"
#include "plyfs/disk.h"

#define NAME_BYTES "abcdefghijklmnopqrstuvwxyz0123456789"

static bool is_name(const char *name)
{
	size_t len = strlen(name);

	return len && len <= PLY_SUB_NAME_MAX && strchr(NAME_BYTES, *name) &&
	       strspn(name, NAME_BYTES "._-") == len;
}

static int add_component(struct manifest *m, const char *name, const char *where,
			 struct manifest_component **ret, struct ply_err *err)
{
	struct manifest_component *c;

	for (size_t i = 0; i < m->ncomps; i++)
		if (!strcmp(m->comps[i].name, name))
			return ply_fail(err, -EINVAL, PLY_R_COMPONENT_TWICE,
					"%s: component %s is defined twice (also by %s); put all it brings into one",
					where, name, m->comps[i].where);
	if (array_grow(&m->comps, &m->comps_cap, m->ncomps + 1, sizeof(*m->comps)) < 0)
		return ply_fail_nomem(err);
	c = &m->comps[m->ncomps];
	*c = (struct manifest_component){ .name = strdup(name), .where = strdup(where) };
	m->ncomps++;
	*ret = c;
	return c->name && c->where ? 0 : ply_fail_nomem(err);
}

static int add_item(struct manifest_item **v, size_t *n, size_t *cap, const char *text, const char *where,
		    struct ply_err *err)
{
	struct manifest_item *item;

	if (array_grow(v, cap, *n + 1, sizeof(**v)) < 0)
		return ply_fail_nomem(err);
	item = &(*v)[*n];
	*item = (struct manifest_item){ strdup(text), strdup(where) };
	(*n)++;
	return item->text && item->where ? 0 : ply_fail_nomem(err);
}

static int add_what(struct manifest_component *c, const char *text, const char *where, struct ply_err *err)
{
	if (*text == '/' && strlen(text) > GLOB_MAX)
		return ply_fail(err, -EINVAL, PLY_R_MANIFEST_VALUE, "%s: component %s: a pattern of %zu bytes, allowed are %u",
				where, c->name, strlen(text), GLOB_MAX);
	if (*text == '/')
		return add_item(&c->paths, &c->npaths, &c->paths_cap, text, where, err);
	return add_item(&c->packages, &c->npackages, &c->packages_cap, text, where, err);
}

int manifest_add(struct manifest *m, const char *option, struct ply_err *err)
{
	_cleanup_free_ char *name = strdup(option);
	struct manifest_component *c;
	char *what;
	int r;

	if (!name)
		return ply_fail_nomem(err);
	what = strchr(name, '=');
	if (!what || !what[1])
		return ply_fail(err, -EINVAL, PLY_R_USAGE,
				"'%s' is no component; write NAME=PACKAGE or NAME=/PATH/GLOB, more with commas",
				option);
	*what++ = '\0';
	if (!is_name(name))
		return ply_fail(err, -EINVAL, PLY_R_USAGE,
				"'%s' is no name of a component; allowed are a-z 0-9 . _ -, a letter or digit first",
				name);
	r = add_component(m, name, "-c", &c, err);
	for (char *item; r == 0 && (item = strsep(&what, ","));)
		if (*item)
			r = add_what(c, item, "-c", err);
	return r;
}

static int where_of(const struct yaml_doc *d, const struct yaml *at, char **ret, struct ply_err *err)
{
	return asprintf(ret, "%s:%u:%u", d->file, at->line, at->column) < 0 ? ply_fail_nomem(err) : 0;
}

static int read_items(struct manifest_component *c, const struct yaml_doc *d, const struct yaml *list,
		      bool paths, struct ply_err *err)
{
	const char *what = paths ? "paths" : "packages";
	int r = yaml_expect(d, list, YAML_LIST, what, err);

	for (const struct yaml *n = r == 0 ? list->first : NULL; r == 0 && n; n = n->next) {
		_cleanup_free_ char *where = NULL;

		r = yaml_expect(d, n, YAML_TEXT, what, err);
		if (r == 0 && (*n->text == '/') != paths)
			r = yaml_fail(d, n, PLY_R_MANIFEST_VALUE, err, "%s: found '%s', allowed is %s", what,
				      n->text, paths ? "a path that begins with a slash" : "the name of a package");
		if (r == 0)
			r = where_of(d, n, &where, err);
		if (r == 0)
			r = add_what(c, n->text, where, err);
	}
	return r;
}

static int read_component(struct manifest *m, const struct yaml_doc *d, const struct yaml *at,
			  struct ply_err *err)
{
	struct yaml key = { .line = at->key_line, .column = at->key_column };
	_cleanup_free_ char *where = NULL;
	struct manifest_component *c;
	const struct yaml *n;
	int r;

	if (!is_name(at->key))
		return yaml_fail(d, &key, PLY_R_SUB_NAME, err,
				 "'%s' is no name of a component; allowed are a-z 0-9 . _ -, a letter or digit first",
				 at->key);
	r = yaml_keys(d, at, "packages paths summary", "a component", err);
	if (r == 0)
		r = where_of(d, &key, &where, err);
	if (r == 0)
		r = add_component(m, at->key, where, &c, err);
	if (r == 0 && (n = yaml_get(at, "packages")))
		r = read_items(c, d, n, false, err);
	if (r == 0 && (n = yaml_get(at, "paths")))
		r = read_items(c, d, n, true, err);
	if (r == 0 && (n = yaml_get(at, "summary"))) {
		r = yaml_expect(d, n, YAML_TEXT, "summary", err);
		if (r == 0 && !(c->summary = strdup(n->text)))
			r = ply_fail_nomem(err);
	}
	if (r == 0 && !c->npackages && !c->npaths)
		r = yaml_fail(d, &key, PLY_R_MANIFEST_KEY, err, "component %s names neither packages nor paths",
			      at->key);
	return r;
}

static int read_manifest(struct manifest *m, const struct yaml_doc *d, struct ply_err *err)
{
	const struct yaml *n;
	int r;

	if (!d->root)
		return ply_fail(err, -EINVAL, PLY_R_MANIFEST_VALUE, "%s:1:1: the manifest is empty", d->file);
	r = yaml_keys(d, d->root, "version components rules", "the manifest", err);
	if (r == 0 && (n = yaml_get(d->root, "version"))) {
		r = yaml_expect(d, n, YAML_TEXT, "version", err);
		if (r == 0 && strcmp(n->text, "1"))
			r = yaml_fail(d, n, PLY_R_MANIFEST_VALUE, err, "version: found '%s', allowed is 1", n->text);
	}
	if (r == 0 && (n = yaml_get(d->root, "components"))) {
		r = yaml_expect(d, n, YAML_MAP, "components", err);
		for (n = r == 0 ? n->first : NULL; r == 0 && n; n = n->next)
			r = read_component(m, d, n, err);
	}
	if (r == 0 && (n = yaml_get(d->root, "rules")))
		r = rules_add(&m->rules, d, n, err);
	return r;
}

int manifest_parse(struct manifest *m, const char *file, const void *text, size_t len, struct ply_err *err)
{
	struct yaml_doc d = { 0 };
	int r = yaml_parse(file, text, len, &d, err);

	if (r == 0)
		r = read_manifest(m, &d, err);
	yaml_done(&d);
	return r;
}

int manifest_read(struct manifest *m, const char *file, struct ply_err *err)
{
	struct yaml_doc d = { 0 };
	int r = yaml_read(file, &d, err);

	if (r == 0)
		r = read_manifest(m, &d, err);
	yaml_done(&d);
	return r;
}

static void free_items(struct manifest_item *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].text);
		free(v[i].where);
	}
	free(v);
}

void manifest_done(struct manifest *m)
{
	for (size_t i = 0; i < m->ncomps; i++) {
		struct manifest_component *c = &m->comps[i];

		free_items(c->packages, c->npackages);
		free_items(c->paths, c->npaths);
		free(c->name);
		free(c->where);
		free(c->summary);
	}
	free(m->comps);
	rules_done(&m->rules);
	*m = (struct manifest){ 0 };
}
