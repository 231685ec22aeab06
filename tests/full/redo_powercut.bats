#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: the power is cut under a writable mount, 50 times: a prefix, everything fsynced is there, bytes are equal; 3 min
#
# PLYFS_CUTS says how often, PLYFS_SEED where. A disk that was not recovered stays in build/VARIANT/powercut.

# shellcheck disable=SC2016  # what is in quotes is for the shell that is called
# shellcheck disable=SC2030,SC2031,SC2154  # each test sets what it exports; served sets daemon, run lines
load ../lib/common
load ../lib/layouts
load ../lib/powercut
load ../lib/writable
bats_require_minimum_version 1.5.0

setup_file()
{
	need_powercut || return 0
	four_folders
}

setup()
{
	ready
	seed=${PLYFS_SEED:-$RANDOM}
	echo "# seed $seed" >&3
}

teardown() { [ -n "${SKIP:-}" ] || unmount_all "$BATS_TEST_TMPDIR/m"; }

# Image and log on the disk that is cut.
disk_with_log()
{
	powercut make disk --size 256
	powercut on "$PWD/disk/disk" "$PWD/disk/mnt" -- bash -ec 'cp "$1" "$2/i.plyfs"; plyfs redo create "$2/i.plyfs" "$2/m.redo"' - \
		"$BATS_FILE_TMPDIR/gold.plyfs" {}
}

# how: umount, or what a daemon leaves that is killed
worked_on()
{
	served "$m" "$1/m.redo"
	traced run "$m" "$POWERCUT_DIR/trace" --threads "$threads" --ops "$ops" --seed "$seed" 3>&-
	if [ "$how" = umount ]; then
		plyfs umount "$m"
	else
		kill -KILL "$daemon"
		gone "$m"
	fi
}

# Mounted anew it is one of the states that it may be in; and can be worked on.
recovers_mount()
{
	local rc=0
	mounted "$m" "$1/m.redo" || return
	traced judge "$m" "$POWERCUT_DIR/trace" --durable || rc=$?
	touch "$m/t0/more" || rc=$?
	plyfs sync "$m" || rc=$?
	plyfs umount "$m" || rc=$?
	return "$rc"
}

export -f worked_on recovers_mount served gone is_gone mounted traced

@test "a prefix, everything that was fsynced, and the same bytes" {
	local cuts=${PLYFS_CUTS:-50} i
	export m=$PWD/m ops=250 threads how seed
	for ((i = 0; i < 5; i++)); do
		threads=$((1 + i % 3)) how=umount
		((i % 2)) || how='kill'
		rm -rf disk
		disk_with_log
		powercut record disk -- bash -ec 'worked_on "$1"' - {}
		powercut check disk --cuts $((cuts / 5 + (i < cuts % 5))) --seed $((seed + i)) --keep "$PLYFS_BUILD/powercut" -- \
			bash -ec 'recovers_mount "$1"' - {} >out || { cat out; false; }
		tail -n 1 out >&3
	done
}

@test "a disk that only says that it has flushed is found out" {
	export m=$PWD/m ops=150 threads=2 how=umount seed
	disk_with_log
	powercut record disk -- bash -ec 'worked_on "$1"' - {}
	run ! powercut check disk --cuts 25 --seed "$seed" --late 6 -- bash -ec 'recovers_mount "$1"' - {}
	[[ $output == *" that must be there; "* ]]
	echo "# ${lines[-1]#\# }" >&3
}
