/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scheduler: see sched.h.
 *
 * A token goes from thread to thread: a word of each that it waits for, by futex. Who has the token owns all that
 * is here. A thread that must wait does so here, never in the kernel: a mutex is tried, and who does not get it
 * cannot run until somebody unlocks it; a condition is waited for likewise, and a signal wakes all (POSIX allows
 * that); so is the end of a thread. So whoever has the token can go on, and where nobody can, that is a deadlock,
 * and told.
 *
 * The thread sanitizer must not learn from the token who runs after whom, or it would take every order for one that
 * the product has made: what is here is compiled without it, and the futex is a bare system call. It sees the product's
 * own locks and atomics, and finds what they do not order though only one thread runs at a time. (clang sees the
 * token's atomics all the same, and finds less.)
 *
 * Threads that were not started under it pass everywhere. They must share no lock with those that were.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"
#include "schedule/sched.h"

#define BARE    __attribute__((no_sanitize("thread"), noinline))
#define PLACE   ((uintptr_t)__builtin_return_address(0))
#define RECORDS 1024u              /* that are hashed at once */
#define FALLS   12u                /* of ranks, at most */

enum state { RUNS, WAITS, ENDED };

struct thread {
	atomic_uint token;         /* 1: it is its turn */
	enum state state;
	const void *on;            /* what it waits for */
	uint64_t place;            /* its last hook */
	uint32_t number, rank;
	bool joined;
	pthread_t id;
	void *(*fn)(void *arg);
	void *arg;
};

/* The token's. */
static struct {
	enum sched_way way;
	uint64_t seed, random;
	uint64_t falls[FALLS];     /* at which hooks, ascending */
	uint32_t nfalls, fallen, lowest;
	uint32_t n;
	struct thread threads[SCHED_THREADS];
	uint64_t hash, hooks, changes;
	uint32_t nrecords;
	uint64_t records[RECORDS];
} sched;

struct sched_seen sched_seen;
bool sched_without_excl;
static __thread struct thread *self;   /* NULL: not one of ours */

extern const char __executable_start;  /* the linker's */

BARE static uint64_t draw(void)
{
	uint64_t x = sched.random += 0x9e3779b97f4a7c15ULL;    /* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* --- what is counted ------------------------------------------------------------------- */

BARE static void count(const char *what, uint64_t place)
{
	size_t i = 0, p = place % SCHED_PLACES;

	while (i < SCHED_KINDS - 1 && sched_seen.kinds[i].what && strcmp(sched_seen.kinds[i].what, what) != 0)
		i++;
	sched_seen.kinds[i].what = what;
	sched_seen.kinds[i].hooks++;
	for (size_t k = 0; k < SCHED_PLACES && sched_seen.places[p] && sched_seen.places[p] != place; k++)
		p = (p + 1) % SCHED_PLACES;
	sched_seen.places[p] = place;
}

BARE static void hash_records(void)
{
	sched.hash = xxh3(sched.records, sched.nrecords * sizeof(*sched.records), sched.hash);
	sched.nrecords = 0;
}

BARE static void record(const char *what, uintptr_t place)
{
	uint64_t offset = place - (uintptr_t)&__executable_start;

	count(what, offset);
	self->place = offset;
	sched.hooks++;
	sched.records[sched.nrecords++] = (uint64_t)self->number << 48 | offset;
	if (sched.nrecords == RECORDS)
		hash_records();
}

/* --- who goes on ---------------------------------------------------------------------------- */

BARE static void fall(void)
{
	while (sched.fallen < sched.nfalls && sched.hooks >= sched.falls[sched.fallen]) {
		sched.fallen++;
		self->rank = sched.lowest--;
	}
}

BARE static struct thread *by_rank(void)
{
	struct thread *best = NULL;

	fall();
	for (uint32_t i = 0; i < sched.n; i++)
		if (sched.threads[i].state == RUNS && (!best || sched.threads[i].rank > best->rank))
			best = &sched.threads[i];
	return best;
}

BARE static struct thread *any(void)
{
	uint32_t can = 0;
	uint64_t which;

	for (uint32_t i = 0; i < sched.n; i++)
		can += sched.threads[i].state == RUNS;
	if (!can)
		return NULL;
	which = draw() % can;
	for (uint32_t i = 0;; i++)
		if (sched.threads[i].state == RUNS && !which--)
			return &sched.threads[i];
}

BARE static void deadlock(void)
{
	dprintf(STDERR_FILENO, "seed %" PRIu64 ": no thread can go on, each waits for another; they came from",
		sched.seed);
	for (uint32_t i = 0; i < sched.n; i++)
		if (sched.threads[i].state == WAITS)
			dprintf(STDERR_FILENO, " 0x%" PRIx64, sched.threads[i].place);
	dprintf(STDERR_FILENO, " (addr2line -fie PROGRAM ...)\n");
	_exit(3);
}

BARE static struct thread *choose(void)
{
	struct thread *next;

	if (sched.way == SCHED_RANKS)
		next = by_rank();
	else if (sched.way == SCHED_SELDOM && self->state == RUNS && draw() % 16)
		next = self;
	else
		next = any();
	if (!next)
		deadlock();
	sched.changes += next != self;
	return next;
}

BARE static void give(struct thread *to)
{
	atomic_store_explicit(&to->token, 1, memory_order_release);
	syscall(SYS_futex, &to->token, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

BARE static void await(void)
{
	while (!atomic_load_explicit(&self->token, memory_order_acquire))
		syscall(SYS_futex, &self->token, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	atomic_store_explicit(&self->token, 0, memory_order_relaxed);
}

BARE static void go_on(void)
{
	struct thread *next = choose();

	if (next == self)
		return;
	give(next);
	await();
}

/* A hook: another thread may run now. */
BARE static void pass(const char *what, uintptr_t place)
{
	int saved = errno;

	record(what, place);
	go_on();
	errno = saved;
}

/* Others run until wake(@on). */
BARE static void wait_for(const void *on)
{
	int saved = errno;

	self->state = WAITS;
	self->on = on;
	go_on();
	errno = saved;
}

BARE static void wake(const void *on)
{
	for (uint32_t i = 0; i < sched.n; i++)
		if (sched.threads[i].state == WAITS && sched.threads[i].on == on)
			sched.threads[i].state = RUNS;
}

/* --- a schedule --------------------------------------------------------------------------------- */

BARE static struct thread *add_thread(void)
{
	struct thread *t = &sched.threads[sched.n];

	if (sched.n == SCHED_THREADS)
		_exit(3);
	memset(t, 0, sizeof(*t));
	t->number = sched.n++;
	t->rank = (uint32_t)(draw() >> 33) | 1u << 31;       /* above all that have fallen */
	return t;
}

BARE void sched_begin(uint64_t seed, uint64_t expect)
{
	memset(&sched, 0, sizeof(sched));
	sched.way = seed % SCHED_WAYS;
	sched.seed = sched.random = seed;
	sched.lowest = 1u << 30;
	if (sched.way == SCHED_RANKS)
		sched.nfalls = 1 + (uint32_t)(draw() % FALLS);
	for (uint32_t i = 0; i < sched.nfalls; i++) {
		uint64_t at = draw() % MAX(expect, 1u);
		uint32_t k = i;

		for (; k && sched.falls[k - 1] > at; k--)
			sched.falls[k] = sched.falls[k - 1];
		sched.falls[k] = at;
	}
	self = add_thread();
}

BARE struct sched_result sched_end(void)
{
	hash_records();
	self = NULL;
	return (struct sched_result){ .hash = sched.hash, .hooks = sched.hooks, .changes = sched.changes,
				      .threads = sched.n };
}

/* --- hooks: handed over by atomics ----------------------------------------------------------------- */

#define REAL(type, name, params) \
	type __real_##name params; \
	type __wrap_##name params;

REAL(void, handover, (const char *what))
void __wrap_handover(const char *what)
{
	if (self)
		pass(what, PLACE);
}

/* --- hooks: threads ----------------------------------------------------------------------------------- */

REAL(int, pthread_create, (pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg))
REAL(int, pthread_join, (pthread_t t, void **ret))

BARE static void begin_thread(struct thread *t)
{
	self = t;
	await();
}

BARE static void end_thread(uintptr_t place)
{
	struct thread *t = self;

	record("end of a thread", place);
	t->state = ENDED;
	wake(t);
	give(choose());
	self = NULL;               /* what is freed at its end is its own */
}

static void *run_thread(void *arg)
{
	struct thread *t = arg;
	void *ret;

	begin_thread(t);
	ret = t->fn(t->arg);
	end_thread((uintptr_t)&run_thread);
	return ret;
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	struct thread *new;
	int r;

	if (!self)
		return __real_pthread_create(t, a, fn, arg);
	new = add_thread();
	new->fn = fn;
	new->arg = arg;
	r = __real_pthread_create(t, a, run_thread, new);
	new->id = r ? pthread_self() : *t;
	if (r) {
		new->state = ENDED;
		new->joined = true;
	}
	pass("start of a thread", PLACE);
	return r;
}

BARE static struct thread *find_thread(pthread_t id)
{
	for (uint32_t i = 1; i < sched.n; i++)
		if (!sched.threads[i].joined && pthread_equal(sched.threads[i].id, id))
			return &sched.threads[i];
	return NULL;
}

BARE static void await_end(struct thread *t)
{
	while (t->state != ENDED)
		wait_for(t);
	t->joined = true;
}

int __wrap_pthread_join(pthread_t id, void **ret)
{
	struct thread *t;

	if (self) {
		pass("join", PLACE);
		t = find_thread(id);
		if (t)
			await_end(t);
	}
	return __real_pthread_join(id, ret);
}

/* --- hooks: locks --------------------------------------------------------------------------------------- */

REAL(int, pthread_mutex_lock, (pthread_mutex_t *m))
REAL(int, pthread_mutex_unlock, (pthread_mutex_t *m))
REAL(int, pthread_cond_wait, (pthread_cond_t *c, pthread_mutex_t *m))
REAL(int, pthread_cond_signal, (pthread_cond_t *c))
REAL(int, pthread_cond_broadcast, (pthread_cond_t *c))

/* No hook between the two: a signal would be lost. */
BARE static void wait_for_signal(pthread_cond_t *c, uintptr_t place)
{
	record("wait", place);
	wait_for(c);
}

static int lock(pthread_mutex_t *m)
{
	int r;

	while ((r = pthread_mutex_trylock(m)) == EBUSY)
		wait_for(m);
	return r;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	if (!self)
		return __real_pthread_mutex_lock(m);
	pass("lock", PLACE);
	return lock(m);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
	int r = __real_pthread_mutex_unlock(m);

	if (self) {
		wake(m);
		pass("unlock", PLACE);
	}
	return r;
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	if (!self)
		return __real_pthread_cond_wait(c, m);
	__real_pthread_mutex_unlock(m);
	wake(m);
	wait_for_signal(c, PLACE);
	return lock(m);
}

int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
	int r = __real_pthread_cond_signal(c);

	if (self) {
		wake(c);
		pass("signal", PLACE);
	}
	return r;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
	int r = __real_pthread_cond_broadcast(c);

	if (self) {
		wake(c);
		pass("signal", PLACE);
	}
	return r;
}

/* --- hooks: names that appear ------------------------------------------------------------------------------ */

#define MAKES_NAME(name, what, params, args) \
	REAL(int, name, params) \
	int __wrap_##name params \
	{ \
		if (self) \
			pass(what, PLACE); \
		return __real_##name args; \
	}
MAKES_NAME(mkdirat, "mkdir", (int d, const char *n, mode_t m), (d, n, m))
MAKES_NAME(symlinkat, "symlink", (const char *t, int d, const char *n), (t, d, n))
MAKES_NAME(linkat, "link", (int d, const char *n, int e, const char *o, int f), (d, n, e, o, f))
MAKES_NAME(mknodat, "mknod", (int d, const char *n, mode_t m, dev_t v), (d, n, m, v))
MAKES_NAME(renameat2, "rename", (int d, const char *n, int e, const char *o, unsigned f), (d, n, e, o, f))

int __real_openat64(int d, const char *n, int f, mode_t m);
int __wrap_openat64(int d, const char *n, int f, ...);
int __wrap_openat64(int d, const char *n, int f, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, f);
	if (f & (O_CREAT | __O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	if (self && f & O_CREAT)
		pass("create", PLACE);
	if (self && sched_without_excl)
		f &= ~O_EXCL;
	return __real_openat64(d, n, f, mode);
}
