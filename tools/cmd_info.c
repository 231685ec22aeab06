/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs info: what an image holds, from its catalog alone, so that the answer costs the same for
 * any number of files. The table has what one asks for daily and fits 80 columns; JSON has all.
 */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "format/format.h"
#include "open.h"
#include "show.h"
#include "verbs.h"

static json_t *sub_json(const struct ply_sub_info *s)
{
	json_t *requires = json_array(), *flags = json_array();

	for (uint32_t i = 0; i < s->nrequires; i++)
		json_array_append_new(requires, json_string(s->requires[i]));
	if (s->flags & PLY_SUB_OS)
		json_array_append_new(flags, json_string("os"));
	if (s->flags & PLY_SUB_INTERNAL)
		json_array_append_new(flags, json_string("internal"));
	return json_pack("{s:i,s:i,s:s,s:o,s:o,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o}",
			 "number", s->number, "rank", s->rank, "name", s->name, "flags", flags,
			 "uuid", show_uuid(s->uuid), "inodes", (json_int_t)(s->nodes - 1),
			 "size_bytes", (json_int_t)s->bytes, "stored_bytes", (json_int_t)s->stored,
			 "requires", requires, "arch", cli_json_name(s->arch, strlen(s->arch)),
			 "distro", cli_json_name(s->distro, strlen(s->distro)),
			 "summary", cli_json_name(s->summary, strlen(s->summary)),
			 "digest", show_digest(s->digest));
}

static int print_json(const struct ply_image *im)
{
	const struct ply_generation_info *g = ply_image_generation(im);
	json_t *subs = json_array(), *mounts = json_array();
	uint8_t uuid[16];
	json_t *o;

	for (uint32_t i = 0; i < ply_image_nsubs(im); i++)
		json_array_append_new(subs, sub_json(ply_image_sub_info(im, i)));
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
	return cli_print_json(o);
}

static void print_text(const char *label, const char *text)
{
	_cleanup_free_ char *shown = escape_name(text, strlen(text));

	if (*text && shown)
		printf("%-8s%s\n", label, shown);
}

/* The requirements of @s but os, which every one has. */
static void print_requires(const struct ply_sub_info *s)
{
	const char *comma = "  ";

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

int cmd_info(int argc, char **argv)
{
	const struct cli_opt opts[] = { CLI_JSON, CLI_END };
	const struct cli_spec spec = { "info", "IMAGE",
				       "Print what an image holds: its digest, generation and sub-images.",
				       opts, 1, 1 };
	struct ply_image *image;
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args);

	if (code >= 0)
		return code;
	if (open_image(args.v[0], &image, &err) < 0)
		return cli_fail(&err);
	code = EXIT_DONE;
	if (cli_json)
		code = print_json(image);
	else
		print_human(image);
	ply_image_close(image);
	return code;
}
