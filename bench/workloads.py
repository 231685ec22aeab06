# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured. Each workload returns {measure: {tool: [sample]}}; tools alternate in its loop.

"Cold": not mounted, caches dropped, mounted, caches dropped again, and a look at the programs that run. Images
are made outside of the timing, once, and serve all workloads.
"""
import json
import math
import os
import shlex
import shutil
import subprocess
import sys

import measure
from measure import Failed, alternate, call, drop_caches, files_of, warm_files, warm_programs, with_sync
from overlay import TOOLS as OVERLAY_TOOLS, Overlay
from peers import MAKER, MOUNTS, is_mounted

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(HERE, "..", "tests")
LARGE_BYTES = 256 << 20
RANDOM_BYTES = 128 << 20
MOUNT_REPEATS = 20
MANY_ROOM = 7 << 10          # of a small file on tmpfs: a page, an inode, a name
LABEL = {"plyfs": "plyfs", "squashfs": "mksquashfs", "erofs": "mkfs.erofs", "wim": "wimcapture", "tar": "tar | zstd"}
CP, FLOOR, DIRECTORY = "cp -a", "floor", "directory"
DURABLE = "plyfs durable"
LAYOUT = {"plyfs": "plyfs", DURABLE: "plyfs", "unsquashfs": "squashfs", "zstd | tar": "tar", "fsck.erofs": "erofs", "wimapply": "wim"}
NO_SYNC, FINAL_SYNC = "image cold", ", with the final sync"
TOOLS = {CP, FLOOR, DIRECTORY, *LABEL.values(), *LAYOUT, *(m[0] for m in MOUNTS), *OVERLAY_TOOLS}


class NotHere(Exception):
    """A workload that means nothing here."""


def floor_rows(parts, whole, ncpu):
    """What floors.c says, as measures of one tool. @whole: the sample of the program, whose memory and foreign load
    are those of its parts."""
    def row(part):
        return {**whole, **{k: v for k, v in part.items() if k != "bytes" or v}}
    cpu = parts["decompress"]["cpu_s"] + parts["write"]["cpu_s"]
    out = {f"{FLOOR}: {name}": row(parts[name]) for name in ("decompress", "create", "write")}
    out[f"{FLOOR}: CPU / cores"] = {**whole, "wall_s": cpu / ncpu, "cpu_s": cpu}
    both = {k: parts["write"][k] + parts["sync"][k] for k in ("wall_s", "cpu_s")}
    out[f"{FLOOR}: write{FINAL_SYNC}"] = {**whole, **both}
    return out


def with_floors(measures):
    """The floors as rows below the tools, not as measures of their own."""
    out = {name: dict(rows) for name, rows in measures.items() if not name.startswith(f"{FLOOR}: ")}
    for name, rows in measures.items():
        if name not in out and FLOOR in rows:
            row = name.removesuffix(FINAL_SYNC)
            out.setdefault(NO_SYNC + name[len(row):], {})[row] = rows[FLOOR]
    return out


class Bench:
    def __init__(self, peers, meter, tree, work, runs, many, helpers, only, say):
        self.peers, self.meter, self.tree, self.work = peers, meter, tree, work
        self.runs, self.nmany, self.helpers, self.say = runs, many, helpers, say
        self.only = only        # tools, or empty: all
        self.mnt = os.path.join(work, "mnt")
        self.many_src = os.path.join(work, "many-src")
        self.large_src = os.path.join(work, "large-src")
        self.disk = os.path.join(work, "disk.img")
        self.checked = {}       # tool: what became of the tree
        self.mounted = None
        self.broken = set()     # images that could not be made
        self.has_read_many = False
        self.nbytes = None      # of the tree, when first asked for
        os.makedirs(self.mnt, exist_ok=True)

    def is_wanted(self, tool):
        return tool == "plyfs" or not self.only or tool in self.only

    # --- images, made when first asked for ---

    def source(self, name):
        if name == "tree":
            return self.tree
        if name == "large":
            if not os.path.exists(self.large_src):
                self.make_large()
            return self.large_src
        if not os.path.isdir(self.many_src):
            self.make_many()
        return self.many_src

    def make_large(self):
        """One file of what the tree's files hold, in the order of their names."""
        self.say("making the large file")
        os.makedirs(self.large_src)
        left = LARGE_BYTES
        with open(os.path.join(self.large_src, "file"), "wb") as out:
            for where, dirs, files in os.walk(self.tree):
                dirs.sort()
                for name in sorted(files):
                    path = os.path.join(where, name)
                    if left <= 0 or os.path.islink(path) or not os.path.isfile(path):
                        continue
                    if os.stat(path).st_blocks * 512 < os.path.getsize(path) // 2:
                        continue                # holes
                    with open(path, "rb") as f:
                        data = f.read(left)
                    out.write(data)
                    left -= len(data)
        if left > LARGE_BYTES - (1 << 20):
            raise NotHere(f"{self.tree} has less than 1 MiB of data to make a large file of")

    def make_many(self):
        self.say(f"making {self.nmany} files")
        os.makedirs(self.many_src)
        if measure.available_bytes() > 2 * self.nmany * MANY_ROOM:
            call(["mount", "-t", "tmpfs", "-o", "size=90%,nr_inodes=0", "plyfs-bench", self.many_src])
        call([self.helpers["many"], self.many_src, str(self.nmany)])

    def drop_many(self):
        if is_mounted(self.many_src):
            call(["umount", self.many_src])
        shutil.rmtree(self.many_src, ignore_errors=True)

    def image(self, name, fmt):
        """Path of the image, or None where it could not be made."""
        path = self.peers.image(name, fmt)
        if path in self.broken:
            return None
        if not os.path.exists(path):
            source = self.source(name)
            argv = self.peers.build_argv(fmt, source, path, many=name == "many")
            try:
                if argv is None:
                    raise Failed("its maker is missing")
                self.say(f"making {os.path.basename(path)}")
                call(argv)
            except Failed as e:
                if fmt == "plyfs":
                    raise
                self.peers.skip(f"{LABEL[fmt]} of {name}", str(e))
                self.broken.add(path)
                return None
        return path

    # --- what all have in common ---

    def failed(self, tool, why):
        self.leave()
        if tool in ("plyfs", DURABLE):
            raise why
        self.peers.skip(tool, f"failed: {why}")
        self.say(f"{tool} failed: {why}")

    def alternate(self, workload, tools, runs=None, patience_s=measure.PATIENCE_S):
        from goals import essential
        return alternate(runs or self.runs, tools, essential(workload), self.failed, self.say, patience_s)

    def enter(self, key, image):
        """Mount; returns the daemon's pid, None for the kernel's."""
        call(self.peers.mount_argv(key, image, self.mnt))
        self.mounted = key
        self.peers.await_mount(self.mnt)
        return None if key.startswith("kernel ") else self.peers.daemon_of(self.mnt)

    def leave(self):
        if self.mounted:
            key, self.mounted = self.mounted, None
            try:
                self.peers.unmount(key, self.mnt)
            except Failed:
                subprocess.run(["umount", "-l", self.mnt], stderr=subprocess.DEVNULL, check=False)
                raise
        elif is_mounted(self.mnt):
            call(["umount", self.mnt])

    def enter_cold(self, key, image, *programs):
        self.leave()
        drop_caches()
        daemon = self.enter(key, image) if key != DIRECTORY else None
        drop_caches()
        warm_programs(*programs)
        return daemon

    def on(self, key):
        """The directory that a tool shows."""
        return self.tree if key == DIRECTORY else self.mnt

    def mount_tools(self, name, one_pass, leave_out=(), directory=False):
        """{key: function} for all that mount image @name here; @one_pass(key, image)."""
        tools = {}
        for key, fmt in self.peers.mounts(leave_out):
            if not self.is_wanted(key):
                continue
            image = self.image(name, fmt)
            if image:
                tools[key] = lambda key=key, image=image: self.and_leave(one_pass, key, image)
        if directory and self.is_wanted(DIRECTORY):
            tools[DIRECTORY] = lambda: one_pass(DIRECTORY, None)
        return tools

    def and_leave(self, one_pass, key, image):
        out = one_pass(key, image)
        self.leave()
        return out

    def check_same(self, tool, where, source=None):
        """Once per tool: is this the tree? What is not is counted by kind."""
        if tool in self.checked:
            return
        self.say(f"{tool}: is it the same tree?")
        r = subprocess.run([sys.executable, os.path.join(TESTS, "lib", "compare.py"), source or self.tree, where, "--max", "10000000"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if r.returncode not in (0, 1):
            raise Failed(f"{tool}: cannot be compared: {measure.text_end(r.stderr)}")
        lines = r.stdout.decode(errors="replace").splitlines()
        kinds, examples = {}, {}
        for line in lines[:-1]:
            kind = line.split(" ", 1)[0]
            kinds[kind] = kinds.get(kind, 0) + 1
            examples.setdefault(kind, line[:160])
        self.checked[tool] = {"is_same": r.returncode == 0, "lost": kinds, "examples": list(examples.values())}
        if tool == "plyfs" or tool.startswith("plyfs "):
            if r.returncode:
                raise Failed(f"plyfs did not give the tree back: {'; '.join(lines[:3])}")

    # --- workloads ---

    def capture(self):
        """Source cold, then warm; the image stays for the other workloads."""
        tools = {}
        for fmt, label in LABEL.items():
            if self.is_wanted(label) and (fmt == "plyfs" or self.peers.need(MAKER[fmt])):
                tools[label] = lambda fmt=fmt: self.capture_pass(fmt)
        return self.alternate("capture", tools)

    def capture_pass(self, fmt):
        out, image = {}, self.peers.image("tree", fmt)
        for measure_name, is_cold in (("source cold", True), ("source warm", False)):
            if fmt == "wim" and is_cold:
                continue                        # its compression takes most of a minute: once is enough
            argv = self.peers.build_argv(fmt, self.tree, image)
            if is_cold:
                drop_caches()
                warm_programs(argv[0] if fmt != "tar" else "tar", "zstd")
            else:
                call(["sync"])
            sample = self.meter.run(argv)
            sample["bytes"] = os.path.getsize(image)
            out[measure_name] = sample
        return out

    def layout(self):
        """Onto a fresh ext4, image cold: without and with a final sync; and the floors."""
        tools = {}
        for label, fmt in LAYOUT.items():
            if not self.is_wanted(label):
                continue
            image = self.image("tree", fmt)
            if image and self.peers.extract_argv(image, fmt, "/"):
                tools[label] = lambda label=label, fmt=fmt, image=image: self.layout_pass(
                    label, lambda to: self.peers.extract_argv(image, fmt, to, label == DURABLE), self.peers.extract_programs(fmt))
        if self.is_wanted(CP):
            tools[CP] = lambda: self.layout_pass(CP, lambda to: ["cp", "-a", f"{self.tree}/.", to], [["cp"]])
        image = self.image("tree", "plyfs")
        if not self.is_wanted(FLOOR):
            pass
        elif measure.available_bytes() > 3 * self.tree_bytes():
            tools[FLOOR] = lambda: self.floor_pass(image)
        else:
            self.peers.skip(FLOOR, "the tree does not fit into memory")
        return with_floors(self.alternate("layout", tools, patience_s=math.inf))

    def tree_bytes(self):
        if self.nbytes is None:
            self.nbytes = int(call(["du", "-s", "-B1", self.tree]).split()[0])
        return self.nbytes

    def fresh_disk(self):
        self.leave()
        with open(self.disk, "wb") as f:
            f.truncate((1 << 30) + 3 * self.tree_bytes())
        call(["mkfs.ext4", "-q", "-F", self.disk])
        call(["mount", "-o", "loop,noinit_itable", self.disk, self.mnt])
        to = os.path.join(self.mnt, "to")
        os.mkdir(to)
        return to

    def drop_disk(self):
        self.leave()
        os.unlink(self.disk)

    def layout_pass(self, label, argv, programs):
        """@argv: a function of the directory to fill; @programs: those that it starts."""
        to = self.fresh_disk()
        argv = argv(to)
        files = [path for p in (*programs, ["sync"]) for path in files_of(p)]
        drop_caches()
        warm_files(files)
        sample = self.meter.run(argv)
        sync = self.meter.run(["sync", "-f", self.mnt])
        self.check_same({"plyfs": "plyfs layout", DURABLE: "plyfs layout, durable"}.get(label, label), to)
        self.drop_disk()
        synced = {NO_SYNC + FINAL_SYNC: with_sync(sample, sync)}
        if label == DURABLE:                    # its own syncs are in its time
            return synced
        return {NO_SYNC: {**sample, "sync_s": sync["wall_s"]}, **synced}

    def floor_pass(self, image):
        """Parts of a layout alone, from memory: floors.c."""
        to = self.fresh_disk()
        result = os.path.join(self.work, "floors.json")
        argv = [self.helpers["floors"], image, self.tree, to, self.peers.ncpu]
        whole = self.meter.run(["bash", "-c", f"exec {shlex.join(argv)} >{shlex.quote(result)}"])
        with open(result) as f:
            parts = json.load(f)
        self.drop_disk()
        return floor_rows(parts, whole, measure.NCPU)

    def walk(self):
        """find, ls -lR and all xattrs; and whether each mount shows the same tree."""
        return self.alternate("walk", self.mount_tools("tree", self.walk_pass, directory=True))

    def walk_pass(self, key, image):
        top = self.on(key)
        find = ["find", top, "-xdev", "-printf", "%s %m\n"]
        daemon = self.enter_cold(key, image, "find")
        cold = self.meter.run(find, daemon)
        # somebody else may drop the caches of the whole machine in between, but not every time
        for _ in range(3):
            before = self.requests(key)
            warm = self.meter.run(find, daemon)
            if before is None:
                break
            warm["requests"] = self.requests(key) - before
            if not warm["requests"]:
                break
        daemon = self.enter_cold(key, image, "ls")
        listing = self.meter.run(["ls", "-lR", top], daemon)
        daemon = self.enter_cold(key, image, "getfattr")
        xattrs = self.meter.run(["bash", "-c", f"getfattr -R -P -d -m - {shlex.quote(top)} 2>/dev/null || true"], daemon)
        if key != DIRECTORY:
            self.check_same("plyfs mount" if key == "plyfs" else key, self.mnt)
        return {"find cold": cold, "find warm": warm, "ls -lR cold": listing, "xattrs cold": xattrs}

    def requests(self, key):
        """Requests that plyfs's daemon has answered; its own count is exact. None for others."""
        if key != "plyfs":
            return None
        return int(call([sys.executable, os.path.join(TESTS, "mount", "probe.py"), "requests", self.mnt]))

    def read(self):
        """Everything through tar, cold and warm; and by four readers at once."""
        return self.alternate("read", self.mount_tools("tree", self.read_pass, leave_out=("squashfuse", "wimmount"), directory=True))

    def read_pass(self, key, image):
        top = shlex.quote(self.on(key))
        tar = ["bash", "-o", "pipefail", "-c", f"tar -C {top} --one-file-system -cf - . | cat >/dev/null"]
        four = ["bash", "-o", "pipefail", "-c", f"find {top} -xdev -type f -print0 | xargs -0 -n 128 -P 4 cat >/dev/null"]
        daemon = self.enter_cold(key, image, "tar", "cat")
        out = {"tar cold": self.meter.run(tar, daemon), "tar warm": self.meter.run(tar, daemon)}
        daemon = self.enter_cold(key, image, "find", "xargs", "cat")
        out["4 readers cold"] = self.meter.run(four, daemon)
        return out

    def exec_like(self):
        """All programs of usr/bin read by two processes, cold."""
        if not os.path.isdir(os.path.join(self.tree, "usr/bin")):
            raise NotHere(f"{self.tree} has no usr/bin")
        return self.alternate("exec", self.mount_tools("tree", self.exec_pass, leave_out=("squashfuse",), directory=True))

    def exec_pass(self, key, image):
        top = shlex.quote(self.on(key))
        daemon = self.enter_cold(key, image, "find", "xargs", "sha256sum")
        return {"sha256sum cold": self.meter.run(
            ["bash", "-o", "pipefail", "-c", f"cd {top} && find usr/bin -type f -print0 | xargs -0 -n 64 -P 2 sha256sum"], daemon)}

    def random(self):
        """fio, 4 KiB at random in one file of 128 MiB, cold; 32 MiB by one job, 4 times 8 MiB by four."""
        if not self.peers.need("fio"):
            raise NotHere("fio is missing")
        return self.alternate("random", self.mount_tools("large", self.random_pass))

    def random_pass(self, key, image):
        out = {}
        size = min(RANDOM_BYTES, os.path.getsize(os.path.join(self.large_src, "file")))
        for jobs, each in ((1, RANDOM_BYTES // 4), (4, RANDOM_BYTES // 16)):
            daemon = self.enter_cold(key, image, "fio")
            result = os.path.join(self.work, "fio.json")
            sample = self.meter.run(
                ["fio", "--name=r", f"--filename={self.mnt}/file", "--readonly", "--rw=randread", "--bs=4k", f"--size={size}",
                 f"--io_size={min(each, size)}", "--invalidate=0", "--ioengine=psync", f"--numjobs={jobs}", "--thread",
                 "--group_reporting", "--output-format=json", f"--output={result}"], daemon)
            with open(result) as f:
                text = f.read()
            done = json.loads(text[text.index("{"):])["jobs"][0]["read"]
            sample["iops"] = done["iops"]
            sample["wall_s"] = done["io_bytes"] / 4096 / done["iops"]       # without fio's own start
            out[f"{jobs} job{'s' if jobs > 1 else ''} cold"] = sample
        return out

    def large(self):
        """One file of 256 MiB from its first byte to its last, cold and warm."""
        return self.alternate("large", self.mount_tools("large", self.large_pass))

    def large_pass(self, key, image):
        argv = ["dd", f"if={self.mnt}/file", "of=/dev/null", "bs=1M", "status=none"]
        daemon = self.enter_cold(key, image, "dd")
        return {"read cold": self.meter.run(argv, daemon), "read warm": self.meter.run(argv, daemon)}

    def mount(self):
        """Mount command to first stat; warm 20 times, cold (programs too) 5 times; small tree and many files."""
        out = {}
        for name, label in (("tree", "small"), ("many", "many")):
            # plyfs's and the kernel's mounts need no wim of a million files
            tools = self.mount_tools(name, lambda key, image: None, leave_out=("wimmount",) if name == "many" else ())
            images = {key: self.image(name, fmt) for key, fmt in self.peers.mounts() if key in tools}
            if name == "many":
                self.drop_many()
            for how, runs in (("warm", MOUNT_REPEATS if self.runs > 1 else 3), ("cold", self.runs)):
                passes = {key: lambda key=key, image=image, how=how, label=label: {f"{label}, {how}": self.mount_pass(key, image, how)}
                          for key, image in images.items()}
                out.update(self.alternate("mount", passes, runs))
        return out

    def mount_pass(self, key, image, how):
        self.leave()
        if how == "cold":
            drop_caches()
        self.mounted = key
        sample = self.meter.run(self.peers.mount_argv(key, image, self.mnt), until=os.path.join(self.mnt, "."),
                                find_daemon=None if key.startswith("kernel ") else lambda: self.peers.daemon_of(self.mnt))
        if not is_mounted(self.mnt):
            self.peers.await_mount(self.mnt)
            raise Failed(f"{key}: the command ended before the mount was there")
        self.leave()
        return sample

    def scale(self):
        """A million small files: built once, find cold and warm; all of it read once, for the daemon's memory."""
        built = {"build": {}}
        for fmt in ("plyfs", "squashfs", "erofs"):
            if not self.is_wanted(LABEL[fmt]):
                continue
            path = self.peers.image("many", fmt)
            if os.path.exists(path):
                os.unlink(path)
            argv = self.peers.build_argv(fmt, self.source("many"), path, many=True)
            if argv is None:
                continue
            try:
                sample = self.meter.run(argv)
            except Failed as e:
                self.failed(LABEL[fmt], e)
                self.broken.add(path)
                continue
            sample["bytes"] = os.path.getsize(path)
            self.say(f"{LABEL[fmt]}: build {sample['wall_s']:.1f} s")
            built["build"][LABEL[fmt]] = [sample]
        self.drop_many()
        tools = self.mount_tools("many", self.scale_pass, leave_out=("wimmount", "squashfuse"))
        return {**built, **self.alternate("scale", tools)}

    def scale_pass(self, key, image):
        find = ["find", self.mnt, "-xdev", "-printf", "%s %m\n"]
        daemon = self.enter_cold(key, image, "find")
        out = {"find cold": self.meter.run(find, daemon), "find warm": self.meter.run(find, daemon)}
        if key == "plyfs" and not self.has_read_many:
            self.has_read_many = True
            out["read after find"] = self.meter.run(
                ["bash", "-o", "pipefail", "-c", f"tar -C {shlex.quote(self.mnt)} -cf - . | cat >/dev/null"], daemon)
            out["read after find"]["daemon_anon_mib"] = measure.memory_kib(daemon, "RssAnon") / 1024
        return out

    def overlay(self):
        """Changes on top of an image: overlay.py."""
        o = Overlay(self)
        try:
            o.make()
            return self.alternate("overlay", o.tools(), patience_s=math.inf)
        finally:
            o.clean_up()

    # --- the end ---

    def clean_up(self):
        try:
            self.leave()
        except Failed as e:
            self.say(str(e))
        for path in (self.mnt, self.many_src):
            while is_mounted(path):
                if subprocess.run(["umount", path], stderr=subprocess.DEVNULL, check=False).returncode:
                    subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)
        for path in (self.large_src, self.many_src):
            shutil.rmtree(path, ignore_errors=True)
        for name in os.listdir(self.work):
            if name.split(".", 1)[0] in ("tree", "large", "many", "overlay", "disk", "fio", "floors", "changes", "meter"):
                os.unlink(os.path.join(self.work, name))


WORKLOADS = {"capture": Bench.capture, "layout": Bench.layout, "walk": Bench.walk, "read": Bench.read, "exec": Bench.exec_like,
             "random": Bench.random, "large": Bench.large, "mount": Bench.mount, "scale": Bench.scale, "overlay": Bench.overlay}
