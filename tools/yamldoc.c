/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libyaml's events to a tree: see yamldoc.h. Its own document API was rejected: it keeps no order of
 * keys to speak of, resolves aliases, and has no place for our checks.
 *
 * Bounded: a file has at most 16 MiB, 200,000 values, 32 levels.
 */
#include "yamldoc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/inroot.h"
#include "base/util.h"

#define FILE_MAX   ((size_t)16 << 20)
#define VALUES_MAX 200000u
#define DEPTH_MAX  32u

struct reader {
	struct yaml_doc *doc;
	yaml_parser_t parser;
	unsigned values;
	struct ply_err *err;
};

static void node_free(struct yaml *n)
{
	while (n) {
		struct yaml *next = n->next;

		node_free(n->first);       /* as deep as DEPTH_MAX */
		free(n->text);
		free(n->key);
		free(n);
		n = next;
	}
}

void yaml_done(struct yaml_doc *d)
{
	node_free(d->root);
	free(d->file);
	*d = (struct yaml_doc){ 0 };
}

/* libyaml counts from 0. */
static int fail_at(struct reader *r, yaml_mark_t mark, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int fail_at(struct reader *r, yaml_mark_t mark, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return ply_fail(r->err, -EINVAL, PLY_R_MANIFEST_SYNTAX, "%s:%zu:%zu: %s", r->doc->file,
			mark.line + 1, mark.column + 1, text);
}

static int next_event(struct reader *r, yaml_event_t *e)
{
	if (yaml_parser_parse(&r->parser, e))
		return 0;
	if (r->parser.error == YAML_MEMORY_ERROR)
		return ply_fail_nomem(r->err);
	return fail_at(r, r->parser.error == YAML_READER_ERROR ? r->parser.mark : r->parser.problem_mark,
		       "%s%s%s", r->parser.context ? r->parser.context : "", r->parser.context ? ", " : "",
		       r->parser.problem ? r->parser.problem : "not YAML");
}

static int copy_scalar(struct reader *r, const yaml_event_t *e, char **ret)
{
	if (e->data.scalar.length && memchr(e->data.scalar.value, '\0', e->data.scalar.length))
		return fail_at(r, e->start_mark, "a NUL byte in a value");
	*ret = strdup((const char *)e->data.scalar.value);
	return *ret ? 0 : ply_fail_nomem(r->err);
}

static bool has_anchor(const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return e->data.scalar.anchor || e->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return e->data.sequence_start.anchor || e->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return e->data.mapping_start.anchor || e->data.mapping_start.tag;
	default:
		return false;
	}
}

static int read_value(struct reader *r, yaml_event_t *e, unsigned depth, struct yaml **ret);

static int read_key(struct reader *r, const yaml_event_t *e, const struct yaml *map, char **ret)
{
	int k;

	if (e->type != YAML_SCALAR_EVENT)
		return fail_at(r, e->start_mark, "the key of a mapping must be a plain word");
	k = copy_scalar(r, e, ret);
	if (k == 0 && yaml_get(map, *ret))
		return fail_at(r, e->start_mark, "key '%s' stands twice in its mapping", *ret);
	return k;
}

/* Up to the end of the sequence or mapping @in. */
static int read_content(struct reader *r, struct yaml *in, unsigned depth)
{
	struct yaml **tail = &in->first;

	for (;;) {
		_cleanup_free_ char *key = NULL;
		struct yaml *value = NULL;
		yaml_event_t e;
		yaml_mark_t mark;
		int k = next_event(r, &e);

		if (k < 0)
			return k;
		if (e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&e);
			return 0;
		}
		mark = e.start_mark;
		if (in->type == YAML_MAP) {
			k = read_key(r, &e, in, &key);
			yaml_event_delete(&e);
			if (k == 0)
				k = next_event(r, &e);
			if (k < 0)
				return k;
		}
		k = read_value(r, &e, depth + 1, &value);
		if (value) {
			value->key = TAKE_PTR(key);
			value->key_line = (unsigned)mark.line + 1;
			value->key_column = (unsigned)mark.column + 1;
			*tail = value;
			tail = &value->next;
		}
		if (k < 0)
			return k;
	}
}

/* Consumes @e. */
static int read_value(struct reader *r, yaml_event_t *e, unsigned depth, struct yaml **ret)
{
	yaml_event_type_t type = e->type;
	yaml_mark_t mark = e->start_mark;
	struct yaml *n = calloc(1, sizeof(*n));
	int k = 0;

	if (!n)
		k = ply_fail_nomem(r->err);
	else if (type == YAML_ALIAS_EVENT || has_anchor(e))
		k = fail_at(r, mark, "anchors, aliases and tags are not allowed");
	else if (depth > DEPTH_MAX || ++r->values > VALUES_MAX)
		k = fail_at(r, mark, "more than %u levels or %u values", DEPTH_MAX, VALUES_MAX);
	else if (type == YAML_SCALAR_EVENT)
		k = copy_scalar(r, e, &n->text);
	else if (type != YAML_SEQUENCE_START_EVENT && type != YAML_MAPPING_START_EVENT)
		k = fail_at(r, mark, "a value is missing");
	yaml_event_delete(e);
	if (!n)
		return k;
	n->type = type == YAML_SEQUENCE_START_EVENT ? YAML_LIST :
		  type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_TEXT;
	n->line = (unsigned)mark.line + 1;
	n->column = (unsigned)mark.column + 1;
	*ret = n;
	if (k == 0 && n->type != YAML_TEXT)
		k = read_content(r, n, depth);
	return k;
}

static int read_document(struct reader *r)
{
	bool done = false;

	while (!done) {
		yaml_event_t e;
		int k = next_event(r, &e);

		if (k < 0)
			return k;
		switch (e.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			yaml_event_delete(&e);
			break;
		case YAML_STREAM_END_EVENT:
			yaml_event_delete(&e);
			done = true;
			break;
		default:
			if (r->doc->root) {
				k = fail_at(r, e.start_mark, "a second document in the file");
				yaml_event_delete(&e);
				return k;
			}
			k = read_value(r, &e, 1, &r->doc->root);
			if (k < 0)
				return k;
		}
	}
	return 0;
}

int yaml_parse(const char *file, const void *text, size_t len, struct yaml_doc *ret, struct ply_err *err)
{
	struct yaml_doc doc = { .file = strdup(file) };
	struct reader r = { .doc = &doc, .err = err };
	int k;

	if (!doc.file || !yaml_parser_initialize(&r.parser)) {
		free(doc.file);
		return ply_fail_nomem(err);
	}
	yaml_parser_set_input_string(&r.parser, text, len);
	k = read_document(&r);
	yaml_parser_delete(&r.parser);
	if (k < 0)
		yaml_done(&doc);
	else
		*ret = doc;
	return k;
}

int yaml_read(const char *file, struct yaml_doc *ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = inroot_read_file(file, FILE_MAX, &text);

	if (r < 0)
		return ply_fail_sys(err, r, "cannot read %s", file);
	return yaml_parse(file, text.data, text.len, ret, err);
}

int yaml_fail(const struct yaml_doc *d, const struct yaml *at, enum ply_reason reason, struct ply_err *err,
	      const char *fmt, ...)
{
	char text[768], shown[800];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	escape_name_to(text, strlen(text), shown, sizeof(shown));
	return ply_fail(err, -EINVAL, reason, "%s:%u:%u: %s", d->file, at->line, at->column, shown);
}

static const char *type_name(const struct yaml *at)
{
	return at->type == YAML_MAP ? "a mapping" : at->type == YAML_LIST ? "a list" :
	       *at->text ? "a word" : "nothing";
}

int yaml_expect(const struct yaml_doc *d, const struct yaml *at, enum yaml_type type, const char *what,
		struct ply_err *err)
{
	static const char *const wanted[] = {
		[YAML_TEXT] = "a word", [YAML_LIST] = "a list", [YAML_MAP] = "a mapping",
	};

	if (at->type == type && (type != YAML_TEXT || *at->text))
		return 0;
	return yaml_fail(d, at, PLY_R_MANIFEST_VALUE, err, "%s must be %s, found %s", what, wanted[type],
			 type_name(at));
}

static bool in_words(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (; *words; words += strspn(words, " ")) {
		size_t n = strcspn(words, " ");

		if (n == len && !memcmp(words, word, n))
			return true;
		words += n;
	}
	return false;
}

int yaml_keys(const struct yaml_doc *d, const struct yaml *at, const char *allowed, const char *what,
	      struct ply_err *err)
{
	int r = yaml_expect(d, at, YAML_MAP, what, err);

	for (const struct yaml *n = r == 0 ? at->first : NULL; n; n = n->next) {
		struct yaml key = { .line = n->key_line, .column = n->key_column };

		if (!in_words(allowed, n->key))
			return yaml_fail(d, &key, PLY_R_MANIFEST_KEY, err, "unknown key '%s' in %s; allowed are: %s",
					 n->key, what, allowed);
	}
	return r;
}

const struct yaml *yaml_get(const struct yaml *map, const char *key)
{
	for (const struct yaml *n = map->first; n; n = n->next)
		if (n->key && !strcmp(n->key, key))
			return n;
	return NULL;
}
