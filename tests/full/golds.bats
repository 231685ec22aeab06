#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: apache, mysql and php from three gold machines in one image, against one on which all were installed (network); 20 min
# Three copies of one base, on each of which apt installed something (gold.sh clones), and a fourth that has all of it.

# shellcheck disable=SC2154  # gold: by setup_file; stderr: by run

load ../lib/common
load ../lib/over
load ../lib/golds
bats_require_minimum_version 1.5.0

cert=/etc/ssl/certs/ssl-cert-snakeoil.pem key=/etc/ssl/private/ssl-cert-snakeoil.key

setup_file()
{
	need_root "the gold roots have devices and owners" && gold clones || return 0
	cd "$BATS_FILE_TMPDIR" || exit 1
	export SOURCE_DATE_EPOCH=1700000000
	grown i.plyfs mysql apache php/apache
	plyfs plan i.plyfs --write=policy.yaml >plan.txt || [ $? = 3 ]
	sed -i 's/resolve: undecided/resolve: first/' policy.yaml
	mkdir all
	plyfs layout i.plyfs all --policy policy.yaml --no-sync
	over "$gold/all"
	"$PLYFS_TESTS/lib/accept.sh" --reference over/tree reference
	over_done
}

setup()
{
	ready
	export SOURCE_DATE_EPOCH=1700000000
	image=$BATS_FILE_TMPDIR/i.plyfs policy=$BATS_FILE_TMPDIR/policy.yaml all=$BATS_FILE_TMPDIR/all
	mkdir mnt
}

teardown()
{
	over_done
	unmount_all "$PWD/mnt"
	rm -rf --one-file-system out
}

# machine NAME...: a selection, mounted and laid out one tree, and by its own tools a machine
machine()
{
	local names
	names=$(IFS=,; echo "os${*:+,}$*")
	mkdir out
	plyfs layout "$image" out -s "$names" --policy "$policy" --no-sync -j 8
	mounted "$PWD/mnt" "$image" -s "$names" --policy "$policy"
	same mnt out
	unmounted mnt
	over "$PWD/out"
	"$PLYFS_TESTS/lib/accept.sh" over/tree "$BATS_FILE_TMPDIR/reference" "$@"
	over_done
}

@test "all of them have the paths of the machine on which all were installed" {
	diff <(paths "$gold/all") <(paths "$all")
}

@test "and its users, packages and questions, byte by byte" {
	local f
	for f in etc/{passwd,group,shadow,gshadow} var/lib/dpkg/status var/cache/debconf/{config,templates,passwords}.dat; do
		echo "$f"
		diff "$gold/all/$f" "$all/$f"
	done
}

@test "states of packages, overrides and triggers have its lines" {
	local f
	for f in var/lib/dpkg/statoverride var/lib/dpkg/triggers/File var/lib/dpkg/diversions; do
		echo "$f"
		diff <(sort "$gold/all/$f") <(sort "$all/$f")
	done
	diff <(tr '\n' '|' <"$gold/all/var/lib/apt/extended_states" | sed 's/||/\n/g' | sort) \
		<(tr '\n' '|' <"$all/var/lib/apt/extended_states" | sed 's/||/\n/g' | sort)
}

@test "backup copies of the shared files name nobody twice" {
	local f
	for f in passwd group shadow gshadow; do
		[ -z "$(cut -d : -f 1 "$all/etc/$f-" | sort | uniq -d)" ]
	done
}

@test "the number that mysql and ssl-cert had both is mapped, in owners too" {
	[ "$(chroot "$all" getent group ssl-cert | cut -d : -f 3)" = 109 ]
	[ "$(chroot "$all" getent group mysql | cut -d : -f 3)" = 108 ]
	[ "$(stat -c %g "$all/etc/ssl/private")" = 109 ]
	[ "$(stat -c %g "$all$key")" = 109 ]
	[ "$(stat -c %g "$all/var/lib/mysql")" = 108 ]
	[ -z "$(chroot "$all" find / -xdev \( -nouser -o -nogroup \))" ]
}

@test "where php stands on apache, nothing is left to decide but the generated certificate, if that" {
	run -0 conflicts "$image"
	[ -z "$output" ] || [ "$output" = "$cert $key" ]
	# the key is that of the certificate, whoever made them
	cmp <(chroot "$all" openssl x509 -in "$cert" -noout -pubkey) <(chroot "$all" openssl pkey -in "$key" -pubout)
	[ ! -e "$all/etc/apache2/mods-enabled/mpm_event.load" ]
	[ -e "$all/etc/apache2/mods-enabled/mpm_prefork.load" ]
}

@test "where both stand on the os, the one conflict is certificate and key, as one set" {
	grown two.plyfs mysql apache php
	run -0 conflicts two.plyfs
	[ "$output" = "$cert $key" ]
	run -3 --separate-stderr plyfs layout two.plyfs "$PWD/out" --no-sync
	[[ $stderr == *snakeoil* ]]
	[ ! -e out ] || [ -z "$(ls -A out)" ]
	plyfs plan two.plyfs --write=two.yaml >plan.txt || [ $? = 3 ]
	sed -i 's/resolve: undecided/resolve: last/' two.yaml
	mkdir -p out
	plyfs layout two.plyfs out --policy two.yaml --no-sync
	cmp "$gold/php$cert" "out$cert"
	cmp "$gold/php$key" "out$key"
}

@test "in another order all is equal, but for numbers" {
	local f
	grown other.plyfs apache php/apache mysql
	mkdir out
	plyfs layout other.plyfs out --policy "$policy" --no-sync || {
		plyfs plan other.plyfs --write=other.yaml >plan.txt || [ $? = 3 ]
		sed -i 's/resolve: undecided/resolve: first/' other.yaml
		plyfs layout other.plyfs out --policy other.yaml --no-sync
	}
	diff <(paths "$all") <(paths out)
	for f in passwd group shadow gshadow; do
		diff <(cut -d : -f 1,2,5- "$all/etc/$f" | sort) <(cut -d : -f 1,2,5- "out/etc/$f" | sort)
	done
	cmp "$all/var/lib/dpkg/status" out/var/lib/dpkg/status
	cmp "$all/var/cache/debconf/config.dat" out/var/cache/debconf/config.dat
	[ -z "$(chroot out find / -xdev \( -nouser -o -nogroup \))" ]
}

@test "a machine: os" { machine; diff <(paths "$gold/base") <(paths out); }
@test "a machine: os, mysql" { machine mysql; diff <(paths "$gold/mysql") <(paths out); }
@test "a machine: os, apache" { machine apache; diff <(paths "$gold/apache") <(paths out); }
@test "a machine: os, apache, php" { machine apache php; diff <(paths "$gold/php") <(paths out); }
@test "a machine: os, mysql, apache" { machine mysql apache; }
@test "a machine: all" { machine mysql apache php; }

@test "os alone is the base, as it was before anything was added" {
	mkdir out
	plyfs layout "$image" out -s os --no-sync
	same "$gold/base" out
}

@test "added and removed is never added, for each selection" {
	local s
	cp "$image" less.plyfs
	run -1 --separate-stderr plyfs remove less.plyfs apache
	[[ $stderr == *php* ]]
	plyfs remove less.plyfs php
	grown never.plyfs mysql apache
	for s in os mysql apache mysql,apache; do
		mkdir out never
		plyfs layout less.plyfs out -s "$s" --no-sync
		plyfs layout never.plyfs never -s "$s" --no-sync
		same out never
		rm -rf --one-file-system out never
	done
}

@test "verify has nothing to say, and finds each machine in it" {
	plyfs verify "$image" --deep
	plyfs verify "$image" --against "$gold/base" -s os
}
