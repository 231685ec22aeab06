#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# umount_helper.sh DIR [OPTION...]: what umount(8) calls: returns when everything is on the disk, and the log is nobody's any more.
set -euo pipefail

lazy=
for word; do
	case $word in
	-*l*) lazy=-l ;;
	/*) dir=$word ;;
	esac
done
if [ -n "$lazy" ]; then exec umount -i -l "$dir"; fi
# of a file or directory of a mount that is bound to another place the mount itself has not to wait
[ "$(findmnt --first-only --noheadings --output FSROOT --target "$dir")" = / ] || exec umount -i "$dir"
exec plyfs umount "$dir"
