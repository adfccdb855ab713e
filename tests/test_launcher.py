# SPDX-License-Identifier: Apache-2.0
"""`tessera up` and its family, as a person types them."""

import json
import os
import signal
import socket
import stat
import subprocess

import pytest

from lib import ports
from lib.cluster import Cluster, tessera
from lib.process import processes_below, reap_below
from lib.server import BIN, connect
from lib.wait import wait_until

SMALL = ("--shards", 1, "--members", 1, "--config", 1, "--routers", 1)
SMALL_COUNT = 3
FAILED, BAD_USAGE, PORT_TAKEN = 1, 2, 48


@pytest.fixture
def home(folder, monkeypatch):
    """A home of clusters of the test's own."""
    path = f"{folder}/home"
    monkeypatch.setenv("TESSERA_HOME", path)
    yield path
    for entry in os.listdir(path) if os.path.isdir(path) else ():
        tessera("destroy", "--yes", "--name", entry, code=None)
    reap_below(folder)


@pytest.fixture
def small(make_cluster):
    """One router, one shard of one member, one config server."""
    return make_cluster(*SMALL)


def node(status, name):
    return next(entry for entry in status["nodes"] if entry["name"] == name)


def test_up_prints_a_card_and_status_agrees(make_cluster):
    cluster = make_cluster(*SMALL, up=False)
    said = cluster.run("up", "--any-port", *SMALL)
    assert "is ready after" in said.stdout
    assert 'mongosh "mongodb://127.0.0.1:' in said.stdout
    assert cluster.uri in said.stdout
    assert "starting 3 processes" in said.stderr
    assert "\033" not in said.stdout + said.stderr
    status = cluster.status()
    assert status["state"] == "healthy"
    assert status["uri"] == cluster.uri
    assert [s["name"] for s in status["shards"]] == ["shard-1"]
    assert {n["name"]: n["state"] for n in status["nodes"]} == {
        "router-1": "router", "config-1": "primary", "shard-1-1": "primary"}
    assert "healthy" in cluster.run("status").stdout
    assert stat.S_IMODE(os.stat(cluster.folder).st_mode) == 0o700


def test_the_default_topology(shared_cluster):
    status = shared_cluster.status()
    assert status["state"] == "healthy"
    roles = [entry["role"] for entry in status["nodes"]]
    assert [roles.count(role) for role in ("router", "config", "shard")] == [2, 3, 9]
    first = status["nodes"][0]["port"]
    assert [entry["port"] for entry in status["nodes"]] == list(range(first, first + 14))
    assert len([e for e in status["nodes"] if e["state"] == "primary"]) == 4


def test_up_again_does_nothing_and_down_again_neither(small):
    before = [p.pid for p in processes_below(small.folder)]
    assert "already running" in small.run("up").stdout
    assert [p.pid for p in processes_below(small.folder)] == before
    small.down()
    assert not processes_below(small.folder)
    small.down()
    assert small.run("status", code=3).returncode == 3
    small.run("up")
    assert small.status()["state"] == "healthy"


def test_only_the_result_is_on_standard_output(make_cluster):
    cluster = make_cluster(*SMALL, up=False)
    quiet = cluster.run("up", "--any-port", "--quiet", *SMALL)
    assert quiet.stdout == cluster.uri + "\n"
    assert quiet.stderr == ""
    again = json.loads(cluster.run("up", "--json").stdout)
    assert again["uri"] == cluster.uri
    assert again["started"] == 0


def test_a_cluster_keeps_its_shape(small):
    said = small.run("up", "--shards", 2, code=FAILED).stderr
    assert "--shards 2: it has 1" in said
    assert "Next step" in said
    assert small.status()["state"] == "healthy"


def test_one_process_killed_is_seen_and_started_again(small):
    assert node(small.status(), "shard-1-1")["status"] == "running"
    small.run("kill", "shard-1", "primary")
    status = small.status()
    assert status["state"] == "unavailable"
    assert node(status, "shard-1-1")["status"] == "down"
    assert "tessera start shard-1-1" in small.run("status", code=2).stdout
    small.run("start", "down")
    assert node(small.status(), "shard-1-1")["status"] == "running"
    wait_until(lambda: small.status()["state"] == "healthy", 20, "health")


def test_a_router_killed_is_started_by_up(small):
    small.run("kill", "router-1", "--signal", "SIGKILL")
    small.run("up")
    assert small.status()["state"] == "healthy"


def test_a_frozen_process_is_shown_thawed_and_stopped(small):
    small.run("kill", "router-1", "--signal", "STOP")
    wait_until(lambda: node(small.status(), "router-1")["status"] == "frozen", 10, "the freeze")
    small.run("kill", "router-1", "--signal", "CONT")
    wait_until(lambda: small.status()["state"] == "healthy", 10, "the thaw")
    small.run("kill", "config", "--signal", "STOP")
    small.down()
    assert not processes_below(small.folder)


def test_freeze_thaw_and_health(small):
    assert small.run("health").stdout == "healthy\n"
    small.run("freeze", "shard")
    assert small.run("health", code=2).stdout == "unavailable\n"
    said = small.run("up", code=FAILED).stderr
    assert "frozen (SIGSTOP): shard-1-1" in said
    assert "Next step: tessera thaw shard-1-1" in said
    small.run("thaw", "frozen")
    assert json.loads(small.run("health", "--wait", "30s", "--json").stdout) == {"state": "healthy"}
    assert "freeze needs TAGs" in small.run("freeze", code=BAD_USAGE).stderr
    small.down()
    assert small.run("health", code=3).stdout == "down\n"


def test_restart_gives_new_processes_and_keeps_data(small):
    small.client.tp.books.insert_one({"_id": 1})
    before = {n["name"]: n["pid"] for n in small.status()["nodes"]}
    small.run("restart", "shard")
    after = {n["name"]: n["pid"] for n in small.status()["nodes"]}
    assert after["shard-1-1"] != before["shard-1-1"]
    assert after["router-1"] == before["router-1"]
    wait_until(lambda: small.status()["state"] == "healthy", 20, "health")
    assert small.client.tp.books.count_documents({}) == 1


def test_words_that_name_nothing(small):
    assert "'shard-9' names no process" in small.run("kill", "shard-9", code=BAD_USAGE).stderr
    assert "no process is 'down'" in small.run("start", "down", code=FAILED).stderr
    assert "needs TAGs" in small.run("kill", code=BAD_USAGE).stderr
    assert "no signal" in small.run("kill", "all", "--signal", "PARTY", code=BAD_USAGE).stderr


def test_a_pid_of_another_process_is_never_signalled(small):
    other = subprocess.Popen(["tail", "-f", "/dev/null"])
    try:
        small.run("kill", "router-1")
        path = small.folder / "router-1/process.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**document, "pid": other.pid}), encoding="utf-8")
        small.run("kill", "router-1")
        small.down()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_taken_ports_are_named_with_their_holder_before_anything_starts(folder, make_cluster):
    first = ports.free_ports(SMALL_COUNT)[0]
    cluster = make_cluster(*SMALL, up=False)
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", first + 1))
        holder.listen()
        said = cluster.run("up", "--port", first, *SMALL, code=PORT_TAKEN).stderr
        assert f"{first + 1}  by pid {os.getpid()}" in said
        assert "Nothing was started" in said
        assert not processes_below(cluster.folder)
    cluster.run("up", "--port", first, *SMALL)
    assert str(first) in cluster.uri
    assert folder


def test_a_failed_start_cleans_up_and_shows_why(make_cluster):
    cluster = make_cluster(*SMALL, up=False)
    said = cluster.run("up", "--any-port", *SMALL, "--shard-arg", "--noSuchFlag",
                       code=BAD_USAGE).stderr
    assert "shard-1-1 ended with code 2" in said
    assert "--noSuchFlag" in said
    assert str(cluster.folder / "shard-1-1/mongod.log") in said
    assert "Next step" in said
    assert not processes_below(cluster.folder)
    # And nothing of it is in the way.
    cluster.up()
    assert cluster.status()["state"] == "healthy"


def test_a_start_that_is_never_ready_ends_at_its_deadline(make_cluster):
    cluster = make_cluster(*SMALL, up=False)
    said = cluster.run("up", "--any-port", *SMALL, "--wait", "1ms", code=FAILED).stderr
    assert "not ready after" in said
    assert not processes_below(cluster.folder)


def test_ctrl_c_during_the_start_leaves_nothing(make_cluster):
    cluster = make_cluster(*SMALL, up=False)
    child = subprocess.Popen(
        [str(BIN / "tessera"), "up", "--any-port", "--dir", str(cluster.folder), "--config-arg",
         "--oplogSize=50", "--shard-arg", "--port=1"], stderr=subprocess.PIPE, text=True)
    child.stderr.readline()
    child.send_signal(signal.SIGINT)
    assert child.wait(30) != 0
    child.stderr.close()
    wait_until(lambda: not processes_below(cluster.folder), 10, "the end of all processes")


def test_in_the_foreground_ctrl_c_stops_the_cluster(make_cluster):
    cluster = make_cluster(*SMALL, up=False)
    child = subprocess.Popen(
        [str(BIN / "tessera"), "up", "--any-port", "--foreground", "--quiet", "--dir",
         str(cluster.folder), *map(str, SMALL)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().startswith("mongodb://127.0.0.1:")
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0
    child.stdout.close()
    assert not processes_below(cluster.folder)


def test_two_clusters_side_by_side_and_by_name(home):
    for name in ("one", "two"):
        tessera("up", name, "--any-port", *SMALL)
    listed = json.loads(tessera("list", "--json").stdout)["clusters"]
    assert [(c["name"], c["running"]) for c in listed] == [("one", 3), ("two", 3)]
    uris = [tessera("uri", name).stdout.strip() for name in ("one", "two")]
    assert uris[0] != uris[1]
    with connect(uris[0]) as client:
        client.tp.books.insert_one({"_id": 1})
    with connect(uris[1]) as client:
        assert client.tp.books.count_documents({}) == 0
    tessera("down", "one")
    assert tessera("status", "one", code=3).returncode == 3
    assert tessera("status", "two", code=0).returncode == 0
    # No default one among several: nobody guesses.
    assert "one" in tessera("uri", code=FAILED).stderr
    assert os.listdir(home)


def test_two_clusters_of_one_name_are_refused(home, folder):
    tessera("up", "demo", "--any-port", *SMALL)
    said = tessera("up", "demo", "--dir", f"{folder}/elsewhere", "--any-port", *SMALL,
                   code=FAILED).stderr
    assert "a cluster named demo is already in" in said
    assert not os.path.exists(f"{folder}/elsewhere/cluster.json")
    assert os.listdir(home) == ["demo"]


def test_a_name_in_a_folder_of_its_own(home, folder):
    tessera("up", "demo", "--dir", f"{folder}/elsewhere", "--any-port", *SMALL)
    assert tessera("uri", "demo").stdout == tessera("uri", "--dir", f"{folder}/elsewhere").stdout
    tessera("destroy", "demo", "--yes")
    assert not os.path.exists(f"{folder}/elsewhere")
    assert os.listdir(home) == []


def test_dry_run_starts_nothing_and_shows_what_would_be_typed(folder):
    cluster = Cluster(f"{folder}/dry")
    plan = json.loads(cluster.run("up", "--dry-run", "--json").stdout)
    assert [n["port"] for n in plan["nodes"]] == list(range(27040, 27054))
    assert plan["nodes"][0]["command"][0] == "mongos"
    assert plan["nodes"][2]["command"][:3] == ["mongod", "--port", "27042"]
    assert "--configsvr" in cluster.run("up", "--dry-run").stdout
    assert not cluster.folder.exists()


def test_destroy_deletes_what_it_made_and_nothing_else(make_cluster):
    cluster = make_cluster(*SMALL)
    (cluster.folder / "mine.txt").write_text("keep", encoding="utf-8")
    assert "--yes" in cluster.run("destroy", code=BAD_USAGE).stderr
    cluster.run("destroy", "--yes")
    assert os.listdir(cluster.folder) == ["mine.txt"]
    assert not processes_below(cluster.folder)
    cluster.run("destroy", "--yes")


def test_ephemeral_data_goes_with_down(make_cluster):
    cluster = make_cluster(*SMALL, "--ephemeral")
    cluster.down()
    assert not cluster.folder.exists()


def test_env_uri_logs_and_exec(small):
    uri = small.uri
    assert small.run("env").stdout == f"export MONGODB_URI='{uri}'\n"
    assert uri in small.run("env", "--shell", "fish").stdout
    assert "directConnection=true" in small.run("uri", "--direct", "config-1").stdout
    assert "router-1" in small.run("logs", "--tail", 3).stdout
    found = small.run("logs", "router-1", "--tail", 500, "--grep", "Waiting for connections")
    assert len(found.stdout.splitlines()) == 1
    said = small.run("exec", "--", "/bin/sh", "-c", "echo $MONGODB_URI; exit 7", code=7)
    assert said.stdout == uri + "\n"
    assert small.run("exec", "--", "/no/such/program", code=127).returncode == 127


def test_exec_makes_a_cluster_for_the_command_alone(home):
    said = tessera("exec", *SMALL, "--", "/bin/sh", "-c", "echo $MONGODB_URI")
    assert said.stdout.startswith("mongodb://127.0.0.1:")
    assert "tessera status" not in said.stdout
    port = int(said.stdout.split(":")[2].split("/")[0].split(",")[0])
    assert ports.is_free(port)
    assert not os.path.isdir(home) or os.listdir(home) == []


@pytest.mark.parametrize("words, said", [
    (["upp"], "'upp' is no verb"),
    (["up", "--shard", "2"], "did you mean --shards?"),
    (["up", "--auth"], "--auth is not supported yet"),
    (["up", "--shards", "0"], "--shards"),
    (["up", "a/b"], "cannot be a cluster's name"),
    (["down", "--", "x"], "nothing after --"),
])
def test_bad_usage_is_code_2(words, said, home):
    assert said in tessera(*words, code=BAD_USAGE).stderr
    assert not os.path.exists(home)


def test_help_and_version():
    text = tessera("help").stdout
    for verb in ("up", "down", "status", "logs", "kill", "destroy", "exec"):
        assert f"  {verb} " in text
        assert tessera("help", verb).stdout
    assert "--any-port" in tessera("up", "--help").stdout
    assert tessera("version").stdout.startswith("tessera ")


def test_without_a_cluster_every_verb_says_what_to_do(home):
    for verb in ("down", "uri", "logs", "start"):
        assert "Next step: tessera up" in tessera(verb, code=FAILED).stderr
    assert tessera("destroy", "--yes").returncode == 0
    assert not os.path.exists(home)
