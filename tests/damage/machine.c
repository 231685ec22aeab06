/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See machine.h. Content is as small as zstd makes it: each byte of the image costs a dozen commands. */
#include "damage/machine.h"

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

#define LARGE       (2u * PLY_BLOCK_SIZE + 5000u)
#define LARGE_DATA  (PLY_BLOCK_SIZE + PLY_PAGE)     /* then a hole to the third block */
#define SHARED      9000u

#define OK(call) \
	do { \
		int ok_ = (call); \
		if (ok_ != 0) { \
			fprintf(stderr, "%s: %d %s\n", #call, ok_, err.msg); \
			abort(); \
		} \
	} while (0)

static struct ply_err err;

/* --- what depends on a selection ------------------------------------------------------------- */

enum { OS, WEB };
static struct conds *conds;
static uint32_t with_web, without_web;

static uint16_t user_of(void *ctx, uint32_t uid)
{
	(void)ctx;
	return uid ? WEB : OS;
}

static uint16_t group_of(void *ctx, uint32_t gid)
{
	(void)ctx;
	(void)gid;
	return OS;
}

/* /etc/group of @self: "root:x:0:" [ daemon , web ] "\n" [ web:x:3: "\n" ] */
static const struct record {
	uint16_t in;
	uint32_t flags;
	const char *text;
} group[] = {
	{ OS, 0, "root:x:0:" }, { OS, PLY_RECORD_ITEM, "sys" }, { WEB, PLY_RECORD_ITEM, "web" }, { OS, 0, "\n" },
	{ WEB, 0, "web:x:3:\n" }, { OS, 0, "less:x:4:\n" },
};
#define LESS 5                     /* without web */

static void part(struct subw *w, uint16_t self, uint64_t index)
{
	static const char all[] = "root:x:0:sys,web\nweb:x:3:\n";
	struct subw_record rows[ARRAY_SIZE(group)];
	uint8_t digest[32];
	char text[64] = "";
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(group); i++) {
		if (group[i].in != self)
			continue;
		rows[n++] = (struct subw_record){ (uint32_t)i, i == LESS ? without_web : self ? with_web : 0,
						  (uint32_t)strlen(group[i].text), group[i].flags };
		strcat(text, group[i].text);
	}
	OK(sha256_once(all, strlen(all), digest));
	OK(subw_file_whole(w, index, text, strlen(text), NULL, &err));
	OK(subw_shared(w, index, 3, 1, false, digest, rows, n));
}

/* --- nodes ----------------------------------------------------------------------------------- */

/* Runs of @run equal bytes; 1 is as good as random. */
static void fill(uint8_t *p, size_t len, uint64_t from, size_t run, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t x = ((from + i) / run + 1 + seed * 7919) * 0x9e3779b97f4a7c15ULL;

		x ^= x >> 29;
		p[i] = (uint8_t)((x * 0xbf58476d1ce4e5b9ULL) >> 56);
	}
}

static uint64_t node(struct subw *w, uint16_t mode, uint8_t flags, uint32_t uid)
{
	struct ply_node n = { .mode = mode, .flags = flags, .mtime_sec = -5, .mtime_nsec = 7 + uid };
	uint64_t index;

	OK(subw_owner(w, uid, uid, uid ? "daemon" : "root", uid ? NULL : "root", &n.owner));
	OK(subw_node(w, &n, &index));
	return index;
}

static void entry(struct subw *w, const char *name, uint64_t child)
{
	OK(subw_entry(w, name, strlen(name), child));
}

static void data(struct subw *w, uint64_t off, size_t len)
{
	uint8_t *p = malloc(len);

	fill(p, len, off, 8192, 1);
	OK(subw_data(w, off, p, len, &err));
	free(p);
}

static void whole(struct subw *w, uint64_t index, size_t len, size_t run, uint64_t seed)
{
	uint8_t *p = malloc(len);

	fill(p, len, 0, run, seed);
	OK(subw_file_whole(w, index, p, len, NULL, &err));
	free(p);
}

static struct subw *begin(struct imagew *iw, struct pool *pool, uint16_t self)
{
	static const struct subw_owner_facts facts = { .user = user_of, .group = group_of };
	static const char *const names[] = { "os", "web" };
	struct subw_options o = { .name = names[self], .level = 3, .pool = pool, .nworkers = 1, .max_inflight = 2,
				  .content_uuid = true, .conds = conds, .names = names, .self = self,
				  .owners = &facts };
	struct subw *w;

	OK(out_align(imagew_out(iw), PLY_ALIGN, &err));
	OK(subw_new(imagew_out(iw), &o, &w, &err));
	return w;
}

/* The nodes of one sub-image that have a part in the other. */
struct common {
	uint64_t etc, usr, shared, group;
};

static void end(struct imagew *iw, struct subw *w, const struct imagew_sub *sub, uint32_t wanted)
{
	struct subw_result seg;
	uint32_t number;

	OK(subw_finish(w, &seg, &err));
	subw_free(w);
	OK(imagew_add_sub(iw, sub, &seg, &number, &err));
	OK(number == wanted ? 0 : -1);
}

static struct common os(struct imagew *iw, struct pool *pool)
{
	static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 1, 0, 0, 0,
				       4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 5, 0, 255, 255, 255, 255,
				       32, 0, 5, 0, 255, 255, 255, 255 };
	static const struct subw_xattr acls[] = { { "system.posix_acl_access", acl, sizeof(acl), 0 } };
	const struct subw_xattr notes[] = { { "trusted.b", "2", 1, with_web }, { "trusted.b", "3", 1, 0 },
					    { "trusted.a", "", 0, 0 } };
	static const char *const provides[] = { "base", "libc" };
	struct subw *w = begin(iw, pool, OS);
	uint64_t root, dev, fifo, large, lnk, sock, tool, hosts, lib, raw;
	struct common c;

	root = node(w, S_IFDIR | 0755, 0, 0);
	dev = node(w, S_IFCHR | 0600, 0, 0);
	subw_node_at(w, dev)->size = 5ULL << 32 | 1;
	c.etc = node(w, S_IFDIR | 0755, 0, 0);
	OK(subw_xattrs(w, acls, ARRAY_SIZE(acls), &subw_node_at(w, c.etc)->xattrs));
	fifo = node(w, S_IFIFO | 0640, 0, 1);
	large = node(w, S_IFREG | 0644, 0, 1);
	OK(subw_xattrs(w, notes, ARRAY_SIZE(notes), &subw_node_at(w, large)->xattrs));
	lnk = node(w, S_IFLNK | 0777, 0, 0);
	c.shared = node(w, S_IFREG | 04755, 0, 0);
	sock = node(w, S_IFSOCK | 0755, 0, 0);
	tool = node(w, S_IFLNK | 0777, 0, 0);
	c.usr = node(w, S_IFDIR | 0755, 0, 0);
	c.group = node(w, S_IFREG | 0644, 0, 0);
	hosts = node(w, S_IFREG | 0644, 0, 0);
	lib = node(w, S_IFDIR | 0750, 0, 0);
	raw = node(w, S_IFREG | 0444, 0, 0);
	OK(subw_dir(w, root));
	entry(w, "dev0", dev);
	entry(w, "etc", c.etc);
	entry(w, "fifo", fifo);
	entry(w, "large", large);
	entry(w, "link", lnk);
	entry(w, "shared", c.shared);
	entry(w, "sock", sock);
	OK(subw_entry_if(w, "tool", 4, tool, without_web));
	entry(w, "usr", c.usr);
	OK(subw_dir(w, c.etc));
	entry(w, "group", c.group);
	entry(w, "hosts", hosts);
	OK(subw_dir(w, c.usr));
	entry(w, "again", c.shared);
	entry(w, "lib", lib);
	OK(subw_dir(w, lib));
	entry(w, "raw", raw);
	OK(subw_symlink(w, lnk, "/etc/hosts", 10));
	OK(subw_symlink(w, tool, "os", 2));
	OK(subw_mark(w, hosts, PLY_MARK_SET));
	OK(subw_mark(w, raw, PLY_MARK_DROP));

	OK(subw_file(w, large, LARGE));
	data(w, 0, LARGE_DATA);
	data(w, 2 * PLY_BLOCK_SIZE, LARGE - 2 * PLY_BLOCK_SIZE);
	OK(subw_file_end(w, &err));
	whole(w, c.shared, SHARED, 4096, 2);
	part(w, OS, c.group);
	OK(subw_file_whole(w, hosts, "127.0.0.1 x\n", 12, NULL, &err));
	whole(w, raw, 90, 1, 3);
	end(iw, w, &(struct imagew_sub){ .name = "os", .arch = "amd64", .distro = "debian-12", .summary = "base",
					 .flags = PLY_SUB_OS, .provides = provides,
					 .nprovides = ARRAY_SIZE(provides) }, 0);
	OK(imagew_add_blob(iw, 0, PLY_BLOB_PACKAGES, "base\tamd64\t1\tit is the system\n", 31, &err));
	OK(imagew_add_mount(iw, "/etc", "ext4", "/", &err));
	return c;
}

static struct common web(struct imagew *iw, struct pool *pool)
{
	static const char *const requires[] = { "os" };
	struct subw *w = begin(iw, pool, WEB);
	uint64_t root, tool, conf, dir, page;
	struct common c;

	root = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED, 0);
	c.etc = node(w, S_IFDIR | 0755, 0, 0);
	tool = node(w, S_IFLNK | 0777, 0, 0);
	c.usr = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED, 0);
	c.group = node(w, S_IFREG | 0644, 0, 0);
	conf = node(w, S_IFREG | 0644, 0, 0);
	c.shared = node(w, S_IFREG | 04755, 0, 0);
	dir = node(w, S_IFDIR | 0755, 0, 0);
	page = node(w, S_IFREG | 0644, 0, 1);
	OK(subw_dir(w, root));
	entry(w, "etc", c.etc);
	entry(w, "tool", tool);
	entry(w, "usr", c.usr);
	OK(subw_dir(w, c.etc));
	entry(w, "group", c.group);
	entry(w, "web", conf);
	OK(subw_dir(w, c.usr));
	entry(w, "shared2", c.shared);
	entry(w, "web", dir);
	OK(subw_dir(w, dir));
	entry(w, "page", page);
	OK(subw_symlink(w, tool, "web", 3));
	part(w, WEB, c.group);
	OK(subw_file_whole(w, conf, "", 0, NULL, &err));
	whole(w, c.shared, SHARED, 4096, 2);
	whole(w, page, 200, 1, 4);
	end(iw, w, &(struct imagew_sub){ .name = "web", .arch = "amd64", .distro = "debian-12", .summary = "web",
					 .rank = 1, .requires = requires, .nrequires = ARRAY_SIZE(requires) }, 1);
	return c;
}

void machine_image(const char *path)
{
	const uint16_t w = WEB;
	struct common a, b;
	uint64_t row, first;
	uint8_t digests[64], shared[SHARED];
	struct imagew *iw;
	struct pool *pool;

	fill(shared, sizeof(shared), 0, 4096, 2);
	OK(sha256_once(shared, sizeof(shared), digests));
	memcpy(digests + 32, digests, 32);
	conds = conds_new();
	OK(conds_any(conds, &w, 1, &with_web));
	OK(conds_none(conds, &w, 1, &without_web));
	OK(pool_new(1, 4, &pool));
	OK(imagew_new(path, true, &iw, &err));
	a = os(iw, pool);
	b = web(iw, pool);
	OK(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, 1), PLY_INO(1, 1) }, NULL, 2, &row, &err));
	OK(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, a.etc), PLY_INO(1, b.etc) }, NULL, 2,
		       &first, &err));
	OK(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, a.usr), PLY_INO(1, b.usr) }, NULL, 2, NULL,
		       &err));
	OK(imagew_join_children(iw, row, first, 2));
	OK(imagew_join(iw, PLY_J_LINKS, (uint64_t[]){ PLY_INO(0, a.shared), PLY_INO(1, b.shared) }, digests, 2,
		       NULL, &err));
	OK(sha256_once("root:x:0:sys,web\nweb:x:3:\n", 26, digests));
	memcpy(digests + 32, digests, 32);
	OK(imagew_join(iw, PLY_J_FILE, (uint64_t[]){ PLY_INO(0, a.group), PLY_INO(1, b.group) }, digests, 2, NULL,
		       &err));
	OK(imagew_publish(iw, &(struct imagew_options){ .time_sec = 1, .content_uuid = true, .message = "small",
							.tool = "test" }, &err));
	imagew_free(iw);
	pool_free(pool);
	conds_free(conds);
}
