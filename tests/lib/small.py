#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""small.py DIR: a machine of some 2,000 files with a dpkg database, the same on every run.

Made up, so that it needs no network and is built in a second, but everything a package database
can say is there: merged /usr with lists that name the old paths, a Multi-Arch: same package of two
architectures with a file in common, diversions (of a package and local), alternatives,
statoverrides, conffiles (edited and not), a removed package whose conffiles stayed, a listed file
that is not there, a directory that the administrator moved away and replaced by a symlink, a hard
link between files of two packages, files of no package. As root, owners are set too.
"""
import hashlib
import os
import random
import sys

ARCH, FOREIGN = "amd64", "i386"
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}
BORN = 1_650_000_000


class Package:
    def __init__(self, name, arch=ARCH, version="1.0-1", same=False, **fields):
        self.name, self.arch, self.version, self.same = name, arch, version, same
        self.fields = fields
        self.status = "install ok installed"
        self.paths, self.conffiles, self.sums, self.scripts = ["/."], [], [], []

    @property
    def info(self):
        return f"{self.name}:{self.arch}" if self.same else self.name

    def stanza(self):
        lines = [f"Package: {self.name}", f"Status: {self.status}", "Priority: optional", "Section: misc",
                 "Installed-Size: 100", "Maintainer: A Packager <packager@example.org>",
                 f"Architecture: {self.arch}"]
        if self.same:
            lines.append("Multi-Arch: same")
        lines.append(f"Version: {self.version}")
        lines += [f"{k.replace('_', '-')}: {v}" for k, v in self.fields.items()]
        if self.conffiles:
            lines.append("Conffiles:")
            lines += [f" {p} {md5}" for p, md5 in self.conffiles]
        lines += [f"Description: the package {self.name}", " Of a machine that was made up."]
        return "\n".join(lines) + "\n"


class Machine:
    def __init__(self, root):
        self.root = root
        self.random = random.Random(20)
        self.packages = []
        self.owners = {}
        self.dirs = {"": 0o755}

    def at(self, path):
        """Where a path lies: merged /usr and the administrator's symlink are resolved in its parent."""
        head, _, rest = path.strip("/").partition("/")
        if rest and head in MERGED:
            path = f"/{MERGED[head]}/{rest}"
        if path.startswith("/var/www/"):
            path = "/srv/www/" + path[len("/var/www/"):]
        return path

    def host(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def mkdir(self, path, mode=0o755):
        path = path.strip("/")
        if path in self.dirs:
            return
        if path:
            self.mkdir(os.path.dirname(path))
        os.mkdir(self.host(path))
        self.dirs[path] = mode

    def file(self, path, data=None, mode=0o644, owner=(0, 0)):
        if data is None:
            n = int(self.random.paretovariate(0.7) * 200) % 90_000
            data = self.random.randbytes(n // 3) + b"line of text %d\n" % n * (n // 24)
        elif isinstance(data, str):
            data = data.encode()
        path = self.at(path)
        self.mkdir(os.path.dirname(path))
        with open(self.host(path), "wb") as f:
            f.write(data)
        os.chmod(self.host(path), mode)
        self.owners[path] = (owner, mode)
        return data

    def symlink(self, path, target):
        path = self.at(path)
        self.mkdir(os.path.dirname(path))
        os.symlink(target, self.host(path))

    def package(self, *args, **kw):
        self.packages.append(Package(*args, **kw))
        return self.packages[-1]

    def listed(self, pkg, path):
        """Adds @path and its parents to the package's list, as dpkg does."""
        parents = []
        parent = os.path.dirname(path)
        while parent != "/":
            parents.append(parent)
            parent = os.path.dirname(parent)
        for p in parents[::-1] + [path]:
            if p not in pkg.paths:
                pkg.paths.append(p)

    def own(self, pkg, path, data=None, mode=0o644, owner=(0, 0), lies=None, conf=False):
        """A file of @pkg, which lies elsewhere when diverted."""
        data = self.file(lies or path, data, mode, owner)
        self.listed(pkg, path)
        md5 = hashlib.md5(data).hexdigest()
        if conf:
            pkg.conffiles.append((path, md5))
        else:
            pkg.sums.append((md5, path.lstrip("/")))

    def own_link(self, pkg, path, target):
        self.symlink(path, target)
        self.listed(pkg, path)

    def bulk(self, pkg, folder, n, stem="part"):
        for i in range(n):
            self.own(pkg, f"{folder}/{stem}{i % 17:02}/{stem}-{i}")

    def finish(self):
        """The package database, then owners and times, deepest first."""
        adm = "/var/lib/dpkg"
        for d in ("info", "updates", "triggers", "alternatives", "parts"):
            self.mkdir(f"{adm}/{d}")
        self.file(f"{adm}/info/format", "1\n")
        self.file(f"{adm}/arch", f"{ARCH}\n{FOREIGN}\n")
        self.file(f"{adm}/available", "")
        self.file(f"{adm}/lock", "", 0o640)
        self.packages.sort(key=lambda p: (p.name, p.arch))
        self.file(f"{adm}/status", "".join(p.stanza() + "\n" for p in self.packages))
        for p in self.packages:
            info = f"{adm}/info/{p.info}"
            self.file(f"{info}.list", "".join(f"{x}\n" for x in p.paths))
            if p.sums:
                self.file(f"{info}.md5sums", "".join(f"{m}  {x}\n" for m, x in p.sums))
            if p.conffiles:
                self.file(f"{info}.conffiles", "".join(f"{x}\n" for x, _ in p.conffiles))
            for s in p.scripts:
                self.file(f"{info}.{s}", "#!/bin/sh\nset -e\n", 0o755)
        if os.geteuid() == 0:
            for path, (owner, mode) in self.owners.items():
                os.chown(self.host(path), *owner)
                os.chmod(self.host(path), mode)
        for top, dirs, files in os.walk(self.root, topdown=False):
            for name in files + [d for d in dirs if os.path.islink(os.path.join(top, d))] + ["."]:
                p = os.path.normpath(os.path.join(top, name))
                rel = os.path.relpath(p, self.root)
                if name == ".":
                    os.chmod(p, self.dirs["" if rel == "." else rel])
                h = int.from_bytes(hashlib.sha256(os.fsencode(rel)).digest()[:8], "little")
                t = (BORN + h % 50_000_000) * 10**9 + h // 50_000_000 % 10**9
                os.utime(p, ns=(t, t), follow_symlinks=False)


def alternative(m, name, link, choices):
    """An alternative group; the first choice is the active one."""
    target = choices[0][0]
    m.symlink(f"/etc/alternatives/{name}", target)
    m.symlink(link, f"/etc/alternatives/{name}")
    m.file(f"/var/lib/dpkg/alternatives/{name}",
           f"auto\n{link}\n\n" + "".join(f"{path}\n{prio}\n" for path, prio in choices) + "\n")


def build(root):
    m = Machine(root)
    for d in MERGED.values():
        m.mkdir(d)
    for link, target in MERGED.items():
        m.symlink("/" + link, target)

    base = m.package("base-files", version="12.4", Essential="yes")
    m.own(base, "/bin/true", "#!/bin/sh\n", 0o755)
    m.own(base, "/usr/bin/page", "the first page\n", 0o755, lies="/usr/bin/page.base")
    m.own(base, "/usr/bin/wall", "wall\n", 0o2755, owner=(0, 5))
    m.own(base, "/etc/issue", "A machine \\n \\l\n", conf=True)
    m.own(base, "/etc/default/base", "A=1\n", conf=True)
    m.own(base, "/usr/share/base/naïve name with spaces", "text\n")
    m.own(base, "/sbin/init", mode=0o755)
    m.bulk(base, "/usr/share/base", 420)
    m.bulk(base, "/lib/modules/1.0", 120, "mod")
    m.listed(base, "/usr/share/doc/base-files/not-there")
    for d in ("/proc", "/sys", "/dev", "/run", "/tmp", "/mnt", "/boot", "/root", "/home", "/var/log", "/var/tmp", "/var/cache"):
        m.mkdir(d, 0o1777 if d.endswith("tmp") else 0o700 if d == "/root" else 0o755)
        m.listed(base, d)
    base.scripts = ["postinst"]

    for arch, triplet in ((ARCH, "x86_64-linux-gnu"), (FOREIGN, "i386-linux-gnu")):
        lib = m.package("libcommon", arch, same=True)
        m.own(lib, f"/lib/{triplet}/libcommon.so.1.0", mode=0o644)
        m.own_link(lib, f"/usr/lib/{triplet}/libcommon.so.1", "libcommon.so.1.0")
        m.own(lib, "/usr/share/doc/libcommon/copyright", "free\n")

    web = m.package("web", Depends="web-data (= 2.1-3), libcommon", version="2.1-3")
    m.own(web, "/usr/sbin/webd", mode=0o755)
    m.own(web, "/usr/bin/page", "the page of web\n", 0o755)
    m.own(web, "/etc/web/web.conf", "listen 80\n", conf=True)
    m.own(web, "/etc/web/mods-available/lang.conf", "# lang\n", conf=True)
    m.own(web, "/lib/systemd/system/web.service", "[Service]\nExecStart=/usr/sbin/webd\n")
    m.bulk(web, "/usr/lib/web/modules", 90, "mod")
    web.scripts = ["preinst", "postinst", "prerm", "postrm"]
    m.file("/etc/web/web.conf", "listen 80\nlisten 443\n")
    m.symlink("/etc/web/mods-enabled/lang.conf", "../mods-available/lang.conf")

    data = m.package("web-data", "all", "2.1-3")
    m.mkdir("/srv/www")
    m.own(data, "/var/www/html/index.html", "<h1>It works</h1>\n")
    m.bulk(data, "/usr/share/web/icons", 260, "icon")
    m.symlink("/var/www", "/srv/www")

    db = m.package("db", Depends="db-client, libcommon", version="1:10.11-1")
    m.own(db, "/usr/sbin/dbd", mode=0o755)
    m.own(db, "/etc/db/db.cnf", "[server]\n", conf=True)
    m.own(db, "/usr/lib/db/shared.bin", b"\0\1\2\3" * 5000)
    m.own(db, "/usr/bin/tool", "tool of db\n", 0o755)
    m.bulk(db, "/usr/share/db", 240)
    db.scripts = ["postinst"]
    client = m.package("db-client", version="1:10.11-1")
    m.own(client, "/usr/bin/dbc", mode=0o755)
    m.own_link(client, "/usr/bin/dbcheck", "dbc")
    m.bulk(client, "/usr/share/db/client", 60)

    lang = m.package("lang", Depends="libcommon", Recommends="web")
    m.own(lang, "/usr/bin/lang1.0", mode=0o755)
    m.own(lang, "/usr/bin/lang-ed", mode=0o755)
    m.listed(lang, "/usr/lib/lang/shared.bin")
    m.mkdir("/usr/lib/lang")
    os.link(m.host("/usr/lib/db/shared.bin"), m.host("/usr/lib/lang/shared.bin"))
    m.listed(lang, "/usr/share/web/icons/README")
    m.file("/usr/share/web/icons/README", "of lang, in a directory of web-data\n")
    m.bulk(lang, "/usr/lib/lang/lib", 600, "mod")
    m.file("/usr/bin/vi-like", "an editor of no package\n", 0o755)
    alternative(m, "lang", "/usr/bin/lang", [("/usr/bin/lang1.0", 100)])
    alternative(m, "editor", "/usr/bin/editor", [("/usr/bin/lang-ed", 60), ("/usr/bin/vi-like", 10)])

    old = m.package("old-tool", version="0.9")
    old.status = "deinstall ok config-files"
    old.paths = []
    m.own(old, "/etc/old-tool.conf", "kept=1\n", conf=True)
    old.scripts = ["postrm"]

    m.file("/var/lib/dpkg/diversions", "/usr/bin/page\n/usr/bin/page.base\nweb\n"
           "/usr/bin/tool\n/usr/bin/tool.orig\n:\n")
    os.rename(m.host("/usr/bin/tool"), m.host("/usr/bin/tool.orig"))
    m.owners["/usr/bin/tool.orig"] = m.owners.pop("/usr/bin/tool")
    m.file("/usr/bin/tool", "the administrator's own tool\n", 0o755)
    m.file("/var/lib/dpkg/statoverride", "root tty 2755 /usr/bin/wall\n")

    m.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n"
           "db:x:106:113::/var/lib/db:/bin/false\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    m.file("/etc/group", "root:x:0:\ntty:x:5:\nshadow:x:42:\nwww:x:33:alice\ndb:x:113:\nalice:x:1000:\n")
    m.file("/etc/shadow", "root:*:19000::::::\n", 0o640, (0, 42))
    m.file("/etc/hostname", "small\n")
    m.file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    m.file("/var/lib/db/table.db", b"\0" * 12288 + b"rows" * 3000, 0o660, (106, 113))
    m.file("/home/alice/notes", "buy milk\n", 0o600, (1000, 1000))
    m.file("/usr/local/bin/hello", "#!/bin/sh\necho hello\n", 0o755)
    m.file("/var/log/web/access.log", "GET /\n" * 500, 0o640, (33, 4))
    with open(m.host("/var/lib/db/sparse"), "wb") as f:
        f.truncate(1 << 20)
        f.seek(512 << 10)
        f.write(b"island" * 100)
    m.finish()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: small.py DIR")
    os.umask(0o022)
    build(sys.argv[1])
