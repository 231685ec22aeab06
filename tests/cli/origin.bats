#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs origin: on mounts and inside images, for every type of file.

# shellcheck disable=SC2154,SC2015  # stderr is set by run; tests are subshells

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir -p t/etc t/opt/app/sub t/opt/other
	echo 1 >t/etc/file
	ln -s /nowhere t/opt/app/link
	mkfifo t/opt/app/fifo
	echo 2 >t/opt/app/sub/file
	echo 3 >t/opt/other/file
	ln t/opt/app/sub/file t/opt/other/again
	chmod 755 . t t/*
	plyfs capture t i.plyfs -c app='/opt/app/**' -c other='/opt/other/**' >/dev/null
	chmod 644 i.plyfs
}

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	image=$BATS_FILE_TMPDIR/i.plyfs
	mkdir m
}

teardown() { plyfs umount m 2>/dev/null || true; }

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

need_fuse() { [ -c /dev/fuse ] && [ "$(id -u)" = 0 ] || skip "needs root and /dev/fuse"; }

@test "inside an image: files, directories, links, special files" {
	run -0 plyfs origin --image="$image" / /etc/file /opt/app/link /opt/app/fifo opt/app/sub
	diff - <<-END <(printf '%s\n' "$output")
	/: os (generation 1)
	/etc/file: os (generation 1)
	/opt/app/link: app (generation 1)
	/opt/app/fifo: app (generation 1)
	opt/app/sub: app (generation 1)
	END
}

@test "a link group over several sub-images: all of them, in order of rank" {
	run -0 plyfs origin --image="$image" /opt/other/again /opt/app/sub/file
	[ "$output" = $'/opt/other/again: app, other (generation 1)\n/opt/app/sub/file: app, other (generation 1)' ]
	run -0 --separate-stderr plyfs origin --image="$image" -s other /opt/other/again
	[ "$output" = "/opt/other/again: other (generation 1)" ]
}

@test "on a mount: through the inode number, symlinks are not followed" {
	need_fuse
	plyfs mount "$image" m
	run -0 --separate-stderr plyfs origin m m/etc/file m/opt/app/link m/opt/app/fifo m/opt/other/again
	diff - <<-END <(printf '%s\n' "$output")
	m: os (generation 1)
	m/etc/file: os (generation 1)
	m/opt/app/link: app (generation 1)
	m/opt/app/fifo: app (generation 1)
	m/opt/other/again: app, other (generation 1)
	END
	[ -z "$stderr" ]
	run -0 plyfs origin --json m/opt/app/fifo
	[ "$(json 'd["schema"], d["paths"][0]["sub_images"], d["paths"][0]["generation"]' <<<"$output")" = \
		"(1, ['app'], 1)" ]
	[ "$(json 'd["paths"][0]["image"]' <<<"$output")" = "$(realpath "$image")" ]
	[ "$(json 'd["paths"][0]["ino"]' <<<"$output")" = "$(stat -c %i m/opt/app/fifo)" ]
}

@test "on a mount of a selection, what is not selected does not show" {
	need_fuse
	plyfs mount "$image" m -s other
	run -0 plyfs origin m/opt/other/again
	[ "$output" = "m/opt/other/again: other (generation 1)" ]
}

@test "a mount by generation" {
	need_fuse
	plyfs mount "$image@1" m
	run -0 plyfs origin m/etc
	[ "$output" = "m/etc: os (generation 1)" ]
}

@test "somebody else is told what can be told" {
	need_fuse
	plyfs mount "$image" m
	su nobody -s /bin/sh -c 'true' || skip "no user nobody"
	chmod 755 . "$BATS_FILE_TMPDIR"
	run --separate-stderr su nobody -s /bin/sh -c "PATH=$PATH plyfs origin '$PWD/m/opt/app/fifo'"
	[[ $status = 0 && $output == *"fifo: app (generation 1)" ]] || [[ $stderr == *"Permission denied"* ]]
}

@test "no such path, not on a mount: told, 1, and the others are answered" {
	run -1 plyfs origin "$BATS_FILE_TMPDIR"
	[[ $output == *"is not on a plyfs mount"*"--image"* ]]
	run -1 --separate-stderr plyfs origin --image="$image" /nope /etc
	[ "$output" = "/etc: os (generation 1)" ]
	[[ $stderr == *"/nope: no such file"* ]]
	run -1 --separate-stderr plyfs origin --json --image="$image" /etc/file/x /etc
	[ "$(json 'd["paths"][0]["error"]["reason"], d["paths"][1]["sub_images"]' <<<"$output")" = \
		"('NOT_A_DIRECTORY', ['os'])" ]
	run -1 plyfs origin nowhere
	run -2 plyfs origin -s os "$BATS_FILE_TMPDIR"
}
