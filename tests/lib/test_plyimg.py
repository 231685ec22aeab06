#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""FORMAT.md is true and complete: a tree is made, and an image of it by plyimg.py, which knows no more than that page.
The product finds no damage in the image, no difference to the tree, and its mount and layout are the tree."""
import os
import random
import shutil
import socket
import stat
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from overlay_tree import overlays
from plyimg import *

TMP = os.environ["TMPDIR"]
SEED = int(os.environ.get("PLYFS_SEED", "5"))


def tree():
    """os and app, which share directories and a link group."""
    rnd = random.Random(SEED)
    noise = rnd.randbytes(300000)
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in [
        (1, 6, 0xffffffff), (2, 4, 54321), (4, 4, 0xffffffff), (0x10, 4, 0xffffffff), (0x20, 0, 0xffffffff)])
    link = File(b"linked content " * 20, xattrs={b"user.a": b"1", b"user.b": b"x" * 300})
    shared = [File(b"in two sub-images\n" * 9, mtime=(5, 6)) for _ in range(2)]
    os_tree = Dir({
        b"etc": Dir({b"motd": File(b"hello"), b"link": link, b"noise": File(noise), b"zeros": File(bytes(400000)),
                     b"block": File(noise[:BLOCK]), b"64": File(noise[:64]), b"65": File(noise[:65]),
                     b"sparse": File([(0, b"x" * 5000), (1 << 20, noise)], size=1 << 22),
                     b"hole": File(size=123456), b"acl": File(b"acl", mode=0o640, xattrs={b"system.posix_acl_access": acl})}),
        b"bin": Symlink(b"usr/bin"), b"link too": link, b"empty": File(), b"opt": Dir(),
        b"dev": Dir({b"null": Special(S_IFCHR, 1, 3, mode=0o666), b"sda": Special(S_IFBLK, 8, 300, gid=6, group=b"disk"),
                     b"fifo": Special(S_IFIFO, mode=0o600), b"socket": Special(S_IFSOCK)}),
        b"new\nline \xff": Dir(mode=0o1777, mtime=(-5, 999999999), uid=1234, gid=0xfffffffe),
        b"shared": shared[0], b"suid": File(b"#!\n" * 100, mode=0o6755, xattrs={b"trusted.note": b"\0\xff"})})
    # what depends on the selection: all of it is here, where both are selected
    passwd = b"root:x:0:0::/:/bin/sh\napp:x:77:77::/:/bin/false\n"
    group = b"root:x:0:root,app\napp:x:77:\n"
    os_tree.children[b"etc"].children.update({
        b"passwd": Shared(passwd, [(0, passwd[:22])], driver=1),
        b"group": Shared(group, [(0, b"root:x:0:"), (1, b"root", (), 1), (3, b"\n")], driver=3),
        b"shells": Shared(b"/bin/sh\n" + b"#" * 200, [(0, b"/bin/sh\n"), (1, b"/bin/nologin\n", [("none", "app")]),
                                                      (2, b"#" * 200)], driver=14),
        b"tool": Symlink(b"os", when=[("none", "app")]), b"late": File(b"late", when=[("any", "app"), ("any", "other", "app")]),
        b"of app": File(b"x", mode=0o6711, uid=77, gid=77, user=b"app", group=b"app", user_of="app", group_of="app",
                        xattrs={b"user.v": [(b"never", [("any", "other")]), (b"now", [("any", "app")]), (b"else", ())]})})
    app_tree = Dir({
        b"opt": Dir({b"app": Dir({b"%06d" % i + b"n" * 249: File(b"%d" % i) for i in range(9000)}, mtime=(7, 8))}, implied=True),
        b"etc": Dir({b"app.conf": File(b"conf"), b"tool": Symlink(b"app"),
                     b"passwd": Shared(passwd, [(1, passwd[22:])], driver=1),
                     b"group": Shared(group, [(2, b"app", (), 1), (4, b"app:x:77:\n")], driver=3)}, implied=True),
        b"shared too": shared[1]}, implied=True)
    im = Image([Sub("os", os_tree), Sub("app", app_tree)])
    im.groups = [[(im.subs[0], b"shared"), (im.subs[1], b"shared too")]]
    return im


def holds(when):
    """Where os and app are selected."""
    return all((kind == "any") == bool({"os", "app"} & set(names)) for kind, *names in when)


def apply(path, inode):
    os.chown(path, inode.uid, inode.gid, follow_symlinks=False)
    if inode.type != S_IFLNK:
        os.chmod(path, inode.mode)
    for name, value in inode.xattrs.items():
        if not isinstance(value, bytes):
            value = next(v for v, when in value if holds(when))
        os.setxattr(path, name, value, follow_symlinks=False)
    sec, nsec = inode.mtime
    os.utime(path, ns=(0, sec * 10 ** 9 + nsec), follow_symlinks=False)


def build(path, inode, made, same):
    """The same tree by the kernel's means. @same: nodes that are one with another's."""
    if id(inode) in made or id(inode) in same and id(same[id(inode)]) in made:
        os.link(made.get(id(inode)) or made[id(same[id(inode)])], path, follow_symlinks=False)
        return
    if not holds(inode.when) or isinstance(inode, Shared) and os.path.exists(path):
        return
    made[id(inode)] = path
    if inode.type == S_IFDIR:
        if not os.path.isdir(path):
            os.mkdir(path)
        for name, child in inode.children.items():
            build(path + b"/" + name, child, made, same)
        if inode.implied:
            return
    elif inode.type == S_IFLNK:
        os.symlink(inode.target, path)
    elif inode.type == S_IFREG:
        with open(path, "wb") as f:
            for off, data in inode.parts if not isinstance(inode, Shared) else [(0, inode.whole)]:
                f.seek(off)
                f.write(data)
            f.truncate(len(inode.whole) if isinstance(inode, Shared) else inode.size)
    elif inode.type == S_IFSOCK:
        socket.socket(socket.AF_UNIX).bind(os.fsdecode(path))
    else:
        os.mknod(path, inode.type | 0o600, os.makedev(inode.major, inode.minor))
    apply(path, inode)


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root: owners, devices, trusted attributes")
        return
    os.chdir(TMP)
    im = tree()
    with open("i.plyfs", "wb") as f:
        f.write(im.bytes())
    with open("overlays.plyfs", "wb") as f:
        f.write(overlays().bytes())
    made, (first, second) = {}, im.subs
    one, two = (s.inodes[s.paths[p]] for s, p in im.groups[0])
    build(b"tree", first.root, made, {})
    build(b"tree", second.root, made, {id(two): one})
    for path in (b"etc", b"opt", b""):          # what app's files have changed
        apply(b"tree/" + path, first.inodes[first.paths[path]])
    os.makedirs("m")
    compare = [sys.executable, f"{HERE}/compare.py", "--exclude", "var/lib/plyfs"]
    steps = [
        ("verify --deep finds no damage", ["plyfs", "verify", "--deep", "i.plyfs"]),
        ("verify --against finds no difference", ["plyfs", "verify", "--against=tree", "i.plyfs"]),
        ("dump prints every structure", ["plyfs", "dump", "i.plyfs"]),
        ("verify --deep finds no damage in overlays", ["plyfs", "verify", "--deep", "overlays.plyfs"]),
        ("dump prints overlays", ["plyfs", "dump", "overlays.plyfs"]),
        ("the layout is the tree", ["sh", "-ec", "mkdir out; plyfs layout i.plyfs out; exec \"$@\"", "sh", *compare, "tree", "out"]),
    ]
    if os.path.exists("/dev/fuse"):
        steps.append(("the mount is the tree", ["sh", "-ec", "plyfs mount i.plyfs m; trap 'plyfs umount m' EXIT; \"$@\"",
                                                "sh", *compare, "tree", "m"]))
    print(f"1..{len(steps)}\n# seed {SEED}")
    bad = 0
    for i, (what, argv) in enumerate(steps, 1):
        r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        bad += r.returncode != 0
        print(f"{'not ok' if r.returncode else 'ok'} {i} - {what}")
        if r.returncode:
            print("#   " + r.stdout[-2000:].decode("utf-8", "backslashreplace").replace("\n", "\n#   "))
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
