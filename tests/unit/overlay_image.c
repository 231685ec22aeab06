/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See overlay_image.h. */
#include "overlay_image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/pool.h"
#include "base/util.h"
#include "codec/codec.h"
#include "plyfs/image.h"
#include "small_image.h"

/* Nodes of small_image(). */
enum { OS_DEV = 3, OS_ETC = 4, OS_SHARED = 6, OS_USR = 7 };
enum { WEB_ETC = 2, WEB_USR = 3, WEB_SHARED = 5, WEB_DIR = 6 };
/* Of the overlays. */
enum { DB_ETC = 2, DB_USR = 3, DB_CONF = 4, DB_HOSTS = 5, DB_GONE = 6 };
enum { CACHE_DEV = 2, CACHE_ETC = 3, CACHE_CONF = 4, CACHE_HOSTS = 5 };

#define TRY(call) \
	do { \
		int try_ = (call); \
		if (try_ < 0) \
			return try_; \
	} while (0)

struct add {
	struct imagew *iw;
	struct ply_image *from;
	struct pool *pool;
	struct subw *w;
};

static int node(struct subw *w, uint16_t mode, uint8_t flags)
{
	struct ply_node n = { .mode = mode, .flags = flags, .mtime_sec = 9 };
	uint64_t index;

	TRY(subw_owner(w, 0, 0, "root", "root", &n.owner));
	return subw_node(w, &n, &index);
}

static int begin(struct add *a, const char *name, struct ply_err *err)
{
	struct subw_options o = { .name = name, .level = 3, .pool = a->pool, .nworkers = 1, .max_inflight = 2,
				  .content_uuid = true, .overlay = true };

	TRY(out_align(imagew_out(a->iw), PLY_ALIGN, err));
	TRY(subw_new(imagew_out(a->iw), &o, &a->w, err));
	return node(a->w, S_IFDIR | 0755, PLY_NODE_IMPLIED);
}

static int end(struct add *a, const struct imagew_sub *s, struct ply_err *err)
{
	struct subw_result seg;
	uint32_t number;

	TRY(subw_finish(a->w, &seg, err));
	return imagew_add_sub(a->iw, s, &seg, &number, err);
}

static int add_db(struct add *a, struct ply_err *err)
{
	static const char *const on[] = { "os", "web" };
	uint8_t hosts[32];
	struct subw *w;

	TRY(sha256_once("127.0.0.1 x\n", 12, hosts));
	TRY(begin(a, "db", err));
	w = a->w;
	TRY(node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED));
	TRY(node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED));
	TRY(node(w, S_IFREG | 0644, 0));
	TRY(node(w, S_IFREG | 0644, 0));
	TRY(node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED));
	TRY(subw_dir(w, PLY_ROOT_INDEX));
	TRY(subw_whiteout(w, "dev0", 4, 0));
	TRY(subw_entry(w, "etc", 3, DB_ETC));
	TRY(subw_entry(w, "usr", 3, DB_USR));
	TRY(subw_dir(w, DB_ETC));
	TRY(subw_entry(w, "db.conf", 7, DB_CONF));
	TRY(subw_entry(w, "hosts", 5, DB_HOSTS));
	TRY(subw_dir(w, DB_USR));
	TRY(subw_whiteout(w, "web", 3, DB_GONE));
	TRY(subw_dir(w, DB_GONE));
	TRY(subw_whiteout(w, "page", 4, 0));
	TRY(subw_override(w, DB_HOSTS, PLY_OVER_CONTENT, hosts));
	TRY(subw_file_whole(w, DB_CONF, "port = 1\n", 9, NULL, err));
	TRY(subw_file_whole(w, DB_HOSTS, "127.0.0.1 x\n10.0.0.1 db\n", 24, NULL, err));
	return end(a, &(struct imagew_sub){ .name = "db", .arch = "amd64", .distro = "debian-12", .rank = 2,
					    .flags = PLY_SUB_OVERLAY, .requires = on, .nrequires = 2,
					    .stands_on = on, .nstands_on = 2 }, err);
}

static int add_cache(struct add *a, struct ply_err *err)
{
	static const char *const on[] = { "os" };
	uint8_t hosts[32];
	struct subw *w;

	TRY(sha256_once("127.0.0.1 x\n", 12, hosts));
	TRY(begin(a, "cache", err));
	w = a->w;
	TRY(node(w, S_IFCHR | 0660, 0));
	subw_node_at(w, CACHE_DEV)->size = 5ULL << 32 | 1;
	TRY(node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED));
	TRY(node(w, S_IFREG | 0644, 0));
	TRY(node(w, S_IFREG | 0644, 0));
	TRY(subw_dir(w, PLY_ROOT_INDEX));
	TRY(subw_entry(w, "dev0", 4, CACHE_DEV));
	TRY(subw_entry(w, "etc", 3, CACHE_ETC));
	TRY(subw_dir(w, CACHE_ETC));
	TRY(subw_entry(w, "db.conf", 7, CACHE_CONF));
	TRY(subw_entry(w, "hosts", 5, CACHE_HOSTS));
	TRY(subw_override(w, CACHE_HOSTS, PLY_OVER_CONTENT, hosts));
	TRY(subw_override(w, CACHE_DEV, PLY_OVER_MODE, NULL));
	TRY(subw_file_whole(w, CACHE_CONF, "no text of any form\n", 20, NULL, err));
	TRY(subw_file_whole(w, CACHE_HOSTS, "10.0.0.2 cache\n127.0.0.1 x\n", 27, NULL, err));
	return end(a, &(struct imagew_sub){ .name = "cache", .arch = "amd64", .distro = "debian-12", .rank = 3,
					    .flags = PLY_SUB_OVERLAY, .requires = on, .nrequires = 1,
					    .stands_on = on, .nstands_on = 1 }, err);
}

static int join(struct add *a, bool cache, struct ply_err *err)
{
	const uint64_t roots[] = { PLY_INO(0, 1), PLY_INO(1, 1), PLY_INO(2, 1), PLY_INO(3, 1) };
	const uint64_t etc[] = { PLY_INO(0, OS_ETC), PLY_INO(1, WEB_ETC), PLY_INO(2, DB_ETC), PLY_INO(3, CACHE_ETC) };
	const uint64_t usr[] = { PLY_INO(0, OS_USR), PLY_INO(1, WEB_USR), PLY_INO(2, DB_USR) };
	const uint64_t gone[] = { PLY_INO(1, WEB_DIR), PLY_INO(2, DB_GONE) };
	const uint64_t shared[] = { PLY_INO(0, OS_SHARED), PLY_INO(1, WEB_SHARED) };
	uint8_t *p = malloc(SMALL_SHARED), digests[64];
	uint32_t n = 3 + cache;
	int r;

	for (size_t i = 0; p && i < SMALL_SHARED; i++)
		p[i] = small_byte(2, i);
	r = p ? sha256_once(p, SMALL_SHARED, digests) : -ENOMEM;
	free(p);
	TRY(r);
	memcpy(digests + 32, digests, 32);
	TRY(imagew_join(a->iw, PLY_J_DIRECTORY, roots, NULL, n, NULL, err));
	TRY(imagew_join(a->iw, PLY_J_DIRECTORY, etc, NULL, n, NULL, err));
	TRY(imagew_join(a->iw, PLY_J_DIRECTORY, usr, NULL, 3, NULL, err));
	TRY(imagew_join(a->iw, PLY_J_DIRECTORY, gone, NULL, 2, NULL, err));
	TRY(imagew_join(a->iw, PLY_J_LINKS, shared, digests, 2, NULL, err));
	TRY(imagew_join_children(a->iw, 0, 1, 2));
	return imagew_join_children(a->iw, 2, 3, 1);
}

static int collide(struct add *a, struct ply_err *err)
{
	TRY(imagew_collision(a->iw, PLY_INO(2, DB_HOSTS), PLY_INO(3, CACHE_HOSTS), PLY_PAIR_THREE_WAY,
			     PLY_PAIR_WHY_NONE, PLY_PAIR_F_CONTENT, err));
	TRY(imagew_collision(a->iw, PLY_INO(2, DB_CONF), PLY_INO(3, CACHE_CONF), PLY_PAIR_CONFLICT,
			     PLY_PAIR_WHY_UNKNOWN, PLY_PAIR_F_CONTENT | PLY_PAIR_APPENDABLE, err));
	/* row 0 of ENTRIES of db */
	return imagew_collision(a->iw, PLY_INO(2, 1), PLY_INO(3, CACHE_DEV), PLY_PAIR_CONFLICT, PLY_PAIR_WHY_DELETED,
				PLY_PAIR_F_MODE | PLY_PAIR_A_WHITEOUT, err);
}

static int publish(struct add *a, const char *message, struct ply_err *err)
{
	return imagew_publish(a->iw, &(struct imagew_options){ .time_sec = 2, .content_uuid = true,
								.message = message, .tool = "test" }, err);
}

static int open_add(const char *path, struct add *a, struct ply_err *err)
{
	TRY(ply_image_open(path, &a->from, err));
	TRY(pool_new(1, 2, &a->pool));
	return imagew_append(path, a->from, &a->iw, err);
}

static int close_add(struct add *a, int r)
{
	subw_free(a->w);
	imagew_free(a->iw);
	pool_free(a->pool);
	ply_image_close(a->from);
	return r;
}

int overlay_add_db(const char *path, struct ply_err *err)
{
	struct add a = { 0 };
	int r = open_add(path, &a, err);

	if (r == 0)
		r = add_db(&a, err);
	if (r == 0)
		r = join(&a, false, err);
	if (r == 0)
		r = publish(&a, "db", err);
	return close_add(&a, r);
}

int overlay_add_cache(const char *path, struct ply_err *err)
{
	struct add a = { 0 };
	int r = open_add(path, &a, err);

	if (r == 0)
		r = add_cache(&a, err);
	if (r == 0)
		r = join(&a, true, err);
	if (r == 0)
		r = collide(&a, err);
	if (r == 0)
		r = publish(&a, "cache", err);
	return close_add(&a, r);
}

int overlay_remove(const char *path, uint32_t number, struct ply_err *err)
{
	struct add a = { 0 };
	int r = open_add(path, &a, err);

	if (r == 0)
		r = imagew_remove_sub(a.iw, number, err);
	if (r == 0)
		r = publish(&a, "remove", err);
	return close_add(&a, r);
}

void overlay_image(const char *path)
{
	struct ply_err err;

	small_image(path, 1);
	if (overlay_add_db(path, &err) < 0 || overlay_add_cache(path, &err) < 0) {
		fprintf(stderr, "overlay_image: %s\n", err.msg);
		abort();
	}
}
