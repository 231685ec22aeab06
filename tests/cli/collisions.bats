#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two machines added to one os have the same path: what plan says of it, and what mount and layout make of it, for every
# row of the collision table, undecided, by policy and with --on-collision=append. lib/composite.py draws from the same
# rows at random.

# shellcheck disable=SC2154  # stderr: by run; gold: by gold()

load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "owners, devices, mounts" || return 0
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || return 0
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir -p base/{etc,srv,opt,dev,usr/share/base,var/lib/dpkg/info,var/log,home/alice}
	printf 'ID=debian\nVERSION_ID="12"\n' >base/etc/os-release
	printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n' >base/etc/passwd
	printf 'root:x:0:\nwww-data:x:33:\nstaff:x:50:\n' >base/etc/group
	printf '127.0.0.1\tlocalhost\n\n# the next lines are for IPv6\n::1\tip6-localhost\nff02::1\tip6-allnodes\n' >base/etc/hosts
	printf 'SHELL=/bin/sh\n\n17 * * * *\troot\thourly\n\n25 6 * * *\troot\tdaily\n47 6 * * 7\troot\tweekly\n\n52 6 1 * *\troot\tmonthly\n' >base/etc/crontab
	printf '/bin/sh\n' >base/etc/shells
	stanza base 1.0 >base/var/lib/dpkg/status
	printf '/.\n/etc\n/etc/os-release\n' >base/var/lib/dpkg/info/base.list
	echo amd64 >base/var/lib/dpkg/arch
	seq -f 'line %g' 20 >base/srv/lines
	printf '\0\1' >base/srv/binary
	echo 'as it was' >base/srv/file
	mkdir -p base/srv/folder/deep
	echo 'inside' >base/srv/folder/deep/file
	echo log >base/var/log/app.log
	find base -exec touch -h -d 2023-01-01 {} +
}

setup()
{
	ready
	cp -a "$BATS_FILE_TMPDIR/base" one
	cp -a one two
	mkdir mnt
}

teardown()
{
	unmount_all "$PWD/mnt"
	if mountpoint -q tree; then umount tree; fi
}

stanza() { printf 'Package: %s\nStatus: install ok installed\nMaintainer: A <a@b.c>\nArchitecture: amd64\nVersion: %s\nDescription: made up\n\n' "$1" "$2"; }

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# --- what there is ----------------------------------------------------------------------------------

# both PATH TEXT-OF-ONE TEXT-OF-TWO
both()
{
	put "one$1" "$2"
	put "two$1" "$3"
}

put() # FILE TEXT
{
	mkdir -p "$(dirname "$1")"
	printf '%b' "$2" >"$1"
	touch -d 2024-01-01 "$1"
}

# image: the two machines on top of their base
image()
{
	plyfs capture "$BATS_FILE_TMPDIR/base" i.plyfs --level 1
	plyfs add i.plyfs one one
	plyfs add i.plyfs two two
}

# planned PATH [OPTION...]: "CLASS WHY DECISION SUB-IMAGES", and plan's exit code in $code
planned()
{
	local path=$1
	shift
	code=0
	plyfs plan i.plyfs "$@" --json >plan.json || code=$?
	row=$(python3 "$PLYFS_TESTS/lib/plan.py" row "$path" <plan.json)
}

# refused PATH [OPTION...]: nothing is written or shown, and the path is named
refused()
{
	local path=$1
	shift
	rm -rf out
	mkdir out
	touch -d 2020-01-01 out
	run -3 --separate-stderr plyfs layout i.plyfs out --no-sync "$@"
	[[ $stderr == *"$path"* ]]
	[ -z "$(ls -A out)" ]
	[ "$(stat -c %Y out)" = "$(date -d 2020-01-01 +%s)" ]
	run -3 --separate-stderr plyfs layout i.plyfs out/new --no-sync "$@"
	[ ! -e out/new ]
	run -3 --separate-stderr plyfs mount i.plyfs mnt "$@"
	[[ $stderr == *"$path"* ]]
	if mountpoint -q mnt; then return 1; fi
	run -3 plyfs plan i.plyfs "$@"
	[[ $output == *"$path"* ]]
	run -3 plyfs cat i.plyfs "$path" "$@"
	run -3 --separate-stderr plyfs layout i.plyfs out --no-sync "$@" --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = CONFLICT ]
}

# made [OPTION...]: out/ is what layout makes, with one stream and with eight, and what a mount shows
made()
{
	rm -rf out out8
	mkdir out out8
	plyfs plan i.plyfs "$@" >plan.txt
	plyfs layout i.plyfs out --no-sync -j 1 "$@"
	plyfs layout i.plyfs out8 --no-sync -j 8 "$@"
	same out out8
	mounted "$PWD/mnt" i.plyfs "$@"
	same mnt out
	unmounted mnt
}

# decide RULE: a policy in policy.yaml, from what plan writes
decide()
{
	plyfs plan i.plyfs --write=policy.yaml >plan.txt || [ $? = 3 ]
	grep -q 'resolve: undecided' policy.yaml
	sed -i "s/resolve: undecided/resolve: $1/" policy.yaml
}

# is FILE TEXT
is() { diff <(printf '%b' "$2") "$1"; }

# equal NAME: as that machine has it
equal() { cmp "$1$2" "out$2"; }

# no_conflict PATH CLASS: class, or - where it is no collision at all; sets out/
no_conflict()
{
	image
	planned "$1"
	[ "$code" = 0 ]
	[ "${row%% *}" = "${2#-}" ]
	made
}

# conflict PATH WHY: refused, and then decided by first and by last: as one has it, and as two, which is left in out/
conflict()
{
	local path=$1 why=$2
	image
	planned "$path"
	[ "$code" = 3 ]
	[[ $row == "conflict $why "*one,two ]]
	refused "$path"
	decide fail
	refused "$path" --policy policy.yaml
	decide first
	made --policy policy.yaml
	[ ! -f "one$path" ] || [ -L "one$path" ] || equal one "$path"
	decide last
	made --policy policy.yaml
	[ ! -f "two$path" ] || [ -L "two$path" ] || equal two "$path"
}

# vetoed PATH WHY: a conflict, which --on-collision=append does not settle, and no policy can append
vetoed()
{
	conflict "$1" "$2"
	refused "$1" --on-collision=append
	decide keep-both
	made --policy policy.yaml
	equal one "$1"
	cmp "two$1" "out$1.plyfs-two"
}

# appended PATH TEXT: with --on-collision=append, and by a policy that says so
appended()
{
	made --on-collision=append
	is "out$1" "$2"
	decide append
	made --policy policy.yaml
	is "out$1" "$2"
}

# --- no conflict --------------------------------------------------------------------------------

@test "identical: one file, no collision" {
	both /srv/x 'same\n' 'same\n'
	no_conflict /srv/x -
	equal one /srv/x
	[ "$(json 'len(d["items"])' <plan.json)" = 0 ]
}

@test "times only: one file, with the first's times" {
	both /srv/x 'same\n' 'same\n'
	touch -d 2024-05-05 two/srv/x
	no_conflict /srv/x times
	[ "$(stat -c %y out/srv/x)" = "$(stat -c %y one/srv/x)" ]
}

@test "directories of other metadata: the first's, and that is reported; entries are merged" {
	mkdir -m 700 one/srv/d
	mkdir -m 775 two/srv/d
	echo 1 >one/srv/d/1
	echo 2 >two/srv/d/2
	no_conflict /srv/d directory
	[ "$(stat -c %a out/srv/d)" = 700 ]
	[ "$(cat out/srv/d/*)" = $'1\n2' ]
}

@test "append: a fragment of a configuration, each block once, in rank order" {
	both /etc/mysql/conf.d/x.cnf '[mysqld]\na = 1\n' '[mysqld]\nb = 2\n'
	no_conflict /etc/mysql/conf.d/x.cnf append
	is out/etc/mysql/conf.d/x.cnf '[mysqld]\na = 1\n[mysqld]\nb = 2\n'
	# in the other order
	plyfs capture "$BATS_FILE_TMPDIR/base" j.plyfs
	plyfs add j.plyfs two two
	plyfs add j.plyfs one one
	[ "$(plyfs cat j.plyfs /etc/mysql/conf.d/x.cnf)" = $'[mysqld]\nb = 2\n[mysqld]\na = 1' ]
	made --on-collision=append
	is out/etc/mysql/conf.d/x.cnf '[mysqld]\na = 1\n[mysqld]\nb = 2\n'
}

@test "append: a text without a final newline gets one" {
	both /etc/sysctl.d/x.conf 'net.a = 1' 'net.b = 2'
	no_conflict /etc/sysctl.d/x.conf append
	is out/etc/sysctl.d/x.conf 'net.a = 1\nnet.b = 2'
}

@test "append: a policy can say otherwise" {
	both /etc/cron.d/x '1 * * * * root one\n' '2 * * * * root two\n'
	no_conflict /etc/cron.d/x append
	printf 'version: 1\nconflicts:\n  - glob: /etc/cron.d/*\n    resolve: last\n' >p.yaml
	made --policy p.yaml
	equal two /etc/cron.d/x
	printf 'version: 1\nconflicts:\n  - glob: /etc/cron.d/x\n    resolve: fail\n' >p.yaml
	refused /etc/cron.d/x --policy p.yaml
}

@test "keyed: users, groups, packages are merged by name, in the order of ranks" {
	echo 'ann:x:101:101::/:/bin/sh' >>one/etc/passwd
	echo 'ann:x:101:' >>one/etc/group
	echo 'bob:x:102:102::/:/bin/sh' >>two/etc/passwd
	echo 'bob:x:102:' >>two/etc/group
	{ stanza alpha 1; stanza base 1.0; } >one/var/lib/dpkg/status
	{ stanza base 1.0; stanza gamma 1; } >two/var/lib/dpkg/status
	echo /. | tee one/var/lib/dpkg/info/alpha.list >two/var/lib/dpkg/info/gamma.list
	no_conflict /etc/passwd driver
	[ "$(cut -d : -f 1 out/etc/passwd | paste -sd ' ')" = 'root www-data ann bob' ]
	[ "$(sed -n 's/^Package: //p' out/var/lib/dpkg/status | paste -sd ' ')" = 'alpha base gamma' ]
	made --on-collision=append
	[ "$(cut -d : -f 1 out/etc/passwd | paste -sd ' ')" = 'root www-data ann bob' ]
}

@test "keyed: a number that two names have is mapped, in owners and ACLs too" {
	local m
	for m in one two; do
		echo "$m:x:101:101::/:/bin/sh" >>$m/etc/passwd
		echo "$m:x:101:" >>$m/etc/group
		echo $m >$m/srv/$m
		chown 101:101 $m/srv/$m
		chmod 4750 $m/srv/$m
		mkdir $m/srv/acl-$m
		setfacl -m u:101:rwx,g:101:rx,d:u:101:rx $m/srv/acl-$m
	done
	no_conflict /etc/passwd driver
	[ "$(stat -c '%u:%g %a' out/srv/one)" = '101:101 4750' ]
	[ "$(stat -c '%u:%g %a' out/srv/two)" = '100:100 4750' ]
	grep -qx 'two:x:100:100::/:/bin/sh' out/etc/passwd
	grep -qx 'two:x:100:' out/etc/group
	[ "$(getfacl -nc out/srv/acl-two 2>/dev/null | grep -cE '(user|group):100:')" = 3 ]
	[ "$(getfacl -nc out/srv/acl-one 2>/dev/null | grep -cE '(user|group):101:')" = 3 ]
	rm -rf out
	mkdir out
	plyfs layout i.plyfs out -s two --no-sync
	[ "$(stat -c '%u:%g' out/srv/two)" = 100:100 ]
	if grep -q ^one: out/etc/passwd; then return 1; fi
}

@test "logs and caches that are in the os are no difference" {
	echo one >>one/var/log/app.log
	echo two >>two/var/log/app.log
	no_conflict /var/log/app.log -
	cmp "$BATS_FILE_TMPDIR/base/var/log/app.log" out/var/log/app.log
}

# --- conflicts ------------------------------------------------------------------------------------

@test "JSON" {
	both /srv/x.json '{"a": 1}\n' '{"b": 2}\n'
	vetoed /srv/x.json JSON
}

@test "XML" {
	both /srv/x.xml '<?xml version="1.0"?>\n<a/>\n' '<?xml version="1.0"?>\n<b/>\n'
	vetoed /srv/x.xml XML
}

@test "YAML" {
	both /srv/x.yaml 'a: 1\nb:\n  - 2\n' 'a: 2\nb:\n  - 3\n'
	vetoed /srv/x.yaml YAML
}

@test "INI where one key has two values" {
	both /etc/mysql/conf.d/x.cnf '[mysqld]\nport = 1\n' '[mysqld]\nport = 2\n'
	conflict /etc/mysql/conf.d/x.cnf KEYS
	refused /etc/mysql/conf.d/x.cnf --on-collision=append
}

@test "a unit" {
	both /etc/systemd/system/x.service '[Service]\nExecStart=/bin/one\n' '[Service]\nExecStart=/bin/two\n'
	vetoed /etc/systemd/system/x.service UNIT
}

@test "sshd_config" {
	both /etc/ssh/sshd_config 'Port 22\nMatch User one\n' 'Port 23\n'
	vetoed /etc/ssh/sshd_config SSHD
}

@test "a script, where fragments may be appended too" {
	both /etc/cron.d/x '#!/bin/sh\necho one\nexit 0\n' '#!/bin/sh\necho two\nexit 0\n'
	vetoed /etc/cron.d/x SCRIPT
}

@test "a private key" {
	local b='-----BEGIN PRIVATE KEY-----\n' e='-----END PRIVATE KEY-----\n'
	both /etc/ssl/private/x.key "${b}MIIone\\n$e" "${b}MIItwo\\n$e"
	vetoed /etc/ssl/private/x.key SECRET
	decide append
	run -1 --separate-stderr plyfs layout i.plyfs out --no-sync --policy policy.yaml
	[[ $stderr == policy.yaml:* || $stderr == *" policy.yaml:"* ]]
}

@test "a text of no known form: appended only where that is asked for" {
	both /srv/notes 'a note of one\n' 'a note of two'
	conflict /srv/notes UNKNOWN
	appended /srv/notes 'a note of one\na note of two'
	decide keep-both
	made --policy policy.yaml
	equal one /srv/notes
	cmp two/srv/notes out/srv/notes.plyfs-two
}

@test "binaries" {
	both /srv/x '\0one' '\0two'
	vetoed /srv/x BINARY
}

@test "a symlink against a directory" {
	ln -s /etc one/srv/x
	put two/srv/x/inside 'inside\n'
	put two/srv/x/deep/er 'deeper\n'
	conflict /srv/x TYPE
	[ "$(cat out/srv/x/inside out/srv/x/deep/er)" = $'inside\ndeeper' ]
	[ ! -L out/srv/x ]
	refused /srv/x --on-collision=append
	decide first
	made --policy policy.yaml
	[ "$(readlink out/srv/x)" = /etc ]
	[ "$(stat -c %h out/srv)" = "$(stat -c %h one/srv)" ]
	decide keep-both
	run -1 --separate-stderr plyfs layout i.plyfs out --no-sync --policy policy.yaml
	[[ $stderr == *policy.yaml:* ]]
}

@test "a file against a directory" {
	put one/srv/x/inside 'inside\n'
	put two/srv/x 'a file\n'
	conflict /srv/x TYPE
	[ -f out/srv/x ]
	refused /srv/x --on-collision=append
	decide first
	made --policy policy.yaml
	is out/srv/x/inside 'inside\n'
}

@test "symlinks to different places" {
	ln -s one one/srv/x
	ln -s two two/srv/x
	conflict /srv/x TARGET
	[ "$(readlink out/srv/x)" = two ]
	refused /srv/x --on-collision=append
}

@test "other owners" {
	both /srv/x 'same\n' 'same\n'
	chown 33:33 two/srv/x
	conflict /srv/x OWNER
	[ "$(stat -c %u:%g out/srv/x)" = 33:33 ]
	refused /srv/x --on-collision=append
	decide first
	made --policy policy.yaml
	[ "$(stat -c %u:%g out/srv/x)" = 0:0 ]
}

@test "other modes, other xattrs" {
	both /srv/x 'same\n' 'same\n'
	chmod 600 two/srv/x
	conflict /srv/x MODE
	[ "$(stat -c %a out/srv/x)" = 600 ]
	rm i.plyfs
	chmod 644 two/srv/x
	setfattr -n user.a -v 1 two/srv/x
	conflict /srv/x XATTRS
	[ "$(getfattr --only-values -n user.a out/srv/x)" = 1 ]
}

@test "other hard-link groups" {
	put one/srv/x 'same\n'
	ln one/srv/x one/srv/y
	both /srv/z 'z' 'z'
	put two/srv/x 'same\n'
	put two/srv/y 'same\n'
	image
	planned /srv/x
	[ "$code" = 3 ]
	[[ $row == "conflict LINKS "*one,two ]]
	planned /srv/y
	[[ $row == "conflict LINKS "*one,two ]]
	refused /srv/x
	decide first
	made --policy policy.yaml
	[ "$(stat -c %h out/srv/x)" = 2 ]
	[ out/srv/x -ef out/srv/y ]
	decide last
	made --policy policy.yaml
	[ "$(stat -c %h out/srv/x)" = 1 ]
	# one of the two names each
	printf 'version: 1\nconflicts:\n  - {glob: /srv/x, resolve: first}\n  - {glob: /srv/y, resolve: last}\n' >p.yaml
	made --policy p.yaml
	[ "$(stat -c %h out/srv/x)" = 1 ]
	[ "$(stat -c %h out/srv/y)" = 1 ]
}

# linked TEXT-OF-ONE TEXT-OF-TWO [NAME]: as many names each, one of them in common; NAME is one's other one
linked()
{
	both /etc/sysctl.d/b.conf "$1" "$2"
	ln one/etc/sysctl.d/b.conf "one/etc/sysctl.d/${3:-a}.conf"
	ln two/etc/sysctl.d/b.conf two/etc/sysctl.d/c.conf
	image
	[ "$(plyfs plan i.plyfs --json | python3 -c 'import json,sys; print([c["why"] for c in json.load(sys.stdin)["items"] if c["class"] == "conflict"])')" = "['LINKS']" ]
	run -3 --separate-stderr plyfs layout i.plyfs out
	decide first
	made --policy policy.yaml
	[ "out/etc/sysctl.d/${3:-a}.conf" -ef out/etc/sysctl.d/b.conf ]
	is out/etc/sysctl.d/b.conf "$1"
	is out/etc/sysctl.d/c.conf "$2"
	[ "$(stat -c %h out/etc/sysctl.d/b.conf out/etc/sysctl.d/c.conf | tr '\n' ' ')" = "2 1 " ]
	decide last
	made --policy policy.yaml
	[ out/etc/sysctl.d/b.conf -ef out/etc/sysctl.d/c.conf ]
	is "out/etc/sysctl.d/${3:-a}.conf" "$1"
	is out/etc/sysctl.d/b.conf "$2"
}

@test "hard-link groups of as many names, but others: texts that could be appended" {
	linked 'a.x = 1\n' 'b.y = 1\n'
}

@test "hard-link groups of as many names, but others: equal texts" {
	linked 'a.x = 1\n' 'a.x = 1\n'
}

@test "hard-link groups of as many names, but others: with one first name" {
	linked 'a.x = 1\n' 'a.x = 1\n' d
}

@test "hard-link groups with the same names" {
	both /etc/sysctl.d/b.conf 'a.x = 1\n' 'b.y = 1\n'
	ln one/etc/sysctl.d/b.conf one/etc/sysctl.d/c.conf
	ln two/etc/sysctl.d/b.conf two/etc/sysctl.d/c.conf
	no_conflict /etc/sysctl.d/b.conf append
	[ out/etc/sysctl.d/b.conf -ef out/etc/sysctl.d/c.conf ]
	is out/etc/sysctl.d/c.conf 'a.x = 1\nb.y = 1\n'
}

@test "a device against a file, and against another device" {
	mknod one/srv/x c 1 3
	put two/srv/x 'a file\n'
	mknod one/srv/y c 1 3
	mknod two/srv/y c 1 5
	image
	planned /srv/x
	[[ $row == "conflict TYPE "* ]]
	planned /srv/y
	[[ $row == "conflict DEVICE "* ]]
	refused /srv/y
	refused /srv/x --on-collision=append
	decide last
	made --policy policy.yaml
	[ "$(stat -c %t:%T out/srv/y)" = 1:5 ]
	equal two /srv/x
	decide first
	made --policy policy.yaml
	[ "$(stat -c %t:%T out/srv/x)" = 1:3 ]
}

@test "a certificate and its key are one decision, of one machine" {
	local b='-----BEGIN PRIVATE KEY-----\n' e='-----END PRIVATE KEY-----\n'
	both /etc/ssl/private/ssl-cert-snakeoil.key "${b}MIIone\\n$e" "${b}MIItwo\\n$e"
	b=${b/PRIVATE KEY/CERTIFICATE} e=${e/PRIVATE KEY/CERTIFICATE}
	both /etc/ssl/certs/ssl-cert-snakeoil.pem "${b}MIIone\\n$e" "${b}MIItwo\\n$e"
	image
	plyfs plan i.plyfs --json >plan.json || [ $? = 3 ]
	[ "$(python3 "$PLYFS_TESTS/lib/plan.py" decisions <plan.json)" = \
		'/etc/ssl/certs/ssl-cert-snakeoil.pem /etc/ssl/private/ssl-cert-snakeoil.key' ]
	decide last
	[ "$(grep -c 'resolve:' policy.yaml)" = 1 ]
	made --policy policy.yaml
	equal two /etc/ssl/private/ssl-cert-snakeoil.key
	equal two /etc/ssl/certs/ssl-cert-snakeoil.pem
}

@test "two versions of one package are one conflict, which names the package" {
	local m
	for m in one two; do
		{ stanza base 1.0; stanza libx 3.$m; } >$m/var/lib/dpkg/status
		printf '/.\n/usr\n/usr/lib\n/usr/lib/libx.so\n/usr/share\n/usr/share/libx\n' >$m/var/lib/dpkg/info/libx.list
		put $m/usr/lib/libx.so "\\0$m"
		put $m/usr/share/libx "$m"
	done
	image
	plyfs plan i.plyfs --json >plan.json || [ $? = 3 ]
	[ "$(python3 "$PLYFS_TESTS/lib/plan.py" decisions <plan.json | wc -l)" = 1 ]
	run -3 plyfs plan i.plyfs
	[[ $output == *libx*3.one*3.two* ]]
	decide last
	made --policy policy.yaml
	grep -qx 'Version: 3.two' out/var/lib/dpkg/status
	if grep -qx 'Version: 3.one' out/var/lib/dpkg/status; then return 1; fi
	equal two /usr/lib/libx.so
}

# --- changes of what is below ----------------------------------------------------------------------

@test "overrides: content, mode, owner, xattrs, types and deletions of one are no collision, and other selections do not see them" {
	echo 'as one has it' >one/srv/file
	chmod 700 one/srv/folder
	chown 33:50 one/srv/binary
	setfattr -n user.a -v 1 one/srv/lines
	rm -r one/srv/folder/deep one/etc/shells
	ln -s elsewhere one/etc/shells
	put two/srv/other 'of two\n'
	image
	plyfs plan i.plyfs >plan.txt
	made -s one
	find one out two -maxdepth 1 -exec touch -h -d 2023-01-01 {} +
	same one out --exclude var/lib/plyfs --skip mtime
	made -s two
	same two out --exclude var/lib/plyfs --skip mtime
	made -s os
	same "$BATS_FILE_TMPDIR/base" out
	made
	[ "$(cat out/srv/other)" = 'of two' ]
	[ ! -e out/srv/folder/deep ]
}

@test "two changes of one text at different places are merged, where they meet it is a conflict" {
	sed -i 's/^line 3$/line three/' one/srv/lines
	sed -i 's/^line 15$/line fifteen/' two/srv/lines
	no_conflict /srv/lines three-way
	is out/srv/lines "$(seq -f 'line %g' 20 | sed 's/^line 3$/line three/; s/^line 15$/line fifteen/')\n"
	sed -i 's/^line 3$/line 3.0/' two/srv/lines
	rm i.plyfs
	conflict /srv/lines OVERLAP
	refused /srv/lines --on-collision=append
}

@test "one changes the content, one the mode: both hold" {
	echo new >one/srv/file
	chmod 600 two/srv/file
	no_conflict /srv/file three-way
	[ "$(cat out/srv/file)" = new ]
	[ "$(stat -c %a out/srv/file)" = 600 ]
}

@test "two change the mode, or a binary, or one deletes what the other changes: conflicts" {
	chmod 600 one/srv/file
	chmod 640 two/srv/file
	conflict /srv/file MODE
	rm -r i.plyfs
	cp -a "$BATS_FILE_TMPDIR/base/srv/file" one/srv/file
	cp -a "$BATS_FILE_TMPDIR/base/srv/file" two/srv/file
	printf '\0\2' >one/srv/binary
	printf '\0\3' >two/srv/binary
	conflict /srv/binary BINARY
	rm i.plyfs
	cp -a "$BATS_FILE_TMPDIR/base/srv/binary" one/srv/binary
	cp -a "$BATS_FILE_TMPDIR/base/srv/binary" two/srv/binary
	rm one/srv/file
	echo changed >two/srv/file
	conflict /srv/file DELETED
	equal two /srv/file
	decide first
	made --policy policy.yaml
	[ ! -e out/srv/file ]
}

@test "one deletes a directory, the other puts a file there: that alone is there" {
	rm -r one/srv/folder
	echo new >two/srv/folder/deep/new
	image
	made
	[ "$(cd out/srv && find folder -type f)" = folder/deep/new ]
	made -s one
	[ ! -e out/srv/folder ]
	made -s two
	[ -e out/srv/folder/deep/file ]
}

@test "what stands on another: its changes hide that one's, and are no collision" {
	put one/srv/x 'of one\n'
	put one/srv/y 'of one\n'
	rm -r two
	cp -a one two
	echo 'of two' >two/srv/x
	rm two/srv/y
	plyfs capture "$BATS_FILE_TMPDIR/base" i.plyfs
	plyfs add i.plyfs one one
	plyfs add i.plyfs two two --on one
	plyfs plan i.plyfs --json >plan.json
	[ "$(json 'len(d["items"])' <plan.json)" = 0 ]
	made
	is out/srv/x 'of two\n'
	[ ! -e out/srv/y ]
	made -s one
	is out/srv/y 'of one\n'
	# and selecting it selects what it stands on
	made -s two
	is out/srv/x 'of two\n'
	run -1 --separate-stderr plyfs remove i.plyfs one
	[[ $stderr == *two* ]]
}

# --- deciding ---------------------------------------------------------------------------------------

@test "a policy is bound to contents: a stale one says so, with file, line and column" {
	both /srv/notes 'a note of one\n' 'a note of two\n'
	image
	decide last
	grep -q "two: .*sha256:$(sha256sum <two/srv/notes | cut -d ' ' -f 1)" policy.yaml
	echo 'another note' >two/srv/notes
	rm i.plyfs
	image
	run -1 --separate-stderr plyfs layout i.plyfs "$PWD/out" --no-sync --policy policy.yaml
	[[ $stderr =~ policy.yaml:[0-9]+:[0-9]+ ]]
	run -1 --separate-stderr plyfs mount i.plyfs mnt --policy policy.yaml --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = POLICY_STALE ]
	[ ! -e out ]
}

@test "policies that are wrong name the place" {
	both /srv/notes 'a note of one\n' 'a note of two\n'
	image
	local text reason line
	while IFS='|' read -r reason line text; do
		printf '%b' "version: 1\nconflicts:\n$text" >p.yaml
		echo "$text"
		run -1 --separate-stderr plyfs plan i.plyfs --policy p.yaml --json
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = "$reason" ]
		# shellcheck disable=SC2053  # a pattern
		[[ $stderr == *p.yaml:$line:* ]]
		run -1 --separate-stderr plyfs layout i.plyfs "$PWD/out" --no-sync --policy p.yaml
		# shellcheck disable=SC2053  # a pattern
		[[ $stderr == *p.yaml:$line:* ]]
		[ ! -e out ]
	done <<-'END'
	POLICY_KEY|4|  - path: /srv/notes\n    resolv: first\n
	POLICY_KEY|3|  - path: /srv/notes\n    paths: [/srv/notes]\n    resolve: first\n
	POLICY_KEY|3|  - resolve: first\n
	POLICY_VALUE|4|  - path: /srv/notes\n    resolve: maybe\n
	POLICY_VALUE|4|  - path: /srv/notes\n    resolve: {driver: nobody}\n
	POLICY_VALUE|3|  - path: srv/notes\n    resolve: first\n
	POLICY_VALUE|4|  - path: /srv/notes\n    of: {nobody: deleted}\n    resolve: first\n
	POLICY_VALUE|4|  - path: /srv/notes\n    of: {one: "sha256:12"}\n    resolve: first\n
	POLICY_SYNTAX|*|  - path: "/srv/notes\n    resolve: first\n
	END
}

@test "merging twice is merging once: with what was merged in place of the first, nothing is added" {
	both /etc/sysctl.d/x.conf 'net.a = 1\n' 'net.b = 2\n'
	sed -i 's/^line 3$/line three/' one/srv/lines
	sed -i 's/^line 15$/line fifteen/' two/srv/lines
	image
	made
	cp -a out merged
	rm -rf merged/var/lib/plyfs
	rm -r one
	mv merged one
	rm i.plyfs
	image
	made
	same one out --exclude var/lib/plyfs --skip mtime
}

@test "added and removed is never added" {
	local s
	both /etc/sysctl.d/x.conf 'net.a = 1\n' 'net.b = 2\n'
	both /srv/notes 'a note of one\n' 'a note of two\n'
	rm two/srv/file
	echo 'bob:x:102:102::/:/bin/sh' >>two/etc/passwd
	plyfs capture "$BATS_FILE_TMPDIR/base" i.plyfs
	plyfs add i.plyfs one one
	for s in os one; do
		mkdir before-$s
		plyfs layout i.plyfs before-$s -s $s --no-sync
	done
	plyfs add i.plyfs two two
	run -3 plyfs plan i.plyfs
	for s in os one; do
		made -s $s
		same before-$s out
	done
	plyfs remove i.plyfs two
	plyfs plan i.plyfs
	for s in os one; do
		made -s $s
		same before-$s out
	done
	plyfs verify i.plyfs --deep
}

@test "add says how many collisions are undecided, and exits 0" {
	both /srv/notes 'a note of one\n' 'a note of two\n'
	plyfs capture "$BATS_FILE_TMPDIR/base" i.plyfs
	plyfs add i.plyfs one one
	run -0 plyfs add i.plyfs two two
	[[ $output == *'1 collisions'*'1 of them'* ]]
}

@test "add refuses what it cannot mean, and leaves the image as it was" {
	plyfs capture "$BATS_FILE_TMPDIR/base" i.plyfs
	cp i.plyfs before
	run -1 --separate-stderr plyfs add i.plyfs two two --on nobody
	[[ $stderr == *nobody* ]]
	run -1 plyfs add i.plyfs two /nowhere
	run -2 plyfs add i.plyfs
	run -2 plyfs add i.plyfs 'Not a name' two
	run -1 plyfs add i.plyfs os two
	sed -i 's/debian/fedora/; s/12/40/' two/etc/os-release
	run -1 --separate-stderr plyfs add i.plyfs two two
	[[ $stderr == *fedora* ]]
	cmp i.plyfs before
	plyfs add i.plyfs two two --force-mismatch
	run -1 plyfs add i.plyfs two two
	run -1 plyfs remove i.plyfs nobody
	run -1 plyfs remove i.plyfs os
}

# --- with the programs themselves ---------------------------------------------------------------------

@test "append-merge end to end: new files of equal names, and two changes of hosts and crontab, without a policy" {
	merge_end_to_end
	made
	settings out
	mounted "$PWD/mnt" i.plyfs
	settings mnt
	unmounted mnt
}

merge_end_to_end()
{
	both /etc/mysql/conf.d/x.cnf '[mysqld]\nmax_connections = 11\n' '[mysqld]\nwait_timeout = 22\n'
	both /etc/php/8.2/cli/conf.d/99-x.ini 'memory_limit = 111M\n' 'post_max_size = 22M\n'
	both /etc/sysctl.d/x.conf 'net.ipv4.ip_forward = 1' 'kernel.panic = 22\n'
	both /etc/logrotate.d/x '/var/log/one.log {\n\tweekly\n}\n' '/var/log/two.log {\n\tdaily\n}\n'
	echo /bin/one >>one/etc/shells
	echo /bin/two >>two/etc/shells
	sed -i '1a 10.0.0.1\tone.example' one/etc/hosts
	echo '10.0.0.2	two.example' >>two/etc/hosts
	sed -i 's/^17 \*/11 */' one/etc/crontab
	sed -i 's/^52 6/22 6/' two/etc/crontab
	image
	plyfs plan i.plyfs
}

settings() # DIR
{
	is "$1/etc/mysql/conf.d/x.cnf" '[mysqld]\nmax_connections = 11\n[mysqld]\nwait_timeout = 22\n'
	is "$1/etc/php/8.2/cli/conf.d/99-x.ini" 'memory_limit = 111M\npost_max_size = 22M\n'
	is "$1/etc/sysctl.d/x.conf" 'net.ipv4.ip_forward = 1\nkernel.panic = 22\n'
	is "$1/etc/logrotate.d/x" '/var/log/one.log {\n\tweekly\n}\n/var/log/two.log {\n\tdaily\n}\n'
	is "$1/etc/shells" '/bin/sh\n/bin/one\n/bin/two\n'
	is "$1/etc/hosts" '127.0.0.1\tlocalhost\n10.0.0.1\tone.example\n\n# the next lines are for IPv6\n::1\tip6-localhost\nff02::1\tip6-allnodes\n10.0.0.2\ttwo.example\n'
	grep -qx $'11 \\* \\* \\* \\*\troot\thourly' "$1/etc/crontab"
	grep -qx $'22 6 1 \\* \\*\troot\tmonthly' "$1/etc/crontab"
	grep -qx $'25 6 \\* \\* \\*\troot\tdaily' "$1/etc/crontab"
}

@test "origin tells whose each block of a merged file is" {
	merge_end_to_end
	run -0 --separate-stderr plyfs origin --image=i.plyfs /etc/mysql/conf.d/x.cnf /etc/hosts
	[[ $output == *one*two* ]]
	run -0 --separate-stderr plyfs origin --image=i.plyfs --json /etc/mysql/conf.d/x.cnf
	[ "$(json '[b["of"] for b in d["paths"][0]["blocks"]]' <<<"$output")" = "['one', 'two']" ]
	[ "$(json 'sum(b["bytes"] for b in d["paths"][0]["blocks"])' <<<"$output")" = "$(plyfs cat i.plyfs /etc/mysql/conf.d/x.cnf | wc -c)" ]
	mounted "$PWD/mnt" i.plyfs
	run -0 --separate-stderr plyfs origin mnt/etc/sysctl.d/x.conf
	[[ $output == *one*two* ]]
	unmounted mnt
}

# in_lamp PROGRAM...: the programs of the gold lamp read what was merged. Its tree is only read.
@test "and the programs show both settings: my_print_defaults, php, getent, sysctl, logrotate" {
	merge_end_to_end
	made
	gold lamp || skip "$SKIP"
	local skipped=''
	mkdir upper work tree
	mount -t overlay overlay -o "lowerdir=$PWD/out:$gold,upperdir=$PWD/upper,workdir=$PWD/work" tree
	run -0 chroot tree my_print_defaults mysqld
	[[ $output == *--max_connections=11* && $output == *--wait_timeout=22* ]]
	run -0 chroot tree php -i
	[[ $output == *'memory_limit => 111M'* && $output == *'post_max_size => 22M'* ]]
	[ "$(chroot tree getent hosts one.example | awk '{ print $1 }')" = 10.0.0.1 ]
	[ "$(chroot tree getent hosts two.example | awk '{ print $1 }')" = 10.0.0.2 ]
	if command -v sysctl >/dev/null; then
		# its parser: --system would set them
		run sysctl --dry-run -p out/etc/sysctl.d/x.conf
		[[ $status != 0 || ($output == *ip_forward*1* && $output == *panic*22*) ]]
	fi
	if [ -x tree/usr/sbin/logrotate ]; then
		touch tree/var/log/{one,two}.log
		run -0 chroot tree logrotate -d /etc/logrotate.d/x
		[[ $output == */var/log/one.log*weekly* && $output == */var/log/two.log* ]]
	else
		skipped+=' logrotate'
	fi
	[ -z "$skipped" ] || skip "not in the gold root:$skipped"
}
