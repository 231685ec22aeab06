/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs relink: the image that a log stands on is in another place now. It must be that very image: UUID, generation and
 * digest are compared, then the log is told the path.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "logs.h"
#include "ops/parent.h"
#include "verbs.h"

/* Locked for writing, but nothing is written: it may be one that was interrupted, or frozen. */
static int open_log(const char *path, struct redo **ret, struct ply_err *err)
{
	struct redo_store *s;
	int r = redo_store_open(path, REDO_WRITE, &s, err);

	return r < 0 ? r : redo_open(s, 0, ret, err);
}

static int relink(const char *redo, const char *path, struct ply_image **ret_image, struct ply_err *err)
{
	struct redo *log;
	int r = open_log(redo, &log, err);

	if (r < 0)
		return r;
	r = parent_open_at(log, path, ret_image, err);
	if (r == 0 && strcmp(redo_binding(log)->path, ply_image_path(*ret_image)) != 0)
		r = redo_relink(log, ply_image_path(*ret_image), err);
	redo_abandon(log);
	return r;
}

int cmd_relink(int argc, char **argv)
{
	const struct cli_opt opts[] = { CLI_JSON, CLI_END };
	const struct cli_spec spec = {
		"relink", "REDO IMAGE", "Tell a log where the image that it stands on is now.", opts, 2, 2
	};
	struct ply_image *image = NULL;
	const char *is;
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args);

	if (code >= 0)
		return code;
	if (relink(args.v[0], args.v[1], &image, &err) < 0) {
		code = cli_fail(&err);
		if (err.reason == PLY_R_REDO_BUSY)
			log_tell_holder(args.v[0]);
		ply_image_close(image);
		return code;
	}
	is = ply_image_path(image);
	code = cli_json ?
		cli_print_json(json_pack("{s:o, s:o, s:I}", "log", cli_json_name(args.v[0], strlen(args.v[0])), "image",
					 cli_json_name(is, strlen(is)), "generation",
					 (json_int_t)ply_image_generation(image)->generation)) :
		EXIT_DONE;
	ply_image_close(image);
	return code;
}
