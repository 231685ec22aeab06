#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: xfstests, the quick group of generic tests, on writable mounts: none fails but those that tests/README.md explains; 40 min
#
# PLYFS_XFSTESTS='generic/001 ...' says which ones. What they have written stays in build/VARIANT/xfstests.

# shellcheck disable=SC2016,SC2154  # for the shell that is called; suite: by suite()
load ../lib/common
load ../lib/suites
load ../lib/writable
bats_require_minimum_version 1.5.0

setup_file() { need_writable && suite xfstests || return 0; }

setup()
{
	ready
	with_helpers true || skip "no overlay can be mounted on /usr/sbin"
}

# Two logs, on an image of nothing: their names are what xfstests takes for devices.
two_logs()
{
	local name
	# ordinary users have to reach it; and no name of theirs may have a dot
	mkdir "$TMPDIR/x"
	cd "$TMPDIR/x" || exit
	mkdir empty
	plyfs capture empty empty.plyfs
	for name in test scratch; do
		mkdir "$name"
		plyfs redo create empty.plyfs "$name.redo"
	done
	cat >config <<-END
		export FSTYP=fuse FUSE_SUBTYP=.plyfs
		export TEST_DEV=$PWD/test.redo TEST_DIR=$PWD/test SCRATCH_DEV=$PWD/scratch.redo SCRATCH_MNT=$PWD/scratch
		export RESULT_BASE=$PLYFS_BUILD/xfstests
	END
}

@test "the quick group: each failure is one that is expected, and why is said" {
	local tests=${PLYFS_XFSTESTS:--g generic/quick}
	two_logs
	rm -rf "$PLYFS_BUILD/xfstests"
	# shellcheck disable=SC2086  # words
	HOST_OPTIONS=$PWD/config TMPDIR=/tmp with_helpers bash -c 'cd "$1" && shift && ./check "$@"' - "$suite" $tests >out 2>&1 || true
	grep -E '^(Ran|Not run|Failures|Failed|Passed)' out | cut -c 1-200 | sed 's/^/# /' >&3
	grep -q '^Ran: ' out || { tail -n 30 out; false; }
	sed -n 's/^Failures: //p' out | tr ' ' '\n' | grep . | sort -u >failed || true
	sed -n 's/^| \(generic\/[0-9]*\) | .*/\1/p' "$PLYFS_TESTS/README.md" | sort >expected
	[ -s expected ]
	# what was not run proves nothing
	ran=$(sed -n 's/^Ran: //p' out | wc -w) not=$(sed -n 's/^Not run: //p' out | wc -w)
	echo "# $((ran - not)) of $ran had what they need" >&3
	[ -n "${PLYFS_XFSTESTS:-}" ] || [ $((ran - not)) -ge 150 ]
	# whatever is not expected, with what it said
	comm -23 failed expected >wrong
	while read -r test; do
		echo "# $test" >&3
		diff "$suite/tests/$test.out" "$PLYFS_BUILD/xfstests/$test.out.bad" | head -n 20 | sed "s|^|#   |" >&3 || true
	done <wrong
	[ ! -s wrong ]
}
