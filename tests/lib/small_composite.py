#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""small_composite.py DIR [--check]: the small composite, for tests that lay one image out many times.

Four components beside os: web, of the same machine; apple, and birch that stands on it; cedar. 2,000 files, 20 MiB, every
row of composite.py, that is every kind of collision there is, and what keeps all phases and streams of a layout busy:
a file that several streams fill, with a hole at its end, and more names of hard links than fit into one batch. Always
the same. DIR is made, and gets i.plyfs and policy.yaml, which decides all of its conflicts.

--check: the layouts by 1, 2, 8 and 32 streams and the mount are what composite_oracle.py says. Root only.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from composite import ROWS, WEB, Case, Failed, Maker, Sub  # noqa: E402  (beside this file)
from composite_oracle import Node  # noqa: E402

SEED = 8
FILES, BYTES = 2000, 20 << 20
BIG, HOLE = 33 << 19, 1 << 19      # above BIG_BYTES of tools/layout/plan_batches.c
LINKED = 280                        # pairs of names: more rows than LINK_ROWS there
OF_OS, OF_WEB, OF_OTHERS = 1020, 130, 170


class SmallMaker(Maker):
    def has_ground(self):
        return True

    def draw_rows(self):
        return list(ROWS)

    def draw_names(self):
        return ["apple", "birch", "cedar"]

    def base_machine(self):
        super().base_machine()
        self.fill(self.base, "/usr/share/base", OF_OS)
        self.fill(self.base, f"{WEB}/pages", OF_WEB)
        for i in range(LINKED):
            names = frozenset(f"/usr/lib/base/{x}{i}" for x in ("a", "z"))
            data, mtime = self.content(), self.time()
            for p in names:
                self.put(self.base, p, data=data, mtime=mtime, names=names)

    def machine(self, name):
        stands, tree = ("os",), self.base
        if name == "birch":
            stands, tree = ("os", "apple"), self.machines[-1].tree
        self.machines.append(Sub(name, dict(tree), stands))
        self.fill(self.machines[-1].tree, f"/usr/lib/{name}", OF_OTHERS)
        if name == "cedar":
            self.put(self.machines[-1].tree, "/usr/lib/cedar/big", data=self.big())

    def content(self):
        n = int(self.random.paretovariate(0.8) * 170) % 40_000
        return self.random.randbytes(n // 3) + b"a line of text\n" * (n // 22)

    def big(self):
        return b"".join(self.random.randbytes(1 << 15) + b"text " * (3 << 15 // 5) for _ in range(1024))[:BIG] + bytes(HOLE)

    def fill(self, tree, folder, n):
        for i in range(n):
            path = f"{folder}/{i % 11:02}/{i}"
            if i % 19 == 7:
                self.put(tree, path, "l", data=f"../{i % 11:02}/{i - 1}")
            else:
                self.put(tree, path, data=self.content(), mode=(0o644, 0o755, 0o600, 0o2755)[i % 4],
                         owner=((0, 0), (0, 0), (33, 33), (1000, 1000))[i // 4 % 4],
                         xattrs={"user.of": b"%d" % i} if i % 23 == 0 else {})

    def row_three(self, row):
        """A page of web, of apple and of cedar."""
        def base(name):
            self.machines[1].tree[f"{WEB}/{name}.html"] = Node("f", mtime=self.time(), data=b"the page of web\n")

        def make(name):
            path = f"{WEB}/{name}.html"
            for m in (self.overlays[0], self.overlays[2]):
                self.put(m.tree, path, data=f"the page of {m.name}\n")
                self.spread(m, path)
            self.rows[row] += 1
            self.fixed[path] = ("first", "last", "append")
        self.later(row, make, base)


def measured(tree):
    """Files, and bytes in them."""
    found = {next(iter(sorted(n.names)), p): n for p, n in tree.items() if n.kind != "d"}
    return len(found), sum(len(n.data) for n in found.values() if n.kind == "f")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dir")
    ap.add_argument("--check", action="store_true")
    args = ap.parse_args()
    case = Case(SEED, args.dir, SmallMaker)
    missing = [row for row in ROWS if not case.maker.rows[row]]
    if missing:
        raise Failed(f"no collision of these kinds: {', '.join(missing)}")
    case.make()
    case.decide()
    names = [m.name for m in case.composite.subs]
    tree, undecided = expected = case.composite.view(names, case.rules)
    files, size = measured(tree)
    print(f"{', '.join(names)}: {files} files, {size / (1 << 20):.1f} MiB, {len(ROWS)} kinds of collisions, {len(case.rules)} decisions")
    if undecided or not FILES <= files < FILES * 1.05 or not BYTES <= size < BYTES * 1.05:
        raise Failed(f"it is not what it must be: {files} files, {size} bytes, undecided: {sorted(undecided)}")
    if args.check:
        case.equal(names, expected, ["--policy", f"{args.dir}/policy.yaml"], (1, 2, 8, 32))


if __name__ == "__main__":
    try:
        main()
    except Failed as e:
        sys.exit(str(e))
