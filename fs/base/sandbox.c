/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Confinement: see sandbox.h. Three layers, each of use without the others.
 *
 * Privileges: capabilities leave the effective, permitted, inheritable, ambient and bounding sets;
 * no_new_privs says that no program executed later brings any.
 *
 * System calls: a seccomp filter made from the table below. What is not in it fails with EPERM, and
 * what is newer than the table, or has a fallback in libc for arguments that a filter can see (clone3,
 * openat2), with ENOSYS. It never kills: a newer libc that tries a newer system call has to get on
 * with the older one, not to end the mount of somebody. Arguments are judged where they decide: no
 * executable memory, no process but threads of this one, no opening for writing, no signal to others,
 * no message to an address. The kernel answers for rows without arguments from a bitmap, so their
 * order costs nothing.
 *
 * Files: a Landlock domain that handles every access right that the kernel's version knows (by number:
 * the headers of Debian 12 stop at version 3), with rules for reading what was named, and with TCP,
 * abstract sockets of others and signals to others shut off where it can.
 *
 * Under sanitizers (PLYFS_SANITIZED) only privileges are dropped: they write reports to files, run a
 * symbolizer and trace their own threads. On machines other than x86-64 and aarch64 there is no table of
 * system calls.
 *
 * Rejected: libcap and libseccomp (two dependencies for what is a table and a loop here), user
 * namespaces (often forbidden, and a root in one gains what it had lost), pivot_root into an empty
 * directory (takes CAP_SYS_ADMIN, so no use for ordinary users).
 *
 * References: seccomp(2), landlock(7), capabilities(7), userspace-api/no_new_privs.rst.
 */
#include "base/sandbox.h"

#include <asm/termbits.h>   /* struct termios2 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

/* --- privileges -------------------------------------------------------------------------- */

int sandbox_keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* first, since it takes a capability; who has not that one has none worth taking */
	for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(keep & 1ULL << cap))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

static bool drop_privileges(uint64_t keep)
{
	bool dropped = sandbox_keep_capabilities(keep) == 0;

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && dropped;
}

/* --- system calls ------------------------------------------------------------------------ */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARCH AUDIT_ARCH_AARCH64
#endif

#if defined(ARCH) && !defined(PLYFS_SANITIZED)

/* The newest that the table was judged against (set_mempolicy_home_node of Linux 5.17). The numbers of
 * new ones are the same everywhere. */
#define NEWEST 450

enum check {
	ANY,
	IS,                        /* argument & mask == value, of its lower 32 bits */
	IS_NULL,                   /* argument == 0, of all 64 bits */
	IS_SELF,                   /* argument is this process */
};

struct row {
	unsigned group;            /* SANDBOX_..., or 0 for all */
	uint32_t nr;
	enum check check;
	uint8_t arg;
	uint32_t mask, value;
};

#define YES(group, name)                     { group, __NR_##name, ANY, 0, 0, 0 }
#define IF(group, name, n, mask, value)      { group, __NR_##name, IS, n, mask, value }
#define IF_NULL(group, name, n)              { group, __NR_##name, IS_NULL, n, 0, 0 }
#define IF_SELF(group, name, n)              { group, __NR_##name, IS_SELF, n, 0, 0 }
#define SOCKETS SANDBOX_SOCKETS
#define TREES   SANDBOX_TREES
#define LOG     SANDBOX_LOG

/* Several rows of one system call: any of them. */
static const struct row table[] = {
	/* open descriptors */
	YES(0, read),
	YES(0, write),
	YES(0, readv),
	YES(0, writev),
	YES(0, pread64),
	YES(0, close),
	YES(0, lseek),
	YES(0, fstat),
	IF(0, newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),   /* libc's fstat */
	YES(0, fadvise64),
	YES(0, ppoll),
	IF(0, fcntl, 1, ~0u, F_GETFL),
	IF(0, fcntl, 1, ~0u, F_GETFD),
	IF(0, ioctl, 1, ~0u, TCGETS),          /* isatty, */
	IF(0, ioctl, 1, ~0u, TCGETS2),         /* of newer libcs */
	IF(0, ioctl, 1, ~0u, TIOCGWINSZ),
	/* memory */
	IF(0, mmap, 2, PROT_EXEC, 0),
	IF(0, mprotect, 2, PROT_EXEC, 0),
	YES(0, munmap),
	YES(0, mremap),
	YES(0, madvise),
	YES(0, brk),
	/* threads; without CLONE_THREAD it would be a process */
	IF(0, clone, 0, 0x10000 /* CLONE_THREAD */, 0x10000),
	YES(0, set_robust_list),
	YES(0, rseq),
	YES(0, futex),
	YES(0, membarrier),
	YES(0, sched_yield),
	YES(0, sched_setaffinity),
	YES(0, sched_getaffinity),
	YES(0, exit),
	YES(0, exit_group),
	/* signals, to this process alone */
	YES(0, rt_sigaction),
	YES(0, rt_sigprocmask),
	YES(0, rt_sigreturn),
	YES(0, sigaltstack),
	YES(0, restart_syscall),
	IF_SELF(0, tgkill, 0),
	/* who, what and when */
	YES(0, getpid),
	YES(0, gettid),
	YES(0, getuid),
	YES(0, geteuid),
	YES(0, getgid),
	YES(0, getegid),
	YES(0, clock_gettime),
	YES(0, clock_nanosleep),
	YES(0, nanosleep),
	YES(0, gettimeofday),
	YES(0, getrandom),
	YES(0, sysinfo),              /* qsort asks for the memory that there is */
	YES(0, uname),
	IF_NULL(0, prlimit64, 2),        /* to see one */
#ifdef __x86_64__
	YES(0, poll),
	YES(0, time),
#endif

	YES(SOCKETS, accept4),
	YES(SOCKETS, getsockopt),
	IF_NULL(SOCKETS, sendto, 4),   /* to the other end only */
	YES(SOCKETS, wait4),

	YES(LOG, pwrite64),
	YES(LOG, fdatasync),
	IF(LOG, fallocate, 1, ~0u, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
	IF(LOG, fallocate, 1, ~0u, FALLOC_FL_KEEP_SIZE),       /* room for a checkpoint */

	IF(TREES, openat, 2, O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY), O_RDONLY),
	YES(TREES, newfstatat),
	YES(TREES, statx),
	YES(TREES, statfs),
	YES(TREES | LOG, fstatfs),
	YES(TREES, getdents64),
	YES(TREES, readlinkat),
	YES(TREES, getcwd),
	YES(TREES, getxattr),
	YES(TREES, lgetxattr),
	YES(TREES, fgetxattr),
	YES(TREES, listxattr),
	YES(TREES, llistxattr),
	YES(TREES, flistxattr),
	IF(TREES, fcntl, 1, ~0u, F_SETFD),     /* fdopendir */
	IF(TREES, fcntl, 1, ~0u, F_DUPFD_CLOEXEC),
	IF(TREES, ioctl, 1, ~0u, FS_IOC_FIEMAP),
#ifdef __x86_64__
	YES(TREES, readlink),
#endif
};

#define DATA(field) ((uint32_t)offsetof(struct seccomp_data, field))
#define ARG(n, half) (DATA(args) + 8 * (uint32_t)(n) + 4 * (half))   /* 0: the lower half */

struct program {
	struct sock_filter code[ARRAY_SIZE(table) * 7 + 16];
	unsigned short n;
};

static void put(struct program *p, uint16_t op, uint32_t k, uint8_t yes, uint8_t no)
{
	p->code[p->n++] = (struct sock_filter){ .code = op, .jt = yes, .jf = no, .k = k };
}

static void load(struct program *p, uint32_t off)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, off, 0, 0);
}

static void answer(struct program *p, uint32_t action)
{
	put(p, BPF_RET | BPF_K, action, 0, 0);
}

/* Go on with the next instruction where A equals @k, else after @skip more. */
static void unless(struct program *p, uint32_t k, uint8_t skip)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, k, 0, skip);
}

/* A holds the number before and after. */
static void add_row(struct program *p, const struct row *r)
{
	switch (r->check) {
	case ANY:
		unless(p, r->nr, 1);
		answer(p, SECCOMP_RET_ALLOW);
		return;
	case IS:
	case IS_SELF:
		unless(p, r->nr, 5);
		load(p, ARG(r->arg, 0));
		put(p, BPF_ALU | BPF_AND | BPF_K, r->check == IS ? r->mask : ~0u, 0, 0);
		unless(p, r->check == IS ? r->value : (uint32_t)getpid(), 1);
		break;
	case IS_NULL:
		unless(p, r->nr, 6);
		load(p, ARG(r->arg, 0));
		unless(p, 0, 3);
		load(p, ARG(r->arg, 1));
		unless(p, 0, 1);
		break;
	}
	answer(p, SECCOMP_RET_ALLOW);
	load(p, DATA(nr));
}

static bool filter_syscalls(unsigned groups)
{
	struct program p = { .n = 0 };
	struct sock_fprog prog = { .filter = p.code };

	load(&p, DATA(arch));
	put(&p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	answer(&p, SECCOMP_RET_ERRNO | EPERM);
	load(&p, DATA(nr));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (!table[i].group || table[i].group & groups)
			add_row(&p, &table[i]);
	/* libc falls back to what the filter can see into; x32 has high numbers, too */
	unless(&p, __NR_clone3, 1);
	answer(&p, SECCOMP_RET_ERRNO | ENOSYS);
	unless(&p, __NR_openat2, 1);
	answer(&p, SECCOMP_RET_ERRNO | ENOSYS);
	put(&p, BPF_JMP | BPF_JGT | BPF_K, NEWEST, 0, 1);
	answer(&p, SECCOMP_RET_ERRNO | ENOSYS);
	answer(&p, SECCOMP_RET_ERRNO | EPERM);
	prog.len = p.n;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) == 0;
}

#else

static bool filter_syscalls(unsigned groups)
{
	(void)groups;
	return false;
}

#endif

/* --- files ------------------------------------------------------------------------------- */

#ifndef PLYFS_SANITIZED

#define FS_READ_FILE (1ULL << 2)
#define FS_READ_DIR  (1ULL << 3)

/* struct landlock_ruleset_attr, as of version 6. */
struct ruleset {
	uint64_t fs, net, scoped;
};

struct __attribute__((packed)) path_beneath {
	uint64_t allowed;
	int32_t fd;
};

/* By version of the kernel's Landlock: rights that it knows. */
static struct ruleset everything(long version)
{
	static const uint8_t fs_rights[] = { 13, 14, 15, 15, 16 };   /* how many bits, from version 1 */
	size_t i = MIN((size_t)version, ARRAY_SIZE(fs_rights)) - 1;

	return (struct ruleset){
		.fs = (1ULL << fs_rights[i]) - 1,
		.net = version >= 4 ? 3 : 0,       /* to bind and to connect TCP */
		.scoped = version >= 6 ? 3 : 0,    /* abstract sockets and signals */
	};
}

static size_t ruleset_size(long version)
{
	return version >= 6 ? sizeof(struct ruleset) :
	       version >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
}

static bool restrict_files(const int *readable, size_t n)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* its version */);
	_cleanup_close_ int fd = -1;
	struct ruleset all;

	if (version < 1)
		return false;
	all = everything(version);
	fd = (int)syscall(SYS_landlock_create_ruleset, &all, ruleset_size(version), 0);
	if (fd < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		struct path_beneath rule = { .allowed = FS_READ_FILE, .fd = readable[i] };
		struct stat st;

		if (fstat(readable[i], &st) == 0 && S_ISDIR(st.st_mode))
			rule.allowed |= FS_READ_DIR;
		/* without it the process could not do its work */
		if (syscall(SYS_landlock_add_rule, fd, 1 /* path beneath */, &rule, 0) < 0)
			return false;
	}
	return syscall(SYS_landlock_restrict_self, fd, 0) == 0;
}

#else

static bool restrict_files(const int *readable, size_t n)
{
	(void)readable;
	(void)n;
	return false;
}

#endif

/* --- all of it --------------------------------------------------------------------------- */

unsigned sandbox_enter(const struct sandbox *allow)
{
	unsigned has = drop_privileges(allow->capabilities) ? SANDBOX_HAS_PRIVILEGES : 0;

	if (restrict_files(allow->readable, allow->nreadable))
		has |= SANDBOX_HAS_FILES;
	if (filter_syscalls(allow->syscalls))   /* the last: it refuses what the others need */
		has |= SANDBOX_HAS_SYSCALLS;
	return has;
}

const char *sandbox_name(unsigned has, unsigned i)
{
	static const char *const names[] = { "privileges", "syscalls", "files" };

	for (unsigned bit = 0; bit < ARRAY_SIZE(names); bit++)
		if (has & 1u << bit && i-- == 0)
			return names[bit];
	return NULL;
}
