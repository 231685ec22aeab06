#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Logs that are cut off, or have a byte flipped, through the commands: an error, or one of the states that the log went through; never a
# crash. PLYFS_DAMAGES says how many (24; `make check-full SUITE=redo_damage` 300), PLYFS_SEED where. In one process: unit/test_redo_damage.

# shellcheck disable=SC2154  # run sets status
load ../lib/common
load ../lib/writable
bats_require_minimum_version 1.5.0

setup_file()
{
	need_writable || return 0
	four_folders
	cd "$BATS_FILE_TMPDIR" || exit
	fresh_log sound.redo m
	traced run m trace --ops 150 --threads 2 --seed "${PLYFS_SEED:-1}"
	plyfs umount m
}

setup()
{
	ready
	seed=${PLYFS_SEED:-$RANDOM} many=${PLYFS_DAMAGES:-24}
	trace=$BATS_FILE_TMPDIR/trace sound=$BATS_FILE_TMPDIR/sound.redo
	echo "# seed $seed" >&3
}

teardown() { [ -n "${SKIP:-}" ] || unmount_all "$BATS_TEST_TMPDIR/m"; }

# damaged KIND N: bad.redo, the Nth of its KIND; says what was done
damaged()
{
	python3 - "$sound" bad.redo "$seed" "$@" <<'END'
import random, sys
sound, bad, seed, kind, n = sys.argv[1:]
draw = random.Random(f"{seed} {kind} {n}")
data = bytearray(open(sound, "rb").read())
if kind == "cut":
    at = draw.randrange(len(data))
    del data[at:]
else:
    # where something is, and a quarter of them anywhere
    at = draw.randrange(len(data))
    while int(n) % 4 and not data[at]:
        at = draw.randrange(len(data))
    data[at] ^= 1 << draw.randrange(8)
open(bad, "wb").write(data)
print(kind, "at byte", at)
END
}

# ends RC...: the last `run` did so, not by a signal or a sanitizer
ends() { [[ " $* " == *" $status "* ]]; }

judged()
{
	run plyfs dump bad.redo
	ends 0 1 4 || { echo "dump: $status"; return 1; }
	run plyfs mount bad.redo m
	ends 0 1 4 || { echo "mount: $status"; return 1; }
	if [ "$status" != 0 ]; then refused=$((refused + 1)); return 0; fi
	run traced judge m "$trace" --prefix
	ends 0 3 || { echo "$output"; plyfs umount m; return 1; }
	if [ "$status" = 0 ]; then shown=$((shown + 1)); fi
	# may be refused; must not hang or end the daemon
	touch m/t0/more 2>/dev/null || true
	run plyfs umount m
	ends 0 1 && ! mountpoint -q m
}

damage_all()
{
	local i what refused=0 shown=0
	mkdir m
	for ((i = 0; i < many / 2; i++)); do
		what=$(damaged "$1" "$i")
		judged || { echo "$what, seed $seed"; false; }
	done
	echo "# $1: $((many / 2)), of which $refused were refused and $shown showed a state of the log" >&3
}

@test "a sound one shows the last state" {
	cp "$sound" bad.redo
	mounted m bad.redo
	traced judge m "$trace"
}

@test "cut off anywhere" { damage_all cut; }

@test "a bit flipped anywhere" { damage_all flip; }
