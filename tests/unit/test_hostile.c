/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images whose checksums are right and whose tables are not: what shares rows that may not be
 * shared, or counts that are not true. They are refused as damage, and before they cost more than
 * a sound image of their size: the rows that are read are counted, not the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/util.h"
#include "fuzz/repair.h"
#include "image/image_write.h"
#include "io/io.h"
#include "layout/plan.h"
#include "plyfs/view.h"
#include "small_image.h"
#include "tap.h"

/* --- rows that are read ------------------------------------------------------------------ */

static uint64_t rows;                  /* since count_from() */
static uint64_t stop_at;               /* the row at which the plan is cancelled; 0: never */
static atomic_bool cancel;

static void row(void)
{
	if (++rows == stop_at)
		atomic_store(&cancel, true);
}

#define WRAP(wrap, real, params, args) \
	int real params; \
	int wrap params; \
	int wrap params \
	{ \
		row(); \
		return real args; \
	}
WRAP(__wrap_sub_entry, __real_sub_entry,
     (struct sub *s, uint64_t i, struct ply_entry *ret, struct ply_err *e), (s, i, ret, e))
WRAP(__wrap_sub_extent, __real_sub_extent,
     (struct sub *s, uint64_t i, struct ply_extent *ret, struct ply_err *e), (s, i, ret, e))
WRAP(__wrap_sub_xattr, __real_sub_xattr,
     (struct sub *s, uint32_t set, uint32_t i, struct sub_xattr *ret, struct ply_err *e), (s, set, i, ret, e))

/* --- an image of one sub-image ----------------------------------------------------------- */

static struct ply_err err;
static struct pool *pool;
static struct imagew *iw;
static struct subw *w;
static char path[128];
static uint8_t *bytes;
static size_t size;
static struct ply_image *image;
static struct ply_view *view;

#define OK(call) \
	do { \
		int ok_ = (call); \
		ck_assert_msg(ok_ == 0, "%s: %d %s", #call, ok_, err.msg); \
	} while (0)

static uint64_t add_node(mode_t mode)
{
	struct ply_node n = { .mode = (uint16_t)mode, .mtime_sec = 1 };
	uint64_t index;

	OK(subw_owner(w, 0, 0, "root", "root", &n.owner));
	OK(subw_node(w, &n, &index));
	return index;
}

static void begin(void)
{
	struct subw_options o = { .name = "os", .level = 1, .nworkers = 1, .max_inflight = 2,
				  .content_uuid = true };
	const char *tmp = getenv("TMPDIR");
	int fd;

	snprintf(path, sizeof(path), "%s/plyfs-hostile-XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	OK(pool_new(1, 4, &pool));
	OK(imagew_new(path, true, &iw, &err));
	o.pool = pool;
	OK(out_align(imagew_out(iw), PLY_ALIGN, &err));
	OK(subw_new(imagew_out(iw), &o, &w, &err));
	ck_assert_uint_eq(add_node(S_IFDIR | 0755), PLY_ROOT_INDEX);
}

static void load(void)
{
	struct stat st;
	int fd = open(path, O_RDONLY);

	ck_assert_int_eq(fstat(fd, &st), 0);
	size = (size_t)st.st_size;
	bytes = malloc(size);
	OK(pread_full(fd, bytes, size, 0));
	close(fd);
	unlink(path);
}

static void publish(void)
{
	struct subw_result seg;
	uint32_t number;

	OK(subw_finish(w, &seg, &err));
	w = subw_free(w);
	OK(imagew_add_sub(iw, &(struct imagew_sub){ .name = "os", .arch = "", .distro = "", .summary = "",
						    .flags = PLY_SUB_OS }, &seg, &number, &err));
	OK(imagew_publish(iw, &(struct imagew_options){ .message = "", .tool = "test" }, &err));
	iw = imagew_free(iw);
	pool_free(pool);
	load();
}

static int open_bytes(void)
{
	struct io *io;
	int r;

	OK(io_open_memory(bytes, size, &io, &err));
	r = ply_image_open_io(io, 0, &image, &err);
	return r < 0 ? r : ply_view_open(image, NULL, 0, 0, &view, &err);
}

static void close_bytes(void)
{
	view = ply_view_close(view);
	image = ply_image_close(image);
}

static void end(void)
{
	close_bytes();
	free(bytes);
}

/* Place of row @i of section @type in the @n-th segment that has one. */
static size_t place(uint32_t type, unsigned n, uint64_t i, uint64_t *ret_rows)
{
	for (size_t at = 2 * PLY_SUPER_SIZE; at < size;) {
		const struct section *sec;
		struct ply_disk_segment d;
		struct segment seg;

		memcpy(&d, bytes + at, sizeof(d));
		OK(segment_decode(bytes + at, size - at, le64_get(d.length), &seg, &err));
		sec = segment_section(&seg, type);
		if (sec && n-- == 0) {
			if (ret_rows)
				*ret_rows = sec->count;
			return at + sec->off + i * section_element_size(type);
		}
		at += seg.length;
	}
	ck_abort_msg("there is no section %u", type);
}

static int see(void *ctx, const struct ply_walk_entry *e)
{
	(void)e;
	++*(uint64_t *)ctx;
	return 0;
}

static int walk(uint64_t *ret_names)
{
	*ret_names = 0;
	return ply_view_walk(view, PLY_ROOT_INDEX, see, ret_names, &err);
}

static int plan(void)
{
	struct plan *p = NULL;
	int r = plan_new(view, 4096, &cancel, &p, &err);

	plan_free(p);
	return r;
}

static void expect_damage(int r, enum ply_reason reason)
{
	ck_assert_msg(r == -EUCLEAN && err.code == r, "%d %s", r, err.msg);
	ck_assert_msg(err.reason == reason, "%s: %s", ply_reason_name(err.reason), err.msg);
}

/* --- names ------------------------------------------------------------------------------- */

#define MANY 300u

static uint64_t name_many(uint64_t node)
{
	char name[8];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%04u", i);
		OK(subw_entry(w, name, 5, node));
	}
	return node;
}

/* Directories that share one run of entries, which are names of one file of many links. */
START_TEST(directories_that_share_entries)
{
	uint64_t dirs[MANY], file, names;
	struct ply_node run;
	char name[8];

	begin();
	for (unsigned i = 0; i < MANY; i++)
		dirs[i] = add_node(S_IFDIR | 0755);
	file = add_node(S_IFREG | 0644);
	OK(subw_dir(w, PLY_ROOT_INDEX));
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "d%04u", i);
		OK(subw_entry(w, name, 5, dirs[i]));
	}
	OK(subw_dir(w, dirs[0]));
	name_many(file);
	OK(subw_dir(w, dirs[1]));              /* ends the one before */
	OK(subw_file_whole(w, file, "x", 1, NULL, &err));
	run = *subw_node_at(w, dirs[0]);
	for (unsigned i = 1; i < MANY; i++) {
		subw_node_at(w, dirs[i])->data = run.data;
		subw_node_at(w, dirs[i])->size = run.size;
	}
	subw_node_at(w, file)->nlink = MANY * MANY;
	publish();
	OK(open_bytes());
	rows = 0;
	expect_damage(walk(&names), PLY_R_TREE_SHAPE);
	ck_assert_uint_le(names, 2 * MANY + 1);
	ck_assert_uint_le(rows, 4 * MANY);
	rows = 0;
	expect_damage(plan(), PLY_R_TREE_SHAPE);
	ck_assert_uint_le(rows, 4 * MANY);
	end();
}
END_TEST

/* A file of one link, named by two directories. */
START_TEST(a_file_that_two_entries_name)
{
	uint64_t a, b, file, other, ino, names;

	begin();
	a = add_node(S_IFDIR | 0755);
	b = add_node(S_IFDIR | 0755);
	file = add_node(S_IFREG | 0644);
	other = add_node(S_IFREG | 0644);
	OK(subw_dir(w, PLY_ROOT_INDEX));
	OK(subw_entry(w, "a", 1, a));
	OK(subw_entry(w, "b", 1, b));
	OK(subw_dir(w, a));
	OK(subw_entry(w, "f", 1, file));
	OK(subw_dir(w, b));
	OK(subw_entry(w, "f", 1, file));
	OK(subw_entry(w, "g", 1, other));
	OK(subw_file_whole(w, file, "x", 1, NULL, &err));
	OK(subw_file_whole(w, other, "x", 1, NULL, &err));
	ck_assert_uint_eq(subw_node_at(w, file)->nlink, 2);
	subw_node_at(w, file)->nlink = 1;
	publish();
	OK(open_bytes());
	OK(ply_view_resolve(view, "/a/f", false, &ino, &err));
	OK(ply_view_resolve(view, "/b/g", false, &ino, &err));
	expect_damage(ply_view_resolve(view, "/b/f", false, &ino, &err), PLY_R_TREE_SHAPE);
	expect_damage(walk(&names), PLY_R_TREE_SHAPE);
	expect_damage(plan(), PLY_R_TREE_SHAPE);
	end();
}
END_TEST

/* Two names, and other numbers of links. */
START_TEST(links_that_do_not_add_up)
{
	static const uint32_t nlinks[] = { 2, 3, 1000000 };
	uint64_t file;

	begin();
	file = add_node(S_IFREG | 0644);
	OK(subw_dir(w, PLY_ROOT_INDEX));
	OK(subw_entry(w, "a", 1, file));
	OK(subw_entry(w, "b", 1, file));
	if (_i == 3)
		OK(subw_entry(w, "c", 1, file));
	OK(subw_file_whole(w, file, "x", 1, NULL, &err));
	subw_node_at(w, file)->nlink = _i == 3 ? 2 : nlinks[_i];
	publish();
	OK(open_bytes());
	if (_i == 0)
		OK(plan());
	else
		expect_damage(plan(), PLY_R_NODE_FIELD);
	if (_i)
		ck_assert_msg(strncmp(err.msg, "/a: has ", 8) == 0, "%s", err.msg);
	end();
}
END_TEST

static int stop_after_first(void *ctx, const struct ply_dirent *de)
{
	*(uint64_t *)ctx = de->cookie;
	return 1;
}

static int count_names(void *ctx, const struct ply_dirent *de)
{
	(void)de;
	++*(uint64_t *)ctx;
	return 0;
}

START_TEST(names_that_stand_twice_or_are_not_sorted)
{
	static const char *const second[] = { "b", "a", "ab" };
	uint64_t a, b, cookie, names;

	begin();
	a = add_node(S_IFREG | 0644);
	b = add_node(S_IFREG | 0644);
	OK(subw_dir(w, PLY_ROOT_INDEX));
	OK(subw_entry(w, "b", 1, a));
	OK(subw_entry(w, second[_i], strlen(second[_i]), b));
	OK(subw_file_whole(w, a, "x", 1, NULL, &err));
	OK(subw_file_whole(w, b, "x", 1, NULL, &err));
	publish();
	OK(open_bytes());
	expect_damage(walk(&names), PLY_R_ENTRY_ORDER);
	expect_damage(plan(), PLY_R_ENTRY_ORDER);
	/* a listing that goes on behind the first */
	OK(ply_view_readdir(view, PLY_ROOT_INDEX, 0, stop_after_first, &cookie, &err));
	expect_damage(ply_view_readdir(view, PLY_ROOT_INDEX, cookie, count_names, &names, &err),
		      PLY_R_ENTRY_ORDER);
	end();
}
END_TEST

/* --- what files share -------------------------------------------------------------------- */

static uint64_t *add_files(unsigned n)
{
	uint64_t *files = malloc(n * sizeof(*files));
	char name[8];

	for (unsigned i = 0; i < n; i++)
		files[i] = add_node(S_IFREG | 0644);
	OK(subw_dir(w, PLY_ROOT_INDEX));
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "f%05u", i);
		OK(subw_entry(w, name, 6, files[i]));
	}
	return files;
}

static void add_set(unsigned n, uint32_t *ret)
{
	struct subw_xattr *x = calloc(n, sizeof(*x));
	char (*names)[16] = calloc(n, sizeof(*names));

	for (unsigned i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "user.%06u", i);
		x[i] = (struct subw_xattr){ names[i], "v", 1, 0 };
	}
	OK(subw_xattrs(w, x, n, ret));
	free(names);
	free(x);
}

START_TEST(one_xattr_set_of_many_files)
{
	uint64_t *files;
	uint32_t set;
	struct plan *p;

	begin();
	files = add_files(MANY);
	add_set(1000, &set);
	for (unsigned i = 0; i < MANY; i++) {
		OK(subw_file_whole(w, files[i], "x", 1, NULL, &err));
		subw_node_at(w, files[i])->xattrs = set;
	}
	free(files);
	publish();
	OK(open_bytes());
	rows = 0;
	OK(plan_new(view, 4096, NULL, &p, &err));
	ck_assert_uint_le(rows, 2000 + 4 * MANY);
	ck_assert_uint_eq(p->needs.count[FIELD_XATTR_USER], 1000 * MANY);
	ck_assert_uint_eq(p->needs.xattr_bytes, 12 * 1000);
	plan_free(p);
	end();
}
END_TEST

START_TEST(xattr_sets_that_share_rows)
{
	struct ply_disk_xattr_set *set;
	uint64_t *files;
	uint32_t s;

	begin();
	files = add_files(MANY);
	for (unsigned i = 0; i < MANY; i++) {
		OK(subw_file_whole(w, files[i], "x", 1, NULL, &err));
		add_set(i + 1, &s);
		subw_node_at(w, files[i])->xattrs = s;
	}
	free(files);
	publish();
	for (unsigned i = 1; i <= MANY; i++) {
		set = (void *)(bytes + place(PLY_S_XATTR_SETS, 0, i, NULL));
		set->first = le64_put(0);
		set->count = le32_put(1000);
	}
	repair_image(bytes, size);
	OK(open_bytes());
	rows = 0;
	expect_damage(plan(), PLY_R_XATTR_FIELD);
	ck_assert_uint_le(rows, MANY * MANY);
	end();
}
END_TEST

START_TEST(an_xattr_set_of_too_many)
{
	uint64_t *files;
	uint32_t set;

	begin();
	files = add_files(1);
	add_set(PLY_XATTR_SET_MAX / 2 + 1, &set);
	OK(subw_file_whole(w, files[0], "x", 1, NULL, &err));
	subw_node_at(w, files[0])->xattrs = set;
	free(files);
	publish();
	OK(open_bytes());
	expect_damage(plan(), PLY_R_XATTR_FIELD);
	end();
}
END_TEST

/* A file of @n extents of a page each, a hole of a page behind each. */
static void add_sparse(uint64_t index, unsigned n)
{
	static const uint8_t page[PLY_PAGE];

	OK(subw_file(w, index, 2ULL * n * PLY_PAGE));
	for (unsigned i = 0; i < n; i++)
		OK(subw_data(w, 2ULL * i * PLY_PAGE, page, sizeof(page), &err));
	OK(subw_file_end(w, &err));
	ck_assert_uint_eq(subw_node_at(w, index)->ndata, n);
}

/* Equal files share a range; ranges that overlap otherwise are refused. */
START_TEST(one_range_of_extents_of_many_files)
{
	const unsigned n = 1000;
	struct ply_node first;
	struct plan *p = NULL;
	uint64_t *files;
	int r;

	begin();
	files = add_files(MANY);
	add_sparse(files[0], n);
	first = *subw_node_at(w, files[0]);
	for (unsigned i = 1; i < MANY; i++) {
		struct ply_node *o = subw_node_at(w, files[i]);

		o->kind = first.kind;
		o->size = first.size;
		o->data = first.data;
		o->ndata = _i ? first.ndata - i : first.ndata;
	}
	free(files);
	publish();
	OK(open_bytes());
	rows = 0;
	r = plan_new(view, 4096, NULL, &p, &err);
	ck_assert_uint_le(rows, 2 * n + 6 * MANY);
	if (_i) {
		expect_damage(r, PLY_R_EXTENT_FIELD);
	} else {
		OK(r);
		ck_assert_uint_eq(p->bytes, (uint64_t)MANY * n * PLY_PAGE);
		ck_assert_uint_eq(p->needs.blocks, (uint64_t)MANY * n * PLY_PAGE);
	}
	plan_free(p);
	end();
}
END_TEST

START_TEST(a_stat_of_a_file_of_many_extents)
{
	const unsigned n = 10000;
	struct ply_attr a;
	uint64_t *files, ino;

	begin();
	files = add_files(1);
	add_sparse(files[0], n);
	free(files);
	publish();
	OK(open_bytes());
	OK(ply_view_resolve(view, "/f00000", false, &ino, &err));
	rows = 0;
	OK(ply_view_attr(view, ino, &a, &err));
	ck_assert_uint_le(rows, 4096);
	ck_assert_uint_ge(a.blocks, n * 8ULL * 99 / 100);
	ck_assert_uint_le(a.blocks, n * 8ULL);
	end();
}
END_TEST

/* Big files are filled by several streams, but not by more batches than can be kept. */
START_TEST(big_files_that_share_their_data)
{
	const unsigned n = 3000;
	struct ply_node first;
	struct plan *p;
	uint64_t *files;
	uint8_t *block = calloc(1, PLY_BLOCK_SIZE);

	begin();
	files = add_files(n);
	OK(subw_file(w, files[0], 1024ULL * PLY_BLOCK_SIZE));
	for (unsigned i = 0; i < 1024; i++)
		OK(subw_data(w, (uint64_t)i * PLY_BLOCK_SIZE, block, PLY_BLOCK_SIZE, &err));
	OK(subw_file_end(w, &err));
	first = *subw_node_at(w, files[0]);
	for (unsigned i = 1; i < n; i++) {
		struct ply_node *o = subw_node_at(w, files[i]);

		o->kind = first.kind;
		o->size = first.size;
		o->data = first.data;
	}
	free(files);
	free(block);
	publish();
	OK(open_bytes());
	OK(plan_new(view, 4096, NULL, &p, &err));
	ck_assert_uint_eq(p->bytes, (uint64_t)n * 1024 * PLY_BLOCK_SIZE);
	ck_assert_uint_gt(p->nbigs, 1000);
	ck_assert_uint_lt(p->nbigs, n);
	ck_assert_uint_le(p->subs[0].nbatches, 65536 + n);
	plan_free(p);
	end();
}
END_TEST

/* --- a plan can be cancelled anywhere ------------------------------------------------------ */

START_TEST(cancelled_while_planning)
{
	uint64_t *files;
	unsigned stopped = 0;
	int r;

	begin();
	files = add_files(5000);
	for (unsigned i = 0; i < 5000; i++)
		OK(i == 9 ? (add_sparse(files[i], 5000), 0) :
			    subw_file_whole(w, files[i], "x", 1, NULL, &err));
	add_set(5000, &subw_node_at(w, files[7])->xattrs);
	free(files);
	publish();
	OK(open_bytes());
	for (stop_at = 1;; stop_at += 1700) {
		atomic_store(&cancel, false);
		rows = 0;
		r = plan();
		if (r == 0)
			break;
		ck_assert_msg(r == -ECANCELED && err.reason == PLY_R_CANCELLED, "%d %s", r, err.msg);
		/* a row is counted by us for each that the plan counts, or a few more */
		ck_assert_uint_le(rows, stop_at + 3 * 1024);
		stopped++;
	}
	ck_assert_uint_gt(stopped, 8);
	printf("# stopped at %u places\n", stopped);
	end();
}
END_TEST

/* --- damage that is one -------------------------------------------------------------------- */

/* A page of NODES cannot be read: names are listed, and what lies in the page fails alone. */
START_TEST(a_damaged_page_of_nodes)
{
	uint64_t *files, dir, ino, names = 0;
	unsigned good = 0, bad = 0;
	struct ply_attr a;

	begin();
	dir = add_node(S_IFDIR | 0755);
	files = add_files(200);
	OK(subw_entry(w, "z", 1, dir));
	OK(subw_dir(w, dir));
	for (unsigned i = 0; i < 200; i++)
		OK(subw_file_whole(w, files[i], "x", 1, NULL, &err));
	free(files);
	publish();
	bytes[place(PLY_S_NODES, 0, 70, NULL)] ^= 1;
	OK(open_bytes());
	OK(ply_view_readdir(view, PLY_ROOT_INDEX, 0, count_names, &names, &err));
	ck_assert_uint_eq(names, 201);
	for (unsigned i = 0; i < 200; i++) {
		char name[8];
		int r;

		snprintf(name, sizeof(name), "f%05u", i);
		r = ply_view_lookup(view, PLY_ROOT_INDEX, name, 6, &ino, &err);
		if (r == 0) {
			OK(ply_view_attr(view, ino, &a, &err));
			good++;
		} else {
			ck_assert_int_eq(r, -EBADMSG);
			bad++;
		}
	}
	ck_assert_uint_gt(good, 100);
	ck_assert_uint_ge(bad, 63);
	ck_assert_int_eq(plan(), -EBADMSG);
	ck_assert_msg(strncmp(err.msg, "/f000", 5) == 0, "%s", err.msg);
	end();
}
END_TEST

/* Each byte of the join table: what it leads to is damage, never a mistake of the caller. */
START_TEST(join_tables)
{
	static const uint32_t sections[] = { PLY_S_JOIN_ROWS, PLY_S_JOIN_MEMBERS, PLY_S_JOIN_INDEX };
	static const uint8_t values[] = { 1, 0x80, 0xff };
	unsigned refused = 0, used = 0;
	uint8_t *good;
	const char *tmp = getenv("TMPDIR");

	snprintf(path, sizeof(path), "%s/plyfs-hostile-small", tmp ? tmp : "/tmp");
	small_image(path, 1);
	load();
	good = malloc(size);
	memcpy(good, bytes, size);
	for (size_t s = 0; s < ARRAY_SIZE(sections); s++) {
		uint64_t n;
		size_t from = place(sections[s], 0, 0, &n);

		for (size_t at = from; at < from + n * section_element_size(sections[s]); at++) {
			uint64_t names;
			int r;

			if (sections[s] == PLY_S_JOIN_MEMBERS &&
			    (at - from) % sizeof(struct ply_disk_join_member) >= 8)
				continue;      /* digests: for verify */
			for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
				memcpy(bytes, good, size);
				bytes[at] ^= values[k];
				repair_image(bytes, size);
				r = open_bytes();
				if (r == 0)
					r = walk(&names);
				if (r == 0)
					r = plan();
				ck_assert_msg(r == 0 || r == -EUCLEAN || r == -EOPNOTSUPP, "byte %zu of %s: %d %s",
					      at - from, section_name(sections[s]), r, err.msg);
				refused += r < 0;
				used += r == 0;
				close_bytes();
			}
		}
	}
	printf("# %u join tables refused, %u used\n", refused, used);
	ck_assert_uint_gt(refused, 300);
	free(good);
	free(bytes);
}
END_TEST

/* A root of another type, below itself, or with a name: no view shows it, whatever else is right. */
START_TEST(a_root_that_is_none)
{
	const char *tmp = getenv("TMPDIR");
	struct ply_disk_node *root;
	struct ply_attr a;
	int r;

	snprintf(path, sizeof(path), "%s/plyfs-hostile-small", tmp ? tmp : "/tmp");
	small_image(path, 1);
	load();
	root = (void *)(bytes + place(PLY_S_NODES, 0, PLY_ROOT_INDEX, NULL));
	switch (_i) {
	case 0:
		root->mode = le16_put(S_IFIFO | 0644);
		root->nlink = le32_put(1);
		root->size = root->data = le64_put(0);
		break;
	case 1:
		root->parent = le64_put(PLY_ROOT_INDEX + 1);
		break;
	case 2:
		root->entry = le64_put(1);
		break;
	}
	repair_image(bytes, size);
	r = open_bytes();
	expect_damage(r < 0 ? r : ply_view_attr(view, PLY_ROOT_INDEX, &a, &err), PLY_R_NODE_FIELD);
	end();
}
END_TEST

/* Rows that claim the children of another row: a stat does not go through them all. */
START_TEST(rows_that_claim_the_children_of_others)
{
	const char *tmp = getenv("TMPDIR");
	struct ply_disk_join_row *usr, *root;
	struct ply_attr a;
	uint64_t ino;

	snprintf(path, sizeof(path), "%s/plyfs-hostile-small", tmp ? tmp : "/tmp");
	small_image(path, 1);
	load();
	root = (void *)(bytes + place(PLY_S_JOIN_ROWS, 0, 0, NULL));
	usr = (void *)(bytes + place(PLY_S_JOIN_ROWS, 0, 2, NULL));
	usr->first_child = root->first_child;
	usr->nchildren = root->nchildren;
	repair_image(bytes, size);
	OK(open_bytes());
	OK(ply_view_resolve(view, "/etc", false, &ino, &err));
	OK(ply_view_lookup(view, PLY_ROOT_INDEX, "usr", 3, &ino, &err));
	expect_damage(ply_view_attr(view, ino, &a, &err), PLY_R_JOIN_FIELD);
	end();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hostile");

	tap_test(s, directories_that_share_entries);
	tap_test(s, a_file_that_two_entries_name);
	tap_loop(s, links_that_do_not_add_up, 0, 4);
	tap_loop(s, names_that_stand_twice_or_are_not_sorted, 1, 3);
	tap_test(s, one_xattr_set_of_many_files);
	tap_test(s, xattr_sets_that_share_rows);
	tap_test(s, an_xattr_set_of_too_many);
	tap_loop(s, one_range_of_extents_of_many_files, 0, 2);
	tap_test(s, a_stat_of_a_file_of_many_extents);
	tap_test(s, big_files_that_share_their_data);
	tap_test(s, cancelled_while_planning);
	tap_test(s, a_damaged_page_of_nodes);
	tap_loop(s, a_root_that_is_none, 0, 3);
	tap_test(s, join_tables);
	tap_test(s, rows_that_claim_the_children_of_others);
	return s;
}
TAP_MAIN(suite)
