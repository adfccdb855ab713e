# SPDX-License-Identifier: Apache-2.0
"""Sharding over small replica sets: placement, versions, moves under load, the balancer, draining,
failures of a donor's primary.  Works without the launcher."""

import threading
import uuid

import pymongo
import pytest
from bson import Binary, Int64, MaxKey, MinKey, Timestamp
from pymongo.errors import OperationFailure

from lib.raw import RawConnection
from lib.replica_set import ReplicaSet
from lib.server import Server, connect
from lib.wait import wait_until

DOCUMENTS = 2000
SHARD_FLAGS = ("--shardsvr", "--setParameter", "orphanCleanupDelaySecs=1")


class Sharded:
    """A config server, two shards, two routers; the balancer is off."""

    def __init__(self, folder, shard_size=1):
        self.config = ReplicaSet(f"{folder}/cfg", 1, name="cfg", flags=("--configsvr",)).start()
        self.shards = {name: ReplicaSet(f"{folder}/{name}", shard_size, name=name,
                                        flags=SHARD_FLAGS).start() for name in ("sh1", "sh2")}
        for each in (self.config, *self.shards.values()):
            each.initiate()
        seed = f"cfg/{self.config.members[0].address}"
        self.routers = [Server("mongos", f"{folder}/r{i}", "--configdb", seed).start()
                        for i in range(2)]
        self.client = self.routers[0].client
        self.admin = self.client.admin
        for name, shard in self.shards.items():
            self.admin.command("addShard", f"{name}/{shard.members[0].address}")
        self.admin.command("balancerStop")

    def on(self, shard):
        return self.shards[shard].client.db.c

    def shard_by_n(self, documents=DOCUMENTS):
        self.admin.command("enableSharding", "db", primaryShard="sh1")
        self.admin.command("shardCollection", "db.c", key={"n": 1})
        self.client.db.c.insert_many(
            [{"_id": i, "n": i, "text": "x" * 500} for i in range(documents)])

    def move(self, n, to):
        self.admin.command("moveChunk", "db.c", find={"n": n}, to=to, forceJumbo=True)

    def chunks(self):
        return [(c["min"]["n"], c["max"]["n"], c["shard"])
                for c in self.client.config.chunks.find().sort("min", 1)]

    def close(self):
        for each in (self.config, *self.shards.values()):
            each.close()


@pytest.fixture
def sharded(folder):
    made = Sharded(folder)
    yield made
    made.close()


def test_shards_are_added_once_and_by_any_member(sharded):
    again = sharded.shards["sh1"].members[0].address
    assert sharded.admin.command("addShard", f"sh1/{again}")["shardAdded"] == "sh1"
    listed = sharded.admin.command("listShards")["shards"]
    assert [s["_id"] for s in listed] == ["sh1", "sh2"] and all(s["state"] == 1 for s in listed)
    with pytest.raises(OperationFailure, match="does not belong to replica set"):
        sharded.admin.command("addShard", f"other/{again}")


def test_a_range_key_starts_on_the_primary_shard_and_a_hashed_one_everywhere(sharded):
    sharded.shard_by_n(100)
    assert sharded.chunks() == [(MinKey(), MaxKey(), "sh1")]
    assert sharded.on("sh1").count_documents({}) == 100
    sharded.admin.command("shardCollection", "db.h", key={"n": "hashed"})
    sharded.client.db.h.insert_many([{"n": i} for i in range(400)])
    per_shard = [s.client.db.h.count_documents({}) for s in sharded.shards.values()]
    assert sum(per_shard) == 400 and min(per_shard) > 100
    with pytest.raises(OperationFailure) as failure:
        sharded.admin.command("shardCollection", "db.c", key={"other": 1})
    assert failure.value.code == 23


def test_a_moved_chunk_is_seen_once_by_routers_that_do_not_know(sharded):
    sharded.shard_by_n()
    stale = sharded.routers[1].client.db.c
    assert stale.count_documents({}) == DOCUMENTS
    sharded.admin.command("split", "db.c", middle={"n": 1000})
    sharded.move(1500, "sh2")
    assert sharded.chunks() == [(MinKey(), 1000, "sh1"), (1000, MaxKey(), "sh2")]
    assert len({d["_id"] for d in stale.find({}, {"_id": 1})}) == DOCUMENTS
    assert stale.update_one({"n": 1700}, {"$set": {"seen": 1}}).modified_count == 1
    assert sharded.on("sh2").find_one({"n": 1700})["seen"] == 1
    wait_until(lambda: sharded.on("sh1").count_documents({}) == 1000, 30, "the range's deletion")


def test_a_shard_refuses_other_versions(sharded):
    sharded.shard_by_n(10)
    entry = sharded.client.config.collections.find_one({"_id": "db.c"})
    def ask(major):
        version = {"e": entry["lastmodEpoch"], "t": entry["timestamp"], "v": Timestamp(major, 0)}
        return sharded.shards["sh1"].client.db.command("find", "c", shardVersion=version)
    assert len(ask(1)["cursor"]["firstBatch"]) == 10
    with pytest.raises(OperationFailure) as failure:
        ask(2)
    assert failure.value.code == 13388
    assert failure.value.details["vWanted"]["v"] == Timestamp(1, 0)


def test_moves_under_load_lose_and_repeat_nothing(sharded):
    sharded.shard_by_n()
    sharded.admin.command("split", "db.c", middle={"n": 1000})
    stopped, wrong, acknowledged = threading.Event(), [], {}

    def read():
        with connect(sharded.routers[1].port) as client:
            while not stopped.is_set():
                ids = [d["_id"] for d in client.db.c.find({}, {"_id": 1})]
                if len(ids) != DOCUMENTS or len(set(ids)) != DOCUMENTS:
                    wrong.append((len(ids), len(set(ids))))

    def write(number):
        with connect(sharded.routers[number % 2].port) as client:
            key = number
            while not stopped.is_set():
                key = (key + 36) % DOCUMENTS
                client.db.c.update_one({"n": key}, {"$inc": {"z": 1}})
                acknowledged[key] = acknowledged.get(key, 0) + 1

    threads = [threading.Thread(target=read)]
    threads += [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for each in threads:
        each.start()
    try:
        for _ in range(3):
            sharded.move(1500, "sh2")
            sharded.move(1500, "sh1")
    finally:
        stopped.set()
        for each in threads:
            each.join()
    assert not wrong
    stored = {d["n"]: d["z"] for d in sharded.client.db.c.find({"z": {"$exists": True}})}
    assert stored == acknowledged


def test_the_balancer_evens_out_and_drains(sharded):
    sharded.client.config.settings.update_one({"_id": "chunksize"}, {"$set": {"value": 1}},
                                              upsert=True)
    sharded.shard_by_n(100)
    sharded.client.db.c.insert_many([{"n": i, "text": "y" * 4000} for i in range(2000)])
    status = sharded.admin.command("balancerCollectionStatus", "db.c")
    assert status["firstComplianceViolation"] == "chunksImbalance"
    sharded.admin.command("balancerStart")
    wait_until(lambda: sharded.admin.command("balancerCollectionStatus", "db.c")[
        "balancerCompliant"], 60, "balance")
    assert len(list(sharded.client.db.c.find())) == 2100
    assert {shard for _, _, shard in sharded.chunks()} == {"sh1", "sh2"}
    assert sharded.admin.command("removeShard", "sh2")["state"] == "started"
    wait_until(lambda: sharded.admin.command("removeShard", "sh2")["state"] == "completed", 60,
               "the end of draining")
    assert {shard for _, _, shard in sharded.chunks()} == {"sh1"}
    assert len(list(sharded.client.db.c.find())) == 2100


def test_zones_place_chunks(sharded):
    sharded.shard_by_n(100)
    sharded.admin.command("addShardToZone", "sh2", zone="far")
    sharded.admin.command("updateZoneKeyRange", "db.c", min={"n": 50}, max={"n": MaxKey()},
                          zone="far")
    with pytest.raises(OperationFailure) as failure:
        sharded.admin.command("removeShardFromZone", "sh2", zone="far")
    assert failure.value.code == 163
    sharded.admin.command("balancerStart")
    wait_until(lambda: sharded.chunks() == [(MinKey(), 50, "sh1"), (50, MaxKey(), "sh2")], 60,
               "the zone's place")


def test_a_donors_new_primary_settles_an_unfinished_move(folder):
    sharded = Sharded(folder, shard_size=3)
    try:
        sharded.shard_by_n()
        sharded.admin.command("split", "db.c", middle={"n": 1000})
        failed = []

        def move():
            try:
                sharded.move(1500, "sh2")
            except pymongo.errors.PyMongoError as error:
                failed.append(error)
        mover = threading.Thread(target=move)
        mover.start()
        coordinators = sharded.shards["sh1"].client.config.migrationCoordinators
        wait_until(lambda: coordinators.find_one() or not mover.is_alive(), 20, "a move")
        sharded.shards["sh1"].primary().kill9()
        mover.join()
        assert len({d["_id"] for d in sharded.client.db.c.find({}, {"_id": 1})}) == DOCUMENTS
        wait_until(lambda: sharded.shards["sh1"].fresh_client().config.migrationCoordinators
                   .find_one() is None, 40, "the move's end")
        assert sharded.client.db.c.count_documents({}) == DOCUMENTS
        owners = dict((low, shard) for low, _, shard in sharded.chunks())
        assert owners[1000] in ("sh1", "sh2")
        assert sharded.client.db.c.update_many({"n": {"$gte": 1000}},
                                               {"$set": {"after": 1}}).modified_count == 1000
    finally:
        sharded.close()


def test_a_write_that_is_retried_after_its_document_moved_is_done_once(sharded):
    sharded.shard_by_n(100)
    sharded.admin.command("split", "db.c", middle={"n": 50})
    client = connect(sharded.routers[0].port, retryWrites=False)
    session = client.start_session()
    write = {"update": "c", "updates": [{"q": {"n": 70}, "u": {"$inc": {"z": 1}}}],
             "txnNumber": Int64(9), "lsid": session.session_id}

    def attempt():
        return client.db.command({**write})
    first = attempt()
    sharded.move(70, "sh2")
    second = attempt()
    assert (first["n"], second["n"], second["nModified"]) == (1, 1, 1)
    assert second["retriedStmtIds"] == [0]
    assert sharded.client.db.c.find_one({"n": 70})["z"] == 1
    client.close()


def test_a_batch_that_is_retried_after_its_documents_moved_is_inserted_once(sharded):
    sharded.shard_by_n(1)
    sharded.admin.command("split", "db.c", middle={"n": 50})
    client = connect(sharded.routers[0].port, retryWrites=False)
    session = client.start_session()
    documents = [{"_id": n, "n": n} for n in range(1, 101)]
    insert = {"insert": "c", "txnNumber": Int64(4), "lsid": session.session_id}
    assert client.db.command({**insert, "documents": documents[:90]})["n"] == 90
    sharded.move(70, "sh2")
    again = client.db.command({**insert, "documents": documents})
    assert again["n"] == 100 and sorted(again["retriedStmtIds"]) == [*range(90)]
    assert sorted(d["n"] for d in sharded.client.db.c.find()) == [*range(101)]
    client.close()


def test_what_a_move_nobody_knows_of_has_sent_is_cleaned_up_by_the_recipient(sharded):
    """A donor that was frozen begins a move, as it was about to, which its successor has given up
    already."""
    sharded.shard_by_n(100)
    sharded.admin.command("split", "db.c", middle={"n": 50})
    entry = sharded.client.config.collections.find_one({"_id": "db.c"})
    forgotten = {"_id": Binary(uuid.uuid4().bytes, 4), "nss": "db.c",
                 "collectionUuid": entry["uuid"], "donorShardId": "sh1", "recipientShardId": "sh2",
                 "range": {"min": {"n": 50}, "max": {"n": MaxKey()}},
                 "epoch": entry["lastmodEpoch"],
                 "timestamp": entry["timestamp"], "expected": Timestamp(1, 0), "key": {"n": 1}}
    deletions = sharded.shards["sh2"].client.config.rangeDeletions
    with RawConnection(sharded.shards["sh2"].primary().port) as donor:
        donor.call({"hello": 1, "$db": "admin",
                    "internalClient": {"minWireVersion": 0, "maxWireVersion": 21}})
        assert donor.call({"_recvChunkStart": forgotten, "$db": "admin"})["ok"]
        wait_until(lambda: donor.call({"_recvChunkStatus": forgotten["_id"],
                                       "$db": "admin"})["state"] == "fail", 30, "its failure")
    wait_until(lambda: deletions.count_documents({}) == 0, 30, "the deletion of what it brought")
    sharded.move(70, "sh2")
    assert sharded.on("sh2").count_documents({}) == 50
    assert sorted(d["n"] for d in sharded.client.db.c.find()) == [*range(100)]
