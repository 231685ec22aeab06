#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# Mounts by an ordinary user, through fusermount3. Run by root, the user is nobody, in a mount
# namespace of its own where /dev/fuse is open to all, as on any desktop.

load common

setup_file()
{
	# bats keeps others out of its directories
	chmod 755 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$D"
	mkdir "$D/tree"
	echo hello >"$D/tree/file"
	chmod 600 "$D/tree/file"
	cp /bin/true "$D/tree/suid"
	chmod 4755 "$D/tree/suid"
	plyfs capture "$D/tree" "$D/i.plyfs"
	mkdir "$D/m"
	chmod 644 "$D/i.plyfs"
	if [ "$(id -u)" = 0 ]; then
		# what gives power where it is honoured
		mkdir "$D/power"
		cp /usr/bin/id "$D/power/suid"
		chown root:root "$D/power/suid"
		chmod 6755 "$D/power/suid"
		cp /bin/grep "$D/power/capable"
		setcap cap_dac_override+ep "$D/power/capable" || rm "$D/power/capable"
		mknod -m 666 "$D/power/null" c 1 3
		echo secret >"$D/power/secret"
		chmod 600 "$D/power/secret"
		echo open >"$D/power/open"
		plyfs capture "$D/power" "$D/power.plyfs"
		chmod 644 "$D/power.plyfs"
		chown 65534 "$D/m" "$D/i.plyfs"
		mknod "$D/fuse" c 10 229
		chmod 666 "$D/fuse"
	fi
}

setup()
{
	command -v fusermount3 >/dev/null || skip "fusermount3 is missing"
	[ -c /dev/fuse ] || skip "there is no /dev/fuse"
	[ -e /etc/mtab ] || skip "there is no /etc/mtab, which fusermount3 unmounts by"
	if [ "$(id -u)" = 0 ]; then
		unshare -m --propagation private true 2>/dev/null || skip "no mount namespaces here"
		[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not setuid"
	else
		[ -w /dev/fuse ] || skip "/dev/fuse is not open to this user"
	fi
	cd "$D" || return
}

# Run the script on stdin: by root in a namespace of its own, with `u` to be the user.
private()
{
	if [ "$(id -u)" = 0 ]; then
		unshare -m --propagation private bash -eu -c '
			mount --bind fuse /dev/fuse
			refute() { if "$@"; then return 1; fi; }
			u() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
			other() { setpriv --reuid=65533 --regid=65533 --clear-groups "$@"; }
			'"$(cat)"
	else
		bash -eu -c '
			refute() { if "$@"; then return 1; fi; }
			u() { "$@"; }
			'"$(cat)"
	fi
}

@test "for its user, nodev and nosuid, and gone again" {
	private <<'END'
		u plyfs mount i.plyfs m
		trap 'umount -l m' EXIT
		u grep -q hello m/file
		grep " $D/m ro,nosuid,nodev,.* fuse.plyfs $D/i.plyfs " /proc/self/mountinfo
		refute u plyfs mount i.plyfs m
		u plyfs umount m
		trap - EXIT
		refute grep " $D/m " /proc/self/mountinfo
END
}

@test "nobody else sees it, not even root; root may end it" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	private <<'END'
		u plyfs mount i.plyfs m
		refute cat m/file
		plyfs umount m
		refute grep " $D/m " /proc/self/mountinfo
		plyfs mount i.plyfs m
		u plyfs umount m >said 2>&1 && exit 1
		grep "was mounted by user 0" said
		plyfs umount m
END
}

@test "a user's writable mount: all is his to change, what he makes is his, and the next mount has it" {
	private <<'END'
		[ "$(id -u)" != 0 ] || chown 65534 .
		u plyfs redo create i.plyfs user.redo
		u plyfs mount user.redo m
		trap 'umount -l m' EXIT
		grep " $D/m rw,nosuid,nodev,.* fuse.plyfs $D/user.redo " /proc/self/mountinfo
		u sh -euc 'cd m
			echo more >>file
			chmod 640 file
			mkdir dir
			ln -s ../file dir/link
			mv suid dir
			setfattr -n user.a -v b dir'
		[ "$(u stat -c %u m/dir)" = "$(u id -u)" ]
		[ "$(u stat -c %a m/dir/suid)" = 4755 ]
		u plyfs umount m
		u plyfs mount user.redo m
		[ "$(u cat m/dir/link)" = "$(printf 'hello\nmore')" ]
		[ "$(u stat -c %a m/file)" = 640 ]
		u plyfs umount m
		u plyfs mount i.plyfs m --volatile
		u rm m/file
		u plyfs umount m
		u plyfs mount i.plyfs m
		u grep -q hello m/file
		u plyfs umount m
		trap - EXIT
END
}

@test "allow_other goes by fuse.conf; noexec and default_permissions" {
	private <<'END'
		if ! grep -q '^user_allow_other' /etc/fuse.conf 2>/dev/null; then
			u plyfs mount i.plyfs m -o allow_other >said 2>&1 && exit 1
			grep -q 'user_allow_other' said
		fi
		u plyfs mount i.plyfs m -o noexec,default_permissions
		grep " $D/m ro,nosuid,nodev,noexec,.*default_permissions" /proc/self/mountinfo
		[ "$(id -u)" != 0 ] || refute u cat m/file
		refute u m/suid
		u plyfs umount m
END
}

@test "in use, dead, told to end" {
	private <<'END'
		u plyfs mount i.plyfs m
		u sh -c 'echo $$; cd m && exec sleep 60' >user &
		trap 'kill $(cat user)' EXIT
		sleep 0.3
		u plyfs umount m >said 2>&1 && exit 1
		grep "process $(cat user) (sleep: working directory)" said
		u ls m
		kill $(cat user)
		trap - EXIT
		wait
		u plyfs umount m
		pid=$(u plyfs mount --json i.plyfs m | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
		kill -KILL "$pid"
		sleep 0.2
		u plyfs umount m
		pid=$(u plyfs mount --json i.plyfs m | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
		kill "$pid"
		for _ in $(seq 100); do
			grep -q " $D/m " /proc/self/mountinfo || break
			sleep 0.1
		done
		refute grep " $D/m " /proc/self/mountinfo
END
}

@test "odd names" {
	private <<'END'
		dir=$'new\nline,tab\t \\040x'
		image=$'im\nage, \\054x.plyfs'
		mkdir "$dir"
		cp i.plyfs "$image"
		[ "$(id -u)" != 0 ] || chown 65534 "$dir" "$image"
		u plyfs mount "$image" "$dir"
		u grep -q hello "$dir/file"
		u plyfs umount "$dir"
		refute grep "new.012line" /proc/self/mountinfo
END
}

@test "a place that is not the user's is refused in fusermount3's words" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	private <<'END'
		mkdir -p roots
		u plyfs mount i.plyfs roots >said 2>&1 && exit 1
		grep -q "no write access" said
END
}

@test "setuid, capabilities and devices work in root's mount, and never in a user's" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	private <<'END'
		plyfs mount power.plyfs m
		trap 'umount -l m' EXIT
		[ "$(u m/suid -u)" = 0 ]
		[ ! -e m/capable ] || [ "$(u m/capable CapEff /proc/self/status)" != "$(printf 'CapEff:\t%016x' 0)" ]
		u cat m/null
		plyfs umount m
		for more in '' ,nosuid,nodev ,default_permissions ,exec,suid,nosuid ,dev,nodev; do
			u plyfs mount power.plyfs m -o "ro$more"
			[ "$(u m/suid -u)" = 65534 ]
			[ "$(u m/suid -g)" = 65534 ]
			[ ! -e m/capable ] || [ "$(u m/capable CapEff /proc/self/status)" = "$(printf 'CapEff:\t%016x' 0)" ]
			refute u cat m/null 2>said
			grep -q 'Permission denied' said
			u plyfs umount m
		done
		trap - EXIT
END
}

@test "a user who asks for setuid or devices is refused, before anything is mounted" {
	private <<'END'
		for option in suid dev nosuid,suid exec,nodev,dev allow_other,suid; do
			rc=0
			u plyfs mount i.plyfs m -o "$option" >said 2>&1 || rc=$?
			[ $rc = 2 ]
			grep -q 'mount option \(suid\|dev\) is for root only' said
			refute grep " $D/m " /proc/self/mountinfo
		done
END
}

@test "allow_other comes with default_permissions: others have what their modes give them, and no more" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	[ -e /etc/fuse.conf ] || skip "there is no /etc/fuse.conf"
	private <<'END'
		echo user_allow_other >fuse.conf
		mount --bind fuse.conf /etc/fuse.conf
		u plyfs mount power.plyfs m -o allow_other
		trap 'umount -l m' EXIT
		grep " $D/m ro,nosuid,nodev,.*default_permissions,allow_other" /proc/self/mountinfo
		[ "$(other cat m/open)" = open ]
		refute other cat m/secret
		refute u cat m/secret
		[ "$(other m/suid -u)" = 65533 ]
		refute other cat m/null
		[ "$(cat m/secret)" = secret ]
		refute other plyfs umount m
		u plyfs umount m
		trap - EXIT
END
}

@test "the daemon of a user is confined, and still unmounts" {
	private <<'END'
		u plyfs mount --json i.plyfs m >said
		pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' said)
		grep -q '"privileges"' said
		grep -qx "NoNewPrivs:.1" /proc/$pid/status
		refute grep -q '"syscalls"' said || grep -qx "Seccomp:.2" /proc/$pid/status
		u cat m/file >/dev/null
		kill "$pid"
		for _ in $(seq 100); do
			grep -q " $D/m " /proc/self/mountinfo || break
			sleep 0.1
		done
		refute grep " $D/m " /proc/self/mountinfo
END
}
