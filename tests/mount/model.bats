#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Random operations on a writable mount and on ext4: no difference (tests/model). PLYFS_MODEL_OPS says how many (100000), PLYFS_SEED
# which; `make check-full SUITE=model` does more. Now and then it is mounted anew.

load ../lib/common
load ../lib/writable
bats_require_minimum_version 1.5.0

setup_file()
{
	need_writable || return 0
	small_machine
}

setup()
{
	ready
	trusted_fs trusted 2G
}

teardown()
{
	[ -n "${SKIP:-}" ] || { unmount_all "$BATS_TEST_TMPDIR/m" && oddfs_done trusted; }
}

model() { timeout 600 "$PLYFS_BUILD/tests/model/fsmodel" "$@"; }

# of each kind of omission 1,500 operations are enough
@test "two directories of ext4 do not differ, and each change that only one of them gets is found" {
	local verb
	small=$TMPDIR/trusted
	cp -a "$BATS_FILE_TMPDIR/gold" "$small/b"
	cp -a "$small/b" "$small/a"
	model "$small/a" "$small/b" --ops=5000 --compare=2500
	for verb in create write truncate link symlink mknod mkdir rmdir unlink rename chmod chown utimens setxattr removexattr acl open \
			tmpfile linkat pwrite ftruncate fallocate mmap copy fchmod; do
		rm -r "$small"/[ab]
		cp -a "$BATS_FILE_TMPDIR/gold" "$small/a"
		cp -a "$BATS_FILE_TMPDIR/gold" "$small/b"
		run -1 model "$small/a" "$small/b" --ops=4000 --compare=1000 --forget="$verb"
		[[ $output == *"# seed 1, operation "* ]]
	done
}

@test "a writable mount is what ext4 is, after each of many random operations" {
	local seed=${PLYFS_SEED:-$RANDOM} ops=${PLYFS_MODEL_OPS:-100000}
	echo "# seed $seed" >&3
	cp -a "$BATS_FILE_TMPDIR/gold" "$TMPDIR/trusted/b"
	fresh_log m.redo m
	cat >remount <<-END
		#!/bin/bash
		plyfs umount "$PWD/m" && plyfs mount "$PWD/m.redo" "$PWD/m" </dev/null >"$PWD/log" 2>&1 3>&-
	END
	chmod +x remount
	model m "$TMPDIR/trusted/b" --ops="$ops" --seed="$seed" --compare=$((ops / 10)) --remount="$PWD/remount" >out || { tail -n 60 out; false; }
}

@test "so is one whose changes are gone with it" {
	cp -a "$BATS_FILE_TMPDIR/gold" "$TMPDIR/trusted/b"
	mounted m "$BATS_FILE_TMPDIR/gold.plyfs" --volatile
	model m "$TMPDIR/trusted/b" --ops=5000 --compare=2500 --seed="${PLYFS_SEED:-$RANDOM}" >out || { tail -n 60 out; false; }
	unmounted m
	mounted m "$BATS_FILE_TMPDIR/gold.plyfs" --volatile
	same "$BATS_FILE_TMPDIR/gold" m
}

@test "wrong usage" {
	mkdir a b
	run -2 model a
	run -2 model a b --forget=nothing
	run -2 model a nowhere
	run -2 model a b --unknown
}
