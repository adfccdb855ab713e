# SPDX-License-Identifier: Apache-2.0
"""Operations as clients see and stop them (currentOp, killOp), and failCommand as the drivers'
specifications use it, on members and routers alike."""

import hashlib
import shutil
import tempfile
import threading
import time
import uuid

import bson
import pymongo
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.errors import (AutoReconnect, ConnectionFailure, ExecutionTimeout, NotPrimaryError,
                            OperationFailure, WriteConcernError)

from lib.raw import RawConnection
from lib.server import connect
from lib.shards import ShardedCluster
from lib.wait import wait_until

BLOCK_MS = 600_000  # Longer than any test: who comes back was let go.


@pytest.fixture(scope="module")
def sharded():
    folder = tempfile.mkdtemp(prefix="tessera-test-")
    cluster = ShardedCluster(folder)
    try:
        cluster.start().shard_collection("shop.items", {"k": 1}, splits=[{"k": 50}],
                                         moves=[({"k": 60}, "shard1")])
        cluster.shards[0].primary().reconnect()
        cluster.client.shop.items.insert_many([{"_id": i, "k": i} for i in range(100)])
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["member", "router"])
def server(request, sharded):
    """A process of either role."""
    member = sharded.shards[0].primary()
    yield member if request.param == "member" else sharded.routers[0]
    for process in (member, sharded.routers[0]):
        process.command("configureFailPoint", "failCommand", mode="off")


def fail(server, mode, **data):
    return server.command("configureFailPoint", "failCommand", mode=mode, data=data)


@pytest.fixture
def background():
    """background(function): its outcome (a value or an exception), when it is asked for."""
    threads = []

    def start(function):
        outcome = []

        def run():
            try:
                outcome.append(function())
            except pymongo.errors.PyMongoError as error:
                outcome.append(error)
        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()

        def result():
            wait_until(lambda: outcome, 30, "the operation's end")
            return outcome[0]
        return result
    yield start
    for thread in threads:
        thread.join(30)


def operations(client, comment):
    return list(client.admin.aggregate([
        {"$currentOp": {"allUsers": True}}, {"$match": {"command.comment": comment}}]))


SLOW = [{"$set": {"i": {"$range": [0, 100_000]}}}, {"$unwind": "$i"}, {"$set": {
    "j": {"$range": [0, 1000]}}}, {"$unwind": "$j"}, {"$match": {"j": -1}}]


def find_blocked(sharded, comment):
    fail(sharded.shards[1].primary(), {"times": 1}, failCommands=["find"], blockConnection=True,
         blockTimeMS=BLOCK_MS, failInternalCommands=True)
    return lambda: list(sharded.client.shop.items.find({"k": 60}, comment=comment))


def aggregate_slowly(sharded, comment):
    return lambda: list(sharded.client.shop.items.aggregate(
        [{"$match": {"k": {"$gte": 50}}}, *SLOW], comment=comment))


@pytest.mark.parametrize("slow", [find_blocked, aggregate_slowly])
def test_an_operation_is_killed_by_the_id_its_router_shows(sharded, background, slow):
    comment = uuid.uuid4().hex
    result = background(slow(sharded, comment))
    admin = sharded.client.admin
    found = wait_until(lambda: operations(sharded.client, comment), 20, "the operation")
    assert [op["shard"] for op in found] == ["shard1"]
    shard, number = found[0]["opid"].split(":")
    assert shard == "shard1" and number.isdigit()
    # The command shows the same, and filters it.
    said = admin.command({"currentOp": 1, "opid": found[0]["opid"]})["inprog"]
    assert [op["command"]["comment"] for op in said] == [comment]
    assert admin.command({"currentOp": 1, "opid": "shard1:0"})["inprog"] == []
    on_shard = sharded.shards[1].primary().command({"currentOp": 1, "opid": int(number)})
    assert [op["command"]["comment"] for op in on_shard["inprog"]] == [comment]
    assert admin.command("killOp", op=found[0]["opid"])["info"] == "attempting to kill op"
    error = result()
    assert isinstance(error, OperationFailure) and error.code == 11601, error
    wait_until(lambda: not operations(sharded.client, comment), 20, "its end on the shard")
    assert sharded.client.shop.items.find_one({"k": 60})["_id"] == 60


def test_a_routers_own_operations_have_numbers(sharded, background):
    comment = uuid.uuid4().hex
    router = sharded.routers[0]
    fail(router, {"times": 1}, failCommands=["find"], blockConnection=True, blockTimeMS=BLOCK_MS)
    result = background(lambda: sharded.client.shop.items.find_one({"k": 1}, comment=comment))

    def local():
        return list(sharded.client.admin.aggregate([
            {"$currentOp": {"localOps": True}}, {"$match": {"command.comment": comment}}]))
    opid = wait_until(local, 20, "the operation")[0]["opid"]
    sharded.client.admin.command("killOp", op=opid)
    assert result().code == 11601


def test_what_a_shard_does_for_a_client_ends_with_the_clients_connection(sharded):
    comment = uuid.uuid4().hex
    shard = sharded.shards[1].primary()
    fail(shard, {"times": 1}, failCommands=["find"], blockConnection=True, blockTimeMS=BLOCK_MS,
         failInternalCommands=True)
    with connect(sharded.routers[0].port, socketTimeoutMS=200, retryReads=False) as client:
        with pytest.raises(AutoReconnect):
            client.shop.items.find_one({"k": 60}, comment=comment)
    wait_until(lambda: not operations(shard.client, comment), 20,
               "the end of what nobody waits for")
    assert operations(sharded.client, comment) == []
    entered = shard.command("configureFailPoint", "failCommand", mode="off")["count"]
    assert entered == 1


@pytest.mark.parametrize("op, code", [
    ("nowhere:17", 70), ("shard0", 2), ("shard0:", 2), (":5", 2), ("shard0:x", 2), (True, 14),
    ({}, 14)])
def test_kill_op_refuses_what_it_does_not_know(sharded, op, code):
    with pytest.raises(OperationFailure) as refused:
        sharded.client.admin.command("killOp", op=op)
    assert refused.value.code == code
    if code == 70:
        assert "nowhere" in str(refused.value)
    assert sharded.client.admin.command("killOp", op="shard0:999999999")["ok"] == 1


def test_error_code_and_labels(server):
    items = server.client.get_database("fp").items
    fail(server, {"times": 1}, failCommands=["find"], errorCode=12345, errorLabels=["Mine", "B"])
    with pytest.raises(OperationFailure) as failure:
        items.find_one()
    assert failure.value.code == 12345
    assert failure.value.details["errorLabels"] == ["Mine", "B"]
    items.find_one()
    # An empty list takes the server's own labels away, and the driver does not retry.
    fail(server, {"times": 1}, failCommands=["insert"], errorCode=91, errorLabels=[])
    with pytest.raises(NotPrimaryError) as failure:
        items.insert_one({})
    assert failure.value.details["code"] == 91 and "errorLabels" not in failure.value.details
    # Drivers tell by it that they know the server's state already, and do not wait to learn it.
    assert failure.value.details["topologyVersion"] == server.command("hello")["topologyVersion"]


@pytest.mark.parametrize("data", [{"errorCode": 189, "errorLabels": ["RetryableWriteError"]},
                                  {"closeConnection": True}], ids=["error", "closed"])
def test_retryable_writes_and_reads_are_retried(server, data):
    items = server.client.get_database("fp").retried
    items.drop()
    for number, write in enumerate([
            lambda: items.insert_one({"_id": 1}),
            lambda: items.update_one({"_id": 1}, {"$inc": {"n": 1}}),
            lambda: items.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}),
            lambda: items.bulk_write([pymongo.UpdateOne({"_id": 1}, {"$inc": {"n": 1}})]),
            lambda: items.delete_one({"_id": 1})]):
        command = ["insert", "update", "findAndModify", "update", "delete"][number]
        fail(server, {"times": 1}, failCommands=[command], **data)
        write()
        assert fail(server, "off")["count"] == 1
        assert [d.get("n", 0) for d in items.find()] == [[0], [1], [2], [3], []][number]
    for command, read in (("find", items.find_one),
                          ("aggregate", lambda: list(items.aggregate([]))),
                          ("distinct", lambda: items.distinct("x")),
                          ("count", items.estimated_document_count)):
        fail(server, {"times": 1}, failCommands=[command], errorCode=91,
             **({"closeConnection": True} if "closeConnection" in data else {}))
        read()
        assert fail(server, "off")["count"] == 1
    with connect(server.port, retryReads=False, retryWrites=False) as client:
        for command in ("find", "insert"):
            fail(server, {"times": 1}, failCommands=[command], **data)
            with pytest.raises((OperationFailure, ConnectionFailure)):
                client.fp.retried.find_one() if command == "find" else client.fp.retried.insert_one(
                    {"_id": "never"})
    assert items.count_documents({"_id": "never"}) == 0


def test_modes(server):
    items = server.client.get_database("fp", read_preference=pymongo.ReadPreference.PRIMARY).modes

    def outcomes(count):
        with connect(server.port, retryReads=False) as client:
            return [_fails(client.fp[items.name].find_one) for _ in range(count)]
    fail(server, {"times": 2}, failCommands=["find"], errorCode=2)
    assert outcomes(4) == [True, True, False, False]
    assert fail(server, {"skip": 2}, failCommands=["find"], errorCode=2)["count"] == 2
    assert outcomes(4) == [False, False, True, True]
    fail(server, "alwaysOn", failCommands=["find"], errorCode=2)
    assert outcomes(3) == [True, True, True]
    assert server.command("configureFailPoint", "failCommand", mode="off")["count"] == 3
    assert outcomes(2) == [False, False]


def _fails(action):
    try:
        action()
        return False
    except OperationFailure:
        return True


def test_blocked_connections(server, background):
    items = server.client.get_database("fp").blocked
    fail(server, {"times": 1}, failCommands=["find"], blockConnection=True, blockTimeMS=150,
         errorCode=2)
    before = time.monotonic()
    assert _fails(items.find_one) and time.monotonic() - before >= 0.15
    # The block ends with the operation: by its deadline, by its client's end.
    fail(server, {"times": 1}, failCommands=["find"], blockConnection=True, blockTimeMS=BLOCK_MS)
    with pytest.raises(ExecutionTimeout):
        items.find_one(max_time_ms=50)
    comment = uuid.uuid4().hex
    fail(server, {"times": 1}, failCommands=["find"], blockConnection=True, blockTimeMS=BLOCK_MS)
    with connect(server.port, socketTimeoutMS=200, retryReads=False) as client:
        with pytest.raises(AutoReconnect):
            client.fp.blocked.find_one(comment=comment)

    def is_gone():
        return not list(server.client.admin.aggregate([
            {"$currentOp": {"localOps": True}}, {"$match": {"command.comment": comment}}]))
    wait_until(is_gone, 20, "the end of what nobody waits for")


def test_write_concern_errors(server):
    items = server.client.get_database("fp").concerns
    items.drop()
    fail(server, {"times": 1}, failCommands=["insert"], writeConcernError={
        "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting timed out",
        "errInfo": {"wtimeout": True}})
    with pytest.raises(WriteConcernError) as failure:
        items.insert_one({"_id": 1})
    assert failure.value.code == 64 and items.count_documents({}) == 1  # Done, not confirmed.
    fail(server, {"times": 1}, failCommands=["insert"], errorLabels=["RetryableWriteError"],
         writeConcernError={"code": 91, "errmsg": "Replication is being shut down"})
    items.insert_one({"_id": 2})  # Retried, and found done.
    assert fail(server, "off")["count"] == 1
    assert items.count_documents({}) == 2


def test_a_field_that_is_there_twice_is_refused(server):
    command = bson.encode({"find": "c", "limit": 1, "limiT": 2, "$db": "fp"})
    with RawConnection(server.port) as connection:
        said = connection.call(RawBSONDocument(command.replace(b"limiT\0", b"limit\0")))
        assert connection.call({"ping": 1, "$db": "admin"})["ok"] == 1
    assert (said["ok"], said["code"]) == (0, 40413)
    assert said["errmsg"] == "BSON field 'APIParametersFromClient.limit' is a duplicate field"


def test_app_names(server):
    fail(server, "alwaysOn", failCommands=["find"], errorCode=2, appName="victim")
    with connect(server.port, appname="victim") as victim, connect(server.port) as other:
        assert _fails(victim.fp.names.find_one) and not _fails(other.fp.names.find_one)
    # A first hello names its application itself.
    fail(server, "alwaysOn", failCommands=["hello", "isMaster", "ismaster"], closeConnection=True,
         appName="shunned")
    with connect(server.port, appname="shunned", serverSelectionTimeoutMS=500) as shunned:
        with pytest.raises(ConnectionFailure):
            shunned.fp.names.find_one()
    server.client.fp.names.find_one()


@pytest.mark.parametrize("mode, data, code", [
    ("sometimes", {"failCommands": ["find"]}, 2), ({"times": -1}, {"failCommands": ["find"]}, 2),
    ("alwaysOn", {}, 2), ("alwaysOn", {"failCommands": ["find"], "threadName": "x"}, 2),
    ("alwaysOn", {"failCommands": "find"}, 14),
    ("alwaysOn", {"failCommands": [], "appName": 1}, 14),
    ("alwaysOn", {"failCommands": ["find"], "blockConnection": True}, 2)])
def test_fail_points_are_refused_by_name(server, mode, data, code):
    with pytest.raises(OperationFailure) as refused:
        fail(server, mode, **data)
    assert refused.value.code == code
    with pytest.raises(OperationFailure) as refused:
        server.command("configureFailPoint", "failEverything", mode="off")
    assert refused.value.code == 266


def test_current_op_names_its_own_aggregate_and_session(server):
    comment = uuid.uuid4().hex
    own = list(server.client.admin.aggregate(
        [{"$currentOp": {}}, {"$match": {"command.comment": comment}}], comment=comment))
    assert own and {op["ns"] for op in own} == {"admin.$cmd.aggregate"}
    assert {bytes(op["lsid"]["uid"]) for op in own} == {hashlib.sha256(b"").digest()}


def test_idle_connections_are_shown_when_asked_for(sharded):
    member = sharded.shards[0].primary()
    name = uuid.uuid4().hex
    with connect(member.port, appname=name) as client:
        client.admin.command("ping")

        def idle(**options):
            return [op for op in member.client.admin.aggregate(
                [{"$currentOp": {"allUsers": True, **options}}, {"$match": {"appName": name}}])
                    if not op["active"]]
        found = wait_until(lambda: idle(idleConnections=True), 20, "an idle connection")
        assert found[0]["type"] == "op" and found[0]["desc"].startswith("conn")
        assert found[0]["client"].startswith("127.0.0.1:") and "opid" not in found[0]
        assert idle() == [] and idle(idleConnections=False) == []
    wait_until(lambda: not idle(idleConnections=True), 20, "the connection to be forgotten")


def test_a_router_tells_a_collections_version_and_no_members_secrets(sharded):
    admin = sharded.client.admin
    said = admin.command("getShardVersion", "shop.items")
    entry = sharded.client.config.collections.find_one({"_id": "shop.items"})
    assert said["versionEpoch"] == entry["lastmodEpoch"]
    assert said["versionTimestamp"] == entry["timestamp"]
    newest = sharded.client.config.chunks.find_one({"uuid": entry["uuid"]},
                                                   sort=[("lastmod", -1)])
    assert said["version"] == newest["lastmod"]
    for command, code in (({"getShardVersion": "shop.plain"}, 118), ({"top": 1}, 59),
                          ({"getShardVersion": "shop.items", "fullMetadata": True}, 115)):
        with pytest.raises(OperationFailure) as failure:
            admin.command(command)
        assert failure.value.code == code, failure.value
    for command in ("replSetGetStatus", "replSetGetConfig"):
        with pytest.raises(OperationFailure) as failure:
            admin.command(command)
        assert "not supported through mongos" in str(failure.value)


def test_a_router_explains_an_aggregate(sharded):
    said = sharded.client.shop.command("aggregate", "items", pipeline=[{"$match": {"k": 3}}],
                                       explain=True)
    assert list(said["shards"]) == ["shard0"]
    assert said["shards"]["shard0"]["queryPlanner"]["namespace"] == "shop.items"
    # Over two shards each explains what it is sent: sorting and no more rows than can be needed.
    pipeline = [{"$sort": {"k": 1}}, {"$skip": 10}, {"$limit": 5},
                {"$group": {"_id": None, "sum": {"$sum": "$k"}}}]
    assert list(sharded.client.shop.items.aggregate(pipeline)) == [{"_id": None, "sum": 60}]
    explained = sharded.client.shop.command(
        "explain", {"aggregate": "items", "pipeline": pipeline, "cursor": {}},
        verbosity="executionStats")
    assert explained["splitPipeline"]["shardsPart"] == [{"$sort": {"k": 1}}, {"$limit": 15}]
    assert {"$skip": 10} in explained["splitPipeline"]["mergerPart"]
    for part in explained["shards"].values():
        assert part["executionStats"]["nReturned"] == 15
    said = sharded.client.shop.command("aggregate", "items", pipeline=pipeline, explain=True)
    assert sorted(said["shards"]) == ["shard0", "shard1"]
    assert said["splitPipeline"] == explained["splitPipeline"]
