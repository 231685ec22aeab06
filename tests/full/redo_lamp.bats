#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: a LAMP machine is administrated in a writable mount: packages, a unit, a user, a database; mounted anew all is there (network); 5 min

# shellcheck disable=SC2016,SC2154  # for the tool that is called; gold: by setup_file
load ../lib/common
load ../lib/over
load ../lib/apt
load ../lib/writable
bats_require_minimum_version 1.5.0

# of Debian 12, and need nothing but what each machine has
packages=(hello tree figlet dos2unix time ed dc patch xxd sharutils mtools zip)

setup_file()
{
	need_writable && gold split || return 0
	cd "$BATS_FILE_TMPDIR" || exit
	plyfs capture "$gold/lamp" lamp.plyfs -c apache=apache2 -c mysql=mariadb-server -c "php=php,libapache2-mod-php,php-mysql"
	over "$gold/lamp"
	"$PLYFS_TESTS/lib/accept.sh" --reference over/tree reference
	over_done
	mkdir packages
	(cd packages && apt-get -q download "${packages[@]}" >/dev/null 2>&1) || lacks "no packages can be downloaded" || return 0
}

setup()
{
	ready
	cd "$BATS_FILE_TMPDIR" || exit
}

teardown() { [ -n "${SKIP:-}" ] || unmount_all "$BATS_FILE_TMPDIR/m"; }

in_tree() { env -u TMPDIR DEBIAN_FRONTEND=noninteractive chroot m "$@"; }

# with_mariadb SQL: what the server says to it; started for that
with_mariadb()
{
	local pid rc=0 i
	mount -t tmpfs tmpfs m/run
	install -d -m 755 -o "$(stat -c %u m/var/lib/mysql)" m/run/mysqld
	in_tree mariadbd --user=mysql --skip-networking --socket=/run/mysqld/s >server 2>&1 </dev/null 3>&- &
	pid=$!
	for ((i = 0; i < 300; i++)); do
		in_tree mariadb --socket=/run/mysqld/s -e 'select 1' >/dev/null 2>&1 && break
		sleep 0.2
	done
	in_tree mariadb --socket=/run/mysqld/s -Ne "$1" || { rc=1; cat server; }
	in_tree mariadb-admin --socket=/run/mysqld/s shutdown || kill "$pid"
	wait "$pid" || rc=$?
	umount m/run
	return "$rc"
}

# What has been done to the machine, asked of its own tools.
all_there()
{
	local p
	for p in "${packages[@]}" bc; do
		[ "$(in_tree dpkg-query -W -f '${db:Status-Status}' "$p")" = installed ]
	done
	[ "$(in_tree hello)" = 'Hello, world!' ]
	[ "$(in_tree bc <<<'6 * 7')" = 42 ]
	[ "$(in_tree systemctl is-enabled mine.service)" = enabled ]
	[ "$(in_tree id -un 4711)" = alice ]
	[ -d m/home/alice ] && [ "$(stat -c %u m/home/alice/.bashrc)" = 4711 ]
	clean m
}

@test "apt-get install, dpkg -i, systemctl enable, useradd, MariaDB; mounted anew all is there, and the image is as it was" {
	local before
	before=$(sha256sum <lamp.plyfs)
	plyfs redo create lamp.plyfs m.redo
	mounted m m.redo
	install -m 755 /dev/stdin m/usr/sbin/policy-rc.d <<<'exit 101'
	apt m update
	apt m install bc
	cp packages/*.deb m/root/
	in_tree sh -ec 'dpkg -i /root/*.deb && rm /root/*.deb'
	printf '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' >m/etc/systemd/system/mine.service
	in_tree systemctl enable mine.service
	in_tree useradd -m -u 4711 -s /bin/bash alice
	with_mariadb 'create database d; use d; create table t (n int primary key, s text) engine=innodb;
		insert into t select seq, repeat(char(65 + seq % 26), seq % 700) from seq_1_to_20000;'
	all_there

	plyfs umount m
	mounted m m.redo
	all_there
	[ "$(with_mariadb 'select count(*), sum(length(s)), sum(n) from d.t')" = "$(printf '20000\t6930400\t200010000')" ]
	"$PLYFS_TESTS/lib/accept.sh" m reference apache mysql php

	plyfs umount m
	[ "$(sha256sum <lamp.plyfs)" = "$before" ]
	plyfs verify lamp.plyfs --deep
	mounted m lamp.plyfs
	same "$gold/lamp" m
}
