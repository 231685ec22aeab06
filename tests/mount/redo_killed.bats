#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The daemon of a writable mount is killed: each request that was answered is there, in order, and nothing else but what was under way;
# sqlite keeps each transaction. PLYFS_KILLS says how often (8, and 10 for sqlite; `make check-full SUITE=redo_killed` 100), PLYFS_SEED when.

# shellcheck disable=SC2154  # run sets output, served sets daemon
load ../lib/common
load ../lib/writable
bats_require_minimum_version 1.5.0

setup_file()
{
	need_writable || return 0
	four_folders
}

setup()
{
	ready
	seed=${PLYFS_SEED:-$((RANDOM * 32768 + RANDOM))}
	RANDOM=$((seed % 32768))
}

teardown() { [ -n "${SKIP:-}" ] || unmount_all "$BATS_TEST_TMPDIR/m"; }

# killed MILLISECONDS COMMAND...: COMMAND runs on the mount at m, which is killed so long after it says that it begins
killed()
{
	local pid
	: >out
	"${@:2}" >out 2>&1 3>&- &
	pid=$!
	until [ -s out ] || is_gone "$pid"; do sleep 0.01; done
	sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
	kill -KILL "$daemon"
	wait "$pid" || { cat out; return 1; }
	gone m
}

@test "the judge: what is missing, more, or older than an answer is found" {
	local what i
	cp -a "$BATS_FILE_TMPDIR/gold" d
	traced run d trace --ops 150 --seed "$seed"
	cp -a d before
	traced run d three --ops 3 --seed "$seed"
	traced judge d three
	run -1 traced judge before three
	cp -a d good
	for what in 'rm t0/few/a' 'echo more >t1/more' 'printf x >>t2/one' 'chmod 7 t3/one' 'chown 7 t3/one' 'ln t0/one t0/two' \
			'setfattr -n user.x t1/one' 'cp -p t2/one t2/new && mv t2/new t2/one' 'rm t3/one && mkdir t3/one'; do
		rm -r d
		cp -a "$BATS_FILE_TMPDIR/gold" d
		for i in 0 1 2 3; do
			echo one >"d/t$i/one"
			ln "d/t$i/one" "d/t$i/link"
		done
		traced run d last --ops 0
		traced judge d last
		(cd d && eval "$what")
		run -1 traced judge d last
	done
	# a change that was not answered may be there, or not
	rm -r d last before
	cp -a "$BATS_FILE_TMPDIR/gold" d
	traced run d last --ops 20 --threads 1
	cp -a d before
	traced run d last --ops 1 --threads 1 --seed 2
	sed -i '$d' last/trace0
	traced judge d last
	traced judge before last
}

@test "killed at random moments: all that was answered is there" {
	local kills=${PLYFS_KILLS:-8} i
	echo "# seed $seed" >&3
	fresh_log m.redo
	served m m.redo
	for ((i = 0; i < kills; i++)); do
		rm -rf trace
		killed $((RANDOM % 900 + 20)) traced run m trace --seed $((seed + i))
		served m m.redo
		traced judge m trace >judged || { cat judged; echo "kill $i of seed $seed"; false; }
		sed "s/^# /# kill $i: /" judged >&3
	done
	unmounted m
	mounted m m.redo
	traced judge m trace
}

@test "sqlite is killed under: each transaction that was committed is there, whole" {
	local kills=${PLYFS_KILLS:-10} i journals=(delete wal)
	echo "# seed $seed" >&3
	fresh_log m.redo
	served m m.redo
	for ((i = 0; i < kills; i++)); do
		killed $((RANDOM % 900)) committed run m/db notes --journal "${journals[i % 2]}"
		served m m.redo
		cp m/db* .
		committed judge m/db notes >judged || { cat judged; echo "kill $i of seed $seed"; false; }
	done
	sed 's/^# /# at the end: /' judged >&3
	# that it can fail: one more was committed than there are
	echo $(($(tail -n 1 notes) + 2)) >>notes
	run -1 committed judge m/db notes
}
