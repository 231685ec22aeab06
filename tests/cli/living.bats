#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout into a target that is not empty: components are added and taken out again, and what others have put there
# or changed stays. Killed: living_killed.bats. A real machine: tests/full/living.bats.

# shellcheck disable=SC2154,SC2119,SC2120  # run sets output and stderr; gold: by setup_file; app() has options by run
load ../lib/common
load ../lib/living
bats_require_minimum_version 1.5.0

@test "one component, several, all: as a layout of the whole selection" {
	local names
	for names in web db lang web,db db,web lang,db,web; do
		laid target os
		run -0 add "$names"
		laid whole "os,$names"
		same whole target || { echo "$names"; false; }
		[ "$(ls "$state/done")" = "$(ls whole/var/lib/plyfs/done)" ]
		rm -rf target whole
	done
	laid target os
	run -0 plyfs layout "$image" target --no-sync
	same "$gold" target
}

@test "one after the other, and each added on what is there" {
	local name
	laid target os,lang
	for name in db web; do
		run -0 --separate-stderr add "$name" --json
		[ "$(json 'd["result"], d["components"], d["nothing"], d["left"]' <<<"$output")" = "('added', ['$name'], False, [])" ]
	done
	same "$gold" target
}

@test "a target without a state: its package database tells that os is there" {
	machine
	run -0 add web
	laid whole os,web
	same whole target
	rm -rf target
	# and a whole machine, of which everything is there already
	cp -a "$gold" target
	but_state target >was
	run -0 add web,db,lang
	but_state target | diff was -
	run -0 take web,db,lang,db+lang+web
	but_state target | diff was -
}

@test "laid out again: nothing is written, and it says so" {
	laid target os
	add web,db
	remember
	run -0 --separate-stderr add web,db --json
	[ "$(json 'd["nothing"], d["components"], d["names"], d["left"]' <<<"$output")" = "(True, [], 0, [])" ]
	unchanged
	run -0 add os
	unchanged
	run -0 add db
	[[ $output == *"all of it is there"* ]]
	unchanged
}

@test "--remove gives the earlier tree, times of directories too" {
	laid target os
	add db
	but_state target >was
	run -0 add web
	run -0 --separate-stderr take web --json
	[ "$(json 'd["result"], d["components"], d["left"]' <<<"$output")" = "('removed', ['web'], [])" ]
	but_state target | diff was -
	[ ! -e "$state/done/web" ]
	[ ! -e "$state/merge/web" ]
	# and once more the same
	add web
	laid whole os,db,web
	same whole target
}

@test "a target that had no state: taken out it is as it was, but for the state" {
	machine
	but_state target >was
	local names
	for names in web db,lang lang,web,db; do
		run -0 add "$names"
		run -0 take "$names"
		# with what was required by them alone
		[ -z "$(ls "$state/done")" ]
		but_state target | diff was -
	done
}

@test "in another order than they were added" {
	laid target os
	# rewritten are the shared files, with a time of their own
	every target -path ./var/lib/plyfs -prune -o ! -path './var/lib/dpkg*' ! -path ./var/lib >was
	(cd target/var/lib/dpkg && find . -type f -print0 | sort -z | xargs -0 sha256sum) >dpkg.was
	local order
	for order in "web db lang" "db lang web" "lang web db" "web lang db"; do
		add web,db,lang
		for name in $order; do run -0 take "$name"; done
		every target -path ./var/lib/plyfs -prune -o ! -path './var/lib/dpkg*' ! -path ./var/lib | diff was -
		(cd target/var/lib/dpkg && find . -type f -print0 | sort -z | xargs -0 sha256sum) | diff dpkg.was -
	done
}

@test "what another component requires does not go alone" {
	laid target os
	add web,lang
	remember
	run -3 --separate-stderr take db+lang+web --json
	[ "$(reason)" = COMPONENT_NEEDED ]
	[[ $stderr == *lang*web* ]]
	unchanged
	run -3 take db+lang+web,web
	unchanged
	run -0 take db+lang+web,web,lang
	[ "$(ls "$state/done")" = os ]
	laid whole os
	same whole target --skip mtime
}

# --- what an administrator has done ------------------------------------------------------------------

is_by_hand()
{
	grep -q '^bob:x:1500:1500:' target/etc/passwd
	grep -q '^bob:x:1500:$' target/etc/group
	grep -q '^bob:' target/etc/shadow
	[ "$(grep -c '^Package: mine$' target/var/lib/dpkg/status)" = 1 ]
	[ "$(readlink target/usr/bin/pager target/etc/alternatives/pager | paste -sd ' ')" = "/etc/alternatives/pager /usr/bin/mine" ]
	grep -q /usr/bin/mine target/etc/shells
	[ -e target/var/lib/dpkg/info/mine.list ]
}

packages() { sed -n 's/^Package: //p' target/var/lib/dpkg/status | sort | paste -sd ' '; }

@test "users, groups, packages, alternatives by hand: kept when components come, and when they go" {
	machine
	by_hand
	but_state target >was
	local before
	before=$(packages)
	run -0 add lang,db
	is_by_hand
	[ "$(packages)" = "$(echo "$before" db db-client lang libcommon | tr ' ' '\n' | sort | paste -sd ' ')" ]
	run -0 take lang,db,db+lang+web
	is_by_hand
	but_state target | diff was -
	# made while it is there
	rm -rf target
	machine
	add lang,db
	by_hand
	run -0 take lang,db
	is_by_hand
	[ "$(packages)" = "$before" ]
}

@test "what was edited since stays and is named, what is foreign in a component's directory too" {
	laid target os
	add web
	echo edited >>target/etc/web/web.conf
	chmod 700 target/usr/sbin/webd
	rm target/usr/share/web/icons/icon05/icon-56
	echo mine >target/usr/lib/web/modules/mine
	mkdir -p target/etc/web/mine/deep
	echo mine >target/etc/web/mine/deep/file
	ln -sf elsewhere target/etc/web/mods-enabled/lang.conf
	every target/etc/web -true >was
	run -1 --separate-stderr take web --json
	[ "$(reason)" = TARGET_EXISTS ]
	[ "$(left)" = "['/etc/web/mine', '/etc/web/mods-enabled/lang.conf', '/etc/web/web.conf', '/usr/lib/web/modules/mine', '/usr/sbin/webd']" ]
	[ "$(grep -c 'left: /etc/web/web.conf: ' <<<"$stderr")" = 1 ]
	[ "$(find target/etc/web target/usr/lib/web target/usr/sbin/webd ! -type d | sort | paste -sd ' ')" = \
		"target/etc/web/mine/deep/file target/etc/web/mods-enabled/lang.conf target/etc/web/web.conf target/usr/lib/web/modules/mine target/usr/sbin/webd" ]
	[ ! -e target/usr/share/web ]
	[ "$(tail -n 1 target/etc/web/web.conf)" = edited ]
	[ ! -e "$state/done/web" ]
	# these are the administrator's now: not taken for the component's own when it comes again
	remember
	run -3 --separate-stderr add web --json
	[ "$(reason)" = CONFLICT ]
	unchanged
	rm target/etc/web/web.conf target/etc/web/mods-enabled/lang.conf target/usr/sbin/webd
	run -0 add web
	[ -e target/etc/web/mine/deep/file ]
}

@test "a record of a component that was edited stays, and is named" {
	laid target os
	add db
	sed -i '/^Package: db$/,/^$/s/^Version: .*/Version: 1:10.11-2/' target/var/lib/dpkg/status
	run -1 --separate-stderr take db --json
	[ "$(left)" = "['/var/lib/dpkg/status']" ]
	grep -q '^Version: 1:10.11-2$' target/var/lib/dpkg/status
	[ ! -e target/usr/sbin/dbd ]
}

# --- --resume where nothing is to be resumed ------------------------------------------------------------------

@test "--resume -s NAME on what is complete: 0 where it is there, a plain layout of it where it is not" {
	laid target os,web
	remember
	run -0 --separate-stderr plyfs layout "$image" target --resume -s web --no-sync --json
	[ "$(json 'd["nothing"], d["components"]' <<<"$output")" = "(True, [])" ]
	unchanged
	run -0 plyfs layout "$image" target --resume
	[[ $output == *"the layout is complete"* ]]
	unchanged
	run -0 --separate-stderr plyfs layout "$image" target --resume -s db,web --no-sync --json
	[ "$(json 'd["result"], d["components"]' <<<"$output")" = "('added', ['db'])" ]
	laid whole os,web,db
	same whole target
	run -1 plyfs layout "$image" target --resume -s nosuch
	# also where os came by other means
	rm -rf target
	machine
	run -0 plyfs layout "$image" target --resume -s web --no-sync
	[ -e "$state/done/web" ]
	remember
	run -0 plyfs layout "$image" target --resume -s web --no-sync
	[[ $output == *"all of it is there"* ]]
	unchanged
	# what is to be decided is asked as ever
	echo 'not the client' >target/usr/bin/dbc
	run -3 plyfs layout "$image" target --resume -s db --no-sync
	rm target/usr/bin/dbc
	# a change that is open is ended first
	run straced -qq -o /dev/null -e trace=renameat2 -e inject="renameat2:signal=KILL:when=5" \
		plyfs layout "$image" target -s db --no-sync
	[ -e "$state/update" ]
	run -0 --separate-stderr plyfs layout "$image" target --resume -s db,lang --no-sync --json
	[ "$(json 'd["components"]' <<<"$output")" = "['lang']" ]
	[ "$(ls "$state/done" | paste -sd ' ')" = "db db+lang+web lang web" ]
}

# --- ids ---------------------------------------------------------------------------------------------------

@test "numbers that are taken: files belong to the user of the name, in the target's number" {
	mkdir -p tree/etc tree/usr/bin
	printf 'root:x:0:0:root:/root:/bin/sh\n' >tree/etc/passwd
	printf 'root:x:0:\n' >tree/etc/group
	mkdir -p tree/var/lib/dpkg
	cp -a tree base
	printf 'app:x:200:300::/opt/app:/bin/false\nother:x:201:301::/:/bin/false\n' >>tree/etc/passwd
	printf 'app:x:300:\nother:x:301:app\n' >>tree/etc/group
	mkdir -p tree/opt/app
	echo x >tree/opt/app/file
	echo y >tree/opt/app/other
	chown -R 200:300 tree/opt/app
	chown 201:301 tree/opt/app/other
	setfacl -m u:201:r tree/opt/app/file
	plyfs capture base a.plyfs >/dev/null 2>&1
	plyfs add a.plyfs app tree >/dev/null
	mkdir target
	plyfs layout a.plyfs target -s os --no-sync >/dev/null
	# 200 and 300 are taken by others, `other` is there with other numbers
	printf 'local:x:200:400::/:/bin/sh\nother:x:250:350::/:/bin/false\n' >>target/etc/passwd
	printf 'local:x:300:\nother:x:350:\n' >>target/etc/group
	run -0 plyfs layout a.plyfs target -s app --no-sync
	local uid gid
	uid=$(sed -n 's/^app:x:\([0-9]*\):.*/\1/p' target/etc/passwd)
	gid=$(sed -n 's/^app:x:\([0-9]*\):.*/\1/p' target/etc/group)
	[ "$uid" != 200 ] && [ "$gid" != 300 ]
	[ "$(grep -c "^[^:]*:x:$uid:" target/etc/passwd)" = 1 ]
	[ "$(grep -c "^[^:]*:x:$gid:" target/etc/group)" = 1 ]
	grep -q "^app:x:$uid:$gid:" target/etc/passwd
	[ "$(grep -c '^other:' target/etc/passwd)" = 1 ]
	grep -q '^other:x:250:350:' target/etc/passwd
	grep -q '^other:x:350:app$' target/etc/group
	[ "$(stat -c %u:%g target/opt/app target/opt/app/file target/opt/app/other | paste -sd ' ')" = "$uid:$gid $uid:$gid 250:350" ]
	getfacl -nc target/opt/app/file 2>/dev/null | grep -q '^user:250:r'
	run -0 plyfs layout a.plyfs target -s app --no-sync
	[[ $output == *"all of it is there"* ]]
	run -0 plyfs layout target --remove app --no-sync
	[ ! -e target/opt/app ]
	[ "$(cut -d : -f 1 target/etc/passwd | paste -sd ' ')" = "root local other" ]
}

# 777:888 is nobody in the image; on the target 777 is local's, and 888 a group's
nameless()
{
	mkdir -p os/etc
	printf 'root:x:0:0:root:/root:/bin/sh\n' >os/etc/passwd
	printf 'root:x:0:\n' >os/etc/group
	cp -a os app
	echo 'app:x:200:888::/:/bin/false' >>app/etc/passwd
	mkdir -p app/opt/d
	printf '#!' >app/opt/suid
	for f in of-user of-group acl free; do echo $f >app/opt/$f; done
	printf 'x' >app/opt/capable
	chown 777:888 app/opt/suid
	chown 777:0 app/opt/of-user app/opt/capable
	chown 0:888 app/opt/of-group app/opt/d
	chown 1234:1234 app/opt/free
	chmod 6755 app/opt/suid app/opt/of-group app/opt/free
	chmod 2775 app/opt/d
	echo in >app/opt/d/in
	chown 777:888 app/opt/d/in
	setfacl -m u:777:rw,g:888:r,u:1234:r app/opt/acl
	setcap cap_net_raw+ep app/opt/capable
	cp -a app more
	mkdir more/srv
	echo late >more/srv/late
	chown 777:0 more/srv/late
	plyfs capture os app.plyfs >/dev/null 2>&1
	plyfs add app.plyfs app app >/dev/null
	plyfs add app.plyfs more more --on app >/dev/null
	mkdir target
	plyfs layout app.plyfs target -s os --no-sync >/dev/null
	echo 'local:x:777:777::/home/local:/bin/sh' >>target/etc/passwd
	printf 'local:x:777:\nstaff:x:888:local\n' >>target/etc/group
}

modes() { (cd target/opt && stat -c '%n %a %u:%g' suid of-user of-group capable free d d/in); }

@test "numbers without a name in the image that are somebody's here: root's, without privileges, and told" {
	command -v setcap >/dev/null && command -v setfacl >/dev/null || skip "no setcap, or no setfacl"
	nameless
	but_state target >was
	run -0 --separate-stderr plyfs layout app.plyfs target -s app --dry-run
	[ "$(grep -c 'has no name in the image' <<<"$stderr")" = 2 ]
	run -0 --separate-stderr plyfs layout app.plyfs target -s app --no-sync --json
	[ "$(json '[(i["kind"], i["id"], i["is"], i["files"], i["acls"]) for i in d["ids_as_root"]]' <<<"$output")" = \
		"[('user', 777, 'local', 4, 1), ('group', 888, 'staff', 4, 1)]" ]
	[ "$(grep -c 'user 777 has no name in the image, and is local on the target: 4 names are root' <<<"$stderr")" = 1 ]
	[ "$(grep -c 'group 888 has no name in the image, and is staff on the target: 4 names are root' <<<"$stderr")" = 1 ]
	diff <(modes) - <<-EOF
		suid 755 0:0
		of-user 644 0:0
		of-group 755 0:0
		capable 644 0:0
		free 6755 1234:1234
		d 775 0:0
		d/in 644 0:0
	EOF
	[ -z "$(getcap target/opt/capable)" ]
	[ -z "$(getfacl -nc target/opt/acl | grep -E ':(777|888):')" ]
	getfacl -nc target/opt/acl | grep -q '^user:1234:r'
	# neither is the group of a user's line root's
	grep -q '^app:x:200:65534:' target/etc/passwd
	# all of it is known as it is: nothing was changed since, and it goes
	run -0 plyfs layout app.plyfs target -s app --no-sync
	[[ $output == *"all of it is there"* ]]
	run -0 plyfs layout target --remove app --no-sync
	but_state target | diff was -
}

@test "numbers without a name that only ACLs have: told, and kept with the component" {
	command -v setcap >/dev/null && command -v setfacl >/dev/null || skip "no setcap, or no setfacl"
	nameless
	mkdir -p acls/opt/e acls/etc
	cp -a os/etc/. acls/etc/
	echo x >acls/opt/file
	setfacl -m u:777:rw acls/opt/file
	setfacl -m u:777:rwx,g:888:rx acls/opt/e
	setfacl -d -m u:777:rx acls/opt/e
	# of a directory that is there, too
	chmod 755 acls/etc
	setfacl -m g:889:rx acls/etc
	plyfs add app.plyfs acls acls >/dev/null
	echo 'none:x:889:' >>target/etc/group
	but_state target >was
	run -0 --separate-stderr plyfs layout app.plyfs target -s acls --dry-run
	[ "$(grep -c 'has no name in the image' <<<"$stderr")" = 3 ]
	run -0 --separate-stderr plyfs layout app.plyfs target -s acls --no-sync --json
	[ "$(json '[(i["kind"], i["id"], i["is"], i["files"], i["acls"]) for i in d["ids_as_root"]]' <<<"$output")" = \
		"[('user', 777, 'local', 0, 2), ('group', 888, 'staff', 0, 1), ('group', 889, 'none', 0, 1)]" ]
	grep -q 'user 777 has no name in the image, and is local on the target: the ACLs of 2 names are without it$' <<<"$stderr"
	[ -z "$(getfacl -Rnc target/opt target/etc | grep -E ':(777|888|889):')" ]
	run -0 plyfs layout target --remove acls --no-sync
	but_state target | diff was -
	# who has the number no more gets nothing of what is there by it
	plyfs layout app.plyfs target -s acls --no-sync
	sed -i '/^local:/d' target/etc/passwd
	run -0 --separate-stderr plyfs layout app.plyfs target -s app --no-sync --json
	[ "$(json '[(i["kind"], i["id"], i["files"], i["acls"]) for i in d["ids_as_root"]]' <<<"$output")" = \
		"[('user', 777, 4, 1), ('group', 888, 4, 1)]" ]
	grep -q 'user 777 .* 4 names are root.s, without setuid, setgid and capabilities; the ACLs of 1 name are without it$' <<<"$stderr"
}

@test "what has become of numbers is kept with the component, for those that come later" {
	command -v setcap >/dev/null && command -v setfacl >/dev/null || skip "no setcap, or no setfacl"
	nameless
	echo 'taken:x:200:200::/:/bin/false' >>target/etc/passwd
	plyfs layout app.plyfs target -s app --no-sync
	local uid
	uid=$(sed -n 's/^app:x:\([0-9]*\):.*/\1/p' target/etc/passwd)
	[ "$uid" = 100 ]
	# all have gone meanwhile; files have their numbers
	sed -i '/^\(local\|app\|taken\):/d' target/etc/passwd
	echo 'new:x:200:200::/:/bin/false' >>target/etc/passwd
	run -0 --separate-stderr plyfs layout app.plyfs target -s more --no-sync --json
	[ "$(json '[(i["kind"], i["id"], i["is"]) for i in d["ids_as_root"]]' <<<"$output")" = "[('user', 777, None)]" ]
	[ "$(stat -c %u:%g target/srv/late)" = 0:0 ]
}

@test "a change that is killed is completed and taken back with the numbers that it was begun with" {
	command -v setcap >/dev/null && command -v setfacl >/dev/null || skip "no setcap, or no setfacl"
	nameless
	but_state target >was
	cp -a target other
	plyfs layout app.plyfs other -s app --no-sync
	run straced -qq -o /dev/null -e trace=renameat2 -e inject="renameat2:signal=KILL:when=3" \
		plyfs layout app.plyfs target -s app --no-sync
	[ -e "$state/update" ]
	cp -a target third
	# who has a number now is another, and it makes no difference
	for t in target third; do sed -i '/^local:/d' $t/etc/group; done
	cp target/etc/group group.was
	run -0 plyfs layout app.plyfs third --abort --no-sync
	(cd third/opt && ls) 2>/dev/null | diff /dev/null -
	run plyfs layout app.plyfs target --resume --no-sync
	diff <(modes) <(cd other/opt && stat -c '%n %a %u:%g' suid of-user of-group capable free d d/in)
}

# --- what is there already -------------------------------------------------------------------------------------

# app.plyfs: a machine, and on it a component that collides with whatever is at its paths
colliding()
{
	mkdir -p os/etc os/usr/bin os/opt
	printf '127.0.0.1 localhost\n# 1\n# 2\n# 3\n# 4\n' >os/etc/hosts
	echo one >os/etc/motd
	echo gone >os/etc/gone
	echo mode >os/etc/mode
	touch -d '2001-01-01' os/etc/*
	cp -a os app
	echo '10.0.0.2 app' >>app/etc/hosts
	echo app >app/etc/motd
	rm app/etc/gone
	chmod 600 app/etc/mode
	mkdir -p app/etc/foo.d app/etc/modules-load.d app/opt/app/deep app/opt/f
	printf '{"app": 1}\n' >app/etc/a.json
	echo 'of app' >app/etc/foo.d/text
	echo app >app/etc/modules-load.d/x.conf
	printf '\0app' >app/usr/bin/tool
	echo same >app/usr/bin/same
	ln -s /opt/app app/usr/bin/link
	echo x >app/opt/app/deep/file
	plyfs capture os app.plyfs >/dev/null 2>&1
	plyfs add app.plyfs app app >/dev/null
	mkdir target
	plyfs layout app.plyfs target -s os --no-sync >/dev/null
}

app() { plyfs layout app.plyfs target -s app --no-sync "$@"; }

in_the_way()
{
	mkdir -p target/etc/foo.d target/etc/modules-load.d
	printf '{"mine": 1}\n' >target/etc/a.json
	echo 'mine' >target/etc/foo.d/text
	echo mine >target/etc/modules-load.d/x.conf
	printf '\0mine' >target/usr/bin/tool
	ln -s /elsewhere target/usr/bin/link
	echo mine >target/etc/motd
	echo 'changed' >>target/etc/gone
	sed -i 's/localhost/localhost mine/' target/etc/hosts
	touch -d '2002-02-02 02:02:02.2' target/etc/* target/usr/bin target/etc
}

in_conflict="/etc/a.json /etc/foo.d/text /etc/gone /etc/motd /usr/bin/link /usr/bin/tool"

policy() # RULE [PATH...]: p.yaml
{
	local rule=$1 p
	shift
	{
		printf 'version: 1\nconflicts:\n'
		for p; do printf -- '  - glob: %s\n    resolve: %s\n' "$p" "$rule"; done
	} >p.yaml
}

@test "nothing collides: changed, added and deleted as the image has it; removed, all of it is back" {
	colliding
	but_state target >was
	run -0 app
	same app target --skip mtime       # of directories an overlay says nothing
	[ "$(stat -c '%a %Y' target/etc/mode target/opt/app/deep/file | paste -sd ' ')" = \
		"$(stat -c '%a %Y' app/etc/mode app/opt/app/deep/file | paste -sd ' ')" ]
	run -0 plyfs layout target --remove app --no-sync
	but_state target | diff was -
}

@test "equal files stay, and are there when the component has gone" {
	colliding
	mkdir -p target/opt/app/deep target/etc/foo.d
	cp -a app/usr/bin/same target/usr/bin/
	cp -a app/usr/bin/link target/usr/bin/
	cp app/opt/app/deep/file target/opt/app/deep/       # at another time
	cp app/etc/foo.d/text target/etc/foo.d/text
	chmod 640 target/etc/mode                            # as neither has it
	but_state target >was
	run -3 --separate-stderr app
	[[ $stderr == *"/etc/mode (target, app): different modes"* ]]
	chmod 644 target/etc/mode
	but_state target >was
	inode=$(stat -c %i target/usr/bin/same)
	run -0 app
	[ "$(stat -c %i target/usr/bin/same)" = "$inode" ]
	run -0 plyfs layout target --remove app --no-sync
	but_state target | diff was -
}

@test "conflicts: each is named with its reason, and nothing is written" {
	colliding
	in_the_way
	remember
	run -3 --separate-stderr app --json
	[ "$(reason)" = CONFLICT ]
	[ "$(grep -o 'undecided: [^ ]*' <<<"$stderr" | cut -d ' ' -f 2 | sort | paste -sd ' ')" = "$in_conflict" ]
	[[ $stderr == *"/etc/a.json (target, app): JSON"* && $stderr == *"/usr/bin/tool (target, app): binary files"* ]]
	[[ $stderr == *"/etc/gone (target, app): deleted by one"* && $stderr == *"/usr/bin/link (target, app): symlinks"* ]]
	unchanged
	# a state is not even made
	mv "$state" state.was
	remember
	run -3 app
	unchanged
	mv state.was "$state"
	remember
	# what is decided in part is not decided
	policy last /etc/motd '/usr/bin/*'
	run -3 --separate-stderr app --policy p.yaml
	[ "$(grep -o 'undecided: [^ ]*' <<<"$stderr" | cut -d ' ' -f 2 | sort | paste -sd ' ')" = "/etc/a.json /etc/foo.d/text /etc/gone" ]
	unchanged
}

@test "conflicts that a policy decides: first is the target's, last the image's; removed, each time as before" {
	colliding
	in_the_way
	but_state target >was
	# shellcheck disable=SC2086  # words
	policy first $in_conflict
	run -0 app --policy p.yaml
	[ "$(cat target/etc/a.json target/etc/foo.d/text target/etc/motd)" = $'{"mine": 1}\nmine\nmine' ]
	[ "$(tail -n 1 target/etc/gone)" = changed ]
	[ "$(readlink target/usr/bin/link)" = /elsewhere ]
	# what needs no decision is merged
	[ "$(cat target/etc/modules-load.d/x.conf)" = $'mine\napp' ]
	[ "$(head -n 1 target/etc/hosts)" = "127.0.0.1 localhost mine" ]
	[ "$(tail -n 1 target/etc/hosts)" = "10.0.0.2 app" ]
	run -0 plyfs layout target --remove app --no-sync
	but_state target | diff was -
	# shellcheck disable=SC2086
	policy last $in_conflict
	run -0 app --policy p.yaml
	for p in a.json foo.d/text motd; do cmp target/etc/$p app/etc/$p; done
	[ ! -e target/etc/gone ]
	[ "$(readlink target/usr/bin/link)" = /opt/app ]
	[ "$(head -n 1 target/etc/hosts)" = "127.0.0.1 localhost mine" ]
	run -0 plyfs layout target --remove app --no-sync
	but_state target | diff was -
}

@test "append and keep-both; --on-collision=append" {
	colliding
	in_the_way
	but_state target >was
	policy keep-both /usr/bin/tool /usr/bin/link /etc/a.json /etc/motd
	printf -- '  - glob: /etc/foo.d/text\n    resolve: append\n  - glob: /etc/gone\n    resolve: first\n' >>p.yaml
	run -0 --separate-stderr app --policy p.yaml
	[[ $stderr != *" about nothing"* ]]
	[ "$(cat target/etc/foo.d/text)" = $'mine\nof app' ]
	[ "$(cat target/etc/motd target/etc/motd.plyfs-app)" = $'mine\napp' ]
	[ "$(cat target/etc/a.json target/etc/a.json.plyfs-app)" = $'{"mine": 1}\n{"app": 1}' ]
	[ "$(readlink target/usr/bin/link target/usr/bin/link.plyfs-app | paste -sd ' ')" = "/elsewhere /opt/app" ]
	run -0 plyfs layout target --remove app --no-sync
	but_state target | diff was -
	# the rest is still to be decided
	run -3 --separate-stderr app --on-collision=append
	[ "$(grep -o 'undecided: [^ ]*' <<<"$stderr" | cut -d ' ' -f 2 | sort | paste -sd ' ')" = "/etc/a.json /etc/gone /etc/motd /usr/bin/link /usr/bin/tool" ]
	rm target/etc/a.json target/usr/bin/link target/usr/bin/tool
	echo one >target/etc/motd
	echo gone >target/etc/gone
	run -0 app --on-collision=append
	[ "$(cat target/etc/foo.d/text)" = $'mine\nof app' ]
	run -2 app --on-collision=first
}

@test "what was merged and edited since keeps the edit when the component goes" {
	colliding
	in_the_way
	rm target/etc/{a.json,gone} target/usr/bin/{link,tool} target/etc/foo.d/text
	echo gone >target/etc/gone
	policy last /etc/motd
	run -0 app --policy p.yaml
	sed -i 's/# 2/# two/' target/etc/hosts
	sed -i '1i # more' target/etc/modules-load.d/x.conf
	echo edited >>target/etc/motd
	run -1 --separate-stderr plyfs layout target --remove app --no-sync --json
	[ "$(left)" = "['/etc/motd']" ]
	[ "$(cat target/etc/hosts)" = $'127.0.0.1 localhost mine\n# 1\n# two\n# 3\n# 4' ]
	[ "$(cat target/etc/modules-load.d/x.conf)" = $'# more\nmine' ]
	[ "$(cat target/etc/motd)" = $'app\nedited' ]
	[ -e target/etc/gone ]
}

@test "directories and other things at one path: named, and nothing is written" {
	colliding
	local how
	for how in "touch target/opt/app" "ln -s /srv target/opt/app" "mkfifo target/opt/app" "touch target/opt/f"; do
		rm -rf target/opt/*
		$how
		remember
		run -1 --separate-stderr app --json
		[ "$(reason)" = TARGET_EXISTS ]
		[[ $stderr == *"${how##*target}"* ]]
		unchanged
	done
	rm -rf target/opt/*
	# the image has a file: a conflict like others
	mkdir -p target/usr/bin/tool/in target/etc/motd.d
	rm target/etc/motd && mkdir target/etc/motd
	remember
	run -3 --separate-stderr app
	[[ $stderr == *"/usr/bin/tool (target, app): different types"* && $stderr == *"/etc/motd (target, app): different types"* ]]
	unchanged
	policy first /etc/motd /usr/bin/tool
	run -0 app --policy p.yaml
	[ -d target/etc/motd ] && [ -d target/usr/bin/tool/in ]
	run -0 plyfs layout target --remove app --no-sync
	policy last /etc/motd /usr/bin/tool
	remember
	run -1 --separate-stderr app --policy p.yaml --json
	[ "$(reason)" = TARGET_EXISTS ]
	[[ $stderr == *"/etc/motd: the target has a directory there"* ]]
	unchanged
}

@test "a symlink in the target leads nowhere, also where another machine's directory would be" {
	colliding
	mkdir outside
	rm -rf target/opt
	ln -s "$PWD/outside" target/opt
	run -1 app
	[ -z "$(ls -A outside)" ]
	rm target/opt
	mkdir target/opt
	app >/dev/null
	# and when it is taken out
	mkdir -p outside/app/deep
	cp -a target/opt/app/deep/file outside/app/deep/
	rm -rf target/opt
	ln -s "$PWD/outside" target/opt
	run -0 plyfs layout target --remove app --no-sync
	[ -e outside/app/deep/file ]
}

@test "a target that is no machine: everything is laid out beside what is there, or it is refused" {
	mkdir -p target/srv/mine
	echo mine >target/srv/mine/file
	run -0 --separate-stderr plyfs layout "$image" target -s os,web --no-sync --json
	[ "$(json '"os" in d["components"], "web" in d["components"]' <<<"$output")" = "(True, True)" ]
	[ "$(cat target/srv/mine/file)" = mine ]
	rm -rf target/srv/mine
	laid whole os,web
	same whole target --skip mtime,mode,owner
}

# --- what components need ------------------------------------------------------------------------------------------

# app.plyfs: a machine, and on it a package that says what it needs
needing() # FIELDS
{
	rm -rf os app app.plyfs target
	mkdir -p os/var/lib/dpkg/info os/var/lib/dpkg/updates os/usr/bin os/etc
	printf 'Package: libbase\nStatus: install ok installed\nVersion: 2.0-1\nArchitecture: amd64\n\n' >os/var/lib/dpkg/status
	printf 'amd64\n' >os/var/lib/dpkg/arch
	echo /etc >os/var/lib/dpkg/info/libbase.list
	cp -a os app
	printf 'Package: app\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\n%s\n\n' "$1" >>app/var/lib/dpkg/status
	echo app >app/usr/bin/app
	printf '/usr/bin/app\n' >app/var/lib/dpkg/info/app.list
	plyfs capture os app.plyfs >/dev/null 2>&1
	plyfs add app.plyfs app app >/dev/null
	mkdir target
	plyfs layout app.plyfs target -s os --no-sync >/dev/null
}

lacks_it() # TEXT
{
	remember
	run -3 --separate-stderr app --json
	[ "$(reason)" = TARGET_LACKS ]
	[[ $stderr == *"$1"* && $stderr == *--force-os-mismatch* ]] || { echo "$stderr"; false; }
	unchanged
	run -0 --separate-stderr app --force-os-mismatch
	[[ $stderr == *"$1"* ]]
	[ -e target/usr/bin/app ]
}

@test "packages: missing, of another version, of another architecture" {
	needing 'Depends: libbase (>= 1.0)'
	run -0 app
	# the target was another one
	needing 'Depends: libbase (>= 1.5)'
	sed -i 's/2.0-1/1.0-1/' target/var/lib/dpkg/status
	lacks_it "needs libbase (>= 1.5)"
	needing 'Depends: libbase'
	: >target/var/lib/dpkg/status
	printf 'Package: other\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n' >target/var/lib/dpkg/status
	lacks_it "needs libbase"
	needing 'Conflicts: other'
	printf 'Package: other\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n' >>target/var/lib/dpkg/status
	lacks_it "other"
	needing 'Depends: libbase'
	sed -i 's/^Architecture: amd64/Architecture: arm64/' target/var/lib/dpkg/status
	printf 'arm64\n' >target/var/lib/dpkg/arch
	lacks_it "architecture"
}

@test "dpkg was interrupted in the target: refused" {
	needing 'Depends: libbase'
	sed -i 's/install ok installed/install ok half-configured/' target/var/lib/dpkg/status
	touch target/var/lib/dpkg/updates/0001
	remember
	run -1 --separate-stderr app --json
	[ "$(reason)" = PKGDB_UNFINISHED ]
	unchanged
}

@test "a component by path, whose program needs a library that the target has not" {
	mkdir -p os/usr/bin os/etc
	cp -a os app
	mkdir -p app/opt/app
	cp /usr/bin/env app/opt/app/env
	plyfs capture os app.plyfs >/dev/null 2>&1
	plyfs add app.plyfs app app >/dev/null
	mkdir target
	plyfs layout app.plyfs target -s os --no-sync >/dev/null
	remember
	run -3 --separate-stderr app --json
	[ "$(reason)" = TARGET_LACKS ]
	[[ $stderr == *"/opt/app/env"*"libc.so.6"* ]]
	unchanged
	run -0 app --force-os-mismatch
	cmp target/opt/app/env app/opt/app/env
	# and with what it needs
	run -0 plyfs layout target --remove app --no-sync
	mkdir -p target/lib64 target/usr/lib/x86_64-linux-gnu target/lib
	local need
	ldd /usr/bin/env | grep -o '/[^ ]*' | while read -r need; do
		mkdir -p "target$(dirname "$need")"
		cp -L "$need" "target$need"
	done
	run -0 app
}

# --- what cannot be done ------------------------------------------------------------------------------------------------

@test "bad input: exit codes, reasons, and nothing is touched" {
	local words
	laid target os,db
	add web >/dev/null
	remember
	run -1 --separate-stderr add nothing --json
	[ "$(reason)" = SUB_UNKNOWN ]
	run -1 --separate-stderr take nothing --json
	[ "$(reason)" = SUB_UNKNOWN ]
	run -1 --separate-stderr take os --json
	[ "$(reason)" = SUB_UNKNOWN ]
	run -1 --separate-stderr take web,nothing --json
	[ "$(reason)" = SUB_UNKNOWN ]
	for words in .. ../update web/.. . ''; do
		run ! plyfs layout target --remove "$words"
	done
	run -1 --separate-stderr plyfs layout nowhere.plyfs target -s lang --json
	[ "$(reason)" = IMAGE_NOT_FOUND ]
	run -1 --separate-stderr plyfs layout "$image" nowhere -s lang --json
	[ "$(reason)" = TARGET_NOT_FOUND ]
	run -1 --separate-stderr plyfs layout nowhere --remove web --json
	[ "$(reason)" = TARGET_NOT_FOUND ]
	touch file
	run -1 --separate-stderr plyfs layout "$image" file -s lang --json
	[ "$(reason)" = TARGET_NOT_DIRECTORY ]
	run -1 --separate-stderr plyfs layout file --remove web --json
	[ "$(reason)" = TARGET_NOT_DIRECTORY ]
	mkdir empty
	run -1 --separate-stderr plyfs layout empty --remove web --json
	[ "$(reason)" = SUB_UNKNOWN ]
	[ -z "$(ls -A empty)" ]
	run -2 plyfs layout "$image" target --remove web
	run -2 plyfs layout target --remove web -s os
	run -2 plyfs layout target --remove web --resume
	run -2 plyfs layout target --remove web --policy x
	run -2 plyfs layout target --remove
	run -2 plyfs layout target
	unchanged
}

@test "a state that is damaged, or another's, is not believed" {
	laid target os
	add web >/dev/null
	cp -a "$state/merge/web/table" table
	printf '\377' | dd of="$state/merge/web/table" bs=1 seek=200 conv=notrunc status=none
	run -4 --separate-stderr take web --json
	[ "$(reason)" = STATE_DAMAGED ]
	[[ $stderr == *merge/web/table* ]]
	rm "$state/merge/web/table"
	run -4 --separate-stderr take web --json
	[ "$(reason)" = STATE_DAMAGED ]
	[[ $stderr == *target/var/lib/plyfs/merge/web/table* && $stderr != *target*target* ]]
	run -4 add db
	run -4 plyfs layout "$image" target --resume
	ln -s "$PWD/table" "$state/merge/web/table"
	run -4 --separate-stderr take web
	[[ $stderr != *target*target* ]]
	rm "$state/merge/web/table"
	mkdir "$state/merge/web/table"
	run -4 take web
	rmdir "$state/merge/web/table"
	truncate -s 300M "$state/merge/web/table"
	run -4 take web
	rm "$state/merge/web/table"
	head -c 300 table >"$state/merge/web/table"
	run -4 --separate-stderr take web --json
	[[ $stderr != *target*target* ]]
	rm "$state/merge/web/table"
	cp -a "$state/merge/db+lang+web/table" "$state/merge/web/table"
	run -4 take web
	cp -a table "$state/merge/web/table"
	# what it is to be taken out by
	local dir
	stanza >>target/var/lib/dpkg/status        # now both are needed
	but_state target >was
	for dir in new with; do
		mv "$state/merge/web/$dir" kept
		run -4 --separate-stderr take web --json
		[ "$(reason)" = STATE_DAMAGED ]
		mkdir "$state/merge/web/$dir"
		run -4 --separate-stderr take web --json
		[ "$(reason)" = STATE_DAMAGED ]
		[[ $stderr == *"merge/web/$dir/"* && $stderr != *target*target* ]]
		rmdir "$state/merge/web/$dir"
		mv kept "$state/merge/web/$dir"
	done
	mv "$state/merge/web" kept
	ln -s "$PWD/kept" "$state/merge/web"
	run -4 take web
	rm "$state/merge/web"
	mv kept "$state/merge/web"
	cp "$state/merge/web/table" "$state/dirs"
	run -4 --separate-stderr take web
	[[ $stderr == *plyfs/dirs* && $stderr != *target*target* ]]
	rm "$state/dirs"
	but_state target | diff was -
	chmod 777 "$state"
	run -1 --separate-stderr take web --json
	[ "$(reason)" = STATE_DAMAGED ]
	run -1 --separate-stderr add lang --json
	[ "$(reason)" = STATE_DAMAGED ]
	chmod 700 "$state"
	run -0 take web
}

# once CODE COMMAND...: fails so, with one path, named once, before what it says of it
once()
{
	run -"$1" --separate-stderr "${@:2}"
	python3 - "$stderr" <<-'END'
		import re, sys
		line = sys.argv[1].splitlines()[-1]
		text = line.removeprefix("plyfs layout: ")
		assert text != line and "plyfs layout" not in text, line
		parts = text.split(": ")
		paths = [p for p in parts if re.fullmatch(r"/?[\w./+-]*/[\w./+-]*", p)]
		assert len(paths) <= 1 and len(parts) == len(set(parts)) and text.count("target/var") <= 1, line
	END
}

@test "an error names what it is about once" {
	laid target os
	add web >/dev/null
	local file
	for file in merge/web/table dirs; do
		cp -a "$state/merge/web/table" keep
		echo bad >"$state/$file"
		once 4 take web
		rm "$state/$file"
		[ $file = dirs ] || cp -a keep "$state/$file"
	done
	mkdir "$state/update"
	once 4 take web
	once 4 plyfs layout "$image" target --abort
	echo bad >"$state/update/journal"
	once 4 plyfs layout "$image" target --resume
	rm -r "$state/update"
	printf x >"$state/adding"
	once 4 plyfs layout "$image" target --abort
	rm "$state/adding"
	run straced -qq -o /dev/null -e trace=renameat2 -e inject="renameat2:signal=KILL:when=2" \
		plyfs layout "$image" target -s db --no-sync
	mv "$state/update/table" keep
	once 4 plyfs layout "$image" target --resume
	echo bad >"$state/update/table"
	once 4 plyfs layout "$image" target --abort
	mv keep "$state/update/table"
	run -0 plyfs layout "$image" target --abort --no-sync
	# what is in the way
	rm -rf target/var/cache/db target/usr/sbin/dbd
	echo x >target/usr/lib/db
	once 1 plyfs layout "$image" target -s db --no-sync
	rm target/usr/lib/db
	mkdir keep.d
	mv target/etc/passwd keep.d
	mkfifo target/etc/passwd
	once 1 plyfs layout "$image" target -s db --no-sync
	once 1 plyfs layout "$image" nowhere -s db --resume
	once 1 plyfs layout target --remove nosuch
	once 1 plyfs layout nowhere target
}

@test "an ordinary user's own target" {
	mkdir one
	echo x >one/file
	mkdir one/dir
	cp -a one two
	echo y >two/dir/more
	echo z >two/file
	chown -R 65534:65534 one two
	plyfs capture one u.plyfs >/dev/null 2>&1
	plyfs add u.plyfs two two >/dev/null
	mkdir target
	chown 65534:65534 target
	chmod 755 "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR" 2>/dev/null || true
	chmod 644 u.plyfs
	user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
	user plyfs layout u.plyfs target -s os --no-sync >/dev/null
	but_state target >was
	run -0 user plyfs layout u.plyfs target -s two --no-sync
	[ "$(cat target/file target/dir/more)" = $'z\ny' ]
	run -0 user plyfs layout target --remove two --no-sync
	but_state target | diff was -
}

@test "another one is at work" {
	laid target os
	exec 7<target
	flock -x 7
	run -1 --separate-stderr add web --json 7<&-
	[ "$(reason)" = TARGET_BUSY ]
	run -1 --separate-stderr take web --json 7<&-
	[ "$(reason)" = TARGET_BUSY ]
	exec 7<&-
	run -0 add web
}

@test "a disk that is full: told, and it is as before" {
	truncate -s 32M disk
	mkfs.ext4 -q -F -m 0 disk
	mkdir target
	mount -o loop disk target
	plyfs layout "$image" target -s os,web --no-sync >/dev/null 2>&1
	head -c 100M /dev/zero >target/full 2>/dev/null || true
	truncate -s -500K target/full
	but_state target >was
	run -1 --separate-stderr add lang --json
	[ "$(reason)" = TARGET_FULL ]
	but_state target | diff was -
	rm target/full
	run -0 add lang
}

@test "several of one call belong together: killed between them, an abort takes out all, a resume says what is missing" {
	laid target os
	but_state target >was
	local k
	for k in 2 20 60 100; do
		rm -rf copy
		cp -a target copy
		run straced -qq -o /dev/null -e trace=renameat2 -e inject="renameat2:signal=KILL:when=$k" \
			plyfs layout "$image" copy -s web,db,lang --no-sync
		[ "$status" -ne 0 ] || break
		[ -e copy/var/lib/plyfs/adding ]
		run -1 --separate-stderr plyfs layout "$image" copy -s web --json
		[ "$(reason)" = TARGET_UNFINISHED ]
		rm -rf other
		cp -a copy other
		run -0 plyfs layout "$image" copy --abort
		but_state copy | diff was -
		run plyfs layout "$image" other --resume --no-sync
		[ "$status" = 0 ] || [[ $output == *"lay out once more, with -s"* ]]
		run -0 plyfs layout "$image" other -s web,db,lang --no-sync
		[ "$(ls other/var/lib/plyfs/done | paste -sd ' ')" = "db db+lang+web lang os web" ]
	done
	[ "$k" != 2 ]
}

@test "several of one call belong together: where one cannot be added, none is" {
	command -v chattr >/dev/null || skip "no chattr"
	laid target os
	mkdir -p target/usr/lib/lang
	printf 'x' >target/usr/lib/lang/mine
	but_state target >was
	# the last of them meets a directory in which nothing can be made
	chattr +i target/usr/lib/lang 2>/dev/null || skip "this file system has no immutable files"
	run -1 plyfs layout "$image" target -s web,db,lang --no-sync
	chattr -i target/usr/lib/lang
	[ ! -e target/var/lib/plyfs/done/web ] || run -0 plyfs layout "$image" target --abort
	but_state target | diff was -
}
