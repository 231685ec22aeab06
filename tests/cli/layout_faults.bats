#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout in a system that fails: at each of its calls it is killed, gets an error, finds the disk full, dead, or
# read-only (layout_faults.py says what must be true). PLYFS_FAULTS: at how many calls of each kind (20; 0: all of them,
# as tests/full/layout_faults.bats does).

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
load ../lib/layout_trees
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "owners, devices, file systems" || return 0
	export PLYFS_SEED=${PLYFS_SEED:-$RANDOM}
	tiny_composite "$BATS_FILE_TMPDIR"
}

setup()
{
	ready
	tiny=$BATS_FILE_TMPDIR/tiny
}

teardown()
{
	local dir
	for dir in "$BATS_TEST_TMPDIR"/fs*; do
		if mountpoint -q "$dir"; then umount "$dir" || umount -l "$dir"; fi
	done
}

# faults WHAT... [OPTION...]
faults()
{
	run python3 "$PLYFS_TESTS/lib/layout_faults.py" "$tiny.plyfs" "$tiny" "$@" --policy "$tiny.yaml" \
		--share "${PLYFS_FAULTS:-20}" --seed "$PLYFS_SEED"
	echo "$output"
	grep -E '^[a-z-]+: .* wrong' <<<"$output" | sed 's/^/# /' >&3
	[ "$status" = 0 ]
}

@test "killed at any call, then resumed or taken out" { faults kill; }

@test "killed again at any call of the --resume, or of the --abort" { faults kill-resume kill-abort; }

@test "killed at any call, where everything is made durable" { faults kill kill-abort --sync; }

@test "an error at any call: told with the path, and the target is as it was" { faults error; }

@test "an error at any call of a --resume, of an --abort: told, and both verbs go on" { faults error-resume error-abort; }

@test "the disk is full from any call on" { faults full full-abort; }

@test "the disk fails for good from any call on, or is read-only; after a reboot both verbs work" { faults dead readonly; }

@test "another process puts its file at a name just before a call: it is never lost or changed" {
	faults swap swap-second swap-undo swap-resume swap-abort swap-kill
}

@test "writes that are cut short are gone on with" { faults short; }
