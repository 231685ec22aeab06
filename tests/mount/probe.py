#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""probe.py COMMAND: what a shell cannot ask, for the tests of mounts.

    requests DIR [NAME]       how many requests the daemon of a mount has answered, of one kind, or
                              all but STATFS (find and others send one to see what they are on)
    handles save DIR FILE     file handles of all names below DIR, to FILE
    handles open DIR FILE     open all of them again: same inode, same path of directories
    stale DIR                 handles of inodes that do not exist are refused with ESTALE
    errno PATH                name of the error that lstat gives, or OK
    listdir-errno DIR         the same for reading a directory
    read-errno FILE           the same for reading a file
    mmap FILE                 SHA-256 of the file, read through a mapping
    flip IMAGE SECTION OFF    damage one byte of a section (a type's number) of the first segment
    section IMAGE SECTION     where it is: offset and length
    end IMAGE                 where the first segment ends
    offset IMAGE FILE         where the first page of the file is in the image (not compressed)
    terminate PID DIR N       SIGTERM to the daemon after N files, while eight processes read all of DIR: it must end
    agree TREE DIR            each name of TREE is in DIR, too, and the same, or gives EIO: prints how many of each
"""
import ctypes
import errno
import hashlib
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def encode(path):
    h, mount = Handle(), ctypes.c_int()
    h.bytes = 128
    if libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), ctypes.byref(h), ctypes.byref(mount), 0) < 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at", path)
    return h.type, bytes(h.data[:h.bytes])


def decode(mount_fd, kind, data):
    h = Handle(len(data), kind)
    ctypes.memmove(h.data, data, len(data))
    fd = libc.open_by_handle_at(mount_fd, ctypes.byref(h), os.O_PATH)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    return fd


def below(top):
    yield top
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            yield os.path.join(where, name)


def save_handles(top, out):
    found = []
    for path in below(top):
        kind, data = encode(path)
        st = os.lstat(path)
        found.append([path, kind, data.hex(), st.st_ino, st.st_mode])
    with open(out, "w") as f:
        json.dump(found, f)


def open_handles(top, saved):
    mount_fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    with open(saved) as f:
        found = json.load(f)
    for path, kind, data, ino, mode in found:
        fd = decode(mount_fd, kind, bytes.fromhex(data))
        st = os.fstat(fd)
        if (st.st_ino, st.st_mode) != (ino, mode):
            sys.exit(f"{path}: another inode")
        if mode & 0o170000 == 0o040000 and os.readlink(f"/proc/self/fd/{fd}") != os.path.realpath(path):
            sys.exit(f"{path}: its handle leads to another place")
        os.close(fd)
    print(len(found), "handles")


def stale(top):
    mount_fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for ino in (0, 1 << 40, 5 << 48 | 1, 16384 << 48 | 1, 1 << 63 | 1, (1 << 64) - 1):
        try:
            decode(mount_fd, 0x81, struct.pack("=III", ino >> 32, ino & 0xffffffff, 0))
            sys.exit(f"{ino:#x}: opened")
        except OSError as e:
            if e.errno != errno.ESTALE:
                sys.exit(f"{ino:#x}: {e}")


def device(point):
    """major:minor of what is mounted there, without asking it."""
    point, found = os.path.realpath(point), None
    with open("/proc/self/mountinfo") as f:
        for line in f:
            fields = line.split()
            if fields[4].encode().decode("unicode_escape") == point:
                found = fields[2]
    return found


def requests(top, name=None):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect("\0plyfs/" + device(top))
    rows = [line.split() for line in s.recv(1 << 16).decode().splitlines()]
    counts = {row[-2]: int(row[-1]) for row in rows if row[0] in ("request", "requests")}
    print(counts.get(name, 0) if name else counts["requests"] - counts.get("STATFS", 0))


def error_of(function, path):
    try:
        function(path)
        print("OK")
    except OSError as e:
        print(errno.errorcode[e.errno])


def read(path):
    with open(path, "rb") as f:
        while f.read(1 << 20):
            pass


def mapped(path):
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        print(hashlib.sha256(m).hexdigest())


def section(image, wanted):
    with open(image, "rb") as f:
        f.seek(8192)
        header = f.read(8192)
    for i in range(struct.unpack_from("<I", header, 0x40)[0]):
        kind, _, at, length = struct.unpack_from("<IIQQ", header, 128 + 64 * i)
        if kind == int(wanted):
            return 8192 + at, length
    sys.exit("there is no such section")


def end(image):
    with open(image, "rb") as f:
        f.seek(8192)
        header = f.read(8192)
    count = struct.unpack_from("<I", header, 0x40)[0]
    print(max(8192 + sum(struct.unpack_from("<QQ", header, 128 + 64 * i + 8)) for i in range(count)))


def flip(image, wanted, off):
    at, length = section(image, wanted)
    assert int(off) < length, (length, off)
    with open(image, "r+b") as f:
        f.seek(at + int(off))
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ 0x55]))


def offset(image, path):
    with open(image, "rb") as i, open(path, "rb") as f:
        at = i.read().find(f.read(4096))
    if at < 0:
        sys.exit("it is not there")
    print(at)


def is_gone(pid):
    """All of its threads: one that waits in the kernel outlives the first, and a SIGKILL."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat") as f:
                if f.read().rpartition(")")[2].split()[0] not in "ZX":
                    return False
    except FileNotFoundError:
        return not os.path.exists(f"/proc/{pid}/task") or is_gone(pid)
    return True


def abort(minor):
    """End a connection that nobody answers any more: its readers could not be killed, either."""
    with tempfile.TemporaryDirectory() as where:
        subprocess.run(["mount", "-t", "fusectl", "none", where], check=True)
        try:
            with open(f"{where}/{minor}/abort", "w") as f:
                f.write("1")
        finally:
            subprocess.run(["umount", where], check=True)


def terminate(pid, top, files):
    """Two readers in each of four places, in the order in which small files are given ahead; one of them
    stops the daemon. They stand in the mount, so that they go on when it is taken out of the tree."""
    device = os.minor(os.lstat(top).st_dev)
    os.chdir(top)
    paths = [os.path.join(where, name) for where, _, names in os.walk(".") for name in sorted(names)]
    pid, files, readers = int(pid), int(files), []
    for i in range(8):
        child = os.fork()
        if child == 0:
            begin = (i // 2) * len(paths) // 4
            for n, path in enumerate(paths[begin:] + paths[:begin]):
                try:
                    read(path)
                except OSError:
                    pass
                if i == 7 and n == files:
                    os.kill(pid, signal.SIGTERM)
            os._exit(0)
        readers.append(child)
    os.chdir("/")
    until = time.monotonic() + 30
    while not is_gone(pid) and time.monotonic() < until:
        time.sleep(0.02)
    hangs = not is_gone(pid)
    if hangs:
        abort(device)
    for child in readers:
        os.waitpid(child, 0)
    if hangs:
        sys.exit("the daemon did not end")


def facts(path):
    st = os.lstat(path)
    found = [st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_rdev]
    if (st.st_mode & 0o170000) == 0o100000:
        with open(path, "rb") as f:
            found.append(f.read())
    elif (st.st_mode & 0o170000) == 0o120000:
        found.append(os.readlink(path))
    return found


def agree(tree, top):
    good = bad = 0
    for path in below(tree):
        try:
            found = facts(top + path[len(tree):])
        except OSError as e:
            if e.errno != errno.EIO:
                sys.exit(f"{path}: {e}")
            bad += 1
            continue
        if found != facts(path):
            sys.exit(f"{path}: differs")
        good += 1
    print(good, bad)


COMMANDS = {
    "requests": requests,
    "handles": lambda what, *rest: {"save": save_handles, "open": open_handles}[what](*rest),
    "stale": stale,
    "errno": lambda path: error_of(os.lstat, path),
    "listdir-errno": lambda path: error_of(os.listdir, path),
    "read-errno": lambda path: error_of(read, path),
    "mmap": mapped,
    "flip": flip,
    "section": lambda *of: print(*section(*of)),
    "offset": offset,
    "end": end,
    "terminate": terminate,
    "agree": agree,
}
COMMANDS[sys.argv[1]](*sys.argv[2:])
