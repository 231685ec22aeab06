/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages of the daemon: see log.h. Thread-safe; text from an image is escaped, so
 * that a message is one line and holds no control characters.
 */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "base/util.h"

#define REASONS 512

static bool to_stderr = true;      /* immutable after log_init() */
static atomic_bool told[REASONS];  /* by reason */

void log_init(bool foreground)
{
	to_stderr = foreground;
	if (!foreground)
		openlog("plyfs-fuse", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	tzset();                   /* now, since it opens a file */
}

void log_error(const char *fmt, ...)
{
	char text[1200], line[2400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	escape_name_to(text, strlen(text), line, sizeof(line));
	if (to_stderr)
		fprintf(stderr, "plyfs-fuse: %s\n", line);
	else
		syslog(LOG_ERR, "%s", line);
}

void log_damage(uint64_t ino, const struct ply_err *err)
{
	if ((unsigned)err->reason < REASONS && atomic_exchange(&told[err->reason], true))
		return;
	log_error("inode %llu: %s (%s; told once)", (unsigned long long)ino, err->msg,
		  ply_reason_name(err->reason));
}
