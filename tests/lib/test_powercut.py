#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What powercut.py takes to be on the medium, by logs that are made here: no disk, no root. Sector n of a write
holds the number of its entry."""
import os
import random
import sys
import tempfile

import powercut
from powercut import DISCARD, FLUSH, FUA, Cut, Log

SECTOR = 512
TESTS = []


def test(fn):
    TESTS.append(fn)
    return fn


def log_of(*entries, head=None, cut_off=0):
    """entries: (sector, sectors, flags)."""
    raw = bytearray(head or powercut.HEAD.pack(powercut.MAGIC, 1, len(entries), SECTOR)).ljust(SECTOR, b"\0")
    for i, (sector, sectors, flags) in enumerate(entries):
        raw += powercut.ENTRY.pack(sector, sectors, flags, 0).ljust(SECTOR, b"\0")
        if not flags & DISCARD:
            raw += bytes([i + 1]) * SECTOR * sectors
    with open("log", "wb") as f:
        f.write(raw[:len(raw) - cut_off])
    return Log("log")


def medium(log, cut, survivors=None, late=0, sectors=64):
    """One number a sector: of the entry that it is from; 255: it was there before."""
    with open("disk", "w+b") as disk:
        disk.write(b"\xff" * SECTOR * sectors)
        log.replay(disk, Cut(cut, survivors), late)
        disk.seek(0)
        data = disk.read()
    assert len(data) == SECTOR * sectors
    for i in range(sectors):
        assert len(set(data[i * SECTOR:(i + 1) * SECTOR])) == 1, "a sector is torn"
    return list(data[::SECTOR])


@test
def what_was_not_flushed_is_lost():
    log = log_of((0, 2, 0), (0, 0, FLUSH), (1, 2, 0), (0, 0, FLUSH), (0, 1, 0))
    assert medium(log, 1)[:3] == [255, 255, 255]
    assert medium(log, 2)[:3] == medium(log, 3)[:3] == [1, 1, 255]
    assert medium(log, 4)[:3] == medium(log, 5)[:3] == [1, 3, 3]
    assert [log.flushed(n) for n in range(6)] == [0, 0, 2, 2, 4, 4]


@test
def what_a_disk_has_forced_through_is_there():
    log = log_of((0, 1, 0), (1, 1, FUA), (2, 1, 0))
    assert medium(log, 3)[:3] == [255, 2, 255]
    assert medium(log, 1)[:3] == [255, 255, 255]


@test
def discarded_is_zero_and_has_no_data():
    log = log_of((0, 4, 0), (1, 2, DISCARD), (5, 1, 0), (0, 0, FLUSH))
    assert medium(log, 4)[:6] == [1, 0, 0, 1, 255, 3]


@test
def any_part_may_survive_and_nothing_before_the_flush_is_lost():
    log = log_of((0, 1, 0), (0, 0, FLUSH), *((n, 1, 0) for n in range(1, 6)), (6, 20, 0), (40, 1, 0))
    seen = set()
    for seed in range(1000):
        now = medium(log, 8, seed)
        assert now[0] == 1 and now[40] == 255
        seen.add(tuple(v != 255 for v in now[1:6]))
        pages = now[6:26]
        assert all(len(set(pages[i:i + 8])) == 1 for i in (0, 8, 16)), "a page is torn"
        seen.add(tuple(v != 255 for v in pages[::8]))
        assert now == medium(log, 8, seed)
    assert len(seen) == 2 ** 5 + 2 ** 3


@test
def a_disk_that_answers_too_early():
    log = log_of((0, 1, 0), (0, 0, FLUSH), (1, 1, 0), (0, 0, FLUSH), (2, 1, 0), (0, 0, FLUSH))
    assert medium(log, 6, late=1)[:3] == [1, 3, 255]
    assert medium(log, 6, late=2)[:3] == [1, 255, 255]
    assert medium(log, 6, late=3)[:3] == [255, 255, 255]


@test
def cuts_are_behind_flushes_and_reach_all():
    log = log_of((0, 1, 0), (0, 0, FLUSH), (1, 1, 0), (2, 1, 0), (0, 0, FLUSH), (3, 1, 0))
    cuts = log.cuts(200, random.Random(7))
    assert {c.entry for c in cuts} == {2, 3, 4, 5, 6}
    assert sum(c.survivors is None for c in cuts) == 100
    assert all(len({log.flushed(c.entry) for c in cuts[i:i + 2]}) == 2 for i in range(0, 200, 2))
    assert cuts == log.cuts(200, random.Random(7)) != log.cuts(200, random.Random(8))


@test
def what_is_no_log_is_refused():
    head = powercut.HEAD
    for make in (lambda: log_of(head=head.pack(1, 1, 0, SECTOR)),
                 lambda: log_of(head=head.pack(powercut.MAGIC, 2, 0, SECTOR)),
                 lambda: log_of(head=head.pack(powercut.MAGIC, 1, 0, 0)), lambda: log_of((0, 1, 8)),
                 lambda: log_of((0, 0, 0)), lambda: log_of((0, 1, 0), cut_off=1),
                 lambda: log_of(head=head.pack(powercut.MAGIC, 1, 5, SECTOR)), lambda: log_of(head=b"PLY"),
                 lambda: log_of((0, 1, 0)).cuts(1, random)):
        try:
            make()
        except ValueError:
            continue
        raise AssertionError("was taken")


def main():
    print(f"1..{len(TESTS)}")
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for i, fn in enumerate(TESTS, 1):
            why = ""
            try:
                fn()
            except AssertionError as e:
                why = f"line {e.__traceback__.tb_next.tb_lineno}: {e}"
            bad += bool(why)
            print(f"{'not ok' if why else 'ok'} {i} - {fn.__name__}" + (f"\n# {why}" if why else ""))
        os.chdir("/")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
