#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""sharedtree.py DIR: a small machine, made up, with everything in it that depends on a selection.

Packages: base (os), db, web, lang (needs web). Every shared file has records of several of them: users that are
members of others' groups, an older copy with a user's former password, questions with several owners,
overrides that name a file of one and a group of another, alternatives whose current choice is in a component, a
diversion of one component's file by another. Files of the os belong to users of components, with setuid bits,
capabilities and ACLs. As root only: owners.
"""
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from small import MERGED, Machine  # noqa: E402  (beside this file)

DB, WEB = 106, 107
GROUP_DB, GROUP_WEB, GROUP_CERT = 113, 114, 115
HASH = {"db": "$6$dbsalt$dbhash", "web": "$6$websalt$webhash", "old": "$6$oldsalt$dbformerhash"}


def acl(user_entries, group_entries):
    """The kernel's form: owner rwx, named users, group r-x, named groups, mask rwx, others none."""
    rows = [(1, 7, 0xffffffff)] + [(2, p, u) for u, p in sorted(user_entries)] + [(4, 5, 0xffffffff)]
    rows += [(8, p, g) for g, p in sorted(group_entries)] + [(16, 7, 0xffffffff), (32, 0, 0xffffffff)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *r) for r in rows)


CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)     # cap_net_bind_service=ep


def alternative(m, name, public, mode, current, slaves, choices):
    """choices: (path, priority, {slave: path}); slaves: (name, public link)"""
    text = f"{mode}\n{public}\n" + "".join(f"{s}\n{link}\n" for s, link in slaves) + "\n"
    for path, priority, of in choices:
        text += f"{path}\n{priority}\n" + "".join(of.get(s, "") + "\n" for s, _ in slaves)
    m.file(f"/var/lib/dpkg/alternatives/{name}", text + "\n")
    m.symlink(f"/etc/alternatives/{name}", current)
    m.symlink(public, f"/etc/alternatives/{name}")
    of = next(c[2] for c in choices if c[0] == current)
    for s, link in slaves:
        if of.get(s):
            m.symlink(f"/etc/alternatives/{s}", of[s])
            m.symlink(link, f"/etc/alternatives/{s}")


def stanza(**fields):
    return "".join(f"{k.replace('_', '-')}: {v}\n" for k, v in fields.items()) + "\n"


def packages(m):
    base = m.package("base", version="12", Essential="yes")
    m.own(base, "/usr/bin/page", "page of base\n", 0o755)
    m.own(base, "/usr/bin/setuid-db", "run as db\n", 0o4755, owner=(DB, 0))
    m.own(base, "/usr/bin/setgid-db", "run as group db\n", 0o2755, owner=(0, GROUP_DB))
    m.own(base, "/usr/bin/both", "of db and of web\n", 0o6750, owner=(DB, GROUP_WEB))
    m.own(base, "/usr/bin/capable-db", "binds ports for group db\n", 0o750, owner=(0, GROUP_DB))
    m.own(base, "/usr/bin/capable", "binds ports\n", 0o755)
    m.own(base, "/usr/bin/wall", "wall\n", 0o2755, owner=(0, 5))
    m.own(base, "/usr/bin/ed", "ed\n", 0o755)
    m.own(base, "/usr/share/man/ed.1", "manual of ed\n")
    m.own(base, "/etc/base.conf", "a = 1\n", conf=True)
    m.bulk(base, "/usr/share/base", 30)
    for d in ("/srv/data", "/var/spool/shared", "/var/log", "/root", "/tmp", "/proc", "/sys", "/dev", "/run", "/home/alice"):
        m.mkdir(d, 0o1777 if d == "/tmp" else 0o755)
        m.listed(base, d)
    m.owners["/srv/data"] = ((0, GROUP_CERT), 0o2770)

    db = m.package("db", version="1:10-1", Depends="base")
    m.own(db, "/usr/bin/dbtool", "tool of db\n", 0o755, lies="/usr/bin/dbtool.distrib")
    m.own(db, "/usr/bin/dbsh", "shell of db\n", 0o755)
    m.own(db, "/usr/bin/dbed", "editor of db\n", 0o755)
    m.own(db, "/usr/share/man/dbed.1", "manual of dbed\n")
    m.own(db, "/etc/db/db.cnf", "[db]\n", conf=True)
    m.own(db, "/usr/lib/systemd/system/db.service", "[Service]\nExecStart=/usr/bin/dbtool\n[Install]\nWantedBy=multi-user.target\n")
    m.bulk(db, "/usr/share/db", 20)
    m.symlink("/etc/systemd/system/multi-user.target.wants/db.service", "/usr/lib/systemd/system/db.service")
    m.file("/var/lib/db/table", b"rows" * 2000, 0o660, (DB, GROUP_DB))

    web = m.package("web", version="2-1", Depends="base")
    m.own(web, "/usr/bin/webd", "webd\n", 0o755)
    m.own(web, "/usr/share/ca-certificates/web/own.crt", "certificate\n")
    m.own(web, "/etc/web/web.conf", "listen 80\n", conf=True)
    m.bulk(web, "/usr/share/web", 20)
    m.file("/etc/web/ucf.conf", "by ucf\n")

    lang = m.package("lang", version="3-1", Depends="base, web")
    m.own(lang, "/usr/bin/dbtool", "lang's own tool for db\n", 0o755)
    m.own(lang, "/usr/bin/lang3", "lang3\n", 0o755)
    m.bulk(lang, "/usr/share/lang", 20)
    return db, web, lang


def shared(m):
    old = "root:x:0:0:root:/root:/bin/sh\ndb:x:106:113:db server,,,:/var/lib/db:/bin/false\nalice:x:1000:1000::/home/alice:/bin/sh\n"
    m.file("/etc/passwd-", old)
    m.file("/etc/passwd", old + "web:x:107:114::/srv:/bin/false\n+@netgroup\n")
    m.file("/etc/group", f"root:x:0:\ntty:x:5:\nadm:x:4:alice,web\nshadow:x:42:\ndb:x:{GROUP_DB}:alice,web\nweb:x:{GROUP_WEB}:db,alice\n"
           f"cert:x:{GROUP_CERT}:web\nalice:x:1000:\n")
    m.file("/etc/group-", f"root:x:0:\ntty:x:5:\nadm:x:4:alice\nshadow:x:42:\ndb:x:{GROUP_DB}:alice\nalice:x:1000:\n")
    m.file("/etc/shadow", f"root:*:19000::::::\ndb:{HASH['db']}:19000::::::\nalice:!:19000::::::\nweb:{HASH['web']}:19000::::::\n", 0o640, (0, 42))
    m.file("/etc/shadow-", f"root:*:19000::::::\ndb:{HASH['old']}:18000::::::\nalice:!:19000::::::\n", 0o640, (0, 42))
    m.file("/etc/gshadow", "root:*::\ntty:!::\nadm:!::alice,web\nshadow:!::\ndb:!:web:alice,web\nweb:!:db,alice:db,alice\ncert:!::web\nalice:!::\n", 0o640, (0, 42))
    m.file("/etc/gshadow-", "root:*::\ntty:!::\nadm:!::alice\nshadow:!::\ndb:!::alice\nalice:!::\n", 0o640, (0, 42))
    m.file("/etc/subuid", "alice:100000:65536\nweb:165536:65536\n106:231072:65536\n")

    m.file("/var/lib/apt/extended_states", stanza(Package="db", Architecture="amd64", Auto_Installed="0") +
           stanza(Package="lang", Architecture="amd64", Auto_Installed="1"))
    m.file("/var/cache/debconf/config.dat", stanza(Name="base/one", Template="base/one", Value="1", Owners="base") +
           stanza(Name="both/port", Template="both/port", Value="80", Owners="db, web") +
           stanza(Name="db/root", Template="db/password", Owners="db") + stanza(Name="web/x", Template="web/x", Owners="web"))
    m.file("/var/cache/debconf/passwords.dat", stanza(Name="db/secret", Template="db/password", Value="hunter2", Owners="db"), 0o600)
    m.file("/var/cache/debconf/templates.dat", stanza(Name="base/one", Type="string", Owners="base/one") +
           stanza(Name="both/port", Type="string", Owners="both/port") +
           stanza(Name="db/password", Type="password", Owners="db/root, db/secret") + stanza(Name="web/x", Type="note", Owners="web/x"))
    m.file("/var/lib/dpkg/diversions", "/usr/bin/dbtool\n/usr/bin/dbtool.distrib\nlang\n/usr/bin/page\n/usr/bin/page.orig\n:\n")
    m.file("/usr/bin/page.orig", "page of base, put away\n", 0o755)
    m.file("/var/lib/dpkg/statoverride", "root tty 2755 /usr/bin/wall\nroot cert 2770 /srv/data\nroot db 2755 /usr/bin/webd\n"
           "db web 6750 /usr/bin/both\n")
    m.file("/var/lib/dpkg/statoverride-old", "root tty 2755 /usr/bin/wall\nroot db 2755 /usr/bin/webd\n")
    m.file("/var/lib/dpkg/triggers/File", "/usr/share/man base\n/usr/share/web lang/noawait\n/etc/web web\n")
    m.file("/var/lib/dpkg/triggers/reload", "db\nweb/noawait\n")
    m.file("/var/lib/dpkg/triggers/only-db", "db\n")
    m.file("/var/lib/dpkg/triggers/Unincorp", "")
    m.file("/var/lib/dpkg/triggers/Lock", "")
    m.file("/var/lib/ucf/hashfile", "00000000000000000000000000000001  /etc/web/ucf.conf\n")
    m.file("/var/lib/ucf/registry", "web\t/etc/web/ucf.conf\n")
    m.file("/etc/shells", "# shells\n/bin/sh\n/usr/bin/dbsh\n")
    m.file("/etc/ca-certificates.conf", "# which are trusted\nweb/own.crt\n!web/other.crt\n")
    m.file("/var/cache/ldconfig/aux-cache", "cache of all libraries: libdb\n", 0o600)
    m.file("/var/cache/man/index.db", "names of db, web and lang\n")

    alternative(m, "editor", "/usr/bin/editor", "auto", "/usr/bin/dbed", [("editor.1", "/usr/share/man/editor.1")],
                [("/usr/bin/dbed", 90, {"editor.1": "/usr/share/man/dbed.1"}),
                 ("/usr/bin/ed", 10, {"editor.1": "/usr/share/man/ed.1"})])
    alternative(m, "viewer", "/usr/bin/viewer", "manual", "/usr/bin/dbsh", [("viewer.1", "/usr/share/man/viewer.1")],
                [("/usr/bin/dbsh", 5, {"viewer.1": "/usr/share/man/dbed.1"}), ("/usr/bin/ed", 10, {})])
    alternative(m, "either", "/usr/bin/either", "auto", "/usr/bin/webd", [],
                [("/usr/bin/webd", 20, {}), ("/usr/bin/dbsh", 10, {})])
    alternative(m, "lang", "/usr/bin/lang", "auto", "/usr/bin/lang3", [], [("/usr/bin/lang3", 100, {})])


def build(root):
    m = Machine(root)
    for d in MERGED.values():
        m.mkdir(d)
    for link, target in MERGED.items():
        m.symlink("/" + link, target)
    packages(m)
    shared(m)
    for name, script in (("db", "adduser --system --group --home /var/lib/db db\n"),
                         ("web", "adduser --system --group web\naddgroup --system cert\n")):
        m.file(f"/var/lib/dpkg/info/{name}.postinst", "#!/bin/sh\nset -e\n" + script, 0o755)
    m.finish()
    status = m.host("/var/lib/dpkg/status")
    with open(status, encoding="utf-8") as f:
        text = f.read()
    with open(status + "-old", "w", encoding="utf-8") as f:
        f.write(text.replace("Version: 3-1", "Version: 3-0"))
    os.utime(status + "-old", (1_650_000_000, 1_650_000_000))
    data = m.host("/srv/data")
    if os.geteuid() == 0:
        os.chown(data, 0, GROUP_CERT)
        os.chmod(data, 0o2770)
        os.setxattr(data, "system.posix_acl_access", acl([(DB, 7), (WEB, 5), (1000, 7)], [(GROUP_DB, 4), (4, 5)]))
        os.setxattr(data, "system.posix_acl_default", acl([(WEB, 7)], []))
        for name in ("capable-db", "capable"):
            os.setxattr(m.host(f"/usr/bin/{name}"), "security.capability", CAPABILITY)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: sharedtree.py DIR")
    os.umask(0o022)
    build(sys.argv[1])
