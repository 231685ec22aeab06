# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Test suites of others, which are no part of this project: archives in $PLYFS_SUITES, by default ../shared/suites beside the
# sources. Without them their tests are skipped; in CI that is a failure. To be loaded behind common.

# suite NAME: $suite is the folder, in the build folder, that NAME.tar.zst is unpacked in; anew when the archive is another one
suite()
{
	local archive=${PLYFS_SUITES:-$PLYFS_TESTS/../../shared/suites}/$1.tar.zst sum made
	if [ ! -r "$archive" ]; then
		[ "${CI:-}" != true ] || { echo "$archive is not there"; exit 1; }
		lacks "no $1.tar.zst in PLYFS_SUITES" || return
	fi
	suite=$PLYFS_BUILD/suites/$1
	export suite
	mkdir -p "$PLYFS_BUILD/suites"
	exec {lock}>"$suite.lock"
	flock "$lock"
	sum=$(sha256sum <"$archive")
	made=$(cat "$suite.made" 2>/dev/null) || made=
	if [ "$made" != "$sum" ]; then
		rm -rf "$suite" "$suite.new" "$suite.made"
		mkdir "$suite.new"
		tar -xf "$archive" -C "$suite.new" --strip-components=1
		if ! (cd "$suite.new" && "make_$1") >"$suite.log" 2>&1; then
			tail -n 40 "$suite.log"
			exit 1
		fi
		mv "$suite.new" "$suite"
		echo "$sum" >"$suite.made"
	fi
	exec {lock}>&-
}

# What POSIX leaves open is asked as it is of ext4, whatever the file system is called.
make_pjdfstest()
{
	autoreconf -ifs && ./configure && make pjdfstest && echo 'fs=EXT4' >>tests/conf
}

# It knows the type fuse only.
make_xfstests()
{
	make && sed -i "s|-e 's/fuse.ceph-fuse/ceph-fuse/'|& -e 's/fuse.plyfs/fuse/'|" common/rc && grep -q fuse.plyfs common/rc
}

make_unionmount-testsuite() { :; }

# with_helpers COMMAND...: in a mount namespace of its own, where mount(8) and umount(8) know plyfs, and the users of xfstests exist
# shellcheck disable=SC2016  # for the shell that is called
with_helpers()
{
	local helper
	mkdir -p helpers
	# mount(8) gives them a PATH of its own
	for helper in mount umount; do
		printf '#!/bin/bash\nPATH=%q exec %q "$@"\n' "$PATH" "$PLYFS_TESTS/lib/${helper}_helper.sh" >"helpers/$helper.fuse.plyfs"
		chmod +x "helpers/$helper.fuse.plyfs"
	done
	unshare --mount --propagation private bash -ec '
		# copies of the mounts of others would keep their daemons and disks
		awk "\$3 ~ /^fuse/ || \$1 ~ /loop/ { print \$2 }" /proc/self/mounts | tac | while read -r point; do
			point=$(printf "%b" "$point")
			case $PWD/ in "$point"/*) ;; *) umount -l "$point" 2>/dev/null || true ;; esac
		done
		mount -t overlay overlay -o "lowerdir=$PWD/helpers:/usr/sbin" /usr/sbin
		cp /etc/passwd /etc/group helpers/
		for user in fsgqa:7001 fsgqa2:7002 123456-fsgqa:7003; do
			grep -q "^${user%:*}:" helpers/passwd || echo "${user%:*}:x:${user#*:}:${user#*:}::/tmp:/bin/bash" >>helpers/passwd
			grep -q "^${user%:*}:" helpers/group || echo "${user%:*}:x:${user#*:}:" >>helpers/group
		done
		mount --bind helpers/passwd /etc/passwd
		mount --bind helpers/group /etc/group
		exec "$@"' - "$@"
}
