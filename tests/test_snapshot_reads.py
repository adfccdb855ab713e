# SPDX-License-Identifier: Apache-2.0
"""Reads of one moment: over shards, and of a capped collection that has moved on."""

import threading

import bson
import pymongo
import pytest

from lib.wait import wait_until

SNAPSHOT_TOO_OLD = 239
SNAPSHOT_UNAVAILABLE = 246
STALE_CHUNK_HISTORY = 250
INVALID_OPTIONS = 72
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

    def some_cuts():
        for _ in range(5):
            cut()
        return len(cuts) >= 30
    try:
        wait_until(some_cuts, 60, "thirty cuts")
    finally:
        stopped.set()
        writer.join()
    assert not failed


def move_on(collection):
    """Moves document 1 to the next shard: where it was, it is soon to be deleted."""
    config = collection.database.client.config
    of_collection = config.collections.find_one({"_id": collection.full_name})["uuid"]
    here = config.chunks.find_one({"uuid": of_collection}, sort={"min": -1})["shard"]
    shards = [each["_id"] for each in config.shards.find(sort={"_id": 1})]
    there = shards[(shards.index(here) + 1) % len(shards)]
    config.client.admin.command("moveChunk", collection.full_name, find={"_id": 1}, to=there)


def snapshot_of(collection, session):
    """The two documents' numbers, and whether every way to read the session's moment agrees."""
    found = tuple(d["n"] for d in collection.find(session=session, sort=["_id"]))
    assert tuple(d["n"] for d in collection.find(session=session, sort=["_id"], batch_size=1)) \
        == found
    assert sorted(set(found)) == collection.distinct("n", session=session)
    grouped = collection.aggregate([{"$group": {"_id": None, "sum": {"$sum": "$n"},
                                                "count": {"$sum": 1}}}], session=session)
    assert [(d["sum"], d["count"]) for d in grouped] == [(sum(found), 2)]
    assert collection.find_one({"_id": 1}, session=session)["n"] == found[1]
    return found


def test_a_session_sees_one_moment_while_others_write_and_move(two_halves):
    stopped, failed, moves, sessions = threading.Event(), [], [], []

    def in_background(action):
        def run():
            try:
                while not stopped.is_set():
                    action()
            except pymongo.errors.PyMongoError as error:
                failed.append(error)
        threads.append(threading.Thread(target=run))
        threads[-1].start()
    threads = []

    def write():
        # 0 first and 1 after it, so no moment has seen more of 1 than of 0, nor two more of 0.
        with two_halves.database.client.start_session() as session:
            for each in (0, 1):
                two_halves.update_one({"_id": each}, {"$inc": {"n": 1}}, session=session)

    def move():
        move_on(two_halves)
        moves.append(1)

    def read():
        client = two_halves.database.client
        with client.start_session(snapshot=True) as session:
            source = two_halves
            if len(sessions) % 2:
                source = two_halves.with_options(read_preference=pymongo.ReadPreference.SECONDARY)
            found = in_kept_history(lambda: snapshot_of(source, session))
        if found is not None:
            sessions.append(found)
            assert found[1] <= found[0] <= found[1] + 1

    def read_some():
        for _ in range(5):
            read()
        return failed or (len(sessions) >= 30 and len(moves) >= 3)
    try:
        in_background(write)
        in_background(move)
        wait_until(read_some, 90, "thirty sessions and three moves")
    finally:
        stopped.set()
        for each in threads:
            each.join()
    assert not failed


def test_a_session_goes_on_where_the_data_was(two_halves):
    def a_round():
        # One by one: an update of many through a router behind the last move may miss one.
        for each in (0, 1):
            two_halves.update_one({"_id": each}, {"$set": {"n": 0}})
        two_halves.delete_one({"_id": 2})
        with two_halves.database.client.start_session(snapshot=True) as session:
            def read():
                return in_kept_history(lambda: snapshot_of(two_halves, session))
            first = read()
            cursor = two_halves.find(session=session, sort=["_id"], batch_size=1)
            first_document = in_kept_history(lambda: next(cursor))
            move_on(two_halves)
            for each in (0, 1):
                two_halves.update_one({"_id": each}, {"$inc": {"n": 1}})
            two_halves.insert_one({"_id": 2, "n": 7})
            again, rest = read(), in_kept_history(lambda: list(cursor))
            if None in (first, first_document, again, rest):
                return False
            assert first == again == (0, 0)
            assert [first_document, *rest] == [{"_id": 0, "n": 0}, {"_id": 1, "n": 0}]
        with two_halves.database.client.start_session(snapshot=True) as session:
            assert sorted(d["n"] for d in two_halves.find(session=session)) == [1, 1, 7]
        return True
    wait_until(a_round, 60, "a round within the kept history")


def test_every_router_knows_a_moment(shared_cluster, two_halves):
    def read(database, name, wanted):
        reply = database.command("find", name, readConcern={"level": "snapshot"})
        return reply if [d["n"] for d in reply["cursor"]["firstBatch"]] == wanted else None
    for each in (0, 1):
        two_halves.update_one({"_id": each}, {"$set": {"n": 5}})
    for port in [n["port"] for n in shared_cluster.status()["nodes"] if n["role"] == "router"]:
        with pymongo.MongoClient("localhost", port) as router:
            mine = router[two_halves.database.name]
            for name in ("pairs", "none"):
                wanted = [5, 5] if name == "pairs" else []
                # The recent past: what others have just written need not be seen at once.
                reply = wait_until(lambda: read(mine, name, wanted), 20, "what was written")
                assert isinstance(reply["cursor"]["atClusterTime"], bson.Timestamp)
                reply = mine.command("distinct", name, key="n", readConcern={"level": "snapshot"})
                assert reply["values"] == wanted[:1]
                assert isinstance(reply["atClusterTime"], bson.Timestamp)
            nowhere = router[two_halves.database.name + "x"].command(
                "aggregate", "none", pipeline=[], cursor={}, readConcern={"level": "snapshot"})
            assert isinstance(nowhere["cursor"]["atClusterTime"], bson.Timestamp)
            with pytest.raises(pymongo.errors.OperationFailure) as refused:
                mine.command("count", "pairs", readConcern={"level": "snapshot"})
            assert refused.value.code == INVALID_OPTIONS


def test_a_moment_before_its_database_moved_is_refused(shared_cluster, database):
    admin = shared_cluster.client.admin
    shards = sorted(each["_id"] for each in admin.command("listShards")["shards"])
    admin.command("enableSharding", database.name, primaryShard=shards[0])
    database.items.insert_many([{"_id": i} for i in range(10)])
    with shared_cluster.client.start_session(snapshot=True) as session:
        assert len(list(database.items.find(session=session))) == 10
        admin.command("movePrimary", database.name, to=shards[1])
        with pytest.raises(pymongo.errors.OperationFailure) as refused:
            list(database.items.find(session=session))
        assert refused.value.code == SNAPSHOT_UNAVAILABLE
    with shared_cluster.client.start_session(snapshot=True) as session:
        assert len(list(database.items.find(session=session))) == 10


def test_times_that_cannot_be_read_are_refused(two_halves):
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        values(two_halves, bson.Timestamp(1000, 1))
    assert refused.value.code == STALE_CHUNK_HISTORY
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        values(two_halves.database.plain, bson.Timestamp(1000, 1))
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
