# SPDX-License-Identifier: Apache-2.0
"""movePrimary: what is unsharded moves to another shard, whoever fails on the way."""

import threading

import pymongo
import pytest
from bson import Int64
from pymongo.errors import OperationFailure, PyMongoError

from lib.server import connect
from lib.shards import ShardedCluster
from lib.wait import wait_until
from lib.workload import Workload


@pytest.fixture
def cluster(folder):
    made = ShardedCluster(folder, routers=2).start()
    made.client.admin.command("balancerStop")
    made.client.admin.command("enableSharding", "db", primaryShard="shard0")
    yield made
    made.close()


def move(cluster, to, db="db"):
    return cluster.client.admin.command("movePrimary", db, to=to)


def primary_of(cluster, db="db"):
    return cluster.client.config.databases.find_one({"_id": db})["primary"]


def test_collections_views_indexes_and_options_move(cluster):
    db, stale = cluster.client.db, cluster.routers[1].client.db
    db.plain.insert_many([{"_id": i, "n": i, "text": "x" * 100} for i in range(5000)])
    db.plain.create_index([("n", -1)], name="by_n", unique=True)
    db.create_collection("checked", validator={"n": {"$type": "int"}})
    db.create_collection("rolling", capped=True, size=100000, max=10)
    db.rolling.insert_many([{"_id": i} for i in range(20)])
    db.create_collection("view", viewOn="plain", pipeline=[{"$match": {"n": {"$lt": 10}}}])
    cluster.shard_collection("db.sharded", {"n": 1})
    db.sharded.insert_many([{"_id": i, "n": i} for i in range(100)])
    assert stale.plain.count_documents({}) == 5000
    before = sorted(db.list_collection_names())

    move(cluster, "shard1")
    assert primary_of(cluster) == "shard1"
    assert stale.plain.count_documents({}) == 5000
    assert stale.plain.update_one({"n": 7}, {"$set": {"seen": 1}}).modified_count == 1
    assert db.plain.index_information()["by_n"]["unique"]
    assert [d["_id"] for d in db.rolling.find()] == list(range(10, 20))
    assert db.view.count_documents({}) == 10 and db.sharded.count_documents({}) == 100
    with pytest.raises(OperationFailure) as failure:
        db.checked.insert_one({"n": "text"})
    assert failure.value.code == 121
    assert sorted(db.list_collection_names()) == before
    assert sorted(cluster.shards[0].client.db.list_collection_names()) == ["sharded"]
    move(cluster, "shard1")
    move(cluster, "shard0")
    assert stale.plain.count_documents({"seen": 1}) == 1
    assert "plain" not in cluster.shards[1].client.db.list_collection_names()


def test_what_cannot_move_is_refused_and_nothing_changes(cluster):
    db = cluster.client.db
    db.plain.insert_one({"_id": 1})
    for command, code in (({"movePrimary": "db", "to": "nowhere"}, 70),
                          ({"movePrimary": "unknown", "to": "shard1"}, 26),
                          ({"movePrimary": "config", "to": "shard1"}, 72)):
        with pytest.raises(OperationFailure) as failure:
            cluster.client.admin.command(command)
        assert failure.value.code == code
    cluster.shards[1].client.db.plain.insert_one({"_id": 2})
    with pytest.raises(OperationFailure) as failure:
        move(cluster, "shard1")
    assert failure.value.code == 48
    assert primary_of(cluster) == "shard0"
    db.plain.insert_one({"_id": 3})
    assert [d["_id"] for d in db.plain.find().sort("_id", 1)] == [1, 3]
    assert [d["_id"] for d in cluster.shards[1].client.db.plain.find()] == [2]
    cluster.shards[1].client.db.drop_collection("plain")
    move(cluster, "shard1")
    assert db.plain.count_documents({}) == 2


def test_retries_after_the_move_are_done_once_and_answer_alike(cluster):
    client = connect(cluster.routers[0].port, retryWrites=False)
    client.db.c.insert_one({"_id": 1, "z": 0})
    session = client.start_session()
    context = {"lsid": session.session_id, "txnNumber": Int64(5)}
    change = {"findAndModify": "c", "query": {"_id": 1}, "update": {"$inc": {"z": 1}}, "new": True}
    first = client.db.command({**change, **context})
    move(cluster, "shard1")
    again = client.db.command({**change, **context})
    assert again["value"] == first["value"] == {"_id": 1, "z": 1}
    assert again["lastErrorObject"] == first["lastErrorObject"]
    assert client.db.c.find_one() == {"_id": 1, "z": 1}
    client.close()


def test_a_primary_shard_is_drained_to_its_end_under_load(cluster):
    admin = cluster.client.admin
    cluster.shard_collection("work.sharded", {"n": 1}, splits=[{"n": 500}])
    cluster.client.work.sharded.insert_many([{"_id": i, "n": i} for i in range(1000)])
    cluster.client.work.still.insert_many([{"_id": i} for i in range(2000)])
    load = Workload(lambda: connect(cluster.routers[1].port)).start()
    wrong, stopped = [], threading.Event()

    def read():
        with connect(cluster.routers[1].port) as client:
            while not stopped.is_set():
                for name, count in (("sharded", 1000), ("still", 2000)):
                    ids = [d["_id"] for d in client.work[name].find({}, batch_size=3000)]
                    if len(ids) != count or len(set(ids)) != count:
                        wrong.append((name, len(ids), len(set(ids))))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert admin.command("removeShard", "shard0")["dbsToMove"] == ["db", "work"]
        move(cluster, "shard1", "db")
        move(cluster, "shard1", "work")
        with pytest.raises(OperationFailure) as failure:
            admin.command("movePrimary", "work", to="shard0")
        assert failure.value.code == 70
        load.wait_progress()
        admin.command("balancerStart")
        wait_until(lambda: admin.command("removeShard", "shard0")["state"] == "completed", 60,
                   "the end of draining")
        load.wait_progress()
    finally:
        stopped.set()
        reader.join()
        load.stop()
    assert not wrong
    load.check(cluster.client)
    assert [s["_id"] for s in admin.command("listShards")["shards"]] == ["shard1"]


@pytest.fixture
def replicated(folder):
    made = ShardedCluster(folder, members=3, config_members=3).start()
    made.client.admin.command("balancerStop")
    made.client.admin.command("enableSharding", "work", primaryShard="shard0")
    made.client.work.still.insert_many([{"_id": i, "text": "x" * 1000} for i in range(20000)])
    yield made
    made.close()


@pytest.mark.parametrize("who", ["donor", "recipient", "config"])
@pytest.mark.parametrize("how", ["kill9", "freeze"])
def test_the_move_survives_or_is_given_up_when_a_primary_fails(replicated, who, how):
    sets = {"donor": replicated.shards[0], "recipient": replicated.shards[1],
            "config": replicated.config}
    load = Workload(lambda: connect(replicated.routers[0].port)).start()
    failed = []

    def run():
        try:
            with connect(replicated.routers[0].port) as client:
                client.admin.command("movePrimary", "work", to="shard1")
        except PyMongoError as error:
            failed.append(error)

    coordinators = replicated.shards[0].client.config["system.sharding_ddl_coordinators"]
    mover = threading.Thread(target=run)
    mover.start()
    try:
        wait_until(lambda: coordinators.find_one() or not mover.is_alive(), 20, "a move")
        victim = sets[who].primary()
        getattr(victim, how)()
        load.wait_progress(deadline=60)
        mover.join(60)
        assert not mover.is_alive()
        if how == "freeze":
            victim.thaw()
        else:
            victim.start()
        donors = sets["donor"]
        wait_until(lambda: donors.fresh_client().config["system.sharding_ddl_coordinators"]
                   .find_one() is None, 60, "the move's end")
        wait_until(lambda: _moves(replicated), 60, "a move that works")
        load.wait_progress(deadline=60)
    finally:
        load.stop()
    load.check(replicated.client)
    assert replicated.client.work.still.count_documents({}) == 20000
    assert primary_of(replicated, "work") == "shard1"


def _moves(cluster):
    try:
        cluster.client.admin.command("movePrimary", "work", to="shard1")
        return True
    except pymongo.errors.PyMongoError:
        return False
