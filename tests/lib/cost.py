#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cost.py WHAT ...: memory and input that a command, a daemon or an image costs

    touched FILE                   bytes of FILE that are in the page cache, by mincore(2); root
    drop FILE                      take FILE out of the page cache
    memory COMMAND...              run it: KiB, its largest resident set
    anonymous PID [COMMAND...]     KiB, anonymous memory of a process: now, or the most while
                                   COMMAND runs, looked at each 10 ms
    metadata IMAGE SUB INLINE      bytes of a sub-image but for its data, the digests of its data
                                   blocks, and INLINE bytes of content
    mount IMAGE DIR PATH [TIMES]   milliseconds from the start of `plyfs mount` to the first stat of
                                   DIR/PATH, best and median
"""
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

PAGE = os.sysconf("SC_PAGESIZE")


def touched(path):
    """The map is never looked into, so counting brings nothing in."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                          ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    at = libc.mmap(None, size, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED
    if at == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap", path)
    pages = ctypes.create_string_buffer(-(-size // PAGE))
    if libc.mincore(at, size, pages) < 0:
        raise OSError(ctypes.get_errno(), "mincore", path)
    print(sum(b & 1 for b in pages.raw) * PAGE)


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def run(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def memory(*command):
    child = run(command)
    _, status, usage = os.wait4(child.pid, 0)
    print(usage.ru_maxrss)
    sys.exit(os.waitstatus_to_exitcode(status))


def anon(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        for line in f:
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    raise SystemExit("process %d has no memory" % pid)


def anonymous(pid, *command):
    most, rc = anon(int(pid)), 0
    if command:
        child = run(command)
        while child.poll() is None:
            most = max(most, anon(int(pid)))
            time.sleep(0.01)
        most, rc = max(most, anon(int(pid))), child.returncode
    print(most)
    sys.exit(rc)


def metadata(image, sub, inline):
    out = subprocess.run(["plyfs", "dump", "--json", "--section=SEGMENT", image, sub], check=True,
                         stdout=subprocess.PIPE).stdout
    rows = [s for s in json.loads(out)["structures"] if s["what"] == "section"]
    print(sum(s["length_bytes"] for s in rows if s["name"] not in ("DATA", "BLOCK_DIGESTS")) - int(inline))


def mount(image, top, path, times="9"):
    took = []
    for _ in range(int(times)):
        start = time.monotonic()
        subprocess.run(["plyfs", "mount", image, top], check=True, stdout=subprocess.DEVNULL)
        os.stat(os.path.join(top, path))
        took.append((time.monotonic() - start) * 1000)
        subprocess.run(["plyfs", "umount", top], check=True)
    print("%.1f %.1f" % (min(took), statistics.median(took)))


WHAT = {"touched": touched, "drop": drop, "memory": memory, "anonymous": anonymous, "metadata": metadata,
        "mount": mount}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in WHAT:
        sys.exit(__doc__)
    WHAT[sys.argv[1]](*sys.argv[2:])
