#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout: what it refuses before the first byte, what it leaves when it fails, and targets that
# cannot hold everything. That it equals gold and mount is for lamp.bats, odd.bats and concurrent.bats.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
bats_require_minimum_version 1.5.0

setup()
{
	ready
	mkdir target
}

teardown()
{
	local dir
	for dir in "$BATS_TEST_TMPDIR"/fs*; do
		if mountpoint -q "$dir"; then umount "$dir" || umount -l "$dir"; fi
	done
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

root() { [ "$(id -u)" = 0 ] || skip "needs root${1:+: $1}"; }

# an ordinary user, who can enter here
user()
{
	chmod 755 "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR" 2>/dev/null || true
	chmod 644 ./*.plyfs
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

tree() # one of everything that any file system can hold, in tree/
{
	mkdir -p tree/d/e tree/empty tree/closed
	echo hello >tree/d/file
	ln tree/d/file tree/d/again
	ln -s ../file tree/d/e/link
	head -c 300000 /dev/urandom >tree/random
	truncate -s 1M tree/hole
	echo end >>tree/hole
	echo secret >tree/closed/secret
	mkfifo tree/fifo
	: >tree/nothing
	chmod 600 tree/closed/secret
	chmod 1777 tree/empty
	touch -d '2001-02-03 04:05:06.789012345' tree/d/file tree/d
	chmod 555 tree/closed
}

image() { tree && plyfs capture tree i.plyfs >/dev/null; }

mkfs() # NAME SIZE [MKFS OPTION...]: an ext4 without reserve, mounted at NAME
{
	truncate -s "$2" "$1.ext4"
	mkfs.ext4 -q -F -m 0 -E nodiscard "${@:3}" "$1.ext4"
	mkdir "$1"
	mount -o loop "$1.ext4" "$1"
}

untouched() # DIR: empty, and as BEFORE says
{
	[ -z "$(find "$1" -mindepth 1 -maxdepth 1 ! -name lost+found)" ]
	[ "$(stat -c '%a %U %G %y' "$1")" = "$before" ]
}
remember() { before=$(stat -c '%a %U %G %y' "$1"); }

@test "a tree and its layout are equal; TARGET gets the root's metadata" {
	image
	chmod 750 tree
	plyfs capture tree i.plyfs --force >/dev/null
	run -0 --separate-stderr plyfs layout i.plyfs target
	[[ $output == "target: "*" files and 5 directories, "* ]]
	same tree target
	[ "$(stat -c %a target)" = 750 ]
}

@test "one, two and many streams give the same tree" {
	image
	for j in 1 2 9 256; do
		mkdir "t$j"
		plyfs layout i.plyfs "t$j" -j "$j" --no-sync
		same tree "t$j"
	done
	run -2 plyfs layout i.plyfs target -j 0
	run -2 plyfs layout i.plyfs target -j 257
}

@test "few descriptors are enough for many streams" {
	image
	(ulimit -n 64; plyfs layout i.plyfs target -j 200 --no-sync)
	same tree target
}

@test "files of many blocks are filled by several streams: data, holes, odd ends" {
	mkdir tree
	for i in 1 2 3; do
		head -c $((30000000 + i)) /dev/urandom >"tree/$i"
		head -c 70000 /dev/urandom >"tree/$i.small"
	done
	truncate -s 3G tree/sparse
	for at in 0 5 700; do
		head -c 9000001 /dev/urandom | dd of=tree/sparse bs=1M seek="$at" conv=notrunc status=none
	done
	truncate -s 100M tree/only-hole
	ln tree/1 tree/one
	plyfs capture tree i.plyfs >/dev/null
	for j in 1 2 16; do
		rm -rf target; mkdir target
		plyfs layout i.plyfs target -j "$j" --no-sync
		same tree target
	done
}

@test "the report: counts, bytes, seconds for each phase" {
	image
	run -0 --separate-stderr plyfs layout i.plyfs target --json
	[ "$(json 'd["schema"], d["files"], d["names"], d["directories"]' <<<"$output")" = "(1, 7, 8, 5)" ]
	[ "$(json 'd["bytes"]' <<<"$output")" = $((6 + 300000 + 4 + 7)) ]
	[ "$(json 'sorted(d["seconds"])' <<<"$output")" = \
		"['directories', 'links', 'metadata', 'os', 'others', 'plan', 'sync']" ]
	[ "$(json 'd["lost"]' <<<"$output")" = "[]" ]
}

# --- what is refused ---------------------------------------------------------------------------

@test "TARGET is missing, a file: named; what is there already stays" {
	image
	run -1 --separate-stderr plyfs layout i.plyfs nowhere --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_NOT_FOUND ]
	run -1 --separate-stderr plyfs layout i.plyfs i.plyfs --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_NOT_DIRECTORY ]
	echo mine >"target/a
b"
	remember target
	plyfs layout i.plyfs target
	[ "$(cat "target/a
b")" = mine ]
	[ "$(stat -c '%a %U %G %y' target)" = "$before" ]
	rm "target/a
b"
	same tree target
}

@test "IMAGE is missing, a directory, no image; an unknown selection lists what there is" {
	image
	run -1 plyfs layout nowhere target
	run -1 plyfs layout tree target
	run -4 plyfs layout tree/random target
	run -1 --separate-stderr plyfs layout i.plyfs target -s os,nothing --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = SUB_UNKNOWN ]
	[[ $stderr == *"nothing"*"holds os"* ]]
	run -2 plyfs layout i.plyfs
	run -2 plyfs layout i.plyfs target --map-owner=somebody
	[ -z "$(ls -A target)" ]
}

@test "another layout is at work in TARGET" {
	image
	exec 7<target
	flock -x 7
	run -1 --separate-stderr plyfs layout i.plyfs target --json 7<&-
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_BUSY ]
	exec 7<&-
	plyfs layout i.plyfs target
}

@test "lost+found of a file system does not count; a directory of that name does" {
	root "a file system"
	image
	mkfs fs 20M
	[ -d fs/lost+found ]
	plyfs layout i.plyfs fs
	same tree fs
	mkdir target/lost+found
	plyfs layout i.plyfs target
	[ -d target/lost+found ]
	# an image of a tree with one of its own
	mkdir tree/lost+found
	plyfs capture tree j.plyfs >/dev/null
	mkfs fs2 20M
	remember fs2
	run -1 plyfs layout j.plyfs fs2
	[[ $output == *"/lost+found: the image has one"* ]]
	untouched fs2
	mkdir fs2/below
	plyfs layout j.plyfs fs2/below
	same tree fs2/below
}

@test "no room: told before the first byte, bytes and inodes" {
	root "a file system"
	image
	head -c 30000000 /dev/zero | tr '\0' x >tree/much
	plyfs capture tree i.plyfs --force >/dev/null
	mkfs fs1 20M
	remember fs1
	run -1 --separate-stderr plyfs layout i.plyfs fs1 --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_FULL ]
	[[ $stderr == *"needs "*" are free"* ]]
	untouched fs1
	rm tree/much
	for i in $(seq 300); do : >"tree/$i"; done
	plyfs capture tree i.plyfs --force >/dev/null
	mkfs fs2 20M -N 100
	remember fs2
	run -1 --separate-stderr plyfs layout i.plyfs fs2 --json
	[[ $stderr == *"inodes"* ]]
	untouched fs2
}

@test "the disk is full in the middle: the path is named, TARGET is as it was" {
	root "a file system"
	mkdir -p tree
	# directories take blocks that the check beforehand does not count
	for i in $(seq 3000); do mkdir "tree/$i"; echo "$i" >"tree/$i/f"; done
	head -c 6000000 /dev/urandom >tree/zz
	plyfs capture tree i.plyfs >/dev/null
	mkfs fs 24M -b 4096 -N 8000 -O ^has_journal
	chmod 711 fs
	remember fs
	run -1 --separate-stderr plyfs layout i.plyfs fs --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_FULL ]
	[[ $stderr == *": cannot "*"No space left on device"*"is empty again"* ]]
	untouched fs
}

@test "a read-only target" {
	root "a file system"
	image
	mkfs fs 20M
	mount -o remount,ro fs
	remember fs
	run -1 plyfs layout i.plyfs fs
	[[ $output == *"Read-only file system"* ]]
	untouched fs
}

# --- failures in the middle ---------------------------------------------------------------------

@test "SIGTERM and SIGINT at any moment: all of it, or nothing" {
	mkdir tree
	for i in $(seq 40); do
		mkdir "tree/$i"
		for k in $(seq 40); do echo "$i $k" >"tree/$i/$k"; done
		head -c 2000000 /dev/urandom >"tree/$i/random"
		ln "tree/$i/random" "tree/$i/link"
	done
	plyfs capture tree i.plyfs >/dev/null
	stopped=0
	for signal in TERM INT; do
		for ms in 000 010 020 040 060 080 110 140; do
			rm -rf target; mkdir -m 710 target
			remember target
			rc=0
			timeout -s "$signal" "0.${ms/000/001}" plyfs layout i.plyfs target -j 3 --no-sync 2>log >/dev/null || rc=$?
			if [ "$rc" = 124 ] && ! grep -q 'interrupted\|cancelled' log; then
				# it came before the handler, or when all was done
				[ -z "$(ls -A target)" ] || same tree target
			elif [ "$rc" = 124 ]; then
				untouched target
				stopped=$((stopped + 1))
			else
				[ "$rc" = 0 ]
				same tree target
			fi
		done
	done
	echo "# stopped $stopped times" >&3
	[ "$stopped" -gt 0 ]
}

@test "killed: the next layout refuses what is left and says what to do" {
	mkdir tree
	for i in $(seq 2000); do echo "$i" >"tree/$i"; done
	plyfs capture tree i.plyfs >/dev/null
	for ms in 5 10 20 30 50; do
		timeout -s KILL 0.0$ms plyfs layout i.plyfs target -j 2 || true
		[ -z "$(ls -A target)" ] || break
	done
	[ -n "$(ls -A target)" ] || skip "it was never killed in the middle"
	# timeout(1) does not wait for what it kills
	for i in $(seq 100); do flock -n target true && break || sleep 0.1; done
	[ -z "$(find target -name '.plyfs-*')" ]
	run -1 plyfs layout i.plyfs target
	[[ $output == *"is not empty"*"remove what it left"* ]]
}

@test "a damaged block: exit 4, the file is named, TARGET is as it was" {
	image
	python3 - i.plyfs <<-'END'
		import sys
		f = open(sys.argv[1], "r+b")
		f.seek(8192 + 5000)
		b = f.read(1)
		f.seek(8192 + 5000)
		f.write(bytes([b[0] ^ 255]))
	END
	remember target
	run -4 --separate-stderr plyfs layout i.plyfs target --json
	[[ $stderr == *"/random: data block 0 is damaged"* ]]
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = BLOCK_CHECKSUM ]
	untouched target
}

@test "what another process puts into TARGET is neither overwritten nor removed" {
	mkdir tree
	for i in $(seq 300); do mkdir "tree/$i"; echo "$i" >"tree/$i/f"; done
	plyfs capture tree i.plyfs >/dev/null
	for round in 1 2 3 4 5 6; do
		rm -rf target outside; mkdir target outside
		# names that the layout will want: a file, and symlinks that lead out
		(
			until [ -e target/100 ] || [ -e stop ]; do :; done
			for i in 297 298 299 300; do
				echo mine >"target/$i/f" || true
				rm -rf "target/29$round" && ln -s "$PWD/outside" "target/29$round" || true
			done
		) 2>/dev/null 3>&- &
		rc=0
		plyfs layout i.plyfs target -j 2 --no-sync 2>log >/dev/null || rc=$?
		touch stop; wait; rm stop
		[ -z "$(ls -A outside)" ]
		for f in target/29[789]/f target/300/f; do
			[ ! -e "$f" ] || [ "$rc" = 0 ] || [ "$(cat "$f")" = mine ]
		done
	done
}

# --- targets that cannot hold everything -----------------------------------------------------------

@test "no extended attributes: refused with the first path, --lossy lists them" {
	root "ramfs"
	image
	setfattr -n user.note -v yes tree/d/file
	setfattr -n trusted.note -v yes tree/random
	setcap cap_net_raw=ep tree/nothing
	setfacl -m u:1:r tree/random
	plyfs capture tree i.plyfs --force >/dev/null
	mkdir fs
	mount -t ramfs none fs
	chmod 755 fs
	remember fs
	run -1 --separate-stderr plyfs layout i.plyfs fs --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_CANNOT_HOLD ]
	[[ $stderr == *"user namespace (/d/again)"* ]]
	untouched fs
	run -0 --separate-stderr plyfs layout i.plyfs fs --lossy --json
	[ "$(json 'sorted((l["field"], l["count"]) for l in d["lost"])' <<<"$output")" = \
		"[('acl', 1), ('capability', 1), ('xattr_trusted', 1), ('xattr_user', 1)]" ]
	same tree fs --skip xattr,mode,map   # ramfs knows no holes
}

@test "a year that the target cannot hold, and nanoseconds" {
	root "a file system"
	image
	touch -d '1960-01-01 00:00:00.000000007' tree/nothing
	touch -d '2200-01-01 00:00:00' tree/random
	plyfs capture tree i.plyfs --force >/dev/null
	mkfs fs 20M -I 128
	remember fs
	run -1 --separate-stderr plyfs layout i.plyfs fs --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_CANNOT_HOLD ]
	[[ $stderr == *"of that year (/random)"*"in nanoseconds (/"* ]]
	untouched fs
	run -0 --separate-stderr plyfs layout i.plyfs fs --lossy --json
	[ "$(json '[l["count"] for l in d["lost"] if l["field"] == "time_range"]' <<<"$output")" = "[1]" ]
	[ "$(stat -c %Y fs/nothing)" = "$(stat -c %Y tree/nothing)" ]
	same tree fs --skip mtime,xattr
}

@test "attributes and symbolic links that are too big" {
	root "a file system"
	image
	setfattr -n user.big -v "$(head -c 2000 /dev/zero | tr '\0' x)" tree/d/file
	ln -s "$(head -c 1500 /dev/zero | tr '\0' y)" tree/long
	plyfs capture tree i.plyfs --force >/dev/null
	mkfs fs 20M -b 1024
	remember fs
	run -1 --separate-stderr plyfs layout i.plyfs fs --json
	[[ $stderr == *"attributes of that size (/d/again)"*"links of that length (/long)"* ]]
	untouched fs
	run -0 --separate-stderr plyfs layout i.plyfs fs --lossy --json
	[ "$(json 'sorted((l["field"], l["count"]) for l in d["lost"])' <<<"$output")" = \
		"[('symlink_length', 1), ('xattr_size', 1)]" ]
	[ ! -L fs/long ]
	rm tree/long
	same tree fs --skip xattr,mtime
}

@test "a file that is too large: by the file system, by a limit of the process" {
	root "a file system"
	image
	truncate -s 1T tree/terabyte
	plyfs capture tree i.plyfs --force >/dev/null
	mkfs fs 20M -b 1024 -O ^extents,^64bit
	remember fs
	run -1 --separate-stderr plyfs layout i.plyfs fs --json
	[[ $stderr == *"files of that size (/terabyte)"* ]]
	untouched fs
	run -0 plyfs layout i.plyfs fs --lossy
	[ ! -e fs/terabyte ]
	rm tree/terabyte
	same tree fs --skip mtime
	plyfs capture tree i.plyfs --force >/dev/null
	(
		ulimit -f 100
		run -1 plyfs layout i.plyfs target
		[[ $output == *"files of that size (/"* ]]
	)
	[ -z "$(ls -A target)" ]
}

@test "more links than the target allows" {
	root "file systems"
	mkdir fs1
	mount -t tmpfs none fs1
	(cd fs1 && python3 -c 'import os; open("0", "w").close(); [os.link("0", str(i)) for i in range(1, 65010)]')
	plyfs capture fs1 i.plyfs >/dev/null
	mkfs fs2 20M
	remember fs2
	run -1 --separate-stderr plyfs layout i.plyfs fs2 --json
	[[ $stderr == *"that many links to one file (/0)"* ]]
	untouched fs2
	run -0 --separate-stderr plyfs layout i.plyfs fs2 --lossy --json --no-sync
	[ "$(json '[(l["field"], l["count"]) for l in d["lost"]]' <<<"$output")" = "[('link_count', 10)]" ]
	[ "$(stat -c %h fs2/0)" = 65000 ]
}

@test "a default ACL on TARGET is not inherited, and is put back where the layout fails" {
	root "ACLs of others"
	image
	setfacl -d -m u:1:rwx target
	setfacl -m u:2:r target
	before_acl=$(getfacl -cp target)
	remember target
	truncate -s -100 i.plyfs
	run ! plyfs layout i.plyfs target
	plyfs capture tree i.plyfs --force >/dev/null
	(ulimit -f 100; run -1 plyfs layout i.plyfs target)
	untouched target
	[ "$(getfacl -cp target)" = "$before_acl" ]
	plyfs layout i.plyfs target
	same tree target
}

# --- owners -----------------------------------------------------------------------------------------------

@test "an ordinary user: owners that cannot be given are counted and refused" {
	root "gives owners, then lays out as another"
	image
	chown -R 1:1 tree
	chown 2:2 tree/random tree/d
	plyfs capture tree i.plyfs --force >/dev/null
	chown 65534:65534 target
	remember target
	run -1 --separate-stderr user plyfs layout i.plyfs target --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_OWNER ]
	[[ $stderr == *"12 files belong to owners that you cannot give them to"*"--map-owner=self or --allow-partial"* ]]
	untouched target
}

@test "--allow-partial keeps the files, without privileges, and leaves devices out" {
	root "gives owners, then lays out as another"
	image
	mknod tree/dev c 1 3
	cp /bin/true tree/suid
	cp /bin/true tree/own
	setcap cap_net_raw=ep tree/nothing
	chown 65534:65534 tree/own
	chmod 6755 tree/suid tree/own
	plyfs capture tree i.plyfs --force >/dev/null
	chown 65534:65534 target
	run -0 --separate-stderr user plyfs layout i.plyfs target --allow-partial --json
	[ "$(json '[(l["field"], l["count"], l["first"]) for l in d["lost"]]' <<<"$output")" = "[('device', 1, '/dev')]" ]
	[ "$(json 'd["owners_not_kept"], d["privileges_left_off"]' <<<"$output")" = "(13, 2)" ]
	[ ! -e target/dev ]
	[ "$(stat -c '%a %u' target/suid)" = "755 65534" ]
	[ "$(stat -c '%a %u' target/own)" = "6755 65534" ]
	same tree target --skip owner,mode,xattr --exclude /dev
}

@test "--map-owner: self, and UID:GID" {
	root "gives owners"
	image
	cp /bin/true tree/suid
	chmod 4755 tree/suid
	plyfs capture tree i.plyfs --force >/dev/null
	chown 65534:65534 target
	run -0 user plyfs layout i.plyfs target --map-owner=self
	[ "$(find target ! -user 65534 | wc -l)" = 0 ]
	[ "$(stat -c %a target/suid)" = 755 ]
	same tree target --skip owner,mode
	mkdir other
	plyfs layout i.plyfs other --map-owner=12:34
	# but for the state, and what leads to it
	[ "$(find other -path other/var -prune -o \( ! -uid 12 -o ! -gid 34 \) -print | wc -l)" = 0 ]
	mkdir third
	chown 65534:65534 third
	run -1 --separate-stderr user plyfs layout i.plyfs third --map-owner=12:34 --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_OWNER ]
}

@test "a target that belongs to another user" {
	root "lays out as another"
	tree
	chown -R 65534:65534 tree
	plyfs capture tree i.plyfs >/dev/null
	chmod 777 target
	remember target
	run -1 --separate-stderr user plyfs layout i.plyfs target --json
	[[ $stderr == *"belongs to another user"* ]]
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_OWNER ]
	[ -z "$(ls -A target)" ]
	run -0 user plyfs layout i.plyfs target --allow-partial
	same tree target --skip owner,mode,mtime
}
