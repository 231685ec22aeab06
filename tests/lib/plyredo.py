#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""plyredo.py FILE: a small log with a change of each kind, made from FORMAT.md alone, so that it shows FORMAT.md to be true.

Log(changes...) is one in Python: a list of records, each a list of changes as bytes; bytes() is the file."""

import hashlib
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from plyimg import xxh3  # noqa: E402

UUID = bytes(range(1, 17))
NUMBER = 16384
SEGMENTS = 12288
DATA = SEGMENTS + 65536                # segment 1


def padded(data, to=8):
    return data + bytes(-len(data) % to)


def change(kind, body, flags=0):
    body = padded(body)
    return struct.pack("<HHI", kind, flags, 8 + len(body)) + body


def ino(index, number=NUMBER):
    return number << 48 | index


def attributes(mode=0, uid=0, gid=0, flags=0, nlink=0, generation=0, times=(0, 0, 0, 0), nanoseconds=(0, 0, 0, 0), parent=0,
               device=(0, 0)):
    return struct.pack("<6I4q4IQ2I", mode, uid, gid, flags, nlink, generation, *times, *nanoseconds, parent, *device)


def commit(durable, time=0):
    return change(1, struct.pack("<Qq", durable, time))


def requests(*numbers):
    return change(3, struct.pack("<II", len(numbers), 0) + b"".join(struct.pack("<Q", n) for n in numbers))


def new(node, mode, nlink, target=b"", **more):
    return change(8, struct.pack("<QII", node, len(target), 0) + attributes(mode, nlink=nlink, **more) + target)


def attr(node, mask, **more):
    return change(9, struct.pack("<QII", node, mask, 0) + attributes(**more))


def add(folder, node, sequence, name, kind):
    return change(10, struct.pack("<QQQBB6x", folder, node, NUMBER << 48 | sequence, len(name), kind) + name)


def remove(folder, name, hides):
    return change(11, struct.pack("<QQQBB6x", folder, 0, 0, len(name), 0) + name, flags=int(hides))


def xattr(node, name, value=None):
    return change(13 if value is None else 12, struct.pack("<QIB3x", node, len(value or b""), len(name)) + name + (value or b""))


def extent(node, off, data, block, size):
    """@data at @block of segment 1. Returns the change, and the blocks."""
    blocks = padded(bytes(off % 4096) + data, 4096)
    sums = b"".join(struct.pack("<Q", xxh3(blocks[at:at + 4096])) for at in range(0, len(blocks), 4096))
    return change(14, struct.pack("<5Q", node, off, len(data), DATA + block * 4096 + off % 4096, size) + sums), blocks


def hole(node, off, size):
    return change(15, struct.pack("<3Q", node, off, size))


def set_size(node, size):
    return change(16, struct.pack("<2Q", node, size))


def copy(node, off, size, src, src_off, end):
    return change(17, struct.pack("<6Q", node, off, size, src, src_off, end))


def dead(node):
    return change(18, struct.pack("<Q", node))


class Log:
    def __init__(self, *records, data=b"", state=2, names=(b"os", b"web"), decisions=((1 << 48 | 5, 2 << 48 | 4, 5, 3),), incompat=0,
                 path=b"/srv/shop.plyfs", uuid=b"P" * 16, digest=b"D" * 32, generation=3):
        self.records, self.data, self.state, self.names, self.decisions = records, data, state, names, decisions
        self.incompat, self.path, self.uuid, self.digest, self.generation = incompat, path, uuid, digest, generation

    def stream(self, seed):
        out = b""
        for changes in self.records:
            body = b"".join(changes)
            head = struct.pack("<IIQQII", 40 + len(body), 1, len(out), 7, len(changes), 0)
            out += head + struct.pack("<Q", xxh3(head, xxh3(body, seed))) + body
        return out

    def bytes(self):
        seed = xxh3(UUID, 1)
        names = b"".join(n + b"\0" for n in self.names)
        binding = struct.pack("<4I", len(self.names), len(names), len(self.decisions), len(self.path)) + b"I" * 16 + \
            b"".join(struct.pack("<QQII", *d) for d in self.decisions) + names + self.path
        records = self.stream(seed)
        head = b"PLYREDOM" + struct.pack("<IIQQ24x", 0, 1, 1, 0)
        segment = head + struct.pack("<Q", xxh3(head, seed)) + records
        out = b""
        for slot in range(2):
            s = b"PLYREDO\n" + struct.pack("<II3Q", 1, slot, 0, 0, self.incompat) + UUID + struct.pack("<Q", 1) + self.uuid + self.digest
            s += struct.pack("<QIIqQQ", self.generation, NUMBER, self.state, 1700000000, 8192, len(binding)) + hashlib.sha256(binding).digest()
            s += struct.pack("<QIIQQQQ", SEGMENTS, 1, 0, 0, len(records) if self.state != 1 else 0, 0, 1) + bytes(24)
            s = s.ljust(0xff8, b"\0")
            out += s + struct.pack("<Q", xxh3(s))
        out = (out + binding).ljust(SEGMENTS, b"\0") + segment
        return out.ljust(DATA, b"\0") + self.data


def example(**how):
    text, link, tmp = ino(1), ino(2), ino(3)
    write, blocks = extent(3, 5000, b"hello", 0, 9000)
    return Log(
        [new(text, 0o100644, 1, times=(1, 2, 3, 4)), add(1, text, 3, b"new\n", 8), attr(1, 64 | 128, times=(0, 5, 6, 0))],
        [new(link, 0o120777, 1, b"../x"), add(1, link, 4, b"link", 10)],
        [remove(1, b"passwd", True), add(1, 3, 5, b"passwd.old", 8)],
        [xattr(text, b"user.a", b"value"), xattr(3, b"security.capability")],
        [write, attr(3, 1, mode=0o100755)],
        [hole(3, 0, 4096)], [set_size(3, 8000)], [copy(text, 0, 3000, 3, 4900, 3000)],
        [new(tmp, 0o100600, 0)], [dead(tmp)], [requests(8, 6)], [commit(100, 1700000001)], data=blocks, **how)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: plyredo.py FILE")
    with open(sys.argv[1], "wb") as f:
        f.write(example().bytes())
