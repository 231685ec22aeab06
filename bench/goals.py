# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the figures are held against: plyfs's median / a peer's, at most LIMIT; where several peers are
named, each of them that ran. Without a peer, plyfs's own figure. A gate missed fails the run, a goal does not.
The same ratio of the best runs stands beside it and decides nothing: on a shared machine it shows which misses are noise."""
from typing import NamedTuple

from measure import FOREIGN_MAX, ratio

FUSE = ("squashfuse_ll", "squashfuse_ll newer", "squashfuse", "erofsfuse", "wimmount")
SQUASHFUSE_LL = ("squashfuse_ll", "squashfuse_ll newer")
OVERLAYFS, EXT4 = "kernel overlayfs", "ext4 copy"
APPEND, DPKG, FSYNC = "append 1 byte to 500 MiB, cold", "dpkg -i of 12 packages, cold", "4 KiB anywhere, fsync, {} (s for 1,000)"
EXTRACTORS = ("unsquashfs", "zstd | tar", "fsck.erofs", "wimapply")


class Limit(NamedTuple):
    kind: str
    name: str
    workload: str
    measure: str
    metric: str
    peers: tuple
    limit: float
    unit: str = ""
    tool: str = "plyfs"


LIMITS = (
    Limit("gate", "cold find, 3 times faster than squashfuse_ll of a newer Debian (multi-threaded)", "walk", "find cold", "wall_s",
          ("squashfuse_ll newer",), 1 / 3),
    Limit("gate", "cold find, 1.5 times faster than squashfuse_ll of this Debian", "walk", "find cold", "wall_s",
          ("squashfuse_ll",), 1 / 1.5),
    Limit("gate", "cold find, at most 1.2 of kernel squashfs", "walk", "find cold", "wall_s", ("kernel squashfs",), 1.2),
    Limit("gate", "warm find, requests that reach the daemon", "walk", "find warm", "requests", (), 0, "requests"),
    Limit("gate", "cold read of everything, at most 1.2 of kernel squashfs", "read", "tar cold", "wall_s",
          ("kernel squashfs",), 1.2),
    Limit("gate", "random 4 KiB, 1 job, twice as fast as each FUSE peer", "random", "1 job cold", "wall_s", FUSE, 1 / 2),
    Limit("gate", "random 4 KiB, 4 jobs, twice as fast as each FUSE peer", "random", "4 jobs cold", "wall_s", FUSE, 1 / 2),
    Limit("gate", "capture of a cold tree, at most 1.2 of mksquashfs", "capture", "source cold", "wall_s", ("mksquashfs",), 1.2),
    Limit("gate", "capture of a warm tree, at most 1.2 of mksquashfs", "capture", "source warm", "wall_s", ("mksquashfs",), 1.2),
    Limit("gate", "size of the image, at most 1.03 of mksquashfs's", "capture", "source warm", "bytes", ("mksquashfs",), 1.03),
    Limit("gate", "capture, peak memory", "capture", "source cold", "peak_mib", (), 256, "MiB"),
    Limit("gate", "mount to first stat, warm program, small tree", "mount", "small, warm", "wall_s", (), 0.010, "s"),
    Limit("gate", "mount to first stat, warm program, many files", "mount", "many, warm", "wall_s", (), 0.010, "s"),
    Limit("gate", "many files, capture, peak memory", "scale", "build", "peak_mib", (), 512, "MiB"),
    Limit("gate", "many files, the daemon's anonymous memory after a find and a read", "scale", "read after find", "daemon_anon_mib",
          (), 96, "MiB"),
    Limit("gate", "layout, at most a quarter of unsquashfs's memory", "layout", "image cold", "peak_mib", ("unsquashfs",), 1 / 4),
    Limit("gate", "layout, CPU seconds, no more than unsquashfs", "layout", "image cold", "cpu_s", ("unsquashfs",), 1.0),
    Limit("gate", "layout, at most 1.15 of unsquashfs", "layout", "image cold", "wall_s", ("unsquashfs",), 1.15),
    Limit("gate", "layout, 1.5 times faster than zstd | tar", "layout", "image cold", "wall_s", ("zstd | tar",), 1 / 1.5),
    Limit("gate", "1 byte appended to 500 MiB, 100 times faster than overlayfs", "overlay", APPEND, "wall_s", (OVERLAYFS,), 1 / 100),
    Limit("gate", "1 byte appended to 500 MiB", "overlay", APPEND, "wall_s", (), 0.005, "s"),
    Limit("gate", "chmod of 128 MiB", "overlay", "chmod of 128 MiB, cold", "wall_s", (), 0.001, "s"),
    Limit("gate", "rename of a directory of 2,000, 10 times faster than overlayfs", "overlay", "rename of a directory of 2,000", "wall_s",
          (OVERLAYFS,), 1 / 10),
    Limit("gate", "dpkg -i of 12 packages, at most 1.2 of overlayfs", "overlay", DPKG, "wall_s", (OVERLAYFS,), 1.2),
    Limit("gate", "untar of 4,000 files, at most 2 of overlayfs", "overlay", "untar of 4,000 files", "wall_s", (OVERLAYFS,), 2.0),
    Limit("gate", "make -j2 of 60 C files, at most 1.3 of overlayfs", "overlay", "make -j2 of 60 C files", "wall_s", (OVERLAYFS,), 1.3),
    Limit("gate", "4 KiB with fsync, 1 thread, 0.6 of ext4's rate", "overlay", FSYNC.format("1 thread"), "wall_s", (EXT4,), 1 / 0.6),
    Limit("goal", "cold find, no slower than kernel squashfs", "walk", "find cold", "wall_s", ("kernel squashfs",), 1.0),
    Limit("goal", "cold find, 2.5 times faster than the fastest squashfuse_ll", "walk", "find cold", "wall_s", SQUASHFUSE_LL, 1 / 2.5),
    Limit("goal", "cold ls -lR, twice as fast as each FUSE peer", "walk", "ls -lR cold", "wall_s", FUSE, 1 / 2),
    Limit("goal", "size of the image, no larger than mksquashfs's", "capture", "source warm", "bytes", ("mksquashfs",), 1.0),
    Limit("goal", "one large file read cold, 1.7 times faster than kernel squashfs", "large", "read cold", "wall_s",
          ("kernel squashfs",), 1 / 1.7),
    Limit("goal", "capture of a cold tree, at most 1.1 of tar | zstd -3", "capture", "source cold", "wall_s", ("tar | zstd",), 1.1),
    Limit("goal", "capture of a warm tree, at most 1.1 of tar | zstd -3", "capture", "source warm", "wall_s", ("tar | zstd",), 1.1),
    Limit("goal", "many files, cold find, 1.5 times faster than kernel squashfs", "scale", "find cold", "wall_s",
          ("kernel squashfs",), 1 / 1.5),
    Limit("goal", "layout, 1.3 times faster than unsquashfs", "layout", "image cold", "wall_s", ("unsquashfs",), 1 / 1.3),
    Limit("goal", "layout, twice as fast as zstd | tar", "layout", "image cold", "wall_s", ("zstd | tar",), 1 / 2),
    Limit("goal", "layout --no-sync with the final sync, at most 1.05 of the fastest peer", "layout",
          "image cold, with the final sync", "wall_s", EXTRACTORS, 1.05),
    Limit("goal", "layout as it is by default, durable, at most 1.05 of the fastest peer with the final sync", "layout",
          "image cold, with the final sync", "wall_s", EXTRACTORS, 1.05, tool="plyfs durable"),
    Limit("goal", "layout, within 1.5 of (CPU of decompression + of creating and writing) / cores", "layout", "image cold", "wall_s",
          ("floor: CPU / cores",), 1.5),
    Limit("goal", "1 byte appended to 500 MiB, 700 times faster than overlayfs", "overlay", APPEND, "wall_s", (OVERLAYFS,), 1 / 700),
    Limit("goal", "dpkg -i of 12 packages, at most 0.8 of overlayfs", "overlay", DPKG, "wall_s", (OVERLAYFS,), 0.8),
    Limit("goal", "4 KiB with fsync, 1 thread, ext4's rate", "overlay", FSYNC.format("1 thread"), "wall_s", (EXT4,), 1.0),
    Limit("goal", "4 KiB with fsync, 16 threads, 1.1 of ext4's rate", "overlay", FSYNC.format("16 threads"), "wall_s", (EXT4,), 1 / 1.1),
    Limit("goal", "create and fsync, 16 threads, 1.5 of ext4's rate", "overlay", "create, 100 bytes, fsync, 16 threads (s for 1,000)", "wall_s",
          (EXT4,), 1 / 1.5),
)


def essential(workload):
    """The tools that a limit of this workload looks at."""
    ours = [x for x in LIMITS if x.workload == workload]
    return {"plyfs"} | {x.tool for x in ours} | {p.split(":")[0] for x in ours for p in x.peers}     # all floors are one tool


def judge(x, workloads):
    """One line of the table: held, missed, or why not judged."""
    out = {"kind": x.kind, "name": x.name, "limit": x.limit, "unit": x.unit, "value": None, "best": None, "against": None}
    if x.workload not in workloads:
        return {**out, "verdict": "not run"}
    rows = workloads[x.workload]["measures"].get(x.measure, {})
    base = rows.get(x.tool)
    if not base or x.metric not in base:
        return {**out, "verdict": "not judged (no figure)"}
    if not x.peers:
        if x.metric == "wall_s" and base["foreign"] > FOREIGN_MAX:
            return {**out, "verdict": "not judged (foreign load)"}
        value = base[x.metric]["median"]
    else:
        there = [p for p in x.peers if p in rows]
        if not there:
            return {**out, "verdict": "not judged (no peer)"}
        ratios = {p: ratio(base, rows[p], x.metric) for p in there}
        known = {p: r for p, r in ratios.items() if r is not None}
        out["against"] = max(known, key=known.get) if known else None
        value = known[out["against"]] if known else None
        best = [ratio(base, rows[p], x.metric, "best") for p in known]
        out["best"] = max((b for b in best if b is not None), default=None)
        # a miss is one, whatever could not be judged beside it
        if len(known) < len(there) and (value is None or value <= x.limit):
            return {**out, "value": value, "verdict": "not judged (foreign load)"}
    return {**out, "value": value, "verdict": "held" if value <= x.limit else "missed"}


def judge_all(workloads):
    return [judge(x, workloads) for x in LIMITS]


def gates_missed(verdicts):
    return [v["name"] for v in verdicts if v["kind"] == "gate" and v["verdict"] == "missed"]
