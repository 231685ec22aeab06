/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wherever the machine stops, a log has everything that was acknowledged, and otherwise a prefix of what was
 * appended, in order; it opens without an error, and goes on from there.
 *
 * Sessions of random requests, commits, checkpoints, which clean segments, and closings are recorded; then the disk is
 * built as a crash would leave it: at each write, sync and punch, with any of the pages lost that no sync has followed,
 * the last write torn at any byte. From some of these states a further session starts, and crashes again.
 *
 * PLYFS_REDO_STATES distinct states are looked at (5000), by digest of their bytes; PLYFS_SEED is the first seed.
 * 100,000 take two minutes of processor time: CK_DEFAULT_TIMEOUT=900.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"
#include "redo_disk.h"
#include "redo_model.h"
#include "tap.h"

enum { STEPS_MAX = 96, MARKS_MAX = 4 * STEPS_MAX };

/* What one session appended, and when what of it was acknowledged. */
struct run {
	struct model *m[STEPS_MAX + 1];    /* after so many requests */
	uint64_t digest[STEPS_MAX + 1];
	int n;
	struct {
		size_t nops;           /* of the disk */
		int acked;
	} marks[MARKS_MAX];
	size_t nmarks;
	uint64_t rng;
};

static struct ply_err err;
static struct map seen;            /* digests of disks */
static uint64_t states, distinct, longest_cut, went_on, again, checkpoints, cleanings, between;

static uint64_t roll(struct run *r, uint64_t below)
{
	r->rng ^= r->rng << 13;
	r->rng ^= r->rng >> 7;
	r->rng ^= r->rng << 17;
	return (r->rng >> 11) % below;
}

static void run_begin(struct run *r, const struct model *from, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	r->rng = seed * 0x9e3779b97f4a7c15ull + 1;
	r->m[0] = malloc(sizeof(struct model));
	if (from)
		*r->m[0] = *from;
	else
		model_init(r->m[0], seed);
	r->digest[0] = model_digest(r->m[0]);
}

static void run_done(struct run *r)
{
	for (int k = 0; k <= r->n; k++)
		free(r->m[k]);
}

static void mark(struct run *r, const struct redo_disk *d, int acked)
{
	ck_assert_uint_lt(r->nmarks, MARKS_MAX);
	r->marks[r->nmarks].nops = d->nops;
	r->marks[r->nmarks++].acked = acked;
}

static int acked_at(const struct run *r, size_t nops)
{
	int acked = 0;

	for (size_t k = 0; k < r->nmarks && r->marks[k].nops <= nops; k++)
		acked = r->marks[k].acked;
	return acked;
}

/* --- a session -------------------------------------------------------------------------------------- */

static void step(struct run *r, struct redo *log, uint64_t *lsn)
{
	struct model *next = malloc(sizeof(*next));
	int e;

	*next = *r->m[r->n];
	next->rng = roll(r, UINT32_MAX) + 1;
	e = model_step(next, log, lsn, &err);
	ck_assert_msg(e >= 0, "%s", err.msg);
	if (e) {
		free(next);
		return;
	}
	r->m[++r->n] = next;
	r->digest[r->n] = model_digest(next);
}

struct meanwhile {
	struct run *r;
	struct redo_disk *d;
	struct redo *log;
	uint64_t *lsn;
};

/* Others append behind the turn of a checkpoint, when cleaning has moved extents, and no superblock says so. */
static void append_meanwhile(void *ctx)
{
	struct meanwhile *m = ctx;

	m->d->at_sync = NULL;
	for (int k = 0; k < 2; k++)
		step(m->r, m->log, m->lsn);
	between++;
}

static void checkpoint(struct run *r, struct redo_disk *d, struct redo *log, uint64_t *lsn)
{
	struct meanwhile m = { r, d, log, lsn };
	struct redo_info before, after;

	redo_info(log, &before);
	d->at_sync = append_meanwhile;
	d->at_sync_ctx = &m;
	ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
	d->at_sync = NULL;
	redo_info(log, &after);
	checkpoints++;
	cleanings += after.data_moved > before.data_moved;
}

/* Until it closes the log, or is killed. */
static void session(struct run *r, struct redo_disk *d, int steps, bool closes)
{
	struct redo *log;
	uint64_t lsn = 0;

	d->recording = true;
	ck_assert_msg(redo_open(redo_disk_store(d), REDO_WRITE, &log, &err) == 0, "%s", err.msg);
	for (int s = 0; s < steps; s++) {
		uint64_t what = roll(r, 100);

		step(r, log, &lsn);
		if (what < 25) {
			ck_assert_int_eq(redo_commit(log, lsn, &err), 0);
			mark(r, d, r->n);
		} else if (what < 32) {
			checkpoint(r, d, log, &lsn);
		}
	}
	if (closes) {
		ck_assert_msg(redo_close(log, &err) == 0, "%s", err.msg);
		mark(r, d, r->n);
	} else {
		redo_abandon(log);
	}
	d->recording = false;
}

/* --- a state ------------------------------------------------------------------------------------------- */

/* How many requests of @r are there. */
static int judge(struct redo_disk *d, const struct run *r, int acked, const char *when)
{
	struct redo_info info;
	struct redo *log;
	uint64_t is;
	int k, e = redo_open(redo_disk_store(d), 0, &log, &err);

	ck_assert_msg(e == 0, "%s: %s", when, err.msg);
	redo_info(log, &info);
	ck_assert_msg(!info.damaged, "%s: %s", when, info.warning);
	is = model_log_digest(log);
	for (k = r->n; k > acked && r->digest[k] != is; k--)
		;
	if (r->digest[k] != is) {
		struct buf want = { 0 }, text = { 0 };

		model_text(r->m[acked], &want);
		model_log_text(log, &text);
		ck_abort_msg("%s: no prefix of %d requests from %d on; the log ends at %llu\n--- "
			     "acknowledged\n%.*s\n--- is\n%.*s",
			     when, r->n, acked, (unsigned long long)info.tail_lsn, (int)want.len, (char *)want.data,
			     (int)text.len, (char *)text.data);
	}
	longest_cut = MAX(longest_cut, info.cut);
	redo_abandon(log);
	return k;
}

static void crash_again(const struct redo_disk *before, struct redo_disk *d, struct run *r, int depth);

/* What a crash left is no hindrance, and what the next crash leaves neither. */
static void go_on(struct redo_disk *d, const struct run *r, int n, int depth, uint64_t seed)
{
	struct redo_disk now, before;
	struct run *next = malloc(sizeof(*next));

	redo_disk_init(&now);
	redo_disk_init(&before);
	redo_disk_copy(&now, d);
	redo_disk_copy(&before, d);
	run_begin(next, r->m[n], seed);
	session(next, &now, 4, seed % 2);
	judge(&now, next, next->n, "gone on");
	went_on++;
	crash_again(&before, &now, next, depth + 1);
	run_done(next);
	free(next);
	redo_disk_done(&before);
	redo_disk_done(&now);
}

static bool is_new(const struct redo_disk *d)
{
	uint64_t h = xxh3(d->bytes, d->size, 0);

	states++;
	if (map_first(&seen, h) != MAP_END)
		return false;
	ck_assert_int_eq(map_add(&seen, h, 0), 0);
	distinct++;
	return true;
}

/* --- all that a crash can leave ------------------------------------------------------------------------- */

struct piece {
	const struct redo_disk_op *op;
	uint64_t from, len;        /* of its bytes */
};

/* A write reaches the disk page by page. */
static size_t cut_up(const struct redo_disk_op *op, uint64_t len, struct piece *to, size_t max)
{
	size_t n = 0;

	for (uint64_t at = 0, step_len; at < len; at += step_len) {
		step_len = op->what == DISK_WRITE ? MIN(len - at, 4096 - (op->off + at) % 4096) : len;
		ck_assert_uint_lt(n, max);
		to[n++] = (struct piece){ op, at, step_len };
	}
	return n;
}

struct crash {
	const struct redo_disk *stable;
	struct piece pieces[4096];
	size_t npieces;
	struct run *r;
	size_t at;                 /* operation of the disk */
	int depth;
};

/* One of the states: the pieces for which @keep says so, then the torn last one. */
static void look(struct crash *c, const uint8_t *keep, const struct redo_disk_op *last, uint64_t last_len)
{
	static struct redo_disk d[3];
	struct redo_disk *to = &d[c->depth];
	char when[80];
	int n;

	if (!to->cap)
		redo_disk_init(to);
	redo_disk_copy(to, c->stable);
	for (size_t k = 0; k < c->npieces; k++)
		if (keep[k])
			redo_disk_play(to, c->pieces[k].op, c->pieces[k].from, c->pieces[k].len);
	if (last)
		redo_disk_play(to, last, 0, last_len);
	if (!is_new(to))
		return;
	snprintf(when, sizeof(when), "depth %d, operation %zu, %llu bytes of it", c->depth, c->at,
		 (unsigned long long)last_len);
	n = judge(to, c->r, acked_at(c->r, c->at), when);
	if (c->depth < 2 && roll(c->r, c->depth ? 60 : 25) == 0)
		go_on(to, c->r, n, c->depth, roll(c->r, 1u << 30));
}

static void subsets(struct crash *c, const struct redo_disk_op *last, uint64_t last_len, unsigned nrandom)
{
	static uint8_t all_keeps[3][4096];
	uint8_t *keep = all_keeps[c->depth];
	size_t n = c->npieces;

	if (n <= 4) {
		for (unsigned mask = 0; mask < 1u << n; mask++) {
			for (size_t k = 0; k < n; k++)
				keep[k] = mask >> k & 1;
			look(c, keep, last, last_len);
		}
		return;
	}
	for (int all = 0; all < 2; all++) {
		memset(keep, all, n);
		look(c, keep, last, last_len);
		/* one more, or one less, at random; often the last ones, which lead on */
		for (unsigned q = 0; q < nrandom; q++) {
			size_t k = roll(c->r, 2) ? n - 1 - roll(c->r, 4) : roll(c->r, n);

			memset(keep, all, n);
			keep[k] = !all;
			look(c, keep, last, last_len);
		}
	}
	for (unsigned q = 0; q < nrandom; q++) {
		for (size_t k = 0; k < n; k++)
			keep[k] = (uint8_t)roll(c->r, 2);
		look(c, keep, last, last_len);
	}
}

/* The machine stops in operation @at. */
static void crash_at(const struct redo_disk *stable, size_t synced, const struct redo_disk *d, struct run *r,
		     size_t at, int depth)
{
	struct crash *c = malloc(sizeof(*c));
	const struct redo_disk_op *last = at < d->nops ? &d->ops[at] : NULL;

	*c = (struct crash){ .stable = stable, .r = r, .at = at, .depth = depth };
	for (size_t k = synced; k < at; k++)
		c->npieces += cut_up(&d->ops[k], d->ops[k].what == DISK_SYNC ? 0 : d->ops[k].len,
				     c->pieces + c->npieces, ARRAY_SIZE(c->pieces) - c->npieces);
	subsets(c, NULL, 0, depth ? 1 : 4);
	if (last && last->what == DISK_WRITE) {
		const uint64_t lens[] = {
			8, 40, last->len / 2, last->len - 1, roll(r, last->len), roll(r, last->len), last->len
		};

		for (size_t k = 0; k < ARRAY_SIZE(lens); k++)
			if (lens[k] <= last->len && (!depth || k > 4))
				subsets(c, last, lens[k], 0);
	}
	free(c);
}

/* At every fourth operation or so, over the whole session. */
static void crash_all(struct redo_disk *stable, const struct redo_disk *d, struct run *r)
{
	size_t synced = 0;

	for (size_t at = 0; at <= d->nops; at++) {
		if (at && d->ops[at - 1].what == DISK_SYNC) {
			for (; synced < at; synced++)
				redo_disk_play(stable, &d->ops[synced], 0, d->ops[synced].len);
		}
		if (roll(r, 4) == 0)
			crash_at(stable, synced, d, r, at, 0);
	}
}

/* At three of its operations. */
static void crash_again(const struct redo_disk *before, struct redo_disk *d, struct run *r, int depth)
{
	for (int q = 0; q < 3; q++) {
		size_t at = roll(r, d->nops + 1), synced = 0;
		struct redo_disk stable;

		redo_disk_init(&stable);
		redo_disk_copy(&stable, before);
		for (size_t k = 0; k < at; k++)
			if (d->ops[k].what == DISK_SYNC)
				synced = k + 1;
		for (size_t k = 0; k < synced; k++)
			redo_disk_play(&stable, &d->ops[k], 0, d->ops[k].len);
		crash_at(&stable, synced, d, r, at, depth);
		redo_disk_done(&stable);
		again++;
	}
}

/* A log that has segments which are worth to be cleaned, since files were overwritten. */
static void grow(struct redo_disk *d, struct model *m, uint64_t seed)
{
	struct redo *log;

	model_init(m, seed);
	ck_assert_msg(redo_open(redo_disk_store(d), REDO_WRITE, &log, &err) == 0, "%s", err.msg);
	for (int s = 0; s < 70; s++)
		ck_assert_int_ge(model_step(m, log, NULL, &err), 0);
	ck_assert_msg(redo_close(log, &err) == 0, "%s", err.msg);
}

START_TEST(whatever_a_crash_leaves)
{
	const char *text = getenv("PLYFS_REDO_STATES"), *seed_text = getenv("PLYFS_SEED");
	uint64_t target = text && *text ? strtoull(text, NULL, 10) : 5000,
		 seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;

	for (uint64_t k = 0; distinct < target; k++) {
		struct redo_disk d, before;
		struct run *r = malloc(sizeof(*r));
		struct model *m = malloc(sizeof(*m));

		redo_disk_init(&d);
		redo_disk_init(&before);
		ck_assert_int_eq(model_format(&d), 0);
		if (k % 2)
			grow(&d, m, seed * 1000003 + k);
		redo_disk_copy(&before, &d);
		run_begin(r, k % 2 ? m : NULL, seed * 1000003 + k);
		free(m);
		/* killed, and opened again without a power cut, now and then: what is in the page cache only is read */
		session(r, &d, 24, k % 3);
		session(r, &d, 16, k % 2);
		crash_all(&before, &d, r);
		run_done(r);
		free(r);
		redo_disk_done(&d);
		redo_disk_done(&before);
	}
	printf("# %llu states, %llu of them distinct; %llu sessions went on, and crashed %llu times; %llu checkpoints, "
	       "%llu of them cleaned; seed %llu\n",
	       (unsigned long long)states, (unsigned long long)distinct, (unsigned long long)went_on,
	       (unsigned long long)again, (unsigned long long)checkpoints, (unsigned long long)cleanings,
	       (unsigned long long)seed);
	fflush(stdout);
	ck_assert_uint_gt(cleanings, checkpoints / 16);
	ck_assert_uint_eq(between, checkpoints);
	ck_assert_uint_gt(longest_cut, 0);     /* of records whose data was torn */
	ck_assert_uint_gt(went_on, target / 200);
	map_done(&seen);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("redo-crash");

	tap_test(s, whatever_a_crash_leaves);
	return s;
}
TAP_MAIN(suite)
