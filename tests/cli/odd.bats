#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The odd tree, which holds what real trees rarely do, comes back exactly from a mount and a layout.

load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "the odd tree has devices, owners and trusted attributes" || return 0
	# shellcheck source=tests/lib/oddfs.sh
	. "$PLYFS_TESTS/lib/oddfs.sh"
	oddfs_new source 2G
	"$PLYFS_TESTS/lib/oddtree.py" "$oddfs"
	oddfs_cold source
	export source=$oddfs image=$BATS_FILE_TMPDIR/odd.plyfs
	SOURCE_DATE_EPOCH=1700000000 plyfs capture "$source" "$image" >"$BATS_FILE_TMPDIR/capture.log"
}

teardown_file()
{
	# shellcheck source=tests/lib/oddfs.sh
	. "$PLYFS_TESTS/lib/oddfs.sh"
	oddfs_done source
}

setup()
{
	ready
	# shellcheck source=tests/lib/oddfs.sh
	. "$PLYFS_TESTS/lib/oddfs.sh"
	mnt=$BATS_TEST_TMPDIR/mnt
	mkdir "$mnt"
}

teardown()
{
	unmount_all "$mnt"
	oddfs_done target
}

@test "the mount equals the odd tree" {
	mounted "$mnt" "$image"
	same "$source" "$mnt"
	plyfs umount "$mnt"
}

@test "the mount equals the odd tree, read cold and in another order" {
	mounted "$mnt" "$image"
	drop_caches
	same "$mnt" "$source"
	plyfs umount "$mnt"
}

@test "the layout equals the odd tree, from a mount with nothing cached" {
	oddfs_new target 2G
	plyfs layout "$image" "$oddfs"
	oddfs_cold target
	same "$source" "$oddfs"
	plyfs verify "$image" --against "$oddfs"
}

@test "the layout equals the odd tree with 1, 2, 8 and 32 streams" {
	local streams
	for streams in 1 2 8 32; do
		oddfs_new target 2G
		plyfs layout "$image" "$oddfs" -j "$streams" --no-sync
		same "$source" "$oddfs"
		oddfs_done target
	done
}

@test "capture gives the same bytes: -j1, -j16, and cold" {
	local options
	cat "$source/sparse/preallocated" >/dev/null    # what was never written is no data, though cached
	for options in -j1 -j16; do
		SOURCE_DATE_EPOCH=1700000000 plyfs capture "$source" again.plyfs "$options"
		cmp "$image" again.plyfs
		rm again.plyfs
	done
	drop_caches
	SOURCE_DATE_EPOCH=1700000000 plyfs capture "$source" again.plyfs
	cmp "$image" again.plyfs
	rm again.plyfs
}

@test "inode numbers and file handles are the same after remount; links are counted right" {
	mounted "$mnt" "$image"
	inodes list "$mnt" >first
	inodes links "$mnt"
	plyfs umount "$mnt"
	mounted "$mnt" "$image"
	inodes list "$mnt" | cmp first -
	drop_caches
	inodes open "$mnt" first
	[ "$(find "$mnt/links" -samefile "$mnt/links/20000" | wc -l)" = 20000 ]
	plyfs umount "$mnt"
}

@test "the image is sound" {
	plyfs verify "$image" --deep
}
