# SPDX-License-Identifier: Apache-2.0
"""renameCollection where one of the names is sharded: data, zones, orphans and secondaries go
along; whoever dies on the way, the collection has the one name or the other on every shard."""

import threading

import pytest
from pymongo import ReadPreference
from pymongo.errors import OperationFailure, PyMongoError

from lib.server import connect
from lib.shards import ShardedCluster
from lib.wait import wait_until

DOCUMENTS = 400


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = ShardedCluster(tmp_path_factory.mktemp("rename"), routers=2, orphan_delay=0).start()
    made.client.admin.command("balancerStop")
    yield made
    made.close()


@pytest.fixture
def db(cluster):
    yield cluster.client.db
    cluster.client.drop_database("db")


def fill(cluster, name):
    cluster.shard_collection(f"db.{name}", {"n": 1}, splits=[{"n": DOCUMENTS // 2}],
                             moves=[({"n": DOCUMENTS // 2}, "shard1")])
    cluster.client.db[name].insert_many([{"_id": i, "n": i} for i in range(DOCUMENTS)])
    return cluster.client.config.collections.find_one({"_id": f"db.{name}"})


def ids(collection):
    return sorted(d["_id"] for d in collection.find({}, {"_id": 1}))


def refused(code, client, source, target, **more):
    with pytest.raises(OperationFailure) as failure:
        client.admin.command("renameCollection", source, to=target, **more)
    assert failure.value.code == code, failure.value


def uuids(cluster, name):
    found = [list(shard.client.db.list_collections(filter={"name": name}))
             for shard in cluster.shards]
    return [each[0]["info"]["uuid"] if each else None for each in found]


def test_data_zones_and_versions_go_along(cluster, db):
    stale = cluster.routers[1].client
    admin = cluster.client.admin
    before = fill(cluster, "c")
    db.c.create_index("z")
    admin.command("addShardToZone", "shard1", zone="east")
    admin.command("updateZoneKeyRange", "db.c", min={"n": 300}, max={"n": 400}, zone="east")
    assert len(ids(stale.db.c)) == DOCUMENTS and stale.db.d.count_documents({}) == 0

    admin.command("renameCollection", "db.c", to="db.d")
    assert ids(db.d) == ids(stale.db.d) == list(range(DOCUMENTS))
    assert ids(db.c) == ids(stale.db.c) == []
    after = cluster.client.config.collections.find_one({"_id": "db.d"})
    assert after["uuid"] == before["uuid"] and after["timestamp"] > before["timestamp"]
    assert after["lastmodEpoch"] != before["lastmodEpoch"] and after["key"] == {"n": 1}
    assert cluster.client.config.collections.find_one({"_id": "db.c"}) is None
    assert uuids(cluster, "c") == [None, None] and uuids(cluster, "d") == [before["uuid"]] * 2
    assert [t["ns"] for t in cluster.client.config.tags.find()] == ["db.d"]
    assert "z_1" in db.d.index_information()
    assert db.list_collection_names() == ["d"]
    assert stale.db.d.update_many({}, {"$set": {"z": 1}}).modified_count == DOCUMENTS
    admin.command("moveChunk", "db.d", find={"n": 0}, to="shard1")
    assert ids(stale.db.d) == list(range(DOCUMENTS))
    # The old name is free, also for another sharded collection, and the way back as well.
    fill(cluster, "c")
    refused(48, cluster.client, "db.c", "db.d")
    stale.admin.command("renameCollection", "db.c", to="db.d", dropTarget=True)
    assert ids(db.d) == list(range(DOCUMENTS)) and ids(stale.db.c) == []
    assert db.d.count_documents({"z": 1}) == 0
    owned = cluster.client.config.chunks.distinct("uuid")
    known = cluster.client.config.collections.distinct("uuid")
    assert sorted(owned) == sorted(known)
    admin.command("removeShardFromZone", "shard1", zone="east")


def test_sharded_and_unsharded_take_each_others_place(cluster, db):
    stale = cluster.routers[1].client
    fill(cluster, "c")
    db.plain.insert_one({"_id": "x"})
    assert ids(stale.db.plain) == ["x"] and len(ids(stale.db.c)) == DOCUMENTS
    refused(48, cluster.client, "db.c", "db.plain")
    refused(48, cluster.client, "db.plain", "db.c")
    cluster.client.admin.command("renameCollection", "db.c", to="db.plain", dropTarget=True)
    assert ids(stale.db.plain) == list(range(DOCUMENTS)) and ids(stale.db.c) == []
    db.c.insert_one({"_id": "y"})
    cluster.client.admin.command("renameCollection", "db.c", to="db.plain", dropTarget=True)
    assert ids(stale.db.plain) == ["y"] and ids(stale.db.c) == []
    assert uuids(cluster, "plain")[1] is None and uuids(cluster, "c") == [None, None]
    assert list(cluster.client.config.collections.find({"_id": {"$regex": "^db"}})) == []


def test_what_is_refused_changes_nothing(cluster, db):
    fill(cluster, "c")
    db.create_collection("view", viewOn="c", pipeline=[])
    client = cluster.client
    refused(20, client, "db.c", "db.c")
    refused(20, client, "db.c", "db.system.c")
    refused(115, client, "db.c", "other.c")
    refused(48, client, "db.c", "db.view")
    refused(48, client, "db.c", "db.view", dropTarget=True)
    refused(26, client, "db.none", "db.c", dropTarget=True)
    refused(166, client, "db.view", "db.c", dropTarget=True)
    assert len(ids(db.c)) == DOCUMENTS
    assert db.c.insert_one({"_id": -1, "n": -1}).acknowledged
    for one in (cluster.config, *cluster.shards):
        assert not list(one.client.config["system.sharding_ddl_coordinators"].find())


def test_orphans_are_deleted_under_the_new_name(cluster, db):
    fill(cluster, "c")
    donor = cluster.shards[0].client
    wait_until(lambda: not donor.config.rangeDeletions.find_one(), 30, "the first move's end")
    donor.admin.command("setParameter", 1, orphanCleanupDelaySecs=3600)
    cluster.client.admin.command("moveChunk", "db.c", find={"n": 0}, to="shard1")
    cluster.client.admin.command("renameCollection", "db.c", to="db.d")
    assert donor.db.d.count_documents({}) == DOCUMENTS // 2
    task = donor.config.rangeDeletions.find_one()
    assert task["nss"] == "db.d"
    donor.admin.command("setParameter", 1, orphanCleanupDelaySecs=0)
    donor.config.rangeDeletions.update_one({}, {"$set": {"whenToClean": task["whenToClean"]
                                                         .replace(year=2020)}})
    wait_until(lambda: donor.db.d.count_documents({}) == 0, 20, "the deletion of what moved")
    assert ids(db.d) == list(range(DOCUMENTS))


@pytest.fixture
def replicated(folder):
    made = ShardedCluster(folder, members=3, config_members=3).start()
    made.client.admin.command("balancerStop")
    yield made
    made.close()


def rename_back_and_forth(cluster, stopped, renamed):
    """Renames until told to stop; which name the collection has is the cluster's to say."""
    with connect(cluster.routers[0].port) as client:
        while not stopped.is_set():
            for source, target in (("db.c", "db.d"), ("db.d", "db.c")):
                try:
                    client.admin.command("renameCollection", source, to=target)
                    renamed.append(target)
                except PyMongoError:
                    stopped.wait(0.02)


def check_one_name(cluster):
    """One of the two names has everything, everywhere; the other is gone."""
    def settled():
        sets = (cluster.config, *cluster.shards)
        return not any(list(one.fresh_client().config["system.sharding_ddl_coordinators"].find())
                       for one in sets)
    wait_until(settled, 90, "the end of the rename")
    client = connect(cluster.routers[0].port)
    names = client.db.list_collection_names()
    assert len(names) == 1 and names[0] in ("c", "d"), names
    known = [c["_id"] for c in client.config.collections.find({"_id": {"$regex": "^db"}})]
    assert known == [f"db.{names[0]}"]
    assert ids(client.db[names[0]]) == list(range(DOCUMENTS))
    for shard in cluster.shards:
        found = shard.fresh_client().db.list_collection_names()
        assert found == names, (shard.name, found)
    client.close()
    return names[0]


@pytest.mark.parametrize("who", ["config", "donor"])
@pytest.mark.parametrize("how", ["kill9", "freeze"])
def test_a_rename_has_happened_or_not_when_a_primary_fails(replicated, who, how):
    fill(replicated, "c")
    one = {"config": replicated.config, "donor": replicated.shards[1]}[who]
    stopped, renamed = threading.Event(), []
    worker = threading.Thread(target=rename_back_and_forth, args=(replicated, stopped, renamed))
    worker.start()
    try:
        for _ in range(2 if how == "kill9" else 1):
            wait_until(lambda: len(renamed) > 3, 60, "renames")
            victim = one.primary()
            getattr(victim, how)()
            del renamed[:]
            wait_until(lambda: len(renamed) > 3, 90, "renames by the next primary")
            if how == "freeze":
                victim.thaw()
            else:
                victim.start()
            del renamed[:]
    finally:
        stopped.set()
        worker.join(120)
    assert not worker.is_alive()
    name = check_one_name(replicated)
    secondary = replicated.client.db.get_collection(
        name, read_preference=ReadPreference.SECONDARY)
    wait_until(lambda: ids(secondary) == list(range(DOCUMENTS)), 30, "level secondaries")
    for each in replicated.shards:
        each.wait_replicated()
