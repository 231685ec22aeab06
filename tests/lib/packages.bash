# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Small machines with a package database that is written by hand: for tests of what is decided by package.

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# root DIR: a machine without packages
root()
{
	rm -rf "$1"
	mkdir -p "$1"/usr/{bin,lib,share/doc} "$1"/etc "$1"/var/lib/dpkg/{info,updates}
	ln -s usr/lib "$1/lib"
	echo amd64 >"$1/var/lib/dpkg/arch"
	: >"$1/var/lib/dpkg/status"
}

# package DIR NAME VERSION FIELDS FILE...: installed, or in the place of another version; each file tells of what it is
package()
{
	local dir=$1 name=$2 version=$3 fields=$4 list=$2 f
	shift 4
	[[ $fields != *Multi-Arch* ]] || list=$name:amd64
	sed -i "/^Package: $name\$/,/^\$/d" "$dir/var/lib/dpkg/status"
	printf 'Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n%s\n' "$name" "$version" "$fields" \
		>>"$dir/var/lib/dpkg/status"
	for f; do
		mkdir -p "$dir$(dirname "$f")"
		echo "$name $version $f" >"$dir$f"
		printf '%s\n%s\n' "$(dirname "$f")" "$f"
	done | sort -u >"$dir/var/lib/dpkg/info/$list.list"
}

# image [COMPONENT...]: app.plyfs, of os, app and these
image()
{
	local name
	rm -f app.plyfs
	plyfs capture os app.plyfs >/dev/null 2>&1
	for name in app "$@"; do plyfs add app.plyfs "$name" "$name" >/dev/null; done
}

app() { plyfs layout app.plyfs target -s app --no-sync "$@"; }

# "app 1.0 base 1"
versions() { sed -n 's/^Package: //p; s/^Version: //p' "$1/var/lib/dpkg/status" | paste -d ' ' - - | sort | paste -sd ' '; }

everything()
{
	(cd target && find . -path ./var/lib/plyfs -prune -o ! -path ./var/lib ! -path ./var -printf '%P %y %m %U %G %s %n %T@ %l\n' | sort)
	(cd target && find . -path ./var/lib/plyfs -prune -o -type f -print0 | sort -z | xargs -0r sha256sum)
}

remember() { everything >everything.was; }

unchanged() { everything | diff everything.was - || { echo "the target has changed"; false; }; }
