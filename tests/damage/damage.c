/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exhaustive damage: every byte of a small image flipped, every length that it can be cut to, and every
 * flip with all checksums made right again; each image goes through the verbs and through what the
 * mount does, in this process.
 *
 *   flip, cut   each verb gives what it gives for the sound image, or a message and exit code 4.
 *               `verify` reports each of them: no byte of the image is dead.
 *   repaired    only validation stands: wrong bytes are allowed; a crash, a hang, a file outside of the
 *               target or more memory, output or time than the budget are not.
 *
 * A worker is a fork that does a batch of images. What ends it (a signal, a sanitizer, a limit) is a
 * failure of the image it was at; a new one goes on behind that. Each has a mount namespace in which
 * all is read-only but a small tmpfs of its own, so that nothing outside can be hurt, and its end
 * leaves nothing behind. Budgets beyond what the sound image takes: MEMORY_MAX of resident memory
 * (and of data segment, or of one allocation under a sanitizer), CPU_MAX_S of processor time for one
 * image, OUTPUT_MAX bytes and 2,000 files on disk, MESSAGES_MAX of messages. Time of the clock is limited
 * only against waiting for ever.
 *
 * Rejected: a process for each command (400 times slower; tests/cli/damage.bats does a sample), and
 * samples of the bytes: what is done for all of them needs no luck.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mnt.h"
#include "base/pool.h"
#include "base/util.h"
#include "cli.h"
#include "damage/asan.h"
#include "damage/judge.h"
#include "damage/machine.h"

#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

/* What is freed counts as resident as long as it is in quarantine. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:max_allocation_size_mb=64:allocator_may_return_null=1";
}
#endif

#define SPACE    "size=48m,nr_inodes=4000,mode=755"
#define BATCH    512
#define JOBS_MAX 64

/* How a worker ends, but for 0: all of its images were done. */
enum { ENDED_FULL = 80, ENDED_LEAK };

/* --- a worker -------------------------------------------------------------------------------- */

/* Others wait for the end of what they have unmounted: a copy of it in our namespace would be in the way. */
static int note_foreign(void *ctx, const struct mnt_line *line)
{
	struct cli_list *foreign = ctx;
	char *path;

	if (strncmp(line->type, "fuse.", 5) != 0 && strncmp(line->source, "/dev/loop", 9) != 0)
		return 0;
	path = strdup(line->mountpoint);
	return path ? cli_list_add(foreign, path) : -ENOMEM;
}

static void drop_foreign(void)
{
	struct cli_list foreign = { 0 };

	mnt_list(NULL, note_foreign, &foreign);
	while (foreign.n) {
		umount2(foreign.v[--foreign.n], UMOUNT_NOFOLLOW | MNT_DETACH);
		free((char *)foreign.v[foreign.n]);
	}
	cli_list_done(&foreign);
}

/* A mount namespace where nothing can be written but a new tmpfs at @dir. That the rest is read-only
 * keeps harm away; without it, what is beside the target is still looked at. */
static bool seclude(const char *dir)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };

	if (unshare(CLONE_NEWNS) < 0)
		return false;
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	drop_foreign();
	mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &read_only, sizeof(read_only));
	return mount("damage", dir, "tmpfs", MS_NOSUID | MS_NODEV, SPACE) == 0 && chdir(dir) == 0;
}

static void furnish(void)
{
	int out = open("out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (mkdir("beside", 0755) < 0 || mknod("beside/file", S_IFREG | 0644, 0) < 0)
		die("tmpfs");
	fflush(stdout);
	if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(trial.errors, STDERR_FILENO) < 0)
		die("dup2");
	close(out);
	/* messages come byte by byte */
	setvbuf(stderr, NULL, _IOFBF, 1 << 14);
#ifdef WITH_ASAN
	__sanitizer_set_report_fd((void *)(uintptr_t)trial.errors);
#endif
}

/* Images @first to @end - 1. Exit code 0: all of them were done. */
static void work(const char *dir, size_t first, size_t end)
{
	bool go_on = true;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!seclude(dir))
		die("a tmpfs");
	furnish();
	judge_begin();
	for (size_t at = first; go_on && at < end; at++)
		go_on = judge_image(at);
#ifdef WITH_ASAN
	if (ftruncate(trial.errors, 0) < 0)
		die("ftruncate");
	if (__lsan_do_recoverable_leak_check())
		_exit(ENDED_LEAK);
#endif
	_exit(go_on ? EXIT_SUCCESS : ENDED_FULL);
}

/* --- all workers -------------------------------------------------------------------------------- */

struct slot {
	pid_t pid;
	size_t end;                /* of its batch */
	struct report *report;
	int errors;
};

static void start(struct slot *s, const char *dir, size_t first, size_t end)
{
	trial.report = s->report;
	trial.errors = s->errors;
	s->end = end;
	s->report->at = first;
	fflush(stdout);
	s->pid = fork();
	if (s->pid < 0)
		die("fork");
	if (s->pid == 0)
		work(dir, first, end);
}

/* A line for each of what a worker has said last. */
static void print_errors(int fd)
{
	char text[12000], *rest = text;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line)
			printf("#   %s\n", line);
}

/* The worker has ended with @status: where to go on, or SIZE_MAX. */
static size_t judge_end(struct slot *s, int status)
{
	size_t at = s->report->at;

	trial.report = s->report;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return SIZE_MAX;
	if (WIFEXITED(status) && WEXITSTATUS(status) == ENDED_LEAK) {
		wrong("memory leaked, here or before it in its batch");
		print_errors(s->errors);
		return SIZE_MAX;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != ENDED_FULL) {   /* else it has told itself */
		if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM))
			wrong("does not end");
		else
			wrong("ended by %s %d", WIFSIGNALED(status) ? "signal" : "exit",
			      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		if (s->report->failures <= 3)
			print_errors(s->errors);
	}
	return at + 1 < s->end ? at + 1 : SIZE_MAX;
}

static void run_all(struct slot *slots, unsigned jobs, const char *dir)
{
	size_t next = 0, running = 0;

	for (unsigned i = 0; i < jobs && next < trial.size; i++, running++, next = MIN(next + BATCH, trial.size))
		start(&slots[i], dir, next, MIN(next + BATCH, trial.size));
	while (running) {
		int status;
		pid_t pid = wait(&status);

		for (unsigned i = 0; i < jobs; i++) {
			struct slot *s = &slots[i];
			size_t at;

			if (s->pid != pid)
				continue;
			s->pid = 0;
			at = judge_end(s, status);
			if (at != SIZE_MAX) {
				start(s, dir, at, s->end);
			} else if (next < trial.size) {
				start(s, dir, next, MIN(next + BATCH, trial.size));
				next = MIN(next + BATCH, trial.size);
			} else {
				running--;
			}
		}
	}
}

/* One test: prints it, and returns whether it is good. */
static bool run_mode(struct slot *slots, unsigned jobs, const char *dir)
{
	struct report all = { 0 };

	for (unsigned i = 0; i < jobs; i++)
		memset(slots[i].report, 0, sizeof(*slots[i].report));
	run_all(slots, jobs, dir);
	for (unsigned i = 0; i < jobs; i++) {
		const struct report *r = slots[i].report;

		for (unsigned k = 0; k < MIN(r->failures, TOLD_MAX); k++)
			if (all.failures + k < TOLD_MAX)
				printf("# %s\n", r->told[k]);
		all.failures += r->failures;
		all.images += r->images;
		all.same += r->same;
		for (size_t k = 0; k < STEPS; k++)
			for (size_t c = 0; c < CODES; c++)
				all.count[k][c] += r->count[k][c];
	}
	if (all.images != trial.size) {
		printf("# %lu images were looked at, not %zu\n", all.images, trial.size);
		all.failures++;
	}
	printf("# %s: %lu images, %lu of them sound again, %u failures\n", mode_names[trial.mode], all.images, all.same,
	       all.failures);
	for (size_t k = 0; k < STEPS; k++) {
		printf("#   %-10s", step_name(k));
		for (size_t c = 0; c < CODES; c++)
			if (all.count[k][c])
				printf("  exit %zu: %lu", c, all.count[k][c]);
		printf("\n");
	}
	return !all.failures;
}

/* --- the sound image ------------------------------------------------------------------------------- */

/* In this process, and with a tmpfs as the workers have it: they inherit what was learnt. */
static bool learn(void)
{
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	static struct report mine;
	bool sound;

	trial.report = &mine;
	trial.errors = memfd_create("stderr", MFD_CLOEXEC);
	if (out < 0 || err < 0 || trial.errors < 0)
		die("dup");
	furnish();
	sound = judge_learn();
	fflush(stdout);
	fflush(stderr);
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0 || chdir("/") < 0)
		die("dup2");
	close(out);
	close(err);
	close(trial.errors);
	trial.errors = -1;
	if (!sound)
		printf("Bail out! %s\n", mine.told[0]);
	return sound;
}

/* --- main ----------------------------------------------------------------------------------------------- */

static int usage(void)
{
	fprintf(stderr, "usage: damage [--jobs=N] [--only=MODE[:OFFSET]] | --write=FILE\n"
			"MODE is flip, cut or repaired; PLYFS_SEED=N gives other patterns.\n");
	return EXIT_USAGE;
}

/* "flip:123": sets mode and *ret_at; "flip": *ret_at is SIZE_MAX. */
static bool parse_only(const char *text, size_t *ret_at)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	char *end;

	for (trial.mode = 0; trial.mode < MODES; trial.mode++)
		if (!strncmp(text, mode_names[trial.mode], len) && !mode_names[trial.mode][len])
			break;
	*ret_at = SIZE_MAX;
	if (!colon)
		return trial.mode < MODES;
	*ret_at = strtoull(colon + 1, &end, 10);
	return trial.mode < MODES && colon[1] >= '0' && colon[1] <= '9' && !*end;
}

static int run_one(struct slot *slot, const char *dir, size_t at)
{
	int status;

	if (at >= trial.size) {
		fprintf(stderr, "the image has %zu bytes\n", trial.size);
		return EXIT_USAGE;
	}
	trial.verbose = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	start(slot, dir, at, at + 1);
	if (waitpid(slot->pid, &status, 0) < 0)
		die("waitpid");
	judge_end(slot, status);
	if (slot->report->same)
		printf("# %s:%zu: nothing is left of the damage\n", mode_names[trial.mode], at);
	for (unsigned i = 0; i < MIN(slot->report->failures, TOLD_MAX); i++)
		printf("# wrong: %s\n", slot->report->told[i]);
	return slot->report->failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(unsigned jobs, const char *only, const char *dir)
{
	struct slot slots[JOBS_MAX] = { 0 };
	size_t at = SIZE_MAX;
	enum mode asked;
	bool good = true;
	int tests = 0;

	if (only && !parse_only(only, &at))
		return usage();
	asked = trial.mode;
	if (!seclude(dir)) {
		printf("1..0 # SKIP no mount namespace of its own: %s\n", strerror(errno));
		return EXIT_SUCCESS;
	}
	if (!learn())
		return EXIT_FAILURE;
	printf("# image of %zu bytes, %zu requests of the mount; PLYFS_SEED=%" PRIu64 "\n", trial.size,
	       judge_requests(), trial.seed);
	for (unsigned i = 0; i < jobs; i++) {
		slots[i].report = mmap(NULL, sizeof(struct report), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		slots[i].errors = memfd_create("stderr", MFD_CLOEXEC);
		if (slots[i].report == MAP_FAILED || slots[i].errors < 0)
			die("memory");
	}
	if (at != SIZE_MAX)
		return run_one(&slots[0], dir, at);
	printf("1..%d\n", only ? 1 : MODES);
	for (enum mode m = 0; m < MODES; m++) {
		bool ok;

		if (only && m != asked)
			continue;
		trial.mode = m;
		ok = run_mode(slots, jobs, dir);
		printf("%sok %d - %s\n", ok ? "" : "not ", ++tests, mode_names[m]);
		good &= ok;
	}
	if (!good)
		printf("# one image, with all that is said about it: PLYFS_SEED=%" PRIu64 " tests/damage/damage "
		       "--only=MODE:OFFSET\n", trial.seed);
	judge_done();
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	const char *only = NULL, *tmp = getenv("TMPDIR"), *text = getenv("PLYFS_SEED");
	unsigned jobs = MIN(ncpus(), (unsigned)JOBS_MAX);
	char dir[4096];
	pid_t pid;
	int code;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--jobs=", 7) && atoi(argv[i] + 7) > 0 && atoi(argv[i] + 7) <= JOBS_MAX)
			jobs = (unsigned)atoi(argv[i] + 7);
		else if (!strncmp(argv[i], "--only=", 7))
			only = argv[i] + 7;
		else if (!strncmp(argv[i], "--write=", 8) && argc == 2)
			return machine_image(argv[i] + 8), EXIT_SUCCESS;
		else
			return usage();
	}
	if (text)
		trial.seed = strtoull(text, NULL, 10);
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root: devices, owners, a mount namespace\n");
		return EXIT_SUCCESS;
	}
	snprintf(dir, sizeof(dir), "%s/damage.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		die("%s", dir);
	/* the child cannot remove it: all is read-only there */
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		code = run(jobs, only, dir);
		fflush(stdout);
		_exit(code);
	}
	if (pid < 0)
		die("fork");
	if (waitpid(pid, &code, 0) < 0)
		die("waitpid");
	rmdir(dir);
	return WIFEXITED(code) ? WEXITSTATUS(code) : EXIT_FAILURE;
}
