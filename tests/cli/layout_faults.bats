#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout in a system that fails: at each of its calls it is killed, gets an error, finds the disk full, dead, or
# read-only (layout_faults.py says what must be true). PLYFS_FAULTS: at how many calls of each kind (20; 0: all of them,
# as tests/full/layout_faults.bats does).

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
load ../lib/layout_trees
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "owners, devices, file systems" && gold small || return 0
	export PLYFS_SEED=${PLYFS_SEED:-$RANDOM}
	tiny_composite "$BATS_FILE_TMPDIR"
	small_composite "$BATS_FILE_TMPDIR"
}

setup()
{
	ready
	tiny=$BATS_FILE_TMPDIR/tiny
}

teardown()
{
	local dir
	for dir in "$BATS_TEST_TMPDIR"/fs*; do
		if mountpoint -q "$dir"; then umount "$dir" || umount -l "$dir"; fi
	done
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

like_before() { stat -c '%a %U %G %y' fs/target; }

# a target below a file system, as it was
fresh()
{
	rm -rf fs/target
	mkdir -m 750 fs/target
	touch -d '2003-04-05 06:07:08.090807060' fs/target
	before=$(like_before)
}

untouched()
{
	[ -z "$(ls -A fs/target)" ] || { find fs/target | head; false; }
	[ "$(like_before)" = "$before" ] || { echo "was: $before"; echo "is: $(like_before)"; false; }
}

# at K WHAT COMMAND...: with WHAT, a shell's command or `kill`, just before the K-th call of the command
at()
{
	local more=(FAULT_RUN="$2")
	[ "$2" != kill ] || more=(FAULT_DO=kill)
	env FAULT_AT="$1" "${more[@]}" LD_PRELOAD="$PLYFS_BUILD/tests/lib/faults.so" ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" "${@:3}"
}

# faults WHAT... [OPTION...]
faults()
{
	local image=${image:-$tiny}
	run python3 "$PLYFS_TESTS/lib/layout_faults.py" "$image.plyfs" "$image" "$@" --policy "$image.yaml" \
		--share "${share:-${PLYFS_FAULTS:-20}}" --seed "$PLYFS_SEED"
	echo "$output"
	grep -E '^[a-z-]+: .* wrong' <<<"$output" | sed 's/^/# /' >&3
	[ "$status" = 0 ]
}

@test "killed at any call, then resumed or taken out" { faults kill; }

@test "killed again at any call of the --resume, or of the --abort" { faults kill-resume kill-abort kill-out; }

@test "killed at any call, where everything is made durable" { faults kill kill-abort --sync; }

@test "an error at any call: told with the path, and the target is as it was" { faults error; }

@test "an error at any call of a --resume, of an --abort: told, and both verbs go on" { faults error-resume error-abort; }

@test "the disk is full from any call on" { faults full full-abort; }

@test "the disk fails for good from any call on, or is read-only; after a reboot both verbs work" { faults dead readonly; }

@test "another process puts its file at a name just before a call: it is never lost or changed" {
	faults swap swap-second swap-undo swap-resume swap-abort swap-kill swap-twice
}

@test "2,000 files: at some calls" {
	local image=$BATS_FILE_TMPDIR/small share=2
	[ "${PLYFS_FAULTS:-20}" != 0 ] || share=150
	faults kill kill-abort error full swap swap-abort
}

@test "writes that are cut short are gone on with" { faults short; }

# --- real ones -------------------------------------------------------------------------------------------

# bats test_tags=real
@test "a tmpfs of any size: told before the first byte, or laid out" {
	mkdir fs
	local size rc=0 fits=0
	for size in 40k 80k 400k 4m 16m 17m 18m 24m; do
		mount -t tmpfs -o size=$size none fs
		fresh
		rc=0
		plyfs layout "$tiny.plyfs" fs/target --policy "$tiny.yaml" --json >out 2>log || rc=$?
		if [ "$rc" = 0 ]; then
			same "$tiny" fs/target
			fits=$((fits + 1))
		else
			[ "$(json 'd["error"]["reason"]' <out)" = TARGET_FULL ] || { cat log; false; }
			grep -q 'fs/target' log
			untouched
		fi
		umount fs
	done
	[ "$fits" -ge 1 ]
	[ "$fits" -lt 8 ]
}

# bats test_tags=real
@test "another process fills the disk while a layout runs: TARGET_FULL, the path, and all is taken out; a --resume goes on" {
	mkdir fs
	mount -t tmpfs -o size=64m none fs
	local k full=0 rc
	for k in 1 10 20 30 48 60 80 120 200 300 400; do
		fresh
		rc=0
		at "$k" 'head -c 64m /dev/zero >fs/fill 2>/dev/null' \
			plyfs layout "$tiny.plyfs" fs/target --policy "$tiny.yaml" -j 1 --json >out 2>log || rc=$?
		if [ "$rc" = 0 ]; then
			same "$tiny" fs/target
		else
			full=$((full + 1))
			[ "$rc" = 1 ]
			[ "$(json 'd["error"]["reason"]' <out)" = TARGET_FULL ] || { cat log; false; }
			grep -q ' /.*No space left on device.*is empty again\|fs/target.*No space left' log || { cat log; false; }
			untouched
			# one that was killed finds it full, and goes on when there is room
			rm fs/fill
			run -137 at "$((k / 2 + 1))" kill plyfs layout "$tiny.plyfs" fs/target --policy "$tiny.yaml" -j 1
			head -c 64m /dev/zero >fs/fill || true
			run --separate-stderr plyfs layout "$tiny.plyfs" fs/target --resume --policy "$tiny.yaml" --json
			[ "$status" = 0 ] || [ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_FULL ]
			rm fs/fill
			plyfs layout "$tiny.plyfs" fs/target --resume --policy "$tiny.yaml"
			same "$tiny" fs/target
		fi
		rm -f fs/fill
	done
	echo "# full $full times" >&3
	[ "$full" -ge 8 ]
}

# bats test_tags=real
@test "a read-only target: refused, and so are --resume and --abort, until it is not" {
	mkdir fs
	mount -t tmpfs none fs
	fresh
	mount -o remount,ro fs
	run -1 plyfs layout "$tiny.plyfs" fs/target --policy "$tiny.yaml"
	[[ $output == *fs/target*"Read-only file system"* ]]
	untouched
	mount -o remount,rw fs
	local verb
	for verb in --resume --abort; do
		fresh
		run -137 at 100 kill plyfs layout "$tiny.plyfs" fs/target --policy "$tiny.yaml" -j 1
		find fs/target | sort >names
		mount -o remount,ro fs
		for v in --resume --abort; do
			run -1 plyfs layout "$tiny.plyfs" fs/target $v
			[[ $output == *fs/target*"Read-only file system"* ]]
		done
		find fs/target | sort | cmp - names
		mount -o remount,rw fs
		plyfs layout "$tiny.plyfs" fs/target $verb
		if [ $verb = --abort ]; then untouched; else same "$tiny" fs/target; fi
	done
}

# bats test_tags=real
@test "the file system is shut down in the middle, unflushed writes are gone: after a mount both verbs work" {
	truncate -s 64M disk
	mkfs.ext4 -q -F disk
	mkdir fs
	local how i rc verb ended=0 rounds=6
	[ "${PLYFS_FAULTS:-20}" != 0 ] || rounds=100
	RANDOM=$((PLYFS_SEED % 32768))
	for ((i = 0; i < rounds; i++)); do
		mount -o loop disk fs
		fresh
		sync -f fs
		how=$((i % 2 + 1))            # 1: with a flush of its journal, 2: without
		verb=--resume
		[ $((i % 3)) = 0 ] || verb=--abort
		rc=0
		at $((RANDOM % 450 + 1)) "python3 -c 'import fcntl, os, struct
fcntl.ioctl(os.open(\"fs\", os.O_RDONLY), 0x8004587D, struct.pack(\"I\", $how))'" \
			plyfs layout "$tiny.plyfs" fs/target --policy "$tiny.yaml" -j 1 2>log >/dev/null || rc=$?
		umount fs
		mount -o loop disk fs
		if [ "$rc" = 0 ]; then
			same "$tiny" fs/target    # it was durable
		else
			[ "$rc" = 1 ]
			ended=$((ended + 1))
			[[ $(<log) == *Input/output\ error* ]] || { cat log; false; }
			if [ $verb = --resume ]; then
				plyfs layout "$tiny.plyfs" fs/target --resume --policy "$tiny.yaml"
				same "$tiny" fs/target
			else
				plyfs layout "$tiny.plyfs" fs/target --abort --all
				untouched
			fi
		fi
		umount fs
	done
	echo "# shut down in the middle $ended times" >&3
	[ "$ended" -ge $((rounds / 2)) ]
}
