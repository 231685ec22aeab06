#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bench judges by its own rules, refuses what it cannot run, runs from end to end on a tree of a few
files, and leaves nothing behind when it is interrupted. No figure is looked at: only what is counted."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
sys.path.insert(0, os.path.abspath(BENCH))
import goals  # noqa: E402
import measure  # noqa: E402

RUN, RESULTS = os.path.join(BENCH, "run"), os.path.join(BENCH, "results")
BUILD = os.environ["PLYFS_BUILD"]
ROOT_ONLY = ("runs_from_end_to_end", "interrupted_it_leaves_nothing")
TRIES = 3000        # 10 ms apart


def sample(wall, foreign=0.0, window=None, **more):
    window = window or max(wall, 1.0)
    return {"wall_s": wall, "cpu_s": wall, "kernel_cpu_s": 0.0, "peak_mib": 5.0, "daemon_peak_mib": 0.0, "window_s": window,
            "foreign_cpu_s": foreign * window * measure.NCPU, **more}


def rows(**tools):
    return {"w": {"measures": measure.summarize({"m": {k.replace("_", " "): v for k, v in tools.items()}})}}


def limit(peers, value, metric="wall_s", kind="gate"):
    return goals.Limit(kind, "name", "w", "m", metric, peers, value)


def verdict(of, limits):
    v = goals.judge(limits, of)
    return v["verdict"], v["value"] if v["value"] is None else round(v["value"], 3), v["against"]


def medians_and_ratios():
    got = measure.summarize({"m": {"plyfs": [sample(x) for x in (3, 1, 2)], "it": [sample(4)]}})["m"]
    return [got["plyfs"]["wall_s"], got["it"]["plyfs_over_it"], got["plyfs"]["n"]] == [{"median": 2, "best": 1, "runs": [3, 1, 2]}, 0.5, 3], got


def foreign_load_is_no_ratio():
    loud = rows(plyfs=[sample(1)], it=[sample(2, foreign=0.21)])
    quiet = rows(plyfs=[sample(1)], it=[sample(2, foreign=0.19)])
    # a window too short to see anything in is judged by all that the tool did
    short = measure.summarize({"m": {"plyfs": [sample(1)], "it": [sample(0.1, foreign=1.0, window=0.1)]},
                               "n": {"it": [sample(9, foreign=0.0)]}})
    got = [loud["w"]["measures"]["m"]["it"]["plyfs_over_it"], quiet["w"]["measures"]["m"]["it"]["plyfs_over_it"],
           round(short["m"]["it"]["foreign"], 3), json.dumps(loud["w"]["measures"]["m"]["it"]["plyfs_over_it"])]
    return got == [None, 0.5, 0.011, "null"], got


def verdicts():
    two = rows(plyfs=[sample(1.0, bytes=103)], a=[sample(2.0, bytes=100)], b=[sample(4.0, foreign=0.5)], d=[sample(8.0)])
    got = [verdict(two, limit(("a", "d"), 0.4)), verdict(two, limit(("a",), 0.5)), verdict(two, limit(("a",), 0.49)), verdict(two, limit(("a", "b"), 0.5)),
           verdict(two, limit(("a", "b"), 0.4)), verdict(two, limit(("b",), 1)), verdict(two, limit(("c",), 1)),
           verdict({}, limit(("a",), 1)), verdict(two, limit((), 5, "peak_mib")), verdict(two, limit((), 4, "peak_mib")),
           verdict(two, limit(("a",), 1.0, "bytes")), verdict(two, limit((), 1, "requests"))]
    want = [("missed", 0.5, "a"), ("held", 0.5, "a"), ("missed", 0.5, "a"), ("not judged (foreign load)", 0.5, "a"), ("missed", 0.5, "a"),
            ("not judged (foreign load)", None, None), ("not judged (no peer)", None, None), ("not run", None, None),
            ("held", 5.0, None), ("missed", 5.0, None), ("missed", 1.03, "a"), ("not judged (no figure)", None, None)]
    return got == want, got


def only_gates_fail():
    v = [{"kind": "gate", "name": "g", "verdict": "missed"}, {"kind": "goal", "name": "h", "verdict": "missed"},
         {"kind": "gate", "name": "i", "verdict": "not judged (foreign load)"}]
    return goals.gates_missed(v) == ["g"] and goals.gates_missed(v[1:]) == [], v


def tools_alternate_and_slow_ones_are_not_repeated():
    order, failed = [], []

    def tool(name, fails=False):
        def one_pass():
            order.append(name)
            if fails:
                raise measure.Failed("no")
            return {"m": sample(1)}
        return one_pass
    out = measure.alternate(2, {"plyfs": tool("plyfs"), "bad": tool("bad", True), "it": tool("it")}, {"plyfs"},
                            lambda name, e: failed.append(name), lambda text: None)
    got = [order, failed, sorted(out["m"]), measure.wanted_runs(5, 1, False), measure.wanted_runs(5, 7, False),
           measure.wanted_runs(5, 70, False), measure.wanted_runs(5, 7, True), measure.wanted_runs(5, 70, True)]
    return got == [["plyfs", "bad", "it", "plyfs", "it"], ["bad"], ["it", "plyfs"], 5, 1, 1, 5, 3], got


def run(*args, program=RUN, build=BUILD, **kw):
    r = subprocess.run([program, *args], env={**os.environ, "PLYFS_BUILD": build}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False, **kw)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def refusals():
    bad = [run("nosuch"), run("--runs", "0"), run("--many", "x"), run("--tree", "/nosuch"), run("--peers", "all"), run("--tools", "nosuch")]
    if os.geteuid() == 0:
        # a copy, where others can reach it
        os.chmod(".", 0o755)
        shutil.copytree(BENCH, "bench")
        bad += [run("walk", program=os.path.abspath("bench/run"), user=65534, group=65534, extra_groups=[]), run("walk", build="/nosuch/gcc"), run("walk", build="/x/clang-address")]
    else:
        bad.append(run("walk"))
    good = run("--help")
    return all(r[0] == 2 and r[1] == "" and r[2].strip() for r in bad) and good[0] == 0 and "Workloads:" in good[1], [*bad, good]


def results(*args):
    r = subprocess.run([RESULTS, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def results_of_what_is_none():
    with open("x.json", "w") as f:
        f.write('{"schema": 1}')
    bad = [results(), results("nosuch"), results("x.json"), results(RUN)]
    return all(r[0] == 2 and r[1] == "" for r in bad) and results("--help")[0] == 0, bad


def make_tree():
    os.makedirs("tree/d")
    for i in range(20):
        with open(f"tree/d/{i}", "w") as f:
            f.write(str(i) * 1000)
    os.symlink("d/1", "tree/link")


def runs_from_end_to_end():
    make_tree()
    r = run("--tree", "tree", "--runs", "1", "--work", "work", "--json", "x.json", "--tools", "mksquashfs",
            "capture", "walk", "exec")
    if r[0] not in (0, 1):
        return False, r
    with open("x.json") as f:
        got = json.load(f)
    md = results("x.json")
    warm = [v for v in got["verdicts"] if v["unit"] == "requests"][0]
    facts = [set(got["workloads"]) == {"capture", "walk"}, any(s["what"] == "exec" for s in got["skips"]),
             got["checked"]["plyfs mount"]["is_same"], warm["verdict"] == "held", md[0] == 0 and "## Walks" in md[1],
             f"{len(got['skips'])} skipped" in r[1], sorted(os.listdir("work")) == ["lock", "mnt"], not os.listdir("work/mnt")]
    return all(facts), [facts, *r, md[2]]


def interrupted_it_leaves_nothing():
    make_tree()
    work = os.path.realpath("work")
    p = subprocess.Popen([RUN, "--tree", "tree", "--runs", "1000", "--work", work, "--tools", "mksquashfs",
                          "walk"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for _ in range(TRIES):
        with open("/proc/self/mountinfo") as f:
            if work in f.read() or p.poll() is not None:
                break
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    err = p.communicate()[1].decode()
    with open("/proc/self/mountinfo") as f:
        facts = [p.returncode == 130, work not in f.read(), sorted(os.listdir(work)) == ["lock", "mnt"]]
    return all(facts), [facts, os.listdir(work), err]


def main():
    tests = (medians_and_ratios, foreign_load_is_no_ratio, verdicts, only_gates_fail, tools_alternate_and_slow_ones_are_not_repeated,
             refusals, results_of_what_is_none, runs_from_end_to_end, interrupted_it_leaves_nothing)
    print(f"1..{len(tests)}")
    bad, lacks = 0, None
    if os.geteuid():
        lacks = "needs root: mounts"
    elif not os.access("/proc/sys/vm/drop_caches", os.W_OK):
        lacks = "drop_caches is not allowed"
    elif not os.path.exists("/dev/fuse"):
        lacks = "there is no /dev/fuse"
    elif "-" in os.path.basename(BUILD):
        lacks = "a build with sanitizers is not measured"
    for i, test in enumerate(tests, 1):
        if lacks and test.__name__ in ROOT_ONLY:
            print(f"ok {i} - {test.__name__} # SKIP {lacks}")
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as top:
            os.chdir(top)
            good, seen = test()
            os.chdir("/")
        bad += not good
        print(f"{'ok' if good else 'not ok'} {i} - {test.__name__}", flush=True)
        if not good:
            print("\n".join("# " + line for x in seen for line in str(x).splitlines()))
    return 1 if bad else 0


sys.exit(main())
