# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For the tests of mounts: to be loaded. They work in $D, a directory of each test file.

: "${PLYFS_BUILD:?set it to the build folder, such as build/gcc}"
TESTS=${PLYFS_TESTS:-$BATS_TEST_DIRNAME/..}
[ -n "${PLYFS_TEST_DIR:-}" ] || PATH=$PLYFS_BUILD/bin:$PATH   # else run-test has set it
D=$BATS_FILE_TMPDIR
export TESTS PATH D

probe()
{
	python3 "$TESTS/mount/probe.py" "$@"
}

# `! command` would be ignored where it is not the last one
refute()
{
	if "$@"; then return 1; fi
}

need_root()
{
	[ "$(id -u)" = 0 ] || skip "needs root"
	[ -c /dev/fuse ] || skip "there is no /dev/fuse"
}

# The same machine of 2,000 files in each test file, as gold.plyfs: os, web, db.
make_gold()
{
	[ "$(id -u)" = 0 ] && [ -c /dev/fuse ] || return 0
	mkdir "$D/gold"
	python3 "$TESTS/lib/small.py" "$D/gold"
	plyfs capture "$D/gold" "$D/gold.plyfs" -c web=web,web-data -c db=db
	mkdir "$D/m"
}

# What a test left mounted; the next one must not suffer from it.
unmount_all()
{
	local point
	while read -r _ _ _ _ point _; do
		point=$(printf '%b' "$point")
		case $point in "$D"/*) umount -l "$point" ;; esac
	done < <(tac /proc/self/mountinfo)
}

# Is the process gone? One that nobody waited for counts as gone.
is_gone()
{
	! [ -d "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"
}

pid_of()   # of the JSON on stdin
{
	sed -n 's/.*"pid": *\([0-9]*\).*/\1/p'
}
