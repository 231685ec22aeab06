#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""subtrees.py ROOT --bytes N --files N [--always PATH]...: what to leave out to stay below both bounds.

The largest subtrees go first, until what is left fits; --always ones go anyway. What counts as a subtree
is what lies in one of the directories that every machine has (/usr/lib, /opt, ...), so that a
machine without its largest piece of software is left, and not one without /usr. Other file systems
are not looked into. Prints a line for each, BYTES FILES d|f PATH, and for what is left: BYTES FILES = ROOT.
"""
import argparse
import os
import stat

DIVIDED = {"", "usr", "usr/lib", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/share", "usr/local", "usr/local/lib",
           "usr/local/share", "usr/bin", "usr/libexec", "var", "var/lib", "var/cache", "home", "opt", "root", "srv"}
KEPT = {"etc", "var/lib/dpkg", "bin", "sbin", "lib"}


def measure(path, dev, seen):
    """Bytes on disk and names of a subtree, hard links once."""
    nbytes = nfiles = 0
    todo = [path]
    while todo:
        p = todo.pop()
        try:
            st = os.lstat(p)
            if st.st_dev != dev:
                continue
            nfiles += 1
            if stat.S_ISDIR(st.st_mode):
                todo.extend(os.path.join(p, n) for n in os.listdir(p))
            elif st.st_nlink == 1 or st.st_ino not in seen:
                seen.add(st.st_ino)
                nbytes += st.st_blocks * 512
        except OSError:
            continue
    return nbytes, nfiles


def units(root, dev):
    """The pieces that can be left out: (bytes, files, is a directory, path without leading slash)."""
    seen = set()
    for top in sorted(DIVIDED, key=len, reverse=True):
        full = os.path.join(root, top)
        if os.path.islink(full) or not os.path.isdir(full):
            continue
        for name in os.listdir(full):
            path = os.path.join(top, name)
            if path in DIVIDED and os.path.isdir(os.path.join(root, path)) and not os.path.islink(os.path.join(root, path)):
                continue
            sub = os.path.join(root, path)
            yield (*measure(sub, dev, seen), os.path.isdir(sub) and not os.path.islink(sub), path)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("root")
    ap.add_argument("--bytes", type=int, required=True)
    ap.add_argument("--files", type=int, required=True)
    ap.add_argument("--always", action="append", default=[])
    args = ap.parse_args()
    dev = os.lstat(args.root).st_dev
    found = list(units(args.root, dev))
    nbytes, nfiles = sum(u[0] for u in found), sum(u[1] for u in found) + len(DIVIDED)

    def leave_out(b, f, is_dir, path):
        nonlocal nbytes, nfiles
        nbytes -= b
        nfiles -= f
        print(b, f, "d" if is_dir else "f", "/" + path)

    out = set()
    for path in sorted({p.strip("/") for p in args.always}, key=len):
        if not path or not os.path.lexists(os.path.join(args.root, path)) or any(path.startswith(o + "/") for o in out):
            continue
        b, f = measure(os.path.join(args.root, path), dev, set())
        leave_out(b, f, True, path)
        out.add(path)
    # a unit with always-left-out parts inside counts for what is left of it
    rest = []
    for b, f, is_dir, path in found:
        if path in out or any(path.startswith(o + "/") for o in out):
            continue
        for o in out:
            if o.startswith(path + "/"):
                ob, of = measure(os.path.join(args.root, o), dev, set())
                b, f = b - ob, f - of
        rest.append((b, f, is_dir, path))
    rest.sort(key=lambda u: (-max(u[0] / args.bytes, u[1] / args.files), u[3]))
    for u in rest:
        if nbytes <= args.bytes and nfiles <= args.files:
            break
        if u[3] not in KEPT:
            leave_out(*u)
    print(nbytes, nfiles, "=", args.root)


main()
