# SPDX-License-Identifier: Apache-2.0
"""fsync with lock: writes wait, reads go on, a copy of the files is whole, and nothing hangs."""

import shutil
import threading

import pymongo
import pytest
from pymongo.errors import OperationFailure, PyMongoError

from lib import clients
from lib.wait import wait_until

ILLEGAL_OPERATION, LOCK_TIMEOUT = 20, 24


class Background:
    """A call in a thread of its own."""

    def __init__(self, function):
        self.outcome = []

        def run():
            try:
                self.outcome.append(function())
            except PyMongoError as error:
                self.outcome.append(error)
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self):
        wait_until(lambda: self.outcome, 30, "the call's end")
        self.thread.join()
        if isinstance(self.outcome[0], PyMongoError):
            raise self.outcome[0]
        return self.outcome[0]


def waits(server, comment):
    """Whether an operation with that comment is in progress."""
    return [op for op in server.command("currentOp")["inprog"]
            if op.get("command", {}).get("comment") == comment]


def lock(server):
    return server.command("fsync", lock=True)


def unlock(server):
    return server.command("fsyncUnlock")


def test_writes_wait_until_as_many_unlocks_as_locks(standalone):
    items = standalone.client.shop.items
    items.insert_one({"_id": 0})
    assert standalone.command("fsync") == {"numFiles": 1, "ok": 1.0}
    with pytest.raises(OperationFailure) as failure:
        unlock(standalone)
    assert failure.value.code == ILLEGAL_OPERATION
    assert "fsyncLock" not in standalone.command("currentOp")
    first = lock(standalone)
    assert first["lockCount"] == 1 and first["seeAlso"] and "fsyncUnlock" in first["info"]
    assert lock(standalone)["lockCount"] == 2
    said = standalone.command("currentOp")
    assert said["fsyncLock"] is True and "fsyncUnlock" in said["info"]
    insert = Background(lambda: items.insert_one({"_id": 1}, comment="held"))
    update = Background(lambda: items.update_one({"_id": 0}, {"$set": {"a": 1}}, comment="held"))
    index = Background(lambda: items.create_index("a", comment="held"))
    out = Background(lambda: list(items.aggregate([{"$out": "copy"}], comment="held")))
    wait_until(lambda: len(waits(standalone, "held")) == 4, 20, "four who wait")
    assert [d["_id"] for d in items.find()] == [0]
    assert standalone.client.shop.list_collection_names() == ["items"]
    with pytest.raises(OperationFailure):
        standalone.client.shop.command("insert", "items", documents=[{}], maxTimeMS=100)
    assert unlock(standalone)["lockCount"] == 1
    assert len(waits(standalone, "held")) == 4 and items.count_documents({}) == 1
    last = unlock(standalone)
    assert last["lockCount"] == 0 and last["info"] == "fsyncUnlock completed"
    for each in (insert, update, index, out):
        each.result()
    assert items.count_documents({}) == 2
    assert "fsyncLock" not in standalone.command("currentOp")


def test_a_copy_made_while_it_is_locked_is_whole(make_server, folder):
    server = make_server("mongod", "--syncdelay", "1").start()
    items = server.client.get_database("shop", write_concern=pymongo.WriteConcern(1, j=True)).items
    items.insert_many([{"_id": i, "text": "x" * 200} for i in range(5000)])
    items.create_index("text")
    lock(server)
    copy = make_server("mongod")
    shutil.rmtree(copy.dbpath, ignore_errors=True)
    shutil.copytree(server.dbpath, copy.dbpath,
                    ignore=lambda _, names: [n for n in names if n.endswith(".lock")])
    unlock(server)
    items.insert_one({"_id": "later"})
    copy.start()
    assert copy.client.shop.items.count_documents({}) == 5000
    assert copy.client.shop.command("validate", "items", full=True)["valid"]


def test_a_locked_member_ends_when_it_is_told(make_server):
    server = make_server("mongod").start()
    server.client.shop.items.insert_one({"_id": 0})
    lock(server)
    held = Background(lambda: server.client.shop.items.insert_one({"_id": 1}, comment="held"))
    wait_until(lambda: waits(server, "held"), 20, "the insert to wait")
    assert server.stop() == 0
    with pytest.raises(PyMongoError):
        held.result()
    server.start()
    server.client.shop.items.insert_one({"_id": 2})


def test_a_locked_secondary_pauses_and_catches_up(make_replica_set):
    replica_set = make_replica_set(3)
    primary = replica_set.primary()
    one = next(m for m in replica_set.members if m is not primary)
    client = replica_set.client
    all_of = client.get_database("shop", write_concern=pymongo.WriteConcern(3)).items
    all_of.insert_one({"_id": 0})
    lock(one)
    majority = client.get_database("shop", write_concern=pymongo.WriteConcern("majority")).items
    majority.insert_many([{"_id": i} for i in range(1, 50)])
    assert [d["_id"] for d in one.client.shop.items.find()] == [0]
    late = Background(lambda: all_of.insert_one({"_id": 50}))
    assert one.client.shop.items.count_documents({}) == 1
    unlock(one)
    late.result()
    assert one.client.shop.items.count_documents({}) == 51


def test_a_locked_primary_steps_down(make_replica_set):
    replica_set = make_replica_set(3)
    primary = replica_set.primary()
    replica_set.client.shop.items.insert_one({"_id": 0})
    lock(primary)
    held = Background(lambda: primary.client.shop.command(
        "insert", "items", documents=[{"_id": 1}], comment="held"))
    wait_until(lambda: waits(primary, "held"), 20, "the insert to wait")
    primary.command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=5)
    with pytest.raises(PyMongoError):
        held.result()
    others = [m for m in replica_set.members if m is not primary]
    wait_until(lambda: [m for m in others if m.command("hello")["isWritablePrimary"]], 30,
               "another primary")
    replica_set.client.shop.items.insert_one({"_id": 2})
    unlock(primary)
    wait_until(lambda: primary.client.shop.items.find_one({"_id": 2}), 30, "the entry to arrive")


def test_mongosh_locks_and_unlocks(standalone):
    said = clients.mongosh_json(standalone.uri, "[db.fsyncLock(), db.fsyncUnlock()]")
    assert [each["ok"] for each in said] in ([1, 1], [{"$numberInt": "1"}] * 2,
                                             [{"$numberDouble": "1.0"}] * 2)


def test_locks_asked_for_at_once_are_all_taken(standalone):
    items = standalone.client.shop.items
    items.insert_many([{"_id": i} for i in range(20000)])
    # The first lock waits for this one to end, the others for the first.
    update = Background(lambda: items.update_many({}, {"$set": {"a": "x" * 50}}))
    locks = [Background(lambda: lock(standalone)) for _ in range(6)]
    assert sorted(each.result()["lockCount"] for each in locks) == [1, 2, 3, 4, 5, 6]
    assert update.result().modified_count == 20000
    held = Background(lambda: items.insert_one({"_id": "held"}, comment="held"))
    wait_until(lambda: waits(standalone, "held"), 20, "the insert to wait")
    unlocks = [Background(lambda: unlock(standalone)) for _ in range(6)]
    assert sorted(each.result()["lockCount"] for each in unlocks) == [0, 1, 2, 3, 4, 5]
    held.result()
    assert "fsyncLock" not in standalone.command("currentOp")


@pytest.fixture
def unlocked(shared_cluster):
    """The cluster, unlocked again whatever the test did."""
    yield shared_cluster
    admin = shared_cluster.client.admin

    def is_unlocked():
        try:
            admin.command("fsyncUnlock")
        except OperationFailure as failure:
            assert failure.code == ILLEGAL_OPERATION
            return True
        return False
    wait_until(is_unlocked, 30, "an unlocked cluster")


def test_a_router_writes_to_disk(shared_cluster):
    said = shared_cluster.client.admin.command("fsync")
    assert said["numFiles"] == len(said["all"]) == 3


def test_a_router_locks_every_shard(unlocked, database):
    admin = unlocked.client.admin
    items = database.items
    items.insert_one({"_id": 0})
    with pytest.raises(OperationFailure) as failure:
        admin.command("fsyncUnlock")
    assert failure.value.code == ILLEGAL_OPERATION
    assert "fsyncLock" not in admin.command("currentOp")
    said = admin.command("fsync", lock=True)
    assert said["lockCount"] == 1 and "fsyncUnlock" in said["info"] and said["seeAlso"]
    assert [each["lockCount"] for each in said["all"].values()] == [1, 1, 1]
    hosts = {each["host"] for each in said["all"].values()}
    assert len(hosts) == 3
    for host in hosts:
        with pymongo.MongoClient(host, directConnection=True) as member:
            assert member.admin.command("hello")["isWritablePrimary"]
            assert member.admin.command("currentOp")["fsyncLock"] is True
    assert admin.command("fsync", lock=True)["lockCount"] == 2
    shown = admin.command("currentOp")
    assert shown["fsyncLock"] is True and "fsyncUnlock" in shown["info"]
    insert = Background(lambda: items.insert_one({"_id": 1}, comment="held"))
    wait_until(lambda: [op for op in admin.command("currentOp")["inprog"]
                        if op.get("command", {}).get("comment") == "held"], 20, "one who waits")
    assert [d["_id"] for d in items.find()] == [0]
    assert admin.command("fsyncUnlock")["lockCount"] == 1
    assert not insert.outcome
    last = admin.command("fsyncUnlock")
    assert last["lockCount"] == 0 and last["info"] == "fsyncUnlock completed"
    insert.result()
    assert "fsyncLock" not in admin.command("currentOp")


def test_a_router_locks_all_shards_or_none(unlocked, database):
    admin = unlocked.client.admin
    database.items.insert_many([{"a": i} for i in range(10)])
    shard = unlocked.client.config.databases.find_one({"_id": database.name})["primary"]
    hosts = unlocked.client.config.shards.find_one({"_id": shard})["host"].split("/")[1]
    clients_of = [pymongo.MongoClient(host, directConnection=True) for host in hosts.split(",")]
    secondary = next(c.admin for c in clients_of if c.admin.command("hello")["secondary"])
    secondary.command("fsync", lock=True)
    try:
        # A build waits for the secondary's vote, and the shard's lock for the build.
        index = Background(lambda: database.items.create_index("a", comment="build"))
        primary = next(c.admin for c in clients_of
                       if c.admin.command("hello")["isWritablePrimary"])
        wait_until(lambda: [op for op in primary.command("currentOp")["inprog"]
                            if op.get("command", {}).get("comment") == "build"], 20, "the build")
        with pytest.raises(OperationFailure) as failure:
            admin.command("fsync", lock=True, fsyncLockAcquisitionTimeoutMillis=300)
        assert failure.value.code == LOCK_TIMEOUT and shard in str(failure.value)
        assert "fsyncLock" not in admin.command("currentOp")
    finally:
        secondary.command("fsyncUnlock")
    index.result()
    for each in clients_of:
        each.close()


def test_mongosh_locks_and_unlocks_a_cluster(unlocked):
    said = clients.mongosh_json(unlocked.uri, """[
        db.fsyncLock().lockCount, db.adminCommand({currentOp: 1}).fsyncLock, db.fsyncLock().ok,
        db.fsyncUnlock().ok, db.fsyncUnlock().lockCount,
        db.adminCommand({currentOp: 1}).fsyncLock === undefined]""")
    assert [str(each) for each in said[1:2] + said[5:]] == ["True", "True"]


def test_a_shard_with_a_new_primary_is_unlocked(make_cluster):
    cluster = make_cluster("--shards", "2")
    admin = cluster.client.admin
    cluster.client.shop.items.insert_one({"_id": 0})
    said = admin.command("fsync", lock=True)["all"]
    host, other = (said[shard]["host"] for shard in sorted(said)[:2])
    locked = pymongo.MongoClient(host, directConnection=True)
    locked.admin.command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=5)
    wait_until(lambda: not locked.admin.command("hello")["isWritablePrimary"], 30, "a step-down")

    def unlocked_once():
        """The router's answer, once the shard has a new primary to ask."""
        try:
            return admin.command("fsyncUnlock")
        except OperationFailure as failure:
            assert failure.code != ILLEGAL_OPERATION
            return None
    answer = wait_until(unlocked_once, 30, "an unlock")["all"]
    first, second = (answer[shard] for shard in sorted(answer)[:2])
    assert first["code"] == ILLEGAL_OPERATION and first["host"] != host
    assert second["lockCount"] == 0 and second["host"] == other
    # The old primary has kept its lock, as documented: it is unlocked where it is.
    assert locked.admin.command("currentOp")["fsyncLock"] is True
    majority = cluster.client.get_database("shop", write_concern=pymongo.WriteConcern("majority"))
    majority.items.insert_one({"_id": 1})
    assert locked.admin.command("fsyncUnlock")["lockCount"] == 0
    locked.close()
    cluster.assert_equal_data()
