# SPDX-License-Identifier: Apache-2.0
"""The launcher's flags, one by one: the table in docs/operations.md is walked, each row holds."""

import json
import os
import re
import signal
import subprocess

import pytest

from lib.cluster import tessera
from lib.server import BIN, ROOT, connect
from lib.wait import wait_until

BAD_USAGE = 2
SMALL = ("--shards", 1, "--members", 1, "--config", 1, "--routers", 1)
EVERY_VERB = ("up", "down", "status", "start", "stop", "restart", "kill", "freeze", "thaw",
              "health", "logs", "uri", "env", "exec", "list", "destroy")


def rows():
    """(verb, "flag VALUE", state) of each cell of the table."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = text[text.index("| verb | flag | state |"):].split("\n\n")[0]
    found = []
    for line in table.splitlines()[2:]:
        verbs, flags, state = [cell.strip() for cell in line.strip("|").split("|")]
        for verb in re.findall("`(.*?)`", verbs) or EVERY_VERB:
            found += [(verb, flag, state) for flag in re.findall("`(.*?)`", flags)]
    return found


ROWS = rows()
LATER_VERBS = ("stepdown", "partition", "add", "remove", "top", "watch", "shell", "connect", "ui",
               "demo", "export", "doctor", "bundle", "completion", "man")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One small cluster for the whole table."""
    folder = tmp_path_factory.mktemp("flags") / "cluster"
    tessera("up", "--dir", folder, "--any-port", *SMALL)
    yield folder
    tessera("destroy", "--dir", folder, "--yes", code=None)


def plan(tmp_path, *flags):
    said = tessera("up", "--dir", tmp_path / "plan", "--dry-run", "--json", *SMALL, *flags)
    return json.loads(said.stdout)


def roles(found):
    return [node["role"] for node in found["nodes"]]


def commands(found, role):
    return [" ".join(node["command"]) for node in found["nodes"] if node["role"] == role]


def test_the_table_names_every_flag_there_is():
    for verb in EVERY_VERB:
        known = set(re.findall(r"^  (--[a-z-]+)", tessera("help", verb).stdout, re.MULTILINE))
        listed = {flag.split()[0] for name, flag, state in ROWS
                  if name == ("up" if verb == "exec" and name == "up" else verb)
                  and state == "supported"}
        if verb == "exec":
            listed -= {"--dry-run", "--foreground", "--detach"}
        assert known == listed, verb


@pytest.mark.parametrize("verb, flag", [row[:2] for row in ROWS if row[2] == "refused"])
def test_what_is_refused_says_what_to_do(verb, flag, tmp_path):
    name, *value = flag.split()
    said = tessera(verb, "--dir", tmp_path / "none", name, *(["TERM"] if value else []),
                   code=BAD_USAGE).stderr
    assert f"{name} is not supported yet: " in said or f"does not take {name}" in said
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("verb", LATER_VERBS)
def test_verbs_that_are_refused_say_what_to_do(verb):
    assert f"`tessera {verb}` is not supported yet: " in tessera(verb, code=BAD_USAGE).stderr


@pytest.mark.parametrize("flag, role, count", [
    ("--shards", "shard", 2), ("--members", "shard", 2), ("--arbiters", "shard", 2),
    ("--routers", "router", 2), ("--config", "config", 2)])
def test_up_counts(flag, role, count, tmp_path):
    value = 1 if flag == "--arbiters" else count
    assert roles(plan(tmp_path, flag, value)).count(role) == count


def test_up_ports(tmp_path, running):
    assert [node["port"] for node in plan(tmp_path, "--port", 31000)["nodes"]] == [
        31000, 31001, 31002]
    assert plan(tmp_path, "--port-offset", 7)["nodes"][0]["port"] == 27047
    found = {node["port"] for node in plan(tmp_path, "--any-port")["nodes"]}
    assert len(found) == 3 and not found & {27040, 27041, 27042}
    for other in (("--port", 31000), ("--port-offset", 1)):
        said = tessera("up", "--dir", tmp_path / "no", "--any-port", *other, code=BAD_USAGE)
        assert "--any-port excludes" in said.stderr
    assert running.exists()


@pytest.mark.parametrize("flag, role", [
    ("--shard-arg", "shard"), ("--config-arg", "config"), ("--router-arg", "router")])
def test_up_passes_flags_to_one_role(flag, role, tmp_path):
    found = plan(tmp_path, flag, "--slowms=77", flag, "--quiet")
    for each in ("shard", "config", "router"):
        for command in commands(found, each):
            assert ("--slowms=77 --quiet" in command) == (each == role)


def test_up_passes_flags_to_all(tmp_path):
    found = plan(tmp_path, "--", "--slowms", "77")
    assert all(" --slowms 77" in command for role in ("shard", "config", "router")
               for command in commands(found, role))


def test_up_memory_is_shared_by_the_members(tmp_path):
    found = plan(tmp_path, "--members", 3, "--memory", "512MB")
    sizes = [float(re.search(r"--wiredTigerCacheSizeGB (\S+)", command).group(1))
             for role in ("shard", "config") for command in commands(found, role)]
    assert len(sizes) == 4 and sum(sizes) <= 0.51


@pytest.mark.parametrize("flag, value", [
    ("--shards", "0"), ("--shards", "x"), ("--members", "8"), ("--arbiters", "2"),
    ("--routers", ""), ("--config", "-1"), ("--port", "99999"), ("--port-offset", "a"),
    ("--memory", "much"), ("--wait", "soon")])
def test_up_refuses_values_that_cannot_be(flag, value, tmp_path):
    said = tessera("up", "--dir", tmp_path / "no", flag, value, code=BAD_USAGE).stderr
    assert said.startswith(f"tessera: {flag}: "), said
    assert not (tmp_path / "no").exists()


def test_up_ephemeral_detach_wait_quiet_and_foreground(tmp_path):
    folder = tmp_path / "cluster"
    said = tessera("up", "--dir", folder, "--any-port", *SMALL, "--ephemeral", "--detach",
                   "--wait", "50s", "--quiet")
    assert said.stdout.startswith("mongodb://") and said.stderr == ""
    child = subprocess.Popen([str(BIN / "tessera"), "up", "--dir", str(folder), "--foreground",
                              "--json"], stdout=subprocess.PIPE, text=True)
    assert json.loads(child.stdout.readline())["started"] == 0
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 0
    child.stdout.close()
    assert not folder.exists(), "--ephemeral: the data go when the cluster is stopped"


def test_dir_name_json_and_quiet(running):
    for verb in ("status", "uri", "health"):
        assert json.loads(tessera(verb, "--dir", running, "--json").stdout)
    for verb in ("up", "start", "thaw", "freeze"):
        tags = ["router"] if verb in ("thaw", "freeze") else []
        said = tessera(verb, "--dir", running, "--quiet", *tags, code=None)
        assert said.stderr == "", verb
    tessera("thaw", "--dir", running, "--quiet", "router")
    assert isinstance(json.loads(tessera("list", "--json").stdout)["clusters"], list)
    name = json.loads(tessera("status", "--dir", running, "--json").stdout)["name"]
    assert tessera("uri", "--dir", running, "--name", name).stdout.startswith("mongodb://")


def test_health_wait_and_signals(running):
    tessera("kill", "--dir", running, "router-1", "--signal", "TERM")
    wait_until(lambda: tessera("health", "--dir", running, code=None).returncode != 0, 20,
               "the router's end")
    tessera("start", "--dir", running, "router-1", "--wait", "50s")
    assert tessera("health", "--dir", running, "--wait", "50s").stdout == "healthy\n"
    tessera("restart", "--dir", running, "router-1", "--wait", "50s")
    assert "no signal" in tessera("kill", "--dir", running, "router-1", "--signal", "PARTY",
                                  code=BAD_USAGE).stderr
    assert tessera("health", "--dir", running, "--wait", "50s").stdout == "healthy\n"


def test_logs_follow_tail_and_grep(running):
    assert len(tessera("logs", "--dir", running, "config", "--tail", 2).stdout.splitlines()) == 2
    assert tessera("logs", "--dir", running, "--tail", 0).stdout == ""
    found = tessera("logs", "--dir", running, "--tail", 1000, "--grep", "Waiting for connections")
    assert found.stdout
    assert all("Waiting for connections" in line for line in found.stdout.splitlines())
    child = subprocess.Popen([str(BIN / "tessera"), "logs", "--dir", str(running), "shard", "-f",
                              "--tail", "0", "--grep", "Connection accepted"],
                             stdout=subprocess.PIPE, text=True)
    os.set_blocking(child.stdout.fileno(), False)
    uri = tessera("uri", "--dir", running, "--direct", "shard-1-1").stdout.strip()

    def is_followed():
        # Again and again, since the follower may not have begun to look.
        with connect(uri) as client:
            client.admin.command("ping")
        return child.stdout.readline()
    try:
        assert "Connection accepted" in wait_until(is_followed, 30, "a new line of the log")
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
        child.stdout.close()


def test_uri_direct_and_env_shells(running):
    uri = tessera("uri", "--dir", running).stdout.strip()
    for node in ("config-1", "shard-1-1", "router-1"):
        direct = tessera("uri", "--dir", running, "--direct", node).stdout.strip()
        with connect(direct) as client:
            assert client.admin.command("ping")["ok"] == 1
    assert "nobody" in tessera("uri", "--dir", running, "--direct", "nobody", code=BAD_USAGE).stderr
    lines = {shell: tessera("env", "--dir", running, "--shell", shell).stdout
             for shell in ("bash", "zsh", "sh", "fish", "powershell")}
    assert lines["bash"] == lines["zsh"] == lines["sh"] == f"export MONGODB_URI='{uri}'\n"
    assert lines["fish"].startswith("set -gx MONGODB_URI")
    assert lines["powershell"].startswith("$Env:MONGODB_URI")
    assert "cmd" in tessera("env", "--dir", running, "--shell", "cmd", code=BAD_USAGE).stderr
    said = tessera("exec", "--dir", running, "--", "/bin/sh", "-c", "echo $MONGODB_URI; exit 3",
                   code=3)
    assert said.stdout == uri + "\n"


def test_destroy_asks_and_yes_does_not(tmp_path):
    folder = tmp_path / "cluster"
    tessera("up", "--dir", folder, "--any-port", *SMALL)
    assert "--yes" in tessera("destroy", "--dir", folder, code=BAD_USAGE).stderr
    assert folder.exists()
    tessera("destroy", "--dir", folder, "--yes")
    assert not folder.exists()
