# SPDX-License-Identifier: LGPL-2.1-or-later
"""The images that an attacker makes who has read FORMAT.md: a table of name, what, and what is expected.

All checksums and digests are right, so that only the validation of the reader stands between a field and harm.
test_crafted.py runs the verbs over each of them, within a budget. An expectation is a set of exit codes for a
group of verbs; 1 stands in it only with a reason:

    deep     verify --deep: 4 unless the image is valid, else the rest of the table is 0
    verify   verify
    open     info
    read     ls, cat, origin: 0 or 4 where nothing is said (who does not touch it, does not see it)
    dump
    records  dump --records and origin --json of /etc/shells; None: the image has no such file
    layout   as root; a user gets 1 where files are not theirs to make, and `partial` besides with --allow-partial
    mount    the exit code of mount

`budget` widens a limit of test_crafted.py, `compare` is False where mount and layout of a wrong image need not be
equal. In every tree `victim` is a file of known bytes: whoever reads it gets these, or an error.
"""
import struct

from plyimg import *

VICTIM = b"the bytes of the victim\n" * 20
CASES = []
BAD = {4}
FINE = {0}
ANY = {0, 4}


class Case:
    def __init__(self, name, what, make, **expect):
        self.name, self.what, self.make = name, what, make
        self.deep = expect.pop("deep", BAD)
        rest = FINE if self.deep == FINE else ANY
        self.verify = expect.pop("verify", rest)
        self.layout = expect.pop("layout", FINE if self.deep == FINE else BAD)
        self.open = expect.pop("open", rest)
        self.read = expect.pop("read", self.open)
        self.dump = expect.pop("dump", rest | self.open)
        self.mount = expect.pop("mount", rest)
        self.records = expect.pop("records", None)
        self.partial = expect.pop("partial", set())
        self.budget = expect.pop("budget", {})
        self.compare = expect.pop("compare", True)
        self.select = expect.pop("select", None)
        self.victim = expect.pop("victim", "/victim")
        self.full = name in FULL
        assert not expect, expect


# In full, since what is wrong with them shows late or in many places; the others are caught where a row is decoded.
FULL = set("""
    name-slash name-escape name-odd name-twice name-unsorted symlink-then-directory directory-then-symlink cycle-self
    cycle-long-agreed entry-root two-parents entries-shared root-file symlink-parent-agreed symlink-over-directory
    symlink-absolute name-bomb deep nlink-limit nlink-less size-largest-hole sparse-2-62
    extents-overlap extents-long extents-shared extents-shared-by-many block-shared zstd-bomb zstd-window
    block-digest xattr-capability xattr-acl xattr-overlay xattr-namespace xattr-many xattr-sets-shared xattr-large
    owner-largest mtime-extremes privileges device-huge mark-unknown join-valid join-cycle join-file
    join-index-unsorted join-links join-links-differ join-bomb catalog-name-path catalog-requires-cycle
    catalog-relations-many catalog-string-bomb catalog-mount-bomb catalog-blob-packages mounts-escape section-overlap section-optional
    records-valid records-far condition-endless condition-65536 components-many name-both shared-driver records-shared
    render-60 ldcache-offsets
    overlay-valid overlay-conflict whiteout-self whiteout-cycle whiteout-everything whiteout-bomb covers-not-type override-twice
    collision-number collision-paths collision-untold collisions-one-node collisions-many stands-on-cycle stands-on-many stands-on-requires
    super-disagree super-one path-fifo path-mem path-loop bytes-none bytes-sparse
    """.split())

# A reader that is too old says so, and it is not damage.
NEWER = dict(open={0, 1}, read={0, 1}, dump={0, 1, 4}, verify={0, 1, 4}, deep={1, 4}, layout={1}, mount={0, 1})
NEWER_FILE = dict(NEWER, mount=FINE)


def case(name, what, **expect):
    def add(make):
        assert name not in {c.name for c in CASES}, name
        CASES.append(Case(name, what, make, **expect))
        return make
    return add


def os_sub(extra=None, **more):
    """What all trees have, and @extra."""
    tree = {b"victim": File(VICTIM), b"dir": Dir({b"inner": File(b"inner\n"), b"second": File(b"second\n")}),
            b"dir2": Dir({b"deeper": Dir({b"leaf": File(b"leaf\n")})})}
    tree.update(extra or {})
    return Sub("os", Dir(tree), **more)


def one(extra=None):
    return Image([os_sub(extra)])


def two(extra=None, app=None):
    """os and app; app has dir/app.conf, opt/app/*."""
    tree = {b"dir": Dir({b"app.conf": File(b"conf\n")}, implied=True),
            b"opt": Dir({b"app": Dir({b"data": File(b"x" * 3000)})})}
    tree.update(app or {})
    return Image([os_sub({b"opt": Dir()} | (extra or {})), Sub("app", Dir(tree, implied=True))])


def simple(name, what, extra=None, **expect):
    """A case where one function alters the tables of os, or the image."""
    def add(alter):
        def make():
            im = one(extra() if extra else None)
            alter(im.subs[0])
            return im
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


def rename(s, path, name, length=None):
    word = s.put(s.names, name)
    s.entry(path).name = word if length is None else (word & (1 << 56) - 1) | length << 56


# --- names ------------------------------------------------------------------------------------------

for _name, _what, _bytes in (
        ("name-slash", "a name with a slash", b"a/b"), ("name-absolute", "an absolute path as a name", b"/etc/passwd"),
        ("name-dot", "the name .", b"."), ("name-dotdot", "the name ..", b".."),
        ("name-escape", "a way out as a name", b"../../beside/loot"), ("name-nul", "a name with a NUL", b"in\0ner"),
        ("name-only-nul", "the name NUL", b"\0"), ("name-empty", "a name of no bytes", b"")):
    simple(_name, _what)(lambda s, b=_bytes: rename(s, b"dir/inner", b))

simple("name-outside", "a name behind the end of NAMES")(
    lambda s: s.entry(b"dir/inner").set(name=5 << 56 | len(s.names) - 2))
simple("name-far", "a name at 2^56 - 1")(lambda s: s.entry(b"dir/inner").set(name=(1 << 64) - 1))


@case("name-odd", "control characters, escapes, no UTF-8, 255 bytes: all valid", deep=FINE)
def _():
    names = [b"\x1b[2J\x1b]0;owned\x07", b"new\nline", b"tab\t", b"\xff\xfe", b"-rf", b" ", b"*", b"\\", b"x" * 255,
             b"\xe2\x80\xae" b"txt.exe", b"...", b"$(id)", b"`id`"]
    return one({n: File(n) for n in names})


@simple("name-twice", "two entries of one name")
def _(s):
    s.entry(b"dir/second").name = s.entry(b"dir/inner").name


@simple("name-unsorted", "a directory that is not sorted", layout=ANY)
def _(s):
    a, b = s.entry(b"dir/inner"), s.entry(b"dir/second")
    a.name, b.name = b.name, a.name


def _symlink_and_directory(order):
    def make():
        s = os_sub({b"lure": Symlink(b"../beside"), b"lure2": Dir({b"loot": File(b"loot")})})
        s.entry(b"lure2").name = s.entry(b"lure").name
        if order:
            a, b = s.entry(b"lure"), s.entries[s.entries.index(s.entry(b"lure")) + 1]
            saved = a.copy()
            a.set(ref=b.ref, type=b.type)
            b.set(ref=saved.ref, type=saved.type)
            s.node(b"lure").entry, s.node(b"lure2").entry = s.node(b"lure2").entry, s.node(b"lure").entry
        return Image([s])
    return make


case("symlink-then-directory", "a symlink out, then a directory of its name")(_symlink_and_directory(0))
case("directory-then-symlink", "a directory, then a symlink out of its name")(_symlink_and_directory(1))


# --- the shape of the tree ------------------------------------------------------------------------------

@simple("cycle-self", "a directory in itself")
def _(s):
    s.entry(b"dir2/deeper").ref = s.paths[b"dir2"]


@simple("cycle-self-agreed", "a directory in itself, and its node says so")
def _(s):
    i = s.paths[b"dir2"]
    s.entry(b"dir2/deeper").ref = i
    s.node(b"dir2").set(parent=i, entry=s.entries.index(s.entry(b"dir2/deeper")))


@simple("cycle-long", "a directory that holds the one two above")
def _(s):
    e = s.entry(b"dir2/deeper/leaf")
    e.set(ref=s.paths[b"dir2"], type=4)


@simple("cycle-long-agreed", "the same, with a node that agrees")
def _(s):
    e = s.entry(b"dir2/deeper/leaf")
    e.set(ref=s.paths[b"dir2"], type=4)
    s.node(b"dir2").set(parent=s.paths[b"dir2/deeper"], entry=s.entries.index(e))
    s.node(b"dir2/deeper").nlink = 1


@simple("cycle-loose", "two directories in each other, reached from nowhere", layout=ANY)
def _(s):
    root = s.nodes[1]
    s.entry(b"dir2/deeper").ref = s.paths[b"dir2/deeper"]
    s.node(b"dir2/deeper").set(parent=s.paths[b"dir2/deeper"])
    root.size += 0


@simple("entry-root", "an entry that is the root")
def _(s):
    s.entry(b"dir2/deeper").ref = 1


@simple("entry-nobody", "an entry that is node 0")
def _(s):
    s.entry(b"dir/inner").ref = 0


@simple("entry-beyond", "an entry of a node that does not exist")
def _(s):
    s.entry(b"dir/inner").ref = len(s.nodes)


@simple("entry-slot", "an entry that leads to another slot")
def _(s):
    s.entry(b"dir/inner").ref |= 1 << 48


@simple("two-parents", "one directory in two")
def _(s):
    s.entry(b"dir/inner").set(ref=s.paths[b"dir2/deeper"], type=4)


@simple("entries-shared", "two directories with the same run of entries")
def _(s):
    a, b = s.node(b"dir"), s.node(b"dir2/deeper")
    b.set(data=a.data, size=a.size)


@simple("entries-endless", "a directory of 2^40 entries")
def _(s):
    s.node(b"dir").size = 1 << 40


@simple("entries-wrap", "a directory whose entries begin at 2^64 - 1")
def _(s):
    s.node(b"dir").set(data=(1 << 64) - 1, size=2)


@simple("root-huge", "a root with all entries there are, so that it is not sorted", read={0, 1, 4})
def _(s):
    s.nodes[1].set(data=0, size=len(s.entries))


@simple("parent-wrong", "a file whose parent is another directory")
def _(s):
    s.node(b"dir/inner").parent = s.paths[b"dir2"]


@simple("parent-file", "a directory whose parent is a file")
def _(s):
    s.node(b"dir").parent = s.paths[b"victim"]


@simple("parent-beyond", "a parent that does not exist")
def _(s):
    s.node(b"dir").parent = 1 << 40


@simple("root-file", "a root that is a file", open=BAD | FINE, mount=ANY)
def _(s):
    s.nodes[1].set(mode=S_IFREG | 0o644, data=0, size=0, nlink=1)


@simple("root-symlink", "a root that is a symlink", open=BAD | FINE, mount=ANY)
def _(s):
    s.nodes[1].set(mode=S_IFLNK | 0o777, kind=INLINE, data=s.heap_at(b"/etc"), size=4, nlink=1)


@simple("root-parent", "a root with a parent")
def _(s):
    s.nodes[1].parent = s.paths[b"dir"]


@simple("type-none", "a node without a file type")
def _(s):
    s.node(b"dir/inner").mode &= 0o7777


@simple("type-unknown", "a node of type 017")
def _(s):
    s.node(b"dir/inner").mode |= 0o170000


@simple("type-differs", "an entry of another type than its node")
def _(s):
    s.entry(b"dir/inner").type = 4


@simple("type-huge", "an entry of type 255")
def _(s):
    s.entry(b"dir/inner").type = 255


@simple("symlink-parent", "a symlink out in the middle of paths: the node of a directory becomes one")
def _(s):
    s.node(b"dir").set(mode=S_IFLNK | 0o777, kind=INLINE, data=s.heap_at(b"../beside"), size=9, nlink=1)


@simple("symlink-parent-agreed", "the same, with an entry that agrees", layout=ANY)
def _(s):
    s.node(b"dir").set(mode=S_IFLNK | 0o777, kind=INLINE, data=s.heap_at(b"../beside"), size=9, nlink=1)
    s.entry(b"dir").type = 10
    s.nodes[1].nlink -= 1


@case("symlink-over-directory", "os has a symlink out where app has a directory with a file", deep=ANY,
      layout={0, 3, 4}, compare=False)
def _():
    return two({b"lure": Symlink(b"../beside")}, {b"lure": Dir({b"loot": File(b"loot\n")})})


@case("symlink-absolute", "symlinks to what is outside, valid", deep=FINE)
def _():
    return one({b"abs": Symlink(b"/etc/passwd"), b"up": Symlink(b"../" * 40 + b"etc"), b"loop": Symlink(b"loop"),
                b"long": Symlink(b"x/" * 2047), b"esc": Symlink(b"\x1b[2J")})


for _name, _what, _target in (("symlink-64k", "a symlink target of 64 KiB", b"x" * 65536),
                              ("symlink-empty", "a symlink of no bytes", b""),
                              ("symlink-nul", "a symlink target with a NUL", b"etc\0/passwd"),
                              ("symlink-4096", "a symlink target of 4096 bytes", b"x" * 4096)):
    simple(_name, _what, extra=lambda t=_target: {b"link": Symlink(t)})(lambda s: None)

simple("symlink-outside", "a symlink target behind the heap", extra=lambda: {b"link": Symlink(b"target")})(
    lambda s: s.node(b"link").set(data=len(s.heap) - 2))


@case("file-in-20000-directories", "one file named from 20,000 directories, nlink 1",
      budget={"output": 64 << 20})
def _():
    s = os_sub({b"many": Dir({b"d%05d" % i: Dir({b"f": File(b"")}) for i in range(20000)})})
    first = s.paths[b"many/d00000/f"]
    for i in range(1, 20000):
        s.entry(b"many/d%05d/f" % i).ref = first
    return Image([s])


@case("name-bomb", "20,000 directories that share one run of 20,000 entries",
      budget={"output": 64 << 20})
def _():
    s = os_sub({b"many": Dir({b"d%05d" % i: Dir() for i in range(20000)}),
                b"run": Dir({b"f%05d" % i: File(b"") for i in range(20000)})})
    run = s.node(b"run")
    for i in range(20000):
        s.node(b"many/d%05d" % i).set(data=run.data, size=run.size)
    return Image([s])


@case("deep", "1,000 directories in each other: valid", deep=FINE, budget={"output": 64 << 20})
def _():
    d = Dir({b"leaf": File(b"leaf")})
    for _ in range(1000):
        d = Dir({b"d": d})
    import sys
    sys.setrecursionlimit(10000)
    return one({b"deep": d})


# --- links -----------------------------------------------------------------------------------------------

@simple("nlink-zero", "a file without names")
def _(s):
    s.node(b"dir/inner").nlink = 0


@simple("nlink-more", "nlink 7, one name")
def _(s):
    s.node(b"dir/inner").nlink = 7


@simple("nlink-limit", "nlink 2^32 - 1")
def _(s):
    s.node(b"dir/inner").nlink = 0xffffffff


@simple("nlink-less", "two names, nlink 1")
def _(s):
    s.entry(b"dir/second").ref = s.paths[b"dir/inner"]


@simple("nlink-directory", "a directory of more child directories than entries")
def _(s):
    s.node(b"dir").nlink = 3


@simple("nlink-directory-wrong", "a directory with one child directory too many", layout=ANY, compare=False)
def _(s):
    s.node(b"dir").nlink = 1


# --- sizes and content ---------------------------------------------------------------------------------------

for _name, _size in (("size-2-63", 1 << 63), ("size-max", (1 << 64) - 1)):
    simple(_name, f"a file of {_size:#x} bytes", extra=lambda: {b"file": File(b"", size=1)})(
        lambda s, n=_size: s.node(b"file").set(size=n))


@case("size-largest-hole", "a hole of 2^63 - 1 bytes: valid", deep=FINE, layout={0, 1})
def _():
    # [1] a target may not hold a file of that size
    return one({b"hole": File(b"", size=(1 << 63) - 1)})


@case("sparse-2-62", "a file of 2^62 bytes, of which the first and last page are there: valid", deep=FINE)
def _():
    return one({b"sparse": File([(0, b"a" * 4096), ((1 << 62) - 4096, b"b" * 4096)], size=1 << 62)})


@case("sparse-many", "1,000 files of 2^50 bytes: valid", deep=FINE)
def _():
    return one({b"s%04d" % i: File([(i << 40, b"%04d" % i * 1024)], size=1 << 50) for i in range(1000)})


simple("inline-long", "65 inline bytes", extra=lambda: {b"file": File(b"x" * 64)})(
    lambda s: s.node(b"file").set(size=65))
simple("inline-outside", "inline bytes behind the heap", extra=lambda: {b"file": File(b"x" * 64)})(
    lambda s: s.node(b"file").set(data=len(s.heap) - 63))
simple("inline-far", "inline bytes at 2^64 - 8", extra=lambda: {b"file": File(b"x" * 64)})(
    lambda s: s.node(b"file").set(data=(1 << 64) - 8))
simple("run-long", "a run longer than its blocks", extra=lambda: {b"file": File(b"x" * 1000)})(
    lambda s: s.node(b"file").set(size=1 << 20))
simple("run-past-block", "a run that goes past the bytes of its block", extra=lambda: {b"file": File(b"x" * 1000)})(
    lambda s: s.node(b"file").set(size=100000))
simple("run-far", "a run in block 2^47 - 1", extra=lambda: {b"file": File(b"x" * 1000)})(
    lambda s: s.node(b"file").set(data=(1 << 64) - 1))
simple("run-empty", "a run of no bytes", extra=lambda: {b"file": File(b"x" * 1000)})(
    lambda s: s.node(b"file").set(size=0))
simple("kind-unknown", "content of kind 9", extra=lambda: {b"file": File(b"x" * 1000)}, **NEWER_FILE)(
    lambda s: s.node(b"file").set(kind=9))
simple("kind-reserved", "content of reserved kind 4", extra=lambda: {b"file": File(b"x" * 1000)}, **NEWER_FILE)(
    lambda s: s.node(b"file").set(kind=4))
simple("hole-with-place", "no content, and a place for it", extra=lambda: {b"file": File(b"", size=100)})(
    lambda s: s.node(b"file").set(data=3))


def _sparse():
    return {b"file": File([(0, b"a" * 8192), (16384, b"b" * 8192), (65536, b"c" * 4096)], size=1 << 20)}


def extents_case(name, what, **expect):
    def add(alter):
        def make():
            im = one(_sparse())
            s = im.subs[0]
            n = s.node(b"file")
            alter(s, n, s.extents[n.data:n.data + n.ndata])
            return im
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


@extents_case("extents-overlap", "overlapping extents")
def _(s, n, e):
    e[1].off = 4096


@extents_case("extents-equal", "three extents at the same place")
def _(s, n, e):
    e[1].off = e[2].off = 0


@extents_case("extents-unsorted", "extents in descending order")
def _(s, n, e):
    e[0].off, e[2].off = e[2].off, e[0].off


@extents_case("extents-behind-end", "an extent behind the end of the file")
def _(s, n, e):
    e[2].off = 2 << 20


@extents_case("extents-across-end", "an extent across the end of the file")
def _(s, n, e):
    n.size = 65536 + 100


@extents_case("extents-empty", "an extent of no bytes")
def _(s, n, e):
    e[1].len = 0


@extents_case("extents-wrap", "an extent whose end is beyond 2^64")
def _(s, n, e):
    e[2].set(off=(1 << 64) - 4096, len=8192)


@extents_case("extents-no-block", "an extent in a block that does not exist")
def _(s, n, e):
    e[1].addr = 1000 << 17


@extents_case("extents-long", "an extent of 2^60 bytes")
def _(s, n, e):
    n.size = (1 << 62)
    e[2].len = 1 << 60


@extents_case("extents-many", "2^32 - 1 extents")
def _(s, n, e):
    n.ndata = 0xffffffff


@extents_case("extents-none", "a file of extents that has none")
def _(s, n, e):
    n.ndata = 0


@extents_case("extents-odd-holes", "holes that are no multiples of 4096", layout=ANY)
def _(s, n, e):
    e[1].set(off=16384 + 7)


@case("extent-short-block", "an extent through a block that is not full")
def _():
    s = os_sub({b"file": File(bytes(range(256)) * 1024, raw=True)})       # two full blocks
    b = s.node(b"file").data >> 17
    s.blocks[b].set(stored=65536 | RAW, size=65536)
    s.digests[b].digest = sha256(bytes(range(256)) * 256)
    s.blocks[b].xxh3 = xxh3(bytes(range(256)) * 256)
    return Image([s])


@case("block-shared", "4,000 files of 128 KiB that are one block of 20 bytes: 500 MiB, valid but for a small target",
      deep=FINE, layout={1})
def _():
    # [1] there is not that much room
    s = os_sub({b"f%04d" % i: File(b"", size=BLOCK) for i in range(4000)})
    block = s.add_block(zstd(bytes(BLOCK)), BLOCK)
    for i in range(4000):
        s.node(b"f%04d" % i).set(kind=RUN, data=block << 17)
    return Image([s])


@case("extents-shared", "a file of 40,000 extents that are all one block: 5 GB of one block", deep=ANY, layout={1, 4})
def _():
    # [1] there is not that much room
    s = os_sub({b"file": File(b"", size=1)})
    block = s.add_block(zstd(bytes(BLOCK)), BLOCK)
    s.node(b"file").set(kind=EXTENTS, size=40000 * BLOCK, data=len(s.extents), ndata=40000)
    s.extents += [Extent(off=i * BLOCK, len=BLOCK, addr=block << 17) for i in range(40000)]
    return Image([s])


@case("extents-shared-by-many", "4,000 files that share 40,000 rows of EXTENTS", deep=ANY, layout={1, 4})
def _():
    # [1] there is not that much room
    n = 4000
    s = os_sub({b"f%04d" % i: File(b"", size=1) for i in range(n)})
    block = s.add_block(zstd(bytes(BLOCK)), BLOCK)
    for i in range(n):
        s.node(b"f%04d" % i).set(kind=EXTENTS, size=40000 << 18, data=len(s.extents), ndata=40000)
    s.extents += [Extent(off=i << 18, len=4096, addr=block << 17) for i in range(40000)]
    return Image([s])


# --- compression ---------------------------------------------------------------------------------------------

def frame(blocks, size=None, window=None, dictionary=None, checksum=False):
    """A zstd frame by hand (RFC 8878): blocks are (type, size, bytes)."""
    single = window is None
    fcs = 0 if size is None else 3
    did = 0 if dictionary is None else 3
    out = struct.pack("<IB", 0xfd2fb528, fcs << 6 | (1 << 5 if single else 0) | (1 << 2 if checksum else 0) | did)
    if not single:
        out += bytes([window])
    if did:
        out += struct.pack("<I", dictionary)
    if size is not None:
        out += struct.pack("<Q", size)
    elif single:
        out += b"\0"
    for i, (kind, n, data) in enumerate(blocks):
        head = n << 3 | kind << 1 | (1 if i == len(blocks) - 1 else 0)
        out += struct.pack("<I", head)[:3] + data
    return out


def rle(n, byte=b"A"):
    return (1, n, byte)


def block_case(name, what, size=4096, **expect):
    """A file of one block, whose stored bytes are what the function returns."""
    def add(stored):
        def make():
            s = os_sub({b"file": File(b"", size=1)})
            b = s.add_block(stored(), size)
            s.node(b"file").set(kind=RUN, size=4096, data=b << 17)
            return Image([s])
        CASES.append(Case(name, what, make, **expect))
        return stored
    return add


block_case("zstd-by-hand", "a frame made by hand: valid", deep=FINE)(lambda: frame([rle(4096)], 4096))
block_case("zstd-claims-small", "a frame that says 10 bytes and has 4096")(lambda: frame([rle(4096)], 10))
block_case("zstd-claims-huge", "a frame that says 2^40 bytes")(lambda: frame([rle(4096)], 1 << 40))
block_case("zstd-claims-max", "a frame that says 2^64 - 1 bytes, which is how zstd says nothing", deep=FINE)(
    lambda: frame([rle(4096)], (1 << 64) - 1))
block_case("zstd-bomb", "a frame of 1 GiB in 50 KB", size=BLOCK)(
    lambda: frame([rle(131072)] * 8192, 1 << 30, window=(17 - 10) << 3))
block_case("zstd-bomb-silent", "the same, which says nothing of its size", size=BLOCK)(
    lambda: frame([rle(131072)] * 8192, None, window=(17 - 10) << 3))
block_case("zstd-short", "a frame that decodes to less than its block")(lambda: frame([rle(4000)], 4000))
block_case("zstd-long", "a frame that decodes to one byte more")(lambda: frame([rle(4097)], 4097))
block_case("zstd-window", "a window of 2^41 bytes", deep=ANY, layout=ANY)(
    lambda: frame([rle(4096)], 4096, window=(41 - 10) << 3))
block_case("zstd-dictionary", "a frame that wants a dictionary")(
    lambda: frame([rle(4096)], 4096, dictionary=0xdeadbeef))
block_case("zstd-checksum", "a frame with a wrong checksum of its own")(
    lambda: frame([rle(4096)], 4096, checksum=True) + b"\1\2\3\4")
block_case("zstd-two", "two frames", deep=ANY, layout=ANY)(lambda: frame([rle(2048)], 2048) * 2)
block_case("zstd-skippable", "a skippable frame before the frame", deep=ANY, layout=ANY)(
    lambda: struct.pack("<II", 0x184d2a50, 8) + bytes(8) + frame([rle(4096)], 4096))
block_case("zstd-skippable-huge", "a skippable frame of 2^32 - 1 bytes")(
    lambda: struct.pack("<II", 0x184d2a50, 0xffffffff) + bytes(8))
block_case("zstd-cut", "a frame that is cut off")(lambda: zstd(VICTIM * 9)[:-5])
block_case("zstd-trailing", "bytes behind the frame")(lambda: frame([rle(4096)], 4096) + b"more")
block_case("zstd-reserved", "a block of the reserved type")(lambda: frame([(3, 4096, b"A")], 4096))
block_case("zstd-noise", "no frame at all")(lambda: b"noise" * 100)
block_case("block-size-zero", "a block of no decoded bytes", size=0)(lambda: frame([rle(4096)], 4096))
block_case("block-size-large", "a block of 128 KiB and one byte", size=BLOCK + 1)(lambda: frame([rle(4096)], 4096))
block_case("block-size-max", "a block of 2^32 - 1 decoded bytes", size=0xffffffff)(lambda: frame([rle(4096)], 4096))
block_case("block-larger", "stored bytes that are more than the block", deep=ANY, layout=ANY)(
    lambda: frame([(0, 4096, b"r" * 4096)], 4096))


def block_row(name, what, **expect):
    def add(alter):
        def make():
            s = os_sub({b"file": File(b"r" * 4096, raw=True)})
            alter(s, s.blocks[s.node(b"file").data >> 17])
            return Image([s])
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


block_row("block-off-odd", "a block at an odd place")(lambda s, b: b.set(off=b.off + 1))
block_row("block-off-far", "a block at 2^64 - 8")(lambda s, b: b.set(off=(1 << 64) - 8))
block_row("block-outside", "a block that ends behind DATA")(lambda s, b: b.set(stored=b.stored + 4096))
block_row("block-stored-zero", "a block of no stored bytes")(lambda s, b: b.set(stored=0))
block_row("block-stored-huge", "a block of 2^31 - 1 stored bytes")(lambda s, b: b.set(stored=0x7fffffff))
block_row("block-raw-differs", "a raw block of another size")(lambda s, b: b.set(stored=RAW | 100))


@block_row("block-digest", "a block whose SHA-256 is another's", layout=ANY)
def _(s, b):
    s.digests[s.blocks.index(b)].digest = bytes(32)


# --- xattrs ------------------------------------------------------------------------------------------------

def xattr_case(name, what, xattrs, **expect):
    def add(alter):
        def make():
            s = os_sub({b"file": File(b"with xattrs\n", xattrs=xattrs() if callable(xattrs) else xattrs)})
            n = s.node(b"file")
            first = s.xattr_sets[n.xattrs].first
            alter(s, n, s.xattr_sets[n.xattrs], s.xattrs[first:])
            return Image([s])
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


def _nothing(*_):
    pass


TWO = {b"user.a": b"1", b"user.b": b"2"}
xattr_case("xattr-set-beyond", "a set that does not exist", TWO)(lambda s, n, t, x: n.set(xattrs=1000))
xattr_case("xattr-set-long", "a set of 2^32 - 1 xattrs", TWO)(lambda s, n, t, x: t.set(count=0xffffffff))
xattr_case("xattr-set-far", "a set that begins at 2^64 - 1", TWO)(lambda s, n, t, x: t.set(first=(1 << 64) - 1))
xattr_case("xattr-set-zero", "set 0 is not empty", TWO, layout=ANY, compare=False)(
    lambda s, n, t, x: s.xattr_sets[0].set(count=2))
xattr_case("xattr-value-long", "a value of 65,537 bytes", {b"user.a": b"x" * 65537})(_nothing)
xattr_case("xattr-value-huge", "a value of 2^32 - 1 bytes", TWO)(lambda s, n, t, x: x[0].set(value_len=0xffffffff))
xattr_case("xattr-value-outside", "a value behind the heap", TWO)(
    lambda s, n, t, x: x[0].set(value=len(s.heap), value_len=10))
xattr_case("xattr-name-empty", "an xattr without a name", TWO)(lambda s, n, t, x: x[0].set(name=0))
xattr_case("xattr-name-nul", "an xattr name with a NUL", {b"user.a\0b": b"1"})(_nothing)
xattr_case("xattr-name-outside", "a name behind the heap", TWO)(
    lambda s, n, t, x: x[0].set(name=6 << 56 | len(s.heap)))
xattr_case("xattr-twice", "one name twice", TWO, layout=ANY, compare=False)(
    lambda s, n, t, x: x[1].set(name=x[0].name))
xattr_case("xattr-unsorted", "a set that is not sorted", TWO, layout=ANY)(
    lambda s, n, t, x: (x[0].set(name=s.string(b"user.b")), x[1].set(name=s.string(b"user.a"))))
xattr_case("xattr-namespace", "names of no namespace", {b"nothing": b"1", b"foo.bar": b"2"}, deep=ANY,
           layout={0, 1, 4})(_nothing)   # [1] most targets cannot hold them
xattr_case("xattr-capability", "a capability that is none", {b"security.capability": b"garbage"}, deep=ANY,
           partial={0}, layout={1, 4})(_nothing)   # [1] the kernel takes none such
xattr_case("xattr-acl", "an ACL that is none", {b"system.posix_acl_access": b"\2\0\0\0garbage"}, deep=ANY,
           layout={1, 4})(_nothing)   # [1] the kernel takes none such
xattr_case("xattr-acl-short", "an ACL of one byte", {b"system.posix_acl_access": b"\2"}, deep=ANY, layout={1, 4})(_nothing)
xattr_case("xattr-overlay", "attributes by which overlayfs would go elsewhere: valid, they are bytes",
           {b"trusted.overlay.redirect": b"/etc", b"trusted.overlay.opaque": b"y", b"trusted.overlay.metacopy": b""},
           deep=FINE, partial={1})(_nothing)   # [1] a user may not set trusted attributes
xattr_case("xattr-plyfs", "names that the product may use itself: valid",
           {b"user.plyfs.origin": b"os", b"user.plyfs.ino": b"1", b"user.plyfs": b"x"}, deep=FINE,
           layout={0, 1})(_nothing)   # [1] no room for user attributes on this target
xattr_case("xattr-many", "3,000 xattrs with names of 255 bytes: more than one node can have",
           lambda: {b"user." + b"%04d" % i * 62 + b"xx": b"" for i in range(3000)}, layout={1, 4})(_nothing)


@case("xattr-sets-shared", "4,000 sets of the same 4,000 xattrs with values of 64 KiB", layout=ANY)
def _():
    s = os_sub({b"file": File(b"", xattrs={b"user.x": b""})})
    value = s.heap_at(b"v" * 65536)
    first = len(s.xattrs)
    s.xattrs += [Xattr(name=s.string(b"user.%04d" % i), value=value, value_len=65536) for i in range(4000)]
    s.xattr_sets += [XattrSet(first=first, count=4000) for _ in range(4000)]
    return Image([s])


@case("xattr-bomb", "10,000 files that share one set of 1,000 xattrs", deep=ANY,
      layout={1, 4}, budget={"output": 64 << 20})
def _():
    s = os_sub({b"f%05d" % i: File(b"", xattrs={b"user.x": b""} if i == 0 else {}) for i in range(10000)})
    s.xattr_sets[1].set(first=len(s.xattrs), count=1000)
    s.xattrs += [Xattr(name=s.string(b"user.%04d" % i)) for i in range(1000)]
    for i in range(10000):
        s.node(b"f%05d" % i).xattrs = 1
    return Image([s])


@case("xattr-large", "300 xattrs of one file that share a value of 64 KiB", deep=FINE, layout={0, 1})
def _():
    # [1] most targets cannot hold them
    s = os_sub({b"file": File(b"", xattrs={b"trusted.%04d" % i: b"" for i in range(300)})})
    value = s.heap_at(b"v" * 65536)
    for x in s.xattrs:
        x.set(value=value, value_len=65536)
    return Image([s])


# --- owners, modes, times, devices ---------------------------------------------------------------------------

simple("owner-no-id", "uid 2^32 - 1")(lambda s: s.owners[0].set(id=0xffffffff))
simple("owner-pair-beyond", "an owner that does not exist")(lambda s: s.node(b"dir/inner").set(owner=1000))
simple("owner-row-beyond", "a pair of owners that do not exist")(lambda s: s.owner_pairs[0].set(user=77))
simple("owner-kind", "a group where a user stands")(lambda s: s.owners[0].set(kind=2))
simple("owner-name-outside", "an owner's name behind the heap")(
    lambda s: s.owners[0].set(name=5 << 56 | len(s.heap)))
simple("owner-component", "an owner of a component that does not exist")(lambda s: s.owners[0].set(component=99))


@case("owner-largest", "uid and gid 2^32 - 2, names with control characters: valid", deep=FINE)
def _():
    # [1] a user may not give files away
    return one({b"file": File(b"", uid=0xfffffffe, gid=0xfffffffe, group=b"a\nb")})


@simple("mtime-nanoseconds", "10^9 nanoseconds")
def _(s):
    s.node(b"dir/inner").mtime_nsec = 1000000000


@case("mtime-extremes", "the first and the last second of 64 bits: valid", deep=FINE, layout={0, 1})
def _():
    # [1] a target may not hold such years
    return one({b"last": File(b"", mtime=((1 << 63) - 1, 0)), b"first": File(b"", mtime=(-(1 << 63), 0)),
                b"far": Dir(mtime=(1 << 40, 1))})


@case("mtime-last-nanosecond", "the last nanosecond of 64 bits: valid, and Linux gives the last second none", deep=FINE,
      layout={1})
def _():
    # [1] no target can hold it
    return one({b"last": File(b"", mtime=((1 << 63) - 1, 999999999))})


@case("privileges", "devices, setuid, setgid and capability files: valid, and a user's mount and layout do not honour them",
      deep=FINE)
def _():
    # [1] a user cannot make devices, and is told
    cap = struct.pack("<IIIII", 0x02000001, 0x2000, 0, 0, 0)
    return one({b"sda": Special(S_IFBLK, 8, 0, mode=0o666), b"mem": Special(S_IFCHR, 1, 1, mode=0o666),
                b"su": File(b"#!/bin/sh\nid\n" * 9, mode=0o6755),
                b"cap": File(b"x", mode=0o755, xattrs={b"security.capability": cap}),
                b"fifo": Special(S_IFIFO), b"sock": Special(S_IFSOCK), b"sticky": Dir(mode=0o7777)})


@simple("device-huge", "a device of numbers that no kernel has", extra=lambda: {b"dev": Special(S_IFCHR, 1, 3)},
        deep=ANY, layout={0, 1, 4})
def _(s):
    s.node(b"dev").size = 0xfffffffffffffff & (1 << 63) - 1


simple("fifo-size", "a FIFO with a size", extra=lambda: {b"fifo": Special(S_IFIFO)})(
    lambda s: s.node(b"fifo").set(size=10))
simple("node-flags", "unknown flags of a node")(lambda s: s.node(b"dir/inner").set(flags=0x82))
simple("implied-file", "an implied file")(lambda s: s.node(b"dir/inner").set(flags=1))
simple("mark-beyond", "a mark of a node that does not exist", layout=ANY)(
    lambda s: s.marks.append(Mark(ref=1 << 40, mark=1)))
simple("mark-none", "a mark of value 0, and node 0", layout=ANY)(lambda s: s.marks.append(Mark()))
simple("mark-unknown", "marks of unknown bits, unsorted, twice", layout=ANY)(
    lambda s: s.marks.extend([Mark(ref=3, mark=0xffffffff), Mark(ref=2, mark=1), Mark(ref=2, mark=0x10)]))


# --- join table ------------------------------------------------------------------------------------------------

def join_case(name, what, **expect):
    expect.setdefault("open", ANY)

    def add(alter):
        def make():
            im = two()
            im.hooks["join"] = lambda j: alter(j, im)
            return im
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


def _member(j, im, sub, path):
    ref = im.subs[sub].number << 48 | im.subs[sub].paths[path]
    return next(m for m in j.members if m.ref == ref)


def _move(j, im, sub, path, index):
    """The member that is sub's path is node @index instead, in the index too."""
    m = _member(j, im, sub, path)
    row = next(i for i in j.index if i.ref == m.ref)
    m.ref = row.ref = im.subs[sub].number << 48 | index
    j.index.sort(key=lambda r: r.ref)


join_case("join-valid", "the join table as it should be", deep=FINE)(lambda j, im: None)
join_case("join-node-beyond", "a member that does not exist")(
    lambda j, im: _move(j, im, 1, b"dir", 1 << 40))
join_case("join-file", "a directory joined with a file")(
    lambda j, im: _move(j, im, 1, b"dir", im.subs[1].paths[b"dir/app.conf"]))
join_case("join-other", "directories of different names")(
    lambda j, im: _move(j, im, 1, b"dir", im.subs[1].paths[b"opt/app"]))
join_case("join-cycle", "a directory joined with one above it", layout=ANY)(
    lambda j, im: (_move(j, im, 0, b"dir", im.subs[0].paths[b"dir2/deeper"]),))
join_case("join-root", "a root joined with a directory below")(
    lambda j, im: _move(j, im, 1, b"", im.subs[1].paths[b"opt/app"]))
join_case("join-number", "a member of a sub-image that does not exist", layout=ANY, compare=False)(
    lambda j, im: _member(j, im, 1, b"dir").set(ref=77 << 48 | 2))
join_case("join-number-huge", "a member of number 32767")(
    lambda j, im: _member(j, im, 1, b"dir").set(ref=0x7fff << 48 | 2))
join_case("join-sub-twice", "one sub-image twice in a row")(
    lambda j, im: _member(j, im, 1, b"dir").set(ref=im.subs[0].paths[b"dir2"]))
join_case("join-one-member", "a row of one member")(
    lambda j, im: j.rows[1].set(nmembers=1))
join_case("join-members-huge", "a row of 2^32 - 1 members")(
    lambda j, im: j.rows[1].set(nmembers=0xffffffff))
join_case("join-members-far", "members at 2^64 - 1")(
    lambda j, im: j.rows[1].set(first_member=(1 << 64) - 1))
join_case("join-kind", "a row of kind 200")(lambda j, im: j.rows[1].set(kind=200))
join_case("join-kind-links", "a directory as a link group", layout=ANY)(
    lambda j, im: j.rows[1].set(kind=2))
join_case("join-children-self", "a row that is its own child", layout=ANY, compare=False)(
    lambda j, im: j.rows[1].set(first_child=1, nchildren=1))
join_case("join-children-huge", "2^64 - 1 children")(
    lambda j, im: j.rows[0].set(nchildren=(1 << 64) - 1))
join_case("join-children-missing", "children that are not listed", layout=ANY, compare=False)(
    lambda j, im: j.rows[0].set(first_child=0, nchildren=0))
join_case("join-index-row", "the index leads to a row that does not exist")(
    lambda j, im: j.index[1].set(row=1 << 50))
join_case("join-index-other", "the index leads to another row")(
    lambda j, im: j.index[1].set(row=2))
join_case("join-index-unsorted", "an index in descending order", layout=ANY)(
    lambda j, im: j.index.reverse())
join_case("join-index-empty", "an index of no rows", layout=ANY | {3})(
    lambda j, im: j.index.clear())
join_case("join-index-twice", "an index that names nodes twice", layout=ANY)(
    lambda j, im: j.index.extend([r.copy() for r in j.index]))


@case("join-links", "a link group over two sub-images: valid", deep=FINE)
def _():
    a, b = File(VICTIM), File(VICTIM)
    im = two({b"link1": a}, {b"link2": b})
    im.groups = [[(im.subs[0], b"link1"), (im.subs[1], b"link2")]]
    return im


@case("join-links-differ", "a link group of different content and type", layout=ANY)
def _():
    im = two({b"link1": File(VICTIM)}, {b"link2": Symlink(b"../beside")})
    im.groups = [[(im.subs[0], b"link1"), (im.subs[1], b"link2")]]
    return im


@case("join-links-bytes", "a link group of two contents, whose digests say that they are one", layout=ANY)
def _():
    im = two({b"link1": File(b"one" * 100)}, {b"link2": File(b"two" * 100)})
    im.groups = [[(im.subs[0], b"link1"), (im.subs[1], b"link2")]]
    im.hooks["join"] = lambda j: j.members[-1].set(digest=j.members[-2].digest)
    return im


@case("join-digest", "a link group whose digests are of nothing", layout=ANY)
def _():
    im = two({b"link1": File(VICTIM)}, {b"link2": File(VICTIM)})
    im.groups = [[(im.subs[0], b"link1"), (im.subs[1], b"link2")]]
    im.hooks["join"] = lambda j: j.members[-1].set(digest=b"x" * 32)
    return im


@join_case("join-bomb", "a directory of 100,000 joined children of 16,000 members each, all the same rows",
           layout=ANY, compare=False)   # [0] it asks for no number of links: the tree is right
def _(j, im):
    first = len(j.members)
    j.members += [JoinMember(ref=im.subs[i & 1].number << 48 | 2) for i in range(16000)]
    at = len(j.rows)
    j.rows += [JoinRow(first_member=first, nmembers=16000, kind=1) for _ in range(100000)]
    j.rows[0].set(first_child=at, nchildren=100000)
    j.rows[1].set(first_child=at, nchildren=100000)


# --- catalog -----------------------------------------------------------------------------------------------------

def catalog_case(name, what, base=two, **expect):
    if expect.get("deep", BAD) == BAD:
        # found when the image is opened
        for group in ("open", "verify", "layout", "mount"):
            expect.setdefault(group, BAD)

    def add(alter):
        def make():
            im = base()
            im.hooks["catalog"] = alter
            return im
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


catalog_case("catalog-name-path", "a sub-image called ../x")(lambda c: c.subs[1].set(name=c.string("../x")))
catalog_case("catalog-name-empty", "a sub-image without a name")(lambda c: c.subs[1].set(name=0))
catalog_case("catalog-name-long", "a name of 129 bytes")(lambda c: c.subs[1].set(name=c.string("x" * 129)))
catalog_case("catalog-name-control", "a name with control characters")(
    lambda c: c.subs[1].set(name=c.string("app\x1b[2J")))
catalog_case("catalog-name-nul", "a name with a NUL")(lambda c: c.subs[1].set(name=c.string("ap\0p")))
catalog_case("catalog-name-twice", "two sub-images called os")(lambda c: c.subs[1].set(name=c.subs[0].name))
catalog_case("catalog-string-far", "a string at 2^32 - 1")(lambda c: c.subs[1].set(arch=0xffffffff))
catalog_case("catalog-string-long", "a string of 2^32 - 1 bytes")(
    lambda c: c.subs[1].set(arch=0xffffffff << 32))
catalog_case("catalog-number-twice", "one number twice")(lambda c: c.subs[1].set(number=0))
catalog_case("catalog-number-huge", "number 2^32 - 1")(lambda c: c.subs[1].set(number=0xffffffff))
catalog_case("catalog-number-next", "a number that was never given")(lambda c: c.head.set(next_number=1))
catalog_case("catalog-next-huge", "next number 2^32 - 1")(lambda c: c.head.set(next_number=0xffffffff))
catalog_case("catalog-rank-twice", "one rank twice")(lambda c: c.subs[1].set(rank=0))
catalog_case("catalog-no-os", "no os")(lambda c: c.subs[0].set(flags=0))
catalog_case("catalog-empty", "no sub-image")(lambda c: c.subs.clear())
catalog_case("catalog-flags", "unknown flags")(lambda c: c.subs[1].set(flags=0x80))
catalog_case("catalog-nodes", "another number of nodes", verify=BAD, open=ANY)(lambda c: c.subs[1].set(nodes=1 << 47))
catalog_case("catalog-uuid", "another UUID of a sub-image", open=ANY)(lambda c: c.subs[1].set(uuid=b"x" * 16))
catalog_case("catalog-image-uuid", "another UUID of the image")(lambda c: c.head.set(uuid=b"x" * 16))
catalog_case("catalog-same-segment", "two sub-images in one segment", open=ANY)(lambda c: c.subs[1].set(seg_first=0))
catalog_case("catalog-segment-beyond", "a segment that does not exist")(lambda c: c.subs[1].set(seg_first=1000))
catalog_case("catalog-segment-none", "a sub-image of no segments")(lambda c: c.subs[1].set(seg_count=0))
catalog_case("catalog-segment-many", "a sub-image of 2^32 - 1 segments")(lambda c: c.subs[1].set(seg_count=0xffffffff))
catalog_case("catalog-segment-kind", "a segment of another kind")(lambda c: c.segments[1].set(kind=3))
catalog_case("catalog-segment-join", "a sub-image whose segment is the join table")(
    lambda c: c.subs[1].set(seg_first=2))
catalog_case("catalog-segment-far", "a segment at 2^64 - 8")(lambda c: c.segments[1].set(off=(1 << 64) - 8))
catalog_case("catalog-segment-long", "a segment of 2^64 - 8 bytes")(lambda c: c.segments[1].set(len=(1 << 64) - 8))
catalog_case("catalog-segment-super", "a segment where the superblocks are")(lambda c: c.segments[1].set(off=0))
catalog_case("catalog-segment-odd", "a segment at an odd place")(
    lambda c: c.segments[1].set(off=c.segments[1].off + 1))
catalog_case("catalog-segment-digest", "a segment of another digest", open=ANY)(
    lambda c: c.segments[1].set(digest=bytes(32)))
catalog_case("catalog-segment-elsewhere", "a segment in another file", **NEWER)(lambda c: c.segments[1].set(flags=1))
catalog_case("catalog-join-beyond", "a join table that does not exist")(lambda c: c.head.set(join_first=99))
catalog_case("catalog-join-kind", "a join table that is a sub-image")(lambda c: c.head.set(join_first=0))
catalog_case("catalog-join-other", "a join table at the place of a sub-image")(
    lambda c: (c.segments.append(c.segments[0].copy().set(kind=3)), c.head.set(join_first=3)))
catalog_case("catalog-join-none", "two sub-images and no join table", open=ANY, layout=ANY | {3},
             mount=ANY, verify=ANY)(lambda c: c.head.set(join_first=0, join_count=0))
catalog_case("catalog-join-many", "2^32 - 1 join tables")(lambda c: c.head.set(join_count=0xffffffff))
catalog_case("catalog-generation-zero", "generation 0")(lambda c: c.head.set(generation=0))
catalog_case("catalog-generation-self", "a generation that is its own parent")(
    lambda c: c.head.set(parent_generation=1))
catalog_case("catalog-time", "10^9 nanoseconds")(lambda c: c.head.set(time_nsec=1000000000))
catalog_case("catalog-reserved", "reserved bytes")(lambda c: c.head.set(zero=b"\1"))
catalog_case("catalog-relation-from", "a relation of no sub-image")(lambda c: c.relation(1, 999, "os"))
catalog_case("catalog-relation-nul", "a relation to a name with a NUL")(lambda c: c.relation(1, 1, "o\0s"))
catalog_case("catalog-relation-unknown", "a relation of an unknown kind: passed over", deep=ANY, verify=ANY, layout=ANY,
             open=ANY, mount=ANY)(lambda c: c.relation(77, 1, "os"))
catalog_case("catalog-requires-missing", "requires what is not there", deep=ANY, verify=ANY, open={0, 1, 4},
             layout={0, 1, 4}, mount={0, 1, 4}, select="app")(lambda c: c.relation(1, 1, "ghost"))    # [1] it is told


@catalog_case("catalog-requires-cycle", "requirements in a cycle: valid", deep=FINE, select="app")
def _(c):
    c.relation(1, 0, "app")
    c.relation(1, 1, "os")
    c.relation(1, 1, "app")


@catalog_case("catalog-relations-many", "100,000 relations, valid or refused", deep=ANY, open=ANY, verify=ANY, layout=ANY,
              mount=ANY, select="app", budget={"output": 16 << 20})
def _(c):
    to = c.string("os")
    c.relations += [Relation(kind=1 + i % 2, source=1, group=i // 7, to=to) for i in range(100000)]


@catalog_case("catalog-string-bomb", "5,000 relations to one name of 1 MiB")
def _(c):
    to = c.string("x" * (1 << 20))
    c.relations += [Relation(kind=2, source=1, to=to) for _ in range(5000)]


@catalog_case("catalog-blob-bomb", "5,000 blobs of the same MiB")
def _(c):
    name, data = c.string("more"), c.string(b"x" * (1 << 20))
    c.blobs += [Blob(name=name, bytes=data, sub=0xffffffff) for _ in range(5000)]


@catalog_case("catalog-mount-bomb", "2,500 mounts with a type of 1 MiB")
def _(c):
    data = c.string(b"x" * (1 << 20))
    c.mounts += [Mount(path=c.string(b"/%06d" % i), type=data, subtree=data) for i in range(2500)]


@catalog_case("catalog-blob-packages", "a list of packages that is noise", deep=ANY, open=ANY, verify=ANY, layout=ANY,
              mount=ANY)
def _(c):
    c.blob("packages", b"\x1b[2J\tno\n\n\t\t\t\t\t\nlast\tline\0without\tend" * 1000, 1)
    c.blob("packages", b"", 0)
    c.blob("packages", b"x", 0)


catalog_case("catalog-blob-sub", "a blob of no sub-image")(lambda c: c.blob("packages", b"", 9999))
catalog_case("catalog-blob-outside", "a blob behind STRINGS")(
    lambda c: c.blobs.append(Blob(name=c.string("packages"), bytes=0xffffffff << 32, sub=0)))

for _name, _what, _paths in (("mounts-relative", "a mount without a slash", [b"boot"]),
                             ("mounts-unsorted", "mounts that are not sorted", [b"/b", b"/a"]),
                             ("mounts-twice", "one mount twice", [b"/b", b"/b"]),
                             ("mounts-empty", "a mount of no path", [b""])):
    catalog_case(_name, _what)(lambda c, p=_paths: [c.mount(x) for x in p])
catalog_case("mounts-escape", "mounts with .. and control characters: strings, passed on with escapes", deep=ANY, open=ANY,
             verify=ANY, layout=ANY, mount=ANY)(
    lambda c: [c.mount(x, b"\x1b[2J", b"../..") for x in (b"/", b"/../../beside", b"/\x1b[2J")])


# --- segments and container -----------------------------------------------------------------------------------------

def section_case(name, what, hook="after", **expect):
    for group in ("verify", "layout", "mount"):
        expect.setdefault(group, BAD)

    def add(alter):
        def make():
            im = one()
            im.subs[0].hooks[hook] = alter
            return im
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


def _get(sections, name):
    return next(s for s in sections if s.type == SECTION[name])


def _off(name, off):
    return lambda ss: setattr(_get(ss, name), "off", off(_get(ss, name), ss) if callable(off) else off)


section_case("section-overlap", "two sections at one place")(_off("ENTRIES", lambda s, ss: _get(ss, "NODES").off))
section_case("section-odd", "a section at an odd place")(_off("HEAP", lambda s, ss: s.off + 1))
section_case("section-far", "a section at 2^64 - 8")(_off("HEAP", (1 << 64) - 8))
section_case("section-header", "a section in the header")(_off("HEAP", 0))
section_case("section-outside-meta", "a section in front of the metadata region")(
    _off("NAMES", lambda s, ss: _get(ss, "DATA").off))
section_case("section-long", "a section of 2^64 - 64 bytes")(
    lambda ss: (setattr(_get(ss, "NODES"), "len", (1 << 64) - 64), setattr(_get(ss, "NODES"), "count", (1 << 58) - 1)))
section_case("section-count", "a section of more elements than bytes")(
    lambda ss: setattr(_get(ss, "NODES"), "count", 1 << 40))
section_case("section-count-heap", "a heap that counts")(lambda ss: setattr(_get(ss, "HEAP"), "count", 3))
section_case("section-twice", "one type twice")(lambda ss: setattr(_get(ss, "HEAP"), "type", SECTION["NAMES"]))
section_case("section-missing", "a section is missing", hook="sections")(
    lambda ss: ss.remove(_get(ss, "EXTENTS")))
section_case("section-flags", "unknown flags of a section")(lambda ss: setattr(_get(ss, "HEAP"), "flags", 0xf3))
section_case("section-data-paged", "DATA in the metadata region")(lambda ss: setattr(_get(ss, "DATA"), "flags", 3))
section_case("section-unknown", "a required section of unknown type", hook="sections", **NEWER)(
    lambda ss: ss.append(Section(77, b"what is this")))
section_case("section-digest", "a section whose SHA-256 is another's", layout=ANY, mount=ANY)(
    lambda ss: setattr(_get(ss, "HEAP"), "digest", b"x" * 32))


@section_case("section-optional", "an unknown section that is not required: passed over", hook="sections", deep=FINE,
              verify=FINE, layout=FINE, mount=FINE)
def _(ss):
    ss.append(Section(77, b"what is this"))
    ss[-1].flags = 2


@section_case("sections-63", "a directory of 63 sections", hook="sections")
def _(ss):
    for i in range(50):
        ss.append(Section(200 + i, b"8 bytes."))
        ss[-1].flags = 2


for _name, _what, _values in (
        ("head-version", "a segment of version 2", dict(version=2)),
        ("head-incompat", "a segment with a feature", dict(incompat=1)),
        ("head-kind-delta", "a delta segment", dict(kind=2)), ("head-kind", "a segment of kind 99", dict(kind=99)),
        ("head-length", "a segment of another length", dict(length=1 << 40)),
        ("head-magic", "a segment without magic", dict(magic=b"nothing!")),
        ("head-meta-far", "a metadata region at 2^64 - 8", dict(meta_off=(1 << 64) - 8)),
        ("head-meta-long", "a metadata region of 2^64 - 8 bytes", dict(meta_len=(1 << 64) - 8)),
        ("head-meta-none", "a metadata region of no bytes", dict(meta_len=0)),
        ("head-block-bits", "blocks of 2^31 bytes", dict(block_bits=31)),
        ("head-header-len", "a header of 2^32 - 1 bytes", dict(header_len=0xffffffff)),
        ("head-nsections", "2^32 - 1 sections", dict(nsections=0xffffffff)),
        ("head-reserved", "reserved bytes of a header", dict(zero=b"\1"))):
    section_case(_name, _what, hook="head", **(NEWER if _name in (
        "head-version", "head-incompat", "head-kind-delta", "head-kind", "head-block-bits") else {}))(
            lambda h, v=_values: h.set(**v))


# --- what depends on a selection ---------------------------------------------------------------------------

SHELLS = b"/bin/sh\n/opt/app/sh\n"


def _packed(n, length):
    """So many records, as they are on disk: rows with fields would take a quarter of a minute."""
    return [struct.pack("<IIII", i, 0, length, 0) for i in range(n)]


def parts(os_records=None, app_records=None, os_extra=None, app_extra=None, **more):
    """os and app with a shared file /etc/shells, /etc/tool of both under conditions, a file under a long one."""
    os_records = [(0, b"/bin/sh\n"), (2, b"/bin/csh\n", [("none", "app")])] if os_records is None else os_records
    app_records = [(1, b"/opt/app/sh\n")] if app_records is None else app_records
    etc = {b"shells": Shared(SHELLS, os_records, **more), b"tool": Symlink(b"os", when=[("none", "app")]),
           b"late": File(b"late", when=[("any", "app"), ("any", "x", "app")])}
    app_etc = {b"shells": Shared(SHELLS, app_records, **more), b"tool": Symlink(b"app")}
    return two({b"etc": Dir(etc | (os_extra or {}))}, {b"etc": Dir(app_etc | (app_extra or {}), implied=True)})


def records_case(name, what, make=parts, **expect):
    def add(alter):
        def build():
            im = make()
            alter(*im.subs)
            return im
        CASES.append(Case(name, what, build, **{"records": {0, 1, 4}} | expect))
        return alter
    return add


records_case("records-valid", "a shared file, names under conditions: valid", deep=FINE)(lambda s, app: None)
records_case("condition-endless", "conditions that do not end")(
    lambda s, app: [c.set(flags=c.flags & 3) for c in s.conditions])
records_case("condition-no-clause", "a condition that ends in a clause")(
    lambda s, app: [c.set(flags=c.flags & 5) for c in s.conditions])
records_case("condition-mixed", "a clause of \"any\" and \"none\"", layout=ANY)(
    lambda s, app: [c.set(flags=c.flags ^ 1) for c in s.conditions if not c.flags & 2])
records_case("condition-component", "a component that is not there")(
    lambda s, app: [c.set(component=60000) for c in s.conditions])
records_case("condition-self", "a condition on slot 0")(lambda s, app: [c.set(component=0) for c in s.conditions])
records_case("condition-inside", "an entry whose condition begins in another", layout=ANY)(
    lambda s, app: s.entry(b"etc/late").set(condition=s.entry(b"etc/late").condition + 1))
records_case("condition-beyond", "an entry whose condition is not there")(
    lambda s, app: s.entry(b"etc/late").set(condition=(1 << 32) - 1))
records_case("condition-directory", "a directory under a condition")(lambda s, app: s.entry(b"dir").set(condition=1))


@records_case("condition-65536", "a condition of 65536 rows, of a thousand files",
              lambda: parts(os_extra={b"f%04d" % i: File(b"x", when=[("any", "app")]) for i in range(1000)}))
def _(s, app):
    first = len(s.conditions)
    s.conditions += [Condition(component=1, flags=2) for _ in range(65536 - first)]
    s.conditions[-1].flags = 6
    for e in s.entries:
        e.condition = first + 1 if e.condition else 0


@records_case("condition-65537", "more rows of CONDITIONS than there may be", open=ANY, read=BAD, dump=BAD)
def _(s, app):
    s.conditions += [Condition(component=1, flags=6) for _ in range(65537 - len(s.conditions))]


@records_case("components-many", "60,000 names of components, and all in conditions", deep=FINE)
def _(s, app):
    for i in range(60000):
        s.components.append(Component(name=s.string(b"c%d" % i)))
    s.conditions += [Condition(component=2 + i, flags=6 if i % 1000 == 999 else 2) for i in range(60000)]


records_case("components-name-twice", "two slots of one name", layout=ANY)(lambda s, app: s.components.append(s.components[1].copy()))
records_case("components-name-nul", "a component's name with NUL bytes, longer than that of a sub-image", read=BAD, mount=BAD)(
    lambda s, app: s.components[1].set(name=s.string(b"app" + bytes(250))))
records_case("components-name-outside", "a component's name behind the heap")(
    lambda s, app: s.components[1].set(name=9 << 56 | len(s.heap) - 1))
records_case("name-both", "a name of both, and a selection has both", layout=ANY)(lambda s, app: s.entry(b"etc/tool").set(condition=0))


@case("links-conditions", "a file of two names, one of them under a condition", select="os", read=FINE, mount=FINE)
def _():
    f = File(b"two names")
    im = parts(os_extra={b"one": f, b"other": f})
    late = im.subs[0].entry(b"etc/late")
    im.subs[0].entry(b"etc/other").set(condition=late.condition)
    return im


records_case("record-long", "a record of 2^32 - 1 bytes")(lambda s, app: s.records[0].set(len=(1 << 32) - 1))
records_case("record-short", "records that do not fill their file")(lambda s, app: s.records[0].set(len=3))
records_case("record-flags", "a record's unknown flag")(lambda s, app: s.records[0].set(flags=2))
records_case("record-condition", "a record's condition that is not there")(lambda s, app: s.records[0].set(condition=99999))
records_case("records-equal", "two records of one ordinal")(lambda s, app: s.records[1].set(ordinal=0))
records_case("records-descending", "records that descend")(lambda s, app: s.records[0].set(ordinal=9))
records_case("records-far", "ordinals at the end of what 32 bits hold: valid", lambda: parts(
    [(0, b"/bin/sh\n"), (0xffffffff, b"/bin/csh\n", [("none", "app")])], [(0xffffefff, b"/opt/app/sh\n")]),
    deep=FINE, records=FINE)(lambda s, app: None)
records_case("records-beyond", "records behind their table")(lambda s, app: s.shared[0].set(first=1, count=(1 << 32) - 1))
records_case("records-foreign", "os has a record that is app's", layout=ANY)(lambda s, app: s.records[0].set(condition=2))
records_case("records-copies", "a record of two parts that differ", layout=ANY)(lambda s, app: app.records[0].set(ordinal=0))
records_case("record-digest", "records of another file", layout=ANY)(lambda s, app: s.records[1].set(condition=0))
records_case("shared-no-flag", "a row of a file that is not shared", layout=ANY)(
    lambda s, app: s.node(b"etc/shells").set(flags=0))
records_case("shared-no-row", "a shared file without a row")(lambda s, app: s.node(b"victim").set(flags=2))
records_case("shared-symlink", "a symlink that is shared", layout=ANY)(lambda s, app: s.node(b"etc/tool").set(flags=2))
records_case("shared-twice", "two rows of one node")(lambda s, app: s.shared.append(s.shared[0].copy()))
records_case("shared-nobody", "a row of a node that is not there")(lambda s, app: s.shared[0].set(node=1 << 40))
records_case("shared-driver", "a driver that nobody knows", **NEWER_FILE | dict(open=FINE, read={0, 1, 4}, deep=BAD))(
    lambda s, app: [x.shared[0].set(driver=60000) for x in (s, app)])
records_case("shared-drivers", "parts of two drivers")(lambda s, app: app.shared[0].set(driver=13))
records_case("shared-digests", "parts of two files")(lambda s, app: app.shared[0].set(digest=bytes(32)))


@records_case("shared-65537", "more shared files than there may be", open=ANY, read=BAD, dump=BAD)
def _(s, app):
    s.shared += [s.shared[0].copy() for _ in range(65536)]


@records_case("records-shared", "two thousand files with the same half a million records",
              lambda: parts(os_extra={b"f%04d" % i: Shared(b"", [(i, b"")]) for i in range(2000)}),
              layout=BAD, budget=dict(output=4 << 20))
def _(s, app):
    first = len(s.records)
    s.records += _packed(500000, 0)
    for f in s.shared[1:]:
        f.set(first=first, count=500000)


case("records-million", "a million records: valid", deep=FINE, records=FINE, budget=dict(output=16 << 20))(lambda: _million(1000000))
case("records-2-20", "more records than a file may have", budget=dict(output=16 << 20))(lambda: _million((1 << 20) + 1))


@case("records-condition", "a million records that have one condition of 1,024 rows: valid", deep=FINE,
      budget=dict(output=16 << 20))
def _():
    im = _million(1000000)
    s = im.subs[0]
    slot, first = s.slot("x"), len(s.conditions)
    s.conditions += [Condition(component=slot, flags=7 if i == 1023 else 3) for i in range(1024)]
    s.records = [struct.pack("<IIII", i, first + 1, 1, 0) for i in range(1000000)]
    return im


def _million(n):
    whole = b"x" * n
    im = two({b"etc": Dir({b"shells": Shared(whole, [(0, whole)])})})
    im.subs[0].records = _packed(n, 1)
    im.subs[0].shared[0].count = n
    return im


case("render-33", "a part of 33 MiB")(lambda: parts([(0, bytes(33 << 20))]))
case("render-60", "two parts of 30 MiB each")(lambda: parts([(0, bytes(30 << 20))], [(1, bytes(30 << 20))]))


@case("parts-many", "three parts of 30 MiB, all of one record: more than a reader takes", compare=False)
def _():
    im = parts([(0, bytes(30 << 20))], [(0, bytes(30 << 20))])
    third = Sub("third", Dir({b"etc": Dir({b"shells": Shared(SHELLS, [(0, bytes(30 << 20))])}, implied=True)}, implied=True))
    return Image([*im.subs, third])


@case("join-file-directory", "directories that are joined as a shared file")
def _():
    im = parts()
    im.hooks["join"] = lambda j: j.rows[1].set(kind=3)
    return im


@case("join-file-links", "a shared file that is joined as links")
def _():
    im = parts()
    im.hooks["join"] = lambda j: j.rows[-1].set(kind=2)
    return im


@case("join-file-plain", "files that are joined as a shared one")
def _():
    im = two({b"same": File(VICTIM)}, {b"same": File(VICTIM)})
    im.groups = [[(s, b"same") for s in im.subs]]
    im.hooks["join"] = lambda j: j.rows[-1].set(kind=3)
    return im


@case("join-file-paths", "shared files of two paths")
def _():
    im = parts(app_extra={b"zz": Shared(SHELLS, [(1, b"/opt/app/sh\n")])})
    app = im.subs[1]

    def alter(j):
        m = j.members[j.rows[-1].first_member + 1]
        m.ref += app.paths[b"etc/zz"] - app.paths[b"etc/shells"]
        for x in j.index:
            if x.row == len(j.rows) - 1 and x.ref >> 48:
                x.ref = m.ref
    im.hooks["join"] = alter
    return im


def _ldcache(*records):
    im = one({b"etc": Dir({b"ld.so.cache": Shared(b"", list(enumerate(records)), driver=15)})})
    return lambda: im


for _name, _records in (
        ("no-header", [b"E" + bytes(24)]), ("short", [b"H"]), ("unknown", [b"Z" * 40]),
        ("offsets", [b"H" + bytes(40), b"E" + b"\xff" * 24, b"S\0\0\0\0abc\0"]),
        ("pieces", [b"H" + bytes(40)] + [b"S\xff\xff\xff\x7fx\0"] * 3), ("extension", [b"H" + bytes(40), b"X" + b"\xff" * 60])):
    case(f"ldcache-{_name}", "records of ld.so.cache that are none")(_ldcache(*_records))


def _large(image, block, size):
    """Content of that many bytes for the caches of @image, all of one block."""
    s = image.subs[0]
    i = s.add_block(zstd(block.ljust(BLOCK, b"\0")), BLOCK)
    first = len(s.extents)
    s.extents += [Extent(off=off, len=BLOCK, addr=i << 17) for off in range(0, size, BLOCK)]
    for row in s.shared:
        s.nodes[row.node].set(kind=EXTENTS, size=size, data=first, ndata=size // BLOCK)
        s.records[row.first].len = 14
        s.records[row.first + 1].len = size - 14
    return image


case("ldcache-large", "4,000 caches of 31 MiB, all of one block")(lambda: _large(
    one({b"c%04d" % i: Shared(b"", [(0, b"H"), (1, b"S")], driver=15) for i in range(4000)}),
    b"H" + bytes(13) + b"S", 31 << 20))


@case("ldcache-links", "a cache of 31 MiB that is none, under 4,000 names")
def _():
    cache = Shared(b"", [(0, b"H"), (1, b"Z")], driver=15)
    return _large(one({b"c%04d" % i: cache for i in range(4000)}), b"H" + bytes(13) + b"Z", 31 << 20)


def super_case(name, what, **expect):
    if expect.get("deep", BAD) == BAD:
        # found when the image is opened
        for group in ("open", "verify", "layout", "mount"):
            expect.setdefault(group, BAD)

    def add(alter):
        def make():
            im = one()
            im.hooks["super"] = alter
            return im
        CASES.append(Case(name, what, make, **expect))
        return alter
    return add


super_case("super-incompat", "a feature that nobody knows", **NEWER)(lambda s, i: s.set(incompat=1 << 63))
super_case("super-compat", "a feature that does not matter to readers: valid", deep=FINE)(
    lambda s, i: s.set(compat=0xff, ro_compat=0xff))
super_case("super-version", "version 2", **NEWER)(lambda s, i: s.set(version=2))
super_case("super-slots-swapped", "slots at each other's place")(lambda s, i: s.set(slot=1 - i))
super_case("super-generation-zero", "generation 0")(lambda s, i: s.set(generation=0))
super_case("super-generation-other", "a generation that is not the catalog's")(lambda s, i: s.set(generation=7))
super_case("super-end-beyond", "an image that is cut off")(lambda s, i: s.set(committed_end=1 << 62))
super_case("super-end-zero", "nothing is committed")(lambda s, i: s.set(committed_end=0))
super_case("super-catalog-far", "a catalog at 2^64 - 8")(lambda s, i: s.set(catalog_off=(1 << 64) - 8))
super_case("super-catalog-long", "a catalog of 2^64 - 8 bytes")(lambda s, i: s.set(catalog_len=(1 << 64) - 8))
super_case("super-catalog-none", "a catalog of no bytes")(lambda s, i: s.set(catalog_len=0))
super_case("super-catalog-self", "a catalog where the superblock is")(lambda s, i: s.set(catalog_off=0, catalog_len=4096))
super_case("super-catalog-digest", "a catalog of another digest")(lambda s, i: s.set(catalog_digest=bytes(32)))
super_case("super-reserved", "reserved bytes")(lambda s, i: s.set(zero=bytes(3000) + b"\1"))
super_case("super-uuid", "another UUID than the catalog's")(lambda s, i: s.set(uuid=b"x" * 16))
super_case("super-disagree", "two slots that disagree: one of them names another catalog", open=ANY, verify=ANY,
           layout=ANY, mount=ANY)(lambda s, i: s.set(catalog_off=8192) if i else None)
super_case("super-disagree-newer", "the newer slot names a catalog that is none")(
    lambda s, i: s.set(generation=9, catalog_off=8192) if i else None)
super_case("super-one", "one slot is no slot: told, and the other is used", open=FINE, verify=ANY, layout=FINE,
           mount=FINE)(lambda s, i: s.set(magic=b"nothing!") if i == 0 else None)


# --- overlays -------------------------------------------------------------------------------------------------

MOTD = b"welcome\n"


def gold(one_extra=None, two_extra=None, collisions=None, more=(), one_root=None, **options):
    """os, and two machines that were added to it: `one` deletes, `two` changes what `one` deletes. `top` stands on `one`."""
    base = os_sub({b"etc": Dir({b"motd": File(MOTD), b"old": File(b"old\n"), b"kept": File(b"kept\n")}),
                   b"srv": Dir({b"data": Dir({b"a": File(b"a")}), b"log": File(b"log")})})
    one_tree = {b"etc": Dir({b"motd": File(b"one\n", over=(1, MOTD)), b"old": Whiteout(), b"one": File(b"one\n")}, implied=True),
                b"srv": Gone({b"data": Gone({b"a": Whiteout()}), b"log": Whiteout()})}
    two_tree = {b"etc": Dir({b"motd": File(b"two\n", over=(1, MOTD)), b"old": File(b"two\n", over=(1, b"old\n")),
                             b"one": File(b"another\n")}, implied=True)}
    top_tree = {b"etc": Dir({b"top": File(b"top\n")}, implied=True)}
    one = Sub("one", Dir(one_tree | (one_extra or {}), implied=True, **(one_root or {})), stands_on=["os"], **options)
    two = Sub("two", Dir(two_tree | (two_extra or {}), implied=True), stands_on=["os"])
    top = Sub("top", Dir(top_tree, implied=True), stands_on=["one"])
    im = Image([base, one, two, top, *more])
    im.collisions = [(one, two, b"etc/motd", 6, 8, 257), (one, two, b"etc/old", 6, 19),
                     (one, two, b"etc/one", 6, 8, 257)] if collisions is None else collisions
    return im


def overlay_case(name, what, make=gold, **expect):
    """The function gets os, one, two, top. A selection with both one and two needs a decision: 3."""
    told = {0, 3, 4}
    expect = dict(verify=ANY, open=ANY, read=told, layout=told, mount=told, dump=ANY, compare=False) | expect

    def add(alter):
        def build():
            im = make()
            alter(*im.subs)
            return im
        CASES.append(Case(name, what, build, **expect))
        return alter
    return add


def collision_case(name, what, make=gold, **expect):
    """The function gets the rows of COLLISIONS and the image."""
    told = {0, 3, 4}
    expect = dict(verify=ANY, open=ANY, read=told, layout=told, mount=told, dump=ANY, compare=False) | expect

    def add(alter):
        def build():
            im = make()
            im.hooks["join"] = lambda j: alter(j.collisions, im)
            return im
        CASES.append(Case(name, what, build, **expect))
        return alter
    return add


overlay_case("overlay-valid", "machines that were added, and one of them selected: valid", deep=FINE, verify=FINE, open=FINE,
             read=FINE, layout=FINE, mount=FINE, dump=FINE, compare=True, select="one")(lambda *s: None)
overlay_case("overlay-conflict", "machines that were added, and conflicts that nobody decides: valid", deep=FINE, verify=FINE,
             open=FINE, read={3}, layout={3}, mount={3}, dump=FINE)(lambda *s: None)

overlay_case("whiteout-ground", "a whiteout in what is no overlay")(
    lambda s, *_: s.entry(b"etc/kept").set(type=0, ref=0))
overlay_case("whiteout-self", "a whiteout of the directory that it is in", select="one")(
    lambda s, one, *_: one.entry(b"srv/log").set(ref=one.paths[b"srv"]))
overlay_case("whiteout-cycle", "directories that are gone, each in the other", select="one")(
    lambda s, one, *_: one.entry(b"srv/data/a").set(ref=one.paths[b"srv"]))
overlay_case("whiteout-root", "a whiteout of the root", select="one")(lambda s, one, *_: one.entry(b"srv").set(ref=1))
overlay_case("whiteout-file", "a whiteout with the node of a file", select="one")(
    lambda s, one, *_: one.entry(b"etc/old").set(ref=one.paths[b"etc/one"]))
overlay_case("whiteout-beyond", "a whiteout with a node that is not there", select="one")(
    lambda s, one, *_: one.entry(b"srv").set(ref=1 << 40))
overlay_case("whiteout-slot", "a whiteout of another slot", select="one")(
    lambda s, one, *_: one.entry(b"srv").set(ref=1 << 48))
overlay_case("whiteout-condition", "a whiteout under a condition", select="one")(
    lambda s, one, *_: one.entry(b"etc/old").set(condition=one.condition([("any", "two")])))
overlay_case("whiteout-nothing", "a whiteout of a name that nobody has", lambda: gold({b"never": Whiteout()}), select="one")(
    lambda *s: None)
overlay_case("whiteout-owned", "a directory that is gone, and not implied", select="one")(
    lambda s, one, *_: one.node(b"srv").set(flags=4))
overlay_case("whiteout-with-file", "a file in a directory that is gone",
             lambda: gold({b"srv": Gone({b"left": File(b"left")})}), select="one")(lambda *s: None)
overlay_case("whiteout-everything", "an overlay without anything", lambda: gold({n: Whiteout() for n in (b"victim",)}), select="one",
             deep=FINE, read={0, 1, 3, 4})(lambda *s: None)   # [1] the victim is gone


@overlay_case("whiteout-bomb", "5,000 directories that are gone, and share 5,000 whiteouts", lambda: gold(
    {b"bomb": Gone({b"d%04d" % i: Gone() for i in range(5000)}), b"run": Gone({b"w%04d" % i: Whiteout() for i in range(5000)})}),
    select="one", budget={"output": 64 << 20})
def _(s, one, *_):
    run = one.node(b"run")
    for i in range(5000):
        one.node(b"bomb/d%04d" % i).set(data=run.data, size=run.size)


overlay_case("covers-file", "a file that covers")(lambda s, one, *_: one.node(b"etc/one").set(flags=4))
overlay_case("covers-ground", "a directory that covers, in what is no overlay")(lambda s, *_: s.node(b"etc").set(flags=4))
overlay_case("covers-not", "a directory with a whiteout of a directory, that does not say so", select="one")(
    lambda s, one, *_: one.nodes[1].set(flags=1))
overlay_case("covers-not-type", "a file where a directory was, and the directory above does not say so",
             lambda: gold({b"dir": File(b"now a file", over=(2, None))}, one_root=dict(covers=False)), select="one")(
    lambda s, one, *_: one.nodes[1].set(flags=1))
overlay_case("overlay-shared", "a part of a shared file in an overlay", lambda: gold(
    {b"shells": Shared(SHELLS, [(0, SHELLS)])}), select="one")(lambda *s: None)

overlay_case("overlay-condition", "a file of an overlay under a condition", lambda: gold(
    {b"some": File(b"x", when=[("any", "two")])}), select="one")(lambda *s: None)

overlay_case("override-ground", "overrides of what is no overlay")(
    lambda s, *_: s.overrides.append(Override(node=2, mask=1)))
for _name, _what, _values in (
        ("node", "node 0", dict(node=0)), ("beyond", "a node that is not there", dict(node=1 << 40)), ("none", "nothing", dict(mask=0)),
        ("unknown", "unknown attributes", dict(mask=0x41)), ("reserved", "reserved bytes", dict(zero=1))):
    overlay_case(f"override-{_name}", f"an override of {_what}", select="one", layout=ANY | {3})(
        lambda s, one, *_, v=_values: one.overrides[0].set(**v))
overlay_case("override-twice", "two overrides of one node", select="one")(
    lambda s, one, *_: one.overrides.append(one.overrides[0].copy()))
overlay_case("override-unsorted", "overrides in descending order", select="two")(lambda s, one, two, _: two.overrides.reverse())
overlay_case("override-new", "an override where there was nothing", select="one")(
    lambda s, one, *_: one.overrides.append(Override(node=one.paths[b"etc/one"], mask=1)))

for _name, _what, _values in (
        ("number", "a sub-image that is not there", dict(b=99 << 48 | 2)), ("number-huge", "number 32767", dict(b=0x7fff << 48 | 2)),
        ("node", "a node that is not there", dict(b=2 << 48 | 1 << 40)), ("nobody", "node 0", dict(b=2 << 48)),
        ("order", "numbers in the wrong order", dict(a=2 << 48 | 2, b=1 << 48 | 2)),
        ("self", "a sub-image with itself", dict(a=2 << 48 | 1)), ("class-zero", "class 0", dict(cls=0, why=0)),
        ("class", "class 9", dict(cls=9)), ("why-none", "no reason for a conflict", dict(why=0)), ("why", "reason 24", dict(why=24)),
        ("why-merged", "a reason, and no conflict", dict(cls=3)), ("flags", "unknown flags", dict(flags=0x8001)),
        ("reserved", "reserved bytes", dict(zero=1)), ("whiteouts", "two whiteouts", dict(flags=0x600)),
        ("whiteout-file", "a whiteout that is none", dict(flags=0x400)),
        ("whiteout-beyond", "a whiteout that is not there", dict(b=2 << 48 | 1 << 40, flags=0x400)),
        ("paths", "two paths", dict(a=1 << 48 | 1)), ("directory", "files as directories", dict(cls=2, why=0))):
    collision_case(f"collision-{_name}", f"a collision of {_what}")(lambda c, im, v=_values: c[-1].set(**v))
collision_case("collision-stacked", "a collision with what one stands on",
               lambda: gold(collisions=[]))(lambda c, im: c.append(Collision(a=1 << 48 | 1, b=3 << 48 | 1, cls=2)))
collision_case("collision-ground", "a collision of sub-images that are no overlays", lambda: two())(
    lambda c, im: c.append(Collision(a=im.subs[0].paths[b"dir"], b=1 << 48 | im.subs[1].paths[b"dir"], cls=2)))
collision_case("collision-append", "directories, one behind the other", lambda: gold(collisions=[]))(
    lambda c, im: c.append(Collision(a=1 << 48 | 1, b=2 << 48 | 1, cls=5, flags=256)))
collision_case("collision-unsorted", "collisions in descending order")(lambda c, im: c.reverse())
collision_case("collision-twice", "one collision twice")(lambda c, im: c.insert(0, c[0].copy()))
collision_case("collision-untold", "files that differ, and no collision says so", lambda: gold(collisions=[]))(lambda c, im: None)
collision_case("collision-missing", "one of three collisions is missing")(lambda c, im: c.pop())
collision_case("collisions-one-node", "65,536 collisions of one node")(lambda c, im: c.extend(
    Collision(a=1 << 48 | im.subs[1].paths[b"etc/one"], b=2 << 48 | i + 1000, cls=6, why=7) for i in range(65536)))
collision_case("collisions-equal", "65,536 times one collision")(lambda c, im: c.extend(c[-1].copy() for _ in range(65536)))


@collision_case("collisions-many", "8,000 files of two machines that collide: valid", lambda: _many_collisions(8000), deep=FINE,
                verify=FINE, open=FINE, read={3}, layout={3}, mount={3}, dump=FINE, budget={"output": 64 << 20})
def _(c, im):
    pass


def _many_collisions(n):
    pair = [Sub(name, Dir({b"f%05d" % i: File(name.encode() * (k + 1)) for i in range(n)}, implied=True), stands_on=["os"])
            for k, name in enumerate(("one", "two"))]
    return Image([os_sub(), *pair], collisions=[(*pair, b"f%05d" % i, 6, 7) for i in range(n)])


for _name, _what, _alter in (
        ("self", "a sub-image that stands on itself", lambda c: (c.relation(3, 1, "one"), c.relation(1, 1, "one", 9))),
        ("cycle", "two that stand on each other", lambda c: (c.relation(3, 1, "top"), c.relation(1, 1, "top", 9))),
        ("missing", "what it stands on is not there", lambda c: (c.relation(3, 1, "ghost"), c.relation(1, 1, "ghost", 9))),
        ("higher", "a sub-image that stands on one of higher rank", lambda c: (c.relation(3, 1, "two"), c.relation(1, 1, "two", 9))),
        ("not-required", "what it stands on is not required", lambda c: c.relation(3, 3, "two")),
        ("nothing", "an overlay that stands on nothing", lambda c: c.subs[0].set(flags=5)),
        ("no-overlay", "what is no overlay stands on something", lambda c: c.subs[1].set(flags=0)),
        ("os", "os stands on an overlay", lambda c: (c.relation(3, 0, "one"), c.relation(1, 0, "one", 9)))):
    catalog_case(f"stands-on-{_name}", _what, base=gold)(_alter)


catalog_case("stands-on-requires", "what an overlay stands on requires the overlay", base=gold, open=ANY, verify=ANY, layout={0, 3, 4},
             mount={0, 3, 4}, read={0, 3, 4}, select="one", compare=False)(lambda c: c.relation(1, 0, "one"))


@catalog_case("stands-on-chain", "1,500 overlays, each on the one before it", deep=ANY, verify=ANY, open=ANY, read=ANY,
              layout={0, 3, 4}, mount=ANY, compare=False, budget={"output": 64 << 20},
              base=lambda: Image([os_sub(), *(Sub("o%04d" % i, Dir({}, implied=True), stands_on=["o%04d" % (i - 1) if i else "os"])
                                              for i in range(1500))]))
def _(c):
    pass


@catalog_case("stands-on-many", "120 overlays, each on all before it, twice: valid", deep=FINE, select="o119",
              base=lambda: Image([os_sub(), *(Sub("o%03d" % i, Dir({b"%03d" % i: File(b"x")}, implied=True),
                                                  stands_on=["os", *("o%03d" % k for k in range(i))] * 2)
                                              for i in range(120))]))
def _(c):
    pass


# --- what is no image ---------------------------------------------------------------------------------------------------

class Path:
    """Not bytes but a path, made by a shell command that gets it as $1; or an absolute path."""

    def __init__(self, command=None, path=None):
        self.command, self.path = command, path


NO_IMAGE = dict(open={1, 4}, verify={1, 4}, deep={1, 4}, layout={1, 4}, mount={1, 4})   # [1] no regular file
for _name, _what, _path in (
        ("path-directory", "a directory", Path('mkdir "$1"')), ("path-fifo", "a FIFO", Path('mkfifo -m 666 "$1"')),
        ("path-socket", "a socket", Path("python3 -c 'import socket, sys; socket.socket(1).bind(sys.argv[1])' \"$1\"")),
        ("path-loop", "a symlink to itself", Path('ln -s "$(basename "$1")" "$1"')),
        ("path-dangling", "a symlink to nothing", Path('ln -s nothing "$1"')),
        ("path-zero", "/dev/zero", Path(path="/dev/zero")), ("path-tty", "/dev/tty", Path(path="/dev/tty")),
        ("path-mem", "/proc/self/mem", Path(path="/proc/self/mem")),
        ("path-kmsg", "a file of /proc that says it has no bytes", Path(path="/proc/self/maps"))):
    case(_name, _what, **NO_IMAGE)(lambda p=_path: p)
for _name, _what, _bytes in (("bytes-none", "a file of no bytes", b""), ("bytes-8191", "8191 zeros", bytes(8191)),
                             ("bytes-8192", "8192 zeros", bytes(8192)), ("bytes-text", "text", b"PLYFS\n" * 5000),
                             ("bytes-magic", "only the magic", b"PLYFS\r\n\x1a" + bytes(9000))):
    case(_name, _what, open=BAD, verify=BAD, layout=BAD, mount=BAD)(lambda b=_bytes: b)
case("bytes-sparse", "a hole of 2^50 bytes", open=BAD, verify=BAD, layout=BAD, mount=BAD)(
    lambda: Path('truncate -s 1P "$1"'))
