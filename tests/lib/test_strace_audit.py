#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The auditor of traces finds each thing that it is there to find, and nothing in what is right. Each case is a few lines
as strace writes them, with the target /t, and the word that has to stand in what is found; None: nothing."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from strace_audit import Audit  # noqa: E402  (beside this file)

CASES = [
    # right
    (None, '7 openat(4</t>, "a", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 01000) = 9</t/a>'),
    (None, '7 openat(4</t>, "a", O_RDONLY|O_NOFOLLOW|O_CLOEXEC) = 9</t/a>'),
    (None, 'openat(AT_FDCWD</home>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>'),
    (None, '7 openat2(4</t>, "d", {flags=O_RDONLY|O_PATH, resolve=RESOLVE_BENEATH}, 24) = 9</t/d>'),
    (None, '7 openat(5</t/var/lib/plyfs>, "journal", O_RDWR|O_CREAT|O_TRUNC, 0600) = 9</t/var/lib/plyfs/journal>'),
    (None, '7 openat(5</t/.plyfs.755.1.000000002/lib/plyfs>, ".", O_RDWR|O_TMPFILE, 0600) = 9</t/.plyfs.755.1.000000002/lib/plyfs/#12>(deleted)'),
    (None, '7 renameat2(4</t>, "a", 4</t>, "b", RENAME_NOREPLACE) = 0'),
    (None, '7 renameat(5</t/var/lib/plyfs>, "new", 5</t/var/lib/plyfs>, "merge") = 0'),
    (None, '7 renameat2(5</t/etc>, "passwd", 6</t/var/lib/plyfs>, "new", RENAME_EXCHANGE) = 0', "--exchange"),
    (None, '7 openat(AT_FDCWD</home>, "/home/report.json", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 9</home/report.json>', "--also"),
    (None, '7 openat(AT_FDCWD</home>, "/dev/null", O_WRONLY|O_CREAT, 0644) = 9</dev/null<char 1:3>>'),
    (None, '7 write(1</home/out>, "done", 4) = 4'),
    (None, '7 write(5<pipe:[123]>, "done", 4) = 4'),
    (None, '7 io_uring_setup(8, 0x7ffd) = -1 EPERM (Operation not permitted) (INJECTED)'),
    (None, '7 fsetxattr(9</t/odd, name\\74\\76>, "user.a", "b, c\\")", 1, 0) = 0'),
    (None, '7 symlinkat("/etc/passwd", 4</t>, "a") = 0'),
    (None, '7 linkat(4</t>, "a", 5</t/d>, "b", 0) = 0'),
    (None, '7 openat(4</t>, "a", O_RDONLY|O_PATH) = 9</t/a>\n7 chmod("/proc/self/fd/9", 0644) = 0'),
    (None, '7 utimensat(9</t/a>, NULL, [UTIME_OMIT, {tv_sec=1, tv_nsec=2} /* 1970-01-01T00:00:01+0000 */], 0) = 0'),
    (None, '7 --- SIGTERM {si_signo=SIGTERM} ---\n7 +++ killed by SIGKILL +++'),
    # wrong
    ("O_EXCL", '7 openat(4</t>, "a", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 9</t/a>'),
    ("O_EXCL", '7 openat(4</t>, "a", O_WRONLY|O_CREAT, 0644) = -1 EEXIST (File exists)'),
    ("O_EXCL", '7 openat2(4</t>, "a", {flags=O_WRONLY|O_CREAT, mode=0644}, 24) = 9</t/a>'),
    ("O_EXCL", '7 openat(4</t>, "a", O_WRONLY|O_CREAT, 0644 <unfinished ...>\n8 getpid() = 8\n7 <... openat resumed>) = 9</t/a>'),
    ("O_EXCL", '7 creat("/t/a", 0644) = 9</t/a>'),
    ("O_EXCL", '7 openat(4</t/var/lib>, "plyfs2", O_WRONLY|O_CREAT, 0644) = 9</t/var/lib/plyfs2>'),
    ("exists for writing", '7 openat(4</t>, "a", O_RDWR) = 9</t/a>'),
    ("exists for writing", '7 open("/t/a", O_WRONLY|O_TRUNC) = 9</t/a>'),
    ("NOREPLACE", '7 rename("/t/a", "/t/b") = 0'),
    ("NOREPLACE", '7 renameat(4</t>, "a", 4</t>, "b") = 0'),
    ("NOREPLACE", '7 renameat2(5</t/var/lib/plyfs>, "new", 4</t>, "b", 0) = 0'),
    ("exchanges", '7 renameat2(5</t/etc>, "shadow", 6</t/var/lib/plyfs>, "new", RENAME_EXCHANGE) = 0', "--exchange"),
    ("exchanges", '7 renameat2(5</t/etc>, "passwd", 6</t/var/lib/plyfs>, "new", RENAME_EXCHANGE) = 0'),
    ("truncates", '7 truncate("/t/a", 0) = 0'),
    ("outside", '7 openat(4</t>, "a", O_WRONLY|O_CREAT|O_EXCL, 0644) = 9</etc/a>'),
    ("outside", '7 openat(4</t>, "../a", O_WRONLY|O_CREAT|O_EXCL, 0644) = 9</a>'),
    ("outside", '7 openat(AT_FDCWD</home>, "x", O_WRONLY|O_CREAT|O_EXCL, 0644) = 9</home/x>'),
    ("outside", '7 openat(AT_FDCWD</home>, "/target2", O_WRONLY|O_CREAT|O_EXCL, 0644) = 9</target2>'),
    ("outside", '7 pwrite64(9</home/x>, "abc", 3, 0) = 3'),
    ("outside", '7 mkdirat(AT_FDCWD</home>, "x", 0700) = 0'),
    ("outside", '7 unlinkat(6</victim>, "a", 0) = 0'),
    ("outside", '7 linkat(4</t>, "a", 6</victim>, "b", 0) = -1 EXDEV (Invalid cross-device link)'),
    ("outside", '7 fchownat(6</victim>, "a", 0, 0, AT_SYMLINK_NOFOLLOW) = 0'),
    ("outside", '7 openat(6</victim>, "a", O_RDONLY|O_PATH) = 9</victim/a>\n7 chmod("/proc/self/fd/9", 0644) = 0'),
    ("outside", '7 lsetxattr("/proc/self/fd/6/a", "user.a", "b", 1, 0) = 0\n'),
    ("outside", '7 fremovexattr(9</victim>, "user.a") = 0'),
    ("outside", '7 symlinkat("x", AT_FDCWD</home>, "/t2/a") = 0'),
    ("outside", '7 renameat2(4</t>, "a", 6</victim>, "b", RENAME_NOREPLACE) = 0'),
    ("io_uring", '7 io_uring_setup(8, 0x7ffd) = 5<anon_inode:[io_uring]>'),
    ("mount", '7 mount("/a", "/t/a", NULL, MS_BIND, NULL) = 0'),
    ("another program", '7 execve("/bin/plyfs", ["plyfs"], 0x7ff /* 3 vars */) = 0\n7 execve("/bin/sh", ["sh"], 0x7ff /* 3 vars */) = 0'),
    ("cannot be read", '7 openat(4</t>, "' + "a" * 600 + '"..., O_WRONLY|O_CREAT|O_EXCL, 0644) = 9</t/a>'),
]


def said(lines, options):
    a = Audit("/t", exchange=["/etc/passwd"] if "--exchange" in options else [],
              also=["/home/report.json"] if "--also" in options else [], cwd="/home")
    a.read(lines.split("\n"))
    return [why for why, _ in a.wrong]


def by_command(log):
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/log", "w", encoding="ascii") as f:
            f.write(log)
        return subprocess.run([sys.executable, f"{os.path.dirname(os.path.abspath(__file__))}/strace_audit.py", f"{d}/log",
                               "--target", "/t"], capture_output=True, check=False).returncode


def main():
    print(f"1..{len(CASES) + 1}")
    bad = 0
    for i, (word, lines, *options) in enumerate(CASES, 1):
        found = said(lines, options)
        good = not found if word is None else bool(found) and all(word in w for w in found)
        bad += not good
        print(f"{'ok' if good else 'not ok'} {i} - {word or 'right'}: {lines.splitlines()[0][:60]}")
        if not good:
            print(f"# found: {found}")
    codes = [by_command(log) for log in ("", CASES[0][1] + "\n" + CASES[1][1], CASES[20][1] + "\n" + CASES[21][1])]
    bad += codes != [1, 0, 1]
    print(f"{'ok' if codes == [1, 0, 1] else 'not ok'} {len(CASES) + 1} - exit codes: an empty log is none {codes}")
    return 1 if bad else 0


sys.exit(main())
