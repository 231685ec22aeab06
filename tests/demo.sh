#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make demo: this machine's own / as one composite image, mounted, laid out again and verified.
#
# At most 1.5 GiB and 60,000 files: the largest subtrees are left out and listed. Everything is made
# in the build folder and removed again, also when interrupted. An ordinary user sees the same with
# what that user can read.
set -euo pipefail

: "${PLYFS_BUILD:?run this as: make demo}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/.." && pwd)
export PATH=$PLYFS_BUILD/bin:$PATH LC_ALL=C.UTF-8
work=$PLYFS_BUILD/demo
image=$work/machine.plyfs
max_bytes=$((3 << 29)) max_files=60000

clean_up()
{
	local rc=$?
	trap '' INT TERM HUP
	if mountpoint -q "$work/mnt" 2>/dev/null; then
		plyfs umount "$work/mnt" || umount -l "$work/mnt" || fusermount3 -uz "$work/mnt" || true
	fi
	rm -rf --one-file-system "$work"
	[ "$rc" = 0 ] || echo "demo: failed (exit code $rc); cleaned up" >&2
	exit "$rc"
}
if mountpoint -q "$work/mnt" 2>/dev/null; then plyfs umount "$work/mnt"; fi
rm -rf --one-file-system "$work"
mkdir -p "$work/mnt" "$work/target"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mib() { awk -v b="$1" 'BEGIN { printf "%.0f MiB", b / 1048576 }'; }

# step TEXT COMMAND...: runs it, and prints a line of the table; result="..." may be set afterwards
step()
{
	local text=$1 from=$EPOCHREALTIME
	shift
	if ! "$@" >"$work/log" 2>&1 </dev/null; then
		printf '  %-44s FAILED\n' "$text"
		cat "$work/log" >&2
		exit 1
	fi
	printf '  %-44s %8.1f s\n' "$text" "$(awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')"
}

# Components: the first three of these that are installed and that nothing else needs.
components=() names=()
add_component() # NAME PACKAGE
{
	[ "${#names[@]}" -lt 3 ] || return 0
	plyfs capture -n / -c "$1=$2" "${options[@]}" "${partial[@]}" >/dev/null 2>&1 </dev/null || return 0
	components+=(-c "$1=$2")
	names+=("$1")
}

echo "plyfs demo: this machine's / as one image"
echo
options=() partial=() layout_options=(--no-sync)
if [ "$(id -u)" != 0 ]; then
	echo "  not root: what only root can read is left out, and everything is owned by $(id -un)"
	partial=(--allow-partial)
	layout_options+=(--map-owner "$(id -u):$(id -g)")
fi

while read -r bytes files kind path; do
	case $kind in
	=)
		left_bytes=$bytes left_files=$files
		continue
		;;
	d) options+=(-x "$path/**") ;;
	f) options+=(-x "$path") ;;
	esac
	printf '  left out %10s %8d files  %s\n' "$(mib "$bytes")" "$files" "$path"
done < <("$here/lib/subtrees.py" / --bytes "$max_bytes" --files "$max_files" \
	--always /tmp --always /var/tmp --always "$checkout" --always "$(realpath "$PLYFS_BUILD")")
for name in git shellcheck squashfs-tools mandoc openssl; do add_component "$name" "$name"; done
chosen=$(IFS=,; echo "os${names[*]:+,${names[*]:0:2}}")

echo
echo "  components: os ${names[*]}; laid out: $chosen"
echo
step "capture $left_files files, $(mib "$left_bytes")" plyfs capture / "$image" "${components[@]}" "${options[@]}" "${partial[@]}"
sed -n 's/^/    /p' "$work/log" | tail -n 6
printf '  %-44s %10s\n' "image" "$(mib "$(stat -c %s "$image")")"
step "verify every checksum of the image" plyfs verify "$image"
step "mount $chosen" plyfs mount "$image" "$work/mnt" -s "$chosen"
step "find on the mount, cold" find "$work/mnt" -xdev -printf ''
step "lay out $chosen, $(nproc) streams" plyfs layout "$image" "$work/target" -s "$chosen" -j "$(nproc)" "${layout_options[@]}"
printf '  %-44s %10s\n' "laid out: $(find "$work/target" | wc -l) files" "$(du -sm "$work/target" | cut -f 1) MiB"
if [ "$(id -u)" = 0 ]; then
	step "verify the layout against the image" plyfs verify "$image" --against "$work/target" -s "$chosen"
	step "compare mount and layout, everything" "$here/lib/compare.py" "$work/mnt" "$work/target"
else
	step "compare mount and layout, but owners" "$here/lib/compare.py" "$work/mnt" "$work/target" --skip owner,xattr
fi
tail -n 1 "$work/log" | sed 's/^/    /'
step "unmount" plyfs umount "$work/mnt"
echo
plyfs info "$image" | sed 's/^/  /'
echo
echo "  done in $SECONDS s; mount, image and layout are removed again. Read on: README.md"
