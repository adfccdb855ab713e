# SPDX-License-Identifier: Apache-2.0
"""A replica set of real processes, with timeouts a test can wait for."""

import pathlib

import pymongo

from lib.ports import free_ports
from lib.server import Server, connect
from lib.wait import wait_until

SETTINGS = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200,
            "catchUpTimeoutMillis": 2000}


class ReplicaSet:
    """Members are started together; `initiate` writes the configuration and waits for a primary."""

    def __init__(self, folder, size=3, name="rs0", flags=()):
        self.name = name
        self.folder = pathlib.Path(folder)
        self.flags = tuple(flags)
        self.members = [self._make(port) for port in free_ports(size)]
        self._client = None

    def _make(self, port):
        return Server("mongod", self.folder / str(port), "--replSet", self.name, *self.flags,
                      port=port, name=f"{self.name} member {port}")

    def start(self):
        for member in self.members:
            member.start(ready=None)
        for member in self.members:
            member.wait_ready()
        return self

    def config(self, members=None, **settings):
        """The configuration to initiate with; members: _id -> fields that differ."""
        fields = members or {}
        return {"_id": self.name, "settings": {**SETTINGS, **settings},
                "members": [{"_id": i, "host": member.address, **fields.get(i, {})}
                            for i, member in enumerate(self.members)]}

    def initiate(self, config=None, deadline=30.0):
        self.members[0].command("replSetInitiate", config or self.config())
        wait_until(lambda: len(self.in_state(1)) == 1 and all(
            self.state_of(member) in (1, 2, 7) for member in self.members),
                   deadline, f"a primary of {self.name}")
        # A primary says so before it takes writes.
        self.primary(deadline)
        return self

    def add_member(self):
        """A further process; the configuration is the test's to change."""
        member = self._make(free_ports(1)[0]).start()
        self.members.append(member)
        return member

    @property
    def uri(self):
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}"

    @property
    def client(self):
        if self._client is None:
            self._client = connect(self.uri)
        return self._client

    def fresh_client(self, **options):
        return connect(self.uri, **options)

    @staticmethod
    def state_of(member):
        """The member's own view of its state (1 primary, 2 secondary), None if it is down."""
        if not member.alive():
            return None
        try:
            return member.command("replSetGetStatus")["myState"]
        except pymongo.errors.PyMongoError:
            return None

    def in_state(self, state):
        return [member for member in self.members if self.state_of(member) == state]

    def primary(self, deadline=20.0):
        """The one member that is primary of the newest term."""
        def newest():
            found = []
            for member in self.members:
                if not member.alive():
                    continue
                with connect(member.port, serverSelectionTimeoutMS=500,
                             socketTimeoutMS=500) as probe:
                    try:
                        hello = probe.admin.command("hello")
                    except pymongo.errors.PyMongoError:
                        continue
                if hello.get("isWritablePrimary"):
                    found.append((hello.get("electionId"), member))
            return max(found, key=lambda pair: pair[0])[1] if found else None
        return wait_until(newest, deadline, f"a primary of {self.name}")

    def secondaries(self):
        return self.in_state(2)

    def wait_replicated(self, deadline=30.0):
        """Waits until every live member has applied what the primary has."""
        def same():
            alive = [m for m in self.members if m.alive()]
            times = {str(m.command("replSetGetStatus")["optimes"]["appliedOpTime"])
                     for m in alive if self.state_of(m) in (1, 2)}
            return len(times) == 1
        wait_until(same, deadline, f"the members of {self.name} to be level")

    def assert_equal_data(self):
        """Every member holds the same documents and indexes: dbHash of each database."""
        self.wait_replicated()
        bearing = [m for m in self.members if m.alive() and self.state_of(m) in (1, 2)]
        for name in self.primary().client.list_database_names():
            if name == "local":
                continue
            hashes = {member.address: member.client[name].command("dbHash")["collections"]
                      for member in bearing}
            first = next(iter(hashes.values()))
            assert all(found == first for found in hashes.values()), f"{name} differs: {hashes}"

    def close(self):
        if self._client is not None:
            self._client.close()
        for member in self.members:
            member.reap()
