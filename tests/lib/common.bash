# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the bats files share: load ../lib/common

# bats cannot skip in setup_file: what is missing there is kept in SKIP, for ready() in setup.
#
#   setup_file() { need_root "devices" && gold lamp || return 0; ...; }
#   setup()      { ready; ...; }

lacks()
{
	export SKIP=$1
	return 1
}

# need_root [WHY]
need_root() { [ "$(id -u)" = 0 ] || lacks "needs root${1:+: $1}"; }

# gold NAME: sets $gold
gold()
{
	local rc=0
	gold=$("$PLYFS_TESTS/lib/gold.sh" "$1" 2>"$BATS_FILE_TMPDIR/gold.log") || rc=$?
	export gold
	[ "$rc" != 77 ] || lacks "$(tail -n 1 "$BATS_FILE_TMPDIR/gold.log")" || return
	[ "$rc" = 0 ] || { cat "$BATS_FILE_TMPDIR/gold.log"; exit 1; }
}

# The components of the LAMP machine. The packages of no version stand with those that they need, else
# os would need a component.
# shellcheck disable=SC2034  # used by who loads this
lamp=(
	-c "apache=apache2,apache2-bin,apache2-data"
	-c "mysql=mariadb-server,mariadb-server-core,mariadb-client"
	-c "php=php8.2-cli,libapache2-mod-php8.2"
)

# for setup: skips where setup_file could not; each test has a directory of its own
ready()
{
	[ -z "${SKIP:-}" ] || skip "$SKIP"
	cd "$BATS_TEST_TMPDIR" || exit
}

# straced OPTION... COMMAND...: by strace, with all it starts. Two cannot trace one process: a sanitizer that wants to look for
# leaks at its end would stop there, so of these it looks for all else. What leaks, leaks in calls that nobody traces, too.
straced() { ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 strace -f "$@"; }

# same A B [OPTION...]: equal in everything of promise 1
same() { python3 "$PLYFS_TESTS/lib/compare.py" "$@"; }

inodes() { python3 "$PLYFS_TESTS/lib/inodes.py" "$@"; }

# mounted DIR IMAGE [OPTION...]: closed descriptor 3, since bats waits for whoever holds it
mounted()
{
	local dir=$1 image=$2
	shift 2
	mkdir -p "$dir"
	plyfs mount "$image" "$dir" "$@" 3>&-
}

# unmounted DIR: somebody else's mount namespace may still hold it, which `plyfs umount` tells with 1
unmounted() { plyfs umount "$1" || ! mountpoint -q "$1"; }

# unmount_all: in teardown, whatever a failed test left
unmount_all()
{
	local dir
	for dir; do
		if mountpoint -q "$dir" && ! plyfs umount "$dir" && mountpoint -q "$dir"; then umount -l "$dir"; fi
	done
}

drop_caches()
{
	sync -f "$TMPDIR"
	echo 3 >/proc/sys/vm/drop_caches
}
