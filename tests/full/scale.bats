#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: a million files: what is touched, held in memory and written for them; 5 min, 6 GiB of RAM or disk
# The limits of tests/mount/scale.bats at full size. Seconds are printed and judged by people.

load ../lib/common
load ../lib/scale
bats_require_minimum_version 1.5.0

files=1000000
somewhere=directory-02500/file-0000500100.txt

say() { echo "# $*" >&3; }

# timed NAME COMMAND...
timed()
{
	local name=$1 from=$EPOCHREALTIME
	shift
	"$@"
	say "$name: $(awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s"
}

setup_file()
{
	need_root "mounts and file systems without readahead" || return 0
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || return 0
	cd "$BATS_FILE_TMPDIR" || exit
	mkdir many
	# a page and an inode for each file
	if [ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -gt $((12 << 20)) ]; then
		mount -t tmpfs -o size=10g,nr_inodes=0 none many
	fi
	many_files few 1000
	many_files many $files
	bare_fs fs 1G
	plyfs capture few fs/few.plyfs
	timed "capture" plyfs capture many many.plyfs
	cp many.plyfs fs/
}

teardown_file()
{
	[ -z "${SKIP:-}" ] || return 0
	umount "$BATS_FILE_TMPDIR/fs"
	if mountpoint -q "$BATS_FILE_TMPDIR/many"; then umount "$BATS_FILE_TMPDIR/many"; fi
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

@test "a mount up to the first stat touches at most 256 KiB" {
	few=$(touched_by_stat fs few.plyfs directory-00002/file-0000000500.txt)
	many=$(touched_by_stat fs many.plyfs $somewhere)
	say "touched: $many bytes, $few for 1,000 files"
	[ "$few" -le $((256 * 1024)) ]
	[ "$many" -le $((256 * 1024)) ]
}

@test "seconds of mount and first stat" {
	mkdir -p mnt
	say "1,000 files, ms best and median: $(cost mount fs/few.plyfs mnt directory-00002/file-0000000500.txt)"
	say "1,000,000 files, ms best and median: $(cost mount many.plyfs mnt $somewhere)"
}

@test "metadata are at most 120 bytes a file" {
	bytes=$(cost metadata fs/many.plyfs os $((files * 30)))
	say "metadata: $bytes bytes"
	[ "$bytes" -le $((files * 120)) ]
}

@test "the daemon holds at most 96 MiB, and what it held for two million inodes is given back" {
	not_sanitized
	pid=$(mounted_pid mnt many.plyfs)
	before=$(cost anonymous "$pid")
	for _ in 1 2; do
		drop_caches
		walk=$(timed "find, cold" cost anonymous "$pid" find mnt -printf '%s %m\n')
		[ "$walk" -le $((96 * 1024)) ]
		forget
		say "daemon, KiB: $before at first, $walk while find ran, $(cost anonymous "$pid") now"
	done
	[ "$(cost anonymous "$pid")" -le $((before + 1024)) ]
	most=$(timed "read of everything, cold" cost anonymous "$pid" grep -rc '' mnt)
	say "daemon, KiB: $most while everything was read"
	[ "$most" -le $((96 * 1024)) ]
	forget
	[ "$(cost anonymous "$pid")" -le $((before + 1024)) ]
	[ "$(python3 "$PLYFS_TESTS/mount/probe.py" requests mnt BATCH_FORGET)" -gt 0 ]
}

@test "capture holds at most 512 MiB" {
	not_sanitized
	most=$(cost memory plyfs capture many again.plyfs)
	rm again.plyfs
	say "capture: $most KiB"
	[ "$most" -le $((512 * 1024)) ]
}

@test "the image is the tree" {
	timed "verify --against" plyfs verify many.plyfs --against many --deep
}
