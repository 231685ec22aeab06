#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs cat: the bytes of the tree that was captured.

# shellcheck disable=SC2154,SC2001  # stderr is set by run

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir -p t/d
	printf hello >t/small
	: >t/empty
	head -c 131072 /dev/urandom >t/block
	seq 200000 >t/large
	truncate -s 3M t/hole
	printf x | dd of=t/sparse bs=1 seek=5000000 status=none
	printf y | dd of=t/sparse bs=1 seek=1000000 conv=notrunc status=none
	truncate -s 9000000 t/sparse
	ln -s d/../large t/link
	ln -s /d/back t/absolute
	ln -s ../small t/d/back
	ln -s self t/self
	mkfifo t/fifo
	plyfs capture t i.plyfs >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	image=$BATS_FILE_TMPDIR/i.plyfs
	tree=$BATS_FILE_TMPDIR/t
}

@test "content: inline, empty, a block, many, holes; into a pipe and into a file" {
	for name in small empty block large hole sparse; do
		plyfs cat "$image" "$name" | cmp - "$tree/$name"
		plyfs cat "$image" "/$name" >out
		cmp out "$tree/$name"
	done
}

@test "holes stay holes in a regular file, but not where they would be lost" {
	plyfs cat "$image" hole >out
	[ "$(stat -c %b out)" = 0 ]
	plyfs cat "$image" sparse >out
	[ "$(stat -c %b out)" -lt 1000 ]
	printf before >out
	plyfs cat "$image" hole >>out
	cmp out <(printf before && cat "$tree/hole")
	{ printf before && plyfs cat "$image" sparse && printf after; } >out
	cmp out <(printf before && cat "$tree/sparse" && printf after)
	head -c 4M /dev/zero | tr '\0' z >out
	plyfs cat "$image" hole 1<>out
	cmp out <(cat "$tree/hole" && head -c 1M /dev/zero | tr '\0' z)
}

@test "symlinks are followed inside the image" {
	plyfs cat "$image" link | cmp - "$tree/large"
	[ "$(plyfs cat "$image" /absolute)" = hello ]
	[ "$(plyfs cat "$image" d/../d/./back)" = hello ]
	run -1 plyfs cat "$image" self
}

@test "directories and special files have no bytes" {
	run -1 plyfs cat "$image" d
	[ "$output" = "plyfs cat: d: is a directory; only regular files have bytes to print" ]
	run -1 plyfs cat "$image" /
	[[ $output == *"is a directory"* ]]
	run -1 plyfs cat "$image" fifo
	[[ $output == *"is a fifo"* ]]
	run -1 plyfs cat "$image" nope
	[[ $output == *"nope: no such file"* ]]
	run -1 plyfs cat "$image" small/x
	[[ $output == *"not a directory"* ]]
}

@test "a reader that goes is no reason to talk" {
	run bash -c "trap '' PIPE; plyfs cat '$image' large | head -c 10; exit \${PIPESTATUS[0]}"
	[ "$status" = 1 ]
	[ "$output" = $'1\n2\n3\n4\n5' ]
}

@test "a damaged block ends it with 4" {
	cp "$image" bad
	line=$(plyfs dump "$image" --section=SEGMENT os | grep '^segment')
	seg=$(sed 's/.* off=\([0-9]*\) .*/\1/' <<<"$line")
	data=$(plyfs dump "$image" --section=SEGMENT os | sed -n 's/.*name=DATA .* off=\([0-9]*\) .*/\1/p')
	printf X | dd of=bad bs=1 seek=$((seg + data + 1000)) conv=notrunc status=none
	run -4 --separate-stderr bash -c "plyfs cat bad block >out"
	[[ $stderr == *"block"*"damaged"* ]]
}
