#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# newer.sh SUITE: prints the path of a private root with the peers as a newer Debian suite has them, for
# `make bench PEERS=newer`. The system's own packages are not touched: packages are unpacked, not
# installed, none of their scripts runs, and the bench starts their programs by the root's own
# dynamic loader. The source is the machine's own one of Debian 12, with another suite's name. Kept in
# build/cache, built beside its place and renamed, under a lock. Exit code 77: it can't be had here, and why.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/debian.sh
. "$here/../tests/lib/debian.sh"
packages=squashfs-tools,squashfuse,erofs-utils,erofsfuse,wimtools

skip()
{
	echo "newer.sh: $*" >&2
	exit 77
}

suite=${1:?usage: newer.sh SUITE}
cache=${PLYFS_CACHE:-$(dirname "${PLYFS_BUILD:-$here/../build/gcc}")/cache}
dir=$cache/peers-$suite
[ "$(id -u)" = 0 ] || skip "needs root: mmdebstrap makes owners"
command -v mmdebstrap >/dev/null || skip "needs mmdebstrap"
mkdir -p "$cache"
exec 9>"$dir.lock"
flock 9
if [ ! -d "$dir" ] || [ "$(cat "$dir/packages" 2>/dev/null)" != "$packages" ]; then
	lists=$(debian_lists) || skip "apt has no package source of Debian 12 (bookworm)"
	uri=$(awk '$2 == "bookworm" { print $1; exit }' <<<"$lists")
	[ -n "$uri" ] || skip "apt has no package source of Debian 12 (bookworm)"
	rm -rf --one-file-system "$dir" "$dir.new" "$dir.new".*
	trap 'rm -rf --one-file-system "$dir.new" "$dir.new.list"' EXIT
	debian_root "$uri $suite main" "$dir.new" --variant=extract --include="$packages" 9>&- ||
		skip "the packages of $suite could not be fetched from $uri (log: $dir.new.log)"
	echo "$packages" >"$dir.new/packages"
	mv "$dir.new" "$dir"
fi
echo "$dir"
