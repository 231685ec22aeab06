#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: 8 sub-images, 300,000 files and 5,000 collisions: seconds of plan, and what a mount touches; 5 min, 3 GiB of RAM or disk
# A plan costs what collides, and a mount what is looked at, not what is there. Seconds are the best of three.

load ../lib/common
load ../lib/scale
bats_require_minimum_version 1.5.0

names=(one two three four five six seven)
somewhere=srv/many/directory-00250/file-0000050100.txt

say() { echo "# $*" >&3; }

setup_file()
{
	need_root "mounts and file systems without readahead" || return 0
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || return 0
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir tree
	if [ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -gt $((6 << 20)) ]; then
		mount -t tmpfs -o size=4g,nr_inodes=0 none tree
	fi
	mkdir -p tree/{etc/sysctl.d,srv/same,srv/other}
	printf 'ID=debian\nVERSION_ID="12"\n' >tree/etc/os-release
	many_files tree/srv/many 100000
	bare_fs fs 1G
	plyfs capture tree i.plyfs --level 1
	for i in {0..6}; do
		many_files "tree/opt/${names[i]}" 28600
		colliding "$i" tree "${names[i]}"
		add_timed i.plyfs "${names[i]}"
		rm -r tree/opt tree/etc/sysctl.d/* tree/srv/same/*
	done
	cp i.plyfs fs/
}

# colliding NUMBER TREE NAME: each of 5,000 paths is in two machines, one after the other
colliding()
{
	python3 - "$@" <<-'END'
	import os, sys
	machine, tree, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
	for c in range(5000):
	    if machine not in (c % 7, (c + 1) % 7):
	        continue
	    where, text = f"etc/sysctl.d/{c}.conf", f"net.c{c}.{name} = 1\n"
	    if c >= 4000:
	        where, text = f"srv/same/{c}", "the same\n"
	    with open(f"{tree}/{where}", "w") as f:
	        f.write(text)
	    os.utime(f"{tree}/{where}", (1700000000 + machine, 1700000000 + machine))
	END
}

add_timed()
{
	local from=$EPOCHREALTIME
	plyfs add "$1" "$2" tree
	say "add $2: $(awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s"
}

teardown_file()
{
	[ -z "${SKIP:-}" ] || return 0
	umount "$BATS_FILE_TMPDIR/fs"
	if mountpoint -q "$BATS_FILE_TMPDIR/tree"; then umount "$BATS_FILE_TMPDIR/tree"; fi
}

setup()
{
	ready
	cd "$BATS_FILE_TMPDIR" || exit 1
}

teardown() { unmount_all mnt; }

# best COMMAND...: milliseconds, of three; its exit code is the last one's
best()
{
	local from took rc=0
	best=999999
	for _ in 1 2 3; do
		from=${EPOCHREALTIME/./}
		rc=0
		"$@" >best.out 2>best.err || rc=$?
		took=$(((${EPOCHREALTIME/./} - from) / 1000))
		if [ "$took" -lt "$best" ]; then best=$took; fi
	done
	return "$rc"
}

@test "there are 8 sub-images, 300,000 files and 5,000 collisions" {
	plyfs plan i.plyfs --json >plan.json
	run -0 python3 "$PLYFS_TESTS/lib/plan.py" counts <plan.json
	echo "$output"
	grep -qx 'append 4000' <<<"$output"
	# and those of the directories in which they are
	[[ $output =~ times\ (10..)$ ]]
	[ "$(wc -l <<<"$output")" = 2 ]
	[ "$(plyfs ls i.plyfs -R | wc -l)" -ge 300000 ]
}

@test "plan takes less than a second" {
	best plyfs plan i.plyfs
	say "plan: $best ms"
	not_sanitized
	[ "$best" -lt 1000 ]
	best plyfs plan i.plyfs --json
	say "plan --json: $best ms"
	[ "$best" -lt 1000 ]
}

@test "a mount up to the first stat touches at most 256 KiB" {
	touched=$(touched_by_stat fs i.plyfs $somewhere)
	say "touched: $touched bytes"
	[ "$touched" -le $((256 * 1024)) ]
	touched=$(touched_by_stat fs i.plyfs etc/sysctl.d/1234.conf)
	say "touched, to the first stat of a merged file: $touched bytes"
	[ "$touched" -le $((384 * 1024)) ]
}

@test "the daemon holds at most 96 MiB" {
	not_sanitized
	pid=$(mounted_pid mnt i.plyfs)
	most=$(cost anonymous "$pid" find mnt -printf '%s')
	say "daemon: $most KiB"
	[ "$most" -le $((96 * 1024)) ]
}

@test "1,000 conflicts more: plan tells them in less than a second, and nothing is shown" {
	cp i.plyfs more.plyfs
	for name in eight nine; do
		for c in {1..1000}; do echo "$name has this of $c" >"tree/srv/other/$c"; done
		plyfs add more.plyfs $name tree
		rm -r tree/srv/other/*
	done
	best plyfs plan more.plyfs || [ $? = 3 ]
	say "plan with 1,000 conflicts: $best ms"
	[ "$best" -lt 1000 ]
	run -3 --separate-stderr plyfs mount more.plyfs mnt
	plyfs plan more.plyfs --write=policy.yaml >plan.txt || [ $? = 3 ]
	sed -i 's/resolve: undecided/resolve: last/' policy.yaml
	mounted mnt more.plyfs --policy policy.yaml
	[ "$(cat mnt/srv/other/500)" = 'nine has this of 500' ]
	plyfs umount mnt
}
