#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout TARGET --remove of components that have a part in one file, or that a decision has put in the place of one
# another: what goes is the component's, in any order, whether they came with the first layout or one after the other.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
load ../lib/living
bats_require_minimum_version 1.5.0

setup_file() { need_root "layout sets owners" || return 0; }

# machines NAME...: os/ and one tree for each; made.plyfs of them by `made`
machines()
{
	local name
	mkdir -p os/etc os/usr/bin os/opt
	echo one >os/etc/motd
	echo gone >os/etc/gone
	echo mode >os/etc/mode
	touch -d '2001-01-01' os/etc/*
	for name; do cp -a os "$name"; done
}

made() # NAME...
{
	local name
	rm -f made.plyfs
	plyfs capture os made.plyfs >/dev/null 2>&1
	for name; do
		touch -d '2002-02-02' "$name"/etc/* "$name"/usr/bin/*
		plyfs add made.plyfs "$name" "$name" >/dev/null
	done
}

# came WAY OPTION... -- NAME...: all at once into an empty target, or one after the other
came()
{
	local way=$1 options=() name
	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	rm -rf target
	mkdir target
	if [ "$way" = first ]; then
		plyfs layout made.plyfs target -s "os,$(tr ' ' , <<<"$*")" --no-sync "${options[@]}" >/dev/null 2>&1
		return
	fi
	plyfs layout made.plyfs target -s os --no-sync >/dev/null 2>&1
	for name; do plyfs layout made.plyfs target -s "$name" --no-sync "${options[@]}" >/dev/null || return 1; done
}

texts()
{
	machines a b c
	mkdir -p {a,b,c}/etc/modules-load.d {a,b,c}/opt/app/modules-load.d
	printf '# of a\na\n' >a/etc/modules-load.d/x.conf
	printf '# of b\nb' >b/etc/modules-load.d/x.conf
	printf '# of c\nc\n' >c/etc/modules-load.d/x.conf
	# each has a time of its own, as what is put together and taken apart again has not
	touch -d '2003-03-03 01:02:03.4' a/etc/modules-load.d/x.conf
	touch -d '2004-04-04' b/etc/modules-load.d/x.conf
	made a b c
}

# those of NAME..., one behind the other
together()
{
	local name out=
	for name; do
		[ -z "$out" ] || [ -z "$(tail -c 1 together)" ] || echo >>together
		[ -n "$out" ] || : >together
		cat "$name/etc/modules-load.d/x.conf" >>together
		out=1
	done
	cat together
}

@test "texts one behind the other: each goes by itself, in every order, and the file with the last" {
	texts
	local way order name rest
	for way in first later; do
		for order in "a b c" "a c b" "b a c" "b c a" "c a b" "c b a"; do
			came "$way" -- a b c
			together a b c | cmp - target/etc/modules-load.d/x.conf
			rest="a b c"
			for name in $order; do
				plyfs layout target --remove "$name" --no-sync >out 2>&1 || { echo "$way: $order: $name"; cat out; false; }
				rest=$(tr ' ' '\n' <<<"$rest" | grep -v "^$name$" | paste -sd ' ') || true
				[ -n "$rest" ] || break
				# shellcheck disable=SC2086  # words
				together $rest | cmp - target/etc/modules-load.d/x.conf || { echo "$way: $order: $name"; false; }
			done
			[ ! -e target/etc/modules-load.d ] || { echo "$way: $order"; ls -lR target/etc; false; }
			laid_like os
		done
	done
}

# laid_like TREE
laid_like() { same "$1" target --skip mtime; }

@test "texts one behind the other: what an administrator has put beside them stays, and an edited one is named" {
	texts
	local way
	for way in first later; do
		came "$way" -- a b c
		sed -i '1i # mine' target/etc/modules-load.d/x.conf
		sed -i 's/^b$/&\n# mine too/' target/etc/modules-load.d/x.conf
		run -0 plyfs layout target --remove c --no-sync
		[ "$(cat target/etc/modules-load.d/x.conf)" = $'# mine\n# of a\na\n# of b\nb\n# mine too' ]
		run -0 plyfs layout target --remove a --no-sync
		[ "$(cat target/etc/modules-load.d/x.conf)" = $'# mine\n# of b\nb\n# mine too' ]
		sed -i 's/^b$/B/' target/etc/modules-load.d/x.conf
		run -1 --separate-stderr plyfs layout target --remove b --no-sync --json
		[ "$(reason)" = TARGET_EXISTS ]
		[ "$(left)" = "['/etc/modules-load.d/x.conf']" ]
		[ "$(cat target/etc/modules-load.d/x.conf)" = $'# mine\n# of b\nB\n# mine too' ]
		# one that is gone already is none to be named
		came "$way" -- a b c
		sed -i '/^# of b$/d; /^b$/d' target/etc/modules-load.d/x.conf
		run -0 plyfs layout target --remove b --no-sync
		[ "$(cat target/etc/modules-load.d/x.conf)" = $'# of a\na\n# of c\nc' ]
	done
}

@test "texts one behind the other: one that stands in another's, and one that two have" {
	machines a b c d
	mkdir -p {a,b,c,d}/etc/modules-load.d
	printf 'same\nlines\n' >a/etc/modules-load.d/x.conf
	printf 'first\nsame\nlines\nlast\n' >b/etc/modules-load.d/x.conf
	printf 'same\nlines\n' >c/etc/modules-load.d/x.conf
	printf 'other\n' >d/etc/modules-load.d/x.conf
	made b a c d
	local way order name
	for way in first later; do
		came "$way" -- b a c d
		[ "$(cat target/etc/modules-load.d/x.conf)" = $'first\nsame\nlines\nlast\nother' ]
		run -0 plyfs layout target --remove b --no-sync
		[ "$(cat target/etc/modules-load.d/x.conf)" = $'same\nlines\nother' ]
		run -0 plyfs layout target --remove a --no-sync
		[ "$(cat target/etc/modules-load.d/x.conf)" = $'same\nlines\nother' ]
		run -0 plyfs layout target --remove c --no-sync
		[ "$(cat target/etc/modules-load.d/x.conf)" = other ]
		run -0 plyfs layout target --remove d --no-sync
		laid_like os
		# the one within goes first: nothing of it is left with the one around it
		for order in "a c b d" "d a b c" "c d a b" "b d c a"; do
			came "$way" -- b a c d
			for name in $order; do
				run -0 plyfs layout target --remove "$name" --no-sync
			done
			laid_like os || { echo "$way: $order"; false; }
		done
	done
}

@test "a text behind the administrator's own file, which is there again as it was" {
	texts
	mkdir target
	plyfs layout made.plyfs target -s os --no-sync >/dev/null 2>&1
	mkdir target/etc/modules-load.d
	printf 'mine\nand mine' >target/etc/modules-load.d/x.conf
	touch -d '2003-03-03' target/etc/modules-load.d/x.conf target/etc/modules-load.d
	but_state target >was
	run -0 plyfs layout made.plyfs target -s a --no-sync
	run -0 plyfs layout target --remove a --no-sync
	but_state target | diff was -
	plyfs layout made.plyfs target -s a --no-sync >/dev/null
	run -0 plyfs layout made.plyfs target -s b --no-sync
	[ "$(cat target/etc/modules-load.d/x.conf)" = $'mine\nand mine\n# of a\na\n# of b\nb' ]
	sed -i 's/^and/AND/' target/etc/modules-load.d/x.conf
	run -0 plyfs layout target --remove a --no-sync
	run -0 plyfs layout target --remove b --no-sync
	[ "$(cat target/etc/modules-load.d/x.conf)" = $'mine\nAND mine' ]
}

# --- one in the place of another -------------------------------------------------------------------------------------

decided()
{
	machines a b
	local name
	for name in a b; do
		printf '\0%s' "$name" >$name/usr/bin/tool
		echo "$name" >$name/etc/motd
		mkdir -p $name/opt/common
		ln -s "/opt/$name" $name/opt/common/link
	done
	made a b
	policy first /usr/bin/tool /etc/motd /opt/common/link
	mv p.yaml first.yaml
	policy last /usr/bin/tool /etc/motd /opt/common/link
	mv p.yaml last.yaml
}

policy() # RULE PATH...: p.yaml
{
	local p
	{
		printf 'version: 1\nconflicts:\n'
		for p in "${@:2}"; do printf -- '  - glob: %s\n    resolve: %s\n' "$p" "$1"; done
	} >p.yaml
}

# is_of NAME: all of it
is_of()
{
	[ "$(tr -d '\0' <target/usr/bin/tool) $(cat target/etc/motd) $(readlink target/opt/common/link)" = "$1 $1 /opt/$1" ] ||
		{ ls -lR target; return 1; }
}

@test "a decision has given a path to one: when that goes the other's is there, and in the end what was there before" {
	decided
	local way rule wins loses
	for way in first later; do
		for rule in first last; do
			wins=a loses=b
			[ "$rule" = first ] || { wins=b loses=a; }
			came "$way" --policy "$rule.yaml" -- a b
			is_of $wins
			run -0 plyfs layout target --remove $loses --no-sync
			is_of $wins
			run -0 plyfs layout target --remove $wins --no-sync
			laid_like os
			came "$way" --policy "$rule.yaml" -- a b
			if [ "$way $rule" = "later first" ]; then
				# what the other brings was never written: this stays for it, and that is told
				run -1 --separate-stderr plyfs layout target --remove a --no-sync --json
				[ "$(reason)" = TARGET_EXISTS ]
				[ "$(left)" = "['/etc/motd', '/opt/common/link', '/usr/bin/tool']" ]
				[[ $stderr == *"component b"* ]]
				is_of a
			else
				run -0 plyfs layout target --remove $wins --no-sync
				is_of $loses
			fi
			run -0 plyfs layout target --remove $loses --no-sync
			laid_like os
		done
	done
}

@test "a decision has given a path to one: edited since, it stays, and is named" {
	decided
	local way
	for way in first later; do
		came "$way" --policy last.yaml -- a b
		echo edited >>target/usr/bin/tool
		run -0 plyfs layout target --remove a --no-sync
		run -1 --separate-stderr plyfs layout target --remove b --no-sync --json
		[ "$(left)" = "['/usr/bin/tool']" ]
		[ "$(tail -n 1 target/usr/bin/tool | tr -d '\0')" = bedited ]
		[ "$(cat target/etc/motd)" = one ]
	done
}

@test "a decision about files that are too large to be kept" {
	machines a b
	local name way
	for name in a b; do
		printf '%s' "$name" >$name/usr/bin/tool
		truncate -s 33M $name/usr/bin/tool
	done
	truncate -s 34M b/usr/bin/tool
	made a b
	policy last /usr/bin/tool
	for way in first later; do
		came "$way" --policy p.yaml -- a b
		[ "$(head -c 1 target/usr/bin/tool)" = b ]
		if [ "$way" = first ]; then
			run -1 --separate-stderr plyfs layout target --remove b --no-sync --json
			[ "$(left)" = "['/usr/bin/tool']" ]
			[ "$(head -c 1 target/usr/bin/tool)" = b ]
		else
			run -0 plyfs layout target --remove b --no-sync
			[ "$(head -c 1 target/usr/bin/tool)" = a ]
		fi
		run -0 plyfs layout target --remove a --no-sync
		laid_like os
	done
	# edited: not merged, and named
	came later --policy p.yaml -- a b
	echo edited >>target/usr/bin/tool
	run -1 --separate-stderr plyfs layout target --remove b --no-sync --json
	[ "$(left)" = "['/usr/bin/tool']" ]
	[ "$(tail -c 7 target/usr/bin/tool)" = edited ]
}

# a has a file where b has a directory
types()
{
	machines a b
	mkdir -p {a,b}/opt/app b/opt/x b/opt/app/x
	echo a | tee a/opt/x >a/opt/app/x
	echo b | tee b/opt/x/in >b/opt/app/x/in
	made a b
	policy last /opt/x /opt/app/x
}

@test "a decision has given a path to a directory: when that goes, it is told that another's file is not put back" {
	types
	came first --policy p.yaml -- a b
	[ "$(cat target/opt/x/in target/opt/app/x/in)" = $'b\nb' ]
	run -0 plyfs layout target --remove a --no-sync
	[ "$(cat target/opt/x/in target/opt/app/x/in)" = $'b\nb' ]
	run -0 plyfs layout target --remove b --no-sync
	laid_like os
	local way
	for way in first later; do
		if [ "$way" = first ]; then
			came first --policy p.yaml -- a b
		else
			came later --policy p.yaml -- b a
		fi
		run -1 --separate-stderr plyfs layout target --remove b --no-sync --json
		[ "$(reason)" = TARGET_EXISTS ]
		[ "$(left)" = "['/opt/app/x', '/opt/x']" ]
		[[ $stderr == *"component a"*"not at hand"* ]]
		[ ! -e target/opt/x ] && [ ! -e target/opt/app/x ]
		# as it says
		run -0 plyfs layout target --remove a --no-sync
		laid_like os
		run -0 plyfs layout made.plyfs target -s a --no-sync
		[ "$(cat target/opt/x target/opt/app/x)" = $'a\na' ]
		run -0 plyfs layout target --remove a --no-sync
		laid_like os
	done
}

@test "a decision has given a path to a file: it stays for the component that has a directory there, and that is told" {
	types
	local way
	policy first /opt/x /opt/app/x
	for way in first later; do
		came "$way" --policy p.yaml -- a b
		[ "$(cat target/opt/x target/opt/app/x)" = $'a\na' ]
		run -0 plyfs layout target --remove b --no-sync
		[ "$(cat target/opt/x target/opt/app/x)" = $'a\na' ]
		run -0 plyfs layout target --remove a --no-sync
		laid_like os
		came "$way" --policy p.yaml -- a b
		run -1 --separate-stderr plyfs layout target --remove a --no-sync --json
		[ "$(left)" = "['/opt/app/x', '/opt/x']" ]
		[[ $stderr == *"component b"* ]]
		run -0 plyfs layout target --remove b --no-sync
		laid_like os
	done
}

@test "a component's directory in the place of a file of the operating system: when it goes, that is told" {
	machines a
	echo os >os/opt/x
	mkdir a/opt/x
	echo a >a/opt/x/in
	made a
	came first -- a
	[ "$(cat target/opt/x/in)" = a ]
	run -1 --separate-stderr plyfs layout target --remove a --no-sync --json
	[ "$(left)" = "['/opt/x']" ]
	[[ $stderr == *"of the operating system"* ]]
	[ ! -e target/opt/x ]
}

@test "what two change equally goes back when the last of them goes" {
	machines a b
	local name way order
	for name in a b; do
		echo other >$name/etc/motd
		chmod 600 $name/etc/mode
		rm $name/etc/gone
		mkdir -p $name/opt/common
		echo same >$name/opt/common/file
	done
	made a b
	for way in first later; do
		for order in "a b" "b a"; do
			came "$way" -- a b
			# shellcheck disable=SC2086  # words
			set -- $order
			run -0 plyfs layout target --remove "$1" --no-sync
			[ "$(cat target/etc/motd target/opt/common/file)" = $'other\nsame' ]
			[ "$(stat -c %a target/etc/mode)" = 600 ]
			[ ! -e target/etc/gone ]
			run -0 plyfs layout target --remove "$2" --no-sync
			laid_like os || { echo "$way: $order"; false; }
		done
	done
}

# --- directories that are taken away -----------------------------------------------------------------------------------

# os has srv/old, the machine a has not
without_old()
{
	machines a
	mkdir -p os/srv/old/deep/er os/srv/old/empty os/srv/other
	echo x >os/srv/old/file
	echo y >os/srv/old/deep/er/file
	ln -s file os/srv/old/link
	echo z >os/srv/other/file
	chmod 2751 os/srv/old/deep
	chown 33:34 os/srv/old
	setfattr -n user.note -v yes os/srv/old/deep 2>/dev/null || skip "no extended attributes here"
	find os/srv -exec touch -h -d '2001-02-03 04:05:06.789' {} +
	mkdir -p a/srv
	cp -a os/srv/other a/srv/
	touch -r os/srv a/srv
	made a
	mkdir target
	plyfs layout made.plyfs target -s os --no-sync >/dev/null
}

@test "a directory that a component takes away goes, and is there again when the component has gone" {
	command -v strace >/dev/null || skip "needs strace"
	without_old
	but_state target >was
	getfattr -Rhd -m - target/srv >xattrs.was
	run -0 plyfs layout made.plyfs target -s a --no-sync
	[ "$(cd target/srv && find . | sort | paste -sd ' ')" = ". ./other ./other/file" ]
	but_state target >is
	run -0 plyfs layout target --remove a --no-sync
	but_state target | diff was -
	getfattr -Rhd -m - target/srv | diff xattrs.was -
	# killed on the way, there and back
	local n
	for n in 2 3 5 8 13; do
		run straced -qq -o /dev/null -e trace=renameat2 -e inject="renameat2:signal=KILL:when=$n" \
			plyfs layout made.plyfs target -s a --no-sync
		if [ -e "$state/update" ]; then run -0 plyfs layout made.plyfs target --abort --no-sync; fi
		[ -e "$state/done/a" ] || but_state target | diff was -
		plyfs layout made.plyfs target -s a --no-sync
		but_state target | diff is -
		run straced -qq -o /dev/null -e trace=renameat2 -e inject="renameat2:signal=KILL:when=$n" \
			plyfs layout target --remove a --no-sync
		if [ -e "$state/update" ]; then run -0 plyfs layout made.plyfs target --abort --no-sync; fi
		[ ! -e "$state/done/a" ] || but_state target | diff is -
		[ ! -e "$state/done/a" ] || run -0 plyfs layout target --remove a --no-sync
		but_state target | diff was -
	done
}

@test "a directory that a component of a new layout takes away is there when the component has gone" {
	without_old
	every os/srv/old -true >was
	getfattr -Rhd -m - os/srv | sed 's/: os/: target/' >xattrs.was
	echo y >>a/etc/motd                # and its directory, and one above, changed too
	chmod 700 a/srv
	made a
	came first -- a
	[ ! -e target/srv/old ]
	[ "$(stat -c %a target/srv)" = 700 ]
	run -0 plyfs layout target --remove a --no-sync
	every target/srv/old -true | diff was -
	getfattr -Rhd -m - target/srv | diff xattrs.was -
	laid_like os
	# with something of others at its place
	came first -- a
	mkdir target/srv/old
	echo mine >target/srv/old/file
	run -1 --separate-stderr plyfs layout target --remove a --no-sync --json
	[ "$(left)" = "['/srv/old/file']" ]
	[ "$(cat target/srv/old/file target/srv/old/deep/er/file)" = $'mine\ny' ]
	# all of it goes, but for that
	run -1 --separate-stderr plyfs layout made.plyfs target --abort --all --no-sync --json
	[ "$(find target -type f)" = target/srv/old/file ]
	came first -- a
	plyfs layout target --remove a --no-sync
	run -0 plyfs layout made.plyfs target --abort --all --no-sync
	[ -z "$(ls -A target)" ]
}

@test "a directory that a component takes away: what somebody has put into it, or changed of it, stays" {
	without_old
	echo mine >target/srv/old/deep/mine
	chmod 700 target/srv/old/empty
	touch -d '2003-03-03' target/srv/old/deep target/srv/old
	but_state target >was
	run -0 plyfs layout made.plyfs target -s a --no-sync
	[ "$(cd target/srv/old && find . | sort | paste -sd ' ')" = ". ./deep ./deep/mine ./empty" ]
	[ "$(stat -c %y target/srv/old/deep | cut -c 1-10)" = 2003-03-03 ]
	run -0 plyfs layout target --remove a --no-sync
	but_state target | diff was -
	# a file that was edited: a conflict, as everywhere
	echo edited >>target/srv/old/file
	remember
	run -3 --separate-stderr plyfs layout made.plyfs target -s a --no-sync --json
	[[ $stderr == *"/srv/old/file (target, a): deleted by one"* ]]
	unchanged
	policy first /srv/old/file
	run -0 plyfs layout made.plyfs target -s a --policy p.yaml --no-sync
	[ "$(cd target/srv/old && find . | sort | paste -sd ' ')" = ". ./deep ./deep/mine ./empty ./file" ]
	# one that is there again when the component goes, and one of which nothing is left
	rm -r target/srv/old
	run -0 plyfs layout target --remove a --no-sync
	[ ! -e target/srv/old ]
	[ "$(cat target/srv/other/file)" = z ]
}

# --- extended attributes --------------------------------------------------------------------------------------------------

# the machine a has other attributes than os: of directories, and of a file
other_attrs()
{
	machines a
	mkdir -p os/srv/{user,acl,less,mode,both} a/srv/{user,acl,less,mode,both}
	echo x | tee os/etc/attrs >a/etc/attrs
	setfattr -n user.note -v more a/srv/user a/etc/attrs || skip "no extended attributes here"
	setfacl -m u:33:rwx a/srv/acl || skip "no ACLs here"
	setfacl -d -m u:34:rx a/srv/acl
	setfattr -n user.note -v gone os/srv/less
	setfacl -m u:33:rx os/srv/{mode,both} a/srv/{mode,both}
	chmod 2700 a/srv/mode
	setfacl -m u:35:rx a/srv/both
	setfattr -n user.note -v old os/srv/both
	chown 33:34 a/srv/both
	touch -d '2001-02-03' {os,a}/srv/* {os,a}/srv {os,a}/etc/attrs
	made a
}

attrs() { getfattr -Rhd -m - "$1"/srv "$1"/etc | sed "s|^# file: $1/|# file: |"; find "$1"/srv "$1"/etc -printf '%P %m %U %G\n' | sort; }

@test "attributes and ACLs of directories and files: set when a component comes, as they were when it has gone" {
	other_attrs
	attrs os >was
	attrs a >is
	local way
	for way in later first; do
		came "$way" -- a
		attrs target | diff is -
		run -0 plyfs layout target --remove a --no-sync
		attrs target | diff was -
	done
	# an attribute that somebody has set since stays, and the directory is named
	came later -- a
	setfattr -n user.mine -v yes target/srv/acl
	run -1 --separate-stderr plyfs layout target --remove a --no-sync --json
	[ "$(left)" = "['/srv/acl']" ]
	[ "$(getfattr --only-values -n user.mine target/srv/acl)" = yes ]
}

@test "attributes of directories: killed at each of them, resumed or taken back" {
	command -v strace >/dev/null || skip "needs strace"
	other_attrs
	attrs os >was
	attrs a >is
	came later --
	mv target without
	local call n
	for call in fchownat lsetxattr,setxattr lremovexattr chmod,fchmodat; do
		for ((n = 1; n < 60; n++)); do
			rm -rf target
			cp -a without target
			if straced -qq -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$n" \
				plyfs layout made.plyfs target -s a --no-sync >/dev/null 2>&1; then break; fi
			[ -e "$state/update" ] || continue
			if ((n % 2)); then
				run -0 plyfs layout made.plyfs target --abort --no-sync
				attrs target | diff was - || { echo "$call $n"; false; }
			else
				run -0 plyfs layout made.plyfs target --resume --no-sync
				attrs target | diff is - || { echo "$call $n"; false; }
			fi
		done
		[ "$n" -gt 1 ]
	done
}

@test "a component of a new layout that changes a directory and makes something in it" {
	machines a
	chmod 700 a/opt
	mkdir a/opt/app
	echo x | tee a/opt/file >a/opt/app/file
	made a
	came first -- a
	[ "$(stat -c %a target/opt)" = 700 ]
	[ "$(cat target/opt/file target/opt/app/file)" = $'x\nx' ]
	run -0 plyfs layout target --remove a --no-sync
	laid_like os
}

# --- directories that several change ----------------------------------------------------------------------------------------

# a and b change directories of os just so; of one each, and c, changes more
changed_dirs()
{
	machines a b c
	mkdir -p {os,a,b,c}/srv/{mode,owner,attrs,acl,some}
	setfattr -n user.note -v os {os,c}/srv/attrs || skip "no extended attributes here"
	setfacl -m u:33:rwx {a,b}/srv/acl || skip "no ACLs here"
	chmod 700 {a,b}/srv/mode
	chown 33:34 {a,b}/srv/owner
	setfattr -n user.note -v more {a,b}/srv/attrs
	chmod 2750 {a,b}/srv/some
	chown 33 a/srv/some
	setfattr -n user.note -v c c/srv/some
	touch -d '2001-02-03' {os,a,b,c}/srv/* {os,a,b,c}/srv
	made a b c
}

# dirs_of NAME...: how os is with these, as attrs says it
dirs_of()
{
	rm -rf expected
	cp -a os expected
	if [[ " $* " == *" "[ab]" "* ]]; then
		cp -a --attributes-only a/srv/{mode,owner,attrs,acl} expected/srv/
		chmod 2750 expected/srv/some
	fi
	if [[ " $* " == *" a "* ]]; then chown 33 expected/srv/some; fi
	if [[ " $* " == *" c "* ]]; then setfattr -n user.note -v c expected/srv/some; fi
	attrs expected
}

@test "what several change of a directory: each attribute goes back when the last that changes it goes" {
	changed_dirs
	local way order name rest
	for way in later first; do
		for order in "a b c" "a c b" "b a c" "b c a" "c a b" "c b a"; do
			came "$way" -- a b c
			dirs_of a b c | diff - <(attrs target)
			rest="a b c"
			for name in $order; do
				run -0 plyfs layout target --remove "$name" --no-sync
				rest=$(tr ' ' '\n' <<<"$rest" | grep -v "^$name$" | paste -sd ' ') || true
				# shellcheck disable=SC2086  # words
				dirs_of $rest | diff - <(attrs target) || { echo "$way: $order: $name"; false; }
			done
		done
	done
}

@test "what several change of a directory: those of a new layout, and those that have come later" {
	changed_dirs
	local order name
	for order in "a b c" "b a c" "c b a"; do
		came first -- a
		plyfs layout made.plyfs target -s b --no-sync >/dev/null
		plyfs layout made.plyfs target -s c --no-sync >/dev/null
		for name in $order; do run -0 plyfs layout target --remove "$name" --no-sync; done
		dirs_of | diff - <(attrs target) || { echo "$order"; false; }
	done
	# what has come again is known again
	came later -- a b
	run -0 plyfs layout target --remove a --no-sync
	run -0 plyfs layout made.plyfs target -s a --no-sync
	run -0 plyfs layout target --remove b --no-sync
	dirs_of a | diff - <(attrs target)
	run -0 plyfs layout target --remove a --no-sync
	dirs_of | diff - <(attrs target)
}

@test "what several change of a directory: edited since, it stays, and is named" {
	changed_dirs
	local way
	for way in later first; do
		came "$way" -- a b c
		chmod 711 target/srv/mode
		setfattr -n user.mine -v yes target/srv/attrs
		chown 36 target/srv/mode
		run -1 --separate-stderr plyfs layout target --remove a --no-sync --json
		[ "$(left)" = "['/srv/attrs', '/srv/mode']" ]
		run -1 --separate-stderr plyfs layout target --remove b --no-sync --json
		[ "$(left)" = "['/srv/attrs', '/srv/mode']" ]
		[ "$(stat -c %a:%u target/srv/mode)" = 711:36 ]
		[ "$(getfattr --only-values -n user.mine target/srv/attrs)" = yes ]
		[ "$(stat -c %u target/srv/owner)" = 0 ]
	done
	# another attribute than the components' is the administrator's
	came later -- a b
	chown 36 target/srv/mode
	run -0 plyfs layout target --remove a --no-sync
	run -0 plyfs layout target --remove b --no-sync
	[ "$(stat -c %a:%u target/srv/mode)" = 755:36 ]
}

# --- all of it ------------------------------------------------------------------------------------------------------------------

@test "components taken out of a new layout, then all of it: the target is as it was before" {
	texts
	printf 'root:x:0:0:root:/root:/bin/sh\n' >os/etc/passwd
	for name in a b c; do
		printf 'root:x:0:0:root:/root:/bin/sh\n%s:x:%d:0::/:/bin/false\n' "$name" "0x1f$name" >$name/etc/passwd
		echo "$name" >$name/etc/motd
		chmod 700 $name/opt
		rm $name/etc/gone
	done
	made a b c
	policy last /etc/motd /etc/passwd
	local order name
	for order in "b" "c a" "c" "a b c"; do
		came first --policy p.yaml -- a b c
		# what is laid out is not what was there
		for name in $order; do run -0 plyfs layout target --remove "$name" --no-sync; done
		[ "$(stat -c %s target/etc/gone 2>/dev/null || echo 0)" != 5 ] || [ "$order" = "a b c" ]
		run -0 plyfs layout made.plyfs target --abort --all --no-sync
		[ -z "$(ls -A target)" ] || { echo "$order"; find target; false; }
	done
	# an edit since is told, as it is without any removal
	came first --policy p.yaml -- a b c
	run -0 plyfs layout target --remove c --no-sync
	echo edited >>target/etc/modules-load.d/x.conf
	run -1 --separate-stderr plyfs layout made.plyfs target --abort --all --no-sync --json
	[ "$(left)" = "['/etc/modules-load.d/x.conf']" ]
	[ "$(find target -type f)" = target/etc/modules-load.d/x.conf ]
}

@test "components taken out of a new layout, then all of it: killed, and gone on with" {
	command -v strace >/dev/null || skip "needs strace"
	texts
	for name in a b c; do rm $name/etc/gone; done
	made a b c
	came first -- a b c
	for name in c a b; do plyfs layout target --remove "$name" --no-sync >/dev/null; done
	[ -e target/etc/gone ]
	mv target laid
	local call n
	for call in renameat2 unlinkat; do
		for ((n = 1; n < 100; n++)); do
			rm -rf target
			cp -a laid target
			if straced -qq -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$n" \
				plyfs layout made.plyfs target --abort --all --no-sync >/dev/null 2>&1; then break; fi
			run -0 plyfs layout made.plyfs target --abort --all --no-sync
			[ -z "$(ls -A target)" ] || { echo "$call $n"; find target; false; }
		done
		[ "$n" -gt 3 ]
	done
}
