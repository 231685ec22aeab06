#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What plyfs layout tells of itself: --report, --timeline and --progress=json, of each end that it can have; and files
# that they cannot be written into, told before anything is laid out. What a terminal shows is for test_progress.c, what
# a picture looks like for test_timeline.c.

# shellcheck disable=SC2154  # run sets output and stderr
load ../lib/common
bats_require_minimum_version 1.5.0

setup_file()
{
	need_root "layout sets owners" && gold small || return 0
	export tree=$BATS_FILE_TMPDIR/tree image=$BATS_FILE_TMPDIR/small.plyfs
	cp -a "$gold" "$tree"
	head -c 20000000 /dev/urandom >"$tree/srv/big"
	ln "$tree/srv/big" "$tree/srv/again"
	plyfs capture "$tree" "$image" -c web=web,web-data -c db=db,db-client -c lang=lang
}

setup()
{
	ready
	mkdir target
	state=target/var/lib/plyfs
}

# report 'EXPRESSION of d'
report() { python3 -c "import json,sys; d=json.load(open('r.json')); print(($1))"; }

# As if it had been killed when the journal had N records: 6: os is there for good, the others were begun.
rewound() { truncate -s $((64 * $1)) "$state/journal"; }

untouched() { [ -z "$(ls -A target)" ] && [ "$(stat -c '%a %U %G %y' target)" = "$before" ]; }
remember() { before=$(stat -c '%a %U %G %y' target); }

# nothing is here but what is named: no temporary file stays
only() { diff <(printf '%s\n' "$@" | sort) <(find . -mindepth 1 -maxdepth 1 ! -name 'separate-stderr*' -printf '%f\n' | sort); }

# What holds of every report.
check_report()
{
	python3 - "$1" <<'END'
import json, re, sys
d = json.load(open(sys.argv[1]))
assert d["schema"] == 1 and d["verb"] in ("layout", "resume", "abort", "dry-run"), d
assert d["outcome"] in ("done", "nothing", "left", "failed"), d
assert (d["exit"] == 0) == ("error" not in d) == (d["outcome"] in ("done", "nothing")), d
assert "error" not in d or d["error"]["exit"] == d["exit"] and d["error"]["message"], d
assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", d["began"]) and d["wall_s"] >= 0, d
assert d["image"]["path"], d
o = d["options"]
assert set(o) == {"select", "policy", "on_collision", "streams", "sync", "lossy", "allow_partial", "all", "map_owner"}, o
if d["verb"] == "dry-run":
    sys.exit()
at = 0
for p in d["phases"]:
    assert at <= p["begin_s"] <= p["end_s"] <= d["wall_s"] + 1e-6, d["phases"]
    at = p["end_s"] - 1e-6
for s in d["by_stream"]:
    assert (s["batches"] == 0) == (s["threads"] == 0) == (s["begin_s"] is None) == (s["end_s"] is None), s
    assert s["threads"] <= o["streams"] and s["threads"] <= s["batches"], s
    assert s["bytes"] <= s["total_bytes"] and s["files"] <= s["total_files"], s
    assert s["batches"] or not s["files"] and not s["bytes"], s
    phase = [p for p in d["phases"] if p["phase"] == s["phase"]]
    assert s["begin_s"] is None or phase[0]["begin_s"] <= s["begin_s"] <= s["end_s"] <= phase[0]["end_s"] + 1e-6, (s, phase)
END
}

# What holds of every picture; names of threads and streams in bars, sorted, one a line.
check_picture()
{
	python3 - "$1" <<'END'
import re, sys
import xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
svg = "{http://www.w3.org/2000/svg}"
assert root.tag == svg + "svg" and root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
assert root.get("role") == "img" and root.get("aria-labelledby") == "title desc"
assert root.find(svg + "title").text and root.find(svg + "desc").text
names = {e.tag for e in root.iter()}
assert names <= {svg + n for n in ("svg", "title", "desc", "rect", "path", "text", "g")}, names
for e in root.iter():
    for key, value in e.attrib.items():
        assert "url(" not in value and "nan" not in value.lower() and "href" not in key, (key, value)
        if key in ("x", "y", "width", "height") and value != "100%":
            assert 0 <= float(value) <= 20000, (key, value)
for e in root.iter(svg + "rect"):
    for title in e.findall(svg + "title"):
        bar = re.match(r"(.*), thread (\d+), from ", title.text)
        if bar:
            print(bar[1], bar[2])
END
}

@test "the report has what --json prints, and what each stream and phase took" {
	plyfs layout "$image" target -j 3 --json --report r.json >out.json
	check_report r.json
	python3 -c 'if True:
		import json
		out, d = json.load(open("out.json")), json.load(open("r.json"))
		for key in out:
			same = out[key] if not isinstance(out[key], float) else round(out[key], 6)
			is_ = d[key] if not isinstance(d[key], float) else round(d[key], 6)
			assert key == "seconds" or same == is_, key
		assert set(out["seconds"]) == set(d["seconds"])
		by = {s["stream"]: s for s in d["by_stream"]}
		assert list(by) == d["selection"] + ["links"] == ["os", "db+lang+web", "web", "db", "lang", "links"], list(by)
		assert sum(s["bytes"] for s in by.values()) == d["bytes"]
		assert sum(s["files"] for n, s in by.items() if n != "links") == d["files"]
		assert by["links"]["files"] == d["names"] - d["files"] > 0
		for s in by.values():
			assert s["files"] == s["total_files"] and s["bytes"] == s["total_bytes"], s
		assert by["os"]["bytes"] > 20000000 and by["os"]["threads"] > 1
		assert [p["phase"] for p in d["phases"]] == ["plan", "directories", "sync", "os", "sync", "others", "sync", "links",
							     "sync", "metadata", "sync"]
		assert d["options"]["streams"] == d["streams"] == 3 and d["options"]["sync"]
		assert d["verb"] == "layout" and d["outcome"] == "done"
	'
	[ "$(report 'd["image"]["uuid"], d["image"]["generation"], d["image"]["digest"]')" = \
		"$(plyfs info --json "$image" | python3 -c 'import json,sys; d=json.load(sys.stdin); print((d["uuid"],
			d["generation"], d["digest"]))')" ]
	only target out.json r.json
	same "$tree" target
}

@test "what was asked for is in the report" {
	printf 'version: 1\nconflicts: []\n' >policy.yaml
	plyfs layout "$image" target -s web -j 2 --no-sync --lossy --allow-partial --map-owner 5:6 --policy policy.yaml \
		--on-collision append --report r.json >/dev/null
	check_report r.json
	[ "$(report 'd["options"]')" = "{'select': ['web'], 'policy': 'policy.yaml', 'on_collision': 'append', 'streams': 2, \
'sync': False, 'lossy': True, 'allow_partial': True, 'all': False, 'map_owner': {'uid': 5, 'gid': 6}}" ]
	[ "$(report 'd["selection"], d["owners_not_kept"] > 0')" = "(['os', 'db+lang+web', 'web'], True)" ]
	[ "$(report '"sync" in [p["phase"] for p in d["phases"]]')" = False ]
}

@test "a dry run has a report: the plan" {
	remember
	plyfs layout "$image" target --dry-run --report r.json --json >out.json
	check_report r.json
	[ "$(report 'd["verb"], all(d[k] == v for k, v in json.load(open("out.json")).items())')" = "('dry-run', True)" ]
	plyfs layout "$image" target --dry-run --report r.json | grep -q '^PHASE'
	[ "$(report '[p["phase"] for p in d["phases"]][:2]')" = "['directories', 'os']" ]
	run -2 --separate-stderr plyfs layout "$image" target --dry-run --timeline t.svg
	[[ $stderr == *--dry-run* ]]
	untouched
	only target out.json r.json
}

# --- failures ----------------------------------------------------------------------------------------

@test "of what fails before the first byte there is a report, and an older picture stays" {
	echo old >t.svg
	run -1 plyfs layout nowhere.plyfs target --report r.json --timeline t.svg
	check_report r.json
	[ "$(report 'd["outcome"], d["exit"], d["image"], d["selection"], d["phases"]')" = \
		"('failed', 1, {'path': 'nowhere.plyfs'}, [], [])" ]
	mkdir target/.plyfs.750.1000000000.000000005
	run -1 plyfs layout "$image" target --report r.json --timeline t.svg
	check_report r.json
	[ "$(report 'd["error"]["reason"], d["image"]["generation"]')" = "('TARGET_UNFINISHED', 1)" ]
	rmdir target/.plyfs.750.1000000000.000000005
	run -1 plyfs layout "$image" target -s no-such --report r.json
	[ "$(report 'd["selection"], d["options"]["select"]')" = "([], ['no-such'])" ]
	check_report r.json
	[ "$(cat t.svg)" = old ]
	only target r.json t.svg
}

@test "of what fails in the middle there are a report and a picture" {
	# most of the image is the content of one file
	cp "$image" bad.plyfs
	head -c 64 /dev/urandom | dd of=bad.plyfs bs=1 seek=8000000 conv=notrunc status=none
	remember
	run -4 plyfs layout bad.plyfs target -j 2 --report r.json --timeline t.svg
	check_report r.json
	[ "$(report 'd["outcome"], [p["phase"] for p in d["phases"]][-2:]')" = "('failed', ['os', 'undo'])" ]
	[[ $(report 'd["error"]["message"]') == /srv/* ]]
	check_picture t.svg >bars
	grep -q '^os 1$' bars
	grep -q '>failed: /srv/' t.svg
	untouched
}

# --- resume and abort ------------------------------------------------------------------------------------

@test "a resume: what was there for good, what was found, what was made" {
	plyfs layout "$image" target --no-sync >/dev/null
	rewound 6
	rm target/usr/share/web/*1* 2>/dev/null || find target/usr -name '*web*' -type f -delete
	plyfs layout "$image" target --resume --report r.json --timeline t.svg --progress=json >/dev/null 2>progress
	check_report r.json
	[ "$(report 'd["verb"], d["outcome"], [p["phase"] for p in d["phases"]][:2]')" = \
		"('resume', 'done', ['plan', 'directories'])" ]
	python3 -c 'if True:
		import json
		d = json.load(open("r.json"))
		by = {s["stream"]: s for s in d["by_stream"]}
		assert by["os"]["batches"] == 0 and by["os"]["total_files"] > 0
		assert by["web"]["files"] == by["web"]["total_files"]
		assert by["db"]["files"] == by["db"]["total_files"] and by["db"]["bytes"] == 0 < by["db"]["total_bytes"]
		assert d["seconds"]["plan"] > 0
		last = {}
		for line in open("progress"):
			o = json.loads(line)
			last[o.get("stream")] = o
		assert set(last) == {None, "os", "db+lang+web", "web", "db", "lang"}, set(last)
		for o in last.values():
			assert o["bytes"] == o["total_bytes"] and o["files"] == o["total_files"], o
	'
	check_picture t.svg >bars
	grep -q '^web ' bars
	run -1 grep '^os ' bars
	same "$tree" target
	plyfs layout "$image" target --resume --report r.json --timeline t.svg
	check_report r.json
	[ "$(report 'd["outcome"], d["nothing"], d["phases"]')" = "('nothing', True, [])" ]
	check_picture t.svg | grep -q '^web '
}

@test "names that are left are in the report" {
	plyfs layout "$image" target --no-sync >/dev/null
	rewound 4
	echo theirs >target/srv/big
	run -1 plyfs layout "$image" target --resume --report r.json
	check_report r.json
	[ "$(report 'd["outcome"], "/srv/big" in [l["path"] for l in d["left"]], d["error"]["reason"]')" = \
		"('left', True, 'TARGET_EXISTS')" ]
	run -1 plyfs layout "$image" target --abort --all --report r.json
	check_report r.json
	[ "$(report 'd["verb"], d["outcome"], "/srv/big" in [l["path"] for l in d["left"]]')" = "('abort', 'left', True)" ]
}

@test "an abort has a report and a picture" {
	remember
	plyfs layout "$image" target --no-sync >/dev/null
	plyfs layout "$image" target --abort --all --report r.json --timeline t.svg
	untouched
	check_report r.json
	[ "$(report 'd["verb"], d["outcome"], [p["phase"] for p in d["phases"]], d["options"]["all"]')" = \
		"('abort', 'done', ['plan', 'abort'], True)" ]
	check_picture t.svg >bars
	[ ! -s bars ]
	plyfs layout "$image" target --abort --report r.json
	[ "$(report 'd["outcome"]')" = nothing ]
	check_report r.json
	plyfs layout "$image" target --abort --report r.json --json >out.json
	[ "$(report 'all(d[k] == v for k, v in json.load(open("out.json")).items())')" = True ]
}

# --- pictures ------------------------------------------------------------------------------------------------

@test "the picture has each stream, each thread, and the sums" {
	for j in 1 4; do
		rm -rf target; mkdir target
		plyfs layout "$image" target -j "$j" --no-sync --report r.json --timeline t.svg >/dev/null
		check_picture t.svg | sort -u >bars
		[ "$(cut -d' ' -f1 bars | sort -u | tr '\n' ' ')" = "db db+lang+web lang links os web " ]
		[ "$(cut -d' ' -f2 bars | sort -un | tail -n 1)" = "$(report 'max(s["threads"] for s in d["by_stream"])')" ]
		grep -q '>plyfs layout small.plyfs</text>' t.svg
		grep -q ">$(report 'format(d["files"], ",")')</text>" t.svg
		check_report r.json
	done
}

@test "a path of any bytes" {
	mkdir $'t<&"\x01\xff\n'
	cp "$image" $'i<&"\x01\xff\n.plyfs'
	plyfs layout $'i<&"\x01\xff\n.plyfs' $'t<&"\x01\xff\n' --no-sync --report r.json --timeline t.svg >/dev/null
	check_report r.json
	check_picture t.svg >/dev/null
	[ "$(report 'd["target"]')" = 't<&"\x01\xff\n' ]
}

# --- files ---------------------------------------------------------------------------------------------------

@test "a file that cannot be written is told before anything is laid out" {
	local option
	remember
	mkdir dir
	ln -s nowhere dangling
	printf 'version: 1\nconflicts: []\n' >policy.yaml
	cp "$image" i.plyfs
	sum=$(sha256sum <i.plyfs)
	for option in --report --timeline; do
		for file in none/r.json dir dangling /proc/r.json i.plyfs/x; do
			run -1 --separate-stderr plyfs layout i.plyfs target "$option=$file" --json
			[[ $stderr == *"$file"* ]]
			untouched
		done
		for file in "" - i.plyfs policy.yaml target/r.json ./target/../target/r.json; do
			run -2 --separate-stderr plyfs layout i.plyfs target "$option=$file" --policy policy.yaml
			[[ $stderr == *"$option"* ]]
			untouched
		done
		run -2 plyfs layout i.plyfs@1 target "$option=i.plyfs"
		run -2 plyfs layout i.plyfs target "$option"
	done
	run -2 --separate-stderr plyfs layout i.plyfs target --report x --timeline x
	[[ $stderr == *"two files"* ]]
	ln -s x link
	touch x
	run -2 plyfs layout i.plyfs target --report x --timeline link
	untouched
	[ "$(sha256sum <i.plyfs)" = "$sum" ]
	[ ! -s x ]
	only target dir dangling policy.yaml i.plyfs link x
}

@test "an ordinary user: a directory or a file that is not theirs" {
	chmod 755 "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR" 2>/dev/null || true
	chmod 644 "$image"
	chown 65534:65534 target
	mkdir -m 777 open
	echo theirs >open/r.json
	for file in r.json open/r.json; do
		run -1 --separate-stderr setpriv --reuid=65534 --regid=65534 --clear-groups \
			plyfs layout "$image" target --allow-partial --lossy --report "$file"
		[[ $stderr == *"$file"* ]]
		[ -z "$(ls -A target)" ]
	done
	[ "$(cat open/r.json)" = theirs ]
	[ "$(ls open)" = r.json ]
}

@test "an older file is replaced, as a whole, and keeps its mode and owner; a link stays one" {
	mkdir to
	echo old >to/r.json
	ln -s to/r.json r.json
	chmod 640 to/r.json
	chown 5:6 to/r.json
	exec 8<to/r.json
	plyfs layout "$image" target --no-sync --report r.json >/dev/null
	check_report r.json
	[ "$(stat -c '%a %u %g' to/r.json)" = "640 5 6" ]
	[ -L r.json ]
	[ "$(cat <&8)" = old ]
	exec 8<&-
	[ "$(ls to)" = r.json ]
	(umask 027; plyfs layout "$image" target --abort --all --timeline t.svg >/dev/null)
	[ "$(stat -c %a t.svg)" = 640 ]
	only target to r.json t.svg
}

@test "a FIFO and a device are written into; a disk that is full in the end is a failure, and the layout stays" {
	mkfifo pipe
	cat pipe >r.json 3>&- &
	plyfs layout "$image" target --no-sync --report pipe --timeline /dev/null >/dev/null
	wait $!
	check_report r.json
	[ -p pipe ]
	[ -c /dev/null ]
	[ -c /dev/full ] || skip "no /dev/full"
	for option in --report --timeline; do
		plyfs layout "$image" target --abort --all
		run -1 --separate-stderr plyfs layout "$image" target --no-sync "$option" /dev/full
		[[ $stderr == *"$option: "*/dev/full* ]]
		same "$tree" target
	done
	plyfs layout "$image" target --abort --all
	run -1 plyfs layout "$image" target --no-sync --report r.json --timeline /dev/full
	[ "$(report 'd["exit"]')" = 1 ]
}

# --- progress ----------------------------------------------------------------------------------------------------

@test "progress as JSON: an object for each stream, and for the whole; never: nothing" {
	plyfs layout "$image" target -j 2 --no-sync --report r.json --progress=json 2>progress >/dev/null
	python3 -c 'if True:
		import json
		d, last, names = json.load(open("r.json")), {}, set()
		for line in open("progress"):
			o = json.loads(line)
			assert o["schema"] == 1 and o["verb"] == "layout" and o["phase"] and o["elapsed_s"] >= 0, o
			assert o["bytes"] <= o["total_bytes"] and o["files"] <= o["total_files"], o
			assert ("threads" in o) == ("stream" in o) != ("left_s" in o), o
			last[o.get("stream")] = o
		assert set(last) == set(d["selection"]) | {None}, set(last)
		for s in d["by_stream"]:
			o = last.get(s["stream"])
			assert o is None or (o["bytes"], o["files"], o["threads"]) == (s["bytes"], s["files"], 0), (o, s)
		assert last[None]["bytes"] == last[None]["total_bytes"] == d["bytes"]
		assert last[None]["files"] == last[None]["total_files"] == d["files"]
	'
	plyfs layout "$image" target --abort --all >/dev/null
	run -0 --separate-stderr plyfs layout "$image" target --progress=never --no-sync
	[ -z "$stderr" ]
	plyfs layout "$image" target --abort --all >/dev/null
	run -0 --separate-stderr plyfs layout "$image" target --no-sync
	[ -z "$stderr" ]
}

# What holds of a report of a change: each component has its phases, in order; with a picture, in which bars are.
check_change() # REPORT PICTURE VERB COMPONENTS PHASES
{
	python3 - "$1" "$3" "$4" "$5" <<'END'
import json, sys
d = json.load(open(sys.argv[1]))
names, phases = sys.argv[3].split(), sys.argv[4].split()
assert d["verb"] == sys.argv[2] and d["outcome"] == "done" and d["exit"] == 0, d
assert (d["image"] is None) == (d["verb"] == "remove"), d["image"]
at = 0
for p in d["phases"]:
    assert at <= p["begin_s"] <= p["end_s"] <= d["wall_s"] + 1e-6, d["phases"]
    at = p["end_s"] - 1e-6
of = [p for p in d["phases"] if "component" in p]
assert [(p["component"], p["phase"]) for p in of] == [(n, p) for n in names for p in phases], of
for s in d["by_stream"]:
    assert s["phase"] == "stage" and s["files"] == s["total_files"] > 0 and s["bytes"] <= s["total_bytes"], s
    stage = next(p for p in of if p["component"] == s["stream"] and p["phase"] == "stage")
    assert stage["begin_s"] <= s["begin_s"] <= s["end_s"] <= stage["end_s"] + 1e-6, (s, stage)
assert [s["stream"] for s in d["by_stream"]] == (names if "stage" in phases else []), d["by_stream"]
END
	check_picture "$2" >bars
	local name phase
	for name in $4; do
		for phase in $5; do grep -q "<title>$phase $name: " "$2"; done
	done
}

@test "components that are added to a target in use, and taken out of it: phases of each, and a picture" {
	plyfs layout "$image" target -s os --no-sync >/dev/null
	run -0 --separate-stderr plyfs layout "$image" target -s web,db -j 3 --report r.json --timeline p.svg
	[[ $stderr != *timeline* ]]
	check_change r.json p.svg layout "db+lang+web web db" "survey stage sync apply sync"
	[ "$(cut -d ' ' -f 1 bars | sort -u | paste -sd ' ')" = "db db+lang+web web" ]
	grep -q 'db+lang+web, web, db into target' p.svg
	[ "$(report 'd["phases"][0]["phase"], d["phases"][0].get("component")')" = "('survey', None)" ]
	plyfs layout target --remove web --no-sync --report r.json --timeline p.svg
	check_change r.json p.svg remove web "survey apply"
	grep -q 'web out of target' p.svg
	# killed, gone on with and taken back
	for verb in resume abort; do
		run strace -qq -f -o /dev/null -e trace=renameat2 -e inject="renameat2:signal=KILL:when=9" \
			plyfs layout "$image" target -s web --no-sync
		[ -e "$state/update" ]
		rm -f r.json p.svg
		plyfs layout "$image" target --$verb --no-sync --report r.json --timeline p.svg
		check_change r.json p.svg $verb web "$([ $verb = resume ] && echo apply || echo abort)"
		[ $verb = abort ] || plyfs layout target --remove web --no-sync
	done
	# where nothing was to be done, an older picture stays
	echo old >p.svg
	plyfs layout "$image" target -s db --no-sync --report r.json --timeline p.svg
	[ "$(report 'd["outcome"], d["phases"], d["by_stream"]')" = "('nothing', [], [])" ]
	[ "$(cat p.svg)" = old ]
	# a failure has what came before it
	rm -rf target/usr/sbin/webd; mkdir -p target/usr/sbin/webd
	run -3 plyfs layout "$image" target -s web --no-sync --report r.json --timeline p.svg
	[ "$(report 'd["outcome"], d["exit"], [p["phase"] for p in d["phases"]]')" = "('failed', 3, ['survey'])" ]
}
