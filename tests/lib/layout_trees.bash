# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Images for tests that disturb layouts: to be loaded behind common. A layout that nobody disturbs is what the others are
# compared with; that it is right is for composites.bats, collisions.bats and others.

# tiny_composite DIR: DIR/tiny.plyfs, its policy DIR/tiny.yaml, and DIR/tiny, laid out. Few names, and of each kind that a
# layout treats by code of its own: os and three components that collide in every way, two of them from paths of one machine.
tiny_composite()
(
	cd "$1" || exit
	umask 022
	n=0
	mkdir -p gold/{etc/foo.d,srv/{deep/er,locked,shared},var/lib/app,opt/{web,db},usr}
	seq 100 >gold/etc/foo.d/own.conf
	printf 'root:x:0:0::/root:/bin/sh\n' >gold/etc/passwd
	printf 'root:x:0:\n' >gold/etc/group
	head -c 300000 /dev/urandom >gold/usr/blocks
	truncate -s 3M gold/usr/holes
	echo island | dd of=gold/usr/holes bs=1 seek=1000000 conv=notrunc status=none
	ln gold/usr/blocks gold/opt/web/blocks
	ln gold/usr/blocks gold/opt/db/blocks
	ln -s ../srv gold/usr/srv
	ln -s nowhere gold/opt/web/dangling
	ln gold/opt/web/dangling gold/opt/web/again
	mkfifo gold/srv/deep/fifo
	mknod gold/srv/deep/null c 1 3
	ln gold/srv/deep/null gold/srv/deep/er/null
	: >gold/srv/deep/er/nothing
	echo secret >gold/srv/locked/secret
	cp /bin/true gold/usr/suid
	echo x >gold/usr/cap
	echo x >gold/usr/acl
	echo x >gold/usr/sticky
	chown -h 33:33 gold/usr/suid gold/srv/deep/null gold/opt/web/dangling gold/srv/shared
	chmod 6755 gold/usr/suid
	chmod 1640 gold/usr/sticky
	chmod 0 gold/srv/locked/secret
	chmod 2775 gold/srv/shared
	setcap cap_net_raw=ep gold/usr/cap
	setfacl -m u:1:rw gold/usr/acl
	setfacl -d -m u:1:rwx gold/srv/shared
	setfattr -n user.note -v yes gold/usr/acl
	setfattr -n user.note -v yes gold/srv
	setfattr -n user.note -v yes gold
	for i in 1 2 3 4 5 6; do echo "web $i" >gold/opt/web/$i; echo "db $i" >gold/opt/db/$i; done
	head -c 17000000 /dev/zero | tr '\0' x >gold/opt/db/big
	touch -h -d '2001-02-03 04:05:06.789012345' gold/usr/srv gold/usr/suid gold/srv/deep/fifo
	cp -a gold one
	cp -a gold two
	for m in one two; do
		n=$((n + 1))
		printf '%s:x:50%d:50%d::/:/bin/sh\n' $m $n $n >>$m/etc/passwd
		mkdir -p $m/opt/$m $m/etc/bar.d
		for i in 1 2 3; do echo "$m $i" >$m/opt/$m/$i; done
		echo same >$m/etc/same
		echo "[$m]" >$m/etc/bar.d/text.conf
		head -c 5000 /dev/urandom >$m/etc/binary
		echo "$m" >>$m/etc/foo.d/own.conf
		ln $m/etc/binary $m/opt/$m/binary
		rm $m/opt/web/[12]
	done
	chmod 700 two/etc/bar.d
	rm -r two/srv/deep/er
	plyfs capture gold tiny.plyfs -c web='/opt/web/**' -c db='/opt/db/**' >/dev/null
	plyfs add tiny.plyfs one one --on web,db >/dev/null
	plyfs add tiny.plyfs two two --on web,db >/dev/null
	printf 'version: 1\nconflicts:\n  - glob: "/**"\n    resolve: last\n' >tiny.yaml
	mkdir tiny
	plyfs layout tiny.plyfs tiny --policy tiny.yaml --no-sync >/dev/null
)
