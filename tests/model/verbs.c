/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What fsmodel does: a row of verbs[] for each operation. draw() chooses its arguments, from random numbers and from what is known
 * of the model; run() does it on one side, whose root is / meanwhile, so that symlinks lead to the same place on both.
 *
 * What both sides may answer differently is not asked for: cookies, inode numbers, order of directories, sizes of directories. Those
 * have rules of their own, which run() looks after: EPROTO is a rule that one side has broken.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct slot slots[SLOTS];

static unsigned char bytes[BYTES];

static int64_t told(int64_t r)
{
	return r < 0 ? -errno : r;
}

/* A rule is broken: told where it is seen, since the other side keeps it. */
static int64_t broken(const char *rule, const char *name, int64_t at)
{
	printf("# %s: %s, %lld\n", rule, name, (long long)at);
	return -EPROTO;
}

/* --- what is drawn --------------------------------------------------------------------------- */

/* Sizes and offsets of every magnitude, often at or beside the border of a block. */
static int64_t magnitude(unsigned bits)
{
	int64_t n = (int64_t)below(1ull << below(bits + 1));
	if (chance(30))
		n = ((n + 4095) & ~4095ll) + (int64_t)below(3) - 1;
	return n < 0 ? 0 : n;
}

static void draw_range(struct step *s)
{
	s->off = magnitude(chance(10) ? 20 : 16);
	s->len = (size_t)magnitude(chance(10) ? 17 : 13);
	if (s->len > BYTES)
		s->len = BYTES;
	s->seed = random64();
}

static mode_t draw_mode(void)
{
	static const mode_t modes[] = { 0644, 0755, 0600, 0777, 0666, 04755, 02755, 06711, 01777, 0000, 0444, 02070 };
	return modes[below(sizeof(modes) / sizeof(*modes))];
}

/* A name that is new, or one of few, so that some are there already. */
static void draw_name(char name[NAME_MAX + 2])
{
	static const char *const odd[] = { "a name", "Gr\xc3\xb6sse", "\xff\x01", "a\nb", "-rf", "...", ".hidden" };
	if (chance(3)) {
		size_t n = NAME_MAX - 1 + below(3);
		memset(name, 'a' + (int)below(3), n);
		name[n] = '\0';
	} else if (chance(5)) {
		strcpy(name, odd[below(sizeof(odd) / sizeof(*odd))]);
	} else {
		snprintf(name, NAME_MAX, "%c%d", (int)('a' + below(6)), (int)below(60));
	}
}

static void draw_new(char path[PATH_MAX])
{
	char name[NAME_MAX + 2];
	const struct known *in = known_of(DT_DIR);
	draw_name(name);
	/* a file as a directory now and then */
	if (chance(2))
		in = known_any();
	if (snprintf(path, PATH_MAX, "%s/%s", strcmp(in->path, "/") ? in->path : "", name) >= PATH_MAX)
		strcpy(path, "/too-deep");
}

static void draw_old(char path[PATH_MAX])
{
	if (chance(4))
		draw_new(path);
	else
		strcpy(path, known_any()->path);
}

static void draw_file(char path[PATH_MAX])
{
	if (chance(10))
		draw_old(path);
	else
		strcpy(path, known_of(DT_REG)->path);
}

static bool draws_old(struct step *s)
{
	draw_old(s->path);
	return true;
}

static bool draws_new(struct step *s)
{
	draw_new(s->path);
	s->mode = draw_mode();
	return true;
}

static bool draws_file(struct step *s)
{
	draw_file(s->path);
	draw_range(s);
	return true;
}

static bool draw_slot(unsigned *slot, bool directory)
{
	unsigned first = (unsigned)below(SLOTS);
	for (unsigned i = 0; i < SLOTS; i++) {
		*slot = (first + i) % SLOTS;
		if (slots[*slot].fd[1] >= 0 && slots[*slot].directory == directory)
			return true;
	}
	return false;
}

static bool draws_slot(struct step *s)
{
	draw_range(s);
	s->mode = draw_mode();
	return draw_slot(&s->slot, false);
}

/* --- files by name ----------------------------------------------------------------------------- */

static bool draw_create(struct step *s)
{
	static const int how[] = { O_EXCL, O_EXCL, O_TRUNC, 0, O_APPEND };
	draws_new(s);
	draw_range(s);
	s->off = chance(80) ? 0 : s->off;
	s->flags = O_CREAT | O_WRONLY | how[below(5)];
	return true;
}

static bool draw_write(struct step *s)
{
	static const int how[] = { 0, 0, 0, 0, O_APPEND, O_TRUNC, O_NOFOLLOW };
	draws_file(s);
	s->flags = O_WRONLY | how[below(7)];
	return true;
}

static int64_t run_write(const struct step *s, unsigned side)
{
	(void)side;
	int fd = open(s->path, s->flags | O_NONBLOCK | O_CLOEXEC, s->mode);
	if (fd < 0)
		return -errno;
	fill(bytes, s->len, s->seed);
	int64_t r = told(pwrite(fd, bytes, s->len, s->off));
	close(fd);
	return r;
}

static int64_t run_read(const struct step *s, unsigned side)
{
	(void)side;
	int fd = open(s->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = pread(fd, bytes, s->len, s->off);
	int64_t r = n < 0 ? -errno : (int64_t)(hashed(bytes, (size_t)n, (uint64_t)n) >> 1);
	close(fd);
	return r;
}

/* To the size that it has: whether that sets mtime POSIX leaves open. ext4 does, FUSE's kernel and XFS do not. */
static bool has_size(int r, const struct stat *st, int64_t size)
{
	return !r && S_ISREG(st->st_mode) && st->st_size == size;
}

static int64_t run_truncate(const struct step *s, unsigned side)
{
	(void)side;
	struct stat st;
	if (has_size(stat(s->path, &st), &st, s->off))
		return -EALREADY;
	return told(truncate(s->path, s->off));
}

static bool draw_readlink(struct step *s)
{
	strcpy(s->path, known_of(DT_LNK)->path);
	return true;
}

static int64_t run_readlink(const struct step *s, unsigned side)
{
	(void)side;
	ssize_t n = readlink(s->path, (char *)bytes, PATH_MAX);
	return n < 0 ? -errno : (int64_t)(hashed(bytes, (size_t)n, (uint64_t)n) >> 1);
}

static int64_t run_access(const struct step *s, unsigned side)
{
	(void)side;
	return told(faccessat(AT_FDCWD, s->path, (int)(s->seed % 8), AT_EACCESS));
}

static bool draw_access(struct step *s)
{
	s->seed = random64();
	return draws_old(s);
}

/* --- names --------------------------------------------------------------------------------------- */

static bool draw_link(struct step *s)
{
	draw_old(s->path);
	draw_new(s->to);
	s->flags = chance(30) ? AT_SYMLINK_FOLLOW : 0;
	return true;
}

static int64_t run_link(const struct step *s, unsigned side)
{
	(void)side;
	return told(linkat(AT_FDCWD, s->path, AT_FDCWD, s->to, s->flags));
}

/* to: what it leads to */
static bool draw_symlink(struct step *s)
{
	draw_new(s->path);
	if (chance(60))
		strcpy(s->to, known_any()->path);
	else if (chance(70))
		draw_name(s->to);
	else
		snprintf(s->to, sizeof(s->to), "../%.*s", (int)magnitude(12) % 4000, known_any()->path);
	return true;
}

static int64_t run_symlink(const struct step *s, unsigned side)
{
	(void)side;
	return told(symlink(s->to, s->path));
}

/* Devices of numbers that no driver has, so that nothing is opened behind them. */
static bool draw_mknod(struct step *s)
{
	static const mode_t types[] = { S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFREG };
	draws_new(s);
	s->mode |= types[below(5)];
	s->dev = chance(20) ? makedev(0, 0) : makedev((unsigned)(2000 + below(2000)), (unsigned)below(1 << 20));
	return true;
}

static int64_t run_mknod(const struct step *s, unsigned side)
{
	(void)side;
	return told(mknod(s->path, s->mode, s->dev));
}

static int64_t run_mkdir(const struct step *s, unsigned side)
{
	(void)side;
	return told(mkdir(s->path, s->mode));
}

static bool draw_rmdir(struct step *s)
{
	strcpy(s->path, chance(90) ? known_of(DT_DIR)->path : known_any()->path);
	return true;
}

static int64_t run_rmdir(const struct step *s, unsigned side)
{
	(void)side;
	return told(rmdir(s->path));
}

static int64_t run_unlink(const struct step *s, unsigned side)
{
	(void)side;
	return told(unlink(s->path));
}

static bool draw_rename(struct step *s)
{
	static const int how[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_NOREPLACE };
	draw_old(s->path);
	s->flags = how[below(6)];
	if (chance(s->flags & RENAME_EXCHANGE ? 90 : 30))
		draw_old(s->to);
	else
		draw_new(s->to);
	return true;
}

static int64_t run_rename(const struct step *s, unsigned side)
{
	(void)side;
	return told(renameat2(AT_FDCWD, s->path, AT_FDCWD, s->to, (unsigned)s->flags));
}

static int64_t run_list(const struct step *s, unsigned side)
{
	(void)side;
	DIR *dir = opendir(s->path);
	uint64_t sum = 0;
	if (!dir)
		return -errno;
	/* whatever the order */
	for (struct dirent *d; (d = readdir(dir));)
		sum += hashed(d->d_name, strlen(d->d_name) + 1, d->d_type);
	closedir(dir);
	return (int64_t)(sum >> 1);
}

static bool draw_list(struct step *s)
{
	strcpy(s->path, known_of(DT_DIR)->path);
	return true;
}

/* --- attributes ------------------------------------------------------------------------------------ */

static bool draw_chmod(struct step *s)
{
	draws_old(s);
	s->mode = draw_mode();
	return true;
}

static int64_t run_chmod(const struct step *s, unsigned side)
{
	(void)side;
	return told(chmod(s->path, s->mode));
}

static bool draw_chown(struct step *s)
{
	static const unsigned ids[] = { 0, 1000, 33, 70000, (unsigned)-1 };
	draws_old(s);
	s->uid = ids[below(5)];
	/* neither: of another's setuid file ext4 refuses it, and the kernel does not tell FUSE that it was asked (fuse_setattr()) */
	s->gid = ids[below(s->as && s->uid == (unsigned)-1 ? 4 : 5)];
	return true;
}

static int64_t run_chown(const struct step *s, unsigned side)
{
	(void)side;
	return told(lchown(s->path, s->uid, s->gid));
}

/* Times of long ago: what is newer than the run is not compared. */
static void draw_time(struct timespec *t)
{
	t->tv_sec = chance(10) ? -(time_t)below(LONG_AGO) : (time_t)below(LONG_AGO);
	t->tv_nsec = (long)below(1000000000);
	if (chance(10))
		t->tv_nsec = chance(50) ? UTIME_NOW : UTIME_OMIT;
}

static bool draw_utimens(struct step *s)
{
	draws_old(s);
	draw_time(&s->times[0]);
	draw_time(&s->times[1]);
	return true;
}

static int64_t run_utimens(const struct step *s, unsigned side)
{
	(void)side;
	return told(utimensat(AT_FDCWD, s->path, s->times, AT_SYMLINK_NOFOLLOW));
}

/* Some that were asked for: to be read, set again, removed. */
static struct {
	char path[PATH_MAX];
	const char *name;
} tagged[8];

static void draw_tagged(struct step *s)
{
	unsigned i = (unsigned)below(8);
	if (tagged[i].name && chance(60)) {
		strcpy(s->path, tagged[i].path);
		s->name = tagged[i].name;
	}
}

static const char *draw_xattr(void)
{
	/* the longest name that there is */
	static char longest[XATTR_NAME_MAX + 1] = "user.";
	static const char *const names[] = { "user.a", "user.b", "trusted.a", "trusted.overlay.opaque", "user.a b", longest };
	memset(longest + 5, 'x', XATTR_NAME_MAX - 5);
	return names[below(6)];
}

static bool draw_setxattr(struct step *s)
{
	static const int how[] = { 0, 0, 0, XATTR_CREATE, XATTR_REPLACE };
	draws_old(s);
	s->name = draw_xattr();
	s->flags = how[below(5)];
	/* of all together the trusted file system keeps one block */
	s->len = chance(90) ? (size_t)magnitude(6) % 100 : below(400);
	s->seed = random64();
	if (chance(20))
		draw_tagged(s);
	unsigned i = (unsigned)below(8);
	strcpy(tagged[i].path, s->path);
	tagged[i].name = s->name;
	return true;
}

static int64_t run_setxattr(const struct step *s, unsigned side)
{
	(void)side;
	fill(bytes, s->len, s->seed);
	return told(lsetxattr(s->path, s->name, bytes, s->len, s->flags));
}

static bool draw_getxattr(struct step *s)
{
	draws_old(s);
	s->name = draw_xattr();
	draw_tagged(s);
	return true;
}

static int64_t run_getxattr(const struct step *s, unsigned side)
{
	(void)side;
	ssize_t n = lgetxattr(s->path, s->name, bytes, sizeof(bytes));
	return n < 0 ? -errno : (int64_t)(hashed(bytes, (size_t)n, (uint64_t)n) >> 1);
}

static bool draw_removexattr(struct step *s)
{
	draws_old(s);
	s->name = chance(80) ? draw_xattr() : chance(50) ? "system.posix_acl_access" : "system.posix_acl_default";
	draw_tagged(s);
	return true;
}

static int64_t run_removexattr(const struct step *s, unsigned side)
{
	(void)side;
	return told(lremovexattr(s->path, s->name));
}

/* As in linux/posix_acl_xattr.h; the machine has the order of bytes that it wants. */
struct acl {
	uint32_t version;
	struct acl_entry {
		uint16_t tag, perm;
		uint32_t id;
	} entries[6];
};

enum { ACL_OWNER = 1, ACL_USER = 2, ACL_GROUP_OF = 4, ACL_GROUP = 8, ACL_MASK = 16, ACL_OTHERS = 32 };

/* Only the three that a mode has, or more; sometimes not valid. */
static size_t make_acl(struct acl *acl, uint64_t seed)
{
	static const uint16_t tags[] = { ACL_OWNER, ACL_USER, ACL_GROUP_OF, ACL_GROUP, ACL_MASK, ACL_OTHERS };
	bool more = seed % 4, invalid = seed / 4 % 16 == 0;
	unsigned n = 0;
	*acl = (struct acl){ .version = 2 };
	for (unsigned i = 0; i < 6; i++) {
		bool named = tags[i] == ACL_USER || tags[i] == ACL_GROUP;
		if ((!more && (named || tags[i] == ACL_MASK)) || (invalid && tags[i] == ACL_GROUP_OF))
			continue;
		acl->entries[n++] = (struct acl_entry){ tags[i], (uint16_t)(seed >> (8 + 3 * i) & 7),
							tags[i] == ACL_USER ? 1000u : tags[i] == ACL_GROUP ? 33u : ~0u };
	}
	return offsetof(struct acl, entries) + n * sizeof(struct acl_entry);
}

static bool draw_acl(struct step *s)
{
	s->name = chance(60) ? "system.posix_acl_access" : "system.posix_acl_default";
	strcpy(s->path, s->name[18] == 'd' && chance(90) ? known_of(DT_DIR)->path : known_any()->path);
	s->seed = random64();
	return true;
}

static int64_t run_acl(const struct step *s, unsigned side)
{
	(void)side;
	struct acl acl;
	size_t n = make_acl(&acl, s->seed);
	return told(lsetxattr(s->path, s->name, &acl, n, 0));
}

/* --- open files --------------------------------------------------------------------------------------- */

static void slot_close(unsigned slot, unsigned side)
{
	struct slot *o = &slots[slot];
	if (o->fd[side] >= 0)
		close(o->fd[side]);
	o->fd[side] = -1;
	if (o->seen[side]) {
		listing_free(o->seen[side]);
		free(o->seen[side]);
		o->seen[side] = NULL;
	}
}

void slots_close(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		for (unsigned side = 0; side < SIDES; side++)
			slot_close(i, side);
}

static bool draw_open(struct step *s)
{
	static const int how[] = { O_RDWR, O_RDWR, O_RDWR | O_APPEND, O_RDONLY, O_WRONLY, O_RDWR | O_CREAT };
	draw_file(s->path);
	s->slot = (unsigned)below(SLOTS);
	s->flags = how[below(6)];
	s->mode = draw_mode();
	return true;
}

static int64_t run_open(const struct step *s, unsigned side)
{
	slot_close(s->slot, side);
	slots[s->slot].directory = false;
	slots[s->slot].fd[side] = open(s->path, s->flags | O_NONBLOCK | O_CLOEXEC, s->mode);
	return slots[s->slot].fd[side] < 0 ? -errno : 0;
}

static bool draw_tmpfile(struct step *s)
{
	s->slot = (unsigned)below(SLOTS);
	strcpy(s->path, known_of(DT_DIR)->path);
	s->flags = O_TMPFILE | O_RDWR | (chance(20) ? O_EXCL : 0);
	s->mode = draw_mode();
	return true;
}

static bool draw_close(struct step *s)
{
	return draw_slot(&s->slot, chance(20));
}

static int64_t run_close(const struct step *s, unsigned side)
{
	slot_close(s->slot, side);
	return 0;
}

static bool draw_linkat(struct step *s)
{
	draw_new(s->path);
	return draw_slot(&s->slot, false);
}

static int64_t run_linkat(const struct step *s, unsigned side)
{
	return told(linkat(slots[s->slot].fd[side], "", AT_FDCWD, s->path, AT_EMPTY_PATH));
}

static int64_t run_pwrite(const struct step *s, unsigned side)
{
	fill(bytes, s->len, s->seed);
	return told(pwrite(slots[s->slot].fd[side], bytes, s->len, s->off));
}

static int64_t run_pread(const struct step *s, unsigned side)
{
	ssize_t n = pread(slots[s->slot].fd[side], bytes, s->len, s->off);
	return n < 0 ? -errno : (int64_t)(hashed(bytes, (size_t)n, (uint64_t)n) >> 1);
}

static int64_t run_ftruncate(const struct step *s, unsigned side)
{
	struct stat st;
	if (has_size(fstat(slots[s->slot].fd[side], &st), &st, s->off))
		return -EALREADY;
	return told(ftruncate(slots[s->slot].fd[side], s->off));
}

static bool draw_fallocate(struct step *s)
{
	static const int how[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE };
	s->flags = how[below(7)];
	return draws_slot(s);
}

static int64_t run_fallocate(const struct step *s, unsigned side)
{
	return told(fallocate(slots[s->slot].fd[side], s->flags, s->off, (off_t)s->len));
}

static int64_t run_mmap(const struct step *s, unsigned side)
{
	int fd = slots[s->slot].fd[side];
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	if (s->off >= st.st_size || !s->len)
		return -ENODATA;
	int64_t from = s->off & ~4095ll;
	size_t n = (size_t)(st.st_size - s->off) < s->len ? (size_t)(st.st_size - s->off) : s->len;
	char *map = mmap(NULL, n + (size_t)(s->off - from), PROT_READ | PROT_WRITE, MAP_SHARED, fd, from);
	if (map == MAP_FAILED)
		return -errno;
	fill(map + (s->off - from), n, s->seed);
	int64_t r = s->seed % 8 == 0 ? told(msync(map, n + (size_t)(s->off - from), MS_SYNC)) : 0;
	munmap(map, n + (size_t)(s->off - from));
	return r;
}

static bool draw_copy(struct step *s)
{
	s->from_off = magnitude(16);
	return draws_slot(s) && draw_slot(&s->from, false);
}

/* One call may copy less than it is asked for. */
static int64_t run_copy(const struct step *s, unsigned side)
{
	loff_t in = s->from_off, out = s->off;
	size_t done = 0;
	while (done < s->len) {
		ssize_t n = copy_file_range(slots[s->from].fd[side], &in, slots[s->slot].fd[side], &out, s->len - done, 0);
		if (n < 0 && !done)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (int64_t)done;
}

static int64_t run_fsync(const struct step *s, unsigned side)
{
	return told(s->seed & 1 ? fsync(slots[s->slot].fd[side]) : fdatasync(slots[s->slot].fd[side]));
}

static int64_t run_fchmod(const struct step *s, unsigned side)
{
	return told(fchmod(slots[s->slot].fd[side], s->mode));
}

/* Only zeros between @from and @to. */
static bool is_hole(int fd, int64_t from, int64_t to)
{
	while (from < to) {
		size_t want = (size_t)(to - from) < BYTES ? (size_t)(to - from) : BYTES;
		ssize_t n = pread(fd, bytes, want, from);
		if (n <= 0)
			return false;
		for (ssize_t i = 0; i < n; i++)
			if (bytes[i])
				return false;
		from += n;
	}
	return true;
}

/* What is told to be a hole reads as zeros, and one step follows the other up to the end. Where data is told is up to each side. */
static int64_t run_holes(const struct step *s, unsigned side)
{
	int fd = slots[s->slot].fd[side];
	struct stat st;
	if (fcntl(fd, F_GETFL) & O_WRONLY)
		return -EBADF;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	for (int64_t at = 0; at < st.st_size;) {
		int64_t data = lseek(fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return is_hole(fd, at, st.st_size) ? st.st_size : broken("SEEK_DATA says that no data follows", "offset", at);
		if (data < at || data >= st.st_size)
			return broken("SEEK_DATA", "offset", data);
		if (!is_hole(fd, at, data))
			return broken("SEEK_DATA has skipped data", "offset", at);
		at = lseek(fd, data, SEEK_HOLE);
		if (at <= data || at > st.st_size)
			return broken("SEEK_HOLE", "offset", at);
	}
	return st.st_size;
}

/* --- directories that are read in pieces ----------------------------------------------------------------- */

/* From where it stands to the end, in small pieces. */
static int64_t read_on(int fd, struct listing *l, size_t piece)
{
	char buf[8192] __attribute__((aligned(8)));
	for (;;) {
		ssize_t n = getdents64(fd, buf, piece);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		for (ssize_t at = 0; at < n;) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);
			listing_add(l, (const struct dirent *)d, (long)d->d_off);
			at += d->d_reclen;
		}
	}
}

static size_t piece_of(uint64_t seed)
{
	return 512 + (size_t)(seed % 16) * 480;
}

static bool draw_opendir(struct step *s)
{
	s->slot = (unsigned)below(SLOTS);
	s->seed = random64();
	strcpy(s->path, known_of(DT_DIR)->path);
	return true;
}

static int64_t run_opendir(const struct step *s, unsigned side)
{
	struct slot *o = &slots[s->slot];
	slot_close(s->slot, side);
	o->directory = true;
	o->fd[side] = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->fd[side] < 0)
		return -errno;
	o->seen[side] = calloc(1, sizeof(*o->seen[side]));
	if (!o->seen[side])
		die("calloc");
	int64_t r = read_on(o->fd[side], o->seen[side], piece_of(s->seed));
	return r ? r : o->seen[side]->n;
}

static bool draw_seekdir(struct step *s)
{
	s->seed = random64();
	return draw_slot(&s->slot, true);
}

static unsigned times_in(const struct listing *l, const char *name)
{
	unsigned n = 0;
	for (unsigned i = 0; i < l->n; i++)
		n += !strcmp(l->entries[i].name, name);
	return n;
}

/* Behind an entry that was read before: each one that followed it then and is still the same file comes, and none twice. */
static int64_t run_seekdir(const struct step *s, unsigned side)
{
	struct slot *o = &slots[s->slot];
	const struct listing *seen = o->seen[side];
	struct listing rest = { 0 };
	struct stat dir;
	if (o->fd[side] < 0 || !seen || fstat(o->fd[side], &dir))
		return -EBADF;
	/* removed: nothing can be read, and where lseek() ends is up to each */
	if (!dir.st_nlink)
		return -ENOENT;
	/* the same share of it: orders differ */
	unsigned k = seen->n ? (unsigned)(s->seed % (seen->n + 1)) : 0;
	if (lseek(o->fd[side], k ? seen->entries[k - 1].cookie : 0, SEEK_SET) < 0)
		return -errno;
	int64_t r = read_on(o->fd[side], &rest, piece_of(s->seed >> 32));
	for (unsigned i = k; i < seen->n && !r; i++) {
		struct stat st;
		const struct listing_entry *e = &seen->entries[i];
		if (!strcmp(e->name, "..") || fstatat(o->fd[side], e->name, &st, AT_SYMLINK_NOFOLLOW) || st.st_ino != e->ino)
			continue;
		if (!times_in(&rest, e->name))
			r = broken("an entry is left out behind a cookie", e->name, k);
	}
	for (unsigned i = 0; i < rest.n && !r; i++)
		if (times_in(&rest, rest.entries[i].name) > 1)
			r = broken("an entry comes twice", rest.entries[i].name, k);
	listing_free(&rest);
	return r;
}

const struct verb verbs[] = {
	{ "create", 80, true, draw_create, run_write },
	{ "write", 100, true, draw_write, run_write },
	{ "read", 60, false, draws_file, run_read },
	{ "truncate", 40, true, draws_file, run_truncate },
	{ "link", 40, true, draw_link, run_link },
	{ "symlink", 30, true, draw_symlink, run_symlink },
	{ "readlink", 10, false, draw_readlink, run_readlink },
	{ "mknod", 20, true, draw_mknod, run_mknod },
	{ "mkdir", 50, true, draws_new, run_mkdir },
	{ "rmdir", 40, true, draw_rmdir, run_rmdir },
	{ "unlink", 70, true, draws_old, run_unlink },
	{ "rename", 90, true, draw_rename, run_rename },
	{ "list", 20, false, draw_list, run_list },
	{ "access", 15, false, draw_access, run_access },
	{ "chmod", 30, true, draw_chmod, run_chmod },
	{ "chown", 30, true, draw_chown, run_chown },
	{ "utimens", 30, true, draw_utimens, run_utimens },
	{ "setxattr", 40, true, draw_setxattr, run_setxattr },
	{ "getxattr", 10, false, draw_getxattr, run_getxattr },
	{ "removexattr", 20, true, draw_removexattr, run_removexattr },
	{ "acl", 30, true, draw_acl, run_acl },
	{ "open", 80, true, draw_open, run_open },
	{ "tmpfile", 15, true, draw_tmpfile, run_open },
	{ "close", 30, false, draw_close, run_close },
	{ "linkat", 20, true, draw_linkat, run_linkat },
	{ "pwrite", 120, true, draws_slot, run_pwrite },
	{ "pread", 60, false, draws_slot, run_pread },
	{ "ftruncate", 30, true, draws_slot, run_ftruncate },
	{ "fallocate", 40, true, draw_fallocate, run_fallocate },
	{ "mmap", 40, true, draws_slot, run_mmap },
	{ "copy", 40, true, draw_copy, run_copy },
	{ "fsync", 10, false, draws_slot, run_fsync },
	{ "fchmod", 10, true, draws_slot, run_fchmod },
	{ "holes", 30, false, draws_slot, run_holes },
	{ "opendir", 15, false, draw_opendir, run_opendir },
	{ "seekdir", 30, false, draw_seekdir, run_seekdir },
};
const unsigned nverbs = sizeof(verbs) / sizeof(*verbs);
