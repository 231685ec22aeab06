/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who keeps a file system busy: see holders.h.
 *
 * Links in /proc are followed without asking the file system behind them, so a daemon
 * that is dead or hangs does not stop the search. Mapped files are read from
 * `maps`: they count also where their descriptor is closed.
 */
#include "holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mnt.h"
#include "base/util.h"

struct device {
	unsigned major, minor;
};

static bool is_on(int dirfd, const char *name, const struct device *dev)
{
	struct mnt_place place;

	return mnt_place_at(dirfd, name, &place) == 0 && place.major == dev->major &&
	       place.minor == dev->minor;
}

static bool has_open_file(int proc, const struct device *dev)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	bool found = false;

	if (!dir) {
		cleanup_close(&fd);
		return false;
	}
	while (!found && (de = readdir(dir)))
		found = de->d_name[0] != '.' && is_on(fd, de->d_name, dev);
	closedir(dir);
	return found;
}

static FILE *open_text(int proc, const char *name)
{
	int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");

	if (!f)
		cleanup_close(&fd);
	return f;
}

static bool has_mapped_file(int proc, const struct device *dev)
{
	FILE *f = open_text(proc, "maps");
	char *line = NULL;
	size_t cap = 0;
	bool found = false;

	while (f && !found && getline(&line, &cap, f) >= 0) {
		unsigned major, minor;

		found = sscanf(line, "%*s %*s %*s %x:%x", &major, &minor) == 2 &&
			major == dev->major && minor == dev->minor;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static const char *how_used(int proc, const struct device *dev)
{
	if (is_on(proc, "cwd", dev))
		return "working directory";
	if (is_on(proc, "root", dev))
		return "root directory";
	if (is_on(proc, "exe", dev))
		return "program";
	if (has_open_file(proc, dev))
		return "open file";
	return has_mapped_file(proc, dev) ? "mapped file" : NULL;
}

static void read_command(int proc, char *out, size_t cap)
{
	FILE *f = open_text(proc, "comm");
	char text[64] = "?";

	if (f && fgets(text, sizeof(text), f))
		text[strcspn(text, "\n")] = '\0';
	if (f)
		fclose(f);
	escape_name_to(text, strlen(text), out, cap);
}

/* All but ourselves. Non-zero from @fn ends it and is returned. */
static int each_process(int (*fn)(void *ctx, pid_t pid, int proc), void *ctx)
{
	DIR *dir = opendir("/proc");
	struct dirent *de;
	int r = 0;

	while (dir && r == 0 && (de = readdir(dir))) {
		_cleanup_close_ int proc = -1;

		if (de->d_name[0] < '1' || de->d_name[0] > '9' ||
		    strtol(de->d_name, NULL, 10) == getpid())
			continue;
		proc = openat(dirfd(dir), de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (proc >= 0)
			r = fn(ctx, (pid_t)strtol(de->d_name, NULL, 10), proc);
	}
	if (dir)
		closedir(dir);
	return r;
}

struct search {
	struct device dev;
	holder_fn fn;
	void *ctx;
};

static int see_holder(void *ctx, pid_t pid, int proc)
{
	const struct search *s = ctx;
	struct holder h = { .pid = pid, .how = how_used(proc, &s->dev) };
	char command[256];

	if (h.how) {
		read_command(proc, command, sizeof(command));
		h.command = command;
		s->fn(s->ctx, &h);
	}
	return 0;
}

void holders_find(unsigned major, unsigned minor, holder_fn fn, void *ctx)
{
	struct search s = { { major, minor }, fn, ctx };

	each_process(see_holder, &s);
}

static int see_mount(void *ctx, const struct mnt_line *line)
{
	const struct device *dev = ctx;

	return line->major == dev->major && line->minor == dev->minor;
}

struct namespaces {
	struct device dev;
	ino_t ours;
};

static int see_namespace(void *ctx, pid_t pid, int proc)
{
	struct namespaces *n = ctx;
	char table[64];
	struct stat st;

	if (fstatat(proc, "ns/mnt", &st, 0) < 0 || st.st_ino == n->ours)
		return 0;
	snprintf(table, sizeof(table), "/proc/%ld/mountinfo", (long)pid);
	return mnt_list(table, see_mount, &n->dev) > 0 ? (int)pid : 0;
}

pid_t holders_namespace(unsigned major, unsigned minor)
{
	struct namespaces n = { { major, minor }, 0 };
	struct stat st;

	if (stat("/proc/self/ns/mnt", &st) == 0)
		n.ours = st.st_ino;
	return each_process(see_namespace, &n);
}

/* --- locks ------------------------------------------------------------------------------------- */

/* Is one of its descriptors the file? The device of a lock is not that of stat(2) everywhere, so it is not compared. */
static bool has_open(pid_t pid, const struct stat *file)
{
	char path[64];
	struct dirent *de;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%ld/fd", (long)pid);
	dir = opendir(path);
	while (dir && !found && (de = readdir(dir))) {
		struct statx sx;

		found = de->d_name[0] != '.' &&
			statx(dirfd(dir), de->d_name, AT_STATX_DONT_SYNC, 0, &sx) == 0 && sx.stx_ino == file->st_ino &&
			makedev(sx.stx_dev_major, sx.stx_dev_minor) == file->st_dev;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* "1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF" */
static pid_t find_lock(FILE *f, const struct stat *file)
{
	unsigned long long ino;
	char *line = NULL;
	size_t cap = 0;
	pid_t found = 0;
	long pid;

	while (!found && getline(&line, &cap, f) >= 0)
		if (sscanf(line, "%*s FLOCK %*s %*s %ld %*x:%*x:%llu", &pid, &ino) == 2 && pid > 0 &&
		    ino == file->st_ino && has_open((pid_t)pid, file))
			found = (pid_t)pid;
	free(line);
	return found;
}

bool holders_lock(const char *path, struct holder *ret, char *command, size_t cap)
{
	FILE *f = fopen("/proc/locks", "re");
	char proc[32];
	struct stat file;
	pid_t pid = f && stat(path, &file) == 0 ? find_lock(f, &file) : 0;
	int fd;

	if (f)
		fclose(f);
	if (!pid)
		return false;
	snprintf(proc, sizeof(proc), "/proc/%ld", (long)pid);
	fd = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	read_command(fd, command, cap);
	cleanup_close(&fd);
	*ret = (struct holder){ .pid = pid, .command = command, .how = "lock" };
	return true;
}

/* --- who writes ---------------------------------------------------------------------------------- */

struct writers {
	struct device dev;
	holder_file_fn fn;
	void *ctx;
};

/* The link's own mode says how the file was opened, its target's what it is: nothing but a regular file is opened. */
static bool is_written(int dirfd, const char *name, const struct device *dev)
{
	struct statx sx;
	struct stat link;

	return is_on(dirfd, name, dev) && fstatat(dirfd, name, &link, AT_SYMLINK_NOFOLLOW) == 0 &&
	       link.st_mode & S_IWUSR && statx(dirfd, name, AT_STATX_DONT_SYNC, 0, &sx) == 0 && S_ISREG(sx.stx_mode);
}

static int in_folder(const struct writers *w, int proc, const char *folder)
{
	int at = openat(proc, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = at < 0 ? NULL : fdopendir(at);
	struct dirent *de;

	if (!dir)
		cleanup_close(&at);
	while (dir && r == 0 && (de = readdir(dir))) {
		_cleanup_close_ int fd = -1;

		if (de->d_name[0] == '.' || !is_written(at, de->d_name, &w->dev))
			continue;
		fd = openat(at, de->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0)
			r = w->fn(w->ctx, fd);
	}
	if (dir)
		closedir(dir);
	return r;
}

static int see_writer(void *ctx, pid_t pid, int proc)
{
	int r = in_folder(ctx, proc, "fd");

	(void)pid;
	return r ? r : in_folder(ctx, proc, "map_files");
}

int holders_writers(unsigned major, unsigned minor, holder_file_fn fn, void *ctx)
{
	struct writers w = { { major, minor }, fn, ctx };

	return each_process(see_writer, &w);
}
