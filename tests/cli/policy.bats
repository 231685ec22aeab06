#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is decided where sub-images collide: one policy for mount, layout and the verbs that read; nothing is shown or
# written until everything is decided.

# shellcheck disable=SC2154  # stderr is set by run

bats_require_minimum_version 1.5.0
load ../lib/common
load ../lib/colliding

setup() { ready; }
teardown() { unmount_all m; }

# both OPTION...: mount and layout show the same, in m and t
both()
{
	rm -rf t
	mkdir -p m t
	mounted m i.plyfs "$@"
	plyfs layout i.plyfs t "$@" >/dev/null
	same m t
}

@test "undecided: each verb exits with 3, names what, and touches nothing" {
	golds
	mkdir m t
	for words in "mount i.plyfs m" "layout i.plyfs t" "ls i.plyfs" "cat i.plyfs /etc/hosts" "origin --image=i.plyfs /etc/hosts" \
		"verify i.plyfs --against=t"; do
		# shellcheck disable=SC2086
		run -3 --separate-stderr plyfs $words
		[[ $stderr == *"undecided: /etc/a.json (web, db): JSON"* ]]
		[[ $stderr == *"7 conflicts are not decided"*"see plyfs plan"* ]]
	done
	run ! mountpoint -q m
	[ -z "$(ls -A m)$(ls -A t)" ]
	run -3 --separate-stderr plyfs layout i.plyfs t --json
	[[ $output == *'"reason": "CONFLICT"'*'"exit": 3'* ]]
	# one of them alone needs no decision
	run -0 plyfs cat i.plyfs /etc/a.json -s web
}

@test "more than ten are counted" {
	local g i
	for g in os web db; do machine $g; done
	for g in web db; do for i in {10..22}; do echo "{\"$g\": 1}" >"$g/etc/$i.json"; done; done
	image os web db
	mkdir t
	run -3 plyfs layout i.plyfs t
	[ "$(grep -c 'undecided: /etc/' <<<"$output")" = 10 ]
	[[ $output == *"undecided: 3 more"* ]]
}

@test "first and last, on mount and layout" {
	golds
	decided first
	both --policy p.yaml
	[ "$(cat m/etc/a.json m/etc/foo.d/text)" = $'{"web": 1}\nof web' ]
	[ ! -e m/etc/motd ]
	[ -d m/srv ]
	cmp m/etc/ssl/private/x.key web/etc/ssl/private/x.key
	[ "$(sed -n '1p;$p' m/etc/hosts)" = $'127.0.0.1 localhost web\n10.0.0.2 db' ]
	plyfs umount m
	decided last
	both --policy p.yaml
	[ "$(cat m/etc/a.json m/etc/foo.d/text m/etc/motd m/srv)" = $'{"db": 1}\nof db\ntwo\nfile' ]
	cmp m/usr/bin/tool db/usr/bin/tool
	run -0 plyfs verify i.plyfs --against=t --policy p.yaml
	run -0 plyfs ls i.plyfs /srv --policy p.yaml
	[ "$output" = /srv ]
}

@test "append and keep both" {
	golds
	decided first
	sed -i '/foo.d/,/resolve/s/resolve: .*/resolve: append/; /a.json/,/resolve/s/resolve: .*/resolve: keep-both/' p.yaml
	both --policy p.yaml
	[ "$(cat m/etc/foo.d/text)" = $'of web\nof db' ]
	cmp m/etc/a.json web/etc/a.json
	cmp m/etc/a.json.plyfs-db db/etc/a.json
}

@test "--on-collision=append, alone and behind a policy" {
	local g
	for g in os web db; do machine $g; done
	for g in web db; do echo "of $g" >$g/etc/foo.d/text; done
	image os web db
	mkdir m
	run -3 plyfs mount i.plyfs m
	both --on-collision=append
	[ "$(cat m/etc/foo.d/text)" = $'of web\nof db' ]
	plyfs umount m
	decided last
	both --on-collision=append --policy p.yaml
	[ "$(cat m/etc/foo.d/text)" = 'of db' ]
	plyfs umount m
	sed -i 's/last/fail/' p.yaml
	run -3 plyfs mount i.plyfs m --on-collision=append --policy p.yaml
	[[ $output == *"/etc/foo.d/text (web, db): the policy says fail"* ]]
	run ! mountpoint -q m
}

@test "a stale entry is an error with both digests, in every verb" {
	golds
	decided first
	local was now line
	was=$(sha256sum <web/etc/a.json | cut -d ' ' -f 1)
	plyfs remove i.plyfs web >/dev/null
	echo '{"web": 2}' >web/etc/a.json
	now=$(sha256sum <web/etc/a.json | cut -d ' ' -f 1)
	plyfs add i.plyfs web web >/dev/null
	line=$(grep -n -A1 'path: /etc/a.json' p.yaml | tail -n 1 | cut -d - -f 1)
	mkdir m t
	for words in "plan i.plyfs" "mount i.plyfs m" "layout i.plyfs t" "ls i.plyfs" "cat i.plyfs /etc/hosts" \
		"origin --image=i.plyfs /etc/hosts" "verify i.plyfs --against=t"; do
		# shellcheck disable=SC2086
		run -1 --separate-stderr plyfs $words --policy p.yaml
		[[ $stderr == *"p.yaml:$line:"*": the entry is stale: it was made for web's /etc/a.json with sha256:$was, which is now sha256:$now"* ]]
	done
	run ! mountpoint -q m
	[ -z "$(ls -A t)" ]
	run -1 --separate-stderr plyfs plan i.plyfs --policy p.yaml --json
	[[ $output == *'"reason": "POLICY_STALE"'* ]]
}

@test "one file serves several selections" {
	golds
	machine log
	echo '{"log": 1}' >log/etc/a.json
	plyfs add i.plyfs log log >/dev/null
	decided last
	run -0 --separate-stderr plyfs cat i.plyfs /etc/a.json --policy p.yaml
	[ "$output" = '{"log": 1}' ]
	run -0 --separate-stderr plyfs cat i.plyfs /etc/a.json -s web,db --policy p.yaml
	[ "$output" = '{"db": 1}' ]
	run -0 --separate-stderr plyfs cat i.plyfs /etc/a.json -s web,log --policy p.yaml
	[ "$output" = '{"log": 1}' ]
	[[ $stderr == *"entries are about nothing that collides in this selection"* ]]
	# made for two, and now there are three
	plyfs plan i.plyfs -s web,db --write p.yaml >/dev/null || [ $? = 3 ]
	sed -i 's/undecided/first/' p.yaml
	run -1 plyfs ls i.plyfs --policy p.yaml
	[[ $output == *"the entry is stale: log holds /etc/a.json too"* ]]
}

@test "what is wrong with a policy is told by file, line and column: 1" {
	golds
	local text
	while IFS='|' read -r text where; do
		printf '%b' "$text" >p.yaml
		run -1 --separate-stderr plyfs ls i.plyfs --policy p.yaml
		[[ $stderr == *"p.yaml:$where"* ]] || { echo "$text: $stderr"; false; }
	done <<'END'
version: 1\nconflicts: [\n|3:1: 
version: 3\n|1:10: version: found '3', allowed is 1
version: 1\nconflict: []\n|2:1: unknown key 'conflict' in the policy; allowed are: version conflicts
version: 1\nconflicts:\n  - path: /a\n    resolve: maybe\n|4:14: resolve: found 'maybe', allowed are first, last, append
version: 1\nconflicts:\n  - path: [/a]\n|3:11: path must be a word, found a list
version: 1\nconflicts:\n  - {path: /a, resolve: first, of: {nobody: deleted}}\n|3:45: of: there is no sub-image 'nobody'; there are: os, web, db
version: 1\nconflicts:\n  - {glob: /etc/*, resolve: first}\n  - {glob: /etc/a*, resolve: last}\n|4:5: /etc/a.json has an entry at line 3 already
END
}

@test "origin on a mount: how it was decided, and each block's origin" {
	golds
	decided last
	mkdir m
	mounted m i.plyfs --policy p.yaml
	# a later generation is not the mount's
	machine log
	echo log >log/etc/hosts
	plyfs add i.plyfs log log >/dev/null
	run -0 plyfs origin m/etc/a.json
	[[ $output == *": db (generation 3)"*"collision: conflict: JSON, decided: last"* ]]
	run -0 plyfs origin m/etc/hosts
	[[ $output == *"web changes content of os's"*"db changes content of os's"*"collision: three-way"* ]]
	[[ $output == *"web: bytes 0 to 23"*"os: bytes 24 to 39"*"db: bytes 40 to 51"* ]]
	run -0 plyfs origin --json m/etc/hosts
	python3 -c 'import json, sys; p, = json.loads(sys.argv[1])["paths"]
assert [b["of"] for b in p["blocks"]] == ["web", "os", "db"] and sum(b["bytes"] for b in p["blocks"]) == 52, p
assert p["collision"] == {"class": "three-way", "why": None, "decision": None}, p
assert [o["sub_image"] for o in p["overrides"]] == ["web", "db"], p' "$output"
	run -0 plyfs origin --image=i.plyfs@3 /etc/a.json --policy p.yaml
	[[ $output == *"decided: last"* ]]
	run -2 plyfs origin m/etc/a.json --policy p.yaml
}

@test "the daemon takes decisions as pairs, and no others" {
	golds
	mkdir m
	local fuse=$PLYFS_BUILD/libexec/plyfs/plyfs-fuse
	printf '1 2 x 0\n' >lines
	run -1 "$fuse" --decisions 7 i.plyfs m 7<lines
	[[ $output == *"--decisions: line 1 is none"* ]]
	printf '1000000000007 2000000000007 1 0\n' >lines
	run -1 "$fuse" --decisions 7 i.plyfs m 7<lines
	run ! mountpoint -q m
	run -1 "$fuse" --generation 9 i.plyfs m
	run ! mountpoint -q m
	# nor those of an image that had its name before
	run -1 "$fuse" --generation 3 --uuid 00112233445566778899aabbccddeeff i.plyfs m
	[[ $output == *"i.plyfs: the image was replaced meanwhile; try again"* ]]
	run -1 "$fuse" --uuid 0011 i.plyfs m
	[[ $output == *"usage: "* ]]
	run ! mountpoint -q m
}

@test "first and last of a file that is merged by records settle what clashes; the rest is merged" {
	mkdir -p b/etc
	echo 'a:x:1:1::/:/a' >b/etc/passwd
	cp -a b one
	cp -a b two
	printf 'a:x:1:1::/:/b\nx:x:101:101::/:/x\n' >one/etc/passwd
	printf 'a:x:1:1::/:/c\ny:x:102:102::/:/y\n' >two/etc/passwd
	plyfs capture b i.plyfs
	plyfs add i.plyfs one one
	plyfs add i.plyfs two two
	run -3 plyfs cat i.plyfs /etc/passwd
	run -3 plyfs plan i.plyfs --write p.yaml
	sed 's/resolve: undecided/resolve: first/' p.yaml >first.yaml
	sed 's/resolve: undecided/resolve: last/' p.yaml >last.yaml
	plyfs cat i.plyfs /etc/passwd --policy first.yaml | diff - <(printf '%s\n' a:x:1:1::/:/b x:x:101:101::/:/x y:x:102:102::/:/y)
	plyfs cat i.plyfs /etc/passwd --policy last.yaml | diff - <(printf '%s\n' a:x:1:1::/:/c x:x:101:101::/:/x y:x:102:102::/:/y)
	mkdir o
	plyfs layout i.plyfs o --policy last.yaml --no-sync
	plyfs cat i.plyfs /etc/passwd --policy last.yaml | cmp - o/etc/passwd
}
