# SPDX-License-Identifier: Apache-2.0
"""What drivers rely on beside plain CRUD, with PyMongo on a replica set and through a router over
two shards: sessions, causal consistency, bulk writes and their errors, cursors, compressors,
options."""

import shutil
import tempfile
import threading
import uuid

import pymongo
import pytest
from bson import Binary, SON
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, ExecutionTimeout, OperationFailure

from lib import clients
from lib.relay import Relay
from lib.replica_set import ReplicaSet
from lib.server import connect
from lib.shards import ShardedCluster
from lib.wait import wait_until

SLOW = [{"$set": {"i": {"$range": [0, 100_000]}}}, {"$unwind": "$i"}, {"$set": {
    "j": {"$range": [0, 1000]}}}, {"$unwind": "$j"}, {"$match": {"j": -1}}]


class Deployment:
    """`primary()` is the process that takes a client's writes."""

    def __init__(self, kind, folder):
        self.is_sharded = kind == "router"
        if self.is_sharded:
            self._cluster = ShardedCluster(folder, shards=2, members=2).start()
            self.primary = lambda: self._cluster.routers[0]
            self.uri = f"mongodb://{self.primary().address}/"
        else:
            self._cluster = ReplicaSet(folder, 3).start().initiate()
            self.primary = self._cluster.primary
            self.uri = self._cluster.uri
        self.client = connect(self.uri)

    def make(self, **options):
        """A collection of its own; with a router both shards hold a part of it."""
        database = self.client[f"t{uuid.uuid4().hex[:12]}"]
        database.create_collection("items", **options)
        if self.is_sharded and "capped" not in options:
            name = f"{database.name}.items"
            self.client.admin.command("shardCollection", name, key={"_id": 1})
            self.client.admin.command("split", name, middle={"_id": 50})
            primary = self.client.config.databases.find_one({"_id": database.name})["primary"]
            other = "shard1" if primary == "shard0" else "shard0"
            self.client.admin.command("moveChunk", name, find={"_id": 60}, to=other)
        return database.items

    def close(self):
        self.client.close()
        self._cluster.close()


@pytest.fixture(scope="module", params=["replica set", "router"])
def deployment(request):
    folder = tempfile.mkdtemp(prefix="tessera-test-")
    made = []
    try:
        made.append(Deployment(request.param, folder))
        yield made[0]
    finally:
        for each in made:
            each.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def items(deployment):
    """A hundred documents {_id, n}."""
    collection = deployment.make()
    collection.insert_many([{"_id": i, "n": i % 10} for i in range(100)])
    yield collection
    deployment.client.drop_database(collection.database.name)


class Commands(pymongo.monitoring.CommandListener):
    """What a client sends."""

    def __init__(self):
        self.sent = []

    def started(self, event):
        self.sent.append(event.command)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


@pytest.fixture
def watched(deployment):
    commands = Commands()
    with connect(deployment.uri, event_listeners=[commands]) as client:
        yield client, commands.sent


def seen_by(watched, items):
    client, sent = watched
    return client[items.database.name].items, sent


def test_implicit_sessions_stay_with_their_cursor(watched, items):
    mine, sent = seen_by(watched, items)
    assert len(list(mine.find(batch_size=30))) == 100
    ids = {str(command["lsid"]) for command in sent}
    assert [next(iter(command)) for command in sent] == ["find", "getMore", "getMore", "getMore"]
    assert len(ids) == 1


def test_explicit_sessions(deployment, items):
    with deployment.client.start_session() as session:
        items.insert_one({"_id": 200}, session=session)
        assert items.find_one({"_id": 200}, session=session)
        cursor = items.find(batch_size=10, session=session)
        next(cursor)
        assert deployment.client.admin.command("refreshSessions", [session.session_id])["ok"] == 1
        deployment.client.admin.command("killSessions", [session.session_id])
        with pytest.raises(OperationFailure) as failure:
            list(cursor)
        assert failure.value.code in (43, 237)  # CursorNotFound, CursorKilled
    with deployment.client.start_session() as session:
        assert items.count_documents({}, session=session) == 101


@pytest.mark.parametrize("mode", [pymongo.ReadPreference.SECONDARY,
                                  pymongo.ReadPreference.NEAREST], ids=["secondary", "nearest"])
def test_causal_sessions_read_their_own_writes_anywhere(watched, items, mode):
    mine, sent = seen_by(watched, items)
    written = mine.with_options(write_concern=pymongo.WriteConcern(1))
    read = mine.with_options(read_preference=mode)
    with watched[0].start_session(causal_consistency=True) as session:
        for number in range(60):
            one = number % 100
            written.update_one({"_id": one}, {"$set": {"turn": number}}, session=session)
            assert read.find_one({"_id": one}, session=session)["turn"] == number
            assert read.count_documents({"turn": number}, session=session) == 1
        items.insert_one({"_id": "by another"})
        before = session.operation_time
        written.delete_many({"turn": {"$exists": True}}, session=session)
        assert session.operation_time >= before
        assert sum(1 for _ in read.find({"turn": {"$gte": 0}}, session=session)) == 0
    finds = [command for command in sent if "find" in command]
    assert all("afterClusterTime" in command["readConcern"] for command in finds)


def test_snapshot_sessions_see_one_moment(deployment, items):
    with deployment.client.start_session(snapshot=True) as session:
        assert items.count_documents({}, session=session) == 100
        items.insert_one({"_id": 300, "n": 300})
        items.delete_many({"n": 3})
        assert items.count_documents({}, session=session) == 100
        assert len(list(items.find({"n": 3}, session=session))) == 10
        assert items.distinct("n", session=session) == list(range(10))
    assert items.count_documents({}) == 91
    with deployment.client.start_session(snapshot=True) as session:
        assert 300 in items.distinct("n", session=session)
        items.delete_one({"_id": 300})
        assert items.find_one({"_id": 300}, session=session)


def test_bulk_writes(deployment):
    items = deployment.make(validator={"n": {"$gte": 0}})
    result = items.bulk_write([
        InsertOne({"_id": 1, "n": 1}), InsertOne({"_id": 60, "n": 1}),
        UpdateOne({"_id": 60}, {"$inc": {"n": 1}}), UpdateMany({}, {"$inc": {"n": 1}}),
        ReplaceOne({"_id": 1}, {"n": 7}), UpdateOne({"_id": 90}, {"$set": {"n": 5}}, upsert=True),
        DeleteOne({"_id": 60})])
    assert (result.inserted_count, result.modified_count, result.deleted_count) == (2, 4, 1)
    assert result.upserted_ids == {5: 90} and result.upserted_count == 1
    assert sorted((d["_id"], d["n"]) for d in items.find()) == [(1, 7), (90, 5)]


WRONG = [InsertOne({"_id": 1, "n": 1}), InsertOne({"_id": 70, "n": 1}),
         InsertOne({"_id": 1, "n": 2}), UpdateOne({"_id": 70}, {"$set": {"n": -1}}),
         UpdateOne({"_id": 1}, {"$set": {"n": 5}}),
         UpdateOne({"_id": 71}, {"$set": {"n": 1}}, upsert=True),
         InsertOne({"_id": 70, "n": 1}), DeleteOne({"_id": 70})]


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_bulk_write_errors(deployment, ordered):
    items = deployment.make(validator={"n": {"$gte": 0}})
    with pytest.raises(BulkWriteError) as failure:
        items.bulk_write(WRONG, ordered=ordered)
    details = failure.value.details
    found = [(e["index"], e["code"]) for e in details["writeErrors"]]
    duplicate = details["writeErrors"][0]
    assert duplicate["keyPattern"] == {"_id": 1} and duplicate["keyValue"] == {"_id": 1}
    assert duplicate["errmsg"].startswith("E11000 duplicate key error collection: "
                                          f"{items.full_name} index: _id_ dup key: {{ _id: 1 }}")
    assert duplicate["op"] == {"_id": 1, "n": 2}
    counts = {name: details[name] for name in (
        "nInserted", "nUpserted", "nMatched", "nModified", "nRemoved")}
    left = sorted(d["_id"] for d in items.find())
    if ordered:
        assert found == [(2, 11000)] and left == [1, 70]
        assert counts == {"nInserted": 2, "nUpserted": 0, "nMatched": 0, "nModified": 0,
                          "nRemoved": 0}
        return
    assert sorted(found) == [(2, 11000), (3, 121), (6, 11000)] and left == [1, 71]
    assert counts == {"nInserted": 2, "nUpserted": 1, "nMatched": 1, "nModified": 1, "nRemoved": 1}
    assert details["upserted"] == [{"index": 5, "_id": 71}]
    invalid = next(e for e in details["writeErrors"] if e["code"] == 121)
    assert invalid["errmsg"] == "Document failed validation"
    assert invalid["errInfo"]["failingDocumentId"] == 70


def test_bulk_write_concern_errors(deployment, items):
    unreachable = items.with_options(write_concern=pymongo.WriteConcern(w=9, wtimeout=100))
    with pytest.raises((BulkWriteError, OperationFailure)) as failure:
        unreachable.bulk_write([InsertOne({"_id": 101}), InsertOne({"_id": 101})], ordered=False)
    assert isinstance(failure.value, BulkWriteError), failure.value
    details = failure.value.details
    assert [e["code"] for e in details["writeErrors"]] == [11000]
    assert [e["code"] for e in details["writeConcernErrors"]] == [100]
    assert items.find_one({"_id": 101})


def test_unacknowledged_writes(items):
    quiet = items.with_options(write_concern=pymongo.WriteConcern(w=0))
    assert not quiet.insert_one({"_id": 110}).acknowledged
    assert not quiet.update_one({"_id": 60}, {"$set": {"n": 99}}).acknowledged
    wait_until(lambda: items.find_one({"_id": 110}) and items.find_one({"n": 99}), 10, "the writes")


def test_batches(watched, items):
    mine, sent = seen_by(watched, items)
    ids = [d["_id"] for d in mine.find(batch_size=7, sort=[("_id", 1)])]
    assert ids == list(range(100)) and len(sent) == 15  # 14 full batches and the rest.
    del sent[:]
    assert len(list(mine.find(limit=50, batch_size=20))) == 50 and len(sent) == 3
    del sent[:]
    assert len(list(mine.find(limit=-5))) == 5 and len(sent) == 1
    assert len(list(mine.aggregate([], batchSize=0))) == 100
    cursor = mine.find(no_cursor_timeout=True, batch_size=2)
    next(cursor)
    cursor.close()
    assert list(mine.find({"_id": -1})) == []


def test_large_documents_come_in_batches(watched, items):
    mine, sent = seen_by(watched, items)
    text = "x" * (1 << 20)
    mine.insert_many([{"_id": i, "text": text} for i in range(1000, 1020)])
    del sent[:]
    got = list(mine.find({"_id": {"$gte": 1000}}))
    assert len(got) == 20 and all(d["text"] == text for d in got)
    assert len(sent) == 2
    with pytest.raises(pymongo.errors.DocumentTooLarge):
        mine.insert_one({"text": Binary(b"x" * (17 << 20))})


def check_tailable_cursors(items):
    items.insert_many([{"_id": i} for i in range(3)])
    cursor = items.find(cursor_type=pymongo.CursorType.TAILABLE_AWAIT).max_await_time_ms(200)
    assert [next(cursor)["_id"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(cursor)
    assert cursor.alive
    waiting = items.find(cursor_type=pymongo.CursorType.TAILABLE_AWAIT).max_await_time_ms(60_000)
    got = [next(waiting) for _ in range(3)]
    thread = threading.Thread(target=lambda: got.append(next(waiting, "nothing")))
    thread.start()
    items.database.other.insert_one({})  # Not what it waits for.
    wait_until(lambda: [op for op in items.database.client.admin.aggregate([{"$currentOp": {}}])
                        if "getMore" in op["command"] and op["ns"] == items.full_name], 10, "it")
    items.insert_one({"_id": 3})
    thread.join(20)
    assert [d["_id"] for d in got] == [0, 1, 2, 3]
    assert next(cursor)["_id"] == 3
    waiting.close()
    cursor.close()


def test_tailable_cursors_wait_for_data(deployment):
    check_tailable_cursors(deployment.make(capped=True, size=100_000))


def test_tailable_cursors_of_a_standalone_wait_for_data(standalone):
    check_tailable_cursors(standalone.client.shop.create_collection("c", capped=True, size=10_000))


@pytest.mark.parametrize("name, number", [("snappy", 1), ("zlib", 2), ("zstd", 3)])
def test_compressors(deployment, items, name, number):
    """The tools' driver has all three; PyMongo without further packages has zlib."""
    database, relay = items.database.name, Relay(deployment.primary().port)
    try:
        uri = f"mongodb://{relay.address}/?directConnection=true"
        lines = "\n".join(f'{{"_id": {i}, "text": "{"y" * 500}"}}' for i in range(1000, 1200))
        where = ("--uri", uri, "--db", database, "--collection", "items", f"--compressors={name}")
        clients.run("mongoimport", *where, stdin=lines)
        assert items.count_documents({"text": "y" * 500}) == 200
        said = clients.run("mongoexport", *where, "--query", '{"text": {"$exists": true}}').stdout
        assert said.count('"text"') == 200
        assert relay.compressors == {("asked", number), ("answered", number)}
        if name == "zlib":
            relay.compressors.clear()
            with connect(uri, compressors=name) as client:
                assert client[database].items.find_one({"_id": 1000})["text"] == "y" * 500
            assert relay.compressors == {("asked", number), ("answered", number)}
    finally:
        relay.close()


def test_hints(items):
    items.create_index("n", name="by_n")
    for hint in ("by_n", [("n", 1)], SON([("n", 1)])):
        plan = str(items.find({"_id": {"$gte": 0}, "n": 3}).hint(hint).explain()["queryPlanner"])
        assert "by_n" in plan
        assert len(list(items.find({"n": 3}, hint=hint))) == 10
    assert items.count_documents({"n": 3}, hint="by_n") == 10
    assert items.update_many({"n": 3}, {"$set": {"x": 1}}, hint="by_n").modified_count == 10
    assert items.find_one_and_update({"_id": 3}, {"$set": {"x": 2}}, hint="by_n")["x"] == 1
    assert items.delete_many({"n": 3}, hint=[("n", 1)]).deleted_count == 10
    for wrong in (lambda: items.find_one({}, hint="nothing"),
                  lambda: items.update_one({"_id": 1}, {"$set": {"x": 1}}, hint="nothing"),
                  lambda: items.delete_one({"_id": 1}, hint=[("nothing", 1)]),
                  lambda: list(items.aggregate([], hint="nothing"))):
        with pytest.raises(OperationFailure) as refused:
            wrong()
        assert refused.value.code == 2 and "hint" in str(refused.value)


OPERATIONS = {
    "find": lambda c, **more: list(c.find({}, **more)),
    "aggregate": lambda c, **more: list(c.aggregate([], **more)),
    "count": lambda c, **more: c.count_documents({}, **more),
    "distinct": lambda c, **more: c.distinct("n", **more),
    "update": lambda c, **more: c.update_one({"_id": 1}, {"$set": {"x": 1}}, **more),
    "replace": lambda c, **more: c.replace_one({"_id": 1}, {"x": 1}, **more),
    "delete": lambda c, **more: c.delete_one({"_id": 1}, **more),
    "findAndModify": lambda c, **more:
        c.find_one_and_update({"_id": 2}, {"$inc": {"x": 1}}, **more),
    "createIndexes": lambda c, **more: c.create_index("x", **more),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_collations_but_the_simple_one_are_refused_by_name(items, name):
    with pytest.raises(OperationFailure) as refused:
        OPERATIONS[name](items, collation={"locale": "en", "strength": 2})
    assert refused.value.code == 238 and "collation" in str(refused.value).lower()
    OPERATIONS[name](items, collation={"locale": "simple"})


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("comment", ["text", {"a": [1]}, 7], ids=str)
def test_comments_of_any_type(items, name, comment):
    OPERATIONS[name](items, comment=comment)


def test_time_limits(items):
    with pytest.raises(ExecutionTimeout) as failure:
        list(items.aggregate(SLOW, maxTimeMS=100))
    assert failure.value.code == 50
    with pymongo.timeout(0.3):
        with pytest.raises(pymongo.errors.PyMongoError) as failure:
            list(items.aggregate(SLOW))
    assert failure.value.timeout
    assert len(list(items.find(max_time_ms=60_000, batch_size=10))) == 100
    with pytest.raises(OperationFailure):
        items.find_one({}, max_time_ms=-1)
