#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs dump: every structure, as text and as JSON, also of damaged images.

# shellcheck disable=SC2154,SC2001,SC2094  # stderr is set by run

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir -p t/etc t/opt/app
	printf hello >t/etc/hello
	head -c 300000 /dev/urandom >t/opt/app/data
	truncate -s 1M t/opt/app/sparse
	printf x | dd of=t/opt/app/sparse bs=1 seek=500000 conv=notrunc status=none
	ln -s hello t/etc/$'new\n"line'
	# shared files, and what is there under a condition
	printf '/bin/sh\n/opt/app/sh\n' >t/etc/shells
	touch t/opt/app/sh
	mkdir -p t/var/cache/apt
	touch t/var/cache/apt/pkgcache.bin
	setfattr -n user.note -v 12 t/etc/hello
	touch -d @-5.5 t/etc/hello
	SOURCE_DATE_EPOCH=1700000000 plyfs capture t i.plyfs -c app='/opt/app/**' >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	image=$BATS_FILE_TMPDIR/i.plyfs
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

@test "all structures are there, and JSON says the same" {
	plyfs dump "$image" >text
	plyfs dump --json "$image" >json
	for what in superblock segment section catalog-head sub segment-ref sub-image node entry \
		extent block owner owner-pair xattr-set xattr component condition shared-file record join-row join-member join-index page-sum \
		page-sum-group; do
		n=$(grep -cE "^$what( [0-9]+)?:" text) || { echo "no $what"; false; }
		[ "$(json "sum(s['what'] == '$what' for s in d['structures'])" <json)" = "$n" ]
	done
	[ "$(json 'd["schema"], d["damaged"]' <json)" = "(1, False)" ]
	# key=value of the text are the members of the objects
	python3 - <<-'END'
	import json, re
	for line, o in zip(open("text"), json.load(open("json"))["structures"]):
	    head, rest = line.rstrip("\n").split(":", 1)
	    what, *index = head.split()
	    assert o.pop("what") == what, line
	    if index:
	        assert o.pop("index") == int(index[0]), line
	    fields = re.findall(r' ([a-z0-9_]+)=("(?:[^"\\]|\\.)*"|[^ ]*)', rest)
	    assert [k for k, _ in fields] == list(o), line
	    for k, v in fields:
	        if v.startswith('"'):
	            v = re.sub(r'\\"', '"', v[1:-1])
	        assert str(o[k]) == v, (line, k)
	END
}

@test "fields of a file" {
	run -0 plyfs dump "$image" os --section=NODES,ENTRIES
	[[ $output == *'mode=100644 kind=inline flags=0 '*'size_bytes=5 mtime_s=-6 mtime_ns=500000000 nlink=1'* ]]
	[[ $output == *'type=8 '*'name="hello"'* ]]
	[[ $output == *'type=10 '*'name="new\n\"line"'* ]]
	[[ $output != *superblock* && $output != *block* ]]
}

@test "--node: a node and all that it refers to" {
	ino=$(plyfs ls --json "$image" /etc/hello | json 'd["entries"][0]["ino"]')
	run -0 plyfs dump --node="$ino" "$image"
	[[ $output == *"node $ino: "*'name="hello"'*'owner-pair'*'kind=user'*'xattr '*'value=3132'* ]]
	ino=$(plyfs ls --json "$image" /opt/app/data | json 'd["entries"][0]["ino"] & (1 << 48) - 1')
	run -0 plyfs dump --node="$ino" "$image" app
	[ "$(grep -c '^block' <<<"$output")" -ge 3 ]
	run -1 plyfs dump --node=99999 "$image"
	[[ $output == *"no node 99999"* ]]
	run -2 plyfs dump --node=x "$image"
}

@test "what depends on a selection" {
	run -0 plyfs dump "$image" os --section=CONDITIONS,SHARED_FILES,RECORDS,COMPONENTS
	[[ $output == *'condition 0: component=1 clause=any ends=condition'* ]]
	[[ $output == *'component 1: '*'name="app"'* ]]
	[[ $output == *'shared-file 0: node='*' driver=14 version=1 form=records first=0 count=1 digest='* ]]
	[[ $output == *'record 0: ordinal=0 condition=0 length_bytes=8 flags=0'* ]]
	[ "$(plyfs dump "$image" os --section=ENTRIES | grep -c 'condition=1 .*name="pkgcache.bin"')" = 1 ]
	ino=$(plyfs ls --json "$image" /etc/shells | json 'd["entries"][0]["ino"]')
	run -0 plyfs dump --node="$ino" "$image"
	[[ $output == *'shared-file 0: '*'record 0: '* ]]
	[ "$(plyfs info --json "$image" | json '[(s["shared_files"], s["records"]) for s in d["sub_images"]]')" = \
		"[(1, 1), (1, 1)]" ]
}

@test "--section: unknown names are told with those that there are" {
	run -2 plyfs dump --section=NODE "$image"
	[[ $output == *"nothing is called NODE"*NODES* ]]
	run -0 plyfs dump --section=super,join_index "$image"
	[[ $output == *superblock*join-index* && $output != *node* ]]
}

@test "the same image, the same text" {
	SOURCE_DATE_EPOCH=1700000000 plyfs capture "$BATS_FILE_TMPDIR/t" again.plyfs -c app='/opt/app/**' >/dev/null
	cmp <(plyfs dump "$image") <(plyfs dump again.plyfs)
}

@test "damage: what is damaged is told in its place, the rest is printed, 4" {
	line=$(plyfs dump "$image" --section=SEGMENT os | grep '^segment')
	seg=$(sed 's/.* off=\([0-9]*\) .*/\1/' <<<"$line")
	meta=$(sed 's/.* meta_off=\([0-9]*\) .*/\1/' <<<"$line")
	cp "$image" bad
	printf X | dd of=bad bs=1 seek=$((seg + meta + 70)) conv=notrunc status=none
	run -4 --separate-stderr plyfs dump bad
	[[ $output == *"node 1: damaged=PAGE_CHECKSUM message="* ]]
	[[ $output == *'name="app"'*superblock* || $output == *superblock*'name="app"'* ]]
	grep -q '^node 2: mode=' <<<"$output"      # of app
	run -4 --separate-stderr plyfs dump --json bad
	[ "$(json 'd["damaged"]' <<<"$output")" = True ]

	cp "$image" bad
	printf X | dd of=bad bs=1 seek=$((seg + 90)) conv=notrunc status=none
	run -4 --separate-stderr plyfs dump bad
	[[ $output == *"sub-image 0: damaged="* ]]

	cp "$image" bad
	printf X | dd of=bad bs=1 seek=60 conv=notrunc status=none
	run -4 --separate-stderr plyfs dump bad
	[[ $output == *"superblock 0: damaged=SUPER_CHECKSUM"*"superblock 1: uuid="* ]]
}

@test "overlays, collisions, and what a machine stands on" {
	PYTHONPATH=$PLYFS_TESTS/lib python3 -c 'import overlay_tree, sys
sys.stdout.buffer.write(overlay_tree.overlays().bytes())' >overlays.plyfs
	run -0 plyfs dump overlays.plyfs --section=ENTRIES,OVERRIDES,COLLISIONS,RELATIONS
	[[ $output == *'entry 4: ref=0:0 type=0 condition=0 '*'name="gone"'* ]]
	[[ $output == *'override 0: node=4 mask=2 digest='* ]]
	[[ $output == *'collision 0: a=1:5 b=2:4 class=conflict why=DELETED flags=513'* ]]
	[[ $output == *'kind=stands-on from=1 group=0 to="os"'* ]]
	run -0 plyfs dump --json overlays.plyfs --section=COLLISIONS
	[ "$(json '[s["class"] for s in d["structures"] if s["what"] == "collision"].count("conflict")' <<<"$output")" = 4 ]
	run -0 plyfs dump --node=5 overlays.plyfs one
	[[ $output == *'node 5: '*'override 1: node=5 mask=2 digest='* ]]
	run -0 plyfs dump --node=8 overlays.plyfs one
	[[ $output != *override* ]]
	run -0 plyfs info overlays.plyfs
	[[ $output == *' one '*'  on os'*' top '*'  on one'* ]]
	run -0 --separate-stderr plyfs info --json overlays.plyfs
	[ "$(json '[(s["flags"], s["stands_on"]) for s in d["sub_images"]][2:]' <<<"$output")" = \
		"[(['overlay'], ['os']), (['overlay'], ['one'])]" ]
}
