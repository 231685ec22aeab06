/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is a file a log? Not the same as whether it can be opened: who has a damaged one wants to hear what is damaged. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "redo/redo.h"

bool redo_is_log(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t magic[sizeof(PLY_REDO_MAGIC) - 1];

	for (uint64_t slot = 0; fd >= 0 && slot < PLY_SUPER_SLOTS; slot++)
		if (pread_full(fd, magic, sizeof(magic), slot * PLY_SUPER_SIZE) == 0 &&
		    memcmp(magic, PLY_REDO_MAGIC, sizeof(magic)) == 0)
			return true;
	return false;
}
