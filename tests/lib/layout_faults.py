#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""layout_faults.py IMAGE REFERENCE WHAT...: layouts in a system that fails at each of their calls, one after the other.

    layout_faults.py IMAGE REFERENCE WHAT... [--policy FILE] [--share N] [--seed N] [--preload FILE] [--sync] [--in DIR]

WHAT is one of

    kill           a layout is killed at its K-th call; then --resume, or --abort --all
    kill-resume    a layout is killed, and so is the --resume after it; then either verb
    kill-abort     a layout is killed, or is complete, and its --abort --all is killed; then --abort
    kill-out       an --abort is killed, and others take the names that it has removed, or was about to
    error          the K-th call fails (EIO), and no other
    error-resume   of a --resume of a layout that was killed; then either verb
    error-abort    of an --abort --all; then --abort
    full           from the K-th on, calls that need room fail (ENOSPC)
    full-abort     a layout is killed, and --abort --all finds the disk full
    dead           from the K-th on, all calls fail (EIO); then, as after a reboot, either verb
    readonly       from the K-th on, all calls fail (EROFS)
    short          writes do less than was asked
    swap           just before the K-th call another process removes what has the name that it speaks of, and puts its own
                   file there; then --abort --all
    swap-second    the same for the second name of a call that has two
    swap-undo      in a layout that takes itself out after an error
    swap-resume    in a --resume of a layout that was killed
    swap-abort     in an --abort --all
    swap-kill      in one that is killed at its next call
    swap-twice     in one where a second file takes the name before the first can go back

What must be true: exit code 0 and a tree equal to REFERENCE (another layout of the same, which nobody disturbed); or 1 and
a message that says why and names a path, and the target is as it was before, in mode, owner, times and attributes, too;
where a layout was killed or could not take itself out, --resume gives the equal tree and --abort --all the target as it
was. K goes over all calls that change something (see faults.c, which counts and fails them), or over a seeded choice of
N of them for each WHAT (--share). The file of another is never lost or changed. Prints a line for each case that is not so, and a summary. Exit code 1: there were such.
"""
import argparse
import collections
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare as trees  # noqa: E402  (beside this file)

BEFORE_NS = 1_049_605_628_090_807_060
VERBS = ("--resume", "--abort")
WHATS = ("kill", "kill-resume", "kill-abort", "kill-out", "error", "error-resume", "error-abort", "full", "full-abort", "dead", "readonly", "short",
         "swap", "swap-second", "swap-undo", "swap-resume", "swap-abort", "swap-kill",
         "swap-twice")
ERROR = {"error": errno.EIO, "full": errno.ENOSPC, "dead": errno.EIO, "readonly": errno.EROFS}
LIMIT_S = 120


class Wrong(Exception):
    pass


class Case:
    """One target, from its beginning to its end; @log is what was run."""

    def __init__(self, args):
        self.args = args
        self.target = os.path.join(args.folder, "target")
        self.log = []
        shutil.rmtree(self.target, ignore_errors=True)
        os.mkdir(self.target)
        os.chown(self.target, 1, 2)
        os.setxattr(self.target, "user.before", b"it was there")
        os.setxattr(self.target, "trusted.before", b"this too")
        os.chmod(self.target, 0o2750)
        os.utime(self.target, ns=(BEFORE_NS, BEFORE_NS))
        self.before = self.look()

    def look(self):
        st = os.stat(self.target)
        xattrs = {k: os.getxattr(self.target, k) for k in os.listxattr(self.target)}
        return {"mode": oct(st.st_mode), "owner": (st.st_uid, st.st_gid), "mtime": st.st_mtime_ns, "xattrs": xattrs}

    def run(self, *verb, **fault):
        """Exit code and message; @fault: see faults.c."""
        env = dict(os.environ)
        if fault:
            env.update({(k if "_" in k else f"fault_{k}").upper(): str(v) for k, v in fault.items()}, LD_PRELOAD=self.args.preload,
                       ASAN_OPTIONS=env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
        argv = ["plyfs", "layout", self.args.image, self.target, "-j", "1", *verb]
        if self.args.policy and "--abort" not in verb:     # a resume may find that nothing was begun
            argv += ["--policy", self.args.policy]
        if not self.args.sync:
            argv.append("--no-sync")
        r = subprocess.run(argv, env=env, capture_output=True, timeout=LIMIT_S)
        said = r.stderr.decode("utf-8", "replace").strip()
        self.log.append(f"{' '.join(['layout', *verb])} {fault or ''}: {r.returncode}: {said}")
        if r.returncode not in (0, 1, -signal.SIGKILL) or (r.returncode < 0 and fault.get("do") != "kill"):
            raise Wrong(f"exit code {r.returncode}")
        return r.returncode, said

    def is_before(self):
        left = [os.path.join(d, n) for d, ds, fs in os.walk(self.target) for n in ds + fs]
        if left:
            raise Wrong(f"not empty: {left[:5]}")
        now = self.look()
        if now != self.before:
            raise Wrong(f"the target is not as it was: {now}, was {self.before}")

    def is_same(self):
        found = trees.Comparer(self.args.reference, self.target).run()
        if found:
            raise Wrong(f"not the same tree: {found[:5]}")

    def tells(self, said, code):
        """Of an error: is there a path in it, and the reason?"""
        if not re.search(r"(^|[\s(])(/|" + re.escape(self.target) + ")", said):
            raise Wrong("the message names no path")
        if os.strerror(code) not in said:
            raise Wrong("the message has no reason")

    def end(self, verb):
        """By a verb that nothing disturbs."""
        rc, _ = self.run(*((verb, "--all") if verb == "--abort" else (verb,)))
        if rc:
            raise Wrong(f"{verb} fails")
        if verb == "--abort":
            self.is_before()
        else:
            self.is_same()


# --- what is done for one K ------------------------------------------------------------------

def kill(case, k, verb, rng):
    case.run(at=k, do="kill")
    case.end(verb)


def kill_resume(case, k, verb, rng):
    case.run(at=rng.randint(1, case.args.calls), do="kill")
    case.run("--resume", at=k, do="kill")
    case.end(verb)


def kill_abort(case, k, verb, rng):
    if verb == "--resume":           # begun by one that was killed, or complete
        case.run(at=rng.randint(1, case.args.calls), do="kill")
    else:
        case.run()
    case.run("--abort", "--all", at=k, do="kill")
    case.end("--abort")


def missing(case):
    """Paths of files that REFERENCE has and the target has not, though their directory is there."""
    for where, dirs, files in os.walk(case.args.reference):
        at = os.path.join(case.target, os.path.relpath(where, case.args.reference))
        if os.path.isdir(at):
            yield from (os.path.join(at, n) for n in files if not os.path.lexists(os.path.join(at, n)))


def kill_out(case, k, verb, rng):
    case.run()
    case.run("--abort", "--all", at=k, do="kill")
    if not os.path.isdir(f"{case.target}/var/lib/plyfs"):
        return
    own = list(missing(case))
    for path in own:
        with open(path, "x", encoding="ascii") as f:
            f.write("of another")
    rc, said = case.run("--abort", "--all")
    if rc != (1 if own else 0) or "plyfs/out" in said:
        raise Wrong("what is ours in out is not taken out")
    for path in own:
        with open(path, encoding="ascii") as f:
            if f.read() != "of another":
                raise Wrong(f"{path} was changed")


def error(case, k, verb, rng):
    rc, said = case.run(at=k, do=errno.EIO)
    if rc == 0:
        case.is_same()
    else:
        case.tells(said, errno.EIO)
        case.is_before()


def error_resume(case, k, verb, rng):
    case.run(at=rng.randint(1, case.args.calls), do="kill")
    rc, said = case.run("--resume", at=k, do=errno.EIO)
    if rc == 0:
        case.is_same()
        return
    case.tells(said, errno.EIO)
    case.end(verb)


def error_abort(case, k, verb, rng):
    case.run()
    rc, said = case.run("--abort", "--all", at=k, do=errno.EIO)
    if rc == 0:
        case.is_before()
    else:
        case.tells(said, errno.EIO)
        case.end("--abort")


def all_fail(what, grow):
    def fn(case, k, verb, rng):
        more = {"grow": 1} if grow else {}
        rc, said = case.run(at=k, do=ERROR[what], sticky=1, **more)
        if rc == 0:
            case.is_same()
            return
        case.tells(said, ERROR[what])
        if not os.listdir(case.target):
            if k > 1 and not grow:      # who cannot write cannot put back times either
                os.utime(case.target, ns=(BEFORE_NS, BEFORE_NS))
            case.is_before()
            return
        if grow and "could not be put back" not in said:    # attributes need room
            raise Wrong("a full disk keeps nobody from taking out what is there")
        if "--abort" not in said:
            raise Wrong("something is left, and the message does not say what to do")
        case.end(verb)
    return fn


def full_abort(case, k, verb, rng):
    case.run(at=k, do="kill")
    rc, said = case.run("--abort", "--all", at=1, do=errno.ENOSPC, sticky=1, grow=1)
    if rc and "cannot be put back" not in said:     # attributes need room, which there is in truth, by then
        raise Wrong("a full disk keeps nobody from taking out what is there")
    if rc:
        case.end("--abort")
    case.is_before()


def short(case, k, verb, rng):
    rc, _ = case.run(do="short")
    if rc:
        raise Wrong("it fails")
    case.is_same()


# --- another process, at the worst time ------------------------------------------------------------

SWAPPED = (b"of another\n", 0o640, 0, 0, 1_234_567_890)


def foreign_is_there(case, log, home=False):
    """What was put there has its bytes and metadata, wherever it is; @home: where it was put."""
    with open(log, encoding="utf-8", errors="surrogateescape") as f:
        for line in f:
            one_is_there(case, *line.rstrip("\n").split(" ", 1), home)


def one_is_there(case, ino, path, home):
    for where, _, files in os.walk(case.target):
        for name in files:
            at = os.path.join(where, name)
            st = os.lstat(at)
            if st.st_ino != int(ino):
                continue
            with open(at, "rb") as f:
                now = (f.read(), st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime)
            if now != SWAPPED:
                raise Wrong(f"the file of another was changed: {at}: {now}")
            if home and os.path.abspath(at) != path:
                raise Wrong(f"the file of another is at {at}, and was put at {path}")
            return
    raise Wrong(f"the file of another is gone: {path}")


# Where the calls of an undisturbed run say which of them speak of names, only these are taken.
TWO = ("linkat", "renameat2")
NAMED = {"swap": (*TWO, "mkdirat", "mknodat", "symlinkat", "openat64", "fchownat", "utimensat", "fchmodat"), "swap-second": TWO,
         "swap-abort": (*TWO, "unlinkat"), "swap-kill": TWO, "swap-twice": TWO}


def swapped(case, k, *verb, second=False, **more):
    log = os.path.join(case.args.folder, "swapped")
    if os.path.exists(log):
        os.unlink(log)
    if second:
        more["swap_second"] = 1
    case.run(*verb, swap_at=k, swap_log=os.path.abspath(log), **more)
    if not os.path.exists(log):
        return
    case.args.swaps += 1
    foreign_is_there(case, log)
    for _ in range(2):
        case.run("--abort", "--all")
        foreign_is_there(case, log, home=True)


def swap_twice(case, k, verb, rng):
    """The first stays in out, and every --abort says so."""
    log = os.path.join(case.args.folder, "swapped")
    if os.path.exists(log):
        os.unlink(log)
    case.run()
    rc, said = case.run("--abort", "--all", swap_at=k, swap_twice=1, swap_log=os.path.abspath(log))
    if not os.path.exists(log):
        return
    case.args.swaps += 1
    with open(log, encoding="utf-8", errors="surrogateescape") as f:
        twice = len(f.readlines()) == 2
    for _ in range(2):
        foreign_is_there(case, log)
        if twice and rc != 1:
            raise Wrong("what lies in out is not told")
        rc, said = case.run("--abort", "--all")
    if twice and "/var/lib/plyfs/out/" not in said:
        raise Wrong("the message does not say where the file of another is")
    foreign_is_there(case, log, home=not twice)


def swap(case, k, verb, rng):
    swapped(case, k)


def swap_second(case, k, verb, rng):
    swapped(case, k, second=True)


def swap_undo(case, k, verb, rng):
    swapped(case, case.args.calls + k, at=case.args.calls - (verb == "--abort"), do=errno.EIO)


def swap_resume(case, k, verb, rng):
    case.run(at=rng.randint(1, case.args.calls), do="kill")
    swapped(case, k, "--resume", second=verb == "--abort")


def swap_abort(case, k, verb, rng):
    case.run()
    swapped(case, k, "--abort", "--all", second=verb == "--abort")


def swap_kill(case, k, verb, rng):
    case.run()
    swapped(case, k, "--abort", "--all", at=k + 1, do="kill")


FUNCTIONS = {"kill": kill, "kill-resume": kill_resume, "kill-abort": kill_abort, "kill-out": kill_out, "error": error, "error-resume": error_resume,
             "error-abort": error_abort, "full": all_fail("full", True), "full-abort": full_abort,
             "dead": all_fail("dead", False), "readonly": all_fail("readonly", False), "short": short, "swap": swap,
             "swap-second": swap_second, "swap-undo": swap_undo, "swap-resume": swap_resume, "swap-abort": swap_abort,
             "swap-kill": swap_kill, "swap-twice": swap_twice}


# --- over all K ------------------------------------------------------------------------------------

def count(args, *verb, **fault):
    """How many calls there are: of a layout; or of a verb after a whole one."""
    case = Case(args)
    log = os.path.join(args.folder, "calls")
    if verb:
        case.run()
    if os.path.exists(log):
        os.unlink(log)
    case.run(*verb, log=log, **fault)
    with open(log) as f:
        return [line.strip() for line in f]


def sweep(args, what, rng):
    aborts = ("kill-abort", "kill-out", "error-abort", "swap-abort", "swap-kill", "swap-twice", "swap-undo")
    counted = (("--abort", "--all"), {}) if what in aborts else ((), {"grow": 1} if what == "full" else {})
    calls = count(args, *counted[0], **counted[1])
    cases = [(k, verb) for k in range(1, len(calls) + 1) for verb in VERBS if calls[k - 1] in NAMED.get(what, calls)]
    if what == "short":
        cases = cases[:1]
    if args.share and args.share < len(cases):
        cases = sorted(rng.sample(cases, args.share))
    bad = collections.Counter()
    args.swaps = 0
    for k, verb in cases:
        case = Case(args)
        try:
            FUNCTIONS[what](case, k, verb, rng)
        except (Wrong, subprocess.TimeoutExpired, OSError) as e:
            bad[calls[k - 1]] += 1
            print(f"{what} {k} ({calls[k - 1]}) {verb}: {e}\n    " + "\n    ".join(case.log), flush=True)
    swaps = f", {args.swaps} files of another" if what.startswith("swap") else ""
    print(f"{what}: {len(cases)} of {len(calls)} calls and both verbs{swaps}, {sum(bad.values())} wrong {dict(bad) or ''}", flush=True)
    return sum(bad.values()) or int(what in NAMED and len(cases) >= 10 and not args.swaps)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("image")
    ap.add_argument("reference")
    ap.add_argument("what", nargs="+", choices=WHATS)
    ap.add_argument("--policy")
    ap.add_argument("--share", type=int, default=0, metavar="N")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--sync", action="store_true")
    ap.add_argument("--in", dest="folder", default=".", metavar="DIR")
    ap.add_argument("--preload", default=os.path.join(os.environ.get("PLYFS_BUILD", ""), "tests/lib/faults.so"))
    args = ap.parse_args()
    trees.raise_limits()
    args.image, args.reference = os.path.abspath(args.image), os.path.abspath(args.reference)
    args.calls = len(count(args))
    print(f"seed {args.seed}; a layout makes {args.calls} calls")
    return 1 if sum(sweep(args, w, random.Random(f"{args.seed} {w}")) for w in args.what) else 0


if __name__ == "__main__":
    sys.exit(main())
