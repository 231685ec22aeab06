/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk that fails on command, for tests: the files of BACKING (no directories below it), shown in DIR.
 *
 *   faultyfs BACKING DIR          in the foreground; it ends with its mount
 *
 * Commands, a line each, are written to DIR/.control and in force when the write returns:
 *
 *   read-error OFF LEN            reads that touch the range give EIO; several ranges add up
 *   write-error OFF LEN           the same for writes
 *   truncate LEN                  files end there
 *   serve PATH                    reads give the bytes of this file instead
 *   heal                          all of that is over
 *   after N COMMAND               from the N-th request on that reads or writes (one at a time)
 *
 * Whatever the kernel has cached of a file is dropped with each command, mapped pages, too, so
 * that faults come from the next access on. Reading .control gives the number of requests.
 */
#define FUSE_USE_VERSION 312

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTROL    "/.control"
#define RANGES     16

struct range {
	uint64_t off, len;
	bool write;
};

static int backing;                /* immutable: the directory */

/* Everything below is under `lock`. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct range ranges[RANGES];
static unsigned nranges;
static uint64_t end = UINT64_MAX;  /* where files end */
static int instead = -1;           /* the file that is served instead */
static uint64_t requests, due;     /* `pending` comes in force when requests reach due */
static char pending[PATH_MAX + 64];
static char last[NAME_MAX + 2];    /* path of the file that was opened last */

/* --- commands ------------------------------------------------------------------------------ */

static int command_locked(const char *text)
{
	unsigned long long a, b;
	char path[PATH_MAX];
	bool write = !strncmp(text, "write-error ", 12);

	if (sscanf(text, "after %llu", &a) == 1) {
		const char *rest = strchr(text + 6, ' ');

		if (!rest || strlen(rest + 1) >= sizeof(pending))
			return -EINVAL;
		strcpy(pending, rest + 1);
		due = requests + a;
		return 0;
	}
	if (sscanf(text, "read-error %llu %llu", &a, &b) == 2 || sscanf(text, "write-error %llu %llu", &a, &b) == 2) {
		if (nranges == RANGES)
			return -ENOSPC;
		ranges[nranges++] = (struct range){ a, b, write };
		return 0;
	}
	if (sscanf(text, "truncate %llu", &a) == 1) {
		end = a;
		return 0;
	}
	if (sscanf(text, "serve %4095[^\n]", path) == 1) {
		instead = open(path, O_RDONLY | O_CLOEXEC);
		return instead < 0 ? -errno : 0;
	}
	if (!strncmp(text, "heal", 4)) {
		instead = -1;      /* left open: a read may be using it */
		nranges = 0;
		end = UINT64_MAX;
		*pending = '\0';
		return 0;
	}
	return -EINVAL;
}

static void *forget_cached(void *arg)
{
	fuse_invalidate_path(arg, last);
	return NULL;
}

/* A request that reads or writes has come. */
static void count_request(void)
{
	struct fuse *fuse = fuse_get_context()->fuse;
	pthread_t thread;
	bool now;

	pthread_mutex_lock(&lock);
	requests++;
	now = *pending && requests >= due;
	if (now) {
		char text[sizeof(pending)];

		strcpy(text, pending);
		*pending = '\0';
		command_locked(text);
	}
	pthread_mutex_unlock(&lock);
	/* by another thread: the kernel may hold a page of the file until this request is answered */
	if (now && pthread_create(&thread, NULL, forget_cached, fuse) == 0)
		pthread_detach(thread);
}

static bool is_faulty(bool write, uint64_t off, uint64_t len)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nranges; i++)
		found |= ranges[i].write == write && off < ranges[i].off + ranges[i].len && ranges[i].off < off + len;
	pthread_mutex_unlock(&lock);
	return found;
}

/* --- the file system ------------------------------------------------------------------------- */

static int sys(int r)
{
	return r < 0 ? -errno : 0;
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	int r;

	if (!strcmp(path, CONTROL)) {
		*st = (struct stat){ .st_mode = S_IFREG | 0600, .st_nlink = 1 };
		return 0;
	}
	r = fi ? fstat((int)fi->fh, st) : fstatat(backing, path[1] ? path + 1 : ".", st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return -errno;
	pthread_mutex_lock(&lock);
	if (S_ISREG(st->st_mode) && (uint64_t)st->st_size > end)
		st->st_size = (off_t)end;
	pthread_mutex_unlock(&lock);
	return 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off, struct fuse_file_info *fi,
		      enum fuse_readdir_flags flags)
{
	int fd = openat(backing, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	(void)path, (void)off, (void)fi, (void)flags;
	if (!d)
		return -errno;
	while ((de = readdir(d)))
		fill(buf, de->d_name, NULL, 0, 0);
	closedir(d);
	return 0;
}

static int opened(const char *path, int fd, struct fuse_file_info *fi)
{
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	pthread_mutex_lock(&lock);
	snprintf(last, sizeof(last), "%s", path);
	pthread_mutex_unlock(&lock);
	return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
	if (!strcmp(path, CONTROL)) {
		fi->direct_io = 1;
		fi->fh = UINT64_MAX;
		return 0;
	}
	return opened(path, openat(backing, path + 1, fi->flags | O_CLOEXEC), fi);
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	return opened(path, openat(backing, path + 1, fi->flags | O_CREAT | O_CLOEXEC, mode), fi);
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	if (fi->fh != UINT64_MAX)
		close((int)fi->fh);
	return 0;
}

static int op_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	ssize_t n;
	int fd;

	(void)path;
	if (fi->fh == UINT64_MAX)
		return off ? 0 : snprintf(buf, len, "%llu\n", (unsigned long long)requests);
	count_request();
	if (is_faulty(false, (uint64_t)off, len))
		return -EIO;
	pthread_mutex_lock(&lock);
	fd = instead >= 0 ? instead : (int)fi->fh;
	if ((uint64_t)off >= end)
		len = 0;
	else if (len > end - (uint64_t)off)
		len = (size_t)(end - (uint64_t)off);
	pthread_mutex_unlock(&lock);
	n = pread(fd, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static int op_write(const char *path, const char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	char text[sizeof(pending)];
	ssize_t n;
	int r;

	(void)path;
	if (fi->fh == UINT64_MAX) {
		if (len >= sizeof(text))
			return -EINVAL;
		memcpy(text, buf, len);
		text[len] = '\0';
		text[strcspn(text, "\n")] = '\0';
		pthread_mutex_lock(&lock);
		r = command_locked(text);
		pthread_mutex_unlock(&lock);
		if (r == 0 && *last)
			fuse_invalidate_path(fuse_get_context()->fuse, last);
		return r < 0 ? r : (int)len;
	}
	count_request();
	if (is_faulty(true, (uint64_t)off, len))
		return -EIO;
	n = pwrite((int)fi->fh, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static int op_truncate(const char *path, off_t len, struct fuse_file_info *fi)
{
	int fd, r;

	if (!strcmp(path, CONTROL))
		return 0;
	if (fi)
		return sys(ftruncate((int)fi->fh, len));
	fd = openat(backing, path + 1, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = sys(ftruncate(fd, len));
	close(fd);
	return r;
}

static int op_fsync(const char *path, int data, struct fuse_file_info *fi)
{
	(void)path, (void)data;
	return sys(fsync((int)fi->fh));
}

static int op_unlink(const char *path)
{
	return sys(unlinkat(backing, path + 1, 0));
}

static int op_rename(const char *from, const char *to, unsigned flags)
{
	return sys(renameat2(backing, from + 1, backing, to + 1, flags));
}

static int op_link(const char *from, const char *to)
{
	return sys(linkat(backing, from + 1, backing, to + 1, 0));
}

static int op_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	return sys(fi ? fchmod((int)fi->fh, mode) : fchmodat(backing, path + 1, mode, 0));
}

static int op_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
	return sys(fi ? fchown((int)fi->fh, uid, gid) : fchownat(backing, path + 1, uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int op_utimens(const char *path, const struct timespec tv[2], struct fuse_file_info *fi)
{
	return sys(fi ? futimens((int)fi->fh, tv) : utimensat(backing, path + 1, tv, AT_SYMLINK_NOFOLLOW));
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
	(void)conn;
	/* the size is asked for again each time; pages stay until a command drops them */
	cfg->attr_timeout = cfg->entry_timeout = cfg->negative_timeout = 0;
	cfg->use_ino = 1;
	cfg->nullpath_ok = 0;
	cfg->hard_remove = 1;
	return NULL;
}

static const struct fuse_operations ops = {
	.init = op_init,
	.getattr = op_getattr,
	.readdir = op_readdir,
	.open = op_open,
	.create = op_create,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.truncate = op_truncate,
	.fsync = op_fsync,
	.unlink = op_unlink,
	.rename = op_rename,
	.link = op_link,
	.chmod = op_chmod,
	.chown = op_chown,
	.utimens = op_utimens,
};

int main(int argc, char **argv)
{
	char *args[] = { argv[0], argc == 3 ? argv[2] : NULL, (char[]){ "-f" }, (char[]){ "-oallow_other" }, NULL };

	if (argc != 3) {
		fprintf(stderr, "usage: faultyfs BACKING DIR\n");
		return 2;
	}
	backing = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (backing < 0) {
		perror(argv[1]);
		return 1;
	}
	return fuse_main(4, args, &ops, NULL);
}
