#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: what the whole cluster costs to start, to keep and to lose a member of, and what
a request costs beside a real mongod.  Called by `make bench`; prints one table, also kept in
docs/benchmarks.md with --write.

    bench/run.py --peer /path/to/mongod [--only operations,cluster,failover,router] [--write]
"""

import argparse
import datetime
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import psutil  # noqa: E402  pylint: disable=wrong-import-position

import operations  # noqa: E402  pylint: disable=wrong-import-position
from lib import cluster as clusters  # noqa: E402  pylint: disable=wrong-import-position
from lib import process, server  # noqa: E402  pylint: disable=wrong-import-position
from lib.wait import wait_until  # noqa: E402  pylint: disable=wrong-import-position
from lib.workload import Workload  # noqa: E402  pylint: disable=wrong-import-position

STARTS = 5
FAILOVERS = 3
IDLE_SECONDS = 20.0
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"


class Report:
    """Rows of what was measured, what it should be, and whether it is."""

    def __init__(self):
        self.rows = []

    def add(self, what, measured, unit, limit=None, note=""):
        within = limit is None or measured <= limit
        self.rows.append((what, f"{measured:,.2f} {unit}".strip(),
                          "" if limit is None else f"{limit:g} {unit}".strip(),
                          "" if limit is None else ("yes" if within else "NO"), note))
        print(f"{what}: {measured:,.2f} {unit} "
              + ("" if limit is None else f"(at most {limit:g}: {'yes' if within else 'NO'}) ")
              + note, flush=True)

    def markdown(self):
        lines = ["| what | measured | at most | met | |", "| --- | --- | --- | --- | --- |"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines)


def timed_up(cluster):
    started = time.monotonic()
    cluster.up()
    return time.monotonic() - started


def idle(report, cluster):
    """Memory and CPU of all processes of a cluster nobody uses."""
    members = process.processes_below(cluster.folder)
    wait_until(lambda: all(p.cpu_percent(0.2) < 20 for p in members), 30, "the cluster to settle")
    before = sum(sum(p.cpu_times()[:2]) for p in members)
    started = time.monotonic()
    wait_until(lambda: time.monotonic() - started >= IDLE_SECONDS, IDLE_SECONDS + 5, "the sample")
    spent = sum(sum(p.cpu_times()[:2]) for p in members) - before
    percent = 100 * spent / (time.monotonic() - started)
    resident = sum(p.memory_info().rss for p in members) / 1e6
    report.add("idle resident memory, all processes", resident, "MB", 400, f"{len(members)}")
    report.add("idle CPU, all processes", percent, "% of a core", 3)


def measure_cluster(report, folder):
    fresh, again = [], []
    for i in range(STARTS):
        cluster = clusters.Cluster(f"{folder}/start-{i}")
        try:
            fresh.append(timed_up(cluster))
            if i == STARTS - 1:
                idle(report, cluster)
            cluster.down()
            again.append(timed_up(cluster))
        finally:
            cluster.close()
    report.add("tessera up, fresh, median", statistics.median(fresh), "s", 2.5,
               f"{STARTS} runs, slowest {max(fresh):.2f}")
    report.add("tessera up, restart, median", statistics.median(again), "s", 1.5,
               f"{STARTS} runs, slowest {max(again):.2f}")


def shard_primary(cluster, shard):
    """(the shard's primary's process, its port) as the cluster itself says."""
    entry = cluster.client.config.shards.find_one({"_id": shard})
    host = entry["host"].split("/", 1)[1].split(",")[0]
    with server.connect(int(host.rsplit(":", 1)[1])) as member:
        port = int(member.admin.command("hello")["primary"].rsplit(":", 1)[1])
    return cluster.process_at(port), port


def measure_failover(report, folder):
    """kill -9 of a shard's primary to the next majority write that shard takes."""
    gaps = []
    for i in range(FAILOVERS):
        cluster = clusters.Cluster(f"{folder}/failover-{i}").up()
        try:
            shard = cluster.client.config.shards.find_one(sort=[("_id", 1)])["_id"]
            cluster.client.admin.command("enableSharding", "work", primaryShard=shard)
            workload = Workload(lambda: server.connect(cluster.uri), writers=1).start()
            shard_primary(cluster, shard)[0].kill()
            gaps.append(workload.wait_progress(deadline=60))
            workload.stop().check(cluster.client)
        finally:
            cluster.close()
    report.add("kill -9 of a shard's primary to the next majority write", max(gaps), "s", 3,
               f"slowest of {FAILOVERS}; a real mongod, default settings: 11.1 s")


def measure_router(report, folder):
    cluster = clusters.Cluster(f"{folder}/router").up()
    try:
        for connections, router, routed, forward, forwarded, direct in (
                operations.router_microseconds(cluster, lambda s: shard_primary(cluster, s))):
            added, least = router + routed - direct, forward + forwarded - direct
            parts = (f"router {router:.2f}, its shard {routed:.2f}; "
                     f"the shard asked directly {direct:.2f}")
            report.add(f"what the router adds to a targeted point read, {connections} connections",
                       added, "us", 15, parts)
            report.add("the same divided by what handing the bytes on adds", added / least, "",
                       note=f"{added:.2f} us / {least:.2f} us")
    finally:
        cluster.close()


def measure_operations(report, folder, peer):
    if not peer or not os.access(peer, os.X_OK):
        print(f"no peer at {peer!r}: operations are left out. Next step: make peer")
        return
    beside = pathlib.Path(folder, "peer-bin")
    beside.mkdir()
    (beside / "mongod").symlink_to(peer)
    for name, ours, theirs, ratio, limit in operations.measure(server.BIN, beside, folder):
        report.add(f"{name}, ours / mongod's server CPU", ratio, "", limit,
                   f"{ours:.1f} us / {theirs:.1f} us")


def write(report):
    """Puts the table between the marks of docs/benchmarks.md; the text around it is people's."""
    path = ROOT / "docs/benchmarks.md"
    text = f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    if path.exists():
        text = path.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    when = datetime.date.today().isoformat()
    machine = f"{when}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    path.write_text(f"{head}{BEGIN}\n{machine}\n\n{report.markdown()}\n{END}{tail}",
                    encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", default="")
    parser.add_argument("--only", default="operations,cluster,failover,router")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    report = Report()
    folder = tempfile.mkdtemp(prefix="tessera-bench-")
    measures = {"operations": lambda: measure_operations(report, folder, options.peer),
                "cluster": lambda: measure_cluster(report, folder),
                "failover": lambda: measure_failover(report, folder),
                "router": lambda: measure_router(report, folder)}
    try:
        for name in options.only.split(","):
            print(f"== {name}", flush=True)
            measures[name]()
    finally:
        process.reap_all()
        process.reap_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
    print()
    print(report.markdown())
    if options.write:
        write(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
