/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs verify: prints what fs/ops/verify finds. Damage of the image is exit code 4; a tree that
 * differs from it is 1: the image may be perfectly sound.
 *
 * An image to be verified is one that is not trusted: when it and DIR are open, and before a byte of it
 * is read, the process confines itself (base/sandbox.h).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "base/util.h"
#include "cli.h"
#include "codec/codec.h"
#include "io/io.h"
#include "logs.h"
#include "open.h"
#include "ops/verify.h"
#include "progress.h"
#include "show.h"
#include "verbs.h"

struct verifier {
	struct show_array json;
	uint64_t damaged, different;
};

static json_t *finding_json(const struct finding *f)
{
	json_t *o = json_pack("{s:s,s:o}", "reason", ply_reason_name(f->reason), "message",
			      cli_json_name(f->message, strlen(f->message)));
	json_t *paths;

	if (!o)
		return NULL;
	if (f->sub)
		json_object_set_new(o, "sub_image", json_string(f->sub));
	if (f->len) {
		json_object_set_new(o, "off", json_integer((json_int_t)f->off));
		json_object_set_new(o, "length_bytes", json_integer((json_int_t)f->len));
	}
	if (f->field) {
		json_object_set_new(o, "field", json_string(f->field));
		json_object_set_new(o, "expected", f->expected ? json_string(f->expected) : json_null());
		json_object_set_new(o, "found", f->found ? json_string(f->found) : json_null());
	}
	if (f->all_paths) {
		paths = json_array();
		for (size_t i = 0; i < f->npaths; i++)
			json_array_append_new(paths, cli_json_name(f->paths[i], strlen(f->paths[i])));
		json_object_set_new(o, "paths", paths);
		json_object_set_new(o, "all_paths", json_integer((json_int_t)f->all_paths));
	}
	return o;
}

static void print_path(const char *before, const char *path, const char *after)
{
	_cleanup_free_ char *shown = escape_name(path, strlen(path));

	printf("%s%s%s", before, shown ? shown : "?", after);
}

static void print_finding(void *ctx, const struct finding *f)
{
	struct verifier *v = ctx;

	if (f->reason == PLY_R_DIFFERENT || f->reason == PLY_R_SYSTEM)
		v->different++;
	else
		v->damaged++;
	if (cli_json) {
		show_item(&v->json, finding_json(f));
		return;
	}
	if (f->field || f->reason == PLY_R_SYSTEM) {   /* a difference is about one file */
		if (f->npaths)
			print_path("", f->paths[0], ": ");
		printf("%s\n", f->message);
		return;
	}
	printf("%s: %s%s%s\n", ply_reason_name(f->reason), f->sub ? f->sub : "", f->sub ? ": " : "",
	       f->message);
	for (size_t i = 0; i < f->npaths; i++)
		print_path("  ", f->paths[i], "\n");
	if (f->all_paths > f->npaths)
		printf("  and %llu more\n", (unsigned long long)(f->all_paths - f->npaths));
}

static int open_dir(const char *dir, int *ret_fd, struct ply_err *err)
{
	*ret_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return ply_fail(err, -errno, errno == ENOENT ? PLY_R_TARGET_NOT_FOUND :
				errno == ENOTDIR ? PLY_R_TARGET_NOT_DIRECTORY : PLY_R_SYSTEM,
				"%s: %s", dir, strerror(errno));
	return 0;
}

/* Descriptors that the caller left open: ours are all close-on-exec, so what came through exec is not. A
 * confined process must not be able to write to what it did not ask for. */
static void close_inherited(void)
{
	DIR *fds = opendir("/proc/self/fd");
	const struct dirent *de;

	while (fds && (de = readdir(fds))) {
		int fd = atoi(de->d_name), flags = fd > 2 ? fcntl(fd, F_GETFD) : -1;

		if (flags >= 0 && !(flags & FD_CLOEXEC))
			close(fd);
	}
	if (fds)
		closedir(fds);
}

/* @dir is -1 where there is nothing to compare with. */
static unsigned confine(int dir)
{
	/* Files of others, whose access times must not change (O_NOATIME), and trusted.* attributes. */
	const uint64_t to_compare = 1ULL << CAP_DAC_READ_SEARCH | 1ULL << CAP_FOWNER | 1ULL << CAP_SYS_ADMIN;
	const struct sandbox allow = {
		.capabilities = dir >= 0 ? to_compare : 0,
		.syscalls = dir >= 0 ? SANDBOX_TREES : 0,
		.readable = &dir,
		.nreadable = dir >= 0,
	};
	uint8_t digest[32];

	close_inherited();
	sha256_once("", 0, digest);   /* libcrypto reads its configuration at first use, */
	json_object_seed(0);          /* and jansson /dev/urandom */
	return sandbox_enter(&allow);
}

/* @io is consumed. */
static int compare(struct verifier *v, const char *image, struct io *io, uint64_t generation,
		   const struct cli_list *select, struct choice *choice, int dir, const struct verify_options *o,
		   struct compare_result *ret, struct ply_err *err)
{
	struct opened opened _cleanup_opened_ = { 0 };

	if (open_view_io(image, io, generation, select, choice, &opened, err) < 0)
		return err->code;
	return verify_against(opened.view, dir, o, print_finding, v, ret, err);
}

static json_t *confined_json(unsigned has)
{
	json_t *a = json_array();
	const char *name;

	for (unsigned i = 0; (name = sandbox_name(has, i)); i++)
		json_array_append_new(a, json_string(name));
	return a;
}

static json_t *result_json(const struct verifier *v, const struct verify_result *r,
			   const struct compare_result *c)
{
	json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "damaged", (json_int_t)v->damaged,
			      "segments", (json_int_t)r->segments, "metadata_pages",
			      (json_int_t)r->pages, "blocks", (json_int_t)r->blocks, "inodes",
			      (json_int_t)r->nodes, "checked_bytes", (json_int_t)r->checked,
			      "unreferenced_bytes", (json_int_t)r->unreferenced, "trailing_bytes",
			      (json_int_t)r->trailing);

	if (o && r->generation) {
		json_object_set_new(o, "generation", json_integer((json_int_t)r->generation));
		json_object_set_new(o, "uuid", show_uuid(r->uuid));
		json_object_set_new(o, "digest", show_digest(r->digest));
	}
	if (o && c) {
		json_object_set_new(o, "different", json_integer((json_int_t)v->different));
		json_object_set_new(o, "compared_files", json_integer((json_int_t)c->files));
		json_object_set_new(o, "compared_bytes", json_integer((json_int_t)c->bytes));
		json_object_set_new(o, "skipped_mounts", json_integer((json_int_t)c->skipped));
	}
	return o;
}

static void print_result(const struct verifier *v, const struct verify_result *r,
			 const struct compare_result *c, const char *dir, bool deep)
{
	char size[16], digest[65];

	if (r->generation) {
		hex_encode(r->digest, sizeof(r->digest), digest);
		printf("generation %llu, sha256:%s\n", (unsigned long long)r->generation, digest);
	}
	printf("%llu segments, %llu metadata pages, %llu data blocks",
	       (unsigned long long)r->segments, (unsigned long long)r->pages,
	       (unsigned long long)r->blocks);
	if (deep)
		printf(", %llu files", (unsigned long long)r->nodes);
	printf(", %s: ", format_size(r->checked, size));
	if (v->damaged)
		printf("%llu damaged places\n", (unsigned long long)v->damaged);
	else
		printf("no damage\n");
	if (r->trailing)
		printf("%llu bytes behind the committed end belong to nobody: what an interrupted commit "
		       "left\n", (unsigned long long)r->trailing);
	if (!c)
		return;
	printf("%s: %llu files and %s of data compared: ", dir, (unsigned long long)c->files,
	       format_size(c->bytes, size));
	if (v->different)
		printf("%llu differences", (unsigned long long)v->different);
	else
		printf("no difference");
	if (c->skipped)
		printf("; %llu mounted places were not looked into", (unsigned long long)c->skipped);
	putchar('\n');
}

static bool parse_digest(const char *text, uint8_t ret[32])
{
	return !strncmp(text, "sha256:", 7) && strlen(text) == 7 + 64 && hex_decode(text + 7, ret, 32);
}

/* --- a log ------------------------------------------------------------------------------------ */

static void find_in_log(struct verifier *v, enum ply_reason reason, const char *message, uint64_t off, uint64_t len)
{
	const struct finding f = { .reason = reason, .message = message, .off = off, .len = len };

	print_finding(v, &f);
}

static int find_bad_data(void *ctx, const struct redo_bad *bad)
{
	char text[256];

	snprintf(text, sizeof(text), "inode %u:%llu: %llu bytes at %llu %s (at byte %llu of the log)",
		 PLY_INO_NUMBER(bad->ino), (unsigned long long)PLY_INO_INDEX(bad->ino), (unsigned long long)bad->len,
		 (unsigned long long)bad->off, bad->reason == PLY_R_REDO_DATA ? "are damaged" : "cannot be read",
		 (unsigned long long)bad->addr);
	find_in_log(ctx, bad->reason, text, bad->off, bad->len);
	return 0;
}

static int look_at_log(struct verifier *v, struct redo *log, struct redo_info *info, uint64_t *ret_bytes,
		       struct ply_err *err)
{
	redo_info(log, info);
	if (*info->warning)
		find_in_log(v, info->damaged ? PLY_R_REDO_DAMAGED : PLY_R_REDO_SUPER, info->warning, 0, 0);
	return redo_verify(log, find_bad_data, v, ret_bytes) < 0 ? ply_fail_nomem(err) : 0;
}

/* Nobody may write to it meanwhile. */
static int verify_log(const char *path, bool no_sandbox)
{
	struct verifier v = { 0 };
	struct redo_info info = { 0 };
	struct redo *log = NULL;
	struct redo_store *s;
	uint64_t bytes = 0;
	struct ply_err err;
	char size[16];
	unsigned has;
	int r = redo_store_open(path, 0, &s, &err), code;

	if (r < 0) {
		code = cli_fail(&err);
		if (err.reason == PLY_R_REDO_BUSY)
			log_tell_holder(path);
		return code;
	}
	has = no_sandbox ? 0 : confine(-1);
	if (cli_json)
		show_begin(&v.json, json_pack("{s:o,s:o}", "log", cli_json_name(path, strlen(path)), "confined",
					      confined_json(has)), "findings");
	r = redo_open(s, 0, &log, &err);
	if (r == 0)
		r = look_at_log(&v, log, &info, &bytes, &err);
	v.damaged += v.different;      /* what cannot be read, too */
	code = v.damaged ? EXIT_DAMAGE : EXIT_DONE;
	if (r < 0) {
		cli_note("%s", err.msg);
		code = MAX(code, cli_exit_code(&err));
	}
	if (cli_json) {
		json_t *tail = json_pack("{s:I,s:I,s:I,s:I,s:I}", "damaged", (json_int_t)v.damaged, "records_replayed",
					 (json_int_t)info.records, "inodes", (json_int_t)info.inodes, "entries",
					 (json_int_t)info.entries, "checked_bytes", (json_int_t)bytes);

		if (r < 0)
			json_object_set_new(tail, "error", cli_json_error(&err));
		r = show_end(&v.json, tail);
		code = MAX(code, r);
	} else if (r == 0) {
		printf("%llu inodes, %llu entries, %llu records behind the checkpoint, %s of data: ",
		       (unsigned long long)info.inodes, (unsigned long long)info.entries,
		       (unsigned long long)info.records, format_size(bytes, size));
		if (v.damaged)
			printf("%llu damaged places\n", (unsigned long long)v.damaged);
		else
			printf("no damage\n");
	}
	redo_abandon(log);
	return code;
}

/* --- the verb --------------------------------------------------------------------------------- */

int cmd_verify(int argc, char **argv)
{
	struct cli_list select _cleanup_list_ = { 0 };
	struct choice choice _cleanup_choice_ = { 0 };
	const char *against = NULL, *digest_text = NULL, *progress_text = NULL;
	struct verify_options o = { 0 };
	bool no_sandbox = false;
	const struct cli_opt opts[] = {
		{ "deep", 0, NULL, "decode every block, check every table against the others", CLI_FLAG,
		  &o.deep },
		{ "digest", 0, "sha256:HEX", "the digest that the generation must have", CLI_TEXT,
		  &digest_text },
		{ "against", 0, "DIR", "compare the tree in DIR with the image, too", CLI_TEXT, &against },
		SELECTION_OPTION(&select),
		CHOICE_OPTIONS(&choice),
		{ "jobs", 'j', "N", "threads (default: one for each processor)", CLI_NUMBER, &o.threads },
		{ "no-sandbox", 0, NULL, "do not confine the process: to debug it", CLI_FLAG, &no_sandbox },
		PROGRESS_OPTION(&progress_text),
		CLI_JSON, CLI_END
	};
	const struct cli_spec spec = { "verify", "IMAGE|REDO",
				       "Check an image or a log for damage, and a tree against an image.", opts, 1, 1 };
	struct progress_counters counters = { 0 };
	struct verify_result result = { 0 };
	struct compare_result compared = { 0 };
	struct verifier v = { 0 };
	_cleanup_close_ int dir = -1;
	struct io *io = NULL;
	struct progress *progress;
	struct cli_args args;
	struct ply_err err;
	uint64_t generation;
	unsigned has = 0;
	uint8_t digest[32];
	int code = cli_parse(&spec, argc, argv, &args), mode, r;

	if (code < 0)
		code = choice_check(&choice);
	if (code >= 0)
		return code;
	mode = progress_mode(progress_text);
	if (mode < 0)
		return cli_usage("--progress takes auto, never or json, not '%s'", progress_text);
	if (digest_text && !parse_digest(digest_text, digest))
		return cli_usage("--digest takes sha256: and 64 hex digits, not '%s'", digest_text);
	if (select.n && !against)
		return cli_usage("--select is for --against: a whole image is checked");
	if ((choice.policy || choice.on_collision) && !against)
		return cli_usage("--policy and --on-collision are for --against: a whole image is checked");
	if (redo_is_log(args.v[0])) {
		if (against || digest_text || o.deep)
			return cli_usage("%s is a log, of which all is checked: --against, --digest and --deep are for "
					 "images",
					 args.v[0]);
		return verify_log(args.v[0], no_sandbox);
	}
	o.digest = digest_text ? digest : NULL;
	o.bytes = &counters.bytes;
	o.files = &counters.files;
	atomic_store(&counters.phase, "check");
	r = image_io_open(args.v[0], &io, &generation, &err);
	if (r == 0 && against)
		r = open_dir(against, &dir, &err);
	if (r == 0)
		r = choice_read(&choice, &err);
	if (r == 0 && !no_sandbox)
		has = confine(dir);
	if (cli_json)
		show_begin(&v.json, json_pack("{s:o,s:b,s:o}", "image",
					      cli_json_name(args.v[0], strlen(args.v[0])), "deep", o.deep,
					      "confined", confined_json(has)), "findings");
	progress = progress_begin((enum progress_mode)mode, "verify", &counters);
	if (r == 0) {
		r = verify_io(io, generation, &o, print_finding, &v, &result, &err);
		if (r < 0)
			ply_err_prefix(&err, "%s", args.v[0]);
	}
	if (r == 0 && against && result.generation) {
		atomic_store(&counters.phase, "compare");
		r = compare(&v, args.v[0], TAKE_PTR(io), generation, &select, &choice, dir, &o, &compared, &err);
	}
	io_close(io);
	progress_end(progress);
	code = v.damaged ? EXIT_DAMAGE : v.different ? EXIT_FAILED : EXIT_DONE;
	if (r < 0) {
		cli_note("%s", err.msg);
		code = MAX(code, cli_exit_code(&err));
	}
	if (cli_json) {
		json_t *tail = result_json(&v, &result, against ? &compared : NULL);

		if (r < 0)
			json_object_set_new(tail, "error", cli_json_error(&err));
		r = show_end(&v.json, tail);
		return MAX(code, r);
	}
	if (r == 0)
		print_result(&v, &result, against ? &compared : NULL, against, o.deep);
	return code;
}
