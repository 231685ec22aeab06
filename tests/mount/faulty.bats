#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# The disk fails under an image that is in use (faultyfs.c): an error for what cannot be read, the rest
# goes on; never a signal, never wrong bytes, and what was begun is taken back.

load common
bats_require_minimum_version 1.5.0

setup_file()
{
	make_gold
	[ -d "$D/m" ] || return 0
	mkdir "$D/d" "$D/back" "$D/disk"
	for i in 1 2 3; do
		head -c 300000 /dev/urandom >"$D/d/file$i"
		echo "small $i" >"$D/d/small$i"
	done
	plyfs capture "$D/d" "$D/d.plyfs"
	head -c "$(stat -c %s "$D/gold.plyfs")" /dev/urandom >"$D/noise"
	head -c "$(stat -c %s "$D/gold.plyfs")" /dev/zero >"$D/zeros"
}

setup()
{
	need_root
	cd "$D" || return
	rm -f back/* back/.??*
	cp gold.plyfs d.plyfs back
	"$PLYFS_BUILD/tests/mount/faultyfs" back disk 3>&- >/dev/null 2>&1 &
	disk=$!
	for _ in $(seq 100); do mountpoint -q disk && break; sleep 0.1; done
	mountpoint -q disk
}

teardown()
{
	cd /
	unmount_all
	[ -z "${disk:-}" ] || { kill "$disk" && wait "$disk"; } 2>/dev/null || true
}

# for what comes after it: see faultyfs.c
fault() { echo "$*" >disk/.control; }

everything=$((1 << 40))

@test "data that cannot be read is EIO for its file, and comes back with the disk" {
	pid=$(plyfs mount --json disk/d.plyfs m | pid_of)
	fault read-error $(($(probe offset d.plyfs d/file2) + 8192)) 1   # a page of no other file
	[ "$(probe read-errno m/file2)" = EIO ]
	[ "$(probe agree d m)" = "6 1" ]   # with the directory
	[ "$(probe read-errno m/file2)" = EIO ]
	fault heal
	[ "$(probe agree d m)" = "7 0" ]
	refute is_gone "$pid"
	plyfs umount m
	is_gone "$pid"
}

@test "under a log: what cannot be read is EIO, what was written over is there, and all else goes on" {
	rm -f a.redo
	plyfs redo create disk/d.plyfs a.redo
	pid=$(plyfs mount --json a.redo m | pid_of)
	fault read-error $(($(probe offset d.plyfs d/file2) + 8192)) 1
	[ "$(probe read-errno m/file2)" = EIO ]
	[ "$(probe agree d m)" = "6 1" ]
	cp d/file1 m/file2                 # its content is not asked for
	cmp d/file1 m/file2
	echo more >>m/file1
	mkdir m/dir
	mv m/file3 m/dir
	cmp d/file3 m/dir/file3
	# and where nothing of the image is there any more
	fault truncate 16384
	for file in m/small1 m/small2 m/file1 m/dir/file3; do
		run cat "$file"
		[ "$status" = 0 ] || [[ $output == *"Input/output error"* ]]
	done
	echo new >m/dir/new || true
	refute is_gone "$pid"
	fault heal
	plyfs umount m
	is_gone "$pid"
	plyfs mount a.redo m
	cmp d/file1 m/file2
	[ "$(cat d/file1 <(echo more) | cksum)" = "$(cksum <m/file1)" ]
	cmp d/file3 m/dir/file3
	cmp d/small1 m/small1
}

@test "metadata that cannot be read is EIO for those who need it, until a new mount" {
	pid=$(plyfs mount --json disk/gold.plyfs m | pid_of)
	read -r off length < <(probe section gold.plyfs 1)
	fault read-error $((off + length / 2)) $((length / 4))
	read -r good bad < <(probe agree gold m)
	echo "# $good good, $bad not"
	[ "$good" -gt 100 ]
	[ "$bad" -gt 100 ]
	refute is_gone "$pid"
	plyfs umount m
	is_gone "$pid"
	fault heal
	plyfs mount disk/gold.plyfs m
	[ "$(probe agree gold m)" = "$(find gold | wc -l) 0" ]
}

@test "cut off behind what is selected: nothing is missing; before it: errors" {
	pid=$(plyfs mount --json disk/gold.plyfs m -s os | pid_of)
	(cd m && find . -type f -print) >names
	fault truncate "$(probe end gold.plyfs)"
	stat disk/gold.plyfs >/dev/null   # now the kernel knows
	(cd m && xargs -d '\n' cat) <names >/dev/null
	fault truncate 20000
	stat disk/gold.plyfs >/dev/null
	echo 3 >/proc/sys/vm/drop_caches || skip "drop_caches is not allowed"
	run probe read-errno "m/$(head -n 1 names)"
	[ "$output" = EIO ]
	refute is_gone "$pid"
	plyfs umount m
	is_gone "$pid"
}

@test "other bytes: the daemon lives, whatever it reads" {
	for other in noise zeros d.plyfs; do
		for warm in no yes; do
			pid=$(plyfs mount --json disk/gold.plyfs m | pid_of)
			[ $warm = no ] || find m >/dev/null
			fault serve "$D/$other"
			echo 2 >/proc/sys/vm/drop_caches || true
			find m -ls >/dev/null 2>&1 || true
			find m -type f -exec cat {} + >/dev/null 2>&1 || true
			find m -exec getfattr -d -m - {} + >/dev/null 2>&1 || true
			refute is_gone "$pid"
			plyfs umount m
			is_gone "$pid"
			fault heal
		done
	done
}

@test "written over in place, without a faulty disk" {
	for other in noise zeros; do
		cp gold.plyfs over.plyfs
		pid=$(plyfs mount --json over.plyfs m | pid_of)
		cat $other >over.plyfs
		find m -type f -exec cat {} + >/dev/null 2>&1 || true
		refute is_gone "$pid"
		plyfs umount m
	done
}

@test "replaced by a rename, or removed: the mount goes on with what it has" {
	cp gold.plyfs named.plyfs
	plyfs mount named.plyfs m
	cp d.plyfs new.plyfs
	mv new.plyfs named.plyfs
	echo 3 >/proc/sys/vm/drop_caches || true
	[ "$(probe agree gold m)" = "$(find gold | wc -l) 0" ]
	rm named.plyfs
	echo 3 >/proc/sys/vm/drop_caches || true
	[ "$(probe agree gold m)" = "$(find gold | wc -l) 0" ]
}

# One after the other: all of them have to end by themselves.
faults=("read-error 0 $everything" "truncate 20000" "serve $D/zeros" "serve $D/noise")

@test "mounting while the disk fails: an error, or a mount that lives" {
	for what in "${faults[@]}"; do
		for n in 0 1 2 4; do
			fault after $n "$what"
			run plyfs mount disk/gold.plyfs m
			if [ "$status" = 0 ]; then
				find m -type f -exec cat {} + >/dev/null 2>&1 || true
				plyfs umount m
			else
				[ "$status" = 1 ] || [ "$status" = 4 ]
				refute mountpoint -q m
			fi
			fault heal
		done
	done
}

@test "verify while the disk fails: told, and no success" {
	for what in "${faults[@]}"; do
		for n in 0 1 3 6; do
			fault after $n "$what"
			run plyfs verify --deep disk/gold.plyfs
			echo "# $what after $n: $status"
			[ "$status" = 4 ] || [ "$status" = 1 ] || { echo "$output"; false; }
			[ -n "$output" ]
			fault heal
		done
	done
	fault after 3 read-error 0 $everything
	run plyfs verify disk/gold.plyfs --against gold
	[ "$status" = 4 ] || [ "$status" = 1 ]
	fault heal
	plyfs verify --deep disk/gold.plyfs --against gold
}

@test "layout while the disk fails: an error, and the target is as it was" {
	mkdir -p target
	chmod 751 target
	failed=0
	for what in "${faults[@]}"; do
		for n in 1 3 6 10; do
			fault after $n "$what"
			run plyfs layout --no-sync -j4 disk/gold.plyfs target
			echo "# $what after $n: $status ${lines[0]}"
			if [ "$status" = 0 ]; then
				python3 "$TESTS/lib/compare.py" gold target
				find target -mindepth 1 -delete
				chmod 751 target
			else
				failed=$((failed + 1))
				[ "$status" = 1 ] || [ "$status" = 4 ]
				[[ $output == *plyfs\ layout:* ]]
				[ -z "$(ls -A target)" ]
				[ "$(stat -c %a target)" = 751 ]
			fi
			fault heal
		done
	done
	[ $failed -gt 4 ]
}

@test "capture onto a disk that fails: an error, and no image" {
	for n in 0 1; do
		fault after $n write-error 0 $everything
		run plyfs capture gold disk/new.plyfs
		[ "$status" = 1 ]
		[[ $output == *new.plyfs* ]]
		fault heal
		[ "$(ls -A back)" = "$(printf '%s\n' d.plyfs gold.plyfs)" ]
	done
	fault write-error 0 $everything
	run plyfs capture --force gold disk/gold.plyfs
	[ "$status" = 1 ]
	fault heal
	cmp gold.plyfs back/gold.plyfs
}

@test "layout when its names are gone with the disk: the target is as it was all the same" {
	mkdir -p target
	chmod 751 target
	for what in "${faults[@]}"; do
		for n in 12 14 16 18 22; do
			fault after $n "$what"
			run plyfs layout --no-sync -j4 disk/gold.plyfs target
			echo "# $what after $n: $status ${lines[0]}"
			if [ "$status" = 0 ]; then
				python3 "$TESTS/lib/compare.py" gold target
				find target -mindepth 1 -delete
				chmod 751 target
			else
				[ "$status" = 1 ] || [ "$status" = 4 ]
				[ -z "$(ls -A target)" ]
				[ "$(stat -c %a target)" = 751 ]
			fi
			fault heal
		done
	done
}
