# SPDX-License-Identifier: Apache-2.0
"""A whole cluster, started by `tessera up` as a person would, in a folder of the test's own."""

import json
import pathlib
import subprocess

from lib.process import processes_below, reap_below
from lib.server import BIN, connect
from lib.wait import SLOWNESS, wait_until


class LauncherFailed(AssertionError):
    """The launcher ended with a code it should not end with; the message holds all it said."""


def tessera(*arguments, code=0, seconds=90, env=None):
    """Runs the launcher to its end."""
    command = [str(BIN / "tessera"), *map(str, arguments)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=seconds * SLOWNESS, check=False, env=env)
    if code is not None and result.returncode != code:
        raise LauncherFailed(f"{' '.join(command)}\nended with code {result.returncode}, "
                             f"not {code}\n{result.stdout}\n{result.stderr}")
    return result


class Cluster:
    """`up` starts it (again); members are the launcher's to name: router-1, shard-1-2, config-3."""

    def __init__(self, folder, *flags):
        self.folder = pathlib.Path(folder)
        self.flags = flags
        self._client = None

    def run(self, verb, *arguments, **more):
        return tessera(verb, "--dir", self.folder, *arguments, **more)

    def up(self, *flags, **more):
        self.run("up", "--any-port", *self.flags, *flags, **more)
        return self

    def down(self, **more):
        self._forget_client()
        self.run("down", **more)

    def status(self):
        """The launcher's own account of every process."""
        return json.loads(self.run("status", "--json", code=None).stdout)

    @property
    def uri(self):
        """Of all routers."""
        return self.run("uri").stdout.strip()

    @property
    def client(self):
        if self._client is None:
            self._client = connect(self.uri)
        return self._client

    def _forget_client(self):
        if self._client is not None:
            self._client.close()
            self._client = None

    def process_at(self, port):
        """The process of this cluster that listens at a port, as psutil sees it."""
        for found in processes_below(self.folder):
            if any(c.status == "LISTEN" and c.laddr.port == port for c in found.connections()):
                return found
        raise AssertionError(f"nothing of this cluster listens at {port}")

    def members(self):
        """The nodes of each set: {"config": [...], "shard-1": [...]}, as status tells them."""
        sets = {}
        for node in self.status()["nodes"]:
            if node["role"] != "router":
                sets.setdefault(node["name"].rsplit("-", 1)[0], []).append(node)
        return sets

    def wait_healthy(self, deadline=60.0):
        wait_until(lambda: self.status()["state"] == "healthy", deadline, "a healthy cluster")

    def assert_equal_data(self, deadline=60.0):
        """The members of every set hold the same documents and indexes, by dbHash."""
        for name, nodes in self.members().items():
            members = [connect(node["port"]) for node in nodes]
            try:
                wait_until(lambda: _are_level(members), deadline, f"the members of {name} level")
                for database in members[0].list_database_names():
                    if database == "local":
                        continue
                    hashes = [member[database].command("dbHash")["collections"]
                              for member in members]
                    assert all(found == hashes[0] for found in hashes), (name, database, hashes)
            finally:
                for member in members:
                    member.close()

    def logs(self):
        """(name, last lines) of each process's log, for a failed test's report."""
        for log in sorted(self.folder.rglob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            yield str(log.relative_to(self.folder)), "\n".join(lines[-15:])

    def close(self):
        """Leaves nothing running and nothing on disk, however the test ended."""
        self._forget_client()
        try:
            self.run("destroy", "--yes", code=None, seconds=30)
        except (OSError, subprocess.TimeoutExpired):
            pass
        return reap_below(self.folder)


def _are_level(members):
    """Whether all have applied the same position, and stay there while they are asked."""
    positions = set()
    for _ in range(2):
        for member in members:
            positions.add(str(member.admin.command("replSetGetStatus")["optimes"]["appliedOpTime"]))
    return len(positions) == 1
