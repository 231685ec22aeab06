#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""powercut.py: a disk that remembers each write, and what is on it when the power fails. Root; qemu-storage-daemon.

    powercut.py make DIR [--size MIB]
    powercut.py record DIR -- COMMAND...
    powercut.py check DIR [--cuts N] [--seed N] [--late N] [--keep DIR] -- COMMAND...
    powercut.py replay DIR --cut N [--survivors SEED] [--late N] --to IMAGE
    powercut.py entries DIR                  how many requests are on the medium for certain by now
    powercut.py on IMAGE MOUNT -- COMMAND...

make puts an empty ext4 into DIR/disk. record copies it to DIR/before, and runs COMMAND on it while DIR/log gets each
request that the disk has answered. In a COMMAND, `{}` is where it is mounted.

check cuts the log behind N random entries and lets COMMAND judge what ext4 has recovered: it fails when COMMAND
does, when the file system cannot be mounted, or when e2fsck finds it wrong. Half of the cuts lose all that was written
since the last flush, as a cache does; of the other half a random part has reached the medium, in part torn:

    POWERCUT_DIR        DIR
    POWERCUT_FLUSHED    so many entries are on the medium for certain: those up to the last flush
    POWERCUT_DRAW       a random number, for COMMAND to choose by

So what is durable once `entries` says E must be there in each cut with POWERCUT_FLUSHED >= E. With --late the disk
answers each flush N flushes too early: no honest disk does, and a COMMAND that does not find out proves nothing.
--keep copies disk and log of a cut that failed to DIR, for replay; times differ from run to run, and with them the log.

replay makes IMAGE: the disk behind a cut; `on` mounts one and runs COMMAND.

How it is logged: qemu's blklogwrites, exported by FUSE, below a loop device. An entry is logged when its request was
done. A write that was answered before a flush began stands in front of it, so none that it covers is dropped; one that
was answered meanwhile stands there, too, and counts as covered: less is lost than could be, never more. The head of the
log is written with each flush, so that what came behind the last one is not in it. The format is that of Linux'
Documentation/admin-guide/device-mapper/log-writes.rst; tests/lib/test_powercut.py has one made by hand.
"""
import argparse
import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import namedtuple

MAGIC, VERSION = 0x6a736677736872, 1
HEAD = struct.Struct("<QQQL")      # magic, version, entries, bytes of a sector
ENTRY = struct.Struct("<QQQQ")     # sector, sectors, flags, bytes of a mark; its data begins with the next sector
FLUSH, FUA, DISCARD = 1, 2, 4
PAGE = 4096                        # what a disk writes whole, if it writes it

Entry = namedtuple("Entry", "sector sectors flags at")
Cut = namedtuple("Cut", "entry survivors")     # survivors: a seed; None: nothing that was not flushed


class Log:
    """The entries of a log. ValueError where it is none of blklogwrites."""

    def __init__(self, path):
        self.file = open(path, "rb")   # pylint: disable=consider-using-with
        head = self.file.read(HEAD.size)
        magic, version, count, self.sector = HEAD.unpack(head.ljust(HEAD.size, b"\0"))
        if (magic, version) != (MAGIC, VERSION) or self.sector < 512:
            raise ValueError(f"{path}: not a log of writes")
        self.entries, at = [], self.sector
        for _ in range(count):
            self.file.seek(at)
            sector, sectors, flags, _ = ENTRY.unpack(self.file.read(ENTRY.size).ljust(ENTRY.size, b"\0"))
            at += self.sector
            if flags & ~(FLUSH | FUA | DISCARD) or not (flags or sectors):
                raise ValueError(f"{path}: entry {len(self.entries)} is none that qemu writes")
            self.entries.append(Entry(sector, sectors, flags, at))
            if not flags & DISCARD:
                at += sectors * self.sector
        if at > os.fstat(self.file.fileno()).st_size:
            raise ValueError(f"{path}: is shorter than its entries")

    def flushes(self):
        """Numbers of entries up to and with each flush."""
        return [i + 1 for i, e in enumerate(self.entries) if e.flags & FLUSH]

    def flushed(self, cut, late=0):
        """How many entries are on the medium for certain when the power fails behind @cut of them."""
        before = [n for n in self.flushes() if n <= cut]
        return before[-1 - late] if len(before) > late else 0

    def surviving(self, cut, late=0):
        """(entry, its first byte, bytes) of what is on the medium, in the order of the requests."""
        certain = self.flushed(cut.entry, late)
        draw = random.Random(cut.survivors)
        share = 0 if cut.survivors is None else draw.random()
        for n, e in enumerate(self.entries[:cut.entry]):
            size = e.sectors * self.sector
            if n < certain or e.flags & FUA:
                yield e, 0, size
            elif draw.random() < share:
                if draw.random() < 0.8:
                    yield e, 0, size
                else:
                    # pages, since no disk promises more
                    for at in range(0, size, PAGE):
                        if draw.random() < 0.5:
                            yield e, at, min(PAGE, size - at)

    def replay(self, disk, cut, late=0):
        """@disk: a file that is open for writing, with what was there before."""
        for e, at, size in self.surviving(cut, late):
            if e.flags & DISCARD:
                data = bytes(size)
            else:
                self.file.seek(e.at + at)
                data = self.file.read(size)
            disk.seek(e.sector * self.sector + at)
            disk.write(data)

    def cuts(self, count, draw):
        """Behind random entries; the time between two flushes has its cut before another has a second one."""
        ends = self.flushes()
        if not ends:
            raise ValueError("no flush in the log: nothing can be asked of it")
        windows = list(zip(ends, ends[1:] + [len(self.entries) + 1]))
        cuts = []
        while len(cuts) < count:
            for first, end in draw.sample(windows, min(len(windows), count - len(cuts))):
                seed = draw.randrange(1 << 31) if len(cuts) % 2 else None
                cuts.append(Cut(draw.randrange(first, end), seed))
        return cuts


def entries(log):
    """Of a log that is being written. An fsync that returned before the call is one of them."""
    with open(log, "rb") as f:
        return HEAD.unpack(f.read(HEAD.size))[2]


# --- disks -------------------------------------------------------------------------------------


def run(*command, **kw):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **kw)


def copied(src, dst):
    run("cp", "--sparse=always", "--reflink=auto", src, dst)


def unmounted(path):
    for _ in range(50):
        if not os.path.ismount(path) or subprocess.run(["umount", path], stderr=subprocess.DEVNULL,
                                                       check=False).returncode == 0:
            return
        time.sleep(0.1)
    run("umount", "-l", path)


@contextlib.contextmanager
def mounted(disk, path):
    os.makedirs(path, exist_ok=True)
    device = run("losetup", "--find", "--show", disk, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        run("mount", "-t", "ext4", device, path)
        try:
            yield path
        finally:
            unmounted(path)
    finally:
        run("losetup", "-d", device)


def ended(daemon):
    if daemon.poll() is None:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def until(what, is_so, daemon):
    deadline = time.monotonic() + 30
    while daemon.poll() is None and time.monotonic() < deadline:
        if is_so():
            return
        time.sleep(0.02)
    raise SystemExit(f"powercut: {what} did not start")


@contextlib.contextmanager
def logged(folder):
    """DIR/disk as a file whose writes are logged in DIR/log."""
    export, log = f"{folder}/export", f"{folder}/log"
    size = os.path.getsize(f"{folder}/disk")
    for path in (export, log):
        with open(path, "wb"):
            pass
    # files are flushed by nobody: here no power fails
    args = ["qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=disk,filename={folder}/disk,cache.no-flush=on",
            "--blockdev", f"driver=file,node-name=log,filename={log},cache.no-flush=on",
            "--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512,"
            "log-super-update-interval=1",
            "--export", f"type=fuse,id=export,node-name=logged,mountpoint={export},writable=on"]
    with subprocess.Popen(args, stdin=subprocess.DEVNULL) as daemon:
        try:
            until(args[0], lambda: os.path.getsize(export) == size, daemon)
            yield export
        finally:
            ended(daemon)
            unmounted(export)


# --- verbs -------------------------------------------------------------------------------------


def command_on(command, mount, **env):
    return subprocess.run([c.replace("{}", mount) for c in command], check=False, stdin=subprocess.DEVNULL,
                          env=dict(os.environ, **{k: str(v) for k, v in env.items()})).returncode


def make(a):
    os.makedirs(a.dir, exist_ok=True)
    with open(f"{a.dir}/disk", "wb") as f:
        f.truncate(a.size << 20)
    # all of it at once, so that the kernel writes nothing later that COMMAND has not caused
    run("mkfs.ext4", "-q", "-F", "-b", str(PAGE), "-E", "lazy_itable_init=0,lazy_journal_init=0", f"{a.dir}/disk")
    return 0


def record(a):
    copied(f"{a.dir}/disk", f"{a.dir}/before")
    with logged(a.dir) as export, mounted(export, f"{a.dir}/mnt") as mount:
        rc = command_on(a.command, mount, POWERCUT_DIR=a.dir)
    log = Log(f"{a.dir}/log")
    print(f"# {len(log.entries)} entries, {len(log.flushes())} flushes")
    return rc


def cut_disk(folder, log, cut, late, to):
    copied(f"{folder}/before", to)
    with open(to, "r+b") as disk:
        log.replay(disk, cut, late)


def judged(a, log, cut, draw):
    """0: COMMAND and e2fsck found nothing."""
    disk = f"{a.dir}/cut"
    cut_disk(a.dir, log, cut, a.late, disk)
    try:
        with mounted(disk, f"{a.dir}/mnt") as mount:
            rc = command_on(a.command, mount, POWERCUT_DIR=a.dir, POWERCUT_DRAW=draw,
                            POWERCUT_FLUSHED=log.flushed(cut.entry))
        run("e2fsck", "-fn", disk, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except subprocess.CalledProcessError as e:
        print(f"# {e}")
        return 1
    return rc


def check(a):
    log = Log(f"{a.dir}/log")
    draw = random.Random(a.seed)
    bad = 0
    for cut in log.cuts(a.cuts, draw):
        if not judged(a, log, cut, draw.randrange(1 << 31)):
            continue
        bad += 1
        which = f"--cut {cut.entry}" + ("" if cut.survivors is None else f" --survivors {cut.survivors}")
        print(f"# fails: {which}, {log.flushed(cut.entry)} of {len(log.entries)} entries for certain")
        if a.keep and bad == 1:
            os.makedirs(a.keep, exist_ok=True)
            for name in ("before", "log"):
                copied(f"{a.dir}/{name}", f"{a.keep}/{name}")
            print(f"# powercut.py replay {a.keep} {which} --to IMAGE makes that disk")
    print(f"# {a.cuts} cuts of {len(log.flushes())} flushes, {bad} bad")
    return 1 if bad else 0


def replay(a):
    log = Log(f"{a.dir}/log")
    if not 0 <= a.cut <= len(log.entries):
        raise SystemExit(f"powercut: {a.dir}/log has {len(log.entries)} entries")
    cut_disk(a.dir, log, Cut(a.cut, a.survivors), a.late, a.to)
    return 0


def count(a):
    print(entries(f"{a.dir}/log"))
    return 0


def on(a):
    with mounted(a.image, a.mount) as mount:
        return command_on(a.command, mount)


def options():
    p = argparse.ArgumentParser(prog="powercut.py")
    verbs = p.add_subparsers(dest="verb", required=True)
    functions = {"make": make, "record": record, "check": check, "replay": replay, "entries": count}
    for name, function in functions.items():
        v = verbs.add_parser(name)
        v.set_defaults(function=function)
        v.add_argument("dir", type=os.path.abspath)
        if name == "make":
            v.add_argument("--size", type=int, default=128)
        if name == "check":
            v.add_argument("--cuts", type=int, default=50)
            v.add_argument("--seed", type=int, default=1)
            v.add_argument("--keep", type=os.path.abspath)
        if name == "replay":
            v.add_argument("--cut", type=int, required=True)
            v.add_argument("--survivors", type=int)
            v.add_argument("--to", required=True)
        if name in ("check", "replay"):
            v.add_argument("--late", type=int, default=0)
        if name in ("record", "check"):
            v.add_argument("command", nargs="+")
    v = verbs.add_parser("on")
    v.set_defaults(function=on)
    v.add_argument("image")
    v.add_argument("mount", type=os.path.abspath)
    v.add_argument("command", nargs="+")
    return p


def main():
    a = options().parse_args()
    # as exceptions, so that all is unmounted
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda n, _: sys.exit(128 + n))
    sys.stdout.reconfigure(line_buffering=True)
    if a.verb == "record" and not shutil.which("qemu-storage-daemon"):
        raise SystemExit("powercut: no qemu-storage-daemon: install qemu-system-common")
    try:
        return a.function(a)
    except (ValueError, OSError, subprocess.CalledProcessError) as e:
        raise SystemExit(f"powercut: {e}") from e


if __name__ == "__main__":
    sys.exit(main())
