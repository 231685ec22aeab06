/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plyfs sync: all that was written to a mount is on the disk (mounted.h says how). */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "mounted.h"
#include "verbs.h"

static int sync_mount(const struct mounted *m, int path_fd, const char *dir, struct ply_err *err)
{
	int r = mounted_sync(m, path_fd);      /* a read-only one, too: it may have been written to before it became so */

	if (r == -ENOTCONN)
		return mounted_died(m, err);
	return r < 0 ? ply_fail_sys(err, r, "%s: cannot be synced; what was written last may not be on the disk", dir) :
		       0;
}

/* Of a daemon that does not tell us it is not known. */
static bool log_is_removed(const struct mounted *m)
{
	_cleanup_free_ char *text = mounted_stats(m);

	return text && strstr(text, "\nlog_removed 1\n");
}

int cmd_sync(int argc, char **argv)
{
	const struct cli_opt opts[] = { CLI_JSON, CLI_END };
	const struct cli_spec spec = {
		"sync", "DIR", "Return when all that was written to a mount is on the disk.", opts, 1, 1
	};
	_cleanup_mounted_ struct mounted m = { 0 };
	_cleanup_close_ int fd = -1;
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args), r;
	bool removed;

	if (code >= 0)
		return code;
	r = mounted_open(args.v[0], &m, &fd, &err);
	if (r == 0)
		r = sync_mount(&m, fd, args.v[0], &err);
	if (r < 0)
		return cli_fail(&err);
	removed = log_is_removed(&m);
	if (removed)
		cli_note("warning: %s: the log %s was removed: all of it is lost when the mount ends, or by a power cut; copy "
			 "what is to be kept from the mount", m.mountpoint, m.source);
	if (!cli_json)
		return EXIT_DONE;
	return cli_print_json(json_pack("{s:o,s:b,s:b}", "mountpoint", cli_json_name(m.mountpoint, strlen(m.mountpoint)),
					"read_only", m.read_only, "log_removed", removed));
}
