#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fsynced.py: does powercut.py lose what may be lost, and nothing else? For its record and check.

    fsynced.py write DIR ACKS N    N files with an fsync, each beside one without; ACKS notes how long the log was then
    fsynced.py check DIR ACKS LOST every file that was fsynced by POWERCUT_FLUSHED is there; what was not fsynced and is
                                   not there, though the write had returned by then, is noted in LOST
"""
import hashlib
import os
import sys

import powercut


def content(i):
    return hashlib.sha256(b"%d" % i).digest() * (1 + i * 37 % 900)


def put(path, data, sync):
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        if sync:
            os.fsync(f.fileno())


def is_there(path, i):
    try:
        with open(path, "rb") as f:
            return f.read() == content(i)
    except FileNotFoundError:
        return False


def write(folder, acks, n):
    with open(acks, "w", encoding="ascii") as note:
        for i in range(int(n)):
            put(f"{folder}/plain{i}", content(i), False)
            put(f"{folder}/synced{i}", content(i), True)
            at = os.open(folder, os.O_RDONLY)
            os.fsync(at)
            os.close(at)
            note.write(f"{powercut.entries(os.environ['POWERCUT_DIR'] + '/log')}\n")
    return 0


def check(folder, acks, lost):
    with open(acks, encoding="ascii") as lines:
        done = [i for i, line in enumerate(lines) if int(line) <= int(os.environ["POWERCUT_FLUSHED"])]
    bad = [i for i in done if not is_there(f"{folder}/synced{i}", i)]
    plain = [i for i in done if not is_there(f"{folder}/plain{i}", i)]
    with open(lost, "a", encoding="ascii") as note:
        note.write("".join(f"plain{i}\n" for i in plain))
    if bad:
        print(f"# {len(done)} were acknowledged, of them lost: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit({"write": write, "check": check}[sys.argv[1]](*sys.argv[2:]))
