#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A selection is a machine of its own: shared files, users, alternatives, diversions, owners and ACLs are those of
# its components. On a machine that was made up for it (lib/sharedtree.py), and in short on a real one.

# shellcheck disable=SC2154  # stderr: by run; gold: by gold()

load ../lib/common
bats_require_minimum_version 1.5.0

components=(-c db=db -c web=web -c lang=lang)
selections=('' db web web,lang db,web db,web,lang)

setup_file()
{
	need_root "owners, ACLs, capabilities" || return 0
	local s
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir machine out
	python3 "$PLYFS_TESTS/lib/sharedtree.py" machine
	SOURCE_DATE_EPOCH=1700000000 plyfs capture machine i.plyfs "${components[@]}" -j 1
	plyfs capture -n machine "${components[@]}" --list --json >split.json
	for s in "${selections[@]}"; do
		mkdir "out/os,$s"
		plyfs layout i.plyfs "out/os,$s" -s "os${s:+,$s}" --no-sync
	done
}

setup()
{
	ready
	image=$BATS_FILE_TMPDIR/i.plyfs machine=$BATS_FILE_TMPDIR/machine out=$BATS_FILE_TMPDIR/out
	mkdir mnt
}

teardown() { unmount_all "$PWD/mnt"; }

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# is SELECTION PATH FORMAT: stat of a file of a layout
is() { stat -c "$3" "$out/os,$1$2"; }

# --- all of it --------------------------------------------------------------------------------

@test "each selection has its own records, and nothing of others is anywhere" {
	local s
	for s in "${selections[@]}"; do
		echo "os,$s"
		# shellcheck disable=SC2086  # words
		python3 "$PLYFS_TESTS/lib/coherent.py" "$machine" "$BATS_FILE_TMPDIR/split.json" "$out/os,$s" ${s//,/ }
	done
}

@test "what is laid out is what is mounted, for each selection, and all is the machine" {
	local s
	for s in "${selections[@]}"; do
		mounted "$PWD/mnt" "$image" -s "os${s:+,$s}"
		same mnt "$out/os,$s"
		inodes links mnt
		plyfs umount mnt
	done
	same "$machine" "$out/os,db,web,lang"
	plyfs verify "$image" --deep
	plyfs verify "$image" --against "$machine"
	plyfs verify "$image" --against "$out/os,db" -s db
}

@test "any number of threads gives the same bytes" {
	SOURCE_DATE_EPOCH=1700000000 plyfs capture "$machine" again.plyfs "${components[@]}" -j 16
	cmp "$image" again.plyfs
	# whatever the order of the components, what they are is one
	plyfs capture "$machine" other.plyfs -c lang=lang -c web=web -c db=db
	mkdir o
	plyfs layout other.plyfs o -s db --no-sync
	same o "$out/os,db"
}

# --- one by one, in plain words ----------------------------------------------------------------

@test "users: lines, members, hashes, backups" {
	diff - "$out/os,/etc/group" <<-'END'
	root:x:0:
	tty:x:5:
	adm:x:4:alice
	shadow:x:42:
	alice:x:1000:
	END
	grep -qx 'adm:x:4:alice,web' "$out/os,web/etc/group"
	grep -qx 'web:x:114:alice' "$out/os,web/etc/group"
	grep -qx 'db:x:113:alice' "$out/os,db/etc/group"
	grep -qx 'db:!::alice' "$out/os,db/etc/gshadow"
	grep -qx 'web:!:db,alice:db,alice' "$out/os,db,web/etc/gshadow"
	run -1 grep -rlF -e dbhash -e dbformerhash -e hunter2 "$out/os,web,lang"
	run -1 grep -rlF webhash "$out/os,db"
	grep -qF dbformerhash "$out/os,db/etc/shadow-"
	diff - "$out/os,db/etc/subuid" <<<$'alice:100000:65536\n106:231072:65536'
	grep -qx '+@netgroup' "$out/os,/etc/passwd"
}

@test "owners that a selection lacks are root, without setuid, setgid and capabilities" {
	[ "$(is db /usr/bin/setuid-db '%u:%g %a')" = '106:0 4755' ]
	[ "$(is web /usr/bin/setuid-db '%u:%g %a')" = '0:0 755' ]
	[ "$(is db /usr/bin/setgid-db '%u:%g %a')" = '0:113 2755' ]
	[ "$(is '' /usr/bin/setgid-db '%u:%g %a')" = '0:0 755' ]
	[ "$(is db,web /usr/bin/both '%u:%g %a')" = '106:114 6750' ]
	[ "$(is db /usr/bin/both '%u:%g %a')" = '106:0 750' ]
	[ "$(is web /usr/bin/both '%u:%g %a')" = '0:114 750' ]
	[ "$(is '' /srv/data '%u:%g %a')" = '0:0 770' ]
	[ "$(is web /srv/data '%u:%g %a')" = '0:115 2770' ]
	[ "$(is '' /usr/bin/wall '%u:%g %a')" = '0:5 2755' ]
	getfattr -n security.capability "$out/os,db/usr/bin/capable-db" "$out/os,/usr/bin/capable"
	run -1 getfattr -n security.capability "$out/os,web/usr/bin/capable-db"
	[ -z "$(find "$out/os," -nouser -a ! -uid 1000 -o -gid +99 ! -gid 1000)" ]
}

@test "ACL entries of users and groups that a selection lacks are not there, the others are" {
	named() { getfacl -nc "$out/os,$1/srv/data" 2>/dev/null | grep -E '^(default:)?(user|group):[0-9]' | paste -sd ' '; }
	[ "$(named '')" = 'user:1000:rwx group:4:r-x' ]
	[ "$(named db)" = 'user:106:rwx user:1000:rwx group:4:r-x group:113:r--' ]
	[ "$(named web)" = 'user:107:r-x user:1000:rwx group:4:r-x default:user:107:rwx' ]
	[ "$(named db,web)" = 'user:106:rwx user:107:r-x user:1000:rwx group:4:r-x group:113:r-- default:user:107:rwx' ]
}

@test "a diversion by a component that is not selected is undone" {
	[ "$(cat "$out/os,db/usr/bin/dbtool")" = 'tool of db' ]
	[ ! -e "$out/os,db/usr/bin/dbtool.distrib" ]
	[ "$(cat "$out/os,db,web,lang/usr/bin/dbtool")" = "lang's own tool for db" ]
	[ "$(cat "$out/os,db,web,lang/usr/bin/dbtool.distrib")" = 'tool of db' ]
	[ "$(cat "$out/os,web,lang/usr/bin/dbtool")" = "lang's own tool for db" ]
	[ ! -e "$out/os,web,lang/usr/bin/dbtool.distrib" ]
	[ ! -e "$out/os,web/usr/bin/dbtool" ]
	# the administrator's own stays
	[ -e "$out/os,/usr/bin/page.orig" ]
	diff - "$out/os,db/var/lib/dpkg/diversions" <<<$'/usr/bin/page\n/usr/bin/page.orig\n:'
}

@test "alternatives: the best of what is there, with its slaves; the last one gone, all is gone" {
	links() { (cd "$out/os,$1" && readlink "etc/alternatives/$2" "usr/bin/$2" "etc/alternatives/$2.1" | paste -sd ' '); }
	[ "$(links db editor)" = '/usr/bin/dbed /etc/alternatives/editor /usr/share/man/dbed.1' ]
	[ "$(links '' editor)" = '/usr/bin/ed /etc/alternatives/editor /usr/share/man/ed.1' ]
	[ "$(links web viewer)" = '/usr/bin/ed /etc/alternatives/viewer' ]
	[ "$(head -n 1 "$out/os,db/var/lib/dpkg/alternatives/viewer")" = manual ]
	[ "$(head -n 1 "$out/os,web/var/lib/dpkg/alternatives/viewer")" = auto ]
	[ "$(links db either)" = '/usr/bin/dbsh /etc/alternatives/either' ]
	[ "$(links web either)" = '/usr/bin/webd /etc/alternatives/either' ]
	[ "$(links db,web either)" = '/usr/bin/webd /etc/alternatives/either' ]
	[ -z "$(links '' either)$(links web lang)" ]
	[ ! -e "$out/os,/var/lib/dpkg/alternatives/either" ]
	[ ! -e "$out/os,web/var/lib/dpkg/alternatives/lang" ]
	[ ! -L "$out/os,web/usr/share/man/viewer.1" ]
}

@test "caches are there with all, and with less they are not; directories stay" {
	[ -s "$out/os,db,web,lang/var/cache/ldconfig/aux-cache" ]
	[ -d "$out/os,db,web/var/cache/ldconfig" ]
	[ ! -e "$out/os,db,web/var/cache/ldconfig/aux-cache" ]
	[ ! -e "$out/os,db/var/cache/man/index.db" ]
}

@test "links of alternatives that somebody took away, or made another, are as they are everywhere" {
	cp -a "$machine" m
	rm m/etc/alternatives/editor.1 m/usr/bin/either
	ln -sf /usr/bin/ed m/etc/alternatives/either
	ln -sf /usr/bin/webd m/etc/alternatives/lang
	ln m/etc/alternatives/viewer m/root/viewer
	plyfs capture m odd.plyfs "${components[@]}" --json >odd.json
	[ "$(json 'sum("/etc/alternatives/viewer has several names" in n for n in d["notes"])' <odd.json)" = 1 ]
	mounted "$PWD/mnt" odd.plyfs
	same m mnt
	plyfs umount mnt
	mkdir o
	plyfs layout odd.plyfs o -s os --no-sync
	[ ! -L o/etc/alternatives/editor.1 ]
	[ ! -L o/usr/bin/either ]
	[ "$(readlink o/etc/alternatives/viewer)" = /usr/bin/dbsh ]
	plyfs verify odd.plyfs --deep
}

@test "a cache with another name stays, and its number of links is true" {
	local s
	cp -a "$machine" m
	ln m/var/cache/man/index.db m/root/index
	ln m/var/cache/ldconfig/aux-cache m/var/cache/ldconfig/second
	plyfs capture m odd.plyfs "${components[@]}"
	for s in os os,db,web,lang; do
		mkdir o
		plyfs layout odd.plyfs o -s "$s" --no-sync
		mounted "$PWD/mnt" odd.plyfs -s "$s"
		same mnt o
		inodes links mnt
		[ "$(stat -c %h o/root/index mnt/var/cache/man/index.db)" = $'2\n2' ]
		plyfs umount mnt
		rm -rf --one-file-system o
	done
}

@test "special cases: owners that are not installed, ids that are nobody's, a diverted path, packed backups" {
	cp -a "$machine" m
	printf 'Name: db/gone\nTemplate: db/gone\nValue: secret1\nOwners: db, db-1.0\n\n' >>m/var/cache/debconf/config.dat
	printf 'Name: none/gone\nTemplate: none/gone\nValue: kept\nOwners: db-1.0\n\n' >>m/var/cache/debconf/config.dat
	# a user of a person's number that a component's sysusers names; a user and a group of one name, each somebody else's
	mkdir -p m/usr/lib/sysusers.d
	mv m/etc/web/web.conf m/usr/share/web/people.conf
	printf 'people:x:1001:1001::/:/bin/sh\npair:x:150:5::/:/bin/sh\n' >>m/etc/passwd
	printf 'pair:x:151:\n' >>m/etc/group
	printf '#!/bin/sh\nadduser --system --group people\n' >m/var/lib/dpkg/info/lang.postinst
	printf 'u people -\ng pair -\n' >m/usr/lib/sysusers.d/web.conf
	sed -i 's,^/etc/web/web.conf$,/usr/lib/sysusers.d/web.conf,' m/var/lib/dpkg/info/web.list
	echo /usr/bin/dbtool >>m/etc/shells
	mkdir m/var/backups
	for f in alternatives.tar.0 alternatives.tar.1.gz dpkg.status.1.gz apt.extended_states.2.gz; do echo db >"m/var/backups/$f"; done
	cp m/var/lib/dpkg/status m/var/backups/dpkg.status.0
	plyfs capture m odd.plyfs "${components[@]}"
	mounted "$PWD/mnt" odd.plyfs
	same m mnt
	plyfs umount mnt
	for s in os db web web,lang; do
		mkdir "o$s"
		plyfs layout odd.plyfs "o$s" -s "$s" --no-sync
	done
	run -1 grep -F secret1 oweb/var/cache/debconf/config.dat
	grep -qF secret1 odb/var/cache/debconf/config.dat
	grep -qF kept oos/var/cache/debconf/config.dat
	grep -q ^people: oos/etc/passwd
	grep -q ^pair: oos/etc/passwd
	run -1 grep ^pair: oos/etc/group
	grep -qx /usr/bin/dbtool odb/etc/shells
	grep -qx /usr/bin/dbtool oweb,lang/etc/shells
	run -1 grep -x /usr/bin/dbtool oweb/etc/shells
	[ "$(ls odb/var/backups)" = dpkg.status.0 ]
	grep -q '^Package: db$' odb/var/backups/dpkg.status.0
	run -1 grep '^Package: db$' oos/var/backups/dpkg.status.0
}

@test "the link of a slave whose file is another component's is there with both" {
	cp -a "$machine" m
	sed -i 's,/usr/share/man/dbed.1,/usr/share/web/man.1,' m/var/lib/dpkg/alternatives/editor
	mkdir -p m/usr/share/web
	echo manual >m/usr/share/web/man.1
	echo /usr/share/web/man.1 >>m/var/lib/dpkg/info/web.list
	ln -sf /usr/share/web/man.1 m/etc/alternatives/editor.1
	plyfs capture m odd.plyfs "${components[@]}"
	mounted "$PWD/mnt" odd.plyfs
	same m mnt
	plyfs umount mnt
	mkdir odb odbweb
	plyfs layout odd.plyfs odb -s db --no-sync
	plyfs layout odd.plyfs odbweb -s db,web --no-sync
	[ ! -L odb/etc/alternatives/editor.1 ]
	[ ! -L odb/usr/share/man/editor.1 ]
	[ "$(readlink odbweb/etc/alternatives/editor.1)" = /usr/share/web/man.1 ]
}

@test "what only subsets show has the xattrs and owners of the machine's own" {
	cp -a "$machine" m
	setfattr -n trusted.label -v tool m/usr/bin/dbtool.distrib
	setfattr -h -n trusted.label -v link m/etc/alternatives/editor
	chown -h 1000:1000 m/etc/alternatives/editor
	plyfs capture m odd.plyfs "${components[@]}"
	mkdir o
	plyfs layout odd.plyfs o -s db --no-sync
	[ "$(getfattr --only-values -n trusted.label o/usr/bin/dbtool)" = tool ]
	rm -rf --one-file-system o
	mkdir o
	plyfs layout odd.plyfs o -s os --no-sync
	[ "$(readlink o/etc/alternatives/editor)" = /usr/bin/ed ]
	[ "$(getfattr -h --only-values -n trusted.label o/etc/alternatives/editor)" = link ]
	[ "$(stat -c %u:%g o/etc/alternatives/editor)" = 1000:1000 ]
}

# --- reading -------------------------------------------------------------------------------------

@test "cat, ls and dump render a selection as layout does" {
	local s path
	for s in '' db web,lang; do
		for path in /etc/passwd /etc/group /etc/gshadow- /var/lib/dpkg/status /var/lib/dpkg/alternatives/editor; do
			cmp <(plyfs cat "$image" "$path" -s "os${s:+,$s}") "$out/os,$s$path"
			[ "$(plyfs ls --json "$image" "$path" -s "os${s:+,$s}" | json 'd["entries"][0]["size_bytes"]')" = \
				"$(is "$s" "$path" %s)" ]
		done
	done
	run -1 plyfs cat "$image" /var/lib/dpkg/triggers/only-db -s web
	[ "$(plyfs cat "$image" /var/lib/dpkg/triggers/only-db -s db)" = db ]
}

@test "dump --records: whose each record is, in words" {
	run -0 --separate-stderr plyfs dump "$image" --records=/etc/passwd
	[[ $output == *'of="db" what="user db" length_bytes='*' driver=passwd'* ]]
	[[ $output == *'of="os" what="user root"'* ]]
	run -0 --separate-stderr plyfs dump "$image" --records=/etc/group
	[[ $output == *'of="web and db" what="member web"'* ]]
	[[ $output == *'of="db and web" what="member db"'* ]]
	run -0 --separate-stderr plyfs dump "$image" --records=/var/cache/debconf/config.dat
	[[ $output == *'of="db or web" what="question both/port"'* ]]
	run -0 --separate-stderr plyfs dump "$image" --records=/var/lib/dpkg/alternatives/viewer
	[[ $output == *'of="db" what="mode manual"'* && $output == *'of="not db" what="mode auto"'* ]]
	run -0 --separate-stderr plyfs dump "$image" --records=/var/lib/dpkg/statoverride --json
	[ "$(json '[(r["of"], r["what"]) for r in d["structures"]][2]' <<<"$output")" = "('web and db', 'override of /usr/bin/webd')" ]
	[ "$(json 'sum(r["length_bytes"] for r in d["structures"])' <<<"$output")" = "$(stat -c %s "$machine/var/lib/dpkg/statoverride")" ]
}

@test "dump --records -s: those of which that selection's file is made" {
	list() { plyfs dump "$image" --records="$1" -s "$2" 2>/dev/null | sed 's/.* what="\([^"]*\)".*/\1/' | paste -sd ' '; }
	[ "$(list /etc/passwd web)" = 'user root user alice user web line +@netgroup' ]
	[ "$(list /var/lib/dpkg/alternatives/viewer os)" = "$(list /var/lib/dpkg/alternatives/viewer web)" ]
	[[ $(list /var/lib/dpkg/alternatives/viewer os) == 'mode auto'* ]]
	[ "$(list /var/lib/dpkg/triggers/File web)" = 'trigger /usr/share/man base trigger /etc/web web' ]
	[ "$(list /var/cache/debconf/passwords.dat web)" = '' ]
}

@test "dump --records: what has none, and what does not go together" {
	run -1 --separate-stderr plyfs dump "$image" --records=/etc/base.conf
	[[ $stderr == *"/etc/base.conf: is not cut into records"* ]]
	run -1 --separate-stderr plyfs dump "$image" --records=/etc/base.conf --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = NOT_SHARED ]
	run -1 --separate-stderr plyfs dump "$image" --records=/nope
	run -1 --separate-stderr plyfs dump "$image" --records=/etc
	run -1 --separate-stderr plyfs dump "$image" --records=/etc/passwd -s nope
	[[ $stderr == *nope* ]]
	run -2 plyfs dump "$image" --records=/etc/passwd os
	run -2 plyfs dump "$image" --records=/etc/passwd --node=1
	run -2 plyfs dump "$image" --records=/etc/passwd --section=NODES
	run -2 plyfs dump "$image" -s os
}

@test "origin of a shared file tells whose each record is" {
	run -0 --separate-stderr plyfs origin --image="$image" /etc/shells /etc/base.conf
	diff - <<-END <(printf '%s\n' "$output")
	/etc/shells: os, db (generation 1)
	  os: line # shells
	  os: path /bin/sh
	  db: path /usr/bin/dbsh
	/etc/base.conf: os (generation 1)
	END
	mounted "$PWD/mnt" "$image" -s web
	run -0 --separate-stderr plyfs origin mnt/etc/shells
	[ "$output" = $'mnt/etc/shells: os (generation 1)\n  os: line # shells\n  os: path /bin/sh' ]
	run -0 --separate-stderr plyfs origin --json mnt/etc/passwd mnt/etc/base.conf
	[ "$(json '[(r["ordinal"], r["of"], r["what"]) for r in d["paths"][0]["records"]][2]' <<<"$output")" = "(3, 'web', 'user web')" ]
	[ "$(json '"records" in d["paths"][1]' <<<"$output")" = False ]
	plyfs umount mnt
}

# --- files that are none ---------------------------------------------------------------------------

# broken PATH LINE: with that line behind it the file stays whole, with os, and that is told
broken()
{
	printf '%s' "$2" >>"m$1"
	bad+=("$1")
}

@test "malformed files are kept whole with os, and told, not dropped" {
	local path bad=()
	cp -a "$machine" m
	broken /etc/passwd $'no colon\n'
	broken /etc/shadow- $'no colon\n'
	broken /etc/group $'no colon\n'
	broken /etc/gshadow $'a\0b:!::\n'
	broken /var/lib/dpkg/status-old $'Version: 1\n\n'
	broken /var/cache/debconf/config.dat $'Value: of nothing\n'
	broken /var/cache/debconf/passwords.dat $'no field\n'
	broken /var/lib/dpkg/diversions-old $'/usr/bin/half\n'
	broken /var/lib/dpkg/statoverride $'root db /usr/bin/webd\n'
	broken /var/lib/dpkg/triggers/File $'/no/package\n'
	broken /var/lib/dpkg/triggers/reload $'two words\n'
	broken /var/lib/dpkg/alternatives/editor $'/half\n'
	broken /var/lib/ucf/hashfile $'00 no path\n'
	broken /var/lib/ucf/registry $'no path\n'
	run -0 --separate-stderr plyfs capture m bad.plyfs "${components[@]}" --json
	for path in "${bad[@]}"; do
		grep -q "^plyfs capture: $path: .*; it stays whole with os$" <<<"$stderr" || { echo "$path is not told"; false; }
		[ "$(json "sum(n.startswith('$path: ') and n.endswith('stays whole with os') for n in d['notes'])" <<<"$output")" = 1 ]
	done
	mkdir o
	plyfs layout bad.plyfs o -s os --no-sync
	for path in "${bad[@]}"; do cmp "m$path" "o$path"; done
	# the others are cut, and all is the machine
	if grep -q '^db' o/etc/subuid o/etc/shadow; then return 1; fi
	mounted "$PWD/mnt" bad.plyfs
	same m mnt
	plyfs umount mnt
}

@test "shared files with several names, or that are links, stay whole, and are told" {
	cp -a "$machine" m
	ln m/etc/shadow m/root/s
	mv m/etc/shells m/etc/shells.real
	ln -s shells.real m/etc/shells
	ln m/usr/bin/dbtool.distrib m/root/distrib
	printf 'half' >>m/var/lib/dpkg/triggers/only-db
	run -0 --separate-stderr plyfs capture m odd.plyfs "${components[@]}" --json
	[ "$(json 'sorted(n.split()[0] for n in d["notes"] if "stays" in n or "every selection" in n)' <<<"$output")" = \
		"['/etc/shadow', '/etc/shells', '/usr/bin/dbtool.distrib', '/var/lib/dpkg/triggers/only-db:']" ]
	mkdir o
	plyfs layout odd.plyfs o -s os --no-sync
	cmp m/etc/shadow o/etc/shadow
	cmp m/var/lib/dpkg/triggers/only-db o/var/lib/dpkg/triggers/only-db
	mounted "$PWD/mnt" odd.plyfs
	same m mnt
	plyfs umount mnt
}

@test "as an ordinary user: what cannot be read is left out, and says nothing of others" {
	cp -a "$machine" m
	chmod 777 .
	run -0 --separate-stderr setpriv --reuid=65534 --regid=65534 --clear-groups \
		plyfs capture m partial.plyfs "${components[@]}" --allow-partial --json
	grep -qF '/var/cache/debconf/passwords.dat cannot be read' <<<"$stderr"
	run -1 plyfs cat partial.plyfs /etc/shadow
	plyfs cat partial.plyfs /etc/passwd -s web | grep -q ^web:
	plyfs verify partial.plyfs --deep
}

@test "where dpkg's status is malformed, packages cannot be named, and all else stays whole" {
	local db=/var/lib/dpkg/status
	cp -a "$machine" m
	printf 'no: no\nnothing of that kind\n' >>m$db
	run -4 --separate-stderr plyfs capture m bad.plyfs "${components[@]}"
	[[ $stderr == *"$db, line "* ]]
	[ ! -e bad.plyfs ]
	run -0 --separate-stderr plyfs capture m bad.plyfs -c site=/srv/data
	[[ $stderr == *"$db, line "*"no package is known"* ]]
	[[ $stderr == *"$db: "*"it stays whole with os"* ]]
	mkdir o
	plyfs layout bad.plyfs o -s os --no-sync
	cmp m$db o$db
	run -4 plyfs components m
}

@test "diversions or apt's states that are malformed stay whole with os, and that is told" {
	local path
	for path in /var/lib/dpkg/diversions /var/lib/apt/extended_states; do
		rm -rf m o
		cp -a "$machine" m
		printf 'no: no\nnothing of that kind\n' >>"m$path"
		run -0 --separate-stderr plyfs capture m bad.plyfs "${components[@]}" --force
		[[ $stderr == *"$path, line "*"; "*" count as "* ]]
		[[ $stderr == *"$path: "*"it stays whole with os"* ]]
		mkdir o
		plyfs layout bad.plyfs o -s os --no-sync
		cmp "m$path" "o$path"
		mounted "$PWD/mnt" bad.plyfs
		same m mnt
		plyfs umount mnt
	done
}

# --- a real one -----------------------------------------------------------------------------------

@test "Debian with apache, mariadb and php: three selections are accepted by its own tools" {
	need_gold
	local s names=(-c apache=apache2 -c mysql=mariadb-server -c "php=php,libapache2-mod-php,php-mysql,php-cli")
	plyfs capture "$gold" lamp.plyfs "${names[@]}" --level 1
	plyfs capture -n "$gold" "${names[@]}" --list --json >lamp.json
	mkdir all
	plyfs layout lamp.plyfs all --no-sync
	python3 "$PLYFS_TESTS/lib/coherent.py" "$gold" lamp.json all apache mysql php
	"$PLYFS_TESTS/lib/accept.sh" --quick --reference all reference
	for s in '' mysql apache,php; do
		mkdir o
		plyfs layout lamp.plyfs o -s "os${s:+,$s}" --no-sync
		# shellcheck disable=SC2086  # words
		python3 "$PLYFS_TESTS/lib/coherent.py" "$gold" lamp.json o ${s//,/ }
		# shellcheck disable=SC2086
		"$PLYFS_TESTS/lib/accept.sh" --quick o reference ${s//,/ }
		rm -rf --one-file-system o
	done
	rm -rf --one-file-system all
}

need_gold()
{
	gold lamp || skip "$SKIP"
}
