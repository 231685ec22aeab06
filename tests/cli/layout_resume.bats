#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout that is killed: --resume gives the tree that an undisturbed one gives, --abort gives back the target as
# it was. What others have put there stays, and is named. PLYFS_KILLS says how often it is killed (12), PLYFS_SEED when.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
load ../lib/layouts
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "layout sets owners" && gold small || return 0
	rare_composite
}

setup()
{
	ready
	mkdir target
	state=target/var/lib/plyfs
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

# As if it had been killed when the journal had N records: 2 directories, 4 os, 6 others, 8 links, 10 metadata.
rewound() { truncate -s $((64 * $1)) "$state/journal"; }

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

@test "killed at random moments, then resumed or taken out, which is killed too" {
	local seed=${PLYFS_SEED:-$((RANDOM * 32768 + RANDOM))} kills=${PLYFS_KILLS:-12} i verb took rc
	local -A seen=()
	RANDOM=$((seed % 32768))
	local start=$EPOCHREALTIME
	plyfs layout "$image" target -j 2 >/dev/null
	took=$(python3 -c "print(int(($EPOCHREALTIME - $start) * 1000) + 1)")
	echo "# seed $seed, $took ms undisturbed" >&3
	moment() { printf '%d.%03d' $((ms = RANDOM % (took * 11 / 10 + 1), ms / 1000)) $((ms % 1000)); }
	for ((i = 0; i < kills; i++)); do
		rm -rf target
		peculiar target
		remember target
		rc=0
		killed "$(moment)" plyfs layout "$image" target -j $((1 + RANDOM % 4)) || rc=$?
		[ -e "$state/journal" ] && seen[$(($(stat -c %s "$state/journal") / 64))]=1
		verb=(--resume)
		((RANDOM % 2)) || verb=(--abort --all)
		((RANDOM % 3)) || killed "$(moment)" plyfs layout "$image" target "${verb[@]}" || true
		if ! plyfs layout "$image" target "${verb[@]}" >log 2>&1; then
			echo "kill $i of seed $seed, ${verb[*]}"; cat log; find target | head -n 40; false
		fi
		if [ "${verb[0]}" = --resume ]; then
			same "$tree" target >log || { echo "kill $i of seed $seed"; cat log; false; }
			[ "$(find target ! -type d -perm -1000 | wc -l)" = "$(find "$tree" ! -type d -perm -1000 | wc -l)" ]
		else
			untouched target || { echo "kill $i of seed $seed"; false; }
		fi
	done
	echo "# journals were seen with these numbers of records: ${!seen[*]}" >&3
}

@test "from every state that a journal can tell: the same tree, and the same empty target" {
	local n
	for n in 2 4 6 8 10 11; do
		rm -rf target; mkdir target
		remember target
		plyfs layout "$image" target --no-sync >/dev/null
		rewound "$n"
		run -1 --separate-stderr plyfs layout "$image" target --json
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_UNFINISHED ]
		[[ $stderr == *--resume*--abort* ]]
		run -0 plyfs layout "$image" target --resume --no-sync
		same "$tree" target
		run -0 plyfs layout "$image" target --resume
		[[ $output == *"is complete"* ]]
		rewound "$n"
		run -0 plyfs layout "$image" target --abort --all
		untouched target
	done
}

@test "killed while it is written what each component brought: written again, or taken out" {
	local verb
	for verb in "--resume --no-sync" "--abort --all"; do
		rm -rf target; mkdir target
		remember target
		plyfs layout "$image" target --no-sync >/dev/null
		rewound 10
		rm "$state/merge/db/table"
		truncate -s 100 "$state/merge/web/table"
		# shellcheck disable=SC2086  # words
		run -0 plyfs layout "$image" target $verb
		[ "$verb" != "--abort --all" ] || untouched target
	done
	plyfs layout "$image" target --no-sync >/dev/null
	cp -a "$state/merge" merge
	rewound 10
	rm "$state/merge/db/table"
	plyfs layout "$image" target --resume --no-sync >/dev/null
	diff -r --no-dereference merge "$state/merge"
}

@test "--abort: nothing to undo, before os is committed, after it" {
	remember target
	run -0 plyfs layout "$image" target --abort
	untouched target
	# not even an image is needed for that
	run -0 plyfs layout nowhere target --abort
	plyfs layout "$image" target --no-sync >/dev/null
	run -0 --separate-stderr plyfs layout "$image" target --abort --json
	[ "$(json 'd["nothing"], d["left"]' <<<"$output")" = "(True, [])" ]
	rewound 4
	run -0 plyfs layout "$image" target --abort
	untouched target
}

# --- components of one that is not complete ----------------------------------------------------------------

@test "--abort where os is there for good: the others go, and what they share with it is without them" {
	local n
	mkdir alone; plyfs layout "$image" alone -s os --no-sync
	for n in 6 8 10; do
		rm -rf target; mkdir target
		plyfs layout "$image" target --no-sync >/dev/null
		rewound $n
		run -0 plyfs layout "$image" target --abort
		same alone target
		[ "$(ls "$state/done")" = os ]
		[ ! -e "$state/merge" ] || [ -z "$(ls "$state/merge")" ]
		run -0 --separate-stderr plyfs layout "$image" target --resume --json
		[ "$(json 'd["nothing"]' <<<"$output")" = True ]
	done
}

@test "--abort NAME: that one and what requires it; --resume completes the rest" {
	mkdir less
	plyfs layout "$image" less -s os,web,lang --no-sync
	plyfs layout "$image" target --no-sync >/dev/null
	rewound 6
	run -1 --separate-stderr plyfs layout "$image" target --abort nothing --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = SUB_UNKNOWN ]
	run -1 --separate-stderr plyfs layout "$image" target --abort os --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_UNFINISHED ]
	run -2 plyfs layout "$image" target --abort --all db
	run -0 plyfs layout "$image" target --abort db
	run -0 plyfs layout "$image" target --resume
	same less target
	# complete: by what the target itself knows
	run -0 plyfs layout "$image" target --abort web
	[ ! -e "$state/done/web" ]
}

@test "--abort of components is killed at its calls: it goes on, to the same" {
	command -v strace >/dev/null || skip "no strace"
	local k left=0 call
	mkdir alone
	plyfs layout "$image" alone -s os --no-sync
	plyfs layout "$image" target --no-sync >/dev/null
	rewound 6
	for call in unlinkat renameat2 renameat fdatasync pwrite64; do
		for k in 1 7 40; do
			rm -rf copy; cp -a target copy
			run straced -qq -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$k" \
				plyfs layout "$image" copy --abort
			left=$((left + (status != 0)))
			# neither of the others goes on with it
			if [ "$status" -ne 0 ] && [ $((k % 2)) -eq 0 ]; then run plyfs layout "$image" copy; [ "$status" -ne 0 ]; fi
			run -0 plyfs layout "$image" copy --abort
			same alone copy
			[ "$(ls copy/var/lib/plyfs/done)" = os ]
		done
	done
	[ "$left" -ge 8 ]
}

@test "--abort of components leaves what somebody has changed, and says so" {
	plyfs layout "$image" target --no-sync >/dev/null
	rewound 6
	echo edited >>target/etc/db/db.cnf
	echo mine >target/etc/db/mine
	useradd -R "$PWD/target" -M mine 2>/dev/null || echo 'mine:x:4000:4000::/:/bin/sh' >>target/etc/passwd
	run -1 --separate-stderr plyfs layout "$image" target --abort --json
	[ "$(json '[x["path"] for x in d["left"]]' <<<"$output")" = "['/etc/db/db.cnf', '/etc/db/mine']" ]
	[ "$(cat target/etc/db/mine)" = mine ]
	grep -q ^mine: target/etc/passwd
	[ ! -e target/usr/sbin/dbd ]
	! grep -q '^Package: db$' target/var/lib/dpkg/status
}

@test "--resume: nothing was begun, or what had not begun: a plain layout" {
	run -0 plyfs layout "$image" target --resume --no-sync
	same "$tree" target
	rm -rf target; mkdir target
	mkdir -p target/.plyfs.750.1000000000.000000005/lib/plyfs/done
	echo x >target/.plyfs.750.1000000000.000000005/lib/plyfs/plan
	run -1 plyfs layout "$image" target
	[[ $output == *"--resume"* ]]
	cp -a target other
	run -0 plyfs layout "$image" target --resume --no-sync
	same "$tree" target
	run -0 plyfs layout "$image" other --abort
	[ -z "$(ls -A other)" ]
	[ "$(stat -c '%a %.9Y' other)" = "750 1000000000.000000005" ]
	# a target that holds other things is none of these
	mkdir third; touch third/x
	run -1 plyfs layout "$image" third --resume
	run -0 plyfs layout "$image" third --abort
	[ -e third/x ]
}

@test "what is not finished is made again, what lost its data too, the rest is taken" {
	plyfs layout "$image" target --no-sync >/dev/null
	local odd=target/srv/odd inode
	chmod 700 "$odd"
	inode=$(stat -c %i "$odd/big")
	: >"$odd/acl"; chmod 1000 "$odd/acl"                       # being made
	touch -r "$odd/suid" when
	head -c 100 /dev/zero | dd of="$odd/suid" conv=notrunc status=none; touch -r when "$odd/suid"   # other bytes
	touch -r "$odd/holes" when; truncate -s 0 "$odd/holes"; touch -r when "$odd/holes"              # no bytes
	chmod 600 "$odd/null"; chown 0:0 "$odd/null"
	rm "$odd/fifo" "$odd/sticky"
	rewound 4
	run -0 plyfs layout "$image" target --resume --no-sync
	same "$tree" target
	[ "$(stat -c %i "$odd/big")" = "$inode" ]
}

@test "what others have changed or added stays and is named; moved away, the resume is complete" {
	remember target
	plyfs layout "$image" target --no-sync >/dev/null
	local odd=target/srv/odd
	chmod 700 "$odd"
	echo mine >"$odd/acl"                          # changed
	rm "$odd/suid"; mkdir "$odd/suid"              # another type
	rm "$odd/null"; ln -s /dev/null "$odd/null"
	rm "$odd/big"; echo mine >"$odd/big"           # has another name
	rewound 4
	run -1 --separate-stderr plyfs layout "$image" target --resume --no-sync --json
	[ "$(json 'd["error"]["reason"], sorted(l["path"] for l in d["left"])' <<<"$output")" = \
		"('TARGET_EXISTS', ['/srv/odd/acl', '/srv/odd/again', '/srv/odd/null', '/srv/odd/suid'])" ] ||
		[ "$(json 'd["error"]["reason"], sorted(l["path"] for l in d["left"])' <<<"$output")" = \
		"('TARGET_EXISTS', ['/srv/odd/acl', '/srv/odd/big', '/srv/odd/null', '/srv/odd/suid'])" ] ||
		[ "$(json 'd["error"]["reason"], sorted(l["path"] for l in d["left"])' <<<"$output")" = \
		"('TARGET_EXISTS', ['/srv/odd/acl', '/srv/odd/again', '/srv/odd/big', '/srv/odd/null', '/srv/odd/suid'])" ] ||
		{ echo "$output"; false; }
	[ "$(cat "$odd/acl" "$odd/big")" = "mine
mine" ]
	run -1 plyfs layout "$image" target
	mkdir away
	chmod 700 "$odd"
	mv "$odd/acl" "$odd/suid" "$odd/null" "$odd/big" away
	run -0 plyfs layout "$image" target --resume --no-sync
	same "$tree" target
	# and the same for an abort
	echo new >target/usr/new
	echo mine >"$odd/acl"
	run -1 --separate-stderr plyfs layout "$image" target --abort --all --json
	[ "$(json 'sorted(l["path"] for l in d["left"])' <<<"$output")" = "['/srv/odd/acl', '/usr/new']" ]
	[ "$(find target ! -type d | sort)" = "$(printf 'target/srv/odd/acl\ntarget/usr/new')" ]
	run -0 plyfs layout "$image" target --abort
}

@test "a symlink where a directory was leads nowhere" {
	plyfs layout "$image" target --no-sync >/dev/null
	mkdir outside
	cp -a "$tree/srv/odd" outside
	rm -rf target/srv
	ln -s "$PWD/outside" target/srv
	find outside | sort >was
	rewound 2
	run -1 --separate-stderr plyfs layout "$image" target --resume --json
	[[ $(json 'd["left"]' <<<"$output") == *"'/srv'"* ]]
	run -1 plyfs layout "$image" target --abort --all
	[ "$(readlink target/srv)" = "$PWD/outside" ]
	find outside | sort | cmp - was
}

@test "what is given again must be the same; another image is refused" {
	plyfs layout "$image" target -s os,web --no-sync >/dev/null
	rewound 4
	run -2 plyfs layout "$image" target --resume -s os,db
	[[ $output == *--select* ]]
	run -2 plyfs layout "$image" target --resume --lossy
	run -2 plyfs layout "$image" target --resume --map-owner=self
	run -2 plyfs layout "$image" target --resume --on-collision=append -s os,db
	plyfs capture "$tree" other.plyfs >/dev/null
	run -1 --separate-stderr plyfs layout other.plyfs target --resume --json
	[[ $(json 'd["error"]["reason"]' <<<"$output") == @(PLAN_DIFFERENT|SUB_UNKNOWN) ]]
	run -1 plyfs layout other.plyfs target --abort
	run -0 plyfs layout "$image" target --resume -s web --no-sync
	mkdir plain
	plyfs layout "$image" plain -s os,web --no-sync >/dev/null
	same plain target
}

@test "a state behind a symlink, or in the place of which something else is: named by every verb, and nothing is done" {
	mkdir aside
	local at verb
	for at in var/lib/plyfs var/lib var; do
		rm -rf target aside/*; mkdir target
		plyfs layout "$image" target --no-sync >/dev/null
		mv "target/$at" aside/it
		ln -s "$PWD/aside/it" "target/$at"
		find target aside | sort >was
		for verb in "--abort" "--abort --all" "--abort web" "--resume" "--resume -s web" "-s web" "--dry-run"; do
			# shellcheck disable=SC2086  # words
			run -1 --separate-stderr plyfs layout "$image" target $verb --json
			[ "$(json 'd["error"]["reason"]' <<<"$output")" = STATE_DAMAGED ]
			[[ $stderr == *"target/$at: is a symbolic link"* ]]
		done
		run -1 --separate-stderr plyfs layout target --remove web
		[[ $stderr == *"target/$at: is a symbolic link"* ]]
		run -1 --separate-stderr plyfs info target
		[[ $stderr == *"target/$at: is a symbolic link"* ]]
		find target aside | sort | diff was -
		rm "target/$at"
		echo x >"target/$at"
		run -1 --separate-stderr plyfs layout "$image" target --abort
		[[ $stderr == *"target/$at: is no directory"* ]]
		rm "target/$at"
		mv aside/it "target/$at"
		run -0 plyfs layout "$image" target --abort
	done
}

@test "wrong usage" {
	run -2 plyfs layout "$image" target --resume --abort
	run -2 plyfs layout "$image" target --all
	run -2 plyfs layout "$image" target --dry-run --resume
	run -2 plyfs layout "$image" target --abort -s os
	run -2 plyfs layout "$image" --resume
	run -1 --separate-stderr plyfs layout "$image" nowhere --resume --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_NOT_FOUND ]
}

@test "a journal that is damaged, or another's: refused, and nothing is touched" {
	plyfs layout "$image" target --no-sync >/dev/null
	rewound 6
	cp -a "$state/journal" journal
	printf '\377' | dd of="$state/journal" bs=1 seek=130 conv=notrunc status=none
	local verb
	for verb in --resume --abort; do
		run -4 --separate-stderr plyfs layout "$image" target "$verb" --json
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = STATE_DAMAGED ]
		[[ $stderr == *"/var/lib/plyfs/journal"* ]]
	done
	cp -a journal "$state/journal"
	# cut by a power cut
	head -c 20 /dev/urandom >>"$state/journal"
	cp -a "$state/plan" plan
	printf '\377' | dd of="$state/plan" bs=1 seek=40 conv=notrunc status=none
	run -4 plyfs layout "$image" target --resume
	cp -a plan "$state/plan"
	chmod 777 "$state"
	run -1 --separate-stderr plyfs layout "$image" target --abort --all --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = STATE_DAMAGED ]
	chmod 700 "$state"
	rm "$state/journal"
	mkfifo "$state/journal"
	run ! timeout 20 plyfs layout "$image" target --resume
	rm "$state/journal"
	cp -a journal "$state/journal"
	run -0 plyfs layout "$image" target --resume --no-sync
	same "$tree" target
}

@test "another one is at work: told, by the lock of the journal too" {
	plyfs layout "$image" target --no-sync >/dev/null
	rewound 6
	exec 7<>"$state/journal"
	flock -x 7
	for verb in --resume --abort; do
		run -1 --separate-stderr plyfs layout "$image" target "$verb" --json 7<&-
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_BUSY ]
	done
	exec 7<&-
}

@test "--dry-run prints the plan that is carried out, and writes nothing" {
	remember target
	run -0 --separate-stderr plyfs layout "$image" target --dry-run --json
	untouched target
	[ "$(json '[p["phase"] for p in d["phases"]]' <<<"$output")" = "['directories', 'os', 'others', 'links', 'metadata']" ]
	[ "$(json 'sorted(s["stream"] for s in d["phases"][2]["streams"] if "+" not in s["stream"])' <<<"$output")" = \
		"['db', 'lang', 'web']" ]
	local plan names bytes
	plan=$(json 'd["plan"]' <<<"$output")
	names=$(json 'sum(b["n"] for p in d["phases"][1:4] for s in p["streams"] for b in s["batches"])' <<<"$output")
	bytes=$(json 'sum(b["bytes"] for p in d["phases"] for s in p["streams"] for b in s["batches"])' <<<"$output")
	run -0 --separate-stderr plyfs layout "$image" target --dry-run
	[ "${lines[-1]}" = "plan $plan" ]
	run -0 --separate-stderr plyfs layout "$image" target --no-sync --json
	[ "$(json 'd["names"], d["bytes"]' <<<"$output")" = "($names, $bytes)" ]
	[ "sha256:$(od -An -tx1 -j24 -N32 "$state/plan" | tr -d ' \n')" = "$plan" ]
	# of what is there nothing is left to do
	run -0 --separate-stderr plyfs layout "$image" target --dry-run --json
	[ "$(json 'd["components"], d["changes"]' <<<"$output")" = "([], [])" ]
}

@test "the state is left out by captures, comparisons and verify; done/ names what is there" {
	plyfs layout "$image" target --no-sync >/dev/null
	[ "$(stat -c %a "$state")" = 700 ]
	[ "$(find "$state/done" -type f ! -name '*+*' -printf '%f\n' | sort)" = "$(printf 'db\nlang\nos\nweb')" ]
	same "$tree" target
	run -0 plyfs verify "$image" --against target
	plyfs capture target again.plyfs >/dev/null
	run -0 plyfs ls again.plyfs /var/lib
	[[ $output != *plyfs* ]]
}

@test "an image that has no place for the state" {
	mkdir one two
	ln -s /elsewhere one/var
	mkdir -p two/var
	echo x >two/var/lib
	for t in one two; do
		plyfs capture "$t" "$t.plyfs" >/dev/null
		run -1 --separate-stderr plyfs layout "$t.plyfs" target --json
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_CANNOT_HOLD ]
		[[ $stderr == *"/var"* ]]
		[ -z "$(ls -A target)" ]
	done
}

@test "an ordinary user: modes that lock him out, a target that he cannot write to yet" {
	mkdir mine
	mkdir -p mine/locked/in
	echo x >mine/locked/in/file
	echo x >mine/locked/none
	setfattr -n user.note -v yes mine/locked/none 2>/dev/null || true
	chown -R 65534:65534 mine target
	chmod 0 mine/locked/none mine/locked/in/file
	chmod 555 mine/locked mine/locked/in target
	plyfs capture mine m.plyfs >/dev/null
	chmod 755 "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR" 2>/dev/null || true
	chmod 644 m.plyfs
	user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
	remember target
	local n
	for n in 2 4 10 12; do
		run -0 user plyfs layout m.plyfs target --no-sync
		same mine target
		rewound "$n"
		run -0 user plyfs layout m.plyfs target --resume --no-sync
		same mine target
		rewound "$n"
		run -0 user plyfs layout m.plyfs target --abort --all
		untouched target
	done
}
