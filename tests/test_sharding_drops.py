# SPDX-License-Identifier: Apache-2.0
"""Drops of sharded collections that are interrupted: what is half dropped is never taken for an
unsharded collection, and ends dropped."""

import threading

import pytest
from pymongo.errors import OperationFailure, PyMongoError

from lib.server import connect
from lib.raw import RawConnection
from lib.shards import ShardedCluster
from lib.wait import wait_until


@pytest.fixture
def cluster(folder):
    made = ShardedCluster(folder, members=2, config_members=3).start()
    made.client.admin.command("balancerStop")
    made.shard_collection("db.items", {"n": 1}, splits=[{"n": 50}], moves=[({"n": 50}, "shard1")])
    made.client.db.items.insert_many([{"_id": i, "n": i} for i in range(100)])
    yield made
    made.close()


def has_entry(cluster):
    collections = cluster.config.primary().client.config.collections
    return collections.find_one({"_id": "db.items"}) is not None


def has_documents(shard):
    return "items" in shard.primary().client.db.list_collection_names()


def interrupted(cluster, command, ends_router):
    """Kills the config primary when the first shard has dropped its part and not yet said so."""
    secondary = cluster.shards[0].secondaries()[0]
    secondary.freeze()  # No majority has what the shard's primary does.

    def drop():
        try:
            with connect(cluster.routers[0].port) as client:
                client.db.command(command)
        except PyMongoError:
            pass  # Whether it came through is what is looked at.
    dropping = threading.Thread(target=drop)
    dropping.start()
    wait_until(lambda: not has_documents(cluster.shards[0]), 30, "a part that is dropped")
    if ends_router:
        cluster.routers[0].kill9()
    victim = cluster.config.primary()
    victim.kill9()
    wait_until(lambda: cluster.config.primary() is not victim, 30, "another config primary")
    assert has_entry(cluster) and has_documents(cluster.shards[1])
    secondary.thaw()
    if ends_router:
        cluster.routers[0].start()
    dropping.join()
    victim.start()


@pytest.mark.parametrize("command, ends_router", [("drop", True), ("dropDatabase", False)])
def test_a_drop_whose_config_primary_dies_is_finished(cluster, command, ends_router):
    interrupted(cluster, {command: "items" if command == "drop" else 1}, ends_router)
    wait_until(lambda: not has_entry(cluster), 60, "the end of the drop")
    for shard in cluster.shards:
        assert not has_documents(shard)
        shard.wait_replicated()
    notes = cluster.config.primary().client.config["system.sharding_ddl_coordinators"]
    assert notes.count_documents({}) == 0
    items = connect(cluster.routers[0].port).db.items
    items.insert_one({"_id": 1000, "n": 1000})
    assert [d["_id"] for d in items.find()] == [1000]
    items.database.client.admin.command("shardCollection", "db.items", key={"_id": 1})
    assert items.count_documents({}) == 1
    items.drop()
    assert not any(has_documents(shard) for shard in cluster.shards)
    items.database.client.close()


def test_a_drop_that_a_shard_does_not_answer_is_finished_by_another(cluster):
    second = cluster.shards[1].primary()
    second.freeze()
    try:
        with pytest.raises(PyMongoError):
            cluster.client.db.command("drop", "items", maxTimeMS=3000)
        assert has_entry(cluster)
    finally:
        second.thaw()

    def drops():
        cluster.client.db.items.drop()  # It may be dropped by now.
        return not has_entry(cluster)
    wait_until(drops, 90, "a drop")
    assert not any(has_documents(shard) for shard in cluster.shards)


def test_a_drop_that_comes_late_leaves_what_was_made_since(cluster):
    """A message of a drop that was over long ago, to the config servers and to a shard."""
    dropped = cluster.client.config.collections.find_one({"_id": "db.items"})["uuid"]
    cluster.client.db.items.drop()
    items = cluster.client.db.items
    items.insert_one({"_id": 1})
    late = {"_configsvrDropCollection": "db.items", "uuid": dropped, "$db": "admin"}

    def as_a_router(command):
        with RawConnection(cluster.config.primary().port) as router:
            router.call({"hello": 1, "$db": "admin",
                         "internalClient": {"minWireVersion": 0, "maxWireVersion": 21}})
            return router.call(command)
    assert as_a_router(late)["code"] == 361
    assert items.count_documents({}) == 1
    cluster.client.admin.command("shardCollection", "db.items", key={"_id": 1})
    assert as_a_router(late)["code"] == 361
    assert as_a_router({"_configsvrDropCollection": "db.items", "$db": "admin"})["ok"] == 0
    home = cluster.client.config.databases.find_one({"_id": "db"})["primary"]
    shard = cluster.shards[int(home[-1])].primary()
    with pytest.raises(OperationFailure) as refused:
        shard.client.db.command("drop", "items", collectionUUID=dropped)
    assert refused.value.code == 361
    assert refused.value.details["expectedCollection"] == "items"
    assert refused.value.details["actualCollection"] is None
    assert items.count_documents({}) == 1 and has_entry(cluster)
    items.drop()
    assert not any(has_documents(shard) for shard in cluster.shards)


def test_what_is_written_while_a_database_is_dropped_goes_with_it(cluster):
    client = cluster.client
    client.plain.a.insert_one({"_id": 1})
    home = client.config.databases.find_one({"_id": "plain"})["primary"]
    shard = cluster.shards[int(home[-1])]

    def names():
        return shard.primary().client.list_database_names()
    frozen = cluster.config.secondaries()
    for member in frozen:
        member.freeze()  # The entry cannot go until a majority has heard of it.
    dropping = threading.Thread(target=connect(cluster.routers[0].port).drop_database,
                                args=("plain",))
    dropping.start()
    try:
        wait_until(lambda: "plain" not in names(), 30, "the shards' part of the drop")
        client.plain.b.insert_one({"_id": 2})
        assert "plain" in names()
    finally:
        for member in frozen:
            member.thaw()
    dropping.join()
    assert "plain" not in names()
    client.plain.b.insert_one({"_id": 3})
    assert [d["_id"] for d in client.plain.b.find()] == [3]
