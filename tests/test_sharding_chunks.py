# SPDX-License-Identifier: Apache-2.0
"""Commands that look after chunks, and what a shard still holds of what it has given away."""

import pytest
from bson import Timestamp
from pymongo.errors import OperationFailure

from lib.shards import ShardedCluster
from lib.wait import wait_until


@pytest.fixture
def cluster(folder, request):
    made = ShardedCluster(folder, orphan_delay=getattr(request, "param", 1)).start()
    made.client.admin.command("balancerStop")
    made.shard_collection("db.c", {"n": 1}, splits=[{"n": 50}])
    made.client.db.c.insert_many([{"_id": i, "n": i} for i in range(100)])
    yield made
    made.close()


def refused(cluster, command, *args, **kwargs):
    with pytest.raises(OperationFailure) as failure:
        cluster.client.admin.command(command, *args, **kwargs)
    return failure.value.code


def test_a_jumbo_flag_is_cleared(cluster):
    chunks = cluster.client.config.chunks
    chunks.update_many({}, {"$set": {"jumbo": True}})
    cluster.client.admin.command("clearJumboFlag", "db.c", find={"n": 70})
    assert [c.get("jumbo", False) for c in chunks.find().sort("min", 1)] == [True, False]
    low = chunks.find_one({"jumbo": True})
    cluster.client.admin.command("clearJumboFlag", "db.c", bounds=[low["min"], low["max"]])
    assert not chunks.find_one({"jumbo": True})
    assert refused(cluster, "clearJumboFlag", "db.c", bounds=[{"n": 1}, {"n": 2}]) == 2
    assert refused(cluster, "clearJumboFlag", "db.c") == 2
    assert refused(cluster, "clearJumboFlag", "db.other", find={"n": 1}) == 118


def test_settled_neighbours_are_merged_and_fresh_ones_are_not(cluster):
    admin, chunks = cluster.client.admin, cluster.client.config.chunks
    admin.command("mergeAllChunksOnShard", "db.c", shard="shard0")
    assert chunks.count_documents({}) == 2
    long_ago = Timestamp(1000, 1)
    chunks.update_many({}, {"$set": {"onCurrentShardSince": long_ago,
                                     "history.0.validAfter": long_ago}})
    admin.command("mergeAllChunksOnShard", "db.c", shard="shard0")
    assert chunks.count_documents({}) == 1
    assert cluster.client.db.c.count_documents({"n": {"$gte": 0}}) == 100
    assert refused(cluster, "mergeAllChunksOnShard", "db.c", shard="none") == 70


def test_a_collection_has_a_chunk_size_of_its_own(cluster):
    admin, collections = cluster.client.admin, cluster.client.config.collections
    admin.command("configureCollectionBalancing", "db.c", chunkSize=4)
    assert collections.find_one({"_id": "db.c"})["maxChunkSizeBytes"] == 4 << 20
    admin.command("configureCollectionBalancing", "db.c", chunkSize=0)
    assert "maxChunkSizeBytes" not in collections.find_one({"_id": "db.c"})
    assert refused(cluster, "configureCollectionBalancing", "db.c", chunkSize=2000) == 72
    assert refused(cluster, "configureCollectionBalancing", "db.c",
                   defragmentCollection=True) == 238


def test_cleanup_orphaned_waits_for_what_was_moved_away(cluster):
    cluster.client.admin.command("moveChunk", "db.c", find={"n": 70}, to="shard1")
    shard = cluster.shards[0].client
    shard.admin.command("cleanupOrphaned", "db.c")
    assert shard.config.rangeDeletions.count_documents({}) == 0
    assert shard.db.c.count_documents({}) == 50


@pytest.mark.parametrize("cluster", [3600], indirect=True)
def test_orphans_are_counted_as_such(cluster):
    cluster.client.admin.command("moveChunk", "db.c", find={"n": 70}, to="shard1")
    assert cluster.shards[0].client.db.c.count_documents({}) == 100
    wait_until(lambda: cluster.shards[0].client.config.rangeDeletions.find_one(
        {"numOrphanDocs": 50}), 20, "the count of orphans")
    shown = list(cluster.client.admin.aggregate([{"$shardedDataDistribution": {}}]))
    by_shard = {s["shardName"]: s for s in shown[0]["shards"]}
    assert [by_shard[s]["numOrphanedDocs"] for s in ("shard0", "shard1")] == [50, 0]
    assert [by_shard[s]["numOwnedDocuments"] for s in ("shard0", "shard1")] == [50, 50]
    stats = cluster.client.db.command("collStats", "c")
    assert stats["shards"]["shard0"]["numOrphanDocs"] == 50
    assert cluster.client.db.c.count_documents({}) == 100


def test_the_config_servers_collections_have_their_indexes(cluster):
    def indexes(name):
        found = cluster.config.client.config[name].index_information()
        return {key: bool(spec.get("unique")) for key, spec in found.items() if key != "_id_"}

    def are_there():
        return (indexes("chunks") == {"uuid_1_min_1": True, "uuid_1_shard_1_min_1": False,
                                      "uuid_1_lastmod_1": True}
                and indexes("tags") == {"ns_1_min_1": True, "ns_1_tag_1": False}
                and indexes("shards") == {"host_1": True})
    wait_until(are_there, 20, "indexes")
    chunk = cluster.client.config.chunks.find_one()
    plan = cluster.config.client.config.chunks.find(
        {"uuid": chunk["uuid"], "lastmod": {"$gte": Timestamp(0, 0)}}, sort=[("lastmod", 1)]
    ).explain()["queryPlanner"]["winningPlan"]
    assert "SORT" not in str(plan) and "uuid_1_lastmod_1" in str(plan)
    # A data directory of before there were any gets them, too.
    for name in ("chunks", "tags"):
        cluster.config.client.config[name].drop_indexes()
    member = cluster.config.members[0]
    member.stop()
    member.start()
    wait_until(are_there, 30, "indexes after a restart")
    cluster.client.admin.command("split", "db.c", middle={"n": 70})
    cluster.client.admin.command("moveChunk", "db.c", find={"n": 80}, to="shard1")
    assert cluster.client.db.c.count_documents({}) == 100
