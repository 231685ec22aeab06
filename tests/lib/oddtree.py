#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""oddtree.py DIR: fills DIR with what real trees rarely hold. Root only.

DIR is the top of a file system that can hold it all: ext4 with `-O ea_inode -b 4096` and 256-byte
inodes (oddfs.sh makes one). Everything is the same on every run. A kind that the kernel refuses is an
error, not a silent gap.
"""
import os
import random
import socket
import stat
import struct
import sys

R = random.Random(1902)
BLOCK, DATA_BLOCK = 4096, 131072
KIB64 = 65536
PATH_MAX = 4096
T0 = 1_600_000_000_123_456_789


def noise(n):
    return R.randbytes(n)


def text(n):
    return (b"the same line again and again\n" * (n // 30 + 1))[:n]


def put(path, data=b"", at=None):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


def pieces(path, size, *extents):
    """A file with holes: only the (offset, bytes) given are written."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.ftruncate(fd, size)
    for offset, data in extents:
        os.pwrite(fd, data, offset)
    os.close(fd)


def stamp(path, ns):
    os.utime(path, ns=(ns, ns), follow_symlinks=False)
    if os.lstat(path).st_mtime_ns != ns:
        sys.exit(f"oddtree.py: this file system cannot hold {ns} ns since 1970")


def section(name):
    os.mkdir(name)
    os.chdir(name)


def leave():
    os.chdir("..")


def names():
    section("names")
    every = bytes(sorted(set(range(1, 256)) - {0x2f}))
    for n in [b"new\nline", b"\n", b" ", b" lead and trail ", b"tab\tbell\a\x1b[31m", b"-rf", b"--help", b"...", b"..x", b"*",
              b"?[a-z]*", b"back\\slash", b"\\n", b"\"quo'tes\"", b"$HOME `id`", b"#comment", b"~", b"%s%n", b"a:b=c,d;e",
              b"\xff\xfe", b"\xc0\xaf overlong", b"\xed\xa0\x80 surrogate", b"latin\xe9", b"half \xe2\x82",
              "NFC \u00e9".encode(), "NFD e\u0301".encode(), "\u202etxt.exe".encode(), "\U0001f40b".encode(), b"\x7f",
              b"CASE", b"case", b"Case", b"x" * 255, b"\xff" * 255, b"\n" * 254 + b"x", every[:128], every[128:]]:
        put(n, n)
    for n in [b"dir\nnew", b"dir\xff", b"d" * 255, b"dir ", b"-d"]:
        os.mkdir(n)
        put(n + b"/in", b"below an odd name\n")
        os.symlink(b"../" + n, n + b"/to itself")
    leave()


def descend(parts):
    """A chain of directories below the present one; returns the deepest as a descriptor."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    for p in parts:
        os.mkdir(p, 0o755, dir_fd=fd)
        down = os.open(p, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = down
    return fd


def deep():
    """Paths from DIR of PATH_MAX - 1 bytes with their leading slash: of long names, and of many."""
    section("deep")
    left = PATH_MAX - 1 - len(b"/deep")
    parts = [b"%02d" % i + b"-" * 253 for i in range(left // 256)]
    left -= 256 * len(parts)
    parts.append(b"p" * (left - 1 - 100))
    fd = descend(parts)
    put(b"f" * 99, b"at the end of a long path\n", at=fd)
    os.close(fd)
    os.mkdir("many")
    os.chdir("many")
    left = PATH_MAX - 1 - len(b"/deep/many")
    fd = descend([b"d"] * ((left - 2) // 2))
    put(b"e" * (left - (left - 2) // 2 * 2 - 1), b"below some two thousand directories\n", at=fd)
    os.close(fd)
    os.chdir("..")
    leave()


def times():
    """What a 256-byte ext4 inode can say: signed 32 bits, two more of epoch, and nanoseconds."""
    section("times")
    for n, sec in [("first", -(2**31)), ("last", 2**31 - 1 + 3 * 2**32)]:   # no nanoseconds at the ends
        put(n)
        stamp(n, sec * 10**9)
    for year, sec in [("1901", 1 - 2**31), ("1902", -2145916800), ("1969", -1), ("1970", 0), ("2000", 951782400),
                      ("2038", 2**31 - 1), ("2038b", 2**31), ("2106", 2**32 - 1), ("2106b", 2**32), ("2174", 3 * 2**31),
                      ("2242", 2**33), ("2310", 5 * 2**31), ("2378", 3 * 2**32), ("2445", 15_000_000_000),
                      ("2446", 2**31 - 2 + 3 * 2**32)]:
        for ns in [0, 1, 500_000_000, 999_999_999]:
            n = f"{year}.{ns:09}"
            put(n)
            stamp(n, sec * 10**9 + ns)
    os.mkdir("dir-1906")
    os.symlink("2038.000000000", "link-2445")
    os.mkfifo("fifo-1969")
    stamp("dir-1906", -2_000_000_000 * 10**9 - 7)
    stamp("link-2445", 15_000_000_000 * 10**9 + 999_999_999)
    stamp("fifo-1969", -1)
    leave()


def sparse():
    section("sparse")
    tib = 1 << 40
    pieces("1TiB", tib, (0, b"head"), (tib // 3, noise(9000)), (tib - 5, b"tail!"))
    pieces("1TiB-hole", tib)
    pieces("hole-small", 100)
    pieces("hole-block", BLOCK)
    pieces("hole-odd", 1_000_003)
    pieces("head", 1_000_003, (0, noise(BLOCK)))
    pieces("tail", 1_000_003, (1_000_002, b"x"))
    pieces("middle", 10 * DATA_BLOCK, (5 * DATA_BLOCK - 1, b"ab"))
    pieces("tail-in-block", 5000, (4999, b"x"))
    pieces("comb", 64 * BLOCK, *[(i * BLOCK, noise(BLOCK)) for i in range(0, 64, 2)])
    pieces("comb-offset", 65 * BLOCK + 17, *[(i * BLOCK + 100, b"x") for i in range(1, 65, 2)])
    pieces("comb-fine", 4096 * BLOCK, *[(i * BLOCK, b"%d" % i) for i in range(0, 4096, 2)])
    put("zeros", bytes(3 * DATA_BLOCK + 1))     # data, although all zero
    put("zeros-small", bytes(10))
    pieces("zeros-and-holes", 4 * DATA_BLOCK, (DATA_BLOCK, bytes(DATA_BLOCK)), (3 * DATA_BLOCK, bytes(1)))
    fd = os.open("preallocated", os.O_WRONLY | os.O_CREAT, 0o644)
    os.posix_fallocate(fd, 0, 10 * DATA_BLOCK)  # allocated and never written: a hole to SEEK_DATA
    os.pwrite(fd, b"written", 3 * DATA_BLOCK)
    os.close(fd)
    leave()


def links():
    section("links")
    put("20000", b"one file, twenty thousand names\n")
    os.mkdir("a")
    os.mkdir("b")
    for i in range(19_999):
        os.link("20000", f"{'ab'[i % 2]}/{i}")
    os.symlink("20000", "symlink")
    os.link("symlink", "b/symlink", follow_symlinks=False)
    os.link("symlink", "symlink too", follow_symlinks=False)
    os.mknod("device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.link("device", "a/device")
    os.mknod("block", stat.S_IFBLK | 0o640, os.makedev(7, 200))
    os.link("block", "b/block")
    os.mkfifo("fifo")
    os.link("fifo", "a/fifo")
    sock("socket")
    os.link("socket", "b/socket")
    put("empty")
    os.link("empty", "a/empty")
    pieces("sparse", 1 << 30, (1 << 29, noise(5000)))
    os.link("sparse", "b/sparse")
    put("attributes", noise(200_000))
    os.setxattr("attributes", "user.x", noise(3000))
    os.link("attributes", "b/attributes")
    leave()


def many():
    section("50000")
    for i in range(50_000):
        put(f"entry-{i:05}-{i * 2654435761 % 2**32:08x}", b"%d\n" % i if i % 50 == 0 else b"")
    leave()


def acl(*entries):
    """The kernel's form of a POSIX ACL: version 2, then tag, permissions, id."""
    tags = {"u": 0x01, "U": 0x02, "g": 0x04, "G": 0x08, "m": 0x10, "o": 0x20}
    out = struct.pack("<I", 2)
    for tag, perm, *who in entries:
        out += struct.pack("<HHI", tags[tag], perm, who[0] if who else 0xffffffff)
    return out


def xattrs():
    section("xattrs")
    for space in ("user", "trusted", "security"):
        put(f"64KiB-{space}", b"big attribute\n")
        os.setxattr(f"64KiB-{space}", f"{space}.big", noise(KIB64))
    put("64KiB-all")
    for space in ("user", "trusted", "security"):
        os.setxattr("64KiB-all", f"{space}.big", noise(KIB64 - len(space)))
    put("several")
    for n, v in [("user.empty", b""), ("user.nul", b"\0\0"), ("user.newline", b"a\nb\n"), ("user.a.b.c", b"dots"),
                 (b"user.\xff\xfe", b"invalid UTF-8"), ("user.line\nbreak", b"x"), ("user. ", b"space"),
                 ("user." + "n" * 250, b"a name of 255 bytes"), ("trusted.overlay.opaque", b"y"),
                 ("security.selinux", b"system_u:object_r:etc_t:s0\0"), ("user.block", noise(BLOCK)),
                 ("user.block-1", noise(BLOCK - 1)), ("user.block+1", noise(BLOCK + 1))]:
        os.setxattr("several", n, v)
    put("hundred", text(5000))      # ext4 has room for the names of little more
    for i in range(100):
        os.setxattr("hundred", f"user.{'x' * (i % 5)}{i}", noise(i % 9))
    same = noise(300)
    for i in range(100):
        put(f"same-{i}")
        os.setxattr(f"same-{i}", "user.same", same)
    os.mkdir("dir")
    os.setxattr("dir", "user.dir", noise(500))
    os.setxattr("dir", "trusted.dir", noise(KIB64))
    # user. is for files and directories only
    os.symlink("nowhere", "symlink")
    os.mkfifo("fifo")
    sock("socket")
    os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    for n in ("symlink", "fifo", "socket", "device"):
        os.setxattr(n, "trusted.odd", noise(1000), follow_symlinks=False)
        os.setxattr(n, "security.odd", b"label", follow_symlinks=False)

    put("acl")
    access = acl(("u", 6), ("U", 7, 1000), ("U", 0, 65534), ("g", 4), ("G", 5, 100), ("m", 7), ("o", 0))
    os.setxattr("acl", "system.posix_acl_access", access)
    os.mkdir("acl-default")
    os.setxattr("acl-default", "system.posix_acl_default", access)
    put("acl-default/inherits")
    os.mkdir("acl-default/also")
    os.mkdir("acl-both", 0o750)
    os.setxattr("acl-both", "system.posix_acl_access", acl(("u", 7), ("g", 5), ("G", 1, 4_000_000_000), ("m", 4), ("o", 1)))
    os.setxattr("acl-both", "system.posix_acl_default", acl(("u", 7), ("g", 0), ("o", 0)))
    put("acl-300")
    os.setxattr("acl-300", "system.posix_acl_access",
                acl(("u", 6), *[("U", i % 8, 2000 + i) for i in range(300)], ("g", 4), ("m", 6), ("o", 4)))

    put("capable", text(100))
    os.setxattr("capable", "security.capability", struct.pack("<IIIII", 0x02000001, 0x2400, 0, 0, 0))
    put("capable-inheritable")
    os.setxattr("capable-inheritable", "security.capability", struct.pack("<IIIII", 0x02000000, 0, 0x3000, 0, 0x80))
    put("capable-in-namespace")
    os.setxattr("capable-in-namespace", "security.capability",
                struct.pack("<IIIIII", 0x03000001, 0x400, 0, 0, 0, 100_000))
    leave()


def modes():
    section("modes")
    for mode in (0o000, 0o111, 0o400, 0o644, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777, 0o4000):
        put(f"file-{mode:04o}", b"#!/bin/sh\n")
    for mode in (0o000, 0o700, 0o1777, 0o2775, 0o7777):
        os.mkdir(f"dir-{mode:04o}")
        put(f"dir-{mode:04o}/inside", b"x")
    for i, (uid, gid) in enumerate([(1000, 1000), (65534, 65534), (0, 42), (100_000, 0), (2**31, 2**31), (2**32 - 2, 2**32 - 2)]):
        put(f"owner-{i}")
        os.chown(f"owner-{i}", uid, gid)
        os.symlink("owner", f"owner-link-{i}")
        os.chown(f"owner-link-{i}", uid, gid, follow_symlinks=False)
        os.mkdir(f"owner-dir-{i}")
        os.chown(f"owner-dir-{i}", uid, gid)
        os.mkfifo(f"owner-fifo-{i}")
        os.chown(f"owner-fifo-{i}", uid, gid)
    put("setuid-of-another", b"x" * 100)
    os.chown("setuid-of-another", 1234, 5678)
    for name in os.listdir("."):
        kind, _, mode = name.rpartition("-")
        if kind in ("file", "dir"):
            os.chmod(name, int(mode, 8))
    os.chmod("setuid-of-another", 0o6755)
    os.setxattr("setuid-of-another", "security.capability", struct.pack("<IIIII", 0x02000000, 0x1, 0, 0, 0))
    leave()


def sock(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.close()


def special():
    section("special")
    os.mkfifo("fifo", 0o622)
    sock("socket")
    for major, minor in [(0, 0), (1, 3), (4, 64), (255, 255), (256, 256), (4095, 1048575)]:
        os.mknod(f"char-{major}-{minor}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.mknod(f"block-{major}-{minor}", stat.S_IFBLK | 0o660, os.makedev(major, minor))
    leave()
    section("symlinks")
    for n in (1, 59, 60, 61, 255, 256, 1000, 4000, 4094, 4095):
        os.symlink(("/" + "t" * 199) * (n // 200) + "x" * (n % 200), f"of-{n}")
    for i, target in enumerate([b"/", b".", b"..", b"nowhere", b"new\nline", b"\xff\xfe", b"self", b"../../../../../../etc/passwd",
                                b"//a//b//", b" ", b"/proc/self/fd/0", b"/deep"]):
        os.symlink(target, b"odd-%d" % i)
    os.symlink("self", "self")
    leave()


def sizes():
    section("sizes")
    for block in (BLOCK, DATA_BLOCK):
        for times_ in (1, 2, 3):
            for d in (-1, 0, 1):
                n = block * times_ + d
                put(f"noise-{n}", noise(n))
                put(f"text-{n}", text(n))
    for n in (1, 2, 59, 60, 61, 100, 1000, 1 << 20, (1 << 20) + 12345):
        put(f"noise-{n}", noise(n))
    same = noise(DATA_BLOCK + 77)
    for i in range(5):
        put(f"same-{i}", same)
    for i in range(300):
        put(f"little-{i}", noise(i))
    leave()
    section("empty")
    for i in range(20):
        put(f"file-{i}")
        os.makedirs(f"dir-{i}/" + "/".join(["e"] * (i % 4)))
    leave()


def finish():
    """Times with nanoseconds for all that has none yet, directories after what lies in them."""
    i = 0

    def enter():
        """Stamps the files here; returns the directories here."""
        nonlocal i
        dirs = []
        with os.scandir(b".") as it:
            entries = sorted(it, key=lambda e: e.name)
        for e in entries:
            if e.is_dir(follow_symlinks=False):
                dirs.append(e.name)
            elif top != b"times":
                i += 1
                stamp(e.name, T0 + i * 1_000_000_007)
        return dirs[::-1]

    top = b""
    stack = [enter()]       # too deep for recursion and for a descriptor each
    names_ = []
    while stack:
        if stack[-1]:
            name = stack[-1].pop()
            os.chdir(name)
            names_.append(name)
            top = names_[0]
            stack.append(enter())
            continue
        stack.pop()
        if names_[-1:] != [b"dir-1906"]:
            stamp(".", T0 - i * 1_000_003)
        if names_:
            names_.pop()
            os.chdir("..")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: oddtree.py DIR")
    if os.geteuid() != 0:
        print("oddtree.py: needs root: devices, owners, trusted. attributes", file=sys.stderr)
        sys.exit(77)
    os.umask(0o022)
    os.chdir(sys.argv[1])
    for make in (names, deep, times, sparse, links, many, xattrs, modes, special, sizes):
        make()
    os.chmod(".", 0o751)
    os.chown(".", 12, 34)
    os.setxattr(".", "trusted.top", b"the root has attributes too")
    finish()


main()
