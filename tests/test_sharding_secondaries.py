# SPDX-License-Identifier: Apache-2.0
"""Reads on secondaries while chunks move, with nothing but versions to protect them: orphans are
deleted at once."""

import threading

import pytest
from pymongo import ReadPreference
from pymongo.errors import OperationFailure

from lib.server import connect
from lib.shards import ShardedCluster
from lib.wait import wait_until

DOCUMENTS = 600
QUERY_PLAN_KILLED = 175


@pytest.fixture
def cluster(folder):
    made = ShardedCluster(folder, members=3, routers=2, orphan_delay=0).start()
    made.client.admin.command("balancerStop")
    made.shard_collection("db.c", {"n": 1}, splits=[{"n": 300}])
    made.client.db.c.insert_many([{"_id": i, "n": i, "z": 0} for i in range(DOCUMENTS)])
    yield made
    made.close()


def test_a_reader_of_secondaries_sees_every_document_once(cluster):
    stopped, wrong, reads, killed = threading.Event(), [], [], []

    def read(router, **options):
        with connect(cluster.routers[router].port) as client:
            c = client.db.get_collection("c", read_preference=ReadPreference.SECONDARY)
            while not stopped.is_set():
                try:
                    ids = [d["_id"] for d in c.find({}, {"_id": 1}, **options)]
                except OperationFailure as error:
                    # Only a cursor that goes on may lose what it reads by.
                    assert error.code == QUERY_PLAN_KILLED and options, error
                    killed.append(error)
                    continue
                reads.append(router)
                if len(ids) != DOCUMENTS or len(set(ids)) != DOCUMENTS:
                    wrong.append((options, len(ids), len(set(ids))))

    threads = [threading.Thread(target=read, args=(i % 2,)) for i in range(3)]
    threads.append(threading.Thread(target=read, args=(1,), kwargs={"batch_size": 50}))
    for each in threads:
        each.start()
    try:
        for to in ("shard1", "shard0") * 3:
            cluster.client.admin.command("moveChunk", "db.c", find={"n": 400}, to=to)
            done = len(reads)
            wait_until(lambda: len(reads) > done + 3, 60, "reads")
    finally:
        stopped.set()
        for each in threads:
            each.join()
    assert not wrong and len(reads) > 20


def test_a_causal_reader_of_secondaries_sees_its_own_writes_after_a_move(cluster):
    stale = connect(cluster.routers[1].port)
    secondary = stale.db.get_collection("c", read_preference=ReadPreference.SECONDARY)
    assert secondary.count_documents({}) == DOCUMENTS
    for turn, to in enumerate(("shard1", "shard0"), start=1):
        cluster.client.admin.command("moveChunk", "db.c", find={"n": 400}, to=to)
        with cluster.client.start_session(causal_consistency=True) as session:
            cluster.client.db.c.update_one({"n": 400}, {"$set": {"z": turn}}, session=session)
            time, operation = session.cluster_time, session.operation_time
        with stale.start_session(causal_consistency=True) as session:
            session.advance_cluster_time(time)
            session.advance_operation_time(operation)
            assert secondary.find_one({"n": 400}, session=session)["z"] == turn
            assert secondary.count_documents({}, session=session) == DOCUMENTS
    stale.close()


def test_a_database_that_moved_is_read_where_it_is(cluster):
    stale = connect(cluster.routers[1].port)
    secondary = stale.db.get_collection("u", read_preference=ReadPreference.SECONDARY)
    cluster.client.db.u.insert_many([{"_id": i} for i in range(100)])
    for shard in cluster.shards:
        shard.wait_replicated()
    for to in ("shard1", "shard0"):
        assert secondary.count_documents({}) == 100
        cluster.client.admin.command("movePrimary", "db", to=to)
        assert secondary.count_documents({}) == 100
    stale.close()
