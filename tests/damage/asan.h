/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* WITH_ASAN: built with the address sanitizer, by either compiler. */
#ifndef PLYFS_TESTS_ASAN_H
#define PLYFS_TESTS_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#endif
