# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Images for tests that disturb layouts: to be loaded behind common. A layout that nobody disturbs is what the others are
# compared with; that it is right is for composites.bats, collisions.bats and others.

# dressed TREE: what such a machine has beside what it had: each kind of name that a layout treats by code of its own
dressed()
(
	cd "$1" || exit
	mkdir -p etc/foo.d srv/{deep/er,locked,shared} var/lib/app opt/{web,db} usr
	seq 100 >etc/foo.d/own.conf
	head -c 300000 /dev/urandom >usr/blocks
	truncate -s 3M usr/holes
	echo island | dd of=usr/holes bs=1 seek=1000000 conv=notrunc status=none
	ln usr/blocks opt/web/blocks
	ln usr/blocks opt/db/blocks
	ln -s ../srv usr/srv
	ln -s nowhere opt/web/dangling
	ln opt/web/dangling opt/web/again
	mkfifo srv/deep/fifo
	mknod srv/deep/null c 1 3
	ln srv/deep/null srv/deep/er/null
	: >srv/deep/er/nothing
	echo secret >srv/locked/secret
	cp /bin/true usr/suid
	echo x | tee usr/cap usr/acl >usr/sticky
	for i in 1 2 3 4 5 6; do echo "web $i" >opt/web/$i; echo "db $i" >opt/db/$i; done
	head -c 17000000 /dev/zero | tr '\0' x >opt/db/big
	chown -h 33:33 usr/suid srv/deep/null opt/web/dangling srv/shared
	chmod 6755 usr/suid
	chmod 1640 usr/sticky
	chmod 0 srv/locked/secret
	chmod 2775 srv/shared
	setcap cap_net_raw=ep usr/cap
	setfacl -m u:1:rw usr/acl
	setfacl -d -m u:1:rwx srv/shared
	for f in usr/acl srv .; do setfattr -n user.note -v yes $f; done
	touch -h -d '2001-02-03 04:05:06.789012345' usr/srv usr/suid srv/deep/fifo
)

# changed TREE NAME N: another machine, made of the first; two of them collide
changed()
(
	cd "$1" || exit
	echo "$2:x:50$3:50$3::/:/bin/sh" >>etc/passwd
	mkdir -p "opt/$2" etc/bar.d
	for i in 1 2 3; do echo "$2 $i" >"opt/$2/$i"; done
	echo same >etc/same
	echo "[$2]" >etc/bar.d/text.conf
	head -c 5000 /dev/urandom >etc/binary
	echo "$2" >>etc/foo.d/own.conf
	ln etc/binary "opt/$2/binary"
	rm "opt/web/$3"
	if [ "$3" = 2 ]; then
		chmod 700 etc/bar.d
		rm -r srv/deep/er
	fi
)

# composed DIR NAME COMPONENTS [CAPTURE OPTION...]: of the machine DIR/gold
composed()
(
	cd "$1" || exit
	dressed gold
	cp -a gold one
	changed one one 1
	cp -a gold two
	changed two two 2
	plyfs capture gold "$2.plyfs" "${@:4}" >/dev/null 2>&1
	plyfs add "$2.plyfs" one one --on "$3" >/dev/null
	plyfs add "$2.plyfs" two two --on "$3" >/dev/null
	printf 'version: 1\nconflicts:\n  - glob: "/**"\n    resolve: last\n' >"$2.yaml"
	rm -rf gold one two
	mkdir "$2"
	plyfs layout "$2.plyfs" "$2" --policy "$2.yaml" --no-sync >/dev/null
)

# tiny_composite DIR: DIR/tiny.plyfs, its policy DIR/tiny.yaml, and DIR/tiny, laid out: 60 names. os and two components of one
# machine, two machines made of it: they collide in every way.
tiny_composite()
{
	mkdir -p "$1/gold/etc"
	echo root:x:0:0::/root:/bin/sh >"$1/gold/etc/passwd"
	echo root:x:0: >"$1/gold/etc/group"
	composed "$1" tiny web,db -c web='/opt/web/**' -c db='/opt/db/**'
}

# small_composite DIR: the same as DIR/small, of the gold `small`: 2,000 files, six components, 20 MiB
small_composite()
{
	cp -a "$gold" "$1/gold"
	composed "$1" small web,db,lang -c web=web,web-data -c db=db,db-client -c lang=lang
}
