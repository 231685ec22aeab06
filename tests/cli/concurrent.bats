#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Everything that runs in several threads, on a tree of 2,000 files: what the thread sanitizer is run on.

load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "layout sets owners" && gold small || return 0
	export image=$BATS_FILE_TMPDIR/small.plyfs
	plyfs capture "$gold" "$image" -c web=web,web-data -c db=db,db-client -c lang=lang -j 8
}

setup()
{
	ready
	mnt=$BATS_TEST_TMPDIR/mnt
}

teardown() { unmount_all "$mnt"; }

@test "captures with many threads, at once" {
	local i pids=()
	for i in 1 2 3; do
		SOURCE_DATE_EPOCH=1700000000 plyfs capture "$gold" "$i.plyfs" -c web=web,web-data -c db=db -j 8 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	cmp 1.plyfs 2.plyfs
	cmp 1.plyfs 3.plyfs
}

@test "many readers of one mount" {
	local i pids=()
	mounted "$mnt" "$image"
	for i in 1 2 3 4; do
		same "$gold" "$mnt" >"compare.$i" 3>&- &
		pids+=($!)
		tar -C "$mnt" --xattrs -cf - . 3>&- | cat >/dev/null &
		pids+=($!)
		find "$mnt" -printf '%i %s %l\n' >"find.$i" 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	cmp find.1 find.4
	plyfs umount "$mnt"
}

@test "two mounts of different selections, and a reader when it is unmounted" {
	local reader rc=0
	mounted "$mnt" "$image" -s os,web
	mounted "$mnt.db" "$image" -s os,db
	(while cat "$mnt"/usr/share/base/part0*/* >/dev/null 2>&1; do :; done) 3>&- &
	reader=$!
	inodes links "$mnt"
	inodes links "$mnt.db"
	plyfs umount "$mnt.db"
	plyfs umount "$mnt" || rc=$?      # busy, or it came between two reads: both are right
	kill "$reader" 2>/dev/null || true
	wait "$reader" || true
	# what it started last may still read
	for _ in {1..100}; do [ "$rc" != 0 ] || break; rc=0; plyfs umount "$mnt" || rc=$?; sleep 0.05; done
	[ "$rc" = 0 ]
}

@test "layouts with many streams, at once" {
	local i pids=()
	for i in 1 2 3; do
		mkdir "$i"
		plyfs layout "$image" "$i" -j 8 --no-sync 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	for i in 1 2 3; do same "$gold" "$i"; done
}

@test "verify with many threads" {
	plyfs verify "$image" --deep
}

@test "many readers of files that two machines brought" {
	local i g pids=()
	for g in os web db; do
		mkdir -p $g/etc/sysctl.d
		printf 'ID=debian\nVERSION_ID="12"\n' >$g/etc/os-release
	done
	for g in web db; do
		for i in {1..40}; do echo "kernel.x$i.$g = 1" >"$g/etc/sysctl.d/$i.conf"; done
	done
	plyfs capture os i.plyfs
	for g in web db; do plyfs add i.plyfs "$g" "$g"; done
	mounted "$mnt" i.plyfs
	for i in 1 2 3 4 5 6; do
		cat "$mnt"/etc/sysctl.d/{1..40}.conf >"read.$i" 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	[ "$(wc -l <read.1)" = 80 ]
	for i in 2 3 4 5 6; do cmp read.1 "read.$i"; done
	plyfs umount "$mnt"
}
