#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# accept.sh TREE REFERENCE NAME...: is TREE a coherent machine? Its own tools judge it, in a chroot: package
# database, users, owners, links, libraries, units; and each NAME (apache, mysql, php, nginx, postgresql, redis)
# is made to work. Where the captured machine itself has something to complain about, TREE may complain of
# the same and of no more: REFERENCE is what `accept.sh --reference GOLD REFERENCE` has written.
#
# TREE is written to (services write): a layout, or an overlay of a mount. Not the gold root, which others read.
# /proc, /dev and /run are mounted in it, and unmounted. Each check is a line, with its output where it failed; the exit code
# is 1 then. `--quick` leaves out what takes long: dpkg -V, ldd, systemd-analyze and the services of a database.
# shellcheck disable=SC2317  # checks are called by name
set -uo pipefail

quick=
if [ "${1:-}" = --quick ]; then quick=1 && shift; fi
if [ "${1:-}" = --reference ]; then
	[ $# = 3 ] || exit 2
	record=1 tree=$2 reference=$3
	mkdir -p "$reference" || exit
	shift 3
else
	[ $# -ge 2 ] || { echo "usage: accept.sh [--quick] TREE REFERENCE NAME... | --reference GOLD REFERENCE" >&2; exit 2; }
	record='' tree=$1 reference=$2
	shift 2
fi
tree=$(realpath "$tree") || exit
work=$(mktemp -d) || exit
failed=0
started=()
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset TMPDIR        # it is not there in a chroot

# --- mounts ----------------------------------------------------------------------------------

mounted=()

clean_up()
{
	local i pid
	for pid in "${started[@]}"; do
		if kill "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null; fi
	done
	for ((i = ${#mounted[@]} - 1; i >= 0; i--)); do
		umount "${mounted[i]}" 2>/dev/null || umount -l "${mounted[i]}"
	done
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

put() # POINT MOUNT-ARGUMENT...
{
	local point=$tree$1
	shift
	mount "$@" "$point" || { echo "accept.sh: cannot mount on $point" >&2; exit 1; }
	mounted+=("$point")
}

put /proc -t proc proc
put /dev --bind /dev
put /dev/shm -t tmpfs tmpfs
put /run -t tmpfs tmpfs
mkdir "$tree/run/lock"      # /var/lock leads there
chmod 1777 "$tree/run/lock" "$tree/dev/shm"

in_tree() { chroot "$tree" "$@"; }
as() { chroot "$tree" runuser -u "$@"; }     # USER -- COMMAND...

# --- checks ----------------------------------------------------------------------------------

# check NAME COMMAND...: it must succeed
check()
{
	local name=$1 rc=0
	shift
	"$@" >"$work/out" 2>&1 </dev/null || rc=$?
	if [ "$rc" = 0 ]; then
		echo "ok      $name"
	else
		echo "FAILED  $name ($rc)"
		sed 's/^/        /' "$work/out" | head -n 40
		failed=1
	fi
}

# silent NAME COMMAND...: and say nothing
silent() { check "$1" says_nothing "${@:2}"; }
says_nothing()
{
	local rc=0
	"$@" || rc=$?
	[ "$rc" = 0 ] && [ ! -s "$work/out" ]
}

# no_worse NAME COMMAND...: what it says, the captured machine's says too
no_worse()
{
	local name=$1
	shift
	if [ -n "$record" ]; then
		"$@" 2>&1 </dev/null | sort -u >"$reference/$name"
	else
		check "$name" says_no_more "$reference/$name" "$@"
	fi
}
says_no_more()
{
	local known=$1
	shift
	[ -f "$known" ] || return 9
	comm -13 "$known" <("$@" 2>&1 | sort -u) | tee "$work/more"
	[ ! -s "$work/more" ]
}

dangling() { in_tree find / -xdev -type l -xtype l; }

orphans() { in_tree find / -xdev \( -nouser -o -nogroup \); }

# Each path of standard input must be there; what is not is said.
all_exist()
{
	# shellcheck disable=SC2016  # the chroot's shell
	in_tree sh -c 'missing=0
		while IFS= read -r path; do [ -e "$path" ] || { echo "$path is not there"; missing=1; }; done
		exit "$missing"'
}

alternatives() { in_tree update-alternatives --get-selections | awk '$3 != "none" { print $3 }' | all_exist; }

# The links are what update-alternatives itself would make of its database.
alternative_links()
{
	# shellcheck disable=SC2016
	in_tree update-alternatives --get-selections | in_tree sh -c 'wrong=0
		while read -r name mode path; do
			link=$(readlink "/etc/alternatives/$name")
			[ "$link" = "$path" ] || { echo "$name ($mode): $path, but the link says $link"; wrong=1; }
		done
		exit "$wrong"'
}

libraries() { in_tree ldconfig -p "$@" | sed -n 's/^\t//p' | sort; }

cache_exists() { libraries | sed 's/.* => //' | sort -u | all_exist; }

cache_fresh()
{
	libraries >"$work/old"
	in_tree ldconfig -X -C /run/ld.so.cache && libraries -C /run/ld.so.cache >"$work/new" && diff "$work/old" "$work/new"
}

ldd_all()
{
	# shellcheck disable=SC2016  # the chroot's shell
	in_tree bash -c 'shopt -s nullglob
		find /usr/bin /usr/sbin /usr/lib/{apache2,php,mysql,postgresql,nginx} -type f -perm -100 2>/dev/null |
			xargs ldd 2>/dev/null | grep "not found"; true'
}

units_enabled()
{
	in_tree systemctl list-unit-files --state=enabled --no-legend --no-pager | awk '{ print $1 }' | grep -v '@\.' >"$work/units"
	[ -s "$work/units" ] && xargs chroot "$tree" systemctl is-enabled <"$work/units"
}

autoremove()
{
	in_tree apt-get -s autoremove >"$work/apt" 2>&1 || { cat "$work/apt"; return 1; }
	if grep '^Remv' "$work/apt"; then return 1; fi
}

# That the shadow files have the lines of the others, no more and no less.
shadow_lines()
{
	diff <(cut -d : -f 1 "$tree/etc/passwd") <(cut -d : -f 1 "$tree/etc/shadow") &&
		diff <(cut -d : -f 1,4 "$tree/etc/group") <(cut -d : -f 1,4 "$tree/etc/gshadow")
}

silent audit in_tree dpkg --audit
silent configure in_tree dpkg --configure -a
check apt-check in_tree apt-get check -qq
if [ -z "$quick" ]; then no_worse verify in_tree dpkg -V; fi
check pwck in_tree pwck -r -q
check grpck in_tree grpck -r
check shadow-lines shadow_lines
silent orphans orphans
no_worse dangling dangling
check alternatives alternatives
check alternative-links alternative_links
check ld-cache-exists cache_exists
check ld-cache-fresh cache_fresh
if [ -z "$quick" ]; then silent ldd ldd_all; fi
check units units_enabled
if [ -z "$quick" ]; then no_worse systemd-analyze in_tree systemd-analyze verify --man=no default.target; fi
check statoverride in_tree dpkg-statoverride --list '*'
check debconf in_tree debconf-show openssh-server
check autoremove autoremove

# --- services ----------------------------------------------------------------------------------

# until NAME PID COMMAND...: the service answers, or has ended
answers()
{
	local pid=$1
	shift
	for _ in {1..600}; do
		"$@" >/dev/null 2>&1 && return
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.2
	done
	cat "$work/service"
	return 1
}

apache() { in_tree apache2ctl configtest; }

php()
{
	in_tree php -r 'exit(extension_loaded("mysqli") ? 0 : 1);' && in_tree apache2ctl -M | grep php_module
}

mysql()
{
	local pid rc=0
	install -d -m 755 -o "$(stat -c %u "$tree/var/lib/mysql")" "$tree/run/mysqld"
	chroot "$tree" mariadbd --user=mysql --skip-networking --socket=/run/mysqld/s >"$work/service" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
	answers "$pid" in_tree mariadb --socket=/run/mysqld/s -e 'select 1' &&
		[ "$(in_tree mariadb --socket=/run/mysqld/s -Ne 'select 1')" = 1 ] || rc=1
	in_tree mariadb-admin --socket=/run/mysqld/s shutdown || kill "$pid" 2>/dev/null
	wait "$pid"
	started=()
	return "$rc"
}

nginx() { in_tree nginx -t; }

redis()
{
	local pid rc=0
	install -d -m 755 -o "$(stat -c %u "$tree/var/lib/redis")" "$tree/run/redis"
	chroot "$tree" runuser -u redis -- redis-server --port 0 --unixsocket /run/redis/s --daemonize no --save '' \
		>"$work/service" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
	answers "$pid" in_tree redis-cli -s /run/redis/s ping && [ "$(in_tree redis-cli -s /run/redis/s ping)" = PONG ] || rc=1
	in_tree redis-cli -s /run/redis/s shutdown nosave || kill "$pid" 2>/dev/null
	wait "$pid"
	started=()
	return "$rc"
}

postgresql()
{
	local version rc=0
	version=$(basename "$tree"/usr/lib/postgresql/*)
	in_tree pg_ctlcluster --skip-systemctl-redirect "$version" main start || return
	[ "$(as postgres -- psql -Atc 'select 1')" = 1 ] || rc=1
	in_tree pg_ctlcluster --skip-systemctl-redirect "$version" main stop -m fast
	return "$rc"
}

for name; do
	case $name in
	apache | php | nginx) check "$name" "$name" ;;
	mysql | redis | postgresql) [ -n "$quick" ] || check "$name" "$name" ;;
	*) echo "accept.sh: no service is called $name" >&2 && exit 2 ;;
	esac
done
exit "$failed"
