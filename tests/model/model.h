/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random operations, done alike in two directory trees. fsmodel.c has the plan of a run, verbs.c what is done, trees.c compares
 * the trees.
 */
#ifndef PLYFS_TESTS_MODEL_H
#define PLYFS_TESTS_MODEL_H

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define SIDES 2u                /* 0: what is tested, 1: the model, a directory of a file system that is trusted */
#define SLOTS 12u               /* open files */
#define BYTES (256u << 10)      /* of one write at most */
#define LONG_AGO (1 << 30)      /* seconds: times that are set are older */

/* One operation, as it was drawn. Which of its fields count, the verb says. */
struct step {
	const struct verb *verb;
	char path[PATH_MAX], to[PATH_MAX];
	unsigned slot, from;
	int flags;
	mode_t mode, mask;
	unsigned as;            /* whose rights; 0: root's */
	uid_t uid;
	gid_t gid;
	dev_t dev;
	int64_t off, from_off;
	size_t len;
	uint64_t seed;          /* of the bytes to write, or of anything else that is drawn */
	const char *name;       /* of an xattr */
	struct timespec times[2];
};

/* A row: how it is drawn (false: not now), and done on one side: a number that has to be the same on both, or -errno. */
struct verb {
	const char *name;
	unsigned weight;
	bool changes;           /* what others can see: an omission must be found */
	bool (*draw)(struct step *s);
	int64_t (*run)(const struct step *s, unsigned side);
};

extern const struct verb verbs[];
extern const unsigned nverbs;

/* Open files, the same ones on both sides; -1: none. */
struct slot {
	int fd[SIDES];
	bool directory;
	struct listing *seen[SIDES];     /* a directory that is read in pieces */
};
extern struct slot slots[SLOTS];

void slots_close(void);

/* Random numbers: all of a run come from one seed. */
void random_seed(uint64_t seed);
uint64_t random64(void);
static inline uint64_t below(uint64_t n) { return random64() % n; }
static inline bool chance(unsigned percent) { return below(100) < percent; }
void fill(void *to, size_t n, uint64_t seed);
uint64_t hashed(const void *p, size_t n, uint64_t before);

/* Paths of the model: those of the last comparison, and what was made since, the last change last. Some are not there any more. */
struct known {
	char *path;
	uint64_t hash;
	unsigned char type;     /* as d_type */
};
void known_add(const char *path, unsigned char type);
void known_remove(const char *path);
void known_clear(void);
const struct known *known_any(void);
const struct known *known_of(unsigned char type);

/* Looks at one side: / is its root, for this process, until the next call. SIDES: / is what it was. */
void enter(unsigned side);
/* A directory's names, sorted. */
struct listing {
	unsigned n, room;
	struct listing_entry {
		char *name;
		uint64_t ino;
		long cookie;            /* with which reading goes on behind it */
		unsigned char type;
	} *entries;
};
void listing_add(struct listing *l, const struct dirent *d, long cookie);
void listing_free(struct listing *l);

/* Compares everything but atimes that nobody set, times of this run, and sizes of directories. How many differences; they are printed. */
unsigned trees_differ(const char *const paths[SIDES], const struct timespec *start);

/* For lines of a log: cut where it is too long. */
const char *escaped(char *to, size_t n, const char *text);
void die(const char *what) __attribute__((noreturn));

#endif
