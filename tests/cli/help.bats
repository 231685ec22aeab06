#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The help, the man pages and the completion say the same as the command; wrong usage is told.

# shellcheck disable=SC2154  # stderr is set by run

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	man=$PLYFS_BUILD/share/man/man1
}

verbs() { plyfs --help | sed -n 's/^  plyfs \([a-z]*\) .*/\1/p'; }

# "--select" of each option of verb $1
options() { plyfs "$1" --help | sed -n 's/^ *\(-[a-zA-Z0-9], \)\?\(--[a-z-]*\).*/\2/p' | sort -u; }

# options that the man page $1 describes
described() {
	mandoc -T ascii "$1" | col -b | sed -n '/^OPTIONS/,/^[A-Z]/p' |
		sed -n 's/^     \(-[a-zA-Z0-9]\( [A-Z]*\|=.*\)\?, \)\?\(--[a-z-]*\).*/\3/p' | sort -u
}

@test "there are verbs, and the help fits 80 columns" {
	[ "$(verbs | wc -l)" -ge 8 ]
	run -0 plyfs --help
	[ -z "$(awk 'length > 80' <<<"$output")" ]
	run -0 plyfs help
	run -0 plyfs --version
	[[ $output == plyfs\ [0-9]* ]]
}

@test "each verb: --help is 0, fits 80 columns, goes to the standard output" {
	for verb in $(verbs); do
		run -0 --separate-stderr plyfs "$verb" --help
		[ -z "$stderr" ]
		[[ $output == "usage: plyfs $verb "* ]]
		[ -z "$(awk 'length > 80' <<<"$output")" ] || { echo "$verb is too wide"; false; }
	done
}

@test "each verb has a man page that describes its options, and no others" {
	for verb in $(verbs); do
		[ -f "$man/plyfs-$verb.1" ] || { echo "no page for $verb"; false; }
		diff <(options "$verb") <(described "$man/plyfs-$verb.1") || { echo "in plyfs-$verb.1"; false; }
	done
}

@test "each option is completed" {
	# shellcheck disable=SC1091
	. "$PLYFS_BUILD/share/bash-completion/completions/plyfs"
	for verb in $(verbs); do
		COMP_WORDS=(plyfs "$verb" --) COMP_CWORD=2
		_plyfs
		diff <(options "$verb") <(printf '%s\n' "${COMPREPLY[@]%=}" | sort -u)
	done
	COMP_WORDS=(plyfs '') COMP_CWORD=1
	_plyfs
	for verb in $(verbs); do
		[[ " ${COMPREPLY[*]} " == *" $verb "* ]]
	done
}

@test "the man pages are clean mdoc, and plyfs(1) names each verb" {
	for page in "$man"/*.1 "${man%1}5"/*.5; do
		run mandoc -T lint -W warning "$page"
		[ -z "$output" ] || { echo "$output"; false; }
	done
	for verb in $(verbs); do
		grep -q "^.It Xr plyfs-$verb 1" "$man/plyfs.1"
	done
}

@test "an unknown verb, a missing one, an unknown option: 2, and its name" {
	run -2 plyfs
	[[ $output == *"verb is missing"* ]]
	run -2 plyfs lay-out
	[[ $output == *"'lay-out'"* ]]
	for verb in $(verbs); do
		run -2 plyfs "$verb" --no-such-option
		[[ ${lines[0]} == *--no-such-option* ]]
		run -2 plyfs "$verb" -Q
		[[ ${lines[0]} == *-Q* ]]
	done
}

@test "operands: too few, too many: 2" {
	for verb in $(verbs); do
		run -2 plyfs "$verb"
		[[ ${lines[0]} == *"operand is missing"* ]]
		[ "$verb" = origin ] && continue
		run -2 plyfs "$verb" a b c d
		[[ ${lines[0]} == *"one operand too many"* ]]
	done
}

@test "a full standard output is a failure" {
	[ -c /dev/full ] || skip "no /dev/full"
	mkdir t
	echo x >t/file
	plyfs capture t i.plyfs >/dev/null
	for words in "ls i.plyfs" "info i.plyfs" "dump i.plyfs" "verify i.plyfs" "cat i.plyfs file" \
		"origin --image=i.plyfs file" "ls --json i.plyfs" "--help"; do
		# shellcheck disable=SC2086
		run -1 bash -c "plyfs $words >/dev/full"
		[[ $output == *"standard output"* ]]
	done
}
