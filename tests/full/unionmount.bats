#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: unionmount-testsuite, the lower tree an image and the upper one a log; 5 min
#
# tests/README.md says which tests cannot pass, and why.

# shellcheck disable=SC2016,SC2154  # for the shell that is called; suite: by suite()
load ../lib/common
load ../lib/suites
load ../lib/writable
bats_require_minimum_version 1.5.0

setup_file() { need_writable && suite unionmount-testsuite || return 0; }

setup()
{
	ready
	with_helpers true || skip "no overlay can be mounted on /usr/sbin"
}

# One after the other: a failed one does not end the others.
@test "each test, with and without a slash behind names of directories" {
	local test slash failed=0
	# ordinary users have to reach it
	local at=$TMPDIR/union
	export UNIONMOUNT_BASEDIR=$at/base UNIONMOUNT_LOWERDIR=$at/lower UNIONMOUNT_MNTPOINT=$at/mnt
	for test in "$suite"/tests/*.py; do
		test=$(basename "$test" .py)
		# the one is for those that cannot rename directories, the other the suite itself does not run: it asks O_CREAT|O_DIRECTORY, which
		# the kernel refuses since 6.3, whatever the file system
		[[ " rename-exdev dir-weird-open-dir " != *" $test "* ]] || continue
		for slash in 0 1; do
			rm -rf "$at"
			mkdir -p "$at"/{base,lower,mnt}
			if ! with_helpers bash -ec 'cd "$1" && ./run --ov --fuse=plyfs --ts=$2 "$3"; umount "$UNIONMOUNT_MNTPOINT" 2>/dev/null || true' - \
					"$suite" "$slash" "$test" >out 2>&1; then
				echo "# $test, --ts=$slash: $(grep -vE '^ *$' out | tail -n 1)" | tee -a /dev/fd/3
				failed=$((failed + 1))
			fi
		done
	done
	[ "$failed" = 0 ]
}
