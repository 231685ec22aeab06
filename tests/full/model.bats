#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: 1,000,000 random operations on a writable mount and on ext4, mounted anew after each 10,000: no difference; 15 min
#
# PLYFS_MODEL_OPS says how many, PLYFS_SEED which.

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
	trusted_fs trusted 8G
}

teardown()
{
	[ -n "${SKIP:-}" ] || { unmount_all "$BATS_TEST_TMPDIR/m" && oddfs_done trusted; }
}

# 20 runs, each on a new log: a difference is found near its cause
@test "a writable mount is what ext4 is, over remounts" {
	local seed=${PLYFS_SEED:-$RANDOM} ops=${PLYFS_MODEL_OPS:-1000000} i here=$PWD
	cat >remount <<END
#!/bin/bash
plyfs umount "$here/m" && plyfs mount "$here/m.redo" "$here/m" </dev/null >"$here/log" 2>&1 3>&-
END
	chmod +x remount
	for ((i = 0; i < 20; i++)); do
		echo "# seed $((seed + i))" >&3
		rm -rf "$TMPDIR/trusted/b"
		cp -a "$BATS_FILE_TMPDIR/gold" "$TMPDIR/trusted/b"
		fresh_log m.redo m
		"$PLYFS_BUILD/tests/model/fsmodel" m "$TMPDIR/trusted/b" --ops=$((ops / 20)) --seed=$((seed + i)) \
			--remount="$here/remount" >out || { tail -n 60 out; false; }
		plyfs umount m
	done
}
