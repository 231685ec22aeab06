#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# run.sh FUZZER DIR SECONDS: runs one fuzzer of make fuzz. What it finds new stays in DIR/corpus/NAME, what it says in
# DIR/NAME.log, an input that fails in DIR/artifacts.
set -euo pipefail
fuzzer=$1 dir=$2 seconds=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${fuzzer##*/fuzz_}
log=$dir/$name.log corpus=$dir/corpus/$name
inputs=("$corpus" "${fuzzer%/*}/inputs/$name")
[ ! -d "$here/corpus/$name" ] || inputs+=("$here/corpus/$name")
mkdir -p "$corpus" "$dir/artifacts"

# what is freed is soon used again: a large quarantine costs half the speed
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1:quarantine_size_mb=8:malloc_context_size=4
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
rc=0
"$fuzzer" -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=512 -timeout=10 -max_len=65536 -len_control=20 \
	-reload=0 -print_final_stats=1 -artifact_prefix="$dir/artifacts/$name-" "${inputs[@]}" >"$log" 2>&1 </dev/null || rc=$?
awk -v name="$name" '
	/^#[0-9]+/ && match($0, /cov: [0-9]+/) { cov = substr($0, RSTART + 5, RLENGTH - 5) }
	/^stat::number_of_executed_units/ { runs = $2 }
	/^stat::average_exec_per_sec/ { speed = $2 }
	/^stat::peak_rss_mb/ { rss = $2 }
	END { printf "%-10s %10d runs  %6d/s  %6d edges  %4d MiB\n", name, runs, speed, cov, rss }' "$log"
[ "$rc" = 0 ] && exit
artifact=$(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1)
{
	grep -m 3 -E 'ERROR:|SUMMARY:|runtime error:' "$log" || tail -n 5 "$log"
	echo "$name: it failed (exit code $rc); what it said is in $log"
	if [ -n "$artifact" ]; then
		echo "  the input:      $artifact"
		echo "  again:          $fuzzer $artifact"
		echo "  in a debugger:  make all build/gcc/tests/fuzz/fuzz_$name && gdb --args build/gcc/tests/fuzz/fuzz_$name $artifact"
		echo "  when mended:    $fuzzer -minimize_crash=1 -runs=10000 $artifact; then into tests/fuzz/corpus/$name"
	fi
} >&2
exit 1
