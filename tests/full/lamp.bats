#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: the LAMP machine: every selection mounted and laid out, any number of threads, any level; 10 min

load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "the gold root has devices and owners" && gold lamp || return 0
	export image=$BATS_FILE_TMPDIR/lamp.plyfs
	SOURCE_DATE_EPOCH=1700000000 plyfs capture "$gold" "$image" "${lamp[@]}"
}

setup()
{
	ready
	mnt=$BATS_TEST_TMPDIR/mnt
	mkdir "$mnt"
}

teardown()
{
	unmount_all "$mnt"
	rm -rf --one-file-system "$BATS_TEST_TMPDIR"/j*
}

# shellcheck disable=SC2154  # gold: by setup_file
@test "every selection: the mount, and layouts with 1, 2 and 16 streams, are one tree" {
	local a m p j selection
	for a in '' ,apache; do for m in '' ,mysql; do for p in '' ,php; do
		selection=os$a$m$p
		echo "$selection"
		mounted "$mnt" "$image" -s "$selection"
		inodes links "$mnt"
		for j in 1 2 16; do
			mkdir "j$j"
			plyfs layout "$image" "j$j" -s "$selection" -j "$j" --no-sync
			same "$mnt" "j$j"
			plyfs verify "$image" --against "j$j" -s "$selection"
			rm -rf "j$j"
		done
		plyfs umount "$mnt"
	done; done; done
	mounted "$mnt" "$image"
	same "$gold" "$mnt"
	plyfs umount "$mnt"
}

@test "any number of threads gives the same bytes, at any level" {
	local level j
	for level in 1 3 9; do
		SOURCE_DATE_EPOCH=1700000000 plyfs capture "$gold" first.plyfs "${lamp[@]}" --level "$level" -j 1
		for j in 2 3 5 16; do
			SOURCE_DATE_EPOCH=1700000000 plyfs capture "$gold" again.plyfs "${lamp[@]}" --level "$level" -j "$j"
			cmp first.plyfs again.plyfs
			rm again.plyfs
		done
		plyfs verify first.plyfs --deep
		plyfs verify first.plyfs --against "$gold"
		rm first.plyfs
	done
}
