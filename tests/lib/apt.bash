# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Packages in a tree, by its own tools. To be loaded behind common.

# shellcheck disable=SC1091
source "$PLYFS_TESTS/lib/debian.sh"

# apt DIR ARGUMENT...: apt-get in a tree, with the sources that this machine has
apt()
{
	local dir=$1 line options=() rc=0
	shift
	while IFS= read -r line; do options+=(-o "${line%;}"); done < <(debian_apt_options | sed 's/ "/=/; s/";$//')
	mount -t proc proc "$dir/proc"
	mount -t tmpfs tmpfs "$dir/run"
	mkdir "$dir/run/lock"
	mount --bind /dev "$dir/dev"
	mount --bind /etc/resolv.conf "$dir/etc/resolv.conf"
	env -u TMPDIR DEBIAN_FRONTEND=noninteractive chroot "$dir" apt-get -q -y -o Dpkg::Use-Pty=0 \
		-o Dpkg::Options::=--force-unsafe-io "${options[@]}" "$@" </dev/null || rc=$?
	umount "$dir/etc/resolv.conf" "$dir/dev" "$dir/run" "$dir/proc"
	return "$rc"
}

# clean DIR: dpkg has nothing to say
clean()
{
	[ -z "$(env -u TMPDIR chroot "$1" dpkg --audit)" ]
	env -u TMPDIR chroot "$1" dpkg --configure -a
	diff <(env -u TMPDIR chroot "$1" dpkg -V) /dev/null
}
