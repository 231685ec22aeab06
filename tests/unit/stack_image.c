/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See stack_image.h. */
#include "stack_image.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/pool.h"
#include "base/util.h"
#include "codec/codec.h"
#include "image/image_write.h"
#include "sub/sub_write.h"

#define OK(call) \
	do { \
		int ok_ = (call); \
		if (ok_ != 0) { \
			fprintf(stderr, "%s: %d %s\n", #call, ok_, err.msg); \
			abort(); \
		} \
	} while (0)

#define NODES_MAX 64
#define SUBS_MAX  520

/* A name in a sub-image's tree; 0 is the root. In the order of nodes when it is written. */
struct leaf {
	const struct item *item;   /* NULL: implied */
	char path[64];
	const char *name;
	int parent;
	uint64_t index;            /* node; 0: it has none */
	uint64_t row;              /* of ENTRIES */
};

struct tree {
	const char *name;
	struct leaf v[NODES_MAX];
	int n;
};

static struct ply_err err;
static struct tree *trees;
static uint32_t ntrees;
static struct {
	uint64_t a, b;
	uint8_t cls;
	uint16_t flags;
} raw[4];
static size_t nraw;

static bool is_dir(const struct leaf *l)
{
	return !l->item || strchr("diW", l->item->type);
}

static struct leaf *find(struct tree *t, const char *path)
{
	for (int i = 0; i < t->n; i++)
		if (!strcmp(t->v[i].path, path))
			return &t->v[i];
	return NULL;
}

static int add_leaf(struct tree *t, const char *path, const struct item *item)
{
	const char *slash = strrchr(path, '/');
	struct leaf *l = find(t, path);
	char up[64] = "";
	int parent = 0;

	if (l) {
		l->item = item ? item : l->item;
		return (int)(l - t->v);
	}
	if (t->n) {
		snprintf(up, sizeof(up), "%.*s", slash ? (int)(slash - path) : 0, path);
		parent = add_leaf(t, up, NULL);
	}
	if (t->n == NODES_MAX)
		abort();
	l = &t->v[t->n];
	*l = (struct leaf){ .item = item, .parent = parent };
	snprintf(l->path, sizeof(l->path), "%s", path);
	l->name = slash ? l->path + (slash - path) + 1 : l->path;
	return t->n++;
}

/* The children of @dir, by name; how many. */
static int children(struct tree *t, int dir, int *out)
{
	int n = 0;

	for (int i = 1; i < t->n; i++) {
		int at = n;

		if (t->v[i].parent != dir)
			continue;
		for (; at && strcmp(t->v[out[at - 1]].name, t->v[i].name) > 0; at--)
			out[at] = out[at - 1];
		out[at] = i;
		n++;
	}
	return n;
}

static void make_node(struct subw *w, struct leaf *l)
{
	const struct item *it = l->item;
	bool implied = !it || it->type == 'i' || it->type == 'W';
	struct ply_node n = { .mtime_sec = it && it->mtime ? it->mtime : 5,
			      .flags = (uint8_t)((implied ? PLY_NODE_IMPLIED : 0) | (it ? it->flags : 0)) };

	n.mode = is_dir(l) ? S_IFDIR : it->type == 'l' ? S_IFLNK : S_IFREG;
	n.mode |= it && it->mode && it->type != 's' ? it->mode : n.mode == S_IFREG ? 0644 : n.mode == S_IFLNK ? 0777 : 0755;
	OK(subw_owner(w, it ? it->uid : 0, 0, it && it->uid ? "user" : "root", "root", &n.owner));
	if (it && it->xattr)
		OK(subw_xattrs(w, &(struct subw_xattr){ "user.x", it->xattr, strlen(it->xattr), 0 }, 1, &n.xattrs));
	OK(subw_node(w, &n, &l->index));
}

/* Directories breadth-first: their numbers in @order. */
static int number_nodes(struct subw *w, struct tree *t, int *order)
{
	int n = 1, kids[NODES_MAX];

	order[0] = 0;
	make_node(w, &t->v[0]);
	for (int at = 0; at < n; at++) {
		int count = children(t, order[at], kids);

		for (int k = 0; k < count; k++) {
			struct leaf *l = &t->v[kids[k]];

			if (l->item && strchr("whx", l->item->type))
				continue;
			make_node(w, l);
			if (is_dir(l))
				order[n++] = kids[k];
		}
	}
	return n;
}

static void write_entries(struct subw *w, struct tree *t, const int *order, int n)
{
	int kids[NODES_MAX];
	uint64_t row = 0;

	for (int at = 0; at < n; at++) {
		int count = children(t, order[at], kids);

		OK(subw_dir(w, t->v[order[at]].index));
		for (int k = 0; k < count; k++) {
			struct leaf *l = &t->v[kids[k]];
			char type = l->item ? l->item->type : 'i';

			l->row = row++;
			if (type == 'x')
				OK(subw_whiteout(w, l->name, strlen(l->name), find(t, l->item->text)->index));
			else if (type == 'w' || type == 'W')
				OK(subw_whiteout(w, l->name, strlen(l->name), l->index));
			else
				OK(subw_entry(w, l->name, strlen(l->name),
					      type == 'h' ? find(t, l->item->text)->index : l->index));
		}
	}
}

static uint8_t shared_digest[32];  /* of the one shared file of an image */

static void write_shared(struct subw *w, const struct leaf *l)
{
	struct subw_record rows[8];
	const char *p = l->item->text;
	size_t n = 0;

	for (const char *end; *p; p = end) {
		end = strchr(p, '\n') + 1;
		rows[n] = (struct subw_record){ .ordinal = (uint32_t)(l->item->mode + n), .len = (uint32_t)(end - p) };
		n++;
	}
	OK(subw_shared(w, l->index, 1, 1, false, shared_digest, rows, n));
}

static void write_content(struct subw *w, struct tree *t)
{
	for (uint64_t index = 1; index < NODES_MAX; index++) {
		struct leaf *l = NULL;

		for (int i = 0; i < t->n; i++)
			if (t->v[i].index == index)
				l = &t->v[i];
		if (!l || !l->item)
			continue;
		if (l->item->type == 'l')
			OK(subw_symlink(w, index, l->item->text, strlen(l->item->text)));
		if (l->item->type == 's' || l->item->type == 'f')
			OK(subw_file_whole(w, index, l->item->text, strlen(l->item->text), NULL, &err));
		if (l->item->type == 's')
			write_shared(w, l);
		if (l->item->over)
			OK(subw_override(w, index, l->item->over, NULL));
	}
}

static void write_sub(struct imagew *iw, struct pool *pool, const struct sub_table *s, uint32_t number)
{
	bool overlay = s->stands_on[0];
	struct subw_options o = { .name = s->name, .level = 1, .pool = pool, .nworkers = 1, .max_inflight = 2,
				  .content_uuid = true, .overlay = overlay };
	struct tree *t = &trees[number];
	struct imagew_sub sub = { .name = s->name, .arch = "amd64", .distro = "debian-12", .summary = "",
				  .flags = number ? overlay ? PLY_SUB_OVERLAY : 0 : PLY_SUB_OS, .rank = number };
	static const char *requires[SUBS_MAX];     /* borrowed until it is published */
	int order[NODES_MAX], n;
	struct subw_result seg;
	struct subw *w;
	uint32_t given;

	t->name = s->name;
	add_leaf(t, "", NULL);
	for (const struct item *it = s->items; it && it->path; it++)
		add_leaf(t, it->path, it);
	OK(out_align(imagew_out(iw), PLY_ALIGN, &err));
	OK(subw_new(imagew_out(iw), &o, &w, &err));
	n = number_nodes(w, t, order);
	write_entries(w, t, order, n);
	write_content(w, t);
	OK(subw_finish(w, &seg, &err));
	subw_free(w);
	for (; overlay && s->stands_on[sub.nstands_on] && sub.nstands_on < ARRAY_SIZE(s->stands_on); sub.nstands_on++)
		;
	sub.stands_on = s->stands_on;
	requires[number] = s->requires ? s->requires : "os";
	sub.requires = overlay ? s->stands_on : &requires[number];
	sub.nrequires = overlay ? sub.nstands_on : number != 0;
	OK(imagew_add_sub(iw, &sub, &seg, &given, &err));
	OK(given == number ? 0 : -1);
}

/* Joins what has @path: directories, or parts of a shared file. */
static bool join_path(struct imagew *iw, const char *path, bool directory, uint64_t *ret_row)
{
	static uint64_t refs[SUBS_MAX];
	static uint8_t digests[SUBS_MAX * 32];
	uint32_t n = 0;

	for (uint32_t i = 0; i < ntrees; i++) {
		struct leaf *l = find(&trees[i], path);

		if (!l || (directory ? !is_dir(l) : !l->item || l->item->type != 's'))
			continue;
		memcpy(digests + 32 * (size_t)n, shared_digest, 32);
		refs[n++] = PLY_INO(i, l->index);
	}
	if (n < 2)
		return false;
	OK(imagew_join(iw, directory ? PLY_J_DIRECTORY : PLY_J_FILE, refs, directory ? NULL : digests, n, ret_row, &err));
	return true;
}

struct joined {
	char path[64];
	uint64_t row;
};

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct joined *)a)->path, ((const struct joined *)b)->path);
}

static void join_directories(struct imagew *iw)
{
	static struct joined queue[NODES_MAX], kids[NODES_MAX * 4];
	int n = 0;

	queue[0].path[0] = '\0';
	if (!join_path(iw, "", true, &queue[0].row))
		return;
	n = 1;
	for (int at = 0; at < n; at++) {
		uint64_t first = 0, count = 0;
		int nkids = 0;

		for (uint32_t i = 0; i < ntrees; i++) {
			struct leaf *dir = find(&trees[i], queue[at].path);

			for (int k = 1; dir && k < trees[i].n; k++) {
				struct leaf *l = &trees[i].v[k];
				bool known = false;

				if (&trees[i].v[l->parent] != dir || !is_dir(l))
					continue;
				for (int q = 0; q < nkids; q++)
					known |= !strcmp(kids[q].path, l->path);
				if (!known)
					strcpy(kids[nkids++].path, l->path);
			}
		}
		qsort(kids, (size_t)nkids, sizeof(*kids), by_path);
		for (int k = 0; k < nkids; k++) {
			if (!join_path(iw, kids[k].path, true, &kids[k].row))
				continue;
			if (!count++)
				first = kids[k].row;
			queue[n++] = kids[k];
		}
		if (count)
			OK(imagew_join_children(iw, queue[at].row, first, count));
	}
}

static void join_shared(struct imagew *iw)
{
	for (int i = 0; i < trees[0].n; i++)
		if (trees[0].v[i].item && trees[0].v[i].item->type == 's')
			join_path(iw, trees[0].v[i].path, false, NULL);
}

/* SHA-256 of all parts, one behind the other: they are in order of their ordinals. */
static void digest_shared(const struct sub_table *subs)
{
	char all[512] = "";

	for (const struct sub_table *s = subs; s->name; s++)
		for (const struct item *it = s->items; it && it->path; it++)
			if (it->type == 's')
				strcat(all, it->text);
	OK(sha256_once(all, strlen(all), shared_digest));
}

static uint64_t contender(const char *sub, const char *path, bool *ret_whiteout)
{
	for (uint32_t i = 0; i < ntrees; i++) {
		struct leaf *l = strcmp(trees[i].name, sub) ? NULL : find(&trees[i], path);

		if (!l)
			continue;
		*ret_whiteout = l->item && strchr("wWx", l->item->type);
		if (l->item && l->item->type == 'h')
			return PLY_INO(i, find(&trees[i], l->item->text)->index);
		return PLY_INO(i, *ret_whiteout ? l->row + 1 : l->index);
	}
	abort();
}

void stack_pair(const char *path, const char *a, const char *b, uint64_t *ret_a, uint64_t *ret_b)
{
	bool whiteout;

	*ret_a = contender(a, path, &whiteout);
	*ret_b = contender(b, path, &whiteout);
}

void stack_add_raw(uint64_t a, uint64_t b, uint8_t cls, uint16_t flags)
{
	raw[nraw].a = a;
	raw[nraw].b = b;
	raw[nraw].cls = cls;
	raw[nraw++].flags = flags;
}

void stack_image(const char *path, const struct sub_table *subs, const struct pair *pairs)
{
	struct imagew *iw;
	struct pool *pool;

	free(trees);
	trees = calloc(SUBS_MAX, sizeof(*trees));
	digest_shared(subs);
	OK(pool_new(1, 4, &pool));
	OK(imagew_new(path, true, &iw, &err));
	for (ntrees = 0; subs[ntrees].name; ntrees++)
		write_sub(iw, pool, &subs[ntrees], ntrees);
	join_directories(iw);
	join_shared(iw);
	for (; pairs && pairs->path; pairs++) {
		bool a, b;
		uint64_t x = contender(pairs->a, pairs->path, &a), y = contender(pairs->b, pairs->path, &b);

		OK(imagew_collision(iw, x, y, pairs->cls, pairs->why,
				    (uint16_t)(pairs->flags | (a ? PLY_PAIR_A_WHITEOUT : 0) | (b ? PLY_PAIR_B_WHITEOUT : 0)),
				    &err));
	}
	for (size_t i = 0; i < nraw; i++)
		OK(imagew_collision(iw, raw[i].a, raw[i].b, raw[i].cls, 0, raw[i].flags, &err));
	nraw = 0;
	OK(imagew_publish(iw, &(struct imagew_options){ .time_sec = 1, .content_uuid = true, .message = "overlays",
							.tool = "test" }, &err));
	imagew_free(iw);
	pool_free(pool);
}
