/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See small_image.h. */
#include "small_image.h"

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

static struct ply_err err;

static uint64_t node(struct subw *w, uint16_t mode, uint8_t flags)
{
	struct ply_node n = { .mode = mode, .flags = flags, .mtime_sec = -5, .mtime_nsec = 7 };
	uint64_t index;

	OK(subw_owner(w, 0, 0, "root", "root", &n.owner));
	OK(subw_node(w, &n, &index));
	return index;
}

static uint8_t *pattern(unsigned seed, uint64_t from, size_t len)
{
	uint8_t *p = malloc(len);

	for (size_t i = 0; i < len; i++)
		p[i] = small_byte(seed, from + i);
	return p;
}

static void data(struct subw *w, unsigned seed, uint64_t off, size_t len)
{
	uint8_t *p = pattern(seed, off, len);

	OK(subw_data(w, off, p, len, &err));
	free(p);
}

static struct subw *begin(struct imagew *iw, struct pool *pool, unsigned threads, const char *name)
{
	struct subw_options o = { .name = name, .level = 3, .pool = pool, .nworkers = threads,
				  .max_inflight = threads + 1, .content_uuid = true };
	struct subw *w;

	OK(out_align(imagew_out(iw), PLY_ALIGN, &err));
	OK(subw_new(imagew_out(iw), &o, &w, &err));
	return w;
}

static uint64_t os(struct imagew *iw, struct pool *pool, unsigned threads, uint64_t *etc, uint64_t *usr)
{
	struct subw *w = begin(iw, pool, threads, "os");
	const struct subw_xattr xattrs[] = { { "user.b", "2", 1, 0 }, { "user.a", "", 0, 0 } };
	uint64_t root, big, dev, lnk, shared, hosts, lib;
	struct subw_result seg;
	uint8_t *p;
	uint32_t number;

	root = node(w, S_IFDIR | 0755, 0);
	big = node(w, S_IFREG | 0644, 0);
	dev = node(w, S_IFCHR | 0600, 0);
	subw_node_at(w, dev)->size = 5ULL << 32 | 1;
	*etc = node(w, S_IFDIR | 0755, 0);
	lnk = node(w, S_IFLNK | 0777, 0);
	shared = node(w, S_IFREG | 04755, 0);
	OK(subw_xattrs(w, xattrs, 2, &subw_node_at(w, shared)->xattrs));
	*usr = node(w, S_IFDIR | 0755, 0);
	hosts = node(w, S_IFREG | 0644, 0);
	lib = node(w, S_IFDIR | 0750, 0);
	OK(subw_dir(w, root));
	OK(subw_entry(w, "big", 3, big));
	OK(subw_entry(w, "dev0", 4, dev));
	OK(subw_entry(w, "etc", 3, *etc));
	OK(subw_entry(w, "link", 4, lnk));
	OK(subw_entry(w, "shared", 6, shared));
	OK(subw_entry(w, "usr", 3, *usr));
	OK(subw_dir(w, *etc));
	OK(subw_entry(w, "hosts", 5, hosts));
	OK(subw_dir(w, *usr));
	OK(subw_entry(w, "lib", 3, lib));
	OK(subw_dir(w, lib));
	OK(subw_symlink(w, lnk, "/etc/hosts", 10));

	OK(subw_file(w, big, SMALL_BIG));
	data(w, 1, 0, 100);
	data(w, 1, 100, 131072 + 4096 - 100);
	data(w, 1, 262144, SMALL_BIG - 262144);
	OK(subw_file_end(w, &err));
	p = pattern(2, 0, SMALL_SHARED);
	OK(subw_file_whole(w, shared, p, SMALL_SHARED, NULL, &err));
	free(p);
	OK(subw_file_whole(w, hosts, "127.0.0.1 x\n", 12, NULL, &err));
	OK(subw_finish(w, &seg, &err));
	subw_free(w);
	OK(imagew_add_sub(iw, &(struct imagew_sub){ .name = "os", .arch = "amd64", .distro = "debian-12",
						    .summary = "libc6", .flags = PLY_SUB_OS },
			  &seg, &number, &err));
	OK(number == 0 ? 0 : -1);
	return shared;
}

static uint64_t web(struct imagew *iw, struct pool *pool, unsigned threads, uint64_t *etc, uint64_t *usr)
{
	static const char *const requires[] = { "os" };
	struct subw *w = begin(iw, pool, threads, "web");
	uint64_t root, conf, shared, dir, page;
	struct subw_result seg;
	uint32_t number;
	uint8_t *p;

	root = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED);
	*etc = node(w, S_IFDIR | 0755, 0);
	*usr = node(w, S_IFDIR | 0755, PLY_NODE_IMPLIED);
	conf = node(w, S_IFREG | 0644, 0);
	shared = node(w, S_IFREG | 04755, 0);
	dir = node(w, S_IFDIR | 0755, 0);
	page = node(w, S_IFREG | 0644, 0);
	OK(subw_dir(w, root));
	OK(subw_entry(w, "etc", 3, *etc));
	OK(subw_entry(w, "usr", 3, *usr));
	OK(subw_dir(w, *etc));
	OK(subw_entry(w, "web", 3, conf));
	OK(subw_dir(w, *usr));
	OK(subw_entry(w, "shared2", 7, shared));
	OK(subw_entry(w, "web", 3, dir));
	OK(subw_dir(w, dir));
	OK(subw_entry(w, "page", 4, page));

	OK(subw_file_whole(w, conf, "", 0, NULL, &err));
	p = pattern(2, 0, SMALL_SHARED);
	OK(subw_file_whole(w, shared, p, SMALL_SHARED, NULL, &err));
	free(p);
	p = pattern(3, 0, 1000);
	OK(subw_file_whole(w, page, p, 1000, NULL, &err));
	free(p);
	OK(subw_finish(w, &seg, &err));
	subw_free(w);
	OK(imagew_add_sub(iw, &(struct imagew_sub){ .name = "web", .arch = "amd64", .distro = "debian-12",
						    .summary = "apache2", .rank = 1,
						    .requires = requires, .nrequires = 1 },
			  &seg, &number, &err));
	OK(number == 1 ? 0 : -1);
	return shared;
}

void small_image(const char *path, unsigned threads)
{
	uint64_t etc[2], usr[2], shared[2], row, first;
	uint8_t digests[64], *p = pattern(2, 0, SMALL_SHARED);
	struct imagew *iw;
	struct pool *pool;

	OK(sha256_once(p, SMALL_SHARED, digests));
	memcpy(digests + 32, digests, 32);
	free(p);
	OK(pool_new(threads, 4, &pool));
	OK(imagew_new(path, true, &iw, &err));
	shared[0] = os(iw, pool, threads, &etc[0], &usr[0]);
	shared[1] = web(iw, pool, threads, &etc[1], &usr[1]);
	OK(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, 1), PLY_INO(1, 1) }, NULL, 2, &row,
		       &err));
	OK(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, etc[0]), PLY_INO(1, etc[1]) }, NULL,
		       2, &first, &err));
	OK(imagew_join(iw, PLY_J_DIRECTORY, (uint64_t[]){ PLY_INO(0, usr[0]), PLY_INO(1, usr[1]) }, NULL,
		       2, NULL, &err));
	OK(imagew_join_children(iw, row, first, 2));
	OK(imagew_join(iw, PLY_J_LINKS, (uint64_t[]){ PLY_INO(0, shared[0]), PLY_INO(1, shared[1]) },
		       digests, 2, NULL, &err));
	OK(imagew_publish(iw, &(struct imagew_options){ .time_sec = 1, .content_uuid = true,
							.message = "small", .tool = "test" }, &err));
	imagew_free(iw);
	pool_free(pool);
}
