#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# Root's mounts: what they show, how they are asked for, and what the kernel need not ask.

load common
bats_require_minimum_version 1.5.0

setup_file()
{
	make_gold
}

setup()
{
	need_root
	cd "$D" || return
}

teardown()
{
	cd /
	unmount_all
}

@test "a mount equals the machine that was captured" {
	plyfs mount gold.plyfs m
	python3 "$TESTS/lib/compare.py" gold m
	plyfs umount m
}

@test "type, source and options show in the mount table; IMAGE@GEN too" {
	plyfs mount gold.plyfs m
	[ "$(findmnt -no FSTYPE m)" = fuse.plyfs ]
	[ "$(findmnt -no SOURCE m)" = "$D/gold.plyfs" ]
	findmnt -no OPTIONS m | grep -q '^ro,relatime,.*default_permissions,allow_other'
	plyfs umount m
	plyfs mount gold.plyfs m -o nodev,nosuid,noexec,dev,suid,exec
	findmnt -no OPTIONS m | grep -q '^ro,relatime,'
	plyfs umount m
	plyfs mount gold.plyfs@1 m -o dev,suid,exec,nodev,nosuid,noexec
	[ "$(findmnt -no SOURCE m)" = "$D/gold.plyfs@1" ]
	findmnt -no OPTIONS m | grep -q '^ro,nosuid,nodev,noexec'
	run plyfs mount gold.plyfs@2 m
	[ "$status" = 1 ]
}

@test "a selection: what is required is added and told, nothing else is there" {
	run plyfs mount gold.plyfs m -s web
	[ "$status" = 0 ]
	[[ $output == *"selection: os, web (added: os)"* ]]
	[ -e m/usr/share/web ] || [ -e m/etc/web ]
	[ -e m/etc/passwd ]
	run bash -c "find m -path '*/var/lib/dpkg' -prune -o -name 'db*' -print | grep -v web"
	plyfs umount m
	plyfs mount gold.plyfs m -s os,web,db
	python3 "$TESTS/lib/compare.py" gold m
}

@test "inode numbers and file handles are the same after a remount" {
	plyfs mount gold.plyfs m
	find m -printf '%i %n %p\n' | sort >first
	probe handles save m handles
	plyfs umount m
	plyfs mount gold.plyfs m
	probe handles open m handles
	find m -printf '%i %n %p\n' | sort | cmp - first
}

@test "file handles outlive the kernel's caches; those of nobody are ESTALE" {
	plyfs mount gold.plyfs m
	probe handles save m handles
	echo 2 >/proc/sys/vm/drop_caches || skip "drop_caches is not allowed"
	probe handles open m handles
	probe stale m
}

@test "a handle of another image is ESTALE, but for the root" {
	mkdir -p other/a && touch other/a/b
	plyfs capture other other.plyfs
	plyfs mount other.plyfs m
	probe handles save m/a handles
	plyfs umount m
	plyfs mount gold.plyfs m
	run probe handles open m handles
	[[ $output == *"[Errno 116]"* ]]
}

@test "a second walk, a second read and a second miss ask nothing" {
	plyfs mount gold.plyfs m
	walk() { find m -printf '%s %m %i\n' >/dev/null; find m -type f -exec cat {} + >/dev/null; }
	misses() { for i in 1 2 3; do refute [ -e m/etc/nothing ]; done; }
	# somebody else may drop the caches of the whole machine in between, but not every time
	for _ in 1 2 3 4 5; do
		walk; misses
		before=$(probe requests m)
		walk; misses
		after=$(probe requests m)
		[ "$after" != "$before" ] || break
	done
	[ "$after" = "$before" ]
	[ "$(probe requests m OPEN)" = 1 ]
	[ "$(probe requests m OPENDIR)" = 1 ]
	[ "$(probe requests m FLUSH)" = 1 ]
}

@test "a walk asks by directory, not by file" {
	plyfs mount gold.plyfs m
	find m -printf '%s %m %i\n' >/dev/null
	[ "$(probe requests m LOOKUP)" -le 1 ]
	[ "$(probe requests m READDIR)" = 0 ]
	[ "$(probe requests m READDIRPLUS)" -le $((3 * $(find gold -type d | wc -l))) ]
}

@test "where the selection has no xattr, ls -l asks for one once" {
	plyfs mount gold.plyfs m
	ls -lR m >/dev/null
	getfattr -R -d -m - m >/dev/null 2>&1 || true   # "Operation not supported"
	[ "$(probe requests m GETXATTR)" -le 1 ]
	[ "$(probe requests m LISTXATTR)" -le 1 ]
}

@test "small files that follow each other are not asked for one by one" {
	mkdir tree
	for i in $(seq -w 0 499); do echo "content of $i" >tree/$i; done
	plyfs capture tree tree.plyfs
	# on a busy machine they may be stored too late: the best of some
	for i in {1..5}; do
		plyfs mount tree.plyfs m -o threads=3
		diff -r tree m
		reads=$(probe requests m READ)
		echo "$reads requests"
		[ "$reads" -gt 350 ] || break
		plyfs umount m
	done
	[ "$reads" -le 350 ]
	mkdir -p m1
	plyfs mount tree.plyfs m1 -o threads=1   # there is nobody to answer while one stores
	diff -r tree m1
	[ "$(probe requests m1 READ)" = 500 ]
}

@test "a large file is read in requests of 1 MiB" {
	mkdir large
	head -c 8M /dev/urandom >large/file
	plyfs capture large large.plyfs
	plyfs mount large.plyfs m
	ahead=/sys/class/bdi/$(mountpoint -d m)/read_ahead_kb
	[ -w "$ahead" ] || skip "/sys cannot be written"
	[ "$(cat "$ahead")" = 2048 ]
	cmp large/file m/file
	[ "$(probe requests m READ)" -le 14 ]
}

@test "xattrs, ACLs and capabilities; ACLs are enforced" {
	mkdir x
	echo secret >x/acl
	chmod 600 x/acl
	setfacl -m u:nobody:r x/acl || skip "no ACLs here"
	echo open >x/plain
	chmod 600 x/plain
	setfattr -n user.one -v 1 x/plain
	setfattr -n trusted.two -v 2 x/plain
	cp /bin/true x/cap
	setcap cap_net_raw+ep x/cap
	plyfs capture x x.plyfs
	plyfs mount x.plyfs m
	python3 "$TESTS/lib/compare.py" x m
	getfattr --only-values -n user.one m/plain | grep -qx 1
	run getfattr -n user.none m/plain
	[[ $output == *"No such attribute"* ]]
	[ "$(setpriv --reuid=65534 --regid=65534 --clear-groups cat m/acl)" = secret ]
	run setpriv --reuid=65534 --regid=65534 --clear-groups cat m/plain
	[ "$status" = 1 ]
	run setpriv --reuid=65533 --regid=65533 --clear-groups cat m/acl
	[ "$status" = 1 ]
	run setpriv --reuid=65534 --regid=65534 --clear-groups getfattr -m - m/acl
	[[ $output != *trusted* ]]
}

@test "programs run from a mount, mapped files are right" {
	mkdir -p p
	cp /bin/echo p/
	head -c 300001 /dev/urandom >p/file
	plyfs capture p p.plyfs
	plyfs mount p.plyfs m
	[ "$(m/echo hello)" = hello ]
	[ "$(probe mmap m/file)" = "$(sha256sum <p/file | cut -d ' ' -f 1)" ]
}

@test "statfs, long names, places that are no places" {
	plyfs mount gold.plyfs m
	[ "$(stat -f -c '%s %l %f %a' m)" = "4096 255 0 0" ]
	[ "$(stat -f -c %b m)" -gt 1000 ]
	[ "$(probe errno "m/$(printf '%0255d' 1)")" = ENOENT ]
	[ "$(probe errno "m/$(printf '%0256d' 1)")" = ENAMETOOLONG ]
	[ "$(probe errno m/etc/passwd/x)" = ENOTDIR ]
}

@test "nothing can be written, not even after a remount for writing" {
	plyfs mount gold.plyfs m
	run touch m/new
	[[ $output == *"Read-only file system"* ]]
	mount -i -o remount,rw m || skip "the kernel refuses the remount"
	for change in "touch m/new" "rm m/etc/passwd" "mkdir m/d" "ln m/etc/passwd m/l" "ln -s a m/l" \
		"mv m/etc m/b" "chmod 0 m/etc/passwd" "mkfifo m/f" "setfattr -n user.a -v 1 m/etc/passwd" \
		"truncate -s 0 m/etc/passwd"; do
		run $change
		[ "$status" != 0 ]
	done
	run bash -c 'echo more >>m/etc/passwd'
	[ "$status" != 0 ]
	run bash -c 'echo other >m/etc/passwd'
	[ "$status" != 0 ]
	python3 "$TESTS/lib/compare.py" gold m
}

@test "an option that is not there is told, with those that are" {
	for bad in suid=1 rw=1 sync=0 cache=0 cache=x threads=0 threads=65 threads ro=1 fsname=x; do
		run plyfs mount gold.plyfs m -o "$bad"
		[ "$status" = 2 ]
		[[ $output == *"${bad%%=*}"* ]]
	done
	run plyfs mount gold.plyfs m -o nodev,nonsense
	[ "$status" = 2 ]
	[[ $output == *"'nonsense'; there are: ro, rw, sync, nodev, nosuid, noexec, allow_other"* ]]
	refute mountpoint -q m
	plyfs mount gold.plyfs m -o ro,allow_other,default_permissions,cache=8M,threads=1
	find m -type f -exec cat {} + >/dev/null
}

fails()   # STATUS REASON ARGUMENT...
{
	local want=$1 reason=$2
	shift 2
	run plyfs mount --json "$@"
	[ "$status" = "$want" ] && [[ $output == *"\"reason\": \"$reason\""* ]] && return
	echo "$output"
	return 1
}

@test "what cannot be mounted is refused with its reason" {
	touch file
	mkdir -p dir
	fails 1 IMAGE_NOT_FOUND nothing m
	fails 1 IMAGE_NOT_REGULAR dir m
	fails 1 IMAGE_NOT_REGULAR /dev/null m
	fails 4 IMAGE_NOT_PLYFS file m
	fails 1 MOUNTPOINT_BAD gold.plyfs nothing
	fails 1 MOUNTPOINT_BAD gold.plyfs file
	fails 1 SUB_UNKNOWN gold.plyfs m -s web,nosuch
	[[ $output == *"os, web, db"* ]]
	refute mountpoint -q m
}

@test "a place where an image is mounted is busy; a directory that is not empty is not" {
	plyfs mount gold.plyfs m
	fails 1 MOUNTPOINT_BUSY gold.plyfs m
	[ "$(grep -c " $D/m " /proc/self/mountinfo)" = 1 ]
	plyfs umount m
	mkdir -p full/of/things
	plyfs mount gold.plyfs full
	[ -e full/etc/passwd ]
	plyfs umount full
	[ -d full/of/things ]
}

@test "the daemon holds nothing of its parent" {
	exec 9<"$D/gold.plyfs"
	pid=$(plyfs mount --json gold.plyfs m | pid_of)
	exec 9<&-
	[ "$(readlink "/proc/$pid/cwd")" = / ]
	for fd in 0 1 2; do [ "$(readlink "/proc/$pid/fd/$fd")" = /dev/null ]; done
	[ "$(find "/proc/$pid/fd" -lname "$D/gold.plyfs" | wc -l)" = 1 ]
	[ "$(ps -o sid= -p "$pid" | tr -d ' ')" = "$pid" ]
	tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "plyfs-fuse.* $D/gold.plyfs m"
}

@test "told to end, the daemon takes its mount along, also one in use" {
	pid=$(plyfs mount --json gold.plyfs m | pid_of)
	tail -f m/etc/passwd >/dev/null &
	kill "$pid"
	for _ in $(seq 100); do is_gone "$pid" && break; sleep 0.1; done
	is_gone "$pid"
	refute mountpoint -q m
	kill %1
	plyfs mount gold.plyfs m
}

@test "an installed tree runs from wherever it lies" {
	mkdir -p "moved to/bin" "moved to/libexec/plyfs"
	cp "$PLYFS_BUILD/bin/plyfs" "moved to/bin"
	run "moved to/bin/plyfs" mount --json gold.plyfs m
	[ "$status" = 1 ]
	[[ $output == *DAEMON_MISSING* ]]
	cp "$PLYFS_BUILD/libexec/plyfs/plyfs-fuse" "moved to/libexec/plyfs"
	"moved to/bin/plyfs" mount gold.plyfs m
	"moved to/bin/plyfs" umount m
}

@test "many mounts at once, one after the other on one place" {
	for i in 1 2 3 4 5; do
		mkdir -p "many$i"
		(for _ in 1 2 3 4; do
			plyfs mount gold.plyfs "many$i" && [ -e "many$i/etc/passwd" ] && plyfs umount "many$i" ||
				touch failed
		done) &
	done
	wait
	[ ! -e failed ]
}

@test "parallel readers of everything" {
	plyfs mount gold.plyfs m -o cache=1M,threads=4
	(cd gold && find . -type f -exec sha256sum {} + | sort) >sums
	for i in 1 2 3 4; do
		(cd m && sha256sum --quiet -c ../sums && find . -printf '%s %n\n' | wc -l) >"out$i" 2>&1 &
	done
	wait
	for i in 1 2 3 4; do [ "$(cat "out$i")" = "$(find gold | wc -l)" ]; done
}

@test "small files in order: most are there before they are asked for, also those of whole pages" {
	need_root
	for size in 4096 5000; do
		rm -rf small small.plyfs
		mkdir small
		for i in $(seq 100 299); do head -c $size /dev/zero | tr '\0' "$((i % 10))" >small/$i; done
		plyfs capture small small.plyfs --rules=none 2>/dev/null || plyfs capture small small.plyfs
		# where other work takes the processors, the reader can overtake the one who gives
		for _ in {1..5}; do
			plyfs mount small.plyfs m
			cat m/* | cmp - <(cat small/*)
			n=$(probe requests m READ)
			echo "$size: $n"
			plyfs umount m
			[ "$n" -ge 100 ] || break
		done
		[ "$n" -lt 100 ]
	done
}

@test "a block that is read here and there is given as a whole at its second read" {
	need_root
	mkdir many
	head -c 4194304 /dev/urandom >many/file
	plyfs capture many many.plyfs
	# where other work takes the processors, the reader can overtake the one who gives
	for _ in {1..5}; do
		plyfs mount many.plyfs m
		# 20 pieces of each of 32 blocks, in an order that no readahead knows
		python3 - m/file many/file <<-'E'
			import os, random, sys
			fds = [os.open(p, os.O_RDONLY) for p in sys.argv[1:]]
			os.posix_fadvise(fds[0], 0, 0, os.POSIX_FADV_RANDOM)
			pages = [b * 32 + p for b in range(32) for p in range(20)]
			random.Random(1).shuffle(pages)
			assert all(os.pread(fds[0], 4096, 4096 * p) == os.pread(fds[1], 4096, 4096 * p) for p in pages)
		E
		n=$(probe requests m READ)
		echo "$n"
		cmp m/file many/file
		plyfs umount m
		[ "$n" -ge 320 ] || break
	done
	[ "$n" -lt 320 ]
}

@test "labels of SELinux are shown where the image has some; where it has none they are not supported" {
	local label=system_u:object_r:etc_t:s0
	need_root "sets extended attributes of the security namespace"
	mkdir labelled
	echo a >labelled/a
	setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= labelled/a
	plyfs capture labelled none.plyfs
	plyfs mount none.plyfs m
	run -1 getfattr -n security.selinux m/a
	[[ $output == *"Operation not supported"* ]]
	getfattr -n security.capability m/a
	plyfs umount m
	echo b >labelled/b
	setfattr -n security.selinux -v "$label" labelled/b || skip "no labels can be set here"
	plyfs capture labelled some.plyfs
	plyfs mount some.plyfs m
	[ "$(getfattr --only-values -n security.selinux m/b)" = "$label" ]
	run -1 getfattr -n security.selinux m/a
	[[ $output == *"No such attribute"* ]]
	plyfs umount m
}
