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
