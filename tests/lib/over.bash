# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A tree to write to, above one that is only read: for bats files that judge machines by their own tools.

# over LOWER: a writable copy of a tree, in memory: over/tree
over()
{
	mkdir -p over
	mount -t tmpfs -o mode=755 tmpfs over
	mkdir over/upper over/work over/tree
	mount -t overlay overlay -o "lowerdir=$1,upperdir=$PWD/over/upper,workdir=$PWD/over/work" over/tree
}

over_done()
{
	if mountpoint -q over/tree; then umount over/tree; fi
	if mountpoint -q over; then umount over; fi
}
