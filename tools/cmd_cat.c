/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs cat: a file's bytes to the standard output. Written with write(2), since stdio would only
 * copy once more. Where the output is the end of a regular file, holes stay holes; elsewhere they
 * are zeros.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/util.h"
#include "cli.h"
#include "open.h"
#include "show.h"
#include "verbs.h"

#define BUFFER (1u << 20)          /* whole blocks of 128 KiB decode straight into it */

static int write_all(const uint8_t *p, size_t len, struct ply_err *err)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ply_fail_sys(err, -errno, "cannot write to the standard output");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Is the output a regular file at whose end we write? Then a hole is a step of its offset. */
static bool can_skip(void)
{
	struct stat st;
	int flags = fcntl(STDOUT_FILENO, F_GETFL);
	off_t at = lseek(STDOUT_FILENO, 0, SEEK_CUR);

	return flags >= 0 && !(flags & O_APPEND) && fstat(STDOUT_FILENO, &st) == 0 &&
	       S_ISREG(st.st_mode) && at >= st.st_size;
}

static int copy(struct ply_view *view, uint64_t ino, uint64_t size, uint8_t *buf, struct ply_err *err)
{
	bool skip = can_skip(), skipped = false;
	off_t start = skip ? lseek(STDOUT_FILENO, 0, SEEK_CUR) : 0;
	uint64_t off = 0;

	while (off < size) {
		uint64_t data, end;
		int r = 0;

		if (skip) {
			r = ply_view_seek(view, ino, off, SEEK_DATA, &data, err);
			if (r == -ENXIO)
				data = size;
			else if (r < 0)
				return r;
			if (data > off && lseek(STDOUT_FILENO, (off_t)(data - off), SEEK_CUR) < 0)
				return ply_fail_sys(err, -errno, "cannot write to the standard output");
			skipped = data > off;
			off = data;
			if (off == size)
				break;
			r = ply_view_seek(view, ino, off, SEEK_HOLE, &end, err);
			if (r < 0)
				return r;
		} else {
			end = size;
		}
		while (off < end) {
			ssize_t n = ply_view_read(view, ino, off, (size_t)MIN(end - off, (uint64_t)BUFFER),
						  buf, err);

			if (n < 0)
				return (int)n;
			r = write_all(buf, (size_t)n, err);
			if (r < 0)
				return r;
			off += (uint64_t)n;
		}
		skipped = false;
	}
	if (skipped && ftruncate(STDOUT_FILENO, start + (off_t)size) < 0)
		return ply_fail_sys(err, -errno, "cannot write to the standard output");
	return 0;
}

static int cat(struct ply_view *view, const char *path, struct ply_err *err)
{
	_cleanup_free_ uint8_t *buf = malloc(BUFFER);
	struct ply_attr a;
	uint64_t ino;
	int r;

	if (!buf)
		return ply_fail_nomem(err);
	r = show_resolve(view, path, true, &ino, err);
	if (r == 0)
		r = ply_view_attr(view, ino, &a, err);
	if (r == 0 && !S_ISREG(a.mode))
		r = ply_fail(err, S_ISDIR(a.mode) ? -EISDIR : -EINVAL,
			     S_ISDIR(a.mode) ? PLY_R_IS_A_DIRECTORY : PLY_R_NOT_A_FILE,
			     "is a %s; only regular files have bytes to print", show_type(a.mode));
	if (r == 0)
		r = copy(view, ino, a.size, buf, err);
	if (r < 0 && err->reason != PLY_R_SYSTEM) {
		_cleanup_free_ char *shown = escape_name(path, strlen(path));

		if (shown && strncmp(err->msg, shown, strlen(shown)) != 0)
			ply_err_prefix(err, "%s", shown);
	}
	return r;
}

int cmd_cat(int argc, char **argv)
{
	struct cli_list select _cleanup_list_ = { 0 };
	struct choice choice _cleanup_choice_ = { 0 };
	const struct cli_opt opts[] = { SELECTION_OPTION(&select), CHOICE_OPTIONS(&choice), CLI_END };
	const struct cli_spec spec = { "cat", "IMAGE PATH",
				       "Print the bytes of a file of an image.", opts, 2, 2 };
	struct opened o _cleanup_opened_ = { 0 };
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args), r;

	if (code < 0)
		code = choice_check(&choice);
	if (code >= 0)
		return code;
	if (open_view(args.v[0], &select, &choice, &o, &err) < 0)
		return cli_fail(&err);
	r = cat(o.view, args.v[1], &err);
	if (r == -EPIPE)           /* whoever read has seen enough */
		return EXIT_FAILED;
	return r < 0 ? cli_fail(&err) : EXIT_DONE;
}
