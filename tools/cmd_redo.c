/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs redo create: an empty log on a selection of an image. What is selected, and what is decided where it collides,
 * is settled here for as long as the log lives: plyfs mount asks for neither.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "open.h"
#include "ops/parent.h"
#include "show.h"
#include "verbs.h"

static json_t *selection(struct ply_view *view)
{
	json_t *a = json_array();

	for (uint32_t i = 0; i < ply_view_nsubs(view); i++)
		json_array_append_new(
			a, json_string(ply_image_sub_info(ply_view_image(view), ply_view_sub(view, i))->name));
	return a;
}

static int report(const char *redo, const struct opened *o)
{
	const struct ply_generation_info *g = ply_image_generation(o->image);
	_cleanup_free_ char *real = realpath(redo, NULL);
	const char *log = real ? real : redo, *image = ply_image_path(o->image);

	return cli_print_json(json_pack("{s:o, s:o, s:I, s:o, s:o}", "log", cli_json_name(log, strlen(log)), "image",
					cli_json_name(image, strlen(image)), "generation", (json_int_t)g->generation,
					"digest", show_digest(g->digest), "selected", selection(o->view)));
}

static int create(const char *image, const char *redo, const struct cli_list *names, struct choice *choice,
		  struct opened *o, struct ply_err *err)
{
	_cleanup_buf_ struct buf memory = { 0 };
	struct redo_binding b;
	int r = open_view(image, names, choice, o, err);

	if (r == 0)
		r = parent_bind(o->view, o->decisions, o->ndecisions, &memory, &b, err);
	return r == 0 ? redo_create(redo, &b, err) : r;
}

int cmd_redo(int argc, char **argv)
{
	_cleanup_list_ struct cli_list names = { 0 };
	_cleanup_choice_ struct choice choice = { 0 };
	_cleanup_opened_ struct opened o = { 0 };
	const struct cli_opt opts[] = { SELECTION_OPTION(&names), CHOICE_OPTIONS(&choice), CLI_JSON, CLI_END };
	const struct cli_spec spec = {
		"redo", "create IMAGE REDO",
		"Make a log, REDO, on an image: mount it, and what is changed goes there; the image stays as it is.",
		opts, 1, 3
	};
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args);

	if (code < 0 && strcmp(args.v[0], "create") != 0)
		code = cli_usage("redo can create, not '%s'", args.v[0]);
	if (code < 0 && args.n < 3)
		code = cli_usage("an operand is missing: plyfs redo %s", spec.operands);
	if (code < 0)
		code = choice_check(&choice);
	if (code >= 0)
		return code;
	if (create(args.v[1], args.v[2], &names, &choice, &o, &err) < 0)
		return cli_fail(&err);
	return cli_json ? report(args.v[2], &o) : EXIT_DONE;
}
