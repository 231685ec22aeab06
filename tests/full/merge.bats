#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: merge drivers: 10,000 made-up files of each and three-way, and the shared files of the LAMP machine; 1 min

load ../lib/common
bats_require_minimum_version 1.5.0

setup() { ready; }

@test "made-up files: 10,000 of each driver, as they are and damaged" {
	MERGE_FILES=${MERGE_FILES:-10000} MERGE_SEED=${MERGE_SEED:-$PLYFS_SEED} CK_DEFAULT_TIMEOUT=3600 \
		"$PLYFS_BUILD/tests/unit/test_merge" >log || { grep -v ^ok log; false; }
	grep seeds log
}

@test "three-way: 10,000 triples of each driver, by the model, and whatever their bytes" {
	MERGE_FILES=${MERGE_FILES:-10000} MERGE_SEED=${MERGE_SEED:-$PLYFS_SEED} CK_DEFAULT_TIMEOUT=3600 \
		"$PLYFS_BUILD/tests/unit/test_compose" >log || { grep -av ^ok log; false; }
	grep -a seeds log
}

# shellcheck disable=SC2154  # gold, lamp: by common
@test "the LAMP machine: what each selection reads, by list, and by the tools whose files they are" {
	need_root "the gold root has devices and owners" && gold lamp || ready
	local selections=(os "os,mysql" "os,apache" "os,apache,php" "os,apache,mysql" "os,apache,mysql,php")
	plyfs capture -n "$gold" "${lamp[@]}" --list --json >split.json
	python3 "$PLYFS_TESTS/lib/merge_gold.py" facts "$gold" split.json mysql=mysql >said
	mkdir out
	"$PLYFS_BUILD/tests/unit/test_merge" "$gold" said out "${selections[*]}" >log
	cat log
	run ! grep whole log
	# in a mount namespace of its own: what is seen below the gold root is not in it
	# shellcheck disable=SC2016  # the inner shell expands these
	unshare --mount --propagation private bash -ec '
		gold=$1 check=$2
		shift 2
		mount --bind out "$gold/mnt"
		python3 "$check" check "$gold" said out "$@"' - "$gold" "$PLYFS_TESTS/lib/merge_gold.py" "${selections[@]}" >checked ||
		{ cat checked; false; }
	cat checked
	grep -q "os,apache,mysql,php is everything" checked
	cd out/os
	run ! grep -rE "mysql|mariadb" etc var/lib/dpkg/{diversions,statoverride,triggers,alternatives} var/cache/debconf/{config,passwords}.dat
}

# The cache that ldconfig makes of a selection's files: its libraries, in its order.
libraries() { ldconfig -p -C "$1" | grep '=>'; }

@test "ld.so.cache with libraries for several processors: as ldconfig makes it of what is selected" {
	local lib=gold/usr/lib/x86_64-linux-gnu v
	[ "$(uname -m)" = x86_64 ] || skip "the folders are those of x86_64"
	mkdir -p "$lib"/glibc-hwcaps/x86-64-v{2,3} gold/usr/lib/mysql gold/etc out
	ln -s usr/lib gold/lib
	for v in a bc; do
		"${CC:-gcc}" -shared -Wl,-soname,lib$v.so.1 -o "$lib/lib$v.so.1" -x c /dev/null
		cp "$lib/lib$v.so.1" "$lib/glibc-hwcaps/x86-64-v2/"
		cp "$lib/lib$v.so.1" "$lib/glibc-hwcaps/x86-64-v3/"
	done
	cp "$lib/liba.so.1" gold/usr/lib/mysql/
	printf '%s\n' /usr/lib/mysql /usr/lib/x86_64-linux-gnu >gold/etc/ld.so.conf
	ldconfig -r gold
	printf 'path\t/usr/lib/%s\t%s\n' mysql/liba.so.1 mysql x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/liba.so.1 php >said
	"$PLYFS_BUILD/tests/unit/test_merge" "$PWD/gold" said out "os os,mysql os,php os,mysql,php"
	cmp gold/etc/ld.so.cache out/os,mysql,php/etc/ld.so.cache

	rm gold/usr/lib/mysql/liba.so.1
	ldconfig -r gold
	diff <(libraries gold/etc/ld.so.cache) <(libraries out/os,php/etc/ld.so.cache)
	rm "$lib/glibc-hwcaps/x86-64-v3/liba.so.1"
	ldconfig -r gold
	diff <(libraries gold/etc/ld.so.cache) <(libraries out/os/etc/ld.so.cache)
	[ "$(libraries out/os/etc/ld.so.cache | wc -l)" = 5 ]
	run ! grep -a mysql out/os/etc/ld.so.cache
}
