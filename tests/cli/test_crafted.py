#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile images: what an attacker makes who knows the format does nothing beyond its budget.

Each image of crafted_images.py is listed, verified, mounted and laid out; those of FULL go through every verb that
reads, find, tar and getfattr, as root and as nobody. Each ends with a harmless result or with exit code 4, as the
table says. Within

    10 s of processor time       no crash, no hang
    memory                       of the command, and of the daemon
    output                       of the command, without control characters where it is text
    the target                   a tmpfs of 64 MiB; empty again after a failure
    all around it                is as it was: a tree beside the target, and above it
    the bytes of `victim`        are right, or there are none

A target that was laid out is compared with the mount. One line of TAP an image.

    CRAFTED="NAME..."     only these, in full, with what was run; also those that are skipped
    CRAFTED=all           everything in full
"""
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../lib")]

NOBODY = 65534
SANITIZED = any(w in os.environ.get("PLYFS_BUILD", "") for w in ("address", "thread"))
MEMORY = (1200 if SANITIZED else 160) << 20
CPU_S = 10
WALL_S = 120            # a hang that costs nothing
OUTPUT = 4 << 20
TARGET_BYTES = 64 << 20
TARGET_INODES = 60000
CONTROL = re.compile(rb"[\0-\x08\x0b-\x1f\x7f]")


class Failure(Exception):
    pass


class Timeout(Exception):
    pass


def on_alarm(*_):
    raise Timeout


class Result:
    def __init__(self, code, output, error, memory, cpu):
        self.code, self.output, self.error, self.memory, self.cpu = code, output, error, memory, cpu

    def said(self):
        return (self.error or self.output)[-300:].decode("utf-8", "backslashreplace")


class Worker:
    """A sandbox of its own: target and mount points, and the sentinels beside and above them."""

    def __init__(self, number, images):
        self.images = images
        self.dir = f"{TMP}/w{number}/around"
        self.out, self.err = f"{TMP}/w{number}/out", f"{TMP}/w{number}/err"
        os.makedirs(f"{self.dir}/beside/below")
        for name in ("target", "m", "mu", "tu"):
            os.mkdir(f"{self.dir}/{name}")
        os.chown(f"{self.dir}/mu", NOBODY, NOBODY)
        for at in ("", "beside/", "beside/below/", "../"):
            with open(f"{self.dir}/{at}sentinel", "w") as f:
                f.write("untouched\n")
        self.before = self.around()
        self.log = []

    def around(self):
        seen = []
        for where, dirs, files in os.walk(f"{self.dir}/.."):
            dirs[:] = sorted(d for d in dirs if d not in ("target", "tu", "m", "mu"))
            for name in sorted(dirs + files):
                path = f"{where}/{name}"
                st = os.lstat(path)
                if name not in ("out", "err"):
                    seen.append((path, st.st_mode, st.st_uid, st.st_ino, st.st_nlink, st.st_size,
                                 st.st_mtime_ns if stat.S_ISREG(st.st_mode) else 0))
        return seen

    # running a command

    def run(self, argv, user=False, output=OUTPUT, limit_files=True):
        def limits():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
            if limit_files:
                resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
            if not SANITIZED:
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            if user:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)

        said = " ".join(argv)
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.dir,
                                     preexec_fn=limits, start_new_session=True)
        signal.alarm(WALL_S)
        try:
            _, status, used = os.wait4(child.pid, 0)
        except Timeout:
            os.killpg(child.pid, signal.SIGKILL)
            os.wait4(child.pid, 0)
            raise Failure(f"{said}: hangs") from None
        finally:
            signal.alarm(0)
        child.returncode = code = os.waitstatus_to_exitcode(status)
        size = os.path.getsize(self.out) + os.path.getsize(self.err)
        with open(self.out, "rb") as out, open(self.err, "rb") as err:
            r = Result(code, out.read(OUTPUT), err.read(OUTPUT), used.ru_maxrss << 10, used.ru_utime + used.ru_stime)
        tail = (r.error or r.output)[-300:].decode("utf-8", "replace").strip().splitlines()[-1:]
        self.log.append(f"{'user: ' if user else ''}{said}: {code}, {r.memory >> 20} MiB, {r.cpu:.2f} s, {size} bytes: {tail}")
        if code < 0:
            raise Failure(f"{said}: ended by {signal.Signals(-code).name}: {r.said()}")
        if r.memory > MEMORY:
            raise Failure(f"{said}: {r.memory >> 20} MiB of memory")
        if size > output:
            raise Failure(f"{said}: {size} bytes of output")
        return r

    def verb(self, argv, expected, user=False, text=True, **more):
        r = self.run(["plyfs", *argv], user, **more)
        if r.code not in expected:
            raise Failure(f"{'user: ' if user else ''}plyfs {' '.join(argv)}: {r.code}, expected {sorted(expected)}: {r.said()}")
        if r.code and not r.output + r.error:
            raise Failure(f"plyfs {' '.join(argv)}: fails and says nothing")
        if CONTROL.search(r.error) or text and CONTROL.search(r.output):
            raise Failure(f"plyfs {' '.join(argv)}: control characters in its output")
        if "--json" in argv and r.code == 0 and len(r.output) < OUTPUT:
            try:
                json.loads(r.output)
            except ValueError as e:
                raise Failure(f"plyfs {' '.join(argv)}: no JSON: {e}") from None
        return r

    # what a case goes through

    def check(self, case, image, full):
        from crafted_images import VICTIM
        self.case, self.full, self.log = case, full, []
        limit = {"output": case.budget.get("output", OUTPUT)}
        select = ["-s", case.select] if case.select else []
        for user in (False, True):
            self.verb(["ls", "-lR", image, *select], case.read, user, **limit)
            r = self.verb(["cat", image, case.victim, *select], case.read, user, text=False)
            if r.code == 0 and r.output != VICTIM:
                raise Failure(f"cat: other bytes: {r.output[:100]!r}")
            self.verb(["verify", "--deep", image], case.deep, user)
            if not user:
                planned = {0, 3, 4} | case.read | case.open
                self.verb(["plan", "--all", image, *select], planned, **limit)
                self.verb(["plan", "--all", "--json", image], planned, output=4 * limit["output"])
                self.verb(["plan", "--write=-", image], planned)
            if not full:
                break
            self.verb(["info", image], case.open, user, **limit)
            if user:
                break
            self.verb(["info", "--json", image], case.open, **limit)
            self.verb(["info", "--identity", image], case.open)
            self.verb(["ls", "-R", "--json", image, *select], case.read, output=4 * limit["output"])
            self.verb(["origin", f"--image={image}", case.victim, *select], case.read)
            self.verb(["dump", image], case.dump, output=8 * limit["output"])
            self.verb(["dump", "--json", image], case.dump, output=16 * limit["output"])
            self.verb(["verify", image], case.verify)
        if case.records:
            more = {"output": 16 * limit["output"]}
            for selection in (["-s", "os"], []):
                self.verb(["dump", "--records", "/etc/shells", image, *selection], case.records, **more)
            self.verb(["origin", "--json", f"--image={image}", "/etc/shells"], case.records, **more)
        self.mounted(image, select)
        if full:
            self.laid_out(image, select, user=True)
        if self.around() != self.before:
            raise Failure("something around the target has changed")

    def mounted(self, image, select):
        for user, where in ((True, "mu"), (False, "m")):
            if user and not self.full:
                continue
            point = f"{self.dir}/{where}"
            r = self.verb(["mount", "--json", image, where, *select], self.case.mount, user, limit_files=False)
            if r.code:
                if mountinfo(point):
                    raise Failure("mount: fails, and leaves a mount")
                if not user:
                    self.laid_out(image, select)
                continue
            pid = json.loads(r.output)["pid"]
            try:
                self.probe(where, user)
                self.daemon(pid)
                if not user:
                    self.laid_out(image, select, mount=point)
                    self.daemon(pid)
                self.verb(["umount", where], {0}, user)
            finally:
                if mountinfo(point):
                    subprocess.run(["umount", "-l", point], check=False)
            if self.lives(pid):
                raise Failure("the daemon outlives its mount")

    def probe(self, where, user):
        if user:
            script = ('find "$0" -ls; cat "$0/victim"; for d in sda mem; do head -c 1 "$0/$d" && echo OPENED; done')
            line = mountinfo(f"{self.dir}/{where}")
            if not {"nosuid", "nodev"} <= set(line.split()[5].split(",")):
                raise Failure(f"a user's mount without nosuid and nodev: {line}")
        elif self.full:
            # what they are asked to do may be much; they need not get to the end
            script = ('timeout 5 find "$0" -ls; timeout 3 getfattr -Rdhm - "$0"; timeout 3 tar -cSf - "$0" | head -c 67108864 | '
                      'wc -c; stat -f "$0"')
        else:
            signal.alarm(WALL_S)
            try:
                look(f"{self.dir}/{where}")
                return
            except Timeout:
                raise Failure("the mount hangs") from None
            finally:
                signal.alarm(0)
        r = self.run(["sh", "-c", f"{{ {script}; }} 2>&1 | tail -n 20", where], user, limit_files=False)
        if b"OPENED" in r.output:
            raise Failure("a device of an image was opened")

    @staticmethod
    def lives(pid):
        """One that nobody waited for does not."""
        try:
            with open(f"/proc/{pid}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def daemon(self, pid):
        if not self.lives(pid):
            raise Failure("the daemon has died")
        try:
            with open(f"/proc/{pid}/status") as f:
                status = dict(l.split(":", 1) for l in f)
            with open(f"/proc/{pid}/stat") as f:
                times = f.read().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            raise Failure("the daemon has died") from None
        memory = int(status["VmHWM"].split()[0]) << 10
        cpu = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        self.log.append(f"daemon: {memory >> 20} MiB, {cpu:.2f} s")
        if memory > MEMORY:
            raise Failure(f"the daemon has {memory >> 20} MiB of memory")
        if cpu > CPU_S:
            raise Failure(f"the daemon used {cpu:.0f} s of processor time")

    def compared(self, mount, target):
        if not self.case.compare:
            return
        c = self.run([sys.executable, f"{HERE}/../lib/compare.py", "--exclude", "var/lib/plyfs", mount, target])
        if c.code:
            raise Failure(f"mount and layout differ: {c.said()}")

    def interrupted(self, image, where, target, mount):
        """As if it had been killed when the first directory was to be made: it is resumed, then taken out."""
        for verb in ("--resume", "--abort"):
            os.truncate(f"{target}/var/lib/plyfs/journal", 2 * 64)
            self.verb(["layout", "--no-sync", verb, image, where], {0}, limit_files=False)
            if verb == "--resume" and mount:
                self.compared(mount, target)
        if os.listdir(target):
            raise Failure(f"an --abort has left {os.listdir(target)[:5]}")

    def laid_out(self, image, select, user=False, mount=None, options=()):
        where = "tu" if user else "target"
        target = f"{self.dir}/{where}"
        subprocess.run(["mount", "-n", "-t", "tmpfs", "-o", f"size={TARGET_BYTES},nr_inodes={TARGET_INODES},mode=755" +
                        (f",uid={NOBODY},gid={NOBODY}" if user else ""), "none", target], check=True)
        try:
            expected = self.case.layout
            if options:
                expected = expected | self.case.partial
            elif user:      # files of root are not the user's to make
                expected = expected - {0} | {1}
            r = self.verb(["layout", "--no-sync", *options, *select, image, where], expected, user, limit_files=False)
            st = os.statvfs(target)
            inodes = st.f_files - st.f_ffree
            self.log.append(f"target: {inodes} inodes, {(st.f_blocks - st.f_bfree) * st.f_frsize} bytes")
            if r.code and os.listdir(target):
                raise Failure(f"a layout that failed has left {os.listdir(target)[:5]}")
            if r.code and (os.stat(target).st_mode & 0o7777) != 0o755:
                raise Failure("a layout that failed has changed its target's mode")
            if user and (devices := look(target)):
                raise Failure(f"a user laid out devices: {devices}")
            if mount and r.code == 0:
                self.compared(mount, target)
            if r.code == 0 and self.full and not user:
                self.interrupted(image, where, target, mount)
        finally:
            subprocess.run(["umount", "-l", target], check=True)
        if user and r.code == 1 and not options:
            self.laid_out(image, select, user=True, options=["--allow-partial"])


def mountinfo(point):
    """The line of a mount; not by lstat(), which asks the mount."""
    with open("/proc/self/mountinfo") as f:
        return next((line for line in f if line.split()[4] == point), None)


def look(top, most=50000):
    """Everything below @top, as far as it can be read; at most 64 KiB of a file, and @most names of files and
    attributes. Returns the devices."""
    stack = [os.open(top, os.O_RDONLY | os.O_DIRECTORY)]
    seen, devices = 0, []
    while stack:
        fd = stack.pop()
        try:
            names = os.listdir(fd)
            os.listxattr(fd)
        except OSError:
            names = []
        for name in names:
            if seen >= most:
                break
            seen += 1
            try:
                st = os.lstat(name, dir_fd=fd)
                mode = st.st_mode
                if st.st_rdev:
                    devices.append(name)
                if stat.S_ISLNK(mode):
                    os.readlink(name, dir_fd=fd)
                elif stat.S_ISDIR(mode):
                    stack.append(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd))
                elif stat.S_ISREG(mode):
                    seen += look_at(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd))
            except OSError:
                continue
        os.close(fd)
    return devices


def look_at(fd):
    try:
        keys = os.listxattr(fd)
        for key in keys[:10]:
            os.getxattr(fd, key)
        if size := os.fstat(fd).st_size:
            os.pread(fd, 65536, os.lseek(fd, 0, os.SEEK_DATA))
            os.pread(fd, 65536, max(size - 4096, 0))
        return len(keys)
    finally:
        os.close(fd)


# --- images, workers, TAP -----------------------------------------------------------------------------

def make(cases):
    """In a process of its own: what has had much memory passes that on to what it starts."""
    pid = os.fork()
    if pid == 0:
        from crafted_images import Path
        for c in cases:
            made = c.make()
            path = f"{TMP}/images/{c.name}.plyfs"
            if isinstance(made, Path):
                if made.command:
                    subprocess.run(["sh", "-c", made.command, "sh", path], check=True)
                continue
            with open(path, "wb") as f:
                f.write(made if isinstance(made, bytes) else made.bytes())
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit("images could not be made")


def image_of(case):
    """Its path: that of the file made, or one that exists everywhere."""
    name = f"images/{case.name}.plyfs"
    return f"../../{name}" if os.path.lexists(f"{TMP}/{name}") else case.make().path


def work(number, cases, names):
    signal.signal(signal.SIGALRM, on_alarm)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    worker = Worker(number, f"{TMP}/images")
    with open(f"{TMP}/results{number}", "w") as out:
        for i, c in cases:
            started = time.monotonic()
            failure = None
            worker.log = []
            try:
                worker.check(c, image_of(c), names or c.full)
            except Failure as e:
                failure = str(e)
            except Exception:
                failure = traceback.format_exc()
            log = worker.log if c.name in names else worker.log[-3:] if failure else []
            out.write(json.dumps([i, failure, log, time.monotonic() - started]) + "\n")


def main():
    global TMP
    names = os.environ.get("CRAFTED", "").split()
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root: mounts, tmpfs, another user")
        return
    missing = [p for p in ("fusermount3", "getfattr", "unshare") if not shutil.which(p)]
    if missing or not os.path.exists("/dev/fuse"):
        print(f"1..0 # SKIP {', '.join(missing) or '/dev/fuse'} is missing")
        return
    if not os.path.exists("/etc/mtab"):
        print("1..0 # SKIP there is no /etc/mtab, which fusermount3 unmounts by")
        return
    if "--inside" not in sys.argv:
        if subprocess.run(["unshare", "-m", "--propagation", "private", "true"], check=False).returncode:
            print("1..0 # SKIP no mount namespaces here")
            return
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, __file__, "--inside"])
    TMP = os.environ["TMPDIR"] + "/crafted"
    os.mkdir(TMP)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", TMP], check=True)
    os.mkdir(f"{TMP}/images")
    os.mknod(f"{TMP}/fuse", 0o666 | stat.S_IFCHR, os.makedev(10, 229))
    os.chmod(f"{TMP}/fuse", 0o666)
    subprocess.run(["mount", "--bind", f"{TMP}/fuse", "/dev/fuse"], check=True)
    from crafted_images import CASES
    cases = [c for c in CASES if names in ([], ["all"]) or c.name in names]
    make(cases)
    numbered = list(enumerate(cases))
    workers = min(len(os.sched_getaffinity(0)), 8)
    pids = []
    for w in range(workers):
        pid = os.fork()
        if pid == 0:
            try:
                work(w, numbered[w::workers], names)
            finally:
                sys.stderr.flush()
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    results = {}
    for w in range(workers):
        with open(f"{TMP}/results{w}") as f:
            for line in f:
                i, *rest = json.loads(line)
                results[i] = rest
    print(f"1..{len(cases)}")
    bad = 0
    for i, c in numbered:
        failure, log, seconds = results.get(i, ("the worker has died", [], 0))
        bad += bool(failure)
        print(f"{'not ok' if failure else 'ok'} {i + 1} - {c.name}: {c.what}")
        for line in ([failure] if failure else []) + log:
            print("#   " + line.replace("\n", "\n#   "))
        if names or seconds > 5:
            print(f"#   {seconds:.1f} s")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
