# SPDX-License-Identifier: Apache-2.0
"""What people get wrong: each time a message that names it, the next step, and a code."""

import os
import re

import pymongo
import pytest

from lib.cluster import Cluster
from lib.ports import free_port
from lib.process import processes_below
from lib.replica_set import ReplicaSet
from lib.wait import wait_until

BAD_USAGE, OTHER_SET = 2, 62
SMALL = ("--shards", 1, "--members", 1, "--config", 1, "--routers", 1)


def test_a_data_directory_of_another_set_is_refused_and_left_alone(folder, make_server):
    one = ReplicaSet(f"{folder}/one", 1, name="mine").start().initiate()
    member = one.members[0]
    member.client.tp.books.insert_one({"_id": 1})
    assert member.stop() == 0
    other = make_server("mongod", "--replSet", "yours")
    other.argv[other.argv.index("--dbpath") + 1] = str(member.dbpath)
    other.start(ready=None)
    assert other.wait_exit() == OTHER_SET
    said = other.log_text()
    assert "'mine'" in said and "'yours'" in said
    assert "Next step: start it with --replSet mine" in said
    member.start()
    one.primary()
    assert member.client.tp.books.count_documents({}) == 1
    one.close()


def test_an_initiation_names_the_member_it_cannot_reach(folder):
    two = ReplicaSet(f"{folder}/two", 2, name="two").start()
    nobody = f"127.0.0.1:{free_port()}"
    config = two.config()
    config["members"].append({"_id": 2, "host": nobody})
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        two.members[0].command("replSetInitiate", config)
    assert refused.value.code == 74
    assert nobody in str(refused.value) and "refused" in str(refused.value)
    assert two.members[1].address not in str(refused.value)
    # A member of the wrong set, and one that has data already.
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        two.members[0].command("replSetInitiate", {**two.config(), "_id": "other"})
    assert refused.value.code == 93 and "other" in str(refused.value)
    two.initiate()
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        two.members[0].command("replSetInitiate", two.config())
    assert refused.value.code == 23
    two.close()


def test_a_router_says_again_and_again_whom_it_waits_for(make_server):
    host = f"127.0.0.1:{free_port()}"
    router = make_server("mongos", "--configdb", f"cfg/{host}")
    router.start(ready=None)
    lines = wait_until(lambda: len(found := router.logged(9000302)) >= 3 and found, 60,
                       "three lines of a router that waits")
    for line in lines:
        assert host in line["attr"]["configServers"] and line["attr"]["error"]
    assert router.alive()
    assert router.stop() == 0


def test_a_router_of_config_servers_that_are_none_says_so(make_server, folder):
    one = ReplicaSet(f"{folder}/one", 1, name="plain").start().initiate()
    router = make_server("mongos", "--configdb", f"cfg/{one.members[0].address}")
    router.start(ready=None)
    line = router.wait_logged(9000302, 60)[0]
    assert one.members[0].address in line["attr"]["configServers"]
    assert router.alive()
    assert router.stop() == 0
    one.close()


@pytest.mark.parametrize("flag, failed", [("--config-arg", "config-1"),
                                          ("--router-arg", "router-1")])
def test_up_says_which_process_cannot_start_and_why(folder, flag, failed):
    cluster = Cluster(f"{folder}/cluster")
    said = cluster.run("up", "--any-port", *SMALL, flag, "--noSuchFlag", code=BAD_USAGE).stderr
    assert f"{failed} ended with code 2" in said
    assert "--noSuchFlag" in said
    assert re.search(r"/(mongod|mongos)\.log", said)
    assert "Next step" in said
    assert not processes_below(cluster.folder)
    cluster.close()


def test_up_finds_the_data_of_another_program(folder):
    cluster = Cluster(f"{folder}/cluster")
    cluster.up(*SMALL)
    cluster.down()
    # Somebody mixed up two folders.
    os.rename(cluster.folder / "config-1/data", cluster.folder / "config-1/aside")
    os.rename(cluster.folder / "shard-1-1/data", cluster.folder / "config-1/data")
    os.rename(cluster.folder / "config-1/aside", cluster.folder / "shard-1-1/data")
    said = cluster.run("up", code=None)
    assert said.returncode == OTHER_SET, said.stderr
    assert "ended with code 62" in said.stderr and "Next step" in said.stderr
    assert not processes_below(cluster.folder)
    cluster.close()
