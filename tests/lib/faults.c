/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A system in which the K-th call that changes something fails, or is the last: to be preloaded into the command.
 *
 *   FAULT_AT=K       which one, from 1, over all threads; 0 or none: no fault
 *   FAULT_DO=ERRNO   the number of the error that it gets instead of being made; or
 *   FAULT_DO=kill    kill -9 instead of it
 *   FAULT_DO=short   writes of more than 512 bytes write 512
 *   FAULT_STICKY=1   all from there on
 *   FAULT_GROW=1     only calls that need room: those of a disk that is full
 *   FAULT_LOG=FILE   a line for each, with its name: as many as there are
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
#include <sys/types.h>
#include <unistd.h>

#define SHORT 512u

static struct {
	unsigned long at;
	int error;                 /* 0: kill */
	bool active, sticky, grow, cut;
	int log;
	atomic_ulong count;
} fault = { .log = -1 };

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("FAULT_AT"), *what = getenv("FAULT_DO"), *log = getenv("FAULT_LOG");

	fault.at = at ? strtoul(at, NULL, 10) : 0;
	fault.cut = what && !strcmp(what, "short");
	fault.error = what ? atoi(what) : 0;
	fault.sticky = getenv("FAULT_STICKY");
	fault.grow = getenv("FAULT_GROW");
	fault.active = fault.at || fault.cut || log;
	if (log)
		fault.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* Shall this one fail? Then errno is set. @grows: it needs room. */
static bool hits(const char *name, bool grows)
{
	unsigned long n;

	if (fault.grow && !grows)
		return false;
	n = atomic_fetch_add(&fault.count, 1) + 1;
	if (fault.log >= 0)
		dprintf(fault.log, "%s\n", name);
	if (!fault.at || fault.cut || n < fault.at || (n > fault.at && !fault.sticky))
		return false;
	if (!fault.error)
		kill(getpid(), SIGKILL);
	errno = fault.error;
	return true;
}

#define EXPORT __attribute__((visibility("default")))

/* A function of the C library, of the same name and arguments, that returns -1 where it fails. */
#define WRAP(type, name, grows, params, args) \
	EXPORT type name params; \
	type name params \
	{ \
		static type (*real) params; \
		if (!real) \
			real = (type (*) params)dlsym(RTLD_NEXT, #name); \
		return hits(#name, grows) ? -1 : real args; \
	}

WRAP(int, mkdirat, true, (int d, const char *p, mode_t m), (d, p, m))
WRAP(int, mknodat, true, (int d, const char *p, mode_t m, dev_t v), (d, p, m, v))
WRAP(int, symlinkat, true, (const char *t, int d, const char *p), (t, d, p))
WRAP(int, linkat, true, (int a, const char *p, int b, const char *q, int f), (a, p, b, q, f))
WRAP(int, renameat2, false, (int a, const char *p, int b, const char *q, unsigned f), (a, p, b, q, f))
WRAP(int, unlinkat, false, (int d, const char *p, int f), (d, p, f))
WRAP(int, chmod, false, (const char *p, mode_t m), (p, m))
WRAP(int, fchmod, false, (int d, mode_t m), (d, m))
WRAP(int, fchmodat, false, (int d, const char *p, mode_t m, int f), (d, p, m, f))
WRAP(int, fchown, false, (int d, uid_t u, gid_t g), (d, u, g))
WRAP(int, fchownat, false, (int d, const char *p, uid_t u, gid_t g, int f), (d, p, u, g, f))
WRAP(int, futimens, false, (int d, const struct timespec t[2]), (d, t))
WRAP(int, utimensat, false, (int d, const char *p, const struct timespec t[2], int f), (d, p, t, f))
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

/* Only where it makes a file. */
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
	return makes && hits("openat64", true) ? -1 : real(d, p, flags, mode);
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
