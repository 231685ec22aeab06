/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a policy: see policy.h.
 *
 * Paths stand in the file as plyfs prints them, with \n and \xHH for bytes that text does not have: YAML
 * has no way of its own to write such bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "capture/glob.h"
#include "merge/merge.h"
#include "plyfs/disk.h"
#include "policy.h"
#include "yamldoc.h"

#define RULES_ALLOWED "first, last, append, keep-both, fail, undecided or {driver: NAME}"
#define PACKAGE_RULES_ALLOWED "target, fail or undecided"
#define CONTENT_ALLOWED "sha256: and 64 hex digits, large:BYTES, symlink:TARGET, char:N:N, block:N:N, deleted, directory, fifo or socket"

static const struct {
	const char *name;
	uint8_t rule;
} rules[] = {
	{ "first", PLY_RULE_FIRST },
	{ "last", PLY_RULE_LAST },
	{ "append", PLY_RULE_APPEND },
	{ "keep-both", PLY_RULE_KEEP_BOTH },
	{ "target", POLICY_TARGET },
	{ "fail", POLICY_FAIL },
	{ "undecided", POLICY_UNDECIDED },
};

const char *policy_rule_name(uint8_t rule)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].rule == rule)
			return rules[i].name;
	return rule == PLY_RULE_DRIVER ? "driver" : NULL;
}

void policy_done(struct policy *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct policy_entry *e = &p->v[i];

		for (size_t k = 0; k < e->npaths; k++)
			free(e->paths[k]);
		for (size_t k = 0; k < e->nof; k++) {
			free(e->of[k].component);
			free(e->of[k].content);
		}
		free(e->paths);
		free(e->of);
		free(e->package);
	}
	free(p->v);
	free(p->file);
	*p = (struct policy){ 0 };
}

/* --- bytes as text --------------------------------------------------------------------- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes the escapes of escape_name() out, in place; false where there are others, or a NUL byte. */
static bool unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		if (*p != '\\') {
			*to++ = *p;
			continue;
		}
		switch (*++p) {
		case '\\': *to = '\\'; break;
		case 'n': *to = '\n'; break;
		case 't': *to = '\t'; break;
		case 'r': *to = '\r'; break;
		case 'x': {
			int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);

			if (low < 0 || !(high | low))
				return false;
			*to = (char)(high << 4 | low);
			p += 2;
			break;
		}
		default:
			return false;
		}
		to++;
	}
	*to = '\0';
	return true;
}

/* Would YAML refuse or fold the character of two or more bytes at @s? All from U+2028 on is escaped but
 * letters of Asia, which is more than is needed. */
static bool is_odd(const uint8_t *s)
{
	return s[0] == 0xe2 || s[0] >= 0xed;
}

int policy_escape(struct buf *out, const char *text)
{
	_cleanup_free_ char *shown = escape_name(text, strlen(text));
	int r = shown ? 0 : -ENOMEM;

	for (const uint8_t *s = (const uint8_t *)shown; r == 0 && *s; s++) {
		if (*s < 0x80 || !is_odd(s)) {
			r = buf_add(out, s, 1);
			continue;
		}
		do
			r = buf_printf(out, "\\x%02x", *s);
		while (r == 0 && (*++s & 0xc0) == 0x80);
		s--;
	}
	return r;
}

int policy_quote(struct buf *out, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+@%-";
	/* a word that begins so is nothing else to YAML */
	bool bare = (*text == '/' || (*text >= 'a' && *text <= 'z')) && strspn(text, plain) == strlen(text);
	_cleanup_buf_ struct buf shown = { 0 };
	int r = policy_escape(&shown, text);

	if (r == 0 && bare)
		return buf_add(out, shown.data, shown.len);
	if (r == 0)
		r = buf_add(out, "'", 1);
	for (size_t i = 0; r == 0 && i < shown.len; i++)
		r = shown.data[i] == '\'' ? buf_add(out, "''", 2) : buf_add(out, shown.data + i, 1);
	return r == 0 ? buf_add(out, "'", 1) : r;
}

static bool is_device(const char *text)
{
	unsigned major, minor;
	int at = -1;

	return *text >= '0' && *text <= '9' && sscanf(text, "%u:%u%n", &major, &minor, &at) == 2 && at > 0 &&
	       !text[at];
}

bool policy_is_content(const char *text)
{
	static const char *const words[] = { "deleted", "directory", "fifo", "socket" };
	uint8_t digest[32];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(text, words[i]))
			return true;
	if (!strncmp(text, "sha256:", 7))
		return strlen(text) == 7 + 64 && hex_decode(text + 7, digest, 32);
	if (!strncmp(text, "symlink:", 8))
		return text[8];
	if (!strncmp(text, "large:", 6))
		return text[6] && strspn(text + 6, "0123456789") == strlen(text + 6);
	return (!strncmp(text, "char:", 5) && is_device(text + 5)) || (!strncmp(text, "block:", 6) && is_device(text + 6));
}

/* --- entries ---------------------------------------------------------------------------- */

struct reader {
	struct policy *policy;
	const struct yaml_doc *doc;
	struct policy_entry *entry;
	struct ply_err *err;
};

static int copy_text(const struct reader *r, const struct yaml *at, const char *what, char **ret)
{
	int k = yaml_expect(r->doc, at, YAML_TEXT, what, r->err);

	if (k < 0)
		return k;
	*ret = strdup(at->text);
	return *ret ? 0 : ply_fail_nomem(r->err);
}

static bool is_path(const char *path)
{
	size_t len = strlen(path);

	return *path == '/' && len < 65536 && (len == 1 || path[len - 1] != '/') && !strstr(path, "//");
}

static int add_path(const struct reader *r, const struct yaml *at, const char *what)
{
	struct policy_entry *e = r->entry;
	char *path = NULL;
	int k = copy_text(r, at, what, &path);

	if (k == 0 && (!unescape(path) || !is_path(path)))
		k = yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err,
			      "%s: found '%s', allowed is / or a path that begins with a slash and does not end with one, as plyfs prints it",
			      what, at->text);
	if (k == 0 && array_grow(&e->paths, &e->paths_cap, e->npaths + 1, sizeof(*e->paths)) < 0)
		k = ply_fail_nomem(r->err);
	if (k == 0)
		e->paths[e->npaths++] = TAKE_PTR(path);
	free(path);
	return k;
}

static int add_glob(const struct reader *r, const struct yaml *at)
{
	int k = add_path(r, at, "glob");

	if (k == 0 && strlen(r->entry->paths[0]) > GLOB_MAX)
		k = yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err, "glob: found %zu bytes, allowed are %u",
			      strlen(r->entry->paths[0]), GLOB_MAX);
	return k;
}

static int read_paths(const struct reader *r, const struct yaml *at)
{
	const struct yaml *path = yaml_get(at, "path"), *paths = yaml_get(at, "paths"), *glob = yaml_get(at, "glob");
	int k;

	if (!path && !paths && !glob && yaml_get(at, "package"))
		return 0;
	if (!!path + !!paths + !!glob != 1)
		return yaml_fail(r->doc, at, PLY_R_POLICY_KEY, r->err,
				 "an entry has %s of the keys path, paths and glob; it must have one, or package alone",
				 path || paths || glob ? "more than one" : "none");
	if (path)
		return add_path(r, path, "path");
	r->entry->is_glob = glob;
	if (glob)
		return add_glob(r, glob);
	k = yaml_expect(r->doc, paths, YAML_LIST, "paths", r->err);
	for (const struct yaml *n = k == 0 ? paths->first : NULL; k == 0 && n; n = n->next)
		k = add_path(r, n, "paths");
	if (k == 0 && !r->entry->npaths)
		k = yaml_fail(r->doc, paths, PLY_R_POLICY_VALUE, r->err, "paths names no path");
	return k;
}

static int read_driver(const struct reader *r, const struct yaml *at)
{
	_cleanup_buf_ struct buf names = { 0 };
	const struct merge_driver *d;
	int k = yaml_expect(r->doc, at, YAML_TEXT, "driver", r->err);

	if (k < 0)
		return k;
	for (size_t i = 0; (d = merge_driver_at(i)); i++) {
		if (!strcmp(d->name, at->text)) {
			r->entry->rule = PLY_RULE_DRIVER;
			r->entry->driver = d->number;
			return 0;
		}
		if (buf_printf(&names, "%s%s", i ? ", " : "", d->name) < 0)
			return ply_fail_nomem(r->err);
	}
	return yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err, "there is no merge driver '%s'; there are: %.*s", at->text,
			 (int)names.len, (const char *)names.data);
}

/* Files have one rule, packages another. */
static int check_rule(const struct reader *r, const struct yaml *at)
{
	const struct policy_entry *e = r->entry;

	if (e->npaths && e->rule == POLICY_TARGET)
		return yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err,
				 "resolve: found 'target', which is for an entry of a package alone; of a path, first is the target's");
	if (!e->npaths && e->rule != POLICY_TARGET && e->rule != POLICY_FAIL && e->rule != POLICY_UNDECIDED)
		return yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err,
				 "resolve: of a package allowed are " PACKAGE_RULES_ALLOWED
				 "; the version of a component never takes the place of the target's, which is to be upgraded first");
	return 0;
}

static int read_resolve(const struct reader *r, const struct yaml *at)
{
	const struct yaml *n = yaml_get(at, "resolve");
	int k;

	if (!n)
		return yaml_fail(r->doc, at, PLY_R_POLICY_KEY, r->err, "an entry has no key resolve; allowed are " RULES_ALLOWED);
	r->entry->resolve_line = n->line;
	r->entry->resolve_column = n->column;
	if (n->type == YAML_MAP) {
		k = yaml_keys(r->doc, n, "driver", "resolve", r->err);
		if (k == 0 && !yaml_get(n, "driver"))
			k = yaml_fail(r->doc, n, PLY_R_POLICY_KEY, r->err, "resolve is an empty mapping; allowed are " RULES_ALLOWED);
		if (k == 0)
			k = read_driver(r, yaml_get(n, "driver"));
		return k == 0 ? check_rule(r, n) : k;
	}
	k = yaml_expect(r->doc, n, YAML_TEXT, "resolve", r->err);
	if (k < 0)
		return k;
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		if (!strcmp(n->text, rules[i].name)) {
			r->entry->rule = rules[i].rule;
			return check_rule(r, n);
		}
	}
	return yaml_fail(r->doc, n, PLY_R_POLICY_VALUE, r->err, "resolve: found '%s', allowed are " RULES_ALLOWED, n->text);
}

/* "component: content" of the entry's path @path. */
static int add_of(const struct reader *r, const struct yaml *at, size_t path)
{
	struct policy_entry *e = r->entry;
	struct policy_of *of;
	int k = yaml_expect(r->doc, at, YAML_TEXT, "of", r->err);

	if (k < 0)
		return k;
	if (array_grow(&e->of, &e->of_cap, e->nof + 1, sizeof(*e->of)) < 0)
		return ply_fail_nomem(r->err);
	of = &e->of[e->nof];
	*of = (struct policy_of){ .path = path, .component = strdup(at->key), .content = strdup(at->text),
				  .line = at->line, .column = at->column };
	e->nof++;
	if (!of->component || !of->content)
		return ply_fail_nomem(r->err);
	if (!e->npaths && (!*of->content || !unescape(of->content)))
		return yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err, "of: found '%s', allowed is a version, as plyfs prints it",
				 at->text);
	if (e->npaths && !policy_is_content(of->content))
		return yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err, "of: found '%s', allowed are " CONTENT_ALLOWED, at->text);
	return 0;
}

static int add_ofs(const struct reader *r, const struct yaml *at, size_t path)
{
	int k = yaml_expect(r->doc, at, YAML_MAP, "of", r->err);

	for (const struct yaml *n = k == 0 ? at->first : NULL; k == 0 && n; n = n->next)
		k = add_of(r, n, path);
	if (k == 0 && !at->first)
		k = yaml_fail(r->doc, at, PLY_R_POLICY_VALUE, r->err, "of names no component");
	return k;
}

/* Of several paths: "path: {component: content}". */
static int read_of_paths(const struct reader *r, const struct yaml *of)
{
	const struct policy_entry *e = r->entry;
	_cleanup_free_ bool *has = calloc(e->npaths, sizeof(*has));
	int k = has ? yaml_expect(r->doc, of, YAML_MAP, "of", r->err) : ply_fail_nomem(r->err);

	for (const struct yaml *n = k == 0 ? of->first : NULL; k == 0 && n; n = n->next) {
		const struct yaml key = { .line = n->key_line, .column = n->key_column };
		_cleanup_free_ char *path = strdup(n->key);
		size_t i = 0;

		if (!path)
			return ply_fail_nomem(r->err);
		if (unescape(path))
			while (i < e->npaths && (has[i] || strcmp(e->paths[i], path) != 0))
				i++;
		else
			i = e->npaths;
		if (i == e->npaths)
			return yaml_fail(r->doc, &key, PLY_R_POLICY_KEY, r->err,
					 "of: '%s' is none of the entry's paths, or stands here twice", n->key);
		has[i] = true;
		k = add_ofs(r, n, i);
	}
	for (size_t i = 0; k == 0 && i < e->npaths; i++)
		if (!has[i])
			k = yaml_fail(r->doc, of, PLY_R_POLICY_KEY, r->err, "of: the contents of %s are missing", e->paths[i]);
	return k;
}

static int read_of(const struct reader *r, const struct yaml *at)
{
	const struct yaml *of = yaml_get(at, "of");

	if (r->entry->is_glob && of)
		return yaml_fail(r->doc, of, PLY_R_POLICY_KEY, r->err,
				 "an entry with a glob is not bound to contents; its key of is not allowed");
	if (r->entry->is_glob)
		return 0;
	if (!of && !r->entry->npaths)
		return 0;
	if (!of)
		return yaml_fail(r->doc, at, PLY_R_POLICY_KEY, r->err,
				 "an entry has no key of, the contents that it is made for; plyfs plan --write writes it, and an "
				 "entry with a glob needs none");
	return yaml_get(at, "paths") ? read_of_paths(r, of) : add_ofs(r, of, 0);
}

static int read_entry(struct reader *r, const struct yaml *at)
{
	struct policy *p = r->policy;
	const struct yaml *package;
	int k = yaml_keys(r->doc, at, "path paths glob of resolve package", "an entry", r->err);

	if (k < 0)
		return k;
	if (array_grow(&p->v, &p->cap, p->n + 1, sizeof(*p->v)) < 0)
		return ply_fail_nomem(r->err);
	r->entry = &p->v[p->n++];
	*r->entry = (struct policy_entry){ .line = at->line, .column = at->column };
	k = read_paths(r, at);
	if (k == 0)
		k = read_resolve(r, at);
	if (k == 0)
		k = read_of(r, at);
	package = yaml_get(at, "package");
	if (k == 0 && package)
		k = copy_text(r, package, "package", &r->entry->package);
	if (k == 0 && !r->entry->npaths && (!unescape(r->entry->package) || !*r->entry->package || strchr(r->entry->package, '/')))
		k = yaml_fail(r->doc, package, PLY_R_POLICY_VALUE, r->err,
			      "package: found '%s', allowed is a name, as plyfs prints it", package->text);
	return k;
}

/* --- the file ------------------------------------------------------------------------------ */

struct named {
	const char *path;
	const struct policy_entry *entry;
};

static int by_path(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int r = strcmp(x->path, y->path);

	return r ? r : x->entry < y->entry ? -1 : x->entry > y->entry;
}

/* No path, no glob and no package has two entries. */
static int check_twice(const struct policy *p, struct ply_err *err)
{
	_cleanup_free_ struct named *v = NULL;
	char shown[512];
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += p->v[i].npaths + 1;
	v = calloc(n ? n : 1, sizeof(*v));
	if (!v)
		return ply_fail_nomem(err);
	n = 0;
	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < p->v[i].npaths; k++)
			v[n++] = (struct named){ p->v[i].paths[k], &p->v[i] };
	/* no name of a package has a slash */
	for (size_t i = 0; i < p->n; i++)
		if (!p->v[i].npaths)
			v[n++] = (struct named){ p->v[i].package, &p->v[i] };
	qsort(v, n, sizeof(*v), by_path);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(v[i - 1].path, v[i].path) != 0)
			continue;
		escape_name_to(v[i].path, strlen(v[i].path), shown, sizeof(shown));
		return ply_fail(err, -EINVAL, PLY_R_POLICY_VALUE,
				"%s:%u:%u: %s has an entry at line %u already; nothing overrides an earlier entry", p->file,
				v[i].entry->line, v[i].entry->column, shown, v[i - 1].entry->line);
	}
	return 0;
}

static int read_policy(struct policy *p, const struct yaml_doc *d, struct ply_err *err)
{
	struct reader r = { .policy = p, .doc = d, .err = err };
	const struct yaml *n;
	int k;

	if (!d->root)
		return ply_fail(err, -EINVAL, PLY_R_POLICY_VALUE, "%s:1:1: the policy is empty; it begins with version: 1",
				d->file);
	k = yaml_keys(d, d->root, "version conflicts", "the policy", err);
	if (k < 0)
		return k;
	n = yaml_get(d->root, "version");
	if (!n)
		return yaml_fail(d, d->root, PLY_R_POLICY_KEY, err, "the policy has no key version; allowed is 1");
	k = yaml_expect(d, n, YAML_TEXT, "version", err);
	if (k == 0 && strcmp(n->text, "1") != 0)
		k = yaml_fail(d, n, PLY_R_POLICY_VALUE, err, "version: found '%s', allowed is 1", n->text);
	n = yaml_get(d->root, "conflicts");
	if (k < 0 || !n)
		return k;
	k = yaml_expect(d, n, YAML_LIST, "conflicts", err);
	for (n = k == 0 ? n->first : NULL; k == 0 && n; n = n->next)
		k = read_entry(&r, n);
	return k == 0 ? check_twice(p, err) : k;
}

/* What yamldoc.h finds is told by the reasons of manifests. */
static int own_reason(int r, struct ply_err *err)
{
	if (r < 0 && err)
		err->reason = err->reason == PLY_R_MANIFEST_SYNTAX ? PLY_R_POLICY_SYNTAX :
			      err->reason == PLY_R_MANIFEST_KEY ? PLY_R_POLICY_KEY :
			      err->reason == PLY_R_MANIFEST_VALUE ? PLY_R_POLICY_VALUE : err->reason;
	return r;
}

/* Consumes @d. */
static int from_document(const char *file, struct yaml_doc *d, struct policy *ret, struct ply_err *err)
{
	struct policy p = { .file = strdup(file) };
	int r = p.file ? read_policy(&p, d, err) : ply_fail_nomem(err);

	yaml_done(d);
	if (r < 0)
		policy_done(&p);
	else
		*ret = p;
	return own_reason(r, err);
}

int policy_parse(const char *file, const void *text, size_t len, struct policy *ret, struct ply_err *err)
{
	struct yaml_doc d = { 0 };
	int r = yaml_parse(file, text, len, &d, err);

	return r < 0 ? own_reason(r, err) : from_document(file, &d, ret, err);
}

int policy_read(const char *file, struct policy *ret, struct ply_err *err)
{
	struct yaml_doc d = { 0 };
	int r = yaml_read(file, &d, err);

	return r < 0 ? own_reason(r, err) : from_document(file, &d, ret, err);
}
