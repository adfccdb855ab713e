# SPDX-License-Identifier: Apache-2.0
"""The profiler: what it keeps in system.profile, what the log says of slow operations, and who may
change its settings."""

import json

import pymongo
import pytest
from pymongo.errors import OperationFailure

from lib import clients
from lib.wait import wait_until

BAD_VALUE, ILLEGAL_OPERATION, INVALID_NAMESPACE = 2, 20, 73
NOTE = ("When a filter expression is set, slowms and sampleRate are not used for profiling and "
        "slow-query log lines.")


@pytest.fixture
def shop(standalone):
    return standalone.client.shop


def fails_with(code, function, *arguments, **more):
    with pytest.raises(OperationFailure) as failure:
        function(*arguments, **more)
    assert failure.value.code == code, failure.value


def kept(database, **query):
    return list(database["system.profile"].find({"ns": f"{database.name}.items", **query}).sort(
        "$natural", 1))


def test_every_operation_is_kept_at_level_2(shop):
    assert shop.command("profile", 2)["was"] == 0
    assert shop.list_collection_names() == ["system.profile"]
    shop.items.insert_many([{"_id": i, "a": i % 10} for i in range(300)])
    shop.items.create_index("a")
    assert len(list(shop.items.find({"a": 3}, batch_size=20))) == 30
    shop.items.update_many({"a": 4}, {"$set": {"b": 1}})
    shop.items.update_one({"_id": "new"}, {"$set": {"b": 1}}, upsert=True)
    shop.items.delete_one({"_id": 7})
    shop.items.find_one_and_update({"_id": 8}, {"$inc": {"b": 1}})
    list(shop.items.aggregate([{"$match": {"a": 5}}, {"$group": {"_id": "$a"}}]))
    with pytest.raises(OperationFailure):
        shop.items.find_one({"$nothing": 1})
    assert shop.command("profile", 0)["was"] == 2
    shop.items.find_one({"a": "not seen"})

    insert, = kept(shop, op="insert")
    assert insert["ninserted"] == 300 and "documents" not in insert["command"]
    assert insert["protocol"] == "op_msg" and insert["responseLength"] > 0
    assert insert["client"] == "127.0.0.1" and insert["millis"] >= 0 and insert["ts"]
    assert (insert["user"], insert["allUsers"]) == ("", [])
    find = kept(shop, op="query")[0]
    assert find["planSummary"] == "IXSCAN { a: 1 }" and find["nreturned"] == 20
    assert find["keysExamined"] == find["docsExamined"] == 20 and find["cursorid"]
    assert find["command"]["filter"] == {"a": 3} and find["command"]["lsid"]
    more, = kept(shop, op="getmore")
    assert more["originatingCommand"]["filter"] == {"a": 3}
    assert more["nreturned"] == 10 and more["cursorExhausted"] is True
    assert more["cursorid"] == find["cursorid"] and more["docsExamined"] == 10
    many, one = kept(shop, op="update")
    assert many["command"]["multi"] is True and (many["nMatched"], many["nModified"]) == (30, 30)
    assert many["keysExamined"] == 30 and many["command"]["q"] == {"a": 4}
    assert (one["nMatched"], one["nModified"], one["nUpserted"]) == (0, 0, 1)
    assert kept(shop, op="remove")[0]["ndeleted"] == 1
    modify, = kept(shop, **{"command.findAndModify": "items"})
    assert modify["op"] == "command" and modify["nModified"] == 1 and modify["docsExamined"] == 1
    aggregate, = kept(shop, **{"command.aggregate": "items"})
    assert aggregate["planSummary"] == "IXSCAN { a: 1 }" and aggregate["keysExamined"] == 30
    wrong, = kept(shop, errCode=BAD_VALUE)
    assert wrong["ok"] == 0 and wrong["errName"] == "BadValue" and wrong["errMsg"]
    assert not kept(shop, **{"command.filter": {"a": "not seen"}})
    assert "_id" not in find


def test_slowms_sample_rate_and_filter_choose(shop):
    shop.items.insert_many([{"_id": i} for i in range(10)])
    shop.command("profile", 1, slowms=100_000)
    shop.items.find_one({"_id": 1})
    assert not kept(shop)
    was = shop.command("profile", 1, slowms=-1)
    assert (was["was"], was["slowms"], was["sampleRate"]) == (1, 100_000, 1.0)
    shop.items.find_one({"_id": 2})
    assert [each["command"]["filter"] for each in kept(shop)] == [{"_id": 2}]
    shop.command("profile", 1, sampleRate=0.0)
    shop.items.find_one({"_id": 3})
    assert len(kept(shop)) == 1
    shop.command("profile", 1, slowms=100_000, sampleRate=1.0,
                 filter={"op": "query", "nreturned": {"$gt": 3}})
    shop.items.find_one({"_id": 4})
    list(shop.items.find())
    assert [each["nreturned"] for each in kept(shop)] == [1, 10]
    now = shop.command("profile", -1)
    assert now["filter"] == {"op": "query", "nreturned": {"$gt": 3}} and now["note"] == NOTE
    # Level and filter are a database's, slowms and sampleRate the process's.
    other = shop.client.other.command("profile", -1)
    assert (other["was"], other["slowms"]) == (0, 100_000) and "filter" not in other
    shop.command("profile", 0, filter="unset")
    assert "filter" not in shop.command("profile", -1)


def test_wrong_settings_are_refused(shop):
    fails_with(BAD_VALUE, shop.command, "profile", 3)
    fails_with(BAD_VALUE, shop.command, "profile", 1, sampleRate=1.5)
    fails_with(14, shop.command, "profile", "2")
    fails_with(14, shop.command, "profile", 1, filter="set")
    fails_with(BAD_VALUE, shop.command, "profile", 1, filter={"$nothing": 1})
    fails_with(40415, shop.command, "profile", 1, slow=3)
    assert shop.command("profile", -1)["was"] == 0
    assert shop.list_collection_names() == []


def test_the_profile_is_a_small_capped_collection(shop):
    shop.command("profile", 2)
    profile = shop["system.profile"]
    assert profile.options() == {"capped": True, "size": 1024 * 1024}
    fails_with(INVALID_NAMESPACE, profile.insert_one, {})
    fails_with(ILLEGAL_OPERATION, shop.command, "drop", "system.profile")
    for i in range(300):
        shop.items.find_one({"_id": i, "text": "x" * 8000})
    stats = shop.command("collStats", "system.profile")
    assert stats["size"] <= 1024 * 1024 and 50 < stats["count"] < 300
    assert shop.command("validate", "system.profile")["valid"]
    shop.command("profile", 0)
    profile.drop()
    assert shop.list_collection_names() == []
    # A dropped database is not profiled any more.
    shop.command("profile", 2)
    shop.client.drop_database("shop")
    assert shop.command("profile", -1)["was"] == 0
    assert "shop" not in shop.client.list_database_names()


def test_each_member_keeps_a_profile_of_its_own(make_replica_set):
    replica_set = make_replica_set(2)
    primary = replica_set.primary()
    secondary, = [m for m in replica_set.members if m is not primary]
    client = replica_set.client.get_database("shop", write_concern=pymongo.WriteConcern(2))
    client.items.insert_one({"_id": 1})
    newest = [("$natural", -1)]
    secondary.client.shop.command("profile", 2)
    before = secondary.client.local["oplog.rs"].find_one(sort=newest)["ts"]
    secondary.client.shop.items.find_one({"_id": 1})
    assert len(kept(secondary.client.shop)) == 1
    assert primary.client.shop.list_collection_names() == ["items"]
    primary.client.shop.command("profile", 2)
    primary.client.shop.items.find_one({"_id": 1})
    assert len(kept(primary.client.shop)) == 1
    logged = primary.client.local["oplog.rs"].find({"ts": {"$gt": before}, "op": {"$ne": "n"}})
    assert [each for each in logged if "profile" in str(each)] == []
    hashes = [m.client.shop.command("dbHash")["collections"] for m in (primary, secondary)]
    assert hashes[0] == hashes[1] and list(hashes[0]) == ["items"]


def slow_lines(server):
    lines = [json.loads(line) for line in server.log.read_text().splitlines()
             if '"Slow query"' in line]
    return [line["attr"] for line in lines]


def test_start_up_flags_and_the_log(make_server):
    server = make_server("mongod", "--slowms", "-1", "--slowOpSampleRate", "1",
                         "--profile", "2").start()
    shop = server.client.shop
    shop.items.insert_one({"_id": 1})
    assert shop.command("profile", -1)["was"] == 2 and len(kept(shop, op="insert")) == 1
    shop.items.find_one({"_id": 1}, comment="look")
    line, = wait_until(lambda: [each for each in slow_lines(server)
                                if each["command"].get("comment") == "look"], 10, "the line")
    assert line["ns"] == "shop.items" and line["planSummary"] == "IDHACK"
    assert (line["keysExamined"], line["docsExamined"], line["nreturned"]) == (1, 1, 1)
    assert line["reslen"] > 0 and line["protocol"] == "op_msg" and line["durationMillis"] >= 0
    list(server.client.admin.aggregate([{"$currentOp": {}}], comment="all"))
    line, = wait_until(lambda: [each for each in slow_lines(server)
                                if each["command"].get("comment") == "all"], 10, "the line")
    assert line["ns"] == "admin.$cmd.aggregate"
    shop.command("profile", 0, slowms=100_000)
    shop.items.find_one({"_id": 1}, comment="not slow")
    assert not [each for each in slow_lines(server) if each["command"].get("comment") == "not slow"]


def test_a_configuration_file_sets_the_profiler(make_server, folder):
    path = f"{folder}/mongod.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write("operationProfiling:\n  mode: slowOp\n  slowOpThresholdMs: 7\n"
                   "  slowOpSampleRate: 0.5\n  filter: '{\"op\": \"query\"}'\n")
    server = make_server("mongod", "--config", path).start()
    said = server.client.shop.command("profile", -1)
    assert (said["was"], said["slowms"], said["sampleRate"]) == (1, 7, 0.5)
    assert said["filter"] == {"op": "query"}


def test_mongosh_sets_and_shows_levels(standalone):
    uri = standalone.uri
    said = clients.mongosh_json(uri, "[db.setProfilingLevel(2, {slowms: 20}), "
                                "db.getProfilingStatus(), db.setProfilingLevel(0)]")
    assert [int(each["was"]["$numberInt"]) if isinstance(each["was"], dict) else each["was"]
            for each in said] == [0, 2, 2]


def test_a_router_has_settings_for_its_log_alone(shared_cluster, database):
    fails_with(BAD_VALUE, database.command, "profile", 1)
    fails_with(BAD_VALUE, database.command, "profile", 2)
    name = database.name
    router = pymongo.MongoClient(shared_cluster.uri.split(",")[0].split("/?")[0])[name]
    try:
        assert router.command("profile", 0, filter={"op": "none"})["was"] == 0
        said = router.command("profile", -1)
        assert said["filter"] == {"op": "none"} and said["note"] == NOTE
    finally:
        router.command("profile", 0, filter="unset")
        router.client.close()
