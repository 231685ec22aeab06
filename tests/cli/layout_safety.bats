#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout overwrites nothing, and touches nothing outside TARGET: by what strace sees of it (strace_audit.py), and in a
# storm of another process that works in the target (layout_storm.py). PLYFS_STORMS: rounds of it (12), PLYFS_SEED: which.
# Hostile images are for test_crafted.py.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
load ../lib/layout_trees
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "owners, devices" && gold small || return 0
	tiny_composite "$BATS_FILE_TMPDIR"
	small_composite "$BATS_FILE_TMPDIR"
	export PLYFS_SEED=${PLYFS_SEED:-$RANDOM}
}

setup()
{
	ready
	tiny=$BATS_FILE_TMPDIR/tiny small=$BATS_FILE_TMPDIR/small
	mkdir target
}

audit() { python3 "$PLYFS_TESTS/lib/strace_audit.py" "$@"; }

# traced [STRACE OPTION...] -- COMMAND...: into trace; with io_uring refused, what it does would not be seen. A sanitizer's
# reports go to stderr, with its exit code: it would make the folder of their file first, which is not the target.
traced()
{
	local options=()
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	local -x ASAN_OPTIONS=$ASAN_OPTIONS:log_path=stderr UBSAN_OPTIONS=$UBSAN_OPTIONS:log_path=stderr
	straced -yy -s 512 -e "trace=$(audit --trace)" -e inject=io_uring_setup:error=EPERM "${options[@]}" -o trace "$@"
}

# can_trace: strace may be forbidden in a container
can_trace() { traced -- true 2>strace.log || skip "strace cannot trace here: $(tail -n 1 strace.log)"; }

# audited: what the trace shows is right, and it shows something
audited()
{
	run audit trace --target "$(realpath target)"
	echo "$output"
	echo "# ${lines[-1]}" >&3
	[ "$status" = 0 ]
}

@test "what strace sees of a new layout, of one that is killed, of --resume, of --abort: nothing is overwritten" {
	can_trace
	traced -- plyfs layout "$small.plyfs" target --policy "$small.yaml" -j 3
	audited
	[[ $output != *" 0 files opened to be written"* ]]
	same "$small" target
	traced -- plyfs layout "$small.plyfs" target --abort --all
	audited
	[ -z "$(ls -A target)" ]
	local call
	for call in mkdirat:when=30 symlinkat:when=3 linkat:when=2; do
		run traced -e "inject=${call%:*}:signal=KILL:${call#*:}" -- plyfs layout "$small.plyfs" target --policy "$small.yaml" -j 1
		[ "$status" = 137 ]
		audited
		if [ "$call" = linkat:when=2 ]; then
			traced -- plyfs layout "$small.plyfs" target --abort --all
			[ -z "$(ls -A target)" ]
		else
			traced -- plyfs layout "$small.plyfs" target --resume
			same "$small" target
			rm -rf target
			mkdir target
		fi
		audited
	done
}

@test "what strace sees of a layout that fails and takes itself out" {
	can_trace
	run traced -e inject=linkat:error=EIO:when=2 -- plyfs layout "$tiny.plyfs" target --policy "$tiny.yaml" -j 2
	[ "$status" = 1 ]
	[ -z "$(ls -A target)" ]
	audited
}

@test "the auditor sees what others do who are less careful" {
	can_trace
	traced -- sh -c 'echo x >target/a'
	run -1 audit trace --target "$(realpath target)"
	[[ $output == *"creates without O_EXCL"* ]]
	touch target/b
	traced -- mv -f target/a target/b
	run -1 audit trace --target "$(realpath target)"
	[[ $output == *"renames without RENAME_NOREPLACE"* ]]
	traced -- cp /bin/true outside
	run -1 audit trace --target "$(realpath target)"
	[[ $output == *"outside the target"* ]]
}

@test "another process creates, removes and exchanges names in the target: none of its files is lost or changed" {
	for t in "$tiny" "$small"; do
		run python3 "$PLYFS_TESTS/lib/layout_storm.py" "$t.plyfs" "$t" storm --policy "$t.yaml" \
			--rounds "${PLYFS_STORMS:-12}" --seed "$PLYFS_SEED"
		echo "$output"
		echo "# ${lines[-1]}" >&3
		[ "$status" = 0 ]
	done
}
