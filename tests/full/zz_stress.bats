#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: fsx, 1,000,000 operations on a writable mount, and fsstress there and on ext4, with the same result; 15 min
#
# PLYFS_SEED says which ones, PLYFS_FSX_OPS how many.

# shellcheck disable=SC2154  # suite: by suite()
load ../lib/common
load ../lib/suites
load ../lib/writable
bats_require_minimum_version 1.5.0

setup_file()
{
	need_writable && suite xfstests || return 0
	four_folders
}

setup()
{
	ready
	seed=${PLYFS_SEED:-$((RANDOM + 1))} ops=${PLYFS_FSX_OPS:-1000000}
	echo "# seed $seed" >&3
	fresh_log m.redo m
}

teardown() { [ -n "${SKIP:-}" ] || { unmount_all "$BATS_TEST_TMPDIR/m" && oddfs_done trusted; }; }

# fsx OPERATIONS FILE OPTION...
fsx()
{
	"$suite/ltp/fsx" -q -N "$1" -S "$seed" -P "$PWD" "${@:3}" "$2" >out 2>&1 || { head -n 30 out; tail -n 30 out; return 1; }
}

# kept OPERATIONS FILE OPTION...: on what the file holds. fsx finds out whether ranges can be copied by copying byte 0 to byte 1, and
# does not know of it: so they are the same before.
kept()
{
	head -c 1 "$2" >first
	dd if=first of="$2" bs=1 seek=1 conv=notrunc status=none
	fsx "$@" -k
}

# What both file systems have, and nothing whose result hangs on sizes of blocks or the order of directories.
stress()
{
	local op args=(-z)
	for op in creat=4 mkdir=2 link=2 symlink=2 unlink=2 rmdir=1 rename=4 rnoreplace=2 rexchange=2 write=6 writev=2 mwrite=3 mread=1 \
			truncate=3 fallocate=2 punch=2 zero=2 copyrange=2 splice=1 chown=2 setfattr=2 removefattr=1 getfattr=1 read=3 \
			readlink=1 stat=1 fsync=1 fdatasync=1 mknod=1; do
		args+=(-f "$op")
	done
	"$suite/ltp/fsstress" -d "$1" "${args[@]}" -p 4 -n "$2" -s "$seed" >stress.log 2>&1 || { tail -n 40 stress.log; return 1; }
}

@test "fsstress: the same tree as on ext4, and it stays so" {
	trusted_fs trusted 24G     # two trees of 5 GB: on a full one no two runs are alike
	mkdir m/stress "$TMPDIR/trusted/stress" "$TMPDIR/trusted/again"
	stress m/stress $((ops / 20))
	stress "$TMPDIR/trusted/stress" $((ops / 20))
	stress "$TMPDIR/trusted/again" $((ops / 20))
	[ "$(find m/stress | wc -l)" -gt 200 ]
	# that the same seed makes the same tree
	same "$TMPDIR/trusted/stress" "$TMPDIR/trusted/again" --skip mtime,map
	same "$TMPDIR/trusted/stress" m/stress --skip mtime,map
	plyfs umount m
	mounted m m.redo
	same "$TMPDIR/trusted/stress" m/stress --skip mtime,map
}
