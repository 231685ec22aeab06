#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs verify: damage by its reasons and the files concerned (every byte: tests/unit/test_verify.c), and
# every kind of difference between a tree and an image.

# shellcheck disable=SC2154,SC2030,SC2031  # stderr is set by run; tests are subshells

bats_require_minimum_version 1.5.0

tree() {
	mkdir -p "$1"/etc "$1"/opt/app "$1"/empty "$1"/var/lib
	printf hello >"$1"/etc/hello
	ln "$1"/etc/hello "$1"/etc/again
	ln -s hello "$1"/etc/link
	seq 100000 >"$1"/opt/app/data
	seq 100000 | tac >"$1"/etc/large
	truncate -s 1M "$1"/opt/app/sparse
	printf x | dd of="$1"/opt/app/sparse bs=1 seek=500000 conv=notrunc status=none
	mkfifo "$1"/opt/app/fifo
	setfattr -n user.note -v 12 "$1"/etc/hello
	setfattr -n user.dir -v 1 "$1"/empty
	find "$1" -exec touch -h -d @1700000000.123456789 {} +
}

setup_file() {
	cd "$BATS_FILE_TMPDIR" || exit 1
	tree t
	plyfs capture t i.plyfs -c app='/opt/app/**' >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	image=$BATS_FILE_TMPDIR/i.plyfs
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# Place in the image ($4: another) of byte $3 of section $2 of sub-image $1.
place() {
	local seg off in=${4:-$image}
	seg=$(plyfs dump "$in" "$1" --section=SEGMENT | sed -n 's/^segment:.* off=\([0-9]*\) .*/\1/p')
	off=$(plyfs dump "$in" "$1" --section=SEGMENT | sed -n "s/.*name=$2 .* off=\([0-9]*\) .*/\1/p")
	echo $((seg + off + $3))
}

damage() { # FILE OFFSET
	printf '\xa5' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "a sound image" {
	run -0 plyfs verify "$image"
	[[ $output == *"no damage"* ]]
	run -0 plyfs verify --deep "$image"
	[[ $output == *"no damage"* ]]
	run -0 plyfs verify --deep --json "$image"
	[ "$(json 'd["schema"], d["findings"], d["damaged"], d["deep"]' <<<"$output")" = "(1, [], 0, True)" ]
	[ "$(json 'd["checked_bytes"]' <<<"$output")" = "$(stat -c %s "$image")" ]
}

@test "--digest: the right one, a wrong one, none" {
	digest=$(plyfs info --json "$image" | json 'd["digest"]')
	plyfs verify --digest="$digest" "$image" >/dev/null
	wrong=sha256:$(printf '0%.0s' {1..64})
	run -4 plyfs verify --digest "$wrong" "$image"
	[[ $output == *DIGEST_MISMATCH*"$digest"* ]]
	run -2 plyfs verify --digest=sha256:12 "$image"
	run -2 plyfs verify --digest="${digest#sha256:}" "$image"
}

@test "a damaged block names the files in it; one of metadata, the section" {
	cp "$image" bad
	damage bad "$(place app DATA 2000)"
	run -4 plyfs verify bad
	[[ $output == *"BLOCK_CHECKSUM: app: data block 0"*"/opt/app/data"* ]]
	run -4 plyfs verify --json bad
	[ "$(json '[(f["reason"], f["sub_image"], f["paths"]) for f in d["findings"]]' <<<"$output")" = \
		"[('BLOCK_CHECKSUM', 'app', ['/opt/app/data'])]" ]
	cp "$image" bad
	damage bad "$(place os ENTRIES 30)"
	run -4 plyfs verify --json bad
	[ "$(json '"PAGE_CHECKSUM" in [f["reason"] for f in d["findings"]]' <<<"$output")" = True ]
	[[ $output == *"section ENTRIES"* ]]
}

@test "a damaged record names its file" {
	mkdir -p t/etc t/opt/app
	touch t/opt/app/sh
	{ seq 3000 | sed 's|^|/bin/sh|'; echo /opt/app/sh; } >t/etc/shells
	plyfs capture t bad -c app='/opt/app/**' >/dev/null
	plyfs verify --deep bad >/dev/null
	damage bad "$(place os RECORDS 20000 bad)"
	run -4 plyfs verify --json bad
	[ "$(json '[(f["reason"], f["sub_image"], f["paths"]) for f in d["findings"]]' <<<"$output")" = \
		"[('PAGE_CHECKSUM', 'os', ['/etc/shells'])]" ]
	run -4 plyfs cat bad /etc/shells
	plyfs cat bad /opt/app/sh
}

@test "all damage is reported, not only the first" {
	cp "$image" bad
	damage bad 100
	damage bad "$(place app DATA 2000)"
	damage bad "$(place os DATA 2000)"
	damage bad "$(place os HEAP 1)"
	run -4 plyfs verify --deep --json bad
	[ "$(json 'sorted({f["reason"] for f in d["findings"]})' <<<"$output")" = \
		"['BLOCK_CHECKSUM', 'PAGE_CHECKSUM', 'SUPER_CHECKSUM']" ]
	[ "$(json 'sorted({f.get("sub_image", "") for f in d["findings"]})' <<<"$output")" = "['', 'app', 'os']" ]
	cmp <(plyfs verify --deep -j1 bad) <(plyfs verify --deep -j5 bad)
}

@test "a sub-image that cannot be opened is told, the others are checked" {
	cp "$image" bad
	damage bad $(($(place os DATA 0) - 200))      # its section directory
	damage bad "$(place app DATA 2000)"
	run -4 plyfs verify bad
	[[ $output == *"SEGMENT_DIGEST: os: "*"BLOCK_CHECKSUM: app: "* ]]
}

@test "the tree that was captured is equal; so is the selection's layout" {
	run -0 plyfs verify "$image" --against "$BATS_FILE_TMPDIR/t"
	[[ $output == *"no difference"* ]]
	mkdir target
	plyfs layout "$image" target -s os >/dev/null
	run -0 --separate-stderr plyfs verify "$image" --against target -s os
	run -1 plyfs verify "$image" --against target
	[[ $output == *"/opt/app"*": missing in the tree"* ]]
}

# Run `change`, then: the finding "$1" (python tuple: path, field) and exit 1.
differs() {
	run -1 --separate-stderr plyfs verify "$image" --against t --json
	json '[(f["paths"][0], f.get("field")) for f in d["findings"]]' <<<"$output" >found
	grep -qF "$1" found || { cat found; false; }
}

@test "each kind of difference is found" {
	cp -a "$BATS_FILE_TMPDIR/t" t
	again() { rm -rf t; cp -a "$BATS_FILE_TMPDIR/t" t; }
	keep() { touch -d @1700000000.123456789 "$@"; }

	printf X | dd of=t/opt/app/data bs=1 seek=300000 conv=notrunc status=none; keep t/opt/app/data
	differs "[('/opt/app/data', 'content')]"
	again; printf X >>t/opt/app/data; keep t/opt/app/data
	differs "[('/opt/app/data', 'size')]"
	again; printf '\0' | dd of=t/opt/app/sparse bs=1 seek=900000 conv=notrunc status=none; keep t/opt/app/sparse
	differs "[('/opt/app/sparse', 'holes')]"
	again; cp --sparse=never t/opt/app/sparse x; cat x >t/opt/app/sparse; keep t/opt/app/sparse
	differs "[('/opt/app/sparse', 'holes')]"
	again; touch -d @1700000000.123456788 t/etc/large
	differs "[('/etc/large', 'mtime')]"
	again; touch -d @1700000000 t/empty
	differs "[('/empty', 'mtime')]"
	again; chmod u+s t/etc/large
	differs "[('/etc/large', 'mode')]"
	again; chmod 700 t
	differs "[('/', 'mode')]"
	again; setfattr -n user.note -v 13 t/etc/hello
	differs "[('/etc/again', 'xattr user.note')]"
	again; setfattr -x user.dir t/empty
	differs "[('/empty', 'xattr user.dir')]"
	again; setfattr -n user.more -v 1 t/etc/large
	differs "[('/etc/large', 'xattr user.more')]"
	again; ln -sf hullo t/etc/link; touch -h -d @1700000000.123456789 t/etc/link; keep t/etc
	differs "[('/etc/link', 'target')]"
	again; cp --remove-destination -a t/etc/large t/etc/again; keep t/etc
	differs "('/etc/hello', 'links')"
	again; rm t/etc/again; cp -a t/etc/hello t/etc/again; keep t/etc
	differs "('/etc/hello', 'links')"
	again; ln t/etc/large t/etc/more; rm t/etc/link; ln t/etc/large t/etc/link; keep t/etc
	differs "('/etc/link', 'type')"
	again; rm t/etc/large; keep t/etc
	differs "[('/etc/large', 'presence')]"
	again; echo x >t/etc/more; keep t/etc
	differs "[('/etc/more', 'presence')]"
	again; rm t/opt/app/fifo; mkdir t/opt/app/fifo; keep t/opt/app
	differs "[('/opt/app/fifo', 'type')]"
	again; rm -r t/empty; ln -s etc t/empty; keep t
	differs "[('/empty', 'type')]"
}

@test "owners, devices, trusted attributes, ACLs and capabilities" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	mkdir t
	echo x >t/file
	mknod t/null c 1 3
	setcap cap_net_raw+ep t/file
	setfattr -n trusted.note -v 1 t/file
	setfacl -m u:54321:r t/file || skip "no ACLs here"
	image=own.plyfs
	plyfs capture t own.plyfs >/dev/null
	cp -a t first
	plyfs verify own.plyfs --against t >/dev/null
	again() { rm -rf t; cp -a first t; }

	chown 7 t/null
	differs "[('/null', 'uid')]"
	again; chgrp 7 t/null
	differs "[('/null', 'gid')]"
	again; rm t/null; mknod -m 644 t/null c 1 5; touch -r first/null t/null; touch -r first t
	differs "[('/null', 'device')]"
	again; setcap cap_net_raw+p t/file
	differs "[('/file', 'xattr security.capability')]"
	again; setfattr -x trusted.note t/file
	differs "[('/file', 'xattr trusted.note')]"
	again; setfacl -m u:54321:rw t/file
	differs "('/file', 'xattr system.posix_acl_access')"
}

@test "what no image has is not missed: lost+found, mounts, the image itself, /var/lib/plyfs" {
	cp -a "$BATS_FILE_TMPDIR/t" t
	mkdir t/var/lib/plyfs
	echo x >t/var/lib/plyfs/plan
	plyfs verify "$image" --against t >/dev/null
	rm -r t/var/lib/plyfs
	run -1 plyfs verify "$image" --against t      # the times of the directories above it
	touch -d @1700000000.123456789 t/var/lib
	plyfs verify "$image" --against t >/dev/null
	cp "$image" t/etc/own.plyfs
	touch -d @1700000000.123456789 t/etc
	plyfs verify t/etc/own.plyfs --against t >/dev/null
	run -1 plyfs verify "$image" --against t
	rm t/etc/own.plyfs
	touch -d @1700000000.123456789 t/etc
	[ "$(id -u)" = 0 ] || skip "needs root for mounts"
	mount -t tmpfs none t/empty || skip "no mounts here"
	echo x >t/empty/more
	run plyfs verify "$image" --against t
	umount t/empty
	[ "$status" = 0 ]
	[[ $output == *"1 mounted places"* ]]
	mkdir file-system
	truncate -s 16M disk
	mkfs.ext4 -q -b 4096 disk
	mount -o loop disk file-system || skip "no loop devices here"
	cp -a t/. file-system/
	touch -d @1700000000.123456789 file-system
	run plyfs verify "$image" --against file-system
	umount file-system
	[ "$status" = 0 ]
}

@test "nothing outside of DIR is read: a symlink in it is a symlink" {
	cp -a "$BATS_FILE_TMPDIR/t" t
	mv t/etc outside
	ln -s "$PWD/outside" t/etc
	touch -d @1700000000.123456789 t
	differs "[('/etc', 'type')]"
	run -1 plyfs verify "$image" --against nowhere
	[[ $output == *nowhere* ]]
	run -1 plyfs verify "$image" --against "$image"
	run -2 plyfs verify "$image" -s os
}

@test "damage and differences together are damage" {
	cp -a "$BATS_FILE_TMPDIR/t" t
	cp "$image" bad
	damage bad "$(place app DATA 2000)"
	chmod 700 t/etc
	run -4 plyfs verify bad --against t
	[[ $output == *BLOCK_CHECKSUM*"/etc: mode: 0755 expected, 0700 found"* ]]
	[[ $output == *"data block"* ]]
}

@test "a mount is equal to the image" {
	[ -c /dev/fuse ] && [ "$(id -u)" = 0 ] || skip "needs root and /dev/fuse"
	mkdir m
	plyfs mount "$image" m
	run plyfs verify "$image" --against m
	plyfs umount m
	[ "$status" = 0 ]
}

@test "progress as JSON on the standard error output" {
	run -0 --separate-stderr plyfs verify --progress=json "$image"
	[ "$(tail -n 1 <<<"$stderr" | json 'd["verb"], d["bytes"]')" = "('verify', $(($(stat -c %s "$image") - 8192)))" ]
	run -2 plyfs verify --progress=sometimes "$image"
}
