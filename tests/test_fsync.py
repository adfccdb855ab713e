# SPDX-License-Identifier: Apache-2.0
"""fsync with lock: writes wait, reads go on, a copy of the files is whole, and nothing hangs."""

import shutil
import threading

import pymongo
import pytest
from pymongo.errors import OperationFailure, PyMongoError

from lib import clients
from lib.wait import wait_until

ILLEGAL_OPERATION, NOT_SUPPORTED = 20, 115


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


def test_a_router_writes_to_disk_and_does_not_lock(shared_cluster):
    admin = shared_cluster.client.admin
    said = admin.command("fsync")
    assert said["numFiles"] == len(said["all"]) == 3
    for command in ({"fsync": 1, "lock": True}, {"fsyncUnlock": 1}):
        with pytest.raises(OperationFailure) as failure:
            admin.command(command)
        assert failure.value.code == NOT_SUPPORTED
