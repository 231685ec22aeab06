#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2030,SC2031  # status and output are bats's
#
# The daemon is confined, as it shows in /proc, and does all that it has to. What the confinement
# refuses is tried in tests/unit/test_sandbox.c.

load common
bats_require_minimum_version 1.5.0

setup_file()
{
	make_gold
}

setup()
{
	need_root
	cd "$D" || return
}

teardown()
{
	cd /
	unmount_all
}

# Of each thread of process $1
each_status()   # KEY VALUE
{
	local found
	found=$(sed -n "s/^$2:\t//p" "/proc/$1"/task/*/status | sort -u)
	[ "$found" = "$3" ] || { echo "$2: $found"; return 1; }
}

confined_by() { python3 -c 'import json, sys; print(*json.load(sys.stdin)["confined"])'; }

@test "each thread is without capabilities and under a filter, and serves everything" {
	plyfs mount --json gold.plyfs m >said
	pid=$(pid_of <said)
	grep -q '"privileges"' said
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		each_status "$pid" $set 0000000000000000
	done
	each_status "$pid" NoNewPrivs 1
	if grep -q '"syscalls"' said; then
		each_status "$pid" Seccomp 2
	else
		case $PLYFS_BUILD in *+* | *-thread) ;; *) skip "seccomp is not there" ;; esac
	fi
	find m -type f -exec cat {} + >/dev/null
	python3 "$TESTS/lib/compare.py" gold m
	[ "$(probe requests m)" -gt 0 ]
	plyfs umount m
	is_gone "$pid"
}

@test "its child can unmount and no more, and has nothing open" {
	pid=$(plyfs mount --json gold.plyfs m | pid_of)
	child=$(cat "/proc/$pid/task/$pid/children")
	child=${child% }
	[ "$(cat "/proc/$child/comm")" = plyfs-unmount ]
	# CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN
	grep -qx "CapEff:.0000000000200004" "/proc/$child/status"
	grep -qx "CapBnd:.0000000000200004" "/proc/$child/status"
	[ "$(readlink "/proc/$child/cwd")" = / ]
	[ "$(find "/proc/$child/fd" -type l | wc -l)" = 4 ]
	refute grep -q gold.plyfs "/proc/$child/maps"
	kill -TERM "$child"
	kill -TERM "$pid"
	for _ in $(seq 100); do is_gone "$pid" && break; sleep 0.1; done
	is_gone "$pid"
	is_gone "$child"
	refute mountpoint -q m
}

@test "a daemon that is killed leaves no child; the mount stays for plyfs umount" {
	pid=$(plyfs mount --json gold.plyfs m | pid_of)
	child=$(cat "/proc/$pid/task/$pid/children")
	child=${child% }
	kill -KILL "$pid"
	for _ in $(seq 100); do is_gone "$child" && break; sleep 0.1; done
	is_gone "$child"
	grep -q " $D/m " /proc/self/mountinfo
	plyfs umount m
}

@test "without its child the daemon still ends" {
	pid=$(plyfs mount --json gold.plyfs m | pid_of)
	child=$(cat "/proc/$pid/task/$pid/children")
	kill -KILL "${child% }"
	[ -e m/etc/passwd ]
	kill "$pid"
	for _ in $(seq 100); do is_gone "$pid" && break; sleep 0.1; done
	is_gone "$pid"
	plyfs umount m
}

@test "--no-sandbox: nothing is taken, and the same is served" {
	plyfs mount --json --no-sandbox gold.plyfs m >said
	pid=$(pid_of <said)
	[ "$(confined_by <said)" = "" ]
	each_status "$pid" NoNewPrivs 0
	each_status "$pid" CapEff "$(sed -n 's/^CapEff:\t//p' /proc/self/status)"
	python3 "$TESTS/lib/compare.py" gold m
	kill "$pid"
	for _ in $(seq 100); do is_gone "$pid" && break; sleep 0.1; done
	refute mountpoint -q m
	run -2 plyfs mount --no-sandbox=yes gold.plyfs m
}

@test "verify is confined the same way, in all that it does" {
	[ "$(plyfs verify --json gold.plyfs | confined_by)" = "$(plyfs mount --json gold.plyfs m | confined_by)" ]
	[ "$(plyfs verify --json --no-sandbox gold.plyfs | confined_by)" = "" ]
	chown -R 65534 gold/etc
	chmod 700 gold/etc
	cp gold.plyfs theirs.plyfs
	chown 65534 theirs.plyfs
	chmod 600 theirs.plyfs
	run plyfs verify --deep -j4 theirs.plyfs --against gold --progress=json
	[ "$status" = 1 ]
	[[ $output == *"/etc: "* ]]
	[[ $output != *"ermission denied"* && $output != *"not permitted"* ]]
	plyfs verify --deep -j4 gold.plyfs --against m
	plyfs verify --deep -j4 --no-sandbox gold.plyfs --against m
	run -2 plyfs verify --no-sandbox=1 gold.plyfs
}

@test "verify: no descriptor of the caller stays open" {
	cp -a gold changed
	find changed -exec chown -h 1:1 {} +
	# 2,000 findings do not fit into a pipe: it waits, confined, and can be looked at
	python3 - <<'END'
import os, subprocess
r, w = os.pipe()
with subprocess.Popen(["plyfs", "verify", "gold.plyfs", "--against", "changed"], stdout=subprocess.PIPE,
                      pass_fds=[w], bufsize=0) as p:
    assert p.stdout.read(1)
    found = []
    for fd in os.listdir(f"/proc/{p.pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{p.pid}/fd/{fd}"))
        except FileNotFoundError:       # one of the tree, closed meanwhile
            pass
    p.stdout.read()
    p.wait()
assert os.path.abspath("gold.plyfs") in found, found
assert os.readlink(f"/proc/self/fd/{w}") not in found, found
END
}

@test "verify: attributes that only root sees, access times that stay" {
	mkdir -p x
	echo text >x/file
	setfattr -n trusted.two -v 2 x/file || skip "no trusted attributes here"
	chown 65534 x/file
	plyfs capture x x.plyfs
	touch -a -d 2001-01-01 x/file
	plyfs verify --deep x.plyfs --against x
	[ "$(stat -c %X x/file)" = "$(date -d 2001-01-01 +%s)" ]
	setfattr -n trusted.two -v 3 x/file
	run -1 plyfs verify x.plyfs --against x
	[[ $output == *trusted.two* ]]
}
