/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening an image and a selection of it: see open.h. */
#include "open.h"

#include <string.h>

#include "base/buf.h"

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

static int select_from(struct ply_image *image, const struct cli_list *names, struct opened *ret,
		       struct ply_err *err)
{
	_cleanup_list_ struct cli_list selected = { 0 };
	struct opened o = { .image = image };
	int r = ply_view_open(o.image, names->v, names->n, 0, &o.view, err);

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

int open_view(const char *path, const struct cli_list *names, struct opened *ret, struct ply_err *err)
{
	struct ply_image *image;
	int r = open_image(path, &image, err);

	return r < 0 ? r : select_from(image, names, ret, err);
}

int open_view_io(const char *path, struct io *io, uint64_t generation, const struct cli_list *names,
		 struct opened *ret, struct ply_err *err)
{
	struct ply_image *image;
	int r = ply_image_open_io(io, generation, &image, err);

	if (r < 0) {
		ply_err_prefix(err, "%s", path);
		return r;
	}
	tell_warning(image);
	return select_from(image, names, ret, err);
}

void opened_done(struct opened *o)
{
	o->view = ply_view_close(o->view);
	o->image = ply_image_close(o->image);
}
