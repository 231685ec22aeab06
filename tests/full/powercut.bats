#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: layouts, resumes and aborts whose power is cut, ext4 recovered, resumed or taken out; 2 min
#
# PLYFS_CUTS says how often the power of layouts is cut (50), PLYFS_SEED where. A disk that was not recovered stays in
# build/VARIANT/powercut, as tests/lib/powercut.py tells.

# shellcheck disable=SC2016  # what is in quotes is for the shell that is called
# shellcheck disable=SC2154  # run sets output and lines, target_disk where, the composites given
# shellcheck disable=SC2086  # given is words
load ../lib/common
load ../lib/layouts
load ../lib/powercut
bats_require_minimum_version 1.5.0

setup_file()
{
	need_powercut && gold small || return 0
}

setup()
{
	ready
	seed=${PLYFS_SEED:-$RANDOM}
	RANDOM=$((seed % 32768))
	echo "# seed $seed" >&3
}

# composite N: in turn the one and the other
composite() { if (($1 % 2)); then rare_composite; else small_composite; fi; }

@test "a layout: resumed it is the tree, taken out the target is as it was" {
	local cuts=${PLYFS_CUTS:-50} runs=5 i at
	for ((i = 0; i < runs; i++)); do
		composite "$i"
		# on a whole disk nobody else writes, so that ext4 commits only what the layout asks for
		at=target
		((i % 3)) || at=
		target_disk disk "$at"
		interrupted disk $given -j $((1 + RANDOM % 4))
		recovers disk $((cuts / runs + (i < cuts % runs))) $((seed + i))
		rm -rf disk
	done
}

# begun DIR: DIR/disk is what a power cut in the midst of a layout leaves
begun()
{
	local entries
	target_disk "$1" target
	interrupted "$1" $given -j 2
	entries=$(powercut entries "$1")
	until powercut on "$1/disk" mnt -- bash -c 'is_begun "$1"' - "{}/$where"; do
		powercut replay "$1" --cut $(((RANDOM << 15 | RANDOM) % entries)) --survivors "$RANDOM" --to "$1/disk"
	done
}

# Some phases are begun, and not all are committed.
is_begun()
{
	local bytes
	bytes=$(stat -c %s "$1/var/lib/plyfs/journal" 2>/dev/null) && ((bytes >= 2 * 64 && bytes <= 10 * 64))
}

@test "a resume is cut in its turn" {
	export -f is_begun
	local i
	for ((i = 0; i < 5; i++)); do
		composite "$i"
		begun disk
		interrupted disk --resume
		recovers disk 8 $((seed + i))
		rm -rf disk
	done
}

@test "an abort is cut: it goes on, and where it had not begun a resume does" {
	export -f is_begun
	export aborting=1
	local i
	for ((i = 0; i < 5; i++)); do
		composite "$i"
		begun disk
		interrupted disk --abort --all
		recovers disk 8 $((seed + i))
		rm -rf disk
	done
}

@test "a layout that only believes to be durable is found out" {
	echo 'int syncfs(int fd) { (void)fd; return 0; }' >forgets.c
	gcc -shared -fPIC -o forgets.so forgets.c
	small_composite
	target_disk disk target
	preload=$PWD/forgets.so interrupted disk $given -j 2
	run ! powercut check disk --cuts 50 --seed "$seed" -- bash -ec 'recovered "$1"' - {}
	[[ $output == *" differences"* ]]
	echo "# ${lines[-1]#\# }" >&3
}
