# SPDX-License-Identifier: Apache-2.0
"""Members that lag, come late or are cut off, as real processes under a workload."""

import pymongo
import pytest

from lib import server
from lib.partition import Network
from lib.replica_set import ReplicaSet
from lib.wait import wait_until
from lib.workload import Workload


@pytest.fixture
def network_set(folder):
    """(set, network): three members that talk through proxies."""
    replica_set = ReplicaSet(f"{folder}/cut", 3).start()
    network = Network(replica_set.members)
    hosts = {i: {"host": network.addresses[member]}
             for i, member in enumerate(replica_set.members)}
    # The proxies are slow next to what they stand for.
    replica_set.initiate(replica_set.config(hosts, electionTimeoutMillis=3000))
    yield replica_set, network
    network.close()
    replica_set.close()


def finish(replica_set, workload):
    workload.wait_progress()
    workload.stop().check(replica_set.client)
    replica_set.assert_equal_data()


def test_a_primary_cut_off_is_replaced_and_rolls_back(network_set):
    replica_set, network = network_set
    workload = Workload(replica_set.fresh_client).start()
    old = replica_set.primary()
    others = [member for member in replica_set.members if member is not old]
    network.isolate(old)
    with server.connect(old.port, retryWrites=False) as client:
        # Nobody else will ever have it: it is taken back.
        client.get_database("work", write_concern=pymongo.WriteConcern(w=1)).items.insert_one(
            {"_id": "alone"})
    wait_until(lambda: replica_set.state_of(old) != 1, 15, "the lonely primary to step down")
    wait_until(lambda: any(replica_set.state_of(m) == 1 for m in others), 15, "another primary")
    workload.wait_progress()
    network.heal()
    wait_until(lambda: replica_set.state_of(old) == 2, 30, "the old primary to be a secondary")
    finish(replica_set, workload)
    assert old.command("replSetGetRBID")["rbid"] == 2
    assert replica_set.client.work.items.find_one({"_id": "alone"}) is None


def test_a_secondary_frozen_and_thawed_holds_nothing_up(replica_set):
    workload = Workload(replica_set.fresh_client).start()
    frozen = replica_set.secondaries()[0]
    frozen.freeze()
    workload.wait_progress(deadline=15)
    frozen.thaw()
    finish(replica_set, workload)


def test_a_member_joins_under_load_though_its_source_dies(replica_set):
    replica_set.client.tp.items.insert_many([{"_id": i, "x": "y" * 500} for i in range(20000)])
    workload = Workload(replica_set.fresh_client).start()
    primary = replica_set.primary()
    added = replica_set.add_member()
    config = primary.command("replSetGetConfig")["config"]
    config["version"] += 1
    config["members"].append({"_id": 3, "host": added.address, "votes": 0, "priority": 0})
    primary.command("replSetReconfig", config)
    source = wait_until(lambda: added.command("replSetGetStatus")["syncSourceHost"], 20, "a source")
    dying = next(m for m in replica_set.members if m.address == source)
    dying.kill9()
    workload.wait_progress()
    wait_until(lambda: replica_set.state_of(added) == 2, 60, "the new member to be a secondary")
    dying.start()
    finish(replica_set, workload)


def test_a_member_too_stale_says_so_and_is_well_after_a_new_start(make_replica_set):
    replica_set = make_replica_set(3, flags=("--oplogSize", "1", "--syncdelay", "1"))
    items = replica_set.client.tp.items
    items.insert_one({"_id": 0})
    replica_set.wait_replicated()
    late = replica_set.secondaries()[0]
    late.freeze()
    others = [member for member in replica_set.members if member is not late]
    last = others[0].client.local["oplog.rs"].find_one(sort=[("$natural", -1)])["ts"]

    def is_forgotten():
        items.insert_many([{"x": "y" * 10000} for _ in range(50)])
        return all(m.client.local["oplog.rs"].find_one()["ts"] > last for m in others)
    wait_until(is_forgotten, 60, "the others' oplogs to begin later")
    late.thaw()
    wait_until(lambda: replica_set.state_of(late) == 3, 40, "the late member to be RECOVERING")

    def said():
        members = replica_set.primary().command("replSetGetStatus")["members"]
        return "too stale" in next(
            m for m in members if m["name"] == late.address)["lastHeartbeatMessage"]
    wait_until(said, 10, "the reason in the primary's status")
    assert late.logged(9000225)


def test_operators_commands(replica_set):
    primary, secondary = replica_set.primary(), replica_set.secondaries()[0]
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        primary.command("replSetMaintenance", True)
    assert refused.value.code == 95
    secondary.command("replSetMaintenance", True)
    assert replica_set.state_of(secondary) == 3
    secondary.command("replSetMaintenance", False)
    assert replica_set.state_of(secondary) == 2
    other = next(m for m in replica_set.members if m not in (primary, secondary))
    answer = secondary.command("replSetSyncFrom", other.address)
    assert answer["syncFromRequested"] == other.address
    wait_until(lambda: secondary.command("replSetGetStatus")["syncSourceHost"] == other.address, 10,
               "the source that was asked for")
    for member in (secondary, other):
        member.command("replSetFreeze", 60)
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        secondary.command("replSetStepUp")
    assert refused.value.code == 125
    for member in (secondary, other):
        member.command("replSetFreeze", 0)
    assert secondary.command("_isSelf")["id"] != other.command("_isSelf")["id"]
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        primary.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=10)
    assert refused.value.code == 2


def test_a_forced_reconfiguration_revives_a_survivor(replica_set):
    replica_set.client.tp.items.insert_one({"_id": 1})
    replica_set.wait_replicated()
    survivor, *gone = replica_set.members
    for member in gone:
        member.kill9()
    config = survivor.command("replSetGetConfig")["config"]
    config["members"] = [m for m in config["members"] if m["host"] == survivor.address]
    with pytest.raises(pymongo.errors.OperationFailure):
        survivor.command("replSetReconfig", config)
    survivor.command("replSetReconfig", config, force=True)
    wait_until(lambda: replica_set.state_of(survivor) == 1, 20, "the survivor to be primary")
    assert survivor.client.tp.items.find_one() == {"_id": 1}
