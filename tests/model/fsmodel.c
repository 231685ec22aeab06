/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fsmodel A B: the same random operations in A, which is tested, and in B, the model: a directory of a file system that is trusted, with the
 * same tree to begin with. The answers to each operation and what becomes of the files that it names have to be the same, and now and then
 * and at the end the whole trees. A difference ends the run: seed, number and the last operations are printed, exit code 1.
 *
 *     --ops=N --seed=N         how many operations (100000), and which (1)
 *     --compare=N              after each N of them the trees are compared (10000)
 *     --remount=COMMAND        then, with nothing open, COMMAND is run, and the trees are compared again
 *     --forget=VERB            does not do VERB in A from the 500th operation on: such a run must fail, and shows that it can
 *     --verbose                prints each operation, too
 *
 * Root only: operations are done by several users, and each side is / to the process while it works there.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOLD     24u            /* operations before a difference */
#define CROWDED  6000u          /* paths: from there on more is removed than made */
#define RECENT   48u            /* paths that are taken again more often than others */
#define FORGOTTEN_FROM 500u

static const char *paths[SIDES];
static int roots[SIDES + 1] = { -1, -1, -1 };   /* [SIDES]: what / was */
static struct timespec start;
static char last[TOLD][3 * PATH_MAX];
static uint64_t count[64], done[64];

void die(const char *what)
{
	fprintf(stderr, "fsmodel: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* --- random numbers: splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) --- */

static uint64_t state;

static uint64_t next(uint64_t *at)
{
	uint64_t z = *at += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

void random_seed(uint64_t seed)
{
	state = seed;
}

uint64_t random64(void)
{
	return next(&state);
}

void fill(void *to, size_t n, uint64_t seed)
{
	char *at = to;
	for (uint64_t word; n; at += sizeof(word) < n ? sizeof(word) : n, n -= sizeof(word) < n ? sizeof(word) : n) {
		word = next(&seed);
		memcpy(at, &word, sizeof(word) < n ? sizeof(word) : n);
	}
}

/* FNV-1a */
uint64_t hashed(const void *p, size_t n, uint64_t before)
{
	const unsigned char *at = p;
	uint64_t h = before ^ 0xcbf29ce484222325u;
	while (n--)
		h = (h ^ *at++) * 0x100000001b3u;
	return h;
}

/* --- known paths ------------------------------------------------------------------------------- */

static struct {
	struct known *at;
	unsigned n, room;
} known;

void known_clear(void)
{
	while (known.n)
		free(known.at[--known.n].path);
}

void known_remove(const char *path)
{
	uint64_t hash = hashed(path, strlen(path), 0);
	for (unsigned i = known.n; i-- > 0;)
		if (known.at[i].hash == hash && !strcmp(known.at[i].path, path)) {
			free(known.at[i].path);
			memmove(&known.at[i], &known.at[i + 1], (--known.n - i) * sizeof(*known.at));
			return;
		}
}

/* Behind all others, as the most recent one. */
void known_add(const char *path, unsigned char type)
{
	/* deeper ones would only be refused */
	if (strlen(path) > 1500)
		return;
	if (known.n == known.room) {
		known.room = known.room ? 2 * known.room : 1024;
		known.at = realloc(known.at, known.room * sizeof(*known.at));
		if (!known.at)
			die("realloc");
	}
	known.at[known.n++] = (struct known){ strdup(path), hashed(path, strlen(path), 0), type };
	if (!known.at[known.n - 1].path)
		die("strdup");
}

const struct known *known_any(void)
{
	unsigned recent = known.n < RECENT ? known.n : RECENT;
	return &known.at[chance(50) ? known.n - 1 - below(recent) : below(known.n)];
}

const struct known *known_of(unsigned char type)
{
	for (unsigned i = 0; i < 64; i++) {
		const struct known *k = known_any();
		if (k->type == type)
			return k;
	}
	return &known.at[0];
}

/* --- one operation -------------------------------------------------------------------------------- */

void enter(unsigned side)
{
	if (seteuid(0) || setegid(0) || fchdir(roots[side]) || chroot("."))
		die("chroot");
}

static void roots_open(void)
{
	for (unsigned s = 0; s < SIDES; s++) {
		roots[s] = open(paths[s], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (roots[s] < 0)
			die(paths[s]);
	}
}

static void roots_close(void)
{
	slots_close();
	enter(SIDES);
	for (unsigned s = 0; s < SIDES; s++)
		close(roots[s]);
}

struct result {
	int64_t value;
	uint64_t at[3];         /* what is at path, at to, and of the open file: a hash, or the error */
};

static uint64_t stat_hash(int r, const struct stat *st)
{
	if (r)
		return (uint64_t)errno;
	uint64_t of[] = { st->st_mode, st->st_nlink, st->st_uid, st->st_gid, S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
			  S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode) ? st->st_rdev : 0 };
	return hashed(of, sizeof(of), 0) | 1ull << 63;
}

static struct result run_on(const struct step *s, unsigned side, bool forget)
{
	static const unsigned users[] = { 0, 1000, 33 };
	struct result r = { 0 };
	struct stat st;
	enter(side);
	umask(s->mask);
	if (!forget) {
		if (setegid(users[s->as]) || seteuid(users[s->as]))
			die("seteuid");
		r.value = s->verb->run(s, side);
		if (seteuid(0) || setegid(0))
			die("seteuid");
	}
	if (*s->path)
		r.at[0] = stat_hash(lstat(s->path, &st), &st);
	if (*s->to)
		r.at[1] = stat_hash(lstat(s->to, &st), &st);
	if (slots[s->slot].fd[side] >= 0)
		r.at[2] = stat_hash(fstat(slots[s->slot].fd[side], &st), &st);
	return r;
}

static const struct verb *verb_of(const char *name)
{
	for (unsigned i = 0; i < nverbs; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static void draw(struct step *s)
{
	unsigned total = 0;
	for (unsigned i = 0; i < nverbs; i++)
		total += verbs[i].weight;
	for (;;) {
		memset(s, 0, sizeof(*s));
		uint64_t at = below(total);
		s->verb = verbs;
		while (at >= s->verb->weight)
			at -= s->verb++->weight;
		if (known.n > CROWDED && chance(70))
			s->verb = verb_of("unlink");
		s->mask = chance(70) ? 022 : chance(50) ? 0 : 077;
		s->as = chance(85) ? 0 : (unsigned)(1 + below(2));
		if (s->verb->draw(s))
			return;
	}
}

const char *escaped(char *to, size_t n, const char *text)
{
	size_t at = 0;
	for (; *text && at + 5 < n; text++)
		at += (size_t)snprintf(to + at, n - at, *text > ' ' && *text < 127 ? "%c" : "\\x%02x", (unsigned char)*text);
	to[at] = '\0';
	return to;
}

static void describe(char *to, size_t n, uint64_t number, const struct step *s, int64_t value)
{
	char path[PATH_MAX], other[PATH_MAX];
	snprintf(to, n, "%llu %s %s %s slot=%u from=%u+%lld flags=0x%x mode=%o mask=%o as=%u owner=%d:%d off=%lld len=%zu %s seed=%llx: %lld",
		 (unsigned long long)number, s->verb->name, escaped(path, sizeof(path), s->path),
		 escaped(other, sizeof(other), s->to), s->slot, s->from, (long long)s->from_off, (unsigned)s->flags, s->mode,
		 s->mask, s->as, (int)s->uid, (int)s->gid, (long long)s->off, s->len, s->name ? s->name : "", (unsigned long long)s->seed, (long long)value);
}

static const char *what_differs(const struct result r[SIDES])
{
	return r[0].value != r[1].value ? "answer" : r[0].at[0] != r[1].at[0] ? "stat of the first path" :
	       r[0].at[1] != r[1].at[1] ? "stat of the second path" : r[0].at[2] != r[1].at[2] ? "stat of the open file" : NULL;
}

static void show(unsigned side, const char *what, const struct stat *st)
{
	printf("# %s, %s: mode %o, links %lu, owner %u:%u, size %lld\n", side ? "model" : "tested", what, st->st_mode,
	       (unsigned long)st->st_nlink, st->st_uid, st->st_gid, (long long)st->st_size);
}

static bool failed(const struct step *s, const struct result r[SIDES])
{
	const char *what = what_differs(r);
	if (!what)
		return false;
	printf("# %s: %s: %lld, of the model %lld\n", s->verb->name, what, (long long)r[0].value, (long long)r[1].value);
	for (unsigned side = 0; side < SIDES; side++) {
		struct stat st;
		enter(side);
		if (*s->path && !lstat(s->path, &st))
			show(side, "first path", &st);
		if (*s->to && !lstat(s->to, &st))
			show(side, "second path", &st);
		if (slots[s->slot].fd[side] >= 0 && !fstat(slots[s->slot].fd[side], &st))
			show(side, "open file", &st);
	}
	return true;
}

static void learn(const char *path)
{
	struct stat st;
	if (*path != '/')
		return;
	known_remove(path);
	if (!lstat(path, &st))
		known_add(path, IFTODT(st.st_mode));
}

/* One operation in both: false where they differ. */
static bool step_done(uint64_t number, const char *forget, bool verbose)
{
	static struct step s;
	struct result r[SIDES];
	draw(&s);
	bool forgotten = forget && number >= FORGOTTEN_FROM && !strcmp(s.verb->name, forget);
	if (forgotten) {
		r[1] = run_on(&s, 1, false);
		r[0] = run_on(&s, 0, r[1].value >= 0);
		if (r[1].value >= 0)
			r[0] = r[1];
	} else {
		r[0] = run_on(&s, 0, false);
		r[1] = run_on(&s, 1, false);
	}
	describe(last[number % TOLD], sizeof(last[0]), number, &s, r[1].value);
	if (verbose)
		puts(last[number % TOLD]);
	count[s.verb - verbs]++;
	done[s.verb - verbs] += r[1].value >= 0;
	if (failed(&s, r))
		return false;
	if (s.verb->changes && r[1].value >= 0) {
		enter(1);
		learn(s.path);
		learn(s.to);
	}
	return true;
}

/* --- the run ------------------------------------------------------------------------------------------ */

static bool trees_same(void)
{
	fflush(stdout);
	enter(SIDES);
	unsigned n = trees_differ(paths, &start);
	if (n)
		printf("# %u differences between the trees\n", n);
	return !n;
}

static bool compared(const char *remount)
{
	if (!trees_same())
		return false;
	if (!remount)
		return true;
	roots_close();
	int rc = system(remount);
	if (rc) {
		printf("# %s: %d\n", remount, rc);
		return false;
	}
	roots_open();
	return trees_same();
}

struct options {
	uint64_t ops, seed, compare;
	const char *remount, *forget;
	bool verbose;
};

static void options_read(struct options *o, int argc, char **argv)
{
	static const struct option table[] = { { "ops", 1, NULL, 'n' },     { "seed", 1, NULL, 's' },   { "compare", 1, NULL, 'c' },
					       { "remount", 1, NULL, 'r' }, { "forget", 1, NULL, 'f' }, { "verbose", 0, NULL, 'v' },
					       { NULL, 0, NULL, 0 } };
	*o = (struct options){ .ops = 100000, .seed = 1, .compare = 10000 };
	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) >= 0;)
		switch (c) {
		case 'n': o->ops = strtoull(optarg, NULL, 0); break;
		case 's': o->seed = strtoull(optarg, NULL, 0); break;
		case 'c': o->compare = strtoull(optarg, NULL, 0); break;
		case 'r': o->remount = optarg; break;
		case 'f': o->forget = optarg; break;
		case 'v': o->verbose = true; break;
		default: exit(2);
		}
	if (argc - optind != SIDES || !o->compare || (o->forget && !verb_of(o->forget))) {
		fprintf(stderr, "usage: fsmodel A B [--ops=N] [--seed=N] [--compare=N] [--remount=COMMAND] [--forget=VERB] [--verbose]\n");
		exit(2);
	}
	for (unsigned s = 0; s < SIDES; s++) {
		paths[s] = realpath(argv[optind + (int)s], NULL);
		if (!paths[s])
			die(argv[optind + (int)s]);
	}
}

static void tell(const struct options *o, uint64_t number)
{
	printf("# seed %llu, operation %llu; the last ones:\n", (unsigned long long)o->seed, (unsigned long long)number);
	for (uint64_t i = number >= TOLD - 1 ? number - (TOLD - 1) : 0; i <= number; i++)
		if (*last[i % TOLD])
			printf("#   %s\n", last[i % TOLD]);
}

int main(int argc, char **argv)
{
	struct options o;
	options_read(&o, argc, argv);
	roots[SIDES] = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (roots[SIDES] < 0 || setgroups(0, NULL))
		die("needs root");
	roots_open();
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i].fd[0] = slots[i].fd[1] = -1;
	clock_gettime(CLOCK_REALTIME_COARSE, &start);
	random_seed(o.seed);
	bool good = trees_same();
	uint64_t n = 0;
	for (; good && n < o.ops; n++) {
		good = step_done(n, o.forget, o.verbose);
		if (good && ((n + 1) % o.compare == 0 || n + 1 == o.ops))
			good = compared(o.remount);
		if (!good)
			break;
	}
	if (!good)
		tell(&o, n);
	roots_close();
	known_clear();
	for (unsigned i = 0; i < nverbs && good; i++)
		printf("# %s: %llu, %llu succeeded\n", verbs[i].name, (unsigned long long)count[i], (unsigned long long)done[i]);
	return good ? 0 : 1;
}
