#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""composite.py DIR SEED...: random composite images, and what becomes of each selection of them.

    composite.py DIR FIRST-LAST [--keep] [--least N] [--make-only]

For each seed a machine is made up and captured (its os, for some a second component), one to five other machines are
added on top of it or of one another, and what they have in common with one another is drawn from ROWS: every row of the
collision table, overrides, deletions, policies. Then each of some selections is planned, mounted, and laid out by one
stream and by eight. Expected is what composite_oracle.py says, which knows nothing of the product: exit code 3 with
those paths where something is undecided, and nothing written; else the same tree, three times. Root only. Prints how
often each row was hit; --least: fails where one of them was hit less often. DIR is empty or is not there.
"""
import argparse
import collections
import hashlib
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare as trees  # noqa: E402  (beside this file)
from composite_oracle import DRIVEN, NO_DIFFERENCE, Composite, Node, Sub, match, parents  # noqa: E402

BORN = 1_650_000_000
WEB = "/srv/web"
LONG_HOLE = 1 << 19                 # so many zeros at the end of a file are not written
PASSWD, GROUP, STATUS = DRIVEN


class Failed(Exception):
    pass


# --- trees on disk -----------------------------------------------------------------------------

def write(tree, root):
    os.mkdir(root)
    made = {}
    for path in sorted(tree):
        node, full = tree[path], root + path
        if node.names in made and node.names:
            os.link(made[node.names], full, follow_symlinks=False)
            continue
        if node.kind == "d" and path != "/":
            os.mkdir(full)
        elif node.kind == "f":
            with open(full, "wb") as f:
                data = node.data.rstrip(b"\0")
                f.write(data if len(node.data) - len(data) >= LONG_HOLE else node.data)
                f.truncate(len(node.data))
        elif node.kind == "l":
            os.symlink(node.data, full)
        elif node.kind == "p":
            os.mkfifo(full)
        elif node.kind in "cb":
            os.mknod(full, (stat.S_IFCHR if node.kind == "c" else stat.S_IFBLK) | 0o600, node.data)
        if node.names:
            made[node.names] = full
    for path in sorted(tree, reverse=True):
        node, full = tree[path], root + path
        os.chown(full, *node.owner, follow_symlinks=False)
        if node.kind != "l":
            os.chmod(full, node.mode)
        for k, v in node.xattrs.items():
            os.setxattr(full, k, v, follow_symlinks=False)
        os.utime(full, ns=(node.mtime, node.mtime), follow_symlinks=False)


def scan(root):
    out, groups = {}, {}
    kinds = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if os.path.join(folder, d) != os.path.join(root, "var/lib/plyfs")]
        for full in [folder] * (folder == root) + [os.path.join(folder, n) for n in dirs + files]:
            st, path = os.lstat(full), full[len(root):] or "/"
            kind, data = kinds[stat.S_IFMT(st.st_mode)], b""
            if kind == "f":
                with open(full, "rb") as f:
                    data = f.read()
            elif kind == "l":
                data = os.readlink(full).encode()
            elif kind in "cb":
                data = st.st_rdev
            xattrs = {x: os.getxattr(full, x, follow_symlinks=False) for x in os.listxattr(full, follow_symlinks=False)}
            out[path] = Node(kind, stat.S_IMODE(st.st_mode), (st.st_uid, st.st_gid), st.st_mtime_ns, data, xattrs)
            if kind != "d" and st.st_nlink > 1:
                groups.setdefault(st.st_ino, (st.st_nlink, []))[1].append(path)
    for count, names in groups.values():
        names = frozenset(names) | ({f"and {count - len(names)} more"} if count != len(names) else set())
        for path in names & out.keys():
            out[path] = replace(out[path], names=names)
    return out


def differences(expected, found):
    """Lines, one a difference. Where the state directory is made, times are not compared."""
    out = [f"{p} should not be there" for p in sorted(found.keys() - expected.keys())]
    out += [f"{p} is not there" for p in sorted(expected.keys() - found.keys())]
    for p in sorted(expected.keys() & found.keys()):
        e, f = expected[p], found[p]
        if e.kind != f.kind:
            out.append(f"{p}: is of type {f.kind}, not {e.kind}")
            continue
        for x in ("mode", "owner", "mtime", "data", "xattrs", "names"):
            if (x in ("data", "mtime") and p in DRIVEN) or (x == "mtime" and p in ("/", "/var", "/var/lib")):
                continue
            want = frozenset() if x == "names" and len(e.names) == 1 else getattr(e, x)
            if want != getattr(f, x):
                out.append(f"{p}: {x} is {getattr(f, x)!r}, not {want!r}")
    return out


# --- machines ------------------------------------------------------------------------------------

def stanza(name):
    return (f"Package: {name}\nStatus: install ok installed\nPriority: optional\nMaintainer: Nobody <n@example.org>\n"
            f"Architecture: amd64\nVersion: 1.0-1\nDescription: made up\n\n")


class Maker:
    """The machines of one seed. A row of ROWS is a method that changes machines, and knows by what path."""

    def __init__(self, seed):
        self.seed = seed
        self.random = random.Random(seed)
        self.rows = collections.Counter()
        self.fixed = {}             # path -> rules that the row can do with, where there is a conflict
        self.groups = []            # ("paths" or glob, paths): decided together
        self.serial = 0
        self.base = {}
        self.base_machine()
        self.machines = [Sub("os", self.base, (), True)]
        if self.has_ground():
            ground = {p: n for p, n in self.base.items() if p == WEB or p.startswith(WEB + "/")}
            for p in ground:
                del self.base[p]
            self.machines.append(Sub("web", ground, ("os",), True))
        self.pending = self.draw_rows()
        self.random.shuffle(self.pending)
        self.pending.sort(key=lambda n: not n.startswith(("over", "both", "gone", "marked")))
        names = self.draw_names()
        self.prepare = []           # base is complete before machines are made
        for name in self.pending:
            getattr(self, "row_" + name.replace("-", "_"))(name)
        for name in names:
            self.machine(name)
        self.overlays = [m for m in self.machines if not m.ground and m.name != "os"]
        for f in self.prepare:
            f()
        for m in self.overlays:
            self.settle(m)

    def has_ground(self):
        """Is there a second component of the first capture?"""
        return self.chance(0.6)

    def draw_rows(self):
        return [name for name in ROWS * 2 + ["ground", "three"] if self.chance(0.75)]

    def draw_names(self):
        """Of the machines, in the order in which they are added."""
        names = ["apple", "birch", "cedar", "dune", "elm"][:self.random.choice((1, 2, 2, 3, 3, 4, 5))]
        self.random.shuffle(names)
        return names

    def chance(self, p):
        return self.random.random() < p

    def time(self):
        return (BORN + self.random.randrange(50_000_000)) * 10**9 + self.random.randrange(10**9)

    def put(self, tree, path, kind="f", **kw):
        for p in list(parents(path))[::-1]:
            if p not in tree:
                tree[p] = Node("d", 0o755, mtime=self.dir_time(p))
        kw.setdefault("mtime", self.time())
        kw.setdefault("mode", {"d": 0o755, "l": 0o777}.get(kind, 0o644))
        if isinstance(kw.get("data"), str):
            kw["data"] = kw["data"].encode()
        tree[path] = Node(kind, **kw)

    def dir_time(self, path):
        """Directories that come along are the same in all machines."""
        return (BORN + int.from_bytes(hashlib.sha256(path.encode()).digest()[:3], "big")) * 10**9 + 7

    def change(self, tree, path, **kw):
        tree[path] = replace(tree[path], **kw)

    def base_machine(self):
        b = self.base
        self.put(b, "/", "d")
        self.put(b, "/etc/os-release", data='ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n')
        self.put(b, PASSWD, data="root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nalice:x:1000:1000::/home/alice:/bin/sh\n")
        self.put(b, GROUP, data="root:x:0:\nwww-data:x:33:\nstaff:x:50:\nalice:x:1000:\n")
        self.put(b, STATUS, data=stanza("base"))
        self.put(b, "/var/lib/dpkg/info/base.list", data="/.\n/etc\n/etc/os-release\n/usr\n/usr/share\n/usr/share/base\n")
        self.put(b, "/var/lib/dpkg/arch", data="amd64\n")
        for d in ("/etc/sysctl.d", "/etc/cron.d", "/etc/logrotate.d", "/opt", "/usr/share/base", "/var/log", "/srv/app", "/home/alice"):
            self.put(b, d, "d")
        self.put(b, "/etc/ssh/ssh_host_key", data="the base's key\n", mode=0o600)
        for i in range(4):
            self.put(b, f"{WEB}/page{i}.html", data=f"page {i}\n")

    def machine(self, name):
        """A clone of what it stands on, not yet with anything of its own."""
        overlays = [m for m in self.machines if not m.ground]
        stands, tree = ("os",), dict(self.base)
        if overlays and self.chance(0.4):
            m = self.random.choice(overlays)
            stands, tree = ("os", m.name), dict(m.tree)
        elif len(self.machines) > 1 and self.machines[1].ground and self.chance(0.3):
            stands = ("os", "web")
            tree.update(self.machines[1].tree)
        self.machines.append(Sub(name, tree, stands))

    def on(self, m):
        """What a machine stands on, if it is an overlay."""
        return next((o for o in self.overlays if o.name in m.stands), None)

    def below(self, m):
        out = set()
        while m:
            out.add(m.name)
            m = self.on(m)
        return out

    def later(self, row, make, base=None):
        """make(path): called when the machines are there; base(path): when the base is made."""
        self.serial += 1
        path = f"{row}{self.serial}"
        if base:
            base(path)
        self.prepare.append(lambda: make(path))

    def pair(self):
        """Two machines of which neither stands on the other, by rank."""
        pairs = [(a, b) for i, a in enumerate(self.overlays) for b in self.overlays[i + 1:]
                 if a.name not in self.below(b) and b.name not in self.below(a)]
        return self.random.choice(pairs) if pairs else None

    def trio(self):
        for a in self.random.sample(self.overlays, len(self.overlays)):
            found = [a]
            for m in self.overlays:
                if all(m.name not in self.below(o) and o.name not in self.below(m) for o in found):
                    found.append(m)
            if len(found) > 2:
                return sorted(found[:3], key=self.overlays.index)
        return None

    def spread(self, m, path):
        """Who stands on @m has the same there, unless it is its own."""
        for o in self.overlays:
            if o is not m and m.name in self.below(o):
                for p in [q for q in o.tree if q == path or q.startswith(path + "/")]:
                    del o.tree[p]
                for p in [q for q in m.tree if q == path or q.startswith(path + "/")]:
                    for d in parents(p):
                        o.tree.setdefault(d, m.tree.get(d))
                    o.tree[p] = m.tree[p]

    def settle(self, m):
        """Directories in which something changed have another time, most of them."""
        m.tree = {p: n for p, n in m.tree.items() if n is not None}
        parent = self.on(m).tree if self.on(m) else self.base
        for p in {os.path.dirname(q) for q in m.tree if q not in parent} & parent.keys():
            if p != "/" and self.chance(0.7):
                self.change(m.tree, p, mtime=self.time())

    # --- rows: what two machines bring, and no parent has ------------------------------------------

    def siblings(self, row, folder, one, other, rules=None, suffix=""):
        """Both have a new path there: one(machine, path), other(machine, path)."""
        def make(name):
            p = self.pair()
            if not p:
                return
            path = f"{folder}/{name}{suffix}"
            for m, f in zip(p, (one, other)):
                f(m, path)
                self.spread(m, path)
            self.rows[row] += 1
            self.fixed[path] = rules
        self.later(row, make)

    def file(self, data, **kw):
        """data may have the machine's name in it: {}"""
        def make(m, path):
            self.put(m.tree, path, **kw, data=data.replace("{}", m.name) if isinstance(data, str) else data)
        return make

    def kind(self, kind, **kw):
        return lambda m, path: self.put(m.tree, path, kind, **kw)

    def row_identical(self, row):
        kw = {"mtime": self.time(), "mode": 0o640}
        f = self.file(f"the same {self.serial}\n", **kw)
        self.siblings(row, "/srv/app", f, f)

    def row_times(self, row):
        f = self.file(f"the same, at another time {self.serial}\n")
        self.siblings(row, "/srv/app", f, f)

    def row_directory(self, row):
        odd = self.random.choice(({"mode": 0o700}, {"owner": (33, 33)}, {"xattrs": {"user.a": b"1"}}))
        self.siblings(row, "/srv", self.kind("d"), self.kind("d", **odd))

    def texts(self, row, text, folder, suffix, end="\n", **kw):
        self.siblings(row, folder, self.file(text + end), self.file(text + "\n"), suffix=suffix, **kw)

    def row_append(self, row):
        folder, suffix, text = self.random.choice((
            ("/etc/mysql/conf.d", ".cnf", "[mysqld]\nkey_{} = 1\n[{}]\na = {}"), ("/etc/php/8.2/cli/conf.d", ".ini", "; {}\n{}.limit = 1"),
            ("/etc/sysctl.d", ".conf", "net.{}.limit = 1"), ("/etc/cron.d", "", "17 * * * * root /usr/bin/{}"),
            ("/etc/logrotate.d", "", "/var/log/{}.log {\n\tweekly\n\trotate 3\n}")))
        self.texts(row, text, folder, suffix)

    def row_append_open_end(self, row):
        self.texts(row, "net.ipv4.{} = 1", "/etc/sysctl.d", ".conf", end="")

    def row_keys(self, row):
        text = self.random.choice(("[mysqld]\nport = {}\n", "[a]\nx = 1\n[mysqld]\nport={}\n"))
        self.siblings(row, "/etc/mysql/conf.d", self.file(text), self.file(text), ("first", "last", "keep-both"), ".cnf")

    def vetoed(self, row, text, folder="/srv/app", suffix=""):
        self.siblings(row, folder, self.file(text), self.file(text), ("first", "last", "keep-both"), suffix)

    def row_json(self, row):
        self.vetoed(row, '{"name": "{}", "list": [1, 2]}\n', suffix=".json")

    def row_xml(self, row):
        self.vetoed(row, '<?xml version="1.0"?>\n<name>{}</name>\n', suffix=".xml")

    def row_yaml(self, row):
        self.vetoed(row, "---\nname: {}\nlist:\n  - 1\n  - 2\n", suffix=".yaml")

    def row_unit(self, row):
        self.vetoed(row, "[Unit]\nDescription={}\n\n[Service]\nExecStart=/usr/bin/{}\n", "/etc/systemd/system", ".service")

    def row_script(self, row):
        self.vetoed(row, "#!/bin/sh\necho {}\nexit 0\n", "/etc/cron.d" if self.chance(0.3) else "/usr/local/bin")

    def row_secret(self, row):
        self.vetoed(row, "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", "/etc/ssl/private", ".key")

    def row_unknown(self, row):
        f = self.file("a text by {}, of a form that nobody knows\n")
        self.siblings(row, "/srv/app", f, f, ("first", "last", "append", "keep-both"))

    def row_three(self, row):
        """Three that are no conflict, two of them the same, or three that are one."""
        def make(name):
            three = self.trio()
            if not three:
                return
            folder, text, rules = self.random.choice((("/etc/sysctl.d", "net.{} = 1\n", None), ("/srv/app", "a text by {}, of no known form\n",
                                                                                               ("first", "last", "append", "keep-both"))))
            path, same = f"{folder}/{name}.conf", not rules and self.chance(0.5)
            for i, m in enumerate(three):
                self.put(m.tree, path, data=text.replace("{}", three[1].name if same and i == 2 else m.name))
                self.spread(m, path)
            self.rows[row] += 1
            self.fixed[path] = rules
        self.later(row, make)

    def row_binary(self, row):
        self.siblings(row, "/srv/app", self.file(b"\0one" * 50), self.file(b"\0two" * 50), ("first", "last", "keep-both"))

    def row_symlink_directory(self, row):
        def folder(m, path):
            self.put(m.tree, path, "d")
            self.put(m.tree, path + "/inside", data="inside\n")
            self.put(m.tree, path + "/deep/er", data="deeper\n")
        two = [self.kind("l", data="/etc"), folder]
        self.random.shuffle(two)
        self.siblings(row, "/srv/app", *two, ("first", "last"))

    def row_file_directory(self, row):
        def folder(m, path):
            self.put(m.tree, path + "/inside", data="inside\n")
        two = [self.file("a file\n"), folder]
        self.random.shuffle(two)
        self.siblings(row, "/srv/app", *two, ("first", "last"))

    def row_file_symlink(self, row):
        two = [self.file("a file\n"), self.kind("l", data="elsewhere")]
        self.random.shuffle(two)
        self.siblings(row, "/srv/app", *two, ("first", "last", "keep-both"))

    def row_target(self, row):
        self.siblings(row, "/srv/app", self.kind("l", data="one"), self.kind("l", data="two"), ("first", "last", "keep-both"))

    def row_device(self, row):
        node = self.kind(self.random.choice("cb"), data=os.makedev(7, self.serial % 200))
        other = self.random.choice((self.file("a file\n"), self.kind("c", data=os.makedev(1, 3)), self.kind("p")))
        two = [node, other]
        self.random.shuffle(two)
        self.siblings(row, "/srv/app", *two, ("first", "last"))

    def row_owner(self, row):
        self.siblings(row, "/srv/app", self.file("of two\n"), self.file("of two\n", owner=self.random.choice(((33, 0), (0, 50), (1000, 1000)))),
                      ("first", "last"))

    def row_mode(self, row):
        self.siblings(row, "/srv/app", self.file("of two\n"), self.file("of two\n", mode=self.random.choice((0o600, 0o4755, 0o666))), ("first", "last"))

    def row_xattrs(self, row):
        two = [self.file("of two\n", xattrs={"user.a": b"1"}), self.file("of two\n", xattrs=self.random.choice(({}, {"user.a": b"2"}, {"user.b": b"1"})))]
        self.siblings(row, "/srv/app", *two, ("first", "last"))

    def row_links(self, row):
        """The same two files, but in one machine they are one."""
        def linked(m, path):
            names = frozenset((path, path + "-too"))
            for p in names:
                self.put(m.tree, p, data="linked\n", mtime=self.dir_time(path), names=names)
            self.spread(m, path + "-too")

        def alone(m, path):
            for p in (path, path + "-too"):
                self.put(m.tree, p, data="linked\n", mtime=self.dir_time(path))
            self.spread(m, path + "-too")
            if self.chance(0.5):
                self.groups.append((None, (path, path + "-too")))
            self.fixed[path + "-too"] = ("first", "last")
        two = [linked, alone]
        self.random.shuffle(two)
        self.siblings(row, "/srv/app", *two, ("first", "last"))

    def row_ground(self, row):
        """A component of the first capture, and a machine that does not stand on it."""
        def make(name):
            others = [m for m in self.overlays if not any("web" in o.stands for o in self.overlays if o.name in self.below(m))]
            if not self.machines[1].ground or not others:
                return
            m, path = self.random.choice(others), f"{WEB}/page{self.serial % 4}.html"
            if path not in m.tree and all(path not in o.tree for o in self.overlays if o.name in self.below(m) or m.name in self.below(o)):
                self.put(m.tree, path, data=f"the page of {m.name}\n")
                self.spread(m, path)
                self.rows[row] += 1
                self.fixed[path] = ("first", "last", "append")
        self.later(row, make)

    def row_glob(self, row):
        def several(m, path):
            for i in (1, 2):
                self.put(m.tree, f"{path}/{i}.txt", data=f"file {i} of {m.name} is a text\n")
                self.fixed[f"{path}/{i}.txt"] = ("first", "last", "append")
            group = (f"{path}/*", (f"{path}/1.txt", f"{path}/2.txt"))
            if group not in self.groups:
                self.groups.append(group)
        self.siblings(row, "/opt", several, several)

    def row_set(self, row):
        def pair(m, path):
            self.put(m.tree, path + ".pem", data=f"-----BEGIN CERTIFICATE-----\n{m.name}\n-----END CERTIFICATE-----\n")
            self.put(m.tree, path + ".key", data=f"-----BEGIN PRIVATE KEY-----\n{m.name}\n-----END PRIVATE KEY-----\n", mode=0o600)
            for p in (path + ".pem", path + ".key"):
                self.spread(m, p)
                self.fixed[p] = ("first", "last")
            group = (None, (path + ".pem", path + ".key"))
            if group not in self.groups:
                self.groups.append(group)
        self.siblings(row, "/srv/app", pair, pair)

    def related(self, m):
        return [o for o in self.overlays if o.name in self.below(m) or m.name in self.below(o)]

    def row_user(self, row):
        """A user of its own for each, with one number."""
        def make(name):
            p = self.pair()
            if not p:
                return
            number = self.random.randrange(101, 140)
            for m in p:
                taken = [x.tree[f].data.decode() for x in self.related(m) for f in (PASSWD, GROUP)]
                if any(f":x:{number}:" in t or f"\n{m.name}:" in t for t in taken):
                    continue
                for x in [m] + [o for o in self.related(m) if m.name in self.below(o) and o is not m]:
                    self.line(x, PASSWD, f"{m.name}:x:{number}:{number}::/srv/{m.name}:/bin/false\n")
                    self.line(x, GROUP, f"{m.name}:x:{number}:\n")
                    self.put(x.tree, f"/srv/{name}-{m.name}", data="mine\n", owner=(number, number), mode=0o600, mtime=self.dir_time(name))
            self.rows[row] += 1
        self.later(row, make)

    def line(self, m, path, text):
        self.change(m.tree, path, data=m.tree[path].data + text.encode(), mtime=self.time())

    def row_package(self, row):
        def make(name):
            p = self.pair()
            for m in p or ():
                package = f"{name}-{m.name}"
                for x in [m] + [o for o in self.related(m) if m.name in self.below(o) and o is not m]:
                    rows = sorted(x.tree[STATUS].data.decode().split("\n\n")[:-1] + [stanza(package)[:-2]])
                    self.change(x.tree, STATUS, data="".join(r + "\n\n" for r in rows).encode(), mtime=self.time())
                    for path, data in ((f"/var/lib/dpkg/info/{package}.list", f"/.\n/usr\n/usr/share\n/usr/share/{package}\n"), (f"/usr/share/{package}", "of a package\n")):
                        self.put(x.tree, path, data=data, mtime=self.dir_time(path))
            self.rows[row] += bool(p)
        self.later(row, make)

    # --- rows: one machine changes what it stands on ------------------------------------------------

    def override(self, row, folder, base, change, machines=1, rules=None):
        """@base(path) in the os; then change(machine, path) in one machine, or one for each of two."""
        where = {}

        def first(name):
            where["path"] = f"{folder}/{name}"
            base(where["path"])

        def make(_):
            path = where["path"]
            chosen = [self.random.choice(self.overlays)] if machines == 1 else self.pair()
            if not chosen:
                return
            for m, f in zip(chosen, change):
                f(m, path)
                self.spread_changes(m, path)
            self.rows[row] += 1
            self.fixed[path] = rules
        self.later(row, make, first)

    def spread_changes(self, m, path):
        self.spread(m, path)

    def of_os(self, **kw):
        return lambda path: self.put(self.base, path, **kw)

    def changing(self, **kw):
        def change(m, path):
            out = {k: v(m, path) if callable(v) else v for k, v in kw.items()}
            if "data" in out:
                out["mtime"] = self.time()
            self.change(m.tree, path, **out)
        return change

    def drop(self, m, path):
        for p in [q for q in m.tree if q == path or q.startswith(path + "/")]:
            del m.tree[p]

    def row_over_content(self, row):
        self.override(row, "/srv/app", self.of_os(data="as it was\n"), [self.changing(data=lambda m, p: f"as {m.name} has it\n".encode())])

    def row_over_mode(self, row):
        self.override(row, "/srv/app", self.of_os(data="as it was\n"), [self.changing(mode=0o600)])

    def row_over_owner(self, row):
        self.override(row, "/srv/app", self.of_os(data="as it was\n"), [self.changing(owner=(33, 50))])

    def row_over_xattrs(self, row):
        self.override(row, "/srv/app", self.of_os(data="as it was\n", xattrs={"user.a": b"1"}),
                      [self.changing(xattrs=self.random.choice(({}, {"user.a": b"2"}, {"user.a": b"1", "user.b": b"3"})))])

    def row_over_type(self, row):
        def change(m, path):
            self.drop(m, path)
            self.put(m.tree, path, "l", data="elsewhere")
        self.override(row, "/srv/app", self.of_os(data="as it was\n"), [change])

    def row_over_directory(self, row):
        def base(path):
            self.put(self.base, path, "d")
            self.put(self.base, path + "/inside", data="inside\n")
        self.override(row, "/srv/app", base, [self.changing(**self.random.choice(({"mode": 0o710}, {"owner": (0, 50)}, {"xattrs": {"user.d": b"1"}})))])

    def row_over_links(self, row):
        """One of three names of a file becomes a file of its own."""
        def base(path):
            names = frozenset((path, path + "-2", path + "-3"))
            t = self.time()
            for p in names:
                self.put(self.base, p, data="linked\n", mtime=t, names=names)

        def change(m, path):
            names = frozenset((path, path + "-2"))
            for p in names:
                self.change(m.tree, p, names=names)
            self.change(m.tree, path + "-3", names=frozenset(), data=b"on its own\n", mtime=self.time())
            for p in (path + "-2", path + "-3"):
                self.spread(m, p)
        self.override(row, "/srv/app", base, [change])

    def row_over_new(self, row):
        """What a machine adds is changed, or taken away, by one that stands on it."""
        def make(name):
            for upper in self.random.sample(self.overlays, len(self.overlays)):
                m = self.on(upper)
                if m:
                    break
            else:
                return
            path = f"/srv/app/{name}"
            self.put(m.tree, path, data="as it was added\n")
            self.spread(m, path)
            if self.chance(0.5):
                self.change(upper.tree, path, data=b"as it became\n", mtime=self.time())
            else:
                self.drop(upper, path)
            self.spread(upper, path)
            self.rows[row] += 1
        self.later(row, make)

    def row_gone_file(self, row):
        self.override(row, "/srv/app", self.of_os(data="not for long\n"), [self.drop])

    def row_gone_directory(self, row):
        self.override(row, "/srv/app", self.full, [self.drop])

    def full(self, path):
        for p in ("/a", "/b/c", "/b/d/e"):
            self.put(self.base, path + p, data="not for long\n")

    def row_gone_but_added(self, row):
        """One deletes a directory, another puts a file there: that one file is there."""
        def add(m, path):
            self.put(m.tree, path + "/b/new", data="put beside\n")
        self.override(row, "/srv/app", self.full, [self.drop, add], 2)

    def row_marked(self, row):
        """Logs and host keys are no difference."""
        def both(path):
            self.put(self.base, path, data="of the base\n")
        self.override(row, "/var/log", both, [self.changing(data=b"of another machine\n")])

    # --- rows: two machines change one path of the os ------------------------------------------------

    def row_both_attributes(self, row):
        self.override(row, "/srv/app", self.of_os(data="as it was\n"), self.shuffled(
            self.changing(data=b"another content\n"), self.changing(**self.random.choice(({"mode": 0o600}, {"owner": (33, 0)}, {"xattrs": {"user.x": b"1"}})))), 2)

    def shuffled(self, *two):
        return self.random.sample(two, 2)

    def row_both_same(self, row):
        self.override(row, "/srv/app", self.of_os(data="as it was\n"), [self.changing(data=b"as it is now\n")] * 2, 2)

    def row_both_mode(self, row):
        self.override(row, "/srv/app", self.of_os(data="as it was\n"), self.shuffled(self.changing(mode=0o600), self.changing(mode=0o755)), 2, ("first", "last"))

    def row_both_directory(self, row):
        self.override(row, "/srv/app", self.of_os(kind="d"), self.shuffled(self.changing(mode=0o700), self.changing(mode=0o775)), 2, ("first", "last"))

    def row_both_lines(self, row):
        text = "".join(f"line {i} of the file {self.serial}\n" for i in range(20))
        self.override(row, "/srv/app", self.of_os(data=text), self.shuffled(
            self.changing(data=text.replace("line 3 ", "LINE 3 ").encode()), self.changing(data=text.replace("line 15 ", "LINE 15 ").encode())), 2)

    def row_both_overlap(self, row):
        text = "".join(f"line {i} of the file {self.serial}\n" for i in range(20))
        self.override(row, "/srv/app", self.of_os(data=text), self.shuffled(
            self.changing(data=text.replace("line 3 ", "LINE 3 ").encode()), self.changing(data=text.replace("line 3 ", "Line 3 ").encode())),
            2, ("first", "last", "keep-both"))

    def row_both_binary(self, row):
        self.override(row, "/srv/app", self.of_os(data=b"\0" * 99), self.shuffled(
            self.changing(data=b"\0\1" * 50), self.changing(data=b"\0\2" * 50)), 2, ("first", "last", "keep-both"))

    def row_both_below(self, row):
        """One of two changes lines, and another one, on which it stands, the mode; or the other way round."""
        text = "".join(f"line {i} of the file {self.serial}\n" for i in range(20))

        def make(name):
            found = [(m, o) for m in self.overlays if self.on(m) for o in self.overlays
                     if self.on(m).name not in self.below(o) and o.name not in self.below(m)]
            if not found:
                return
            m, other = self.random.choice(found)
            two = self.shuffled(self.changing(data=text.replace("line 3 ", "LINE 3 ").encode()),
                                self.changing(**self.random.choice(({"mode": 0o600}, {"owner": (33, 50)}, {"xattrs": {"user.x": b"1"}}))))
            for x, f in zip((self.on(m), m, other), (*two, self.changing(data=text.replace("line 15 ", "LINE 15 ").encode()))):
                f(x, f"/srv/app/{name}")
                self.spread(x, f"/srv/app/{name}")
            self.rows[row] += 1
        self.later(row, make, lambda name: self.put(self.base, f"/srv/app/{name}", data=text))

    def row_both_gone(self, row):
        self.override(row, "/srv/app", self.of_os(data="not for long\n"), [self.drop] * 2, 2)

    def row_both_gone_changed(self, row):
        self.override(row, "/srv/app", self.of_os(data="not for long\n"), self.shuffled(self.drop, self.changing(data=b"as it is now\n")), 2, ("first", "last"))


ROWS = [n[4:].replace("_", "-") for n in vars(Maker) if n.startswith("row_")]
POLICIES = ("policy first", "policy last", "policy append", "policy keep-both", "policy by glob", "policy by set", "undecided", "--on-collision", "removed")


# --- the product, and what it makes of that ------------------------------------------------------------

def plyfs(*args, rc=0):
    r = subprocess.run(["plyfs", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=120)
    if r.returncode != rc:
        raise Failed(f"plyfs {' '.join(args)}: exit code {r.returncode}, not {rc}\n{r.stdout[-2000:]}{r.stderr[-4000:]}")
    return r


def unmount(mnt):
    """Somebody else's mount namespace may still hold it, which is told with 1."""
    r = subprocess.run(["plyfs", "umount", mnt], capture_output=True, text=True, timeout=120, check=False)
    if r.returncode and os.path.ismount(mnt):
        raise Failed(f"plyfs umount {mnt}: {r.stderr}")


def digest(node):
    if node is None:
        return "deleted"
    if node.kind == "d":
        return "directory"
    if node.kind == "l":
        return "symlink:" + node.data.decode()
    if node.kind in "cb":
        return f"{'char' if node.kind == 'c' else 'block'}:{os.major(node.data)}:{os.minor(node.data)}"
    return "fifo" if node.kind == "p" else "sha256:" + hashlib.sha256(node.data).hexdigest()


class Case:
    def __init__(self, seed, folder, maker=Maker):
        self.folder = folder
        self.maker = maker(seed)
        self.random = random.Random(f"case {seed}")
        self.image = f"{folder}/i.plyfs"
        self.hits = collections.Counter(self.maker.rows)

    def make(self):
        os.mkdir(self.folder)
        machines = self.maker.machines
        ground = [m for m in machines[1:] if m.ground]
        base = dict(machines[0].tree)
        for m in ground:
            base.update(m.tree)
        write(base, f"{self.folder}/base")
        plyfs("capture", f"{self.folder}/base", self.image, *(["-c", f"web={WEB},{WEB}/**"] if ground else []), "--level", "1", "-j", "1")
        for m in machines:
            if not m.ground and m.name != "os":
                write(m.tree, f"{self.folder}/{m.name}")
                self.add(m)
        self.composite = Composite(machines)

    def add(self, m):
        on = [n for n in m.stands if n != "os"]
        plyfs("add", self.image, m.name, f"{self.folder}/{m.name}", *(["--on", ",".join(on)] if on else []))

    def selections(self):
        names = [m.name for m in self.composite.subs]
        out = [names]
        for _ in range(2):
            some = [n for n in names if self.random.random() < 0.6]
            out.append([n for n in names if n in self.composite.closure(some)])
        return [s for i, s in enumerate(out) if s not in out[:i]]

    def conflicts(self):
        """Every path that is in conflict in some selection: all pairs of machines."""
        out, names = set(), [m.name for m in self.composite.subs]
        for i, a in enumerate(names):
            for b in names[:i]:
                out |= self.composite.view([a, b], {})[1]
        return out | self.composite.view(names, {})[1]

    def decide(self):
        """A rule for each conflict, and a file that says so."""
        conflicts = self.conflicts()
        unknown = conflicts - {p for p, rules in self.maker.fixed.items() if rules}
        if unknown:
            raise Failed(f"the generator did not mean {sorted(unknown)} to be in conflict")
        self.rules, entries, left = {}, [], set(conflicts)
        for glob, paths in self.maker.groups:
            paths = [p for p in paths if p in conflicts]
            if paths:
                rule = self.random.choice(sorted(set.intersection(*(set(self.maker.fixed[p]) for p in paths))))
                self.rules.update(dict.fromkeys(paths, rule))
                left -= set(paths)
                self.hits["policy by glob" if glob else "policy by set"] += 1
                entries.append((f"glob: {glob}" if glob else f"paths: [{', '.join(paths)}]", rule, [] if glob else paths))
        for path in sorted(left):
            self.rules[path] = self.random.choice(self.maker.fixed[path])
            entries.append((f"path: {path}", self.rules[path], [path]))
        for rule in self.rules.values():
            self.hits[f"policy {rule}"] += 1
        with open(f"{self.folder}/policy.yaml", "w", encoding="utf-8") as f:
            f.write("version: 1\nconflicts:\n" if entries else "version: 1\nconflicts: []\n")
            for what, rule, paths in entries:
                f.write(f"  - {what}\n" + "    of:\n" * bool(paths))
                for p in paths:
                    of = "{" + ", ".join(f'{n}: "{d}"' for n, d in self.contenders(p).items()) + "}"
                    f.write(f"      {p}: {of}\n" if what.startswith("paths") else f"      {of}\n")
                f.write(f"    resolve: {rule}\n")

    def contenders(self, path):
        out = {}
        for m in self.composite.subs:
            if m.name != "os" and (path in m.entries or path in m.gone):
                out[m.name] = digest(m.tree.get(path))
        return out

    def check(self, names):
        """One selection: without a decision, with all of them, with one flag."""
        undecided = self.composite.view(names, {})[1]
        if undecided:
            self.hits["undecided"] += 1
            self.refused(names, undecided)
        self.equal(names, self.composite.view(names, self.rules), ["--policy", f"{self.folder}/policy.yaml"])
        self.composite.only_append = True
        tree, undecided = self.composite.view(names, {})
        if undecided:
            self.refused(names, undecided, "--on-collision=append")
        else:
            self.equal(names, (tree, undecided), ["--on-collision=append"])
        self.hits["--on-collision"] += 1
        self.composite.only_append = False

    def refused(self, names, undecided, *options):
        s = ["-s", ",".join(names), *options]
        out = f"{self.folder}/out"
        os.mkdir(out)
        r = plyfs("layout", self.image, out, *s, "--no-sync", rc=3)
        if os.listdir(out):
            raise Failed(f"a layout that was refused has written {os.listdir(out)}")
        if not any(p in r.stderr for p in undecided):
            raise Failed(f"layout names none of {sorted(undecided)}:\n{r.stderr}")
        os.rmdir(out)
        os.makedirs(f"{self.folder}/mnt", exist_ok=True)
        plyfs("mount", self.image, f"{self.folder}/mnt", *s, rc=3)
        if os.path.ismount(f"{self.folder}/mnt"):
            unmount(f"{self.folder}/mnt")
            raise Failed("a mount that was refused is there")
        planned = self.planned(names, options, 3)
        if planned != undecided:
            raise Failed(f"plan {' '.join(s)} has not these conflicts: {sorted(undecided - planned)}; but these: {sorted(planned - undecided)}")

    def planned(self, names, options, rc):
        plan = json.loads(plyfs("plan", self.image, "-s", ",".join(names), *options, "--json", rc=rc).stdout)
        return {c["path"] for c in plan["items"] if c["decision"] == "undecided"}

    def equal(self, names, expected, options, streams=(1, 8)):
        tree, undecided = expected
        if undecided:
            raise Failed(f"the oracle's own policy leaves {sorted(undecided)}")
        s = ["-s", ",".join(names), *options]
        self.planned(names, options, 0)
        mnt, outs = f"{self.folder}/mnt", [f"{self.folder}/out{j}" for j in streams]
        os.makedirs(mnt, exist_ok=True)
        for out, j in zip(outs, streams):
            os.mkdir(out)
            plyfs("layout", self.image, out, *s, "-j", str(j), "--no-sync")
        plyfs("mount", self.image, mnt, *s)
        try:
            wrong = differences(tree, scan(outs[0]))
            wrong += [f"the mount: {w}" for w in self.unlike(mnt, outs[0])]
        finally:
            unmount(mnt)
        for out, j in zip(outs[1:], streams[1:]):
            wrong += [f"{j} streams: {w}" for w in self.unlike(outs[0], out)]
        wrong += self.driven(names, outs[0])
        if wrong:
            raise Failed(f"selection {','.join(names)} {' '.join(options)}:\n" + "\n".join(wrong[:40]))
        for out in outs:
            shutil.rmtree(out)

    def unlike(self, a, b):
        return [f"{k} {trees.show(p)}: {x} | {y}" for k, p, x, y in trees.Comparer(a, b).run()]

    def driven(self, names, out):
        """The files of drivers, as sets of lines: those of the base, and of each one's own, with its number in the image."""
        wrong = []
        for path in DRIVEN:
            cut = (lambda t: t.split("\n\n")) if path == STATUS else str.splitlines
            want, seen = [], set()
            for m in self.composite.subs:
                if m.name in names and (m.name == "os" or not m.ground):
                    for line in cut(m.tree[path].data.decode()):
                        if path != STATUS and line.split(":")[0] not in seen:
                            seen.add(line.split(":")[0])
                            want.append(self.numbered(line))
                        elif path == STATUS and line not in want:
                            want.append(line)
            with open(out + path, encoding="utf-8") as f:
                found = cut(f.read())
            if sorted(want) != sorted(found):
                wrong.append(f"{path}: lacks {sorted(set(want) - set(found))}, has {sorted(set(found) - set(want))}")
        return wrong

    def numbered(self, line):
        fields = line.split(":")
        users, groups = self.composite.ids.known
        if len(fields) > 4:
            fields[2], fields[3] = str(users[fields[0]]), str(groups.get(fields[0], int(fields[3])))
        elif len(fields) == 4:
            fields[2] = str(groups[fields[0]])
        return ":".join(fields)

    def removed(self):
        """What is removed was never there."""
        last = self.composite.subs.pop()
        if not last.ground:
            plyfs("remove", self.image, last.name)
            hits = self.hits.copy()
            self.decide()
            self.check([m.name for m in self.composite.subs])
            self.hits = hits
            self.hits["removed"] += 1

    def run(self):
        self.make()
        self.decide()
        for names in self.selections():
            self.check(names)
        plyfs("verify", self.image, "--deep")
        if self.random.random() < 0.6:
            self.removed()


def clean_up(folder):
    if os.path.ismount(f"{folder}/mnt"):
        subprocess.run(["umount", "-l", f"{folder}/mnt"], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dir")
    ap.add_argument("seeds", nargs="+", metavar="SEED")
    ap.add_argument("--keep", action="store_true", help="what has failed stays in DIR")
    ap.add_argument("--least", type=int, default=0, metavar="N")
    ap.add_argument("--make-only", action="store_true")
    ap.add_argument("--stop", action="store_true", help="at the first that fails")
    args = ap.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    seeds = []
    for s in args.seeds:
        first, _, last = s.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    hits, failed = collections.Counter(dict.fromkeys([*ROWS, *POLICIES], 0)), 0
    for seed in seeds:
        case = Case(seed, os.path.join(args.dir, str(seed)))
        try:
            if args.make_only:
                case.make()
                continue
            case.run()
        except (Failed, subprocess.TimeoutExpired) as e:
            failed += 1
            print(f"seed {seed}: {e}", flush=True)
        hits.update(case.hits)
        if not args.keep:
            clean_up(case.folder)
        if failed and args.stop:
            break
    print(f"{len(seeds)} composites, {failed} failed; hits by row:")
    for row, n in hits.items():
        print(f"  {row:22} {n}")
    few = [row for row, n in hits.items() if n < args.least]
    if few:
        print(f"hit less than {args.least} times: {', '.join(few)}")
    return 1 if failed or few else 0


if __name__ == "__main__":
    sys.exit(main())
