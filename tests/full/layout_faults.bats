#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: layouts that are killed, fail or find the disk full at every one of their calls; 600 rounds of storm; 40 min

# shellcheck disable=SC2154  # output: by run
load ../lib/common
bats_require_minimum_version 1.5.0

# whole FILE: its tests, with what it says
whole()
{
	[ "$(id -u)" = 0 ] || skip "needs root"
	local rc=0
	env -u BATS_RUN_TMPDIR -u BATS_TMPDIR bats --tap "$PLYFS_TESTS/cli/$1" >log 2>&1 3>&- || rc=$?
	grep '^# ' log >&3
	[ "$rc" = 0 ] || { cat log; false; }
}

@test "all calls of layout_faults.bats" {
	cd "$BATS_TEST_TMPDIR"
	PLYFS_FAULTS=${PLYFS_FAULTS:-0} whole layout_faults.bats
}

@test "300 rounds of each storm of layout_safety.bats" {
	cd "$BATS_TEST_TMPDIR"
	PLYFS_STORMS=${PLYFS_STORMS:-300} whole layout_safety.bats
}
