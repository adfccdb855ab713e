# SPDX-License-Identifier: Apache-2.0
"""What a member says of its data and of itself is true: counts after a crash, sizes, latencies."""

import pymongo
import pytest

from lib.server import connect
from lib.wait import wait_until

LARGE = 60_000  # Above what is counted anew when a directory is opened.


def insert(collection, first, last):
    collection.insert_many([{"_id": i} for i in range(first, last)])


def counts(collection):
    stats = next(collection.aggregate([{"$collStats": {"storageStats": {}, "count": {}}}]))
    return {collection.estimated_document_count(), stats["count"], stats["storageStats"]["count"],
            collection.database.command("collStats", collection.name)["count"]}


@pytest.mark.parametrize("flags", [(), ("--replSet", "rs")], ids=["standalone", "member"])
def test_counts_are_right_after_kill_9(make_server, flags):
    member = make_server("mongod", *flags).start()
    if flags:
        member.command("replSetInitiate", {"_id": "rs", "members": [
            {"_id": 0, "host": member.address}]})
    wait_until(lambda: member.command("hello")["isWritablePrimary"], 20, "a primary")
    items = member.client.get_database("shop", write_concern=pymongo.WriteConcern(1, j=True)).items
    insert(items, 0, LARGE)
    assert member.stop() == 0
    member.start()
    wait_until(lambda: member.command("hello")["isWritablePrimary"], 20, "a primary")
    assert counts(items) == {LARGE}
    insert(items, LARGE, LARGE + 500)
    items.delete_many({"_id": {"$lt": 200}})
    member.kill9()
    member.start()
    wait_until(lambda: member.command("hello")["isWritablePrimary"], 20, "a primary")
    items.insert_one({"_id": "while it is counted"})
    right = items.count_documents({})
    assert right == LARGE + 301
    wait_until(lambda: counts(items) == {right}, 30, "the count to be right")
    report = member.client.shop.command("validate", "items")
    assert report["valid"] and not report["warnings"], report
    sizes = member.client.shop.command("dataSize", "shop.items")
    assert sizes["numObjects"] == right
    assert sizes["size"] == items.aggregate([{"$group": {"_id": 0, "n": {"$sum": {
        "$bsonSize": "$$ROOT"}}}}]).next()["n"]


def test_data_size_of_a_range(standalone):
    items = standalone.client.shop.items
    items.insert_many([{"_id": i, "a": i % 10, "text": "x" * i} for i in range(1000)])
    shop = standalone.client.shop

    def size(**more):
        return shop.command({"dataSize": "shop.items", **more})
    whole = size()
    assert whole["numObjects"] == 1000 and whole["estimate"] is False
    part = size(keyPattern={"_id": 1}, min={"_id": 100}, max={"_id": 200})
    assert part["numObjects"] == 100
    sizes = [shop.items.aggregate([{"$match": {"_id": {"$gte": 100, "$lt": 200}}}, {"$group": {
        "_id": 0, "n": {"$sum": {"$bsonSize": "$$ROOT"}}}}]).next()["n"]]
    assert sizes == [part["size"]]
    about = size(keyPattern={"_id": 1}, min={"_id": 100}, max={"_id": 200}, estimate=True)
    assert about["size"] == 100 * (whole["size"] // 1000) and about["estimate"] is True
    with pytest.raises(pymongo.errors.OperationFailure):
        size(keyPattern={"a": 1}, min={"a": 1}, max={"a": 2})
    items.create_index([("a", -1), ("b", 1)])
    assert size(min={"a": 3}, max={"a": 2})["numObjects"] == 100
    with pytest.raises(pymongo.errors.OperationFailure):
        size(keyPattern={"_id": 1}, min={"_id": 1})
    assert shop.command({"dataSize": "shop.nothing"})["numObjects"] == 0


def test_latencies_are_of_this_collection(standalone):
    client = standalone.client

    def latency(name, histograms=True):
        stage = {"$collStats": {"latencyStats": {"histograms": histograms}}}
        return next(client.shop[name].aggregate([stage]))["latencyStats"]
    client.shop.items.insert_many([{"_id": i} for i in range(10)])
    for _ in range(5):
        client.shop.items.find_one({"_id": 3})
    client.shop.other.insert_one({})
    client.shop.items.create_index("a")
    before = latency("items")
    assert before["writes"]["ops"] == 1 and before["writes"]["latency"] > 0
    assert before["reads"]["ops"] == 5
    assert before["commands"]["ops"] == 1
    assert before["transactions"]["ops"] == 0
    for kind in ("reads", "writes", "commands"):
        bins = before[kind]["histogram"]
        assert sum(b["count"] for b in bins) == before[kind]["ops"]
        assert [b["micros"] for b in bins] == sorted(b["micros"] for b in bins)
    assert latency("items")["reads"]["ops"] == 6  # $collStats is a read.
    assert "histogram" not in latency("other", False)["reads"]
    assert latency("other")["writes"]["ops"] == 1
    client.shop.drop_collection("other")
    client.shop.create_collection("other")
    assert latency("other")["writes"]["ops"] == 0


def test_server_status_shows_no_numbers_nobody_has(standalone):
    status = standalone.command("serverStatus")
    assert "locks" not in status
    assert status["activeIndexBuilds"] == {"total": 0}
    for part in ("currentQueue", "activeClients"):
        numbers = status["globalLock"][part]
        assert numbers["total"] == numbers["readers"] + numbers["writers"]


def test_aggregate_explains(standalone):
    shop = standalone.client.shop
    shop.items.insert_many([{"_id": i, "a": i} for i in range(20)])
    shop.items.create_index("a")
    for pipeline in ([{"$match": {"a": 3}}],
                     [{"$match": {"a": 3}}, {"$group": {"_id": "$a"}}]):
        said = shop.command("aggregate", "items", pipeline=pipeline, explain=True)
        meant = shop.command("explain", {"aggregate": "items", "pipeline": pipeline, "cursor": {}},
                             verbosity="queryPlanner")
        assert "IXSCAN" in str(said) and "executionStats" not in str(said)
        for part in ("queryPlanner", "stages"):
            assert said.get(part) == meant.get(part)
    assert "explain" not in said["command"]
    shop.command("aggregate", "items", pipeline=[{"$out": "written"}], explain=True)
    assert "written" not in shop.list_collection_names()


def test_coll_mod_changes_a_view(standalone):
    shop = standalone.client.shop
    shop.items.insert_many([{"_id": i, "a": i % 2} for i in range(10)])
    shop.others.insert_many([{"_id": i} for i in range(3)])
    shop.create_collection("view", viewOn="items", pipeline=[{"$match": {"a": 1}}])
    assert shop.view.count_documents({}) == 5
    shop.command("collMod", "view", viewOn="others", pipeline=[{"$match": {"_id": {"$gt": 0}}}])
    assert sorted(d["_id"] for d in shop.view.find()) == [1, 2]
    options = next(shop.list_collections(filter={"name": "view"}))["options"]
    assert options == {"viewOn": "others", "pipeline": [{"$match": {"_id": {"$gt": 0}}}]}
    for wrong in ({"viewOn": "items"}, {"pipeline": []}, {"validator": {}},
                  {"viewOn": "", "pipeline": []}):
        with pytest.raises(pymongo.errors.OperationFailure):
            shop.command("collMod", "view", **wrong)
    with pytest.raises(pymongo.errors.OperationFailure):
        shop.command("collMod", "items", viewOn="others", pipeline=[])
    assert shop.view.count_documents({}) == 2


def test_rename_to_another_database(make_replica_set):
    replica_set = make_replica_set(2)
    client = replica_set.client
    items = client.shop.items
    items.insert_many([{"_id": i, "a": i % 7, "text": "x" * 500} for i in range(5000)])
    items.create_index("a", name="by_a")
    items.create_index("b", name="b", unique=True, sparse=True)
    client.store.items.insert_one({"_id": "old"})

    def rename(**more):
        client.admin.command({"renameCollection": "shop.items", "to": "store.items", **more})
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        rename()
    assert refused.value.code == 48
    rename(dropTarget=True)
    assert client.shop.list_collection_names() == []
    assert client.store.list_collection_names() == ["items"]
    moved = client.store.items
    assert moved.count_documents({}) == 5000
    assert sorted(moved.index_information()) == ["_id_", "b", "by_a"]
    assert moved.index_information()["b"]["unique"]
    assert moved.count_documents({"a": 3}, hint="by_a") == 714
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        rename()
    assert refused.value.code == 26
    replica_set.assert_equal_data()


def refused(code, function, *arguments, **more):
    with pytest.raises(pymongo.errors.OperationFailure) as failure:
        function(*arguments, **more)
    assert failure.value.code == code, failure.value


def test_validate_repairs_a_standalone_alone(standalone, make_replica_set):
    shop = standalone.client.shop
    shop.items.insert_many([{"_id": i, "a": [i, i + 1]} for i in range(100)])
    shop.items.create_index("a")
    for options in ({}, {"full": True}, {"repair": True}, {"fixMultikey": True},
                    {"repair": True, "full": True}):
        report = shop.command("validate", "items", **options)
        assert report["valid"] and not report["repaired"] and report["errors"] == []
        assert (report["nrecords"], report["keysPerIndex"]) == (100, {"_id_": 100, "a_1": 200})
        assert report["missingIndexEntries"] == report["extraIndexEntries"] == []
    quick = shop.command("validate", "items", metadata=True)
    assert quick["valid"] and quick["nIndexes"] == 2
    for wrong in ({"metadata": True, "full": True}, {"metadata": True, "repair": True},
                  {"background": True, "full": True}, {"background": True, "repair": True},
                  {"checkBSONConformance": True, "repair": True}):
        refused(72, shop.command, "validate", "items", **wrong)
    refused(115, shop.command, "validate", "items", checkBSONConformance=True)
    refused(26, shop.command, "validate", "nothing", repair=True)
    member = make_replica_set(1)
    member.client.shop.items.insert_one({})
    for option in ("repair", "fixMultikey"):
        refused(72, member.client.shop.command, "validate", "items", **{option: True})
    assert member.client.shop.command("validate", "items", full=True)["valid"]


def test_plans_are_not_cached(standalone):
    shop = standalone.client.shop
    shop.items.insert_many([{"_id": i, "a": i, "b": i} for i in range(20)])
    shop.items.create_index("a")
    shop.items.create_index("b")
    assert shop.items.find_one({"a": 3, "b": 3})["_id"] == 3
    assert list(shop.items.aggregate([{"$planCacheStats": {}}])) == []


def test_network_counts_every_byte_and_what_compression_saves(make_server):
    server = make_server("mongod").start()
    text = "the same again and again " * 2000

    def network():
        return server.command("serverStatus")["network"]
    first, second = network(), network()
    assert second["numRequests"] > first["numRequests"]
    for count in ("bytesIn", "bytesOut", "physicalBytesIn", "physicalBytesOut"):
        assert second[count] > first[count] > 0
    nothing = {"compressor": {"bytesIn": 0, "bytesOut": 0},
               "decompressor": {"bytesIn": 0, "bytesOut": 0}}
    assert first["compression"] == {"snappy": nothing, "zstd": nothing, "zlib": nothing}
    with connect(server.port, compressors="zlib") as client:
        client.shop.items.insert_one({"_id": 1, "text": text})
        assert client.shop.items.find_one({"_id": 1})["text"] == text
        after = network()
    done = after["compression"]["zlib"]
    for before, squeezed in ((done["decompressor"]["bytesOut"], done["decompressor"]["bytesIn"]),
                             (done["compressor"]["bytesIn"], done["compressor"]["bytesOut"])):
        assert before > len(text) > squeezed * 10 > 0, done
    assert after["compression"]["snappy"] == nothing
    assert after["bytesIn"] - second["bytesIn"] > len(text)
    assert after["physicalBytesIn"] - second["physicalBytesIn"] < len(text)
