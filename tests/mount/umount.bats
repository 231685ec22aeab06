#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# The end of a mount: when plyfs umount returns, the image is no longer in use.

load common

setup_file()
{
	make_gold
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

@test "umount returns when the daemon has ended" {
	for _ in 1 2 3 4 5; do
		pid=$(plyfs mount --json gold.plyfs m | pid_of)
		find m >/dev/null
		plyfs umount m
		is_gone "$pid"
		refute mountpoint -q m
	done
}

@test "a mount in use stays, and the users are named" {
	plyfs mount gold.plyfs m
	tail -f m/etc/passwd >/dev/null &
	file=$!
	(cd m/etc && exec sleep 60) &
	cwd=$!
	sleep 0.2
	run plyfs umount --json m
	[ "$status" = 1 ]
	[[ $output == *MOUNTPOINT_BUSY* ]]
	[[ $output == *"process $file (tail: open file)"* ]]
	[[ $output == *"process $cwd (sleep: working directory)"* ]]
	[ -e m/etc/passwd ]
	kill $file $cwd
	wait $file $cwd || true
	plyfs umount m
}

@test "a mount that lies on it is named" {
	plyfs mount gold.plyfs m
	mount -t tmpfs none m/etc
	run plyfs umount m
	[ "$status" = 1 ]
	[[ $output == *"a mount on $D/m/etc"* ]]
	umount m/etc
	plyfs umount m
}

@test "what is not mounted, or is no image, is NOT_MOUNTED" {
	mkdir -p other
	mount -t tmpfs none other
	for dir in m other nothing gold.plyfs; do
		run plyfs umount --json "$dir"
		[ "$status" = 1 ]
		[[ $output == *NOT_MOUNTED* ]]
	done
	mountpoint -q other
	run plyfs umount
	[ "$status" = 2 ]
}

@test "a dead daemon's mount goes, also one in use" {
	for use in no yes; do
		pid=$(plyfs mount --json gold.plyfs m | pid_of)
		if [ $use = yes ]; then
			(cd m/etc && exec sleep 60) &
			sleep 0.2
		fi
		kill -KILL "$pid"
		for _ in $(seq 100); do is_gone "$pid" && break; sleep 0.1; done
		run ls m/usr/lib/*
		[ "$status" != 0 ]
		run plyfs mount --json gold.plyfs m
		[[ $output == *MOUNTPOINT_BUSY* ]]
		plyfs umount m
		refute mountpoint -q m
	done
	kill %1
}

@test "SIGTERM while many read small files: the daemon ends" {
	for n in $(seq 0 10 90); do
		pid=$(plyfs mount --json gold.plyfs m | pid_of)
		timeout 120 python3 "$TESTS/mount/probe.py" terminate "$pid" m "$n"
		umount m 2>/dev/null || true
		refute mountpoint -q m
	done
}

@test "a symlink to the place will do; a directory in the mount will not" {
	ln -sfn m link
	plyfs mount gold.plyfs link
	run plyfs umount --json m/etc
	[[ $output == *NOT_MOUNTED* ]]
	plyfs umount link
	refute mountpoint -q m
}

@test "odd names of image and place" {
	dir=$'new\nline,tab\t \\040x'
	image=$'im\nage, \\054x@1.plyfs'
	mkdir -p "$dir"
	cp gold.plyfs "$image"
	plyfs mount "$image" "$dir"
	python3 "$TESTS/lib/compare.py" gold "$dir"
	plyfs umount "$dir"
	refute mountpoint -q "$dir"
}

@test "mounted elsewhere too: told, and the daemon lives until the last is gone" {
	mkdir -p second
	pid=$(plyfs mount --json gold.plyfs m | pid_of)
	mount --bind m/etc second
	run plyfs umount m
	[ "$status" = 1 ]
	[[ $output == *"also on $D/second"* ]]
	[ -e second/passwd ]
	refute is_gone "$pid"
	umount second
	for _ in $(seq 100); do is_gone "$pid" && break; sleep 0.1; done
	is_gone "$pid"
}

@test "kept by another mount namespace: its process is named" {
	unshare -m --propagation private true || skip "no mount namespaces here"
	plyfs mount gold.plyfs m
	unshare -m --propagation private sleep 60 &
	sleep 0.5
	run plyfs umount m
	[ "$status" = 1 ]
	[[ $output == *"process $! has it in a mount namespace of its own"* ]]
	kill %1
	wait || true
	refute mountpoint -q m
}

@test "umount(8) will do as well" {
	pid=$(plyfs mount --json gold.plyfs m | pid_of)
	umount m
	for _ in $(seq 100); do is_gone "$pid" && break; sleep 0.1; done
	is_gone "$pid"
}
