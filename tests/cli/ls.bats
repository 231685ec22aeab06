#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# plyfs ls: the oracle is the tree that was captured, through find(1).

# shellcheck disable=SC2154  # stderr is set by run

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_FILE_TMPDIR" || exit 1
	mkdir -p t/etc/conf.d t/opt/app t/empty
	echo hello >t/etc/hello
	ln t/etc/hello t/etc/again
	ln -s hello t/etc/link
	ln -s ../opt t/etc/dirlink
	ln -s loop2 t/loop1
	ln -s loop1 t/loop2
	echo x >$'t/new\nline'
	echo x >$'t/back\\slash'
	echo x >$'t/bad\xff'
	echo x >t/.hidden
	echo x >t/ümlaut
	echo x >t/opt/app/file
	mkfifo t/fifo
	chmod 4755 t/opt/app/file
	chmod 1777 t/empty
	touch -d @-5.000000007 t/etc/hello
	touch -d '2023-05-01 12:34:56.123456789 UTC' t/opt/app/file
	[ "$(id -u)" != 0 ] || mknod -m 644 t/null c 1 3
	setfattr -n user.note -v 1 t/etc/conf.d
	plyfs capture t i.plyfs -c app='/opt/app/**' >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	image=$BATS_FILE_TMPDIR/i.plyfs
	tree=$BATS_FILE_TMPDIR/t
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

@test "every name, sorted bytewise, escaped to one line" {
	run -0 plyfs ls "$image"
	diff <(printf '%s\n' "$output") <(find "$tree" -mindepth 1 -maxdepth 1 -printf '%P\0' | LC_ALL=C sort -z |
		python3 -c 'import sys; [print(n.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
			.replace(b"\xff", b"\\xff").decode()) for n in sys.stdin.buffer.read().split(b"\0")[:-1]]')
}

@test "-0: the names themselves; with -R the paths" {
	plyfs ls -0 "$image" >names
	cmp names <(find "$tree" -mindepth 1 -maxdepth 1 -printf '%P\0' | LC_ALL=C sort -z)
	plyfs ls -0R "$image" | LC_ALL=C sort -z >paths
	cmp paths <(find "$tree" -mindepth 1 -printf '/%P\0' | LC_ALL=C sort -z)
	run -2 plyfs ls -0l "$image"
}

@test "-l: mode, links, owner, size, time, name, target" {
	run -0 plyfs ls -l "$image" /opt/app
	[[ $output == "-rwsr-xr-x 1 "*" 2 2023-05-01 12:34 file" ]]
	run -0 plyfs ls -l "$image" /etc
	[[ $output == *"lrwxrwxrwx 1 "*" link -> hello"* ]]
	[[ $output == *"-rw-r--r-- 2 "*" 1969-12-31 23:59 hello"* ]]
	run -0 plyfs ls -n "$image" /etc/hello
	[[ $output == "-rw-r--r-- 2 $(id -u) $(id -g) 6 1969-12-31 23:59 /etc/hello" ]]
	run -0 plyfs ls -l "$image" /
	[[ $output == *"drwxrwxrwt 2 "*" empty"* ]]
	[[ $output == *"prw-r--r-- 1 "*" fifo"* ]]
	[ ! -e "$tree/null" ] || [[ $output == *"crw-r--r-- 1 0 0 1, 3 "*" null"* ]]
}

@test "owners by the names of the image, not of this machine" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	mkdir -p t/etc
	echo 'somebody:x:54321:54322::/:' >t/etc/passwd
	echo 'some:x:54322:' >t/etc/group
	chown 54321:54322 t/etc/passwd
	chown 54399:54399 t/etc/group
	plyfs capture t i.plyfs >/dev/null
	run -0 plyfs ls -l i.plyfs etc
	[[ ${lines[1]} == *" somebody some  "* ]]
	[[ ${lines[0]} == *" 54399 "*"54399 "* ]]
	run -0 plyfs ls -n i.plyfs etc/passwd
	[[ $output == *" 54321 54322 "* ]]
	[ "$(plyfs ls --json i.plyfs etc | json '[(e["user"], e["group"], e["uid"]) for e in d["entries"]]')" = \
		"[(None, None, 54399), ('somebody', 'some', 54321)]" ]
}

@test "-R lists each directory under its path" {
	run -0 plyfs ls -R "$image" /opt
	[ "$output" = $'/opt:\napp\n\n/opt/app:\nfile' ]
	run -0 plyfs ls -R "$image"
	[ "$(grep -c ':$' <<<"$output")" = "$(find "$tree" -type d | wc -l)" ]
}

@test "-s: a component's files are there only with it" {
	run -0 --separate-stderr plyfs ls "$image" /opt/app
	[ "$output" = file ]
	run -1 plyfs ls -s os "$image" /opt/app/file
	run -0 --separate-stderr plyfs ls -s app "$image" /opt/app
	[ "$output" = file ]
	[[ $stderr == *"added: os"* ]]
}

@test "symlinks: followed in the middle; at the end with a slash, or without -l" {
	run -0 plyfs ls "$image" /etc/dirlink/app
	[ "$output" = file ]
	run -0 plyfs ls "$image" /etc/dirlink
	[ "$output" = app ]
	run -0 plyfs ls -l "$image" /etc/dirlink
	[[ $output == l*"/etc/dirlink -> ../opt" ]]
	run -0 plyfs ls -l "$image" /etc/dirlink/
	[[ $output == d*app ]]
	run -1 plyfs ls "$image" /loop1
	[[ $output == *"symbolic links"* ]]
}

@test "JSON has everything" {
	run -0 --separate-stderr plyfs ls --json -R "$image"
	[ "$(json 'd["schema"], d["path"], d["complete"]' <<<"$output")" = "(1, '/', True)" ]
	[ "$(json 'len(d["entries"])' <<<"$output")" = "$(find "$tree" -mindepth 1 -printf x | wc -c)" ]
	f='{e["path"]: e for e in d["entries"]}'
	[ "$(json "${f}['/opt/app/file']['mode'], ${f}['/opt/app/file']['mtime_s'], ${f}['/opt/app/file']['mtime_ns']" \
		<<<"$output")" = "('4755', 1682944496, 123456789)" ]
	[ "$(json "${f}['/opt/app/file']['origin'], ${f}['/etc/hello']['origin']" <<<"$output")" = \
		"(['app'], ['os'])" ]
	[ "$(json "${f}['/etc/hello']['ino'] == ${f}['/etc/again']['ino'], ${f}['/etc/hello']['nlink']" \
		<<<"$output")" = "(True, 2)" ]
	[ "$(json "${f}['/etc/hello']['mtime_s'], ${f}['/etc/hello']['mtime_ns']" <<<"$output")" = \
		"(-6, 999999993)" ]
	[ "$(json "${f}['/etc/link']['target'], ${f}['/etc/link']['type']" <<<"$output")" = "('hello', 'symlink')" ]
	[ "$(json "${f}['/etc/conf.d']['xattrs']" <<<"$output")" = "['user.note']" ]
	[ "$(json "${f}['/fifo']['type'], ${f}['/empty']['type']" <<<"$output")" = "('fifo', 'directory')" ]
	[ "$(json "r'/new\\nline' in ${f}, r'/bad\\xff' in ${f}" <<<"$output")" = "(True, True)" ]
}

@test "no such path, a path through a file: 1, and the path" {
	run -1 plyfs ls "$image" /etc/nope
	[ "$output" = "plyfs ls: /etc/nope: no such file or directory" ]
	run -1 plyfs ls "$image" /etc/hello/x
	[ "$output" = "plyfs ls: /etc/hello/x: not a directory" ]
	run -1 plyfs ls "$image" /etc/hello/
	[[ $output == *"not a directory"* ]]
	run -1 plyfs ls "$image" "/$(printf 'x%.0s' {1..300})"
	[[ $output == *"255 bytes"* ]]
	run -1 --separate-stderr plyfs ls --json "$image" /nope
	[ "$(json 'd["error"]["reason"]' <<<"$output")" = NO_ENTRY ]
}

@test "damaged metadata: told, exit 4, and valid JSON" {
	cp "$image" bad
	seg=$(plyfs dump "$image" os --section=SEGMENT | sed -n 's/^segment: .* off=\([0-9]*\) .*/\1/p')
	nodes=$(plyfs dump "$image" os --section=SEGMENT | sed -n 's/^section .*name=NODES .* off=\([0-9]*\) .*/\1/p')
	printf X | dd of=bad bs=1 seek=$((seg + nodes + 64 * 3)) conv=notrunc status=none
	run -4 plyfs ls -lR bad
	[[ $output == *damaged* ]]
	run -4 --separate-stderr plyfs ls -R --json bad
	json 'd["schema"]' <<<"$output"
}

@test "a damaged page of nodes: all names are listed, only what lies in it is told" {
	mkdir many
	touch many/file{001..300}
	plyfs capture many bad >/dev/null
	seg=$(plyfs dump bad os --section=SEGMENT | sed -n 's/^segment: .* off=\([0-9]*\) .*/\1/p')
	nodes=$(plyfs dump bad os --section=SEGMENT | sed -n 's/^section .*name=NODES .* off=\([0-9]*\) .*/\1/p')
	printf X | dd of=bad bs=1 seek=$((seg + nodes + 64 * 200)) conv=notrunc status=none
	plyfs ls bad >names
	printf 'file%03d\n' {1..300} | diff - names
	run -4 --separate-stderr plyfs ls -l bad
	[ "${#lines[@]}" -ge 236 ]
	n=$(grep -c ': metadata page .* is damaged$' <<<"$stderr")
	((n >= 63 && n <= 65 && n + ${#lines[@]} == 300))
}

@test "owners that the selection lacks are root's" {
	"$PLYFS_BUILD/tests/damage/damage" --write=odd     # its user 1 comes with web
	run -0 plyfs ls -l odd
	[[ $output == *"1 daemon "*" fifo"* ]]
	run -0 plyfs ls -l -s os odd
	[[ $output == *"1 root "*" fifo"* && $output != *daemon* ]]
	[ "$(plyfs ls --json -s os odd /fifo | json '[(e["uid"], e["user"]) for e in d["entries"]]')" = "[(0, 'root')]" ]
}
