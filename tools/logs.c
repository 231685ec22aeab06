/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Logs that verbs are given: see logs.h. */
#include "logs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mnt.h"
#include "base/util.h"
#include "cli.h"
#include "holders.h"

#define LOOK_TRIES    5u
#define LOOK_AGAIN_MS 50

static int look(const char *path, struct redo **ret, bool *ret_sound, struct ply_err *err)
{
	struct redo_info info;
	struct redo_store *s;
	int r = redo_store_open(path, REDO_LOOK, &s, err);

	*ret_sound = false;
	if (r == 0)
		r = redo_open(s, REDO_LOOK, ret, err);
	if (r < 0)
		return r;
	redo_info(*ret, &info);
	*ret_sound = !info.damaged;
	return 0;
}

/* A checkpoint that is written meanwhile gives back what this is just reading: then it looks damaged. */
int log_look(const char *path, struct redo **ret, struct ply_err *err)
{
	for (unsigned tries = 1;; tries++) {
		struct holder h;
		char command[64];
		bool sound;
		int r = look(path, ret, &sound, err);

		if (sound || tries == LOOK_TRIES || !holders_lock(path, &h, command, sizeof(command)))
			return r;
		if (r == 0)
			redo_abandon(*ret);
		usleep(LOOK_AGAIN_MS * 1000);
	}
}

struct mounted_log {
	const char *path;
	char *mountpoint;
};

static int see_mount(void *ctx, const struct mnt_line *line)
{
	struct mounted_log *m = ctx;

	if (strcmp(line->type, MNT_TYPE) != 0 || strcmp(line->source, m->path) != 0)
		return 0;
	m->mountpoint = strdup(line->mountpoint);
	return 1;
}

void log_tell_holder(const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL), *where = NULL;
	struct mounted_log m = { .path = real };
	struct holder h;
	char command[256];

	if (real && mnt_list(NULL, see_mount, &m) > 0)
		where = m.mountpoint;
	if (holders_lock(path, &h, command, sizeof(command)))
		cli_note("%s: in use by process %ld (%s)%s%s", path, (long)h.pid, h.command,
			 where ? ", which has it mounted on " : "", where ? where : "");
	else if (where)
		cli_note("%s: mounted on %s", path, where);
}
