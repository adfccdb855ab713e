# SPDX-License-Identifier: Apache-2.0
"""One server process, called as mongod or mongos with the flags those take."""

import os
import pathlib

import pymongo

from lib.ports import free_port
from lib.process import Process
from lib.wait import SLOWNESS, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# TESSERA_BIN names the directory of mongod, mongos and tessera; the harness itself is tested by
# pointing it at a directory that holds a real mongod.
BIN = pathlib.Path(os.environ.get("TESSERA_BIN", ROOT / "build/release/bin"))
TEST_COMMANDS = ("--setParameter", "enableTestCommands=1")


def connect(uri_or_port, **options):
    """A PyMongo client whose waits are short enough for a test; give it a port for one server."""
    options.setdefault("serverSelectionTimeoutMS", int(20000 * SLOWNESS))
    options.setdefault("connectTimeoutMS", int(5000 * SLOWNESS))
    if isinstance(uri_or_port, int):
        options.setdefault("directConnection", True)
        uri_or_port = f"mongodb://127.0.0.1:{uri_or_port}/"
    return pymongo.MongoClient(uri_or_port, **options)


class Server(Process):
    """A mongod or a mongos.  `ready` means it answers hello."""

    def __init__(self, role, folder, *flags, port=None, name=None):
        self.role = role
        self.port = port or free_port()
        self.folder = pathlib.Path(folder)
        self.dbpath = self.folder / "data"
        self._client = None
        argv = [BIN / role, "--port", self.port, "--bind_ip", "127.0.0.1", *TEST_COMMANDS]
        if role == "mongod":
            self.dbpath.mkdir(parents=True, exist_ok=True)
            argv += ["--dbpath", self.dbpath]
        super().__init__(name or f"{role} {self.port}", [*argv, *flags], self.folder / "log")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self):
        return f"mongodb://{self.address}/?directConnection=true"

    @property
    def client(self):
        """A client of this one server, made at first use."""
        if self._client is None:
            self._client = connect(self.port)
        return self._client

    def reconnect(self):
        """Lets go of connections made before a set was initiated: drivers use no sessions there."""
        self._client.close()
        self._client = None

    def command(self, *args, **kwargs):
        return self.client.admin.command(*args, **kwargs)

    def start(self, ready=20.0):
        super().start()
        if ready:
            self.wait_ready(ready)
        return self

    def wait_ready(self, deadline=20.0):
        def answers():
            with connect(self.port, serverSelectionTimeoutMS=500) as probe:
                return probe.admin.command("hello")
        return wait_until(
            answers, deadline, f"an answer of {self.name}",
            unless=lambda: None if self.alive() else f"it ended with code {self.exit_code()}")

    def reap(self):
        if self._client is not None:
            self._client.close()
            self._client = None
        super().reap()


def standalone(folder, *flags, **more):
    return Server("mongod", folder, *flags, **more).start()
