#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs dump REDO: a log made from FORMAT.md alone is read, and shown; what is damaged is told.

# shellcheck disable=SC2094  # one file is read by two commands

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	python3 "$PLYFS_TESTS/lib/plyredo.py" a.redo
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# $1: Python that makes the log l.
made() { PYTHONPATH=$PLYFS_TESTS/lib python3 -c "import sys; from plyredo import *
$1
sys.stdout.buffer.write(l.bytes())"; }

flip() { # FILE BYTE
	printf '\xff' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "all structures are there" {
	run -0 plyfs dump a.redo
	for what in 'redo-superblock 0: uuid=0102' 'redo-superblock 1: ' 'state=clean' 'binding: path="/srv/shop.plyfs"' \
		'selected: name="web"' 'decision 0: a=1:5 b=2:4 rule=5 driver=3' 'redo-index: inodes=4 entries=3 ' \
		'redo-record 0: length_bytes=' 'request=7 changes=3' 'new 0: ino=16384:1 mode=100644' \
		'add 1: dir=0:1 name="new\n" ino=16384:1 type=8 cookie=16384:3' 'attr 2: ino=0:1 mtime_s=5' 'target="../x"' \
		'remove 0: dir=0:1 name="passwd" hides=1' 'xattr-set 0: ino=16384:1 name="user.a" value_bytes=5 value=76616c7565' \
		'xattr-remove 1: ino=0:3 name="security.capability"' 'extent 0: ino=0:3 off=5000 length_bytes=5 addr=78728 size_bytes=9000' \
		'hole 0: ino=0:3 off=0 length_bytes=4096' 'size 0: ino=0:3 size_bytes=8000' \
		'copy 0: ino=16384:1 off=0 length_bytes=3000 src=0:3 src_off=4900 size_bytes=3000' 'dead 0: ino=16384:3' \
		'commit 0: durable_lsn=100 time_s=1700000001' 'requests 0: requests=2'; do
		[[ $output == *"$what"* ]] || { echo "no $what"; false; }
	done
}

@test "JSON says the same" {
	plyfs dump a.redo >text
	plyfs dump --json a.redo >json
	[ "$(json 'd["schema"], d["damaged"]' <json)" = "(1, False)" ]
	[ "$(json 'len(d["structures"])' <json)" = "$(wc -l <text)" ]
	[ "$(json '[s["name"] for s in d["structures"] if s["what"] == "add"]' <json)" = "['new\\\\n', 'link', 'passwd.old']" ]
}

@test "damage is told, what is before it is shown: 4" {
	cp a.redo bad
	flip bad 5000                          # a superblock: the other one is used
	run -4 --separate-stderr plyfs dump bad
	[[ $output == *'redo-superblock 1: damaged=REDO_SUPER'*'commit 0:'* ]]
	cp a.redo bad
	flip bad 12900                         # a record
	run -4 --separate-stderr plyfs dump bad
	[[ $output == *'redo-record 0: '*'damaged=REDO_DAMAGED'* && $output != *commit* ]]
	run -4 --separate-stderr plyfs dump --json bad
	[ "$(json 'd["damaged"]' <<<"$output")" = True ]
	cp a.redo bad
	flip bad 8200                          # the binding
	run -4 --separate-stderr plyfs dump bad
	[[ $output == *'log: damaged=REDO_BINDING'* ]]
}

@test "a log that was killed: a torn end is no damage" {
	made 'l = example(state=1)' >killed.redo
	run -0 plyfs dump killed.redo
	[[ $output == *'state=open'*'commit 0: '* ]]
	made 'l = example(state=1); l.records = l.records[:-1]' >torn.redo
	flip torn.redo 13700
	run -0 plyfs dump torn.redo
	[[ $output == *'redo-record 0: '* && $output != *'dead 0'* ]]
	# a commit that is there speaks of more
	made 'l = example(state=1); l.records[-1][0] = commit(1400)' >lost.redo
	flip lost.redo 12700
	run -4 --separate-stderr plyfs dump lost.redo
	[[ $output == *'damaged=REDO_DAMAGED'* ]]
}

@test "records that cannot be, with checksums that are right" {
	for bad in 'l = Log([add(1, 3, 3, b"a/b", 8)])' 'l = Log([add(1, ino(1), 3, b"a", 8)])' 'l = Log([hole(3, 5, 0)])' \
		'l = Log([dead(3)])' 'l = Log([requests()])' 'l = Log([requests(1), dead(3)])' 'l = Log([commit(0), dead(3)])' 'l = Log([change(99, bytes(8))])' 'l = Log([commit(5000)])' \
		'l = Log([new(ino(1), 0o100644, 1), new(ino(1), 0o100644, 1)])' 'l = Log([xattr(3, b"", b"x")])' \
		'l = Log([add(1, 3, 3, b"a", 8)], [add(1, 3, 3, b"b", 8)])' 'l = Log([attr(3, 64, times=(1, 2, 3, 4))])' \
		'l = Log([extent(3, 0, b"x", 5, 1)[0]])' 'l = Log([extent(3, 0, b"x", 0, 0)[0]], data=bytes(4096))'; do
		made "$bad" >bad
		run --separate-stderr plyfs dump bad
		[ "$status" = 4 ] || { echo "$bad: $status"; false; }
		[[ $output == *damaged=REDO_DAMAGED* ]] || { echo "$bad: $output"; false; }
	done
}

@test "a newer feature is refused" {
	made 'l = example(incompat=4)' >new.redo
	run -1 --separate-stderr plyfs dump new.redo
	[[ -z $output && $stderr == *"newer"* && $stderr != *damaged* ]]
	run -1 --separate-stderr plyfs dump --json new.redo
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = REDO_FEATURE ]
}

@test "options for images are refused" {
	run -2 plyfs dump a.redo os
	[[ $output == *"is a log"* ]]
	run -2 plyfs dump --section=NODES a.redo
	run -2 plyfs dump --node=1 a.redo
	run -2 plyfs dump --records=/etc/passwd a.redo
}
