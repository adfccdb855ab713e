# SPDX-License-Identifier: Apache-2.0
"""What breaks under a running workload of PyMongo and of the Node driver, through both routers of a
whole cluster: writes resume, and afterwards every book agrees (lib/workload.py) and all members of
every set are equal by dbHash."""

import uuid

import pytest

from lib.server import connect
from lib.wait import wait_until
from lib.workload import NodeWorkload, Workload

# From the harm to the next majority write of every writer.  Generous: two cores run 14 processes
# and the clients; docs/benchmarks.md has the measured times.
RESUMES_SECONDS_MAX = 20.0
VICTIMS = {"shard-primary": ("shard-1", "primary"), "shard-secondary": ("shard-2", "secondary"),
           "config-primary": ("config", "primary"), "router": ("router-1",)}
# A router that is silent, not gone, is noticed by a client's monitor alone: 40 s by default.
WATCHFUL = "&connectTimeoutMS=2000&heartbeatFrequencyMS=1000"


@pytest.fixture
def workloads(breakable_cluster):
    """start(options): both workloads on sharded collections of the test's own."""
    started = []

    def start(options=""):
        uri = f"{breakable_cluster.uri}?retryWrites=true{options}"
        name = uuid.uuid4().hex[:8]
        for database in (f"py_{name}", f"node_{name}"):
            breakable_cluster.client.admin.command("shardCollection", f"{database}.items",
                                                   key={"_id": "hashed"})
        started.append(Workload(lambda: connect(uri), (f"py_{name}", "items")).start())
        started.append(NodeWorkload(uri, (f"node_{name}", "items")).start())
        return started
    yield start
    for workload in started:
        workload.stop()


def progress(workloads):
    for workload in workloads:
        workload.wait_progress(deadline=RESUMES_SECONDS_MAX)


def check(cluster, workloads):
    """Every set is whole again, and the books of both agree with what the cluster holds."""
    cluster.wait_healthy()
    progress(workloads)
    for workload in workloads:
        workload.stop().check(cluster.client)
    cluster.assert_equal_data()


def hit(cluster, victim, signal):
    """Signals the one process the tags name; returns its name."""
    nodes = {node["name"]: node for node in cluster.status()["nodes"]}
    *group, role = VICTIMS[victim]
    name = next(name for name, node in nodes.items()
                if name == role or (group and name.startswith(group[0]) and node["state"] == role))
    cluster.run("kill", name, "--signal", signal)
    return name


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed(breakable_cluster, workloads, victim):
    running = workloads()
    name = hit(breakable_cluster, victim, "KILL")
    try:
        progress(running)
        # What needs the config servers goes on too.
        breakable_cluster.client.admin.command("shardCollection", f"late.{victim}", key={"_id": 1})
    finally:
        breakable_cluster.run("start", name)
    check(breakable_cluster, running)


@pytest.mark.parametrize("victim", VICTIMS)
def test_frozen(breakable_cluster, workloads, victim):
    running = workloads(WATCHFUL if victim == "router" else "")
    name = hit(breakable_cluster, victim, "STOP")
    try:
        progress(running)
    finally:
        breakable_cluster.run("kill", name, "--signal", "CONT")
    check(breakable_cluster, running)


def test_several_in_a_row(breakable_cluster, workloads):
    """Primaries of all shards and of the config servers, one after the other, without a rest."""
    running = workloads()
    for group in ("shard-1", "config", "shard-2", "shard-3"):
        def primary(of=group):
            return [n["name"] for n in breakable_cluster.members()[of] if n["state"] == "primary"]
        name = wait_until(primary, 20, f"a primary of {group}")[0]
        breakable_cluster.run("kill", name, "--signal", "KILL")
        breakable_cluster.run("start", name)
    check(breakable_cluster, running)
