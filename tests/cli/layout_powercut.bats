#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Layouts whose power is cut: a few cuts; `make check-full SUITE=powercut` has many. PLYFS_SEED says where.

# shellcheck disable=SC2154  # run sets output, small_composite given
load ../lib/common
load ../lib/layouts
load ../lib/powercut
bats_require_minimum_version 1.5.0

setup_file()
{
	need_powercut || return 0
	small_composite
}

setup() { ready; }

@test "the disk: what was fsynced is never lost, what was not is, and a disk that answers too early is found out" {
	local fsynced=(python3 "$PLYFS_TESTS/lib/fsynced.py")
	powercut make disk
	powercut record disk -- "${fsynced[@]}" write {} "$PWD/acks" 40
	[ "$(wc -l <acks)" = 40 ]
	powercut check disk --cuts 25 -- "${fsynced[@]}" check {} "$PWD/acks" "$PWD/lost"
	[ -s lost ]
	run ! powercut check disk --cuts 25 --late 3 -- "${fsynced[@]}" check {} "$PWD/acks" "$PWD/lost"
	[[ $output == *"of them lost"* ]]
	# what a kept log is for: the same disk again
	powercut replay disk --cut 60 --to once
	powercut replay disk --cut 60 --to again
	cmp once again
	powercut on once mnt -- test -e {}/synced0
}

@test "a layout: resumed it is the tree, taken out the target is as it was" {
	local seed=${PLYFS_SEED:-$RANDOM}
	echo "# seed $seed" >&3
	target_disk disk target
	# shellcheck disable=SC2086  # words
	interrupted disk $given -j 2
	recovers disk "${PLYFS_CUTS:-5}" "$seed"
}
