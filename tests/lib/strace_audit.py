#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""strace_audit.py LOG --target DIR: did what strace saw overwrite anything, or touch anything outside DIR?

    strace -f -yy -s 512 -e trace=$(strace_audit.py --trace) -e inject=io_uring_setup:error=EPERM -o LOG COMMAND...
    strace_audit.py LOG --target DIR [--exchange PATH]... [--also PATH]...

Wrong, also where the call has failed, is

    an open that creates without O_EXCL          a creat(), a truncate() by path
    an open of what exists for writing           a rename without RENAME_NOREPLACE
    an exchange of other paths than --exchange   (from DIR: what a plan lists as merged or updated)
    a mount, a chroot, another program           an io_uring that was not refused, since nobody sees what it does
    a write, a new name, a removal, or changed metadata outside DIR

but for the state of a layout (DIR/var/lib/plyfs, and DIR/.plyfs.*, as which it is made and taken away), where files may be opened again and names
replaced; and for descriptors 1 and 2, terminals, /dev/null, and --also. DIR is real, without symlinks. Prints what is wrong, and how many calls
of each kind there were. Exit code 1: something is wrong, or the log shows nothing at all.
"""
import argparse
import collections
import os
import re
import sys

OPENS = {"open": None, "openat": 0, "openat2": 0, "creat": None}
# name: for each path that the call changes, its arguments (directory, name); None: the current directory
PATHS = {"link": [(None, 1)], "linkat": [(2, 3)], "symlink": [(None, 1)], "symlinkat": [(1, 2)], "mkdir": [(None, 0)],
         "mkdirat": [(0, 1)], "mknod": [(None, 0)], "mknodat": [(0, 1)], "unlink": [(None, 0)], "unlinkat": [(0, 1)],
         "rmdir": [(None, 0)], "truncate": [(None, 0)], "chmod": [(None, 0)], "fchmodat": [(0, 1)], "fchmodat2": [(0, 1)],
         "chown": [(None, 0)], "lchown": [(None, 0)], "fchownat": [(0, 1)], "utime": [(None, 0)], "utimes": [(None, 0)],
         "utimensat": [(0, 1)], "futimesat": [(0, 1)], "setxattr": [(None, 0)], "lsetxattr": [(None, 0)],
         "removexattr": [(None, 0)], "lremovexattr": [(None, 0)], "rename": [(None, 0), (None, 1)],
         "renameat": [(0, 1), (2, 3)], "renameat2": [(0, 1), (2, 3)]}
# name: the descriptor that it changes
DESCRIPTORS = {"write": 0, "writev": 0, "pwrite64": 0, "pwritev": 0, "pwritev2": 0, "ftruncate": 0, "fallocate": 0, "fchmod": 0,
               "fchown": 0, "fsetxattr": 0, "fremovexattr": 0, "copy_file_range": 2, "sendfile": 0, "splice": 2}
NEVER = ("mount", "umount2", "chroot", "pivot_root", "move_mount", "open_tree", "fsopen", "mount_setattr")
RINGS = ("io_uring_setup", "io_uring_enter", "io_uring_register")
TRACE = ["execve", *OPENS, *PATHS, *DESCRIPTORS, *NEVER, *RINGS]
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b"}
LINE = re.compile(r"^(?:(\d+)\s+)?(\w+)\((.*)\)\s*= (.*)$")
UNFINISHED = re.compile(r"^(?:(\d+)\s+)?(\w+)\((.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(?:(\d+)\s+)?<\.\.\. (\w+) resumed>(.*)$")
DESCRIPTOR = re.compile(r"^(-?\d+|AT_FDCWD)(?:<(.*)>)?(\(deleted\))?$", re.S)
FREE = re.compile(r"^(/dev/(null|zero|tty|pts/\d+)|(pipe|socket|anon_inode|TCP|UNIX|UNIX-STREAM):.*)")


def plain(text):
    """What strace has escaped."""
    def one(m):
        e = m.group(1)
        return chr(int(e, 8)) if e[0] in "01234567" else ESCAPES.get(e, e)
    return re.sub(r"\\([0-7]{1,3}|.)", one, text, flags=re.S)


def split(text):
    """Arguments: at commas that stand in no string, bracket or path."""
    out, depth, quoted, at, i = [], 0, False, 0, 0
    while i < len(text):
        c = text[i]
        if c == "\\":
            i += 1
        elif c == '"':
            quoted = not quoted
        elif not quoted and c in "([{<":
            depth += c != "<" or text[i + 1:i + 2] not in ("<", " ", "=")     # 1<<8 is no path
        elif not quoted and c in ")]}>":
            depth = max(0, depth - 1)
        elif not quoted and not depth and c == ",":
            out.append(text[at:i].strip())
            at = i + 1
        i += 1
    return [*out, text[at:].strip()] if text.strip() else []


def string(arg):
    """Of a quoted argument; None: it is none (NULL)."""
    m = re.match(r'^"((?:[^"\\]|\\.)*)"(\.\.\.)?', arg, re.S)
    if m and m.group(2):
        raise ValueError(f"a path was cut: {arg[:80]}")
    return plain(m.group(1)) if m else None


class Audit:
    def __init__(self, target, exchange=(), also=(), cwd=None):
        self.target = os.path.normpath(target)
        self.exchange = {os.path.normpath(self.target + "/" + p.lstrip("/")) for p in exchange}
        self.also = {os.path.normpath(p) for p in also}
        self.cwd = cwd or os.getcwd()
        self.open_as = {}                # descriptor: path
        self.calls = collections.Counter()
        self.creating = 0
        self.wrong = []
        self.line = ""

    def bad(self, why):
        self.wrong.append((why, self.line))

    # --- paths

    def descriptor(self, arg):
        m = DESCRIPTOR.match(arg)
        if not m:
            raise ValueError(f"no descriptor: {arg[:80]}")
        path = plain(m.group(2)) if m.group(2) is not None else None
        if m.group(1) == "AT_FDCWD":
            return path or self.cwd
        if path is not None:
            self.open_as[int(m.group(1))] = path
        return path if path is not None else self.open_as.get(int(m.group(1)), "?")

    def path(self, args, at, name):
        base = self.cwd if at is None else self.descriptor(args[at])
        text = string(args[name])
        if not text:                         # AT_EMPTY_PATH, or utimensat(FD, NULL)
            return base
        m = re.match(r"^/(?:proc/self|dev)/fd/(\d+)(/.*)?$", text)
        if m:
            text = self.open_as.get(int(m.group(1)), "?") + (m.group(2) or "")
        return os.path.normpath(os.path.join(base, text))

    def inside(self, path):
        return path == self.target or path.startswith(self.target + "/")

    def in_state(self, path):
        return path == self.target + "/var/lib/plyfs" or path.startswith((self.target + "/var/lib/plyfs/", self.target + "/.plyfs."))

    def must_be_inside(self, path, what):
        if not self.inside(path) and path not in self.also and not FREE.match(path):
            self.bad(f"{what} outside the target: {path}")

    # --- calls

    def opened(self, name, args, ret):
        at = OPENS[name]
        i = 0 if at is None else 1
        path = self.path(args, at, i)
        flags = set(re.findall(r"O_\w+", args[i + 1])) if name != "creat" else {"O_CREAT", "O_WRONLY", "O_TRUNC"}
        m = re.match(r"^(\d+)<(.*)>", ret, re.S)
        if m:
            self.open_as[int(m.group(1))] = plain(m.group(2))
        real = plain(m.group(2)).removesuffix("(deleted)") if m else path
        if not flags & {"O_CREAT", "O_WRONLY", "O_RDWR", "O_TRUNC", "O_TMPFILE"} or "O_PATH" in flags:
            return
        self.must_be_inside(path, "an open for writing")
        self.must_be_inside(real, "an open for writing")
        if "O_TMPFILE" in flags or self.in_state(real) or path in self.also or FREE.match(path):
            return
        self.creating += 1
        if "O_CREAT" in flags and "O_EXCL" not in flags:
            self.bad(f"creates without O_EXCL: {path}")
        elif "O_CREAT" not in flags:
            self.bad(f"opens what exists for writing: {path}")

    def renamed(self, name, args, a, b):
        if self.in_state(a) and self.in_state(b):
            return
        flags = args[4] if name == "renameat2" else ""
        if "RENAME_EXCHANGE" in flags:
            if a not in self.exchange and b not in self.exchange:
                self.bad(f"exchanges what is neither merged nor updated: {a} with {b}")
        elif "RENAME_NOREPLACE" not in flags:
            self.bad(f"renames without RENAME_NOREPLACE: {a} to {b}")

    def call(self, name, args, ret):
        self.calls[name] += 1
        if name in OPENS:
            self.opened(name, args, ret)
        elif name in PATHS:
            paths = [self.path(args, at, i) for at, i in PATHS[name]]
            for p in paths:
                self.must_be_inside(p, name)
            if name.startswith("rename"):
                self.renamed(name, args, *paths)
            elif name == "truncate" and not self.in_state(paths[0]):
                self.bad(f"truncates what exists: {paths[0]}")
        elif name in DESCRIPTORS:
            arg = args[DESCRIPTORS[name]]
            path = self.descriptor(arg)
            if arg.split("<")[0] not in ("1", "2"):
                self.must_be_inside(path, name)
        elif name in RINGS and not ret.startswith("-1"):
            self.bad("an io_uring")
        elif name in NEVER and not (name == "open_tree" and "OPEN_TREE_CLONE" not in " ".join(args)):
            self.bad(f"a {name}")
        elif name == "execve" and self.calls[name] > 1:
            self.bad("runs another program")

    def read(self, lines):
        begun = {}
        for line in lines:
            self.line = line = line.rstrip("\n")
            m = UNFINISHED.match(line)
            if m:
                begun[m.group(1)] = m.group(3)
                continue
            m = RESUMED.match(line)
            if m:
                line = f"{m.group(2)}({begun.pop(m.group(1), '')}{m.group(3)}"
            m = LINE.match(line)
            if not m:                        # signals, exits
                continue
            try:
                self.call(m.group(2), split(m.group(3)), m.group(4))
            except (ValueError, IndexError) as e:
                self.bad(f"cannot be read: {e}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("log", nargs="?")
    ap.add_argument("--target")
    ap.add_argument("--exchange", action="append", default=[], metavar="PATH")
    ap.add_argument("--also", action="append", default=[], metavar="PATH")
    ap.add_argument("--cwd")
    ap.add_argument("--trace", action="store_true", help="print what strace has to trace")
    args = ap.parse_args()
    if args.trace:
        print(",".join("?" + name for name in TRACE))
        return 0
    if not args.log or not args.target:
        ap.error("LOG and --target are needed")
    audit = Audit(args.target, args.exchange, args.also, args.cwd)
    with open(args.log, encoding="utf-8", errors="surrogateescape") as f:
        audit.read(f)
    for why, line in audit.wrong[:50]:
        print(f"{why}\n    {line[:300]}")
    n = sum(audit.calls.values())
    print(f"{n} calls, {audit.creating} files opened to be written outside of the state, {len(audit.wrong)} wrong: "
          + ", ".join(f"{k} {v}" for k, v in sorted(audit.calls.items())))
    return 1 if audit.wrong or n < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
