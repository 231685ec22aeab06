/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs info: what an image holds, from its catalog and the headers of its sub-images alone, so that the answer
 * costs the same for any number of files. The table has what one asks for daily, comes from the
 * catalog, and fits 80 columns; JSON has all. Of a log: info_redo.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "cli.h"
#include "format/format.h"
#include "info_redo.h"
#include "info_target.h"
#include "open.h"
#include "redo/redo.h"
#include "show.h"
#include "sub/sub.h"
#include "verbs.h"

/* A sub-image that cannot be opened leaves out what only it knows. */
static json_t *sub_json(struct ply_image *im, uint32_t at, bool *damaged)
{
	const struct ply_sub_info *s = ply_image_sub_info(im, at);
	json_t *o, *requires = json_array(), *provides = json_array(), *flags = json_array();
	json_t *stands_on = json_array();
	struct ply_err err = { 0 };
	struct sub *sub;

	for (uint32_t i = 0; i < s->nprovides; i++)
		json_array_append_new(provides, cli_json_name(s->provides[i], strlen(s->provides[i])));
	for (uint32_t i = 0; i < s->nrequires; i++)
		json_array_append_new(requires, json_string(s->requires[i]));
	for (uint32_t i = 0; i < s->nstands_on; i++)
		json_array_append_new(stands_on, json_string(s->stands_on[i]));
	if (s->flags & PLY_SUB_OVERLAY)
		json_array_append_new(flags, json_string("overlay"));
	if (s->flags & PLY_SUB_OS)
		json_array_append_new(flags, json_string("os"));
	if (s->flags & PLY_SUB_INTERNAL)
		json_array_append_new(flags, json_string("internal"));
	o = json_pack("{s:i,s:i,s:s,s:o,s:o,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
		      "number", s->number, "rank", s->rank, "name", s->name, "flags", flags,
		      "uuid", show_uuid(s->uuid), "inodes", (json_int_t)(s->nodes - 1),
		      "size_bytes", (json_int_t)s->bytes, "stored_bytes", (json_int_t)s->stored,
		      "requires", requires, "stands_on", stands_on, "provides", provides, "arch", cli_json_name(s->arch, strlen(s->arch)),
		      "distro", cli_json_name(s->distro, strlen(s->distro)),
		      "summary", cli_json_name(s->summary, strlen(s->summary)),
		      "digest", show_digest(s->digest));
	if (image_sub(im, at, &sub, &err) < 0) {
		cli_note("%s: %s", s->name, err.msg);
		*damaged = true;
	} else {
		json_object_set_new(o, "shared_files", json_integer((json_int_t)sub_limits(sub)->shared));
		json_object_set_new(o, "records", json_integer((json_int_t)sub_limits(sub)->records));
	}
	return o;
}

static int print_json(struct ply_image *im)
{
	const struct ply_generation_info *g = ply_image_generation(im);
	json_t *subs = json_array(), *mounts = json_array();
	bool damaged = false;
	uint8_t uuid[16];
	int code;
	json_t *o;

	for (uint32_t i = 0; i < ply_image_nsubs(im); i++)
		json_array_append_new(subs, sub_json(im, i, &damaged));
	for (uint32_t i = 0; i < ply_image_nmounts(im); i++) {
		const struct ply_mount_info *m = ply_image_mount(im, i);

		json_array_append_new(mounts,
				      json_pack("{s:o,s:o,s:o}", "path", cli_json_name(m->path, strlen(m->path)),
						"type", cli_json_name(m->type, strlen(m->type)), "subtree",
						cli_json_name(m->subtree, strlen(m->subtree))));
	}
	ply_image_uuid(im, uuid);
	o = json_pack("{s:o,s:o,s:o,s:I,s:I,s:I,s:i,s:o,s:o,s:I,s:I,s:I,s:s?,s:o,s:o}",
		      "path", cli_json_name(ply_image_path(im), strlen(ply_image_path(im))),
		      "uuid", show_uuid(uuid), "digest", show_digest(g->digest),
		      "generation", (json_int_t)g->generation,
		      "parent_generation", (json_int_t)g->parent,
		      "time_s", (json_int_t)g->time_sec, "time_ns", (int)g->time_nsec,
		      "tool", cli_json_name(g->tool, strlen(g->tool)),
		      "message", cli_json_name(g->message, strlen(g->message)),
		      "catalog_bytes", (json_int_t)g->catalog_len,
		      "file_bytes", (json_int_t)ply_image_size(im),
		      "committed_end_bytes", (json_int_t)ply_image_committed_end(im),
		      "warning", ply_image_warning(im), "mounts", mounts, "sub_images", subs);
	code = cli_print_json(o);
	return code == EXIT_DONE && damaged ? EXIT_DAMAGE : code;
}

static void print_text(const char *label, const char *text)
{
	_cleanup_free_ char *shown = escape_name(text, strlen(text));

	if (*text && shown)
		printf("%-8s%s\n", label, shown);
}

/* The requirements of @s but os, which every one has; an overlay requires what it stands on. */
static void print_requires(const struct ply_sub_info *s)
{
	const char *comma = "  ";

	for (uint32_t k = 0; k < s->nstands_on; k++)
		printf("%s%s", k ? "," : "  on ", s->stands_on[k]);
	if (s->nstands_on)
		return;
	for (uint32_t k = 0; k < s->nrequires; k++) {
		if (!strcmp(s->requires[k], "os"))
			continue;
		printf("%s%s", comma, s->requires[k]);
		comma = ",";
	}
}

static void print_table(const struct ply_image *im)
{
	uint32_t n = ply_image_nsubs(im);
	uint64_t nodes = 0, bytes = 0, stored = 0;
	int width = 4;
	char a[16], b[16];

	for (uint32_t i = 0; i < n; i++)
		width = MAX(width, (int)MIN(strlen(ply_image_sub_info(im, i)->name), (size_t)32));
	printf("\n%5s  %-*s %9s %10s %10s  %s\n", "NUM", width, "NAME", "FILES", "SIZE", "STORED",
	       "REQUIRES");
	for (uint32_t i = 0; i < n; i++) {
		const struct ply_sub_info *s = ply_image_sub_info(im, i);

		printf("%5u  %-*s %9llu %10s %10s", s->number, width, s->name,
		       (unsigned long long)(s->nodes - 1), format_size(s->bytes, a),
		       format_size(s->stored, b));
		if (s->flags & PLY_SUB_INTERNAL)
			printf("  (internal)");
		print_requires(s);
		putchar('\n');
		nodes += s->nodes - 1;
		bytes += s->bytes;
		stored += s->stored;
	}
	if (n > 1)
		printf("%5s  %-*s %9llu %10s %10s\n", "", width, "all", (unsigned long long)nodes,
		       format_size(bytes, a), format_size(stored, b));
}

static void print_human(const struct ply_image *im)
{
	const struct ply_generation_info *g = ply_image_generation(im);
	const struct ply_sub_info *os = ply_image_sub_info(im, 0);
	char uuid[37], digest[65], when[32], size[16];
	uint8_t id[16];

	ply_image_uuid(im, id);
	uuid_format(id, uuid);
	hex_encode(g->digest, sizeof(g->digest), digest);
	print_text("image", ply_image_path(im));
	printf("%-8s%s\n", "uuid", uuid);
	printf("%-8ssha256:%s\n", "digest", digest);
	printf("%-8s%s, generation %llu", "time", show_time_utc(g->time_sec, when),
	       (unsigned long long)g->generation);
	if (g->parent)
		printf(" on generation %llu", (unsigned long long)g->parent);
	printf("\n%-8s%s (%llu bytes, committed to %llu)\n", "size",
	       format_size(ply_image_size(im), size), (unsigned long long)ply_image_size(im),
	       (unsigned long long)ply_image_committed_end(im));
	print_text("system", os->distro);
	print_text("arch", os->arch);
	print_text("tool", g->tool);
	print_text("message", g->message);
	for (uint32_t i = 0; i < ply_image_nmounts(im); i++) {
		const struct ply_mount_info *m = ply_image_mount(im, i);
		char path[512];

		escape_name_to(m->path, strlen(m->path), path, sizeof(path));
		printf("%-8s%s (%s, %s of it)\n", i ? "" : "mounts", path, m->type, m->subtree);
	}
	print_table(im);
}

/* --- why, identity --------------------------------------------------------------- */

/* A line "NAME ARCH VERSION WHY" of the blob, with tabs between; in place. */
static bool next_package(char **rest, const char *field[4])
{
	char *line = strsep(rest, "\n");

	if (!line || !*line)
		return false;
	for (int i = 0; i < 3; i++) {
		field[i] = strsep(&line, "\t");
		if (!line)
			return false;
	}
	field[3] = line;
	return true;
}

/* "libc6" or "libc6:amd64" */
static bool is_package(const char *const field[4], const char *wanted)
{
	size_t len = strlen(field[0]);

	return !strncmp(wanted, field[0], len) &&
	       (!wanted[len] || (wanted[len] == ':' && !strcmp(wanted + len + 1, field[1])));
}

static int print_why(const struct ply_image *im, const char *wanted)
{
	json_t *found = json_array();

	for (uint32_t i = 0; i < ply_image_nsubs(im); i++) {
		size_t len;
		const char *bytes = ply_image_blob(im, i, PLY_BLOB_PACKAGES, &len);
		_cleanup_free_ char *text = bytes ? strdup(bytes) : NULL;
		const char *sub = ply_image_sub_info(im, i)->name, *f[4];

		for (char *rest = text; rest && next_package(&rest, f);)
			if (is_package(f, wanted))
				json_array_append_new(found, json_pack(
					"{s:s,s:o,s:o,s:o,s:o}", "sub_image", sub, "package",
					cli_json_name(f[0], strlen(f[0])), "architecture",
					cli_json_name(f[1], strlen(f[1])), "version",
					cli_json_name(f[2], strlen(f[2])), "why", cli_json_name(f[3], strlen(f[3]))));
	}
	if (!json_array_size(found)) {
		json_decref(found);
		cli_note("no sub-image of this image has package %s", wanted);
		return EXIT_FAILED;
	}
	for (size_t i = 0; !cli_json && i < json_array_size(found); i++) {
		json_t *o = json_array_get(found, i);

		printf("%s:%s %s is in %s: %s\n", json_string_value(json_object_get(o, "package")),
		       json_string_value(json_object_get(o, "architecture")),
		       json_string_value(json_object_get(o, "version")),
		       json_string_value(json_object_get(o, "sub_image")),
		       json_string_value(json_object_get(o, "why")));
	}
	if (cli_json)
		return cli_print_json(json_pack("{s:o}", "packages", found));
	json_decref(found);
	return EXIT_DONE;
}

static int identity_of(struct ply_image *im, uint32_t i, json_t *all, struct ply_err *err)
{
	static const char *const actions[] = { "", "remove", "empty", "set", "secret" };
	const char *name = ply_image_sub_info(im, i)->name;
	_cleanup_buf_ struct buf path = { 0 };
	struct sub *s;
	int r = image_sub(im, i, &s, err);

	for (uint64_t m = 0; r == 0 && m < sub_mark_count(s); m++) {
		struct sub_mark mark;
		uint32_t action;
		char *shown;

		r = sub_mark(s, m, &mark, err);
		if (r < 0)
			break;
		action = (mark.mark & PLY_MARK_IDENTITY) >> 4;
		if (!action)
			continue;
		r = sub_node_path(s, mark.index, &path, err);
		if (r < 0)
			break;
		shown = escape_name((const char *)path.data, path.len - 1);
		if (!shown)
			return ply_fail_nomem(err);
		if (cli_json)
			json_array_append_new(all, json_pack("{s:s+,s:s,s:s}", "path", "/", shown, "sub_image", name,
							     "action", action < 5 ? actions[action] : "unknown"));
		else
			printf("%-6s  %s  /%s\n", action < 5 ? actions[action] : "unknown", name, shown);
		free(shown);
	}
	return r;
}

static int print_identity(struct ply_image *im)
{
	json_t *all = json_array();
	struct ply_err err = { 0 };
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < ply_image_nsubs(im); i++)
		r = identity_of(im, i, all, &err);
	if (r == 0 && cli_json)
		return cli_print_json(json_pack("{s:o}", "identity", all));
	json_decref(all);
	return r < 0 ? cli_fail(&err) : EXIT_DONE;
}

int cmd_info(int argc, char **argv)
{
	const char *why = NULL;
	bool identity = false;
	const struct cli_opt opts[] = {
		{ "why", 0, "PACKAGE", "print which sub-image has the package, and why", CLI_TEXT, &why },
		{ "identity", 0, NULL, "print the files that make this machine another than its copy", CLI_FLAG,
		  &identity },
		CLI_JSON,
		CLI_END
	};
	const struct cli_spec spec = { "info", "IMAGE|REDO|TARGET",
				       "Print what an image holds: its digest, generation and sub-images; or what a log stands on "
				       "and holds; or what was laid out into a directory.",
				       opts, 1, 1 };
	struct ply_image *image;
	struct cli_args args;
	struct ply_err err;
	struct stat st;
	int code = cli_parse(&spec, argc, argv, &args);

	if (code >= 0)
		return code;
	if (stat(args.v[0], &st) == 0 && S_ISDIR(st.st_mode))
		return why || identity ? cli_usage("--why and --identity are about an image") : info_target(args.v[0]);
	if (redo_is_log(args.v[0]))
		return why || identity ? cli_usage("--why and --identity are about an image") : info_redo(args.v[0]);
	if (open_image(args.v[0], &image, &err) < 0)
		return cli_fail(&err);
	code = EXIT_DONE;
	if (why)
		code = print_why(image, why);
	else if (identity)
		code = print_identity(image);
	else if (cli_json)
		code = print_json(image);
	else
		print_human(image);
	ply_image_close(image);
	return code;
}
