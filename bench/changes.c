/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * changes VERB...: one change of a file system, timed without the start of a program. As JSON: seconds, and how many
 * there were.
 *
 *   append FILE                      open, one byte at the end, close
 *   chmod FILE                       to 0640
 *   rename FROM TO                   rename(2); where that is another file system's affair (EXDEV), as mv(1) does it
 *   overwrite DIR THREADS SECONDS    each thread, in a file of its own of 16 MiB: 4 KiB anywhere, fsync
 *   create DIR THREADS SECONDS       each thread: a file, 100 bytes, fsync, close
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES  (16u << 20)
#define BLOCK       4096u
#define MAX_THREADS 64

static const char *top;
static double seconds;
static atomic_ulong done;
static pthread_barrier_t begin;

static void die(const char *what)
{
	fprintf(stderr, "changes: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	if (fd < 0 || write(fd, "x", 1) != 1 || close(fd) < 0)
		die(path);
}

static void move(const char *from, const char *to)
{
	pid_t pid;
	int status;

	if (rename(from, to) == 0)
		return;
	if (errno != EXDEV)
		die(from);
	pid = fork();
	if (pid == 0) {
		execlp("mv", "mv", from, to, NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		die("mv");
}

static void *overwrite(void *arg)
{
	unsigned long n = 0, seed = (unsigned long)arg + 1;
	char path[4096], block[BLOCK];
	double end;
	int fd;

	snprintf(path, sizeof(path), "%s/overwrite-%lu", top, (unsigned long)arg);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	memset(block, 'x', sizeof(block));
	for (unsigned at = 0; fd >= 0 && at < FILE_BYTES; at += BLOCK)
		if (write(fd, block, BLOCK) != BLOCK)
			die(path);
	if (fd < 0 || fsync(fd) < 0)
		die(path);
	pthread_barrier_wait(&begin);
	for (end = now() + seconds; now() < end; n++) {
		seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		memcpy(block, &seed, sizeof(seed));
		if (pwrite(fd, block, BLOCK, (off_t)((seed >> 33) % (FILE_BYTES / BLOCK) * BLOCK)) != BLOCK || fsync(fd) < 0)
			die(path);
	}
	atomic_fetch_add(&done, n);
	close(fd);
	return NULL;
}

static void *create(void *arg)
{
	char path[4096], text[100] = "x";
	unsigned long n = 0;
	double end;

	pthread_barrier_wait(&begin);
	for (end = now() + seconds; now() < end; n++) {
		int fd;

		snprintf(path, sizeof(path), "%s/create-%lu-%lu", top, (unsigned long)arg, n);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0 || write(fd, text, sizeof(text)) != sizeof(text) || fsync(fd) < 0 || close(fd) < 0)
			die(path);
	}
	atomic_fetch_add(&done, n);
	return NULL;
}

/* Returns the seconds in which all was done. */
static double many(void *(*fn)(void *), unsigned long threads)
{
	pthread_t v[MAX_THREADS];
	double t0;

	pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
	for (unsigned long i = 0; i < threads; i++)
		if (pthread_create(&v[i], NULL, fn, (void *)i))
			die("threads");
	pthread_barrier_wait(&begin);
	t0 = now();
	for (unsigned long i = 0; i < threads; i++)
		pthread_join(v[i], NULL);
	return now() - t0;
}

static int usage(void)
{
	fprintf(stderr, "usage: changes append FILE | chmod FILE | rename FROM TO | overwrite|create DIR THREADS SECONDS\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";
	unsigned long threads = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
	double t0 = now(), took;

	if (argc == 3 && !strcmp(verb, "append")) {
		append(argv[2]);
		took = now() - t0;
	} else if (argc == 3 && !strcmp(verb, "chmod")) {
		if (chmod(argv[2], 0640) < 0)
			die(argv[2]);
		took = now() - t0;
	} else if (argc == 4 && !strcmp(verb, "rename")) {
		move(argv[2], argv[3]);
		took = now() - t0;
	} else if (threads && threads <= MAX_THREADS && (!strcmp(verb, "overwrite") || !strcmp(verb, "create"))) {
		top = argv[2];
		seconds = strtod(argv[4], NULL);
		took = many(*verb == 'o' ? overwrite : create, threads);
	} else {
		return usage();
	}
	printf("{\"wall_s\": %.9f, \"done\": %lu}\n", took, threads ? atomic_load(&done) : 1);
	return 0;
}
