#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Logs as files: made, told about, moved with their image and without it. What is mounted: tests/mount/redo_mount.bats.

# shellcheck disable=SC2154  # stderr is set by run

bats_require_minimum_version 1.5.0
load ../lib/common
load ../lib/colliding

setup()
{
	ready
	unset SOURCE_DATE_EPOCH
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# $1: Python that makes the log l.
made() { PYTHONPATH=$PLYFS_TESTS/lib python3 -c "import sys; from plyredo import *
$1
sys.stdout.buffer.write(l.bytes())"; }

reason() { json 'd["error"]["reason"]' <<<"$output"; }

small()
{
	machine os
	image os
}

# one FILE: an image of a machine of that name
one()
{
	machine "$1.root"
	echo "$1" >"$1.root/etc/name"
	plyfs capture "$1.root" "$1" >/dev/null
}

@test "create: what is selected, what it stands on, nobody else's to read" {
	machine os
	mkdir os/web
	echo page >os/web/page
	plyfs capture os i.plyfs -c web=/web -c other=/etc/motd >/dev/null
	umask 022
	run -0 --separate-stderr plyfs redo create i.plyfs a.redo -s web
	[ -z "$output" ]
	[[ $stderr == *"selection: os, web (added: os)"* ]]
	[ "$(stat -c %a a.redo)" = 600 ]
	[ "$(stat -c %s a.redo)" -lt 65536 ]
	plyfs info i.plyfs --json >i.json
	plyfs info a.redo --json >a.json
	[ "$(json 'd["selected"], d["state"], d["inodes"], d["decisions"]' <a.json)" = "(['os', 'web'], 'clean', 0, 0)" ]
	[ "$(json 'd["chain"][1]["digest"], d["chain"][1]["uuid"], d["chain"][1]["path"]' <a.json)" = \
		"$(json 'd["digest"], d["uuid"], d["path"]' <i.json)" ]
	[ "$(json '[c["kind"] for c in d["chain"]], "error" in d["chain"][1]' <a.json)" = "(['log', 'image'], False)" ]
	run -0 plyfs info a.redo
	[[ $output == *"$PWD/a.redo"*"state "*clean*"image "*"$PWD/i.plyfs"*"generation 1"*sha256:*"selection os, web"* ]]
	run -0 plyfs redo create i.plyfs b.redo --json
	[ "$(json 'd["schema"], d["selected"], d["generation"], d["log"]' <<<"$output")" = \
		"(1, ['os', 'web', 'other'], 1, '$PWD/b.redo')" ]
	[ "$(plyfs info --json b.redo | json 'd["uuid"]')" != "$(json 'd["uuid"]' <a.json)" ]
	plyfs verify i.plyfs >/dev/null
}

@test "create: a log is a new file; what fails leaves none" {
	small
	echo precious >there
	run -1 --separate-stderr plyfs redo create i.plyfs there --json
	[ "$(reason)" = REDO_EXISTS ]
	[ "$(cat there)" = precious ]
	run -1 plyfs redo create i.plyfs i.plyfs
	ln -s nowhere link
	run -1 plyfs redo create i.plyfs link
	run -1 plyfs redo create i.plyfs none/a.redo
	[[ $output == *none/a.redo* ]]
	run -1 --separate-stderr plyfs redo create none.plyfs a.redo --json
	[ "$(reason)" = IMAGE_NOT_FOUND ]
	run -4 --separate-stderr plyfs redo create there a.redo --json
	[ "$(reason)" = IMAGE_NOT_PLYFS ]
	run -1 --separate-stderr plyfs redo create i.plyfs a.redo -s nosuch --json
	[ "$(reason)" = SUB_UNKNOWN ]
	run -1 --separate-stderr plyfs redo create i.plyfs@7 a.redo --json
	[ "$(reason)" = GENERATION_UNKNOWN ]
	[ ! -e a.redo ] && [ ! -e nowhere ]
}

@test "wrong usage: 2" {
	small
	plyfs redo create i.plyfs a.redo
	mkdir m
	run -2 plyfs redo make i.plyfs b.redo
	[[ ${lines[0]} == *"'make'"* ]]
	run -2 plyfs redo make
	[[ ${lines[0]} == *"redo can create, not 'make'" ]]
	run -2 plyfs redo create i.plyfs
	[[ ${lines[0]} == *"an operand is missing: plyfs redo create IMAGE REDO" ]]
	run -2 plyfs redo create i.plyfs b.redo c.redo
	run -2 plyfs redo create i.plyfs b.redo --on-collision=first
	for option in -s=os --policy=p --on-collision=append --volatile; do
		run -2 plyfs mount a.redo m ${option/-s=/-s }
		[[ ${lines[0]} == *"a log has its selection"*"${option%%=*} is for images"* ]]
	done
	for option in --identity --why=bash; do
		run -2 plyfs info a.redo $option
	done
}

@test "conflicts: 3 and no log; decisions stand in the log" {
	golds
	run -3 --separate-stderr plyfs redo create i.plyfs a.redo
	[[ $stderr == *undecided:*"not decided"* ]]
	run -3 plyfs redo create i.plyfs a.redo --on-collision=append
	[ ! -e a.redo ]
	plyfs redo create i.plyfs web.redo -s web
	decided first
	plyfs redo create i.plyfs a.redo --policy p.yaml
	[ "$(plyfs info --json a.redo | json 'd["decisions"] > 0')" = True ]
	[ "$(plyfs dump a.redo | grep -c '^decision ')" = "$(plyfs info --json a.redo | json 'd["decisions"]')" ]
	echo 'nonsense: [' >bad.yaml
	run -1 plyfs redo create i.plyfs b.redo --policy bad.yaml
	run -1 plyfs redo create i.plyfs b.redo --policy none.yaml
	[ ! -e b.redo ]
}

@test "a generation: later ones do not matter, a dropped one does" {
	small
	cp i.plyfs old.plyfs
	plyfs redo create i.plyfs one.redo
	machine web
	echo page >web/etc/page
	plyfs add i.plyfs web web >/dev/null
	plyfs redo create i.plyfs@1 two.redo
	plyfs redo create i.plyfs three.redo
	for log in one two three; do plyfs info --json $log.redo >$log.json; done
	[ "$(json 'd["chain"][1]["generation"], d["selected"], "error" in d["chain"][1]' <one.json)" = "(1, ['os'], False)" ]
	[ "$(json 'd["chain"][1]["generation"], d["selected"], "error" in d["chain"][1]' <two.json)" = "(1, ['os'], False)" ]
	[ "$(json 'd["chain"][1]["generation"], d["selected"], "error" in d["chain"][1]' <three.json)" = "(2, ['os', 'web'], False)" ]
	# the same image, before that generation was made
	run -1 --separate-stderr plyfs relink three.redo old.plyfs --json
	[ "$(reason)" = REDO_PARENT_DROPPED ]
	[[ $stderr == *"generation 2"*"newest is 1"* ]]
	plyfs relink one.redo old.plyfs
	# and with another second generation
	echo other >web/etc/page
	plyfs add old.plyfs web web >/dev/null
	run -1 --separate-stderr plyfs relink three.redo old.plyfs --json
	[ "$(reason)" = REDO_PARENT_CHANGED ]
	[[ $stderr == *"$(json 'd["chain"][1]["digest"]' <three.json)"* ]]
	plyfs relink one.redo old.plyfs
	plyfs relink one.redo i.plyfs
}

@test "an image that moved: found beside the log, else by relink" {
	small
	mkdir logs images
	plyfs redo create i.plyfs logs/a.redo
	plyfs dump logs/a.redo | grep -v '^redo-superblock\|^binding' >before
	mv i.plyfs images/i.plyfs
	run -0 --separate-stderr plyfs info logs/a.redo --json
	[[ $stderr == *"last seen at $PWD/i.plyfs"*"plyfs relink REDO IMAGE"* ]]
	[ "$(json 'd["chain"][1]["error"]["reason"]' <<<"$output")" = REDO_PARENT_MISSING ]
	cp images/i.plyfs logs/i.plyfs
	[ "$(plyfs info --json logs/a.redo | json 'd["chain"][1]["path"]')" = "$PWD/logs/i.plyfs" ]
	# what lies where it was is another one: the one beside the log is still it
	one i.plyfs
	[ "$(plyfs info --json logs/a.redo | json 'd["chain"][1]["path"]')" = "$PWD/logs/i.plyfs" ]
	rm logs/i.plyfs
	run -0 --separate-stderr plyfs info logs/a.redo --json
	[ "$(json 'd["chain"][1]["error"]["reason"]' <<<"$output")" = REDO_PARENT_FOREIGN ]
	ln -s "$PWD/images" link
	plyfs relink logs/a.redo link/i.plyfs
	run -0 --separate-stderr plyfs info logs/a.redo --json
	[ -z "$stderr" ]
	[ "$(json 'd["chain"][1]["path"]' <<<"$output")" = "$PWD/images/i.plyfs" ]
	plyfs dump logs/a.redo | grep -v '^redo-superblock\|^binding' | diff before -
	# to and fro; once more where it is already
	cp images/i.plyfs "a name of
two lines.plyfs"
	for i in 1 2 3; do
		plyfs relink logs/a.redo images/i.plyfs
		plyfs relink logs/a.redo "a name of
two lines.plyfs"
	done
	sum=$(sha256sum <logs/a.redo)
	run -0 plyfs relink logs/a.redo "a name of
two lines.plyfs" --json
	[ "$sum" = "$(sha256sum <logs/a.redo)" ]
	[ "$(json 'd["generation"]' <<<"$output")" = 1 ]
}

@test "relink: another image, none, no log: refused, and the log stays as it is" {
	small
	one other
	plyfs redo create i.plyfs a.redo
	sum=$(sha256sum <a.redo)
	run -1 --separate-stderr plyfs relink a.redo other --json
	[ "$(reason)" = REDO_PARENT_FOREIGN ]
	[[ $stderr == *"$(plyfs info --json i.plyfs | json 'd["uuid"]')"* ]]
	run -1 --separate-stderr plyfs relink a.redo none --json
	[ "$(reason)" = IMAGE_NOT_FOUND ]
	run -1 --separate-stderr plyfs relink a.redo . --json
	[ "$(reason)" = IMAGE_NOT_REGULAR ]
	run -4 plyfs relink a.redo a.redo
	[ "$sum" = "$(sha256sum <a.redo)" ]
	run -1 --separate-stderr plyfs relink none.redo i.plyfs --json
	[ "$(reason)" = REDO_NOT_FOUND ]
	run -4 --separate-stderr plyfs relink other i.plyfs --json
	[ "$(reason)" = REDO_NOT_REDO ]
	run -1 plyfs relink . i.plyfs
}

@test "relink: a log in use is left alone, and who uses it is told" {
	small
	plyfs redo create i.plyfs a.redo
	cp i.plyfs j.plyfs
	sum=$(sha256sum <a.redo)
	python3 -c 'import fcntl, time
f = open("a.redo", "r+b")
fcntl.flock(f, fcntl.LOCK_EX)
open("ready", "w")
time.sleep(60)' 3>&- &
	holder=$!
	for ((i = 0; i < 200; i++)); do [ -e ready ] && break; sleep 0.05; done
	run -1 --separate-stderr plyfs relink a.redo j.plyfs --json
	kill "$holder"
	[ "$(reason)" = REDO_BUSY ]
	[[ $stderr == *"in use by process $holder (python3)"* ]]
	wait "$holder" || true
	[ "$sum" = "$(sha256sum <a.redo)" ]
	plyfs relink a.redo j.plyfs
}

@test "a log that is damaged, cut, of a newer plyfs, or on a log" {
	small
	plyfs redo create i.plyfs a.redo
	cp a.redo half.redo
	printf '\xff' | dd of=half.redo bs=1 seek=5000 conv=notrunc status=none
	run -0 --separate-stderr plyfs info half.redo --json
	[[ $stderr == *"superblock 1 is damaged"* ]]
	[ "$(json '"superblock 1" in d["warning"]' <<<"$output")" = True ]
	plyfs relink half.redo i.plyfs
	printf '\xff' | dd of=half.redo bs=1 seek=900 conv=notrunc status=none
	run -4 --separate-stderr plyfs info half.redo --json
	[ "$(reason)" = REDO_SUPER ]
	run -4 plyfs relink half.redo i.plyfs
	head -c 8200 a.redo >cut.redo
	run -4 --separate-stderr plyfs info cut.redo --json
	[ "$(reason)" = REDO_BINDING ]
	made 'l = example(); l.records[0][2] = attr(1, 64 | 128, times=(0, 5, 6, 2000000000))' >bad.redo
	run --separate-stderr plyfs info bad.redo --json
	[ "$status" = 4 ]
	[ "$(json 'd["damaged"]' <<<"$output")" = True ]
	made 'l = example(incompat=8)' >new.redo
	run -1 --separate-stderr plyfs info new.redo --json
	[ "$(reason)" = REDO_FEATURE ]
	[[ $stderr == *newer* ]]
	run -1 --separate-stderr plyfs relink new.redo i.plyfs --json
	[ "$(reason)" = REDO_FEATURE ]
	made 'l = example(generation=0, names=(), decisions=())' >on.redo
	run -0 --separate-stderr plyfs info on.redo --json
	[ "$(json 'd["chain"][1]["kind"], d["chain"][1]["error"]["reason"]' <<<"$output")" = "('log', 'REDO_PARENT_LOG')" ]
	run -1 --separate-stderr plyfs relink on.redo i.plyfs --json
	[ "$(reason)" = REDO_PARENT_LOG ]
}

@test "a hostile log: its texts do not reach the terminal as they are" {
	made 'l = example(path=b"/tmp/\x1b[2J\n", names=(b"os\x1b", b"web"))' >a.redo
	run -0 plyfs info a.redo
	[[ $output == *'\x1b[2J'* && $output != *$'\x1b'* ]]
	[ "$(plyfs info --json a.redo 2>/dev/null | json 'd["chain"][1]["path"]')" = '/tmp/\x1b[2J\n' ]
	# a path that is none is not looked for in whatever folder this is
	small
	uuid=$(plyfs info --json i.plyfs | json 'd["uuid"].replace("-", "")')
	digest=$(plyfs info --json i.plyfs | json 'd["digest"][7:]')
	made "l = Log(path=b'i.plyfs', uuid=bytes.fromhex('$uuid'), digest=bytes.fromhex('$digest'), generation=1)" >b.redo
	mkdir logs
	mv b.redo logs
	[ "$(plyfs info --json logs/b.redo 2>/dev/null | json 'd["chain"][1]["error"]["reason"]')" = REDO_PARENT_MISSING ]
	mv logs/b.redo .
	[ "$(plyfs info --json b.redo | json 'd["chain"][1]["path"]')" = "$PWD/i.plyfs" ]
	# there is no room for another path in it
	cp i.plyfs j.plyfs
	run -1 --separate-stderr plyfs relink b.redo j.plyfs --json
	[ "$(reason)" = LIMIT ]
}

@test "sync and stats are about mounts" {
	mkdir d
	: >file
	for verb in sync stats; do
		run -1 --separate-stderr plyfs $verb d --json
		[ "$(reason)" = NOT_MOUNTED ]
		run -1 --separate-stderr plyfs $verb none --json
		[ "$(reason)" = SYSTEM ]
		run -1 plyfs $verb file
	done
}

@test "verify: each checksum of a log" {
	made 'l = example()' >a.redo
	run -0 plyfs verify a.redo
	[[ $output == "4 inodes, 3 entries, "*" records behind the checkpoint, "*": no damage" ]]
	run -0 plyfs verify --json a.redo
	[ "$(json 'd["findings"], d["damaged"], d["checked_bytes"] > 0, d["inodes"]' <<<"$output")" = "([], 0, True, 4)" ]
	# the five bytes of the file, which a copy refers to, too
	cp a.redo bad.redo
	printf '\xff' | dd of=bad.redo bs=1 seek=78800 conv=notrunc status=none
	run -4 --separate-stderr plyfs verify bad.redo
	[[ ${lines[0]} == "REDO_DATA: inode 0:3: 5 bytes at 5000 are damaged (at byte 78728 of the log)" && ${lines[1]} == "REDO_DATA: inode 16384:1: "* ]]
	[[ ${lines[2]} == *": 2 damaged places" ]]
	run -4 --separate-stderr plyfs verify --json bad.redo
	[ "$(json '[(f["reason"], f["off"], f["length_bytes"]) for f in d["findings"]][0]' <<<"$output")" = "('REDO_DATA', 5000, 5)" ]
	cp a.redo bad.redo
	printf '\xff' | dd of=bad.redo bs=1 seek=12900 conv=notrunc status=none
	run -4 plyfs verify bad.redo
	[[ $output == *REDO_DAMAGED:* ]]
	cp a.redo bad.redo
	printf '\xff' | dd of=bad.redo bs=1 seek=5000 conv=notrunc status=none
	run -4 plyfs verify bad.redo
	[[ $output == *"REDO_SUPER: superblock 1 is damaged"* ]]
	printf '\xff' | dd of=bad.redo bs=1 seek=900 conv=notrunc status=none
	run -4 --separate-stderr plyfs verify --json bad.redo
	[ "$(reason)" = REDO_SUPER ]
	for option in --deep --against=. "--digest=sha256:$(printf '0%.0s' {1..64})"; do
		run -2 plyfs verify a.redo "$option"
	done
	python3 -c 'import fcntl, subprocess, sys
f = open("a.redo", "r+b")
fcntl.flock(f, fcntl.LOCK_EX)
sys.exit(subprocess.call(["plyfs", "verify", "a.redo"]))' 2>err || rc=$?
	[ "$rc" = 1 ]
	grep -q 'in use by process [0-9]* (python3)' err
}
