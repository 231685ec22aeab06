#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: 300 logs that are cut off or have a bit flipped, through the commands; 5 min

export PLYFS_DAMAGES=${PLYFS_DAMAGES:-300}
load ../lib/common

@test "tests/mount/redo_damage.bats, often" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	bats --tap "$PLYFS_TESTS/mount/redo_damage.bats" 3>&- >out 2>&1 || { cat out; false; }
	cat out
	refute_skips out
}

refute_skips() { ! grep '# skip' "$1"; }
