#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""traced.py: requests to a file system that ends in the midst of them, and what has to be there afterwards. Root.

    traced.py run DIR TRACE [--threads N] [--ops N] [--seed N]
    traced.py judge DIR TRACE [--durable | --prefix]

run makes random changes below DIR, each thread in a directory t0, t1, ... of its own, and writes to a file of its own in TRACE, which is
elsewhere, what it is about to ask for, and when it was answered. It ends after N changes, or when nothing answers any more.

judge says whether DIR is what it must be:

    without --durable (a daemon was killed): in each directory all that was answered is there, in order, and nothing else but the change
    that was under way, or not.

    with --durable (the power was cut): each directory is as it was after one of its changes, and not before the last fsync that was answered
    by POWERCUT_FLUSHED (powercut.py). No change is missing that was answered before one that is there was begun.

    with --prefix (something was damaged): the same, but nothing has to be there. Exit code 3: something could not be read.

What is written is either written past the page cache (O_DIRECT), one request, or with an fsync behind it: a page that is only in the
kernel's cache was not asked for yet. Of a write with an fsync that is under way single pages may be there.

Everything is compared: names, types, modes, owners, links, xattrs, content, and mtimes that were set.
"""
import argparse
import ctypes
import errno
import hashlib
import itertools
import json
import mmap
import os
import pickle
import random
import stat
import sys
import threading

PAGE = 4096
PATHS = 120                  # from there on more is removed than made
GONE = {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO}
FALLOC_PUNCH = 3             # with FALLOC_FL_KEEP_SIZE
RENAME_EXCHANGE = 2
TIME = 1_000_000_000         # seconds: around it are the times that are set
libc = ctypes.CDLL(None, use_errno=True)


class Node:
    """A file, whatever it is called."""

    def __init__(self, kind, mode, data=b"", owner=(0, 0), xattrs=None):
        self.kind, self.mode, self.owner = kind, mode, owner
        self.xattrs = dict(xattrs or {})
        self.mtime = None    # known only when set
        self.put(data)

    def put(self, data):
        self.data, self.digest = data, hashlib.sha256(data).digest()

    def facts(self):
        return self.kind, self.mode, self.owner, tuple(sorted(self.xattrs.items())), len(self.data), self.digest


def kind_of(mode):
    return {stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFREG: "f"}.get(stat.S_IFMT(mode), "o")


def scan(root):
    """{path: Node}, '' is the root; names of one file share a Node. As it is on a file system; mtimes as they are."""
    tree, inodes = {}, {}

    def visit(path):
        at = f"{root}/{path}" if path else root
        st = os.lstat(at)
        node = inodes.get(st.st_ino)
        if not node:
            kind = kind_of(st.st_mode)
            data = b""
            if kind == "f":
                with open(at, "rb") as f:
                    data = f.read()
                if len(data) != st.st_size:
                    raise SystemExit(f"traced: {at}: {len(data)} bytes can be read of {st.st_size}")
            elif kind == "l":
                data = os.readlink(at).encode()
            node = inodes[st.st_ino] = Node(kind, stat.S_IMODE(st.st_mode), data, (st.st_uid, st.st_gid),
                                            {x: os.getxattr(at, x, follow_symlinks=False)
                                             for x in os.listxattr(at, follow_symlinks=False)})
            node.mtime = st.st_mtime_ns
            node.nlink = st.st_nlink
        tree[path] = node
        if node.kind == "d":
            for name in os.listdir(at):
                visit(f"{path}/{name}" if path else name)

    visit("")
    return tree


def grouped(tree):
    """The first name of each path's file."""
    first = {}
    for path in sorted(tree):
        first.setdefault(id(tree[path]), path)
    return first


def differences(want, have):
    found = [f"{p}: {'is missing' if p in want else 'should not be there'}" for p in sorted(want.keys() ^ have.keys())]
    mine, theirs = grouped(want), grouped(have)
    for p in sorted(want.keys() & have.keys()):
        a, b = want[p], have[p]
        if a.facts() != b.facts():
            found.append(f"{p}: is {b.facts()[:5]}, should be {a.facts()[:5]}, content {'equal' if a.digest == b.digest else 'differs'}")
        elif a.mtime is not None and a.mtime != b.mtime:
            found.append(f"{p}: mtime is {b.mtime}, should be {a.mtime}")
        elif mine[id(a)] != theirs[id(b)]:
            found.append(f"{p}: is one file with {theirs[id(b)]}, should be with {mine[id(a)]}")
    return found


# --- changes: what is asked of the kernel, and what becomes of the model -------------------------


def content(seed, size):
    return random.Random(seed).randbytes(size)


def spliced(data, off, new):
    return data[:off].ljust(off, b"\0") + new + data[off + len(new):]


def parent(path):
    return os.path.dirname(path)


class Files:
    """The changes on a file system."""

    def __init__(self, root):
        self.root = root

    def at(self, path):
        return f"{self.root}/{path}" if path else self.root

    def opened(self, path, flags, what):
        fd = os.open(self.at(path), flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return what(fd)
        finally:
            os.close(fd)

    def create(self, path, mode):
        os.close(os.open(self.at(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def mkfifo(self, path, mode):
        os.mkfifo(self.at(path), mode)

    def symlink(self, path, target):
        os.symlink(target, self.at(path))

    def link(self, path, new):
        os.link(self.at(path), self.at(new), follow_symlinks=False)

    def unlink(self, path):
        os.unlink(self.at(path))

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def rename(self, path, new):
        os.rename(self.at(path), self.at(new))

    def exchange(self, path, new):
        if libc.renameat2(-100, os.fsencode(self.at(path)), -100, os.fsencode(self.at(new)), RENAME_EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")

    def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self.at(path), uid, gid, follow_symlinks=False)

    def setxattr(self, path, name, seed, size):
        os.setxattr(self.at(path), name, content(seed, size), follow_symlinks=False)

    def removexattr(self, path, name):
        os.removexattr(self.at(path), name, follow_symlinks=False)

    def utime(self, path, mtime):
        os.utime(self.at(path), ns=(mtime, mtime), follow_symlinks=False)

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def write(self, path, off, size, seed):
        data = mmap.mmap(-1, size)    # whole pages, as O_DIRECT wants them
        data[:] = content(seed, size)

        def write(fd):
            if os.pwritev(fd, [data], off) != size:
                raise SystemExit(f"traced: {path}: written in part")
        self.opened(path, os.O_WRONLY | os.O_DIRECT, write)

    def synced(self, path, off, size, seed):
        def write(fd):
            if os.pwrite(fd, content(seed, size), off) != size:
                raise SystemExit(f"traced: {path}: written in part")
            os.fsync(fd)
        self.opened(path, os.O_WRONLY, write)

    def punch(self, path, off, size):
        def punch(fd):
            if libc.fallocate(fd, FALLOC_PUNCH, ctypes.c_long(off), ctypes.c_long(size)):
                raise OSError(ctypes.get_errno(), "fallocate")
        self.opened(path, os.O_WRONLY, punch)

    def fsync(self, path):
        self.opened(path, os.O_RDONLY, os.fsync)


class Model:
    """The same in memory."""

    def __init__(self, tree):
        self.tree = tree

    def named(self, path):
        self.tree[parent(path)].mtime = None

    def made(self, path, node):
        self.tree[path] = node
        self.named(path)

    def create(self, path, mode):
        self.made(path, Node("f", mode))

    def mkdir(self, path, mode):
        self.made(path, Node("d", mode))

    def mkfifo(self, path, mode):
        self.made(path, Node("o", mode))

    def symlink(self, path, target):
        self.made(path, Node("l", 0o777, target.encode()))

    def link(self, path, new):
        self.made(new, self.tree[path])

    def unlink(self, path):
        del self.tree[path]
        self.named(path)

    rmdir = unlink

    def below(self, path):
        return [p for p in self.tree if p == path or p.startswith(path + "/")]

    def rename(self, path, new):
        if self.tree.get(new) is self.tree[path]:
            return      # names of one file: nothing is done
        moved = {new + p[len(path):]: self.tree.pop(p) for p in self.below(path)}
        self.tree.update(moved)
        self.named(path)
        self.named(new)

    def exchange(self, path, new):
        if self.tree[new] is self.tree[path]:
            return
        there = {path + p[len(new):]: self.tree.pop(p) for p in self.below(new)}
        here = {new + p[len(path):]: self.tree.pop(p) for p in self.below(path)}
        self.tree.update(there)
        self.tree.update(here)
        self.named(path)
        self.named(new)

    def chmod(self, path, mode):
        self.tree[path].mode = mode

    def chown(self, path, uid, gid):
        self.tree[path].owner = (uid, gid)

    def setxattr(self, path, name, seed, size):
        self.tree[path].xattrs[name] = content(seed, size)

    def removexattr(self, path, name):
        del self.tree[path].xattrs[name]

    def utime(self, path, mtime):
        self.tree[path].mtime = mtime

    def changed(self, path, data):
        self.tree[path].put(data)
        self.tree[path].mtime = None

    def truncate(self, path, size):
        self.changed(path, self.tree[path].data[:size].ljust(size, b"\0"))

    def write(self, path, off, size, seed):
        self.changed(path, spliced(self.tree[path].data, off, content(seed, size)))

    synced = write

    def punch(self, path, off, size):
        data = self.tree[path].data
        size = max(0, min(size, len(data) - off))
        self.changed(path, data[:off] + bytes(size) + data[off + size:])

    def fsync(self, path):
        pass


# --- what is drawn --------------------------------------------------------------------------------


class Draw:
    def __init__(self, seed, model):
        self.random, self.model = random.Random(seed), model

    def any(self, kinds, but=()):
        paths = sorted(p for p, n in self.model.tree.items() if p and n.kind in kinds and p not in but)
        return self.random.choice(paths) if paths else None

    def new(self):
        folders = sorted(p for p, n in self.model.tree.items() if n.kind == "d" and p.count("/") < 6)
        folder = self.random.choice(folders)
        name = f"n{self.random.randrange(1 << 30)}"
        return f"{folder}/{name}" if folder else name

    def is_empty(self, path):
        return not any(p.startswith(path + "/") for p in self.model.tree)

    def move(self, exchange):
        """Two names that can be exchanged, or a name and a new one, or one that gives way."""
        path = self.any("fdlo")
        new = self.any("fdlo") if exchange or self.random.random() < 0.4 else self.new()
        if not path or not new or (f"{new}/").startswith(f"{path}/") or (f"{path}/").startswith(f"{new}/"):
            return None
        there = self.model.tree.get(new)
        if there and not exchange and (there.kind == "d") != (self.model.tree[path].kind == "d"):
            return None
        if there and not exchange and there.kind == "d" and not self.is_empty(new):
            return None
        return path, new

    def change(self):
        """A change that must succeed: [verb, argument...]"""
        r = self.random
        while True:
            verb = r.choice(VERBS)
            if len(self.model.tree) > PATHS and r.random() < 0.5:
                verb = r.choice(("unlink", "rmdir"))
            args = self.arguments(verb)
            if args:
                return [verb, *args]

    def arguments(self, verb):
        r = self.random
        if verb in ("create", "mkdir", "mkfifo"):
            return self.new(), r.choice((0o644, 0o755, 0o600, 0o711))
        if verb == "symlink":
            return self.new(), f"to/{r.randrange(1000)}"
        if verb == "fsync":
            path = self.any("fd")
        elif verb in ("unlink", "link"):
            path = self.any("flo")
        elif verb == "rmdir":
            path = self.any("d")
            return (path,) if path and self.is_empty(path) else None
        elif verb in ("rename", "exchange"):
            return self.move(verb == "exchange")
        elif verb in ("truncate", "write", "synced", "punch"):
            path = self.any("f")
        else:
            path = self.any("fd")
        if not path:
            return None
        return (path, *{
            "link": lambda: (self.new(),),
            "chmod": lambda: (r.choice((0o644, 0o755, 0o700, 0o640, 0o111)),),
            "chown": lambda: (r.choice((0, 33, 1000)), r.choice((0, 33, 1000))),
            "setxattr": lambda: (r.choice(("user.a", "user.b", "trusted.c")), r.randrange(1 << 30), r.randrange(200)),
            "removexattr": lambda: self.xattr(path),
            "utime": lambda: ((TIME + r.randrange(1 << 20)) * 10**9 + r.randrange(10**9),),
            "truncate": lambda: (r.randrange(40_000),),
            "write": lambda: (r.randrange(24) * PAGE, r.randrange(1, 12) * PAGE, r.randrange(1 << 30)),
            "synced": lambda: (r.randrange(60_000), r.randrange(1, 20_000), r.randrange(1 << 30)),
            "punch": lambda: (r.randrange(40_000), r.randrange(1, 20_000)),
        }.get(verb, lambda: ())()) if verb != "removexattr" or self.xattr(path) else None

    def xattr(self, path):
        names = sorted(self.model.tree[path].xattrs)
        return (self.random.choice(names),) if names else ()


VERBS = (["create"] * 6 + ["mkdir"] * 3 + ["mkfifo", "symlink", "symlink"] + ["link"] * 3 + ["unlink"] * 5 + ["rmdir"] * 2 +
         ["rename"] * 6 + ["exchange"] * 2 + ["chmod"] * 2 + ["chown"] * 2 + ["setxattr"] * 3 + ["removexattr"] * 2 + ["utime"] * 2 +
         ["truncate"] * 3 + ["write"] * 8 + ["synced"] * 3 + ["punch"] * 2 + ["fsync"] * 2)


# --- run ---------------------------------------------------------------------------------------------

clock = itertools.count()     # the order in which things were begun and answered


def entries():
    """Of the log of powercut.py, where there is one."""
    if "POWERCUT_DIR" not in os.environ:
        return 0
    import powercut     # pylint: disable=import-outside-toplevel
    return powercut.entries(os.environ["POWERCUT_DIR"] + "/log")


def work(root, trace, n, a, failures):
    files = Files(f"{root}/t{n}")
    tree = scan(files.root)
    for node in tree.values():
        node.mtime = None
    with open(f"{trace}/base{n}", "wb") as f:
        pickle.dump(tree, f)
    model = Model(tree)
    print("# begins", flush=True)
    draw = Draw(f"{a.seed} {n}", model)
    with open(f"{trace}/trace{n}", "w", encoding="ascii", buffering=1) as out:
        for _ in range(a.ops):
            change = draw.change()
            out.write(json.dumps([next(clock), *change]) + "\n")
            try:
                getattr(files, change[0])(*change[1:])
            except OSError as e:
                if e.errno not in GONE:
                    failures.append(f"t{n}: {change}: {os.strerror(e.errno)}")
                return
            # only of an fsync it is promised that it is on the medium
            out.write(json.dumps([next(clock), entries() if change[0] in ("fsync", "synced") else None]) + "\n")
            getattr(model, change[0])(*change[1:])


def run(a):
    os.umask(0)
    os.makedirs(a.trace, exist_ok=True)
    failures = []
    threads = [threading.Thread(target=work, args=(a.dir, a.trace, n, a, failures)) for n in range(a.threads)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for line in failures:
        print(f"# {line}")
    return 1 if failures else 0


# --- judge --------------------------------------------------------------------------------------------


class Traced:
    """What one thread did: changes, when each was begun and answered (None: never), and the entries of the log by then."""

    def __init__(self, trace, n):
        with open(f"{trace}/base{n}", "rb") as f:
            self.model = Model(pickle.load(f))
        with open(f"{trace}/trace{n}", encoding="ascii") as f:
            lines = [json.loads(line) for line in f if line.endswith("\n")]
        self.begun = [line[0] for line in lines[::2]]
        self.changes = [line[1:] for line in lines[::2]]
        self.answered = [line[0] for line in lines[1::2]] + [None] * (len(lines) % 2)
        self.entries = [line[1] for line in lines[1::2]]
        self.done = len(self.entries)

    def least(self, a):
        """How many changes have to be there."""
        if a.prefix:
            return 0
        if not a.durable:
            return self.done
        flushed = int(os.environ["POWERCUT_FLUSHED"])
        return max((i + 1 for i, e in enumerate(self.entries) if e is not None and e <= flushed), default=0)

    def step(self, i):
        change = self.changes[i]
        getattr(self.model, change[0])(*change[1:])


def in_part(before, change, have):
    """Where a write with an fsync is under way: are its pages each old or new, or not yet there?"""
    verb, path, off, size, seed = change
    node = have.get(path)
    if verb != "synced" or not node or path not in before:
        return None
    old = before[path].data
    new = spliced(old, off, content(seed, size))
    if len(node.data) > len(new):
        return None
    for at in range(0, len(node.data), PAGE):
        page = node.data[at:at + PAGE]
        if page not in (old[at:at + PAGE].ljust(len(page), b"\0")[:len(page)], new[at:at + len(page)]):
            return None
    return node.data


def matches(t, have, least):
    """(first, last) number of changes after which the model is what is there; None: none."""
    found, closest = [], None
    for i in range(len(t.changes) + 1):
        if i >= least:
            wrong = differences(t.model.tree, have)
            if wrong and i < len(t.changes) and t.changes[i][0] == "synced":
                data = in_part(t.model.tree, t.changes[i], have)
                if data is not None:
                    node = t.model.tree[t.changes[i][1]]
                    kept = node.data, node.mtime
                    node.put(data)
                    node.mtime = None
                    wrong = differences(t.model.tree, have)
                    node.put(kept[0])
                    node.mtime = kept[1]
            if not wrong:
                found.append(i)
            elif not closest or len(wrong) < len(closest[1]):
                closest = i, wrong
        if i < len(t.changes):
            t.step(i)
    if found:
        return found[0], found[-1]
    print(f"# of {len(t.changes)} changes, {t.done} answered, {least} that must be there; after {closest[0]} it would be most alike:")
    for line in closest[1][:20]:
        print(f"#   {line}")
    for i in range(max(0, closest[0] - 3), min(len(t.changes), closest[0] + 4)):
        print(f"# {i} {t.changes[i]}{'' if i < t.done else ' not answered'}")
    return None


def judge(a):
    threads, found = [], []
    for n in itertools.count():
        if not os.path.exists(f"{a.trace}/trace{n}"):
            break
        t = Traced(a.trace, n)
        try:
            have = scan(f"{a.dir}/t{n}")
        except OSError as e:
            print(f"# {e}")
            return 3
        m = matches(t, have, t.least(a))
        if not m:
            print(f"# {a.dir}/t{n} is none of the states that it may be")
            return 1
        threads.append(t)
        found.append(m)
    if not threads:
        raise SystemExit(f"traced: {a.trace}: no trace")
    missing = min((t.answered[last] for t, (_, last) in zip(threads, found) if last < t.done), default=None)
    there = max((t.begun[first - 1] for t, (first, _) in zip(threads, found) if first), default=-1)
    if missing is not None and there > missing:
        print(f"# a change that was begun at {there} is there, and one that was answered at {missing} is not")
        return 1
    print("# " + ", ".join(f"{first} of {len(t.changes)}" for t, (first, _) in zip(threads, found)) + " changes")
    return 0


def main():
    p = argparse.ArgumentParser(prog="traced.py")
    verbs = p.add_subparsers(dest="verb", required=True)
    for name, function in (("run", run), ("judge", judge)):
        v = verbs.add_parser(name)
        v.set_defaults(function=function)
        v.add_argument("dir")
        v.add_argument("trace")
        if name == "run":
            v.add_argument("--threads", type=int, default=4)
            v.add_argument("--ops", type=int, default=1 << 30)
            v.add_argument("--seed", type=int, default=1)
        else:
            v.add_argument("--durable", action="store_true")
            v.add_argument("--prefix", action="store_true")
    a = p.parse_args()
    return a.function(a)


if __name__ == "__main__":
    sys.exit(main())
