# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Targets in use, for tests/cli/living*.bats: load ../lib/living, behind common

# shellcheck disable=SC2154  # gold: by setup_file; output: by run

setup_file()
{
	need_root "layout sets owners" && gold small || return 0
	export image=$BATS_FILE_TMPDIR/small.plyfs
	plyfs capture "$gold" "$image" -c web=web,web-data -c db=db,db-client -c lang=lang 2>/dev/null
}

setup()
{
	ready
	state=target/var/lib/plyfs
}

teardown()
{
	if mountpoint -q target; then umount target || umount -l target; fi
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

reason() { json 'd["error"]["reason"]' <<<"$output"; }

left() { json 'sorted(l["path"] for l in d["left"])' <<<"$output"; }

# laid DIR SELECTION: a new layout
laid() { mkdir "$1" && plyfs layout "$image" "$1" -s "$2" --no-sync >/dev/null 2>&1; }

# A machine with the operating system alone. The state is none of its own: as it was installed by other means.
machine() { laid target os && rm -rf "$state"; }

add() { plyfs layout "$image" target -s "$@" --no-sync; }

take() { plyfs layout target --remove "$@" --no-sync; }

# What is there, with all that a change could do to it but the times of reading.
every() # DIR [FIND EXPRESSION...]: the names that are looked at
{
	local dir=$1
	shift
	(cd "$dir" && find . "$@" -printf '%P %y %m %U %G %s %n %T@ %l\n' | sort)
	(cd "$dir" && find . "$@" -type f -print0 | sort -z | xargs -0r sha256sum)
}

everything() { every "$1" -true; }

# without the state, and what is above it: the state's coming changes their times
but_state() { every "$1" -path ./var/lib/plyfs -prune -o ! -path ./var/lib ! -path ./var; }

remember() { everything target >everything.was; }

unchanged() { everything target | diff everything.was - || { echo "the target has changed"; false; }; }

stanza() { printf '\nPackage: mine\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: me\nDescription: mine\n'; }

by_hand()
{
	echo 'bob:x:1500:1500::/home/bob:/bin/sh' >>target/etc/passwd
	echo 'bob:x:1500:' >>target/etc/group
	echo 'bob:!:19000::::::' >>target/etc/shadow
	stanza >>target/var/lib/dpkg/status
	printf '/usr/bin/mine\n' >target/var/lib/dpkg/info/mine.list
	echo mine >target/usr/bin/mine
	printf 'auto\n/usr/bin/pager\n\n/usr/bin/mine\n10\n\n' >target/var/lib/dpkg/alternatives/pager
	ln -s /usr/bin/mine target/etc/alternatives/pager
	ln -s /etc/alternatives/pager target/usr/bin/pager
	printf '/bin/sh\n/usr/bin/mine\n' >target/etc/shells
	touch -d '2021-01-01 01:01:01' target/etc/passwd target/etc/group target/var/lib/dpkg/status
}

