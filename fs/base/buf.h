/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A growable byte buffer. Zero-initialised is empty; buf_done() frees. */
#ifndef PLYFS_BASE_BUF_H
#define PLYFS_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len, cap;
};

void buf_done(struct buf *b);
int buf_reserve(struct buf *b, size_t extra);              /* -ENOMEM */
int buf_add(struct buf *b, const void *data, size_t len);  /* -ENOMEM */
int buf_add_zero(struct buf *b, size_t len);
int buf_align(struct buf *b, size_t to);                   /* zero bytes up to a multiple */
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define _cleanup_buf_ __attribute__((cleanup(buf_done)))

#endif
