#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""seeds.py BUILD DIR: seeds for each fuzz target in DIR/TARGET: images captured by BUILD/bin/plyfs from
made-up trees, cut up by BUILD/tests/fuzz/seeds; texts of the dpkg database that tests/lib/small.py makes;
programs, manifests, tables of mounts. The same on every machine, but for what needs root."""

import os
import shutil
import struct
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "lib"))
import small  # noqa: E402
from overlay_tree import overlays  # noqa: E402

IMAGE_TARGETS = ("image", "verify", "plan", "dump", "append")
IMAGE_MAX = 40000                      # larger ones only slow a fuzzer down


def put(out, target, name, *pieces):
    os.makedirs(f"{out}/{target}", exist_ok=True)
    with open(f"{out}/{target}/{name}", "wb") as f:
        for p in pieces:
            f.write(p.encode() if isinstance(p, str) else p)


def write(path, data=b""):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def attempt(what, *args):
    """What this user or file system may be unable to do."""
    try:
        what(*args)
    except OSError:
        pass


def tree_plain(root):
    """Each kind of file and of content, in one sub-image."""
    write(f"{root}/empty")
    write(f"{root}/etc/inline", "127.0.0.1 x\n")
    write(f"{root}/etc/packed", "a few words\n" * 30)
    os.link(f"{root}/etc/packed", f"{root}/etc/packed.again")
    write(f"{root}/usr/lib/name with \\ and \n", "x" * 100)
    os.symlink("/etc/inline", f"{root}/link")
    os.symlink("x" * 100, f"{root}/usr/long-link")
    os.symlink("../../usr/lib/..", f"{root}/usr/lib/up")
    os.mkfifo(f"{root}/fifo")
    attempt(os.mknod, f"{root}/dev0", 0o20600, os.makedev(5, 1))
    attempt(os.setxattr, f"{root}/etc/packed", "user.a", b"1")
    attempt(os.setxattr, f"{root}/etc/packed", "user.bb", b"")
    attempt(os.chown, f"{root}/etc/inline", 33, 7)
    os.chmod(f"{root}/etc/packed", 0o4755)


def tree_data(root):
    """Extents, holes, blocks that are full, a block that does not compress."""
    with open(f"{root}/sparse", "wb") as f:
        f.truncate(270000)
        f.write(b"start" * 900)
        f.seek(200000)
        f.write(b"island" * 1500)
    write(f"{root}/two-blocks", b"0123456789abcdef" * 9000)
    state, raw = 1, bytearray()
    for _ in range(3000):
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        raw.append(state >> 56)
    write(f"{root}/raw", bytes(raw))


def tree_many(root):
    """Directories with names enough for a search."""
    for d in range(3):
        for i in range(12):
            write(f"{root}/d{d}/file-{i * 7 % 12:02}", f"{d} {i}" * (i % 3))


def tree_parts(root):
    """For several sub-images: joined directories, a group of links over two, implied parents."""
    write(f"{root}/etc/os.conf", "os")
    write(f"{root}/etc/web/web.conf", "listen 80\n")
    write(f"{root}/opt/web/bin/webd", "webd" * 200)
    write(f"{root}/opt/db/bin/dbd", "dbd" * 200)
    os.link(f"{root}/opt/web/bin/webd", f"{root}/opt/db/bin/shared")
    write(f"{root}/usr/lib/common", "common")
    write(f"{root}/etc/shells", "# shells\n/bin/sh\n/opt/web/bin/webd\n/opt/db/bin/dbd\n/opt/db/bin/shared\n")
    write(f"{root}/var/cache/apt/pkgcache.bin", "with all components only")
    os.symlink("../lib/common", f"{root}/usr/lib/l")


def tree_packages(root):
    """A machine: packages with alternatives, marks of what a new machine makes anew; users and groups of packages,
    so that shared files and owners depend on the selection."""
    def package(name, *more, files=()):
        write(f"{root}/var/lib/dpkg/info/{name}.list", "/.\n" + "".join(f"/{f}\n" for f in files))
        for f in files:
            write(f"{root}/{f}", name)
        return "\n".join((f"Package: {name}", "Status: install ok installed", "Architecture: amd64",
                          "Version: 1.0-1", f"Description: the {name}", *more)) + "\n\n"

    write(f"{root}/var/lib/dpkg/status",
          package("base", "Essential: yes", files=["bin/sh"]) +
          package("web", "Depends: lib, awk | mawk", files=["opt/webd"]) +
          package("db", "Depends: lib", files=["opt/dbd"]) +
          package("lib", files=["opt/lib.so"]) +
          package("awk", "Provides: mawk", files=["opt/awk"]))
    write(f"{root}/var/lib/dpkg/info/web.postinst", "#!/bin/sh\nadduser --system --group web\n")
    write(f"{root}/var/lib/dpkg/info/db.postinst", "#!/bin/sh\nadduser --system --group db\nadduser web db\n")
    write(f"{root}/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:101:101::/:/bin/false\ndb:x:102:102::/:/bin/false\n")
    write(f"{root}/etc/group", "root:x:0:\nssl:x:7:web,db\nweb:x:101:\ndb:x:102:web\n")
    write(f"{root}/var/lib/dpkg/alternatives/daemon", "auto\n/usr/bin/daemon\n\n/opt/dbd\n20\n/opt/webd\n10\n\n")
    os.makedirs(f"{root}/etc/alternatives")
    os.makedirs(f"{root}/usr/bin")
    os.symlink("/etc/alternatives/daemon", f"{root}/usr/bin/daemon")
    os.symlink("/opt/dbd", f"{root}/etc/alternatives/daemon")
    for name, uid, gid in (("webd", 101, 102), ("dbd", 102, 101)):
        attempt(os.chown, f"{root}/opt/{name}", uid, gid)
        attempt(os.chmod, f"{root}/opt/{name}", 0o6755)
    write(f"{root}/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    write(f"{root}/etc/hostname", "seeds\n")
    write(f"{root}/var/log/syslog", "log\n")
    write(f"{root}/etc/ssh/ssh_host_rsa_key", "secret\n")
    write(f"{root}/etc/os-release", "ID=debian\nVERSION_ID=12\n")


def tree_big(root):
    """A file that a layout fills in several pieces; for targets that do not decode it."""
    with open(f"{root}/big", "wb") as f:
        for n in range(5):
            f.write(b"%07d\n" % n * (1 << 17))
        f.seek(20 << 20, os.SEEK_CUR)       # by its size, not by its data
        f.write(b"end")
    os.link(f"{root}/big", f"{root}/big.again")


PARTS = ["-c", "web=/opt/web,/etc/web", "-c", "db=/opt/db"]
TREES = [("plain", tree_plain, []), ("data", tree_data, []), ("many", tree_many, []), ("parts", tree_parts, PARTS),
         ("packages", tree_packages, ["-c", "web=web", "-c", "db=db"]), ("big", tree_big, [])]


def images(build, out, work):
    env = dict(os.environ, SOURCE_DATE_EPOCH="1700000000", TZ="UTC")
    for name, make, options in TREES:
        root = f"{work}/{name}"
        image = f"{root}.plyfs"
        os.mkdir(root)
        make(root)
        for top, dirs, files in os.walk(root, topdown=False):
            for f in files + dirs + ["."]:
                attempt(lambda p: os.utime(p, ns=(10**18, 10**18 + 1_200_000), follow_symlinks=False), f"{top}/{f}")
        done = subprocess.run([f"{build}/bin/plyfs", "capture", root, image, *options], env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit(f"seeds.py: capture of {name}: exit code {done.returncode}\n{done.stdout}")
        cut(build, out, name, image, bool(options))
    with open(f"{work}/overlays.plyfs", "wb") as f:
        f.write(overlays().bytes())
    cut(build, out, "overlays", f.name, True)
    with open(f.name, "rb") as f:      # beside "os": "one", "two", "one" and "top"
        for selection in (0x0d, 0x15, 0x2d):
            put(out, "image", f"overlays-{selection:x}", bytes([selection]), f.read())
            f.seek(0)


def cut(build, out, name, image, parts):
    """The seeds that one image gives; @parts: it has several sub-images."""
    subprocess.run([f"{build}/tests/fuzz/seeds", image, out, name], check=True)
    with open(image, "rb") as f:
        data = f.read()
    assert len(data) <= IMAGE_MAX, (name, len(data))
    if name == "big":
        put(out, "plan", name, b"\1", data)
        return
    for t in IMAGE_TARGETS:
        put(out, t, name, b"\1", data)
    put(out, "image", f"{name}-first", b"\3", data)
    if parts:
        put(out, "image", f"{name}-second", b"\x09", data)
        put(out, "image", f"{name}-third", b"\x11", data)
    put(out, "dump", f"{name}-json", b"\3", data)
    for node in (1, 2, 4):
        put(out, "dump", f"{name}-node-{node}", bytes([5 | node << 3]), data)
    # damage that no repair hides: a byte of each page behind the superblocks
    damaged = bytearray(data)
    for at in range(8192 + 2000, len(damaged), 4096):
        damaged[at] ^= 1
    put(out, "verify", f"{name}-damaged", b"\0", damaged)
    put(out, "dump", f"{name}-damaged", b"\0", damaged)


def catalog_with_mounts(out):
    """As after a capture over several file systems: into the cut-up catalog of "packages"."""
    with open(f"{out}/catalog/packages-0", "rb") as f:
        data = f.read()
    at, sections = 1, []
    for _ in range(7):                 # head, subs, segments, relations, strings, mounts, blobs
        n = struct.unpack_from("<H", data, at)[0]
        sections.append(data[at + 2:at + 2 + n])
        at += 2 + n
    # no join table: the segment is not there, and without it the image does not open
    sections[0] = sections[0][:0x70] + bytes(8) + sections[0][0x78:]
    texts = (b"/boot", b"ext4", b"/")
    rows = b""
    for t in texts:
        rows += struct.pack("<II", len(sections[4]), len(t))
        sections[4] += t
    sections[5] = rows + bytes(8)
    put(out, "catalog", "mounts", data[:1], *(struct.pack("<H", len(s)) + s for s in sections))


def database(out, work):
    root = f"{work}/small"
    os.mkdir(root)
    small.build(root)
    adm = f"{root}/var/lib/dpkg"

    def text(path):
        with open(f"{adm}/{path}", "rb") as f:
            return f.read()

    stanzas = text("status").split(b"\n\n")
    states = b"Package: web-data\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    for n, some in enumerate((stanzas[:3], stanzas[3:6], stanzas[6:])):
        status = b"".join(s.strip(b"\n") + b"\n\n" for s in some if s.strip())
        names = sorted(os.listdir(f"{adm}/info"))
        wanted = [s.split(b"\n")[0].split(b": ")[1].decode() for s in some if s.strip()]
        names = [x for x in names if x.split(".")[0].split(":")[0] in wanted and not x.endswith("md5sums")][:8]
        files = [b"\n".join(text(f"info/{x}").split(b"\n")[:12]).rstrip(b"\n") + b"\n" for x in names]
        put(out, "dpkg", f"small-{n}", b"\x80",
            b"\xff".join([status, text("diversions"), states, text("arch"), "\n".join(names).encode()] + files))
    put(out, "dpkg", "needs", b"\x9e", "".join(
        f"Package: {p}\nStatus: install ok installed\nArchitecture: {a}\nMulti-Arch: {m}\nVersion: {v}\n{rest}\n\n"
        for p, a, m, v, rest in (
            ("a", "amd64", "same", "1:2.0~rc1-3+b1", "Depends: b (>= 1.0), c:any | d, e\nProvides: virtual (= 2)"),
            ("b", "all", "foreign", "1.0-1", "Pre-Depends: virtual (>> 1)\nDescription: one\n two\n .\n three"),
            ("c", "i386", "allowed", "0", "Recommends: a:amd64, b (<< 3~) | d (= 1)\nSource: b (1.0)"))))
    stanza = "Package: {}\nStatus: install ok installed\nArchitecture: {}\nVersion: {}\n{}\n"
    have = stanza.format("dpkg", "amd64", "1.21", "") + stanza.format("a", "i386", "1.5", "Multi-Arch: same\n") + \
        stanza.format("m", "all", "1:2~rc1", "Provides: mta, v (= 3)\nConflicts: mta\nBreaks: w (<< 3)\n")
    base = stanza.format("dpkg", "amd64", "1.20", "")
    wanted = stanza.format("dpkg", "amd64", "1.20", "") + stanza.format("a", "amd64", "1.6", "Multi-Arch: same\n") + \
        stanza.format("w", "amd64", "2", "Depends: a (>= 1.6), b:any | v (<= 2),\n m\nConflicts: mta, w\nPre-Depends: v\n")
    put(out, "lacks", "packages", b"\0", b"\xff".join(x.encode() for x in (have, "amd64\ni386\n", base, wanted)))
    put(out, "lacks", "update", b"\0", b"\xff".join(x.encode() for x in (
        have, "", have, have.replace("2~rc1", "2").replace("Provides", "Replaces") +
        stanza.format("x", "i386", "0", "Depends: a:i386 (= 1.5), v\n"))))
    for name in ("lang", "editor"):
        put(out, "facts", f"alternative-{name}", b"\0", text(f"alternatives/{name}"))
    put(out, "facts", "alternative-slaves", b"\0auto\n/usr/bin/x\ny\n/usr/bin/y\nz\n/l/z\n\n"
        b"/usr/bin/a\n10\n/usr/bin/b\n\n/l/bin/a\n5\n\n/usr/bin/b\n\n")
    put(out, "facts", "sysusers", b"\1# users\nu web - \"Web\" /var\ng  \"he\" 7\nu!locked\nm a b\n")
    put(out, "facts", "script", b"\2#!/bin/sh\nadduser --system web\nchown web:he /usr/bin/a /var/lib/x.\n"
        b"[ -e /etc/a ] && install -d -o web \"/var/log/web\"\n")
    put(out, "facts", "ucf", b"\3web /usr/bin/a\nother\t/etc/b\nweb\n\nweb   usr/bin/b\n")
    put(out, "facts", "os-release", b"\4NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\nID_LIKE=x\n")
    for name in ("passwd", "group"):
        with open(f"{root}/etc/{name}", "rb") as f:
            put(out, "idnames", name, f.read())
    put(out, "idnames", "odd", b":x:1:\nroot:x:0\na:x:4294967295:\nb:x:4294967296:\nc::7:\nd:x:-1:\ne:x:7\nf")


def elf(wide, big):
    """A program with a library, a path and a soname."""
    e = ">" if big else "<"
    word = "Q" if wide else "I"
    strings = b"\0libc.so.6\0$ORIGIN/../lib\0libx.so\0"
    ehsize, phsize = (64, 56) if wide else (52, 32)
    at = ehsize + 2 * phsize
    dynamic = [(5, 0x1000 + at), (1, 1), (29, 11), (1, 26), (14, 26), (0, 0)]
    dyn = b"".join(struct.pack(e + word * 2, *d) for d in dynamic)
    dyn_at = at + len(strings)

    def header(kind, off, addr, size):
        if wide:
            return struct.pack(e + "IIQQQQQQ", kind, 4, off, addr, addr, size, size, 8)
        return struct.pack(e + "IIIIIIII", kind, off, addr, addr, size, size, 4, 4)

    end = dyn_at + len(dyn)
    head = b"\x7fELF" + bytes([2 if wide else 1, 2 if big else 1, 1]) + b"\0" * 9
    head += struct.pack(e + "HHI" + word * 3 + "IHHHHHH", 3, 62, 1, 0, ehsize, 0, 0, ehsize, phsize, 2, 0, 0, 0)
    return head + header(1, 0, 0x1000, end) + header(2, dyn_at, 0x1000 + dyn_at, len(dyn)) + strings + dyn


def texts(out):
    for wide in (0, 1):
        for big in (0, 1):
            put(out, "elf", f"{32 << wide}-{'big' if big else 'little'}", elf(wide, big))
            put(out, "lacks", f"elf-{32 << wide}-{'big' if big else 'little'}", b"\1", elf(wide, big))
    put(out, "lacks", "script", b"\1#!/usr/bin/env -S A=1 php\n")
    libs = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", 1, 29, 2, 0) + \
        struct.pack("<IIIIQ", 0x303, 72, 82, 0, 0) + b"libz.so.1\0/usr/lib/libz.so.1\0"
    put(out, "lacks", "cache", b"\2", libs)
    put(out, "lacks", "cache-old", b"\2ld.so-1.7.0\0", struct.pack("<I12x4x", 1), libs)
    conf = b"/usr/lib\n# none\n/lib/x/ \n/l/lib#\n"
    put(out, "needs", "program", b"\0", conf, b"\xff", elf(1, 0))
    put(out, "needs", "absent", b"\0", conf, b"\xff", elf(0, 1).replace(b"libc.so.6", b"/usr/bin\0"))
    put(out, "needs", "script", b"\0\xff#!/usr/bin/b -q\n")
    put(out, "needs", "script-env", b"\0\xff#! /usr/bin/env  a x\n")
    put(out, "mountinfo", "usual",
        "23 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
        "28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"
        "40 28 0:35 /@home /mnt/a\\040b\\011c rw master:1 propagate_from:2 - btrfs /dev/x\\134y rw,subvol=/@home\n"
        "99 28 0:50 / /m ro,nosuid,nodev - fuse.plyfs /a.plyfs@2 ro,user_id=0,group_id=0\n")
    put(out, "control", "answer", b"\0pid 7\ngeneration 3\nselected os\nselected web\ncache 4096\nrequests 9\nrequest LOOKUP 9\n"
        b"decision 1000000000007 2000000000007 1 0\n")
    put(out, "control", "stats", b"\2pid 7\nselected os\ncache_bytes 4096\nread_bytes 5\nrequests 9\nrequest LOOKUP 9\n"
        b"decision 1 2 3 4\nlog_syncs 18446744073709551615\nlog_size_bytes 65536\n")
    put(out, "control", "ready", b"\1selected os\0selected web\0warning one slot\0ready now\0")
    put(out, "control", "error", b"\1error -22 3 it failed\0")
    put(out, "options", "words", b"-f\0--text=a\0-n7\0--size\x0064MiB\0-s\0os,web\0IMAGE\0--\0-x\0")
    put(out, "options", "mount", b"ro,nodev,cache=64M,threads=4\0allow_other,,noexec\0default_permissions\x0010k\x001E\0--json\0--help\0")
    for n, (pattern, path) in enumerate((
            ("usr/**/x", "usr/a/b/x"), ("**/__pycache__/**", "usr/__pycache__/a"), ("etc/[a-c!]*?.conf", "etc/bx.conf"),
            ("lib/{name}.so.{v}/{x}", "lib/a.so.1/b"), ("a\\*b[!x-z]**", "a*bc/d"))):
        put(out, "glob", str(n), pattern, b"\0", path, b"\0")
    put(out, "manifest", "components", b"\0version: 1\ncomponents:\n  web:\n    summary: \"The web\"\n"
        b"    packages: [apache2, 'libapache2-mod-php']\n    paths:\n      - /srv/www/**\n      - /etc/web\n"
        b"  os:\n    packages: [ssh]\nrules:\n  - {path: \"/opt/{name}/**\", to: web}\n")
    put(out, "manifest", "option", b"\2web=apache2,/srv/**\0version: 1\n")
    with open(os.path.join(TESTS, "..", "tools", "capture", "rules", "debian.yaml"), encoding="utf-8") as f:
        lines = f.read()
    put(out, "manifest", "table", b"\1", lines)
    # the same in pieces that a fuzzer changes quickly
    rules = [x for x in lines.split("\nidentity:")[0].split("\n") if x.startswith("  - {")]
    for n in range(0, len(rules), 12):
        put(out, "manifest", f"table-{n}", b"\1version: 1\nrules:\n", "\n".join(rules[n:n + 6]), b"\n")
    put(out, "manifest", "identity", b"\1version: 1\nidentity:", lines.split("\nidentity:")[-1][:1500], b"\n")
    put(out, "policy", "forms", b"\0version: 1\nconflicts:\n  - path: /etc/a\n    of: {apache: directory, php: 'sha256:" + b"ab" * 32 +
        b"'}\n    resolve: first\n  - paths: [/x, '/odd\\n']\n    package: p\n    of:\n      /x: {os: deleted}\n"
        b"      '/odd\\n': {apache: directory, php: directory}\n    resolve: keep-both\n")
    put(out, "policy", "glob", b"\0version: 1\nconflicts:\n  - {glob: '/etc/**/*', resolve: {driver: passwd}}\n")
    put(out, "policy", "decisions", b"\1" + b"2000000000005 4000000000009 1 0\nffff a 5 c\n")
    put(out, "rows", "name", b"\5", b"\x14" * 15, b"etc")
    put(out, "rows", "collision", b"\x0b", b"\x14" * 15, struct.pack("<QQBBHI", 1 << 48 | 5, 2 << 48 | 4, 6, 19, 513, 0))
    put(out, "rows", "texts", b"\6", b"\x14" * 15, b"strings of it\0", bytes(range(256)) * 3)
    put(out, "rows", "texts-json", b"\x86", b"\x14" * 15, b"strings of it\0", bytes(700))


# A text for each driver, in the order of fs/merge/drivers.h. Names end with who brings them (merge_gen.c).
SHARED = (
    "root:x:0:0:root:/root:/bin/sh\nmysql~2:x:102:107::/nonexistent:/bin/false\n+::::::\n# odd\n",
    "root:*:19000:0:99999:7:::\nmysql~2:!:19000::::::\n",
    "adm:x:4:deploy,mysql~2\nssl~1:x:107:mysql~2,www~1,,\nnone:x:9:\n",
    "Package: apache2~1\nStatus: install ok installed\nArchitecture: amd64\nDescription: a\n b\n .\n\n"
    "Package: base\nStatus: install ok installed\n\n",
    "Package: php~3\nArchitecture: amd64\nAuto-Installed: 1\n\n",
    "Name: mysql~2/root\nTemplate: mysql~2/root\nValue: a\nOwners: mysql~2, base\nFlags: seen\n\n",
    "Name: mysql~2/root\nDescription: a\nType: string\nOwners: mysql~2/root\n\n",
    "/usr/bin/a\n/usr/bin/a.distrib\nphp~3\n/b\n/c\n:\n",
    "root crontab 2755 /usr/bin/crontab\nmysql~2 #107 750 /var/lib/x~2\n",
    "/usr/lib/a php~3/noawait\n/usr/share/b base\n",
    "php~3/noawait\nbase\n",
    "auto\n/usr/bin/thing\nthing.1\n/usr/man/thing.1\n\n/b~2\n10\n/m~2\n/a\n5\n\n\n",
    "apache2~1 /etc/a~1\nd41d8cd98f00b204e9800998ecf8427e  /etc/b~2\n",
    "# shells\n/bin/sh\n/bin/screen~2\nmozilla/x.crt\n!mozilla/y~1.crt\n",
)


def ld_cache(paths):
    """/etc/ld.so.cache as glibc 2.36 writes it, without an extension."""
    strings, entries, at = b"", b"", 48 + 24 * len(paths)
    for path in paths:
        name = path.rsplit("/", 1)[1]
        value = at + len(strings)
        strings += path.encode() + b"\0"
        entries += struct.pack("<iIIIQ", 0x303, value + len(path) - len(name), value, 0, 0)
    return (b"glibc-ld.so.cache1.1" + struct.pack("<II", len(paths), len(strings)) + b"\2\0\0\0" + bytes(16)
            + entries + strings)


def shared(out):
    texts = [t.encode() for t in SHARED] + [ld_cache(["/lib/libz.so.1", "/usr/lib/libm~2.so.3"])]
    for driver, text in enumerate(texts):
        for selection in (0, 1):
            put(out, "merge", f"file-{driver}-{selection}", bytes((driver, 0, selection)), text)
        pieces = b"".join(bytes((len(p), n & 1)) + p for n, p in enumerate(text[i:i + 40] for i in range(0, len(text), 40)))
        put(out, "merge", f"records-{driver}", bytes((driver, 0, 0x80)), pieces)
        # three-way: as it is, with its first half again, with its last line left out
        other = ld_cache(["/lib/liba.so.2", "/lib/libz.so.1"]) if driver == 14 else text.replace(b"2", b"4")
        less = ld_cache(["/lib/libz.so.1"]) if driver == 14 else text[:text.rstrip(b"\n").rfind(b"\n") + 1]
        for how, v in enumerate(((text, other, less), (text, text, other), (less, text, other), (text, other, other))):
            put(out, "compose", f"driver-{driver}-{how}", bytes((driver, how)), b"\xfe".join(v))


# For paths that have no driver, in the order of fuzz_compose.c: two texts, and what both began with.
APPENDED = (
    ("/etc/crontab", "SHELL=/bin/sh\n1 * * * * root a\n", "SHELL=/bin/sh\n2 * * * * root b\n", "SHELL=/bin/sh\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n10.0.0.1 a\n", "::1 localhost\n10.0.0.2 b # c", "127.0.0.1 localhost\n"),
    ("/etc/sysctl.d/a.conf", "vm.a = 1\n", "-vm.b=2\n; c\n", ""),
    ("/etc/default/a", "A=1\nexport B='c d'\n", "C=\"$A\"\n", ""),
    ("/etc/mysql/a.cnf", "[mysqld]\na-b = 1\n", "[client]\nport = 1\n!includedir /x\n", ""),
    ("/etc/php/a.ini", "extension=a.so\n", "[a]\na.b = 1\n[HOST=x]\nx[]=1\n", ""),
    ("/etc/logrotate.d/a", "/a /b {\n weekly\n postrotate\n  if x; then\n }\n fi\n endscript\n}\n", "/c\n{\n}\n", ""),
    ("/etc/sudoers", "User_Alias A = a, \\\n b\nDefaults env_reset\n", "Defaults !x\n%a ALL=(ALL) ALL\n#includedir /a\n", ""),
    ("/etc/fstab", "a /a ext4 defaults 0 0\n", "b /b ext4 defaults 0 0", ""),
    ("/etc/aliases", "root: a\nb: c,\n d\n", "e: f\n", ""),
    ("/etc/modprobe.d/a.conf", "install a b\noptions c d=1\n", "alias x y\n", ""),
    ("/etc/apt/apt.conf", "A::B \"1\";\nC:: \"2\";\n", "// a\nA::D \"1\";\n", ""),
    ("/etc/security/limits.conf", "* soft nofile 1\n", "@a hard nofile 2\n", ""),
    ("/etc/foo", "{\"a\": [1]}\n", "<?xml version=\"1\"?>\n<a/>\n", "a:\n  - b\n"),
    ("/etc/bar", "-----BEGIN PRIVATE KEY-----\n", "[Unit]\nA=1\n", "#!/bin/sh\nif [ a ]; then\nfi\n"),
)


def appended(out):
    for n, (path, ours, theirs, base) in enumerate(APPENDED):
        put(out, "sniff", f"two-{n}", path, "\n", ours.encode(), b"\xfe", theirs.encode())
        put(out, "sniff", f"again-{n}", path, "\n", ours, theirs.encode(), b"\xfe", theirs.encode(), b"\xfe", base.encode())
        for how in (1, 2, 3):
            put(out, "compose", f"other-{n}-{how}", bytes((15 + n, how)), base.encode(), b"\xfe", ours.encode(), b"\xfe",
                theirs.encode())
    put(out, "diff3", "apart", b"\0" b"abcdef\0abxcdef\0abcdfx")
    put(out, "diff3", "repeated", b"\2" b"aaabaa\0aaabaaa\0aabaa")
    put(out, "diff3", "equal", b"\7" b"abc\0axc\0axc")


def layout_state(out):
    """Records and plans with checksums that the target makes right (bit 0 of the first byte)."""
    def record(seq, kind, phase=0):
        return struct.pack("<IIQI", 64, kind, seq, phase).ljust(64, b"\0")

    whole = [record(0, 1)]
    for phase in range(1, 6):
        whole += [record(len(whole), 2, phase), record(len(whole) + 1, 3, phase)]
    whole += [record(11, 4), record(12, 5)]
    for n in (1, 4, 12, 13):
        put(out, "journal", f"records-{n}", b"\3", *whole[:n])
    put(out, "journal", "torn", b"\3", *whole[:3], whole[3][:40])
    put(out, "journal", "unsummed", b"\2", *whole[:3])
    tables = struct.pack("<QQII", 1 << 48 | 5, 2 << 48 | 4, 5, 3) + struct.pack("<IIII", 0, 1, 33, 33) + b"/i.plyfs" + \
        b"os\0web\0" + b"\2\0\0\0"
    head = b"PLYPLAN\n" + struct.pack("<II", 1, 9) + bytes(8 + 32 + 16 + 32) + struct.pack("<Q", 1) + bytes(16) + \
        struct.pack("<QqqQQQQIIII", 0, -1 << 63, (1 << 63) - 1, 1 << 40, 4095, 255, 65000, 1, 0, 0, 0o755) + bytes(8) + \
        struct.pack("<qqII", 5, 6, 7, 8) + struct.pack("<IIIIIII", 2, 1, 1, 8, 7, 0, 4) + bytes(4)
    put(out, "journal", "plan", b"\1", head, tables, bytes(8))


def changes(out):
    """Tables of changes whose magic, length and checksum the target makes right: rows of each kind, and such as lie below
    others."""
    def side(mode, size=0, digest=0, uid=0):
        return struct.pack("<IIIIqQ16s16s", mode, uid, 0, 5, 1700000000, size, bytes([digest]) * 16, b"")

    def row(n, kind, path, *sides, flags=0):
        return struct.pack("<BBHIHH", kind, flags, 0, n, len(path), 0) + path + b"".join(sides)

    def ident(kind, start, to, name=b""):
        return struct.pack("<BBHII", kind, 0 if name else 1, len(name), start, to) + name

    def table(*rows, kind=1, ids=()):
        dirs = struct.pack("<qIHH", 5, 6, 0, 0) + struct.pack("<qIHH", 7, 8, 3, 0) + b"opt"
        return struct.pack("<8sIIQ16s32sQ7I", b"PLYTABL\n", 2, kind, 0, b"u", b"c", 3, 1, len(rows), 2, 8, 4, 0, len(ids)) + \
            b"".join(rows) + dirs + b"".join(ids) + b"/i.plyfs" + b"web\0" + bytes(8)

    text, folder = 0o100644, 0o040755
    opt = row(1, 4, b"opt", side(folder), side(folder, uid=7))
    new = (row(2, 1, b"opt/new", side(folder)), row(3, 1, b"opt/new/f", side(text, 4, 1), flags=1),
           row(4, 1, b"opt/new/l", side(0o120777, 0, 2), flags=1))
    old = (row(5, 3, b"opt/old", side(folder)), row(6, 3, b"opt/old/f", side(text, 4, 1)))
    swap = row(0, 2, b"etc/passwd", side(text, 9, 3), side(text, 12, 4))
    put(out, "changes", "all", b"\1", table(swap, opt, *new, *old, row(7, 5, b"usr", side(folder))))
    put(out, "changes", "removed", b"\1", table(row(0, 2, b"lib", side(0o120777, 0, 2), side(0o010644)), kind=2))
    put(out, "changes", "ids", b"\1", table(swap, ids=(ident(0, 200, 100, b"app"), ident(0, 777, 0), ident(1, 5, 0))))
    put(out, "changes", "none", b"\1", table())
    put(out, "changes", "unsummed", b"\0", table(swap))


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: seeds.py BUILD DIR")
    build, out = sys.argv[1:]
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    os.umask(0o022)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(out))) as work:
        images(build, out, work)
        catalog_with_mounts(out)
        database(out, work)
        texts(out)
    subprocess.run([f"{build}/tests/fuzz/seeds", "--redo", out], check=True)
    layout_state(out)
    changes(out)
    shared(out)
    appended(out)


if __name__ == "__main__":
    main()
