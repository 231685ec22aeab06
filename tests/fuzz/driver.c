/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main() of a fuzz target without libFuzzer, for any compiler. As a test it runs the checked-in
 * corpus, the generated seeds, and seeded mutations of both, TAP on stdout; with FILES or
 * folders as arguments it runs just these, naming each, to look at
 * what a fuzzer found.
 *
 *   PLYFS_SEED=N       of the mutations (1)
 *   PLYFS_FUZZ_RUNS=N  how many mutations (below)
 *
 * An input that ends the process, or takes more than INPUT_SECONDS of processor time, is written
 * to $PLYFS_BUILD/fuzz-artifacts first.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "fuzz.h"

#define RUNS          1500u
#define INPUT_SECONDS 5
#define MEMORY_MAX    (2048ull << 20)
#define INPUT_MAX     (1u << 20)

#pragma weak LLVMFuzzerCustomMutator

struct file {
	char *path;
	uint8_t *data;
	size_t len;
};

static struct {
	const char *name;          /* of the target */
	const uint8_t *data;       /* input that runs, NULL: none */
	size_t len;
	bool is_test;              /* else the input is a file already */
	uint64_t rng;
} now;

static uint64_t next(void)
{
	uint64_t z = (now.rng += 0x9e3779b97f4a7c15ULL);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* --- an input that kills ------------------------------------------------------------ */

/* In a signal handler, or called by the sanitizer that ends the process. */
static void keep_input(void)
{
	const char *build = getenv("PLYFS_BUILD");
	char path[PATH_MAX];
	int fd;

	if (!now.data || !now.is_test)
		return;
	now.is_test = false;       /* once */
	snprintf(path, sizeof(path), "%s/fuzz-artifacts", build ? build : ".");
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/fuzz-artifacts/%s-check", build ? build : ".", now.name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd >= 0 && write(fd, now.data, now.len) == (ssize_t)now.len)
		dprintf(STDERR_FILENO, "# the input is kept in %s; again: %s/tests/fuzz/fuzz_%s %s\n", path,
			build ? build : ".", now.name, path);
	if (fd >= 0)
		close(fd);
}

static void on_signal(int sig)
{
	keep_input();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void on_alarm(int sig)
{
	(void)sig;
	dprintf(STDERR_FILENO, "# an input took more than %d s\n", INPUT_SECONDS);
	keep_input();
	_exit(1);
}

void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

static void watch(void)
{
	static const int fatal[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };

	signal(SIGPROF, on_alarm);
	if (__sanitizer_set_death_callback) {
		__sanitizer_set_death_callback(keep_input);
		signal(SIGABRT, on_signal);    /* our own abort() */
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		signal(fatal[i], on_signal);
	/* a sanitizer's shadow takes terabytes of addresses: only without one */
	setrlimit(RLIMIT_AS, &(struct rlimit){ MEMORY_MAX, MEMORY_MAX });
}

/* An exact copy, so that a sanitizer sees its end. */
static void run(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	if (len)
		memcpy(copy, data, len);
	now.data = copy;
	now.len = len;
	setitimer(ITIMER_PROF, &(struct itimerval){ .it_value.tv_sec = INPUT_SECONDS }, NULL);
	LLVMFuzzerTestOneInput(copy, len);
	setitimer(ITIMER_PROF, &(struct itimerval){ 0 }, NULL);
	now.data = NULL;
	free(copy);
}

/* --- inputs ----------------------------------------------------------------------------- */

struct files {
	struct file *v;
	size_t n, cap;
};

static void add_file(struct files *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	struct file *to;

	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	if (array_grow(&f->v, &f->cap, f->n + 1, sizeof(*f->v)) < 0)
		abort();
	to = &f->v[f->n++];
	*to = (struct file){ strdup(path), malloc((size_t)st.st_size + 1), (size_t)st.st_size };
	if (!to->path || !to->data || pread_full(fd, to->data, to->len, 0) < 0)
		abort();
	close(fd);
}

static void add_folder(struct files *f, const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char file[PATH_MAX];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			add_file(f, file);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

static void files_done(struct files *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->v[i].path);
		free(f->v[i].data);
	}
	free(f->v);
}

/* --- mutations ---------------------------------------------------------------------------- */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
	for (unsigned n = 1 + (unsigned)(next() % 4); n; n--) {
		size_t at = size ? next() % size : 0, len;

		switch (next() % 6) {
		case 0:
			if (size)
				data[at] ^= (uint8_t)(1u << next() % 8);
			break;
		case 1:
			if (size)
				data[at] = (uint8_t)next();
			break;
		case 2:                                /* a piece goes */
			len = 1 + next() % 16;
			if (size - at > len) {
				memmove(data + at, data + at + len, size - at - len);
				size -= len;
			}
			break;
		case 3:                                /* a piece comes twice */
			len = 1 + next() % 16;
			if (size - at > len && size + len <= max) {
				memmove(data + at + len, data + at, size - at);
				size += len;
			}
			break;
		case 4:                                /* cut off */
			if (size > 1 && next() % 4 == 0)
				size = 1 + next() % size;
			break;
		case 5:
			for (size_t i = at; i < size && i < at + 4; i++)
				data[i] = next() % 2 ? 0xff : 0;
			break;
		}
	}
	return size;
}

static void mutations(const struct files *f, uint64_t runs)
{
	static uint8_t data[INPUT_MAX + 4096];

	for (uint64_t i = 0; f->n && i < runs; i++) {
		const struct file *from = &f->v[i % f->n];
		size_t len = MIN(from->len, (size_t)INPUT_MAX), max = len + 4096;

		memcpy(data, from->data, len);
		/* half of the time the target's own, which knows the shape of its input */
		if (LLVMFuzzerCustomMutator && next() % 2)
			len = LLVMFuzzerCustomMutator(data, len, max, (unsigned)next());
		else
			len = LLVMFuzzerMutate(data, len, max);
		run(data, len);
	}
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static int as_test(void)
{
	const char *build = getenv("PLYFS_BUILD"), *tests = getenv("PLYFS_TESTS");
	uint64_t runs = number_of("PLYFS_FUZZ_RUNS", RUNS), seed = number_of("PLYFS_SEED", 1);
	struct files f = { 0 };
	char path[PATH_MAX];
	size_t ncorpus;

	if (!build || !tests) {
		fprintf(stderr, "usage: fuzz_%s FILE...; without, it is run by make check\n", now.name);
		return 2;
	}
	now.is_test = true;
	printf("1..3\n");
	snprintf(path, sizeof(path), "%s/fuzz/corpus/%s", tests, now.name);
	add_folder(&f, path);
	ncorpus = f.n;
	for (size_t i = 0; i < f.n; i++)
		run(f.v[i].data, f.v[i].len);
	printf("ok 1 - %s: %zu inputs of the corpus\n", now.name, ncorpus);
	snprintf(path, sizeof(path), "%s/tests/fuzz/inputs/%s", build, now.name);
	add_folder(&f, path);
	for (size_t i = ncorpus; i < f.n; i++)
		run(f.v[i].data, f.v[i].len);
	printf("%sok 2 - %s: %zu seeds\n", f.n ? "" : "not ", now.name, f.n - ncorpus);
	fflush(stdout);
	now.rng = seed;
	mutations(&f, runs);
	printf("ok 3 - %s: %llu mutations, seed %llu\n", now.name, (unsigned long long)runs,
	       (unsigned long long)seed);
	files_done(&f);
	return 0;
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/'), *base = slash ? slash + 1 : argv[0];
	struct files f = { 0 };
	struct stat st;

	now.name = strncmp(base, "fuzz_", 5) ? base : base + 5;
	watch();
	if (argc < 2)
		return as_test();
	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			add_folder(&f, argv[i]);
		else
			add_file(&f, argv[i]);
	}
	for (size_t i = 0; i < f.n; i++) {
		fprintf(stderr, "%s (%zu bytes)\n", f.v[i].path, f.v[i].len);
		run(f.v[i].data, f.v[i].len);
	}
	files_done(&f);
	return 0;
}
