/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A system in which the K-th call that changes something fails, or is the last: to be preloaded into the command.
 *
 *   FAULT_AT=K       which one, from 1, over all threads; 0 or none: no fault
 *   FAULT_DO=ERRNO   the number of the error that it gets instead of being made; or
 *   FAULT_DO=kill    kill -9 instead of it
 *   FAULT_RUN=SHELL  instead of FAULT_DO: this is run before that call, and then it is made
 *   FAULT_DO=short   writes of more than 512 bytes write 512
 *   FAULT_STICKY=1   all from there on
 *   FAULT_GROW=1     only calls that need room: those of a disk that is full
 *   FAULT_LOG=FILE   a line for each, with its name: as many as there are
 *
 * And one in which another process is always at the worst place at the worst time:
 *
 *   SWAP_AT=K        just before the K-th call what has the name that it speaks of is removed, or renamed (a directory), and
 *                    a file of another is there; not in /var/lib/plyfs. Its inode number and path go to
 *   SWAP_LOG=FILE
 *   SWAP_SECOND=1    of two names: the second
 *   SWAP_TWICE=1     and once more just before the next call that is counted, at its second name
 *
 * Counted are calls that change files, and those that make changes durable; not those of stdio, and not those that only
 * look.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define SHORT 512u

#define SWAP_TEXT "of another\n"
#define SWAP_TIME 1234567890
#define SWAP_MODE 0640

static struct {
	unsigned long at;
	int error;                 /* 0: kill */
	bool active, sticky, grow, cut;
	int log;
	unsigned long swap_at;
	bool swap_second, swap_twice;
	const char *swap_log, *run;
	atomic_ulong count;
} fault = { .log = -1 };
static _Thread_local unsigned long now;    /* number of the call that is being made */

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("FAULT_AT"), *what = getenv("FAULT_DO"), *log = getenv("FAULT_LOG");

	fault.at = at ? strtoul(at, NULL, 10) : 0;
	fault.cut = what && !strcmp(what, "short");
	fault.error = what ? atoi(what) : 0;
	fault.sticky = getenv("FAULT_STICKY");
	fault.grow = getenv("FAULT_GROW");
	fault.run = getenv("FAULT_RUN");
	unsetenv("LD_PRELOAD");
	fault.swap_at = getenv("SWAP_AT") ? strtoul(getenv("SWAP_AT"), NULL, 10) : 0;
	fault.swap_second = getenv("SWAP_SECOND");
	fault.swap_twice = getenv("SWAP_TWICE");
	fault.swap_log = getenv("SWAP_LOG");
	fault.active = fault.swap_at || fault.at || fault.cut || log;
	if (log)
		fault.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* The file of another at @name in @dir. By system calls, which are not counted. */
static void swap(int dir, const char *name)
{
	const struct timespec times[2] = { { .tv_sec = SWAP_TIME }, { .tv_sec = SWAP_TIME } };
	char link[40], where[8192], away[300];
	struct stat st;
	ssize_t n;
	long fd;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	n = readlink(link, where, sizeof(where) - 1);
	where[n < 0 ? 0 : n] = '\0';
	if (strchr(name, '/') || !*name || strstr(where, "/var/lib/plyfs") || strstr(where, "/.plyfs.") ||
	    !strncmp(name, ".plyfs.", 7) || !strcmp(name, "var") || !strcmp(name, "lib"))
		return;
	snprintf(away, sizeof(away), "%.240s.away", name);
	if (syscall(SYS_unlinkat, dir, name, 0) < 0 && errno == EISDIR)
		syscall(SYS_renameat2, dir, name, dir, away, 1);
	fd = syscall(SYS_openat, dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, SWAP_MODE);
	if (fd < 0 || syscall(SYS_write, fd, SWAP_TEXT, sizeof(SWAP_TEXT) - 1) < 0 || syscall(SYS_fchmod, fd, SWAP_MODE) < 0 ||
	    syscall(SYS_fchown, fd, 0, 0) < 0 || syscall(SYS_utimensat, fd, NULL, times, 0) < 0 || fstat((int)fd, &st) < 0)
		return;
	syscall(SYS_close, fd);
	fd = syscall(SYS_openat, AT_FDCWD, fault.swap_log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	dprintf((int)fd, "%llu %s/%s\n", (unsigned long long)st.st_ino, where, name);
	syscall(SYS_close, fd);
}

/* Shall this one fail? Then errno is set. @grows: it needs room. */
static bool hits(const char *name, bool grows)
{
	unsigned long n;

	if (fault.grow && !grows)
		return false;
	now = n = atomic_fetch_add(&fault.count, 1) + 1;
	if (fault.log >= 0)
		dprintf(fault.log, "%s\n", name);
	if (!fault.at || fault.cut || n < fault.at || (n > fault.at && !fault.sticky))
		return false;
	if (fault.run)
		return system(fault.run) == -1;
	if (!fault.error)
		kill(getpid(), SIGKILL);
	errno = fault.error;
	return true;
}

#define EXPORT __attribute__((visibility("default")))

/* The call that was counted last, by this thread, speaks of @name in @dir. */
static void speaks_of(int dir, const char *name, bool second)
{
	if (!fault.swap_at || !fault.swap_log)
		return;
	if ((now == fault.swap_at && second == fault.swap_second) || (fault.swap_twice && now == fault.swap_at + 1 && second))
		swap(dir, name);
}

/* A function of the C library, of the same name and arguments, that returns -1 where it fails. */
#define WRAP(type, name, grows, params, args, ...) \
	EXPORT type name params; \
	type name params \
	{ \
		static type (*real) params; \
		if (!real) \
			real = (type (*) params)dlsym(RTLD_NEXT, #name); \
		if (hits(#name, grows)) \
			return -1; \
		__VA_ARGS__; \
		return real args; \
	}
#define AT(dir, name) speaks_of(dir, name, false)

WRAP(int, mkdirat, true, (int d, const char *p, mode_t m), (d, p, m), AT(d, p))
WRAP(int, mknodat, true, (int d, const char *p, mode_t m, dev_t v), (d, p, m, v), AT(d, p))
WRAP(int, symlinkat, true, (const char *t, int d, const char *p), (t, d, p), AT(d, p))
WRAP(int, linkat, true, (int a, const char *p, int b, const char *q, int f), (a, p, b, q, f), AT(a, p); speaks_of(b, q, true))
WRAP(int, renameat2, false, (int a, const char *p, int b, const char *q, unsigned f), (a, p, b, q, f), AT(a, p); speaks_of(b, q, true))
WRAP(int, unlinkat, false, (int d, const char *p, int f), (d, p, f), AT(d, p))
WRAP(int, chmod, false, (const char *p, mode_t m), (p, m))
WRAP(int, fchmod, false, (int d, mode_t m), (d, m))
WRAP(int, fchmodat, false, (int d, const char *p, mode_t m, int f), (d, p, m, f), AT(d, p))
WRAP(int, fchown, false, (int d, uid_t u, gid_t g), (d, u, g))
WRAP(int, fchownat, false, (int d, const char *p, uid_t u, gid_t g, int f), (d, p, u, g, f), AT(d, p))
WRAP(int, futimens, false, (int d, const struct timespec t[2]), (d, t))
WRAP(int, utimensat, false, (int d, const char *p, const struct timespec t[2], int f), (d, p, t, f), AT(d, p))
WRAP(int, fsetxattr, true, (int d, const char *n, const void *v, size_t l, int f), (d, n, v, l, f))
WRAP(int, lsetxattr, true, (const char *p, const char *n, const void *v, size_t l, int f), (p, n, v, l, f))
WRAP(int, setxattr, true, (const char *p, const char *n, const void *v, size_t l, int f), (p, n, v, l, f))
WRAP(int, fremovexattr, false, (int d, const char *n), (d, n))
WRAP(int, fallocate64, true, (int d, int m, off64_t o, off64_t l), (d, m, o, l))
WRAP(int, ftruncate64, false, (int d, off64_t l), (d, l))
WRAP(int, fsync, false, (int d), (d))
WRAP(int, fdatasync, false, (int d), (d))
WRAP(int, syncfs, true, (int d), (d))

EXPORT ssize_t pwrite64(int d, const void *p, size_t n, off64_t o);
ssize_t pwrite64(int d, const void *p, size_t n, off64_t o)
{
	static ssize_t (*real)(int, const void *, size_t, off64_t);

	if (!real)
		real = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
	if (hits("pwrite64", true))
		return -1;
	return real(d, p, fault.cut && n > SHORT ? SHORT : n, o);
}

/* Only where it makes a file, or looks at what was made. */
EXPORT int openat64(int d, const char *p, int flags, ...);
int openat64(int d, const char *p, int flags, ...)
{
	static int (*real)(int, const char *, int, ...);
	bool makes = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
	mode_t mode = 0;
	va_list ap;

	if (makes) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (!real)
		real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");
	if ((makes || flags & O_PATH) && hits("openat64", makes))
		return -1;
	if ((makes || flags & O_PATH) && strcmp(p, ".") != 0)
		AT(d, p);
	return real(d, p, flags, mode);
}

/* A descriptor is gone, whatever its end says. */
EXPORT int close(int d);
int close(int d)
{
	static int (*real)(int);
	int flags = d > 2 && fault.active ? fcntl(d, F_GETFL) : -1;
	bool written = flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && d != fault.log, hit = written && hits("close", false);
	int error = errno, r;

	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "close");
	r = real(d);
	if (!hit)
		return r;
	errno = error;
	return -1;
}
