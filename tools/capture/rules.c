/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of rules: its file format. See rules.h, and the comments in rules/debian.yaml for
 * what each rule is for.
 */
#include "capture/rules.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

#define EXPAND_MAX 256u

const char *const rule_methods[BY_COUNT] = {
	[BY_TARGET] = "target", [BY_PARENT] = "parent", [BY_OWNER] = "owner", [BY_SCRIPT] = "script",
	[BY_CONTENT] = "content", [BY_ALTERNATIVE] = "alternative", [BY_UCF] = "ucf",
};

/* --- patterns ---------------------------------------------------------------- */

bool rule_match(const struct rule *rule, const char *path, struct glob_captures *ret)
{
	uint8_t c = (uint8_t)*path;

	/* nearly always: a capture asks a hundred rules about each path */
	if (!(rule->begins[c / 8] >> c % 8 & 1))
		return false;
	for (size_t i = 0; i < rule->npatterns; i++)
		if (glob_match(rule->patterns[i], path, ret))
			return true;
	return false;
}

int rule_expand(const char *template, const struct glob_captures *c, struct buf *out)
{
	bool glob = strpbrk(template, "*?[") != NULL;
	int r = 0;

	out->len = 0;
	for (const char *p = template; r == 0 && *p;) {
		size_t len = strcspn(p, "{");
		unsigned i = 0;

		r = buf_add(out, p, len);
		p += len;
		if (*p != '{')
			break;
		len = strcspn(p, "}");
		while (i < c->n && (c->v[i].name_len != len - 1 || memcmp(c->v[i].name, p + 1, len - 1)))
			i++;
		for (size_t k = 0; r == 0 && i < c->n && k < c->v[i].len; k++) {
			char b = c->v[i].text[k];

			if (glob && strchr("*?[]\\", b))
				r = buf_add(out, "\\", 1);
			if (r == 0)
				r = buf_add(out, &b, 1);
		}
		p += len + 1;
	}
	if (r == 0)
		r = buf_add(out, "", 1);
	if (r == 0)
		out->len--;
	return r;
}

/* --- braces ------------------------------------------------------------------- */

static int add_text(char ***v, size_t *n, char *text)
{
	char **grown = reallocarray(*v, *n + 1, sizeof(**v));

	if (!grown)
		return -ENOMEM;
	grown[(*n)++] = text;
	*v = grown;
	return 0;
}

/* The first "{a,b}" of @text; captures are passed over. */
static bool find_braces(const char *text, size_t *ret_at, size_t *ret_len)
{
	for (const char *p = text; (p = strchr(p, '{')); p++) {
		size_t len = strcspn(p, "}");

		if (p[len] && memchr(p, ',', len)) {
			*ret_at = (size_t)(p - text);
			*ret_len = len + 1;
			return true;
		}
	}
	return false;
}

/* All that @text stands for. -E2BIG. */
static int expand_braces(const char *text, char ***v, size_t *n)
{
	_cleanup_free_ char *list = NULL;
	size_t at, len;
	char *rest;
	int r = 0;

	if (*n >= EXPAND_MAX)
		return -E2BIG;
	if (!find_braces(text, &at, &len)) {
		char *copy = strdup(text);

		r = copy ? add_text(v, n, copy) : -ENOMEM;
		if (r < 0)
			free(copy);
		return r;
	}
	list = strndup(text + at + 1, len - 2);
	rest = list;
	if (!list)
		return -ENOMEM;
	for (char *one; r == 0 && (one = strsep(&rest, ","));) {
		char *whole;

		if (asprintf(&whole, "%.*s%s%s", (int)at, text, one, text + at + len) < 0)
			return -ENOMEM;
		r = expand_braces(whole, v, n);
		free(whole);
	}
	return r;
}

/* --- the file ------------------------------------------------------------------- */

static int read_words(const struct yaml_doc *d, const struct yaml *at, const char *what, char ***v,
		      size_t *n, struct ply_err *err)
{
	int r = yaml_expect(d, at, YAML_TEXT, what, err);

	if (r < 0)
		return r;
	r = expand_braces(at->text, v, n);
	if (r == -E2BIG)
		return yaml_fail(d, at, PLY_R_MANIFEST_VALUE, err, "%s: its braces stand for more than %u paths",
				 what, EXPAND_MAX);
	return r < 0 ? ply_fail_nomem(err) : 0;
}

/* Braces are closed, captures have a name and are few. */
static int check_braces(const struct yaml_doc *d, const struct yaml *at, struct ply_err *err)
{
	unsigned captures = 0;

	for (const char *p = at->text; (p = strpbrk(p, "{}")); p++) {
		size_t len = strcspn(p + 1, "{}");

		if (*p == '}' || p[len + 1] != '}' || !len)
			return yaml_fail(d, at, PLY_R_MANIFEST_VALUE, err,
					 "'%s': braces must be closed and not nested: {name} or {a,b}", at->text);
		captures += !memchr(p + 1, ',', len);
		p += len + 1;
	}
	if (captures > GLOB_CAPTURES)
		return yaml_fail(d, at, PLY_R_MANIFEST_VALUE, err, "'%s': more than %d captures", at->text,
				 GLOB_CAPTURES);
	return 0;
}

static int read_path(struct rule *rule, const struct yaml_doc *d, const struct yaml *at,
		     struct ply_err *err)
{
	int r = at ? yaml_expect(d, at, YAML_TEXT, "path", err) : 0;

	if (r < 0)
		return r;
	if (at->text[0] != '/')
		return yaml_fail(d, at, PLY_R_MANIFEST_VALUE, err, "path must begin with a slash, found '%s'",
				 at->text);
	r = check_braces(d, at, err);
	if (r == 0)
		r = read_words(d, at, "path", &rule->patterns, &rule->npatterns, err);
	for (size_t i = 0; r == 0 && i < rule->npatterns; i++) {
		char *p = rule->patterns[i];

		if (strlen(p) > GLOB_MAX)
			return yaml_fail(d, at, PLY_R_MANIFEST_VALUE, err, "path: found a pattern of %zu bytes, allowed are %u",
					 strlen(p), GLOB_MAX);
		memmove(p, p + 1, strlen(p));
		for (unsigned c = 0; c < 256; c++)
			if (glob_may_begin(p, (char)c))
				rule->begins[c / 8] |= (uint8_t)(1u << c % 8);
	}
	return r;
}

struct word {
	const char *text;
	int value;
};

static int read_word(const struct yaml_doc *d, const struct yaml *at, const char *what,
		     const struct word *words, int *ret, struct ply_err *err)
{
	char allowed[128] = "";
	int r = yaml_expect(d, at, YAML_TEXT, what, err);

	if (r < 0)
		return r;
	for (const struct word *w = words; w->text; w++) {
		size_t len = strlen(allowed);

		if (!strcmp(w->text, at->text)) {
			*ret = w->value;
			return 0;
		}
		snprintf(allowed + len, sizeof(allowed) - len, "%s%s", len ? ", " : "", w->text);
	}
	return yaml_fail(d, at, PLY_R_MANIFEST_VALUE, err, "%s: found '%s', allowed are: %s", what, at->text,
			 allowed);
}

static const struct word types[] = {
	{ "file", S_IFREG }, { "directory", S_IFDIR }, { "symlink", S_IFLNK }, { NULL, 0 },
};
static const struct word marks[] = { { "drop", MARK_DROP }, { "first", MARK_FIRST }, { NULL, 0 } };
static const struct word actions[] = {
	{ "remove", MARK_REMOVE }, { "empty", MARK_EMPTY }, { "set", MARK_SET },
	{ "secret", MARK_SECRET }, { NULL, 0 },
};
static const struct word yes_no[] = { { "true", true }, { "false", false }, { NULL, 0 } };

static int read_methods(struct rule *rule, const struct yaml_doc *d, const struct yaml *at,
			struct ply_err *err)
{
	struct word words[BY_COUNT + 1] = { 0 };
	int r = yaml_expect(d, at, YAML_LIST, "by", err);

	for (int i = 0; i < BY_COUNT; i++)
		words[i] = (struct word){ rule_methods[i], i };
	for (const struct yaml *n = r == 0 ? at->first : NULL; r == 0 && n; n = n->next) {
		int method;

		r = read_word(d, n, "by", words, &method, err);
		if (r == 0 && rule->nby == BY_COUNT)
			r = yaml_fail(d, n, PLY_R_MANIFEST_VALUE, err, "by: more than %d methods", BY_COUNT);
		if (r == 0)
			rule->by[rule->nby++] = (enum rule_method)method;
	}
	return r;
}

static int read_action(struct rule *rule, const struct yaml_doc *d, const struct yaml *at,
		       struct ply_err *err)
{
	static const struct word keys[] = {
		{ "to", RULE_TO }, { "as", RULE_AS }, { "unit", RULE_UNIT }, { "package", RULE_PACKAGE },
		{ "by", RULE_BY }, { NULL, 0 },
	};
	const struct yaml *found = NULL;

	for (const struct word *k = keys; k->text; k++) {
		const struct yaml *n = yaml_get(at, k->text);

		if (n && found)
			return yaml_fail(d, n, PLY_R_MANIFEST_KEY, err,
					 "a rule has one of to, as, unit, package, by; this one has %s and %s",
					 found->key, k->text);
		if (n) {
			found = n;
			rule->action = (enum rule_action)k->value;
		}
	}
	if (!found)
		return yaml_fail(d, at, PLY_R_MANIFEST_KEY, err,
				 "a rule must say where its paths go: to, as, unit, package or by is missing");
	if (rule->action == RULE_BY)
		return read_methods(rule, d, found, err);
	if (yaml_expect(d, found, YAML_TEXT, found->key, err) < 0 || check_braces(d, found, err) < 0)
		return -EINVAL;
	return read_words(d, found, found->key, &rule->templates, &rule->ntemplates, err);
}

static int read_rule(struct rule *rule, const struct yaml_doc *d, const struct yaml *at,
		     struct ply_err *err)
{
	const struct yaml *n;
	int r = yaml_keys(d, at, "path type target to as unit package by mark report", "a rule", err), v = 0;

	if (r < 0)
		return r;
	rule->line = at->line;
	n = yaml_get(at, "path");
	if (!n)
		return yaml_fail(d, at, PLY_R_MANIFEST_KEY, err, "a rule without path");
	r = read_path(rule, d, n, err);
	if (r == 0 && (n = yaml_get(at, "type"))) {
		r = read_word(d, n, "type", types, &v, err);
		rule->type = (mode_t)v;
	}
	if (r == 0 && (n = yaml_get(at, "target"))) {
		r = yaml_expect(d, n, YAML_TEXT, "target", err);
		if (r == 0 && !(rule->target = strdup(n->text)))
			r = ply_fail_nomem(err);
	}
	if (r == 0 && (n = yaml_get(at, "mark"))) {
		r = read_word(d, n, "mark", marks, &v, err);
		rule->mark = (enum rule_mark)v;
	}
	if (r == 0 && (n = yaml_get(at, "report"))) {
		r = read_word(d, n, "report", yes_no, &v, err);
		rule->report = v != 0;
	}
	return r < 0 ? r : read_action(rule, d, at, err);
}

static int new_rule(struct rule **v, size_t *n, size_t *cap, struct rule **ret, struct ply_err *err)
{
	if (array_grow(v, cap, *n + 1, sizeof(**v)) < 0)
		return ply_fail_nomem(err);
	*ret = &(*v)[(*n)++];
	**ret = (struct rule){ 0 };
	return 0;
}

int rules_add(struct rules *t, const struct yaml_doc *d, const struct yaml *at, struct ply_err *err)
{
	int r = yaml_expect(d, at, YAML_LIST, "rules", err);

	for (const struct yaml *n = r == 0 ? at->first : NULL; r == 0 && n; n = n->next) {
		struct rule *rule = NULL;

		r = new_rule(&t->v, &t->n, &t->cap, &rule, err);
		if (r == 0)
			r = read_rule(rule, d, n, err);
	}
	return r;
}

static int add_identity(struct rules *t, const struct yaml_doc *d, const struct yaml *at,
			struct ply_err *err)
{
	int r = yaml_expect(d, at, YAML_LIST, "identity", err), v = 0;

	for (const struct yaml *n = r == 0 ? at->first : NULL; r == 0 && n; n = n->next) {
		struct rule *rule = NULL;

		r = yaml_keys(d, n, "path action", "an identity path", err);
		if (r == 0 && (!yaml_get(n, "path") || !yaml_get(n, "action")))
			r = yaml_fail(d, n, PLY_R_MANIFEST_KEY, err, "an identity path needs path and action");
		if (r == 0)
			r = new_rule(&t->identity, &t->nidentity, &t->identity_cap, &rule, err);
		if (r == 0)
			r = read_path(rule, d, yaml_get(n, "path"), err);
		if (r == 0)
			r = read_word(d, yaml_get(n, "action"), "action", actions, &v, err);
		if (r == 0)
			rule->mark = (enum rule_mark)v;
	}
	return r;
}

static int add_system(struct rules *t, const struct yaml_doc *d, const struct yaml *at, struct ply_err *err)
{
	int r = yaml_expect(d, at, YAML_LIST, "system", err);

	for (const struct yaml *n = r == 0 ? at->first : NULL; r == 0 && n; n = n->next) {
		char *copy;

		r = yaml_expect(d, n, YAML_TEXT, "system", err);
		if (r < 0)
			break;
		copy = strdup(n->text);
		if (!copy || add_text(&t->system, &t->nsystem, copy) < 0) {
			free(copy);
			r = ply_fail_nomem(err);
		}
	}
	return r;
}

/* share/ beside the directory of the program itself: an installed tree runs from wherever it lies.
 * The built tests lie a directory deeper. */
static int installed_file(char *out, size_t cap, struct ply_err *err)
{
	static const char file[] = "/share/plyfs/rules/debian.yaml";
	ssize_t n = readlink("/proc/self/exe", out, cap - sizeof(file));

	if (n < 0)
		return ply_fail_sys(err, -errno, "/proc/self/exe");
	out[n] = '\0';
	for (int up = 0; up < 3; up++) {
		char *slash = strrchr(out, '/');

		if (!slash)
			break;
		strcpy(slash, file);
		if (up && access(out, F_OK) == 0)
			return 0;
		*slash = '\0';
	}
	strcat(out, file);
	return 0;
}

int rules_read(const char *file, struct rules *ret, struct ply_err *err)
{
	char path[PATH_MAX + 64];
	struct rules t = { 0 };
	struct yaml_doc d = { 0 };
	const struct yaml *n;
	int r = file ? 0 : installed_file(path, sizeof(path), err);

	if (r < 0)
		return r;
	file = file ? file : path;
	r = yaml_read(file, &d, err);
	if (r == -ENOENT)
		return ply_fail(err, r, PLY_R_RULES_MISSING,
				"the table of rules is missing: %s; install plyfs as a whole", file);
	if (r == 0 && !d.root)
		r = ply_fail(err, -EINVAL, PLY_R_RULES_MISSING, "%s is empty", file);
	if (r == 0)
		r = yaml_keys(&d, d.root, "version rules identity system", "the table of rules", err);
	if (r == 0 && (n = yaml_get(d.root, "rules")))
		r = rules_add(&t, &d, n, err);
	if (r == 0 && (n = yaml_get(d.root, "identity")))
		r = add_identity(&t, &d, n, err);
	if (r == 0 && (n = yaml_get(d.root, "system")))
		r = add_system(&t, &d, n, err);
	yaml_done(&d);
	if (r < 0)
		rules_done(&t);
	else
		*ret = t;
	return r;
}

static void free_texts(char **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

static void free_rules(struct rule *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free_texts(v[i].patterns, v[i].npatterns);
		free_texts(v[i].templates, v[i].ntemplates);
		free(v[i].target);
	}
	free(v);
}

void rules_done(struct rules *t)
{
	free_rules(t->v, t->n);
	free_rules(t->identity, t->nidentity);
	free_texts(t->system, t->nsystem);
	*t = (struct rules){ 0 };
}
