#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# Mounts of a log: what is changed stays in the log, the image stays as it is, and each log opens on its own image only.

# shellcheck disable=SC2154  # stderr is set by run

load common
bats_require_minimum_version 1.5.0

setup_file()
{
	make_gold
	[ -e "$D/gold.plyfs" ] || return 0
	mkdir "$D/m2"
	sha256sum <"$D/gold.plyfs" >"$D/gold.sum"
}

setup()
{
	need_root
	cd "$D" || return
	rm -rf ./*.redo t copy.plyfs
	plyfs redo create gold.plyfs a.redo
}

teardown()
{
	cd /
	unmount_all
	[ ! -e "$D/gold.sum" ] || sha256sum <"$D/gold.plyfs" | cmp - "$D/gold.sum"
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }
reason() { json 'd["error"]["reason"]' <<<"$output"; }

# changes TREE: some of each kind
changes()
{
	echo more >>"$1/etc/passwd"
	echo new >"$1/etc/new"
	rm "$1/etc/hostname"
	mv "$1/etc" "$1/etc.d"
	mkdir "$1/etc"
	ln "$1/etc.d/new" "$1/etc/again"
	ln -s ../etc.d/new "$1/etc/link"
	chmod 4700 "$1/etc.d/new"
	chown 12:34 "$1/etc"
	setfattr -n user.a -v b "$1/etc.d/passwd"
	truncate -s 100000 "$1/etc.d/new"
	mkfifo "$1/etc/fifo"
	touch -hd '2001-02-03 04:05:06.789' "$1/etc/again" "$1/etc/link" "$1/etc/fifo" "$1/etc" "$1/etc.d" "$1/etc.d/passwd" "$1"
}

@test "what is changed is there after a remount, and the image is as it was" {
	cp -a gold t
	changes t
	run -0 plyfs mount a.redo m --json
	[ "$(json 'd["log"], d["read_only"], d["selected"]' <<<"$output")" = "('$D/a.redo', False, ['os', 'web', 'db'])" ]
	[ "$(findmnt -no FSTYPE m)" = fuse.plyfs ]
	[ "$(findmnt -no SOURCE m)" = "$D/a.redo" ]
	findmnt -no OPTIONS m | grep -q '^rw,'
	python3 "$TESTS/lib/compare.py" gold m
	changes m
	python3 "$TESTS/lib/compare.py" t m
	plyfs umount m
	[ "$(plyfs info --json a.redo | json 'd["state"], d["damaged"]')" = "('clean', False)" ]
	plyfs mount a.redo m
	python3 "$TESTS/lib/compare.py" t m
	plyfs mount gold.plyfs m2
	python3 "$TESTS/lib/compare.py" gold m2
}

@test "the log has its selection" {
	plyfs redo create gold.plyfs b.redo -s web
	plyfs mount b.redo m
	plyfs mount gold.plyfs m2 -s web
	python3 "$TESTS/lib/compare.py" m2 m
	run -2 plyfs mount b.redo m2 -s web
	[[ $output == *"a log has its selection"* ]]
}

@test "a daemon that is killed loses nothing that it has answered" {
	pid=$(plyfs mount --json a.redo m | pid_of)
	cp -a gold t
	changes t
	changes m
	kill -9 "$pid"
	umount -l m
	for ((i = 0; i < 200; i++)); do is_gone "$pid" && break; sleep 0.05; done
	[ "$(plyfs info --json a.redo | json 'd["state"]')" = open ]
	plyfs mount a.redo m
	python3 "$TESTS/lib/compare.py" t m
}

@test "a log in use: refused, and who has it, and where, is told" {
	pid=$(plyfs mount --json a.redo m | pid_of)
	run -1 --separate-stderr plyfs mount a.redo m2 --json
	[ "$(reason)" = REDO_BUSY ]
	[[ $stderr == *"in use by process $pid (plyfs-fuse), which has it mounted on $D/m"* ]]
	refute mountpoint -q m2
	run -1 --separate-stderr plyfs relink a.redo gold.plyfs --json
	[ "$(reason)" = REDO_BUSY ]
	[[ $stderr == *"process $pid "* ]]
	[ "$(plyfs info --json a.redo | json 'd["state"], d["in_use_by"]')" = "('open', $pid)" ]
	plyfs umount m
	plyfs mount a.redo m2
}

@test "an image that is missing, foreign or replaced: no mount, and what to do" {
	mkdir t
	cp gold.plyfs copy.plyfs
	plyfs redo create copy.plyfs b.redo
	mv copy.plyfs t/moved.plyfs
	run -1 --separate-stderr plyfs mount b.redo m --json
	[ "$(reason)" = REDO_PARENT_MISSING ]
	[[ $stderr == *"$D/copy.plyfs"*"plyfs relink REDO IMAGE"* ]]
	mkdir t/other
	echo x >t/other/x
	plyfs capture t/other copy.plyfs
	run -1 --separate-stderr plyfs mount b.redo m --json
	[ "$(reason)" = REDO_PARENT_FOREIGN ]
	refute mountpoint -q m
	plyfs relink b.redo t/moved.plyfs
	plyfs mount b.redo m
	# it goes on while another one takes the place of its image; a new mount does not
	echo new >m/new
	mv copy.plyfs t/moved.plyfs
	python3 "$TESTS/lib/compare.py" gold/usr m/usr
	echo more >>m/new
	plyfs umount m
	run -1 --separate-stderr plyfs mount b.redo m --json
	[ "$(reason)" = REDO_PARENT_FOREIGN ]
	# where both were moved, the image is found
	mv b.redo t
	cp gold.plyfs t/moved.plyfs
	plyfs mount t/b.redo m
	[ "$(cat m/new)" = "$(printf 'new\nmore')" ]
}

@test "a log of a newer plyfs, of nothing, on a log: refused" {
	PYTHONPATH=$TESTS/lib python3 -c 'from plyredo import *
open("new.redo", "wb").write(example(incompat=2).bytes())
open("on.redo", "wb").write(example(generation=0, names=(), decisions=()).bytes())'
	run -1 --separate-stderr plyfs mount new.redo m --json
	[ "$(reason)" = REDO_FEATURE ]
	[[ $stderr == *newer* ]]
	run -1 --separate-stderr plyfs mount on.redo m --json
	[ "$(reason)" = REDO_PARENT_LOG ]
	head -c 8200 a.redo >cut.redo
	run -4 plyfs mount cut.redo m
	refute mountpoint -q m
}

@test "a log that cannot be written is mounted read-only, and that is told" {
	mkdir t
	mount -t tmpfs none t
	plyfs redo create gold.plyfs t/b.redo
	plyfs mount t/b.redo m
	echo new >m/new
	plyfs umount m
	mount -o remount,ro t
	run -0 --separate-stderr plyfs mount t/b.redo m --json
	[ "$(json 'd["read_only"]' <<<"$output")" = True ]
	[[ $stderr == *warning:*read-only* ]]
	[ "$(cat m/new)" = new ]
	run -1 touch m/other
	[[ $output == *"Read-only file system"* ]]
	run -0 plyfs sync m
	run -1 --separate-stderr plyfs relink t/b.redo copy.plyfs --json
	# read-only, it may be mounted more than once
	plyfs mount t/b.redo m2 2>/dev/null
	[ "$(cat m2/new)" = new ]
	plyfs umount m
	plyfs umount m2
	cp gold.plyfs copy.plyfs
	run -1 --separate-stderr plyfs relink t/b.redo copy.plyfs --json
	[ "$(reason)" = REDO_READ_ONLY ]
	umount t
}

@test "a log with a feature of a newer plyfs that only who writes must know: read-only, and that is told" {
	plyfs mount a.redo m
	echo new >m/new
	plyfs umount m
	PYTHONPATH=$TESTS/lib python3 -c '
import struct
from plyimg import xxh3
with open("a.redo", "r+b") as f:
    for slot in range(2):
        f.seek(slot * 4096)
        s = bytearray(f.read(4088))
        s[0x18:0x20] = struct.pack("<Q", 1 << 40)
        f.seek(slot * 4096)
        f.write(s + struct.pack("<Q", xxh3(bytes(s))))'
	sum=$(sha256sum <a.redo)
	run -0 --separate-stderr plyfs mount a.redo m --json
	[ "$(json 'd["read_only"]' <<<"$output")" = True ]
	[[ $stderr == *warning:*read-only* ]]
	[ "$(cat m/new)" = new ]
	run -1 touch m/other
	plyfs umount m
	[ "$(sha256sum <a.redo)" = "$sum" ]
}

@test "-o ro: nothing is written to the log" {
	sum=$(sha256sum <a.redo)
	plyfs mount a.redo m -o ro
	findmnt -no OPTIONS m | grep -q '^ro,'
	run -1 touch m/new
	plyfs umount m
	[ "$sum" = "$(sha256sum <a.redo)" ]
}

@test "a log whose acknowledged records are damaged: read-only, what is before it, and a warning" {
	plyfs mount a.redo m
	for ((i = 0; i < 200; i++)); do echo "$i" >"m/new.$i"; done
	plyfs umount m
	# in the middle of its records
	off=$(plyfs dump --json a.redo | json '[s for s in d["structures"] if s["what"] == "redo-superblock"][0]["segments_off"] + 20000')
	printf '\xff\x00\xff\x00' | dd of=a.redo bs=1 seek="$off" conv=notrunc status=none
	run -4 plyfs info a.redo
	run -0 --separate-stderr plyfs mount a.redo m
	[[ $stderr == *warning:* ]]
	findmnt -no OPTIONS m | grep -q '^ro,'
	n=$(find m -maxdepth 1 -name 'new.*' | wc -l)
	[ "$n" -gt 0 ] && [ "$n" -lt 200 ]
	for ((i = 0; i < n - 1; i++)); do [ "$(cat "m/new.$i")" = "$i" ]; done
}

@test "a volatile mount forgets" {
	mkdir t
	TMPDIR=$D/t plyfs mount gold.plyfs m --volatile -s web
	findmnt -no OPTIONS m | grep -q '^rw,'
	[ -z "$(ls -A t)" ]
	rm m/etc/hostname
	echo new >m/etc/new
	[ "$(cat m/etc/new)" = new ]
	plyfs sync m
	[ "$(plyfs stats --json m | json 'd["log"]["entries"] > 0')" = True ]
	plyfs umount m
	[ -z "$(ls -A t)" ]
	plyfs mount gold.plyfs m --volatile
	python3 "$TESTS/lib/compare.py" gold m
	# two at once have nothing to do with one another
	plyfs mount gold.plyfs m2 --volatile
	echo one >m/etc/new
	[ ! -e m2/etc/new ]
}

@test "sync: what others have written, and have still open, is in the log" {
	plyfs mount a.redo m
	python3 - m <<'END' 3>&- &
import mmap, os, sys, time
m = sys.argv[1]
with open(m + "/mapped", "w+b") as f:
    f.truncate(8192)
    shared = mmap.mmap(f.fileno(), 8192)
shared[:6] = b"mapped"
written = os.open(m + "/written", os.O_CREAT | os.O_WRONLY)
os.write(written, b"written\n" * 100000)
unreadable = os.open(m + "/unreadable", os.O_CREAT | os.O_WRONLY, 0)
os.write(unreadable, b"unreadable")
fifo = os.mkfifo(m + "/fifo")
open("ready", "w")
time.sleep(120)
END
	writer=$!
	for ((i = 0; i < 400; i++)); do [ -e ready ] && break; sleep 0.05; done
	plyfs stats --json m >before
	run -0 plyfs sync m/etc --json
	[ "$(json 'd["mountpoint"], d["read_only"]' <<<"$output")" = "('$D/m', False)" ]
	cp a.redo b.redo                       # as after a power cut, but that this sees what is not synced, too
	# each file that somebody writes to was waited for, and then the log
	plyfs stats --json m >after
	counted() { json "d['requests_by_kind'].get('$1', 0)" <"$2"; }
	[ $(($(counted FSYNC after) - $(counted FSYNC before))) -ge 3 ]
	[ $(($(counted FSYNCDIR after) - $(counted FSYNCDIR before))) = 1 ]
	[ "$(json 'd["log"]["syncs"]' <after)" -gt "$(json 'd["log"]["syncs"]' <before)" ]
	plyfs mount b.redo m2
	[ "$(head -c 6 m2/mapped)" = mapped ]
	[ "$(sort m2/written | uniq -c | tr -s ' ')" = " 100000 written" ]
	[ "$(cat m2/unreadable)" = unreadable ]
	plyfs umount m2
	kill "$writer"
	wait "$writer" || true
	rm ready
	plyfs umount m
}

@test "a mount that became read-only meanwhile is synced all the same" {
	local before
	plyfs mount a.redo m
	plyfs sync m
	before=$(plyfs stats --json m | json 'd["log"]["syncs"]')
	echo new >m/new
	mount -i -o remount,ro m
	run -0 plyfs sync m --json
	[ "$(json 'd["read_only"]' <<<"$output")" = True ]
	[ "$(plyfs stats --json m | json 'd["log"]["syncs"]')" -gt "$before" ]
	plyfs umount m
	[ "$(plyfs info --json a.redo | json 'd["state"]')" = clean ]
	plyfs mount a.redo m
	[ "$(cat m/new)" = new ]
}

@test "a daemon that is told to end while a file is open: the log is free at once" {
	local from
	plyfs mount a.redo m
	pid=$(plyfs stats --json m | json 'd["pid"]')
	exec 8>m/open
	kill "$pid"
	from=$(date +%s%N)
	for ((i = 0; i < 400; i++)); do plyfs mount a.redo m2 2>/dev/null && break; sleep 0.02; done
	echo "# after $((($(date +%s%N) - from) / 1000000)) ms" >&3
	[ $(($(date +%s%N) - from)) -lt 4000000000 ]
	exec 8>&-
	[ -e m2/open ]
}

@test "a log that cannot be made to last in its folder is not left there" {
	mkdir t
	cp gold.plyfs t
	chmod 644 t/gold.plyfs
	chmod 0333 t
	run -1 --separate-stderr setpriv --reuid=12345 --regid=12345 --clear-groups plyfs redo create t/gold.plyfs t/b.redo
	[ ! -e t/b.redo ]
	chmod 755 t
}

@test "many who sync at once share one, however few threads there are" {
	local fsyncs flushes
	# a sync takes its time; strace ends with the daemon
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 strace -f -o strace.out -e trace=fdatasync -e inject=fdatasync:delay_enter=10000 plyfs mount a.redo m -o threads=2 3>&- &
	for _ in $(seq 100); do mountpoint -q m && break; sleep 0.1; done
	python3 - m <<-'END'
		import os, sys, threading
		def work(k):
		    fd = os.open(f"{sys.argv[1]}/f{k}", os.O_CREAT | os.O_WRONLY)
		    for i in range(20):
		        os.pwrite(fd, b"x", i)
		        os.fsync(fd)
		threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
		for t in threads: t.start()
		for t in threads: t.join()
	END
	run -0 --separate-stderr plyfs stats m --json
	fsyncs=$(json 'd["requests_by_kind"]["FSYNC"]' <<<"$output") flushes=$(json 'd["log"]["syncs"]' <<<"$output")
	echo "# $fsyncs requests, $flushes syncs" >&3
	[ "$fsyncs" -ge 320 ] && [ $((flushes * 4)) -le "$fsyncs" ]
	plyfs umount m
	wait
	run -0 plyfs mount a.redo m
	[ "$(cat m/f7)" = xxxxxxxxxxxxxxxxxxxx ]
}

@test "stats: by the command, and in the xattr, which is not listed" {
	plyfs mount a.redo m
	dd if=/dev/zero of=m/file bs=1M count=4 conv=fsync status=none
	plyfs stats --json m >stats.json
	[ "$(json 'd["write_bytes"], d["log"]["writable"], d["source"]' <stats.json)" = "(4194304, 1, '$D/a.redo')" ]
	[ "$(json 'd["log"]["live_bytes"] >= 4194304 and d["log"]["size_bytes"] >= d["log"]["live_bytes"]' <stats.json)" = True ]
	[ "$(json 'd["log"]["syncs"] > 0 and d["log"]["sync_ns"] >= d["log"]["sync_max_ns"] > 0' <stats.json)" = True ]
	[ "$(json 'd["requests_by_kind"]["WRITE"] >= 4' <stats.json)" = True ]
	run -0 plyfs stats m/etc
	[[ $output == *"mount "*"a.redo on "*"requests "*WRITE*"4.0 MiB written"*"log "*"syncs "* ]]
	getfattr --only-values -n user.plyfs.stats m | cut -d' ' -f1 | sort -u >keys
	for key in pid generation selected requests request cache_hits read_bytes write_bytes log_size_bytes log_dead_bytes log_syncs; do
		grep -qx "$key" keys
	done
	[ -z "$(getfattr -d m)" ]
	run -1 getfattr -n user.plyfs.stats m/etc
}

@test "a log that is removed while it is mounted: told once, by stats and by sync, and until the end it can be saved" {
	removed() { plyfs stats --json "$1" | json 'd["log"]["removed"]'; }
	"$PLYFS_BUILD/libexec/plyfs/plyfs-fuse" -f a.redo m 2>log 3>&- &
	pid=$!
	for ((i = 0; i < 200; i++)); do mountpoint -q m && break; sleep 0.05; done
	echo new >m/new
	# renamed, and with another name beside, it is there
	mv a.redo b.redo
	ln b.redo c.redo
	rm b.redo
	sleep 1.5
	[ "$(removed m)" = 0 ]
	run -0 --separate-stderr plyfs sync m --json
	[ -z "$stderr" ]
	[ "$(json 'd["log_removed"]' <<<"$output")" = False ]
	[ ! -s log ]
	rm c.redo
	for ((i = 0; i < 200; i++)); do [ -s log ] && break; sleep 0.05; done
	grep -q 'the log was removed.*REDO_REMOVED' log
	[ "$(removed m)" = 1 ]
	getfattr --only-values -n user.plyfs.stats m | grep -qx 'log_removed 1'
	run -0 plyfs stats m
	[[ $output == *"removed meanwhile"*"lost when the mount ends"* ]]
	echo more >>m/new
	run -0 --separate-stderr plyfs sync m/etc
	[[ $stderr == *"warning: $D/m: "*"was removed"* ]]
	run -0 --separate-stderr plyfs sync m --json
	[ "$(json 'd["log_removed"]' <<<"$output")" = True ]
	sleep 1.5
	n=$(find "/proc/$pid/fd" -lname '*(deleted)' | head -n 1)
	cp "$n" saved.redo
	plyfs umount m
	wait "$pid"
	[ "$(wc -l <log)" = 1 ]
	plyfs verify saved.redo
	plyfs mount saved.redo m
	[ "$(cat m/new)" = "$(printf 'new\nmore')" ]
	plyfs umount m
	# another file in its place; and what never had a name has lost none
	plyfs mount saved.redo m -o ro
	[ "$(removed m)" = 0 ]
	plyfs redo create gold.plyfs other.redo
	mv other.redo saved.redo
	[ "$(removed m)" = 1 ]
	run -0 --separate-stderr plyfs sync m
	[[ $stderr == *"was removed"* ]]
	plyfs mount gold.plyfs m2 --volatile
	[ "$(removed m2)" = 0 ]
	run -0 --separate-stderr plyfs sync m2
	[ -z "$stderr" ]
}

@test "origin: made there, changed there, or of a component" {
	plyfs mount a.redo m
	echo new >m/etc/new
	chmod 600 m/etc/hostname
	echo more >>m/etc/passwd
	plyfs sync m
	run -0 --separate-stderr plyfs origin m/etc/new m/etc/hostname m/etc/passwd m/etc/issue
	[ "${lines[0]}" = "m/etc/new: made on this mount (generation 1)" ]
	[ "${lines[1]}" = "m/etc/hostname: os, changed on this mount (generation 1)" ]
	[ "${lines[2]}" = "m/etc/passwd: os, changed on this mount (generation 1)" ]
	[ "${lines[3]}" = "m/etc/issue: os (generation 1)" ]
	[ "${#lines[@]}" = 4 ]
	run -0 plyfs origin --json m/etc/new m/etc/hostname m/etc/issue
	[ "$(json '[(p["sub_images"], p.get("log")) for p in d["paths"]]' <<<"$output")" = \
		"[([], 'made'), (['os'], 'changed'), (['os'], None)]" ]
	plyfs mount gold.plyfs m2 --volatile
	echo new >m2/etc/new
	run -0 plyfs origin m2/etc/new m2/etc/passwd
	[[ ${lines[0]} == "m2/etc/new: made on this mount"* && ${lines[1]} == "m2/etc/passwd: os"* ]]
}

@test "ulimit -f of who mounts is a full disk: no signal ends the daemon" {
	(ulimit -f 4096; plyfs mount a.redo m)
	echo kept >m/kept
	plyfs sync m
	run -1 dd if=/dev/urandom of=m/big bs=1M count=16 conv=fsync
	[[ $output == *"No space left"* || $output == *"File too large"* ]]
	[ "$(cat m/kept)" = kept ]
	rm m/big
	umount m
	plyfs mount a.redo m
	[ "$(cat m/kept)" = kept ]
	(ulimit -f 1; run -1 plyfs redo create gold.plyfs b.redo)
	[ ! -e b.redo ]
}

@test "a log with one superblock damaged, also where its name stands: mounted, and that is told" {
	plyfs mount a.redo m
	echo new >m/new
	plyfs umount m
	for off in 0 5 4096 4101 900; do
		cp a.redo b.redo
		printf '\377' | dd of=b.redo bs=1 seek=$off conv=notrunc status=none
		run -0 --separate-stderr plyfs mount b.redo m
		[[ $stderr == *"warning: "*"superblock"* ]]
		[ "$(cat m/new)" = new ]
		plyfs umount m
		plyfs verify b.redo
	done
}

@test "umount(8), and a mount right behind it: that waits for the daemon" {
	plyfs mount a.redo m
	for ((i = 0; i < 10; i++)); do
		dd if=/dev/urandom of="m/$i" bs=1M count=8 status=none
		umount m
		plyfs mount a.redo m
	done
	# one that is mounted is not waited for
	started=${EPOCHREALTIME/./}
	run -1 plyfs mount a.redo m2
	[ $((${EPOCHREALTIME/./} - started)) -lt 1500000 ]
	umount m
	# nor one that is in use by others for ever
	sleep 0.5
	exec 9<a.redo
	flock 9
	run -1 timeout 30 plyfs mount a.redo m
	exec 9<&-
	[[ $output == *"another process has this log open"* ]]
}

@test "volatile, without a place for a file that has no name: refused, and what to do" {
	unshare -m --propagation private true || skip "no mount namespaces here"
	run -1 --separate-stderr unshare -m --propagation private sh -c '
		mount -t tmpfs -o ro none /var/tmp && TMPDIR=/proc exec plyfs mount gold.plyfs m --volatile --json'
	[ "$(reason)" = MOUNT_FAILED ]
	[[ $stderr == *"set TMPDIR"* ]]
}

@test "the kernel holds less than is kept free for it" {
	bdi() { cat "/sys/class/bdi/$(findmnt -no MAJ:MIN m | tr -d ' ')/max_bytes"; }
	plyfs mount a.redo m
	[ -e "/sys/class/bdi/$(findmnt -no MAJ:MIN m | tr -d ' ')/max_bytes" ] || skip "this kernel cannot be told"
	# it is kept as a share of what is free now, which goes up and down
	[ "$(bdi)" -le 42000000 ]
}

@test "umount knows whether the log was closed: not by a daemon that was killed" {
	pid=$(plyfs mount --json a.redo m | pid_of)
	echo new >m/new
	kill -KILL "$pid"
	for ((i = 0; i < 200; i++)); do is_gone "$pid" && break; sleep 0.05; done
	for verb in stats sync; do
		run -1 --separate-stderr plyfs $verb m --json
		[ "$(reason)" = NOT_MOUNTED ]
		[[ $stderr == *"its daemon has died"*"plyfs umount $D/m"* ]]
		run -1 --separate-stderr plyfs $verb m/etc
		[[ $stderr == *"daemon"*"has died"*"plyfs umount"* ]]
	done
	run -1 --separate-stderr plyfs umount m --json
	[ "$(reason)" = REDO_FAILED ]
	[[ $stderr == *"was not closed"*"$D/a.redo"*"system log"* ]]
	refute mountpoint -q m
	plyfs mount a.redo m
	[ "$(cat m/new)" = new ]
	plyfs umount m
	# read-only and volatile mounts have nothing to lose
	for options in "a.redo m -o ro" "gold.plyfs m --volatile" "gold.plyfs m"; do
		# shellcheck disable=SC2086
		pid=$(plyfs mount --json $options | pid_of)
		kill -KILL "$pid"
		for ((i = 0; i < 200; i++)); do is_gone "$pid" && break; sleep 0.05; done
		plyfs umount m
	done
}

@test "umount: what cannot be written is told, and the mount stays" {
	mkdir t
	mount -t tmpfs -o size=200m none t
	plyfs redo create gold.plyfs t/b.redo
	plyfs mount t/b.redo m
	python3 - m <<'END' 3>&- &
import mmap, os, sys, time
with open(sys.argv[1] + "/mapped", "w+b") as f:
    f.truncate(8 << 20)
    shared = mmap.mmap(f.fileno(), 8 << 20)
open("ready", "w")
while os.path.exists("ready"):
    time.sleep(0.05)
for at in range(0, 8 << 20, 4096):
    shared[at:at + 4096] = os.urandom(4096)
open("written", "w")
time.sleep(120)
END
	writer=$!
	for ((i = 0; i < 400; i++)); do [ -e ready ] && break; sleep 0.05; done
	dd if=/dev/zero of=t/filler bs=1M status=none || true
	[ "$(stat -fc %a t)" = 0 ]
	rm ready
	for ((i = 0; i < 400; i++)); do [ -e written ] && break; sleep 0.05; done
	rm written
	run -1 --separate-stderr plyfs umount m --json
	[ "$(reason)" = REDO_FAILED ]
	[[ $stderr == *"No space left"*"stays mounted"*"umount(8)"* ]]
	mountpoint -q m
	kill "$writer"
	wait "$writer" || true
	rm t/filler
	plyfs umount m
	[ "$(plyfs info --json t/b.redo | json 'd["state"]')" = clean ]
	umount t
}

@test "umount of a log that was renamed meanwhile; of one that is mounted again at once" {
	plyfs mount a.redo m
	echo new >m/new
	mv a.redo b.redo
	plyfs umount m
	[ "$(plyfs info --json b.redo | json 'd["state"]')" = clean ]
	plyfs mount b.redo m
	(until plyfs mount b.redo m2 2>/dev/null; do :; done) 3>&- &
	plyfs umount m
	wait
	[ "$(cat m2/new)" = new ]
}

@test "fallocate: more than there is room for is ENOSPC, and nothing happened" {
	mkdir t
	mount -t tmpfs -o size=200m none t
	plyfs redo create gold.plyfs t/b.redo
	plyfs mount t/b.redo m
	for options in "-l 1G" "-n -l 1G" "-l 1T" "-o 1G -l 512M"; do
		# shellcheck disable=SC2086
		run -1 fallocate $options m/file
		[[ $output == *"No space left"* ]]
		[ "$(stat -c %s m/file)" = 0 ]
	done
	fallocate -l 50M m/file
	[ "$(stat -c %s m/file)" = 52428800 ]
	# holes take nothing
	truncate -s 1T m/file
	fallocate -p -o 1G -l 1T m/file
	echo x >m/other
	plyfs umount m
	umount t
}
