/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See judge.h, and damage.c for the whole. Output goes to files, which are compared with what the sound
 * image gave; all that a step may have left is looked for behind it.
 */
#include "damage/judge.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "cli.h"
#include "damage/asan.h"
#include "damage/kernel.h"
#include "damage/machine.h"
#include "damage/target.h"
#include "fuzz/repair.h"
#include "verbs.h"

#define MEMORY_MAX   (64u << 20)
#define STACKS       (32u << 20)   /* of the threads that a verb starts: counted as data */
#define OUTPUT_MAX   (16u << 20)
#define MESSAGES_MAX (64u << 10)
#define CPU_MAX_S    20
#define CLOCK_MAX_S  300
#define REQUESTS_MAX 5000          /* of the mount of a repaired image */

const char *const mode_names[MODES] = { "flip", "cut", "repaired" };

/* --- what is done with an image ----------------------------------------------------------- */

#define STEP_ARGS 8
static const struct step {
	const char *name;
	const char *argv[STEP_ARGS];   /* none: the mount */
	bool verifies;             /* has to report any damage */
	bool partial;              /* with damage, a prefix of the right output may be printed */
} steps[] = {
	{ "info", { "info", "image" }, false, false },
	{ "info-json", { "info", "image", "--json" }, false, false },
	{ "identity", { "info", "image", "--identity" }, false, true },
	{ "why", { "info", "image", "--why=base", "--json" }, false, false },
	{ "ls", { "ls", "-lR", "image" }, false, false },
	{ "ls-json", { "ls", "-R", "--json", "image" }, false, false },
	{ "cat-large", { "cat", "image", "/large" }, false, true },
	{ "cat-shared", { "cat", "image", "/usr/shared2" }, false, true },
	{ "cat-link", { "cat", "image", "/link" }, false, true },
	{ "cat-raw", { "cat", "image", "/usr/lib/raw" }, false, true },
	{ "cat-empty", { "cat", "image", "/etc/web" }, false, true },
	{ "cat-group", { "cat", "image", "/etc/group" }, false, true },
	{ "ls-os", { "ls", "-lR", "-s", "os", "image" }, false, false },
	{ "cat-page", { "cat", "image", "/usr/web/page" }, false, true },
	{ "dump", { "dump", "image" }, false, false },
	{ "dump-json", { "dump", "image", "--json" }, false, false },
	{ "verify", { "verify", "--no-sandbox", "-j1", "--progress=never", "image" }, true, false },
	{ "deep", { "verify", "--no-sandbox", "-j1", "--deep", "--progress=never", "image" }, true, false },
	{ "layout", { "layout", "-j1", "--no-sync", "--progress=never", "image", "target" }, false, false },
	{ "mount", { NULL }, false, false },
};
_Static_assert(ARRAY_SIZE(steps) == STEPS, "steps");
#define MOUNT  (STEPS - 1)
#define LAYOUT (STEPS - 2)
#define DEEP   (STEPS - 3)


const char *step_name(size_t step)
{
	return steps[step].name;
}

struct trial trial = { .seed = 20240229, .errors = -1, .verbose = -1 };

static uint8_t sound[IMAGE_MAX], damaged[IMAGE_MAX];

/* What the sound image gives. */
static struct {
	char *out[STEPS];
	size_t len[STEPS];
	uint64_t tree;
	struct kernel *kernel;
} wanted;

void die(const char *fmt, ...)
{
	int error = errno;
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* one of them is seen: a worker's standard output is not */
	printf("Bail out! %s: %s\n", text, strerror(error));
	fprintf(stderr, "%s: %s\n", text, strerror(error));
	fflush(NULL);
	_exit(EXIT_FAILURE);
}

/* Never 0. */
static uint8_t pattern(size_t at)
{
	uint64_t x = (at + 1) * 0x9e3779b97f4a7c15ULL ^ trial.seed * 0xbf58476d1ce4e5b9ULL;

	x ^= x >> 31;
	x *= 0x94d049bb133111ebULL;
	return (uint8_t)(1 + (x >> 33) % 255);
}

void wrong(const char *fmt, ...)
{
	unsigned i = trial.report->failures++;
	va_list ap;
	int n;

	if (i >= TOLD_MAX)
		return;
	n = snprintf(trial.report->told[i], sizeof(trial.report->told[i]), "%s:%zu %s: ", mode_names[trial.mode],
		     (size_t)trial.report->at, steps[trial.report->step].name);
	va_start(ap, fmt);
	vsnprintf(trial.report->told[i] + n, sizeof(trial.report->told[i]) - (size_t)n, fmt, ap);
	va_end(ap);
}

/* --- one step --------------------------------------------------------------------------- */

static int run_verb(const char *const argv[])
{
	static const struct {
		const char *name;
		int (*fn)(int argc, char **argv);
	} verbs[] = {
#define X(name, operands, about) { #name, cmd_##name },
		VERBS(X)
#undef X
	};
	char *copy[STEP_ARGS + 1] = { NULL };
	unsigned faults = sigbus_faults();
	int argc = 0, code = -1;

	for (; argc < STEP_ARGS && argv[argc]; argc++)
		copy[argc] = strdup(argv[argc]);
	cli_json = false;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i].name, argv[0]))
			code = verbs[i].fn(argc, copy);
	while (argc)
		free(copy[--argc]);
	/* as main() does it */
	if (sigbus_faults() != faults && code == EXIT_DONE)
		code = EXIT_FAILED;
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_DONE)
		code = EXIT_FAILED;
	clearerr(stdout);
	return code;
}

static size_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
}

static void rewind_output(int fd)
{
	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		die("ftruncate");
}

/* One bad superblock is no error: `info --json` says it, and all else as ever. */
static void drop_warning(char *out, size_t *len)
{
	static const char field[] = "\"warning\": \"";
	char *at = memmem(out, *len, field, strlen(field)), *end;

	if (!at)
		return;
	at += strlen(field) - 1;
	end = memchr(at + 1, '"', *len - (size_t)(at + 1 - out));
	if (!end || end - at < 4)
		return;
	memcpy(at, "null", 4);
	memmove(at + 4, end + 1, *len - (size_t)(end + 1 - out));
	*len -= (size_t)(end + 1 - at) - 4;
}

static void check_output(size_t step, int code)
{
	size_t len = size_of(STDOUT_FILENO);
	char *out = NULL;

	if (code != EXIT_DONE && !steps[step].partial)
		return;
	if (len > wanted.len[step] + 4096) {
		wrong("%zu bytes of output, not %zu, and exit code %d", len, wanted.len[step], code);
		return;
	}
	out = malloc(len + 1);
	if (!out || pread_full(STDOUT_FILENO, out, len, 0) < 0)
		die("output");
	drop_warning(out, &len);
	if (len > wanted.len[step] || (code == EXIT_DONE && len != wanted.len[step]) ||
	    memcmp(out, wanted.out[step], len) != 0)
		wrong("other output, and exit code %d", code);
	free(out);
}

struct surroundings {
	struct stat here, beside, file;
};

static void look_around(struct surroundings *s)
{
	if (stat(".", &s->here) < 0 || stat("beside", &s->beside) < 0 || stat("beside/file", &s->file) < 0)
		memset(s, 0, sizeof(*s));
}

static bool same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_nlink == b->st_nlink &&
	       a->st_uid == b->st_uid && a->st_size == b->st_size &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int run_layout(bool strict)
{
	struct surroundings before, after;
	struct stat was, is;
	int code;

	if (mkdir("target", 0755) < 0 || stat("target", &was) < 0)
		die("mkdir target");
	look_around(&before);
	code = run_verb(steps[LAYOUT].argv);
	look_around(&after);
	/* the target's own link count is part of the directory's, not what is in it */
	if (!before.here.st_ino || !same_stat(&before.here, &after.here) ||
	    !same_stat(&before.beside, &after.beside) || !same_stat(&before.file, &after.file))
		wrong("something outside of the target was changed");
	if (code == EXIT_DONE) {
		if (strict && target_digest("target") != wanted.tree)
			wrong("another tree, and exit code 0");
	} else if (target_count("target") != 0) {
		wrong("exit code %d, and %d files are left in the target", code, target_count("target"));
	} else if (stat("target", &is) < 0 || is.st_mode != was.st_mode || is.st_uid != was.st_uid) {
		wrong("exit code %d, and the target directory is not as it was", code);
	}
	return code;
}

static int run_mount(bool strict)
{
	struct ply_err err = { 0 };
	char what[300];
	int r;

	if (strict)
		r = kernel_replay(wanted.kernel, "image", what, sizeof(what), &err);
	else
		r = kernel_roam("image", REQUESTS_MAX, NULL, &err);
	if (r < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return cli_exit_code(&err);
	}
	if (strict && *what)
		wrong("%s", what);
	if (r)
		fprintf(stderr, "%d requests had EIO\n", r);
	return r ? EXIT_DAMAGE : EXIT_DONE;
}

/* --- budgets ------------------------------------------------------------------------------ */

static size_t resident_begin;      /* the most that the sound image takes; 0: not known yet */
static bool memory_ended;

/* Whoever is refused memory comes here: the linker puts it in front of the library's. */
int __real_ply_fail_nomem(struct ply_err *err);
int __wrap_ply_fail_nomem(struct ply_err *err);
int __wrap_ply_fail_nomem(struct ply_err *err)
{
	memory_ended = true;
	return __real_ply_fail_nomem(err);
}

static size_t resident(void)
{
	struct rusage u;

	return getrusage(RUSAGE_SELF, &u) == 0 ? (size_t)u.ru_maxrss << 10 : 0;
}

/* Returns whether the worker can go on. */
static bool within_budget(void)
{
	struct statfs fs;

	if (statfs(".", &fs) < 0)
		die("statfs");
	if ((fs.f_blocks - fs.f_bfree) * (size_t)fs.f_bsize > OUTPUT_MAX || fs.f_ffree < fs.f_files / 2)
		wrong("%zu bytes and %zu files written", (size_t)(fs.f_blocks - fs.f_bfree) * (size_t)fs.f_bsize,
		      (size_t)(fs.f_files - fs.f_ffree));
	if (size_of(trial.errors) > MESSAGES_MAX)
		wrong("%zu bytes of messages", size_of(trial.errors));
	if (memory_ended)
		wrong("memory was refused");
	memory_ended = false;
	if (!resident_begin || resident() <= resident_begin + MEMORY_MAX)
		return true;
	wrong("%zu MiB of memory", (resident() - resident_begin) >> 20);
	return false;              /* what was resident once counts for ever */
}

static int codes[STEPS];           /* of the last image */

/* What `verify --deep` finds sound can be read. */
static void check_verdict(void)
{
	for (size_t i = 0; codes[DEEP] == EXIT_DONE && i < STEPS; i++) {
		trial.report->step = i;
		if (codes[i] == EXIT_DAMAGE)
			wrong("exit code 4, and verify --deep finds no damage");
	}
}

/* Returns whether the worker can go on. */
static bool run_step(size_t step, bool strict)
{
	bool go_on;
	int code;

	trial.report->step = step;
	rewind_output(STDOUT_FILENO);
	rewind_output(trial.errors);
	code = step == MOUNT ? run_mount(strict) : step == LAYOUT ? run_layout(strict) : run_verb(steps[step].argv);
	fflush(stderr);
	codes[step] = code;
	trial.report->count[step][code < 0 ? CODES - 1 : MIN((unsigned)code, CODES - 1)]++;
	if (trial.verbose >= 0) {
		char text[1500] = "";
		ssize_t n = pread(trial.errors, text, sizeof(text) - 1, 0);

		dprintf(trial.verbose, "# %s:%zu %s: exit code %d, %zu bytes; %.*s\n", mode_names[trial.mode],
			(size_t)trial.report->at, steps[step].name, code, size_of(STDOUT_FILENO), (int)n, text);
	}
	/* what was changed and repaired may be a name that we ask for, or a feature bit: 1 is right */
	if (code != EXIT_DONE && code != EXIT_DAMAGE && (strict || code != EXIT_FAILED)) {
		char text[200] = "";

		if (pread(trial.errors, text, sizeof(text) - 1, 0) < 0)
			*text = '\0';
		text[strcspn(text, "\n")] = '\0';
		wrong("exit code %d: %s", code, text);
	}
	if (code == EXIT_DAMAGE && !size_of(trial.errors) && !size_of(STDOUT_FILENO))
		wrong("exit code 4 and no message");
	if (strict && steps[step].verifies && code != EXIT_DAMAGE)
		wrong("damage that is not reported");
	if (strict && !steps[step].verifies && step < LAYOUT)
		check_output(step, code);
	go_on = within_budget();
	if (step == LAYOUT && target_wipe("target") < 0)
		die("the target cannot be removed");
	return go_on;
}

/* --- one image ----------------------------------------------------------------------------- */

static void put_image(const uint8_t *bytes, size_t len)
{
	int fd = open("image", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || pwrite_full(fd, bytes, len, 0) < 0)
		die("image");
	close(fd);
}

static void limit_time(void)
{
	const struct itimerval cpu = { .it_value.tv_sec = CPU_MAX_S };

	if (setitimer(ITIMER_PROF, &cpu, NULL) < 0)
		die("setitimer");
	alarm(CLOCK_MAX_S);
}

bool judge_image(size_t at)
{
	size_t len = trial.mode == CUT ? at : trial.size;
	bool go_on = true;

	trial.report->at = at;
	memcpy(damaged, sound, trial.size);
	if (trial.mode != CUT)
		damaged[at] ^= pattern(at);
	if (trial.mode == REPAIRED)
		repair_image(damaged, len);
	trial.report->images++;
	if (trial.mode == REPAIRED && memcmp(damaged, sound, len) == 0) {
		trial.report->same++;    /* a checksum */
		return true;
	}
	put_image(damaged, len);
	limit_time();
	for (size_t i = 0; go_on && i < STEPS; i++)
		go_on = run_step(i, trial.mode != REPAIRED);
	if (go_on)
		check_verdict();
	return go_on;
}

static void limit_memory(void)
{
	resident_begin = resident();
#ifndef WITH_ASAN
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kb = 0;
	char line[200];

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmData: %lu", &kb);
	if (f)
		fclose(f);
	if (kb) {
		const rlim_t most = ((rlim_t)kb << 10) + MEMORY_MAX + STACKS;

		setrlimit(RLIMIT_DATA, &(struct rlimit){ most, most });
	}
#endif
}

void judge_begin(void)
{
	put_image(sound, trial.size);
	limit_time();
	for (size_t i = 0; i < STEPS; i++) {
		trial.report->step = i;
		if (i == LAYOUT) {
			run_layout(true);
			target_wipe("target");
		} else if (i == MOUNT) {
			run_mount(true);
		} else {
			run_verb(steps[i].argv);
		}
	}
	limit_memory();
}

/* --- the sound image ---------------------------------------------------------------------- */

static bool learn_step(size_t i)
{
	char text[300] = "";
	int code;

	trial.report->step = i;
	rewind_output(STDOUT_FILENO);
	rewind_output(trial.errors);
	code = run_verb(steps[i].argv);
	fflush(stderr);
	if (code != EXIT_DONE) {
		if (pread(trial.errors, text, sizeof(text) - 1, 0) < 0)
			*text = '\0';
		wrong("the sound image: exit code %d: %s", code, text);
		return false;
	}
	wanted.len[i] = size_of(STDOUT_FILENO);
	wanted.out[i] = malloc(wanted.len[i] + 1);
	if (!wanted.out[i] || pread_full(STDOUT_FILENO, wanted.out[i], wanted.len[i], 0) < 0)
		die("output");
	return true;
}

bool judge_learn(void)
{
	_cleanup_close_ int fd = -1;
	struct ply_err err;

	machine_image("image");
	fd = open("image", O_RDONLY | O_CLOEXEC);
	trial.size = fd < 0 ? 0 : size_of(fd);
	if (!trial.size || trial.size > IMAGE_MAX || pread_full(fd, sound, trial.size, 0) < 0)
		die("an image of %zu bytes", trial.size);
	if (mkdir("target", 0755) < 0)
		die("mkdir");
	for (size_t i = 0; i < MOUNT; i++)
		if (!learn_step(i))
			return false;
	wanted.tree = target_digest("target");
	if (!wanted.tree || target_wipe("target") < 0)
		die("the tree");
	trial.report->step = MOUNT;
	if (kernel_roam("image", REQUESTS_MAX, &wanted.kernel, &err) == 0)
		return true;
	wrong("the sound image: %s", err.msg);
	return false;
}

size_t judge_requests(void)
{
	return kernel_requests(wanted.kernel);
}

void judge_done(void)
{
	kernel_free(wanted.kernel);
	for (size_t i = 0; i < MOUNT; i++)
		free(wanted.out[i]);
}
