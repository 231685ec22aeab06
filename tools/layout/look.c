/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the state of a target says, for who decides what is to be done; nothing is locked, or changed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "layout/kept.h"
#include "layout/state.h"
#include "layout/update.h"

/* The image that the change which brought @name was of. */
static int find_brought(const struct state *s, struct layout_done *d, struct ply_err *err)
{
	struct changes table = { 0 };
	int r = kept_read_one(s->dir, s->target->path, d->name, &table, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	d->own = true;
	memcpy(d->uuid, table.uuid, sizeof(d->uuid));
	memcpy(d->catalog, table.catalog, sizeof(d->catalog));
	changes_done(&table);
	return 0;
}

static int list_done(const struct state *s, struct layout_look *ret, struct ply_err *err)
{
	int fd = s->done < 0 ? -1 : openat(s->done, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	/* of a layout that is not complete the tables are being written, or removed */
	bool settled = s->kind == STATE_BEGUN ? s->j.complete : s->kind != STATE_REDUCING && s->kind != STATE_ABORTING;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	if (!d) {
		cleanup_close(&fd);
		return 0;
	}
	while (r == 0 && (de = readdir(d))) {
		struct layout_done *v;

		if (de->d_name[0] == '.')
			continue;
		v = realloc(ret->done, (ret->ndone + 1) * sizeof(*v));
		if (v)
			ret->done = v;
		if (!v || !(ret->done[ret->ndone] = (struct layout_done){ .name = strdup(de->d_name) }).name) {
			r = ply_fail_nomem(err);
			break;
		}
		r = settled ? find_brought(s, &ret->done[ret->ndone], err) : 0;
		ret->ndone++;
	}
	closedir(d);
	return r;
}

bool layout_look_is_of(const struct layout_look *look, size_t i, struct ply_image *image)
{
	const struct layout_done *d = &look->done[i];
	const uint8_t *catalog = d->own ? d->catalog : look->saved ? look->saved->catalog : NULL;
	const uint8_t *of = d->own ? d->uuid : look->saved ? look->saved->uuid : NULL;
	uint8_t uuid[16];

	ply_image_uuid(image, uuid);
	return catalog && !memcmp(catalog, ply_image_generation(image)->digest, 32) && !memcmp(of, uuid, sizeof(uuid));
}

int layout_look(const char *path, struct layout_look *ret, struct ply_err *err)
{
	enum update_found open = UPDATE_NONE;
	struct target target;
	struct ply_err none;
	struct state s;
	int r = target_look(&target, path, err);

	*ret = (struct layout_look){ 0 };
	if (r < 0)
		return r;
	state_init(&s, &target, false);
	r = state_find(&s, false, err);
	if (r == 0 && s.has_saved) {
		ret->saved = malloc(sizeof(*ret->saved));
		if (!ret->saved)
			r = ply_fail_nomem(err);
		else
			*ret->saved = s.saved;
		if (ret->saved)
			s.saved = (struct saved){ 0 };
	}
	if (r == 0)
		r = list_done(&s, ret, err);
	if (r == 0)
		r = update_find(s.dir, path, &open, err);
	ret->open = open != UPDATE_NONE;
	ret->remains = s.kind == STATE_LEFT;
	ret->empty = target_check_empty(&target, &none) == 0;
	ret->has_os = journal_has(s.j.committed, PHASE_OS);
	ret->found = s.kind == STATE_ABORTING || s.kind == STATE_REDUCING ? LAYOUT_ABORTED :
		     s.kind != STATE_BEGUN ? LAYOUT_NOTHING :
		     s.j.complete ? LAYOUT_COMPLETE : LAYOUT_UNFINISHED;
	state_close(&s);
	target_close(&target);
	return r;
}

void layout_look_done(struct layout_look *look)
{
	if (look->saved)
		saved_done(look->saved);
	free(look->saved);
	look->saved = NULL;
	for (size_t i = 0; i < look->ndone; i++)
		free(look->done[i].name);
	free(look->done);
	look->done = NULL;
	look->ndone = 0;
}
