#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""compare.py A B: are two trees equal in everything that a mount and a layout promise?

    compare.py A B [--exclude PATH]... [--only-in-b-ok GLOB]... [--skip KIND,...] [--max N]

The oracle of the tests: it shares no code with the product. Compared are

    names and types          bytes, by content           data maps, in steps of 4 KiB
    owner  mode  rdev        mtime in nanoseconds        symlink targets
    size of regular files    all xattrs, so also ACLs and capabilities (as root: trusted. too)
    nlink, and which names are one inode: the same groups of names on both sides

Not compared, since they can't be laid out: atime, ctime, btime, inode numbers and flags, st_blocks,
st_dev, a directory's size. /var/lib/plyfs is left out on both sides; where one side has it, so are
presence, times and nlink of the directories above. `lost+found` at the top of a file system is
left out, with its link to the top. A directory's nlink of 1 means, as always, "not counted".

Names are bytes, directories are walked by descriptor: no path is too long. Of sparse files only the
data is read. Prints at most N (50) differences, as `KIND PATH: A | B`. Exit code 0: equal, 1: not, 2: could
not compare. PATH and GLOB start at the trees' roots; --skip leaves out kinds, by the names printed.
"""
import argparse
import errno
import fnmatch
import os
import resource
import stat
import sys

STEP = 4096
CHUNK = 1 << 20
STATE = b"var/lib/plyfs"
ABOVE_STATE = (b"", b"var", b"var/lib")
KINDS = ("only-in-a", "only-in-b", "type", "mode", "owner", "mtime", "nlink", "rdev", "size", "target", "xattr",
         "map", "content", "links", "error")
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device"}


def show(path):
    """A path on one line, whatever is in it."""
    text = (b"/" + path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def brief(value, limit=60):
    text = repr(value) if isinstance(value, bytes) else str(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(value)} bytes)"


def names_in(fd):
    return {os.fsencode(n) for n in os.listdir(fd)}


def xattrs_of(dirfd, name):
    """By way of /proc, since there is no listxattrat(); works for symlinks and special files."""
    path = b"/proc/self/fd/%d/%s" % (dirfd, name)
    try:
        keys = os.listxattr(path, follow_symlinks=False)
    except OSError as e:
        if e.errno == errno.ENOTSUP:
            return {}
        raise
    return {os.fsencode(k): os.getxattr(path, k, follow_symlinks=False) for k in keys}


def open_file(dirfd, name):
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=dirfd)
    except PermissionError:
        return os.open(name, flags, dir_fd=dirfd)


def data_map(fd, size):
    """The ranges that hold data, widened to whole steps: [(start, end), ...]."""
    ranges = []
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:
                break
            if e.errno == errno.EINVAL:     # a file system that knows no holes
                return [(0, size)]
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        offset = end
        start -= start % STEP
        end = min(size, end + -end % STEP)
        if ranges and ranges[-1][1] >= start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges


def union(a, b):
    out = []
    for start, end in sorted(a + b):
        if out and out[-1][1] >= start:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def pread_all(fd, n, offset):
    data = os.pread(fd, n, offset)
    while len(data) < n:
        more = os.pread(fd, n - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


class Side:
    """One tree: its root, whether that is the top of a file system, whether it has the state directory."""

    def __init__(self, root):
        self.root = root
        self.fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        here, up = os.fstat(self.fd), os.stat("..", dir_fd=self.fd)
        self.is_fs_top = here.st_dev != up.st_dev
        self.has_state = os.path.isdir(os.path.join(os.fsencode(root), STATE))

    def left_out(self, path):
        return path == STATE or (path == b"lost+found" and self.is_fs_top)

    def nlink(self, path, st):
        """A top directory is not charged for its lost+found."""
        if path == b"" and self.is_fs_top and st.st_nlink > 1:
            try:
                return st.st_nlink - stat.S_ISDIR(os.lstat(b"lost+found", dir_fd=self.fd).st_mode)
            except FileNotFoundError:
                pass
        return st.st_nlink


class Comparer:
    def __init__(self, a, b, exclude=(), only_in_b_ok=(), skip=()):
        self.a, self.b = Side(a), Side(b)
        self.exclude = {os.fsencode(p).strip(b"/") for p in exclude}
        self.only_in_b_ok = [g.lstrip("/") for g in only_in_b_ok]
        self.skip = set(skip)
        self.has_state = self.a.has_state or self.b.has_state
        self.found = []
        self.partner = ({}, {})     # inode of one side -> (inode of the other, first path)
        self.nnames = self.nbytes = 0

    def differ(self, kind, path, a="", b=""):
        if kind not in self.skip:
            self.found.append((kind, path, a, b))

    def run(self):
        """Walks both trees at once, with its own stack: trees are deeper than Python's."""
        stack = []
        st = [os.fstat(s.fd) for s in (self.a, self.b)]
        self.nnames += 1
        self.attributes(b"", *st)
        self.xattrs(b"", self.a.fd, self.b.fd, b".")
        stack.append((b"", self.a.fd, self.b.fd, self.names(b"", self.a.fd, self.b.fd)))
        while stack:
            path, fa, fb, todo = stack[-1]
            if not todo:
                stack.pop()
                os.close(fa)
                os.close(fb)
                continue
            name = todo.pop()
            sub = path + b"/" + name if path else name
            try:
                down = self.entry(sub, fa, fb, name)
            except OSError as e:
                self.differ("error", sub, e.strerror)
                continue
            if down:
                try:
                    stack.append((sub, *down, self.names(sub, *down)))
                except OSError as e:
                    self.differ("error", sub, e.strerror)
        return self.found

    def names(self, path, fa, fb):
        """Reports what only one side has; returns what both have, to be popped in order."""
        def kept(side, fd):
            full = (lambda n: path + b"/" + n) if path else (lambda n: n)
            return {n for n in names_in(fd) if not side.left_out(full(n)) and full(n) not in self.exclude}

        na, nb = kept(self.a, fa), kept(self.b, fb)
        for n in sorted(na ^ nb):
            sub = path + b"/" + n if path else n
            if self.has_state and sub in ABOVE_STATE:
                continue
            if n in na:
                self.differ("only-in-a", sub)
            elif not any(fnmatch.fnmatchcase(os.fsdecode(sub), g) for g in self.only_in_b_ok):
                self.differ("only-in-b", sub)
        return sorted(na & nb, reverse=True)

    def entry(self, path, fa, fb, name):
        """Compares one name; returns two descriptors when it is a directory on both sides."""
        sa = os.stat(name, dir_fd=fa, follow_symlinks=False)
        sb = os.stat(name, dir_fd=fb, follow_symlinks=False)
        self.nnames += 1
        kind = stat.S_IFMT(sa.st_mode)
        if kind != stat.S_IFMT(sb.st_mode):
            self.differ("type", path, TYPES[kind], TYPES[stat.S_IFMT(sb.st_mode)])
            return None
        self.attributes(path, sa, sb)
        if kind == stat.S_IFDIR:
            self.xattrs(path, fa, fb, name)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            da = os.open(name, flags, dir_fd=fa)
            try:
                return da, os.open(name, flags, dir_fd=fb)
            except OSError:
                os.close(da)
                raise
        if self.known_pair(path, sa, sb):
            return None
        self.xattrs(path, fa, fb, name)
        if kind == stat.S_IFLNK:
            ta, tb = os.readlink(name, dir_fd=fa), os.readlink(name, dir_fd=fb)
            if ta != tb:
                self.differ("target", path, brief(ta), brief(tb))
        elif kind == stat.S_IFREG and sa.st_size == sb.st_size and sa.st_size > 0:
            self.content(path, fa, fb, name, sa.st_size)
        return None

    def attributes(self, path, sa, sb):
        kind = stat.S_IFMT(sa.st_mode)
        if stat.S_IMODE(sa.st_mode) != stat.S_IMODE(sb.st_mode):
            self.differ("mode", path, f"{stat.S_IMODE(sa.st_mode):04o}", f"{stat.S_IMODE(sb.st_mode):04o}")
        if (sa.st_uid, sa.st_gid) != (sb.st_uid, sb.st_gid):
            self.differ("owner", path, f"{sa.st_uid}:{sa.st_gid}", f"{sb.st_uid}:{sb.st_gid}")
        if kind == stat.S_IFREG and sa.st_size != sb.st_size:
            self.differ("size", path, sa.st_size, sb.st_size)
        if kind in (stat.S_IFCHR, stat.S_IFBLK) and sa.st_rdev != sb.st_rdev:
            self.differ("rdev", path, f"{os.major(sa.st_rdev)}:{os.minor(sa.st_rdev)}",
                        f"{os.major(sb.st_rdev)}:{os.minor(sb.st_rdev)}")
        if self.has_state and path in ABOVE_STATE:
            return
        if sa.st_mtime_ns != sb.st_mtime_ns:
            self.differ("mtime", path, sa.st_mtime_ns, sb.st_mtime_ns)
        na, nb = self.a.nlink(path, sa), self.b.nlink(path, sb)
        if na != nb and not (kind == stat.S_IFDIR and 1 in (na, nb)):
            self.differ("nlink", path, na, nb)

    def known_pair(self, path, sa, sb):
        """Names of one inode on one side must be names of one inode on the other."""
        ia, ib = (sa.st_dev, sa.st_ino), (sb.st_dev, sb.st_ino)
        seen_a, seen_b = self.partner[0].get(ia), self.partner[1].get(ib)
        if seen_a is None and seen_b is None:
            self.partner[0][ia], self.partner[1][ib] = (ib, path), (ia, path)
            return False
        if seen_a is not None and seen_a[0] == ib:
            return True
        self.differ("links", path, f"one file with {show(seen_a[1])}" if seen_a else "a file of its own",
                    f"one file with {show(seen_b[1])}" if seen_b else "a file of its own")
        return False

    def xattrs(self, path, fa, fb, name):
        xa, xb = xattrs_of(fa, name), xattrs_of(fb, name)
        if xa == xb:
            return
        for k in sorted(xa.keys() | xb.keys()):
            va, vb = xa.get(k), xb.get(k)
            if va != vb:
                self.differ("xattr", path, f"{brief(k)} = {'none' if va is None else brief(va)}",
                            "none" if vb is None else brief(vb))

    def content(self, path, fa, fb, name, size):
        a = open_file(fa, name)
        try:
            b = open_file(fb, name)
            try:
                ma, mb = data_map(a, size), data_map(b, size)
                if ma != mb:
                    # To SEEK_DATA, what is allocated but never written is a hole until somebody reads it.
                    for fd in (a, b):
                        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    ma, mb = data_map(a, size), data_map(b, size)
                if ma != mb:
                    odd = sorted(set(ma) ^ set(mb))[0]
                    self.differ("map", path, f"{len(ma)} data ranges", f"{len(mb)} data ranges; first difference "
                                f"at {odd[0]} to {odd[1]}, data in {'A' if odd in ma else 'B'}")
                for start, end in (ma if ma == mb else union(ma, mb)):
                    for at in range(start, end, CHUNK):
                        n = min(CHUNK, end - at)
                        da, db = pread_all(a, n, at), pread_all(b, n, at)
                        self.nbytes += n
                        if da != db:
                            i = next((i for i, (x, y) in enumerate(zip(da, db)) if x != y), min(len(da), len(db)))
                            self.differ("content", path, f"byte {at + i}: {brief(da[i:i + 8])}", brief(db[i:i + 8]))
                            return
            finally:
                os.close(b)
        finally:
            os.close(a)


def raise_limits():
    """One descriptor per level and side."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("a")
    ap.add_argument("b")
    ap.add_argument("--exclude", action="append", default=[], metavar="PATH")
    ap.add_argument("--only-in-b-ok", action="append", default=[], metavar="GLOB")
    ap.add_argument("--skip", default="", metavar="KIND,...")
    ap.add_argument("--max", type=int, default=50, metavar="N")
    args = ap.parse_args()
    skip = [k for k in args.skip.split(",") if k]
    for k in skip:
        if k not in KINDS:
            ap.error(f"--skip: no kind {k!r}; there are {', '.join(KINDS)}")
    raise_limits()
    try:
        c = Comparer(args.a, args.b, args.exclude, args.only_in_b_ok, skip)
        found = c.run()
    except OSError as e:
        print(f"compare.py: {e}", file=sys.stderr)
        return 2
    for kind, path, a, b in found[:args.max]:
        print(f"{kind} {show(path)}" + (f": {a} | {b}" if a != "" else ""))
    if len(found) > args.max:
        print(f"and {len(found) - args.max} more")
    print(f"{c.nnames} names, {c.nbytes} bytes of data: " + (f"{len(found)} differences" if found else "equal"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
