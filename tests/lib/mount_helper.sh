#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# mount_helper.sh SOURCE DIR [-o OPTION,...]: what mount(8) calls for -t fuse.plyfs, for suites that call mount(8).
#
# SOURCE is a log. With lowerdir=, upperdir= and workdir= it is only a name: of lowerdir an image is made, and a log on it, which are kept
# in workdir; what is in upperdir is put there. Options that only other file systems know are left out.
set -euo pipefail

source=$1 dir=$2
shift 2
lower='' upper='' work='' remount=''
options=
while getopts o:t:nrsvw option; do
	[ "$option" = r ] && options+=,ro
	[ "$option" = o ] || continue
	IFS=, read -ra words <<<"$OPTARG"
	for word in "${words[@]}"; do
		case $word in
		lowerdir=*) lower=${word#*=} ;;
		upperdir=*) upper=${word#*=} ;;
		workdir=*) work=${word#*=} ;;
		remount) remount=$word ;;
		ro | nosuid | nodev | noexec | sync) options+=,$word ;;
		rw | suid | dev | exec) [ -z "$remount" ] || options+=,$word ;;
		esac
	done
done
options=${options#,}
[ -z "$remount" ] || exec mount -i -o "remount${options:+,$options}" "$dir"
new=
if [ -n "$lower" ]; then
	source=$work/plyfs/m.redo
	if [ ! -e "$source" ]; then
		new=1
		mkdir "$work/plyfs"
		plyfs capture "$lower" "$work/plyfs/lower.plyfs" >/dev/null
		plyfs redo create "$work/plyfs/lower.plyfs" "$source"
	fi
fi
plyfs mount "$source" "$dir" ${options:+-o "$options"} </dev/null >/dev/null 3>&-
[ -z "$new" ] || cp -a "$upper/." "$dir"
