# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the number of files must not cost: for tests/mount/scale.bats, which CI runs, and for
# tests/full/scale.bats. To be loaded behind common.
#
# How much of an image is touched is counted where nothing is read that nobody asked for: on an ext4
# on a loop device whose readahead is 0, set before the image is opened, so that a fault brings one
# page and a read its own; after all that is in memory of it has been dropped; and by a mincore()
# that does not touch what it counts.

cost() { python3 "$PLYFS_TESTS/lib/cost.py" "$@"; }

many_files() { python3 "$PLYFS_TESTS/lib/manyfiles.py" "$@"; }

# bare_fs DIR SIZE: an empty file system without readahead
bare_fs()
{
	local loop
	mkdir -p "$1"
	truncate -s "$2" "$1.ext4"
	mkfs.ext4 -q -F -O '^has_journal' -b 4096 -E lazy_itable_init=1,nodiscard "$1.ext4"
	mount -o loop "$1.ext4" "$1"
	loop=$(findmnt -no SOURCE "$1")
	echo 0 >"/sys/block/${loop#/dev/}/queue/read_ahead_kb"
}

# touched_by_stat FS IMAGE PATH: bytes of FS/IMAGE that a mount reads up to the first stat of PATH
touched_by_stat()
{
	cost drop "$1/$2"
	[ "$(cost touched "$1/$2")" = 0 ] || { echo "the image stays in memory"; return 1; }
	mounted mnt "$1/$2" >mount.log
	stat "mnt/$3" >stat.log
	cost touched "$1/$2"
	plyfs umount mnt
}

# mounted_pid DIR IMAGE: mounts, and prints the daemon's pid
mounted_pid() { mounted "$1" "$2" --json | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p'; }

# A sanitizer's memory is not ours.
not_sanitized() { case ${PLYFS_BUILD##*/} in *-*) skip "memory of a sanitizer is not ours" ;; esac; }

# forget: the kernel drops all inodes that nobody uses, and tells the daemon
forget() { echo 2 >/proc/sys/vm/drop_caches; }
