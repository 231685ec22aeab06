/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs stats: what the daemon of a mount says about itself (fs/fuse/stats.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "mounted.h"
#include "verbs.h"

static int fetch(const struct mounted *m, char **ret, struct ply_err *err)
{
	*ret = mounted_stats(m);
	if (*ret)
		return 0;
	if (mounted_is_dead(m))
		return mounted_died(m, err);
	return ply_fail(err, -EACCES, PLY_R_NOT_MOUNTED,
			"%s: its daemon does not answer: it tells root and user %u, who mounted it", m->mountpoint,
			(unsigned)m->owner);
}

/* --- the answer as JSON ----------------------------------------------------------------------- */

/* "log_syncs 5" is syncs of the object "log"; keys that are counted in bytes say so already. */
static void add_number(json_t *all, json_t *log, const char *key, const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end || end == text || value > INT64_MAX)
		return;
	if (!strncmp(key, "log_", 4))
		json_object_set_new(log, key + 4, json_integer((json_int_t)value));
	else
		json_object_set_new(all, key, json_integer((json_int_t)value));
}

static void add_line(json_t *all, json_t *selected, json_t *kinds, json_t *log, char *line)
{
	char *value = strchr(line, ' '), *count;

	if (!value)
		return;
	*value++ = '\0';
	if (!strcmp(line, "selected")) {
		json_array_append_new(selected, cli_json_name(value, strlen(value)));
	} else if (!strcmp(line, "request")) {
		count = strchr(value, ' ');
		if (!count)
			return;
		*count++ = '\0';
		add_number(kinds, kinds, value, count);
	} else if (strcmp(line, "decision") != 0) {
		add_number(all, log, line, value);
	}
}

static json_t *understand(char *text, const struct mounted *m)
{
	json_t *selected = json_array(), *kinds = json_object(), *log = json_object();
	json_t *all = json_pack("{s:o,s:o}", "mountpoint", cli_json_name(m->mountpoint, strlen(m->mountpoint)),
				"source", cli_json_name(m->source, strlen(m->source)));

	for (char *line; (line = strsep(&text, "\n"));)
		add_line(all, selected, kinds, log, line);
	json_object_set_new(all, "selected", selected);
	json_object_set_new(all, "requests_by_kind", kinds);
	if (json_object_size(log))
		json_object_set_new(all, "log", log);
	else
		json_decref(log);
	return all;
}

/* --- and for people ----------------------------------------------------------------------------- */

static unsigned long long number(const json_t *o, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(o, key));
}

static const char *size(const json_t *o, const char *key, char out[16])
{
	return format_size(number(o, key), out);
}

static void print_requests(const json_t *all)
{
	const char *kind, *comma = ": ";
	json_t *kinds = json_object_get(all, "requests_by_kind"), *count;

	printf("%-9s%llu", "requests", number(all, "requests"));
	json_object_foreach(kinds, kind, count) {
		printf("%s%s %lld", comma, kind, (long long)json_integer_value(count));
		comma = ", ";
	}
	putchar('\n');
}

static void print_log(const json_t *log)
{
	unsigned long long syncs = number(log, "syncs");
	char a[16], b[16], c[16], d[16];

	printf("%-9s%s, %s of data, %s to be given back, %s of records%s\n", "log", size(log, "size_bytes", a),
	       size(log, "live_bytes", b), size(log, "dead_bytes", c), size(log, "record_bytes", d),
	       number(log, "writable") ? "" : "; read-only");
	if (number(log, "removed"))
		printf("%-9sremoved meanwhile: all of it is lost when the mount ends\n", "");
	printf("%-9s%llu inodes, %llu entries, %llu extents\n", "", number(log, "inodes"), number(log, "entries"),
	       number(log, "extents"));
	printf("%-9s%llu for %llu who waited", "syncs", syncs, number(log, "commits"));
	if (syncs)
		printf(", %.3f ms each, %.3f ms the longest", (double)number(log, "sync_ns") / (double)syncs / 1e6,
		       (double)number(log, "sync_max_ns") / 1e6);
	putchar('\n');
}

static void print_human(const json_t *all)
{
	json_t *selected = json_object_get(all, "selected");
	char a[16], b[16];

	printf("%-9s%s on %s, process %llu\n", "mount", json_string_value(json_object_get(all, "source")),
	       json_string_value(json_object_get(all, "mountpoint")), number(all, "pid"));
	printf("%-9sgeneration %llu", "image", number(all, "generation"));
	for (size_t i = 0; i < json_array_size(selected); i++)
		printf("%s%s", i ? ", " : ": ", json_string_value(json_array_get(selected, i)));
	putchar('\n');
	print_requests(all);
	printf("%-9s%s read, %s written\n", "data", size(all, "read_bytes", a), size(all, "write_bytes", b));
	printf("%-9s%s, %llu hits, %llu misses\n", "cache", size(all, "cache_bytes", a), number(all, "cache_hits"),
	       number(all, "cache_misses"));
	if (json_object_get(all, "log"))
		print_log(json_object_get(all, "log"));
}

int cmd_stats(int argc, char **argv)
{
	const struct cli_opt opts[] = { CLI_JSON, CLI_END };
	const struct cli_spec spec = {
		"stats", "DIR", "Print what the daemon of a mount has done, and how its log is.", opts, 1, 1
	};
	_cleanup_mounted_ struct mounted m = { 0 };
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	struct cli_args args;
	struct ply_err err;
	json_t *all;
	int code = cli_parse(&spec, argc, argv, &args), r;

	if (code >= 0)
		return code;
	r = mounted_open(args.v[0], &m, &fd, &err);
	if (r == 0)
		r = fetch(&m, &text, &err);
	if (r < 0)
		return cli_fail(&err);
	all = understand(text, &m);
	if (cli_json)
		return cli_print_json(all);
	print_human(all);
	json_decref(all);
	return EXIT_DONE;
}
