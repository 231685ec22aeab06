#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make check-full SUITE=NAME: what does not fit into CI. Each suite is a file tests/full/NAME.bats or
# NAME.py, with a line "# suite: WHAT; TIME". A line for RESULTS.md is printed at the end.
set -euo pipefail
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$tests/.."

list()
{
	local f
	for f in tests/full/*.bats tests/full/*.py; do
		[ -e "$f" ] || continue
		printf '  %-10s %s\n' "$(basename "${f%.*}")" "$(sed -n '/^# SPDX/,/^[^#]/s/^# suite: //p' "$f")"
	done
}

suite=${1:-}
if [ -z "$suite" ]; then
	echo "make check-full SUITE=NAME; there are:"
	list
	exit 0
fi
for file in "tests/full/$suite.bats" "tests/full/$suite.py" ''; do [ ! -e "$file" ] || break; done
if [ -z "$file" ]; then
	printf 'check-full: no suite %s; there are:\n%s\n' "$suite" "$(list)" >&2
	exit 2
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export PLYFS_TEST_TIMEOUT=${PLYFS_TEST_TIMEOUT:-14400} PLYFS_SEED=${PLYFS_SEED:-$RANDOM}
rc=0
prove --comments --exec tests/run-test "$file" 2>&1 | tee "$log" || rc=$?
awk -v suite="$suite" -v seed="$PLYFS_SEED" -v commit="$(git describe --always --dirty 2>/dev/null)" -v rc="$rc" '
	/^Files=/ { split($2, t, /[=,]/); seconds = $3 }
	match($0, /Failed: [0-9]+/) { bad += substr($0, RSTART + 8, RLENGTH - 8) }
	END { printf "\nfor RESULTS.md:\n| %s | %s | %d passed, %d failed | %d s | %s |\n",
		suite, seed, t[2] - bad, rc && !bad ? 1 : bad, seconds, commit }' "$log"
exit "$rc"
