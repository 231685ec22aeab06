/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only users of zstd, xxhash and libcrypto. */
#ifndef PLYFS_CODEC_H
#define PLYFS_CODEC_H

#include <stddef.h>
#include <stdint.h>

#define CODEC_LEVEL_DEFAULT 3
#define CODEC_LEVEL_MIN 1
#define CODEC_LEVEL_MAX 19

/* Compressor and decompressor contexts: one per thread. NULL: no memory. */
struct codec;
struct codec *codec_new(void);
struct codec *codec_free(struct codec *codec);

/* A capacity that always suffices for codec_compress of @len bytes. */
size_t codec_bound(size_t len);

/* Returns the compressed size, or a negative errno. */
int64_t codec_compress(struct codec *codec, int level, const void *src, size_t len, void *dst,
		       size_t cap);

/* Decode exactly @size bytes; -EBADMSG where @src does not hold just that. */
int codec_decompress(struct codec *codec, const void *src, size_t len, void *dst, size_t size);

/* XXH3-64. The seed tells equal bytes in other places apart. */
uint64_t xxh3(const void *data, size_t len, uint64_t seed);

/* XXH3-128 in its canonical form, seed 0: equal content where nobody means harm. */
void xxh128_once(const void *data, size_t len, uint8_t ret[16]);
struct xxh128;
struct xxh128 *xxh128_new(void);                                   /* NULL: no memory */
struct xxh128 *xxh128_free(struct xxh128 *h);
void xxh128_add(struct xxh128 *h, const void *data, size_t len);
void xxh128_end(struct xxh128 *h, uint8_t ret[16]);                /* then it is as new */

struct sha256;
int sha256_once(const void *data, size_t len, uint8_t ret[32]);   /* -ENOMEM */
struct sha256 *sha256_new(void);                                   /* NULL: no memory */
struct sha256 *sha256_free(struct sha256 *h);
void sha256_reset(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *data, size_t len);
void sha256_end(struct sha256 *h, uint8_t ret[32]);                /* then reset before reuse */

/* For what others have recorded so, never against anybody. -EOPNOTSUPP where the library is not allowed to. */
int md5_once(const void *data, size_t len, uint8_t ret[16]);

/* Fill with random bytes from the kernel. */
void random_bytes(void *buf, size_t len);

#endif
