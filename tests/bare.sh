#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make check-bare: `make demo` and `make check` as the first commands on a bare Debian 12.
#
# A minbase chroot with make and git added, /dev, /proc and /sys bound, and a clone of what is
# committed here. It lives in a mount namespace of its own, so that its mounts go with it, and is removed
# at the end. Fails when one of the two does, or when they leave a mount, a loop device or a process.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$checkout/build/bare
root=$work/root

[ "$(id -u)" = 0 ] || { echo "check-bare: needs root: it makes a chroot" >&2; exit 1; }
if [ -z "${PLYFS_BARE:-}" ]; then
	for tool in mmdebstrap git unshare; do
		command -v "$tool" >/dev/null || { echo "check-bare: $tool is missing; run: make tools-installed" >&2; exit 1; }
	done
	PLYFS_BARE=1 exec unshare --mount --propagation private "$0" "$@"
fi
# copies of mounts that others want to end
awk '$0 ~ / - fuse/ { print $5 }' /proc/self/mountinfo | while IFS= read -r point; do umount -l "$(printf '%b' "$point")" || true; done

# shellcheck source=tests/lib/debian.sh
. "$checkout/tests/lib/debian.sh"

mounts() { awk -v root="$root" 'index($5, root "/") == 1 { print $5 }' /proc/self/mountinfo | sort; }
processes()
{
	local p
	for p in /proc/[0-9]*; do
		[ "$(readlink "$p/root" 2>/dev/null)" != "$root" ] || echo "${p#/proc/}"
	done
}
loops() { losetup --list --noheadings --output NAME,BACK-FILE | grep -F " $root/" || true; }

# shellcheck disable=SC2317  # by the trap
clean_up()
{
	local pid
	for pid in $(processes); do kill -KILL "$pid" 2>/dev/null || true; done
	mounts | tac | while IFS= read -r point; do umount -l "$(printf '%b' "$point")" 2>/dev/null || true; done
	umount -l "$root" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

lists=$(debian_lists) || { echo "check-bare: apt has no package source of Debian 12 (bookworm)" >&2; exit 1; }
rm -rf --one-file-system "$work"
mkdir -p "$work"
extra=make,git
! grep -q '^https:' <<<"$lists" || extra+=,ca-certificates     # apt's, for these sources
echo "check-bare: a minbase chroot with $extra"
debian_root "$lists" "$root" --variant=minbase --include="$extra"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
git clone -q --no-hardlinks "$checkout" "$root/root/plyfs"
git -C "$root/root/plyfs" remote remove origin
# what says where a tree lies in its file system names no directory that is not a mount point
mount --bind "$root" "$root"
for fs in dev proc sys; do
	mount --rbind "/$fs" "$root/$fs"
	mount --make-rslave "$root/$fs"
done
before=$(mounts)

failed=0
for target in demo check; do
	echo "check-bare: make $target"
	from=$SECONDS
	if chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		make -C /root/plyfs --no-print-directory "$target" </dev/null; then
		echo "check-bare: make $target: passed, $((SECONDS - from)) s with the packages"
	else
		echo "check-bare: make $target: FAILED, $((SECONDS - from)) s"
		failed=1
	fi
	left=$(comm -13 <(echo "$before") <(mounts); loops; processes)
	if [ -n "$left" ]; then
		printf 'check-bare: make %s left behind:\n%s\n' "$target" "$left"
		failed=1
	fi
done
left=$(find "$root/tmp" "$root/var/tmp" -mindepth 1 -maxdepth 1)
[ -z "$left" ] || { printf 'check-bare: temporary files left behind:\n%s\n' "$left"; failed=1; }
exit "$failed"
