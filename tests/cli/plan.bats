#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs plan: what collides and what comes of it, for people and for programs; policies that it writes; questions.

# shellcheck disable=SC2154  # stderr is set by run

bats_require_minimum_version 1.5.0
load ../lib/common
load ../lib/colliding
load ../lib/terminal

setup() { ready; }

# asked KEYS ARGUMENT...: plan at a terminal
asked() { at_terminal "$1" plyfs plan "${@:2}"; }

@test "an image of one machine has no collisions: 0" {
	machine os
	image os
	run -0 plyfs plan i.plyfs
	[ "$output" = "no collisions" ]
	run -0 plyfs plan i.plyfs --write -
	[[ $output == *"conflicts: []"* ]]
	echo "$output" >p.yaml
	run -0 plyfs plan i.plyfs --policy p.yaml
}

@test "the table: what is undecided first, a certificate with its key, 80 columns; 3" {
	golds
	run -3 plyfs plan i.plyfs
	[[ ${lines[0]} == "CLASS "*"SUB-IMAGES "* ]]
	[[ ${lines[1]} == "conflict "*" web, db "*"undecided: JSON" && ${lines[2]} == "  /etc/a.json" ]]
	[[ $output == *"/etc/ssl/certs/x.pem"$'\n'"  /etc/ssl/private/x.key"* ]]
	[[ $output == *$'three-way  web, db                both changes are merged\n  /etc/hosts'* ]]
	[[ $output == *"web overrides 1 file of what it stands on: content 1; deletes 1"* ]]
	[[ ${lines[-2]} == "conflict 7, three-way 1; undecided: 7" ]]
	[ -z "$(awk 'length > 80' <<<"$output")" ]
	run ! grep ' $' <<<"$output"
	run -0 plyfs plan i.plyfs -s web
	[[ $output == *"no collisions" ]]
}

@test "--all lists overrides and what is deleted, with whose it was" {
	golds
	run -3 plyfs plan i.plyfs --all
	[[ $output == *$'web changes content of os\'s\n  /etc/hosts\nweb deletes os\'s\n  /etc/motd\n'* ]]
	[[ $output == *$'db changes content of os\'s\n  /etc/motd\n'* ]]
}

@test "--json: contenders with what they have, classes, what is possible" {
	golds
	run -3 --separate-stderr plyfs plan i.plyfs --json --all
	python3 - "$output" <<'END'
import hashlib, json, sys
d = json.loads(sys.argv[1])
assert d["schema"] == 1 and d["generation"] == 3 and d["selected"] == ["os", "web", "db"] and d["undecided"] == 7, d
items = {i["path"]: i for i in d["items"]}
a = items["/etc/a.json"]
assert (a["class"], a["why"], a["decision"], a["appendable"]) == ("conflict", "JSON", "undecided", False), a
assert a["differs"][0] == "content" and a["possible"] == ["first", "last", "keep-both"]
assert [c["sub_image"] for c in a["contenders"]] == ["web", "db"]
for c in a["contenders"]:
    data = open(c["sub_image"] + "/etc/a.json", "rb").read()
    assert c["content"] == "sha256:" + hashlib.sha256(data).hexdigest() and c["size_bytes"] == len(data)
    assert c["type"] == "file" and c["mode"] == "0644", c
assert items["/etc/hosts"]["class"] == "three-way" and items["/etc/hosts"]["decision"] is None
assert items["/etc/motd"]["contenders"][0]["content"] == "deleted" and "type" not in items["/etc/motd"]["contenders"][0]
assert items["/srv"]["contenders"][0]["content"] == "directory" and items["/srv"]["possible"] == ["first", "last"]
assert items["/etc/ssl/certs/x.pem"]["set"] == items["/etc/ssl/private/x.key"]["set"]
assert {"sub_image": "web", "path": "/etc/motd", "changes": [], "deletes": True, "of": "os"} in d["overrides"]
assert [o["sub_image"] for o in d["overlays"]] == ["web", "db"]
END
	decided last
	run -0 --separate-stderr plyfs plan i.plyfs --json --policy p.yaml
	python3 -c 'import json, sys; d = json.loads(sys.argv[1])
assert d["undecided"] == 0 and {i["decision"] for i in d["items"]} == {"last", None}, d' "$output"
}

@test "--write: what is undecided is marked, and what was decided stays" {
	golds
	run -3 plyfs plan i.plyfs --write p.yaml
	[ "$(grep -c 'resolve: undecided' p.yaml)" = 6 ]
	grep -q '^  # JSON; possible: first, last, keep-both$' p.yaml
	run -3 plyfs plan i.plyfs --policy p.yaml
	sed -i '0,/undecided/s//last/' p.yaml
	printf '  - glob: /etc/foo.d/*\n    resolve: first\n  - glob: /nothing/*\n    resolve: {driver: passwd}\n' >more.yaml
	grep -v foo.d/text p.yaml | python3 -c '
import sys
text = sys.stdin.read().split("  # ")
print("  # ".join(t for t in text if t.count("path") or not t.startswith("a format")), end="")' >q.yaml
	cat more.yaml >>q.yaml
	run -3 plyfs plan i.plyfs --policy q.yaml --write r.yaml
	[[ $output == *"the entry for /nothing/* is about nothing that collides"* ]]
	grep -A1 "glob: '/nothing" r.yaml | grep -q 'resolve: {driver: passwd}'
	[ "$(grep -c 'resolve: undecided' r.yaml)" = 4 ]
	[ "$(grep -c 'resolve: last' r.yaml)" = 1 ]
	# the same again
	plyfs plan i.plyfs --policy r.yaml --write - 2>/dev/null >again || [ $? = 3 ]
	diff r.yaml again
	sed -i 's/undecided/first/' r.yaml
	run -0 plyfs plan i.plyfs --policy r.yaml
	[[ $output == *"nothing is undecided" ]]
}

@test "--write replaces a file only by a whole one" {
	golds
	mkdir d
	echo old >d/p.yaml
	chmod 640 d/p.yaml
	ln -s d/p.yaml link
	run -3 plyfs plan i.plyfs --write link
	[ -L link ]
	grep -q undecided d/p.yaml
	[ "$(stat -c %a d/p.yaml)" = 640 ]
	[ "$(ls d)" = p.yaml ]
	run -1 plyfs plan i.plyfs --write no/p.yaml
	[[ $output == *"cannot write no/p.yaml"* ]]
	[ -c /dev/full ] || return 0
	run -1 bash -c 'plyfs plan i.plyfs --write - >/dev/full'
}

@test "--show: the differences, and the result with the origin of each line" {
	golds
	run -3 plyfs plan i.plyfs --show /etc/hosts
	[ "${lines[0]}" = '/etc/hosts: three-way; different: content' ]
	[[ $output == *$'--- base:/etc/hosts\n+++ web:/etc/hosts\n@@ -1,4 +1,4 @@\n-127.0.0.1 localhost\n+127.0.0.1 localhost web\n'* ]]
	[[ $output == *$'--- base:/etc/hosts\n+++ db:/etc/hosts\n@@ -3,3 +3,4 @@\n'* ]]
	[[ $output == *$'  web        127.0.0.1 localhost web\n  os         # 1\n'*$'  db         10.0.0.2 db' ]]
	run -3 plyfs plan i.plyfs --show usr/bin/tool
	[[ $output == *"web:/usr/bin/tool: sha256:"*"db:/usr/bin/tool: sha256:"*"undecided: binary files"* ]]
	[[ $output == *"possible: first, last, keep-both" ]]
	run -3 plyfs plan i.plyfs --show /etc/foo.d/text
	[[ $output == *$'--- web:/etc/foo.d/text\n+++ db:/etc/foo.d/text\n@@ -1,1 +1,1 @@\n-of web\n+of db\n'* ]]
	run -3 plyfs plan i.plyfs --show /srv
	[[ $output == *"web:/srv: directory"* ]]
	decided last
	run -0 plyfs plan i.plyfs --policy p.yaml --show /etc/motd
	[[ $output == *"web:/etc/motd: deleted"*"decided: last, db's"* ]]
	run -1 plyfs plan i.plyfs --show /usr/bin/sh
	[[ $output == *"/usr/bin/sh: no sub-images of this selection collide there"* ]]
}

@test "--on-collision=append decides what may be appended, and nothing else" {
	golds
	run -3 plyfs plan i.plyfs --on-collision=append
	[[ $output == *$'decided: append (--on-collision)\n  /etc/foo.d/text'* ]]
	[[ $output == *"undecided: JSON"* ]]
	run -2 plyfs plan i.plyfs --on-collision=last
	[[ ${lines[0]} == *"takes append, not 'last'"* ]]
}

# stanza NAME VERSION
stanza() { printf 'Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\nDescription: x\n\n' "$1" "$2"; }

@test "a package of which both have another version is one decision that names it" {
	local g v info=var/lib/dpkg/info
	for g in os:1.0 web:1.1 db:1.2; do
		v=${g#*:} g=${g%:*}
		machine "$g"
		mkdir -p "$g/$info" "$g/usr/lib"
		{ stanza libssl3 "$v"; stanza other 7; } >"$g/var/lib/dpkg/status"
		printf '/.\n/lib/libssl.so.3\n/usr/lib/libcrypto.so.3\n' >"$g/$info/libssl3:amd64.list"
		printf '/.\n/etc/one.json\n/etc/two.json\n' >"$g/$info/other.list"
		echo "$v" >"$g/$info/libssl3:amd64.md5sums"
		printf '\0%s' "$v" | tee "$g/usr/lib/libssl.so.3" "$g/usr/lib/libcrypto.so.3" >"$g/usr/lib/unowned"
		echo "{\"$v\": 1}" | tee "$g/etc/one.json" >"$g/etc/two.json"
	done
	image os web db
	run -3 plyfs plan i.plyfs
	[[ $output == *"           libssl3:amd64 1.1 (web), 1.2 (db)
  /usr/lib/libcrypto.so.3
  /usr/lib/libssl.so.3
  /var/lib/dpkg/info/libssl3:amd64.md5sums
  /var/lib/dpkg/status
"* ]]
	run -3 plyfs plan i.plyfs --write p.yaml
	# conffiles of one version, and what is of no package, stand alone
	[ "$(grep -c 'resolve: undecided' p.yaml)" = 4 ]
	grep -q "^    package: 'libssl3:amd64'$" p.yaml
	grep -q '# libssl3:amd64 1.1 (web), 1.2 (db); possible: first, last$' p.yaml
	sed -i 's/undecided/last/' p.yaml
	run -0 plyfs plan i.plyfs --policy p.yaml
	run -0 plyfs cat i.plyfs /var/lib/dpkg/status --policy p.yaml
	[[ $output == *"Version: 1.2"* && $output != *"Version: 1.1"* ]]
}

@test "any name comes back from a policy" {
	local g name=$'odd \'"\\ #: \xff\n\xe2\x80\xa8.json'
	for g in os web db; do machine $g; done
	for g in web db; do echo "{\"$g\": 2}" >"$g/etc/$name"; done
	image os web db
	decided last
	run -0 plyfs plan i.plyfs --policy p.yaml
	[[ $output == *"decided: last, db's"* ]]
	run -0 plyfs cat i.plyfs "/etc/$name" --policy p.yaml
	[ "$output" = '{"db": 2}' ]
}

@test "--ask: each answer, help, the end of the input; the policy is saved" {
	golds
	run -3 asked '?\nd\na\nf\na\n\nk\nl\nz\ns\n' i.plyfs --ask --policy p.yaml
	[[ $output == *"Conflict 1 of 6: web, db: undecided: JSON"* ]]
	[[ $output == *"f  first: take web's"* && $output == *"--- web:/etc/a.json"* ]]
	[[ $output == *"that is not possible here"* ]]
	grep -A2 'path: /etc/a.json' p.yaml | grep -q 'resolve: first'
	grep -A2 'path: /etc/foo.d/text' p.yaml | grep -q 'resolve: append'
	grep -A2 'path: /etc/motd' p.yaml | grep -q 'resolve: undecided'
	[ "$(grep -c 'resolve: keep-both' p.yaml)" = 1 ]      # the certificate and its key
	grep -A2 'path: /srv' p.yaml | grep -q 'resolve: last'
	# the rest, another day
	run -0 asked 'l\nl\n' i.plyfs --ask --policy p.yaml --write q.yaml
	[[ $output == *"Conflict 2 of 2: "* ]]
	run ! grep -q undecided q.yaml
	run -0 asked '\x04' i.plyfs --ask --policy q.yaml
	[[ $output == *"nothing is undecided"* ]]
	rm p.yaml
	run -3 asked '\x04' i.plyfs --ask --policy p.yaml
	[ "$(grep -c undecided p.yaml)" = 6 ]
}

@test "a glob claims what it decides, and nothing else" {
	golds
	printf 'version: 1\nconflicts:\n  - glob: /**\n    resolve: keep-both\n' >p.yaml
	# what one of them deletes, and what is a directory, is left
	run -0 asked 'l\nl\n' i.plyfs --ask --policy p.yaml
	[[ $output == *"Conflict 2 of 2: "* ]]
	run -0 plyfs plan i.plyfs --policy p.yaml
	grep -A2 'path: /etc/motd' p.yaml | grep -q 'resolve: last'
	grep -A2 'path: /srv' p.yaml | grep -q 'resolve: last'
	printf 'version: 1\nconflicts:\n  - glob: /etc/*\n    resolve: undecided\n' >p.yaml
	run -3 plyfs plan i.plyfs --policy p.yaml --write q.yaml
	run -3 plyfs plan i.plyfs --policy q.yaml
	[[ $output == *"undecided: 7"* ]]
	grep -q 'path: /etc/a.json' q.yaml
}

@test "versions and packages are as hostile as the machine: no line of them is YAML's, or the terminal's" {
	local g v info=var/lib/dpkg/info odd=$'\r  - x\e[2J\xc2\x85  - y\xe2\x80\xa8  - z'
	for g in os:1.0 web:1.1 db:1.2; do
		v=${g#*:} g=${g%:*}
		machine "$g"
		mkdir -p "$g/$info" "$g/usr/lib"
		{ stanza libssl3 "$v$odd"; stanza other 7; } >"$g/var/lib/dpkg/status"
		printf '/.\n/usr/lib/libssl.so.3\n' >"$g/$info/libssl3:amd64.list"
		printf '/.\n' >"$g/$info/other.list"
		printf '\0%s' "$v" >"$g/usr/lib/libssl.so.3"
	done
	image os web db
	run -3 --separate-stderr plyfs plan i.plyfs
	[[ $output == *'libssl3:amd64 1.1\r  - x\x1b[2J\xc2\x85  - y\xe2\x80\xa8  - z (web), 1.2\r'* ]]
	run ! grep -q $'[\r\e]' <<<"$output"
	run -3 --separate-stderr plyfs plan i.plyfs --json
	python3 -c 'import json, sys; v = {i.get("versions") for i in json.loads(sys.argv[1])["items"]}
assert any(s and r"1.1\r  - x\x1b[2J" in s for s in v), v' "$output"
	decided last
	run -0 plyfs plan i.plyfs --policy p.yaml
}

@test "any target of a symlink comes back from a policy, and the root directory" {
	local g
	for g in os web db; do machine $g; done
	for g in web db; do
		ln -s "$g"$'/odd \'"\\ #: \xff\n\r\e\xc2\x85\xe2\x80\xa8\xef\xbb\xbf' $g/etc/link
		ln -s "$g/é – ü" $g/etc/other
	done
	chmod 700 web
	chmod 711 db
	image os web db
	decided last
	grep -q 'path: /$' p.yaml
	run -0 plyfs plan i.plyfs --policy p.yaml
	[[ $output == *"conflict 3; nothing is undecided" ]]
	run -0 plyfs plan i.plyfs --policy p.yaml --write q.yaml
	run -0 plyfs plan i.plyfs --policy q.yaml
	mkdir t
	plyfs layout i.plyfs t --policy q.yaml --no-sync >/dev/null
	[ "$(readlink t/etc/link | sha256sum)" = "$(readlink db/etc/link | sha256sum)" ]
	[ "$(stat -c %a t)" = 711 ]
}

@test "paths longer than YAML looks ahead" {
	local g dir long
	long=$(printf '%0220d' 0)
	dir=srv/$long/$long/$long/$long/$long
	for g in os web db; do machine $g; done
	for g in web db; do
		mkdir -p "$g/$dir"
		for f in x.key x.pem; do
			printf -- '-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n' $g >"$g/$dir/$f"
		done
	done
	image os web db
	decided last
	grep -q '^  - paths:' p.yaml
	run -0 plyfs plan i.plyfs --policy p.yaml
	run -0 plyfs plan i.plyfs --policy p.yaml --write q.yaml
	cmp <(grep -v '^ *#' p.yaml) <(grep -v '^ *#' q.yaml)
}

@test "what an overlay hides of another collides with nothing" {
	machine os
	for g in one two three; do cp -a os $g; done
	echo 1 >one/etc/x
	echo 2 >two/etc/x
	cp -p two/etc/x three/etc/x
	image os one
	plyfs add i.plyfs two two --on one
	plyfs add i.plyfs three three
	run -3 plyfs plan i.plyfs -s one,three
	run -0 --separate-stderr plyfs plan i.plyfs --json
	python3 - "$output" <<'END'
import json, sys
d = json.loads(sys.argv[1])
assert d["undecided"] == 0 and not [i for i in d["items"] if i["path"] == "/etc/x"], d
END
	[ "$(plyfs cat i.plyfs /etc/x)" = 2 ]
	mkdir l
	plyfs layout i.plyfs l
	# one more that differs: the hidden one is no contender
	echo 4 >os/etc/x
	plyfs add i.plyfs four os
	run -3 --separate-stderr plyfs plan i.plyfs --json
	python3 - "$output" <<'END'
import json, sys
d = json.loads(sys.argv[1])
x, = [i for i in d["items"] if i["path"] == "/etc/x"]
assert [c["sub_image"] for c in x["contenders"]] == ["two", "three", "four"], x
END
	run -3 plyfs cat i.plyfs /etc/x
	decided last
	[ "$(plyfs cat i.plyfs /etc/x --policy p.yaml)" = 4 ]
}

@test "wrong usage: 2" {
	golds
	run -2 plyfs plan i.plyfs --ask
	[[ ${lines[0]} == *"needs a file to save to"* ]]
	run -2 plyfs plan i.plyfs --ask --policy p.yaml </dev/null
	[[ ${lines[0]} == *"needs a terminal"* ]]
	run -2 plyfs plan i.plyfs --ask --policy p.yaml --json
	run -2 plyfs plan i.plyfs --show /etc --json
	run -2 plyfs plan i.plyfs --write - --json
	run -1 plyfs plan i.plyfs --policy no.yaml
	[[ $output == *"cannot read no.yaml"* ]]
	run -1 plyfs plan i.plyfs -s nobody
}
