#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: layouts that are killed, fail or find the disk full at every one of their calls; 10 min

load ../lib/common
bats_require_minimum_version 1.5.0

@test "all of tests/cli/layout_faults.bats, at all calls" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	PLYFS_FAULTS=0 bats --tap "$PLYFS_TESTS/cli/layout_faults.bats" >log 3>&- || { cat log; false; }
	sed -n 's/^# /# /p' log >&3
}
