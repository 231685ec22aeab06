#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: 200 random composite images against the oracle, each row of the collision table 100 times, three mutants; 30 min

# shellcheck disable=SC2154  # output: by run

load ../lib/common
bats_require_minimum_version 1.5.0

setup()
{
	need_root "owners, devices, mounts" || true
	[ -c /dev/fuse ] || lacks "there is no /dev/fuse" || true
	ready
}

say() { echo "# $*" >&3; }

composites() { python3 "$PLYFS_TESTS/lib/composite.py" "$@"; }

@test "200 composites, each row at least 100 times" {
	local first=$((${PLYFS_SEED:-1} * 1000))
	run composites d $first-$((first + 199)) --least 100
	while IFS= read -r line; do say "$line"; done <<<"$output"
	[ "$status" = 0 ]
}

# mutant FILE SED: a copy of the sources with one line changed is built, and the same composites fail with it
mutant()
{
	local file=$1 change=$2
	rm -rf mutant
	mkdir mutant
	(cd "$PLYFS_TESTS/.." && tar -cf - Makefile fs include tools) | tar -xf - -C mutant
	sed -i "$change" "mutant/$file"
	run -1 cmp -s "$PLYFS_TESTS/../$file" "mutant/$file"
	make -C mutant -s -j 2 >make.log 2>&1 || { tail -n 20 make.log; return 1; }
	rm -rf d
	PATH=$PWD/mutant/build/gcc/bin:$PATH run composites d 0-11 --stop
	[ "$status" = 1 ]
	[[ $output == *'seed '* ]]
	say "$file, $change: $(sed -n '/^seed/{p;n;p;q}' <<<"$output")"
}
