/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XXH3-64 against damage, XXH3-128 to tell contents apart, SHA-256 as identity, random bytes for UUIDs. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "codec/codec.h"

uint64_t xxh3(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

void xxh128_once(const void *data, size_t len, uint8_t ret[16])
{
	XXH128_canonical_t out;

	XXH128_canonicalFromHash(&out, XXH3_128bits(data, len));
	memcpy(ret, out.digest, sizeof(out.digest));
}

struct xxh128 {
	XXH3_state_t *state;
};

struct xxh128 *xxh128_new(void)
{
	struct xxh128 *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->state = XXH3_createState();
	if (!h->state || XXH3_128bits_reset(h->state) != XXH_OK)
		return xxh128_free(h);
	return h;
}

struct xxh128 *xxh128_free(struct xxh128 *h)
{
	if (h) {
		XXH3_freeState(h->state);
		free(h);
	}
	return NULL;
}

/* They fail on NULL only. */
void xxh128_add(struct xxh128 *h, const void *data, size_t len)
{
	if (XXH3_128bits_update(h->state, data, len) != XXH_OK)
		abort();
}

void xxh128_end(struct xxh128 *h, uint8_t ret[16])
{
	XXH128_canonical_t out;

	XXH128_canonicalFromHash(&out, XXH3_128bits_digest(h->state));
	memcpy(ret, out.digest, sizeof(out.digest));
	if (XXH3_128bits_reset(h->state) != XXH_OK)
		abort();
}

struct sha256 {
	EVP_MD_CTX *ctx;
};

struct sha256 *sha256_new(void)
{
	struct sha256 *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1)
		return sha256_free(h);
	return h;
}

struct sha256 *sha256_free(struct sha256 *h)
{
	if (h) {
		EVP_MD_CTX_free(h->ctx);
		free(h);
	}
	return NULL;
}

/* The remaining calls fail only on a context that was never initialised. */
void sha256_reset(struct sha256 *h)
{
	if (EVP_DigestInit_ex(h->ctx, NULL, NULL) != 1)
		abort();
}

void sha256_add(struct sha256 *h, const void *data, size_t len)
{
	if (EVP_DigestUpdate(h->ctx, data, len) != 1)
		abort();
}

void sha256_end(struct sha256 *h, uint8_t ret[32])
{
	if (EVP_DigestFinal_ex(h->ctx, ret, NULL) != 1)
		abort();
}

int sha256_once(const void *data, size_t len, uint8_t ret[32])
{
	return EVP_Digest(data, len, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

int md5_once(const void *data, size_t len, uint8_t ret[16])
{
	return EVP_Digest(data, len, ret, NULL, EVP_md5(), NULL) == 1 ? 0 : -EOPNOTSUPP;
}

void random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		size_t want = len < 256 ? len : 256;
		ssize_t n = getrandom(p, want, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			abort();   /* ENOSYS: no kernel that this runs on */
		p += n;
		len -= (size_t)n;
	}
}
