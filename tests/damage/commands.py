# SPDX-License-Identifier: LGPL-2.1-or-later
"""
commands.py IMAGE N SEED DIR: N damaged copies of a sound image, each given to the real commands.

Two of three have a byte flipped, the others are cut off. info, ls, verify --deep, layout and mount must do
what they do with the sound image, or end with exit code 4 and a message; verify must end with 4. In a
mount each answer is that of the sound one, or EIO. A target that was not filled is empty again.
Prints what is wrong, a line each, with what makes the copy: flip OFFSET XOR, or cut LENGTH 0.
"""
import errno
import os
import random
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

TIMEOUT = 60   # seconds; nothing here takes one


def ask(function, *arguments):
    """What a system call gives, or the name of its errno."""
    try:
        return function(*arguments)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))


def content(path):
    with open(path, "rb") as f:
        return f.read()


def holes(path):
    with open(path, "rb") as f:
        at, found = 0, []
        while True:
            try:
                data = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError as e:
                if e.errno == errno.ENXIO:
                    return found
                raise
            at = os.lseek(f.fileno(), data, os.SEEK_HOLE)
            found.append((data, at))


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in sorted(os.listxattr(path, follow_symlinks=False))}


def attributes(path, inode):
    s = os.lstat(path)
    size = 0 if stat.S_ISDIR(s.st_mode) else s.st_size
    return (s.st_ino if inode else 0, s.st_mode, s.st_uid, s.st_gid, s.st_nlink, size, s.st_rdev, s.st_mtime_ns)


def look(top, paths, inode):
    """Answers by (path, question). Without paths: all that there are."""
    answers = {}
    todo = list(paths or ["."])
    for path in todo:
        full = os.path.join(top, path)
        answers[path, "lstat"] = s = ask(attributes, full, inode)
        answers[path, "xattrs"] = ask(xattrs, full)
        mode = s[1] if isinstance(s, tuple) else 0
        if stat.S_ISDIR(mode):
            names = answers[path, "names"] = ask(lambda: sorted(os.listdir(full)))
            if not paths:
                todo += [os.path.normpath(os.path.join(path, name)) for name in names]
        elif stat.S_ISREG(mode):
            answers[path, "content"] = ask(content, full)
            answers[path, "holes"] = ask(holes, full)
        elif stat.S_ISLNK(mode):
            answers[path, "target"] = ask(os.readlink, full)
    return answers


class Bench:
    """A directory with an image in it, and what the commands make of it."""

    def __init__(self, where):
        self.where = where
        os.makedirs(os.path.join(where, "m"))

    def run(self, *words):
        """Exit code, standard output, messages."""
        try:
            done = subprocess.run(["plyfs", *words], cwd=self.where, capture_output=True, timeout=TIMEOUT,
                                  stdin=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired:
            return "no end", b"", b""
        return done.returncode, done.stdout.replace(self.where.encode(), b"DIR"), done.stderr

    def put(self, data):
        with open(os.path.join(self.where, "image"), "wb") as f:
            f.write(data)

    def layout(self):
        target = os.path.join(self.where, "t")
        os.mkdir(target)
        code, _, messages = self.run("layout", "image", "t", "--no-sync", "--progress=never")
        tree = look(target, None, False)
        # what the layout keeps of itself has times of its own; so has what leads there
        if code == 0:
            tree = {key: answer for key, answer in tree.items()
                    if not key[0].startswith("var/lib/plyfs") and key not in [("var", "lstat"), ("var/lib", "lstat")]}
        shutil.rmtree(target)
        return code, tree, messages

    def mount(self, paths):
        code, _, messages = self.run("mount", "image", "m")
        answers = None
        if code == 0:
            answers = look(os.path.join(self.where, "m"), paths, True)
            end = self.run("umount", "m")
            if end[0] != 0:
                code, messages = "umount failed", end[2]
        return code, answers, messages


VERBS = [("info", "image"), ("ls", "-lR", "image"), ("verify", "--deep", "--progress=never", "image")]


class Sound:
    def __init__(self, bench, data):
        bench.put(data)
        self.data = data
        self.output = [bench.run(*verb) for verb in VERBS]
        self.layout = bench.layout()
        self.mount = bench.mount(None)
        for what in [*self.output, self.layout, self.mount]:
            if what[0] != 0:
                sys.exit(f"the sound image: {what}")
        self.paths = [path for path, question in self.mount[1] if question == "lstat"]


def judge(sound, bench, data):
    """What is wrong, in words."""
    bench.put(data)
    for verb, good in zip(VERBS, sound.output):
        code, output, messages = bench.run(*verb)
        if code not in (0, 4) or (verb[0] == "verify" and code != 4):
            yield f"{verb[0]}: exit code {code}: {messages}"
        elif code == 0 and output != good[1]:
            yield f"{verb[0]}: other output, and exit code 0"
        elif code == 4 and not output + messages:
            yield f"{verb[0]}: no message"
    code, tree, messages = bench.layout()
    if code not in (0, 4):
        yield f"layout: exit code {code}: {messages}"
    elif code == 0 and tree != sound.layout[1]:
        yield "layout: another tree, and exit code 0"
    elif code == 4 and (tree[".", "names"] or not messages):
        yield f"layout: no message, or left behind: {tree['.', 'names']}"
    code, answers, messages = bench.mount(sound.paths)
    if code not in (0, 4):
        yield f"mount: exit code {code}: {messages}"
    elif code == 4 and not messages:
        yield "mount: no message"
    elif code == 0:
        for key, answer in answers.items():
            if answer not in ("EIO", sound.mount[1].get(key)):
                yield f"mount: {key}: {answer}"


# Of a worker, a process of its own: what another thread has open in a mount keeps it busy while a child begins.
here = None


def begin(sound, where):
    global here
    here = sound, Bench(os.path.join(where, str(os.getpid())))


def one(damage):
    kind, at, bits = damage
    data = here[0].data
    damaged = data[:at] if kind == "cut" else data[:at] + bytes([data[at] ^ bits]) + data[at + 1:]
    return [f"{kind} {at} {bits:#x}: {text}" for text in judge(*here, damaged)]


def main():
    image, n, seed, where = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    data = content(image)
    rng = random.Random(seed)
    sound = Sound(Bench(os.path.join(where, "sound")), data)
    todo = [("cut", rng.randrange(len(data)), 0) if i % 3 == 2 else
            ("flip", rng.randrange(len(data)), rng.randrange(1, 256)) for i in range(n)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork"), begin, (sound, where)) as pool:
        wrong = [text for texts in pool.map(one, todo) for text in texts]
    for text in wrong[:50]:
        print(text)
    print(f"{n} damaged images of {len(data)} bytes, seed {seed}: {len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
