#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Components on small made-up machines: closure, rules, manifests, components by path, bad input.

# shellcheck disable=SC2154  # stderr is set by run

load ../lib/common
bats_require_minimum_version 1.5.0

setup()
{
	cd "$BATS_TEST_TMPDIR" || exit 1
	r=$PWD/root
	mkdir -p "$r"/{etc/systemd/system,usr/bin,usr/lib/systemd/system,var/lib/{apt,dpkg/{info,alternatives}},opt,usr/local}
	: >"$r/var/lib/dpkg/status"
	: >"$r/var/lib/apt/extended_states"
	printf '%s\n' root:x:0:0::/root:/bin/sh >"$r/etc/passwd"
	printf '%s\n' root:x:0: >"$r/etc/group"
}

# pkg NAME auto|manual FIELDS FILE...: a package; FIELDS are lines of its stanza
pkg()
{
	local name=$1 mark=$2 fields=$3 file
	shift 3
	printf 'Package: %s\nStatus: %s\nArchitecture: all\nVersion: 1\n%s\n' "$name" "${STATUS:-install ok installed}" \
		"${fields:+$fields
}" >>"$r/var/lib/dpkg/status"
	[ "$mark" = manual ] || printf 'Package: %s\nArchitecture: all\nAuto-Installed: 1\n\n' "$name" >>"$r/var/lib/apt/extended_states"
	for file; do
		mkdir -p "$(dirname "$r$file")"
		[ -e "$r$file" ] || echo "$name" >"$r$file"
	done
	{
		echo /.
		for file; do
			printf '%s\n' "$file"
			while file=${file%/*} && [ -n "$file" ]; do printf '%s\n' "$file"; done
		done
	} | sort -u >"$r/var/lib/dpkg/info/$name.list"
}

# the component of each PATH: $owner
owner() { plyfs capture -n "$r" "${want[@]}" --list 2>/dev/null | awk -F '\t' -v p="$1" '$2 == p { print $1 }'; }
is() { [ "$(owner "$2")" = "$1" ] || { echo "$2 is of '$(owner "$2")', not of $1"; false; }; }

# "name packages requires" of each component, from --json
shape()
{
	plyfs capture -n "$r" "${want[@]}" --json | python3 -c '
import json, sys
for c in json.load(sys.stdin)["components"]:
    print(c["name"] + ":", *[p["name"] for p in c["packages"]], *[">" + "|".join(g) for g in c["requires"]])'
}

web()
{
	pkg base manual 'Priority: required' /usr/bin/sh
	pkg web manual 'Depends: web-data, lib' /usr/bin/web /usr/lib/systemd/system/web.service
	pkg web-data auto 'Source: web' /usr/share/web/data
	pkg lib auto '' /usr/lib/lib.so
	pkg db manual 'Depends: db-core, lib' /usr/bin/db
	pkg db-core auto 'Source: db' /usr/bin/db-core
	want=(-c web=web -c db=db)
}

@test "what one needs is its own, what two need is an internal component, selected with them" {
	web
	[ "$(shape)" = "os: base
db+web: lib
web: web web-data >db+web
db: db db-core >db+web" ]
	is web /usr/bin/web
	is db+web /usr/lib/lib.so
	is os /usr/bin/sh
	plyfs capture "$r" i.plyfs "${want[@]}" >/dev/null
	plyfs ls i.plyfs -R -s web >all
	grep -q lib.so all
	run ! grep -q db-core all
}

@test "what the others require takes what they share" {
	web
	pkg site manual 'Depends: web, lib' /usr/bin/site
	want=(-c site=site -c web=web -c db=db)
	[ "$(shape)" = "os: base
db+web: lib
web: web web-data >db+web
site: site >db+web >web
db: db db-core >db+web" ]
	want=(-c site=site -c web=web -c os=db)
	[ "$(shape)" = "os: base lib db db-core
web: web web-data
site: site >web" ]
}

@test "files of no package: links, drop-ins, backups, pyc, users, scripts, names, alternatives" {
	web
	printf '%s\n' webby:x:120:120::/nonexistent:/bin/false >>"$r/etc/passwd"
	printf '%s\n' webby:x:120: >>"$r/etc/group"
	printf '%s\n' 'adduser --system webby' 'mkdir /srv/spool-of-web' >"$r/var/lib/dpkg/info/web.postinst"
	mkdir -p "$r"/etc/systemd/system/{multi-user.target.wants,web.service.d} "$r"/var/lib/{state,db} \
		"$r/usr/share/web/__pycache__" "$r/etc/alternatives" "$r"/var/lib/systemd/deb-systemd-helper-enabled
	touch "$r/usr/share/web/data.dpkg-old" "$r/usr/share/web/mod.py" "$r/etc/systemd/system/web.service.d/x.conf" \
		"$r/usr/share/web/__pycache__/mod.cpython-311.pyc" "$r/etc/webrc" "$r/var/lib/db/table" \
		"$r/var/lib/systemd/deb-systemd-helper-enabled/web.service.dsh-also" "$r/etc/unclaimed"
	printf '/usr/share/web/mod.py\n' >>"$r/var/lib/dpkg/info/web-data.list"
	ln -s /usr/lib/systemd/system/web.service "$r/etc/systemd/system/multi-user.target.wants/web.service"
	ln -s /dev/null "$r/etc/systemd/system/db.service"
	touch "$r/usr/lib/systemd/system/db.service"
	printf '/usr/lib/systemd/system/db.service\n' >>"$r/var/lib/dpkg/info/db.list"
	printf 'auto\n/usr/bin/ed\n\n/usr/bin/web\n50\n/usr/bin/sh\n10\n\n' >"$r/var/lib/dpkg/alternatives/ed"
	printf 'auto\n/usr/bin/srv\n\n/usr/bin/web\n50\n\n' >"$r/var/lib/dpkg/alternatives/srv"
	ln -s /usr/bin/web "$r/etc/alternatives/ed"
	ln -s /usr/bin/web "$r/etc/alternatives/srv"
	ln -s /etc/alternatives/ed "$r/usr/bin/ed"
	ln -s /etc/alternatives/srv "$r/usr/bin/srv"
	plyfs capture -n "$r" "${want[@]}" --list >list 2>told
	while read -r comp path; do
		grep -qxP "\Q$comp\E\t\Q$path\E" list || { grep -P "\t\Q$path\E$" list; echo "expected $comp $path"; false; }
	done <<-'END'
		web /etc/systemd/system/multi-user.target.wants/web.service
		web /etc/systemd/system/web.service.d/x.conf
		web /etc/systemd/system/web.service.d
		web /usr/share/web/data.dpkg-old
		web /usr/share/web/__pycache__/mod.cpython-311.pyc
		web /usr/share/web/__pycache__
		web /var/lib/systemd/deb-systemd-helper-enabled/web.service.dsh-also
		db /etc/systemd/system/db.service
		db /var/lib/db
		db /var/lib/db/table
		os /etc/alternatives/ed
		os /usr/bin/ed
		web /etc/alternatives/srv
		web /usr/bin/srv
		os /etc/unclaimed
	END
	grep -q "taken by no rule: /etc/unclaimed" told
	run ! grep -q "/var/lib/db" told
}

@test "a user belongs to the component whose script makes it, and so do its files" {
	need_root || skip "$SKIP"
	web
	printf '%s\n' webby:x:120:120::/nonexistent:/bin/false people:x:1000:1000::/home/p:/bin/sh >>"$r/etc/passwd"
	printf '%s\n' webby:x:120: people:x:1000: >>"$r/etc/group"
	printf '%s\n' 'adduser --system webby' 'adduser people' >"$r/var/lib/dpkg/info/web.postinst"
	mkdir -p "$r"/var/{spool/queue,spool/theirs}
	touch "$r/var/spool/queue/1"
	chown -R 120:120 "$r/var/spool/queue"
	chown 1000:1000 "$r/var/spool/theirs"
	is web /var/spool/queue
	is web /var/spool/queue/1
	is os /var/spool/theirs
}

@test "a manifest: components, rules of its own, and os" {
	web
	touch "$r/etc/special" "$r/opt/tool"
	cat >m.yaml <<-'END'
		version: 1
		components:
		  web: {packages: [web], summary: "the web server"}
		  tool:
		    paths: [/opt/tool]
		  os: {packages: [db]}
		rules:
		  - {path: "/etc/spec*", to: web}
	END
	want=(-m m.yaml)
	[ "$(shape)" = "os: base lib db db-core
web: web web-data
tool:" ]
	is web /etc/special
	is tool /opt/tool
	is os /usr/bin/db
	plyfs capture "$r" i.plyfs -m m.yaml >/dev/null
	plyfs info i.plyfs --json | python3 -c '
import json, sys
subs = json.load(sys.stdin)["sub_images"]
assert [s["name"] for s in subs] == ["os", "web", "tool"], subs
assert subs[1]["summary"] == "the web server"'
}

# refuse REASON "text" YAML: told at a place of the file
refuse()
{
	local reason=$1 says=$2
	printf '%s' "$3" >bad.yaml
	run -1 --separate-stderr plyfs capture -n "$r" -m bad.yaml --json
	[[ $output == *"\"$reason\""* ]] || { echo "$output"; false; }
	[[ $stderr == *"bad.yaml:$says"* ]] || { echo "$stderr"; false; }
}

@test "a bad manifest is told with line, column, what was found and what is allowed" {
	web
	refuse MANIFEST_KEY "2:1: unknown key 'componets' in the manifest; allowed are: version components rules" $'version: 1\ncomponets: {}\n'
	refuse MANIFEST_KEY "3:5: unknown key 'package' in a component" $'components:\n  a:\n    package: [web]\n'
	refuse MANIFEST_VALUE "3:15: packages must be a list, found a word" $'components:\n  a:\n    packages: web\n'
	refuse MANIFEST_VALUE "2:6: a component must be a mapping, found a list" $'components:\n  a: [web]\n'
	refuse MANIFEST_VALUE "1:10: version: found '2', allowed is 1" $'version: 2\n'
	refuse MANIFEST_VALUE "2:22: packages: found '/x'" $'components:\n  a: {packages: [web,/x]}\n'
	refuse SUB_NAME "2:3: 'A' is no name" $'components:\n  A: {packages: [web]}\n'
	refuse MANIFEST_SYNTAX "3:1: " $'components:\n  a: {packages: [web]\n'
	refuse MANIFEST_SYNTAX "1:13: anchors" $'components: &x {}\n'
	refuse MANIFEST_SYNTAX "3:3: key 'a' stands twice" $'components:\n  a: {packages: [web]}\n  a: {packages: [db]}\n'
	refuse MANIFEST_KEY "2:5: a rule must say where" $'rules:\n  - {path: "/x"}\n'
	refuse MANIFEST_VALUE "2:20: by must be a list" $'rules:\n  - {path: /x, by: parent}\n'
	refuse MANIFEST_VALUE "2:21: by: found 'magic', allowed are: target" $'rules:\n  - {path: /x, by: [magic]}\n'
	refuse MANIFEST_VALUE "2:12: path must begin with a slash" $'rules:\n  - {path: x, to: os}\n'
	refuse MANIFEST_VALUE "2:15: component a: a pattern of 5001 bytes, allowed are 4096" $'components:\n  a: {paths: ['"/$(printf '%05000d' 0)]}"
	refuse MANIFEST_VALUE "2:12: path: found a pattern of 5001 bytes, allowed are 4096" $'rules:\n  - {path: '"/$(printf '%05000d' 0), to: os}"
	refuse PACKAGE_UNKNOWN "2:18: component a: package nothing" $'components:\n  a: {packages: [nothing]}\n'
	refuse MANIFEST_VALUE "1:1: the manifest is empty" ''
	run -1 plyfs capture -n "$r" -m no-such-file
}

@test "two components with one package, one that os needs, unknown ones, a second of one name" {
	web
	pkg admin manual 'Depends: db-core' /usr/bin/admin
	run -1 --separate-stderr plyfs capture -n "$r" -c a=web -c b=db,web --json
	[[ $output == *'"PACKAGE_TWICE"'* ]]
	run -1 --separate-stderr plyfs capture -n "$r" -c db=db,db-core --json
	[[ $output == *'"PACKAGE_NEEDED"'* && $stderr == *"package admin of the operating system needs 'db-core'"* ]]
	run -0 plyfs capture -n "$r" -c db=db,db-core,admin
	run -1 --separate-stderr plyfs capture -n "$r" -c a=no-such --json
	[[ $output == *'"PACKAGE_UNKNOWN"'* ]]
	run -1 --separate-stderr plyfs capture -n "$r" -c a=web -c a=db --json
	[[ $output == *'"COMPONENT_TWICE"'* ]]
	run -1 --separate-stderr plyfs capture -n "$r" -c a=/usr/bin/web -c b='/usr/bin/*' --json
	[[ $output == *'"COMPONENT_TWICE"'* && $stderr == *"/usr/bin/web"* ]]
}

@test "an installation under way is refused; dpkg --configure -a is named" {
	web
	STATUS='install ok half-configured' pkg half auto '' /usr/bin/half
	run -1 --separate-stderr plyfs capture -n "$r" -c a=web --json
	[[ $output == *'"PKGDB_UNFINISHED"'* && $stderr == *"dpkg --configure -a"* ]]
	run -1 plyfs components "$r"
	run -0 plyfs capture -n "$r"                     # whole, as os
}

@test "a removed package's configuration is of os, unless it is named with another" {
	web
	STATUS='deinstall ok config-files' pkg gone manual '' /etc/gone.conf
	is os /etc/gone.conf
	want=(-c web=web,gone)
	is web /etc/gone.conf
	run -1 --separate-stderr plyfs capture -n "$r" -c gone=gone --json
	[[ $output == *'"COMPONENT_PACKAGES"'* ]]
}

@test "no marks of what is automatic: told, with what to do" {
	web
	: >"$r/var/lib/apt/extended_states"
	run -0 --separate-stderr plyfs capture -n "$r" -c web=web -c db=db
	[[ $stderr == *"apt-mark auto"* ]]
	[ "$(shape)" = "os: base
db+web: lib
web: web web-data >db+web
db: db db-core >db+web" ]
}

@test "a damaged list, status or diversion is damage: 4, with file and line" {
	web
	printf '/a\n\n' >"$r/var/lib/dpkg/info/lib.list"
	run -4 --separate-stderr plyfs capture -n "$r" -c web=web
	[[ $stderr == *"lib.list, line 2"* ]]
	rm "$r/var/lib/dpkg/info/lib.list"
	run -4 plyfs capture -n "$r" -c web=web
	printf 'Package: x\nnonsense\n' >"$r/var/lib/dpkg/status"
	run -4 --separate-stderr plyfs capture -n "$r" -c web=web
	[[ $stderr == *"status, line 2"* ]]
}

@test "a tree of no package: its unit, link, user and libraries" {
	need_root || skip "$SKIP"
	web
	printf '%s\n' app:x:990:990::/opt/app:/bin/false >>"$r/etc/passwd"
	printf '%s\n' app:x:990: >>"$r/etc/group"
	mkdir -p "$r"/opt/app/{bin,data} "$r"/etc/systemd/system/multi-user.target.wants "$r"/usr/local/bin "$r"/var/lib/appdata
	printf '#!/usr/bin/web -x\n' >"$r/opt/app/bin/run"
	chmod 755 "$r/opt/app/bin/run"
	chown 990:990 "$r/opt/app/data" "$r/var/lib/appdata"
	printf '[Service]\nExecStart=/opt/app/bin/run --now\nUser=app\n' >"$r/etc/systemd/system/app.service"
	ln -s ../app.service "$r/etc/systemd/system/multi-user.target.wants/app.service"
	ln -s /opt/app/bin/run "$r/usr/local/bin/app"
	want=(-c app=/opt/app -c web=web)
	[ "$(shape)" = "os: base lib db db-core
web: web web-data
app: >web" ]
	for p in /opt/app /opt/app/data /etc/systemd/system/app.service /usr/local/bin/app /var/lib/appdata \
		/etc/systemd/system/multi-user.target.wants/app.service; do
		is app "$p"
	done
	run -1 plyfs capture -n "$r" -c app=/opt/none
}

@test "components proposes software with a service, and trees of no package, as a manifest that works" {
	web
	mkdir -p "$r/opt/thing/bin" "$r/usr/local/other" "$r/usr/local/bin"
	touch "$r/opt/thing/bin/x" "$r/usr/local/other/y" "$r/usr/local/bin/z"
	plyfs components "$r" >m.yaml
	plyfs capture -n "$r" -m m.yaml
	plyfs components "$r" --json >m.json
	python3 - <<-'END'
		import json
		found = {c["name"]: c for c in json.load(open("m.json"))["components"]}
		assert set(found) == {"os", "web", "thing", "other"}, set(found)
		assert found["web"]["packages"] == ["web"] and found["web"]["services"] == ["web"]
		assert found["web"]["all_packages"] == ["web", "web-data"]
		assert found["thing"]["paths"] == ["/opt/thing"]
	END
	: >"$r/var/lib/dpkg/status"
	rm "$r"/var/lib/dpkg/info/*
	run -0 plyfs components "$r"
	rm -r "$r/var/lib/dpkg"
	run -0 plyfs components "$r"
	run -1 plyfs components nowhere
}

@test "info says why a package is where it is, and which files are the machine's identity" {
	web
	mkdir -p "$r"/etc/ssh "$r"/var/log "$r"/root/.ssh
	touch "$r"/etc/ssh/ssh_host_rsa_key "$r"/etc/machine-id "$r"/etc/hostname "$r"/var/log/some.log "$r"/root/.ssh/authorized_keys
	ln -s ssh_host_rsa_key "$r"/etc/ssh/link
	plyfs capture "$r" i.plyfs "${want[@]}" >/dev/null 2>&1
	run -0 plyfs info i.plyfs --why lib
	[ "$output" = "lib:all 1 is in db+web: needed by web, db, none of which requires the other; web depends on 'lib'" ]
	run -0 plyfs info i.plyfs --why base
	[[ $output == *"is in os: essential, required or important" ]]
	run -0 plyfs info i.plyfs --why web --json
	[[ $output == *'"why": "named by web"'* ]]
	run -1 plyfs info i.plyfs --why nothing
	plyfs info i.plyfs --identity | sort >found
	sort <<-'END' | diff - found
		empty   os  /etc/machine-id
		empty   os  /var/log/some.log
		remove  os  /etc/ssh/link
		remove  os  /etc/ssh/ssh_host_rsa_key
		secret  os  /root/.ssh/authorized_keys
		set     os  /etc/hostname
	END
	run -0 plyfs info i.plyfs --identity --json
	[[ $output == *'"path": "/etc/ssh/link"'* ]]
	plyfs verify i.plyfs --deep
	run -0 plyfs dump i.plyfs --section MARKS
	[[ $output == *"subset=first identity=empty"* ]]
}

@test "what a component provides are its packages, each in one component" {
	web
	plyfs capture "$r" i.plyfs -c web=web -c db=db >/dev/null
	plyfs info i.plyfs --json >info.json
	python3 -c '
import json
subs = {s["name"]: s["provides"] for s in json.load(open("info.json"))["sub_images"]}
every = sum(subs.values(), [])
assert "web" in subs["web"] and "db" in subs["db"], subs
assert len(every) == len(set(every)) and all(v == sorted(v) for v in subs.values()), subs'
}

@test "all components together are the machine" {
	need_root || skip "$SKIP"
	web
	plyfs capture "$r" i.plyfs "${want[@]}" >/dev/null
	mkdir t
	plyfs layout i.plyfs t
	same "$r" t
}
