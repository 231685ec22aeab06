/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of changes, applied to a directory and taken back. Whatever stops it (a kill before any call that changes
 * something, an error of any), whatever another process does at any moment: going on leads to the same end, taking
 * back to how it was, times of directories too, and nothing of the other process is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "changes_world.h"
#include "tap.h"

static struct ply_err err;

/* --- calls that change something --------------------------------------------------------------- */

static long calls_left = -1;       /* -1: no end */
static int call_errno;             /* of the call at the end; 0: SIGKILL */
/* before each rename, if it is not NULL; true: and kill us after it, if so wanted */
static bool (*meddle)(int from_dir, const char *from, int to_dir, const char *to);
static bool kill_after_meddling;
static useconds_t pause_us;        /* before a rename, for others to come in between */

static bool call_fails(void)
{
	if (calls_left < 0 || calls_left--)
		return false;
	if (!call_errno)
		raise(SIGKILL);
	errno = call_errno;
	return true;
}

#define WRAP(wrap, real, params, args) \
	int real params; \
	int wrap params; \
	int wrap params \
	{ \
		return call_fails() ? -1 : real args; \
	}

WRAP(__wrap_mkdirat, __real_mkdirat, (int d, const char *n, mode_t m), (d, n, m))
WRAP(__wrap_unlinkat, __real_unlinkat, (int d, const char *n, int f), (d, n, f))
WRAP(__wrap_chmod, __real_chmod, (const char *n, mode_t m), (n, m))
WRAP(__wrap_utimensat, __real_utimensat, (int d, const char *n, const struct timespec *t, int f), (d, n, t, f))
WRAP(__wrap_fchownat, __real_fchownat, (int d, const char *n, uid_t u, gid_t g, int f), (d, n, u, g, f))

int __real_renameat2(int d, const char *n, int e, const char *o, unsigned f);
int __wrap_renameat2(int d, const char *n, int e, const char *o, unsigned f);
int __wrap_renameat2(int d, const char *n, int e, const char *o, unsigned f)
{
	bool meddled;
	int r;

	if (call_fails())
		return -1;
	ck_assert(f == RENAME_NOREPLACE || f == RENAME_EXCHANGE);  /* nothing is overwritten */
	meddled = meddle && meddle(d, n, e, o);
	if (pause_us)
		usleep(pause_us);
	r = __real_renameat2(d, n, e, o, f);
	if (meddled && kill_after_meddling)
		raise(SIGKILL);
	return r;
}

/* Of a world that nobody has touched: as it is made, and when the table is applied. */
static char *states[2];

static void work_out_states(void)
{
	struct world w;

	world_new(&w);
	states[0] = world_state(&w);
	ck_assert_msg(changes_apply(&w.a, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(w.told, "");
	states[1] = world_state(&w);
	world_done(&w);
}

static void must_be(struct world *w, int which, const char *what, long k)
{
	char *is = world_state(w);

	ck_assert_str_eq(w->told, "");
	ck_assert_msg(!strcmp(is, states[which]), "%s %ld:\n%s\nshall be\n%s", what, k, is, states[which]);
	free(is);
}

static int run(struct world *w, bool back)
{
	*w->told = '\0';
	return back ? changes_revert(&w->a, &err) : changes_apply(&w->a, &err);
}

static void must_run(struct world *w, bool back)
{
	int r = run(w, back);

	ck_assert_msg(r == 0, "%s", err.msg);
}

/* In a child that is killed at its call @k; false: it had fewer, and ended. */
static bool killed_at(struct world *w, bool back, long k)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		calls_left = k;
		_exit(run(w, back) < 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		ck_assert_int_eq(WTERMSIG(status), SIGKILL);
		return true;
	}
	ck_assert_int_eq(status, 0);
	return false;
}

/* --- nobody else is there ---------------------------------------------------------------------------- */

START_TEST(each_row_is_applied_and_taken_back)
{
	struct world w;

	work_out_states();
	world_new(&w);
	must_run(&w, false);
	ck_assert_uint_eq(w.a.nmade, 4);   /* etc/hard, etc/new, etc/new.link, opt/new with all in it */
	ck_assert_uint_eq(w.a.nswapped, 2);
	ck_assert_uint_eq(w.a.nout, 8);
	ck_assert_uint_eq(w.a.nmeta, 2);
	ck_assert_uint_eq(w.a.at, WORLD_ROWS);
	for (size_t i = 0; i < w.c.n; i++)
		ck_assert_msg(change_is(w.target, w.c.v[i].path, &w.c.v[i].after) == 1, "%s", w.c.v[i].path);
	ck_assert(world_holds(&w, "etc/passwd", "root\nweb\n") && world_holds(&w, "etc/other", "other"));
	must_be(&w, 1, "applied", 0);
	must_run(&w, false);
	ck_assert_uint_eq(w.a.nmade + w.a.nswapped + w.a.nout + w.a.nmeta, 0);
	must_be(&w, 1, "applied twice", 0);
	must_run(&w, true);
	must_be(&w, 0, "taken back", 0);
	must_run(&w, true);
	ck_assert_uint_eq(w.a.nmade + w.a.nswapped + w.a.nout + w.a.nmeta, 0);
	must_be(&w, 0, "taken back twice", 0);
	world_done(&w);
}
END_TEST

START_TEST(killed_at_each_call)
{
	struct world w;
	bool more = true;
	long k;

	work_out_states();
	for (k = 0; more; k++) {
		world_new(&w);
		more = killed_at(&w, false, k);
		must_run(&w, false);
		must_be(&w, 1, "applied, killed at", k);
		world_done(&w);
	}
	printf("# %ld calls\n", k - 1);
	ck_assert_int_gt(k, 20);
}
END_TEST

/* Killed as it is applied (or not at all: the last k), and killed as it is taken back: then at each call, else at a
 * third of them. */
START_TEST(killed_there_and_back)
{
	struct world w;
	bool more = true;

	work_out_states();
	for (long k = 0; more; k++) {
		bool more_back = true;

		for (long j = k % 3; more_back; j += more ? 3 : 1) {
			world_new(&w);
			more = killed_at(&w, false, k);
			more_back = killed_at(&w, true, j);
			must_run(&w, true);
			must_be(&w, 0, "taken back, killed at", 1000 * k + j);
			world_done(&w);
		}
	}
}
END_TEST

/* Of those that name a path in what they say. */
START_TEST(an_error_at_each_call)
{
	static const int codes[] = { EIO, ENOSPC, EXDEV };
	struct world w;
	bool more = true;

	work_out_states();
	for (long k = 0; more; k++) {
		more = false;
		for (int back = 0; back < 2; back++) {
			int code = codes[k % 3];
			bool failed;

			world_new(&w);
			if (back)
				must_run(&w, false);
			calls_left = k;
			call_errno = code;
			failed = run(&w, back) < 0;
			calls_left = -1;
			more |= failed;
			if (failed) {
				ck_assert_int_eq(err.code, -code);
				ck_assert_int_eq(err.reason, code == ENOSPC ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE);
				ck_assert_msg(*err.msg == '/', "%s", err.msg);
			}
			must_run(&w, back);
			must_be(&w, !back, "went on after an error at", k);
			world_done(&w);
		}
	}
}
END_TEST

/* What the system does not let move is an error when it is to be applied, and left when it is to be taken back. */
START_TEST(what_cannot_be_moved)
{
	struct world w;
	bool more = true;

	work_out_states();
	for (long k = 4; more; k++) {          /* behind the directories of its own */
		world_new(&w);
		calls_left = k;
		call_errno = EPERM;
		more = run(&w, false) < 0;
		calls_left = -1;
		must_run(&w, false);
		must_be(&w, 1, "went on after EPERM at", k);
		calls_left = k;
		if (run(&w, true) < 0)
			ck_assert_ptr_nonnull(strstr(err.msg, "set the time of"));
		else
			ck_assert_int_eq(w.a.nleft > 0, calls_left < 0);
		calls_left = -1;
		must_run(&w, true);
		must_be(&w, 0, "taken back after EPERM at", k);
		world_done(&w);
	}
}
END_TEST

START_TEST(it_can_be_cancelled)
{
	atomic_bool cancel = true;
	struct world w;

	work_out_states();
	world_new(&w);
	w.a.cancel = &cancel;
	for (int back = 0; back < 2; back++) {
		ck_assert_int_eq(run(&w, back), -ECANCELED);
		ck_assert_int_eq(err.reason, PLY_R_CANCELLED);
		must_be(&w, 0, "cancelled", back);
	}
	world_done(&w);
}
END_TEST

/* --- another process is at work ------------------------------------------------------------------------ */

static void replace(struct world *w, const char *path)
{
	world_file(w->target, "var/foreign", "foreign");
	ck_assert_msg(renameat(w->target, "var/foreign", w->target, path) == 0, "%s: %s", path, strerror(errno));
}

/* Another file at each path that is none, before it is applied, or before it is taken back. */
START_TEST(files_of_others_stay)
{
	for (size_t i = 0; i < WORLD_ROWS; i++)
		for (int back = 0; back < 2; back++) {
			const char *path = world_rows[i].path;
			char line[256];
			struct world w;

			world_new(&w);
			if (back)
				must_run(&w, false);
			if (world_rows[i].kind == CHANGE_KEEP || !strcmp(path, "data") || !strcmp(path, "opt/new") ||
			    !strcmp(path, "opt/new/d") || !strcmp(path, "opt/goes") || !strcmp(path, "opt/goes/sub") ||
			    (!back && !strncmp(path, "opt/new/", 8)) || (back && !strncmp(path, "opt/goes/", 9))) {
				world_done(&w);
				continue;
			}
			replace(&w, path);
			must_run(&w, back);
			ck_assert_msg(world_holds(&w, path, "foreign"), "%s", path);
			snprintf(line, sizeof(line), "%s: ", path);
			ck_assert_msg(!strncmp(w.told, line, strlen(line)) && w.a.nleft == 1, "%s: %s", path, w.told);
			ck_assert_uint_eq(w.a.nstranded, back && (world_rows[i].kind == CHANGE_OUT ||
								  world_rows[i].kind == CHANGE_SWAP));
			must_run(&w, true);
			ck_assert_msg(world_holds(&w, path, "foreign"), "%s", path);
			world_done(&w);
		}
}
END_TEST

/* --- times of directories ------------------------------------------------------------------------- */

static bool has_planned_time(const struct world *w, const char *path)
{
	struct stat st;

	ck_assert_int_eq(fstatat(w->target, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	for (size_t i = 0; i < w->c.ndirs; i++)
		if (!strcmp(w->c.dirs[i].path, path))
			return w->c.dirs[i].mtime_sec == st.st_mtim.tv_sec && w->c.dirs[i].mtime_nsec == st.st_mtim.tv_nsec;
	ck_abort_msg("%s has no time in the table", path);
}

/* "etc" has the time of somebody's change, all else its own. */
static void must_be_seen(struct world *w, const char *what)
{
	ck_assert_msg(!has_planned_time(w, "etc"), "%s", what);
	ck_assert_msg(has_planned_time(w, "opt"), "%s", what);
}

static void put_in_the_way(struct world *w, const char *dir, const char *path)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;

	ck_assert_int_eq(fstatat(w->target, dir, &st, 0), 0);
	world_file(w->target, path, "in the way");
	times[1] = st.st_mtim;
	ck_assert_int_eq(utimensat(w->target, dir, times, 0), 0);
}

static void make_a_name(void *ctx, const char *path, const char *why)
{
	struct world *w = ctx;

	(void)path, (void)why;
	world_file(w->target, "etc/meanwhile", "foreign");
}

static bool make_a_name_later(int from_dir, const char *from, int to_dir, const char *to)
{
	(void)from_dir, (void)from;
	if (!strcmp(to, "new") && faccessat(to_dir, "../opt/goes", F_OK, 0) == 0 && faccessat(to_dir, "goes", F_OK, 0) == 0)
		world_file(to_dir, "../etc/later", "foreign");
	return false;
}

START_TEST(a_directory_that_others_change_keeps_their_time)
{
	struct world w;

	for (int back = 0; back < 2; back++) {
		/* before it begins */
		world_new(&w);
		w.a.first = true;
		if (back)
			must_run(&w, false);
		world_file(w.target, "etc/foreign", "foreign");
		must_run(&w, back);
		must_be_seen(&w, "before");
		world_done(&w);
	}
	/* between two moves there, when a row is left: what is in its way is from before */
	world_new(&w);
	w.a.first = true;
	w.a.ctx = &w;
	w.a.left = make_a_name;
	put_in_the_way(&w, "etc", "etc/hard");
	must_run(&w, false);
	ck_assert(world_holds(&w, "etc/meanwhile", "foreign"));
	must_be_seen(&w, "meanwhile");
	world_done(&w);
	/* after the last one there */
	world_new(&w);
	w.a.first = true;
	meddle = make_a_name_later;
	must_run(&w, false);
	meddle = NULL;
	ck_assert(world_holds(&w, "etc/later", "foreign"));
	must_be_seen(&w, "later");
	world_done(&w);
	/* and nobody did anything: the time is put back even where a row is left */
	world_new(&w);
	w.a.first = true;
	put_in_the_way(&w, "etc", "etc/hard");
	must_run(&w, false);
	ck_assert_uint_eq(w.a.nleft, 1);
	ck_assert(has_planned_time(&w, "etc"));
	world_done(&w);
}
END_TEST

/* Killed, and changed by others some time after that: gone on with, and taken back. */
START_TEST(what_others_change_after_a_kill_is_seen)
{
	const struct timespec later[2] = { { .tv_nsec = UTIME_OMIT }, { time(NULL) + 100, 5 } };

	for (int back = 0; back < 2; back++) {
		struct world w;

		world_new(&w);
		ck_assert(killed_at(&w, false, 6));
		ck_assert_int_eq(utimensat(w.target, "etc", later, 0), 0);
		must_run(&w, back);
		must_be_seen(&w, back ? "taken back" : "gone on with");
		world_done(&w);
	}
}
END_TEST

/* What is missing is not an error, and does not come back. */
/* But what an abort puts back. */
START_TEST(what_others_remove_stays_away)
{
	for (size_t i = 0; i < WORLD_ROWS; i++)
		for (int back = 0; back < 2; back++) {
			const char *path = world_rows[i].path;
			struct world w;

			world_new(&w);
			if (back)
				must_run(&w, false);
			if (!world_has(&w, path) || unlinkat(w.target, path, 0) < 0) {
				world_done(&w);
				continue;
			}
			must_run(&w, back);
			/* what had been there before it was exchanged has its place again: nobody else has it */
			if (back && world_rows[i].kind == CHANGE_SWAP) {
				ck_assert_msg(world_has(&w, path), "%s", path);
				ck_assert_uint_eq(w.a.nleft + w.a.nstranded, 0);
				world_done(&w);
				continue;
			}
			ck_assert_msg(!world_has(&w, path), "%s", path);
			if (world_rows[i].kind == CHANGE_SWAP || world_rows[i].kind == CHANGE_META)
				ck_assert_uint_eq(w.a.nleft, 1);
			else
				ck_assert_str_eq(w.told, "");
			world_done(&w);
		}
}
END_TEST

/* Another process has put it back, or done the same, already. */
START_TEST(the_same_of_others_will_do)
{
	struct world w;
	char *is;

	work_out_states();
	world_new(&w);
	must_run(&w, false);
	for (size_t i = 0; i < w.c.n; i++)
		if (w.c.v[i].kind == CHANGE_OUT && S_ISREG(w.c.v[i].before.mode) && !strchr(w.c.v[i].path + 4, '/')) {
			char old[32];

			snprintf(old, sizeof(old), "old/%u", w.c.v[i].n);
			ck_assert_int_eq(linkat(w.update, old, w.target, w.c.v[i].path, 0), 0);
		}
	must_run(&w, true);
	ck_assert_str_eq(w.told, "");
	is = world_state(&w);
	ck_assert(strstr(is, "/etc/old 100644") && world_holds(&w, "etc/old", "old"));
	free(is);
	world_done(&w);
}
END_TEST

START_TEST(directories_with_something_in_them_stay)
{
	struct world w;

	world_new(&w);
	world_file(w.target, "opt/goes/sub/foreign", "foreign");
	must_run(&w, false);
	ck_assert_str_eq(w.told, "opt/goes/sub/foreign: is not the layout's\n");
	ck_assert(world_holds(&w, "opt/goes/sub/foreign", "foreign"));
	ck_assert(!world_has(&w, "opt/goes/a") && !world_has(&w, "opt/goes/sub/b"));
	world_file(w.target, "opt/new/d/foreign\n", "foreign");
	must_run(&w, true);
	ck_assert_str_eq(w.told, "opt/new/d/foreign\n: is not the layout's\n");
	ck_assert(world_holds(&w, "opt/new/d/foreign\n", "foreign"));
	ck_assert(!world_has(&w, "opt/new/f") && !world_has(&w, "opt/new/d/link"));
	ck_assert(world_holds(&w, "opt/goes/a", "a") && world_holds(&w, "opt/goes/sub/b", "b"));
	world_done(&w);
}
END_TEST

/* The same, empty: what was to come along comes into it, and leaves it again. */
START_TEST(a_directory_that_is_made_by_both)
{
	struct world w;

	world_new(&w);
	world_dir(w.target, "opt/new", 0755);
	must_run(&w, false);
	ck_assert_str_eq(w.told, "");
	for (size_t i = 0; i < w.c.n; i++)
		ck_assert_msg(change_is(w.target, w.c.v[i].path, &w.c.v[i].after) == 1, "%s", w.c.v[i].path);
	ck_assert_uint_eq(w.a.at, WORLD_ROWS);
	must_run(&w, false);
	ck_assert_uint_eq(w.a.nmade, 0);
	must_run(&w, true);
	ck_assert_str_eq(w.told, "");
	ck_assert(world_has(&w, "opt/new") && !world_has(&w, "opt/new/d") && !world_has(&w, "opt/new/f"));
	world_done(&w);
	/* another one is left, with all that would come into it */
	world_new(&w);
	world_dir(w.target, "opt/new", 0700);
	must_run(&w, false);
	ck_assert_str_eq(w.told, "opt/new: another process has put something there\n");
	ck_assert(!world_has(&w, "opt/new/f"));
	world_done(&w);
}
END_TEST

/* No row leads through a symlink that has come into the place of a directory. */
START_TEST(symlinks_are_not_followed)
{
	for (int back = 0; back < 2; back++) {
		struct world w;
		char *is, *will;

		world_new(&w);
		if (back)
			must_run(&w, false);
		ck_assert_int_eq(renameat(w.target, "etc", w.target, "moved"), 0);
		ck_assert_int_eq(symlinkat("moved", w.target, "etc"), 0);
		is = world_state(&w);
		must_run(&w, back);
		ck_assert_ptr_nonnull(strstr(w.told, "etc/passwd: "));
		will = world_state(&w);
		/* what is in opt and data has changed, and no line of etc or moved */
		for (char *line = strtok(is, "\n"); line; line = strtok(NULL, "\n"))
			if (!strncmp(line, "/moved", 6) || !strncmp(line, "/etc", 4))
				ck_assert_msg(strstr(will, line), "%s\nin\n%s", line, will);
		free(is);
		free(will);
		world_done(&w);
	}
}
END_TEST

/* --- between a look and a rename ------------------------------------------------------------------------ */

static struct {
	struct world *w;
	long renames_left;
	char *path;                /* where; shared with a child */
} meddled;

/* Another process puts a file there right before the rename number renames_left; into it, where a directory is. */
static bool meddle_once(int from_dir, const char *from, int to_dir, const char *to)
{
	const int dirs[] = { from_dir, to_dir };
	const char *const names[] = { from, to };
	size_t root = strlen(meddled.w->root);

	if (meddled.renames_left-- != 0)
		return false;
	for (int i = 0; i < 2; i++) {
		char link[64], path[512] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%d", dirs[i]);
		ck_assert_int_gt(readlink(link, path, sizeof(path) - 1), 0);
		if (strstr(path, "/" UPDATE))
			continue;          /* the other end is in the target */
		snprintf(meddled.path, 256, "%s%s%s", path[root] ? path + root + 1 : "", path[root] ? "/" : "",
			 names[i]);
	}
	world_file(meddled.w->target, "var/foreign", "foreign");
	if (renameat(meddled.w->target, "var/foreign", meddled.w->target, meddled.path) < 0) {
		ck_assert_msg(errno == EISDIR, "%s: %s", meddled.path, strerror(errno));
		strcat(meddled.path, "/foreign");
		ck_assert_int_eq(renameat(meddled.w->target, "var/foreign", meddled.w->target, meddled.path), 0);
	}
	return true;
}

/* false: there are fewer renames than @k. @killed: right after that one, before it is looked at what was moved. */
static bool run_meddled(struct world *w, bool back, long k, bool killed)
{
	int status;
	pid_t pid;

	meddled.w = w;
	meddled.renames_left = k;
	meddled.path = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(meddled.path, MAP_FAILED);
	meddle = meddle_once;
	kill_after_meddling = killed;
	pid = killed ? fork() : 1;
	if (!pid)
		_exit(run(w, back) < 0);
	if (killed)
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	kill_after_meddling = false;
	if (!killed)
		must_run(w, back);
	meddle = NULL;
	return *meddled.path;
}

static void must_have_foreign(struct world *w, const char *what, long k)
{
	ck_assert_msg(world_holds(w, meddled.path, "foreign"), "%s %ld: %s\n%s", what, k, meddled.path, w->told);
}

START_TEST(between_a_look_and_a_rename)
{
	for (int killed = 0; killed < 2; killed++)
		for (int back = 0; back < 2; back++) {
			bool more = true;

			for (long k = 0; more; k++) {
				struct world w;

				world_new(&w);
				if (back)
					must_run(&w, false);
				more = run_meddled(&w, back, k, killed);
				if (more && killed)
					must_run(&w, back);
				if (more) {
					ck_assert_uint_ge(w.a.nleft, 1);
					must_have_foreign(&w, back ? "taken back" : "applied", k);
					must_run(&w, true);
					must_have_foreign(&w, "then taken back", k);
				}
				munmap(meddled.path, 4096);
				world_done(&w);
			}
		}
}
END_TEST

/* --- a storm ---------------------------------------------------------------------------------------------- */

#define STORM_FILES 100

static uint32_t draw(uint64_t *seed, uint32_t below)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % below;
}

/* Another process: new files in the place of others, which it moves away; directories too. It removes nothing. */
static void storm(struct world *w, uint64_t seed)
{
	for (int k = 0; k < STORM_FILES; k++) {
		const char *path = world_rows[draw(&seed, WORLD_ROWS)].path;
		char new[32], text[32];

		snprintf(new, sizeof(new), "var/storm.%d", k);
		snprintf(text, sizeof(text), "storm %d\n", k);
		world_file(w->target, new, text);
		switch (draw(&seed, 4)) {
		case 0:
			renameat2(w->target, new, w->target, path, RENAME_NOREPLACE);
			break;
		case 1:
			snprintf(text, sizeof(text), "var/moved.%d", k);
			renameat2(w->target, path, w->target, text, RENAME_NOREPLACE);
			break;
		default:
			renameat2(w->target, new, w->target, path, RENAME_EXCHANGE);
		}
		usleep(draw(&seed, 60));
	}
}

static int stormed[STORM_FILES];
static unsigned stormed_kept;      /* below update/ */

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char text[64] = "";
	int fd, k;

	(void)type, (void)ftw;
	if (!S_ISREG(st->st_mode))
		return 0;
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	if (sscanf(text, "storm %d", &k) != 1)
		return 0;
	stormed[k]++;
	stormed_kept += strstr(path, UPDATE) != NULL;
	return 0;
}

/* Whatever both did, when: each of its files is there once, and when it has ended there is an end to reach. */
START_TEST(nothing_is_lost_in_a_storm)
{
	struct world w;
	char *once, *twice;
	int status;
	pid_t pid;

	world_new(&w);
	pid = fork();
	if (!pid) {
		storm(&w, (uint64_t)_i);
		_exit(0);
	}
	pause_us = 50;
	for (int i = 0; i < 4; i++) {
		must_run(&w, false);
		must_run(&w, false);
	}
	for (int i = 0; i < 8; i++)
		must_run(&w, true);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	must_run(&w, true);
	once = world_state(&w);
	must_run(&w, true);
	twice = world_state(&w);
	ck_assert_str_eq(once, twice);
	ck_assert_int_eq(nftw(w.root, count_one, 16, FTW_PHYS), 0);
	for (int k = 0; k < STORM_FILES; k++)
		ck_assert_msg(stormed[k] == 1, "seed %d: file %d is there %d times", _i, k, stormed[k]);
	ck_assert_uint_le(stormed_kept, w.a.nstranded);        /* and told */
	free(once);
	free(twice);
	world_done(&w);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("apply");

	tap_test(s, each_row_is_applied_and_taken_back);
	tap_test(s, killed_at_each_call);
	tap_test(s, killed_there_and_back);
	tap_test(s, an_error_at_each_call);
	tap_test(s, what_cannot_be_moved);
	tap_test(s, it_can_be_cancelled);
	tap_test(s, files_of_others_stay);
	tap_test(s, a_directory_that_others_change_keeps_their_time);
	tap_test(s, what_others_change_after_a_kill_is_seen);
	tap_test(s, what_others_remove_stays_away);
	tap_test(s, the_same_of_others_will_do);
	tap_test(s, directories_with_something_in_them_stay);
	tap_test(s, a_directory_that_is_made_by_both);
	tap_test(s, symlinks_are_not_followed);
	tap_loop(s, nothing_is_lost_in_a_storm, 0, 20);
	tap_test(s, between_a_look_and_a_rename);
	return s;
}
TAP_MAIN(suite)
