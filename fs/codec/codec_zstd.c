/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * zstd frames of single blocks. A frame says its content size and carries no
 * checksum of its own: blocks have an XXH3-64 and a SHA-256 over their stored
 * bytes, which also cover what is stored raw.
 */
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "codec/codec.h"

struct codec {
	ZSTD_CCtx *c;              /* made at first use */
	ZSTD_DCtx *d;
};

struct codec *codec_new(void)
{
	return calloc(1, sizeof(struct codec));
}

struct codec *codec_free(struct codec *k)
{
	if (k) {
		ZSTD_freeCCtx(k->c);
		ZSTD_freeDCtx(k->d);
		free(k);
	}
	return NULL;
}

size_t codec_bound(size_t len)
{
	return ZSTD_compressBound(len);
}

int64_t codec_compress(struct codec *k, int level, const void *src, size_t len, void *dst,
		       size_t cap)
{
	size_t n;

	if (!k->c && !(k->c = ZSTD_createCCtx()))
		return -ENOMEM;
	n = ZSTD_compressCCtx(k->c, dst, cap, src, len, level);
	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO;
	return (int64_t)n;
}

int codec_decompress(struct codec *k, const void *src, size_t len, void *dst, size_t size)
{
	size_t n;

	if (!k->d && !(k->d = ZSTD_createDCtx()))
		return -ENOMEM;
	n = ZSTD_decompressDCtx(k->d, dst, size, src, len);
	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
	return n == size ? 0 : -EBADMSG;
}
