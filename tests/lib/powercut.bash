# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Layouts whose power is cut, on the disk of powercut.py. To be loaded behind common and layouts.

# shellcheck disable=SC2154  # tree, image, given: by layouts.bash
# shellcheck disable=SC2016  # what is in quotes is for the shell that is called

powercut() { python3 "$PLYFS_TESTS/lib/powercut.py" "$@"; }

need_powercut()
{
	need_root "loop devices" || return
	qemu-storage-daemon --version >/dev/null 2>&1 || lacks "no qemu-storage-daemon: install qemu-system-common" || return
	{ [ -c /dev/fuse ] && : 2>/dev/null <>/dev/fuse; } || lacks "no /dev/fuse" || return
	losetup --find >/dev/null 2>&1 || lacks "no loop device" || return
}

# target_disk DIR [WHERE]: DIR/disk, an ext4 with a peculiar target: its root, or a directory; sets $where and $before
target_disk()
{
	export where=${2:-}
	powercut make "$1"
	powercut on "$1/disk" "$1/mnt" -- bash -ec 'peculiar "$1/$where"; like_before "$1/$where" >"$2/before-is"' - {} "$1"
	before=$(<"$1/before-is")
	export before
}

# Somebody else on the disk: each fsync commits what ext4 knows by then of all files.
busy()
{
	mkdir -p "$1"
	while sleep 0.01; do
		echo more >>"$1/log"
		sync "$1/log"
	done
}

# interrupted DIR OPTION...: `plyfs layout IMAGE TARGET OPTION...` on DIR/disk, recorded. DIR/ended: the entries that its end stands
# behind. Where the target is not the whole disk, somebody else writes there. preload=LIBRARY: with that one.
interrupted()
{
	local dir=$1
	shift
	rm -f "$dir/seen" "$dir/ended"
	preload=${preload:-} powercut record "$dir" -- bash -ec 'in_time "$@"' - {} "$@"
}

in_time()
{
	local disk=$1 other='' rc=0
	shift
	if [ -n "$where" ]; then
		busy "$disk/other" &
		other=$!
	fi
	${preload:+env LD_PRELOAD="$preload"} plyfs layout "$image" "$disk/$where" "$@" >"$POWERCUT_DIR/out" 2>&1 || rc=$?
	powercut entries "$POWERCUT_DIR" >"$POWERCUT_DIR/ended"
	if [ -n "$other" ]; then
		kill "$other"
		wait "$other" || true
	fi
	[ "$rc" = 0 ] || cat "$POWERCUT_DIR/out"
	return "$rc"
}

# recovers DIR CUTS SEED [OPTION...]: from each cut, --resume gives the tree, and --abort --all the target as it was.
# aborting=1: what was recorded is an abort, and where it had begun nothing else goes on.
recovers()
{
	local rc=0 seen
	powercut check "$1" --cuts "$2" --seed "$3" --keep "$PLYFS_BUILD/powercut" "${@:4}" -- \
		bash -ec 'recovered "$1"' - {} || rc=$?
	seen=$(sort -n "$1/seen" | uniq -c | awk '{ printf "%s%d (%dx)", c, $2, $1; c = ", " }')
	echo "# journals had these numbers of records: $seen" >&3
	return "$rc"
}

recovered()
{
	local target=$1/$where verb=(--resume) bytes
	bytes=$(stat -c %s "$target/var/lib/plyfs/journal" 2>/dev/null) || bytes=0
	echo $((bytes / 64)) >>"$POWERCUT_DIR/seen"
	# what has ended is durable
	if [ -z "${aborting:-}" ] && [ "$POWERCUT_FLUSHED" -ge "$(<"$POWERCUT_DIR/ended")" ]; then
		same "$tree" "$target" || { echo "# is not what was laid out"; return 1; }
	fi
	# what was decided is in the plan, once there is one
	# shellcheck disable=SC2206  # words
	((bytes && POWERCUT_DRAW & 2)) || verb+=($given)
	((POWERCUT_DRAW & 1)) || verb=(--abort --all)
	if [ -n "${aborting:-}" ] && [ "${verb[0]}" = --resume ] && ! goes_on "$target" "${verb[@]}"; then
		grep -q '"TARGET_UNFINISHED"' "$POWERCUT_DIR/out" || { cat "$POWERCUT_DIR/out"; return 1; }
		verb=(--abort --all)
	fi
	goes_on "$target" "${verb[@]}" || { echo "# ${verb[*]}:"; cat "$POWERCUT_DIR/out"; return 1; }
	if [ "${verb[0]}" = --resume ]; then same "$tree" "$target"; else untouched "$target"; fi ||
		{ echo "# behind ${verb[*]}"; return 1; }
}

goes_on() { plyfs layout "$image" "$1" "${@:2}" --json >"$POWERCUT_DIR/out" 2>&1; }

export -f powercut peculiar like_before untouched same busy in_time recovered goes_on
