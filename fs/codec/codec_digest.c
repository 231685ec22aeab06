/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XXH3-64 against damage, SHA-256 as identity, random bytes for UUIDs. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "codec/codec.h"

uint64_t xxh3(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
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
