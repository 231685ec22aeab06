#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs capture: what it takes in, what it refuses, and what it leaves behind when it fails.

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	bats_require_minimum_version 1.5.0
}

gold() { "$PLYFS_TESTS/lib/gold.sh" small; }

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }

need_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

tree() { # a small tree of no machine
	mkdir -p t/d/e t/empty
	echo hello >t/d/file
	ln t/d/file t/d/again
	ln -s ../file t/d/e/link
	head -c 300000 /dev/urandom >t/big
	truncate -s 1M t/hole
}

@test "a tree without a package database is captured whole, as os" {
	tree
	run -0 --separate-stderr plyfs capture t i.plyfs --json
	[ "$(json 'len(d["sub_images"])' <<<"$output")" = 1 ]
	[ "$(json 'd["sub_images"][0]["name"]' <<<"$output")" = os ]
	# t, d, e, empty, file, link, big, hole
	[ "$(json 'd["inodes"]' <<<"$output")" = 8 ]
	[ "$(json 'd["bytes"]' <<<"$output")" = $((6 + 300000 + 1048576)) ]
	[ "$(stat -c %a i.plyfs)" = 600 ]
}

@test "ROOT is missing, a file, a device, an unreadable directory" {
	run -1 plyfs capture nowhere i.plyfs
	[[ $output == *"nowhere: does not exist"* ]]
	touch file
	run -1 plyfs capture file i.plyfs
	[[ $output == *"file: is no directory"* ]]
	run -1 plyfs capture /dev/null i.plyfs
	[[ $output == *"is no directory"* ]]
	[ ! -e i.plyfs ]
}

@test "the place of IMAGE is checked first: a directory, a device, in a directory that is not there" {
	tree
	mkdir dir
	run -1 plyfs capture t dir
	[[ $output == *"dir: is a directory"* ]]
	run -1 plyfs capture t /dev/null --force
	[[ $output == *"is a device"* ]]
	run -1 plyfs capture t no/where.plyfs
	[[ $output == *"no/where.plyfs: cannot open the directory no"* ]]
}

@test "IMAGE exists: refused without --force; the old one survives a failed capture" {
	tree
	plyfs capture t i.plyfs >/dev/null
	before=$(sha256sum <i.plyfs)
	run -1 --separate-stderr plyfs capture t i.plyfs --json
	[[ $stderr == *"--force"* ]]
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = IMAGE_EXISTS ]
	run -1 plyfs capture nowhere i.plyfs --force
	run -1 plyfs capture t i.plyfs --force -c x=package
	[ "$(sha256sum <i.plyfs)" = "$before" ]
	echo more >t/more
	run -0 plyfs capture t i.plyfs --force
	[ "$(sha256sum <i.plyfs)" != "$before" ]
	[ -z "$(find . -mindepth 1 -maxdepth 1 ! -name t ! -name i.plyfs ! -name 'separate-stderr-*')" ]
}

@test "usage: wrong numbers, unknown options, operands" {
	tree
	run -2 plyfs capture t
	run -2 plyfs capture t a b
	[[ $output == *"'b' is one operand too many"* ]]
	run -2 plyfs capture t i --level 20
	run -2 plyfs capture t i --level x
	run -2 plyfs capture t i -j 0
	run -2 plyfs capture t i --no-such
	[[ $output == *"--no-such"* ]]
	run -2 plyfs capture t i --progress=often
	run -2 plyfs capture t i -c nonsense
	run -2 plyfs capture t i -x "/$(printf '%04096d' 0)"
	run -2 plyfs capture t i -c Upper=/d
	[[ $output == *"'Upper' is no name"* ]]
	run -2 env SOURCE_DATE_EPOCH=now plyfs capture t i
	[ ! -e i ]
}

@test "components by package: each path with the component of its package" {
	g=$(gold)
	run -0 --separate-stderr plyfs capture "$g" i.plyfs -c web=web,web-data -c db=db --json
	[ "$(json '[s["name"] for s in d["sub_images"]]' <<<"$output")" = "['os', 'web', 'db']" ]
	plyfs ls i.plyfs -R --json >listing
	# against the lists themselves: a regular file that a named package alone lists is its component's
	python3 - "$g" listing <<-'END'
		import collections, json, os, sys
		root, comps = sys.argv[1], {"web": "web", "web-data": "web", "db": "db"}
		info = os.path.join(root, "var/lib/dpkg/info")
		owners = collections.defaultdict(set)
		for name in os.listdir(info):
		    package = name[:-5].split(":")[0]
		    if name.endswith(".list"):
		        for line in open(os.path.join(info, name)).read().split("\n"):
		            where = os.path.realpath(os.path.join(root, os.path.dirname(line)[1:]))
		            owners[where + "/" + os.path.basename(line)].add(comps.get(package))
		entries = json.load(open(sys.argv[2]))["entries"]
		diverted = open(os.path.join(root, "var/lib/dpkg/diversions")).read().split("\n")
		checked = collections.Counter()
		for e in entries:
		    want = owners.get(os.path.realpath(root) + e["path"])
		    if e["type"] != "file" or not want or None in want or e["path"] in diverted or len(want) > 1 or e["nlink"] > 1:
		        continue
		    assert e["origin"] == list(want), (e["path"], e["origin"], want)
		    checked[e["origin"][0]] += 1
		assert min(checked[c] for c in ("web", "db")) > 100, checked
	END
}

@test "a component that names no installed package, and one package in two components" {
	g=$(gold)
	run -1 --separate-stderr plyfs capture "$g" i.plyfs -c x=no-such-package --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = PACKAGE_UNKNOWN ]
	[[ $stderr == *"no-such-package is not installed"* ]]
	run -1 --separate-stderr plyfs capture "$g" i.plyfs -c a=web -c b=db,web --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = PACKAGE_TWICE ]
	[[ $stderr == *"component a and in component b"* ]]
	run -1 plyfs capture "$g" i.plyfs -c a=web -c a=db
	[[ $output == *"component a is defined twice"* ]]
	tree
	run -1 --separate-stderr plyfs capture t i.plyfs -c a=web --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = PKGDB_MISSING ]
	[ ! -e i.plyfs ]
}

@test "-x leaves out what matches, and its content" {
	tree
	plyfs capture t i.plyfs -x '/d/**' -x '/b*' >/dev/null
	run -0 plyfs ls i.plyfs -R
	[[ $output == *d* ]]
	[[ $output != *file* && $output != *big* ]]
}

@test "the same bytes for every number of threads, and for an unchanged tree" {
	g=$(gold)
	export SOURCE_DATE_EPOCH=1700000000
	plyfs capture "$g" a.plyfs -j1 -c web=web,web-data -c db=db >/dev/null
	plyfs capture "$g" b.plyfs -j16 -c web=web,web-data -c db=db >/dev/null
	plyfs capture "$g" c.plyfs -j16 -c web=web,web-data -c db=db >/dev/null
	cmp a.plyfs b.plyfs
	cmp b.plyfs c.plyfs
}

@test "disk full: an error, and nothing is left" {
	need_root
	tree
	head -c 3000000 /dev/urandom >t/more
	mkdir full
	mount -t tmpfs -o size=1m none full
	run -1 plyfs capture t full/i.plyfs
	left=$(ls -A full)
	avail=$(df --output=iavail full | tail -n 1)
	umount full
	[[ $output == *"full/i.plyfs: cannot write the image: No space left on device"* ]]
	[ -z "$left" ]
	[ -n "$avail" ]
}

@test "kill -9 in the middle leaves nothing under the final name, nor beside it" {
	mkdir t
	for i in $(seq 40); do head -c 2000000 /dev/urandom >"t/$i"; done
	mkdir out
	for delay in 0.01 0.03 0.05 0.08 0.12; do
		plyfs capture t out/i.plyfs --level 15 -j 1 >/dev/null 2>&1 &
		sleep "$delay"
		kill -9 $! 2>/dev/null || true
		wait $! || true
		if [ -e out/i.plyfs ]; then   # it was quick: then it is whole
			plyfs verify out/i.plyfs
			rm out/i.plyfs
		fi
		[ -z "$(ls -A out)" ]
	done
}

@test "what is mounted below ROOT: local file systems are crossed, others are empty directories" {
	need_root
	tree
	mkdir -m 711 t/proc t/tmp t/data
	touch t/data/hidden
	mount -t proc none t/proc
	mount -t tmpfs -o mode=1777 none t/tmp
	touch t/tmp/gone
	truncate -s 8M disk
	mkfs.ext4 -q disk
	mount -o loop disk t/data
	mkdir t/data/bind
	touch t/data/there
	mkdir -m 710 t/data/tmp2 t/again
	mount -t tmpfs none t/data/tmp2
	mount --bind t/d t/again
	run plyfs capture t i.plyfs
	crossed="$status $output"
	run plyfs capture t one.plyfs --one-file-system
	one="$status $output"
	setpriv --bounding-set=-sys_admin plyfs capture t blind.plyfs >/dev/null 2>&1
	blind=$?
	umount t/again t/data/tmp2 t/data t/tmp t/proc
	[[ $crossed == 0* && $one == 0* ]]
	[ $blind = 0 ]
	[[ $crossed == *"left out: /again: mounted a second time"* ]]
	[[ $crossed != *"left out: /data"* && $crossed != *"left out: /proc"* && $crossed != *"left out: /tmp"* ]]
	[[ $one == *"left out: /data: another local file system (ext4)"* ]]
	run -0 plyfs ls i.plyfs -lR
	[[ $output == *there* && $output != *gone* && $output != *hidden* && $output != *lost+found* ]]
	# the metadata is that of the directory below
	for d in proc tmp; do grep -qE "^drwx--x--x .* $d\$" <<<"$output"; done
	for d in tmp2 again; do grep -qE "^drwx--x--- .* $d\$" <<<"$output"; done
	run -0 --separate-stderr plyfs info i.plyfs --json
	[ "$(json '[(m["path"], m["type"], m["subtree"]) for m in d["mounts"]]' <<<"$output")" = "[('/data', 'ext4', '/')]" ]
	run -0 plyfs ls one.plyfs -lR
	[[ $output != *there* && $output != *hidden* ]]
	grep -qE '^drwx--x--x .* data$' <<<"$output"
	plyfs verify i.plyfs --deep
	plyfs dump i.plyfs | grep -q '^mount 0: path="/data" type="ext4"'
}

@test "the image itself, var/lib/plyfs and a file system's lost+found are left out" {
	need_root
	truncate -s 32M disk
	mkfs.ext4 -q disk
	mkdir t
	mount -o loop disk t
	mkdir -p t/var/lib/plyfs/x t/d/lost+found
	run plyfs capture t t/i.plyfs
	first=$status
	run plyfs capture t t/i.plyfs --force
	second=$status
	listing=$(plyfs ls t/i.plyfs)
	below=$(plyfs ls t/i.plyfs -R)
	umount t
	[ "$first $second" = "0 0" ]
	[[ $output == *"left out: /i.plyfs: the image itself"* ]]
	[ "$listing" = "$(printf '%s\n' d var)" ]
	[[ $below == *lost+found* && $below != *plyfs* ]]    # that in d is no file system's
}

@test "an ordinary user: unreadable files are an error with a count; --allow-partial goes on" {
	need_root
	tree
	mkdir -m 700 t/secret
	touch t/secret/x
	install -m 600 /dev/null t/private
	chmod 755 t "$BATS_TEST_TMPDIR"
	install -d -m 777 out
	run -1 setpriv --reuid=65534 --regid=65534 --clear-groups plyfs capture t out/i.plyfs
	[[ $output == *"2 files cannot be read by this user, the first is /"* ]]
	[ -z "$(ls -A out)" ]
	run -0 setpriv --reuid=65534 --regid=65534 --clear-groups plyfs capture t out/i.plyfs --allow-partial
	[[ $output == *"left out: 2 files that this user cannot read"* ]]
	run -0 plyfs ls out/i.plyfs -R
	[[ $output == *secret* && $output != *private* ]]
}

@test "a file that changes while it is read is read again, and told when it does not stop" {
	mkdir t
	head -c 33000000 /dev/urandom >t/busy
	(while :; do printf x | dd of=t/busy bs=1 seek=$((RANDOM * 1000)) conv=notrunc status=none; done) &
	writer=$!
	run plyfs capture t i.plyfs
	kill $writer
	wait $writer || true
	[ "$status" = 0 ]
	[[ $output == *"/busy changed while it was read"* ]]
	run -0 plyfs verify i.plyfs --deep
	[ "$(plyfs cat i.plyfs /busy | wc -c)" = 33000000 ]
}

@test "progress as JSON: each line an object" {
	mkdir t
	for i in $(seq 30); do head -c 2000000 /dev/urandom >"t/$i"; done
	plyfs capture t i.plyfs --level 12 -j 1 --progress=json 2>progress >/dev/null
	while IFS= read -r line; do json 'd["verb"], d["bytes"] <= d["total_bytes"]' <<<"$line"; done <progress |
		grep -q "capture True"
}

@test "output on a full disk is a failure" {
	tree
	run -1 bash -c 'plyfs capture t i.plyfs >/dev/full'
}
