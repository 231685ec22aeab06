#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Which thread is first makes no difference to a layout: the small composite with 1 to 32 streams, and under some hundred schedules
# that are drawn by tests/schedule. The thread sanitizer is run on this file, too.

load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "layout sets owners and makes devices" || return 0
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || return 0
	export composite=$BATS_FILE_TMPDIR/composite memory=$BATS_FILE_TMPDIR/memory
	"$PLYFS_TESTS/lib/small_composite.py" "$composite" --check >"$BATS_FILE_TMPDIR/made" 2>&1 ||
		{ cat "$BATS_FILE_TMPDIR/made"; return 1; }
	mkdir "$memory"
	mount -t tmpfs -o size=400m,mode=755 schedules "$memory" || lacks "no tmpfs can be mounted" || return 0
}

setup() { ready; }

teardown_file()
{
	if mountpoint -q "$BATS_FILE_TMPDIR/memory"; then umount "$BATS_FILE_TMPDIR/memory"; fi
}

program=$PLYFS_BUILD/tests/schedule/schedules
schedules() { "$program" "$composite/i.plyfs" "$memory" --policy="$composite/policy.yaml" "$@"; }

@test "the small composite is what it must be; 1, 2, 8 and 32 streams and the mount are what the oracle says" {
	cat "$BATS_FILE_TMPDIR/made"
	grep '^os, web, apple, birch, cedar: 20[0-9][0-9] files, 20.[0-9] MiB, ' "$BATS_FILE_TMPDIR/made"
	sed 's/^/# /' "$BATS_FILE_TMPDIR/made" >&3
}

@test "one tree, whatever the schedule" {
	schedules >out
	sed 's/^/# /' out >&3
}

@test "one tree, too, of a selection with files and owners that depend on it" {
	mkdir machine
	python3 "$PLYFS_TESTS/lib/sharedtree.py" machine
	plyfs capture machine i.plyfs -c db=db -c web=web -c lang=lang
	"$program" i.plyfs "$memory" --select=db --select=web --distinct=100 >out
	sed 's/^/# /' out >&3
	grep ' condition [0-9]' out
}

@test "a second writer of one path is found, whichever comes first; without O_EXCL it is not" {
	local kind
	for kind in queue other link; do
		schedules --plant="$kind"
	done
	for kind in queue other; do
		run -1 schedules --plant="$kind" --without-excl
		[[ $output == *": was not found" ]]
	done
}

@test "wrong usage" {
	run -2 schedules --plant=nothing
	run -2 schedules --distinct=0
	run -2 schedules more
	run -2 "$program" nowhere "$memory"
	run -2 schedules --select=nobody
}
