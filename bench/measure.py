# SPDX-License-Identifier: LGPL-2.1-or-later
"""One command's cost, and what the machine did meanwhile.

Wall clock, CPU seconds and peak memory come from the meter (meter.c). CPU seconds of a daemon are its process's
clock, to the nanosecond; its peak is VmHWM since its start. CPU that was not idle in the meantime, and
was neither ours nor the kernel threads', is foreign load; what kernel threads used (loop devices, writeback,
kworkers that decompress for erofs) stands beside it, since it is partly the work of the tool itself. Time stolen by
the hypervisor is not idle, so it is foreign.
"""
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
NCPU = os.cpu_count()
FOREIGN_MAX = 0.20          # above this a comparison says nothing
SHORT_S = 1.0               # windows shorter than this in sum are too short to see foreign load in
PATIENCE_S = 12.0           # a tool that no gate or goal looks at gets RUNS runs, or as many as this allows
TELL_S = 0.5                # passes shorter than this are not worth a line
PF_KTHREAD = 0x00200000


class Failed(Exception):
    """A command that should have worked."""


def idle():
    """Seconds that CPUs had nothing to run, summed over them."""
    with open("/proc/stat") as f:
        fields = f.readline().split()
    return (int(fields[4]) + int(fields[5])) / TICK


def process_cpu(pid):
    """CPU seconds of a process and all threads that it ever had; 0 when it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def kernel_threads():
    """{pid: CPU seconds}"""
    out = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            if int(fields[6]) & PF_KTHREAD:
                out[pid] = (int(fields[11]) + int(fields[12])) / TICK
                with open(f"/proc/{pid}/schedstat") as f:
                    out[pid] = int(f.read().split()[0]) / 1e9
        except (OSError, IndexError, ValueError):
            pass
    return out


def memory_kib(pid, key):
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def available_bytes():
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def drop_caches():
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def warm_programs(*names):
    """Their pages are no file system's doing, and cost as much as a walk."""
    for name in names:
        subprocess.run([name, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def files_of(argv):
    """What must be in memory for a program to start at once: its file, its loader, its shared objects. More
    words than one are a loader that is told what to start, and how."""
    program = shutil.which(argv[-1]) or argv[-1]
    tell = [*argv[:-1], "--list", program] if len(argv) > 1 else ["ldd", program]
    told = subprocess.run(tell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    found = re.findall(r"^(?:.* => |\s*)(/.*) \(0x", os.fsdecode(told), re.MULTILINE)
    return list(dict.fromkeys([program, *found]))


def warm_files(paths):
    for path in paths:
        with open(path, "rb") as f:
            while f.read(1 << 20):
                pass


def text_end(data, limit=400):
    return " ".join(data.decode(errors="replace").split())[-limit:]


def call(argv, **kw):
    """Run something that is not measured."""
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kw)
    if r.returncode:
        raise Failed(f"{' '.join(map(str, argv))}: exit code {r.returncode}: {text_end(r.stderr or r.stdout)}")
    return r.stdout


class Meter:
    def __init__(self, program, out):
        self.program, self.out = program, out

    def run(self, argv, daemon=None, until="-", find_daemon=None, cwd=None):
        """Returns a sample. @daemon: pid of who serves the file system; @find_daemon: a function that
        knows it afterwards, for commands that start one; @until: a path looked up at the end."""
        kernel0, daemon0 = kernel_threads(), process_cpu(daemon) if daemon else 0.0
        self0, children0 = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        t0, idle0 = time.monotonic(), idle()
        r = subprocess.run([self.program, self.out, until, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, cwd=cwd, check=False)
        idle1, window = idle(), time.monotonic() - t0
        children1 = resource.getrusage(resource.RUSAGE_CHILDREN)
        if r.returncode:
            raise Failed(f"{' '.join(map(str, argv))}: exit code {r.returncode}: {text_end(r.stderr)}")
        if find_daemon:
            daemon = find_daemon()
        in_daemon = process_cpu(daemon) - daemon0 if daemon else 0.0
        own = time.process_time() - self0 + in_daemon + sum(
            getattr(children1, k) - getattr(children0, k) for k in ("ru_utime", "ru_stime"))
        kernel = sum(max(0.0, s - kernel0.get(pid, 0.0)) for pid, s in kernel_threads().items())
        with open(self.out) as f:
            m = json.load(f)
        return {"wall_s": m["wall_s"], "cpu_s": m["cpu_s"] + in_daemon, "kernel_cpu_s": kernel, "peak_mib": m["peak_kib"] / 1024,
                "daemon_peak_mib": memory_kib(daemon, "VmHWM") / 1024 if daemon else 0.0,
                "window_s": window, "foreign_cpu_s": max(0.0, window * NCPU - (idle1 - idle0) - own - kernel)}


def with_sync(sample, sync):
    """A tool and the sync behind it, as if they were one command."""
    out = {k: sample[k] + sync[k] for k in ("wall_s", "cpu_s", "kernel_cpu_s", "window_s", "foreign_cpu_s")}
    return {**out, **{k: max(sample[k], sync[k]) for k in ("peak_mib", "daemon_peak_mib")}}


def wanted_runs(runs, first_s, is_essential, patience_s=PATIENCE_S):
    """A slow tool is not repeated for ever."""
    if is_essential:
        return runs if first_s < patience_s else min(runs, 3)
    return max(1, min(runs, int(PATIENCE_S / max(first_s, 0.001))))


def alternate(runs, tools, essential, on_failure, say, patience_s=PATIENCE_S):
    """Runs passes A B C A B C ... Each tool is a function that returns {measure: sample}; the result is
    {measure: {tool: [sample, ...]}}. A tool that fails goes to on_failure(tool, exception), and is out.
    An essential one whose first pass takes longer than @patience_s gets fewer runs."""
    out, left = {}, {name: runs for name in tools}
    while any(n > 0 for n in left.values()):
        for name, one_pass in tools.items():
            if left[name] <= 0:
                continue
            t0 = time.monotonic()
            try:
                samples = one_pass()
            except Failed as e:
                on_failure(name, e)
                left[name] = 0
                for of_measure in out.values():
                    of_measure.pop(name, None)
                continue
            took = time.monotonic() - t0
            if left[name] == runs:
                left[name] = wanted_runs(runs, took, name in essential, patience_s)
            left[name] -= 1
            for measure, sample in samples.items():
                out.setdefault(measure, {}).setdefault(name, []).append(sample)
            if took > TELL_S:
                say(f"{name}: " + ", ".join(f"{m} {s['wall_s']:.3f} s" for m, s in samples.items()))
    return out


def foreign_share(samples):
    window = sum(s["window_s"] for s in samples)
    return sum(s["foreign_cpu_s"] for s in samples) / (window * NCPU) if window else 0.0


def summarize(measures):
    """{measure: {tool: [sample]}} -> {measure: {tool: row}}, with ratios where they mean something."""
    out = {}
    for measure, tools in measures.items():
        out[measure] = {}
        for tool, samples in tools.items():
            seen = samples
            if sum(s["window_s"] for s in samples) < SHORT_S:
                seen = [s for others in measures.values() for s in others.get(tool, [])]
            row = {"n": len(samples)}
            for key in samples[0]:
                if key not in ("window_s", "foreign_cpu_s"):
                    values = [s[key] for s in samples]
                    row[key] = {"median": statistics.median(values), "best": min(values), "runs": values}
            row["foreign"] = foreign_share(seen)
            out[measure][tool] = row
        base = out[measure].get("plyfs")
        for tool, row in out[measure].items():
            row["plyfs_over_it"] = ratio(base, row, "wall_s")
    return out


def ratio(base, row, metric, of="median"):
    """Of medians, or @of the best runs. None where there is nothing to compare, or too much else was running."""
    if not base or metric not in base or metric not in row:
        return None
    if metric == "wall_s" and max(base["foreign"], row["foreign"]) > FOREIGN_MAX:
        return None
    below = row[metric][of]
    return base[metric][of] / below if below else None


def interrupt_on_term():
    def stop(_signal, _frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
