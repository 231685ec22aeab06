# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes on top of an image: plyfs's writable mount against overlayfs, with a plain copy on ext4 as the floor.

The lower tree is the tree of all workloads and a folder `bench` with a large file, one of 128 MiB and a directory of
2,000 entries; for the peers it is one squashfs. What is written goes to a fresh ext4 on a loop device: upper layer,
log or copy. Each pass of a tool makes all changes in one order, on a mount that begins cold.
"""
import json
import os
import shlex
import shutil
import subprocess

from measure import Failed, call, drop_caches, files_of, warm_files, with_sync
from peers import is_mounted, kernel_has

KERNEL, FUSE, COPY, PLYFS = "kernel overlayfs", "fuse-overlayfs", "ext4 copy", "plyfs"
TOOLS = (PLYFS, KERNEL, FUSE, COPY)
LARGE, MIDDLE, ENTRIES = 500 << 20, 128 << 20, 2000
UNTAR_FILES, SOURCES, PACKAGES = 4000, 60, 12
SYNC_S = 3
RATE_OF = 1000              # a rate is shown as the seconds that so many take


def write_noise(path, size):
    """What zstd cannot make smaller: nobody wins by reading less."""
    with open("/dev/urandom", "rb") as src, open(path, "wb") as out:
        for at in range(0, size, 1 << 20):
            out.write(src.read(min(1 << 20, size - at)))


def stanzas(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        for text in f.read().split("\n\n"):
            fields, last = {}, None
            for line in text.splitlines():
                if line.startswith((" ", "\t")):
                    fields[last] += "\n" + line
                elif ":" in line:
                    last, value = line.split(":", 1)
                    fields[last] = value.strip()
            if fields:
                yield fields


class Overlay:
    def __init__(self, bench):
        self.b = bench
        at = lambda name: os.path.join(bench.work, name)
        self.source, self.lower, self.upper, self.merged = at("overlay-source"), at("overlay-lower"), at("overlay-upper"), at("overlay-merged")
        self.things = at("overlay-things")
        self.image = {PLYFS: at("overlay.plyfs"), "squashfs": at("overlay.sqfs")}
        self.daemon = None

    # --- what all work on ---

    def make(self):
        """Once: the lower tree, its images, and what is brought into it."""
        if os.path.isdir(self.things):
            return
        for path in (self.source, self.lower, self.upper, self.merged):
            os.makedirs(path, exist_ok=True)
        extra = os.path.join(self.b.work, "overlay-extra")
        os.makedirs(os.path.join(extra, "u", "bench", "many"))
        os.makedirs(os.path.join(extra, "w"))
        self.b.say("making the lower tree")
        write_noise(os.path.join(extra, "u", "bench", "large"), LARGE)
        write_noise(os.path.join(extra, "u", "bench", "middle"), MIDDLE)
        for i in range(ENTRIES):
            with open(os.path.join(extra, "u", "bench", "many", f"entry-{i}"), "w") as f:
                f.write(f"{i}\n")
        call(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={self.b.tree},upperdir={extra}/u,workdir={extra}/w", self.source])
        try:
            for fmt, image in ((PLYFS, self.image[PLYFS]), ("squashfs", self.image["squashfs"])):
                argv = self.b.peers.build_argv(fmt, self.source, image)
                if argv is None:
                    raise Failed(f"{image} cannot be made")
                call(argv)
            os.makedirs(self.things)
            self.make_things()
        finally:
            call(["umount", self.source])
            shutil.rmtree(extra)

    def make_things(self):
        files = []
        for where, dirs, names in os.walk(self.b.tree):
            dirs.sort()
            files += [os.path.relpath(os.path.join(where, n), self.b.tree) for n in sorted(names)]
            if len(files) >= UNTAR_FILES:
                break
        with open(os.path.join(self.things, "files"), "wb") as f:
            f.write(b"\0".join(os.fsencode(x) for x in files[:UNTAR_FILES]))
        call(["tar", "-C", self.b.tree, "--null", "-T", os.path.join(self.things, "files"), "-cf", os.path.join(self.things, "files.tar")])
        self.make_packages()
        self.make_sources()

    def make_packages(self):
        """Packages of the tree, made again of what it has installed: those of most files that start no service."""
        info = os.path.join(self.b.tree, "var/lib/dpkg/info")
        found = []
        for fields in stanzas(os.path.join(self.b.tree, "var/lib/dpkg/status")):
            name = fields.get("Package", "")
            base = next((os.path.join(info, n) for n in (name, f"{name}:{fields.get('Architecture', '')}")
                         if os.path.exists(os.path.join(info, n + ".list"))), None)
            scripts = [base + "." + s for s in ("preinst", "postinst", "prerm", "postrm") if base and os.path.exists(base + "." + s)]
            if base and fields.get("Status", "").endswith("installed") and not scripts and "Pre-Depends" not in fields:
                with open(base + ".list", encoding="utf-8", errors="surrogateescape") as f:
                    found.append((-len(f.readlines()), name, base, fields))
        for _, name, base, fields in sorted(found, key=lambda x: x[:2])[:PACKAGES]:
            self.make_package(name, base, fields)

    def make_package(self, name, base, fields):
        root = os.path.join(self.things, "package")
        os.makedirs(os.path.join(root, "DEBIAN"))
        conffiles = [line.split()[0] for line in fields.pop("Conffiles", "").splitlines() if line.split()]
        fields.pop("Status", None)
        with open(os.path.join(root, "DEBIAN", "control"), "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write("".join(f"{k}: {v}\n" for k, v in fields.items()))
        with open(os.path.join(root, "DEBIAN", "conffiles"), "w", encoding="utf-8") as f:
            f.write("".join(f"{c}\n" for c in conffiles if os.path.lexists(self.b.tree + c)))
        with open(base + ".list", encoding="utf-8", errors="surrogateescape") as f:
            listed = f.read().splitlines()
        above = {os.path.dirname(p) for p in listed}
        # a directory of the package may be a symlink to one here (/lib)
        paths = [p for p in listed if p != "/." and os.path.lexists(self.b.tree + p) and not (p in above and os.path.islink(self.b.tree + p))]
        with open(os.path.join(self.things, "list"), "wb") as f:
            f.write(b"\0".join(os.fsencode("." + p) for p in paths))
        call(["bash", "-o", "pipefail", "-c", f"tar -C {shlex.quote(self.b.tree)} --no-recursion --null -T "
              f"{shlex.quote(os.path.join(self.things, 'list'))} -cf - | tar -C {shlex.quote(root)} -xf -"])
        os.makedirs(os.path.join(self.things, "packages"), exist_ok=True)
        call(["dpkg-deb", "--root-owner-group", "-Znone", "-b", root, os.path.join(self.things, "packages", f"{name}.deb")])
        shutil.rmtree(root)

    def make_sources(self):
        """C files that a compiler takes some time for, with headers of the machine."""
        folder = os.path.join(self.things, "sources")
        os.makedirs(folder)
        for i in range(SOURCES):
            body = "".join(f"static int f{k}(int x) {{ char b[64]; snprintf(b, sizeof(b), \"%d\", x + {k}); return atoi(b) * {i + 1}; }}\n"
                           for k in range(40))
            with open(os.path.join(folder, f"s{i}.c"), "w") as f:
                f.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n" + body +
                        f"int g{i}(int x) {{ return " + " + ".join(f"f{k}(x)" for k in range(40)) + "; }\n")
        with open(os.path.join(folder, "Makefile"), "w") as f:
            f.write(f"OBJECTS := $(patsubst %,s%.o,$(shell seq 0 {SOURCES - 1}))\nall: lib.a\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n"
                    "lib.a: $(OBJECTS)\n\tar rcs $@ $^\n")

    # --- one tool ---

    def tools(self):
        out = {}
        for name in TOOLS:
            if not self.b.is_wanted(name):
                continue
            if name in (KERNEL, FUSE) and not kernel_has("squashfs"):
                self.b.peers.skip(name, "no squashfs in this kernel")
            elif name == KERNEL and not kernel_has("overlay"):
                self.b.peers.skip(name, "not in this kernel")
            elif name != FUSE or self.b.peers.need(FUSE):
                out[name] = lambda name=name: self.one_pass(name)
        return out

    def enter(self, name):
        """Mount; what is written goes to a new ext4."""
        self.leave()
        with open(self.b.disk, "wb") as f:
            f.truncate((4 << 30) + 2 * (LARGE + MIDDLE + self.b.tree_bytes()))
        call(["mkfs.ext4", "-q", "-F", self.b.disk])
        call(["mount", "-o", "loop,noinit_itable", self.b.disk, self.upper])
        self.daemon = None
        if name in (KERNEL, FUSE, COPY):
            call(["mount", "-t", "squashfs", "-o", "loop,ro", self.image["squashfs"], self.lower])
        layers = f"lowerdir={self.lower},upperdir={self.upper}/u,workdir={self.upper}/w"
        os.mkdir(os.path.join(self.upper, "u"))
        os.mkdir(os.path.join(self.upper, "w"))
        if name == KERNEL:
            call(["mount", "-t", "overlay", "overlay", "-o", layers, self.merged])
        elif name == FUSE:
            call([*self.b.peers.program(FUSE), "-o", layers, self.merged])
        elif name == COPY:
            call(["cp", "-a", f"{self.lower}/.", os.path.join(self.upper, "u")])
            call(["mount", "--bind", os.path.join(self.upper, "u"), self.merged])
        else:
            log = os.path.join(self.upper, "log.redo")
            call([self.b.peers.plyfs, "redo", "create", self.image[PLYFS], log])
            call([self.b.peers.plyfs, "mount", log, self.merged])
        if name in (FUSE, PLYFS):
            self.b.peers.await_mount(self.merged)
            self.daemon = self.b.peers.daemon_of(self.merged)

    def leave(self):
        while is_mounted(self.merged):
            call(["umount", self.merged])
        if self.daemon and not self.b.peers.has_ended(self.daemon, 30):
            raise Failed(f"the daemon {self.daemon} does not end")
        self.daemon = None
        for path in (self.lower, self.upper):
            while is_mounted(path):
                call(["umount", path])

    def cold(self, *programs):
        drop_caches()
        warm_files([path for p in programs for path in files_of([p])])

    def timed(self, *argv):
        """A change that changes.c times itself."""
        result = os.path.join(self.b.work, "changes.json")
        sample = self.b.meter.run(["bash", "-c", f"exec {shlex.join([self.b.helpers['changes'], *argv])} >{shlex.quote(result)}"], self.daemon)
        with open(result) as f:
            told = json.load(f)
        sample["wall_s"] = told["wall_s"]
        if argv[0] in ("overwrite", "create"):
            sample["iops"] = told["done"] / told["wall_s"]
            sample["wall_s"] = RATE_OF / sample["iops"]
        return sample

    def run(self, argv, **kw):
        return self.b.meter.run(argv, self.daemon, **kw)

    def one_pass(self, name):
        self.enter(name)
        on = lambda path: os.path.join(self.merged, path)
        out = {}
        self.cold(self.b.helpers["changes"], "bash")
        out["append 1 byte to 500 MiB, cold"] = self.timed("append", on("bench/large"))
        out["chmod of 128 MiB, cold"] = self.timed("chmod", on("bench/middle"))
        out["rename of a directory of 2,000"] = self.timed("rename", on("bench/many"), on("bench/renamed"))
        os.makedirs(on("opt/untar"))
        tar = self.run(["tar", "-C", on("opt/untar"), "-xf", os.path.join(self.things, "files.tar")])
        out["untar of 4,000 files"] = tar
        out["untar of 4,000 files, with the sync"] = with_sync(tar, self.run(self.sync_argv(name)))
        if os.path.isdir(os.path.join(self.things, "packages")):
            out["dpkg -i of 12 packages, cold"] = self.install()
        shutil.copytree(os.path.join(self.things, "sources"), on("opt/sources"))
        out["make -j2 of 60 C files"] = self.run(["make", "-s", "-j2", "-C", on("opt/sources")])
        self.cold("rm")
        out["rm -rf usr/share/doc, cold"] = self.run(["rm", "-rf", on("usr/share/doc")])
        for verb, threads in (("overwrite", 1), ("overwrite", 16), ("create", 1), ("create", 16)):
            folder = on(f"opt/sync/{verb}-{threads}")
            os.makedirs(folder)
            label = "4 KiB anywhere, fsync" if verb == "overwrite" else "create, 100 bytes, fsync"
            out[f"{label}, {threads} thread{'s' if threads > 1 else ''} (s for {RATE_OF:,})"] = self.timed(
                verb, folder, str(threads), str(SYNC_S))
        self.check(name)
        self.leave()
        return out

    def sync_argv(self, name):
        """What brings a tool's changes to the disk: sync(2) does not reach a FUSE daemon's log."""
        return [self.b.peers.plyfs, "sync", self.merged] if name == PLYFS else ["sync", "-f", self.merged]

    def install(self):
        packages = os.path.join(self.things, "packages")
        inside = os.path.join(self.merged, "opt/packages")
        shutil.copytree(packages, inside)
        names = [f"/opt/packages/{n}" for n in sorted(os.listdir(packages))]
        self.cold("chroot", "dpkg", "dpkg-deb", "tar")
        return self.run(["chroot", self.merged, "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "dpkg",
                         "--force-all", "-i", *names])

    def check(self, name):
        """All tools end with the same: else their figures say nothing."""
        size = os.path.getsize(os.path.join(self.merged, "bench/large"))
        entries = len(os.listdir(os.path.join(self.merged, "bench/renamed")))
        objects = sum(n.endswith(".o") for n in os.listdir(os.path.join(self.merged, "opt/sources")))
        if (size, entries, objects) != (LARGE + 1, ENTRIES, SOURCES) or os.path.lexists(os.path.join(self.merged, "usr/share/doc")):
            raise Failed(f"{name}: what was changed is not there")

    def clean_up(self):
        try:
            self.leave()
        except Failed as e:
            self.b.say(str(e))
        for path in (self.merged, self.lower, self.upper, self.source):
            while is_mounted(path):
                if subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False).returncode:
                    break
        for path in (self.things, os.path.join(self.b.work, "overlay-extra")):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self.source, self.lower, self.upper, self.merged):
            if os.path.isdir(path):
                os.rmdir(path)
