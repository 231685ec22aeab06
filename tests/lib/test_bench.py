#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bench judges by its own rules, refuses what it cannot run, runs from end to end on a tree of a few
files, and leaves nothing behind when it is interrupted. No figure is looked at: only what is counted."""
import json
import math
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
import peers  # noqa: E402
import workloads  # noqa: E402

RUN, RESULTS = os.path.join(BENCH, "run"), os.path.join(BENCH, "results")
COMPARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare.py")
BUILD = os.environ["PLYFS_BUILD"]
ROOT_ONLY = ("runs_from_end_to_end", "floors_make_the_tree", "layout_from_end_to_end", "interrupted_it_leaves_nothing")
LAYOUT_TOOLS = ("unsquashfs", "zstd | tar", "fsck.erofs", "wimapply")
FLOORS = ("floor: decompress", "floor: create", "floor: write", "floor: CPU / cores")
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


def best_runs_decide_nothing():
    two = rows(plyfs=[sample(x) for x in (1.0, 3.0, 4.0)], a=[sample(x) for x in (2.0, 3.0, 9.0)], loud=[sample(0.1, foreign=1.0)])
    got = [goals.judge(limit(them, 1), two) for them in (("a",), ("loud",), ())]
    got = [(v["verdict"], v["value"], v["best"]) for v in got]
    return got == [("held", 1.0, 0.5), ("not judged (foreign load)", None, None), ("missed", 3.0, None)], got


def a_limit_may_look_at_another_tool_of_ours():
    two = rows(plyfs=[sample(1.0)], plyfs_durable=[sample(3.0)], a=[sample(2.0)])
    other = limit(("a",), 1)._replace(tool="plyfs durable")
    got = [verdict(two, limit(("a",), 1)), verdict(two, other), verdict(rows(plyfs=[sample(1.0)], a=[sample(2.0)]), other)]
    want = [("held", 0.5, "a"), ("missed", 1.5, "a"), ("not judged (no figure)", None, None)]
    return got == want, got


def limits_of_layout():
    """What each is held against, and at which ratio it begins to miss."""
    def measures(**tools):
        return {"layout": {"measures": measure.summarize({m: {**{k: [sample(1.0)] for k in (*LAYOUT_TOOLS, "floor: CPU / cores")},
                                                              **{k.replace("_", " "): [v] for k, v in tools.items()}}
                                                          for m in ("image cold", "image cold, with the final sync")})}}

    def missed(**ours):
        return [v["name"].split(", ", 1)[-1] for v in goals.judge_all(measures(**ours)) if v["verdict"] == "missed"]
    quick = {"cpu_s": 0.5, "peak_mib": 1.0}
    got = [missed(plyfs={**sample(w), **quick, **more}, plyfs_durable={**sample(d), **quick})
           for w, d, more in ((0.49, 1.04, {}), (0.51, 1.06, {}), (0.68, 0.5, {}), (0.78, 0.5, {}), (1.1, 0.5, {}), (1.6, 0.5, {}),
                              (0.4, 0.4, {"peak_mib": 1.26, "cpu_s": 1.01}))]
    tar, twice, durable = "1.5 times faster than zstd | tar", "twice as fast as zstd | tar", "durable, at most 1.05 of the fastest peer with the final sync"
    third, synced = "1.3 times faster than unsquashfs", "at most 1.05 of the fastest peer"
    want = [[], [twice, durable], [tar, twice], [tar, third, twice], [tar, third, twice, synced],
            ["at most 1.15 of unsquashfs", tar, third, twice, synced, "within 1.5 of (CPU of decompression + of creating and writing) / cores"],
            ["at most a quarter of unsquashfs's memory", "CPU seconds, no more than unsquashfs"]]
    essential = {"plyfs", "plyfs durable", "floor", *LAYOUT_TOOLS}
    return got == want and goals.essential("layout") == essential, [*got, goals.essential("layout")]


def a_sync_is_part_of_its_tool():
    got = measure.with_sync({**sample(2.0, foreign=0.5), "sync_s": 9.0}, {**sample(1.0), "peak_mib": 7.0})
    want = {"wall_s": 3.0, "cpu_s": 3.0, "kernel_cpu_s": 0.0, "peak_mib": 7.0, "daemon_peak_mib": 0.0, "window_s": 3.0,
            "foreign_cpu_s": 1.0 * measure.NCPU}
    return got == want, got


def floors_are_rows():
    parts = {"decompress": {"wall_s": 1.0, "cpu_s": 2.0, "bytes": 5}, "create": {"wall_s": 0.5, "cpu_s": 0.5, "bytes": 0},
             "write": {"wall_s": 2.0, "cpu_s": 4.0, "bytes": 6}, "sync": {"wall_s": 7.0, "cpu_s": 1.0, "bytes": 0}}
    found = workloads.floor_rows(parts, sample(20.0), 4)
    cold, synced = "image cold", "image cold, with the final sync"
    measures = {cold: {"plyfs": [1]}, synced: {"plyfs": [2]}, **{k: {"floor": [v]} for k, v in found.items()}, "floor: lost": {}}
    out = workloads.with_floors(measures)
    got = {m: {row: (s[0]["wall_s"], s[0]["cpu_s"], s[0].get("bytes")) for row, s in of.items() if row != "plyfs"} for m, of in out.items()}
    want = {cold: {"floor: decompress": (1.0, 2.0, 5), "floor: create": (0.5, 0.5, None), "floor: write": (2.0, 4.0, 6),
                   "floor: CPU / cores": (1.5, 6.0, None)}, synced: {"floor: write": (9.0, 5.0, None)}}
    return got == want and out[cold]["plyfs"] == [1], got


def what_a_program_needs_is_found():
    own = measure.files_of(["tar"])
    loader = [path for path in own if os.path.basename(path).startswith("ld-linux")]
    folders = ":".join(sorted({os.path.dirname(path) for path in own[1:]}))
    # another loader than the program's own, as a private root has it
    shutil.copy(loader[0], "ld.so")
    by_loader = measure.files_of([os.path.abspath("ld.so"), "--library-path", folders, own[0]])
    facts = [all(os.path.isfile(path) for path in own + by_loader), os.path.abspath("ld.so") in by_loader, own[0] == shutil.which("tar"), any("/libc.so." in path for path in own), all(os.path.isabs(path) for path in own),
             by_loader[0] == own[0], any("/libc.so." in path for path in by_loader), measure.files_of([RUN]) == [RUN]]
    measure.warm_files(own)
    return all(facts), [facts, own, by_loader]


def what_unpacks_an_image():
    """plyfs durable or like its peers; fsck.erofs with xattrs where it has such an option."""
    here = peers.Peers("/build", ".", False)
    got = [("--no-sync" in here.extract_argv("i", "plyfs", "/to", d), here.extract_programs("plyfs")) for d in (False, True)]
    path = os.environ["PATH"]
    for says in ("--extract", "--extract --[no-]xattrs"):
        with open("fsck.erofs", "w") as f:
            f.write(f"#!/bin/sh\necho '{says}'\n")
        os.chmod("fsck.erofs", 0o755)
        os.environ["PATH"] = os.getcwd() + ":" + path
        got.append(("--xattrs" in here.extract_argv("i", "erofs", "/to"), here.extract_programs("erofs")))
        os.environ["PATH"] = path
    program = [[os.path.abspath("fsck.erofs")]]
    return got == [(True, [["/build/bin/plyfs"]]), (False, [["/build/bin/plyfs"]]), (False, program), (True, program)], got


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
           measure.wanted_runs(5, 70, False), measure.wanted_runs(5, 7, True), measure.wanted_runs(5, 70, True),
           measure.wanted_runs(5, 70, True, math.inf), measure.wanted_runs(5, 70, False, math.inf)]
    return got == [["plyfs", "bad", "it", "plyfs", "it"], ["bad"], ["it", "plyfs"], 5, 1, 1, 5, 3, 5, 1], got


def run(*args, program=RUN, build=BUILD, **kw):
    r = subprocess.run([program, *args], env={**os.environ, "PLYFS_BUILD": build}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False, **kw)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def refusals():
    bad = [run("nosuch"), run("extract"), run("--runs", "0"), run("--many", "x"), run("--tree", "/nosuch"), run("--peers", "all"), run("--tools", "nosuch")]
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
    with open("y.json", "w") as f:      # a later run of one workload: it takes the place of the earlier one, the others stay
        walk = {"walk": {"measures": {"find of another run": got["workloads"]["walk"]["measures"]["find cold"]}}}
        json.dump({**got, "workloads": walk, "verdicts": [{**v, "verdict": "not run"} for v in got["verdicts"]]}, f)
    both = results("x.json", "y.json")
    warm = [v for v in got["verdicts"] if v["unit"] == "requests"][0]
    facts = [set(got["workloads"]) == {"capture", "walk"}, any(s["what"] == "exec" for s in got["skips"]),
             got["checked"]["plyfs mount"]["is_same"], warm["verdict"] == "held", md[0] == 0 and "## Walks" in md[1],
             "find of another run" in both[1] and "find cold\n" not in both[1] and "## Capture" in both[1],
             both[1].split("## Capture")[0] == md[1].split("## Capture")[0], results("x.json", "nosuch")[0] == 2,
             f"{len(got['skips'])} skipped" in r[1], sorted(os.listdir("work")) == ["lock", "mnt"], not os.listdir("work/mnt")]
    return all(facts), [facts, *r, md[2]]


def floors(*args):
    r = subprocess.run([os.path.join(BUILD, "bench", "floors"), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def make_odd_tree():
    """Some of each that a floor has to make, and more data than one block has."""
    make_tree()
    os.mkfifo("tree/d/fifo", 0o640)
    os.link("tree/d/1", "tree/link-to-1")
    with open("tree/sparse", "wb") as f:
        f.truncate(1 << 20)
        f.seek(512 << 10)
        f.write(os.urandom(200_000))
    os.chmod("tree/d/2", 0o4751)
    os.chown("tree/d/3", 12, 34)
    os.utime("tree/d", ns=(0, 1_234_567_890_123_456_789))
    os.utime("tree/link", ns=(0, 987_654_321), follow_symlinks=False)


def floors_make_the_tree():
    make_odd_tree()
    try:
        os.setxattr("tree/d/4", "user.x", b"y" * 100)
    except OSError:
        pass                # a tmpfs of an older kernel
    subprocess.run([os.path.join(BUILD, "bin", "plyfs"), "capture", "tree", "x.plyfs", "--progress=never"], stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, check=True)
    os.mkdir("to")
    r = floors("x.plyfs", "tree", "to", "3")
    got = json.loads(r[1]) if r[0] == 0 else {}
    names = ("decompress", "create", "write", "sync")
    same = subprocess.run([sys.executable, COMPARE, "tree", "to/write", "--skip", "mtime,mode,owner"], stdout=subprocess.PIPE, check=False)
    # all but the top, which was there before
    strict = subprocess.run([sys.executable, COMPARE, "tree/d", "to/write/d"], stdout=subprocess.PIPE, check=False)
    made = sum(len(dirs) + len(files) for _, dirs, files in os.walk("tree"))
    data = sum(len(str(i)) * 1000 for i in range(20)) + 200_000
    there = [os.path.join(where, name) for where, dirs, files in os.walk("to/create") for name in dirs + files]
    facts = [r[0] == 0 and list(got) == list(names), same.returncode == 0, strict.returncode == 0, len(there) == made,
             not any(os.path.getsize(p) for p in there if os.path.isfile(p) and not os.path.islink(p)),
             all(got.get(n, {}).get("wall_s", 0) > 0 for n in names),
             # names with little in them lie elsewhere in the image; holes, nowhere
             200_000 <= got.get("decompress", {}).get("bytes", 0) <= 300_000, data <= got.get("write", {}).get("bytes", 0) <= data + 8192]
    return all(facts), [facts, *r, same.stdout.decode(), strict.stdout.decode(), made, len(there)]


def floors_of_what_is_none():
    make_tree()
    os.mkdir("to")
    with open("none", "w") as f:
        f.write("no image")
    bad = [floors("none", "tree", "to", "2"), floors("nosuch", "tree", "to", "2"), floors("none", "tree", "nosuch", "2")]
    wrong = [floors(), floors("none", "tree", "to", "0"), floors("none", "tree", "to", "x"), floors("none", "tree", "to", "2", "more")]
    facts = [all(r[0] == 1 and r[1] == "" for r in bad), all(r[0] == 2 and "usage" in r[2] for r in wrong),
             "none" in bad[0][2], "nosuch" in bad[1][2], "nosuch" in bad[2][2], not os.listdir("to")]
    return all(facts), [facts, *bad, *wrong]


def layout_from_end_to_end():
    make_odd_tree()
    r = run("--tree", "tree", "--runs", "2", "--work", "work", "--json", "x.json", "--tools",
            ",".join((*LAYOUT_TOOLS, "floor", "plyfs durable")), "layout")
    if r[0] not in (0, 1):
        return False, r
    with open("x.json") as f:
        got = json.load(f)
    of, md = got["workloads"]["layout"]["measures"], results("x.json")
    cold, synced = of["image cold"], of["image cold, with the final sync"]
    checked, skipped = got["checked"], {s["what"] for s in got["skips"]}
    judged = {v["name"]: v["verdict"] for v in got["verdicts"] if v["name"].startswith("layout")}
    those = [t for t in LAYOUT_TOOLS if t in cold]
    facts = [set(FLOORS) | {"plyfs", "unsquashfs", "zstd | tar"} <= set(cold), "plyfs durable" not in cold,
             {"plyfs", "plyfs durable", "floor: write", *those} == set(synced),
             all(r["n"] == 2 for r in (*cold.values(), *synced.values())),
             all(w > c for t in ("plyfs", *those) for w, c in zip(synced[t]["wall_s"]["runs"], cold[t]["wall_s"]["runs"])),
             checked["plyfs layout"]["is_same"] and checked["plyfs layout, durable"]["is_same"], set(those) <= set(checked),
             checked["zstd | tar"]["is_same"], len(judged) == 9 and "not run" not in judged.values(),
             judged["layout, at most a quarter of unsquashfs's memory"] in ("held", "missed"),
             set(LAYOUT_TOOLS) - set(those) <= skipped, md[0] == 0 and "## Layout" in md[1],
             sorted(os.listdir("work")) == ["lock", "mnt"], not os.listdir("work/mnt")]
    return all(facts), [facts, *r, md[2], sorted(cold), sorted(synced), checked, judged]


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
    tests = (medians_and_ratios, foreign_load_is_no_ratio, verdicts, best_runs_decide_nothing, a_limit_may_look_at_another_tool_of_ours,
             limits_of_layout, a_sync_is_part_of_its_tool, floors_are_rows, what_a_program_needs_is_found, what_unpacks_an_image,
             only_gates_fail, tools_alternate_and_slow_ones_are_not_repeated, refusals, results_of_what_is_none, floors_of_what_is_none,
             floors_make_the_tree, runs_from_end_to_end, layout_from_end_to_end, interrupted_it_leaves_nothing)
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
