#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Components that are added to a target in use, or taken out of it, by a process that is killed: --resume and --abort give
# the one state or the other, byte for byte. PLYFS_KILLS says how often it is killed (5), PLYFS_SEED when.

# shellcheck disable=SC2154,SC2030,SC2031  # run sets output and stderr; each test seeds RANDOM
load ../lib/common
load ../lib/living
bats_require_minimum_version 1.5.0

# killed SECONDS COMMAND...: 0 if it came to its end before that
killed()
{
	local pid rc=0
	"${@:2}" >killed.out 2>&1 3>&- &
	pid=$!
	sleep "$1"
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || rc=$?
	[ "$rc" = 0 ] || [ "$rc" = 137 ] || { cat killed.out; exit 1; }
	return "$rc"
}

# cut_at CALL N COMMAND...: killed at its Nth call, before it is made; 0 if there are fewer
cut_at()
{
	local rc=0
	straced -qqq -o /dev/null -e trace="$1" -e "inject=$1:signal=KILL:when=$2" "${@:3}" >killed.out 2>&1 3>&- || rc=$?
	[ "$rc" = 0 ] || [ "$rc" = 137 ] || { cat killed.out; exit 1; }
	return "$rc"
}

# mended BEFORE AFTER: --resume or --abort, by the coin, gives the listing of one of two trees: what is open becomes
# AFTER, or BEFORE again; what had not begun is BEFORE, what was complete but for its end AFTER
mended()
{
	local verb=--resume want=$2
	if ((RANDOM % 2)); then verb=--abort want=$1; fi
	[ -e "$state/update/journal" ] || want=
	[ "$(stat -c %s "$state/update/journal" 2>/dev/null || echo 0)" -lt 128 ] || want=$2
	((RANDOM % 3)) || killed "$(moment)" plyfs layout "$image" target "$verb" --no-sync || true
	plyfs layout "$image" target "$verb" --no-sync >log 2>&1 || { cat log; return 1; }
	but_state target >now
	if [ -n "$want" ]; then
		diff "$want" now >log || { echo "$verb"; head -n 40 log; return 1; }
	elif ! cmp -s "$1" now && ! cmp -s "$2" now; then
		echo "$verb, not published, or complete"; diff "$1" now | head -n 40; return 1
	fi
	[ ! -e "$state/update" ] && [ ! -e "$state/update.new" ]
}

# left_open COMMAND...: without/ with an open change, of which nothing is in place yet; or MORE renames on the way
left_open()
{
	local n more=${more:-0}
	for ((n = 1; n < 30; n++)); do
		again without
		if cut_at renameat2 "$n" "$@"; then echo "nothing was open at any rename"; return 1; fi
		[ ! -e "$state/update/table" ] || break
	done
	if [ "$more" != 0 ]; then
		again without
		if cut_at renameat2 $((n + more)) "$@"; then echo "it came to its end"; return 1; fi
	fi
	[ -e "$state/update/table" ]
}

moment() { printf '%d.%03d' $((ms = RANDOM % (took * 12 / 10 + 2), ms / 1000)) $((ms % 1000)); }

# Two states of one machine, each of which is one change from the other: without/ and with/
two_states()
{
	machine
	by_hand
	add db >/dev/null 2>&1
	cp -a target without
	local start=$EPOCHREALTIME
	add web >/dev/null 2>&1
	took=$(python3 -c "print(int(($EPOCHREALTIME - $start) * 1000) + 1)")
	mv target with
	but_state without >without.is
	but_state with >with.is
}

again() { rm -rf target && cp -a "$1" target; }

@test "killed at random moments, while it is added and while it is taken out: resumed or taken back" {
	local seed=${PLYFS_SEED:-$((RANDOM * 32768 + RANDOM))} kills=${PLYFS_KILLS:-5} i
	two_states
	RANDOM=$((seed % 32768))
	echo "# seed $seed, $took ms undisturbed" >&3
	for ((i = 0; i < kills; i++)); do
		again without
		killed "$(moment)" plyfs layout "$image" target -s web --no-sync || true
		mended without.is with.is || { echo "add, kill $i of seed $seed"; false; }
		again with
		killed "$(moment)" plyfs layout target --remove web --no-sync || true
		mended with.is without.is || { echo "remove, kill $i of seed $seed"; false; }
	done
}

@test "killed at renames, exchanges, records of a journal, removals of what has no worth any more" {
	command -v strace >/dev/null || skip "needs strace"
	strace -e trace=none true 2>/dev/null || skip "strace is not allowed here"
	local seed=${PLYFS_SEED:-$((RANDOM * 32768 + RANDOM))} call n
	two_states
	RANDOM=$((seed % 32768))
	echo "# seed $seed" >&3
	for call in renameat2 ftruncate unlinkat; do
		n=1
		while
			again without
			! cut_at "$call" "$n" plyfs layout "$image" target -s web --no-sync
		do
			mended without.is with.is || { echo "add, $call $n, seed $seed"; false; }
			again with
			cut_at "$call" "$n" plyfs layout target --remove web --no-sync || true
			mended with.is without.is || { echo "remove, $call $n, seed $seed"; false; }
			n=$((n + 1 + n / 2))
		done
		echo "# $call: $n" >&3
	done
}

@test "while a change is open another one is refused, and the open one is there as it was" {
	two_states
	more=3 left_open plyfs layout "$image" target -s web --no-sync
	remember
	run -1 --separate-stderr add lang --json
	[ "$(reason)" = TARGET_UNFINISHED ]
	[[ $stderr == *--resume*--abort* ]]
	unchanged
	run -1 --separate-stderr take db --json
	[ "$(reason)" = TARGET_UNFINISHED ]
	unchanged
	run -1 --separate-stderr add web --json
	[ "$(reason)" = TARGET_UNFINISHED ]
	unchanged
	run -0 plyfs layout "$image" target --resume --no-sync
	but_state target | diff with.is -
	run -0 plyfs layout "$image" target --resume --no-sync
	run -0 plyfs layout "$image" target --abort --no-sync
	but_state target | diff with.is -
	# taken back, no image is needed for it
	more=5 left_open plyfs layout "$image" target -s web --no-sync
	run -0 plyfs layout nowhere.plyfs target --abort --no-sync
	but_state target | diff without.is -
}

@test "what others do while a change is open stays, and is named" {
	two_states
	left_open plyfs layout "$image" target -s web --no-sync
	mkdir -p target/etc/web
	echo mine >target/etc/web/web.conf
	echo 'carol:x:1600:1600::/:/bin/sh' >>target/var/lib/dpkg/status-mine
	cp -a target before
	run -1 --separate-stderr plyfs layout "$image" target --resume --no-sync --json
	[ "$(left)" = "['/etc/web/web.conf']" ]
	[ "$(cat target/etc/web/web.conf)" = mine ]
	[ -e target/usr/sbin/webd ]
	run ! take web
	[ "$(cat target/etc/web/web.conf)" = mine ]
	rm -rf target
	mv before target
	run -0 plyfs layout "$image" target --abort --no-sync
	[ "$(cat target/etc/web/web.conf)" = mine ]
	rm -r target/etc/web target/var/lib/dpkg/status-mine
	same without target --skip mtime
}
