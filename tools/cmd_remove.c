/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs remove: what plyfs add put into an image out again. */
#include <stdio.h>
#include <string.h>

#include "add/add.h"
#include "cli.h"
#include "verbs.h"

int cmd_remove(int argc, char **argv)
{
	const struct cli_opt opts[] = {
		CLI_JSON,
		CLI_END
	};
	const struct cli_spec spec = { "remove", "IMAGE NAME",
				       "Leave a sub-image that was added out of the image's next generation.", opts, 2, 2 };
	struct ply_err err = { 0 };
	struct cli_args args;
	uint64_t generation;
	int r, code = cli_parse(&spec, argc, argv, &args);

	if (code >= 0)
		return code;
	r = add_remove(args.v[0], args.v[1], &generation, &err);
	if (r < 0)
		return cli_fail(&err);
	if (cli_json)
		return cli_print_json(json_pack("{s:o,s:s,s:I}", "image", cli_json_name(args.v[0], strlen(args.v[0])),
						"removed", args.v[1], "generation", (json_int_t)generation));
	printf("%s: generation %llu, without %s\n", args.v[0], (unsigned long long)generation, args.v[1]);
	return EXIT_DONE;
}
