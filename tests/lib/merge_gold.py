#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Judge the shared files of a gold root that merge drivers cut (tests/unit/merge_project.h).

merge_gold.py facts ROOT SPLIT.json USER=COMPONENT...    prints what the machine says, for merge_project
merge_gold.py check ROOT FACTS OUT SELECTION...          each selection by what stands in the files, read here anew

A selection is "os,mysql". OUT has to be bound to ROOT/mnt too: update-alternatives drops choices whose files it
does not see, so it has to run below ROOT. The check compares lists: what each file names, against what the selection has.
"""
import json
import os
import re
import struct
import subprocess
import sys

failed = 0


def fail(*words):
    global failed
    failed += 1
    if failed < 40:
        print("wrong:", *words)


def text(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


# --- facts ---------------------------------------------------------------------------------

def facts(root, split, users):
    with open(split, encoding="utf-8") as f:
        split = json.load(f)
    for component in split["components"]:
        for package in component["packages"]:
            print("package", package["name"], component["name"], sep="\t")
    for path in split["paths"]:
        if "\t" not in path["path"] and "\n" not in path["path"]:
            for component in path["component"].split(","):
                print("path", path["path"], component, sep="\t")
    groups = {line.split(":")[0] for line in text(root + "/etc/group").split("\n")}
    for user in users:
        name, component = user.split("=")
        print("user", name, component, sep="\t")
        if name in groups:
            print("group", name, component, sep="\t")


# --- check ---------------------------------------------------------------------------------

class Machine:
    def __init__(self, path):
        self.of = {"package": {}, "path": {}, "user": {}, "group": {}}
        for line in text(path).split("\n")[:-1]:
            kind, name, component = line.split("\t")
            self.of[kind].setdefault(name, set()).add(component)

    def has(self, kind, name, selection):
        of = self.of[kind].get(name)
        if kind == "path" and of is None:
            of = self.of[kind].get("/usr" + name)
        return of is None or "os" in of or bool(of & selection)

    def all(self, selection):
        return all(of <= selection for kind in self.of.values() for of in kind.values())


def package(spec):
    return re.split("[:/]", spec.strip())[0]


def stanzas(content):
    """Each with its fields; the first line of a value."""
    for stanza in re.split(r"\n\n+", content):
        if stanza.strip("\n"):
            yield stanza, dict(re.findall(r"^([^\s:]+):[ \t]*(.*)$", stanza, re.M))


def lines(root, path):
    content = text(root + path) if os.path.exists(root + path) else ""
    return content.split("\n")[:-1]


def expect(selection, path, found, wanted):
    if found != wanted:
        extra = [x for x in found if x not in set(wanted)]
        missing = [x for x in wanted if x not in set(found)]
        fail(",".join(selection), path, "too much:", extra[:3], "too little:", missing[:3])


def check_lines(machine, root, out, names, chosen):
    """Files of which each line has one owner."""
    def by(kind, key):
        return lambda line: machine.has(kind, key(line), names)

    first = lambda line: line.split(":")[0]
    rules = {
        "/etc/passwd": by("user", first), "/etc/shadow": by("user", first), "/etc/subuid": by("user", first),
        "/var/lib/dpkg/triggers/File": by("package", lambda line: package(line.split(" ")[-1])),
        "/var/lib/dpkg/triggers/ldconfig": by("package", package),
        "/var/lib/ucf/hashfile": by("path", lambda line: line.split("  ")[1]),
        "/var/lib/ucf/registry": by("path", lambda line: line.split()[1]),
        "/etc/shells": lambda line: line.startswith("#") or machine.has("path", line, names),
        "/var/lib/shells.state": by("path", lambda line: line),
        "/var/lib/dpkg/statoverride": lambda line: machine.has("path", line.split(" ")[3], names)
        and machine.has("user", line.split(" ")[0], names) and machine.has("group", line.split(" ")[1], names),
    }
    for path, rule in rules.items():
        for old in ("", "-", "-old", ".0", ".7"):
            if os.path.exists(root + path + old):
                expect(chosen, path + old, lines(out, path + old), [x for x in lines(root, path + old) if rule(x)])


def check_group(machine, root, out, names, chosen):
    for path in ("/etc/group", "/etc/group-", "/etc/gshadow", "/etc/gshadow-"):
        wanted = []
        for line in lines(root, path):
            fields = line.split(":")
            if not machine.has("group", fields[0], names):
                continue
            for i in (3,) if "gshadow" not in path else (2, 3):
                fields[i] = ",".join(m for m in fields[i].split(",") if machine.has("user", m, names))
            wanted.append(":".join(fields))
        expect(chosen, path, lines(out, path), wanted)


def check_stanzas(machine, root, out, names, chosen):
    def questions(path):
        found = {}
        for _, fields in stanzas(text(root + path)):
            owners = [x.strip() for x in fields.get("Owners", "").split(",") if x.strip()]
            found[fields["Name"]] = fields.get("Template", fields["Name"]), \
                not owners or any(machine.has("package", package(x), names) for x in owners)
        return found

    debconf = "/var/cache/debconf/"
    for path in ("/var/lib/dpkg/status", "/var/lib/dpkg/status-old", "/var/lib/apt/extended_states"):
        expect(chosen, path, [s for s, _ in stanzas(text(out + path))],
               [s for s, f in stanzas(text(root + path)) if machine.has("package", f["Package"], names)])
    for old in ("", "-old"):
        here = questions(debconf + "config.dat" + old)
        today = questions(debconf + "config.dat")

        def template(fields):
            for known in (here, today):
                owners = {x.strip() for x in fields.get("Owners", "").split(",")}
                shown = [has for name, (of, has) in known.items() if of == fields["Name"] or name in owners]
                if shown:
                    return any(shown)
            return True

        expect(chosen, "config.dat" + old, [f["Name"] for _, f in stanzas(text(out + debconf + "config.dat" + old))],
               [name for name, (_, has) in here.items() if has])
        expect(chosen, "templates.dat" + old,
               [s for s, _ in stanzas(text(out + debconf + "templates.dat" + old))],
               [s for s, f in stanzas(text(root + debconf + "templates.dat" + old)) if template(f)])


def check_diversions(machine, root, out, names, chosen):
    def read(where):
        v = lines(where, "/var/lib/dpkg/diversions")
        return [tuple(v[i:i + 3]) for i in range(0, len(v), 3)]
    expect(chosen, "diversions", read(out),
           [d for d in read(root) if d[2] == ":" or machine.has("package", package(d[2]), names)])
    if os.path.exists(out + "/var/lib/dpkg/diversions"):
        found = subprocess.run(["dpkg-divert", "--admindir", out + "/var/lib/dpkg", "--list"],
                               capture_output=True, text=True, check=True).stdout
        if len(found.split("\n")) - 1 != len(read(out)):
            fail(",".join(chosen), "dpkg-divert", found)


def check_alternatives(machine, root, out, names, chosen):
    """By update-alternatives, and the links against what it says is best."""
    admin = "/var/lib/dpkg/alternatives"
    links, gold = {}, {}
    for line in text(out + "/../" + ",".join(chosen) + ".links").split("\n")[:-1]:
        path, target, slave = line.split("\t")
        if path in links:
            fail(",".join(chosen), "two links", path)
        links[path] = target
        if slave and not os.path.lexists(root + slave):
            continue
        gold[path] = target
    for name in os.listdir(root + admin):
        def query(where):
            r = subprocess.run(["chroot", root, "update-alternatives", "--admindir", where + admin, "--query", name],
                               capture_output=True, text=True, check=False)
            return re.findall(r"^Alternative: (.*)$", r.stdout, re.M), re.findall(r"^Best: (.*)$", r.stdout, re.M), \
                re.findall(r"^Status: (.*)$", r.stdout, re.M)
        choices, _, status = query("")
        found, best, now = query("/mnt/" + ",".join(chosen))
        wanted = [c for c in choices if machine.has("path", c, names)]
        expect(chosen, name, sorted(found), sorted(wanted))
        current = os.readlink(root + "/etc/alternatives/" + name)
        at = links.pop("/etc/alternatives/" + name, None)
        if not wanted:
            if at or os.path.exists(out + admin + "/" + name):
                fail(",".join(chosen), name, "without a choice")
            continue
        if at != (current if current in wanted else best[0]):
            fail(",".join(chosen), name, "leads to", at, "best is", best)
        if now != (status if current in wanted else ["auto"]):
            fail(",".join(chosen), name, "is", now)
    for path, target in links.items():
        if target.startswith("/etc/alternatives/") and not path.startswith("/etc/alternatives/"):
            continue
        if not machine.has("path", target, names):
            fail(",".join(chosen), path, "leads to", target)
    if machine.all(names):
        for path, target in gold.items():
            if not os.path.islink(root + path) or os.readlink(root + path) != target:
                fail("everything:", path, "should lead to", target)
        for name in os.listdir(root + "/etc/alternatives"):
            path = "/etc/alternatives/" + name
            if os.path.islink(root + path) and path not in gold:
                fail("everything:", path, "is not in the list")


def check_ldcache(machine, root, out, names, chosen):
    def printed(where):
        r = subprocess.run(["ldconfig", "-p", "-C", where + "/etc/ld.so.cache"], capture_output=True, text=True, check=True)
        return [line.strip() for line in r.stdout.split("\n")[1:] if "=>" in line]
    expect(chosen, "ld.so.cache", printed(out),
           [x for x in printed(root) if machine.has("path", x.split(" => ")[1], names)])
    with open(out + "/etc/ld.so.cache", "rb") as f:
        data = f.read()
    count, size = struct.unpack("<II", data[20:28])
    for string in data[48 + 24 * count:][:size].split(b"\0"):
        name = string.decode()
        if name.startswith("/") and not machine.has("path", name, names):
            fail(",".join(chosen), "ld.so.cache has", name)


def check(root, known, out, selections):
    machine = Machine(known)
    for selection in selections:
        chosen = selection.split(",")
        names = set(chosen)
        here = out + "/" + selection
        for judge in (check_lines, check_group, check_stanzas, check_diversions, check_alternatives, check_ldcache):
            judge(machine, root, here, names, chosen)
        if machine.all(names):
            for folder, _, files in os.walk(here):
                for name in files:
                    path = os.path.join(folder, name)
                    with open(path, "rb") as a, open(root + path[len(here):], "rb") as b:
                        if a.read() != b.read():
                            fail("everything:", path[len(here):], "is not the captured file")
            print(selection, "is everything")
    print(f"{len(selections)} selections, {failed} wrong")


if sys.argv[1] == "facts":
    facts(sys.argv[2], sys.argv[3], sys.argv[4:])
else:
    check(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    sys.exit(1 if failed else 0)
