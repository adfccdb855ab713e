# SPDX-License-Identifier: Apache-2.0
"""Reads of one moment: over shards, and of a capped collection that has moved on."""

import threading

import bson
import pymongo
import pytest

from lib.wait import wait_until

SNAPSHOT_TOO_OLD = 239
CAPPED_POSITION_LOST = 136


@pytest.fixture
def two_halves(shared_cluster, database):
    """A collection with document 0 on one shard and document 1 on another."""
    admin = shared_cluster.client.admin
    shards = sorted(each["_id"] for each in admin.command("listShards")["shards"])
    admin.command("enableSharding", database.name, primaryShard=shards[0])
    namespace = f"{database.name}.pairs"
    admin.command("shardCollection", namespace, key={"_id": 1})
    admin.command("split", namespace, middle={"_id": 1})
    admin.command("moveChunk", namespace, find={"_id": 1}, to=shards[1])
    database.pairs.insert_many([{"_id": 0, "n": 0}, {"_id": 1, "n": 0}])
    for each, shard in ((0, shards[0]), (1, shards[1])):
        plan = database.command("explain", {"find": "pairs", "filter": {"_id": each}},
                                verbosity="queryPlanner")
        assert [s["shardName"] for s in plan["queryPlanner"]["winningPlan"]["shards"]] == [shard]
    return database.pairs


def values(collection, at):
    reply = collection.database.command("find", collection.name, sort={"_id": 1}, readConcern={
        "level": "snapshot", "atClusterTime": at})
    return tuple(document["n"] for document in reply["cursor"]["firstBatch"])


def in_kept_history(read):
    """What a read returns; None where the machine is so slow that the history is gone."""
    try:
        return read()
    except pymongo.errors.OperationFailure as error:
        assert error.code == SNAPSHOT_TOO_OLD, error
        return None


def test_a_time_is_the_same_time_on_every_shard(two_halves):
    with two_halves.database.client.start_session() as session:
        def write(number):
            two_halves.update_one({"_id": number % 2}, {"$inc": {"n": 1}}, session=session)
            return session.operation_time

        def a_round():
            """Times of eight writes, to the two shards in turn, each read after all of them."""
            state = [document["n"] for document in two_halves.find(session=session, sort=["_id"])]
            expected = []
            for number in range(8):
                state[number % 2] += 1
                expected.append((write(number), tuple(state)))
            for at, wanted in expected:
                found = in_kept_history(lambda when=at: values(two_halves, when))
                if found is None:
                    return False
                assert found == wanted
            return True
        wait_until(a_round, 60, "a round within the kept history")


def test_any_time_is_one_cut_while_others_write(two_halves):
    stopped, failed, cuts = threading.Event(), [], []

    def write():
        # 0 first and 1 after it: no moment has seen more of 1 than of 0, nor two more of 0.
        try:
            with two_halves.database.client.start_session() as session:
                while not stopped.is_set():
                    for each in (0, 1):
                        two_halves.update_one({"_id": each}, {"$inc": {"n": 1}}, session=session)
        except pymongo.errors.PyMongoError as error:
            failed.append(error)
    writer = threading.Thread(target=write)
    writer.start()

    def cut():
        now = two_halves.database.command("ping")["$clusterTime"]["clusterTime"]
        found = in_kept_history(lambda: values(two_halves, now))
        if found is not None:
            cuts.append(found)
            assert found[1] <= found[0] <= found[1] + 1
        return len(cuts) >= 30
    try:
        wait_until(cut, 60, "thirty cuts")
    finally:
        stopped.set()
        writer.join()
    assert not failed


def test_times_that_cannot_be_read_are_refused(two_halves):
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        values(two_halves, bson.Timestamp(1000, 1))
    assert refused.value.code == SNAPSHOT_TOO_OLD
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        two_halves.database.command("find", "pairs", readConcern={
            "level": "majority", "atClusterTime": bson.Timestamp(1000, 1)})
    assert refused.value.code in (2, 72)


def test_a_tailable_cursor_that_is_overrun_says_so(standalone):
    database = standalone.client.tp
    database.create_collection("log", capped=True, size=100_000, max=5)
    database.log.insert_many([{"_id": i} for i in range(5)])
    for batch in (2, 5):
        reply = database.command("find", "log", tailable=True, batchSize=batch)
        assert len(reply["cursor"]["firstBatch"]) == batch
        last = reply["cursor"]["firstBatch"][-1]["_id"]
        database.log.insert_many([{"_id": last + 10 + i} for i in range(20)])
        with pytest.raises(pymongo.errors.OperationFailure) as lost:
            database.command("getMore", reply["cursor"]["id"], collection="log")
        assert lost.value.code == CAPPED_POSITION_LOST
    # One that keeps up goes on.
    reply = database.command("find", "log", tailable=True)
    database.log.insert_one({"_id": "new"})
    more = database.command("getMore", reply["cursor"]["id"], collection="log")
    assert [document["_id"] for document in more["cursor"]["nextBatch"]] == ["new"]
