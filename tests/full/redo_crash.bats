#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: logs whose disk is taken away between any two writes, until 101,000 different states were opened again; 2 min
#
# PLYFS_REDO_STATES says how many, PLYFS_SEED which.

load ../lib/common
bats_require_minimum_version 1.5.0

setup() { ready; }

@test "tests/unit/test_redo_crash.c, for long" {
	PLYFS_REDO_STATES=${PLYFS_REDO_STATES:-101000} CK_DEFAULT_TIMEOUT=3600 "$PLYFS_BUILD/tests/unit/test_redo_crash" >out ||
		{ tail -n 40 out; false; }
	sed 's/^/# /' out >&3
}
