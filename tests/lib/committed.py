#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""committed.py: transactions of sqlite with synchronous=FULL on a file system that ends in the midst of them.

    committed.py run DB NOTES [--journal delete|wal] [--transactions N]     until nothing answers any more
    committed.py judge DB NOTES        the database is sound, each transaction that was committed is there, whole, and at
                                       most one that was under way; exit code 1 if not

NOTES, which is elsewhere, gets the number of each transaction when its COMMIT has returned.
"""
import argparse
import hashlib
import os
import sqlite3
import sys


def content(n):
    return hashlib.sha256(b"%d" % n).digest() * (1 + n * 37 % 300)


def opened(db):
    c = sqlite3.connect(db, isolation_level=None, timeout=10)
    c.execute("PRAGMA synchronous=FULL")
    return c


def noted(notes):
    if not os.path.exists(notes):
        return 0
    with open(notes, encoding="ascii") as f:
        return max((int(line) for line in f if line.endswith("\n")), default=0)


def run(a):
    c = opened(a.db)
    c.execute(f"PRAGMA journal_mode={a.journal}")
    c.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, last INTEGER, data BLOB)")
    first = c.execute("SELECT coalesce(max(id), 0) FROM rows").fetchone()[0] + 1
    print("# begins", flush=True)
    with open(a.notes, "a", encoding="ascii", buffering=1) as notes:
        try:
            for n in range(first, first + a.transactions):
                c.execute("BEGIN IMMEDIATE")
                c.execute("INSERT INTO rows VALUES (?, ?, ?)", (n, n, content(n)))
                # old pages are changed, too: a transaction that is there in part shows
                c.execute("UPDATE rows SET last = ? WHERE id % 7 = ?", (n, n % 7))
                c.execute("COMMIT")
                notes.write(f"{n}\n")
        except sqlite3.OperationalError as e:
            print(f"# {e}")
    return 0


def judge(a):
    at_least = noted(a.notes)
    c = opened(a.db)
    wrong = [r[0] for r in c.execute("PRAGMA integrity_check") if r[0] != "ok"]
    rows = c.execute("SELECT id, last, data FROM rows ORDER BY id").fetchall()
    last = len(rows)
    if not at_least <= last <= at_least + 1:
        wrong.append(f"{at_least} transactions were committed, {last} are there")
    for n, (number, touched, data) in enumerate(rows, 1):
        # the last transaction before the end that had this one's turn
        if (number, data) != (n, content(n)) or touched != max(n, last - (last - n) % 7):
            wrong.append(f"row {n} is {number}, last {touched}")
    for line in wrong[:20]:
        print(f"# {line}")
    print(f"# {last} transactions")
    return 1 if wrong else 0


def main():
    p = argparse.ArgumentParser(prog="committed.py")
    verbs = p.add_subparsers(dest="verb", required=True)
    for name, function in (("run", run), ("judge", judge)):
        v = verbs.add_parser(name)
        v.set_defaults(function=function)
        v.add_argument("db")
        v.add_argument("notes")
        if name == "run":
            v.add_argument("--journal", choices=("delete", "wal"), default="delete")
            v.add_argument("--transactions", type=int, default=1 << 30)
    a = p.parse_args()
    return a.function(a)


if __name__ == "__main__":
    sys.exit(main())
