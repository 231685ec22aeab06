#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: every fuzz target by libFuzzer, two hours of processor time in all; an hour on two processors
"""S=SECONDS (of all targets together) in the environment for more or less. One test a target: it ran its time,
made inputs in numbers, and nothing failed. What was found is in build/fuzz; see tests/README.md, Fuzzing."""

import os
import re
import subprocess
import sys

TESTS = os.environ["PLYFS_TESTS"]
TOP = os.path.dirname(TESTS)


def main():
    targets = sorted(f[5:-2] for f in os.listdir(f"{TESTS}/fuzz") if re.fullmatch(r"fuzz_\w+\.c", f))
    total = int(os.environ.get("S") or 7200)
    each = max(1, total // len(targets))
    jobs = os.cpu_count() or 1
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "S")
           and not k.endswith("SAN_OPTIONS")}
    print(f"1..{len(targets)}")
    print(f"# {len(targets)} targets, {each} s each, {jobs} at a time", flush=True)
    made = subprocess.run(["make", "-C", TOP, f"-j{jobs}", "-k", "fuzz", f"S={each}"], env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = {}
    for line in made.stdout.splitlines():
        found = re.match(r"(\w+) +(\d+) runs +(\d+)/s +(\d+) edges", line)
        if found and found[1] in targets:
            lines[found[1]] = (line, int(found[2]))
        elif not line.startswith(("  CC", "  LINK")):
            print(f"# {line}")
    bad = set(re.findall(r"^(\w+): it failed", made.stdout, re.M))
    runs = 0
    for n, t in enumerate(targets, 1):
        line, count = lines.get(t, (f"{t}: it did not run", 0))
        runs += count
        print(f"# {line}")
        print(f"{'ok' if count and t not in bad else 'not ok'} {n} - {t}")
    print(f"# {runs} inputs in all")
    sys.exit(1 if bad or made.returncode or len(lines) != len(targets) else 0)


if __name__ == "__main__":
    main()
