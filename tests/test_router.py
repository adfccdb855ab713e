# SPDX-License-Identifier: Apache-2.0
"""Routers over real shards: what a client does through them, and that a sharded collection gives
the same answers as an unsharded one."""

import shutil
import tempfile

import pymongo
import pytest
from bson.int64 import Int64
from pymongo import InsertOne, UpdateOne, DeleteOne, ReplaceOne
from pymongo.errors import BulkWriteError, OperationFailure

from lib.shards import ShardedCluster
from lib.server import Server

DOCUMENTS = [{"_id": i, "k": i, "group": i % 7, "text": f"t{i % 13}", "list": [i % 3, i % 5],
              "nested": {"a": i % 4, "b": i}} for i in range(400)]


@pytest.fixture(scope="module")
def sharded():
    """Two shards, one config server, one router; for the whole module."""
    folder = tempfile.mkdtemp(prefix="tessera-test-")
    cluster = ShardedCluster(folder)
    try:
        yield cluster.start()
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def twins(sharded):
    """The same documents unsharded and sharded over both shards: (plain, split)."""
    database = sharded.client["twins"]
    sharded.shard_collection("twins.split", {"k": 1}, splits=[{"k": 100}, {"k": 200}, {"k": 300}],
                             moves=[({"k": 150}, "shard1"), ({"k": 350}, "shard1")])
    for name in ("plain", "split"):
        database[name].insert_many(DOCUMENTS)
        database[name].create_index("group")
    return database["plain"], database["split"]


def test_router_says_what_it_is(sharded):
    hello = sharded.client.admin.command("hello")
    assert hello["msg"] == "isdbgrid"
    assert "setName" not in hello


def test_crud_on_an_unsharded_collection(sharded):
    items = sharded.client["plain_crud"]["items"]
    assert items.insert_one({"_id": 1, "n": 1}).inserted_id == 1
    items.insert_many([{"_id": i, "n": i} for i in range(2, 300)])
    assert items.find_one({"_id": 1}) == {"_id": 1, "n": 1}
    assert len(list(items.find({}, batch_size=50))) == 299
    assert items.update_one({"_id": 1}, {"$inc": {"n": 5}}).modified_count == 1
    assert items.update_many({"n": {"$gt": 100}}, {"$set": {"big": True}}).modified_count == 199
    assert items.delete_one({"_id": 2}).deleted_count == 1
    assert items.delete_many({"big": True}).deleted_count == 199
    assert items.count_documents({}) == 99
    found = items.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}},
                                      return_document=pymongo.ReturnDocument.AFTER)
    assert found == {"_id": 1, "n": 7}
    upserted = items.update_one({"_id": "new"}, {"$set": {"n": 0}}, upsert=True)
    assert upserted.upserted_id == "new"


def test_both_shards_hold_a_part(sharded, twins):
    counts = [shard.primary().client["twins"]["split"].count_documents({})
              for shard in sharded.shards]
    assert counts == [200, 200]


QUERIES = [
    ({}, {}),
    ({"k": 17}, {}),
    ({"k": {"$in": [1, 120, 250, 390]}}, {"sort": [("k", -1)]}),
    ({"k": {"$gte": 90, "$lt": 310}}, {"sort": [("k", 1)], "skip": 7, "limit": 40}),
    ({"group": 3}, {"sort": [("group", 1), ("k", -1)], "limit": 9}),
    ({"group": {"$ne": 2}}, {"sort": [("nested.a", -1), ("_id", 1)], "projection": {"text": 1}}),
    ({"list": 2}, {"sort": [("list", 1), ("_id", 1)], "skip": 3, "batch_size": 5}),
    ({"_id": 222}, {}),
    ({"text": {"$regex": "^t1"}}, {"sort": [("_id", 1)], "batch_size": 2}),
    ({"k": 5000}, {}),
    ({}, {"sort": [("k", 1)], "limit": 1}),
    ({}, {"sort": [("k", -1)], "skip": 395}),
]


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_finds_are_the_same_sharded(twins, number):
    query, options = QUERIES[number]
    plain, split = (list(each.find(query, **options)) for each in twins)
    if "sort" not in options:
        plain, split = (sorted(each, key=lambda d: d["_id"]) for each in (plain, split))
    assert plain == split


PIPELINES = [
    [{"$match": {"k": 7}}],
    [{"$group": {"_id": "$group", "n": {"$sum": 1}, "avg": {"$avg": "$k"}, "top": {"$max": "$k"},
                 "all": {"$addToSet": "$text"}}}, {"$sort": {"_id": 1}},
     {"$project": {"n": 1, "avg": 1, "top": 1, "size": {"$size": "$all"}}}],
    [{"$sort": {"k": -1}}, {"$limit": 11}],
    [{"$sort": {"nested.a": 1, "_id": 1}}, {"$skip": 5}, {"$limit": 20}],
    [{"$match": {"group": {"$lt": 4}}}, {"$count": "n"}],
    [{"$unwind": "$list"}, {"$group": {"_id": "$list", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}],
    [{"$sortByCount": "$text"}, {"$sort": {"count": -1, "_id": 1}}],
    [{"$facet": {"few": [{"$match": {"k": {"$lt": 3}}}, {"$sort": {"k": 1}}],
                 "n": [{"$count": "n"}]}}],
    [{"$bucket": {"groupBy": "$k", "boundaries": [0, 50, 180, 400]}}],
    [{"$match": {"k": {"$in": [5, 205]}}}, {"$sort": {"k": 1}},
     {"$lookup": {"from": "plain", "localField": "group", "foreignField": "k", "as": "other"}}],
    [{"$match": {"k": {"$in": [5, 205]}}}, {"$sort": {"k": 1}},
     {"$lookup": {"from": "split", "localField": "group", "foreignField": "k", "as": "other"}}],
    [{"$match": {"k": {"$lt": 3}}}, {"$unionWith": {"coll": "split",
                                                   "pipeline": [{"$match": {"k": {"$gt": 397}}}]}},
     {"$sort": {"k": 1}}],
    [{"$group": {"_id": None, "std": {"$stdDevPop": "$k"}}},
     {"$project": {"std": {"$round": ["$std", 6]}}}],
    [{"$match": {"k": {"$lt": 2}}}, {"$graphLookup": {
        "from": "split", "startWith": "$group", "connectFromField": "group",
        "connectToField": "k", "as": "all"}}, {"$project": {"n": {"$size": "$all"}}},
     {"$sort": {"_id": 1}}],
]


@pytest.mark.parametrize("number", range(len(PIPELINES)))
def test_pipelines_are_the_same_sharded(twins, number):
    plain, split = (list(each.aggregate(PIPELINES[number])) for each in twins)
    assert plain == split


def test_counts_and_distincts_are_the_same_sharded(twins):
    plain, split = twins
    for query in ({}, {"k": 4}, {"group": 2}, {"k": {"$gt": 150}}):
        assert plain.count_documents(query) == split.count_documents(query)
        for key in ("group", "text", "list", "nested.a"):
            assert plain.distinct(key, query) == split.distinct(key, query)
    assert split.estimated_document_count() == 400
    assert split.count_documents({}, skip=30, limit=100) == 100


def test_writes_on_a_sharded_collection(sharded):
    sharded.shard_collection("writes.items", {"k": 1}, splits=[{"k": 50}],
                             moves=[({"k": 60}, "shard1")])
    items = sharded.client["writes"]["items"]
    items.insert_many([{"_id": i, "k": i, "n": 0} for i in range(100)])
    assert items.update_one({"k": 70}, {"$inc": {"n": 1}}).modified_count == 1
    assert items.update_one({"_id": 71}, {"$inc": {"n": 1}}).modified_count == 1
    assert items.update_many({}, {"$inc": {"n": 1}}).modified_count == 100
    assert items.find_one({"_id": 71}) == {"_id": 71, "k": 71, "n": 2}
    # Neither shard key nor _id: one document, wherever it is.
    assert items.update_one({"n": 2}, {"$set": {"n": 9}}).modified_count == 1
    assert items.count_documents({"n": 9}) == 1
    assert items.delete_one({"n": 9}).deleted_count == 1
    assert items.count_documents({}) == 99
    found = items.find_one_and_update({"n": 1}, {"$set": {"mark": 1}}, sort=[("k", -1)],
                                      return_document=pymongo.ReturnDocument.AFTER)
    assert found["k"] == 99
    assert items.find_one_and_delete({"k": 98})["_id"] == 98
    assert items.find_one_and_update({"n": 77}, {"$set": {"mark": 2}}) is None
    # Upserts: by the full key, and by what the update says.
    assert items.update_one({"k": 500}, {"$set": {"n": 5}}, upsert=True).upserted_id is not None
    upserted = items.update_one({"mark": "new"}, {"$set": {"k": 501}}, upsert=True).upserted_id
    assert items.find_one({"k": 501})["_id"] == upserted
    assert items.delete_many({"k": {"$gte": 500}}).deleted_count == 2


def test_bulk_writes_keep_their_order_and_their_errors(sharded, twins):
    items = sharded.client["writes"]["bulk"]
    sharded.shard_collection("writes.bulk", {"k": 1}, splits=[{"k": 50}],
                             moves=[({"k": 60}, "shard1")])
    result = items.bulk_write([
        InsertOne({"_id": 1, "k": 1}), InsertOne({"_id": 60, "k": 60}),
        UpdateOne({"k": 60}, {"$set": {"x": 1}}), ReplaceOne({"k": 1}, {"k": 1, "y": 2}),
        DeleteOne({"k": 60}), InsertOne({"_id": 61, "k": 60, "z": 1})])
    assert (result.inserted_count, result.modified_count, result.deleted_count) == (3, 2, 1)
    assert sorted(d["_id"] for d in items.find()) == [1, 61]
    with pytest.raises(BulkWriteError) as failure:
        items.insert_many([{"_id": 2, "k": 2}, {"_id": 1, "k": 1}, {"_id": 62, "k": 62}],
                          ordered=False)
    errors = failure.value.details["writeErrors"]
    assert [(e["index"], e["code"]) for e in errors] == [(1, 11000)]
    assert failure.value.details["nInserted"] == 2
    with pytest.raises(BulkWriteError) as failure:
        items.insert_many([{"_id": 1, "k": 1}, {"_id": 63, "k": 63}])
    assert items.find_one({"_id": 63}) is None


def test_retried_writes_are_done_once(sharded):
    items = sharded.client["writes"]["retried"]
    items.insert_one({"_id": 0, "n": 0})
    with sharded.client.start_session() as session:
        lsid = session.session_id
        command = {"update": "retried", "updates": [{"q": {"_id": 0}, "u": {"$inc": {"n": 1}}}],
                   "lsid": lsid, "txnNumber": Int64(1)}
        database = sharded.client["writes"]
        assert database.command(command)["n"] == 1
        again = database.command(command)
        assert again["n"] == 1 and again["retriedStmtIds"] == [0]
    assert items.find_one({"_id": 0})["n"] == 1


def test_out_and_merge(sharded, twins):
    _, split = twins
    database = split.database
    split.aggregate([{"$match": {"k": {"$lt": 250}}}, {"$project": {"k": 1}}, {"$out": "copied"}])
    assert database["copied"].count_documents({}) == 250
    split.aggregate([{"$match": {"k": {"$gte": 200}}}, {"$merge": {
        "into": "copied", "whenMatched": "merge", "whenNotMatched": "insert"}}])
    assert database["copied"].count_documents({}) == 400
    assert database["copied"].find_one({"_id": 399})["group"] == 0
    sharded.shard_collection("twins.target", {"k": 1}, splits=[{"k": 200}],
                             moves=[({"k": 300}, "shard1")])
    split.aggregate([{"$merge": {"into": "target"}}])
    assert database["target"].count_documents({}) == 400
    with pytest.raises(OperationFailure) as failure:
        split.aggregate([{"$out": "target"}])
    assert failure.value.code == 28769


def test_views_over_sharded_and_unsharded_collections(twins):
    database = twins[0].database
    for name in ("plain", "split"):
        database.command("create", f"{name}_view", viewOn=name,
                         pipeline=[{"$match": {"group": 1}}, {"$project": {"k": 1}}])
    plain, split = database["plain_view"], database["split_view"]
    for read in (lambda c: sorted(c.find({"k": {"$gt": 50}}), key=lambda d: d["_id"]),
                 lambda c: c.count_documents({}), lambda c: c.distinct("k"),
                 lambda c: list(c.find({}, sort=[("k", -1)], limit=3)),
                 lambda c: list(c.aggregate([{"$sort": {"k": 1}}, {"$limit": 4}]))):
        assert read(plain) == read(split)


def test_a_view_that_looks_up_a_sharded_collection(twins):
    database = twins[0].database
    for name in ("plain", "split"):
        database.command("create", f"{name}_joined", viewOn="plain", pipeline=[
            {"$match": {"k": {"$in": [3, 230]}}},
            {"$lookup": {"from": name, "localField": "k", "foreignField": "k", "as": "same"}}])
    plain, split = (sorted(database[f"{name}_joined"].find(), key=lambda d: d["_id"])
                    for name in ("plain", "split"))
    assert plain == split and [len(d["same"]) for d in split] == [1, 1]


def test_cursors_are_the_routers_own(sharded, twins):
    _, split = twins
    cursor = split.find({}, batch_size=10)
    next(cursor)
    killed = split.database.command("killCursors", "split", cursors=[cursor.cursor_id])
    assert killed["cursorsKilled"] == [cursor.cursor_id]
    with pytest.raises(OperationFailure) as failure:
        list(cursor)
    assert failure.value.code == 43


def test_catalog_and_sizes(sharded, twins):
    plain, split = twins
    database = split.database
    assert {"plain", "split"} <= set(database.list_collection_names())
    assert "twins" in sharded.client.list_database_names()
    assert set(split.index_information()) == {"_id_", "k_1", "group_1"}
    stats = database.command("collStats", "split")
    assert stats["sharded"] and stats["count"] == 400 and set(stats["shards"]) == {
        "shard0", "shard1"}
    assert database.command("collStats", "plain")["primary"] == "shard0"
    assert database.command("dbStats")["objects"] >= 800
    assert database.command("validate", "split")["valid"]
    per_shard = list(split.aggregate([{"$collStats": {"count": {}}}]))
    assert sorted((d["shard"], d["count"]) for d in per_shard) == [("shard0", 200),
                                                                  ("shard1", 200)]
    distribution = [d for d in sharded.client.admin.aggregate([{"$shardedDataDistribution": {}}])
                    if d["ns"] == "twins.split"]
    assert sum(s["numOwnedDocuments"] for s in distribution[0]["shards"]) == 400


def test_explain(twins):
    plain, split = twins
    one = split.find({"k": 5}).explain()["queryPlanner"]["winningPlan"]
    assert one["stage"] == "SINGLE_SHARD" and len(one["shards"]) == 1
    assert plain.find({}).explain()["queryPlanner"]["winningPlan"]["stage"] == "SINGLE_SHARD"
    many = split.find({}).sort("group", 1).explain()
    assert many["queryPlanner"]["winningPlan"]["stage"] == "SHARD_MERGE_SORT"
    assert many["executionStats"]["nReturned"] == 400


def test_ddl_of_a_sharded_collection(sharded):
    sharded.shard_collection("ddl.items", {"k": 1}, splits=[{"k": 50}],
                             moves=[({"k": 60}, "shard1")])
    database = sharded.client["ddl"]
    items = database["items"]
    items.insert_many([{"k": i} for i in range(100)])
    items.create_index("n")
    for shard in sharded.shards:
        assert "n_1" in shard.primary().client["ddl"]["items"].index_information()
    with pytest.raises(OperationFailure) as failure:
        items.create_index("n", unique=True, name="unique")
    assert failure.value.code == 67
    items.drop_index("n_1")
    assert "n_1" not in items.index_information()
    items.drop()
    assert items.count_documents({}) == 0
    for shard in sharded.shards:
        assert "items" not in shard.primary().client["ddl"].list_collection_names()
    database["other"].insert_one({})
    database["other"].rename("renamed")
    assert database.list_collection_names() == ["renamed"]
    sharded.client.drop_database("ddl")
    assert "ddl" not in sharded.client.list_database_names()
    database["again"].insert_one({"_id": 1})
    assert database["again"].find_one() == {"_id": 1}


def test_transactions_are_refused_by_name(sharded):
    with sharded.client.start_session() as session:
        with pytest.raises(OperationFailure) as failure:
            with session.start_transaction():
                sharded.client["refused"]["c"].insert_one({}, session=session)
    assert failure.value.code == 115


def test_the_config_database_through_a_router(sharded, twins):
    config = sharded.client["config"]
    assert {d["_id"] for d in config["shards"].find()} == {"shard0", "shard1"}
    assert config["collections"].find_one({"_id": "twins.split"})["key"] == {"k": 1}
    assert config["chunks"].count_documents({}) >= 4


@pytest.fixture
def other_router(sharded, tmp_path):
    other = Server("mongos", tmp_path / "other", "--configdb", sharded.config_address)
    yield other.start()
    other.reap()


def test_a_second_router_follows_moved_chunks(sharded, twins, other_router):
    """It learns of a move by a shard's refusal, and no document is missed or seen twice."""
    other = other_router
    elsewhere = other.client["twins"]["split"]
    assert len(list(elsewhere.find())) == 400
    sharded.client.admin.command("moveChunk", "twins.split", find={"k": 150}, to="shard0")
    assert sorted(d["_id"] for d in elsewhere.find()) == list(range(400))
    assert elsewhere.update_one({"k": 150}, {"$set": {"text": "t7"}}).matched_count == 1
    sharded.client.admin.command("moveChunk", "twins.split", find={"k": 150}, to="shard1")
    assert elsewhere.find_one({"k": 150})["_id"] == 150


def test_refusals_name_what_they_refuse(sharded):
    database = sharded.client["refused"]
    with pytest.raises(OperationFailure) as failure:
        database.command("find", "c", nonsense=1)
    assert failure.value.code == 40415
    with pytest.raises(OperationFailure) as failure:
        database.command("aggregate", "c", pipeline=[{"$nonsense": 1}], cursor={})
    assert failure.value.code == 40324


@pytest.fixture
def replicated(tmp_path):
    cluster = ShardedCluster(tmp_path, shards=1, members=3)
    yield cluster.start()
    cluster.close()


def test_writes_and_reads_outlive_a_shards_primary(replicated):
    items = replicated.client["db"]["items"]
    items.insert_one({"_id": 0})
    acknowledged = [0]
    replicated.shards[0].primary().kill9()
    for number in range(1, 40):
        items.insert_one({"_id": number})
        acknowledged.append(number)
    assert [d["_id"] for d in items.find(sort=[("_id", 1)])] == acknowledged
    items.insert_many([{"_id": n} for n in range(100, 200)])
    primary = replicated.shards[0].primary()
    primary.command("replSetStepDown", 5, force=True)
    assert items.update_many({}, {"$set": {"x": 1}}).matched_count == 140
    assert items.count_documents({"x": 1}) == 140


@pytest.fixture
def cold(tmp_path):
    cluster = ShardedCluster(tmp_path, shards=1)
    yield cluster
    cluster.close()


def test_a_router_waits_for_its_config_servers(cold):
    cluster = cold
    router = cluster.routers[0].start()
    assert router.command("hello")["msg"] == "isdbgrid"
    with pytest.raises(OperationFailure) as failure:
        router.client["db"].command("find", "c", maxTimeMS=300)
    assert failure.value.code == 50
    for replica_set in [cluster.config, *cluster.shards]:
        replica_set.start()
    cluster.config.initiate({**cluster.config.config(), "configsvr": True})
    cluster.shards[0].initiate()
    member = cluster.shards[0].members[0]
    router.command("addShard", f"shard0/{member.address}")
    router.client["db"]["c"].insert_one({"_id": 1})
    assert router.client["db"]["c"].find_one() == {"_id": 1}
