/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * To lseek(SEEK_DATA), space that is allocated but was never written (fallocate: database logs,
 * journals) is a hole, until somebody reads it: pages of it in the page cache count as data, also
 * those that readahead brought. So the same file would have other holes on the second capture than on the
 * first. Where a file has such space, its clean pages are dropped first; dirty ones stay, and are
 * data, rightly.
 *
 * Rejected: to take the map from FIEMAP alone. What is dirty there still says "unwritten", so each
 * file would have to be written out first; and not every file system has it. To drop the pages of every
 * file: a warm tree would be read from disk.
 *
 * References: filesystems/fiemap.rst, mapping_seek_hole_data() in the kernel, posix_fadvise(2).
 */
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/holes.h"

#define NEXTENTS 32u

static bool has_unwritten(int fd)
{
	union {
		struct fiemap map;
		uint8_t room[sizeof(struct fiemap) + NEXTENTS * sizeof(struct fiemap_extent)];
	} u;
	uint64_t at = 0;

	for (;;) {
		const struct fiemap_extent *last;

		memset(&u.map, 0, sizeof(u.map));
		u.map.fm_start = at;
		u.map.fm_length = FIEMAP_MAX_OFFSET - at;
		u.map.fm_extent_count = NEXTENTS;
		if (ioctl(fd, FS_IOC_FIEMAP, &u.map) < 0 || u.map.fm_mapped_extents == 0)
			return false;
		for (uint32_t i = 0; i < u.map.fm_mapped_extents; i++)
			if (u.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN)
				return true;
		last = &u.map.fm_extents[u.map.fm_mapped_extents - 1];
		if (last->fe_flags & FIEMAP_EXTENT_LAST || last->fe_logical + last->fe_length <= at)
			return false;
		at = last->fe_logical + last->fe_length;
	}
}

void holes_settle(int fd)
{
	if (has_unwritten(fd))
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}
