/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs info of a log. It is only looked at, and may be in use meanwhile; opening it costs what was written since its
 * last checkpoint. The image below is opened too, so that what is said of it is so.
 */
#include "info_redo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "format/format.h"
#include "holders.h"
#include "logs.h"
#include "ops/parent.h"
#include "show.h"

static const char *const states[] = { "", "open", "clean", "frozen" };

struct facts {
	const char *path;
	struct redo *log;
	struct redo_info info;
	struct ply_image *image;   /* NULL: it is not there; why */
	struct ply_err why;
	struct holder holder;      /* pid 0: nobody has it locked, as far as can be seen */
	char command[256];
};

/* --- JSON ---------------------------------------------------------------------------------- */

static json_t *chain(const struct facts *f)
{
	const struct redo_binding *b = redo_binding(f->log);
	const char *place = f->image ? ply_image_path(f->image) : b->path;
	json_t *parent = json_pack("{s:s,s:o,s:o,s:o}", "kind", b->parent_generation ? "image" : "log", "path",
				   cli_json_name(place, strlen(place)), "uuid", show_uuid(b->parent_uuid), "digest",
				   show_digest(b->parent_digest));

	if (b->parent_generation)
		json_object_set_new(parent, "generation", json_integer((json_int_t)b->parent_generation));
	if (!f->image)
		json_object_set_new(parent, "error", cli_json_error(&f->why));
	return json_pack("[{s:s,s:o,s:o},o]", "kind", "log", "path", cli_json_name(f->path, strlen(f->path)), "uuid",
			 show_uuid(f->info.uuid), parent);
}

static json_t *selection(const struct redo_binding *b)
{
	json_t *a = json_array();

	for (const char *n = redo_binding_name(b, NULL); n; n = redo_binding_name(b, n))
		json_array_append_new(a, cli_json_name(n, strlen(n)));
	return a;
}

static int print_json(const struct facts *f)
{
	const struct redo_binding *b = redo_binding(f->log);
	const struct redo_info *i = &f->info;
	json_t *o = json_pack("{s:o,s:o,s:s,s:b,s:i,s:I,s:o,s:i}", "path", cli_json_name(f->path, strlen(f->path)),
			      "uuid", show_uuid(i->uuid), "state", states[i->state], "damaged", i->damaged, "number",
			      (int)b->number, "time_s", (json_int_t)i->created_sec, "selected", selection(b),
			      "decisions", (int)b->ndecisions);
	json_t *more = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "file_bytes", (json_int_t)i->size,
				 "live_bytes", (json_int_t)i->data_live, "dead_bytes", (json_int_t)i->data_dead,
				 "record_bytes", (json_int_t)i->tail_lsn, "records_to_replay", (json_int_t)i->records,
				 "inodes", (json_int_t)i->inodes, "entries", (json_int_t)i->entries, "extents",
				 (json_int_t)i->extents, "chain", chain(f));

	if (o && more)
		json_object_update(o, more);
	json_decref(more);
	if (o && f->holder.pid)
		json_object_set_new(o, "in_use_by", json_integer(f->holder.pid));
	if (o && *i->warning)
		json_object_set_new(o, "warning", cli_json_name(i->warning, strlen(i->warning)));
	return cli_print_json(o);
}

/* --- for people ------------------------------------------------------------------------------ */

static void print_name(const char *label, const char *text, const char *behind)
{
	_cleanup_free_ char *shown = escape_name(text, strlen(text));

	printf("%-10s%s%s\n", label, shown ? shown : "?", behind);
}

static void print_parent(const struct facts *f)
{
	const struct redo_binding *b = redo_binding(f->log);
	char uuid[37], digest[65];

	uuid_format(b->parent_uuid, uuid);
	hex_encode(b->parent_digest, sizeof(b->parent_digest), digest);
	print_name(b->parent_generation ? "image" : "parent", f->image ? ply_image_path(f->image) : b->path,
		   f->image ? "" : " (last seen there)");
	printf("%-10s%s", "", uuid);
	if (b->parent_generation)
		printf(", generation %llu", (unsigned long long)b->parent_generation);
	printf("\n%-10ssha256:%s\n", "", digest);
	printf("%-10s", "selection");
	for (const char *n = redo_binding_name(b, NULL); n; n = redo_binding_name(b, n)) {
		_cleanup_free_ char *shown = escape_name(n, strlen(n));

		printf("%s%s", n == b->names ? "" : ", ", shown ? shown : "?");
	}
	if (b->ndecisions)
		printf(" (%u decisions)", b->ndecisions);
	putchar('\n');
}

static void print_human(const struct facts *f)
{
	const struct redo_info *i = &f->info;
	char uuid[37], when[32], a[16], b[16], c[16], d[16];

	uuid_format(i->uuid, uuid);
	print_name("log", f->path, "");
	printf("%-10s%s\n%-10s%s\n", "uuid", uuid, "time", show_time_utc(i->created_sec, when));
	if (f->holder.pid)
		printf("%-10sin use by process %ld (%s)\n", "state", (long)f->holder.pid, f->holder.command);
	else
		printf("%-10s%s%s\n", "state", states[i->state],
		       i->state == PLY_REDO_OPEN ? ": in use, or was interrupted" : "");
	printf("%-10s%s: %s of data, %s to be given back, %s of records\n", "size", format_size(i->size, a),
	       format_size(i->data_live, b), format_size(i->data_dead, c), format_size(i->tail_lsn, d));
	printf("%-10s%llu inodes, %llu entries, %llu extents; %llu records to replay\n", "changes",
	       (unsigned long long)i->inodes, (unsigned long long)i->entries, (unsigned long long)i->extents,
	       (unsigned long long)i->records);
	printf("%-10s%u\n", "number", redo_binding(f->log)->number);
	print_parent(f);
}

int info_redo(const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	struct facts f = { .path = real ? real : path };
	struct ply_err err;
	int code;

	if (log_look(path, &f.log, &err) < 0)
		return cli_fail(&err);
	redo_info(f.log, &f.info);
	if (parent_open(f.log, f.path, &f.image, &f.why) < 0)
		cli_note("warning: %s", f.why.msg);
	if (f.info.state == PLY_REDO_OPEN)
		holders_lock(f.path, &f.holder, f.command, sizeof(f.command));
	if (*f.info.warning)
		cli_note("warning: %s", f.info.warning);
	code = EXIT_DONE;
	if (cli_json)
		code = print_json(&f);
	else
		print_human(&f);
	if (code == EXIT_DONE && f.info.damaged)
		code = EXIT_DAMAGE;
	ply_image_close(f.image);
	redo_abandon(f.log);
	return code;
}
