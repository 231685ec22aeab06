#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""layout_storm.py IMAGE REFERENCE DIR: layouts in a target in which another process works at the same time.

    layout_storm.py IMAGE REFERENCE DIR [--policy FILE] [--rounds N] [--seed N]

While a layout, a --resume or an --abort runs, this process creates, removes and renames files in the target, at names that
the layout wants too, exchanges directories with symlinks to a directory outside, and makes hard links to files of its own
and outside. REFERENCE is a layout of the same image that nobody disturbed. A layout may fail then, but

    what lies outside is as it was: names, bytes, modes, owners, times, attributes
    each file of this process has its bytes, mode, owner and time, and all the names that it gave it and did not take away
    exit code 0: all that this process did not touch is as in REFERENCE
    exit code 1: the message names a path; where it says that the target is empty, it is
    an --abort leaves nothing but what this process has made or touched

Prints a line for each round that is not so, and a summary of what has happened. Exit code 1: there were such.
"""
import argparse
import collections
import ctypes
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare as trees  # noqa: E402  (beside this file)

OWN_NS = 1_234_567_890_123_456_789
NOREPLACE, EXCHANGE = 1, 2
STATE = ("var", "lib", "plyfs")         # names that are left alone in /, /var, /var/lib
LIMIT_S = 120
libc = ctypes.CDLL(None, use_errno=True)


class Wrong(Exception):
    pass


def renameat2(a, b, fd_a, fd_b, flags):
    if libc.renameat2(fd_a, os.fsencode(a), fd_b, os.fsencode(b), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def picture(top):
    """All that must stay of the directory outside, but link counts."""
    seen = {}
    for where, dirs, files in os.walk(top):
        for name in [".", *dirs, *files]:
            path = os.path.normpath(os.path.join(where, name))
            st = os.lstat(path)
            data = b""
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    data = f.read()
            xattrs = {k: os.getxattr(path, k, follow_symlinks=False) for k in os.listxattr(path, follow_symlinks=False)}
            seen[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_ino, data, xattrs)
    return seen


class Plan:
    """What the layout makes: names by directory, directories, groups of links."""

    def __init__(self, reference):
        self.names, self.groups, self.by_path = {}, collections.defaultdict(set), {}
        for where, dirs, files in os.walk(reference):
            rel = os.path.relpath(where, reference)
            rel = "" if rel == "." else rel
            if rel == "var/lib":
                dirs[:] = [d for d in dirs if d != "plyfs"]
            self.names[rel] = dirs + files
            for name in files:
                path = os.path.join(rel, name)
                st = os.lstat(os.path.join(where, name))
                if st.st_nlink > 1:
                    self.groups[st.st_ino].add(path)
                    self.by_path[path] = st.st_ino
        self.dirs = sorted(self.names)

    def others(self, path):
        return self.groups.get(self.by_path.get(path), ())


class Storm:
    def __init__(self, args, plan, rng, round_no):
        self.args, self.plan, self.rng = args, plan, rng
        self.target = os.path.join(args.dir, "target")
        self.victim = os.path.join(args.dir, "victim")
        for path in (self.target, self.victim):
            shutil.rmtree(path, ignore_errors=True)
            os.mkdir(path)
        os.makedirs(f"{self.victim}/sub/deep")
        for i in range(6):
            with open(f"{self.victim}/{'sub/' * (i % 2)}{i}", "w", encoding="ascii") as f:
                f.write(f"victim {i}\n" * 50)
        os.chmod(f"{self.victim}/0", 0o4755)
        for where, dirs, files in os.walk(self.victim, topdown=False):
            for name in [*files, "."]:
                os.utime(os.path.join(where, name), ns=(OWN_NS, OWN_NS))
        self.before = picture(self.victim)
        self.root = os.open(self.target, os.O_RDONLY | os.O_DIRECTORY)
        self.dev = os.fstat(self.root).st_dev
        self.aim = rng.choice((0.7, 0.1, 0.01))     # how often it takes a name that the layout wants; most end the layout
        self.own = {}           # inode: [names that it has, bytes]
        self.touched = set()
        self.count = 0
        self.done = collections.Counter()
        self.log = []

    # --- one thing

    def open_dir(self, path):
        fd = os.dup(self.root)
        for name in path.split("/") if path else []:
            try:
                down = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = down
        return fd

    def pick(self):
        """A directory, and a name in it: one that the layout wants, or another."""
        path = self.rng.choice(self.plan.dirs)
        names = self.plan.names[path]
        if names and self.rng.random() < self.aim:
            name = self.rng.choice(names)
        else:
            name = f"storm {self.rng.randrange(12)}"
        if name in STATE and path in ("", "var", "var/lib"):
            name = "storm"
        return path, name

    def touch(self, path, name):
        full = os.path.join(path, name)
        self.touched.add(full)
        self.touched.update(self.plan.others(full))

    def create(self, fd, path, name):
        text = b"storm %d of %d\n" % (self.count, self.args.seed)
        f = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=fd)
        os.write(f, text)
        os.fchown(f, 0, 0)      # not what a directory with setgid gives
        os.fchmod(f, 0o640)
        os.utime(f, ns=(OWN_NS, OWN_NS))
        self.own[os.fstat(f).st_ino] = [1, text]
        os.close(f)

    def unlink(self, fd, path, name):
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(st.st_mode):
            os.rmdir(name, dir_fd=fd)
            return
        os.unlink(name, dir_fd=fd)
        if st.st_ino in self.own:
            self.own[st.st_ino][0] -= 1
            if not self.own[st.st_ino][0]:
                del self.own[st.st_ino]

    def replace(self, fd, path, name):
        self.unlink(fd, path, name)
        self.create(fd, path, name)

    def mkdir(self, fd, path, name):
        os.mkdir(name, 0o755, dir_fd=fd)

    def symlink(self, fd, path, name):
        os.symlink(self.victim + self.rng.choice(("", "/sub", "/0", "/1")), name, dir_fd=fd)

    def rename(self, fd, path, name):
        other, new = self.pick()
        to = self.open_dir(other)
        try:
            renameat2(name, new, fd, to, NOREPLACE)
        finally:
            os.close(to)
        self.touch(other, new)

    def exchange(self, fd, path, name):
        """A directory with a symlink that leads out, in one step."""
        link = f"storm link {self.rng.randrange(4)}"
        self.touch(path, link)
        if link not in os.listdir(fd):
            os.symlink(self.victim + self.rng.choice(("", "/sub")), link, dir_fd=fd)
        renameat2(name, link, fd, fd, EXCHANGE)

    def link_outside(self, fd, path, name):
        os.link(self.victim + self.rng.choice(("/0", "/2", "/sub/1", "/sub/3")), name, dst_dir_fd=fd, follow_symlinks=False)

    def link_own(self, fd, path, name):
        other, old = self.pick()
        at = self.open_dir(other)
        try:
            ino = os.stat(old, dir_fd=at, follow_symlinks=False).st_ino
            if ino in self.own:
                os.link(old, name, src_dir_fd=at, dst_dir_fd=fd, follow_symlinks=False)
                self.own[ino][0] += 1
        finally:
            os.close(at)

    def replace_by_link(self, fd, path, name):
        self.unlink(fd, path, name)
        self.link_outside(fd, path, name)

    THINGS = [create] * 3 + [replace] * 4 + [unlink] * 2 + [mkdir, symlink, rename, exchange, exchange, link_outside, link_own,
                                                           replace_by_link, replace_by_link]

    def one(self):
        self.count += 1
        path, name = self.pick()
        thing = self.rng.choice(self.THINGS)
        try:
            fd = self.open_dir(path)
        except OSError:
            return
        try:
            self.touch(path, name)
            thing(self, fd, path, name)
            self.done[thing.__name__] += 1
        except OSError:
            pass
        finally:
            os.close(fd)

    # --- a verb, in the storm

    def run(self, *verb, kill_after=None, most=None):
        """Exit code, and message. @most: things to do, then it may go on alone."""
        argv = ["plyfs", "layout", self.args.image, self.target, "-j", str(self.rng.randint(1, 3)), *verb]
        if self.args.policy and "--abort" not in verb:
            argv += ["--policy", self.args.policy]
        if self.rng.random() < 0.7:
            argv.append("--no-sync")
        start = time.monotonic()
        child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        did, killed = 0, False
        while child.poll() is None:
            if time.monotonic() - start > LIMIT_S:
                child.kill()
                raise Wrong("it hangs")
            if kill_after is not None and time.monotonic() - start > kill_after and not killed:
                child.kill()
                killed = True
            if most is None or did < most:
                # not before there is something to disturb
                if os.listdir(self.root):
                    self.one()
                    did += 1
            else:
                time.sleep(0.001)
        said = child.stderr.read().decode("utf-8", "replace").strip()
        child.stderr.close()
        rc = child.returncode
        self.log.append(f"{' '.join(argv[4:])} ({did} things{', killed' if killed else ''}): {rc}: {said[-400:]}")
        if rc not in (0, 1) and not (killed and rc == -9):
            raise Wrong(f"exit code {rc}")
        if rc == 1 and not re.search(r"(^|[\s(])(/|" + re.escape(self.target) + ")", said):
            raise Wrong("the message names no path")
        quiet = most is not None and did >= most
        if quiet and "is empty again" in said and os.listdir(self.root):
            raise Wrong(f"it says that the target is empty: {os.listdir(self.root)[:5]}")
        self.intact()
        if rc == 0 and "--abort" not in verb:
            self.rest_is_right()
        return rc

    # --- what must be true

    def intact(self):
        now = picture(self.victim)
        if now != self.before:
            odd = [p for p in now.keys() | self.before.keys() if now.get(p) != self.before.get(p)]
            raise Wrong(f"outside the target: {[(p, self.before.get(p), now.get(p)) for p in odd[:3]]}")
        found = collections.defaultdict(list)
        for where, _, files in os.walk(self.target):
            for name in files:
                path = os.path.join(where, name)
                found[os.lstat(path).st_ino].append(path)
        for ino, (names, text) in self.own.items():
            paths = found.get(ino, [])
            if len(paths) < names:
                raise Wrong(f"of a foreign file with {names} names, {text!r}, there are {paths}")
            st = os.lstat(paths[0])
            is_now = (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns)
            with open(paths[0], "rb") as f:
                if f.read() != text or is_now != (0o640, 0, 0, OWN_NS):
                    raise Wrong(f"a foreign file was changed: {paths[0]}, {is_now}")

    def was_touched(self, path):
        while path:
            if path in self.touched:
                return True
            path = os.path.dirname(path)
        return False

    def rest_is_right(self):
        above = {os.path.dirname(p) for p in self.touched}
        wrong = []
        for kind, path, a, b in trees.Comparer(self.args.reference, self.target).run():
            path = os.fsdecode(path)
            if not self.was_touched(path) and not (path in above and kind in ("mtime", "nlink")):
                wrong.append((kind, path, a, b))
        if wrong:
            raise Wrong(f"exit code 0, and what nobody touched is not right: {wrong[:4]}")

    def nothing_else(self):
        for where, dirs, files in os.walk(self.target):
            rel = os.path.relpath(where, self.target)
            for name in files:
                path = name if rel == "." else os.path.join(rel, name)
                if not self.was_touched(path) and os.lstat(os.path.join(where, name)).st_ino not in self.own:
                    raise Wrong(f"an --abort leaves {path}")

    def round(self):
        rng = self.rng
        rc = self.run(kill_after=rng.choice((None, None, rng.random() * self.args.took)),
                      most=rng.choice((None, rng.randrange(1, 40), rng.randrange(1, 2000))))
        if rng.random() < 0.6:
            self.run("--resume", kill_after=rng.choice((None, None, rng.random() * self.args.took)),
                     most=rng.choice((None, rng.randrange(1, 2000))))
        self.run("--abort", "--all", most=rng.choice((None, 0, rng.randrange(1, 2000))))
        # what was killed, or had to leave something
        rc = self.run("--abort", "--all", most=0)
        self.nothing_else()
        return rc

    def end(self):
        os.close(self.root)


def undisturbed(args):
    """How long a layout takes."""
    target = f"{args.dir}/target"
    shutil.rmtree(target, ignore_errors=True)
    os.mkdir(target)
    start = time.monotonic()
    subprocess.run(["plyfs", "layout", args.image, target, "-j", "2"] + (["--policy", args.policy] if args.policy else []),
                   check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("image")
    ap.add_argument("reference")
    ap.add_argument("dir")
    ap.add_argument("--policy")
    ap.add_argument("--rounds", type=int, default=10)
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    trees.raise_limits()
    args.dir = os.path.abspath(args.dir)
    os.makedirs(args.dir, exist_ok=True)
    plan = Plan(args.reference)
    args.took = undisturbed(args)
    bad, done, exits = 0, collections.Counter(), collections.Counter()
    for i in range(args.rounds):
        storm = Storm(args, plan, random.Random(f"{args.seed} {i}"), i)
        try:
            exits[storm.round()] += 1
        except Wrong as e:
            bad += 1
            print(f"round {i} of seed {args.seed}: {e}\n    " + "\n    ".join(storm.log), flush=True)
        storm.end()
        done.update(storm.done)
    print(f"seed {args.seed}: {args.rounds} rounds, {bad} wrong; done meanwhile: {dict(done)}")
    if args.rounds >= 100 and any(not done[t.__name__] for t in Storm.THINGS):
        print("something was never done")
        return 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
