/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/remove_ids.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "merge/parse.h"

const char *const remove_ids_paths[] = { "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", NULL };

static void list_done(struct id_list *l)
{
	for (size_t i = 0; i < l->nnames; i++)
		free(l->names[i]);
	free(l->names);
	free(l->v);
}

void remove_ids_done(struct remove_ids *ids)
{
	list_done(&ids->users);
	list_done(&ids->groups);
	*ids = (struct remove_ids){ 0 };
}

/* --- which are in use ---------------------------------------------------------------- */

static bool has_id(const struct id_list *l, uint32_t id)
{
	for (size_t i = l->n; i-- > 0;)
		if (l->v[i] == id)
			return true;
	return false;
}

static int add_id(struct id_list *l, uint32_t id)
{
	if (has_id(l, id))
		return 0;
	if (array_grow(&l->v, &l->cap, l->n + 1, sizeof(*l->v)) < 0)
		return -ENOMEM;
	l->v[l->n++] = id;
	return 0;
}

int remove_ids_add(struct remove_ids *ids, uint32_t uid, uint32_t gid)
{
	int r = add_id(&ids->users, uid);

	return r < 0 ? r : add_id(&ids->groups, gid);
}

int remove_ids_add_kept(struct remove_ids *ids, const struct kept *kept, const char *but)
{
	int r = 0;

	for (size_t i = 0; i < kept->n; i++) {
		const struct changes *c = &kept->v[i];

		for (size_t k = 0; r == 0 && k < c->n && strcmp(c->names[0], but) != 0; k++)
			if (c->v[k].after.mode)
				r = remove_ids_add(ids, c->v[k].after.uid, c->v[k].after.gid);
	}
	return r;
}

static int add_below(struct remove_ids *ids, int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	if (!d) {
		r = -errno;
		cleanup_close(&fd);
		return r == -ENOENT ? 0 : r;
	}
	while (r == 0 && (de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			r = remove_ids_add_tree(ids, fd, de->d_name);
	closedir(d);
	return r;
}

int remove_ids_add_tree(struct remove_ids *ids, int dir, const char *name)
{
	struct stat st;
	int r;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	r = remove_ids_add(ids, st.st_uid, st.st_gid);
	return r < 0 || !S_ISDIR(st.st_mode) ? r : add_below(ids, dir, name);
}

/* --- whose lines they are ------------------------------------------------------------------ */

static bool field(struct span line, unsigned n, struct span *ret)
{
	for (unsigned i = 0; i <= n; i++)
		if (!line.s || !span_cut(&line, ':', ret))
			return false;
	return true;
}

static bool id_field(struct span line, unsigned n, uint32_t *ret)
{
	uint64_t id = 0;
	struct span text;

	if (!field(line, n, &text) || !text.len || text.len > 10)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.s[i] < '0' || text.s[i] > '9')
			return false;
		id = id * 10 + (text.s[i] - '0');
	}
	*ret = (uint32_t)id;
	return id < UINT32_MAX;
}

static bool has_name(const struct id_list *l, struct span name)
{
	for (size_t i = 0; i < l->nnames; i++)
		if (span_is((struct span){ (const uint8_t *)l->names[i], strlen(l->names[i]) }, name))
			return true;
	return false;
}

static int add_name(struct id_list *l, struct span name)
{
	char *copy;

	if (array_grow(&l->names, &l->names_cap, l->nnames + 1, sizeof(*l->names)) < 0 ||
	    !(copy = strndup((const char *)name.s, name.len)))
		return -ENOMEM;
	l->names[l->nnames++] = copy;
	return 0;
}

/* passwd and group: by the number; the shadows have the names of those. 1: it stays. */
static int line_stays(struct remove_ids *ids, const char *path, struct span line, struct span name)
{
	bool user = !strcmp(path, "etc/passwd") || !strcmp(path, "etc/shadow");
	struct id_list *l = user ? &ids->users : &ids->groups;
	uint32_t id, gid;

	if (strstr(path, "shadow"))
		return has_name(l, name);
	if (!id_field(line, 2, &id) || !has_id(l, id))
		return 0;
	if (user && id_field(line, 3, &gid) && add_id(&ids->groups, gid) < 0)
		return -ENOMEM;
	return add_name(l, name) < 0 ? -ENOMEM : 1;
}

/* Has @text a line of that name? */
static bool names_it(struct span text, struct span name)
{
	struct lines lines;
	struct line line;
	struct span other;

	if (lines_init(&lines, text.s, text.len, NULL) < 0)
		return true;
	while (lines_next(&lines, &line))
		if (field(line.text, 0, &other) && span_is(other, name))
			return true;
	return false;
}

int remove_ids_lines(struct remove_ids *ids, const char *path, struct span before, struct span with, struct buf *out)
{
	struct lines lines;
	struct line line;
	struct span name;
	int some = 0;

	if (lines_init(&lines, with.s, with.len, NULL) < 0)
		return 0;
	while (lines_next(&lines, &line)) {
		int r;

		if (!field(line.text, 0, &name) || !name.len || names_it(before, name))
			continue;
		r = line_stays(ids, path, line.text, name);
		if (r < 0 || (r && ((out->len && out->data[out->len - 1] != '\n' && buf_add(out, "\n", 1) < 0) ||
				    buf_add(out, line.all.s, line.all.len) < 0)))
			return -ENOMEM;
		some |= r;
	}
	return some;
}
