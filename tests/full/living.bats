#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: MariaDB added to a machine in use and taken out again, judged by the machine's own tools; 6 min
# What an administrator did in between is kept: a user, a package, an alternative, edited files.

# shellcheck disable=SC2154  # run sets output and stderr; gold: by setup_file

load ../lib/common
load ../lib/over
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "the gold root has devices and owners" && gold lamp || return 0
	export image=$BATS_FILE_TMPDIR/lamp.plyfs reference=$BATS_FILE_TMPDIR/reference
	plyfs capture "$gold" "$image" "${lamp[@]}" --level 1 >/dev/null
	cd "$BATS_FILE_TMPDIR" || exit 1
	over "$gold"
	"$PLYFS_TESTS/lib/accept.sh" --reference over/tree "$reference"
	over_done
	# edited by hand, see machine()
	{ cat "$reference/verify"; echo '??5?????? c /etc/apache2/apache2.conf'; } | LC_ALL=C.UTF-8 sort -u >verify
	mv verify "$reference/verify"
	# a package of no archive
	mkdir -p mine/DEBIAN mine/usr/bin mine/etc/mine
	printf 'Package: mine\nVersion: 1.0\nArchitecture: all\nMaintainer: me <me@example.org>\nDescription: made by hand\n' \
		>mine/DEBIAN/control
	echo /etc/mine/conf >mine/DEBIAN/conffiles
	echo conf >mine/etc/mine/conf
	printf '#!/bin/sh\necho mine\n' >mine/usr/bin/mine-tool
	chmod 755 mine/usr/bin/mine-tool
	dpkg-deb --root-owner-group -b mine mine.deb >/dev/null
}

setup()
{
	ready
	daemon=
}

teardown()
{
	[ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon"; } || true
	leave target
	over_done
	rm -rf --one-file-system target earlier
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

in_it() { env -u TMPDIR DEBIAN_FRONTEND=noninteractive chroot target "$@" </dev/null; }

enter()
{
	mount -t proc proc target/proc
	mount --bind /dev target/dev
	mount -t tmpfs tmpfs target/run
	mkdir target/run/lock
}

leave() # DIR
{
	local at
	for at in "$1"/run "$1"/dev "$1"/proc; do
		if mountpoint -q "$at"; then umount "$at" || umount -l "$at"; fi
	done
}

# The operating system and apache, and what an administrator does to it.
machine()
{
	mkdir target
	plyfs layout "$image" target -s os,apache --no-sync >/dev/null
	enter
	in_it useradd -m -s /bin/bash bob
	in_it usermod -a -G www-data bob
	cp "$BATS_FILE_TMPDIR/mine.deb" target/root/
	in_it dpkg -i /root/mine.deb >dpkg.log 2>&1 || { cat dpkg.log; false; }
	in_it update-alternatives --quiet --install /usr/bin/tool tool /usr/bin/mine-tool 10
	in_it update-alternatives --quiet --set pager /usr/bin/mine-tool 2>/dev/null || true
	leave target
	echo "/usr/bin/mine-tool" >>target/etc/shells
	echo "ServerName mine" >>target/etc/apache2/apache2.conf
	mkdir -p target/etc/mysql
	touch -d '2020-02-02' target/etc/shells
}

hand_made_is_there()
{
	in_it id -nG bob | grep -qw www-data
	[ -d target/home/bob ]
	in_it dpkg -s mine | grep -q '^Status: install ok installed'
	[ "$(in_it /usr/bin/tool)" = mine ]
	in_it update-alternatives --display tool | grep -q /usr/bin/mine-tool
	grep -q mine-tool target/etc/shells
	grep -q '^ServerName mine' target/etc/apache2/apache2.conf
}

# accepted SERVICE...: on a copy, which may be written to
accepted()
{
	over "$PWD/target"
	"$PLYFS_TESTS/lib/accept.sh" over/tree "$reference" "$@"
	over_done
}

# A day of the service: in the machine itself
use_it()
{
	enter
	install -d -m 755 -o "$(stat -c %u target/var/lib/mysql)" target/run/mysqld
	env -u TMPDIR chroot target mariadbd --user=mysql --skip-networking --socket=/run/mysqld/s >service.log 2>&1 </dev/null 3>&- &
	daemon=$!
	for _ in {1..600}; do
		! in_it mariadb --socket=/run/mysqld/s -e 'select 1' >/dev/null 2>&1 || break
		kill -0 "$daemon" || { cat service.log; false; }
		sleep 0.2
	done
	[ "$(in_it mariadb --socket=/run/mysqld/s -Ne \
		'create database mine; create table mine.t (n int); insert into mine.t values (42); select n from mine.t')" = 42 ]
	in_it mariadb-admin --socket=/run/mysqld/s shutdown
	wait "$daemon" || true
	daemon=
	leave target
}

# explained LEFT.json: each difference from before is at a path that was reported, below one, or a directory on the way
explained()
{
	same earlier target --max 100000 >differences || true
	python3 - "$1" differences <<-'END'
	import json, re, sys
	left = [l["path"] for l in json.load(open(sys.argv[1]))["left"]]
	bad = 0
	for line in open(sys.argv[2], encoding="utf-8", errors="backslashreplace"):
	    m = re.match(r"(\S+) (/[^:|]*)(:.*)?$", line.rstrip("\n"))
	    if not m:
	        continue
	    kind, path = m.group(1), m.group(2).rstrip()
	    below = any(path == l or path.startswith(l + "/") for l in left)
	    above = kind in ("mtime", "nlink", "only-in-b") and any(l.startswith(path + "/") for l in left)
	    if not below and not above:
	        print("not explained:", line.rstrip())
	        bad += 1
	sys.exit(bad > 0)
	END
}

@test "added to a machine in use: it is one machine, and what was done by hand is there; removed, it is as before" {
	machine
	cp -a --reflink=auto target earlier
	run -0 --separate-stderr plyfs layout "$image" target -s mysql --json
	[ "$(json 'd["components"], d["left"]' <<<"$output")" = "(['mysql'], [])" ]
	hand_made_is_there
	accepted apache mysql
	in_it dpkg -l mariadb-server mine apache2 | grep -c '^ii' | grep -qx 3
	in_it update-alternatives --display my.cnf | grep -q /etc/mysql/mariadb.cnf
	in_it id mysql
	run -0 plyfs layout "$image" target -s mysql
	[[ $output == *"all of it is there"* ]]
	run -0 --separate-stderr plyfs layout target --remove mysql --json
	[ "$(json 'd["left"]' <<<"$output")" = "[]" ]
	same earlier target
	accepted apache
}

@test "after a start: what the service has written stays and is reported, with the user whose it is" {
	machine
	cp -a --reflink=auto target earlier
	plyfs layout "$image" target -s mysql --no-sync >/dev/null
	use_it
	run -1 --separate-stderr plyfs layout target --remove mysql --no-sync --json
	echo "$output" >left.json
	[ "$(json 'd["error"]["reason"]' <left.json)" = TARGET_EXISTS ]
	[ "$(json '"/var/lib/mysql/mine" in [l["path"] for l in d["left"]]' <left.json)" = True ]
	explained left.json
	[ ! -e target/usr/sbin/mariadbd ]
	[ -e target/var/lib/mysql/mine/t.frm ]
	# whose files they are
	in_it id mysql
	hand_made_is_there
	accepted apache
	# and it works again when it comes again
	cat >policy <<-END
		version: 1
		conflicts:
		  - glob: /var/lib/mysql/**
		    resolve: first
	END
	run -0 plyfs layout "$image" target -s mysql --no-sync --policy policy
	accepted apache mysql
}

@test "a machine that plyfs has not made: the package database tells what is there" {
	machine
	rm -rf target/var/lib/plyfs
	cp -a --reflink=auto target earlier
	plyfs layout "$image" target -s mysql --no-sync
	accepted apache mysql
	hand_made_is_there
	plyfs layout target --remove mysql --no-sync
	same earlier target
}

@test "php on apache, and apache cannot go before it" {
	machine
	cp -a --reflink=auto target earlier
	plyfs layout "$image" target -s php --no-sync
	accepted apache php
	run -3 plyfs layout target --remove apache
	run -0 plyfs layout target --remove php --no-sync
	same earlier target
}

@test "packages of another machine that lack something: named, and nothing is written; forced, it works" {
	local split
	split=$("$PLYFS_TESTS/lib/gold.sh" split) || skip "no gold root split"
	cp -a --reflink=auto "$split/base" target
	cp -a --reflink=auto target earlier
	run -3 --separate-stderr plyfs layout "$image" target -s mysql --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_LACKS ]
	[[ $stderr == *"needs psmisc"* ]]
	same earlier target
	run -0 plyfs layout "$image" target -s mysql --force-os-mismatch --no-sync
	[ -z "$(in_it dpkg --audit)" ]
	use_it
}
