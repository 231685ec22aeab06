#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A folder of fs/ includes its own headers, those of folders of a lower rank, and include/; tools/
# includes all of fs/ but the daemon, which it executes; some libraries have one user each.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck disable=SC2016  # awk's, not the shell's
find fs include tools -name '*.[ch]' -print0 | LC_ALL=C sort -z | xargs -0 awk '
	BEGIN {
		n = split("base=0 io=1 codec=1 format=2 merge=2 cache=3 sub=4 redo=5 image=6 tree=7 live=8 ops=9 fuse=10 tools=11", a, /[ =]/)
		for (i = 1; i < n; i += 2)
			rank[a[i]] = a[i + 1]
	}
	function bad(why) { printf "%s:%d: %s: %s\n", FILENAME, FNR, $0, why; failed = 1 }
	FNR == 1 {
		files++
		split(FILENAME, part, "/")
		here = part[1] == "fs" ? part[2] : part[1]
		if (here != "include" && !(here in rank)) bad("folder " here " has no rank")
	}
	!/^[ \t]*#[ \t]*include/ { next }
	/[<"](zstd|xxhash|openssl\/)/ && here != "codec" { bad("only fs/codec uses zstd, xxhash and libcrypto") }
	/[<"]fuse/ && here != "fuse" { bad("only fs/fuse uses libfuse and its own headers") }
	/"\.\.?\// { bad("from the top of fs or tools, not relative") }
	match($0, /"[^"]*"/) {
		path = substr($0, RSTART + 1, RLENGTH - 2)
		split(path, to, "/")
		if (path !~ /\// || !(to[1] in rank)) {     # beside the file, include/plyfs, or below tools
			if (path ~ /\// && to[1] != "plyfs" && here != "tools") bad("unknown folder " to[1])
			next
		}
		if (here == "include") bad("include/ stands alone")
		else if (to[1] != here && rank[to[1]] + 0 >= rank[here] + 0) bad(here " may not include " to[1])
	}
	END { if (!failed) print "check-layers: " files " files keep to their rank"; exit failed }'
