# SPDX-License-Identifier: Apache-2.0
"""The primaries of a donor, a recipient and the config servers die or freeze in the middle of a
move: nothing is lost or done twice, the move ends or is given up, and later ones work."""

import threading

import pytest
from pymongo.errors import PyMongoError

from lib.server import connect
from lib.shards import ShardedCluster
from lib.wait import wait_until
from lib.workload import Workload

DOCUMENTS = 6000


@pytest.fixture
def cluster(folder):
    made = ShardedCluster(folder, members=3, config_members=3).start()
    made.client.admin.command("balancerStop")
    made.shard_collection("work.items", {"_id": 1}, splits=[{"_id": "1"}])
    made.shard_collection("work.still", {"n": 1}, splits=[{"n": 1000}])
    made.client.work.still.insert_many(
        [{"_id": i, "n": i, "text": "x" * 2000} for i in range(DOCUMENTS)])
    yield made
    made.close()


def move(cluster, to, ns="work.still", find=None):
    with connect(cluster.routers[0].port) as client:
        client.admin.command("moveChunk", ns, find=find or {"n": 3000}, to=to, forceJumbo=True)


def moves(cluster, to):
    try:
        move(cluster, to)
        return True
    except PyMongoError:
        return False


@pytest.mark.parametrize("who", ["donor", "recipient", "config"])
@pytest.mark.parametrize("how", ["kill9", "freeze"])
def test_a_move_survives_or_is_given_up_when_a_primary_fails(cluster, who, how):
    donor, recipient = cluster.shards
    victim = {"donor": donor, "recipient": recipient, "config": cluster.config}[who].primary()
    load = Workload(lambda: connect(cluster.routers[0].port)).start()
    coordinators = donor.client.config.migrationCoordinators
    mover = threading.Thread(target=moves, args=(cluster, "shard1"))
    mover.start()
    try:
        wait_until(lambda: coordinators.find_one() or not mover.is_alive(), 20, "a move")
        getattr(victim, how)()
        load.wait_progress(deadline=90)
        mover.join(90)
        assert not mover.is_alive()
        if how == "freeze":
            victim.thaw()
        else:
            victim.start()
        wait_until(lambda: donor.fresh_client().config.migrationCoordinators.find_one() is None,
                   90, "the move's end")
        for to in ("shard0", "shard1"):
            wait_until(lambda: moves(cluster, to), 90, f"a move to {to}")
        load.wait_progress(deadline=60)
    finally:
        load.stop()
    load.check(cluster.client)
    found = [d["_id"] for d in cluster.client.work.still.find({}, {"_id": 1})]
    assert len(found) == DOCUMENTS and len(set(found)) == DOCUMENTS
    changed = cluster.client.work.still.update_many({}, {"$set": {"after": 1}})
    assert changed.modified_count == DOCUMENTS
    chunks = list(cluster.client.config.chunks.find())
    assert {c["shard"] for c in chunks if c["min"].get("n") == 1000} == {"shard1"}


@pytest.fixture
def small(folder):
    made = ShardedCluster(folder).start()
    made.client.admin.command("balancerStop")
    made.shard_collection("work.still", {"n": 1}, splits=[{"n": 1000}])
    made.client.work.still.insert_many([{"_id": i, "n": i} for i in range(3000)])
    made.client.work.plain.insert_many([{"_id": i, "text": "x" * 1000} for i in range(5000)])
    yield made
    made.close()


@pytest.mark.parametrize("name, command", [
    ("still", {"moveChunk": "work.still", "find": {"n": 2000}, "to": "shard1"}),
    ("plain", {"movePrimary": "work", "to": "shard1"})])
def test_no_write_sent_straight_to_a_shard_is_lost_in_a_move(small, name, command):
    stopped, acknowledged = threading.Event(), []

    def write():
        collection = small.shards[0].client.work[name]
        while not stopped.is_set():
            change = collection.update_one({"_id": 2000}, {"$inc": {"z": 1}})
            acknowledged.extend([1] * change.modified_count)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: acknowledged, 20, "a write")
        small.client.admin.command(command)
    finally:
        stopped.set()
        writer.join()
    assert small.client.work[name].find_one({"_id": 2000})["z"] == len(acknowledged)
