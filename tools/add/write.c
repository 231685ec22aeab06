/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The difference as a sub-image. Capture's writer does it: a name that is to be stored belongs to
 * component 0, all others to none, so that their directories are implied; what makes it an overlay, it asks here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "add/overlay.h"
#include "base/util.h"

#define STORED     0
#define NOT_STORED 1

struct writing {
	const struct diff *d;
	const struct idmap *ids;
	struct ply_view *parent;
};

static void map_ids(void *ctx, uint32_t *uid, uint32_t *gid)
{
	const struct writing *w = ctx;

	*uid = idmap_id(w->ids, ID_USER, *uid);
	*gid = idmap_id(w->ids, ID_GROUP, *gid);
}

static int map_xattrs(void *ctx, struct subw_xattr *x, size_t n, struct buf *text)
{
	const struct writing *w = ctx;
	size_t room = 0;

	for (size_t i = 0; i < n; i++)
		room += x[i].value_len;
	if (!idmap_changes(w->ids) || !n)
		return 0;
	if (buf_reserve(text, room + 1) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		uint8_t *to = text->data + text->len;

		size_t len;

		if (!idmap_xattr(w->ids, x[i].name, x[i].value, x[i].value_len, to, &len))
			continue;
		x[i].value = to;
		text->len += x[i].value_len;
	}
	return 0;
}

static const struct buf *content(void *ctx, uint32_t node)
{
	const struct writing *w = ctx;

	return diff_content_of(w->d, node);
}

static int gone(void *ctx, uint32_t dir, struct ply_attr *ret, struct ply_err *err)
{
	const struct writing *w = ctx;

	return ply_view_attr(w->parent, w->d->nodes[dir].ino, ret, err);
}

static bool covers(void *ctx, uint32_t dir)
{
	const struct writing *w = ctx;

	return w->d->nodes[dir].covers;
}

static bool hides(void *ctx, uint32_t node)
{
	const struct writing *w = ctx;

	/* what cannot be read is not gone */
	return w->d->nodes[node].ino != 0 && !(w->d->scan->nodes[node].flags & SCAN_UNREADABLE);
}

static int written(void *ctx, struct subw *subw, uint32_t node, uint32_t index, struct ply_err *err)
{
	const struct writing *w = ctx;
	const struct diff_node *n = &w->d->nodes[node];
	uint8_t digest[32];
	int r;

	if (n->how != DIFF_CHANGED)
		return 0;
	r = diff_digest(w->parent, n->ino, digest, err);
	if (r == 0 && subw_override(subw, index, n->mask, digest) < 0)
		r = ply_fail_nomem(err);
	return r;
}

static uint16_t nobody(void *ctx, uint32_t id)
{
	(void)ctx;
	(void)id;
	return 0;
}

int overlay_write(struct capture *cap, const struct diff *d, const struct idmap *ids, struct ply_view *parent,
		  const char *name, struct subw_result *ret, struct ply_err *err)
{
	struct writing w = { d, ids, parent };
	const struct capture_overlay overlay = { &w, map_ids, map_xattrs, content, gone, covers, hides, written };
	_cleanup_free_ char *copy = strdup(name);
	struct component comp = { .name = copy };
	struct split split = { .comps = &comp, .ncomps = 1, .marks = d->marks };
	int r;

	for (uint32_t i = 0; i < d->scan->n; i++)
		d->scan->nodes[i].comp = diff_is_stored(&d->nodes[i]) ? STORED : NOT_STORED;
	cap->split = &split;
	cap->overlay = &overlay;
	cap->owners = (struct subw_owner_facts){ NULL, nobody, nobody };
	cap->index = calloc(d->scan->n, sizeof(*cap->index));
	cap->digest = calloc(d->scan->n, 1);
	cap->crossing = calloc(d->scan->ngroups / 8 + 1, 1);
	r = copy && cap->index && cap->digest && cap->crossing ? capture_write_sub(cap, 0, ret, err) :
								 ply_fail_nomem(err);
	free(TAKE_PTR(cap->index));
	free(TAKE_PTR(cap->digest));
	free(TAKE_PTR(cap->crossing));
	cap->split = NULL;
	cap->overlay = NULL;
	return r;
}
