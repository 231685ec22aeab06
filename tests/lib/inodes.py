#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a mount says of its inodes, for tests.

    inodes.py list DIR          a line for each name: inode number, file handle, path; sorted by path
    inodes.py links DIR         is every file's nlink the number of its names here? Exit code 1: no
    inodes.py open DIR LIST     opens every file by the handle in LIST, after drop_caches (root)

Paths may be longer than PATH_MAX and hold any byte; they are printed escaped.
"""
import ctypes
import os
import resource
import stat
import sys

LIBC = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    _fields_ = [("nbytes", ctypes.c_uint32), ("type", ctypes.c_int32), ("data", ctypes.c_uint8 * 128)]


def handle_of(dirfd, name):
    h, mount_id = Handle(nbytes=128), ctypes.c_int()
    if LIBC.name_to_handle_at(dirfd, name, ctypes.byref(h), ctypes.byref(mount_id), 0) < 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at", name)
    return f"{h.type:x}:{bytes(h.data[:h.nbytes]).hex()}"


def open_handle(mount, text):
    kind, data = text.split(":")
    data = bytes.fromhex(data)
    h = Handle(nbytes=len(data), type=int(kind, 16))
    ctypes.memmove(h.data, data, len(data))
    fd = LIBC.open_by_handle_at(mount, ctypes.byref(h), os.O_PATH | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"open_by_handle_at: {os.strerror(ctypes.get_errno())}")
    return fd


def walk(top):
    """(directory descriptor, name, path, stat) of everything below and with @top, in order."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield fd, b".", b"/", os.fstat(fd)
    stack = [(b"", fd, sorted(map(os.fsencode, os.listdir(fd)), reverse=True))]
    while stack:
        path, fd, names = stack[-1]
        if not names:
            os.close(fd)
            stack.pop()
            continue
        name = names.pop()
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        sub = path + b"/" + name
        yield fd, name, sub, st
        if stat.S_ISDIR(st.st_mode):
            down = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            stack.append((sub, down, sorted(map(os.fsencode, os.listdir(down)), reverse=True)))


def links(top):
    names, nlink = {}, {}
    for _, _, path, st in walk(top):
        if not stat.S_ISDIR(st.st_mode):
            names.setdefault(st.st_ino, []).append(path)
            nlink.setdefault(st.st_ino, set()).add(st.st_nlink)
    bad = 0
    for ino, paths in names.items():
        if nlink[ino] != {len(paths)}:
            bad += 1
            print(f"inode {ino}: nlink {sorted(nlink[ino])}, {len(paths)} names, such as {paths[0]!r}")
    print(f"{len(names)} files, {sum(len(p) > 1 for p in names.values())} of them with several names; {bad} wrong")
    return bad


def reopen(top, listing):
    mount = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    n = 0
    with open(listing, encoding="ascii") as f:
        for line in f:
            ino, handle, path = line.split(" ", 2)
            try:
                fd = open_handle(mount, handle)
            except OSError as e:
                print(f"{path.strip()}: {e}")
                return 1
            got = os.fstat(fd).st_ino
            os.close(fd)
            if got != int(ino):
                print(f"{path.strip()}: inode {got} by its handle, {ino} by its name")
                return 1
            n += 1
    print(f"{n} files opened by handle")
    return 0


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    verb, top = sys.argv[1], sys.argv[2]
    if verb == "links":
        return 1 if links(top) else 0
    if verb == "open":
        return reopen(top, sys.argv[3])
    for fd, name, path, st in walk(top):
        print(st.st_ino, handle_of(fd, name), repr(path)[2:-1])
    return 0


sys.exit(main())
