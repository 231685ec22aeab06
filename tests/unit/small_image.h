/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small image (below 32 KiB) made with the writers, for tests: `os` and `web`, with every
 * content kind, joined directories and a hard-link group over both.
 *
 *   os:   /            dir 0755 root:root
 *         /etc         dir, joined          /etc/hosts  inline "127.0.0.1 x\n"
 *         /usr         dir, implied in web  /usr/lib    dir, owned by os only
 *         /big         SMALL_BIG bytes of pattern 1, two data extents with a hole
 *         /dev0        char device 5:1
 *         /link        symlink -> /etc/hosts
 *         /shared      SMALL_SHARED bytes of pattern 2, group of links with web's /usr/shared2
 *   web:  /etc/web     empty file             /usr/web  dir    /usr/web/page  1,000 bytes of pattern 3
 */
#ifndef PLYFS_TESTS_SMALL_IMAGE_H
#define PLYFS_TESTS_SMALL_IMAGE_H

#include <stdint.h>
#include <stddef.h>

#define SMALL_BIG    (3u * 131072 + 5000)  /* [0, 128 KiB + 4 KiB) data, hole to 256 KiB, data to the end */
#define SMALL_SHARED 200000u

/* Byte @i of pattern @seed. */
static inline uint8_t small_byte(unsigned seed, uint64_t i)
{
	uint64_t x = (i / 61 + seed) * 0x9e3779b97f4a7c15ULL;

	return (uint8_t)(x >> 56);
}

/* Write the image to @path with @threads compressing; aborts where that fails. */
void small_image(const char *path, unsigned threads);

#endif
