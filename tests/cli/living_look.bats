#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What would happen to a target that is not empty, and what is there: layout --dry-run, plan --target, info TARGET.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "layout sets owners" && gold small || return 0
	export image=$BATS_FILE_TMPDIR/small.plyfs
	plyfs capture "$gold" "$image" -c web=web,web-data -c db=db,db-client -c lang=lang
}

setup()
{
	ready
	mkdir target
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }
everything() { (cd target && find . -printf '%p %y %m %U %G %s %T@ %l\n' | sort; find . -type f -exec sha256sum {} + | sort); }

@test "--dry-run and plan --target tell what would change, and change nothing" {
	plyfs layout "$image" target -s os,web --no-sync
	everything >before
	run -0 --separate-stderr plyfs layout "$image" target -s db --dry-run
	[[ $output == *"replace   /var/lib/dpkg/status"* ]]
	run -0 --separate-stderr plyfs layout "$image" target -s db --dry-run --json
	[ "$(json 'd["components"]' <<<"$output")" = "['db']" ]
	json '"\n".join(sorted(c["path"] for c in d["changes"] if c["kind"] == "make"))' <<<"$output" >planned
	run -0 --separate-stderr plyfs plan "$image" -s db --target target --json
	[ "$(json 'sorted({c["kind"] for c in d["changes"]}), d["conflicts"]' <<<"$output")" = "(['make', 'replace'], [])" ]
	everything | diff before -
	(cd target && find . -path ./var/lib/plyfs -prune -o -printf '%P\n' | sort) >was
	plyfs layout "$image" target -s db --no-sync
	(cd target && find . -path ./var/lib/plyfs -prune -o -printf '%P\n' | sort) >is
	comm -13 was is | diff planned -
	run -0 --separate-stderr plyfs plan "$image" -s db --target target
	[[ $output == *"all of it is there"* ]]
}

@test "plan --target: conflicts with what is there, by policy and without; a policy file decides what layout does" {
	plyfs layout "$image" target -s os,web --no-sync
	echo 'not the client' >target/usr/bin/dbc
	everything >before
	run -3 --separate-stderr plyfs plan "$image" -s db --target target
	[[ $output == *"conflict  /usr/bin/dbc: undecided"* ]]
	run -3 --separate-stderr plyfs plan "$image" -s db --target target --json
	[ "$(json '[(c["path"], c["rule"]) for c in d["conflicts"]]' <<<"$output")" = "[('/usr/bin/dbc', None)]" ]
	run -3 --separate-stderr plyfs layout "$image" target -s db
	[[ $stderr == *"undecided: /usr/bin/dbc (target, db)"* ]]
	printf 'version: 1\nconflicts:\n  - glob: /usr/bin/dbc\n    resolve: first\n' >policy
	run -0 --separate-stderr plyfs plan "$image" -s db --target target --policy policy
	everything | diff before -
	plyfs layout "$image" target -s db --policy policy --no-sync
	[ "$(cat target/usr/bin/dbc)" = "not the client" ]
}

@test "plan --target: empty, missing, not complete; with what it does not go" {
	run -0 plyfs plan "$image" --target target
	[[ $output == *"is empty"* ]]
	run -0 --separate-stderr plyfs plan "$image" --target target --json
	[ "$(json 'd["changes"]' <<<"$output")" = "[]" ]
	run -1 plyfs plan "$image" --target nowhere
	run -1 plyfs plan "$image" --target "$image"
	run -2 plyfs plan "$image" --target target --show /etc
	run -2 plyfs plan "$image" --target target --write=-
	plyfs layout "$image" target --no-sync
	truncate -s $((64 * 6)) target/var/lib/plyfs/journal
	run -1 --separate-stderr plyfs plan "$image" --target target
	[[ $stderr == *--resume*--abort* ]]
}

@test "info TARGET: complete, what is there and what can go; not complete; nothing; bad usage" {
	run -1 --separate-stderr plyfs info target
	[[ $stderr == *"nothing was laid out into"* ]]
	plyfs layout "$image" target -s os,web --no-sync
	plyfs layout "$image" target -s db --no-sync
	run -0 plyfs info target
	[[ $output == *complete*small.plyfs*"components db, db+lang+web, os, web" ]]
	run -0 plyfs info target --json
	[ "$(json '[(c["name"], c["removable"]) for c in d["components"]]' <<<"$output")" = \
		"[('db', True), ('db+lang+web', True), ('os', False), ('web', True)]" ]
	# while dpkg, or useradd, works there nothing is changed
	touch target/var/lib/dpkg/lock
	run -0 python3 - <<-END
		import fcntl, os, subprocess
		fd = os.open("target/var/lib/dpkg/lock", os.O_RDWR)
		fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
		done = subprocess.run(["plyfs", "layout", "target", "--remove", "web"], capture_output=True, text=True)
		assert done.returncode == 1 and "is held by another process" in done.stderr, done
	END
	run -0 plyfs info "$image" --json
	[ "$(json 'd["image"]["digest"]' < <(plyfs info target --json))" = "$(json 'd["digest"]' <<<"$output")" ]
	plyfs layout target --remove web --no-sync
	run -0 plyfs info target
	[[ $output == *"components db, db+lang+web, os" ]]
	run -2 plyfs info target --identity
	truncate -s $((64 * 6)) target/var/lib/plyfs/journal
	run -0 plyfs info target
	[[ $output == *"not complete"* ]]
}
