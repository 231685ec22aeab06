#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# A damaged image: an error for what is damaged, and nothing else.

load common
bats_require_minimum_version 1.5.0

setup_file()
{
	make_gold
	[ -d "$D/m" ] || return 0
	mkdir "$D/d"
	for i in 1 2 3; do
		head -c 300000 /dev/urandom >"$D/d/file$i"
		echo "small $i" >"$D/d/small$i"
	done
	plyfs capture "$D/d" "$D/d.plyfs"
}

setup()
{
	need_root
	cd "$D" || return
}

teardown()
{
	cd /
	unmount_all
}

@test "a damaged data block is EIO for its file only, and told once" {
	cp d.plyfs bad.plyfs
	probe flip bad.plyfs 12 1000
	"$PLYFS_BUILD/libexec/plyfs/plyfs-fuse" -f bad.plyfs m 2>log &
	for _ in $(seq 100); do mountpoint -q m && break; sleep 0.1; done
	[ "$(probe read-errno m/file1)" = EIO ]
	[ "$(probe read-errno m/file1)" = EIO ]
	cmp d/file2 m/file2
	cmp d/file3 m/file3
	cmp d/small1 m/small1
	[ "$(wc -l <log)" = 1 ]
	grep -q 'BLOCK_CHECKSUM' log
	plyfs umount m
	wait %1
}

@test "damaged metadata is EIO, and the daemon lives" {
	for section in 1 2 3 4 10; do
		cp gold.plyfs bad.plyfs
		probe flip bad.plyfs $section 24
		run plyfs mount bad.plyfs m
		[ "$status" = 0 ] || { [ "$status" = 4 ]; continue; }
		find m -type f -exec wc -c {} + >/dev/null 2>&1 || true
		[ "$(probe errno m)" = OK ] || [ "$(probe errno m)" = EIO ]
		probe requests m
		plyfs umount m
	done
}

@test "an image cut off while it is mounted: errors, and the daemon lives" {
	cp gold.plyfs bad.plyfs
	pid=$(plyfs mount --json bad.plyfs m | pid_of)
	truncate -s 20000 bad.plyfs
	find m -type f -exec cat {} + >/dev/null 2>&1 || true
	find m -exec getfattr -d -m - {} + >/dev/null 2>&1 || true
	refute is_gone "$pid"
	plyfs umount m
	is_gone "$pid"
}

@test "one bad superblock is told, two are not mounted" {
	cp d.plyfs bad.plyfs
	printf x | dd of=bad.plyfs bs=1 seek=100 conv=notrunc status=none
	run plyfs mount bad.plyfs m
	[ "$status" = 0 ]
	[[ $output == *"warning: superblock"* ]]
	cmp d/file1 m/file1
	plyfs umount m
	printf x | dd of=bad.plyfs bs=1 seek=4200 conv=notrunc status=none
	run plyfs mount bad.plyfs m
	[ "$status" = 4 ]
	refute mountpoint -q m
}

@test "an image that is cut off under a mount: EIO, never zeros, and the daemon lives" {
	cd "$BATS_TEST_TMPDIR" || return
	mkdir tree mnt
	for i in $(seq 600); do
		printf 'file number %05d has this secret text in it 123456\n' "$i" >"tree/f$i"
	done
	plyfs capture tree i.plyfs >/dev/null
	plyfs mount i.plyfs mnt
	cat mnt/f* >/dev/null
	[ "$(cat mnt/f* | cksum)" = "$(cat tree/f* | cksum)" ]
	truncate -s 12288 i.plyfs
	echo 3 >/proc/sys/vm/drop_caches
	good=0
	for f in mnt/f1 mnt/f100 mnt/f300 mnt/f500 mnt/f600; do
		if text=$(cat $f 2>/dev/null | tr -d '\0'); [ -n "$text" ]; then
			[[ $text == "file number "*"secret text"* ]]
			good=$((good + 1))
		else
			run cat $f
			[ "$status" != 0 ]
		fi
	done
	[ $good -lt 5 ]
	ls mnt >/dev/null 2>&1 || true
	plyfs umount mnt
}

@test "the root directory is no mount point" {
	cd "$BATS_TEST_TMPDIR" || return
	mkdir tree
	plyfs capture tree i.plyfs >/dev/null
	run -1 plyfs mount i.plyfs /
	[[ $output == *"root directory"* ]]
}
