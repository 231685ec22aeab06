#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""coherent.py GOLD SPLIT.json TREE NAME...: does TREE hold what a machine with just the components NAME holds?

GOLD is the captured machine, SPLIT.json what `plyfs capture -n --list --json` says of it: which packages are which
component. Everything else is worked out here, from the tools' own documents and by code that shares nothing with
the product:

records  each shared file, record by record, against what is left of the captured machine's when the records of
         others are taken out. No tool of the system notices a trigger or an override too many.
leaks    no file that only packages of others have is in the tree; and no package, user, password or file of others is
         named in any file of /etc and /var that no selected package has shipped. What may differ is in EXCEPT, with
         the reason.
"""
import glob
import json
import os
import re
import stat
import sys

INFO = "var/lib/dpkg/info"

# What is not looked into for names of others' packages and files.
EXCEPT = [
    # what packages say of each other, and what people are told: records are compared one by one
    (r"var/lib/dpkg/(status|available)(-old)?$", "Depends, Suggests and descriptions name packages that are not installed"),
    (r"var/cache/debconf/templates\.dat(-old)?$", "descriptions name other software"),
    (r"var/cache/debconf/config\.dat(-old)?$", "Owners of a question keep all of their names, as debconf does"),
    # history: a log says what has happened to the captured machine
    (r"var/log/", "logs are the captured machine's"),
    (r"var/lib/dpkg/info/", "files of selected packages, compared by name"),
    (r"var/lib/apt/lists/|var/cache/apt/", "what can be had, not what is installed"),
    (r"etc/locale\.gen$", "the machine's language, and so os; with comments of the package that asked for it"),
    # the administrator's own files, which no rule can know
    (r"etc/cron\.d/shop$|usr/local/|home/|root/|srv/", "made by hand; capture has told of them"),
]


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def lines(data):
    return (data or b"").splitlines(keepends=True)


def stanzas(data):
    out, cur = [], []
    for line in lines(data):
        if cur and cur[-1] == b"\n" and line != b"\n":
            out.append(b"".join(cur))
            cur = []
        cur.append(line)
    if cur:
        out.append(b"".join(cur))
    return out


def field(stanza, name):
    m = re.search(rb"^" + name + rb":[ \t]*(.*)$", stanza, re.M | re.I)
    return m.group(1).strip().decode() if m else None


class Machine:
    """The captured machine: who has which package, file and user."""

    def __init__(self, gold, split):
        self.gold = gold
        self.comps = [c["name"] for c in split["components"]]
        self.of_package = {}
        for c in split["components"]:
            for p in c["packages"]:
                self.of_package.setdefault(p["name"], set()).add(c["name"])
                self.of_package.setdefault(f"{p['name']}:{p['architecture']}", set()).add(c["name"])
        self.scripts = {}
        for path in glob.glob(os.path.join(gold, INFO, "*.p*inst")):
            package = os.path.basename(path).rsplit(".", 1)[0]
            self.scripts.setdefault(package, []).append(read(path).decode(errors="replace"))
        self.lists = {}
        for path in glob.glob(os.path.join(gold, INFO, "*.list")):
            package = os.path.basename(path)[:-5]
            self.lists[package] = [self.canonical(p) for p in read(path).decode().splitlines() if p != "/."]
        self.numbers = {}
        self.users = self.accounts("etc/passwd")
        self.groups = self.accounts("etc/group")

    def canonical(self, path):
        """Links of the directories before the last component, inside the tree."""
        return re.sub(r"^/(bin|sbin|lib|lib64|lib32|libx32)/", r"/usr/\1/", path)

    def package(self, spec):
        """Components of a package as dpkg and others write it; none: nobody knows it, which means os."""
        name = spec.split("/")[0]
        return self.of_package.get(name) or self.of_package.get(name.split(":")[0]) or {"os"}

    def accounts(self, path):
        """name -> components: those whose scripts make it, for the numbers that scripts get."""
        out = {}
        for line in lines(read(os.path.join(self.gold, path))):
            fields = line.decode().rstrip("\n").split(":")
            if line[:1] in b"+-#" or len(fields) < 4:
                continue
            name, number = fields[0], int(fields[2])
            self.numbers.setdefault((path, number), name)
            out[name] = {"os"}
            if not 100 <= number < 1000:
                continue
            makers = set()
            for package, texts in self.scripts.items():
                for text in texts:
                    if re.search(r"\b(adduser|addgroup|useradd|groupadd|systemd-sysusers)\b", text) and \
                       re.search(r"(?<![\w-])" + re.escape(name) + r"(?![\w-])", text):
                        makers |= self.package(package)
            if makers and "os" not in makers:
                out[name] = makers
        return out


class Judge:
    def __init__(self, machine, tree, names):
        self.m, self.tree, self.names = machine, tree, {"os", *names}
        self.others = set(machine.comps) - self.names
        self.wrong = 0

    def say(self, text):
        self.wrong += 1
        if self.wrong <= 60:
            print(text)

    def has(self, comps):
        return bool(comps & self.names)

    def package(self, spec):
        return self.has(self.m.package(spec))

    def user(self, name):
        return self.has(self.m.users.get(name, {"os"}))

    def group(self, name):
        return self.has(self.m.groups.get(name, {"os"}))

    def path(self, path):
        """Is that path of the captured machine in the tree? What the machine itself lacks goes with its directory."""
        path = path.strip("/")
        while path and not os.path.lexists(os.path.join(self.m.gold, path)):
            path = os.path.dirname(path)
        return os.path.lexists(os.path.join(self.tree, path))

    # --- records ---------------------------------------------------------------------------

    def compare(self, path, expected, vanishes):
        found = read(os.path.join(self.tree, path))
        if found is None and not expected:
            return
        if vanishes and not expected:
            self.say(f"/{path}: no record is left, and it is there")
        cut = lines
        if found != expected:
            missing = [x for x in cut(expected) if x not in cut(found)]
            more = [x for x in cut(found) if x not in cut(expected)]
            self.say(f"/{path}: " + ("is not there" if found is None else
                     f"lacks {missing[:3]}, has {more[:3]}" if missing or more else "is in another order"))

    def each(self, pattern, cut, keep, vanishes=False):
        """The files of @pattern are those records of the captured machine's that @keep(record, path) keeps or changes."""
        for full in sorted(glob.glob(os.path.join(self.m.gold, pattern))):
            path = os.path.relpath(full, self.m.gold)
            if stat.S_ISREG(os.lstat(full).st_mode):
                out = []
                for record in cut(read(full)):
                    kept = keep(record, path)
                    out.append(record if kept is True else kept or b"")
                self.compare(path, b"".join(out), vanishes and path.rsplit("/", 1)[1] != "File")

    def account(self, line, path):
        name = line.decode().split(":")[0].rstrip("\n")
        if path.startswith("etc/sub") and name.isdigit():
            name = self.m.numbers.get(("etc/passwd", int(name)), name)
        return line[:1] in b"+-#" or self.user(name)

    def group_line(self, line, path):
        fields = line.decode().rstrip("\n").split(":")
        if not self.group(fields[0]):
            return False
        for i in (2, 3) if "gshadow" in path else (3,):
            fields[i] = ",".join(u for u in fields[i].split(",") if not u or self.user(u))
        return ":".join(fields).encode() + b"\n"

    def stanza(self, text, path):
        name, arch = field(text, b"Package"), field(text, b"Architecture")
        return self.package(f"{name}:{arch}" if f"{name}:{arch}" in self.m.of_package else name)

    def owners(self, text):
        return [o.strip() for o in (field(text, b"Owners") or "").split(",") if o.strip()]

    def question(self, text, path):
        owners = self.owners(text)
        return not owners or any(self.package(o) for o in owners)

    def questions(self, suffix):
        """name of question or template -> is it there"""
        known = {}
        for name in ("config", "passwords"):
            for text in stanzas(read(os.path.join(self.m.gold, f"var/cache/debconf/{name}.dat{suffix}"))):
                there = self.question(text, None)
                for what in {("q", field(text, b"Name")), ("t", field(text, b"Template") or field(text, b"Name"))}:
                    known[what] = known.get(what, False) or there
        return known

    def template(self, text, path):
        for suffix in (["-old", ""] if path.endswith("-old") else [""]):
            known = self.questions_of(suffix)
            found = [known[k] for k in [("t", field(text, b"Name"))] + [("q", o) for o in self.owners(text)] if k in known]
            if found:
                return any(found)
        return True

    def questions_of(self, suffix):
        self.cached = getattr(self, "cached", {})
        if suffix not in self.cached:
            self.cached[suffix] = self.questions(suffix)
        return self.cached[suffix]

    def diversions(self, data):
        rows = lines(data)
        return [b"".join(rows[i:i + 3]) for i in range(0, len(rows), 3)]

    def diversion(self, record, path):
        package = record.decode().splitlines()[2]
        return package == ":" or self.package(package)

    def override(self, line, path):
        user, group, _, of = line.decode().rstrip("\n").split(" ", 3)
        return self.user(user) and self.group(group) and self.path(of)

    def trigger(self, line, path):
        return self.package(line.decode().split()[-1])

    def ucf(self, line, path):
        word, of = line.decode().split(None, 1)
        of = of.rstrip("\n")
        if "registry" in path and not os.path.lexists(os.path.join(self.m.gold, of.lstrip("/"))):
            return self.package(word)
        return self.path(of)

    def shell(self, line, path):
        text = line.decode().strip()
        return not text.startswith("/") or self.path(text.split()[0])

    def certificate(self, line, path):
        text = line.decode().strip()
        return not text or text.startswith("#") or self.path("/usr/share/ca-certificates/" + text.lstrip("!").strip())

    def alternative(self, name):
        """One file: its choices are those that are there, and the links lead to the one that wins."""
        path = f"var/lib/dpkg/alternatives/{name}"
        gold = parse_alternative(read(os.path.join(self.m.gold, path)).decode())
        choices = [c for c in gold["choices"] if self.path(c[0])]
        data = read(os.path.join(self.tree, path))
        links = [gold["link"], "/etc/alternatives/" + name]
        if not choices:
            if data is not None:
                self.say(f"/{path}: no choice is left, and it is there")
            for link in links:
                if os.path.lexists(self.tree + link):
                    self.say(f"{link}: no choice is left, and it is there")
            return
        if data is None:
            self.say(f"/{path}: is not there")
            return
        found = parse_alternative(data.decode())
        current = os.readlink(f"{self.m.gold}/etc/alternatives/{name}")
        kept = any(c[0] == current for c in choices)
        want = current if kept else max(choices, key=lambda c: c[1])[0]
        mode = gold["mode"] if kept else "auto"
        if [c[:2] for c in found["choices"]] != [c[:2] for c in choices]:
            self.say(f"/{path}: choices {[c[0] for c in found['choices']]}, not {[c[0] for c in choices]}")
        if found["mode"] != mode:
            self.say(f"/{path}: is {found['mode']}, not {mode}")
        is_now = os.readlink(self.tree + links[1]) if os.path.islink(self.tree + links[1]) else None
        if is_now != want:
            self.say(f"{links[1]}: leads to {is_now}, not {want}")
        if not os.path.islink(self.tree + links[0]):
            self.say(f"{links[0]}: is not there")
        slaves = next(c for c in choices if c[0] == want)[2]
        for slave, public in gold["slaves"]:
            target = slaves.get(slave, "")
            link = "/etc/alternatives/" + slave
            is_now = os.readlink(self.tree + link) if os.path.islink(self.tree + link) else ""
            if target and not os.path.lexists(self.tree + target):
                target = ""        # update-alternatives leaves a slave out whose file is not there
            if is_now != target:
                self.say(f"{link}: leads to {is_now!r}, not {target!r}")
            if not target and os.path.islink(self.tree + public) and os.readlink(self.tree + public) == link:
                self.say(f"{public}: leads to {link}, which is not there")

    def records(self):
        for name in ("passwd", "shadow", "subuid", "subgid"):
            for suffix in ("", "-"):
                self.each(f"etc/{name}{suffix}", lines, self.account)
        for name in ("group", "gshadow"):
            for suffix in ("", "-"):
                self.each(f"etc/{name}{suffix}", lines, self.group_line)
        self.each("var/lib/dpkg/status*", stanzas, self.stanza)
        self.each("var/lib/apt/extended_states", stanzas, self.stanza)
        self.each("var/cache/debconf/config.dat*", stanzas, self.question)
        self.each("var/cache/debconf/passwords.dat*", stanzas, self.question)
        self.each("var/cache/debconf/templates.dat*", stanzas, self.template)
        self.each("var/lib/dpkg/diversions*", self.diversions, self.diversion)
        self.each("var/lib/dpkg/statoverride*", lines, self.override)
        self.each("var/lib/dpkg/triggers/[!LU]*", lines, self.trigger, vanishes=True)
        self.each("var/lib/ucf/hashfile*", lines, self.ucf)
        self.each("var/lib/ucf/registry*", lines, self.ucf)
        self.each("etc/shells", lines, self.shell)
        self.each("var/lib/shells.state", lines, self.shell)
        self.each("etc/ca-certificates.conf", lines, self.certificate)
        for name in sorted(os.listdir(os.path.join(self.m.gold, "var/lib/dpkg/alternatives"))):
            self.alternative(name)

    # --- leaks -------------------------------------------------------------------------------

    def leaks(self):
        mine, theirs, packages = set(), set(), []
        for package, paths in self.m.lists.items():
            if self.package(package):
                mine.update(paths)
            else:
                theirs.update(paths)
                packages.append(package)
                for found in glob.glob(os.path.join(self.tree, INFO, glob.escape(package) + ".*")):
                    self.say(f"/{INFO}/{os.path.basename(found)} is there")
        for line in lines(read(os.path.join(self.m.gold, "var/lib/ucf/registry"))):
            package, path = line.decode().split(None, 1)
            path = path.rstrip("\n")
            if self.package(package):
                mine.update((path, "/var/lib/ucf/cache/" + path.replace("/", ":")))
        diverted = {d.decode().splitlines()[0] for d in self.diversions(read(os.path.join(self.m.gold, "var/lib/dpkg/diversions")))}
        theirs -= mine | diverted
        theirs = {p for p in theirs if not os.path.isdir(self.m.gold + p) or os.path.islink(self.m.gold + p)}
        for path in sorted(theirs):
            if os.path.lexists(self.tree + path):
                self.say(f"{path} is there, and no selected package has it")
        users = {u for u, c in {**self.m.users, **self.m.groups}.items() if not self.has(c)}
        hashes = {l.split(b":")[1] for l in lines(read(os.path.join(self.m.gold, "etc/shadow")))
                  if l.split(b":")[0].decode() in users and len(l.split(b":")[1]) > 4}
        names = sorted(users | {p.split(":")[0] for p in packages}, key=len, reverse=True)
        if not names:
            return
        # a word, but for what may stand around it in another name or a path
        word = re.compile(rb"(?<![\w/.+-])(" + b"|".join(re.escape(n.encode()) for n in names) + rb")(?![\w.+-])")
        longest = sorted((p for p in theirs if p.count("/") > 1), key=len, reverse=True)
        listed = {p.encode() for p in longest}
        as_path = re.compile(rb"/(?:[\w.+@:%-]+/)+[\w.+@:%-]+")
        for folder, _, files in os.walk(os.path.join(self.tree, "usr")):
            for name in files:
                source = os.path.join(os.path.dirname(folder), name.split(".cpython-")[0] + ".py")
                if folder.endswith("/__pycache__") and not os.path.exists(source):
                    self.say(f"/{os.path.relpath(folder, self.tree)}/{name}: of a source that is not there")
        for top in ("etc", "var"):
            for folder, dirs, files in os.walk(os.path.join(self.tree, top)):
                if os.path.relpath(folder, self.tree) == "var/lib":
                    dirs[:] = [d for d in dirs if d != "plyfs"]    # the layout's own: what it merged, and how it was before
                for name in files:
                    full = os.path.join(folder, name)
                    path = os.path.relpath(full, self.tree)
                    if "/" + path in mine or any(re.match(e, path) for e, _ in EXCEPT):
                        continue
                    if os.path.islink(full):
                        data = os.readlink(full).encode()
                    elif stat.S_ISREG(os.lstat(full).st_mode):
                        data = read(full)
                    else:
                        continue
                    for h in hashes:
                        if h in data:
                            self.say(f"/{path}: has the password hash of another component's user")
                    m = word.search(data)
                    if m:
                        self.say(f"/{path}: names {m.group(1).decode()}")
                    for m in as_path.finditer(data):
                        if m.group() in listed:
                            self.say(f"/{path}: names {m.group().decode()}")
                            break


def parse_alternative(text):
    rows = text.split("\n")
    out = {"mode": rows[0], "link": rows[1], "slaves": [], "choices": []}
    i = 2
    while rows[i]:
        out["slaves"].append((rows[i], rows[i + 1]))
        i += 2
    i += 1
    while i < len(rows) and rows[i]:
        path, priority = rows[i], int(rows[i + 1])
        slaves = {s: rows[i + 2 + k] for k, (s, _) in enumerate(out["slaves"])}
        out["choices"].append((path, priority, slaves))
        i += 2 + len(out["slaves"])
    return out


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__.splitlines()[0])
    gold, split, tree = sys.argv[1:4]
    with open(split, encoding="utf-8") as f:
        judge = Judge(Machine(os.path.abspath(gold), json.load(f)), os.path.abspath(tree), sys.argv[4:])
    judge.records()
    judge.leaks()
    if judge.wrong:
        sys.exit(f"{judge.wrong} things are wrong with {', '.join(sorted(judge.names))}")


if __name__ == "__main__":
    main()
