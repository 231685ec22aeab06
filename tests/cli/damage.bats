#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Damaged images through the real commands: a sample of what tests/damage does with all of them, in one process.

load ../lib/common

setup_file() {
	need_root "devices, mounts" || return 0
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || return 0
	"$PLYFS_BUILD/tests/damage/damage" --write="$BATS_FILE_TMPDIR/image"
}

setup() { ready; }

@test "300 flips and cuts: the right result, or a message and exit code 4" {
	seed=${PLYFS_SEED:-$RANDOM}
	echo "# PLYFS_SEED=$seed" >&3
	# of our own: a mount that another process has taken into its namespace meanwhile does not end
	unshare --mount python3 "$PLYFS_TESTS/damage/commands.py" "$BATS_FILE_TMPDIR/image" 300 "$seed" "$BATS_TEST_TMPDIR"
}
