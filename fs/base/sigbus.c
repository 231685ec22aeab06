/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SIGBUS into zeros: see sigbus.h.
 *
 * The handler runs on the faulting thread and does what is allowed there: it
 * reads a fixed table of ranges (atomics) and calls mmap(2) with MAP_FIXED for
 * the one page; where that fails, for the whole range (one page splits a mapping, and their number is
 * limited; the whole range does not). Slots are claimed by compare-and-swap on `start`; `len` is
 * published before it, so that the handler never sees half a range.
 *
 * Another thread may read the zero page before the fault that brought it is counted. So
 * handlers at work are counted, too, in the same word, and who asks for the number of
 * faults waits for them: what was read before cannot be zeros that are counted later.
 */
#include "base/sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 4096

static struct {
	_Atomic uintptr_t start;   /* 0: free, 1: being claimed */
	_Atomic size_t len;
	_Atomic unsigned hits;
} table[SLOTS];

#define FAULT  ((uint64_t)1 << 32)
#define AT_WORK(count) ((uint32_t)(count))

static _Atomic uint64_t count;     /* faults; below FAULT: handlers at work */
static _Atomic int used_to;        /* slots at and above were never used */
static size_t page;                /* immutable after install */

static bool put_zeros(uintptr_t addr, size_t len)
{
	void *p = (void *)addr;

	return mmap(p, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p;
}

static void on_sigbus(int sig, siginfo_t *si, void *ctx)
{
	uintptr_t addr = (uintptr_t)si->si_addr;
	int saved = errno, n = atomic_load(&used_to);

	(void)ctx;
	for (int i = 0; i < n; i++) {
		uintptr_t start = atomic_load(&table[i].start);

		if (start > 1 && addr >= start && addr - start < atomic_load(&table[i].len)) {
			uintptr_t first = start & ~(uintptr_t)(page - 1);

			atomic_fetch_add(&count, 1);
			if (put_zeros(addr & ~(uintptr_t)(page - 1), page) ||
			    put_zeros(first, start + atomic_load(&table[i].len) - first)) {
				atomic_fetch_add(&table[i].hits, 1);
				atomic_fetch_add(&count, FAULT - 1);
				errno = saved;
				return;
			}
			atomic_fetch_sub(&count, 1);
			break;
		}
	}
	signal(sig, SIG_DFL);      /* not ours: the fault is taken again and kills */
	errno = saved;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int install_result;

static void install(void)
{
	struct sigaction sa;

	page = (size_t)sysconf(_SC_PAGESIZE);
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_sigbus;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
	install_result = sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}

int sigbus_install(void)
{
	pthread_once(&once, install);
	return install_result;
}

int sigbus_guard(const void *addr, size_t len)
{
	for (int i = 0; i < SLOTS; i++) {
		uintptr_t none = 0;

		if (!atomic_compare_exchange_strong(&table[i].start, &none, 1))
			continue;
		atomic_store(&table[i].len, len);
		atomic_store(&table[i].hits, 0);
		for (int n = atomic_load(&used_to);
		     n <= i && !atomic_compare_exchange_weak(&used_to, &n, i + 1);)
			;
		atomic_store(&table[i].start, (uintptr_t)addr);
		return i;
	}
	return -ENOSPC;
}

void sigbus_release(int slot)
{
	if (slot >= 0)
		atomic_store(&table[slot].start, 0);
}

unsigned sigbus_faults(void)
{
	uint64_t is;

	while (AT_WORK(is = atomic_load_explicit(&count, memory_order_acquire)))
		sched_yield();   /* for one mmap(2) of another thread */
	return (unsigned)(is / FAULT);
}

unsigned sigbus_hit(int slot)
{
	return slot >= 0 ? atomic_load(&table[slot].hits) : 0;
}
