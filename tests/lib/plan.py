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
    return c["decision"] in ("undecided", "fail")


def main():
    plan, what = json.load(sys.stdin), sys.argv[1]
    rows = plan["items"]
    if what == "decisions":
        groups = collections.defaultdict(list)
        for c in rows:
            if is_undecided(c):
                groups[c["set"]].append(c["path"])
        for paths in sorted(groups.values()):
            print(*sorted(paths))
    elif what == "undecided":
        print("".join(c["path"] + "\n" for c in rows if is_undecided(c)), end="")
    elif what == "row":
        for c in rows:
            if c["path"] == sys.argv[2]:
                print(c["class"], c["why"], c["decision"] or "-", ",".join(x["sub_image"] for x in c["contenders"]))
    elif what == "counts":
        for k, n in sorted(collections.Counter(c["class"] for c in rows).items()):
            print(k, n)


if __name__ == "__main__":
    main()
