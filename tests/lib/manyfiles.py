#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""manyfiles.py DIR FILES [PER_DIR]

A tree of many small files, always the same one: directories of PER_DIR (200) files each, names
of 19 bytes, bodies of 30, all different. Two processes make it; a million takes half a minute
on tmpfs, and 5 GiB there.
"""
import os
import sys


def name(n):
    return "file-%010d.txt" % n  # 19 bytes


def body(n):
    return b"The body of file %012d\n" % n  # 30 bytes


def make(top, files, per_dir, part, parts):
    for d in range(part, -(-files // per_dir), parts):
        path = os.path.join(top, "directory-%05d" % d)
        os.mkdir(path, 0o755)
        at = os.open(path, os.O_PATH | os.O_DIRECTORY)
        for n in range(d * per_dir, min((d + 1) * per_dir, files)):
            fd = os.open(name(n), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
            os.write(fd, body(n))
            os.close(fd)
        os.close(at)


def main():
    top, files = sys.argv[1], int(sys.argv[2])
    per_dir = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    os.makedirs(top, exist_ok=True)
    os.umask(0o022)
    child = os.fork()
    make(top, files, per_dir, child == 0, 2)
    if child == 0:
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
