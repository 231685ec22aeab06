#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""write.py COMMAND DIR: what a shell cannot ask of a writable file system. Each works in DIR, which must be empty,
leaves it empty, and is to succeed on ext4, too (that is how these were checked).

    renames    RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT
    tmpfile    O_TMPFILE: linked, not linked, and O_EXCL
    mapped     written through a shared mapping; read, truncated, written again
    seeks      SEEK_DATA and SEEK_HOLE see what is not written yet, also behind the old end
    copies     copy_file_range: within a file, between two, holes, behind the end
    falls      fallocate: longer, kept size, punched, zeroed; what is refused
    orphans    files, directories that are open, and have no name
    killed     setuid, setgid and capabilities go with write, truncate, chown; not with root's chmod
    acls       inherited, chmod, plain ones vanish, setgid of who is not in the group
    times      birth, change; utime after a write holds; a second write changes mtime
    dirseek    telldir and seekdir while names come and go
    endless    a directory whose entries are renamed, and removed, while it is read, ends
    direct     O_DIRECT beside the page cache
    many N     N files made, renamed, removed by four processes at once
"""
import ctypes
import errno
import mmap
import os
import stat
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH, COLLAPSE, ZERO = 1, 2, 8, 16


def same(found, wanted):
    if found != wanted:
        raise AssertionError(f"{found!r}, not {wanted!r}")


def fails(error, fn, *args, **kw):
    try:
        fn(*args, **kw)
    except OSError as e:
        same(errno.errorcode[e.errno], errno.errorcode[error])
    else:
        raise AssertionError(f"did not fail with {errno.errorcode[error]}")


def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)


def rename(a, b, flags):
    call("renameat2", AT_FDCWD, a.encode(), AT_FDCWD, b.encode(), flags)


def fallocate(fd, mode, off, length):
    call("fallocate", fd, mode, ctypes.c_longlong(off), ctypes.c_longlong(length))


def put(path, data, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def as_user(uid, gid, fn, *args):
    """What @fn raises is raised here, too."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            fn(*args)
            os._exit(0)
        except BaseException as e:  # pylint: disable=broad-except
            print(f"as {uid}: {e!r}", file=sys.stderr)
            os._exit(1)
    same(os.waitpid(pid, 0)[1], 0)


def renames():
    put("a", b"a")
    put("b", b"b")
    fails(errno.EEXIST, rename, "a", "b", NOREPLACE)
    rename("a", "c", NOREPLACE)
    same(sorted(os.listdir()), ["b", "c"])
    os.mkdir("d")
    put("d/x", b"x")
    rename("c", "d", EXCHANGE)
    same((get("d"), get("c/x")), (b"a", b"x"))
    same((os.stat(".").st_nlink, os.stat("c").st_nlink), (3, 2))
    os.mkdir("e")
    os.mkdir("e/f")
    rename("e/f", "d", EXCHANGE)              # a directory and a file, of two parents
    same((get("e/f"), os.stat("d/..").st_ino), (b"a", os.stat(".").st_ino))
    same((os.stat(".").st_nlink, os.stat("e").st_nlink), (5, 2))
    rename("b", "g", WHITEOUT)
    st = os.stat("b")
    same((stat.S_ISCHR(st.st_mode), st.st_rdev, get("g")), (True, 0, b"b"))
    fails(errno.EINVAL, rename, "g", "h", NOREPLACE | EXCHANGE)
    fails(errno.ENOENT, rename, "g", "nothing", EXCHANGE)
    fails(errno.EINVAL, os.rename, "e", "e/f2")
    os.unlink("b")
    os.unlink("g")
    os.unlink("c/x")
    os.unlink("e/f")
    for d in "cde":
        os.rmdir(d)


def tmpfile():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"nameless" * 1000)
    st = os.fstat(fd)
    same((st.st_nlink, stat.S_IMODE(st.st_mode), st.st_size, os.listdir()), (0, 0o640, 8000, []))
    call("linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, b"named", 0x400)
    same((os.fstat(fd).st_nlink, os.stat("named").st_ino), (1, st.st_ino))
    os.pwrite(fd, b"N", 0)
    os.close(fd)
    same(get("named"), b"N" + (b"nameless" * 1000)[1:])
    os.unlink("named")
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    fails(errno.ENOENT, call, "linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, b"named", 0x400)
    os.close(fd)
    same(os.listdir(), [])


def mapped():
    size = 3 * mmap.PAGESIZE + 100
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
    os.truncate(fd, size)
    m = mmap.mmap(fd, size)
    m[0:5] = b"begin"
    m[2 * mmap.PAGESIZE:2 * mmap.PAGESIZE + 3] = b"mid"
    m[size - 3:size] = b"end"
    same(os.pread(fd, 5, 0), b"begin")
    os.pwrite(fd, b"BEGIN", 0)
    same(m[0:5], b"BEGIN")
    m.flush()
    os.close(fd)
    m[1:2] = b"_"                              # the mapping outlives the descriptor
    m.close()
    wanted = bytearray(size)
    wanted[0:5], wanted[2 * mmap.PAGESIZE:2 * mmap.PAGESIZE + 3], wanted[size - 3:] = b"B_GIN", b"mid", b"end"
    same(get("f"), bytes(wanted))
    os.truncate("f", 3)
    os.truncate("f", size)
    same(get("f"), b"B_G" + bytes(size - 3))
    os.unlink("f")


def extents(fd):
    """Where data is, by seeking."""
    found, at, end = [], 0, os.fstat(fd).st_size
    while at < end:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            same(e.errno, errno.ENXIO)
            break
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        found.append((begin, at))
    return found


def seeks():
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"x" * 8192, 0)              # in the page cache, behind the end that the daemon knows
    same(extents(fd), [(0, 8192)])
    os.pwrite(fd, b"y" * 4096, 1 << 20)
    same(extents(fd), [(0, 8192), (1 << 20, (1 << 20) + 4096)])
    same(os.pread(fd, 4, 1 << 20), b"yyyy")
    other = os.open("f", os.O_RDONLY)
    os.pwrite(fd, b"z" * 4096, 65536)
    same(extents(other), [(0, 8192), (65536, 69632), (1 << 20, (1 << 20) + 4096)])
    os.close(fd)
    same(extents(other), [(0, 8192), (65536, 69632), (1 << 20, (1 << 20) + 4096)])
    fails(errno.ENXIO, os.lseek, other, 2 << 20, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, other, 2 << 20, os.SEEK_HOLE)
    os.close(other)
    os.unlink("f")


def copies():
    data = os.urandom(300000)
    put("a", data)
    a, b = os.open("a", os.O_RDWR), os.open("b", os.O_RDWR | os.O_CREAT, 0o644)
    same(copy(a, 0, b, 5000, 100000), 100000)
    same(get("b"), bytes(5000) + data[:100000])
    same(copy(a, 290000, b, 1, 100000), 10000)
    same(get("b")[:10001], b"\0" + data[290000:])
    same(copy(a, 300000, b, 0, 10), 0)
    same(copy(a, 0, a, 400000, 4096), 4096)
    same(get("a"), data + bytes(100000) + data[:4096])
    os.pwrite(a, b"changed", 0)                # what was copied does not change with it
    same(get("b")[10001:20000], (bytes(5000) + data)[10001:20000])
    os.close(a)
    os.close(b)
    os.unlink("a")
    os.unlink("b")


def copy(src, src_off, dst, dst_off, n):
    done = 0
    while done < n:
        k = os.copy_file_range(src, dst, n - done, src_off + done, dst_off + done)
        if not k:
            break
        done += k
    return done


def falls():
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
    fallocate(fd, 0, 0, 10000)
    same((os.fstat(fd).st_size, get("f")), (10000, bytes(10000)))
    fallocate(fd, KEEP_SIZE, 0, 50000)
    same(os.fstat(fd).st_size, 10000)
    data = os.urandom(40960)
    os.pwrite(fd, data, 0)
    fallocate(fd, PUNCH | KEEP_SIZE, 4096, 8192)
    same(get("f"), data[:4096] + bytes(8192) + data[12288:])
    os.fsync(fd)
    same(extents(fd), [(0, 4096), (12288, 40960)])
    fallocate(fd, ZERO, 30000, 20000)
    same(get("f"), data[:4096] + bytes(8192) + data[12288:30000] + bytes(20000))
    fallocate(fd, PUNCH | KEEP_SIZE, 100, 50)
    same(get("f")[:4096], data[:100] + bytes(50) + data[150:4096])
    fails(errno.EINVAL, fallocate, fd, 0, 0, 0)
    fails(errno.EOPNOTSUPP, fallocate, fd, PUNCH, 0, 4096)
    os.close(fd)
    os.unlink("f")


def orphans():
    put("f", b"old" * 5000)
    fd = os.open("f", os.O_RDWR)
    os.unlink("f")
    put("f", b"new")
    same((os.fstat(fd).st_nlink, os.pread(fd, 3, 0), os.fstat(fd).st_size), (0, b"old", 15000))
    os.pwrite(fd, b"more", 20000)
    os.ftruncate(fd, 20002)
    same(os.pread(fd, 100, 20000), b"mo")
    other = os.open("f", os.O_RDONLY)
    put("g", b"over")
    os.rename("g", "f")                        # the second one loses its name, too
    same((os.pread(other, 9, 0), get("f"), os.fstat(other).st_nlink), (b"new", b"over", 0))
    os.close(fd)
    os.close(other)
    os.mkdir("d")
    d = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir("d")
    same((os.listdir(d), os.fstat(d).st_nlink), ([], 0))
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=d)
    fails(errno.ENOENT, os.mkdir, "x", dir_fd=d)
    os.close(d)
    os.unlink("f")


def mode_of(path):
    return oct(stat.S_IMODE(os.stat(path).st_mode))


def write_as(path, flags=0):
    fd = os.open(path, os.O_WRONLY | flags)
    os.write(fd, b"y")
    os.close(fd)


CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def killed():
    for name, mode, after in (("u", 0o4777, "0o777"), ("g", 0o2777, "0o777"), ("n", 0o2767, "0o2767"),
                              ("b", 0o6777, "0o777")):
        for what in ("write", "truncate", "open", "chown"):
            put(name, b"x")
            os.chmod(name, mode)
            if what == "write":
                as_user(1000, 1000, write_as, name)
            elif what == "truncate":
                as_user(1000, 1000, os.truncate, name, 0)
            elif what == "open":
                as_user(1000, 1000, write_as, name, os.O_TRUNC)
            else:
                os.chown(name, 1, 1)
            # setgid that means locks is not lost by writing; who is root has what there is of it judged by group
            if name != "n" or what == "chown":
                same((what, mode_of(name)), (what, after))
            os.unlink(name)
    put("c", b"x", 0o755)
    os.chmod("c", 0o777)
    for fn in (lambda: as_user(1000, 1000, write_as, "c"), lambda: as_user(1000, 1000, os.truncate, "c", 0),
               lambda: os.chown("c", 2, 2)):
        os.setxattr("c", "security.capability", CAPABILITY)
        same(os.getxattr("c", "security.capability"), CAPABILITY)
        fn()
        fails(errno.ENODATA, os.getxattr, "c", "security.capability")
    os.chmod("c", 0o4755)
    same(mode_of("c"), "0o4755")
    os.unlink("c")
    os.mkdir("d")
    os.chmod("d", 0o6777)
    os.chown("d", 3, 3)
    same(mode_of("d"), "0o6777")
    os.rmdir("d")


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def acls():
    user_obj, user, group_obj, mask, other = 1, 2, 4, 0x10, 0x20
    none = 0xffffffff
    default = acl((user_obj, 7, none), (user, 7, 1000), (group_obj, 5, none), (mask, 7, none), (other, 0, none))
    os.mkdir("d")
    os.setxattr("d", "system.posix_acl_default", default)
    old = os.umask(0o077)                      # does not count: there is a default ACL
    put("d/f", b"", 0o666)
    os.mkdir("d/sub", 0o777)
    os.umask(old)
    same(mode_of("d/f"), "0o660")
    same(os.getxattr("d/f", "system.posix_acl_access"),
         acl((user_obj, 6, none), (user, 7, 1000), (group_obj, 5, none), (mask, 6, none), (other, 0, none)))
    same((mode_of("d/sub"), os.getxattr("d/sub", "system.posix_acl_default")), ("0o770", default))
    os.chmod("d", 0o711)
    as_user(1000, 1000, write_as, "d/f")
    os.chmod("d/f", 0o640)                     # the mask follows
    same(os.getxattr("d/f", "system.posix_acl_access"),
         acl((user_obj, 6, none), (user, 7, 1000), (group_obj, 5, none), (mask, 4, none), (other, 0, none)))
    as_user(1000, 1000, lambda: fails(errno.EACCES, write_as, "d/f"))
    os.setxattr("d/f", "system.posix_acl_access", acl((user_obj, 7, none), (group_obj, 5, none), (other, 1, none)))
    same(mode_of("d/f"), "0o751")
    fails(errno.ENODATA, os.getxattr, "d/f", "system.posix_acl_access")
    fails(errno.EINVAL, os.setxattr, "d/f", "system.posix_acl_access", b"\2\0\0\0x")
    os.chown("d/f", 1000, 2000)
    os.chmod("d/f", 0o2755)
    as_user(1000, 1000, os.setxattr, "d/f", "system.posix_acl_access",
            acl((user_obj, 7, none), (user, 4, 1001), (group_obj, 5, none), (mask, 5, none), (other, 5, none)))
    same(mode_of("d/f"), "0o755")              # its owner is not in its group
    os.unlink("d/f")
    os.rmdir("d/sub")
    os.rmdir("d")


def birth_of(path):
    """In nanoseconds."""
    return int(os.popen(f"stat -c %.9W {path}").read().replace(".", ""))


CLOCK_REALTIME_COARSE = 5          # the kernel's for files


def times():
    before = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    put("f", b"x")
    st = os.stat("f")
    birth = birth_of("f")
    same((before <= birth <= st.st_mtime_ns, st.st_mtime_ns <= st.st_ctime_ns), (True, True))
    fd = os.open("f", os.O_WRONLY)
    os.write(fd, b"more")
    os.utime("f", ns=(123456789012345678, 234567890123456789))
    os.close(fd)
    st = os.stat("f")
    same((st.st_atime_ns, st.st_mtime_ns), (123456789012345678, 234567890123456789))
    same(st.st_ctime_ns >= before, True)
    write_as("f")
    same((os.stat("f").st_mtime_ns >= before, birth_of("f")), (True, birth))
    os.mkdir("d")
    os.utime("d", (5, 5))
    put("d/x", b"")
    same(os.stat("d").st_mtime_ns >= before, True)
    os.unlink("d/x")
    os.rmdir("d")
    os.unlink("f")


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("reclen", ctypes.c_ushort), ("type", ctypes.c_ubyte),
                ("name", ctypes.c_char * 256)]


def dirseek():
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.POINTER(Dirent)
    libc.readdir.argtypes = libc.telldir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    libc.telldir.restype = ctypes.c_long
    names = [f"{i:04}" for i in range(2000)]
    for name in names:
        put(name, b"")
    d = libc.opendir(b".")
    seen, places = [], []
    while len(seen) < 1000:
        places.append(libc.telldir(d))
        entry = libc.readdir(d)
        seen.append(entry.contents.name.decode())
    for name in names[::2]:
        os.unlink(name)
    for name in names[:100]:
        put("n" + name, b"")
    libc.seekdir(d, places[500])
    rest = []
    while entry := libc.readdir(d):
        rest.append(entry.contents.name.decode())
    libc.closedir(d)
    # each that was there all the time, and not before that place, comes once; what is gone may not
    stays = [n for n in names[1::2] if n not in seen[:500]]
    same(sorted(n for n in rest if not n.startswith("n") and n in stays), sorted(stays))
    same(len(rest), len(set(rest)))
    same([n for n in rest if n in seen[:500]], [])
    for name in os.listdir():
        os.unlink(name)


def endless():
    for where in (".", "d"):
        os.makedirs(where, exist_ok=True)
        for i in range(1500):
            put(f"{where}/{i}", b"")
        for _ in range(2):
            n = 0
            with os.scandir(where) as entries:
                for entry in entries:
                    if entry.name == "d":
                        continue
                    os.rename(entry.path, f"{where}/x{n}-{entry.name[-4:]}")
                    n += 1
                    same(n < 10000, True)
        d = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        before = set(os.listdir(d))
        put(f"{where}/late", b"")
        os.lseek(d, 0, os.SEEK_SET)
        same(set(os.listdir(d)) - before, {"late"})
        os.close(d)
        for name in set(os.listdir(where)) - {"d"}:
            os.unlink(f"{where}/{name}")
    os.rmdir("d")


def direct():
    page = mmap.mmap(-1, 8192)
    page[:] = b"D" * 8192
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"c" * 20000)
    d = os.open("f", os.O_RDWR | os.O_DIRECT)
    same(os.pwritev(d, [page], 4096), 8192)
    same(os.pread(fd, 20000, 0), b"c" * 4096 + b"D" * 8192 + b"c" * 7712)
    os.pwrite(fd, b"e", 4096)
    same(os.preadv(d, [page], 4096), 8192)
    same(page[:2], b"eD")
    os.close(fd)
    os.close(d)
    os.unlink("f")


def many(n):
    each = int(n) // 4

    def work(k):
        os.mkdir(f"w{k}")
        for i in range(each):
            put(f"w{k}/{i}", f"{k} {i}".encode())
            if i % 3 == 0:
                os.rename(f"w{k}/{i}", f"moved-{k}-{i}")
            elif i % 3 == 1:
                os.unlink(f"w{k}/{i}")
    pids = []
    for k in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                work(k)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    for pid in pids:
        same(os.waitpid(pid, 0)[1], 0)
    for k in range(4):
        same(sorted(os.listdir(f"w{k}")), sorted(str(i) for i in range(each) if i % 3 == 2))
        for i in range(0, each, 3):
            same(get(f"moved-{k}-{i}"), f"{k} {i}".encode())
            os.unlink(f"moved-{k}-{i}")
        for i in range(2, each, 3):
            same(get(f"w{k}/{i}"), f"{k} {i}".encode())
            os.unlink(f"w{k}/{i}")
        os.rmdir(f"w{k}")


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    same(os.listdir(), [])
    globals()[sys.argv[1]](*sys.argv[3:])
    same(os.listdir(), [])
