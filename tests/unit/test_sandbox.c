/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Confinement: a child confines itself and tries. What the kernel or a sanitizer's build lacks is not tried. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "base/sigbus.h"
#include "base/util.h"
#include "unit/tap.h"

#ifdef PLYFS_SANITIZED
#define SANITIZED true
#else
#define SANITIZED false
#endif

#define SECRET "/etc/passwd"

static bool can_filter(void)
{
#if defined(__x86_64__) || defined(__aarch64__)
	return !SANITIZED && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
#else
	return false;
#endif
}

static bool can_restrict(void)
{
	return !SANITIZED && syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 1;
}

/* What @fn returns in a child, as an exit code. */
static int in_child(int (*fn)(int), int arg)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(fn(arg));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static int enter(unsigned syscalls, const int *readable, size_t n)
{
	const struct sandbox allow = { .syscalls = syscalls, .readable = readable, .nreadable = n };

	return (int)sandbox_enter(&allow);
}

/* --- what stands ----------------------------------------------------------------------- */

static int what_stands(int arg)
{
	(void)arg;
	return enter(0, NULL, 0);
}

START_TEST(all_that_the_kernel_has_stands)
{
	unsigned has = (unsigned)in_child(what_stands, 0);

	ck_assert_uint_eq(has, SANDBOX_HAS_PRIVILEGES | (can_filter() ? SANDBOX_HAS_SYSCALLS : 0u) |
			       (can_restrict() ? SANDBOX_HAS_FILES : 0u));
	ck_assert_str_eq(sandbox_name(has, 0), "privileges");
	ck_assert_str_eq(sandbox_name(SANDBOX_HAS_FILES, 0), "files");
	ck_assert_ptr_null(sandbox_name(SANDBOX_HAS_FILES, 1));
	ck_assert_ptr_null(sandbox_name(0, 0));
}
END_TEST

static uint64_t status_number(const char *status, const char *key, int base)
{
	const char *at = strstr(status, key);

	return at ? strtoull(at + strlen(key), NULL, base) : UINT64_MAX;
}

static int privileges_are_gone(int kept)
{
	int fd = open("/proc/self/status", O_RDONLY);
	const struct sandbox allow = { .capabilities = (uint64_t)kept };
	char before[4096] = "", after[4096] = "";
	uint64_t had;

	if (fd < 0 || pread(fd, before, sizeof(before) - 1, 0) <= 0)
		return 1;
	had = status_number(before, "\nCapPrm:\t", 16);
	sandbox_enter(&allow);
	if (pread(fd, after, sizeof(after) - 1, 0) <= 0)
		return 2;
	if (status_number(after, "\nNoNewPrivs:\t", 10) != 1)
		return 3;
	if (status_number(after, "\nCapEff:\t", 16) != (had & (uint64_t)kept) ||
	    status_number(after, "\nCapPrm:\t", 16) != (had & (uint64_t)kept))
		return 4;
	if (status_number(after, "\nCapInh:\t", 16) || status_number(after, "\nCapAmb:\t", 16))
		return 5;
	/* only who has CAP_SETPCAP can take something out of this one */
	if (had >> CAP_SETPCAP & 1 && status_number(after, "\nCapBnd:\t", 16) & ~(uint64_t)kept)
		return 6;
	return 0;
}

START_TEST(privileges_are_dropped_but_for_those_kept)
{
	ck_assert_int_eq(in_child(privileges_are_gone, 0), 0);
	ck_assert_int_eq(in_child(privileges_are_gone, 1 << CAP_DAC_READ_SEARCH), 0);
}
END_TEST

/* --- what is refused --------------------------------------------------------------------- */

static long try_exec(void)
{
	char *argv[] = { NULL };

	return execve("/bin/true", argv, argv);
}

static long try_clone3(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	return syscall(SYS_clone3, &args, sizeof(args));
}

static long try_executable_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static long try_to_make_it_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long try_sendto(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

	return sendto(0, "x", 1, 0, (struct sockaddr *)&to, sizeof(to));
}

#define TRY(name, expression) static long name(void) { return expression; }
TRY(try_open, open(SECRET, O_RDONLY))
TRY(try_open_for_writing, open("/dev/null", O_WRONLY))
TRY(try_create, open("plyfs-sandbox-test", O_RDONLY | O_CREAT, 0600))
TRY(try_openat2, syscall(SYS_openat2, AT_FDCWD, SECRET, NULL, 0))
TRY(try_fork, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))
TRY(try_socket, socket(AF_UNIX, SOCK_DGRAM, 0))
TRY(try_ptrace, ptrace(PTRACE_TRACEME, 0, NULL, NULL))
TRY(try_kill, kill(getpid(), 0))
TRY(try_tgkill, syscall(SYS_tgkill, 1, 1, 0))
TRY(try_mount, mount("none", "/", "tmpfs", 0, NULL))
TRY(try_umount, umount2("/", MNT_DETACH))
TRY(try_unshare, unshare(CLONE_NEWUSER))
TRY(try_unlink, unlink("plyfs-sandbox-test"))
TRY(try_chmod, chmod(SECRET, 0644))
TRY(try_setuid, setuid(getuid()))
TRY(try_prctl, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
TRY(try_memfd, memfd_create("x", 0))
TRY(try_terminal, ioctl(0, TIOCSTI, "x"))
TRY(try_limit, syscall(SYS_prlimit64, 0, 7, "0123456789012345", NULL))
TRY(try_readv_of_others, syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0))
TRY(try_io_uring, syscall(SYS_io_uring_setup, 1, NULL))
TRY(try_bpf, syscall(SYS_bpf, 0, NULL, 0))
TRY(try_pwrite, pwrite(0, "x", 1, 0))
TRY(try_fdatasync, fdatasync(0))
TRY(try_punch, fallocate(0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1))
TRY(try_fallocate, fallocate(0, 0, 0, 1))
TRY(try_a_new_one, syscall(5000))

static const struct attempt {
	const char *name;
	long (*fn)(void);
	int expected;              /* errno */
	bool trees_too;            /* refused to those who may read trees, too */
} attempts[] = {
	{ "open", try_open, EPERM, false },
	{ "open for writing", try_open_for_writing, EPERM, true },
	{ "create", try_create, EPERM, true },
	{ "openat2", try_openat2, ENOSYS, true },
	{ "execve", try_exec, EPERM, true },
	{ "fork", try_fork, EPERM, true },
	{ "clone3", try_clone3, ENOSYS, true },
	{ "socket", try_socket, EPERM, true },
	{ "sendto", try_sendto, EPERM, true },
	{ "ptrace", try_ptrace, EPERM, true },
	{ "kill", try_kill, EPERM, true },
	{ "tgkill", try_tgkill, EPERM, true },
	{ "mmap", try_executable_memory, EPERM, true },
	{ "mprotect", try_to_make_it_executable, EPERM, true },
	{ "mount", try_mount, EPERM, true },
	{ "umount2", try_umount, EPERM, true },
	{ "unshare", try_unshare, EPERM, true },
	{ "unlink", try_unlink, EPERM, true },
	{ "chmod", try_chmod, EPERM, true },
	{ "setuid", try_setuid, EPERM, true },
	{ "prctl", try_prctl, EPERM, true },
	{ "memfd_create", try_memfd, EPERM, true },
	{ "TIOCSTI", try_terminal, EPERM, true },
	{ "prlimit64", try_limit, EPERM, true },
	{ "process_vm_readv", try_readv_of_others, EPERM, true },
	{ "io_uring_setup", try_io_uring, EPERM, true },
	{ "bpf", try_bpf, EPERM, true },
	{ "pwrite", try_pwrite, EPERM, true },
	{ "fdatasync", try_fdatasync, EPERM, true },
	{ "fallocate", try_punch, EPERM, true },
	{ "fallocate that takes space", try_fallocate, EPERM, true },
	{ "a system call of tomorrow", try_a_new_one, ENOSYS, true },
};

static int attempt(int i, unsigned groups)
{
	enter(groups, NULL, 0);
	errno = 0;
	return attempts[i].fn() == -1 ? errno : 255;
}

static int attempt_alone(int i)
{
	return attempt(i, 0);
}

static int attempt_serving(int i)
{
	return attempt(i, SANDBOX_SOCKETS);
}

static int attempt_reading(int i)
{
	return attempt(i, SANDBOX_TREES);
}

START_TEST(system_calls_are_refused)
{
	const struct attempt *a = &attempts[_i];

	if (!can_filter())
		return;
	ck_assert_msg(in_child(attempt_alone, _i) == a->expected, "%s", a->name);
	ck_assert_msg(in_child(attempt_serving, _i) == a->expected, "%s, of a server", a->name);
	if (a->trees_too)
		ck_assert_msg(in_child(attempt_reading, _i) == a->expected, "%s, of a reader", a->name);
}
END_TEST

static char directory[] = "/tmp/plyfs-sandbox-XXXXXX";

/* A file and a directory that may be read; nothing else. */
static int read_a_tree(int arg)
{
	int fds[2] = { open("dir", O_PATH | O_DIRECTORY), open("alone", O_PATH) };
	unsigned has;

	(void)arg;
	has = (unsigned)enter(SANDBOX_TREES, fds, 2);
	if (open("dir/file", O_RDONLY) < 0 || open("alone", O_RDONLY) < 0)
		return 1;
	if (openat(fds[0], ".", O_RDONLY | O_DIRECTORY) < 0)
		return 2;
	if (has & (SANDBOX_HAS_FILES | SANDBOX_HAS_SYSCALLS) && open("dir/file", O_RDWR) >= 0)
		return 3;
	if (has & SANDBOX_HAS_FILES &&
	    (open(SECRET, O_RDONLY) >= 0 || errno != EACCES || open(".", O_RDONLY) >= 0 || errno != EACCES))
		return 4;
	return 0;
}

START_TEST(only_what_is_named_can_be_read)
{
	int result;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(chdir(directory), 0);
	ck_assert_int_eq(mkdir("dir", 0700), 0);
	close(open("dir/file", O_WRONLY | O_CREAT, 0600));
	close(open("alone", O_WRONLY | O_CREAT, 0600));
	result = in_child(read_a_tree, 0);
	unlink("dir/file");
	unlink("alone");
	rmdir("dir");
	rmdir(directory);
	ck_assert_int_eq(result, 0);
}
END_TEST

/* --- what must go on --------------------------------------------------------------------- */

static void *thread(void *arg)
{
	char *p = malloc(1 << 20);

	memset(p, 1, 1 << 20);
	free(p);
	return arg;
}

static void on_signal(int sig)
{
	(void)sig;
}

static int work(int arg)
{
	char name[] = "/tmp/plyfs-sandbox-XXXXXX", byte = 0;
	int fd = mkstemp(name), pair[2];
	volatile uint8_t *p;
	pthread_t t[8];

	(void)arg;
	unlink(name);
	if (ftruncate(fd, 8192) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 || sigbus_install() < 0)
		return 1;
	p = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	if (sigbus_guard((const void *)p, 8192) < 0 || ftruncate(fd, 0) < 0)
		return 2;
	signal(SIGUSR1, on_signal);
	enter(SANDBOX_SOCKETS, NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		if (pthread_create(&t[i], NULL, thread, NULL))
			return 3;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	if (p[5000] != 0 || sigbus_faults() != 1)
		return 4;
	if (raise(SIGUSR1) != 0)
		return 5;
	if (send(pair[0], "x", 1, MSG_NOSIGNAL) != 1 || read(pair[1], &byte, 1) != 1 || byte != 'x')
		return 6;
	if (usleep(1) < 0 || !realloc(malloc(1 << 24), 1 << 25))
		return 7;
	return 0;
}

START_TEST(threads_memory_signals_and_sockets_go_on)
{
	ck_assert_int_eq(in_child(work, 0), 0);
}
END_TEST

/* Who writes a log changes the file that it has open, and nothing else. */
static int write_a_log(int arg)
{
	char name[] = "/tmp/plyfs-sandbox-XXXXXX";
	int fd = mkstemp(name);
	struct statfs s;

	(void)arg;
	unlink(name);
	enter(SANDBOX_SOCKETS | SANDBOX_LOG, NULL, 0);
	if (pwrite(fd, "log", 3, 8192) != 3 || fdatasync(fd) < 0 || fstatfs(fd, &s) < 0)
		return 1;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0 && errno == EPERM)
		return 2;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4096) < 0 && errno == EPERM)
		return 6;      /* a checkpoint sets room aside */
	if (!can_filter())
		return 0;
	if (fallocate(fd, 0, 0, 1 << 20) == 0 || errno != EPERM)
		return 3;
	if (ftruncate(fd, 0) == 0 || errno != EPERM)
		return 4;
	if (open(SECRET, O_RDONLY) >= 0 || open("/dev/null", O_WRONLY) >= 0)
		return 5;
	return 0;
}

START_TEST(a_log_that_is_open_is_written)
{
	ck_assert_int_eq(in_child(write_a_log, 0), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("sandbox");

	tap_test(s, all_that_the_kernel_has_stands);
	tap_test(s, privileges_are_dropped_but_for_those_kept);
	tap_loop(s, system_calls_are_refused, 0, (int)ARRAY_SIZE(attempts));
	tap_test(s, only_what_is_named_can_be_read);
	tap_test(s, threads_memory_signals_and_sockets_go_on);
	tap_test(s, a_log_that_is_open_is_written);
	return s;
}
TAP_MAIN(suite)
