#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A disk whose power is cut, and one whose writes fail. Root; qemu-storage-daemon (qemu-utils).

  powercut.py record DIR [--size MIB] -- COMMAND...
  powercut.py check DIR [--cuts N] [--seed N] [--lose-flushed] -- COMMAND...
  powercut.py faulty FAULTYFS DIR [--size MIB] --after K -- COMMAND...

record makes an ext4, keeps a copy of it (DIR/before), and runs COMMAND on it while qemu's blklogwrites
writes each request that the disk answered into DIR/log. In COMMAND, `{}` is where it is mounted.
What is on the disk outside (DIR/acks, say) can note `entries()` when an fsync has returned: the log is
at least so long by then.

check cuts the log behind random flushes. For each, DIR/before with all entries up to the flush, and then
in turn nothing, or a random part of the writes up to the next flush (what a disk with a volatile cache
may have kept), is mounted, ext4 recovers its journal, and COMMAND judges: `{}` is the mount, POWERCUT_ENTRY
the number of the flush. It fails if COMMAND does. --lose-flushed drops writes before the flush, too: no
disk does that, and a COMMAND that does not find out proves nothing.

faulty runs COMMAND on an ext4 on a disk (tests/mount/faultyfs.c) that fails every write from the K-th request
after the mount on; DIR/disk is kept, so that one can go on with it when healed: without --after.

A flush is logged when it is done. A write that was answered before it began is in front of it in the log, so none of
those that it covers is dropped; one that was answered meanwhile counts as covered: less is lost than could be, never more.
Log format: kernel, Documentation/admin-guide/device-mapper/log-writes.rst.
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

MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


def run(*command, **kw):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **kw)


class Log:
    """The entries of a log: (sector, sectors, flags, where its data is in the file)."""

    def __init__(self, path):
        self.file = open(path, 'rb')
        magic, version, n, self.sector = struct.unpack('<QQQL', self.file.read(28))
        if magic != MAGIC or version != 1:
            raise SystemExit(f'{path}: not a log of writes')
        self.entries = []
        at = self.sector
        for _ in range(n):
            self.file.seek(at)
            sector, sectors, flags, more = struct.unpack('<QQQQ', self.file.read(32))
            at += self.sector
            self.entries.append((sector, sectors, flags, at))
            if not flags & DISCARD:
                at += sectors * self.sector
            if flags & MARK:
                at += more

    def flushes(self):
        return [i + 1 for i, e in enumerate(self.entries) if e[2] & (FLUSH | FUA)]

    def window(self, cut):
        """The entries behind a cut up to the next flush."""
        end = cut
        while end < len(self.entries) and not self.entries[end][2] & (FLUSH | FUA):
            end += 1
        return range(cut, end)

    def apply(self, disk, which):
        for i in which:
            sector, sectors, flags, at = self.entries[i]
            if not sectors or flags & MARK:
                continue
            disk.seek(sector * self.sector)
            if flags & DISCARD:
                data = bytes(sectors * self.sector)
            else:
                self.file.seek(at)
                data = self.file.read(sectors * self.sector)
            disk.write(data)


def entries(path):
    """How many entries a log has that is being written."""
    with open(path, 'rb') as f:
        return struct.unpack('<QQQL', f.read(28))[2]


def copied(src, dst):
    run('cp', '--sparse=always', '--reflink=auto', src, dst)


def ended(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(what, true, process):
    for _ in range(200):
        if true():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f'{what} did not start')


def unmounted(path):
    for _ in range(50):
        if subprocess.run(['umount', path], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return
        if not os.path.ismount(path):
            return
        time.sleep(0.1)
    run('umount', '-l', path)


@contextlib.contextmanager
def mounted(disk, path, options='rw'):
    """disk: a file. A loop device of our own, so that it is gone when the mount is."""
    os.makedirs(path, exist_ok=True)
    device = run('losetup', '--find', '--show', disk, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        run('mount', '-t', 'ext4', '-o', options, device, path)
        try:
            yield path
        finally:
            unmounted(path)
    finally:
        run('losetup', '-d', device)


def made(disk, mib):
    with open(disk, 'wb') as f:
        f.truncate(mib << 20)
    # whole, so that nothing but the command writes later
    run('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', disk)


def command_on(command, mount, **env):
    return subprocess.run([c.replace('{}', mount) for c in command], check=False,
                          env=dict(os.environ, **env)).returncode


@contextlib.contextmanager
def logged(folder, size):
    """A file whose writes are logged."""
    export = f'{folder}/export'
    with open(f'{folder}/log', 'wb') as f:
        f.truncate(8 * size)     # sparse; it does not grow by itself
    open(export, 'wb').close()
    nodes = (f'driver=file,node-name=d,filename={folder}/disk,cache.no-flush=on',
             f'driver=file,node-name=l,filename={folder}/log,cache.no-flush=on',
             'driver=blklogwrites,node-name=w,file=d,log=l,log-sector-size=512,log-super-update-interval=1')
    args = ['qemu-storage-daemon']
    for node in nodes:
        args += ['--blockdev', node]
    args += ['--export', f'type=fuse,id=e,node-name=w,mountpoint={export},writable=on']
    with subprocess.Popen(args, stdin=subprocess.DEVNULL) as daemon:
        try:
            until(args[0], lambda: os.path.getsize(export) == size, daemon)
            yield export
        finally:
            ended(daemon)
            if os.path.ismount(export):
                unmounted(export)


def record(a):
    made(f'{a.dir}/disk', a.size)
    copied(f'{a.dir}/disk', f'{a.dir}/before')
    with logged(a.dir, a.size << 20) as export, mounted(export, f'{a.dir}/mnt') as mount:
        rc = command_on(a.command, mount, POWERCUT_LOG=f'{a.dir}/log')
    log = Log(f'{a.dir}/log')
    print(f'# {len(log.entries)} entries, {len(log.flushes())} flushes')
    return rc


def check(a):
    log = Log(f'{a.dir}/log')
    draw = random.Random(a.seed)
    flushes = log.flushes()
    if not flushes:
        raise SystemExit('no flush in the log: nothing can be asked of it')
    print(f'# seed {a.seed}, {a.cuts} cuts of {len(flushes)} flushes')
    # each flush once, before any a second time
    cuts = []
    while len(cuts) < a.cuts:
        cuts += draw.sample(flushes, min(len(flushes), a.cuts - len(cuts)))
    bad = 0
    disk = f'{a.dir}/cut'
    for n, cut in enumerate(cuts):
        before, after = list(range(cut)), list(log.window(cut))
        if a.lose_flushed:
            # the last third, where what was acknowledged is
            before = [i for i in before if i < cut * 2 // 3 or draw.random() < 0.5]
        lost = len(after)
        if n % 2:
            after = after[:draw.randint(0, len(after))]
            after = [i for i in after if draw.random() < 0.5]
            lost -= len(after)
        else:
            after = []
        copied(f'{a.dir}/before', disk)
        with open(disk, 'r+b') as f:
            log.apply(f, before + after)
        try:
            with mounted(disk, f'{a.dir}/mnt') as mount:
                rc = command_on(a.command, mount, POWERCUT_ENTRY=str(cut))
        except subprocess.CalledProcessError as e:
            print(f'# {e}')
            rc = 1
        if rc:
            bad += 1
            print(f'# cut {n} of seed {a.seed}, entry {cut}, {lost} lost: {rc}')
    os.unlink(disk)
    print(f'# {len(cuts)} cuts, {bad} bad')
    return 1 if bad else 0


def faulty(a):
    back, shown = f'{a.dir}/back', f'{a.dir}/shown'
    os.makedirs(back, exist_ok=True)
    os.makedirs(shown, exist_ok=True)
    if not os.path.exists(f'{back}/disk'):
        made(f'{back}/disk', a.size)
    with subprocess.Popen([a.faultyfs, back, shown], stdin=subprocess.DEVNULL) as fs:
        try:
            until('faultyfs', lambda: os.path.ismount(shown), fs)
            with mounted(f'{shown}/disk', f'{a.dir}/mnt') as mount:
                def told(text):
                    with open(f'{shown}/.control', 'w', encoding='ascii') as f:
                        f.write(text + '\n')
                try:
                    if a.after is not None:
                        told(f'after {a.after} write-error 0 {1 << 40}')
                    return command_on(a.command, mount)
                finally:
                    # as it is: what was not written stays so, but for what ext4 writes at umount
                    told('heal')
        finally:
            if os.path.ismount(shown):
                unmounted(shown)
            ended(fs)


def main():
    p = argparse.ArgumentParser()
    verbs = p.add_subparsers(dest='verb', required=True)
    for name in ('record', 'check', 'faulty'):
        v = verbs.add_parser(name)
        if name == 'faulty':
            v.add_argument('faultyfs')
            v.add_argument('--after', type=int)
        v.add_argument('dir', type=os.path.abspath)
        v.add_argument('--size', type=int, default=128)
        if name == 'check':
            v.add_argument('--cuts', type=int, default=50)
            v.add_argument('--seed', type=int, default=1)
            v.add_argument('--lose-flushed', action='store_true')
        v.add_argument('command', nargs='+')
    a = p.parse_args()
    # as exceptions, so that all is unmounted
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda n, _: sys.exit(128 + n))
    sys.stdout.reconfigure(line_buffering=True)
    if a.verb == 'record' and not shutil.which('qemu-storage-daemon'):
        raise SystemExit('no qemu-storage-daemon: install qemu-utils')
    os.makedirs(a.dir, exist_ok=True)
    return {'record': record, 'check': check, 'faulty': faulty}[a.verb](a)


if __name__ == '__main__':
    sys.exit(main())
