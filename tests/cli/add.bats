#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs add and remove: another machine as a difference. That the selection of an overlay is that machine, whatever
# changed on it; what is no difference; numbers of users that clash; what others have too; and out again.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
bats_require_minimum_version 1.5.0

setup()
{
	ready
	export SOURCE_DATE_EPOCH=1700000000
}

teardown()
{
	unmount_all "$BATS_TEST_TMPDIR"/mnt*
	if mountpoint -q "$BATS_TEST_TMPDIR/small"; then umount "$BATS_TEST_TMPDIR/small"; fi
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

root() { [ "$(id -u)" = 0 ] || skip "needs root${1:+: $1}"; }

# as COMMAND...: as an ordinary user
as()
{
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	else
		"$@"
	fi
}

# a small machine in a/, captured as i.plyfs
machine()
{
	mkdir -p a/etc a/usr/bin a/usr/share/d/e a/var/log a/var/cache/man a/var/lib/dpkg/info a/var/lib/dpkg/updates a/var/lib/dpkg/triggers
	printf 'ID=debian\nVERSION_ID="12"\n' >a/etc/os-release
	printf 'root:x:0:0::/root:/bin/sh\n_apt:x:100:65534::/:/bin/sh\nmessagebus:x:101:101::/:/bin/sh\nmysql:x:102:109::/:/bin/sh\n' >a/etc/passwd
	printf 'root:x:0:\nmessagebus:x:101:\nmysql:x:109:\nnogroup:x:65534:\n' >a/etc/group
	for i in 100 102 103 104 105 106 107 108; do echo "g$i:x:$i:"; done >>a/etc/group
	printf 'root:*:19000::::::\n' >a/etc/shadow
	echo 127.0.0.1 localhost >a/etc/hosts
	echo 0123 >a/etc/machine-id
	echo one >a/etc/conf
	echo log >a/var/log/syslog
	echo index >a/var/cache/man/index.db
	for f in a b c; do echo "file $f" >a/usr/share/d/$f; done
	echo deep >a/usr/share/d/e/f
	echo links >a/usr/share/l1
	ln a/usr/share/l1 a/usr/share/l2
	ln a/usr/share/l1 a/usr/share/l3
	ln -s d/a a/usr/share/link
	head -c 300000 /dev/zero | tr '\0' x >a/usr/bin/big
	printf 'Package: base\nStatus: install ok installed\nPriority: required\nArchitecture: amd64\nVersion: 1\nDescription: x\n\nPackage: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: x\n\n' >a/var/lib/dpkg/status
	echo 1 >a/var/lib/dpkg/info/format
	echo /. >a/var/lib/dpkg/info/base.list
	echo /. >a/var/lib/dpkg/info/dpkg.list
	capture
}

capture() { plyfs capture a i.plyfs --force "$@" >capture.out 2>&1 || { cat capture.out; return 1; }; }

clone() { cp -a a "${1:-b}"; }

# Directories get the times that they had: these are no difference, and so they are not kept.
settle() # NEW [OLD]
{
	local dir
	while IFS= read -r -d '' dir; do
		[ ! -d "$1/$dir" ] || [ -L "$1/$dir" ] || touch -r "${2:-a}/$dir" "$1/$dir"
	done < <(cd "${2:-a}" && find . -depth -type d -print0)
}

add() { plyfs add "$@" >add.out 2>add.err || { cat add.out add.err; return 1; }; }

# shows IMAGE NAMES TREE [compare options]: in a mount and in a layout
shows()
{
	mounted mnt "$1" -s "$2" 2>/dev/null
	same "$3" mnt "${@:4}"
	plyfs umount mnt
	rm -rf out
	mkdir out
	plyfs layout "$1" out -s "$2" --no-sync >/dev/null 2>&1
	same "$3" out "${@:4}"
	plyfs verify "$1" >/dev/null
}

# of NAME in i.plyfs: its names, by `type path`; W is a whiteout
counts() { plyfs add --json i.plyfs "$@" 2>/dev/null | json "d['new'],d['changed'],d['deleted']"; }

@test "new, changed, deleted and renamed files: the selection is the machine" {
	machine
	clone
	echo two >b/etc/conf
	echo new >b/etc/new
	mkdir -p b/opt/x/y
	echo n >b/opt/x/y/z
	rm b/usr/share/d/a
	mv b/usr/share/d/b b/usr/share/d/bb
	echo more >>b/usr/bin/big
	settle b
	add i.plyfs two b
	[[ $(<add.out) == "two: 6 names are new, 2 override, 2 are deleted; "* ]]
	grep -q 'generation 2' add.out
	shows i.plyfs two b
	shows i.plyfs os a
}

@test "a directory that is gone, with all that it held" {
	machine
	clone
	rm -r b/usr/share/d
	settle b
	add i.plyfs two b
	shows i.plyfs two b
	[ "$(stat -c %h out/usr/share)" = 2 ]
}

@test "types that change: file, directory, symlink, FIFO, socket" {
	machine
	mkdir a/t a/t/dir1 a/t/dir2
	touch a/t/dir1/in a/t/dir2/in a/t/file1 a/t/file2
	ln -s x a/t/link1
	ln -s x a/t/link2
	mkfifo a/t/pipe
	capture
	clone
	rm -r b/t/*
	touch b/t/dir1 b/t/link1 b/t/pipe
	ln -s elsewhere b/t/dir2
	mkdir -p b/t/file1/sub/sub b/t/link2
	touch b/t/file1/sub/sub/f
	ln -s y b/t/file2
	python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('b/t/socket')"
	settle b
	add i.plyfs two b
	shows i.plyfs two b
	shows i.plyfs os a
}

@test "modes, setuid, symlink targets, holes, empty files" {
	machine
	truncate -s 1M a/usr/hole
	capture
	clone
	chmod 4755 b/usr/bin/big
	chmod 1777 b/usr/share/d
	chmod 700 b
	: >b/etc/conf
	ln -sfn d/b b/usr/share/link
	printf x | dd of=b/usr/hole bs=1 seek=500000 conv=notrunc status=none
	truncate -s 2M b/usr/newhole
	settle b
	add i.plyfs two b
	[[ $(<add.out) == "two: 1 names are new, 6 override, 0 are deleted; "* ]]
	shows i.plyfs two b
}

@test "owners, devices, xattrs, ACLs and capabilities" {
	root
	machine
	setfattr -n user.x -v 1 a/etc/conf
	mknod a/null c 1 3
	capture
	clone
	chown 102:109 b/usr/share/d/a
	setfattr -n user.x -v 2 b/etc/conf
	setfattr -n user.y -v 2 b/usr/share/d/b
	setfacl -m u:101:r,g:109:rw b/usr/share/d/c
	setfacl -d -m u:102:rwx b/usr/share/d/e
	setcap cap_net_raw+ep b/usr/bin/big
	rm b/null
	mknod b/null c 1 5
	settle b
	add i.plyfs two b
	[[ $(<add.out) == "two: 0 names are new, 7 override, 0 are deleted; "* ]]
	shows i.plyfs two b
	shows i.plyfs os a
}

@test "hard links: a name more, a name less, another content, two groups, one group" {
	machine
	for g in m n o p q; do echo "$g" >a/usr/share/${g}1; ln a/usr/share/${g}1 a/usr/share/${g}2; done
	echo single >a/usr/share/single
	echo single >a/usr/share/double
	capture
	clone
	ln b/usr/share/m1 b/etc/m3
	rm b/usr/share/n1
	echo changed >b/usr/share/o1
	cp --remove-destination -p a/usr/share/p2 b/usr/share/p2
	ln -f b/usr/share/single b/usr/share/double
	rm b/usr/share/l1
	mkdir b/usr/share/l1
	settle b
	add i.plyfs two b
	shows i.plyfs two b
	shows i.plyfs os a
	run -0 plyfs dump i.plyfs two --section=ENTRIES
	[[ $output != *'"q1"'* ]]
	[[ $output == *'"l2"'*'"l3"'* ]]
}

@test "times alone are nothing; a machine that does not differ is an empty overlay, which is told" {
	machine
	clone
	find b -exec touch -h -d 2001-01-01 {} +
	run -0 --separate-stderr plyfs add i.plyfs two b
	[[ $output == "two: 0 names are new, 0 override, 0 are deleted; "* ]]
	[[ $stderr == *"there is nothing in its sub-image"* ]]
	shows i.plyfs two a
}

@test "identity, caches and logs are left alone where both have them, and taken where they are new" {
	machine
	clone
	echo 4567 >b/etc/machine-id
	echo another >>b/var/log/syslog
	echo another >b/var/cache/man/index.db
	echo new >b/var/log/new.log
	echo 10.0.0.1 box >>b/etc/hosts
	printf 'root:!:19001::::::\n' >b/etc/shadow
	rm -f b/var/cache/man/*
	settle b
	add i.plyfs two b
	mkdir out
	plyfs layout i.plyfs out -s two >/dev/null 2>&1
	[ "$(<out/etc/machine-id)" = 0123 ]
	[ "$(<out/var/log/syslog)" = log ]
	[ "$(<out/var/cache/man/index.db)" = index ]
	[ "$(<out/var/log/new.log)" = new ]
	same b/etc out/etc --exclude machine-id
}

@test "users and groups: names decide, numbers that clash move at once, in files, lists, ACLs" {
	root
	machine
	clone
	sed -i '/mysql/d' b/etc/passwd b/etc/group
	printf 'redis:x:102:109::/:/bin/sh\npostgres:x:103:110::/:/bin/sh\n' >>b/etc/passwd
	printf 'redis:x:109:\npostgres:x:110:redis\n' >>b/etc/group
	echo r >b/etc/r
	echo p >b/etc/p
	chown 102:109 b/etc/r
	chown 103:110 b/etc/p
	setfacl -m u:102:r,u:103:rw,g:109:r b/etc/conf
	mkdir -p b/etc/systemd/system
	printf '[Service]\nUser=102\nGroup=7\n' >b/etc/systemd/system/r.service
	settle b
	cp b/etc/passwd passwd.before
	add i.plyfs two b
	grep -q '^  user redis: 102 became 103$' add.out
	grep -q '^  user postgres: 103 became 104$' add.out
	grep -q '^  group redis: 109 became 110$' add.out
	grep -q '^  group postgres: 110 became 111$' add.out
	grep -q 'warning: /etc/systemd/system/r.service has User=102, and that number is 103' add.err
	run ! grep -q 'Group=7' add.err
	# what the machine would be with these numbers
	chown 103:110 b/etc/r
	chown 104:111 b/etc/p
	setfacl -b b/etc/conf
	setfacl -m u:103:r,u:104:rw,g:110:r b/etc/conf
	t=$(stat -c %y b/etc/passwd)
	sed -i 's/^redis:x:102:109/redis:x:103:110/; s/^postgres:x:103:110/postgres:x:104:111/' b/etc/passwd
	touch -d "$t" b/etc/passwd
	t=$(stat -c %y b/etc/group)
	sed -i 's/^postgres:x:110/postgres:x:111/; s/^redis:x:109/redis:x:110/' b/etc/group
	touch -d "$t" b/etc/group
	settle b
	shows i.plyfs two b
	# and the same names again: known by now
	rm -r b
	clone
	sed -i '/mysql/d' b/etc/passwd b/etc/group
	echo 'postgres:x:102:102::/:/bin/sh' >>b/etc/passwd
	add i.plyfs three b
	grep -q '^  user postgres: 102 became 104$' add.out
}

@test "numbers without a name stay, and are told where they are somebody's" {
	root
	machine
	clone
	sed -i '/mysql/d' b/etc/passwd b/etc/group
	echo x >b/etc/x
	chown 102:4242 b/etc/x
	add i.plyfs two b
	grep -q '1 files are of user 102, which has no name on the machine, and is mysql in the image' add.err
	run ! grep -q 4242 add.err
	mkdir out
	plyfs layout i.plyfs out -s two >/dev/null 2>&1
	[ "$(stat -c %u:%g out/etc/x)" = 102:4242 ]
}

@test "two machines beside one another, and one on another; each selection is its machine" {
	machine
	clone b
	echo b >b/etc/b
	rm b/usr/share/d/a
	settle b
	clone c
	echo c >c/etc/c
	echo c >c/usr/share/d/c
	settle c
	cp -a b d
	echo d >d/etc/d
	rm d/etc/b
	echo back >d/usr/share/d/a
	settle d b
	settle d a
	add i.plyfs b b
	add i.plyfs c c
	add i.plyfs d d --on b
	shows i.plyfs b b
	shows i.plyfs c c
	shows i.plyfs d d
	shows i.plyfs os a
	run -0 --separate-stderr plyfs ls i.plyfs /etc -s b,c
	[[ $output == *b* ]]
	run -0 plyfs info i.plyfs --json
	[ "$(json "[s['stands_on'] for s in d['sub_images']]" <<<"$output")" = "[[], ['os'], ['os'], ['os', 'b']]" ]
}

@test "collisions: those that merge are counted, conflicts are listed, and nothing else is looked at" {
	machine
	clone b
	clone c
	printf 'bb:x:990:990::/:/bin/sh\n' >>b/etc/passwd
	printf 'cc:x:991:991::/:/bin/sh\n' >>c/etc/passwd
	head -c 5000 /dev/urandom >b/etc/blob
	head -c 5000 /dev/urandom >c/etc/blob
	echo same >b/etc/same
	echo same >c/etc/same
	rm b/usr/share/d/a
	echo changed >c/usr/share/d/a
	mkdir b/etc/kind
	touch b/etc/kind/x c/etc/kind
	mkdir -p b/etc/ssl/certs b/etc/ssl/private c/etc/ssl/certs c/etc/ssl/private
	for m in b c; do
		printf -- '-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n' $m >$m/etc/ssl/certs/snake.pem
		printf -- '-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n' $m >$m/etc/ssl/private/snake.key
	done
	find b c -exec touch -hd @1700000000 {} +     # other times are collisions, too
	add i.plyfs b b
	run ! grep -q collision add.out
	run -0 --separate-stderr plyfs add i.plyfs c c --json
	[ "$(json "[(c['path'], c['with']) for c in d['conflicts']]" <<<"$output")" = \
		"[('/etc/blob', 'b'), ('/etc/kind', 'b'), ('/etc/ssl/certs/snake.pem', 'b'), ('/etc/ssl/private/snake.key', 'b'), ('/usr/share/d/a', 'b')]" ]
	[ "$(json "d['collisions']['driver'], d['collisions']['conflict']" <<<"$output")" = "(1, 5)" ]
	plyfs verify i.plyfs >/dev/null
	run -3 --separate-stderr plyfs ls i.plyfs -s b,c
	[[ $stderr == *"/etc/blob"* ]]
	run -0 plyfs remove i.plyfs c
	plyfs add i.plyfs c c >add.out
	grep -q '6 collisions with other sub-images, 5 of them conflicts that nothing decides:' add.out
	grep -q '^  /etc/ssl/private/snake.key with b: a certificate, which belongs to a key$' add.out
	grep -q 'plyfs plan i.plyfs$' add.out
}

@test "added and removed is never added, for each selection" {
	machine
	clone b
	echo b >b/etc/b
	rm -r b/usr/share/d
	settle b
	clone c
	echo c >c/etc/c
	echo c >c/usr/share/d/c
	settle c
	add i.plyfs b b
	list() { plyfs ls -lR i.plyfs -s "$1" 2>/dev/null; }
	list os >os.before
	list b >b.before
	plyfs dump i.plyfs --section=JOIN_ROWS,JOIN_MEMBERS,COLLISIONS >join.before
	add i.plyfs c c
	run -0 plyfs remove i.plyfs c
	[ "$output" = "i.plyfs: generation 4, without c" ]
	list os | cmp - os.before
	list b | cmp - b.before
	plyfs dump i.plyfs --section=JOIN_ROWS,JOIN_MEMBERS,COLLISIONS | diff - join.before
	shows i.plyfs b b
	run -1 --separate-stderr plyfs ls i.plyfs -s c
	# its number is not used again, and older generations have it
	add i.plyfs c c
	run -0 plyfs info i.plyfs --json
	[ "$(json "[s['number'] for s in d['sub_images']]" <<<"$output")" = "[0, 1, 3]" ]
	run -0 --separate-stderr plyfs ls i.plyfs@3 -s c
}

@test "remove: what others stand on, what was captured, what is not there" {
	machine
	capture -c "x=/usr/share/d/**"
	clone b
	echo b >b/etc/b
	add i.plyfs b b
	cp -a b c
	echo c >c/etc/c
	add i.plyfs c c --on b
	before=$(sha256sum <i.plyfs)
	run -1 --separate-stderr plyfs remove i.plyfs b
	[[ $stderr == *"b is needed by c"* ]]
	for sub in os x; do
		run -1 --separate-stderr plyfs remove i.plyfs $sub
		[[ $stderr == *"was captured with the others"* ]]
	done
	run -1 --separate-stderr plyfs remove i.plyfs nothing
	[[ $stderr == *"no sub-image nothing; there are: os, x, b, c"* ]]
	run -1 --separate-stderr plyfs remove no.plyfs b
	run -1 --separate-stderr plyfs remove i.plyfs b --json
	[ "$(json "d['error']['reason']" <<<"$output")" = PARENT ]
	[ "$(sha256sum <i.plyfs)" = "$before" ]
	plyfs remove i.plyfs c
	plyfs remove i.plyfs b
}

@test "bad names, unknown sub-images, another distribution: refused, and the image is as it was" {
	machine
	clone
	add i.plyfs two b
	before=$(sha256sum <i.plyfs)
	refused() # REASON WORDS...
	{
		run -1 --separate-stderr plyfs add --json "${@:2}"
		[ "$(json "d['error']['reason']" <<<"$output")" = "$1" ] || { echo "$output"; false; }
	}
	refused COMPONENT_TWICE i.plyfs two b
	refused COMPONENT_TWICE i.plyfs os b
	for name in Two '' a+b $'a\nb' 'Not a name'; do
		run -2 --separate-stderr plyfs add --json i.plyfs "$name" b
		[ "$(json "d['error']['reason']" <<<"$output")" = USAGE ]
		[[ $stderr == *"is no name for a sub-image"* ]]
	done
	refused SUB_UNKNOWN i.plyfs three b --on nothing
	refused SUB_UNKNOWN i.plyfs three b --on two,three
	refused ROOT_NOT_FOUND i.plyfs three nothing
	refused ROOT_NOT_DIRECTORY i.plyfs three b/etc/conf
	refused IMAGE_NOT_FOUND no.plyfs three b
	run -4 plyfs add a/usr/bin/big three b
	sed -i s/12/11/ b/etc/os-release
	refused MISMATCH i.plyfs three b
	[[ $stderr == *"distribution is debian-11, and not debian-12"* ]]
	cp a/etc/os-release b/etc/os-release
	sed -i s/amd64/arm64/ b/var/lib/dpkg/status
	refused MISMATCH i.plyfs three b
	[[ $stderr == *"architecture is arm64, and not amd64"* ]]
	cp a/var/lib/dpkg/status b/var/lib/dpkg/status
	sed -i '0,/install ok installed/s//install ok half-configured/' b/var/lib/dpkg/status
	refused PKGDB_UNFINISHED i.plyfs three b
	run -2 plyfs add i.plyfs three
	run -2 plyfs add i.plyfs three b --level 77
	run -2 plyfs add i.plyfs three b -j 0
	[ "$(sha256sum <i.plyfs)" = "$before" ]
	cp a/var/lib/dpkg/status b/var/lib/dpkg/status
	echo 'ID=other' >b/etc/os-release
	add i.plyfs three b --force-mismatch
}

@test "no number is free: nothing is added" {
	machine
	for i in {100..999}; do echo "u$i:x:$i:0::/:/bin/sh"; done >>a/etc/passwd
	capture
	clone
	echo 'one:x:500:0::/:/bin/sh' >b/etc/passwd
	run -1 --separate-stderr plyfs add i.plyfs two b --json
	[ "$(json "d['error']['reason']" <<<"$output")" = IDS_EXHAUSTED ]
	[[ $stderr == *"user one (500)"*"none is free from 100 to 999"* ]]
	plyfs info i.plyfs | grep -q 'generation 1$' || plyfs info i.plyfs | grep -q 'generation 1[^0-9]'
}

@test "an older generation cannot be added to" {
	machine
	clone
	add i.plyfs two b
	run -2 plyfs add i.plyfs@1 three b
	[[ $output == *"not the newest"* ]]
}

@test "excluded and unreadable names are left as the parent has them" {
	machine
	clone
	rm -r b/usr/share/d
	echo x >b/etc/secret
	echo y >b/etc/conf
	chmod 0 b/etc/conf b/etc/secret
	settle b
	if [ "$(id -u)" = 0 ]; then
		chown -R 65534 b
		chmod 755 . .. "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" 2>/dev/null || true
		chmod 666 i.plyfs
		chown 0 b/etc/conf b/etc/secret
	fi
	run -1 as plyfs add i.plyfs two b -x '/usr/share/d'
	[[ $output == *"2 files cannot be read by this user, the first is /etc/conf"* ]]
	run -0 as plyfs add i.plyfs two b -x '/usr/share/d' --allow-partial
	[[ $output == *"left out: 2 files that this user cannot read"* ]]
	run -0 --separate-stderr plyfs ls i.plyfs /usr/share/d -s two
	[[ $output == *a*b*c*e* ]]
	[ "$(plyfs cat i.plyfs /etc/conf -s two 2>/dev/null)" = one ]
	run -1 plyfs cat i.plyfs /etc/secret -s two
}

@test "an unreadable file that had other names is left as the parent has it" {
	machine
	clone
	cp --remove-destination a/usr/share/l1 b/usr/share/l1
	chmod 0 b/usr/share/l1
	settle b
	if [ "$(id -u)" = 0 ]; then
		chown -R 65534 a b
		capture
		chown 0 b/usr/share/l1
		chmod 755 . .. "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" 2>/dev/null || true
		chmod 666 i.plyfs
	fi
	run -0 as plyfs add i.plyfs two b --allow-partial
	[[ $output == *"left out: 1 files that this user cannot read"* ]]
	[[ $output == *"two: 0 names are new, 2 override, 0 are deleted; "* ]]
	[ "$(plyfs cat i.plyfs /usr/share/l1 -s two 2>/dev/null)" = links ]
	[ "$(plyfs cat i.plyfs /usr/share/l2 -s two 2>/dev/null)" = links ]
	run -0 plyfs verify i.plyfs
}

@test "large files that collide: read where their sizes are equal, up to 16 GiB, and until it is interrupted" {
	machine
	clone b
	clone c
	truncate -s 17G b/srv17 c/srv17
	truncate -s 15G b/srv15
	truncate -s 14G c/srv15
	add i.plyfs b b
	SECONDS=0
	run -0 --separate-stderr plyfs add --json i.plyfs c c
	[ "$SECONDS" -lt 10 ]
	[ "$(json "[(c['path'], c['why']) for c in d['conflicts']]" <<<"$output")" = \
		"[('/srv15', 'too large to look at'), ('/srv17', 'too large to look at')]" ]
	run -0 plyfs remove i.plyfs c
	truncate -s 15G c/srv15
	before=$(sha256sum <i.plyfs)
	SECONDS=0
	run -1 timeout --preserve-status -s INT 2 plyfs add i.plyfs c c
	[ "$SECONDS" -lt 6 ]
	[[ $output == *"interrupted; the image is as it was"* ]]
	[ "$(sha256sum <i.plyfs)" = "$before" ]
}

@test "the same bytes for any number of threads" {
	machine
	clone
	head -c 3000000 /dev/urandom >b/usr/bin/new
	for i in {1..50}; do echo "$i" >"b/etc/f$i"; done
	rm -r b/usr/share/d
	cp i.plyfs j.plyfs
	plyfs add i.plyfs two b -j1 >/dev/null
	plyfs add j.plyfs two b -j8 >/dev/null
	cmp i.plyfs j.plyfs
}

@test "killed at any moment: the old generation is whole, and adding goes on" {
	machine
	clone
	for i in {1..300}; do head -c 20000 /dev/urandom >"b/etc/f$i"; done
	settle b
	for ms in 1 2 5 10 20 40 80 160; do
		timeout -s KILL "0.$(printf %03d $ms)" plyfs add i.plyfs two b >/dev/null 2>&1 || true
		plyfs verify i.plyfs >/dev/null
		if plyfs info i.plyfs | grep -q ' two '; then break; fi
	done
	plyfs info i.plyfs | grep -q ' two ' || add i.plyfs two b
	shows i.plyfs two b
}

@test "a full disk: the image is as it was" {
	root "a file system of its own"
	machine
	clone
	head -c 3000000 /dev/urandom >b/usr/bin/new
	mkdir small
	mount -t tmpfs -o size=1500k tmpfs small
	cp i.plyfs small/i.plyfs
	run -1 plyfs add small/i.plyfs two b
	[[ $output == *"No space left"* ]]
	cmp i.plyfs small/i.plyfs
	umount small
}

@test "an image that another one adds to is busy" {
	machine
	clone
	flock --no-fork i.plyfs sleep 5 3>&- &
	sleep 0.3
	run -1 plyfs add i.plyfs two b
	[[ $output == *"another process adds to this image"* ]]
	kill %1
	wait || true
}

@test "packages that are new, and the message, stand in the catalog" {
	machine
	clone
	printf 'Package: extra\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nDescription: x\n\n' >>b/var/lib/dpkg/status
	echo /. >b/var/lib/dpkg/info/extra.list
	add i.plyfs two b -m 'a second machine'
	run -0 plyfs dump i.plyfs --section=RELATIONS,BLOBS,CATALOG_HEAD,SUBS
	[[ $output == *'"extra"'* ]]
	[[ $output == *"a second machine"* ]]
}
