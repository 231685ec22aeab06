#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: merge drivers: 10,000 made-up files of each, and the shared files of the LAMP machine; 1 min

load ../lib/common
bats_require_minimum_version 1.5.0

setup() { ready; }

@test "made-up files: 10,000 of each driver, as they are and damaged" {
	export MERGE_FILES=${MERGE_FILES:-10000} MERGE_SEED=${MERGE_SEED:-$PLYFS_SEED} CK_DEFAULT_TIMEOUT=3600
	"$PLYFS_BUILD/tests/unit/test_merge" >log || { grep -v ^ok log; false; }
	grep seeds log
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
