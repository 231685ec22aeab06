#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a split puts the files of no package, against trees that have one piece of software alone.

attribution.py TREE SPLIT.json BASE.paths NAME=NAME.paths[:BELOW...]... [--except FILE]

SPLIT.json is that of `plyfs capture TREE --dry-run --list --json`. A path is right where it is os and the
base has it, or in a component and the tree of that software alone has it (and neither the base nor the tree
of software BELOW it). Caches and logs that are os by rule are not judged: /var/cache and /var/log, apt's lists.
FILE has the differences that are allowed, a line each: COMPONENT PATH-GLOB  # reason. One that does not
occur is told. Prints what differs, then the counts; fails below 99 percent, or where a difference is new.
"""
import fnmatch
import json
import os
import sys


def read_paths(name):
    with open(name, 'rb') as f:
        return set(f.read().split(b'\0')) - {b''}


def owned(tree):
    """Paths that packages list, their parents canonical, and what dpkg keeps about each."""
    info = os.path.join(tree, 'var/lib/dpkg/info')
    result, known = set(), {}
    for name in os.listdir(info):
        result.add(b'var/lib/dpkg/info/' + os.fsencode(name))
        if not name.endswith('.list'):
            continue
        with open(os.path.join(info, name), 'rb') as f:
            for line in f:
                parent, _, last = line.rstrip(b'\n').rpartition(b'/')
                if parent not in known:
                    real = os.path.realpath(os.fsencode(tree) + parent)
                    known[parent] = os.path.relpath(real, os.fsencode(os.path.realpath(tree)))
                result.add(os.path.normpath(known[parent] + b'/' + last))
    for name in ('diversions',):
        with open(os.path.join(tree, 'var/lib/dpkg', name), 'rb') as f:
            lines = f.read().split(b'\n')
        result.update(line[1:] for line in lines[1::3])
    return result


def unescape(text):
    if '\\' not in text:
        return os.fsencode(text)
    out, i = b'', 0
    while i < len(text):
        if text[i] == '\\':
            kind = text[i + 1]
            if kind == 'x':
                out += bytes([int(text[i + 2:i + 4], 16)])
                i += 4
                continue
            out += {'n': b'\n', 't': b'\t', 'r': b'\r', '\\': b'\\'}[kind]
            i += 2
            continue
        out += os.fsencode(text[i])
        i += 1
    return out


NOT_JUDGED = ('var/cache/*', 'var/log/*', 'var/lib/apt/lists/*', 'proc/*', 'sys/*', 'dev/*', 'run/*', 'tmp/*',
              'var/lib/ucf/hashfile.*', 'var/lib/ucf/registry.*')


def main():
    args = sys.argv[1:]
    allowed = []
    if '--except' in args:
        at = args.index('--except')
        with open(args[at + 1]) as f:
            for line in f:
                words = line.split('#')[0].split()
                if words:
                    allowed.append([*words, 0])
        del args[at:at + 2]
    tree, split, base, *alone = args
    base = read_paths(base)
    trees, below = {}, {}
    for word in alone:
        name, _, rest = word.partition('=')
        path, *others = rest.split(':')
        trees[name], below[name] = read_paths(path) - base, others
    only = {name: paths.difference(*(trees[b] for b in below[name])) for name, paths in trees.items()}
    listed = owned(tree)
    right = wrong = new = 0
    with open(split) as f:
        paths = json.load(f)['paths']
    for entry in paths:
        path, comp = unescape(entry['path'][1:]), entry['component']
        text = os.fsdecode(path)
        if not path or path in listed:
            continue
        truth = {'os'} if path in base else {n for n in only if path in only[n]}
        members = set(comp.split(',')) if ',' in comp else set(comp.split('+'))
        if members <= truth:
            right += 1
            continue
        if comp == 'os' and any(fnmatch.fnmatch(text, g) for g in NOT_JUDGED):
            continue
        wrong += 1
        for rule in allowed:
            if rule[0] == comp and fnmatch.fnmatch(text, rule[1]):
                rule[2] += 1
                break
        else:
            new += 1
            print(f'{comp}  /{entry["path"][1:]}  is of {", ".join(sorted(truth)) or "no tree alone"}')
    for rule in allowed:
        if not rule[2]:
            print(f'allowed, and does not occur: {rule[0]} {rule[1]}')
    share = right / (right + wrong)
    print(f'{right} right, {wrong} differ, of them {new} new: {100 * share:.2f} %')
    return 1 if new or share < 0.99 else 0


sys.exit(main())
