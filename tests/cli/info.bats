#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs info, and images that are none: every verb that reads one says the same of them.

# shellcheck disable=SC2154  # stderr is set by run

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir -p t/etc t/opt/app
	echo hello >t/etc/hello
	head -c 300000 /dev/urandom >t/opt/app/data
	SOURCE_DATE_EPOCH=1700000000 plyfs capture t i.plyfs -c app='/opt/app/**' >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	image=$BATS_FILE_TMPDIR/i.plyfs
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# Each verb that reads an image, on $1.
readers() {
	printf '%s\n' "info $1" "ls $1" "cat $1 /etc/hello" "origin --image=$1 /etc" "verify $1" "dump $1"
}

@test "JSON is complete" {
	run -0 --separate-stderr plyfs info "$image" --json
	[ "$(json 'd["schema"], d["generation"], d["parent_generation"], d["time_s"]' <<<"$output")" = \
		"(1, 1, 0, 1700000000)" ]
	[ "$(json '[s["name"] for s in d["sub_images"]]' <<<"$output")" = "['os', 'app']" ]
	[ "$(json '[s["number"] for s in d["sub_images"]]' <<<"$output")" = "[0, 1]" ]
	[ "$(json 'd["sub_images"][0]["flags"]' <<<"$output")" = "['os']" ]
	[ "$(json 'd["sub_images"][1]["size_bytes"]' <<<"$output")" = 300000 ]
	[ "$(json 'd["file_bytes"] == d["committed_end_bytes"]' <<<"$output")" = True ]
	[ "$(json 'd["file_bytes"]' <<<"$output")" = "$(stat -c %s "$image")" ]
	[ "$(json 'd["warning"]' <<<"$output")" = None ]
	[ "$(json 'len(d["digest"]), len(d["uuid"]), all(len(s["digest"]) == 71 for s in d["sub_images"])' \
		<<<"$output")" = "(71, 36, True)" ]
	json 'sorted(d["sub_images"][0])' <<<"$output" >keys
	diff keys - <<<"['arch', 'digest', 'distro', 'flags', 'inodes', 'name', 'number', 'provides', 'rank', 'records', 'requires', 'shared_files', 'size_bytes', 'stands_on', 'stored_bytes', 'summary', 'uuid']"
}

@test "the table fits 80 columns and has digest and sub-images" {
	run -0 --separate-stderr plyfs info "$image"
	[ -z "$(awk 'length > 80 && !/^image/' <<<"$output")" ]
	digest=$(plyfs info --json "$image" | json 'd["digest"]')
	[[ $output == *"$digest"* ]]
	[[ $output == *2023-11-14T22:13:20Z* ]]
	grep -qE '^ +0  os ' <<<"$output"
	grep -qE '^ +1  app .* 293.0 KiB' <<<"$output"
}

@test "a generation: @1 is there, @2 is not; a file of the whole name wins" {
	plyfs info "$image@1" >/dev/null
	readers "$image@2" | while read -r words; do
		# shellcheck disable=SC2086
		run -1 plyfs $words
		[[ $output == *"no generation 2"* ]]
	done
	cp "$image" x@9
	plyfs info x@9 >/dev/null
}

@test "the image is missing, a directory, a device" {
	mkdir dir
	readers nowhere.plyfs | while read -r words; do
		# shellcheck disable=SC2086
		run -1 plyfs $words
		[[ $output == *nowhere.plyfs* ]]
	done
	readers dir | while read -r words; do
		# shellcheck disable=SC2086
		run -1 plyfs $words
		[[ $output == *"dir"*"directory"* ]]
	done
	readers /dev/null | while read -r words; do
		# shellcheck disable=SC2086
		run -1 plyfs $words
	done
	run -1 --separate-stderr plyfs info nowhere.plyfs --json
	[ "$(json 'd["schema"], d["error"]["reason"], d["error"]["exit"]' <<<"$output")" = \
		"(1, 'IMAGE_NOT_FOUND', 1)" ]
}

@test "no image: empty, text, too short" {
	: >empty
	seq 100000 >text
	head -c 5000 "$image" >short
	for file in empty text short; do
		readers $file | while read -r words; do
			# shellcheck disable=SC2086
			run -4 plyfs $words
		done
		run -4 --separate-stderr plyfs info $file --json
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = IMAGE_NOT_PLYFS ]
	done
}

@test "cut off anywhere behind the superblocks: IMAGE_TRUNCATED" {
	size=$(stat -c %s "$image")
	for len in 8192 10000 $((size / 2)) $((size - 1)); do
		head -c "$len" "$image" >short.plyfs
		readers short.plyfs | while read -r words; do
			# shellcheck disable=SC2086
			run -4 plyfs $words
		done
		run -4 --separate-stderr plyfs ls short.plyfs --json
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = IMAGE_TRUNCATED ]
	done
}

@test "one bad superblock: it works, with a warning; two: damage" {
	cp "$image" bad
	printf X | dd of=bad bs=1 seek=200 conv=notrunc status=none
	run -0 --separate-stderr plyfs info bad --json
	[[ $stderr == *warning* ]]
	[ "$(json 'd["warning"] is not None' <<<"$output")" = True ]
	run -0 --separate-stderr plyfs cat bad /etc/hello
	[ "$output" = hello ]
	[[ $stderr == *warning* ]]
	run -4 plyfs verify bad
	[[ $output == *SUPER_CHECKSUM* ]]
	printf X | dd of=bad bs=1 seek=4296 conv=notrunc status=none
	readers bad | while read -r words; do
		# shellcheck disable=SC2086
		run -4 plyfs $words
	done
}

@test "a damaged catalog is told by every verb" {
	off=$(plyfs dump "$image" --section=SUPER | sed -n '1s/.*catalog_off=\([0-9]*\).*/\1/p')
	cp "$image" bad
	printf X | dd of=bad bs=1 seek=$((off + 700)) conv=notrunc status=none
	readers bad | while read -r words; do
		# shellcheck disable=SC2086
		run -4 plyfs $words
	done
}

@test "a selection of an unknown name lists what there is" {
	for words in "ls $image -s nope" "cat $image -s nope /etc/hello" "origin --image=$image -s nope /" \
		"verify $image --against . -s nope"; do
		# shellcheck disable=SC2086
		run -1 plyfs $words
		[[ $output == *"no sub-image nope"*"os, app"* ]]
	done
	run -1 plyfs dump "$image" nope
	[[ $output == *"no sub-image nope"*"os, app"* ]]
}
