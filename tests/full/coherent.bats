#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: every selection of two machines, mounted and laid out, judged by its own tools and services (network); 20 min
# A selection is a machine: what lib/accept.sh and lib/coherent.py ask of it, for LAMP and for nginx, postgresql and redis.

# shellcheck disable=SC2154  # gold: by setup_file

load ../lib/common
load ../lib/over
load ../lib/apt
bats_require_minimum_version 1.5.0

components_lamp=(-c apache=apache2 -c mysql=mariadb-server -c "php=php,libapache2-mod-php,php-mysql")
components_npr=(-c nginx=nginx -c postgresql=postgresql -c redis=redis)
services_lamp=(apache mysql php)
services_npr=(nginx postgresql redis)

setup_file()
{
	need_root "the gold roots have devices and owners" && gold split || return 0
	local machine
	cd "$BATS_FILE_TMPDIR" || exit 1
	for machine in lamp npr; do
		declare -n options=components_$machine
		SOURCE_DATE_EPOCH=1700000000 plyfs capture "$gold/$machine" "$machine.plyfs" "${options[@]}"
		plyfs capture -n "$gold/$machine" "${options[@]}" --list --json >"$machine.json"
		over "$gold/$machine"
		"$PLYFS_TESTS/lib/accept.sh" --reference over/tree "$machine.reference"
		over_done
	done
}

setup()
{
	ready
	mkdir mnt out
}

teardown()
{
	over_done
	unmount_all "$PWD/mnt"
	rm -rf --one-file-system out
}

# accepted LOWER MACHINE SERVICE...
accepted()
{
	local lower=$1 machine=$2
	shift 2
	over "$lower"
	"$PLYFS_TESTS/lib/accept.sh" over/tree "$BATS_FILE_TMPDIR/$machine.reference" "$@"
	over_done
}

coherent() # TREE MACHINE COMPONENT...
{
	local tree=$1 machine=$2
	shift 2
	python3 "$PLYFS_TESTS/lib/coherent.py" "$gold/$machine" "$BATS_FILE_TMPDIR/$machine.json" "$tree" "$@"
}

# selection MACHINE COMPONENT...: mounted and laid out one tree, and a machine
selection()
{
	local machine=$1 names
	shift
	local image=$BATS_FILE_TMPDIR/$machine.plyfs
	names=$(IFS=,; echo "os${*:+,}$*")
	plyfs layout "$image" out -s "$names" --no-sync
	mounted "$PWD/mnt" "$image" -s "$names"
	same mnt out
	coherent out "$machine" "$@"
	coherent mnt "$machine" "$@"
	accepted "$PWD/out" "$machine" "$@"
	accepted "$PWD/mnt" "$machine" "$@"
	unmounted mnt
}

everything() # MACHINE
{
	declare -n services=services_$1
	selection "$1" "${services[@]}"
	same "$gold/$1" out
	mounted "$PWD/mnt" "$BATS_FILE_TMPDIR/$1.plyfs"
	same "$gold/$1" mnt
	unmounted mnt
}

@test "lamp: os" { selection lamp; }
@test "lamp: os, mysql" { selection lamp mysql; }
@test "lamp: os, apache" { selection lamp apache; }
@test "lamp: os, apache, php" { selection lamp apache php; }
@test "lamp: os, mysql, apache" { selection lamp mysql apache; }
@test "lamp: all is the captured machine" { everything lamp; }

@test "nginx, postgresql, redis: os" { selection npr; }
@test "nginx, postgresql, redis: os, nginx" { selection npr nginx; }
@test "nginx, postgresql, redis: os, postgresql" { selection npr postgresql; }
@test "nginx, postgresql, redis: os, redis" { selection npr redis; }
@test "nginx, postgresql, redis: all is the captured machine" { everything npr; }

@test "in os, mysql more can be installed, and mysql can be removed" {
	plyfs layout "$BATS_FILE_TMPDIR/lamp.plyfs" out -s os,mysql --no-sync
	install -m 755 /dev/stdin out/usr/sbin/policy-rc.d <<<'exit 101'
	apt out update
	apt out install apache2 php php-mysql
	clean out
	accepted "$PWD/out" lamp mysql apache php
	apt out purge --autoremove mariadb-server
	clean out
	chroot out php -r 'exit(extension_loaded("mysqli") ? 0 : 1);'
	[ ! -e out/usr/sbin/mariadbd ]
}

# --- does the list see what is wrong? ---------------------------------------------------------

# notices CHECK COMMAND...: after COMMAND in over/tree the list, or lib/coherent.py, fails by CHECK
notices()
{
	local check=$1 log quick=--quick
	shift
	case $check in verify | ldd) quick= ;; esac
	over "$PWD/out"
	(cd over/tree && "$@")
	# shellcheck disable=SC2086  # none where it is empty
	log=$(coherent over/tree lamp apache 2>&1 | sed 's/^/coherent /'
		"$PLYFS_TESTS/lib/accept.sh" $quick over/tree "$BATS_FILE_TMPDIR/lamp.reference" apache 2>&1) || true
	over_done
	grep -qE "^(FAILED  )?($check)" <<<"$log" || { echo "no $check after $*"; echo "$log"; return 1; }
}

@test "what is wrong is noticed" {
	local g=$gold/lamp
	plyfs layout "$BATS_FILE_TMPDIR/lamp.plyfs" out -s os,apache --no-sync
	notices grpck sed -i 's/^\(ssl-cert:.*\)/\1mysql/' etc/group
	notices pwck cp "$g/etc/passwd" etc/passwd
	notices pwck sed -i '/^sshd:/d' etc/shadow
	notices verify cp "$g/var/lib/dpkg/status" var/lib/dpkg/status
	notices apt-check sed -i '/^Package: apache2-bin$/,/^$/d' var/lib/dpkg/status
	notices audit rm var/lib/dpkg/info/apache2.list
	notices ld-cache-exists cp "$g/etc/ld.so.cache" etc/ld.so.cache
	notices orphans sed -i '/^ssl-cert:/d' etc/group etc/gshadow
	notices dangling ln -s /usr/bin/php8.2 etc/alternatives/php
	notices 'alternative|coherent' cp "$g/var/lib/dpkg/alternatives/php" var/lib/dpkg/alternatives/php
	notices 'coherent .*triggers/File' cp "$g/var/lib/dpkg/triggers/File" var/lib/dpkg/triggers/File
	notices 'coherent .*config.dat' truncate -s -100 var/cache/debconf/config.dat
	notices 'coherent .*passwd-' cp "$g/etc/passwd" etc/passwd-
	notices 'coherent .*extended_states' cp "$g/var/lib/apt/extended_states" var/lib/apt/extended_states
	notices 'coherent .*mariadbd' cp "$g/usr/sbin/mariadbd" usr/sbin/
	notices ldd rm usr/lib/x86_64-linux-gnu/libapr-1.so.0
}
