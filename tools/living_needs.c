/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a package needs it says. What a component by path needs its programs say: a component is one by path where no
 * package comes with it.
 */
#include "living_needs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "cli.h"
#include "layout/needs.h"

#define LINES_MAX 20u              /* that are told one by one */

/* --- programs ------------------------------------------------------------------------------ */

struct programs {
	const struct survey *s;
	struct needs_program *v;
	size_t n, cap;
	uint64_t ino;              /* of the file that is read */
	struct ply_err *err;
};

static int read_file(void *ctx, uint64_t off, void *out, size_t len)
{
	const struct programs *p = ctx;
	ssize_t n = ply_view_read(p->s->view, p->ino, off, len, out, p->err);

	return n < 0 ? (int)n : (size_t)n == len ? 0 : -EIO;
}

static int look_at(struct programs *p, const char *path)
{
	_cleanup_free_ char *absolute = malloc(strlen(path) + 2);
	struct ply_attr a;
	int r;

	if (!absolute)
		return ply_fail_nomem(p->err);
	absolute[0] = '/';
	strcpy(absolute + 1, path);
	r = ply_view_resolve(p->s->view, absolute, false, &p->ino, p->err);
	if (r == -ENOENT)          /* the other's name, of PLY_RULE_KEEP_BOTH */
		return 0;
	if (r == 0)
		r = ply_view_attr(p->s->view, p->ino, &a, p->err);
	if (r < 0 || !S_ISREG(a.mode) || !(a.mode & 0111 || strstr(absolute, ".so")))
		return r;
	if (array_grow(&p->v, &p->cap, p->n + 1, sizeof(*p->v)) < 0)
		return ply_fail_nomem(p->err);
	r = needs_program_look(absolute, read_file, p, &p->v[p->n]);
	p->n += r > 0;
	return r == -ENOMEM ? ply_fail_nomem(p->err) : MIN(r, 0);
}

/* With a slash a path; without any file of that name. */
static int brings(void *ctx, const char *path)
{
	const struct changes *c = &((const struct survey *)ctx)->changes;

	if (path[0] == '/') {
		const struct change *row = changes_find(c, path + 1);

		return row && row->kind != CHANGE_OUT;
	}
	for (size_t i = 0; i < c->n; i++) {
		const char *base = strrchr(c->v[i].path, '/');

		if (!strcmp(base ? base + 1 : c->v[i].path, path))
			return 1;
	}
	return 0;
}

static int check_programs(const struct survey *s, struct target_needs *needs, struct ply_err *err)
{
	struct programs p = { .s = s, .err = err };
	_cleanup_buf_ struct buf cache = { 0 };
	struct needs_root *root = NULL;
	int r = needs_root_open(s->target, &root, err);

	if (r == 0)
		r = version_read(s->view, "/etc/ld.so.cache", &cache, err);
	if (r == 0 && cache.len && needs_root_cache(root, cache.data, cache.len) < 0)
		r = ply_fail_nomem(err);
	if (r == 0)
		needs_root_brings(root, brings, (void *)s);
	for (size_t i = 0; r == 0 && i < s->changes.n; i++)
		if (s->changes.v[i].kind == CHANGE_MAKE || s->changes.v[i].kind == CHANGE_SWAP)
			r = look_at(&p, s->changes.v[i].path);
	if (r == 0)
		r = needs_programs(p.v, p.n, needs_root_has, root, needs, err);
	for (size_t i = 0; i < p.n; i++)
		needs_program_done(&p.v[i]);
	free(p.v);
	needs_root_close(root);
	return r;
}

/* --- both ------------------------------------------------------------------------------------ */

static int tell(void *ctx, const char *line)
{
	unsigned *n = ctx;

	if ((*n)++ < LINES_MAX)
		cli_note("%s", line);
	return 0;
}

int living_check_needs(struct survey *s, const char *target, bool force, struct ply_err *err)
{
	struct target_needs *needs = &s->packages.needs;
	unsigned lines = 0;
	int r = needs->npackages ? 0 : check_programs(s, needs, err);

	if (r == 0)
		r = needs_tell(needs, tell, &lines);
	if (lines > LINES_MAX)
		cli_note("and %u more", lines - LINES_MAX);
	if (r == 0 && !target_needs_hold(needs) && !force)
		r = ply_fail(err, -ENOPKG, PLY_R_TARGET_LACKS,
			     "%s: lacks what the components need; nothing was written. --force-os-mismatch goes on without",
			     target);
	return r;
}
