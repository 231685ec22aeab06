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
