#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# A writable mount is a file system as any other: each kind of request, on what the image has and on what is new, and
# what is left of it after an end of each kind. write.py asks what a shell cannot, and was tried on ext4.

load common
bats_require_minimum_version 1.5.0

setup_file()
{
	make_gold
	[ -e "$D/gold.plyfs" ] || return 0
	mkdir "$D/m2" "$D/big"
	sha256sum <"$D/gold.plyfs" >"$D/gold.sum"
	# what an image may have, and small.py has not: blocks, a hole, links, setuid, xattrs
	head -c 1000000 /dev/urandom >"$D/big/blocks"
	truncate -s 3000000 "$D/big/holes"
	printf 'data' | dd of="$D/big/holes" bs=1 seek=1000000 conv=notrunc status=none
	ln "$D/big/blocks" "$D/big/linked"
	mkdir -p "$D/big/dir/sub"
	echo x >"$D/big/dir/sub/x"
	cp /bin/true "$D/big/suid"
	chmod 6777 "$D/big/suid"
	setfattr -n user.a -v 1 "$D/big/suid"
	plyfs capture "$D/big" "$D/big.plyfs"
}

setup()
{
	need_root
	cd "$D" || return
	rm -rf t ./*.redo
}

teardown()
{
	cd /
	unmount_all
	[ -z "${disk:-}" ] || { kill "$disk" && wait "$disk"; } 2>/dev/null || true
	[ ! -e "$D/gold.sum" ] || sha256sum <"$D/gold.plyfs" | cmp - "$D/gold.sum"
}

# writable [OPTION...]: big.plyfs with a.redo on it
writable()
{
	[ -e a.redo ] || plyfs redo create big.plyfs a.redo
	pid=$(plyfs mount --json a.redo m "$@" | pid_of)
}

# by WHAT [ARGUMENT]: write.py in a directory of its own
by()
{
	rm -rf m/by
	mkdir -m 777 m/by
	python3 "$TESTS/mount/write.py" "$1" m/by "${@:2}"
}

# log_has WHAT: a number of plyfs stats
log_has() { plyfs stats --json m | python3 -c 'import json,sys; print(json.load(sys.stdin)["log"][sys.argv[1]])' "$1"; }

wait_gone() { for ((i = 0; i < 400; i++)); do is_gone "$1" && return; sleep 0.05; done; return 1; }

@test "renames with flags" { writable; by renames; }
@test "files without a name: O_TMPFILE" { writable; by tmpfile; }
@test "shared mappings" { writable; by mapped; }
@test "data and holes are found, also what the kernel has not written yet" { writable; by seeks; }
@test "copy_file_range" { writable; by copies; }
@test "fallocate: longer, holes, zeros" { writable; by falls; }
@test "what is open and has no name lives on" { writable; by orphans; }
@test "setuid, setgid and capabilities go with content and owner" { writable; by killed; }
@test "ACLs" { writable; by acls; }
@test "times, and birth" { writable; by times; }
@test "directories are read on while names come and go" { writable; by dirseek; }
@test "directories end, whatever is renamed in them" { writable; by endless; }
@test "O_DIRECT beside the page cache" { writable; by direct; }
@test "four processes at once" { writable; by many 2000; }

@test "-o sync: the same, and each answer is on the disk" {
	writable -o sync
	findmnt -no OPTIONS m | grep -q '^rw,.*sync'
	by renames
	by mapped
	before=$(log_has commits)
	mkdir m/one m/two
	[ "$(log_has commits)" -ge $((before + 2)) ]
}

# What is done to a tree: each on what the image has.
change()
{
	printf 'BLOCK' | dd of="$1/blocks" bs=1 seek=500000 conv=notrunc status=none
	echo end >>"$1/blocks"
	printf 'more' | dd of="$1/holes" bs=1 seek=2000000 conv=notrunc status=none
	fallocate -p -o 8192 -l 16384 "$1/linked"
	mv "$1/dir" "$1/renamed"
	mkdir "$1/dir"
	ln "$1/linked" "$1/dir/third"
	rm "$1/blocks"
	echo y >"$1/renamed/sub/y"
	chown 5:6 "$1/renamed"
	setfattr -n user.b -v 22 "$1/suid"
	setfattr -x user.a "$1/suid"
	setfacl -m u:1000:rw "$1/renamed/sub/x"
	ln -s target "$1/symlink"
	mknod "$1/null" c 1 3
	mkfifo "$1/fifo"
	find "$1" -exec touch -h -d '2020-02-03 04:05:06.789012345' {} +
}

@test "all of it is there after a remount, as in a plain directory; holes are holes; the image is as it was" {
	sum=$(sha256sum <big.plyfs)
	cp -a big t
	change t
	writable
	change m
	python3 "$TESTS/lib/compare.py" t m
	numbers=$(find m -printf '%i %n %P\n' | sort)
	probe handles save m handles
	plyfs umount m
	writable
	python3 "$TESTS/lib/compare.py" t m
	[ "$(find m -printf '%i %n %P\n' | sort)" = "$numbers" ]
	probe handles open m handles
	[ "$(sha256sum <big.plyfs)" = "$sum" ]
	plyfs mount big.plyfs m2
	python3 "$TESTS/lib/compare.py" big m2
	# 1 MB of blocks were changed at three places: the log has those, not the file
	[ "$(stat -c %b a.redo)" -lt 600 ]
}

@test "the daemon is killed: what was answered is there" {
	cp -a big t
	change t
	writable
	change m
	sync -f m
	kill -9 "$pid"
	wait_gone "$pid"
	umount -l m
	writable
	python3 "$TESTS/lib/compare.py" t m
	[ "$(plyfs info --json a.redo | grep -c '"damaged": false')" = 1 ]
}

@test "the daemon is told to end: what the kernel still had is written" {
	writable
	python3 - m/open "$pid" <<-'END'
		import os, signal, sys, time
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
		for i in range(100):
		    os.write(fd, bytes([i]) * 65536)
		os.kill(int(sys.argv[2]), signal.SIGTERM)
		until = time.monotonic() + 20
		while os.path.ismount("m") and time.monotonic() < until:
		    time.sleep(0.01)
	END
	wait_gone "$pid"
	writable
	python3 - m/open <<-'END'
		import sys
		with open(sys.argv[1], "rb") as f:
		    assert f.read() == b"".join(bytes([i]) * 65536 for i in range(100))
	END
}

@test "an open file without a name is given back when it is closed" {
	writable
	exec 7>m/gone
	head -c 3000000 /dev/urandom >&7
	sync -f m
	rm m/gone
	for ((i = 0; i < 100; i++)); do [ "$(log_has live_bytes)" -lt 2000000 ] || break; sleep 0.05; done
	[ "$(log_has live_bytes)" -ge 2000000 ]
	exec 7>&-
	for ((i = 0; i < 100; i++)); do [ "$(log_has live_bytes)" -ge 100000 ] || break; sleep 0.05; done
	[ "$(log_has live_bytes)" -lt 100000 ]
}

@test "an open file without a name is given back when the daemon was killed meanwhile" {
	writable
	exec 7>m/gone
	head -c 3000000 /dev/urandom >&7
	rm m/gone
	sync -f m
	kill -9 "$pid"
	wait_gone "$pid"
	exec 7>&-
	umount -l m
	writable
	[ "$(log_has live_bytes)" -lt 100000 ]
	refute [ -e m/gone ]
}

@test "--volatile: writable, and gone with the mount" {
	files=$(ls -A "$TMPDIR")
	pid=$(plyfs mount --json gold.plyfs m -s web --volatile | pid_of)
	findmnt -no OPTIONS m | grep -q '^rw,'
	echo new >m/new
	rm -r m/etc
	mv m/usr m/new-usr
	sync -f m
	plyfs sync m
	[ "$(ls -A "$TMPDIR")" = "$files" ]
	plyfs umount m
	is_gone "$pid"
	plyfs mount gold.plyfs m --volatile -o nodev
	python3 "$TESTS/lib/compare.py" gold m
	run plyfs mount gold.plyfs m2 -o rw
	[ "$status" = 2 ]
	[[ $output == *"never written to"* ]]
}

@test "-o ro, and a log that cannot be written: read-only, and it says so" {
	writable
	change m
	plyfs umount m
	run plyfs mount a.redo m -o ro
	[ "$status" = 0 ]
	refute grep -q read-only <<<"$output"
	findmnt -no OPTIONS m | grep -q '^ro,'
	[ "$(cat m/renamed/sub/y)" = y ]
	run touch m/x
	[[ $output == *"Read-only file system"* ]]
	# somebody else may look at it, too, and nobody may write
	plyfs mount a.redo m2 -o ro
	run plyfs mount a.redo m2
	[ "$status" = 1 ]
	plyfs umount m2
	plyfs umount m
	mkdir disk
	mount -t tmpfs none disk
	cp a.redo big.plyfs disk
	mount -o remount,ro disk
	run plyfs mount disk/a.redo m
	[ "$status" = 0 ]
	[[ $output == *"mounted read-only"* ]]
	findmnt -no OPTIONS m | grep -q '^ro,'
	[ "$(cat m/renamed/sub/y)" = y ]
	# root takes the kernel's word back: the daemon still takes nothing
	mount -i -o remount,rw m
	run touch m/x
	[[ $output == *"Read-only file system"* ]]
	run sh -c 'echo x >>m/renamed/sub/y'
	[[ $output == *"Read-only file system"* ]]
	rmdir disk 2>/dev/null || true
}

@test "immutable and append-only files" {
	writable
	echo 1 >m/file
	chattr +i m/file m/suid
	lsattr m/file | grep -q '^----i'
	for what in 'echo 2 >>m/file' 'rm m/file' 'mv m/file m/other' 'ln m/file m/other' 'chmod 600 m/suid' \
		'truncate -s 0 m/suid' 'setfattr -n user.x -v y m/file' 'touch m/suid'; do
		run sh -c "$what"
		[ "$status" != 0 ]
		[[ $output == *"Operation not permitted"* || $output == *"Permission denied"* ]]
	done
	[ "$(cat m/file)" = 1 ]
	chattr -i m/file
	chattr +a m/file
	echo 2 >>m/file
	run sh -c 'echo 3 >m/file'
	[ "$status" != 0 ]
	run rm m/file
	[ "$status" != 0 ]
	[ "$(cat m/file)" = "$(printf '1\n2')" ]
	chattr +i m/dir
	run touch m/dir/new
	[ "$status" != 0 ]
	chattr +d m/renamed m/dir/sub/x 2>/dev/null || true
	plyfs umount m
	writable
	lsattr -d m/dir | grep -q '^----i'
	lsattr m/file | grep -q '^-----a'
	chattr -i m/dir m/suid
	chattr -a m/file
	rm m/file
	run chattr +j m/suid
	[ "$status" != 0 ]
}

@test "synchronous files and directories: each answer is on the disk" {
	writable
	mkdir m/some
	echo x >m/file
	chattr +S m/file
	chattr +D m/some
	for what in 'echo y >>m/file' 'chmod 600 m/file' 'mkdir m/some/new' 'mv m/some/new m/some/other' \
		'rmdir m/some/other'; do
		before=$(log_has commits)
		sh -c "$what"
		[ "$(log_has commits)" -gt "$before" ]
	done
	[ "$(cat m/file)" = "$(printf 'x\ny')" ]
}

@test "names have 255 bytes, and any bytes" {
	writable
	long=$(printf 'n%.0s' {1..255})
	echo x >"m/$long"
	[ "$(cat "m/$long")" = x ]
	for what in "touch m/${long}n" "stat m/${long}n" "mkdir m/${long}n" "mv m/suid m/${long}n" \
		"ln m/suid m/${long}n" "ln -s x m/${long}n" "rmdir m/${long}n"; do
		run $what
		[ "$status" != 0 ]
		[[ $output == *"File name too long"* ]]
	done
	python3 - m <<-'END'
		import os, sys
		names = [bytes([i]) * 3 for i in range(1, 256) if i not in b"/"]
		os.chdir(sys.argv[1])
		os.mkdir("bytes")
		for n in names:
		    os.close(os.open(b"bytes/" + n, os.O_CREAT | os.O_EXCL, 0o600))
		assert sorted(os.listdir(b"bytes")) == sorted(names + ([] if b"..." in names else []))
	END
}

@test "a write asks for no xattr first; a second walk asks nothing" {
	writable
	dd if=/dev/zero of=m/many bs=100 count=5000 status=none
	[ "$(probe requests m GETXATTR)" -le 5 ]
	[ "$(probe requests m WRITE)" -le 100 ]
	walk() { find m -printf '%s %m %i\n' >/dev/null; for i in 1 2 3; do refute [ -e m/nothing ]; done; }
	for _ in 1 2 3 4 5; do     # somebody else may drop the caches in between
		walk
		before=$(probe requests m)
		walk
		after=$(probe requests m)
		[ "$after" != "$before" ] || break
	done
	[ "$after" = "$before" ]
}

@test "its numbers are an xattr of its root, which nobody can change" {
	writable
	getfattr --only-values -n user.plyfs.stats m >said 2>/dev/null
	grep -q '^log_extents [0-9]' said
	refute grep -q plyfs <(getfattr -d -m - m 2>/dev/null)
	run setfattr -n user.plyfs.stats -v x m
	[ "$status" != 0 ]
	run setfattr -x user.plyfs.stats m
	[ "$status" != 0 ]
	setfattr -n user.plyfs.stats -v x m/suid
	[ "$(getfattr --only-values -n user.plyfs.stats m/suid)" = x ]
}

@test "a full disk: an error, at once where little is left; what is there stays good" {
	mkdir -p disk
	mount -t tmpfs -o size=100M none disk
	cp big.plyfs disk
	plyfs redo create disk/big.plyfs disk/a.redo
	plyfs mount disk/a.redo m
	[ $(($(stat -fc '%a * %S' m) >> 20)) -lt 40 ]   # the reserve is not told
	dd if=/dev/urandom of=m/first bs=1M count=30 conv=fsync status=none
	sum=$(sha256sum <m/first)
	cp -a big t
	change t
	change m
	[ "$(stat -fc %a m)" -lt 2000 ]
	dd if=/dev/zero of=m/second bs=1M count=30 conv=fsync status=none || true
	# from here on each write is answered by the disk
	mkdir m/small
	for i in {1..500}; do echo "$i" >"m/small/$i"; done
	run dd if=/dev/urandom of=m/third bs=1M count=300
	[ "$status" != 0 ]
	[[ $output == *"No space left on device"* ]]
	size=$(stat -c %s m/third)
	[ "$(head -c "$size" m/third | wc -c)" = "$size" ]
	[ "$(sha256sum <m/first)" = "$sum" ]
	rm -r m/small m/second m/third     # that needs some room, too, and gets it
	[ "$(sha256sum <m/first)" = "$sum" ]
	rm m/first
	plyfs umount m
	plyfs mount disk/a.redo m
	touch -h -d '2020-02-03 04:05:06.789012345' m
	python3 "$TESTS/lib/compare.py" t m
	dd if=/dev/zero of=m/fourth bs=1M count=10 conv=fsync status=none
	plyfs umount m
	umount disk
}

@test "the disk fails: changes are EIO from then on, reading goes on, and what was synced is there" {
	rm -rf back disk
	mkdir back disk
	cp big.plyfs back
	plyfs redo create back/big.plyfs back/a.redo
	"$PLYFS_BUILD/tests/mount/faultyfs" back disk 3>&- >/dev/null 2>&1 &
	disk=$!
	for _ in $(seq 100); do mountpoint -q disk && break; sleep 0.1; done
	pid=$(plyfs mount --json disk/a.redo m | pid_of)
	change m
	plyfs sync m
	cp -a big t
	change t
	echo "write-error 0 $((1 << 40))" >disk/.control
	run python3 -c 'import os; fd = os.open("m/late", os.O_CREAT | os.O_WRONLY); os.write(fd, b"x"); os.fsync(fd)'
	[ "$status" != 0 ]
	[[ $output == *"Errno 5"* ]]
	echo heal >disk/.control
	run mkdir m/later
	[ "$status" != 0 ]
	[[ $output == *"Input/output error"* ]]
	refute is_gone "$pid"
	[ "$(cat m/renamed/sub/y)" = y ]
	umount m
	wait_gone "$pid"
	plyfs mount disk/a.redo m
	rm -f m/late
	touch -h -d '2020-02-03 04:05:06.789012345' m
	python3 "$TESTS/lib/compare.py" t m
	plyfs umount m
}

@test "the daemon is confined" {
	writable
	for task in /proc/"$pid"/task/*; do
		grep -q '^CapEff:.0000000000000000' "$task/status"
		case $PLYFS_BUILD in *+* | *-thread) ;; *) grep -q '^Seccomp:.2' "$task/status" ;; esac
	done
}
