/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See choice_image.h. */
#include "choice_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/pool.h"
#include "base/util.h"
#include "codec/codec.h"
#include "image/image_write.h"
#include "merge/cond.h"
#include "sub/sub_write.h"

#define OK(call) \
	do { \
		int ok_ = (call); \
		if (ok_ != 0) { \
			fprintf(stderr, "%s: %d %s\n", #call, ok_, err.msg); \
			abort(); \
		} \
	} while (0)

enum { OS, DB, WEB, SUBS };
static const char *const names[SUBS] = { "os", "db", "web" };

static struct ply_err err;
static struct conds *conds;
static uint32_t db, web, both, without_db, without_both;

static void make_conditions(void)
{
	const uint16_t d = DB, w = WEB, all[] = { DB, WEB };

	conds = conds_new();
	OK(conds_any(conds, &d, 1, &db));
	OK(conds_any(conds, &w, 1, &web));
	OK(conds_and(conds, db, web, &both));
	OK(conds_none(conds, &d, 1, &without_db));
	OK(conds_none(conds, all, 2, &without_both));
}

static uint16_t user_of(void *ctx, uint32_t uid)
{
	(void)ctx;
	return uid == 27 ? DB : OS;
}

static uint16_t group_of(void *ctx, uint32_t gid)
{
	(void)ctx;
	return gid == 33 ? WEB : OS;
}

static uint64_t owned(struct subw *w, uint16_t mode, uint8_t flags, uint32_t uid, uint32_t gid)
{
	struct ply_node n = { .mode = mode, .flags = flags, .mtime_sec = 5, .mtime_nsec = 7 };
	uint64_t index;

	OK(subw_owner(w, uid, gid, uid ? "mysql" : "root", gid ? "www" : "root", &n.owner));
	OK(subw_node(w, &n, &index));
	return index;
}

static uint64_t node(struct subw *w, uint16_t mode, uint8_t flags)
{
	return owned(w, mode, flags, 0, 0);
}

static void entry(struct subw *w, const char *name, uint64_t child, uint32_t cond)
{
	OK(subw_entry_if(w, name, strlen(name), child, cond));
}

/* --- shared files ---------------------------------------------------------------------- */

struct line {
	unsigned in;               /* bits of the sub-images that hold it */
	uint32_t cond, flags;
	const char *text;
};

/* Sub-image @self's part: the records that lie in it. */
static void part(struct subw *w, unsigned self, uint64_t index, uint16_t driver, const struct line *v, size_t n,
		 uint8_t digest[32])
{
	struct subw_record rows[16];
	char text[1024] = "", all[1024] = "";
	size_t rown = 0;

	for (size_t i = 0; i < n; i++) {
		if (i && v[i].flags & v[i - 1].flags & PLY_RECORD_ITEM)
			strcat(all, ",");
		if (v[i].cond != without_db)   /* everything is selected */
			strcat(all, v[i].text);
		if (!(v[i].in >> self & 1))
			continue;
		rows[rown++] = (struct subw_record){ (uint32_t)i, v[i].cond, (uint32_t)strlen(v[i].text),
						     v[i].flags };
		strcat(text, v[i].text);
	}
	OK(sha256_once(all, strlen(all), digest));
	OK(subw_file_whole(w, index, text, strlen(text), NULL, &err));
	OK(subw_shared(w, index, driver, 1, false, digest, rows, rown));
}

enum { PASSWD, GROUP, SHELLS, SHARED };
static uint64_t shared_nodes[SHARED][SUBS];
static uint8_t digests[SHARED][SUBS * 32];

static void parts(struct subw *w, unsigned self)
{
	const struct line passwd[] = {
		{ 1, 0, 0, CHOICE_ROOT }, { 2, db, 0, CHOICE_MYSQL }, { 4, web, 0, CHOICE_WWW },
	};
	uint16_t any[] = { DB, WEB };
	uint32_t either, mysql_of_web;
	struct line group[9];

	OK(conds_any(conds, any, 2, &either));
	OK(conds_and(conds, web, db, &mysql_of_web));
	memcpy(group, (const struct line[]){
		{ 1, 0, 0, "root:x:0:\n" }, { 6, either, 0, "ssl:x:9:" }, { 2, db, PLY_RECORD_ITEM, "mysql" },
		{ 4, web, PLY_RECORD_ITEM, "www" }, { 6, either, 0, "\n" }, { 4, web, 0, "adm:x:4:" },
		{ 4, mysql_of_web, PLY_RECORD_ITEM, "mysql" }, { 4, web, 0, "\n" },
	}, 8 * sizeof(group[0]));
	part(w, self, shared_nodes[GROUP][self], 3, group, 8, digests[GROUP] + 32 * self);
	part(w, self, shared_nodes[PASSWD][self], 1, passwd, 3, digests[PASSWD] + 32 * self);
	if (self == OS) {
		const struct line shells[] = { { 1, 0, 0, "/bin/sh\n" }, { 1, without_db, 0, "/bin/csh\n" } };

		part(w, self, shared_nodes[SHELLS][OS], 14, shells, 2, digests[SHELLS]);
	}
}

/* --- sub-images ------------------------------------------------------------------------- */

static struct subw *begin(struct imagew *iw, struct pool *pool, uint16_t self)
{
	static const struct subw_owner_facts facts = { .user = user_of, .group = group_of };
	struct subw_options o = { .name = names[self], .level = 3, .pool = pool, .nworkers = 1, .max_inflight = 2,
				  .content_uuid = true, .conds = conds, .names = names, .self = self,
				  .owners = &facts };
	struct subw *w;

	OK(out_align(imagew_out(iw), PLY_ALIGN, &err));
	OK(subw_new(imagew_out(iw), &o, &w, &err));
	return w;
}

static void finish(struct imagew *iw, struct subw *w, uint32_t self)
{
	static const char *const requires[] = { "os" };
	struct imagew_sub sub = { .name = names[self], .arch = "amd64", .distro = "debian-12", .summary = "",
				  .flags = self == OS ? PLY_SUB_OS : 0, .rank = self, .requires = requires,
				  .nrequires = self != OS };
	struct subw_result seg;
	uint32_t number;

	OK(subw_finish(w, &seg, &err));
	subw_free(w);
	OK(imagew_add_sub(iw, &sub, &seg, &number, &err));
	OK(number == self ? 0 : -1);
}

static uint64_t etc[SUBS], run[SUBS];

static void os_sub(struct imagew *iw, struct pool *pool)
{
	struct subw *w = begin(iw, pool, OS);
	uint64_t root = node(w, S_IFDIR | 0755, 0), cache, tool;

	etc[OS] = node(w, S_IFDIR | 0755, 0);
	run[OS] = node(w, S_IFDIR | 0750, 0);
	cache = node(w, S_IFREG | 0644, 0);
	shared_nodes[GROUP][OS] = node(w, S_IFREG | 0644, 0);
	shared_nodes[PASSWD][OS] = node(w, S_IFREG | 0644, 0);
	shared_nodes[SHELLS][OS] = node(w, S_IFREG | 0644, 0);
	tool = node(w, S_IFLNK | 0777, 0);
	OK(subw_dir(w, root));
	entry(w, "etc", etc[OS], 0);
	entry(w, "run", run[OS], 0);
	OK(subw_dir(w, etc[OS]));
	entry(w, "cache", cache, both);
	entry(w, "group", shared_nodes[GROUP][OS], 0);
	entry(w, "passwd", shared_nodes[PASSWD][OS], 0);
	entry(w, "shells", shared_nodes[SHELLS][OS], 0);
	entry(w, "tool", tool, without_both);
	OK(subw_dir(w, run[OS]));
	OK(subw_symlink(w, tool, "os", 2));
	OK(subw_file_whole(w, cache, "cache", 5, NULL, &err));
	parts(w, OS);
	finish(iw, w, OS);
}

static void db_sub(struct imagew *iw, struct pool *pool)
{
	struct subw *w = begin(iw, pool, DB);
	const struct subw_xattr x[] = { { "security.capability", "cap", 3, 0 }, { "user.acl", "long", 4, web },
					{ "user.acl", "short", 5, 0 }, { "user.last", "z", 1, web } };
	uint64_t root = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED), data, tool;

	etc[DB] = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED);
	run[DB] = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED);
	shared_nodes[GROUP][DB] = node(w, S_IFREG | 0644, 0);
	shared_nodes[PASSWD][DB] = node(w, S_IFREG | 0644, 0);
	tool = node(w, S_IFLNK | 0777, 0);
	data = owned(w, S_IFREG | 06755, 0, 27, 33);
	OK(subw_xattrs(w, x, ARRAY_SIZE(x), &subw_node_at(w, data)->xattrs));
	OK(subw_dir(w, root));
	entry(w, "etc", etc[DB], 0);
	entry(w, "run", run[DB], 0);
	OK(subw_dir(w, etc[DB]));
	entry(w, "group", shared_nodes[GROUP][DB], 0);
	entry(w, "passwd", shared_nodes[PASSWD][DB], 0);
	entry(w, "tool", tool, db);
	OK(subw_dir(w, run[DB]));
	entry(w, "data", data, 0);
	OK(subw_symlink(w, tool, "db", 2));
	parts(w, DB);
	OK(subw_file_whole(w, data, "data", 4, NULL, &err));
	finish(iw, w, DB);
}

static void web_sub(struct imagew *iw, struct pool *pool)
{
	struct subw *w = begin(iw, pool, WEB);
	uint64_t root = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED), tool, cache;
	uint32_t only;

	OK(conds_and(conds, web, without_db, &only));
	etc[WEB] = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED);
	cache = node(w, S_IFREG | 0644, 0);
	shared_nodes[GROUP][WEB] = node(w, S_IFREG | 0644, 0);
	shared_nodes[PASSWD][WEB] = node(w, S_IFREG | 0644, 0);
	tool = node(w, S_IFLNK | 0777, 0);
	OK(subw_dir(w, root));
	entry(w, "etc", etc[WEB], 0);
	OK(subw_dir(w, etc[WEB]));
	entry(w, "cache", cache, only);
	entry(w, "group", shared_nodes[GROUP][WEB], 0);
	entry(w, "passwd", shared_nodes[PASSWD][WEB], 0);
	entry(w, "tool", tool, only);
	OK(subw_symlink(w, tool, "web", 3));
	OK(subw_file_whole(w, cache, "of web", 6, NULL, &err));
	parts(w, WEB);
	finish(iw, w, WEB);
}

static void join(struct imagew *iw, uint8_t kind, const uint64_t nodes[SUBS], const uint8_t *digest, uint32_t n,
		 uint64_t *ret)
{
	uint64_t refs[SUBS];

	for (uint32_t i = 0; i < n; i++)
		refs[i] = PLY_INO(i, nodes[i]);
	OK(imagew_join(iw, kind, refs, digest, n, ret, &err));
}

void choice_image(const char *path)
{
	const uint64_t roots[SUBS] = { 1, 1, 1 };
	uint64_t row, first;
	struct imagew *iw;
	struct pool *pool;

	make_conditions();
	OK(pool_new(1, 4, &pool));
	OK(imagew_new(path, true, &iw, &err));
	os_sub(iw, pool);
	db_sub(iw, pool);
	web_sub(iw, pool);
	join(iw, PLY_J_DIRECTORY, roots, NULL, SUBS, &row);
	join(iw, PLY_J_DIRECTORY, etc, NULL, SUBS, &first);
	join(iw, PLY_J_DIRECTORY, run, NULL, 2, NULL);
	OK(imagew_join_children(iw, row, first, 2));
	join(iw, PLY_J_FILE, shared_nodes[GROUP], digests[GROUP], SUBS, NULL);
	join(iw, PLY_J_FILE, shared_nodes[PASSWD], digests[PASSWD], SUBS, NULL);
	OK(imagew_publish(iw, &(struct imagew_options){ .time_sec = 1, .content_uuid = true, .message = "choice",
							.tool = "test" }, &err));
	imagew_free(iw);
	pool_free(pool);
	conds_free(conds);
}
