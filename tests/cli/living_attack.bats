#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What an attack on plyfs layout into a target that is not empty has found.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
bats_require_minimum_version 1.5.0

setup_file() { need_root "layout sets owners" || return 0; }

setup()
{
	ready
	state=target/var/lib/plyfs
}

# os and, on it, two machines; each test changes what it needs, then calls image
machines()
{
	mkdir -p os/etc os/usr/bin os/srv
	seq -f 'line %g' 20 >os/etc/text
	echo deleted >os/etc/deleted
	touch -d 2001-01-01 os/etc/*
	cp -a os one
	cp -a os two
}

image()
{
	plyfs capture os i.plyfs >/dev/null 2>&1
	plyfs add i.plyfs one one >/dev/null
	plyfs add i.plyfs two two >/dev/null
}

laid() { mkdir -p "$1" && plyfs layout i.plyfs "$1" -s "$2" --no-sync >/dev/null; }
take() { plyfs layout target --remove "$@" --no-sync; }

@test "two versions of one size and time are two: laid out new, and taken out" {
	machines
	sed -i 's/line 4$/LINE 4/' one/etc/text
	sed -i 's/line 16$/LINE 16/' two/etc/text
	touch -d 2002-02-02 one/etc/text two/etc/text
	image
	laid target os,one,two
	[ "$(grep -c LINE target/etc/text)" = 2 ]
	run -0 take one
	laid without os,two
	same without target --skip mtime
	run -0 take two
	same os target --skip mtime
}

shared()
{
	machines
	local c
	for c in one two; do
		mkdir $c/usr/d
		echo shared >$c/usr/x
		echo shared >$c/usr/d/1
		echo "of $c" >$c/usr/d/$c
		echo changed >$c/etc/text
		touch -d 2002-02-02 $c/usr/x $c/usr/d/1 $c/etc/text
	done
	image
}

@test "what two components bring is there until both have gone: of a new layout" {
	shared
	local first
	for first in one two; do
		laid target os,one,two
		run -0 take "$first"
		laid without "os,$([ $first = one ] && echo two || echo one)"
		same without target --skip mtime
		run -0 take "$([ $first = one ] && echo two || echo one)"
		same os target --skip mtime
		rm -rf target without
	done
}

@test "what two components bring is there until both have gone: one after the other" {
	shared
	laid target os
	laid target one
	laid target two
	run -0 take one
	[ "$(cat target/etc/text target/usr/x target/usr/d/1 target/usr/d/two | paste -sd ' ')" = "changed shared shared of two" ]
	[ ! -e target/usr/d/one ]
	run -0 take two
	[ ! -e target/usr/x ]
	[ ! -e target/usr/d ]
	[ ! -e "$state/dirs" ]
	same os target --skip mtime
	laid target one
	laid target two
	run -0 take two
	[ "$(cat target/usr/x target/usr/d/1 target/usr/d/one | paste -sd ' ')" = "shared shared of one" ]
}

@test "a component of a new layout that deletes and changes what is below it: taken out, it is back" {
	machines
	rm one/etc/deleted
	chmod 700 one/srv
	image
	laid target os,one,two
	[ ! -e target/etc/deleted ]
	[ "$(stat -c %a target/srv)" = 700 ]
	run -0 take one
	[ "$(stat -c %a target/srv)" = 755 ]
	run -0 take two
	[ "$(cat target/etc/deleted)" = deleted ]
	same os target --skip mtime
}

# Whatever of an open change is removed first: its journal is there until it has lost its name.
@test "killed while a change is removed that is complete, or taken back: the next call goes on" {
	command -v strace >/dev/null || skip "needs strace"
	strace -e trace=none true 2>/dev/null || skip "strace is not allowed here"
	local n rc verb
	machines
	for n in {1..30}; do echo "$n" >"one/srv/$n"; done
	image
	laid was os,one
	for ((n = 1; n < 60; n += 3)); do
		for verb in --remove=one "--remove=one --abort"; do
			rm -rf target
			cp -a was target
			straced -qqq -o /dev/null -e trace=unlinkat -e "inject=unlinkat:signal=KILL:when=$n" \
				plyfs layout target "${verb%% *}" --no-sync >/dev/null 2>&1 3>&- || true
			if [ ! -e "$state/update" ]; then continue; fi
			[ -e "$state/update/journal" ] && [ -e "$state/update/table" ] || { echo "$verb, $n"; false; }
			rc=0
			straced -qqq -o /dev/null -e trace=unlinkat -e "inject=unlinkat:signal=KILL:when=$n" \
				plyfs layout i.plyfs target --resume --no-sync >/dev/null 2>&1 3>&- || rc=$?
			[ "$rc" = 0 ] || [ "$rc" = 137 ]
			run -0 plyfs layout i.plyfs target --resume --no-sync
		done
	done
}

@test "a component of a name that is there from another generation, or another image: refused before anything is written" {
	machines
	echo x >one/srv/x
	echo y >two/srv/y
	image
	laid target os
	laid target one
	cp -a two three
	echo z >three/srv/z
	plyfs add i.plyfs three three >/dev/null
	plyfs capture os other.plyfs >/dev/null 2>&1
	plyfs add other.plyfs one two >/dev/null
	local i but
	for i in i.plyfs other.plyfs; do
		run -1 plyfs layout "$i" target -s one --no-sync
		[[ $output == *"component one of another image"*"--remove one"* ]]
		[ ! -e "$state/update" ]
		run -1 plyfs plan "$i" -s one --target target
	done
	# nor is a part of it there
	but=$(ls "$state/done")
	run -1 plyfs layout i.plyfs target -s three,one --no-sync
	[ "$(ls "$state/done")" = "$but" ]
	run -0 take one
	laid without os
	same without target
	run -0 plyfs layout i.plyfs target -s one --no-sync
}
