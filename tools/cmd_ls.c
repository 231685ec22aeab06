/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs ls: a selection's directories as ls(1) shows them, from the metadata alone.
 *
 * One directory at a time is kept in memory, sorted bytewise: 24 bytes and the name for each of its
 * files, so -l asks for what it prints twice, for the widths first; JSON is printed while it comes.
 * Of directories that are still to come, only the paths are kept. Names are escaped in pipes too, so that a line is a file whatever its name is;
 * -0 gives the bytes. A file whose metadata is damaged is told, and the others follow.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "cli.h"
#include "open.h"
#include "show.h"
#include "tree/view_internal.h"
#include "verbs.h"

struct row {
	size_t name;               /* in listing.names, NUL-terminated */
	uint64_t ino;
	uint32_t len;
	uint8_t type;
};

struct listing {
	struct ls *ls;
	struct row *rows;
	size_t n, cap;
	struct buf names;
	bool failed;
};

static const char *name_of(const struct listing *l, const struct row *row)
{
	return (const char *)l->names.data + row->name;
}

/* Directories that are still to be listed, the next one last. */
struct todo {
	char *path;                /* as shown; "" for the one that was named */
	uint64_t ino;
};

struct ls {
	struct ply_view *view;
	bool is_long, recursive, numeric, null;
	struct show_array json;
	struct todo *todo;
	size_t ntodo, todo_cap;
	uint64_t rows;             /* of ENTRIES that were looked at */
	int code;
};

static void listing_done(struct listing *l)
{
	buf_done(&l->names);
	free(l->rows);
}

static int count_row(void *ctx, const struct ply_entry *e, enum view_row state, struct ply_err *err)
{
	struct ls *ls = ((struct listing *)ctx)->ls;

	(void)e;
	(void)state;
	return ++ls->rows <= view_entries(ls->view) ? 0 : view_too_many(err);
}

static int collect(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;
	size_t at = l->names.len;

	if (buf_add(&l->names, de->name, de->len) < 0 || buf_add(&l->names, "", 1) < 0 ||
	    array_grow(&l->rows, &l->cap, l->n + 1, sizeof(*l->rows)) < 0) {
		l->failed = true;
		return 1;
	}
	l->rows[l->n++] = (struct row){ .name = at, .ino = de->ino, .len = (uint32_t)de->len,
					.type = de->type };
	return 0;
}

static int by_name(const void *a, const void *b, void *names)
{
	const char *const *base = names;

	return strcmp(*base + ((const struct row *)a)->name, *base + ((const struct row *)b)->name);
}

/* Owner and group, with the names that the image has for them; root where the selection lacks them. */
static int owner_of(struct ply_view *view, uint64_t ino, struct sub_owner *ret, struct ply_err *err)
{
	static const char root[] = "root";
	struct view_file f;
	struct sub *sub;
	int user, group, r = view_file(view, ino, &f, err);

	if (r == 0)
		r = view_sub_at(view, f.owner_i, &sub, err);
	if (r == 0)
		r = sub_owner(sub, f.node.owner, ret, err);
	user = r < 0 ? r : view_holds(view, f.owner_i, ret->user_condition, err);
	group = user < 0 ? user : view_holds(view, f.owner_i, ret->group_condition, err);
	if (group < 0)
		return group;
	if (!user) {
		ret->uid = 0;
		ret->user = root;
		ret->user_len = sizeof(root) - 1;
	}
	if (!group) {
		ret->gid = 0;
		ret->group = root;
		ret->group_len = sizeof(root) - 1;
	}
	return 0;
}

/* Damage of one file: told, the worst code is kept. */
static void complain(struct ls *ls, const char *path, const struct ply_err *err)
{
	_cleanup_free_ char *shown = escape_name(path, strlen(path));

	cli_note("%s: %s", shown ? shown : "", err->msg);
	ls->code = MAX(ls->code, cli_exit_code(err));
}

/* --- one file ------------------------------------------------------------------- */

static int add_xattr_name(void *ctx, const struct ply_xattr *x)
{
	json_array_append_new(ctx, cli_json_name(x->name, x->name_len));
	return 0;
}

static json_t *owner_name(const char *name, uint32_t len)
{
	return len ? cli_json_name(name, len) : json_null();
}

static int print_json(struct ls *ls, const char *path, uint64_t ino, struct ply_err *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	json_t *xattrs, *o;
	struct sub_owner owner;
	struct ply_attr a;
	char mode[8];
	int r = ply_view_attr(ls->view, ino, &a, err);

	if (r == 0)
		r = owner_of(ls->view, ino, &owner, err);
	if (r < 0)
		return r;
	snprintf(mode, sizeof(mode), "%04o", a.mode & 07777);
	xattrs = json_array();
	r = ply_view_xattrs(ls->view, ino, add_xattr_name, xattrs, err);
	o = json_pack("{s:o,s:o,s:s,s:I,s:s,s:I,s:I,s:o,s:o,s:I,s:I,s:I,s:i,s:o,s:o}",
		      "name", cli_json_name(name, strlen(name)),
		      "path", cli_json_name(path, strlen(path)), "type", show_type(a.mode),
		      "ino", (json_int_t)ino, "mode", mode,
		      "uid", (json_int_t)owner.uid, "gid", (json_int_t)owner.gid,
		      "user", owner_name(owner.user, owner.user_len),
		      "group", owner_name(owner.group, owner.group_len),
		      "nlink", (json_int_t)a.nlink, "size_bytes", (json_int_t)a.size,
		      "mtime_s", (json_int_t)a.mtime_sec, "mtime_ns", (int)a.mtime_nsec,
		      "xattrs", xattrs, "origin", show_origin(ls->view, ino));
	if (r == 0 && o && S_ISLNK(a.mode)) {
		const char *target;
		size_t len;

		r = ply_view_readlink(ls->view, ino, &target, &len, err);
		if (r == 0)
			json_object_set_new(o, "target", cli_json_name(target, len));
	}
	if (o && (S_ISCHR(a.mode) || S_ISBLK(a.mode))) {
		json_object_set_new(o, "rdev_major", json_integer(a.rdev_major));
		json_object_set_new(o, "rdev_minor", json_integer(a.rdev_minor));
	}
	if (r < 0)
		json_decref(o);
	else
		show_item(&ls->json, o);
	return r;
}

/* The columns of one line of -l. */
enum { MODE, LINKS, USER, GROUP, SIZE, TIME, COLUMNS };

struct columns {
	char *text[COLUMNS];
	char *tail;                /* name, and target of a symlink */
};

static void columns_done(struct columns *c)
{
	for (int i = 0; i < COLUMNS; i++)
		free(c->text[i]);
	free(c->tail);
}

static char *owner_text(const struct ls *ls, const char *name, uint32_t len, uint32_t id)
{
	char *text;

	if (len && !ls->numeric)
		return escape_name(name, len);
	return asprintf(&text, "%u", id) < 0 ? NULL : text;
}

static int make_columns(struct ls *ls, const char *name, uint64_t ino, struct columns *ret,
			struct ply_err *err)
{
	_cleanup_free_ char *shown = escape_name(name, strlen(name)), *to = NULL;
	char mode[11], when[32];
	struct sub_owner owner;
	struct ply_attr a;
	bool is_device;
	const char *target;
	size_t len;
	int r;

	*ret = (struct columns){ 0 };
	r = ply_view_attr(ls->view, ino, &a, err);
	if (r == 0)
		r = owner_of(ls->view, ino, &owner, err);
	if (r == 0 && S_ISLNK(a.mode)) {
		r = ply_view_readlink(ls->view, ino, &target, &len, err);
		if (r == 0 && !(to = escape_name(target, len)))
			r = ply_fail_nomem(err);
	}
	if (r < 0)
		return r;
	is_device = S_ISCHR(a.mode) || S_ISBLK(a.mode);
	ret->text[MODE] = strdup(show_mode(a.mode, mode));
	ret->text[USER] = owner_text(ls, owner.user, owner.user_len, owner.uid);
	ret->text[GROUP] = owner_text(ls, owner.group, owner.group_len, owner.gid);
	ret->text[TIME] = strdup(show_time(a.mtime_sec, when));
	if (!shown || asprintf(&ret->text[LINKS], "%" PRIu64, a.nlink) < 0 ||
	    (is_device ? asprintf(&ret->text[SIZE], "%u, %u", a.rdev_major, a.rdev_minor) :
			 asprintf(&ret->text[SIZE], "%" PRIu64, a.size)) < 0 ||
	    asprintf(&ret->tail, "%s%s%s", shown, to ? " -> " : "", to ? to : "") < 0 ||
	    !ret->text[MODE] || !ret->text[USER] || !ret->text[GROUP] || !ret->text[TIME])
		return ply_fail_nomem(err);
	return 0;
}

/* --- one directory ----------------------------------------------------------------- */

static char *join(const char *dir, const char *name)
{
	size_t len = strlen(dir);
	char *path;

	return asprintf(&path, "%s%s%s", dir, len && dir[len - 1] != '/' ? "/" : "", name) < 0 ?
		NULL : path;
}

static int print_long(struct ls *ls, const struct listing *l, const char *dir, struct ply_err *err)
{
	int width[COLUMNS] = { 0 };
	struct columns line;

	for (size_t i = 0; i < l->n; i++) {
		const char *name = name_of(l, &l->rows[i]);
		int r = make_columns(ls, name, l->rows[i].ino, &line, err);

		for (int c = 0; r == 0 && c < COLUMNS; c++)
			width[c] = MAX(width[c], (int)strlen(line.text[c]));
		columns_done(&line);
		if (r == -ENOMEM)
			return r;
		if (r < 0) {
			_cleanup_free_ char *path = join(dir, name);

			complain(ls, path ? path : name, err);
		}
	}
	for (size_t i = 0; i < l->n; i++) {
		char *const *t = line.text;

		if (make_columns(ls, name_of(l, &l->rows[i]), l->rows[i].ino, &line, err) == 0)
			printf("%s %*s %-*s %-*s %*s %s %s\n", t[MODE], width[LINKS], t[LINKS],
			       width[USER], t[USER], width[GROUP], t[GROUP], width[SIZE], t[SIZE],
			       t[TIME], line.tail);
		columns_done(&line);
	}
	return 0;
}

static int print_rows(struct ls *ls, const struct listing *l, const char *dir, struct ply_err *err)
{
	if (ls->is_long && !cli_json)
		return print_long(ls, l, dir, err);
	for (size_t i = 0; i < l->n; i++) {
		const struct row *row = &l->rows[i];
		const char *name = name_of(l, row);
		_cleanup_free_ char *path = join(dir, name), *shown = NULL;

		if (!path)
			return ply_fail_nomem(err);
		if (cli_json) {
			if (print_json(ls, path, row->ino, err) < 0)
				complain(ls, path, err);
		} else if (ls->null) {
			fwrite(ls->recursive ? path : name, 1,
			       strlen(ls->recursive ? path : name) + 1, stdout);
		} else {
			shown = escape_name(name, row->len);
			if (!shown)
				return ply_fail_nomem(err);
			puts(shown);
		}
	}
	return 0;
}

static int add_todo(struct ls *ls, char *path, uint64_t ino, struct ply_err *err)
{
	if (!path || array_grow(&ls->todo, &ls->todo_cap, ls->ntodo + 1, sizeof(*ls->todo)) < 0) {
		free(path);
		return ply_fail_nomem(err);
	}
	ls->todo[ls->ntodo++] = (struct todo){ path, ino };
	return 0;
}

/* Child directories of @dir go on the stack, the first on top. */
static int push_children(struct ls *ls, const struct listing *l, const char *dir, struct ply_err *err)
{
	for (size_t i = l->n; i--;)
		if (l->rows[i].type == S_IFDIR >> 12 &&
		    add_todo(ls, join(dir, name_of(l, &l->rows[i])), l->rows[i].ino, err) < 0)
			return -ENOMEM;
	return 0;
}

static int list_dir(struct ls *ls, const char *path, uint64_t ino, struct ply_err *err)
{
	struct listing l = { .ls = ls };
	int r = view_own(view_readdir(ls->view, ino, 0, collect, count_row, &l, err), err);

	if (l.failed)
		r = ply_fail_nomem(err);
	if (r < 0 && r != -ENOMEM) {   /* what could be read is shown */
		complain(ls, path, err);
		r = 0;
	}
	if (r == 0 && l.n) {
		qsort_r(l.rows, l.n, sizeof(*l.rows), by_name, &l.names.data);
		r = print_rows(ls, &l, path, err);
	}
	if (r == 0 && ls->recursive)
		r = push_children(ls, &l, path, err);
	listing_done(&l);
	return r;
}

static int list(struct ls *ls, const char *path, struct ply_err *err)
{
	bool heading = ls->recursive && !ls->null && !cli_json, first = true;
	struct ply_attr a;
	uint64_t ino;
	int r = show_resolve(ls->view, path, !ls->is_long && !cli_json, &ino, err);

	if (r == 0)
		r = ply_view_attr(ls->view, ino, &a, err);
	if (r < 0)
		return r;
	if (!S_ISDIR(a.mode)) {
		struct row row = { .ino = ino, .len = (uint32_t)strlen(path) };

		return print_rows(ls, &(struct listing){ .rows = &row, .n = 1, .names.data = (uint8_t *)path },
				  "", err);
	}
	r = add_todo(ls, strdup(path), ino, err);
	while (r == 0 && ls->ntodo) {
		struct todo t = ls->todo[--ls->ntodo];

		if (heading) {
			_cleanup_free_ char *shown = escape_name(t.path, strlen(t.path));

			printf("%s%s:\n", first ? "" : "\n", shown ? shown : "");
			first = false;
		}
		r = list_dir(ls, t.path, t.ino, err);
		free(t.path);
	}
	while (ls->ntodo)
		free(ls->todo[--ls->ntodo].path);
	free(ls->todo);
	return r;
}

int cmd_ls(int argc, char **argv)
{
	struct ls ls = { 0 };
	struct cli_list select _cleanup_list_ = { 0 };
	struct choice choice _cleanup_choice_ = { 0 };
	const struct cli_opt opts[] = {
		SELECTION_OPTION(&select),
		CHOICE_OPTIONS(&choice),
		{ "long", 'l', NULL, "mode, links, owner, group, size, time, name and target", CLI_FLAG,
		  &ls.is_long },
		{ "recursive", 'R', NULL, "list directories below, too", CLI_FLAG, &ls.recursive },
		{ "numeric", 'n', NULL, "as -l, with numbers for owner and group", CLI_FLAG,
		  &ls.numeric },
		{ "null", '0', NULL, "names as they are, each ended by a NUL byte", CLI_FLAG, &ls.null },
		CLI_JSON, CLI_END
	};
	const struct cli_spec spec = { "ls", "IMAGE [PATH]",
				       "List a directory of an image, all names, sorted bytewise.", opts, 1,
				       2 };
	struct opened o _cleanup_opened_ = { 0 };
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args), r;

	if (code < 0)
		code = choice_check(&choice);
	if (code >= 0)
		return code;
	ls.is_long |= ls.numeric;
	if (ls.null && (ls.is_long || cli_json))
		return cli_usage("--null prints names only: not with --long, --numeric or --json");
	if (open_view(args.v[0], &select, &choice, &o, &err) < 0)
		return cli_fail(&err);
	ls.view = o.view;
	if (cli_json) {
		const char *path = args.n > 1 ? args.v[1] : "/";
		uint64_t ino;

		if (show_resolve(o.view, path, false, &ino, &err) < 0)
			return cli_fail(&err);
		show_begin(&ls.json, json_pack("{s:o}", "path", cli_json_name(path, strlen(path))),
			   "entries");
	}
	r = list(&ls, args.n > 1 ? args.v[1] : "/", &err);
	if (cli_json) {
		int end = show_end(&ls.json, r < 0 ? json_pack("{s:o}", "error", cli_json_error(&err)) :
						     json_pack("{s:b}", "complete", ls.code == EXIT_DONE));

		ls.code = MAX(ls.code, end);
	}
	if (r < 0) {
		cli_note("%s", err.msg);
		return cli_exit_code(&err);
	}
	return ls.code;
}
