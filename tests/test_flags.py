# SPDX-License-Identifier: Apache-2.0
"""Flags and configuration files of mongod and mongos: what is taken, what is refused, and how the
process ends."""

import json
import os
import pathlib
import signal
import socket
import subprocess

import psutil
import pytest

from lib.ports import free_port
from lib.process import processes_below
from lib.server import BIN, connect
from lib.wait import SLOWNESS, wait_until

BAD_OPTIONS, TAKEN, OTHER_ROLE, UNUSABLE = 2, 48, 62, 100


def run(role, *flags, code=0, env=None):
    """Runs a server that is expected to end by itself."""
    result = subprocess.run([str(BIN / role), *map(str, flags)], capture_output=True, text=True,
                            timeout=30 * SLOWNESS, check=False, env={**os.environ, **(env or {})})
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    return result


@pytest.mark.parametrize("role, flags, said", [
    ("mongod", ["--noSuchFlag"], "--noSuchFlag"),
    ("mongod", ["--dbPath", "/x"], "did you mean --dbpath?"),
    ("mongod", ["--port", "many"], "'many'"),
    ("mongod", ["--port"], "--port"),
    ("mongod", ["--shardsvr"], "--replSet"),
    ("mongod", ["--fork"], "--logpath"),
    ("mongod", ["--auth"], "authentication is not supported yet"),
    ("mongod", ["--keyFile", "/k"], "authentication is not supported yet"),
    ("mongod", ["--tlsMode", "requireTLS"], "TLS is not supported yet"),
    ("mongod", ["--bind_ip_all"], "allowNonLoopbackWithoutAuth"),
    ("mongod", ["--bind_ip", "0.0.0.0"], "TESSERA_ALLOW_NON_LOOPBACK_WITHOUT_AUTH"),
    ("mongod", ["--config", "/no/such/file"], "/no/such/file"),
    ("mongod", ["--setParameter", "noSuchParameter=1"], "noSuchParameter"),
    ("mongod", ["--storageEngine", "mmapv1"], "mmapv1"),
    ("mongos", [], "--configdb"),
    ("mongos", ["--configdb", "localhost:1"], "set name"),
    ("mongos", ["--configdb", "c/localhost:1", "--dbpath", "/x"], "mongod's"),
])
def test_bad_options_are_code_2_and_name_the_option(role, flags, said):
    result = run(role, *flags, code=BAD_OPTIONS)
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("text, said", [
    ("net:\n  prot: 1\n", "did you mean net.port?"),
    ("net: [1\n", "Error parsing config file"),
    ("security:\n  authorization: enabled\n", "authentication is not supported yet"),
    ("port = 1\nnonsense\n", "line 2"),
    ("sharding:\n  clusterRole: boss\n", "boss"),
])
def test_a_bad_configuration_file_is_code_2_and_says_what_is_wrong(folder, text, said):
    path = pathlib.Path(folder, "mongod.conf")
    path.write_text(text, encoding="utf-8")
    assert said in run("mongod", "--config", path, code=BAD_OPTIONS).stderr


@pytest.mark.parametrize("form", ["yaml", "old"])
def test_a_configuration_file_starts_a_member(folder, form):
    port = free_port()
    data = pathlib.Path(folder, "data")
    data.mkdir()
    text = {
        "yaml": f"systemLog:\n  destination: file\n  path: {folder}/log\n  logAppend: true\n"
                f"net:\n  port: {port}\n  bindIp: 127.0.0.1\nstorage:\n  dbPath: {data}\n"
                f"  journal:\n    enabled: true\nprocessManagement:\n  fork: true\n"
                f"  pidFilePath: {folder}/pid\nsetParameter:\n  enableTestCommands: 1\n",
        "old": f"# by hand\nport = {port}\nbind_ip = 127.0.0.1\ndbpath = {data}\n"
               f"logpath = {folder}/log\nfork = true\npidfilepath = {folder}/pid\n"
               f"setParameter = enableTestCommands=1\njournal = true\n",
    }[form]
    path = pathlib.Path(folder, "mongod.conf")
    path.write_text(text, encoding="utf-8")
    said = run("mongod", "--config", path).stdout
    assert "child process started successfully, parent exiting" in said
    with connect(port) as client:
        options = client.admin.command("getCmdLineOpts")
        assert options["parsed"]["net"]["port"] == port
        assert options["parsed"]["setParameter"] == {"enableTestCommands": "1"}
        assert options["parsed"]["config"] == str(path)
        # What was accepted without effect is said, once.
        warnings = client.admin.command("getLog", "startupWarnings")["log"]
        assert len([line for line in warnings if "journal" in line]) == 1
    process = psutil.Process(int(pathlib.Path(folder, "pid").read_text(encoding="utf-8")))
    assert process.name() == "mongod"
    # It rotates its log when told so.
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: list(pathlib.Path(folder).glob("log.2*")), 10, "the old log set aside")
    wait_until(lambda: "Log rotated" in pathlib.Path(folder, "log").read_text(encoding="utf-8"),
               10, "the new log")
    # And another process ends it by its data directory.
    assert f"killing process with pid: {process.pid}" in run(
        "mongod", "--shutdown", "--dbpath", data).stdout
    assert not processes_below(folder)
    assert not pathlib.Path(folder, "pid").exists()
    assert "doesn't seem to be a server" in run("mongod", "--shutdown", "--dbpath", data,
                                                code=1).stderr


def test_a_fork_that_fails_has_its_childs_code_and_reason(standalone, folder):
    os.mkdir(f"{folder}/other")
    result = run("mongod", "--port", standalone.port, "--dbpath", f"{folder}/other", "--fork",
                 "--logpath", f"{folder}/other.log", code=TAKEN)
    assert "child process failed, exited with 48" in result.stdout
    assert "Address already in use" in result.stderr


def test_a_taken_port_is_code_48_and_logged_as_launchers_read_it(standalone, folder):
    os.mkdir(f"{folder}/other")
    result = run("mongod", "--port", standalone.port, "--dbpath", f"{folder}/other", code=TAKEN)
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    assert entries[0]["id"] == 23403
    assert entries[0]["attr"]["buildInfo"]["modules"] == []
    assert any(e["id"] == 22856 and e["attr"]["port"] == standalone.port for e in entries)
    assert "already in use" in result.stderr
    # Nothing was made in the data directory.
    assert os.listdir(f"{folder}/other") == []


def test_a_locked_or_missing_data_directory_is_code_100(standalone, folder):
    result = run("mongod", "--port", free_port(), "--dbpath", standalone.dbpath, code=UNUSABLE)
    assert str(standalone.pid) in result.stderr
    missing = run("mongod", "--port", free_port(), "--dbpath", f"{folder}/none", code=UNUSABLE)
    assert "not found" in missing.stderr


def test_a_data_directory_of_another_role_is_code_62_and_stays_as_it_was(standalone):
    standalone.client.tp.books.insert_one({"_id": 1})
    assert standalone.stop() == 0
    result = run("mongod", "--port", free_port(), "--dbpath", standalone.dbpath, "--configsvr",
                 "--replSet", "c", code=OTHER_ROLE)
    assert "config" in result.stderr
    standalone.start()
    assert standalone.client.tp.books.count_documents({}) == 1


def test_a_data_directory_of_another_version_is_code_62(standalone):
    assert standalone.stop() == 0
    marker = pathlib.Path(standalone.dbpath, "tessera.json")
    document = json.loads(marker.read_text(encoding="utf-8"))
    marker.write_text(json.dumps({**document, "formatVersion": 99}), encoding="utf-8")
    result = run("mongod", "--port", free_port(), "--dbpath", standalone.dbpath, code=OTHER_ROLE)
    assert "99" in result.stderr or "version" in result.stderr


def test_port_0_is_any_free_one_and_the_log_says_which(make_server):
    one = make_server("mongod")
    one.argv[one.argv.index("--port") + 1] = "0"
    one.start(ready=None)
    port = one.wait_logged(23016)[0]["attr"]["port"]
    assert port not in (0, 27017)
    with connect(port) as client:
        assert client.admin.command("ping")["ok"] == 1


def test_a_late_reader_of_a_pipe_hears_the_port_again_until_somebody_connects(folder):
    os.mkdir(f"{folder}/data")
    command = [str(BIN / "mongod"), "--port", "0", "--dbpath", f"{folder}/data"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        def next_port():
            for line in process.stdout:
                entry = json.loads(line)
                if entry["id"] == 23016:
                    assert entry["ctx"] == "initandlisten"
                    return entry["attr"]["port"]
            raise AssertionError("the log ended")
        port = next_port()
        assert next_port() == port
        with connect(port) as client:
            assert client.admin.command("ping")["ok"] == 1
        process.terminate()
        # One may have been on its way when the client came.
        rest = [json.loads(line)["id"] for line in process.stdout]
        assert rest.count(23016) <= 1
    assert process.returncode == 0


def test_other_machines_may_come_only_when_told_so(make_server, monkeypatch):
    one = make_server("mongod", "--bind_ip_all", "--setParameter",
                      "allowNonLoopbackWithoutAuth=true").start()
    assert one.logged(9000111)
    monkeypatch.setenv("TESSERA_ALLOW_NON_LOOPBACK_WITHOUT_AUTH", "1")
    assert make_server("mongod", "--bind_ip_all").start().command("ping")["ok"] == 1


def test_tessera_mongod_is_mongod(folder):
    port = free_port()
    os.mkdir(f"{folder}/data")
    run("tessera", "mongod", "--port", port, "--dbpath", f"{folder}/data", "--fork", "--logpath",
        f"{folder}/log")
    with connect(port) as client:
        assert client.admin.command("ping")["ok"] == 1
    assert [p.name() for p in processes_below(folder)] == ["mongod"]


@pytest.mark.parametrize("role, first", [("mongod", "db version v7.0.14"),
                                         ("mongos", "mongos version v7.0.14")])
def test_version_and_help(role, first):
    assert run(role, "--version").stdout.splitlines()[0] == first
    flags = [line.split()[0] for line in run(role, "--help").stdout.splitlines()
             if line.lstrip().startswith("--")]
    assert {"--port", "--bind_ip", "--logpath", "--fork", "--config"} <= set(flags)
    assert ("--dbpath" in flags) == (role == "mongod")
    assert ("--configdb" in flags) == (role == "mongos")


@pytest.mark.parametrize("silent", [False, True], ids=["refusing", "silent"])
def test_a_router_without_config_servers_stops_at_once(make_server, silent):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        if silent:
            nobody.listen()  # Takes connections and answers nothing.
        host = f"127.0.0.1:{nobody.getsockname()[1]}"
        router = make_server("mongos", "--configdb", f"cfg/{host}")
        router.start(ready=None)
        if silent:
            nobody.settimeout(20)
            nobody.accept()
        else:
            assert host in router.wait_logged(9000302, 30)[0]["attr"]["configServers"]
        assert router.stop(deadline=4) == 0  # A search lasts 5 s.
