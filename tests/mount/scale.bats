#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the number of files must not cost, on 20,000; tests/full/scale.bats has a million.

load ../lib/common
load ../lib/scale
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "mounts and file systems without readahead" || return 0
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || return 0
	cd "$BATS_FILE_TMPDIR" || exit
	many_files few 1000
	many_files many 20000
	# more than the cache of decoded blocks holds, in files that share blocks
	mkdir many/shared
	python3 -c 'for i in range(1600): open(f"many/shared/{i:04}", "wb").write(b"%07d " % i * 7680)'
	bare_fs fs 64M
	plyfs capture few fs/few.plyfs
	plyfs capture many fs/many.plyfs
	plyfs capture many fs/three.plyfs -c one='/directory-000*[0-4]/**' -c two='/directory-000*[5-9]/**'
	rm -r few
}

teardown_file()
{
	[ -n "${SKIP:-}" ] || umount "$BATS_FILE_TMPDIR/fs"
}

setup()
{
	ready
	cd "$BATS_FILE_TMPDIR" || exit
}

teardown()
{
	unmount_all mnt
}

@test "a mount up to the first stat touches as little of many files as of few" {
	few=$(touched_by_stat fs few.plyfs directory-00002/file-0000000500.txt)
	many=$(touched_by_stat fs many.plyfs directory-00050/file-0000010100.txt)
	three=$(touched_by_stat fs three.plyfs directory-00050/file-0000010100.txt)
	# a binary search in tables that are 20 times as large: two pages each of entries, names and sums
	[ "$few" -le $((16 * 4096)) ]
	[ "$many" -le $((few + 12 * 4096)) ]
	[ "$three" -le $((256 * 1024)) ]
}

@test "metadata are at most 120 bytes a file" {
	bytes=$(cost metadata fs/few.plyfs os $((1000 * 30)))
	[ "$bytes" -le $((1000 * 120)) ]
	bytes=$(cost metadata fs/many.plyfs os $((20000 * 30)))
	[ "$bytes" -le $((21600 * 120)) ]
}

@test "the daemon's memory does not grow with the files it has shown, nor beyond its cache" {
	not_sanitized
	pid=$(mounted_pid mnt fs/many.plyfs)
	before=$(cost anonymous "$pid")
	for _ in 1 2; do
		walk=$(cost anonymous "$pid" find mnt -printf '%s')
		[ "$walk" -le $((before + 512)) ]
		forget
	done
	[ "$(cost anonymous "$pid")" -le $((before + 512)) ]
	most=$(cost anonymous "$pid" grep -rc '' mnt)
	[ "$most" -ge $((60 * 1024)) ]      # the cache is full: that was the most it can be
	[ "$most" -le $((96 * 1024)) ]
}

@test "capture holds little more than its tables" {
	not_sanitized
	# buffers follow the number of threads
	most=$(cost memory plyfs capture many again.plyfs -j 2)
	rm again.plyfs
	[ "$most" -le $((80 * 1024)) ]
}
