/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs layout --ask into a target that is not empty. All of it is looked at as for a dry run; what the policy leaves
 * undecided is asked, first of the image, then packages, then paths; and the answers are a policy, by which the layout then
 * goes as by any other one. So the answers hold only for what was seen: what has changed since is stale.
 */
#include "living_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "living_decide.h"
#include "planning.h"

struct asking {
	struct planning p;
	char *line;                /* of getline() */
	size_t cap;
	bool stop;                 /* no more questions */
	size_t asked;
};

/* --- packages ---------------------------------------------------------------------------------- */

static bool is_asked(const struct package_clash *c)
{
	return !c->stays && !c->fails;
}

static int introduce(const struct package_clash *c, size_t at, size_t of, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (packages_describe(c, &text) < 0)
		return ply_fail_nomem(err);
	printf("\nPackage %zu of %zu: %.*s: another version, %zu %s\n", at, of, (int)text.len, (const char *)text.data,
	       c->npaths, c->npaths == 1 ? "path" : "paths");
	return 0;
}

static void ask_package(struct asking *a, struct package_clash *c)
{
	for (;;) {
		char letter;

		printf("[t/s/?] ");
		fflush(stdout);
		letter = plan_answer(&a->line, &a->cap);
		if (letter == 't')
			c->stays = c->answered = true;
		if (letter == 's')
			a->stop = true;
		if (!letter || letter == 't' || letter == 's')
			return;
		if (letter == '?')
			printf("  t  target: its package stays, and nothing of %s's is laid out\n"
			       "  s  save what is decided, and stop\n"
			       "  ?  this help\n"
			       "An empty line leaves it undecided.\n", c->component);
		else
			printf("that is not possible here; ? tells what is\n");
	}
}

static int ask_packages(struct asking *a, struct packages *p, struct ply_err *err)
{
	size_t of = 0, at = 0;
	int r = 0;

	for (size_t i = 0; i < p->nclashes; i++)
		of += is_asked(&p->clashes[i]);
	for (size_t i = 0; r == 0 && !a->stop && i < p->nclashes; i++) {
		if (!is_asked(&p->clashes[i]))
			continue;
		r = introduce(&p->clashes[i], ++at, of, err);
		if (r == 0)
			ask_package(a, &p->clashes[i]);
	}
	a->asked += of;
	return r;
}

/* --- paths -------------------------------------------------------------------------------------- */

static int ask_paths(struct asking *a, struct living_collisions *k, struct ply_err *err)
{
	const struct policy_entry *first;
	size_t unused, asked = 0;
	int r;

	a->p.c = &k->c;
	a->p.groups = calloc(k->c.n + 1, sizeof(*a->p.groups));
	if (!a->p.groups)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < k->c.n; i++)
		a->p.groups[i].n = 1;
	r = policy_decide(&a->p.choice->read, &k->c, &unused, &first, err);
	if (r == 0 && !a->stop)
		r = plan_ask(&a->p, &asked, err);
	a->asked += asked;
	return r;
}

static int ask_all(void *ctx, const struct living *l, struct survey *s, struct ply_err *err)
{
	struct asking a = { .p = { .path = l->path, .live = s, .names = l->names, .choice = l->choice,
				   .append = l->choice->on_collision } };
	_cleanup_close_ int target = open(l->target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };
	struct living_collisions k;
	int r = target < 0 ? ply_fail_sys(err, -errno, "cannot open %s", l->target) : living_collisions(s, l, &k, err);

	(void)ctx;
	if (r < 0)
		return r;
	/* nothing of the target is locked, or held open, while somebody thinks */
	s->target = target;
	r = ask_packages(&a, &s->packages, err);
	if (r == 0)
		r = ask_paths(&a, &k, err);
	if (r == 0 && a.asked)
		r = plan_render(&a.p, &text, err);
	if (r == 0 && a.asked)
		r = choice_answer(l->choice, &text, err);
	plan_groups_free(&a.p);
	living_collisions_done(&k);
	free(a.line);
	return r;
}

int living_ask(const struct living *l, struct ply_err *err)
{
	struct living asking = { .path = l->path, .target = l->target, .names = l->names, .choice = l->choice, .o = l->o,
				 .look = l->look, .force = l->force, .ask = true };
	int r = living_look(&asking, ask_all, NULL, err);

	living_done(&asking);
	return r;
}
