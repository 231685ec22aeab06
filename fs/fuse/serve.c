/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads of the daemon.
 *
 * A loop of our own instead of fuse_session_loop_mt(): the number of threads is fixed,
 * INIT is answered before anybody hears that the mount is there, and the end is in our
 * hands: the threads are woken by a signal until they have seen `stopping`, so none is
 * cancelled in the middle of a request.
 *
 * Requests are read by a hook, which sees each one raw: that is where they are
 * counted, also those that libfuse does not know. Those of writable mounts go through raw.c.
 *
 * Whoever walks a tree asks for one thing after the other, and waking a thread on another processor costs more than
 * most answers. With two processors hold.c takes care of that. With more of them one thread looks for the next request
 * for some microseconds before it goes to sleep, as long as that succeeds now and then (measured: a cold find in 0.125 s
 * instead of 0.175 s).
 *
 * Locking: none. `stopping`, the counts and the looking are atomics, the rest is immutable
 * while threads run.
 */
#include "serve.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "ahead.h"
#include "base/pool.h"
#include "base/util.h"
#include "hold.h"
#include "log.h"
#include "ops.h"
#include "raw.h"
#include "rw.h"

#define WAKE SIGUSR1
#define LOOK_NS    50000           /* a request that comes at all comes so soon */
#define LOOK_MISSES 8u             /* in a row: then only */
#define LOOK_AGAIN 32u             /* one time in so many */
#define DRAIN_PAUSE_NS 1000000
#define DRAIN_QUIET 3u             /* in a row: nothing comes any more */
#define DRAIN_TRIES 5000u          /* who goes on using a mount that is gone does not keep it */

struct serve {
	struct fuse_session *session;
	struct tree *tree;         /* borrowed */
	pthread_t *threads;
	unsigned nthreads;
	int ended_fd;
	atomic_bool stopping;
};

/* One daemon serves one mount. */
static _Atomic uint64_t counts[OPCODE_MAX], read_bytes, write_bytes;
static _Atomic unsigned busy;      /* threads that have a request in hand */
static _Thread_local bool has_request;

static struct hold *_Atomic holder;
static struct {
	bool on;                   /* there are more than two processors; immutable while threads run */
	atomic_flag taken;
	_Atomic unsigned misses;
} look = { .taken = ATOMIC_FLAG_INIT };

/* Wait for the next request without sleeping, but not long. */
static void look_for_request(int fd)
{
	unsigned misses = atomic_load_explicit(&look.misses, memory_order_relaxed);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t until;
	bool found;

	if (!look.on || atomic_flag_test_and_set_explicit(&look.taken, memory_order_acquire))
		return;
	if (misses < LOOK_MISSES || misses % LOOK_AGAIN == 0) {
		until = clock_ns() + LOOK_NS;
		do
			found = poll(&p, 1, 0) != 0;
		while (!found && clock_ns() < until);
		atomic_store_explicit(&look.misses, found ? 0 : misses + 1, memory_order_relaxed);
	} else {
		atomic_store_explicit(&look.misses, misses + 1, memory_order_relaxed);
	}
	atomic_flag_clear_explicit(&look.taken, memory_order_release);
}

/* A request begins with its length and its opcode; READ and WRITE have their size at the same place. */
static void count(const char *request, size_t len)
{
	uint32_t opcode, size;

	if (len < 8)
		return;
	memcpy(&opcode, request + 4, sizeof(opcode));
	atomic_fetch_add_explicit(&counts[opcode < OPCODE_MAX ? opcode : 0], 1, memory_order_relaxed);
	if ((opcode != FUSE_READ && opcode != FUSE_WRITE) ||
	    len < sizeof(struct fuse_in_header) + sizeof(struct fuse_read_in))
		return;
	memcpy(&size, request + sizeof(struct fuse_in_header) + offsetof(struct fuse_read_in, size), sizeof(size));
	atomic_fetch_add_explicit(opcode == FUSE_READ ? &read_bytes : &write_bytes, size, memory_order_relaxed);
}

static ssize_t read_request(int fd, void *buf, size_t len)
{
	ssize_t n;

	if (has_request)
		atomic_fetch_sub(&busy, 1);
	look_for_request(fd);
	n = read(fd, buf, len);
	has_request = n > 0;
	if (has_request) {
		hold_request(atomic_load_explicit(&holder, memory_order_acquire));
		atomic_fetch_add(&busy, 1);
		count(buf, (size_t)n);
	}
	return n;
}

static ssize_t hook_read(int fd, void *buf, size_t len, void *userdata)
{
	struct tree *tree = userdata;
	ssize_t n, rest;

	do {
		n = read_request(fd, buf, len);
		rest = n > 0 ? (ssize_t)raw_request(fd, buf, (size_t)n, tree->rw ? &rw_answers : NULL, tree) : n;
	} while (n > 0 && !rest);
	return rest;
}

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	if (((const struct tree *)userdata)->rw)
		raw_reply(iov, count);
	return writev(fd, iov, count);
}

void serve_counts(const struct serve *s, uint64_t ret[OPCODE_MAX])
{
	(void)s;
	for (size_t i = 0; i < OPCODE_MAX; i++)
		ret[i] = atomic_load_explicit(&counts[i], memory_order_relaxed);
}

void serve_bytes(const struct serve *s, uint64_t *ret_read, uint64_t *ret_write)
{
	(void)s;
	*ret_read = atomic_load_explicit(&read_bytes, memory_order_relaxed);
	*ret_write = atomic_load_explicit(&write_bytes, memory_order_relaxed);
}

static void libfuse_says(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void libfuse_says(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];

	if (level > FUSE_LOG_ERR)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_error("libfuse: %s", text);
}

/* One request. 1: answered; 0: unmounted; negative errno. */
static int one_request(struct serve *s, struct fuse_buf *buf)
{
	int r = fuse_session_receive_buf(s->session, buf);

	if (r <= 0)
		return r;
	fuse_session_process_buf(s->session, buf);
	return fuse_session_exited(s->session) ? 0 : 1;
}

static int first_request(struct serve *s, struct ply_err *err)
{
	struct fuse_buf buf = { .mem = NULL };
	int r = 1;

	while (!s->tree->is_initialised && r > 0) {
		r = one_request(s, &buf);
		if (r == -EINTR || r == -EAGAIN)
			r = 1;
	}
	free(buf.mem);
	/* this thread reads no further one, which is where the end of the last would be seen */
	if (has_request)
		atomic_fetch_sub(&busy, 1);
	has_request = false;
	if (s->tree->is_initialised && r > 0)
		return 0;
	return ply_fail(err, r ? r : -ENODEV, PLY_R_MOUNT_FAILED,
			"the kernel and the daemon could not agree: %s",
			r ? strerror(-r) : "unmounted at once");
}

int serve_new(int fd, struct tree *tree, struct serve **ret, struct ply_err *err)
{
	static char name[] = "plyfs-fuse";
	static const struct fuse_custom_io io = { .read = hook_read, .writev = hook_writev };
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct serve *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (!s) {
		close(fd);
		return ply_fail_nomem(err);
	}
	s->tree = tree;
	fuse_set_log_func(libfuse_says);
	s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->session = fuse_session_new(&args, tree->rw ? &rw_ops : &tree_ops, sizeof(tree_ops), tree);
	fuse_opt_free_args(&args);
	if (s->session)
		r = fuse_session_custom_io(s->session, &io, fd);
	if (r < 0)
		close(fd);
	if (r < 0 || s->ended_fd < 0)
		r = ply_fail(err, -ENOMEM, PLY_R_MOUNT_FAILED, "libfuse gives no session");
	else
		r = first_request(s, err);
	if (r < 0) {
		serve_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

static void *thread_main(void *arg)
{
	struct serve *s = arg;
	struct fuse_buf buf = { .mem = NULL };
	const struct timespec pause = { .tv_nsec = 10000000 };
	uint64_t one = 1;
	bool failed = false;

	while ((!atomic_load(&s->stopping) && !failed) || ahead_is_busy(s->tree->ahead)) {
		int r = one_request(s, &buf);

		if (r > 0 || r == -EINTR || r == -EAGAIN)
			continue;
		if (r == 0)
			break;
		if (!failed)
			log_error("cannot read requests: %s", strerror(-r));
		failed = true;
		ahead_stop(s->tree->ahead);
		nanosleep(&pause, NULL);   /* it may be needed until no other thread is storing */
	}
	free(buf.mem);
	tree_thread_done();
	if (write(s->ended_fd, &one, sizeof(one)) < 0)
		log_error("cannot tell that a thread ended: %s", strerror(errno));
	return NULL;
}

static void on_wake(int sig)
{
	(void)sig;
}

int serve_start(struct serve *s, unsigned nthreads, struct ply_err *err)
{
	struct sigaction sa = { .sa_handler = on_wake };   /* no SA_RESTART: read() returns */
	struct hold *hold;

	sigaction(WAKE, &sa, NULL);
	look.on = ncpus() > 2;
	if (nthreads > 1 && !s->tree->rw)
		s->tree->ahead = ahead_new(s->session, s->tree->view);
	s->threads = calloc(nthreads, sizeof(*s->threads));
	if (!s->threads)
		return ply_fail_nomem(err);
	for (; s->nthreads < nthreads; s->nthreads++) {
		int r = pthread_create(&s->threads[s->nthreads], NULL, thread_main, s);

		if (r)
			return ply_fail_sys(err, -r, "cannot start thread %u of %u",
					    s->nthreads + 1, nthreads);
	}
	if (hold_new(s->threads, s->nthreads, &hold, err) < 0)
		return err->code;
	atomic_store(&holder, hold);
	ahead_start(s->tree->ahead);
	return s->tree->rw ? rw_start(s->tree->rw, s->session, err) : 0;
}

int serve_ended_fd(const struct serve *s)
{
	return s->ended_fd;
}

bool serve_is_connected(const struct serve *s)
{
	struct pollfd p = { .fd = fuse_session_fd(s->session) };

	return poll(&p, 1, 0) == 0;   /* else POLLERR */
}

void serve_drain(const struct serve *s)
{
	const struct timespec pause = { .tv_nsec = DRAIN_PAUSE_NS };
	unsigned quiet = 0;

	/* between a read() and its count a request is in nobody's hand: so it is looked more than once */
	for (unsigned i = 0; i < DRAIN_TRIES && quiet < DRAIN_QUIET; i++) {
		struct pollfd p = { .fd = fuse_session_fd(s->session), .events = POLLIN };

		quiet = poll(&p, 1, 0) == 0 && !atomic_load(&busy) ? quiet + 1 : 0;
		if (p.revents & POLLERR)
			return;
		nanosleep(&pause, NULL);
	}
}

/* Signals until it is gone: one may come just before the thread goes to sleep in read(). */
static void end_thread(pthread_t thread)
{
	int r;

	do {
		struct timespec until;

		pthread_kill(thread, WAKE);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 20000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		r = pthread_timedjoin_np(thread, NULL, &until);
	} while (r == ETIMEDOUT || r == EINTR);
}

struct serve *serve_free(struct serve *s)
{
	if (!s)
		return NULL;
	ahead_stop(s->tree->ahead);   /* before the first thread can leave */
	rw_stop(s->tree->rw);
	hold_stop(atomic_load(&holder));
	atomic_store(&s->stopping, true);
	for (unsigned i = 0; i < s->nthreads; i++)
		end_thread(s->threads[i]);
	atomic_store(&holder, hold_free(atomic_load(&holder)));
	free(s->threads);
	s->tree->ahead = ahead_free(s->tree->ahead);
	if (s->session)
		fuse_session_destroy(s->session);
	if (s->ended_fd >= 0)
		close(s->ended_fd);
	free(s);
	return NULL;
}
