# SPDX-License-Identifier: Apache-2.0
"""The whole cluster as `tessera up` makes it, seen by real clients through its routers."""

import json
import pathlib

import pytest

from lib import clients
from lib.process import processes_below
from lib.server import connect
from lib.wait import wait_until
from lib.workload import Workload

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples/books.json"


def hosts(cluster):
    """host:port of each router."""
    return cluster.uri.split("//", 1)[1].split("/", 1)[0].split(",")


def import_books(host, database):
    name, port = host.rsplit(":", 1)
    return clients.run("mongoimport", "--host", name, "--port", port, "--db", database,
                       "--collection", "books", "--file", SAMPLE, "--jsonArray")


def test_the_session_of_the_readme_through_either_router(shared_cluster, database):
    first, second = hosts(shared_cluster)
    assert "12 document(s) imported successfully. 0 document(s) failed" in import_books(
        first, database.name).stderr
    titles = [book["title"] for book in json.loads(pathlib.Path(SAMPLE).read_text())]
    for host in (first, second):
        said = clients.mongosh_session(f"mongodb://{host}",
                                       [f"use {database.name}", "db.books.findOne()",
                                        "db.books.findOne({_id: 1})"])
        assert f"switched to db {database.name}" in said
        # mongoimport promises no order of insertion, so any of the books may be the first.
        assert any(title in said for title in titles), said
        assert "The Lantern Keeper's Ledger" in said
        assert "publishedDate: ISODate('2009-04-01T07:00:00.000Z')" in said
        assert "[direct: mongos]" in said


def test_pymongo_with_default_options(database):
    books = database.books
    books.insert_many([{"_id": i, "n": i % 10} for i in range(500)])
    assert books.count_documents({"n": 3}) == 50
    assert books.update_many({"n": 3}, {"$set": {"seen": True}}).modified_count == 50
    assert [d["_id"] for d in books.find().sort("_id", -1).limit(2)] == [499, 498]


def test_the_node_driver_with_default_options(shared_cluster):
    assert "node: all is well" in clients.node("crud.js", shared_cluster.uri).stdout


def test_sh_status_shows_three_shards_and_two_routers(shared_cluster):
    host = hosts(shared_cluster)[0]
    said = clients.mongosh(f"mongodb://{host}", "sh.status()")
    for part in ("shardingVersion", "shards", "active mongoses", "balancer", "databases"):
        assert part in said
    assert len(list(shared_cluster.client.config.shards.find())) == 3


@pytest.mark.parametrize("key", [{"_id": 1}, {"n": "hashed"}], ids=["range", "hashed"])
def test_a_sharded_collection_answers_as_an_unsharded_one(database, key):
    admin = database.client.admin
    admin.command("enableSharding", database.name)
    admin.command("shardCollection", f"{database.name}.books", key=key)
    documents = [{"_id": i, "n": i % 17, "text": "x" * 50} for i in range(1000)]
    database.books.insert_many(documents)
    database.plain.insert_many(documents)
    for query in ({}, {"n": 5}, {"_id": {"$gte": 900}}, {"_id": 77}, {"_id": {"$in": [1, 999]}}):
        sharded = [d for d in database.books.find(query).sort([("n", 1), ("_id", -1)])]
        assert sharded == [d for d in database.plain.find(query).sort([("n", 1), ("_id", -1)])]
    group = [{"$group": {"_id": "$n", "count": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    assert list(database.books.aggregate(group)) == list(database.plain.aggregate(group))
    assert list(database.books.find().sort("_id", 1).skip(10).limit(5)) == documents[10:15]


def test_mongosh_prints_the_distribution(shared_cluster, database):
    admin = database.client.admin
    admin.command("shardCollection", f"{database.name}.books", key={"n": "hashed"})
    database.books.insert_many([{"_id": i, "n": i} for i in range(300)])
    said = clients.mongosh(f"mongodb://{hosts(shared_cluster)[0]}/{database.name}",
                           "db.books.getShardDistribution()")
    assert said.count("Shard ") >= 3
    assert "Totals" in said
    assert "docs: 300" in said


def test_what_mongosh_says_of_a_cluster_is_whole_and_true(shared_cluster, database):
    name, admin = database.name, database.client.admin
    admin.command("shardCollection", f"{name}.books", key={"n": 1})
    database.books.insert_many([{"_id": i, "n": i} for i in range(300)])
    admin.command("split", f"{name}.books", middle={"n": 100})
    shards = {s["_id"]: s["host"] for s in database.client.config.shards.find()}
    home = database.client.config.databases.find_one({"_id": name})["primary"]
    other = next(s for s in sorted(shards) if s != home)
    admin.command("moveChunk", f"{name}.books", find={"n": 200}, to=other)
    said = clients.mongosh_json(f"mongodb://{hosts(shared_cluster)[0]}/{name}", """{
        status: sh.status().value, distribution: db.books.getShardDistribution().value,
        stats: db.stats(), operations: db.currentOp()}""")
    check_status(said["status"], name, shards, {home, other})
    distribution = said["distribution"]
    totals = distribution.pop("Totals")["docs"]
    assert set(distribution) == {f"Shard {each} at {shards[each]}" for each in (home, other)}
    # mongosh counts what is still to be deleted where the chunk came from.
    assert totals == sum(each["docs"] for each in distribution.values()) >= 300
    assert distribution[f"Shard {other} at {shards[other]}"]["docs"] == 200
    for each in distribution.values():
        assert set(each) == {"data", "docs", "chunks", "estimated data per chunk",
                             "estimated docs per chunk"}
    stats = said["stats"]
    assert {shards[home], shards[other]} <= set(stats["raw"]) <= set(shards.values())
    for field in ("objects", "dataSize", "storageSize", "indexes", "indexSize", "totalSize"):
        assert stats[field] == sum(each[field] for each in stats["raw"].values())
    assert (stats["db"], stats["ok"], stats["scaleFactor"]) == (name, 1, 1)
    operations = said["operations"]["inprog"]
    assert {op["shard"] for op in operations if op["ns"] == "admin.$cmd.aggregate"} == set(shards)
    for op in operations:
        assert op["opid"].startswith(op["shard"] + ":") and op["active"] is True
        assert {"type", "host", "desc", "connectionId", "client", "currentOpTime", "threaded",
                "secs_running", "microsecs_running", "op", "ns", "command", "numYields", "locks",
                "waitingForLock", "lockStats", "waitingForFlowControl",
                "flowControlStats"} <= set(op)


def check_status(status, name, shards, owners):
    assert list(status) == ["shardingVersion", "shards", "active mongoses", "autosplit",
                            "balancer", "shardedDataDistribution", "databases"]
    assert {s["_id"]: s["host"] for s in status["shards"]} == shards
    assert all(s["state"] == 1 and s["topologyTime"] for s in status["shards"])
    assert sum(n for each in status["active mongoses"] for n in each.values()) == 2
    assert {"Currently enabled", "Currently running",
            "Failed balancer rounds in last 5 attempts",
            "Migration Results for the last 24 hours"} <= set(status["balancer"])
    data, = [d for d in status["shardedDataDistribution"] if d["ns"] == f"{name}.books"]
    assert {s["shardName"] for s in data["shards"]} == owners
    assert sum(s["numOwnedDocuments"] for s in data["shards"]) == 300
    database, = [d for d in status["databases"] if d["database"]["_id"] == name]
    assert database["database"]["primary"] in owners
    books = database["collections"][f"{name}.books"]
    assert (books["shardKey"], books["unique"], books["balancing"]) == ({"n": 1}, False, True)
    assert {c["shard"] for c in books["chunkMetadata"]} == owners and books["tags"] == []
    assert sum(c["nChunks"] for c in books["chunkMetadata"]) == len(books["chunks"])
    assert {c["on shard"] for c in books["chunks"]} == owners
    assert [c["max"] for c in books["chunks"]][:-1] == [c["min"] for c in books["chunks"]][1:]


def test_up_again_after_down_keeps_data_and_ports(cluster):
    cluster.client.tp.books.insert_many([{"_id": i} for i in range(100)])
    before = cluster.uri
    cluster.down()
    cluster.up()
    assert cluster.uri == before
    assert cluster.client.tp.books.count_documents({}) == 100


def test_a_shards_primary_killed_under_load(cluster):
    cluster.client.admin.command("shardCollection", "work.items", key={"_id": "hashed"})
    workload = Workload(lambda: connect(cluster.uri)).start()
    cluster.run("kill", "shard-1", "primary", "--signal", "KILL")
    workload.wait_progress(deadline=15)
    cluster.run("start")
    workload.wait_progress(deadline=15)
    workload.stop().check(cluster.client)


def test_down_leaves_nothing_running(cluster):
    assert len(processes_below(cluster.folder)) >= 14
    cluster.down()
    wait_until(lambda: not processes_below(cluster.folder), 10, "the end of all processes")
