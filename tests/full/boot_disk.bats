#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: disk images as the README makes them, booted by QEMU without KVM: services answer, no unit fails (network); 5 min

# shellcheck disable=SC2154  # gold: by gold()
load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "loop devices, owners" || return 0
	qemu-system-x86_64 --version >/dev/null 2>&1 || lacks "no qemu-system-x86_64: install qemu-system-x86" || return 0
	losetup --find >/dev/null 2>&1 || lacks "no loop device" || return 0
	gold split || return 0
	plyfs capture "$gold/lamp" "$BATS_FILE_TMPDIR/lamp.plyfs" -c apache=apache2 -c mysql=mariadb-server \
		-c php=php,libapache2-mod-php,php-mysql
}

setup()
{
	ready
	ln -s "$BATS_FILE_TMPDIR/lamp.plyfs" .
	mkdir disk
}

teardown()
{
	if mountpoint -q disk; then umount disk; fi
	rm -f disk.img
}

# as_shown COMMAND: of the README, where the disk is mounted at /mnt/disk
as_shown()
{
	grep -qF "    # $1" "$PLYFS_TESTS/../README.md" || { echo "the README does not say: $1"; return 1; }
	eval "${1//\/mnt\/disk/disk}"
}

# tells COMMAND...: when the machine is up, a unit that an administrator could have written tells a line of each, and
# turns it off
tells()
{
	local command
	mount -o loop disk.img disk
	{
		printf '%s\n' '#!/bin/sh' 'exec >/dev/ttyS0 2>&1'
		for command; do echo "echo \"@ \$($command)\""; done
		echo 'systemctl poweroff'
	} | install -m 755 /dev/stdin disk/usr/local/sbin/tell
	printf '%s\n' '[Unit]' 'After=mariadb.service apache2.service getty.target' '[Service]' 'Type=oneshot' \
		'ExecStart=/usr/local/sbin/tell' >disk/etc/systemd/system/tell.service
	ln -s ../tell.service disk/etc/systemd/system/multi-user.target.wants/tell.service
	umount disk
}

# Sets told: its lines, without what is in front of them.
booted()
{
	local rc=0
	timeout 900 qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -nodefaults -no-user-config \
		-display none -serial file:console -no-reboot -nic none -drive file=disk.img,format=raw,if=virtio,cache=unsafe \
		-kernel vmlinuz -initrd initrd.img \
		-append "root=/dev/vda rw console=ttyS0 loglevel=4 systemd.show_status=0" </dev/null || rc=$?
	tr -d '\r' <console | tail -n 40
	[ "$rc" = 0 ]
	grep -aq 'login:' console
	told=$(tr -d '\r' <console | grep -ao '@ .*')
	e2fsck -fn disk.img
}

@test "os and mysql: by the three commands; it boots, MariaDB answers, nothing else is there" {
	as_shown "truncate -s 4G disk.img && mkfs.ext4 -q disk.img && mount -o loop disk.img /mnt/disk"
	as_shown "plyfs layout lamp.plyfs /mnt/disk -s mysql && umount /mnt/disk"
	as_shown "plyfs cat lamp.plyfs /vmlinuz >vmlinuz && plyfs cat lamp.plyfs /initrd.img >initrd.img"
	tells "findmnt -n -o SOURCE /" "mysql -N -e 'select 6 * 7'" "systemctl --failed --no-legend --plain | wc -l" \
		"dpkg --audit | wc -l" "command -v apache2 php"
	booted
	[ "$told" = $'@ /dev/vda\n@ 42\n@ 0\n@ 0\n@ ' ]
}

@test "all of it: Apache answers by PHP, which asks MariaDB" {
	truncate -s 4G disk.img
	mkfs.ext4 -q disk.img
	mount -o loop disk.img disk
	plyfs layout lamp.plyfs disk
	cp disk/vmlinuz disk/initrd.img .
	echo '<?php echo mysqli_connect("localhost", "web", "")->query("select 6 * 7")->fetch_row()[0];' >disk/var/www/html/ask.php
	umount disk
	tells "mysql -e 'create user web@localhost'" "curl -s http://localhost/ask.php" \
		"systemctl --failed --no-legend --plain | wc -l"
	booted
	[ "$told" = $'@ \n@ 42\n@ 0' ]
}
