/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs origin: which sub-image a file is from. A path on a mount is found through its inode number,
 * which names a node of the image, so every type of file and every name of it will do, and nothing but
 * lstat is asked of the mount. The image stands in mountinfo; the selection and the generation are told
 * by the daemon, to root and to the owner of the mount. Others are told about the whole image. A log
 * that is mounted knows all that by itself, and what of the file it has.
 *
 * Of a shared file each record is told, with the components that bring it.
 *
 * One mount at a time is kept open: paths of one mount usually come together.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mnt.h"
#include "base/util.h"
#include "cli.h"
#include "logs.h"
#include "merge/merge.h"
#include "merged.h"
#include "mounted.h"
#include "open.h"
#include "ops/parent.h"
#include "show.h"
#include "tree/view_internal.h"
#include "verbs.h"

struct mount {
	struct mounted at;
	char *answer;              /* of the daemon; the names below are pieces of it */
	struct cli_list selected;
	struct ply_decision *decisions;    /* that the daemon goes by */
	size_t ndecisions, decisions_cap;
	char *image;               /* with the generation, where it is known */
	struct redo *log;          /* that is mounted; NULL: an image is */
};

/* What the log of a mount has of a file. */
enum in_log { IN_LOG_NOTHING, IN_LOG_CHANGES, IN_LOG_CONTENT, IN_LOG_ALL };

struct origin {
	struct mount mount;
	bool is_open;
	struct opened opened;      /* of the mount, or of --image */
	struct choice choice;
	struct show_array json;
	int code;
};

static void mount_done(struct mount *m)
{
	mounted_done(&m->at);
	free(m->answer);
	free(m->image);
	free(m->decisions);
	cli_list_done(&m->selected);
	redo_abandon(m->log);
	*m = (struct mount){ 0 };
}

/* --- the mount ------------------------------------------------------------------------ */

/* "A B RULE DRIVER", in hex. What the daemon says is not believed: the view checks it. */
static int add_decision(struct mount *m, const char *text)
{
	unsigned long long a, b;
	unsigned rule, driver;

	if (sscanf(text, "%llx %llx %x %x", &a, &b, &rule, &driver) != 4 || rule > UINT8_MAX || driver > UINT16_MAX)
		return 0;
	if (array_grow(&m->decisions, &m->decisions_cap, m->ndecisions + 1, sizeof(*m->decisions)) < 0)
		return -ENOMEM;
	m->decisions[m->ndecisions++] = (struct ply_decision){ a, b, (uint8_t)rule, (uint16_t)driver };
	return 0;
}

/* Selection, decisions and generation out of the daemon's answer. */
static int understand(struct mount *m)
{
	char *rest = m->answer, *generation = NULL;

	for (char *line; (line = strsep(&rest, "\n"));) {
		if (!strncmp(line, "selected ", 9) && cli_list_add(&m->selected, line + 9) < 0)
			return -ENOMEM;
		if (!strncmp(line, "decision ", 9) && add_decision(m, line + 9) < 0)
			return -ENOMEM;
		if (!strncmp(line, "generation ", 11))
			generation = line + 11;
	}
	/* a source with "@N" that is no file has its generation already */
	if (generation && access(m->at.source, F_OK) == 0)
		return asprintf(&m->image, "%s@%s", m->at.source, generation) < 0 ? -ENOMEM : 0;
	m->image = strdup(m->at.source);
	return m->image ? 0 : -ENOMEM;
}

/* Of an image: what its daemon tells. */
static int open_on_image(struct origin *o, struct ply_err *err)
{
	struct mount *m = &o->mount;

	m->answer = mounted_ask(&m->at);
	if (!m->answer)
		cli_note("the mount of %s does not tell its selection to this user: the whole image is "
			 "considered", m->at.source);
	if (understand(m) < 0)
		return ply_fail_nomem(err);
	return open_image(m->image, &o->opened.image, err);
}

static int open_on_log(struct origin *o, struct ply_err *err)
{
	struct mount *m = &o->mount;
	const struct redo_binding *b;
	int r = log_look(m->at.source, &m->log, err);

	if (r == 0)
		r = parent_open(m->log, m->at.source, &o->opened.image, err);
	if (r < 0)
		return r;
	b = redo_binding(m->log);
	for (const char *name = redo_binding_name(b, NULL); name; name = redo_binding_name(b, name))
		if (cli_list_add(&m->selected, name) < 0)
			return ply_fail_nomem(err);
	if (b->ndecisions && array_grow(&m->decisions, &m->decisions_cap, b->ndecisions, sizeof(*m->decisions)) < 0)
		return ply_fail_nomem(err);
	m->ndecisions = b->ndecisions;
	if (m->ndecisions)
		memcpy(m->decisions, b->decisions, m->ndecisions * sizeof(*m->decisions));
	return 0;
}

static int open_view_of(struct origin *o, struct ply_err *err)
{
	const struct ply_view_options how = { .names = o->mount.selected.v, .n = o->mount.selected.n,
					      .decisions = o->mount.decisions, .ndecisions = o->mount.ndecisions,
					      .undecided_first = true };

	return ply_view_open_with(o->opened.image, &how, &o->opened.view, err);
}

static int open_mount(struct origin *o, const char *path, const struct mnt_place *place,
		      struct ply_err *err)
{
	struct mount *m = &o->mount;
	int r;

	if (o->is_open && m->at.place.id == place->id)
		return 0;
	opened_done(&o->opened);
	o->is_open = false;
	mount_done(m);
	r = mounted_at(place, path, &m->at, err);
	if (r < 0 && err->reason == PLY_R_NOT_MOUNTED)
		snprintf(err->msg + strlen(err->msg), sizeof(err->msg) - strlen(err->msg),
			 "; for a path inside an image use --image");
	if (r == 0)
		r = redo_is_log(m->at.source) ? open_on_log(o, err) : open_on_image(o, err);
	if (r == 0)
		r = open_view_of(o, err);
	if (r < 0)
		opened_done(&o->opened);
	o->is_open = r == 0;
	return r;
}

static int find_on_mount(struct origin *o, const char *path, uint64_t *ret_ino, struct ply_err *err)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct mnt_place place;
	struct statx sx;
	int r;

	if (fd < 0)
		return ply_fail_sys(err, -errno, "%s", path);
	r = mnt_place_fd(fd, &place);
	if (r < 0)
		return ply_fail_sys(err, r, "%s", path);
	r = open_mount(o, path, &place, err);
	if (r < 0)
		return r;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &sx) < 0)
		return ply_fail_sys(err, -errno, "%s", path);
	*ret_ino = sx.stx_ino;
	return 0;
}

/* --- the answer ------------------------------------------------------------------------- */

/* Positions of the sub-images that hold @ino, in order of rank. */
static int holders(struct origin *o, uint64_t ino, uint32_t *ret, uint32_t max, struct ply_err *err)
{
	struct ply_image *im = o->opened.image;
	int n = ply_view_origin(o->opened.view, ino, ret, max, err);

	if (n != -ESTALE || !o->mount.at.source || o->mount.answer || o->mount.log)
		return n;
	/* the first of its names is not selected in the mount: its number tells one of the others */
	for (uint32_t i = 0; i < ply_image_nsubs(im); i++) {
		if (ply_image_sub_info(im, i)->number == PLY_INO_NUMBER(ino)) {
			ret[0] = i;
			return 1;
		}
	}
	return n;
}

/* Numbers of logs are none of an image; what a volatile log changes is not to be seen. */
static enum in_log in_log(const struct origin *o, uint64_t ino)
{
	struct redo_inode i;

	if (PLY_INO_NUMBER(ino) >= PLY_REDO_NUMBER_MIN)
		return IN_LOG_ALL;
	if (!o->mount.log || !redo_inode(o->mount.log, ino, &i))
		return IN_LOG_NOTHING;
	return i.has_content ? IN_LOG_CONTENT : IN_LOG_CHANGES;
}

static void complain(struct origin *o, const struct ply_err *err)
{
	cli_note("%s", err->msg);
	o->code = MAX(o->code, cli_exit_code(err));
}

/* Each record, as a line or a JSON object; there may be a million, so none is kept. */
struct record_out {
	struct ply_view *view;
	struct show_array *json;   /* NULL: text */
};

static int tell_record(void *ctx, const struct merge_driver *driver, const struct view_record *r,
		       struct ply_err *err)
{
	_cleanup_buf_ struct buf words = { 0 }, what = { 0 };
	const struct piece piece = { r->data, r->len, r->flags };
	struct record_out *out = ctx;
	int e = view_record_words(out->view, r, &words, err);

	if (e < 0)
		return e;
	if (merge_describe(driver, &piece, &what) < 0)
		return ply_fail_nomem(err);
	if (out->json) {
		show_part(out->json, json_pack("{s:I,s:o,s:o}", "ordinal", (json_int_t)r->ordinal,
					       "of", cli_json_name((char *)words.data, words.len),
					       "what", cli_json_name((char *)what.data, what.len)));
		return 0;
	}
	_cleanup_free_ char *of = escape_name((char *)words.data, words.len);
	_cleanup_free_ char *is = escape_name((char *)what.data, what.len);

	return of && is ? printf("  %s: %s\n", of, is), 0 : ply_fail_nomem(err);
}

/* Has it records? 0: no. */
static int has_records(const struct origin *o, uint64_t ino, struct ply_err *err)
{
	struct view_file f;
	int r = view_file(o->opened.view, ino, &f, err);

	if (r == -ESTALE)          /* of what the mount does not select: see holders() */
		return 0;
	return r < 0 ? r : f.node.flags & PLY_NODE_SHARED && !f.merged;
}

static int print_text(const struct origin *o, const char *path, uint64_t ino, enum in_log log, const uint32_t *subs,
		      int n, struct ply_err *err)
{
	struct merged merged;
	_cleanup_free_ char *shown = escape_name(path, strlen(path));
	struct record_out out = { .view = o->opened.view };
	int r;

	printf("%s: ", shown ? shown : "?");
	for (int i = 0; i < n; i++)
		printf("%s%s", i ? ", " : "", ply_image_sub_info(o->opened.image, subs[i])->name);
	printf("%s (generation %llu)\n",
	       log == IN_LOG_ALL ? "made on this mount" :
		       log       ? ", changed on this mount" :
				   "",
	       (unsigned long long)ply_image_generation(o->opened.image)->generation);
	if (log >= IN_LOG_CONTENT)
		return 0;
	merged_find(out.view, ino, &merged);
	r = merged_print(out.view, ino, &merged, err);
	if (r == 0 && !merged.collides)
		r = has_records(o, ino, err);
	return r > 0 ? view_records(out.view, ino, tell_record, &out, err) : r;
}

static int print_json(struct origin *o, const char *path, uint64_t ino, enum in_log log, const uint32_t *subs, int n,
		      struct ply_err *err)
{
	struct record_out out = { .view = o->opened.view, .json = &o->json };
	const char *image = ply_image_path(o->opened.image);
	json_t *names, *item;
	struct merged merged = { 0 };
	int r = 0;

	/* content that is not the image's has nothing of it to be told */
	if (log < IN_LOG_CONTENT) {
		merged_find(out.view, ino, &merged);
		r = merged.collides ? 0 : has_records(o, ino, err);
	}
	if (r < 0)
		return r;
	names = json_array();
	for (int i = 0; i < n; i++)
		json_array_append_new(names,
				      json_string(ply_image_sub_info(o->opened.image, subs[i])->name));
	item = json_pack("{s:o,s:o,s:I,s:I,s:o}", "path", cli_json_name(path, strlen(path)), "image",
			 cli_json_name(image, strlen(image)), "generation",
			 (json_int_t)ply_image_generation(o->opened.image)->generation, "ino",
			 (json_int_t)ino, "sub_images", names);
	if (item && log)
		json_object_set_new(item, "log", json_string(log == IN_LOG_ALL ? "made" : "changed"));
	if (!r) {
		r = item && log < IN_LOG_CONTENT ? merged_json(out.view, ino, &merged, item, err) : 0;
		if (r < 0)
			json_decref(item);
		else
			show_item(&o->json, item);
		return r;
	}
	show_item_begin(&o->json, item, "records");
	r = view_records(out.view, ino, tell_record, &out, err);
	if (r < 0)
		complain(o, err);
	show_item_end(&o->json, r < 0 ? json_pack("{s:o}", "error", cli_json_error(err)) : json_object());
	return 0;
}

static void tell(struct origin *o, const char *path, bool in_image)
{
	_cleanup_free_ uint32_t *subs = NULL;
	enum in_log log = IN_LOG_NOTHING;
	struct ply_err err;
	uint64_t ino;
	int r;

	r = in_image ? show_resolve(o->opened.view, path, false, &ino, &err) :
		       find_on_mount(o, path, &ino, &err);
	if (r == 0) {
		uint32_t max = ply_view_nsubs(o->opened.view);

		log = in_log(o, ino);
		subs = calloc(max, sizeof(*subs));
		if (!subs)
			r = ply_fail_nomem(&err);
		else if (log != IN_LOG_ALL)
			r = holders(o, ino, subs, max, &err);
	}
	if (r > 0 || (r == 0 && log == IN_LOG_ALL))
		r = cli_json ? print_json(o, path, ino, log, subs, r, &err) :
			       print_text(o, path, ino, log, subs, r, &err);
	if (r < 0) {
		complain(o, &err);
		if (cli_json)
			show_item(&o->json, json_pack("{s:o,s:o}", "path", cli_json_name(path, strlen(path)),
						      "error", cli_json_error(&err)));
	}
}

int cmd_origin(int argc, char **argv)
{
	struct cli_list select _cleanup_list_ = { 0 };
	const char *image = NULL;
	struct origin o = { .choice.all_pairs = true };
	const struct cli_opt opts[] = {
		{ "image", 0, "IMAGE", "the paths are inside this image, not on a mount", CLI_TEXT, &image },
		SELECTION_OPTION(&select),
		CHOICE_OPTIONS(&o.choice),
		CLI_JSON, CLI_END
	};
	const struct cli_spec spec = { "origin", "PATH...",
				       "Print which sub-image a file of a mount, or of an image, is from.",
				       opts, 1, -1 };
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args);

	if (code < 0)
		code = choice_check(&o.choice);
	if (code >= 0)
		return code;
	if ((select.n || o.choice.policy || o.choice.on_collision) && !image)
		return cli_usage("--select, --policy and --on-collision are for --image: a mount has its own");
	if (image && open_view(image, &select, &o.choice, &o.opened, &err) < 0)
		code = cli_fail(&err);
	if (code >= 0) {
		choice_done(&o.choice);
		return code;
	}
	if (cli_json)
		show_begin(&o.json, json_object(), "paths");
	for (int i = 0; i < args.n; i++)
		tell(&o, args.v[i], image);
	code = cli_json ? show_end(&o.json, json_object()) : EXIT_DONE;
	if (image || o.is_open)
		opened_done(&o.opened);
	mount_done(&o.mount);
	choice_done(&o.choice);
	return MAX(code, o.code);
}
