# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a selection of a composite image holds: worked out from whole machines held in memory, by the rules as they are
written down (DESIGN section 6, RULES 2 and 6 to 11), by code that shares nothing with the product.

A machine is a dictionary, path -> Node. Files whose content a merge driver makes (DRIVEN) are not judged here, but that
they are there, and their owner and mode. view() is all there is: a tree, and the paths that are in conflict.
"""
import fnmatch
import json
import os
import re
from dataclasses import dataclass, field, replace

DRIVEN = ("/etc/passwd", "/etc/group", "/var/lib/dpkg/status")
# texts of which a second block is valid grammar, and adds to the first
GRANTED = ("/etc/mysql/*.d/*.cnf", "/etc/php/*/conf.d/*.ini", "/etc/sysctl.d/*.conf", "/etc/logrotate.d/*", "/etc/cron.d/*")
NO_DIFFERENCE = ("/var/log/*", "/var/cache/man/*", "/etc/ssh/ssh_host_*", "/etc/machine-id")
ATTRIBUTES = ("data", "mode", "owner", "xattrs", "names")


@dataclass(frozen=True)
class Node:
    kind: str                           # f d l p c b
    mode: int = 0o644
    owner: tuple = (0, 0)
    mtime: int = 0
    data: object = b""                  # content, target, device number
    xattrs: dict = field(default_factory=dict)
    names: frozenset = frozenset()      # of a hard-link group: all of its paths; else empty


@dataclass
class Sub:
    name: str
    tree: dict                          # the whole machine, as it was
    stands: tuple = ()                  # names; all that those stand on too
    ground: bool = False                # of the first capture: `tree` has its paths alone
    entries: dict = None                # path -> (Node, what of it is an override)
    gone: set = field(default_factory=set)
    implied: set = field(default_factory=set)


def match(path, globs):
    return any(fnmatch.fnmatchcase(path, g) for g in globs)


def parents(path):
    while path != "/":
        path = os.path.dirname(path)
        yield path


def differing(a, b, path):
    """Which attributes differ, times apart."""
    if a.kind != b.kind:
        return {"kind", *ATTRIBUTES}
    out = {x for x in ATTRIBUTES if getattr(a, x) != getattr(b, x)}
    return out - {"data"} if path in DRIVEN and a.kind == "f" else out


def accounts(tree, path):
    return [(r[0], int(r[2])) for r in (x.split(":") for x in tree[path].data.decode().splitlines()) if len(r) > 2]


class Ids:
    """Names have one number in an image: who comes first keeps his, a later one takes the lowest that is free."""

    def __init__(self, tree):
        self.known = [dict(accounts(tree, p)) for p in DRIVEN[:2]]

    def maps(self, tree):
        out = []
        for known, path in zip(self.known, DRIVEN):
            out.append({})
            for name, number in accounts(tree, path):
                choices = [number, *range(100 if number < 1000 else 1000, 60000)]
                known.setdefault(name, next(i for i in choices if i not in known.values()))
                out[-1][number] = known[name]
        return out

    def apply(self, tree):
        users, groups = self.maps(tree)
        return {p: replace(n, owner=(users.get(n.owner[0], n.owner[0]), groups.get(n.owner[1], n.owner[1])))
                for p, n in tree.items()}


def cut(sub, parent):
    """The difference of a machine to what it stands on."""
    sub.entries = {}
    for path, node in sub.tree.items():
        below = parent.get(path)
        if below is None:
            sub.entries[path] = (node, set())
        elif not match(path, NO_DIFFERENCE):
            mask = differing(node, below, path)
            if path in DRIVEN and node.data != below.data:
                mask.add("data")
            if mask:
                sub.entries[path] = (node, mask)
    sub.gone = {p for p in parent if p not in sub.tree and not match(p, NO_DIFFERENCE)}
    # directories that stand in it only for what is below them
    sub.implied = {q for p in [*sub.entries, *sub.gone] for q in parents(p)} & (sub.tree.keys() - sub.entries.keys())


def is_text(data):
    return b"\0" not in data and all(c >= 32 or c in b"\t\n\r\f" for c in data)


def keys(data):
    """(section, key) -> values"""
    section, out = "", {}
    for line in data.decode().splitlines():
        if re.match(r"\s*\[.*\]", line):
            section = line.strip()
        elif "=" in line and not line.lstrip().startswith(("#", ";")):
            key, value = line.split("=", 1)
            out.setdefault((section, key.strip()), set()).add(value.strip())
    return out


def vetoed(data):
    """A look at a text: that a second block in it would be invalid, dead, or mean something else."""
    text = data.decode()
    if "-----BEGIN " in text or text.startswith(("#!", "---\n")) or re.match(r"\s*<[?!a-zA-Z]", text) or "[Unit]" in text:
        return True
    try:
        return isinstance(json.loads(text), (dict, list))
    except ValueError:
        return False


def may_append(a, b):
    ka, kb = keys(a), keys(b)
    return not vetoed(a) and not vetoed(b) and all(ka[k] == kb[k] for k in ka.keys() & kb.keys())


def append(texts):
    out, seen = b"", []
    for text in texts:
        if text not in seen:
            seen.append(text)
            out += (b"\n" if out and not out.endswith(b"\n") else b"") + text
    return out


def three_way(base, a, b):
    """Line by line, of texts that have as many lines; None where changes meet or are neighbours."""
    rows = [x.splitlines(keepends=True) for x in (base, a, b)]
    if len({len(r) for r in rows}) != 1:
        return None
    changed = [{i for i, line in enumerate(r) if line != rows[0][i]} for r in rows]
    if any(i - j in (-1, 0, 1) and rows[1][i] != rows[2][i] for i in changed[1] for j in changed[2]):
        return None
    return b"".join(rows[2][i] if i in changed[2] else line for i, line in enumerate(rows[1]))


class Composite:
    def __init__(self, subs, only_append=False):
        self.subs = subs                # in the order of their ranks
        self.rank = {s.name: i for i, s in enumerate(subs)}
        self.of = {s.name: s for s in subs}
        self.only_append = only_append  # --on-collision=append
        self.views = {}
        self.ids = Ids(subs[0].tree)
        for s in subs:
            if s.ground:
                s.entries = {p: (n, set()) for p, n in s.tree.items()}
            else:
                s.tree = self.ids.apply(s.tree)
                cut(s, self.plain(s.stands))

    def closure(self, names):
        out = {"os"}
        for n in names:
            out |= {n, *self.closure(self.of[n].stands)} if n != "os" else set()
        return out

    def plain(self, names):
        """The view of names that hold no conflict."""
        key = frozenset(self.closure(names))
        if key not in self.views:
            self.views[key] = self.view(key, {})[0]
        return self.views[key]

    def above(self, a, b):
        """Does a stand on b?"""
        return not a.ground and b.name in self.closure([a.name]) - {a.name}

    def base(self, a, b, path):
        return self.plain(self.closure(a.stands) & self.closure(b.stands)).get(path)

    def conflict(self, path, a, b):
        """a, b: (sub, Node or None, mask, implied)"""
        na, nb, base = a[1], b[1], self.base(a[0], b[0], path)
        if na is None or nb is None:
            left = b if na is None else a
            return base is not None and na is not nb and not left[3]
        if na.kind != nb.kind:
            return True
        if na.kind == "d":
            return not a[3] and not b[3] and base is not None and bool(self.both_changed(na, nb, base, path))
        wrong = self.both_changed(na, nb, base, path)
        if wrong - {"data"} or not wrong:
            return bool(wrong)
        if na.kind != "f" or not is_text(na.data) or not is_text(nb.data):
            return True
        if base is not None and base.kind == "f":
            return not is_text(base.data) or three_way(base.data, na.data, nb.data) is None
        return not (match(path, GRANTED) and may_append(na.data, nb.data))

    def both_changed(self, na, nb, base, path):
        return {x for x in differing(na, nb, path) if base is None or base.kind != na.kind or
                (getattr(na, x) != getattr(base, x) and getattr(nb, x) != getattr(base, x))}

    def appendable(self, path, heads):
        """New texts that differ in nothing else, and that no look vetoes."""
        return all(a[1] and b[1] and differing(a[1], b[1], path) <= {"data"} and a[1].kind == "f" and
                   not self.base(a[0], b[0], path) and is_text(a[1].data) and is_text(b[1].data) and
                   may_append(a[1].data, b[1].data) for i, a in enumerate(heads) for b in heads[:i])

    def heads(self, members, path):
        found = []
        for s in members:
            if path in s.entries:
                found.append((s, *s.entries[path], False))
            elif path in s.implied:
                found.append((s, s.tree[path], set(), True))
            elif path in s.gone:
                found.append((s, None, {"kind"}, False))
        return found, [h for h in found if not any(self.above(o[0], h[0]) for o in found)]

    def merged(self, path, heads):
        """One file of several heads that are no conflict."""
        first = heads[0][1]
        if all(not differing(first, h[1], path) for h in heads[1:]):
            return first
        base = self.plain(set.intersection(*(self.closure(h[0].stands) for h in heads))).get(path)
        changes = [(h[1], ATTRIBUTES if base is None else differing(h[1], base, path)) for h in heads]
        attributes = {x: next((getattr(n, x) for n, c in changes if x in c), getattr(first, x)) for x in ("mode", "owner", "xattrs")}
        changed = [n for n, c in changes if "data" in c]
        texts = list(dict.fromkeys(n.data for n in changed))
        data = texts[0] if texts else first.data
        for text in texts[1:]:
            data = append((data, text)) if base is None else three_way(base.data, data, text)
        mtime = max(n.mtime for n in changed) if len({h[1].data for h in heads}) > 1 and changed else first.mtime
        return replace(first, **attributes, data=data, mtime=mtime, names=frozenset())

    def directory(self, path, found):
        """Of what is joined here: the lowest that is there for itself, then what others override."""
        dirs = [h for h in found if h[1] is not None and h[1].kind == "d"]
        plain = [h for h in dirs if not h[3] and not h[2]] or [h for h in dirs if not h[3]] or dirs
        node = plain[0][1]
        for h in dirs:
            node = replace(node, **{x: getattr(h[1], x) for x in h[2] & {"mode", "owner", "xattrs"}})
        return node

    def view(self, names, policy):
        """policy: path -> first, last, append, keep-both. Returns the tree, and the paths that are not decided."""
        members = [s for s in self.subs if s.name in self.closure(names)]
        every = {p for s in members for p in [*s.entries, *s.implied, *s.gone]}
        tree, open_conflicts, blocked = {}, set(), set()
        for path in sorted(every):
            if any(p in blocked for p in parents(path)):
                continue
            found, contenders = self.heads(members, path)
            heads = [h for h in contenders if h[1] is not None]
            split = any(self.conflict(path, a, b) for i, a in enumerate(contenders) for b in contenders[:i])
            rule = policy.get(path) if split else None
            if split and rule is None and self.only_append and self.appendable(path, contenders):
                rule = "append"
            if split and rule is None:
                open_conflicts.add(path)
                blocked.add(path)
                continue
            if split and rule in ("first", "last"):
                heads = [h for h in [contenders[0 if rule == "first" else -1]] if h[1] is not None]
            if not heads:
                blocked.add(path)
            elif split and rule == "append":
                texts = [h[1].data for h in heads]
                tree[path] = replace(heads[0][1], data=append(texts), mtime=max(h[1].mtime for h in heads), names=frozenset())
            elif split and rule == "keep-both":
                tree[path] = heads[0][1]
                for h in heads[1:]:
                    tree[f"{path}.plyfs-{h[0].name}"] = h[1]
            elif heads[0][1].kind != "d":
                tree[path] = heads[0][1] if len(heads) == 1 else self.merged(path, heads)
            elif split and rule in ("first", "last") and not any(h[1] and h[1].kind != "d" for h in contenders):
                tree[path] = replace(self.directory(path, found), **{x: getattr(heads[0][1], x) for x in ("mode", "owner", "xattrs")})
            else:
                tree[path] = self.directory(path, found)
            if path in tree and tree[path].kind != "d":
                blocked.add(path)
        return tidy(tree), open_conflicts


def tidy(tree):
    """Link groups are the names that are left."""
    return {p: replace(n, names=frozenset(q for q in n.names if q in tree and tree[q].names == n.names)) if n.names else n
            for p, n in tree.items()}
