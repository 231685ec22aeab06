/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One image laid out under many schedules: always the same tree.
 *
 *   schedules IMAGE DIR [--select=NAME]... [--policy=FILE] [--distinct=N]
 *   schedules IMAGE DIR [--select=NAME]... [--policy=FILE] --plant=KIND [--without-excl]
 *
 * DIR is on a tmpfs, which makes a layout cheap enough: a process for each processor lays out into a directory of
 * its own in it, seed after seed, each time from an image that was opened anew (what a view remembers is handed over
 * between threads, too) with 4 to 8 streams, and reads back all that is there. Whatever the seed, that must be what one
 * stream makes without a scheduler. It ends when there were N different schedules (400; 60 under a sanitizer);
 * the first of them are run twice, and must be the same ones again. PLYFS_SEED is the first seed (1).
 *
 * --plant: a second writer of one path is planted (plant.h), another one for each seed. Each must be found: the layout
 * fails, names that path, and leaves the target as it was. --without-excl takes away what finds it, O_EXCL: it must
 * not be found then, or this test would find nothing.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/util.h"
#include "codec/codec.h"
#include "layout/layout.h"
#include "open.h"
#include "schedule/plant.h"
#include "schedule/sched.h"
#include "schedule/tree.h"

#ifdef PLYFS_SANITIZED
#define DISTINCT 60u
#define PLANTS   12u
#else
#define DISTINCT 400u
#define PLANTS   60u
#endif
#define ROUNDS   4u                /* of N seeds, for N schedules that differ */
#define TWICE    SCHED_WAYS        /* seeds that are run twice */
#define WORKERS  8u                /* each has a tree of its own in memory */
#define TOLD_MAX 10u               /* lines that differ */

/* Seen by all processes. */
struct shared {
	struct sched_seen seen[WORKERS];
	struct sched_result results[];     /* by seed, from the first */
};

static struct {
	const char *image, *dir;
	struct choice choice;
	struct cli_list names;
	struct ply_decision *decisions;
	size_t ndecisions;
	uint64_t first;            /* seed */
	size_t distinct;
	uint64_t expect;           /* hooks of one layout */
	struct buf reference;
} test;

static void die(const char *what)
{
	fprintf(stderr, "schedules: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void fail_err(const char *what, const struct ply_err *err)
{
	fprintf(stderr, "schedules: %s: %s\n", what, err->msg);
	exit(2);
}

/* --- one layout ----------------------------------------------------------------------- */

static void open_test(struct opened *o)
{
	const struct ply_view_options v = { .names = test.names.v, .n = test.names.n, .decisions = test.decisions,
					    .ndecisions = test.ndecisions };
	struct ply_err err;

	*o = (struct opened){ 0 };
	if (ply_image_open(test.image, &o->image, &err) < 0 ||
	    ply_view_open_with(o->image, &v, &o->view, &err) < 0)
		fail_err(test.image, &err);
}

/* Into the directory @target; @ret: its schedule. NULL: without a scheduler. */
static int lay_out(const char *target, uint64_t seed, unsigned streams, struct sched_result *ret, struct ply_err *err)
{
	/* older kernels' tmpfs has no user xattrs; what there is, is the same each time all the same */
	const struct layout_options o = { .streams = streams, .lossy = true };
	struct layout_report report = { 0 };
	struct opened opened;
	int r;

	open_test(&opened);
	if (ret)
		sched_begin(seed, test.expect);
	r = layout_run(opened.view, target, &o, &report, err);
	if (ret)
		*ret = sched_end();
	layout_report_done(&report);
	opened_done(&opened);
	return r;
}

static unsigned streams_of(uint64_t seed)
{
	return 4 + (unsigned)(seed / SCHED_WAYS % 5);
}

/* --- what lies there ------------------------------------------------------------------- */

static void tell_lines(const struct buf *from, const struct buf *other, char sign)
{
	const char *at = (char *)from->data, *end = at + from->len;
	unsigned told = 0;

	for (; at < end && told < TOLD_MAX; at = strchr(at, '\n') + 1) {
		size_t len = (size_t)(strchr(at, '\n') + 1 - at);

		if (memmem(other->data, other->len, at, len))
			continue;
		fprintf(stderr, "%c %.*s", sign, (int)len, at);
		told++;
	}
}

static bool is_reference(const char *target, uint64_t seed)
{
	struct buf is = tree_lines(target);
	bool same = is.len == test.reference.len && memcmp(is.data, test.reference.data, is.len) == 0;

	if (!same) {
		fprintf(stderr, "seed %" PRIu64 ", %u streams: another tree\n", seed, streams_of(seed));
		tell_lines(&test.reference, &is, '-');
		tell_lines(&is, &test.reference, '+');
	}
	buf_done(&is);
	return same;
}

static bool run_seed(const char *target, uint64_t seed, struct sched_result *ret)
{
	struct ply_err err;
	bool good;

	if (mkdir(target, 0755) < 0)
		die(target);
	good = lay_out(target, seed, streams_of(seed), ret, &err) == 0;
	if (good)
		good = is_reference(target, seed);
	else
		fprintf(stderr, "seed %" PRIu64 ", %u streams: %s\n", seed, streams_of(seed), err.msg);
	tree_remove(target);
	return good;
}

/* --- all of them -------------------------------------------------------------------------- */

/* Threads of one process that take turns have no use for a second processor, and pay for waking it. */
static void stay_on_one_processor(unsigned which)
{
	cpu_set_t can, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(can), &can) < 0)
		return;
	which %= (unsigned)CPU_COUNT(&can);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &can) && !which--)
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static bool is_again(const char *target, uint64_t seed, const struct sched_result *was)
{
	const struct sched_seen seen = sched_seen;
	struct sched_result again;

	if (!run_seed(target, seed, &again))
		return false;
	sched_seen = seen;         /* is counted once */
	if (again.hash == was->hash && again.hooks == was->hooks)
		return true;
	fprintf(stderr, "seed %" PRIu64 " is one schedule now and another one then: %016" PRIx64 " with %" PRIu64
		" hooks, %016" PRIx64 " with %" PRIu64 "\n", seed, was->hash, was->hooks, again.hash, again.hooks);
	return false;
}

static bool work(struct shared *shared, unsigned worker, unsigned workers, size_t from, size_t to)
{
	char target[256];
	bool good = true;

	stay_on_one_processor(worker);
	sched_seen = shared->seen[worker];
	snprintf(target, sizeof(target), "%s/%u", test.dir, worker);
	for (size_t i = from + worker; good && i < to; i += workers) {
		good = run_seed(target, test.first + i, &shared->results[i]);
		if (good && i < TWICE)
			good = is_again(target, test.first + i, &shared->results[i]);
	}
	shared->seen[worker] = sched_seen;
	return good;
}

static bool run_seeds(struct shared *shared, unsigned workers, size_t from, size_t to)
{
	pid_t pids[WORKERS];
	bool good = true;
	int status;

	fflush(NULL);
	for (unsigned w = 0; w < workers; w++) {
		pids[w] = fork();
		if (pids[w] < 0)
			die("fork");
		if (!pids[w])
			_exit(work(shared, w, workers, from, to) ? 0 : 1);
	}
	for (unsigned w = 0; w < workers; w++) {
		if (waitpid(pids[w], &status, 0) < 0)
			die("waitpid");
		if (WIFSIGNALED(status))
			fprintf(stderr, "a process was ended by signal %d\n", WTERMSIG(status));
		good &= WIFEXITED(status) && !WEXITSTATUS(status);
	}
	return good;
}

static int by_hash(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static size_t count_distinct(const struct shared *shared, size_t n)
{
	uint64_t *hashes = malloc((n + 1) * sizeof(*hashes));
	size_t distinct = 0;

	if (!hashes)
		die("no memory");
	for (size_t i = 0; i < n; i++)
		hashes[i] = shared->results[i].hash;
	qsort(hashes, n, sizeof(*hashes), by_hash);
	for (size_t i = 0; i < n; i++)
		distinct += !i || hashes[i] != hashes[i - 1];
	free(hashes);
	return distinct;
}

static size_t count_places(const struct shared *shared, unsigned workers)
{
	uint64_t all[WORKERS * SCHED_PLACES];
	size_t n = 0, places = 0;

	for (unsigned w = 0; w < workers; w++)
		for (size_t i = 0; i < SCHED_PLACES; i++)
			if (shared->seen[w].places[i])
				all[n++] = shared->seen[w].places[i];
	qsort(all, n, sizeof(*all), by_hash);
	for (size_t i = 0; i < n; i++)
		places += !i || all[i] != all[i - 1];
	return places;
}

static void print_kinds(const struct shared *shared, unsigned workers)
{
	struct sched_kind all[WORKERS * SCHED_KINDS];
	size_t n = 0;

	for (unsigned w = 0; w < workers; w++)
		for (size_t i = 0; i < SCHED_KINDS && shared->seen[w].kinds[i].what; i++) {
			const struct sched_kind *kind = &shared->seen[w].kinds[i];
			size_t k = 0;

			while (k < n && strcmp(all[k].what, kind->what) != 0)
				k++;
			if (k == n)
				all[n++] = (struct sched_kind){ kind->what, 0 };
			all[k].hooks += kind->hooks;
		}
	printf("hooks:");
	for (size_t k = 0; k < n; k++)
		printf("%s %s %" PRIu64, k ? "," : "", all[k].what, all[k].hooks);
	printf("\n");
}

static void print_results(const struct shared *shared, unsigned workers, size_t n, size_t distinct)
{
	uint64_t hooks = 0, changes = 0;

	for (size_t i = 0; i < n; i++) {
		hooks += shared->results[i].hooks;
		changes += shared->results[i].changes;
	}
	printf("%zu schedules, %zu of them distinct (seeds %" PRIu64 " to %" PRIu64 "): %" PRIu64 " hooks at %zu places, %"
	       PRIu64 " changes of thread; one digest: %016" PRIx64 "\n", n, distinct, test.first,
	       test.first + n - 1, hooks, count_places(shared, workers), changes,
	       xxh3(test.reference.data, test.reference.len, 0));
	print_kinds(shared, workers);
}

static int run_all(void)
{
	unsigned workers = MIN(ncpus(), WORKERS);
	size_t most = ROUNDS * test.distinct, n = 0, distinct = 0;
	struct shared *shared = mmap(NULL, sizeof(*shared) + most * sizeof(shared->results[0]), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		die("mmap");
	while (distinct < test.distinct && n < most) {
		size_t to = n + test.distinct - distinct;

		if (!run_seeds(shared, workers, n, to))
			return 1;
		n = to;
		distinct = count_distinct(shared, n);
	}
	print_results(shared, workers, n, distinct);
	return distinct < test.distinct;
}

/* --- second writers -------------------------------------------------------------------------- */

static bool is_as_before(const char *target, const struct stat *before)
{
	struct stat st;

	if (stat(target, &st) < 0 || st.st_mode != before->st_mode || st.st_mtim.tv_sec != before->st_mtim.tv_sec ||
	    st.st_mtim.tv_nsec != before->st_mtim.tv_nsec)
		return false;
	return rmdir(target) == 0 && mkdir(target, 0755) == 0;   /* only an empty one goes */
}

/* NULL: it was found. */
static const char *run_planted(enum plant kind, const char *target, uint64_t seed)
{
	static struct ply_err err;
	struct sched_result unused;
	struct stat before;
	size_t len;
	int r;

	if (stat(target, &before) < 0)
		die(target);
	plant(kind, seed);
	r = lay_out(target, seed, streams_of(seed), &unused, &err);
	len = strlen(planted);
	if (!len)
		return "there was nothing to plant";
	if (r == 0)
		return "was not found";
	if (err.reason != PLY_R_TARGET_EXISTS || strncmp(err.msg, planted, len) != 0 || err.msg[len] != ':')
		return err.msg;
	return is_as_before(target, &before) ? NULL : "the target is not as it was";
}

static int run_plants(enum plant kind)
{
	char target[256];

	stay_on_one_processor(0);
	snprintf(target, sizeof(target), "%s/planted", test.dir);
	if (mkdir(target, 0755) < 0)
		die(target);
	for (uint64_t seed = test.first; seed < test.first + PLANTS; seed++) {
		const char *why = run_planted(kind, target, seed);

		if (!why)
			continue;
		fprintf(stderr, "seed %" PRIu64 ": %s, a second time planted (%s): %s\n", seed, planted,
			plant_names[kind], why);
		tree_remove(target);
		return 1;
	}
	tree_remove(target);
	printf("%u second writers were planted (%s), all were found\n", PLANTS, plant_names[kind]);
	return 0;
}

/* --- the program ------------------------------------------------------------------------------ */

static void load(void)
{
	struct ply_image *image = NULL;
	struct ply_err err;

	if (ply_image_open(test.image, &image, &err) < 0 ||
	    (test.choice.policy &&
	     open_decisions(image, &test.names, &test.choice, &test.decisions, &test.ndecisions, &err) < 0))
		fail_err(test.image, &err);
	ply_image_close(image);
}

/* One stream without a scheduler; and how many hooks there are, with one. */
static void learn(void)
{
	struct sched_result result;
	struct ply_err err;
	char target[256];

	snprintf(target, sizeof(target), "%s/reference", test.dir);
	if (mkdir(target, 0755) < 0)
		die(target);
	if (lay_out(target, 0, 1, NULL, &err) < 0)
		fail_err(target, &err);
	test.reference = tree_lines(target);
	tree_remove(target);
	if (!run_seed(target, 0, &result))
		exit(1);
	test.expect = result.hooks;
}

static enum plant plant_named(const char *name)
{
	for (int i = PLANT_NOTHING + 1; i < PLANT_KINDS; i++)
		if (!strcmp(plant_names[i], name))
			return (enum plant)i;
	fprintf(stderr, "schedules: --plant takes queue, other or link\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "select", required_argument, NULL, 'n' }, { "policy", required_argument, NULL, 'p' },
		{ "distinct", required_argument, NULL, 'd' }, { "plant", required_argument, NULL, 's' },
		{ "without-excl", no_argument, NULL, 'x' }, { NULL, 0, NULL, 0 },
	};
	const char *seed = getenv("PLYFS_SEED");
	enum plant kind = PLANT_NOTHING;
	int c, r;

	test.distinct = DISTINCT;
	test.first = seed ? strtoull(seed, NULL, 10) : 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'n':
			if (cli_list_add(&test.names, optarg) < 0)
				die(optarg);
			break;
		case 'p':
			test.choice.policy = optarg;
			break;
		case 'd':
			test.distinct = strtoul(optarg, NULL, 10);
			break;
		case 's':
			kind = plant_named(optarg);
			break;
		case 'x':
			sched_without_excl = true;
			break;
		default:
			return 2;
		}
	if (argc - optind != 2 || !test.distinct) {
		fprintf(stderr, "usage: schedules IMAGE DIR [--select=NAME]... [--policy=FILE] [--distinct=N] "
			"[--plant=KIND [--without-excl]]\n");
		return 2;
	}
	test.image = argv[optind];
	test.dir = argv[optind + 1];
	load();
	learn();
	r = kind ? run_plants(kind) : run_all();
	free(test.decisions);
	cli_list_done(&test.names);
	choice_done(&test.choice);
	buf_done(&test.reference);
	return r;
}
