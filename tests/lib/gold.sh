#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# gold.sh NAME: prints the path of a gold root, which is built first if need be.
#
#   lamp    Debian 12 with apache, mariadb and php as an administrator would have it (root, network)
#   split   trees of one base with software installed as an administrator does, by apt with recommended packages
#           (root, network): base, lamp, npr (nginx, postgresql, redis), six (both); for each piece
#           of software alone the list of its paths: NAME.paths
#   clones  the base of `split`, and copies of it on which apache; mysql; apache and php; and all of them, in the order
#           mysql, apache, php, were installed, each by itself: base, apache, mysql, php, all (root, network)
#   small   some 2,000 files with a dpkg database, made up (no network)
#
# Whoever uses one only reads it: it is shared by all tests, and kept between runs. The key is a
# digest of the recipe (this file's functions) and of what goes into it (package lists, generator),
# so a new package list makes a new gold root; those that nobody used for four hours are removed. It
# is built beside its place and renamed, under a lock. stdout has the path alone. Exit code 77: it
# can't be had here, and why.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/debian.sh
. "$here/debian.sh"
checkout=$(cd "$here/../.." && pwd)
if [ -n "${PLYFS_BUILD:-}" ]; then build=$(dirname "$PLYFS_BUILD"); else build=$checkout/build; fi
cache=${PLYFS_CACHE:-$build/cache}

skip()
{
	echo "gold.sh: $*" >&2
	exit 77
}

# What the administrator of a small shop would have done after installing; runs in the gold root.
lamp_edits()
{
	cat <<-'END'
	set -e
	cd /etc/apache2
	printf '%s\n' '<VirtualHost *:80>' '	ServerName shop.example' '	DocumentRoot /var/www/shop' \
		'	<Directory /var/www/shop>' '		AllowOverride All' '	</Directory>' '</VirtualHost>' \
		>sites-available/shop.conf
	a2enmod -q rewrite headers
	a2dissite -q 000-default
	a2ensite -q shop
	for sapi in apache2 cli; do
		printf 'memory_limit = 256M\ndate.timezone = Europe/Berlin\n' >/etc/php/8.2/$sapi/conf.d/99-shop.ini
	done
	sed -i 's/^;\?upload_max_filesize.*/upload_max_filesize = 16M/' /etc/php/8.2/apache2/php.ini
	printf '[mysqld]\ninnodb_buffer_pool_size = 64M\nmax_connections = 42\n' >/etc/mysql/mariadb.conf.d/99-shop.cnf

	groupadd --gid 2000 shop
	useradd --uid 2000 --gid shop --groups www-data,adm --create-home --shell /bin/bash deploy
	echo 'deploy:$6$salt$notarealhash' | chpasswd -e
	mkdir -p /home/deploy/.ssh
	echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFtestkeytestkeytestkeytestkeytestkeytestkeyte deploy@example' \
		>/home/deploy/.ssh/authorized_keys
	chmod 700 /home/deploy/.ssh
	chmod 600 /home/deploy/.ssh/authorized_keys
	chown -R deploy:shop /home/deploy

	mkdir -p /var/www/shop/images /var/www/shop/upload /srv/backup
	cd /var/www/shop
	echo '<?php $db = new mysqli("localhost", "shop", "", "shop"); ?>' >index.php
	printf 'RewriteEngine On\nRewriteRule ^item/([0-9]+)$ index.php?item=$1 [L]\n' >.htaccess
	i=0
	while [ $i -lt 200 ]; do
		seq $i $((i * 7 + 50)) >images/item-$i.svg
		i=$((i + 1))
	done
	ln images/item-7.svg images/front.svg
	ln -s images/front.svg logo.svg
	ln index.php /srv/backup/index.php
	chown -R deploy:www-data .
	chmod 2775 upload
	truncate -s 64M /srv/backup/queue.img
	echo queue | dd of=/srv/backup/queue.img bs=4096 seek=1000 conv=notrunc status=none
	install -m 755 /dev/stdin /usr/local/bin/shop-cron <<-'SCRIPT'
		#!/bin/sh
		exec php /var/www/shop/index.php
	SCRIPT
	printf '17 * * * * deploy /usr/local/bin/shop-cron\n' >/etc/cron.d/shop
	echo shop >/etc/hostname
	printf '127.0.0.1 localhost\n127.0.1.1 shop.example shop\n' >/etc/hosts
	printf '%s\n' 'create database shop;' 'create table shop.item (id int primary key, name text);' \
		'insert into shop.item values (1, "one"), (2, "two");' |
		mariadbd --bootstrap --user=mysql --skip-networking
	END
}

lamp_build() # LISTS ROOT
{
	lamp_edits >"$2.edits"
	# shellcheck disable=SC2016  # mmdebstrap's shell expands $1
	debian_root "$1" "$2" --variant=important \
		--include=apache2,mariadb-server,mariadb-client,php,php-cli,php-mysql,libapache2-mod-php,openssh-server,acl,ssl-cert \
		--customize-hook="upload $2.edits /edits.sh" \
		--customize-hook='chroot "$1" sh /edits.sh && rm "$1/edits.sh"' \
		--customize-hook='chroot "$1" setfacl -m u:deploy:rwx,d:u:deploy:rwx /var/www/shop/upload' \
		--customize-hook='chroot "$1" setfacl -m g:adm:r /etc/mysql/debian.cnf' \
		--customize-hook='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap'
}

# Of each piece of software: what is installed by hand.
split_packages()
{
	case $1 in
	apache) echo apache2 ;;
	mysql) echo mariadb-server ;;
	php) echo php libapache2-mod-php php-mysql ;;
	nginx) echo nginx ;;
	postgresql) echo postgresql ;;
	redis) echo redis ;;
	esac
}

# split_grow DIR FROM SOFTWARE...: a copy of tree FROM with them installed one after the other
split_grow()
{
	local dir=$1 from=$2 name packages
	shift 2
	cp -a --reflink=auto "$from" "$dir"
	install -m 755 /dev/stdin "$dir/usr/sbin/policy-rc.d" <<<'exit 101'
	for name; do
		read -ra packages <<<"$(split_packages "$name")"
		# mounts of its own, which go when it ends
		# shellcheck disable=SC2016  # the inner shell expands these
		unshare --mount --propagation private --pid --fork bash -c '
			set -e
			root=$1
			shift
			mount -t proc proc "$root/proc"
			mount -t tmpfs tmpfs "$root/run"
			mkdir "$root/run/lock"
			mount --bind /dev "$root/dev"
			mount --bind "$root.debs" "$root/var/cache/apt/archives"
			touch "$root/etc/resolv.conf"
			mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
			DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -q -y -o Dpkg::Use-Pty=0 \
				-o Dpkg::Options::=--force-unsafe-io -o APT::Keep-Downloaded-Packages=true "$@"
		' - "$dir" "${apt_options[@]}" install "${packages[@]}" >"$dir.log" 2>&1 </dev/null ||
			{
				tail -n 40 "$dir.log" >&2
				return 1
			}
	done
	rm "$dir/usr/sbin/policy-rc.d"
}

split_paths() { find "$1" -mindepth 1 -printf '%P\0' | sort -z >"$2"; }

split_build() # LISTS ROOT
{
	local line name apt_options=()
	local base=systemd-sysv,openssh-server,python3,perl,man-db,linux-image-cloud-amd64,initramfs-tools,ca-certificates,curl,rsync,file
	while IFS= read -r line; do apt_options+=(-o "${line%;}"); done < <(debian_apt_options | sed 's/ "/=/; s/";$//')
	mkdir -p "$2" "$2/debs/partial"
	# shellcheck disable=SC2016  # mmdebstrap's shell expands $1
	debian_root "$1" "$2/base" --variant=important --skip=cleanup/apt/lists --include="$base" \
		--customize-hook='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
		--customize-hook='touch "$1/etc/resolv.conf"'
	split_paths "$2/base" "$2/base.paths"
	for name in apache mysql nginx postgresql redis lamp npr six php; do
		ln -s debs "$2/$name.debs"
		case $name in
		lamp) split_grow "$2/lamp" "$2/base" apache mysql php ;;
		npr) split_grow "$2/npr" "$2/base" nginx postgresql redis ;;
		six) split_grow "$2/six" "$2/lamp" nginx postgresql redis ;;
		php) split_grow "$2/php" "$2/base" apache php ;;
		*) split_grow "$2/$name" "$2/base" "$name" ;;
		esac
		split_paths "$2/$name" "$2/$name.paths"
		# to compare with, its paths are enough
		case $name in lamp | npr | six) ;; *) rm -rf --one-file-system "${2:?}/$name" ;; esac
	done
	rm -rf "$2"/debs "$2"/*.debs "$2"/*.log "$2"/*.list
}

clones_build() # LISTS ROOT
{
	local line name base apt_options=()
	while IFS= read -r line; do apt_options+=(-o "${line%;}"); done < <(debian_apt_options | sed 's/ "/=/; s/";$//')
	base=$("$here/gold.sh" split)/base
	mkdir -p "$2" "$2/debs/partial"
	cp -a --reflink=auto "$base" "$2/base"
	for name in apache mysql php all; do
		ln -s debs "$2/$name.debs"
		case $name in
		php) split_grow "$2/php" "$2/base" apache php ;;
		all) split_grow "$2/all" "$2/base" mysql apache php ;;
		*) split_grow "$2/$name" "$2/base" "$name" ;;
		esac
	done
	rm -rf "$2"/debs "$2"/*.debs "$2"/*.log
}

small_build() # unused ROOT
{
	mkdir "$2"
	"$here/small.py" "$2" >&2
}

# A build that was killed leaves /proc and /sys mounted. (A mount namespace would take them along, but
# it also holds copies of all other mounts, and a test that unmounts one then waits for us.)
remove_work()
{
	awk -v work="$work/" 'index($5, work) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r -n 1 umount -l
	rm -rf --one-file-system "$work"
}

build() # NAME INPUT: NAME_build into the cache, unless it is there
{
	local key dir
	key=$({ declare -f "$1_build"; declare -f "$1_edits" "$1_packages" "$1_grow" || true; cat; } <<<"$2" | sha256sum | cut -c 1-16)
	dir=$cache/gold-$1-$key
	mkdir -p "$cache"
	exec 9>"$cache/gold-$1.lock"
	flock 9
	if [ ! -d "$dir" ]; then
		work=$cache/gold-$1.new
		remove_work
		mkdir "$work"
		trap remove_work EXIT
		echo "gold.sh: building $1 (key $key)" >&2
		"$1_build" "$3" "$work/root" 9>&-
		sync -f "$work"
		mv "$work" "$dir"
		trap - EXIT
		echo "gold.sh: $1: $(find "$dir/root" | wc -l) files, $(du -sm "$dir/root" | cut -f 1) MiB, $SECONDS s" >&2
	fi
	touch "$dir/used"
	find "$cache" -mindepth 2 -maxdepth 2 -path "$cache/gold-$1-*/used" -mmin +240 -print0 |
		while IFS= read -r -d '' old; do rm -rf --one-file-system "$(dirname "$old")"; done
	echo "$dir/root"
}

export SOURCE_DATE_EPOCH=1700000000 LC_ALL=C.UTF-8
unset TMPDIR        # a test's; it is not there in a chroot
umask 022
case ${1:-} in
lamp | split | clones)
	[ "$(id -u)" = 0 ] || skip "$1 needs root: mmdebstrap makes devices and owners"
	command -v mmdebstrap >/dev/null || skip "$1 needs mmdebstrap"
	lists=$(debian_lists) || skip "apt has no package source of Debian 12 (bookworm)"
	input=$(awk '{ print $4 }' <<<"$lists" | xargs sha256sum)
	if [ "$1" = clones ]; then input+=$(declare -f split_build split_grow split_packages); fi
	build "$1" "$input" "$lists"
	;;
small)
	build small "$(id -u) $(sha256sum <"$here/small.py")" ''
	;;
*)
	echo "usage: gold.sh lamp|split|clones|small" >&2
	exit 2
	;;
esac
