/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One image at a time: damage it, give it to the verbs and to the mount's operations, judge what they
 * do. In the working directory, on the descriptors of a worker (damage.c).
 */
#ifndef PLYFS_TESTS_JUDGE_H
#define PLYFS_TESTS_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mode { FLIP, CUT, REPAIRED, MODES };
extern const char *const mode_names[MODES];

#define STEPS     20u              /* verbs with their options, layout, mount */
#define CODES     6u               /* exit codes 0 to 4, and others */
#define TOLD_MAX  20u              /* failures that are printed, of each kind of damage */
#define IMAGE_MAX 32768u

/* A worker's, seen by its parent. */
struct report {
	_Atomic size_t at;         /* the image that it is at: byte flipped, or length */
	_Atomic size_t step;
	unsigned long count[STEPS][CODES];
	unsigned long images, same;   /* same: repaired until nothing was left of the damage */
	unsigned failures;
	char told[TOLD_MAX][400];
};

/* Of this process; workers inherit it. */
extern struct trial {
	enum mode mode;
	uint64_t seed;             /* of the patterns that are flipped */
	size_t size;               /* of the sound image */
	struct report *report;
	int errors;                /* descriptor of memory that is stderr, too */
	int verbose;               /* where to say what each step did; -1: nowhere */
} trial;

const char *step_name(size_t step);

/* A failure of the image and the step that the report is at. */
void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The machine's fault: ends the process. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Make the sound image, and keep what it gives: false, and why in the report, where it is not sound. */
bool judge_learn(void);
size_t judge_requests(void);       /* of the mount */
void judge_done(void);

/* All steps with the sound image; from then on the budgets count. */
void judge_begin(void);
/* Image @at; false: this process has taken more than it can give back. */
bool judge_image(size_t at);

#endif
