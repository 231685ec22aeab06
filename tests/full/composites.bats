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

# --- does it see what is wrong? ------------------------------------------------------------------

# mutant FILE SED: the sources with one line changed are built, and random composites fail with that
mutant()
{
	local file=$1 change=$2 tree=$BATS_FILE_TMPDIR/mutant
	if [ ! -d "$tree" ]; then
		mkdir "$tree"
		tar -C "$PLYFS_TESTS/.." -cf - Makefile fs include tools | tar -xf - -C "$tree"
	fi
	cp "$tree/$file" sound
	sed -i "$change" "$tree/$file"
	run -1 cmp -s sound "$tree/$file"
	make -C "$tree" -s -j 2 >make.log 2>&1 || { tail -n 20 make.log; return 1; }
	PATH=$tree/build/gcc/bin:$PATH run composites d 0-11 --stop
	cp sound "$tree/$file"
	echo "$output"
	[ "$status" = 1 ]
	say "noticed: $(sed -n '/^seed /{p;n;p;q}' <<<"$output" | tr '\n' ' ')"
}

@test "noticed: a whiteout hides nothing" {
	mutant fs/tree/view_overlay.c 's/v->subs\[n->c\[k\]\.i\]\.overlay && w < words/n->c[k].type != PLY_T_WHITEOUT \&\& &/'
}

@test "noticed: what has no final newline gets none" {
	mutant fs/merge/append.c "s/b->data\\[b->len - 1\\] != '.n' && /false \\&\\& /"
}

@test "noticed: an attribute that one of two changed is a conflict" {
	mutant fs/merge/classify.c 's/between & differences(a, base) & differences(b, base)/between/'
}

@test "noticed: of two owners the first is taken" {
	mutant fs/merge/classify.c 's/if (clashes & metadata)/if (clashes \& metadata \& ~(unsigned)PAIR_OWNER)/'
}
