# SPDX-License-Identifier: Apache-2.0
"""A replica set of real processes: fail-over by kill -9, freeze and step-down under a workload."""

import email.utils
import re
import uuid

import pytest
from bson import Binary, Int64

from lib import clients, server
from lib.raw import RawConnection
from lib.replica_set import ReplicaSet
from lib.wait import wait_until
from lib.workload import Workload

# From the moment a primary is gone to the next majority write of every writer; the election timeout
# is 1 s.  Generous, since two cores run all of it; docs/benchmarks.md has the measured times.
RESUMES_SECONDS_MAX = 15.0


@pytest.fixture
def working(replica_set):
    """A set with writers on it."""
    workload = Workload(replica_set.fresh_client).start()
    yield replica_set, workload
    workload.stop()


def resumed_and_kept(replica_set, workload):
    workload.wait_progress(deadline=RESUMES_SECONDS_MAX)
    workload.stop().check(replica_set.client)
    replica_set.assert_equal_data()


def test_clients_find_the_primary_and_read_from_secondaries(replica_set):
    items = replica_set.client.tp.items
    items.insert_many([{"_id": i} for i in range(100)])
    secondary = items.with_options(read_preference=server.pymongo.ReadPreference.SECONDARY)
    wait_until(lambda: secondary.count_documents({}) == 100, 10, "the secondaries' documents")
    replica_set.assert_equal_data()


@pytest.mark.parametrize("whose", ({}, {"internalClient": {"minWireVersion": 0,
                                                           "maxWireVersion": 21}}))
def test_a_secondary_serves_nobody_who_means_the_primary(replica_set, whose):
    """Neither a client nor another member that takes it for the primary still: what it reads may
    be old."""
    with RawConnection(replica_set.secondaries()[0].port) as member:
        assert member.call({"hello": 1, "$db": "admin", **whose})["secondary"]
        reading = {"find": "items", "$db": "test"}
        refused = member.call({**reading, "readConcern": {"level": "majority"}})
        assert (refused["ok"], refused["code"]) == (0, 13435)
        assert member.call({**reading, "$readPreference": {"mode": "secondaryPreferred"}})["ok"]


def test_a_batch_of_inserts_is_one_entry_and_a_retry_on_the_next_primary_repeats_nothing(
        replica_set):
    documents = [{"_id": i, "text": "x" * 500} for i in range(1000)]
    session = {"id": Binary(uuid.uuid4().bytes, 4)}
    insert = {"insert": "batch", "$db": "test", "lsid": session, "txnNumber": Int64(3)}
    first, others = replica_set.primary(), replica_set.secondaries()
    with RawConnection(first.port) as primary:
        assert primary.call({**insert, "documents": documents[:600]})["n"] == 600
    entries = list(first.client.local["oplog.rs"].find({"o.applyOps.ns": "test.batch"}))
    assert len(entries) < 10
    assert [each["stmtId"] for entry in entries for each in entry["o"]["applyOps"]] == [*range(600)]
    assert all(entry["multiOpType"] == 1 for entry in entries)
    first.client.admin.command("replSetStepDown", 20)
    wait_until(lambda: any(replica_set.state_of(m) == 1 for m in others), 20, "another primary")
    with RawConnection(replica_set.primary().port) as primary:
        again = primary.call({**insert, "documents": documents})
    assert again["n"] == 1000 and again["retriedStmtIds"] == [*range(600)]
    assert replica_set.client.test.batch.count_documents({}) == 1000
    replica_set.assert_equal_data()
    applied = first.client.admin.command("serverStatus")["opcountersRepl"]
    assert applied["insert"] >= 400


def parsed_date(text):
    """Seconds of what JavaScript prints of a date."""
    return email.utils.parsedate_to_datetime(re.sub(r" \(.*", "", text).replace("GMT", "")
                                             ).timestamp()


def test_mongosh_shows_the_set(replica_set):
    uri = replica_set.primary().uri
    status = clients.mongosh_json(uri, "rs.status()")
    assert sorted(m["stateStr"] for m in status["members"]) == ["PRIMARY", "SECONDARY", "SECONDARY"]
    assert clients.mongosh_json(uri, "rs.conf()._id") == replica_set.name
    said = clients.mongosh_session(
        uri, ["rs.printReplicationInfo()", "rs.printSecondaryReplicationInfo()"])
    assert "replLag" in said
    # What they show is what the oplog holds.
    oplog = replica_set.primary().client.local["oplog.rs"]
    first = oplog.find_one(sort=[("$natural", 1)])["ts"].time
    shown = clients.mongosh_json(uri, "db.getReplicationInfo()")
    newest = oplog.find_one(sort=[("$natural", -1)])["ts"].time
    assert parsed_date(shown["tFirst"]) == first
    assert first <= parsed_date(shown["tLast"]) <= newest
    assert shown["timeDiff"] == parsed_date(shown["tLast"]) - first
    stats = replica_set.primary().client.local.command("collStats", "oplog.rs")
    assert shown["logSizeMB"] == round(stats["maxSize"] / 2**20, 2)
    assert re.search(rf"configured oplog size\s+'{shown['logSizeMB']:g} MB'", said), said
    for line in ("oplog first event time", "oplog last event time", "log length start to end"):
        assert line in said
    for member in replica_set.secondaries():
        assert f"source: {member.address}" in said


def test_initiate_without_a_document(folder):
    one = ReplicaSet(f"{folder}/one", 1).start()
    one.members[0].command("replSetInitiate")
    assert one.primary() is one.members[0]


def test_kill_9_of_the_primary(working):
    replica_set, workload = working
    old = replica_set.primary()
    old.kill9()
    workload.wait_progress(deadline=RESUMES_SECONDS_MAX)
    assert replica_set.primary() is not old
    old.start()
    resumed_and_kept(replica_set, workload)


def test_kill_9_of_a_secondary(working):
    replica_set, workload = working
    gone = replica_set.secondaries()[0]
    gone.kill9()
    workload.wait_progress(deadline=RESUMES_SECONDS_MAX)
    gone.start()
    resumed_and_kept(replica_set, workload)


def test_a_frozen_primary_is_replaced_and_steps_down_when_thawed(working):
    replica_set, workload = working
    old = replica_set.primary()
    old.freeze()
    others = [m for m in replica_set.members if m is not old]
    wait_until(lambda: any(replica_set.state_of(m) == 1 for m in others), 15, "another primary")
    old.thaw()
    wait_until(lambda: replica_set.state_of(old) == 2, 15, "the old primary to be a secondary")
    resumed_and_kept(replica_set, workload)


def test_step_down_hands_over(working):
    replica_set, workload = working
    old = replica_set.primary()
    old.command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=10)
    wait_until(lambda: replica_set.primary() is not old, 10, "another primary")
    resumed_and_kept(replica_set, workload)


def test_all_members_killed_at_once_come_back_with_everything(working):
    replica_set, workload = working
    for member in replica_set.members:
        member.signal(9)
    for member in replica_set.members:
        member.wait_exit()
    for member in replica_set.members:
        member.start(ready=None)
    resumed_and_kept(replica_set, workload)


def test_a_new_member_copies_everything(replica_set):
    replica_set.client.tp.items.insert_many([{"_id": i, "x": "y" * 100} for i in range(2000)])
    replica_set.client.tp.items.create_index("x")
    added = replica_set.add_member()
    primary = replica_set.primary()
    config = primary.command("replSetGetConfig")["config"]
    config["version"] += 1
    config["members"].append({"_id": 3, "host": added.address})
    primary.command("replSetReconfig", config)
    wait_until(lambda: replica_set.state_of(added) == 2, 30, "the new member to be a secondary")
    replica_set.assert_equal_data()


def test_the_minority_takes_no_majority_write(replica_set):
    primary = replica_set.primary()
    for member in replica_set.members:
        if member is not primary:
            member.kill9()
    with server.connect(primary.port, retryWrites=False, socketTimeoutMS=10000) as client:
        with pytest.raises(server.pymongo.errors.PyMongoError):
            client.get_database("tp", write_concern=server.pymongo.WriteConcern(
                w="majority", wtimeout=1500)).items.insert_one({"_id": "lonely"})


def test_what_was_done_already_waits_for_a_majority_too(make_replica_set):
    """A drop that another has done is as certain as that one; so for create, dropDatabase."""
    replica_set = make_replica_set(initiate=False)
    replica_set.initiate(replica_set.config(electionTimeoutMillis=60_000))
    primary = replica_set.primary()
    for name in ("kept", "gone"):
        primary.client.tp.create_collection(name)
    again = [({"create": "kept", "$db": "tp"}, None), ({"drop": "gone", "$db": "tp"}, 26),
             ({"dropDatabase": 1, "$db": "nowhere"}, None)]
    majority = {"w": "majority", "wtimeout": 300}

    def answers(client):
        for command, code in again:
            reply = client.call({**command, "writeConcern": majority})
            assert (reply["ok"], reply.get("code")) == (code is None, code), reply
            yield reply.get("writeConcernError", {}).get("code")
    with RawConnection(primary.port) as client:
        for member in replica_set.secondaries():
            member.freeze()
        assert client.call({"drop": "gone", "$db": "tp", "writeConcern": {"w": 1}})["ok"]
        assert list(answers(client)) == [64, 64, 64]
        for member in replica_set.members:
            member.thaw()
        wait_until(lambda: list(answers(client)) == [None] * 3, 30, "a majority to know")
