#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# pjdfstest, 8,798 tests of POSIX and 29 of what ext4 does besides: all of them pass on a writable mount, as root.

# shellcheck disable=SC2154  # suite: by suite()
load ../lib/common
load ../lib/writable
load ../lib/suites
bats_require_minimum_version 1.5.0

setup_file()
{
	need_writable && suite pjdfstest || return 0
	small_machine
}

setup() { ready; }

teardown() { [ -n "${SKIP:-}" ] || unmount_all "$BATS_TEST_TMPDIR/m"; }

# Most of its time is sleep. Each file gets a directory of its own, so that they run beside one another.
pjdfstest()
{
	cat >alone <<'END'
#!/bin/bash
dir=$(mktemp -d ./XXXXXX) && chmod 755 "$dir" && cd "$dir" && exec /bin/sh "$1"
END
	chmod +x alone
	(cd "$1" && prove -j 16 --exec "$OLDPWD/alone" -r "$suite/tests")
}

@test "all tests pass on a writable mount" {
	fresh_log m.redo m
	mkdir m/tests
	pjdfstest m/tests >out 2>&1 || { grep -vE '\.\. ok$' out | tail -n 100; false; }
	tail -n 3 out | sed 's/^/# /' >&3
	grep -q '^Files=238, Tests=8827,' out
}
