/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs that no package owns: what they name is looked for as the loader would look, or the kernel for an
 * interpreter. Pure: bytes and answers come through functions.
 *
 * A library's own DT_RPATH is not all that counts for it (those of who loads it count too), and programs set
 * LD_LIBRARY_PATH or call dlopen(): so what the components bring under that name anywhere is not missed; whoever
 * answers for the search without a directory sees to that.
 *
 * Reference: ld.so(8), "Dynamic string tokens" and the order of the search; execve(2), "Interpreter scripts".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "layout/needs.h"

#define INTERP_MAX 4096u           /* as elf_look() has it */
#define SCRIPT_MAX  256u            /* of a script that the kernel looks at */

/* --- reading a program --------------------------------------------------------------- */

struct reading {
	struct needs_program *p;
	elf_read_fn read;
	void *ctx;
};

static int read_through(void *ctx, uint64_t off, void *buf, size_t len)
{
	const struct reading *r = ctx;

	return r->read(r->ctx, off, buf, len);
}

static int add_path(char **path, const char *text)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (buf_printf(&b, "%s%s%s", *path ? *path : "", *path ? ":" : "", text) < 0)
		return -ENOMEM;
	free(*path);
	*path = (char *)TAKE_PTR(b.data);
	return 0;
}

static int see_word(void *ctx, enum elf_word what, const char *text)
{
	struct needs_program *p = ((struct reading *)ctx)->p;

	if (what != ELF_NEEDED)
		return add_path(what == ELF_RPATH ? &p->rpath : &p->runpath, text);
	for (size_t i = 0; i < p->nlibs; i++)
		if (!strcmp(p->libs[i], text))
			return 0;
	if (array_grow(&p->libs, &p->libs_cap, p->nlibs + 1, sizeof(*p->libs)) < 0)
		return -ENOMEM;
	p->libs[p->nlibs] = strdup(text);
	return p->libs[p->nlibs] ? (p->nlibs++, 0) : -ENOMEM;
}

/* The first line, without its end; the file may be shorter. */
static void read_line(elf_read_fn read, void *ctx, char line[SCRIPT_MAX])
{
	size_t len = 0;

	for (size_t step = 64; step && len < SCRIPT_MAX - 1 && !memchr(line, '\n', len);) {
		if (step > SCRIPT_MAX - 1 - len || read(ctx, len, line + len, step) < 0)
			step /= 2;
		else
			len += step;
	}
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

/* The next word of @*line, cut off; NULL: none. */
static char *next_word(char **line)
{
	char *word;

	*line += strspn(*line, " \t");
	word = strsep(line, " \t");
	return word && *word ? word : NULL;
}

/* "#!/usr/bin/env -S php -q", "#!/usr/bin/php -q": what runs it, NULL: nothing that is known. */
static const char *interpreter_of(char *line)
{
	char *rest = line + 2, *word = next_word(&rest);
	const char *slash = word ? strrchr(word, '/') : NULL;

	if (!slash || *word != '/')
		return NULL;
	if (strcmp(slash + 1, "env"))
		return word;
	while (rest && (word = next_word(&rest)))
		if (*word != '-' && !strchr(word, '='))
			return *word == '/' || !strchr(word, '/') ? word : NULL;
	return NULL;
}

int needs_program_look(const char *path, elf_read_fn read, void *ctx, struct needs_program *ret)
{
	struct needs_program p = { 0 };
	struct reading reading = { &p, read, ctx };
	char interp[INTERP_MAX], line[SCRIPT_MAX] = "";
	const char *name = NULL;
	int r = 0;

	if (elf_look(read, ctx, &p.kind, interp)) {
		name = *interp ? interp : NULL;
		r = elf_words(read_through, see_word, &reading);
	} else if (read(ctx, 0, line, 2) == 0 && line[0] == '#' && line[1] == '!') {
		read_line(read, ctx, line);
		name = interpreter_of(line);
	}
	if (r == 0 && (name || p.nlibs)) {
		p.path = strdup(path);
		p.interpreter = name ? strdup(name) : NULL;
		r = p.path && (!name || p.interpreter) ? 1 : -ENOMEM;
	}
	if (r == 1)
		*ret = p;
	else
		needs_program_done(&p);
	return r;
}

void needs_program_done(struct needs_program *p)
{
	for (size_t i = 0; i < p->nlibs; i++)
		free(p->libs[i]);
	free(p->libs);
	free(p->path);
	free(p->interpreter);
	free(p->rpath);
	free(p->runpath);
	*p = (struct needs_program){ 0 };
}

/* --- what is there ------------------------------------------------------------------- */

struct search {
	needs_has_fn *has;
	void *ctx;
	const struct needs_program *p;
};

/* "$ORIGIN/../lib" is beside the program; Debian's $LIB is "lib/x86_64-linux-gnu". $PLATFORM is the processor's: what
 * is there only for some is not counted. 1: not known, or not absolute. */
static int expand(const struct needs_program *p, const char *dir, size_t len, struct buf *out)
{
	const char *slash = strrchr(p->path, '/'), *end = dir + len;
	int r = 0;

	while (r == 0 && dir < end) {
		size_t n = 1;

		if (*dir != '$') {
			n = (size_t)(end - dir);
			n = memchr(dir, '$', n) ? (size_t)((const char *)memchr(dir, '$', n) - dir) : n;
			r = buf_add(out, dir, n);
		} else if ((n = 7, !strncmp(dir, "$ORIGIN", n)) || (n = 9, !strncmp(dir, "${ORIGIN}", n))) {
			r = slash ? buf_add(out, p->path, (size_t)(slash - p->path)) : 1;
		} else if ((n = 4, !strncmp(dir, "$LIB", n)) || (n = 6, !strncmp(dir, "${LIB}", n))) {
			r = buf_printf(out, "lib/%s", elf_multiarch(&p->kind));
		} else {
			return 1;
		}
		dir += n;
	}
	if (r == 0)
		r = buf_add(out, "", 1);
	return r ? r : out->data[0] != '/';
}

/* In one directory of a path with colons. */
static int has_in(const struct search *s, const char *dir, size_t len, const char *name)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r = expand(s->p, dir, len, &b);

	return r ? MIN(r, 0) : s->has(s->ctx, (const char *)b.data, name, &s->p->kind);
}

static int has_in_path(const struct search *s, const char *path, const char *name)
{
	int r = 0;

	for (const char *at = path; r == 0 && at && *at;) {
		size_t len = strcspn(at, ":");

		r = len ? has_in(s, at, len, name) : 0;
		at += len + (at[len] == ':');
	}
	return r;
}

/* A name with slashes is no name but a path. Relative ones count from wherever the program is run: not known. */
static int has_path(const struct search *s, const char *path, const struct elf_kind *kind)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r = expand(s->p, path, strlen(path), &b);
	char *slash;

	if (r)
		return r < 0 ? r : 1;
	slash = strrchr((char *)b.data, '/');
	*slash = '\0';
	return s->has(s->ctx, slash == (char *)b.data ? "/" : (char *)b.data, slash + 1, kind);
}

static int has_library(const struct search *s, const char *name)
{
	const struct needs_program *p = s->p;
	const char *slash = p->interpreter ? strrchr(p->interpreter, '/') : NULL;
	int r;

	if (strchr(name, '/'))
		return has_path(s, name, &p->kind);
	if (slash && !strcmp(slash + 1, name))     /* the loader itself, which is looked for anyway */
		return 1;
	r = has_in_path(s, p->runpath ? p->runpath : p->rpath, name);
	return r ? r : s->has(s->ctx, NULL, name, &p->kind);
}

static int has_interpreter(const struct search *s)
{
	const char *name = s->p->interpreter;
	const struct elf_kind *kind = s->p->kind.elf_class ? &s->p->kind : NULL;

	if (!strchr(name, '/'))
		return s->has(s->ctx, NULL, name, kind);
	return has_path(s, name, kind);
}

static int add_library(struct target_needs *n, const struct needs_program *p, const char *name, bool interpreter)
{
	struct need_library l = { strdup(p->path), strdup(name), interpreter };

	if (!l.path || !l.name || array_grow(&n->libraries, &n->libraries_cap, n->nlibraries + 1, sizeof(l)) < 0) {
		free(l.path);
		free(l.name);
		return -ENOMEM;
	}
	n->libraries[n->nlibraries++] = l;
	return 0;
}

static int check_program(const struct search *s, struct target_needs *needs)
{
	const struct needs_program *p = s->p;
	int r = p->interpreter ? has_interpreter(s) : 1;

	if (r == 0)
		r = add_library(needs, p, p->interpreter, true);
	for (size_t i = 0; r >= 0 && i < p->nlibs; i++) {
		r = has_library(s, p->libs[i]);
		if (r == 0)
			r = add_library(needs, p, p->libs[i], false);
	}
	return MIN(r, 0);
}

int needs_programs(const struct needs_program *v, size_t n, needs_has_fn *has, void *ctx, struct target_needs *needs,
		   struct ply_err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct search s = { has, ctx, &v[i] };
		int r = check_program(&s, needs);

		if (r == -ENOMEM)
			return ply_fail_nomem(err);
		if (r < 0)
			return ply_fail_sys(err, r, "cannot look for what %s needs in the target", v[i].path);
	}
	return 0;
}
