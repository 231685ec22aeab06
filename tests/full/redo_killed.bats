#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: the daemon of a writable mount killed 100 times under traced requests, and 100 times under sqlite; 5 min

export PLYFS_KILLS=${PLYFS_KILLS:-100}
load ../lib/common

@test "tests/mount/redo_killed.bats, often" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	bats --tap "$PLYFS_TESTS/mount/redo_killed.bats" 3>&- >out 2>&1 || { cat out; false; }
	refute_skips out
}

refute_skips() { ! grep '# skip' "$1"; }
