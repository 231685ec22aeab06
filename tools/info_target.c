/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "info_target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "format/format.h"
#include "layout/journal.h"
#include "layout/layout.h"

static const char *state_of(const struct layout_look *l)
{
	if (l->open)
		return "a change is not complete";
	switch (l->found) {
	case LAYOUT_UNFINISHED:
		return "not complete";
	case LAYOUT_ABORTED:
		return "is being taken out";
	case LAYOUT_COMPLETE:
		return "complete";
	case LAYOUT_NOTHING:
		break;
	}
	return "complete";
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct layout_done *)a)->name, ((const struct layout_done *)b)->name);
}

static int print_json(const char *path, const struct layout_look *l)
{
	json_t *names = json_array(), *o;

	for (size_t i = 0; i < l->ndone; i++)
		json_array_append_new(names, json_pack("{s:s,s:b}", "name", l->done[i].name, "removable", l->done[i].own));
	o = json_pack("{s:o,s:s,s:o}", "target", cli_json_name(path, strlen(path)), "state", state_of(l), "components", names);
	if (o && l->saved) {
		char uuid[37], digest[65];

		uuid_format(l->saved->uuid, uuid);
		hex_encode(l->saved->catalog, sizeof(l->saved->catalog), digest);
		json_object_set_new(o, "image", json_pack("{s:o,s:s,s:s+,s:I}", "path",
							  cli_json_name(l->saved->image, strlen(l->saved->image)), "uuid", uuid,
							  "digest", "sha256:", digest, "generation",
							  (json_int_t)l->saved->generation));
	}
	return cli_print_json(o);
}

static void print_text(const char *path, const struct layout_look *l)
{
	char shown[1024], digest[65];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	printf("%s: laid out, %s\n", shown, state_of(l));
	if (l->saved) {
		escape_name_to(l->saved->image, strlen(l->saved->image), shown, sizeof(shown));
		hex_encode(l->saved->catalog, sizeof(l->saved->catalog), digest);
		printf("image      %s, generation %llu, sha256:%s\n", shown, (unsigned long long)l->saved->generation, digest);
	}
	printf("components");
	for (size_t i = 0; i < l->ndone; i++) {
		escape_name_to(l->done[i].name, strlen(l->done[i].name), shown, sizeof(shown));
		printf("%s %s", i ? "," : "", shown);
	}
	printf("\n");
}

int info_target(const char *path)
{
	struct layout_look look;
	struct ply_err err;
	int code = EXIT_DONE, r = layout_look(path, &look, &err);

	if (r == 0 && !look.ndone && !look.open && look.found == LAYOUT_NOTHING)
		r = ply_fail(&err, -ENOENT, PLY_R_TARGET_NOT_FOUND, "%s: is a directory that nothing was laid out into", path);
	if (r < 0) {
		layout_look_done(&look);
		return cli_fail(&err);
	}
	qsort(look.done, look.ndone, sizeof(*look.done), by_name);
	if (cli_json)
		code = print_json(path, &look);
	else
		print_text(path, &look);
	layout_look_done(&look);
	return code;
}
