# SPDX-License-Identifier: Apache-2.0
"""A sharded cluster of real processes started one by one, as a person without the launcher would:
config servers, shards (replica sets) and routers."""

import pathlib

from lib.replica_set import ReplicaSet
from lib.server import Server


class ShardedCluster:
    """`start` brings everything up and adds the shards; sizes are members of each replica set."""

    def __init__(self, folder, shards=2, members=1, config_members=1, routers=1,
                 orphan_delay=1):
        self.folder = pathlib.Path(folder)
        self.config = ReplicaSet(self.folder / "config", config_members, name="config0",
                                 flags=("--configsvr",))
        self.shards = [ReplicaSet(self.folder / f"shard{i}", members, name=f"shard{i}",
                                  flags=("--shardsvr", "--setParameter",
                                         f"orphanCleanupDelaySecs={orphan_delay}"))
                       for i in range(shards)]
        self.routers = [self._make_router(i) for i in range(routers)]

    @property
    def config_address(self):
        hosts = ",".join(member.address for member in self.config.members)
        return f"{self.config.name}/{hosts}"

    def _make_router(self, number):
        return Server("mongos", self.folder / f"router{number}", "--configdb",
                      self.config_address, name=f"router {number}")

    def start(self):
        for replica_set in [self.config, *self.shards]:
            replica_set.start()
        self.config.initiate({**self.config.config(), "configsvr": True})
        for shard in self.shards:
            shard.initiate()
        for router in self.routers:
            router.start()
        for shard in self.shards:
            hosts = ",".join(member.address for member in shard.members)
            self.routers[0].command("addShard", f"{shard.name}/{hosts}", name=shard.name)
        return self

    @property
    def client(self):
        return self.routers[0].client

    def shard_collection(self, namespace, key, splits=(), moves=()):
        """Shards a collection whose database lives on the first shard; `splits` are chunk bounds,
        `moves` pairs of a document of a chunk and the shard it moves to."""
        admin = self.client.admin
        admin.command("enableSharding", namespace.split(".")[0],
                      primaryShard=self.shards[0].name)
        admin.command("shardCollection", namespace, key=key)
        for middle in splits:
            admin.command("split", namespace, middle=middle)
        for find, shard in moves:
            admin.command("moveChunk", namespace, find=find, to=shard)

    def close(self):
        for router in self.routers:
            router.reap()
        for replica_set in [*self.shards, self.config]:
            replica_set.close()
