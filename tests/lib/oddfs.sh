# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# File systems in a file, for tests: to be sourced. Root only. Each lies in $TMPDIR, where tests/run-test
# finds what is left behind; all are sparse, and the loop device goes with the unmount.
#
#   oddfs_new NAME SIZE [MKFS OPTION...]     an ext4 that can hold the odd tree, mounted; sets $oddfs
#                                            to its directory ($TMPDIR/NAME)
#   oddfs_cold NAME                          unmount and mount again
#   oddfs_done NAME...                       unmount and remove

oddfs_new()
{
	local name=$1 size=$2
	shift 2
	oddfs=${TMPDIR:?}/$name
	mkdir "$oddfs"
	truncate -s "$size" "$oddfs.ext4"
	# 1 inode per 4 KiB: 50,000 empty files are no question of space
	mkfs.ext4 -q -F -O ea_inode -b 4096 -I 256 -i 4096 -E lazy_itable_init=1,nodiscard "$@" "$oddfs.ext4" || return
	mount -o loop "$oddfs.ext4" "$oddfs"
}

oddfs_cold()
{
	umount "${TMPDIR:?}/$1" && mount -o loop "$TMPDIR/$1.ext4" "$TMPDIR/$1"
}

oddfs_done()
{
	local name
	for name; do
		if mountpoint -q "$TMPDIR/$name"; then umount "$TMPDIR/$name" || return; fi
		rm -rf --one-file-system "${TMPDIR:?}/$name" "$TMPDIR/$name.ext4"
	done
}
