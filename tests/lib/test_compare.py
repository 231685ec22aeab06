#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The comparer finds every kind of difference, and nothing else. Each case changes one thing in an
equal copy, and the kinds reported must be exactly the expected ones."""
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
IS_ROOT = os.geteuid() == 0
BIG = 3_000_001
CASES = []


def case(*kinds, root=False, args=()):
    """Registers a change; @kinds is what compare.py has to report."""
    def add(fn):
        CASES.append((fn, set(kinds), root, list(args)))
        return fn
    return add


def write(path, data, at=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(fd, data, at)
    os.close(fd)


def acl(perm):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i) for t, p, i in [
        (1, 6, 0xffffffff), (2, perm, 1000), (4, 4, 0xffffffff), (0x10, 7, 0xffffffff), (0x20, 4, 0xffffffff)])


def deep_dir():
    """The deepest directory below `deep`, beyond PATH_MAX."""
    fd = os.open("deep", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(20):
        name = "d" * 250
        try:
            os.mkdir(name, dir_fd=fd)
        except FileExistsError:
            pass
        down = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = down
    return fd


def build():
    """The tree that all cases start from, in the current directory."""
    os.umask(0o022)
    for d in ("dir", "dir/sub", "deep", "odd\nname", "var", "var/lib", "lost+found"):
        os.mkdir(d)
    write("plain", b"some text\n")
    write("dir/other", b"other text\n")
    write("empty", b"")
    write("capable", b"")
    write("big", b"0123456789abcdef" * (BIG // 16) + b"x")
    write("odd\nname/\xff", b"odd")
    write("zeros", bytes(1 << 20))
    os.truncate("zeros", 1 << 20)
    write("sparse", b"head")
    write("sparse", b"middle", 500 << 30)
    os.truncate("sparse", 1 << 40)
    write("linked", b"linked")
    os.link("linked", "dir/linked")
    write("linked2", b"linked")
    os.link("linked2", "dir/linked2")
    os.symlink("plain", "symlink")
    os.link("symlink", "dir/symlink", follow_symlinks=False)
    os.mkfifo("fifo")
    sock("socket")
    os.setxattr("plain", "user.a", b"value")
    os.setxattr("plain", "user.empty", b"")
    os.setxattr("dir", "user.d", b"value")
    fd = deep_dir()
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)
    os.setxattr("plain", "system.posix_acl_access", acl(7))
    os.setxattr("dir/sub", "system.posix_acl_default", acl(5))
    if IS_ROOT:
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.setxattr("symlink", "trusted.t", b"value", follow_symlinks=False)
        os.setxattr("capable", "security.capability", struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0))
        os.setxattr(".", "trusted.top", b"value")
    settle()


def settle():
    """The same times everywhere; what a case wants to change, it changes after or undoes."""
    def one(fd):
        for name in os.listdir(fd):
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                down = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
                one(down)
                os.close(down)
            os.utime(name, ns=(10**18 + 7, 10**18 + 7), dir_fd=fd, follow_symlinks=False)
    fd = os.open(".", os.O_RDONLY)
    one(fd)
    os.utime(fd, ns=(10**18 + 7, 10**18 + 7))
    os.close(fd)


def sock(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.close()


# --- the differences, one each ------------------------------------------------------------------

@case()
def nothing():
    pass


@case("only-in-a")
def file_missing():
    os.unlink("dir/other")


@case("only-in-a", "nlink")
def directory_missing():
    os.rmdir("dir/sub")


@case("only-in-b")
def file_added():
    write("dir/new", b"")


@case("only-in-b", "only-in-a")
def name_changed():
    os.rename("odd\nname/\xff", "odd\nname/\xfe")


@case(args=["--only-in-b-ok", "/dir/ne*"])
def file_added_and_allowed():
    write("dir/new", b"")


@case("only-in-b", args=["--only-in-b-ok", "/dir/n"])
def file_added_and_another_allowed():
    write("dir/new", b"")


@case(args=["--exclude", "/dir/other", "--exclude", "empty"])
def differences_excluded():
    write("dir/other", b"O")
    os.unlink("empty")


@case("type")
def file_becomes_symlink():
    os.unlink("plain")
    os.symlink("dir/other", "plain")


@case("type", "nlink")
def file_becomes_directory():
    os.unlink("empty")
    os.mkdir("empty")


@case("type")
def fifo_becomes_socket():
    os.unlink("fifo")
    sock("fifo")


@case("mode")
def mode_changed():
    os.chmod("dir/other", 0o640)


@case("mode")
def setgid_of_directory():
    os.chmod("dir/sub", 0o2755)


@case("mode")
def mode_of_top():
    os.chmod(".", 0o711)


@case("owner", root=True)
def owner_changed():
    os.chown("dir/other", 1, 0)


@case("owner", root=True)
def group_of_symlink_changed():
    os.chown("symlink", 0, 1, follow_symlinks=False)


@case(root=True, args=["--skip", "owner"])
def owner_changed_and_skipped():
    os.chown("dir/other", 1, 0)


@case("mtime", args=["late"])
def mtime_by_a_nanosecond():
    os.utime("dir/other", ns=(0, 10**18 + 8))


@case("mtime", args=["late"])
def mtime_of_symlink():
    os.utime("symlink", ns=(0, 10**18), follow_symlinks=False)


@case("mtime", args=["late"])
def mtime_of_directory():
    os.utime("dir", ns=(0, 10**18))


@case("mtime", args=["late"])
def mtime_of_top():
    os.utime(".", ns=(0, 10**18))


@case("mtime", args=["late"])
def mtime_below_path_max():
    fd = deep_dir()
    os.utime("bottom", ns=(0, 10**18), dir_fd=fd)
    os.close(fd)


@case(args=["late"])
def atime_is_not_compared():
    os.utime("dir/other", ns=(5, 10**18 + 7))


@case("content")
def first_byte():
    write("big", b"X")


@case("content")
def last_byte():
    write("big", b"X", BIG - 1)


@case("content")
def byte_in_the_middle_of_a_sparse_file():
    write("sparse", b"MIDDLE", 500 << 30)


@case("size")
def one_byte_more():
    write("plain", b"some text\n\n")


@case("size")
def size_of_a_sparse_file():
    os.truncate("sparse", (1 << 40) - 1)


@case("map")
def hole_becomes_zeros():
    write("sparse", bytes(4096), 1 << 30)


@case("map")
def zeros_become_hole():
    os.truncate("zeros", 0)
    os.truncate("zeros", 1 << 20)


@case("map", "content")
def data_where_there_was_none():
    write("sparse", b"x", 1 << 30)


@case("target")
def symlink_target():
    os.unlink("symlink")
    os.unlink("dir/symlink")
    os.symlink("plaiN", "symlink")
    os.link("symlink", "dir/symlink", follow_symlinks=False)
    if IS_ROOT:
        os.setxattr("symlink", "trusted.t", b"value", follow_symlinks=False)


@case("rdev", root=True)
def device_number():
    os.unlink("null")
    os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 4))


@case("xattr")
def xattr_value():
    os.setxattr("plain", "user.a", b"valuE")


@case("xattr")
def xattr_removed():
    os.removexattr("plain", "user.empty")


@case("xattr")
def xattr_added_to_directory():
    os.setxattr("dir", "user.new", b"")


@case("xattr", root=True)
def trusted_xattr_of_symlink():
    os.setxattr("symlink", "trusted.t", b"", follow_symlinks=False)


@case("xattr", root=True)
def xattr_of_top():
    os.removexattr(".", "trusted.top")


@case("xattr")
def access_acl():
    os.setxattr("plain", "system.posix_acl_access", acl(6))


@case("xattr")
def default_acl():
    os.removexattr("dir/sub", "system.posix_acl_default")


@case("xattr", root=True)
def capability():
    os.setxattr("capable", "security.capability", struct.pack("<IIIII", 0x02000001, 0x401, 0, 0, 0))


@case("links", "nlink")
def link_became_a_copy():
    os.unlink("dir/linked")
    shutil.copy("linked", "dir/linked")


@case("links", "nlink")
def copies_became_links():
    os.unlink("empty")
    write("dir/empty", b"")
    os.link("dir/empty", "empty")
    os.link("dir/empty", "dir/e2")
    os.unlink("dir/e2")
    os.unlink("dir/empty")
    os.unlink("linked2")
    os.link("linked", "linked2")


@case("links")
def links_in_other_groups_of_the_same_size():
    os.rename("dir/linked", "x")
    os.rename("dir/linked2", "dir/linked")
    os.rename("x", "dir/linked2")


@case("links", "nlink")
def linked_symlinks_became_two():
    os.unlink("dir/symlink")
    os.symlink("plain", "dir/symlink")
    if IS_ROOT:
        os.setxattr("dir/symlink", "trusted.t", b"value", follow_symlinks=False)


@case("nlink")
def link_from_outside():
    os.link("plain", "../outside")


@case("nlink", args=["late"])
def links_of_a_directory():
    os.mkdir("dir/new")
    os.utime("dir", ns=(0, 10**18 + 7))
    ARGS.extend(["--only-in-b-ok", "dir/new"])


@case("only-in-b")
def lost_and_found_of_a_directory_counts():
    shutil.rmtree("dir/sub")
    os.mkdir("dir/sub")
    os.setxattr("dir/sub", "system.posix_acl_default", acl(5))
    os.mkdir("dir/sub/lost+found")
    ARGS.extend(["--skip", "nlink"])


@case(args=["late"])
def state_of_a_layout():
    os.mkdir("var/lib/plyfs")
    write("var/lib/plyfs/journal", b"x")


@case("mtime", args=["late"])
def times_above_the_state_without_one():
    os.mkdir("var/lib/x")
    os.rmdir("var/lib/x")


@case("only-in-b", args=["late"])
def something_beside_the_state():
    os.mkdir("var/lib/plyfs")
    write("var/lib/other", b"x")


@case()
def preallocated_and_read_meanwhile():
    for where in ("../a", "."):
        fd = os.open(where + "/prealloc", os.O_RDWR | os.O_CREAT, 0o644)
        os.posix_fallocate(fd, 0, 1 << 20)
        os.pwrite(fd, b"x", 300_000)
        os.fsync(fd)
        if where == ".":
            os.pread(fd, 1 << 20, 0)
        os.close(fd)
        os.utime(where + "/prealloc", ns=(0, 10**18 + 7))
        os.utime(where, ns=(0, 10**18 + 7))


ARGS = []


def compare(a, b, *args):
    p = subprocess.run([sys.executable, os.path.join(HERE, "compare.py"), a, b, *args], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, check=False)
    lines = p.stdout.decode("utf-8", "backslashreplace").splitlines()
    return p.returncode, {line.split(" ")[0] for line in lines[:-1]}, lines


def run_case(work, fn, kinds, args):
    os.makedirs(work)
    a, b = os.path.join(work, "a"), os.path.join(work, "b")
    for d in (a, b):
        os.mkdir(d)
        os.chdir(d)
        build()
    ARGS.clear()
    late = "late" in args
    fn()
    if not late:
        settle()
    os.chdir(work)
    rc, found, lines = compare(a, b, *[x for x in args if x != "late"], *ARGS)
    if found == kinds and rc == (1 if kinds else 0):
        return True, []
    return False, [f"expected {sorted(kinds)}, exit code {rc}"] + lines


def top_of_a_file_system(work):
    """lost+found at the top is no difference, and its link neither; in a directory it is one."""
    a, b = os.path.join(work, "plain"), os.path.join(work, "mounted")
    os.makedirs(b)
    subprocess.run(["mount", "-t", "tmpfs", "none", b], check=True)
    try:
        os.mkdir(a)
        for d in (a, b):
            os.mkdir(os.path.join(d, "sub"))
        os.mkdir(os.path.join(b, "lost+found"))
        os.chmod(b, 0o755)
        for d in (a + "/sub", b + "/sub", a, b):
            os.utime(d, ns=(0, 10**18))
        rc, _, lines = compare(a, b)
        rc2, found, lines2 = compare(b, os.path.join(a, "sub"))
        return rc == 0 and rc2 == 1 and "only-in-a" in found, lines + lines2
    finally:
        subprocess.run(["umount", b], check=True)


def cannot_compare(work):
    os.makedirs(work)
    rc, _, lines = compare(work, os.path.join(work, "missing"))
    return rc == 2, lines


def at_most_n(work):
    for d in ("a", "b"):
        os.makedirs(os.path.join(work, d))
    for i in range(20):
        write(os.path.join(work, "b", str(i)), b"")
    shutil.copystat(os.path.join(work, "a"), os.path.join(work, "b"))
    rc, _, lines = compare(os.path.join(work, "a"), os.path.join(work, "b"), "--max", "5")
    n = sum(line.startswith("only-in-b") for line in lines)
    return rc == 1 and n == 5 and any(line.startswith("and ") for line in lines), lines


def main():
    tests = [(fn.__name__, root, lambda w, c=(fn, kinds, args): run_case(w, *c)) for fn, kinds, root, args in CASES]
    tests += [("top_of_a_file_system", True, top_of_a_file_system), ("cannot_compare", False, cannot_compare),
              ("at_most_n", False, at_most_n)]
    print(f"1..{len(tests)}")
    bad = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as top:
        try:
            os.setxattr(top, "user.probe", b"")
            lacks = None
        except OSError:
            lacks = f"no user. attributes in {os.path.dirname(top)}"
        for i, (name, root, fn) in enumerate(tests, 1):
            reason = "needs root" if root and not IS_ROOT else lacks
            if reason:
                print(f"ok {i} - {name} # SKIP {reason}")
                continue
            work = os.path.join(top, name)
            good, lines = fn(work)
            bad += not good
            print(f"{'ok' if good else 'not ok'} {i} - {name}", flush=True)
            if not good:
                print("\n".join("# " + line for line in lines))
            os.chdir(top)
            subprocess.run(["rm", "-rf", work], check=True)
    return 1 if bad else 0


sys.exit(main())
