# SPDX-License-Identifier: LGPL-2.1-or-later
"""An image with overlays, small and sound, by plyimg.py: each kind of difference, and each kind of collision that
needs no merge engine."""
from plyimg import *


def overlays():
    """Three machines: os; two that were added to it, and collide."""
    hosts = b"127.0.0.1 x\n"
    base = Dir({b"etc": Dir({b"hosts": File(hosts), b"gone": File(b"1"), b"kept": File(b"2"), b"link": Symlink(b"a")}),
                b"srv": Dir({b"a": Dir({b"b": File(b"3")}), b"c": File(b"4")}),
                b"was file": File(b"f"), b"was directory": Dir({b"x": File(b"x")})})
    one = Dir({b"etc": Dir({b"hosts": File(hosts + b"1 one\n", over=(1, hosts)), b"gone": Whiteout(),
                            b"new": File(b"one"), b"link": Symlink(b"b", over=(1, b"a"))}, implied=True),
               b"srv": Gone({b"a": Gone({b"b": Whiteout()}), b"c": Whiteout()}),
               b"was file": Dir({b"now": File(b"n")}, over=(2, b"f")),
               b"was directory": File(b"f", over=(2, None))}, implied=True, covers=True)
    two = Dir({b"etc": Dir({b"hosts": File(b"2 two\n" + hosts, over=(1, hosts)), b"gone": File(b"changed", over=(1, b"1")),
                            b"new": File(b"two"), b"own": Dir()}, mode=0o700, over=(4, None)),
               b"srv": Dir({b"a": Dir({b"b": File(b"three", over=(1, b"3"))}, implied=True)}, implied=True)}, implied=True)
    subs = [Sub("os", base), Sub("one", one, stands_on=["os"]), Sub("two", two, stands_on=["os"]),
            Sub("top", Dir({b"etc": Dir({b"new": File(b"three", over=(1, b"one"))}, implied=True)}, implied=True),
                stands_on=["one"])]
    im = Image(subs, collisions=[
        (subs[1], subs[2], b"etc/hosts", 4), (subs[1], subs[2], b"etc/gone", 6, 19), (subs[1], subs[2], b"etc/new", 6, 8, 257),
        (subs[1], subs[2], b"srv/a/b", 6, 19), (subs[2], subs[3], b"etc/new", 6, 8)])
    return im
