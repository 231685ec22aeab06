#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs layout into a target that has packages of its own: the package is the unit. RULES 7 and 30.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
load ../lib/packages
load ../lib/terminal
bats_require_minimum_version 1.5.0

setup_file() { need_root "layout sets owners"; }

setup() { ready; }

# A machine with libx 1 (two conffiles), on which app 1 needs it, and a target of another base: only the names of its
# files are those of the image.
# machines VERSION [DEPENDS]: of libx on the target
machines()
{
	root os
	package os base 1 '' /usr/bin/base
	cp -a os app
	package app libx 2.0-1 $'Multi-Arch: same\n' /usr/lib/libx.so.2 /usr/share/doc/libx/copyright /usr/share/libx/only-2
	package app app 1.0 "Depends: ${2:-libx}"$'\n' /usr/bin/app /usr/share/doc/app/copyright
	image
	root target
	package target base 1 '' /usr/bin/base
	package target other 7 '' /usr/bin/other
	package target libx "$1" $'Multi-Arch: same\n' /usr/lib/libx.so.2 /usr/share/doc/libx/copyright /usr/share/libx/only-2
	[ "$1" = 2.0-1 ] || rm -r target/usr/share/libx
	[ "$1" = 2.0-1 ] || sed -i /only-2/d target/var/lib/dpkg/info/libx:amd64.list
	remember
}

@test "the same version: taken, its files compared; the target's own packages stay" {
	machines 2.0-1
	run -0 --separate-stderr plyfs layout app.plyfs target -s app --dry-run --json
	[ "$(json 'sorted((p["package"], p["state"]) for p in d["packages"])' <<<"$output")" = "[('app', 'new'), ('libx', 'taken')]" ]
	run -0 --separate-stderr plyfs plan app.plyfs -s app --target target
	[[ $output == *"1 package is there already, in the same version"* ]]
	unchanged
	# a file of it that is missing is made
	rm target/usr/share/libx/only-2
	run -0 app
	[ "$(versions target)" = "app 1.0 base 1 libx 2.0-1 other 7" ]
	[ "$(cat target/usr/share/libx/only-2)" = "libx 2.0-1 /usr/share/libx/only-2" ]
	run -0 plyfs layout target --remove app --no-sync
	[ "$(versions target)" = "base 1 libx 2.0-1 other 7" ]
	[ -e target/usr/lib/libx.so.2 ]
	# what the target's dpkg and apt say of it counts
	sed -i '/^Package: libx/,/^$/s/install ok/hold ok/' target/var/lib/dpkg/status
	mkdir -p app/var/lib/apt
	printf 'Package: libx\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: app\nArchitecture: amd64\nAuto-Installed: 1\n\n' >app/var/lib/apt/extended_states
	image
	run -0 app
	grep -A1 '^Package: libx' target/var/lib/dpkg/status | grep -q 'hold ok installed'
	[ "$(grep Package target/var/lib/apt/extended_states)" = "Package: app" ]
	run -0 plyfs layout target --remove app --no-sync
	grep -A1 '^Package: libx' target/var/lib/dpkg/status | grep -q 'hold ok installed'
	# one that is another is judged by itself
	echo mine >target/usr/lib/libx.so.2
	remember
	run -3 --separate-stderr app
	[[ $stderr == *"undecided: /usr/lib/libx.so.2 (target, app)"* ]]
	unchanged
}

@test "another version: one conflict, which names the package, both versions and how many paths; nothing is written" {
	machines 1.0-1
	run -3 --separate-stderr app --json
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = CONFLICT ]
	[[ $(json 'd["error"]["message"]' <<<"$output") == "1 conflict "*"package libx:amd64 1.0-1 (target), 2.0-1 (app)"* ]]
	# files of both that differ, one that only the image has, its list
	[ "$(json '[(p["package"], p["target"], p["image"], p["component"], p["paths"], p["rule"]) for p in d["packages"] if p["state"] == "conflict"]' <<<"$output")" = \
		"[('libx', '1.0-1', '2.0-1', 'app', 4, None)]" ]
	[ "$(grep -c undecided <<<"$stderr")" = 1 ]
	[[ $stderr == *"undecided: package libx:amd64 1.0-1 (target), 2.0-1 (app): another version, 4 paths"*"resolve: target"* ]]
	unchanged
	# the same by those who only look
	run -3 --separate-stderr plyfs layout app.plyfs target -s app --dry-run
	[[ $output == *"conflict  package libx:amd64 1.0-1 (target), 2.0-1 (app): undecided: another version, 4 paths"* ]]
	[[ $output != *only-2* ]]
	run -3 --separate-stderr plyfs plan app.plyfs -s app --target target --json
	[ "$(json '[(p["package"], p["paths"]) for p in d["packages"] if p["state"] == "conflict"], d["conflicts"]' <<<"$output")" = "([('libx', 4)], [])" ]
	[ "$(json '[c["path"] for c in d["changes"] if "libx" in c["path"]]' <<<"$output")" = "[]" ]
	unchanged
	# by path it is not decided
	printf 'version: 1\nconflicts:\n  - glob: /**\n    resolve: last\n' >p.yaml
	run -3 app --policy p.yaml
	unchanged
}

stays="version: 1
conflicts:
  - package: libx
    resolve: target"

@test "target: the target's package stays as it is, without a file or a stanza of the other; away again as before" {
	machines 1.0-1
	cp target/usr/lib/libx.so.2 lib.was
	echo "$stays" >p.yaml
	run -0 --separate-stderr plyfs layout app.plyfs target -s app --dry-run --policy p.yaml
	[[ $output == *"keep      package libx:amd64 1.0-1 (target), 2.0-1 (app): the target's stays, 4 paths"* ]]
	run -0 --separate-stderr plyfs plan app.plyfs -s app --target target --policy p.yaml --json
	[ "$(json '[p["rule"] for p in d["packages"] if p["state"] == "conflict"]' <<<"$output")" = "['target']" ]
	unchanged
	run -0 app --policy p.yaml
	[ "$(versions target)" = "app 1.0 base 1 libx 1.0-1 other 7" ]
	cmp lib.was target/usr/lib/libx.so.2
	[ ! -e target/usr/share/libx ] && [ -e target/usr/bin/app ]
	run ! grep only-2 target/var/lib/dpkg/info/libx:amd64.list
	run -0 app
	[[ $output == *"all of it is there"* ]]
	run -0 plyfs layout target --remove app --no-sync
	# of the state a directory stays
	rm -rf target/var/lib/plyfs
	unchanged
}

@test "target: what apt knows of the package stays, too" {
	machines 1.0-1
	mkdir -p app/var/lib/apt target/var/lib/apt
	printf 'Package: libx\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: app\nArchitecture: amd64\nAuto-Installed: 1\n\n' >app/var/lib/apt/extended_states
	image
	echo "$stays" >p.yaml
	run -0 app --policy p.yaml
	[ "$(grep Package target/var/lib/apt/extended_states)" = "Package: app" ]
}

@test "target, and what the component needs does not hold with it: the refusal names the dependency" {
	machines 1.0-1 'libx (>= 2.0)'
	echo "$stays" >p.yaml
	local how
	for how in "" "--policy p.yaml"; do
		# shellcheck disable=SC2086  # words
		run -3 --separate-stderr app $how --json
		[ "$(json 'd["error"]["reason"]' <<<"$output")" = TARGET_LACKS ]
		[[ $stderr == *"app 1.0: needs libx (>= 2.0); the target has libx 1.0-1"* ]]
		[ "$(grep -c 'undecided: package libx:amd64 ' <<<"$stderr")" = $((${#how} ? 0 : 1)) ]
		unchanged
	done
	# a newer one will do
	machines 3.0-1 'libx (>= 2.0)'
	run -0 app --policy p.yaml
	[ "$(versions target)" = "app 1.0 base 1 libx 3.0-1 other 7" ]
}

@test "of the base another version, which the component replaces by a third one" {
	machines 1.0-1
	package os libx 1.5-1 $'Multi-Arch: same\n' /usr/lib/libx.so.2 /usr/share/libx/only-1
	image
	package target libx 1.0-1 '' /usr/share/libx/only-1
	remember
	run -3 --separate-stderr app
	[ "$(grep -c undecided <<<"$stderr")" = 1 ]
	unchanged
	echo "$stays" >p.yaml
	run -0 app --policy p.yaml
	[ "$(versions target)" = "app 1.0 base 1 libx 1.0-1 other 7" ]
	# what the third one has no more is not taken away
	[ -e target/usr/share/libx/only-1 ] && [ ! -e target/usr/share/libx/only-2 ]
	# where the target has the base's it is replaced
	rm -rf target
	mkdir target
	plyfs layout app.plyfs target -s os --no-sync >/dev/null
	run -0 app
	[ "$(versions target)" = "app 1.0 base 1 libx 2.0-1" ]
	[ ! -e target/usr/share/libx/only-1 ] && [ -e target/usr/share/libx/only-2 ]
}

@test "a file that another package of the component has too is laid out; lists of /lib; another architecture" {
	machines 1.0-1
	sed -i 's,^/usr/lib/libx,/lib/libx,' app/var/lib/dpkg/info/libx:amd64.list
	echo /usr/share/libx/only-2 >>app/var/lib/dpkg/info/app.list
	image
	echo "$stays" >p.yaml
	run -0 app --policy p.yaml
	[ "$(cat target/usr/lib/libx.so.2)" = "libx 1.0-1 /usr/lib/libx.so.2" ]
	[ -e target/usr/share/libx/only-2 ]
	# the target's has a symlink where the other has a directory
	machines 1.0-1
	rm -r target/usr/share/doc/libx
	ln -s base target/usr/share/doc/libx
	run -0 app --policy p.yaml
	[ "$(readlink target/usr/share/doc/libx)" = base ]
	# the same version of another architecture is another package
	machines 2.0-1
	sed -i '/^Package: libx/,/^$/s/^Architecture: .*/Architecture: all/' target/var/lib/dpkg/status
	remember
	run -3 --separate-stderr app
	[[ $stderr == *"package libx:amd64 2.0-1 all (target), 2.0-1 amd64 (app)"* ]]
	unchanged
}

@test "several components of one call: each package once, by the name of its own component" {
	machines 1.0-1
	cp -a os more
	package more liby 2 '' /usr/lib/liby.so
	image more
	package target liby 1 '' /usr/lib/liby.so
	remember
	run -3 --separate-stderr plyfs layout app.plyfs target -s app,more --no-sync
	[ "$(grep -o 'undecided: package [^ ]* [^ ]* (target), [^ ]* ([a-z]*)' <<<"$stderr" | sort | paste -sd ';')" = \
		"undecided: package libx:amd64 1.0-1 (target), 2.0-1 (app);undecided: package liby 1 (target), 2 (more)" ]
	unchanged
	printf '%s\n  - package: liby\n    of: {target: "1", more: "2"}\n    resolve: target\n' "$stays" >p.yaml
	plyfs layout app.plyfs target -s app,more --no-sync --policy p.yaml
	[ "$(versions target)" = "app 1.0 base 1 libx 1.0-1 liby 1 other 7" ]
}

# --- configuration files -----------------------------------------------------------------------------

# conf TREE TEXT: a configuration file of libx, as it is there
conf() { mkdir -p "$1/etc"; echo "$2" >"$1/etc/libx.conf"; }

# both machines have the file of the package, whose text is "original"
with_conffile()
{
	local d sum
	machines 2.0-1
	sum=$(echo original | md5sum | cut -d ' ' -f 1)
	for d in app target; do
		sed -i "/^Package: libx/s,\$,\nConffiles:\n /etc/libx.conf $sum," "$d/var/lib/dpkg/status"
		echo /etc/libx.conf >>"$d/var/lib/dpkg/info/libx:amd64.list"
		conf $d original
	done
}

@test "the same version, configuration files: an edit of one is kept, of both a conflict" {
	with_conffile
	image
	run -0 app
	[ "$(cat target/etc/libx.conf)" = original ]
	# of the target
	with_conffile
	conf target mine
	image
	run -0 app
	[ "$(cat target/etc/libx.conf)" = mine ]
	# deleted there
	with_conffile
	rm target/etc/libx.conf
	image
	run -0 app
	[ ! -e target/etc/libx.conf ]
	# of the component
	with_conffile
	conf app theirs
	image
	run -0 app
	[ "$(cat target/etc/libx.conf)" = theirs ]
	run -0 plyfs layout target --remove app --no-sync
	[ "$(cat target/etc/libx.conf)" = original ]
	# of both
	with_conffile
	conf app theirs
	conf target mine
	image
	remember
	run -3 --separate-stderr app
	[[ $stderr == *"undecided: /etc/libx.conf (target, app)"* ]]
	unchanged
}

# --- policies ---------------------------------------------------------------------------------------------

@test "policies: bound to versions, by name and architecture, what is wrong is told with its line" {
	machines 1.0-1
	policy() { printf 'version: 1\nconflicts:\n' >p.yaml; printf -- '%s\n' "$@" >>p.yaml; }
	policy '  - package: libx:amd64' '    of: {target: 1.0-1, app: 2.0-1}' '    resolve: target'
	plyfs layout app.plyfs target -s app --policy p.yaml --dry-run
	[[ $stderr != *"about nothing"* ]]
	policy '  - package: libx:i386' '    resolve: target'
	run -3 app --policy p.yaml
	policy '  - package: libx' '    resolve: fail'
	run -3 --separate-stderr app --policy p.yaml
	[[ $stderr == *"undecided: package libx:amd64"*"the policy says fail"* ]]
	stale() { run -1 --separate-stderr app --policy p.yaml --json; [ "$(json 'd["error"]["reason"]' <<<"$output")" = POLICY_STALE ]; [[ $stderr == *"p.yaml:$1: "* ]]; }
	policy '  - package: libx' '    of: {target: 0.9, app: 2.0-1}' '    resolve: target'
	stale 4:18
	policy '  - package: libx' '    of: {target: 1.0-1}' '    resolve: target'
	stale 3:5
	wrong() { run -1 --separate-stderr app --policy p.yaml --json; [ "$(json 'd["error"]["reason"]' <<<"$output")" = "$1" ]; [[ $stderr == *"p.yaml:$2: "* ]]; }
	local rule
	for rule in first last append keep-both '{driver: lines}'; do
		policy '  - package: libx' "    resolve: $rule"
		run -1 --separate-stderr app --policy p.yaml
		[[ $stderr == *"p.yaml:4:"*"upgraded first"* || $stderr == *"there is no merge driver"* ]]
	done
	policy '  - path: /usr/bin/x' '    of: {target: deleted}' '    resolve: target'
	wrong POLICY_VALUE 5:14
	policy '  - package: libx' '    resolve: target' '  - package: libx' '    resolve: target'
	wrong POLICY_VALUE 5:5
	policy '  - package: libx' '    resolve: target' '  - package: libx:amd64' '    resolve: target'
	wrong POLICY_VALUE 5:5
	policy '  - package: ""' '    resolve: target'
	wrong POLICY_VALUE 3:14
	unchanged
	# in a selection of an image alone it says nothing, and plan writes it again
	policy '  - package: libx' "    of: {target: '1:1.0', app: 2.0-1}" '    resolve: target'
	run -0 --separate-stderr plyfs plan app.plyfs --policy p.yaml --write q.yaml
	[ -z "$stderr" ]
	grep -A2 'package: libx' q.yaml | grep -qF "of: {target: '1:1.0', app: '2.0-1'}"
	grep -A2 'package: libx' q.yaml | grep -q 'resolve: target'
}

# --- questions --------------------------------------------------------------------------------------------

asked() { at_terminal "$1" plyfs layout app.plyfs target -s "${names:-app}" --no-sync --ask "${@:2}"; }

# A target with a conflict of a package and two of files
in_the_way()
{
	machines 1.0-1
	mkdir -p app/etc target/etc
	echo '{"app": 1}' >app/etc/a.json
	echo '{"mine": 1}' >target/etc/a.json
	printf '\0app' >app/usr/bin/tool
	ln -s elsewhere target/usr/bin/tool
	image
	remember
}

@test "--ask: a package, then paths, before a byte is written; what is left undecided is refused; the answers are kept" {
	in_the_way
	run -3 asked '?\nz\n\n\n?\nd\ns\n' --policy p.yaml
	[[ $output == *"Package 1 of 1: libx:amd64 1.0-1 (target), 2.0-1 (app): another version, 4 paths"* ]]
	[[ $output == *"t  target: its package stays, and nothing of app's is laid out"*"that is not possible here"* ]]
	[[ $output == *"Conflict 1 of 2: target, app: undecided: JSON"*"Conflict 2 of 2: target, app: undecided: different types"* ]]
	[[ $output == *"  target               lrwx"*" -> elsewhere"*"  app                  -rw"* ]]
	[[ $output == *"target:/usr/bin/tool: symlink:elsewhere"*"app:/usr/bin/tool: sha256:"* ]]
	unchanged
	grep -q 'resolve: undecided' p.yaml
	run ! grep -q package: p.yaml
	# s at the package ends all questions, and the end of the input is that
	run -3 asked 's\n' --policy p.yaml
	[[ $output != *"Conflict "* ]]
	run -3 asked '\x04' --policy p.yaml
	unchanged
	run -3 asked 't\nd\nf\n\n' --policy p.yaml
	[[ $output == *"--- target:/etc/a.json"*'-{"mine": 1}'*'+{"app": 1}'* ]]
	unchanged
	grep -A2 "package: 'libx:amd64'" p.yaml | grep -qF "of: {target: '1.0-1', app: '2.0-1'}"
	grep -A2 'path: /etc/a.json' p.yaml | grep -q 'resolve: first'
	run -0 asked 'k\n' --policy p.yaml
	[[ $output == *"Conflict 1 of 1: "* && $output == *"added app"* ]]
	[ "$(versions target)" = "app 1.0 base 1 libx 1.0-1 other 7" ]
	[ "$(cat target/etc/a.json)" = '{"mine": 1}' ]
	cmp app/usr/bin/tool target/usr/bin/tool.plyfs-app
	# by the file alone, on another such machine
	in_the_way
	run -0 app --policy p.yaml
	[ "$(cat target/etc/a.json)" = '{"mine": 1}' ]
	in_the_way
	echo '{"mine": 2}' >target/etc/a.json
	remember
	run -1 --separate-stderr app --policy p.yaml
	[[ $stderr == *"the entry is stale"*"target's /etc/a.json"* ]]
	unchanged
	run ! grep -q undecided p.yaml
}

@test "--ask without a file: the answers are for this time; several components; nothing to be asked" {
	in_the_way
	cp -a os more
	echo more >more/usr/bin/more
	printf '\0more' >more/usr/bin/odd
	image more
	printf '\0mine' >target/usr/bin/odd
	names=app,more run -0 asked 't\nl\nf\nl\n'
	[[ $output == *"Conflict 2 of 3: target, more: undecided: binary files"*"Conflict 3 of 3: target, app: "* ]]
	[ "$(cat target/etc/a.json)" = '{"app": 1}' ]
	[ "$(tr -d '\0' <target/usr/bin/odd; tr -d '\0' <target/usr/bin/tool)" = mineapp ]
	[ -e target/usr/bin/more ] && [ -e target/var/lib/plyfs/done/more ]
	run -0 asked ''
	[[ $output == *"all of it is there"* ]]
	[ ! -e answers ]
}

@test "--ask: what the image itself leaves undecided comes first; into an empty directory, too" {
	local d
	machines 2.0-1
	cp -a os more
	mkdir -p app/etc more/etc
	echo '{"app": 1}' >app/etc/b.json
	echo '{"more": 1}' >more/etc/b.json
	image more
	run -3 plyfs layout app.plyfs target -s app,more
	unchanged
	names=app,more run -3 asked '\n' --policy p.yaml
	[[ $output == *"Conflict 1 of 1: app, more: undecided: JSON"* ]]
	unchanged
	names=app,more run -0 asked 'l\n' --policy p.yaml
	[ "$(cat target/etc/b.json)" = '{"more": 1}' ]
	rm -r target p.yaml
	mkdir target
	names=os,app,more run -3 asked 's\n'
	[ -z "$(ls -A target)" ]
	names=os,app,more run -0 asked 'f\n' --policy p.yaml
	[ "$(cat target/etc/b.json)" = '{"app": 1}' ]
	grep -q 'resolve: first' p.yaml
	rm -r target
	mkdir target
	names=os,app,more run -0 asked '' --policy p.yaml
	[ "$(cat target/etc/b.json)" = '{"app": 1}' ]
	# --resume needs no answers
	plyfs layout app.plyfs target --resume
}

@test "--ask: usage; nothing is asked where something is missing" {
	machines 1.0-1 'libx (>= 2.0)'
	run -2 --separate-stderr app --ask
	[[ $stderr == *"--ask needs a terminal"* ]]
	local how
	for how in --resume --abort --dry-run --json; do run -2 asked '' "$how"; done
	run -2 at_terminal '' plyfs layout target --remove app --ask
	run -3 asked 't\n'
	[[ $output == *"needs libx (>= 2.0)"* && $output != *"Package 1 of"* ]]
	run -1 asked '' --policy nowhere/p.yaml -s nothing
	unchanged
}

@test "databases that are damaged or hostile: no crash, nothing written" {
	local text
	for text in '\0\n' 'Package\n' ' Package: libx\n\n'; do
		machines 1.0-1
		# shellcheck disable=SC2059  # bytes
		printf "$text" >>target/var/lib/dpkg/status
		echo "$stays" >p.yaml
		remember
		run ! app --policy p.yaml
		[ "$status" -le 4 ]
		unchanged
	done
	# versions and names of the target are for nobody's terminal
	machines $'1\e[2J'
	run -3 --separate-stderr app --json
	[[ $stderr == *'libx:amd64 1\x1b[2J (target)'* ]]
	run ! grep -q $'\e' <<<"$stderr$output"
}
