# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Several gold machines in one image: for tests/full/golds.bats. To be loaded behind common.

# shellcheck disable=SC2154  # gold: by gold()

# grown IMAGE NAME[/PARENT]...: the base of the gold `clones` as os, and its other trees added to it in that order
grown()
{
	local image=$1 what
	shift
	[ -e "$BATS_FILE_TMPDIR/base.plyfs" ] || plyfs capture "$gold/base" "$BATS_FILE_TMPDIR/base.plyfs" --level 1
	cp "$BATS_FILE_TMPDIR/base.plyfs" "$image"
	for what; do
		if [[ $what = */* ]]; then
			plyfs add "$image" "${what%/*}" "$gold/${what%/*}" --on "${what#*/}"
		else
			plyfs add "$image" "$what" "$gold/$what"
		fi
	done
}

# paths DIR: all of them but caches, of which a selection has less, and the state of a layout
paths()
{
	(cd "$1" && find . -mindepth 1 \( -path ./var/cache/man -o -path ./var/cache/apt -o -path ./var/cache/ldconfig \
		-o -path ./var/lib/apt/lists -o -path ./var/lib/plyfs \) -prune -o -print | sort)
}

# conflicts IMAGE [OPTION...]: one line a decision, with its paths
conflicts()
{
	local rc=0
	plyfs plan "$@" --json >plan.json || rc=$?
	[ "$rc" = 0 ] || [ "$rc" = 3 ] || { cat plan.json; return 1; }
	python3 "$PLYFS_TESTS/lib/plan.py" decisions <plan.json
}
