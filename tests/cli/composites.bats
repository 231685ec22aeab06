#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Some random composite images against the oracle; tests/full/composites.bats has 200, and counts.

load ../lib/common
bats_require_minimum_version 1.5.0

setup()
{
	need_root "owners, devices, mounts" || true
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || true
	ready
}

@test "random composites are what the oracle says: planned, mounted, laid out by 1 and 8 streams" {
	echo "seed ${PLYFS_SEED:-1}"
	python3 "$PLYFS_TESTS/lib/composite.py" d "${PLYFS_SEED:-1}00-${PLYFS_SEED:-1}09" --least 1
}
