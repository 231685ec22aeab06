/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling struct ply_err: see plyfs/error.h for the contract. */
#include "plyfs/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ply_reason_name(enum ply_reason reason)
{
	switch (reason) {
#define X(name, number) \
	case PLY_R_##name: \
		return #name;
		PLY_REASONS(X)
#undef X
	}
	return "UNKNOWN";
}

__attribute__((format(printf, 4, 0)))
static void set(struct ply_err *err, int code, enum ply_reason reason, const char *fmt, va_list ap)
{
	err->code = code;
	err->reason = reason;
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

int ply_fail(struct ply_err *err, int code, enum ply_reason reason, const char *fmt, ...)
{
	if (err) {
		va_list ap;

		va_start(ap, fmt);
		set(err, code, reason, fmt, ap);
		va_end(ap);
	}
	return code;
}

int ply_fail_sys(struct ply_err *err, int code, const char *fmt, ...)
{
	if (err) {
		char text[128];
		va_list ap;
		size_t len;

		va_start(ap, fmt);
		set(err, code, PLY_R_SYSTEM, fmt, ap);
		va_end(ap);
		len = strlen(err->msg);
		snprintf(err->msg + len, sizeof(err->msg) - len, ": %s",
			 strerror_r(-code, text, sizeof(text)));
	}
	return code;
}

int ply_fail_nomem(struct ply_err *err)
{
	return ply_fail(err, -ENOMEM, PLY_R_NO_MEMORY, "out of memory");
}

void ply_err_prefix(struct ply_err *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	size_t len;

	if (!err)
		return;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	if (len + 2 < sizeof(err->msg)) {
		memcpy(err->msg + len, ": ", 2);
		len += 2;
		strncpy(err->msg + len, old, sizeof(err->msg) - len - 1);
		err->msg[sizeof(err->msg) - 1] = '\0';
	}
}
