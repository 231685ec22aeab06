/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes the checksums and digests of a damaged image right again, so that what a
 * fuzzer changed reaches the parsers instead of the checksum in front of them. Lives in
 * the tests: the product has no way around its checks.
 */
#ifndef PLYFS_TESTS_REPAIR_H
#define PLYFS_TESTS_REPAIR_H

#include <stddef.h>
#include <stdint.h>

/* Never reads or writes outside [data, data + len), whatever the bytes say. */
void repair_image(uint8_t *data, size_t len);

#endif
