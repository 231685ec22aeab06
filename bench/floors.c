/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * floors IMAGE TREE DIR THREADS: what no extraction of TREE can do without, each part alone, as JSON:
 *
 *   decompress   all data blocks of IMAGE, which was made of TREE, from memory to memory
 *   create       all inodes of TREE below DIR/create, with owner, mode, times and xattrs, files without data
 *   write        the same below DIR/write, with the data, from memory
 *   sync         then, until the file system of DIR has all that on its disk
 *
 * Names, metadata, data and stored blocks are loaded first, untimed, and what "create" has left to be
 * written is written before "write" begins. Directories are made first and get their times last, by one
 * thread; all else is taken in batches, in the order of the directory walk. Holes stay holes.
 * Checksums of blocks are not computed: they are a reader's choice. It takes the memory of the
 * tree's data and of the image's. "bytes" is what was decoded or written.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "codec/codec.h"
#include "image/catalog.h"
#include "plyfs/image.h"

#define BATCH  32
#define XATTRS 4096                /* bytes of names of one inode */

struct entry {
	char *path;                /* relative to the tree */
	struct stat st;
	const char *target;        /* of a symlink; of a further name of a file: its first name */
	struct piece *pieces;      /* data of a file, in order */
	size_t npieces;
	struct xattr { char *name; void *value; size_t len; } *xattrs;
	size_t nxattrs;
};

struct piece { off_t offset; size_t at, len; };   /* at: place in data */
struct block { void *bytes; struct ply_block row; };

static struct entry *entries;
static size_t nentries;
static char *data;
static size_t ndata, ndecoded;
static struct block *blocks;
static size_t nblocks;
static unsigned nthreads;
static atomic_size_t next;
static int target_fd;
static bool with_data;

static void die(const char *what)
{
	fprintf(stderr, "floors: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void die_of(const struct ply_err *err)
{
	fprintf(stderr, "floors: %s\n", err->msg);
	exit(1);
}

static void *need(void *p)
{
	if (!p)
		die("memory");
	return p;
}

static double clock_s(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- loading ------------------------------------------------------------ */

static void load_data(struct entry *e, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t from = 0, to;

	if (fd < 0)
		die(path);
	while (from < e->st.st_size && (from = lseek(fd, from, SEEK_DATA)) >= 0) {
		struct piece *p;

		to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			die(path);
		e->pieces = need(realloc(e->pieces, (e->npieces + 1) * sizeof(*e->pieces)));
		p = &e->pieces[e->npieces++];
		*p = (struct piece){ from, ndata, (size_t)(to - from) };
		for (size_t done = 0; done < p->len;) {
			ssize_t n = pread(fd, data + ndata + done, p->len - done, from + (off_t)done);

			if (n <= 0)
				die(path);
			done += (size_t)n;
		}
		ndata += p->len;
		from = to;
	}
	close(fd);
}

static void load_xattrs(struct entry *e, const char *path)
{
	char names[XATTRS];
	ssize_t n = llistxattr(path, names, sizeof(names));

	for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		ssize_t len = lgetxattr(path, name, NULL, 0);
		struct xattr *x;

		if (len < 0)
			continue;
		e->xattrs = need(realloc(e->xattrs, (e->nxattrs + 1) * sizeof(*e->xattrs)));
		x = &e->xattrs[e->nxattrs++];
		x->name = need(strdup(name));
		x->value = need(malloc((size_t)len + 1));
		x->len = (size_t)len;
		if (lgetxattr(path, name, x->value, x->len) != len)
			die(path);
	}
}

static int by_inode(const void *a, const void *b)
{
	const struct entry *x = &entries[*(const size_t *)a], *y = &entries[*(const size_t *)b];

	if (x->st.st_ino != y->st.st_ino)
		return x->st.st_ino < y->st.st_ino ? -1 : 1;
	return *(const size_t *)a < *(const size_t *)b ? -1 : 1;
}

/* Later names of one inode get the first one as their target. */
static void find_links(void)
{
	size_t *order = need(malloc((nentries + 1) * sizeof(*order)));

	for (size_t i = 0; i < nentries; i++)
		order[i] = i;
	qsort(order, nentries, sizeof(*order), by_inode);
	for (size_t i = 1, first = 0; i < nentries; i++) {
		struct entry *a = &entries[order[first]], *b = &entries[order[i]];

		if (a->st.st_ino != b->st.st_ino)
			first = i;
		else if (!S_ISDIR(b->st.st_mode)) {
			free((void *)b->target);
			b->target = a->path;
			b->npieces = b->nxattrs = 0;
			b->st.st_mode = 0;         /* a name, nothing else */
		}
	}
	free(order);
}

static void load(char *tree)
{
	FTS *fts = need(fts_open((char *[]){ tree, NULL }, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL));
	size_t cap = 0, room = strlen(tree);
	size_t most = (size_t)1 << 40;             /* address space; only what is used is memory */

	data = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (data == MAP_FAILED)
		die("address space");
	for (FTSENT *f; (f = fts_read(fts));) {
		struct entry *e;

		if (f->fts_info == FTS_DP || f->fts_level == 0)
			continue;
		if (f->fts_info == FTS_ERR || f->fts_info == FTS_DNR || f->fts_info == FTS_NS) {
			errno = f->fts_errno;
			die(f->fts_path);
		}
		if (nentries == cap) {
			cap = cap ? 2 * cap : 1024;
			entries = need(realloc(entries, cap * sizeof(*entries)));
		}
		e = &entries[nentries++];
		*e = (struct entry){ .path = need(strdup(f->fts_path + room + 1)), .st = *f->fts_statp };
		if (S_ISLNK(e->st.st_mode)) {
			char *text = need(calloc(1, (size_t)e->st.st_size + 1));

			if (readlink(f->fts_path, text, (size_t)e->st.st_size) < 0)
				die(f->fts_path);
			e->target = text;
		}
		load_xattrs(e, f->fts_path);
	}
	fts_close(fts);
	find_links();
	for (size_t i = 0; i < nentries; i++) {
		char path[8192];

		if (!S_ISREG(entries[i].st.st_mode))
			continue;
		snprintf(path, sizeof(path), "%s/%s", tree, entries[i].path);
		load_data(&entries[i], path);
	}
}

/* The stored bytes of all blocks of the sub-image at position @i. */
static void load_sub(struct ply_image *image, uint32_t i)
{
	const struct catalog *c = image_catalog(image);
	const struct section *section;
	struct ply_err err;
	struct sub *sub;
	uint64_t from, n;

	if (image_sub(image, i, &sub, &err) < 0)
		die_of(&err);
	section = segment_section(meta_segment(sub_meta(sub)), PLY_S_DATA);
	n = section ? sub_limits(sub)->blocks : 0;
	from = c->segments[c->subs[i].seg_first].off + (section ? section->off : 0);
	blocks = need(realloc(blocks, (nblocks + n + 1) * sizeof(*blocks)));
	for (uint64_t k = 0; k < n; k++) {
		struct block *b = &blocks[nblocks++];
		int r = sub_block(sub, k, &b->row, &err);

		if (r < 0)
			die_of(&err);
		b->bytes = need(malloc(b->row.stored));
		r = io_pread(image_io(image), b->bytes, b->row.stored, from + b->row.off);
		if (r < 0) {
			errno = -r;
			die(ply_image_path(image));
		}
		ndecoded += b->row.size;
	}
}

static void load_blocks(const char *path)
{
	struct ply_image *image;
	struct ply_err err;

	if (ply_image_open(path, &image, &err) < 0)
		die_of(&err);
	for (uint32_t i = 0; i < ply_image_nsubs(image); i++)
		load_sub(image, i);
	ply_image_close(image);
}

/* --- what is timed ------------------------------------------------------- */

static void *decompress_some(void *unused)
{
	struct codec *codec = need(codec_new());
	char *out = need(malloc(PLY_BLOCK_SIZE));

	for (size_t i; (i = atomic_fetch_add(&next, 1)) < nblocks;) {
		const struct block *b = &blocks[i];
		int r = 0;

		if (b->row.raw)
			memcpy(out, b->bytes, b->row.size);
		else
			r = codec_decompress(codec, b->bytes, b->row.stored, out, b->row.size);
		if (r < 0) {
			errno = -r;
			die("a block of the image");
		}
	}
	free(out);
	codec_free(codec);
	return unused;
}

static void attributes(const struct entry *e, int fd, const char *path)
{
	const struct timespec times[2] = { e->st.st_mtim, e->st.st_mtim };
	char name[64];

	if (fchownat(fd, path, e->st.st_uid, e->st.st_gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		die(e->path);
	if (!S_ISLNK(e->st.st_mode) && (*path ? fchmodat(fd, path, e->st.st_mode & 07777, 0)
					      : fchmod(fd, e->st.st_mode & 07777)) < 0)
		die(e->path);
	for (size_t i = 0; i < e->nxattrs && !*path; i++) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		if (setxattr(name, e->xattrs[i].name, e->xattrs[i].value, e->xattrs[i].len, 0) < 0)
			die(e->path);
	}
	if ((*path ? utimensat(fd, path, times, AT_SYMLINK_NOFOLLOW) : futimens(fd, times)) < 0)
		die(e->path);
}

static void make_file(const struct entry *e)
{
	int fd = openat(target_fd, e->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		die(e->path);
	for (size_t i = 0; with_data && i < e->npieces; i++)
		for (size_t done = 0; done < e->pieces[i].len;) {
			ssize_t n = pwrite(fd, data + e->pieces[i].at + done, e->pieces[i].len - done,
					   e->pieces[i].offset + (off_t)done);

			if (n <= 0)
				die(e->path);
			done += (size_t)n;
		}
	if (with_data && ftruncate(fd, e->st.st_size) < 0)
		die(e->path);
	attributes(e, fd, "");
	close(fd);
}

static void make(const struct entry *e)
{
	if (S_ISREG(e->st.st_mode)) {
		make_file(e);
		return;
	}
	if (S_ISDIR(e->st.st_mode) || !e->st.st_mode)
		return;
	if ((S_ISLNK(e->st.st_mode) ? symlinkat(e->target, target_fd, e->path)
				    : mknodat(target_fd, e->path, (e->st.st_mode & S_IFMT) | 0600, e->st.st_rdev)) < 0)
		die(e->path);
	attributes(e, target_fd, e->path);
}

static void *make_some(void *unused)
{
	for (size_t from; (from = atomic_fetch_add(&next, BATCH)) < nentries;)
		for (size_t i = from; i < from + BATCH && i < nentries; i++)
			make(&entries[i]);
	return unused;
}

static void in_threads(void *(*some)(void *))
{
	pthread_t *t = need(calloc(nthreads, sizeof(*t)));

	atomic_store(&next, 0);
	for (unsigned i = 0; i < nthreads; i++)
		if (pthread_create(&t[i], NULL, some, NULL) != 0)
			die("thread");
	for (unsigned i = 0; i < nthreads; i++)
		pthread_join(t[i], NULL);
	free(t);
}

static void make_all(void)
{
	for (size_t i = 0; i < nentries; i++)
		if (S_ISDIR(entries[i].st.st_mode) && mkdirat(target_fd, entries[i].path, 0700) < 0)
			die(entries[i].path);
	in_threads(make_some);
	for (size_t i = 0; i < nentries; i++)
		if (!entries[i].st.st_mode &&
		    linkat(target_fd, entries[i].target, target_fd, entries[i].path, 0) < 0)
			die(entries[i].path);
	for (size_t i = nentries; i-- > 0;) {
		int fd;

		if (!S_ISDIR(entries[i].st.st_mode))
			continue;
		fd = openat(target_fd, entries[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			die(entries[i].path);
		attributes(&entries[i], fd, "");
		close(fd);
	}
}

static void decompress_all(void)
{
	in_threads(decompress_some);
}

static void sync_all(void)
{
	if (syncfs(target_fd) < 0)
		die("syncfs");
}

static void timed(const char *name, void (*what)(void), size_t nbytes, const char *end)
{
	double wall = clock_s(CLOCK_MONOTONIC), cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);

	what();
	printf("\"%s\": {\"wall_s\": %.6f, \"cpu_s\": %.6f, \"bytes\": %zu}%s", name,
	       clock_s(CLOCK_MONOTONIC) - wall, clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu, nbytes, end);
}

static void below(int dir, const char *name)
{
	if (mkdirat(dir, name, 0700) < 0 || (target_fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		die(name);
}

int main(int argc, char **argv)
{
	int dir;

	if (argc != 5 || atoi(argv[4]) < 1 || atoi(argv[4]) > 1024) {
		fprintf(stderr, "usage: floors IMAGE TREE DIR THREADS\n");
		return 2;
	}
	nthreads = (unsigned)atoi(argv[4]);
	umask(0);
	dir = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		die(argv[3]);
	load_blocks(argv[1]);
	load(argv[2]);
	printf("{");
	timed("decompress", decompress_all, ndecoded, ", ");
	below(dir, "create");
	timed("create", make_all, 0, ", ");
	sync_all();
	below(dir, "write");
	with_data = true;
	timed("write", make_all, ndata, ", ");
	timed("sync", sync_all, 0, "}\n");
	return fflush(stdout) == 0 ? 0 : 1;
}
