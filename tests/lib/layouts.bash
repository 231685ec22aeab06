# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For tests of layouts that are interrupted: images, and a target that must be as it was. To be loaded behind common.
# An image comes with the tree that it must become: $image, $tree, and $given, the options that only its first layout needs.

# shellcheck disable=SC2154  # gold: by gold()

# The small composite: five sub-images of four machines, each kind of collision. Its tree is a layout that nobody interrupts;
# that it is right is asked elsewhere, and here of the mount.
small_composite()
{
	local dir=$BATS_FILE_TMPDIR/small mnt=$BATS_FILE_TMPDIR/mnt rc=0
	export image=$dir/i.plyfs tree=$dir/tree given="--policy $dir/policy.yaml"
	[ ! -e "$tree" ] || return 0
	python3 "$PLYFS_TESTS/lib/small_composite.py" "$dir"
	mkdir "$tree"
	# shellcheck disable=SC2086  # words
	plyfs layout "$image" "$tree" $given --no-sync
	# shellcheck disable=SC2086
	mounted "$mnt" "$image" $given
	same "$mnt" "$tree" || rc=$?
	unmounted "$mnt"
	return "$rc"
}

# rare_composite: four sub-images of the gold small, with what is rare, and a file that takes time
rare_composite()
{
	export tree=$BATS_FILE_TMPDIR/tree image=$BATS_FILE_TMPDIR/rare.plyfs given=
	[ ! -e "$tree" ] || return 0
	cp -a "$gold" "$tree"
	mkdir -p "$tree/srv/odd"
	head -c 20000000 /dev/urandom >"$tree/srv/odd/big"
	truncate -s 30M "$tree/srv/odd/holes"
	echo end >>"$tree/srv/odd/holes"
	ln "$tree/srv/odd/big" "$tree/srv/odd/again"
	mknod "$tree/srv/odd/null" c 1 3
	mkfifo "$tree/srv/odd/fifo"
	echo x >"$tree/srv/odd/acl"
	echo x >"$tree/srv/odd/sticky"
	cp /bin/true "$tree/srv/odd/suid"
	chown 33:33 "$tree/srv/odd/suid" "$tree/srv/odd/null"
	chmod 6755 "$tree/srv/odd/suid"
	chmod 1640 "$tree/srv/odd/sticky"
	setfattr -n user.note -v yes "$tree/srv/odd/acl" 2>/dev/null || true
	setfacl -m u:1:rw "$tree/srv/odd/acl" 2>/dev/null || true
	chmod 555 "$tree/srv/odd"
	plyfs capture "$tree" "$image" -c web=web,web-data -c db=db,db-client -c lang=lang
}

# peculiar DIR: made, or as it is, with all that a layout has to give back
peculiar()
{
	mkdir -p "$1"
	chown 1:2 "$1"
	chmod 2750 "$1"
	setfacl -d -m u:3:rwx "$1"
	touch -d '2003-04-05 06:07:08.090807060' "$1"
}

like_before() { stat -c '%a %U %G %y' "$1"; getfacl -cp "$1" 2>/dev/null; }

# remember DIR: how it is, in $before
remember()
{
	before=$(like_before "$1")
	export before
}

# untouched DIR: empty (a file system's own lost+found does not count), and as it was then
untouched()
{
	local is
	is=$(find "${1%/}" -mindepth 1 ! -path "${1%/}/lost+found" | head)
	[ -z "$is" ] || { echo "$is"; return 1; }
	is=$(like_before "$1")
	[ "$is" = "$before" ] || { echo "was: $before"; echo "is: $is"; return 1; }
}
