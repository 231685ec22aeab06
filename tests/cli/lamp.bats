#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real machine: Debian 12 with apache, mariadb and php, captured by component, comes back exactly.

load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "the gold root has devices and owners" && gold lamp || return 0
	export image=$BATS_FILE_TMPDIR/lamp.plyfs
	SOURCE_DATE_EPOCH=1700000000 plyfs capture "$gold" "$image" "${lamp[@]}" >"$BATS_FILE_TMPDIR/capture.log"
}

setup()
{
	ready
	mnt=$BATS_TEST_TMPDIR/mnt target=$BATS_TEST_TMPDIR/target
	mkdir "$mnt" "$target"
}

teardown()
{
	unmount_all "$mnt"
	rm -rf --one-file-system "$target"
}

# the paths that packages list, one a line
listed()
{
	local p
	for p; do cat "$gold/var/lib/dpkg/info/$p.list"; done
}

# below DIR: of the paths on stdin, those that are there and no directories. What others lie below is a
# directory to its package, though it may be a symlink here: /lib.
below()
{
	local path
	awk '{ path[$0]; up = $0; while (sub("/[^/]*$", "", up)) parent[up] }
		END { for (p in path) if (!(p in parent)) print p }' | sort | while IFS= read -r path; do
		if [ -L "$1$path" ] || { [ -e "$1$path" ] && [ ! -d "$1$path" ]; }; then echo "$path"; fi
	done
}

@test "the mount of all equals the gold machine" {
	mounted "$mnt" "$image"
	same "$gold" "$mnt"
	plyfs umount "$mnt"
}

@test "the layout of all equals the gold machine" {
	plyfs layout "$image" "$target"
	same "$gold" "$target"
	plyfs verify "$image" --against "$target"
}

@test "os,mysql mounted and laid out are equal, and hold nothing of apache" {
	mounted "$mnt" "$image" -s os,mysql
	plyfs layout "$image" "$target" -s os,mysql -j 16
	same "$mnt" "$target"
	listed apache2 apache2-bin apache2-data | sort -u >apache
	listed mariadb-server mariadb-server-core mariadb-client | sort -u >mysql
	[ "$(below "$gold" <apache | wc -l)" -gt 500 ]
	[ "$(below "$gold" <mysql | wc -l)" -gt 200 ]
	[ -z "$(below "$mnt" <apache)" ]
	[ -z "$(below "$target" <apache)" ]
	diff <(below "$gold" <mysql) <(below "$mnt" <mysql)
	plyfs umount "$mnt"
}

@test "capture gives the same bytes: -j1, -j16, and once more" {
	local options
	for options in -j1 -j16 -j2; do
		SOURCE_DATE_EPOCH=1700000000 plyfs capture "$gold" again.plyfs "${lamp[@]}" "$options"
		cmp "$image" again.plyfs
		rm again.plyfs
	done
}

@test "inode numbers and file handles are the same after remount" {
	mounted "$mnt" "$image"
	inodes list "$mnt" >first
	plyfs umount "$mnt"
	mounted "$mnt" "$image"
	inodes list "$mnt" >second
	cmp first second
	drop_caches
	inodes open "$mnt" first
	plyfs umount "$mnt"
}

@test "nlink is the number of names, and find -samefile finds them, in every selection" {
	local selection first
	for selection in os os,apache os,mysql os,php os,apache,mysql os,apache,mysql,php; do
		mounted "$mnt" "$image" -s "$selection"
		echo "$selection"
		inodes links "$mnt"
		plyfs umount "$mnt"
	done
	mounted "$mnt" "$image"
	first=/var/www/shop/images/item-7.svg
	[ "$(find "$mnt" -samefile "$mnt$first" -printf '%P\n' | sort | paste -sd ' ')" = "var/www/shop/images/front.svg var/www/shop/images/item-7.svg" ]
	[ "$(stat -c %h "$mnt/srv/backup/index.php")" = 2 ]
	plyfs umount "$mnt"
}

@test "the selection that is mounted and the one that is laid out are one, for each component" {
	local selection
	for selection in os os,apache os,php,apache; do
		mounted "$mnt" "$image" -s "$selection"
		plyfs layout "$image" "$target" -s "$selection" --no-sync
		same "$mnt" "$target"
		plyfs umount "$mnt"
		rm -rf "$target"
		mkdir "$target"
	done
}

@test "the layout equals the gold machine with 1, 2, 8 and 32 streams" {
	local streams
	for streams in 1 2 8 32; do
		plyfs layout "$image" "$target" -j "$streams" --no-sync
		same "$gold" "$target"
		rm -rf --one-file-system "$target"
		mkdir "$target"
	done
}

@test "the image is sound" {
	plyfs verify "$image"
	plyfs verify "$image" --deep
}
