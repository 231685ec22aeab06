/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: what the command reads of a daemon: its answer on the control socket (origin; with bit 1 of the first
 * byte stats), what it says on the pipe while it starts (mount; bit 0), a path with a generation.
 */
#include <stdio.h>

#include <sys/wait.h>

#include "cli.h"
#include "fuzz.h"

/* the daemon that is waited for */
static pid_t no_child(pid_t pid, int *status, int options)
{
	(void)options;
	if (status)
		*status = 0;
	return pid;
}

#define cli_note(...) ((void)0)
#define waitpid no_child
#define understand understand_answer
#include "cmd_origin.c"
#undef understand
#define understand understand_status
#include "cmd_mount.c"
#undef understand
#define understand understand_stats
#include "cmd_stats.c"
#undef understand

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);

	if (!size)
		return 0;
	if (how & 1) {
		struct cli_list selected = { 0 }, confined = { 0 };
		struct buf said = { 0 };
		struct ply_err err = { 0 };

		if (buf_reserve(&said, in.left + 1) < 0)
			abort();
		if (in.left)
			buf_add(&said, in.at, in.left);
		if (understand_status(&said, 1, &selected, &confined, &err) < 0)
			touch(ply_reason_name(err.reason), 1);
		for (size_t i = 0; i < selected.n; i++)
			touch(selected.v[i], strlen(selected.v[i]) + 1);
		for (size_t i = 0; i < confined.n; i++)
			touch(confined.v[i], strlen(confined.v[i]) + 1);
		cli_list_done(&selected);
		cli_list_done(&confined);
		buf_done(&said);
	} else if (how & 2) {
		char *text = input_text(&in, -1), mountpoint[] = "/m", source[] = "/i";
		const struct mounted m = { .mountpoint = mountpoint, .source = source };
		json_t *all = understand_stats(text, &m);

		touch(json_string_value(json_object_get(all, "mountpoint")), 1);
		json_decref(all);
		free(text);
	} else {
		struct mount m = { .answer = input_text(&in, -1), .at = { .source = strdup("/") } };

		if (understand_answer(&m) == 0)
			touch(m.image, strlen(m.image) + 1);
		for (size_t i = 0; i < m.selected.n; i++)
			touch(m.selected.v[i], strlen(m.selected.v[i]) + 1);
		mount_done(&m);
	}
	return 0;
}
