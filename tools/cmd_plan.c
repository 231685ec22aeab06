/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs plan: where the sub-images of a selection collide, what they override, what will happen there, and
 * what is still to be decided. Decisions are a policy file (policy.h), which plan writes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "living_show.h"
#include "planning.h"
#include "verbs.h"

struct wishes {
	const char *show, *write, *target;
	bool ask;
};

/* What the selection changes of a directory that is not empty. */
static int show_target(const struct planning *p, const char *target, size_t *ret_undecided, struct ply_err *err)
{
	const struct layout_options o = { .streams = 1 };
	struct layout_look look = { 0 };
	struct living l = { .path = p->path, .target = target, .names = p->names, .choice = p->choice, .o = &o, .look = &look };
	int r = layout_look(target, &look, err);

	*ret_undecided = 0;
	if (r == 0 && (look.found == LAYOUT_UNFINISHED || look.found == LAYOUT_ABORTED || look.open))
		r = ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_UNFINISHED,
			     "%s: a layout or a change was begun there and is not complete; see plyfs layout --resume, --abort",
			     target);
	if (r == 0 && look.empty && cli_json)
		r = cli_print_json(json_pack("{s:o,s:[],s:[],s:[],s:[]}", "target", cli_json_name(target, strlen(target)),
					     "components", "packages", "changes", "conflicts"));
	else if (r == 0 && look.empty)
		printf("%s: is empty, so all of the selection is laid out there\n", target);
	else if (r == 0)
		r = living_show(&l, ret_undecided, NULL, err);
	living_done(&l);
	layout_look_done(&look);
	return r;
}

static int tell_selected(const struct planning *p, struct ply_err *err)
{
	_cleanup_list_ struct cli_list selected = { 0 };

	for (uint32_t i = 0; i < ply_view_nsubs(p->look.view); i++)
		if (cli_list_add(&selected,
				 ply_image_sub_info(p->look.image, ply_view_sub(p->look.view, i))->name) < 0)
			return ply_fail_nomem(err);
	tell_selection(&selected, p->names);
	return 0;
}

static int ask(struct planning *p, struct ply_err *err)
{
	size_t asked;
	int r = plan_ask(p, &asked, err);

	if (r == 0 && !asked)
		printf("nothing is undecided\n");
	return r;
}

static bool is_undecided(const struct planning *p)
{
	for (size_t i = 0; i < p->c->n; i++)
		if (collision_is_undecided(&p->c->v[i], p->append))
			return true;
	return false;
}

static int run(struct planning *p, const struct wishes *w, struct ply_err *err)
{
	const char *to = w->write ? w->write : w->ask ? p->choice->policy : NULL;
	int code = EXIT_DONE, r;
	size_t undecided = 0;

	p->choice->is_new = w->ask;
	r = plan_open(p, err);
	if (r == 0)
		r = tell_selected(p, err);
	if (r == 0 && w->ask)
		r = ask(p, err);
	if (r == 0 && to)
		r = plan_write(p, to, err);
	if (r == 0 && w->target)
		r = show_target(p, w->target, &undecided, err);
	else if (r == 0 && w->show)
		r = plan_show(p, w->show, err);
	else if (r == 0 && cli_json)
		r = plan_print_json(p, &code, err);
	else if (r == 0 && !(to && !strcmp(to, "-")))
		r = plan_print(p, err);
	if (r < 0)
		return r;
	return code ? code : undecided || is_undecided(p) ? EXIT_DECISION : EXIT_DONE;
}

static int check_usage(const struct wishes *w, const struct choice *choice)
{
	bool to_stdout = w->write && !strcmp(w->write, "-");

	if (w->ask && !w->write && !choice->policy)
		return cli_usage("--ask needs a file to save to: --policy=FILE or --write=FILE");
	if (w->ask && (cli_json || w->show || to_stdout))
		return cli_usage("--ask goes with neither --json nor --show nor --write=-");
	if (w->ask && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
		return cli_usage("--ask needs a terminal; --write=FILE gives a policy to edit");
	if (to_stdout && (cli_json || w->show))
		return cli_usage("--write=- goes with neither --json nor --show");
	if (w->target && (w->show || w->ask || to_stdout))
		return cli_usage("--target goes with neither --show nor --ask nor --write=-");
	if (w->show && cli_json)
		return cli_usage("--show goes without --json, which tells of all paths");
	return choice_check(choice);
}

int cmd_plan(int argc, char **argv)
{
	_cleanup_list_ struct cli_list names = { 0 };
	_cleanup_choice_ struct choice choice = { 0 };
	struct planning p = { .names = &names, .choice = &choice };
	struct wishes w = { 0 };
	const struct cli_opt opts[] = {
		SELECTION_OPTION(&names),
		CHOICE_OPTIONS(&choice),
		{ "show", 0, "PATH", "what collides at this path, side by side, and what comes of it", CLI_TEXT, &w.show },
		{ "target", 0, "DIR", "what it changes of a directory that is not empty", CLI_TEXT, &w.target },
		{ "ask", 0, NULL, "go through what is undecided, at the terminal", CLI_FLAG, &w.ask },
		{ "write", 0, "FILE", "write the policy, with what is undecided marked; - is the standard output",
		  CLI_TEXT, &w.write },
		{ "all", 0, NULL, "list each override, not only how many", CLI_FLAG, &p.all },
		CLI_JSON, CLI_END
	};
	const struct cli_spec spec = { "plan", "IMAGE",
				       "Print where sub-images collide or override, and what happens there.", opts, 1,
				       1 };
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args), r;

	if (code >= 0)
		return code;
	code = check_usage(&w, &choice);
	if (code >= 0)
		return code;
	p.path = args.v[0];
	p.append = choice.on_collision;
	r = run(&p, &w, &err);
	plan_close(&p);
	return r < 0 ? cli_fail(&err) : r;
}
