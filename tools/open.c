/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening an image and a selection of it: see open.h. */
#include "open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "collisions.h"
#include "merge/compose.h"
#include "outfile.h"

#define TOLD_MAX 10u               /* undecided paths that are named */

static void tell_warning(const struct ply_image *image)
{
	if (ply_image_warning(image))
		cli_note("warning: %s", ply_image_warning(image));
}

int open_image(const char *path, struct ply_image **ret, struct ply_err *err)
{
	int r = ply_image_open(path, ret, err);

	if (r == 0)
		tell_warning(*ret);
	return r;
}

/* "selection: os, apache, php (added: os, apache)" */
void tell_selection(const struct cli_list *selected, const struct cli_list *names)
{
	struct buf all = { 0 }, added = { 0 };

	for (size_t i = 0; i < selected->n; i++) {
		bool named = false;

		for (size_t k = 0; k < names->n && !named; k++)
			named = !strcmp(names->v[k], selected->v[i]);
		buf_printf(&all, "%s%s", i ? ", " : "", selected->v[i]);
		if (!named)
			buf_printf(&added, "%s%s", added.len ? ", " : "", selected->v[i]);
	}
	if (names->n && added.len)
		cli_note("selection: %.*s (added: %.*s)", (int)all.len, (const char *)all.data,
			 (int)added.len, (const char *)added.data);
	buf_done(&all);
	buf_done(&added);
}

/* --- decisions ------------------------------------------------------------------------- */

int choice_check(const struct choice *c)
{
	if (c->on_collision && strcmp(c->on_collision, "append") != 0)
		return cli_usage("--on-collision takes append, not '%s'", c->on_collision);
	return -1;
}

bool choice_decides(const struct choice *c)
{
	return c->policy || c->on_collision || c->read.n;
}

int choice_answer(struct choice *c, const struct buf *text, struct ply_err *err)
{
	struct policy answers;
	int r = policy_parse(c->policy ? c->policy : "answers", text->data, text->len, &answers, err);

	if (r < 0)
		return r;
	policy_done(&c->read);
	c->read = answers;
	c->is_read = true;
	return c->policy ? outfile_write(c->policy, text->data, text->len, err) : 0;
}

int choice_read(struct choice *c, struct ply_err *err)
{
	bool missing = c->is_new && c->policy && access(c->policy, F_OK) < 0 && errno == ENOENT;
	int r = c->policy && !c->is_read && !missing ? policy_read(c->policy, &c->read, err) : 0;

	if (r == 0)
		c->is_read = true;
	return r;
}

void choice_done(struct choice *c)
{
	policy_done(&c->read);
	c->is_read = false;
}

/* "/etc/x (os, mysql)" */
static int name_collision(const struct collisions *c, const struct collision *k, struct buf *out)
{
	_cleanup_free_ char *shown = escape_name(k->path, strlen(k->path));
	int r = shown ? buf_printf(out, "%s (", shown) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < k->n; i++)
		r = buf_printf(out, "%s%s", i ? ", " : "", c->names[k->v[i].sub]);
	return r == 0 ? buf_printf(out, ")") : r;
}

static void list_undecided(const struct collisions *c, bool append)
{
	size_t told = 0, more = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct collision *k = &c->v[i];
		_cleanup_buf_ struct buf text = { 0 };

		if (!collision_is_undecided(k, append))
			continue;
		if (told == TOLD_MAX) {
			more++;
			continue;
		}
		if (name_collision(c, k, &text) == 0)
			cli_note("undecided: %.*s: %s", (int)text.len, (const char *)text.data,
				 k->rule == POLICY_FAIL ? "the policy says fail" : merge_why_text(k->why));
		told++;
	}
	if (more)
		cli_note("undecided: %zu more", more);
}

static int fail_undecided(const struct collisions *c, bool append, size_t n, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };

	for (size_t i = 0; i < c->n; i++) {
		if (!collision_is_undecided(&c->v[i], append))
			continue;
		if (name_collision(c, &c->v[i], &text) < 0)
			return ply_fail_nomem(err);
		break;
	}
	list_undecided(c, append);
	return ply_fail(err, -ENOTUNIQ, PLY_R_CONFLICT, "%zu %s not decided, the first is %.*s; see plyfs plan", n,
			n == 1 ? "conflict is" : "conflicts are", (int)text.len, (const char *)text.data);
}

static void tell_unused(const struct policy *p, size_t n, const struct policy_entry *first)
{
	char shown[256];

	if (!n)
		return;
	escape_name_to(first->paths[0], strlen(first->paths[0]), shown, sizeof(shown));
	if (n == 1)
		cli_note("%s:%u: the entry for %s is about nothing that collides in this selection", p->file, first->line,
			 shown);
	else
		cli_note("%s: %zu entries are about nothing that collides in this selection, the first at line %u, for %s",
			 p->file, n, first->line, shown);
}

int open_decide(struct ply_view *look, struct choice *choice, struct collisions **ret, size_t *ret_undecided,
		struct ply_err *err)
{
	const struct policy_entry *first = NULL;
	struct collisions *c = NULL;
	size_t unused = 0, undecided = 0;
	int r = choice_read(choice, err);

	if (r == 0)
		r = collisions_load(look, &c, err);
	if (r == 0)
		r = policy_decide(&choice->read, c, &unused, &first, err);
	if (r < 0) {
		collisions_free(c);
		return r;
	}
	if (!choice->more)
		tell_unused(&choice->read, unused, first);
	for (size_t i = 0; i < c->n; i++)
		undecided += collision_is_undecided(&c->v[i], choice->on_collision);
	*ret = c;
	*ret_undecided = undecided;
	return 0;
}

static int open_look(struct ply_image *image, const struct cli_list *names, struct ply_view **ret,
		     struct ply_err *err)
{
	const struct ply_view_options o = { .names = names->v, .n = names->n, .undecided_first = true };

	return ply_view_open_with(image, &o, ret, err);
}

int open_decisions(struct ply_image *image, const struct cli_list *names, struct choice *choice,
		   struct ply_decision **ret, size_t *ret_n, struct ply_err *err)
{
	struct collisions *c = NULL;
	struct ply_view *look = NULL;
	size_t undecided = 0;
	int r = choice_read(choice, err);

	if (r == 0)
		r = open_look(image, names, &look, err);
	if (r == 0)
		r = open_decide(look, choice, &c, &undecided, err);
	if (r == 0 && undecided)
		r = fail_undecided(c, choice->on_collision, undecided, err);
	if (r == 0)
		r = collisions_decisions(c, choice->on_collision, ret, ret_n, err);
	collisions_free(c);
	ply_view_close(look);
	return r;
}

void tell_undecided(struct ply_image *image, const struct cli_list *names)
{
	struct choice none = { 0 };
	struct collisions *c = NULL;
	struct ply_view *look = NULL;
	size_t n;

	if (open_look(image, names, &look, NULL) == 0 && open_decide(look, &none, &c, &n, NULL) == 0)
		list_undecided(c, false);
	collisions_free(c);
	ply_view_close(look);
}

/* --- views ------------------------------------------------------------------------------- */

static int open_chosen(struct opened *o, const struct cli_list *names, struct choice *choice, struct ply_err *err)
{
	struct ply_view_options how = { .names = names->v, .n = names->n, .undecided_first = choice->look,
					.all_pairs = choice->all_pairs };
	int r = 0;

	/* without them nothing is looked at that is not shown */
	if (choice_decides(choice))
		r = open_decisions(o->image, names, choice, &o->decisions, &o->ndecisions, err);
	how.decisions = o->decisions;
	how.ndecisions = o->ndecisions;
	if (r == 0)
		r = ply_view_open_with(o->image, &how, &o->view, err);
	if (r < 0 && err->reason == PLY_R_CONFLICT && !choice_decides(choice))
		tell_undecided(o->image, names);
	return r;
}

static int select_from(struct ply_image *image, const struct cli_list *names, struct choice *choice,
		       struct opened *ret, struct ply_err *err)
{
	_cleanup_list_ struct cli_list selected = { 0 };
	struct opened o = { .image = image };
	int r = open_chosen(&o, names, choice, err);

	if (r < 0) {
		opened_done(&o);
		return r;
	}
	for (uint32_t i = 0; i < ply_view_nsubs(o.view); i++)
		if (cli_list_add(&selected, ply_image_sub_info(o.image, ply_view_sub(o.view, i))->name) < 0)
			break;
	tell_selection(&selected, names);
	*ret = o;
	return 0;
}

int open_view(const char *path, const struct cli_list *names, struct choice *choice, struct opened *ret,
	      struct ply_err *err)
{
	struct ply_image *image;
	int r = choice_read(choice, err);

	if (r == 0)
		r = open_image(path, &image, err);
	return r < 0 ? r : select_from(image, names, choice, ret, err);
}

int open_view_io(const char *path, struct io *io, uint64_t generation, const struct cli_list *names,
		 struct choice *choice, struct opened *ret, struct ply_err *err)
{
	struct ply_image *image;
	int r = ply_image_open_io(io, generation, &image, err);

	if (r < 0) {
		ply_err_prefix(err, "%s", path);
		return r;
	}
	tell_warning(image);
	return select_from(image, names, choice, ret, err);
}

void opened_done(struct opened *o)
{
	o->view = ply_view_close(o->view);
	o->image = ply_image_close(o->image);
	free(o->decisions);
	o->decisions = NULL;
	o->ndecisions = 0;
}
