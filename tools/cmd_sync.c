/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs sync: all that was written to a mount is on the disk. The kernel asks a FUSE daemon for no sync in sync(2) and
 * syncfs(2): it hands over what it holds, waits for nothing, and the log is synced by fsync(2) alone.
 *
 * So, in this order: syncfs makes the kernel hand over all pages that were written; an fsync of each file that somebody
 * still has open to write waits until those of that file have arrived (close(2) has waited for all others); an fsync of
 * the directory then syncs the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cli.h"
#include "holders.h"
#include "mounted.h"
#include "verbs.h"

static int sync_file(void *ctx, int fd)
{
	(void)ctx;
	return fsync(fd) < 0 ? -errno : 0;
}

static int sync_mount(const struct mounted *m, int path_fd, const char *dir, struct ply_err *err)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (m->read_only)
		return 0;
	fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		r = -errno;
	if (r == 0)
		r = holders_writers(m->place.major, m->place.minor, sync_file, NULL);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? ply_fail_sys(err, r, "%s: cannot be synced; what was written last may not be on the disk", dir) :
		       0;
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

	if (code >= 0)
		return code;
	r = mounted_open(args.v[0], &m, &fd, &err);
	if (r == 0)
		r = sync_mount(&m, fd, args.v[0], &err);
	if (r < 0)
		return cli_fail(&err);
	if (!cli_json)
		return EXIT_DONE;
	return cli_print_json(json_pack("{s:o,s:b}", "mountpoint", cli_json_name(m.mountpoint, strlen(m.mountpoint)),
					"read_only", m.read_only));
}
