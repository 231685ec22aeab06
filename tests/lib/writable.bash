# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Writable mounts for tests, and a file system to compare them with. To be loaded behind common.

# shellcheck disable=SC1091,SC2154  # oddfs.sh sets oddfs
source "$PLYFS_TESTS/lib/oddfs.sh"

need_writable()
{
	need_root "devices, owners and mounts" || return
	{ [ -c /dev/fuse ] && : 2>/dev/null <>/dev/fuse; } || lacks "no /dev/fuse" || return
	losetup --find >/dev/null 2>&1 || lacks "no loop device" || return
}

# small_machine: $BATS_FILE_TMPDIR/gold, 2,000 files with all that a package database can say, and gold.plyfs of it: os, web, db
small_machine()
{
	mkdir "$BATS_FILE_TMPDIR/gold"
	python3 "$PLYFS_TESTS/lib/small.py" "$BATS_FILE_TMPDIR/gold"
	plyfs capture "$BATS_FILE_TMPDIR/gold" "$BATS_FILE_TMPDIR/gold.plyfs" -c web=web,web-data -c db=db
}

# fresh_log REDO [DIR]: a log on gold.plyfs, in place of an older one; mounted at DIR
fresh_log()
{
	rm -f "$1"
	plyfs redo create "$BATS_FILE_TMPDIR/gold.plyfs" "$1"
	[ $# = 1 ] || mounted "$2" "$1"
}

# trusted_fs NAME SIZE: an ext4 at $TMPDIR/NAME that changes no time unless it is told to
trusted_fs()
{
	oddfs_new "$1" "$2" && mount -o remount,noatime "$oddfs"
}

# served DIR REDO: mounted; the daemon's process is in $daemon
served()
{
	mkdir -p "$1"
	plyfs mount --json "$2" "$1" >"$1.json" 3>&-
	daemon=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$1.json")
	[ -n "$daemon" ]
}

is_gone() { ! grep -qs '^State:\s*[^Z]' "/proc/$1/status"; }

# gone DIR: its daemon, $daemon, was killed; what the kernel still shows of it is taken away
gone()
{
	local i
	for ((i = 0; i < 100; i++)); do
		is_gone "$daemon" && break
		sleep 0.05
	done
	if mountpoint -q "$1" || ! stat "$1" >/dev/null 2>&1; then umount -l "$1"; fi
}

# four_folders: $BATS_FILE_TMPDIR/gold.plyfs of t0 to t3, two of which are components: links, xattrs, a file of a MiB in each
four_folders()
{
	local gold=$BATS_FILE_TMPDIR/gold i
	for i in 0 1 2 3; do
		mkdir -p "$gold/t$i/deep/er" "$gold/t$i/few"
		seq $((i * 1000)) $((i * 1000 + 3000)) >"$gold/t$i/lines"
		head -c 1M /dev/urandom >"$gold/t$i/deep/big"
		ln "$gold/t$i/lines" "$gold/t$i/deep/er/the same lines"
		ln -s ../lines "$gold/t$i/deep/to"
		setfattr -n user.of -v "t$i" "$gold/t$i/lines"
		for f in a b c d e f g h; do echo "$f" >"$gold/t$i/few/$f"; done
	done
	plyfs capture "$gold" "$gold.plyfs" -c one='/t1/**' -c two='/t3/**'
}

traced() { python3 "$PLYFS_TESTS/lib/traced.py" "$@"; }
committed() { python3 "$PLYFS_TESTS/lib/committed.py" "$@"; }
