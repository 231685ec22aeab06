# SPDX-License-Identifier: LGPL-2.1-or-later
"""An independent writer of plyfs images: made from fs/format/FORMAT.md alone, it shares no code with the product.

It has two uses. A valid image by it which the product verifies, mounts and lays out shows that
FORMAT.md is true and complete. And it lets a test set every field of every structure to any value, with all
checksums right, so that only the validation of the reader stands between the field and harm.

    os = Sub("os", Dir({b"etc": Dir({b"motd": File(b"hello")})}))
    im = Image([os])
    os.nodes[2].size = 1 << 63          # tables are lists of rows with named fields
    im.hooks["super"] = lambda s: ...   # and what is computed last is shown to a hook before it is packed
    open("i.plyfs", "wb").write(im.bytes())

Tables are filled by Sub(); joins and catalog by Image.bytes(), with hooks in between:

    layout of a sub-image   sub.hooks["sections"](list of Section)    before PAGE_SUMS and digests
                            sub.hooks["after"](list of Section)       after them, before the header is summed
                            sub.hooks["head"](Row)                    segment header
    image                   im.hooks["join"](Join)  im.hooks["catalog"](Catalog)  im.hooks["super"](Row, slot)
    join table, catalog     join.hooks, catalog.hooks: as of a sub-image

Values are cut to the width of their field, never refused.
"""
import ctypes
import hashlib
import struct

_xxh = ctypes.CDLL("libxxhash.so.0")
_xxh.XXH3_64bits_withSeed.restype = ctypes.c_uint64
_xxh.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
_zstd = ctypes.CDLL("libzstd.so.1")
_zstd.ZSTD_compressBound.restype = ctypes.c_size_t
_zstd.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
_zstd.ZSTD_compress.restype = ctypes.c_size_t
_zstd.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]

PAGE = 4096
BLOCK = 1 << 17
RAW = 1 << 31
NONE, INLINE, RUN, EXTENTS = range(4)
S_IFIFO, S_IFCHR, S_IFDIR, S_IFBLK, S_IFREG, S_IFLNK, S_IFSOCK = (
    0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000, 0o140000)
SECTION = dict(NODES=1, ENTRIES=2, NAMES=3, HEAP=4, EXTENTS=5, XATTR_SETS=6, XATTRS=7, OWNERS=8, OWNER_PAIRS=9,
               BLOCKS=10, BLOCK_DIGESTS=11, DATA=12, PAGE_SUMS=13, COMPONENTS=14, CONDITIONS=32, SHARED_FILES=33,
               RECORDS=34, OVERRIDES=37, MARKS=39, COLLISIONS=40, JOIN_ROWS=64,
               JOIN_MEMBERS=65, JOIN_INDEX=66, CATALOG_HEAD=96, SUBS=97, SEGMENTS=98, RELATIONS=99, STRINGS=100,
               MOUNTS=103, BLOBS=104)


def xxh3(data, seed=0):
    data = bytes(data)
    return _xxh.XXH3_64bits_withSeed(data, len(data), seed & (1 << 64) - 1)


def sha256(data):
    return hashlib.sha256(data).digest()


def zstd(data, level=3):
    bound = _zstd.ZSTD_compressBound(len(data))
    out = ctypes.create_string_buffer(bound)
    n = _zstd.ZSTD_compress(out, bound, bytes(data), len(data), level)
    assert n <= bound
    return out.raw[:n]


def padded(data, to=8):
    return bytes(data) + bytes(-len(data) % to)


# --- structures: "name width" fields in order; a width of x is a number of raw bytes ---------------

class Row:
    """A structure: its fields are attributes. Widths are bytes, `name:16x` are raw bytes."""

    def __init__(self, _kind, **values):
        self.__dict__["_kind"] = _kind
        for name, width, raw in _kind.fields:
            self.__dict__[name] = values.pop(name, bytes(width) if raw else 0)
        assert not values, values

    def __setattr__(self, name, value):
        assert name in self.__dict__, name
        self.__dict__[name] = value

    def set(self, **values):
        for name, value in values.items():
            setattr(self, name, value)
        return self

    def copy(self):
        row = Row(self._kind)
        row.__dict__.update(self.__dict__)
        return row

    def pack(self):
        out = bytearray()
        for name, width, raw in self._kind.fields:
            value = self.__dict__[name]
            out += value[:width].ljust(width, b"\0") if raw else \
                (int(value) & (1 << 8 * width) - 1).to_bytes(width, "little")
        return bytes(out)


class Kind:
    def __init__(self, fields):
        self.fields = []
        for field in fields.split():
            name, width = field.split(":")
            self.fields.append((name, int(width.rstrip("x")), width.endswith("x")))
        self.size = sum(width for _, width, _ in self.fields)

    def __call__(self, **values):
        return Row(self, **values)


Super = Kind("magic:8x version:4 slot:4 compat:8 ro_compat:8 incompat:8 uuid:16x generation:8 catalog_off:8 "
             "catalog_len:8 catalog_digest:32x committed_end:8 zero:3968x")          # and xxh3
Head = Kind("magic:8x version:4 kind:4 incompat:8 length:8 uuid:16x meta_off:8 meta_len:8 nsections:4 block_bits:4 "
            "header_len:4 zero:44x xxh3:8")
SectionRow = Kind("type:4 flags:4 off:8 len:8 count:8 digest:32x")
Node = Kind("mode:2 kind:1 flags:1 owner:4 size:8 mtime_sec:8 mtime_nsec:4 nlink:4 parent:8 entry:8 data:8 ndata:4 "
            "xattrs:4")
Entry = Kind("ref:8 name:8 condition:4 type:1 zero:3x")
Extent = Kind("off:8 len:8 addr:8")
Block = Kind("off:8 stored:4 size:4 xxh3:8")
XattrSet = Kind("first:8 count:4 zero:4")
Xattr = Kind("name:8 value:8 value_len:4 condition:4")
Owner = Kind("name:8 id:4 component:2 kind:1 zero:1 condition:4 zero2:4")
OwnerPair = Kind("user:4 group:4")
Component = Kind("name:8 uuid:16x zero:8")
Mark = Kind("ref:8 mark:4 zero:4")
Condition = Kind("component:2 flags:2 zero:4")
SharedFile = Kind("node:8 driver:2 version:2 flags:4 first:8 count:4 zero:4 digest:32x")
Record = Kind("ordinal:4 condition:4 len:4 flags:4")
Override = Kind("node:8 mask:4 zero:4 digest:32x")
Collision = Kind("a:8 b:8 cls:1 why:1 flags:2 zero:4")
Digest = Kind("digest:32x")
JoinRow = Kind("first_member:8 nmembers:4 kind:1 zero:3x first_child:8 nchildren:8")
JoinMember = Kind("ref:8 digest:32x")
JoinIndex = Kind("ref:8 row:8")
CatalogHead = Kind("uuid:16x generation:8 parent_generation:8 parent_off:8 parent_len:8 parent_digest:32x time_sec:8 "
                   "time_nsec:4 next_number:4 message:8 tool:8 join_first:4 join_count:4 zero:32x")
SubRow = Kind("number:4 rank:4 flags:4 zero:4 uuid:16x name:8 arch:8 distro:8 summary:8 seg_first:4 seg_count:4 nodes:8 "
              "bytes:8 zero2:8")
SegmentRow = Kind("kind:4 flags:4 off:8 len:8 digest:32x zero:8")
Relation = Kind("kind:4 source:4 group:4 zero:4 to:8")
Mount = Kind("path:8 type:8 subtree:8 zero:8")
Blob = Kind("name:8 bytes:8 sub:4 zero:4 zero2:8")

assert (Super.size, Head.size, SectionRow.size, Node.size, Entry.size) == (4088, 128, 64, 64, 24)
assert (Xattr.size, Owner.size, Component.size, JoinRow.size, CatalogHead.size, SubRow.size, SegmentRow.size,
        Relation.size, Mount.size, Blob.size) == (24, 24, 32, 32, 152, 96, 64, 24, 32, 32)
assert (Condition.size, SharedFile.size, Record.size, Override.size, Collision.size) == (8, 64, 16, 48, 24)


# --- segments --------------------------------------------------------------------------------------

class Section:
    """What a row of the section directory says, and bytes. off, len and digest may be set: the bytes stay
    where they are, and the row says something else."""

    def __init__(self, name, data, count=0, paged=True):
        self.type = SECTION.get(name, name)
        self.data = bytes(data)
        self.flags = 1 | (2 if paged else 0)
        self.count = count
        self.off = self.len = self.digest = None     # as it is
        self.place = 0                               # where the bytes are put


def page_sums(meta):
    """PAGE_SUMS of a metadata region."""
    out, group = bytearray(), bytearray()
    pages = [meta[i:i + PAGE] for i in range(0, len(meta), PAGE)]
    for i, page in enumerate(pages):
        group += struct.pack("<Q", xxh3(page, i + 1))
        if len(group) == 511 * 8 or i == len(pages) - 1:
            out += group + struct.pack("<Q", xxh3(group, i // 511))
            group = bytearray()
    return bytes(out)


class Segment:
    """Sections to bytes. @at: the offset in the file, for the place of large metadata."""

    def __init__(self):
        self.hooks = {}

    def hook(self, name, *args):
        if name in self.hooks:
            self.hooks[name](*args)

    def pack(self, kind, uuid, sections, at, block_bits=0):
        """-> bytes of the segment, its digest"""
        self.hook("sections", sections)
        paged = [s for s in sections if s.flags & 2]
        plain = [s for s in sections if not s.flags & 2]
        sums = Section("PAGE_SUMS", b"", paged=False)
        plain.append(sums)
        everything = sorted(paged + plain, key=lambda s: s.type)
        header_len = 128 + 64 * len(everything)
        meta_len = sum(len(padded(s.data)) for s in paged)
        pos = header_len
        if meta_len >= 65536:
            pos += -(at + pos) % PAGE
        meta_off = pos
        meta = bytearray()
        for s in paged:
            s.place = pos
            meta += padded(s.data)
            pos += len(padded(s.data))
        sums.data = page_sums(bytes(meta))
        for s in plain:
            s.place = pos
            pos += len(padded(s.data))
        for s in everything:
            s.off = s.place if s.off is None else s.off
            s.len = len(s.data) if s.len is None else s.len
            if s.digest is None:
                s.digest = bytes(32) if s.type == SECTION["DATA"] else sha256(s.data)
        self.hook("after", everything)
        head = Head(magic=b"PLYSEG\r\n", version=1, kind=kind, length=pos, uuid=uuid, meta_off=meta_off,
                    meta_len=meta_len, nsections=len(everything), block_bits=block_bits, header_len=header_len)
        self.hook("head", head)
        rows = b"".join(SectionRow(type=s.type, flags=s.flags, off=s.off, len=s.len, count=s.count,
                                   digest=s.digest).pack() for s in everything)
        sum_of = xxh3(head.copy().set(xxh3=0).pack() + rows)
        head.xxh3 = head.xxh3 or sum_of
        out = bytearray(pos)
        out[:header_len] = head.pack() + rows
        for s in paged + plain:
            out[s.place:s.place + len(s.data)] = s.data
        return bytes(out), sha256(bytes(out[:header_len]))


def table(name, rows, paged=True):
    return Section(name, b"".join(r if isinstance(r, bytes) else r.pack() for r in rows), len(rows), paged)


# --- trees ------------------------------------------------------------------------------------------

class Inode:
    """What all kinds have. The same object under two names is a hard link.

    @over, of what overrides in an overlay: (mask, the content there or None).

    What depends on the selection: a condition is a list of clauses ("any" or "none", component, ...), none of them: always.
    @when is that of its names; a value in @xattrs may be a list of (value, condition); @user_of and
    @group_of name the component that brings its user or group."""
    type = 0

    def __init__(self, mode=0o644, uid=0, gid=0, mtime=(1700000000, 0), xattrs=None, user=b"", group=b"", mark=0,
                 when=(), user_of=None, group_of=None, over=None):
        self.mode, self.uid, self.gid, self.user, self.group = mode, uid, gid, user, group
        self.mtime, self.xattrs, self.mark = mtime, dict(xattrs or {}), mark
        self.when, self.user_of, self.group_of, self.over = when, user_of, group_of, over
        self.index = 0


class Dir(Inode):
    type = S_IFDIR

    def __init__(self, children=None, implied=False, mode=0o755, covers=False, **more):
        super().__init__(mode=mode, **more)
        self.children, self.implied = dict(children or {}), implied
        self.covers = covers or any(isinstance(c, Gone) for c in self.children.values())


class Whiteout(Inode):
    """A name of an overlay that is gone; no node."""


class Gone(Dir):
    """A directory that is gone, with all its names: a whiteout with a node."""

    def __init__(self, children=None, **more):
        super().__init__(children, implied=True, **more)


class File(Inode):
    """content: bytes, or a list of (offset, bytes) with holes between them, and a size. Parts begin at pages, and
    are filled up to the end of their last."""
    type = S_IFREG

    def __init__(self, content=b"", size=None, raw=False, **more):
        super().__init__(**more)
        self.parts = [(0, content)] if isinstance(content, bytes) else list(content)
        self.parts = [(off, data) for off, data in self.parts if data]
        end = max((off + len(data) for off, data in self.parts), default=0)
        self.size, self.raw = end if size is None else size, raw
        self.parts = [(off, data.ljust(min(len(data) + -len(data) % PAGE, self.size - off), b"\0"))
                      for off, data in self.parts]

    def bytes(self):
        out = bytearray(self.size)
        for off, data in self.parts:
            out[off:off + len(data)] = data
        return bytes(out)


class Shared(File):
    """One sub-image's part of a shared file: records of (ordinal, bytes, condition, item). @whole: the captured file."""

    def __init__(self, whole, records, driver=14, version=1, flags=0, **more):
        super().__init__(b"".join(r[1] for r in records), **more)
        self.whole, self.records = whole, [tuple(r) + ((), 0)[len(r) - 2:] for r in records]
        self.driver, self.version, self.flags = driver, version, flags


class Symlink(Inode):
    type = S_IFLNK

    def __init__(self, target, mode=0o777, **more):
        super().__init__(mode=mode, **more)
        self.target = target


class Special(Inode):
    def __init__(self, kind, major=0, minor=0, **more):
        super().__init__(**more)
        self.type, self.major, self.minor = kind, major, minor


# --- a sub-image ---------------------------------------------------------------------------------------

class Sub(Segment):
    """@stands_on: names; then it is an overlay."""

    def __init__(self, name, root=None, number=None, rank=None, arch=b"amd64", distro=b"debian-12", summary=b"",
                 flags=None, uuid=None, stands_on=()):
        super().__init__()
        self.stands_on = stands_on
        self.name, self.number, self.rank, self.flags = name, number, rank, flags
        self.arch, self.distro, self.summary = arch, distro, summary
        self.root = root or Dir()
        made = bytearray(sha256(b"crafted " + name.encode())[:16])
        made[6] = made[6] & 0x0f | 0x40            # version 8 would say that it follows from the content
        self.uuid = uuid or bytes(made)
        self.nodes, self.entries, self.extents = [Node()], [], []
        self.names, self.heap, self.data = bytearray(), bytearray(), bytearray()
        self.xattr_sets, self.xattrs = [XattrSet()], []
        self.owners, self.owner_pairs = [], []
        self.blocks, self.digests, self.components, self.marks = [], [], [], []
        self.conditions, self.shared, self.records, self.overrides = [], [], [], []
        self.paths = {}               # path -> node index
        self._strings, self._sets, self._owners, self._pairs, self._slots, self._conditions = {}, {}, {}, {}, {}, {}
        self._pack = bytearray()
        self.slot(name)
        self._fill()

    # strings and small tables

    def put(self, heap, data):
        """Bytes to NAMES or HEAP, each string once: [length 8 | offset 56]."""
        data = bytes(data)
        key = (id(heap), data)
        if key not in self._strings:
            self._strings[key] = len(heap)
            heap += data
        return (len(data) & 255) << 56 | self._strings[key]

    def entry_name(self, data):
        return self.put(self.names, data)

    def string(self, data):
        return self.put(self.heap, data)

    def heap_at(self, data):
        off = len(self.heap)
        self.heap += data
        return off

    def slot(self, name):
        if name not in self._slots:
            self._slots[name] = len(self.components)
            self.components.append(Component(name=self.string(name.encode())))
        return self._slots[name]

    def condition(self, clauses):
        """The number of a condition; 0: always."""
        key = tuple(tuple(c) for c in clauses)
        if key and key not in self._conditions:
            self._conditions[key] = len(self.conditions) + 1
            for kind, *names in key:
                for name in names:
                    self.conditions.append(Condition(component=self.slot(name), flags=int(kind == "none")))
                self.conditions[-1].flags |= 2
            self.conditions[-1].flags |= 4
        return self._conditions.get(key, 0)

    def owner_pair(self, uid, gid, user=b"", group=b"", user_of=None, group_of=None):
        rows = []
        for ident, kind, name, of in ((uid, 1, user, user_of), (gid, 2, group, group_of)):
            key = (kind, ident, name)
            if key not in self._owners:
                self._owners[key] = len(self.owners)
                self.owners.append(Owner(name=self.string(name), id=ident, kind=kind))
                if of:
                    self.owners[-1].set(component=self.slot(of), condition=self.condition([("any", of)]))
            rows.append(self._owners[key])
        pair = tuple(rows)
        if pair not in self._pairs:
            self._pairs[pair] = len(self.owner_pairs)
            self.owner_pairs.append(OwnerPair(user=pair[0], group=pair[1]))
        return self._pairs[pair]

    def xattr_set(self, xattrs):
        key = tuple((name, value, when) for name, of in sorted(xattrs.items())
                    for value, when in ([(of, ())] if isinstance(of, bytes) else [(v, tuple(w)) for v, w in of]))
        if not key:
            return 0
        if key not in self._sets:
            self._sets[key] = len(self.xattr_sets)
            self.xattr_sets.append(XattrSet(first=len(self.xattrs), count=len(key)))
            for name, value, when in key:
                self.xattrs.append(Xattr(name=self.string(name), value=self.heap_at(value), value_len=len(value),
                                         condition=self.condition(when)))
        return self._sets[key]

    # data

    def add_block(self, stored, size, raw=False):
        """Stored bytes as they are, whatever they hold."""
        self.data += bytes(-len(self.data) % 8)
        self.blocks.append(Block(off=len(self.data), stored=len(stored) | (RAW if raw else 0), size=size,
                                 xxh3=xxh3(stored)))
        self.digests.append(Digest(digest=sha256(stored)))
        self.data += stored
        return len(self.blocks) - 1

    def _flush(self):
        if self._pack:
            packed = zstd(self._pack)
            if len(packed) < len(self._pack):
                self.add_block(packed, len(self._pack))
            else:
                self.add_block(bytes(self._pack), len(self._pack), raw=True)
            self._pack = bytearray()

    def _store(self, data, raw=False):
        """-> extents (offset in data, length, address): full blocks of a large one, tails packed together."""
        out, pos = [], 0
        full = len(data) // BLOCK * BLOCK
        if full:
            self._flush()
            out.append((0, full, len(self.blocks) << 17))
            for pos in range(0, full, BLOCK):
                part = data[pos:pos + BLOCK]
                packed = part if raw else zstd(part)
                if len(packed) < BLOCK:
                    self.add_block(packed, BLOCK)
                else:
                    self.add_block(part, BLOCK, raw=True)
        tail = data[full:]
        if tail:
            if len(self._pack) + len(tail) > BLOCK:
                self._flush()
            out.append((full, len(tail), len(self.blocks) << 17 | len(self._pack)))
            self._pack += tail
        return out

    # the tree

    def _number(self, directory):
        children = sorted(directory.children.items())
        for _, child in children:
            if not child.index and not isinstance(child, Whiteout):
                child.index = len(self._inodes)
                self._inodes.append(child)
        for _, child in children:
            if child.type == S_IFDIR:
                self._number(child)

    def _list(self, directory, path):
        """The run of entries of a directory, and of those below it."""
        node = self.nodes[directory.index]
        children = sorted(directory.children.items())
        node.set(data=len(self.entries), size=len(children))
        for name, child in children:
            if isinstance(child, Whiteout):
                self.entries.append(Entry(name=self.entry_name(name)))
                continue
            row = self.nodes[child.index]
            if child is not self.root and not row.parent:
                row.set(parent=directory.index, entry=len(self.entries))
            if child.type != S_IFDIR:
                row.nlink += 1
            elif not isinstance(child, Gone):
                node.nlink += 1
            self.paths[path + name] = child.index
            self.entries.append(Entry(ref=child.index, name=self.entry_name(name),
                                      type=0 if isinstance(child, Gone) else child.type >> 12,
                                      condition=self.condition(child.when)))
        for name, child in children:
            if child.type == S_IFDIR:
                self._list(child, path + name + b"/")

    def _content(self, node, inode):
        if inode.type == S_IFLNK:
            node.set(kind=INLINE, size=len(inode.target), data=self.heap_at(inode.target))
        elif inode.type in (S_IFCHR, S_IFBLK):
            node.size = inode.major << 32 | inode.minor
        elif inode.type == S_IFREG:
            node.size = inode.size
            whole = len(inode.parts) == 1 and inode.parts[0][0] == 0 and len(inode.parts[0][1]) == inode.size
            if whole and inode.size <= 64:
                node.set(kind=INLINE, data=self.heap_at(inode.parts[0][1]))
                return
            extents = [(off + at, n, addr) for off, data in inode.parts for at, n, addr in self._store(data, inode.raw)]
            if whole and len(extents) == 1:
                node.set(kind=RUN, data=extents[0][2])
            elif extents:
                node.set(kind=EXTENTS, data=len(self.extents), ndata=len(extents))
                self.extents += [Extent(off=off, len=n, addr=addr) for off, n, addr in extents]

    def _fill(self):
        self._inodes = [None, self.root]
        self.root.index = 1
        self._number(self.root)
        for inode in self._inodes[1:]:
            node = Node(mode=inode.type | inode.mode,
                        owner=self.owner_pair(inode.uid, inode.gid, inode.user, inode.group, inode.user_of, inode.group_of),
                        mtime_sec=inode.mtime[0], mtime_nsec=inode.mtime[1], xattrs=self.xattr_set(inode.xattrs),
                        flags=int(getattr(inode, "implied", False)) | 4 * getattr(inode, "covers", False))
            self.nodes.append(node)
            self._content(node, inode)
            if isinstance(inode, Shared):
                node.flags |= 2
                self.shared.append(SharedFile(node=inode.index, driver=inode.driver, version=inode.version,
                                              flags=inode.flags, first=len(self.records), count=len(inode.records),
                                              digest=sha256(inode.whole)))
                for ordinal, data, when, item in inode.records:
                    self.records.append(Record(ordinal=ordinal, condition=self.condition(when), len=len(data), flags=item))
            if inode.over:
                self.overrides.append(Override(node=inode.index, mask=inode.over[0],
                                               digest=bytes(32) if inode.over[1] is None else sha256(inode.over[1])))
            if inode.mark:
                self.marks.append(Mark(ref=inode.index, mark=inode.mark))
        self._flush()
        self.paths[b""] = 1
        self._list(self.root, b"")
        self.nodes[1].set(parent=1, entry=0)
        self.inodes = self._inodes

    def bytes_of_files(self):
        return sum(n.size for n in self.nodes if n.mode & 0o170000 == S_IFREG)

    # what tests alter

    def node(self, path):
        return self.nodes[self.paths[path]]

    def entry(self, path):
        """The row of ENTRIES that names the path."""
        at = path.rfind(b"/")
        parent = self.node(path[:at] if at > 0 else b"")
        name = path[at + 1:]
        for i in range(parent.data, parent.data + parent.size):
            word = self.entries[i].name
            off, length = word & (1 << 56) - 1, word >> 56
            if bytes(self.names[off:off + length]) == name:
                return self.entries[i]
        raise KeyError(path)

    def ref(self, path):
        """As COLLISIONS names it: the node, or a whiteout's row plus 1."""
        row = self.entry(path) if path else None
        index = 1 if row is None else row.ref if row.type else next(i for i, e in enumerate(self.entries) if e is row) + 1
        return self.number << 48 | index

    def sections(self):
        out = [table("NODES", self.nodes), table("ENTRIES", self.entries), Section("NAMES", self.names),
               Section("HEAP", self.heap), table("EXTENTS", self.extents), table("XATTR_SETS", self.xattr_sets),
               table("XATTRS", self.xattrs), table("OWNERS", self.owners), table("OWNER_PAIRS", self.owner_pairs),
               table("BLOCKS", self.blocks), table("BLOCK_DIGESTS", self.digests),
               Section("DATA", self.data, paged=False), table("COMPONENTS", self.components)]
        if self.marks:
            out.append(table("MARKS", self.marks))
        for name, rows in (("CONDITIONS", self.conditions), ("SHARED_FILES", self.shared), ("RECORDS", self.records),
                           ("OVERRIDES", self.overrides)):
            if rows:
                out.append(table(name, rows))
        return out

    def segment(self, at):
        return self.pack(1, self.uuid, self.sections(), at, block_bits=17)


# --- join table ----------------------------------------------------------------------------------------

class Join(Segment):
    """Directories of the same path in several sub-images, breadth first; then link groups, given as
    lists of (sub, path); then shared files of the same path. Collisions are given as (sub, other sub, path, class, why,
    flags)."""

    def __init__(self, subs, groups=(), collisions=()):
        super().__init__()
        self.rows, self.members, self.index = [], [], []
        self.collisions = [self._collide(*c) for c in collisions]
        self.collisions.sort(key=lambda r: (r.cls != 6 and not r.flags & 0x602, r.b, r.a))
        level = [b""]
        while level:
            below = []
            for path in level:
                row = self._row(subs, path)
                names = sorted({n for s in subs if path in s.paths and s.inodes[s.paths[path]].type == S_IFDIR
                                for n, c in s.inodes[s.paths[path]].children.items() if c.type == S_IFDIR})
                joined = [path + b"/" + n if path else n for n in names]
                joined = [p for p in joined if len(self._holders(subs, p)) > 1]
                row.set(first_child=0, nchildren=len(joined))
                below += joined
            level = below
        at = 1
        for row in self.rows:
            row.first_child = at if row.nchildren else 0
            at += row.nchildren
        for group in groups:
            self._add(2, [(s, s.paths[p]) for s, p in group])
        for path in sorted({p for s in subs for p, i in s.paths.items() if isinstance(s.inodes[i], Shared)}):
            holders = [s for s in subs if isinstance(s.inodes[s.paths.get(path, 0)], Shared)]
            if len(holders) > 1:
                self._add(3, [(s, s.paths[path]) for s in holders])
        for i, row in enumerate(self.rows):
            for m in self.members[row.first_member:row.first_member + row.nmembers]:
                self.index.append(JoinIndex(ref=m.ref, row=i))
        self.index.sort(key=lambda r: r.ref)

    @staticmethod
    def _collide(one, other, path, cls, why=0, flags=1):
        one, other = sorted((one, other), key=lambda s: s.number)
        gone = [path != b"" and not s.entry(path).type for s in (one, other)]
        return Collision(a=one.ref(path), b=other.ref(path), cls=cls, why=why, flags=flags | gone[0] << 9 | gone[1] << 10)

    @staticmethod
    def _holders(subs, path):
        return [s for s in subs if path in s.paths and s.inodes[s.paths[path]].type == S_IFDIR]

    def _row(self, subs, path):
        return self._add(1, [(s, s.paths[path]) for s in self._holders(subs, path)])

    def _add(self, kind, members):
        row = JoinRow(first_member=len(self.members), nmembers=len(members), kind=kind)
        self.rows.append(row)
        for sub, index in members:
            inode = sub.inodes[index]
            digest = bytes(32)
            if isinstance(inode, Shared):
                digest = sha256(inode.whole)
            elif inode.type == S_IFREG:
                digest = sha256(inode.bytes())
            elif inode.type == S_IFLNK:
                digest = sha256(inode.target)
            self.members.append(JoinMember(ref=sub.number << 48 | index, digest=digest))
        return row

    def segment(self, at):
        sections = [table("JOIN_ROWS", self.rows), table("JOIN_MEMBERS", self.members), table("JOIN_INDEX", self.index)]
        if self.collisions:
            sections.append(table("COLLISIONS", self.collisions))
        return self.pack(3, bytes(16), sections, at)


# --- catalog and container -----------------------------------------------------------------------------

class Catalog(Segment):
    def __init__(self, uuid):
        super().__init__()
        self.strings = bytearray()
        self.head = CatalogHead(uuid=uuid, generation=1, time_sec=1700000000)
        self.subs, self.segments, self.relations, self.mounts, self.blobs = [], [], [], [], []

    def string(self, data):
        """off u32, len u32 as one number"""
        data = data.encode() if isinstance(data, str) else bytes(data)
        off = len(self.strings)
        self.strings += data
        return len(data) << 32 | off

    def relation(self, kind, source, to, group=0):
        self.relations.append(Relation(kind=kind, source=source, group=group, to=self.string(to)))

    def mount(self, path, kind=b"ext4", subtree=b"/"):
        self.mounts.append(Mount(path=self.string(path), type=self.string(kind), subtree=self.string(subtree)))

    def blob(self, name, data, sub=0xffffffff):
        self.blobs.append(Blob(name=self.string(name), bytes=self.string(data), sub=sub))

    def segment(self, at):
        sections = [table("CATALOG_HEAD", [self.head]), table("SUBS", self.subs), table("SEGMENTS", self.segments),
                    table("RELATIONS", self.relations), Section("STRINGS", self.strings)]
        if self.mounts:
            sections.append(table("MOUNTS", self.mounts))
        if self.blobs:
            sections.append(table("BLOBS", self.blobs))
        return self.pack(4, bytes(16), sections, at)


class Image:
    def __init__(self, subs, groups=(), uuid=None, collisions=()):
        self.subs, self.groups, self.collisions, self.hooks = subs, groups, collisions, {}
        self.uuid = uuid or sha256(b"crafted image")[:16]
        self.tail = b""                # behind committed_end
        for i, s in enumerate(subs):
            s.number = i if s.number is None else s.number
            s.rank = i if s.rank is None else s.rank
            s.flags = int(s.number == 0) | 4 * bool(s.stands_on) if s.flags is None else s.flags

    def hook(self, name, *args):
        if name in self.hooks:
            self.hooks[name](*args)

    def bytes(self):
        out = bytearray(2 * PAGE)

        def append(kind, segment, catalog=None):
            out.extend(bytes(-len(out) % 8))
            at = len(out)
            data, digest = segment.segment(at)
            out.extend(data)
            if catalog:
                catalog.segments.append(SegmentRow(kind=kind, off=at, len=len(data), digest=digest))
            return at, len(data), digest

        catalog = Catalog(self.uuid)
        for sub in self.subs:
            append(1, sub, catalog)
            catalog.subs.append(SubRow(number=sub.number, rank=sub.rank, flags=sub.flags, uuid=sub.uuid,
                                       name=catalog.string(sub.name), arch=catalog.string(sub.arch),
                                       distro=catalog.string(sub.distro), summary=catalog.string(sub.summary),
                                       seg_first=len(catalog.segments) - 1, seg_count=1, nodes=len(sub.nodes),
                                       bytes=sub.bytes_of_files()))
            for i, name in enumerate(sub.stands_on):
                catalog.relation(1, sub.number, name, i)
                catalog.relation(3, sub.number, name, i)
        if len(self.subs) > 1:
            join = Join(self.subs, self.groups, self.collisions)
            self.hook("join", join)
            catalog.head.set(join_first=len(catalog.segments), join_count=1)
            append(3, join, catalog)
        catalog.head.set(next_number=max(s.number for s in self.subs) + 1, message=catalog.string(b""),
                         tool=catalog.string(b"plyimg.py"))
        self.hook("catalog", catalog)
        at, length, digest = append(4, catalog)
        for slot in (0, 1):
            row = Super(magic=b"PLYFS\r\n\x1a", version=1, slot=slot, uuid=self.uuid,
                        generation=catalog.head.generation, catalog_off=at, catalog_len=length, catalog_digest=digest,
                        committed_end=len(out))
            self.hook("super", row, slot)
            packed = row.pack()
            out[slot * PAGE:slot * PAGE + PAGE] = packed + struct.pack("<Q", xxh3(packed))
        return bytes(out) + self.tail
