# SPDX-License-Identifier: Apache-2.0
"""Other people's launchers and plain hands start our binary by the flags mongod and mongos take."""

import json

import pytest

from lib import clients
from lib.ports import free_ports
from lib.process import processes_below, reap_below
from lib.server import BIN, connect
from lib.wait import SLOWNESS, wait_until


def use(client, database="tp"):
    """Writes and reads with default options."""
    client[database].books.insert_many([{"_id": i} for i in range(50)])
    assert client[database].books.count_documents({}) == 50


@pytest.fixture
def mlaunch(folder):
    """mlaunch("init", ...) in a folder of its own."""
    def run(verb, *arguments, code=0):
        def ended():
            result = clients.run("mlaunch", verb, "--dir", f"{folder}/mlaunch", *arguments,
                                 seconds=120, code=None)
            # It asks every mongod of the machine for its flags, and fails if one ends just then.
            is_in_the_way = verb != "init" and "psutil.ZombieProcess" in result.stderr
            return None if is_in_the_way else result
        result = wait_until(ended, 20, f"mlaunch {verb} while no stranger ends")
        assert code in (None, result.returncode), f"{result.stdout}\n{result.stderr}"
        return result
    yield run
    reap_below(f"{folder}/mlaunch")


def test_mlaunch_single(mlaunch):
    port = free_ports(1)[0]
    mlaunch("init", "--single", "--port", port, "--binarypath", BIN)
    with connect(port) as client:
        use(client)
    mlaunch("stop")


def test_mlaunch_replica_set(mlaunch):
    port = free_ports(3)[0]
    mlaunch("init", "--replicaset", "--nodes", 3, "--name", "ml", "--port", port, "--binarypath",
            BIN)
    with connect(f"mongodb://localhost:{port}/?replicaSet=ml") as client:
        use(client)

    def complete():
        listed = mlaunch("list").stdout
        return (listed.count("primary"), listed.count("secondary")) == (1, 2)
    wait_until(complete, 40, "a primary and two secondaries in mlaunch's list")
    mlaunch("kill", "primary")
    with connect(f"mongodb://localhost:{port},localhost:{port + 1},localhost:{port + 2}"
                 "/?replicaSet=ml", serverSelectionTimeoutMS=30000) as client:
        use(client, "after")

    def all_running():
        # mlaunch itself may take a busy server for one that is down, and then finds its port taken.
        mlaunch("start", code=None)
        return mlaunch("list").stdout.count("running") == 3
    wait_until(all_running, 60, "all three members to run")
    mlaunch("stop")


def test_mlaunch_sharded(mlaunch):
    port = free_ports(2 + 4 + 1)[0]
    mlaunch("init", "--replicaset", "--sharded", 2, "--nodes", 2, "--config", 1, "--mongos", 2,
            "--port", port, "--binarypath", BIN)
    with connect(f"mongodb://localhost:{port},localhost:{port + 1}/") as client:
        use(client)
        assert len(list(client.config.shards.find())) == 2
    mlaunch("stop")


@pytest.fixture
def runner(folder):
    """runner("start", ...) with all its files in a folder of its own."""
    where = ("--runnerDir", f"{folder}/runner", "--tmpDir", f"{folder}/tmp")

    def run(verb, *arguments):
        return clients.run("mongodb-runner", verb, *where, *arguments, seconds=120)
    for name in ("runner", "tmp", "logs"):
        clients.pathlib.Path(folder, name).mkdir()
    yield run
    reap_below(folder)


# With --logDir it begins to read our lines only after a file is open, and drops those before.
@pytest.mark.parametrize("logs", [False, True], ids=["", "logDir"])
@pytest.mark.parametrize("topology", ["standalone", "replset", "sharded"])
def test_mongodb_runner(runner, folder, topology, logs):
    flags = ("--logDir", f"{folder}/logs") if logs else ()
    if topology == "sharded":  # A port it draws itself may be taken, which it does not survive.
        flags += ("--", "--port", free_ports(1)[0])
    started = runner("start", "-t", topology, "--binDir", BIN, "--id", f"r-{topology}", *flags)
    with connect(started.stdout.strip()) as client:
        use(client)
        if topology == "sharded":
            shards = list(client.config.shards.find())
            assert [shard["host"].count(",") for shard in shards] == [2, 2, 2]
            client.admin.command("shardCollection", "tp.spread", key={"_id": "hashed"})
            use_spread(client)
    assert f"r-{topology}: {started.stdout.strip()}" in runner("ls").stdout
    runner("stop", "--id", f"r-{topology}")
    assert not processes_below(f"{folder}/tmp")


def use_spread(client):
    client.tp.spread.insert_many([{"_id": i} for i in range(300)])
    assert client.tp.spread.count_documents({}) == 300
    owners = client.tp.spread.aggregate([{"$collStats": {"count": {}}}])
    assert sorted(o["count"] > 0 for o in owners) == [True, True, True]


def test_by_hand_in_seven_terminals(make_server):
    """Three members of one shard, three config servers, a router; set up by mongosh alone."""
    config = [make_server("mongod", "--configsvr", "--replSet", "cfg") for _ in range(3)]
    shard = [make_server("mongod", "--shardsvr", "--replSet", "s1") for _ in range(3)]
    seeds = ",".join(server.address for server in config)
    router = make_server("mongos", "--configdb", f"cfg/{seeds}")
    # The router first: it waits for its config servers.
    router.start(ready=None)
    for server in config + shard:
        server.start(ready=None)
    for server in config + shard:
        server.wait_ready()
    for name, members in (("cfg", config), ("s1", shard)):
        document = {"_id": name, "version": 1, "settings": {"electionTimeoutMillis": 1000},
                    "members": [{"_id": i, "host": m.address} for i, m in enumerate(members)]}
        if name == "cfg":
            document["configsvr"] = True
        clients.mongosh(members[0].uri, f"rs.initiate({json.dumps(document)})")
        wait_until(lambda: any(m.command("hello")["isWritablePrimary"] for m in members), 30,
                   f"a primary of {name}")
    router.wait_ready(30)
    for member in shard:
        clients.mongosh(f"mongodb://{router.address}", f"sh.addShard('s1/{member.address}')")
    with connect(f"mongodb://{router.address}/") as client:
        assert [s["_id"] for s in client.config.shards.find()] == ["s1"]
        use(client)


def test_version_and_help_read_as_mlaunch_reads_them():
    result = clients.subprocess.run([BIN / "mongod", "--version"], capture_output=True, text=True,
                                    check=True, timeout=20 * SLOWNESS)
    first = result.stdout.splitlines()[0]
    assert first.startswith("db version v")
    assert all(part.isdigit() for part in first.rsplit("v", 1)[1].split(".")[:2])
    for role in ("mongod", "mongos"):
        help_text = clients.subprocess.run([BIN / role, "--help"], capture_output=True, text=True,
                                           check=True, timeout=20 * SLOWNESS).stdout
        for flag in ("--port", "--logpath", "--fork", "--config", "--setParameter"):
            assert any(line.split()[:1] == [flag] or f" {flag} " in f" {line} "
                       for line in help_text.splitlines()), (role, flag)
