# SPDX-License-Identifier: Apache-2.0
"""Server CPU a request costs, on a peer and on ours by turns (A B A B), with the same client.

Both run as a replica set of one member with journalling, and every write waits for majority, so
that an acknowledgement means the same.  CPU is user and system time of the server process.  The
client is bench/load.cc with some connections at once: with a single slow one most of what is
counted is the kernel putting an idle machine to sleep and waking it, the same on both sides.
"""

import contextlib
import pathlib
import subprocess

import psutil

from lib import replica_set as sets
from lib import server
from lib.ports import free_ports, is_free
from lib.wait import wait_until

DOCUMENTS = 10000  # As bench/load.cc expects, the text's length too.
TEXT = "x" * 964
CONNECTIONS = 8
ROUTER_CONNECTIONS = (8, 32)  # A router is there for many clients.
ROUNDS = 5
FLAGS = ("--wiredTigerCacheSizeGB", "4")  # The defaults differ.

# name -> (operation of bench/load.cc, requests a round, the ratio to stay below)
OPERATIONS = {  # What leaves work behind for later (checkpoints, eviction) comes last.
    "find by _id": ("find_by_id", 40000, 0.25),
    "index range of 100": ("find_range", 6000, 0.30),
    "full scan": ("scan", 500, 0.40),
    "update by _id": ("update_by_id", 10000, 0.40),
    "insert one": ("insert_one", 10000, 0.40),
    "bulk insert of 1,000": ("insert_bulk", 120, 0.50),
}


def run_load(uri, operation, requests, seed=0, connections=CONNECTIONS):
    """bench/load.cc, which fails when an answer is wrong."""
    subprocess.run([pathlib.Path(server.BIN) / "load", uri, operation, str(requests),
                    str(connections), str(seed)], check=True, stdin=subprocess.DEVNULL)


class Side:
    """One of the two: a started member with the data in it."""

    def __init__(self, name, binaries, folder):
        self.name = name
        own, server.BIN = server.BIN, pathlib.Path(binaries)
        self.set = sets.ReplicaSet(folder, 1, name=f"bench-{name}", flags=FLAGS)
        self.set.start().initiate()
        server.BIN = own
        self.member = self.set.members[0]
        self.uri = f"mongodb://127.0.0.1:{self.member.port}/?directConnection=true"
        fill(self.member.client)

    def cpu_microseconds(self, operation, requests, seed):
        """CPU of the server a request, after a warm-up of a tenth."""
        run_load(self.uri, operation, max(CONNECTIONS, requests // 10), seed)
        before = self.member.cpu_seconds()
        run_load(self.uri, operation, requests, seed)
        spent = self.member.cpu_seconds() - before
        for name in ("inserted", "bulk"):
            self.member.client.bench[name].drop()
        return spent * 1e6 / requests

    def close(self):
        self.set.close()


def fill(client):
    documents = client.bench.documents
    documents.insert_many({"_id": i, "n": i, "count": 0, "text": TEXT} for i in range(DOCUMENTS))
    documents.create_index("n")


def measure(ours, peer, folder):
    """Yields (name, microseconds of ours, of the peer, ratio, limit) an operation."""
    sides = [Side("peer", peer, f"{folder}/peer"), Side("ours", ours, f"{folder}/ours")]
    try:
        for name, (operation, requests, limit) in OPERATIONS.items():
            spent = {side.name: [] for side in sides}
            for turn in range(ROUNDS):
                for side in sides:
                    spent[side.name].append(side.cpu_microseconds(operation, requests, turn))
            mine, theirs = min(spent["ours"]), min(spent["peer"])
            yield name, mine, theirs, mine / theirs, limit
    finally:
        for side in sides:
            side.close()


def cpu_of(processes, uri, connections, requests=40000):
    """CPU of each of the processes, a point read."""
    run_load(uri, "find_by_id", requests // 10, connections=connections)
    before = [sum(process.cpu_times()[:2]) for process in processes]
    run_load(uri, "find_by_id", requests, connections=connections)
    return [(sum(process.cpu_times()[:2]) - start) * 1e6 / requests
            for process, start in zip(processes, before)]


@contextlib.contextmanager
def forwarder(target_port):
    """bench/forward.cc before a port: its process and its own port."""
    (port,) = free_ports(1)
    with subprocess.Popen([pathlib.Path(server.BIN) / "forward", str(port), str(target_port)],
                          stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: not is_free(port), 10, "the forwarder")
            yield psutil.Process(process.pid), port
        finally:
            process.kill()


def router_microseconds(cluster, shard_primary):
    """CPU of a point read, for each of ROUTER_CONNECTIONS, each the least of the turns:
    (connections, the router's, the shard's for the router, a forwarder's in its place, the shard's
    for that one, the shard's asked directly)."""
    cluster.client.admin.command("balancerStop")  # All stays on one shard.
    cluster.client.admin.command("shardCollection", "bench.documents", key={"_id": 1})
    fill(cluster.client)
    host = cluster.uri.split("//", 1)[1].split("/", 1)[0].split(",")[0]
    router = cluster.process_at(int(host.rsplit(":", 1)[1]))
    uuid = cluster.client.config.collections.find_one({"_id": "bench.documents"})["uuid"]
    shard, port = shard_primary(cluster.client.config.chunks.find_one({"uuid": uuid})["shard"])
    routed_uri = f"mongodb://{host}/?directConnection=true"
    direct_uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    with forwarder(port) as (forward, forward_port):
        forwarded_uri = f"mongodb://127.0.0.1:{forward_port}/?directConnection=true"
        for connections in ROUTER_CONNECTIONS:
            turns = []
            for _ in range(ROUNDS):
                turns.append((*cpu_of([router, shard], routed_uri, connections),
                              *cpu_of([forward, shard], forwarded_uri, connections),
                              *cpu_of([shard], direct_uri, connections)))
            yield connections, *(min(each) for each in zip(*turns))
