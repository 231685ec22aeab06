# SPDX-License-Identifier: LGPL-2.1-or-later
"""The peers: their programs, how they make an image, mount it and unpack it.

Programs are the machine's own, or, with PEERS=newer, those of a private root, started by its own dynamic
loader, so that nothing of the machine changes. squashfuse_ll is then measured twice: Debian 12's has one
thread, the newer one many. What is missing is a skip, counted and printed.
"""
import glob
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

from measure import Failed, call

LEVEL = 3
BLOCK = 128 * 1024
EROFS_CLUSTER = 64 * 1024
NEWER_SUITE = "trixie"
SUFFIX = {"plyfs": "plyfs", "squashfs": "sqfs", "erofs": "erofs", "wim": "wim", "tar": "tar.zst"}
MAKER = {"squashfs": "mksquashfs", "erofs": "mkfs.erofs", "wim": "wimcapture", "tar": "zstd"}
EXTRACTOR = {"squashfs": "unsquashfs", "erofs": "fsck.erofs", "wim": "wimapply", "tar": "zstd"}
TAR = ("tar --xattrs --xattrs-include='*' --acls --numeric-owner --one-file-system -S",)
# of the LAMP machine; another tree is one component
COMPONENTS = ("-c", "apache=apache2,apache2-bin,apache2-data", "-c", "mysql=mariadb-server,mariadb-server-core,mariadb-client",
              "-c", "php=php8.2-cli,libapache2-mod-php8.2")
# key, format, program (None: the kernel's)
MOUNTS = (("plyfs", "plyfs", "plyfs"), ("kernel squashfs", "squashfs", None), ("kernel erofs", "erofs", None),
          ("squashfuse_ll newer", "squashfs", "squashfuse_ll newer"), ("squashfuse_ll", "squashfs", "squashfuse_ll"),
          ("squashfuse", "squashfs", "squashfuse"), ("erofsfuse", "erofs", "erofsfuse"), ("wimmount", "wim", "wimmount"))
MOUNT_S = 30
GRACE_S = 3


def unescape(text):
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def is_mounted(path):
    with open("/proc/self/mountinfo") as f:
        return any(unescape(line.split()[4]) == path for line in f)


def kernel_has(fstype):
    with open("/proc/filesystems") as f:
        if f"\t{fstype}\n" in f.read():
            return True
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", fstype], check=False, stderr=subprocess.DEVNULL)
    with open("/proc/filesystems") as f:
        return f"\t{fstype}\n" in f.read()


class Peers:
    def __init__(self, build, work, newer):
        self.plyfs = os.path.join(build, "bin", "plyfs")
        self.work = work
        self.skips = []         # [{"what":, "why":}]
        self.is_newer = newer
        self.newer_root = self.root_of_newer(build) if newer else None
        self.ncpu = str(os.cpu_count())

    def skip(self, what, why):
        entry = {"what": what, "why": why}
        if entry not in self.skips:
            self.skips.append(entry)

    # --- programs ---

    def root_of_newer(self, build):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "newer.sh")
        r = subprocess.run([script, NEWER_SUITE], env={**os.environ, "PLYFS_BUILD": build}, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if r.returncode:
            why = r.stderr.decode(errors="replace").strip().splitlines()
            self.skip("newer peers", why[-1] if why else f"newer.sh: exit code {r.returncode}")
            return None
        return r.stdout.decode().strip()

    def in_newer(self, name):
        """argv of a program of the private root, or None."""
        if not self.newer_root:
            return None
        root = self.newer_root
        loaders = sorted(glob.glob(f"{root}/usr/lib/*/ld-linux-*.so.*") + glob.glob(f"{root}/lib*/ld-linux-*.so.*"))
        for folder in ("usr/bin", "usr/sbin", "bin", "sbin"):
            program = os.path.join(root, folder, name)
            if loaders and os.path.exists(program):
                paths = sorted(set(glob.glob(f"{root}/usr/lib/*-linux-*") + glob.glob(f"{root}/lib/*-linux-*")))
                return [loaders[0], "--library-path", ":".join(paths), program]
        return None

    def program(self, name):
        """argv to begin with, or None. The newest at hand, but for squashfuse_ll."""
        if name == "plyfs":
            return [self.plyfs]
        if name.endswith(" newer"):
            return self.in_newer(name.split()[0])
        own = shutil.which(name)
        own = [own] if own else None
        if name == "squashfuse_ll":
            return own
        return self.in_newer(name) or own

    def need(self, name):
        """argv of it; else a skip, and None."""
        argv = self.program(name)
        if argv is None:
            wants_newer = name.endswith(" newer") and not self.is_newer
            self.skip(name, "only with PEERS=newer" if wants_newer else "is not installed, or could not be had")
        return argv

    def versions(self):
        out = {}
        for name in ("mksquashfs", "unsquashfs", "squashfuse_ll", "squashfuse_ll newer", "squashfuse", "mkfs.erofs", "fsck.erofs",
                     "erofsfuse", "wimcapture", "tar", "zstd", "fio", "find"):
            argv = self.program(name)
            if argv is None:
                continue
            for option in ("--version", "-version", "-V", "--help"):
                r = subprocess.run([*argv, option], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   check=False, timeout=10)
                lines = [x for x in r.stdout.replace(os.fsencode(argv[-1]), b"").splitlines() if not x.startswith(b"fusermount")]
                found = re.search(rb"\d+\.\d+(\.\d+)*", b"\n".join(lines[:4]))
                if found:
                    out[name] = found[0].decode()
                    break
        return out

    def has_erofs_zstd(self):
        r = subprocess.run([*self.program("mkfs.erofs"), "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, check=False)
        return b"zstd" in r.stdout

    def erofs_options(self):
        if self.has_erofs_zstd():
            return [f"-zzstd,level={LEVEL}", f"-C{EROFS_CLUSTER}", f"--workers={self.ncpu}"]
        return ["-zlz4hc", f"-C{EROFS_CLUSTER}"]

    # --- images ---

    def image(self, name, fmt):
        return os.path.join(self.work, f"{name}.{SUFFIX[fmt]}")

    def build_argv(self, fmt, tree, image, many=False):
        """How to make an image of a tree; None (and a skip) where its maker is missing. The old image is gone."""
        maker = self.need(MAKER[fmt]) if fmt != "plyfs" else [self.plyfs]
        if maker is None:
            return None
        if os.path.exists(image):
            os.unlink(image)
        if fmt == "plyfs":
            lamp = os.path.exists(os.path.join(tree, "usr/sbin/apache2")) and os.path.exists(os.path.join(tree, "usr/sbin/mariadbd"))
            return [*maker, "capture", tree, image, "--level", str(LEVEL), "--progress=never", *(COMPONENTS if lamp else ())]
        if fmt == "squashfs":
            # its search for equal files is quadratic in files of one size
            return [*maker, tree, image, "-noappend", "-no-progress", "-quiet", "-comp", "zstd", "-Xcompression-level", str(LEVEL),
                    "-b", str(BLOCK), *(["-no-duplicates"] if many else [])]
        if fmt == "erofs":
            return [*maker, "--quiet", *self.erofs_options(), image, tree]
        if fmt == "wim":
            return [*maker, tree, image, "--unix-data", f"--threads={self.ncpu}"]
        return ["bash", "-o", "pipefail", "-c", f"{TAR[0]} -C {shlex.quote(tree)} -cpf - . | "
                f"{shlex.join(maker)} -q -{LEVEL} -T0 -o {shlex.quote(image)}"]

    def extract_programs(self, fmt):
        """[argv to begin with] of all programs that unpack an image."""
        if fmt == "plyfs":
            return [[self.plyfs]]
        return [self.program(EXTRACTOR[fmt]), *([["bash"], ["tar"]] if fmt == "tar" else [])]

    def has_erofs_xattrs(self):
        """fsck.erofs leaves xattrs out unless it is asked for them; older ones have no such option."""
        r = subprocess.run([*self.program("fsck.erofs"), "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, check=False)
        return b"xattrs" in r.stdout

    def extract_argv(self, image, fmt, to, is_durable=False):
        """How to unpack an image into an empty directory; None where it cannot be had. @is_durable: as plyfs
        does it by itself; else like the peers, which leave it to the kernel when the data reaches the disk."""
        if fmt == "plyfs":
            return [self.plyfs, "layout", image, to, "-j", self.ncpu, "--progress=never", *([] if is_durable else ["--no-sync"])]
        argv = self.need(EXTRACTOR[fmt])
        if argv is None:
            return None
        if fmt == "squashfs":
            return [*argv, "-q", "-n", "-p", self.ncpu, "-f", "-d", to, image]
        if fmt == "erofs":
            return [*argv, f"--extract={to}", "--overwrite", *(["--xattrs"] if self.has_erofs_xattrs() else []), image]
        if fmt == "wim":
            return [*argv, image, to, "--unix-data"]
        return ["bash", "-o", "pipefail", "-c", f"{shlex.join(argv)} -qdc {shlex.quote(image)} | {TAR[0]} -xpf - -C {shlex.quote(to)}"]

    # --- mounts ---

    def mounts(self, leave_out=()):
        """[(key, format)] of what can be mounted here."""
        out = []
        for key, fmt, program in MOUNTS:
            if key in leave_out:
                continue
            if program is None:
                if not kernel_has(fmt):
                    self.skip(key, "not in this kernel")
                    continue
            elif self.need(program) is None:
                continue
            if fmt != "plyfs" and self.need(MAKER[fmt]) is None:
                continue
            out.append((key, fmt))
        return out

    def mount_argv(self, key, image, mnt):
        if key == "plyfs":
            return [self.plyfs, "mount", image, mnt]
        if key.startswith("kernel "):
            return ["mount", "-t", key.split()[1], "-o", "loop,ro", image, mnt]
        argv = self.program(key)
        if key == "wimmount":
            return [*argv, image, mnt, "--unix-data"]
        return [*argv, image, mnt]

    def daemon_of(self, mnt):
        """pid of who has the mount point on its command line, and is no child of ours."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    argv = f.read().split(b"\0")
                with open(f"/proc/{pid}/stat") as f:
                    state = f.read().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z" and os.fsencode(mnt) in argv and int(pid) != os.getpid():
                return int(pid)
        return None

    def unmount(self, key, mnt):
        """And wait until the daemon is gone, and has let go of its image."""
        daemon = None if key.startswith("kernel ") else self.daemon_of(mnt)
        if key == "wimmount" and self.program("wimunmount"):
            call([*self.program("wimunmount"), mnt])
        else:
            call(["umount", mnt])
        if daemon and not self.has_ended(daemon, GRACE_S):
            # somebody's mount namespace has a copy of the mount
            os.kill(daemon, signal.SIGTERM)
            if not self.has_ended(daemon, MOUNT_S):
                raise Failed(f"{key}: its daemon {daemon} does not end")

    def await_mount(self, mnt):
        until = time.monotonic() + MOUNT_S
        while not is_mounted(mnt):
            if time.monotonic() > until:
                raise Failed(f"{mnt}: is not mounted")
            time.sleep(0.002)

    def has_ended(self, pid, patience_s):
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            try:
                with open(f"/proc/{pid}/stat") as f:
                    if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                        return True
            except OSError:
                return True
            time.sleep(0.002)
        return False
