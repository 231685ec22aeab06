#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""plan.py WHAT [PATH] <plan.json: what the tests ask of `plyfs plan --json`.

    decisions       a line for each decision that is not made yet: its paths
    undecided       the paths that are not decided, one a line
    row PATH        "CLASS WHY OUTCOME sub-image,sub-image"; - for what does not apply
    counts          how many of each class
"""
import collections
import json
import sys


def is_undecided(c):
    return c["class"] == "conflict" and c.get("decision", c.get("resolve")) in (None, "undecided", "fail")


def main():
    plan, what = json.load(sys.stdin), sys.argv[1]
    rows = plan["collisions"]
    if what == "decisions":
        groups = collections.defaultdict(list)
        for i, c in enumerate(rows):
            if is_undecided(c):
                groups[c.get("group", c.get("decision_number", i))].append(c["path"])
        for paths in sorted(groups.values()):
            print(*sorted(paths))
    elif what == "undecided":
        print("".join(c["path"] + "\n" for c in rows if is_undecided(c)), end="")
    elif what == "row":
        for c in rows:
            if c["path"] == sys.argv[2]:
                print(c["class"], c.get("why") or "-", c.get("decision") or "-", ",".join(c["sub_images"]))
    elif what == "counts":
        for k, n in sorted(collections.Counter(c["class"] for c in rows).items()):
            print(k, n)


if __name__ == "__main__":
    main()
