/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What plyfs plan begins with, and what plyfs layout --ask asks. */
#include <unistd.h>

#include "planning.h"

int plan_open(struct planning *p, struct ply_err *err)
{
	const struct ply_view_options o = { .names = p->names->v, .n = p->names->n, .undecided_first = true };
	size_t undecided;
	int r = choice_read(p->choice, err);

	if (r == 0)
		r = open_image(p->path, &p->look.image, err);
	if (r == 0)
		r = ply_view_open_with(p->look.image, &o, &p->look.view, err);
	if (r == 0)
		r = open_decide(p->look.view, p->choice, &p->c, &undecided, err);
	return r == 0 ? plan_group(p, err) : r;
}

void plan_close(struct planning *p)
{
	plan_groups_free(p);
	p->c = collisions_free(p->c);
	opened_done(&p->look);
}

int plan_ask_selection(const char *path, const struct cli_list *names, struct choice *choice, struct ply_err *err)
{
	struct planning p = { .path = path, .names = names, .choice = choice, .append = choice->on_collision };
	_cleanup_buf_ struct buf text = { 0 };
	bool more = choice->more;
	size_t asked = 0;
	int r;

	/* what of the policy is not used is told when it is laid out */
	choice->more = true;
	r = plan_open(&p, err);
	choice->more = more;
	if (r == 0)
		r = plan_ask(&p, &asked, err);
	if (r == 0 && asked)
		r = plan_render(&p, &text, err);
	if (r == 0 && asked)
		r = choice_answer(choice, &text, err);
	plan_close(&p);
	return r;
}
